#include "bench/bench.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

static const char *const code_names[BENCH_CODES] = {
    "OK",        "CANCELLED",      "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
    "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
    "ABORTED",   "OUT_OF_RANGE",   "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
    "DATA_LOSS", "UNAUTHENTICATED"};

static const char *const level_names[] = {"keyspace's", "ONE",          "QUORUM",     "ALL",
                                          "LOCAL_ONE",  "LOCAL_QUORUM", "EACH_QUORUM"};

static const struct {
    const char *name;
    double quantile;
} quantiles[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99_9", 0.999}};

/* "model name : ..." of /proc/cpuinfo, "MemTotal: ... kB" of /proc/meminfo. */
static void proc_field(const char *path, const char *name, char *text, size_t text_size)
{
    char line[512];
    FILE *file = fopen(path, "r");
    snprintf(text, text_size, "unknown");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        char *colon = strchr(line, ':');
        if (strncmp(line, name, strlen(name)) != 0 || colon == NULL)
            continue;
        line[strcspn(line, "\n")] = '\0';
        snprintf(text, text_size, "%s", colon + 1 + strspn(colon + 1, " \t"));
        break;
    }
    if (file != NULL)
        fclose(file);
}

static double rate(const struct bench_figures *figures)
{
    return figures->seconds > 0 ? (double)figures->in_slices / figures->seconds : 0;
}

static double microseconds(uint64_t ns)
{
    return (double)ns / 1000;
}

static double mean_us(const struct histogram *latency)
{
    return latency->count == 0 ? 0 : (double)latency->sum_ns / (double)latency->count / 1000;
}

static void print_row(const char *name, const struct bench_figures *figures)
{
    printf("%-6s %12llu %12.0f", name, (unsigned long long)figures->latency.count, rate(figures));
    for (size_t i = 0; i < ARRAY_COUNT(quantiles); i++)
        printf(" %10.1f",
               microseconds(histogram_quantile_ns(&figures->latency, quantiles[i].quantile)));
    printf(" %10.1f %8llu\n", microseconds(figures->latency.max_ns),
           (unsigned long long)bench_errors(figures));
}

static void print_errors(const char *name, const struct bench_figures *figures)
{
    for (uint32_t i = 1; i < BENCH_CODES; i++) {
        if (figures->codes[i] > 0)
            printf("errors   %s: %llu %s, the first: %s\n", name,
                   (unsigned long long)figures->codes[i], code_names[i], figures->said[i]);
    }
    if (figures->not_found > 0)
        printf("errors   %s: %llu keys without a value\n", name,
               (unsigned long long)figures->not_found);
}

static void report_table(const struct bench_options *options, const struct bench_result *result,
                         const struct utsname *system, const char *cpu, const char *memory)
{
    const char *name = bench_operation_names[options->operation];
    bool both = options->null_ratio;
    printf("machine  %u cores, %s, %s memory, %s %s\n", bench_cores(), cpu, memory, system->sysname,
           system->release);
    printf("seed     %llu\n", (unsigned long long)options->seed);
    printf("config   targets %s, %u outstanding, %u connections, %u threads, %u keys of 14 bytes, "
           "values of %u bytes, keyspace %s, consistency %s",
           options->targets, options->concurrency, options->connections, options->threads,
           options->keys, options->value_bytes,
           options->keyspace[0] == '\0' ? "default" : options->keyspace,
           level_names[options->consistency]);
    if (options->operation == BENCH_MIXED)
        printf(", read ratio %.2f", options->read_ratio);
    if (both)
        printf(", slices of %u ms", options->slice_ms);
    double seconds = result->operation.seconds + result->null.seconds;
    if (seconds > 0)
        printf("\nmeasured %.1f s after %.1f s of warm-up", seconds,
               options->operation == BENCH_LOAD ? 0 : (double)options->warmup_ms / 1000);
    else
        printf("\nmeasured nothing");
    if (result->load_seconds > 0)
        printf(", %llu keys loaded in %.1f s (%.0f/s)", (unsigned long long)result->loaded,
               result->load_seconds, (double)result->loaded / result->load_seconds);
    if (result->interrupted_by != 0)
        printf("\nended    by signal %d (%s), before its time", result->interrupted_by,
               strsignal(result->interrupted_by));
    printf("\n\n%-6s %12s %12s %10s %10s %10s %10s %10s %8s\n", "", "requests", "requests/s",
           "p50 us", "p90 us", "p99 us", "p99.9 us", "max us", "errors");
    if (both || options->operation == BENCH_NULL)
        print_row("null", &result->null);
    if (options->operation != BENCH_NULL)
        print_row(name, &result->operation);
    if (both && rate(&result->null) > 0)
        printf("\nratio    %s / null = %.3f\n", name,
               rate(&result->operation) / rate(&result->null));
    print_errors("null", &result->null);
    print_errors(name, &result->operation);
    if (result->load_failed)
        printf("errors   load: a key could not be written: %s\n", result->load_said);
}

