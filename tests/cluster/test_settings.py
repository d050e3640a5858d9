"""Rule: a setting is flag > COTERIE_* > YAML file > default; what is wrong is refused with a sentence that says
where and what next; a data directory belongs to one member of one cluster and one process; SIGHUP reloads
the log level, SIGTERM drains. DESIGN.md sections 4, 9, 12."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.error
import urllib.request

from cluster import COTERIED, Cluster, Node, cluster_pb2, free_ports, grpc, kv, wait_for

FAILED, BAD_SETTINGS = 1, 2
PATIENCE = 5  # machines that run tests are shared


def clean_environment(more):
    return {**{k: v for k, v in os.environ.items() if not k.startswith("COTERIE_")}, **more}


def coteried(*arguments, code=0, folder=None, **environment):
    """A run that ends by itself: what it printed."""
    done = subprocess.run([COTERIED, *arguments], capture_output=True, text=True, timeout=60, cwd=folder,
                          env=clean_environment(environment))
    assert done.returncode == code, "%s: exit %d instead of %d\n%s%s" % (
        arguments, done.returncode, code, done.stdout, done.stderr)
    return done.stdout if code == 0 else done.stderr


def refused(*arguments, says, code=BAD_SETTINGS, **environment):
    told = coteried(*arguments, code=code, **environment)
    for word in [says] if isinstance(says, str) else says:
        assert word in told, "%r is not in %r" % (word, told)
    return told


@contextlib.contextmanager
def a_node(*arguments, folder=None):
    """A node outside of any cluster of the test, from "is ready" to a clean end."""
    process = subprocess.Popen([COTERIED, *arguments], cwd=folder, env=clean_environment({}), stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        wait_for("the node to be ready", lambda: "is ready" in (process.stdout.readline() or "is ready"))
        assert process.poll() is None, process.stdout.read()
        yield
        process.terminate()
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def put_and_get(endpoint):
    from coterie.v1 import key_value_service_pb2_grpc
    with grpc.insecure_channel(endpoint) as channel:
        stub = key_value_service_pb2_grpc.KeyValueStub(channel)
        stub.Put(kv.PutRequest(key=b"k", value=b"v"), timeout=30, wait_for_ready=True)
        assert stub.Get(kv.GetRequest(key=b"k"), timeout=20).values[0].value == b"v"


def settings(text):
    """name -> (value, origin)"""
    found = {}
    for line in text.splitlines():
        name, _, rest = line.partition(": ")
        value, _, origin = rest.partition("  # ")
        found[name] = (value.strip('"'), origin)
    return found


def write(folder, name, text):
    path = os.path.join(folder, name)
    with open(path, "w") as file:
        file.write(text)
    return path


# -- settings


def test_precedence(folder):
    file = write(folder, "precedence.yaml", 'name: of-file\nzone: of-file\nweight: 3\nlog-level: error\n')
    got = settings(coteried("config", "print", "--origin", "--config", file, "--name", "of-flag",
                            COTERIE_NAME="of-environment", COTERIE_ZONE="of-environment"))
    assert got["name"] == ("of-flag", "flag"), got
    assert got["zone"] == ("of-environment", "environment"), got
    assert got["weight"] == ("3", "file"), got
    assert got["partitions"] == ("64", "default"), got
    assert settings(coteried("config", "print", "--origin", COTERIE_CONFIG=file))["weight"] == ("3", "file")
    assert settings(coteried("--name=with-equals", "config", "print"))["name"][0] == "with-equals"


def test_print_reads_back(folder):
    nodes = "a=127.0.0.1:1;dc=eu;zone=z;weight=2,b=127.0.0.1:2"
    printed = coteried("config", "print", "--initial-cluster", nodes, "--name", "a", "--memory", "64MiB")
    file = write(folder, "again.yaml", printed)
    assert coteried("config", "print", "--config", file) == printed
    listed = write(folder, "list.yaml", "initial-cluster:\n  - a=127.0.0.1:1\n  - b=127.0.0.1:2\n")
    got = settings(coteried("config", "print", "--origin", "--config", listed))
    assert got["initial-cluster"] == ("a=127.0.0.1:1,b=127.0.0.1:2", "file")


def test_help(_):
    text = coteried("--help")
    for name in settings(coteried("config", "print")):
        assert "--" + name in text, name
    assert coteried("--version").startswith("coteried ")


def test_unknown_and_broken(folder):
    file = write(folder, "unknown.yaml", "name: x\nnmae: y\n")
    refused("config", "print", "--config", file, says=("line 2", '"nmae"', "--help"))
    refused("--nmae", "x", says=("--nmae", "--help"))
    refused("--name", says=("--name", "value"))
    refused("-v", says=("-v", "coteried --help"))
    refused("status", says=("status", "coteried --help", "coterie --help"))  # of the other program
    for half in (["config"], ["config", "show"]):
        refused(*half, says="coteried config print")
    file = write(folder, "twice.yaml", "name: x\nzone: a\nname: y\n")
    refused("config", "print", "--config", file, says=("line 3", "name is given twice"))
    refused("--config", os.path.join(folder, "none.yaml"), says=("none.yaml", "No such file"))
    for text in ("a: [\n", "- list\n", "name: {x: y}\n", "just words\n", "name: [a, b]\n", "\tname: x\n"):
        refused("config", "print", "--config", write(folder, "broken.yaml", text), says="broken.yaml line 1")


def test_bad_values(_):
    for name, value, says in (
            ("weight", "0", "between 1 and"), ("weight", "many", "between 1 and"), ("partitions", "63", "power of two"),
            ("partitions", "4", "between 8 and"), ("memory", "1MiB", "between 32MiB and 64TiB"), ("memory", "64 parsecs", "size"),
            ("requests-max", "-1", "between"), ("value-bytes-max", "4MiB", "between"), ("drain-ms", "1s", "between"),
            ("client-address", "localhost", "host:port"), ("client-address", "", "host:port"),
            ("peer-address", ":7701", "host:port"), ("http-address", "::1:7702", "host:port"),
            ("client-address", "[::1]:65536", "host:port"), ("peer-address", "127.0.0.1:http", "host:port"),
            ("log-level", "loud", "debug, info, warning or error"), ("name", "", "1 to 63 visible"),
            ("name", "n" * 64, "1 to 63 visible"), ("name", "a b", "without blanks"), ("name", "n\u00e9", "visible ASCII"),
            ("zone", "z" * 32, "0 to 31 visible"), ("data-center", "d c", "without blanks"), ("weight", "99999999999999999999999", "between")):
        told = refused("config", "print", "--" + name, value, says=(name, says))
        variable = {"COTERIE_" + name.upper().replace("-", "_"): value}
        assert refused("config", "print", says=(name, says), **variable) == told.replace("(flag)", "(environment)")


def test_addresses(_):
    for address in ("[::1]:7700", "localhost:0", "a.b.c:65535"):
        assert settings(coteried("config", "print", "--client-address", address))["client-address"][0] == address
    assert settings(coteried("config", "print", "--http-address", ""))["http-address"][0] == "", "empty: no port"


def test_ipv6_addresses(folder):
    """[::1]:PORT is an address of each of the three ports."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        print("skipped: this machine has no IPv6")
        return
    client, peer, http = free_ports(3)
    with a_node("--data-dir", os.path.join(folder, "ipv6"), "--client-address", "[::1]:%d" % client, "--peer-address",
                "[::1]:%d" % peer, "--http-address", "[::1]:%d" % http):
        page = urllib.request.urlopen("http://[::1]:%d/healthz" % http, timeout=20)
        assert page.read() == b"ok\n"
        socket.create_connection(("::1", peer), timeout=20).close()
        put_and_get("[::1]:%d" % client)


