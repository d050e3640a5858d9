"""Rule: what one of four misses while it is down it gets from hints when it is back, without a read; with
two down writes still count W nodes, a fallback among them, and say so. DESIGN.md 7, 8; Dynamo 4.6."""

import threading
import time

from cluster import Cluster, wait_for

KEYS = 2000
WRITERS = 4


def hints(nodes):
    return sum(node.metric("coterie_hints") for node in nodes)


def write_all(nodes, value):
    fallbacks = [0] * WRITERS
    errors = []

    def write(worker):
        for i in range(worker, KEYS, WRITERS):
            try:
                reply = nodes[i % len(nodes)].put(b"key-%d" % i, value)
                fallbacks[worker] += len(reply.acknowledgement.fallbacks) > 0
            except Exception as error:  # counted, the test fails below
                errors.append(error)

    threads = [threading.Thread(target=write, args=(worker,)) for worker in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, "%d writes failed, first: %s" % (len(errors), errors[0])
    return sum(fallbacks)


def check_all(node, value):
    """Through the node itself with R 1: it answers with what it holds, where it holds the key."""
    for i in range(KEYS):
        values = [v.value for v in node.get(b"key-%d" % i, r=1).values]
        assert values == [value], "%s: key-%d is %r" % (node.name, i, values)


def main():
    with Cluster(4) as cluster:
        cluster.start()
        n1, n2, n3, n4 = cluster.nodes
        write_all([n1, n2, n3, n4], b"one")
        wait_for("no hints", lambda: hints(cluster.nodes) == 0)

        n4.kill()
        write_all([n1, n2, n3], b"two")  # the first ones before anybody knows
        wait_for("n1 to see n4 down", lambda: n1.alive_nodes() == 3)
        kept = hints([n1, n2, n3])
        assert kept >= KEYS // 2, "only %d hints for %d keys" % (kept, KEYS)
        n2.kill()  # keepers keep their hints
        n2.start().wait_serving()
        wait_for("n2 to count its hints", lambda: hints([n1, n2, n3]) >= kept)
        n4.start().wait_serving()
        started = time.monotonic()
        cluster.wait_alive()
        wait_for("all hints to be delivered", lambda: hints(cluster.nodes) == 0, 60)
        took = time.monotonic() - started
        check_all(n4, b"two")
        lost = sum(n.metric("coterie_hints_overflow_total") + n.metric("coterie_hints_expired_total")
                   for n in cluster.nodes)
        assert lost == 0
        print("n4 was away: %d hints, delivered %.1f s after its start" % (kept, took))

        n3.kill()
        n4.kill()
        wait_for("two to be alive", lambda: n1.alive_nodes() == 2 and n2.alive_nodes() == 2)
        stood_in = write_all([n1, n2], b"three")
        assert stood_in > 0, "with two of four down no fallback counted"
        n3.start().wait_serving()
        n4.start().wait_serving()
        cluster.wait_alive()
        wait_for("all hints to be delivered", lambda: hints(cluster.nodes) == 0, 60)
        for node in (n3, n4):
            check_all(node, b"three")
        print("two of four away: %d of %d writes counted a fallback, 0 lost" % (stood_in, KEYS))


if __name__ == "__main__":
    main()
