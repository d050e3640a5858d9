/* node_pool.h -- queue nodes for all mailboxes of the process: a slab of their own.
 *
 * A node may be used again only a grace period after it left its queue, a message at once; so they
 * live apart. Free nodes lie in batches ("magazines") on a lock-free stack; each thread works off
 * one magazine of its own, so that an allocation touches shared memory once per magazine. Consumers
 * collect used nodes and hand them back through call_rcu, a whole batch with one call.
 *
 * Why the stack needs no ABA counter: it is popped inside a read section, and a popped magazine
 * comes back only after a grace period. Slabs live as long as the process; their number follows the
 * peak of messages queued plus those used within one grace period (10 to 20 ms).
 *
 * Which calls may run together: all, from registered threads; a retired batch has one owner.
 */
#ifndef ACTORS_RUNTIME_NODE_POOL_H
#define ACTORS_RUNTIME_NODE_POOL_H

#include "actors/message.h"
#include "actors/runtime/rcu.h"

#include <urcu/rculfqueue.h>

#define CACHE_LINE_BYTES 64

struct queue_node {
    _Alignas(CACHE_LINE_BYTES) struct cds_lfq_node_rcu
        link; /* the queue's, until a grace period after */
    union {
        struct message *message; /* while queued */
        struct queue_node *next; /* while free or retired */
    };
    struct rcu_head head;             /* of a retired batch: in its first node */
    struct queue_node *next_magazine; /* on the stack: in the first node of a magazine */
};
static_assert(sizeof(struct queue_node) == CACHE_LINE_BYTES, "nodes share no cache line");

/* Nodes on their way back: one owner. */
struct node_batch {
    struct queue_node *first;
    uint32_t count;
};

/* Never NULL: out of memory aborts. */
struct queue_node *node_pool_take(void);
/* From outside a queue's concurrency: `node` has just been dequeued. */
static inline void node_batch_add(struct node_batch *batch, struct queue_node *node)
{
    node->next = batch->first;
    batch->first = node;
    batch->count++;
}
/* One call_rcu for all of them; the batch is empty afterwards. */
void node_batch_retire(struct node_batch *batch);
/* Before a thread ends: what it has cached goes back. */
void node_pool_thread_end(void);
/* Nodes that were ever made. */
uint64_t node_pool_size(void);

#endif
