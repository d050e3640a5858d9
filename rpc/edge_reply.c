/* How a call is answered, and the figures of what was. */
#include "base/check.h"
#include "rpc/edge.h"

#include <grpc/byte_buffer.h>

/* -- figures ----------------------------------------------------------------------------------- */

static uint32_t latency_bucket(uint64_t latency_ns)
{
    uint64_t units = latency_ns / 16000;
    uint32_t bucket = units == 0 ? 0 : 64u - (uint32_t)__builtin_clzll(units);
    return bucket < RPC_LATENCY_BUCKETS ? bucket : RPC_LATENCY_BUCKETS - 1;
}

void edge_count(struct edge *edge, enum rpc_operation operation, grpc_status_code code,
                uint64_t arrived_ns)
{
    struct operation_figures *figures = &edge->figures[operation];
    uint64_t latency_ns = runtime_now_ns() - arrived_ns;
    CHECK_U64(code, <, ARRAY_COUNT(figures->codes));
    atomic_fetch_add_explicit(&figures->requests, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&figures->codes[code], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&figures->latency[latency_bucket(latency_ns)], 1,
                              memory_order_relaxed);
    atomic_fetch_add_explicit(&figures->latency_ns_total, latency_ns, memory_order_relaxed);
}

void edge_figures(const struct edge *edge, enum rpc_operation operation,
                  struct rpc_operation_figures *ret)
{
    CHECK_U64(operation, <, RPC_OPERATION_COUNT);
    const struct operation_figures *figures = &edge->figures[operation];
    ret->requests = atomic_load_explicit(&figures->requests, memory_order_relaxed);
    for (size_t i = 0; i < ARRAY_COUNT(ret->errors); i++)
        ret->errors[i] = atomic_load_explicit(&figures->codes[i], memory_order_relaxed);
    for (size_t i = 0; i < RPC_LATENCY_BUCKETS; i++)
        ret->latency[i] = atomic_load_explicit(&figures->latency[i], memory_order_relaxed);
    ret->latency_ns_total = atomic_load_explicit(&figures->latency_ns_total, memory_order_relaxed);
}

/* -- replies ----------------------------------------------------------------------------------- */

grpc_byte_buffer *buffer_of_message(const ProtobufCMessage *message)
{
    grpc_slice slice = grpc_slice_malloc(protobuf_c_message_get_packed_size(message));
    protobuf_c_message_pack(message, GRPC_SLICE_START_PTR(slice));
    grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice);
    return buffer;
}

/* One batch, so one event: headers, response if any, status, and word of the call's end. */
static void call_send(struct call *call, const struct status *status)
{
    grpc_op ops[4];
    memset(ops, 0, sizeof ops);
    size_t count = 0;
    if (call->state == CALL_HANDLING)
        call->state = CALL_ANSWERING;
    CHECK_U64(call->state, ==, CALL_ANSWERING);
    ops[count].op = GRPC_OP_RECV_CLOSE_ON_SERVER;
    ops[count++].data.recv_close_on_server.cancelled = &call->cancelled;
    ops[count++].op = GRPC_OP_SEND_INITIAL_METADATA;
    if (call->response != NULL) {
        ops[count].op = GRPC_OP_SEND_MESSAGE;
        ops[count++].data.send_message.send_message = call->response;
    }
    ops[count].op = GRPC_OP_SEND_STATUS_FROM_SERVER;
    if (status != NULL) {
        call->status_message = grpc_slice_from_copied_string(status->message);
        call->trailer.value = status_details(status);
        ops[count].data.send_status_from_server.status = status->code;
        ops[count].data.send_status_from_server.status_details = &call->status_message;
        if (GRPC_SLICE_LENGTH(call->trailer.value) != 0) {
            ops[count].data.send_status_from_server.trailing_metadata_count = 1;
            ops[count].data.send_status_from_server.trailing_metadata = &call->trailer;
        }
    }
    count++;
    edge_count(call->edge, call->method->operation, status == NULL ? GRPC_STATUS_OK : status->code,
               call->arrived_ns);
    grpc_call_error error = grpc_call_start_batch(call->call, ops, count, &call->on_answer, NULL);
    CHECK_U64(error, ==, GRPC_CALL_OK);
}

void call_reply_buffer(struct call *call, grpc_byte_buffer *response)
{
    call->response = response;
    call_send(call, NULL);
}

void call_reply(struct call *call, const ProtobufCMessage *response)
{
    call_reply_buffer(call, buffer_of_message(response));
}

void call_fail(struct call *call, const struct status *status)
{
    CHECK(status->code != GRPC_STATUS_OK);
    call_send(call, status);
}
