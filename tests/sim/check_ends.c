/* Every request ends: by its deadline (workload.c looks at that time), and after all faults have
 * healed with success (DESIGN.md 11, liveness). */
#include "tests/sim/world.h"

/* A timestamp from a clock that was an hour ahead keeps its lww key from being written until that
 * hour has passed: replicas refuse what is too far ahead of their clocks (DESIGN.md 5). */
static bool may_be_refused(const struct world *world, const struct operation *operation)
{
    if (operation->status == ERR_OVERLOADED && sim_options_starved(&world->options))
        return true;
    return operation->kind != OPERATION_GET &&
           world->options.keyspaces[operation->keyspace].conflict == KEYSPACE_LWW &&
           (world_has(world, FAULT_SKEW) || world_has(world, FAULT_JUMP));
}

void check_ends_status(struct world *world, struct operation *operation)
{
    if (!operation->quiet || operation->status == OK || may_be_refused(world, operation))
        return;
    world_fail(world, "ends", "op %u (%s, %u of %u) in a healed cluster: %s", operation->id,
               operation->kind == OPERATION_GET ? "read" : "write", operation->needed,
               operation->replicas, err_text(operation->status));
}
