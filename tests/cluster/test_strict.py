"""Rule: a strict write counts replicas alone. With two of four nodes down it is refused at once, not applied,
where a sloppy write counts a fallback's hint; asked by the request, by a batch, by the keyspace, by the
command line. RELIABILITY rule 18; DESIGN.md 7."""

import os
import subprocess
import time

import grpc
from cluster import Cluster, cluster_pb2, kv, wait_for

COTERIE = os.environ["COTERIE"]
KEYS = [b"key-%d" % i for i in range(60)]


def outcome_of(call):
    """None, or the error's code and text; with how long it took."""
    started = time.monotonic()
    try:
        return call(), None, time.monotonic() - started
    except grpc.RpcError as error:
        return None, error, time.monotonic() - started


def check_refusal(error, took):
    assert error.code() == grpc.StatusCode.UNAVAILABLE, error
    details = dict(error.trailing_metadata())["grpc-status-details-bin"]
    assert b"NOT_APPLIED" in details, details
    assert took < 5, "a refusal took %.1f s" % took


def play(node, keyspace, strict):
    """How many puts were applied and how many refused; no fallback counts where strict is asked."""
    applied = refused = stood_in = 0
    for key in KEYS:
        reply, error, took = outcome_of(
            lambda: node.put(key, b"v", keyspace=keyspace, strict=strict))
        if error is not None:
            check_refusal(error, took)
            refused += 1
        else:
            applied += 1
            stood_in += len(reply.acknowledgement.fallbacks)
    return applied, refused, stood_in


def command(node, *words):
    return subprocess.run([COTERIE, "--endpoints", node.endpoint] + list(words), timeout=60,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def main():
    with Cluster(4) as cluster:
        cluster.start()
        n1, n2, n3, n4 = cluster.nodes
        made = command(n1, "keyspace", "create", "ledger", "--strict")
        assert made.returncode == 0, made
        described = n2.admin.DescribeKeyspace(cluster_pb2.DescribeKeyspaceRequest(name="ledger"), timeout=20)
        assert described.keyspace.strict
        assert not n2.admin.DescribeKeyspace(
            cluster_pb2.DescribeKeyspaceRequest(name="default"), timeout=20).keyspace.strict
        assert play(n1, "ledger", False) == (len(KEYS), 0, 0)

        n3.kill()
        n4.kill()
        wait_for("two to be alive", lambda: n1.alive_nodes() == 2 and n2.alive_nodes() == 2)
        applied, refused, stood_in = play(n1, "default", False)
        assert (applied, refused) == (len(KEYS), 0) and stood_in > 0, (applied, refused, stood_in)
        for keyspace, strict in (("default", True), ("ledger", False), ("ledger", True)):
            applied, refused, fallbacks = play(n1, keyspace, strict)
            assert applied > 0 and refused > 0 and fallbacks == 0, (keyspace, strict, applied, refused, fallbacks)

        # The keys that a put refuses, every other kind of write refuses.
        bad = [key for key in KEYS if outcome_of(lambda: n1.put(key, b"v", strict=True))[1] is not None]
        _, error, took = outcome_of(lambda: n1.kv.Delete(kv.DeleteRequest(key=bad[0], strict=True), timeout=20))
        check_refusal(error, took)
        items = [kv.BatchWriteRequest.Item(key=key, value=b"v") for key in KEYS]
        for strict in (False, True):
            reply = n1.kv.BatchWrite(kv.BatchWriteRequest(items=items, strict=strict), timeout=20)
            failed = [item.key for item in reply.items if item.status.code != 0]
            assert failed == (bad if strict else []), failed
            assert all(item.status.outcome == "NOT_APPLIED" for item in reply.items if item.status.code != 0)
        key = bad[0].decode()
        assert command(n1, "put", key, "v", "--strict").returncode == 4
        assert command(n1, "del", key, "--strict").returncode == 4
        assert command(n1, "put", key, "v").returncode == 0

        n3.start().wait_serving()
        n4.start().wait_serving()
        cluster.wait_alive()
        assert play(n1, "default", True) == (len(KEYS), 0, 0)
        print("strict: %d of %d keys refused with two of four away, none with all" % (len(bad), len(KEYS)))


if __name__ == "__main__":
    main()
