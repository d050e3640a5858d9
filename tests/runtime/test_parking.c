// link: coterie_runtime
/* Rules of actors/runtime/runner.h about time: no wake-up is lost, no tick comes early, views are
 * seen whole. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "actors/runtime/runner.h"
#include "tests/runtime/house.h"

#include <sched.h>

#define NS_PER_US 1000u
#define NS_PER_MS 1000000u

static const struct runtime_options options_default = {
    .self = SELF, .mailbox_messages_max = 65536, .seed = 1};

/* -- ping-pong --------------------------------------------------------------------------------- */

#define ROUND_TRIPS 100000u

struct player {
    struct actor actor;
    struct actor_id other;
    uint64_t tick_every_ns; /* 0 = never */
    uint64_t tick_at_ns;
    uint64_t ticks;
    sem_t *done; /* of the player that counts */
};

static void player_handle(struct actor *actor, struct actor_context *ctx, struct message *message)
{
    struct player *player = (struct player *)actor;
    if (player->done != NULL && message->store_committed.sequence++ == ROUND_TRIPS) {
        message_free(message);
        sem_post(player->done);
        return;
    }
    message->to = player->other;
    outbox_send(ctx, actor, message);
}

static void player_tick(struct actor *actor, struct actor_context *ctx)
{
    struct player *player = (struct player *)actor;
    player->ticks++;
    player->tick_at_ns = ctx->now_ns + player->tick_every_ns;
}

static uint64_t player_wake_at_ns(const struct actor *actor)
{
    const struct player *player = (const struct player *)actor;
    return player->tick_every_ns == 0 ? NEVER_NS : player->tick_at_ns;
}

static const struct actor_class player_class = {.name = "player",
                                                .handle = player_handle,
                                                .tick = player_tick,
                                                .wake_at_ns = player_wake_at_ns};

static void play(uint64_t tick_every_ns)
{
    struct runtime *runtime = runtime_new(&options_default, house_view());
    sem_t done;
    sem_init(&done, 0, 0);
    struct player players[2] = {0};
    for (uint32_t i = 0; i < 2; i++) {
        actor_init(&players[i].actor, &player_class, house_id(ACTOR_COORDINATOR, i));
        players[i].other = house_id(ACTOR_COORDINATOR, 1 - i);
        players[i].tick_every_ns = tick_every_ns;
        players[i].done = i == 0 ? &done : NULL;
        runtime_add_actor(runtime, &players[i].actor, NULL, i == 0 ? "ping" : "pong");
    }
    runtime_start(runtime);
    runtime_thread_register();
    struct runtime_wakes wakes = {0};
    assert_true(runtime_post(runtime, house_message(players[0].actor.id, 0, 0), &wakes));
    runtime_wake(runtime, &wakes);
    uint64_t before_ns = runtime_now_ns();
    house_wait(&done);
    uint64_t took_ns = runtime_now_ns() - before_ns;
    runtime_thread_unregister();
    runtime_stop(runtime);
    struct house_totals totals = house_totals(runtime);
    print_message("%u round trips, %llu ns each, %llu wake-ups, %llu ticks\n", ROUND_TRIPS,
                  (unsigned long long)(took_ns / ROUND_TRIPS), (unsigned long long)totals.wakeups,
                  (unsigned long long)(players[0].ticks + players[1].ticks));
    assert_int_equal(totals.posted, 2 * ROUND_TRIPS + 1);
    assert_int_equal(totals.park_timeouts_with_work, 0);
    assert_int_equal(tick_every_ns == 0, players[0].ticks == 0);
    runtime_free(runtime);
    sem_destroy(&done);
}

/* 100,000 round trips between two threads that sleep whenever they have nothing to do. */
static void no_wake_up_is_lost(void **state)
{
    (void)state;
    play(0);
}

/* Again with time-outs so short that they fall together with the mail all the time. */
static void no_wake_up_is_lost_among_timeouts(void **state)
{
    (void)state;
    play(20 * NS_PER_US);
}

#define KNOCKS 40000u

