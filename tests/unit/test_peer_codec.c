// link: coterie_codec
/* Messages between nodes come out of the wire as they went in; whatever else comes in is refused.
 * The wire is that of peer.proto: protobuf-c reads what we write and we read what it writes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/prng.h"
#include "coterie/internal/v1/peer.pb-c.h"
#include "model/topology.h"
#include "rpc/peer_codec.h"

#include <stdio.h>
#include <time.h>

#define NOW_NS    UINT64_C(7000000000)
#define NS_PER_MS UINT64_C(1000000)
#define ROUNDS    400
#define SEED      20240607u

typedef Coterie__Internal__V1__PeerMessage wire_message;

static struct prng prng;

static int setup(void **state)
{
    (void)state;
    prng_init(&prng, SEED, 1);
    return 0;
}

static uint32_t random_u32(void)
{
    return (uint32_t)(prng_u64(&prng) >> prng_between(&prng, 32, 63));
}

static uint64_t random_u64(void)
{
    return prng_u64(&prng) >> prng_below(&prng, 64);
}

static struct bytes random_bytes(struct arena *arena, size_t min, size_t max)
{
    size_t size = prng_between(&prng, min, prng_chance(&prng, 0.9) && max > 200 ? 200 : max);
    uint8_t *data = arena_alloc(arena, size);
    for (size_t i = 0; i < size; i++)
        data[i] = (uint8_t)prng_u64(&prng);
    return bytes_of(data, size);
}

static void random_members(uint8_t *ret_count, uint32_t *ret_members)
{
    *ret_count = (uint8_t)prng_between(&prng, 0, REPLICAS_TOTAL_MAX);
    for (uint8_t i = 0; i < *ret_count; i++)
        ret_members[i] = random_u32();
}

static void random_request(struct arena *arena, struct put_request *request)
{
    request->keyspace_id = random_u32();
    request->key = random_bytes(arena, 1, KEY_BYTES_MAX);
    request->value = random_bytes(arena, 0, 100000);
    request->flags = (uint32_t)prng_below(&prng, 2);
    request->expires_at_ms = random_u64();
    request->has_context = prng_chance(&prng, 0.5);
    request->context = random_bytes(arena, 0, CONTEXT_BYTES_MAX);
    request->level = (enum consistency)prng_below(&prng, CONSISTENCY_COUNT + 1);
    request->count = random_u32();
    request->strict = prng_chance(&prng, 0.5);
    request->request_id = random_bytes(arena, 0, REQUEST_ID_BYTES);
}

static void random_result(struct arena *arena, struct put_result *result)
{
    result->status = (enum err)prng_below(&prng, ERR_COUNT);
    result->outcome = (enum outcome)prng_below(&prng, OUTCOME_UNKNOWN + 1);
    if (prng_chance(&prng, 0.5))
        result->why = arena_printf(arena, "why %u of %u", random_u32(), random_u32());
    result->progress.acked = random_u32();
    result->progress.needed = random_u32();
    random_members(&result->progress.acked_count, result->progress.acked_members);
    random_members(&result->progress.missing_count, result->progress.missing_members);
    result->progress.fallback_count = (uint8_t)prng_below(&prng, PROGRESS_FALLBACKS_MAX + 1);
    for (uint8_t i = 0; i < result->progress.fallback_count; i++)
        result->progress.fallback_members[i] = random_u32() | 1;
    result->context = random_bytes(arena, 0, CONTEXT_BYTES_MAX);
    result->sibling_count = random_u32();
    result->retry_after_ms = prng_below(&prng, 86400001);
}

static void random_write(struct arena *arena, struct replica_write *write)
{
    write->keyspace_id = random_u32();
    write->key = random_bytes(arena, 1, KEY_BYTES_MAX);
    write->record = random_bytes(arena, 0, 100000);
    write->policy = (uint32_t)prng_below(&prng, 4);
    write->partition = (uint32_t)prng_below(&prng, PARTITIONS_MAX);
    write->reason = (enum write_reason)prng_below(&prng, WRITE_ANTI_ENTROPY + 1);
    write->floor = random_u64();
    write->request_id = random_bytes(arena, 0, REQUEST_ID_BYTES);
    write->request_context = random_bytes(arena, 0, 1000);
    write->onward_count = (uint8_t)prng_below(&prng, ONWARD_MAX + 1);
    for (uint8_t i = 0; i < write->onward_count; i++)
        write->onward[i] = random_u32() | 1;
    write->answer_to = random_u32();
}

static void random_digest(struct arena *arena, struct gossip_digest *digest)
{
    digest->topology_epoch = random_u64();
    digest->keyspaces_digest = random_u64();
    digest->topology_digest = random_u64();
    digest->heartbeat_count = (uint32_t)prng_between(&prng, 0, MEMBERS_MAX);
    digest->heartbeats = ARENA_NEW(arena, struct gossip_heartbeat, MEMBERS_MAX);
    for (uint32_t i = 0; i < digest->heartbeat_count; i++)
        digest->heartbeats[i] =
            (struct gossip_heartbeat){.member = random_u32() + 1u == 0 ? 1 : random_u32() / 2 + 1,
                                      .generation = random_u64(),
                                      .heartbeat = random_u64()};
}

static enum err random_status(void)
{
    return (enum err)prng_below(&prng, ERR_COUNT);
}

static struct ballot random_ballot(void)
{
    return (struct ballot){
        .counter = random_u64() / 2, .member = random_u32(), .incarnation = random_u64()};
}

static enum actor_kind receiver_of(enum message_kind kind)
{
    if (kind == MESSAGE_replica_write || kind == MESSAGE_replica_read)
        return ACTOR_REPLICA;
    if (kind >= MESSAGE_gossip_digest && kind <= MESSAGE_gossip_keyspaces_reply)
        return ACTOR_GOSSIP;
    if (kind == MESSAGE_hint_store || kind == MESSAGE_hint_store_reply)
        return ACTOR_HINTED_HANDOFF;
    if (kind == MESSAGE_reap_hints)
        return ACTOR_HINTED_HANDOFF;
    if (kind == MESSAGE_register_query_reply || kind == MESSAGE_register_prepare_reply ||
        kind == MESSAGE_register_accept_reply)
        return ACTOR_COORDINATOR;
    if ((kind >= MESSAGE_topology_document && kind <= MESSAGE_topology_accept_reply) ||
        kind == MESSAGE_vnode_report_reply)
        return ACTOR_GOSSIP;
    if (kind == MESSAGE_vnode_report || kind == MESSAGE_register_list_reply)
        return ACTOR_ANTI_ENTROPY;
    if (kind == MESSAGE_register_list)
        return ACTOR_REPLICA;
    if (kind >= MESSAGE_tree_roots && kind <= MESSAGE_key_explain)
        return (kind - MESSAGE_tree_roots) % 2 == 0 ? ACTOR_REPLICA : ACTOR_ANTI_ENTROPY;
    if (kind == MESSAGE_key_explain_reply)
        return ACTOR_ANTI_ENTROPY;
    return ACTOR_COORDINATOR;
}

static struct message *random_message(enum message_kind kind)
{
    struct message *message = message_new(kind, 0);
    struct arena *arena = &message->arena;
    message->id = random_u64();
    message->epoch = random_u64();
    message->deadline_ns =
        prng_chance(&prng, 0.3) ? 0 : NOW_NS + NS_PER_MS * prng_below(&prng, DEADLINE_MAX_MS + 1);
    message->from = (struct actor_id){3, (uint8_t)prng_between(&prng, 1, 5), (uint8_t)random_u32()};
    message->to = (struct actor_id){9, (uint8_t)receiver_of(kind), (uint8_t)random_u32()};
    if (kind == MESSAGE_forward_put)
        random_request(arena, &message->forward_put.request);
    else if (kind == MESSAGE_forward_put_reply)
        random_result(arena, &message->forward_put_reply.result);
    else if (kind == MESSAGE_replica_write)
        random_write(arena, &message->replica_write);
    else if (kind == MESSAGE_replica_write_reply)
        message->replica_write_reply =
            (struct replica_write_reply){random_status(), random_u32(), prng_chance(&prng, 0.5)};
    else if (kind == MESSAGE_replica_read)
        message->replica_read = (struct replica_read){.keyspace_id = random_u32(),
                                                      .key = random_bytes(arena, 1, KEY_BYTES_MAX),
                                                      .policy = random_u32() % 4,
                                                      .partition = random_u32() % PARTITIONS_MAX};
    else if (kind == MESSAGE_replica_read_reply)
        message->replica_read_reply = (struct replica_read_reply){
            random_status(), random_bytes(arena, 0, 100000), random_u64()};
    else if (kind == MESSAGE_gossip_digest || kind == MESSAGE_gossip_digest_reply)
        random_digest(arena, &message->gossip_digest);
    else if (kind == MESSAGE_gossip_keyspaces)
        message->gossip_keyspaces.map = random_bytes(arena, 0, 100000);
    else if (kind == MESSAGE_gossip_keyspaces_reply)
        message->gossip_keyspaces_reply =
            (struct gossip_keyspaces_reply){random_status(), random_u64()};
    else if (kind == MESSAGE_hint_store) {
        message->hint_store.target = random_u32() / 2 + 1;
        random_write(arena, &message->hint_store.write);
    } else if (kind == MESSAGE_hint_store_reply)
        message->hint_store_reply.status = random_status();
    else if (kind == MESSAGE_tree_roots) {
        struct tree_roots *body = &message->tree_roots;
        body->partition = random_u32() % PARTITIONS_MAX;
    } else if (kind == MESSAGE_tree_roots_reply) {
        struct tree_roots_reply *body = &message->tree_roots_reply;
        body->status = random_status();
        body->complete = prng_chance(&prng, 0.5);
        body->bad_rows = prng_chance(&prng, 0.5);
        body->roots = random_bytes(arena, 0, 100000);
    } else if (kind == MESSAGE_tree_read) {
        struct tree_read *body = &message->tree_read;
        body->partition = random_u32() % PARTITIONS_MAX;
        body->keyspace_id = random_u32();
        body->level = random_u32() % 65;
        body->salt = random_u64();
        body->fanout_bits = random_u32() % 9;
        body->nodes = random_bytes(arena, 0, 100000);
    } else if (kind == MESSAGE_tree_read_reply) {
        struct tree_read_reply *body = &message->tree_read_reply;
        body->status = random_status();
        body->level = random_u32() % 65;
        body->depth = random_u32() % 65;
        body->hashes = random_bytes(arena, 0, 100000);
    } else if (kind == MESSAGE_digest_read) {
        struct digest_read *body = &message->digest_read;
        body->partition = random_u32() % PARTITIONS_MAX;
        body->keyspace_id = random_u32();
        body->salt = random_u64();
        body->level = random_u32() % 65;
        body->nodes = random_bytes(arena, 0, 100000);
        body->from_hash = random_u64();
    } else if (kind == MESSAGE_digest_read_reply) {
        struct digest_read_reply *body = &message->digest_read_reply;
        body->status = random_status();
        body->more = prng_chance(&prng, 0.5);
        body->bad_rows = prng_chance(&prng, 0.5);
        body->through_hash = random_u64();
        body->digests = random_bytes(arena, 0, 100000);
    } else if (kind == MESSAGE_record_fetch) {
        struct record_fetch *body = &message->record_fetch;
        body->partition = random_u32() % PARTITIONS_MAX;
        body->keyspace_id = random_u32();
        body->level = random_u32() % 65;
        body->places = random_bytes(arena, 0, 100000);
    } else if (kind == MESSAGE_record_fetch_reply) {
        struct record_fetch_reply *body = &message->record_fetch_reply;
        body->status = random_status();
        body->served = random_u32();
        body->floor = random_u64();
        body->bad_rows = prng_chance(&prng, 0.5);
        body->records = random_bytes(arena, 0, 100000);
    } else if (kind == MESSAGE_register_query) {
        struct register_query *body = &message->register_query;
        body->keyspace_id = random_u32();
        body->key = random_bytes(arena, 1, KEY_BYTES_MAX);
        body->partition = random_u32() % PARTITIONS_MAX;
    } else if (kind == MESSAGE_register_query_reply) {
        struct register_query_reply *body = &message->register_query_reply;
        body->status = random_status();
        body->promised = random_ballot();
        body->accepted = random_ballot();
        body->value = random_bytes(arena, 0, 100000);
    } else if (kind == MESSAGE_register_prepare) {
        struct register_prepare *body = &message->register_prepare;
        body->keyspace_id = random_u32();
        body->key = random_bytes(arena, 1, KEY_BYTES_MAX);
        body->partition = random_u32() % PARTITIONS_MAX;
        body->ballot = random_ballot();
    } else if (kind == MESSAGE_register_prepare_reply) {
        struct register_prepare_reply *body = &message->register_prepare_reply;
        body->status = random_status();
        body->agreed = prng_chance(&prng, 0.5);
        body->conflict = random_ballot();
        body->accepted = random_ballot();
        body->value = random_bytes(arena, 0, 100000);
    } else if (kind == MESSAGE_register_accept) {
        struct register_accept *body = &message->register_accept;
        body->keyspace_id = random_u32();
        body->key = random_bytes(arena, 1, KEY_BYTES_MAX);
        body->partition = random_u32() % PARTITIONS_MAX;
        body->ballot = random_ballot();
        body->value = random_bytes(arena, 0, 100000);
    } else if (kind == MESSAGE_register_accept_reply) {
        struct register_accept_reply *body = &message->register_accept_reply;
        body->status = random_status();
        body->agreed = prng_chance(&prng, 0.5);
        body->conflict = random_ballot();
    } else if (kind == MESSAGE_reap_hints) {
        struct reap_hints *body = &message->reap_hints;
        body->partition = random_u32() % PARTITIONS_MAX;
        body->keyspace_id = random_u32();
    } else if (kind == MESSAGE_reap_hints_reply) {
        struct reap_hints_reply *body = &message->reap_hints_reply;
        body->status = random_status();
    } else if (kind == MESSAGE_reap_seal) {
        struct reap_seal *body = &message->reap_seal;
        body->partition = random_u32() % PARTITIONS_MAX;
        body->keyspace_id = random_u32();
        body->floor = random_u64();
        body->older_than_ms = random_u64();
        body->digests = random_bytes(arena, 0, 100000);
        body->reaped = random_u64();
    } else if (kind == MESSAGE_reap_seal_reply) {
        struct reap_seal_reply *body = &message->reap_seal_reply;
        body->reaped = random_u64();
        body->status = random_status();
        body->floor = random_u64();
        body->matched = random_bytes(arena, 0, 100000);
    } else if (kind == MESSAGE_reap_remove) {
        struct reap_remove *body = &message->reap_remove;
        body->partition = random_u32() % PARTITIONS_MAX;
        body->keyspace_id = random_u32();
        body->floor = random_u64();
        body->digests = random_bytes(arena, 0, 100000);
    } else if (kind == MESSAGE_reap_remove_reply) {
        struct reap_remove_reply *body = &message->reap_remove_reply;
        body->status = random_status();
        body->removed = random_u32();
    } else if (kind == MESSAGE_key_explain) {
        struct key_explain *body = &message->key_explain;
        body->partition = random_u32() % PARTITIONS_MAX;
        body->keyspace_id = random_u32();
        body->key = random_bytes(arena, 1, KEY_BYTES_MAX);
    } else if (kind == MESSAGE_key_explain_reply) {
        struct key_explain_reply *body = &message->key_explain_reply;
        body->status = random_status();
        body->record = random_bytes(arena, 0, 100000);
        body->complete = prng_chance(&prng, 0.5);
        body->floor = random_u64();
        body->tree_depth = random_u32();
        body->leaf_index = random_u64();
        body->leaf_sum = random_u64();
        body->leaf_keys = random_u32();
        body->repaired_at_ms = random_u64();
        body->repaired_reason = random_u32() % (WRITE_ANTI_ENTROPY + 1);
        body->hint_count = (uint8_t)prng_below(&prng, EXPLAIN_HINTS_MAX + 1);
        for (uint32_t i = 0; i < body->hint_count; i++)
            body->hint_members[i] = random_u32() / 2 + 1;
        body->hint_stored_at_ms = random_u64();
        body->mute = prng_chance(&prng, 0.5);
        body->promised = random_ballot();
        body->accepted = random_ballot();
        body->waits = random_bytes(arena, 0, 2000);
    } else if (kind == MESSAGE_topology_document) {
        message->topology_document.document = random_bytes(arena, 1, 100000);
    } else if (kind == MESSAGE_topology_document_reply) {
        message->topology_document_reply.status = random_status();
        message->topology_document_reply.epoch = random_u64();
    } else if (kind == MESSAGE_topology_fetch) {
        message->topology_fetch.epoch = random_u64();
    } else if (kind == MESSAGE_topology_prepare) {
        message->topology_prepare.epoch = random_u64();
        message->topology_prepare.ballot = random_ballot();
    } else if (kind == MESSAGE_topology_prepare_reply) {
        struct topology_prepare_reply *body = &message->topology_prepare_reply;
        body->status = random_status();
        body->agreed = prng_chance(&prng, 0.5);
        body->conflict = random_ballot();
        body->accepted = random_ballot();
        body->value = random_bytes(arena, 0, 100000);
    } else if (kind == MESSAGE_topology_accept) {
        struct topology_accept *body = &message->topology_accept;
        body->epoch = random_u64();
        body->ballot = random_ballot();
        body->value = random_bytes(arena, 1, 100000);
    } else if (kind == MESSAGE_topology_accept_reply) {
        struct topology_accept_reply *body = &message->topology_accept_reply;
        body->status = random_status();
        body->agreed = prng_chance(&prng, 0.5);
        body->conflict = random_ballot();
    } else if (kind == MESSAGE_vnode_report) {
        message->vnode_report.sizes = prng_chance(&prng, 0.5);
    } else if (kind == MESSAGE_vnode_report_reply) {
        struct vnode_report_reply *body = &message->vnode_report_reply;
        body->status = random_status();
        body->epoch = random_u64();
        body->change = random_u64();
        body->filled = random_bytes(arena, 0, PARTITIONS_MAX / 8);
        body->gains = random_u32() % PARTITIONS_MAX;
        body->gains_filled = random_u32() % PARTITIONS_MAX;
        body->bytes_copied = random_u64();
        body->bytes_per_second = random_u64();
        body->free_bytes = random_u64();
        body->hints = random_u64();
        body->keyspaces_digest = random_u64();
        body->sizes = random_bytes(arena, 0, (size_t)8 * PARTITIONS_MAX);
        body->waits = random_bytes(arena, 0, 2000);
    } else if (kind == MESSAGE_register_list) {
        struct register_list *body = &message->register_list;
        body->partition = random_u32() % PARTITIONS_MAX;
        body->keyspace_id = random_u32();
        body->after = random_bytes(arena, 0, KEY_BYTES_MAX);
    } else if (kind == MESSAGE_register_list_reply) {
        struct register_list_reply *body = &message->register_list_reply;
        body->status = random_status();
        body->more = prng_chance(&prng, 0.5);
        body->last = random_bytes(arena, 0, KEY_BYTES_MAX);
        body->keys = random_bytes(arena, 0, 100000);
    } else
        fail_msg("%s crosses nodes but has no generator", message_kind_text(kind));
    return message;
}

#define SAME(field)       assert_int_equal(a->field, b->field)
#define SAME_BYTES(field) assert_true(bytes_equal(a->field, b->field))
#define SAME_BALLOT(field)                                                                         \
    do {                                                                                           \
        SAME(field.counter);                                                                       \
        SAME(field.member);                                                                        \
        SAME(field.incarnation);                                                                   \
    } while (0)

static void same_request(const struct put_request *a, const struct put_request *b)
{
    SAME(keyspace_id);
    SAME_BYTES(key);
    SAME_BYTES(value);
    SAME(flags);
    SAME(expires_at_ms);
    SAME(has_context);
    SAME_BYTES(context);
    SAME(level);
    SAME(count);
    SAME(strict);
    SAME_BYTES(request_id);
}

static void same_result(const struct put_result *a, const struct put_result *b)
{
    SAME(status);
    SAME(outcome);
    assert_int_equal(a->why == NULL, b->why == NULL);
    if (a->why != NULL)
        assert_string_equal(a->why, b->why);
    SAME(progress.acked);
    SAME(progress.needed);
    SAME(progress.acked_count);
    SAME(progress.missing_count);
    SAME(progress.fallback_count);
    assert_memory_equal(a->progress.acked_members, b->progress.acked_members,
                        a->progress.acked_count * sizeof(uint32_t));
    assert_memory_equal(a->progress.missing_members, b->progress.missing_members,
                        a->progress.missing_count * sizeof(uint32_t));
    assert_memory_equal(a->progress.fallback_members, b->progress.fallback_members,
                        a->progress.fallback_count * sizeof(uint32_t));
    SAME_BYTES(context);
    SAME(sibling_count);
    SAME(retry_after_ms);
}

static void same_write(const struct replica_write *a, const struct replica_write *b)
{
    SAME(keyspace_id);
    SAME_BYTES(key);
    SAME_BYTES(record);
    SAME(policy);
    SAME(partition);
    SAME(reason);
    SAME(floor);
    SAME_BYTES(request_id);
    SAME_BYTES(request_context);
    SAME(onward_count);
    assert_memory_equal(a->onward, b->onward, a->onward_count * sizeof(uint32_t));
    SAME(answer_to);
}

static void same_digest(const struct gossip_digest *a, const struct gossip_digest *b)
{
    SAME(topology_epoch);
    SAME(keyspaces_digest);
    SAME(topology_digest);
    SAME(heartbeat_count);
    for (uint32_t i = 0; i < a->heartbeat_count; i++) {
        SAME(heartbeats[i].member);
        SAME(heartbeats[i].generation);
        SAME(heartbeats[i].heartbeat);
    }
}

static void same_message(const struct message *a, const struct message *b)
{
    SAME(kind);
    SAME(id);
    SAME(epoch);
    SAME(deadline_ns);
    SAME(from.node);
    SAME(from.kind);
    SAME(from.index);
    SAME(to.node);
    SAME(to.kind);
    SAME(to.index);
    if (a->kind == MESSAGE_forward_put)
        same_request(&a->forward_put.request, &b->forward_put.request);
    else if (a->kind == MESSAGE_forward_put_reply)
        same_result(&a->forward_put_reply.result, &b->forward_put_reply.result);
    else if (a->kind == MESSAGE_replica_write)
        same_write(&a->replica_write, &b->replica_write);
    else if (a->kind == MESSAGE_replica_read) {
        SAME(replica_read.keyspace_id);
        SAME_BYTES(replica_read.key);
        SAME(replica_read.partition);
        SAME(replica_read.policy);
    } else if (a->kind == MESSAGE_replica_read_reply) {
        SAME(replica_read_reply.status);
        SAME_BYTES(replica_read_reply.record);
        SAME(replica_read_reply.floor);
    } else if (a->kind == MESSAGE_gossip_digest || a->kind == MESSAGE_gossip_digest_reply)
        same_digest(&a->gossip_digest, &b->gossip_digest);
    else if (a->kind == MESSAGE_gossip_keyspaces)
        SAME_BYTES(gossip_keyspaces.map);
    else if (a->kind == MESSAGE_gossip_keyspaces_reply) {
        SAME(gossip_keyspaces_reply.status);
        SAME(gossip_keyspaces_reply.keyspaces_digest);
    } else if (a->kind == MESSAGE_hint_store) {
        SAME(hint_store.target);
        same_write(&a->hint_store.write, &b->hint_store.write);
    } else if (a->kind == MESSAGE_tree_roots) {
        SAME(tree_roots.partition);
    } else if (a->kind == MESSAGE_tree_roots_reply) {
        SAME(tree_roots_reply.status);
        SAME(tree_roots_reply.complete);
        SAME(tree_roots_reply.bad_rows);
        SAME_BYTES(tree_roots_reply.roots);
    } else if (a->kind == MESSAGE_tree_read) {
        SAME(tree_read.partition);
        SAME(tree_read.keyspace_id);
        SAME(tree_read.level);
        SAME(tree_read.salt);
        SAME(tree_read.fanout_bits);
        SAME_BYTES(tree_read.nodes);
    } else if (a->kind == MESSAGE_tree_read_reply) {
        SAME(tree_read_reply.status);
        SAME(tree_read_reply.level);
        SAME(tree_read_reply.depth);
        SAME_BYTES(tree_read_reply.hashes);
    } else if (a->kind == MESSAGE_digest_read) {
        SAME(digest_read.partition);
        SAME(digest_read.keyspace_id);
        SAME(digest_read.level);
        SAME(digest_read.salt);
        SAME_BYTES(digest_read.nodes);
        SAME(digest_read.from_hash);
    } else if (a->kind == MESSAGE_digest_read_reply) {
        SAME(digest_read_reply.status);
        SAME(digest_read_reply.more);
        SAME(digest_read_reply.bad_rows);
        SAME(digest_read_reply.through_hash);
        SAME_BYTES(digest_read_reply.digests);
    } else if (a->kind == MESSAGE_record_fetch) {
        SAME(record_fetch.partition);
        SAME(record_fetch.keyspace_id);
        SAME(record_fetch.level);
        SAME_BYTES(record_fetch.places);
    } else if (a->kind == MESSAGE_record_fetch_reply) {
        SAME(record_fetch_reply.status);
        SAME(record_fetch_reply.served);
        SAME(record_fetch_reply.floor);
        SAME(record_fetch_reply.bad_rows);
        SAME_BYTES(record_fetch_reply.records);
    } else if (a->kind == MESSAGE_register_query) {
        SAME(register_query.keyspace_id);
        SAME_BYTES(register_query.key);
        SAME(register_query.partition);
    } else if (a->kind == MESSAGE_register_query_reply) {
        SAME(register_query_reply.status);
        SAME_BALLOT(register_query_reply.promised);
        SAME_BALLOT(register_query_reply.accepted);
        SAME_BYTES(register_query_reply.value);
    } else if (a->kind == MESSAGE_register_prepare) {
        SAME(register_prepare.keyspace_id);
        SAME_BYTES(register_prepare.key);
        SAME(register_prepare.partition);
        SAME_BALLOT(register_prepare.ballot);
    } else if (a->kind == MESSAGE_register_prepare_reply) {
        SAME(register_prepare_reply.status);
        SAME(register_prepare_reply.agreed);
        SAME_BALLOT(register_prepare_reply.conflict);
        SAME_BALLOT(register_prepare_reply.accepted);
        SAME_BYTES(register_prepare_reply.value);
    } else if (a->kind == MESSAGE_register_accept) {
        SAME(register_accept.keyspace_id);
        SAME_BYTES(register_accept.key);
        SAME(register_accept.partition);
        SAME_BALLOT(register_accept.ballot);
        SAME_BYTES(register_accept.value);
    } else if (a->kind == MESSAGE_register_accept_reply) {
        SAME(register_accept_reply.status);
        SAME(register_accept_reply.agreed);
        SAME_BALLOT(register_accept_reply.conflict);
    } else if (a->kind == MESSAGE_topology_document) {
        SAME_BYTES(topology_document.document);
    } else if (a->kind == MESSAGE_topology_document_reply) {
        SAME(topology_document_reply.status);
        SAME(topology_document_reply.epoch);
    } else if (a->kind == MESSAGE_topology_fetch) {
        SAME(topology_fetch.epoch);
    } else if (a->kind == MESSAGE_topology_prepare) {
        SAME(topology_prepare.epoch);
        SAME_BALLOT(topology_prepare.ballot);
    } else if (a->kind == MESSAGE_topology_prepare_reply) {
        SAME(topology_prepare_reply.status);
        SAME(topology_prepare_reply.agreed);
        SAME_BALLOT(topology_prepare_reply.conflict);
        SAME_BALLOT(topology_prepare_reply.accepted);
        SAME_BYTES(topology_prepare_reply.value);
    } else if (a->kind == MESSAGE_topology_accept) {
        SAME(topology_accept.epoch);
        SAME_BALLOT(topology_accept.ballot);
        SAME_BYTES(topology_accept.value);
    } else if (a->kind == MESSAGE_topology_accept_reply) {
        SAME(topology_accept_reply.status);
        SAME(topology_accept_reply.agreed);
        SAME_BALLOT(topology_accept_reply.conflict);
    } else if (a->kind == MESSAGE_vnode_report) {
        SAME(vnode_report.sizes);
    } else if (a->kind == MESSAGE_vnode_report_reply) {
        SAME(vnode_report_reply.status);
        SAME(vnode_report_reply.epoch);
        SAME(vnode_report_reply.change);
        SAME_BYTES(vnode_report_reply.filled);
        SAME(vnode_report_reply.gains);
        SAME(vnode_report_reply.gains_filled);
        SAME(vnode_report_reply.bytes_copied);
        SAME(vnode_report_reply.bytes_per_second);
        SAME(vnode_report_reply.free_bytes);
        SAME(vnode_report_reply.hints);
        SAME(vnode_report_reply.keyspaces_digest);
        SAME_BYTES(vnode_report_reply.sizes);
        SAME_BYTES(vnode_report_reply.waits);
    } else if (a->kind == MESSAGE_register_list) {
        SAME(register_list.partition);
        SAME(register_list.keyspace_id);
        SAME_BYTES(register_list.after);
    } else if (a->kind == MESSAGE_register_list_reply) {
        SAME(register_list_reply.status);
        SAME(register_list_reply.more);
        SAME_BYTES(register_list_reply.last);
        SAME_BYTES(register_list_reply.keys);
    } else if (a->kind == MESSAGE_reap_hints) {
        SAME(reap_hints.partition);
        SAME(reap_hints.keyspace_id);
    } else if (a->kind == MESSAGE_reap_hints_reply) {
        SAME(reap_hints_reply.status);
    } else if (a->kind == MESSAGE_reap_seal) {
        SAME(reap_seal.partition);
        SAME(reap_seal.keyspace_id);
        SAME(reap_seal.floor);
        SAME(reap_seal.older_than_ms);
        SAME_BYTES(reap_seal.digests);
        SAME(reap_seal.reaped);
    } else if (a->kind == MESSAGE_reap_seal_reply) {
        SAME(reap_seal_reply.status);
        SAME(reap_seal_reply.floor);
        SAME_BYTES(reap_seal_reply.matched);
        SAME(reap_seal_reply.reaped);
    } else if (a->kind == MESSAGE_reap_remove) {
        SAME(reap_remove.partition);
        SAME(reap_remove.keyspace_id);
        SAME(reap_remove.floor);
        SAME_BYTES(reap_remove.digests);
    } else if (a->kind == MESSAGE_reap_remove_reply) {
        SAME(reap_remove_reply.status);
        SAME(reap_remove_reply.removed);
    } else if (a->kind == MESSAGE_key_explain) {
        SAME(key_explain.partition);
        SAME(key_explain.keyspace_id);
        SAME_BYTES(key_explain.key);
    } else if (a->kind == MESSAGE_key_explain_reply) {
        SAME(key_explain_reply.status);
        SAME_BYTES(key_explain_reply.record);
        SAME(key_explain_reply.complete);
        SAME(key_explain_reply.floor);
        SAME(key_explain_reply.tree_depth);
        SAME(key_explain_reply.leaf_index);
        SAME(key_explain_reply.leaf_sum);
        SAME(key_explain_reply.leaf_keys);
        SAME(key_explain_reply.repaired_at_ms);
        SAME(key_explain_reply.repaired_reason);
        SAME(key_explain_reply.hint_count);
        for (uint32_t i = 0; i < a->key_explain_reply.hint_count; i++)
            SAME(key_explain_reply.hint_members[i]);
        SAME(key_explain_reply.hint_stored_at_ms);
        SAME(key_explain_reply.mute);
        SAME(key_explain_reply.promised.counter);
        SAME(key_explain_reply.accepted.counter);
        SAME_BYTES(key_explain_reply.waits);
    } else if (a->kind == MESSAGE_replica_write_reply) {
        SAME(replica_write_reply.status);
        SAME(replica_write_reply.credit);
        SAME(replica_write_reply.differs);
    } else /* the plain replies */
        SAME(replica_write_reply.status);
}

