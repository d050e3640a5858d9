// link: coterie_store
/* The port's contract (actors/store.h), one suite for both engines: what the simulator believes of
 * its disk is what the real one does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/store/store_fixture.h"

static struct fixture fixture;

/* -- reads and writes ------------------------------------------------------------------------- */

static void test_reads_see_what_was_staged(void **state)
{
    (void)state;
    struct store *store = fixture_store(&fixture, 0);
    assert_true(holds(store, 3, "a", NULL)); /* absent partition */
    assert_int_equal(put(store, 3, "a", "1"), OK);
    assert_true(holds(store, 3, "a", "1"));
    assert_true(holds(store, 4, "a", NULL));
    assert_true(holds(store, STORE_META, "a", NULL));
    assert_int_equal(put(store, 3, "a", "2"), OK);
    assert_true(holds(store, 3, "a", "2"));
    assert_int_equal(put(store, STORE_META, "a", "meta"), OK);
    assert_int_equal(put(store, STORE_HINTS, "a", ""), OK);
    assert_true(holds(store, STORE_META, "a", "meta"));
    assert_true(holds(store, STORE_HINTS, "a", ""));
    assert_true(holds(store, 3, "a", "2"));
    store_submit(store); /* from here others see it */
    assert_true(holds(fixture_store(&fixture, 1), STORE_META, "a", "meta"));
}

static void test_deleted_is_absent(void **state)
{
    (void)state;
    struct store *store = fixture_store(&fixture, 0);
    assert_int_equal(store_delete(store, 5, bytes_of_string("k"), STORE_SYNC_LATER), OK);
    assert_int_equal(put(store, 5, "k", "v"), OK);
    assert_int_equal(put(store, 5, "l", "w"), OK);
    assert_int_equal(store_delete(store, 5, bytes_of_string("k"), STORE_SYNC_LATER), OK);
    assert_true(holds(store, 5, "k", NULL));
    assert_true(holds(store, 5, "l", "w"));
    assert_int_equal(count_keys(store, 5), 1);
    fixture_reopen(&fixture);
    assert_true(holds(fixture_store(&fixture, 0), 5, "k", NULL));
    assert_int_equal(count_keys(fixture_store(&fixture, 0), 5), 1);
}

/* Keys and values are bytes: with NULs, high bits, and up to the largest value of section 10. */
static void test_bytes_are_opaque(void **state)
{
    (void)state;
    struct store *store = fixture_store(&fixture, 0);
    static const uint8_t key[] = {0, 0xFF, 0, 0x80, 'p'};
    size_t size = 3u << 20;
    uint8_t *value = malloc(size);
    assert_non_null(value);
    for (size_t i = 0; i < size; i++)
        value[i] = (uint8_t)(i * 7 + i / 251);
    assert_int_equal(
        store_put(store, 0, bytes_of(key, sizeof key), bytes_of(value, size), STORE_SYNC_LATER),
        OK);
    fixture_reopen(&fixture);
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct bytes found = {0};
    assert_int_equal(
        store_read(fixture_store(&fixture, 0), 0, bytes_of(key, sizeof key), &arena, &found), OK);
    assert_true(bytes_equal(found, bytes_of(value, size)));
    assert_int_equal(store_read(fixture_store(&fixture, 0), 0, bytes_of(key, 4), &arena, &found),
                     ERR_NOT_FOUND);
    arena_deinit(&arena);
    free(value);
}

/* -- scans ------------------------------------------------------------------------------------ */

struct seen {
    struct arena arena;
    struct bytes keys[64];
    size_t count;
    size_t stop_after;
};

static bool see(void *closure, struct bytes key, struct bytes value)
{
    (void)value;
    struct seen *seen = closure;
    if (seen->count < 64)
        seen->keys[seen->count] = arena_copy(&seen->arena, key);
    seen->count++;
    return seen->count != seen->stop_after;
}