/* The knocking thread and the sleeping one must run at the same time to meet in a narrow place. */
static void pin_to_processor(size_t number)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(number, &set);
    (void)pthread_setaffinity_np(pthread_self(), sizeof set,
                                 &set); /* one processor only: no matter */
}

struct door {
    struct actor actor;
    _Atomic uint64_t opened;
};

static void door_handle(struct actor *actor, struct actor_context *ctx, struct message *message)
{
    (void)ctx;
    message_free(message);
    if (atomic_load(&((struct door *)actor)->opened) == 0)
        pin_to_processor(1);
    atomic_fetch_add(&((struct door *)actor)->opened, 1);
}

static const struct actor_class door_class = {.name = "door", .handle = door_handle};

static void spin_ns(uint64_t ns)
{
    for (uint64_t until = runtime_now_ns() + ns; runtime_now_ns() < until;)
        ;
}

static void knock(struct runtime *runtime, struct door *door)
{
    struct runtime_wakes wakes = {0};
    CHECK(runtime_post(runtime, house_message(door->actor.id, 0, 0), &wakes));
    runtime_wake(runtime, &wakes);
}

/* A producer that never sleeps knocks at every moment of a runner's way to sleep: each knock is
 * heard at once, not when a time-out ends. */
static void every_phase_of_parking_hears_a_post(void **state)
{
    (void)state;
    struct runtime *runtime = runtime_new(&options_default, house_view());
    struct door door = {0};
    actor_init(&door.actor, &door_class, house_id(ACTOR_COORDINATOR, 0));
    runtime_add_actor(runtime, &door.actor, NULL, "door");
    runtime_start(runtime);
    runtime_thread_register();
    struct prng prng;
    prng_init(&prng, 1, 0);
    cpu_set_t before;
    assert_int_equal(pthread_getaffinity_np(pthread_self(), sizeof before, &before), 0);
    pin_to_processor(0);
    for (uint64_t i = 0; i < KNOCKS; i += 2) {
        knock(runtime, &door);
        spin_ns(prng_below(&prng, 8000)); /* the runner wakes, steps, and is on its way to sleep */
        knock(runtime, &door);
        uint64_t posted_ns = runtime_now_ns();
        while (atomic_load(&door.opened) < i + 2)
            CHECK_U64(runtime_now_ns() - posted_ns, <, 60 * UINT64_C(1000000000));
    }
    pthread_setaffinity_np(pthread_self(), sizeof before, &before);
    runtime_thread_unregister();
    runtime_stop(runtime);
    print_message("%u knocks, %llu wake-ups\n", KNOCKS,
                  (unsigned long long)house_totals(runtime).wakeups);
    assert_true(house_totals(runtime).wakeups > 0);
    assert_int_equal(house_totals(runtime).park_timeouts_with_work, 0);
    runtime_free(runtime);
}

/* What the counter is for: mail whose producer has nothing left to wake is found by the time-out
 * and counted. (Made by force: the wake is withheld and its debt written off.) */
static void a_lost_wake_up_is_counted(void **state)
{
    (void)state;
    struct runtime *runtime = runtime_new(&options_default, house_view());
    sem_t done;
    sem_init(&done, 0, 0);
    struct player player = {.done = &done};
    actor_init(&player.actor, &player_class, house_id(ACTOR_COORDINATOR, 0));
    runtime_add_actor(runtime, &player.actor, NULL, "sleeper");
    runtime_start(runtime);
    runtime_thread_register();
    while (atomic_load(&runtime->runners[0]->parked) == 0)
        nanosleep(&(struct timespec){.tv_nsec = NS_PER_MS}, NULL);
    struct runtime_wakes withheld = {0};
    assert_true(runtime_post(runtime, house_message(player.actor.id, 0, ROUND_TRIPS), &withheld));
    atomic_fetch_sub(&runtime->runners[0]->wakes_owed, 1);
    house_wait(&done); /* a second at most */
    assert_int_equal(house_totals(runtime).park_timeouts_with_work, 1);
    runtime_thread_unregister();
    runtime_stop(runtime);
    runtime_free(runtime);
    sem_destroy(&done);
}

