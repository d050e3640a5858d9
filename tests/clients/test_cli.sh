#!/bin/bash
# The command line against a running node: output, exit codes, what an error says, import and export.
# usage: COTERIE_ENDPOINTS=host:port[,...] test_cli.sh [path of coterie]
# Every check that fails is told with what was printed; exit 1 when there was one.
set -u -o pipefail

coterie=${1:-${COTERIE:-coterie}}
: "${COTERIE_ENDPOINTS:?names the client port of a running node}"
command -v "$coterie" >/dev/null || { echo "no binary: $coterie" >&2; exit 2; }
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
unique=cli$$x$RANDOM
keyspace=t$unique
failed=0
count=0

fail() {
    echo "FAILED: $1" >&2
    sed 's/^/    stdout: /' "$scratch/out" | head -20 >&2
    sed 's/^/    stderr: /' "$scratch/err" | head -20 >&2
    failed=$((failed + 1))
}

# expect EXIT NAME -- ARGS...: runs coterie with them; stdin is passed on.
expect() {
    local want=$1 name=$2
    shift 3
    "$coterie" "$@" >"$scratch/out" 2>"$scratch/err"
    local got=$?
    count=$((count + 1))
    [ "$got" = "$want" ] || fail "$name: exit $got instead of $want"
}

out_is() { # TEXT NAME: exactly, also at the end
    count=$((count + 1))
    printf '%s' "$1" | cmp -s - "$scratch/out" || fail "$2: stdout is not '$1'"
}

out_has() { count=$((count + 1)); grep -qE -- "$1" "$scratch/out" || fail "$2: stdout lacks '$1'"; }
err_has() { count=$((count + 1)); grep -qE -- "$1" "$scratch/err" || fail "$2: stderr lacks '$1'"; }
out_empty() { count=$((count + 1)); [ ! -s "$scratch/out" ] || fail "$1: stdout is not empty"; }

json() { # PYTHON EXPRESSION over j NAME: is true for stdout
    count=$((count + 1))
    /usr/bin/python3 -c "import json,sys; j=json.load(open(sys.argv[1])); sys.exit(0 if ($1) else 1)" \
        "$scratch/out" || fail "$2: not so: $1"
}

# -- usage: exit 2, nothing on stdout, and what to do
expect 2 "no command" -- </dev/null
err_has 'coterie --help' "no command"
out_empty "no command"
expect 2 "misspelt command" -- gte k
err_has "did you mean 'get'" "misspelt command"
expect 2 "misspelt option" -- get k --consitency ONE
err_has 'did you mean .--consistency' "misspelt option"
expect 2 "option of another command" -- status --ttl 5s
err_has "'status' has no option --ttl" "option of another command"
expect 2 "half a command" -- keyspace
err_has 'create, list, describe, drop' "half a command"
expect 0 "help on half a command" -- help keyspace
out_has '^  keyspace create NAME ' "help on half a command"
expect 0 "half a command --help" -- keyspace --help
out_has '^  keyspace drop NAME ' "half a command --help"
expect 2 "help on no command" -- help gte
err_has "did you mean 'get'" "help on no command"
expect 2 "help on two commands" -- help get put
err_has "'put' is one word too many" "help on two commands"
out_empty "help on two commands"
expect 2 "help on a command of two words and one more" -- help keyspace create drop
COTERIE_ENDPOINTS=here:there expect 2 "bad endpoint of the environment" -- get k
err_has "'here:there' is not host:port.*\(COTERIE_ENDPOINTS\)" "bad endpoint of the environment"
expect 2 "no endpoint" -- --endpoints '' get k
err_has 'endpoints is empty' "no endpoint"
expect 2 "no key" -- get
expect 2 "a word too many" -- get a b
expect 2 "bad level" -- get k --consistency MOST
err_has 'ONE, QUORUM, ALL' "bad level"
expect 2 "level and count" -- get k --consistency ONE --r 2
expect 2 "time without a unit" -- put k v --ttl 30
expect 2 "no value" -- put k
expect 2 "value twice" -- put k v --file /dev/null
expect 2 "context that is none" -- put k v --context '%%%'
expect 2 "bad endpoint" -- status --endpoints host:port
expect 2 "bad output" -- status -o xml
expect 2 "empty key" -- get ''
expect 2 "repair status of nothing" -- repair status
expect 2 "explain of nothing" -- explain
expect 2 "drop unasked" -- keyspace drop x </dev/null
err_has "say --yes" "drop unasked"
expect 2 "completion for no shell" -- completion tcsh