/* protobuf-c, a second implementation of the format, takes our bytes apart and gives the same back.
 */
static void same_in_protobuf(struct bytes bytes)
{
    wire_message *wire = coterie__internal__v1__peer_message__unpack(NULL, bytes.size, bytes.data);
    assert_non_null(wire);
    assert_int_equal(wire->base.n_unknown_fields, 0);
    size_t size = coterie__internal__v1__peer_message__get_packed_size(wire);
    uint8_t *again = test_malloc(size);
    coterie__internal__v1__peer_message__pack(wire, again);
    struct message *decoded = peer_message_decode(bytes_of(again, size), 3, 9, NOW_NS);
    assert_non_null(decoded);
    struct message *first = peer_message_decode(bytes, 3, 9, NOW_NS);
    assert_non_null(first);
    same_message(first, decoded);
    message_free(first);
    message_free(decoded);
    test_free(again);
    coterie__internal__v1__peer_message__free_unpacked(wire, NULL);
}

static void test_every_kind_comes_back_as_it_went(void **state)
{
    (void)state;
    uint32_t crossing = 0;
    for (int kind = 0; kind < MESSAGE_KIND_COUNT; kind++) {
        if (!message_crosses_nodes((enum message_kind)kind))
            continue;
        crossing++;
        for (int round = 0; round < ROUNDS; round++) {
            struct message *message = random_message((enum message_kind)kind);
            struct arena arena;
            arena_init(&arena, NULL, 0);
            struct bytes bytes = peer_message_encode(&arena, message, NOW_NS);
            assert_true(bytes.size > 0);
            struct message *decoded = peer_message_decode(bytes, 3, 9, NOW_NS);
            assert_non_null(decoded);
            same_message(message, decoded);
            same_in_protobuf(bytes);
            message_free(decoded);
            message_free(message);
            arena_deinit(&arena);
        }
    }
    assert_int_equal(crossing, 45);
}

