#include "tests/sim/registers.h"

#include "model/record.h"
#include "tests/sim/world.h"

#include <inttypes.h>
#include <stdlib.h>

#define DEADLINE_MIN_NS   (50 * (uint64_t)MS_NS)
#define DEADLINE_MAX_NS   (5 * (uint64_t)SECOND_NS)
#define DEADLINE_QUIET_NS (10 * (uint64_t)SECOND_NS)
#define SLACK_NS          (500 * (uint64_t)MS_NS)
#define RETRY_SHARE       0.8
#define ROGUE_SHARE       0.02
#define CLIENT_BASE       ((uint64_t)1 << 32) /* above the operations of workload.c */

void registers_init(struct registers *registers, uint64_t seed)
{
    *registers = (struct registers){0};
    prng_init(&registers->prng, seed, RANDOM_REGISTERS);
    registers->attempts = calloc(REGISTER_ATTEMPTS_MAX, sizeof *registers->attempts);
    CHECK(registers->attempts != NULL);
    for (uint32_t i = 0; i < REGISTER_CLIENTS_MAX; i++)
        registers->retry[i] = REGISTER_NONE;
}

void registers_deinit(struct registers *registers)
{
    free(registers->attempts);
}

bool registers_set_up(struct world *world)
{
    for (uint32_t node = 0; world->options.registers.keys > 0 && node < world->options.nodes;
         node++) {
        const struct keyspace *keyspace = host_keyspace(&world->hosts[node], REGISTERS_KEYSPACE);
        if (keyspace == NULL)
            return false;
        world->registers.keyspace_id = keyspace->id;
    }
    return true;
}

/* -- keys and values ---------------------------------------------------------------------------
 */

void registers_key_name(uint32_t key, char ret_name[16])
{
    snprintf(ret_name, 16, "reg%" PRIu32, key);
}

bool registers_is_counter(const struct world *world, uint32_t key)
{
    return key < world->options.registers.counters;
}

static uint32_t partition_of(const struct world *world, struct bytes name)
{
    return world_partition(world, world->registers.keyspace_id, name);
}

/* The bytes of a value by its number. */
static struct bytes value_bytes(const struct world *world, uint32_t key, uint32_t number,
                                uint8_t memory[REGISTER_VALUE_MAX])
{
    if (registers_is_counter(world, key))
        return bytes_of(memory,
                        (size_t)snprintf((char *)memory, REGISTER_VALUE_MAX, "%" PRIu32, number));
    size_t used = (size_t)snprintf((char *)memory, REGISTER_VALUE_MAX, "%" PRIu32 ":", number);
    size_t size = used + number * 37 % 200;
    memset(memory + used, 'a' + (int)(number % 26), size - used);
    return bytes_of(memory, size);
}

static uint32_t value_number(struct world *world, uint32_t key, struct bytes value)
{
    char text[16] = "";
    uint32_t number = 0;
    uint8_t memory[REGISTER_VALUE_MAX];
    memcpy(text, value.data, value.size < sizeof text ? value.size : sizeof text - 1);
    bool good = sscanf(text, "%" SCNu32, &number) == 1 && number != 0 &&
                bytes_equal(value_bytes(world, key, number, memory), value);
    if (!good || (!registers_is_counter(world, key) && number > world->registers.count))
        world_fail(world, "phantom", "reg%u holds %u bytes that nobody wrote", key,
                   (uint32_t)value.size);
    return number;
}

static bool is_mute(const struct world *world, const struct host *host, uint32_t partition)
{
    uint32_t shard = replica_shard(partition, world->options.shards);
    /* One whose disk was wiped may not have been told so yet. */
    return !host->up || host->wiped ||
           !replica_votes(host->replicas[shard], partition, world->registers.keyspace_id);
}

struct acceptors {
    uint32_t partition;
    uint32_t count;
    uint32_t mute;
    uint32_t lost; /* mute, or the row is bad */
};

static struct acceptors acceptors_of(struct world *world, uint32_t key)
{
    struct replica_set set = {0};
    struct arena arena;
    char name[16];
    registers_key_name(key, name);
    struct acceptors acceptors = {.partition = partition_of(world, bytes_of_string(name))};
    const struct host *newest = steward_newest_host(world);
    const struct keyspace *keyspace =
        newest == NULL ? NULL : host_keyspace(newest, REGISTERS_KEYSPACE);
    if (keyspace != NULL)
        view_replica_set(newest->view, keyspace, acceptors.partition, &set);
    arena_init(&arena, NULL, 0);
    acceptors.count = set.count;
    for (uint32_t i = 0; i < set.count; i++) {
        struct host *host = &world->hosts[set.replicas[i].member - 1];
        struct register_state state;
        bool mute = is_mute(world, host, acceptors.partition);
        bool bad = !host_peek_register(host, world->registers.keyspace_id, bytes_of_string(name),
                                       &arena, &state);
        acceptors.mute += mute;
        acceptors.lost += mute || bad;
    }
    arena_deinit(&arena);
    return acceptors;
}

