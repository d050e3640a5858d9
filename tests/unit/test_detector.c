// link: coterie_model
/* The phi accrual detector beyond the published values (test_detector_vectors.c): limits of its
 * formulas and its window, and the rule that a process which slept must doubt itself first. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/check.h"
#include "model/detector.h"

#include <math.h>

static void assert_near(double value, double expect, double tolerance)
{
    if (!(fabs(value - expect) <= tolerance))
        fail_msg("%g is not within %g of %g", value, tolerance, expect);
}

static void test_phi_is_monotone_and_finite(void **state)
{
    (void)state;
    for (int t = 0; t < 40; t++)
        assert_true(detector_phi_normal(t, 0, 10) < detector_phi_normal(t + 1, 0, 10));
    assert_true(detector_phi_normal(1100, 1000, 500) < detector_phi_normal(1100, 1000, 100));
    /* 7 deviations by the approximation's own constants: 7 (1.5976 + 0.070566 x 49) / ln 10. */
    assert_near(detector_phi_normal(1700, 1000, 100), 15.36856, 1e-4);
    assert_true(isfinite(detector_phi_normal(1e12, 0, 1)));
    assert_true(detector_phi_normal(1e6, 0, 1) < detector_phi_normal(2e6, 0, 1));
    assert_true(detector_phi_normal(-1e6, 0, 1) >= 0);
}

/* Where the published script says "up", it means until the next heartbeat is late. */
static void test_an_outage_stretches_nothing(void **state)
{
    (void)state;
    struct detector_options options = detector_options_default();
    options.threshold = 8;
    options.acceptable_pause_ms = 3000;
    struct detector detector;
    detector_init(&detector, options);
    uint64_t now_ms = 0;
    for (int i = 0; i < 1000; i++)
        detector_heartbeat(&detector, now_ms += 1000);
    assert_false(detector_available(&detector, now_ms += 5 * 60 * 1000));
    detector_heartbeat(&detector, now_ms += 100);
    assert_true(detector_available(&detector, now_ms += 900));
    detector_heartbeat(&detector, now_ms += 100);
    assert_false(detector_available(&detector, now_ms += 7000));
    detector_heartbeat(&detector, now_ms += 100);
    assert_true(detector_available(&detector, now_ms += 900));
}

/* A pause that is acceptable is what keeps a late peer up. */
static void test_acceptable_pause(void **state)
{
    (void)state;
    struct detector_options options = detector_options_default();
    options.acceptable_pause_ms = 3000;
    struct detector detector;
    detector_init(&detector, options);
    for (uint64_t now_ms = 0; now_ms <= 3000; now_ms += 1000)
        detector_heartbeat(&detector, now_ms);
    assert_true(detector_available(&detector, 7000));
    detector.options.acceptable_pause_ms = 0;
    assert_false(detector_available(&detector, 7000));
}

/* One short interval after the start must not make the next ordinary one look late. */
static void test_first_interval_may_be_odd(void **state)
{
    (void)state;
    struct detector detector;
    detector_init(&detector, detector_options_default());
    detector_heartbeat(&detector, 0);
    detector_heartbeat(&detector, 5);
    assert_true(detector_available(&detector, 1100));
    assert_false(detector_available(&detector, 10000));
    /* 750, 1250 (the guess) and 1000: mean 1000, deviation 204.124. */
    detector_init(&detector, detector_options_default());
    detector_heartbeat(&detector, 0);
    detector_heartbeat(&detector, 1000);
    assert_near(detector_phi(&detector, 2500), detector_phi_normal(1500, 1000, 204.124145), 1e-6);
}

/* A clock that the caller lets slip back makes nobody late, nor the window wild. */
static void test_time_never_runs_backwards(void **state)
{
    (void)state;
    struct detector detector;
    detector_init(&detector, detector_options_default());
    detector_heartbeat(&detector, 1000);
    detector_heartbeat(&detector, 400);
    assert_int_equal(detector.last_heartbeat_ms, 1000);
    assert_true(detector_phi(&detector, 0) < 1);
    assert_true(detector_mean_ms(&detector) == 0);
}

static void test_local_pause(void **state)
{
    (void)state;
    struct detector_self self = {0};
    assert_false(detector_self_doubts(&self, 100000, 5000)); /* the first tick has no past */
    assert_false(detector_self_doubts(&self, 101000, 5000));
    assert_false(detector_self_doubts(&self, 106000, 5000)); /* exactly the limit */
    assert_true(detector_self_doubts(&self, 106000 + 5001, 5000));
    assert_true(detector_self_doubts(&self, 112000, 5000));
    assert_true(detector_self_doubts(&self, 116000, 5000)); /* peers get as long to be heard */
    assert_false(detector_self_doubts(&self, 116001, 5000));
    assert_false(detector_self_doubts(&self, 117000, 5000));

    struct detector_self slipped = {0};
    assert_false(detector_self_doubts(&slipped, 100000, 5000));
    assert_false(detector_self_doubts(&slipped, 90000, 5000)); /* backwards is no pause */
    assert_false(detector_self_doubts(&slipped, 100500, 5000));
}

/* People are shown that it is late, not for how long (the paper: phi is a scale of suspicion). */
static void test_phi_for_people(void **state)
{
    (void)state;
    static const struct {
        double phi;
        const char *text;
    } cases[] = {{0, "0.0"},    {0.04, "0.0"},     {7.96, "8.0"}, {99, "99.0"},
                 {99.1, ">99"}, {123456.7, ">99"}, {1e300, ">99"}};
    char text[DETECTOR_PHI_TEXT_SIZE];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_string_equal(detector_phi_text(cases[i].phi, text), cases[i].text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_phi_is_monotone_and_finite),
        cmocka_unit_test(test_an_outage_stretches_nothing),
        cmocka_unit_test(test_acceptable_pause),
        cmocka_unit_test(test_first_interval_may_be_odd),
        cmocka_unit_test(test_time_never_runs_backwards),
        cmocka_unit_test(test_local_pause),
        cmocka_unit_test(test_phi_for_people),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
