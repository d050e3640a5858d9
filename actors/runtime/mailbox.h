/* mailbox.h -- one actor's incoming mail: many producers, one consumer, bounded and counted.
 *
 * Owns:     the messages in it; a refused message stays the caller's.
 * Order:    first in, first out for each producer thread. The consumer's own thread takes a shorter
 *           way (mailbox_post_own) with an order of its own.
 * Memory:   at most messages_max messages; queue nodes come from node_pool.h.
 * Source:   liburcu's rculfqueue (Michael and Scott 1996, with RCU against ABA).
 *
 *                     | mailbox_post | mailbox_post_own, _drain | mailbox_figures
 *   mailbox_post      |   together   |        together          |    together
 *   _post_own, _drain |   together   |    one thread only       |    together
 *
 * mailbox_init and mailbox_deinit run alone.
 */
#ifndef ACTORS_RUNTIME_MAILBOX_H
#define ACTORS_RUNTIME_MAILBOX_H

#include "actors/runtime/node_pool.h"
#include "base/counter.h"

#include <stdatomic.h>

struct message_list {
    struct message *first;
    struct message *last;
    uint32_t count;
};

static inline void message_list_add(struct message_list *list, struct message *message)
{
    message->next = NULL;
    if (list->last == NULL)
        list->first = message;
    else
        list->last->next = message;
    list->last = message;
    list->count++;
}

static inline struct message *message_list_take(struct message_list *list)
{
    struct message *message = list->first;
    if (message == NULL)
        return NULL;
    list->first = message->next;
    if (list->first == NULL)
        list->last = NULL;
    list->count--;
    message->next = NULL;
    return message;
}

void message_list_free(struct message_list *list);

struct mailbox {
    struct cds_lfq_queue_rcu queue; /* of queue_node.link */
    uint32_t messages_max;
    /* Written by producers; `depth` also by the consumer. */
    _Alignas(CACHE_LINE_BYTES) _Atomic uint64_t depth; /* admitted and not yet drained */
    _Atomic uint64_t depth_max;
    _Atomic uint64_t posted;
    _Atomic uint64_t dropped; /* refused: the mailbox was full */
    /* The consumer's. */
    _Alignas(CACHE_LINE_BYTES) struct message_list own; /* from its own thread; counted in depth */
    struct node_batch used;
    struct counter drained_batches;
};

void mailbox_init(struct mailbox *mailbox, uint32_t messages_max);
/* Frees what is left. The calling thread is registered. The queue's own memory goes after a grace
 * period: rcu_drain. */
void mailbox_deinit(struct mailbox *mailbox);

/* False: full, counted as dropped, the message is still the caller's. */
bool mailbox_post(struct mailbox *mailbox, struct message *message) MUST_USE;
bool mailbox_post_own(struct mailbox *mailbox, struct message *message) MUST_USE;
/* Appends up to `max` messages that came from other threads, then up to `max` own ones. */
uint32_t mailbox_drain(struct mailbox *mailbox, uint32_t max, struct message_list *list);
/* Somebody's message is in, or just about to be. Sequentially consistent: see runner.c, parking. */
static inline bool mailbox_has_mail(struct mailbox *mailbox)
{
    return atomic_load(&mailbox->depth) != 0;
}

#endif
