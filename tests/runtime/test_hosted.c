// link: coterie_runtime
/* Rules of runtime_host (actors/runtime/runtime.h): actors on a thread of the host's are stepped by
 * it alone, hear every post, and are left alone once the runtime has stopped. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "actors/runtime/runner.h"
#include "tests/runtime/house.h"

#define KNOCKS  40000u
#define LONG_NS (60 * UINT64_C(1000000000))

static const struct runtime_options options_default = {
    .self = SELF, .mailbox_messages_max = 65536, .seed = 1};

struct guest {
    struct actor actor;
    pthread_t host_thread;
    _Atomic uint64_t heard;
    _Atomic uint64_t strangers; /* steps on another thread than the host's */
    _Atomic uint64_t ticks;
    _Atomic uint64_t tick_at_ns;
};

static void guest_handle(struct actor *actor, struct actor_context *ctx, struct message *message)
{
    struct guest *guest = (struct guest *)actor;
    if (!pthread_equal(pthread_self(), guest->host_thread))
        atomic_fetch_add(&guest->strangers, 1);
    /* A sequence is how often the message comes again. */
    if (message->store_committed.sequence != 0) {
        message->store_committed.sequence--;
        message->to = actor->id;
        outbox_send(ctx, actor, message);
    } else {
        message_free(message);
    }
    atomic_fetch_add(&guest->heard, 1);
}

static void guest_tick(struct actor *actor, struct actor_context *ctx)
{
    struct guest *guest = (struct guest *)actor;
    (void)ctx;
    atomic_store(&guest->tick_at_ns, NEVER_NS);
    atomic_fetch_add(&guest->ticks, 1);
}

static uint64_t guest_wake_at_ns(const struct actor *actor)
{
    return atomic_load(&((const struct guest *)actor)->tick_at_ns);
}

static const struct actor_class guest_class = {
    .name = "guest", .handle = guest_handle, .tick = guest_tick, .wake_at_ns = guest_wake_at_ns};

/* A host that sleeps without a time limit: whatever rings not is not heard. */
struct host {
    struct runtime *runtime;
    struct guest guest;
    struct runner *runner;
    sem_t bell;
    pthread_t thread;
    atomic_bool ready, checking_out;
    uint64_t rings;
    bool posts_itself; /* one message, before anything else */
    struct runtime_wakes wakes;
};

static void host_ring(void *closure)
{
    struct host *host = closure;
    host->rings++; /* one producer in these tests */
    sem_post(&host->bell);
}

static void *host_main(void *closure)
{
    struct host *host = closure;
    runtime_thread_register();
    host->guest.host_thread = pthread_self();
    if (host->posts_itself)
        CHECK(runtime_host_post(host->runner, house_message(host->guest.actor.id, 0, 9),
                                &host->wakes));
    atomic_store(&host->ready, true);
    while (!atomic_load(&host->checking_out)) {
        if (runtime_host_announce(host->runner))
            sem_wait(&host->bell);
        runtime_host_awake(host->runner);
        runtime_host_step(host->runner);
    }
    runtime_thread_unregister();
    return NULL;
}

static void host_start(struct host *host, bool posts_itself)
{
    *host = (struct host){.posts_itself = posts_itself, .guest.tick_at_ns = NEVER_NS};
    host->runtime = runtime_new(&options_default, house_view());
    actor_init(&host->guest.actor, &guest_class, house_id(ACTOR_COORDINATOR, 0));
    runtime_add_actor(host->runtime, &host->guest.actor, NULL, "host");
    sem_init(&host->bell, 0, 0);
    assert_null(runtime_host(host->runtime, "nobody", host_ring, host));
    host->runner = runtime_host(host->runtime, "host", host_ring, host);
    assert_non_null(host->runner);
    runtime_start(host->runtime);
    assert_int_equal(pthread_create(&host->thread, NULL, host_main, host), 0);
    while (!atomic_load(&host->ready))
        sched_yield();
    runtime_thread_register();
}

