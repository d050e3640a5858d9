"""Rules: docs/kubernetes.md, "More nodes, fewer nodes" and "What happens when", played with the rendered StatefulSet.
Pods beyond the founders join by themselves; addresses may all change at once; a pod that goes is drained and never
decommissioned; who was decommissioned does not come back with its claim, and comes as a new member without; a joined
pod whose claim is lost comes back as a new member when its old one was given up; a founder's as the member that it
was. Under a client's load through the service no acknowledged write is lost, and none fails twice.

Commands are run in the pods (kubectl exec). tests/deploy/kubelet.py says what is played of Kubernetes. Needs root and
iproute2 (else skipped). With --show each command and its output is printed as the page has them.
"""

import hashlib
import json
import os
import re
import sys
import threading
import time

import manifest
from manifest import at, container, only, pod_template

manifest.need_kubectl()
from kubelet import Controller  # noqa: E402
from test_pods import put_once  # noqa: E402
from cluster import grpc, kv, wait_for  # noqa: E402
from network import enter_hub, need_namespaces  # noqa: E402

ZONES = ["zone-a", "zone-b", "zone-c"]
FOUNDERS, MACHINES = 3, 5
NOT_WANTED = 78
KEYS = 300
SHOW = "--show" in sys.argv
PAGE = os.path.join(manifest.ROOT, "docs/kubernetes.md")


played = {}  # command, as the page would have it -> shapes of the lines that it has printed


def shape(line):
    """Without what differs from run to run: figures, units, the width of columns."""
    line = re.sub(r"\b\d+(\.\d+)?( ([KMG]i)?B\b)?", "#", line)
    return " ".join(re.sub(r"# -> #|#, #", "#", line).split())


def show(command, output=""):
    lines = output.splitlines()
    played.setdefault(command, set()).update(shape(line) for line in lines)
    if SHOW:
        print("".join("    %s\n" % line for line in ["$ " + command] + lines), flush=True)


def execute(pod, *words, code=0):
    done = pod.execute("coterie", *words)
    show("kubectl -n coterie exec %s -- coterie %s" % (pod.name, " ".join(words)), done.stdout + done.stderr)
    assert done.returncode == code, (words, done)
    return done.stdout + done.stderr


def scale(cluster, replicas):
    show("kubectl -n coterie scale statefulset coterie --replicas=%d" % replicas)
    return cluster.scale(replicas)


def logs(pod):
    said = pod.log_tail(1)
    show("kubectl -n coterie logs %s --tail=1" % pod.name, said)
    return said


def delete_claim(cluster, pod):
    show("kubectl -n coterie delete pvc data-%s" % pod.name)
    cluster.delete_claim(pod)


def shown(page):
    """(command, lines) of each command that the page shows as "$ ...", with what follows it."""
    for block in re.findall(r"(?m)(?:^    .*\n|^\n(?=    ))+", page):
        for part in re.split(r"(?m)^    \$ ", block)[1:]:
            command, *lines = part.splitlines()
            yield command, [line.strip() for line in lines if line.strip() not in ("", "...")]


def nodes(pod):
    """name -> what the cluster says of it, of those that are members."""
    done = pod.execute("coterie", "nodes", "-o", "json")
    listed = json.loads(done.stdout)["nodes"] if done.returncode == 0 else []
    return {node["name"]: node for node in listed if node["state"] not in ("removed", "gone")}


def change(pod):
    done = pod.execute("coterie", "changes", "-o", "json")
    return json.loads(done.stdout)["change"]["state"] if done.returncode == 0 else "unknown"


def members(pod):
    return {name: node["number"] for name, node in nodes(pod).items()}


def wait_ready(cluster, seconds=90):
    wait_for("all pods to be ready", lambda: len(cluster.ready_pods()) == cluster.stateful()["replicas"], seconds)


def wait_settled(pod, names, seconds=90):
    """Exactly these are members, all alive and none on its way."""
    def settled():
        found = nodes(pod)
        return sorted(found) == sorted(names) and change(pod) == "none" and all(
            node["liveness"] == "alive" and node["state"] == "normal" for node in found.values())
    wait_for("%s to be the members" % ", ".join(names), settled, seconds)


