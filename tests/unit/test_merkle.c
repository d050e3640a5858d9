// link: coterie_model
/* Rule: equal nodes are equal sets of records, whatever the order of writes and the depth of the
 * tree, and a tree kept by small changes is the tree built anew (model/merkle.h; Dynamo 4.7). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/codec.h"
#include "base/prng.h"
#include "model/hash.h"
#include "model/merkle.h"

#include <stdlib.h>

#define SEED       20261122u
#define PARTITION  37u
#define PARTITIONS 64u
#define KEYS       3000u

struct key {
    uint64_t hash;
    uint64_t checksum;
};

static struct key random_key(struct prng *prng)
{
    uint64_t start = hash_partition_start(PARTITION, PARTITIONS);
    return (struct key){.hash = start | prng_u64(prng) >> 6, .checksum = prng_u64(prng)};
}

static void clear(struct merkle *tree)
{
    struct merkle empty;
    merkle_init(&empty, tree->partition, tree->partitions, tree->depth);
    merkle_deinit(tree);
    *tree = empty;
}

/* As an overwrite does. */
static bool replace(struct merkle *tree, uint64_t key_hash, uint64_t old_checksum,
                    uint64_t new_checksum)
{
    if (!merkle_remove(tree, key_hash, old_checksum))
        return false;
    merkle_add(tree, key_hash, new_checksum);
    return true;
}

static struct key *random_keys(struct prng *prng, uint32_t count)
{
    struct key *keys = malloc(count * sizeof *keys);
    assert_non_null(keys);
    for (uint32_t i = 0; i < count; i++)
        keys[i] = random_key(prng);
    return keys;
}

static void add_all(struct merkle *tree, const struct key *keys, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        merkle_add(tree, keys[i].hash, keys[i].checksum);
}

static bool trees_equal(const struct merkle *a, const struct merkle *b)
{
    unsigned depth = a->depth < b->depth ? a->depth : b->depth;
    for (unsigned level = 0; level <= depth; level++) {
        for (uint32_t index = 0; index < 1u << level; index++) {
            if (!merkle_node_equal(merkle_node(a, level, index), merkle_node(b, level, index)))
                return false;
        }
    }
    return merkle_node_equal(merkle_root(a), merkle_root(b));
}

/* -- ranges ---------------------------------------------------------------------------------- */

/* The nodes of a level cut the partition's slice of the ring without gap or overlap. */
static void ranges_tile_the_partition(void **state)
{
    (void)state;
    static const uint32_t partition_counts[] = {1, 2, 8, 64, 1024};
    for (size_t i = 0; i < sizeof partition_counts / sizeof partition_counts[0]; i++) {
        uint32_t partitions = partition_counts[i];
        uint32_t picks[] = {0, partitions / 2, partitions - 1};
        for (size_t j = 0; j < 3; j++) {
            uint32_t partition = picks[j];
            struct merkle_range whole = merkle_range(partition, partitions, 0, 0);
            assert_true(whole.first == hash_partition_start(partition, partitions));
            uint64_t last = partition + 1 == partitions
                                ? UINT64_MAX
                                : hash_partition_start(partition + 1, partitions) - 1;
            assert_true(whole.last == last);
            for (unsigned level = 0; level <= 10; level++) {
                uint64_t next = whole.first;
                for (uint32_t index = 0; index < 1u << level; index++) {
                    struct merkle_range range = merkle_range(partition, partitions, level, index);
                    assert_true(range.first == next && range.last >= range.first);
                    assert_int_equal(merkle_index(partitions, level, range.first), index);
                    assert_int_equal(merkle_index(partitions, level, range.last), index);
                    assert_int_equal(hash_partition(range.first, partitions), partition);
                    next = range.last + 1;
                }
                assert_true(next == whole.last + 1);
            }
        }
    }
    struct merkle_range leaf = merkle_range(1023, 1024, 16, 65535);
    assert_true(leaf.first == 0xFFFFFFC000000000 && leaf.last == UINT64_MAX);
}

