// link: coterie_store
/* The limits that the node promises of its store: resident memory under the configured ceiling + 64
 * MiB with 1,000,000 keys of 100 B, open again under 5 s after kill -9, an idle store small enough
 * for an idle node of 64 MiB. Each is measured in a process of its own. Times are those of its
 * threads on the processor, all together: what else runs on the machine is not in them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/store/store_fixture.h"

#include <signal.h>
#include <sys/wait.h>

#define MIB (1024ull * 1024)

enum {
    Q = 64,
    KEYS = 1000000,
    KEY_BYTES = 24,
    VALUE_BYTES = 100,
    MEMORY_MIB = 256,
    READS = 200000
};

/* What a child says of itself, in one piece. */
struct measure {
    uint64_t open_ms;
    uint64_t open_cpu_ms;
    uint64_t work_cpu_ms;
    uint64_t resident_mib;     /* when it says it */
    uint64_t resident_max_mib; /* since it started */
    uint64_t opened_mib;       /* just after opening */
    uint64_t refused;
    uint64_t read; /* keys that were there */
};

static uint64_t status_mib(const char *field)
{
    FILE *file = fopen("/proc/self/status", "re");
    CHECK(file != NULL);
    char line[256];
    unsigned long long kib = 0;
    while (fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, field, strlen(field)) == 0)
            kib = strtoull(line + strlen(field) + 1, NULL, 10);
    }
    fclose(file);
    return kib / 1024;
}

static uint64_t cpu_ms(void)
{
    struct timespec time;
    CHECK(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time) == 0);
    return (uint64_t)time.tv_sec * 1000 + (uint64_t)time.tv_nsec / 1000000;
}

static void child_failed(void *host, const char *why)
{
    (void)host;
    fprintf(stderr, "child: %s\n", why);
    abort();
}

static struct engine *child_open(const char *directory, struct measure *measure)
{
    struct engine_options options = {.directory = directory,
                                     .handle_count = 2,
                                     .partitions = Q,
                                     .memory_bytes = MEMORY_MIB * MIB,
                                     .periodic_sync_ms = 100,
                                     .failed = child_failed};
    struct engine *engine = NULL;
    char why[512];
    uint64_t began_ms = test_now_ms();
    uint64_t cpu_before_ms = cpu_ms();
    if (engine_rocksdb_open(&options, &engine, why, sizeof why) != OK)
        child_failed(NULL, why);
    measure->open_ms = test_now_ms() - began_ms;
    measure->open_cpu_ms = cpu_ms() - cpu_before_ms;
    measure->opened_mib = status_mib("VmRSS");
    return engine;
}

static uint32_t key_of(uint64_t number, char key[KEY_BYTES + 1])
{
    uint64_t hash = number * 0x9E3779B97F4A7C15u;
    snprintf(key, KEY_BYTES + 1, "%016llx%08llu", (unsigned long long)hash,
             (unsigned long long)number);
    return (uint32_t)(hash >> 58);
}

static void fill(struct engine *engine)
{
    struct store *store = engine_store(engine, 0);
    struct prng prng;
    prng_init(&prng, 1, 0);
    char key[KEY_BYTES + 1];
    uint64_t value[VALUE_BYTES / 8 + 1];
    for (uint64_t n = 0; n < KEYS; n++) {
        uint32_t partition = key_of(n, key);
        for (size_t i = 0; i < ARRAY_COUNT(value); i++)
            value[i] = prng_u64(&prng);
        enum err err;
        while ((err = store_put(store, partition, bytes_of(key, KEY_BYTES),
                                bytes_of(value, VALUE_BYTES), STORE_SYNC_NOW)) == ERR_OVERLOADED)
            usleep(1000);
        CHECK(err == OK);
        if (n % 16 == 15)
            store_submit(store);
    }
    CHECK(store_sync(store) == OK);
}

