// link: coterie_model jansson
/* The phi accrual detector against published values: every table, statistic and script of every
 * file phi_accrual*.json of the vectors folder (Akka's and Cassandra's tests). What cannot be read
 * fails: a value that nobody compares proves nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model/detector.h"
#include "tests/unit/vectors.h"

#include <ctype.h>
#include <math.h>
#include <string.h>

static uint32_t values_compared;

static double number_of(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    if (!json_is_number(value))
        fail_msg("%s is no number", key);
    return json_number_value(value);
}

static uint64_t milliseconds_of(const json_t *object, const char *key, uint64_t otherwise)
{
    return json_object_get(object, key) == NULL ? otherwise : (uint64_t)number_of(object, key);
}

static void assert_near(double value, double expect, double tolerance)
{
    if (!(fabs(value - expect) <= tolerance))
        fail_msg("%g is not within %g of %g", value, tolerance, expect);
    values_compared++;
}

/* A row's field against a value, within the row's own tolerance. */
static void assert_row(const json_t *row, const char *field, double value)
{
    bool given = json_object_get(row, "tol") != NULL;
    assert_near(value, number_of(row, field), given ? number_of(row, "tol") : 1e-9);
}

/* Above an infinite threshold no interval ends an outage: the window has all of them. */
static struct detector detector_new(const json_t *json, const char *window, double threshold)
{
    struct detector_options options = detector_options_default();
    options.threshold = threshold;
    if (json_object_get(json, "threshold") != NULL)
        options.threshold = number_of(json, "threshold");
    options.acceptable_pause_ms =
        milliseconds_of(json, "acceptable_pause_ms", options.acceptable_pause_ms);
    options.samples_max = (uint32_t)milliseconds_of(json, window, options.samples_max);
    if (options.samples_max > DETECTOR_SAMPLES_MAX)
        fail_msg("a window of %u, ours ends at %u", options.samples_max, DETECTOR_SAMPLES_MAX);
    struct detector detector;
    detector_init(&detector, options);
    return detector;
}

/* -- the formulas ------------------------------------------------------------------------------ */

static void run_monotone(const char *text)
{
    int first = 0;
    int last = 0;
    double mean = 0;
    double deviation = 0;
    double at = 0;
    double at_mean = 0;
    double larger = 0;
    double smaller = 0;
    assert_int_equal(
        sscanf(text,
               "phi strictly increases for t=%d..%d, mean %lf, sd %lf; larger sd gives "
               "lower phi (t=%lf, mean %lf: sd %lf < sd %lf)",
               &first, &last, &mean, &deviation, &at, &at_mean, &larger, &smaller),
        8);
    for (int t = first; t < last; t++)
        assert_true(detector_phi_normal(t, mean, deviation) <
                    detector_phi_normal(t + 1, mean, deviation));
    assert_true(detector_phi_normal(at, at_mean, larger) <
                detector_phi_normal(at, at_mean, smaller));
    values_compared++;
}

/* The name of a table says the mean and the deviation of its rows. */
static void run_table(const char *name, const json_t *table)
{
    double t = 0;
    double mean = 0;
    double deviation = 0;
    size_t i = 0;
    const json_t *row = NULL;
    if (sscanf(name, "phi_vs_elapsed_mean%lf_sd%lf", &mean, &deviation) == 2) {
        json_array_foreach(table, i, row) assert_row(
            row, "phi", detector_phi_normal(number_of(row, "elapsed_ms"), mean, deviation));
    } else if (sscanf(name, "cdf_mean%lf_sd%lf", &mean, &deviation) == 2) {
        json_array_foreach(table, i, row)
            assert_row(row, "cdf", detector_cdf_normal(number_of(row, "t"), mean, deviation));
    } else if (sscanf(name, "cdf_t%lf_mean%lf_sd%lf", &t, &mean, &deviation) == 3) {
        assert_row(table, "cdf", detector_cdf_normal(t, mean, deviation));
    } else if (strcmp(name, "outliers") == 0) {
        json_array_foreach(table, i, row) assert_row(
            row, "phi",
            detector_phi_normal(number_of(row, "t"), number_of(row, "mean"), number_of(row, "sd")));
    } else if (strcmp(name, "monotone") == 0) {
        run_monotone(json_string_value(table));
    } else if (!json_is_string(table)) {
        fail_msg("no table named %s", name);
    }
}

static void run_exponential(const json_t *model)
{
    struct detector detector = detector_new(model, "window", INFINITY);
    const json_t *row = NULL;
    size_t i = 0;
    uint64_t last_ms = 0;
    json_array_foreach(json_object_get(model, "arrivals_ms"), i, row)
    {
        last_ms = (uint64_t)json_integer_value(row);
        detector_heartbeat(&detector, last_ms);
    }
    json_array_foreach(json_object_get(model, "cases"), i, row)
    {
        double elapsed_ms = number_of(row, "now_ms") - (double)last_ms;
        assert_row(row, "phi", detector_phi_exponential(elapsed_ms, detector_mean_ms(&detector)));
    }
    /* Cassandra's window of 1000 intervals is not ours: DETECTOR_SAMPLES_MAX is a bound on memory.
     */
    const json_t *defaults = json_object_get(model, "defaults");
    if (defaults == NULL)
        return;
    const struct detector_options options = detector_options_default();
    assert_near(options.threshold, number_of(defaults, "phi_convict_threshold"), 0);
    assert_near((double)options.local_pause_max_ms, number_of(defaults, "max_local_pause_ms"), 0);
}