/* Names as well as numbers: a field that changed places with another would pass a round trip. */
static void test_fields_are_those_of_the_schema(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct message *message = random_message(MESSAGE_forward_put);
    message->deadline_ns = NOW_NS + 1234 * NS_PER_MS;
    const struct put_request *request = &message->forward_put.request;
    struct bytes bytes = peer_message_encode(&arena, message, NOW_NS);
    wire_message *wire = coterie__internal__v1__peer_message__unpack(NULL, bytes.size, bytes.data);
    assert_non_null(wire);
    assert_int_equal(wire->id, message->id);
    assert_int_equal(wire->from_kind, message->from.kind);
    assert_int_equal(wire->from_index, message->from.index);
    assert_int_equal(wire->to_kind, message->to.kind);
    assert_int_equal(wire->to_index, message->to.index);
    assert_int_equal(wire->epoch, message->epoch);
    assert_int_equal(wire->deadline_left_ms, 1234);
    assert_int_equal(wire->body_case, COTERIE__INTERNAL__V1__PEER_MESSAGE__BODY_FORWARD_PUT);
    assert_int_equal(wire->forward_put->keyspace_id, request->keyspace_id);
    assert_int_equal(wire->forward_put->key.len, request->key.size);
    assert_int_equal(wire->forward_put->value.len, request->value.size);
    assert_int_equal(wire->forward_put->flags, request->flags);
    assert_int_equal(wire->forward_put->expires_at_ms, request->expires_at_ms);
    assert_int_equal(wire->forward_put->has_context, request->has_context);
    assert_int_equal(wire->forward_put->context.len, request->context.size);
    assert_int_equal(wire->forward_put->level, request->level);
    assert_int_equal(wire->forward_put->count, request->count);
    coterie__internal__v1__peer_message__free_unpacked(wire, NULL);
    message_free(message);

    message = random_message(MESSAGE_forward_put_reply);
    const struct put_result *result = &message->forward_put_reply.result;
    bytes = peer_message_encode(&arena, message, NOW_NS);
    wire = coterie__internal__v1__peer_message__unpack(NULL, bytes.size, bytes.data);
    assert_non_null(wire);
    assert_int_equal(wire->forward_put_reply->status, result->status);
    assert_int_equal(wire->forward_put_reply->outcome, result->outcome);
    assert_int_equal(wire->forward_put_reply->sibling_count, result->sibling_count);
    assert_int_equal(wire->forward_put_reply->retry_after_ms, result->retry_after_ms);
    assert_int_equal(wire->forward_put_reply->progress->acked, result->progress.acked);
    assert_int_equal(wire->forward_put_reply->progress->needed, result->progress.needed);
    assert_int_equal(wire->forward_put_reply->progress->n_acked_members,
                     result->progress.acked_count);
    assert_int_equal(wire->forward_put_reply->progress->n_missing_members,
                     result->progress.missing_count);
    assert_int_equal(wire->forward_put_reply->progress->n_fallback_members,
                     result->progress.fallback_count);
    coterie__internal__v1__peer_message__free_unpacked(wire, NULL);
    message_free(message);

    message = random_message(MESSAGE_hint_store);
    const struct replica_write *write = &message->hint_store.write;
    bytes = peer_message_encode(&arena, message, NOW_NS);
    wire = coterie__internal__v1__peer_message__unpack(NULL, bytes.size, bytes.data);
    assert_non_null(wire);
    assert_int_equal(wire->hint_store->target, message->hint_store.target);
    assert_int_equal(wire->hint_store->write->keyspace_id, write->keyspace_id);
    assert_int_equal(wire->hint_store->write->key.len, write->key.size);
    assert_int_equal(wire->hint_store->write->record.len, write->record.size);
    assert_int_equal(wire->hint_store->write->policy, write->policy);
    assert_int_equal(wire->hint_store->write->partition, write->partition);
    assert_int_equal(wire->hint_store->write->reason, write->reason);
    assert_int_equal(wire->hint_store->write->n_onward, write->onward_count);
    assert_int_equal(wire->hint_store->write->answer_to, write->answer_to);
    coterie__internal__v1__peer_message__free_unpacked(wire, NULL);
    message_free(message);

    message = random_message(MESSAGE_tree_read);
    bytes = peer_message_encode(&arena, message, NOW_NS);
    wire = coterie__internal__v1__peer_message__unpack(NULL, bytes.size, bytes.data);
    assert_non_null(wire);
    assert_int_equal(wire->tree_read->partition, message->tree_read.partition);
    assert_int_equal(wire->tree_read->salt, message->tree_read.salt);
    coterie__internal__v1__peer_message__free_unpacked(wire, NULL);
    message_free(message);
    arena_deinit(&arena);
}

