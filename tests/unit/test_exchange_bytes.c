// link: coterie_model
/* RELIABILITY rule 23: an exchange moves at most 64 KiB for one key in a million that differs, and
 * at most twice the bytes that differ for a thousand; and then both sides hold the same. Two
 * replicas of a million keys in 64 partitions play it as anti-entropy does, in the encodings of
 * model/exchange.h, with ENVELOPE_BYTES more for each message. COTERIE_PRINT prints what was moved.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/prng.h"
#include "model/exchange.h"
#include "model/hash.h"
#include "model/record.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define SEED         20261122u
#define KEYS         1000000u
#define PARTITIONS   64u
#define KEYSPACE     7u
#define RECORD_BYTES 180u
#define VALUE_BYTES  144u
#define ENVELOPE_BYTES                                                                             \
    64u /* addresses, id, kind, epochs: about twice what messages of peers have */

/* One key as a side holds it. */
struct held {
    uint64_t checksum;
    uint64_t dots;        /* 0: it does not hold the key */
    struct bytes changed; /* the record where it is not base_set()'s */
};

struct side {
    struct held *held; /* in the order of `keys` */
    struct merkle trees[PARTITIONS];
};

struct key {
    uint64_t hash;
    uint32_t number;
};

static struct key *keys; /* in ring order */
static struct arena world_arena;
static struct side sides[2];

struct moved {
    size_t bytes;
    size_t descent;
    size_t digests;
    size_t records;
    uint32_t messages;
    uint32_t record_count;
};

static void move(struct moved *moved, size_t *part, size_t bytes)
{
    moved->bytes += bytes;
    *part += bytes;
}

static void move_message(struct moved *moved)
{
    moved->messages++;
    moved->bytes += ENVELOPE_BYTES;
}

/* -- the two replicas ------------------------------------------------------------------------ */

static struct bytes key_bytes(struct arena *arena, uint32_t number)
{
    return bytes_of_string(arena_printf(arena, "user%08u", number));
}

static struct version_set put(struct arena *arena, const struct version_set *set, uint32_t member,
                              uint64_t key_epoch)
{
    struct version version = {.written_at = (1763800000000ull << 16) + key_epoch,
                              .value = bytes_of(arena_alloc_zero(arena, VALUE_BYTES), VALUE_BYTES)};
    struct dot dot;
    return version_set_put(arena, set, NULL, member, key_epoch, &version, &dot);
}

/* What both sides hold of a key from the beginning. */
static struct version_set base_set(struct arena *arena, uint32_t number)
{
    struct version_set empty = {0};
    return put(arena, &empty, 1 + number % 3, (1763800000000ull << 20) + number);
}

static struct bytes record_of(struct arena *arena, uint32_t at, const struct held *held)
{
    if (held->changed.size > 0)
        return held->changed;
    struct version_set set = base_set(arena, keys[at].number);
    return record_encode(arena, KEYSPACE, key_bytes(arena, keys[at].number), &set);
}

static struct version_set set_held(struct arena *arena, uint32_t at, const struct held *held)
{
    struct version_set set = {0};
    if (held->dots > 0)
        assert_int_equal(record_decode(arena, KEYSPACE, key_bytes(arena, keys[at].number),
                                       record_of(arena, at, held), &set),
                         OK);
    return set;
}

static struct merkle *tree_of(struct side *side, uint32_t at)
{
    return &side->trees[hash_partition(keys[at].hash, PARTITIONS)];
}

static void drop(struct side *side, uint32_t at)
{
    struct held *held = &side->held[at];
    assert_true(merkle_remove(tree_of(side, at), keys[at].hash, held->checksum));
    *held = (struct held){0};
}

static void store(struct side *side, uint32_t at, const struct version_set *set)
{
    struct held *held = &side->held[at];
    struct bytes record =
        record_encode(&world_arena, KEYSPACE, key_bytes(&world_arena, keys[at].number), set);
    uint64_t checksum = record_checksum(record);
    if (held->dots > 0)
        assert_true(merkle_remove(tree_of(side, at), keys[at].hash, held->checksum));
    merkle_add(tree_of(side, at), keys[at].hash, checksum);
    *held = (struct held){
        .checksum = checksum, .dots = clock_dot_count(&set->clock), .changed = record};
}

