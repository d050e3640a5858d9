"""What kubectl makes of deploy/kubernetes, as Python objects, and what a kubelet makes of those: the command line and
environment of each pod.

kubectl before 1.21 has a kustomize that knows other names for two fields. For such a one a copy is rendered in which
these, and nothing else, are written in the old way.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

import yaml

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
KUBERNETES = os.path.join(ROOT, "deploy/kubernetes")
KUBECTL = os.environ.get("KUBECTL") or shutil.which("kubectl")
SKIPPED = 77
ZONE = "zone-a"  # of every pod's machine, where nothing else is said
UNITS = {"": 1, "m": 1e-3, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40,
         "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}


def need_kubectl():
    if KUBECTL is None:
        print("skipped: there is no kubectl here; deploy/install-packages --tests installs one")
        sys.exit(SKIPPED)


def kubectl(*arguments, stdin=None):
    """Its output. No cluster: it must not find one."""
    environment = dict(os.environ, KUBECONFIG="/nonexistent")
    done = subprocess.run([KUBECTL, *arguments], input=stdin, capture_output=True, text=True, timeout=60,
                          env=environment)
    assert done.returncode == 0, "kubectl %s: %s" % (" ".join(arguments), done.stderr)
    return done.stdout


def kubectl_minor():
    version = json.loads(kubectl("version", "--client", "--output=json"))["clientVersion"]
    return int(re.match(r"\d+", version["minor"]).group())


def in_the_old_way(folder):
    path = os.path.join(folder, "kustomization.yaml")
    with open(path) as file:
        kustomization = yaml.safe_load(file)
    entries = kustomization["resources"]
    kustomization["bases"] = [e for e in entries if os.path.isdir(os.path.join(folder, e))]
    kustomization["resources"] = [e for e in entries if e not in kustomization["bases"]]
    patches = kustomization.pop("patches", [])
    assert all(set(patch) == {"path", "target"} for patch in patches), patches
    kustomization["patchesJson6902"] = patches
    with open(path, "w") as file:
        yaml.safe_dump(kustomization, file)
    for base in kustomization["bases"]:
        in_the_old_way(os.path.join(folder, base))


def render(folder):
    """All objects of `folder` (below deploy/kubernetes): "Kind name" -> object."""
    if kubectl_minor() >= 21:
        text = kubectl("kustomize", os.path.join(KUBERNETES, folder))
    else:
        with tempfile.TemporaryDirectory(prefix="coterie-kustomize-") as copy:
            shutil.copytree(KUBERNETES, os.path.join(copy, "kubernetes"))
            in_the_old_way(os.path.join(copy, "kubernetes", folder))
            text = kubectl("kustomize", os.path.join(copy, "kubernetes", folder))
    objects = {}
    for one in yaml.safe_load_all(text):
        name = "%s %s" % (one["kind"], one["metadata"]["name"])
        assert name not in objects, "%s twice" % name
        objects[name] = one
    return objects


def only(objects, kind):
    found = [one for one in objects.values() if one["kind"] == kind]
    assert len(found) == 1, "%d of kind %s" % (len(found), kind)
    return found[0]


def at(value, path):
    """The field at "spec template 0 ...". AssertionError where there is none."""
    for step in path.split():
        key = int(step) if isinstance(value, list) else step
        try:
            value = value[key]
        except (KeyError, IndexError, TypeError):
            raise AssertionError("no field %s (at %s)" % (path, step)) from None
    return value


def number(text):
    """4Gi, 500m, 4GiB, 2."""
    digits, unit = re.fullmatch(r"(\d+)([A-Za-z]*)", str(text)).groups()
    return int(digits) * UNITS[unit]


def pod_template(objects):
    return at(only(objects, "StatefulSet"), "spec template")


def container(objects):
    one, = at(pod_template(objects), "spec containers")
    return one


def settings(objects):
    """COTERIE_* of the ConfigMap that the container takes its environment from."""
    source, = at(container(objects), "envFrom")
    name = "ConfigMap " + at(source, "configMapRef name")
    assert name in objects, "no %s" % name
    return at(objects[name], "data")


def pod_names(objects):
    stateful = only(objects, "StatefulSet")
    return ["%s-%d" % (at(stateful, "metadata name"), i) for i in range(at(stateful, "spec replicas"))]


def pod_environment(objects, pod, zone=ZONE):
    environment = dict(settings(objects))
    fields = {"metadata.name": pod, "metadata.namespace": only(objects, "StatefulSet")["metadata"].get("namespace"),
              "metadata.labels['topology.kubernetes.io/zone']": zone}
    for entry in at(container(objects), "env"):
        environment[entry["name"]] = entry["value"] if "value" in entry else fields[
            at(entry, "valueFrom fieldRef fieldPath")]
    return environment


def pod_arguments(objects, pod):
    """As the kubelet does: $(NAME) is the variable, and stays as it is when there is none."""
    environment = pod_environment(objects, pod)
    return [re.sub(r"\$\(([A-Za-z0-9_]+)\)", lambda m: environment.get(m.group(1), m.group(0)), text)
            for text in at(container(objects), "args")]


def flags(objects):
    """--data-dir=X as data-dir: X, of the first pod."""
    arguments = pod_arguments(objects, pod_names(objects)[0])
    return dict(re.fullmatch(r"--([a-z-]+)=(.*)", text).groups() for text in arguments)


def port_of(address):
    return int(address.rsplit(":", 1)[1])
