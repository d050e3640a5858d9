/* anti_entropy_bench.h -- the anti-entropy actor of node 1 among three replicas of everything; the
 * replicas are fakes that hold records in a list and compute what is asked anew each time.
 *
 * The bench carries every message by hand, so that any of them can be lost, refused or counted. */
#ifndef TESTS_UNIT_ANTI_ENTROPY_BENCH_H
#define TESTS_UNIT_ANTI_ENTROPY_BENCH_H

#include "actors/anti_entropy.h"
#include "model/exchange.h"
#include "rpc/peer_codec.h"
#include "tests/unit/actor_fixture.h"

#include <stdlib.h>

#define SIBLINGS   KEYSPACE_TEST_SIBLINGS
#define SECONDS    (1000 * MS)
#define MEMBERS    3u
#define ITEMS_MAX  4096u
#define PARTITIONS 16u
#define NOT_NOW    (10000ull * 3600 * SECONDS)

struct item {
    uint32_t keyspace_id;
    uint64_t hash;
    char key[24];
    struct bytes record; /* in the fixture's arena */
};

struct fake {
    uint32_t count;
    struct item items[ITEMS_MAX];
    bool complete;
    bool adopted;
    uint32_t floorless; /* bit by keyspace: emptied, and no floor adopted since */
    uint64_t floor;
    uint64_t reaped;
    uint64_t adopted_floor;
    uint64_t adopted_reaped;
    enum err write_status; /* what all writes are answered with */
    uint32_t writes;
    uint32_t seals;
    bool silent; /* takes mail, answers nothing */
};

struct bench {
    struct fixture f;
    uint64_t sealed_after_fetch; /* the floor that all have from then on; 0: no such seal */
    struct anti_entropy *ae;
    const struct anti_entropy_figures *figures;
    struct anti_entropy_options options;
    struct fake *fakes;   /* by member number */
    uint32_t digests_max; /* of a page */
    uint32_t places_max;
    unsigned depth;
    /* what was carried */
    uint64_t carried; /* requests and answers alike */
    uint64_t lose;    /* this one is lost; 0: none */
    uint64_t requests;
    uint64_t refuse; /* this request is answered UNAVAILABLE; 0: none */
    uint64_t to_peers;
    uint64_t from_peers;
    uint64_t peer_bytes; /* as they are encoded between nodes */
    uint32_t in_flight_max;
    struct message *kept; /* answers to clients and the like, the last one */
    uint32_t completed;   /* vnode_complete seen */
    uint32_t explains;
};

static inline void bench_start(struct bench *b, uint64_t generation)
{
    b->options.generation = generation;
    b->options.reaper.generation = generation;
    b->ae = anti_entropy_new(&b->options);
    b->figures = anti_entropy_figures(b->ae);
    b->f.actor = anti_entropy_actor(b->ae);
    fixture_tick(&b->f);
}

static inline void bench_init_with(struct bench *b, uint64_t interval_ns)
{
    memset(b, 0, sizeof *b);
    fixture_init(&b->f, MEMBERS, 1);
    b->fakes = calloc(MEMBERS + 1, sizeof b->fakes[0]);
    for (uint32_t i = 1; i <= MEMBERS; i++)
        b->fakes[i].complete = true;
    b->digests_max = b->places_max = 1000;
    b->depth = 6;
    b->options = anti_entropy_options_default(SELF, 1, PARTITIONS);
    b->options.interval_ns = interval_ns;
    b->options.reaper.interval_ns = b->options.reaper.late_ns = NOT_NOW;
    b->f.ctx.now_ns = NOT_NOW; /* so that what is due at random is not due now */
    bench_start(b, 1);
}

static inline void bench_init(struct bench *b)
{
    bench_init_with(b, NOT_NOW);
}

static inline void bench_deinit(struct bench *b)
{
    anti_entropy_free(b->ae);
    message_free(b->kept);
    free(b->fakes);
    fixture_deinit(&b->f);
}

static inline void bench_restart(struct bench *b, bool keep)
{
    anti_entropy_free(b->ae);
    fixture_crash(&b->f, keep);
    bench_start(b, b->options.generation + 1);
}

/* -- what fakes hold ----------------------------------------------------------------------------
 */

static inline struct item *fake_find(struct fake *fake, uint32_t keyspace_id, struct bytes key)
{
    for (uint32_t i = 0; i < fake->count; i++) {
        if (fake->items[i].keyspace_id == keyspace_id &&
            bytes_equal(bytes_of_string(fake->items[i].key), key))
            return &fake->items[i];
    }
    return NULL;
}