/* A further write of the key on that side, over what it holds. */
static void write_key(struct side *side, uint32_t at, uint32_t member)
{
    struct version_set set = set_held(&world_arena, at, &side->held[at]);
    struct version_set after =
        put(&world_arena, &set, member, (1763800000000ull << 20) + keys[at].number);
    store(side, at, &after);
}

static int compare_keys(const void *a, const void *b)
{
    uint64_t x = ((const struct key *)a)->hash;
    uint64_t y = ((const struct key *)b)->hash;
    return (x > y) - (x < y);
}

static int world_init(void **state)
{
    (void)state;
    arena_init(&world_arena, NULL, 0);
    keys = malloc(KEYS * sizeof *keys);
    sides[0].held = calloc(KEYS, sizeof(struct held));
    sides[1].held = malloc(KEYS * sizeof(struct held));
    if (keys == NULL || sides[0].held == NULL || sides[1].held == NULL)
        return -1;
    struct arena arena;
    arena_init(&arena, NULL, 0);
    for (uint32_t i = 0; i < KEYS; i++) {
        arena_clear(&arena);
        keys[i] = (struct key){.hash = hash_key(KEYSPACE, key_bytes(&arena, i)), .number = i};
    }
    qsort(keys, KEYS, sizeof *keys, compare_keys);
    for (uint32_t partition = 0; partition < PARTITIONS; partition++) {
        for (int i = 0; i < 2; i++)
            merkle_init(&sides[i].trees[partition], partition, PARTITIONS,
                        merkle_depth_for(KEYS / PARTITIONS));
    }
    for (uint32_t at = 0; at < KEYS; at++) {
        arena_clear(&arena);
        struct held *held = &sides[0].held[at];
        struct bytes record = record_of(&arena, at, held);
        assert_int_equal(record.size, RECORD_BYTES);
        *held = (struct held){.checksum = record_checksum(record), .dots = 1};
        merkle_add(tree_of(&sides[0], at), keys[at].hash, held->checksum);
        merkle_add(tree_of(&sides[1], at), keys[at].hash, held->checksum);
    }
    memcpy(sides[1].held, sides[0].held, KEYS * sizeof(struct held));
    arena_deinit(&arena);
    return 0;
}

static int world_deinit(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        for (uint32_t partition = 0; partition < PARTITIONS; partition++)
            merkle_deinit(&sides[i].trees[partition]);
        free(sides[i].held);
    }
    free(keys);
    arena_deinit(&world_arena);
    return 0;
}

/* -- an exchange of one partition ------------------------------------------------------------ */

struct exchange {
    struct arena arena;
    struct moved *moved;
    uint32_t partition;
    uint64_t salt;
};

