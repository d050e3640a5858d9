// link: coterie_store
/* A crash keeps a prefix of what was staged, never a gap, and at least what was reported committed
 * (DESIGN.md 6). The memory engine is crashed at every point; the real one is a child process that
 * gets SIGKILL, and every second time also loses what it had not synced, as in a power cut. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/store/store_fixture.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

static struct fixture fixture;

/* -- the workload: write n, for all n from 1, is known to parent and child -------------------- */

/* A handle stages a burst, submits it, and the next one has its turn: the order of the log is that
 * of submits. */
enum { WRITE_HANDLES = 2, WRITE_PARTITIONS = 5, WRITE_BURST = 6 };

static uint32_t write_handle(uint64_t n)
{
    return (uint32_t)(n / WRITE_BURST % WRITE_HANDLES);
}

static uint32_t write_partition(uint64_t n)
{
    return n % 11 == 0 ? STORE_META : (uint32_t)(n % WRITE_PARTITIONS);
}

/* Every seventh write deletes the key of the write before the last two; the others put their own.
 */
static bool write_is_delete(uint64_t n)
{
    return n % 7 == 0;
}

static uint64_t write_target(uint64_t n)
{
    return write_is_delete(n) ? n - 3 : n;
}

static bool present_after(uint64_t n, uint64_t last)
{
    return n <= last && !write_is_delete(n) && !(n + 3 <= last && write_is_delete(n + 3));
}

static size_t write_value(uint64_t n, uint8_t value[400])
{
    size_t size = 8 + n * 37 % 390;
    memset(value, (int)(n % 251), size);
    memcpy(value, &n, 8);
    return size;
}

static enum err stage_write(struct engine *engine, uint64_t n)
{
    char key[24];
    uint8_t value[400];
    uint64_t target = write_target(n);
    snprintf(key, sizeof key, "%012llu", (unsigned long long)target);
    struct store *store = engine_store(engine, write_handle(n));
    enum store_sync sync = n % 5 == 0 ? STORE_SYNC_NOW : STORE_SYNC_LATER;
    if (write_is_delete(n))
        return store_delete(store, write_partition(target), bytes_of_string(key), sync);
    size_t size = write_value(n, value);
    return store_put(store, write_partition(target), bytes_of_string(key), bytes_of(value, size),
                     sync);
}

/* -- what is found after the crash ------------------------------------------------------------ */

enum { WRITES_MAX = 1 << 20 };

struct found {
    bool present[WRITES_MAX];
    uint64_t last; /* the highest n that is present */
};

static bool find(void *closure, struct bytes key, struct bytes value)
{
    struct found *found = closure;
    CHECK_U64(key.size, ==, 12);
    char text[16] = "";
    memcpy(text, key.data, key.size);
    uint64_t n = strtoull(text, NULL, 10);
    CHECK_U64(n, <, WRITES_MAX);
    uint8_t expected[400];
    size_t size = write_value(n, expected);
    CHECK(bytes_equal(value, bytes_of(expected, size)));
    found->present[n] = true;
    if (n > found->last)
        found->last = n;
    return true;
}

static bool is_prefix(const struct found *found, uint64_t last)
{
    for (uint64_t n = 1; n < WRITES_MAX && n <= last + 8; n++) {
        if (found->present[n] != present_after(n, last))
            return false;
    }
    return true;
}

/* The length of the prefix that is there; fails when it is none. A delete of an absent key leaves
 * no trace, so the shortest prefix >= `least` that fits counts. */
static uint64_t found_prefix(struct engine *engine, uint64_t least)
{
    struct found *found = calloc(1, sizeof *found);
    assert_non_null(found);
    struct store *store = engine_store(engine, 0);
    struct bytes all = {0};
    for (uint32_t p = 0; p < WRITE_PARTITIONS; p++)
        assert_int_equal(store_scan(store, p, all, all, find, found), OK);
    assert_int_equal(store_scan(store, STORE_META, all, all, find, found), OK);
    uint64_t last = found->last > least ? found->last : least;
    uint64_t end = last + 8;
    while (last <= end && !is_prefix(found, last))
        last++;
    free(found);
    if (last > end)
        fail_msg("what is there is not a prefix of at least %llu writes",
                 (unsigned long long)least);
    return last;
}

