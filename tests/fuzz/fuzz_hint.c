// link: coterie_actors
/* Rows of hints come from a disk. The input is a row's value under a sound key, and a row's key
 * under a sound value. What is taken is what was written: the same bytes again, in the newest
 * format. */
#include "tests/fuzz/fuzz.h"

#include "actors/hinted_handoff_rows.h"
#include "base/prng.h"

#define KEYSPACE 42u

static const struct bytes key = {(const uint8_t *)"k", 1};

static struct hint sound_hint(void)
{
    return (struct hint){.target = 2,
                         .keyspace_id = KEYSPACE,
                         .key = key,
                         .policy = 1,
                         .partition = 3,
                         .stored_at_ms = 1800000000000,
                         .floor = 300,
                         .request_id = {(const uint8_t *)"0123456789abcdef", 16},
                         .request_context = {(const uint8_t *)"context", 7},
                         .record = {(const uint8_t *)"record", 6}};
}

static void try_row(struct bytes row_key, struct bytes value)
{
    struct arena arena;
    struct hint hint;
    struct hint again;
    uint8_t memory[ROW_KEY_BYTES_MAX];
    if (row_key.size > ROW_KEY_BYTES_MAX || hint_decode(row_key, value, &hint) != OK)
        return;
    arena_init(&arena, NULL, 0);
    CHECK(hint.partition < PARTITIONS_MAX);
    CHECK(hint.record.size < value.size && hint.key.size < row_key.size);
    struct bytes encoded = hint_encode(&arena, &hint);
    CHECK(hint_decode(row_key, encoded, &again) == OK);
    CHECK(again.target == hint.target && again.keyspace_id == hint.keyspace_id);
    CHECK(again.policy == hint.policy && again.partition == hint.partition);
    CHECK(again.stored_at_ms == hint.stored_at_ms && again.floor == hint.floor);
    CHECK(bytes_equal(again.request_id, hint.request_id));
    CHECK(bytes_equal(again.request_context, hint.request_context));
    CHECK(bytes_equal(again.record, hint.record) && bytes_equal(again.key, hint.key));
    /* The hash in the key may be wrong; the rest is what the hint makes. */
    size_t size = hint_row_key(&hint, memory);
    CHECK_U64(size, ==, row_key.size);
    CHECK(memcmp(memory, row_key.data, 4) == 0);
    CHECK(memcmp(memory + 12, row_key.data + 12, size - 12) == 0);
    arena_deinit(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    struct hint hint = sound_hint();
    uint8_t memory[ROW_KEY_BYTES_MAX];
    arena_init(&arena, NULL, 0);
    try_row(bytes_of(memory, hint_row_key(&hint, memory)), bytes_of(data, size));
    try_row(bytes_of(data, size), hint_encode(&arena, &hint));
    arena_deinit(&arena);
    return 0;
}

/* Both formats, and keys. */
size_t fuzz_seed(uint64_t index, uint8_t *ret, size_t size_max)
{
    struct arena arena;
    struct prng prng;
    struct hint hint = sound_hint();
    uint8_t memory[ROW_KEY_BYTES_MAX];
    prng_init(&prng, index, 5);
    arena_init(&arena, NULL, 0);
    hint.floor = prng_u64(&prng) >> prng_below(&prng, 64);
    hint.policy = (uint32_t)prng_below(&prng, 4);
    struct bytes row = hint_encode(&arena, &hint);
    if (index % 3 == 0)
        row = bytes_of(memory, hint_row_key(&hint, memory));
    CHECK_U64(row.size, <=, size_max);
    memcpy(ret, row.data, row.size);
    if (index % 3 == 1)
        ret[0] = 1;
    size_t size = row.size;
    arena_deinit(&arena);
    return size;
}
