"""Rule: any gRPC client, with stubs from the public files alone, can do everything that
KeyValue promises: values, siblings and their contexts, levels, ttl, last writer wins, batches.
DESIGN.md sections 5, 7, 9; proto/coterie/v1/key_value.proto."""

import itertools
import time

from harness import CODE, expect, grpc, kv, main, values, wait_for
from cluster import cluster_pb2

numbers = itertools.count()


def fresh():
    return b"key-%d" % next(numbers)


def put(node, key, value, context=b"", **more):
    return node.put(key, value, context=context, **more)


def delete(node, key, context=b"", **more):
    return node.kv.Delete(kv.DeleteRequest(key=key, context=context, **more), timeout=30)


def put_everywhere(node, key, value, context=b"", **more):
    """Each replica holds it from now on, so what is next written through any of them covers, or stands beside, it."""
    return put(node, key, value, context, consistency=kv.CONSISTENCY_ALL, **more)


def everywhere(cluster, key, **more):
    """What each node says, at a level whose read set meets every quorum write."""
    return [values(node.get(key, **more)) for node in cluster.nodes]


def create(cluster, name, **more):
    reply = cluster.nodes[0].admin.CreateKeyspace(
        cluster_pb2.CreateKeyspaceRequest(keyspace=cluster_pb2.Keyspace(name=name, **more)), timeout=30)
    assert reply.keyspace.name == name
    return name


# -- one key


def test_get_of_nothing(cluster):
    for node in cluster.nodes:
        reply = node.get(fresh())
        assert not reply.found and not reply.values
        assert reply.acknowledgement.needed == 2 and reply.acknowledgement.acknowledged >= 2


def test_a_retry_with_its_request_id_writes_nothing_again(cluster):
    key, request_id = fresh(), b"0123456789ab%04d" % next(numbers)
    first = put(cluster.nodes[0], key, b"v", request_id=request_id, consistency=kv.CONSISTENCY_ALL)
    for node in cluster.nodes:  # every replica has the write, so each knows the id
        again = put(node, key, b"v", request_id=request_id)
        assert again.context == first.context and again.siblings == 1
    assert values(cluster.nodes[0].get(key)) == [b"v"]
    put_everywhere(cluster.nodes[0], key, b"w", context=first.context)
    assert put(cluster.nodes[1], key, b"v", request_id=request_id).context == first.context
    assert everywhere(cluster, key) == [[b"w"]] * 3, "a late retry brings nothing back"
    gone = delete(cluster.nodes[2], key, request_id=b"d" * 16, consistency=kv.CONSISTENCY_ALL)
    assert delete(cluster.nodes[0], key, request_id=b"d" * 16).context == gone.context
    expect(lambda: put(cluster.nodes[0], fresh(), b"v", request_id=request_id), CODE.INVALID_ARGUMENT,
           "INVALID_ARGUMENT", says="request_id")
    expect(lambda: put(cluster.nodes[0], key, b"v", request_id=b"short"), CODE.INVALID_ARGUMENT,
           "INVALID_ARGUMENT", field="request_id", says="16")


def test_put_through_any_node_is_read_through_any(cluster):
    for writer in cluster.nodes:
        key = fresh()
        before = time.time()
        reply = put(writer, key, b"of " + key)
        assert reply.siblings == 1 and reply.context
        for reader in cluster.nodes:
            got = reader.get(key)
            assert values(got) == [b"of " + key]
            assert got.context == reply.context, "an unraced put and a get cover the same"
            assert abs(got.values[0].written_at_ms / 1000 - before) < 60
            assert not got.values[0].HasField("ttl_ms")


def test_any_bytes(cluster):
    every = bytes(range(256))
    for key in (b"\0", b"\xff\xfe", every, b"k" * 4096):
        for value in (b"", b"\0", every, every * 4096):
            put(cluster.nodes[0], key, value)
            assert everywhere(cluster, key) == [[value]] * 3


def test_plain_puts_overwrite(cluster):
    key = fresh()
    for i in range(5):
        assert put(cluster.nodes[1], key, b"%d" % i).siblings == 1
    assert everywhere(cluster, key) == [[b"4"]] * 3


def test_put_returns_the_next_context(cluster):
    key, context = fresh(), b""
    for i in range(6):
        reply = put(cluster.nodes[i % 3], key, b"%d" % i, context)
        assert reply.siblings == 1
        assert reply.context != context
        context = reply.context
    assert everywhere(cluster, key) == [[b"5"]] * 3


# -- consistent keyspaces


