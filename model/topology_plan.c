#include "model/topology_change.h"
#include "model/topology_claim.h"
#include "model/topology_sets.h"

#include <string.h>

struct planning {
    const struct topology *topology;
    const uint64_t *partition_bytes;
    uint32_t n[2][DATA_CENTERS_MAX]; /* of the keyspace with the most there */
    struct plan_member *by_slot[MEMBERS_MAX];
    struct plan plan;
};

static void n_fill(struct planning *planning, struct arena *arena,
                   const struct keyspace_map *keyspaces)
{
    struct replica_classes *classes = ARENA_NEW(arena, struct replica_classes, 1);
    topology_classes(planning->topology, keyspaces, classes);
    for (uint32_t i = 0; i < classes->count; i++) {
        for (uint32_t k = 0; k < planning->topology->data_center_count; k++) {
            for (uint32_t side = 0; side < 2; side++) {
                uint32_t n = classes->classes[i].n[side][k];
                planning->n[side][k] = n > planning->n[side][k] ? n : planning->n[side][k];
            }
        }
    }
}

static struct plan_zone *zone_of(struct planning *planning, const struct member_place *place)
{
    struct plan *plan = &planning->plan;
    for (uint32_t i = 0; i < plan->zone_count; i++) {
        struct plan_zone *zone = &plan->zones[i];
        if (zone->data_center == place->data_center && strcmp(zone->zone, place->zone) == 0)
            return zone;
    }
    struct plan_zone *zone = &plan->zones[plan->zone_count++];
    zone->data_center = place->data_center;
    memcpy(zone->zone, place->zone, sizeof zone->zone);
    return zone;
}

static void members_fill(struct planning *planning, struct arena *arena)
{
    const struct topology *topology = planning->topology;
    struct plan *plan = &planning->plan;
    plan->members = ARENA_NEW(arena, struct plan_member, topology->member_count);
    plan->zones = ARENA_NEW(arena, struct plan_zone, 2 * (size_t)topology->member_count);
    for (uint32_t i = 0; i < topology->member_count; i++) {
        const struct member *member = &topology->members[i];
        if (member->status == MEMBER_REMOVED)
            continue;
        struct plan_member *planned = &plan->members[plan->member_count++];
        planned->number = member->number;
        planning->by_slot[member->slot] = planned;
        for (uint32_t side = 0; side < 2; side++) {
            if (member_is_on(member, (enum topology_side)side))
                zone_of(planning, &member->places[side])->members[side]++;
        }
    }
}

/* Zones of a data centre that have members on the side NEXT. */
static uint32_t zones_in(const struct planning *planning, uint32_t data_center)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < planning->plan.zone_count; i++) {
        const struct plan_zone *zone = &planning->plan.zones[i];
        count += zone->data_center == data_center && zone->members[TOPOLOGY_NEXT] != 0;
    }
    return count;
}

static bool zone_twice(const struct planning *planning, const struct preference_list *list)
{
    for (uint32_t i = 0; i < list->replicas; i++) {
        const struct member *a = topology_member(planning->topology, list->members[i]);
        for (uint32_t k = 0; k < i; k++) {
            const struct member *b = topology_member(planning->topology, list->members[k]);
            if (strcmp(a->places[TOPOLOGY_NEXT].zone, b->places[TOPOLOGY_NEXT].zone) == 0)
                return true;
        }
    }
    return false;
}

