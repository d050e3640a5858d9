"""Starts three nodes and plays node/client.test.js against them. Packages are installed, as the lock file says,
into the folder given as first argument (below the build folder), never into the source tree."""

import os
import shutil
import subprocess
import sys

from harness import Cluster

SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "node")
PROTO = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(SOURCE))), "proto")


def install(folder):
    """npm ci, unless the same lock file has been installed there before."""
    os.makedirs(folder, exist_ok=True)
    lock = os.path.join(folder, "package-lock.json")
    marker = os.path.join(folder, "node_modules", ".installed")
    with open(os.path.join(SOURCE, "package-lock.json"), "rb") as file:
        wanted = file.read()
    fresh = os.path.exists(marker) and open(marker, "rb").read() == wanted
    for name in os.listdir(SOURCE):
        shutil.copy(os.path.join(SOURCE, name), folder)
    if fresh:
        return
    subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"],
                   cwd=folder, check=True, timeout=600)
    shutil.copy(lock, marker)


def main():
    folder = os.path.abspath(sys.argv[1])
    install(folder)
    with Cluster(3) as cluster:
        cluster.start()
        environment = dict(os.environ, PROTO=PROTO, ENDPOINTS=",".join(node.endpoint for node in cluster.nodes))
        return subprocess.run(["node", "--test", "client.test.js"], cwd=folder, env=environment,
                              timeout=300).returncode


if __name__ == "__main__":
    sys.exit(main())
