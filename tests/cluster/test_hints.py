"""Rule: what one of four misses while it is down it gets from hints when it is back, without a read; with
two down writes still count W nodes, a fallback among them, and say so. DESIGN.md 7, 8; Dynamo 4.6."""

import json
import os
import subprocess
import threading
import time

from cluster import COTERIED, Cluster, wait_for

COTERIE = os.environ.get("COTERIE", os.path.join(os.path.dirname(COTERIED), "coterie"))

KEYS = 2000
WRITERS = 4


def hints(nodes):
    return sum(node.metric("coterie_hints") for node in nodes)


def wait_settled(nodes):
    """What was answered is on each replica, or its hint is: both may come after the answer."""
    wait_for("all writes to be settled", lambda: not any(node.metric("coterie_coordinator_settling") for node in nodes))


def coterie(nodes, *arguments):
    """What the command line says, as JSON; nodes that are down make it exit 4."""
    endpoints = ",".join(node.endpoint for node in nodes)
    done = subprocess.run([COTERIE, "--endpoints", endpoints, "--deadline-ms", "30000", "-o", "json", *arguments],
                          timeout=60, check=True, capture_output=True)
    return json.loads(done.stdout)


def rows(nodes, target):
    """keeper -> what it says of its hints for `target`. A replica that was slow to answer may have got some too."""
    return {row["keeper"]: row for row in coterie(nodes, "hints")["hints"] if row["target"] == target}


def kept_for(nodes, target):
    return sum(row["hints"] for row in rows(nodes, target).values())


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


def wait_missed(nodes, count):
    for node in nodes:
        wait_for("%s to see %d nodes" % (node.name, count), lambda n=node: n.alive_nodes() == count)


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
        wait_settled(cluster.nodes)
        wait_for("no hints", lambda: hints(cluster.nodes) == 0)

        n4.kill()
        write_all([n1, n2, n3], b"two")  # the first ones before anybody knows
        wait_missed([n1, n2, n3], 3)
        wait_settled([n1, n2, n3])
        kept = kept_for([n1, n2, n3], "n4")
        assert kept >= KEYS // 2, "only %d hints for %d keys" % (kept, KEYS)
        n2.kill()  # keepers keep their hints
        n2.start().wait_serving()
        wait_for("n2 to count its hints", lambda: kept_for([n1, n2, n3], "n4") >= kept)
        n4.start().wait_serving()
        started = time.monotonic()
        cluster.wait_alive()
        wait_for("all hints to be delivered", lambda: hints(cluster.nodes) == 0, 120)
        took = time.monotonic() - started
        check_all(n4, b"two")
        lost = sum(n.metric("coterie_hints_overflow_total") + n.metric("coterie_hints_expired_total")
                   for n in cluster.nodes)
        assert lost == 0
        print("n4 was away: %d hints, delivered %.1f s after its start" % (kept, took))

        # Paused, over a restart of a keeper and with the target back; what is kept for whom is told.
        n4.kill()
        wait_missed([n1, n2, n3], 3)
        write_all([n1, n2, n3], b"paused")
        wait_settled([n1, n2, n3])
        told = coterie([n1, n2], "hints")
        assert told["asked"] == ["n1", "n2"] and told["not_asked"] == ["n3", "n4"], told
        wait_for("no hints but for n4", lambda: kept_for([n1, n2, n3], "n4") == hints([n1, n2, n3]))
        before = rows([n1, n2, n3], "n4")
        assert set(before) == {"n1", "n2", "n3"}, before
        assert all(row["state"] == "away" and row["bytes"] > 0 for row in before.values()), before
        for keeper in (n1, n2, n3):
            assert keeper.metric('coterie_hints_target{target="n4"}') == before[keeper.name]["hints"]
        assert coterie([n1, n2, n3], "hints", "pause", "--target", "n4")["paused"] == ["n1", "n2", "n3"]
        n2.kill()
        n2.start().wait_serving()
        n4.start().wait_serving()
        cluster.wait_alive()
        wait_for("n2 to count its hints",
                 lambda: rows([n2], "n4").get("n2", {}).get("hints") == before["n2"]["hints"])
        delivered = sum(n.metric("coterie_hints_delivered_total") for n in (n1, n2, n3))
        time.sleep(2)  # several turns of delivery, were it not for the pause
        held = rows([n1, n2, n3], "n4")
        assert {key: row["hints"] for key, row in held.items()} == {key: row["hints"] for key, row in before.items()}
        assert all(row["state"] == "paused" and row["oldest_age_ms"] > 0 for row in held.values()), held
        assert sum(n.metric("coterie_hints_delivered_total") for n in (n1, n2, n3)) == delivered
        coterie([n1, n2, n3], "hints", "resume")
        told = set()  # whose rate of the last ten seconds was seen

        def all_delivered():
            now = rows([n1, n2, n3], "n4")
            told.update(key for key, row in now.items() if row["delivered_per_s"] > 0)
            return not any(row["hints"] for row in now.values())
        wait_for("all hints to be delivered", all_delivered, 120)
        assert told == set(held), (told, held)
        check_all(n4, b"paused")
        print("paused: %d hints held back over a restart, then delivered" % sum(r["hints"] for r in held.values()))

        n3.kill()
        n4.kill()
        wait_for("two to be alive", lambda: n1.alive_nodes() == 2 and n2.alive_nodes() == 2)
        stood_in = write_all([n1, n2], b"three")
        assert stood_in > 0, "with two of four down no fallback counted"
        n3.start().wait_serving()
        n4.start().wait_serving()
        cluster.wait_alive()
        wait_for("all hints to be delivered", lambda: hints(cluster.nodes) == 0, 120)
        for node in (n3, n4):
            check_all(node, b"three")
        print("two of four away: %d of %d writes counted a fallback, 0 lost" % (stood_in, KEYS))


if __name__ == "__main__":
    main()
