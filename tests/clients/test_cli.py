"""Rule: data on stdout, everything else on stderr; exits 0 ok, 1 failed, 2 usage, 3 not found, 4 unavailable,
5 unhealthy, 6 conflict; import and export lose nothing. DESIGN.md section 9.

First the whole of test_cli.sh against three healthy nodes, then what needs many records, binary keys or
nodes that are down."""

import base64
import json
import os
import pty
import random
import re
import signal
import subprocess
import tempfile
import time
import urllib.request

from harness import kv, main, values, wait_for
from cluster import cluster_digests

HERE = os.path.dirname(os.path.abspath(__file__))
COTERIE = os.environ["COTERIE"]
RECORDS = 20000


class Result:
    def __init__(self, done):
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr.decode(errors="replace")

    def __str__(self):
        return "exit %d\nstdout: %s\nstderr: %s" % (self.code, self.out[:600], self.err[:600])

    def json(self):
        return json.loads(self.out)


def coterie(nodes, *arguments, code=0, stdin=b"", environment=None, timeout=240):
    """Runs it against these nodes; must exit with `code` (None: with any)."""
    if "--deadline-ms" not in arguments and nodes:
        arguments = ("--deadline-ms", "30000") + arguments
    variables = dict(os.environ, COTERIE_ENDPOINTS=",".join(node.endpoint for node in nodes), **environment or {})
    result = Result(subprocess.run([COTERIE, *arguments], input=stdin, capture_output=True, env=variables,
                                   timeout=timeout))
    assert code is None or result.code == code, "%s: expected exit %d, %s" % (arguments, code, result)
    assert "Sanitizer" not in result.err and "CHECK" not in result.err, result
    return result


def lines(records):
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def records_of(prefix, count):
    """Texts, binary keys, binary and empty values, as import takes them."""
    numbers = random.Random(count)
    for i in range(count):
        record = {}
        if i % 5 == 0:
            record["key_base64"] = base64.b64encode(prefix.encode() + b"\0\xff%d" % i).decode()
        else:
            record["key"] = "%s-%d \u00e9\"\\" % (prefix, i)
        if i % 3 == 0:
            record["value_base64"] = base64.b64encode(b"\xff" + numbers.randbytes(numbers.randrange(300))).decode()
        else:
            record["value"] = "\u00e9\n\"" * numbers.randrange(60)
        yield record


def raw(record):
    """Key and value of a line, as bytes."""
    return tuple(base64.b64decode(record[name + "_base64"]) if name + "_base64" in record else record[name].encode()
                 for name in ("key", "value"))


# -- everything, on healthy nodes


def wait_whole(cluster):
    """All are alive, and what was written is on every replica: what is answered may still be on its way to the last one."""
    cluster.wait_alive()
    wait_for("no hints to be told of", lambda: not coterie(cluster.nodes, "hints", "-o", "json").json()["hints"])
    wait_for("equal copies", lambda: not cluster_digests(cluster.nodes)[1])


