#include "tests/sim/random.h"

/* The natural logarithm by its series, so that every machine and library gives the same bits. */
static double log_natural(double x)
{
    int exponent = 0;
    while (x >= 2) {
        x /= 2;
        exponent++;
    }
    while (x < 1) {
        x *= 2;
        exponent--;
    }
    double y = (x - 1) / (x + 1);
    double square = y * y;
    double power = y;
    double sum = 0;
    for (int i = 1; i < 30; i += 2) {
        sum += power / i;
        power *= square;
    }
    return 2 * sum + exponent * 0.693147180559945309417;
}

uint64_t random_exponential(struct prng *prng, uint64_t mean)
{
    double unit = 1 - prng_unit(prng); /* (0, 1] */
    return (uint64_t)(-log_natural(unit) * (double)mean);
}

uint64_t random_log(struct prng *prng, uint64_t low, uint64_t high)
{
    uint64_t octaves = 0;
    while ((low << octaves) < high)
        octaves++;
    if (octaves == 0)
        return low;
    uint64_t floor = low << prng_below(prng, octaves);
    uint64_t ceiling = 2 * floor < high ? 2 * floor : high;
    return prng_between(prng, floor, ceiling);
}
