// link: coterie_rpc
/* What the client port costs without any store behind it: null, get and put against a coordinator that
 * answers from a table, side by side in rounds, so that every figure has its ratio to the null RPC of the
 * same run. One process: client and server share the cores.
 *
 *   micro_rpc [seconds a round] [rounds] [outstanding] [connections] [loop threads]
 */
#include "tests/rpc/fake_actors.h"
#include "tests/rpc/raw_client.h"

#include "coterie/v1/key_value.pb-c.h"
#include "rpc/edge.h"

#include <unistd.h>

#define OUTSTANDING_MAX 1024u
#define CONNECTIONS_MAX 64u
#define KEYS            10000u
#define VALUE_BYTES     100u

struct options {
    uint32_t seconds;
    uint32_t rounds;
    uint32_t outstanding;
    uint32_t connections;
    uint32_t threads;
};

struct slot {
    grpc_call *call;
    grpc_metadata_array headers;
    grpc_metadata_array trailers;
    grpc_status_code code;
    grpc_slice details;
    grpc_byte_buffer *request;
    grpc_byte_buffer *response;
    uint32_t connection;
};

struct bench {
    struct options options;
    grpc_completion_queue *queue;
    struct raw_client clients[CONNECTIONS_MAX];
    void *methods[CONNECTIONS_MAX][3];
    struct slot slots[OUTSTANDING_MAX];
    uint64_t next_key;
};

enum { NULL_RPC, GET, PUT, KINDS };
static const char *const paths[KINDS] = {"/coterie.v1.Maintenance/Null", "/coterie.v1.KeyValue/Get",
                                         "/coterie.v1.KeyValue/Put"};
static const char *const names[KINDS] = {"null", "get", "put"};

static grpc_byte_buffer *request_new(struct bench *bench, int kind)
{
    if (kind == NULL_RPC)
        return grpc_raw_byte_buffer_create(NULL, 0);
    char key[32];
    uint8_t value[VALUE_BYTES] = {7};
    snprintf(key, sizeof key, "key-%06u", (unsigned)(bench->next_key++ % KEYS));
    ProtobufCBinaryData key_data = binary_of_bytes(bytes_of_string(key));
    if (kind == GET) {
        Coterie__V1__GetRequest get = COTERIE__V1__GET_REQUEST__INIT;
        get.key = key_data;
        return buffer_of_message(&get.base);
    }
    Coterie__V1__PutRequest put = COTERIE__V1__PUT_REQUEST__INIT;
    put.key = key_data;
    put.value = (ProtobufCBinaryData){.len = sizeof value, .data = value};
    return buffer_of_message(&put.base);
}

static void slot_start(struct bench *bench, struct slot *slot, int kind)
{
    struct raw_client *client = &bench->clients[slot->connection];
    slot->call = grpc_channel_create_registered_call(client->channel, NULL, GRPC_PROPAGATE_DEFAULTS,
                                                     bench->queue,
                                                     bench->methods[slot->connection][kind],
                                                     in_ms(10000), NULL);
    slot->request = request_new(bench, kind);
    slot->response = NULL;
    grpc_metadata_array_init(&slot->headers);
    grpc_metadata_array_init(&slot->trailers);
    grpc_op ops[6];
    memset(ops, 0, sizeof ops);
    ops[0].op = GRPC_OP_SEND_INITIAL_METADATA;
    ops[1].op = GRPC_OP_SEND_MESSAGE;
    ops[1].data.send_message.send_message = slot->request;
    ops[2].op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
    ops[3].op = GRPC_OP_RECV_INITIAL_METADATA;
    ops[3].data.recv_initial_metadata.recv_initial_metadata = &slot->headers;
    ops[4].op = GRPC_OP_RECV_MESSAGE;
    ops[4].data.recv_message.recv_message = &slot->response;
    ops[5].op = GRPC_OP_RECV_STATUS_ON_CLIENT;
    ops[5].data.recv_status_on_client.trailing_metadata = &slot->trailers;
    ops[5].data.recv_status_on_client.status = &slot->code;
    ops[5].data.recv_status_on_client.status_details = &slot->details;
    CHECK(grpc_call_start_batch(slot->call, ops, 6, slot, NULL) == GRPC_CALL_OK);
}

