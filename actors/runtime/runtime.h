/* runtime.h -- the threads of the house: steps actors, carries messages between them, publishes
 * views.
 *
 * One thread (a runner) per group of actors; each actor has one mailbox: liburcu's lock-free RCU
 * queue, many producers, one consumer, bounded and counted. Posting never waits. A runner drains
 * its mailboxes, steps its actors, ticks those whose time has come, submits their stores, flushes
 * the outbox, and then wakes every target once: one wake-up per drained batch, never one per
 * message (DESIGN.md 3).
 *
 * Which calls may run together: runtime_post, runtime_wake, runtime_view_* from any registered
 * thread at any time between runtime_start and runtime_stop. All else from the thread that made the
 * runtime.
 */
#ifndef ACTORS_RUNTIME_RUNTIME_H
#define ACTORS_RUNTIME_RUNTIME_H

#include "actors/actor.h"
#include "base/counter.h"

struct runtime;
struct runner; /* a thread's worth of actors */

#define RUNTIME_ACTORS_MAX  64u
#define RUNTIME_THREADS_MAX 64u

struct runtime_options {
    uint32_t self;                 /* this node's member number */
    uint32_t mailbox_messages_max; /* bound of each mailbox; 65536 */
    uint64_t seed;                 /* each actor's PRNG stream comes from it */
    const struct log *log;
    /* Messages for another node, as a list linked by `next`; consumed. Called on a runner's thread
     * once per drained batch, or on the thread of runtime_post; must not block; may post. */
    void (*deliver_remote)(void *host, struct message *list);
    /* Messages to ACTOR_EDGE (answers to clients), as above. */
    void (*deliver_edge)(void *host, struct message *list);
    /* A view is about to be in force: on the thread that publishes it, one at a time; must not
     * block. NULL: nobody asks. */
    void (*view_comes)(void *host, const struct view *view);
    void *host;
};

/* Names of threads are cut at 15 characters. */
struct runtime *runtime_new(const struct runtime_options *options,
                            struct view *view /* consumed ref */);

/* Before runtime_start. Actors of the same thread_name share one thread. `store` may be NULL. The
 * actor stays the caller's and outlives the runtime. Those of one kind are added in the order of
 * their index, from 0. */
void runtime_add_actor(struct runtime *runtime, struct actor *actor, struct store *store,
                       const char *thread_name);
/* The actors of this thread_name (as cut) are stepped by a thread of the host's, which is
 * registered: no thread is made for them, and what that thread sends them costs no wake-up. NULL:
 * there are none. `ring` is called by any thread when mail has come since runtime_host_announce.
 * Before runtime_start; the host's thread calls runtime_host_step until runtime_stop has returned.
 */
struct runner *runtime_host(struct runtime *runtime, const char *thread_name,
                            void (*ring)(void *host), void *host);
void runtime_start(struct runtime *runtime);
/* Drains what can be drained within a second, joins the threads, frees what is left in mailboxes.
 * Producers have stopped. */
void runtime_stop(struct runtime *runtime);
void runtime_free(struct runtime *runtime);

/* Foreign threads (gRPC, HTTP, syncer) that post or read views register first, and unregister
 * before they end. May nest. Checked: to post or to read a view unregistered ends the process. */
void runtime_thread_register(void);
void runtime_thread_unregister(void);

/* Targets that have mail and were not woken yet: collected over a batch of posts. */
struct runtime_wakes {
    uint64_t threads; /* bit set */
};

/* To an actor of this node (message->to; a replica request goes to the shard of its partition, a
 * forward_put to coordinator index modulo their number, as the sender may have more), to the edge
 * or to another node via deliver_*. Consumes on every path. False: the mailbox is full or there is
 * no such actor; the message was dropped, counted and logged. After the posts: runtime_wake. */
bool runtime_post(struct runtime *runtime, struct message *message, struct runtime_wakes *wakes);
void runtime_wake(struct runtime *runtime, struct runtime_wakes *wakes);

/* For the host's thread alone. */

/* Drains, steps, ticks, flushes and wakes, once. */
void runtime_host_step(struct runner *runner);
/* Before it blocks, with what it sleeps on armed to wake by `ring`. False: there is mail, it must
 * not block. Afterwards runtime_host_awake. */
bool runtime_host_announce(struct runner *runner);
void runtime_host_awake(struct runner *runner);
/* When its actors want to be stepped; NEVER_NS. */
uint64_t runtime_host_wake_at_ns(const struct runner *runner);
/* runtime_post from that thread. */
bool runtime_host_post(struct runner *runner, struct message *message, struct runtime_wakes *wakes);

/* A reference on the current view; the caller drops it with view_unref. */
struct view *runtime_view_ref(struct runtime *runtime);
/* Without a count: valid until runtime_view_unlock; never block between. */
const struct view *runtime_view_lock(struct runtime *runtime);
void runtime_view_unlock(struct runtime *runtime);
void runtime_publish(struct runtime *runtime, struct view *view /* consumed ref */);

/* The clocks that actors get. */
uint64_t runtime_now_ns(void);
uint64_t runtime_wall_ms(void);

/* How many replica shards there are (actors of kind ACTOR_REPLICA). */
uint32_t runtime_shards(const struct runtime *runtime);
uint32_t runtime_coordinators(const struct runtime *runtime);

struct mailbox_figures {
    struct actor_id id;
    const char *actor_name;
    const char *thread_name;
    uint64_t depth;
    uint64_t depth_max;
    uint64_t posted;
    uint64_t dropped;
    uint64_t drained_batches;
    uint64_t wakeups;                 /* of its thread */
    uint64_t park_timeouts_with_work; /* a lost wake-up; must stay 0 */
};
/* Up to `max`; gives how many there are. Any registered thread. */
size_t runtime_mailbox_figures(struct runtime *runtime, struct mailbox_figures *ret, size_t max);

#endif
