/* client_channel.h -- what the client's calls and flights share: channels, deadlines, bytes,
 * statuses. */
#ifndef RPC_CLIENT_CHANNEL_H
#define RPC_CLIENT_CHANNEL_H

#include "rpc/client.h"

struct client_endpoint {
    char name[RPC_CLIENT_ENDPOINT_BYTES];       /* host:port, for people */
    char target[RPC_CLIENT_ENDPOINT_BYTES + 8]; /* for gRPC */
};

/* One endpoint out of `text`, surrounding blanks ignored. INVALID with a sentence in `why`. */
enum err client_endpoint_parse(struct bytes text, struct client_endpoint *ret_endpoint, char *why,
                               size_t why_size) MUST_USE;
/* A list of 1 to RPC_CLIENT_ENDPOINTS_MAX endpoints, commas between. */
enum err client_endpoints_parse(const char *text, struct client_endpoint *ret_endpoints,
                                uint32_t *ret_count, char *why, size_t why_size) MUST_USE;
/* Channels with different ordinals have connections of their own. */
grpc_channel *client_channel_new(const char *target, uint32_t ordinal);
/* What a unary call sends and what comes back; the owner makes and frees all of it. */
struct client_exchange {
    grpc_byte_buffer *send_buffer;
    grpc_byte_buffer *receive_buffer;
    grpc_metadata_array initial;
    grpc_metadata_array trailing;
    grpc_status_code code;
    grpc_slice details;
};
/* The whole call in one batch: one event with `tag`. */
void client_exchange_start(grpc_call *call, struct client_exchange *exchange, void *tag);
gpr_timespec client_deadline(uint64_t timeout_ms);
grpc_slice client_message_pack(const ProtobufCMessage *message);
/* Fills all but the endpoint. A failure that can have left the request
 * behind on a server and that says nothing of it has outcome "UNKNOWN". */
void client_status_decode(grpc_status_code code, grpc_slice details,
                          const grpc_metadata_array *trailing,
                          struct rpc_client_status *ret_status);
/* Memory in a caller's arena: freed with it, never by protobuf-c. */
ProtobufCAllocator client_arena_allocator(struct arena *arena);

#endif
