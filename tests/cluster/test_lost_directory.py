"""Rule: a data directory that is lost, put back from an older copy, or copied and started beside the first
cannot make the cluster lose or forget an acknowledged write. The member goes on as a new incarnation whose
vnodes do not vote until they are filled again; the copy beside the running one is refused and ends.
RELIABILITY rules 1, 2, 29, 30; docs/operations."""

import os
import shutil
import subprocess
import threading

from cluster import COTERIED, Cluster, cluster_pb2, free_ports, grpc, wait_for

KEYS = 400
EXIT_DUPLICATE = 78


class Writer(threading.Thread):
    """Each key once, with a value of its own, at quorum; what was acknowledged is remembered."""

    def __init__(self, nodes, prefix):
        super().__init__()
        self.nodes, self.prefix = nodes, prefix
        self.stopping = False
        self.acknowledged = []
        self.failed = 0

    def run(self):
        count = 0
        while not self.stopping:
            key = b"%s-%d" % (self.prefix, count)
            try:
                self.nodes[count % len(self.nodes)].put(key, b"v" + key, timeout=2)
                self.acknowledged.append(key)
            except grpc.RpcError:
                self.failed += 1
            count += 1

    def stop(self):
        self.stopping = True
        self.join()
        return self.acknowledged


def raises(node):
    return node.metric("coterie_generation_raises_total")


def lost(node, keys, **level):
    """Keys whose value is not there, by quorum reads through this node."""
    missing = []
    for key in keys:
        values = [v.value for v in node.get(key, **level).values]
        if values != [b"v" + key]:
            missing.append((key, values))
    return missing


def incomplete(node):
    return node.metric("coterie_replica_vnodes_incomplete")


def verdicts(node, verdict):
    return node.metric('coterie_peer_hellos_total{verdict="%s"}' % verdict)


def wait_complete(cluster, node):
    wait_for("%s to be complete again" % node.name, lambda: incomplete(node) == 0, 120)


def wiped(cluster):
    n1, n2, n3 = cluster.nodes
    before = []
    for i in range(KEYS):
        key = b"before-%d" % i
        n1.put(key, b"v" + key)
        before.append(key)
    writer = Writer([n1, n3], b"during")
    writer.start()
    n2.kill()
    shutil.rmtree(n2.data)
    n2.start()
    wait_for("a peer to notice", lambda: verdicts(n1, "wiped") + verdicts(n3, "wiped") > 0)
    wait_for("its new identity", lambda: "identity_renewed" in n2.log_of_start())
    n2.wait_serving()
    cluster.wait_alive()
    # Its status says so as long as it is so.
    told = "not asked in time"
    if incomplete(n2) > 0:
        problems = n2.admin.Status(cluster_pb2.StatusRequest(), timeout=20).problems
        if incomplete(n2) > 0:
            assert any("being refilled" in problem for problem in problems), problems
            told = [problem for problem in problems if "being refilled" in problem][0]
    # Reads at quorum through it, while it fills: none may lack anything.
    missing = lost(n2, before[:100])
    assert not missing, "through the wiped node while it fills: %r" % missing[:3]
    seen = incomplete(n2)
    wait_for("50 writes under load", lambda: len(writer.acknowledged) > 50)
    during = writer.stop()
    missing = lost(n2, before + during)
    assert not missing, "%d of %d lost, first %r" % (len(missing), len(before + during), missing[0])
    wait_complete(cluster, n2)
    # Alone it answers as well now: what it holds is all there is.
    missing = lost(n2, before + during, r=1)
    assert not missing, "%d missing on the refilled node, first %r" % (len(missing), missing[0])
    print("wiped: %d acknowledged before, %d under load (%d failed), 0 lost; %d vnodes were incomplete when "
          "first asked, all are complete; status: %s" % (len(before), len(during), writer.failed, seen, told))
    return before + during


def restored(cluster, keys):
    n1, n2, n3 = cluster.nodes
    assert n3.terminate() == 0
    copy = n3.data + ".copy"
    shutil.copytree(n3.data, copy)
    for generation in range(2):  # two starts: the copy is older by a count of starts
        n3.start().wait_serving()
        cluster.wait_alive()
        for i in range(20):
            key = b"after-copy-%d-%d" % (generation, i)
            n3.put(key, b"v" + key)
            keys.append(key)
        n3.kill()
    shutil.rmtree(n3.data)
    os.rename(copy, n3.data)
    before = verdicts(n1, "restored") + verdicts(n2, "restored")
    n3.start()
    wait_for("a peer to notice", lambda: verdicts(n1, "restored") + verdicts(n2, "restored") > before)
    wait_for("its new identity", lambda: "identity_renewed" in n3.log_of_start())
    n3.wait_serving()
    cluster.wait_alive()
    missing = lost(n3, keys)
    assert not missing, "%d of %d lost, first %r" % (len(missing), len(keys), missing[0])
    wait_complete(cluster, n3)
    missing = lost(n3, keys, r=1)
    assert not missing, "%d missing on the restored node, first %r" % (len(missing), missing[0])
    print("older copy: %d acknowledged, 0 lost; a new incarnation, complete again" % len(keys))


def copied_alive(cluster, node, suffix):
    """A copy of the directory of a node that runs on."""
    node.pause()  # a copy of files that stand still
    shutil.copytree(node.data, node.data + suffix)
    node.resume()
    cluster.wait_alive()
    return node.data + suffix


def restored_in_its_life(cluster):
    """A copy of the running node, put back before any other start: known by what the node has told since."""
    n1, n2, n3 = cluster.nodes
    copy = copied_alive(cluster, n3, ".copy")
    raised = raises(n3)
    # With the second one at the latest the first is durable at the others.
    wait_for("the node to go on", lambda: raises(n3) >= raised + 2, seconds=120)
    n3.kill()
    shutil.rmtree(n3.data)
    os.rename(copy, n3.data)
    before = verdicts(n1, "restored") + verdicts(n2, "restored")
    n3.start()
    wait_for("a peer to notice", lambda: verdicts(n1, "restored") + verdicts(n2, "restored") > before)
    n3.wait_serving()
    wait_complete(cluster, n3)
    print("copy of the running node: a new incarnation, complete again")


def cloned(cluster):
    n1, n2, _ = cluster.nodes
    clone = copied_alive(cluster, n2, ".clone")
    ports = free_ports(3)
    arguments = [
        COTERIED, "--name", n2.name, "--data-dir", clone,
        "--client-address", "127.0.0.1:%d" % ports[0], "--peer-address", "127.0.0.1:%d" % ports[1],
        "--http-address", "127.0.0.1:%d" % ports[2], "--initial-cluster", cluster.initial_cluster(),
    ] + cluster.flags
    result = subprocess.run(arguments, capture_output=True, text=True, timeout=120)
    assert result.returncode == EXIT_DUPLICATE, (result.returncode, result.stderr[-2000:])
    assert "another process of node n2 is running" in result.stderr, result.stderr[-2000:]
    assert n2.process.poll() is None, n2.log_tail()
    n2.put(b"still", b"here")
    assert n1.get(b"still").found
    print("clone: ended with %d, the first one serves" % result.returncode)


def main():
    with Cluster(3) as cluster:
        cluster.start()
        keys = wiped(cluster)
        restored(cluster, keys)
        restored_in_its_life(cluster)
        cloned(cluster)


if __name__ == "__main__":
    main()