/* -- ticks ------------------------------------------------------------------------------------- */

#define TICKS         100u
#define TICK_EVERY_NS (3 * NS_PER_MS)

struct clockwork {
    struct actor actor;
    bool busy; /* sends itself mail all the time */
    uint64_t tick_at_ns;
    uint64_t ticks;
    uint64_t early;
    uint64_t late_ns[TICKS];
    sem_t done;
};

static void clockwork_handle(struct actor *actor, struct actor_context *ctx,
                             struct message *message)
{
    struct clockwork *self = (struct clockwork *)actor;
    if (self->tick_at_ns == NEVER_NS && self->ticks == 0)
        self->tick_at_ns = ctx->now_ns + TICK_EVERY_NS;
    if (self->busy && self->ticks < TICKS) {
        message->to = actor->id;
        outbox_send(ctx, actor, message);
    } else {
        message_free(message);
    }
}

static void clockwork_tick(struct actor *actor, struct actor_context *ctx)
{
    struct clockwork *self = (struct clockwork *)actor;
    uint64_t now = runtime_now_ns(); /* not ctx's: what the world's clock says */
    if (now < self->tick_at_ns || ctx->now_ns < self->tick_at_ns || ctx->now_ns > now)
        self->early++;
    else
        self->late_ns[self->ticks] = now - self->tick_at_ns;
    self->tick_at_ns = ++self->ticks == TICKS ? NEVER_NS : ctx->now_ns + TICK_EVERY_NS;
    if (self->ticks == TICKS)
        sem_post(&self->done);
}

static uint64_t clockwork_wake_at_ns(const struct actor *actor)
{
    return ((const struct clockwork *)actor)->tick_at_ns;
}

static const struct actor_class clockwork_class = {.name = "clockwork",
                                                   .handle = clockwork_handle,
                                                   .tick = clockwork_tick,
                                                   .wake_at_ns = clockwork_wake_at_ns};

