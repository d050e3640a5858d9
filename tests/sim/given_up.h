/* given_up.h -- keys of which nobody can read the last copy, and the operator who gives them up
 * (coterie repair --give-up-bad-rows).
 *
 * In some runs a disk is lost of which a key's only other copy has rotted: of two replicas one is
 * empty and one cannot read its row. Until somebody gives the row up each read of the key fails or
 * covers all that it has to, as any other (check_monotonic.c); nothing is excused. When all has
 * healed, and replicas still have bad rows after some time, each node is asked to give up what
 * nobody can mend. From then on what had been written to these keys is lost, but for what sound
 * copies hold of it.
 */
#ifndef SIM_GIVEN_UP_H
#define SIM_GIVEN_UP_H

#include "actors/message.h"

struct world;
struct operation;

struct given_up {
    uint32_t times;      /* that the operator has acted */
    uint64_t at_ns;      /* the last time */
    uint64_t rotten;     /* rows, with the only other copy gone */
    uint64_t keys;       /* given up */
    uint64_t message_id; /* of the last question */
};

/* The disk of a node has just been wiped: some keys lose their other copy. */
void given_up_rot(struct world *world, uint32_t node);
/* While all settles. */
void given_up_look(struct world *world);
/* A write of before its key was given up. */
bool given_up_is(const struct world *world, const struct operation *operation);

#endif
