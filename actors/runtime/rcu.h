/* rcu.h -- the only door to liburcu: memb flavour, call_rcu, and what ThreadSanitizer must be told.
 *
 * The packaged library is not instrumented, so ThreadSanitizer sees none of its barriers. In that
 * build (only) each wrapper states the order that the library guarantees: what a reader did before
 * it left its section happens before every callback of a later grace period; what was done before
 * rcu_defer happens before the callback. Without _LGPL_SOURCE: calls, not inlines. Pointers that
 * readers follow are C11 atomics (acquire load, exchange): the same instructions as rcu_dereference
 * and rcu_xchg_pointer, and visible to the tool.
 *
 * Which calls may run together: all of them, from registered threads. Never block between rcu_lock
 * and rcu_unlock, and never wait for a grace period there.
 */
#ifndef ACTORS_RUNTIME_RCU_H
#define ACTORS_RUNTIME_RCU_H

#include <urcu/urcu-memb.h>

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define RCU_UNDER_TSAN 1
#endif
#endif
#ifdef __SANITIZE_THREAD__
#define RCU_UNDER_TSAN 1
#endif

#ifdef RCU_UNDER_TSAN
extern void __tsan_acquire(void *address);
extern void __tsan_release(void *address);
extern char rcu_grace_tag; /* stands for "a grace period has passed" */
#define RCU_TSAN_ACQUIRE(address) __tsan_acquire(address)
#define RCU_TSAN_RELEASE(address) __tsan_release(address)
#else
#define RCU_TSAN_ACQUIRE(address) ((void)(address))
#define RCU_TSAN_RELEASE(address) ((void)(address))
#endif

static inline void rcu_lock(void)
{
    urcu_memb_read_lock();
}

static inline void rcu_unlock(void)
{
#ifdef RCU_UNDER_TSAN
    RCU_TSAN_RELEASE(&rcu_grace_tag);
#endif
    urcu_memb_read_unlock();
}

/* `function` runs on the call_rcu worker once every reader of now has left its section. It begins
 * with rcu_deferred_begin. */
static inline void rcu_defer(struct rcu_head *head, void (*function)(struct rcu_head *head))
{
    RCU_TSAN_RELEASE(head);
    urcu_memb_call_rcu(head, function);
}

static inline void rcu_deferred_begin(struct rcu_head *head)
{
#ifdef RCU_UNDER_TSAN
    RCU_TSAN_ACQUIRE(&rcu_grace_tag);
#endif
    RCU_TSAN_ACQUIRE(head);
}

/* Waits until every callback deferred so far has run. Not between rcu_lock and rcu_unlock. */
static inline void rcu_drain(void)
{
    urcu_memb_barrier();
}

#endif