/* The keys of a scan, joined by commas. */
static const char *scan_text(struct store *store, uint32_t partition, const char *from,
                             const char *to, size_t stop_after)
{
    static char text[1024];
    struct seen seen = {.stop_after = stop_after};
    arena_init(&seen.arena, NULL, 0);
    text[0] = '\0';
    CHECK(store_scan(store, partition, bytes_of_string(from), bytes_of_string(to), see, &seen) ==
          OK);
    CHECK_U64(seen.count, <=, 64);
    for (size_t i = 0; i < seen.count; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%.*s", i == 0 ? "" : ",",
                 (int)seen.keys[i].size, (const char *)seen.keys[i].data);
    arena_deinit(&seen.arena);
    return text;
}

static void test_scan_is_a_half_open_range_in_byte_order(void **state)
{
    (void)state;
    struct store *store = fixture_store(&fixture, 0);
    static const char *const keys[] = {"m", "b", "ab", "a", "zz", "z", "\xC3\xA4", "aa", "b0"};
    for (size_t i = 0; i < ARRAY_COUNT(keys); i++)
        assert_int_equal(put(store, 2, keys[i], "v"), OK);
    assert_int_equal(put(store, 3, "other", "v"), OK);
    assert_string_equal(scan_text(store, 2, "", "", 0), "a,aa,ab,b,b0,m,z,zz,\xC3\xA4");
    assert_string_equal(scan_text(store, 2, "aa", "b0", 0), "aa,ab,b");
    assert_string_equal(scan_text(store, 2, "aab", "b00", 0), "ab,b,b0");
    assert_string_equal(scan_text(store, 2, "z", "", 0), "z,zz,\xC3\xA4");
    assert_string_equal(scan_text(store, 2, "", "a", 0), "");
    assert_string_equal(scan_text(store, 2, "b", "b", 0), "");
    assert_string_equal(scan_text(store, 2, "z", "a", 0), "");
    assert_string_equal(scan_text(store, 2, "", "", 3), "a,aa,ab");
    assert_string_equal(scan_text(store, 9, "", "", 0), ""); /* absent partition */
    assert_int_equal(store_sync(store), OK);
    assert_int_equal(store_delete(store, 2, bytes_of_string("ab"), STORE_SYNC_LATER), OK);
    assert_string_equal(scan_text(store, 2, "a", "c", 0), "a,aa,b,b0"); /* staged over synced */
}

struct deleting {
    struct store *store;
    uint32_t partition;
    size_t count;
};

static bool delete_each(void *closure, struct bytes key, struct bytes value)
{
    struct deleting *deleting = closure;
    CHECK(value.size == 1 && value.data[0] == 'v');
    CHECK(store_delete(deleting->store, deleting->partition, key, STORE_SYNC_LATER) == OK);
    deleting->count++;
    return true;
}

static void test_a_visitor_may_delete(void **state)
{
    (void)state;
    struct store *store = fixture_store(&fixture, 0);
    for (int i = 0; i < 50; i++) {
        char key[16];
        snprintf(key, sizeof key, "%03d", i);
        assert_int_equal(put(store, STORE_HINTS, key, "v"), OK);
    }
    struct deleting deleting = {.store = store, .partition = STORE_HINTS};
    assert_int_equal(store_scan(store, STORE_HINTS, bytes_of_string("010"), bytes_of_string("040"),
                                delete_each, &deleting),
                     OK);
    assert_int_equal(deleting.count, 30);
    assert_int_equal(count_keys(store, STORE_HINTS), 20);
}

/* -- durability ------------------------------------------------------------------------------- */

static void test_sequences_ascend_for_each_handle(void **state)
{
    (void)state;
    struct store *first = fixture_store(&fixture, 0);
    struct store *second = fixture_store(&fixture, 1);
    assert_int_equal(store_staged(first), 0);
    uint64_t before = 0;
    for (int i = 0; i < 20; i++) {
        assert_int_equal(put(first, 0, "k", "v"), OK);
        assert_true(store_staged(first) > before);
        before = store_staged(first);
    }
    assert_int_equal(store_staged(second), 0);
    assert_int_equal(put(second, 1, "k", "v"), OK);
    assert_true(store_staged(second) > 0);
    assert_int_equal(store_staged(first), before);
}