class Client(threading.Thread):
    """Puts through the service, 40 a second, each through a pod that is ready; what was not acknowledged there is tried
    once more through another one, under the same request id, as every client should. Remembers what was acknowledged,
    what only the second time, and what was not."""

    def __init__(self, cluster):
        super().__init__(daemon=True)
        self.cluster, self.acknowledged, self.again, self.errors = cluster, [], [], []
        self.stopping = False
        self.start()

    def run(self):
        number = 0
        while not self.stopping:
            number += 1
            key = b"load %d" % number
            for attempt in range(2):
                ready = self.cluster.ready_pods()
                error = self.put(ready[(number + attempt) % len(ready)], key) if ready else "no pod is ready"
                if error is None:
                    self.acknowledged.append(key)
                    break
                self.again.append(error)
            else:
                self.errors.append(error)
            time.sleep(0.025)

    def put(self, pod, key):
        try:
            pod.put(key, b"of " + key, timeout=20, request_id=hashlib.md5(key).digest())
            return None
        except (grpc.RpcError, ValueError) as error:  # ValueError: its channel was closed meanwhile
            return "%s: %s" % (pod.name, error.details() if isinstance(error, grpc.RpcError) else error)

    def end(self, errors_max=0, leaves=None):
        """A pod that leaves for good may be asked until it is seen to have ended: that is tried again at another."""
        self.stopping = True
        self.join()
        assert len(self.errors) <= errors_max, self.errors[:3]
        stay = [error for error in self.again if leaves is None or not error.startswith(leaves.name + ": ")]
        assert len(stay) <= 2 + len(self.acknowledged) / 50, stay[:3]
        for error in self.again:
            print("    tried again: %s" % error)
        return len(self.acknowledged)


def check_values(pods, keys):
    for pod in pods:
        for first in range(0, len(keys), 500):
            request = kv.BatchGetRequest(keys=keys[first:first + 500])
            for item in pod.kv.BatchGet(request, timeout=30).items:
                assert [value.value for value in item.result.values] == [b"of " + item.key], (pod.name, item)


# -- the steps, in their order


def founders_start_together(cluster):
    cluster.reconcile()
    wait_ready(cluster)
    first = cluster.nodes[0]
    names = [pod.name for pod in cluster.pods()]
    wait_settled(first, names)
    assert members(first) == {name: number + 1 for number, name in enumerate(names)}
    print("three founders ready after %s s" % ", ".join("%.1f" % pod.kubelet.ready_after for pod in cluster.pods()))
    for number in range(KEYS):
        key = b"key %d" % number
        wait_for("a put", lambda: put_once(cluster.nodes[number % FOUNDERS], key), 30)


def zones_are_said(cluster):
    """The founders' list has none. Three nodes, three copies: nothing moves."""
    first = cluster.nodes[0]
    for pod in cluster.nodes[:FOUNDERS]:
        execute(first, "zone", pod.name, pod.zone)
    said = execute(first, "commit", "--yes", "--wait")
    assert "moves     0 copies" in said, said
    assert {name: node["zone"] for name, node in nodes(first).items()} == {
        pod.name: pod.zone for pod in cluster.nodes[:FOUNDERS]}


def scale_up_joins_by_itself(cluster):
    first = cluster.nodes[0]
    client = Client(cluster)
    began = time.monotonic()
    scale(cluster, 5)
    wait_ready(cluster)
    new = cluster.nodes[FOUNDERS:]
    ready = [pod.kubelet.ready_after for pod in new]
    names = [pod.name for pod in cluster.pods()]
    wait_for("the move to begin", lambda: change(first) == "running", 30)
    execute(first, "changes")
    execute(first, "changes", "--wait")
    wait_settled(first, names)
    took = time.monotonic() - began
    execute(first, "nodes")
    found = nodes(first)
    for pod in new:
        assert pod.kubelet.exits == [] and pod.kubelet.probe_kills == 0, pod.log_tail()
        assert found[pod.name]["zone"] == pod.zone and found[pod.name]["partitions_owned"] > 0, found[pod.name]
        assert found[pod.name]["peer_address"].startswith(pod.name + ".coterie-peers:"), found[pod.name]
    done = client.end()
    check_values(cluster.nodes, [b"key %d" % i for i in range(KEYS)] + client.acknowledged)
    print("two joined: ready after %.1f and %.1f s, all moved after %.1f s; %d writes meanwhile, no error" % (
        ready[0], ready[1], took, done))


