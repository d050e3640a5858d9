/* cli.h -- the command line: one table of commands and one of options drive parsing, help and
 * completion.
 *
 * Data goes to stdout, everything else to stderr. Exits as in `enum cli_exit`. No threads: several
 * calls at once are the client's (rpc/client.h).
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include "base/arena.h"
#include "rpc/client.h"
#include "rpc/code.h"

#include <stdio.h>

enum cli_exit {
    CLI_OK = 0,
    CLI_FAILED = 1,
    CLI_USAGE = 2,
    CLI_NOT_FOUND = 3,
    CLI_UNAVAILABLE = 4,
    CLI_UNHEALTHY = 5,
    CLI_CONFLICT = 6,
};

enum cli_option_id {
    OPTION_ENDPOINTS,
    OPTION_OUTPUT,
    OPTION_DEADLINE_MS,
    OPTION_VERBOSE,
    OPTION_HELP,
    OPTION_VERSION,
    OPTION_KEYSPACE,
    OPTION_CONSISTENCY,
    OPTION_R,
    OPTION_W,
    OPTION_TTL,
    OPTION_FILE,
    OPTION_CONTEXT,
    OPTION_CONTEXT_OUT,
    OPTION_KEY_BASE64,
    OPTION_KEYS,
    OPTION_BATCH,
    OPTION_IN_FLIGHT,
    OPTION_N,
    OPTION_MODE,
    OPTION_CONFLICT,
    OPTION_DURABILITY,
    OPTION_READ_CONSISTENCY,
    OPTION_WRITE_CONSISTENCY,
    OPTION_STRICT,
    OPTION_YES,
    OPTION_TARGET,
    OPTION_WAIT,
    OPTION_NODE,
    OPTION_EXPECT,
    OPTION_EXPECT_VERSION,
    OPTION_ABSENT,
    OPTION_DELETE,
    OPTION_DRY_RUN,
    OPTION_FORCE,
    OPTION_DATA_CENTER,
    OPTION_GIVE_UP_BAD_ROWS,
    OPTION_COUNT
};

#define OPTION_BIT(id) (1ull << (OPTION_##id))
#define OPTIONS_GLOBAL                                                                             \
    (OPTION_BIT(ENDPOINTS) | OPTION_BIT(OUTPUT) | OPTION_BIT(DEADLINE_MS) | OPTION_BIT(VERBOSE) |  \
     OPTION_BIT(HELP) | OPTION_BIT(VERSION))

/* Two may have one name: the one that the command takes is meant, and the first before a command.
 */
struct cli_option {
    const char *name;     /* without the dashes */
    char letter;          /* 0: none */
    const char *argument; /* its name in the help; NULL: a flag */
    const char
        *values; /* for completion, blanks between; "@file", "@node", "@keyspace"; NULL: free */
    const char *help;
};

#define CLI_WORDS_MAX 8u

struct cli;
struct cli_command {
    const char *name;      /* one word or two */
    const char *arguments; /* for the usage line */
    uint32_t words_min;    /* after the name */
    uint32_t words_max;
    const char *word_values; /* completion of the first word, as in cli_option */
    uint64_t options;        /* OPTION_BIT()s besides the global ones */
    const char *summary;
    const char *details; /* may be NULL */
    const char *examples;
    enum cli_exit (*run)(struct cli *cli);
};

struct cli {
    const struct cli_command *command;
    const char *options[OPTION_COUNT]; /* NULL: not given; flags have "" */
    const char *words[CLI_WORDS_MAX];  /* what follows the command's name */
    uint32_t word_count;
    bool json;
    bool verbose;
    uint32_t deadline_ms;
    const char *endpoints;
    struct rpc_client *client; /* NULL until cli_client() */
    struct arena arena;        /* all that lives until the end */
};

extern const struct cli_option cli_options[OPTION_COUNT];
extern const struct cli_command cli_commands[];
extern const size_t cli_command_count;

/* -- parse.c ------------------------------------------------------------------------------ */
/* CLI_OK, or CLI_USAGE after saying why. `cli->command` is NULL when no command was named. */
enum cli_exit cli_parse(struct cli *cli, int argc, char *const *argv) MUST_USE;
/* The command whose name is the first words; NULL: none. ret_used: how many words its name took. */
const struct cli_command *cli_command_find(const char *const *words, size_t count,
                                           uint32_t *ret_used);
/* An integer in [min, max], or CLI_USAGE after saying why. An option that is not given leaves it
 * alone. */
