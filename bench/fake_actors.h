/* A runtime with actors that a test or a benchmark steers: a coordinator over a table in memory and
 * a gossip actor that agrees to every change. What a key begins with decides how it is answered:
 *
 *   late:MS:...    after MS milliseconds
 *   never:...      not at all
 *   twice:...      two times
 *   error:N:O:...  with enum err N, and for writes enum outcome O; "why" and progress 1 of 2, n2
 * missing else           from the table, at once; in "strict" with versions and conditions
 */
#ifndef BENCH_FAKE_ACTORS_H
#define BENCH_FAKE_ACTORS_H

#include "actors/runtime/runtime.h"
#include "base/check.h"
#include "bench/fake_maintenance.h"
#include "bench/fake_topology.h"
#include "model/hash.h"
#include "model/hlc.h"
#include "rpc/server.h"

#include <stdio.h>
#include <stdlib.h>

#define FAKE_BUCKETS  65536u
#define FAKE_LATE_MAX 8192u
#define FAKE_WALL_MS  1700000000000ull /* written_at of what it stores */

struct fake_entry {
    struct fake_entry *next;
    uint32_t keyspace_id;
    struct bytes key;
    struct arena arena;
    struct version_set set;
    uint64_t version; /* changes so far */
};

struct fake_coordinator {
    struct actor actor;
    struct fake_entry *buckets[FAKE_BUCKETS];
    struct {
        uint64_t at_ns;
        struct message *message; /* the request */
    } late[FAKE_LATE_MAX];
    uint32_t late_count;
    _Atomic uint64_t requests;
    _Atomic uint64_t deadline_ns; /* of the request that came last */
};

struct fake_gossip {
    struct actor actor;
    _Atomic uint64_t free_bytes; /* of every node's disk */
};

struct fake_hints {
    struct actor actor;
    _Atomic bool paused;
};

struct fake_node {
    struct fake_coordinator *coordinator;
    struct fake_gossip gossip;
    struct fake_hints hints;
    struct actor anti_entropy;
    struct actor replica;
    struct anti_entropy *compared; /* never run: nothing is proven */
    struct runtime *runtime;
    struct rpc_loop *loop;
    struct rpc_server *_Atomic server;
    struct arena arena;
};

static inline struct fake_entry **fake_place(struct fake_coordinator *fake, uint32_t keyspace_id,
                                             struct bytes key)
{
    struct fake_entry **at = &fake->buckets[hash_key(keyspace_id, key) % FAKE_BUCKETS];
    while (*at != NULL && !((*at)->keyspace_id == keyspace_id && bytes_equal((*at)->key, key)))
        at = &(*at)->next;
    return at;
}

static inline bool key_begins(struct bytes key, const char *word)
{
    return key.size >= strlen(word) && memcmp(key.data, word, strlen(word)) == 0;
}

/* The number after the n-th colon. */
static inline uint32_t key_number(struct bytes key, uint32_t n)
{
    size_t at = 0;
    while (n > 0 && at < key.size)
        n -= key.data[at++] == ':';
    uint32_t value = 0;
    for (; at < key.size && key.data[at] >= '0' && key.data[at] <= '9'; at++)
        value = value * 10 + (uint32_t)(key.data[at] - '0');
    return value;
}

static const struct progress fake_progress = {
    .acked = 1,
    .needed = 2,
    .acked_count = 1,
    .missing_count = 1,
    .acked_members = {1},
    .missing_members = {2},
};

