#include "bench/bench.h"

#include "coterie/v1/maintenance.pb-c.h"
#include "rpc/loop.h"

#include <stdio.h>
#include <stdlib.h>

enum { EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_NOT_FOUND, EXIT_UNAVAILABLE, EXIT_SIGNAL = 128 };

static int tell(const struct rpc_client_status *status, const char *next)
{
    fprintf(stderr, "coterie-bench: %s (code %d %s, from %s)\n  next: %s\n", status->message,
            (int)status->code, status->reason, status->endpoint, next);
    return status->code == GRPC_STATUS_NOT_FOUND     ? EXIT_NOT_FOUND
           : status->code == GRPC_STATUS_UNAVAILABLE ? EXIT_UNAVAILABLE
                                                     : EXIT_FAILED;
}

/* One request as the run will send them: what is wrong with level, size or keyspace is told in
 * words before it is counted a thousand times. */
static int check_request(const struct bench_options *options, struct rpc_client *client,
                         struct arena *arena)
{
    struct rpc_client_status status;
    Coterie__V1__GetRequest get = COTERIE__V1__GET_REQUEST__INIT;
    get.keyspace = (char *)(uintptr_t)options->keyspace;
    get.key = (ProtobufCBinaryData){.len = 14, .data = (uint8_t *)(uintptr_t) "key-0000000000"};
    get.consistency = options->consistency;
    const char *next = "see coterie status and coterie keyspace list";
    if (rpc_client_call(client, "/coterie.v1.KeyValue/Get", &get.base,
                        &coterie__v1__get_response__descriptor, options->deadline_ms, true, arena,
                        &status) == NULL)
        return tell(&status, next);
    if (options->operation == BENCH_GET && !options->load)
        return EXIT_OK;
    Coterie__V1__PutRequest put = COTERIE__V1__PUT_REQUEST__INIT;
    put.keyspace = get.keyspace;
    put.key = get.key;
    put.value.len = options->value_bytes;
    put.value.data = ARENA_NEW(arena, uint8_t, options->value_bytes + 1);
    put.consistency = options->consistency;
    if (rpc_client_call(client, "/coterie.v1.KeyValue/Put", &put.base,
                        &coterie__v1__put_response__descriptor, options->deadline_ms, false, arena,
                        &status) == NULL)
        return tell(&status, next);
    return EXIT_OK;
}

/* Every target answers, and takes what is to be measured: else figures would be those of errors. */
static int check_target(const struct bench_options *options, const char *target)
{
    struct rpc_client *client;
    struct rpc_client_status status;
    char why[512];
    if (rpc_client_new(target, &client, why, sizeof why) != OK) {
        fprintf(stderr, "coterie-bench: --targets: %s\n", why);
        return EXIT_USAGE;
    }
    struct arena arena;
    arena_init(&arena, NULL, 0);
    int code = EXIT_OK;
    Coterie__V1__NullRequest null = COTERIE__V1__NULL_REQUEST__INIT;
    if (rpc_client_call(client, "/coterie.v1.Maintenance/Null", &null.base,
                        &coterie__v1__null_response__descriptor, options->deadline_ms, true, &arena,
                        &status) == NULL)
        code = tell(&status, "start the node, or name others with --targets");
    if (code == EXIT_OK && options->operation != BENCH_NULL)
        code = check_request(options, client, &arena);
    arena_deinit(&arena);
    rpc_client_free(client);
    return code;
}

static int check_targets(const struct bench_options *options)
{
    int code = EXIT_OK;
    for (const char *next = options->targets; code == EXIT_OK && next != NULL;) {
        size_t size = strcspn(next, ",");
        char target[512];
        snprintf(target, sizeof target, "%.*s", (int)(size < 500 ? size : 500), next);
        code = check_target(options, target);
        next = next[size] == ',' ? next + size + 1 : NULL;
    }
    return code;
}

int main(int argc, char **argv)
{
    rpc_library_init(NULL);
    struct bench_options options;
    bool done = false;
    int code = bench_options_parse(argc, argv, &options, &done);
    if (code == EXIT_OK && !done)
        code = check_targets(&options);
    if (code == EXIT_OK && !done) {
        struct bench_result *result = calloc(1, sizeof *result);
        CHECK(result != NULL);
        code = bench_run(&options, result);
        if (code == EXIT_OK)
            bench_report(&options, result);
        if (code == EXIT_OK && (result->load_failed || bench_errors(&result->null) > 0 ||
                                bench_errors(&result->operation) > 0)) {
            fputs(
                "coterie-bench: there were errors: the figures are not those of a working system\n",
                stderr);
            code = EXIT_FAILED;
        }
        if (code == EXIT_OK && fflush(stdout) != 0) {
            fputs("coterie-bench: the report could not be written\n", stderr);
            code = EXIT_FAILED;
        }
        if (result->interrupted_by != 0)
            code = EXIT_SIGNAL + result->interrupted_by;
        free(result);
    }
    rpc_library_shutdown();
    return code;
}
