/* At rest: u8 format, varint partitions, varint partition, u8 depth, a leaf after the other {varint
 * count, u64 sum when count > 0}, u64 XXH3-64 of all that. */
#include "model/merkle.h"

#include "base/codec.h"
#include "base/mutation.h"
#include "model/hash.h"
#include "model/limits.h"

#include <stdlib.h>

#define FORMAT         1u
#define CHECKSUM_BYTES 8u
#define STEP_HASHES    64u /* what a step of a descent asks for unless many nodes differ */

static_assert(MERKLE_LEVEL_MAX <= 32, "an index is 32 bits");

static unsigned partition_bits(uint32_t partitions)
{
    CHECK(partitions > 0 && (partitions & (partitions - 1)) == 0);
    CHECK_U64(partitions, <=, PARTITIONS_MAX);
    return (unsigned)__builtin_ctz(partitions);
}

static size_t leaf_count(const struct merkle *tree)
{
    return (size_t)1 << tree->depth;
}

static uint64_t digest_of(uint64_t key_hash, uint64_t checksum)
{
    if (MUTATE(TREE_OF_ONE_BIT))
        checksum &= 1;
    return hash_mix(hash_mix(key_hash) + checksum);
}

/* -- a tree ---------------------------------------------------------------------------------- */

void merkle_init(struct merkle *tree, uint32_t partition, uint32_t partitions, unsigned depth)
{
    CHECK_U64(partition, <, partitions);
    CHECK_U64(depth, >=, MERKLE_DEPTH_MIN);
    CHECK_U64(depth, <=, MERKLE_DEPTH_MAX);
    *tree = (struct merkle){.partition = partition, .partitions = partitions, .depth = depth};
    tree->sums = calloc(leaf_count(tree), sizeof *tree->sums);
    tree->counts = calloc(leaf_count(tree), sizeof *tree->counts);
    CHECK(tree->sums != NULL && tree->counts != NULL);
}

void merkle_deinit(struct merkle *tree)
{
    free(tree->sums);
    free(tree->counts);
    *tree = (struct merkle){0};
}

unsigned merkle_depth_for(uint64_t count)
{
    unsigned depth = MERKLE_DEPTH_MIN;
    while (depth < MERKLE_DEPTH_MAX && count > (uint64_t)MERKLE_LEAF_KEYS << depth)
        depth++;
    return depth;
}

size_t merkle_memory_bytes(const struct merkle *tree)
{
    return leaf_count(tree) * (sizeof *tree->sums + sizeof *tree->counts);
}

/* The leaf of a key, which must be one of this partition. */
static uint32_t leaf_of(const struct merkle *tree, uint64_t key_hash)
{
    CHECK_U64(hash_partition(key_hash, tree->partitions), ==, tree->partition);
    return merkle_index(tree->partitions, tree->depth, key_hash);
}

void merkle_add(struct merkle *tree, uint64_t key_hash, uint64_t checksum)
{
    uint32_t leaf = leaf_of(tree, key_hash);
    uint64_t digest = digest_of(key_hash, checksum);
    CHECK_U64(tree->counts[leaf], <, UINT32_MAX);
    tree->counts[leaf]++;
    tree->sums[leaf] += digest;
    tree->root.count++;
    tree->root.sum += digest;
}

bool merkle_remove(struct merkle *tree, uint64_t key_hash, uint64_t checksum)
{
    uint32_t leaf = leaf_of(tree, key_hash);
    uint64_t digest = digest_of(key_hash, checksum);
    uint32_t count = tree->counts[leaf];
    if (count == 0 || (count == 1 && tree->sums[leaf] != digest))
        return false;
    tree->counts[leaf]--;
    tree->sums[leaf] -= digest;
    tree->root.count--;
    tree->root.sum -= digest;
    return true;
}

/* -- nodes ------------------------------------------------------------------------------------- */

struct merkle_node merkle_root(const struct merkle *tree)
{
    return tree->root;
}

struct merkle_node merkle_node(const struct merkle *tree, unsigned level, uint32_t index)
{
    CHECK_U64(level, <=, tree->depth);
    CHECK_U64(index, <, (uint64_t)1 << level);
    if (level == 0)
        return tree->root;
    unsigned below = tree->depth - level;
    size_t first = (size_t)index << below;
    size_t end = first + ((size_t)1 << below);
    struct merkle_node node = {0};
    for (size_t leaf = first; leaf < end; leaf++) {
        node.sum += tree->sums[leaf];
        node.count += tree->counts[leaf];
    }
    return node;
}

bool merkle_node_equal(struct merkle_node a, struct merkle_node b)
{
    return a.sum == b.sum && a.count == b.count;
}

uint32_t merkle_node_hash(struct merkle_node node, uint64_t salt)
{
    return (uint32_t)(hash_mix(hash_mix(hash_mix(salt) + node.count) + node.sum) >> 32);
}

struct merkle_range merkle_range(uint32_t partition, uint32_t partitions, unsigned level,
                                 uint32_t index)
{
    CHECK_U64(level, <=, MERKLE_LEVEL_MAX);
    CHECK_U64(index, <, (uint64_t)1 << level);
    unsigned fixed = partition_bits(partitions) + level; /* the top bits that all hashes share */
    uint64_t first = hash_partition_start(partition, partitions);
    if (fixed == 0)
        return (struct merkle_range){.first = 0, .last = UINT64_MAX};
    first |= (uint64_t)index << (64 - fixed);
    return (struct merkle_range){.first = first, .last = first | UINT64_MAX >> fixed};
}

