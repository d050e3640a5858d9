/* faults_disk.h -- what may befall the data of a node: its disk wiped, put back to an older copy,
 * taken for another node's, or rotten in places.
 *
 * There is a budget: what is lost on one disk is always on another one, durable, so that nothing
 * that was acknowledged is gone for good. While a partition goes over, that is so in each of its
 * two sets. An incident for which it does not hold yet waits.
 */
#ifndef SIM_FAULTS_DISK_H
#define SIM_FAULTS_DISK_H

#include "model/merkle.h"
#include "tests/sim/faults.h"

struct host;

/* Takes the copy that a later restore puts back. */
void faults_disk_begin(struct world *world, struct incident *incident);
void faults_disk_end(struct incident *incident);
/* The node's data may go now: everything durable on it is durable elsewhere (or in the copy that
 * comes in its place). */
bool faults_disk_may_lose(struct world *world, const struct incident *incident);
/* Whether the node is a voter of the topology's log, and how many others remember their promises.
 */
bool faults_disk_log_remembers(const struct world *world, uint32_t node, uint32_t *ret_voters,
                               uint32_t *ret_others);
/* The node is down: wipes, restores or clones. */
void faults_disk_lose(struct world *world, struct incident *incident);
/* Turns over some bits, of copies that are not the last ones. */
void faults_disk_rot(struct world *world, struct incident *incident);
/* Perhaps a block of the node cannot be read any more: what lies there is elsewhere, of what else
 * the copy holds perhaps nothing. */
void faults_disk_hide(struct world *world, const struct incident *incident);
/* Other replicas could mend it in each keyspace. */
bool faults_disk_may_hide(const struct host *host, uint32_t partition);
/* Hashes of a block that begins with this one. */
struct merkle_range faults_disk_block(struct world *world, struct prng *prng, uint64_t hash);

#endif
