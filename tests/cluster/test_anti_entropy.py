"""Rule: replicas are made equal without hints and without reads, and say as of when they were. DESIGN.md 8,
RELIABILITY rule 23; Dynamo 4.7."""

import threading
import time

from cluster import Cluster, wait_for
from test_hints import coterie, hints, wait_settled

KEYS = 12000
WRITERS = 4
INTERVAL_S = 5
PATIENCE_S = 120
VALUE = b"v" * 100


def write_all(nodes, suffix):
    errors = []

    def write(worker):
        for i in range(worker, KEYS, WRITERS):
            try:
                nodes[i % len(nodes)].put(b"key-%d" % i, VALUE + suffix)
            except Exception as error:  # counted, the test fails below
                errors.append(error)

    threads = [threading.Thread(target=write, args=(worker,)) for worker in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, "%d writes failed, first: %s" % (len(errors), errors[0])


def total(nodes, name):
    return sum(node.metric("coterie_anti_entropy_" + name) for node in nodes)


def all_proven_since(nodes, wall_s):
    return all(node.metric("coterie_anti_entropy_ranges") == 0 or
               node.metric("coterie_anti_entropy_identical_as_of_seconds") >= wall_s for node in nodes)


def main():
    with Cluster(3, ["--anti-entropy-interval", str(INTERVAL_S)]) as cluster:
        cluster.start()
        n1, n2, n3 = cluster.nodes
        for node, ranges in ((n1, 128), (n2, 64), (n3, 0)):  # of 64 vnodes; the highest number drives nothing
            wait_for("%d pairs that %s drives" % (ranges, node.name),
                     lambda n=node, count=ranges: n.metric("coterie_anti_entropy_ranges") == count)

        # Always on: every pair within the interval, also while clients write.
        since = time.time()
        write_all(cluster.nodes, b"one")
        wait_settled(cluster.nodes)
        wait_for("every pair to be proven identical", lambda: all_proven_since(cluster.nodes, since), PATIENCE_S)

        # What a node missed comes back without hints.
        coterie(cluster.nodes, "hints", "pause")
        n3.kill()
        wait_for("n1 to see n3 down", lambda: n1.alive_nodes() == 2)
        started = time.monotonic()
        write_all([n1, n2], b"two")
        away_s = time.monotonic() - started
        n3.start().wait_serving()
        started = time.monotonic()
        since = time.time()
        cluster.wait_alive()
        wait_for("every pair to be proven identical", lambda: all_proven_since([n1, n2], since), PATIENCE_S)
        took_s = time.monotonic() - started
        assert hints([n1, n2]) > 0, "hints were delivered although they are paused"
        sent = total([n1, n2], "keys_sent_total")
        assert sent >= KEYS, "only %d keys were handed over" % sent
        for i in range(0, KEYS, 7):
            values = [v.value for v in n3.get(b"key-%d" % i, r=1).values]
            assert values == [VALUE + b"two"], "n3: key-%d is %r" % (i, values)
        moved = total(cluster.nodes, "bytes_moved_total")
        print("n3 missed %d keys in %.1f s; equal %.1f s after its start, %d keys sent, %d bytes moved" %
              (KEYS, away_s, took_s, sent, moved))
        assert took_s <= away_s + 3 * INTERVAL_S

        # Equal replicas say little.
        coterie(cluster.nodes, "hints", "resume")
        wait_for("all hints to be delivered", lambda: hints(cluster.nodes) == 0, 60)
        moved = total(cluster.nodes, "bytes_moved_total")
        time.sleep(2 * INTERVAL_S)  # two turns of all 192 pairs
        idle = total(cluster.nodes, "bytes_moved_total") - moved
        assert idle <= 192 * 4 * 200, "%d bytes to find that nothing differs" % idle
        print("idle: %d bytes in %d s" % (idle, 2 * INTERVAL_S))
        assert total(cluster.nodes, "store_errors_total") == 0


if __name__ == "__main__":
    main()