# -- help for everything, on stdout
expect 0 "help" -- --help
out_has 'Exits' "help"
out_has '^  replicate KEYSPACE \.\.\. ' "help"
for command in get put del cas import export status nodes ring health hints 'hints pause' \
    'hints resume' repair 'repair status' 'repair cancel' digest explain 'keyspace create' \
    'keyspace list' 'keyspace describe' 'keyspace drop' join decommission replace weight zone \
    replicate plan commit abort pause resume pace changes completion version help; do
    # shellcheck disable=SC2086
    expect 0 "help of $command" -- $command --help
    out_has 'Examples' "help of $command"
    count=$((count + 1))
    ! grep -qE ' $|[^ ]  \[' "$scratch/out" || fail "help of $command: blanks too many"
    # shellcheck disable=SC2086
    expect 0 "help $command" -- help $command
done
expect 0 "version" -- version
out_has '^coterie [0-9]+\.[0-9]+\.[0-9]+$' "version"
for shell in bash zsh fish; do
    expect 0 "completion $shell" -- completion $shell
    out_has 'context-out' "completion $shell"
done
expect 0 "completion script" -- completion bash
count=$((count + 1))
(
    source "$scratch/out"
    COMP_WORDS=(coterie keyspace create x --durability p) COMP_CWORD=5
    compopt() { :; }
    _coterie
    [ "${COMPREPLY[*]}" = periodic ] || exit 1
    COMP_WORDS=(coterie -o json keyspace d) COMP_CWORD=4
    _coterie
    [ "${COMPREPLY[*]}" = 'describe drop' ] || exit 1
    COMP_WORDS=(coterie hints '') COMP_CWORD=2
    _coterie
    [ "${COMPREPLY[*]::2}" = 'pause resume' ] || exit 1
    COMP_WORDS=(coterie hints pause --ta) COMP_CWORD=3
    _coterie
    [ "${COMPREPLY[*]}" = --target ] || exit 1
    COMP_WORDS=(coterie repair '') COMP_CWORD=2
    _coterie
    [ "${COMPREPLY[*]::2}" = 'status cancel' ] || exit 1
    COMP_WORDS=(coterie repair --wa) COMP_CWORD=2
    _coterie
    [ "${COMPREPLY[*]}" = --wait ] || exit 1
    COMP_WORDS=(coterie cas --ver) COMP_CWORD=2
    _coterie
    [ "${COMPREPLY[*]}" = '--verbose --version' ] || exit 1
    COMP_WORDS=(coterie get --cons) COMP_CWORD=2
    _coterie
    [ "${COMPREPLY[*]}" = --consistency ]
) || fail "completion script completes wrongly"

# -- nobody there: exit 4, and that nothing was written
expect 4 "nobody there" -- --endpoints 127.0.0.1:1 put k v
err_has 'NOT_APPLIED' "nobody there"
err_has 'next: ' "nobody there"
expect 4 "nobody there, json" -- --endpoints 127.0.0.1:1 get k -o json
err_has '^\{"error":\{.*"reason":"NOT_CONNECTED"' "nobody there, json"
expect 4 "nobody healthy" -- --endpoints 127.0.0.1:1 health
expect 4 "nobody's hints" -- --endpoints 127.0.0.1:1 hints
err_has 'NOT_CONNECTED' "nobody's hints"
expect 4 "hints of those that answer" -- --endpoints "127.0.0.1:1,$COTERIE_ENDPOINTS" hints
out_has 'no hints on n[0-9]' "hints of those that answer"
expect 0 "second endpoint" -- --endpoints "127.0.0.1:1,$COTERIE_ENDPOINTS" nodes

# -- the cluster
expect 0 "status" -- status
out_has '^health +healthy' "status"
expect 0 "status json" -- status -o json
json 'j["healthy"] and j["nodes_alive"] == j["nodes_total"] >= 1' "status json"
expect 0 "nodes" -- nodes
out_has '^NAME +LIVENESS' "nodes"
expect 0 "nodes json" -- nodes -o json
json 'all(n["liveness"] == "alive" for n in j["nodes"])' "nodes json"
json '(lambda q: q > 0 and q & (q - 1) == 0)(sum(n["partitions_owned"] for n in j["nodes"]))' "nodes own each partition once"
expect 0 "ring" -- ring
out_has '^0 +0000000000000000 ' "ring"
expect 0 "ring json" -- ring -o json
json '[p["partition"] for p in j["partitions"]] == list(range(len(j["partitions"])))' "ring json"
expect 0 "health" -- health
out_has 'serving' "health"
expect 5 "part of the endpoints" -- --endpoints "$COTERIE_ENDPOINTS,127.0.0.1:1" health

