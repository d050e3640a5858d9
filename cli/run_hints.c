/* hints, hints pause, hints resume: every endpoint is asked, since each node keeps its own. */
#include "cli/cli.h"
#include "cli/output.h"
#include "coterie/v1/cluster.pb-c.h"
#include "coterie/v1/maintenance.pb-c.h"

#define MAINTENANCE "/coterie.v1.Maintenance/"
#define NODES_MAX   64u

/* Asks one endpoint after the other. */
struct round {
    struct cli *cli;
    const char *next;
    char *asked[NODES_MAX]; /* names of nodes that have answered */
    size_t asked_count;
    size_t failed;
    enum cli_exit exit; /* of the last failure */
};

static bool round_next(struct round *round, const char **ret_endpoint)
{
    if (round->next == NULL)
        return false;
    size_t size = strcspn(round->next, ",");
    *ret_endpoint = arena_string(&round->cli->arena, bytes_of(round->next, size));
    round->next = round->next[size] == ',' ? round->next + size + 1 : NULL;
    return true;
}

static ProtobufCMessage *ask(struct round *round, const char *endpoint, const char *method,
                             const ProtobufCMessage *request,
                             const ProtobufCMessageDescriptor *response, bool is_write)
{
    struct cli *cli = round->cli;
    struct rpc_client *client;
    struct rpc_client_status status;
    char why[512];
    if (rpc_client_new(endpoint, &client, why, sizeof why) != OK)
        UNREACHABLE("the whole list was checked");
    ProtobufCMessage *message = rpc_client_call(client, method, request, response, cli->deadline_ms,
                                                !is_write, &cli->arena, &status);
    rpc_client_free(client);
    if (message != NULL) {
        if (cli->verbose)
            cli_note("answered by %s", status.endpoint);
        return message;
    }
    round->exit = cli_report(cli, &status, is_write);
    round->failed++;
    return NULL;
}

/* Two endpoints of one node are one. */
static bool asked_already(struct round *round, char *node)
{
    for (size_t i = 0; i < round->asked_count; i++) {
        if (strcmp(round->asked[i], node) == 0)
            return true;
    }
    if (round->asked_count < NODES_MAX)
        round->asked[round->asked_count++] = node;
    return false;
}

/* The nodes of the cluster that no endpoint belongs to; no names when nobody says. */
static size_t not_asked(struct round *round, char **ret_names)
{
    struct cli *cli = round->cli;
    struct rpc_client_status status;
    Coterie__V1__ListNodesRequest request = COTERIE__V1__LIST_NODES_REQUEST__INIT;
    size_t count = 0;
    Coterie__V1__ListNodesResponse *nodes = (Coterie__V1__ListNodesResponse *)rpc_client_call(
        cli_client(cli), "/coterie.v1.Cluster/ListNodes", &request.base,
        &coterie__v1__list_nodes_response__descriptor, cli->deadline_ms, true, &cli->arena,
        &status);
    for (size_t i = 0; nodes != NULL && i < nodes->n_nodes && count < NODES_MAX; i++) {
        bool asked = nodes->nodes[i]->state == COTERIE__V1__NODE__STATE__STATE_REMOVED;
        for (size_t j = 0; j < round->asked_count; j++)
            asked = asked || strcmp(nodes->nodes[i]->name, round->asked[j]) == 0;
        if (!asked)
            ret_names[count++] = nodes->nodes[i]->name;
    }
    return count;
}

static enum cli_exit round_exit(const struct round *round)
{
    return round->failed == 0 ? CLI_OK : round->exit;
}

static void say_not_asked(struct round *round, char *const *names, size_t count)
{
    if (count > 0)
        cli_note("not asked: %s (each node keeps its own hints; name their endpoints too: "
                 "--endpoints HOST:PORT,...)",
                 output_names(&round->cli->arena, names, count));
}

/* -- hints ------------------------------------------------------------------------------------- */

static const char *state_text(int state)
{
    static const char *const texts[] = {"unknown",    "idle",   "away",
                                        "delivering", "paused", "waiting"};
    return state >= 0 && (size_t)state < ARRAY_COUNT(texts) ? texts[state] : "?";
}

static const char *age_text(struct arena *arena, uint64_t ms)
{
    uint64_t s = ms / 1000;
    if (s < 120)
        return arena_printf(arena, "%llu s", (unsigned long long)s);
    if (s < 2 * 3600)
        return arena_printf(arena, "%llu min", (unsigned long long)(s / 60));
    if (s < 2 * 86400)
        return arena_printf(arena, "%llu h", (unsigned long long)(s / 3600));
    return arena_printf(arena, "%llu d", (unsigned long long)(s / 86400));
}

static void add_target(struct table *table, json_t *list, const char *keeper,
                       const Coterie__V1__HintTarget *target)
{
    struct arena *arena = table->arena;
    const char *state = state_text((int)target->state);
    table_row(table, (const char *const[]){
                         keeper, target->target, state,
                         arena_printf(arena, "%llu", (unsigned long long)target->hints),
                         arena_printf(arena, "%llu", (unsigned long long)target->bytes),
                         target->hints == 0 ? "-" : age_text(arena, target->oldest_age_ms),
                         arena_printf(arena, "%.1f", target->delivered_per_s), NULL});
    json_array_append_new(list,
                          json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:f}", "keeper", keeper,
                                    "target", target->target, "state", state, "hints",
                                    (json_int_t)target->hints, "bytes", (json_int_t)target->bytes,
                                    "oldest_age_ms", (json_int_t)target->oldest_age_ms,
                                    "delivered_per_s", target->delivered_per_s));
}

