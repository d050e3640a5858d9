/* detector.h -- phi accrual failure detector for one peer.
 *
 * Source: Hayashibara, Defago, Yared, Katayama: The phi Accrual Failure Detector (SRDS 2004);
 * normal distribution by its logistic approximation and the acceptable pause as in Akka.
 * phi = -log10(probability that a heartbeat comes even later than now).
 * The owner must not convict after a pause of its own: see detector_pause.
 */
#ifndef MODEL_DETECTOR_H
#define MODEL_DETECTOR_H

#include <stdbool.h>
#include <stdint.h>

#define DETECTOR_SAMPLES_MAX 128u

struct detector_options {
    double threshold;             /* convict at phi >= threshold; 8 */
    uint64_t deviation_min_ms;    /* 100 */
    uint64_t acceptable_pause_ms; /* added to the mean; 0 for the textbook formula */
    uint64_t first_interval_ms;   /* guess before the second heartbeat; 1000 */
    uint32_t samples_max;         /* window, <= DETECTOR_SAMPLES_MAX */
    uint64_t local_pause_max_ms;  /* 5000 */
};

struct detector {
    struct detector_options options;
    uint64_t intervals_ms[DETECTOR_SAMPLES_MAX]; /* ring buffer */
    uint32_t interval_count;
    uint32_t interval_next;
    double sum_ms;
    double sum_squares;
    uint64_t last_heartbeat_ms;
    bool monitoring; /* at least one heartbeat seen */
};

struct detector_options detector_options_default(void);
void detector_init(struct detector *detector, struct detector_options options);
/* A heartbeat that ends an outage (phi was at the threshold) adds no interval. The guess counts as
 * two samples (first_interval_ms +- a quarter) until real ones fill the window. */
void detector_heartbeat(struct detector *detector, uint64_t now_ms);
/* 0 while no heartbeat was ever seen. */
double detector_phi(const struct detector *detector, uint64_t now_ms);
bool detector_available(const struct detector *detector, uint64_t now_ms);
/* Of the real intervals alone; first_interval_ms when there is none. */
double detector_mean_ms(const struct detector *detector);
double detector_variance(const struct detector *detector); /* population variance, ms^2 */

/* phi of a heartbeat that is elapsed_ms old under a normal distribution (the formula itself). */
double detector_phi_normal(double elapsed_ms, double mean_ms, double deviation_ms);
/* Cassandra's exponential variant, for comparison: elapsed / mean * log10(e). */
double detector_phi_exponential(double elapsed_ms, double mean_ms);
/* For people: "0.3", and ">99" beyond that, for it grows as long as the member is away. */
#define DETECTOR_PHI_TEXT_SIZE 8u
const char *detector_phi_text(double phi, char text[static DETECTOR_PHI_TEXT_SIZE]);
/* The normal CDF that both use. */
double detector_cdf_normal(double x, double mean, double deviation);

/* The observer's own schedule: call once a tick. True while no conviction may be made, because this
 * process itself was not scheduled for longer than pause_max_ms just now. */
struct detector_self {
    uint64_t last_tick_ms;
    uint64_t doubt_until_ms;
    bool ticked;
};
bool detector_self_doubts(struct detector_self *self, uint64_t now_ms, uint64_t pause_max_ms);

#endif
