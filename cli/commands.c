/* The commands, in the order of the help: everything else follows this table and options.c. */
#include "cli/cli.h"

#define STAGE_OPTIONS (OPTION_BIT(DRY_RUN) | OPTION_BIT(YES) | OPTION_BIT(FORCE) | OPTION_BIT(WAIT))
#define STAGE_DETAILS                                                                              \
    "Staged, and the plan is shown: nothing moves before coterie commit. --yes commits at once,\n" \
    "--wait waits for the end, --dry-run stages nothing. What is staged together moves "           \
    "together.\n"                                                                                  \
    "Exit 5 when the plan cannot be committed as it is.\n"
#define KEY_OPTIONS (OPTION_BIT(KEYSPACE) | OPTION_BIT(KEY_BASE64) | OPTION_BIT(CONSISTENCY))

const struct cli_command cli_commands[] = {
    {.name = "get",
     .arguments = "KEY",
     .words_min = 1,
     .words_max = 1,
     .options = KEY_OPTIONS | OPTION_BIT(R) | OPTION_BIT(CONTEXT_OUT),
     .summary = "print the value of a key",
     .details =
         "Prints the bytes of the value as they are (a newline is added only on a terminal). "
         "Writes\n"
         "that did not know of each other are all kept: such siblings are printed one after the\n"
         "other, each under a line \"--- sibling 1 of 2, ... ---\", and the context follows on "
         "stderr;\n"
         "settle them with a put that carries the context. With -o json: values as base64 and, "
         "where\n"
         "they are UTF-8, as text, and the context. Exit 3 when there is no value.",
     .examples = "coterie get greeting\n"
                 "coterie get greeting --consistency ALL -o json\n"
                 "coterie get greeting --context-out ctx",
     .run = cli_run_get},
    {.name = "put",
     .arguments = "KEY VALUE | KEY - | KEY --file FILE",
     .words_min = 1,
     .words_max = 2,
     .options = KEY_OPTIONS | OPTION_BIT(W) | OPTION_BIT(TTL) | OPTION_BIT(FILE) |
                OPTION_BIT(CONTEXT) | OPTION_BIT(CONTEXT_OUT) | OPTION_BIT(STRICT),
     .summary = "write a value",
     .details =
         "The value is the argument, stdin ('-'), or a file. Without a context the put replaces\n"
         "what the replica that takes it holds at that moment; with the context of a get exactly\n"
         "what that get has read, and what was written meanwhile stays as a sibling.",
     .examples = "coterie put greeting 'hello, world'\n"
                 "echo hello | coterie put greeting -\n"
                 "coterie put photo --file photo.jpg --ttl 7d\n"
                 "coterie put greeting merged --context @ctx\n"
                 "coterie put balance 100 --strict",
     .run = cli_run_put},
    {.name = "del",
     .arguments = "KEY",
     .words_min = 1,
     .words_max = 1,
     .options = KEY_OPTIONS | OPTION_BIT(W) | OPTION_BIT(CONTEXT) | OPTION_BIT(CONTEXT_OUT) |
                OPTION_BIT(STRICT),
     .summary = "delete a key",
     .details = "Exits 0 also when there was nothing. --context works as for put.",
     .examples = "coterie del greeting\ncoterie del greeting --context @ctx",
     .run = cli_run_delete},
    {.name = "cas",
     .arguments = "KEY VALUE CONDITION | KEY - CONDITION | KEY --file FILE CONDITION | "
                  "KEY --delete CONDITION",
     .words_min = 1,
     .words_max = 2,
     .options = OPTION_BIT(KEYSPACE) | OPTION_BIT(KEY_BASE64) | OPTION_BIT(EXPECT) |
                OPTION_BIT(EXPECT_VERSION) | OPTION_BIT(ABSENT) | OPTION_BIT(DELETE) |
                OPTION_BIT(FILE) | OPTION_BIT(TTL),
     .summary = "compare and set: write only if a condition is true",
     .details =
         "For keys of consistent keyspaces. The condition is one of --expect VALUE, --version N "
         "and\n"
         "--absent. If it is true the value is written, or the key deleted, and nobody else's "
         "write\n"
         "comes between. If it is false nothing is changed: exit 6, and the version that the key "
         "has\n"
         "is told on stderr (with -o json its value too).",
     .examples = "coterie keyspace create bank --mode consistent\n"
                 "coterie cas -k bank alice 100 --absent\n"
                 "coterie cas -k bank alice 80 --expect 100\n"
                 "coterie get -k bank alice -v\n"
                 "coterie cas -k bank alice --delete --version 2",
     .run = cli_run_compare},
    {.name = "import",
     .arguments = "[FILE|-]",
     .words_max = 1,
     .word_values = "@file",
     .options = OPTION_BIT(KEYSPACE) | OPTION_BIT(CONSISTENCY) | OPTION_BIT(W) | OPTION_BIT(TTL) |
                OPTION_BIT(BATCH) | OPTION_BIT(IN_FLIGHT) | OPTION_BIT(STRICT),
     .summary = "write many keys from JSON lines",
     .details =
         "One object a line, from FILE or stdin: {\"key\": ..., \"value\": ...}; key_base64 and\n"
         "value_base64 instead for what is not text; ttl_ms if the key is to expire. Lines are\n"
         "written in batches, several at once, in no particular order: a key that stands in the "
         "file\n"
         "twice may end with either value. What the cluster refuses for now, or leaves open, is\n"
         "written again with growing pauses (8 times at most); what fails is told with its line "
         "number.\n"
         "Exit 1 when a line failed, 4 when the cluster stayed unavailable and the import stopped. "
         "After\n"
         "Ctrl-C (exit 1) it says from which line to go on.",
     .examples = "coterie import records.jsonl\n"
                 "zcat records.jsonl.gz | coterie import --keyspace packages --in-flight 16",
     .run = cli_run_import},
    {.name = "export",
     .arguments = "[--keys FILE]",
     .options =
         KEY_OPTIONS | OPTION_BIT(R) | OPTION_BIT(KEYS) | OPTION_BIT(BATCH) | OPTION_BIT(IN_FLIGHT),
     .summary = "print the values of given keys as JSON lines",
     .details =
         "Reads keys, one a line, from --keys FILE or stdin, and prints lines that import takes, "
         "in the\n"
         "order of the keys. It does not list keys by itself: this version of the API has no "
         "scan,\n"
         "so the keys have to come from you. Keys with siblings are printed with all of them, as\n"
         "{\"key\": ..., \"siblings\": [...]}; import refuses such lines until one is chosen.\n"
         "Exit 3 when a key has no value, 1 when one could not be read.",
     .examples = "coterie export --keys keys.txt > records.jsonl\n"
                 "cut -f1 index.tsv | coterie export --keyspace packages",
     .run = cli_run_export},
    {.name = "status",
     .arguments = "",
     .summary = "the cluster in short, and what is wrong with it",
     .details =
         "As the first endpoint that answers sees it. The line \"copies\" says how far it is "
         "proven\n"
         "that all copies hold the same, and what is behind and why; each node speaks of the pairs "
         "of\n"
         "copies that it compares, so every endpoint given is asked for its part. With -o json: "
         "every\n"
         "pair. Exit 5 with lines \"problem\": a node is down, a disk full, a copy being refilled.",
     .examples = "coterie --endpoints n1:7700,n2:7700,n3:7700 status\ncoterie status -o json",
     .run = cli_run_status},
    {.name = "nodes",
     .arguments = "",
     .summary = "the nodes, whether they are alive, and their share of the ring",
     .details =
         "As the node that answers sees them. PARTITIONS: of which it is the first replica, and "
         "SHARE\n"
         "that part of all. PHI: how long its heartbeat is overdue, on a scale where 8 is taken "
         "for\n"
         "down; one whose link is down is down at once. STATE: normal, joining, leaving or gone.",
     .examples = "coterie nodes\ncoterie --endpoints n2:7700 nodes -o json",
     .run = cli_run_nodes},
    {.name = "ring",
     .arguments = "",
     .options = OPTION_BIT(KEYSPACE),
     .summary = "which nodes hold which partition",
     .details = "Replicas in order of preference; what follows after '|' are the fallbacks.",
     .examples = "coterie ring\ncoterie ring --keyspace packages -o json",
     .run = cli_run_ring},
    {.name = "health",
     .arguments = "",
     .summary = "ask every endpoint whether it serves",
     .details = "By grpc.health.v1. Exit 0 when all serve, 4 when none can be reached, else 5.",
     .examples = "coterie --endpoints n1:7700,n2:7700,n3:7700 health",
     .run = cli_run_health},
    {.name = "hints pause",
     .arguments = "[--target NODE]",
     .options = OPTION_BIT(TARGET),
     .summary = "hold back the hints that nodes keep for others",
     .details =
         "On every endpoint given, until hints resume, over restarts of its node. Hints are still\n"
         "taken, and still dropped when they are too many or too old; what is dropped is found by\n"
         "anti-entropy later.",
     .examples = "coterie --endpoints n1:7700,n2:7700,n3:7700 hints pause\n"
                 "coterie --endpoints n1:7700,n2:7700 hints pause --target n3",
     .run = cli_run_hints_pause},
    {.name = "hints resume",
     .arguments = "[--target NODE]",
     .options = OPTION_BIT(TARGET),
     .summary = "deliver hints again",
     .details = "On every endpoint given. Without --target all pauses end.",
     .examples = "coterie --endpoints n1:7700,n2:7700,n3:7700 hints resume\n"
                 "coterie --endpoints n1:7700,n2:7700 hints resume --target n3",
     .run = cli_run_hints_resume},
    {.name = "hints",
     .arguments = "",
     .summary = "writes that nodes keep for others that missed them",
     .details =
         "One row for each keeper and target: how many keys, the age of the oldest, and how many "
         "a\n"
         "second were delivered in the last ten. States: away (the target is down), delivering,\n"
         "waiting (the target takes no more for now), paused. Each node knows its own hints "
         "alone,\n"
         "so every endpoint given is asked; nodes of the cluster that were not are named.",
     .examples = "coterie --endpoints n1:7700,n2:7700,n3:7700 hints\n"
                 "coterie --endpoints n1:7700,n2:7700,n3:7700 hints -o json",
     .run = cli_run_hints},
    {.name = "repair status",
     .arguments = "ID",
     .words_min = 1,
     .words_max = 1,
     .summary = "how far a repair is",
     .details = "Asks every endpoint given. Exit 5 when copies could not be compared, 3 when no "
                "node\nknows the repair (each remembers its last eight).",
     .examples = "coterie --endpoints n1:7700,n2:7700,n3:7700 repair status 5c0ffee5c0ffee11",
     .run = cli_run_repair_status},
    {.name = "repair cancel",
     .arguments = "ID",
     .words_min = 1,
     .words_max = 1,
     .summary = "end a repair early",
     .details = "What it has repaired stays repaired.",
     .examples = "coterie --endpoints n1:7700,n2:7700,n3:7700 repair cancel 5c0ffee5c0ffee11",
     .run = cli_run_repair_cancel},
    {.name = "repair",
     .arguments = "[--keyspace NAME] [--node NODE] [--give-up-bad-rows] [--wait]",
     .options =
         OPTION_BIT(KEYSPACE) | OPTION_BIT(NODE) | OPTION_BIT(GIVE_UP_BAD_ROWS) | OPTION_BIT(WAIT),
     .summary = "compare all copies now and hand over what differs",
     .details =
         "Nodes do this by themselves, every pair of copies once an hour; a repair does it now. Of "
         "each\n"
         "pair one node does the work, so every endpoint given is asked; nodes of the cluster "
         "that\n"
         "were not are named; --node has one node compare all that it shares with others. All\n"
         "keyspaces unless one is named. The repair goes on without this command, over restarts "
         "of\n"
         "the nodes. Without --wait its ID is printed; with it a bar, and at the end a row for "
         "each\n"
         "node; Ctrl-C only detaches (exit 1). Exit 5 when copies could not be compared (a node "
         "is\n"
         "down), 1 when it was cancelled.\n"
         "--give-up-bad-rows: rows that failed their checksum and that no other replica can mend "
         "read\n"
         "as not found from then on; what only they held is lost (75 s).",
     .examples = "coterie --endpoints n1:7700,n2:7700,n3:7700 repair --wait\n"
                 "coterie --endpoints n1:7700,n2:7700,n3:7700 repair --keyspace orders --node n2\n"
                 "coterie --endpoints n1:7700,n2:7700,n3:7700 repair status 5c0ffee5c0ffee11",
     .run = cli_run_repair},
    {.name = "digest",
     .arguments = "[--keyspace NAME]",
     .options = OPTION_BIT(KEYSPACE),
     .summary = "whether all copies hold the same, by a digest for each vnode",
     .details =
         "A digest stands for all rows of one keyspace in one partition, tombstones included: "
         "equal\n"
         "rows, equal digests. One row for each different digest, with the nodes that have it; "
         "vnodes\n"
         "without keys are left out. All keyspaces unless one is named. Every endpoint given is\n"
         "asked, one after the other, so while clients write copies may seem to differ that do "
         "not:\n"
         "ask again. Exit 5 when copies differ, one is not known, or a node was not asked.",
     .examples = "coterie --endpoints n1:7700,n2:7700,n3:7700 digest\n"
                 "coterie --endpoints n1:7700,n2:7700,n3:7700 digest --keyspace orders -o json",
     .run = cli_run_digest},
    {.name = "explain",
     .arguments = "KEY",
     .words_min = 1,
     .words_max = 1,
     .options = OPTION_BIT(KEYSPACE) | OPTION_BIT(KEY_BASE64),
     .summary = "what every node holds of one key, and why",
     .details =
         "For each replica: its versions (dot = node:epoch:counter, the name of the write; written "
         "at,\n"
         "expires at, tombstones too), the checksum of the record, which is equal exactly where "
         "the\n"
         "state is equal, the leaf of the hash tree, the floor of reaped tombstones, and what "
         "repaired\n"
         "it last. For each node: for whom it keeps a hint. Any one node gathers it all. Exit 5 "
         "when\n"
         "replicas differ or one says nothing.",
     .examples = "coterie explain greeting\n"
                 "coterie explain cart:7 --keyspace orders -o json\n"
                 "coterie explain --key-base64 AP8=",
     .run = cli_run_explain},
    {.name = "join",
     .arguments = "[NAME]",
     .words_max = 1,
     .summary = "how a new node joins the cluster",
     .details = "A node joins by itself, when it starts with an empty directory and --join; this "
                "prints the\ncommand for it.",
     .examples = "coterie join n4\n"
                 "coteried --name n4 --data-dir /var/lib/coterie/n4 --client-address 10.0.0.4:7700 "
                 "\\\n"
                 "    --peer-address 10.0.0.4:7701 --join 10.0.0.1:7700,10.0.0.2:7700",
     .run = cli_run_join},
    {.name = "decommission",
     .arguments = "NODE",
     .words_min = 1,
     .words_max = 1,
     .word_values = "@node",
     .options = STAGE_OPTIONS,
     .summary = "have a node hand over all it holds and leave",
     .details = STAGE_DETAILS
     "The node serves until the end; then its process ends by itself and does not come back.",
     .examples = "coterie decommission n4 --dry-run\n"
                 "coterie decommission n4 && coterie commit --wait\n"
                 "coterie decommission n4 --yes --wait",
     .run = cli_run_decommission},
    {.name = "replace",
     .arguments = "DEAD_NODE",
     .words_min = 1,
     .words_max = 1,
     .word_values = "@node",
     .options = STAGE_OPTIONS,
     .summary = "give a dead node up for good: its copies are made anew elsewhere",
     .details = STAGE_DETAILS
     "For a node whose disk is lost or that will never run again; refused while it answers. Have "
     "its\nsuccessor join first (coteried --join ... --join-hold), so that both move as one; "
     "without one\nthe other nodes take its share. A node that was given up never comes back, also "
     "when "
     "this was\nonly staged: no abort undoes it (--dry-run shows the plan and gives nobody up).",
     .examples = "coteried --name n5 --data-dir /data/n5 --join 10.0.0.1:7700 --join-hold ... &\n"
                 "coterie replace n2 --yes --wait",
     .run = cli_run_replace},
    {.name = "weight",
     .arguments = "NODE WEIGHT",
     .words_min = 2,
     .words_max = 2,
     .word_values = "@node",
     .options = STAGE_OPTIONS,
     .summary = "give a node a larger or smaller share, 1 to 64",
     .details = STAGE_DETAILS "A node of weight 2 holds twice as much as one of weight 1.",
     .examples = "coterie weight n3 2 --dry-run\ncoterie weight n3 2 --yes --wait",
     .run = cli_run_weight},
    {.name = "zone",
     .arguments = "NODE ZONE",
     .words_min = 2,
     .words_max = 2,
     .word_values = "@node",
     .options = STAGE_OPTIONS | OPTION_BIT(DATA_CENTER),
     .summary = "say in which zone (and data centre) a node is",
     .details = STAGE_DETAILS "Copies lie in distinct zones while there are enough of them.",
     .examples = "coterie zone n3 rack-b --yes --wait\n"
                 "coterie zone n3 rack-1 --data-center us --dry-run",
     .run = cli_run_zone},
    {.name = "replicate",
     .arguments = "KEYSPACE N|DC=N,...",
     .words_min = 2,
     .words_max = 2,
     .word_values = "@keyspace",
     .options = STAGE_OPTIONS,
     .summary = "give a keyspace more or fewer replicas",
     .details = STAGE_DETAILS
     "N in every data centre, or NAME=N for those named (the others keep theirs, 0 takes a data\n"
     "centre's copies away).",
     .examples = "coterie replicate orders 5 --dry-run\n"
                 "coterie replicate orders eu=3,us=3 --yes --wait",
     .run = cli_run_replicate},
    {.name = "plan",
     .arguments = "",
     .summary = "what is staged, and what a commit would mean",
     .details =
         "Who gains and loses which share, how many bytes each node receives and whether its disk "
         "has\nroom for them, how long that takes at the pace, how many copies each zone has "
         "before and\nafter. Of a change that runs: of all of it. Exit 5 when a commit would be "
         "refused.",
     .examples = "coterie plan\ncoterie plan -o json",
     .run = cli_run_plan},
    {.name = "commit",
     .arguments = "",
     .options = OPTION_BIT(YES) | OPTION_BIT(FORCE) | OPTION_BIT(WAIT),
     .summary = "carry out what is staged",
     .details = "Shows the plan and asks; commits exactly that plan: exit 6 when somebody has "
                "staged something\nmeanwhile. Reads and writes go on while partitions go over, one "
                "after the other.",
     .examples = "coterie commit\ncoterie commit --yes --wait",
     .run = cli_run_commit},
    {.name = "abort",
     .arguments = "",
     .options = OPTION_BIT(YES),
     .summary = "take back what is staged or under way",
     .details =
         "Partitions that have gone over go back, step by step, as they came; nothing that was\n"
         "written is lost.",
     .examples = "coterie abort\ncoterie abort --yes && coterie changes --wait",
     .run = cli_run_abort},
    {.name = "pause",
     .arguments = "",
     .summary = "hold the change that is under way",
     .details = "No further partition begins to go over, and nothing is copied, until coterie "
                "resume.",
     .examples = "coterie pause",
     .run = cli_run_pause},
    {.name = "resume",
     .arguments = "",
     .summary = "go on with a change that was paused",
     .examples = "coterie resume && coterie changes --wait",
     .run = cli_run_resume},
    {.name = "pace",
     .arguments = "BYTES|default",
     .words_min = 1,
     .words_max = 1,
     .word_values = "default",
     .summary = "how many bytes a second each receiving node may copy",
     .details = "Of the change that is under way, at once. default: what each node is configured "
                "with\n(--move-bytes-per-second).",
     .examples = "coterie pace 16MiB\ncoterie pace default",
     .run = cli_run_pace},
    {.name = "changes",
     .arguments = "[--wait]",
     .options = OPTION_BIT(WAIT),
     .summary = "how far the change of the cluster is that is under way",
     .details = "Bytes, rate and time left for each node that receives; -v tells the phase of "
                "every partition.\nWith --wait a bar until it has ended: exit 1 when it was taken "
                "back, or with Ctrl-C (the change\ngoes on).",
     .examples = "coterie changes\ncoterie changes --wait\ncoterie changes -o json",
     .run = cli_run_changes},
    {.name = "keyspace create",
     .arguments = "NAME",
     .words_min = 1,
     .words_max = 1,
     .options = OPTION_BIT(N) | OPTION_BIT(MODE) | OPTION_BIT(CONFLICT) | OPTION_BIT(DURABILITY) |
                OPTION_BIT(READ_CONSISTENCY) | OPTION_BIT(WRITE_CONSISTENCY) | OPTION_BIT(STRICT),
     .summary = "make a keyspace with a policy of its own",
     .details = "Exit 6 when it exists already.",
     .examples = "coterie keyspace create sessions --n 3 --conflict lww --durability periodic\n"
                 "coterie keyspace create orders --n eu=3,us=2 --write-consistency LOCAL_QUORUM\n"
                 "coterie keyspace create ledger --strict",
     .run = cli_run_keyspace_create},
    {.name = "keyspace list",
     .arguments = "",
     .summary = "all keyspaces",
     .examples = "coterie keyspace list",
     .run = cli_run_keyspace_list},
    {.name = "keyspace describe",
     .arguments = "NAME",
     .words_min = 1,
     .words_max = 1,
     .word_values = "@keyspace",
     .summary = "the policy of one keyspace",
     .examples = "coterie keyspace describe default -o json",
     .run = cli_run_keyspace_describe},
    {.name = "keyspace drop",
     .arguments = "NAME",
     .words_min = 1,
     .words_max = 1,
     .word_values = "@keyspace",
     .options = OPTION_BIT(YES),
     .summary = "remove a keyspace and all of its data",
     .details = "Asks for the name again on a terminal; elsewhere it needs --yes.",
     .examples = "coterie keyspace drop sessions --yes",
     .run = cli_run_keyspace_drop},
    {.name = "completion",
     .arguments = "bash|zsh|fish",
     .words_min = 1,
     .words_max = 1,
     .word_values = "bash zsh fish",
     .summary = "print a completion script for a shell",
     .examples = "source <(coterie completion bash)\n"
                 "coterie completion zsh > \"${fpath[1]}/_coterie\"\n"
                 "coterie completion fish > ~/.config/fish/completions/coterie.fish",
     .run = cli_run_completion},
    {.name = "version",
     .arguments = "",
     .summary = "the version of this program",
     .examples = "coterie version",
     .run = cli_run_version},
    {.name = "help",
     .arguments = "[COMMAND]",
     .words_max = 2,
     .summary = "how to use a command",
     .examples = "coterie help put\ncoterie help keyspace create",
     .run = cli_run_help},
};

const size_t cli_command_count = ARRAY_COUNT(cli_commands);
