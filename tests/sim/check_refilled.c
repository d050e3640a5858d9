/* A copy that was lost votes again when it holds all that any other one held when it was emptied,
 * but what has been reaped since: an exchange with each of them has gone through (RELIABILITY rules
 * 23 and 38; actors/anti_entropy_completion.c). */
#include "tests/sim/world.h"

/* Some keyspaces have more replicas than others. */
static bool is_here(const struct host *host, uint32_t keyspace, uint32_t key, uint32_t partition)
{
    const struct world *world = host->world;
    char name[16];
    key_name(key, name);
    return world->workload.touched[keyspace][key] &&
           check_partition(world, keyspace, key) == partition &&
           check_is_replica(world, host->member, keyspace, bytes_of_string(name));
}

/* What a power cut now would leave of a key on the other copies that are read. */
static struct clock held_by_others(struct host *host, uint32_t keyspace, uint32_t key,
                                   struct arena *arena)
{
    struct world *world = host->world;
    struct clock held = {0};
    char name[16];
    key_name(key, name);
    uint32_t id = world->workload.keyspace_ids[keyspace];
    struct bytes text = bytes_of_string(name);
    struct replica_set set = check_replica_set(world, keyspace, text);
    uint32_t partition = world_partition(world, id, text);
    for (uint32_t i = 0; i < set.count; i++) {
        struct host *other = &world->hosts[set.replicas[i].member - 1];
        struct version_set state = {0};
        if (other != host && set.replicas[i].reader && !other->dead &&
            host_copy_votes(other, partition, id) &&
            host_peek_durable(other, id, text, arena, &state))
            held = clock_merge(arena, &held, &state.clock);
    }
    return held;
}

/* Copies of other nodes that were lost so far, or put back and nobody could see it. */
static uint64_t others_lost(const struct host *host, uint32_t partition)
{
    const struct world *world = host->world;
    uint64_t lost = 0;
    for (uint32_t i = 0; i < world->options.nodes; i++) {
        if (i != host->index)
            lost += world->check.refills[i][partition].emptied + world->hosts[i].losses;
    }
    return lost;
}

static uint64_t last_step(const struct world *world, uint32_t partition)
{
    return world->topology.phase_epochs[partition];
}

void check_emptied(struct host *host, const struct message *message)
{
    const struct vnode_incomplete *incomplete = &message->vnode_incomplete;
    struct check *check = &host->world->check;
    struct refill *refill = &check->refills[host->index][incomplete->partition];
    if (incomplete->keyspace_id != 0 ||
        (refill->start == host->start && refill->incarnation == incomplete->incarnation))
        return;
    *refill = (struct refill){.start = host->start,
                              .incarnation = incomplete->incarnation,
                              .emptied = refill->emptied + 1,
                              .others_lost = others_lost(host, incomplete->partition),
                              .step = last_step(host->world, incomplete->partition)};
    for (uint32_t keyspace = 0; keyspace < host->world->options.keyspace_count; keyspace++) {
        for (uint32_t key = 0; key < host->world->options.keys; key++) {
            if (is_here(host, keyspace, key, incomplete->partition))
                check->refilled_from[host->index][keyspace][key] =
                    held_by_others(host, keyspace, key, &check->arena);
        }
    }
}

/* It holds that, or has a bad row there again and says nothing. */
static bool holds(struct host *host, uint32_t keyspace, uint32_t key, const struct clock *clock)
{
    struct arena arena;
    struct version_set set = {0};
    char name[16];
    key_name(key, name);
    uint32_t id = host->world->workload.keyspace_ids[keyspace];
    if (host_is_rotten(host, id, bytes_of_string(name)))
        return true;
    arena_init(&arena, NULL, 0);
    host_peek(host, id, bytes_of_string(name), &arena, &set);
    struct clock explained = check_with_reaped(host->world, keyspace, key, &set.clock, &arena);
    bool all = clock_descends(&explained, clock);
    arena_deinit(&arena);
    return all;
}

/* Where the partition has taken another step, or another copy was lost since, others had to be
 * asked than those that held it. */
void check_refilled(struct host *host, uint32_t partition, uint32_t keyspace_id)
{
    struct world *world = host->world;
    const struct refill *refill = &world->check.refills[host->index][partition];
    if (refill->start != host->start || refill->step != last_step(world, partition) ||
        host->view->topology.phase_epochs[partition] != refill->step ||
        refill->others_lost != others_lost(host, partition))
        return;
    for (uint32_t keyspace = 0; keyspace < world->options.keyspace_count; keyspace++) {
        uint32_t id = world->workload.keyspace_ids[keyspace];
        if ((keyspace_id != 0 && keyspace_id != id) || !host_copy_votes(host, partition, id))
            continue; /* that one is filled by itself */
        for (uint32_t key = 0; key < world->options.keys; key++) {
            if (is_here(host, keyspace, key, partition) &&
                !holds(host, keyspace, key,
                       &world->check.refilled_from[host->index][keyspace][key]))
                world_fail(world, "refilled",
                           "n%u votes again in partition %u, and lacks what others held of "
                           "%s/key%u when its copy was emptied",
                           host->member, partition, world->options.keyspaces[keyspace].name, key);
        }
    }
}
