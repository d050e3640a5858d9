"""Rule: what operators and their tools ask is answered alike by every node: cluster, keyspaces, health,
reflection; deadlines are kept; a node that stops says so first. DESIGN.md sections 7, 9."""

import queue
import threading
import time

from google.protobuf import descriptor_pb2, descriptor_pool

from harness import CODE, Details, failure, grpc, kv, main, values, wait_for
from cluster import cluster_pb2, health_pb2
from grpc.reflection.v1 import reflection_pb2, reflection_pb2_grpc
from grpc.reflection.v1alpha import reflection_pb2 as alpha_pb2
from grpc.reflection.v1alpha import reflection_pb2_grpc as alpha_grpc

SERVICES = {"coterie.v1.KeyValue", "coterie.v1.Cluster", "coterie.v1.Maintenance", "grpc.health.v1.Health",
            "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"}
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def admin(node, method, request, timeout=30):
    return getattr(node.admin, method)(request, timeout=timeout)


# -- Cluster


def test_status(cluster):
    def all_healthy():
        told = [admin(node, "Status", cluster_pb2.StatusRequest()) for node in cluster.nodes]
        return told if all(reply.healthy for reply in told) else None
    replies = wait_for("all to be healthy", all_healthy)
    assert [reply.node for reply in replies] == ["n1", "n2", "n3"]
    assert len({reply.cluster_id for reply in replies}) == 1 and len(replies[0].cluster_id) == 32
    for reply in replies:
        assert (reply.epoch, reply.partitions, reply.nodes_total, reply.nodes_alive) == (1, 64, 3, 3), reply
        assert reply.healthy and not reply.problems and reply.version and reply.keyspaces >= 1, reply
    later = admin(cluster.nodes[0], "Status", cluster_pb2.StatusRequest())
    assert later.uptime_ms >= replies[0].uptime_ms


def nodes_of(node):
    return admin(node, "ListNodes", cluster_pb2.ListNodesRequest()).nodes


def all_known(nodes):
    return nodes if all(n.generation and n.liveness == cluster_pb2.Node.LIVENESS_ALIVE for n in nodes) else None


def test_nodes(cluster):
    for node in cluster.nodes:
        nodes = wait_for("gossip to tell of all and how often each has started", lambda: all_known(nodes_of(node)))
        assert [n.name for n in nodes] == ["n1", "n2", "n3"]
        assert len({n.number for n in nodes}) == 3
        assert [n.peer_address for n in nodes] == ["127.0.0.1:%d" % n.peer_port for n in cluster.nodes]
        assert all(n.state == cluster_pb2.Node.STATE_NORMAL and n.generation == 1 for n in nodes), nodes
        assert sum(n.partitions_owned for n in nodes) == 64
        assert abs(sum(n.share for n in nodes) - 1) < 1e-9
        assert max(n.partitions_owned for n in nodes) - min(n.partitions_owned for n in nodes) <= 1


def test_ring(cluster):
    rings = [admin(node, "GetRing", cluster_pb2.GetRingRequest()) for node in cluster.nodes]
    assert rings[0] == rings[1] == rings[2], "every node draws the same ring"
    ring = rings[0]
    assert ring.epoch == 1 and [p.partition for p in ring.partitions] == list(range(64))
    assert [p.first_hash for p in ring.partitions] == [i << 58 for i in range(64)]
    for partition in ring.partitions:
        place, = partition.data_centers
        assert sorted(place.replicas) == ["n1", "n2", "n3"] and not place.fallbacks
    owned = [p.data_centers[0].replicas[0] for p in ring.partitions]
    for n in nodes_of(cluster.nodes[0]):
        assert owned.count(n.name) == n.partitions_owned
    admin(cluster.nodes[0], "CreateKeyspace", cluster_pb2.CreateKeyspaceRequest(
        keyspace=cluster_pb2.Keyspace(name="ringed", n=1)))
    for partition in admin(cluster.nodes[1], "GetRing", cluster_pb2.GetRingRequest(keyspace="ringed")).partitions:
        assert len(partition.data_centers[0].replicas) == 1 and len(partition.data_centers[0].fallbacks) == 1