def compare_and_set(node, key, keyspace="bank", **more):
    return node.kv.CompareAndSet(kv.CompareAndSetRequest(keyspace=keyspace, key=key, **more), timeout=30)


def test_compare_and_set(cluster):
    create(cluster, "bank", mode=cluster_pb2.Keyspace.MODE_CONSISTENT)
    n1, n2, n3 = cluster.nodes
    wait_for("all to know the keyspace", lambda: all(knows(node, "bank") for node in cluster.nodes))
    key = fresh()
    made = compare_and_set(n1, key, absent=True, value=b"100")
    assert made.applied and made.version == 1 and made.acknowledgement.needed == 2, made
    for node in cluster.nodes:  # each sees at once what any other has done
        got = node.get(key, keyspace="bank")
        assert values(got) == [b"100"] and got.version == 1 and got.context == b"", got
        again = compare_and_set(node, key, absent=True, value=b"other")
        assert not again.applied and (again.version, again.found, again.value) == (1, True, b"100"), again
    assert compare_and_set(n2, key, expected_value=b"100", value=b"80").version == 2
    assert not compare_and_set(n3, key, expected_value=b"100", value=b"60").applied
    assert compare_and_set(n3, key, expected_version=2, value=b"60", ttl_ms=600000).version == 3
    assert 0 < n1.get(key, keyspace="bank").values[0].ttl_ms <= 600000
    assert n1.put(key, b"50", keyspace="bank").version == 4
    gone = delete(n2, key, keyspace="bank")
    assert gone.version == 5 and gone.context == b"" and gone.siblings == 1, gone
    assert not n3.get(key, keyspace="bank").found
    assert compare_and_set(n1, key, absent=True, value=b"new").version == 6
    assert compare_and_set(n1, key, expected_version=6, delete=True).version == 7
    assert not compare_and_set(n1, key, expected_value=b"new", delete=True).applied


def knows(node, keyspace):
    try:
        return node.get(b"k", keyspace=keyspace) is not None
    except grpc.RpcError:
        return False


def test_a_change_is_made_once_for_its_request_id(cluster):
    n1, n2, n3 = cluster.nodes
    key, request_id = fresh(), b"once%012d" % next(numbers)
    change = {"expected_version": 0, "value": b"1", "request_id": request_id}
    assert compare_and_set(n1, key, **change).version == 1
    for i in range(7):
        assert n2.put(key, b"%d" % i, keyspace="bank").version == 2 + i
        again = compare_and_set(n3, key, **change)
        assert again.applied and again.version == 1, "the same answer as the first time: %s" % again
    assert values(n1.get(key, keyspace="bank")) == [b"6"], "and nothing is written again"
    n2.put(key, b"8", keyspace="bank")  # the eighth that came after it: the id is forgotten
    assert not compare_and_set(n3, key, **change).applied
    put_id = b"put%013d" % next(numbers)
    first = n1.put(key, b"p", keyspace="bank", request_id=put_id)
    assert n3.put(key, b"p", keyspace="bank", request_id=put_id).version == first.version


def test_batches_of_a_consistent_keyspace(cluster):
    keys = [fresh() for _ in range(5)]
    Item = kv.BatchWriteRequest.Item
    written = cluster.nodes[0].kv.BatchWrite(kv.BatchWriteRequest(
        keyspace="bank", items=[Item(key=key, value=key) for key in keys] + [Item(key=keys[0], value=b"", context=b"c")]),
        timeout=30)
    assert [item.result.version for item in written.items[:5]] == [1] * 5, written
    assert written.items[5].status.code == CODE.INVALID_ARGUMENT.value[0], written.items[5]
    read = cluster.nodes[2].kv.BatchGet(kv.BatchGetRequest(keyspace="bank", keys=keys), timeout=30)
    assert [values(item.result) for item in read.items] == [[key] for key in keys]
    assert [item.result.version for item in read.items] == [1] * 5


def test_each_mode_has_its_own_operations(cluster):
    node, key = cluster.nodes[0], fresh()
    expect(lambda: compare_and_set(node, key, keyspace="default", absent=True, value=b"v"), CODE.FAILED_PRECONDITION,
           "WRONG_MODE", says="compare-and-set")
    context = node.put(key, b"v").context
    for field, call in (("context", lambda: node.put(key, b"v", keyspace="bank", context=context)),
                        ("consistency", lambda: node.get(key, keyspace="bank", consistency=kv.CONSISTENCY_ONE)),
                        ("r", lambda: node.get(key, keyspace="bank", r=1)),
                        ("w", lambda: node.put(key, b"v", keyspace="bank", w=3)),
                        ("strict", lambda: node.put(key, b"v", keyspace="bank", strict=True)),
                        ("condition", lambda: compare_and_set(node, key, value=b"v")),
                        ("change", lambda: compare_and_set(node, key, absent=True))):
        expect(call, CODE.INVALID_ARGUMENT, "INVALID_ARGUMENT", field=field)