static void ask_hints(struct round *round, struct table *table, json_t *list)
{
    Coterie__V1__HintsRequest request = COTERIE__V1__HINTS_REQUEST__INIT;
    const char *endpoint;
    while (round_next(round, &endpoint)) {
        Coterie__V1__HintsResponse *response =
            (Coterie__V1__HintsResponse *)ask(round, endpoint, MAINTENANCE "Hints", &request.base,
                                              &coterie__v1__hints_response__descriptor, false);
        if (response == NULL || asked_already(round, response->node))
            continue;
        for (size_t i = 0; i < response->n_targets; i++)
            add_target(table, list, response->node, response->targets[i]);
    }
}

enum cli_exit cli_run_hints(struct cli *cli)
{
    struct round round = {.cli = cli, .next = cli->endpoints};
    if (cli_client(cli) == NULL)
        return CLI_USAGE;
    struct table table;
    char *missing[NODES_MAX];
    table_init(&table, &cli->arena,
               (const char *const[]){"KEEPER", "TARGET", "STATE", "HINTS", "BYTES", "OLDEST",
                                     "DELIVERED/S", NULL});
    json_t *list = json_array();
    ask_hints(&round, &table, list);
    size_t missing_count = round.asked_count == 0 ? 0 : not_asked(&round, missing);
    if (cli->json) {
        output_json(json_pack("{s:o, s:o, s:o}", "hints", list, "asked",
                              output_json_names(round.asked, round.asked_count), "not_asked",
                              output_json_names(missing, missing_count)));
        return round_exit(&round);
    }
    if (table.rows > 1)
        table_print(&table);
    else if (round.asked_count > 0)
        printf("no hints on %s\n", output_names(&cli->arena, round.asked, round.asked_count));
    say_not_asked(&round, missing, missing_count);
    json_decref(list);
    return round_exit(&round);
}

/* -- hints pause, hints resume ----------------------------------------------------------------- */

static char *ask_pause(struct round *round, const char *endpoint, char *target)
{
    Coterie__V1__PauseHintsRequest request = COTERIE__V1__PAUSE_HINTS_REQUEST__INIT;
    request.target = target;
    Coterie__V1__PauseHintsResponse *response = (Coterie__V1__PauseHintsResponse *)ask(
        round, endpoint, MAINTENANCE "PauseHints", &request.base,
        &coterie__v1__pause_hints_response__descriptor, true);
    return response == NULL ? NULL : response->node;
}

static char *ask_resume(struct round *round, const char *endpoint, char *target)
{
    Coterie__V1__ResumeHintsRequest request = COTERIE__V1__RESUME_HINTS_REQUEST__INIT;
    request.target = target;
    Coterie__V1__ResumeHintsResponse *response = (Coterie__V1__ResumeHintsResponse *)ask(
        round, endpoint, MAINTENANCE "ResumeHints", &request.base,
        &coterie__v1__resume_hints_response__descriptor, true);
    return response == NULL ? NULL : response->node;
}

/* The target's own node keeps nothing for itself: it is told apart by its name. */
static bool is_target(struct round *round, const char *endpoint, const char *target)
{
    Coterie__V1__HintsRequest request = COTERIE__V1__HINTS_REQUEST__INIT;
    Coterie__V1__HintsResponse *response =
        (Coterie__V1__HintsResponse *)ask(round, endpoint, MAINTENANCE "Hints", &request.base,
                                          &coterie__v1__hints_response__descriptor, false);
    if (response == NULL)
        return true; /* told already */
    if (strcmp(response->node, target) != 0)
        return false;
    (void)asked_already(round, response->node);
    return true;
}

static enum cli_exit run_change(struct cli *cli, const char *what,
                                char *(*change)(struct round *round, const char *endpoint,
                                                char *target))
{
    struct round round = {.cli = cli, .next = cli->endpoints};
    const char *target = cli->options[OPTION_TARGET];
    const char *endpoint;
    char *missing[NODES_MAX];
    char *changed[NODES_MAX];
    size_t changed_count = 0;
    if (cli_client(cli) == NULL)
        return CLI_USAGE;
    while (round_next(&round, &endpoint)) {
        if (target != NULL && is_target(&round, endpoint, target))
            continue;
        char *node = change(&round, endpoint, (char *)(uintptr_t)(target == NULL ? "" : target));
        if (node != NULL && !asked_already(&round, node) && changed_count < NODES_MAX)
            changed[changed_count++] = node;
    }
    size_t missing_count = round.asked_count == 0 ? 0 : not_asked(&round, missing);
    if (cli->json) {
        output_json(json_pack("{s:o, s:s?, s:o}", what, output_json_names(changed, changed_count),
                              "target", target, "not_asked",
                              output_json_names(missing, missing_count)));
        return round_exit(&round);
    }
    if (changed_count > 0)
        printf("%s on %s: hints for %s\n", what, output_names(&cli->arena, changed, changed_count),
               target == NULL ? "all nodes" : target);
    say_not_asked(&round, missing, missing_count);
    return round_exit(&round);
}

enum cli_exit cli_run_hints_pause(struct cli *cli)
{
    return run_change(cli, "paused", ask_pause);
}

enum cli_exit cli_run_hints_resume(struct cli *cli)
{
    return run_change(cli, "resumed", ask_resume);
}
