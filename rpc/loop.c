#include "rpc/loop.h"

#include "base/check.h"
#include "base/log.h"
#include "base/thread_signals.h"

#include <grpc/support/alloc.h>
#include <grpc/support/log.h>
#include <grpc/support/time.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define LOOP_THREADS_MAX 64u
/* A busy queue never runs empty: mail waits for at most this many events. */
#define BATCH_EVENTS_MAX 256u
#define TICK_NS          1000000000ull

/* Lines that gRPC may log in one second; the rest is counted. Remote peers can cause such lines. */
#define LOG_LINES_PER_SECOND 20u

struct loop_thread {
    struct rpc_loop *loop;
    grpc_completion_queue *queue;
    pthread_t thread;
    uint32_t index;
    char name[16];
    struct runtime_wakes wakes; /* this thread's, over one batch */
    struct runner *runner;      /* the actors that this thread steps, or NULL */

    pthread_mutex_t mail_lock;
    struct message *mail_first;
    struct message *mail_last;
    _Atomic uint64_t mail_waiting; /* not handled yet */
    atomic_bool parked;            /* blocks, or is about to: whoever sends mail rings the bell */
    /* A call on a channel that leads nowhere: an empty batch on it is the only way to wake a queue.
     */
    grpc_channel *bell_channel;
    grpc_call *bell;
    struct rpc_event bell_rung;
};

struct rpc_loop {
    struct runtime *runtime;
    uint32_t count;
    bool started;
    struct loop_thread *threads;
    void (*on_mail)(void *host, struct message *message);
    void *on_mail_host;
    pthread_mutex_t tick_lock; /* the list of ticks, and that one runs at a time */
    struct rpc_tick *ticks;
};

static _Thread_local struct loop_thread *current;

/* -- the library ------------------------------------------------------------------------------- */

/* Debian's abseil is built with its deadlock detector in abort mode. The symbol is that of libabsl
 * 20220623; weak, so that another build links without it. */
extern void absl_deadlock_mode(int mode) __asm__(
    "_ZN4absl7debian329SetMutexDeadlockDetectionModeENS0_15OnDeadlockCycleE") __attribute__((weak));
#define ABSL_DEADLOCK_IGNORE 0

static struct {
    const struct log *log;
    _Atomic uint64_t second;
    _Atomic uint32_t lines;
    _Atomic uint64_t suppressed;
} library_log;

static _Thread_local bool library_quiet;

/* Sometimes called under gRPC's own locks: only copies and writes, never calls back. */
static void library_log_write(gpr_log_func_args *args)
{
    if (library_quiet)
        return;
    uint64_t second = runtime_now_ns() / 1000000000ull;
    if (atomic_exchange(&library_log.second, second) != second)
        atomic_store(&library_log.lines, 0);
    if (atomic_fetch_add(&library_log.lines, 1) >= LOG_LINES_PER_SECOND) {
        atomic_fetch_add(&library_log.suppressed, 1);
        return;
    }
    char text[512];
    size_t size = 0;
    for (const char *p = args->message; *p != '\0' && size < sizeof text - 1; p++)
        text[size++] = (*p < ' ' || *p == '"' || *p == '\\') ? ' ' : *p;
    text[size] = '\0';
    enum log_level level = args->severity == GPR_LOG_SEVERITY_ERROR ? LOG_WARNING : LOG_DEBUG;
    log_write(library_log.log, level, "grpc", "text=\"%s\" suppressed=%llu", text,
              (unsigned long long)atomic_load(&library_log.suppressed));
}

void rpc_library_init(const struct log *log)
{
    if (absl_deadlock_mode != NULL)
        absl_deadlock_mode(ABSL_DEADLOCK_IGNORE);
    library_log.log = log;
    gpr_set_log_function(library_log_write);
    gpr_set_log_verbosity(GPR_LOG_SEVERITY_ERROR);
    /* A listener whose accept once failed for want of descriptors stays deaf (CVE-2023-4785). */
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
        files.rlim_cur = files.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &files) != 0)
            log_write(log, LOG_WARNING, "descriptor_limit", "error=setrlimit");
    }
    sigset_t before = thread_signals_block();
    grpc_init();
    thread_signals_restore(before);
}

