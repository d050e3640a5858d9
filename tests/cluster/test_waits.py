"""Rule: a change that does not get on says for whom and for what it waits, one line for each cause, and so do copies
that were emptied and do not vote in registers (proto Wait): GetChange, `coterie changes`, `status` and `plan`."""

import json
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

from cluster import COTERIED, Cluster, cluster_pb2, grpc, wait_for
from test_join import Joiner

COTERIE = os.environ.get("COTERIE", os.path.join(os.path.dirname(COTERIED), "coterie"))
KEYS = 400
REGISTERS = 1500  # as many as take a while to be decided again
USUAL = {"CAUSE_TURN", "CAUSE_COPYING"}


def waits(node):
    reply = node.admin.GetChange(cluster_pb2.GetChangeRequest(), timeout=30)
    return {cluster_pb2.Wait.Cause.Name(w.cause): w for w in reply.waits}


def wait_for_cause(node, cause, seconds=60):
    return wait_for("a wait of %s" % cause, lambda: waits(node).get("CAUSE_" + cause), seconds)


def coterie(node, *words):
    process = subprocess.run([COTERIE, "--endpoints", node.endpoint] + list(words), stdout=subprocess.PIPE, text=True,
                             timeout=60)
    return process.stdout


def show(title, text):
    print("-- %s\n%s" % (title, text), flush=True)


def make_bank(node, accounts):
    node.admin.CreateKeyspace(cluster_pb2.CreateKeyspaceRequest(keyspace=cluster_pb2.Keyspace(
        name="bank", mode=cluster_pb2.Keyspace.MODE_CONSISTENT)), timeout=30)
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(lambda i: node.put(b"account-%d" % i, b"1", keyspace="bank"), range(accounts)))


def set_pace(node, bytes_per_second):
    try:
        node.admin.SetPace(cluster_pb2.SetPaceRequest(bytes_per_second=bytes_per_second), timeout=30)
    except grpc.RpcError:
        return False
    return True


def only_usual(node):
    return set(waits(node)) <= USUAL


def several(line):
    return line if line is not None and line.partitions > 1 else None


def test_a_member_stops(cluster):
    """A process that hangs is not heard of: all partitions that it takes part in wait for it, as one line."""
    n1, n2, n3 = cluster.nodes
    n3.pause()
    line = wait_for("more than one partition that waits for n3", lambda: several(waits(n1).get("CAUSE_UNREACHABLE")))
    assert list(line.waits_for) == ["n3"], line
    assert "wait for n3, which does not answer" in line.text and "coterie replace n3" in line.text, line
    changes, status = coterie(n1, "changes"), coterie(n1, "status")
    show("changes, n3 stopped", changes)
    assert line.text.split(" wait for ")[1] in changes and "which does not answer" in status, status
    assert len(changes.splitlines()) < 40, "one line a cause"
    told = [w for w in json.loads(coterie(n1, "-o", "json", "changes"))["waits"] if w["cause"] == "CAUSE_UNREACHABLE"]
    assert [w["waits_for"] for w in told] == [["n3"]] and told[0]["partitions"] > 1, told
    watch = subprocess.Popen([COTERIE, "--endpoints", n1.endpoint, "changes", "--wait"], stderr=subprocess.PIPE,
                             stdout=subprocess.DEVNULL, text=True)
    line = next(line for line in watch.stderr if "which does not answer" in line)
    watch.terminate()
    watch.wait()
    watch.stderr.close()
    show("changes --wait, n3 stopped", line)
    n3.resume()
    wait_for("nothing to be in the way", lambda: only_usual(n1))


def test_paused(cluster):
    n1 = cluster.nodes[0]
    n1.admin.PauseChange(cluster_pb2.PauseChangeRequest(), timeout=30)
    line = wait_for("more than one partition that is paused", lambda: several(waits(n1).get("CAUSE_PAUSED")))
    assert not line.waits_for and "coterie resume" in line.text, line
    assert "coterie resume" in coterie(n1, "plan")
    n1.admin.ResumeChange(cluster_pb2.ResumeChangeRequest(), timeout=30)
    wait_for("nothing to be in the way", lambda: only_usual(n1))


def registers_wait(node):
    found = waits(node)
    return found.get("CAUSE_NO_MAJORITY") or found.get("CAUSE_UNDECIDED")


def for_both(line):
    """Of two that go one is missed first."""
    return line if line is not None and sorted(line.waits_for) == ["n2", "n3"] else None


