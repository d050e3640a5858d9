// link: coterie_store
/* What may befall the simulator's disk (DESIGN.md 11): copies, wipes and bit rot touch what is
 * durable and nothing else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "store/engine.h"

#include <stdlib.h>

#define PARTITIONS 4u

struct lab {
    struct memory_disk *disk;
    struct engine *engine;
    struct store *store;
    struct arena arena;
};

static struct engine *open_on(struct memory_disk *disk)
{
    struct engine_options options = {.handle_count = 1, .partitions = PARTITIONS};
    return engine_memory_open(&options, disk);
}

static int set_up(void **state)
{
    struct lab *lab = calloc(1, sizeof *lab);
    lab->disk = memory_disk_new();
    lab->engine = open_on(lab->disk);
    lab->store = engine_store(lab->engine, 0);
    arena_init(&lab->arena, NULL, 0);
    *state = lab;
    return 0;
}

static int tear_down(void **state)
{
    struct lab *lab = *state;
    if (lab->engine != NULL)
        engine_close(lab->engine);
    memory_disk_free(lab->disk);
    arena_deinit(&lab->arena);
    free(lab);
    return 0;
}

static void put(struct lab *lab, const char *key, const char *value)
{
    enum err err =
        store_put(lab->store, 1, bytes_of_string(key), bytes_of_string(value), STORE_SYNC_NOW);
    assert_int_equal(err, OK);
}

static void sync_all(struct lab *lab)
{
    engine_memory_sync(lab->engine, engine_memory_mark(lab->engine));
}

/* NULL: nothing must be there. */
static void assert_on(struct lab *lab, const struct memory_disk *disk, const char *key,
                      const char *value)
{
    struct bytes found = {0};
    enum err err = memory_disk_read(disk, 1, bytes_of_string(key), &lab->arena, &found);
    assert_int_equal(err, value == NULL ? ERR_NOT_FOUND : OK);
    if (value != NULL)
        assert_true(bytes_equal(found, bytes_of_string(value)));
}

static void assert_durable(struct lab *lab, const char *key, const char *value)
{
    struct bytes found = {0};
    enum err err =
        engine_memory_read_durable(lab->engine, 1, bytes_of_string(key), &lab->arena, &found);
    assert_int_equal(err, value == NULL ? ERR_NOT_FOUND : OK);
    if (value != NULL)
        assert_true(bytes_equal(found, bytes_of_string(value)));
}

static void a_copy_is_what_a_crash_would_leave(void **state)
{
    struct lab *lab = *state;
    put(lab, "a", "1");
    put(lab, "b", "1");
    sync_all(lab);
    put(lab, "a", "2");
    put(lab, "a", "3");
    put(lab, "c", "1");
    assert_int_equal(store_delete(lab->store, 1, bytes_of_string("b"), STORE_SYNC_NOW), OK);
    struct memory_disk *copy = memory_disk_copy(lab->disk, lab->engine);
    assert_on(lab, copy, "a", "1");
    assert_on(lab, copy, "b", "1");
    assert_on(lab, copy, "c", NULL);
    assert_durable(lab, "a", "1");
    assert_durable(lab, "b", "1");
    assert_durable(lab, "c", NULL);
    sync_all(lab);
    assert_durable(lab, "a", "3");
    assert_durable(lab, "b", NULL);
    assert_durable(lab, "c", "1");
    assert_on(lab, copy, "a", "1"); /* a copy does not follow */
    memory_disk_free(copy);
}

static void a_wiped_disk_is_empty_and_of_use(void **state)
{
    struct lab *lab = *state;
    put(lab, "a", "1");
    engine_close(lab->engine);
    struct memory_disk *copy = memory_disk_copy(lab->disk, NULL);
    memory_disk_wipe(lab->disk);
    assert_on(lab, lab->disk, "a", NULL);
    assert_on(lab, copy, "a", "1");
    memory_disk_free(copy);
    lab->engine = open_on(lab->disk);
    lab->store = engine_store(lab->engine, 0);
    put(lab, "a", "2");
    sync_all(lab);
    assert_durable(lab, "a", "2");
}

