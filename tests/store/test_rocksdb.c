// link: coterie_store
/* What only the real engine has: a directory that can be locked, full, damaged or someone else's; a
 * syncer thread; threads on its handles; stalls (store/engine.h, DESIGN.md 6). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/store/store_fixture.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/wait.h>

static struct fixture fixture;
static bool mounted; /* a tmpfs on fixture.parent */

static int set_up(void **state)
{
    (void)state;
    fixture_init(&fixture, ENGINE_ROCKSDB);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    if (mounted) {
        if (fixture.engine != NULL)
            engine_close(fixture.engine);
        fixture.engine = NULL;
        CHECK(umount(fixture.parent) == 0);
        mounted = false;
    }
    fixture_deinit(&fixture);
    return 0;
}

/* Opens what must not open; `why` has to name the thing. */
static void assert_refused(const struct engine_options *options, enum err expected,
                           const char *names)
{
    struct engine *engine = NULL;
    char why[512] = "";
    enum err err = engine_rocksdb_open(options, &engine, why, sizeof why);
    if (err != expected || strstr(why, names) == NULL)
        fail_msg("expected \"%s\" naming \"%s\", got \"%s\": %s", err_text(expected), names,
                 err_text(err), why);
    assert_null(engine);
}

/* -- the directory ---------------------------------------------------------------------------- */

static void test_a_directory_has_one_engine(void **state)
{
    (void)state;
    fixture_open(&fixture);
    struct engine_options options = fixture_options(&fixture);
    assert_refused(&options, ERR_DENIED, fixture.directory);
    assert_refused(&options, ERR_DENIED, "in use");
    assert_int_equal(put(fixture_store(&fixture, 0), 1, "k", "v"), OK); /* the first one goes on */
    assert_int_equal(store_sync(fixture_store(&fixture, 0)), OK);
}

static int lock_child_main(const char *directory, int fd)
{
    strcpy(fixture.directory, directory);
    fixture.kind = ENGINE_ROCKSDB;
    fixture.handle_count = 1;
    fixture.periodic_sync_ms = 100;
    fixture.memory_bytes = 16u << 20;
    pthread_mutex_init(&fixture.mutex, NULL);
    fixture_open(&fixture);
    CHECK(put(fixture_store(&fixture, 0), 1, "k", "v") == OK);
    CHECK(store_sync(fixture_store(&fixture, 0)) == OK);
    CHECK(write(fd, "x", 1) == 1);
    pause();
    return 1;
}