static inline void fake_get(struct fake_coordinator *fake, struct actor_context *ctx,
                            const struct message *message)
{
    const struct client_get *request = &message->client_get;
    struct message *reply = message_new_reply(message, MESSAGE_client_get_done, 256);
    struct client_get_done *done = &reply->client_get_done;
    done->client = request->client;
    done->wall_ms = ctx->wall_ms;
    if (key_begins(request->key, "error:")) {
        done->status = (enum err)key_number(request->key, 1);
        done->why = "why";
        done->progress = fake_progress;
    } else {
        done->progress =
            (struct progress){.acked = 1, .needed = 1, .acked_count = 1, .acked_members = {1}};
        const struct fake_entry *entry = *fake_place(fake, request->keyspace_id, request->key);
        if (entry != NULL)
            /* An empty set merged in: a copy of the versions; their values are copied after it. */
            done->set = version_set_merge(&reply->arena, &entry->set, &(struct version_set){0});
        done->version = entry == NULL ? 0 : entry->version;
        struct version *versions = ARENA_NEW(&reply->arena, struct version, done->set.count);
        for (uint32_t i = 0; i < done->set.count; i++) {
            versions[i] = done->set.versions[i];
            versions[i].value = arena_copy(&reply->arena, versions[i].value);
        }
        done->set.versions = versions;
    }
    outbox_send(ctx, &fake->actor, reply);
}

static inline void fake_store(struct fake_coordinator *fake, const struct put_request *request,
                              struct put_result *result, struct arena *arena)
{
    struct fake_entry **place = fake_place(fake, request->keyspace_id, request->key);
    struct fake_entry *old = *place;
    struct fake_entry *entry = calloc(1, sizeof *entry);
    CHECK(entry != NULL);
    arena_init(&entry->arena, NULL, 0);
    entry->keyspace_id = request->keyspace_id;
    entry->key = arena_copy(&entry->arena, request->key);
    struct clock context = {0};
    if (request->has_context) {
        struct bytes copy = arena_copy(&entry->arena, request->context);
        struct reader reader = reader_of(copy);
        CHECK(clock_decode(&reader, &entry->arena, &context) == OK);
    }
    struct version version = {.written_at = FAKE_WALL_MS << 16,
                              .expires_at_ms = request->expires_at_ms,
                              .flags = request->flags,
                              .value = arena_copy(&entry->arena, request->value)};
    struct version_set before = old == NULL ? (struct version_set){0} : old->set;
    struct dot dot;
    struct version_set after = version_set_put(
        &entry->arena, &before, request->has_context ? &context : NULL, 1, 1, &version, &dot);
    /* The result may share memory with `before`: through bytes into memory of its own. */
    struct writer writer;
    writer_init(&writer, &entry->arena, 256);
    version_set_encode(&writer, &after);
    struct reader reader = reader_of(writer_result(&writer));
    CHECK(version_set_decode(&reader, &entry->arena, &entry->set) == OK);
    struct clock given =
        version_set_put_context(arena, request->has_context ? &context : NULL, &before, dot);
    writer_init(&writer, arena, 64);
    clock_encode(&writer, &given);
    result->context = writer_result(&writer);
    result->sibling_count = entry->set.count;
    if (old != NULL) {
        entry->next = old->next;
        arena_deinit(&old->arena);
        free(old);
    }
    entry->version = result->version;
    *place = entry;
}

/* The version and the value that stand, and whether the request's condition is true of them. */
static inline bool fake_condition(struct fake_coordinator *fake, const struct put_request *request,
                                  struct put_result *result, struct arena *arena)
{
    const struct fake_entry *entry = *fake_place(fake, request->keyspace_id, request->key);
    result->version = entry == NULL ? 0 : entry->version;
    result->found = entry != NULL && entry->set.count != 0 &&
                    (entry->set.versions[0].flags & VERSION_TOMBSTONE) == 0;
    if (result->found)
        result->value = arena_copy(arena, entry->set.versions[0].value);
    struct register_value value = {
        .version = result->version, .found = result->found, .value = result->value};
    struct register_change change = {.condition = request->condition,
                                     .expected = request->expected,
                                     .expected_version = request->expected_version};
    struct register_value after;
    return !register_change_apply(&value, &change, 0, &after).refused;
}

