"""Rules: a node that starts with --join gets a place in a cluster that runs, once, however often and through
whatever crashes it asks; a later start goes by its directory alone; who was removed does not come back
(RELIABILITY rule 31), and says why with exit code 78. DESIGN.md section 4. No data moves here."""

import os
import subprocess
import sys

from cluster import COTERIED, Cluster, Node, cluster_pb2, free_ports, grpc, wait_for

NOT_WANTED = 78
QUIET = {k: v for k, v in os.environ.items() if not k.startswith("COTERIE_")}


class Joiner(Node):
    """A node that is in no list."""

    def __init__(self, cluster, name, seeds, *flags):
        super().__init__(cluster, name, free_ports(3))
        self.seeds, self.more = seeds, list(flags)

    def arguments(self):
        return [COTERIED, "--name", self.name, "--data-dir", self.data, "--client-address", self.endpoint,
                "--peer-address", "%s:%d" % (self.host, self.peer_port),
                "--http-address", "%s:%d" % (self.host, self.http_port),
                "--join", ",".join(self.seeds)] + self.more + self.cluster.flags

    def ends_with(self, code, *says):
        process, self.process = self.process, None
        got = process.wait(60)
        assert got == code, "exit %d instead of %d:\n%s" % (got, code, self.log_tail())
        for words in says:
            assert words in self.log_of_start(), "%r is not in:\n%s" % (words, self.log_of_start())


def state_of(node, name):
    """As `node` sees it; None when it lists no such node."""
    for other in node.admin.ListNodes(cluster_pb2.ListNodesRequest(), timeout=20).nodes:
        if other.name == name:
            return cluster_pb2.Node.State.Name(other.state)[len("STATE_"):]
    return None


def number_of(node, name):
    return [n.number for n in node.admin.ListNodes(cluster_pb2.ListNodesRequest(), timeout=20).nodes if n.name == name]


def abort(node):
    return node.admin.AbortChange(cluster_pb2.AbortChangeRequest(), timeout=30)


def test_joins_once(cluster):
    """Killed at any moment around its first answer, and started again with seeds that do not answer."""
    n1, n2 = cluster.nodes[:2]
    dead = "127.0.0.1:%d" % free_ports(1)[0]
    node = Joiner(cluster, "n4", [dead, n1.endpoint, n2.endpoint], "--join-hold", "--zone", "z", "--weight", "3")
    for pause in (0.02, 0.05, 0.1, 0.2, 0.4):
        node.start()
        try:
            node.process.wait(pause)
        except subprocess.TimeoutExpired:
            pass
        node.kill()
    node.start().wait_serving()
    wait_for("all to know it", lambda: all(state_of(n, "n4") == "JOINING" for n in cluster.nodes + [node]))
    assert number_of(n1, "n4") == [4]
    listed = [n for n in n2.admin.ListNodes(cluster_pb2.ListNodesRequest(), timeout=20).nodes if n.name == "n4"][0]
    assert (listed.zone, listed.weight, listed.partitions_owned) == ("z", 3, 0)
    change = n1.admin.GetChange(cluster_pb2.GetChangeRequest(), timeout=30).change
    assert change.state == cluster_pb2.Change.STATE_STAGED, change
    assert list(change.parts) == ["n4 joins: data centre default, zone z, weight 3 (held: waits for a commit)"], change
    # A later start asks nobody: its seeds are all dead.
    assert node.terminate() == 0
    node.seeds = [dead]
    node.start().wait_serving()
    assert number_of(n1, "n4") == [4]
    # It serves clients before it holds anything.
    wait_for("a put through n4", lambda: node.put(b"through n4", b"value", request_id=b"once through n4!"))
    assert n1.get(b"through n4").values[0].value == b"value"
    return node


def test_removed_while_it_runs(cluster, node):
    n1 = cluster.nodes[0]
    abort(n1)
    node.ends_with(NOT_WANTED, "is no member of its cluster any more", "--join")
    wait_for("n1 to have removed it", lambda: state_of(n1, "n4") in (None, "REMOVED"))
    for _ in range(2):
        node.start()
        node.ends_with(NOT_WANTED, "removed from the cluster")


