#include "actors/runtime/runner.h"

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S 1000000000u

/* Parking
 *
 *   a producer: depth += 1, enqueue, more posts; then in runtime_wake read `parked`, take it, wake
 *   the runner: parked = 1, then read depth; sleep only when it is 0
 *
 * Both sides write one and read the other, all sequentially consistent: at least one of them sees
 * the other's write. So either the runner sees the mail, or the producer sees it parked. The
 * time-out is there for ticks; that it should ever find mail whose producer has no wake left to
 * give would be a bug here, and is counted.
 */

bool runner_wake(struct runner *runner)
{
    /* The load spares a busy target's cache line; only one producer wins the exchange. */
    if (atomic_load(&runner->parked) == 0 || atomic_exchange(&runner->parked, 0) == 0)
        return false;
    if (runner->ring != NULL)
        runner->ring(runner->host);
    else
        syscall(SYS_futex, &runner->parked, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    atomic_fetch_add_explicit(&runner->wakeups, 1, memory_order_relaxed);
    return true;
}

static bool runner_has_mail(struct runner *runner)
{
    for (uint32_t i = 0; i < runner->cell_count; i++) {
        if (mailbox_has_mail(&runner->cells[i]->mailbox))
            return true;
    }
    return false;
}

uint64_t runner_wake_at_ns(const struct runner *runner)
{
    uint64_t earliest = NEVER_NS;
    for (uint32_t i = 0; i < runner->cell_count; i++) {
        uint64_t wake_at = actor_wake_at_ns(runner->cells[i]->actor);
        earliest = wake_at < earliest ? wake_at : earliest;
    }
    return earliest;
}

bool runner_announce(struct runner *runner)
{
    atomic_store(&runner->parked, 1);
    if (!runner_has_mail(runner) && !atomic_load(&runner->stop))
        return true;
    atomic_store(&runner->parked, 0);
    /* A producer lost the processor between announcing a message and queueing it: let it run. */
    if (runner->looks_in_vain++ != 0)
        sched_yield();
    return false;
}

static void runner_park(struct runner *runner)
{
    uint64_t now = runtime_now_ns();
    uint64_t wake_at = runner_wake_at_ns(runner);
    if (wake_at <= now)
        return;
    uint64_t wait_ns = wake_at - now < RUNNER_PARK_NS_MAX ? wake_at - now : RUNNER_PARK_NS_MAX;
    if (!runner_announce(runner))
        return;
    struct timespec timeout = {.tv_sec = (time_t)(wait_ns / NS_PER_S),
                               .tv_nsec = (long)(wait_ns % NS_PER_S)};
    syscall(SYS_futex, &runner->parked, FUTEX_WAIT_PRIVATE, 1, &timeout, NULL, 0);
    /* In this order: the mail that is seen was announced after wakes_owed grew, so when nothing is
     * owed its producer has been through runner_wake, and must have found us parked. */
    if (atomic_load(&runner->parked) == 1 && runner_has_mail(runner) &&
        atomic_load(&runner->wakes_owed) == 0 && atomic_load(&runner->parked) == 1)
        counter_add(&runner->park_timeouts_with_work, 1);
    atomic_store(&runner->parked, 0);
}

/* -- working ----------------------------------------------------------------------------------- */

static void runner_flush(struct runner *runner)
{
    struct runtime_wakes wakes = {0};
    struct route route = {.self = runner, .wakes = &wakes};
    struct message *message;
    while ((message = outbox_take(&runner->outbox)) != NULL)
        (void)runtime_route(runner->runtime, message, &route);
    runtime_deliver(runner->runtime, &route);
    runtime_wake(runner->runtime, &wakes);
}

/* False: there was nothing to do. */
static bool runner_step_actor(struct runner *runner, struct cell *cell, struct actor_context *ctx)
{
    mailbox_drain(&cell->mailbox, RUNNER_BATCH_MAX, &runner->inbox);
    ctx->now_ns = runtime_now_ns();
    if (runner->inbox.count == 0 && actor_wake_at_ns(cell->actor) > ctx->now_ns)
        return false;
    /* After the mail was taken: a message that came when a view was out is stepped with it. */
    struct view *view = runtime_view_ref(runner->runtime);
    ctx->view = view;
    ctx->wall_ms = runtime_wall_ms();
    ctx->prng = &cell->prng;
    ctx->store = cell->store;
    struct message *message;
    for (uint32_t i = 1; (message = message_list_take(&runner->inbox)) != NULL; i++) {
        actor_handle(cell->actor, ctx, message);
        if (runner->runtime->wake_each_step)
            runner_flush(runner);
        if (i % RUNNER_STEPS_PER_CLOCK == 0)
            ctx->now_ns = runtime_now_ns();
    }
    /* `now` was read before: a tick may come late but never early. */
    if (actor_wake_at_ns(cell->actor) <= ctx->now_ns)
        actor_tick(cell->actor, ctx);
    ctx->view = NULL;
    view_unref(view);
    return true;
}

static void runner_submit(struct runner *runner, uint64_t stepped)
{
    struct store *submitted[RUNTIME_ACTORS_MAX];
    uint32_t count = 0;
    for (uint32_t i = 0; i < runner->cell_count; i++) {
        struct store *store = runner->cells[i]->store;
        if (store == NULL || (stepped & (UINT64_C(1) << i)) == 0)
            continue;
        bool known = false;
        for (uint32_t j = 0; j < count && !known; j++)
            known = submitted[j] == store;
        if (known)
            continue;
        store_submit(store);
        submitted[count++] = store;
    }
}

bool runner_round(struct runner *runner)
{
    static_assert(RUNTIME_ACTORS_MAX <= 64, "one bit an actor");
    struct actor_context ctx = {.outbox = &runner->outbox, .log = runner->runtime->options.log};
    uint64_t stepped = 0;
    for (uint32_t i = 0; i < runner->cell_count; i++) {
        if (runner_step_actor(runner, runner->cells[i], &ctx))
            stepped |= UINT64_C(1) << i;
    }
    if (stepped != 0) {
        runner->looks_in_vain = 0;
        runner_submit(runner, stepped);
        runner_flush(runner);
    }
    return stepped != 0;
}

void *runner_main(void *argument)
{
    struct runner *runner = argument;
    pthread_setname_np(pthread_self(), runner->name);
    runtime_thread_register();
    while (!atomic_load(&runner->stop)) {
        if (!runner_round(runner))
            runner_park(runner);
    }
    runtime_thread_unregister();
    return NULL;
}
