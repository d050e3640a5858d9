/* repair, repair status, repair cancel: each node runs its own part, under one name. */
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/round.h"
#include "coterie/v1/cluster.pb-c.h"
#include "coterie/v1/maintenance.pb-c.h"

#include <signal.h>
#include <sys/random.h>
#include <time.h>

#define CLUSTER        "/coterie.v1.Cluster/"
#define MAINTENANCE    "/coterie.v1.Maintenance/"
#define POLL_NS        200000000l
#define SILENCE_MS_MAX 30000u /* a node that says nothing for this long is given up */
#define ID_BYTES       17u

struct part {
    const char *endpoint;
    const Coterie__V1__Repair *repair; /* as last heard */
    uint64_t heard_ms;
    bool lost;
};

struct parts {
    size_t count;
    struct part parts[ROUND_NODES_MAX];
};

/* -- what the nodes say ------------------------------------------------------------------------ */

struct sums {
    uint64_t done, failed, total, keys, bytes;
    bool all_ended, all_planned, cancelled, lost;
};

static struct sums sums_of(const struct parts *parts)
{
    struct sums sums = {.all_ended = true, .all_planned = true};
    for (size_t i = 0; i < parts->count; i++) {
        const Coterie__V1__Repair *repair = parts->parts[i].repair;
        sums.done += repair->ranges_done;
        sums.failed += repair->ranges_failed;
        sums.total += repair->ranges_total;
        sums.keys += repair->keys_repaired;
        sums.bytes += repair->bytes_moved;
        sums.all_ended = sums.all_ended && (repair->ended || parts->parts[i].lost);
        sums.all_planned = sums.all_planned && (repair->ended || repair->ranges_total > 0);
        sums.cancelled = sums.cancelled || repair->cancelled;
        sums.lost = sums.lost || parts->parts[i].lost;
    }
    return sums;
}

static const char *state_of(const struct part *part)
{
    if (part->lost)
        return "no answer";
    if (part->repair->cancelled)
        return "cancelled";
    return part->repair->ended ? "ended" : "running";
}

static void print_parts(struct cli *cli, const struct parts *parts)
{
    struct table table;
    struct arena *arena = &cli->arena;
    table_init(&table, arena,
               (const char *const[]){"NODE", "STATE", "COMPARED", "FAILED", "OF", "KEYS REPAIRED",
                                     "BYTES MOVED", "STARTED", NULL});
    for (size_t i = 0; i < parts->count; i++) {
        const Coterie__V1__Repair *repair = parts->parts[i].repair;
        table_row(&table,
                  (const char *const[]){
                      repair->node, state_of(&parts->parts[i]),
                      arena_printf(arena, "%u", repair->ranges_done),
                      arena_printf(arena, "%u", repair->ranges_failed),
                      arena_printf(arena, "%u", repair->ranges_total),
                      arena_printf(arena, "%llu", (unsigned long long)repair->keys_repaired),
                      arena_printf(arena, "%llu", (unsigned long long)repair->bytes_moved),
                      output_time(arena, repair->started_at_ms), NULL});
    }
    table_print(&table);
}

static json_t *json_of_parts(const struct parts *parts)
{
    json_t *list = json_array();
    for (size_t i = 0; i < parts->count; i++) {
        const Coterie__V1__Repair *repair = parts->parts[i].repair;
        json_array_append_new(list, json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I}", "node",
                                              repair->node, "state", state_of(&parts->parts[i]),
                                              "ranges_done", (json_int_t)repair->ranges_done,
                                              "ranges_failed", (json_int_t)repair->ranges_failed,
                                              "ranges_total", (json_int_t)repair->ranges_total,
                                              "keys_repaired", (json_int_t)repair->keys_repaired,
                                              "bytes_moved", (json_int_t)repair->bytes_moved,
                                              "started_at_ms", (json_int_t)repair->started_at_ms));
    }
    return list;
}

static enum cli_exit exit_of(const struct parts *parts)
{
    struct sums sums = sums_of(parts);
    if (sums.lost)
        return CLI_UNAVAILABLE;
    if (sums.cancelled)
        return CLI_FAILED;
    return sums.failed > 0 ? CLI_UNHEALTHY : CLI_OK;
}

/* -- one question to one node ------------------------------------------------------------------ */

