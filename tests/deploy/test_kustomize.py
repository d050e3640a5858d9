"""Rule: what `kubectl kustomize` makes of deploy/kubernetes is what a node needs: found by its peers before it is
ready, asked by probes that it answers, stopped gently, kept apart from its like, with few rights, and with a
command line that coteried understands. Kubernetes API v1, Pod Security Standards "restricted"; docs/kubernetes.md.

Each check names the fields that break it: it is first played on the rendered objects, then again on copies with one
of those fields changed, where it must fail. So no check here can pass whatever is rendered.
"""

import copy
import os
import subprocess
import sys
import tempfile

import manifest
from manifest import at, container, flags, number, only, pod_arguments, pod_environment, pod_names, pod_template
from manifest import port_of, settings

COTERIED = os.environ.get("COTERIED", os.path.join(manifest.ROOT, "build/dev/coteried"))
ME = {"app.kubernetes.io/name": "coterie"}
POD = "StatefulSet coterie/spec template spec "
BOX = POD + "containers 0 "
NOTES = "StatefulSet coterie/spec template metadata annotations "
PEER_DRAIN_S, CLOSE_S = 1, 15  # node/node.c waits for peers; what is left of the grace syncs and closes the store
REMOVED = object()

# -- fields that must have just this value, and others that must be refused

FIELDS = [
    ("Service coterie-peers/apiVersion", "v1"),
    ("Service coterie-peers/spec clusterIP", "None"),
    ("Service coterie-peers/spec publishNotReadyAddresses", True),
    ("Service coterie-peers/spec selector", ME),
    ("Service coterie/spec selector", ME),
    ("Service coterie/spec ports 0 appProtocol", "kubernetes.io/h2c"),
    ("PodDisruptionBudget coterie/apiVersion", "policy/v1"),
    ("PodDisruptionBudget coterie/spec maxUnavailable", 1),
    ("PodDisruptionBudget coterie/spec selector matchLabels", ME),
    ("NetworkPolicy coterie/apiVersion", "networking.k8s.io/v1"),
    ("NetworkPolicy coterie/spec podSelector matchLabels", ME),
    ("NetworkPolicy coterie/spec policyTypes", ["Ingress", "Egress"]),
    ("StatefulSet coterie/apiVersion", "apps/v1"),
    ("StatefulSet coterie/spec podManagementPolicy", "Parallel"),
    ("StatefulSet coterie/spec updateStrategy type", "RollingUpdate"),
    ("StatefulSet coterie/spec selector matchLabels", ME),
    ("StatefulSet coterie/spec persistentVolumeClaimRetentionPolicy whenScaled", "Retain"),
    ("StatefulSet coterie/spec volumeClaimTemplates 0 spec accessModes", ["ReadWriteOnce"]),
    ("StatefulSet coterie/spec template metadata labels", ME),
    (POD + "automountServiceAccountToken", False),
    (POD + "enableServiceLinks", False),
    (POD + "securityContext runAsNonRoot", True),
    (POD + "securityContext seccompProfile type", "RuntimeDefault"),
    (POD + "securityContext fsGroupChangePolicy", "OnRootMismatch"),
    (POD + "topologySpreadConstraints 0 topologyKey", "kubernetes.io/hostname"),
    (POD + "topologySpreadConstraints 0 whenUnsatisfiable", "DoNotSchedule"),
    (POD + "topologySpreadConstraints 0 maxSkew", 1),
    (POD + "topologySpreadConstraints 0 labelSelector matchLabels", ME),
    (POD + "topologySpreadConstraints 1 topologyKey", "topology.kubernetes.io/zone"),
    (POD + "topologySpreadConstraints 1 maxSkew", 1),
    (POD + "topologySpreadConstraints 1 labelSelector matchLabels", ME),
    (BOX + "securityContext allowPrivilegeEscalation", False),
    (BOX + "securityContext readOnlyRootFilesystem", True),
    (BOX + "securityContext capabilities", {"drop": ["ALL"]}),
    (BOX + "startupProbe grpc service", "coterie.v1.KeyValue"),
    (BOX + "readinessProbe grpc service", "coterie.v1.KeyValue"),
    (BOX + "livenessProbe grpc service", "grpc.health.v1.Health"),
]
DEV = [
    ("Namespace coterie-dev/metadata labels pod-security.kubernetes.io/enforce", "restricted"),
    ("StatefulSet coterie/spec replicas", 1),
    ("StatefulSet coterie/spec persistentVolumeClaimRetentionPolicy whenDeleted", "Delete"),
    (POD + "topologySpreadConstraints 1 whenUnsatisfiable", "ScheduleAnyway"),
]
PRODUCTION = [
    ("Namespace coterie/metadata labels pod-security.kubernetes.io/enforce", "restricted"),
    ("StatefulSet coterie/spec replicas", 3),
    ("StatefulSet coterie/spec persistentVolumeClaimRetentionPolicy whenDeleted", "Retain"),
    (POD + "topologySpreadConstraints 1 whenUnsatisfiable", "DoNotSchedule"),
    (POD + "topologySpreadConstraints 1 minDomains", 3),
    (POD + "volumes 0 secret secretName", "coterie-cluster-key"),
    (BOX + "volumeMounts 1 readOnly", True),
]

