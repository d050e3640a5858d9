// link: coterie_model
/* Hybrid logical clock: greater than all given or seen before, near the wall clock, and not to be
 * dragged into the future (Kulkarni et al., OPODIS 2014). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/prng.h"
#include "model/hlc.h"

static uint64_t at(uint64_t wall_ms, uint64_t counter)
{
    return wall_ms << 16 | counter;
}

static void test_now(void **state)
{
    (void)state;
    struct hlc hlc;
    hlc_init(&hlc, 1000);
    const struct {
        uint64_t wall_ms;
        uint64_t expect;
    } rows[] = {
        {5000, at(5000, 0)}, {5000, at(5000, 1)}, {5000, at(5000, 2)},
        {5001, at(5001, 0)}, {4000, at(5001, 1)}, /* the wall clock went back */
        {5001, at(5001, 2)}, {5002, at(5002, 0)}, {0, at(5002, 1)},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_int_equal(hlc_now(&hlc, rows[i].wall_ms), rows[i].expect);
    assert_int_equal(hlc_wall_ms(at(5002, 1)), 5002);
}

static void test_counter_runs_over(void **state)
{
    (void)state;
    struct hlc hlc;
    hlc_init(&hlc, 1000);
    uint64_t last = hlc_now(&hlc, 7);
    for (uint32_t i = 0; i < 70000; i++) {
        uint64_t now = hlc_now(&hlc, 7);
        assert_true(now > last);
        last = now;
    }
    assert_int_equal(hlc_wall_ms(last), 8);
}

static void test_observe(void **state)
{
    (void)state;
    struct hlc hlc;
    hlc_init(&hlc, 1000);
    assert_int_equal(hlc_now(&hlc, 5000), at(5000, 0));
    assert_int_equal(hlc_observe(&hlc, at(4000, 9), 5000), OK); /* old: nothing to learn */
    assert_int_equal(hlc_now(&hlc, 5000), at(5000, 1));
    assert_int_equal(hlc_observe(&hlc, at(6000, 0xFFFF), 5000), OK); /* exactly the bound */
    assert_int_equal(hlc_now(&hlc, 5000), at(6001, 0));
    struct hlc before = hlc;
    assert_int_equal(hlc_observe(&hlc, at(6001, 0), 5000), ERR_LIMIT);
    assert_int_equal(hlc_observe(&hlc, UINT64_MAX, 5000), ERR_LIMIT);
    assert_memory_equal(&hlc, &before, sizeof hlc);

    hlc_init(&hlc, UINT64_MAX); /* no bound: yet nothing may wear the clock out */
    assert_int_equal(hlc_observe(&hlc, UINT64_MAX, 0), ERR_LIMIT);
    assert_int_equal(hlc_observe(&hlc, at(1, 0), UINT64_MAX), OK);
}

/* Three nodes with skewed and jumping clocks that exchange timestamps. */
static void test_causality(void **state)
{
    (void)state;
    struct prng prng;
    prng_init(&prng, 12, 0);
    for (uint32_t round = 0; round < 300; round++) {
        struct hlc nodes[3];
        uint64_t skew_ms[3];
        uint64_t seen[3] = {0};
        for (int i = 0; i < 3; i++) {
            hlc_init(&nodes[i], HLC_AHEAD_MAX_DEFAULT_MS);
            skew_ms[i] = prng_below(&prng, 2 * HLC_AHEAD_MAX_DEFAULT_MS);
        }
        uint64_t true_ms = 1700000000000;
        uint64_t refused = 0;
        for (uint32_t step = 0; step < 200; step++) {
            true_ms += prng_below(&prng, 3);
            uint64_t from = prng_below(&prng, 3);
            uint64_t to = prng_below(&prng, 3);
            if (prng_chance(&prng, 0.02))
                skew_ms[from] = prng_below(&prng, 2 * HLC_AHEAD_MAX_DEFAULT_MS);
            uint64_t sent = hlc_now(&nodes[from], true_ms + skew_ms[from]);
            assert_true(sent > seen[from]);
            seen[from] = sent;
            if (hlc_observe(&nodes[to], sent, true_ms + skew_ms[to]) != OK) {
                refused++;
                assert_true(hlc_wall_ms(sent) > true_ms + skew_ms[to] + HLC_AHEAD_MAX_DEFAULT_MS);
                continue;
            }
            seen[to] = sent > seen[to] ? sent : seen[to];
            uint64_t received = hlc_now(&nodes[to], true_ms + skew_ms[to]);
            assert_true(received > sent && received > seen[to]);
            seen[to] = received;
            assert_true(hlc_wall_ms(received) <= true_ms + 2 * HLC_AHEAD_MAX_DEFAULT_MS);
        }
        assert_true(refused < 200);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_now),
        cmocka_unit_test(test_counter_runs_over),
        cmocka_unit_test(test_observe),
        cmocka_unit_test(test_causality),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
