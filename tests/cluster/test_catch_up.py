"""Rule: a node that was down for a while under 2000 writes a second is up to date within the time that it was down, by
hints while anti-entropy is held to its lowest rate, and as well by anti-entropy alone when no hints are kept.
DESIGN.md 8.

    test_catch_up.py [SECONDS] [RATE]     30 seconds down at 1000 writes a second unless given; 600 2000 is the whole of it
"""

import sys
import threading
import time

from cluster import Cluster, cluster_digests, grpc, kv, wait_for

BATCH = 50
WRITERS = 3
VALUE = b"v" * 100


class Writers:
    """Overwrite and add keys through the nodes that are there, at a steady rate."""

    def __init__(self, nodes, rate):
        self.nodes, self.rate = nodes, rate
        self.stopping = threading.Event()
        self.done = [0] * WRITERS
        self.failed = [0] * WRITERS
        self.started = time.monotonic()
        self.threads = [threading.Thread(target=self.write, args=(i,), daemon=True) for i in range(WRITERS)]
        for thread in self.threads:
            thread.start()

    def write(self, worker):
        count = 0
        while not self.stopping.is_set():
            if sum(self.done) > (time.monotonic() - self.started) * self.rate:
                time.sleep(0.005)
                continue
            request = kv.BatchWriteRequest()
            for i in range(BATCH):  # every fourth one writes over an older key
                number = (count + i) // 2 if i % 4 == 0 else count + i
                request.items.add(key=b"w%d-%d" % (worker, number), value=VALUE)
            count += BATCH
            try:
                reply = self.nodes[worker % len(self.nodes)].kv.BatchWrite(request, timeout=30)
                bad = sum(item.status.code != 0 for item in reply.items)
            except grpc.RpcError:
                bad = BATCH
            self.done[worker] += BATCH - bad
            self.failed[worker] += bad

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join()
        return sum(self.done), sum(self.failed), sum(self.done) / (time.monotonic() - self.started)


def hints(nodes):
    return sum(node.metric("coterie_hints") for node in nodes)


def equal(cluster):
    try:
        return cluster_digests(cluster.nodes)[1] == []
    except (grpc.RpcError, AssertionError):
        return False


def play(what, flags, seconds, rate):
    with Cluster(3, flags) as cluster:
        cluster.start()
        n1, n2, n3 = cluster.nodes
        n3.kill()
        wait_for("n3 to be seen down", lambda: n1.alive_nodes() == 2 and n2.alive_nodes() == 2)
        writers = Writers([n1, n2], rate)
        time.sleep(seconds)
        missed = sum(writers.done)
        kept = hints([n1, n2])
        n3.start().wait_serving()
        began = time.monotonic()
        cluster.wait_alive()
        # Clients go on writing until it has what it missed, or its time is up.
        wait_for("n3 to be up to date", lambda: caught_up(n3, missed), seconds)
        while_written = time.monotonic() - began
        done, failed, reached = writers.stop()
        stopped = time.monotonic()
        wait_for("all copies to be the same", lambda: hints(cluster.nodes) == 0 and equal(cluster), seconds)
        print("%s: down %.0f s, %d writes missed (%.0f/s), %d hints; up to date %.1f s after its start under load, all "
              "copies the same %.1f s after the last write; by hints %d, by anti-entropy %d keys; %d writes, %d failed" % (
                  what, seconds, missed, reached, kept, while_written, time.monotonic() - stopped,
                  n1.metric("coterie_hints_delivered_total") + n2.metric("coterie_hints_delivered_total"),
                  n3.metric("coterie_anti_entropy_keys_received_total") +
                  n1.metric("coterie_anti_entropy_keys_sent_total") +
                  n2.metric("coterie_anti_entropy_keys_sent_total"), done, failed))
        sys.stdout.flush()
        return kept, cluster_figures(cluster)


def caught_up(node, missed):
    """It holds nearly as many keys as were written while it was away; what is being written now comes on top."""
    keys = sum(row.keys for row in node.maintenance.Digest(digest_request(), timeout=30).vnodes)
    return keys >= missed * 0.85  # a quarter of the writes overwrite, half of those a key of this run


def digest_request():
    from cluster import maintenance_pb2
    return maintenance_pb2.DigestRequest(keyspace="default")


def cluster_figures(cluster):
    return sum(n.metric("coterie_hints_delivered_total") for n in cluster.nodes)


def main():
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 30.0
    rate = float(sys.argv[2]) if len(sys.argv) > 2 else 1000.0
    kept, delivered = play("by hints, anti-entropy at 64 KiB/s", ["--anti-entropy-interval", "604800", "--anti-entropy-rate", "64KiB"],
                           seconds, rate)
    assert kept > 0 and delivered >= kept, (kept, delivered)
    kept, delivered = play("by anti-entropy alone", ["--hints-bytes", "0"], seconds, rate)
    assert kept == 0 and delivered == 0, (kept, delivered)


if __name__ == "__main__":
    main()
