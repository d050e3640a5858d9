/* Quorum reads are monotonic (RELIABILITY rule 19). What an operation at k nodes was told is
 * durable on k distinct nodes: a put's own state, or what a read returned after its repair. A read
 * at r nodes that starts later meets one of them when k + r > N, so its clock must cover what that
 * one holds. Where fallbacks stood in for replicas, only the replicas count: reads do not ask
 * fallbacks, so they may miss such a write until the hint is delivered.
 * A disk that is put back takes from that (check_put_back.c). */
#include "tests/sim/world.h"

/* While sets change a number of nodes says nothing; a quorum says that each later quorum meets it
 * (model/topology.h). Kept in the place of the greatest number. */
static bool is_quorum(const struct world *world, const struct operation *operation)
{
    const struct sim_keyspace *keyspace = &world->options.keyspaces[operation->keyspace];
    enum consistency level = operation->level;
    if (level == CONSISTENCY_DEFAULT)
        level = operation->kind == OPERATION_GET ? keyspace->read_level : keyspace->write_level;
    return level == CONSISTENCY_QUORUM || level == CONSISTENCY_ALL;
}

/* Its node's disk is an older copy, that nobody has told so yet: by the sets of that time the node
 * may be all that is asked (check_put_back.c). */
static bool asks_old_sets(const struct world *world, const struct operation *operation)
{
    return operation->needed == 1 && world->hosts[operation->node].put_backs > 0 &&
           !hellos_known_everywhere(world, operation->node);
}

void check_monotonic_began(struct world *world, struct operation *operation)
{
    struct check *check = &world->check;
    struct clock *acknowledged = check->acknowledged[operation->keyspace][operation->key];
    if (world_has(world, FAULT_MEMBERSHIP)) {
        if (is_quorum(world, operation) && !asks_old_sets(world, operation))
            operation->required = clock_copy(&check->arena, &acknowledged[REPLICAS_SIM_MAX]);
        return;
    }
    for (uint32_t k = 1; k <= operation->replicas; k++) {
        if (k + operation->needed > operation->replicas)
            operation->required =
                clock_merge(&check->arena, &operation->required, &acknowledged[k]);
    }
}

void check_monotonic_ended(struct world *world, struct operation *operation,
                           const struct clock *clock)
{
    struct check *check = &world->check;
    struct clock explained =
        check_with_reaped(world, operation->keyspace, operation->key, clock, &check->arena);
    if (operation->kind == OPERATION_GET && operation->put_back == 0 &&
        !clock_descends(&explained, &operation->required))
        world_fail(world, "monotonic",
                   "op %u read %s/key%u from %u of %u nodes and missed what had been acknowledged "
                   "before it began",
                   operation->id, world->options.keyspaces[operation->keyspace].name,
                   operation->key, operation->needed, operation->replicas);
    uint32_t k = operation->needed;
    if (world_has(world, FAULT_MEMBERSHIP)) {
        if (!is_quorum(world, operation) || operation->fallbacks > 0)
            return;
        check_joint_ended(world, operation, clock);
        k = operation->replicas = operation->primaries = REPLICAS_SIM_MAX;
    }
    if (operation->primaries < k)
        k = operation->primaries;
    if (k > operation->replicas)
        k = operation->replicas;
    k -= operation->put_back < k ? operation->put_back : k;
    if (operation->alone)
        return;
    struct clock *acknowledged = &check->acknowledged[operation->keyspace][operation->key][k];
    *acknowledged = clock_merge(&check->arena, acknowledged, clock);
}
