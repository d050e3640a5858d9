"""Rule: a plan whose target has no room is refused, by `coterie plan`, by a commit, and by a node that would commit its
own join; what a node keeps free for itself is no room. When room is made, the join goes on by itself. DESIGN.md 4.
Mounting a tmpfs needs root: else skipped (77)."""

import os
import sys

from cluster import Cluster, cluster_pb2, grpc, wait_for
from test_full_disk import ballast, small_disk
from test_join import Joiner, state_of

MEMORY = 32 << 20
DISK_MIB = 128
RESERVE = MEMORY  # docs/operations.md, "When a disk fails or fills"
ROOM = 2 << 20
KEYS, VALUE_BYTES = 160, 64 * 1024  # 10 MiB, each on every node
FLAGS = ["--memory", str(MEMORY), "--partitions", "16", "--coordinators", "1", "--replicas", "1", "--grpc-threads", "1"]


def plan(node):
    return node.admin.GetPlan(cluster_pb2.GetPlanRequest(), timeout=30).plan


def no_room_in(got):
    """Nodes look at their disks now and then."""
    return got if any(node.node == "n4" and not node.fits for node in got.nodes) else None


def refusal(what):
    try:
        what()
    except grpc.RpcError as error:
        return error.code(), error.details()
    raise AssertionError("it was not refused")


def check_refused(cluster, n4):
    n1 = cluster.nodes[0]
    got = wait_for("n4 to have seen what room it has", lambda: no_room_in(plan(n1)))
    new, = [node for node in got.nodes if node.node == "n4"]
    assert new.bytes_in > KEYS * VALUE_BYTES * 0.9, new
    assert new.free_bytes <= ROOM, "its reserve counts as room: %d bytes" % new.free_bytes
    assert all(node.fits for node in got.nodes if node.node != "n4"), got.nodes
    assert len(got.refusals) == 1 and "n4 receives" in got.refusals[0] and "make room" in got.refusals[0], got.refusals
    code, why = refusal(lambda: n1.admin.CommitChange(cluster_pb2.CommitChangeRequest(), timeout=30))
    assert code == grpc.StatusCode.FAILED_PRECONDITION and why == got.refusals[0], (code, why)
    wait_for("n4 to be refused too", lambda: "join_not_committed" in n4.log_of_start())
    assert state_of(n1, "n4") == "JOINING"
    print("refused: " + got.refusals[0])


def play(cluster, n4):
    n1 = cluster.nodes[0]
    cluster.start()
    for i in range(KEYS):
        n1.put(b"key %d" % i, os.urandom(VALUE_BYTES), timeout=30)
    n4.start().wait_serving()
    wait_for("n4 to be known", lambda: state_of(n1, "n4") == "JOINING")
    ballast(n4.data, RESERVE + ROOM)
    check_refused(cluster, n4)
    os.remove(os.path.join(n4.data, "ballast"))
    wait_for("it to join now that there is room", lambda: state_of(n1, "n4") == "NORMAL", 120)
    wait_for("n4 to reach the others", lambda: n4.connected_peers() == 3)
    assert n4.get(b"key 7").found


def main():
    with Cluster(3, FLAGS) as cluster:
        n4 = Joiner(cluster, "n4", [cluster.nodes[0].endpoint], "--zone", "b")
        with small_disk(n4, DISK_MIB):
            play(cluster, n4)
    return 0


if __name__ == "__main__":
    sys.exit(main())