static void host_end(struct host *host)
{
    runtime_thread_unregister();
    atomic_store(&host->checking_out, true);
    sem_post(&host->bell);
    pthread_join(host->thread, NULL);
    runtime_free(host->runtime);
    sem_destroy(&host->bell);
}

static void wait_for(_Atomic uint64_t *figure, uint64_t value)
{
    uint64_t began_ns = runtime_now_ns();
    while (atomic_load(figure) < value) {
        CHECK_U64(runtime_now_ns() - began_ns, <, LONG_NS);
        sched_yield();
    }
}

static void post(struct host *host, uint64_t again)
{
    struct runtime_wakes wakes = {0};
    assert_true(runtime_post(host->runtime, house_message(host->guest.actor.id, 0, again), &wakes));
    runtime_wake(host->runtime, &wakes);
}

/* No wake-up is lost between the announcement and the host's sleep, which has no time limit. */
static void every_post_is_heard_by_the_hosts_thread(void **state)
{
    (void)state;
    struct host host;
    host_start(&host, false);
    struct prng prng;
    prng_init(&prng, 1, 0);
    for (uint64_t i = 0; i < KNOCKS; i++) {
        post(&host, 0);
        wait_for(&host.guest.heard, i + 1);
        /* At every moment of its way to sleep. */
        for (uint64_t until = runtime_now_ns() + prng_below(&prng, 8000); runtime_now_ns() < until;)
            ;
    }
    print_message("%u knocks, %llu rings\n", KNOCKS, (unsigned long long)host.rings);
    assert_true(host.rings > 0);
    assert_int_equal(atomic_load(&host.guest.strangers), 0);
    runtime_stop(host.runtime);
    host_end(&host);
}

/* What the host's thread or its actors send to its actors wakes nobody and rings nothing. */
static void its_own_mail_costs_no_wake_up(void **state)
{
    (void)state;
    struct host host;
    host_start(&host, true);
    wait_for(&host.guest.heard, 10);
    assert_int_equal(host.wakes.threads, 0);
    assert_int_equal(host.rings, 0);
    assert_int_equal(house_totals(host.runtime).wakeups, 0);
    assert_int_equal(house_totals(host.runtime).posted, 10);
    runtime_stop(host.runtime);
    host_end(&host);
}

/* The host learns when its actors want to tick, and a step ticks them. */
static void a_step_ticks(void **state)
{
    (void)state;
    struct host host;
    host_start(&host, false);
    atomic_store(&host.guest.tick_at_ns, 1);
    assert_int_equal(runtime_host_wake_at_ns(host.runner), 1);
    sem_post(&host.bell);
    wait_for(&host.guest.ticks, 1);
    assert_true(runtime_host_wake_at_ns(host.runner) == NEVER_NS);
    runtime_stop(host.runtime);
    host_end(&host);
}

/* Mail that came before the stop is worked off; after it no step is made, the host may sleep and
 * nothing asks to be woken for. */
static void after_the_stop_nothing_is_stepped(void **state)
{
    (void)state;
    struct host host;
    host_start(&host, false);
    post(&host, 99);
    runtime_stop(host.runtime);
    assert_int_equal(atomic_load(&host.guest.heard), 100);
    atomic_store(&host.guest.tick_at_ns, 1);
    assert_true(runtime_host_wake_at_ns(host.runner) == NEVER_NS);
    post(&host, 0);
    for (int i = 0; i < 3; i++)
        sem_post(&host.bell);
    host_end(&host);
    assert_int_equal(atomic_load(&host.guest.heard), 100);
    assert_int_equal(atomic_load(&host.guest.ticks), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_post_is_heard_by_the_hosts_thread),
        cmocka_unit_test(its_own_mail_costs_no_wake_up),
        cmocka_unit_test(a_step_ticks),
        cmocka_unit_test(after_the_stop_nothing_is_stepped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
