// link: coterie_rpc
/* Contexts come from clients. The input is a token; because the MAC stops nearly all of them, its
 * clock is tried again with the MAC made anew. What is taken is what sealing gives. */
#include "tests/fuzz/fuzz.h"

#include "base/check.h"
#include "model/limits.h"
#include "rpc/context.h"
#include "tests/unit/random_set.h"

#define MEMORY_PER_BYTE_MAX 64u /* what opening may take for each byte of its input */

static struct context_keys keys;
static struct context_scope scope;

static void keys_make(void)
{
    static const uint8_t cluster_id[16] = {1};
    if (scope.keyspace_id != 0)
        return;
    context_keys_derive(cluster_id, bytes_of(NULL, 0), &keys);
    scope = context_scope_of(&keys, 42, bytes_of_string("k"));
}

static enum err try_token(struct bytes token)
{
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct bytes clock;
    enum err err = context_open(&arena, &keys, &scope, token, &clock);
    CHECK_U64(arena.chunk_bytes, <=, 4096 + MEMORY_PER_BYTE_MAX * token.size);
    CHECK((err == ERR_LIMIT) == (token.size > CONTEXT_BYTES_MAX));
    if (err == OK) {
        CHECK(clock.data == token.data + 1);
        CHECK(bytes_equal(token, context_of_clock_bytes(&arena, &keys, &scope, clock)));
        struct reader reader = reader_of(clock);
        struct clock decoded;
        CHECK(clock_decode(&reader, &arena, &decoded) == OK && reader_done(&reader));
        CHECK(bytes_equal(token, context_of_clock(&arena, &keys, &scope, &decoded)));
    } else {
        CHECK(err == ERR_LIMIT || err == ERR_CORRUPT);
    }
    arena_deinit(&arena);
    return err;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    keys_make();
    if (try_token(bytes_of(data, size)) == OK || size < 2 + CONTEXT_MAC_BYTES)
        return 0;
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct bytes clock = bytes_of(data + 1, size - 1 - CONTEXT_MAC_BYTES);
    try_token(context_of_clock_bytes(&arena, &keys, &scope, clock));
    arena_deinit(&arena);
    return 0;
}

size_t fuzz_seed(uint64_t index, uint8_t *ret, size_t size_max)
{
    keys_make();
    struct prng prng;
    prng_init(&prng, index, 3);
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct clock clock = clock_of(&arena, random_seen(&prng));
    struct bytes token = context_of_clock(&arena, &keys, &scope, &clock);
    CHECK_U64(token.size, <=, size_max);
    memcpy(ret, token.data, token.size);
    arena_deinit(&arena);
    return token.size;
}