/* The copies of one partition in one data centre on one side: bits by slot. */
static uint64_t copies_count(struct planning *planning, enum topology_side side,
                             uint32_t data_center, uint32_t partition)
{
    const struct topology *topology = planning->topology;
    uint32_t owner = topology_owner(topology, side, data_center, partition);
    if (owner != MEMBER_NONE)
        planning->by_slot[topology_member(topology, owner)->slot]->owned[side]++;
    uint32_t n = planning->n[side][data_center];
    if (n == 0)
        return 0;
    struct preference_list list;
    ring_preference_list(topology, side, data_center, partition, n, &list);
    uint64_t copies = 0;
    for (uint32_t i = 0; i < list.replicas; i++) {
        const struct member *member = topology_member(topology, list.members[i]);
        copies |= (uint64_t)1 << member->slot;
        planning->by_slot[member->slot]->replicas[side]++;
        zone_of(planning, &member->places[side])->replicas[side]++;
    }
    if (side == TOPOLOGY_NEXT) {
        planning->plan.member_violations += list.replicas != 0 && list.replicas < n;
        planning->plan.zone_violations +=
            zones_in(planning, data_center) >= n && zone_twice(planning, &list);
    }
    return copies;
}

static void moves_count(struct planning *planning, uint32_t partition, uint64_t now, uint64_t next)
{
    uint64_t bytes = planning->partition_bytes == NULL ? 0 : planning->partition_bytes[partition];
    for (uint32_t slot = 0; slot < MEMBERS_MAX; slot++) {
        struct plan_member *member = planning->by_slot[slot];
        if ((next & ~now) >> slot & 1) {
            member->gains++;
            member->bytes_in += bytes;
            planning->plan.moved++;
            planning->plan.bytes += bytes;
        } else if ((now & ~next) >> slot & 1) {
            member->loses++;
            member->bytes_out += bytes;
        }
    }
}

/* Max/mean of copies per weight in one data centre; 0 without copies. */
static double balance_in(const struct planning *planning, enum topology_side side,
                         uint32_t data_center)
{
    double copies = 0;
    double weights = 0;
    double most = 0;
    for (uint32_t i = 0; i < planning->topology->member_count; i++) {
        const struct member *member = &planning->topology->members[i];
        const struct member_place *place = &member->places[side];
        if (!member_is_on(member, side) || place->data_center != data_center)
            continue;
        double held = planning->by_slot[member->slot]->replicas[side];
        copies += held;
        weights += place->weight;
        most = held / place->weight > most ? held / place->weight : most;
    }
    return copies > 0 ? most * weights / copies : 0;
}

static void sums_fill(struct planning *planning)
{
    struct plan *plan = &planning->plan;
    for (uint32_t i = 0; i < plan->member_count; i++) {
        const struct plan_member *member = &plan->members[i];
        if (member->replicas[TOPOLOGY_NEXT] > member->replicas[TOPOLOGY_NOW])
            plan->moved_min += member->replicas[TOPOLOGY_NEXT] - member->replicas[TOPOLOGY_NOW];
    }
    for (uint32_t side = 0; side < 2; side++) {
        for (uint32_t i = 0; i < planning->topology->data_center_count; i++) {
            double balance = balance_in(planning, (enum topology_side)side, i);
            plan->balance[side] = balance > plan->balance[side] ? balance : plan->balance[side];
        }
    }
}

void plan_make(struct arena *arena, const struct topology *topology,
               const struct keyspace_map *keyspaces, const uint64_t *partition_bytes,
               struct plan *ret_plan)
{
    struct topology claimed = *topology;
    if (topology->change.state == CHANGE_STAGED)
        topology_claim_next(arena, &claimed, keyspaces);
    struct planning planning = {.topology = &claimed, .partition_bytes = partition_bytes};
    n_fill(&planning, arena, keyspaces);
    members_fill(&planning, arena);
    for (uint32_t p = 0; p < claimed.partitions; p++) {
        uint64_t sets[2] = {0};
        for (uint32_t side = 0; side < 2; side++) {
            for (uint32_t i = 0; i < claimed.data_center_count; i++)
                sets[side] |= copies_count(&planning, (enum topology_side)side, i, p);
        }
        moves_count(&planning, p, sets[TOPOLOGY_NOW], sets[TOPOLOGY_NEXT]);
    }
    sums_fill(&planning);
    *ret_plan = planning.plan;
}
