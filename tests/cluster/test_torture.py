"""Rule: whatever happens to one node at a time -- killed, paused, cut off both ways or one way, its disk wiped -- no
acknowledged write is lost, nothing that was deleted or replaced comes back, and within two minutes after the last
fault all replicas are equal by themselves. DESIGN.md 8, 11; RELIABILITY sections 2 and 7.

    test_torture.py [WRITES]     20000 acknowledged writes unless given; 100000 is the whole of it, about four minutes

TORTURE_WRITES, TORTURE_SEED and TORTURE_FAULTS (kill,pause,cut,one-way-out,one-way-in,wipe) say the same."""

import os
import random
import shutil
import sys
import time

from cluster import cluster_digests, grpc, wait_for
from ledger import Load, judge_all, read_all
from network import NetworkCluster, enter_hub, need_namespaces

NODES = 4
HOLD_SECONDS = 5.0
REST_SECONDS = 3.0
CONVERGED_SECONDS = 120.0
KINDS = ["kill", "pause", "cut", "one-way-out", "one-way-in", "wipe"]


def fault_begin(cluster, node, kind):
    others = [n for n in cluster.nodes if n is not node]
    if kind in ("kill", "wipe"):
        node.kill()
    if kind == "pause":
        node.pause()
    if kind == "cut":
        cluster.isolate(node)
    if kind == "one-way-out":
        for other in others:
            cluster.cut_one_way(node, other)
    if kind == "one-way-in":
        for other in others:
            cluster.cut_one_way(other, node)
    if kind == "wipe":
        shutil.rmtree(node.data)


def fault_end(cluster, node, kind):
    if kind in ("kill", "wipe"):
        node.start().wait_serving(60)
    if kind == "pause":
        node.resume()
    cluster.heal()


def all_there(cluster):
    """Nobody is away and no copy is being filled: the next fault may hit any one node."""
    cluster.wait_alive(60)
    wait_for("lost copies to be filled",
             lambda: sum(n.metric("coterie_replica_vnodes_incomplete") for n in cluster.nodes) == 0, 120)


def hints(cluster):
    return sum(n.metric("coterie_hints") for n in cluster.nodes)


def play(cluster, load, plan):
    for node, kind in plan:
        before, began = load.counts(), time.monotonic()
        if kind == "wipe":  # what it keeps for others would be gone with it
            wait_for("no hints", lambda: hints(cluster) == 0, 120)
        fault_begin(cluster, node, kind)
        time.sleep(HOLD_SECONDS)
        fault_end(cluster, node, kind)
        healed = time.monotonic()
        all_there(cluster)
        whole = time.monotonic() - healed
        done = [now - then for now, then in zip(load.counts(), before)]
        print("%-4s %-12s %5.1f s %8d acknowledged (%5d deletes) %6d refused %6d unknown; all there after %.1f s" % (
            node.name, kind, time.monotonic() - began, *done, whole))
        sys.stdout.flush()
        time.sleep(REST_SECONDS)
    return healed


def equal(cluster):
    """Every vnode's digest is the same on all of its replicas."""
    try:
        return hints(cluster) == 0 and cluster_digests(cluster.nodes)[1] == []
    except (grpc.RpcError, AssertionError):
        return False


def main():
    need_namespaces()
    enter_hub()
    writes = int(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("TORTURE_WRITES", "20000"))
    seed = int(os.environ.get("TORTURE_SEED", "1"))
    kinds = os.environ.get("TORTURE_FAULTS", ",".join(KINDS)).split(",")
    rng = random.Random(seed)
    rounds = 1 if writes < 50000 else 2
    with NetworkCluster(NODES) as cluster:
        cluster.start()
        plan = [(rng.choice(cluster.nodes), kind) for _ in range(rounds) for kind in rng.sample(kinds, len(kinds))]
        seconds = len(plan) * (HOLD_SECONDS + REST_SECONDS + 4)
        print("seed %d, %d faults, %d writes wanted" % (seed, len(plan), writes))
        load = Load(cluster.nodes, seed, rate=1.2 * writes / seconds)
        time.sleep(REST_SECONDS)
        last_healed = play(cluster, load, plan)
        wait_for("%d acknowledged writes" % writes, lambda: load.acknowledged() >= writes, 240)
        load.stop()
        stopped = time.monotonic()
        wait_for("all replicas to be equal", lambda: equal(cluster), CONVERGED_SECONDS)
        print("converged %.1f s after the last fault, %.1f s after the last write" % (
            time.monotonic() - last_healed, time.monotonic() - stopped))
        check(cluster, load)


def check(cluster, load):
    keys = load.keys()
    acknowledged, deletes, refused, unknown = load.counts()
    bad = 0
    print("%-8s %8s %12s %8s %8s" % ("through", "lost", "resurrected", "phantom", "doubled"))
    for node in cluster.nodes:
        for r in (1, 2):
            sums, examples = judge_all(keys, read_all(node, keys, r))
            bad += sum(sums)
            print("%s r=%d   %8d %12d %8d %8d" % (node.name, r, *sums))
            for example in examples:
                print("   %r" % (example,))
    print("%d keys, %d of them deleted at some time; %d acknowledged writes (%d deletes), %d refused, %d unknown" % (
        len(keys), sum(key.deleted for key in keys), acknowledged, deletes, refused, unknown))
    assert bad == 0


if __name__ == "__main__":
    main()
