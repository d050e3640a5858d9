"""Rule: the StatefulSet's own command line and environment start a cluster that serves. Each pod is a process on this
machine; only addresses and folders, which no two processes of one machine can share, are replaced, and the number of
partitions (three times 256 take a minute to make on two cores). Probes ask services that really answer; SIGTERM drains
within the grace. docs/kubernetes.md.
"""

import os
import signal
import sys
import time
import urllib.request

import manifest
from manifest import at, container, flags, pod_arguments, pod_environment, pod_names, pod_template

manifest.need_kubectl()
sys.path.insert(0, os.path.join(manifest.ROOT, "tests/cluster"))
from cluster import COTERIED, Cluster, Node, free_ports, grpc, health_pb2  # noqa: E402

COTERIE = os.environ.get("COTERIE", os.path.join(manifest.ROOT, "build/dev/coterie"))


class Pod(Node):
    """One of the StatefulSet's pods. Its rendered command line, with these texts replaced."""

    def given(self):
        objects = self.cluster.objects
        return [self.local(text) for text in pod_arguments(objects, self.name)]

    def local(self, text):
        own = flags(self.cluster.objects)
        for pod in self.cluster.nodes:  # --advertise-address
            text = text.replace("%s.coterie-peers:7701" % pod.name, "%s:%d" % (pod.host, pod.peer_port))
        for flag, address in (("client-address", "%s:%d" % (self.host, self.client_port)),
                              ("peer-address", "%s:%d" % (self.host, self.peer_port)),
                              ("http-address", "%s:%d" % (self.host, self.http_port)), ("data-dir", self.data)):
            if text == "--%s=%s" % (flag, own[flag]):
                return "--%s=%s" % (flag, address)
        return text

    def arguments(self):
        environment = {}
        for name, value in pod_environment(self.cluster.objects, self.name).items():
            for pod in self.cluster.nodes:
                value = value.replace("%s.coterie-peers:7701" % pod.name, "%s:%d" % (pod.host, pod.peer_port))
            environment[name] = value.replace("/etc/coterie/", self.cluster.folder + "/")
        environment["COTERIE_PARTITIONS"] = "64"
        assert "coterie-peers" not in environment["COTERIE_INITIAL_CLUSTER"], environment
        self.environment = environment
        return [COTERIED] + self.given()


class PodCluster(Cluster):
    def __init__(self, folder):
        self.objects = manifest.render(folder)
        super().__init__(len(pod_names(self.objects)))
        key = os.path.join(self.folder, "cluster.key")
        with open(key, "w", opener=lambda path, how: os.open(path, how, 0o440)) as file:
            file.write("a secret of these tests, 32 bytes or more\n")

    def make_nodes(self, count):
        ports = free_ports(3 * count)
        return [Pod(self, name, ports[3 * i:3 * i + 3]) for i, name in enumerate(pod_names(self.objects))]

    def start(self):
        for node in self.nodes:  # all at once, as podManagementPolicy Parallel does
            node.arguments()
            node.start()
        for node in self.nodes:
            node.wait_serving(60)
        self.wait_alive()
        return self


def probes_are_answered(cluster):
    for node in cluster.nodes:
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            service = at(container(cluster.objects), probe + " grpc service")
            reply = node.health.Check(health_pb2.HealthCheckRequest(service=service), timeout=20)
            assert reply.status == health_pb2.HealthCheckResponse.SERVING, (node.name, probe, reply)
    try:  # a service that nobody knows is no service that serves
        cluster.nodes[0].health.Check(health_pb2.HealthCheckRequest(service="coterie.v1.KeyValues"), timeout=20)
        raise AssertionError("a service of that name answers")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.NOT_FOUND, error


def a_put_is_read_elsewhere(cluster):
    cluster.nodes[0].put(b"from the first", b"pod")
    reply = cluster.nodes[-1].get(b"from the first")
    assert [value.value for value in reply.values] == [b"pod"], reply


def metrics_are_scraped(cluster):
    notes = at(pod_template(cluster.objects), "metadata annotations")
    for node in cluster.nodes:
        url = "http://%s:%d%s" % (node.host, node.http_port, notes["prometheus.io/path"])
        assert "\ncoterie_member_alive" in urllib.request.urlopen(url, timeout=20).read().decode()


def sigterm_drains_within_the_grace(cluster):
    node = cluster.nodes[-1]
    sleep_s = int(at(container(cluster.objects), "lifecycle preStop exec command 1"))
    grace_s = at(pod_template(cluster.objects), "spec terminationGracePeriodSeconds")
    began = time.monotonic()
    process = node.process
    process.send_signal(signal.SIGTERM)
    code = process.wait(grace_s - sleep_s)
    node.process = None
    took_s = time.monotonic() - began
    assert code == 0 and " stopped node=%s clean=yes" % node.name in node.log_tail(), node.log_tail()
    if len(cluster.nodes) > 1:  # two of three are a quorum
        cluster.nodes[0].put(b"while one is gone", b"two are left")
    node.start().wait_serving()
    cluster.wait_alive()
    a_put_is_read_elsewhere(cluster)
    return took_s


def play(folder):
    with PodCluster(folder) as cluster:
        began = time.monotonic()
        cluster.start()
        ready_s = time.monotonic() - began
        probes_are_answered(cluster)
        a_put_is_read_elsewhere(cluster)
        metrics_are_scraped(cluster)
        took_s = sigterm_drains_within_the_grace(cluster)
        told = [node.log_tail(1000) for node in cluster.nodes]
        assert not any("unknown_variable" in text or "cluster_key_exposed" in text for text in told), told
        print("%-20s %d pods ready after %.1f s, one drained in %.1f s" % (folder, len(cluster.nodes), ready_s, took_s))


if __name__ == "__main__":
    play("overlays/dev")
    play("overlays/production")
