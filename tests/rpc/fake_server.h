/* fake_server.h -- a gRPC server that says what a test tells it to, and counts who asked.
 *
 * It runs on one thread of its own over the core API alone, so that the client is not tested
 * against the code of our server. Set what it says before a call; read what it saw after one.
 */
#ifndef TESTS_RPC_FAKE_SERVER_H
#define TESTS_RPC_FAKE_SERVER_H

#include "base/check.h"
#include "coterie/internal/v1/status.pb-c.h"
#include "coterie/v1/key_value.pb-c.h"
#include "tests/rpc/free_port.h"

#include <arpa/inet.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/support/alloc.h>
#include <grpc/support/time.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define SLOTS     64
#define PEERS_MAX 16

struct fake;

struct slot {
    struct fake *fake;
    enum { SLOT_IDLE, SLOT_READ, SLOT_REPLY } state;
    grpc_call *call;
    grpc_call_details details;
    grpc_metadata_array metadata;
    grpc_byte_buffer *request;
    grpc_byte_buffer *reply;
    grpc_metadata trailer;
    int cancelled;
};

struct fake {
    grpc_completion_queue *queue;
    grpc_server *server;
    pthread_t thread;
    int port;
    char name[32]; /* 127.0.0.1:port */
    /* What it says, set before a call: */
    grpc_status_code code;
    const char *reason; /* NULL: no details */
    const char *outcome;
    bool silent;  /* never answers */
    bool garbage; /* answers what is no message */
    /* What it saw: */
    atomic_uint calls;
    unsigned peer_count;
    char peers[PEERS_MAX][64];
    struct slot slots[SLOTS];
};

static Coterie__Internal__V1__RpcAny any_of(const char *url, const ProtobufCMessage *message)
{
    Coterie__Internal__V1__RpcAny any = COTERIE__INTERNAL__V1__RPC_ANY__INIT;
    any.type_url = (char *)(uintptr_t)url;
    any.value.len = protobuf_c_message_get_packed_size(message);
    any.value.data = malloc(any.value.len + 1);
    protobuf_c_message_pack(message, any.value.data);
    return any;
}

static grpc_slice details_of(const struct fake *fake)
{
    typedef Coterie__Internal__V1__RpcErrorInfo__MetadataEntry entry_type;
    entry_type entries[4];
    entry_type *entry_pointers[4];
    const char *pairs[4][2] = {
        {"outcome", fake->outcome}, {"missing", "n2, n3"}, {"acknowledged", "1"}, {"needed", "2"}};
    for (int i = 0; i < 4; i++) {
        coterie__internal__v1__rpc_error_info__metadata_entry__init(&entries[i]);
        entries[i].key = (char *)(uintptr_t)pairs[i][0];
        entries[i].value = (char *)(uintptr_t)pairs[i][1];
        entry_pointers[i] = &entries[i];
    }
    Coterie__Internal__V1__RpcErrorInfo info = COTERIE__INTERNAL__V1__RPC_ERROR_INFO__INIT;
    info.reason = (char *)(uintptr_t)fake->reason;
    info.n_metadata = 4;
    info.metadata = entry_pointers;
    Coterie__Internal__V1__RpcFieldViolation violation =
        COTERIE__INTERNAL__V1__RPC_FIELD_VIOLATION__INIT;
    violation.field = (char *)(uintptr_t) "key";
    violation.description = (char *)(uintptr_t) "longer than 4096 bytes";
    Coterie__Internal__V1__RpcFieldViolation *violations[] = {&violation};
    Coterie__Internal__V1__RpcBadRequest bad = COTERIE__INTERNAL__V1__RPC_BAD_REQUEST__INIT;
    bad.n_field_violations = 1;
    bad.field_violations = violations;
    Coterie__Internal__V1__RpcDuration delay = COTERIE__INTERNAL__V1__RPC_DURATION__INIT;
    delay.seconds = 1;
    delay.nanos = 250000000;
    Coterie__Internal__V1__RpcRetryInfo retry = COTERIE__INTERNAL__V1__RPC_RETRY_INFO__INIT;
    retry.retry_delay = &delay;
    Coterie__Internal__V1__RpcAny anys[] = {
        any_of("type.googleapis.com/google.rpc.ErrorInfo", &info.base),
        any_of("type.googleapis.com/google.rpc.BadRequest", &bad.base),
        any_of("type.googleapis.com/google.rpc.RetryInfo", &retry.base),
        any_of("type.googleapis.com/something.Else", &delay.base),
    };
    Coterie__Internal__V1__RpcAny *any_pointers[] = {&anys[0], &anys[1], &anys[2], &anys[3]};
    Coterie__Internal__V1__RpcStatus status = COTERIE__INTERNAL__V1__RPC_STATUS__INIT;
    status.code = (int32_t)fake->code;
    status.n_details = 4;
    status.details = any_pointers;
    grpc_slice slice = grpc_slice_malloc(protobuf_c_message_get_packed_size(&status.base));
    protobuf_c_message_pack(&status.base, GRPC_SLICE_START_PTR(slice));
    for (int i = 0; i < 4; i++)
        free(anys[i].value.data);
    return slice;
}

