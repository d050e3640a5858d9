#include "rpc/peer_queue.h"

#include "base/check.h"

#include <stdlib.h>

#define FRAME_BYTES_FIRST 4096u
#define FRAME_GROWTH      4u

static struct frame *frame_new(struct peer_queue *queue)
{
    struct frame *frame = calloc(1, sizeof *frame);
    CHECK(frame != NULL);
    if (queue->last == NULL)
        queue->first = frame;
    else
        queue->last->next = frame;
    queue->last = frame;
    return frame;
}

uint8_t *peer_queue_reserve(struct peer_queue *queue, size_t size)
{
    struct frame *frame = queue->last;
    if (frame == NULL || (frame->size != 0 && frame->size + size > PEER_FRAME_BYTES_MAX))
        frame = frame_new(queue);
    if (frame->size + size > frame->capacity) {
        size_t capacity = frame->capacity == 0 ? FRAME_BYTES_FIRST : FRAME_GROWTH * frame->capacity;
        if (capacity < frame->size + size)
            capacity = frame->size + size;
        frame->data = realloc(frame->data, capacity);
        CHECK(frame->data != NULL);
        frame->capacity = capacity;
    }
    uint8_t *at = frame->data + frame->size;
    frame->size += size;
    frame->messages++;
    return at;
}

struct frame *peer_queue_take(struct peer_queue *queue)
{
    struct frame *frame = queue->first;
    if (frame == NULL)
        return NULL;
    queue->first = frame->next;
    if (queue->first == NULL)
        queue->last = NULL;
    frame->next = NULL;
    return frame;
}

void peer_queue_frame_free(struct frame *frame)
{
    free(frame->data);
    free(frame);
}

static void slice_destroy(void *frame)
{
    peer_queue_frame_free(frame);
}

grpc_byte_buffer *peer_queue_frame_buffer(struct frame *frame)
{
    grpc_slice slice =
        grpc_slice_new_with_user_data(frame->data, frame->size, slice_destroy, frame);
    grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice);
    return buffer;
}