static uint64_t deadline_after_the_wire(uint64_t deadline_ns, uint64_t sent_ns, uint64_t got_ns)
{
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct message *message = random_message(MESSAGE_replica_read);
    message->deadline_ns = deadline_ns;
    struct message *decoded =
        peer_message_decode(peer_message_encode(&arena, message, sent_ns), 1, 2, got_ns);
    assert_non_null(decoded);
    uint64_t result = decoded->deadline_ns;
    message_free(decoded);
    message_free(message);
    arena_deinit(&arena);
    return result;
}

/* LIBRARIES: a peer's deadline is derived from the client's and never later than it. */
static void test_deadlines_never_grow(void **state)
{
    (void)state;
    assert_int_equal(deadline_after_the_wire(0, NOW_NS, NOW_NS), 0);
    assert_int_equal(deadline_after_the_wire(NOW_NS + 1999999, NOW_NS, NOW_NS), NOW_NS + NS_PER_MS);
    assert_int_equal(deadline_after_the_wire(NOW_NS + 999999, NOW_NS, 5), 5);
    assert_int_equal(deadline_after_the_wire(NOW_NS - 1, NOW_NS, NOW_NS), NOW_NS);
    /* Passed, seen by a clock that starts at zero: still a deadline, and passed. */
    assert_int_equal(deadline_after_the_wire(1, NOW_NS, 0), 1);
    assert_int_equal(deadline_after_the_wire(NOW_NS + 3600000 * NS_PER_MS, NOW_NS, 0),
                     DEADLINE_MAX_MS * NS_PER_MS);
    for (int i = 0; i < 1000; i++) {
        uint64_t left_ns = prng_below(&prng, DEADLINE_MAX_MS * NS_PER_MS);
        uint64_t after = deadline_after_the_wire(NOW_NS + left_ns, NOW_NS, NOW_NS);
        assert_true(after <= NOW_NS + left_ns && after + NS_PER_MS > NOW_NS + left_ns);
    }
}

