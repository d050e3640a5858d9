/* peer_queue.h -- the frames that wait for a link: the last one grows until it is sent or full. */
#ifndef RPC_PEER_QUEUE_H
#define RPC_PEER_QUEUE_H

#include "base/bytes.h"

#include <grpc/grpc.h>

/* A frame is larger than this only when a single message is. */
#define PEER_FRAME_BYTES_MAX (1024u * 1024)

/* What goes out in one gRPC message. */
struct frame {
    struct frame *next;
    uint8_t *data;
    size_t size;
    size_t capacity;
    uint32_t messages;
};

/* Zeroed: empty. */
struct peer_queue {
    struct frame *first; /* the next to send */
    struct frame *last;  /* the one that is filled */
};

/* Room for one more message of `size` bytes; to be filled before the next call. */
uint8_t *peer_queue_reserve(struct peer_queue *queue, size_t size);
/* The oldest frame, now the caller's; NULL when empty. */
struct frame *peer_queue_take(struct peer_queue *queue);
/* Without a copy; the frame is freed when gRPC has sent it. */
grpc_byte_buffer *peer_queue_frame_buffer(struct frame *frame);
void peer_queue_frame_free(struct frame *frame);

#endif