static inline void fake_put(struct fake_coordinator *fake, struct actor_context *ctx,
                            const struct message *message)
{
    const struct put_request *request = &message->client_put.request;
    struct message *reply = message_new_reply(message, MESSAGE_client_put_done, 256);
    struct put_result *result = &reply->client_put_done.result;
    reply->client_put_done.client = message->client_put.client;
    if (key_begins(request->key, "error:")) {
        result->status = (enum err)key_number(request->key, 1);
        result->outcome = (enum outcome)key_number(request->key, 2);
        result->disk_full = key_number(request->key, 3) != 0;
        result->why = "why";
        result->progress = fake_progress;
    } else {
        result->outcome = OUTCOME_APPLIED;
        result->progress =
            (struct progress){.acked = 1, .needed = 1, .acked_count = 1, .acked_members = {1}};
        if (fake_condition(fake, request, result, &reply->arena)) {
            result->version++;
            fake_store(fake, request, result, &reply->arena);
        } else {
            result->status = ERR_CONFLICT;
            result->outcome = OUTCOME_NOT_APPLIED;
        }
    }
    outbox_send(ctx, &fake->actor, reply);
}

static inline void fake_answer(struct fake_coordinator *fake, struct actor_context *ctx,
                               const struct message *message)
{
    if (message->kind == MESSAGE_client_get)
        fake_get(fake, ctx, message);
    else if (message->kind == MESSAGE_client_put)
        fake_put(fake, ctx, message);
}

static inline void fake_handle(struct actor *actor, struct actor_context *ctx,
                               struct message *message)
{
    struct fake_coordinator *fake = (struct fake_coordinator *)actor;
    fake->requests++;
    fake->deadline_ns = message->deadline_ns;
    struct bytes key = message->kind == MESSAGE_client_get   ? message->client_get.key
                       : message->kind == MESSAGE_client_put ? message->client_put.request.key
                                                             : bytes_of(NULL, 0);
    if (key_begins(key, "late:")) {
        CHECK_U64(fake->late_count, <, FAKE_LATE_MAX);
        fake->late[fake->late_count].at_ns = ctx->now_ns + key_number(key, 1) * 1000000ull;
        fake->late[fake->late_count++].message = message;
        return;
    }
    if (!key_begins(key, "never:"))
        fake_answer(fake, ctx, message);
    if (key_begins(key, "twice:"))
        fake_answer(fake, ctx, message);
    message_free(message);
}

static inline void fake_tick(struct actor *actor, struct actor_context *ctx)
{
    struct fake_coordinator *fake = (struct fake_coordinator *)actor;
    for (uint32_t i = 0; i < fake->late_count;) {
        if (fake->late[i].at_ns > ctx->now_ns) {
            i++;
            continue;
        }
        fake_answer(fake, ctx, fake->late[i].message);
        message_free(fake->late[i].message);
        fake->late[i] = fake->late[--fake->late_count];
    }
}

static inline uint64_t fake_wake_at_ns(const struct actor *actor)
{
    const struct fake_coordinator *fake = (const struct fake_coordinator *)actor;
    uint64_t at_ns = NEVER_NS;
    for (uint32_t i = 0; i < fake->late_count; i++) {
        if (fake->late[i].at_ns < at_ns)
            at_ns = fake->late[i].at_ns;
    }
    return at_ns;
}

static const struct actor_class fake_coordinator_class = {
    .name = "fake_coordinator",
    .handle = fake_handle,
    .tick = fake_tick,
    .wake_at_ns = fake_wake_at_ns,
};

/* Names decide: "taken" exists already, "full" is over a limit. */
static inline void fake_gossip_handle(struct actor *actor, struct actor_context *ctx,
                                      struct message *message)
{
    if (message->kind == MESSAGE_keyspace_change) {
        struct message *reply = message_new_reply(message, MESSAGE_keyspace_change_done, 0);
        struct keyspace_change_done *done = &reply->keyspace_change_done;
        done->client = message->keyspace_change.client;
        done->keyspace = message->keyspace_change.keyspace;
        done->keyspace.created_at = FAKE_WALL_MS << 16;
        done->keyspace.id = keyspace_id(done->keyspace.name, done->keyspace.created_at);
        done->known_by = 1;
        done->nodes = 3;
        if (strcmp(done->keyspace.name, "taken") == 0)
            done->status = ERR_EXISTS;
        if (strcmp(done->keyspace.name, "full") == 0)
            done->status = ERR_LIMIT;
        outbox_send(ctx, actor, reply);
    } else if (message->kind == MESSAGE_client_topology) {
        fake_operate(actor, ctx, message);
    } else if (message->kind == MESSAGE_client_reports) {
        fake_reports(actor, ctx, message, atomic_load(&((struct fake_gossip *)actor)->free_bytes));
    }
    message_free(message);
}