uint32_t registers_acceptors(struct world *world, uint32_t key, uint32_t *ret_lost)
{
    struct acceptors acceptors = acceptors_of(world, key);
    *ret_lost = acceptors.lost;
    return acceptors.count;
}

static bool key_is_bad(struct world *world, struct host *host, uint32_t key)
{
    char name[16];
    struct arena arena;
    struct register_state state;
    registers_key_name(key, name);
    arena_init(&arena, NULL, 0);
    bool bad = is_mute(world, host, partition_of(world, bytes_of_string(name))) ||
               !host_peek_register(host, world->registers.keyspace_id, bytes_of_string(name),
                                   &arena, &state);
    arena_deinit(&arena);
    return bad;
}

/* It knows what it has lost. */
static bool is_judged(const struct world *world, const struct host *host)
{
    for (uint32_t i = 0; host->up && i < world->options.shards; i++) {
        if (!host_copies_known(host, i))
            return false;
    }
    return host->up && !host->wiped &&
           (host->put_backs == 0 || hellos_known_everywhere(world, host->index));
}

bool registers_spare(struct world *world, uint32_t node)
{
    if (!world_has(world, FAULT_MEMBERSHIP))
        return true;
    for (uint32_t i = 0; i < world->options.nodes; i++) {
        struct host *host = &world->hosts[i];
        const struct member *member = topology_member(&world->topology, host->member);
        if (i == node || member == NULL || member->status == MEMBER_REMOVED)
            continue;
        if (!is_judged(world, host))
            return false;
        for (uint32_t key = 0; key < world->options.registers.keys; key++) {
            if (key_is_bad(world, host, key))
                return false;
        }
    }
    return true;
}

/* A key that has no majority any more for a bad row holds the votes of its whole partition back. */
static bool is_held_back(struct world *world, uint32_t partition)
{
    for (uint32_t key = 0; key < world->options.registers.keys; key++) {
        struct acceptors acceptors = acceptors_of(world, key);
        if (acceptors.partition == partition &&
            acceptors.count - acceptors.lost <= acceptors.count / 2)
            return true;
    }
    return false;
}

bool registers_vote(struct world *world)
{
    for (uint32_t key = 0; key < world->options.registers.keys; key++) {
        struct acceptors acceptors = acceptors_of(world, key);
        if (acceptors.mute > 0 && !is_held_back(world, acceptors.partition))
            return false;
    }
    return true;
}

bool registers_wait(struct world *world)
{
    for (uint32_t key = 0; key < world->options.registers.keys; key++) {
        if (acceptors_of(world, key).mute > 0)
            return true;
    }
    return false;
}

/* -- asking ------------------------------------------------------------------------------------
 */

static enum register_condition condition_of(enum registers_kind kind)
{
    switch (kind) {
    case REGISTERS_IF_VALUE:
        return REGISTER_IF_VALUE;
    case REGISTERS_IF_VERSION:
        return REGISTER_IF_VERSION;
    case REGISTERS_IF_ABSENT:
        return REGISTER_IF_ABSENT;
    case REGISTERS_GET:
    case REGISTERS_PUT:
    case REGISTERS_DELETE:
        break;
    }
    return REGISTER_ALWAYS;
}

static void fill_put(struct world *world, const struct register_attempt *attempt,
                     struct arena *arena, struct put_request *put)
{
    uint8_t value[REGISTER_VALUE_MAX];
    char name[16];
    registers_key_name(attempt->key, name);
    bool remove = attempt->kind == REGISTERS_DELETE || attempt->remove;
    *put = (struct put_request){.keyspace_id = world->registers.keyspace_id,
                                .key = arena_copy(arena, bytes_of_string(name)),
                                .flags = remove ? VERSION_TOMBSTONE : 0,
                                .expires_at_ms = attempt->expires_at_ms,
                                .condition = condition_of(attempt->kind),
                                .expected_version = attempt->expected_version};
    if (!remove)
        put->value = arena_copy(arena, value_bytes(world, attempt->key, attempt->value, value));
    if (attempt->kind == REGISTERS_IF_VALUE)
        put->expected =
            arena_copy(arena, value_bytes(world, attempt->key, attempt->expected, value));
    if (attempt->has_request_id) {
        uint64_t id[2] = {world->options.seed, CLIENT_BASE + attempt->write};
        static_assert(sizeof id == REQUEST_ID_BYTES, "an id");
        put->request_id = arena_copy(arena, bytes_of(id, sizeof id));
    }
}

