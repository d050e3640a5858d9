// link: coterie_sim
/* Registers end to end: three nodes of real coordinators and replicas on simulated disks, the real
 * wire between them, and a seeded event heap that loses, doubles and reorders messages, cuts pairs
 * of nodes apart and cuts their power. Every history is linearizable, version numbers included; an
 * outcome that is said to be "not applied" never shows; an unknown one tried again with its request
 * id is applied once (RELIABILITY rules 33 to 35, 7.3 C7 and C8). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "actors/coordinator.h"
#include "actors/replica.h"
#include "base/heap.h"
#include "rpc/peer_codec.h"
#include "tests/effort.h"
#include "tests/sim/linearizable.h"
#include "tests/unit/actor_fixture.h"

#include <inttypes.h>
#include <stdlib.h>

#define NODES          3u
#define CLIENTS        4u
#define KEYS           2u
#define OPERATIONS_MAX 160u
#define END_NS         (3000 * MS)
#define RETRY_CHANGES  4u /* a change is remembered for REGISTER_CHANGES_KEPT */

enum event_kind { EVENT_MESSAGE, EVENT_SYNC, EVENT_TICK, EVENT_START, EVENT_CLIENT, EVENT_FAULT };

struct event {
    enum event_kind kind;
    uint32_t node; /* or the client */
    uint32_t life;
    uint64_t mark;
    uint32_t from;
    struct bytes bytes;      /* from another node, owned */
    struct message *message; /* from this one */
};

struct node {
    uint32_t member;
    bool up;
    uint32_t life;
    struct memory_disk *disk;
    struct engine *engine;
    struct arena arena;
    struct boot boot;
    struct replica *replica;
    struct coordinator *coordinator;
    struct view *view;
    uint64_t committed;
    uint64_t told;
    bool sync_due;
    uint64_t tick_ns;
};

enum operation_kind { GET, PUT, DELETE, CAS_VALUE, CAS_VERSION, CAS_ABSENT };

struct operation {
    struct linearizable_interval interval;
    enum operation_kind kind;
    uint32_t key;
    uint32_t node;
    uint32_t life;
    bool ended;
    bool dropped; /* not applied, or a read without an answer: no part of the history */
    bool refused;
    uint32_t value; /* written, or read; 0: nothing there */
    uint32_t expected;
    uint64_t version; /* answered, or expected */
    uint64_t version_expected;
    uint32_t changes_before; /* begun on this key */
    bool retried;
};

struct client {
    uint32_t operation;
    bool busy;
    uint32_t value_seen[KEYS];
    uint64_t version_seen[KEYS];
};

struct cluster {
    struct arena arena;
    struct topology topology;
    struct keyspace_map map;
    uint32_t keyspace_id;
    struct prng prng;
    struct heap heap;
    uint64_t tie;
    uint64_t now_ns;
    double loss;
    double doubles;
    uint64_t delay_ns;
    uint64_t cut_until_ns[NODES][NODES];
    struct node nodes[NODES];
    struct client clients[CLIENTS];
    struct operation operations[OPERATIONS_MAX];
    uint32_t count;
    uint32_t changes[KEYS];
    uint32_t retrying[KEYS]; /* then nobody else begins a change: the first one stays remembered */
    uint32_t applied, unknown, refused, not_applied, resolved;
};

static void schedule(struct cluster *c, uint64_t after_ns, struct event event)
{
    struct event *copy = malloc(sizeof *copy);
    assert_non_null(copy);
    *copy = event;
    heap_push(&c->heap,
              (struct heap_entry){.key = c->now_ns + after_ns, .tie = c->tie++, .value = copy});
}

static void on_committed(void *host, uint32_t handle, uint64_t sequence)
{
    if (handle == HANDLE_ACTOR)
        ((struct node *)host)->committed = sequence;
}

static struct node *node_of(struct cluster *c, uint32_t member)
{
    return &c->nodes[member - 1];
}

