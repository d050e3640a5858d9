"""Real nodes on loopback for the tests in this folder: started, killed, paused, asked.

Every process is ours and is ended by its pid; ports are free ones; data lives in a temporary folder that
is removed at the end. Waits are for conditions, with a bound. Nobody knows how busy the machine is: bounds are such
that only what never comes misses them.
"""

import atexit
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
COTERIED = os.environ.get("COTERIED", os.path.join(ROOT, "build/dev/coteried"))


def make_stubs():
    """Python stubs by protoc, from the public files alone."""
    out = tempfile.mkdtemp(prefix="coterie-stubs-")
    atexit.register(shutil.rmtree, out, ignore_errors=True)
    proto = os.path.join(ROOT, "proto")
    files = [
        os.path.join(folder, name)
        for folder in ("coterie/v1", "grpc/health/v1", "grpc/reflection/v1", "grpc/reflection/v1alpha")
        for name in sorted(os.listdir(os.path.join(proto, folder)))
    ]
    plugin = shutil.which("grpc_python_plugin")
    subprocess.run(
        ["protoc", "--proto_path=" + proto, "--python_out=" + out, "--grpc_out=" + out,
         "--plugin=protoc-gen-grpc=" + plugin] + files, check=True)
    # The generated grpc/ folder must not hide the grpc package: it joins the package's path.
    sys.path.insert(0, out)
    import grpc
    grpc.__path__.append(os.path.join(out, "grpc"))
    return out


make_stubs()

import grpc  # noqa: E402
from coterie.v1 import cluster_pb2, cluster_service_pb2_grpc  # noqa: E402
from coterie.v1 import key_value_pb2 as kv  # noqa: E402
from coterie.v1 import key_value_service_pb2_grpc  # noqa: E402
from coterie.v1 import maintenance_pb2, maintenance_service_pb2_grpc  # noqa: E402
from grpc.health.v1 import health_pb2, health_pb2_grpc  # noqa: E402

CHANNEL_OPTIONS = [
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 300),
    ("grpc.use_local_subchannel_pool", 1),
]


def skip(why):
    """Ends the test: this machine cannot play it."""
    print("skipped: " + why)
    sys.exit(77)  # SKIP_RETURN_CODE


class Ports:
    """Ports that no other test has, also while nobody listens there. A block of them is whose socket has its name, until the
    process ends; names and ports are of one network namespace. They lie below those that the kernel gives to connections:
    such a one could sit on the port of a node that is down."""
    BLOCK = 40

    def __init__(self):
        with open("/proc/sys/net/ipv4/ip_local_port_range") as file:
            low = int(file.read().split()[0])
        self.firsts = list(range(10000, low - self.BLOCK, self.BLOCK)) or list(range(10000, 60000, self.BLOCK))
        random.shuffle(self.firsts)
        self.claims, self.left = [], []

    def claim(self):
        first = self.firsts.pop()
        name = socket.socket(socket.AF_UNIX)
        try:
            name.bind("\0coterie-test-ports-%d" % first)
        except OSError:
            name.close()
            return
        self.claims.append(name)
        self.left = list(range(first, first + self.BLOCK))

    def next(self):
        while True:
            while not self.left:
                self.claim()
            port = self.left.pop()
            with socket.socket() as probe:
                try:
                    probe.bind(("127.0.0.1", port))
                    return port
                except OSError:  # of a program that is no test
                    pass


PORTS = Ports()


def free_ports(count):
    return [PORTS.next() for _ in range(count)]


def wait_for(what, condition, seconds=60.0):
    """What the condition says, once it is true. One that could not be asked (no answer in time) is not true yet."""
    end = time.monotonic() + seconds
    while True:
        error = ""
        try:
            value = condition()
            if value:
                return value
        except (grpc.RpcError, OSError) as failed:
            error = "; at last: %s" % failed
        if time.monotonic() > end:
            raise AssertionError("waited %.0f s for %s%s" % (seconds, what, error))
        time.sleep(0.02)


