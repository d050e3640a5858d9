// link: coterie_store
/* micro_store -- what the RocksDB engine does on this machine, from one writing thread.
 *
 *   micro_store [directory] [puts] [reads] [seed]
 *
 * Durable puts: every write asks for STORE_SYNC_NOW and counts when `committed` has reported it.
 * Singly: one submit a write; batches: one submit every 16. At most 4096 writes wait for the disk,
 * as credits would have it. Reads: random keys of those written.
 */
#include "base/prng.h"
#include "store/engine.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

enum { PARTITIONS = 64, KEY_BYTES = 24, VALUE_BYTES = 100, WAITING_MAX = 4096 };

struct bench {
    struct engine *engine;
    struct store *store;
    struct prng prng;
    uint64_t keys;
    pthread_mutex_t mutex;
    pthread_cond_t news;
    uint64_t committed; /* under mutex */
};

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void on_committed(void *host, uint32_t handle, uint64_t sequence)
{
    (void)handle;
    struct bench *bench = host;
    pthread_mutex_lock(&bench->mutex);
    bench->committed = sequence;
    pthread_cond_signal(&bench->news);
    pthread_mutex_unlock(&bench->mutex);
}

static void on_failed(void *host, const char *why)
{
    (void)host;
    fprintf(stderr, "the store failed: %s\n", why);
    exit(1);
}

static void wait_committed(struct bench *bench, uint64_t sequence)
{
    pthread_mutex_lock(&bench->mutex);
    while (bench->committed < sequence)
        pthread_cond_wait(&bench->news, &bench->mutex);
    pthread_mutex_unlock(&bench->mutex);
}

/* As a replica's: hash (8 bytes), then what the user sees. */
static uint32_t make_key(uint64_t number, uint8_t key[KEY_BYTES])
{
    uint64_t hash = number * 0x9E3779B97F4A7C15u;
    hash ^= hash >> 29;
    for (int i = 0; i < 8; i++)
        key[i] = (uint8_t)(hash >> (56 - 8 * i));
    char text[32];
    snprintf(text, sizeof text, "k-%014llu", (unsigned long long)number);
    memcpy(key + 8, text, KEY_BYTES - 8);
    return (uint32_t)(hash >> 58);
}

static void put(struct bench *bench)
{
    uint8_t key[KEY_BYTES];
    uint8_t value[VALUE_BYTES];
    uint32_t partition = make_key(bench->keys++, key);
    for (size_t i = 0; i + 8 <= VALUE_BYTES; i += 8) {
        uint64_t word = prng_u64(&bench->prng);
        memcpy(value + i, &word, 8);
    }
    memset(value + VALUE_BYTES - VALUE_BYTES % 8, 0, VALUE_BYTES % 8);
    enum err err;
    while ((err = store_put(bench->store, partition, bytes_of(key, KEY_BYTES),
                            bytes_of(value, VALUE_BYTES), STORE_SYNC_NOW)) == ERR_OVERLOADED)
        usleep(1000);
    CHECK(err == OK);
}

static double puts_per_second(struct bench *bench, uint64_t puts, uint64_t batch)
{
    uint64_t began_ns = now_ns();
    for (uint64_t i = 1; i <= puts; i++) {
        put(bench);
        if (i % batch != 0 && i != puts)
            continue;
        store_submit(bench->store);
        uint64_t staged = store_staged(bench->store);
        if (staged > WAITING_MAX)
            wait_committed(bench, staged - WAITING_MAX);
    }
    wait_committed(bench, store_staged(bench->store));
    return (double)puts / ((double)(now_ns() - began_ns) / 1e9);
}

/* One writer that waits for each of its puts: the latency of a lonely request. */
static double lonely_put_us(struct bench *bench, uint64_t puts)
{
    uint64_t began_ns = now_ns();
    for (uint64_t i = 0; i < puts; i++) {
        put(bench);
        store_submit(bench->store);
        wait_committed(bench, store_staged(bench->store));
    }
    return (double)(now_ns() - began_ns) / 1e3 / (double)puts;
}