def test_bad_cluster_list(folder):
    data = ["--data-dir", os.path.join(folder, "never")]
    for nodes, says in (("b=127.0.0.1:1", "not in initial-cluster"), ("a", "name=host:port"), ("a=host", "host:port"),
                        ("a=host:99999", "host:port"), ("a=h:1;size=3", ";weight="), ("a=h:1;weight=0", ";weight="),
                        ("a=h:1,a=h:2", "a"), ("a=h:1," * 70, "64")):
        told = coteried("--name", "a", "--initial-cluster", nodes, *data, code=BAD_SETTINGS)
        assert says in told and "initial-cluster" in told, (nodes, told)
    assert not os.path.exists(data[1]), "nothing is made for a cluster that cannot be"


def test_unknown_variable_is_told(folder):
    """Refusing it would keep pods from starting beside a service called coterie."""
    with Cluster(1) as cluster:
        node = cluster.nodes[0]
        node.environment["COTERIE_ENDPOINTS"] = "127.0.0.1:7700"  # of the client, in the same pod
        node.environment["COTERIE_CONFIG"] = write(folder, "empty.yaml", "{}\n")
        node.start().wait_serving()
        assert "unknown_variable" not in node.log_of_start(), node.log_tail()
        node.environment["COTERIE_SERVICE_HOST"] = "10.0.0.1"
        assert node.terminate() == 0
        node.start().wait_serving()
        assert "COTERIE_SERVICE_HOST" in node.log_of_start(), node.log_tail()