# -- joining: the command can be pasted
expect 0 "join" -- join n4
out_has '^  coteried --name n4 --data-dir ' "join"
for name in 'bad name' '' "$(printf 'n%.0s' {1..64})" "$(printf 'n\303\251')"; do
    expect 2 "join of a bad name" -- join "$name"
    err_has '1 to 63 visible ASCII' "join of a bad name"
    out_empty "join of a bad name"
done
expect 0 "join of a strange name" -- join "a\$b'c;d"
count=$((count + 1))
words=$(sed -n 's/^  coteried --name //p' "$scratch/out")
[ "$(eval "printf '%s\n' $words" | head -1)" = "a\$b'c;d" ] || fail "join quotes for the shell"

# -- hints: an unknown node is not found, as elsewhere
for what in pause resume; do
    expect 3 "hints $what for nobody" -- hints $what --target nobody
    err_has 'NODE_NOT_FOUND' "hints $what for nobody"
done

# -- keyspaces
expect 0 "keyspace create" -- keyspace create "$keyspace" --n 3 --conflict siblings \
    --durability periodic --read-consistency ONE --write-consistency one --strict
expect 6 "keyspace exists" -- keyspace create "$keyspace" --n 2
expect 0 "keyspace describe" -- keyspace describe "$keyspace" -o json
json 'j["n"] == 3 and j["durability"] == "periodic" and j["read_consistency"] == "ONE" and j["write_consistency"] == "ONE" and j["conflict"] == "siblings" and j["strict"] is True' "keyspace describe"
expect 0 "keyspace list" -- keyspace list
out_has "^$keyspace +available +siblings +periodic" "keyspace list"
expect 1 "keyspace of a bad name" -- keyspace create 'Not A Name'
err_has 'code:    INVALID_ARGUMENT, from' "keyspace of a bad name: the code is said once"
expect 3 "no such keyspace" -- get k --keyspace "no$keyspace"
err_has 'keyspace list; or make it: coterie keyspace create' "no such keyspace"
expect 0 "keyspace of too many replicas" -- keyspace create "$keyspace-wide" --n 7
err_has '7 replicas are asked for and there are [0-9] nodes' "keyspace of too many replicas"
expect 0 "keyspace of too many replicas, dropped" -- keyspace drop "$keyspace-wide" --yes

# -- put, get, del
k=$unique-k
expect 0 "put" -- put "$k" 'hello, world'
out_empty "put"
expect 0 "get" -- get "$k"
out_is 'hello, world' "get"
printf 'from\0stdin\n' | expect 0 "put -" -- put "$k" -
expect 0 "get -" -- get "$k"
count=$((count + 1))
printf 'from\0stdin\n' | cmp -s - "$scratch/out" || fail "stdin's bytes come back"
head -c 100000 /dev/urandom >"$scratch/blob"
expect 0 "put --file" -- put "$k" --file "$scratch/blob"
expect 0 "get a blob" -- get "$k" --context-out "$scratch/context"
count=$((count + 1))
cmp -s "$scratch/blob" "$scratch/out" || fail "a file's bytes come back"
expect 0 "put --" -- put "$k" -- -5
expect 0 "get --" -- get "$k"
out_is '-5' "get --"
expect 0 "put of the empty value" -- put "$k-empty" ''
expect 0 "get of the empty value" -- get "$k-empty"
out_is '' "get of the empty value"
expect 2 "context beside the value" -- get "$k" --context-out -
err_has 'the value goes to stdout' "context beside the value"
out_empty "context beside the value"
expect 2 "context beside the JSON" -- put "$k" v --context-out - -o json
expect 0 "put's context on stdout" -- put "$k-out" v --context-out -
out_has '^[A-Za-z0-9+/]{20,}=*$' "put's context on stdout"
expect 0 "put with the context of stdout" -- put "$k-out" w --context "$(cat "$scratch/out")"
expect 0 "del's context on stdout" -- del "$k-out" --context-out -
out_has '^[A-Za-z0-9+/]{20,}=*$' "del's context on stdout"
expect 1 "no such file" -- put "$k" --file "$scratch/none"
expect 1 "no such file of a context" -- put "$k" v --context "@$scratch/none"
expect 3 "get nothing" -- get "$unique-nothing"
out_empty "get nothing"
expect 3 "get nothing, json" -- get "$unique-nothing" -o json
json 'j["found"] is False and j["values"] == []' "get nothing, json"
expect 0 "binary key" -- put --key-base64 AP8= "$unique"
expect 0 "get by binary key" -- get --key-base64 AP8=
out_is "$unique" "get by binary key"

