"""Rule: /metrics is valid Prometheus text and says what happened: requests, errors and latency histograms per
operation, mailbox depths, RocksDB's figures, peers (DESIGN.md section 9). The page is read by Prometheus's own
Python client (python3-prometheus-client), whose exposition format 0.0.4 is the rule."""

import re
import urllib.request

from prometheus_client.parser import text_string_to_metric_families

from harness import failure, kv, main, wait_for

MAILBOXES = {"coordinator", "replica", "gossip", "hinted_handoff", "anti_entropy"}


def page(node):
    answer = urllib.request.urlopen("http://127.0.0.1:%d/metrics" % node.http_port, timeout=20)
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4"), answer.headers
    return answer.read().decode()


def scrape(node):
    """(name, labels) -> value; the families by name."""
    families = list(text_string_to_metric_families(page(node)))
    samples = {}
    for family in families:
        for sample in family.samples:
            place = (sample.name, tuple(sorted(sample.labels.items())))
            assert place not in samples, "%s is there twice" % (place,)
            samples[place] = sample.value
    names = [family.name for family in families]
    assert len(names) == len(set(names)), sorted(name for name in names if names.count(name) > 1)
    return samples, {family.name: family for family in families}


def value(node, name, **labels):
    return scrape(node)[0][name, tuple(sorted(labels.items()))]


def rows(samples, name):
    """Labels as a dictionary, and the value, of all samples of this name."""
    return [(dict(labels), number) for (found, labels), number in samples.items() if found == name]


def test_conventions(cluster):
    """Every line is a sample of a family that has a type and a help; counters end in _total."""
    text = page(cluster.nodes[0])
    assert text.endswith("\n")
    for line in text.splitlines():
        assert re.fullmatch(r"# (HELP|TYPE) coterie_[a-z_]+ \S.*|coterie_[a-z_]+(\{[^}]*\})? -?[0-9][0-9.e+-]*", line), line
    samples, families = scrape(cluster.nodes[0])
    assert len(samples) > 250, len(samples)
    for name, family in families.items():
        assert family.type in ("counter", "gauge", "histogram"), (name, family.type)
        assert family.documentation, name
        # A row a target of hints, and there are none.
        assert family.samples or name.startswith("coterie_hints_target") or "absent while" in family.documentation, name
        for sample in family.samples:
            assert sample.value >= 0, sample
            assert sample.name.endswith("_total") == (family.type == "counter"), sample


def test_requests_and_errors(cluster):
    """What was asked, by operation and gRPC code, is what is counted: no more, no less."""
    node = cluster.nodes[0]
    before, _ = scrape(node)
    for i in range(7):
        node.put(b"m-%d" % i, b"v")
    for i in range(5):
        node.get(b"m-%d" % i)
    node.kv.Delete(kv.DeleteRequest(key=b"m-0"), timeout=20)
    node.kv.BatchGet(kv.BatchGetRequest(keys=[b"m-1", b"m-2"]), timeout=20)
    node.kv.BatchWrite(kv.BatchWriteRequest(items=[kv.BatchWriteRequest.Item(key=b"m-3", value=b"w")]), timeout=20)
    for _ in range(3):
        failure(lambda: node.get(b""))
    failure(lambda: node.put(b"k", b"v", keyspace="nowhere"))
    wanted = {("put", "OK"): 7, ("get", "OK"): 5, ("delete", "OK"): 1, ("batch_get", "OK"): 1, ("batch_write", "OK"): 1,
              ("get", "INVALID_ARGUMENT"): 3, ("put", "NOT_FOUND"): 1}

    def counted():
        after, _ = scrape(node)
        grown = {}
        for labels, number in rows(after, "coterie_requests_total"):
            grew = number - before.get(("coterie_requests_total", tuple(sorted(labels.items()))), 0)
            if grew and labels["operation"] != "cluster":
                grown[labels["operation"], labels["code"]] = grew
        return after if grown == wanted else print("counted so far:", grown)

    after = wait_for("the counters to say %s" % wanted, counted)
    for operation in ("get", "put", "delete", "batch_get", "batch_write"):
        name = ("coterie_request_duration_seconds_count", (("operation", operation),))
        asked = sum(count for (of, _), count in wanted.items() if of == operation)
        assert after[name] - before[name] == asked, (operation, before[name], after[name])


