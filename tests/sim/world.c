#include "tests/sim/world.h"

#include "model/hash.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>

#define PHASE_LOOK_NS (50 * (uint64_t)MS_NS)
#define SETUP_MAX_NS  (60 * (uint64_t)SECOND_NS)
#define SETTLE_MIN_NS (3 * (uint64_t)SECOND_NS)
#define SETTLE_MAX_NS (120 * (uint64_t)SECOND_NS)
#define GIVE_UP_NS    (90 * (uint64_t)SECOND_NS) /* each time that bad rows are given up */
#define SAME_LOOK_NS  (500 * (uint64_t)MS_NS)
#define IDLE_BEGIN_NS (1 * (uint64_t)SECOND_NS) /* what was on its way arrives */
#define IDLE_END_NS   (4 * (uint64_t)SECOND_NS)
#define QUIET_MAX_NS  (300 * (uint64_t)SECOND_NS)
#define STEPS_MAX     3000000u /* of a run: more is a storm */

static const char *const phase_names[] = {"setup", "safety", "settle", "idle", "quiet", "end"};

/* -- events -------------------------------------------------------------------------------------
 */

struct event *world_plan(struct world *world, uint64_t at_ns, enum event_kind kind)
{
    CHECK_U64(at_ns, >=, world->now_ns);
    struct event *event = world->unused;
    if (event != NULL)
        world->unused = event->next;
    else
        event = malloc(sizeof *event);
    CHECK(event != NULL);
    *event = (struct event){.kind = kind};
    heap_push(&world->events,
              (struct heap_entry){.key = at_ns, .tie = prng_u64(&world->order), .value = event});
    return event;
}

struct event *world_plan_host(struct host *host, uint64_t at_ns, enum event_kind kind)
{
    struct event *event = world_plan(host->world, at_ns, kind);
    event->node = host->index;
    event->start = host->start;
    return event;
}

uint32_t world_partition(const struct world *world, uint32_t keyspace_id, struct bytes key)
{
    return hash_partition(hash_key(keyspace_id, key), world->options.partitions);
}

static void event_done(struct world *world, struct event *event)
{
    message_free(event->message);
    free(event->bytes);
    event->next = world->unused;
    world->unused = event;
}

void world_fail(struct world *world, const char *checker, const char *format, ...)
{
    if (world->failure.failed)
        return;
    world->failure.failed = true;
    snprintf(world->failure.checker, sizeof world->failure.checker, "%s", checker);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(world->failure.what, sizeof world->failure.what, format, arguments);
    va_end(arguments);
    trace_line(&world->trace, world->now_ns, "VIOLATION %s: %s", checker, world->failure.what);
}

/* Events of a node that is down, or in another life than they were planned in, are void. */
static bool event_is_void(const struct world *world, const struct event *event)
{
    const struct host *host = &world->hosts[event->node];
    switch (event->kind) {
    case EVENT_STEP:
    case EVENT_LOCAL:
    case EVENT_EDGE:
    case EVENT_SYNC_DONE:
    case EVENT_SYNC_PERIODIC:
    case EVENT_RAISE:
        return !host->up || host->start != event->start;
    default:
        return false;
    }
}

static void on_restart(struct world *world, const struct event *event)
{
    struct host *host = &world->hosts[event->node];
    if (!host->up && host->start == event->start && steward_is_member(world, event->node))
        host_start(host);
}

static void on_phase(struct world *world);