static void test_committed_comes_with_the_sync_and_not_before(void **state)
{
    (void)state;
    struct store *first = fixture_store(&fixture, 0);
    struct store *third = fixture_store(&fixture, 2);
    for (int i = 0; i < 5; i++)
        assert_int_equal(put(first, 0, "k", "v"), OK);
    assert_int_equal(put(third, 1, "k", "v"), OK);
    store_submit(first); /* nobody asked for a sync */
    store_submit(third);
    assert_int_equal(store_committed(first), 0);
    assert_int_equal(fixture_committed(&fixture, 0), 0);
    assert_int_equal(store_sync(first), OK);
    assert_int_equal(store_committed(first), store_staged(first));
    assert_int_equal(store_committed(third), store_staged(third));
    assert_int_equal(fixture_committed(&fixture, 0), store_staged(first));
    assert_int_equal(fixture_committed(&fixture, 2), store_staged(third));
    assert_int_equal(fixture.reports[0], 1);
    assert_int_equal(fixture.reports[1], 0);
    assert_int_equal(fixture.reports[2], 1);
    assert_int_equal(put(first, 0, "k", "w"), OK);
    assert_true(store_committed(first) < store_staged(first));
    assert_int_equal(store_sync(first), OK);
    assert_int_equal(fixture.reports[0], 2);
    assert_int_equal(fixture.reports[2], 1); /* no news */
    assert_false(fixture.descended);
}

static void test_reopen_keeps_what_was_committed(void **state)
{
    (void)state;
    struct store *store = fixture_store(&fixture, 0);
    assert_int_equal(put(store, 7, "k", "v"), OK);
    assert_int_equal(put(store, STORE_META, "id", "7"), OK);
    fixture_reopen(&fixture); /* closing syncs */
    store = fixture_store(&fixture, 0);
    assert_true(holds(store, 7, "k", "v"));
    assert_true(holds(store, STORE_META, "id", "7"));
    assert_int_equal(store_staged(store), 0);
    assert_int_equal(store_committed(store), 0);
}

static void test_a_failed_sync_is_final(void **state)
{
    (void)state;
    struct store *store = fixture_store(&fixture, 0);
    assert_int_equal(put(store, 1, "kept", "v"), OK);
    assert_int_equal(store_sync(store), OK);
    uint64_t committed = store_committed(store);
    assert_int_equal(put(store, 1, "unsure", "v"), OK);
    fixture_break_fsync(&fixture);
    assert_int_equal(store_sync(store), ERR_IO);
    assert_int_equal(fixture_failures(&fixture), 1);
    disk_faults_clear(); /* the disk is well again: that changes nothing */
    uint64_t staged = store_staged(store);
    assert_int_equal(put(store, 1, "later", "v"), ERR_IO);
    assert_int_equal(put(fixture_store(&fixture, 1), 2, "later", "v"), ERR_IO);
    assert_int_equal(store_drop(store, 1), ERR_IO);
    assert_int_equal(store_sync(store), ERR_IO);
    assert_int_equal(store_staged(store), staged);
    assert_int_equal(store_committed(store), committed);
    assert_int_equal(fixture_failures(&fixture), 1);
    assert_true(holds(store, 1, "kept", "v")); /* reads go on */
    fixture_reopen(&fixture);
    store = fixture_store(&fixture, 0);
    assert_true(holds(store, 1, "kept", "v"));
    assert_int_equal(put(store, 1, "later", "v"), OK);
    assert_int_equal(store_sync(store), OK);
}

/* -- partitions ------------------------------------------------------------------------------- */