static void node_start(struct cluster *c, struct node *node)
{
    struct engine_options engine = {.handle_count = HANDLE_COUNT,
                                    .partitions = c->topology.partitions,
                                    .committed = on_committed,
                                    .host = node};
    node->engine = engine_memory_open(&engine, node->disk);
    node->committed = node->told = 0;
    struct boot_options options = {.topology = &c->topology,
                                   .self = node->member,
                                   .shards = 1,
                                   .random_id = {(uint8_t)node->member},
                                   .wall_ms = WALL_MS};
    char why[256];
    arena_clear(&node->arena);
    assert_int_equal(boot_node(engine_store(node->engine, HANDLE_BOOT), &node->arena, &options,
                               &node->boot, why, sizeof why),
                     OK);
    struct replica_options replica = {.self = node->member, .shards = 1, .held_max = 64};
    node->replica = replica_new(&replica, &node->boot);
    struct coordinator_options coordinator =
        coordinator_options_default(node->member, 0, node->boot.generation, node->boot.epoch_start);
    coordinator.requests_max = 16;
    node->coordinator = coordinator_new(&coordinator);
    node->view = view_new(&c->topology, &c->map, node->member);
    node->up = true;
    node->sync_due = false;
    node->tick_ns = NEVER_NS;
    node->life++;
}

static void node_stop(struct cluster *c, struct node *node)
{
    replica_free(node->replica);
    coordinator_free(node->coordinator);
    view_unref(node->view);
    engine_memory_crash(node->engine, CRASH_POWER, &c->prng);
    node->up = false;
    for (uint32_t i = 0; i < CLIENTS; i++) { /* nobody will answer them */
        struct client *client = &c->clients[i];
        struct operation *operation = &c->operations[client->operation];
        if (!client->busy || operation->node != node->member)
            continue;
        client->busy = false;
        operation->ended = true;
        operation->dropped = operation->kind == GET;
        c->retrying[operation->key] -= operation->retried;
        schedule(c, 5 * MS, (struct event){.kind = EVENT_CLIENT, .node = i});
    }
}

static void send_away(struct cluster *c, struct node *node, struct message *message)
{
    uint32_t to = message->to.node;
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct bytes bytes = peer_message_encode(&arena, message, c->now_ns);
    uint32_t copies = prng_chance(&c->prng, c->loss) ? 0 : 1;
    copies += prng_chance(&c->prng, c->doubles);
    if (c->cut_until_ns[node->member - 1][to - 1] > c->now_ns)
        copies = 0;
    for (uint32_t i = 0; i < copies; i++) {
        uint8_t *memory = malloc(bytes.size);
        memcpy(memory, bytes.data, bytes.size);
        uint64_t delay = prng_below(&c->prng, c->delay_ns);
        if (prng_chance(&c->prng, 0.05))
            delay *= 20;
        schedule(c, delay,
                 (struct event){.kind = EVENT_MESSAGE,
                                .node = to,
                                .from = node->member,
                                .bytes = bytes_of(memory, bytes.size)});
    }
    arena_deinit(&arena);
    message_free(message);
}

static void client_answer(struct cluster *c, const struct message *message);

static void node_after(struct cluster *c, struct node *node, struct outbox *outbox)
{
    struct message *message;
    while ((message = outbox_take(outbox)) != NULL) {
        if (message->to.kind == ACTOR_EDGE) {
            client_answer(c, message);
            message_free(message);
        } else if (message->to.node == node->member) {
            if (message->to.kind == ACTOR_REPLICA || message->to.kind == ACTOR_COORDINATOR)
                schedule(c, 1000,
                         (struct event){.kind = EVENT_MESSAGE,
                                        .node = node->member,
                                        .life = node->life,
                                        .message = message});
            else
                message_free(message); /* nobody there */
        } else {
            send_away(c, node, message);
        }
    }
    if (!node->sync_due && engine_memory_wants_sync(node->engine)) {
        node->sync_due = true;
        schedule(c, prng_between(&c->prng, 1, 2 * MS),
                 (struct event){.kind = EVENT_SYNC,
                                .node = node->member,
                                .life = node->life,
                                .mark = engine_memory_mark(node->engine)});
    }
    uint64_t wake_ns = actor_wake_at_ns(coordinator_actor(node->coordinator));
    if (wake_ns < node->tick_ns) {
        node->tick_ns = wake_ns;
        schedule(c, wake_ns > c->now_ns ? wake_ns - c->now_ns : 0,
                 (struct event){.kind = EVENT_TICK, .node = node->member, .life = node->life});
    }
}

