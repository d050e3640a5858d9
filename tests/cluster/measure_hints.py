"""Measures what handing over a backlog of hints costs the clients of the node that gets them (issue: p99 at most
doubled). Four nodes on loopback, one is stopped while the others write, then it is started with the delivery paused;
slices of foreground load on it alternate, delivery paused and running, until the backlog is gone. Not a test: it
prints figures, so that both are from the same machine in the same minutes.

    python3 tests/cluster/measure_hints.py [--hints 100000] [--slice 4] [--concurrency 4]
"""

import argparse
import json
import os
import statistics
import subprocess
import time

from cluster import COTERIED, Cluster, wait_for

FOLDER = os.path.dirname(COTERIED)
COTERIE = os.environ.get("COTERIE", os.path.join(FOLDER, "coterie"))
BENCH = os.environ.get("COTERIE_BENCH", os.path.join(FOLDER, "coterie-bench"))
LOAD_SEED, FOREGROUND_SEED, FOREGROUND_KEYS = 1, 2, 5000


def bench(operation, nodes, *arguments):
    done = subprocess.run([BENCH, operation, "--targets", ",".join(n.endpoint for n in nodes), "-o", "json", *arguments],
                          capture_output=True, timeout=600)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def hints(nodes):
    return sum(node.metric("coterie_hints") for node in nodes)


def change(nodes, what):
    subprocess.run([COTERIE, "--endpoints", ",".join(n.endpoint for n in nodes), "hints", what], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=30)


def slice_of_load(node, arguments):
    return bench("mixed", [node], "--no-load", "--seed", str(FOREGROUND_SEED), "--keys", str(FOREGROUND_KEYS),
                 "--duration", str(arguments.slice), "--warmup", "1", "--threads", "1", "--connections", "1",
                 "--concurrency", str(arguments.concurrency))


def p99_ms(result):
    return result["mixed"]["latency_us"]["p99"] / 1000


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--hints", type=int, default=100000)
    parser.add_argument("--slice", type=int, default=4)
    parser.add_argument("--concurrency", type=int, default=4)
    arguments = parser.parse_args()
    with Cluster(4) as cluster:
        cluster.start()
        target, keepers = cluster.nodes[3], cluster.nodes[:3]
        bench("load", cluster.nodes, "--seed", str(FOREGROUND_SEED), "--keys", str(FOREGROUND_KEYS))
        target.kill()
        wait_for("n4 to be seen down", lambda: all(node.alive_nodes() == 3 for node in keepers))
        bench("load", keepers, "--seed", str(LOAD_SEED), "--keys", str(arguments.hints * 4 // 3))
        change(keepers, "pause")
        backlog = hints(keepers)
        target.start().wait_serving()
        cluster.wait_alive()
        print("%d hints for n4, %d keepers" % (backlog, len(keepers)))
        paused, running, began, delivering_s = [], [], backlog, 0.0
        while hints(keepers) > 0 and len(running) < 40:
            change(keepers, "pause")
            time.sleep(1)
            before = slice_of_load(target, arguments)
            left = hints(keepers)
            change(keepers, "resume")
            started = time.monotonic()
            during = slice_of_load(target, arguments)
            delivering_s += time.monotonic() - started
            rest = hints(keepers)
            print("paused p99 %.2f ms, %.0f/s; delivering p99 %.2f ms, %.0f/s; hints %d -> %d%s" % (
                p99_ms(before), before["mixed"]["requests_per_second"], p99_ms(during), during["mixed"]["requests_per_second"], left, rest,
                "" if rest > 0 else " (ended within the slice: not counted)"), flush=True)
            if rest > 0:
                paused.append(p99_ms(before))
                running.append(p99_ms(during))
        wait_for("all hints to be delivered", lambda: hints(keepers) == 0, 120)
        assert running, "the backlog was gone before a slice ended: more --hints"
        print("%d hints in about %.0f s of delivery (%.0f/s); refused by n4: %d" % (
            began, delivering_s, began / delivering_s, sum(n.metric("coterie_hints_failed_total") for n in keepers)))
        print("median p99: paused %.2f ms, delivering %.2f ms: %.2fx" % (
            statistics.median(paused), statistics.median(running),
            statistics.median(running) / statistics.median(paused)))


if __name__ == "__main__":
    main()
