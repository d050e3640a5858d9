/* peer_codec.h -- messages between nodes as bytes (proto/coterie/internal/v1/peer.proto), and frames of
 * them. No gRPC in here: the simulator sends every message through it as well.
 */
#ifndef RPC_PEER_CODEC_H
#define RPC_PEER_CODEC_H

#include "actors/message.h"

/* What two nodes must agree on before they talk. */
struct peer_hello {
    uint8_t cluster_id[16];
    uint8_t node_id[16];
    uint32_t protocol_min;
    uint32_t protocol_max;
    uint32_t partitions;
    uint64_t epoch;
    uint64_t generation;
    uint32_t member;
    uint32_t to_member;
    char name[64];
};

#define PEER_PROTOCOL_VERSION 1u

/* The bytes of one PeerMessage. `message` crosses nodes (message_crosses_nodes). */
struct bytes peer_message_encode(struct arena *arena, const struct message *message,
                                 uint64_t now_ns);
/* A message from `from_node` to `to_node`, all checked as hostile input: lengths, enums, limits. NULL:
 * malformed; the stream is to be closed. */
struct message *peer_message_decode(struct bytes bytes, uint32_t from_node, uint32_t to_node,
                                    uint64_t now_ns);

/* Frames. Appends one message to a frame under construction (Frame.messages). */
void peer_frame_append(struct writer *frame, struct bytes message);
struct bytes peer_frame_hello(struct arena *arena, const struct peer_hello *hello);
struct bytes peer_frame_acknowledge(struct arena *arena, uint64_t acknowledged);

/* Walks a received frame. Calls `visit` for each message's bytes (borrowed); false from it, or a
 * malformed frame, ends the walk with CORRUPT. ret_hello is filled and *ret_has_hello set when the
 * frame carries one; ret_acknowledged is 0 without one. */
enum err peer_frame_walk(struct bytes frame, bool (*visit)(void *closure, struct bytes message),
                         void *closure, bool *ret_has_hello, struct peer_hello *ret_hello,
                         uint64_t *ret_acknowledged) MUST_USE;

/* Whether two nodes may talk: NULL, or a sentence that says why not (into `why`). `mine` is what this
 * node would say, `theirs` what the other said. */
const char *peer_hello_refusal(const struct peer_hello *mine, const struct peer_hello *theirs,
                               char *why, size_t why_size);

#endif