static void rot_turns_one_bit_of_what_is_durable(void **state)
{
    struct lab *lab = *state;
    struct bytes key = bytes_of_string("a");
    put(lab, "a", "@@");
    assert_false(engine_memory_damage(lab->engine, 1, key, 8));
    sync_all(lab);
    assert_true(engine_memory_damage(lab->engine, 1, key, 8));
    assert_durable(lab, "a", "@A");
    assert_true(engine_memory_damage(lab->engine, 1, key, 8 + 16)); /* round and round */
    assert_durable(lab, "a", "@@");
    assert_false(engine_memory_damage(lab->engine, 1, bytes_of_string("b"), 0));
    /* What replaces a damaged value goes as ever. */
    assert_true(engine_memory_damage(lab->engine, 1, key, 0));
    put(lab, "a", "new");
    sync_all(lab);
    assert_durable(lab, "a", "new");
}

static bool count_row(void *closure, struct bytes key, struct bytes value)
{
    (void)key;
    (void)value;
    ++*(uint32_t *)closure;
    return true;
}

static enum err scan(struct lab *lab, const char *from, uint32_t *ret_count)
{
    *ret_count = 0;
    return store_scan(engine_store(lab->engine, 0), 1, bytes_of_string(from), (struct bytes){0},
                      count_row, ret_count);
}

/* As a block of RocksDB that fails its checksum (test_rocksdb.c): reads in it and scans that come
 * to it are CORRUPT, those behind it are not, and a drop ends it. */
static void what_is_hidden_cannot_be_read(void **state)
{
    struct lab *lab = *state;
    struct store *store = engine_store(lab->engine, 0);
    struct bytes found;
    uint32_t count;
    assert_false(engine_memory_hide(lab->engine, 1, 0, 1)); /* there is nothing */
    put(lab, "aaaaaaaa", "v");
    put(lab, "bbbbbbbb1", "v");
    put(lab, "cccccccc", "v");
    assert_true(engine_memory_hide(lab->engine, 1, 0x6262626262626262, 0x6262626262626262));
    assert_true(engine_memory_hides(lab->engine));
    assert_int_equal(store_read(store, 1, bytes_of_string("bbbbbbbb1"), &lab->arena, &found),
                     ERR_CORRUPT);
    assert_int_equal(store_read(store, 1, bytes_of_string("bbbbbbbb2"), &lab->arena, &found),
                     ERR_CORRUPT);
    assert_int_equal(store_read(store, 1, bytes_of_string("cccccccc"), &lab->arena, &found), OK);
    assert_int_equal(scan(lab, "a", &count), ERR_CORRUPT);
    assert_int_equal(count, 1);
    assert_int_equal(scan(lab, "bbbbbbbb", &count), ERR_CORRUPT);
    assert_int_equal(scan(lab, "bbbbbbbc", &count), OK);
    assert_int_equal(count, 1);
    sync_all(lab);
    struct memory_disk *copy = memory_disk_copy(lab->disk, lab->engine);
    assert_int_equal(memory_disk_read(copy, 1, bytes_of_string("bbbbbbbb1"), &lab->arena, &found),
                     ERR_CORRUPT);
    memory_disk_free(copy);
    assert_int_equal(store_drop(store, 1), OK);
    assert_false(engine_memory_hides(lab->engine));
    assert_int_equal(scan(lab, "a", &count), OK);
    assert_int_equal(count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_copy_is_what_a_crash_would_leave, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_wiped_disk_is_empty_and_of_use, set_up, tear_down),
        cmocka_unit_test_setup_teardown(rot_turns_one_bit_of_what_is_durable, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_hidden_cannot_be_read, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
