// link: coterie_model
/* Trees come from disks. The input is a tree at rest; because the checksum stops nearly all of
 * them, it is tried again with the checksum made anew. What is taken is canonical and sums up. */
#include "tests/fuzz/fuzz.h"

#include "base/check.h"
#include "base/codec.h"
#include "base/prng.h"
#include "model/hash.h"
#include "model/merkle.h"

#define PARTITION      5u
#define PARTITIONS     8u
#define FORMAT         1u
#define CHECKSUM_BYTES 8u

static bool try_tree(struct arena *arena, struct bytes bytes)
{
    struct merkle tree = {.depth = 99};
    enum err err = merkle_decode(bytes, PARTITION, PARTITIONS, &tree);
    if (err != OK) {
        CHECK(err == ERR_CORRUPT && tree.depth == 99 && tree.sums == NULL);
        return false;
    }
    CHECK(bytes_equal(bytes, merkle_encode(arena, &tree)));
    struct merkle_node sum = {0};
    for (uint32_t i = 0; i < 1u << MERKLE_DEPTH_MIN; i++) {
        struct merkle_node node = merkle_node(&tree, MERKLE_DEPTH_MIN, i);
        sum.sum += node.sum;
        sum.count += node.count;
    }
    CHECK(merkle_node_equal(sum, merkle_root(&tree)));
    merkle_deinit(&tree);
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    arena_init(&arena, NULL, 0);
    if (!try_tree(&arena, bytes_of(data, size)) && size >= CHECKSUM_BYTES) {
        struct bytes body = bytes_of(data, size - CHECKSUM_BYTES);
        struct writer writer;
        writer_init(&writer, &arena, size);
        writer_bytes(&writer, body);
        writer_u64(&writer, hash_bytes(body, FORMAT));
        try_tree(&arena, writer_result(&writer));
    }
    arena_deinit(&arena);
    return 0;
}

size_t fuzz_seed(uint64_t index, uint8_t *ret, size_t size_max)
{
    struct prng prng;
    prng_init(&prng, index, 1);
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct merkle tree;
    merkle_init(&tree, PARTITION, PARTITIONS, MERKLE_DEPTH_MIN + (unsigned)prng_below(&prng, 4));
    uint64_t start = hash_partition_start(PARTITION, PARTITIONS);
    for (uint64_t left = prng_below(&prng, 200); left > 0; left--)
        merkle_add(&tree, start | prng_u64(&prng) >> 3, prng_u64(&prng));
    struct bytes bytes = merkle_encode(&arena, &tree);
    CHECK_U64(bytes.size, <=, size_max);
    memcpy(ret, bytes.data, bytes.size);
    merkle_deinit(&tree);
    arena_deinit(&arena);
    return bytes.size;
}