static void attempt_send(struct world *world, const struct register_attempt *attempt)
{
    struct host *host = &world->hosts[attempt->node];
    bool get = attempt->kind == REGISTERS_GET;
    char name[16];
    struct message *message = message_new(get ? MESSAGE_client_get : MESSAGE_client_put, 512);
    message->from = (struct actor_id){.node = host->member, .kind = ACTOR_EDGE};
    message->to = (struct actor_id){
        .node = host->member,
        .kind = ACTOR_COORDINATOR,
        .index = (uint8_t)prng_below(&world->registers.prng, world->options.coordinators)};
    message->id = CLIENT_BASE + attempt->id;
    message->deadline_ns = host_monotonic_ns(host) + (attempt->deadline_ns - world->now_ns);
    registers_key_name(attempt->key, name);
    if (get) {
        message->client_get =
            (struct client_get){.client = CLIENT_BASE + attempt->id,
                                .keyspace_id = world->registers.keyspace_id,
                                .key = arena_copy(&message->arena, bytes_of_string(name))};
    } else {
        message->client_put.client = CLIENT_BASE + attempt->id;
        fill_put(world, attempt, &message->arena, &message->client_put.request);
    }
    host_post(host, message);
}

static const char *const kind_texts[] = {"get",      "put",        "delete",
                                         "if value", "if version", "if absent"};

/* NULL: the key has had all that may be judged. */
static struct register_attempt *attempt_new(struct world *world, uint32_t key)
{
    struct registers *registers = &world->registers;
    if (registers->of_key[key] == REGISTER_ATTEMPTS_KEY_MAX)
        return NULL;
    registers->of_key[key]++;
    struct register_attempt *attempt = &registers->attempts[registers->count];
    *attempt = (struct register_attempt){
        .id = registers->count, .write = registers->count, .key = key, .ended_ns = NEVER_NS};
    registers->count++;
    return attempt;
}

static void attempt_start(struct world *world, struct register_attempt *attempt,
                          uint64_t deadline_in_ns)
{
    attempt->called_ns = world->now_ns;
    attempt->deadline_ns = world->now_ns + deadline_in_ns;
    world->registers.running++;
    world->figures.registers.operations++;
    trace_mix(&world->trace, CLIENT_BASE + attempt->id, attempt->node, attempt->key,
              attempt->deadline_ns);
    trace_line(&world->trace, world->now_ns,
               "register client %u: op %u (of %u) %s%s reg%u value %u expected %u/%llu via n%u",
               attempt->client, attempt->id, attempt->write, kind_texts[attempt->kind],
               attempt->remove ? " removes" : "", attempt->key, attempt->value, attempt->expected,
               (unsigned long long)attempt->expected_version, attempt->node + 1);
    attempt_send(world, attempt);
    world_plan(world, attempt->deadline_ns + SLACK_NS, EVENT_REGISTER_DEADLINE)->number =
        attempt->id;
}

/* -- clients -----------------------------------------------------------------------------------
 */

static void plan_client(struct world *world, uint32_t client, uint64_t mean_ns)
{
    uint64_t think_ns = 1 + random_exponential(&world->registers.prng, mean_ns);
    struct event *event = world_plan(world, world->now_ns + think_ns, EVENT_REGISTER_CLIENT);
    event->slot = client;
    event->number = world->phase;
}

void registers_start_clients(struct world *world)
{
    const struct sim_registers *options = &world->options.registers;
    for (uint32_t client = 0; options->keys > 0 && client < options->clients; client++)
        plan_client(world, client, options->think_mean_ns);
}