static void run_history(const json_t *history)
{
    struct detector detector = detector_new(history, "max", INFINITY);
    uint64_t now_ms = 500;
    detector_heartbeat(&detector, now_ms);
    const json_t *sample = NULL;
    size_t i = 0;
    json_array_foreach(json_object_get(history, "samples"), i, sample)
    {
        now_ms += (uint64_t)json_integer_value(sample);
        detector_heartbeat(&detector, now_ms);
    }
    assert_true(json_object_get(history, "mean") != NULL ||
                json_object_get(history, "variance") != NULL);
    if (json_object_get(history, "mean") != NULL)
        assert_near(detector_mean_ms(&detector), number_of(history, "mean"), 1e-5);
    if (json_object_get(history, "variance") != NULL)
        assert_near(detector_variance(&detector), number_of(history, "variance"), 1e-5);
}

/* -- scripts: heartbeats, then what is expected --------------------------------------------------
 */

struct script {
    struct detector detector;
    uint64_t now_ms;
};

static void beat_after(struct script *script, uint64_t interval_ms)
{
    script->now_ms += interval_ms;
    detector_heartbeat(&script->detector, script->now_ms);
}

static void assert_available(const struct script *script, uint64_t now_ms, bool expect)
{
    if (detector_available(&script->detector, now_ms) != expect)
        fail_msg("available is not %d at %" PRIu64 " ms", expect, now_ms);
    values_compared++;
}

static bool word_is(const char **text, const char *word)
{
    while (isspace((unsigned char)**text))
        (*text)++;
    size_t size = strlen(word);
    if (strncmp(*text, word, size) != 0)
        return false;
    *text += size;
    return true;
}

/* "5 min", "7 s", "100 ms", "500" */
static uint64_t duration_ms(const char **text)
{
    char *end = NULL;
    uint64_t number = strtoull(*text, &end, 10);
    if (end == *text)
        fail_msg("no duration: %s", *text);
    *text = end;
    if (word_is(text, "min"))
        return 60000 * number;
    if (word_is(text, "ms"))
        return number;
    return word_is(text, "s") ? 1000 * number : number;
}

/* One step of "then": time that passes, a heartbeat, whether the peer is up. */
static void run_step(struct script *script, const char *text)
{
    bool beat = word_is(&text, "heartbeat");
    bool sign = word_is(&text, "+");
    if (sign || (!beat && isdigit((unsigned char)*text)))
        script->now_ms += duration_ms(&text);
    if (beat)
        beat_after(script, 0);
    (void)word_is(&text, "pause");
    (void)word_is(&text, "=>");
    bool down = word_is(&text, "not available") || word_is(&text, "down");
    bool up = !down && (word_is(&text, "available") || word_is(&text, "up"));
    if (word_is(&text, "at +"))
        script->now_ms += duration_ms(&text);
    if (up || down)
        assert_available(script, script->now_ms, up);
    if (!word_is(&text, "") || *text != '\0')
        fail_msg("no such step: %s", text);
}

static void run_steps(struct script *script, const char *steps)
{
    char text[1024];
    assert_in_range(strlen(steps), 1, sizeof text - 1);
    memcpy(text, steps, strlen(steps) + 1);
    char *rest = NULL;
    for (char *step = strtok_r(text, ";", &rest); step != NULL; step = strtok_r(NULL, ";", &rest))
        run_step(script, step);
}

/* `count` beats `apart_ms` apart: what a silence as long as that is worth then. */
static double phi_after(struct script *script, const char *count, uint64_t apart_ms)
{
    static const char *const names[] = {"no", "one", "two", "three", "four", "five", "six"};
    uint64_t beats = strtoull(count, NULL, 10);
    for (uint64_t i = 0; i < sizeof names / sizeof names[0]; i++)
        beats = strcmp(count, names[i]) == 0 ? i : beats;
    assert_true(beats > 0);
    for (uint64_t i = 0; i < beats; i++)
        beat_after(script, apart_ms);
    return detector_phi(&script->detector, script->now_ms + apart_ms);
}

static void run_claim(struct script *script, const char *text, double tolerance)
{
    uint64_t after_ms[2];
    uint64_t apart_ms[2];
    char count[2][16];
    assert_int_equal(sscanf(text,
                            "phi %" SCNu64 " ms after %15s %" SCNu64 " ms beats == phi %" SCNu64
                            " ms after %15s %" SCNu64 " ms beats",
                            &after_ms[0], count[0], &apart_ms[0], &after_ms[1], count[1],
                            &apart_ms[1]),
                     6);
    assert_true(after_ms[0] == apart_ms[0] && after_ms[1] == apart_ms[1]);
    double first = phi_after(script, count[0], apart_ms[0]);
    assert_true(first > 0.1);
    assert_near(phi_after(script, count[1], apart_ms[1]), first, tolerance);
}

