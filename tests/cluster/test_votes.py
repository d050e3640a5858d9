"""Rule: in a consistent keyspace a copy whose disk was wiped has forgotten its promises and has no vote; the others tell
it what is there, two epochs of the topology later it votes again, and then another node may go (model/register.h, an
acceptor that begins anew). While a majority has forgotten, nothing is answered."""

import os
import shutil

import grpc
from cluster import Cluster, cluster_pb2, kv, wait_for

KEYS = [b"key-%d" % i for i in range(40)]


def get(node, key, timeout=5):
    try:
        reply = node.kv.Get(kv.GetRequest(keyspace="bank", key=key), timeout=timeout)
    except grpc.RpcError:
        return None
    return (reply.values[0].value if reply.found else None), reply.version


def put(node, key, version, value):
    """Made once, however often it is asked."""
    request = kv.CompareAndSetRequest(keyspace="bank", key=key, expected_version=version, value=value,
                                      request_id=os.urandom(16))
    reply = wait_for("an answer about %s" % key, lambda: node.kv.CompareAndSet(request, timeout=20))
    assert reply.applied, (key, version, reply)
    return reply.version


def mute(node):
    return node.metric("coterie_replica_registers_mute")


def wipe(node):
    node.kill()
    shutil.rmtree(node.data)
    node.start().wait_serving()


def wait_votes(node):
    wait_for("%s to have been told of its lost votes, and to have them again" % node.name, lambda: (
        node.metric("coterie_replica_registers_renewed_total") > 0 and mute(node) == 0
        and node.metric("coterie_replica_vnodes_incomplete") == 0), 120)


def turn(cluster, wiped, gone, versions, name):
    """`wiped` loses its disk; when it votes again `gone` is killed, and all goes on with the two."""
    wipe(wiped)
    wait_votes(wiped)
    cluster.wait_alive()
    print("%s: %d copies vote again" % (wiped.name, wiped.metric("coterie_replica_registers_renewed_total")))
    gone.kill()
    left = [node for node in cluster.nodes if node is not gone]
    wait_for("%s to be missed" % gone.name, lambda: all(node.alive_nodes() == 2 for node in left))
    for i, key in enumerate(KEYS):
        node = left[i % 2]
        seen = wait_for("an answer about %s" % key, lambda k=key, n=node: get(n, k))
        assert seen == versions[key], "%s: %s instead of %s" % (key, seen, versions[key])
        value = name + key
        versions[key] = (value, put(node, key, seen[1], value))
    gone.start().wait_serving()
    cluster.wait_alive()


def two_of_three(cluster, key):
    """One copy knows, and nobody may believe it alone: no answer is an empty one."""
    n1, n2, n3 = cluster.nodes
    n1.kill()
    n2.kill()
    shutil.rmtree(n1.data)
    shutil.rmtree(n2.data)
    n1.start().wait_serving()
    n2.start().wait_serving()
    wait_for("both to know that they lost their votes", lambda: mute(n1) > 0 and mute(n2) > 0, 60)
    for node in cluster.nodes * 3:
        assert get(node, key, 2) is None, "a majority has forgotten, and %s answers" % node.name
    assert mute(n1) > 0 and mute(n2) > 0
    wait_for("n1 to say so", lambda: any("do not vote" in problem and "n1" in problem for problem in n1.admin.Status(
        cluster_pb2.StatusRequest(), timeout=20).problems))


def main():
    with Cluster(3) as cluster:
        cluster.start()
        n1, n2, n3 = cluster.nodes
        n1.admin.CreateKeyspace(cluster_pb2.CreateKeyspaceRequest(keyspace=cluster_pb2.Keyspace(
            name="bank", mode=cluster_pb2.Keyspace.MODE_CONSISTENT)), timeout=30)
        wait_for("all nodes to know the keyspace", lambda: all(get(n, KEYS[0]) for n in cluster.nodes))
        versions = {key: (b"first" + key, put(cluster.nodes[i % 3], key, 0, b"first" + key))
                    for i, key in enumerate(KEYS)}
        turn(cluster, n3, n1, versions, b"second")
        turn(cluster, n1, n2, versions, b"third")
        two_of_three(cluster, KEYS[0])
    print("two wiped disks, each followed by the loss of another node: %d keys, none lost" % len(KEYS))


if __name__ == "__main__":
    main()