/* What a client does next with a key, by what it has seen of it. */
static void draw_change(struct world *world, struct register_attempt *attempt)
{
    struct registers *registers = &world->registers;
    struct prng *prng = &registers->prng;
    uint32_t seen = registers->seen[attempt->client][attempt->key].value;
    bool counter = registers_is_counter(world, attempt->key);
    uint64_t draw = prng_below(prng, 100);
    bool expires = prng_chance(prng, world->options.registers.ttl_share);
    uint64_t expires_in_ms = random_log(prng, 1, 2 * world->options.safety_ns / MS_NS);
    attempt->expected = seen;
    attempt->expected_version = registers->seen[attempt->client][attempt->key].version;
    attempt->kind = draw < 25   ? REGISTERS_PUT
                    : draw < 35 ? REGISTERS_DELETE
                    : (draw < 60 && seen != 0) || (counter && seen != 0 && draw < 80)
                        ? REGISTERS_IF_VALUE
                    : draw < 85 ? REGISTERS_IF_VERSION
                                : REGISTERS_IF_ABSENT;
    if (counter) {
        /* Nothing but increments of what was seen; nobody takes one back. */
        if (attempt->kind == REGISTERS_PUT || attempt->kind == REGISTERS_DELETE)
            attempt->kind = seen == 0 ? REGISTERS_IF_ABSENT : REGISTERS_IF_VERSION;
        attempt->value = attempt->kind == REGISTERS_IF_ABSENT ? 1 : seen + 1;
        return;
    }
    attempt->remove = attempt->kind > REGISTERS_DELETE && prng_chance(prng, 0.15);
    bool removes = attempt->remove || attempt->kind == REGISTERS_DELETE;
    attempt->value = removes ? 0 : attempt->id + 1;
    if (expires && !removes)
        attempt->expires_at_ms = host_wall_ms(&world->hosts[attempt->node]) + expires_in_ms;
}

/* The same change once more, through any node. False: there is no room for it. */
static bool client_retry(struct world *world, uint32_t client, uint32_t node)
{
    struct registers *registers = &world->registers;
    const struct register_attempt *first =
        &registers->attempts[registers->attempts[registers->retry[client]].write];
    registers->retry[client] = REGISTER_NONE;
    struct register_attempt *attempt = attempt_new(world, first->key);
    if (attempt == NULL)
        return false;
    uint32_t id = attempt->id;
    *attempt = *first;
    attempt->id = id;
    attempt->node = node;
    attempt->end = REGISTERS_RUNNING;
    attempt->client_left = false;
    attempt->ended_ns = NEVER_NS;
    attempt->version = attempt->value_seen = 0;
    world->figures.registers.retried++;
    registers->started++;
    attempt_start(world, attempt, random_log(&registers->prng, DEADLINE_MIN_NS, DEADLINE_MAX_NS));
    return true;
}

static bool client_operation(struct world *world, uint32_t client, uint32_t node)
{
    struct registers *registers = &world->registers;
    struct prng *prng = &registers->prng;
    struct register_attempt *attempt =
        attempt_new(world, (uint32_t)prng_below(prng, world->options.registers.keys));
    if (attempt == NULL)
        return false;
    attempt->client = client;
    attempt->node = node;
    if (prng_chance(prng, world->options.registers.write_share))
        draw_change(world, attempt);
    attempt->has_request_id =
        attempt->kind != REGISTERS_GET && prng_chance(prng, world->options.registers.request_share);
    registers->started++;
    attempt_start(world, attempt, random_log(prng, DEADLINE_MIN_NS, DEADLINE_MAX_NS));
    return true;
}

/* What a node sends that believes the keyspace to be an available one: every replica that knows the
 * keyspace must refuse it (check_registers.c looks at the answer). */
static void send_rogue(struct world *world, uint32_t node)
{
    struct registers *registers = &world->registers;
    struct host *host = &world->hosts[node];
    uint32_t key = (uint32_t)prng_below(&registers->prng, world->options.registers.keys);
    char name[16];
    if (host_keyspace(host, REGISTERS_KEYSPACE) == NULL)
        return;
    registers_key_name(key, name);
    struct message *message = message_new(MESSAGE_replica_write, 512);
    struct arena *arena = &message->arena;
    struct dot dot = {.member = host->member, .key_epoch = 1, .counter = ++registers->rogues};
    struct version version = {.dot = dot, .value = bytes_of_string("eventual")};
    struct clock empty = {0};
    struct version_set set = {.count = 1, .versions = &version};
    set.clock = clock_add(arena, &empty, dot);
    message->from = (struct actor_id){.node = host->member, .kind = ACTOR_COORDINATOR};
    message->to = (struct actor_id){.node = host->member, .kind = ACTOR_REPLICA};
    message->id = UINT64_MAX - registers->rogues;
    message->deadline_ns = host_monotonic_ns(host) + DEADLINE_MIN_NS;
    message->replica_write = (struct replica_write){
        .keyspace_id = registers->keyspace_id,
        .key = arena_copy(arena, bytes_of_string(name)),
        .record = record_encode(arena, registers->keyspace_id, bytes_of_string(name), &set),
        .partition = partition_of(world, bytes_of_string(name)),
        .reason = prng_chance(&registers->prng, 0.5) ? WRITE_HINT : WRITE_REPLICATE,
    };
    host_post(host, message);
}