/* -- the memory engine ------------------------------------------------------------------------ */

static struct engine_options memory_options(void)
{
    return (struct engine_options){.handle_count = WRITE_HANDLES, .partitions = WRITE_PARTITIONS};
}

/* Of n writes with the first `synced` durable, every prefix from there on is left by some crash. */
static void crash_memory_at_all_prefixes(enum crash_kind kind, uint64_t count, uint64_t synced)
{
    bool seen[64] = {false};
    struct engine_options options = memory_options();
    for (uint64_t seed = 0; seed < 600; seed++) {
        struct prng prng;
        prng_init(&prng, seed, 0);
        struct memory_disk *disk = memory_disk_new();
        struct engine *engine = engine_memory_open(&options, disk);
        uint64_t mark = 0;
        for (uint64_t n = 1; n <= count; n++) {
            assert_int_equal(stage_write(engine, n), OK);
            if (n == synced)
                mark = engine_memory_mark(engine);
        }
        engine_memory_sync(engine, mark);
        engine_memory_crash(engine, kind, &prng);
        engine = engine_memory_open(&options, disk);
        uint64_t kept = found_prefix(engine, synced);
        assert_true(kept >= synced && kept <= count);
        seen[kept] = true;
        engine_close(engine);
        memory_disk_free(disk);
    }
    for (uint64_t n = synced; n <= count; n++)
        assert_true(seen[n]);
}

static void test_memory_crash_leaves_each_prefix(void **state)
{
    (void)state;
    crash_memory_at_all_prefixes(CRASH_PROCESS, 20, 0);
    crash_memory_at_all_prefixes(CRASH_PROCESS, 20, 9);
    crash_memory_at_all_prefixes(CRASH_POWER, 20, 0);
    crash_memory_at_all_prefixes(CRASH_POWER, 20, 9);
    crash_memory_at_all_prefixes(CRASH_POWER, 14, 14);
}

/* The same seed leaves the same disk, also over several lives of it. */
static uint64_t lives_of_a_disk(uint64_t seed)
{
    struct engine_options options = memory_options();
    struct prng prng;
    prng_init(&prng, seed, 0);
    struct memory_disk *disk = memory_disk_new();
    uint64_t last = 0;
    uint64_t trace = 0;
    for (int life = 0; life < 30; life++) {
        struct engine *engine = engine_memory_open(&options, disk);
        uint64_t durable = last;
        for (uint64_t n = 0; n < 10; n++) {
            assert_int_equal(stage_write(engine, ++last), OK);
            if (prng_chance(&prng, 0.1)) {
                engine_memory_sync(engine, engine_memory_mark(engine));
                durable = last;
            }
        }
        engine_memory_crash(engine, life % 2 == 0 ? CRASH_PROCESS : CRASH_POWER, &prng);
        engine = engine_memory_open(&options, disk);
        last = found_prefix(engine, durable);
        trace = trace * 31 + last;
        engine_close(engine);
    }
    memory_disk_free(disk);
    return trace;
}

static void test_memory_crashes_are_reproducible(void **state)
{
    (void)state;
    assert_int_equal(lives_of_a_disk(1), lives_of_a_disk(1));
    assert_int_not_equal(lives_of_a_disk(1), lives_of_a_disk(2));
}

/* A drop is in the log like any write: a crash takes it back, unless something behind it is there.
 */
