// link: coterie_model
/* Records come from disks and peers. The input is a record; because the checksum stops nearly all
 * of them, it is tried again with the checksum made anew. What is taken is canonical and can be
 * merged. */
#include "tests/fuzz/fuzz.h"

#include "base/check.h"
#include "model/hash.h"
#include "model/record.h"
#include "tests/unit/random_set.h"

#define KEYSPACE       42u
#define CHECKSUM_BYTES 8u

static const struct bytes key = {(const uint8_t *)"k", 1};

static void merge_with_some_set(struct arena *arena, const struct version_set *set)
{
    struct prng prng;
    prng_init(&prng, set->count, set->clock.count);
    struct version_set other = set_of(arena, random_masks(&prng), 0);
    struct version_set one = version_set_merge(arena, set, &other);
    struct version_set two = version_set_merge(arena, &other, set);
    CHECK(version_set_equal(&one, &two));
    struct version_set back;
    struct bytes record = record_encode(arena, KEYSPACE, key, &one);
    CHECK(record_decode(arena, KEYSPACE, key, record, &back) == OK);
    CHECK(version_set_equal(&one, &back));
    struct clock context = version_set_context(&one);
    struct dot dot;
    struct version version = {.flags = VERSION_TOMBSTONE};
    struct version_set put = version_set_put(arena, &one, &context, 3, 3, &version, &dot);
    CHECK(put.count == 1);
}

static bool try_record(struct bytes record)
{
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct version_set set;
    enum err verified = record_verify(KEYSPACE, key, record);
    enum err err = record_decode(&arena, KEYSPACE, key, record, &set);
    CHECK(verified == OK || verified == err);
    if (err == OK) {
        CHECK(bytes_equal(record, record_encode(&arena, KEYSPACE, key, &set)));
        merge_with_some_set(&arena, &set);
    }
    arena_deinit(&arena);
    return err == OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (try_record(bytes_of(data, size)) || size < CHECKSUM_BYTES)
        return 0;
    struct bytes body = bytes_of(data, size - CHECKSUM_BYTES);
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct writer writer;
    writer_init(&writer, &arena, size);
    writer_bytes(&writer, body);
    writer_u64(&writer, hash_bytes(body, hash_key(KEYSPACE, key)));
    try_record(writer_result(&writer));
    arena_deinit(&arena);
    return 0;
}

size_t fuzz_seed(uint64_t index, uint8_t *ret, size_t size_max)
{
    struct prng prng;
    prng_init(&prng, index, 2);
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct version_set set = set_of(&arena, random_masks(&prng), 0);
    struct bytes record = record_encode(&arena, KEYSPACE, key, &set);
    CHECK_U64(record.size, <=, size_max);
    memcpy(ret, record.data, record.size);
    arena_deinit(&arena);
    return record.size;
}
