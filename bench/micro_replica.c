// link: coterie_actors coterie_store
/* What a replica shard itself costs: a mint and a read of keys that are there, on the
 * simulated disk, without threads, network or RocksDB: the median of rounds, processor time.
 * Figures of one machine say little; before and after a change, on the same one, they do. */
#include "actors/boot.h"
#include "actors/replica.h"
#include "model/hash.h"
#include "model/record.h"
#include "store/engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define KEYS        10000u
#define OPERATIONS  100000u
#define ROUNDS      9u
#define BATCH       64u
#define PARTITIONS  64u
#define VALUE_BYTES 100u

enum { HANDLE_SHARD, HANDLE_BOOT, HANDLES };

struct bench {
    struct arena arena;
    struct topology topology;
    struct keyspace_map map;
    uint32_t keyspace_id;
    struct engine *engine;
    struct replica *replica;
    struct actor *actor;
    struct prng prng;
    struct outbox outbox;
    struct actor_context ctx;
    uint64_t committed;
    uint32_t staged;
};

/* Processor time: other processes do not count. */
static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void on_committed(void *host, uint32_t handle, uint64_t sequence)
{
    if (handle == HANDLE_SHARD)
        ((struct bench *)host)->committed = sequence;
}

static void drain(struct bench *b)
{
    struct message *message;
    while ((message = outbox_take(&b->outbox)) != NULL)
        message_free(message);
}

static void sync_all(struct bench *b)
{
    engine_memory_sync(b->engine, engine_memory_mark(b->engine));
    struct message *message = message_new(MESSAGE_store_committed, 0);
    message->store_committed.sequence = b->committed;
    actor_handle(b->actor, &b->ctx, message);
    drain(b);
}

static void start(struct bench *b)
{
    struct topology_seed seed = {.name = "n1", .address = "127.0.0.1:7701", .data_center = "dc"};
    const char *problem = NULL;
    char why[256];
    struct boot boot;
    arena_init(&b->arena, NULL, 0);
    CHECK(topology_initial(&b->arena, &seed, 1, PARTITIONS, &b->topology, &problem) == OK);
    struct keyspace builtin = keyspace_builtin();
    struct keyspace_map empty = {0};
    b->map = keyspace_map_put(&b->arena, &empty, &builtin);
    b->keyspace_id = builtin.id;
    struct engine_options options = {
        .handle_count = HANDLES, .partitions = PARTITIONS, .committed = on_committed, .host = b};
    b->engine = engine_memory_open(&options, memory_disk_new());
    prng_init(&b->prng, 1, 1);
    outbox_init(&b->outbox);
    b->ctx = (struct actor_context){.now_ns = 1,
                                    .wall_ms = 1800000000000u,
                                    .prng = &b->prng,
                                    .view = view_new(&b->topology, &b->map, 1),
                                    .outbox = &b->outbox,
                                    .store = engine_store(b->engine, HANDLE_SHARD)};
    struct boot_options booting = {.topology = &b->topology,
                                   .self = 1,
                                   .shards = 1,
                                   .wall_ms = b->ctx.wall_ms,
                                   .random_id = {1}};
    CHECK(boot_node(engine_store(b->engine, HANDLE_BOOT), &b->arena, &booting, &boot, why,
                    sizeof why) == OK);
    struct replica_options replica = {.self = 1, .shards = 1, .held_max = 16384};
    b->replica = replica_new(&replica, &boot);
    b->actor = replica_actor(b->replica);
    for (int i = 0; i < 1000; i++) {
        b->ctx.now_ns += 4000000;
        actor_tick(b->actor, &b->ctx);
    }
}

static struct bytes key_of(uint32_t number, char memory[16])
{
    return bytes_of(memory, (size_t)snprintf(memory, 16, "key%u", number % KEYS));
}

static void put(struct bench *b, uint32_t number)
{
    static const uint8_t value[VALUE_BYTES];
    char memory[16];
    struct message *message = message_new(MESSAGE_replica_mint, 0);
    message->from = (struct actor_id){.node = 1, .kind = ACTOR_COORDINATOR};
    struct replica_mint *mint = &message->replica_mint;
    mint->request.keyspace_id = b->keyspace_id;
    mint->request.key = arena_copy(&message->arena, key_of(number, memory));
    mint->request.value = bytes_of(value, sizeof value);
    mint->hash = hash_key(b->keyspace_id, mint->request.key);
    mint->partition = hash_partition(mint->hash, PARTITIONS);
    mint->policy = POLICY_LWW; /* one version, whatever was there */
    actor_handle(b->actor, &b->ctx, message);
}

static void get(struct bench *b, uint32_t number)
{
    char memory[16];
    struct message *message = message_new(MESSAGE_replica_read, 0);
    message->from = (struct actor_id){.node = 1, .kind = ACTOR_COORDINATOR};
    message->replica_read.keyspace_id = b->keyspace_id;
    message->replica_read.key = arena_copy(&message->arena, key_of(number, memory));
    message->replica_read.partition =
        hash_partition(hash_key(b->keyspace_id, message->replica_read.key), PARTITIONS);
    actor_handle(b->actor, &b->ctx, message);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

static void measure(struct bench *b, const char *what, void (*operation)(struct bench *, uint32_t))
{
    double figures[ROUNDS];
    for (uint32_t round = 0; round < ROUNDS; round++) {
        uint64_t since_ns = now_ns();
        for (uint32_t i = 0; i < OPERATIONS; i++) {
            operation(b, i * 7919u);
            if (i % BATCH == BATCH - 1)
                sync_all(b);
        }
        sync_all(b);
        figures[round] = (double)(now_ns() - since_ns) / OPERATIONS;
    }
    qsort(figures, ROUNDS, sizeof *figures, compare);
    printf("%-5s %6.0f ns (%.0f to %.0f)\n", what, figures[ROUNDS / 2], figures[0],
           figures[ROUNDS - 1]);
}

int main(void)
{
    static struct bench b;
    start(&b);
    measure(&b, "put", put);
    measure(&b, "get", get);
    return 0;
}
