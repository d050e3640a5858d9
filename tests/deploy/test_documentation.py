"""Rule: a command in docs/kubernetes.md works, as far as it needs no API server: what it names is there, what runs in a
pod is run against the rendered pods, what kubectl can do alone it does. A command that no function here knows is an
error. The functions are tried on wrong commands first.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile

import yaml

import manifest
from manifest import at, kubectl, only, pod_names, pod_template, render

manifest.need_kubectl()
from test_loopback import COTERIE, PodCluster  # noqa: E402

PAGE = os.path.join(manifest.ROOT, "docs/kubernetes.md")
OVERLAYS = {"coterie-dev": "overlays/dev", "coterie": "overlays/production"}
WRONG = [
    "docker build -f Dockerfile -t coterie:0.1.0 .", "docker build -f deploy/container/Dockerfile -t coterie:0.2.0 .",
    "kind load docker-image coterie:latest", "kubectl apply -k deploy/kubernetes/overlays/prod",
    "kubectl apply -f deploy/kubernetes/namespace.yaml", "kubectl kustomize deploy/kubernetes/overlays",
    "kubectl -n coterie rollout status statefulset/coteried",
    "kubectl -n coterie-prod rollout status statefulset/coterie",
    "kubectl -n coterie-dev exec coterie-1 -- coterie nodes", "kubectl -n coterie exec coterie-0 -- coterie nods",
    "kubectl -n coterie exec coterie-0 -- sh", "kubectl -n coterie logs coterie-3",
    "kubectl -n coterie-dev port-forward service/coterie 7701:7701",
    "kubectl -n coterie port-forward service/peers 7700:7700",
    "kubectl -n coterie create secret generic cluster-key --from-file=cluster.key",
    "kubectl -n coterie create secret generic coterie-cluster-key --from-file=key",
    "kubectl label namespace shop coterie-clients=true", "openssl rand -base64 8 > cluster.key", "kubectl delete pods",
]


class Page:
    def __init__(self):
        with open(PAGE) as file:
            text = file.read()
        # "    $ ..." with its output is played by test_scaling.py.
        transcripts = re.compile(r"(?m)^    \$ (?:.*\n(?=    |\n    ))*.*$")
        self.commands = re.findall(r"(?m)^    (\S.*)$", transcripts.sub("", text))
        self.yaml, = re.findall(r"(?ms)^```yaml\n(.*?)^```", text)
        self.text = text
        self.rendered = {folder: render(folder) for folder in ["base", *OVERLAYS.values()]}
        self.clusters = {}
        self.folder = tempfile.mkdtemp(prefix="coterie-page-")

    def objects(self, namespace):
        assert namespace in OVERLAYS, namespace
        return self.rendered[OVERLAYS[namespace]]

    def cluster(self, namespace):
        if namespace not in self.clusters:
            self.clusters[namespace] = PodCluster(OVERLAYS[namespace])
            self.clusters[namespace].start()
        return self.clusters[namespace]

    def close(self):
        for cluster in self.clusters.values():
            cluster.close()
        shutil.rmtree(self.folder)


def image(page):
    return at(manifest.container(page.rendered["base"]), "image")


def docker_build(page, file, tag):
    assert os.path.exists(os.path.join(manifest.ROOT, file)) and tag == image(page), (file, tag)


def kind_load(page, tag):
    assert tag == image(page), tag


def apply_folder(page, folder):
    assert os.path.relpath(folder, "deploy/kubernetes") in page.rendered, folder


def apply_file(page, file):
    with open(os.path.join(manifest.ROOT, file)) as opened:
        one = yaml.safe_load(opened)
    assert one in page.objects(one["metadata"]["name"]).values(), "the overlay renders another one"


def kustomize(page, folder):
    path = os.path.relpath(folder, "deploy/kubernetes")
    assert render(path) == page.rendered[path]


def rollout(page, namespace, kind, name):
    assert kind.lower() == "statefulset" and "StatefulSet " + name in page.objects(namespace), name


def execute(page, namespace, pod, words):
    assert pod in pod_names(page.objects(namespace)), pod
    node, = [node for node in page.cluster(namespace).nodes if node.name == pod]
    program, *arguments = shlex.split(words)
    assert program == "coterie", program
    done = subprocess.run([COTERIE, *arguments], env={"COTERIE_ENDPOINTS": node.endpoint}, capture_output=True,
                          text=True, timeout=120)
    assert done.returncode == 0 and (done.stdout or "put" in arguments), (words, done)


def logs(page, namespace, pod):
    assert pod in pod_names(page.objects(namespace)), pod


def port_forward(page, namespace, service, port, target):
    ports = at(page.objects(namespace)["Service " + service], "spec ports")
    assert port == target and int(target) in [one["port"] for one in ports], (service, target)


def make_key(page, bytes_wanted, file):
    subprocess.run("openssl rand -base64 %s > %s" % (bytes_wanted, file), shell=True, check=True, cwd=page.folder)
    assert os.path.getsize(os.path.join(page.folder, file)) >= 32


def create_secret(page, namespace, name, file):
    path = os.path.join(page.folder, file)
    assert os.path.exists(path), "no command above has made %s" % file
    made = yaml.safe_load(kubectl("-n", namespace, "create", "secret", "generic", name, "--from-file=" + path,
                                  "--dry-run=client", "-o", "yaml"))
    volumes = at(pod_template(page.objects(namespace)), "spec volumes")
    assert made["metadata"]["name"] in [at(volume, "secret secretName") for volume in volumes], name
    key_file = manifest.settings(page.objects(namespace))["COTERIE_CLUSTER_KEY_FILE"]
    assert list(made["data"]) == [os.path.basename(key_file)], made["data"]


def label_namespace(page, _, label, value):
    rules = at(only(page.objects("coterie"), "NetworkPolicy"), "spec ingress")
    wanted = [at(source, "namespaceSelector matchLabels") for rule in rules for source in rule["from"]
              if "namespaceSelector" in source]
    assert {label: value} in wanted, label


COMMANDS = [
    (r"docker build -f (\S+) -t (\S+) \.", docker_build),
    (r"kind load docker-image (\S+)", kind_load),
    (r"kubectl apply -k (\S+)", apply_folder),
    (r"kubectl apply -f (\S+)", apply_file),
    (r"kubectl kustomize (\S+)", kustomize),
    (r"kubectl -n (\S+) rollout status (\w+)/(\S+)", rollout),
    (r"kubectl -n (\S+) exec (\S+) -- (.+)", execute),
    (r"kubectl -n (\S+) logs (\S+)", logs),
    (r"kubectl -n (\S+) port-forward service/(\S+) (\d+):(\d+)", port_forward),
    (r"openssl rand -base64 (\d+) > (\S+)", make_key),
    (r"kubectl -n (\S+) create secret generic (\S+) --from-file=(\S+)", create_secret),
    (r"kubectl label namespace (\S+) (\S+)=(\S+)", label_namespace),
]


def play(page, command):
    for pattern, function in COMMANDS:
        match = re.fullmatch(pattern, command)
        if match:
            return function(page, *match.groups())
    raise AssertionError("no function here knows this command")


def refuses(page, command):
    try:
        play(page, command)
    except (AssertionError, KeyError, OSError):
        return True
    return False


def overlay_of_ones_own(page):
    """The page's example renders, and changes the image alone."""
    with tempfile.TemporaryDirectory(prefix="coterie-mine-") as folder:
        shutil.copytree(manifest.KUBERNETES, os.path.join(folder, "kubernetes"))
        path, = re.findall(r"# deploy/kubernetes/(\S+)/kustomization.yaml", page.yaml)
        os.mkdir(os.path.join(folder, "kubernetes", path))
        with open(os.path.join(folder, "kubernetes", path, "kustomization.yaml"), "w") as file:
            file.write(page.yaml)
        kept, manifest.KUBERNETES = manifest.KUBERNETES, os.path.join(folder, "kubernetes")
        try:
            mine = render(path)
        finally:
            manifest.KUBERNETES = kept
    box = manifest.container(mine)
    assert box["image"] == "registry.example.com/coterie:0.1.0", box["image"]
    box["image"] = image(page)
    assert mine == page.rendered["overlays/production"]


