#include "bench/bench_histogram.h"

#include "base/check.h"

#include <math.h>

#define SUB_COUNT (1u << HISTOGRAM_SUB_BITS)

static uint32_t bucket_of(uint64_t value)
{
    if (value < SUB_COUNT)
        return (uint32_t)value;
    unsigned top = 63u - (unsigned)__builtin_clzll(value); /* the highest bit set */
    if (top >= HISTOGRAM_BITS_MAX)
        return HISTOGRAM_BUCKETS - 1;
    unsigned shift = top - HISTOGRAM_SUB_BITS;
    return (shift + 1) * SUB_COUNT + (uint32_t)(value >> shift) - SUB_COUNT;
}

/* The greatest value that the bucket holds. */
static uint64_t bucket_last(uint32_t bucket)
{
    if (bucket < SUB_COUNT)
        return bucket;
    unsigned shift = bucket / SUB_COUNT - 1;
    uint64_t first = (uint64_t)(SUB_COUNT + bucket % SUB_COUNT) << shift;
    return first + ((uint64_t)1 << shift) - 1;
}

void histogram_add(struct histogram *histogram, uint64_t value_ns)
{
    histogram->buckets[bucket_of(value_ns)]++;
    histogram->count++;
    histogram->sum_ns += value_ns;
    if (value_ns > histogram->max_ns)
        histogram->max_ns = value_ns;
}

void histogram_merge(struct histogram *into, const struct histogram *from)
{
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        into->buckets[i] += from->buckets[i];
    into->count += from->count;
    into->sum_ns += from->sum_ns;
    if (from->max_ns > into->max_ns)
        into->max_ns = from->max_ns;
}

uint64_t histogram_quantile_ns(const struct histogram *histogram, double quantile)
{
    CHECK(quantile >= 0 && quantile <= 1);
    uint64_t rank = (uint64_t)ceil(quantile * (double)histogram->count);
    uint64_t seen = 0;
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += histogram->buckets[i];
        if (seen >= rank && seen > 0) {
            uint64_t last = bucket_last(i);
            return last < histogram->max_ns ? last : histogram->max_ns;
        }
    }
    return 0;
}