/* Every prefix either is refused or is a whole message by itself (the fields that were cut off were
 * absent); never more than was sent. */
static void test_truncated_messages(void **state)
{
    (void)state;
    uint32_t refused = 0;
    for (int kind = 0; kind < MESSAGE_KIND_COUNT; kind++) {
        if (!message_crosses_nodes((enum message_kind)kind))
            continue;
        struct arena arena;
        arena_init(&arena, NULL, 0);
        struct message *message = random_message((enum message_kind)kind);
        struct bytes bytes = peer_message_encode(&arena, message, NOW_NS);
        for (size_t size = 0; size < bytes.size; size += 1 + size / 200) {
            /* In a block of its own, so that the sanitizer sees a read past the end. */
            uint8_t *cut = test_malloc(size + 1);
            memcpy(cut, bytes.data, size);
            struct message *decoded = peer_message_decode(bytes_of(cut, size), 3, 9, NOW_NS);
            assert_null(decoded); /* the body is last and sized */
            refused++;
            test_free(cut);
        }
        message_free(message);
        arena_deinit(&arena);
    }
    assert_true(refused > 500);
}

/* What is accepted after damage must be a message that could have been sent. */
static void check_hostile(struct bytes bytes, uint32_t *accepted)
{
    struct message *decoded = peer_message_decode(bytes, 3, 9, NOW_NS);
    if (decoded == NULL)
        return;
    (*accepted)++;
    assert_int_equal(decoded->from.node, 3);
    assert_int_equal(decoded->to.node, 9);
    assert_true(message_crosses_nodes(decoded->kind));
    struct arena arena;
    arena_init(&arena, NULL, 0);
    assert_true(peer_message_encode(&arena, decoded, NOW_NS).size > 0);
    arena_deinit(&arena);
    message_free(decoded);
}

