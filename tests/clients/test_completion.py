"""Rule: what completes a command line is the same in zsh and in fish (test_cli.py plays bash): words of commands, their options,
values of options, and names of nodes and keyspaces that the cluster on the line has. Played by the shells themselves,
where they are installed."""

import os
import re
import shutil
import subprocess
import sys
import tempfile

from harness import Cluster

COTERIE = os.environ["COTERIE"]
SKIP = 77
# The shell's own line editor in a pseudo terminal; what is handed to compadd and fits is printed between < and >.
# The marks are typed in two parts: the terminal may echo what is typed before stty has been heard.
ZSH = r"""
zmodload zsh/zpty
zpty z zsh -f -i
zpty -w z "stty -echo; PS1=; fpath=($2 \$fpath); autoload -Uz compinit; compinit -u -D; $3"
zpty -w z 'compadd() { local -a fits; builtin compadd -O fits "$@"; print -r -- "<$fits>"; builtin compadd "$@"; }'
zpty -w z 'ended() { print "{""ended}"; }; zle -N ended; bindkey "^X" ended; bindkey "^I" complete-word; print "{""ready}"'
local out
while zpty -r z out; do [[ $out == *"{ready}"* ]] && break; done
zpty -w -n z "$1"$'\t\x18'
while zpty -r z out; do print -rn -- "$out"; [[ $out == *"{ended}"* ]] && break; done
zpty -d z
"""


class Shell:
    def __init__(self, folder):
        self.folder = folder
        self.environment = {"PATH": os.path.dirname(COTERIE) + ":" + os.environ["PATH"], "HOME": folder, "TERM": "xterm",
                            "XDG_CONFIG_HOME": folder, "XDG_DATA_HOME": folder}

    def script(self, name):
        return subprocess.run([COTERIE, "completion", name], check=True, capture_output=True, text=True).stdout

    def run(self, *command):
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=self.environment, cwd=self.folder)
        assert done.returncode == 0 and not done.stderr, (command[-1], done.stdout, done.stderr)
        return done.stdout


class Fish(Shell):
    def offered(self, line):
        path = os.path.join(self.folder, "coterie.fish")
        with open(path, "w") as file:
            file.write(self.script("fish"))
        out = self.run("fish", "--no-config", "-c", "source %s; complete -C $argv[1]" % path, "coterie " + line)
        return {row.split("\t")[0] for row in out.splitlines()}


class Zsh(Shell):
    """`sourced`: with source <(coterie completion zsh) after compinit, instead of a file _coterie in $fpath."""

    def __init__(self, folder, sourced):
        super().__init__(folder)
        self.sourced = sourced
        self.functions = os.path.join(folder, "functions")
        os.makedirs(self.functions, exist_ok=True)
        self.path = os.path.join(folder, "sourced.zsh") if sourced else os.path.join(self.functions, "_coterie")
        with open(self.path, "w") as file:
            file.write(self.script("zsh"))

    def offered(self, line):
        after = "source " + self.path if self.sourced else ""
        functions = "" if self.sourced else self.functions
        out = self.run("zsh", "-f", "-c", ZSH, "zsh", "coterie " + line, functions, after)
        return {word for words in re.findall(r"<([^<>]*)>", out) for word in words.split()}


def check(shell, endpoint):
    """As test_cli.sh and test_cli.py have it for bash."""
    exactly = {
        "keyspace ": {"create", "describe", "drop", "list"},
        "keyspace create x --durability p": {"periodic"},
        "-o json keyspace d": {"describe", "drop"},
        "completion ": {"bash", "zsh", "fish"},
        "hints pause --ta": {"--target"},
        "repair --wa": {"--wait"},
        "get --cons": {"--consistency"},
        "cas --ver": {"--verbose", "--version"},
        "--endpoints %s decommission n" % endpoint: {"n1", "n2", "n3"},
        "--endpoints %s hints pause --target " % endpoint: {"n1", "n2", "n3"},
        "--endpoints %s get -k d" % endpoint: {"default"},
        "--endpoints 127.0.0.1:1 decommission n": set(),
    }
    among = {
        "": {"get", "put", "cas", "keyspace", "status", "repair", "changes", "completion"},
        "--endpoints %s " % endpoint: {"get", "put", "keyspace", "decommission"},
        "hints ": {"pause", "resume"},
        "repair ": {"status", "cancel"},
        "put k --file ": {"a-file"},
    }
    for line, words in exactly.items():
        for patience in (2, 1, 0):  # who asks a node waits half a second for it, and offers nothing then
            offered = {word for word in shell.offered(line) if word.startswith("-") == line.split(" ")[-1].startswith("-")}
            if offered == words:
                break
            assert endpoint in line and offered < words and patience, "%r offers %s instead of %s" % (
                line, sorted(offered), sorted(words))
    for line, words in among.items():
        offered = shell.offered(line)
        assert words <= offered, "%r does not offer %s, but %s" % (line, sorted(words - offered), sorted(offered))
    return len(exactly) + len(among)


def main():
    shells = [name for name in ("zsh", "fish") if shutil.which(name)]
    for name in {"zsh", "fish"} - set(shells):
        print("skipped: %s is not installed (deploy/install-packages --tests)" % name)
    if not shells:
        return SKIP
    with Cluster(3) as cluster, tempfile.TemporaryDirectory() as folder:
        cluster.start()
        open(os.path.join(folder, "a-file"), "w").close()
        played = []
        if "fish" in shells:
            played.append(("fish", Fish(folder)))
        if "zsh" in shells:
            played += [("zsh, in fpath", Zsh(folder, False)), ("zsh, sourced", Zsh(folder, True))]
        for name, shell in played:
            print("ok     %s: %d lines" % (name, check(shell, cluster.nodes[0].endpoint)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
