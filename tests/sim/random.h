/* random.h -- one stream of random numbers a concern, and the distributions that are drawn from
 * them.
 */
#ifndef SIM_RANDOM_H
#define SIM_RANDOM_H

#include "base/prng.h"

enum random_stream {
    RANDOM_OPTIONS = 1,
    RANDOM_EVENTS, /* order of what happens at the same time */
    RANDOM_NETWORK,
    RANDOM_LINKS,
    RANDOM_DISK,
    RANDOM_CLOCK,
    RANDOM_FAULTS,                         /* when and where; + class: one stream each */
    RANDOM_REGISTERS = RANDOM_FAULTS + 63, /* clients of consistent keyspaces */
    RANDOM_WORKLOAD = RANDOM_FAULTS + 64,
    RANDOM_NODES, /* delays inside a node */
    RANDOM_STEWARD = 900,
    RANDOM_REGISTERS_OPTIONS,
    RANDOM_CENTERS,
    RANDOM_GIVEN_UP,
    RANDOM_HOLES,
    RANDOM_ACTORS = 1000, /* + node, start and actor */
};

/* Exponential with this mean. */
uint64_t random_exponential(struct prng *prng, uint64_t mean);
/* Uniform in the logarithm, [low, high], low >= 1: each order of magnitude is as likely. */
uint64_t random_log(struct prng *prng, uint64_t low, uint64_t high);

#endif
