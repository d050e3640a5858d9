/* bench.h -- coterie-bench: a closed loop of requests against running nodes.
 *
 * A run is a row of slices, each of one kind (the null RPC, or the operation): warm-up first, then
 * measured ones. With null_ratio, short slices of both alternate, so that both meet the same
 * machine. Threads begin each slice together and drain what is outstanding before the next; a rate
 * counts what ended within the slice, latencies count all. SIGINT and SIGTERM end the slice that
 * runs and leave out the others; what was measured until then is reported.
 */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include "bench/bench_histogram.h"
#include "coterie/v1/key_value.pb-c.h"
#include "rpc/client.h"

#define BENCH_CODES         17u /* gRPC status codes */
#define BENCH_LOAD_ATTEMPTS 5u  /* of one key, before the load has failed */

enum bench_operation { BENCH_NULL, BENCH_PUT, BENCH_GET, BENCH_MIXED, BENCH_LOAD };

struct bench_options {
    enum bench_operation operation;
    const char *targets;
    const char *keyspace;
    Coterie__V1__Consistency consistency;
    uint32_t concurrency; /* outstanding, over all threads */
    uint32_t connections; /* over all threads and targets */
    uint32_t threads;
    uint32_t duration_ms; /* measured, of each kind */
    uint32_t warmup_ms;
    uint32_t slice_ms; /* with null_ratio */
    uint32_t value_bytes;
    uint32_t keys;
    uint32_t deadline_ms;
    double read_ratio; /* of mixed */
    uint64_t seed;
    bool null_ratio;
    bool load; /* fill the keys first */
    bool json;
};

struct bench_figures {
    double seconds;              /* measured */
    uint64_t in_slices;          /* requests without error that ended within the measured slices */
    uint64_t not_found;          /* reads without a value: errors */
    uint64_t codes[BENCH_CODES]; /* all measured requests, by status */
    char said[BENCH_CODES][200]; /* with the first error of each status */
    struct histogram latency;    /* of those without error */
};

struct bench_result {
    struct bench_figures null;
    struct bench_figures operation;
    double load_seconds; /* 0: nothing was loaded */
    uint64_t loaded;     /* keys */
    bool load_failed;
    char load_said[200];
    int interrupted_by; /* the signal, or 0 */
};

extern const char *const bench_operation_names[]; /* by enum, NULL-ended */

/* bench_options.c: 0, or the exit code after saying why (or after the help, with *ret_done). */
int bench_options_parse(int argc, char **argv, struct bench_options *ret_options, bool *ret_done);
uint32_t bench_cores(void);
/* bench_run.c: all slices. 1 after saying why. */
int bench_run(const struct bench_options *options, struct bench_result *ret_result);
uint64_t bench_errors(const struct bench_figures *figures);
/* bench_report.c */
void bench_report(const struct bench_options *options, const struct bench_result *result);

#endif
