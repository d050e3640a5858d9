"""Rule: a change of the cluster is staged, looked at, committed, waited for and taken back by the command line alone, with
the exits that it promises: 0 done, 2 usage, 3 not found, 5 a plan that cannot be committed, 6 somebody was first. Data is
on stdout, and JSON is JSON. DESIGN.md section 4 and 9."""

import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "cluster"))

from harness import Cluster, run, tests_of, wait_for
from test_cli import coterie
from test_join import Joiner

FLAGS = ["--coordinators", "1", "--replicas", "1", "--grpc-threads", "1", "--memory", "64MiB", "--partitions", "16"]
joined = {}


def states(nodes):
    return {node["name"]: node["state"] for node in coterie(nodes, "nodes", "-o", "json").json()["nodes"]}


def change(nodes):
    return coterie(nodes, "changes", "-o", "json").json()["change"]["state"]


def test_nothing_to_do(cluster):
    nodes = cluster.nodes
    assert change(nodes) == "none"
    assert "no change is staged" in coterie(nodes, "changes").out.decode()
    for command in (["plan"], ["commit", "--yes"]):
        assert "NOTHING_STAGED" in coterie(nodes, *command, code=1).err
    for command in (["pause"], ["resume"], ["pace", "1MiB"], ["abort", "--yes"]):
        assert "CHANGE_REFUSED" in coterie(nodes, *command, code=1).err, command


def test_usage(cluster):
    nodes = cluster.nodes
    for command, says in ((["weight", "n1", "0"], "1 to 64"), (["weight", "n1", "x"], "1 to 64"),
                          (["replicate", "default", "8"], "1 to 7"), (["replicate", "default", "eu=9"], "1 to 7"),
                          (["pace", "fast"], "500K"), (["pace", "0"], "500K"),
                          (["decommission"], "missing"), (["abort"], "--yes"), (["commit", "--dry-run"], "no option")):
        result = coterie(nodes, *command, code=2)
        assert says in result.err and not result.out, result
    assert "NODE_NOT_FOUND" in coterie(nodes, "decommission", "n9", code=3).err
    assert "coterie nodes" in coterie(nodes, "weight", "n9", "2", code=3).err
    assert "KEYSPACE_NOT_FOUND" in coterie(nodes, "replicate", "none", "2", code=3).err
    assert "n3 answers" in coterie(nodes, "replace", "n3", code=1).err


def test_join_is_explained(cluster):
    said = coterie(cluster.nodes, "join", "n4").out.decode()
    assert "--join " + cluster.nodes[0].endpoint in said and "--name n4" in said
    assert coterie(cluster.nodes, "join", "-o", "json").json()["nodes"] == 3


def test_dry_run_stages_nothing(cluster):
    nodes = cluster.nodes
    result = coterie(nodes, "weight", "n1", "2", "--dry-run")
    assert "n1: weight 1 -> 2" in result.out.decode() and "nothing was staged" in result.err
    assert result.out.decode().startswith("change, proposed, not staged (epoch"), result
    # Nor does what asks to wait for a commit without one.
    for option in ("--wait", "--force"):
        assert "--yes" in coterie(nodes, "weight", "n1", "2", option, code=2).err
    got = coterie(nodes, "weight", "n1", "2", "--dry-run", "-o", "json").json()
    assert (got["staged"], got["committed"]) == (False, False)
    assert [node["weight"] for node in got["plan"]["nodes"] if node["node"] == "n1"] == [2]
    # Too few nodes would be left: the plan says so, and its exit.
    assert "REFUSED" in coterie(nodes, "decommission", "n3", "--dry-run", code=5).out.decode()
    assert change(nodes) == "none"


def test_staged_and_taken_back(cluster):
    nodes = cluster.nodes
    result = coterie(nodes, "zone", "n3", "rack-c")
    assert "n3: zone default -> rack-c" in result.out.decode() and "coterie commit" in result.err
    assert change(nodes) == "staged"
    assert "default -> rack-c" in coterie(nodes, "nodes").out.decode()
    assert "change      staged" in coterie(nodes, "status").out.decode()
    # Nobody is told of copies that go back where none has moved.
    assert "nothing had begun" in coterie(nodes, "abort", "--yes").out.decode()
    assert change(nodes) == "none" and "rack-c" not in coterie(nodes, "nodes").out.decode()


def test_staged_what_cannot_be(cluster):
    """Whoever stages what a commit would refuse is not told to commit it."""
    nodes = cluster.nodes
    staged = coterie(nodes, "decommission", "n3", code=5)
    assert "REFUSED" in staged.out.decode() and "a commit would be REFUSED" in staged.err, staged
    coterie(nodes, "abort", "--yes")