enum cli_exit cli_option_u64(const struct cli *cli, enum cli_option_id id, uint64_t min,
                             uint64_t max, uint64_t *ret_value) MUST_USE;
/* "30s", "500ms", "2h": milliseconds. */
enum cli_exit cli_option_duration_ms(const struct cli *cli, enum cli_option_id id,
                                     uint64_t *ret_ms) MUST_USE;
/* The index of the option's value in `names` (NULL-ended; case and -/_ do not matter). */
enum cli_exit cli_option_choice(const struct cli *cli, enum cli_option_id id,
                                const char *const *names, int *ret_index) MUST_USE;
/* Says what is wrong and where help is; always CLI_USAGE. */
__attribute__((format(printf, 2, 3))) enum cli_exit cli_usage_error(const struct cli *cli,
                                                                    const char *format, ...);

/* The global options of a command, without those whose name it has given to one of its own. */
uint64_t cli_global_options(const struct cli_command *command);

/* -- help.c, completion.c ----------------------------------------------------------------- */
/* --help, wherever it stands: on all, on a command, or on a group such as keyspace. */
enum cli_exit cli_run_help_option(struct cli *cli) MUST_USE;
/* Says what there is instead. */
enum cli_exit cli_unknown_command(const struct cli *cli, const char *const *words,
                                  size_t count) MUST_USE;
enum cli_exit cli_run_help(struct cli *cli);
enum cli_exit cli_run_version(struct cli *cli);
enum cli_exit cli_run_completion(struct cli *cli);

/* -- report.c ----------------------------------------------------------------------------- */
/* The client over the endpoints given, or NULL after saying why (then exit CLI_USAGE). */
struct rpc_client *cli_client(struct cli *cli);
/* One call with the usual deadline. NULL after the failure was told; then *ret_exit says how to
 * end. */
ProtobufCMessage *cli_call(struct cli *cli, const char *method, const ProtobufCMessage *request,
                           const ProtobufCMessageDescriptor *response, bool is_write,
                           enum cli_exit *ret_exit);
/* Tells a failure on stderr: what, from whom, what became of the write, what to do next. */
enum cli_exit cli_report(const struct cli *cli, const struct rpc_client_status *status,
                         bool is_write);
__attribute__((format(printf, 1, 2))) void cli_note(const char *format, ...);

/* -- run_*.c ------------------------------------------------------------------------------ */
enum cli_exit cli_run_get(struct cli *cli);
enum cli_exit cli_run_put(struct cli *cli);
enum cli_exit cli_run_delete(struct cli *cli);
enum cli_exit cli_run_compare(struct cli *cli);
enum cli_exit cli_run_import(struct cli *cli);
enum cli_exit cli_run_export(struct cli *cli);
enum cli_exit cli_run_status(struct cli *cli);
enum cli_exit cli_run_nodes(struct cli *cli);
enum cli_exit cli_run_ring(struct cli *cli);
enum cli_exit cli_run_health(struct cli *cli);
enum cli_exit cli_run_hints(struct cli *cli);
enum cli_exit cli_run_hints_pause(struct cli *cli);
enum cli_exit cli_run_hints_resume(struct cli *cli);
enum cli_exit cli_run_repair(struct cli *cli);
enum cli_exit cli_run_repair_status(struct cli *cli);
enum cli_exit cli_run_repair_cancel(struct cli *cli);
enum cli_exit cli_run_digest(struct cli *cli);
enum cli_exit cli_run_explain(struct cli *cli);
enum cli_exit cli_run_join(struct cli *cli);
enum cli_exit cli_run_decommission(struct cli *cli);
enum cli_exit cli_run_replace(struct cli *cli);
enum cli_exit cli_run_weight(struct cli *cli);
enum cli_exit cli_run_zone(struct cli *cli);
enum cli_exit cli_run_replicate(struct cli *cli);
enum cli_exit cli_run_plan(struct cli *cli);
enum cli_exit cli_run_commit(struct cli *cli);
enum cli_exit cli_run_abort(struct cli *cli);
enum cli_exit cli_run_pause(struct cli *cli);
enum cli_exit cli_run_resume(struct cli *cli);
enum cli_exit cli_run_pace(struct cli *cli);
enum cli_exit cli_run_changes(struct cli *cli);
enum cli_exit cli_run_keyspace_create(struct cli *cli);
enum cli_exit cli_run_keyspace_list(struct cli *cli);
enum cli_exit cli_run_keyspace_describe(struct cli *cli);
enum cli_exit cli_run_keyspace_drop(struct cli *cli);

#endif
