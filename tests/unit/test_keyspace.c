// link: coterie_model
/* Keyspace definitions: what is refused and why, the map as a join (commutative, associative,
 * idempotent), canonical bytes (DESIGN.md sections 4, 5, 10). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/prng.h"
#include "model/keyspace.h"

#include <stdio.h>
#include <stdlib.h>

#define SEED       4711u
#define BUILTIN_ID 0xd4d63cacu /* XXH3-64 of "default" with seed 1, low half, computed apart */

static void test_builtin_is_the_same_everywhere(void **state)
{
    (void)state;
    struct keyspace keyspace = keyspace_builtin();
    const char *why = NULL;
    assert_int_equal(keyspace_validate(&keyspace, &why), OK);
    assert_string_equal(keyspace.name, "default");
    assert_int_equal(keyspace.created_at, 1);
    assert_int_equal(keyspace.id, keyspace_id("default", 1));
    assert_int_equal(keyspace.n, 3);
    assert_int_equal(keyspace.read_level, CONSISTENCY_QUORUM);
    assert_int_equal(keyspace.write_level, CONSISTENCY_QUORUM);
    assert_int_equal(keyspace.conflict, KEYSPACE_SIBLINGS);
    assert_int_equal(keyspace.mode, KEYSPACE_AVAILABLE);
    assert_int_equal(keyspace.durability, KEYSPACE_FSYNC);
    /* Stored keys depend on this id: it must never change. */
    assert_int_equal(keyspace_id("default", 1), BUILTIN_ID);
}

static void test_ids_tell_apart(void **state)
{
    (void)state;
    assert_int_not_equal(keyspace_id("users", 5), keyspace_id("users", 6));
    assert_int_not_equal(keyspace_id("users", 5), keyspace_id("orders", 5));
    assert_int_equal(keyspace_id("users", 5), keyspace_id("users", 5));
}

static void test_names(void **state)
{
    (void)state;
    char longest[KEYSPACE_NAME_MAX + 2];
    memset(longest, 'a', sizeof longest);
    longest[KEYSPACE_NAME_MAX] = '\0';
    assert_true(keyspace_name_valid(longest));
    longest[KEYSPACE_NAME_MAX] = 'a';
    longest[KEYSPACE_NAME_MAX + 1] = '\0';
    assert_false(keyspace_name_valid(longest));
    const char *why = NULL;
    struct keyspace keyspace = keyspace_default(longest);
    assert_int_equal(keyspace_validate(&keyspace, &why), ERR_INVALID);
    assert_string_equal(why, "name: must be [a-z][a-z0-9_-]{0,62}");
    static const char *const good[] = {"a", "users", "a-b_c9", "z0"};
    static const char *const bad[] = {"", "A", "9a", "_a", "-a", "a b", "aB", "a.b", "\xc3\xa4"};
    for (size_t i = 0; i < ARRAY_COUNT(good); i++)
        assert_true(keyspace_name_valid(good[i]));
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
        assert_false(keyspace_name_valid(bad[i]));
}

static void keyspace_break(struct keyspace *keyspace, int how)
{
    switch (how) {
    case 0:
        keyspace->name[0] = 'A';
        break;
    case 1:
        keyspace->id++;
        break;
    case 2:
        keyspace->changed_at = keyspace->created_at - 1;
        break;
    case 3:
        keyspace->mode = (enum keyspace_mode)2;
        break;
    case 4:
        keyspace->conflict = (enum keyspace_conflict)2;
        break;
    case 5:
        keyspace->durability = (enum keyspace_durability)2;
        break;
    case 6:
        keyspace->n = 0;
        break;
    case 7:
        keyspace->n = REPLICAS_MAX + 1;
        break;
    case 8:
        keyspace->read_level = CONSISTENCY_DEFAULT;
        break;
    case 9:
        keyspace->write_level = (enum consistency)(CONSISTENCY_COUNT + 1);
        break;
    case 10:
        keyspace->read_count = 1;
        break; /* without level COUNT */
    case 11:
        keyspace->write_level = CONSISTENCY_COUNT;
        break; /* count 0 */
    case 12:
        keyspace->data_center_count = DATA_CENTERS_MAX + 1;
        break;
    case 13:
        keyspace->data_centers[0].name[0] = '\0';
        break;
    case 14:
        memset(keyspace->data_centers[1].name, 'x', 32);
        break;
    case 15:
        memcpy(keyspace->data_centers[1].name, "east", 5);
        break;
    case 16:
        keyspace->data_centers[1].n = 0;
        break;
    case 17:
        keyspace->data_centers[0].n = REPLICAS_MAX + 1;
        break;
    default:
        fail();
    }
}

