#include "model/ring.h"

#include "base/check.h"

struct walk {
    const struct member *met[MEMBERS_MAX]; /* distinct owners in walk order */
    uint32_t count;
};

static bool walk_met(const struct walk *walk, uint32_t number)
{
    for (uint32_t i = 0; i < walk->count; i++) {
        if (walk->met[i]->number == number)
            return true;
    }
    return false;
}

static void walk_init(struct walk *walk, const struct topology *topology, enum topology_side side,
                      uint32_t data_center, uint32_t partition)
{
    uint32_t all = topology_member_count_in(topology, side, data_center);
    walk->count = 0;
    uint32_t last = MEMBER_NONE;
    for (uint32_t step = 0; step < topology->partitions && walk->count < all; step++) {
        uint32_t place = (partition + step) % topology->partitions;
        uint32_t owner = topology_owner(topology, side, data_center, place);
        if (owner == MEMBER_NONE || owner == last || walk_met(walk, owner))
            continue;
        const struct member *member = topology_member(topology, owner);
        CHECK(member != NULL);
        walk->met[walk->count++] = member;
        last = owner;
    }
}

static bool zone_taken(const struct walk *walk, enum topology_side side, const bool *taken,
                       uint32_t index)
{
    const char *zone = walk->met[index]->places[side].zone;
    for (uint32_t i = 0; i < walk->count; i++) {
        if (taken[i] && strcmp(walk->met[i]->places[side].zone, zone) == 0)
            return true;
    }
    return false;
}

void ring_preference_list(const struct topology *topology, enum topology_side side,
                          uint32_t data_center, uint32_t partition, uint32_t n,
                          struct preference_list *ret_list)
{
    CHECK_U64(n, >, 0);
    struct walk walk;
    walk_init(&walk, topology, side, data_center, partition);
    bool taken[MEMBERS_MAX] = {false};
    uint32_t count = 0;
    for (uint32_t i = 0; i < walk.count && count < n; i++) {
        if (zone_taken(&walk, side, taken, i))
            continue;
        taken[i] = true;
        ret_list->members[count++] = walk.met[i]->number;
    }
    for (uint32_t i = 0; i < walk.count; i++) {
        if (!taken[i])
            ret_list->members[count++] = walk.met[i]->number;
    }
    ret_list->count = count;
    ret_list->replicas = count < n ? count : n;
}