static void test_drop_takes_all_of_one_partition(void **state)
{
    (void)state;
    struct store *store = fixture_store(&fixture, 0);
    assert_int_equal(store_drop(store, 6), OK); /* absent */
    for (int i = 0; i < 100; i++) {
        char key[16];
        snprintf(key, sizeof key, "%d", i);
        assert_int_equal(put(store, 6, key, "old"), OK);
        assert_int_equal(put(store, 7, key, "other"), OK);
        if (i == 50)
            assert_int_equal(store_sync(store), OK);
    }
    assert_int_equal(store_drop(store, 6), OK);
    assert_int_equal(count_keys(store, 6), 0);
    assert_true(holds(store, 6, "1", NULL));
    assert_int_equal(count_keys(store, 7), 100);
    assert_int_equal(put(store, 6, "new", "v"), OK);
    assert_int_equal(count_keys(store, 6), 1);
    fixture_reopen(&fixture);
    store = fixture_store(&fixture, 0);
    assert_int_equal(count_keys(store, 6), 1);
    assert_true(holds(store, 6, "new", "v"));
    assert_int_equal(count_keys(store, 7), 100);
    assert_int_equal(store_drop(store, 6), OK);
    fixture_reopen(&fixture);
    assert_int_equal(count_keys(fixture_store(&fixture, 0), 6), 0);
}

static void test_partitions_are_created_ahead(void **state)
{
    (void)state;
    static const uint32_t partitions[] = {1, 4, 9};
    assert_int_equal(engine_create_partitions(fixture.engine, partitions, 3), OK);
    assert_int_equal(engine_create_partitions(fixture.engine, partitions, 3), OK);
    struct engine_figures figures;
    engine_figures(fixture.engine, &figures);
    assert_int_equal(figures.partitions_open, 3);
    assert_int_equal(put(fixture_store(&fixture, 0), 4, "k", "v"), OK);
    assert_true(holds(fixture_store(&fixture, 0), 4, "k", "v"));
}

static void test_figures_count_the_work(void **state)
{
    (void)state;
    struct store *store = fixture_store(&fixture, 1);
    for (int i = 0; i < 10; i++)
        assert_int_equal(put(store, 2, "k", "v"), OK);
    assert_true(holds(store, 2, "k", "v"));
    assert_int_equal(store_sync(store), OK);
    struct engine_figures figures;
    engine_figures(fixture.engine, &figures);
    assert_int_equal(figures.staged, 10);
    assert_int_equal(figures.synced_writes, 10);
    assert_int_equal(figures.syncs, 1);
    assert_int_equal(figures.reads, 1);
    assert_int_equal(figures.refused, 0);
    assert_int_equal(figures.partitions_open, 1);
    assert_int_equal(figures.background_errors, 0);
    assert_int_equal(figures.write_stopped, 0);
}

/* -- against a model -------------------------------------------------------------------------- */

enum { MODEL_KEYS = 40, MODEL_STEPS = 3000 };

struct model {
    uint32_t values[PARTITIONS][MODEL_KEYS]; /* 0: absent */
};

static void model_key(uint32_t index, char key[8])
{
    snprintf(key, 8, "k%02u", index);
}

static struct model *visited_model;
static uint32_t visited_partition;
static uint32_t visited_next;

static bool visit_model(void *closure, struct bytes key, struct bytes value)
{
    (void)closure;
    const uint32_t *values = visited_model->values[visited_partition];
    while (visited_next < MODEL_KEYS && values[visited_next] == 0)
        visited_next++;
    CHECK_U64(visited_next, <, MODEL_KEYS);
    char text[16];
    model_key(visited_next, text);
    CHECK(bytes_equal(key, bytes_of_string(text)));
    snprintf(text, sizeof text, "%u", values[visited_next]);
    CHECK(bytes_equal(value, bytes_of_string(text)));
    visited_next++;
    return true;
}

static void compare_with_model(struct model *model)
{
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        struct store *store = fixture_store(&fixture, p % 3);
        visited_model = model;
        visited_partition = p;
        visited_next = 0;
        assert_int_equal(
            store_scan(store, p, (struct bytes){0}, (struct bytes){0}, visit_model, NULL), OK);
        while (visited_next < MODEL_KEYS && model->values[p][visited_next] == 0)
            visited_next++;
        assert_int_equal(visited_next, MODEL_KEYS);
    }
}

