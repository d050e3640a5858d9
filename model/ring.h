/* ring.h -- the preference list: which nodes hold a partition, in order, and who stands in.
 *
 * The walk goes clockwise from the partition and takes owners that are distinct nodes: first those
 * in a zone not yet taken while such zones exist, until N replicas stand; what the walk meets after
 * them are the fallbacks, in walk order. One list per data centre and side. Source: Dynamo (SOSP
 * 2007) 4.3, 4.6.
 */
#ifndef MODEL_RING_H
#define MODEL_RING_H

#include "model/topology.h"

struct preference_list {
    uint32_t count;    /* replicas and fallbacks together, at most MEMBERS_MAX */
    uint32_t replicas; /* the first `replicas` are the N (fewer when the data centre is smaller) */
    uint32_t members[MEMBERS_MAX];
};

/* Of one data centre (index). n >= 1. Every owner of the data centre is in the list. */
void ring_preference_list(const struct topology *topology, enum topology_side side,
                          uint32_t data_center, uint32_t partition, uint32_t n,
                          struct preference_list *ret_list);

#endif
