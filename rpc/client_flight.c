#include "rpc/client.h"

#include "rpc/client_channel.h"

#include <grpc/byte_buffer_reader.h>
#include <grpc/support/time.h>
#include <stdio.h>
#include <stdlib.h>

struct flight_call {
    struct flight_call *next_free;
    void *tag;
    grpc_call *call;
    struct client_exchange exchange;
};

struct flight_method {
    const char *name;
    void *handles[RPC_FLIGHT_CONNECTIONS_MAX]; /* by channel */
};

struct rpc_flight {
    grpc_completion_queue *queue;
    uint32_t channel_count;
    uint32_t turn; /* the channel that takes the next call */
    grpc_channel *channels[RPC_FLIGHT_CONNECTIONS_MAX];
    uint32_t method_count;
    struct flight_method methods[RPC_FLIGHT_METHODS_MAX];
    uint32_t outstanding;
    struct flight_call *free_calls;
    grpc_byte_buffer *answered; /* what the last result borrows from */
    grpc_slice answer;
    struct flight_call calls[RPC_FLIGHT_CALLS_MAX];
};

enum err rpc_flight_new(const char *endpoints, uint32_t connections, struct rpc_flight **ret_flight,
                        char *why, size_t why_size)
{
    CHECK_U64(connections, <=, RPC_FLIGHT_CONNECTIONS_MAX);
    struct client_endpoint parsed[RPC_CLIENT_ENDPOINTS_MAX];
    uint32_t endpoint_count;
    enum err err = client_endpoints_parse(endpoints, parsed, &endpoint_count, why, why_size);
    if (err != OK)
        return err;
    if (connections < endpoint_count) {
        snprintf(why, why_size, "%u connections for %u endpoints", connections, endpoint_count);
        return ERR_INVALID;
    }
    struct rpc_flight *flight = calloc(1, sizeof *flight);
    CHECK(flight != NULL);
    static uint32_t connection_ordinal; /* flights of one process never share a connection */
    uint32_t first = __atomic_fetch_add(&connection_ordinal, connections, __ATOMIC_RELAXED);
    flight->queue = grpc_completion_queue_create_for_next(NULL);
    flight->channel_count = connections;
    for (uint32_t i = 0; i < connections; i++)
        flight->channels[i] = client_channel_new(parsed[i % endpoint_count].target,
                                                 RPC_CLIENT_ENDPOINTS_MAX + first + i);
    flight->answer = grpc_empty_slice();
    for (uint32_t i = RPC_FLIGHT_CALLS_MAX; i > 0; i--) {
        flight->calls[i - 1].next_free = flight->free_calls;
        flight->free_calls = &flight->calls[i - 1];
    }
    *ret_flight = flight;
    return OK;
}

static const struct flight_method *flight_method_find(struct rpc_flight *flight, const char *name)
{
    for (uint32_t i = 0; i < flight->method_count; i++) {
        if (flight->methods[i].name == name || strcmp(flight->methods[i].name, name) == 0)
            return &flight->methods[i];
    }
    CHECK_U64(flight->method_count, <, RPC_FLIGHT_METHODS_MAX);
    struct flight_method *method = &flight->methods[flight->method_count++];
    method->name = name;
    for (uint32_t i = 0; i < flight->channel_count; i++)
        method->handles[i] = grpc_channel_register_call(flight->channels[i], name, NULL, NULL);
    return method;
}

void rpc_flight_start(struct rpc_flight *flight, const char *method,
                      const ProtobufCMessage *request, uint32_t deadline_ms, void *tag)
{
    CHECK_U64(flight->outstanding, <, RPC_FLIGHT_CALLS_MAX);
    struct flight_call *call = flight->free_calls;
    flight->free_calls = call->next_free;
    flight->outstanding++;
    uint32_t turn = flight->turn;
    flight->turn = turn + 1 == flight->channel_count ? 0 : turn + 1;
    *call = (struct flight_call){.tag = tag, .exchange.details = grpc_empty_slice()};
    grpc_metadata_array_init(&call->exchange.initial);
    grpc_metadata_array_init(&call->exchange.trailing);
    grpc_slice packed = client_message_pack(request);
    call->exchange.send_buffer = grpc_raw_byte_buffer_create(&packed, 1);
    grpc_slice_unref(packed);
    call->call = grpc_channel_create_registered_call(
        flight->channels[turn], NULL, GRPC_PROPAGATE_DEFAULTS, flight->queue,
        flight_method_find(flight, method)->handles[turn], client_deadline(deadline_ms), NULL);
    client_exchange_start(call->call, &call->exchange, call);
}

static void answer_clear(struct rpc_flight *flight)
{
    grpc_slice_unref(flight->answer);
    flight->answer = grpc_empty_slice();
    grpc_byte_buffer_destroy(flight->answered);
    flight->answered = NULL;
}

static struct bytes answer_keep(struct rpc_flight *flight, grpc_byte_buffer *buffer)
{
    flight->answered = buffer;
    grpc_byte_buffer_reader reader;
    if (buffer == NULL || !grpc_byte_buffer_reader_init(&reader, buffer))
        return (struct bytes){0};
    flight->answer = grpc_byte_buffer_reader_readall(&reader);
    grpc_byte_buffer_reader_destroy(&reader);
    return bytes_of(GRPC_SLICE_START_PTR(flight->answer), GRPC_SLICE_LENGTH(flight->answer));
}

bool rpc_flight_next(struct rpc_flight *flight, uint32_t timeout_ms,
                     struct rpc_flight_result *ret_result)
{
    answer_clear(flight);
    gpr_timespec until = client_deadline(timeout_ms);
    grpc_event event = grpc_completion_queue_next(flight->queue, until, NULL);
    if (event.type == GRPC_QUEUE_TIMEOUT)
        return false;
    CHECK(event.type == GRPC_OP_COMPLETE);
    struct flight_call *call = event.tag;
    ret_result->tag = call->tag;
    ret_result->code = call->exchange.code;
    ret_result->message[0] = '\0';
    if (call->exchange.code != GRPC_STATUS_OK)
        snprintf(ret_result->message, sizeof ret_result->message, "%.*s",
                 (int)GRPC_SLICE_LENGTH(call->exchange.details),
                 (const char *)GRPC_SLICE_START_PTR(call->exchange.details));
    ret_result->response = answer_keep(flight, call->exchange.receive_buffer);
    grpc_byte_buffer_destroy(call->exchange.send_buffer);
    grpc_metadata_array_destroy(&call->exchange.initial);
    grpc_metadata_array_destroy(&call->exchange.trailing);
    grpc_slice_unref(call->exchange.details);
    grpc_call_unref(call->call);
    call->next_free = flight->free_calls;
    flight->free_calls = call;
    flight->outstanding--;
    return true;
}

uint32_t rpc_flight_outstanding(const struct rpc_flight *flight)
{
    return flight->outstanding;
}

void rpc_flight_free(struct rpc_flight *flight)
{
    CHECK_U64(flight->outstanding, ==, 0);
    answer_clear(flight);
    for (uint32_t i = 0; i < flight->channel_count; i++)
        grpc_channel_destroy(flight->channels[i]);
    grpc_completion_queue_shutdown(flight->queue);
    gpr_timespec never = gpr_inf_future(GPR_CLOCK_MONOTONIC);
    while (grpc_completion_queue_next(flight->queue, never, NULL).type != GRPC_QUEUE_SHUTDOWN)
        ;
    grpc_completion_queue_destroy(flight->queue);
    free(flight);
}