static struct keyspace keyspace_sample(void)
{
    struct keyspace keyspace = keyspace_default("users");
    keyspace.created_at = 100;
    keyspace.changed_at = 200;
    keyspace.id = keyspace_id(keyspace.name, keyspace.created_at);
    keyspace.data_center_count = 2;
    memcpy(keyspace.data_centers[0].name, "east", 5);
    keyspace.data_centers[0].n = 5;
    memcpy(keyspace.data_centers[1].name, "west", 5);
    keyspace.data_centers[1].n = 1;
    return keyspace;
}

static void test_validation(void **state)
{
    (void)state;
    static const char *const whys[] = {
        "name: ",
        "id: ",
        "changed_at: ",
        "mode: ",
        "conflict: ",
        "durability: ",
        "n: ",
        "n: ",
        "read_level: ",
        "write_level: ",
        "read_count: ",
        "write_count: ",
        "data_centers: at most 8",
        "data_centers: a name",
        "data_centers: a name",
        "data_centers: must be in order",
        "data_centers: n must",
        "data_centers: n must",
    };
    for (int i = 0; i < (int)ARRAY_COUNT(whys); i++) {
        struct keyspace keyspace = keyspace_sample();
        const char *why = NULL;
        assert_int_equal(keyspace_validate(&keyspace, &why), OK);
        assert_null(why);
        keyspace_break(&keyspace, i);
        assert_int_equal(keyspace_validate(&keyspace, &why), ERR_INVALID);
        if (strncmp(why, whys[i], strlen(whys[i])) != 0)
            fail_msg("case %d: \"%s\"", i, why);
    }
    struct keyspace keyspace = keyspace_sample();
    const char *why = NULL;
    keyspace.read_level = CONSISTENCY_COUNT;
    keyspace.read_count = REPLICAS_TOTAL_MAX;
    assert_int_equal(keyspace_validate(&keyspace, &why), OK);
    keyspace.read_count++;
    assert_int_equal(keyspace_validate(&keyspace, &why), ERR_INVALID);
}

static void test_n_of_data_centers(void **state)
{
    (void)state;
    struct keyspace keyspace = keyspace_sample();
    assert_int_equal(keyspace_n(&keyspace, "east"), 5);
    assert_int_equal(keyspace_n(&keyspace, "west"), 1);
    assert_int_equal(keyspace_n(&keyspace, "north"), 3);
}

static struct keyspace draw_keyspace(struct prng *prng, uint32_t names)
{
    char name[8];
    snprintf(name, sizeof name, "k%02u", (unsigned)prng_below(prng, names));
    struct keyspace keyspace = keyspace_default(name);
    keyspace.created_at = prng_between(prng, 1, 3);
    keyspace.changed_at = keyspace.created_at + prng_below(prng, 3);
    keyspace.id = keyspace_id(keyspace.name, keyspace.created_at);
    keyspace.dropped = prng_chance(prng, 0.3);
    keyspace.strict = prng_chance(prng, 0.3);
    keyspace.n = (uint8_t)prng_between(prng, 1, REPLICAS_MAX);
    keyspace.mode = prng_chance(prng, 0.5) ? KEYSPACE_CONSISTENT : KEYSPACE_AVAILABLE;
    keyspace.conflict = prng_chance(prng, 0.5) ? KEYSPACE_LWW : KEYSPACE_SIBLINGS;
    keyspace.durability = prng_chance(prng, 0.5) ? KEYSPACE_PERIODIC : KEYSPACE_FSYNC;
    if (prng_chance(prng, 0.3)) {
        keyspace.read_level = CONSISTENCY_COUNT;
        keyspace.read_count = (uint8_t)prng_between(prng, 1, 5);
    }
    keyspace.write_level = (enum consistency)prng_between(prng, CONSISTENCY_ONE, CONSISTENCY_COUNT);
    if (keyspace.write_level == CONSISTENCY_COUNT)
        keyspace.write_count = (uint8_t)prng_between(prng, 1, 5);
    keyspace.data_center_count = (uint8_t)prng_below(prng, 3);
    for (uint32_t i = 0; i < keyspace.data_center_count; i++) {
        snprintf(keyspace.data_centers[i].name, 32, "dc%u", i);
        keyspace.data_centers[i].n = (uint8_t)prng_between(prng, 1, 3);
    }
    const char *why = NULL;
    assert_int_equal(keyspace_validate(&keyspace, &why), OK);
    return keyspace;
}