def test_histograms(cluster):
    """Buckets only grow, the last one is the count, and the sum lies between what the buckets allow."""
    samples, _ = scrape(cluster.nodes[0])
    operations = {labels["operation"] for labels, _ in rows(samples, "coterie_request_duration_seconds_count")}
    assert {"get", "put", "delete", "batch_get", "batch_write", "cluster"} <= operations, operations
    for operation in operations:
        buckets = [(float(labels["le"]), number) for labels, number in rows(samples, "coterie_request_duration_seconds_bucket")
                   if labels["operation"] == operation]
        edges, counts = zip(*buckets)
        assert list(edges) == sorted(set(edges)) and edges[-1] == float("inf"), edges
        assert list(counts) == sorted(counts), (operation, counts)
        labels = (("operation", operation),)
        count = samples["coterie_request_duration_seconds_count", labels]
        total = samples["coterie_request_duration_seconds_sum", labels]
        assert counts[-1] == count, (operation, counts, count)
        least = sum((number - before) * edge for edge, number, before in zip((0,) + edges[:-1], counts, (0,) + counts[:-1]))
        most = sum((number - before) * edge for edge, number, before in zip(edges, counts, (0,) + counts[:-1])
                   if number > before)
        assert least <= total * 1.001 and total <= most * 1.001, (operation, least, total, most)


def test_mailboxes(cluster):
    samples, _ = scrape(cluster.nodes[0])
    for name in ("coterie_mailbox_depth", "coterie_mailbox_depth_max", "coterie_mailbox_posted_total"):
        actors = {labels["actor"] for labels, _ in rows(samples, name)}
        assert MAILBOXES <= actors, (name, actors)
    posted = {labels["actor"]: number for labels, number in rows(samples, "coterie_mailbox_posted_total")}
    assert posted["replica"] > 0 and posted["gossip"] > 0, posted
    assert all(number == 0 for _, number in rows(samples, "coterie_mailbox_dropped_total"))
    assert all(number == 0 for _, number in rows(samples, "coterie_mailbox_lost_wakeups_total"))


def test_store(cluster):
    """RocksDB's figures are of this node's RocksDB: a value of a megabyte is in its memtables and its log."""
    node = cluster.nodes[0]
    before, _ = scrape(node)
    node.put(b"large", bytes(1 << 20), w=3)
    for name, least in (("memtable_bytes", 1 << 20), ("wal_bytes", 1 << 20), ("staged_total", 1), ("syncs_total", 1),
                        ("synced_writes_total", 1)):
        name = "coterie_store_" + name  # as of a second ago
        wait_for("%s to grow by %d" % (name, least), lambda: value(node, name) - before[name, ()] >= least)
    after, _ = scrape(node)
    assert after["coterie_store_partitions_open", ()] >= 1
    for name in ("block_cache_bytes", "sst_bytes", "pending_compaction_bytes", "write_stopped", "refused_total",
                 "background_errors_total"):
        assert ("coterie_store_" + name, ()) in after, name


def test_counters_never_go_back(cluster):
    for node in cluster.nodes:
        (before, families), (after, _) = scrape(node), scrape(node)
        for place, number in before.items():
            if place[0].endswith(("_total", "_bucket", "_count", "_sum")):
                assert after[place] >= number, (place, number, after[place])


def test_peers(cluster):
    """Last: a node stays down."""
    n1, _, n3 = cluster.nodes
    for peer in ("n2", "n3"):
        assert value(n1, "coterie_peer_connected", peer=peer) == 1
        for name in ("messages_sent", "messages_received", "bytes_sent", "bytes_received", "frames_sent"):
            wait_for("%s of %s" % (name, peer), lambda: value(n1, "coterie_peer_%s_total" % name, peer=peer) > 0)
        assert value(n1, "coterie_member_alive", member=peer) == 1
    n3.kill()
    wait_for("n1 to miss n3", lambda: value(n1, "coterie_peer_connected", peer="n3") == 0)
    wait_for("n1 to say that n3 is down", lambda: value(n1, "coterie_member_alive", member="n3") == 0)
    assert value(n1, "coterie_peer_connected", peer="n2") == 1


if __name__ == "__main__":
    main(globals())
