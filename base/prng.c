#include "base/prng.h"

#include "base/check.h"

static uint64_t splitmix64(uint64_t *state)
{
    uint64_t z = (*state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static uint64_t rotate_left(uint64_t x, unsigned bits)
{
    return (x << bits) | (x >> (64 - bits));
}

void prng_init(struct prng *prng, uint64_t seed, uint64_t stream)
{
    uint64_t mixer = stream;
    mixer = splitmix64(&mixer) ^ seed;
    for (int i = 0; i < 4; i++)
        prng->state[i] = splitmix64(&mixer);
}

uint64_t prng_u64(struct prng *prng)
{
    uint64_t *s = prng->state;
    uint64_t result = rotate_left(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate_left(s[3], 45);
    return result;
}

uint64_t prng_below(struct prng *prng, uint64_t bound)
{
    CHECK(bound > 0);
    uint64_t threshold = (0 - bound) % bound; /* reject the part that would be counted twice */
    for (;;) {
        uint64_t draw = prng_u64(prng);
        if (draw >= threshold)
            return draw % bound;
    }
}

uint64_t prng_between(struct prng *prng, uint64_t low, uint64_t high)
{
    CHECK(low <= high);
    return high - low == UINT64_MAX ? prng_u64(prng) : low + prng_below(prng, high - low + 1);
}

double prng_unit(struct prng *prng)
{
    return (double)(prng_u64(prng) >> 11) * 0x1.0p-53;
}

bool prng_chance(struct prng *prng, double probability)
{
    return prng_unit(prng) < probability;
}
