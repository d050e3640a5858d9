/* peer_attempt.h -- one stream to a peer, from its hello to the last tag (internal to the peer
 * port). peer_link.c decides when there is to be one and what is said over it; here is how it goes.
 * All functions: the link's lock is held.
 */
#ifndef RPC_PEER_ATTEMPT_H
#define RPC_PEER_ATTEMPT_H

#include "rpc/peer_link.h"

#include <grpc/grpc.h>

/* One call to the peer. Lives until its last tag is back. */
struct attempt {
    struct rpc_event on_sent;
    struct rpc_event on_received;
    struct rpc_event on_status;
    struct rpc_event on_recorded;
    struct row_wait wait;
    struct link *link;
    grpc_call *call;
    uint32_t tags;
    bool sending;
    bool hello_sent;
    bool admitted;             /* by peers_admit: their answer to the hello */
    bool hello_answered;       /* and their row is durable */
    uint64_t asked_ns;         /* the hello was put together */
    uint64_t waiting_since_ns; /* for the send on its way, or the answer to the hello */
    size_t sending_bytes;      /* of the frame on its way; 0: the hello */
    uint32_t sending_messages;
    grpc_byte_buffer *out;
    grpc_byte_buffer *in;
    grpc_metadata_array initial;
    grpc_metadata_array trailing;
    grpc_status_code status;
    grpc_slice details;
    bool retry_now;
    bool retry_soon;
    bool refused;                   /* by us or by the peer */
    struct incarnation_answer told; /* what the other side makes of us, when it is not PROCEED */
    char why[PEER_WHY_BYTES];       /* ours for ending it; empty: the other side's */
};

/* -- peer_attempt.c
 * ------------------------------------------------------------------------------------ */

/* IDLE -> OPENING: connects when it must and says hello. */
void peer_attempt_open(struct link *link);
/* The status tag follows; the first reason is the one that is told. */
void peer_attempt_cancel(struct attempt *attempt, grpc_status_code code, const char *why);
/* The next frame is on its way. The one function that is called with the lock not held: gRPC may
 * write to the socket at once. */
void peer_attempt_send(struct attempt *attempt, struct frame *frame);

/* -- peer_link.c
 * --------------------------------------------------------------------------------------- */

void peer_link_move(struct link *link, enum link_state to);
/* Tells the gossip actor when it does not know yet; a full mailbox is tried again by the tick.
 * Under the lock so that ups and downs keep their order. Loop threads only. */
void peer_link_announce(struct link *link);
/* Who waits for an answer to what is dropped hears of it. Loop threads only. */
void peer_link_drop_queue(struct link *link);

#endif