# -- fields that must fit each other


def kinds(objects):
    """Nothing is missing, nothing is there that nobody has checked."""
    found = sorted(name for name in objects if not name.startswith(("ConfigMap ", "Namespace ")))
    assert found == ["NetworkPolicy coterie", "PodDisruptionBudget coterie", "Service coterie", "Service coterie-peers",
                     "StatefulSet coterie"], found
    assert "Secret" not in {one["kind"] for one in objects.values()}, "a secret in a repository is none"


def one_namespace(objects):
    """All objects are in the overlay's namespace."""
    name = at(only(objects, "Namespace"), "metadata name")
    for title, one in objects.items():
        assert one["kind"] == "Namespace" or one["metadata"].get("namespace") == name, title


def headless_service_names_pods(objects):
    """The StatefulSet's service is the headless one: pod names resolve."""
    name = at(only(objects, "StatefulSet"), "spec serviceName")
    assert at(objects["Service " + name], "spec clusterIP") == "None", name


def members(objects):
    """name -> address"""
    return dict(entry.split("=", 1) for entry in settings(objects)["COTERIE_INITIAL_CLUSTER"].split(","))


def founders_are_the_first_pods(objects):
    """Each of the first pods stands in the list once, at its own name and the peer port; nobody else does."""
    service = at(only(objects, "StatefulSet"), "spec serviceName")
    port = port_of(flags(objects)["peer-address"])
    found = members(objects)
    assert len(found) <= len(pod_names(objects)), "a founder has no pod"
    assert found == {pod: "%s.%s:%d" % (pod, service, port) for pod in pod_names(objects)[:len(found)]}


def later_pods_join(objects):
    """kubectl scale just works: a pod that is no founder asks the founders, says where it is reached, and its change is
    committed without an operator. The founders say the same of themselves as the list does."""
    hosts = [address.rsplit(":", 1)[0] for address in members(objects).values()]
    port = port_of(flags(objects)["client-address"])
    assert settings(objects)["COTERIE_JOIN"] == ",".join("%s:%d" % (host, port) for host in hosts)
    assert settings(objects).get("COTERIE_JOIN_HOLD", "false") == "false"
    for pod, address in list(members(objects).items()) + [("coterie-7", "coterie-7." + hosts[0].split(".", 1)[1] + ":7701")]:
        assert "--advertise-address=" + address in pod_arguments(objects, pod), pod
    assert pod_environment(objects, "coterie-7")["COTERIE_ZONE"] == manifest.ZONE
    policy = at(only(objects, "NetworkPolicy"), "spec")
    assert any(port in [one["port"] for one in rule["ports"]] and "to" in rule for rule in policy["egress"]), "egress"


def budget_leaves_a_quorum(objects):
    """Of three nodes a quorum stays when the budget is used up."""
    pods, gone = len(pod_names(objects)), at(only(objects, "PodDisruptionBudget"), "spec maxUnavailable")
    assert pods - gone > pods // 2, "%d of %d may go" % (gone, pods)