# -- siblings


def siblings(cluster):
    """A key that two writers have changed from the same state: its key and the contexts of both."""
    key = fresh()
    first = put_everywhere(cluster.nodes[0], key, b"first").context
    left = put_everywhere(cluster.nodes[0], key, b"left", first)
    right = put_everywhere(cluster.nodes[1], key, b"right", first)
    assert left.siblings == 1 and right.siblings == 2, (left, right)
    return key, first, left.context, right.context


def test_stale_context_makes_siblings(cluster):
    key, first, left, right = siblings(cluster)
    assert everywhere(cluster, key) == [[b"left", b"right"]] * 3
    replies = [node.get(key) for node in cluster.nodes]
    orders = [[v.value for v in reply.values] for reply in replies]
    assert orders[0] == orders[1] == orders[2], "siblings stand in a stable order"
    assert len({reply.context for reply in replies}) == 1
    assert replies[0].context not in (first, left, right)


def test_context_of_a_get_resolves(cluster):
    key = siblings(cluster)[0]
    seen = cluster.nodes[2].get(key)
    settled = put(cluster.nodes[2], key, b"settled", seen.context)
    assert settled.siblings == 1
    assert everywhere(cluster, key) == [[b"settled"]] * 3


def test_context_of_a_put_covers_nothing_unseen(cluster):
    """Who has put "right" has not seen "left": their next put must not remove it."""
    key, _, _, right = siblings(cluster)
    again = put(cluster.nodes[0], key, b"right again", right)
    assert again.siblings == 2
    assert everywhere(cluster, key) == [[b"left", b"right again"]] * 3


def test_old_context_twice_keeps_all_three(cluster):
    key, first, _, _ = siblings(cluster)
    assert put(cluster.nodes[2], key, b"third", first).siblings == 3
    assert everywhere(cluster, key) == [[b"left", b"right", b"third"]] * 3


def test_equal_values_stay_siblings(cluster):
    key = fresh()
    first = put(cluster.nodes[0], key, b"x").context
    for _ in range(2):
        put(cluster.nodes[0], key, b"same", first)
    assert everywhere(cluster, key) == [[b"same", b"same"]] * 3


# -- delete


def test_delete(cluster):
    key = fresh()
    put_everywhere(cluster.nodes[0], key, b"here")
    reply = delete(cluster.nodes[1], key)
    assert reply.context
    for node in cluster.nodes:
        got = node.get(key)
        assert not got.found
        assert got.context, "what was deleted has a context too"
    assert put(cluster.nodes[2], key, b"again", got.context).siblings == 1
    assert everywhere(cluster, key) == [[b"again"]] * 3


def test_delete_of_nothing(cluster):
    key = fresh()
    delete(cluster.nodes[0], key)
    assert everywhere(cluster, key) == [[]] * 3


def test_delete_with_context_keeps_a_concurrent_write(cluster):
    key = fresh()
    seen = put(cluster.nodes[0], key, b"seen").context
    put(cluster.nodes[1], key, b"unseen", seen)
    delete(cluster.nodes[2], key, seen)
    assert everywhere(cluster, key) == [[b"unseen"]] * 3


def test_delete_of_all_siblings(cluster):
    key = siblings(cluster)[0]
    delete(cluster.nodes[1], key, cluster.nodes[1].get(key).context)
    assert everywhere(cluster, key) == [[]] * 3


# -- levels


LEVELS = {kv.CONSISTENCY_UNSPECIFIED: 2, kv.CONSISTENCY_ONE: 1, kv.CONSISTENCY_QUORUM: 2,
          kv.CONSISTENCY_ALL: 3, kv.CONSISTENCY_LOCAL_ONE: 1, kv.CONSISTENCY_LOCAL_QUORUM: 2,
          kv.CONSISTENCY_EACH_QUORUM: 2}


def who(acknowledgement, needed):
    names = list(acknowledgement.primaries)
    assert acknowledgement.needed == needed, acknowledgement
    assert acknowledgement.acknowledged >= needed, acknowledgement
    # Answers beyond what the level needs are named, not counted (model/quorum.h).
    assert acknowledgement.acknowledged <= len(names) == len(set(names)), acknowledgement
    assert set(names) <= {"n1", "n2", "n3"} and not acknowledgement.fallbacks, acknowledgement