def test_keyspace_life(cluster):
    """Created on one node it is usable on all others at once; dropped it is gone, and its data never returns."""
    Keyspace = cluster_pb2.Keyspace
    for i in range(6):
        name, first, second = "life-%d" % i, cluster.nodes[i % 3], cluster.nodes[(i + 1) % 3]
        made = admin(first, "CreateKeyspace", cluster_pb2.CreateKeyspaceRequest(keyspace=Keyspace(
            name=name, n=2, conflict=Keyspace.CONFLICT_LWW, read_consistency=kv.CONSISTENCY_ALL)))
        assert made.nodes == 3 and made.known_by == 3, made
        second.put(b"k", b"v", keyspace=name)
        for node in cluster.nodes:
            assert values(node.get(b"k", keyspace=name)) == [b"v"]
            got = admin(node, "DescribeKeyspace", cluster_pb2.DescribeKeyspaceRequest(name=name)).keyspace
            assert got == made.keyspace, (got, made.keyspace)
            listed = admin(node, "ListKeyspaces", cluster_pb2.ListKeyspacesRequest()).keyspaces
            assert got in listed and "default" in [k.name for k in listed]
        assert (got.n, got.conflict, got.mode, got.durability) == (
            2, Keyspace.CONFLICT_LWW, Keyspace.MODE_AVAILABLE, Keyspace.DURABILITY_FSYNC), got
        assert got.write_consistency == kv.CONSISTENCY_QUORUM and got.id
        assert abs(got.created_at_ms / 1000 - time.time()) < 600
        dropped = admin(second, "DropKeyspace", cluster_pb2.DropKeyspaceRequest(name=name))
        assert dropped.nodes == 3 and dropped.known_by == 3, dropped
        for node in cluster.nodes:
            assert failure(lambda: node.get(b"k", keyspace=name)).code() == CODE.NOT_FOUND
            listed = admin(node, "ListKeyspaces", cluster_pb2.ListKeyspacesRequest()).keyspaces
            assert name not in [k.name for k in listed]
        again = admin(first, "CreateKeyspace", cluster_pb2.CreateKeyspaceRequest(keyspace=Keyspace(name=name)))
        assert again.keyspace.id != made.keyspace.id
        assert not second.get(b"k", keyspace=name).found, "a new keyspace of an old name is empty"


# -- health


def check(node, service="", timeout=20):
    return node.health.Check(health_pb2.HealthCheckRequest(service=service), timeout=timeout).status


def test_health_check(cluster):
    for node in cluster.nodes:
        for service in ("", "coterie.v1.KeyValue", "coterie.v1.Cluster"):
            assert check(node, service) == SERVING
        assert failure(lambda: check(node, "nobody")).code() == CODE.NOT_FOUND


class Watch(threading.Thread):
    """Collects what a health watch says, until its stream ends."""

    def __init__(self, node, service=""):
        super().__init__(daemon=True)
        self.call = node.health.Watch(health_pb2.HealthCheckRequest(service=service))
        self.seen = queue.Queue()
        self.start()

    def run(self):
        try:
            for reply in self.call:
                self.seen.put(reply.status)
        except grpc.RpcError as error:
            self.seen.put(error.code())

    def next(self, seconds=60):
        return self.seen.get(timeout=seconds)


def test_health_watch(cluster):
    known, unknown = Watch(cluster.nodes[0], "coterie.v1.KeyValue"), Watch(cluster.nodes[0], "nobody")
    assert known.next() == SERVING
    assert unknown.next() == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    time.sleep(0.2)
    assert known.seen.empty() and unknown.seen.empty(), "a watch speaks when something changes"
    for watch in (known, unknown):
        watch.call.cancel()
        assert watch.next() == CODE.CANCELLED


# -- reflection


def ask(node, which, *requests):
    pb2, stub = {"v1": (reflection_pb2, reflection_pb2_grpc), "v1alpha": (alpha_pb2, alpha_grpc)}[which]
    requests = [pb2.ServerReflectionRequest(host="h", **request) for request in requests]
    replies = list(stub.ServerReflectionStub(node.channel).ServerReflectionInfo(iter(requests), timeout=30))
    assert [reply.original_request for reply in replies] == requests
    return replies


def test_reflection(cluster):
    for which in ("v1", "v1alpha"):
        node = cluster.nodes[0]
        services, by_name, by_symbol, absent = ask(
            node, which, {"list_services": ""}, {"file_by_filename": "coterie/v1/key_value.proto"},
            {"file_containing_symbol": "coterie.v1.KeyValue"}, {"file_containing_symbol": "coterie.v1.Nobody"})
        names = [service.name for service in services.list_services_response.service]
        assert len(names) == len(set(names)) and set(names) == SERVICES, names
        assert absent.error_response.error_code == CODE.NOT_FOUND.value[0], absent
        pool = descriptor_pool.DescriptorPool()
        waiting = {}
        for reply in (by_name, by_symbol):
            for data in reply.file_descriptor_response.file_descriptor_proto:
                file = descriptor_pb2.FileDescriptorProto.FromString(data)
                waiting[file.name] = file
        assert "coterie/v1/key_value.proto" in waiting and len(waiting) >= 2, list(waiting)
        while waiting:  # in the order of what they import
            ready = [f for f in waiting.values() if not set(f.dependency) & set(waiting)]
            assert ready, "files that import each other: %s" % list(waiting)
            for file in ready:
                pool.Add(waiting.pop(file.name))
        service = pool.FindServiceByName("coterie.v1.KeyValue")
        assert [m.name for m in service.methods] == ["Get", "Put", "Delete", "CompareAndSet", "BatchGet",
                                                     "BatchWrite"]
        put = service.methods_by_name["Put"].input_type
        assert [(f.name, f.number) for f in put.fields] == [
            (f.name, f.number) for f in kv.PutRequest.DESCRIPTOR.fields]