def test_no_majority(cluster):
    """Two of three are gone just when the fourth begins with what it is given: too few replicas for its registers, listed
    already or not, and no voters for another step."""
    n1, n2, n3 = cluster.nodes
    n1.admin.CommitChange(cluster_pb2.CommitChangeRequest(), timeout=20)
    wait_for("n4 to be filled", lambda: "CAUSE_COPYING" in waits(n1))
    n2.kill()
    n3.kill()
    line = wait_for("registers that wait for both", lambda: for_both(registers_wait(n1)))
    assert (line.node, line.keyspace) == ("n4", "bank"), line
    assert line.partitions > 0 and line.since_ms > 0 and "a majority of the replicas that vote" in line.text, line
    wait_for("another step that waits for both", lambda: for_both(waits(n1).get("CAUSE_TOPOLOGY_VOTERS")))
    show("changes, n2 and n3 killed", coterie(n1, "changes"))
    n2.start().wait_serving()
    n3.start().wait_serving()
    # So slow that the change lasts as long as it is looked at.
    wait_for("a pace", lambda: set_pace(n1, 1000), 60)
    wait_for("nothing to be in the way", lambda: only_usual(n1), 60)
    wait_for_cause(n1, "COPYING")
    show("changes, nothing in the way", coterie(n1, "changes"))


def test_ends(cluster):
    """A higher pace counts at once, also for what waits as the old one had it."""
    n1 = cluster.nodes[0]
    assert set_pace(n1, 64 << 20)
    wait_for("the change to end", lambda: n1.admin.GetChange(
        cluster_pb2.GetChangeRequest(), timeout=30).change.state == cluster_pb2.Change.STATE_NONE, 120)
    wait_for("all to vote", lambda: not waits(n1))
    assert "no change is staged or under way" in coterie(n1, "changes")


def test_votes():
    """A copy that was emptied needs all other replicas before it votes again, and says which it lacks."""
    with Cluster(4, ["--partitions", "16"]) as cluster:
        cluster.start()
        n1, n2, n3, n4 = cluster.nodes
        make_bank(n1, 20)
        wait_for("all nodes to know the keyspace", lambda: all(n.get(b"account-0", keyspace="bank").found
                                                               for n in cluster.nodes))
        n2.kill()
        n4.kill()
        shutil.rmtree(n4.data)
        n4.start().wait_serving()
        wait_for("n2 alone to be missed", lambda: list(wait_for_cause(n1, "VOTES_REPLICAS").waits_for) == ["n2"], 60)
        line = wait_for_cause(n1, "VOTES_REPLICAS")
        assert (line.node, line.keyspace) == ("n4", "bank"), line
        assert line.partitions > 0 and line.since_ms > 0 and "not vote in registers" in line.text, line
        show("changes, n4 emptied and n2 killed", coterie(n1, "changes"))
        explained = [json.loads(coterie(n1, "-o", "json", "explain", "-k", "bank", "account-%d" % i)) for i in range(20)]
        mute = [node for key in explained for node in key["nodes"] if node.get("votes") is False]
        assert mute and all(node["node"] == "n4" and node["waits"] for node in mute), explained
        held_up = next(i for i in range(20) for node in explained[i]["nodes"] for w in node.get("waits", [])
                       if w["cause"] == "CAUSE_VOTES_REPLICAS" and w["waits_for"] == ["n2"] and w["since_ms"] > 0)
        show("explain of such a key", coterie(n1, "explain", "-k", "bank", "account-%d" % held_up))
        n2.start().wait_serving()
        # What is waited for is over a moment before the votes are durable.
        wait_for("all copies to vote again", lambda: not waits(n1) and "3 of 3 replicas vote" in coterie(
            n1, "explain", "-k", "bank", "account-%d" % held_up), 120)
        assert "waits" not in coterie(n1, "explain", "-k", "bank", "account-%d" % held_up)


def main():
    with Cluster(3, ["--partitions", "16", "--move-bytes-per-second", "64KiB"]) as cluster:
        cluster.start()
        n1 = cluster.nodes[0]
        for i in range(KEYS):
            n1.put(b"key-%d" % i, b"v" * 4000)
        make_bank(n1, REGISTERS)
        n4 = Joiner(cluster, "n4", [n1.endpoint], "--join-hold").start()
        try:
            n4.wait_serving()
            wait_for("n4 to be heard of", lambda: n1.alive_nodes() == 4)
            for test in (test_no_majority, test_a_member_stops, test_paused, test_ends):
                test(cluster)
                print("ok     %s" % test.__name__, flush=True)
        finally:
            n4.kill()  # it is none of the cluster's, which ends its own
    test_votes()
    print("ok     test_votes", flush=True)


if __name__ == "__main__":
    main()
