#include "model/topology_words.h"

#include <string.h>

static bool place_valid(const struct topology *topology, const struct member_place *place)
{
    return place->data_center < topology->data_center_count && place->weight != 0 &&
           place->weight <= WEIGHT_MAX && topology_word_valid_some(place->zone, ZONE_NAME_MAX);
}

static bool member_valid(const struct topology *topology, const struct member *member)
{
    if (member->number == MEMBER_NONE || member->number >= topology->number_next ||
        member->slot >= MEMBERS_MAX || member->status > MEMBER_REMOVED)
        return false;
    if (!place_valid(topology, &member->places[TOPOLOGY_NOW]) ||
        !place_valid(topology, &member->places[TOPOLOGY_NEXT]))
        return false;
    if (!topology_word_valid_some(member->name, NODE_NAME_MAX) ||
        !topology_word_valid_some(member->address, ADDRESS_MAX))
        return false;
    if (member->gone && member->status != MEMBER_LEAVING && member->status != MEMBER_REMOVED &&
        topology->change.state != CHANGE_RUNNING)
        return false;
    if (member->held &&
        (member->status != MEMBER_JOINING || topology->change.state != CHANGE_STAGED))
        return false;
    bool still = topology->change.state == CHANGE_NONE;
    bool settled = member->status == MEMBER_NORMAL || member->status == MEMBER_REMOVED;
    return !still || (settled && member_place_equal(&member->places[TOPOLOGY_NOW],
                                                    &member->places[TOPOLOGY_NEXT]));
}

static bool members_valid(const struct topology *topology)
{
    uint64_t slots = 0;
    for (uint32_t i = 0; i < topology->member_count; i++) {
        const struct member *member = &topology->members[i];
        if (!member_valid(topology, member))
            return false;
        if (i > 0 && topology->members[i - 1].number >= member->number)
            return false;
        if (member->status == MEMBER_REMOVED)
            continue;
        if ((slots >> member->slot & 1) != 0)
            return false;
        /* The first of a name must be this one; one that is gone gives its name away. */
        if (!member->gone && topology_member_by_name(topology, member->name) != member)
            return false;
        slots |= (uint64_t)1 << member->slot;
    }
    return true;
}

static bool owners_valid(const struct topology *topology, enum topology_side side,
                         uint32_t data_center)
{
    bool nobody = topology_member_count_in(topology, side, data_center) == 0;
    for (uint32_t partition = 0; partition < topology->partitions; partition++) {
        uint32_t owner = topology_owner(topology, side, data_center, partition);
        if (nobody && owner == MEMBER_NONE)
            continue;
        const struct member *member = topology_member(topology, owner);
        if (member == NULL || member->places[side].data_center != data_center ||
            !member_is_on(member, side))
            return false;
    }
    return true;
}

static bool change_valid(const struct topology *topology)
{
    const struct topology_change *change = &topology->change;
    if (change->state > CHANGE_RUNNING)
        return false;
    bool running = change->state == CHANGE_RUNNING;
    if (!running && (change->paused || change->aborting ||
                     topology->owners[TOPOLOGY_NEXT] != topology->owners[TOPOLOGY_NOW]))
        return false;
    if (change->aborting != (change->abort_epoch != 0) || change->abort_epoch > topology->epoch ||
        change->began_epoch > topology->epoch || running != (change->began_epoch != 0))
        return false;
    for (uint32_t i = 0; i < topology->partitions; i++) {
        if (topology->phases[i] > PHASE_DONE || topology->phase_epochs[i] > topology->epoch ||
            (!running && topology->phases[i] != PHASE_WAITING))
            return false;
    }
    for (uint32_t i = 0; i < topology->replication_count; i++) {
        if (i > 0 &&
            topology->replication[i - 1].keyspace_id >= topology->replication[i].keyspace_id)
            return false;
    }
    return true;
}

static bool voters_valid(const struct topology *topology)
{
    if (topology->voter_count == 0 || topology->voter_count > VOTERS_MAX)
        return false;
    for (uint32_t i = 0; i < topology->voter_count; i++) {
        const struct member *member = topology_member(topology, topology->voters[i]);
        if (member == NULL || member->status == MEMBER_REMOVED ||
            (i > 0 && topology->voters[i - 1] >= topology->voters[i]))
            return false;
    }
    return true;
}

bool topology_valid(const struct topology *topology)
{
    if (topology->epoch == 0 || !topology_partitions_valid(topology->partitions))
        return false;
    if (topology->member_count == 0 || topology->member_count > MEMBERS_MAX)
        return false;
    if (topology->data_center_count == 0 || topology->data_center_count > DATA_CENTERS_MAX)
        return false;
    for (uint32_t i = 0; i < topology->data_center_count; i++) {
        if (!topology_word_valid_some(topology->data_centers[i], ZONE_NAME_MAX) ||
            topology_word_find(topology->data_centers, topology->data_center_count,
                               topology->data_centers[i]) != i)
            return false;
    }
    if (!members_valid(topology) || !change_valid(topology) || !voters_valid(topology))
        return false;
    for (uint32_t i = 0; i < topology->data_center_count; i++) {
        /* A joining member alone has no ring on the side NEXT before the commit. */
        if (!owners_valid(topology, TOPOLOGY_NOW, i) ||
            (topology->change.state == CHANGE_RUNNING && !owners_valid(topology, TOPOLOGY_NEXT, i)))
            return false;
    }
    return true;
}