static const Coterie__V1__Repair *ask_start(struct round *round, const char *endpoint, char *id)
{
    Coterie__V1__StartRepairRequest request = COTERIE__V1__START_REPAIR_REQUEST__INIT;
    request.repair = id;
    request.keyspace = input_keyspace(round->cli);
    request.driven_only = round->cli->options[OPTION_NODE] == NULL;
    request.give_up_bad_rows = round->cli->options[OPTION_GIVE_UP_BAD_ROWS] != NULL;
    Coterie__V1__StartRepairResponse *response = (Coterie__V1__StartRepairResponse *)round_ask(
        round, endpoint, MAINTENANCE "StartRepair", &request.base,
        &coterie__v1__start_repair_response__descriptor, false); /* asking twice starts it once */
    return response == NULL ? NULL : response->repair;
}

static const Coterie__V1__Repair *ask_get(struct round *round, const char *endpoint, char *id,
                                          struct rpc_client_status *ret_status)
{
    Coterie__V1__GetRepairRequest request = COTERIE__V1__GET_REPAIR_REQUEST__INIT;
    request.repair = id;
    Coterie__V1__GetRepairResponse *response = (Coterie__V1__GetRepairResponse *)round_try(
        round, endpoint, MAINTENANCE "GetRepair", &request.base,
        &coterie__v1__get_repair_response__descriptor, false, ret_status);
    return response == NULL ? NULL : response->repair;
}

static const Coterie__V1__Repair *ask_cancel(struct round *round, const char *endpoint, char *id,
                                             struct rpc_client_status *ret_status)
{
    Coterie__V1__CancelRepairRequest request = COTERIE__V1__CANCEL_REPAIR_REQUEST__INIT;
    request.repair = id;
    Coterie__V1__CancelRepairResponse *response = (Coterie__V1__CancelRepairResponse *)round_try(
        round, endpoint, MAINTENANCE "CancelRepair", &request.base,
        &coterie__v1__cancel_repair_response__descriptor, false, ret_status);
    return response == NULL ? NULL : response->repair;
}

/* NULL after the failure was told. */
static const char *name_of(struct round *round, const char *endpoint)
{
    Coterie__V1__StatusRequest request = COTERIE__V1__STATUS_REQUEST__INIT;
    Coterie__V1__StatusResponse *status =
        (Coterie__V1__StatusResponse *)round_ask(round, endpoint, CLUSTER "Status", &request.base,
                                                 &coterie__v1__status_response__descriptor, false);
    return status == NULL ? NULL : status->node;
}

static void part_add(struct round *round, struct parts *parts, const char *endpoint,
                     const Coterie__V1__Repair *repair)
{
    if (round_asked_already(round, repair->node) || parts->count == ROUND_NODES_MAX)
        return;
    parts->parts[parts->count++] =
        (struct part){.endpoint = endpoint, .repair = repair, .heard_ms = progress_now_ms()};
}

/* -- repair ------------------------------------------------------------------------------------ */

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal)
{
    (void)signal;
    interrupted = 1;
}

static void start_all(struct round *round, struct parts *parts, char *id)
{
    const char *only = round->cli->options[OPTION_NODE];
    const char *endpoint;
    while (round_next(round, &endpoint)) {
        const char *name = only == NULL ? NULL : name_of(round, endpoint);
        if (only != NULL && (name == NULL || strcmp(name, only) != 0))
            continue;
        const Coterie__V1__Repair *repair = ask_start(round, endpoint, id);
        if (repair != NULL)
            part_add(round, parts, endpoint, repair);
    }
}

static void refresh(struct round *round, struct parts *parts, char *id)
{
    for (size_t i = 0; i < parts->count; i++) {
        struct part *part = &parts->parts[i];
        struct rpc_client_status status;
        if (part->repair->ended || part->lost)
            continue;
        const Coterie__V1__Repair *repair = ask_get(round, part->endpoint, id, &status);
        if (repair != NULL) {
            part->repair = repair;
            part->heard_ms = progress_now_ms();
        } else if (progress_now_ms() - part->heard_ms > SILENCE_MS_MAX ||
                   status.code == GRPC_STATUS_NOT_FOUND) {
            part->lost = true;
            round->exit = cli_report(round->cli, &status, false);
        }
    }
}

static void detach(struct progress *progress, const char *id)
{
    progress_clear(progress);
    cli_note("detached; the repair goes on without this command\n"
             "  look again:  coterie repair status %s\n"
             "  end it:      coterie repair cancel %s",
             id, id);
}

