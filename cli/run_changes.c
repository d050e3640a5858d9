/* changes: how far the change under way is, once or until it has ended. */
#include "cli/changes.h"
#include "cli/output.h"
#include "cli/plan.h"
#include "cli/progress.h"
#include "cli/waits.h"

#include <inttypes.h>
#include <signal.h>
#include <time.h>

#define METHOD         "/coterie.v1.Cluster/GetChange"
#define POLL_NS        250000000l
#define SILENCE_MS_MAX 30000u

typedef Coterie__V1__GetChangeResponse change_words;

static const change_words *ask(struct cli *cli, struct arena *arena,
                               struct rpc_client_status *ret_status)
{
    Coterie__V1__GetChangeRequest request = COTERIE__V1__GET_CHANGE_REQUEST__INIT;
    const change_words *words = (const change_words *)rpc_client_call(
        cli->client, METHOD, &request.base, &coterie__v1__get_change_response__descriptor,
        cli->deadline_ms, true, arena, ret_status);
    return words == NULL || words->change == NULL ? NULL : words;
}

static uint32_t partitions_of(const Coterie__V1__Change *change)
{
    return change->partitions_waiting + change->partitions_announced + change->partitions_copied +
           change->partitions_done;
}

/* -- once -------------------------------------------------------------------------------------- */

static void print_nodes(struct arena *arena, const change_words *words)
{
    struct table table;
    table_init(&table, arena,
               (const char *const[]){"RECEIVES", "COPIES FILLED", "COPIED", "OF ABOUT", "RATE",
                                     "TIME LEFT", NULL});
    for (size_t i = 0; i < words->n_nodes; i++) {
        const Coterie__V1__ReceivingNode *node = words->nodes[i];
        if (!node->answers) {
            table_row(&table,
                      (const char *const[]){node->node, "no answer", "?",
                                            plan_bytes(arena, node->bytes_total), "?", "?", NULL});
            continue;
        }
        table_row(&table,
                  (const char *const[]){
                      node->node, arena_printf(arena, "%u of %u", node->filled, node->gains),
                      plan_bytes(arena, node->bytes_copied), plan_bytes(arena, node->bytes_total),
                      arena_printf(arena, "%s/s", plan_bytes(arena, node->bytes_per_second)),
                      plan_time(arena, node->eta_ms), NULL});
    }
    table_print(&table);
}

static void print_phases(struct arena *arena, const change_words *words)
{
    static const char *const names[] = {"waiting", "announced", "copied", "done"};
    struct table table;
    table_init(&table, arena, (const char *const[]){"PARTITION", "PHASE", NULL});
    for (size_t i = 0; i < words->n_phases; i++)
        table_row(&table, (const char *const[]){arena_printf(arena, "%zu", i),
                                                (size_t)words->phases[i] < ARRAY_COUNT(names)
                                                    ? names[words->phases[i]]
                                                    : "?",
                                                NULL});
    table_print(&table);
}

static void print_change(struct cli *cli, const change_words *words)
{
    const Coterie__V1__Change *change = words->change;
    struct arena *arena = &cli->arena;
    if (change->state == COTERIE__V1__CHANGE__STATE__STATE_NONE) {
        printf("no change is staged or under way (epoch %" PRIu64 ")\n", words->epoch);
        waits_print(arena, words, "waits       ", true);
        return;
    }
    printf("change, %s (epoch %" PRIu64 ")\n", plan_change_text(arena, change), words->epoch);
    plan_print_parts(change);
    if (change->state == COTERIE__V1__CHANGE__STATE__STATE_STAGED) {
        puts("nothing moves before it is committed: coterie plan, then coterie commit (nodes that "
             "join "
             "do that themselves within seconds when nothing else is staged)");
        return;
    }
    printf("partitions  %u of %u done, %u copied, %u announced, %u waiting\n",
           change->partitions_done, partitions_of(change), change->partitions_copied,
           change->partitions_announced, change->partitions_waiting);
    printf("began       %s as epoch %" PRIu64 "\n", output_time(arena, change->began_at_ms),
           change->began_epoch);
    if (change->bytes_per_second != 0)
        printf("pace        %s/s for each node that receives\n",
               plan_bytes(arena, change->bytes_per_second));
    printf("voters      %s\n", output_names(arena, words->voters, words->n_voters));
    waits_print(arena, words, "waits       ", true);
    putchar('\n');
    print_nodes(arena, words);
    if (cli->verbose)
        print_phases(arena, words);
}