def ports_match(objects):
    """Service port -> name -> containerPort -> the port that coteried listens on, on every address."""
    ports = {one["name"]: one["containerPort"] for one in at(container(objects), "ports")}
    listens = {name: flags(objects)[flag] for name, flag in
               (("client", "client-address"), ("peer", "peer-address"), ("metrics", "http-address"))}
    assert all(address.startswith("0.0.0.0:") for address in listens.values()), listens
    assert ports == {name: port_of(address) for name, address in listens.items()}, (ports, listens)
    for service, port_name in (("Service coterie", "client"), ("Service coterie-peers", "peer")):
        one, = at(objects[service], "spec ports")
        assert one["targetPort"] == port_name and one["port"] == ports[port_name], one


def scraped_at_the_metrics_port(objects):
    notes = at(pod_template(objects), "metadata annotations")
    assert notes["prometheus.io/scrape"] == "true" and notes["prometheus.io/path"] == "/metrics"
    assert int(notes["prometheus.io/port"]) == port_of(flags(objects)["http-address"])


def probes_ask_the_client_port(objects):
    port = port_of(flags(objects)["client-address"])
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert at(container(objects), probe + " grpc port") == port, probe


def probes_are_patient(objects):
    """A long replay is no failure, nor is half a minute of a busy machine; who stops serving is known in 10 s."""
    def seconds(probe):
        one = at(container(objects), probe)
        assert one["timeoutSeconds"] <= one["periodSeconds"], probe
        return one["periodSeconds"] * one["failureThreshold"]
    assert seconds("startupProbe") >= 600
    assert 30 <= seconds("livenessProbe") <= 120
    assert seconds("readinessProbe") <= 10


def network_policy_opens_just_the_ports(objects):
    """In: client, peer and metrics ports, each from somebody; the peer port from nodes alone. Out: peers, and names."""
    address = {name: port_of(flags(objects)[name + "-address"]) for name in ("client", "peer", "http")}
    policy = at(only(objects, "NetworkPolicy"), "spec")

    def opened(rules):
        return sorted((port["protocol"], port["port"]) for rule in rules for port in rule["ports"])

    assert opened(policy["ingress"]) == sorted(("TCP", port) for port in address.values())
    inside = sorted([("TCP", address["peer"]), ("TCP", address["client"])])
    assert opened(policy["egress"]) == sorted(inside + [("TCP", 53), ("UDP", 53)])
    nodes = [{"podSelector": {"matchLabels": ME}}]
    for rule in policy["ingress"]:
        assert len(rule["ports"]) == 1 and rule["from"], rule
        if rule["ports"][0]["port"] == address["peer"]:
            assert rule["from"] == nodes, rule
        if rule["ports"][0]["port"] == address["http"]:
            assert rule["from"] == [{"namespaceSelector": {"matchLabels": {
                "kubernetes.io/metadata.name": "monitoring"}}}], rule
        if rule["ports"][0]["port"] == address["client"]:
            assert rule["from"] == [{"podSelector": {}},
                                    {"namespaceSelector": {"matchLabels": {"coterie-client": "true"}}}], rule
    for rule in policy["egress"]:
        if "to" in rule:
            assert rule["to"] == nodes and opened([rule]) == inside, rule
        else:
            assert {port["port"] for port in rule["ports"]} == {53}, rule


def data_is_the_claim(objects):
    """--data-dir is where the claim is mounted, and nothing else can be written."""
    claim, = at(only(objects, "StatefulSet"), "spec volumeClaimTemplates")
    writable = [one for one in at(container(objects), "volumeMounts") if not one.get("readOnly")]
    assert [(one["name"], one["mountPath"]) for one in writable] == [
        (claim["metadata"]["name"], flags(objects)["data-dir"])], writable


def user_owns_the_data(objects):
    """The pod's user is no root, and the claim's group is its own."""
    security = at(pod_template(objects), "spec securityContext")
    assert security["runAsUser"] >= 1000 and security["runAsGroup"] == security["fsGroup"] >= 1000


