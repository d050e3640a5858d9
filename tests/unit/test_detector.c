// link: coterie_model jansson
/* The phi accrual detector against published values (phi_accrual.json: Akka and Cassandra tests)
 * and the rule that a process which slept must doubt itself first. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/check.h"
#include "model/detector.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define VECTORS VECTORS_DIR "/phi_accrual.json"

static json_t *vectors;

static int setup_vectors(void **state)
{
    (void)state;
    if (access(VECTORS, R_OK) == 0)
        vectors = json_load_file(VECTORS, 0, NULL);
    return 0;
}

static int teardown_vectors(void **state)
{
    (void)state;
    json_decref(vectors);
    return 0;
}

static void need_vectors(void)
{
    if (vectors == NULL) {
        print_message("skipped: cannot read " VECTORS "\n");
        skip();
    }
}

static double number_of(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    assert_true(json_is_number(value));
    return json_number_value(value);
}

static void assert_near(double value, double expect, double tolerance)
{
    if (!(fabs(value - expect) <= tolerance))
        fail_msg("%g is not within %g of %g", value, tolerance, expect);
}

static void test_normal_model(void **state)
{
    (void)state;
    need_vectors();
    const json_t *model = json_object_get(vectors, "normal_model");
    const json_t *row = NULL;
    size_t i = 0;
    const json_t *table = json_object_get(model, "phi_vs_elapsed_mean1000_sd100");
    assert_int_equal(json_array_size(table), 7);
    json_array_foreach(table, i, row)
        assert_near(detector_phi_normal(number_of(row, "elapsed_ms"), 1000, 100),
                    number_of(row, "phi"), number_of(row, "tol"));
    table = json_object_get(model, "cdf_mean0_sd10");
    assert_int_equal(json_array_size(table), 7);
    json_array_foreach(table, i, row) assert_near(detector_cdf_normal(number_of(row, "t"), 0, 10),
                                                  number_of(row, "cdf"), number_of(row, "tol"));
    row = json_object_get(model, "cdf_t22_mean20_sd3");
    assert_near(detector_cdf_normal(22, 20, 3), number_of(row, "cdf"), number_of(row, "tol"));
    table = json_object_get(model, "outliers");
    assert_int_equal(json_array_size(table), 2);
    json_array_foreach(table, i, row)
    {
        const json_t *tolerance = json_object_get(row, "tol");
        assert_near(
            detector_phi_normal(number_of(row, "t"), number_of(row, "mean"), number_of(row, "sd")),
            number_of(row, "phi"), tolerance == NULL ? 1e-9 : json_number_value(tolerance));
    }
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

static void test_exponential_model(void **state)
{
    (void)state;
    need_vectors();
    const json_t *model = json_object_get(vectors, "exponential_model");
    struct detector_options options = detector_options_default();
    options.samples_max = (uint32_t)number_of(model, "window");
    struct detector detector;
    detector_init(&detector, options);
    const json_t *arrivals = json_object_get(model, "arrivals_ms");
    const json_t *row = NULL;
    size_t i = 0;
    double last = 0;
    json_array_foreach(arrivals, i, row)
    {
        last = json_number_value(row);
        detector_heartbeat(&detector, (uint64_t)last);
    }
    const json_t *cases = json_object_get(model, "cases");
    assert_int_equal(json_array_size(cases), 2);
    json_array_foreach(cases, i, row)
    {
        double elapsed = number_of(row, "now_ms") - last;
        assert_near(detector_phi_exponential(elapsed, detector_mean_ms(&detector)),
                    number_of(row, "phi"), number_of(row, "tol"));
    }
    const json_t *defaults = json_object_get(model, "defaults");
    options = detector_options_default();
    assert_true(options.threshold == number_of(defaults, "phi_convict_threshold"));
    assert_true((double)options.local_pause_max_ms == number_of(defaults, "max_local_pause_ms"));
}

static void test_history_statistics(void **state)
{
    (void)state;
    need_vectors();
    const json_t *histories = json_object_get(vectors, "history_stats");
    assert_int_equal(json_array_size(histories), 5);
    const json_t *history = NULL;
    size_t i = 0;
    json_array_foreach(histories, i, history)
    {
        struct detector_options options = detector_options_default();
        const json_t *max = json_object_get(history, "max");
        if (max != NULL)
            options.samples_max = (uint32_t)json_integer_value(max);
        struct detector detector;
        detector_init(&detector, options);
        uint64_t now_ms = 500;
        detector_heartbeat(&detector, now_ms);
        const json_t *sample = NULL;
        size_t k = 0;
        json_array_foreach(json_object_get(history, "samples"), k, sample)
        {
            now_ms += (uint64_t)json_integer_value(sample);
            detector_heartbeat(&detector, now_ms);
        }
        if (json_object_get(history, "mean") != NULL)
            assert_near(detector_mean_ms(&detector), number_of(history, "mean"), 1e-5);
        assert_near(detector_variance(&detector), number_of(history, "variance"), 1e-5);
    }
}

static const json_t *scenario(const char *id)
{
    const json_t *row = NULL;
    size_t i = 0;
    json_array_foreach(json_object_get(vectors, "scenarios"), i, row)
    {
        if (strcmp(json_string_value(json_object_get(row, "id")), id) == 0)
            return row;
    }
    fail_msg("no scenario %s", id);
    return NULL;
}

static struct detector scenario_detector(const json_t *script)
{
    struct detector_options options = detector_options_default();
    const json_t *value = json_object_get(script, "threshold");
    if (value != NULL)
        options.threshold = json_number_value(value);
    value = json_object_get(script, "acceptable_pause_ms");
    if (value != NULL)
        options.acceptable_pause_ms = (uint64_t)json_integer_value(value);
    value = json_object_get(script, "max_samples");
    if (value != NULL)
        options.samples_max = (uint32_t)json_integer_value(value);
    struct detector detector;
    detector_init(&detector, options);
    return detector;
}

static uint64_t beat_intervals(struct detector *detector, const json_t *intervals)
{
    uint64_t now_ms = 0;
    const json_t *interval = NULL;
    size_t i = 0;
    json_array_foreach(intervals, i, interval)
    {
        now_ms += (uint64_t)json_integer_value(interval);
        detector_heartbeat(detector, now_ms);
    }
    return now_ms;
}

static void test_scenario_no_heartbeats(void **state)
{
    (void)state;
    need_vectors();
    const json_t *script = scenario("no-heartbeats");
    struct detector detector = scenario_detector(script);
    assert_true(detector_phi(&detector, 1000000) == number_of(script, "expect_phi"));
    assert_int_equal(detector.monitoring,
                     json_is_true(json_object_get(script, "expect_monitoring")));
    assert_true(detector_available(&detector, 1000000));
}

static void test_scenario_one_heartbeat(void **state)
{
    (void)state;
    need_vectors();
    const json_t *script = scenario("one-heartbeat-guess-1s");
    struct detector detector = scenario_detector(script);
    beat_intervals(&detector, json_object_get(script, "heartbeats_ms"));
    assert_true(detector.monitoring);
    const json_t *times = json_object_get(script, "read_at_ms");
    const json_t *expects = json_object_get(script, "expect_phi");
    assert_int_equal(json_array_size(times), 3);
    for (size_t i = 0; i < 3; i++) {
        uint64_t now_ms = (uint64_t)json_integer_value(json_array_get(times, i));
        double phi = detector_phi(&detector, now_ms);
        const json_t *expect = json_array_get(expects, i);
        const json_t *first = json_array_get(expect, 0);
        double second = json_number_value(json_array_get(expect, 1));
        if (json_is_string(first))
            assert_true(phi > second);
        else
            assert_near(phi, json_number_value(first), second);
    }
}

static void test_scenario_dead_after_miss(void **state)
{
    (void)state;
    need_vectors();
    const json_t *script = scenario("dead-after-miss");
    struct detector detector = scenario_detector(script);
    size_t i = 0;
    const json_t *time = NULL;
    json_array_foreach(json_object_get(script, "heartbeats_ms"), i, time)
        detector_heartbeat(&detector, (uint64_t)json_integer_value(time));
    json_t *table = json_object_get(script, "available_at");
    assert_int_equal(json_object_size(table), 2);
    const char *key = NULL;
    json_t *expect = NULL;
    json_object_foreach(table, key, expect) assert_int_equal(
        detector_available(&detector, strtoull(key, NULL, 10)), json_is_true(expect));
}

static void test_scenario_acceptable_pause(void **state)
{
    (void)state;
    need_vectors();
    const json_t *script = scenario("acceptable-pause-3s");
    struct detector detector = scenario_detector(script);
    uint64_t now_ms = beat_intervals(&detector, json_object_get(script, "intervals_ms"));
    now_ms += (uint64_t)number_of(script, "then_available_after_ms");
    assert_int_equal(detector_available(&detector, now_ms),
                     json_is_true(json_object_get(script, "expect")));
    /* The pause is what allows it. */
    detector.options.acceptable_pause_ms = 0;
    assert_false(detector_available(&detector, now_ms));
}

