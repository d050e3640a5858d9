/* The options of all commands. */
#include "cli/cli.h"

#define LEVELS "ONE QUORUM ALL LOCAL_ONE LOCAL_QUORUM EACH_QUORUM"

const struct cli_option cli_options[OPTION_COUNT] = {
    [OPTION_ENDPOINTS] = {"endpoints", 0, "HOST:PORT,...", NULL,
                          "nodes to ask; the next one is tried when one cannot be reached "
                          "(also COTERIE_ENDPOINTS; default 127.0.0.1:7700)"},
    [OPTION_OUTPUT] = {"output", 'o', "table|json", "table json",
                       "how to print results (default table)"},
    [OPTION_DEADLINE_MS] = {"deadline-ms", 0, "N", NULL,
                            "give up a request after N ms, 1 to 60000 (default 5000)"},
    [OPTION_VERBOSE] = {"verbose", 'v', NULL, NULL, "say on stderr who answered"},
    [OPTION_HELP] = {"help", 'h', NULL, NULL, "this help"},
    [OPTION_VERSION] = {"version", 0, NULL, NULL, "the version of this program"},
    [OPTION_KEYSPACE] = {"keyspace", 'k', "NAME", "@keyspace",
                         "the keyspace (default \"default\"; repair, digest: all)"},
    [OPTION_CONSISTENCY] = {"consistency", 'c', "LEVEL", LEVELS,
                            "ONE, QUORUM, ALL, LOCAL_ONE, LOCAL_QUORUM or EACH_QUORUM "
                            "(default: the keyspace's)"},
    [OPTION_R] = {"r", 0, "N", NULL, "replicas that must answer, instead of a level"},
    [OPTION_W] = {"w", 0, "N", NULL, "replicas that must acknowledge, instead of a level"},
    [OPTION_TTL] = {"ttl", 0, "TIME", NULL,
                    "the value reads as deleted after this time: 500ms, 30s, 5m, 2h, 7d"},
    [OPTION_FILE] = {"file", 'f', "FILE", "@file", "take the value from FILE"},
    [OPTION_CONTEXT] = {"context", 0, "BASE64|@FILE", "@file",
                        "replace exactly what the get that gave this context has read"},
    [OPTION_CONTEXT_OUT] = {"context-out", 0, "FILE", "@file",
                            "write the context (base64) to FILE; put and del: '-' is stdout"},
    [OPTION_KEY_BASE64] = {"key-base64", 0, NULL, NULL, "keys are given in base64"},
    [OPTION_KEYS] = {"keys", 0, "FILE", "@file", "the file with the keys, one a line ('-': stdin)"},
    [OPTION_BATCH] = {"batch", 0, "N", NULL, "items in one request, 1 to 1000 (default 100)"},
    [OPTION_IN_FLIGHT] = {"in-flight", 0, "N", NULL,
                          "requests outstanding at once, 1 to 64 (default 8)"},
    [OPTION_N] = {"n", 0, "N|DC=N,...", NULL,
                  "replicas in each data centre (default 3), or per data centre: eu=3,us=2"},
    [OPTION_MODE] = {"mode", 0, "MODE", "available consistent",
                     "available (always takes writes, the default) or consistent (linearizable)"},
    [OPTION_CONFLICT] =
        {"conflict", 0, "POLICY", "siblings lww",
         "siblings (keep concurrent writes, the default) or lww (last writer wins)"},
    [OPTION_DURABILITY] =
        {"durability", 0, "WHEN", "fsync periodic",
         "fsync (acknowledged is on disk, the default) or periodic (within 100 ms)"},
    [OPTION_READ_CONSISTENCY] = {"read-consistency", 0, "LEVEL", LEVELS,
                                 "default level of reads (QUORUM)"},
    [OPTION_WRITE_CONSISTENCY] = {"write-consistency", 0, "LEVEL", LEVELS,
                                  "default level of writes (QUORUM)"},
    [OPTION_STRICT] =
        {"strict", 0, NULL, NULL,
         "strict quorum: W counts replicas alone, never a fallback that keeps a hint"},
    [OPTION_YES] = {"yes", 'y', NULL, NULL, "do not ask"},
    [OPTION_TARGET] = {"target", 0, "NODE", "@node",
                       "only hints for this node, by its name (default: for all)"},
    [OPTION_WAIT] = {"wait", 0, NULL, NULL, "show how far it is, and end when it has ended"},
    [OPTION_NODE] = {"node", 0, "NODE", "@node",
                     "only on this node, by its name (default: on all)"},
    [OPTION_EXPECT] = {"expect", 0, "VALUE", NULL, "if the key has this value"},
    [OPTION_EXPECT_VERSION] =
        {"version", 0, "N", NULL,
         "if the key has this version, as get -v shows it (0: never written)"},
    [OPTION_ABSENT] = {"absent", 0, NULL, NULL, "if the key has no value"},
    [OPTION_DRY_RUN] = {"dry-run", 0, NULL, NULL, "show the plan, stage nothing"},
    [OPTION_FORCE] = {"force", 0, NULL, NULL,
                      "also what does not fit a disk, could not be checked, or leaves fewer copies "
                      "than a keyspace asks for"},
    [OPTION_DATA_CENTER] = {"data-center", 0, "NAME", NULL,
                            "and this data centre (default: as it is)"},
    [OPTION_DELETE] = {"delete", 0, NULL, NULL, "delete the key instead of writing a value"},
    [OPTION_GIVE_UP_BAD_ROWS] = {"give-up-bad-rows", 0, NULL, NULL,
                                 "lose rows that are damaged and that nobody else can mend"},
};