/* False: the user does not wait any longer. */
static bool wait_for_all(struct round *round, struct parts *parts, char *id)
{
    const struct timespec pause = {.tv_nsec = POLL_NS};
    struct sigaction action = {.sa_handler = on_interrupt};
    struct progress progress;
    sigaction(SIGINT, &action, NULL);
    progress_init(&progress, "repaired");
    for (;;) {
        struct sums sums = sums_of(parts);
        if (sums.all_ended)
            break;
        progress_show(&progress, sums.keys, sums.done + sums.failed,
                      sums.all_planned ? sums.total : 0);
        nanosleep(&pause, NULL);
        if (interrupted != 0) {
            detach(&progress, id);
            return false;
        }
        refresh(round, parts, id);
    }
    progress_clear(&progress);
    struct sums sums = sums_of(parts);
    cli_note("compared %llu pairs of copies in %.1f s, %llu could not be; %llu keys repaired, %llu "
             "bytes moved",
             (unsigned long long)sums.done, progress_seconds(&progress),
             (unsigned long long)sums.failed, (unsigned long long)sums.keys,
             (unsigned long long)sums.bytes);
    return true;
}

static void print_all(struct cli *cli, const char *id, const struct parts *parts,
                      char *const *missing, size_t missing_count)
{
    if (cli->json)
        output_json(json_pack("{s:s, s:o, s:o}", "repair", id, "nodes", json_of_parts(parts),
                              "not_asked", output_json_names(missing, missing_count)));
    else
        print_parts(cli, parts);
}

enum cli_exit cli_run_repair(struct cli *cli)
{
    struct round round = round_of(cli);
    struct parts *parts = ARENA_NEW(&cli->arena, struct parts, 1);
    char *missing[ROUND_NODES_MAX];
    char id[ID_BYTES];
    uint64_t number = 0;
    if (cli_client(cli) == NULL)
        return CLI_USAGE;
    while (number == 0 && getrandom(&number, sizeof number, 0) != (ssize_t)sizeof number)
        ;
    snprintf(id, sizeof id, "%016llx", (unsigned long long)(number | 1));
    start_all(&round, parts, id);
    if (parts->count == 0) {
        if (round.failed == 0)
            cli_note("none of the endpoints is node %s; see: coterie nodes",
                     cli->options[OPTION_NODE]);
        return round.failed == 0 ? CLI_NOT_FOUND : round.exit;
    }
    size_t missing_count = cli->options[OPTION_NODE] == NULL ? round_not_asked(&round, missing) : 0;
    round_say_not_asked(&round, "copies to compare", missing, missing_count);
    if (cli->options[OPTION_WAIT] == NULL) {
        if (cli->json)
            print_all(cli, id, parts, missing, missing_count);
        else
            printf("%s\n", id);
        cli_note("the repair runs on %s\n  look at it:  coterie repair status %s",
                 output_names(&cli->arena, round.asked, round.asked_count), id);
        return round_exit(&round);
    }
    bool waited = wait_for_all(&round, parts, id);
    print_all(cli, id, parts, missing, missing_count);
    if (!waited)
        return CLI_FAILED;
    return round.failed > 0 ? round.exit : exit_of(parts);
}

/* -- repair status, repair cancel -------------------------------------------------------------- */

static enum cli_exit
run_about(struct cli *cli,
          const Coterie__V1__Repair *(*ask)(struct round *round, const char *endpoint, char *id,
                                            struct rpc_client_status *ret_status))
{
    struct round round = round_of(cli);
    struct parts *parts = ARENA_NEW(&cli->arena, struct parts, 1);
    struct rpc_client_status status, unknown = {.code = GRPC_STATUS_OK};
    char *id = (char *)(uintptr_t)cli->words[0];
    const char *endpoint;
    if (cli_client(cli) == NULL)
        return CLI_USAGE;
    while (round_next(&round, &endpoint)) {
        const Coterie__V1__Repair *repair = ask(&round, endpoint, id, &status);
        if (repair != NULL) {
            part_add(&round, parts, endpoint, repair);
        } else if (status.code == GRPC_STATUS_NOT_FOUND) {
            unknown = status; /* a node that was not asked to take part, or has forgotten it */
        } else {
            round_report(&round, &status, false);
        }
    }
    if (parts->count == 0)
        return round.failed > 0 ? round.exit : cli_report(cli, &unknown, false);
    print_all(cli, id, parts, NULL, 0);
    return round.failed > 0 ? round.exit : exit_of(parts);
}

enum cli_exit cli_run_repair_status(struct cli *cli)
{
    return run_about(cli, ask_get);
}

enum cli_exit cli_run_repair_cancel(struct cli *cli)
{
    enum cli_exit exit = run_about(cli, ask_cancel);
    return exit == CLI_FAILED ? CLI_OK : exit; /* cancelled, as was wished */
}