static void test_flipped_bits_and_noise(void **state)
{
    (void)state;
    uint32_t accepted = 0;
    for (int round = 0; round < 20000; round++) {
        enum message_kind kind = (enum message_kind)prng_below(&prng, MESSAGE_KIND_COUNT);
        if (!message_crosses_nodes(kind))
            continue;
        struct arena arena;
        arena_init(&arena, NULL, 0);
        struct message *message = random_message(kind);
        struct bytes bytes = peer_message_encode(&arena, message, NOW_NS);
        uint8_t *copy = test_malloc(bytes.size);
        memcpy(copy, bytes.data, bytes.size);
        for (uint64_t flips = prng_between(&prng, 1, 8); flips > 0; flips--) {
            /* Most damage goes where the structure is: the start. */
            size_t end = prng_chance(&prng, 0.7) && bytes.size > 40 ? 40 : bytes.size;
            copy[prng_below(&prng, end)] ^= (uint8_t)(1u << prng_below(&prng, 8));
        }
        check_hostile(bytes_of(copy, bytes.size), &accepted);
        test_free(copy);
        message_free(message);
        arena_deinit(&arena);
    }
    assert_true(accepted > 100);
    for (int round = 0; round < 100000; round++) {
        uint8_t noise[64];
        size_t size = prng_below(&prng, sizeof noise);
        for (size_t i = 0; i < size; i++)
            noise[i] = (uint8_t)prng_u64(&prng);
        check_hostile(bytes_of(noise, size), &accepted);
    }
}

static bool refused_by_both(struct message *message)
{
    struct arena arena;
    arena_init(&arena, NULL, 0);
    bool refused = peer_message_encode(&arena, message, NOW_NS).size == 0 &&
                   peer_frame_message_size(message, NOW_NS) == 0;
    arena_deinit(&arena);
    message_free(message);
    return refused;
}

static struct message *sound_write(void)
{
    struct message *message = message_new(MESSAGE_replica_write, 0);
    message->to = (struct actor_id){9, ACTOR_REPLICA, 0};
    message->from = (struct actor_id){3, ACTOR_COORDINATOR, 0};
    message->replica_write.key = bytes_of_string("k");
    return message;
}

