"""Rule: deleting gives space back. When 90 % of the keys have been deleted and all replicas have agreed to forget the
tombstones, only the rows of the rest are left, on every replica the same, and the data directories shrink. DESIGN.md 5.

    test_space.py [KEYS]     100000 keys of 200 B unless given; 1000000 is the whole of it

The values are random, so that compression has nothing to do with the result."""

import os
import random
import sys
import time

from cluster import Cluster, cluster_digests, grpc, kv, wait_for

BATCH = 500
WINDOW = 4
MIB = 2**20


def size_of(folder):
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(path, name)).st_blocks * 512
            except FileNotFoundError:  # compaction has just removed it
                pass
    return total


def finish(call):
    bad = [item for item in call.result().items if item.status.code != 0]
    assert not bad, bad[0]


def write_all(nodes, numbers, value):
    """value(number) None: a delete."""
    waiting = []
    for first in range(0, len(numbers), BATCH):
        request = kv.BatchWriteRequest()
        for number in numbers[first:first + BATCH]:
            made = value(number)
            request.items.add(key=b"key-%d" % number, value=made or b"", delete=made is None)
        waiting.append(nodes[first // BATCH % len(nodes)].kv.BatchWrite.future(request, timeout=120))
        if len(waiting) == WINDOW:
            finish(waiting.pop(0))
    for call in waiting:
        finish(call)


def rows(cluster):
    """Of each node; tombstones are rows."""
    try:
        held, _ = cluster_digests(cluster.nodes)
    except grpc.RpcError:
        return [-1]
    return [sum(copies[node.name][1] for copies in held.values() if node.name in copies) for node in cluster.nodes]


def equal(cluster):
    try:
        return cluster_digests(cluster.nodes)[1] == []
    except grpc.RpcError:
        return False


def sizes(cluster):
    return [size_of(node.data) for node in cluster.nodes]


def mib(numbers):
    return ", ".join("%.1f" % (n / MIB) for n in numbers)


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else int(os.environ.get("SPACE_KEYS", "100000"))
    rng = random.Random(1)
    patience = 60 + count / 1000
    with Cluster(3, ["--reap-after", "2", "--memory", "64MiB"]) as cluster:
        cluster.start()
        write_all(cluster.nodes, range(count), lambda number: rng.randbytes(200))
        wait_for("all rows on all nodes", lambda: rows(cluster) == [count] * 3, patience)
        full = sizes(cluster)
        print("%d keys: %s MiB" % (count, mib(full)))
        kept = {number for number in range(count) if number % 10 == 0}
        write_all(cluster.nodes, [n for n in range(count) if n not in kept], lambda number: None)
        deleted = time.monotonic()
        wait_for("no row but the %d kept" % len(kept), lambda: rows(cluster) == [len(kept)] * 3, patience)
        wait_for("equal copies", lambda: equal(cluster), patience)
        print("tombstones of %d keys reaped %.1f s after the last delete" % (
            count - len(kept), time.monotonic() - deleted))
        sys.stdout.flush()
        wait_for("the data directories to shrink (%s MiB now)" % mib(sizes(cluster)),
                 lambda: all(now < 0.5 * then for now, then in zip(sizes(cluster), full)), patience)
        print("data directories %s MiB, %.1f s after the last delete" % (
            mib(sizes(cluster)), time.monotonic() - deleted))
        for number in rng.sample(range(count), 200):
            found = cluster.nodes[number % 3].get(b"key-%d" % number).found
            assert found == (number in kept), number


if __name__ == "__main__":
    main()
