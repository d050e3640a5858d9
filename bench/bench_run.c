#include "bench/bench.h"

#include "base/prng.h"
#include "coterie/v1/maintenance.pb-c.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define VALUE_POOL_BYTES                                                                           \
    65536u /* values are windows into this many random bytes more than one value */
#define KEY_BYTES     16u
#define SLICES_BESIDE 4u /* of loading and warming up, and of a run without pairs */
#define DRAIN_MS      1000u

struct slice {
    enum bench_operation operation;
    bool is_null; /* counts as the null RPC */
    bool measured;
    uint32_t duration_ms; /* 0: until all keys are written */
    uint64_t ran_ns;      /* less than that when the run was interrupted */
};

struct request {
    uint64_t started_ns;
    uint64_t key;
    uint32_t attempts;
    bool is_read;
};

struct run {
    const struct bench_options *options;
    struct slice *slices;
    size_t slice_count;
    pthread_barrier_t barrier;
    uint64_t load_next; /* atomic: the next key to write */
    uint64_t loaded;    /* atomic: keys written */
    bool load_failed;   /* atomic */
};

struct worker {
    struct run *run;
    pthread_t thread;
    uint32_t index;
    struct rpc_flight *flight;
    struct prng prng;
    uint8_t *values;
    struct request *requests;
    struct request **idle; /* a stack */
    uint32_t idle_count, request_count;
    struct bench_figures null, operation;
    char load_said[200];
};

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* -- interruption ------------------------------------------------------------------------------ */

static volatile sig_atomic_t interrupted_by; /* the signal */
static uint64_t interrupted_ns;              /* atomic: when; UINT64_MAX: not yet */

static void on_signal(int number)
{
    static const char text[] = "coterie-bench: interrupted: waits for what is under way, then "
                               "reports (once more: ends at once)\n";
    interrupted_by = number;
    __atomic_store_n(&interrupted_ns, now_ns(), __ATOMIC_RELEASE);
    ssize_t written = write(STDERR_FILENO, text, sizeof text - 1);
    (void)written;
}

static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART | (int)SA_RESETHAND};
    interrupted_ns = UINT64_MAX;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

/* The earlier of `end_ns` and the interruption. */
static uint64_t end_by(uint64_t end_ns)
{
    uint64_t until_ns = __atomic_load_n(&interrupted_ns, __ATOMIC_ACQUIRE);
    return until_ns < end_ns ? until_ns : end_ns;
}

/* -- one request -------------------------------------------------------------------------- */

static void send_null(struct worker *worker, struct request *request)
{
    Coterie__V1__NullRequest message = COTERIE__V1__NULL_REQUEST__INIT;
    rpc_flight_start(worker->flight, "/coterie.v1.Maintenance/Null", &message.base,
                     worker->run->options->deadline_ms, request);
}

static ProtobufCBinaryData key_bytes(uint64_t key, char *text)
{
    int size = snprintf(text, KEY_BYTES, "key-%010llu", (unsigned long long)key);
    return (ProtobufCBinaryData){.len = (size_t)size, .data = (uint8_t *)text};
}

static void send_get(struct worker *worker, struct request *request)
{
    const struct bench_options *options = worker->run->options;
    char key[KEY_BYTES];
    Coterie__V1__GetRequest message = COTERIE__V1__GET_REQUEST__INIT;
    message.keyspace = (char *)(uintptr_t)options->keyspace;
    message.key = key_bytes(request->key, key);
    message.consistency = options->consistency;
    rpc_flight_start(worker->flight, "/coterie.v1.KeyValue/Get", &message.base,
                     options->deadline_ms, request);
}

static void send_put(struct worker *worker, struct request *request)
{
    const struct bench_options *options = worker->run->options;
    char key[KEY_BYTES];
    Coterie__V1__PutRequest message = COTERIE__V1__PUT_REQUEST__INIT;
    message.keyspace = (char *)(uintptr_t)options->keyspace;
    message.key = key_bytes(request->key, key);
    message.value.len = options->value_bytes;
    message.value.data = worker->values + prng_below(&worker->prng, VALUE_POOL_BYTES);
    message.consistency = options->consistency;
    rpc_flight_start(worker->flight, "/coterie.v1.KeyValue/Put", &message.base,
                     options->deadline_ms, request);
}

/* False: nothing is left to do in this slice. */
static bool request_start(struct worker *worker, const struct slice *slice, struct request *request)
{
    const struct bench_options *options = worker->run->options;
    request->attempts = 0;
    request->is_read =
        slice->operation == BENCH_GET ||
        (slice->operation == BENCH_MIXED && prng_chance(&worker->prng, options->read_ratio));
    if (slice->operation == BENCH_LOAD) {
        request->key = __atomic_fetch_add(&worker->run->load_next, 1, __ATOMIC_RELAXED);
        if (request->key >= options->keys)
            return false;
    } else if (slice->operation != BENCH_NULL) {
        request->key = prng_below(&worker->prng, options->keys);
    }
    request->started_ns = now_ns();
    if (slice->operation == BENCH_NULL)
        send_null(worker, request);
    else if (request->is_read)
        send_get(worker, request);
    else
        send_put(worker, request);
    return true;
}

