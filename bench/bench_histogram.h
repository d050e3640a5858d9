/* bench_histogram.h -- counts of durations in log-linear buckets: below 128 ns exact, above within
 * 1/128.
 *
 * The layout is HdrHistogram's idea: each power of two is cut into 128 equal buckets. One writer.
 */
#ifndef BENCH_BENCH_HISTOGRAM_H
#define BENCH_BENCH_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_SUB_BITS 7u
#define HISTOGRAM_BITS_MAX 42u /* longer than 73 minutes counts as that */
#define HISTOGRAM_BUCKETS  ((HISTOGRAM_BITS_MAX - HISTOGRAM_SUB_BITS + 1u) << HISTOGRAM_SUB_BITS)

struct histogram {
    uint64_t count;
    uint64_t sum_ns;
    uint64_t max_ns; /* exact */
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_add(struct histogram *histogram, uint64_t value_ns);
void histogram_merge(struct histogram *into, const struct histogram *from);
/* The least bucket's upper end that at least `quantile` (0..1) of all values do not exceed; never
 * above the maximum. 0 when empty. */
uint64_t histogram_quantile_ns(const struct histogram *histogram, double quantile);

#endif