def test_http_port(_):
    """HEAD is GET without the body, as load balancers ask; a consistent keyspace is named as one."""
    with Cluster(1) as cluster:
        node = cluster.nodes[0].start().wait_serving()
        node.admin.CreateKeyspace(cluster_pb2.CreateKeyspaceRequest(keyspace=cluster_pb2.Keyspace(
            name="bank", mode=cluster_pb2.Keyspace.MODE_CONSISTENT)))

        def ask(method, path):
            return urllib.request.urlopen(urllib.request.Request(
                "http://127.0.0.1:%d%s" % (node.http_port, path), method=method), timeout=20)

        for path in ("/", "/metrics", "/status.json", "/healthz"):
            head = ask("HEAD", path)
            assert head.status == 200 and head.read() == b"" and int(head.headers["Content-Length"]) > 0, path
        shown = {k["name"]: k for k in json.load(ask("GET", "/status.json"))["keyspaces"]}
        assert (shown["bank"]["mode"], shown["bank"]["conflict"]) == ("consistent", "none"), shown
        assert (shown["default"]["mode"], shown["default"]["conflict"]) == ("available", "siblings"), shown
        assert b"<td>bank<td>3<td>none<td>fsync<td>majority<td>-<td>-" in ask("GET", "/").read()
        for method, path, status in (("POST", "/metrics", 405), ("GET", "/none", 404)):
            try:
                raise AssertionError(ask(method, path).status)
            except urllib.error.HTTPError as refusal:
                assert refusal.code == status, (method, path, refusal)


# -- the cluster key


def test_cluster_key_file(folder):
    key = "k" * 32
    never = ["--data-dir", os.path.join(folder, "no-data")]
    for path, says in ((os.path.join(folder, "absent"), "No such file"), (folder, "directory"),
                       (write(folder, "short", "k" * 31 + "\n" * 20), ("31 bytes", "at least 32")),
                       (write(folder, "long", "k" * 4097), ("more than 4096",))):
        told = refused("--cluster-key-file", path, *never, says=[path, "cluster-key-file"])
        assert all(word in told for word in ([says] if isinstance(says, str) else says)), told
    assert not os.path.exists(never[1]), "nothing is made before the key is there"

    with Cluster(2) as cluster:
        n1, n2 = cluster.nodes
        for node, text in ((n1, key), (n2, key + "\r\n")):
            node.environment["COTERIE_CLUSTER_KEY_FILE"] = write(folder, node.name + ".key", text)
        os.chmod(n2.environment["COTERIE_CLUSTER_KEY_FILE"], 0o600)
        cluster.start()
        assert "cluster_key_exposed" in n1.log_of_start() and "cluster_key_exposed" not in n2.log_of_start()
        first = n1.put(b"k", b"1").context
        second = n2.put(b"k", b"2", context=first)
        assert second.siblings == 1, "what one node gives the other takes"
        third = n1.put(b"k", b"3", context=second.context)
        assert [v.value for v in n2.get(b"k").values] == [b"3"]

        assert "cluster_key_differs" not in n1.log_of_start() + n2.log_of_start()

        # Another secret: what the old one signed is foreign, and both nodes say whose key it is.
        assert n2.terminate() == 0
        write(folder, "n2.key", "K" + key)
        n2.start().wait_serving()
        cluster.wait_alive()
        try:
            n2.put(b"k", b"4", context=third.context)
            raise AssertionError("a context that another secret signed is taken")
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.INVALID_ARGUMENT and "context" in error.details(), error
        assert n2.put(b"k", b"4", context=n2.get(b"k").context).siblings == 1
        for node, other in ((n1, "n2"), (n2, "n1")):
            wait_for("a word on the keys", lambda: any("cluster_key_differs" in line and 'name="%s"' % other in line
                                                       for line in node.log_of_start().splitlines()))
        assert key not in n1.log_of_start() + n2.log_of_start(), "a secret is not for the log"


