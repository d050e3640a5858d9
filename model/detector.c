#include "model/detector.h"

#include "base/check.h"

#include <math.h>
#include <stdio.h>

/* The guess before there are intervals is the mean plus and minus a quarter of it, as two samples
 * that stay in the window until real ones push them out: one odd first interval convicts nobody. */
#define GUESS_SAMPLES           2u
#define GUESS_DEVIATION_DIVISOR 4.0
#define PHI_SHOWN_MAX           99.0

struct detector_options detector_options_default(void)
{
    return (struct detector_options){
        .threshold = 8,
        .deviation_min_ms = 100,
        .acceptable_pause_ms = 0,
        .first_interval_ms = 1000,
        .samples_max = DETECTOR_SAMPLES_MAX,
        .local_pause_max_ms = 5000,
    };
}

void detector_init(struct detector *detector, struct detector_options options)
{
    CHECK_U64(options.samples_max, >, 0);
    CHECK_U64(options.samples_max, <=, DETECTOR_SAMPLES_MAX);
    CHECK_U64(options.first_interval_ms, >, 0);
    CHECK_U64(options.deviation_min_ms, >, 0);
    *detector = (struct detector){.options = options};
}

static void detector_add_interval(struct detector *detector, uint64_t interval_ms)
{
    if (detector->interval_count == detector->options.samples_max) {
        double oldest = (double)detector->intervals_ms[detector->interval_next];
        detector->sum_ms -= oldest;
        detector->sum_squares -= oldest * oldest;
    } else {
        detector->interval_count++;
    }
    detector->intervals_ms[detector->interval_next] = interval_ms;
    detector->interval_next = (detector->interval_next + 1) % detector->options.samples_max;
    detector->sum_ms += (double)interval_ms;
    detector->sum_squares += (double)interval_ms * (double)interval_ms;
}

static uint64_t detector_elapsed_ms(const struct detector *detector, uint64_t now_ms)
{
    return now_ms > detector->last_heartbeat_ms ? now_ms - detector->last_heartbeat_ms : 0;
}

void detector_heartbeat(struct detector *detector, uint64_t now_ms)
{
    /* The silence of an outage says nothing of the rhythm: it stays out of the window. */
    if (detector->monitoring && detector_available(detector, now_ms))
        detector_add_interval(detector, detector_elapsed_ms(detector, now_ms));
    if (!detector->monitoring || now_ms > detector->last_heartbeat_ms)
        detector->last_heartbeat_ms = now_ms;
    detector->monitoring = true;
}

static double variance_of(double sum, double sum_squares, uint32_t count)
{
    if (count == 0)
        return 0;
    double mean = sum / count;
    double variance = sum_squares / count - mean * mean;
    return variance > 0 ? variance : 0;
}

double detector_mean_ms(const struct detector *detector)
{
    if (detector->interval_count == 0)
        return (double)detector->options.first_interval_ms;
    return detector->sum_ms / detector->interval_count;
}

double detector_variance(const struct detector *detector)
{
    return variance_of(detector->sum_ms, detector->sum_squares, detector->interval_count);
}

double detector_phi(const struct detector *detector, uint64_t now_ms)
{
    if (!detector->monitoring)
        return 0;
    const struct detector_options *options = &detector->options;
    uint32_t guesses = options->samples_max - detector->interval_count;
    if (guesses > GUESS_SAMPLES || detector->interval_count == 0)
        guesses = GUESS_SAMPLES;
    double guess = (double)options->first_interval_ms;
    double guess_deviation = guess / GUESS_DEVIATION_DIVISOR;
    uint32_t count = detector->interval_count + guesses;
    double sum = detector->sum_ms;
    double sum_squares = detector->sum_squares;
    for (uint32_t i = 0; i < guesses; i++) {
        double sample = i == 0 ? guess + guess_deviation : guess - guess_deviation;
        sum += sample;
        sum_squares += sample * sample;
    }
    double deviation = sqrt(variance_of(sum, sum_squares, count));
    if (deviation < (double)options->deviation_min_ms)
        deviation = (double)options->deviation_min_ms;
    double mean = sum / count + (double)options->acceptable_pause_ms;
    return detector_phi_normal((double)detector_elapsed_ms(detector, now_ms), mean, deviation);
}

bool detector_available(const struct detector *detector, uint64_t now_ms)
{
    return detector_phi(detector, now_ms) < detector->options.threshold;
}

/* The normal CDF is about 1 / (1 + exp(-z)) with this z (logistic approximation). */
static double logistic_argument(double x, double mean, double deviation)
{
    double y = (x - mean) / deviation;
    return y * (1.5976 + 0.070566 * y * y);
}

double detector_phi_normal(double elapsed_ms, double mean_ms, double deviation_ms)
{
    /* -log10(1 - cdf) = log10(1 + exp(z)), written so that no z overflows or loses its digits. */
    double z = logistic_argument(elapsed_ms, mean_ms, deviation_ms);
    double natural = z > 0 ? z + log1p(exp(-z)) : log1p(exp(z));
    return natural / M_LN10;
}

double detector_phi_exponential(double elapsed_ms, double mean_ms)
{
    return elapsed_ms / mean_ms / M_LN10;
}

const char *detector_phi_text(double phi, char text[static DETECTOR_PHI_TEXT_SIZE])
{
    if (phi > PHI_SHOWN_MAX)
        snprintf(text, DETECTOR_PHI_TEXT_SIZE, ">%.0f", PHI_SHOWN_MAX);
    else
        snprintf(text, DETECTOR_PHI_TEXT_SIZE, "%.1f", phi);
    return text;
}

double detector_cdf_normal(double x, double mean, double deviation)
{
    return 1 / (1 + exp(-logistic_argument(x, mean, deviation)));
}

bool detector_self_doubts(struct detector_self *self, uint64_t now_ms, uint64_t pause_max_ms)
{
    bool paused =
        self->ticked && now_ms > self->last_tick_ms && now_ms - self->last_tick_ms > pause_max_ms;
    if (paused)
        self->doubt_until_ms = now_ms + pause_max_ms;
    if (!self->ticked || now_ms > self->last_tick_ms)
        self->last_tick_ms = now_ms;
    self->ticked = true;
    return now_ms < self->doubt_until_ms;
}