def test_levels(cluster):
    for level, needed in LEVELS.items():
        key = fresh()
        for node in cluster.nodes:
            who(put(node, key, b"v", consistency=level).acknowledgement, needed)
            who(delete(node, key, consistency=level).acknowledgement, needed)
            who(put(node, key, b"v", consistency=level).acknowledgement, needed)
            who(node.get(key, consistency=level).acknowledgement, needed)


def test_counts(cluster):
    for count in (1, 2, 3):
        key = fresh()
        who(put(cluster.nodes[0], key, b"v", w=count).acknowledgement, count)
        who(delete(cluster.nodes[1], key, w=count).acknowledgement, count)
        who(cluster.nodes[2].get(key, r=count).acknowledgement, count)


def test_one_write_all_read_meet(cluster):
    for i in range(30):
        key = fresh()
        put(cluster.nodes[i % 3], key, b"v", consistency=kv.CONSISTENCY_ONE)
        assert values(cluster.nodes[(i + 1) % 3].get(key, consistency=kv.CONSISTENCY_ALL)) == [b"v"]


# -- time


def test_ttl(cluster):
    key = fresh()
    put(cluster.nodes[0], key, b"long", ttl_ms=3600000)
    value, = cluster.nodes[1].get(key).values
    assert 0 < value.ttl_ms <= 3600000
    put(cluster.nodes[0], key, b"short", ttl_ms=1500)
    assert everywhere(cluster, key)[0] in ([b"short"], [])
    wait_for("the value to expire", lambda: not cluster.nodes[2].get(key).found, 15)
    assert everywhere(cluster, key) == [[]] * 3, "expired on one node, expired on all"
    put(cluster.nodes[1], key, b"after")
    assert everywhere(cluster, key) == [[b"after"]] * 3


# -- keyspaces


def test_keyspaces_are_apart(cluster):
    name, key = create(cluster, "apart"), fresh()
    put(cluster.nodes[0], key, b"here")
    assert everywhere(cluster, key, keyspace=name) == [[]] * 3
    put(cluster.nodes[1], key, b"there", keyspace=name)
    assert everywhere(cluster, key, keyspace=name) == [[b"there"]] * 3
    assert everywhere(cluster, key, keyspace="default") == everywhere(cluster, key) == [[b"here"]] * 3


def test_defaults_of_the_keyspace(cluster):
    name = create(cluster, "levels", read_consistency=kv.CONSISTENCY_ONE, write_consistency=kv.CONSISTENCY_ALL)
    key = fresh()
    who(put(cluster.nodes[0], key, b"v", keyspace=name).acknowledgement, 3)
    who(cluster.nodes[1].get(key, keyspace=name).acknowledgement, 1)


def test_one_replica(cluster):
    name = create(cluster, "single", n=1)
    for i in range(20):
        key = fresh()
        written = put(cluster.nodes[i % 3], key, b"v", keyspace=name)
        who(written.acknowledgement, 1)
        got = cluster.nodes[(i + 1) % 3].get(key, keyspace=name)
        assert values(got) == [b"v"]
        assert list(got.acknowledgement.primaries) == list(written.acknowledgement.primaries)


def test_periodic(cluster):
    name, key = create(cluster, "periodic", durability=cluster_pb2.Keyspace.DURABILITY_PERIODIC), fresh()
    who(put(cluster.nodes[0], key, b"v", keyspace=name).acknowledgement, 2)
    assert everywhere(cluster, key, keyspace=name) == [[b"v"]] * 3


def test_last_writer_wins(cluster):
    name, key = create(cluster, "lww", conflict=cluster_pb2.Keyspace.CONFLICT_LWW), fresh()
    first = put(cluster.nodes[0], key, b"first", keyspace=name).context
    for i, node in enumerate(cluster.nodes * 2):
        reply = put(node, key, b"%d" % i, first, keyspace=name)
        assert reply.siblings == 1, reply
        assert everywhere(cluster, key, keyspace=name) == [[b"%d" % i]] * 3
    delete(cluster.nodes[1], key, first, keyspace=name)
    assert everywhere(cluster, key, keyspace=name) == [[]] * 3


# -- batches


def batch_get(node, keys, **more):
    return node.kv.BatchGet(kv.BatchGetRequest(keys=keys, **more), timeout=20)


def batch_write(node, items, **more):
    return node.kv.BatchWrite(kv.BatchWriteRequest(items=items, **more), timeout=20)


