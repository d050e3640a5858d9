"""Rules: identity is the directory, not the name and not the address. A node that was decommissioned does not come back
(exit code 78); its machine does, empty, as a new member. So does a joined node whose disk is lost, once the old one was
given up. Addresses may all change at once, also of nodes that have joined. And a join that is held is nobody's to
commit but the operator's. RELIABILITY rule 31; DESIGN.md section 4; docs/growing.md.
"""

import os
import shutil
import subprocess
import sys
import time

from cluster import Cluster, cluster_pb2, free_ports, grpc, kv, wait_for
from test_join import NOT_WANTED, Joiner, state_of

FLAGS = ["--coordinators", "1", "--replicas", "1", "--grpc-threads", "1", "--memory", "64MiB", "--partitions", "16"]
NONE, STAGED, RUNNING = (cluster_pb2.Change.STATE_NONE, cluster_pb2.Change.STATE_STAGED, cluster_pb2.Change.STATE_RUNNING)
KEYS = [b"key %d" % i for i in range(200)]
SETTLE_SECONDS = 3  # of node/join_watch.c


def change(node):
    return node.admin.GetChange(cluster_pb2.GetChangeRequest(), timeout=30).change


def commit(node):
    node.admin.CommitChange(cluster_pb2.CommitChangeRequest(), timeout=30)


def leave(node, name, gone=False):
    node.admin.StageChange(cluster_pb2.StageChangeRequest(leave=cluster_pb2.Leave(node=name, gone=gone)), timeout=30)


def wait_members(nodes, names):
    def settled():
        listed = nodes[0].admin.ListNodes(cluster_pb2.ListNodesRequest(), timeout=20).nodes
        here = [n for n in listed if n.state != cluster_pb2.Node.STATE_REMOVED]
        return (sorted(n.name for n in here) == sorted(names) and change(nodes[0]).state == NONE and
                all(n.liveness == cluster_pb2.Node.LIVENESS_ALIVE for n in here) and
                all(node.connected_peers() == len(names) - 1 for node in nodes))
    wait_for("%s to be the members" % ", ".join(names), settled)


def numbers(node):
    return {n.name: n.number for n in node.admin.ListNodes(cluster_pb2.ListNodesRequest(), timeout=20).nodes
            if n.state != cluster_pb2.Node.STATE_REMOVED}


def check_values(node):
    for item in node.kv.BatchGet(kv.BatchGetRequest(keys=KEYS), timeout=30).items:
        assert [v.value for v in item.result.values] == [b"of " + item.key], (node.name, item)


def test_a_held_join_is_the_operators(cluster):
    """n5, which would have its own place committed, waits for the operator too, and says so."""
    n1 = cluster.nodes[0]
    n4 = cluster.more["n4"] = Joiner(cluster, "n4", [n1.endpoint], "--join-hold").start().wait_serving()
    n5 = cluster.more["n5"] = Joiner(cluster, "n5", [n1.endpoint]).start().wait_serving()
    wait_for("n5 to say that it waits", lambda: "join_staged" in n5.log_of_start())
    time.sleep(SETTLE_SECONDS + 1.5)  # in which it would have been committed
    staged = change(n1)
    assert staged.state == STAGED, staged
    assert [part for part in staged.parts if "held" in part] == [
        "n4 joins: data centre default, zone default, weight 1 (held: waits for a commit)"], staged.parts
    commit(n1)
    wait_members([n1, n4, n5], ["n1", "n2", "n3", "n4", "n5"])
    assert not any("held" in part for part in change(n1).parts)
    check_values(n4)
    check_values(n5)


def test_decommissioned(cluster):
    n1, n5 = cluster.nodes[0], cluster.more["n5"]
    leave(n1, "n5")
    commit(n1)
    n5.ends_with(NOT_WANTED, "is no member of its cluster any more", "empty directory and --join")
    for _ in range(2):
        n5.start()
        n5.ends_with(NOT_WANTED, "was removed from the cluster", "start with an empty --data-dir and --join")
    wait_for("n1 to have removed n5", lambda: state_of(n1, "n5") in (None, "REMOVED"))
    shutil.rmtree(n5.data)
    n5.start().wait_serving()
    wait_members([n1, n5], ["n1", "n2", "n3", "n4", "n5"])
    assert numbers(n1)["n5"] == 6, numbers(n1)
    check_values(n5)


