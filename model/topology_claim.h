/* topology_claim.h -- the ring of one data centre, claimed by the members that have a place there.
 */
#ifndef MODEL_TOPOLOGY_CLAIM_H
#define MODEL_TOPOLOGY_CLAIM_H

#include "model/keyspace.h"
#include "model/topology.h"

/* Fills owners[side] of the data centre: for its members on that side, with the owners on the side
 * NOW as those before, for keyspaces of up to `replicas` copies there. Nobody's where no member has
 * a place. */
void topology_claim(struct arena *arena, struct topology *topology, enum topology_side side,
                    uint32_t data_center, uint32_t replicas);
/* New rings of the side NEXT for all data centres, as the keyspaces need them. */
void topology_claim_next(struct arena *arena, struct topology *topology,
                         const struct keyspace_map *keyspaces);

#endif