static inline struct version_set fake_set(struct bench *b, const struct item *item)
{
    struct version_set set = {0};
    if (item != NULL)
        assert_int_equal(record_decode(&b->f.arena, item->keyspace_id, bytes_of_string(item->key),
                                       item->record, &set),
                         OK);
    return set;
}

static inline int compare_items(const void *a, const void *b)
{
    uint64_t x = ((const struct item *)a)->hash;
    uint64_t y = ((const struct item *)b)->hash;
    return (x > y) - (x < y);
}

static inline void fake_store(struct bench *b, struct fake *fake, uint32_t keyspace_id,
                              struct bytes key, const struct version_set *set)
{
    struct item *item = fake_find(fake, keyspace_id, key);
    if (item == NULL) {
        assert_true(fake->count < ITEMS_MAX && key.size < sizeof item->key);
        item = &fake->items[fake->count++];
        memset(item, 0, sizeof *item);
        item->keyspace_id = keyspace_id;
        item->hash = hash_key(keyspace_id, key);
        memcpy(item->key, key.data, key.size);
    }
    item->record = record_encode(&b->f.arena, keyspace_id, key, set);
    qsort(fake->items, fake->count, sizeof fake->items[0], compare_items);
}

/* A write of one member on top of what the fake holds. */
static inline void fake_put(struct bench *b, uint32_t member, const char *key, uint32_t writer,
                            const char *value)
{
    struct fake *fake = &b->fakes[member];
    uint32_t id = b->f.keyspace_ids[SIBLINGS];
    struct version_set old = fake_set(b, fake_find(fake, id, bytes_of_string(key)));
    struct version_set set = test_write(&b->f, &old, NULL, writer, 7, value);
    fake_store(b, fake, id, bytes_of_string(key), &set);
}

static inline bool fakes_equal(const struct bench *b, uint32_t x, uint32_t y)
{
    const struct fake *a = &b->fakes[x];
    const struct fake *c = &b->fakes[y];
    bool equal = a->count == c->count;
    for (uint32_t i = 0; equal && i < a->count; i++)
        equal = a->items[i].hash == c->items[i].hash &&
                bytes_equal(a->items[i].record, c->items[i].record);
    return equal;
}

/* -- their answers ------------------------------------------------------------------------------
 */

static inline bool item_in(const struct item *item, uint32_t partition, uint32_t keyspace_id)
{
    return item->keyspace_id == keyspace_id && hash_partition(item->hash, PARTITIONS) == partition;
}

static inline void fake_tree(struct bench *b, const struct fake *fake, uint32_t partition,
                             uint32_t keyspace_id, struct merkle *ret_tree)
{
    merkle_init(ret_tree, partition, PARTITIONS, b->depth);
    for (uint32_t i = 0; i < fake->count; i++) {
        if (item_in(&fake->items[i], partition, keyspace_id))
            merkle_add(ret_tree, fake->items[i].hash, record_checksum(fake->items[i].record));
    }
}

static inline int compare_roots(const void *a, const void *b)
{
    uint32_t x = ((const struct exchange_root *)a)->keyspace_id;
    uint32_t y = ((const struct exchange_root *)b)->keyspace_id;
    return (x > y) - (x < y);
}

static inline bool fake_is_floorless(const struct bench *b, const struct fake *fake,
                                     uint32_t keyspace_id)
{
    uint32_t place = 0;
    while (place < KEYSPACE_TEST_COUNT && b->f.keyspace_ids[place] != keyspace_id)
        place++;
    return (fake->floorless >> place & 1) != 0;
}

static inline void answer_roots(struct bench *b, const struct fake *fake,
                                const struct message *message, struct message *reply)
{
    struct exchange_root list[KEYSPACE_TEST_COUNT];
    struct exchange_roots roots = {.roots = list};
    for (uint32_t i = 0; i < KEYSPACE_TEST_COUNT; i++) {
        struct merkle tree;
        uint32_t id = b->f.keyspace_ids[i];
        bool floorless = fake_is_floorless(b, fake, id);
        fake_tree(b, fake, message->tree_roots.partition, id, &tree);
        struct merkle_node node = merkle_root(&tree);
        if (node.count > 0 || (fake->floor > 0 && !floorless))
            list[roots.count++] = (struct exchange_root){.keyspace_id = id,
                                                         .depth = b->depth,
                                                         .floor = floorless ? 0 : fake->floor,
                                                         .reaped = fake->reaped,
                                                         .node = node};
        merkle_deinit(&tree);
    }
    qsort(list, roots.count, sizeof list[0], compare_roots);
    reply->tree_roots_reply.complete = fake->complete;
    reply->tree_roots_reply.roots = exchange_roots_encode(&reply->arena, &roots);
}