void rpc_library_shutdown(void)
{
    grpc_shutdown_blocking();
    gpr_set_log_function(NULL);
}

void rpc_library_quiet(bool quiet)
{
    library_quiet = quiet;
}

/* -- threads ----------------------------------------------------------------------------------- */

static void ticks_run(struct rpc_loop *loop)
{
    pthread_mutex_lock(&loop->tick_lock);
    for (struct rpc_tick *tick = loop->ticks; tick != NULL; tick = tick->next)
        tick->run(tick);
    pthread_mutex_unlock(&loop->tick_lock);
}

static gpr_timespec wait_until(const struct loop_thread *thread, uint64_t next_tick_ns)
{
    uint64_t until_ns = thread->index == 0 ? next_tick_ns : NEVER_NS;
    if (thread->runner != NULL) {
        uint64_t wake_at_ns = runtime_host_wake_at_ns(thread->runner);
        until_ns = wake_at_ns < until_ns ? wake_at_ns : until_ns;
    }
    if (until_ns == NEVER_NS)
        return gpr_inf_future(GPR_CLOCK_MONOTONIC);
    uint64_t now = runtime_now_ns();
    uint64_t left = until_ns > now ? until_ns - now : 0;
    return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                        gpr_time_from_nanos((int64_t)left, GPR_TIMESPAN));
}

/* -- mail ----------------------------------------------------------------------------------------
 */

static void on_bell(struct rpc_event *event, bool ok)
{
    (void)event;
    (void)ok; /* the thread looks for mail after each batch */
}

static void bell_make(struct loop_thread *thread)
{
    thread->bell_channel = grpc_lame_client_channel_create("bell", GRPC_STATUS_UNAVAILABLE, "bell");
    thread->bell = grpc_channel_create_call(thread->bell_channel, NULL, GRPC_PROPAGATE_DEFAULTS,
                                            thread->queue, grpc_slice_from_static_string("/bell"),
                                            NULL, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
    CHECK(thread->bell != NULL);
    thread->bell_rung.done = on_bell;
}

/* Under the mail's lock: one batch at a time on the bell's call. */
static void bell_ring(struct loop_thread *thread)
{
    if (!atomic_exchange(&thread->parked, false))
        return;
    grpc_call_error error = grpc_call_start_batch(thread->bell, NULL, 0, &thread->bell_rung, NULL);
    CHECK_U64(error, ==, GRPC_CALL_OK);
}

/* Mail for an actor that this thread steps. */
static void on_actor_mail(void *host)
{
    struct loop_thread *thread = host;
    pthread_mutex_lock(&thread->mail_lock);
    bell_ring(thread);
    pthread_mutex_unlock(&thread->mail_lock);
}

void rpc_loop_on_mail(struct rpc_loop *loop, void (*handle)(void *host, struct message *message),
                      void *host)
{
    CHECK(!loop->started);
    loop->on_mail = handle;
    loop->on_mail_host = host;
}

void rpc_loop_mail(struct rpc_loop *loop, uint32_t index, struct message *list)
{
    CHECK_U64(index, <, loop->count);
    CHECK(list != NULL && loop->on_mail != NULL);
    struct loop_thread *thread = &loop->threads[index];
    uint64_t count = 1;
    struct message *last = list;
    for (; last->next != NULL; last = last->next)
        count++;
    pthread_mutex_lock(&thread->mail_lock);
    atomic_fetch_add(&thread->mail_waiting, count);
    if (thread->mail_last == NULL)
        thread->mail_first = list;
    else
        thread->mail_last->next = list;
    thread->mail_last = last;
    bell_ring(thread);
    pthread_mutex_unlock(&thread->mail_lock);
}

bool rpc_loop_idle(const struct rpc_loop *loop, uint32_t index)
{
    return atomic_load(&loop->threads[index].parked);
}

bool rpc_loop_is_current(const struct rpc_loop *loop, uint32_t index)
{
    return current == &loop->threads[index];
}

static void mail_handle(struct loop_thread *thread)
{
    struct rpc_loop *loop = thread->loop;
    if (atomic_load(&thread->mail_waiting) == 0)
        return;
    pthread_mutex_lock(&thread->mail_lock);
    struct message *list = thread->mail_first;
    thread->mail_first = NULL;
    thread->mail_last = NULL;
    pthread_mutex_unlock(&thread->mail_lock);
    while (list != NULL) {
        struct message *message = list;
        list = message->next;
        message->next = NULL;
        loop->on_mail(loop->on_mail_host, message);
        atomic_fetch_sub(&thread->mail_waiting, 1);
    }
}

void rpc_loop_mail_flush(struct rpc_loop *loop)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    for (uint32_t i = 0; i < loop->count && loop->started; i++) {
        while (atomic_load(&loop->threads[i].mail_waiting) != 0)
            nanosleep(&pause, NULL);
    }
}

