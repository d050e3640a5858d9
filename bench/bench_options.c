#include "bench/bench.h"

#include <getopt.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/random.h>

#define VALUE_BYTES_CAP (3u * 1024 * 1024)

const char *const bench_operation_names[] = {"null", "put", "get", "mixed", "load", NULL};

static const char *const levels[] = {"ONE",       "QUORUM",       "ALL",
                                     "LOCAL_ONE", "LOCAL_QUORUM", "EACH_QUORUM"};

static const char help[] =
    "coterie-bench -- throughput and latency of running nodes, by a closed loop\n\n"
    "Usage\n"
    "  coterie-bench null|put|get|mixed|load [options]\n\n"
    "  null   the empty RPC, the yardstick\n"
    "  put    writes of uniformly chosen keys\n"
    "  get    reads of uniformly chosen keys; writes all keys first (not measured)\n"
    "  mixed  both, by --read-ratio; writes all keys first\n"
    "  load   writes every key once\n\n"
    "Options\n"
    "  --targets HOST:PORT,...  nodes, used in turn (127.0.0.1:7700)\n"
    "  --concurrency N          requests outstanding over all threads (64)\n"
    "  --connections M          TCP connections over all threads and targets (4)\n"
    "  --threads T              client threads, at most one a core (half the cores)\n"
    "  --duration S             seconds measured (10)\n"
    "  --warmup S               seconds before that (2)\n"
    "  --value-bytes B          size of a value of seeded random bytes (100)\n"
    "  --keys K                 how many keys there are (100000)\n"
    "  --keyspace NAME          (default)\n"
    "  --consistency LEVEL      ONE, QUORUM, ALL, LOCAL_ONE, ... (the keyspace's)\n"
    "  --read-ratio R           part of reads in mixed, 0 to 1 (0.5)\n"
    "  --seed N                 of keys and values (drawn, and printed)\n"
    "  --null-ratio             alternate with the null RPC in short slices, print the ratio\n"
    "  --slice-ms N             length of those slices (500)\n"
    "  --deadline-ms N          of one request (5000)\n"
    "  --no-load                the keys are there already\n"
    "  -o, --output table|json\n"
    "  -h, --help; --version\n\n"
    "Keys are key-0000000000, key-0000000001 and so on: what a keyspace holds there is "
    "overwritten.\n"
    "One request of each kind is sent first, and what is wrong with it told.\n"
    "Ctrl-C (or SIGTERM) ends it early, with what was measured until then (\"interrupted\": "
    "true).\n"
    "Exits 0 ok, 1 when a request failed, 2 usage, 3 no such keyspace, 4 no node, 130 interrupted\n"
    "(143 by SIGTERM).\n\n"
    "Examples\n"
    "  coterie-bench null --targets 127.0.0.1:7700 --duration 5\n"
    "  coterie-bench put --targets n1:7700,n2:7700,n3:7700 --null-ratio -o json\n"
    "  coterie-bench mixed --read-ratio 0.9 --keys 1000000 --value-bytes 100\n";

enum {
    ARG_TARGETS = 256,
    ARG_CONCURRENCY,
    ARG_CONNECTIONS,
    ARG_THREADS,
    ARG_DURATION,
    ARG_WARMUP,
    ARG_VALUE_BYTES,
    ARG_KEYS,
    ARG_KEYSPACE,
    ARG_CONSISTENCY,
    ARG_READ_RATIO,
    ARG_SEED,
    ARG_NULL_RATIO,
    ARG_SLICE_MS,
    ARG_DEADLINE_MS,
    ARG_NO_LOAD,
};

