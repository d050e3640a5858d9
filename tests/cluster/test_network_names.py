"""Rule (network.py): names of network namespaces that a killed test has left are cleared by the next one; those of tests
that run, and those of others, stay.
"""

import os
import subprocess
import sys

from network import NAMES, clear_names_of_the_dead, ip, need_namespaces


def names():
    return set(os.listdir(NAMES))


def main():
    need_namespaces()
    dead = subprocess.Popen(["true"])
    dead.wait()
    left = {"coterie-%d-hub" % dead.pid, "coterie-%d-n12" % dead.pid, "coterie-probe-%d" % dead.pid}
    stay = {"coterie-%d-n1" % os.getpid(), "coterie-of-%d-others" % dead.pid}
    try:
        for name in left | stay:
            ip("netns", "add", name)
        cleared = set(clear_names_of_the_dead())  # others may be cleared here, and these by a test that begins just now
        assert not left & names() and stay <= names(), names()
        assert not left & set(clear_names_of_the_dead()), "there is nothing left to clear"
    finally:
        for name in left | stay:
            ip("netns", "del", name, check=False)
    print("ok: %d names of processes that are gone were cleared" % len(cleared))
    return 0


if __name__ == "__main__":
    sys.exit(main())