def test_removed_while_it_is_away(cluster):
    """It learns of it from the first node that it calls."""
    n1 = cluster.nodes[0]
    node = Joiner(cluster, "n5", [n1.endpoint], "--join-hold").start().wait_serving()
    wait_for("n1 to know it", lambda: state_of(n1, "n5") == "JOINING")
    node.kill()
    abort(n1)
    node.start()
    node.ends_with(NOT_WANTED, "is no member of its cluster any more")
    node.start()
    node.ends_with(NOT_WANTED, "removed from the cluster")


def test_the_name_is_free_again(cluster):
    """A new directory is a new member, under a new number."""
    n1 = cluster.nodes[0]
    node = Joiner(cluster, "n5", [n1.endpoint], "--join-hold")
    node.data += "-new"
    node.start().wait_serving()
    numbers = wait_for("n1 to know it", lambda: number_of(n1, "n5"))
    assert max(numbers) == 6, numbers
    node.kill()
    abort(n1)


def test_refused(cluster):
    n1 = cluster.nodes[0]
    node = Joiner(cluster, "n2", [n1.endpoint])
    node.data += "-other"
    node.start()
    node.ends_with(1, "refuses", "n2")
    node = Joiner(cluster, "n9", [n1.endpoint], "--advertise-address", "0.0.0.0:7701")
    node.start()
    node.ends_with(2, "--advertise-address HOST:PORT")
    assert not os.path.exists(node.data), "nothing is made with settings that cannot be"
    node = Joiner(cluster, "n9", ["no port:here"])
    node.start()
    node.ends_with(2, "join: ")


def test_waits_for_a_seed(cluster):
    """No seed answers: it asks again, says so, and SIGTERM ends it; the id that it asks under stays."""
    node = Joiner(cluster, "n9", ["127.0.0.1:%d" % free_ports(1)[0]], "--join-hold").start()
    wait_for("some attempts", lambda: node.log_of_start().count("join_waits") >= 3)
    with open(os.path.join(node.data, "joined"), "rb") as record:
        asked = record.read()
    assert node.terminate() == 0
    node.start()
    wait_for("more attempts", lambda: node.log_of_start().count("join_waits") >= 3)
    with open(os.path.join(node.data, "joined"), "rb") as record:
        assert record.read() == asked, "another id"
    assert node.terminate() == 0
    with open(os.path.join(node.data, "joined"), "r+b") as record:
        record.write(b"C")
    node.start()
    node.ends_with(1, "it is damaged")


def test_listed_nodes_found(cluster):
    """With both, a node that the list names founds the cluster: one command line for all pods."""
    with Cluster(3, ["--join", cluster.nodes[0].endpoint]) as other:
        other.start()
        assert state_of(other.nodes[0], "n1") == "NORMAL"
        ids = {c.nodes[0].admin.Status(cluster_pb2.StatusRequest(), timeout=20).cluster_id for c in (cluster, other)}
        assert len(ids) == 2


def test_address_may_change(cluster):
    """A node that joined says where it is, at each start."""
    n1 = cluster.nodes[0]
    node = Joiner(cluster, "n7", [n1.endpoint], "--join-hold").start().wait_serving()
    assert node.terminate() == 0
    node.peer_port = free_ports(1)[0]
    node.start().wait_serving()
    address = "127.0.0.1:%d" % node.peer_port

    def known():
        return all(any(n.name == "n7" and n.peer_address == address
                       for n in other.admin.ListNodes(cluster_pb2.ListNodesRequest(), timeout=20).nodes)
                   for other in cluster.nodes)
    wait_for("all to know the address", known)
    wait_for("n1 to hear it", lambda: n1.alive_nodes() == 4)
    node.kill()
    abort(n1)


def main():
    failed = False
    with Cluster(3) as cluster:
        cluster.start()
        node = None
        for test in (test_joins_once, test_removed_while_it_runs, test_removed_while_it_is_away,
                     test_the_name_is_free_again, test_refused, test_waits_for_a_seed, test_listed_nodes_found,
                     test_address_may_change):
            try:
                node = test(cluster, node) if test is test_removed_while_it_runs else test(cluster) or node
                print("ok     %s" % test.__name__, flush=True)
            except (AssertionError, grpc.RpcError, OSError, subprocess.TimeoutExpired) as error:
                print("FAILED %s: %s" % (test.__name__, error), flush=True)
                failed = True
    return failed


if __name__ == "__main__":
    sys.exit(main())
