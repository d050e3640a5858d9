// link: coterie_store
/* RELIABILITY rule 38: recovery proves completeness: what it finds is held against a mark, outside
 * of RocksDB, of what was acknowledged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/store/store_fixture.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#define WRITES     200u
#define SLOT_BYTES 4096

static struct fixture fixture;

static int setup(void **state)
{
    (void)state;
    fixture_init(&fixture, ENGINE_ROCKSDB);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fixture_deinit(&fixture);
    return 0;
}

/* -- a process that acknowledges and is killed ------------------------------------------------- */

static void key_of(uint32_t number, char ret_key[16])
{
    snprintf(ret_key, 16, "%08u", number);
}

/* Writes and syncs one by one, then some that nobody is told of; then waits to be killed. */
static int child_main(const char *directory, int fd)
{
    snprintf(fixture.directory, sizeof fixture.directory, "%s", directory);
    fixture.kind = ENGINE_ROCKSDB;
    fixture.handle_count = 1;
    fixture.periodic_sync_ms = 3600000;
    fixture.memory_bytes = 16u << 20;
    pthread_mutex_init(&fixture.mutex, NULL);
    fixture_open(&fixture);
    struct store *store = fixture_store(&fixture, 0);
    for (uint32_t i = 0; i < WRITES; i++) {
        char key[16];
        key_of(i, key);
        CHECK(put(store, i % PARTITIONS, key, "a value of some length") == OK);
        CHECK(store_sync(store) == OK);
    }
    for (uint32_t i = 0; i < 10; i++) {
        CHECK(put(store, 1, "unacknowledged", "v") == OK);
        store_submit(store);
    }
    CHECK(write(fd, "x", 1) == 1);
    pause();
    return 1;
}

static void write_and_kill(void)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    char fd_text[16];
    snprintf(fd_text, sizeof fd_text, "%d", ends[1]);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        execl("/proc/self/exe", "test_mark", "--child", fixture.directory, fd_text, (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    char ready;
    ssize_t size = read(ends[0], &ready, 1);
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    close(ends[0]);
    assert_int_equal(size, 1);
}

static uint32_t acknowledged_missing(void)
{
    uint32_t missing = 0;
    for (uint32_t i = 0; i < WRITES; i++) {
        char key[16];
        key_of(i, key);
        missing +=
            !holds(fixture_store(&fixture, 0), i % PARTITIONS, key, "a value of some length");
    }
    return missing;
}

/* -- damage ------------------------------------------------------------------------------------ */

static void path_of(const char *name, char ret_path[600])
{
    snprintf(ret_path, 600, "%s/%s", fixture.directory, name);
}

/* The newest commit log that is not empty loses its last bytes. */
static void cut_log(off_t bytes)
{
    char newest[64] = "";
    char path[600];
    DIR *directory = opendir(fixture.directory);
    assert_non_null(directory);
    struct dirent *entry;
    struct stat status;
    while ((entry = readdir(directory)) != NULL) {
        size_t size = strlen(entry->d_name);
        path_of(entry->d_name, path);
        if (size > 4 && size < sizeof newest && strcmp(entry->d_name + size - 4, ".log") == 0 &&
            stat(path, &status) == 0 && status.st_size > 0 && strcmp(entry->d_name, newest) > 0)
            strcpy(newest, entry->d_name);
    }
    closedir(directory);
    assert_true(newest[0] != '\0');
    path_of(newest, path);
    assert_int_equal(stat(path, &status), 0);
    assert_true(status.st_size > bytes);
    assert_int_equal(truncate(path, status.st_size - bytes), 0);
}

static uint64_t slot_count(int slot)
{
    char path[600];
    uint64_t words[2] = {0};
    path_of("ack-mark", path);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, words, sizeof words, slot * SLOT_BYTES), sizeof words);
    close(fd);
    return words[1];
}

static void damage_slot(int slot)
{
    char path[600];
    path_of("ack-mark", path);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, "torn", 4, slot * SLOT_BYTES + 18), 4);
    close(fd);
}

/* -- tests ------------------------------------------------------------------------------------- */

/* A kill loses nothing that was acknowledged, and is no reason for doubt, whatever was under way.
 */
static void a_kill_is_no_loss(void **state)
{
    (void)state;
    for (int round = 0; round < 3; round++) {
        write_and_kill();
        fixture_open(&fixture);
        assert_false(engine_log_short(fixture.engine));
        assert_int_equal(acknowledged_missing(), 0);
        if (round == 1) /* a clean stop between */
            fixture_reopen(&fixture);
        assert_false(engine_log_short(fixture.engine));
        engine_close(fixture.engine);
        fixture.engine = NULL;
    }
}

/* The log's tail is gone: recovery itself is content, the mark is not. It stays short until
 * something was acknowledged after it, which is what the doubt is written with. */
