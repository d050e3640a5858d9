"""Rule: the pods of the StatefulSet find each other by their names alone, also when one comes back under another
address; they run as the pod's user, without rights, as process 1 of a root file system that cannot be written and has
nothing but libraries, on a volume that has a lost+found. docs/kubernetes.md; docs/operations.md (addresses may change).

Nothing of the rendered command line is replaced here but the number of partitions (256 take long to make). Each pod
is a process in a network namespace, a process namespace and a root of its own; this program is the cluster's name
server and kubelet. Needs root and iproute2 (else skipped).
"""

import hashlib
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

import manifest
from manifest import at, container, flags, only, pod_arguments, pod_environment, pod_names, pod_template

manifest.need_kubectl()
sys.path.insert(0, os.path.join(manifest.ROOT, "tests/cluster"))
from network import NetworkCluster, enter_hub, ip, need_namespaces  # noqa: E402
from cluster import COTERIED, ROOT, Node, grpc, health_pb2, wait_for  # noqa: E402

COTERIE = os.environ.get("COTERIE", os.path.join(ROOT, "build/dev/coterie"))
NAME_SERVER = "10.77.0.1"
SEARCH = "%s.svc.cluster.local svc.cluster.local cluster.local"
A, NOT_FOUND = 1, 3
RETURN_SECONDS = 30

# A root with libraries, null, proc and the volume; then what the kubelet and the runtime do: no rights, no way back.
ROOT_SCRIPT = """set -eu
root=$1 volume=$2 daemon=$3 client=$4 user=$5 group=$6
shift 6
mount -t tmpfs tmpfs "$root"
cd "$root"
mkdir -p usr/lib usr/bin etc/coterie proc dev var/lib/coterie
ln -s usr/lib lib
ln -s usr/lib64 lib64
mkdir -p usr/lib64 && mount --bind /usr/lib64 usr/lib64
mount --bind /usr/lib usr/lib
touch dev/null usr/bin/coteried usr/bin/coterie usr/bin/sleep usr/bin/setpriv
mount --bind /dev/null dev/null
mount --bind "$daemon" usr/bin/coteried
mount --bind "$client" usr/bin/coterie
mount --bind /usr/bin/sleep usr/bin/sleep
mount --bind /usr/bin/setpriv usr/bin/setpriv
cp "$volume.resolv" etc/resolv.conf
install -m 0440 -g "$group" "$volume.key" etc/coterie/cluster.key
mount -t proc proc proc
mount --bind "$volume" var/lib/coterie
mount -o remount,ro "$root"
exec chroot "$root" /usr/bin/setpriv --reuid "$user" --regid "$group" --clear-groups --no-new-privs \\
    --bounding-set=-all --inh-caps=-all --pdeathsig KILL -- /usr/bin/coteried "$@"
"""


class NameServer(threading.Thread):
    """Answers for the pods' names as the cluster's DNS does; nothing else exists. name -> address, changed at will."""

    def __init__(self, address):
        super().__init__(daemon=True)
        self.names, self.asked = {}, set()
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((address, 53))
        self.start()

    def run(self):
        while True:
            question, client = self.socket.recvfrom(4096)
            self.socket.sendto(self.answer(question), client)

    def answer(self, question):
        labels, at_byte = [], 12
        while question[at_byte]:
            labels.append(question[at_byte + 1:at_byte + 1 + question[at_byte]].decode().lower())
            at_byte += 1 + question[at_byte]
        kind, = struct.unpack_from(">H", question, at_byte + 1)
        name = ".".join(labels)
        self.asked.add(name)
        address = self.names.get(name)
        records = b""
        if address and kind == A:  # the name is a pointer to the question's; 1 s
            records = struct.pack(">HHHIH", 0xC00C, A, 1, 1, 4) + socket.inet_aton(address)
        flags_word = 0x8580 | (0 if address else NOT_FOUND)
        header = question[:2] + struct.pack(">HHHHH", flags_word, 1, 1 if records else 0, 0, 0)
        return header + question[12:at_byte + 5] + records