static void quiet_step(struct world *world);

void registers_on_client(struct world *world, uint32_t client, enum phase planned_in)
{
    struct registers *registers = &world->registers;
    if (planned_in != world->phase)
        return;
    if (world->phase == PHASE_QUIET) {
        quiet_step(world);
        return;
    }
    if (world->phase != PHASE_SAFETY ||
        registers->started >= world->options.registers.operations_max)
        return;
    uint32_t node = (uint32_t)prng_below(&registers->prng, world->options.nodes);
    bool rogue = prng_chance(&registers->prng, ROGUE_SHARE);
    bool begun = false;
    if (world->hosts[node].up) {
        if (rogue)
            send_rogue(world, node);
        begun = registers->retry[client] != REGISTER_NONE ? client_retry(world, client, node)
                                                          : client_operation(world, client, node);
    }
    if (!begun)
        plan_client(world, client, world->options.registers.think_mean_ns + MS_NS);
}

/* -- the quiet phase ---------------------------------------------------------------------------
 */

static uint32_t quiet_steps(const struct world *world)
{
    return 2 * REGISTER_QUIET_ROUNDS * world->options.registers.keys;
}

bool registers_quiet(struct world *world)
{
    struct registers *registers = &world->registers;
    if (!registers->quiet_begun)
        plan_client(world, 0, MS_NS);
    registers->quiet_begun = true;
    return registers->quiet_step >= quiet_steps(world) && registers->running == 0;
}

/* The first member from there on; all of them are up. */
static uint32_t member_from(const struct world *world, uint32_t node)
{
    while (!steward_is_member(world, node % world->options.nodes))
        node++;
    return node % world->options.nodes;
}

/* The last read of a key is its final state. */
static void quiet_step(struct world *world)
{
    struct registers *registers = &world->registers;
    if (registers->quiet_step >= quiet_steps(world))
        return;
    uint32_t step = registers->quiet_step++;
    struct register_attempt *attempt = &registers->attempts[registers->count];
    CHECK_U64(registers->count, <, REGISTER_ATTEMPTS_MAX);
    *attempt = (struct register_attempt){.id = registers->count,
                                         .write = registers->count,
                                         .key = step / (2 * REGISTER_QUIET_ROUNDS),
                                         .ended_ns = NEVER_NS,
                                         .node = member_from(world, step / 2 + registers->started),
                                         .quiet = true};
    registers->count++;
    attempt->final = step % (2 * REGISTER_QUIET_ROUNDS) == 2 * REGISTER_QUIET_ROUNDS - 1;
    if (step % 2 == 0)
        draw_change(world, attempt);
    attempt_start(world, attempt, DEADLINE_QUIET_NS);
}

/* -- ends --------------------------------------------------------------------------------------
 */

bool registers_takes(uint64_t client)
{
    return client >= CLIENT_BASE;
}

static void want_retry(struct world *world, const struct register_attempt *attempt)
{
    bool tries = prng_chance(&world->registers.prng, RETRY_SHARE);
    if (tries && attempt->has_request_id && world->phase == PHASE_SAFETY && !attempt->client_left)
        world->registers.retry[attempt->client] = attempt->id;
}

/* What its next compare-and-set expects. */
static void client_sees(struct world *world, const struct register_attempt *attempt)
{
    if (attempt->end != REGISTERS_READ && attempt->end != REGISTERS_APPLIED &&
        attempt->end != REGISTERS_REFUSED)
        return;
    world->registers.seen[attempt->client][attempt->key].value =
        attempt->end == REGISTERS_REFUSED ? attempt->value_seen : attempt->value;
    world->registers.seen[attempt->client][attempt->key].version = attempt->version;
}

static void client_goes_on(struct world *world, struct register_attempt *attempt)
{
    if (attempt->client_left)
        return;
    attempt->client_left = true;
    plan_client(world, attempt->client,
                attempt->quiet ? MS_NS : world->options.registers.think_mean_ns);
}

