/* Whatever is read was written: by a client, to this key, before the read ended. */
#include "tests/sim/world.h"

void check_phantom(struct world *world, uint32_t keyspace, uint32_t key,
                   const struct version_set *set, const char *where)
{
    for (uint32_t i = 0; i < set->count; i++) {
        uint32_t writer = history_writer(&world->history, &set->versions[i]);
        if (writer == OPERATION_NONE) {
            world_fail(world, "phantom", "%s: ks%u/key%u holds %u bytes that nobody wrote", where,
                       keyspace, key, (uint32_t)set->versions[i].value.size);
            return;
        }
        const struct operation *operation = &world->history.operations[writer];
        if (operation->keyspace != keyspace || operation->key != key)
            world_fail(world, "phantom", "%s: ks%u/key%u holds what op %u wrote to ks%u/key%u",
                       where, keyspace, key, writer, operation->keyspace, operation->key);
        check_outcome_seen(world, writer, where);
    }
}
