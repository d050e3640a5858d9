/* house.h -- a small house for the runtime's tests: a view of one node, messages with a number. */
#ifndef TESTS_RUNTIME_HOUSE_H
#define TESTS_RUNTIME_HOUSE_H

#include "actors/runtime/runtime.h"
#include "base/check.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#define SELF 1u

static inline struct view *house_view(void)
{
    struct topology_seed seed = {.name = "a", .address = "127.0.0.1:7701", .weight = 1};
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct topology topology;
    const char *why = NULL;
    CHECK(topology_initial(&arena, &seed, 1, 8, &topology, &why) == OK);
    struct keyspace keyspace = keyspace_builtin();
    struct keyspace_map map = {.count = 1, .keyspaces = &keyspace};
    struct view *view = view_new(&topology, &map, SELF);
    arena_deinit(&arena);
    return view;
}

static inline struct actor_id house_id(enum actor_kind kind, uint32_t index)
{
    return (struct actor_id){.node = SELF, .kind = (uint8_t)kind, .index = (uint8_t)index};
}

static inline struct message *house_message(struct actor_id to, uint64_t id, uint64_t sequence)
{
    struct message *message = message_new(MESSAGE_store_committed, 0);
    message->to = to;
    message->id = id;
    message->store_committed.sequence = sequence;
    return message;
}

/* Waits for a semaphore; a test that hangs for a minute has failed. */
static inline void house_wait(sem_t *semaphore)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 60;
    int result;
    do
        result = sem_timedwait(semaphore, &until);
    while (result != 0 && errno == EINTR);
    CHECK(result == 0);
}

static inline pthread_t house_thread(void *(*main_function)(void *), void *argument)
{
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, main_function, argument) == 0);
    return thread;
}

static inline void house_join(pthread_t thread)
{
    CHECK(pthread_join(thread, NULL) == 0);
}

struct house_totals {
    uint64_t posted;
    uint64_t dropped;
    uint64_t depth;
    uint64_t batches;
    uint64_t wakeups; /* each thread's once */
    uint64_t park_timeouts_with_work;
};

static inline struct house_totals house_totals(struct runtime *runtime)
{
    struct mailbox_figures figures[RUNTIME_ACTORS_MAX];
    size_t count = runtime_mailbox_figures(runtime, figures, RUNTIME_ACTORS_MAX);
    struct house_totals totals = {0};
    for (size_t i = 0; i < count; i++) {
        totals.posted += figures[i].posted;
        totals.dropped += figures[i].dropped;
        totals.depth += figures[i].depth;
        totals.batches += figures[i].drained_batches;
        bool known = false;
        for (size_t j = 0; j < i; j++)
            known = known || figures[j].thread_name == figures[i].thread_name;
        if (known)
            continue;
        totals.wakeups += figures[i].wakeups;
        totals.park_timeouts_with_work += figures[i].park_timeouts_with_work;
    }
    return totals;
}

#endif