static inline void answer_tree(struct bench *b, const struct fake *fake,
                               const struct tree_read *read, struct message *reply)
{
    struct merkle tree;
    struct exchange_indices nodes;
    assert_int_equal(
        exchange_indices_decode(&reply->arena, read->nodes, (uint64_t)1 << read->level, &nodes),
        OK);
    struct merkle_front front = {.salt = read->salt,
                                 .level = read->level,
                                 .fanout_bits = read->fanout_bits,
                                 .count = nodes.count,
                                 .indices = nodes.indices};
    uint32_t *hashes = ARENA_NEW(&reply->arena, uint32_t, nodes.count << read->fanout_bits);
    fake_tree(b, fake, read->partition, read->keyspace_id, &tree);
    merkle_front_hashes(&tree, &front, hashes);
    merkle_deinit(&tree);
    reply->tree_read_reply.level = read->level + read->fanout_bits;
    reply->tree_read_reply.depth = b->depth;
    reply->tree_read_reply.hashes =
        exchange_hashes_encode(&reply->arena, hashes, nodes.count << read->fanout_bits);
}

static inline void answer_digests(struct bench *b, const struct fake *fake,
                                  const struct digest_read *read, struct message *reply)
{
    struct exchange_indices nodes;
    struct exchange_digest *list = ARENA_NEW(&reply->arena, struct exchange_digest, ITEMS_MAX);
    struct exchange_digests digests = {.digests = list};
    assert_int_equal(
        exchange_indices_decode(&reply->arena, read->nodes, (uint64_t)1 << read->level, &nodes),
        OK);
    for (uint32_t i = 0; i < fake->count; i++) {
        const struct item *item = &fake->items[i];
        bool wanted = false;
        for (uint32_t j = 0; j < nodes.count && !wanted; j++) {
            struct merkle_range range =
                merkle_range(read->partition, PARTITIONS, read->level, nodes.indices[j]);
            wanted = item->hash >= range.first && item->hash <= range.last;
        }
        if (!wanted || item->hash < read->from_hash ||
            !item_in(item, read->partition, read->keyspace_id))
            continue;
        uint32_t place = exchange_place(PARTITIONS, read->level, item->hash);
        if (digests.count >= b->digests_max && list[digests.count - 1].place != place) {
            reply->digest_read_reply.more = true;
            reply->digest_read_reply.through_hash =
                exchange_place_range(read->partition, PARTITIONS, read->level,
                                     list[digests.count - 1].place)
                    .last;
            break;
        }
        struct version_set set = fake_set(b, item);
        list[digests.count++] = (struct exchange_digest){
            .place = place,
            .state = exchange_state(record_checksum(item->record), read->salt),
            .dots = clock_dot_count(&set.clock)};
    }
    exchange_digests_sort(list, digests.count);
    reply->digest_read_reply.digests = exchange_digests_encode(&reply->arena, &digests);
}

static inline void answer_fetch(struct bench *b, const struct fake *fake,
                                const struct record_fetch *fetch, struct message *reply)
{
    struct exchange_indices places;
    struct exchange_record *list = ARENA_NEW(&reply->arena, struct exchange_record, ITEMS_MAX);
    struct exchange_records records = {.records = list};
    assert_int_equal(exchange_indices_decode(&reply->arena, fetch->places,
                                             exchange_places(fetch->level), &places),
                     OK);
    uint32_t served = places.count < b->places_max ? places.count : b->places_max;
    for (uint32_t i = 0; i < served; i++) {
        for (uint32_t j = 0; j < fake->count; j++) {
            const struct item *item = &fake->items[j];
            if (item_in(item, fetch->partition, fetch->keyspace_id) &&
                exchange_place(PARTITIONS, fetch->level, item->hash) == places.indices[i])
                list[records.count++] = (struct exchange_record){.key = bytes_of_string(item->key),
                                                                 .record = item->record};
        }
    }
    reply->record_fetch_reply.served = served;
    reply->record_fetch_reply.floor = fake->floor;
    for (uint32_t i = 0; b->sealed_after_fetch != 0 && i <= MEMBERS; i++)
        b->fakes[i].floor = b->sealed_after_fetch;
    reply->record_fetch_reply.records = exchange_records_encode(&reply->arena, &records);
}

