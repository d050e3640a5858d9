#include "actors/runtime/mailbox.h"

/* Nodes go back with one call_rcu for so many; a batch that drains fewer adds to the next. */
#define NODES_PER_RETIREMENT 128u

void message_list_free(struct message_list *list)
{
    for (struct message *message; (message = message_list_take(list)) != NULL;)
        message_free(message);
}

void mailbox_init(struct mailbox *mailbox, uint32_t messages_max)
{
    CHECK_U64(messages_max, >, 0);
    memset(mailbox, 0, sizeof *mailbox);
    mailbox->messages_max = messages_max;
    /* For the queue's own dummy nodes: one each time that it runs empty. */
    cds_lfq_init_rcu(&mailbox->queue, urcu_memb_call_rcu);
}

void mailbox_deinit(struct mailbox *mailbox)
{
    struct message_list rest = {0};
    while (mailbox_drain(mailbox, UINT32_MAX, &rest) != 0)
        message_list_free(&rest);
    node_batch_retire(&mailbox->used);
    CHECK_U64(cds_lfq_destroy_rcu(&mailbox->queue), ==, 0);
}

static void depth_max_raise(struct mailbox *mailbox, uint64_t depth)
{
    /* Relaxed: a figure. The load alone nearly always settles it. */
    uint64_t known = atomic_load_explicit(&mailbox->depth_max, memory_order_relaxed);
    while (known < depth &&
           !atomic_compare_exchange_weak_explicit(&mailbox->depth_max, &known, depth,
                                                  memory_order_relaxed, memory_order_relaxed))
        ;
}

/* A place for one message, or false. */
static bool mailbox_admit(struct mailbox *mailbox)
{
    /* Sequentially consistent, and before the enqueue: the first half of the parking protocol,
     * whose consumer stores `parked` and then reads `depth`. */
    uint64_t before = atomic_fetch_add(&mailbox->depth, 1);
    if (before >= mailbox->messages_max) {
        atomic_fetch_sub_explicit(&mailbox->depth, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&mailbox->dropped, 1, memory_order_relaxed);
        return false;
    }
    depth_max_raise(mailbox, before + 1);
    atomic_fetch_add_explicit(&mailbox->posted, 1, memory_order_relaxed);
    return true;
}

bool mailbox_post(struct mailbox *mailbox, struct message *message)
{
    if (!mailbox_admit(mailbox))
        return false;
    struct queue_node *node = node_pool_take();
    message->next = NULL;
    node->message = message;
    cds_lfq_node_init_rcu(&node->link);
    rcu_lock();
    /* The queue's compare-and-swap is a full barrier: it publishes the node and the message. */
    RCU_TSAN_RELEASE(&mailbox->queue);
    cds_lfq_enqueue_rcu(&mailbox->queue, &node->link);
    rcu_unlock();
    return true;
}

bool mailbox_post_own(struct mailbox *mailbox, struct message *message)
{
    if (!mailbox_admit(mailbox))
        return false;
    message_list_add(&mailbox->own, message);
    return true;
}

static uint32_t drain_queue(struct mailbox *mailbox, uint32_t max, struct message_list *list)
{
    uint32_t count = 0;
    rcu_lock();
    for (; count < max; count++) {
        struct cds_lfq_node_rcu *link = cds_lfq_dequeue_rcu(&mailbox->queue);
        if (link == NULL)
            break;
        RCU_TSAN_ACQUIRE(&mailbox->queue);
        struct queue_node *node = CONTAINER_OF(link, struct queue_node, link);
        message_list_add(list, node->message);
        node_batch_add(&mailbox->used, node);
    }
    rcu_unlock();
    if (mailbox->used.count >= NODES_PER_RETIREMENT)
        node_batch_retire(&mailbox->used);
    return count;
}

uint32_t mailbox_drain(struct mailbox *mailbox, uint32_t max, struct message_list *list)
{
    /* Relaxed is enough to skip an empty mailbox: parking looks again with a stronger load. */
    if (atomic_load_explicit(&mailbox->depth, memory_order_relaxed) == 0)
        return 0;
    uint32_t count = drain_queue(mailbox, max, list);
    for (uint32_t i = 0; i < max && mailbox->own.count != 0; i++, count++)
        message_list_add(list, message_list_take(&mailbox->own));
    if (count == 0)
        return 0;
    /* Relaxed: gives room back; nobody draws a conclusion about other memory from it. */
    atomic_fetch_sub_explicit(&mailbox->depth, count, memory_order_relaxed);
    counter_add(&mailbox->drained_batches, 1);
    return count;
}