class Pod(Node):
    zone = manifest.ZONE

    def arguments(self):
        objects = self.cluster.objects
        security = at(pod_template(objects), "spec securityContext")
        self.environment = dict(pod_environment(objects, self.name, self.zone), COTERIE_PARTITIONS="64")
        user, group = str(security["runAsUser"]), str(security["runAsGroup"])
        return ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", ROOT_SCRIPT, "pod", self.root,
                self.data, COTERIED, COTERIE, user, group] + pod_arguments(objects, self.name)

    def make_volume(self):
        """As a fresh ext4 volume looks after fsGroup: root's, the group may write, with a lost+found."""
        group = at(pod_template(self.cluster.objects), "spec securityContext fsGroup")
        for folder, mode in ((self.data, 0o2775), (os.path.join(self.data, "lost+found"), 0o700)):
            os.mkdir(folder)
            os.chmod(folder, mode)
        os.chown(self.data, 0, group)
        self.root = self.data + ".root"
        os.mkdir(self.root)
        os.chmod(self.cluster.folder, 0o755)
        with open(self.data + ".key", "w") as file:
            file.write("a secret of these tests, 32 bytes or more\n")
        with open(self.data + ".resolv", "w") as file:
            file.write("search %s\nnameserver %s\noptions ndots:5\n" % (SEARCH % self.cluster.namespace, NAME_SERVER))

    def full_name(self):
        service = at(only(self.cluster.objects, "StatefulSet"), "spec serviceName")
        return "%s.%s.%s.svc.cluster.local" % (self.name, service, self.cluster.namespace)

    def set_address(self, address):
        ip("addr", "flush", "dev", "eth0", space=self.space)
        ip("addr", "add", address + "/24", "dev", "eth0", space=self.space)
        self.host, self.endpoint = address, "%s:%d" % (address, self.client_port)
        self.cluster.name_server.names[self.full_name()] = address

    def daemon(self):
        """The process in the pod, and who it is there."""
        with open("/proc/%d/task/%d/children" % (self.process.pid, self.process.pid)) as children:
            pid, = children.read().split()
        with open("/proc/%s/status" % pid) as status:
            return int(pid), dict(line.rstrip("\n").split(":\t", 1) for line in status)

    def kill(self):
        """unshare's end is the daemon's: --pdeathsig, since a change of user takes back what --kill-child has set."""
        pids = []
        if self.process.poll() is None:
            with open("/proc/%d/task/%d/children" % (self.process.pid, self.process.pid)) as children:
                pids = children.read().split()
        super().kill()
        wait_for("the pod's process to end", lambda: not any(os.path.exists("/proc/" + pid) for pid in pids))

    def stop(self, signal_number):
        pid, _ = self.daemon()
        os.kill(pid, signal_number)
        code = self.process.wait(40)
        self.process = None
        return code


class PodCluster(NetworkCluster):
    pod_class = Pod

    def __init__(self, folder, machines=0):
        """Machines for as many pods, at least for those of the manifest."""
        self.objects = manifest.render(folder)
        self.namespace = only(self.objects, "StatefulSet")["metadata"].get("namespace", "default")
        super().__init__(max(machines, len(pod_names(self.objects))))

    def make_nodes(self, count):
        nodes = super().make_nodes(count)
        self.name_server = NameServer(NAME_SERVER)
        pods = []
        for number, node in enumerate(nodes):
            node.channel.close()
            name = "%s-%d" % (at(only(self.objects, "StatefulSet"), "metadata name"), number)
            pod = self.pod_class(self, name, (7700, 7701, 7702), node.host)
            pod.space, pod.wrapper = node.space, node.wrapper
            pod.make_volume()
            pods.append(pod)
        return pods

    def start(self):
        """The first pod runs alone, and no name resolves; then the others come."""
        for number, pod in enumerate(self.nodes):
            pod.arguments()
            pod.start()
            if number == 0:
                wait_for("a question for the second pod", lambda: self.asked_for(self.nodes[1]))
        for number, pod in enumerate(self.nodes):
            pod.set_address("10.77.0.%d" % (20 + number))
            pod.connect()
        for pod in self.nodes:
            pod.wait_serving(60)
        self.wait_alive()

    def asked_for(self, pod):
        return any(name.startswith(pod.name + ".") for name in self.name_server.asked)