def scaling_down_alone_drains_and_removes_nobody(cluster):
    first, last = cluster.nodes[0], cluster.nodes[4]
    before = members(first)
    client = Client(cluster)
    sleep_s = int(at(container(cluster.objects), "lifecycle preStop exec command 1"))
    grace_s = at(pod_template(cluster.objects), "spec terminationGracePeriodSeconds")
    seen = []
    began = time.monotonic()

    def served_while_it_ends():
        """Through the address, a moment before SIGTERM: connections that are open still work."""
        time.sleep(sleep_s - 2)
        served = any(put_once(last, b"through a pod that ends") is not None for _ in range(3))
        seen.append((last.ready, served, time.monotonic() - began))
    look = threading.Thread(target=served_while_it_ends)
    look.start()
    told = cluster.scale(4)
    look.join()
    code, took = told[last.name]
    assert seen[0][:2] == (False, True), seen
    assert code == 0 and "clean=yes" in last.log_tail(), (code, last.log_tail())
    assert sleep_s <= took < grace_s, took
    assert "decommission" not in last.log_tail(100)
    # It is a member as before, only down; nothing moves.
    wait_for("the others to notice", lambda: nodes(first)[last.name]["liveness"] == "down", 30)
    node = nodes(first)[last.name]
    assert node["state"] == "normal" and node["partitions_owned"] > 0 and change(first) == "none", node
    execute(first, "status", code=5)
    done = client.end()
    cluster.scale(5)
    wait_ready(cluster)
    wait_settled(first, before)
    assert members(first) == before
    check_values(cluster.nodes, client.acknowledged + [b"through a pod that ends"])
    print("scaled down alone: %s ended with %d after %.1f s, still a member, and back with its claim; %d writes "
          "meanwhile, no error" % (last.name, code, took, done))


def all_addresses_change_at_once(cluster):
    first = cluster.nodes[0]
    before, hosts = members(first), [pod.host for pod in cluster.pods()]
    began = time.monotonic()
    cluster.fail_all()
    assert all(pod.host != host for pod, host in zip(cluster.pods(), hosts)) and sorted(hosts) == sorted(
        pod.host for pod in cluster.pods())
    wait_ready(cluster)
    ready = time.monotonic() - began
    wait_settled(first, before)
    took = time.monotonic() - began
    assert members(first) == before
    check_values(cluster.nodes, [b"key %d" % i for i in range(KEYS)])
    print("five pods killed at once, each back under the address of another: all ready after %.1f s, all alive after "
          "%.1f s" % (ready, took))


def decommissioned_then_scaled_down(cluster):
    first, last = cluster.nodes[0], cluster.nodes[4]
    client = Client(cluster)
    execute(first, "decommission", last.name, "--dry-run")
    said = execute(first, "decommission", last.name, "--yes", "--wait")
    assert "the change is over" in said, said
    assert last.name not in nodes(first)
    exits = last.kubelet.exits
    wait_for("the container to be started again in vain", lambda: len(exits) >= 2, 60)
    assert set(exits) == {NOT_WANTED} and not last.ready, exits
    scale(cluster, 4)
    wait_settled(first, [pod.name for pod in cluster.pods()])
    done = client.end(errors_max=1, leaves=last)
    if client.errors:
        print("    a write was refused: %s" % client.errors[0])
    check_values(cluster.pods(), client.acknowledged)
    print("decommissioned, exits %s, scaled down; %d writes meanwhile, %d error" % (
        exits, done, len(client.errors)))


