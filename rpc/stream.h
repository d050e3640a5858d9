/* stream.h -- what a stream that is served here sends: a message, or the status that ends it. The
 * first of them takes the initial metadata along, as *headers_sent says and is told.
 */
#ifndef RPC_STREAM_H
#define RPC_STREAM_H

#include "rpc/loop.h"

#include <grpc/grpc.h>

/* `event` comes when it is done; message and details are read until then. */
void stream_send_message(grpc_call *call, bool *headers_sent, grpc_byte_buffer *message,
                         struct rpc_event *event);
void stream_send_status(grpc_call *call, bool *headers_sent, grpc_status_code code,
                        grpc_slice *details, struct rpc_event *event);

#endif