static const struct actor_class fake_gossip_class = {
    .name = "fake_gossip",
    .handle = fake_gossip_handle,
};

/* Names decide here too: pausing n3 is refused for now. */
static inline void fake_hints_handle(struct actor *actor, struct actor_context *ctx,
                                     struct message *message)
{
    if (message->kind == MESSAGE_client_maintenance) {
        const struct client_maintenance *request = &message->client_maintenance;
        struct fake_hints *fake = (struct fake_hints *)actor;
        struct message *reply = message_new_reply(message, MESSAGE_client_maintenance_done, 0);
        struct client_maintenance_done *done = &reply->client_maintenance_done;
        done->client = request->client;
        if (request->member == 3)
            done->status = ERR_UNAVAILABLE;
        else
            atomic_store(&fake->paused, request->operation == MAINTENANCE_HINTS_PAUSE);
        outbox_send(ctx, actor, reply);
    }
    message_free(message);
}

static const struct actor_class fake_hints_class = {
    .name = "fake_hints",
    .handle = fake_hints_handle,
};

/* For n2 a backlog, for n3 nothing, and one for a member that nobody knows. */
static inline size_t fake_hint_targets(void *host, struct hint_target_figures *ret, size_t max)
{
    const struct fake_node *node = host;
    CHECK_U64(max, >=, 3);
    ret[0] = (struct hint_target_figures){.member = 2,
                                          .state = HINT_TARGET_AWAY,
                                          .paused = atomic_load(&node->hints.paused),
                                          .hints = 12,
                                          .bytes = 3456,
                                          .oldest_ms = runtime_wall_ms() - 90000,
                                          .delivered_per_s = 1.5};
    ret[1] = (struct hint_target_figures){.member = 3, .state = HINT_TARGET_IDLE};
    ret[2] = (struct hint_target_figures){
        .member = 77, .state = HINT_TARGET_WAITING, .hints = 1, .bytes = 5};
    return 3;
}

/* -- the node ---------------------------------------------------------------------------------- */

/* What its contexts are signed with. */
static const uint8_t fake_cluster_id[16] = "fake cluster id";
static const struct bytes fake_secret = {(const uint8_t *)"fake secret", 11};

static inline void fake_deliver_edge(void *host, struct message *list)
{
    struct fake_node *node = host;
    rpc_server_deliver(node->server, list);
}

static inline void fake_deliver_remote(void *host, struct message *list)
{
    (void)host;
    CHECK(list == NULL);
}

#define FAKE_KEYSPACES 4u

/* Three nodes, n1 is us, n2 is down. Keyspaces: default (n 3), last (lww), more, strict
 * (consistent). */
static inline struct view *fake_view(struct arena *arena)
{
    static const struct topology_seed seeds[] = {
        {.name = "n1", .address = "127.0.0.1:7801", .weight = 1},
        {.name = "n2", .address = "127.0.0.1:7802", .weight = 1},
        {.name = "n3", .address = "127.0.0.1:7803", .weight = 1},
    };
    struct topology topology;
    const char *why = NULL;
    CHECK(topology_initial(arena, seeds, ARRAY_COUNT(seeds), 64, &topology, &why) == OK);
    struct keyspace_map map = {0};
    struct keyspace keyspace = keyspace_builtin();
    map = keyspace_map_put(arena, &map, &keyspace);
    keyspace = keyspace_default("last");
    keyspace.conflict = KEYSPACE_LWW;
    map = keyspace_map_put(arena, &map, &keyspace);
    keyspace = keyspace_default("more");
    map = keyspace_map_put(arena, &map, &keyspace);
    keyspace = keyspace_default("strict");
    keyspace.mode = KEYSPACE_CONSISTENT;
    map = keyspace_map_put(arena, &map, &keyspace);
    struct view *view = view_new(&topology, &map, 1);
    view->members[1].liveness = LIVENESS_DOWN;
    view->members[2].liveness = LIVENESS_ALIVE;
    return view;
}

