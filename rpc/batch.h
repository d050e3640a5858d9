/* batch.h -- a call of many items (internal to the client port): their keys, and their answers,
 * kept until the last one is in.
 *
 * Owns:   the arena, the answers. A call that waits owns its batch.
 * Memory: answers may hold BATCH_BYTES_MAX of values together; items beyond get a status instead.
 */
#ifndef RPC_BATCH_H
#define RPC_BATCH_H

#include "actors/message.h"
#include "rpc/context.h"
#include "rpc/status.h"

struct batch {
    struct arena arena; /* the request and what was made of it */
    uint32_t count;
    size_t answer_bytes; /* of values kept so far */
    struct batch_item {
        struct bytes key;
        struct context_scope scope;
        struct message *answer; /* owned */
        struct status *status;  /* of an item that failed here, in the arena */
    } * items;
};

/* `size_hint`: bytes that the request will take in the arena. */
struct batch *batch_new(uint32_t count, size_t size_hint);
/* NULL: nothing. */
void batch_free(struct batch *batch);
/* Consumes an answer that is waited for; false: it is not, and stays the caller's. */
bool batch_keep(struct batch *batch, uint32_t index, struct message *answer);

#endif
