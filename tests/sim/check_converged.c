/* A read at ALL repairs before it answers: after it, with no writes, every replica that holds the
 * key holds what was read, and nobody holds a write that was said to be not applied. */
#include "tests/sim/world.h"

uint32_t check_partition(const struct world *world, uint32_t keyspace, uint32_t key)
{
    char name[16];
    key_name(key, name);
    return world_partition(world, world->workload.keyspace_ids[keyspace], bytes_of_string(name));
}

struct replica_set check_replica_set(const struct world *world, uint32_t keyspace, struct bytes key)
{
    const struct host *host = steward_newest_host(world);
    uint32_t id = world->workload.keyspace_ids[keyspace];
    if (host == NULL)
        return (struct replica_set){0};
    return check_replica_set_of(world, host->view, keyspace, world_partition(world, id, key));
}

struct replica_set check_replica_set_of(const struct world *world, const struct view *view,
                                        uint32_t keyspace, uint32_t partition)
{
    const struct keyspace *found =
        keyspace_map_find_id(&view->keyspaces, world->workload.keyspace_ids[keyspace]);
    struct replica_set replicas = {0};
    if (found != NULL)
        view_replica_set(view, found, partition, &replicas);
    return replicas;
}

bool check_is_replica(const struct world *world, uint32_t member, uint32_t keyspace,
                      struct bytes key)
{
    struct replica_set replicas = check_replica_set(world, keyspace, key);
    for (uint32_t i = 0; i < replicas.count; i++) {
        if (replicas.replicas[i].member == member)
            return true;
    }
    return false;
}

static bool same_versions(const struct version_set *held, const struct version_set *read)
{
    bool same = held->count == read->count && clock_descends(&held->clock, &read->clock);
    for (uint32_t i = 0; same && i < read->count; i++)
        same = dot_compare(held->versions[i].dot, read->versions[i].dot) == 0;
    return same;
}

void check_converged(struct world *world, uint32_t keyspace, uint32_t key,
                     const struct version_set *final)
{
    char name[16];
    key_name(key, name);
    struct arena arena;
    arena_init(&arena, NULL, 0);
    for (uint32_t i = 0; i < world->options.nodes; i++) {
        struct host *host = &world->hosts[i];
        struct version_set set = {0};
        char where[16];
        snprintf(where, sizeof where, "n%u", host->member);
        host_peek(host, world->workload.keyspace_ids[keyspace], bytes_of_string(name), &arena,
                  &set);
        bool replica = check_is_replica(world, host->member, keyspace, bytes_of_string(name));
        struct clock gone = check_reaped(world, keyspace, key);
        bool reaped = set.clock.count == 0 && clock_descends(&gone, &final->clock);
        if (replica && !reaped && !same_versions(&set, final))
            world_fail(world, "converged", "n%u holds something else of ks%u/key%u than was read",
                       host->member, keyspace, key);
        if (!replica && set.clock.count != 0)
            world_fail(world, "converged", "n%u holds ks%u/key%u and is no replica of it",
                       host->member, keyspace, key);
        check_phantom(world, keyspace, key, &set, where);
    }
    arena_deinit(&arena);
}