/* -- running
 * --------------------------------------------------------------------------------------- */

/* The next event; blocks when there is neither one nor mail. */
static grpc_event event_next(struct loop_thread *thread, gpr_timespec until)
{
    /* Announce, then look again: mail that came before the announcement is seen here, later mail
     * rings. */
    atomic_store(&thread->parked, true);
    bool actor_mail = thread->runner != NULL && !runtime_host_announce(thread->runner);
    if (actor_mail || atomic_load(&thread->mail_waiting) != 0)
        until = gpr_inf_past(GPR_CLOCK_MONOTONIC);
    grpc_event event = grpc_completion_queue_next(thread->queue, until, NULL);
    atomic_store(&thread->parked, false);
    if (thread->runner != NULL)
        runtime_host_awake(thread->runner);
    return event;
}

/* Everything that is ready, or BATCH_EVENTS_MAX of it. False when the queue is shut down and empty.
 */
static bool batch_run(struct loop_thread *thread, grpc_event event)
{
    uint32_t events = 0;
    while (event.type == GRPC_OP_COMPLETE) {
        struct rpc_event *tag = event.tag;
        tag->done(tag, event.success != 0);
        if (++events == BATCH_EVENTS_MAX)
            break;
        event = grpc_completion_queue_next(thread->queue, gpr_inf_past(GPR_CLOCK_MONOTONIC), NULL);
    }
    return event.type != GRPC_QUEUE_SHUTDOWN;
}

static void *thread_main(void *argument)
{
    struct loop_thread *thread = argument;
    struct rpc_loop *loop = thread->loop;
    if (loop->runtime != NULL)
        runtime_thread_register();
    current = thread;
    bool first = thread->index == 0;
    uint64_t next_tick_ns = runtime_now_ns() + TICK_NS;
    for (bool running = true; running;) {
        grpc_event event = event_next(thread, wait_until(thread, next_tick_ns));
        running = batch_run(thread, event);
        mail_handle(thread);
        if (thread->runner != NULL)
            runtime_host_step(thread->runner);
        if (first && runtime_now_ns() >= next_tick_ns) {
            ticks_run(loop);
            next_tick_ns = runtime_now_ns() + TICK_NS;
        }
        if (thread->wakes.threads != 0)
            runtime_wake(loop->runtime, &thread->wakes);
        thread->wakes = (struct runtime_wakes){0};
    }
    current = NULL;
    if (loop->runtime != NULL)
        runtime_thread_unregister();
    return NULL;
}

