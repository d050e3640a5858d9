"""Rule: a copy of all data directories, taken while every node is stopped and put back on every node together, is the
whole cluster as it was, at other addresses too: values, deletes, and keys of consistent keyspaces; nobody takes it for a lost or restored
directory, and it takes writes. Contexts from after the copy are refused when the cluster key is another one.
docs/operations.md, "Backup"."""

import os
import shutil
import sys

from cluster import Cluster, cluster_digests, cluster_pb2, free_ports, grpc, kv, wait_for

COUNT = 200


def cas(node, key, value, **condition):
    return node.kv.CompareAndSet(kv.CompareAndSetRequest(keyspace="bank", key=key, value=value, **condition), timeout=20)


def stop(cluster):
    for node in cluster.nodes:
        assert node.terminate() == 0, node.log_tail()


def use_key(cluster, text):
    path = os.path.join(cluster.folder, text + ".key")
    with open(path, "w") as file:
        file.write(text * 40)
    os.chmod(path, 0o600)
    for node in cluster.nodes:
        node.environment["COTERIE_CLUSTER_KEY_FILE"] = path


def main():
    with Cluster(3) as cluster:
        use_key(cluster, "a")
        cluster.start()
        n1, n2, n3 = cluster.nodes
        made = n1.admin.CreateKeyspace(cluster_pb2.CreateKeyspaceRequest(keyspace=cluster_pb2.Keyspace(
            name="bank", mode=cluster_pb2.Keyspace.MODE_CONSISTENT)), timeout=30)
        assert made.known_by == 3, made
        for i in range(COUNT):
            n1.put(b"k%d" % i, b"before")
            dead = n2.put(b"d%d" % i, b"dead").context
            n3.kv.Delete(kv.DeleteRequest(key=b"d%d" % i, context=dead))
            assert cas(n2, b"r%d" % i, b"before", absent=True).applied
        stop(cluster)
        for node in cluster.nodes:
            shutil.copytree(node.data, node.data + ".copy")

        cluster.start()
        late = None
        for i in range(COUNT):
            late = n2.put(b"k%d" % i, b"after").context
            n1.put(b"n%d" % i, b"new")
            assert cas(n3, b"r%d" % i, b"after", expected_version=1).applied
        stop(cluster)
        for node in cluster.nodes:
            shutil.rmtree(node.data)
            shutil.move(node.data + ".copy", node.data)
            open(node.log, "w").close()

        use_key(cluster, "b")
        for node in cluster.nodes:
            node.client_port, node.peer_port, node.http_port = free_ports(3)
            node.endpoint = "%s:%d" % (node.host, node.client_port)
        cluster.start()
        for i in range(COUNT):
            node = cluster.nodes[i % 3]
            assert [v.value for v in node.get(b"k%d" % i).values] == [b"before"], i
            assert not node.get(b"d%d" % i).found and not node.get(b"n%d" % i).found, i
            assert cas(node, b"r%d" % i, b"again", expected_version=1).applied, i
        try:
            n1.put(b"k%d" % (COUNT - 1), b"x", context=late)
            raise AssertionError("a context from after the copy was taken")
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, error
        n1.put(b"k0", b"again")
        wait_for("all copies to be the same", lambda: not cluster_digests(cluster.nodes)[1])
        for node in cluster.nodes:
            with open(node.log, errors="replace") as log:
                text = log.read()
            for word in ("identity_renewed", "wiped", "restored", "vnode_incomplete"):
                assert word not in text, (node.name, word, text)
        print("%d keys of each kind as they were when the copy was taken" % COUNT)


if __name__ == "__main__":
    main()
    sys.exit(0)