class Node:
    def __init__(self, cluster, name, ports, host="127.0.0.1"):
        self.cluster = cluster
        self.name = name
        self.host = host
        self.wrapper = []  # what the process is started through
        self.client_port, self.peer_port, self.http_port = ports
        self.process = None
        self.environment = {}  # COTERIE_* variables of the process
        self.log = os.path.join(cluster.folder, name + ".log")
        self.data = os.path.join(cluster.folder, name)
        self.endpoint = "%s:%d" % (host, self.client_port)
        self.channel = None
        self.log_start = 0  # where its last start begins in there
        self.left_channels = []
        self.connect()

    def connect(self):
        """A new channel: one that saw its server die may fail fast for seconds after the next start. The one before
        stays open until the end: another thread may be about to send on it."""
        if self.channel is not None:
            self.left_channels.append(self.channel)
        self.channel = grpc.insecure_channel("ipv4:" + self.endpoint, options=CHANNEL_OPTIONS)
        self.kv = key_value_service_pb2_grpc.KeyValueStub(self.channel)
        self.admin = cluster_service_pb2_grpc.ClusterStub(self.channel)
        self.maintenance = maintenance_service_pb2_grpc.MaintenanceStub(self.channel)
        self.health = health_pb2_grpc.HealthStub(self.channel)

    def arguments(self):
        arguments = [
            COTERIED, "--name", self.name, "--data-dir", self.data,
            "--client-address", self.endpoint,
            "--http-address", "%s:%d" % (self.host, self.http_port),
            "--initial-cluster", self.cluster.initial_cluster(),
        ]
        return arguments + self.cluster.flags

    def start(self):
        assert self.process is None
        self.connect()
        # Settings come from the flags alone, whatever the tests' own environment holds.
        environment = {k: v for k, v in os.environ.items() if not k.startswith("COTERIE_")}
        environment.update(self.environment)
        with open(self.log, "ab") as log:
            self.log_start = log.tell()
            self.process = subprocess.Popen(self.wrapper + self.arguments(), stdout=log, stderr=log,
                                            stdin=subprocess.DEVNULL, env=environment)
        return self

    def serving(self):
        if self.process.poll() is not None:
            raise AssertionError("%s ended with %s:\n%s" % (self.name, self.process.returncode, self.log_tail()))
        try:  # the channel's own back-off starts only once somebody listens
            socket.create_connection((self.host, self.client_port), timeout=1).close()
        except OSError:
            return False
        try:
            reply = self.health.Check(health_pb2.HealthCheckRequest(), timeout=2, wait_for_ready=True)
            return reply.status == health_pb2.HealthCheckResponse.SERVING
        except grpc.RpcError:
            return False

    def wait_serving(self, seconds=60.0):
        try:
            wait_for(self.name + " to serve", self.serving, seconds)
        except AssertionError as error:
            raise AssertionError("%s; its log:\n%s" % (error, self.log_tail())) from None
        return self

    def kill(self):
        """SIGKILL: nothing of the process runs after this line."""
        self.process.kill()
        self.process.wait()
        self.process = None

    def terminate(self, seconds=60.0):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(seconds)
        self.process = None
        return code

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def rss_bytes(self):
        with open("/proc/%d/status" % self.process.pid) as status:
            for line in status:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) * 1024
        raise AssertionError("no VmRSS")

    def queued_seconds(self):
        """How long its first thread, which starts it, was ready to run and others did."""
        with open("/proc/%d/schedstat" % self.process.pid) as figures:
            return int(figures.read().split()[1]) / 1e9

    def open_files(self):
        return len(os.listdir("/proc/%d/fd" % self.process.pid))

    def log_tail(self, lines=20):
        with open(self.log, errors="replace") as log:
            return "".join(log.readlines()[-lines:])

    def log_of_start(self):
        """What it has written since its last start."""
        with open(self.log, errors="replace") as log:
            log.seek(self.log_start)
            return log.read()

    def alive_nodes(self):
        """How many it has heard of and believes in; 0 when it does not say."""
        try:
            nodes = self.admin.ListNodes(cluster_pb2.ListNodesRequest(), timeout=20).nodes
        except grpc.RpcError:
            return 0
        return sum(node.liveness == cluster_pb2.Node.LIVENESS_ALIVE for node in nodes)

    def metrics(self):
        page = urllib.request.urlopen("http://%s:%d/metrics" % (self.host, self.http_port), timeout=20)
        return page.read().decode().splitlines()

    def connected_peers(self):
        """Those that its own link reaches: it may have heard of others, and cannot ask them yet."""
        return sum(line.startswith("coterie_peer_connected{") and line.endswith(" 1") for line in self.metrics())

    def metric(self, name):
        for line in self.metrics():
            if line.startswith(name + " "):
                return int(float(line.split()[1]))
        raise AssertionError("%s has no metric %s" % (self.name, name))

    def get(self, key, timeout=20, **more):
        return self.kv.Get(kv.GetRequest(key=key, **more), timeout=timeout)

    def put(self, key, value, timeout=20, **more):
        return self.kv.Put(kv.PutRequest(key=key, value=value, **more), timeout=timeout)


def cluster_digests(nodes, keyspace=""):
    """{(partition, keyspace): {node: (digest, keys)}} of what the nodes hold now, and the list of those that differ
    or are not known on a node."""
    held, bad = {}, set()
    for node in nodes:
        for row in node.maintenance.Digest(maintenance_pb2.DigestRequest(keyspace=keyspace), timeout=30).vnodes:
            place = (row.partition, row.keyspace)
            held.setdefault(place, {})[node.name] = (row.digest, row.keys)
            if row.problem or not row.complete:
                bad.add(place)
    bad.update(place for place, copies in held.items() if len(set(copies.values())) > 1)
    return held, sorted(bad)


class Cluster:
    def __init__(self, count, flags=()):
        self.folder = tempfile.mkdtemp(prefix="coterie-cluster-")
        self.flags = list(flags)
        self.nodes = self.make_nodes(count)
        atexit.register(self.close)

    def make_nodes(self, count):
        ports = free_ports(3 * count)
        return [Node(self, "n%d" % (i + 1), ports[3 * i:3 * i + 3]) for i in range(count)]

    def initial_cluster(self):
        return ",".join("%s=%s:%d" % (n.name, n.host, n.peer_port) for n in self.nodes)

    def start(self):
        for node in self.nodes:
            if node.process is None:
                node.start()
        for node in self.nodes:
            node.wait_serving()
        self.wait_alive()
        return self

    def wait_alive(self, seconds=60.0):
        """Every node believes that all are alive, and its own links reach them."""
        for node in self.nodes:
            wait_for("%s to see all nodes" % node.name,
                     lambda n=node: n.alive_nodes() == len(self.nodes), seconds)
            wait_for("%s to be linked with all nodes" % node.name,
                     lambda n=node: n.connected_peers() == len(self.nodes) - 1, seconds)

    def close(self):
        for node in self.nodes:
            if node.process is not None:
                node.resume()
                node.kill()
            for channel in node.left_channels + [node.channel]:
                channel.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind not in (None, SystemExit):
            for node in self.nodes:
                if os.path.exists(node.log):
                    print("the end of the log of %s:\n%s" % (node.name, node.log_tail(40)), file=sys.stderr)
        self.close()
