"""Rules: a cluster grows and shrinks under load. No acknowledged write is lost, nothing deleted comes back, no request
fails because partitions go over; a node that is killed in the middle of a move comes back and the move goes on.
DESIGN.md sections 4 and 7; RELIABILITY section 2 (moves).

Part one: 3 -> 4 -> 3 nodes, error rate and p99 against the quiet minute before. Part two: 3 -> 6 -> 4 nodes at 2,000
writes a second, kill -9 of an old node while three join, and of a node that receives while two leave."""

import atexit
import math
import os
import subprocess
import sys
import threading
import time

from cluster import COTERIED, Cluster, cluster_digests, cluster_pb2, grpc, kv, maintenance_pb2, wait_for
from ledger import Load, judge_all, read_all
from test_join import Joiner

NONE, RUNNING = cluster_pb2.Change.STATE_NONE, cluster_pb2.Change.STATE_RUNNING
PRELOADED, VALUE_BYTES, PROBED = 6000, 2000, 997
PACE = 4 << 20
COTERIE = os.environ.get("COTERIE", os.path.join(os.path.dirname(COTERIED), "coterie"))


class Probe(threading.Thread):
    """One client that writes and reads without a pause; what each request took, and how it ended."""

    def __init__(self, load):
        super().__init__(daemon=True)
        self.load, self.done, self.stopping = load, [], False
        self.start()

    def run(self):
        count = 0
        while not self.stopping:
            node = self.load.nodes[count % len(self.load.nodes)]
            key, began = b"probe-%d" % (count % PROBED), time.monotonic()
            error = None
            try:
                node.put(key, b"%d" % count, timeout=30)
                node.get(key, timeout=30)
            except grpc.RpcError as failed:
                error = "%s through %s: %s" % (failed.code().name, node.name, failed.details())
            self.done.append((began, (time.monotonic() - began) / 2, error))
            count += 1
            time.sleep(0.002)

    def since(self, began):
        """(requests, errors, p99 in ms) of what was begun since."""
        some = [one for one in self.done if one[0] >= began]
        times = sorted(one[1] for one in some)
        p99 = times[min(len(times) - 1, math.ceil(0.99 * len(times)) - 1)] if times else 0
        return 2 * len(some), [one[2] for one in some if one[2]], 1000 * p99


def change_of(nodes):
    for node in nodes:
        try:
            return node.admin.GetChange(cluster_pb2.GetChangeRequest(), timeout=30)
        except grpc.RpcError:
            continue
    return None


def state_of_change(nodes):
    got = change_of(nodes)
    return None if got is None else got.change.state


def wait_until_over(nodes):
    wait_for("the change to be over", lambda: state_of_change(nodes) == NONE, 180)


def gained(nodes):
    """Bytes of keys and values that changes have given to these."""
    return sum(node.metric("coterie_anti_entropy_bytes_gained_total") for node in nodes)


def wait_for_writes(load, count):
    before = load.acknowledged()
    wait_for("%d writes" % count, lambda: load.acknowledged() >= before + count, 120)


def wait_for_probes(probe, count):
    before = len(probe.done)
    wait_for("%d probes" % count, lambda: len(probe.done) >= before + count, 300)


def kill_and_start(node, load, watchers):
    """It comes back when all know that it is away, and have taken writes that it misses."""
    known = {watcher.name: wait_for("%s to say whom it knows" % watcher.name, watcher.alive_nodes) for watcher in watchers}
    node.kill()
    for watcher in watchers:
        wait_for("%s to miss %s" % (watcher.name, node.name),
                 lambda w=watcher: 0 < w.alive_nodes() < known[w.name])
    wait_for_writes(load, 2000)
    node.start().wait_serving(60)


def in_the_middle(nodes, seconds=60):
    """Some partitions have gone over, and some have not."""
    def some():
        got = change_of(nodes)
        change = got.change if got else None
        return change and change.state == RUNNING and change.partitions_done >= 3 and change.partitions_waiting >= 3
    return wait_for("a change in its middle", some, seconds)


def commit(node):
    plan = node.admin.GetPlan(cluster_pb2.GetPlanRequest(), timeout=30).plan
    node.admin.CommitChange(cluster_pb2.CommitChangeRequest(expected_epoch=plan.epoch), timeout=30)
    node.admin.SetPace(cluster_pb2.SetPaceRequest(bytes_per_second=PACE), timeout=30)
    return plan