static void test_scenario_pause_too_long(void **state)
{
    (void)state;
    need_vectors();
    const json_t *script = scenario("pause-too-long");
    struct detector detector = scenario_detector(script);
    uint64_t now_ms = beat_intervals(&detector, json_object_get(script, "intervals_ms"));
    assert_true(detector_available(&detector, now_ms += 500));
    detector_heartbeat(&detector, now_ms += 500);
    assert_false(detector_available(&detector, now_ms + 5000));
}

static void test_scenario_recovers_after_outage(void **state)
{
    (void)state;
    need_vectors();
    const json_t *script = scenario("recover-after-5min-pause");
    struct detector detector = scenario_detector(script);
    uint64_t now_ms = 0;
    for (int i = 0; i < 1000; i++)
        detector_heartbeat(&detector, now_ms += 1000);
    assert_false(detector_available(&detector, now_ms += 5 * 60 * 1000));
    detector_heartbeat(&detector, now_ms += 100);
    assert_true(detector_available(&detector, now_ms += 900));
    detector_heartbeat(&detector, now_ms += 100);
    /* The outage must not have stretched what counts as late. */
    assert_false(detector_available(&detector, now_ms += 7000));
    detector_heartbeat(&detector, now_ms += 100);
    assert_true(detector_available(&detector, now_ms += 900));
}