def test_reflection_of_every_symbol(cluster):
    """As grpcurl does: every service that is listed has a file, and that file declares it."""
    for which in ("v1", "v1alpha"):
        for reply, name in zip(ask(cluster.nodes[1], which, *[{"file_containing_symbol": s} for s in sorted(SERVICES)]),
                               sorted(SERVICES)):
            files = [descriptor_pb2.FileDescriptorProto.FromString(data)
                     for data in reply.file_descriptor_response.file_descriptor_proto]
            assert any("%s.%s" % (f.package, s.name) == name for f in files for s in f.service), (name, reply)


# -- deadlines


def test_deadline(cluster):
    """The node answers before the deadline, and says what it knows: two of three."""
    n1, _, n3 = cluster.nodes
    n3.pause()
    try:
        started = time.monotonic()
        error = failure(lambda: n1.put(b"deadline", b"v", timeout=1.0, consistency=kv.CONSISTENCY_ALL))
        took = time.monotonic() - started
        details = Details(error)
        assert error.code() == CODE.DEADLINE_EXCEEDED, error
        assert 0.5 < took < 5, "answered after %.2f s" % took
        if details.raw:  # the node's own answer, unless the client gave up first
            assert details.metadata["outcome"] == "UNKNOWN" and "n3" in details.metadata["missing"]
        started = time.monotonic()
        error = failure(lambda: n1.get(b"deadline", timeout=0.05, consistency=kv.CONSISTENCY_ALL))
        assert error.code() in (CODE.DEADLINE_EXCEEDED, CODE.UNAVAILABLE), error
        assert time.monotonic() - started < 5
        started = time.monotonic()
        error = failure(lambda: n1.put(b"deadline", b"v", timeout=None, consistency=kv.CONSISTENCY_ALL))
        took = time.monotonic() - started
        assert error.code() in (CODE.DEADLINE_EXCEEDED, CODE.UNAVAILABLE), error
        assert took < 15, "the default is 5 s; it took %.1f s" % took
        assert Details(error).metadata["needed"] == "3"
    finally:
        n3.resume()
    cluster.wait_alive()
    assert values(n3.get(b"deadline", consistency=kv.CONSISTENCY_ALL)) == [b"v"], "unknown was: applied"


# -- the end


def liveness(node, name):
    found, = [n for n in nodes_of(node) if n.name == name]
    return found.liveness


def test_drain(cluster):
    """SIGTERM: health says NOT_SERVING first, what runs is answered, exit 0. Last: it stops nodes."""
    n1, n2, n3 = cluster.nodes
    watch = Watch(n1)
    assert watch.next() == SERVING
    n3.pause()
    running = n1.kv.Put.future(kv.PutRequest(key=b"drain", value=b"v", consistency=kv.CONSISTENCY_ALL), timeout=60)
    wait_for("the put to be half done", lambda: values(n2.get(b"drain", consistency=kv.CONSISTENCY_ONE)) == [b"v"])
    process, n1.process = n1.process, None
    process.terminate()
    assert watch.next() == NOT_SERVING
    assert watch.next() == CODE.UNAVAILABLE, "then the watch ends"
    n3.resume()
    assert running.result().acknowledgement.acknowledged == 3
    assert process.wait(60) == 0
    error = failure(lambda: n1.get(b"drain"))
    assert error.code() == CODE.UNAVAILABLE, error
    wait_for("n2 to miss n1", lambda: liveness(n2, "n1") == cluster_pb2.Node.LIVENESS_DOWN)

    def only_n1_is_a_problem():
        status = admin(n2, "Status", cluster_pb2.StatusRequest())
        return not status.healthy and len(status.problems) == 1 and "n1" in status.problems[0]
    wait_for("n2 to have one problem, n1", only_n1_is_a_problem)
    wait_for("n3 to miss n1", lambda: liveness(n3, "n1") == cluster_pb2.Node.LIVENESS_DOWN)
    assert values(n2.get(b"drain")) == [b"v"]


if __name__ == "__main__":
    main(globals())