def is_restricted(objects):
    """Pod Security Standards "restricted", the parts that are no fields above: no host, no dangerous volume."""
    spec = at(pod_template(objects), "spec")
    for key in ("hostNetwork", "hostPID", "hostIPC", "initContainers", "serviceAccountName"):
        assert not spec.get(key), key
    assert not container(objects)["securityContext"].get("privileged")
    assert not any(port.get("hostPort") for port in container(objects)["ports"])
    for volume in spec.get("volumes", []):
        assert set(volume) <= {"name", "secret", "configMap", "emptyDir", "projected"}, volume


def grace_is_long_enough(objects):
    """The kubelet does not kill what is still draining."""
    command = at(container(objects), "lifecycle preStop exec command")
    assert len(command) == 2 and command[0] == "sleep" and int(command[1]) >= 3, command
    drain_s = int(settings(objects)["COTERIE_DRAIN_MS"]) / 1000
    grace_s = at(pod_template(objects), "spec terminationGracePeriodSeconds")
    assert grace_s >= int(command[1]) + drain_s + PEER_DRAIN_S + CLOSE_S, grace_s


def memory_fits(objects):
    """docs/operations.md: --memory and up to 64 MiB; a quarter more for what is on its way. At least half is requested.
    No limit of processor time: throttled threads are late for everybody."""
    resources = at(container(objects), "resources")
    limit = number(at(resources, "limits memory"))
    assert limit >= 1.25 * number(settings(objects)["COTERIE_MEMORY"]) + (64 << 20), resources
    assert number(at(resources, "requests memory")) * 2 >= limit, resources
    assert "cpu" not in resources["limits"] and number(at(resources, "requests cpu")) > 0, resources


def threads_are_said(objects):
    """A node in a container counts the machine's cores: so its threads are set, all the same."""
    counts = {settings(objects)["COTERIE_" + name] for name in ("GRPC_THREADS", "COORDINATORS", "REPLICAS")}
    assert len(counts) == 1 and int(counts.pop()) >= 1


def partitions_are_enough(objects):
    """At least ten a node (coteried --help), fixed for the cluster's life."""
    assert int(settings(objects)["COTERIE_PARTITIONS"]) >= 10 * max(3, len(pod_names(objects)))


def key_is_where_it_is_mounted(objects):
    """--cluster-key-file is in the Secret's mount, and others cannot read it."""
    folder, name = os.path.split(settings(objects)["COTERIE_CLUSTER_KEY_FILE"])
    mount, = [one for one in at(container(objects), "volumeMounts") if one["mountPath"] == folder]
    volume, = [one for one in at(pod_template(objects), "spec volumes") if one["name"] == mount["name"]]
    assert name == "cluster.key" and volume["secret"]["defaultMode"] == 0o440, (name, volume)


