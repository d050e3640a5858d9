"""Rule: bad input gets a precise status that names the field and the limit, never a crash, never a
partial write; overload is refused at once with a time to wait. DESIGN.md section 10."""

import queue
import socket
import struct
import sys
import threading
import time

from harness import CODE, Cluster, Details, expect, failure, grpc, invalid, kv, run, tests_of, values, wait_for
from cluster import CHANNEL_OPTIONS, cluster_pb2

MIB = 1 << 20
SHORTEST, LONGEST = b"a", b"k" * 4096


def writes(node, key, value=b"v", **more):
    """Put and Delete: what holds for one must hold for the other."""
    yield lambda: node.put(key, value, **more)
    if value == b"v":
        yield lambda: node.kv.Delete(kv.DeleteRequest(key=key, **more), timeout=20)


def batch(node, items, **more):
    return node.kv.BatchWrite(kv.BatchWriteRequest(items=items, **more), timeout=20)


def items(count, value=b""):
    return [kv.BatchWriteRequest.Item(key=b"item-%d" % i, value=value) for i in range(count)]


def item_error(node, **item):
    answer, = batch(node, [kv.BatchWriteRequest.Item(**item)]).items
    assert answer.status.code == CODE.INVALID_ARGUMENT.value[0], answer
    assert answer.status.reason == "INVALID_ARGUMENT" and not answer.HasField("result"), answer
    return answer.status.message


# -- keys and values


def test_key(node):
    for key in (SHORTEST, LONGEST):
        node.put(key, b"v")
        assert values(node.get(key)) == [b"v"]
    for key, says in ((b"", "empty, at least 1 byte"), (b"k" * 4097, "4097 bytes, limit 4096")):
        invalid(lambda: node.get(key), "key", says)
        for write in writes(node, key):
            invalid(write, "key", says)
        assert says in item_error(node, key=key)
        answer, = node.kv.BatchGet(kv.BatchGetRequest(keys=[key]), timeout=30).items
        assert answer.status.code == 3 and says in answer.status.message


def test_value(node):
    node.put(b"large", bytes(MIB))
    assert values(node.get(b"large")) == [bytes(MIB)]
    says = "%d bytes, limit %d" % (MIB + 1, MIB)
    invalid(lambda: node.put(b"large", b"x" * (MIB + 1)), "value", says)
    assert says in item_error(node, key=b"large", value=b"x" * (MIB + 1))
    assert values(node.get(b"large")) == [bytes(MIB)], "nothing of a refused value is written"


def test_message(node):
    """Beyond 4 MiB nothing is even read; the connection stays."""
    error = failure(lambda: node.put(b"huge", bytes(5 * MIB)))
    assert error.code() == CODE.RESOURCE_EXHAUSTED, error
    assert not node.get(b"huge").found


def test_context(node):
    """A context is taken back for the key that it was given for, unchanged, and in no other case."""
    real = node.put(b"context", b"v").context
    elsewhere = cluster_pb2.Keyspace(name="elsewhere")
    node.admin.CreateKeyspace(cluster_pb2.CreateKeyspaceRequest(keyspace=elsewhere), timeout=20)
    foreign = [node.put(b"other", b"v").context, node.get(b"nothing").context,
               node.put(b"context", b"v", keyspace="elsewhere").context]
    flipped = [bytes([*real[:i], real[i] ^ 1 << i % 8, *real[i + 1:]]) for i in range(len(real))]
    # Bytes that no node gives; a real one cut short, lengthened, of another format, changed; another key's.
    for context in (b"x", b"\x00" * 20, b"\xff" * 64, real[:-1], real + b"\0", b"\x7f" + real[1:], real[1:-16],
                    *flipped, *foreign):
        for write in writes(node, b"context", context=context):
            invalid(write, "context", "read the key again")
        assert "read the key again" in item_error(node, key=b"context", value=b"v", context=context)
    for write in writes(node, b"context", context=b"\x01" * 16385):
        invalid(write, "context", "16385 bytes, limit 16384")
    assert values(node.get(b"context")) == [b"v"]
    node.admin.DropKeyspace(cluster_pb2.DropKeyspaceRequest(name="elsewhere"), timeout=20)
    assert node.put(b"context", b"next", context=real).siblings == 1
    assert values(node.get(b"context")) == [b"next"]


def test_ttl(node):
    for ttl in (0, 1 << 63, (1 << 64) - 1):
        invalid(lambda: node.put(b"ttl", b"v", ttl_ms=ttl), "ttl_ms", str(ttl))
        assert "ttl_ms" in item_error(node, key=b"ttl", value=b"v", ttl_ms=ttl)
    assert not node.get(b"ttl").found


