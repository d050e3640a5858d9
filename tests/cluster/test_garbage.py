"""Rule: truncated, random and oversized bytes on both ports never stop a node, and nothing stays behind
(DESIGN.md 10). With an ASan build the end of the process is the leak check."""

import os
import random
import socket
import struct
import time

from cluster import Cluster, wait_for

ASAN = "asan" in os.environ.get("COTERIED", "")
SECONDS = float(os.environ.get("GARBAGE_SECONDS", "60" if ASAN else "20"))
LARGE = bytes(5 << 20)
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind, flags, stream, payload, length=None):
    size = len(payload) if length is None else length
    return struct.pack(">I", size)[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def literal(name, value):
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


def headers(path, stream=1, more=b""):
    block = b"\x83\x86" + literal(b":path", path) + literal(b":authority", b"x")
    block += literal(b"content-type", b"application/grpc") + literal(b"te", b"trailers") + more
    return frame(1, 4, stream, block)


def message(payload, length=None):
    return b"\x00" + struct.pack(">I", len(payload) if length is None else length) + payload


def call(path, body, end=1):
    return PREFACE + frame(4, 0, 0, b"") + headers(path) + frame(0, end, 1, body)


def attack(rng):
    methods = [b"/coterie.v1.KeyValue/Get", b"/coterie.v1.KeyValue/Put", b"/coterie.v1.KeyValue/BatchWrite",
               b"/coterie.internal.v1.Peer/Link", b"/coterie.v1.Cluster/CreateKeyspace",
               b"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", b"/no/such"]
    method = rng.choice(methods)
    junk = rng.randbytes(rng.randrange(0, 4000))
    kind = rng.randrange(33)  # of the large ones every few dozen: each is megabytes
    if kind == 32:  # a whole message beyond gRPC's limit, and one frame beyond HTTP/2's
        return PREFACE + frame(4, 0, 0, b"") + headers(method) + rng.choice(
            [chunks(message(LARGE[:rng.randrange((4 << 20) + 1, 5 << 20)])), frame(0, 1, 1, LARGE[:1 << 20])])
    kind %= 8
    if kind == 0:
        return junk
    if kind == 1:
        return PREFACE + junk
    if kind == 2:
        return call(method, message(junk))
    if kind == 3:
        return call(method, message(junk, 0xFFFFFFFF))
    if kind == 4:
        return call(method, message(junk))[:rng.randrange(1, 200)]
    if kind == 5:  # a key beyond the limit, a value beyond the limit
        key = rng.randbytes(rng.randrange(4097, 60000))
        body = b"\x12" + varint(len(key)) + key
        return PREFACE + frame(4, 0, 0, b"") + headers(method) + chunks(message(body))
    if kind == 6:
        return PREFACE + frame(rng.randrange(16), rng.randrange(256), rng.randrange(9), junk[:200],
                               rng.randrange(1 << 24))
    return PREFACE + frame(4, 0, 0, b"") + headers(method, more=literal(b"x", b"y" * 100) * 90)


def varint(number):
    out = b""
    while number >= 128:
        out += bytes([number % 128 + 128])
        number //= 128
    return out + bytes([number])


def chunks(body):
    parts = [body[i:i + 16000] for i in range(0, len(body), 16000)]
    return b"".join(frame(0, int(i == len(parts) - 1), 1, part) for i, part in enumerate(parts))


def shoot(port, payload, linger):
    with socket.socket() as s:
        s.settimeout(0.5)
        try:
            s.connect(("127.0.0.1", port))
            s.sendall(payload)
            if linger:
                s.recv(4096)
        except OSError:
            pass


def main():
    seed = int(os.environ.get("GARBAGE_SEED", "7"))
    rng = random.Random(seed)
    with Cluster(1) as cluster:
        node = cluster.start().nodes[0]
        node.put(b"before", b"here")
        for _ in range(50):
            shoot(node.client_port, attack(rng), True)
        files, memory = node.open_files(), node.rss_bytes()
        count, end, served = 0, time.monotonic() + SECONDS, 0
        while time.monotonic() < end:
            for port in (node.client_port, node.peer_port, node.http_port):
                shoot(port, attack(rng), rng.random() < 0.3)
                count += 1
            if count % 30 == 0:
                node.put(b"during", b"%d" % count)
                assert node.get(b"during").values[0].value == b"%d" % count
                served += 2
        assert node.process.poll() is None, "the node has ended:\n" + node.log_tail()
        assert node.get(b"before").values[0].value == b"here"
        wait_for("open files to return to %d" % files, lambda: node.open_files() <= files + 8, 60)
        grown = node.rss_bytes() - memory
        code = node.terminate(60)
        assert code == 0, "exit code %d:\n%s" % (code, node.log_tail(60))
        print("seed %d: %d connections of garbage in %.0f s, %d requests served meanwhile, memory %+.1f MiB" % (
            seed, count, SECONDS, served, grown / 2**20))
        if not ASAN:
            assert grown < 64 << 20


if __name__ == "__main__":
    main()