static void depth_follows_the_keys(void **state)
{
    (void)state;
    static const struct {
        uint64_t count;
        unsigned depth;
    } rows[] = {{0, 4},       {1, 4},        {64, 4},         {65, 5},      {128, 5},
                {15625, 12},  {16384, 12},   {16385, 13},     {262143, 16}, {262144, 16},
                {262145, 16}, {1000000, 16}, {UINT64_MAX, 16}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_int_equal(merkle_depth_for(rows[i].count), rows[i].depth);
}

/* -- sums ------------------------------------------------------------------------------------ */

/* Each node is the sum over the keys of its range: against a loop over all keys. */
static void nodes_are_sums_of_their_range(void **state)
{
    (void)state;
    struct prng prng;
    prng_init(&prng, SEED, 1);
    struct key *keys = random_keys(&prng, KEYS);
    struct merkle tree;
    merkle_init(&tree, PARTITION, PARTITIONS, 9);
    add_all(&tree, keys, KEYS);
    uint64_t digests[KEYS];
    struct merkle single;
    merkle_init(&single, PARTITION, PARTITIONS, 4);
    for (uint32_t i = 0; i < KEYS; i++) {
        clear(&single);
        merkle_add(&single, keys[i].hash, keys[i].checksum);
        digests[i] = merkle_root(&single).sum;
    }
    for (unsigned level = 0; level <= 9; level++) {
        for (uint32_t index = 0; index < 1u << level; index++) {
            struct merkle_range range = merkle_range(PARTITION, PARTITIONS, level, index);
            struct merkle_node node = {0};
            for (uint32_t i = 0; i < KEYS; i++) {
                if (keys[i].hash >= range.first && keys[i].hash <= range.last) {
                    node.sum += digests[i];
                    node.count++;
                }
            }
            assert_true(merkle_node_equal(node, merkle_node(&tree, level, index)));
        }
    }
    merkle_deinit(&single);
    merkle_deinit(&tree);
    free(keys);
}

/* Writes in any order, with overwrites and removals on the way, end in the tree of what is left. */
static void small_changes_make_the_tree_built_anew(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct prng prng;
        prng_init(&prng, SEED, 100 + seed);
        struct key *keys = random_keys(&prng, KEYS);
        struct merkle kept;
        merkle_init(&kept, PARTITION, PARTITIONS, 8);
        add_all(&kept, keys, KEYS);
        uint32_t left = KEYS;
        for (uint32_t step = 0; step < 2 * KEYS; step++) {
            uint32_t at = (uint32_t)prng_below(&prng, left);
            if (prng_chance(&prng, 0.7)) {
                uint64_t checksum = prng_u64(&prng);
                assert_true(replace(&kept, keys[at].hash, keys[at].checksum, checksum));
                keys[at].checksum = checksum;
            } else if (left > KEYS / 2) {
                assert_true(merkle_remove(&kept, keys[at].hash, keys[at].checksum));
                keys[at] = keys[--left];
            }
        }
        struct merkle anew;
        merkle_init(&anew, PARTITION, PARTITIONS, 8);
        for (uint32_t i = left; i > 0; i--)
            merkle_add(&anew, keys[i - 1].hash, keys[i - 1].checksum);
        assert_true(trees_equal(&kept, &anew));
        assert_int_equal(merkle_root(&kept).count, left);

        for (uint32_t i = 0; i < left; i++)
            assert_true(merkle_remove(&kept, keys[i].hash, keys[i].checksum));
        clear(&anew);
        assert_true(trees_equal(&kept, &anew));
        assert_true(merkle_node_equal(merkle_root(&kept), (struct merkle_node){0}));
        merkle_deinit(&kept);
        merkle_deinit(&anew);
        free(keys);
    }
}

static void depths_compare_at_common_levels(void **state)
{
    (void)state;
    struct prng prng;
    prng_init(&prng, SEED, 2);
    struct key *keys = random_keys(&prng, KEYS);
    static const unsigned depths[] = {4, 7, 12, 16};
    struct merkle trees[4];
    for (size_t i = 0; i < 4; i++) {
        merkle_init(&trees[i], PARTITION, PARTITIONS, depths[i]);
        assert_int_equal(merkle_memory_bytes(&trees[i]), 12u << depths[i]);
        add_all(&trees[i], keys, KEYS);
    }
    for (size_t i = 1; i < 4; i++)
        assert_true(trees_equal(&trees[i - 1], &trees[i]));
    assert_true(replace(&trees[0], keys[7].hash, keys[7].checksum, keys[7].checksum + 1));
    assert_false(trees_equal(&trees[0], &trees[3]));
    for (size_t i = 0; i < 4; i++)
        merkle_deinit(&trees[i]);
    free(keys);
}