# siblings: an old context does not cover what was written meanwhile
expect 0 "put with an old context" -- put "$k" second --context "@$scratch/context"
err_has '2 siblings' "put with an old context"
expect 0 "get siblings" -- get "$k"
out_has '^--- sibling 1 of 2, ' "get siblings"
out_has '^--- sibling 2 of 2, ' "get siblings"
err_has '^context: [A-Za-z0-9+/]+=*$' "get siblings"
expect 0 "get siblings, json" -- get "$k" -o json --context-out "$scratch/context"
json 'sorted(v["value"] for v in j["values"]) == ["-5", "second"]' "get siblings, json"
json 'all(__import__("base64").b64decode(v["value_base64"]).decode() == v["value"] for v in j["values"])' "get siblings, json"
expect 0 "settle" -- put "$k" settled --context "@$scratch/context" -o json
json 'j["siblings"] == 1 and len(j["context"]) > 0' "settle"
expect 0 "get settled" -- get "$k"
out_is settled "get settled"
expect 0 "del" -- del "$k"
expect 3 "get deleted" -- get "$k"
expect 0 "del nothing" -- del "$unique-nothing"

expect 0 "put with a ttl" -- put "$k-ttl" soon --ttl 1s
expect 0 "get before it ends" -- get "$k-ttl"
end=$((SECONDS + 10))
while "$coterie" get "$k-ttl" >/dev/null 2>&1 && [ $SECONDS -lt $end ]; do sleep 0.1; done
expect 3 "get after the ttl" -- get "$k-ttl"

# -- compare and set, in a consistent keyspace
bank=b$unique
expect 2 "cas without a condition" -- cas "$k" v
err_has '--expect VALUE, --version N and --absent' "cas without a condition"
expect 2 "cas with two conditions" -- cas "$k" v --absent --version 1
expect 2 "cas without a change" -- cas "$k" --absent
expect 2 "cas with two changes" -- cas "$k" v --delete --absent
expect 2 "cas of no version" -- cas "$k" v --version one
expect 1 "cas in an available keyspace" -- cas "$k" v --absent
err_has 'WRONG_MODE' "cas in an available keyspace"
err_has 'next: +name a consistent keyspace with -k' "cas in an available keyspace"
expect 1 "periodic consistent keyspace" -- keyspace create "$bank" --mode consistent --durability periodic
err_has 'keyspace.durability: ' "periodic consistent keyspace"
expect 0 "consistent keyspace" -- keyspace create "$bank" --mode consistent
expect 0 "keyspace list of a consistent one" -- keyspace list
out_has "^$bank +consistent +none +fsync +3 +- +- +majority" "keyspace list of a consistent one"
expect 0 "describe a consistent one" -- keyspace describe "$bank" -o json
json 'j["conflict"] == "none" and j["read_consistency"] is None and j["write_consistency"] is None' "describe a consistent one"
expect 0 "cas --absent" -- cas -k "$bank" "$k" 100 --absent
out_empty "cas --absent"
expect 6 "cas --absent again" -- cas -k "$bank" "$k" 100 --absent
out_empty "cas --absent again"
err_has 'condition is false; it has version 1 and a value' "cas --absent again"
expect 0 "cas --expect" -- cas "$k" 80 -k "$bank" --expect 100 -v
err_has '^coterie: version: 2$' "cas --expect"
expect 6 "cas --expect again" -- cas "$k" 80 -k "$bank" --expect 100 -o json
json 'j["applied"] is False and j["version"] == 2 and j["found"] is True and j["value"] == "80"' "cas --expect again"
expect 0 "get of a version" -- get -k "$bank" "$k" -v
out_is 80 "get of a version"
err_has '^coterie: version: 2$' "get of a version"
expect 0 "get of a version, json" -- get -k "$bank" "$k" -o json
json 'j["version"] == 2 and j["context"] == ""' "get of a version, json"
expect 0 "cas --file" -- cas -k "$bank" "$k" --file "$scratch/blob" --version 2
expect 0 "get what cas --file wrote" -- get -k "$bank" "$k"
count=$((count + 1))
cmp -s "$scratch/blob" "$scratch/out" || fail "cas --file writes the file's bytes"
expect 6 "cas --delete of an old version" -- cas -k "$bank" "$k" --delete --version 2
expect 0 "cas --delete" -- cas -k "$bank" "$k" --delete --version 3
expect 3 "get what cas deleted" -- get -k "$bank" "$k" -v
err_has '^coterie: version: 4$' "get what cas deleted"
expect 0 "put with a version" -- put -k "$bank" "$k" v -o json
json 'j["version"] == 5 and j["siblings"] == 1' "put with a version"
expect 1 "level in a consistent keyspace" -- get -k "$bank" "$k" -c ONE
err_has '^coterie: consistency: ' "level in a consistent keyspace"
expect 0 "explain in a consistent keyspace" -- explain -k "$bank" "$k"
out_has 'replicas vote' "explain in a consistent keyspace"
expect 0 "explain a register as json" -- explain -k "$bank" "$k" -o json
json 'all(n["votes"] and n["accepted"] and n["versions"][0]["dot"] == "5" for n in j["nodes"] if n["replica"])' "explain a register as json"
expect 0 "version of the program, still" -- --version
out_has '^coterie [0-9]' "version of the program, still"

