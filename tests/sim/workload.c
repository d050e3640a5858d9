#include "tests/sim/workload.h"

#include "model/hash.h"
#include "tests/sim/steward_replicas.h"
#include "tests/sim/world.h"

#define DEADLINE_MIN_NS   (50 * (uint64_t)MS_NS)
#define DEADLINE_MAX_NS   (5 * (uint64_t)SECOND_NS)
#define DEADLINE_QUIET_NS (10 * (uint64_t)SECOND_NS)
#define QUIET_CLIENTS     4u
#define QUIET_ROUNDS      2u /* of a write and a read through each node */

/* An answer may come this much later than its deadline: clocks drift, threads queue. */
#define SLACK_NS (500 * (uint64_t)MS_NS)

void workload_init(struct workload *workload, uint64_t seed)
{
    memset(workload, 0, sizeof *workload);
    prng_init(&workload->prng, seed, RANDOM_WORKLOAD);
}

/* -- setup
 * ------------------------------------------------------------------------------------------ */

bool workload_set_up(struct world *world)
{
    struct workload *workload = &world->workload;
    if (keyspaces_ask_wanted(world))
        return false;
    for (uint32_t i = 0; i < world->options.keyspace_count; i++) {
        for (uint32_t node = 0; node < world->options.nodes; node++) {
            const struct keyspace *keyspace =
                host_keyspace(&world->hosts[node], world->options.keyspaces[i].name);
            if (keyspace == NULL)
                return false;
            workload->keyspace_ids[i] = keyspace->id;
        }
    }
    return true;
}

/* -- what a level means ---------------------------------------------------------------------------
 */