/* One key added, changed or gone is seen at each level on its path, and nowhere else. Two keys with
 * one state do not hide each other, nor do states that change places. */
static void one_key_shows_on_its_path(void **state)
{
    (void)state;
    struct prng prng;
    prng_init(&prng, SEED, 3);
    struct key *keys = random_keys(&prng, KEYS);
    struct merkle a;
    struct merkle b;
    merkle_init(&a, PARTITION, PARTITIONS, 8);
    merkle_init(&b, PARTITION, PARTITIONS, 8);
    add_all(&a, keys, KEYS);
    for (uint32_t round = 0; round < 300; round++) {
        clear(&b);
        add_all(&b, keys, KEYS);
        struct key key = keys[prng_below(&prng, KEYS)];
        if (round % 4 == 0) {
            assert_true(replace(&b, key.hash, key.checksum, key.checksum ^ 1));
        } else if (round % 4 == 1) {
            assert_true(merkle_remove(&b, key.hash, key.checksum));
        } else if (round % 4 == 2) {
            merkle_add(&b, key.hash, key.checksum); /* the same once more */
        } else {
            key = random_key(&prng);
            merkle_add(&b, key.hash, key.checksum);
        }
        for (unsigned level = 0; level <= 8; level++) {
            uint32_t path = merkle_index(PARTITIONS, level, key.hash);
            for (uint32_t index = 0; index < 1u << level; index++) {
                bool equal =
                    merkle_node_equal(merkle_node(&a, level, index), merkle_node(&b, level, index));
                assert_int_equal(equal, index != path);
            }
        }
    }
    assert_false(merkle_node_equal((struct merkle_node){5, 1}, (struct merkle_node){5, 2}));
    uint64_t x = keys[0].hash;
    uint64_t y = keys[0].hash ^ 1; /* the same leaf */
    clear(&a);
    clear(&b);
    merkle_add(&a, x, 1);
    merkle_add(&a, y, 2);
    merkle_add(&b, x, 2);
    merkle_add(&b, y, 1);
    assert_int_equal(merkle_root(&a).count, merkle_root(&b).count);
    assert_false(merkle_node_equal(merkle_root(&a), merkle_root(&b)));
    merkle_deinit(&a);
    merkle_deinit(&b);
    free(keys);
}

/* What cannot have been added cannot be taken out; the tree stays as it was. */
static void absent_keys_are_told(void **state)
{
    (void)state;
    struct prng prng;
    prng_init(&prng, SEED, 4);
    struct merkle tree;
    merkle_init(&tree, PARTITION, PARTITIONS, 6);
    struct key key = random_key(&prng);
    struct key other = {.hash = key.hash ^ (uint64_t)1 << 57, .checksum = key.checksum};
    assert_false(merkle_remove(&tree, key.hash, key.checksum));
    assert_false(replace(&tree, key.hash, key.checksum, 5));
    assert_true(merkle_node_equal(merkle_root(&tree), (struct merkle_node){0}));
    merkle_add(&tree, key.hash, key.checksum);
    struct merkle_node before = merkle_root(&tree);
    assert_false(merkle_remove(&tree, other.hash, other.checksum));
    assert_false(merkle_remove(&tree, key.hash, key.checksum + 1));
    assert_false(replace(&tree, key.hash, key.checksum + 1, 5));
    assert_true(merkle_node_equal(merkle_root(&tree), before));
    assert_true(merkle_remove(&tree, key.hash, key.checksum));
    merkle_deinit(&tree);
}

/* -- what an exchange sends of a node -----------------------------------------------------------
 */

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Nodes that look alike under one salt differ under another: among 2^18 nodes about eight pairs
 * share their 32 bits, and none of them does so twice. Sum, count and salt all matter. */