/* GetResponse.found; most servers write it first. */
static bool response_has_value(struct bytes response)
{
    static const uint8_t found_first[] = {0x08, 0x01};
    if (response.size >= 2 && memcmp(response.data, found_first, 2) == 0)
        return true;
    ProtobufCMessage *message = protobuf_c_message_unpack(&coterie__v1__get_response__descriptor,
                                                          NULL, response.size, response.data);
    bool found = message != NULL && ((Coterie__V1__GetResponse *)message)->found;
    if (message != NULL)
        protobuf_c_message_free_unpacked(message, NULL);
    return found;
}

static void request_count(struct worker *worker, const struct slice *slice,
                          const struct request *request, const struct rpc_flight_result *result,
                          uint64_t slice_end_ns)
{
    struct bench_figures *figures = slice->is_null ? &worker->null : &worker->operation;
    uint64_t ended_ns = now_ns();
    uint32_t code =
        (uint32_t)result->code < BENCH_CODES ? (uint32_t)result->code : GRPC_STATUS_UNKNOWN;
    bool missing =
        request->is_read && code == GRPC_STATUS_OK && !response_has_value(result->response);
    if (figures->codes[code]++ == 0)
        memcpy(figures->said[code], result->message, sizeof result->message);
    figures->not_found += missing;
    if (code != GRPC_STATUS_OK || missing)
        return;
    figures->in_slices += ended_ns <= slice_end_ns;
    histogram_add(&figures->latency, ended_ns - request->started_ns);
}

/* -- slices ------------------------------------------------------------------------------- */

/* A key that was not written is written again, a few times. True: it is under way again. */
static bool load_retry(struct worker *worker, const struct rpc_flight_result *result)
{
    struct request *request = result->tag;
    if (result->code == GRPC_STATUS_OK) {
        __atomic_fetch_add(&worker->run->loaded, 1, __ATOMIC_RELAXED);
        return false;
    }
    if (end_by(UINT64_MAX) != UINT64_MAX)
        return false;
    if (++request->attempts == BENCH_LOAD_ATTEMPTS) {
        memcpy(worker->load_said, result->message, sizeof worker->load_said);
        __atomic_store_n(&worker->run->load_failed, true, __ATOMIC_RELAXED);
        return false;
    }
    send_put(worker, request);
    return true;
}

static void slice_run(struct worker *worker, const struct slice *slice)
{
    uint64_t end_ns =
        slice->duration_ms == 0 ? UINT64_MAX : now_ns() + (uint64_t)slice->duration_ms * 1000000;
    bool ended = false;
    for (;;) {
        ended = ended || now_ns() >= end_by(end_ns) ||
                (slice->operation == BENCH_LOAD &&
                 __atomic_load_n(&worker->run->load_failed, __ATOMIC_RELAXED));
        while (!ended && worker->idle_count > 0) {
            ended = !request_start(worker, slice, worker->idle[worker->idle_count - 1]);
            worker->idle_count -= !ended;
        }
        if (rpc_flight_outstanding(worker->flight) == 0)
            return;
        struct rpc_flight_result result;
        if (!rpc_flight_next(worker->flight, DRAIN_MS, &result))
            continue; /* each request has a deadline of its own */
        if (slice->measured)
            request_count(worker, slice, result.tag, &result, end_by(end_ns));
        if (slice->operation != BENCH_LOAD || !load_retry(worker, &result))
            worker->idle[worker->idle_count++] = result.tag;
    }
}

static uint64_t slice_ran_ns(const struct slice *slice, uint64_t started_ns)
{
    uint64_t end_ns =
        slice->duration_ms == 0 ? now_ns() : started_ns + (uint64_t)slice->duration_ms * 1000000;
    end_ns = end_by(end_ns);
    return end_ns > started_ns ? end_ns - started_ns : 0;
}

static void *worker_run(void *argument)
{
    struct worker *worker = argument;
    struct run *run = worker->run;
    for (size_t i = 0; i < run->slice_count; i++) {
        struct slice *slice = &run->slices[i];
        pthread_barrier_wait(&run->barrier);
        uint64_t started_ns = now_ns();
        slice_run(worker, slice);
        pthread_barrier_wait(&run->barrier);
        if (worker->index == 0)
            slice->ran_ns = slice_ran_ns(slice, started_ns);
    }
    return NULL;
}

/* -- the run ------------------------------------------------------------------------------ */

static void add_slice(struct run *run, enum bench_operation operation, bool measured, uint32_t ms)
{
    run->slices[run->slice_count++] = (struct slice){.operation = operation,
                                                     .is_null = operation == BENCH_NULL,
                                                     .measured = measured,
                                                     .duration_ms = ms};
}

