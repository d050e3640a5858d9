/* prng.h -- seeded random numbers: xoshiro256** (Blackman and Vigna 2018), seeded by SplitMix64.
 *
 * Same seed, same sequence, on every machine. One stream per concern, so that a new draw in one
 * does not shift the others. Not for secrets.
 */
#ifndef BASE_PRNG_H
#define BASE_PRNG_H

#include <stdbool.h>
#include <stdint.h>

struct prng {
    uint64_t state[4];
};

/* `stream` separates sequences drawn from one seed. */
void prng_init(struct prng *prng, uint64_t seed, uint64_t stream);
uint64_t prng_u64(struct prng *prng);
/* Uniform in [0, bound); bound > 0. Unbiased. */
uint64_t prng_below(struct prng *prng, uint64_t bound);
/* Uniform in [low, high], both included. */
uint64_t prng_between(struct prng *prng, uint64_t low, uint64_t high);
/* Uniform in [0, 1). */
double prng_unit(struct prng *prng);
bool prng_chance(struct prng *prng, double probability);

#endif
