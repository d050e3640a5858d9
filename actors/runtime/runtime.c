#include "actors/runtime/runtime.h"

#include "actors/runtime/runner.h"
#include "base/thread_signals.h"

#include <stdlib.h>
#include <time.h>

#define NS_PER_S          1000000000u
#define NS_PER_MS         1000000u
#define MS_PER_S          1000u
#define STOP_DRAIN_NS_MAX 1000000000u /* what runtime_stop waits for mail to be worked off */
#define STOP_LOOK_NS      1000000

uint64_t runtime_now_ns(void)
{
    struct timespec now;
    CHECK(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

uint64_t runtime_wall_ms(void)
{
    struct timespec now;
    CHECK(clock_gettime(CLOCK_REALTIME, &now) == 0);
    return (uint64_t)now.tv_sec * MS_PER_S + (uint64_t)now.tv_nsec / NS_PER_MS;
}

/* -- registration ------------------------------------------------------------------------------ */

static _Thread_local uint32_t registrations; /* may nest: liburcu's must not */

void runtime_thread_register(void)
{
    if (registrations++ == 0)
        urcu_memb_register_thread();
}

void runtime_thread_unregister(void)
{
    CHECK_U64(registrations, >, 0);
    if (registrations == 1) {
        node_pool_thread_end();
        urcu_memb_unregister_thread();
    }
    registrations--;
}

/* -- life -------------------------------------------------------------------------------------- */

static void *alloc_lines(size_t size)
{
    void *memory = aligned_alloc(CACHE_LINE_BYTES, (size + CACHE_LINE_BYTES - 1) /
                                                       CACHE_LINE_BYTES * CACHE_LINE_BYTES);
    CHECK(memory != NULL);
    return memset(memory, 0, size);
}

struct runtime *runtime_new(const struct runtime_options *options, struct view *view)
{
    CHECK(view != NULL);
    CHECK_U64(options->mailbox_messages_max, >, 0);
    /* The call_rcu worker starts here, so that it starts with all signals blocked. */
    sigset_t before = thread_signals_block();
    struct call_rcu_data *worker = urcu_memb_get_default_call_rcu_data();
    pthread_setname_np(urcu_memb_get_call_rcu_thread(worker), "call_rcu");
    thread_signals_restore(before);
    struct runtime *runtime = alloc_lines(sizeof *runtime);
    runtime->options = *options;
    atomic_init(&runtime->view, view);
    return runtime;
}

static struct runner *runner_find(struct runtime *runtime, const char *thread_name)
{
    for (uint32_t i = 0; i < runtime->runner_count; i++) {
        if (strncmp(runtime->runners[i]->name, thread_name, RUNNER_NAME_BYTES - 1) == 0)
            return runtime->runners[i];
    }
    return NULL;
}

static struct runner *runner_for(struct runtime *runtime, const char *thread_name)
{
    struct runner *known = runner_find(runtime, thread_name);
    if (known != NULL)
        return known;
    CHECK_U64(runtime->runner_count, <, RUNTIME_THREADS_MAX);
    struct runner *runner = alloc_lines(sizeof *runner);
    runner->runtime = runtime;
    runner->index = runtime->runner_count;
    strncpy(runner->name, thread_name, sizeof runner->name - 1);
    outbox_init(&runner->outbox);
    runtime->runners[runtime->runner_count++] = runner;
    return runner;
}

void runtime_add_actor(struct runtime *runtime, struct actor *actor, struct store *store,
                       const char *thread_name)
{
    struct actor_id id = actor->id;
    CHECK(!runtime->started);
    CHECK_U64(actor->magic, ==, ACTOR_MAGIC);
    CHECK_U64(id.node, ==, runtime->options.self);
    CHECK(id.kind != ACTOR_EDGE && id.kind != ACTOR_RUNTIME);
    CHECK_U64(runtime->cell_count, <, RUNTIME_ACTORS_MAX);
    CHECK_U64(id.index, ==, runtime->counts[id.kind]); /* added in order, from 0, without gaps */
    struct cell *cell = alloc_lines(sizeof *cell);
    mailbox_init(&cell->mailbox, runtime->options.mailbox_messages_max);
    cell->actor = actor;
    cell->store = store;
    cell->runner = runner_for(runtime, thread_name);
    prng_init(&cell->prng, runtime->options.seed,
              (uint64_t)id.node << 16 | (uint64_t)id.kind << 8 | id.index);
    cell->runner->cells[cell->runner->cell_count++] = cell;
    runtime->cells[runtime->cell_count++] = cell;
    runtime->by_id[id.kind][id.index] = cell;
    runtime->counts[id.kind]++;
}

void runtime_start(struct runtime *runtime)
{
    CHECK(!runtime->started);
    runtime->started = true;
    sigset_t before = thread_signals_block();
    for (uint32_t i = 0; i < runtime->runner_count; i++) {
        struct runner *runner = runtime->runners[i];
        if (runner->ring != NULL)
            continue;
        CHECK(pthread_create(&runner->thread, NULL, runner_main, runner) == 0);
    }
    thread_signals_restore(before);
}

/* Everybody sleeps and nothing waits; `posted` is what had been posted by then. */
static bool runtime_is_quiet(struct runtime *runtime, uint64_t *ret_posted)
{
    uint64_t posted = 0;
    for (uint32_t i = 0; i < runtime->cell_count; i++) {
        struct mailbox *mailbox = &runtime->cells[i]->mailbox;
        posted += atomic_load(&mailbox->posted);
        if (mailbox_has_mail(mailbox))
            return false;
    }
    for (uint32_t i = 0; i < runtime->runner_count; i++) {
        if (atomic_load(&runtime->runners[i]->parked) == 0)
            return false;
    }
    *ret_posted = posted;
    return true;
}

/* Two quiet looks with nothing posted between: no mail was on its way. Actors that never stop
 * sending to each other are cut off after STOP_DRAIN_NS_MAX. */
static void runtime_settle(struct runtime *runtime)
{
    uint64_t give_up_at = runtime_now_ns() + STOP_DRAIN_NS_MAX;
    uint64_t last = UINT64_MAX;
    for (uint32_t i = 0; i < runtime->runner_count; i++)
        runner_wake(runtime->runners[i]); /* mail may lie there whose producer never woke anyone */
    while (runtime_now_ns() < give_up_at) {
        uint64_t posted;
        bool quiet = runtime_is_quiet(runtime, &posted);
        if (quiet && posted == last)
            return;
        last = quiet ? posted : UINT64_MAX;
        nanosleep(&(struct timespec){.tv_nsec = STOP_LOOK_NS}, NULL);
    }
}

static void runner_join(struct runner *runner)
{
    if (runner->ring == NULL)
        CHECK(pthread_join(runner->thread, NULL) == 0);
    while (runner->ring != NULL && !atomic_load(&runner->ended))
        nanosleep(&(struct timespec){.tv_nsec = STOP_LOOK_NS}, NULL);
}

void runtime_stop(struct runtime *runtime)
{
    CHECK(runtime->started);
    runtime_settle(runtime);
    for (uint32_t i = 0; i < runtime->runner_count; i++) {
        atomic_store(&runtime->runners[i]->stop, true);
        runner_wake(runtime->runners[i]);
    }
    for (uint32_t i = 0; i < runtime->runner_count; i++)
        runner_join(runtime->runners[i]);
    runtime->started = false;
    runtime_thread_register();
    for (uint32_t i = 0; i < runtime->cell_count; i++) {
        struct message_list rest = {0};
        while (mailbox_drain(&runtime->cells[i]->mailbox, UINT32_MAX, &rest) != 0)
            message_list_free(&rest);
    }
    runtime_thread_unregister();
}

void runtime_free(struct runtime *runtime)
{
    if (runtime == NULL)
        return;
    CHECK(!runtime->started);
    runtime_thread_register();
    for (uint32_t i = 0; i < runtime->cell_count; i++)
        mailbox_deinit(&runtime->cells[i]->mailbox);
    runtime_thread_unregister();
    rcu_drain();
    for (uint32_t i = 0; i < runtime->cell_count; i++)
        free(runtime->cells[i]);
    for (uint32_t i = 0; i < runtime->runner_count; i++)
        free(runtime->runners[i]);
    view_unref(atomic_load(&runtime->view));
    free(runtime);
}

/* -- mail -------------------------------------------------------------------------------------- */

static struct cell *cell_for(struct runtime *runtime, const struct message *message)
{
    uint8_t kind = message->to.kind;
    if (kind >= ACTOR_KIND_COUNT || runtime->counts[kind] == 0)
        return NULL;
    uint32_t count = runtime->counts[kind];
    uint32_t index = message->to.index;
    /* Requests from nodes that may have other numbers of shards and coordinators than we. */
    uint32_t partition = kind == ACTOR_REPLICA ? message_partition(message) : UINT32_MAX;
    if (partition != UINT32_MAX)
        index = replica_shard(partition, count);
    else if (message->kind == MESSAGE_forward_put)
        index = index % count;
    return index < count ? runtime->by_id[kind][index] : NULL;
}

static bool refuse(struct runtime *runtime, const struct cell *cell, struct message *message)
{
    uint64_t times = cell == NULL ? atomic_fetch_add(&runtime->undeliverable, 1) + 1
                                  : atomic_load(&cell->mailbox.dropped);
    /* A line at 1, 2, 4, 8, ...: neither silence nor a flood. */
    if ((times & (times - 1)) == 0)
        log_write(runtime->options.log, LOG_WARNING,
                  cell == NULL ? "message_undeliverable" : "mailbox_full",
                  "message=%s to_node=%u to_kind=%u to_index=%u times=%llu",
                  message_kind_text(message->kind), message->to.node, message->to.kind,
                  message->to.index, (unsigned long long)times);
    message_free(message);
    return false;
}

bool runtime_route(struct runtime *runtime, struct message *message, struct route *route)
{
    CHECK_U64(message->magic, ==, MESSAGE_MAGIC);
    if (message->to.kind == ACTOR_RUNTIME) {
        CHECK_U64(message->kind, ==, MESSAGE_view_publish);
        runtime_publish(runtime, message->view_publish.view);
        message->view_publish.view = NULL;
        message_free(message);
        return true;
    }
    if (message->to.node != runtime->options.self) {
        message_list_add(&route->remote, message);
        return true;
    }
    if (message->to.kind == ACTOR_EDGE) {
        message_list_add(&route->edge, message);
        return true;
    }
    struct cell *cell = cell_for(runtime, message);
    if (cell == NULL)
        return refuse(runtime, NULL, message);
    if (cell->runner == route->self)
        return mailbox_post_own(&cell->mailbox, message) || refuse(runtime, cell, message);
    uint64_t bit = UINT64_C(1) << cell->runner->index;
    if ((route->wakes->threads & bit) == 0) {
        /* Before the post; see runner_park. */
        atomic_fetch_add(&cell->runner->wakes_owed, 1);
        route->wakes->threads |= bit;
    }
    return mailbox_post(&cell->mailbox, message) || refuse(runtime, cell, message);
}

void runtime_deliver(struct runtime *runtime, struct route *route)
{
    const struct runtime_options *options = &runtime->options;
    if (route->remote.count != 0) {
        CHECK(options->deliver_remote != NULL);
        options->deliver_remote(options->host, route->remote.first);
    }
    if (route->edge.count != 0) {
        CHECK(options->deliver_edge != NULL);
        options->deliver_edge(options->host, route->edge.first);
    }
}

bool runtime_post(struct runtime *runtime, struct message *message, struct runtime_wakes *wakes)
{
    CHECK_U64(registrations, >, 0);
    struct route route = {.wakes = wakes};
    if (!runtime_route(runtime, message, &route))
        return false;
    runtime_deliver(runtime, &route);
    return true;
}

void runtime_wake(struct runtime *runtime, struct runtime_wakes *wakes)
{
    uint64_t threads = wakes->threads;
    wakes->threads = 0;
    while (threads != 0) {
        struct runner *runner = runtime->runners[__builtin_ctzll(threads)];
        threads &= threads - 1;
        runner_wake(runner);
        atomic_fetch_sub(&runner->wakes_owed, 1);
    }
}

/* -- hosted runners ---------------------------------------------------------------------------- */

struct runner *runtime_host(struct runtime *runtime, const char *thread_name,
                            void (*ring)(void *host), void *host)
{
    CHECK(ring != NULL);
    struct runner *runner = runner_find(runtime, thread_name);
    if (runner != NULL) {
        CHECK(!runtime->started);
        runner->ring = ring;
        runner->host = host;
    }
    return runner;
}

void runtime_host_step(struct runner *runner)
{
    if (atomic_load(&runner->stop))
        atomic_store(&runner->ended, true);
    else
        runner_round(runner);
}

bool runtime_host_announce(struct runner *runner)
{
    /* A stopped runner wants nothing more, and its host may sleep. */
    return runner_announce(runner) || atomic_load(&runner->ended);
}

void runtime_host_awake(struct runner *runner)
{
    atomic_store(&runner->parked, 0);
}

uint64_t runtime_host_wake_at_ns(const struct runner *runner)
{
    return atomic_load(&runner->ended) ? NEVER_NS : runner_wake_at_ns(runner);
}

bool runtime_host_post(struct runner *runner, struct message *message, struct runtime_wakes *wakes)
{
    /* When it is stopped nobody looks into its own mail any more. */
    struct route route = {.self = atomic_load(&runner->ended) ? NULL : runner, .wakes = wakes};
    if (!runtime_route(runner->runtime, message, &route))
        return false;
    runtime_deliver(runner->runtime, &route);
    return true;
}

/* -- views ------------------------------------------------------------------------------------- */

const struct view *runtime_view_lock(struct runtime *runtime)
{
    CHECK_U64(registrations, >, 0);
    rcu_lock();
    /* Acquire: pairs with the exchange in runtime_publish; the whole view is seen or none of it. */
    return atomic_load_explicit(&runtime->view, memory_order_acquire);
}

void runtime_view_unlock(struct runtime *runtime)
{
    (void)runtime;
    rcu_unlock();
}

struct view *runtime_view_ref(struct runtime *runtime)
{
    CHECK_U64(registrations, >, 0);
    rcu_lock();
    /* The publisher's own reference outlasts our section, so the count cannot be 0 here. */
    struct view *view = view_ref(atomic_load_explicit(&runtime->view, memory_order_acquire));
    rcu_unlock();
    return view;
}

struct retired_view {
    struct rcu_head head;
    struct view *view;
};

static void retired_view_unref(struct rcu_head *head)
{
    rcu_deferred_begin(head);
    struct retired_view *retired = CONTAINER_OF(head, struct retired_view, head);
    view_unref(retired->view);
    free(retired);
}

void runtime_publish(struct runtime *runtime, struct view *view)
{
    CHECK_U64(registrations, >, 0);
    CHECK(view != NULL);
    if (runtime->options.view_comes != NULL)
        runtime->options.view_comes(runtime->options.host, view);
    struct retired_view *retired = malloc(sizeof *retired);
    CHECK(retired != NULL);
    retired->view = atomic_exchange_explicit(&runtime->view, view, memory_order_acq_rel);
    rcu_defer(&retired->head, retired_view_unref);
}

/* -- figures ----------------------------------------------------------------------------------- */

uint32_t runtime_shards(const struct runtime *runtime)
{
    return runtime->counts[ACTOR_REPLICA];
}

uint32_t runtime_coordinators(const struct runtime *runtime)
{
    return runtime->counts[ACTOR_COORDINATOR];
}

void runtime_wake_each_step(struct runtime *runtime)
{
    CHECK(!runtime->started);
    runtime->wake_each_step = true;
}

uint64_t runtime_undeliverable(const struct runtime *runtime)
{
    return atomic_load_explicit(&runtime->undeliverable, memory_order_relaxed);
}

size_t runtime_mailbox_figures(struct runtime *runtime, struct mailbox_figures *ret, size_t max)
{
    for (size_t i = 0; i < runtime->cell_count && i < max; i++) {
        const struct cell *cell = runtime->cells[i];
        const struct mailbox *mailbox = &cell->mailbox;
        ret[i] = (struct mailbox_figures){
            .id = cell->actor->id,
            .actor_name = cell->actor->class->name,
            .thread_name = cell->runner->name,
            .depth = atomic_load_explicit(&mailbox->depth, memory_order_relaxed),
            .depth_max = atomic_load_explicit(&mailbox->depth_max, memory_order_relaxed),
            .posted = atomic_load_explicit(&mailbox->posted, memory_order_relaxed),
            .dropped = atomic_load_explicit(&mailbox->dropped, memory_order_relaxed),
            .drained_batches = counter_get(&mailbox->drained_batches),
            .wakeups = atomic_load_explicit(&cell->runner->wakeups, memory_order_relaxed),
            .park_timeouts_with_work = counter_get(&cell->runner->park_timeouts_with_work),
        };
    }
    return runtime->cell_count;
}
