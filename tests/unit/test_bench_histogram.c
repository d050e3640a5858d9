// link: coterie_base
/* Quantiles of coterie-bench: within 1/128 above the true value, never below it, never above the
 * maximum. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/prng.h"
#include "bench/bench_histogram.c"

#include <stdlib.h>

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void quantiles_are_close_from_above(void **state)
{
    (void)state;
    enum { COUNT = 20000 };
    static uint64_t values[COUNT];
    static struct histogram histogram;
    static const double quantiles[] = {0, 0.01, 0.5, 0.9, 0.99, 0.999, 0.9999, 1};
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct prng prng;
        prng_init(&prng, seed, 0);
        histogram = (struct histogram){0};
        for (int i = 0; i < COUNT; i++) {
            /* From 0 to 2^41, every magnitude as likely. */
            values[i] = prng_u64(&prng) >> prng_between(&prng, 23, 63);
            histogram_add(&histogram, values[i]);
        }
        qsort(values, COUNT, sizeof values[0], compare_u64);
        assert_int_equal(histogram.count, COUNT);
        assert_int_equal(histogram.max_ns, values[COUNT - 1]);
        for (size_t i = 0; i < ARRAY_COUNT(quantiles); i++) {
            uint64_t rank = (uint64_t)ceil(quantiles[i] * COUNT);
            uint64_t exact = values[rank == 0 ? 0 : rank - 1];
            uint64_t told = histogram_quantile_ns(&histogram, quantiles[i]);
            assert_true(told >= exact);
            assert_true(told - exact <= exact / 128);
            assert_true(told <= histogram.max_ns);
        }
    }
}

static void buckets_are_contiguous(void **state)
{
    (void)state;
    for (uint32_t i = 0; i + 1 < HISTOGRAM_BUCKETS; i++) {
        uint64_t last = bucket_last(i);
        assert_int_equal(bucket_of(last), i);
        assert_int_equal(bucket_of(last + 1), i + 1);
    }
    assert_int_equal(bucket_of(UINT64_MAX), HISTOGRAM_BUCKETS - 1);
}

static void merging_is_adding(void **state)
{
    (void)state;
    static struct histogram a, b, all;
    for (uint64_t i = 0; i < 1000; i++) {
        histogram_add(i % 3 == 0 ? &a : &b, i * i);
        histogram_add(&all, i * i);
    }
    histogram_merge(&a, &b);
    assert_memory_equal(&a, &all, sizeof all);
    static const struct histogram none;
    assert_int_equal(histogram_quantile_ns(&none, 0.5), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quantiles_are_close_from_above),
        cmocka_unit_test(buckets_are_contiguous),
        cmocka_unit_test(merging_is_adding),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