static void test_scenario_window(void **state)
{
    (void)state;
    need_vectors();
    const json_t *script = scenario("window-3");
    struct detector detector = scenario_detector(script);
    uint64_t now_ms = 0;
    for (int i = 0; i < 4; i++)
        detector_heartbeat(&detector, now_ms += 100);
    double first = detector_phi(&detector, now_ms + 100);
    for (int i = 0; i < 4; i++)
        detector_heartbeat(&detector, now_ms += 500);
    double second = detector_phi(&detector, now_ms + 500);
    assert_true(first > 0.1);
    assert_near(second, first, number_of(script, "tol"));
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
        cmocka_unit_test(test_normal_model),
        cmocka_unit_test(test_phi_is_monotone_and_finite),
        cmocka_unit_test(test_exponential_model),
        cmocka_unit_test(test_history_statistics),
        cmocka_unit_test(test_scenario_no_heartbeats),
        cmocka_unit_test(test_scenario_one_heartbeat),
        cmocka_unit_test(test_scenario_dead_after_miss),
        cmocka_unit_test(test_scenario_acceptable_pause),
        cmocka_unit_test(test_scenario_pause_too_long),
        cmocka_unit_test(test_scenario_recovers_after_outage),
        cmocka_unit_test(test_scenario_window),
        cmocka_unit_test(test_first_interval_may_be_odd),
        cmocka_unit_test(test_time_never_runs_backwards),
        cmocka_unit_test(test_local_pause),
        cmocka_unit_test(test_phi_for_people),
    };
    return cmocka_run_group_tests(tests, setup_vectors, teardown_vectors);
}