def judge_moved(what, plan, copied):
    """What is moved is what the plan says, and that is what it has to be."""
    print("%-28s %d copies of partitions (at least %d), %.1f MB planned, %.1f MB copied" % (
        what, plan.copies_moved, plan.copies_moved_min, plan.bytes / 1e6, copied / 1e6), flush=True)
    assert plan.bytes_known
    assert 0.7 * plan.bytes <= copied <= 1.1 * plan.bytes, (plan.bytes, copied)


def leave(node, name):
    node.admin.StageChange(cluster_pb2.StageChangeRequest(leave=cluster_pb2.Leave(node=name)), timeout=30)


def preload(node):
    for first in range(0, PRELOADED, 200):
        request = kv.BatchWriteRequest()
        for i in range(first, first + 200):
            request.items.add(key=b"p%d" % i, value=(b"%d " % i).ljust(VALUE_BYTES, b"."))
        reply = node.kv.BatchWrite(request, timeout=30)
        assert all(item.status.code == 0 for item in reply.items), reply.items[0].status


def check_preloaded(node):
    for first in range(0, PRELOADED, 500):
        keys = [b"p%d" % i for i in range(first, first + 500)]
        for item in node.kv.BatchGet(kv.BatchGetRequest(keys=keys), timeout=30).items:
            assert item.status.code == 0, item.status
            expected = (item.key[1:] + b" ").ljust(VALUE_BYTES, b".")
            assert [v.value for v in item.result.values] == [expected], item.key


def judge(load, nodes):
    for node in nodes:
        keys = load.keys()
        sums, examples = judge_all(keys, read_all(node, keys, r=2))
        assert sums == [0, 0, 0, 0], "lost, resurrected, phantom, doubled: %s through %s: %s" % (
            sums, node.name, examples)
        check_preloaded(node)


def joins(cluster, names, *flags):
    nodes = [Joiner(cluster, name, [cluster.nodes[0].endpoint], *flags) for name in names]
    for node in nodes:
        atexit.register(lambda n=node: n.process is not None and n.kill())  # should the test fail
        node.start()
    for node in nodes:
        node.wait_serving(60)
    return nodes


def ends_by_itself(node):
    process, node.process = node.process, None
    code = process.wait(90)
    assert code == 78, "exit %d:\n%s" % (code, node.log_tail())


def are_normal(seer, nodes):
    states = {n.name: n.state for n in seer.admin.ListNodes(cluster_pb2.ListNodesRequest(), timeout=20).nodes}
    return all(states[node.name] == cluster_pb2.Node.STATE_NORMAL for node in nodes)


def tell(what, load, before, probe, began):
    requests, errors, p99 = probe.since(began)
    after = load.counts()
    acknowledged, _, refused, unknown = (a - b for a, b in zip(after, before))
    seconds = time.monotonic() - began
    print("%-28s %5.1f s, %6d writes acknowledged (%4.0f/s), %d not applied, %d unknown; %5d probes, %d failed, "
          "p99 %.1f ms" % (what, seconds, acknowledged, acknowledged / seconds, refused, unknown, requests,
                           len(errors), p99), flush=True)
    for error in errors[:3]:
        print("    " + error)
    all_requests = acknowledged + refused + unknown + requests
    return (refused + unknown + len(errors)) / all_requests, p99


def coterie(nodes, *words):
    """What the command line says of this cluster; for people who look for the reason of a failure."""
    endpoints = ",".join(node.endpoint for node in nodes)
    done = subprocess.run([COTERIE, "--endpoints", endpoints, "--deadline-ms", "20000", *words],
                          capture_output=True, text=True, timeout=120, check=False)
    return "$ coterie %s\n%s%s" % (" ".join(words), done.stdout, done.stderr)


def unequal_keys(node, keys, most):
    """Of these keys those whose replicas hold different records."""
    found = []
    for key in keys:
        told = node.maintenance.Explain(maintenance_pb2.ExplainRequest(key=key), timeout=30)
        replicas = [one for one in told.nodes if one.replica]
        if len({(one.found, one.checksum) for one in replicas}) > 1 or any(one.problem for one in replicas):
            found.append((key, told.partition))
            if len(found) == most:
                break
    return found


def tell_differences(nodes, keys, bad):
    """All that says why copies differ, before the cluster is gone."""
    held, still = cluster_digests(nodes)
    for place in bad[:16]:
        print("    not equal: %s: %s" % (place, held.get(place)))
    print("    of %d places %d differ still" % (len(bad), len(still)))
    for key, partition in unequal_keys(nodes[0], keys, 8):
        print("    partition %d" % partition)
        print(coterie(nodes, "explain", key.decode()))
    for words in (["digest"], ["hints"], ["status", "-o", "json"], ["changes"]):
        print(coterie(nodes, *words))
    for node in nodes:
        print("---- log of %s" % node.name)
        print(node.log_tail(400), flush=True)


