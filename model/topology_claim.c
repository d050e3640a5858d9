#include "model/topology_claim.h"

#include "model/claim.h"
#include "model/topology_sets.h"
#include "model/topology_words.h"

#include <string.h>

static bool is_there(const struct member *member, enum topology_side side, uint32_t data_center)
{
    return member_is_on(member, side) && member->places[side].data_center == data_center;
}

/* Ordered by number, their zones as numbers. */
static uint32_t takers_fill(struct arena *arena, const struct topology *topology,
                            enum topology_side side, uint32_t data_center,
                            struct claim_member takers[MEMBERS_MAX])
{
    char(*zones)[ZONE_NAME_MAX + 1] = arena_alloc(arena, topology->member_count * sizeof *zones);
    uint32_t count = 0;
    for (uint32_t i = 0; i < topology->member_count; i++) {
        if (is_there(&topology->members[i], side, data_center))
            memcpy(zones[count++], topology->members[i].places[side].zone, sizeof *zones);
    }
    uint32_t zone_count = topology_words_unique(zones, count);
    count = 0;
    for (uint32_t i = 0; i < topology->member_count; i++) {
        const struct member *member = &topology->members[i];
        if (!is_there(member, side, data_center))
            continue;
        const struct member_place *place = &member->places[side];
        takers[count++] = (struct claim_member){
            .number = member->number,
            .weight = place->weight,
            .zone = (uint16_t)topology_word_index(zones, zone_count, place->zone),
        };
    }
    return count;
}

void topology_claim(struct arena *arena, struct topology *topology, enum topology_side side,
                    uint32_t data_center, uint32_t spread)
{
    struct claim_member takers[MEMBERS_MAX];
    uint32_t count = takers_fill(arena, topology, side, data_center, takers);
    size_t first = (size_t)data_center * topology->partitions;
    uint32_t *owners = topology->owners[side] + first;
    if (count == 0) {
        memset(owners, 0, topology->partitions * sizeof *owners);
        return;
    }
    const uint32_t *before = topology->owners[TOPOLOGY_NOW] + first;
    struct claim_result result =
        claim(arena, &(struct claim_input){
                         .members = takers,
                         .member_count = count,
                         .partitions = topology->partitions,
                         .spread = spread,
                         /* All are nobody's, or none is. */
                         .previous = before[0] == MEMBER_NONE ? NULL : before,
                     });
    memcpy(owners, result.owners, topology->partitions * sizeof *owners);
}

/* N of the keyspace with the most there, and one fallback. */
static uint32_t spread_for(const struct replica_classes *classes, uint32_t data_center)
{
    uint32_t spread = CLAIM_SPREAD_DEFAULT;
    for (uint32_t i = 0; i < classes->count; i++) {
        uint32_t wanted = classes->classes[i].n[TOPOLOGY_NEXT][data_center] + 1u;
        spread = wanted > spread ? wanted : spread;
    }
    return spread < PARTITIONS_MIN ? spread : PARTITIONS_MIN;
}

void topology_claim_next(struct arena *arena, struct topology *topology,
                         const struct keyspace_map *keyspaces)
{
    struct replica_classes *classes = ARENA_NEW(arena, struct replica_classes, 1);
    topology_classes(topology, keyspaces, classes);
    topology->owners[TOPOLOGY_NEXT] =
        ARENA_NEW(arena, uint32_t, (size_t)topology->data_center_count * topology->partitions);
    for (uint32_t i = 0; i < topology->data_center_count; i++)
        topology_claim(arena, topology, TOPOLOGY_NEXT, i, spread_for(classes, i));
}
