#include "model/topology_sets.h"

#include <string.h>

/* That of the keyspace which exists in every cluster: unseen ones are hardly greater. */
#define N_USUAL 3u

uint32_t topology_side_n(const struct topology *topology, enum topology_side side,
                         const struct keyspace *keyspace, uint32_t data_center)
{
    return topology_replicas(topology, side, keyspace->id, data_center,
                             keyspace_n(keyspace, topology->data_centers[data_center]));
}

void topology_side_list(const struct topology *topology, enum topology_side side, uint32_t n,
                        uint32_t data_center, uint32_t partition, struct preference_list *ret_list)
{
    if (n == 0)
        *ret_list = (struct preference_list){0};
    else
        ring_preference_list(topology, side, data_center, partition, n, ret_list);
}

struct replica_class topology_class(const struct topology *topology,
                                    const struct keyspace *keyspace)
{
    struct replica_class class = {0};
    for (uint32_t i = 0; i < topology->data_center_count; i++) {
        for (uint32_t side = 0; side < 2; side++) {
            uint32_t n = topology_side_n(topology, (enum topology_side)side, keyspace, i);
            class.n[side][i] = (uint8_t)(n < REPLICAS_MAX ? n : REPLICAS_MAX);
        }
    }
    return class;
}

static void classes_add(struct replica_classes *classes, const struct replica_class *class)
{
    for (uint32_t i = 0; i < classes->count_possible; i++) {
        if (memcmp(&classes->classes[i], class, sizeof *class) == 0)
            return;
    }
    classes->classes[classes->count_possible++] = *class;
}

void topology_classes(const struct topology *topology, const struct keyspace_map *keyspaces,
                      struct replica_classes *ret_classes)
{
    struct replica_classes *classes = ret_classes;
    classes->count_possible = 0;
    uint32_t n_max = N_USUAL;
    for (uint32_t i = 0; i < keyspaces->count; i++) {
        if (keyspaces->keyspaces[i].dropped)
            continue;
        struct replica_class class = topology_class(topology, &keyspaces->keyspaces[i]);
        classes_add(classes, &class);
        for (uint32_t k = 0; k < topology->data_center_count; k++) {
            n_max = class.n[TOPOLOGY_NOW][k] > n_max ? class.n[TOPOLOGY_NOW][k] : n_max;
            n_max = class.n[TOPOLOGY_NEXT][k] > n_max ? class.n[TOPOLOGY_NEXT][k] : n_max;
        }
    }
    classes->count = classes->count_possible;
    for (uint8_t n = 1; n <= n_max; n++) {
        struct replica_class class = {0};
        for (uint32_t k = 0; k < topology->data_center_count; k++)
            class.n[TOPOLOGY_NOW][k] = class.n[TOPOLOGY_NEXT][k] = n;
        classes_add(classes, &class);
    }
}

struct side_sets topology_sets(const struct topology *topology, const struct replica_class *class,
                               uint32_t partition)
{
    struct side_sets sets = {0};
    for (uint32_t i = 0; i < topology->data_center_count; i++) {
        uint32_t sizes[2] = {0};
        for (uint32_t side = 0; side < 2; side++) {
            struct preference_list list;
            topology_side_list(topology, (enum topology_side)side, class->n[side][i], i, partition,
                               &list);
            sizes[side] = list.replicas;
            for (uint32_t k = 0; k < list.replicas; k++)
                sets.sets[side] |= (uint64_t)1 << topology_member(topology, list.members[k])->slot;
        }
        sets.shrinks = sets.shrinks || sizes[TOPOLOGY_NEXT] < sizes[TOPOLOGY_NOW];
    }
    return sets;
}