static void a_cut_log_is_seen(void **state)
{
    (void)state;
    static const off_t cuts[] = {1, 7, 40, 500, 3000};
    for (size_t i = 0; i < ARRAY_COUNT(cuts); i++) {
        write_and_kill();
        cut_log(cuts[i] + 800); /* the unacknowledged ones first */
        fixture_open(&fixture);
        assert_true(engine_log_short(fixture.engine));
        assert_true(acknowledged_missing() > 0);
        fixture_reopen(&fixture);
        assert_true(engine_log_short(fixture.engine));
        assert_int_equal(put(fixture_store(&fixture, 0), 1, "doubt", "v"), OK);
        assert_int_equal(store_sync(fixture_store(&fixture, 0)), OK);
        fixture_reopen(&fixture);
        assert_false(engine_log_short(fixture.engine));
        fixture_deinit(&fixture);
        fixture_init(&fixture, ENGINE_ROCKSDB);
    }
}

/* A torn write of the mark costs one sync of knowledge; without any readable mark there is no
 * proof; without a mark at all there never was one. */
static void a_torn_mark(void **state)
{
    (void)state;
    write_and_kill();
    int newest = slot_count(0) > slot_count(1) ? 0 : 1;
    assert_int_equal(slot_count(newest), slot_count(1 - newest) + 1);
    damage_slot(newest);
    fixture_open(&fixture);
    assert_false(engine_log_short(fixture.engine));
    engine_close(fixture.engine);
    damage_slot(1 - newest);
    fixture_open(&fixture);
    assert_true(engine_log_short(fixture.engine));
    assert_int_equal(acknowledged_missing(), 0);
    engine_close(fixture.engine);
    char path[600];
    path_of("ack-mark", path);
    assert_int_equal(unlink(path), 0);
    fixture_open(&fixture);
    assert_false(engine_log_short(fixture.engine));
}

/* Dropped vnodes take their writes along, not the sequence: no doubt for that. */
static void drops_are_no_loss(void **state)
{
    (void)state;
    fixture_open(&fixture);
    for (uint32_t round = 0; round < 12; round++) {
        for (uint32_t i = 0; i < 50; i++) {
            char key[16];
            key_of(i, key);
            assert_int_equal(put(fixture_store(&fixture, 0), round % PARTITIONS, key, "v"), OK);
        }
        assert_int_equal(store_sync(fixture_store(&fixture, 0)), OK);
        assert_int_equal(store_drop(fixture_store(&fixture, 0), round % PARTITIONS), OK);
        fixture_reopen(&fixture);
        assert_false(engine_log_short(fixture.engine));
        fixture_reopen(&fixture);
        assert_false(engine_log_short(fixture.engine));
    }
}

/* RELIABILITY rule 37: the mark is no exception. */
static void a_failed_fsync_of_the_mark_is_final(void **state)
{
    (void)state;
    fixture_open(&fixture);
    disk_faults_set_sync_error("ack-mark");
    assert_int_equal(put(fixture_store(&fixture, 0), 1, "k", "v"), OK);
    assert_int_equal(store_sync(fixture_store(&fixture, 0)), OK); /* the log has it */
    WAIT_UNTIL(fixture_failures(&fixture) == 1);
    assert_non_null(strstr(fixture.why, "mark"));
    assert_int_equal(put(fixture_store(&fixture, 0), 1, "k", "v"), ERR_IO);
}

/* The simulator's disk: crashes of either kind keep what was acknowledged; one that lies is seen.
 */
static void memory_disks(void **state)
{
    (void)state;
    fixture_deinit(&fixture);
    fixture_init(&fixture, ENGINE_MEMORY);
    for (uint64_t seed = 0; seed < 400; seed++) {
        struct prng prng;
        prng_init(&prng, seed, 0);
        fixture_open(&fixture);
        uint32_t acknowledged = 0;
        for (uint32_t i = 0; i < 100; i++) {
            char key[16];
            key_of(i, key);
            assert_int_equal(put(fixture_store(&fixture, 0), i % 3, key, "v"), OK);
            if (prng_chance(&prng, 0.1)) {
                assert_int_equal(store_sync(fixture_store(&fixture, 0)), OK);
                acknowledged = i + 1;
            }
            if (prng_chance(&prng, 0.01))
                assert_int_equal(store_drop(fixture_store(&fixture, 0), 2), OK);
        }
        uint32_t lies = acknowledged == 0 ? 0 : (uint32_t)prng_below(&prng, 3);
        engine_memory_lie(fixture.engine, lies);
        engine_memory_crash(fixture.engine, seed % 2 == 0 ? CRASH_POWER : CRASH_PROCESS, &prng);
        fixture_open(&fixture);
        assert_int_equal(engine_log_short(fixture.engine), lies != 0);
        struct memory_disk *copy = memory_disk_copy(fixture.disk, fixture.engine);
        memory_disk_free(copy);
        fixture_reopen(&fixture);
        assert_false(engine_log_short(fixture.engine));
        engine_close(fixture.engine);
        fixture.engine = NULL;
        memory_disk_wipe(fixture.disk);
    }
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "--child") == 0)
        return child_main(argv[2], atoi(argv[3]));
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_kill_is_no_loss, setup, teardown),
        cmocka_unit_test_setup_teardown(a_cut_log_is_seen, setup, teardown),
        cmocka_unit_test_setup_teardown(a_torn_mark, setup, teardown),
        cmocka_unit_test_setup_teardown(drops_are_no_loss, setup, teardown),
        cmocka_unit_test_setup_teardown(a_failed_fsync_of_the_mark_is_final, setup, teardown),
        cmocka_unit_test_setup_teardown(memory_disks, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