static uint64_t read_some(struct engine *engine)
{
    struct store *store = engine_store(engine, 0);
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct prng prng;
    prng_init(&prng, 2, 0);
    uint64_t found = 0;
    for (int i = 0; i < READS; i++) {
        char key[KEY_BYTES + 1];
        uint32_t partition = key_of(prng_below(&prng, KEYS), key);
        struct bytes value;
        found += store_read(store, partition, bytes_of(key, KEY_BYTES), &arena, &value) == OK;
        arena_clear(&arena);
    }
    arena_deinit(&arena);
    return found;
}

static int child_main(const char *work, const char *directory, int fd)
{
    struct measure measure = {0};
    struct engine *engine = child_open(directory, &measure);
    uint64_t cpu_before_ms = cpu_ms();
    if (strcmp(work, "create") == 0) {
        uint32_t partitions[Q];
        for (uint32_t i = 0; i < Q; i++)
            partitions[i] = i;
        CHECK(engine_create_partitions(engine, partitions, Q) == OK);
        CHECK(put(engine_store(engine, 1), STORE_META, "id", "1") == OK);
        CHECK(store_sync(engine_store(engine, 1)) == OK);
    } else if (strcmp(work, "fill") == 0) {
        fill(engine);
    } else if (strcmp(work, "read") == 0) {
        measure.read = read_some(engine);
    }
    measure.work_cpu_ms = cpu_ms() - cpu_before_ms;
    struct engine_figures figures;
    engine_figures(engine, &figures);
    measure.refused = figures.refused;
    measure.resident_mib = status_mib("VmRSS");
    measure.resident_max_mib = status_mib("VmHWM");
    CHECK(write(fd, &measure, sizeof measure) == (ssize_t)sizeof measure);
    pause();
    return 1;
}

/* Runs a child until it has said what it measured, then kills it. */
static struct measure measure_child(const char *directory, const char *work)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    char fd_text[16];
    snprintf(fd_text, sizeof fd_text, "%d", ends[1]);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        execl("/proc/self/exe", "test_footprint", work, directory, fd_text, (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    struct measure measure = {0};
    ssize_t size = read(ends[0], &measure, sizeof measure);
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    close(ends[0]);
    assert_int_equal(size, sizeof measure);
    print_message(
        "%-7s opened in %llu ms (%llu of processor) with %llu MiB; then %llu ms of processor, "
        "%llu MiB, at most %llu MiB resident; refused %llu\n",
        work, (unsigned long long)measure.open_ms, (unsigned long long)measure.open_cpu_ms,
        (unsigned long long)measure.opened_mib, (unsigned long long)measure.work_cpu_ms,
        (unsigned long long)measure.resident_mib, (unsigned long long)measure.resident_max_mib,
        (unsigned long long)measure.refused);
    return measure;
}

static void test_limits_hold(void **state)
{
    (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    print_message("skipped: a sanitizer's memory is not the store's\n");
    skip();
#endif
    struct fixture fixture;
    fixture_init(&fixture, ENGINE_ROCKSDB);
    measure_child(fixture.directory, "create");
    struct measure idle = measure_child(fixture.directory, "idle");
    assert_in_range(idle.resident_mib, 1, 40);
    assert_in_range(idle.open_cpu_ms, 0, 500);
    struct measure filled = measure_child(fixture.directory, "fill");
    assert_in_range(filled.resident_max_mib, 30, MEMORY_MIB + 64);
    struct measure again = measure_child(fixture.directory, "read");
    assert_in_range(again.open_cpu_ms, 0, 5000);
    /* The log holds less than half of what was written, and what it holds costs less to replay. */
    assert_in_range(again.open_cpu_ms, 0, 2 * filled.work_cpu_ms / 5);
    assert_int_equal(again.read, READS);
    assert_in_range(again.resident_max_mib, 1, MEMORY_MIB + 64);
    fixture_deinit(&fixture);
}

int main(int argc, char **argv)
{
    if (argc == 4)
        return child_main(argv[1], argv[2], atoi(argv[3]));
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_limits_hold)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
