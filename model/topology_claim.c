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

/* Of the ring before: bits by the taker's index. */
static const uint64_t *copies_before(struct arena *arena, const struct topology *topology,
                                     uint32_t data_center, uint32_t replicas,
                                     const struct claim_input *input)
{
    uint64_t *copies = ARENA_NEW(arena, uint64_t, topology->partitions);
    for (uint32_t p = 0; p < topology->partitions; p++) {
        struct preference_list list;
        ring_preference_list(topology, TOPOLOGY_NOW, data_center, p, replicas, &list);
        for (uint32_t i = 0; i < list.replicas; i++) {
            for (uint32_t k = 0; k < input->member_count; k++)
                copies[p] |= (uint64_t)(input->members[k].number == list.members[i]) << k;
        }
    }
    return copies;
}

void topology_claim(struct arena *arena, struct topology *topology, enum topology_side side,
                    uint32_t data_center, uint32_t replicas)
{
    struct claim_member takers[MEMBERS_MAX];
    uint32_t count = takers_fill(arena, topology, side, data_center, takers);
    size_t at = (size_t)data_center * topology->partitions;
    uint32_t *owners = topology->owners[side] + at;
    if (count == 0) {
        memset(owners, 0, topology->partitions * sizeof *owners);
        return;
    }
    /* One fallback beside the replicas. */
    uint32_t spread = replicas + 1 > CLAIM_SPREAD_DEFAULT ? replicas + 1 : CLAIM_SPREAD_DEFAULT;
    const uint32_t *before = topology->owners[TOPOLOGY_NOW] + at;
    bool first = before[0] == MEMBER_NONE; /* all are nobody's, or none is */
    struct claim_input input = {
        .members = takers,
        .member_count = count,
        .partitions = topology->partitions,
        .spread = spread < PARTITIONS_MIN ? spread : PARTITIONS_MIN,
        .replicas = replicas,
        .previous = first ? NULL : before,
    };
    if (!first)
        input.previous_copies = copies_before(arena, topology, data_center, replicas, &input);
    struct claim_result result = claim(arena, &input);
    memcpy(owners, result.owners, topology->partitions * sizeof *owners);
}

/* N of the keyspace with the most there. */
static uint32_t replicas_for(const struct replica_classes *classes, uint32_t data_center)
{
    uint32_t replicas = 1;
    for (uint32_t i = 0; i < classes->count; i++) {
        uint32_t n = classes->classes[i].n[TOPOLOGY_NEXT][data_center];
        replicas = n > replicas ? n : replicas;
    }
    return replicas;
}

void topology_claim_next(struct arena *arena, struct topology *topology,
                         const struct keyspace_map *keyspaces)
{
    struct replica_classes *classes = ARENA_NEW(arena, struct replica_classes, 1);
    topology_classes(topology, keyspaces, classes);
    topology->owners[TOPOLOGY_NEXT] =
        ARENA_NEW(arena, uint32_t, (size_t)topology->data_center_count * topology->partitions);
    for (uint32_t i = 0; i < topology->data_center_count; i++)
        topology_claim(arena, topology, TOPOLOGY_NEXT, i, replicas_for(classes, i));
}
