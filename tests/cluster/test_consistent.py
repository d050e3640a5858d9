"""Rule: each key of a consistent keyspace is one register (linearizable; Rystsov, CASPaxos 2018; DESIGN.md 8). Counters
are incremented by compare-and-set through three nodes while one node after the other is killed or stopped: a counter
ends at the acknowledged increments, plus at most those whose outcome is unknown; nobody who reads sees it go back; a
retry with its request id settles what was unknown; and without a majority the answer is a clear UNAVAILABLE."""

import os
import random
import sys
import threading
import time

import grpc
from cluster import Cluster, cluster_pb2, kv, wait_for

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "clients"))
from harness import Details  # noqa: E402

COUNTERS = [b"counter-%d" % i for i in range(4)]
ALONE = [b"alone-%d" % i for i in range(2)]  # one writer each, who settles what is unknown
WRITERS = 6
ROUNDS = 12
REFUSED = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "UNKNOWN", "RESOURCE_EXHAUSTED")


class Tally:
    def __init__(self):
        self.lock = threading.Lock()
        self.acknowledged = {key: 0 for key in COUNTERS + ALONE}
        self.unknown = {key: 0 for key in COUNTERS + ALONE}
        self.false = self.settled = self.not_applied = self.reads = 0
        self.failures = []
        self.ending = False

    def add(self, name, key=None):
        with self.lock:
            if key is None:
                setattr(self, name, getattr(self, name) + 1)
            else:
                getattr(self, name)[key] += 1


def get(node, key, timeout=1.0):
    """Value and version; None when the node cannot say."""
    try:
        reply = node.kv.Get(kv.GetRequest(keyspace="bank", key=key), timeout=timeout)
    except grpc.RpcError as error:
        assert error.code().name in REFUSED, error
        return None
    assert not reply.context, "consistent keyspaces have versions, no contexts"
    return int(reply.values[0].value) if reply.found else 0, reply.version


def outcome_of(error):
    """NOT_APPLIED only where the server says so: a connection that broke says nothing."""
    assert error.code().name in REFUSED, error
    details = Details(error) if error.trailing_metadata() else None
    return details.metadata.get("outcome", "UNKNOWN") if details is not None else "UNKNOWN"


def compare_and_set(node, key, value, version, request_id, timeout=1.0):
    return node.kv.CompareAndSet(kv.CompareAndSetRequest(
        keyspace="bank", key=key, expected_version=version, value=b"%d" % value, request_id=request_id),
        timeout=timeout)


def increment(tally, nodes, prng, key):
    node = prng.choice(nodes)
    seen = get(node, key)
    if seen is None:
        return
    try:
        reply = compare_and_set(node, key, seen[0] + 1, seen[1], b"")
    except grpc.RpcError as error:
        if outcome_of(error) == "NOT_APPLIED":
            tally.add("not_applied")
        else:
            tally.add("unknown", key)
        return
    if reply.applied:
        tally.add("acknowledged", key)
    else:
        tally.add("false")


def settle(tally, nodes, prng, key, latest):
    """The only writer of its key, one increment: what went wrong is sent again with the same id, through another node,
    until somebody answers. Then it was made, once."""
    request_id = prng.randbytes(16)
    value = latest.get(key, 0)
    tries = 0
    while True:
        tries += 1
        try:
            reply = compare_and_set(prng.choice(nodes), key, value + 1, value, request_id)
            break
        except grpc.RpcError as error:
            outcome_of(error)
            time.sleep(0.02)
    assert reply.applied and reply.version == value + 1, "%s: %s instead of version %d" % (key, reply, value + 1)
    latest[key] = value + 1
    tally.add("acknowledged", key)
    if tries > 1:
        tally.add("settled")


def guarded(tally, work):
    try:
        while not tally.ending:
            work()
    except Exception as error:  # told by the main thread
        tally.failures.append(repr(error))
        raise


def read_on(tally, nodes, prng, latest):
    """One reader: whichever node it asks, what it has seen once it never sees undone."""
    key = prng.choice(COUNTERS + ALONE)
    seen = get(prng.choice(nodes), key)
    if seen is None:
        return
    tally.add("reads")
    before = latest.get(key, (0, 0))
    assert seen[0] >= before[0] and seen[1] >= before[1], "%s went from %s back to %s" % (key, before, seen)
    latest[key] = seen


USED = ("coordinator_registers", "coordinator_register_fast_reads", "coordinator_register_conflicts",
        "replica_register_queries", "replica_register_promises", "replica_register_accepts")


def all_used(cluster, tally):
    """Each node has done each kind of work since its last start, each counter was incremented, much was read."""
    return (min(tally.acknowledged.values()) > 10 and tally.reads > 100 and tally.false > 0 and tally.settled > 0 and
            all(node.metric("coterie_%s_total" % name) > 0 for node in cluster.nodes for name in USED))