static void test_limits_when_sending(void **state)
{
    (void)state;
    uint8_t *big = test_calloc(1, GRPC_MESSAGE_BYTES_MAX + 1);
    assert_false(refused_by_both(sound_write()));
    struct message *message = sound_write();
    message->replica_write.key = bytes_of(big, KEY_BYTES_MAX);
    message->replica_write.record = bytes_of(big, VALUE_BYTES_MAX_CEILING + 65536);
    assert_false(refused_by_both(message));
    message = sound_write();
    message->replica_write.key = bytes_of(big, KEY_BYTES_MAX + 1);
    assert_true(refused_by_both(message));
    message = sound_write();
    message->replica_write.key.size = 0;
    assert_true(refused_by_both(message));
    message = sound_write();
    message->replica_write.record = bytes_of(big, GRPC_MESSAGE_BYTES_MAX);
    assert_true(refused_by_both(message));
    message = sound_write();
    message->replica_write.partition = PARTITIONS_MAX;
    assert_true(refused_by_both(message));
    message = sound_write();
    message->to.kind = ACTOR_GOSSIP;
    assert_true(refused_by_both(message));
    message = sound_write();
    message->from.kind = ACTOR_EDGE;
    assert_true(refused_by_both(message));
    test_free(big);
}

/* Made by protobuf-c, since our own encoder would refuse. */
static bool decodes(const wire_message *wire)
{
    size_t size = coterie__internal__v1__peer_message__get_packed_size(wire);
    uint8_t *data = test_malloc(size);
    coterie__internal__v1__peer_message__pack(wire, data);
    struct message *message = peer_message_decode(bytes_of(data, size), 3, 9, NOW_NS);
    test_free(data);
    bool accepted = message != NULL;
    message_free(message);
    return accepted;
}

static void test_limits_when_receiving(void **state)
{
    (void)state;
    uint8_t *big = test_calloc(1, GRPC_MESSAGE_BYTES_MAX + 1);
    Coterie__Internal__V1__ReplicaWrite write = COTERIE__INTERNAL__V1__REPLICA_WRITE__INIT;
    write.key = (ProtobufCBinaryData){1, big};
    wire_message good = COTERIE__INTERNAL__V1__PEER_MESSAGE__INIT;
    good.from_kind = ACTOR_COORDINATOR;
    good.to_kind = ACTOR_REPLICA;
    good.body_case = COTERIE__INTERNAL__V1__PEER_MESSAGE__BODY_REPLICA_WRITE;
    good.replica_write = &write;
    assert_true(decodes(&good));

    wire_message bad = good;
    bad.to_kind = ACTOR_COORDINATOR;
    assert_false(decodes(&bad));
    bad = good;
    bad.to_kind = 77;
    assert_false(decodes(&bad));
    bad = good;
    bad.from_kind = ACTOR_EDGE;
    assert_false(decodes(&bad));
    bad = good;
    bad.from_kind = ACTOR_RUNTIME;
    assert_false(decodes(&bad));
    bad = good;
    bad.to_index = 256;
    assert_false(decodes(&bad));
    bad = good;
    bad.body_case = COTERIE__INTERNAL__V1__PEER_MESSAGE__BODY__NOT_SET;
    assert_false(decodes(&bad));

    uint32_t onward[ONWARD_MAX + 1] = {1};
    write.onward = onward;
    write.n_onward = ONWARD_MAX;
    assert_true(decodes(&good));
    write.n_onward = ONWARD_MAX + 1;
    assert_false(decodes(&good));
    write.n_onward = 0;

    write.key.len = KEY_BYTES_MAX;
    assert_true(decodes(&good));
    write.key.len = KEY_BYTES_MAX + 1;
    assert_false(decodes(&good));
    write.key.len = 0;
    assert_false(decodes(&good));
    write.key.len = 1;
    write.policy = 4;
    assert_false(decodes(&good));
    write.policy = 3;
    write.partition = PARTITIONS_MAX;
    assert_false(decodes(&good));
    write.partition = PARTITIONS_MAX - 1;
    write.reason = 4;
    assert_false(decodes(&good));
    write.reason = 3;
    write.record = (ProtobufCBinaryData){GRPC_MESSAGE_BYTES_MAX, big};
    assert_false(decodes(&good));
    write.record.len = VALUE_BYTES_MAX_CEILING;
    assert_true(decodes(&good));

    Coterie__Internal__V1__Progress progress = COTERIE__INTERNAL__V1__PROGRESS__INIT;
    Coterie__Internal__V1__ForwardPutReply reply = COTERIE__INTERNAL__V1__FORWARD_PUT_REPLY__INIT;
    uint32_t members[REPLICAS_TOTAL_MAX + 1] = {0};
    reply.progress = &progress;
    progress.acked_members = members;
    progress.n_acked_members = REPLICAS_TOTAL_MAX;
    good.to_kind = ACTOR_COORDINATOR;
    good.body_case = COTERIE__INTERNAL__V1__PEER_MESSAGE__BODY_FORWARD_PUT_REPLY;
    good.forward_put_reply = &reply;
    assert_true(decodes(&good));
    progress.n_acked_members = REPLICAS_TOTAL_MAX + 1;
    assert_false(decodes(&good));
    progress.n_acked_members = 0;
    reply.status = ERR_COUNT;
    assert_false(decodes(&good));
    reply.status = ERR_COUNT - 1;
    reply.outcome = 3;
    assert_false(decodes(&good));
    reply.outcome = 2;
    reply.why = (ProtobufCBinaryData){PEER_WHY_BYTES_MAX, big};
    assert_true(decodes(&good));
    reply.why.len++;
    assert_false(decodes(&good));
    test_free(big);
}

static void test_sentences_are_cut_and_made_printable(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct message *message = message_new(MESSAGE_forward_put_reply, 0);
    message->from = (struct actor_id){3, ACTOR_COORDINATOR, 0};
    message->to = (struct actor_id){9, ACTOR_COORDINATOR, 0};
    char text[1000];
    memset(text, 'x', sizeof text);
    text[1] = '\n';
    text[999] = '\0';
    message->forward_put_reply.result.why = text;
    struct message *decoded =
        peer_message_decode(peer_message_encode(&arena, message, NOW_NS), 3, 9, NOW_NS);
    assert_non_null(decoded);
    assert_int_equal(strlen(decoded->forward_put_reply.result.why), PEER_WHY_BYTES_MAX);
    assert_int_equal(decoded->forward_put_reply.result.why[1], '?');
    message_free(decoded);
    message_free(message);
    arena_deinit(&arena);
}

/* -- frames
 * ------------------------------------------------------------------------------------------- */

struct walked {
    uint32_t count;
    uint32_t refuse_at;
    uint64_t ids[64];
};

static bool walked_visit(void *closure, struct bytes bytes)
{
    struct walked *walked = closure;
    if (walked->count == walked->refuse_at)
        return false;
    struct message *message = peer_message_decode(bytes, 3, 9, NOW_NS);
    if (message == NULL)
        return false;
    walked->ids[walked->count++ % 64] = message->id;
    message_free(message);
    return true;
}

static void test_frames_carry_many_messages_in_order(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct writer writer;
    writer_init(&writer, &arena, 64);
    uint8_t *direct = test_malloc(1u << 20);
    size_t direct_size = 0;
    for (uint64_t i = 0; i < 40; i++) {
        struct message *message = random_message(MESSAGE_replica_write_reply);
        message->id = i;
        peer_frame_append(&writer, peer_message_encode(&arena, message, NOW_NS));
        size_t size = peer_frame_message_size(message, NOW_NS);
        peer_frame_message_write(direct + direct_size, size, message, NOW_NS);
        direct_size += size;
        message_free(message);
    }
    struct bytes frame = writer_result(&writer);
    assert_true(bytes_equal(frame, bytes_of(direct, direct_size)));
    struct walked walked = {.refuse_at = UINT32_MAX};
    struct peer_hello hello;
    bool has_hello = true;
    assert_int_equal(peer_frame_walk(frame, walked_visit, &walked, &has_hello, &hello), OK);
    assert_false(has_hello);
    assert_int_equal(walked.count, 40);
    for (uint64_t i = 0; i < 40; i++)
        assert_int_equal(walked.ids[i], i);
    walked = (struct walked){.refuse_at = 7};
    assert_int_equal(peer_frame_walk(frame, walked_visit, &walked, &has_hello, &hello),
                     ERR_CORRUPT);
    assert_int_equal(walked.count, 7);
    walked = (struct walked){.refuse_at = UINT32_MAX};
    assert_int_equal(peer_frame_walk(bytes_of(frame.data, frame.size - 1), walked_visit, &walked,
                                     &has_hello, &hello),
                     ERR_CORRUPT);
    test_free(direct);
    arena_deinit(&arena);
}

