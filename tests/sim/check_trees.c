/* A hash tree says at every moment what a scan of its rows would say, whatever is being built, and
 * whatever was lost by a crash before (actors/replica_tree.h). */
#include "tests/sim/world.h"

void check_trees(struct world *world, struct host *host)
{
    if (!host->up)
        return;
    for (uint32_t i = 0; i < world->options.shards; i++) {
        engine_memory_set_faults(host->engine, NULL, 0, 0, false);
        uint32_t differing =
            replica_trees_differing(host->replicas[i], engine_store(host->engine, i));
        host_set_disk_faults(host, host->read_error, host->overloaded);
        uint64_t drift = counter_get(&replica_figures(host->replicas[i])->tree_drift);
        if (differing != 0 || drift != 0)
            world_fail(world, "trees",
                       "n%u shard %u: %u hash trees differ from their rows now, %llu did before",
                       host->member, i, differing, (unsigned long long)drift);
    }
}