static void attempt_end(struct world *world, struct register_attempt *attempt,
                        enum registers_end end, enum err status)
{
    static const char *const texts[] = {"runs",    "read",        "applied",
                                        "refused", "not applied", "unknown"};
    CHECK(attempt->end == REGISTERS_RUNNING);
    attempt->end = end;
    attempt->ended_ns = world->now_ns;
    world->registers.running--;
    world->figures.registers.ends[end]++;
    trace_mix(&world->trace, world->now_ns, CLIENT_BASE + attempt->id, (uint64_t)end,
              attempt->version);
    trace_line(&world->trace, world->now_ns,
               "register client %u: op %u ends: %s (%s), value %u, seen %u, version %llu",
               attempt->client, attempt->id, texts[end], err_text(status), attempt->value,
               attempt->value_seen, (unsigned long long)attempt->version);
    if (end == REGISTERS_UNKNOWN)
        want_retry(world, attempt);
    client_sees(world, attempt);
    check_register_ended(world, attempt, status);
    client_goes_on(world, attempt);
}

static void on_get_done(struct world *world, struct register_attempt *attempt,
                        const struct client_get_done *done)
{
    attempt->version = done->version;
    if (done->status == OK && done->set.count > 0)
        attempt->value = value_number(world, attempt->key, done->set.versions[0].value);
    attempt_end(world, attempt, done->status == OK ? REGISTERS_READ : REGISTERS_NOT_APPLIED,
                done->status);
}

static void on_put_done(struct world *world, struct register_attempt *attempt,
                        const struct put_result *result)
{
    bool refused = result->status == ERR_CONFLICT;
    attempt->version = result->version;
    if (refused && result->found)
        attempt->value_seen = value_number(world, attempt->key, result->value);
    if ((result->status == OK) != (result->outcome == OUTCOME_APPLIED) ||
        (refused && result->outcome != OUTCOME_NOT_APPLIED))
        world_fail(world, "outcome", "register op %u: status \"%s\" with outcome %u", attempt->id,
                   err_text(result->status), result->outcome);
    attempt_end(world, attempt,
                result->status == OK                     ? REGISTERS_APPLIED
                : refused                                ? REGISTERS_REFUSED
                : result->outcome == OUTCOME_NOT_APPLIED ? REGISTERS_NOT_APPLIED
                                                         : REGISTERS_UNKNOWN,
                result->status);
}

void registers_on_answer(struct world *world, struct host *host, const struct message *message)
{
    bool get = message->kind == MESSAGE_client_get_done;
    uint64_t client = get ? message->client_get_done.client : message->client_put_done.client;
    uint64_t id = client - CLIENT_BASE;
    struct register_attempt *attempt =
        id < world->registers.count ? &world->registers.attempts[id] : NULL;
    if (attempt == NULL || attempt->end != REGISTERS_RUNNING || attempt->node != host->index ||
        (attempt->kind == REGISTERS_GET) != get)
        world_fail(world, "ends", "n%u: an answer for register op %llu, which has none to get",
                   host->member, (unsigned long long)id);
    else if (get)
        on_get_done(world, attempt, &message->client_get_done);
    else
        on_put_done(world, attempt, &message->client_put_done.result);
}

/* As in workload.c: who waits for a paused node gives up, and its request may still run. */
void registers_on_deadline(struct world *world, uint32_t id)
{
    struct register_attempt *attempt = &world->registers.attempts[id];
    const struct host *host = &world->hosts[attempt->node];
    if (attempt->end != REGISTERS_RUNNING)
        return;
    if (world->now_ns < host->pause_ended_ns + SLACK_NS) {
        want_retry(world, attempt);
        client_goes_on(world, attempt);
        world_plan(world, host->pause_ended_ns + SLACK_NS, EVENT_REGISTER_DEADLINE)->number = id;
        return;
    }
    world_fail(world, "ends", "register op %u at n%u has no answer %.3f s after its deadline", id,
               host->member, (double)(world->now_ns - attempt->deadline_ns) / SECOND_NS);
}

void registers_host_down(struct world *world, uint32_t node)
{
    for (uint32_t i = 0; i < world->registers.count; i++) {
        struct register_attempt *attempt = &world->registers.attempts[i];
        if (attempt->node == node && attempt->end == REGISTERS_RUNNING)
            attempt_end(world, attempt,
                        attempt->kind == REGISTERS_GET ? REGISTERS_NOT_APPLIED : REGISTERS_UNKNOWN,
                        OK);
    }
}
