/* loop.h -- the gRPC threads: one completion queue each, drained in batches.
 *
 * A thread drains its queue (deadline zero) until nothing is ready, then wakes the mailboxes that
 * got mail, once each, then blocks (DESIGN.md 3). Every tag is a `struct rpc_event` inside an
 * object. The first statement of every program that uses gRPC is rpc_library_init().
 */
#ifndef RPC_LOOP_H
#define RPC_LOOP_H

#include "actors/runtime/runtime.h"

#include <grpc/grpc.h>

struct rpc_event {
    void (*done)(struct rpc_event *event, bool ok);
};

struct rpc_loop;

/* Abseil's deadlock detector off, gRPC's log into ours (rate-limited), RLIMIT_NOFILE to the hard
 * limit, grpc_init. Once, before any thread. */
void rpc_library_init(const struct log *log);
void rpc_library_shutdown(void);
/* While true, what gRPC logs on this thread is left out: the caller says more by itself. */
void rpc_library_quiet(bool quiet);

#define RPC_LOOP_THREAD_NAME "grpc-%u"

/* `runtime` may be NULL (clients). The threads are named grpc-0 and so on; actors that were added
 * to the runtime under such a name are stepped by them, after each batch (runtime_host). */
struct rpc_loop *rpc_loop_new(uint32_t threads, struct runtime *runtime);
uint32_t rpc_loop_count(const struct rpc_loop *loop);
grpc_completion_queue *rpc_loop_queue(struct rpc_loop *loop, uint32_t index);
void rpc_loop_start(struct rpc_loop *loop);
/* Posts to an actor. On a loop thread the wake-up waits for the end of the batch; elsewhere it is
 * at once. Consumes. False: refused, mailbox full (counted there). */
bool rpc_loop_post(struct rpc_loop *loop, struct message *message);

/* Mail for the loop's threads: what actors want sent is sent by them, so that a batch of answers
 * costs one wake-up, and a completion none. Measured: answers sent from the actors' threads woke
 * the completion queue once each. `handle` consumes; set before rpc_loop_start. */
void rpc_loop_on_mail(struct rpc_loop *loop, void (*handle)(void *host, struct message *message),
                      void *host);
/* A list linked by `next`, consumed, to the thread of queue `index`. Any thread. */
void rpc_loop_mail(struct rpc_loop *loop, uint32_t index, struct message *list);
/* Whether the caller is that thread. */
bool rpc_loop_is_current(const struct rpc_loop *loop, uint32_t index);
/* Whether that thread waits for something to do. */
bool rpc_loop_idle(const struct rpc_loop *loop, uint32_t index);
/* Returns when all mail has been handled. Nobody sends any; not on a loop thread. */
void rpc_loop_mail_flush(struct rpc_loop *loop);

/* Called about once a second on the first thread. Ticks of one loop never run together. */
struct rpc_tick {
    void (*run)(struct rpc_tick *tick);
    struct rpc_tick *next; /* the loop's */
};
void rpc_loop_tick_add(struct rpc_loop *loop, struct rpc_tick *tick);
/* On return the tick is not running and will not run. Not from within a tick. */
void rpc_loop_tick_remove(struct rpc_loop *loop, struct rpc_tick *tick);

/* No calls are left: shuts the queues down, joins the threads, frees. */
void rpc_loop_free(struct rpc_loop *loop);

#endif