static void test_memory_drop_is_a_fence(void **state)
{
    (void)state;
    struct engine_options options = memory_options();
    uint32_t undone = 0;
    uint32_t kept = 0;
    for (uint64_t seed = 0; seed < 50; seed++) {
        struct prng prng;
        prng_init(&prng, seed, 0);
        struct memory_disk *disk = memory_disk_new();
        struct engine *engine = engine_memory_open(&options, disk);
        struct store *store = engine_store(engine, 0);
        assert_int_equal(put(store, 1, "old", "synced"), OK);
        assert_int_equal(store_sync(store), OK);
        assert_int_equal(put(store, 1, "old2", "staged"), OK);
        assert_int_equal(put(store, 2, "other", "staged"), OK);
        assert_int_equal(store_drop(store, 1), OK);
        assert_true(holds(store, 1, "old", NULL));
        assert_true(holds(store, 1, "old2", NULL));
        assert_int_equal(put(store, 1, "new", "staged"), OK);
        if (seed % 2 == 1)
            assert_int_equal(store_sync(store), OK);
        engine_memory_crash(engine, CRASH_POWER, &prng);
        engine = engine_memory_open(&options, disk);
        store = engine_store(engine, 0);
        bool fenced = holds(store, 1, "new", "staged");
        assert_true(fenced || seed % 2 == 0);
        if (fenced) {
            assert_true(holds(store, 1, "old", NULL));
            assert_true(holds(store, 1, "old2", NULL));
            assert_true(holds(store, 2, "other", "staged"));
        }
        undone += holds(store, 1, "old", "synced");
        kept += holds(store, 1, "old", NULL);
        engine_close(engine);
        memory_disk_free(disk);
    }
    assert_true(undone > 5 && kept > 5);
}

static void test_memory_faults_fire(void **state)
{
    (void)state;
    struct engine_options options = memory_options();
    struct prng prng;
    prng_init(&prng, 3, 0);
    struct memory_disk *disk = memory_disk_new();
    struct engine *engine = engine_memory_open(&options, disk);
    struct store *store = engine_store(engine, 0);
    struct arena arena;
    arena_init(&arena, NULL, 0);
    assert_int_equal(put(store, 1, "k", "v"), OK);
    assert_false(engine_memory_wants_sync(engine));
    engine_memory_set_faults(engine, &prng, 0.3, 0.2, false);
    uint32_t read_errors = 0;
    uint32_t refused = 0;
    for (int i = 0; i < 1000; i++) {
        struct bytes value;
        enum err err = store_read(store, 1, bytes_of_string("k"), &arena, &value);
        assert_true(err == OK || err == ERR_IO);
        read_errors += err == ERR_IO;
        err = store_put(store, 1, bytes_of_string("k"), bytes_of_string("v"), STORE_SYNC_NOW);
        assert_true(err == OK || err == ERR_OVERLOADED);
        refused += err == ERR_OVERLOADED;
    }
    assert_in_range(read_errors, 200, 400);
    assert_in_range(refused, 120, 280);
    assert_int_equal(store_staged(store), 1001 - refused);
    assert_true(engine_memory_wants_sync(engine));
    engine_memory_sync(engine, engine_memory_mark(engine));
    assert_false(engine_memory_wants_sync(engine));
    struct engine_figures figures;
    engine_figures(engine, &figures);
    assert_int_equal(figures.refused, refused);
    arena_deinit(&arena);
    engine_close(engine);
    memory_disk_free(disk);
}

/* -- the real engine: the child --------------------------------------------------------------- */

/* One line of news from the child, written to the pipe in one piece. */
struct news {
    enum { NEWS_COMMITTED, NEWS_SYNCED, NEWS_SYNCING } kind;
    uint32_t handle;
    uint64_t sequence; /* COMMITTED */
    uint64_t inode;    /* SYNCED: this file, */
    uint64_t size;     /* up to here */
};

struct synced_file {
    uint64_t inode;
    uint64_t size;
};

struct synced_files {
    size_t count;
    struct synced_file files[4096];
};