# -- a data directory belongs to one member


def ends(node, code, *says):
    """A node that must refuse to start."""
    node.start()
    process, node.process = node.process, None
    try:
        process.wait(60)
    finally:
        process.kill()
    assert process.wait() == code, "exit %s\n%s" % (process.returncode, node.log_tail())
    last = node.log_tail(3)
    for word in says:
        assert word in last, "%r is not in %r" % (word, last)


def test_data_directory(_):
    with Cluster(3) as cluster:
        cluster.start()
        n1, n2, n3 = cluster.nodes
        n1.put(b"k", b"v", consistency=kv.CONSISTENCY_ALL)

        # The same directory twice: by its own name, on other ports.
        second = Node(cluster, "n1", free_ports(3))
        second.log += ".second"
        ends(second, FAILED, n1.data, "process")
        second.channel.close()
        assert [v.value for v in n1.get(b"k").values] == [b"v"], "the first goes on"

        for node in cluster.nodes:
            assert node.terminate() == 0
        cluster.flags = ["--partitions", "128"]
        ends(n1, FAILED, "partitions 64", "128", "fixed at creation")
        cluster.flags = []
        members, cluster.nodes = cluster.nodes, [n1, n2]
        ends(n1, FAILED, "data directory", "other members", "--initial-cluster")
        cluster.nodes = members
        n1.data, n2.data = n2.data, n1.data
        ends(n1, FAILED, "data directory", "another member", "--name")
        n1.data, n2.data = n2.data, n1.data

        # All addresses at once may change: a member is its name and what is in its directory.
        for node, ports in zip(members, [free_ports(9)[i::3] for i in range(3)]):
            node.channel.close()
            moved = Node(cluster, node.name, ports)
            node.__dict__.update(moved.__dict__)
        cluster.start()
        for node in cluster.nodes:
            assert [v.value for v in node.get(b"k", consistency=kv.CONSISTENCY_ALL).values] == [b"v"]


def test_ports_in_use(_):
    with socket.socket() as taken, Cluster(1) as cluster:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port, node = taken.getsockname()[1], cluster.nodes[0]
        for place in ("client-address", "peer-address", "http-address"):
            cluster.flags = ["--" + place, "127.0.0.1:%d" % port]
            ends(node, FAILED, "cannot listen", str(port), "use", "--" + place)
            assert " grpc " not in node.log_tail(1000), node.log_tail()  # the library says nothing beside it
        cluster.flags = ["--client-address", "no.such.host.invalid:1"]
        ends(node, FAILED, "cannot listen", "no.such.host.invalid", "--client-address")
        cluster.flags = ["--client-address", "192.0.2.1:%d" % port]
        ends(node, FAILED, "cannot listen", "192.0.2.1", "address of this host")
        cluster.flags = []
        cluster.start()
        node.put(b"after", b"all")


# -- signals


def test_sighup(folder):
    file = write(folder, "hup.yaml", "log-level: warning\n")
    with Cluster(1, ["--config", file]) as cluster:
        node = cluster.start().nodes[0]

        def reload(level, *expected):
            """One line that it writes from now on has all these words."""
            said = len(node.log_of_start())
            with open(file, "w") as out:
                out.write(level)
            node.process.send_signal(signal.SIGHUP)
            wait_for(expected, lambda: any(all(word in line for word in expected)
                                           for line in node.log_of_start()[said:].splitlines()))

        assert " info " not in node.log_of_start()
        reload("log-level: debug\n", "log_level=debug")
        reload("log-level: loud\n", "reload_failed", "loud")
        reload("log-levle: info\n", "log-levle")
        reload("log-level: info\nweight: 7\n", "log_level=info")
        node.put(b"k", b"v")
        assert node.terminate() == 0