static void node_step(struct cluster *c, struct node *node, struct message *message)
{
    struct outbox outbox;
    outbox_init(&outbox);
    struct actor_context ctx = {.now_ns = c->now_ns,
                                .wall_ms = WALL_MS + c->now_ns / MS,
                                .prng = &c->prng,
                                .view = node->view,
                                .outbox = &outbox,
                                .store = engine_store(node->engine, HANDLE_ACTOR)};
    struct actor *replica = replica_actor(node->replica);
    struct actor *coordinator = coordinator_actor(node->coordinator);
    bool to_replica = message != NULL && (message->kind == MESSAGE_store_committed ||
                                          message->to.kind == ACTOR_REPLICA);
    struct actor *actor = to_replica ? replica : coordinator;
    if (!to_replica)
        ctx.store = NULL;
    if (message == NULL)
        actor_tick(actor, &ctx);
    else
        actor_handle(actor, &ctx, message);
    actor_check(actor);
    node_after(c, node, &outbox);
}

/* -- clients
 * ---------------------------------------------------------------------------------- */

static void client_send(struct cluster *c, uint32_t number, struct operation *operation)
{
    struct client *client = &c->clients[number];
    struct node *node = &c->nodes[prng_below(&c->prng, NODES)];
    for (uint32_t i = 0; i < NODES && !node->up; i++)
        node = &c->nodes[i];
    if (!node->up) { /* it never leaves; a change that was tried before stays unknown */
        c->retrying[operation->key] -= operation->retried;
        operation->dropped |= !operation->ended;
        operation->ended = true;
        schedule(c, 5 * MS, (struct event){.kind = EVENT_CLIENT, .node = number});
        return;
    }
    bool get = operation->kind == GET;
    struct message *message = message_new(get ? MESSAGE_client_get : MESSAGE_client_put, 0);
    char text[32];
    snprintf(text, sizeof text, "key%u", operation->key);
    struct bytes key = arena_copy(&message->arena, bytes_of_string(text));
    message->from = actor_id_of(node->member, ACTOR_EDGE);
    message->to = actor_id_of(node->member, ACTOR_COORDINATOR);
    message->deadline_ns = c->now_ns + 400 * MS;
    uint64_t handle = (uint64_t)(operation - c->operations) * CLIENTS + number;
    if (get) {
        message->client_get =
            (struct client_get){.client = handle, .keyspace_id = c->keyspace_id, .key = key};
    } else {
        struct put_request *put = &message->client_put.request;
        message->client_put.client = handle;
        *put = (struct put_request){.keyspace_id = c->keyspace_id, .key = key};
        put->flags = operation->kind == DELETE ? VERSION_TOMBSTONE : 0;
        snprintf(text, sizeof text, "%u", operation->value);
        if (operation->kind != DELETE)
            put->value = arena_copy(&message->arena, bytes_of_string(text));
        put->condition = operation->kind == CAS_VALUE     ? REGISTER_IF_VALUE
                         : operation->kind == CAS_VERSION ? REGISTER_IF_VERSION
                         : operation->kind == CAS_ABSENT  ? REGISTER_IF_ABSENT
                                                          : REGISTER_ALWAYS;
        snprintf(text, sizeof text, "%u", operation->expected);
        put->expected = arena_copy(&message->arena, bytes_of_string(text));
        put->expected_version = operation->version_expected;
        uint8_t id[REQUEST_ID_BYTES] = {0xff};
        uint32_t index = (uint32_t)(operation - c->operations);
        memcpy(id + 8, &index, sizeof index);
        put->request_id = arena_copy(&message->arena, bytes_of(id, sizeof id));
    }
    operation->node = node->member;
    operation->life = node->life;
    client->busy = true;
    client->operation = (uint32_t)(operation - c->operations);
    node_step(c, node, message);
}

