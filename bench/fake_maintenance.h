/* Actors that a test steers, for Maintenance: an anti-entropy actor that repairs nothing and tells
 * of one key, and a replica that has a tree for each partition.
 *
 *   repair 00000000000000ff   is not known
 *   partition 5               is being built; 6 is damaged; 7 is being filled
 */
#ifndef BENCH_FAKE_MAINTENANCE_H
#define BENCH_FAKE_MAINTENANCE_H

#include "actors/actor.h"
#include "model/exchange.h"
#include "model/hlc.h"
#include "model/keyspace.h"
#include "model/record.h"

#define FAKE_REPAIR_UNKNOWN 0xffu
#define FAKE_REPAIR_CHOSEN  0x1234u /* for who names none */
#define FAKE_EXPLAINED_MS   1700000000000ull

static inline void fake_repair(struct actor *actor, struct actor_context *ctx,
                               const struct message *message)
{
    const struct client_maintenance *request = &message->client_maintenance;
    struct message *reply = message_new_reply(message, MESSAGE_client_maintenance_done, 0);
    struct client_maintenance_done *done = &reply->client_maintenance_done;
    bool start = request->operation == MAINTENANCE_REPAIR_START;
    *done = (struct client_maintenance_done){
        .client = request->client,
        .task = start && request->task == 0 ? FAKE_REPAIR_CHOSEN : request->task,
        .ended = !start,
        .ranges_done = 100,
        .ranges_total = 128,
        .ranges_failed = start ? 0 : 28,
        .keys_repaired = request->keyspace_id,        /* so that a test sees that it came through */
        .bytes_moved = request->gives_up ? 75 : 1000, /* and this */
        .started_ms = FAKE_EXPLAINED_MS,
    };
    if (request->operation == MAINTENANCE_REPAIR_CANCEL)
        done->why = "cancelled";
    if (request->task == FAKE_REPAIR_UNKNOWN && !start)
        *done = (struct client_maintenance_done){
            .client = request->client, .status = ERR_NOT_FOUND, .why = "no such repair"};
    outbox_send(ctx, actor, reply);
}

static inline uint64_t fake_written_at(uint64_t wall_ms)
{
    struct hlc hlc;
    hlc_init(&hlc, HLC_AHEAD_MAX_DEFAULT_MS);
    return hlc_now(&hlc, wall_ms);
}

/* Two siblings, one of them a tombstone. */
static inline struct bytes fake_record(struct arena *arena, uint32_t keyspace_id, struct bytes key)
{
    struct dot dot;
    struct version value = {.written_at = fake_written_at(FAKE_EXPLAINED_MS - 5000),
                            .expires_at_ms = FAKE_EXPLAINED_MS - 1,
                            .value = bytes_of_string("value")};
    struct version tombstone = {.written_at = fake_written_at(FAKE_EXPLAINED_MS - 4000),
                                .flags = VERSION_TOMBSTONE};
    struct clock nothing = {0};
    struct version_set set =
        version_set_put(arena, &(struct version_set){0}, &nothing, 1, 10, &value, &dot);
    set = version_set_put(arena, &set, &nothing, 3, 20, &tombstone, &dot);
    return record_encode(arena, keyspace_id, key, &set);
}

static inline void fake_explain(struct actor *actor, struct actor_context *ctx,
                                const struct message *message)
{
    const struct client_explain *request = &message->client_explain;
    struct message *reply = message_new_reply(message, MESSAGE_client_explain_done, 0);
    struct client_explain_done *done = &reply->client_explain_done;
    *done = (struct client_explain_done){.client = request->client,
                                         .partition = 9,
                                         .hash = 0x0123456789abcdef,
                                         .count = 3,
                                         .wall_ms = FAKE_EXPLAINED_MS};
    done->nodes = ARENA_NEW(&reply->arena, struct node_explain, done->count);
    done->nodes[0] = (struct node_explain){
        .member = 1,
        .replica = true,
        .held = {.record = fake_record(&reply->arena, request->keyspace_id, request->key),
                 .complete = true,
                 .floor = 4,
                 .tree_depth = 8,
                 .leaf_index = 77,
                 .leaf_sum = 0xabc,
                 .leaf_keys = 2,
                 .repaired_at_ms = FAKE_EXPLAINED_MS - 3000,
                 .repaired_reason = WRITE_ANTI_ENTROPY}};
    done->nodes[1] = (struct node_explain){.member = 2, .replica = true};
    done->nodes[1].held.status = done->nodes[1].hints.status = ERR_UNAVAILABLE;
    done->nodes[2] = (struct node_explain){.member = 3};
    done->nodes[2].held.status = ERR_NOT_FOUND;
    done->nodes[2].hints.hint_count = 1;
    done->nodes[2].hints.hint_members[0] = 2;
    done->nodes[2].hints.hint_stored_at_ms = FAKE_EXPLAINED_MS - 9000;
    outbox_send(ctx, actor, reply);
}

static inline void fake_anti_entropy_handle(struct actor *actor, struct actor_context *ctx,
                                            struct message *message)
{
    if (message->kind == MESSAGE_client_maintenance)
        fake_repair(actor, ctx, message);
    else if (message->kind == MESSAGE_client_explain)
        fake_explain(actor, ctx, message);
    message_free(message);
}

static const struct actor_class fake_anti_entropy_class = {
    .name = "fake_anti_entropy",
    .handle = fake_anti_entropy_handle,
};

static inline void fake_replica_handle(struct actor *actor, struct actor_context *ctx,
                                       struct message *message)
{
    if (message->kind == MESSAGE_tree_roots) {
        uint32_t partition = message->tree_roots.partition;
        struct message *reply = message_new_reply(message, MESSAGE_tree_roots_reply, 256);
        struct exchange_root root = {.keyspace_id = keyspace_builtin().id,
                                     .depth = MERKLE_DEPTH_MIN,
                                     .floor = partition,
                                     .node = {.sum = 3 * partition, .count = partition}};
        struct exchange_roots roots = {.count = 1, .roots = &root};
        reply->tree_roots_reply.complete = partition != 7;
        if (partition == 5)
            reply->tree_roots_reply.status = ERR_UNAVAILABLE;
        else
            reply->tree_roots_reply.roots = partition == 6
                                                ? bytes_of_string("?")
                                                : exchange_roots_encode(&reply->arena, &roots);
        outbox_send(ctx, actor, reply);
    }
    message_free(message);
}

static const struct actor_class fake_replica_class = {
    .name = "fake_replica",
    .handle = fake_replica_handle,
};

#endif