static void salts_part_what_looks_alike(void **state)
{
    (void)state;
    enum { COUNT = 1 << 18 };
    struct prng prng;
    prng_init(&prng, SEED, 5);
    uint64_t *sums = malloc(COUNT * sizeof *sums);
    uint64_t *hashes = malloc(COUNT * sizeof *hashes); /* hash and number of the node */
    assert_non_null(sums);
    assert_non_null(hashes);
    for (uint64_t i = 0; i < COUNT; i++) {
        sums[i] = prng_u64(&prng);
        struct merkle_node node = {.sum = sums[i], .count = 4};
        hashes[i] = (uint64_t)merkle_node_hash(node, 1) << 32 | i;
    }
    qsort(hashes, COUNT, sizeof *hashes, compare_u64);
    uint32_t alike = 0;
    for (uint32_t i = 1; i < COUNT; i++) {
        if (hashes[i - 1] >> 32 != hashes[i] >> 32)
            continue;
        alike++;
        struct merkle_node a = {.sum = sums[(uint32_t)hashes[i - 1]], .count = 4};
        struct merkle_node b = {.sum = sums[(uint32_t)hashes[i]], .count = 4};
        assert_int_equal(merkle_node_hash(a, 1), merkle_node_hash(b, 1));
        assert_int_not_equal(merkle_node_hash(a, 2), merkle_node_hash(b, 2));
    }
    assert_in_range(alike, 1, 30);
    uint32_t equal = 0;
    for (uint32_t i = 0; i < COUNT; i++) {
        struct merkle_node node = {.sum = sums[i], .count = 4};
        struct merkle_node counted = {.sum = sums[i], .count = 5};
        struct merkle_node summed = {.sum = sums[i] + 1, .count = 4};
        uint32_t hash = merkle_node_hash(node, 1);
        equal += hash == merkle_node_hash(counted, 1);
        equal += hash == merkle_node_hash(summed, 1);
        equal += hash == merkle_node_hash(node, 2);
    }
    assert_in_range(equal, 0, 2);
    free(sums);
    free(hashes);
}

/* Few nodes are asked for far, many for their next two levels, and no step is left for one level.
 */