struct rpc_loop *rpc_loop_new(uint32_t threads, struct runtime *runtime)
{
    CHECK_U64(threads, >=, 1);
    CHECK_U64(threads, <=, LOOP_THREADS_MAX);
    struct rpc_loop *loop = calloc(1, sizeof *loop);
    CHECK(loop != NULL);
    loop->runtime = runtime;
    loop->count = threads;
    loop->threads = calloc(threads, sizeof *loop->threads);
    CHECK(loop->threads != NULL);
    CHECK(pthread_mutex_init(&loop->tick_lock, NULL) == 0);
    for (uint32_t i = 0; i < threads; i++) {
        struct loop_thread *thread = &loop->threads[i];
        thread->loop = loop;
        thread->index = i;
        snprintf(thread->name, sizeof thread->name, RPC_LOOP_THREAD_NAME, i);
        thread->queue = grpc_completion_queue_create_for_next(NULL);
        CHECK(thread->queue != NULL);
        CHECK(pthread_mutex_init(&thread->mail_lock, NULL) == 0);
        bell_make(thread);
        if (runtime != NULL)
            thread->runner = runtime_host(runtime, thread->name, on_actor_mail, thread);
    }
    return loop;
}

uint32_t rpc_loop_count(const struct rpc_loop *loop)
{
    return loop->count;
}

grpc_completion_queue *rpc_loop_queue(struct rpc_loop *loop, uint32_t index)
{
    CHECK_U64(index, <, loop->count);
    return loop->threads[index].queue;
}

void rpc_loop_start(struct rpc_loop *loop)
{
    CHECK(!loop->started);
    loop->started = true;
    sigset_t before = thread_signals_block();
    for (uint32_t i = 0; i < loop->count; i++) {
        struct loop_thread *thread = &loop->threads[i];
        CHECK(pthread_create(&thread->thread, NULL, thread_main, thread) == 0);
        pthread_setname_np(thread->thread, thread->name);
    }
    thread_signals_restore(before);
}

bool rpc_loop_post(struct rpc_loop *loop, struct message *message)
{
    CHECK(loop->runtime != NULL);
    if (current != NULL && current->loop == loop && current->runner != NULL)
        return runtime_host_post(current->runner, message, &current->wakes);
    if (current != NULL && current->loop == loop)
        return runtime_post(loop->runtime, message, &current->wakes);
    struct runtime_wakes wakes = {0};
    bool posted = runtime_post(loop->runtime, message, &wakes);
    runtime_wake(loop->runtime, &wakes);
    return posted;
}

void rpc_loop_tick_add(struct rpc_loop *loop, struct rpc_tick *tick)
{
    pthread_mutex_lock(&loop->tick_lock);
    tick->next = loop->ticks;
    loop->ticks = tick;
    pthread_mutex_unlock(&loop->tick_lock);
}

void rpc_loop_tick_remove(struct rpc_loop *loop, struct rpc_tick *tick)
{
    pthread_mutex_lock(&loop->tick_lock);
    for (struct rpc_tick **at = &loop->ticks; *at != NULL; at = &(*at)->next) {
        if (*at == tick) {
            *at = tick->next;
            break;
        }
    }
    pthread_mutex_unlock(&loop->tick_lock);
}

void rpc_loop_free(struct rpc_loop *loop)
{
    rpc_loop_mail_flush(loop);
    for (uint32_t i = 0; i < loop->count; i++) {
        grpc_call_unref(loop->threads[i].bell);
        grpc_channel_destroy(loop->threads[i].bell_channel);
        grpc_completion_queue_shutdown(loop->threads[i].queue);
    }
    for (uint32_t i = 0; i < loop->count; i++) {
        struct loop_thread *thread = &loop->threads[i];
        if (loop->started)
            CHECK(pthread_join(thread->thread, NULL) == 0);
        else
            while (
                grpc_completion_queue_next(thread->queue, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL)
                    .type != GRPC_QUEUE_SHUTDOWN)
                continue;
        grpc_completion_queue_destroy(thread->queue);
        pthread_mutex_destroy(&thread->mail_lock);
    }
    CHECK(loop->ticks == NULL);
    pthread_mutex_destroy(&loop->tick_lock);
    free(loop->threads);
    free(loop);
}