static const struct option long_options[] = {
    {"targets", required_argument, NULL, ARG_TARGETS},
    {"concurrency", required_argument, NULL, ARG_CONCURRENCY},
    {"connections", required_argument, NULL, ARG_CONNECTIONS},
    {"threads", required_argument, NULL, ARG_THREADS},
    {"duration", required_argument, NULL, ARG_DURATION},
    {"warmup", required_argument, NULL, ARG_WARMUP},
    {"value-bytes", required_argument, NULL, ARG_VALUE_BYTES},
    {"keys", required_argument, NULL, ARG_KEYS},
    {"keyspace", required_argument, NULL, ARG_KEYSPACE},
    {"consistency", required_argument, NULL, ARG_CONSISTENCY},
    {"read-ratio", required_argument, NULL, ARG_READ_RATIO},
    {"seed", required_argument, NULL, ARG_SEED},
    {"null-ratio", no_argument, NULL, ARG_NULL_RATIO},
    {"slice-ms", required_argument, NULL, ARG_SLICE_MS},
    {"deadline-ms", required_argument, NULL, ARG_DEADLINE_MS},
    {"no-load", no_argument, NULL, ARG_NO_LOAD},
    {"output", required_argument, NULL, 'o'},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'V'},
    {0},
};

uint32_t bench_cores(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0)
        return 1;
    return (uint32_t)CPU_COUNT(&set);
}

static bool number(const char *name, const char *text, double min, double max, double *ret_value)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end != '\0' || !(value >= min && value <= max)) {
        fprintf(stderr, "coterie-bench: --%s is '%s', must be a number from %.10g to %.10g\n", name,
                text, min, max);
        return false;
    }
    *ret_value = value;
    return true;
}

static bool count(const char *name, const char *text, uint32_t min, uint32_t max,
                  uint32_t *ret_value)
{
    double value;
    if (!number(name, text, min, max, &value))
        return false;
    *ret_value = (uint32_t)value;
    return true;
}

static bool seconds(const char *name, const char *text, uint32_t *ret_ms)
{
    double value;
    if (!number(name, text, 0, 86400, &value))
        return false;
    *ret_ms = (uint32_t)(value * 1000);
    return true;
}

static bool level(const char *text, Coterie__V1__Consistency *ret_level)
{
    for (size_t i = 0; i < ARRAY_COUNT(levels); i++) {
        if (strcasecmp(text, levels[i]) == 0) {
            *ret_level = (Coterie__V1__Consistency)(i + 1);
            return true;
        }
    }
    fprintf(stderr,
            "coterie-bench: --consistency is '%s', must be ONE, QUORUM, ALL, LOCAL_ONE, "
            "LOCAL_QUORUM or EACH_QUORUM\n",
            text);
    return false;
}

static bool seed(const char *text, uint64_t *ret_seed)
{
    char *end;
    *ret_seed = strtoull(text, &end, 0);
    if (end != text && *end == '\0')
        return true;
    fprintf(stderr, "coterie-bench: --seed is '%s', must be a number\n", text);
    return false;
}

static bool output(const char *text, bool *ret_json)
{
    *ret_json = strcmp(text, "json") == 0;
    if (*ret_json || strcmp(text, "table") == 0)
        return true;
    fprintf(stderr, "coterie-bench: --output is '%s', must be table or json\n", text);
    return false;
}

static bool take(int id, const char *value, struct bench_options *options)
{
    switch (id) {
    case ARG_TARGETS:
        options->targets = value;
        return true;
    case ARG_CONCURRENCY:
        return count("concurrency", value, 1, 8192, &options->concurrency);
    case ARG_CONNECTIONS:
        return count("connections", value, 1, 512, &options->connections);
    case ARG_THREADS:
        return count("threads", value, 1, bench_cores(), &options->threads);
    case ARG_DURATION:
        return seconds("duration", value, &options->duration_ms);
    case ARG_WARMUP:
        return seconds("warmup", value, &options->warmup_ms);
    case ARG_VALUE_BYTES:
        return count("value-bytes", value, 0, VALUE_BYTES_CAP, &options->value_bytes);
    case ARG_KEYS:
        return count("keys", value, 1, 1000000000, &options->keys);
    case ARG_KEYSPACE:
        options->keyspace = value;
        return true;
    case ARG_CONSISTENCY:
        return level(value, &options->consistency);
    case ARG_READ_RATIO:
        return number("read-ratio", value, 0, 1, &options->read_ratio);
    case ARG_SEED:
        return seed(value, &options->seed);
    case ARG_NULL_RATIO:
        options->null_ratio = true;
        return true;
    case ARG_SLICE_MS:
        return count("slice-ms", value, 10, 60000, &options->slice_ms);
    case ARG_DEADLINE_MS:
        return count("deadline-ms", value, 1, 60000, &options->deadline_ms);
    case ARG_NO_LOAD:
        options->load = false;
        return true;
    case 'o':
        return output(value, &options->json);
    default:
        return false; /* getopt has said why */
    }
}