static void client_next(struct cluster *c, uint32_t number)
{
    struct client *client = &c->clients[number];
    struct operation *last = &c->operations[client->operation];
    if (client->busy)
        return;
    /* Its outcome is unknown and its id still remembered: asked again, it is one operation. */
    if (last->ended && !last->dropped && last->kind != GET && !last->retried &&
        last->interval.returned == LINEARIZABLE_NEVER && c->now_ns < END_NS &&
        c->changes[last->key] - last->changes_before < RETRY_CHANGES) {
        last->retried = true;
        c->retrying[last->key]++;
        client_send(c, number, last);
        return;
    }
    if (c->count == OPERATIONS_MAX || c->now_ns >= END_NS)
        return;
    struct operation *operation = &c->operations[c->count++];
    uint32_t key = (uint32_t)prng_below(&c->prng, KEYS);
    uint64_t draw = c->retrying[key] != 0 ? 0 : prng_below(&c->prng, 100);
    *operation = (struct operation){
        .interval = {c->now_ns, LINEARIZABLE_NEVER},
        .kind = draw < 35   ? GET
                : draw < 50 ? PUT
                : draw < 58 ? DELETE
                : draw < 75 ? CAS_VALUE
                : draw < 90 ? CAS_VERSION
                            : CAS_ABSENT,
        .key = key,
        .expected = client->value_seen[key],
        .version_expected = client->version_seen[key],
        .changes_before = c->changes[key],
    };
    operation->value = operation->kind == GET || operation->kind == DELETE ? 0 : c->count;
    c->changes[key] += operation->kind != GET;
    client->operation = c->count - 1;
    client_send(c, number, operation);
}

static uint32_t number_of(struct bytes text)
{
    uint32_t number = 0;
    for (size_t i = 0; i < text.size; i++)
        number = number * 10 + text.data[i] - '0';
    return number;
}

static void client_answer(struct cluster *c, const struct message *message)
{
    bool get = message->kind == MESSAGE_client_get_done;
    uint64_t handle = get ? message->client_get_done.client : message->client_put_done.client;
    uint32_t number = (uint32_t)(handle % CLIENTS);
    struct operation *operation = &c->operations[handle / CLIENTS];
    struct client *client = &c->clients[number];
    assert_true(client->busy && &c->operations[client->operation] == operation);
    client->busy = false;
    operation->ended = true;
    c->retrying[operation->key] -= operation->retried;
    if (get) {
        const struct client_get_done *done = &message->client_get_done;
        operation->dropped = done->status != OK;
        operation->interval.returned = c->now_ns;
        operation->version = done->version;
        operation->value = done->set.count == 0 ? 0 : number_of(done->set.versions[0].value);
        if (done->status == OK) {
            client->value_seen[operation->key] = operation->value;
            client->version_seen[operation->key] = operation->version;
        }
    } else {
        const struct put_result *result = &message->client_put_done.result;
        operation->refused = result->status == ERR_CONFLICT;
        operation->version = result->version;
        assert_true((result->status == OK) == (result->outcome == OUTCOME_APPLIED));
        if (result->status == OK || operation->refused) {
            operation->interval.returned = c->now_ns;
            c->applied += result->status == OK;
            c->refused += operation->refused;
            c->resolved += operation->retried;
            client->version_seen[operation->key] = operation->version;
            client->value_seen[operation->key] =
                operation->refused ? number_of(result->value) : operation->value;
        } else if (result->outcome == OUTCOME_NOT_APPLIED && !operation->retried) {
            operation->dropped = true;
            c->not_applied++;
        } else {
            c->unknown++;
        }
    }
    schedule(c, prng_below(&c->prng, 20 * MS),
             (struct event){.kind = EVENT_CLIENT, .node = number});
}

/* -- faults and the loop
 * --------------------------------------------------------------------- */

