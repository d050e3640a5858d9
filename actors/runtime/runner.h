/* runner.h -- one thread and the actors that it steps; inner side of runtime.h.
 *
 *            +--------------------------- work found ---------------------------+
 *            v                                                                  |
 *   drain each mailbox (<= 512 + 512 own), step, tick -> submit stores -> flush outbox, wake
 * targets | nothing found
 *            v
 *   announce `parked` -> look again -> futex, until woken or the next tick or 1 s at most
 *
 * A hosted runner has no thread: its host's thread calls runner_round and runner_announce, and the
 * wake is the host's bell instead of a futex.
 *
 * Owns:     its actors' mailboxes' consuming end, their PRNG streams, one outbox.
 * Time:     ctx.now_ns is read anew every 16 steps, ctx.wall_ms once per actor and round.
 * View:     one counted reference per actor and round, so no read section spans a step (a step may
 *           read from disk) and a grace period never waits for one. It is taken after the mail:
 * what comes in once a view was published is stepped with it or a later one. So a node that says a
 * topology epoch to be in force serves nothing that came later by an older one. Order:    between
 * two actors messages arrive in the order sent.
 */
#ifndef ACTORS_RUNTIME_RUNNER_H
#define ACTORS_RUNTIME_RUNNER_H

#include "actors/runtime/mailbox.h"
#include "actors/runtime/runtime.h"

#include <pthread.h>

#define RUNNER_NAME_BYTES      16u
#define RUNNER_BATCH_MAX       512u
#define RUNNER_STEPS_PER_CLOCK 16u
#define RUNNER_PARK_NS_MAX     1000000000u

struct runner;

/* An actor's place in the house. */
struct cell {
    struct mailbox mailbox;
    struct actor *actor;
    struct store *store; /* or NULL */
    struct runner *runner;
    struct prng prng;
};

struct runner {
    /* 1 from the announcement until somebody takes it back; the futex word. */
    _Alignas(CACHE_LINE_BYTES) _Atomic uint32_t parked;
    /* Producers between their first post to this thread and their wake of it. */
    _Atomic uint32_t wakes_owed;
    _Atomic uint64_t wakeups;
    _Atomic bool stop;
    _Alignas(CACHE_LINE_BYTES) struct runtime *runtime;
    uint32_t index;
    char name[RUNNER_NAME_BYTES];
    pthread_t thread;
    void (*ring)(void *host); /* not NULL: hosted */
    void *host;
    _Atomic bool ended; /* hosted: the host has seen `stop` and steps no more */
    uint32_t cell_count;
    struct cell *cells[RUNTIME_ACTORS_MAX];
    struct message_list inbox;
    struct outbox outbox;
    uint32_t looks_in_vain; /* mail announced, but not yet in the queue */
    struct counter park_timeouts_with_work;
};

struct runtime {
    struct runtime_options options;
    _Atomic(struct view *) view;
    bool started;
    bool wake_each_step;
    uint32_t cell_count;
    struct cell *cells[RUNTIME_ACTORS_MAX];
    uint32_t runner_count;
    struct runner *runners[RUNTIME_THREADS_MAX];
    /* Cells by id; counts[kind] of them. */
    struct cell *by_id[ACTOR_KIND_COUNT][RUNTIME_ACTORS_MAX];
    uint32_t counts[ACTOR_KIND_COUNT];
    _Atomic uint64_t undeliverable; /* addressed to nobody here; freed */
};

/* For pthread_create; the argument is the runner. Ends when `stop` is set. */
void *runner_main(void *argument);
/* False: there was nothing to do. The runner's thread. */
bool runner_round(struct runner *runner);
/* Announces that its thread is about to sleep. False: there is mail, stay awake. */
bool runner_announce(struct runner *runner);
uint64_t runner_wake_at_ns(const struct runner *runner);
/* Whether its thread had to be woken. Any registered thread. */
bool runner_wake(struct runner *runner);

/* Where a message goes that is not taken care of at once. */
struct route {
    struct runner *self; /* the posting thread when it is a runner, else NULL */
    struct message_list remote;
    struct message_list edge;
    struct runtime_wakes *wakes;
};

/* Consumes. False: dropped and counted. Local mail is posted, the rest is collected in `route`. */
bool runtime_route(struct runtime *runtime, struct message *message, struct route *route);
/* Hands on what was collected. */
void runtime_deliver(struct runtime *runtime, struct route *route);

/* For bench/micro_mailbox.c, before runtime_start: wake after each message, to measure what that
 * costs. */
void runtime_wake_each_step(struct runtime *runtime);
uint64_t runtime_undeliverable(const struct runtime *runtime);

#endif
