/* Convergence without any read (RELIABILITY C5): when faults have ended, all replicas of each key
 * hold the same bytes, nothing is left to hand over, and the cluster falls silent. Tombstones are
 * reaped all the while, and one that was read just before it went is handed round once more. */
#include "model/hash.h"
#include "tests/sim/world.h"

static uint64_t dirty_ranges(const struct world *world)
{
    uint64_t dirty = 0;
    for (uint32_t i = 0; i < world->options.nodes; i++) {
        if (!world->hosts[i].up)
            continue;
        const struct anti_entropy_figures *figures =
            anti_entropy_figures(world->hosts[i].anti_entropy);
        dirty += counter_get(&figures->dirty) + counter_get(&figures->incomplete);
    }
    return dirty;
}

static bool key_is_same(struct world *world, uint32_t keyspace, uint32_t key)
{
    uint32_t id = world->workload.keyspace_ids[keyspace];
    struct arena arena;
    struct bytes first = {0};
    char name[16];
    bool any = false;
    bool same = true;
    key_name(key, name);
    arena_init(&arena, NULL, 0);
    for (uint32_t i = 0; i < world->options.nodes && same; i++) {
        struct bytes record = {0};
        if (!check_is_replica(world, i + 1, keyspace, bytes_of_string(name)))
            continue;
        host_peek_record(&world->hosts[i], id, bytes_of_string(name), &arena, &record);
        same = !any || bytes_equal(record, first);
        first = record;
        any = true;
    }
    arena_deinit(&arena);
    return same;
}

bool check_same(struct world *world, char *why, size_t why_size)
{
    snprintf(why, why_size, "nodes are down");
    for (uint32_t i = 0; i < world->options.nodes; i++) {
        if (!world->hosts[i].up && steward_is_member(world, i))
            return false;
    }
    uint64_t dirty = dirty_ranges(world);
    if (dirty > 0) {
        snprintf(why, why_size, "%llu ranges are dirty or incomplete", (unsigned long long)dirty);
        return false;
    }
    for (uint32_t keyspace = 0; keyspace < world->options.keyspace_count; keyspace++) {
        for (uint32_t key = 0; key < world->options.keys; key++) {
            if (!world->workload.touched[keyspace][key] || key_is_same(world, keyspace, key))
                continue;
            snprintf(why, why_size, "the replicas of ks%u/key%u differ", keyspace, key);
            return false;
        }
    }
    world->check.idle.reaped = world->figures.reaped;
    why[0] = 0;
    return true;
}

static bool trees_suspect(const struct world *world)
{
    bool suspect = false;
    for (uint32_t i = 0; i < world->options.nodes; i++)
        suspect |= host_trees_suspect(&world->hosts[i]);
    return suspect;
}

void check_idle_began(struct world *world)
{
    world->check.idle.trees_suspect = trees_suspect(world);
    world->check.idle.requests_messages = world->figures.requests_messages;
    world->check.idle.register_messages = world->figures.registers.messages;
    world->check.idle.registers_wait = registers_wait(world);
    world->check.idle.anti_entropy_writes = world->figures.anti_entropy_writes;
    world->check.idle.anti_entropy_digests = world->figures.anti_entropy_digests;
}

void check_idle_ended(struct world *world)
{
    const struct world_figures *now = &world->figures;
    uint64_t moved = now->requests_messages - world->check.idle.requests_messages;
    /* Votes that are waited for may come back meanwhile. */
    if (!world->check.idle.registers_wait && !registers_wait(world))
        moved += now->registers.messages - world->check.idle.register_messages;
    moved += now->anti_entropy_writes - world->check.idle.anti_entropy_writes;
    if (moved > 0)
        world_fail(world, "same", "%llu messages about keys in a cluster that nobody asks anything",
                   (unsigned long long)moved);
    /* Equal rows have equal trees, once nothing has been removed here and not yet there, and those
     * of copies with a bad row have been built anew (replica_quarantine.c: in ten seconds). */
    bool suspect = world->check.idle.trees_suspect || trees_suspect(world);
    if (!suspect && now->reaped == world->check.idle.reaped &&
        now->anti_entropy_digests != world->check.idle.anti_entropy_digests)
        world_fail(world, "trees", "hash trees differ, and all rows are the same");
    for (uint32_t i = 0; i < world->options.nodes; i++)
        check_trees(world, &world->hosts[i]);
}