static void model_step(struct model *model, struct prng *prng, uint32_t step)
{
    uint32_t partition = (uint32_t)prng_below(prng, 6);
    uint32_t index = (uint32_t)prng_below(prng, MODEL_KEYS);
    struct store *store = fixture_store(&fixture, partition % 3); /* one writer a partition */
    uint32_t *cell = &model->values[partition][index];
    char key[8];
    char value[16];
    model_key(index, key);
    switch (prng_below(prng, 100)) {
    case 0:
        assert_int_equal(store_sync(store), OK);
        break;
    case 1:
        assert_int_equal(store_drop(store, partition), OK);
        memset(model->values[partition], 0, sizeof model->values[partition]);
        break;
    case 2 ... 29:
        assert_int_equal(store_delete(store, partition, bytes_of_string(key), STORE_SYNC_LATER),
                         OK);
        *cell = 0;
        break;
    default:
        snprintf(value, sizeof value, "%u", step);
        assert_int_equal(put(store, partition, key, value), OK);
        *cell = step;
    }
    snprintf(value, sizeof value, "%u", *cell);
    assert_true(holds(store, partition, key, *cell == 0 ? NULL : value));
}

static void test_random_steps_agree_with_a_model(void **state)
{
    (void)state;
    struct model model = {0};
    struct prng prng;
    prng_init(&prng, 7, 0);
    for (uint32_t step = 1; step <= MODEL_STEPS; step++) {
        model_step(&model, &prng, step);
        if (step % 500 == 0) {
            compare_with_model(&model);
            fixture_reopen(&fixture);
            compare_with_model(&model);
        }
    }
}

/* -- groups ----------------------------------------------------------------------------------- */

static int set_up_memory(void **state)
{
    (void)state;
    fixture_init(&fixture, ENGINE_MEMORY);
    fixture_open(&fixture);
    return 0;
}

static int set_up_rocksdb(void **state)
{
    (void)state;
    fixture_init(&fixture, ENGINE_ROCKSDB);
    fixture_open(&fixture);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fixture_deinit(&fixture);
    return 0;
}

#define SUITE(kind)                                                                                \
    cmocka_unit_test_setup_teardown(test_reads_see_what_was_staged, set_up_##kind, tear_down),     \
        cmocka_unit_test_setup_teardown(test_deleted_is_absent, set_up_##kind, tear_down),         \
        cmocka_unit_test_setup_teardown(test_bytes_are_opaque, set_up_##kind, tear_down),          \
        cmocka_unit_test_setup_teardown(test_scan_is_a_half_open_range_in_byte_order,              \
                                        set_up_##kind, tear_down),                                 \
        cmocka_unit_test_setup_teardown(test_a_visitor_may_delete, set_up_##kind, tear_down),      \
        cmocka_unit_test_setup_teardown(test_sequences_ascend_for_each_handle, set_up_##kind,      \
                                        tear_down),                                                \
        cmocka_unit_test_setup_teardown(test_committed_comes_with_the_sync_and_not_before,         \
                                        set_up_##kind, tear_down),                                 \
        cmocka_unit_test_setup_teardown(test_reopen_keeps_what_was_committed, set_up_##kind,       \
                                        tear_down),                                                \
        cmocka_unit_test_setup_teardown(test_a_failed_sync_is_final, set_up_##kind, tear_down),    \
        cmocka_unit_test_setup_teardown(test_drop_takes_all_of_one_partition, set_up_##kind,       \
                                        tear_down),                                                \
        cmocka_unit_test_setup_teardown(test_partitions_are_created_ahead, set_up_##kind,          \
                                        tear_down),                                                \
        cmocka_unit_test_setup_teardown(test_figures_count_the_work, set_up_##kind, tear_down),    \
        cmocka_unit_test_setup_teardown(test_random_steps_agree_with_a_model, set_up_##kind,       \
                                        tear_down)

int main(void)
{
    const struct CMUnitTest memory[] = {SUITE(memory)};
    const struct CMUnitTest rocksdb[] = {SUITE(rocksdb)};
    int failures = cmocka_run_group_tests_name("engine_memory", memory, NULL, NULL);
    failures += cmocka_run_group_tests_name("engine_rocksdb", rocksdb, NULL, NULL);
    return failures;
}
