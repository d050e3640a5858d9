// link: coterie_store
/* Rules of store/rdb_cache.h: the last value of a key or nothing, never another key's; bounded; and
 * hot keys that fit stay. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/prng.h"
#include "store/rdb_cache.h"

#include <stdio.h>
#include <string.h>

#define PARTITIONS 64u

static struct bytes key_of(uint32_t number, char text[16])
{
    return bytes_of(text, (size_t)snprintf(text, 16, "key-%u", number));
}

static void put(struct cache *cache, uint32_t number, const char *value)
{
    char text[16];
    struct bytes bytes = bytes_of(value, value == NULL ? 0 : strlen(value));
    cache_put(cache, number % PARTITIONS, key_of(number, text), value == NULL ? NULL : &bytes);
}

/* NULL: not here. */
static const char *get(const struct cache *cache, uint32_t partition, uint32_t number,
                       char value[16])
{
    struct arena arena;
    arena_init(&arena, NULL, 0);
    char text[16];
    struct bytes found;
    bool here = cache_get(cache, partition, key_of(number, text), &arena, &found);
    if (here)
        snprintf(value, 16, "%.*s", (int)found.size, (const char *)found.data);
    arena_deinit(&arena);
    return here ? value : NULL;
}

/* A model holds each key's last value; what the cache gives is that or nothing. Keys of all
 * partitions come by the ten thousands, so sets are full and ways are taken over. */
static void a_key_has_its_last_value_or_none(void **state)
{
    (void)state;
    enum { KEYS = 60000, STEPS = 400000 };
    static uint32_t model[KEYS]; /* 0: forgotten or never put */
    struct cache cache = {0};
    struct prng prng;
    prng_init(&prng, 1, 0);
    uint32_t found = 0;
    for (uint32_t i = 1; i <= STEPS; i++) {
        uint32_t number = (uint32_t)prng_below(&prng, KEYS);
        char value[16];
        char wanted[16];
        if (prng_chance(&prng, 0.1)) {
            put(&cache, number, NULL);
            model[number] = 0;
        } else if (prng_chance(&prng, 0.5)) {
            snprintf(value, sizeof value, "%u", i);
            put(&cache, number, value);
            model[number] = i;
        }
        snprintf(wanted, sizeof wanted, "%u", model[number]);
        const char *got = get(&cache, number % PARTITIONS, number, value);
        if (model[number] == 0)
            assert_null(got);
        else if (got != NULL)
            assert_string_equal(got, wanted);
        found += got != NULL;
        assert_null(get(&cache, (number + 1) % PARTITIONS, number, value));
    }
    assert_true(found > STEPS / 4);
    cache_clear(&cache);
}

/* 10,000 keys of 14,336 places, chosen uniformly: 9 of 10 reads find theirs. */
static void hot_keys_that_fit_stay(void **state)
{
    (void)state;
    enum { KEYS = 10000, READS = 100000 };
    struct cache cache = {0};
    struct prng prng;
    prng_init(&prng, 1, 0);
    char value[16];
    uint32_t found = 0;
    for (uint32_t i = 0; i < READS + 5 * KEYS; i++) {
        uint32_t number = (uint32_t)prng_below(&prng, KEYS);
        bool here = get(&cache, number % PARTITIONS, number, value) != NULL;
        if (!here)
            put(&cache, number, "v");
        found += here && i >= 5 * KEYS;
    }
    print_message("%.1f %% found\n", 100.0 * found / READS);
    assert_true(found > READS / 10 * 9);
    cache_clear(&cache);
}

/* No record beyond the limit, and no older one in its place. */
static void a_large_record_is_forgotten(void **state)
{
    (void)state;
    struct cache cache = {0};
    static const char large[CACHE_RECORD_BYTES_MAX];
    char text[16];
    char value[16];
    put(&cache, 1, "small");
    assert_non_null(get(&cache, 1, 1, value));
    struct bytes bytes = bytes_of(large, sizeof large);
    cache_put(&cache, 1, key_of(1, text), &bytes);
    assert_null(get(&cache, 1, 1, value));
    cache_clear(&cache);
    assert_null(get(&cache, 1, 1, value));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_has_its_last_value_or_none),
        cmocka_unit_test(hot_keys_that_fit_stay),
        cmocka_unit_test(a_large_record_is_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