/* [value, tolerance], or [">", value] and ["<", value] */
static void assert_phi(double phi, const json_t *expect)
{
    const json_t *first = json_array_get(expect, 0);
    double second = json_number_value(json_array_get(expect, 1));
    if (!json_is_string(first))
        assert_near(phi, json_number_value(first), second);
    else if (strcmp(json_string_value(first), ">") == 0 ? !(phi > second) : !(phi < second))
        fail_msg("phi is %g, not %s %g", phi, json_string_value(first), second);
    values_compared++;
}

/* Fields that are read with others, or before anything is expected. */
static bool is_read_elsewhere(const char *name)
{
    static const char *const names[] = {
        "threshold",    "acceptable_pause_ms", "max_samples", "heartbeats_ms",
        "intervals_ms", "read_at_ms",          "expect",      "tol"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(name, names[i]) == 0)
            return true;
    }
    return false;
}

static void run_field(struct script *script, const json_t *json, const char *name, json_t *value)
{
    const char *key = NULL;
    json_t *item = NULL;
    size_t i = 0;
    if (strcmp(name, "expect_phi") == 0 && json_is_array(value)) {
        const json_t *times = json_object_get(json, "read_at_ms");
        assert_int_equal(json_array_size(times), json_array_size(value));
        json_array_foreach(value, i, item) assert_phi(
            detector_phi(&script->detector, (uint64_t)json_integer_value(json_array_get(times, i))),
            item);
    } else if (strcmp(name, "expect_phi") == 0) {
        assert_near(detector_phi(&script->detector, script->now_ms + 1000000),
                    json_number_value(value), 0);
    } else if (strcmp(name, "expect_monitoring") == 0) {
        assert_int_equal(script->detector.monitoring, json_is_true(value));
        if (!script->detector.monitoring)
            assert_available(script, script->now_ms + 1000000, true);
    } else if (strcmp(name, "available_at") == 0) {
        json_object_foreach(value, key, item)
            assert_available(script, strtoull(key, NULL, 10), json_is_true(item));
    } else if (strcmp(name, "then_available_after_ms") == 0) {
        assert_available(script, script->now_ms + (uint64_t)json_integer_value(value),
                         json_is_true(json_object_get(json, "expect")));
    } else if (strcmp(name, "then") == 0) {
        run_steps(script, json_string_value(value));
    } else if (strcmp(name, "claim") == 0) {
        run_claim(script, json_string_value(value), number_of(json, "tol"));
    } else if (!json_is_string(value) && !is_read_elsewhere(name)) {
        fail_msg("no field named %s", name);
    }
}

static void run_scenario(const json_t *json)
{
    struct script script = {
        .detector = detector_new(json, "max_samples", detector_options_default().threshold)};
    const json_t *item = NULL;
    size_t i = 0;
    uint32_t before = values_compared;
    print_message("  %s\n", json_string_value(json_object_get(json, "id")));
    json_array_foreach(json_object_get(json, "heartbeats_ms"), i, item)
        beat_after(&script, (uint64_t)json_integer_value(item) - script.now_ms);
    json_array_foreach(json_object_get(json, "intervals_ms"), i, item)
        beat_after(&script, (uint64_t)json_integer_value(item));
    const json_t *regular = json_object_get(json, "regular");
    uint64_t count = 0;
    uint64_t apart_ms = 0;
    if (regular != NULL)
        assert_int_equal(sscanf(json_string_value(regular),
                                "%" SCNu64 " heartbeats %" SCNu64 " ms apart", &count, &apart_ms),
                         2);
    for (uint64_t k = 0; k < count; k++)
        beat_after(&script, apart_ms);
    const char *name = NULL;
    json_t *value = NULL;
    json_object_foreach((json_t *)(uintptr_t)json, name, value)
        run_field(&script, json, name, value);
    if (values_compared == before)
        fail_msg("nothing is expected of this script");
}

static void run_file(const json_t *root)
{
    const char *name = NULL;
    json_t *table = NULL;
    json_t *row = NULL;
    size_t i = 0;
    json_object_foreach(json_object_get(root, "normal_model"), name, table) run_table(name, table);
    if (json_object_get(root, "exponential_model") != NULL)
        run_exponential(json_object_get(root, "exponential_model"));
    json_array_foreach(json_object_get(root, "history_stats"), i, row) run_history(row);
    json_array_foreach(json_object_get(root, "scenarios"), i, row) run_scenario(row);
}

static void test_published_values(void **state)
{
    (void)state;
    each_file("phi_accrual*.json", run_file);
    print_message("%u values compared\n", values_compared);
    assert_true(values_compared > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_published_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