static struct synced_file *synced_file(struct synced_files *files, uint64_t inode)
{
    size_t i = 0;
    while (i < files->count && files->files[i].inode != inode)
        i++;
    CHECK_U64(i, <, ARRAY_COUNT(files->files));
    if (i == files->count)
        files->files[files->count++] = (struct synced_file){.inode = inode};
    return &files->files[i];
}

enum { CHILD_MEMORY_BYTES = 8 << 20, ROUNDS = 30 };

static int news_fd = -1;

/* Of a child that loses power. */
static struct {
    pthread_mutex_t mutex; /* of the files: syncs come from several threads */
    struct synced_files files;
    uint64_t after_ms; /* of its first commit, by the clock */
    _Atomic uint64_t at_ms;
} child_cut = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static void tell(struct news news)
{
    CHECK(write(news_fd, &news, sizeof news) == (ssize_t)sizeof news);
}

static void child_committed(void *host, uint32_t handle, uint64_t sequence)
{
    (void)host;
    uint64_t none = 0;
    tell((struct news){.kind = NEWS_COMMITTED, .handle = handle, .sequence = sequence});
    atomic_compare_exchange_strong(&child_cut.at_ms, &none, test_now_ms() + child_cut.after_ms);
}

/* The power goes in the middle of a sync, which has something to do: this one does not end. */
static void child_syncing(ino_t inode, off_t size)
{
    uint64_t at_ms = atomic_load(&child_cut.at_ms);
    pthread_mutex_lock(&child_cut.mutex);
    bool unsynced = (uint64_t)size > synced_file(&child_cut.files, inode)->size;
    pthread_mutex_unlock(&child_cut.mutex);
    if (!unsynced || at_ms == 0 || test_now_ms() < at_ms)
        return;
    tell((struct news){.kind = NEWS_SYNCING});
    for (;;)
        pause();
}

static void child_synced(ino_t inode, off_t size)
{
    pthread_mutex_lock(&child_cut.mutex);
    synced_file(&child_cut.files, inode)->size = (uint64_t)size;
    pthread_mutex_unlock(&child_cut.mutex);
    tell((struct news){.kind = NEWS_SYNCED, .inode = inode, .size = (uint64_t)size});
}

static void child_failed(void *host, const char *why)
{
    (void)host;
    fprintf(stderr, "child: %s\n", why);
    abort();
}

static struct engine *open_real(const char *directory, bool in_child)
{
    struct engine_options options = {.directory = directory,
                                     .handle_count = WRITE_HANDLES,
                                     .partitions = WRITE_PARTITIONS,
                                     .memory_bytes = CHILD_MEMORY_BYTES,
                                     .periodic_sync_ms = 10,
                                     .committed = in_child ? child_committed : NULL,
                                     .failed = child_failed};
    struct engine *engine = NULL;
    char why[512] = "";
    if (engine_rocksdb_open(&options, &engine, why, sizeof why) != OK) {
        fprintf(stderr, "open: %s\n", why);
        abort();
    }
    return engine;
}

/* Writes first, first + 1, ... until it is killed. */
static int child_main(const char *directory, uint64_t first, int fd, bool loses_power,
                      uint64_t after_ms)
{
    news_fd = fd;
    child_cut.after_ms = after_ms;
    if (loses_power) { /* on a slow disk, so that much is written while a sync is under way */
        atomic_store(&disk_faults_log_delay_us, 4000);
        disk_faults_syncing = child_syncing;
    }
    disk_faults_synced = child_synced;
    struct engine *engine = open_real(directory, true);
    for (uint64_t n = first; n < WRITES_MAX; n++) {
        enum err err;
        while ((err = stage_write(engine, n)) == ERR_OVERLOADED)
            usleep(500);
        CHECK(err == OK);
        if (n % WRITE_BURST == WRITE_BURST - 1)
            store_submit(engine_store(engine, write_handle(n)));
        if (n % 64 == 0)
            usleep(200);
    }
    pause();
    return 1;
}

