"""Rule: an acknowledged write of an fsync keyspace survives kill -9 of every node at once
(RELIABILITY rule 17). Under load, again and again; then every key that was ever acknowledged is read."""

import os
import sys
import threading
import time

from cluster import Cluster, grpc, wait_for

ROUNDS = int(os.environ.get("KILL_ROUNDS", "20"))
WORKERS = 8
LOAD_SECONDS = 0.6


class Worker(threading.Thread):
    def __init__(self, node, number, round_number):
        super().__init__()
        self.node, self.number, self.round_number = node, number, round_number
        self.stopping = False
        self.acknowledged = {}

    def run(self):
        count = 0
        while not self.stopping:
            key = b"r%d-w%d-%d" % (self.round_number, self.number, count)
            value = b"value of " + key + b"." * (count % 200)
            try:
                self.node.put(key, value, timeout=3)
                self.acknowledged[key] = value
            except grpc.RpcError:
                time.sleep(0.01)
            count += 1


def check(cluster, acknowledged, what):
    lost = []
    for i, (key, value) in enumerate(acknowledged.items()):
        node = cluster.nodes[i % len(cluster.nodes)]
        reply = node.get(key, timeout=30)
        if [v.value for v in reply.values] != [value]:
            lost.append((key, [v.value for v in reply.values]))
    assert not lost, "%s: %d of %d acknowledged writes lost, first %r" % (
        what, len(lost), len(acknowledged), lost[0])


def main(node_count):
    everything = {}
    with Cluster(node_count) as cluster:
        cluster.start()
        for round_number in range(ROUNDS):
            workers = [Worker(cluster.nodes[i % node_count], i, round_number) for i in range(WORKERS)]
            for worker in workers:
                worker.start()
            wait_for("a write", lambda: any(worker.acknowledged for worker in workers))
            time.sleep(LOAD_SECONDS)
            for node in cluster.nodes:  # all at once: signals first, then wait
                node.process.kill()
            for node in cluster.nodes:
                node.kill()
            for worker in workers:
                worker.stopping = True
            for worker in workers:
                worker.join()
            acknowledged = {k: v for worker in workers for k, v in worker.acknowledged.items()}
            cluster.start()
            check(cluster, acknowledged, "round %d" % round_number)
            everything.update(acknowledged)
            print("round %d: %d acknowledged writes, all there" % (round_number, len(acknowledged)), flush=True)
        check(cluster, everything, "at the end")
        print("%d nodes, %d rounds: %d acknowledged writes, 0 lost" % (node_count, ROUNDS, len(everything)))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
