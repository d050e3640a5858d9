#include "tests/sim/steward_replicas.h"

#include "tests/sim/world.h"

static uint32_t keyspaces_count(const struct world *world)
{
    return world->options.keyspace_count + (world->options.registers.keys > 0);
}

static bool is_registers(const struct world *world, uint32_t keyspace)
{
    return keyspace == world->options.keyspace_count;
}

static uint32_t replicas_by(const struct world *world, const struct topology *topology,
                            uint32_t keyspace, enum topology_side side, uint32_t data_center)
{
    bool registers = is_registers(world, keyspace);
    uint32_t id = registers ? world->registers.keyspace_id : world->workload.keyspace_ids[keyspace];
    uint32_t n = registers ? world->options.registers.n : world->options.keyspaces[keyspace].n;
    return topology_replicas(topology, side, id, data_center, n);
}

uint32_t steward_replicas(const struct world *world, uint32_t keyspace, enum topology_side side,
                          uint32_t data_center)
{
    return replicas_by(world, &world->topology, keyspace, side, data_center);
}

uint32_t steward_replicas_least(const struct world *world, uint32_t keyspace)
{
    uint32_t least = REPLICAS_MAX;
    for (uint32_t i = 0; i < 2 * world->topology.data_center_count; i++) {
        uint32_t n = steward_replicas(world, keyspace, (enum topology_side)(i % 2), i / 2);
        if (n != 0 && n < least)
            least = n;
    }
    return least;
}

uint32_t steward_replicas_sum(const struct world *world, uint32_t keyspace, enum topology_side side)
{
    uint32_t sum = 0;
    for (uint32_t i = 0; i < world->topology.data_center_count; i++) {
        uint32_t n = steward_replicas(world, keyspace, side, i);
        uint32_t members = topology_member_count_in(&world->topology, side, i);
        sum += n < members ? n : members;
    }
    return sum;
}

uint32_t steward_replicas_sum_least(const struct world *world, uint32_t keyspace)
{
    uint32_t now = steward_replicas_sum(world, keyspace, TOPOLOGY_NOW);
    uint32_t next = steward_replicas_sum(world, keyspace, TOPOLOGY_NEXT);
    return now < next ? now : next;
}

bool steward_votes_go(const struct world *world)
{
    return world->options.registers.keys > 0 &&
           (world_has(world, FAULT_WIPED) || world_has(world, FAULT_RESTORED) ||
            world_has(world, FAULT_CORRUPT));
}

uint32_t steward_replicas_least_of_all(const struct world *world)
{
    uint32_t least = REPLICAS_MAX;
    for (uint32_t i = 0; i < keyspaces_count(world); i++) {
        uint32_t n = steward_replicas_least(world, i);
        least = n < least ? n : least;
    }
    return least;
}

/* -- asking
 * --------------------------------------------------------------------------------------------- */

/* More or fewer about as often. */
static uint8_t draw_n(struct world *world, uint32_t keyspace, uint32_t data_center,
                      bool may_be_none)
{
    struct prng *prng = &world->steward.prng;
    uint32_t members = topology_member_count_in(&world->topology, TOPOLOGY_NEXT, data_center);
    uint32_t most = members < STEWARD_REPLICAS_MAX ? members : STEWARD_REPLICAS_MAX;
    if (most == 0 || (may_be_none && prng_chance(prng, 0.2)))
        return 0;
    uint32_t now = steward_replicas(world, keyspace, TOPOLOGY_NEXT, data_center);
    if (now < most && prng_chance(prng, 0.6))
        return (uint8_t)prng_between(prng, now + 1, most);
    return (uint8_t)prng_between(prng, 1, most);
}

bool steward_draw_replicate(struct world *world, struct topology_operation *operation)
{
    struct prng *prng = &world->steward.prng;
    const struct topology *topology = &world->topology;
    uint32_t keyspace = (uint32_t)prng_below(prng, keyspaces_count(world));
    bool alike = prng_chance(prng, 0.4);
    bool differs = false;
    uint32_t sum = 0;
    *operation = (struct topology_operation){
        .kind = TOPOLOGY_REPLICATE,
        .keyspace_id = is_registers(world, keyspace) ? world->registers.keyspace_id
                                                     : world->workload.keyspace_ids[keyspace]};
    uint8_t first = draw_n(world, keyspace, 0, false);
    for (uint32_t i = 0; i < topology->data_center_count; i++) {
        uint8_t n = alike || i == 0 ? first : draw_n(world, keyspace, i, sum > 0);
        uint32_t members = topology_member_count_in(topology, TOPOLOGY_NEXT, i);
        operation->n[i] = n < members ? n : (uint8_t)members;
        sum += operation->n[i];
        differs |= operation->n[i] != steward_replicas(world, keyspace, TOPOLOGY_NEXT, i);
    }
    bool enough = sum >= (is_registers(world, keyspace) && steward_votes_go(world) ? 3 : 1);
    if (enough && differs)
        trace_line(&world->trace, world->now_ns, "steward: keyspace %08x: %u replicas in dc0",
                   operation->keyspace_id, operation->n[0]);
    return enough && differs;
}

/* -- counting
 * ------------------------------------------------------------------------------------------- */

void steward_count_replications(struct world *world, const struct topology *before,
                                const struct topology *after)
{
    struct steward_figures *figures = &world->figures.steward;
    if (before->change.state != CHANGE_RUNNING || after->change.state != CHANGE_NONE)
        return;
    for (uint32_t k = 0; k < keyspaces_count(world); k++) {
        bool more = false;
        bool fewer = false;
        for (uint32_t i = 0; i < before->data_center_count; i++) {
            uint32_t was = replicas_by(world, before, k, TOPOLOGY_NOW, i);
            uint32_t is = replicas_by(world, before, k, TOPOLOGY_NEXT, i);
            more |= is > was;
            fewer |= is < was;
        }
        /* The sides of one that was taken back were exchanged. */
        figures->replicated_back += before->change.aborting && (more || fewer);
        figures->replicated_more += !before->change.aborting && more;
        figures->replicated_fewer += !before->change.aborting && fewer;
        figures->replicated_registers +=
            !before->change.aborting && (more || fewer) && is_registers(world, k);
    }
}