# -- whom to ask


def test_keyspace(node):
    names = ("Upper", "1st", "-x", "_x", "a b", "a.b", "a/b", "\u00e4", "a" * 64, "x\0y")
    for name in names:
        invalid(lambda: node.get(b"k", keyspace=name), "keyspace")
        for write in writes(node, b"k", keyspace=name):
            invalid(write, "keyspace")
        invalid(lambda: batch(node, items(1), keyspace=name), "keyspace")
        invalid(lambda: node.kv.BatchGet(kv.BatchGetRequest(keys=[b"k"], keyspace=name), timeout=20), "keyspace")
    calls = [lambda: node.get(b"k", keyspace="nowhere"), lambda: batch(node, items(1), keyspace="nowhere"),
             lambda: node.kv.BatchGet(kv.BatchGetRequest(keys=[b"k"], keyspace="nowhere"), timeout=20)]
    for call in calls + list(writes(node, b"k", keyspace="nowhere")):
        expect(call, CODE.NOT_FOUND, "KEYSPACE_NOT_FOUND", says="nowhere")


def test_levels(node):
    both = {"consistency": kv.CONSISTENCY_ONE}
    invalid(lambda: node.get(b"k", r=1, **both), "r", "together with consistency")
    for write in writes(node, b"k", w=1, **both):
        invalid(write, "w", "together with consistency")
    invalid(lambda: batch(node, items(1), w=1, **both), "w")
    for count in (2, 4, (1 << 32) - 1):  # the cluster of this test has one node
        invalid(lambda: node.get(b"k", r=count), "r", "%d replicas, limit 1" % count)
        for write in writes(node, b"k", w=count):
            invalid(write, "w", "%d replicas, limit 1" % count)
    for level in (7, 99, -1):
        invalid(lambda: node.get(b"k", consistency=level), "consistency", str(level))
        for write in writes(node, b"k", consistency=level):
            invalid(write, "consistency", str(level))
    assert not node.get(b"k").found


# -- batches


def test_batch_items(node):
    assert len(batch(node, items(1000)).items) == 1000
    invalid(lambda: batch(node, items(1001)), "items", "1001 items, limit 1000")
    invalid(lambda: batch(node, []), "items", "at least 1")
    keys = [b"item-%d" % i for i in range(1001)]
    assert len(node.kv.BatchGet(kv.BatchGetRequest(keys=keys[:1000]), timeout=30).items) == 1000
    invalid(lambda: node.kv.BatchGet(kv.BatchGetRequest(keys=keys), timeout=20), "keys", "limit 1000")
    invalid(lambda: node.kv.BatchGet(kv.BatchGetRequest(), timeout=20), "keys", "at least 1")