static struct keyspace_map draw_map(struct arena *arena, struct prng *prng, uint32_t puts,
                                    uint32_t names)
{
    struct keyspace_map map = {0};
    for (uint32_t i = 0; i < puts; i++) {
        struct keyspace keyspace = draw_keyspace(prng, names);
        map = keyspace_map_put(arena, &map, &keyspace);
    }
    return map;
}

static void test_put_and_find(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct keyspace_map map = {0};
    assert_null(keyspace_map_find(&map, "default"));
    struct keyspace builtin = keyspace_builtin();
    struct keyspace users = keyspace_sample();
    struct keyspace alpha = keyspace_default("alpha");
    struct keyspace_map before = map;
    map = keyspace_map_put(&arena, &map, &users);
    map = keyspace_map_put(&arena, &map, &alpha);
    map = keyspace_map_put(&arena, &map, &builtin);
    assert_int_equal(before.count, 0);
    assert_int_equal(map.count, 3);
    assert_string_equal(map.keyspaces[0].name, "alpha");
    assert_string_equal(map.keyspaces[1].name, "default");
    assert_string_equal(map.keyspaces[2].name, "users");
    assert_ptr_equal(keyspace_map_find(&map, "users"), &map.keyspaces[2]);
    assert_ptr_equal(keyspace_map_find_id(&map, builtin.id), &map.keyspaces[1]);
    assert_null(keyspace_map_find(&map, "user"));
    assert_null(keyspace_map_find(&map, "zeta"));
    /* Dropped: neither name nor id finds it, but the tombstone stays. */
    users.dropped = true;
    users.changed_at++;
    struct keyspace_map dropped = keyspace_map_put(&arena, &map, &users);
    assert_int_equal(dropped.count, 3);
    assert_null(keyspace_map_find(&dropped, "users"));
    assert_null(keyspace_map_find_id(&dropped, users.id));
    assert_non_null(keyspace_map_find(&map, "users")); /* the older map is untouched */
    arena_deinit(&arena);
}

static bool maps_equal(struct arena *arena, const struct keyspace_map *a,
                       const struct keyspace_map *b)
{
    bool equal = bytes_equal(keyspace_map_encode(arena, a), keyspace_map_encode(arena, b));
    assert_int_equal(equal, keyspace_map_digest(a) == keyspace_map_digest(b));
    return equal;
}

static void check_laws(struct arena *arena, const struct keyspace_map *a,
                       const struct keyspace_map *b, const struct keyspace_map *c)
{
    struct keyspace_map ab = keyspace_map_merge(arena, a, b);
    struct keyspace_map ba = keyspace_map_merge(arena, b, a);
    struct keyspace_map bc = keyspace_map_merge(arena, b, c);
    struct keyspace_map left = keyspace_map_merge(arena, &ab, c);
    struct keyspace_map right = keyspace_map_merge(arena, a, &bc);
    struct keyspace_map aa = keyspace_map_merge(arena, a, a);
    struct keyspace_map aba = keyspace_map_merge(arena, &ab, a);
    assert_true(maps_equal(arena, &ab, &ba));
    assert_true(maps_equal(arena, &left, &right));
    assert_true(maps_equal(arena, &aa, a));
    assert_true(maps_equal(arena, &aba, &ab));
    for (uint32_t i = 0; i < a->count && ab.count < KEYSPACES_MAX; i++) {
        uint32_t k = 0;
        while (k < ab.count && strcmp(ab.keyspaces[k].name, a->keyspaces[i].name) != 0)
            k++;
        assert_true(k < ab.count);
        assert_true(ab.keyspaces[k].changed_at >= a->keyspaces[i].changed_at);
    }
}

