/* hints, hints pause, hints resume: every endpoint is asked, since each node keeps its own. */
#include "cli/cli.h"
#include "cli/output.h"
#include "cli/round.h"
#include "coterie/v1/maintenance.pb-c.h"

#define MAINTENANCE "/coterie.v1.Maintenance/"

/* -- hints ------------------------------------------------------------------------------------- */

static const char *state_text(int state)
{
    static const char *const texts[] = {"unknown",    "idle",   "away",
                                        "delivering", "paused", "waiting"};
    return state >= 0 && (size_t)state < ARRAY_COUNT(texts) ? texts[state] : "?";
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
                         target->hints == 0 ? "-" : output_age(arena, target->oldest_age_ms),
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
        Coterie__V1__HintsResponse *response = (Coterie__V1__HintsResponse *)round_ask(
            round, endpoint, MAINTENANCE "Hints", &request.base,
            &coterie__v1__hints_response__descriptor, false);
        if (response == NULL || round_asked_already(round, response->node))
            continue;
        for (size_t i = 0; i < response->n_targets; i++)
            add_target(table, list, response->node, response->targets[i]);
    }
}

enum cli_exit cli_run_hints(struct cli *cli)
{
    struct round round = round_of(cli);
    if (cli_client(cli) == NULL)
        return CLI_USAGE;
    struct table table;
    char *missing[ROUND_NODES_MAX];
    table_init(&table, &cli->arena,
               (const char *const[]){"KEEPER", "TARGET", "STATE", "HINTS", "BYTES", "OLDEST",
                                     "DELIVERED/S", NULL});
    json_t *list = json_array();
    ask_hints(&round, &table, list);
    size_t missing_count = round_not_asked(&round, missing);
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
    round_say_not_asked(&round, "hints", missing, missing_count);
    json_decref(list);
    return round_exit(&round);
}

/* -- hints pause, hints resume ----------------------------------------------------------------- */

static char *ask_pause(struct round *round, const char *endpoint, char *target)
{
    Coterie__V1__PauseHintsRequest request = COTERIE__V1__PAUSE_HINTS_REQUEST__INIT;
    request.target = target;
    Coterie__V1__PauseHintsResponse *response = (Coterie__V1__PauseHintsResponse *)round_ask(
        round, endpoint, MAINTENANCE "PauseHints", &request.base,
        &coterie__v1__pause_hints_response__descriptor, true);
    return response == NULL ? NULL : response->node;
}

static char *ask_resume(struct round *round, const char *endpoint, char *target)
{
    Coterie__V1__ResumeHintsRequest request = COTERIE__V1__RESUME_HINTS_REQUEST__INIT;
    request.target = target;
    Coterie__V1__ResumeHintsResponse *response = (Coterie__V1__ResumeHintsResponse *)round_ask(
        round, endpoint, MAINTENANCE "ResumeHints", &request.base,
        &coterie__v1__resume_hints_response__descriptor, true);
    return response == NULL ? NULL : response->node;
}

/* The target's own node keeps nothing for itself: it is told apart by its name. */
static bool is_target(struct round *round, const char *endpoint, const char *target)
{
    Coterie__V1__HintsRequest request = COTERIE__V1__HINTS_REQUEST__INIT;
    Coterie__V1__HintsResponse *response =
        (Coterie__V1__HintsResponse *)round_ask(round, endpoint, MAINTENANCE "Hints", &request.base,
                                                &coterie__v1__hints_response__descriptor, false);
    if (response == NULL)
        return true; /* told already */
    if (strcmp(response->node, target) != 0)
        return false;
    (void)round_asked_already(round, response->node);
    return true;
}

static enum cli_exit run_change(struct cli *cli, const char *what,
                                char *(*change)(struct round *round, const char *endpoint,
                                                char *target))
{
    struct round round = round_of(cli);
    const char *target = cli->options[OPTION_TARGET];
    const char *endpoint;
    char *missing[ROUND_NODES_MAX];
    char *changed[ROUND_NODES_MAX];
    size_t changed_count = 0;
    if (cli_client(cli) == NULL)
        return CLI_USAGE;
    while (round_next(&round, &endpoint)) {
        if (target != NULL && is_target(&round, endpoint, target))
            continue;
        char *node = change(&round, endpoint, (char *)(uintptr_t)(target == NULL ? "" : target));
        if (node != NULL && !round_asked_already(&round, node) && changed_count < ROUND_NODES_MAX)
            changed[changed_count++] = node;
    }
    size_t missing_count = round_not_asked(&round, missing);
    if (cli->json) {
        output_json(json_pack("{s:o, s:s?, s:o}", what, output_json_names(changed, changed_count),
                              "target", target, "not_asked",
                              output_json_names(missing, missing_count)));
        return round_exit(&round);
    }
    if (changed_count > 0)
        printf("%s on %s: hints for %s\n", what, output_names(&cli->arena, changed, changed_count),
               target == NULL ? "all nodes" : target);
    round_say_not_asked(&round, "hints", missing, missing_count);
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