static inline void answer_write(struct bench *b, struct fake *fake,
                                const struct replica_write *write, struct message *reply)
{
    struct version_set incoming;
    assert_true(write->reason == WRITE_ANTI_ENTROPY || write->reason == WRITE_REPAIR);
    assert_int_equal(write->policy & POLICY_PERIODIC, 0);
    fake->writes++;
    reply->replica_write_reply.status = fake->write_status;
    if (!fake->complete && (!fake->adopted || fake_is_floorless(b, fake, write->keyspace_id)))
        reply->replica_write_reply.status = ERR_INCOMPLETE;
    if (write->floor < fake->floor)
        reply->replica_write_reply.status = ERR_STALE_FLOOR;
    if (reply->replica_write_reply.status != OK)
        return;
    struct bytes record = arena_copy(&b->f.arena, write->record);
    assert_int_equal(record_decode(&b->f.arena, write->keyspace_id, write->key, record, &incoming),
                     OK);
    struct version_set old = fake_set(b, fake_find(fake, write->keyspace_id, write->key));
    struct version_set joined = version_set_merge(&b->f.arena, &old, &incoming);
    fake_store(b, fake, write->keyspace_id, write->key, &joined);
    reply->replica_write_reply.differs = !version_set_equal(&joined, &incoming);
}

static inline struct message *fake_answer(struct bench *b, const struct message *message)
{
    struct fake *fake = &b->fakes[message->to.node];
    struct message *reply = NULL;
    if (message->kind == MESSAGE_tree_roots) {
        reply = message_new_reply(message, MESSAGE_tree_roots_reply, 0);
        answer_roots(b, fake, message, reply);
    } else if (message->kind == MESSAGE_tree_read) {
        reply = message_new_reply(message, MESSAGE_tree_read_reply, 0);
        answer_tree(b, fake, &message->tree_read, reply);
    } else if (message->kind == MESSAGE_digest_read) {
        reply = message_new_reply(message, MESSAGE_digest_read_reply, 0);
        answer_digests(b, fake, &message->digest_read, reply);
    } else if (message->kind == MESSAGE_record_fetch) {
        reply = message_new_reply(message, MESSAGE_record_fetch_reply, 0);
        answer_fetch(b, fake, &message->record_fetch, reply);
    } else if (message->kind == MESSAGE_replica_write) {
        reply = message_new_reply(message, MESSAGE_replica_write_reply, 0);
        answer_write(b, fake, &message->replica_write, reply);
    } else if (message->kind == MESSAGE_reap_seal) {
        reply = message_new_reply(message, MESSAGE_reap_seal_reply, 0);
        assert_int_equal(message->reap_seal.digests.size, 0);
        if (message->reap_seal.reaped > fake->floor)
            reply->reap_seal_reply.status = ERR_INCOMPLETE;
        else if (message->reap_seal.floor <= fake->floor || !fake->complete)
            reply->reap_seal_reply.status = ERR_STALE_FLOOR;
        else
            fake->floor = message->reap_seal.floor;
        reply->reap_seal_reply.floor = fake->floor;
        fake->seals++;
    } else if (message->kind == MESSAGE_vnode_adopt) {
        assert_int_equal(message->to.node, SELF);
        reply = message_new_reply(message, MESSAGE_vnode_adopt_done, 0);
        fake->adopted = true;
        for (uint32_t i = 0; i < KEYSPACE_TEST_COUNT; i++) {
            if (b->f.keyspace_ids[i] == message->vnode_adopt.keyspace_id)
                fake->floorless &= ~(1u << i);
        }
        fake->adopted_floor = message->vnode_adopt.floor;
        fake->adopted_reaped = message->vnode_adopt.reaped;
        fake->floor = message->vnode_adopt.floor;
    } else if (message->kind == MESSAGE_vnode_complete) {
        assert_int_equal(message->to.node, SELF);
        reply = message_new_reply(message, MESSAGE_vnode_complete_done, 0);
        fake->complete = true;
        b->completed++;
    } else {
        fail_msg("nobody answers %s", message_kind_text(message->kind));
        return NULL;
    }
    reply->from = message->to;
    return reply;
}

