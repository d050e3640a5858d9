"""Nodes that have a network between them: each in a network namespace of its own, all on one bridge, links cut
and healed one way at a time. Needs root and iproute2: begin with `need_namespaces()`.

A cut is silent, as in a broken switch: the neighbour's address is bound to one that nobody has, so frames leave
and arrive nowhere. Names carry the test's pid and are removed at the end; those of a test that was killed, by the next one.
"""

import atexit
import json
import os
import re
import shutil
import subprocess
import sys

from cluster import Cluster, Node, skip

NOBODY = "02:00:00:00:00:ff"
CLIENT_PORT, PEER_PORT, HTTP_PORT = 7700, 7701, 7702
NAMES = "/run/netns"  # of all namespaces; also of those that another test has made inside of its own
OURS = re.compile(r"coterie-(?:probe-)?(\d+)(?:-hub|-n\d+)?$")


def inside(space):
    """What a command begins with to run in there. `ip netns exec` and `ip -n` also mount /sys anew, which fails where / is no
    mount of its own (a chroot)."""
    return ["nsenter", "--net=" + os.path.join(NAMES, space), "--"]


def ip(*words, space=None, check=True):
    command = (inside(space) if space is not None else []) + ["ip"] + list(words)
    return subprocess.run(command, check=check, stdout=subprocess.DEVNULL,
                          stderr=None if check else subprocess.DEVNULL).returncode == 0


def clear_names_of_the_dead():
    """A name holds its namespace for ever, and whoever made it may have been killed. Processes that are still in one
    keep it without its name."""
    cleared = []
    for name in sorted(os.listdir(NAMES)) if os.path.isdir(NAMES) else []:
        owner = OURS.match(name)
        if owner is not None and not os.path.exists("/proc/" + owner[1]) and ip("netns", "del", name, check=False):
            cleared.append(name)
    return cleared


def namespaces_can_be_made():
    probe = "coterie-probe-%d" % os.getpid()
    made = os.geteuid() == 0 and shutil.which("ip") is not None and ip("netns", "add", probe, check=False)
    return made and ip("netns", "del", probe, check=False)


def mounts_can_be_made():
    """A mount namespace of one's own begins with / being changed, which has to be a mount for that: in a chroot it is when
    the folder was bound onto itself (mount --bind)."""
    with open("/proc/self/mountinfo") as mounts:
        return any(line.split()[4] == "/" for line in mounts)


def need_namespaces(mounts=False):
    """Ends the test as skipped, and says why, on a machine that has none; `mounts`: or where none of mounts can be made."""
    if not namespaces_can_be_made():
        skip("this needs root and network namespaces (ip netns)")
    if mounts and not mounts_can_be_made():
        skip("/ is no mount; in a chroot, mount --bind the folder onto itself first")


def enter_hub():
    """Runs this program again inside a namespace that will hold the bridge; there it goes on."""
    hub = os.environ.get("COTERIE_TEST_HUB")
    if hub is not None:
        return hub
    clear_names_of_the_dead()
    hub = "coterie-%d-hub" % os.getpid()
    ip("netns", "add", hub)
    environment = dict(os.environ, COTERIE_TEST_HUB=hub)
    try:
        code = subprocess.call(inside(hub) + [sys.executable] + sys.argv, env=environment)
    finally:
        ip("netns", "del", hub, check=False)
    sys.exit(code)