static uint32_t first_key_from(uint64_t hash)
{
    uint32_t low = 0;
    uint32_t high = KEYS;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (keys[middle].hash < hash)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* What a side holds in the leaves; `ret_ats` says which keys the digests are. */
static struct exchange_digests digests_of(struct exchange *e, const struct side *side,
                                          unsigned level, const struct exchange_indices *leaves,
                                          uint32_t **ret_ats)
{
    uint32_t capacity = 1024;
    struct exchange_digest *digests = arena_alloc(&e->arena, capacity * sizeof *digests);
    uint32_t *ats = arena_alloc(&e->arena, capacity * sizeof *ats);
    uint32_t count = 0;
    for (uint32_t i = 0; i < leaves->count; i++) {
        struct merkle_range range =
            merkle_range(e->partition, PARTITIONS, level, leaves->indices[i]);
        for (uint32_t at = first_key_from(range.first); at < KEYS && keys[at].hash <= range.last;
             at++) {
            if (side->held[at].dots == 0)
                continue;
            assert_true(count < capacity);
            struct exchange_digest digest = {
                .place = exchange_place(PARTITIONS, level, keys[at].hash),
                .dots = side->held[at].dots,
                .state = exchange_state(side->held[at].checksum, e->salt)};
            uint32_t slot = count++;
            for (; slot > 0 && digests[slot - 1].place == digest.place &&
                   digests[slot - 1].state > digest.state;
                 slot--) {
                digests[slot] = digests[slot - 1];
                ats[slot] = ats[slot - 1];
            }
            digests[slot] = digest;
            ats[slot] = at;
        }
    }
    *ret_ats = ats;
    return (struct exchange_digests){.count = count, .digests = digests};
}

static struct exchange_indices keys_at(struct exchange *e, const uint32_t *ats,
                                       const struct exchange_indices *positions)
{
    uint32_t *chosen = arena_alloc(&e->arena, positions->count * sizeof *chosen);
    for (uint32_t i = 0; i < positions->count; i++)
        chosen[i] = ats[positions->indices[i]];
    return (struct exchange_indices){.count = positions->count, .indices = chosen};
}

static struct exchange_indices keys_in_places(struct exchange *e, const struct side *side,
                                              unsigned depth, const struct exchange_indices *places)
{
    uint32_t capacity = places->count + 64;
    uint32_t *chosen = arena_alloc(&e->arena, capacity * sizeof *chosen);
    uint32_t count = 0;
    for (uint32_t i = 0; i < places->count; i++) {
        struct merkle_range range =
            exchange_place_range(e->partition, PARTITIONS, depth, places->indices[i]);
        for (uint32_t at = first_key_from(range.first); at < KEYS && keys[at].hash <= range.last;
             at++) {
            assert_true(count < capacity);
            if (side->held[at].dots > 0)
                chosen[count++] = at;
        }
    }
    return (struct exchange_indices){.count = count, .indices = chosen};
}

/* Sends the records; the receiver joins them, and sends back what is more than it was sent. */
static void send_records(struct exchange *e, struct side *from, struct side *to,
                         struct exchange_indices ats, bool answer)
{
    struct exchange_record *records = arena_alloc(&e->arena, ats.count * sizeof *records);
    for (uint32_t i = 0; i < ats.count; i++) {
        uint32_t at = ats.indices[i];
        records[i] = (struct exchange_record){.key = key_bytes(&e->arena, keys[at].number),
                                              .record = record_of(&e->arena, at, &from->held[at])};
    }
    struct exchange_records list = {.count = ats.count, .records = records};
    struct bytes bytes = exchange_records_encode(&e->arena, &list);
    move(e->moved, &e->moved->records, bytes.size);
    e->moved->record_count += ats.count;
    struct exchange_records received;
    assert_int_equal(exchange_records_decode(&e->arena, bytes, &received), OK);

    uint32_t more_count = 0;
    uint32_t *more = arena_alloc(&e->arena, received.count * sizeof *more);
    for (uint32_t i = 0; i < received.count; i++) {
        uint32_t at = ats.indices[i];
        struct version_set incoming;
        assert_int_equal(record_decode(&e->arena, KEYSPACE, received.records[i].key,
                                       received.records[i].record, &incoming),
                         OK);
        struct version_set own = set_held(&e->arena, at, &to->held[at]);
        struct version_set join = version_set_merge(&e->arena, &own, &incoming);
        store(to, at, &join);
        if (!version_set_equal(&join, &incoming))
            more[more_count++] = at;
    }
    if (more_count > 0) {
        assert_true(answer); /* else it would go on for ever */
        send_records(e, to, from, (struct exchange_indices){more_count, more}, false);
    }
}

static struct exchange_indices indices_sent(struct exchange *e, size_t *part,
                                            const struct exchange_indices *indices, uint64_t limit)
{
    struct bytes bytes = exchange_indices_encode(&e->arena, indices);
    move(e->moved, part, bytes.size);
    struct exchange_indices received;
    assert_int_equal(exchange_indices_decode(&e->arena, bytes, limit, &received), OK);
    return received;
}

/* The leaves that differ: the sides take turns, each names the nodes that differ and sends the
 * hashes of their children. Ends with the turn of the side that knows them. */
static struct exchange_indices descend(struct exchange *e, unsigned depth, int *turn)
{
    static const uint32_t root = 0;
    struct exchange_indices nodes = {.count = 1, .indices = &root};
    struct merkle_front front = {.salt = e->salt};
    while (front.level < depth) {
        front.fanout_bits = merkle_fanout_bits(nodes.count, front.level, depth);
        move_message(e->moved);
        nodes = indices_sent(e, &e->moved->descent, &nodes, 1u << front.level);
        front.count = nodes.count;
        front.indices = nodes.indices;
        uint32_t count = front.count << front.fanout_bits;
        uint32_t *hashes = arena_alloc(&e->arena, count * sizeof *hashes);
        merkle_front_hashes(&sides[*turn].trees[e->partition], &front, hashes);
        struct bytes bytes = exchange_hashes_encode(&e->arena, hashes, count);
        move(e->moved, &e->moved->descent, bytes.size);
        *turn = 1 - *turn;
        const uint32_t *received;
        assert_int_equal(exchange_hashes_decode(&e->arena, bytes, count, &received), OK);
        uint32_t *differing = arena_alloc(&e->arena, count * sizeof *differing);
        nodes.count =
            merkle_front_differing(&sides[*turn].trees[e->partition], &front, received, differing);
        nodes.indices = differing;
        front.level += front.fanout_bits;
    }
    return nodes;
}

static bool roots_agree(struct exchange *e)
{
    const struct merkle *mine = &sides[0].trees[e->partition];
    struct exchange_root root = {
        .keyspace_id = KEYSPACE, .depth = mine->depth, .node = merkle_root(mine)};
    struct exchange_roots roots = {.count = 1, .roots = &root};
    struct bytes bytes = exchange_roots_encode(&e->arena, &roots);
    move_message(e->moved);
    move(e->moved, &e->moved->descent, bytes.size);
    assert_int_equal(exchange_roots_decode(&e->arena, bytes, &roots), OK);
    return merkle_node_equal(roots.roots[0].node, merkle_root(&sides[1].trees[e->partition]));
}

static void exchange_partition(struct moved *moved, uint32_t partition)
{
    struct exchange e = {.moved = moved, .partition = partition, .salt = SEED + partition};
    arena_init(&e.arena, NULL, 0);
    if (!roots_agree(&e)) {
        int turn = 1;
        unsigned depth = sides[0].trees[partition].depth;
        struct exchange_indices leaves = descend(&e, depth, &turn);

        /* Who knows the leaves sends its digests; the other says what it sends and what it wants.
         */
        struct side *first = &sides[turn];
        struct side *second = &sides[1 - turn];
        move_message(moved);
        leaves = indices_sent(&e, &moved->descent, &leaves, 1u << depth);
        uint32_t *first_ats;
        uint32_t *second_ats;
        struct exchange_digests theirs = digests_of(&e, first, depth, &leaves, &first_ats);
        struct bytes bytes = exchange_digests_encode(&e.arena, &theirs);
        move(moved, &moved->digests, bytes.size);
        assert_int_equal(exchange_digests_decode(&e.arena, bytes, depth, &theirs), OK);

        struct exchange_digests mine = digests_of(&e, second, depth, &leaves, &second_ats);
        struct exchange_diff diff = exchange_digests_diff(&e.arena, &mine, &theirs);
        move_message(moved);
        struct exchange_indices want =
            indices_sent(&e, &moved->digests, &diff.want, exchange_places(depth));
        send_records(&e, second, first, keys_at(&e, second_ats, &diff.send), true);
        move_message(moved);
        send_records(&e, first, second, keys_in_places(&e, first, depth, &want), true);
    }
    arena_deinit(&e.arena);
}

static struct moved exchange_all(void)
{
    struct moved moved = {0};
    for (uint32_t partition = 0; partition < PARTITIONS; partition++)
        exchange_partition(&moved, partition);
    return moved;
}

static void assert_sides_equal(void)
{
    for (uint32_t at = 0; at < KEYS; at++)
        assert_true(sides[0].held[at].checksum == sides[1].held[at].checksum);
    for (uint32_t partition = 0; partition < PARTITIONS; partition++)
        assert_true(merkle_node_equal(merkle_root(&sides[0].trees[partition]),
                                      merkle_root(&sides[1].trees[partition])));
}

static void print_moved(const char *what, const struct moved *moved, size_t differing)
{
    if (getenv("COTERIE_PRINT") == NULL)
        return;
    printf("%-26s %7zu bytes", what, moved->bytes);
    if (differing > 0)
        printf(" = %.2f x %zu that differ", (double)moved->bytes / (double)differing, differing);
    printf(": %" PRIu32 " messages, descent %zu, digests %zu, records %zu (%" PRIu32 ")\n",
           moved->messages, moved->descent, moved->digests, moved->records, moved->record_count);
}

/* -- the rule -------------------------------------------------------------------------------- */

static void one_key_in_a_million(void **state)
{
    (void)state;
    struct prng prng;
    prng_init(&prng, SEED, 1);
    for (uint32_t round = 0; round < 12; round++) {
        uint32_t at = (uint32_t)prng_below(&prng, KEYS);
        struct side *side = &sides[round % 2];
        if (round % 6 < 2)
            write_key(side, at, 1);
        else if (round % 6 < 4)
            drop(side, at);
        else
            for (uint32_t i = 0; i < 2; i++)
                write_key(&sides[i], at, 4 + i);
        struct moved moved = exchange_all();
        print_moved("one key in a million:", &moved, 0);
        assert_in_range(moved.bytes, 1, 8 * 1024); /* far below 64 KiB */
        assert_sides_equal();
    }
    struct moved idle = exchange_all();
    print_moved("none:", &idle, 0);
    assert_int_equal(idle.messages, PARTITIONS);
}

enum difference { NEWER_HERE, NEWER_THERE, NEWER_EITHER, MISSING, CONCURRENT, MIXED, DIFFERENCES };

static const char *const difference_names[DIFFERENCES] = {
    "newer on one:",      "newer on the other:", "newer on either:",
    "missing on either:", "concurrent:",         "all of these:"};

/* Makes one key differ; gives the bytes that one side holds and the other lacks. */
static size_t make_differ(struct prng *prng, uint32_t at, enum difference difference)
{
    struct arena *arena = &world_arena;
    if (difference == MIXED)
        difference = (enum difference)prng_below(prng, MIXED);
    size_t side = prng_below(prng, 2);
    if (difference == NEWER_HERE || difference == NEWER_THERE)
        side = difference == NEWER_THERE;
    struct held *held = sides[side].held;
    struct held *other = sides[1 - side].held;
    if (difference == MISSING) {
        drop(&sides[1 - side], at);
        return record_of(arena, at, &held[at]).size;
    }
    write_key(&sides[side], at, 1 + keys[at].number % 3);
    if (difference != CONCURRENT)
        return record_of(arena, at, &held[at]).size;
    write_key(&sides[1 - side], at, 9);
    return record_of(arena, at, &held[at]).size + record_of(arena, at, &other[at]).size;
}

static void a_thousand_keys_in_a_million(void **state)
{
    (void)state;
    for (int difference = 0; difference < DIFFERENCES; difference++) {
        struct prng prng;
        prng_init(&prng, SEED, 10 + (uint64_t)difference);
        size_t differing = 0;
        uint32_t different = 0;
        while (different < 1000) {
            uint32_t at = (uint32_t)prng_below(&prng, KEYS);
            bool untouched = sides[0].held[at].changed.size == 0 &&
                             sides[1].held[at].changed.size == 0 && sides[0].held[at].dots > 0;
            if (!untouched)
                continue;
            differing += make_differ(&prng, at, (enum difference)difference);
            different++;
        }
        struct moved moved = exchange_all();
        print_moved(difference_names[difference], &moved, differing);
        assert_in_range(moved.bytes, differing, 2 * differing);
        assert_sides_equal();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_key_in_a_million),
        cmocka_unit_test(a_thousand_keys_in_a_million),
    };
    return cmocka_run_group_tests(tests, world_init, world_deinit);
}