static void slot_request(struct slot *slot)
{
    slot->state = SLOT_IDLE;
    grpc_call_details_init(&slot->details);
    grpc_metadata_array_init(&slot->metadata);
    slot->call = NULL;
    slot->request = NULL;
    slot->reply = NULL;
    grpc_server_request_call(slot->fake->server, &slot->call, &slot->details, &slot->metadata,
                             slot->fake->queue, slot->fake->queue, slot);
}

static void slot_read(struct slot *slot)
{
    slot->state = SLOT_READ;
    grpc_op op = {.op = GRPC_OP_RECV_MESSAGE};
    op.data.recv_message.recv_message = &slot->request;
    CHECK(grpc_call_start_batch(slot->call, &op, 1, slot, NULL) == GRPC_CALL_OK);
}

static void peer_remember(struct fake *fake, grpc_call *call)
{
    char *peer = grpc_call_get_peer(call);
    unsigned i = 0;
    while (i < fake->peer_count && strcmp(fake->peers[i], peer) != 0)
        i++;
    if (i == fake->peer_count && i < PEERS_MAX)
        snprintf(fake->peers[fake->peer_count++], sizeof fake->peers[0], "%s", peer);
    gpr_free(peer);
}

/* Answers as configured; a successful Get gives the server's name as its value. */
static void slot_reply(struct slot *slot)
{
    struct fake *fake = slot->fake;
    slot->state = SLOT_REPLY;
    peer_remember(fake, slot->call);
    atomic_fetch_add(&fake->calls, 1);
    grpc_op ops[4];
    memset(ops, 0, sizeof ops);
    size_t count = 0;
    grpc_slice text = grpc_slice_from_static_string("as configured");
    ops[count++].op = GRPC_OP_SEND_INITIAL_METADATA;
    ops[count].op = GRPC_OP_RECV_CLOSE_ON_SERVER;
    ops[count++].data.recv_close_on_server.cancelled = &slot->cancelled;
    if (!fake->silent && fake->code == GRPC_STATUS_OK) {
        Coterie__V1__Value value = COTERIE__V1__VALUE__INIT;
        value.value.data = (uint8_t *)fake->name;
        value.value.len = strlen(fake->name);
        Coterie__V1__Value *values[] = {&value};
        Coterie__V1__GetResponse response = COTERIE__V1__GET_RESPONSE__INIT;
        response.found = true;
        response.n_values = 1;
        response.values = values;
        grpc_slice slice = grpc_slice_malloc(coterie__v1__get_response__get_packed_size(&response));
        coterie__v1__get_response__pack(&response, GRPC_SLICE_START_PTR(slice));
        if (fake->garbage)
            memset(GRPC_SLICE_START_PTR(slice), 0xff, GRPC_SLICE_LENGTH(slice));
        slot->reply = grpc_raw_byte_buffer_create(&slice, 1);
        grpc_slice_unref(slice);
        ops[count].op = GRPC_OP_SEND_MESSAGE;
        ops[count++].data.send_message.send_message = slot->reply;
    }
    if (!fake->silent) {
        ops[count].op = GRPC_OP_SEND_STATUS_FROM_SERVER;
        ops[count].data.send_status_from_server.status = fake->code;
        ops[count].data.send_status_from_server.status_details = &text;
        if (fake->reason != NULL) {
            slot->trailer.key = grpc_slice_from_static_string("grpc-status-details-bin");
            slot->trailer.value = details_of(fake);
            ops[count].data.send_status_from_server.trailing_metadata_count = 1;
            ops[count].data.send_status_from_server.trailing_metadata = &slot->trailer;
        }
        count++;
    }
    CHECK(grpc_call_start_batch(slot->call, ops, count, slot, NULL) == GRPC_CALL_OK);
}