static void plan(struct run *run)
{
    const struct bench_options *options = run->options;
    uint32_t pairs = (options->duration_ms + options->slice_ms - 1) / options->slice_ms;
    run->slices = calloc(2 * (size_t)pairs + SLICES_BESIDE, sizeof *run->slices);
    CHECK(run->slices != NULL);
    if (options->load)
        add_slice(run, BENCH_LOAD, options->operation == BENCH_LOAD, 0);
    if (options->operation == BENCH_LOAD)
        return;
    if (!options->null_ratio) {
        if (options->warmup_ms > 0)
            add_slice(run, options->operation, false, options->warmup_ms);
        add_slice(run, options->operation, true, options->duration_ms);
        return;
    }
    if (options->warmup_ms >= 2) {
        add_slice(run, BENCH_NULL, false, options->warmup_ms / 2);
        add_slice(run, options->operation, false, options->warmup_ms / 2);
    }
    for (uint32_t i = 0; i < pairs; i++) {
        /* A B B A A B ...: neither is always the one that comes second. */
        enum bench_operation first = i % 2 == 0 ? BENCH_NULL : options->operation;
        enum bench_operation second = i % 2 == 0 ? options->operation : BENCH_NULL;
        add_slice(run, first, true, options->slice_ms);
        add_slice(run, second, true, options->slice_ms);
    }
}

static bool worker_init(struct worker *worker, struct run *run, uint32_t index)
{
    const struct bench_options *options = run->options;
    char why[512];
    worker->run = run;
    worker->index = index;
    if (rpc_flight_new(options->targets, options->connections / options->threads, &worker->flight,
                       why, sizeof why) != OK) {
        fprintf(stderr, "coterie-bench: --targets: %s\n", why);
        return false;
    }
    prng_init(&worker->prng, options->seed, index);
    size_t pool = VALUE_POOL_BYTES + options->value_bytes;
    worker->values = malloc(pool);
    worker->request_count =
        options->concurrency / options->threads + (index < options->concurrency % options->threads);
    worker->requests = calloc(worker->request_count, sizeof *worker->requests);
    worker->idle = calloc(worker->request_count, sizeof *worker->idle);
    CHECK(worker->values != NULL && worker->requests != NULL && worker->idle != NULL);
    for (size_t i = 0; i < pool; i++)
        worker->values[i] = (uint8_t)prng_u64(&worker->prng);
    while (worker->idle_count < worker->request_count) {
        worker->idle[worker->idle_count] = &worker->requests[worker->idle_count];
        worker->idle_count++;
    }
    return true;
}

static void worker_deinit(struct worker *worker)
{
    if (worker->flight != NULL)
        rpc_flight_free(worker->flight);
    free(worker->values);
    free(worker->requests);
    free(worker->idle);
}

static void figures_merge(struct bench_figures *into, const struct bench_figures *from)
{
    into->in_slices += from->in_slices;
    into->not_found += from->not_found;
    for (uint32_t i = 0; i < BENCH_CODES; i++) {
        into->codes[i] += from->codes[i];
        if (into->said[i][0] == '\0')
            memcpy(into->said[i], from->said[i], sizeof from->said[i]);
    }
    histogram_merge(&into->latency, &from->latency);
}

static void collect(const struct run *run, const struct worker *workers,
                    struct bench_result *result)
{
    for (uint32_t i = 0; i < run->options->threads; i++) {
        figures_merge(&result->null, &workers[i].null);
        figures_merge(&result->operation, &workers[i].operation);
        if (workers[i].load_said[0] != '\0')
            memcpy(result->load_said, workers[i].load_said, sizeof result->load_said);
    }
    result->loaded = run->loaded;
    result->load_failed = run->load_failed;
    result->interrupted_by = interrupted_by;
    for (size_t i = 0; i < run->slice_count; i++) {
        const struct slice *slice = &run->slices[i];
        double seconds = (double)slice->ran_ns / 1e9;
        if (slice->operation == BENCH_LOAD)
            result->load_seconds = seconds;
        if (slice->measured)
            *(slice->is_null ? &result->null.seconds : &result->operation.seconds) += seconds;
    }
}

int bench_run(const struct bench_options *options, struct bench_result *ret_result)
{
    struct run run = {.options = options};
    struct worker *workers = calloc(options->threads, sizeof *workers);
    CHECK(workers != NULL);
    plan(&run);
    bool good = true;
    for (uint32_t i = 0; i < options->threads && good; i++)
        good = worker_init(&workers[i], &run, i);
    if (good) {
        catch_signals();
        pthread_barrier_init(&run.barrier, NULL, options->threads);
        for (uint32_t i = 0; i < options->threads; i++)
            CHECK(pthread_create(&workers[i].thread, NULL, worker_run, &workers[i]) == 0);
        for (uint32_t i = 0; i < options->threads; i++)
            pthread_join(workers[i].thread, NULL);
        pthread_barrier_destroy(&run.barrier);
        collect(&run, workers, ret_result);
    }
    for (uint32_t i = 0; i < options->threads; i++)
        worker_deinit(&workers[i]);
    free(workers);
    free(run.slices);
    return good ? 0 : 2;
}

uint64_t bench_errors(const struct bench_figures *figures)
{
    uint64_t errors = figures->not_found;
    for (uint32_t i = 1; i < BENCH_CODES; i++)
        errors += figures->codes[i];
    return errors;
}