Item = kv.BatchWriteRequest.Item


def test_batches(cluster):
    keys = [fresh() for _ in range(1000)]
    reply = batch_write(cluster.nodes[0], [Item(key=key, value=b"of " + key) for key in keys])
    assert [item.key for item in reply.items] == keys, "in the order of the request"
    for item in reply.items:
        assert item.status.code == 0 and item.result.siblings == 1 and item.result.context
    for node in cluster.nodes:
        reply = batch_get(node, keys)
        assert [item.key for item in reply.items] == keys
        assert [values(item.result) for item in reply.items] == [[b"of " + key] for key in keys]


def test_batch_of_all_kinds(cluster):
    old, deleted, raced, timed, absent = (fresh() for _ in range(5))
    context = put(cluster.nodes[0], old, b"old").context
    put_everywhere(cluster.nodes[0], deleted, b"to go")
    seen = put(cluster.nodes[0], raced, b"seen").context
    put_everywhere(cluster.nodes[0], raced, b"unseen", seen)
    reply = batch_write(cluster.nodes[1], [
        Item(key=old, value=b"new", context=context), Item(key=deleted, delete=True),
        Item(key=raced, value=b"stale", context=seen), Item(key=timed, value=b"t", ttl_ms=3600000),
        Item(key=raced, delete=True, context=b"\x01junk"), Item(key=b"", value=b"x"),
        Item(key=timed, value=b"x", delete=True)], consistency=kv.CONSISTENCY_ALL)
    assert [item.status.code for item in reply.items] == [0, 0, 0, 0, 3, 3, 3], reply
    assert [item.status.reason for item in reply.items[4:]] == ["INVALID_ARGUMENT"] * 3
    for item, word in zip(reply.items[4:], ("context", "key", "value")):
        assert item.status.message.startswith(word + ":"), item
        assert not item.HasField("result")
    assert [item.result.acknowledgement.needed for item in reply.items[:4]] == [3] * 4
    assert [item.result.siblings for item in reply.items[:4]][::2] == [1, 2]
    got = batch_get(cluster.nodes[2], [old, deleted, raced, timed, absent, b"", old])
    assert [item.status.code for item in got.items] == [0, 0, 0, 0, 0, 3, 0]
    assert [values(item.result) for item in got.items[:5]] == [
        [b"new"], [], [b"stale", b"unseen"], [b"t"], []]
    assert got.items[3].result.values[0].ttl_ms > 0
    assert got.items[6].result == got.items[0].result


# -- replicas away


def test_too_few_replicas(cluster):
    """k of n, who is missing, and that nothing was written. Last: it leaves one node."""
    n1, n2, n3 = cluster.nodes
    key = fresh()
    put(n1, key, b"before", consistency=kv.CONSISTENCY_ALL)
    n3.kill()
    wait_for("n1 to miss n3", lambda: n1.alive_nodes() == 2)
    assert put(n1, fresh(), b"v").acknowledgement.acknowledged == 2
    details = expect(lambda: put(n1, key, b"all", consistency=kv.CONSISTENCY_ALL), CODE.UNAVAILABLE,
                     "QUORUM_NOT_MET", says="n3")
    assert details.metadata["needed"] == "3" and "n3" in details.metadata["missing"].split(", ")
    assert int(details.metadata["acknowledged"]) <= 2
    assert details.metadata["outcome"] == "NOT_APPLIED", details.metadata
    n2.kill()
    wait_for("n1 to be alone", lambda: n1.alive_nodes() == 1)
    for call in (lambda: put(n1, key, b"quorum"), lambda: delete(n1, key)):
        details = expect(call, CODE.UNAVAILABLE, "QUORUM_NOT_MET", says=("n2", "n3"))
        assert details.metadata["needed"] == "2" and details.metadata["outcome"] == "NOT_APPLIED"
        assert set(details.metadata["missing"].split(", ")) >= {"n2", "n3"}
    details = expect(lambda: n1.get(key), CODE.UNAVAILABLE, "QUORUM_NOT_MET", says=("n2", "n3"))
    assert details.metadata["needed"] == "2" and "outcome" not in details.metadata
    assert values(n1.get(key, consistency=kv.CONSISTENCY_ONE)) == [b"before"]
    item, = batch_write(n1, [Item(key=key, value=b"batch")]).items
    assert item.status.code == CODE.UNAVAILABLE.value[0], item
    assert item.status.reason == "QUORUM_NOT_MET" and item.status.outcome == "NOT_APPLIED", item


if __name__ == "__main__":
    main(globals())
