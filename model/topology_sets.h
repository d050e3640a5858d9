/* topology_sets.h -- the replicas of a partition on either side of a document: the only place that
 * says who they are. As a list for one keyspace and data centre, which requests are planned from
 * (actors/view.h), and as bit sets by slot.
 *
 * What a change means for a partition follows from these sets alone. A set depends on how many
 * replicas are asked for in each data centre, so keyspaces that ask alike share a class.
 */
#ifndef MODEL_TOPOLOGY_SETS_H
#define MODEL_TOPOLOGY_SETS_H

#include "model/keyspace.h"
#include "model/ring.h"

struct replica_class {
    uint8_t n[2][DATA_CENTERS_MAX]; /* by side and data centre; 0: none there */
};

struct replica_classes {
    uint32_t count; /* of keyspaces there are */
    /* And of those that may have been created unseen: every N up to the greatest in use, alike in
     * all data centres. After the others. */
    uint32_t count_possible;
    struct replica_class classes[KEYSPACES_MAX + REPLICAS_MAX];
};

/* Bit by slot. */
struct side_sets {
    uint64_t sets[2];
    bool shrinks; /* in a data centre the set of the side NEXT is the smaller one */
};

/* N of the keyspace in a data centre, on one side. */
uint32_t topology_side_n(const struct topology *topology, enum topology_side side,
                         const struct keyspace *keyspace, uint32_t data_center);
/* That many replicas in the order of the walk, then fallbacks; empty for none. */
void topology_side_list(const struct topology *topology, enum topology_side side, uint32_t n,
                        uint32_t data_center, uint32_t partition, struct preference_list *ret_list);

struct replica_class topology_class(const struct topology *topology,
                                    const struct keyspace *keyspace);
/* Of the keyspaces that are not dropped. */
void topology_classes(const struct topology *topology, const struct keyspace_map *keyspaces,
                      struct replica_classes *ret_classes);
struct side_sets topology_sets(const struct topology *topology, const struct replica_class *class,
                               uint32_t partition);

#endif