static json_t *json_of_figures(const struct bench_figures *figures)
{
    json_t *errors = json_object();
    for (uint32_t i = 1; i < BENCH_CODES; i++) {
        if (figures->codes[i] > 0)
            json_object_set_new(errors, code_names[i], json_integer((json_int_t)figures->codes[i]));
    }
    if (figures->not_found > 0)
        json_object_set_new(errors, "no_value", json_integer((json_int_t)figures->not_found));
    json_t *said = json_object();
    for (uint32_t i = 1; i < BENCH_CODES; i++) {
        if (figures->codes[i] > 0)
            json_object_set_new(said, code_names[i], json_string(figures->said[i]));
    }
    json_t *latency = json_object();
    for (size_t i = 0; i < ARRAY_COUNT(quantiles); i++)
        json_object_set_new(latency, quantiles[i].name,
                            json_real(microseconds(
                                histogram_quantile_ns(&figures->latency, quantiles[i].quantile))));
    json_object_set_new(latency, "max", json_real(microseconds(figures->latency.max_ns)));
    json_object_set_new(latency, "mean", json_real(mean_us(&figures->latency)));
    return json_pack("{s:I, s:f, s:f, s:o, s:o, s:o}", "requests",
                     (json_int_t)figures->latency.count, "seconds", figures->seconds,
                     "requests_per_second", rate(figures), "latency_us", latency, "errors", errors,
                     "first_errors", said);
}

static void report_json(const struct bench_options *options, const struct bench_result *result,
                        const struct utsname *system, const char *cpu, const char *memory)
{
    const char *name = bench_operation_names[options->operation];
    json_t *all = json_pack(
        "{s:s, s:s, s:{s:I, s:s, s:s, s:s, s:s}, s:I}", "bench", name, "version", COTERIE_VERSION,
        "machine", "cores", (json_int_t)bench_cores(), "cpu", cpu, "memory", memory, "system",
        system->sysname, "release", system->release, "seed", (json_int_t)options->seed);
    json_object_set_new(
        all, "config",
        json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:s, s:s, s:f, s:f, s:f, s:I}", "targets",
                  options->targets, "concurrency", (json_int_t)options->concurrency, "connections",
                  (json_int_t)options->connections, "threads", (json_int_t)options->threads, "keys",
                  (json_int_t)options->keys, "value_bytes", (json_int_t)options->value_bytes,
                  "keyspace", options->keyspace[0] == '\0' ? "default" : options->keyspace,
                  "consistency", level_names[options->consistency], "read_ratio",
                  options->read_ratio, "duration_s", (double)options->duration_ms / 1000,
                  "warmup_s", (double)options->warmup_ms / 1000, "slice_ms",
                  (json_int_t)options->slice_ms));
    if (result->load_seconds > 0) {
        json_object_set_new(all, "load_seconds", json_real(result->load_seconds));
        json_object_set_new(all, "keys_loaded", json_integer((json_int_t)result->loaded));
    }
    json_object_set_new(all, "interrupted", json_boolean(result->interrupted_by != 0));
    json_object_set_new(all, "load_failed", json_boolean(result->load_failed));
    if (result->load_failed)
        json_object_set_new(all, "load_error", json_string(result->load_said));
    if (options->null_ratio || options->operation == BENCH_NULL)
        json_object_set_new(all, "null", json_of_figures(&result->null));
    if (options->operation != BENCH_NULL)
        json_object_set_new(all, name, json_of_figures(&result->operation));
    if (options->null_ratio && rate(&result->null) > 0)
        json_object_set_new(all, "ratio_to_null",
                            json_real(rate(&result->operation) / rate(&result->null)));
    json_dumpf(all, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
    putchar('\n');
    json_decref(all);
}

void bench_report(const struct bench_options *options, const struct bench_result *result)
{
    struct utsname system;
    char cpu[256], memory[64];
    CHECK(uname(&system) == 0);
    proc_field("/proc/cpuinfo", "model name", cpu, sizeof cpu);
    proc_field("/proc/meminfo", "MemTotal", memory, sizeof memory);
    if (options->json)
        report_json(options, result, &system, cpu, memory);
    else
        report_table(options, result, &system, cpu, memory);
}