static void event_run(struct world *world, struct event *event)
{
    struct host *host = &world->hosts[event->node];
    struct message *message = event->message;
    switch (event->kind) {
    case EVENT_STEP:
        host_on_step(host, event->slot, event->number);
        break;
    case EVENT_LOCAL:
        event->message = NULL;
        host_on_local(host, event->slot, message);
        break;
    case EVENT_EDGE:
        workload_on_answer(world, host, message);
        break;
    case EVENT_REMOTE:
        network_on_remote(world, event);
        break;
    case EVENT_SYNC_DONE:
        host_on_sync_done(host, event->number);
        break;
    case EVENT_SYNC_PERIODIC:
        host_on_sync_periodic(host);
        break;
    case EVENT_RAISE:
        hellos_on_raise(host);
        break;
    case EVENT_LINK:
        network_on_link(world, event);
        break;
    case EVENT_RESTART:
        on_restart(world, event);
        break;
    case EVENT_CLIENT:
        workload_on_client(world, event->slot, (enum phase)event->number);
        break;
    case EVENT_DEADLINE:
        workload_on_deadline(world, (uint32_t)event->number);
        break;
    case EVENT_REGISTER_CLIENT:
        registers_on_client(world, event->slot, (enum phase)event->number);
        break;
    case EVENT_REGISTER_DEADLINE:
        registers_on_deadline(world, (uint32_t)event->number);
        break;
    case EVENT_INCIDENT:
        faults_on_begin(world, &world->faults.incidents[event->number]);
        break;
    case EVENT_INCIDENT_END:
        faults_on_end(world, &world->faults.incidents[event->number]);
        break;
    case EVENT_CRASH:
        faults_on_crash(world, &world->faults.incidents[event->number]);
        break;
    case EVENT_PHASE:
        on_phase(world);
        break;
    case EVENT_STEWARD:
        steward_on_turn(world);
        break;
    case EVENT_LEFT:
        if (host->up && host->start == event->start) {
            host_close(host);
            network_links_changed(world);
        }
        break;
    }
}

/* -- phases ---------------------------------------------------------------------------------------
 */

static void enter(struct world *world, enum phase phase)
{
    world->phase = phase;
    world->phase_since_ns = world->now_ns;
    trace_line(&world->trace, world->now_ns, "phase %s", phase_names[phase]);
}

/* Every hint has been delivered (DESIGN.md 8). */
static uint64_t hints_kept(const struct world *world)
{
    uint64_t hints = 0;
    for (uint32_t i = 0; i < world->options.nodes; i++)
        hints += !world->hosts[i].up
                     ? 0
                     : counter_get(&hinted_handoff_figures(world->hosts[i].hinted_handoff)->hints);
    return hints;
}

/* Rows that wait for repair, and vnodes that are filled again. */
static uint64_t copies_bad(const struct world *world)
{
    uint64_t bad = 0;
    for (uint32_t i = 0; i < world->options.nodes; i++) {
        for (uint32_t j = 0; world->hosts[i].up && j < world->options.shards; j++) {
            const struct replica_figures *figures = replica_figures(world->hosts[i].replicas[j]);
            bad += counter_get(&figures->quarantined) + counter_get(&figures->vnodes_incomplete);
        }
    }
    return bad;
}

/* Writes that were answered, and may still become hints. */
static uint64_t writes_settling(const struct world *world)
{
    uint64_t settling = 0;
    for (uint32_t i = 0; i < world->options.nodes; i++) {
        for (uint32_t j = 0; world->hosts[i].up && j < world->options.coordinators; j++)
            settling +=
                counter_get(&coordinator_figures(world->hosts[i].coordinators[j])->settling);
    }
    return settling;
}

/* What the phase still waits for, for too_long. */
__attribute__((format(printf, 2, 3))) static bool not_yet(struct world *world, const char *format,
                                                          ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(world->waits_for, sizeof world->waits_for, format, arguments);
    va_end(arguments);
    return false;
}

static bool nothing_left_over(struct world *world)
{
    uint64_t hints = hints_kept(world);
    uint64_t writes = writes_settling(world);
    uint64_t bad = copies_bad(world);
    if (hints > 0)
        return not_yet(world, "%" PRIu64 " hints are kept", hints);
    if (writes > 0)
        return not_yet(world, "%" PRIu64 " answered writes may still become hints", writes);
    if (bad > 0)
        return not_yet(world, "%" PRIu64 " rows are bad or vnodes incomplete", bad);
    return true;
}

static bool all_see_all(struct world *world)
{
    for (uint32_t i = 0; i < world->options.nodes; i++) {
        for (uint32_t j = 0; j < world->options.nodes; j++) {
            if (!steward_is_member(world, i) || !steward_is_member(world, j))
                continue;
            if (!view_alive(world->hosts[i].view, world->hosts[j].member))
                return not_yet(world, "n%u does not see n%u", world->hosts[i].member,
                               world->hosts[j].member);
        }
    }
    return true;
}