static inline void fake_node_start(struct fake_node *node, uint32_t requests_max, uint32_t threads)
{
    *node = (struct fake_node){0};
    arena_init(&node->arena, NULL, 0);
    node->coordinator = calloc(1, sizeof *node->coordinator);
    CHECK(node->coordinator != NULL);
    actor_init(&node->coordinator->actor, &fake_coordinator_class,
               (struct actor_id){.node = 1, .kind = ACTOR_COORDINATOR});
    actor_init(&node->gossip.actor, &fake_gossip_class,
               (struct actor_id){.node = 1, .kind = ACTOR_GOSSIP});
    atomic_store(&node->gossip.free_bytes, UINT64_C(1) << 40);
    actor_init(&node->hints.actor, &fake_hints_class,
               (struct actor_id){.node = 1, .kind = ACTOR_HINTED_HANDOFF});
    actor_init(&node->anti_entropy, &fake_anti_entropy_class,
               (struct actor_id){.node = 1, .kind = ACTOR_ANTI_ENTROPY});
    actor_init(&node->replica, &fake_replica_class,
               (struct actor_id){.node = 1, .kind = ACTOR_REPLICA});
    struct runtime_options options = {.self = 1,
                                      .mailbox_messages_max = 65536,
                                      .seed = 1,
                                      .deliver_remote = fake_deliver_remote,
                                      .deliver_edge = fake_deliver_edge,
                                      .host = node};
    node->runtime = runtime_new(&options, fake_view(&node->arena));
    runtime_add_actor(node->runtime, &node->coordinator->actor, NULL, "coordinator");
    runtime_add_actor(node->runtime, &node->gossip.actor, NULL, "gossip");
    runtime_add_actor(node->runtime, &node->hints.actor, NULL, "hinted-handoff");
    runtime_add_actor(node->runtime, &node->anti_entropy, NULL, "anti-entropy");
    runtime_add_actor(node->runtime, &node->replica, NULL, "replica");
    node->loop = rpc_loop_new(threads, node->runtime);
    struct anti_entropy_options compared = anti_entropy_options_default(1, 1, 64);
    node->compared = anti_entropy_new(&compared);
    struct rpc_server_options server_options = {.address = "127.0.0.1:0",
                                                .loop = node->loop,
                                                .runtime = node->runtime,
                                                .requests_max = requests_max,
                                                .value_bytes_max = 1024 * 1024,
                                                .node_name = "n1",
                                                .hint_targets = fake_hint_targets,
                                                .move_bytes_per_second = 1000000,
                                                .anti_entropy = node->compared,
                                                .host = node,
                                                .version = "test"};
    context_keys_derive(fake_cluster_id, fake_secret, &server_options.context_keys);
    char why[256] = "";
    struct rpc_server *server = NULL;
    if (rpc_server_start(&server_options, &server, why, sizeof why) != OK) {
        fprintf(stderr, "%s\n", why);
        abort();
    }
    node->server = server;
    runtime_start(node->runtime);
    rpc_loop_start(node->loop);
    rpc_server_set_serving(server, true);
}

static inline void fake_node_stop(struct fake_node *node, uint32_t grace_ms)
{
    rpc_server_drain(node->server, grace_ms);
    runtime_stop(node->runtime);
    rpc_server_free(node->server);
    rpc_loop_free(node->loop);
    runtime_free(node->runtime);
    for (uint32_t i = 0; i < node->coordinator->late_count; i++)
        message_free(node->coordinator->late[i].message);
    for (uint32_t i = 0; i < FAKE_BUCKETS; i++) {
        while (node->coordinator->buckets[i] != NULL) {
            struct fake_entry *entry = node->coordinator->buckets[i];
            node->coordinator->buckets[i] = entry->next;
            arena_deinit(&entry->arena);
            free(entry);
        }
    }
    free(node->coordinator);
    anti_entropy_free(node->compared);
    arena_deinit(&node->arena);
}

#endif
