/* peer_codec.h -- messages between nodes as bytes (proto/coterie/internal/v1/peer.proto), and
 * frames of them. No gRPC in here: the simulator sends every message through it as well.
 *
 * The bytes are walked by hand, along tables of each struct's fields (peer_layout.h): one copy of a
 * message's body and no allocation per field.
 */
#ifndef RPC_PEER_CODEC_H
#define RPC_PEER_CODEC_H

#include "actors/incarnation.h"
#include "actors/message.h"
#include "base/codec.h"

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
    uint64_t context_mark; /* of the keys that sign contexts (context.h); 0: not said */
    uint64_t start_nonce;
    uint8_t superseded[IDENTITY_SUPERSEDED_BYTES]; /* node ids, then zeros */
    uint64_t epoch_bound;                          /* of this incarnation (actors/boot.h) */
    /* In an answer: what its sender makes of the hello that it answers (actors/incarnation.h). */
    uint32_t action;
    uint32_t verdict;
    uint8_t known_id[NODE_ID_BYTES];
    uint64_t known_generation;
    uint64_t known_bound;
    uint8_t known_superseded[IDENTITY_SUPERSEDED_BYTES]; /* as `superseded` */
    char address[ADDRESS_MAX + 1]; /* host:port where its sender is reached; empty: not said */
};

/* peer_identity.c: parts of a hello. */
void peer_hello_say_identity(struct peer_hello *hello, const struct identity_hello *identity,
                             uint64_t epoch_bound);
void peer_hello_say_answer(struct peer_hello *hello, const struct incarnation_answer *answer);
/* False: it is none that can be given. */
bool peer_hello_answer(const struct peer_hello *hello, struct incarnation_answer *ret_answer);

#define PEER_PROTOCOL_VERSION 1u

/* One encoded message and its frame's two or three bytes around it fit one gRPC message. */
#define PEER_MESSAGE_BYTES_MAX (GRPC_MESSAGE_BYTES_MAX - 64u)
/* Sentences in answers are cut here. */
#define PEER_WHY_BYTES_MAX 255u

/* The bytes of one PeerMessage. `message` crosses nodes (message_crosses_nodes). Empty: it breaks a
 * limit of the wire (in practice: a record too large to travel) and cannot be sent. */
struct bytes peer_message_encode(struct arena *arena, const struct message *message,
                                 uint64_t now_ns);
/* A message from `from_node` to `to_node`, all checked as hostile input: lengths, enums, limits,
 * that the kind of actor may get this kind of message. Not checked, because it depends on the
 * receiving node: to.index and the partition against its own counts. NULL: malformed; the stream is
 * to be closed. The time left is rounded down and capped at DEADLINE_MAX_MS, so a deadline never
 * grows on its way. */
struct message *peer_message_decode(struct bytes bytes, uint32_t from_node, uint32_t to_node,
                                    uint64_t now_ns);

/* Frames. Appends one encoded message to a frame under construction (Frame.messages). */
void peer_frame_append(struct writer *frame, struct bytes message);
/* The same without the copy: how many bytes `message` takes in a frame (0: cannot be sent, as
 * above), and writing exactly that many at `at`. Both with the same now_ns. */
size_t peer_frame_message_size(const struct message *message, uint64_t now_ns);
void peer_frame_message_write(uint8_t *at, size_t size, const struct message *message,
                              uint64_t now_ns);
struct bytes peer_frame_hello(struct arena *arena, const struct peer_hello *hello);

/* Walks a received frame. Calls `visit` for each message's bytes (borrowed); false from it, or a
 * malformed frame, ends the walk with CORRUPT. On OK *ret_has_hello says whether the frame carried
 * a hello, and then *ret_hello holds it. */
enum err peer_frame_walk(struct bytes frame, bool (*visit)(void *closure, struct bytes message),
                         void *closure, bool *ret_has_hello, struct peer_hello *ret_hello) MUST_USE;

/* Whether two nodes may talk: NULL, or a sentence that says why not (into `why`). `mine` is what
 * this node would say, `theirs` what the other said. Symmetric but for to_member: the one who was
 * called checks that it was meant (mine->to_member is 0), the caller that the right one answered.
 */
const char *peer_hello_refusal(const struct peer_hello *mine, const struct peer_hello *theirs,
                               char *why, size_t why_size);

#endif
