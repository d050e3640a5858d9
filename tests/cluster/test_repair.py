"""Rule: copies that differ are seen to differ, with the nodes that do, by `coterie digest` (exit 5) and `coterie explain`;
`coterie repair --wait` makes them the same and says so; `coterie status` then says as of when. Ctrl-C detaches, and the
repair can be looked at and ended from elsewhere. DESIGN.md 8, 9."""

import json
import os
import signal
import subprocess

from cluster import Cluster, maintenance_pb2, wait_for

COTERIE = os.environ["COTERIE"]
KEYS = 300


def run(cluster, *words):
    environment = dict(os.environ, COTERIE_ENDPOINTS=",".join(node.endpoint for node in cluster.nodes))
    return subprocess.run([COTERIE, "--deadline-ms", "30000", *words], capture_output=True, text=True, timeout=120,
                          env=environment)


def coterie(cluster, *words, code=0):
    done = run(cluster, *words)
    assert done.returncode == code, "%s: exit %d instead of %d\n%s%s" % (
        words, done.returncode, code, done.stdout, done.stderr)
    return done


def state(cluster, code=0):
    return json.loads(coterie(cluster, "status", "-o", "json", code=code).stdout)["convergence"]


def behind_by_hand(cluster):
    """n3 misses writes, and the hints for it are held back: a difference that stays."""
    n1, n2, n3 = cluster.nodes
    for keeper in (n1, n2):
        keeper.maintenance.PauseHints(maintenance_pb2.PauseHintsRequest(target="n3"))
    n3.terminate()
    wait_for("n3 to be seen down", lambda: n1.alive_nodes() == 2 and n2.alive_nodes() == 2)
    for i in range(KEYS):
        (n1, n2)[i % 2].put(b"key-%d" % i, b"value-%d" % i)
    n3.start().wait_serving()
    cluster.wait_alive()


def check_difference(cluster):
    text = coterie(cluster, "digest", code=5).stdout
    assert "DIFFERS" in text and "all copies are the same" not in text, text
    told = json.loads(coterie(cluster, "digest", "-o", "json", code=5).stdout)
    assert not told["same"] and told["differ"] > 3, told["differ"]
    for vnode in told["vnodes"]:
        copies = {copy["node"]: (copy["digest"], copy["keys"]) for copy in vnode["copies"]}
        assert copies["n1"] == copies["n2"], vnode
        assert vnode["same"] == (copies["n3"] == copies["n1"]), vnode
    key, explained = wait_for("a key that differs", lambda: key_that_differs(cluster))
    nodes = {node["node"]: node for node in explained["nodes"]}
    assert not explained["same"] and nodes["n1"]["found"] and not nodes["n3"]["found"], explained
    assert nodes["n1"]["checksum"] == nodes["n2"]["checksum"]
    keepers = [name for name, node in nodes.items() if node["hints_for"] == ["n3"]]
    assert keepers and all(nodes[name]["hint_stored_at_ms"] > 0 for name in keepers), explained
    return key


def key_that_differs(cluster):
    """(key, what is told of it as JSON), the same having been told in words. Within half a minute after n3 has come back
    each pair of copies is compared, and some have been already."""
    for i in range(KEYS):
        key = "key-%d" % i
        text, told = (run(cluster, "explain", key, *more) for more in ((), ("-o", "json")))
        if told.returncode == 5:
            assert text.returncode == 5 and "THE REPLICAS DIFFER" in text.stdout, text
            return key, json.loads(told.stdout)
        assert told.returncode == 0, told
    raise AssertionError("all copies are the same again")


def keys_sent(cluster):
    """By anti-entropy, whoever asked for it."""
    return sum(node.metric("coterie_anti_entropy_keys_%s_total" % way) for node in cluster.nodes for way in ("sent", "received"))