head -c 1200000 /dev/zero >"$scratch/large"
expect 1 "value over the limit" -- put "$k" --file "$scratch/large"
err_has 'INVALID_ARGUMENT' "value over the limit"
err_has '1200000' "value over the limit"
head -c 4000000 /dev/zero | expect 1 "value over any limit" -- put "$k" -
err_has '^coterie: stdin is larger than 3145728 bytes' "value over any limit"

# -- import and export
/usr/bin/python3 - "$scratch" "$unique" <<'PYTHON'
import base64, json, random, sys
scratch, unique = sys.argv[1:]
random.seed(7)
with open(scratch + "/records", "w") as records, open(scratch + "/keys", "w") as keys:
    for i in range(5000):
        key = f"{unique}-{i}"
        if i % 3 == 0:
            value = base64.b64encode(bytes([255]) + random.randbytes(random.randint(0, 300))).decode()
            records.write(json.dumps({"key": key, "value_base64": value}) + "\n")
        else:
            records.write(json.dumps({"key": key, "value": "\u00e9\n\"" * (i % 50)}) + "\n")
        keys.write(key + "\n")
PYTHON
expect 0 "import" -- import "$scratch/records" --keyspace "$keyspace" --batch 70
err_has 'imported 5000 keys' "import"
expect 0 "export" -- export --keys "$scratch/keys" --keyspace "$keyspace" --in-flight 3
count=$((count + 1))
/usr/bin/python3 -c 'import json,sys; a,b=[[json.loads(l) for l in open(p)] for p in sys.argv[1:]]; sys.exit(a != b)' \
    "$scratch/records" "$scratch/out" || fail "export gives what import took, in order"
expect 0 "import from stdin" -- import -o json - <"$scratch/records"
json 'j["imported"] == 5000 and j["failed"] == 0' "import from stdin"
printf '%s\n' "$unique-0" "$unique-absent" "$unique-1" >"$scratch/some"
expect 3 "export of an absent key" -- export <"$scratch/some"
count=$((count + 1))
[ "$(wc -l <"$scratch/out")" = 2 ] || fail "export prints what there is"
printf '%s\n' '{"key":"'"$unique"'-g","value":"1"}' '' 'nonsense' '{"key":"a"}' \
    '{"key":"a","value":"b","valeu":"c"}' '{"key":"a","siblings":[]}' '{"key":"a","value_base64":"?"}' \
    '{"key":"'"$unique"'-h","value":"2"}' >"$scratch/bad"
expect 1 "import of bad lines" -- import "$scratch/bad"
for line in 3 4 5 6 7; do
    err_has "line $line[:,]" "import of bad lines"
done
err_has 'imported 2 keys .* 5 failed' "import of bad lines"
expect 0 "good lines of a bad file" -- get "$unique-h"
out_is 2 "good lines of a bad file"
expect 3 "import into no keyspace" -- import "$scratch/records" --keyspace "no$keyspace"
err_has 'stopped at line 1: nothing was imported' "import into no keyspace"
expect 1 "import of no file" -- import "$scratch/none"
expect 4 "import to nobody" -- --endpoints 127.0.0.1:1 --deadline-ms 100 import "$scratch/bad" --in-flight 1
err_has '^coterie: asking again, with pauses, 8 times at most: cannot connect to 127.0.0.1:1: ' "import to nobody"

expect 0 "keyspace drop" -- keyspace drop "$keyspace" --yes
expect 3 "get from a dropped keyspace" -- get k --keyspace "$keyspace"

# A full disk must not look like success.
if [ -w /dev/full ]; then
    count=$((count + 1))
    "$coterie" status >/dev/full 2>/dev/null && fail "output that cannot be written is exit 1"
fi

echo "$count checks, $failed failed"
[ "$failed" = 0 ]