def pod_has_no_rights(cluster):
    security = at(pod_template(cluster.objects), "spec securityContext")
    for pod in cluster.nodes:
        _, status = pod.daemon()
        assert status["Name"] == "coteried", status["Name"]
        assert status["Uid"].split() == [str(security["runAsUser"])] * 4, status["Uid"]
        assert status["Gid"].split() == [str(security["runAsGroup"])] * 4, status["Gid"]
        assert status["NSpid"].split()[-1] == "1" and status["NoNewPrivs"] == "1", status
        assert {status["Cap" + kind] for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}, status


def root_cannot_be_written(cluster):
    """The daemon's own view: / is read-only, the volume is not."""
    pid, _ = cluster.nodes[0].daemon()
    with open("/proc/%d/mountinfo" % pid) as mounts:
        options = {line.split()[4]: line.split()[5].split(",") for line in mounts}
    assert "ro" in options["/"] and "rw" in options[flags(cluster.objects)["data-dir"]], options


def put_once(pod, key):
    """A machine with much else to do may refuse a write for a while; under its id it can be tried again."""
    try:
        return pod.put(key, b"of " + key, request_id=hashlib.md5(key).digest())
    except grpc.RpcError as error:
        assert error.code() in (grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNAVAILABLE,
                                grpc.StatusCode.RESOURCE_EXHAUSTED), error
        return None


def put_through_each_is_read_through_the_next(cluster, what):
    pods = [pod for pod in cluster.nodes if pod.process is not None]
    for pod, other in zip(pods, pods[1:] + pods[:1]):
        key = ("%s through %s" % (what, pod.name)).encode()
        wait_for("a put through " + pod.name, lambda: put_once(pod, key), 30)
        assert [value.value for value in other.get(key).values] == [b"of " + key], key


def comes_back_under_another_address(cluster, pod, address, signal_number):
    code = pod.stop(signal_number)
    if signal_number == signal.SIGTERM:
        assert code == 0 and "clean=yes" in pod.log_tail(), pod.log_tail()
    put_through_each_is_read_through_the_next(cluster, "without " + pod.name)
    pod.set_address(address)
    pod.start()
    began = time.monotonic()
    pod.wait_serving(60)
    serving_s = time.monotonic() - began
    cluster.wait_alive(RETURN_SECONDS)
    put_through_each_is_read_through_the_next(cluster, "after %s" % address)
    return serving_s, time.monotonic() - began


def readiness_is_what_the_kubelet_sees(cluster):
    for pod in cluster.nodes:
        service = at(container(cluster.objects), "readinessProbe grpc service")
        reply = pod.health.Check(health_pb2.HealthCheckRequest(service=service), timeout=20)
        assert reply.status == health_pb2.HealthCheckResponse.SERVING, reply


def main():
    need_namespaces(mounts=True)
    enter_hub()
    with PodCluster("overlays/production") as cluster:
        cluster.start()
        pod_has_no_rights(cluster)
        root_cannot_be_written(cluster)
        readiness_is_what_the_kubelet_sees(cluster)
        put_through_each_is_read_through_the_next(cluster, "at first")
        for pod, address, number in ((cluster.nodes[0], "10.77.0.40", signal.SIGTERM),
                                     (cluster.nodes[2], "10.77.0.41", signal.SIGKILL)):
            serving_s, alive_s = comes_back_under_another_address(cluster, pod, address, number)
            print("%s, signal %d: serves under another address after %.1f s, all see it after %.1f s" % (
                pod.name, number, serving_s, alive_s))
    return 0


if __name__ == "__main__":
    sys.exit(main())