def test_a_plan_that_was_overtaken(cluster):
    """Between the plan and the answer "y" somebody else stages something: nothing is committed, exit 6."""
    nodes = cluster.nodes
    coterie(nodes, "weight", "n1", "2")
    variables = dict(os.environ, COTERIE_ENDPOINTS=nodes[0].endpoint)
    leader, follower = os.openpty()
    asking = subprocess.Popen([os.environ["COTERIE"], "commit"], stdin=follower, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, env=variables)
    said = b""
    while b"[y/N]" not in said:
        said += os.read(asking.stderr.fileno(), 1000)
    coterie(nodes, "weight", "n2", "2")
    os.write(leader, b"y\n")
    _, err = asking.communicate(timeout=60)
    assert asking.returncode == 6 and b"EPOCH_CHANGED" in err, (asking.returncode, err)
    assert change(nodes) == "staged"
    coterie(nodes, "abort", "--yes")


def test_grow(cluster):
    nodes = cluster.nodes
    coterie(nodes, "put", "before", "the change")
    n4 = joined["n4"] = Joiner(cluster, "n4", [nodes[0].endpoint], "--join-hold").start().wait_serving(60)
    wait_for("n4 to be known", lambda: states(nodes).get("n4") == "joining")
    plan = coterie(nodes, "plan", "-o", "json").json()
    assert plan["change"]["parts"] == [
        "n4 joins: data centre default, zone default, weight 1 (held: waits for a commit)"], plan
    new, = [node for node in plan["nodes"] if node["node"] == "n4"]
    assert (new["copies_before"], new["gains"], new["fits"]) == (0, new["copies_after"], True), new
    assert plan["copies_moved"] == plan["copies_moved_min"] == new["gains"], plan
    assert 11 <= new["gains"] <= 13, new  # a quarter of 48
    result = coterie(nodes, "commit", "--yes", "--wait", "-o", "json", "--deadline-ms", "20000")
    assert result.json()["committed"] and "the change is over" in result.err
    assert states(nodes + [n4])["n4"] == "normal"
    assert coterie([n4], "get", "before").out == b"the change"
    ring = coterie(nodes, "ring", "-o", "json").json()["partitions"]
    holds = sum("n4" in replicas["replicas"] for p in ring for replicas in p["data_centers"])
    assert holds == new["gains"] and all(p["phase"] == "waiting" for p in ring), holds


def test_pause_pace_abort(cluster):
    """Of one that runs: held, seen as such, and taken back to where it came from."""
    nodes = cluster.nodes
    before = coterie(nodes, "ring", "-o", "json").json()
    coterie(nodes, "weight", "n1", "3", "--yes", "--deadline-ms", "20000")
    paused = coterie(nodes, "pause", code=None)
    if paused.code == 0:  # it was not over yet; what is announced goes on to its end all the same
        coterie(nodes, "pace", "1GiB", code=None)
        coterie(nodes, "resume", code=None)
    aborted = coterie(nodes, "abort", "--yes", code=None)
    assert aborted.code != 0 or "goes back" in aborted.out.decode(), aborted
    result = coterie(nodes, "changes", "--wait", code=None)
    assert result.code in (0, 1) and change(nodes) == "none", result
    if aborted.code == 0:
        after = coterie(nodes, "ring", "-o", "json").json()
        names = lambda ring: [[sorted(r["replicas"]) for r in p["data_centers"]] for p in ring["partitions"]]  # noqa: E731
        assert names(after) == names(before)


def test_replicate(cluster):
    nodes = cluster.nodes
    coterie(nodes, "keyspace", "create", "few")
    coterie(nodes, "replicate", "few", "2", "--yes", "--wait", "--deadline-ms", "20000")
    keyspace = coterie(nodes, "keyspace", "describe", "few", "-o", "json").json()
    assert keyspace["n_by_data_center"] == {"default": 2}, keyspace
    result = coterie(nodes, "replicate", "few", "2")
    assert "nothing to change" in result.err


def test_shrink(cluster):
    nodes = cluster.nodes
    result = coterie(nodes, "decommission", "n4", "--yes", "--wait", "--deadline-ms", "20000")
    assert "n4 leaves" in result.out.decode() and "the change is over" in result.err
    assert states(nodes)["n4"] == "removed" and "n4" not in coterie(nodes, "nodes").out.decode()
    joined["n4"].ends_with(78, "is no member of its cluster any more")
    assert coterie(nodes, "get", "before").out == b"the change"


def test_fewer_zones(cluster):
    """Copies that have to share zones from then on: whose they are is told. Last: the nodes stay in their zones."""
    nodes = cluster.nodes
    for node, zone in (("n1", "a"), ("n2", "b"), ("n3", "c")):
        coterie(nodes, "zone", node, zone)
    coterie(nodes, "commit", "--yes", "--wait", "--deadline-ms", "20000")
    assert "warning" not in coterie(nodes, "zone", "n3", "d", "--dry-run").out.decode()
    assert ("warning   keyspace default is to have 3 replicas in data centre default, which has 2 zones then: with one of them "
            "up to 2 copies of a key are away") in coterie(nodes, "zone", "n3", "b", "--dry-run").out.decode()


def main():
    with Cluster(3, FLAGS) as cluster:
        cluster.start()
        try:
            return 1 if run(tests_of(globals()), cluster) else 0
        finally:
            for node in joined.values():
                if node.process is not None:
                    node.kill()


if __name__ == "__main__":
    sys.exit(main())