def test_sigterm(_):
    """A running request ends, the exit is 0, and the next start finds a clean end."""
    for how in (signal.SIGTERM, signal.SIGINT):
        with Cluster(3, ["--drain-ms", "60000"]) as cluster:
            n1, n2, n3 = cluster.start().nodes
            n3.pause()
            running = n1.kv.Put.future(kv.PutRequest(key=b"k", value=b"v", consistency=kv.CONSISTENCY_ALL), timeout=60)
            wait_for("the put to be half done", lambda: n2.get(b"k", r=1).found)
            process, n1.process = n1.process, None
            process.send_signal(how)
            wait_for("draining", lambda: "draining" in n1.log_of_start())
            time.sleep(0.2)
            assert process.poll() is None, "it waits for what runs"
            n3.resume()
            assert running.result().acknowledgement.acknowledged == 3
            assert process.wait(60) == 0
            assert "clean=yes" in n1.log_tail(1), n1.log_tail(3)
            n1.start().wait_serving()
            cluster.wait_alive()
            assert n1.get(b"k").found


def test_drain_is_bounded(_):
    with Cluster(3, ["--drain-ms", "500"]) as cluster:
        n1, n2, n3 = cluster.start().nodes
        n2.pause()
        n3.pause()
        running = n1.kv.Put.future(kv.PutRequest(key=b"k", value=b"v"), timeout=60)
        wait_for("the put to have begun", lambda: n1.metric("coterie_coordinator_puts_total") > 0)
        started = time.monotonic()
        assert n1.terminate() == 0
        assert time.monotonic() - started < 10, "a drain of 0.5 s took %.1f s" % (time.monotonic() - started)
        assert running.exception().code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED), running.exception()


def test_idle_clients_do_not_hold_a_stop(_):
    """gRPC clients may look at an idle connection only every five seconds."""
    with Cluster(1) as cluster:
        node, took = cluster.nodes[0], []
        for _ in range(3):
            node.start().wait_serving()
            node.put(b"k", b"v")
            started = time.monotonic()
            assert node.terminate() == 0
            took.append(time.monotonic() - started)
        print("stopped in %s ms" % ", ".join("%.0f" % (1000 * seconds) for seconds in took))
        assert min(took) < 0.5 * PATIENCE


# -- starting


def ready_ms(node):
    """What it says itself; the interpreter's own polling is not its time."""
    wait_for("ready", lambda: "is ready in" in node.log_of_start())
    return int(node.log_of_start().split("is ready in ")[-1].split(" ms")[0])


def test_ready(_):
    with Cluster(1) as cluster:
        node = cluster.nodes[0]
        node.start().wait_serving()
        first = ready_ms(node)
        again = []
        for _ in range(3):
            assert node.terminate() == 0
            os.remove(node.log)
            node.start().wait_serving()
            again.append(ready_ms(node))
        print("ready in %d ms on the first start, in %s ms later" % (first, again))
        assert first <= 4000 * PATIENCE and min(again) <= 300 * PATIENCE


def test_no_arguments(_):
    with tempfile.TemporaryDirectory() as folder:
        for port in (7700, 7701, 7702):
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    print("skipped: port %d is in use on this machine" % port)
                    return
        with a_node(folder=folder):
            put_and_get("127.0.0.1:7700")
            assert os.listdir(folder) == ["coterie-data"]


def main():
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for name, test in list(globals().items()):
            if not name.startswith("test_"):
                continue
            started, verdict = time.monotonic(), "ok"
            try:
                test(folder)
            except Exception:  # the others are still worth playing
                failed, verdict = failed + 1, "FAILED"
                traceback.print_exc()
            print("%-6s %-32s %5.1f s" % (verdict, name, time.monotonic() - started), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