static void test_a_killed_process_leaves_no_lock(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    char fd_text[16];
    snprintf(fd_text, sizeof fd_text, "%d", ends[1]);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        execl("/proc/self/exe", "test_rocksdb", "--lock-child", fixture.directory, fd_text,
              (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    char ready;
    ssize_t size = read(ends[0], &ready, 1);
    struct engine_options options = fixture_options(&fixture);
    if (size == 1)
        assert_refused(&options, ERR_DENIED, "in use by another process");
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    close(ends[0]);
    assert_int_equal(size, 1);
    fixture_open(&fixture);
    assert_true(holds(fixture_store(&fixture, 0), 1, "k", "v"));
}

static void test_the_number_of_partitions_is_fixed(void **state)
{
    (void)state;
    fixture_open(&fixture);
    assert_int_equal(put(fixture_store(&fixture, 0), PARTITIONS - 1, "k", "v"), OK);
    engine_close(fixture.engine);
    fixture.engine = NULL;
    struct engine_options options = fixture_options(&fixture);
    options.partitions = 2 * PARTITIONS;
    assert_refused(&options, ERR_INVALID, "created with partitions 16, but 32");
    options.partitions = PARTITIONS / 2;
    assert_refused(&options, ERR_INVALID, "partition 15, but 8");
    fixture_open(&fixture); /* the right number still opens it */
    assert_true(holds(fixture_store(&fixture, 0), PARTITIONS - 1, "k", "v"));
}

static void test_a_bad_path_is_explained(void **state)
{
    (void)state;
    struct engine_options options = fixture_options(&fixture);
    char path[400];
    snprintf(path, sizeof path, "%s/absent/db", fixture.parent);
    options.directory = path;
    assert_refused(&options, ERR_IO, "create its parent");
    snprintf(path, sizeof path, "%s/file", fixture.parent);
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    close(fd);
    assert_refused(&options, ERR_IO, "is not a directory");
    if (geteuid() == 0)
        return; /* root may write everywhere */
    snprintf(path, sizeof path, "%s/closed", fixture.parent);
    assert_int_equal(mkdir(path, 0500), 0);
    assert_refused(&options, ERR_IO, "may not write");
}

/* Changes bytes of all large tables of the directory, but not the index at their ends, without
 * which they could not be opened. */
static size_t damage_tables(const char *directory)
{
    size_t damaged = 0;
    DIR *dir = opendir(directory);
    assert_non_null(dir);
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        size_t size = strlen(entry->d_name);
        struct stat status;
        if (size < 4 || strcmp(entry->d_name + size - 4, ".sst") != 0)
            continue;
        int fd = openat(dirfd(dir), entry->d_name, O_RDWR | O_CLOEXEC);
        assert_true(fd >= 0);
        assert_int_equal(fstat(fd, &status), 0);
        for (off_t at = 100; status.st_size > 100000 && at < status.st_size * 8 / 10; at += 512)
            assert_int_equal(pwrite(fd, "\xA5\x5A\xA5", 3, at), 3);
        close(fd);
        damaged += status.st_size > 100000;
    }
    closedir(dir);
    return damaged;
}

/* DESIGN.md 6: a block that fails its checksum is CORRUPT, never "not found" and never a value. A
 * scan that begins behind it goes on, and a drop needs none of the blocks (actors/replica_scan.c,
 * anti_entropy_give.c). */
static void test_damaged_blocks_are_corrupt(void **state)
{
    (void)state;
    fixture_open(&fixture);
    char key[16];
    char value[600];
    memset(value, 'v', sizeof value);
    value[sizeof value - 1] = '\0';
    for (int i = 0; i < 2000; i++) {
        snprintf(key, sizeof key, "%06d", i);
        assert_int_equal(put(fixture_store(&fixture, 0), 1, key, value), OK);
    }
    fixture_reopen(&fixture); /* recovery writes them to a table */
    engine_close(fixture.engine);
    fixture.engine = NULL;
    assert_int_not_equal(damage_tables(fixture.directory), 0);
    fixture_open(&fixture);
    struct store *store = fixture_store(&fixture, 0);
    struct arena arena;
    arena_init(&arena, NULL, 0);
    size_t corrupt = 0;
    for (int i = 0; i < 2000; i++) {
        struct bytes found = {0};
        snprintf(key, sizeof key, "%06d", i);
        enum err err = store_read(store, 1, bytes_of_string(key), &arena, &found);
        assert_true(err == ERR_CORRUPT ||
                    (err == OK && bytes_equal(found, bytes_of_string(value))));
        corrupt += err == ERR_CORRUPT;
    }
    assert_true(corrupt > 1000);
    uint64_t count = 0;
    assert_int_equal(
        store_scan(store, 1, (struct bytes){0}, (struct bytes){0}, count_visit, &count),
        ERR_CORRUPT);
    assert_true(holds(store, 2, "k", NULL));
    count = 0;
    assert_int_equal(
        store_scan(store, 1, bytes_of_string("001990"), (struct bytes){0}, count_visit, &count),
        OK);
    assert_int_equal(count, 10);
    assert_int_equal(store_drop(store, 1), OK);
    assert_int_equal(put(store, 1, "new", "row"), OK);
    for (int again = 0; again < 2; again++) {
        count = 0;
        assert_int_equal(
            store_scan(store, 1, (struct bytes){0}, (struct bytes){0}, count_visit, &count), OK);
        assert_int_equal(count, 1);
        assert_true(holds(store, 1, "new", "row"));
        assert_true(holds(store, 1, "000500", NULL));
        fixture_reopen(&fixture);
        store = fixture_store(&fixture, 0);
    }
    arena_deinit(&arena);
}

static void test_a_damaged_directory_is_explained(void **state)
{
    (void)state;
    fixture_open(&fixture);
    assert_int_equal(put(fixture_store(&fixture, 0), 1, "k", "v"), OK);
    engine_close(fixture.engine);
    fixture.engine = NULL;
    char path[400];
    snprintf(path, sizeof path, "%s/CURRENT", fixture.directory);
    assert_int_equal(truncate(path, 0), 0);
    struct engine_options options = fixture_options(&fixture);
    assert_refused(&options, ERR_CORRUPT, "restore it from a backup");
}

/* -- the syncer ------------------------------------------------------------------------------- */

static void test_now_is_synced_after_a_submit(void **state)
{
    (void)state;
    fixture_open(&fixture); /* the periodic sync is an hour away */
    struct store *store = fixture_store(&fixture, 1);
    for (int i = 0; i < 50; i++) {
        assert_int_equal(
            store_put(store, 1, bytes_of_string("k"), bytes_of_string("v"), STORE_SYNC_NOW), OK);
        store_submit(store);
        WAIT_UNTIL(fixture_committed(&fixture, 1) == store_staged(store));
        assert_int_equal(store_committed(store), store_staged(store));
    }
}

static void test_later_is_synced_with_the_period(void **state)
{
    (void)state;
    fixture.periodic_sync_ms = 20;
    fixture_open(&fixture);
    struct store *store = fixture_store(&fixture, 1);
    assert_int_equal(put(store, 1, "k", "v"), OK);
    store_submit(store);
    WAIT_UNTIL(fixture_committed(&fixture, 1) == 1);
    struct engine_figures figures;
    engine_figures(fixture.engine, &figures);
    assert_int_equal(figures.syncs, 1);
}

static _Atomic uint32_t threads_started;
static _Atomic uint32_t threads_stopping;

static void on_thread_started(void *host)
{
    (void)host;
    atomic_fetch_add(&threads_started, 1);
}

static void on_thread_stopping(void *host)
{
    (void)host;
    atomic_fetch_add(&threads_stopping, 1);
}

static void test_the_host_hears_of_the_syncers_thread(void **state)
{
    (void)state;
    struct engine_options options = fixture_options(&fixture);
    options.thread_started = on_thread_started;
    options.thread_stopping = on_thread_stopping;
    char why[512];
    struct engine *engine = NULL;
    assert_int_equal(engine_rocksdb_open(&options, &engine, why, sizeof why), OK);
    WAIT_UNTIL(atomic_load(&threads_started) == 1);
    assert_int_equal(atomic_load(&threads_stopping), 0);
    engine_close(engine);
    assert_int_equal(atomic_load(&threads_started), 1);
    assert_int_equal(atomic_load(&threads_stopping), 1);
}

/* -- threads ---------------------------------------------------------------------------------- */

enum { WORKERS = 4, WORKER_WRITES = 3000 };

struct worker {
    pthread_t thread;
    uint32_t handle;
    uint32_t errors;
};

/* Partitions w, w + WORKERS, ... belong to worker w; meta is shared, with keys of its own. */
static void *work(void *argument)
{
    struct worker *worker = argument;
    struct store *store = fixture_store(&fixture, worker->handle);
    for (uint32_t i = 0; i < WORKER_WRITES; i++) {
        uint32_t partition = worker->handle + WORKERS * (i % (PARTITIONS / WORKERS));
        char key[32];
        char value[32];
        snprintf(key, sizeof key, "%u-%u", worker->handle, i % 100);
        snprintf(value, sizeof value, "%u", i);
        enum err err = store_put(store, i % 10 == 0 ? STORE_META : partition, bytes_of_string(key),
                                 bytes_of_string(value), STORE_SYNC_NOW);
        worker->errors += err != OK;
        worker->errors += !holds(store, i % 10 == 0 ? STORE_META : partition, key, value);
        if (i % 1000 == 999)
            worker->errors += store_drop(store, partition) != OK;
        if (i % 16 == 15)
            store_submit(store);
    }
    store_submit(store);
    return NULL;
}

static void test_handles_work_on_threads_of_their_own(void **state)
{
    (void)state;
    fixture.handle_count = WORKERS;
    fixture_open(&fixture);
    struct worker workers[WORKERS] = {0};
    for (uint32_t i = 0; i < WORKERS; i++) {
        workers[i].handle = i;
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (int i = 0; i < 20; i++) {
        struct engine_figures figures;
        engine_figures(fixture.engine, &figures);
        usleep(5000);
    }
    for (uint32_t i = 0; i < WORKERS; i++)
        assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
    for (uint32_t i = 0; i < WORKERS; i++) {
        assert_int_equal(workers[i].errors, 0);
        WAIT_UNTIL(fixture_committed(&fixture, i) == WORKER_WRITES);
    }
    assert_false(fixture.descended);
    assert_int_equal(count_keys(fixture_store(&fixture, 0), STORE_META), 10 * WORKERS);
}

/* -- failures and stalls ---------------------------------------------------------------------- */

/* A write that fails in the middle of the log is final, as a failed sync is. */
static void test_a_failed_write_is_final(void **state)
{
    (void)state;
    fixture_open(&fixture);
    struct store *store = fixture_store(&fixture, 0);
    assert_int_equal(put(store, 1, "kept", "v"), OK);
    assert_int_equal(store_sync(store), OK);
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    struct rlimit small = {.rlim_cur = 256 * 1024, .rlim_max = before.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    static uint8_t value[100000];
    enum err err = OK;
    for (int i = 0; i < 20 && err == OK; i++)
        err = store_put(store, 1, bytes_of_string("large"), bytes_of(value, sizeof value),
                        STORE_SYNC_LATER);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(err, ERR_IO);
    assert_int_equal(fixture_failures(&fixture), 1);
    assert_int_equal(put(store, 1, "later", "v"), ERR_IO);
    assert_int_equal(store_sync(store), ERR_IO);
    assert_int_equal(fixture_failures(&fixture), 1);
    fixture_reopen(&fixture);
    assert_true(holds(fixture_store(&fixture, 0), 1, "kept", "v"));
    assert_true(holds(fixture_store(&fixture, 0), 1, "later", NULL));
}

static enum err put_kilobyte(struct store *store, uint32_t partition, uint32_t n)
{
    static uint8_t value[1024];
    char key[16];
    snprintf(key, sizeof key, "%08u", n);
    return store_put(store, partition, bytes_of_string(key), bytes_of(value, sizeof value),
                     STORE_SYNC_LATER);
}

/* Memtables cannot be flushed: writes are refused, none waits, reads go on; then all is well again.
 * One partition: RocksDB's own stall. All of them: the ceiling over their sum. */
static void stall_and_recover(uint32_t partitions)
{
    fixture.memory_bytes = 16u << 20;
    fixture.periodic_sync_ms = 10;
    fixture_open(&fixture);
    struct store *store = fixture_store(&fixture, 0);
    assert_int_equal(put_kilobyte(store, 0, 0), OK);
    disk_faults_set_sync_stall(".sst");
    uint32_t n = 1;
    enum err err = OK;
    while (err == OK && n < 64 * 1024) {
        err = put_kilobyte(store, n % partitions, n);
        n++;
        if (n % 64 == 0)
            usleep(8000); /* 8 MiB/s: the ceiling is looked at every 50 ms, or later */
    }
    if (err != ERR_OVERLOADED)
        fail_msg("%s after %u writes: %s", err_text(err), n, fixture.why);
    assert_in_range(n, 2 * 1024, 16 * 1024); /* KiB: the memtables' share is 8 MiB */
    uint64_t staged = store_staged(store);
    assert_int_equal(staged, n - 1);
    assert_true(holds(store, 0, "none", NULL));
    disk_faults_clear();
    WAIT_UNTIL(put_kilobyte(store, 0, 0) == OK);
    assert_int_equal(fixture_failures(&fixture), 0);
    struct engine_figures figures;
    engine_figures(fixture.engine, &figures);
    assert_true(figures.refused >= 1);
    assert_int_equal(store_sync(store), OK);
}

static void test_a_stalled_partition_refuses(void **state)
{
    (void)state;
    stall_and_recover(1);
}

static void test_memtables_have_one_ceiling(void **state)
{
    (void)state;
    stall_and_recover(PARTITIONS);
}

/* A file that leaves so much of its file system. */
static void leave_free(const char *path, uint64_t bytes)
{
    struct statvfs space;
    assert_int_equal(statvfs(fixture.parent, &space), 0);
    uint64_t free_bytes = (uint64_t)space.f_bavail * space.f_frsize;
    assert_true(free_bytes > bytes);
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    int error = posix_fallocate(fd, 0, (off_t)(free_bytes - bytes));
    close(fd);
    assert_int_equal(error, 0);
}

/* Below the floor of free space rows are refused before RocksDB can fail; what a node has to note
 * of its peers, and what gives space back, is not. */
static void test_a_full_disk_refuses(void **state)
{
    (void)state;
    fixture.memory_bytes = 8u << 20; /* the floor is as much */
    fixture.periodic_sync_ms = 10;
    if (mount("tmpfs", fixture.parent, "tmpfs", 0, "size=48m") != 0) {
        print_message("skipped: mounting a tmpfs is not permitted\n");
        skip();
    }
    mounted = true;
    fixture_open(&fixture);
    struct store *store = fixture_store(&fixture, 0);
    assert_int_equal(put(store, 1, "k", "v"), OK);
    assert_int_equal(put(store, STORE_HINTS, "delivered", "v"), OK);
    char path[400];
    snprintf(path, sizeof path, "%s/ballast", fixture.parent);
    leave_free(path, 4u << 20);
    WAIT_UNTIL(put(store, 1, "k", "w") == ERR_OVERLOADED);
    uint32_t partition = 2;
    assert_int_equal(engine_create_partitions(fixture.engine, &partition, 1), ERR_OVERLOADED);
    assert_int_equal(put(store, STORE_HINTS, "another", "v"), ERR_OVERLOADED);
    assert_int_equal(store_delete(store, STORE_HINTS, bytes_of_string("delivered"), STORE_SYNC_NOW),
                     OK);
    assert_int_equal(put(store, STORE_META, "peer", "v"), OK);
    assert_int_equal(store_sync(store), OK); /* what was staged still becomes durable */
    assert_true(holds(store, 1, "k", "w") || holds(store, 1, "k", "v"));
    assert_true(holds(store, STORE_META, "peer", "v"));
    assert_false(holds(store, STORE_HINTS, "delivered", "v"));
    assert_int_equal(unlink(path), 0);
    WAIT_UNTIL(put(store, 1, "k", "x") == OK);
    assert_int_equal(fixture_failures(&fixture), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "--lock-child") == 0)
        return lock_child_main(argv[2], atoi(argv[3]));
    const struct CMUnitTest tests[] = {
        TEST(test_a_directory_has_one_engine),
        TEST(test_a_killed_process_leaves_no_lock),
        TEST(test_the_number_of_partitions_is_fixed),
        TEST(test_a_bad_path_is_explained),
        TEST(test_damaged_blocks_are_corrupt),
        TEST(test_a_damaged_directory_is_explained),
        TEST(test_now_is_synced_after_a_submit),
        TEST(test_later_is_synced_with_the_period),
        TEST(test_the_host_hears_of_the_syncers_thread),
        TEST(test_handles_work_on_threads_of_their_own),
        TEST(test_a_failed_write_is_final),
        TEST(test_a_stalled_partition_refuses),
        TEST(test_memtables_have_one_ceiling),
        TEST(test_a_full_disk_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
