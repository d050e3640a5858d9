/* Levels that name data centres mean what they say, as in Cassandra: LOCAL_* are met by nodes of
 * the data centre of the node that was asked, EACH_QUORUM by a majority in every one. And what a
 * local quorum was told each later local quorum there is told, whatever the other data centres
 * hear. */
#include "tests/sim/world.h"

static enum consistency level_of(const struct world *world, const struct operation *operation)
{
    const struct sim_keyspace *keyspace = &world->options.keyspaces[operation->keyspace];
    if (operation->level != CONSISTENCY_DEFAULT)
        return operation->level;
    return operation->kind == OPERATION_GET ? keyspace->read_level : keyspace->write_level;
}

static uint8_t center_of(const struct world *world, uint32_t number)
{
    return member_place(topology_member(&world->topology, number))->data_center;
}

/* Whether it asks for a majority in that data centre. */
static bool has_quorum_in(const struct world *world, const struct operation *operation,
                          uint32_t center)
{
    enum consistency level = level_of(world, operation);
    bool local = center == center_of(world, operation->node + 1);
    return level == CONSISTENCY_EACH_QUORUM || (level == CONSISTENCY_LOCAL_QUORUM && local);
}

void check_centers_progress(struct world *world, const struct operation *operation,
                            const struct replica_set *replicas, const struct progress *progress)
{
    uint32_t acked[DATA_CENTERS_MAX] = {0};
    uint32_t there[DATA_CENTERS_MAX] = {0};
    for (uint32_t i = 0; i < replicas->count; i++) {
        there[replicas->replicas[i].data_center]++;
        for (uint32_t j = 0; j < progress->acked_count; j++)
            acked[replicas->replicas[i].data_center] +=
                progress->acked_members[j] == replicas->replicas[i].member;
    }
    for (uint32_t i = 0; i < progress->fallback_count; i++)
        acked[center_of(world, progress->fallback_members[i])]++;
    uint32_t local = center_of(world, operation->node + 1);
    if (level_of(world, operation) == CONSISTENCY_LOCAL_ONE && acked[local] == 0)
        world_fail(world, "centers", "op %u at LOCAL_ONE is OK without a node of dc%u",
                   operation->id, local);
    for (uint32_t i = 0; i < world->options.data_centers; i++) {
        if (there[i] > 0 && has_quorum_in(world, operation, i) && acked[i] < there[i] / 2 + 1)
            world_fail(world, "centers", "op %u at %s is OK with %u of %u nodes in dc%u",
                       operation->id, consistency_text(level_of(world, operation)), acked[i],
                       there[i], i);
    }
}

void check_centers_began(struct world *world, struct operation *operation)
{
    struct check *check = &world->check;
    if (world_has(world, FAULT_MEMBERSHIP))
        return;
    for (uint32_t i = 0; i < world->options.data_centers; i++) {
        if (has_quorum_in(world, operation, i))
            operation->required =
                clock_merge(&check->arena, &operation->required,
                            &check->local_quorums[operation->keyspace][operation->key][i]);
    }
}

void check_centers_ended(struct world *world, const struct operation *operation,
                         const struct clock *clock)
{
    struct check *check = &world->check;
    /* Reads do not ask fallbacks. */
    if (operation->fallbacks > 0 || operation->put_back > 0 || operation->alone ||
        world_has(world, FAULT_MEMBERSHIP))
        return;
    for (uint32_t i = 0; i < world->options.data_centers; i++) {
        struct clock *told = &check->local_quorums[operation->keyspace][operation->key][i];
        if (has_quorum_in(world, operation, i))
            *told = clock_merge(&check->arena, told, clock);
    }
}