static void fault(struct cluster *c)
{
    uint32_t a = (uint32_t)prng_below(&c->prng, NODES);
    uint32_t b = (uint32_t)prng_below(&c->prng, NODES);
    if (prng_chance(&c->prng, 0.5) && c->nodes[a].up) {
        node_stop(c, &c->nodes[a]);
        schedule(c, prng_below(&c->prng, 200 * MS),
                 (struct event){.kind = EVENT_START, .node = a + 1});
    } else {
        c->cut_until_ns[a][b] = c->now_ns + prng_below(&c->prng, 300 * MS);
        if (prng_chance(&c->prng, 0.5))
            c->cut_until_ns[b][a] = c->cut_until_ns[a][b];
    }
    if (c->now_ns < END_NS)
        schedule(c, prng_below(&c->prng, 300 * MS), (struct event){.kind = EVENT_FAULT});
}

static void deliver(struct cluster *c, struct event *event)
{
    struct node *node = node_of(c, event->node);
    if (event->message != NULL) {
        if (node->up && node->life == event->life)
            node_step(c, node, event->message);
        else
            message_free(event->message);
        return;
    }
    if (node->up) {
        struct message *message =
            peer_message_decode(event->bytes, event->from, event->node, c->now_ns);
        assert_non_null(message);
        node_step(c, node, message);
    }
    free((void *)(uintptr_t)event->bytes.data);
}

static void sync_done(struct cluster *c, struct event *event)
{
    struct node *node = node_of(c, event->node);
    if (!node->up || node->life != event->life)
        return;
    node->sync_due = false;
    engine_memory_sync(node->engine, event->mark);
    if (node->committed == node->told)
        return;
    node->told = node->committed;
    struct message *message = message_new(MESSAGE_store_committed, 0);
    message->store_committed.sequence = node->committed;
    node_step(c, node, message);
}

static void play(struct cluster *c)
{
    while (heap_peek(&c->heap) != NULL) {
        struct heap_entry entry = heap_pop(&c->heap);
        struct event *event = entry.value;
        c->now_ns = entry.key;
        switch (event->kind) {
        case EVENT_MESSAGE:
            deliver(c, event);
            break;
        case EVENT_SYNC:
            sync_done(c, event);
            break;
        case EVENT_TICK: {
            struct node *node = node_of(c, event->node);
            if (node->up && node->life == event->life) {
                node->tick_ns = NEVER_NS;
                node_step(c, node, NULL);
            }
            break;
        }
        case EVENT_START:
            node_start(c, node_of(c, event->node));
            break;
        case EVENT_CLIENT:
            client_next(c, event->node);
            break;
        case EVENT_FAULT:
            fault(c);
            break;
        }
        free(event);
    }
}

/* -- judging
 * --------------------------------------------------------------------------------- */

struct judged {
    const struct cluster *c;
    uint32_t indices[OPERATIONS_MAX];
};

/* The state is version and value: answers say both. */
static bool register_step(void *closure, uint64_t state, uint32_t index, uint64_t *ret_state)
{
    const struct judged *judged = closure;
    const struct operation *operation = &judged->c->operations[judged->indices[index]];
    uint64_t version = state >> 32;
    uint32_t value = (uint32_t)state;
    bool returned = operation->interval.returned != LINEARIZABLE_NEVER;
    *ret_state = state;
    if (operation->kind == GET)
        return returned && operation->version == version && operation->value == value;
    bool holds = operation->kind == CAS_VALUE     ? value != 0 && value == operation->expected
                 : operation->kind == CAS_VERSION ? version == operation->version_expected
                 : operation->kind == CAS_ABSENT  ? value == 0
                                                  : true;
    if (operation->refused && returned)
        return !holds && operation->version == version;
    *ret_state = (version + 1) << 32 | operation->value;
    return holds && (!returned || operation->version == version + 1);
}

