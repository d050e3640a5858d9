"""Rule: a data centre that is cut off takes nothing from LOCAL_QUORUM in the other: no error, no wait, on either side.
After the cut both are byte-equal, by hints, and by anti-entropy alone where none are kept. A write crosses the link
once, whatever N is on the other side. DESIGN.md 8.

    test_data_centres.py [SECONDS] [RATE] [PART]     30 seconds of cut, 120 writes a second in each data centre unless given;
                                                     PART is hints, anti-entropy, bytes, or overflow, which is played only
                                                     when asked for: hints until there is no room, the rest by anti-entropy
"""

import os
import subprocess
import sys
import threading
import time

from cluster import COTERIED, cluster_digests, cluster_pb2, grpc, kv, wait_for
from network import CenterCluster, enter_hub, need_namespaces

PER_CENTER = 3
VALUE_BYTES = 1000
QUIET_SECONDS = 12.0
SETTLE_SECONDS = 3.0
FLAGS = ["--memory", "64MiB", "--partitions", "16", "--reap-after", "86400"]
OVERFLOW_BYTES = "32MiB"  # of hints for one node
HINTS_ALONE = ["--anti-entropy-interval", "604800", "--anti-entropy-rate", "64KiB"]
LOCAL = kv.CONSISTENCY_LOCAL_QUORUM


def value_of(key):
    return key.ljust(VALUE_BYTES, b".")


class Load(threading.Thread):
    """One client of a data centre: puts at a steady rate, and reads what it has put, at LOCAL_QUORUM."""

    def __init__(self, nodes, name, rate):
        super().__init__(daemon=True)
        self.nodes, self.load_name, self.rate = nodes, name, rate
        self.stopping = threading.Event()
        self.keys = []
        self.took = []  # (ended at, seconds)
        self.errors = []
        self.began = time.monotonic()
        self.start()

    def run(self):
        number = 0
        while not self.stopping.is_set():
            wait = self.began + number / self.rate - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            number += 1
            node = self.nodes[number % len(self.nodes)]
            key = b"%s-%d" % (self.load_name, number)
            self.call(node, lambda: node.put(key, value_of(key), timeout=10, consistency=LOCAL))
            self.keys.append(key)
            old = self.keys[number * 7919 % len(self.keys)]
            reply = self.call(node, lambda: node.get(old, timeout=10, consistency=LOCAL))
            if reply is not None and [v.value for v in reply.values] != [value_of(old)]:
                self.errors.append("%s read wrongly" % old)

    def call(self, node, what):
        began = time.monotonic()
        try:
            return what()
        except grpc.RpcError as error:
            self.errors.append("%.1f s: %s: %s %s" % (time.monotonic() - self.began, node.name, error.code(), error.details()))
            return None
        finally:
            now = time.monotonic()
            self.took.append((now, now - began))

    def end(self):
        self.stopping.set()
        self.join()


