"""Rule: the systemd unit is one that systemd accepts, gives coteried few rights and all that it needs: what coteried
really asks the kernel for while it serves and stops is within the unit's filter. systemd.service(5), systemd.exec(5);
exits of `coteried --help`. Each check is tried on broken units first.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile

import manifest

sys.path.insert(0, os.path.join(manifest.ROOT, "tests/cluster"))

FOLDER = os.path.join(manifest.ROOT, "deploy/systemd")
COTERIED = os.environ.get("COTERIED", os.path.join(manifest.ROOT, "build/dev/coteried"))
EXPOSURE_MAX = 15  # of 100, as systemd-analyze security weighs it
SETTINGS = "coterie.yaml"


def read(name):
    with open(os.path.join(FOLDER, name)) as file:
        return file.read()


def run(*words, code=0, **more):
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, **more)
    assert done.returncode == code, "%s: exit %d\n%s%s" % (
        " ".join(words), done.returncode, done.stdout[-300:], done.stderr)
    return done.stdout


def option(unit, name):
    """All values of an option, in order."""
    return re.findall(r"(?m)^%s=(.*)$" % name, unit)


def one(unit, name):
    value, = option(unit, name)
    return value


def written(folder, unit):
    path = os.path.join(folder, "coteried.service")
    with open(path, "w") as file:
        file.write(unit.replace("/usr/bin/coteried", COTERIED))
    return path


def systemd_accepts(unit, folder):
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", written(folder, unit)], capture_output=True,
                          text=True)
    assert done.returncode == 0 and "coteried.service" not in done.stderr, done.stderr


def exposes_little(unit, folder):
    run("systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=%d" % EXPOSURE_MAX,
        written(folder, unit))


def settings_are_taken(unit, folder):
    """The file that the unit names is the one beside it; coteried takes it; the data is in the unit's folder."""
    program, flag, file = one(unit, "ExecStart").split()
    assert (program, flag, os.path.basename(file)) == ("/usr/bin/coteried", "--config", SETTINGS)
    told = run(COTERIED, "--config", os.path.join(FOLDER, SETTINGS), "config", "print", env={})
    assert one(unit, "WorkingDirectory") == "/var/lib/" + one(unit, "StateDirectory")
    assert 'data-dir: "%s"\n' % one(unit, "WorkingDirectory") in told, told
    assert one(unit, "StateDirectoryMode") == "0700" and one(unit, "UMask") == "0077"


def stops_gently(unit, folder):
    """SIGTERM to the daemon, and time to drain, sync and close."""
    drain_ms = int(re.search(r"drain-ms: (\d+)", read(SETTINGS)).group(1))
    assert one(unit, "KillMode") == "mixed" and not option(unit, "KillSignal")
    assert int(one(unit, "TimeoutStopSec")) >= drain_ms / 1000 + 1 + 15
    assert one(unit, "ExecReload") == "/bin/kill -HUP $MAINPID"


def restarts_what_may_be_better_next_time(unit, folder):
    """Not bad settings, a failed disk, or a node that its cluster will not have: their exits are told by coteried --help."""
    exits = dict(re.findall(r"(\d+) ([a-z ]+[a-z])", run(COTERIED, "--help").split("exits:")[1]))
    final = [number for number, why in exits.items() if why in ("bad settings", "the disk failed", "not wanted")]
    assert one(unit, "Restart") == "on-failure" and one(unit, "RestartPreventExitStatus").split() == final, exits


def user_is_made(unit, folder):
    made = run("systemd-sysusers", "--dry-run", os.path.join(FOLDER, "coterie.conf"))
    user = re.search(r"(?m)^u (\S+) - ", read("coterie.conf")).group(1)
    assert one(unit, "User") == one(unit, "Group") == user, made


def system_calls(unit):
    """What the filter lets through: @groups taken apart, ~ taken away."""
    def members(group):
        found = set()
        for line in run("systemd-analyze", "syscall-filter", "--no-pager", group).splitlines()[1:]:
            name = line.strip()
            if name.startswith("@"):
                found |= members(name)
            elif name and not name.startswith("#"):
                found.add(name)
        return found
    allowed = set()
    for value in option(unit, "SystemCallFilter"):
        for word in value.lstrip("~").split():
            names = members(word) if word.startswith("@") else {word}
            allowed = allowed - names if value.startswith("~") else allowed | names
    return allowed