def disturb(cluster, tally, prng):
    """One of three at a time: killed or stopped, and back."""
    for turn in range(ROUNDS):
        node = cluster.nodes[turn % 3]
        if turn % 2 == 0:
            node.kill()
            time.sleep(prng.uniform(0.5, 1.5))
            node.start().wait_serving()
        else:
            node.pause()
            time.sleep(prng.uniform(1.0, 3.0))
            node.resume()
        cluster.wait_alive()
    wait_for("all to have been used", lambda: tally.failures or all_used(cluster, tally))


def play(cluster):
    tally = Tally()
    threads = []
    for i in range(WRITERS):
        prng = random.Random(i)
        threads.append(threading.Thread(target=guarded, args=(
            tally, lambda p=prng: increment(tally, cluster.nodes, p, p.choice(COUNTERS)))))
    for i, key in enumerate(ALONE):
        prng, latest = random.Random(50 + i), {}
        threads.append(threading.Thread(target=guarded, args=(
            tally, lambda p=prng, k=key, made=latest: settle(tally, cluster.nodes, p, k, made))))
    for i in range(2):
        prng, latest = random.Random(100 + i), {}
        threads.append(threading.Thread(target=guarded, args=(
            tally, lambda p=prng, seen=latest: read_on(tally, cluster.nodes, p, seen))))
    for thread in threads:
        thread.start()
    try:
        disturb(cluster, tally, random.Random(7))
    finally:
        tally.ending = True
        for thread in threads:
            thread.join()
    assert not tally.failures, tally.failures
    return tally


def read_everywhere(cluster, key):
    """What all nodes say. An increment of unknown outcome may still be made between two answers, none is undone."""
    seen = [wait_for("an answer", lambda n=node: get(n, key, 20)) for node in cluster.nodes]
    assert seen == sorted(seen), "%s went back: %s" % (key, seen)
    return seen[0] if seen[0] == seen[-1] else None


def check_counters(cluster, tally):
    for key in COUNTERS + ALONE:
        value, version = wait_for("all nodes to say the same of %s" % key, lambda k=key: read_everywhere(cluster, k))
        least, most = tally.acknowledged[key], tally.acknowledged[key] + tally.unknown[key]
        assert least <= value <= most, "%s is %d, acknowledged %d, unknown %d" % (key, value, least, most - least)
        assert version == value, "each increment is one change: version %d, value %d" % (version, value)
    assert not any(tally.unknown[key] for key in ALONE)


def check_metrics(cluster):
    for node in cluster.nodes:
        assert node.metric("coterie_replica_register_refused_total") == 0, "a copy that was never emptied has no vote"


def check_without_majority(cluster):
    n1, n2, n3 = cluster.nodes
    before = wait_for("an answer", lambda: get(n1, COUNTERS[0]))
    n2.kill()
    n3.kill()
    wait_for("n1 to be alone", lambda: n1.alive_nodes() == 1)
    requests = {
        "get": lambda: n1.kv.Get(kv.GetRequest(keyspace="bank", key=COUNTERS[0]), timeout=20),
        "put": lambda: n1.put(COUNTERS[0], b"0", keyspace="bank"),
        "delete": lambda: n1.kv.Delete(kv.DeleteRequest(keyspace="bank", key=COUNTERS[0]), timeout=20),
        "compare-and-set": lambda: compare_and_set(n1, COUNTERS[0], 0, before[1], b"", 20),
    }
    for name, request in requests.items():
        started = time.monotonic()
        try:
            raise AssertionError("%s without a majority: %s" % (name, request()))
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.UNAVAILABLE, (name, error)
            details = Details(error)
            assert details.reason == "QUORUM_NOT_MET" and details.metadata["needed"] == "2", (name, details.metadata)
            assert sorted(details.metadata["missing"].split(", ")) == ["n2", "n3"], (name, details.metadata)
            assert name == "get" or details.metadata["outcome"] == "NOT_APPLIED", (name, details.metadata)
        assert time.monotonic() - started < 5, "%s was not refused at once" % name
    n2.start().wait_serving()
    after = wait_for("two of three to answer", lambda: get(n1, COUNTERS[0]))
    assert after == before, (before, after)
    n3.start().wait_serving()


def main():
    with Cluster(3) as cluster:
        cluster.start()
        cluster.nodes[0].admin.CreateKeyspace(cluster_pb2.CreateKeyspaceRequest(keyspace=cluster_pb2.Keyspace(
            name="bank", mode=cluster_pb2.Keyspace.MODE_CONSISTENT)), timeout=30)
        wait_for("all nodes to know the keyspace", lambda: all(get(n, COUNTERS[0]) for n in cluster.nodes))
        tally = play(cluster)
        check_counters(cluster, tally)
        check_metrics(cluster)
        check_without_majority(cluster)
        print("consistent: %d increments, %d unknown, %d settled by their id, %d not applied, %d false, %d reads" % (
            sum(tally.acknowledged.values()), sum(tally.unknown.values()), tally.settled, tally.not_applied,
            tally.false, tally.reads))


if __name__ == "__main__":
    main()
