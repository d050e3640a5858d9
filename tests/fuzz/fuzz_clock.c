// link: coterie_model
/* Contexts come from clients: what clock_decode takes is canonical, and clocks obey their laws. */
#include "tests/fuzz/fuzz.h"

#include "base/check.h"
#include "tests/unit/random_set.h"

#define MEMORY_PER_BYTE_MAX 64u /* what a decoder may take for each byte of its input */

static struct bytes encoded(struct arena *arena, const struct clock *clock)
{
    struct writer writer;
    writer_init(&writer, arena, 64);
    clock_encode(&writer, clock);
    return writer_result(&writer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct reader reader = reader_of(bytes_of(data, size));
    struct clock clock;
    if (clock_decode(&reader, &arena, &clock) == OK) {
        CHECK(!reader.failed);
        struct bytes used = bytes_of(data, size - reader_left(&reader));
        CHECK(bytes_equal(used, encoded(&arena, &clock)));
        struct clock second;
        if (clock_decode(&reader, &arena, &second) == OK) {
            struct clock merged = clock_merge(&arena, &clock, &second);
            struct clock other_way = clock_merge(&arena, &second, &clock);
            CHECK(clock_equal(&merged, &other_way));
            CHECK(clock_descends(&merged, &clock) && clock_descends(&merged, &second));
            CHECK(clock_descends(&clock, &second) == clock_equal(&merged, &clock));
            struct clock back;
            struct reader again = reader_of(encoded(&arena, &merged));
            CHECK(clock_decode(&again, &arena, &back) == OK && clock_equal(&back, &merged));
        }
    } else {
        CHECK(reader.failed);
        CHECK_U64(arena.chunk_bytes, <=, 4096 + MEMORY_PER_BYTE_MAX * size);
    }
    arena_deinit(&arena);
    return 0;
}

/* Two clocks, one after the other. */
size_t fuzz_seed(uint64_t index, uint8_t *ret, size_t size_max)
{
    struct prng prng;
    prng_init(&prng, index, 1);
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct clock clock = clock_of(&arena, random_seen(&prng));
    struct clock second = clock_of(&arena, random_seen(&prng));
    struct writer writer;
    writer_init(&writer, &arena, size_max);
    clock_encode(&writer, &clock);
    clock_encode(&writer, &second);
    struct bytes bytes = writer_result(&writer);
    CHECK_U64(bytes.size, <=, size_max);
    memcpy(ret, bytes.data, bytes.size);
    arena_deinit(&arena);
    return bytes.size;
}