static void slot_end(struct slot *slot)
{
    CHECK_U64(slot->code, ==, GRPC_STATUS_OK);
    grpc_byte_buffer_destroy(slot->request);
    grpc_byte_buffer_destroy(slot->response);
    grpc_metadata_array_destroy(&slot->headers);
    grpc_metadata_array_destroy(&slot->trailers);
    grpc_slice_unref(slot->details);
    grpc_call_unref(slot->call);
}

/* Calls a second. */
static double round_run(struct bench *bench, int kind)
{
    uint64_t begin_ns = runtime_now_ns();
    uint64_t end_ns = begin_ns + bench->options.seconds * 1000000000ull;
    uint64_t done = 0;
    uint32_t running = bench->options.outstanding;
    for (uint32_t i = 0; i < running; i++)
        slot_start(bench, &bench->slots[i], kind);
    while (running > 0) {
        grpc_event event = grpc_completion_queue_next(bench->queue, in_ms(30000), NULL);
        CHECK_U64(event.type, ==, GRPC_OP_COMPLETE);
        struct slot *slot = event.tag;
        slot_end(slot);
        done++;
        if (runtime_now_ns() < end_ns)
            slot_start(bench, slot, kind);
        else
            running--;
    }
    return (double)done / ((double)(runtime_now_ns() - begin_ns) / 1e9);
}

static void bench_init(struct bench *bench, int port)
{
    bench->queue = grpc_completion_queue_create_for_next(NULL);
    for (uint32_t i = 0; i < bench->options.connections; i++) {
        bench->clients[i] = raw_client_new(port, (int)i);
        for (int kind = 0; kind < KINDS; kind++)
            bench->methods[i][kind] =
                grpc_channel_register_call(bench->clients[i].channel, paths[kind], NULL, NULL);
    }
    for (uint32_t i = 0; i < bench->options.outstanding; i++)
        bench->slots[i].connection = i % bench->options.connections;
}

static uint32_t argument(int argc, char **argv, int index, uint32_t fallback, uint32_t max)
{
    unsigned long value = index < argc ? strtoul(argv[index], NULL, 10) : fallback;
    return value == 0 || value > max ? fallback : (uint32_t)value;
}

int main(int argc, char **argv)
{
    rpc_library_init(NULL);
    runtime_thread_register();
    static struct bench bench;
    bench.options = (struct options){.seconds = argument(argc, argv, 1, 2, 600),
                                     .rounds = argument(argc, argv, 2, 3, 100),
                                     .outstanding = argument(argc, argv, 3, 64, OUTSTANDING_MAX),
                                     .connections = argument(argc, argv, 4, 4, CONNECTIONS_MAX),
                                     .threads = argument(argc, argv, 5, 1, 64)};
    struct fake_node node;
    fake_node_start(&node, 4096, bench.options.threads);
    bench_init(&bench, rpc_server_port(node.server));
    printf("%u outstanding over %u connections, %u s a round, %u loop threads, %ld cores, values of "
           "%u bytes, calls a second\n",
           bench.options.outstanding, bench.options.connections, bench.options.seconds,
           bench.options.threads, sysconf(_SC_NPROCESSORS_ONLN), VALUE_BYTES);
    (void)round_run(&bench, PUT); /* warm, and the table is full */
    double sum[KINDS] = {0};
    for (uint32_t round = 0; round < bench.options.rounds; round++) {
        printf("round %u:", round + 1);
        for (int kind = 0; kind < KINDS; kind++) {
            double rate = round_run(&bench, kind);
            sum[kind] += rate;
            printf("  %s %.0f", names[kind], rate);
        }
        printf("\n");
    }
    printf("ratio to null: get %.2f put %.2f\n", sum[GET] / sum[NULL_RPC],
           sum[PUT] / sum[NULL_RPC]);
    for (uint32_t i = 0; i < bench.options.connections; i++)
        raw_client_free(&bench.clients[i]);
    grpc_completion_queue_shutdown(bench.queue);
    while (grpc_completion_queue_next(bench.queue, in_ms(1000), NULL).type != GRPC_QUEUE_SHUTDOWN)
        continue;
    grpc_completion_queue_destroy(bench.queue);
    fake_node_stop(&node, 1000);
    runtime_thread_unregister();
    rpc_library_shutdown();
    return 0;
}