/* Gossip has found everyone again after rounds of its own (the verdicts of the first one may still
 * be about the time before), every request has ended, and nothing old is under way that could still
 * become a write. */
static bool settled(struct world *world)
{
    uint32_t running = world->workload.running + world->registers.running;
    if (running > 0)
        return not_yet(world, "%u requests run", running);
    if (world->now_ns < world->phase_since_ns + SETTLE_MIN_NS ||
        world->now_ns < world->network.faulty_until_ns + SECOND_NS)
        return not_yet(world, "messages of before are under way");
    if (!steward_settled(world, world->waits_for, sizeof world->waits_for))
        return false;
    if (!keyspaces_settled(world))
        return not_yet(world, "keyspaces are not known everywhere");
    if (!nothing_left_over(world) || !all_see_all(world))
        return false;
    if (!registers_vote(world))
        return not_yet(world, "a copy of registers has no vote");
    if (world->now_ns < world->looked_same_ns + SAME_LOOK_NS)
        return false;
    world->looked_same_ns = world->now_ns;
    return check_same(world, world->waits_for, sizeof world->waits_for);
}

static bool quiet_is_over(struct world *world)
{
    if (!workload_quiet_done(world))
        return not_yet(world, "probes have not ended");
    uint64_t hints = hints_kept(world);
    if (hints > 0)
        return not_yet(world, "%" PRIu64 " hints are kept", hints);
    return registers_quiet(world) || not_yet(world, "probes of registers have not ended");
}

static void too_long(struct world *world, uint64_t limit_ns)
{
    if (world->now_ns - world->phase_since_ns <= limit_ns)
        return;
    if (world->phase == PHASE_SETUP)
        world_fail(world, "setup", "keyspaces are not known everywhere after %" PRIu64 " s",
                   limit_ns / SECOND_NS);
    else
        world_fail(world, "same", "phase %s: not over after %" PRIu64 " s: %s",
                   phase_names[world->phase], limit_ns / SECOND_NS, world->waits_for);
}

static void on_phase(struct world *world)
{
    switch (world->phase) {
    case PHASE_SETUP:
        if (workload_set_up(world) && registers_set_up(world)) {
            enter(world, PHASE_SAFETY);
            faults_plan(world);
            workload_start_clients(world);
            steward_start(world);
            registers_start_clients(world);
        } else {
            too_long(world, SETUP_MAX_NS);
        }
        break;
    case PHASE_SAFETY:
        if (world->now_ns - world->phase_since_ns >= world->options.safety_ns) {
            enter(world, PHASE_SETTLE);
            faults_heal(world);
        }
        break;
    case PHASE_SETTLE:
        if (settled(world)) {
            check_held(world);
            enter(world, PHASE_IDLE);
        } else {
            given_up_look(world);
            too_long(world, SETTLE_MAX_NS + world->given_up.times * GIVE_UP_NS);
        }
        break;
    case PHASE_IDLE:
        if (world->now_ns - world->phase_since_ns < IDLE_BEGIN_NS) {
            check_idle_began(world);
        } else if (world->now_ns - world->phase_since_ns >= IDLE_END_NS) {
            check_idle_ended(world);
            enter(world, PHASE_QUIET);
            workload_start_quiet(world);
        }
        break;
    case PHASE_QUIET:
        if (quiet_is_over(world))
            enter(world, PHASE_END);
        else
            too_long(world, QUIET_MAX_NS);
        break;
    case PHASE_END:
        break;
    }
    world_plan(world, world->now_ns + PHASE_LOOK_NS, EVENT_PHASE);
}

/* -- a run
 * ------------------------------------------------------------------------------------------- */

static void log_sink(void *closure, enum log_level level, const char *event, const char *fields)
{
    struct world *world = closure;
    trace_line(&world->trace, world->now_ns, "log %s %s %s", log_level_text(level), event, fields);
}

