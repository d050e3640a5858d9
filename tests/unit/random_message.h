/* random_message.h -- messages of every kind that crosses nodes, as the wire allows them, from a
 * seed; and whether two are the same. Field by field: a new field is to be added to both.
 */
#ifndef TESTS_RANDOM_MESSAGE_H
#define TESTS_RANDOM_MESSAGE_H

#include "base/prng.h"
#include "rpc/peer_codec.h"

#define NOW_NS    UINT64_C(7000000000)
#define NS_PER_MS UINT64_C(1000000)
#define SEED      20240607u

static struct prng prng;

static inline int setup(void **state)
{
    (void)state;
    prng_init(&prng, SEED, 1);
    return 0;
}

static inline uint32_t random_u32(void)
{
    return (uint32_t)(prng_u64(&prng) >> prng_between(&prng, 32, 63));
}

static inline uint64_t random_u64(void)
{
    return prng_u64(&prng) >> prng_below(&prng, 64);
}

static inline struct bytes random_bytes(struct arena *arena, size_t min, size_t max)
{
    size_t size = prng_between(&prng, min, prng_chance(&prng, 0.9) && max > 200 ? 200 : max);
    uint8_t *data = arena_alloc(arena, size);
    for (size_t i = 0; i < size; i++)
        data[i] = (uint8_t)prng_u64(&prng);
    return bytes_of(data, size);
}

static inline void random_members(uint8_t *ret_count, uint32_t *ret_members)
{
    *ret_count = (uint8_t)prng_between(&prng, 0, REPLICAS_TOTAL_MAX);
    for (uint8_t i = 0; i < *ret_count; i++)
        ret_members[i] = random_u32();
}

static inline void random_request(struct arena *arena, struct put_request *request)
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

static inline void random_result(struct arena *arena, struct put_result *result)
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
    result->disk_full = prng_chance(&prng, 0.5);
}

static inline void random_write(struct arena *arena, struct replica_write *write)
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

static inline void random_digest(struct arena *arena, struct gossip_digest *digest)
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

static inline enum err random_status(void)
{
    return (enum err)prng_below(&prng, ERR_COUNT);
}

static inline struct ballot random_ballot(void)
{
    return (struct ballot){
        .counter = random_u64() / 2, .member = random_u32(), .incarnation = random_u64()};
}

static inline enum actor_kind receiver_of(enum message_kind kind)
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

static inline struct message *random_message(enum message_kind kind)
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
        body->bad_keyspaces = random_bytes(arena, 0, 1000);
        body->unfit = prng_chance(&prng, 0.5);
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
        body->incomplete = prng_chance(&prng, 0.5);
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

static inline void same_request(const struct put_request *a, const struct put_request *b)
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

static inline void same_result(const struct put_result *a, const struct put_result *b)
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
    SAME(disk_full);
}

static inline void same_write(const struct replica_write *a, const struct replica_write *b)
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

static inline void same_digest(const struct gossip_digest *a, const struct gossip_digest *b)
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

static inline void same_message(const struct message *a, const struct message *b)
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
        SAME_BYTES(tree_roots_reply.bad_keyspaces);
        SAME(tree_roots_reply.unfit);
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
        SAME(record_fetch_reply.incomplete);
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

#endif