def three_four_three(cluster):
    n1 = cluster.nodes[0]
    preload(n1)
    load = Load(list(cluster.nodes), seed=1, rate=300, writers=4, patience=30)
    probe = Probe(load)
    wait_for_probes(probe, 200)
    began, before = time.monotonic(), load.counts()
    wait_for_probes(probe, 300)
    _, quiet = tell("quiet", load, before, probe, began)

    n4, = joins(cluster, ["n4"], "--join-hold")
    began, before, held = time.monotonic(), load.counts(), gained(cluster.nodes + [n4])
    plan = commit(n1)
    wait_until_over(cluster.nodes)
    copied = gained(cluster.nodes + [n4]) - held
    grow_errors, grow = tell("3 -> 4", load, before, probe, began)
    judge_moved("3 -> 4", plan, copied)
    load.nodes.append(n4)
    wait_for_probes(probe, 200)
    wait_for_writes(load, 300)

    began, before, held = time.monotonic(), load.counts(), gained(cluster.nodes)
    leave(n1, "n4")
    plan = commit(n1)
    load.nodes.remove(n4)  # as its clients would: what it serves goes on, but its process ends by itself
    wait_until_over(cluster.nodes)
    copied = gained(cluster.nodes) - held
    shrink_errors, shrink = tell("4 -> 3", load, before, probe, began)
    judge_moved("4 -> 3", plan, copied)
    ends_by_itself(n4)
    probe.stopping = True
    probe.join()
    load.stop()
    judge(load, cluster.nodes)
    print("p99 while moving: %.1f and %.1f times the quiet one; errors %.3f %% and %.3f %%" % (
        grow / quiet, shrink / quiet, 100 * grow_errors, 100 * shrink_errors), flush=True)
    assert grow_errors <= 0.001 and shrink_errors <= 0.001


def three_six_four(cluster):
    n1, n2, n3 = cluster.nodes
    load = Load(list(cluster.nodes), seed=2, rate=2000)
    probe = Probe(load)
    wait_for_writes(load, 4000)
    began, before = time.monotonic(), load.counts()
    more = joins(cluster, ["n5", "n6", "n7"])  # their change is committed by themselves
    wait_for("their change to run", lambda: state_of_change([n1, n3]) == RUNNING)
    n1.admin.SetPace(cluster_pb2.SetPaceRequest(bytes_per_second=PACE), timeout=30)
    in_the_middle([n1, n3])
    kill_and_start(n2, load, [n1, n3])
    wait_until_over([n1, n3])
    wait_for("n1 to know that they have joined", lambda: are_normal(n1, more))
    tell("3 -> 6, n2 killed", load, before, probe, began)

    load.nodes.extend(more[:1])
    wait_for_writes(load, 4000)
    began, before = time.monotonic(), load.counts()
    leave(n1, "n6")
    leave(n1, "n7")
    commit(n1)
    in_the_middle([n1, n3])
    kill_and_start(more[0], load, [n1, n3])
    wait_until_over([n1, n3])
    for node in more[1:]:
        ends_by_itself(node)
    tell("6 -> 4, n5 killed", load, before, probe, began)
    probe.stopping = True
    probe.join()
    load.stop()
    left = cluster.nodes + more[:1]
    judge(load, left)
    try:
        wait_for("equal copies", lambda: not cluster_digests(left)[1], 60)
    except AssertionError:
        written = [key.name for key in load.keys()]
        probed = [b"probe-%d" % i for i in range(PROBED)]
        preloaded = [b"p%d" % i for i in range(PRELOADED)]
        tell_differences(left, probed + written + preloaded, cluster_digests(left)[1])
        raise
    for node in more[:1]:
        node.terminate()


def main():
    """Arguments: which parts (one, two); without: both."""
    parts = sys.argv[1:] or ["one", "two"]
    flags = ["--coordinators", "1", "--replicas", "1", "--grpc-threads", "1", "--memory", "64MiB"]
    with Cluster(3, flags) as cluster:
        cluster.start()
        if "one" in parts:
            three_four_three(cluster)
        else:
            preload(cluster.nodes[0])
        if "two" in parts:
            three_six_four(cluster)
    return 0


if __name__ == "__main__":
    sys.exit(main())