def test_a_lost_disk_under_a_joined_name(cluster):
    n1, n4 = cluster.nodes[0], cluster.more["n4"]
    n4.kill()
    os.rename(n4.data, n4.data + "-old")
    n4.start()
    n4.ends_with(1, "has the name n4", "coterie replace n4")
    wait_for("n4 to be down", lambda: n1.alive_nodes() == 4)
    leave(n1, "n4", gone=True)
    n4.start().wait_serving()
    time.sleep(SETTLE_SECONDS + 1)
    assert change(n1).state == STAGED, "given up by an operator, and committed by a node"
    commit(n1)
    wait_members([n1, n4], ["n1", "n2", "n3", "n4", "n5"])
    assert numbers(n1)["n4"] == 7, numbers(n1)
    check_values(n4)
    # The old directory, found again, is nobody's.
    assert n4.terminate() == 0
    os.rename(n4.data, n4.data + "-new")
    os.rename(n4.data + "-old", n4.data)
    n4.start()
    n4.ends_with(NOT_WANTED, "coteried: ")
    shutil.rmtree(n4.data)
    os.rename(n4.data + "-new", n4.data)
    n4.start().wait_serving()
    wait_members([n1], ["n1", "n2", "n3", "n4", "n5"])


def test_all_addresses_change_at_once(cluster):
    """Founders have the list with their new addresses, and so has who joined: an address book. What they do not list,
    the new addresses of the joined ones, these say themselves."""
    every = cluster.nodes + list(cluster.more.values())
    before = numbers(cluster.nodes[0])
    for node in every:
        node.kill()
    ports = free_ports(3 * len(every))
    for i, node in enumerate(every):
        node.client_port, node.peer_port, node.http_port = ports[3 * i:3 * i + 3]
        node.endpoint = "127.0.0.1:%d" % node.client_port
    dead = "127.0.0.1:%d" % free_ports(1)[0]
    for node in cluster.more.values():
        node.seeds = [dead]
        node.more = ["--initial-cluster", cluster.initial_cluster()]
    for node in every:
        node.start()
    for node in every:
        node.wait_serving()
    for node in every:
        wait_members([node], before)
        assert numbers(node) == before
        check_values(node)

    def addresses_follow():
        listed = cluster.nodes[1].admin.ListNodes(cluster_pb2.ListNodesRequest(), timeout=20).nodes
        said = {n.name: n.peer_address for n in listed if n.state != cluster_pb2.Node.STATE_REMOVED}
        return said == {n.name: "127.0.0.1:%d" % n.peer_port for n in every}
    wait_for("the document to follow", addresses_follow)


def main():
    failed = False
    with Cluster(3, FLAGS) as cluster:
        cluster.more = {}
        cluster.start()
        request = kv.BatchWriteRequest()
        for key in KEYS:
            request.items.add(key=key, value=b"of " + key)
        assert all(item.status.code == 0 for item in cluster.nodes[0].kv.BatchWrite(request, timeout=30).items)
        try:
            for test in (test_a_held_join_is_the_operators, test_decommissioned, test_a_lost_disk_under_a_joined_name,
                         test_all_addresses_change_at_once):
                began = time.monotonic()
                try:
                    test(cluster)
                    print("ok     %-45s %5.1f s" % (test.__name__, time.monotonic() - began), flush=True)
                except (AssertionError, grpc.RpcError, OSError, subprocess.TimeoutExpired) as error:
                    print("FAILED %s: %s" % (test.__name__, error), flush=True)
                    failed = True
                    break  # the next ones go on from here
        finally:
            for node in cluster.more.values():
                if node.process is not None:
                    node.kill()
    return failed


if __name__ == "__main__":
    sys.exit(main())