def test_commands(cluster):
    wait_whole(cluster)
    environment = dict(os.environ, COTERIE_ENDPOINTS=cluster.nodes[0].endpoint)
    done = subprocess.run(["bash", os.path.join(HERE, "test_cli.sh"), COTERIE], env=environment, timeout=480,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    print(done.stdout.decode(errors="replace").strip())
    assert done.returncode == 0


def test_other_clients_see_the_same(cluster):
    """What the command line writes, gRPC reads, and the other way round."""
    coterie(cluster.nodes[:1], "put", "shared", "-", "--consistency", "ALL", stdin=b"\0\xff\n")
    assert values(cluster.nodes[1].get(b"shared")) == [b"\0\xff\n"]
    cluster.nodes[2].put(b"shared", b"\n\xfe\0", consistency=kv.CONSISTENCY_ALL)
    got = coterie(cluster.nodes[1:2], "get", "shared")
    assert got.out == b"\n\xfe\0" and got.err == "", got


def test_json_of_everything(cluster):
    nodes = cluster.nodes
    wait_whole(cluster)
    for command in (["status"], ["nodes"], ["ring"], ["health"], ["hints"], ["digest"], ["keyspace", "list"],
                    ["keyspace", "describe", "default"], ["put", "j", "v"], ["get", "j"], ["del", "j"]):
        table = coterie(nodes, *command)
        assert isinstance(coterie(nodes, *command, "-o", "json").json(), dict), command
        if command[0] not in ("put", "del"):
            assert table.out, command
        assert table.err == "", (command, table)


def test_verbose_goes_to_stderr(cluster):
    coterie(cluster.nodes, "put", "loud", "v")
    loud = coterie(cluster.nodes, "get", "loud", "-v")
    assert loud.out == b"v" and "127.0.0.1:" in loud.err, loud


def test_completion_scripts(cluster):
    script = coterie(cluster.nodes, "completion", "bash").out
    subprocess.run(["bash", "-n"], input=script, check=True)
    offered = subprocess.run(
        ["bash", "-c", script.decode() + "\nCOMP_WORDS=(coterie ''); COMP_CWORD=1; compopt() { :; }; _coterie; "
         "printf '%s\\n' \"${COMPREPLY[@]}\""], check=True, capture_output=True).stdout.decode().split()
    for command in ("get", "put", "del", "cas", "import", "export", "status", "nodes", "ring", "hints", "repair", "digest", "explain", "keyspace"):
        assert command in offered, (command, offered)


def offered_for(cluster, *words):
    """By the bash script, with the cursor behind the last word."""
    script = coterie(cluster.nodes, "completion", "bash").out.decode()
    play = "\nCOMP_WORDS=(coterie %s); COMP_CWORD=%d; compopt() { :; }; _coterie; printf '%%s\\n' \"${COMPREPLY[@]}\"" % (
        " ".join(word or "''" for word in words), len(words))
    folder = os.path.dirname(os.environ["COTERIE"])
    variables = {"PATH": folder + ":" + os.environ["PATH"]}
    return subprocess.run(["bash", "-c", script + play], check=True, capture_output=True, env=variables).stdout.decode().split()


def test_completion_knows_the_cluster(cluster):
    """Names of nodes and keyspaces come from the endpoints on the line; from nobody when nobody answers."""
    at = ("--endpoints", cluster.nodes[0].endpoint)
    for words in (["decommission", "n"], ["replace", "n"], ["weight", "n"], ["zone", "n"], ["hints", "pause", "--target", ""],
                  ["repair", "--node", ""]):
        assert offered_for(cluster, *at, *words) == ["n1", "n2", "n3"], words
    assert "default" in offered_for(cluster, *at, "replicate", "d")
    assert "default" in offered_for(cluster, *at, "get", "-k", "d")
    assert "n1" not in offered_for(cluster, "--endpoints", "127.0.0.1:1", "decommission", "n")
    # Every command of the help is there.
    every = coterie(cluster.nodes, "--help").out.decode()
    first = set(offered_for(cluster, ""))
    for command in re.findall(r"(?m)^  (?!coterie )([a-z]+) ", every):
        assert command in first, (command, first)


# -- keyspaces


def test_keyspace_by_data_centre(cluster):
    """N that differs by data centre is shown for each; one that nobody is in may be a slip, and is told of."""
    nodes = cluster.nodes
    made = coterie(nodes, "keyspace", "create", "slip", "--n", "deflaut=2")
    assert "no node is in data centre deflaut" in made.err and "keyspace drop slip" in made.err, made
    assert coterie(nodes, "keyspace", "describe", "slip", "-o", "json").json()["n_by_data_center"] == {
        "default": 3, "deflaut": 2}
    assert re.search(r"(?m)^slip .* default=3,deflaut=2 ", coterie(nodes, "keyspace", "list").out.decode())
    right = coterie(nodes, "keyspace", "create", "two", "--n", "default=2")
    assert right.err == "" and right.out == b"keyspace two created, known by 3 of 3 nodes\n", right
    for name in ("slip", "two"):
        coterie(nodes, "keyspace", "drop", name, "--yes")


def test_the_same_of_several(cluster):
    """An error that all endpoints give is told once."""
    told = coterie(cluster.nodes, "digest", "-k", "none", code=3).err
    assert told.count("does not exist") == 1, told
    assert ["%s says the same" % node.endpoint in told for node in cluster.nodes] == [False, True, True], told


# -- hints


def test_the_wrong_port(cluster):
    """Whoever asks the peer or the HTTP port is told which one it is that clients ask."""
    node = cluster.nodes[0]
    for port in (node.peer_port, node.http_port):
        told = coterie([], "--endpoints", "127.0.0.1:%d" % port, "get", "k", "--deadline-ms", "2000", code=None)
        assert told.code in (1, 4) and re.search("client-address|no gRPC there", told.err), (port, told)


def bench(*arguments, code=0):
    done = subprocess.run([os.environ["COTERIE_BENCH"], *arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == code, (arguments, done)
    return done.stdout if code == 0 else done.stderr


def test_bench_tells_what_is_wrong(cluster):
    """Before it counts thousands of errors without a word about them."""
    assert re.match(r"coterie-bench \d+\.\d+\.\d+\n$", bench("--version"))
    here = ("--targets", cluster.nodes[0].endpoint, "--duration", "1", "--warmup", "0")
    assert "2000000 bytes, limit" in bench("put", *here, "--value-bytes", "2000000", code=1)
    coterie(cluster.nodes, "keyspace", "create", "measured", "--mode", "consistent")
    assert "consistency: " in bench("put", *here, "--keyspace", "measured", "--consistency", "ONE", code=1)
    assert "does not exist" in bench("get", *here, "--keyspace", "none", code=3)
    assert "cannot connect" in bench("load", "--targets", "127.0.0.1:1", code=4)
    assert "word too many" in bench("put", "all", code=2)
    assert "put" in bench("put", *here, "--keys", "10", "--value-bytes", "0")


def interrupted(node, number, *arguments):
    """A run that would take a day, ended by a signal once it measures."""
    puts = 'coterie_requests_total{operation="put",code="OK"}'
    before = node.metric(puts)
    with subprocess.Popen([os.environ["COTERIE_BENCH"], "--targets", node.endpoint, "--keys", "10", "--warmup", "0", "--duration",
                           "86400", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        try:
            wait_for("the run", lambda: node.metric(puts) > before + 500)
            running.send_signal(number)
            out, err = running.communicate(timeout=60)
        finally:
            running.kill()
    assert running.returncode == 128 + number and "Sanitizer" not in err, (running.returncode, out, err)
    return out


def test_bench_interrupted(cluster):
    """What was measured until Ctrl-C is told as such, by the time that it took; the exit says how it ended."""
    node = cluster.nodes[0]
    figures = json.loads(interrupted(node, signal.SIGINT, "mixed", "--null-ratio", "-o", "json"))
    assert figures["interrupted"] is True and figures["mixed"]["requests"] > 400, figures
    assert 0 < figures["mixed"]["seconds"] < 60 and figures["mixed"]["errors"] == {}, figures
    ran = figures["mixed"]["requests"] / figures["mixed"]["seconds"]
    assert 0.5 < figures["mixed"]["requests_per_second"] / ran <= 1, figures
    table = interrupted(node, signal.SIGTERM, "put")
    assert re.search(r"ended +by signal 15", table) and re.search(r"(?m)^put +[1-9]", table), table
    # Also while it fills the keys: nothing is measured then.
    table = interrupted(node, signal.SIGINT, "get", "--keys", "1000000000")
    assert "measured nothing" in table and re.search("[1-9][0-9]* keys loaded", table), table
    done = json.loads(bench("put", "--targets", node.endpoint, "--keys", "10", "--duration", "0.2", "--warmup", "0", "-o", "json"))
    assert done["interrupted"] is False and done["put"]["seconds"] == 0.2, done


def test_bench_is_a_closed_loop(cluster):
    """Its JSON says what was measured, on what and of which seed; and by Little's law, whose requests are outstanding
    all the time: rate times mean latency is the concurrency. Warm-up is not counted. The law is of a steady state: a
    run whose last or first requests met a stall of the machine is made again."""
    left = {"null": 3, "put": 3, "get": 3, "mixed": 3}
    while left:
        kind = next(iter(left))
        took = time.monotonic()
        told = json.loads(bench(kind, "--targets", ",".join(node.endpoint for node in cluster.nodes), "--duration", "1",
                                "--warmup", "0.5", "--concurrency", "4", "--keys", "100", "--seed", "7", "-o", "json"))
        took = time.monotonic() - took
        figures, latency = told[kind], told[kind]["latency_us"]
        assert told["bench"] == kind and told["seed"] == 7 and told["machine"]["cores"] >= 1, told
        assert told["config"]["concurrency"] == 4 and told["config"]["value_bytes"] == 100, told
        assert figures["errors"] == {} and figures["requests"] > 0, told
        slowest = 1e-6 * latency["max"]  # what is begun in time is waited for
        assert 0.9 < figures["seconds"] < 1.5 + slowest and took >= figures["seconds"] + 0.5, (took, told)
        # The rate is of those that ended in time; up to four more were begun in time.
        in_time = figures["requests_per_second"] * figures["seconds"]
        assert 0.99 * in_time - 1 <= figures["requests"] <= 1.01 * in_time + 4, told
        assert 0 < latency["p50"] <= latency["p90"] <= latency["p99"] <= latency["p99_9"] <= latency["max"] * 1.1, told
        outstanding = figures["requests_per_second"] * latency["mean"] * 1e-6
        left[kind] -= 1
        if 3 < outstanding < 4.2:
            del left[kind]
        else:
            assert left[kind] > 0, (outstanding, told)
    ratio = json.loads(bench("get", "--targets", cluster.nodes[0].endpoint, "--duration", "1", "--warmup", "0.1", "--keys",
                             "100", "--slice-ms", "100", "--null-ratio", "-o", "json"))
    assert 0 < ratio["get"]["requests"] and 0 < ratio["null"]["requests"], ratio
    by_hand = ratio["get"]["requests_per_second"] / ratio["null"]["requests_per_second"]
    assert abs(ratio["ratio_to_null"] / by_hand - 1) < 0.05, ratio


def test_hints_of_healthy_nodes(cluster):
    nodes = cluster.nodes
    wait_whole(cluster)
    assert coterie(nodes, "hints").out == b"no hints on n1, n2, n3\n"
    # One endpoint is one keeper: those that were not asked are named, and the exit is still 0.
    one = coterie(nodes[:1], "hints")
    assert one.out == b"no hints on n1\n" and "not asked: n2, n3" in one.err, one
    assert coterie(nodes[:1], "hints", "-o", "json").json() == {"hints": [], "asked": ["n1"],
                                                               "not_asked": ["n2", "n3"]}
    twice = coterie([nodes[1], nodes[1]], "hints", "-o", "json").json()
    assert twice["asked"] == ["n2"], twice


def test_hints_pause_and_resume(cluster):
    nodes = cluster.nodes
    paused = coterie(nodes, "hints", "pause", "--target", "n3")
    assert paused.out == b"paused on n1, n2: hints for n3\n" and paused.err == "", paused
    rows = coterie(nodes, "hints", "-o", "json").json()["hints"]
    assert [(row["keeper"], row["target"], row["state"]) for row in rows] == [
        ("n1", "n3", "paused"), ("n2", "n3", "paused")], rows
    table = coterie(nodes, "hints").out.decode().splitlines()
    assert table[0].split() == ["KEEPER", "TARGET", "STATE", "HINTS", "BYTES", "OLDEST", "DELIVERED/S"], table
    assert table[1].split() == ["n1", "n3", "paused", "0", "0", "-", "0.0"], table
    resumed = coterie(nodes, "hints", "resume", "-o", "json").json()
    assert resumed == {"resumed": ["n1", "n2", "n3"], "target": None, "not_asked": []}, resumed
    assert coterie(nodes, "hints", "-o", "json").json()["hints"] == []
    wrong = coterie(nodes, "hints", "pause", "--target", "n9", code=3)
    assert wrong.out == b"" and '"n9" is no node of this cluster' in wrong.err, wrong
    assert coterie(nodes, "hints", "pause", "n3", code=2).out == b""


# -- digests


def test_digest(cluster):
    nodes = cluster.nodes
    for i in range(50):
        nodes[i % 3].put(b"digest-%d" % i, b"v", w=3)
    wait_whole(cluster)
    table = coterie(nodes, "digest")
    assert b"all copies are the same" in table.out and table.err == "", table
    assert table.out.split(b"\n")[0].split() == [b"PARTITION", b"KEYSPACE", b"DIGEST", b"KEYS", b"NODES"], table
    whole = coterie(nodes, "digest", "--keyspace", "default", "-o", "json").json()
    assert whole["same"] and whole["copies"] == 192 and whole["asked"] == ["n1", "n2", "n3"], whole
    assert all(vnode["same"] and len(vnode["copies"]) == 3 for vnode in whole["vnodes"])
    assert sum(vnode["copies"][0]["keys"] for vnode in whole["vnodes"]) >= 50
    assert not any(line.endswith(b" ") for line in table.out.splitlines()), table
    # What was not asked is not known: no word of all copies, and exit 5.
    one = coterie(nodes[:1], "digest", code=5)
    assert "not asked: n2, n3" in one.err and "only one copy was asked" in one.err, one
    assert b"those that were asked are the same" in one.out and b"all copies" not in one.out, one
    coterie(nodes, "digest", "--keyspace", "none", code=3)


# -- import and export


def test_import_and_export(cluster):
    coterie(cluster.nodes, "keyspace", "create", "bulk")
    records = list(records_of("bulk", RECORDS))
    took = coterie(cluster.nodes, "import", "-", "--keyspace", "bulk", "-o", "json", stdin=lines(records))
    assert took.json()["imported"] == RECORDS and took.json()["failed"] == 0, took
    expected = [raw(record) for record in records]
    keys = b"".join(base64.b64encode(key) + b"\n" for key, _ in expected)
    out = coterie(cluster.nodes[2:], "export", "--key-base64", "--keyspace", "bulk", stdin=keys).out
    exported = [json.loads(line) for line in out.splitlines()]
    assert [raw(record) for record in exported] == expected, "export gives what import took, in order"
    # What export prints is what import takes.
    coterie(cluster.nodes, "keyspace", "create", "again")
    coterie(cluster.nodes[1:], "import", "--keyspace", "again", stdin=out)
    for key, value in random.Random(1).sample(expected, 200):
        assert values(cluster.nodes[0].get(key, keyspace="again")) == [value]


def told_at_a_terminal(cluster, *arguments):
    """What it writes to stderr when that is a terminal."""
    ours, theirs = pty.openpty()
    with subprocess.Popen([COTERIE, "--endpoints", cluster.nodes[0].endpoint, *arguments], stdin=subprocess.DEVNULL,
                          stdout=subprocess.DEVNULL, stderr=theirs) as process:
        os.close(theirs)
        told = b""
        try:
            while more := os.read(ours, 65536):
                told += more
        except OSError:  # how a terminal says that nobody holds its other side
            pass
        os.close(ours)
        assert process.wait(60) == 0, told
    return told.decode()


def test_progress_bar(cluster):
    """A bar, the rate and the time that is left, while it runs and at a terminal alone; then one line that stays."""
    with tempfile.TemporaryDirectory() as folder:
        values_of, keys_of = os.path.join(folder, "records"), os.path.join(folder, "keys")
        with open(values_of, "wb") as records, open(keys_of, "w") as keys:
            records.write(lines({"key": "bar-%d" % i, "value": "v" * 50} for i in range(RECORDS)))
            keys.writelines("bar-%d\n" % i for i in range(RECORDS))
        for verb, *arguments in (("imported", "import", values_of), ("read", "export", "--keys", keys_of)):
            *frames, last = told_at_a_terminal(cluster, *arguments, "--in-flight", "1").split("\r\x1b[K")
            shown = [re.fullmatch(r"\[(#*)(\.*)\] +(\d+) %%  %s (?:0 keys  0/s|\d+ keys  \d+/s  ETA \d+:\d\d:\d\d)" % verb, frame)
                     for frame in frames if frame]
            assert shown and all(shown), (verb, frames)
            parts = [int(found[3]) for found in shown]
            assert parts == sorted(parts), frames
            assert all(abs(len(found[1]) - 0.3 * int(found[3])) <= 1.5 and len(found[1] + found[2]) == 30
                       for found in shown), frames
            assert "coterie: %s %d keys" % (verb, RECORDS) in last and "\x1b" not in last, (verb, last)
            quiet = coterie(cluster.nodes[:1], *arguments)
            assert "\x1b" not in quiet.err and "#" not in quiet.err, quiet


def test_import_tells_bad_lines(cluster):
    records = [lines([record]) for record in records_of("bad", 3000)]
    broken = {1: b"nonsense\n", 500: b'{"key": "x"}\n', 1500: b'{"key": "", "value": "v"}\n',
              2000: lines([{"key": "k" * 4097, "value": "v"}]), 3000: b'{"key": "cut'}
    for number, line in broken.items():
        records[number - 1] = line
    told = coterie(cluster.nodes, "import", code=1, stdin=b"".join(records))
    for number in broken:
        assert any(line.find("line %d" % number) >= 0 for line in told.err.splitlines()), (number, told)
    assert "%d keys" % (3000 - len(broken)) in told.err and "%d failed" % len(broken) in told.err, told


def test_import_interrupted(cluster):
    """Ctrl-C: what was begun ends, and it says where to go on; a line that has half come is no line."""
    with subprocess.Popen([COTERIE, "--endpoints", cluster.nodes[0].endpoint, "import"], stdin=subprocess.PIPE,
                          stderr=subprocess.PIPE) as importing:
        importing.stdin.write(lines({"key": "cut-%d" % i, "value": "v"} for i in range(3)) + b'{"key": "cu')
        importing.stdin.flush()
        wait_for("three lines", lambda: values(cluster.nodes[1].get(b"cut-2")) == [b"v"])
        importing.send_signal(signal.SIGINT)
        told = importing.stderr.read().decode()
        assert importing.wait(timeout=60) == 1, told
    for words in ("interrupted", "before line 4 are done", "imported 3 keys", " 0 failed"):
        assert words in told, (words, told)


def test_export_of_siblings(cluster):
    first = cluster.nodes[0].put(b"twins", b"first").context
    for value in (b"left", b"right"):
        cluster.nodes[0].put(b"twins", value, context=first)
    out = coterie(cluster.nodes, "export", stdin=b"twins\n").out
    line = json.loads(out)
    assert line["key"] == "twins" and len(line["siblings"]) == 2, line
    assert "line 1" in coterie(cluster.nodes, "import", code=1, stdin=out).err


# -- nodes that are down. Last: they stay down


def http_page(node, path):
    return urllib.request.urlopen("http://127.0.0.1:%d%s" % (node.http_port, path), timeout=20).read().decode()


def test_one_node_down(cluster):
    n1, n2, n3 = cluster.nodes
    wait_for("no problems", lambda: json.loads(http_page(n1, "/status.json"))["problems"] == [])
    assert "No problems." in http_page(n1, "/")
    coterie([n1], "keyspace", "create", "ledger", "--mode", "consistent")
    n3.kill()
    for node in (n1, n2):
        wait_for("%s to miss n3" % node.name, lambda n=node: n.alive_nodes() == 2)
    status = coterie([n1], "status", code=5)
    assert b"n3" in status.out, status
    told = coterie([n1], "status", "-o", "json", code=5).json()
    assert told["healthy"] is False and len(told["problems"]) == 1, told
    assert json.loads(http_page(n1, "/status.json"))["problems"] == told["problems"]
    assert "<h2>Problems</h2><ul><li class=down>%s</li></ul>" % told["problems"][0] in http_page(n1, "/")
    assert b"down" in coterie([n1], "nodes").out
    coterie(cluster.nodes, "health", code=5)
    coterie([n3, n1], "put", "next-endpoint", "v")
    assert coterie([n3, n1], "get", "next-endpoint").out == b"v"
    refused = coterie([n1], "put", "all", "v", "--consistency", "ALL", code=4)
    assert refused.out == b"" and "n3" in refused.err and "NOT_APPLIED" in refused.err, refused
    error = json.loads(coterie([n1], "put", "all", "v", "--consistency", "ALL", "-o", "json", code=4).err)["error"]
    assert error["code"] == "UNAVAILABLE" and error["outcome"] == "NOT_APPLIED" and error["needed"] == "3", error
    coterie([n1], "get", "all", code=3)
    # What stops an import is told once, not for each line of the batch.
    stopped = coterie([n1], "import", "--in-flight", "1", "--consistency", "ALL", stdin=lines(
        {"key": "many-%d" % i, "value": "v"} for i in range(300)), code=4)
    assert stopped.err.count("line 1,") == 1 and re.search(r"and 99 more, up to line 100: the same", stopped.err), stopped
    assert len(stopped.err.splitlines()) < 15 and "nothing was imported" in stopped.err, stopped
    # Its endpoint was named: nobody is told to name it.
    digest = coterie(cluster.nodes, "digest", code=4)
    assert "not asked: n3 (" in digest.err and "no endpoint of theirs has answered" in digest.err, digest


def test_bench_beside_a_node_that_is_down(cluster):
    """Errors are counted by their status, and the first of each is told in words."""
    cluster.nodes[2].start().wait_serving()
    cluster.wait_alive()
    with subprocess.Popen([os.environ["COTERIE_BENCH"], "put", "--targets", cluster.nodes[0].endpoint, "--duration", "60",
                           "--warmup", "0", "--keys", "10", "--consistency", "ALL", "-o", "json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        puts = 'coterie_requests_total{operation="put",code="OK"}'
        before = cluster.nodes[0].metric(puts)
        wait_for("the run", lambda: cluster.nodes[0].metric(puts) > before + 100)
        cluster.nodes[2].kill()
        refused = 'coterie_requests_total{operation="put",code="UNAVAILABLE"}'
        was = cluster.nodes[0].metric(refused)
        wait_for("refusals", lambda: cluster.nodes[0].metric(refused) > was + 100)
        running.send_signal(signal.SIGINT)
        figures = json.loads(running.communicate(timeout=60)[0])
    assert figures["put"]["errors"]["UNAVAILABLE"] > 50, figures
    assert "n3" in figures["put"]["first_errors"]["UNAVAILABLE"], figures


def test_no_quorum(cluster):
    n1, n2, _ = cluster.nodes
    n2.kill()
    wait_for("n1 to be alone", lambda: n1.alive_nodes() == 1)
    coterie([n1], "get", "next-endpoint", code=4)
    assert coterie([n1], "get", "next-endpoint", "--consistency", "ONE").out == b"v"
    coterie([n1], "import", code=4, stdin=lines(records_of("none", 5)))
    coterie([n1], "export", code=4, stdin=b"next-endpoint\n")
    # A level is no way out where a majority decides.
    register = coterie([n1], "get", "k", "-k", "ledger", code=4)
    assert "majority of its replicas" in register.err and "--consistency" not in register.err, register
    assert "--consistency ONE" in coterie([n1], "get", "next-endpoint", code=4).err


def test_all_down(cluster):
    cluster.nodes[0].kill()
    for command in (["get", "k"], ["put", "k", "v"], ["del", "k"], ["status"], ["nodes"], ["ring"], ["health"], ["hints"],
                    ["repair"], ["repair", "status", "00000000deadbeef"], ["repair", "cancel", "00000000deadbeef"], ["digest"],
                    ["explain", "k"], ["keyspace", "list"], ["keyspace", "describe", "default"], ["keyspace", "create", "x"],
                    ["keyspace", "drop", "x", "--yes"]):
        nobody = coterie(cluster.nodes, *command, "--deadline-ms", "2000", code=4)
        assert command == ["health"] or nobody.out == b"", nobody
        assert nobody.err or command == ["health"], nobody
    coterie(cluster.nodes, "import", "--deadline-ms", "500", code=4, stdin=lines(records_of("none", 5)))


if __name__ == "__main__":
    main(globals())
