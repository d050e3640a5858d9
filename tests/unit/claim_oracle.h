/* What a ring makes of copies, what each member should hold of them, and the fewest that a change
 * can move: worked out by other means than claim's, to judge it by. */
#ifndef TESTS_UNIT_CLAIM_ORACLE_H
#define TESTS_UNIT_CLAIM_ORACLE_H

#include "model/claim.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* One data centre: `before` are the copies of each partition by index of `members`. */
struct oracle_scene {
    struct claim_member members[MEMBERS_MAX];
    uint32_t count;
    uint32_t partitions;
    uint32_t replicas;
};

static inline uint32_t oracle_zones(const struct oracle_scene *scene, uint32_t zones[MEMBERS_MAX])
{
    uint16_t names[MEMBERS_MAX];
    uint32_t count = 0;
    for (uint32_t i = 0; i < scene->count; i++) {
        uint32_t zone = 0;
        while (zone < count && names[zone] != scene->members[i].zone)
            zone++;
        if (zone == count)
            names[count++] = scene->members[i].zone;
        zones[i] = zone;
    }
    return count;
}

/* The copies of each partition as ring.h says: distinct members clockwise, those of new zones
 * first. `owners` are indexes of members. */
static inline void oracle_copies(const struct oracle_scene *scene, const uint16_t *owners,
                                 uint64_t *ret_sets)
{
    uint32_t zones[MEMBERS_MAX];
    oracle_zones(scene, zones);
    for (uint32_t p = 0; p < scene->partitions; p++) {
        uint16_t met[MEMBERS_MAX];
        uint32_t met_count = 0;
        uint64_t seen = 0;
        for (uint32_t step = 0; step < scene->partitions; step++) {
            uint16_t owner = owners[(p + step) % scene->partitions];
            if ((seen >> owner & 1) == 0)
                met[met_count++] = owner;
            seen |= (uint64_t)1 << owner;
        }
        uint64_t set = 0;
        uint64_t zones_met = 0;
        uint32_t taken = 0;
        for (uint32_t round = 0; round < 2; round++) {
            for (uint32_t i = 0; i < met_count && taken < scene->replicas; i++) {
                if ((set >> met[i] & 1) != 0 ||
                    (round == 0 && (zones_met >> zones[met[i]] & 1) != 0))
                    continue;
                zones_met |= (uint64_t)1 << zones[met[i]];
                set |= (uint64_t)1 << met[i];
                taken++;
            }
        }
        ret_sets[p] = set;
    }
}

/* Shares per weight as even as zones and members allow: the level by weight at which all copies are
 * given out, when no member holds a partition twice, no zone does while there are as many zones as
 * copies, and each zone has all partitions when there are fewer. */
static inline void oracle_fair(const struct oracle_scene *scene, double fair[MEMBERS_MAX])
{
    uint32_t zones[MEMBERS_MAX];
    uint32_t zone_count = oracle_zones(scene, zones);
    uint32_t n = scene->replicas < scene->count ? scene->replicas : scene->count;
    double q = scene->partitions;
    double low = 0;
    double high = 2 * q;
    for (int round = 0; round < 100; round++) {
        double level = (low + high) / 2;
        double sums[MEMBERS_MAX] = {0};
        double weights[MEMBERS_MAX] = {0};
        double sum = 0;
        for (uint32_t i = 0; i < scene->count; i++) {
            double share = level * scene->members[i].weight;
            fair[i] = share < q ? share : q;
            sums[zones[i]] += fair[i];
            weights[zones[i]] += scene->members[i].weight;
        }
        for (uint32_t i = 0; i < scene->count; i++) {
            double zone = sums[zones[i]];
            bool cut = zone_count >= n ? zone > q : zone < q;
            if (cut)
                fair[i] = q * scene->members[i].weight / weights[zones[i]];
            sum += fair[i];
        }
        if (sum < q * n)
            low = level;
        else
            high = level;
    }
}

/* A minimum-cost flow: the copies from partitions over their zones to members. Costs are 0 where
 * the member had the copy and 1 where not. */
struct flow {
    struct flow_edge {
        uint32_t to;
        int32_t next;
        int32_t left;
        int32_t cost;
    } * edges;
    int32_t *first;
    int32_t *distance;
    int32_t *current;
    uint8_t *marked;
    uint32_t *queue;
    uint32_t edge_count;
    uint32_t node_count;
};

static inline void flow_add(struct flow *flow, uint32_t from, uint32_t to, int32_t most,
                            int32_t cost)
{
    flow->edges[flow->edge_count] = (struct flow_edge){to, flow->first[from], most, cost};
    flow->first[from] = (int32_t)flow->edge_count++;
    flow->edges[flow->edge_count] = (struct flow_edge){from, flow->first[to], 0, -cost};
    flow->first[to] = (int32_t)flow->edge_count++;
}

