// link: coterie_store
/* Rule: what is deleted becomes free space by itself, without another write to push it (DESIGN.md
 * 5, 6: "space is given back"). Real time: the engine looks once a second. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/store/store_fixture.h"

#include <dirent.h>
#include <sys/stat.h>

enum { ROWS = 40000, VALUE_BYTES = 200, PARTITION = 3 };

static struct fixture fixture;

static int set_up(void **state)
{
    (void)state;
    fixture_init(&fixture, ENGINE_ROCKSDB);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fixture_deinit(&fixture);
    return 0;
}

static uint64_t sst_bytes(void)
{
    uint64_t bytes = 0;
    DIR *dir = opendir(fixture.directory);
    assert_non_null(dir);
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        const char *suffix = strrchr(entry->d_name, '.');
        struct stat status;
        if (suffix != NULL && strcmp(suffix, ".sst") == 0 &&
            fstatat(dirfd(dir), entry->d_name, &status, 0) == 0)
            bytes += (uint64_t)status.st_size;
    }
    closedir(dir);
    return bytes;
}

/* Noise, so that it does not compress. */
static void load(struct store *store, int rows)
{
    uint32_t noise = 1;
    for (int i = 0; i < rows; i++) {
        char key[16];
        uint8_t value[VALUE_BYTES];
        for (size_t k = 0; k < sizeof value; k++) {
            noise = noise * 1664525u + 1013904223u;
            value[k] = (uint8_t)(noise >> 24);
        }
        snprintf(key, sizeof key, "key-%06d", i);
        enum err err;
        do {
            err = store_put(store, PARTITION, bytes_of_string(key), bytes_of(value, sizeof value),
                            STORE_SYNC_NOW);
            store_submit(store);
        } while (err == ERR_OVERLOADED);
        assert_int_equal(err, OK);
    }
    assert_int_equal(store_sync(store), OK);
}

static void erase(struct store *store, int first, int end)
{
    for (int i = first; i < end; i++) {
        char key[16];
        snprintf(key, sizeof key, "key-%06d", i);
        enum err err;
        do {
            err = store_delete(store, PARTITION, bytes_of_string(key), STORE_SYNC_NOW);
            store_submit(store);
        } while (err == ERR_OVERLOADED);
        assert_int_equal(err, OK);
    }
    assert_int_equal(store_sync(store), OK);
}

static uint64_t compactions(void)
{
    struct engine_figures figures;
    engine_figures(fixture.engine, &figures);
    return figures.compactions_for_space;
}

static void deletions_become_space(void **state)
{
    (void)state;
    fixture.memory_bytes = 8u << 20; /* small memtables: most rows reach a table */
    fixture_open(&fixture);
    struct store *store = fixture_store(&fixture, 0);
    load(store, ROWS);
    erase(store, 0, 1); /* too few to do anything about */
    WAIT_UNTIL(sst_bytes() > (uint64_t)ROWS * VALUE_BYTES / 2);
    uint64_t before = sst_bytes();
    erase(store, 1, ROWS * 9 / 10);
    uint64_t kept = (uint64_t)ROWS / 10 * (VALUE_BYTES + 20);
    for (int i = 0; i < 900 && (compactions() == 0 || sst_bytes() > kept * 3 / 2); i++)
        usleep(100000);
    assert_true(compactions() >= 1);
    if (sst_bytes() > kept * 3 / 2)
        fail_msg("%llu bytes before, %llu after nine tenths were deleted",
                 (unsigned long long)before, (unsigned long long)sst_bytes());
    struct arena arena;
    struct bytes value;
    arena_init(&arena, NULL, 0);
    assert_int_equal(store_read(store, PARTITION, bytes_of_string("key-039999"), &arena, &value),
                     OK);
    assert_int_equal(store_read(store, PARTITION, bytes_of_string("key-000007"), &arena, &value),
                     ERR_NOT_FOUND);
    arena_deinit(&arena);
}

static int count_rows(struct store *store)
{
    int rows = 0;
    struct arena arena;
    arena_init(&arena, NULL, 0);
    for (int i = 0; i < ROWS; i++) {
        char key[16];
        struct bytes value;
        snprintf(key, sizeof key, "key-%06d", i);
        enum err err = store_read(store, PARTITION, bytes_of_string(key), &arena, &value);
        assert_true(err == OK || err == ERR_NOT_FOUND);
        rows += err == OK;
        arena_clear(&arena);
    }
    arena_deinit(&arena);
    return rows;
}

static void wait_for_space(uint64_t most)
{
    for (int i = 0; i < 900 && sst_bytes() > most; i++)
        usleep(100000);
    if (sst_bytes() > most)
        fail_msg("%llu bytes are left, not %llu", (unsigned long long)sst_bytes(),
                 (unsigned long long)most);
}

/* A dropped vnode takes no space soon after. What is written to it afterwards stays, whether the
 * space of what was there before has been given back by then or not. */
static void drops_become_space(void **state)
{
    (void)state;
    fixture.memory_bytes = 8u << 20;
    fixture_open(&fixture);
    struct store *store = fixture_store(&fixture, 0);
    uint64_t all = (uint64_t)ROWS * VALUE_BYTES;
    for (int round = 0; round < 2; round++) {
        load(store, ROWS);
        WAIT_UNTIL(sst_bytes() > all / 2);
        assert_int_equal(store_drop(store, PARTITION), OK);
        assert_int_equal(count_rows(store), 0);
        assert_int_equal(store_bytes(store, PARTITION), 0);
        if (round == 0)
            wait_for_space(all / 100);
        load(store, ROWS / 10);
        assert_int_equal(count_rows(store), ROWS / 10);
        assert_true(store_bytes(store, PARTITION) > all / 20);
        wait_for_space(all / 5);
        assert_int_equal(count_rows(store), ROWS / 10);
    }
    fixture_reopen(&fixture);
    assert_int_equal(count_rows(fixture_store(&fixture, 0)), ROWS / 10);
}

/* A vnode is dropped, or the engine closed, while its space is being given back: neither waits for
 * long nor falls over. */
static void drops_and_closes_break_it_off(void **state)
{
    (void)state;
    fixture.memory_bytes = 8u << 20;
    fixture_open(&fixture);
    struct store *store = fixture_store(&fixture, 0);
    for (int round = 0; round < 3; round++) {
        load(store, ROWS / 4);
        erase(store, 0, ROWS / 5);
        usleep(3300000u + 150000u * (unsigned)round); /* about when it begins */
        assert_int_equal(store_drop(store, PARTITION), OK);
        store_submit(store);
    }
    load(store, ROWS / 4);
    erase(store, 0, ROWS / 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(deletions_become_space, set_up, tear_down),
        cmocka_unit_test_setup_teardown(drops_become_space, set_up, tear_down),
        cmocka_unit_test_setup_teardown(drops_and_closes_break_it_off, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