static void steps_ask_for_some_64_hashes(void **state)
{
    (void)state;
    static const struct {
        uint32_t count;
        unsigned level;
        unsigned depth;
        unsigned bits;
    } rows[] = {{1, 0, 12, 6},    {1, 6, 12, 6},     {1, 0, 16, 6},    {1, 0, 4, 4},
                {1, 0, 7, 6},     {2, 0, 12, 5},     {4, 6, 12, 4},    {8, 3, 12, 3},
                {9, 3, 12, 2},    {16, 6, 12, 2},    {17, 6, 12, 2},   {4096, 12, 16, 2},
                {300, 13, 16, 3}, {300, 14, 16, 2},  {300, 15, 16, 1}, {4, 7, 12, 5},
                {1, 12, 12, 0},   {65536, 16, 16, 0}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_int_equal(merkle_fanout_bits(rows[i].count, rows[i].level, rows[i].depth),
                         rows[i].bits);
}

/* What we ask for is what a peer may ask for; nothing leads past the leaves. */
static void steps_of_peers_are_checked(void **state)
{
    (void)state;
    for (unsigned depth = MERKLE_DEPTH_MIN; depth <= MERKLE_DEPTH_MAX; depth++) {
        for (unsigned level = 0; level < depth; level++) {
            for (uint32_t count = 1; count <= 1u << level; count *= 2)
                assert_true(
                    merkle_step_valid(level, merkle_fanout_bits(count, level, depth), depth));
            assert_false(merkle_step_valid(level, 0, depth));
            assert_false(merkle_step_valid(level, MERKLE_FANOUT_BITS_MAX + 1, depth));
            assert_false(merkle_step_valid(level, depth - level + 1, depth));
            assert_false(merkle_step_valid(level, UINT32_MAX, depth));
        }
        assert_false(merkle_step_valid(depth, 1, depth));
        assert_false(merkle_step_valid(UINT32_MAX, 1, depth));
        assert_false(merkle_step_valid(UINT32_MAX, 2, depth));
    }
    assert_false(merkle_step_valid(14, 3, 17));
}

/* A descent of both sides from the root ends at exactly the leaves that differ, whatever the
 * fan-out and the depths of the trees. */
static void descents_end_at_the_leaves_that_differ(void **state)
{
    (void)state;
    for (uint32_t round = 0; round < 200; round++) {
        struct prng prng;
        prng_init(&prng, SEED, 1000 + round);
        struct key *keys = random_keys(&prng, KEYS);
        struct merkle a;
        struct merkle b;
        merkle_init(&a, PARTITION, PARTITIONS, 7 + round % 5);
        merkle_init(&b, PARTITION, PARTITIONS, 9);
        unsigned common = a.depth < b.depth ? a.depth : b.depth;
        add_all(&a, keys, KEYS);
        add_all(&b, keys, KEYS);
        bool expected[1 << 9] = {false};
        for (uint64_t changes = prng_below(&prng, 40); changes > 0; changes--) {
            struct key *key = &keys[prng_below(&prng, KEYS)];
            assert_true(replace(&b, key->hash, key->checksum, key->checksum + 1));
            key->checksum++;
            expected[merkle_index(PARTITIONS, common, key->hash)] = true;
        }
        uint32_t indices[1 << 9] = {0};
        uint32_t differing[1 << 9];
        uint32_t hashes[1 << 9];
        bool own_steps = round % 2 == 0;
        struct merkle_front front = {.salt = prng_u64(&prng), .count = 1, .indices = indices};
        while (front.level < common) {
            front.fanout_bits = merkle_fanout_bits(front.count, front.level, common);
            if (own_steps)
                front.fanout_bits = 1 + (unsigned)prng_below(&prng, front.fanout_bits);
            merkle_front_hashes(&a, &front, hashes);
            front.count = merkle_front_differing(&b, &front, hashes, differing);
            memcpy(indices, differing, sizeof indices);
            front.level += front.fanout_bits;
        }
        uint32_t next = 0;
        for (uint32_t leaf = 0; leaf < 1u << common; leaf++) {
            if (expected[leaf])
                assert_int_equal(indices[next++], leaf);
        }
        assert_int_equal(front.count, next);
        merkle_deinit(&a);
        merkle_deinit(&b);
        free(keys);
    }
}

/* -- at rest --------------------------------------------------------------------------------- */

static void assert_corrupt(struct bytes bytes)
{
    struct merkle untouched = {.depth = 77};
    /* On the heap at its exact size, so that AddressSanitizer sees a read past its end. */
    uint8_t *copy = malloc(bytes.size + 1);
    assert_non_null(copy);
    memcpy(copy + 1, bytes.data, bytes.size);
    enum err err = merkle_decode(bytes_of(copy + 1, bytes.size), PARTITION, PARTITIONS, &untouched);
    free(copy);
    assert_int_equal(err, ERR_CORRUPT);
    assert_int_equal(untouched.depth, 77);
}

static void encoded_trees_come_back(void **state)
{
    (void)state;
    struct prng prng;
    prng_init(&prng, SEED, 6);
    struct arena arena;
    arena_init(&arena, NULL, 0);
    for (uint32_t round = 0; round < 100; round++) {
        arena_clear(&arena);
        uint32_t count = (uint32_t)prng_below(&prng, 500);
        struct key *keys = random_keys(&prng, count + 1);
        struct merkle tree;
        merkle_init(&tree, PARTITION, PARTITIONS, 4 + round % 8);
        add_all(&tree, keys, count);
        struct bytes bytes = merkle_encode(&arena, &tree);
        struct merkle back;
        assert_int_equal(merkle_decode(bytes, PARTITION, PARTITIONS, &back), OK);
        assert_int_equal(back.depth, tree.depth);
        assert_true(trees_equal(&tree, &back));
        assert_true(bytes_equal(bytes, merkle_encode(&arena, &back)));
        merkle_add(&back, keys[count].hash, keys[count].checksum); /* it is a tree to go on with */
        assert_int_equal(merkle_root(&back).count, count + 1);
        merkle_deinit(&back);

        struct merkle untouched = {.depth = 77};
        assert_int_equal(merkle_decode(bytes, PARTITION + 1, PARTITIONS, &untouched), ERR_CORRUPT);
        assert_int_equal(merkle_decode(bytes, PARTITION, 2 * PARTITIONS, &untouched), ERR_CORRUPT);
        assert_int_equal(untouched.depth, 77);
        merkle_deinit(&tree);
        free(keys);
    }
    arena_deinit(&arena);
}

static void damaged_trees_are_refused(void **state)
{
    (void)state;
    struct prng prng;
    prng_init(&prng, SEED, 7);
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct key *keys = random_keys(&prng, 40);
    struct merkle tree;
    merkle_init(&tree, PARTITION, PARTITIONS, 4);
    add_all(&tree, keys, 40);
    struct bytes bytes = merkle_encode(&arena, &tree);
    uint8_t *copy = arena_alloc(&arena, bytes.size + 1);
    memcpy(copy, bytes.data, bytes.size);
    copy[bytes.size] = 0;
    for (size_t size = 0; size < bytes.size; size++)
        assert_corrupt(bytes_of(copy, size));
    assert_corrupt(bytes_of(copy, bytes.size + 1));
    for (size_t i = 0; i < 8 * bytes.size; i++) {
        copy[i / 8] ^= (uint8_t)(1u << i % 8);
        assert_corrupt(bytes_of(copy, bytes.size));
        copy[i / 8] ^= (uint8_t)(1u << i % 8);
    }
    for (uint32_t round = 0; round < 20000; round++) {
        uint8_t noise[64];
        size_t size = prng_below(&prng, sizeof noise);
        for (size_t i = 0; i < size; i++)
            noise[i] = (uint8_t)prng_u64(&prng);
        assert_corrupt(bytes_of(noise, size));
    }
    merkle_deinit(&tree);
    free(keys);
    arena_deinit(&arena);
}

/* A sound checksum does not make nonsense sound. */
static void sealed_nonsense_is_refused(void **state)
{
    (void)state;
    static const uint8_t empty[1 << 17];
    static const struct {
        enum err err;
        uint8_t head[6];
        size_t head_size;
        size_t leaves; /* empty ones that follow */
    } rows[] = {
        {OK, {1, 64, 37, 4}, 4, 16},
        {ERR_CORRUPT, {2, 64, 37, 4}, 4, 16},       /* another format */
        {ERR_CORRUPT, {1, 64, 37, 4}, 4, 15},       /* a leaf too few */
        {ERR_CORRUPT, {1, 64, 37, 4, 0}, 5, 16},    /* and one too many */
        {ERR_CORRUPT, {1, 64, 37, 3}, 4, 8},        /* too shallow */
        {ERR_CORRUPT, {1, 64, 37, 17}, 4, 1 << 17}, /* too deep */
        {OK, {1, 64, 37, 16}, 4, 1 << 16},
        {ERR_CORRUPT, {1, 64, 37, 16}, 4, 16},         /* more memory than input */
        {ERR_CORRUPT, {1, 64, 37, 4, 1}, 5, 15},       /* a count without its sum */
        {ERR_CORRUPT, {1, 64, 37, 4, 0x80, 0}, 6, 15}, /* a padded varint */
        {ERR_CORRUPT, {1, 64, 37}, 3, 0},
        {ERR_CORRUPT, {0}, 0, 0},
    };
    struct arena arena;
    arena_init(&arena, NULL, 0);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct writer writer;
        writer_init(&writer, &arena, 64);
        writer_bytes(&writer, bytes_of(rows[i].head, rows[i].head_size));
        writer_bytes(&writer, bytes_of(empty, rows[i].leaves));
        writer_u64(&writer, hash_bytes(writer_result(&writer), 1));
        struct bytes bytes = writer_result(&writer);
        struct merkle tree;
        if (rows[i].err == OK) {
            assert_int_equal(merkle_decode(bytes, PARTITION, PARTITIONS, &tree), OK);
            merkle_deinit(&tree);
        } else {
            assert_corrupt(bytes);
        }
    }
    arena_deinit(&arena);
}

