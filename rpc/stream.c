#include "rpc/stream.h"

#include "base/check.h"

static void send(grpc_call *call, bool *headers_sent, grpc_op op, struct rpc_event *event)
{
    grpc_op ops[2] = {{.op = GRPC_OP_SEND_INITIAL_METADATA}, op};
    size_t sent = *headers_sent ? 1 : 0;
    *headers_sent = true;
    grpc_call_error error = grpc_call_start_batch(call, ops + sent, 2 - sent, event, NULL);
    CHECK_U64(error, ==, GRPC_CALL_OK);
}

void stream_send_message(grpc_call *call, bool *headers_sent, grpc_byte_buffer *message,
                         struct rpc_event *event)
{
    grpc_op op = {.op = GRPC_OP_SEND_MESSAGE, .data.send_message.send_message = message};
    send(call, headers_sent, op, event);
}

void stream_send_status(grpc_call *call, bool *headers_sent, grpc_status_code code,
                        grpc_slice *details, struct rpc_event *event)
{
    grpc_op op = {.op = GRPC_OP_SEND_STATUS_FROM_SERVER,
                  .data.send_status_from_server = {.status = code, .status_details = details}};
    send(call, headers_sent, op, event);
}
