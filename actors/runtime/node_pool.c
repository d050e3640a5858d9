#include "actors/runtime/node_pool.h"

#include <stdatomic.h>
#include <stdlib.h>

#define SLAB_NODES 256u

struct slab {
    struct slab *previous;
    struct queue_node nodes[SLAB_NODES];
};

static _Atomic(struct queue_node *) magazines;
static _Atomic(struct slab *) slabs; /* keeps them reachable for leak checkers */
static _Atomic uint64_t nodes_made;
static _Thread_local struct queue_node *cached;

#ifdef RCU_UNDER_TSAN
char rcu_grace_tag;
#endif

static void magazine_push(struct queue_node *first)
{
    struct queue_node *top = atomic_load_explicit(&magazines, memory_order_relaxed);
    do {
        /* Atomic only because a popper that lost its race may still be reading it. */
        __atomic_store_n(&first->next_magazine, top, __ATOMIC_RELAXED);
        /* Release: whoever pops the magazine sees its list. */
    } while (!atomic_compare_exchange_weak_explicit(&magazines, &top, first, memory_order_release,
                                                    memory_order_relaxed));
}

static struct queue_node *magazine_pop(void)
{
    rcu_lock();
    /* Acquire: pairs with the push. Between the load and the exchange nobody can pop this magazine
     * and push it again: that takes a grace period, and we are inside a section. */
    struct queue_node *top = atomic_load_explicit(&magazines, memory_order_acquire);
    while (top != NULL) {
        struct queue_node *next = __atomic_load_n(&top->next_magazine, __ATOMIC_RELAXED);
        if (atomic_compare_exchange_weak_explicit(&magazines, &top, next, memory_order_acquire,
                                                  memory_order_acquire))
            break;
    }
    rcu_unlock();
    return top;
}

static struct queue_node *slab_new(void)
{
    struct slab *slab = aligned_alloc(CACHE_LINE_BYTES, sizeof *slab);
    CHECK(slab != NULL);
    memset(slab, 0, sizeof *slab);
    for (uint32_t i = 0; i + 1 < SLAB_NODES; i++)
        slab->nodes[i].next = &slab->nodes[i + 1];
    slab->previous = atomic_load_explicit(&slabs, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&slabs, &slab->previous, slab,
                                                  memory_order_relaxed, memory_order_relaxed))
        ;
    atomic_fetch_add_explicit(&nodes_made, SLAB_NODES, memory_order_relaxed);
    return slab->nodes;
}

struct queue_node *node_pool_take(void)
{
    if (cached == NULL)
        cached = magazine_pop();
    if (cached == NULL)
        cached = slab_new();
    struct queue_node *node = cached;
    cached = node->next;
    return node;
}

static void batch_reclaim(struct rcu_head *head)
{
    rcu_deferred_begin(head);
    magazine_push(CONTAINER_OF(head, struct queue_node, head));
}

void node_batch_retire(struct node_batch *batch)
{
    if (batch->count == 0)
        return;
    rcu_defer(&batch->first->head, batch_reclaim);
    *batch = (struct node_batch){0};
}

void node_pool_thread_end(void)
{
    if (cached == NULL)
        return;
    struct node_batch batch = {.first = cached, .count = 1};
    cached = NULL;
    node_batch_retire(&batch);
}

uint64_t node_pool_size(void)
{
    return atomic_load_explicit(&nodes_made, memory_order_relaxed);
}