def figures(loads, begin, end):
    """(requests, p50, p99, max) in milliseconds of what ended in that time."""
    took = sorted(1000 * seconds for load in loads for at, seconds in load.took if begin <= at < end)
    return len(took), took[len(took) // 2], took[len(took) * 99 // 100], took[-1]


def say(what, *rest):
    print(what, *rest)
    sys.stdout.flush()


def hints(cluster):
    return sum(node.metric("coterie_hints") for node in cluster.nodes)


def metrics(cluster, name):
    return sum(node.metric(name) for node in cluster.nodes)


def equal(cluster):
    try:
        return hints(cluster) == 0 and cluster_digests(cluster.nodes, "default")[1] == []
    except (grpc.RpcError, AssertionError):
        return False


def digest_exit(cluster):
    """What `coterie digest` makes of it: 0 when all copies hold the same."""
    coterie = os.environ.get("COTERIE", os.path.join(os.path.dirname(COTERIED), "coterie"))
    endpoints = ",".join(node.endpoint for node in cluster.nodes)
    return subprocess.run([coterie, "--endpoints", endpoints, "digest"], timeout=60,
                          stdout=subprocess.DEVNULL).returncode


def code_of(what):
    try:
        what()
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def away_from(node, other):
    """Whether it has none of the other data centre, and says so in plain words."""
    try:
        problems = node.admin.Status(cluster_pb2.StatusRequest(), timeout=20).problems
    except grpc.RpcError:
        return False
    return len(problems) == 1 and problems[0].startswith("data centre %s is cut off or down" % other)


def check_cut_off(cluster):
    """Every node says so, and levels that need the other data centre fail at once instead of waiting."""
    for node in cluster.nodes:
        other = "dc2" if node.center == "dc1" else "dc1"
        wait_for("%s to miss %s" % (node.name, other), lambda n=node, o=other: away_from(n, o), 30)
    for center in ("dc1", "dc2"):
        node = cluster.in_center(center)[0]
        for level in (kv.CONSISTENCY_QUORUM, kv.CONSISTENCY_EACH_QUORUM, kv.CONSISTENCY_ALL):
            began = time.monotonic()
            assert code_of(lambda: node.put(b"refused", b"x", consistency=level)) == grpc.StatusCode.UNAVAILABLE
            assert time.monotonic() - began < 5
        assert code_of(lambda: node.get(b"refused", consistency=kv.CONSISTENCY_ONE)) == grpc.StatusCode.OK


def begin_loads(cluster, rate):
    """Two clients in each data centre, who know the nodes of theirs alone."""
    return [Load(cluster.in_center(center), b"%s-%d" % (center.encode(), i), rate / 2)
            for center in ("dc1", "dc2") for i in range(2)]


def written(loads):
    return sum(len(load.keys) for load in loads)


def measure_quiet(cluster, loads):
    """(from, until, bytes over the link, writes), all being well."""
    time.sleep(SETTLE_SECONDS)
    begin, keys, crossed = time.monotonic(), written(loads), cluster.bytes_between()
    time.sleep(QUIET_SECONDS)
    return begin, time.monotonic(), cluster.bytes_between() - crossed, written(loads) - keys


def idle_bytes(cluster):
    """Over the link in a second in which nobody writes: gossip, and what compares replicas."""
    time.sleep(SETTLE_SECONDS)
    crossed = cluster.bytes_between()
    time.sleep(5)
    return (cluster.bytes_between() - crossed) / 5


def check_everywhere(cluster, loads):
    """Each node holds, by itself, what was put in either data centre."""
    keys = [key for load in loads for key in load.keys]
    for node in cluster.nodes:
        for first in range(0, len(keys), 400):
            part = keys[first:first + 400]
            reply = node.kv.BatchGet(kv.BatchGetRequest(keys=part, consistency=kv.CONSISTENCY_LOCAL_ONE), timeout=30)
            for key, item in zip(part, reply.items):
                assert [v.value for v in item.result.values] == [value_of(key)], "%s: %s" % (node.name, key)
    return len(keys)


def wait_cut(loads, until):
    """Until the cut has lasted; says every five minutes how it goes."""
    said = time.monotonic()
    while time.monotonic() < until:
        time.sleep(min(1.0, max(0.0, until - time.monotonic())))
        if time.monotonic() - said >= 300:
            said = time.monotonic()
            say("  %4.0f min to go, %d writes, %d errors" % (
                (until - said) / 60, written(loads), sum(len(load.errors) for load in loads)))


def say_cut(loads, marks):
    quiet_from, quiet_until, cut_from, noticed, healed, stopped = marks
    parts = [("before", quiet_from, quiet_until), ("cut, not noticed", cut_from, noticed),
             ("cut, noticed", noticed, healed), ("healed", healed, stopped)]
    for name, begin, end in parts:
        for center, part in (("dc1", loads[:2]), ("dc2", loads[2:])):
            say("  %-17s %s %6d requests  p50 %6.1f  p99 %6.1f  max %7.1f ms" % (
                (name, center) + figures(part, begin, end)))


def play_cut(what, flags, seconds, rate):
    with CenterCluster(PER_CENTER, FLAGS + flags) as cluster:
        cluster.start()
        loads = begin_loads(cluster, rate)
        quiet_from, quiet_until, *_ = measure_quiet(cluster, loads)
        cluster.cut_centers()
        cut_from = time.monotonic()
        check_cut_off(cluster)
        noticed = time.monotonic()
        wait_cut(loads, cut_from + seconds)
        kept = hints(cluster)
        cluster.heal_centers()
        healed = time.monotonic()
        cluster.wait_alive(60)
        wait_for("hints to go over", lambda: hints(cluster) < rate, 4 * seconds + 60)
        for load in loads:
            load.end()
        stopped = time.monotonic()
        wait_for("both data centres to hold the same", lambda: equal(cluster), max(120, seconds / 2))
        took = time.monotonic() - stopped
        assert digest_exit(cluster) == 0
        total = check_everywhere(cluster, loads)
        errors = [error for load in loads for error in load.errors]
        say("%s, cut for %.0f s at %.0f writes/s in each data centre:" % (what, healed - cut_from, rate))
        say_cut(loads, (quiet_from, quiet_until, cut_from, noticed, healed, stopped))
        delivered = metrics(cluster, "coterie_hints_delivered_total")
        received = metrics(cluster, "coterie_anti_entropy_keys_received_total")
        sent = metrics(cluster, "coterie_anti_entropy_keys_sent_total")
        say("  noticed after %.1f s; %d writes, %d errors; %d hints kept, hints gone %.1f s after healing, all six copies the "
            "same %.1f s after the last write; %d hints delivered, %d refused for want of room, %d keys by anti-entropy" % (
                noticed - cut_from, total, len(errors), kept, stopped - healed, took, delivered,
                metrics(cluster, "coterie_hints_overflow_total"), received + sent))
        assert errors == [], errors[:5]
        quiet = figures(loads, quiet_from, quiet_until)[2]
        cut = figures(loads, cut_from, healed)[2]
        # Who waited for the other data centre would wait for half a second and more, and so would all.
        assert cut <= max(3 * quiet, 300), "p99 %.1f ms before, %.1f ms while cut off" % (quiet, cut)
        return delivered, received + sent


def play_bytes(flags, rate):
    with CenterCluster(PER_CENTER, FLAGS + flags) as cluster:
        cluster.start()
        idle = idle_bytes(cluster)
        loads = begin_loads(cluster, rate)
        begin, end, crossed, writes = measure_quiet(cluster, loads)
        for load in loads:
            load.end()
        passed_on = metrics(cluster, "coterie_replica_passed_on_total")
        return (crossed - idle * (end - begin)) / writes, passed_on, written(loads)


def play_forwarding(rate):
    once, passed_on, writes = play_bytes([], rate)
    each, never, _ = play_bytes(["--forward-remote-writes", "0"], rate)
    say("%d bytes of value, three replicas on the other side: %.0f bytes over the link for a write that is passed on there, "
        "%.0f for one that is not" % (VALUE_BYTES, once, each))
    assert passed_on >= 1.9 * writes and never == 0, (passed_on, never, writes)
    assert once < 0.6 * each


def main():
    need_namespaces()
    enter_hub()
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 30.0
    rate = float(sys.argv[2]) if len(sys.argv) > 2 else 120.0
    part = sys.argv[3] if len(sys.argv) > 3 else None
    if part in (None, "hints"):
        delivered, _ = play_cut("by hints", HINTS_ALONE, seconds, rate)
        assert delivered > 0
    if part in (None, "anti-entropy"):
        delivered, compared = play_cut("by anti-entropy alone", ["--hints-bytes", "0"], seconds, rate)
        assert delivered == 0 and compared > 0
    if part == "overflow":
        delivered, compared = play_cut("by hints, then by anti-entropy", ["--hints-bytes", OVERFLOW_BYTES], seconds, rate)
        assert delivered > 0 and compared > 0
    if part in (None, "bytes"):
        play_forwarding(rate)


if __name__ == "__main__":
    main()
