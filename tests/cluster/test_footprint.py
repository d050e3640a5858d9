"""Must hold: idle node <= 64 MiB; 1,000,000 keys of 100 B on one node stay under the memory ceiling
+ 64 MiB; a start after kill -9 takes < 5 s. The figures are printed."""

import os
import time

from cluster import Cluster, grpc, kv, wait_for

KEYS = int(os.environ.get("FOOTPRINT_KEYS", "1000000"))
CEILING = 128 << 20
MIB = 2**20


def load(node):
    value = bytes(range(100))
    waiting = []
    for first in range(0, KEYS, 1000):
        request = kv.BatchWriteRequest()
        for i in range(first, min(first + 1000, KEYS)):
            request.items.add(key=b"key-%08d" % i, value=value)
        waiting.append(node.kv.BatchWrite.future(request, timeout=120))
        if len(waiting) == 4:
            finish(waiting.pop(0))
    for call in waiting:
        finish(call)


def finish(call):
    bad = [item for item in call.result().items if item.status.code != 0]
    assert not bad, bad[0]


def main():
    with Cluster(1, ["--memory", str(CEILING)]) as cluster:
        node = cluster.nodes[0]
        started = time.monotonic()
        node.start().wait_serving()
        first = time.monotonic() - started
        time.sleep(1)  # idle, not starting
        idle = node.rss_bytes()
        print("first start: serving after %.0f ms; idle: %.1f MiB" % (1000 * first, idle / MIB))
        assert idle <= 64 * MIB, "idle node: %.1f MiB" % (idle / MIB)

        started = time.monotonic()
        load(node)
        print("%d keys of 100 B in %.0f s" % (KEYS, time.monotonic() - started))
        peak = node.rss_bytes()
        for i in range(0, KEYS, max(1, KEYS // 20000)):
            assert node.get(b"key-%08d" % i).found
            peak = max(peak, node.rss_bytes()) if i % 1000 == 0 else peak
        print("resident %.1f MiB, ceiling %d MiB + 64" % (peak / MIB, CEILING / MIB))
        assert peak <= CEILING + 64 * MIB

        node.kill()
        started = time.monotonic()
        node.start().wait_serving()
        again = time.monotonic() - started
        queued = node.queued_seconds()
        print("start after kill -9: serving after %.0f ms, %.0f of them for want of a processor" % (1000 * again, 1000 * queued))
        assert again - queued < 5.0
        assert node.get(b"key-%08d" % (KEYS - 1)).found
        print("after the start: %.1f MiB" % (node.rss_bytes() / MIB))
        assert node.terminate() == 0
        started = time.monotonic()
        node.start().wait_serving()
        print("start after a clean stop: serving after %.0f ms" % (1000 * (time.monotonic() - started)))


if __name__ == "__main__":
    main()