static void make_topology(struct world *world)
{
    struct topology_seed seeds[NODES_MAX];
    memset(seeds, 0, sizeof seeds);
    for (uint32_t i = 0; i < world->options.nodes; i++) {
        snprintf(seeds[i].name, sizeof seeds[i].name, "node%" PRIu32, i + 1);
        snprintf(seeds[i].address, sizeof seeds[i].address, "sim:%" PRIu32, i + 1);
        snprintf(seeds[i].data_center, sizeof seeds[i].data_center, "dc%" PRIu32,
                 i % world->options.data_centers);
        snprintf(seeds[i].zone, sizeof seeds[i].zone, "zone%" PRIu32, i % 3);
        seeds[i].weight = 1;
    }
    const char *why = "";
    if (topology_initial(&world->arena, seeds, world->options.nodes, world->options.partitions,
                         &world->first, &why) != OK)
        world_fail(world, "setup", "no topology: %s", why);
    topology_copy(&world->arena, &world->first, &world->topology);
}

static struct world *world_new(const struct sim_options *options, bool text, FILE *stream)
{
    struct world *world = calloc(1, sizeof *world);
    CHECK(world != NULL);
    world->options = *options;
    world->log =
        (struct log){.sink = log_sink, .host = world, .level = text ? LOG_INFO : LOG_LEVEL_COUNT};
    trace_init(&world->trace, text, stream);
    heap_init(&world->events);
    arena_init(&world->arena, NULL, 0);
    prng_init(&world->order, options->seed, RANDOM_EVENTS);
    network_init(&world->network, options->seed);
    history_init(&world->history);
    workload_init(&world->workload, options->seed);
    steward_init(&world->steward, options->seed, options->changes);
    registers_init(&world->registers, options->seed);
    mints_init(&world->mints);
    check_init(&world->check);
    make_topology(world);
    for (uint32_t i = 0; i < options->nodes; i++)
        host_init(&world->hosts[i], world, i, i + 1);
    return world;
}

static void world_free(struct world *world)
{
    while (world->events.count > 0)
        event_done(world, heap_pop(&world->events).value);
    while (world->unused != NULL) {
        struct event *next = world->unused->next;
        free(world->unused);
        world->unused = next;
    }
    faults_deinit(world);
    check_deinit(&world->check);
    mints_deinit(&world->mints);
    registers_deinit(&world->registers);
    history_deinit(&world->history);
    network_deinit(&world->network);
    heap_deinit(&world->events);
    arena_deinit(&world->arena);
    free(world);
}

/* The lines before a CHECK ended the process, for the signal handler of the batch. */
static struct trace *trace_now;

void world_print_last(FILE *file)
{
    if (trace_now != NULL && trace_now->text && trace_now->stream == NULL)
        trace_print_last(trace_now, file);
}

static void world_loop(struct world *world)
{
    faults_set_clocks(world);
    for (uint32_t i = 0; i < world->options.nodes; i++)
        host_start(&world->hosts[i]);
    world_plan(world, PHASE_LOOK_NS, EVENT_PHASE);
    while (!world->failure.failed && world->phase != PHASE_END) {
        struct heap_entry entry = heap_pop(&world->events);
        struct event *event = entry.value;
        world->now_ns = entry.key;
        if (!event_is_void(world, event))
            event_run(world, event);
        event_done(world, event);
        if (world->figures.steps > STEPS_MAX)
            world_fail(world, "bounds", "%u steps: the cluster talks to itself", STEPS_MAX);
    }
    if (!world->failure.failed)
        check_finally(world);
}

struct world_result world_run(const struct sim_options *options, bool text, FILE *stream)
{
    struct world *world = world_new(options, text, stream);
    trace_now = &world->trace;
    if (!world->failure.failed)
        world_loop(world);
    for (uint32_t i = 0; i < world->options.nodes; i++)
        host_deinit(&world->hosts[i]);
    struct world_result result = {
        .failure = world->failure,
        .hash = world->trace.hash,
        .events = world->trace.events,
        .operations = world->history.count,
        .simulated_ns = world->now_ns,
        .figures = world->figures,
    };
    result.figures.last_rotten = world->given_up.rotten;
    result.figures.given_up = world->given_up.keys;
    for (uint32_t i = 0; i < world->history.count; i++) {
        if (world->history.operations[i].state == OPERATION_ENDED &&
            world->history.operations[i].status == OK)
            result.operations_ok++;
    }
    if (world->failure.failed)
        world_print_last(stderr);
    trace_now = NULL;
    world_free(world);
    return result;
}
