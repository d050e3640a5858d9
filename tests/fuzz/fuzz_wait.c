// link: coterie_model
/* Any bytes: refused, or waits within their limits that come back the same through encode. */
#include "base/check.h"
#include "model/wait.h"
#include "tests/fuzz/fuzz.h"

#include <stdio.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct waits waits;
    struct waits again;
    if (waits_decode(&arena, bytes_of(data, size), &waits) == OK) {
        CHECK_U64(waits.count, <=, WAITS_MAX);
        struct bytes encoded = waits_encode(&arena, &waits);
        CHECK(waits_decode(&arena, encoded, &again) == OK);
        CHECK_U64(again.count, ==, waits.count);
        CHECK(bytes_equal(waits_encode(&arena, &again), encoded));
        for (uint32_t i = 0; i < again.count; i++) {
            CHECK(again.list[i].cause > 0 && again.list[i].cause < WAIT_CAUSE_COUNT);
            CHECK(again.list[i].why == NULL || strlen(again.list[i].why) <= WAIT_WHY_BYTES_MAX);
        }
    }
    arena_deinit(&arena);
    return 0;
}

size_t fuzz_seed(uint64_t index, uint8_t *ret, size_t size_max)
{
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct waits waits = {.left_out = (uint32_t)(index % 3)};
    for (uint32_t i = 0; i < index % 9; i++)
        waits_add(&waits, &(struct wait){.cause = (enum wait_cause)(1 + (index + i) % 17),
                                         .keyspace_id = (uint32_t)(index * 977 + i % 2),
                                         .member = 1 + i % 5,
                                         .partition = i,
                                         .count = 1 + i,
                                         .since_ms = index << 20,
                                         .why = i % 3 == 0 ? "corrupt data" : NULL});
    struct bytes bytes = waits_encode(&arena, &waits);
    size_t size = bytes.size < size_max ? bytes.size : 0;
    if (size != 0)
        memcpy(ret, bytes.data, size);
    arena_deinit(&arena);
    return size;
}