def coteried_takes_it(objects):
    """`coteried config print` understands each pod's command line and environment: every one of them is in force."""
    for pod in pod_names(objects):
        given, environment = pod_arguments(objects, pod), pod_environment(objects, pod)
        with tempfile.TemporaryDirectory(prefix="coterie-print-") as folder:
            done = subprocess.run([COTERIED, "config", "print", "--origin", *given], env=environment, cwd=folder,
                                  capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stderr
        in_force = {}
        for line in done.stdout.splitlines():
            name, _, rest = line.partition(": ")
            value, _, origin = rest.partition("  # ")
            in_force[name] = (value.strip('"'), origin)
        for flag in given:
            name, _, value = flag[2:].partition("=")
            assert in_force[name] == (value, "flag"), (flag, in_force[name])
        for variable, value in environment.items():
            if variable != "POD_NAME":
                assert variable.startswith("COTERIE_"), variable
                name = variable[len("COTERIE_"):].lower().replace("_", "-")
                assert in_force.get(name) == (value, "environment"), (variable, in_force.get(name))
        assert in_force["name"][0] == pod


# (check, the fields that break it: "Object/path", the value that must be refused)
RELATIONS = [
    (kinds, [("Secret x/kind", "Secret"), ("NetworkPolicy coterie", REMOVED)]),
    (headless_service_names_pods, [("StatefulSet coterie/spec serviceName", "coterie"),
                                   ("Service coterie-peers/spec clusterIP", REMOVED)]),
    (founders_are_the_first_pods, [("ConfigMap/data COTERIE_INITIAL_CLUSTER", "coterie-0=coterie-0.peers:7701"),
                                   ("ConfigMap/data COTERIE_INITIAL_CLUSTER", "coterie-1=coterie-1.coterie-peers:7701"),
                                   ("StatefulSet coterie/spec replicas", 0),
                                   ("StatefulSet coterie/spec serviceName", "coterie"),
                                   (BOX + "args 3", "--peer-address=0.0.0.0:7711")]),
    (later_pods_join, [("ConfigMap/data COTERIE_JOIN", REMOVED), ("ConfigMap/data COTERIE_JOIN_HOLD", "true"),
                       ("ConfigMap/data COTERIE_JOIN", "coterie-0.coterie-peers:7701"), (BOX + "args 5", REMOVED),
                       (BOX + "args 5", "--advertise-address=coterie-0.coterie-peers:7701"),
                       (BOX + "env 1", REMOVED), ("NetworkPolicy coterie/spec egress 0 ports 1", REMOVED)]),
    (ports_match, [(BOX + "ports 0 containerPort", 7710), (BOX + "args 2", "--client-address=127.0.0.1:7700"),
                   (BOX + "args 2", "--client-address=0.0.0.0:7710"), (BOX + "args 4", "--http-address=0.0.0.0:7712"),
                   ("Service coterie/spec ports 0 port", 80), ("Service coterie/spec ports 0 targetPort", "peer"),
                   ("Service coterie-peers/spec ports 0 port", 7700)]),
    (scraped_at_the_metrics_port, [(NOTES + "prometheus.io/port", "9090"), (NOTES + "prometheus.io/path", "/"),
                                   (BOX + "args 4", "--http-address=0.0.0.0:7712")]),
    (probes_ask_the_client_port, [(BOX + "startupProbe grpc port", 7701), (BOX + "livenessProbe grpc port", 7702),
                                  (BOX + "readinessProbe grpc", REMOVED)]),
    (probes_are_patient, [(BOX + "startupProbe failureThreshold", 30), (BOX + "livenessProbe failureThreshold", 1),
                          (BOX + "readinessProbe periodSeconds", 30), (BOX + "livenessProbe timeoutSeconds", 11)]),
    (network_policy_opens_just_the_ports, [
        ("NetworkPolicy coterie/spec ingress 0 from", [{"podSelector": {}}]),
        ("NetworkPolicy coterie/spec ingress 0 ports 0 port", 7703),
        ("NetworkPolicy coterie/spec ingress 1 ports", [{"protocol": "TCP", "port": port} for port in (7700, 22)]),
        ("NetworkPolicy coterie/spec ingress 1 from", []),
        ("NetworkPolicy coterie/spec ingress 2 from", [{"namespaceSelector": {}}]),
        ("NetworkPolicy coterie/spec ingress 2", REMOVED),
        ("NetworkPolicy coterie/spec egress 0 to", REMOVED),
        ("NetworkPolicy coterie/spec egress 1 ports 0 protocol", "TCP")]),
    (data_is_the_claim, [(BOX + "args 1", "--data-dir=/data"), (BOX + "volumeMounts 0 mountPath", "/data"),
                         (BOX + "volumeMounts 0 name", "other"), (BOX + "volumeMounts 0 readOnly", True)]),
    (user_owns_the_data, [(POD + "securityContext runAsUser", 0), (POD + "securityContext fsGroup", 2000),
                          (POD + "securityContext runAsGroup", REMOVED)]),
    (is_restricted, [(POD + "hostNetwork", True), (POD + "hostPID", True), (BOX + "securityContext privileged", True),
                     (BOX + "ports 0 hostPort", 7700),
                     (POD + "volumes", [{"name": "x", "hostPath": {"path": "/"}}])]),
    (grace_is_long_enough, [(POD + "terminationGracePeriodSeconds", 10), ("ConfigMap/data COTERIE_DRAIN_MS", "60000"),
                            (BOX + "lifecycle preStop exec command 1", "60"), (BOX + "lifecycle", REMOVED)]),
    (memory_fits, [(BOX + "resources limits memory", "64Mi"), ("ConfigMap/data COTERIE_MEMORY", "8GiB"),
                   (BOX + "resources requests memory", "1Mi"), (BOX + "resources limits cpu", 1)]),
    (threads_are_said, [("ConfigMap/data COTERIE_REPLICAS", "0"), ("ConfigMap/data COTERIE_GRPC_THREADS", REMOVED)]),
    (partitions_are_enough, [("ConfigMap/data COTERIE_PARTITIONS", "16")]),
    (coteried_takes_it, [(BOX + "args 0", "--nmae=$(POD_NAME)"), (BOX + "args 0", "--name=$(POD)"),
                         ("ConfigMap/data COTERIE_MEMROY", "1GiB"), ("ConfigMap/data COTERIE_PARTITIONS", "63"),
                         ("ConfigMap/data COTERIE_MEMORY", "4Gigs"), (BOX + "args 2", "--client-address=7700")]),
]
OF_THREE = [
    (budget_leaves_a_quorum, [("PodDisruptionBudget coterie/spec maxUnavailable", 2),
                              ("StatefulSet coterie/spec replicas", 2)]),
]
IN_OVERLAYS = [
    (one_namespace, [("Service coterie/metadata namespace", "default"), ("ConfigMap/metadata namespace", REMOVED)]),
]
IN_PRODUCTION = [
    (key_is_where_it_is_mounted, [(POD + "volumes 0 secret defaultMode", 0o444), (BOX + "volumeMounts 1", REMOVED),
                                  ("ConfigMap/data COTERIE_CLUSTER_KEY_FILE", "/etc/cluster.key")]),
]


def changed(objects, field, value):
    """A copy with one field set or removed. The settings' ConfigMap has a hash in its name: "ConfigMap/..."."""
    objects = copy.deepcopy(objects)
    title, _, path = field.partition("/")
    title = next((name for name in objects if name.startswith(title + " ")), title)
    if not path:
        del objects[title]
        return objects
    *steps, last = path.split()
    place = at(objects.setdefault(title, {}), " ".join(steps)) if steps else objects.setdefault(title, {})
    last = int(last) if isinstance(place, list) else last
    if value is REMOVED:
        del place[last]
    else:
        place[last] = value
    return objects


def refuses(check, objects):
    try:
        check(objects)
    except (AssertionError, KeyError, IndexError, ValueError, TypeError):
        return True
    return False


def field_check(field, value):
    title, _, path = field.partition("/")

    def check(objects):
        assert title in objects, "no %s" % title
        found = at(objects[title], path)
        assert found == value and type(found) is type(value), "%s is %r, not %r" % (field, found, value)
    others = {bool: not value, int: value + 1 if isinstance(value, int) else 0, str: "other", list: [], dict: {}}
    return check, [(field, REMOVED), (field, others[type(value)])]


def play(folder, fields, relations):
    objects = manifest.render(folder)
    failures = refusals = 0
    checks = [(field, *field_check(field, value)) for field, value in fields]
    checks += [(check.__name__, check, breaks) for check, breaks in relations]
    for title, check, breaks in checks:
        try:
            check(objects)
            assert breaks, "nothing breaks this check"
            for field, value in breaks:
                assert refuses(check, changed(objects, field, value)), "does not notice %s = %r" % (field, value)
                refusals += 1
        except Exception as error:  # the others are still worth playing
            failures += 1
            print("FAILED %s: %s: %s: %s" % (folder, title, type(error).__name__, error))
    print("%-22s %3d checks, each seen to fail (%d broken copies refused)" % (folder, len(checks) - failures, refusals))
    return failures


def main():
    manifest.need_kubectl()
    failures = play("base", FIELDS, RELATIONS + OF_THREE)
    failures += play("overlays/dev", FIELDS + DEV, RELATIONS + IN_OVERLAYS)
    failures += play("overlays/production", FIELDS + PRODUCTION, RELATIONS + OF_THREE + IN_OVERLAYS + IN_PRODUCTION)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