def check_repair(cluster, key):
    done = coterie(cluster, "repair", "--wait", "-o", "json")
    told = json.loads(done.stdout)
    assert [node["state"] for node in told["nodes"]] == ["ended"] * 3, told
    keys = sum(node["keys_repaired"] for node in told["nodes"])
    sent = keys_sent(cluster)
    assert 0 < keys <= sent and KEYS <= sent <= 2 * KEYS, "%d keys repaired, %d in all, %d were missing" % (keys, sent, KEYS)
    assert sum(node["ranges_done"] for node in told["nodes"]) == 192, told
    assert "all copies are the same" in coterie(cluster, "digest").stdout
    explained = json.loads(coterie(cluster, "explain", key, "-o", "json").stdout)
    third = [node for node in explained["nodes"] if node["node"] == "n3"][0]
    assert explained["same"] and third["repaired_by"] == "anti-entropy", explained
    again = json.loads(coterie(cluster, "repair", "status", told["repair"], "-o", "json").stdout)
    assert again["nodes"] == told["nodes"], (again, told)
    print("%d keys missing on n3: %s" % (KEYS, done.stderr.strip()))


def check_status(cluster):
    told = state(cluster)
    assert told["converged"] and told["pairs"] == told["pairs_in_cluster"] == 192, {**told, "list": 0}
    assert told["identical_as_of_age_ms"] < 60000
    driven = [pair for pair in told["list"] if pair["driven"]]
    assert len(driven) == 192 and all(pair["identical_as_of_ms"] > 0 for pair in driven)
    text = coterie(cluster, "status").stdout
    assert "all 192 pairs identical as of" in text, text
    wait_for("64 pairs with n3 to be identical by the metrics", lambda: cluster.nodes[0].metric(
        'coterie_anti_entropy_peer_pairs_identical{peer="n3"}') == 64)


def catches(pid, number):
    """It has a handler for the signal."""
    with open("/proc/%d/status" % pid) as status:
        mask, = (line.split()[1] for line in status if line.startswith("SigCgt:"))
    return int(mask, 16) >> (number - 1) & 1


def check_detach(cluster):
    """With n3 away a repair cannot end soon: Ctrl-C leaves it running, another command ends it."""
    n1, n2, n3 = cluster.nodes
    n3.terminate()
    wait_for("n3 to be seen down", lambda: n1.alive_nodes() == 2 and n2.alive_nodes() == 2)
    environment = dict(os.environ, COTERIE_ENDPOINTS="%s,%s" % (n1.endpoint, n2.endpoint))
    command = subprocess.Popen([COTERIE, "repair", "--wait"], env=environment, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    wait_for("it to wait", lambda: catches(command.pid, signal.SIGINT))
    command.send_signal(signal.SIGINT)
    out, told = command.communicate(timeout=60)
    assert command.returncode == 1 and "detached" in told, (command.returncode, out, told)
    name = told.split("coterie repair status ")[1].split()[0]
    running = subprocess.run([COTERIE, "repair", "status", name], env=environment, capture_output=True, text=True)
    assert "running" in running.stdout, running
    ended = subprocess.run([COTERIE, "repair", "cancel", name], env=environment, capture_output=True, text=True)
    assert ended.returncode == 0 and "cancelled" in ended.stdout, ended
    assert "not asked: n3" in told, told
    print("with n3 away: detached, looked at, ended")


def check_failure(cluster):
    """What cannot be compared is told, and the exit is 5."""
    n1 = cluster.nodes[0]
    environment = dict(os.environ, COTERIE_ENDPOINTS=n1.endpoint)
    done = subprocess.run([COTERIE, "repair", "--wait", "--node", "n1", "-o", "json"], env=environment,
                          capture_output=True, text=True, timeout=120)
    told = json.loads(done.stdout)["nodes"][0]
    assert done.returncode == 5 and told["ranges_failed"] == 64 and told["ranges_done"] == 64, (done, told)
    assert not state(cluster, code=5)["converged"]
    assert "compares with node n3, which is down" in coterie(cluster, "status", code=5).stdout


def main():
    with Cluster(3) as cluster:
        cluster.start()
        behind_by_hand(cluster)
        check_repair(cluster, check_difference(cluster))
        check_status(cluster)
        check_detach(cluster)
        check_failure(cluster)


if __name__ == "__main__":
    main()