def traced_calls(folder):
    """Every kernel call of a node that starts, answers a put and a get, and stops; and its sockets' families."""
    from cluster import Cluster
    trace = os.path.join(folder, "trace")
    with Cluster(1) as cluster:
        node, = cluster.nodes
        node.wrapper = ["strace", "-f", "-qq", "-o", trace]
        node.start().wait_serving(120)
        node.put(b"key", b"value", timeout=30)
        assert node.get(b"key", timeout=30).found
        with open("/proc/%d/task/%d/children" % (node.process.pid, node.process.pid)) as children:
            os.kill(int(children.read().split()[0]), 15)
        assert node.process.wait(60) == 0
        node.process = None
    with open(trace) as file:
        text = file.read()
    calls = set(re.findall(r"(?m)^\d+ +(\w+)\(", text)) - {"execve"}
    families = set(re.findall(r"(?m)^\d+ +socket\((AF_\w+)", text))
    assert len(calls) > 40 and calls & {"fdatasync", "fsync"} and families, calls
    return calls, families


class Traced:
    calls = families = None


def filter_lets_it_work(unit, folder):
    if Traced.calls is None:
        Traced.calls, Traced.families = traced_calls(folder)
    refused = Traced.calls - system_calls(unit)
    assert not refused, "the filter refuses %s" % sorted(refused)
    refused = Traced.families - set(one(unit, "RestrictAddressFamilies").split())
    assert not refused, "no sockets of %s" % sorted(refused)


# (check, what breaks it: text of the unit, its replacement)
CHECKS = [
    (systemd_accepts, [("ExecStart=/usr/bin/coteried", "ExecStart=/usr/bin/none"), ("Type=exec", "Typ=exec"),
                       ("KillMode=mixed", "KillMode=gentle")]),
    (exposes_little, [("CapabilityBoundingSet=\n", ""), ("ProtectSystem=strict\n", ""), ("User=coterie\n", "")]),
    (settings_are_taken, [("StateDirectory=coterie", "StateDirectory=data"), ("coterie.yaml\n# The", "c.yaml\n# The"),
                          ("UMask=0077", "UMask=0022")]),
    (stops_gently, [("TimeoutStopSec=60", "TimeoutStopSec=10"), ("KillMode=mixed", "KillMode=process"),
                    ("-HUP", "-USR1")]),
    (restarts_what_may_be_better_next_time, [("Status=2 74", "Status=2"), ("Restart=on-failure", "Restart=no")]),
    (user_is_made, [("User=coterie", "User=root")]),
    (filter_lets_it_work, [("~@privileged", "~@file-system"), ("@system-service", "@basic-io"), ("AF_INET ", ""),
                           ("~@privileged", "~membarrier")]),
]


def refuses(check, unit, folder):
    try:
        check(unit, folder)
    except (AssertionError, ValueError):
        return True
    return False


def main():
    for tool in ("systemd-analyze", "systemd-sysusers", "strace"):
        if shutil.which(tool) is None:
            print("skipped: there is no %s here; it is of Debian's packages systemd and strace" % tool)
            return manifest.SKIPPED
    unit = read("coteried.service")
    failures = refusals = 0
    with tempfile.TemporaryDirectory(prefix="coterie-unit-") as folder:
        for check, breaks in CHECKS:
            try:
                check(unit, folder)
                for text, other in breaks:
                    assert text in unit, "no %r in the unit" % text
                    assert refuses(check, unit.replace(text, other, 1), folder), "does not notice %r" % other
                    refusals += 1
            except Exception as error:  # the others are still worth playing
                failures += 1
                print("FAILED %s: %s: %s" % (check.__name__, type(error).__name__, error))
    print("%d checks, %d failed; %d broken units refused; %d kinds of kernel calls" % (
        len(CHECKS), failures, refusals, len(Traced.calls or ())))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
