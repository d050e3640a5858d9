"""Rule: links that are cut, both ways or one way, lose no acknowledged write; what a cut-off replica missed it holds
after the cut. DESIGN.md 8, 11; RELIABILITY 7.2 (partition: isolate one, one-way, bridge)."""

import random
import sys
import threading
import time

from network import NetworkCluster, enter_hub, need_namespaces
from cluster import grpc, wait_for

WRITERS = 4
CUT_SECONDS = 6


class Load:
    """Writes fresh keys through all nodes until stopped; remembers what was acknowledged."""

    def __init__(self, nodes):
        self.nodes = nodes
        self.stopping = threading.Event()
        self.acknowledged = [[] for _ in range(WRITERS)]
        self.refused = [0] * WRITERS
        self.threads = [threading.Thread(target=self.write, args=(i,)) for i in range(WRITERS)]
        for thread in self.threads:
            thread.start()

    def write(self, worker):
        number = 0
        while not self.stopping.is_set():
            number += 1
            key = b"w%d-%d" % (worker, number)
            try:
                self.nodes[number % len(self.nodes)].put(key, b"of " + key, timeout=2)
                self.acknowledged[worker].append(key)
            except grpc.RpcError:
                self.refused[worker] += 1

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join()
        return [key for keys in self.acknowledged for key in keys]


def cuts(cluster):
    n1, n2, n3 = cluster.nodes
    yield "n3 alone", lambda: cluster.isolate(n3)
    yield "n1 does not reach n3", lambda: cluster.cut_one_way(n1, n3)
    yield "n3 does not reach n1", lambda: cluster.cut_one_way(n3, n1)
    yield "n1 and n3 apart, n2 between them", lambda: cluster.cut(n1, n3)
    yield "all apart", lambda: [cluster.cut(n1, n2), cluster.cut(n1, n3), cluster.cut(n2, n3)]


def check_everywhere(cluster, keys):
    """At QUORUM through each node."""
    for node in cluster.nodes:
        for key in keys:
            values = [v.value for v in node.get(key).values]
            assert values == [b"of " + key], "%s: %r is %r" % (node.name, key, values)


def main():
    need_namespaces()
    enter_hub()
    with NetworkCluster(3) as cluster:
        cluster.start()
        total = 0
        for what, cut in cuts(cluster):
            load = Load(cluster.nodes)
            time.sleep(1)
            cut()
            time.sleep(CUT_SECONDS)
            cluster.heal()
            time.sleep(1)
            keys = load.stop()
            cluster.wait_alive(60)
            wait_for("hints to be delivered", lambda: sum(n.metric("coterie_hints") for n in cluster.nodes) == 0, 60)
            sample = keys if len(keys) < 3000 else random.Random(1).sample(keys, 3000)
            check_everywhere(cluster, sample)
            total += len(keys)
            print("%-36s %6d acknowledged, %4d refused or unknown, 0 lost" % (what, len(keys), sum(load.refused)))
            sys.stdout.flush()
        print("%d acknowledged writes" % total)


if __name__ == "__main__":
    main()