static json_t *json_of(const change_words *words)
{
    json_t *nodes = json_array();
    for (size_t i = 0; i < words->n_nodes; i++) {
        const Coterie__V1__ReceivingNode *node = words->nodes[i];
        json_array_append_new(
            nodes,
            json_pack("{s:s, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "node", node->node,
                      "answers", (int)node->answers, "epoch", (json_int_t)node->epoch, "gains",
                      (json_int_t)node->gains, "filled", (json_int_t)node->filled, "bytes_copied",
                      (json_int_t)node->bytes_copied, "bytes_total", (json_int_t)node->bytes_total,
                      "bytes_per_second", (json_int_t)node->bytes_per_second, "eta_ms",
                      (json_int_t)node->eta_ms));
    }
    json_t *phases = json_array();
    for (size_t i = 0; i < words->n_phases; i++)
        json_array_append_new(phases, json_integer((json_int_t)words->phases[i]));
    return json_pack("{s:I, s:o, s:o, s:o, s:I, s:I, s:I, s:I, s:o, s:o}", "epoch",
                     (json_int_t)words->epoch, "change", plan_change_json(words->change), "nodes",
                     nodes, "phases", phases, "bytes_copied", (json_int_t)words->bytes_copied,
                     "bytes_total", (json_int_t)words->bytes_total, "bytes_per_second",
                     (json_int_t)words->bytes_per_second, "eta_ms", (json_int_t)words->eta_ms,
                     "voters", output_json_names(words->voters, words->n_voters), "waits",
                     waits_json(words->waits, words->n_waits));
}

/* -- until it has ended ------------------------------------------------------------------------ */

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal)
{
    (void)signal;
    interrupted = 1;
}

static void show(struct progress *progress, struct arena *arena, const change_words *words)
{
    const Coterie__V1__Change *change = words->change;
    uint32_t all = partitions_of(change);
    /* A partition is there when it is done; on the way it counts for what it is. */
    double done = change->partitions_done + 0.75 * change->partitions_copied +
                  0.25 * change->partitions_announced;
    progress_show_text(
        progress, all == 0 ? 0 : done / all, words->eta_ms,
        arena_printf(arena, "%u of %u partitions  %s of %s  %s/s%s", change->partitions_done, all,
                     plan_bytes(arena, words->bytes_copied), plan_bytes(arena, words->bytes_total),
                     plan_bytes(arena, words->bytes_per_second),
                     change->paused     ? "  paused"
                     : change->aborting ? "  aborting"
                                        : ""));
}

struct waited {
    bool running; /* it was, at some time */
    bool aborted;
    uint64_t bytes;
    uint64_t heard_ms;
    struct waits_watch watch;
};

static void tell_waits(const change_words *words)
{
    for (size_t i = 0; i < words->n_waits; i++) {
        if (!waits_is_usual(words->waits[i]))
            cli_note("%s", words->waits[i]->text);
    }
}

/* False: there is nothing to wait for any more. */
static bool wait_once(struct cli *cli, struct progress *progress, struct waited *waited,
                      enum cli_exit *ret_exit)
{
    struct arena arena;
    struct rpc_client_status status;
    arena_init(&arena, NULL, 0);
    const change_words *words = ask(cli, &arena, &status);
    bool on = true;
    if (words == NULL) {
        on = progress_now_ms() - waited->heard_ms < SILENCE_MS_MAX;
        if (!on) {
            progress_clear(progress);
            *ret_exit = cli_report(cli, &status, false);
        }
    } else if (words->change->state == COTERIE__V1__CHANGE__STATE__STATE_RUNNING) {
        waited->running = true;
        waited->aborted = words->change->aborting != 0;
        waited->bytes = words->bytes_copied;
        waited->heard_ms = progress_now_ms();
        if (waits_watch(&waited->watch, words, waited->heard_ms)) {
            progress_clear(progress);
            tell_waits(words);
        }
        show(progress, &arena, words);
    } else {
        on = false;
    }
    arena_deinit(&arena);
    return on;
}

enum cli_exit changes_wait(struct cli *cli)
{
    const struct timespec pause = {.tv_nsec = POLL_NS};
    struct sigaction action = {.sa_handler = on_interrupt};
    struct progress progress;
    struct waited waited = {.heard_ms = progress_now_ms()};
    enum cli_exit exit = CLI_OK;
    sigaction(SIGINT, &action, NULL);
    progress_init(&progress, "moved");
    while (wait_once(cli, &progress, &waited, &exit) && interrupted == 0)
        nanosleep(&pause, NULL);
    progress_clear(&progress);
    if (interrupted != 0) {
        cli_note("the change goes on without this command; look again: coterie changes --wait");
        return CLI_FAILED;
    }
    if (exit == CLI_OK && waited.running)
        cli_note(waited.aborted ? "the change was taken back, %.1f s"
                                : "the change is over, %.1f s",
                 progress_seconds(&progress));
    return exit == CLI_OK && waited.aborted ? CLI_FAILED : exit;
}

enum cli_exit cli_run_changes(struct cli *cli)
{
    enum cli_exit exit = CLI_OK;
    Coterie__V1__GetChangeRequest request = COTERIE__V1__GET_CHANGE_REQUEST__INIT;
    if (cli_client(cli) == NULL)
        return CLI_USAGE;
    if (cli->options[OPTION_WAIT] != NULL)
        exit = changes_wait(cli);
    const change_words *words = (const change_words *)cli_call(
        cli, METHOD, &request.base, &coterie__v1__get_change_response__descriptor, false,
        exit == CLI_OK ? &exit : &(enum cli_exit){CLI_OK});
    if (words == NULL)
        return exit;
    if (words->change == NULL) {
        cli_note("the node answered without a change");
        return CLI_FAILED;
    }
    if (cli->json)
        output_json(json_of(words));
    else
        print_change(cli, words);
    return exit;
}
