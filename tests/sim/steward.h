/* steward.h -- who changes the cluster while it runs: members join, leave, are replaced for good,
 * get other weights and zones; keyspaces get another number of replicas (steward_replicas.h);
 * changes are committed, paused, resumed and aborted at any moment.
 *
 * The steward looks at the newest document that is in force anywhere and does the next thing that
 * it asks for, so an answer that was lost, or that says "unknown", needs nothing of its own. Once
 * the faults have healed it brings what it has begun to an end. While a change runs others ask for
 * something at the same moments, so that proposers meet.
 *
 * Also here: what must hold of documents. One document an epoch, whoever has it; from one to the
 * next every partition stays or takes one step, or the whole change turns round.
 */
#ifndef SIM_STEWARD_H
#define SIM_STEWARD_H

#include "tests/sim/options.h"

#include "actors/message.h"
#include "base/prng.h"

struct world;
struct host;

#define EPOCHS_SIM_MAX 8192u

struct steward_figures {
    uint64_t asked;
    uint64_t unknown;
    uint64_t refused;
    uint64_t commits;
    uint64_t aborts;
    uint64_t joins;
    uint64_t deaths;
    uint64_t finished;
    uint64_t moved; /* partitions that went over from one set to another, or back */
    /* Keyspaces in changes that have ended: with more replicas in a data centre than before, with
     * fewer; in changes that were taken back; and of the first two those of registers */
    uint64_t replicated_more;
    uint64_t replicated_fewer;
    uint64_t replicated_back;
    uint64_t replicated_registers;
};

struct steward {
    struct prng prng;
    uint32_t left;         /* changes still to be begun */
    uint32_t replications; /* of the number of replicas, beside those */
    /* the question under way */
    bool asked;
    uint32_t node;
    uint32_t start; /* of the node */
    uint64_t id;
    uint64_t until_ns;
    enum topology_operation_kind kind;
    uint32_t member;
    bool gone;
    bool refused; /* the commit of what is staged: it is forced or taken back */
    bool stuck;   /* members are gone and too few are left: nor can it be taken back. One joins */
    bool joining; /* a join whose outcome is not known */
    uint8_t join_id[16];                /* of it */
    uint32_t names;                     /* that were given */
    uint64_t documents[EPOCHS_SIM_MAX]; /* hash by epoch; 0: not seen */
};

void steward_init(struct steward *steward, uint64_t seed, uint32_t changes);
/* The safety phase begins. */
void steward_start(struct world *world);
/* Event. */
void steward_on_turn(struct world *world);
void steward_on_done(struct world *world, const struct client_topology_done *done);
/* A node has begun to act by this document. */
void steward_saw(struct world *world, struct host *host, const struct topology *topology);
/* Nothing is staged or under way, every member knows it, and who has left is gone. */
bool steward_settled(struct world *world, char *why, size_t why_size);
/* It is, by the newest document, and has not been given up. */
bool steward_is_member(const struct world *world, uint32_t node);
/* A node that acts by the newest document, or any that is up; NULL: none is. */
const struct host *steward_newest_host(const struct world *world);

#endif
