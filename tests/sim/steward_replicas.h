/* steward_replicas.h -- how many replicas keyspaces have while the steward changes that: keys of
 * both modes get more of them and fewer, in all data centres alike or in each its own number, also
 * none in one of several.
 *
 * A keyspace is named by its place in the options; the place behind the last one is that of the
 * registers.
 */
#ifndef SIM_STEWARD_REPLICAS_H
#define SIM_STEWARD_REPLICAS_H

#include "tests/sim/options.h"

#include "actors/message.h"
#include "model/topology.h"

struct world;

#define STEWARD_REPLICAS_MAX 4u

/* By the newest document. */
uint32_t steward_replicas(const struct world *world, uint32_t keyspace, enum topology_side side,
                          uint32_t data_center);
/* The least of both sides and of all data centres that have any. */
uint32_t steward_replicas_least(const struct world *world, uint32_t keyspace);
/* The same over all keyspaces of this run, also that of the registers. */
uint32_t steward_replicas_least_of_all(const struct world *world);
/* Replicas of a key in all data centres, by their members; and the least of both sides. */
uint32_t steward_replicas_sum(const struct world *world, uint32_t keyspace,
                              enum topology_side side);
uint32_t steward_replicas_sum_least(const struct world *world, uint32_t keyspace);
/* Votes in registers may be lost: of fewer than three copies none may be, for two are a majority
 * with both of their votes alone. */
bool steward_votes_go(const struct world *world);
/* Another number for one keyspace, that its data centres have members for when all that is staged
 * has happened; three at least where a vote may be lost. False: there is none. */
bool steward_draw_replicate(struct world *world, struct topology_operation *operation);
/* Counts what a change that ends with this document has done to keyspaces. */
void steward_count_replications(struct world *world, const struct topology *before,
                                const struct topology *after);

#endif
