"""Rule: what the documents name is there: calls and reasons of the API, metrics, commands, tests and stories; and every
call and reason that there is stands in docs/api.md."""

import glob
import os
import re
import shutil
import subprocess
import tempfile
import urllib.request

from harness import main

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DOCUMENTS = [os.path.join(ROOT, "README.md"), *sorted(glob.glob(os.path.join(ROOT, "docs", "*.md")))]


def read(path):
    with open(os.path.join(ROOT, path)) as file:
        return file.read()


def everything(pattern, paths):
    """What the pattern finds, with one file that has it."""
    return {found: os.path.relpath(path, ROOT) for path in paths for found in re.findall(pattern, read(path))}


def test_calls(_):
    calls = everything(r"(?m)^  rpc (\w+)", glob.glob(os.path.join(ROOT, "proto/coterie/v1/*.proto")))
    assert len(calls) > 25, calls
    table = read("docs/api.md").split("## Reading and writing")[0]
    missing = [call for call in calls if not re.search(r"\b%s\b" % call, table)]
    assert not missing, missing


def test_reasons(_):
    sources = glob.glob(os.path.join(ROOT, "rpc", "*.c"))
    reasons = everything(r'(?:[.>]reason = |GRPC_STATUS_[A-Z_]+,\s+)"([A-Z_]+)"', sources)
    assert len(reasons) > 12, reasons
    ours = {"NOT_CONNECTED", "DENIED"}  # of the command line's own client; between nodes alone
    page = read("docs/api.md")
    missing = {reason: path for reason, path in reasons.items() if reason not in ours and reason not in page}
    assert not missing, missing


def test_metrics(cluster):
    named = everything(r"`(coterie_[a-z_]+)", DOCUMENTS)
    assert len(named) > 30, named
    node = cluster.nodes[0]
    page = urllib.request.urlopen("http://127.0.0.1:%d/metrics" % node.http_port, timeout=20).read().decode()
    served = set(re.findall(r"(?m)^# TYPE (coterie_\w+)", page))
    missing = {name: path for name, path in named.items() if name not in served}
    assert not missing, missing


def test_figures(cluster):
    """Whatever an actor counts is at /metrics, what it drops or refuses above all; but for what another name says already,
    and what only tests ask for."""
    silent = {
        "anti_entropy": {"explained", "identical_as_of_ms", "late", "renewals", "reports", "unexpected", "votes", "votes_renewed"},
        "coordinator": {"comparing", "duplicates", "in_flight", "unexpected"},
        "gossip": {"forgotten", "maps_merged", "proposals", "recalls", "unexpected"},
        "hints": {"held", "hints", "joined", "paused", "sent", "unexpected"},
        "reaper": {"differed"},
        "replica": {"held", "requests_remembered", "siblings_warned", "unexpected"},
    }
    page = urllib.request.urlopen("http://127.0.0.1:%d/metrics" % cluster.nodes[0].http_port, timeout=20).read().decode()
    served = set(re.findall(r"(?m)^# TYPE (coterie_\w+?)(?:_total)? ", page))
    counted = {}
    for header in glob.glob(os.path.join(ROOT, "actors", "*.h")):
        for actor, body in re.findall(r"(?s)struct (\w+)_figures \{(.*?)\n\};", read(header)):
            for field in re.findall(r"struct counter (\w+)", body):
                counted.setdefault({"hinted_handoff": "hints"}.get(actor, actor), set()).add(field)
    assert set(counted) == set(silent) and sum(map(len, counted.values())) > 150, counted
    for actor, fields in counted.items():
        missing = {field for field in fields if "coterie_%s_%s" % (actor, field) not in served}
        assert missing == silent[actor], (actor, missing ^ silent[actor])


def test_commands(_):
    """Each line "coterie ..." or "$ coterie ..." is a command that has help, with options that it knows."""
    found = everything(r"(?m)^    (?:\$ )?coterie (.*)", DOCUMENTS)
    assert len(found) > 40, found
    for line, path in found.items():
        words = re.sub(r"^(--endpoints \S+ )?", "", re.split(r"\s+#|\s+[|&]", line)[0]).split()
        help_of = next((done for done in (subprocess.run([os.environ["COTERIE"], *words[:count], "--help"],
                        capture_output=True, text=True) for count in (2, 1)) if done.returncode == 0
                        and not done.stdout.startswith("coterie --")), None)
        assert help_of is not None, (path, line)
        for option in re.findall(r"(?<=\s)--?[a-z][a-z-]*", " " + " ".join(words)):
            assert re.search(r"(?<![\w-])%s(?![\w-])" % option, help_of.stdout), (path, line, option)


def test_quickstart_help(_):
    """From any folder, and as an error where a word is misspelt; nothing is built or started."""
    script = os.path.join(ROOT, "deploy/quickstart")
    for word, code in (("--help", 0), ("-h", 0), ("help", 0), ("stpo", 2)):
        done = subprocess.run(["sh", script, word], capture_output=True, text=True, cwd="/", timeout=60)
        assert done.returncode == code, done
        assert "deploy/quickstart stop " in (done.stderr if code else done.stdout), done
        assert (done.stdout if code else done.stderr) == "", done
        assert code == 0 or 'there is no "stpo"' in done.stderr, done


def test_quickstart_stop(_):
    """Where nothing of it was ever started it says so, and does not speak of data that is not there."""
    with tempfile.TemporaryDirectory() as folder:
        os.mkdir(os.path.join(folder, "deploy"))
        script = shutil.copy(os.path.join(ROOT, "deploy/quickstart"), os.path.join(folder, "deploy"))
        for _ in range(2):
            done = subprocess.run(["sh", script, "stop"], capture_output=True, text=True)
            assert (done.returncode, done.stdout, done.stderr) == (0, "nothing of the quickstart runs\n", ""), done


def test_files(_):
    """Tests, stories and pages that a document names."""
    stories = {os.path.basename(path)[:2] for path in glob.glob(os.path.join(ROOT, "tests/scenario/*.txt"))}
    for path in DOCUMENTS:
        text = read(path)
        for name in re.findall(r"`(?:tests/\w+/)?(test_\w+\.(?:py|c))", text):
            assert glob.glob(os.path.join(ROOT, "tests", "*", name)), (path, name)
        for name in re.findall(r"\]\(([^)#:]+)", text):
            assert os.path.exists(os.path.join(os.path.dirname(path), name)), (path, name)
    told = re.findall(r"stor(?:y|ies) ((?:\d\d(?:, | to | and )?)+)", read("docs/coming-from.md"))
    numbers = {number for group in told for number in re.findall(r"\d\d", group)}
    assert len(numbers) > 15 and numbers <= stories, numbers - stories


if __name__ == "__main__":
    main(globals(), nodes=1)