static void test_merge_laws(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 400; seed++) {
        struct prng prng;
        prng_init(&prng, SEED + seed, 1);
        struct arena arena;
        arena_init(&arena, NULL, 0);
        struct keyspace_map maps[3];
        for (int i = 0; i < 3; i++)
            maps[i] = draw_map(&arena, &prng, (uint32_t)prng_below(&prng, 12), 10);
        check_laws(&arena, &maps[0], &maps[1], &maps[2]);
        arena_deinit(&arena);
    }
}

static void test_later_change_wins(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct keyspace_map none = {0};
    struct keyspace older = keyspace_sample();
    struct keyspace newer = older;
    newer.changed_at++;
    newer.dropped = true;
    struct keyspace_map a = keyspace_map_put(&arena, &none, &older);
    struct keyspace_map b = keyspace_map_put(&arena, &none, &newer);
    struct keyspace_map merged = keyspace_map_merge(&arena, &b, &a);
    assert_int_equal(merged.count, 1);
    assert_true(merged.keyspaces[0].dropped);
    arena_deinit(&arena);
}

/* Two sides that both filled up while apart: the result is bounded, and still the same everywhere.
 */
static void test_merge_over_the_limit(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct keyspace_map maps[3] = {{0}, {0}, {0}};
    for (uint32_t i = 0; i < KEYSPACES_MAX; i++) {
        for (uint32_t k = 0; k < 3; k++) {
            char name[16];
            snprintf(name, sizeof name, "k%04u", i * (k + 1));
            struct keyspace keyspace = keyspace_default(name);
            maps[k] = keyspace_map_put(&arena, &maps[k], &keyspace);
        }
    }
    assert_int_equal(maps[2].count, KEYSPACES_MAX);
    struct keyspace_map merged = keyspace_map_merge(&arena, &maps[0], &maps[2]);
    assert_int_equal(merged.count, KEYSPACES_MAX);
    check_laws(&arena, &maps[0], &maps[1], &maps[2]);
    arena_deinit(&arena);
}

static void check_hostile(const uint8_t *data, size_t size)
{
    struct arena arena;
    arena_init(&arena, NULL, 0);
    uint8_t *copy = malloc(size == 0 ? 1 : size); /* exactly sized, for the sanitizer */
    assert_non_null(copy);
    if (size > 0)
        memcpy(copy, data, size);
    struct keyspace_map map;
    enum err err = keyspace_map_decode(&arena, bytes_of(copy, size), &map);
    if (err == OK) {
        const char *why = NULL;
        for (uint32_t i = 0; i < map.count; i++)
            assert_int_equal(keyspace_validate(&map.keyspaces[i], &why), OK);
        assert_true(bytes_equal(keyspace_map_encode(&arena, &map), bytes_of(copy, size)));
    } else {
        assert_true(err == ERR_CORRUPT || err == ERR_UNSUPPORTED);
    }
    free(copy);
    arena_deinit(&arena);
}