uint32_t merkle_index(uint32_t partitions, unsigned level, uint64_t key_hash)
{
    CHECK_U64(level, <=, MERKLE_LEVEL_MAX);
    return level == 0 ? 0 : (uint32_t)(key_hash << partition_bits(partitions) >> (64 - level));
}

/* -- the descent of an exchange ---------------------------------------------------------------- */

bool merkle_step_valid(unsigned level, unsigned fanout_bits, unsigned common_depth)
{
    return level < common_depth && common_depth <= MERKLE_DEPTH_MAX && fanout_bits > 0 &&
           fanout_bits <= MERKLE_FANOUT_BITS_MAX && fanout_bits <= common_depth - level;
}

unsigned merkle_fanout_bits(uint32_t count, unsigned level, unsigned common_depth)
{
    CHECK_U64(level, <=, common_depth);
    unsigned bits = MERKLE_FANOUT_BITS_MAX;
    while (bits > MERKLE_FANOUT_BITS_MIN && (uint64_t)count << bits > STEP_HASHES)
        bits--;
    unsigned left = common_depth - level;
    return left <= bits + 1 && left <= MERKLE_FANOUT_BITS_MAX ? left : bits;
}

static uint32_t child_hash(const struct merkle *tree, const struct merkle_front *front,
                           uint32_t child)
{
    unsigned level = front->level + front->fanout_bits;
    return merkle_node_hash(merkle_node(tree, level, child), front->salt);
}

void merkle_front_hashes(const struct merkle *tree, const struct merkle_front *front,
                         uint32_t *ret_hashes)
{
    CHECK(merkle_step_valid(front->level, front->fanout_bits, tree->depth));
    for (uint32_t i = 0; i < front->count; i++) {
        uint32_t first = front->indices[i] << front->fanout_bits;
        for (uint32_t j = 0; j < 1u << front->fanout_bits; j++)
            *ret_hashes++ = child_hash(tree, front, first + j);
    }
}

uint32_t merkle_front_differing(const struct merkle *tree, const struct merkle_front *front,
                                const uint32_t *hashes, uint32_t *ret_indices)
{
    CHECK(merkle_step_valid(front->level, front->fanout_bits, tree->depth));
    uint32_t count = 0;
    for (uint32_t i = 0; i < front->count; i++) {
        uint32_t first = front->indices[i] << front->fanout_bits;
        for (uint32_t j = 0; j < 1u << front->fanout_bits; j++) {
            if (*hashes++ != child_hash(tree, front, first + j))
                ret_indices[count++] = first + j;
        }
    }
    return count;
}

/* -- at rest ----------------------------------------------------------------------------------- */

struct bytes merkle_encode(struct arena *arena, const struct merkle *tree)
{
    struct writer writer;
    writer_init(&writer, arena, 32 + 9 * leaf_count(tree));
    writer_u8(&writer, FORMAT);
    writer_varint(&writer, tree->partitions);
    writer_varint(&writer, tree->partition);
    writer_u8(&writer, (uint8_t)tree->depth);
    for (size_t leaf = 0; leaf < leaf_count(tree); leaf++) {
        writer_varint(&writer, tree->counts[leaf]);
        if (tree->counts[leaf] > 0)
            writer_u64(&writer, tree->sums[leaf]);
    }
    writer_u64(&writer, hash_bytes(writer_result(&writer), FORMAT));
    return writer_result(&writer);
}

static void leaves_decode(struct reader *reader, struct merkle *tree)
{
    for (size_t leaf = 0; leaf < leaf_count(tree); leaf++) {
        tree->counts[leaf] = (uint32_t)reader_varint_max(reader, UINT32_MAX);
        tree->sums[leaf] = tree->counts[leaf] == 0 ? 0 : reader_u64(reader);
        tree->root.count += tree->counts[leaf];
        tree->root.sum += tree->sums[leaf];
    }
}

enum err merkle_decode(struct bytes bytes, uint32_t partition, uint32_t partitions,
                       struct merkle *ret_tree)
{
    if (bytes.size < CHECKSUM_BYTES)
        return ERR_CORRUPT;
    struct bytes body = bytes_of(bytes.data, bytes.size - CHECKSUM_BYTES);
    struct reader seal = reader_of(bytes_of(bytes.data + body.size, CHECKSUM_BYTES));
    if (reader_u64(&seal) != hash_bytes(body, FORMAT))
        return ERR_CORRUPT;

    struct reader reader = reader_of(body);
    bool ours = reader_u8(&reader) == FORMAT;
    ours &= reader_varint(&reader) == partitions;
    ours &= reader_varint(&reader) == partition;
    unsigned depth = reader_u8(&reader);
    /* A leaf is a byte at least, so the input bounds the memory. */
    if (!ours || reader.failed || depth < MERKLE_DEPTH_MIN || depth > MERKLE_DEPTH_MAX ||
        reader_left(&reader) < (size_t)1 << depth)
        return ERR_CORRUPT;
    struct merkle tree;
    merkle_init(&tree, partition, partitions, depth);
    leaves_decode(&reader, &tree);
    if (!reader_done(&reader)) {
        merkle_deinit(&tree);
        return ERR_CORRUPT;
    }
    *ret_tree = tree;
    return OK;
}
