/* store_fixture.h -- an engine of either kind with what a test wants to know of it: which commits
 * it reported and whether it failed. For one test program each: all functions are static. */
#ifndef TESTS_STORE_FIXTURE_H
#define TESTS_STORE_FIXTURE_H

#include "store/engine.h"
#include "tests/store/disk_faults.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum engine_kind { ENGINE_MEMORY, ENGINE_ROCKSDB };

enum { HANDLES_MAX = 8, PARTITIONS = 16 };

struct fixture {
    enum engine_kind kind;
    char parent[256]; /* removed at the end, with all in it */
    char directory[300];
    struct memory_disk *disk;
    struct engine *engine;
    uint32_t handle_count;
    uint32_t periodic_sync_ms;
    uint64_t memory_bytes;

    pthread_mutex_t mutex;
    uint64_t committed[HANDLES_MAX]; /* since the engine was opened */
    uint64_t reports[HANDLES_MAX];
    bool descended;
    uint32_t failures;
    char why[256]; /* of the last failure */
};

static inline void fixture_on_committed(void *host, uint32_t handle, uint64_t sequence)
{
    struct fixture *fixture = host;
    pthread_mutex_lock(&fixture->mutex);
    fixture->descended |= sequence <= fixture->committed[handle];
    fixture->committed[handle] = sequence;
    fixture->reports[handle]++;
    pthread_mutex_unlock(&fixture->mutex);
}

static inline void fixture_on_failed(void *host, const char *why)
{
    struct fixture *fixture = host;
    pthread_mutex_lock(&fixture->mutex);
    snprintf(fixture->why, sizeof fixture->why, "%s", why);
    fixture->failures++;
    pthread_mutex_unlock(&fixture->mutex);
}

static inline uint64_t fixture_committed(struct fixture *fixture, uint32_t handle)
{
    pthread_mutex_lock(&fixture->mutex);
    uint64_t sequence = fixture->committed[handle];
    pthread_mutex_unlock(&fixture->mutex);
    return sequence;
}

static inline uint32_t fixture_failures(struct fixture *fixture)
{
    pthread_mutex_lock(&fixture->mutex);
    uint32_t failures = fixture->failures;
    pthread_mutex_unlock(&fixture->mutex);
    return failures;
}

static inline struct engine_options fixture_options(struct fixture *fixture)
{
    return (struct engine_options){.directory = fixture->directory,
                                   .handle_count = fixture->handle_count,
                                   .partitions = PARTITIONS,
                                   .memory_bytes = fixture->memory_bytes,
                                   .periodic_sync_ms = fixture->periodic_sync_ms,
                                   .committed = fixture_on_committed,
                                   .failed = fixture_on_failed,
                                   .host = fixture};
}

static inline void fixture_open(struct fixture *fixture)
{
    memset(fixture->committed, 0, sizeof fixture->committed);
    memset(fixture->reports, 0, sizeof fixture->reports);
    struct engine_options options = fixture_options(fixture);
    if (fixture->kind == ENGINE_MEMORY) {
        fixture->engine = engine_memory_open(&options, fixture->disk);
        return;
    }
    char why[512] = "";
    if (engine_rocksdb_open(&options, &fixture->engine, why, sizeof why) != OK) {
        fprintf(stderr, "open: %s\n", why);
        abort();
    }
}

static inline void fixture_reopen(struct fixture *fixture)
{
    engine_close(fixture->engine);
    fixture_open(fixture);
}

/* Nothing is synced behind the test's back: the periodic sync is an hour away. */
static inline void fixture_init(struct fixture *fixture, enum engine_kind kind)
{
    *fixture = (struct fixture){
        .kind = kind, .handle_count = 3, .periodic_sync_ms = 3600000, .memory_bytes = 16u << 20};
    pthread_mutex_init(&fixture->mutex, NULL);
    fixture->disk = memory_disk_new();
    const char *temporary = getenv("TMPDIR");
    snprintf(fixture->parent, sizeof fixture->parent, "%s/coterie-store.XXXXXX",
             temporary != NULL ? temporary : "/tmp");
    CHECK(mkdtemp(fixture->parent) != NULL);
    snprintf(fixture->directory, sizeof fixture->directory, "%s/db", fixture->parent);
}

static inline void fixture_deinit(struct fixture *fixture)
{
    disk_faults_clear(); /* a stalled disk would never let it close */
    if (fixture->engine != NULL)
        engine_close(fixture->engine);
    memory_disk_free(fixture->disk);
    char command[600];
    snprintf(command, sizeof command, "rm -rf -- '%s'", fixture->parent);
    CHECK(system(command) == 0);
    pthread_mutex_destroy(&fixture->mutex);
}

static inline struct store *fixture_store(struct fixture *fixture, uint32_t handle)
{
    return engine_store(fixture->engine, handle);
}

/* The next sync of the commit log fails. */
static inline void fixture_break_fsync(struct fixture *fixture)
{
    if (fixture->kind == ENGINE_MEMORY)
        engine_memory_set_faults(fixture->engine, NULL, 0, 0, true);
    else
        disk_faults_set_sync_error(".log");
}

/* -- short forms ------------------------------------------------------------------------------ */

static inline enum err put(struct store *store, uint32_t partition, const char *key,
                           const char *value)
{
    return store_put(store, partition, bytes_of_string(key), bytes_of_string(value),
                     STORE_SYNC_LATER);
}

/* Whether the key is there with this value; NULL: whether it is absent. */
static inline bool holds(struct store *store, uint32_t partition, const char *key,
                         const char *value)
{
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct bytes found = {0};
    enum err err = store_read(store, partition, bytes_of_string(key), &arena, &found);
    bool as_expected = value == NULL ? err == ERR_NOT_FOUND
                                     : err == OK && bytes_equal(found, bytes_of_string(value));
    arena_deinit(&arena);
    return as_expected;
}

static inline bool count_visit(void *closure, struct bytes key, struct bytes value)
{
    (void)key;
    (void)value;
    (*(uint64_t *)closure)++;
    return true;
}

static inline uint64_t count_keys(struct store *store, uint32_t partition)
{
    uint64_t count = 0;
    CHECK(store_scan(store, partition, (struct bytes){0}, (struct bytes){0}, count_visit, &count) ==
          OK);
    return count;
}

static inline uint64_t test_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000u + (uint64_t)now.tv_nsec / 1000000u;
}

/* Waits for a condition, at most a minute. */
#define WAIT_UNTIL(condition)                                                                      \
    do {                                                                                           \
        uint64_t wait_end_ms_ = test_now_ms() + 60000;                                             \
        while (!(condition)) {                                                                     \
            if (test_now_ms() > wait_end_ms_)                                                      \
                fail_msg("never came true: %s", #condition);                                       \
            usleep(1000);                                                                          \
        }                                                                                          \
    } while (0)

#endif