static void test_round_trip_and_hostile_bytes(void **state)
{
    (void)state;
    struct prng prng;
    prng_init(&prng, SEED, 2);
    for (int round = 0; round < 20; round++) {
        struct arena arena;
        arena_init(&arena, NULL, 0);
        struct keyspace_map map = draw_map(&arena, &prng, (uint32_t)round, 30);
        struct bytes bytes = keyspace_map_encode(&arena, &map);
        struct keyspace_map decoded = {.count = 99};
        assert_int_equal(keyspace_map_decode(&arena, bytes, &decoded), OK);
        assert_int_equal(decoded.count, map.count);
        for (uint32_t i = 0; i < map.count; i++) {
            assert_int_equal(decoded.keyspaces[i].id, map.keyspaces[i].id);
            assert_int_equal(decoded.keyspaces[i].dropped, map.keyspaces[i].dropped);
            assert_int_equal(decoded.keyspaces[i].strict, map.keyspaces[i].strict);
            assert_int_equal(decoded.keyspaces[i].read_count, map.keyspaces[i].read_count);
            assert_int_equal(decoded.keyspaces[i].write_count, map.keyspaces[i].write_count);
            assert_int_equal(decoded.keyspaces[i].write_level, map.keyspaces[i].write_level);
        }
        assert_true(maps_equal(&arena, &map, &decoded));
        uint8_t *copy = arena_alloc(&arena, bytes.size + 1);
        memcpy(copy, bytes.data, bytes.size);
        for (size_t size = 0; size < bytes.size; size++)
            assert_int_equal(keyspace_map_decode(&arena, bytes_of(copy, size), &decoded),
                             ERR_CORRUPT);
        copy[bytes.size] = 0;
        assert_int_equal(keyspace_map_decode(&arena, bytes_of(copy, bytes.size + 1), &decoded),
                         ERR_CORRUPT);
        for (size_t bit = 0; bit < 8 * bytes.size; bit++) {
            copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
            check_hostile(copy, bytes.size);
            copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        for (int k = 0; k < 1000; k++) {
            copy[prng_below(&prng, bytes.size)] = (uint8_t)prng_u64(&prng);
            check_hostile(copy, (size_t)prng_below(&prng, bytes.size + 1));
        }
        arena_deinit(&arena);
    }
}

/* Names out of order or twice are refused: equal maps are equal bytes. */
static void test_only_canonical_bytes(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct keyspace keyspaces[2] = {keyspace_sample(), keyspace_builtin()};
    struct keyspace_map map = {.count = 2, .keyspaces = keyspaces};
    struct keyspace_map decoded;
    assert_int_equal(keyspace_map_decode(&arena, keyspace_map_encode(&arena, &map), &decoded),
                     ERR_CORRUPT);
    keyspaces[0] = keyspace_builtin();
    assert_int_equal(keyspace_map_decode(&arena, keyspace_map_encode(&arena, &map), &decoded),
                     ERR_CORRUPT);
    keyspaces[1] = keyspace_sample();
    assert_int_equal(keyspace_map_decode(&arena, keyspace_map_encode(&arena, &map), &decoded), OK);
    arena_deinit(&arena);
}

/* Maps stored before strict keyspaces existed: these bytes were written then, and a map without any
 * is written the same way still. */
static void test_stored_before_strict(void **state)
{
    (void)state;
    static const uint8_t stored[] = {
        1, 2,                                                       /* version, count */
        1, 'a', 5, 6, 0, 0, 1, 0, 3, 2, 0, 2, 0, 0,                 /* lww */
        1, 'b', 7, 9, 1, 0, 0, 1, 2, 1, 0, 7, 2, 1, 2, 'e', 'u', 3, /* dropped, periodic */
    };
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct keyspace_map map;
    assert_int_equal(keyspace_map_decode(&arena, bytes_of(stored, sizeof stored), &map), OK);
    assert_int_equal(map.count, 2);
    assert_false(map.keyspaces[0].strict || map.keyspaces[0].dropped);
    assert_false(map.keyspaces[1].strict);
    assert_true(map.keyspaces[1].dropped);
    assert_int_equal(map.keyspaces[1].data_centers[0].n, 3);
    assert_true(bytes_equal(keyspace_map_encode(&arena, &map), bytes_of(stored, sizeof stored)));
    arena_deinit(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_builtin_is_the_same_everywhere),
        cmocka_unit_test(test_ids_tell_apart),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_validation),
        cmocka_unit_test(test_n_of_data_centers),
        cmocka_unit_test(test_put_and_find),
        cmocka_unit_test(test_merge_laws),
        cmocka_unit_test(test_later_change_wins),
        cmocka_unit_test(test_merge_over_the_limit),
        cmocka_unit_test(test_round_trip_and_hostile_bytes),
        cmocka_unit_test(test_only_canonical_bytes),
        cmocka_unit_test(test_stored_before_strict),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
