// link: coterie_rpc
/* What the client port costs without any store behind it: null, get and put against a coordinator
 * that answers from a table, side by side in rounds, so that every figure has its ratio to the null
 * RPC of the same run. One process: client and server share the cores.
 *
 *   micro_rpc [seconds a round] [rounds] [outstanding] [connections] [loop threads]
 */
#include "bench/fake_actors.h"

#include "coterie/v1/key_value.pb-c.h"
#include "coterie/v1/maintenance.pb-c.h"
#include "rpc/client.h"

#include <sys/resource.h>
#include <unistd.h>

#define OUTSTANDING_MAX 1024u
#define CONNECTIONS_MAX 64u
#define THREADS_MAX     64u
#define KEYS            10000u
#define VALUE_BYTES     100u
#define DEADLINE_MS     10000u

struct options {
    uint32_t seconds;
    uint32_t rounds;
    uint32_t outstanding;
    uint32_t connections;
    uint32_t threads;
};

enum kind { NULL_RPC, GET, PUT, KINDS };
static const char *const names[KINDS] = {"null", "get", "put"};

static void start(struct rpc_flight *flight, enum kind kind, void *tag)
{
    static uint64_t next_key;
    static uint8_t value[VALUE_BYTES];
    char key[32];
    int size = snprintf(key, sizeof key, "key-%06u", (unsigned)(next_key++ % KEYS));
    ProtobufCBinaryData key_data = {.len = (size_t)size, .data = (uint8_t *)key};
    if (kind == NULL_RPC) {
        Coterie__V1__NullRequest null = COTERIE__V1__NULL_REQUEST__INIT;
        rpc_flight_start(flight, "/coterie.v1.Maintenance/Null", &null.base, DEADLINE_MS, tag);
    } else if (kind == GET) {
        Coterie__V1__GetRequest get = COTERIE__V1__GET_REQUEST__INIT;
        get.key = key_data;
        rpc_flight_start(flight, "/coterie.v1.KeyValue/Get", &get.base, DEADLINE_MS, tag);
    } else {
        Coterie__V1__PutRequest put = COTERIE__V1__PUT_REQUEST__INIT;
        put.key = key_data;
        put.value = (ProtobufCBinaryData){.len = sizeof value, .data = value};
        rpc_flight_start(flight, "/coterie.v1.KeyValue/Put", &put.base, DEADLINE_MS, tag);
    }
}

/* Of this process, client and server together. */
static double cpu_seconds(void)
{
    struct rusage usage;
    CHECK(getrusage(RUSAGE_SELF, &usage) == 0);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

struct rate {
    double per_second;
    double cpu_us; /* of one call: steadier than the rate on a machine that others use too */
};

static struct rate round_run(struct rpc_flight *flight, const struct options *options,
                             enum kind kind)
{
    uint64_t begin_ns = runtime_now_ns();
    uint64_t end_ns = begin_ns + options->seconds * 1000000000ull;
    double begin_cpu = cpu_seconds();
    uint64_t done = 0;
    for (uint32_t i = 0; i < options->outstanding; i++)
        start(flight, kind, flight);
    while (rpc_flight_outstanding(flight) > 0) {
        struct rpc_flight_result result;
        CHECK(rpc_flight_next(flight, DEADLINE_MS, &result));
        CHECK_U64(result.code, ==, GRPC_STATUS_OK);
        done++;
        if (runtime_now_ns() < end_ns)
            start(flight, kind, flight);
    }
    return (struct rate){.per_second = (double)done / ((double)(runtime_now_ns() - begin_ns) / 1e9),
                         .cpu_us = (cpu_seconds() - begin_cpu) / (double)done * 1e6};
}

static void rounds_run(struct rpc_flight *flight, const struct options *options)
{
    (void)round_run(flight, options, PUT); /* warm, and the table is full */
    double sum[KINDS] = {0};
    for (uint32_t round = 0; round < options->rounds; round++) {
        printf("round %u:", round + 1);
        for (enum kind kind = 0; kind < KINDS; kind++) {
            struct rate rate = round_run(flight, options, kind);
            sum[kind] += rate.per_second;
            printf("  %s %.0f (%.1f us)", names[kind], rate.per_second, rate.cpu_us);
        }
        printf("\n");
    }
    printf("ratio to null: get %.2f put %.2f\n", sum[GET] / sum[NULL_RPC],
           sum[PUT] / sum[NULL_RPC]);
}

static uint32_t argument(int argc, char **argv, int index, uint32_t fallback, uint32_t max)
{
    unsigned long value = index < argc ? strtoul(argv[index], NULL, 10) : fallback;
    return value == 0 || value > max ? fallback : (uint32_t)value;
}

int main(int argc, char **argv)
{
    struct options options = {.seconds = argument(argc, argv, 1, 2, 600),
                              .rounds = argument(argc, argv, 2, 3, 100),
                              .outstanding = argument(argc, argv, 3, 64, OUTSTANDING_MAX),
                              .connections = argument(argc, argv, 4, 4, CONNECTIONS_MAX),
                              .threads = argument(argc, argv, 5, 1, THREADS_MAX)};
    rpc_library_init(NULL);
    runtime_thread_register();
    struct fake_node node;
    fake_node_start(&node, 4096, options.threads);
    char endpoint[32];
    snprintf(endpoint, sizeof endpoint, "127.0.0.1:%d", rpc_server_port(node.server));
    struct rpc_flight *flight = NULL;
    char why[256] = "";
    if (rpc_flight_new(endpoint, options.connections, &flight, why, sizeof why) != OK) {
        fprintf(stderr, "%s\n", why);
        return 1;
    }
    printf("%u outstanding over %u connections, %u s a round, %u loop threads, %ld cores, values "
           "of %u bytes, calls a second (CPU a call)\n",
           options.outstanding, options.connections, options.seconds, options.threads,
           sysconf(_SC_NPROCESSORS_ONLN), VALUE_BYTES);
    rounds_run(flight, &options);
    rpc_flight_free(flight);
    fake_node_stop(&node, 1000);
    runtime_thread_unregister();
    rpc_library_shutdown();
    return 0;
}