static uint32_t smaller(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* How many distinct nodes must answer, worked out apart from the code under test. */
static void operation_counts(struct world *world, struct operation *operation)
{
    const struct sim_keyspace *keyspace = &world->options.keyspaces[operation->keyspace];
    uint32_t local =
        member_place(topology_member(&world->topology, operation->node + 1))->data_center;
    uint32_t local_replicas = 0;
    uint32_t majorities = 0;
    operation->replicas = 0;
    for (uint32_t i = 0; i < world->topology.data_center_count; i++) {
        uint32_t here = smaller(steward_replicas(world, operation->keyspace, TOPOLOGY_NOW, i),
                                topology_member_count_in(&world->topology, TOPOLOGY_NOW, i));
        operation->replicas += here;
        majorities += here / 2 + 1;
        if (i == local)
            local_replicas = here;
    }
    enum consistency level = operation->level;
    uint32_t count = operation->count;
    if (level == CONSISTENCY_DEFAULT) {
        bool read = operation->kind == OPERATION_GET;
        level = read ? keyspace->read_level : keyspace->write_level;
        count = read ? keyspace->read_count : keyspace->write_count;
    }
    switch (level) {
    case CONSISTENCY_QUORUM:
        operation->needed = operation->replicas / 2 + 1;
        break;
    case CONSISTENCY_ALL:
        operation->needed = operation->replicas;
        break;
    case CONSISTENCY_LOCAL_QUORUM:
        operation->needed = local_replicas / 2 + 1;
        break;
    case CONSISTENCY_EACH_QUORUM:
        operation->needed = majorities;
        break;
    case CONSISTENCY_COUNT:
        operation->needed = count;
        break;
    case CONSISTENCY_ONE:
    case CONSISTENCY_LOCAL_ONE:
    case CONSISTENCY_DEFAULT:
        operation->needed = 1;
        break;
    }
}

static void draw_level(struct world *world, struct operation *operation)
{
    struct prng *prng = &world->workload.prng;
    if (world->options.local_share > 0 && prng_chance(prng, world->options.local_share)) {
        operation->level =
            prng_chance(prng, 0.8) ? CONSISTENCY_LOCAL_QUORUM : CONSISTENCY_LOCAL_ONE;
        return;
    }
    if (prng_chance(prng, world->options.quorum_share)) {
        operation->level = CONSISTENCY_QUORUM;
        return;
    }
    operation->level = (enum consistency)prng_below(prng, CONSISTENCY_COUNT + 1);
    uint32_t smallest = world->options.nodes / world->options.data_centers;
    operation->count =
        1 + (uint32_t)prng_below(
                prng, smaller(steward_replicas_least(world, operation->keyspace), smallest));
}

/* -- asking
 * --------------------------------------------------------------------------------------------- */

static struct bytes request_id_of(const struct world *world, uint32_t write, struct arena *arena)
{
    uint64_t parts[2] = {world->options.seed, write};
    static_assert(sizeof parts == REQUEST_ID_BYTES, "an id");
    return arena_copy(arena, bytes_of(parts, sizeof parts));
}

static void operation_send(struct world *world, struct operation *operation)
{
    struct host *host = &world->hosts[operation->node];
    char name[16];
    uint8_t value[VALUE_SIZE_MAX];
    key_name(operation->key, name);
    bool get = operation->kind == OPERATION_GET;
    struct message *message = message_new(get ? MESSAGE_client_get : MESSAGE_client_put, 512);
    message->from = (struct actor_id){.node = host->member, .kind = ACTOR_EDGE};
    message->to = (struct actor_id){
        .node = host->member,
        .kind = ACTOR_COORDINATOR,
        .index = (uint8_t)prng_below(&world->workload.prng, world->options.coordinators)};
    message->id = operation->id + 1;
    message->deadline_ns = host_monotonic_ns(host) + (operation->deadline_ns - world->now_ns);
    struct bytes key = arena_copy(&message->arena, bytes_of_string(name));
    if (get) {
        message->client_get = (struct client_get){.client = operation->id,
                                                  .keyspace_id = operation->keyspace_id,
                                                  .key = key,
                                                  .level = operation->level,
                                                  .count = operation->count};
    } else {
        message->client_put.client = operation->id;
        struct put_request *request = &message->client_put.request;
        *request = (struct put_request){.keyspace_id = operation->keyspace_id,
                                        .key = key,
                                        .has_context = operation->has_context,
                                        .level = operation->level,
                                        .count = operation->count,
                                        .strict = operation_is_strict(operation)};
        request->context = arena_copy(&message->arena, operation->context);
        request->expires_at_ms = operation->expires_at_ms;
        if (operation->has_request_id)
            request->request_id = request_id_of(world, operation->write, &message->arena);
        if (operation->kind == OPERATION_PUT) {
            request->value = arena_copy(&message->arena, history_value(operation->write, value));
        } else {
            request->flags = VERSION_TOMBSTONE;
            request->expires_at_ms = history_delete_mark(operation->write);
        }
    }
    host_post(host, message);
}

static const char *const kind_texts[] = {"get", "put", "delete"};

static void operation_start(struct world *world, struct operation *operation,
                            uint64_t deadline_in_ns)
{
    struct workload *workload = &world->workload;
    operation->start = world->hosts[operation->node].start;
    operation->keyspace_id = workload->keyspace_ids[operation->keyspace];
    operation->started_ns = world->now_ns;
    operation->deadline_ns = world->now_ns + deadline_in_ns;
    workload->running++;
    workload->touched[operation->keyspace][operation->key] = true;
    operation_counts(world, operation);
    check_began(world, operation);
    trace_mix(&world->trace, operation->id, operation->node, operation->key,
              operation->deadline_ns);
    trace_line(&world->trace, world->now_ns, "client %u: op %u %s %s/key%u %s %u%s via n%u",
               operation->client, operation->id, kind_texts[operation->kind],
               world->options.keyspaces[operation->keyspace].name, operation->key,
               consistency_text(operation->level), operation->needed,
               operation->has_context ? " with context" : "", operation->node + 1);
    operation_send(world, operation);
    world_plan(world, operation->deadline_ns + SLACK_NS, EVENT_DEADLINE)->number = operation->id;
}

/* -- clients
 * ------------------------------------------------------------------------------------------------
 */

static void plan_client(struct world *world, uint32_t client, uint64_t mean_ns)
{
    uint64_t think_ns = 1 + random_exponential(&world->workload.prng, mean_ns);
    struct event *event = world_plan(world, world->now_ns + think_ns, EVENT_CLIENT);
    event->slot = client;
    event->number = world->phase;
}

void workload_start_clients(struct world *world)
{
    for (uint32_t client = 0; client < world->options.clients; client++)
        plan_client(world, client, world->options.think_mean_ns);
}

/* A client hands back what it saw last; now and then something older, as a slow one would. */
static void draw_context(struct world *world, struct operation *operation)
{
    static const uint8_t empty_clock[] = {0};
    if (world->options.hoarding) {
        operation->has_context = true;
        operation->context = bytes_of(empty_clock, sizeof empty_clock);
        return;
    }
    struct prng *prng = &world->workload.prng;
    const struct remembered *remembered =
        &world->workload.remembered[operation->client][operation->keyspace][operation->key];
    bool wants = prng_chance(prng, world->options.context_share);
    bool older = prng_chance(prng, 0.1);
    if (!wants || remembered->latest.size == 0)
        return;
    operation->has_context = true;
    operation->context =
        older && remembered->older.size != 0 ? remembered->older : remembered->latest;
}

/* The same write once more, through any node. */
static void client_retry(struct world *world, uint32_t client, uint32_t node)
{
    struct operation *first = &world->history.operations[world->workload.retry[client].operation];
    struct operation *operation = history_add(&world->history);
    struct operation copy = {.id = operation->id,
                             .write = first->write,
                             .kind = first->kind,
                             .client = client,
                             .node = node,
                             .keyspace = first->keyspace,
                             .key = first->key,
                             .level = first->level,
                             .count = first->count,
                             .has_context = first->has_context,
                             .context = first->context,
                             .has_request_id = true,
                             .expires_at_ms = first->expires_at_ms};
    world->workload.retry[client].wanted = false;
    world->history.operations[first->write].retried = true;
    check_retried(world, first->write);
    *operation = copy;
    world->workload.started++;
    operation_start(world, operation,
                    random_log(&world->workload.prng, DEADLINE_MIN_NS, DEADLINE_MAX_NS));
}

static void draw_expiry(struct world *world, struct operation *operation)
{
    struct prng *prng = &world->workload.prng;
    bool expires = prng_chance(prng, world->options.ttl_share);
    uint64_t in_ms = random_log(prng, 1, 2 * world->options.safety_ns / MS_NS);
    if (expires && operation->kind == OPERATION_PUT)
        operation->expires_at_ms = host_wall_ms(&world->hosts[operation->node]) + in_ms;
}

static void client_operation(struct world *world, uint32_t client, uint32_t node)
{
    struct prng *prng = &world->workload.prng;
    struct operation *operation = history_add(&world->history);
    operation->client = client;
    operation->node = node;
    operation->keyspace = (uint32_t)prng_below(prng, world->options.keyspace_count);
    operation->key = (uint32_t)prng_below(prng, world->options.keys);
    bool write = prng_chance(prng, world->options.write_share);
    bool delete = prng_chance(prng, world->options.delete_share);
    operation->kind = !write ? OPERATION_GET : delete ? OPERATION_DELETE : OPERATION_PUT;
    draw_level(world, operation);
    if (operation->kind != OPERATION_GET) {
        draw_context(world, operation);
        draw_expiry(world, operation);
        operation->has_request_id = prng_chance(prng, world->options.request_share);
    }
    world->workload.started++;
    operation_start(world, operation, random_log(prng, DEADLINE_MIN_NS, DEADLINE_MAX_NS));
}

static void quiet_operation(struct world *world, uint32_t client);

/* The member that stands there when the others are left out. */
static uint32_t nth_member(const struct world *world, uint32_t place)
{
    uint32_t node = 0;
    for (uint32_t i = 0;; i = (i + 1) % world->options.nodes) {
        if (!steward_is_member(world, i))
            continue;
        node = i;
        if (place-- == 0)
            return node;
    }
}

void workload_on_client(struct world *world, uint32_t client, enum phase planned_in)
{
    if (planned_in != world->phase)
        return;
    if (world->phase == PHASE_QUIET) {
        quiet_operation(world, client);
        return;
    }
    if (world->phase != PHASE_SAFETY || world->workload.started >= world->options.operations_max)
        return;
    uint32_t node = (uint32_t)prng_below(&world->workload.prng, world->options.nodes);
    if (!world->hosts[node].up) /* connection refused: somebody else next time */
        plan_client(world, client, world->options.think_mean_ns + MS_NS);
    else if (world->workload.retry[client].wanted)
        client_retry(world, client, node);
    else
        client_operation(world, client, node);
    if (world->hosts[node].up && prng_chance(&world->workload.prng, 0.01))
        keyspaces_ask_extra(world, node);
}

/* -- the quiet phase
 * ------------------------------------------------------------------------------------------ */

void workload_start_quiet(struct world *world)
{
    struct workload *workload = &world->workload;
    workload->quiet_step = 0;
    workload->quiet_again = 0;
    uint32_t finals = 2 * world->options.keyspace_count * world->options.keys;
    workload->quiet_steps = 2 * QUIET_ROUNDS * world->options.nodes + finals;
    for (uint32_t client = 0; client < QUIET_CLIENTS; client++)
        plan_client(world, client, MS_NS);
}

bool workload_quiet_done(const struct world *world)
{
    return world->workload.quiet_step >= world->workload.quiet_steps &&
           world->workload.running == 0 && world->workload.quiet_again == 0;
}

/* Probes go through each node in turn; a write without a context always has a place. */
static void draw_probe(struct world *world, struct operation *operation, uint32_t step)
{
    struct prng *prng = &world->workload.prng;
    operation->kind = step % 2 == 0 ? OPERATION_PUT : OPERATION_GET;
    operation->node = nth_member(world, step / 2 % world->options.nodes);
    operation->keyspace = (uint32_t)prng_below(prng, world->options.keyspace_count);
    operation->key = (uint32_t)prng_below(prng, world->options.keys);
    operation->level = prng_chance(prng, 0.5) ? CONSISTENCY_QUORUM : CONSISTENCY_ALL;
}

/* False: nobody has touched that key. */
static bool draw_final(struct world *world, struct operation *operation, uint32_t step)
{
    struct workload *workload = &world->workload;
    uint32_t keys = world->options.keys;
    uint32_t finals = world->options.keyspace_count * keys;
    operation->keyspace = step % finals / keys;
    operation->key = step % finals % keys;
    operation->kind = OPERATION_GET;
    operation->final = step < finals;
    operation->level = operation->final ? CONSISTENCY_ALL : CONSISTENCY_ONE;
    operation->node = (uint32_t)prng_below(&workload->prng, world->options.nodes);
    operation->node = nth_member(world, operation->node);
    return workload->touched[operation->keyspace][operation->key];
}

static void quiet_begin(struct world *world, struct operation draft)
{
    struct operation *operation = history_add(&world->history);
    draft.id = draft.write = operation->id;
    *operation = draft;
    if (operation->final)
        world->workload.final[operation->keyspace][operation->key] = operation;
    operation_start(world, operation, DEADLINE_QUIET_NS);
}

/* What was refused once more; false: nothing was. */
static bool quiet_retry(struct world *world, uint32_t client)
{
    struct workload *workload = &world->workload;
    if ((workload->quiet_again >> client & 1) == 0)
        return false;
    const struct operation *refused = &world->history.operations[workload->quiet_refused[client]];
    workload->quiet_again &= ~(1u << client);
    quiet_begin(world, (struct operation){.client = client,
                                          .quiet = true,
                                          .kind = refused->kind,
                                          .node = refused->node,
                                          .keyspace = refused->keyspace,
                                          .key = refused->key,
                                          .level = refused->level,
                                          .final = refused->final});
    return true;
}

/* The next step of the list. Final reads begin when every probe has ended, the reads at ONE when
 * every final read has. */
static void quiet_operation(struct world *world, uint32_t client)
{
    struct workload *workload = &world->workload;
    uint32_t probes = 2 * QUIET_ROUNDS * world->options.nodes;
    uint32_t finals = world->options.keyspace_count * world->options.keys;
    while (!quiet_retry(world, client)) {
        uint32_t step = workload->quiet_step;
        if (step >= workload->quiet_steps)
            return;
        if ((step == probes || step == probes + finals) &&
            (workload->running > 0 || workload->quiet_again != 0)) {
            plan_client(world, client, MS_NS);
            return;
        }
        workload->quiet_step++;
        struct operation draft = {.client = client, .quiet = true};
        if (step < probes)
            draw_probe(world, &draft, step);
        else if (!draw_final(world, &draft, step - probes))
            continue;
        quiet_begin(world, draft);
        return;
    }
}

/* -- ends
 * --------------------------------------------------------------------------------------------------------
 */

/* A client that does not know what became of its write tries it again, or leaves it. */
static void want_retry(struct world *world, const struct operation *operation)
{
    bool tries = prng_chance(&world->workload.prng, 0.7);
    if (!tries || !operation->has_request_id || world->phase != PHASE_SAFETY ||
        operation->client_left)
        return;
    world->workload.retry[operation->client].wanted = true;
    world->workload.retry[operation->client].operation = operation->id;
}

static void operation_left(struct world *world, struct operation *operation)
{
    if (operation->client_left)
        return;
    operation->client_left = true;
    plan_client(world, operation->client, operation->quiet ? MS_NS : world->options.think_mean_ns);
}

static void operation_end(struct world *world, struct operation *operation,
                          enum operation_state state, enum err status)
{
    struct workload *workload = &world->workload;
    if (operation->quiet && status == ERR_OVERLOADED && sim_options_starved(&world->options)) {
        workload->quiet_again |= 1u << operation->client;
        workload->quiet_refused[operation->client] = operation->id;
    }
    operation->status = status;
    CHECK(operation->state == OPERATION_RUNNING);
    operation->state = state;
    operation->ended_ns = world->now_ns;
    if (state == OPERATION_CUT_OFF)
        want_retry(world, operation);
    world->workload.running--;
    operation_left(world, operation);
}

static void remember(struct world *world, const struct operation *operation, struct bytes context)
{
    struct remembered *remembered =
        &world->workload.remembered[operation->client][operation->keyspace][operation->key];
    remembered->older = remembered->latest;
    remembered->latest = context;
}

static void on_get_done(struct world *world, struct operation *operation,
                        const struct client_get_done *done)
{
    struct arena *arena = &world->history.arena;
    if (done->status == OK) {
        operation->set = version_set_copy(arena, &done->set);
        struct clock context = version_set_context(&operation->set);
        struct writer writer;
        writer_init(&writer, arena, 64);
        clock_encode(&writer, &context);
        remember(world, operation, writer_result(&writer));
    }
    check_get_ended(world, operation, done);
}

static void on_put_done(struct world *world, struct operation *operation,
                        const struct client_put_done *done)
{
    struct arena *arena = &world->history.arena;
    operation->outcome = done->result.outcome;
    if (done->result.context.size != 0) {
        operation->result_context = arena_copy(arena, done->result.context);
        struct reader reader = reader_of(operation->result_context);
        if (clock_decode(&reader, arena, &operation->result_clock) != OK || !reader_done(&reader))
            world_fail(world, "outcome", "op %u: the context of the answer is damaged",
                       operation->id);
        else if (done->result.status == OK)
            remember(world, operation, operation->result_context);
    }
    check_put_ended(world, operation, done);
}

static void trace_end(struct world *world, const struct operation *operation)
{
    static const char *const outcomes[] = {"not applied", "applied", "unknown"};
    trace_mix(&world->trace, world->now_ns, operation->id, operation->status, operation->outcome);
    trace_line(&world->trace, world->now_ns, "client %u: op %u ends: %s, %s, %u versions",
               operation->client, operation->id, err_text(operation->status),
               operation->kind == OPERATION_GET ? "read" : outcomes[operation->outcome],
               operation->set.count);
}

void workload_on_answer(struct world *world, struct host *host, struct message *message)
{
    if (message->kind == MESSAGE_keyspace_change_done) {
        keyspaces_on_done(world, &message->keyspace_change_done);
        return;
    }
    if (message->kind == MESSAGE_client_topology_done) {
        steward_on_done(world, &message->client_topology_done);
        return;
    }
    if (message->kind == MESSAGE_client_maintenance_done)
        return; /* of what is given up */
    bool get = message->kind == MESSAGE_client_get_done;
    if ((get && registers_takes(message->client_get_done.client)) ||
        (message->kind == MESSAGE_client_put_done &&
         registers_takes(message->client_put_done.client))) {
        registers_on_answer(world, host, message);
        return;
    }
    if (!get && message->kind != MESSAGE_client_put_done) {
        world_fail(world, "ends", "n%u: a client got a %s", host->member,
                   message_kind_text(message->kind));
        return;
    }
    uint64_t id = get ? message->client_get_done.client : message->client_put_done.client;
    struct operation *operation = id < world->history.count ? &world->history.operations[id] : NULL;
    if (operation == NULL || operation->state != OPERATION_RUNNING ||
        operation->node != host->index || (operation->kind == OPERATION_GET) != get) {
        world_fail(world, "ends", "n%u: an answer for op %llu, which has none to get", host->member,
                   (unsigned long long)id);
        return;
    }
    if (!get && message->client_put_done.result.outcome == OUTCOME_UNKNOWN)
        want_retry(world, operation);
    operation_end(world, operation, OPERATION_ENDED,
                  get ? message->client_get_done.status : message->client_put_done.result.status);
    if (get)
        on_get_done(world, operation, &message->client_get_done);
    else
        on_put_done(world, operation, &message->client_put_done);
    trace_end(world, operation);
}

void workload_on_deadline(struct world *world, uint32_t id)
{
    struct operation *operation = &world->history.operations[id];
    const struct host *host = &world->hosts[operation->node];
    if (operation->state != OPERATION_RUNNING)
        return;
    if (world->now_ns < host->pause_ended_ns + SLACK_NS) {
        want_retry(world, operation);
        operation_left(world, operation);
        world_plan(world, host->pause_ended_ns + SLACK_NS, EVENT_DEADLINE)->number = id;
        return;
    }
    world_fail(world, "ends", "op %u at n%u has no answer %.3f s after its deadline", id,
               host->member, (double)(world->now_ns - operation->deadline_ns) / SECOND_NS);
}

void workload_host_down(struct world *world, uint32_t node)
{
    keyspaces_host_down(world, node);
    registers_host_down(world, node);
    for (uint32_t i = 0; i < world->history.count; i++) {
        struct operation *operation = &world->history.operations[i];
        if (operation->node != node || operation->state != OPERATION_RUNNING)
            continue;
        operation_end(world, operation, OPERATION_CUT_OFF, OK);
        trace_line(&world->trace, world->now_ns, "client %u: op %u cut off", operation->client,
                   operation->id);
    }
}
