#include "model/topology.h"

#include <string.h>

#define VOTERS_ENOUGH 3u

static bool voter_is(const struct topology *topology, uint32_t number)
{
    for (uint32_t i = 0; i < topology->voter_count; i++) {
        if (topology->voters[i] == number)
            return true;
    }
    return false;
}

/* Chosen ones in the same data centre, and in the same zone of it. */
static void count_alike(const struct topology *topology, const struct member *member,
                        const bool *chosen, uint32_t *ret_data_center, uint32_t *ret_zone)
{
    *ret_data_center = *ret_zone = 0;
    enum topology_side side = member_is_on(member, TOPOLOGY_NEXT) ? TOPOLOGY_NEXT : TOPOLOGY_NOW;
    for (uint32_t i = 0; i < topology->member_count; i++) {
        const struct member *other = &topology->members[i];
        if (!chosen[i] || other->places[side].data_center != member->places[side].data_center)
            continue;
        ++*ret_data_center;
        *ret_zone += strcmp(other->places[side].zone, member->places[side].zone) == 0;
    }
}

/* 0: stays. Members that come or go would be replaced soon; those that the change ends with, last:
 * they may never have run. */
static uint32_t passing(const struct topology *topology, const struct member *member)
{
    if (member->status == MEMBER_NORMAL)
        return 0;
    bool from_now_on_side = member->status == MEMBER_LEAVING;
    return from_now_on_side != topology->change.aborting ? 1 : 2;
}

struct candidate_cost {
    uint32_t terms[3]; /* the earlier ones outweigh */
};

static bool costs_less(const struct candidate_cost *a, const struct candidate_cost *b)
{
    for (uint32_t i = 0; i < ARRAY_COUNT(a->terms); i++) {
        if (a->terms[i] != b->terms[i])
            return a->terms[i] < b->terms[i];
    }
    return false;
}

/* MEMBERS_MAX: nobody is left. */
static uint32_t best_candidate(const struct topology *topology, const bool *chosen,
                               uint32_t *ret_passing)
{
    uint32_t best = MEMBERS_MAX;
    struct candidate_cost best_cost = {0};
    for (uint32_t i = 0; i < topology->member_count; i++) {
        const struct member *member = &topology->members[i];
        if (chosen[i] || member->status == MEMBER_REMOVED || member->gone)
            continue;
        uint32_t data_center = 0;
        uint32_t zone = 0;
        count_alike(topology, member, chosen, &data_center, &zone);
        struct candidate_cost cost = {{passing(topology, member), data_center * MEMBERS_MAX + zone,
                                       !voter_is(topology, member->number)}};
        if (best != MEMBERS_MAX && !costs_less(&cost, &best_cost))
            continue;
        best = i;
        best_cost = cost;
    }
    *ret_passing = best_cost.terms[0];
    return best;
}

/* One data centre, or one zone of one, has a majority of the first `count`. */
static bool is_dominated(const struct topology *topology, const uint32_t *order, uint32_t count,
                         bool by_zone)
{
    for (uint32_t i = 0; i < count; i++) {
        bool first[MEMBERS_MAX] = {false};
        for (uint32_t k = 0; k < count; k++)
            first[order[k]] = true;
        uint32_t data_center = 0;
        uint32_t zone = 0;
        count_alike(topology, &topology->members[order[i]], first, &data_center, &zone);
        if (2 * (by_zone ? zone : data_center) > count)
            return true;
    }
    return false;
}

/* How many of those drawn up vote. Four stand no more losses than three, and five not the loss of
 * one place where three of them are. */
static uint32_t count_of(const struct topology *topology, const uint32_t *order, uint32_t drawn)
{
    if (drawn == VOTERS_MAX - 1)
        return VOTERS_ENOUGH;
    if (drawn < VOTERS_MAX)
        return drawn;
    for (uint32_t by_zone = 0; by_zone < 2; by_zone++) {
        bool all = is_dominated(topology, order, drawn, by_zone == 1);
        bool few = is_dominated(topology, order, VOTERS_ENOUGH, by_zone == 1);
        if (all != few)
            return all ? VOTERS_ENOUGH : drawn;
    }
    return drawn;
}

uint32_t topology_choose_voters(const struct topology *topology, uint32_t ret_voters[VOTERS_MAX])
{
    bool chosen[MEMBERS_MAX] = {false};
    uint32_t order[VOTERS_MAX];
    uint32_t drawn = 0;
    while (drawn < VOTERS_MAX) {
        uint32_t passes = 0;
        uint32_t best = best_candidate(topology, chosen, &passes);
        if (best == MEMBERS_MAX || (passes != 0 && drawn >= VOTERS_ENOUGH) ||
            (passes > 1 && drawn > 0))
            break;
        chosen[best] = true;
        order[drawn++] = best;
    }
    for (uint32_t i = count_of(topology, order, drawn); i < drawn; i++)
        chosen[order[i]] = false;
    uint32_t written = 0;
    for (uint32_t i = 0; i < topology->member_count; i++) {
        if (chosen[i])
            ret_voters[written++] = topology->members[i].number;
    }
    return written;
}