/* -- the real engine: the parent -------------------------------------------------------------- */

struct life {
    uint64_t first;                    /* its first write */
    uint64_t committed[WRITE_HANDLES]; /* sequences */
    struct synced_files files;
};

static void hear(struct life *life, const struct news *news)
{
    if (news->kind == NEWS_COMMITTED) {
        assert_true(news->sequence > life->committed[news->handle]);
        life->committed[news->handle] = news->sequence;
        return;
    }
    if (news->kind == NEWS_SYNCED)
        synced_file(&life->files, news->inode)->size = news->size;
}

/* The n of the last write that is reported committed: a handle's sequences count its own writes. */
static uint64_t last_committed(const struct life *life)
{
    uint64_t last = life->first - 1;
    uint64_t counted[WRITE_HANDLES] = {0};
    for (uint64_t n = life->first; n < WRITES_MAX; n++) {
        uint32_t handle = write_handle(n);
        if (++counted[handle] <= life->committed[handle])
            last = n;
    }
    return last;
}

static pid_t start_child(const char *directory, uint64_t first, bool loses_power, uint64_t after_ms,
                         int *ret_fd)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    char first_text[24];
    char fd_text[16];
    char after_text[24];
    snprintf(first_text, sizeof first_text, "%llu", (unsigned long long)first);
    snprintf(after_text, sizeof after_text, "%llu", (unsigned long long)after_ms);
    snprintf(fd_text, sizeof fd_text, "%d", ends[1]);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close(ends[0]);
        execl("/proc/self/exe", "test_crash", "--child", directory, first_text, fd_text,
              loses_power ? "1" : "0", after_text, (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    *ret_fd = ends[0];
    return pid;
}

/* Runs a child, kills it `after_ms` after its first commit, in the middle of a sync when it loses
 * its power; hears all that it had said. */
static void live(const char *directory, struct life *life, bool loses_power, uint64_t after_ms)
{
    int fd;
    pid_t pid = start_child(directory, life->first, loses_power, after_ms, &fd);
    uint64_t kill_at_ms = 0;
    bool killed = false;
    struct news news;
    size_t have = 0;
    for (;;) {
        ssize_t size = read(fd, (char *)&news + have, sizeof news - have);
        assert_true(size >= 0);
        if (size == 0)
            break;
        have += (size_t)size;
        if (have < sizeof news)
            continue;
        have = 0;
        hear(life, &news);
        if (kill_at_ms == 0 && news.kind == NEWS_COMMITTED)
            kill_at_ms = test_now_ms() + after_ms;
        bool due = loses_power ? news.kind == NEWS_SYNCING
                               : kill_at_ms != 0 && test_now_ms() >= kill_at_ms;
        if (!killed && due) {
            kill(pid, SIGKILL);
            killed = true;
        }
    }
    close(fd);
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(killed);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* What a power cut does to the commit logs: they end where their last fsync began. */
static uint64_t cut_power(const char *directory, struct life *life)
{
    uint64_t cut_bytes = 0;
    DIR *dir = opendir(directory);
    assert_non_null(dir);
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        const char *suffix = strrchr(entry->d_name, '.');
        struct stat status;
        if (suffix == NULL || strcmp(suffix, ".log") != 0)
            continue;
        assert_int_equal(fstatat(dirfd(dir), entry->d_name, &status, 0), 0);
        uint64_t size = synced_file(&life->files, status.st_ino)->size;
        if ((uint64_t)status.st_size <= size)
            continue;
        cut_bytes += (uint64_t)status.st_size - size;
        int fd = openat(dirfd(dir), entry->d_name, O_WRONLY | O_CLOEXEC);
        assert_true(fd >= 0);
        assert_int_equal(ftruncate(fd, (off_t)size), 0);
        close(fd);
    }
    closedir(dir);
    return cut_bytes;
}

static void test_rocksdb_keeps_a_prefix_with_all_that_was_committed(void **state)
{
    (void)state;
    fixture_init(&fixture, ENGINE_ROCKSDB);
    struct prng prng;
    prng_init(&prng, (uint64_t)test_now_ms(), 0);
    struct life *life = malloc(sizeof *life);
    assert_non_null(life);
    uint64_t last = 0;
    uint64_t cut_bytes = 0;
    uint64_t uncommitted_kept = 0;
    for (int round = 0; round < ROUNDS; round++) {
        *life = (struct life){.first = last + 1};
        bool loses_power = round % 2 == 1;
        live(fixture.directory, life, loses_power, prng_below(&prng, 60));
        if (loses_power) {
            uint64_t cut = cut_power(fixture.directory, life);
            assert_true(cut > 0);
            cut_bytes += cut;
        }
        uint64_t committed = last_committed(life);
        struct engine *engine = open_real(fixture.directory, false);
        last = found_prefix(engine, committed);
        uncommitted_kept += last - committed;
        engine_close(engine);
    }
    print_message(
        "%d rounds, %llu writes kept, %llu of them had not been reported; power cuts took "
        "%llu bytes of log\n",
        ROUNDS, (unsigned long long)last, (unsigned long long)uncommitted_kept,
        (unsigned long long)cut_bytes);
    free(life);
    fixture_deinit(&fixture);
}

/* -- a dropped partition stays dropped -------------------------------------------------------- */

static int drop_child_main(const char *directory, int fd)
{
    news_fd = fd;
    struct engine *engine = open_real(directory, true);
    struct store *store = engine_store(engine, 0);
    char key[24];
    for (int i = 0; i < 500; i++) {
        snprintf(key, sizeof key, "old%d", i);
        CHECK(put(store, 1, key, "old") == OK);
        CHECK(put(store, 2, key, "other") == OK);
    }
    CHECK(store_drop(store, 1) == OK); /* its writes are in the log, mostly not on disk */
    CHECK(put(store, 1, "new", "v") == OK);
    CHECK(store_sync(store) == OK);
    tell((struct news){.kind = NEWS_COMMITTED, .handle = 1, .sequence = 1});
    pause();
    return 1;
}

static void test_rocksdb_drop_is_a_fence(void **state)
{
    (void)state;
    fixture_init(&fixture, ENGINE_ROCKSDB);
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    char fd_text[16];
    snprintf(fd_text, sizeof fd_text, "%d", ends[1]);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        execl("/proc/self/exe", "test_crash", "--drop-child", fixture.directory, fd_text,
              (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    struct news news = {0};
    while (news.handle != 1)
        assert_int_equal(read(ends[0], &news, sizeof news), sizeof news);
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    close(ends[0]);
    struct engine *engine = open_real(fixture.directory, false);
    struct store *store = engine_store(engine, 0);
    assert_int_equal(count_keys(store, 1), 1);
    assert_true(holds(store, 1, "new", "v"));
    assert_int_equal(count_keys(store, 2), 500);
    engine_close(engine);
    fixture_deinit(&fixture);
}

int main(int argc, char **argv)
{
    if (argc == 7 && strcmp(argv[1], "--child") == 0)
        return child_main(argv[2], strtoull(argv[3], NULL, 10), atoi(argv[4]), atoi(argv[5]) != 0,
                          strtoull(argv[6], NULL, 10));
    if (argc == 4 && strcmp(argv[1], "--drop-child") == 0)
        return drop_child_main(argv[2], atoi(argv[3]));
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory_crash_leaves_each_prefix),
        cmocka_unit_test(test_memory_crashes_are_reproducible),
        cmocka_unit_test(test_memory_drop_is_a_fence),
        cmocka_unit_test(test_memory_faults_fire),
        cmocka_unit_test(test_rocksdb_keeps_a_prefix_with_all_that_was_committed),
        cmocka_unit_test(test_rocksdb_drop_is_a_fence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