/* Distances by cost from node 0 (Bellman and Ford, with a queue). Whether node 1 is reached. */
static inline bool flow_search(struct flow *flow)
{
    uint32_t ring = flow->node_count + 1;
    uint32_t head = 0;
    uint32_t tail = 0;
    memset(flow->marked, 0, flow->node_count);
    for (uint32_t i = 0; i < flow->node_count; i++)
        flow->distance[i] = INT32_MAX;
    flow->distance[0] = 0;
    flow->queue[tail++] = 0;
    while (head != tail) {
        uint32_t node = flow->queue[head];
        head = (head + 1) % ring;
        flow->marked[node] = 0;
        for (int32_t e = flow->first[node]; e >= 0; e = flow->edges[e].next) {
            const struct flow_edge *edge = &flow->edges[e];
            if (edge->left == 0 || flow->distance[node] + edge->cost >= flow->distance[edge->to])
                continue;
            flow->distance[edge->to] = flow->distance[node] + edge->cost;
            if (flow->marked[edge->to] == 0) {
                flow->marked[edge->to] = 1;
                flow->queue[tail] = edge->to;
                tail = (tail + 1) % ring;
            }
        }
    }
    return flow->distance[1] != INT32_MAX;
}

static inline int32_t flow_push(struct flow *flow, uint32_t node, int32_t most)
{
    if (node == 1)
        return most;
    int32_t pushed = 0;
    flow->marked[node] = 1;
    for (; flow->current[node] >= 0 && pushed < most;) {
        int32_t e = flow->current[node];
        struct flow_edge *edge = &flow->edges[e];
        if (edge->left > 0 && flow->marked[edge->to] == 0 &&
            flow->distance[edge->to] == flow->distance[node] + edge->cost) {
            int32_t room = most - pushed < edge->left ? most - pushed : edge->left;
            int32_t part = flow_push(flow, edge->to, room);
            edge->left -= part;
            flow->edges[e ^ 1].left += part;
            pushed += part;
            if (pushed == most)
                break;
        }
        flow->current[node] = edge->next;
    }
    flow->marked[node] = 0;
    return pushed;
}

/* Sends all that can be sent from node 0 to node 1 at the least cost. */
static inline int32_t flow_run(struct flow *flow, int32_t *ret_cost)
{
    int32_t sent = 0;
    *ret_cost = 0;
    while (flow_search(flow)) {
        for (;;) {
            memcpy(flow->current, flow->first, flow->node_count * sizeof *flow->first);
            memset(flow->marked, 0, flow->node_count);
            int32_t pushed = flow_push(flow, 0, INT32_MAX);
            if (pushed == 0)
                break;
            sent += pushed;
            *ret_cost += pushed * flow->distance[1];
        }
    }
    return sent;
}

/* The fewest copies that must be made anew by any sets whatever that give each member its fair
 * share rounded down or up, no member a partition twice, and zones as the walk has them. Rings can
 * make only some of these sets, so this is a lower bound on what any claim moves. */
static inline uint32_t oracle_least_moves(const struct oracle_scene *scene, const uint64_t *before)
{
    uint32_t zones[MEMBERS_MAX];
    double fair[MEMBERS_MAX];
    uint32_t zone_count = oracle_zones(scene, zones);
    uint32_t wanted = scene->replicas < scene->count ? scene->replicas : scene->count;
    uint32_t q = scene->partitions;
    uint32_t nodes = 3 + scene->count + q + q * (zone_count + 1);
    uint32_t edges = 2 * (1 + 2 * scene->count + q * (2 + 2 * zone_count + scene->count));
    struct flow flow = {.node_count = nodes};
    flow.edges = malloc(edges * sizeof *flow.edges);
    flow.first = malloc(nodes * sizeof *flow.first);
    flow.distance = malloc(nodes * sizeof *flow.distance);
    flow.current = malloc(nodes * sizeof *flow.current);
    flow.queue = malloc((nodes + 1) * sizeof *flow.queue);
    flow.marked = malloc(nodes);
    memset(flow.first, 0xff, nodes * sizeof *flow.first);
    oracle_fair(scene, fair);
    int32_t above = (int32_t)(q * wanted);
    for (uint32_t i = 0; i < scene->count; i++) {
        int32_t low = (int32_t)(fair[i] + 1e-6);
        flow_add(&flow, 3 + i, 1, low, 0);
        flow_add(&flow, 3 + i, 2, fair[i] - low > 1e-6 ? 1 : 0, 0);
        above -= low;
    }
    flow_add(&flow, 2, 1, above, 0);
    for (uint32_t p = 0; p < q; p++) {
        uint32_t node = 3 + scene->count + p;
        uint32_t zone_node = 3 + scene->count + q + p * (zone_count + 1);
        bool few = zone_count < wanted;
        flow_add(&flow, 0, node, (int32_t)wanted, 0);
        for (uint32_t z = 0; z < zone_count; z++) {
            flow_add(&flow, node, zone_node + z, 1, 0);
            if (few) /* beyond one of each zone, any */
                flow_add(&flow, zone_node + zone_count, zone_node + z, (int32_t)wanted, 0);
        }
        if (few)
            flow_add(&flow, node, zone_node + zone_count, (int32_t)(wanted - zone_count), 0);
        for (uint32_t i = 0; i < scene->count; i++) {
            if (scene->members[i].weight != 0)
                flow_add(&flow, zone_node + zones[i], 3 + i, 1, (before[p] >> i & 1) == 0);
        }
    }
    int32_t cost = 0;
    int32_t sent = flow_run(&flow, &cost);
    free(flow.edges);
    free(flow.first);
    free(flow.distance);
    free(flow.current);
    free(flow.queue);
    free(flow.marked);
    return sent == (int32_t)(q * wanted) ? (uint32_t)cost : UINT32_MAX;
}

#endif