/* -- carrying -----------------------------------------------------------------------------------
 */

static inline bool carried(struct bench *b, const struct message *message, uint32_t peer)
{
    if (peer != SELF) {
        *(message->to.node == SELF ? &b->from_peers : &b->to_peers) += 1;
        b->peer_bytes += peer_frame_message_size(message, b->f.ctx.now_ns);
    }
    return ++b->carried != b->lose;
}

static inline bool is_request(const struct message *message)
{
    return message->kind == MESSAGE_tree_roots || message->kind == MESSAGE_tree_read ||
           message->kind == MESSAGE_digest_read || message->kind == MESSAGE_record_fetch ||
           message->kind == MESSAGE_replica_write || message->kind == MESSAGE_reap_seal ||
           message->kind == MESSAGE_vnode_adopt || message->kind == MESSAGE_vnode_complete;
}

/* Takes all that leaves, answers it; what is not for a fake is kept. False: there was nothing. */
static inline bool bench_carry(struct bench *b)
{
    struct message *list[256];
    uint32_t count = 0;
    struct message *message;
    uint32_t writes = 0;
    while (count < ARRAY_COUNT(list) && (message = outbox_take(&b->f.outbox)) != NULL) {
        writes += message->kind == MESSAGE_replica_write;
        list[count++] = message;
    }
    b->in_flight_max = writes > b->in_flight_max ? writes : b->in_flight_max;
    for (uint32_t i = 0; i < count; i++) {
        message = list[i];
        if (message->kind == MESSAGE_reap_scan) { /* test_reap.c looks at that part */
            message_free(message);
            continue;
        }
        if (!is_request(message)) {
            if (message->kind == MESSAGE_key_explain)
                b->explains++;
            message_free(b->kept);
            b->kept = message;
            continue;
        }
        uint32_t peer = message->to.node;
        bool arrives = carried(b, message, peer) && !b->fakes[peer].silent;
        if (++b->requests == b->refuse) {
            struct message *reply = message_new_undelivered(message);
            if (reply == NULL) { /* local ones */
                reply = message_new_reply(message,
                                          message->kind == MESSAGE_vnode_adopt
                                              ? MESSAGE_vnode_adopt_done
                                              : MESSAGE_vnode_complete_done,
                                          0);
                reply->vnode_adopt_done.status = ERR_IO;
                reply->from = message->to;
            }
            fixture_handle(&b->f, reply);
        } else if (arrives) {
            struct message *reply = fake_answer(b, message);
            reply->to.node = SELF;
            if (carried(b, reply, peer))
                fixture_handle(&b->f, reply);
            else
                message_free(reply);
        }
        message_free(message);
    }
    return count > 0;
}

/* Until `condition` holds or the time is over; whether it holds. */
typedef bool (*bench_condition)(const struct bench *b);

static inline bool bench_run(struct bench *b, bench_condition condition, uint64_t limit_ns)
{
    uint64_t until_ns = b->f.ctx.now_ns + limit_ns;
    while (!condition(b) && b->f.ctx.now_ns < until_ns) {
        if (!bench_carry(b))
            fixture_pass(&b->f, 5 * MS);
    }
    return condition(b);
}

static inline bool never(const struct bench *b)
{
    (void)b;
    return false;
}

static inline void mark_dirty(struct bench *b, uint32_t partition, uint32_t member)
{
    struct message *message = message_new(MESSAGE_range_dirty, 0);
    message->range_dirty = (struct range_dirty){.partition = partition, .member = member};
    fixture_handle(&b->f, message);
    fixture_pass(&b->f, 0);
}

static inline uint64_t figure(const struct counter *counter)
{
    return counter_get(counter);
}

static inline struct anti_entropy_proof proof(const struct bench *b, uint32_t partition,
                                              uint32_t member)
{
    struct anti_entropy_proof proof = {0};
    assert_true(anti_entropy_proof(b->ae, partition, member, &proof));
    return proof;
}

/* A key that falls into the partition: one of many of that name. */
static inline const char *key_in(struct bench *b, uint32_t partition, uint32_t number)
{
    for (uint32_t i = 0;; i++) {
        char key[24];
        snprintf(key, sizeof key, "k%u-%u", number, i);
        if (test_partition(&b->f, SIBLINGS, key) == partition)
            return arena_string(&b->f.arena, bytes_of_string(key));
    }
}

#endif
