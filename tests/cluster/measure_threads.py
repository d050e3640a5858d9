"""Measures where a request's processor time goes: for each kind of work the requests/s, the ratio to the null RPC of
the same run, the share of the processors that was idle, and the microseconds of processor time a request took, by
thread (nodes of all, client). Ratios say how fast the machine is with it; this says what a commit has made dearer, and
hardly depends on what else runs. Not a test: it prints figures.

    COTERIED=build/release/coteried python3 tests/cluster/measure_threads.py [--nodes 3] [--work null,get,put]
"""

import argparse
import collections
import json
import os
import subprocess
import time

from cluster import COTERIED, Cluster

BENCH = os.environ.get("COTERIE_BENCH", os.path.join(os.path.dirname(COTERIED), "coterie-bench"))
KEYS, OUTSTANDING, WARM_UP_S = 10000, 64, 1
SMALL_US = 0.3  # threads below it are not listed


def spent(pids):
    """Nanoseconds on a processor, by process, thread and name."""
    found = {}
    for pid in pids:
        for thread in os.listdir("/proc/%d/task" % pid):
            folder = "/proc/%d/task/%s/" % (pid, thread)
            try:
                with open(folder + "schedstat") as stat, open(folder + "comm") as comm:
                    found[pid, thread, comm.read().strip()] = int(stat.read().split()[0])
            except FileNotFoundError:
                pass  # it has ended
    return found


def processors():
    with open("/proc/stat") as stat:
        return [int(ticks) for ticks in stat.readline().split()[1:9]]


def bench(work, nodes, *arguments):
    return [BENCH, work, "--targets", ",".join(node.endpoint for node in nodes), "--keys", str(KEYS), "-o", "json", *arguments]


def measure(work, nodes, arguments):
    client = subprocess.Popen(
        bench(work, nodes, "--concurrency", str(OUTSTANDING), "--connections", str(arguments.connections or len(nodes) + 3),
              "--warmup", str(WARM_UP_S), "--duration", str(arguments.duration), *([] if work == "null" else ["--no-load"])),
        stdout=subprocess.PIPE)
    pids = [node.process.pid for node in nodes] + [client.pid]
    time.sleep(WARM_UP_S + 0.2)
    began, threads_before, machine_before = time.monotonic(), spent(pids), processors()
    time.sleep(arguments.duration - 0.5)
    seconds, threads, machine = time.monotonic() - began, spent(pids), processors()
    output = client.communicate(timeout=60)[0]
    assert client.returncode == 0, "coterie-bench %s ended with %d" % (work, client.returncode)
    rate = json.loads(output)[work]["requests_per_second"]
    by_name = collections.Counter()
    for thread, ns in threads.items():
        by_name[thread[2]] += (ns - threads_before.get(thread, 0)) / 1000 / seconds / rate
    ticks = [after - before for before, after in zip(machine_before, machine)]
    return rate, (ticks[3] + ticks[4]) / sum(ticks), by_name


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], epilog=__doc__.split("\n\n")[1],
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--work", default="null,get,put", help="the first one is what the others are compared with")
    parser.add_argument("--connections", type=int, help="default: 4 of one node, 6 of three")
    parser.add_argument("--duration", type=int, default=5, help="seconds for each kind of work")
    parser.add_argument("--rounds", type=int, default=1)
    arguments = parser.parse_args()
    with Cluster(arguments.nodes) as cluster:
        cluster.start()
        subprocess.run(bench("load", cluster.nodes), check=True, stdout=subprocess.DEVNULL, timeout=300)
        for _ in range(arguments.rounds):
            first = None
            for work in arguments.work.split(","):
                rate, idle, threads = measure(work, cluster.nodes, arguments)
                first = first or rate
                print("%-5s %7.0f/s  %.2f x  idle %2.0f %%  %5.1f us: %s" % (
                    work, rate, rate / first, idle * 100, sum(threads.values()),
                    ", ".join("%s %.1f" % (name, us) for name, us in threads.most_common() if us >= SMALL_US)), flush=True)


if __name__ == "__main__":
    main()