static void slot_end(struct slot *slot)
{
    grpc_slice_unref(slot->trailer.value);
    slot->trailer.value = grpc_empty_slice();
    grpc_byte_buffer_destroy(slot->request);
    grpc_byte_buffer_destroy(slot->reply);
    grpc_call_details_destroy(&slot->details);
    grpc_metadata_array_destroy(&slot->metadata);
    if (slot->call != NULL)
        grpc_call_unref(slot->call);
}

static void *fake_run(void *argument)
{
    struct fake *fake = argument;
    int idle = SLOTS;
    bool stopped = false;
    while (!stopped || idle > 0) {
        grpc_event event =
            grpc_completion_queue_next(fake->queue, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
        if (event.tag == fake) {
            stopped = true;
            continue;
        }
        struct slot *slot = event.tag;
        if (slot->state == SLOT_IDLE && event.success) {
            slot_read(slot);
        } else if (slot->state == SLOT_IDLE) {
            slot_end(slot);
            idle--;
        } else if (slot->state == SLOT_READ) {
            slot_reply(slot);
        } else {
            slot_end(slot);
            slot_request(slot);
        }
    }
    return NULL;
}

/* `port` 0: any free one. It may be started there again. */
static struct fake *fake_start(int port)
{
    struct fake *fake = calloc(1, sizeof *fake);
    fake->queue = grpc_completion_queue_create_for_next(NULL);
    grpc_arg reuse = {.type = GRPC_ARG_INTEGER,
                      .key = (char *)(uintptr_t)GRPC_ARG_ALLOW_REUSEPORT,
                      .value.integer = 0};
    grpc_channel_args args = {.num_args = 1, .args = &reuse};
    fake->server = grpc_server_create(&args, NULL);
    grpc_server_register_completion_queue(fake->server, fake->queue, NULL);
    grpc_server_credentials *credentials = grpc_insecure_server_credentials_create();
    char address[32];
    snprintf(address, sizeof address, "127.0.0.1:%d", port == 0 ? free_port() : port);
    fake->port = grpc_server_add_http2_port(fake->server, address, credentials);
    grpc_server_credentials_release(credentials);
    assert_true(fake->port > 0);
    snprintf(fake->name, sizeof fake->name, "127.0.0.1:%d", fake->port);
    fake->outcome = "";
    grpc_server_start(fake->server);
    for (int i = 0; i < SLOTS; i++) {
        fake->slots[i].fake = fake;
        fake->slots[i].trailer.value = grpc_empty_slice();
        slot_request(&fake->slots[i]);
    }
    assert_int_equal(pthread_create(&fake->thread, NULL, fake_run, fake), 0);
    return fake;
}

static void fake_stop(struct fake *fake)
{
    grpc_server_shutdown_and_notify(fake->server, fake->queue, fake);
    grpc_server_cancel_all_calls(fake->server);
    pthread_join(fake->thread, NULL);
    grpc_server_destroy(fake->server);
    grpc_completion_queue_shutdown(fake->queue);
    while (
        grpc_completion_queue_next(fake->queue, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL).type !=
        GRPC_QUEUE_SHUTDOWN)
        ;
    grpc_completion_queue_destroy(fake->queue);
    free(fake);
}

/* A port of its own; `listening`: it takes connections and never says a word; else it refuses them.
 */
static int port_hold(bool listening, int *ret_port)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    assert_int_equal(bind(fd, (struct sockaddr *)&address, size), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    if (listening)
        assert_int_equal(listen(fd, 16), 0);
    *ret_port = ntohs(address.sin_port);
    return fd;
}

#endif