def removed_claim_is_refused(cluster):
    first, last = cluster.nodes[0], cluster.nodes[4]
    cluster.scale(5)
    wait_for("its refusal", lambda: last.kubelet.exits, 60)
    assert set(last.kubelet.exits) == {NOT_WANTED} and not last.ready, last.kubelet.exits
    said = logs(last)
    assert "removed from the cluster" in said and "empty --data-dir" in said, said
    assert last.name not in nodes(first) and change(first) == "none"
    # Without its claim it is a new member.
    scale(cluster, 4)
    delete_claim(cluster, last)
    scale(cluster, 5)
    wait_ready(cluster)
    wait_settled(first, [pod.name for pod in cluster.pods()])
    assert members(first)[last.name] == 6, members(first)
    check_values([last], [b"key %d" % i for i in range(KEYS)])
    print("back with the claim of who was decommissioned: exit %d; without: a new member" % NOT_WANTED)


def joined_pod_that_lost_its_claim(cluster):
    first, lost = cluster.nodes[0], cluster.nodes[3]
    lost.kubelet.fail()
    lost.kubelet = None
    cluster.delete_claim(lost)
    cluster.reconcile()
    wait_for("its refusal", lambda: lost.kubelet.exits, 60)
    assert set(lost.kubelet.exits) == {1}, lost.kubelet.exits
    assert "coterie replace " + lost.name in logs(lost), lost.log_tail(3)
    wait_for("the others to notice", lambda: nodes(first)[lost.name]["liveness"] == "down", 30)
    execute(first, "replace", lost.name)
    wait_ready(cluster)  # at its next start it gets a place of its own
    said = execute(first, "commit", "--yes", "--wait")
    assert "is gone for good" in said and "joins" in said, said
    wait_settled(first, [pod.name for pod in cluster.pods()])
    assert members(first)[lost.name] == 7, members(first)
    check_values([lost], [b"key %d" % i for i in range(KEYS)])
    print("a joined pod without its claim: refused with 1, and a new member after coterie replace")


def founder_that_lost_its_claim(cluster):
    first, lost = cluster.nodes[0], cluster.nodes[1]
    before = members(first)
    lost.kubelet.fail()
    lost.kubelet = None
    cluster.delete_claim(lost)
    cluster.reconcile()
    wait_ready(cluster)
    wait_settled(first, before)
    assert members(first) == before and "identity_renewed" in lost.log_tail(400)
    endpoints = ",".join("%s.coterie-peers:7700" % pod.name for pod in cluster.pods())

    def same():
        return lost.execute("coterie", "--endpoints", endpoints, "digest").returncode == 0
    wait_for("all copies to be the same", same, 90)
    check_values([lost], [b"key %d" % i for i in range(KEYS)])
    print("a founder without its claim: the member that it was, filled again")


def page_shows_what_was_played(cluster):
    """Each command on the page that is shown with its output was run above, and has printed such lines."""
    with open(PAGE) as file:
        page = file.read()
    some = list(shown(page))
    assert len(some) >= 10, some
    for command, lines in some + [("kubectl -n coterie get nothing", []), (some[0][0], ["that nobody has said"])]:
        good = command in played and all(shape(line) in played[command] for line in lines)
        wrong = (command, lines) not in some
        assert good != wrong, (command, [line for line in lines if shape(line) not in played.get(command, ())])
    print("%d commands of the page, as they were played" % len(some))


STEPS = [founders_start_together, zones_are_said, scale_up_joins_by_itself, scaling_down_alone_drains_and_removes_nobody,
         all_addresses_change_at_once, decommissioned_then_scaled_down, removed_claim_is_refused,
         joined_pod_that_lost_its_claim, founder_that_lost_its_claim, page_shows_what_was_played]


def main():
    need_namespaces(mounts=True)
    enter_hub()
    with Controller("overlays/production", MACHINES, ZONES) as cluster:
        for step in STEPS:
            began = time.monotonic()
            try:
                step(cluster)
            except BaseException:
                print("FAILED %s after %.1f s" % (step.__name__, time.monotonic() - began))
                for pod in cluster.pods():
                    print("---- %s, exits %s\n%s" % (pod.name, pod.kubelet.exits, pod.log_tail(12)))
                raise
    return 0


if __name__ == "__main__":
    sys.exit(main())