def figures(page):
    """Seconds that the page tells of are those of the manifest."""
    objects = page.objects("coterie")
    box = manifest.container(objects)
    readiness = box["readinessProbe"]
    told = re.search(r"serves on for (\d+) s.*at most (\d+) s; the kubelet waits (\d+) s", page.text).groups()
    assert told == (box["lifecycle"]["preStop"]["exec"]["command"][1],
                    str(int(manifest.settings(objects)["COTERIE_DRAIN_MS"]) // 1000),
                    str(at(pod_template(objects), "spec terminationGracePeriodSeconds"))), told
    told, = re.search(r"leaves the client service within (\d+) s", page.text).groups()
    assert int(told) == readiness["periodSeconds"] * readiness["failureThreshold"], told
    told, = re.search(r"makes (\d+) partitions", page.text).groups()
    assert told == manifest.settings(objects)["COTERIE_PARTITIONS"], told


def main():
    page = Page()
    failures = 0
    try:
        for what, function in [(command, lambda c=command: play(page, c)) for command in page.commands] + [
                ("wrong: " + command, lambda c=command: None if refuses(page, c) else 1 / 0) for command in WRONG] + [
                ("an overlay of one's own", lambda: overlay_of_ones_own(page)), ("figures", lambda: figures(page))]:
            try:
                function()
            except Exception as error:  # the others are still worth playing
                failures += 1
                print("FAILED %s: %s: %s" % (what, type(error).__name__, error))
    finally:
        page.close()
    print("%d commands, %d failed; %d wrong ones tried" % (len(page.commands), failures, len(WRONG)))
    return 1 if failures or not page.commands else 0


if __name__ == "__main__":
    sys.exit(main())
