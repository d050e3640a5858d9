"""Rule: a node whose disk is full refuses writes and lives on; the others serve without it, nothing that
was acknowledged is lost, and with space again it catches up until all replicas hold everything. When
somebody else takes even the space that it keeps back, it ends with 74 and a message, or lives; after a restart
all is there. DESIGN.md 6; RELIABILITY rules 17, 37. Mounting a tmpfs needs root: else skipped (77)."""

import contextlib
import os
import re
import subprocess

from cluster import Cluster, grpc, skip, wait_for

DISK_MIB = 160
VALUE = os.urandom(64 * 1024)
EXIT_DISK_FAILED = 74


@contextlib.contextmanager
def small_disk(node, mib):
    """A file system of so many MiB is the node's data directory, until the node is dead."""
    os.mkdir(node.data)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=%dm" % mib, "tmpfs", node.data],
                      stderr=subprocess.DEVNULL).returncode != 0:
        skip("this user may not mount a tmpfs")
    try:
        yield
    finally:
        if node.process is not None:
            node.kill()
        subprocess.run(["umount", node.data], check=True)


def ballast(path, leave):
    """A file that leaves so many bytes of the file system."""
    space = os.statvfs(path)
    size = space.f_bavail * space.f_frsize - leave
    if size > 0:
        with open(os.path.join(path, "ballast"), "ab") as file:
            os.posix_fallocate(file.fileno(), file.tell(), size)


def fill(node, leave):
    """Until the node has seen it; meanwhile a flush may give space back, that of its log."""
    def seen():
        ballast(node.data, leave)
        return "store_disk_full" in log_of(node)
    wait_for("%s to see that its disk is full" % node.name, seen)


def write(nodes, prefix, count, acknowledged):
    refused = 0
    for i in range(count):
        key = b"%s-%d" % (prefix, i)
        try:
            nodes[i % len(nodes)].put(key, key + VALUE, timeout=20)
            acknowledged.append(key)
        except grpc.RpcError:
            refused += 1
    return refused


def missing_on(node, keys, **level):
    missing = []
    for key in keys:
        values = [v.value for v in node.get(key, timeout=30, **level).values]
        if values != [key + VALUE]:
            missing.append(key)
    return missing


def read_all(node, keys):
    """Quorum reads go on: where the full node cannot be repaired the two others answer."""
    for key in keys:
        values = [v.value for v in node.get(key, timeout=30).values]
        assert values == [key + VALUE], "%r is missing" % key


def status(nodes):
    return subprocess.run([os.environ["COTERIE"], "--endpoints", ",".join(node.endpoint for node in nodes), "status"],
                          capture_output=True, text=True, timeout=60)


def log_of(node):
    with open(node.log, errors="replace") as log:
        return log.read()


def hold_everything(cluster, keys):
    """Each node alone holds each key: hints and read repair have caught up."""
    for node in cluster.nodes:
        wait_for("hints of %s to be handed over" % node.name, lambda n=node: n.metric("coterie_hints") == 0, 120)
    for node in cluster.nodes:
        wait_for("%s to hold all" % node.name, lambda n=node: not missing_on(n, keys, r=1), 120)


def main():
    with Cluster(3, ["--memory", str(32 << 20)]) as cluster:
        n1, n2, n3 = cluster.nodes
        with small_disk(n2, DISK_MIB):
            play(cluster, n1, n2, n3)


def play(cluster, n1, n2, n3):
    cluster.start()
    keys = []
    assert write([n1, n2, n3], b"before", 100, keys) == 0
    fill(n2, 8 << 20)
    # Whoever is asked first: an operator is told.
    for order in ([n1, n2, n3], [n2]):
        told = status(order)
        assert told.returncode == 5 and "node n2: its disk is full" in told.stdout, told
    refused = write([n1, n3], b"full", 200, keys)
    assert refused == 0, "%d writes failed through the nodes that have space" % refused
    assert n2.process.poll() is None, "a full disk ended it: %s" % n2.log_tail()
    # The figures of a store are up to a second old.
    wait_for("n2 to count what it refused", lambda: n2.metric("coterie_store_refused_total") > 0)
    # It can still be asked: what its own disk cannot take it passes on.
    refused = write([n2], b"through", 50, keys)
    assert refused == 0, "%d writes failed through the node that has no space" % refused
    read_all(n2, keys)
    # Who the others are is still written down: one that comes back is let in, and stands in for its disk.
    n1.kill()
    n1.start().wait_serving()
    cluster.wait_alive()
    assert "store_disk_ok" not in log_of(n2), n2.log_tail()
    read_all(n2, keys)
    os.unlink(os.path.join(n2.data, "ballast"))
    hold_everything(cluster, keys)
    assert status(cluster.nodes).returncode == 0, status(cluster.nodes)
    print("full: %d acknowledged, 0 refused, all read through it (%d without its vote); "
          "with space again all replicas hold everything" % (
              len(keys), n2.metric("coterie_coordinator_left_out_total")))

    # Not a byte is left, not even what it keeps back; a restart there needs space as well.
    ballast(n2.data, 0)
    refused = write([n1, n3], b"none", 100, keys)
    assert refused == 0, "%d writes failed" % refused
    ended = n2.process.poll()
    if ended is not None:
        assert ended == EXIT_DISK_FAILED, "%s\n%s" % (ended, n2.log_tail())
        assert re.search(r"store_failed.*what_now|no space is left", log_of(n2)), n2.log_tail()
        n2.process = None
    else:
        n2.kill()
    os.unlink(os.path.join(n2.data, "ballast"))
    n2.start().wait_serving()
    cluster.wait_alive()
    assert "store_log_short" not in log_of(n2), n2.log_tail()
    hold_everything(cluster, keys)
    print("not a byte left: %s; after a restart with space all replicas hold all %d keys" % (
        "ended with %d" % ended if ended is not None else "lived on and was killed", len(keys)))


if __name__ == "__main__":
    main()