static bool agree(const struct bench_options *options)
{
    uint32_t targets = 1;
    for (const char *c = options->targets; *c != '\0'; c++)
        targets += *c == ',';
    uint32_t a_thread = options->connections / options->threads;
    if (a_thread < targets || a_thread > RPC_FLIGHT_CONNECTIONS_MAX) {
        fprintf(stderr,
                "coterie-bench: --connections is %u, must be %u to %u for %u threads and %u "
                "targets\n",
                options->connections, options->threads * targets,
                options->threads * RPC_FLIGHT_CONNECTIONS_MAX, options->threads, targets);
        return false;
    }
    if (options->concurrency < options->threads ||
        options->concurrency > options->threads * RPC_FLIGHT_CALLS_MAX) {
        fprintf(stderr, "coterie-bench: --concurrency is %u, must be %u to %u for %u threads\n",
                options->concurrency, options->threads, options->threads * RPC_FLIGHT_CALLS_MAX,
                options->threads);
        return false;
    }
    if (options->duration_ms == 0 && options->operation != BENCH_LOAD) {
        fputs("coterie-bench: --duration must be more than 0\n", stderr);
        return false;
    }
    return true;
}

static bool operation(const char *text, enum bench_operation *ret_operation)
{
    for (int i = 0; bench_operation_names[i] != NULL; i++) {
        if (text != NULL && strcmp(bench_operation_names[i], text) == 0) {
            *ret_operation = (enum bench_operation)i;
            return true;
        }
    }
    fprintf(stderr, "coterie-bench: say what to measure: null, put, get, mixed or load\n");
    return false;
}

int bench_options_parse(int argc, char **argv, struct bench_options *ret_options, bool *ret_done)
{
    uint32_t cores = bench_cores();
    struct bench_options options = {.targets = "127.0.0.1:7700",
                                    .keyspace = "",
                                    .concurrency = 64,
                                    .connections = 4,
                                    .threads = cores / 2 == 0 ? 1 : cores / 2,
                                    .duration_ms = 10000,
                                    .warmup_ms = 2000,
                                    .slice_ms = 500,
                                    .value_bytes = 100,
                                    .keys = 100000,
                                    .deadline_ms = 5000,
                                    .read_ratio = 0.5,
                                    .load = true};
    bool good = getrandom(&options.seed, sizeof options.seed, 0) == sizeof options.seed;
    options.seed >>= 32; /* short enough to be typed */
    for (int id; good && (id = getopt_long(argc, argv, "o:h", long_options, NULL)) >= 0;) {
        if (id == 'h' || id == 'V') {
            fputs(id == 'h' ? help : "coterie-bench " COTERIE_VERSION "\n", stdout);
            *ret_done = true;
            return 0;
        }
        good = take(id, optarg, &options);
    }
    good = good && operation(optind < argc ? argv[optind] : NULL, &options.operation);
    if (good && optind + 1 < argc) {
        fprintf(stderr, "coterie-bench: '%s' is one word too many\n", argv[optind + 1]);
        good = false;
    }
    if (!good || !agree(&options)) {
        fputs("  see: coterie-bench --help\n", stderr);
        return 2;
    }
    if (options.operation == BENCH_NULL || options.operation == BENCH_PUT)
        options.load = false;
    if (options.operation == BENCH_NULL || options.operation == BENCH_LOAD)
        options.null_ratio = false;
    *ret_options = options;
    return 0;
}