def test_batch_bytes(node):
    assert len(batch(node, items(3, b"x" * (MIB - 100))).items) == 3
    invalid(lambda: batch(node, items(7, b"y" * (MIB // 2))), "batch", "limit %d" % (3 * MIB))
    # What does not fit an answer fails by itself, the others are there.
    for i in range(7):
        node.put(b"item-%d" % i, b"z" * MIB)
    try:
        reply = node.kv.BatchGet(kv.BatchGetRequest(keys=[b"item-%d" % i for i in range(7)]), timeout=20)
    except grpc.RpcError as error:
        raise AssertionError("a batch of large values: %s %s" % (error.code(), error.details()))
    read = [values(item.result) for item in reply.items if item.status.code == 0]
    assert read and all(got == [b"z" * MIB] for got in read)
    for item in reply.items[len(read):]:
        assert item.status.code == CODE.RESOURCE_EXHAUSTED.value[0], item


# -- keyspaces


def test_keyspace_definitions(node):
    Keyspace = cluster_pb2.Keyspace

    def create(**words):
        return lambda: node.admin.CreateKeyspace(
            cluster_pb2.CreateKeyspaceRequest(keyspace=Keyspace(**words)), timeout=30)

    invalid(lambda: node.admin.CreateKeyspace(cluster_pb2.CreateKeyspaceRequest(), timeout=20), "keyspace")
    for name in ("", "Upper", "a" * 64, "9"):
        invalid(create(name=name), "keyspace.name")
    create(name="a" * 63)()
    expect(create(name="a" * 63), CODE.ALREADY_EXISTS, "ALREADY_EXISTS")
    expect(create(name="default"), CODE.ALREADY_EXISTS, "ALREADY_EXISTS")
    invalid(create(name="x", n=8), "keyspace.n", "8 replicas, limit 7")
    for field in ("mode", "conflict", "durability", "read_consistency", "write_consistency"):
        invalid(create(name="x", **{field: 9}), "keyspace." + field)
    invalid(create(name="x", n_by_data_center={"eu": 0}), "n_by_data_center")
    invalid(create(name="x", n_by_data_center={"d%d" % i: 1 for i in range(9)}), "n_by_data_center")
    invalid(create(name="x", n_by_data_center={"e" * 32: 1}), "n_by_data_center")
    for field, value in (("durability", Keyspace.DURABILITY_PERIODIC), ("conflict", Keyspace.CONFLICT_LWW),
                         ("strict", True), ("read_consistency", kv.CONSISTENCY_ONE),
                         ("write_consistency", kv.CONSISTENCY_QUORUM)):
        invalid(create(name="x", mode=Keyspace.MODE_CONSISTENT, **{field: value}), "keyspace." + field, "consistent")
    invalid(create(name="x", mode=Keyspace.MODE_CONSISTENT, n_by_data_center={d: 7 for d in "abcde"}), "keyspace.n",
            "limit 32")
    for call in (node.admin.DescribeKeyspace, node.admin.DropKeyspace):
        request = call is node.admin.DescribeKeyspace and cluster_pb2.DescribeKeyspaceRequest \
            or cluster_pb2.DropKeyspaceRequest
        invalid(lambda: call(request(name="Upper"), timeout=20), "name")
        expect(lambda: call(request(name="nowhere"), timeout=20), CODE.NOT_FOUND, "KEYSPACE_NOT_FOUND")
    expect(lambda: node.admin.GetRing(cluster_pb2.GetRingRequest(keyspace="nowhere"), timeout=20),
           CODE.NOT_FOUND, "KEYSPACE_NOT_FOUND")
    names = {keyspace.name for keyspace in node.admin.ListKeyspaces(
        cluster_pb2.ListKeyspacesRequest(), timeout=20).keyspaces}
    assert names == {"default", "a" * 63}, names


# -- the frame around requests


def raw(node, method, request, **more):
    return node.channel.unary_unary(method)(request, timeout=20, **more)


def test_not_protobuf(node):
    for method in ("KeyValue/Get", "KeyValue/Put", "KeyValue/Delete", "KeyValue/BatchGet",
                   "KeyValue/BatchWrite", "KeyValue/CompareAndSet", "Cluster/CreateKeyspace"):
        for request in (b"\xff" * 20, b"\x12\x7fcut", b"\x0a"):
            error = failure(lambda: raw(node, "/coterie.v1." + method, request))
            assert error.code() == CODE.INVALID_ARGUMENT, (method, request, error)
            assert Details(error).reason == "INVALID_ARGUMENT"


def test_unknown_fields_are_skipped(node):
    request = kv.GetRequest(key=b"k").SerializeToString() + b"\xfa\x3f\x03new"
    kv.GetResponse.FromString(raw(node, "/coterie.v1.KeyValue/Get", request))


def test_unknown_method(node):
    for method in ("/coterie.v1.KeyValue/Gte", "/coterie.v2.KeyValue/Get", "/nothing/At"):
        error = failure(lambda: raw(node, method, b""))
        assert error.code() == CODE.UNIMPLEMENTED, error


def test_metadata(node):
    """gRPC core refuses the call and may then close its connection: others' connections stay."""
    request = kv.GetRequest(key=b"k").SerializeToString()
    raw(node, "/coterie.v1.KeyValue/Get", request, metadata=[("x-note", "n" * 7000)])
    for size in (9000, 60000):
        with grpc.insecure_channel(node.endpoint, options=CHANNEL_OPTIONS) as channel:
            get = channel.unary_unary("/coterie.v1.KeyValue/Get")
            error = failure(lambda: get(request, timeout=20, metadata=[("x-note", "n" * size)]))
        assert error.code() == CODE.RESOURCE_EXHAUSTED, error
        raw(node, "/coterie.v1.KeyValue/Get", request)


class Http2:
    """As much of HTTP/2 as a client needs that does not keep to what it is told."""

    def __init__(self, node):
        self.socket = socket.create_connection(("127.0.0.1", node.client_port), timeout=20)
        self.socket.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + self.frame(4))

    @staticmethod
    def frame(kind, flags=0, stream=0, payload=b""):
        return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload

    def read(self, size):
        data = b""
        while len(data) < size:
            more = self.socket.recv(size - len(data))
            if not more:
                return None
            data += more
        return data

    def frames(self):
        """(kind, flags, stream, payload) until the server closes or has nothing to say any more."""
        self.socket.settimeout(10)
        while True:
            try:
                head = self.read(9)
            except (TimeoutError, ConnectionResetError):
                return
            if head is None:
                return
            payload = self.read(struct.unpack(">I", b"\0" + head[:3])[0])
            if head[3] == 4 and not head[4]:
                self.socket.sendall(self.frame(4, 1))
            yield head[3], head[4], struct.unpack(">I", head[5:])[0], payload

    def settings(self):
        """Of the server, who knows from here on that they are in force: it answers a ping that comes after their receipt."""
        told = {}
        for kind, flags, _, payload in self.frames():
            if kind == 4 and not flags:
                told.update(struct.unpack(">HI", payload[i:i + 6]) for i in range(0, len(payload), 6))
                self.socket.sendall(self.frame(6, 0, 0, b"settings"))
            if kind == 6 and flags and payload == b"settings":
                return told
        raise AssertionError("no answer to a ping; told so far: %s" % told)

    def open_without_a_message(self, stream):
        """The headers of a call whose message never comes: the stream stays open."""
        def literal(name, value):
            return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value
        self.socket.sendall(self.frame(1, 4, stream, b"\x83\x86" + literal(b":path", b"/grpc.health.v1.Health/Check") +
                                       literal(b":authority", b"x") + literal(b"content-type", b"application/grpc") +
                                       literal(b"te", b"trailers")))


def test_settings_of_a_connection(node):
    """What a connection may do is told before it does it: 256 streams, 8 KiB of metadata."""
    client = Http2(node)
    told = client.settings()
    client.socket.close()
    assert told.get(3) == 256, "SETTINGS_MAX_CONCURRENT_STREAMS: %s" % told
    assert told.get(6) == 8192, "SETTINGS_MAX_HEADER_LIST_SIZE: %s" % told


def test_streams_beyond_what_was_told(node):
    """Whoever opens more gets no more: HTTP/2 ends what is too much, and everybody else goes on."""
    client = Http2(node)
    client.settings()
    refused, closed = set(), False
    try:
        for i in range(400):
            client.open_without_a_message(2 * i + 1)
    except (BrokenPipeError, ConnectionResetError):
        closed = True
    for kind, _, stream, _ in client.frames():
        if kind == 3:
            refused.add(stream)
        closed = closed or kind == 7
        if closed or len(refused) >= 400 - 256:
            break
    client.socket.close()
    assert closed or len(refused) >= 400 - 256, "400 streams are open on one connection, %d refused" % len(refused)
    assert node.put(b"beside", b"v").siblings == 1


def test_streams(node):
    """More calls at once than a connection may carry: they wait their turn, and all are answered."""
    calls = [node.kv.Put.future(kv.PutRequest(key=b"s-%d" % i, value=b"v"), timeout=120) for i in range(1000)]
    for call in calls:
        assert call.result().siblings == 1


def open_streams(endpoint, methods, connections, each):
    """Streams that say nothing, of each method in turn; what each of them ends with comes to the queue."""
    ended, hold = queue.Queue(), threading.Event()

    def nothing():
        hold.wait()
        yield from ()

    channels = [grpc.insecure_channel(endpoint, options=CHANNEL_OPTIONS + [("grpc.channel_id", i)])
                for i in range(connections)]
    for channel in channels:
        for i in range(each):
            call = channel.stream_stream(methods[i % len(methods)])(nothing())
            call.add_callback(lambda call=call: ended.put(call.code())) or ended.put(call.code())
    return channels, ended, hold


def expect_too_many(endpoint, methods, limit, each):
    """Of more streams than there may be, those beyond the limit end at once with RESOURCE_EXHAUSTED, no others."""
    connections = -(-(limit + 2) // each)
    channels, ended, hold = open_streams(endpoint, methods, connections, each)
    try:
        beyond = connections * each - limit
        codes = [ended.get(timeout=60) for _ in range(beyond)]
        assert codes == [CODE.RESOURCE_EXHAUSTED] * beyond, codes
        assert ended.empty(), ended.get()
    finally:
        hold.set()
        for channel in channels:
            channel.close()


def test_streams_of_reflection(node):
    """32 in all, whichever version."""
    methods = ["/grpc.reflection.%s.ServerReflection/ServerReflectionInfo" % version for version in ("v1", "v1alpha")]
    expect_too_many(node.endpoint, methods, 32, 17)

    def free_again():
        with grpc.insecure_channel(node.endpoint, options=CHANNEL_OPTIONS) as channel:
            try:
                return len(list(channel.stream_stream(methods[0])(iter([b"\x3a\x00"]), timeout=20))) == 1
            except grpc.RpcError:
                return False

    wait_for("a place for a stream", free_again)


def test_streams_of_peers(node):
    """256 in all, of which a connection may carry 16."""
    expect_too_many("127.0.0.1:%d" % node.peer_port, ["/coterie.internal.v1.Peer/Link"], 256, 16)
    assert node.put(b"beside", b"v").siblings == 1


def test_siblings(node):
    """The 101st sibling is refused, and says so; a put that resolves them goes through."""
    old = node.put(b"many", b"old").context
    error = None
    for i in range(110):
        try:
            node.put(b"many", b"%d" % i, context=old)
        except grpc.RpcError as refused:
            error = refused
            break
    assert error is not None, "110 siblings were taken"
    details = Details(error)
    assert error.code() == CODE.FAILED_PRECONDITION and details.reason == "TOO_MANY_SIBLINGS", error
    assert details.metadata["outcome"] == "NOT_APPLIED", details.metadata
    got = node.get(b"many")
    assert len(got.values) == i == 100, "%d siblings, %d puts" % (len(got.values), i)
    node.put(b"many", b"one", context=got.context)
    assert values(node.get(b"many")) == [b"one"]


def test_overload(_):
    """Four requests in flight are all there may be: the fifth is refused at once, and told when to retry."""
    with Cluster(3, ["--requests-max", "4"]) as cluster:
        node, *others = cluster.start().nodes
        node.put(b"item-0", b"before")
        for other in others:
            other.pause()
        held = [node.kv.Put.future(kv.PutRequest(key=b"held-%d" % i, value=b"v"), timeout=15) for i in range(4)]
        wait_for("the four to be in flight", lambda: overloaded(node), 10)
        started = time.monotonic()
        for call in (lambda: batch(node, items(1, b"v")), lambda: node.get(b"item-0", r=1),
                     lambda: node.put(b"item-0", b"v", w=1)):
            details = expect(call, CODE.RESOURCE_EXHAUSTED, "OVERLOADED", says="overloaded")
            assert details.retry_ms and 1 <= details.retry_ms <= 60000, details.retry_ms
        assert time.monotonic() - started < 5, "refused at once"
        assert all(call.exception() is not None for call in held), "a quorum of one out of three"
        for other in others:
            other.resume()
        cluster.wait_alive()
        wait_for("a place for a request", lambda: not overloaded(node))
        assert values(node.get(b"item-0")) == [b"before"], "nothing of a refused write is there"


def test_largest_setting(_):
    """--value-bytes-max up to 3 MiB: such a value travels to the replicas and back; its siblings must fit one record."""
    with Cluster(3, ["--value-bytes-max", "3MiB"]) as cluster:
        first, _, last = cluster.start().nodes
        old = first.put(b"k", bytes(3 * MIB), 30, consistency=kv.CONSISTENCY_ALL).context
        assert values(last.get(b"k", 30, r=3)) == [bytes(3 * MIB)]
        invalid(lambda: first.put(b"k", bytes(3 * MIB + 1)), "value", "%d bytes, limit %d" % (3 * MIB + 1, 3 * MIB))
        first.put(b"k", b"x" * 3 * MIB, 30, context=old)
        details = expect(lambda: first.put(b"k", b"y" * 3 * MIB, 30, context=old), CODE.FAILED_PRECONDITION,
                         "TOO_MANY_SIBLINGS", says="too large together")
        assert details.metadata["outcome"] == "NOT_APPLIED", details.metadata
        read = last.get(b"k", 30, r=3)
        assert values(read) == [b"x" * 3 * MIB]
        first.put(b"k", b"small", context=read.context)
        assert values(last.get(b"k")) == [b"small"]


def overloaded(node):
    try:
        node.get(b"item-0", r=1)
    except grpc.RpcError as error:
        return error.code() == CODE.RESOURCE_EXHAUSTED
    return False


def main():
    with Cluster(1) as cluster:
        node = cluster.start().nodes[0]
        failed = run(tests_of(globals()), node)
        node.put(b"still", b"here")
        assert values(node.get(b"still")) == [b"here"]
        return failed


if __name__ == "__main__":
    sys.exit(1 if main() else 0)