static double reads_per_second(struct bench *bench, uint64_t reads)
{
    struct arena arena;
    arena_init(&arena, NULL, 0);
    uint64_t began_ns = now_ns();
    for (uint64_t i = 0; i < reads; i++) {
        uint8_t key[KEY_BYTES];
        uint32_t partition = make_key(prng_below(&bench->prng, bench->keys), key);
        struct bytes value;
        CHECK(store_read(bench->store, partition, bytes_of(key, KEY_BYTES), &arena, &value) == OK);
        CHECK_U64(value.size, ==, VALUE_BYTES);
        arena_clear(&arena);
    }
    double seconds = (double)(now_ns() - began_ns) / 1e9;
    arena_deinit(&arena);
    return (double)reads / seconds;
}

static uint64_t argument(int argc, char **argv, int index, uint64_t otherwise)
{
    return argc > index ? strtoull(argv[index], NULL, 10) : otherwise;
}

static void remove_directory(const char *directory)
{
    char command[512];
    snprintf(command, sizeof command, "rm -rf -- '%s'", directory);
    if (system(command) != 0)
        fprintf(stderr, "cannot remove %s\n", directory);
}

static void run(struct bench *bench, uint64_t puts, uint64_t reads)
{
    uint32_t partitions[PARTITIONS];
    for (uint32_t i = 0; i < PARTITIONS; i++)
        partitions[i] = i;
    uint64_t began_ns = now_ns();
    CHECK(engine_create_partitions(bench->engine, partitions, PARTITIONS) == OK);
    printf("create %d partitions         %10.2f s\n", PARTITIONS,
           (double)(now_ns() - began_ns) / 1e9);
    printf("durable put, one at a time   %10.1f us\n", lonely_put_us(bench, 1000));
    printf("durable puts, singly         %10.0f /s\n", puts_per_second(bench, puts, 1));
    printf("durable puts, batches of 16  %10.0f /s\n", puts_per_second(bench, puts, 16));
    printf("point reads                  %10.0f /s\n", reads_per_second(bench, reads));
    struct engine_figures figures;
    engine_figures(bench->engine, &figures);
    printf("writes a sync %.1f, us a sync %.1f, refused %llu, memtables %.1f MiB\n",
           (double)figures.synced_writes / (double)figures.syncs,
           (double)figures.sync_ns_total / 1e3 / (double)figures.syncs,
           (unsigned long long)figures.refused, (double)figures.memtable_bytes / 1048576);
}

int main(int argc, char **argv)
{
    char made[] = "/tmp/micro_store.XXXXXX";
    const char *parent = argc > 1 ? argv[1] : mkdtemp(made);
    CHECK(parent != NULL);
    char directory[400];
    snprintf(directory, sizeof directory, "%s/micro_store.db", parent);
    uint64_t puts = argument(argc, argv, 2, 400000);
    uint64_t reads = argument(argc, argv, 3, 1000000);
    uint64_t seed = argument(argc, argv, 4, 1);
    struct utsname machine;
    CHECK(uname(&machine) == 0);
    printf("seed %llu, %llu puts, %llu reads, keys of %d and values of %d bytes, %d partitions, "
           "256 MiB; %s %s, %ld cores\n",
           (unsigned long long)seed, (unsigned long long)puts, (unsigned long long)reads, KEY_BYTES,
           VALUE_BYTES, PARTITIONS, machine.sysname, machine.machine,
           sysconf(_SC_NPROCESSORS_ONLN));
    struct bench bench = {.keys = 0};
    prng_init(&bench.prng, seed, 0);
    pthread_mutex_init(&bench.mutex, NULL);
    pthread_cond_init(&bench.news, NULL);
    char why[512];
    struct engine_options options = {.directory = directory,
                                     .handle_count = 1,
                                     .partitions = PARTITIONS,
                                     .memory_bytes = 256ull << 20,
                                     .periodic_sync_ms = 100,
                                     .committed = on_committed,
                                     .failed = on_failed,
                                     .host = &bench};
    if (engine_rocksdb_open(&options, &bench.engine, why, sizeof why) != OK) {
        fprintf(stderr, "%s\n", why);
        return 1;
    }
    bench.store = engine_store(bench.engine, 0);
    run(&bench, puts, reads);
    engine_close(bench.engine);
    remove_directory(argc > 1 ? directory : parent);
    return 0;
}