/* Digests meet digests of other releases: a change of them is a change of these numbers, and needs
 * a new format number at rest and a new peer protocol. */
static void digests_stay_what_they_are(void **state)
{
    (void)state;
    struct merkle tree;
    merkle_init(&tree, PARTITION, PARTITIONS, 4);
    merkle_add(&tree, hash_partition_start(PARTITION, PARTITIONS) + 1, 2);
    assert_true(merkle_root(&tree).sum == 0x2B8F010DA1E2050B);
    assert_true(merkle_node_hash(merkle_root(&tree), 3) == 0x41A7C2CF);
    merkle_deinit(&tree);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges_tile_the_partition),
        cmocka_unit_test(depth_follows_the_keys),
        cmocka_unit_test(nodes_are_sums_of_their_range),
        cmocka_unit_test(small_changes_make_the_tree_built_anew),
        cmocka_unit_test(depths_compare_at_common_levels),
        cmocka_unit_test(one_key_shows_on_its_path),
        cmocka_unit_test(absent_keys_are_told),
        cmocka_unit_test(salts_part_what_looks_alike),
        cmocka_unit_test(steps_ask_for_some_64_hashes),
        cmocka_unit_test(steps_of_peers_are_checked),
        cmocka_unit_test(descents_end_at_the_leaves_that_differ),
        cmocka_unit_test(encoded_trees_come_back),
        cmocka_unit_test(damaged_trees_are_refused),
        cmocka_unit_test(sealed_nonsense_is_refused),
        cmocka_unit_test(digests_stay_what_they_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