static int u64_order(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void tick_all(bool busy)
{
    struct runtime *runtime = runtime_new(&options_default, house_view());
    struct clockwork self = {.tick_at_ns = NEVER_NS, .busy = busy};
    sem_init(&self.done, 0, 0);
    actor_init(&self.actor, &clockwork_class, house_id(ACTOR_GOSSIP, 0));
    runtime_add_actor(runtime, &self.actor, NULL, "clockwork");
    runtime_start(runtime);
    runtime_thread_register();
    struct runtime_wakes wakes = {0};
    assert_true(runtime_post(runtime, house_message(self.actor.id, 0, 0), &wakes));
    runtime_wake(runtime, &wakes);
    house_wait(&self.done);
    runtime_thread_unregister();
    runtime_stop(runtime);
    assert_int_equal(self.ticks, TICKS);
    assert_int_equal(self.early, 0);
    qsort(self.late_ns, TICKS, sizeof self.late_ns[0], u64_order);
    print_message("late: median %llu us, worst %llu us\n",
                  (unsigned long long)(self.late_ns[TICKS / 2] / NS_PER_US),
                  (unsigned long long)(self.late_ns[TICKS - 1] / NS_PER_US));
    assert_true(self.late_ns[TICKS / 10] < 20 * NS_PER_MS);
    runtime_free(runtime);
    sem_destroy(&self.done);
}

/* Never early; one in ten less than 20 ms late: machines under test are busy, and what looks at the
 * clock too seldom is late each time. */
static void ticks_come_in_time(void **state)
{
    (void)state;
    tick_all(false);
}

/* Mail neither brings a tick forward nor keeps it waiting. */
static void ticks_come_in_time_under_mail(void **state)
{
    (void)state;
    tick_all(true);
}

/* -- views ------------------------------------------------------------------------------------- */

#define VIEWS   10000u
#define READERS 2u

static struct view *numbered_view(uint64_t number)
{
    struct view *view = house_view();
    view->version = number;
    view->topology.epoch = number + 7;
    for (uint32_t i = 0; i < MEMBERS_MAX; i++)
        view->members[i].generation = number;
    return view;
}

static void check_whole(const struct view *view, uint64_t *last)
{
    uint64_t number = view->version;
    CHECK_U64(number, >=, *last); /* never back in time */
    CHECK_U64(view->topology.epoch, ==, number + 7);
    for (uint32_t i = 0; i < MEMBERS_MAX; i++)
        CHECK_U64(view->members[i].generation, ==, number);
    *last = number;
}

struct view_reader {
    struct runtime *runtime;
    uint64_t reads;
};

static void *reader_main(void *argument)
{
    struct view_reader *reader = argument;
    uint64_t last = 0;
    runtime_thread_register();
    while (last < VIEWS) {
        check_whole(runtime_view_lock(reader->runtime), &last);
        runtime_view_unlock(reader->runtime);
        struct view *held = runtime_view_ref(reader->runtime);
        check_whole(held, &last);
        view_unref(held);
        reader->reads += 2;
    }
    runtime_thread_unregister();
    return NULL;
}

/* Publishes a view with every message it gets from itself, as gossip does, and reads as actors do.
 */
struct publisher {
    struct actor actor;
    uint64_t published;
    uint64_t last;
};

static void publisher_handle(struct actor *actor, struct actor_context *ctx,
                             struct message *message)
{
    struct publisher *self = (struct publisher *)actor;
    check_whole(ctx->view, &self->last);
    if (self->published == VIEWS) {
        message_free(message);
        return;
    }
    struct message *publish = message_new(MESSAGE_view_publish, 0);
    publish->to = house_id(ACTOR_RUNTIME, 0);
    publish->view_publish.view = numbered_view(++self->published);
    outbox_send(ctx, actor, publish);
    message->to = actor->id;
    outbox_send(ctx, actor, message);
}

static const struct actor_class publisher_class = {.name = "publisher", .handle = publisher_handle};

/* 10,000 views: readers see each one whole, in order, and never a freed one (AddressSanitizer); all
 * are freed in the end (LeakSanitizer). */
static void views_are_seen_whole(void **state)
{
    (void)state;
    struct runtime *runtime = runtime_new(&options_default, numbered_view(0));
    struct publisher publisher = {0};
    actor_init(&publisher.actor, &publisher_class, house_id(ACTOR_GOSSIP, 0));
    runtime_add_actor(runtime, &publisher.actor, NULL, "gossip");
    runtime_start(runtime);
    struct view_reader readers[READERS];
    pthread_t threads[READERS];
    for (uint32_t i = 0; i < READERS; i++) {
        readers[i] = (struct view_reader){.runtime = runtime};
        threads[i] = house_thread(reader_main, &readers[i]);
    }
    runtime_thread_register();
    struct view *kept = runtime_view_ref(runtime);
    struct runtime_wakes wakes = {0};
    assert_true(runtime_post(runtime, house_message(publisher.actor.id, 0, 0), &wakes));
    runtime_wake(runtime, &wakes);
    for (uint32_t i = 0; i < READERS; i++)
        house_join(threads[i]);
    uint64_t first = 0;
    check_whole(kept, &first); /* a reference outlives the publication of others */
    view_unref(kept);
    struct view *newest = runtime_view_ref(runtime);
    assert_int_equal(newest->version, VIEWS);
    view_unref(newest);
    runtime_thread_unregister();
    runtime_stop(runtime);
    assert_int_equal(publisher.published, VIEWS);
    assert_int_equal(publisher.last, VIEWS); /* the step after saw what it had published */
    print_message("%llu and %llu reads\n", (unsigned long long)readers[0].reads,
                  (unsigned long long)readers[1].reads);
    runtime_free(runtime);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_wake_up_is_lost),
        cmocka_unit_test(no_wake_up_is_lost_among_timeouts),
        cmocka_unit_test(every_phase_of_parking_hears_a_post),
        cmocka_unit_test(a_lost_wake_up_is_counted),
        cmocka_unit_test(ticks_come_in_time),
        cmocka_unit_test(ticks_come_in_time_under_mail),
        cmocka_unit_test(views_are_seen_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