static struct peer_hello hello_of(uint32_t member, uint32_t to_member)
{
    struct peer_hello hello = {.protocol_min = 1,
                               .protocol_max = 3,
                               .partitions = 64,
                               .epoch = 5,
                               .generation = 77,
                               .member = member,
                               .to_member = to_member,
                               .context_mark = 0xfedcba9876543210ull,
                               .name = "node"};
    memset(hello.cluster_id, 0xab, sizeof hello.cluster_id);
    memset(hello.node_id, (int)member, sizeof hello.node_id);
    return hello;
}

static void test_hello_comes_back(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct peer_hello hello = hello_of(4, 9);
    memset(hello.name, 'n', sizeof hello.name - 1);
    struct bytes frame = peer_frame_hello(&arena, &hello);
    struct peer_hello got;
    bool has_hello = false;
    assert_int_equal(peer_frame_walk(frame, walked_visit, NULL, &has_hello, &got), OK);
    assert_true(has_hello);
    assert_memory_equal(got.cluster_id, hello.cluster_id, 16);
    assert_memory_equal(got.node_id, hello.node_id, 16);
    assert_string_equal(got.name, hello.name);
    assert_true(got.context_mark == hello.context_mark);
    assert_int_equal(got.protocol_min, 1);
    assert_int_equal(got.protocol_max, 3);
    assert_int_equal(got.partitions, 64);
    assert_int_equal(got.epoch, 5);
    assert_int_equal(got.generation, 77);
    assert_int_equal(got.member, 4);
    assert_int_equal(got.to_member, 9);
    for (size_t size = 1; size < frame.size; size++)
        assert_int_equal(
            peer_frame_walk(bytes_of(frame.data, size), walked_visit, NULL, &has_hello, &got),
            ERR_CORRUPT);
    arena_deinit(&arena);
}

static const char *refusal(struct peer_hello mine, struct peer_hello theirs)
{
    static char why[256];
    return peer_hello_refusal(&mine, &theirs, why, sizeof why);
}

static void assert_refused(struct peer_hello mine, struct peer_hello theirs, const char *part)
{
    const char *why = refusal(mine, theirs);
    assert_non_null(why);
    assert_non_null(strstr(why, part));
}

static void test_who_may_talk(void **state)
{
    (void)state;
    struct peer_hello server = hello_of(1, MEMBER_NONE);
    struct peer_hello client = hello_of(2, 1);
    assert_null(refusal(server, client));
    assert_null(refusal(client, hello_of(1, 2)));
    client.epoch = 6; /* epochs may differ: one of us learns */
    assert_null(refusal(server, client));

    client = hello_of(2, 1);
    client.cluster_id[15] ^= 1;
    assert_refused(server, client, "different clusters");
    client = hello_of(2, 1);
    client.protocol_min = client.protocol_max = 4;
    assert_refused(server, client, "no version in common");
    client.protocol_min = 0;
    client.protocol_max = 0;
    assert_refused(server, client, "no version in common");
    client.protocol_min = 3;
    client.protocol_max = 1;
    assert_refused(server, client, "no version in common");
    client = hello_of(2, 1);
    client.protocol_min = client.protocol_max = 3;
    assert_null(refusal(server, client));
    client.partitions = 128;
    assert_refused(server, client, "64 here and 128 there");
    assert_refused(server, hello_of(2, 3), "meant for member 3");
    assert_refused(server, hello_of(MEMBER_NONE, 1), "does not say who");
    client = hello_of(2, 1);
    memset(client.node_id, 0, sizeof client.node_id);
    assert_refused(server, client, "does not say who");
    client = hello_of(1, 1);
    assert_refused(server, client, "both nodes say that they are member 1");
    client = hello_of(2, 1);
    memcpy(client.node_id, server.node_id, sizeof client.node_id);
    assert_refused(server, client, "data directory was copied");
    assert_refused(hello_of(2, 1), hello_of(3, 2), "member 3 answered where member 1");
}

/* Not a limit to hold on a loaded machine; the figure is printed for whoever looks. */
static void test_speed_of_a_small_write(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct message *message = sound_write();
    message->id = 123456789;
    message->epoch = 3;
    message->deadline_ns = NOW_NS + 5000 * NS_PER_MS;
    message->replica_write.keyspace_id = 0xdeadbeef;
    message->replica_write.key = random_bytes(&message->arena, 16, 16);
    message->replica_write.record = random_bytes(&message->arena, 140, 140);
    uint8_t frame[512];
    uint8_t sum = 0;
    const int count = 200000;
    struct timespec t[3];
    clock_gettime(CLOCK_MONOTONIC, &t[0]);
    size_t size = 0;
    for (int i = 0; i < count; i++) {
        size = peer_frame_message_size(message, NOW_NS + (uint64_t)i);
        assert_true(size != 0 && size < sizeof frame);
        peer_frame_message_write(frame, size, message, NOW_NS + (uint64_t)i);
        sum = (uint8_t)(sum + frame[size / 2]);
    }
    clock_gettime(CLOCK_MONOTONIC, &t[1]);
    struct bytes bytes = peer_message_encode(&arena, message, NOW_NS);
    for (int i = 0; i < count; i++) {
        struct message *decoded = peer_message_decode(bytes, 3, 9, NOW_NS);
        assert_non_null(decoded);
        sum = (uint8_t)(sum + decoded->replica_write.record.data[0]);
        message_free(decoded);
    }
    clock_gettime(CLOCK_MONOTONIC, &t[2]);
    double ns[2];
    for (int i = 0; i < 2; i++)
        ns[i] = ((double)(t[i + 1].tv_sec - t[i].tv_sec) * 1e9 +
                 (double)(t[i + 1].tv_nsec - t[i].tv_nsec)) /
                count;
    print_message("replica_write of %zu bytes: encode %.0f ns, decode and free %.0f ns (%u)\n",
                  size, ns[0], ns[1], sum);
    message_free(message);
    arena_deinit(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_every_kind_comes_back_as_it_went, setup),
        cmocka_unit_test_setup(test_fields_are_those_of_the_schema, setup),
        cmocka_unit_test_setup(test_deadlines_never_grow, setup),
        cmocka_unit_test_setup(test_truncated_messages, setup),
        cmocka_unit_test_setup(test_flipped_bits_and_noise, setup),
        cmocka_unit_test_setup(test_limits_when_sending, setup),
        cmocka_unit_test_setup(test_limits_when_receiving, setup),
        cmocka_unit_test_setup(test_sentences_are_cut_and_made_printable, setup),
        cmocka_unit_test_setup(test_frames_carry_many_messages_in_order, setup),
        cmocka_unit_test_setup(test_hello_comes_back, setup),
        cmocka_unit_test_setup(test_who_may_talk, setup),
        cmocka_unit_test_setup(test_speed_of_a_small_write, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