static void judge(const struct cluster *c, uint64_t seed)
{
    for (uint32_t key = 0; key < KEYS; key++) {
        struct judged judged = {.c = c};
        struct linearizable_interval intervals[OPERATIONS_MAX];
        uint32_t count = 0;
        for (uint32_t i = 0; i < c->count; i++) {
            if (c->operations[i].key != key || c->operations[i].dropped)
                continue;
            judged.indices[count] = i;
            intervals[count++] = c->operations[i].interval;
        }
        struct linearizable_model model = {.step = register_step, .closure = &judged};
        enum linearizable_verdict verdict = linearizable_check(intervals, count, &model, 0);
        if (verdict != LINEARIZABLE_YES) {
            for (uint32_t i = 0; i < count; i++) {
                const struct operation *o = &c->operations[judged.indices[i]];
                print_message("%u: kind %d value %u expected %u/%" PRIu64
                              " refused %d version %" PRIu64 " node %u [%.3f, %.3f]\n",
                              judged.indices[i], (int)o->kind, o->value, o->expected,
                              o->version_expected, o->refused, o->version, o->node,
                              (double)o->interval.called / 1e6,
                              o->interval.returned == LINEARIZABLE_NEVER
                                  ? -1.0
                                  : (double)o->interval.returned / 1e6);
            }
            fail_msg("seed %" PRIu64 ": key%u is not linearizable (verdict %d)", seed, key,
                     (int)verdict);
        }
    }
}

static void cluster_init(struct cluster *c, uint64_t seed)
{
    memset(c, 0, sizeof *c);
    arena_init(&c->arena, NULL, 0);
    heap_init(&c->heap);
    prng_init(&c->prng, seed, 0);
    c->now_ns = 1;
    c->topology = fixture_topology(&c->arena, NODES, 1, 16, 7701);
    struct keyspace strong = keyspace_default("strong");
    strong.mode = KEYSPACE_CONSISTENT;
    strong.created_at = strong.changed_at = 1;
    strong.id = c->keyspace_id = keyspace_id(strong.name, 1);
    c->map = keyspace_map_put(&c->arena, &c->map, &strong);
    c->loss = prng_chance(&c->prng, 0.5) ? prng_unit(&c->prng) * 0.2 : 0;
    c->doubles = prng_chance(&c->prng, 0.5) ? prng_unit(&c->prng) * 0.3 : 0;
    c->delay_ns = prng_between(&c->prng, MS / 10, 8 * MS);
    for (uint32_t i = 0; i < NODES; i++) {
        c->nodes[i].member = i + 1;
        c->nodes[i].disk = memory_disk_new();
        arena_init(&c->nodes[i].arena, NULL, 0);
        node_start(c, &c->nodes[i]);
    }
    for (uint32_t i = 0; i < CLIENTS; i++)
        schedule(c, prng_below(&c->prng, 10 * MS), (struct event){.kind = EVENT_CLIENT, .node = i});
    if (prng_chance(&c->prng, 0.8))
        schedule(c, prng_below(&c->prng, 300 * MS), (struct event){.kind = EVENT_FAULT});
}

static void cluster_deinit(struct cluster *c)
{
    for (uint32_t i = 0; i < NODES; i++) {
        if (c->nodes[i].up)
            node_stop(c, &c->nodes[i]);
        memory_disk_free(c->nodes[i].disk);
        arena_deinit(&c->nodes[i].arena);
    }
    while (heap_peek(&c->heap) != NULL)
        free(heap_pop(&c->heap).value);
    heap_deinit(&c->heap);
    arena_deinit(&c->arena);
}

static void every_history_is_linearizable(void **state)
{
    (void)state;
    static struct cluster c;
    uint64_t seeds = effort(300);
    uint64_t operations = 0, applied = 0, refused = 0, unknown = 0, not_applied = 0, resolved = 0;
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        cluster_init(&c, seed);
        play(&c);
        judge(&c, seed);
        operations += c.count;
        applied += c.applied;
        refused += c.refused;
        unknown += c.unknown;
        not_applied += c.not_applied;
        resolved += c.resolved;
        cluster_deinit(&c);
    }
    print_message("%" PRIu64 " operations: %" PRIu64 " applied, %" PRIu64 " refused, %" PRIu64
                  " not applied, %" PRIu64 " unknown, of which tried again and known %" PRIu64 "\n",
                  operations, applied, refused, not_applied, unknown, resolved);
    /* Each of them was met, or this proves nothing of it. */
    assert_true(applied > operations / 5 && refused != 0);
    assert_true(not_applied != 0 && unknown != 0 && resolved != 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_history_is_linearizable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
