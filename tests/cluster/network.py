"""Nodes that have a network between them: each in a network namespace of its own, all on one bridge, links cut
and healed one way at a time. Needs root and iproute2; `available()` says whether this machine has both.

A cut is silent, as in a broken switch: the neighbour's address is bound to one that nobody has, so frames leave
and arrive nowhere. Names carry the test's pid and are removed at the end.
"""

import atexit
import os
import shutil
import subprocess
import sys

from cluster import Cluster, Node

NOBODY = "02:00:00:00:00:ff"
CLIENT_PORT, PEER_PORT, HTTP_PORT = 7700, 7701, 7702


def ip(*words, check=True):
    return subprocess.run(["ip"] + list(words), check=check, stdout=subprocess.DEVNULL,
                          stderr=None if check else subprocess.DEVNULL).returncode == 0


def available():
    probe = "coterie-probe-%d" % os.getpid()
    made = os.geteuid() == 0 and shutil.which("ip") is not None and ip("netns", "add", probe, check=False)
    return made and ip("netns", "del", probe, check=False)


def enter_hub():
    """Runs this program again inside a namespace that will hold the bridge; there it goes on."""
    hub = os.environ.get("COTERIE_TEST_HUB")
    if hub is not None:
        return hub
    hub = "coterie-%d-hub" % os.getpid()
    ip("netns", "add", hub)
    environment = dict(os.environ, COTERIE_TEST_HUB=hub)
    try:
        code = subprocess.call(["ip", "netns", "exec", hub, sys.executable] + sys.argv, env=environment)
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
            ip("-n", space, "addr", "add", host + "/24", "dev", "eth0")
            ip("-n", space, "link", "set", "eth0", "up")
            ip("-n", space, "link", "set", "lo", "up")
            node = Node(self, name, (CLIENT_PORT, PEER_PORT, HTTP_PORT), host)
            node.space = space
            node.wrapper = ["ip", "netns", "exec", space]
            nodes.append(node)
        return nodes

    def cut_one_way(self, source, target):
        """Nothing that `source` sends arrives at `target`; the other direction works."""
        ip("-n", source.space, "neigh", "replace", target.host, "lladdr", NOBODY, "dev", "eth0", "nud", "permanent")

    def heal_one_way(self, source, target):
        ip("-n", source.space, "neigh", "del", target.host, "dev", "eth0", check=False)

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