class NetworkCluster(Cluster):
    """Call enter_hub() first. Node i is 10.77.0.(10 + i)."""

    def make_nodes(self, count):
        self.prefix = "coterie-%d" % os.getpid()
        self.namespaces = []
        atexit.register(self.remove_namespaces)
        ip("link", "set", "lo", "up")
        ip("link", "add", "bridge0", "type", "bridge")
        ip("addr", "add", "10.77.0.1/24", "dev", "bridge0")
        ip("link", "set", "bridge0", "up")
        nodes = []
        for i in range(count):
            name, space, host = "n%d" % (i + 1), "%s-n%d" % (self.prefix, i + 1), "10.77.0.%d" % (10 + i)
            ip("netns", "add", space)
            self.namespaces.append(space)
            ip("link", "add", "port%d" % i, "type", "veth", "peer", "name", "eth0", "netns", space)
            ip("link", "set", "port%d" % i, "master", "bridge0", "up")
            ip("addr", "add", host + "/24", "dev", "eth0", space=space)
            ip("link", "set", "eth0", "up", space=space)
            ip("link", "set", "lo", "up", space=space)
            node = Node(self, name, (CLIENT_PORT, PEER_PORT, HTTP_PORT), host)
            node.space = space
            node.wrapper = inside(space)
            nodes.append(node)
        return nodes

    def cut_one_way(self, source, target):
        """Nothing that `source` sends arrives at `target`; the other direction works."""
        ip("neigh", "replace", target.host, "lladdr", NOBODY, "dev", "eth0", "nud", "permanent", space=source.space)

    def heal_one_way(self, source, target):
        ip("neigh", "del", target.host, "dev", "eth0", space=source.space, check=False)

    def cut(self, a, b):
        self.cut_one_way(a, b)
        self.cut_one_way(b, a)

    def isolate(self, node):
        """From the other nodes; clients still reach it."""
        for other in self.nodes:
            if other is not node:
                self.cut(node, other)

    def heal(self):
        for a in self.nodes:
            for b in self.nodes:
                if a is not b:
                    self.heal_one_way(a, b)

    def remove_namespaces(self):
        for space in self.namespaces:
            ip("netns", "del", space, check=False)


class CenterCluster(NetworkCluster):
    """Two data centres, dc1 and dc2, of `per_center` nodes each: a switch of its own for each, and one link between them,
    which can be cut and says how much has gone over it. Clients reach every node without it."""

    def __init__(self, per_center, flags=()):
        self.per_center = per_center
        super().__init__(2 * per_center, flags)

    def make_nodes(self, count):
        nodes = super().make_nodes(count)
        with open("/proc/sys/net/ipv4/conf/all/arp_ignore", "w") as arp:
            arp.write("1")  # each switch has an address of its own here
        ip("link", "add", "bridge1", "type", "bridge")
        ip("addr", "add", "10.77.0.2/24", "dev", "bridge1")
        ip("link", "set", "bridge1", "up")
        ip("link", "add", "wan0", "type", "veth", "peer", "name", "wan1")
        ip("link", "set", "wan0", "master", "bridge0", "up")
        ip("link", "set", "wan1", "master", "bridge1", "up")
        for i, node in enumerate(nodes):
            node.center = "dc%d" % (1 + i // self.per_center)
            if node.center == "dc2":
                ip("link", "set", "port%d" % i, "master", "bridge1")
                ip("route", "add", node.host + "/32", "dev", "bridge1", "src", "10.77.0.2")
        return nodes

    def initial_cluster(self):
        return ",".join("%s=%s:%d;dc=%s" % (n.name, n.host, n.peer_port, n.center) for n in self.nodes)

    def in_center(self, center):
        return [node for node in self.nodes if node.center == center]

    def cut_centers(self):
        """Silent, as when a line breaks between two routers."""
        ip("link", "set", "wan0", "nomaster")

    def heal_centers(self):
        ip("link", "set", "wan0", "master", "bridge0")

    def bytes_between(self):
        told = subprocess.run(["ip", "-s", "-j", "link", "show", "wan0"], check=True, stdout=subprocess.PIPE).stdout
        figures = json.loads(told)[0]["stats64"]
        return figures["tx"]["bytes"] + figures["rx"]["bytes"]

    def close(self):
        super().close()
        self.remove_namespaces()

    def remove_namespaces(self):
        super().remove_namespaces()
        for link in ("wan0", "bridge1", "bridge0"):
            ip("link", "del", link, check=False)
