/* No key epoch is used before the lease that covers it is on disk: else a crash takes the lease
 * back and the next life uses the epoch again (RELIABILITY rule 3). */
#include "actors/view.h"
#include "base/codec.h"
#include "tests/sim/world.h"

void check_leases_drawn(struct host *host, uint32_t partition, uint64_t epoch)
{
    char name[32];
    struct arena arena;
    struct bytes value = {0};
    uint32_t shard = replica_shard(partition, host->world->options.shards);
    snprintf(name, sizeof name, "epoch-lease/%u", shard);
    arena_init(&arena, NULL, 0);
    enum err err =
        engine_memory_read_durable(host->engine, STORE_META, bytes_of_string(name), &arena, &value);
    struct reader reader = reader_of(value);
    uint64_t limit = err == OK ? reader_u64(&reader) : 0;
    if (epoch >= limit)
        world_fail(host->world, "leases",
                   "n%u: a write got key epoch %llu of shard %u, whose lease on disk ends at %llu",
                   host->member, (unsigned long long)epoch, shard, (unsigned long long)limit);
    arena_deinit(&arena);
}
