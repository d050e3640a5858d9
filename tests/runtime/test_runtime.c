// link: coterie_runtime
/* Rules of actors/runtime/runtime.h about mail: real threads, small actors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "actors/runtime/runner.h"
#include "tests/runtime/house.h"

#include <sched.h>
#include <signal.h>

static const struct runtime_options options_default = {
    .self = SELF, .mailbox_messages_max = 65536, .seed = 1};

/* -- nothing lost, nothing twice, in order; few wake-ups --------------------------------------- */

#define PRODUCERS       4u
#define MESSAGES_EACH   300000u
#define MESSAGES        ((uint64_t)PRODUCERS * MESSAGES_EACH)
#define POSTS_PER_WAKE  64u
#define OUTSTANDING_MAX 8192u /* credits of a producer: 4 of them cannot fill a mailbox */

/* Checks each producer's order and passes the message on. */
struct relay {
    struct actor actor;
    struct actor_id to;
    uint64_t next[PRODUCERS];
};

static void relay_handle(struct actor *actor, struct actor_context *ctx, struct message *message)
{
    struct relay *relay = (struct relay *)actor;
    CHECK_U64(message->store_committed.sequence, ==, relay->next[message->id]);
    relay->next[message->id]++;
    message->to = relay->to;
    message->from = actor->id;
    outbox_send(ctx, actor, message);
}

static const struct actor_class relay_class = {.name = "relay", .handle = relay_handle};

/* The end of the way, twice: as the rpc layer and as the other nodes. */
struct sink {
    struct runtime *runtime;
    _Atomic uint64_t arrived[PRODUCERS];
    _Atomic uint64_t lists;
};

static void sink_deliver(void *host, struct message *list)
{
    struct sink *sink = host;
    atomic_fetch_add(&sink->lists, 1);
    while (list != NULL) {
        struct message *message = list;
        list = message->next;
        uint64_t arrived = atomic_load(&sink->arrived[message->id]);
        CHECK_U64(message->store_committed.sequence, ==, arrived);
        atomic_store(&sink->arrived[message->id], arrived + 1);
        message_free(message);
    }
}

struct producer {
    struct sink *sink;
    uint32_t index;
};

static void *producer_main(void *argument)
{
    struct producer *self = argument;
    struct runtime *runtime = self->sink->runtime;
    struct runtime_wakes wakes = {0};
    runtime_thread_register();
    for (uint64_t i = 0; i < MESSAGES_EACH; i++) {
        while (i - atomic_load(&self->sink->arrived[self->index]) >= OUTSTANDING_MAX) {
            runtime_wake(runtime, &wakes);
            sched_yield();
        }
        struct message *message = house_message(house_id(ACTOR_COORDINATOR, 0), self->index, i);
        CHECK(runtime_post(runtime, message, &wakes));
        if (i % POSTS_PER_WAKE == POSTS_PER_WAKE - 1)
            runtime_wake(runtime, &wakes);
    }
    runtime_wake(runtime, &wakes);
    runtime_thread_unregister();
    return NULL;
}

/* 1.2 million messages of four producers through three actors on two threads to the edge, or to
 * another node. */
static void relay_all(struct actor_id end)
{
    struct sink sink = {0};
    struct runtime_options options = options_default;
    options.deliver_edge = end.kind == ACTOR_EDGE ? sink_deliver : NULL;
    options.deliver_remote = end.kind == ACTOR_EDGE ? NULL : sink_deliver;
    options.host = &sink;
    sink.runtime = runtime_new(&options, house_view());
    struct relay relays[3] = {0};
    static const char *threads[] = {"first", "second", "second"};
    for (uint32_t i = 0; i < 3; i++) {
        actor_init(&relays[i].actor, &relay_class, house_id(ACTOR_COORDINATOR, i));
        relays[i].to = i < 2 ? house_id(ACTOR_COORDINATOR, i + 1) : end;
        runtime_add_actor(sink.runtime, &relays[i].actor, NULL, threads[i]);
    }
    runtime_start(sink.runtime);
    struct producer producers[PRODUCERS];
    pthread_t ids[PRODUCERS];
    for (uint32_t i = 0; i < PRODUCERS; i++) {
        producers[i] = (struct producer){.sink = &sink, .index = i};
        ids[i] = house_thread(producer_main, &producers[i]);
    }
    for (uint32_t i = 0; i < PRODUCERS; i++)
        house_join(ids[i]);
    runtime_stop(sink.runtime);
    for (uint32_t i = 0; i < PRODUCERS; i++)
        assert_int_equal(sink.arrived[i], MESSAGES_EACH);
    struct house_totals totals = house_totals(sink.runtime);
    print_message("%llu posts, %llu wake-ups, %llu batches, %llu lists delivered\n",
                  (unsigned long long)totals.posted, (unsigned long long)totals.wakeups,
                  (unsigned long long)totals.batches, (unsigned long long)sink.lists);
    assert_int_equal(totals.posted, 3 * MESSAGES);
    assert_int_equal(totals.dropped, 0);
    assert_int_equal(totals.depth, 0);
    assert_int_equal(totals.park_timeouts_with_work, 0);
    /* One wake-up per message would be 2 * MESSAGES. */
    assert_true(totals.wakeups < MESSAGES / 20);
    assert_true(sink.lists < MESSAGES / 10);
    runtime_free(sink.runtime);
}

static void delivers_once_in_order_to_the_edge(void **state)
{
    (void)state;
    relay_all(house_id(ACTOR_EDGE, 0));
}

static void delivers_once_in_order_to_another_node(void **state)
{
    (void)state;
    relay_all((struct actor_id){.node = 2, .kind = ACTOR_REPLICA});
}

/* -- bounds ------------------------------------------------------------------------------------ */

struct gate {
    struct actor actor;
    sem_t entered;
    sem_t open;
    uint64_t handled;
    uint64_t to_self; /* sends itself so many at the first message */
};

static void gate_handle(struct actor *actor, struct actor_context *ctx, struct message *message)
{
    struct gate *gate = (struct gate *)actor;
    if (gate->handled++ == 0) {
        for (uint64_t i = 0; i < gate->to_self; i++)
            outbox_send(ctx, actor, house_message(actor->id, 0, i));
        sem_post(&gate->entered);
        house_wait(&gate->open);
    }
    message_free(message);
}

static const struct actor_class gate_class = {.name = "gate", .handle = gate_handle};

/* A full mailbox refuses and counts, and holds exactly its bound. */
static void mailbox_bound_holds(void **state)
{
    (void)state;
    for (uint64_t own = 0; own < 2; own++) {
        struct runtime_options options = options_default;
        options.mailbox_messages_max = 1000;
        struct runtime *runtime = runtime_new(&options, house_view());
        struct gate gate = {.to_self = own * 1500};
        sem_init(&gate.entered, 0, 0);
        sem_init(&gate.open, 0, 0);
        actor_init(&gate.actor, &gate_class, house_id(ACTOR_GOSSIP, 0));
        runtime_add_actor(runtime, &gate.actor, NULL, "gate");
        runtime_start(runtime);
        runtime_thread_register();
        struct runtime_wakes wakes = {0};
        assert_true(runtime_post(runtime, house_message(gate.actor.id, 0, 0), &wakes));
        runtime_wake(runtime, &wakes);
        house_wait(&gate.entered);
        uint64_t accepted = 0;
        for (uint64_t i = 0; own == 0 && i < 1500; i++)
            accepted += runtime_post(runtime, house_message(gate.actor.id, 0, i), &wakes);
        runtime_wake(runtime, &wakes);
        sem_post(&gate.open);
        runtime_stop(runtime);
        struct mailbox_figures figures;
        assert_int_equal(runtime_mailbox_figures(runtime, &figures, 1), 1);
        assert_int_equal(accepted, own == 0 ? 1000 : 0);
        assert_int_equal(figures.posted, 1001);
        assert_int_equal(figures.dropped, 500);
        assert_int_equal(figures.depth_max, 1000);
        assert_int_equal(figures.depth, 0);
        assert_int_equal(gate.handled, 1001);
        assert_string_equal(figures.thread_name, "gate");
        runtime_thread_unregister();
        runtime_free(runtime);
        sem_destroy(&gate.entered);
        sem_destroy(&gate.open);
    }
}

/* -- views
 * ---------------------------------------------------------------------------------------- */

struct witness {
    struct actor actor;
    uint64_t version; /* of the view in its last step */
    sem_t stepped;
};

static void witness_handle(struct actor *actor, struct actor_context *ctx, struct message *message)
{
    struct witness *witness = (struct witness *)actor;
    witness->version = ctx->view->version;
    message_free(message);
    sem_post(&witness->stepped);
}

static const struct actor_class witness_class = {.name = "witness", .handle = witness_handle};

/* runner.h, view: what comes in after a view was published is stepped with it, also on a thread
 * that is in the middle of its round. */
static void no_step_with_a_view_from_before_its_message(void **state)
{
    (void)state;
    struct runtime *runtime = runtime_new(&options_default, house_view());
    struct gate gate = {0};
    struct witness witness = {0};
    sem_init(&gate.entered, 0, 0);
    sem_init(&gate.open, 0, 0);
    sem_init(&witness.stepped, 0, 0);
    actor_init(&gate.actor, &gate_class, house_id(ACTOR_GOSSIP, 0));
    actor_init(&witness.actor, &witness_class, house_id(ACTOR_COORDINATOR, 0));
    runtime_add_actor(runtime, &gate.actor, NULL, "both");
    runtime_add_actor(runtime, &witness.actor, NULL, "both");
    runtime_start(runtime);
    runtime_thread_register();
    struct runtime_wakes wakes = {0};
    assert_true(runtime_post(runtime, house_message(gate.actor.id, 0, 0), &wakes));
    runtime_wake(runtime, &wakes);
    house_wait(&gate.entered);
    struct view *view = house_view();
    view->version = 7;
    runtime_publish(runtime, view);
    assert_true(runtime_post(runtime, house_message(witness.actor.id, 0, 0), &wakes));
    sem_post(&gate.open);
    runtime_wake(runtime, &wakes);
    house_wait(&witness.stepped);
    runtime_stop(runtime);
    assert_int_equal(witness.version, 7);
    runtime_thread_unregister();
    runtime_free(runtime);
    sem_destroy(&gate.entered);
    sem_destroy(&gate.open);
    sem_destroy(&witness.stepped);
}

/* -- routes ------------------------------------------------------------------------------------ */

struct counting {
    struct actor actor;
    _Atomic uint64_t handled;
    char thread_name[RUNNER_NAME_BYTES];
    bool signals_blocked;
    uint64_t draw;
};

static void counting_handle(struct actor *actor, struct actor_context *ctx, struct message *message)
{
    struct counting *self = (struct counting *)actor;
    if (atomic_fetch_add(&self->handled, 1) == 0) {
        sigset_t mask;
        pthread_sigmask(SIG_SETMASK, NULL, &mask);
        self->signals_blocked = sigismember(&mask, SIGTERM) == 1 && sigismember(&mask, SIGHUP) == 1;
        pthread_getname_np(pthread_self(), self->thread_name, sizeof self->thread_name);
        self->draw = prng_u64(ctx->prng);
    }
    message_free(message);
}

static const struct actor_class counting_class = {.name = "counting", .handle = counting_handle};

static void post_partition(struct runtime *runtime, uint32_t partition, struct runtime_wakes *wakes)
{
    struct message *message = message_new(MESSAGE_replica_read, 0);
    message->to = house_id(ACTOR_REPLICA, 0); /* what a peer says that knows no shards of ours */
    message->replica_read.partition = partition;
    CHECK(runtime_post(runtime, message, wakes));
}

/* A replica request goes to the shard of its partition; store_committed to its index; a forward_put
 * to some coordinator; what nobody here can take is counted and freed. */
static void routes_by_partition_and_index(void **state)
{
    (void)state;
    struct runtime *runtime = runtime_new(&options_default, house_view());
    struct counting shards[3] = {0};
    for (uint32_t i = 0; i < 3; i++) {
        actor_init(&shards[i].actor, &counting_class, house_id(ACTOR_REPLICA, i));
        runtime_add_actor(runtime, &shards[i].actor, NULL,
                          i < 2 ? "replica" : "a_very_long_thread_name");
    }
    struct counting coordinators[2] = {0};
    for (uint32_t i = 0; i < 2; i++) {
        actor_init(&coordinators[i].actor, &counting_class, house_id(ACTOR_COORDINATOR, i));
        runtime_add_actor(runtime, &coordinators[i].actor, NULL, "coordinator");
    }
    assert_int_equal(runtime_shards(runtime), 3);
    assert_int_equal(runtime_coordinators(runtime), 2);
    runtime_start(runtime);
    runtime_thread_register();
    struct runtime_wakes wakes = {0};
    for (uint32_t partition = 0; partition < 8; partition++)
        post_partition(runtime, partition, &wakes); /* 0 3 6, 1 4 7, 2 5 */
    assert_true(runtime_post(runtime, house_message(house_id(ACTOR_REPLICA, 2), 0, 0), &wakes));
    struct message *forward = message_new(MESSAGE_forward_put, 0);
    forward->to = house_id(ACTOR_COORDINATOR, 5);
    assert_true(runtime_post(runtime, forward, &wakes));
    assert_false(runtime_post(runtime, house_message(house_id(ACTOR_REPLICA, 3), 0, 0), &wakes));
    assert_false(runtime_post(runtime, house_message(house_id(ACTOR_GOSSIP, 0), 0, 0), &wakes));
    struct message *hostile = house_message(house_id(ACTOR_GOSSIP, 255), 0, 0);
    hostile->to.kind = 200;
    assert_false(runtime_post(runtime, hostile, &wakes));
    assert_int_equal(runtime_undeliverable(runtime), 3);
    runtime_wake(runtime, &wakes);
    runtime_stop(runtime);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(shards[i].handled, 3);
    assert_int_equal(coordinators[0].handled, 0);
    assert_int_equal(coordinators[1].handled, 1);
    /* Named threads, signals blocked in them, a stream of random numbers for each actor. */
    assert_string_equal(shards[0].thread_name, "replica");
    assert_string_equal(shards[2].thread_name, "a_very_long_thr");
    assert_true(shards[0].signals_blocked);
    assert_int_not_equal(shards[0].draw, shards[1].draw);
    assert_int_not_equal(shards[0].draw, coordinators[1].draw);
    runtime_thread_unregister();
    runtime_free(runtime);
}

/* -- the store's part -------------------------------------------------------------------------- */

struct submit_store {
    struct store store;
    uint64_t submits;
};

static void store_count_submit(struct store *store)
{
    ((struct submit_store *)store)->submits++;
}

static const struct store_class submit_class = {.name = "submits", .submit = store_count_submit};

/* store.h: submitted once after each drained batch, and only by actors that were stepped. */
static void store_is_submitted_once_a_batch(void **state)
{
    (void)state;
    struct runtime *runtime = runtime_new(&options_default, house_view());
    struct submit_store busy = {.store = {.class = &submit_class}};
    struct submit_store idle = {.store = {.class = &submit_class}};
    struct counting shards[3] = {0};
    for (uint32_t i = 0; i < 3; i++) {
        actor_init(&shards[i].actor, &counting_class, house_id(ACTOR_REPLICA, i));
        runtime_add_actor(runtime, &shards[i].actor, i < 2 ? &busy.store : &idle.store, "replica");
    }
    runtime_thread_register();
    struct runtime_wakes wakes = {0};
    for (uint64_t i = 0; i < 100; i++)
        assert_true(
            runtime_post(runtime, house_message(house_id(ACTOR_REPLICA, i % 2), 0, i), &wakes));
    runtime_start(runtime); /* finds all of it in one round */
    runtime_stop(runtime);
    assert_int_equal(shards[0].handled + shards[1].handled, 100);
    assert_int_equal(busy.submits, 1);
    assert_int_equal(idle.submits, 0);
    runtime_thread_unregister();
    runtime_free(runtime);
}

/* -- stop -------------------------------------------------------------------------------------- */

/* What lies in the mailboxes is worked off, though nobody was ever woken for it. */
static void stop_drains_mail(void **state)
{
    (void)state;
    struct runtime *runtime = runtime_new(&options_default, house_view());
    struct counting actor = {0};
    actor_init(&actor.actor, &counting_class, house_id(ACTOR_GOSSIP, 0));
    runtime_add_actor(runtime, &actor.actor, NULL, "gossip");
    runtime_start(runtime);
    runtime_thread_register();
    struct runtime_wakes never_woken = {0};
    for (uint64_t i = 0; i < 10000; i++)
        assert_true(runtime_post(runtime, house_message(actor.actor.id, 0, i), &never_woken));
    runtime_thread_unregister();
    runtime_stop(runtime);
    assert_int_equal(actor.handled, 10000);
    runtime_free(runtime);
}

static void echo_handle(struct actor *actor, struct actor_context *ctx, struct message *message)
{
    struct message *reply = message_new(MESSAGE_store_committed, 5000);
    arena_alloc(&reply->arena, 9000);
    reply->to = message->from;
    outbox_send(ctx, actor, reply);
    message_free(message);
}

static const struct actor_class echo_class = {.name = "echo", .handle = echo_handle};

/* Two actors that never stop writing to each other: stop ends, and nothing leaks (LeakSanitizer).
 */
static void stop_with_mail_in_flight(void **state)
{
    (void)state;
    struct runtime *runtime = runtime_new(&options_default, house_view());
    struct actor echoes[2];
    for (uint32_t i = 0; i < 2; i++) {
        actor_init(&echoes[i], &echo_class, house_id(ACTOR_COORDINATOR, i));
        runtime_add_actor(runtime, &echoes[i], NULL, i == 0 ? "echo0" : "echo1");
    }
    runtime_start(runtime);
    runtime_thread_register();
    struct runtime_wakes wakes = {0};
    for (uint64_t i = 0; i < 300; i++) {
        struct message *message = house_message(echoes[i % 2].id, 0, i);
        message->from = echoes[1 - i % 2].id;
        assert_true(runtime_post(runtime, message, &wakes));
    }
    runtime_wake(runtime, &wakes);
    runtime_thread_unregister();
    uint64_t before_ns = runtime_now_ns();
    runtime_stop(runtime);
    assert_true(runtime_now_ns() - before_ns < UINT64_C(20000000000));
    assert_true(house_totals(runtime).posted > 300);
    assert_int_equal(house_totals(runtime).depth, 0);
    runtime_free(runtime);
}

/* A runtime that never started frees what was posted. */
static void free_without_start(void **state)
{
    (void)state;
    struct runtime *runtime = runtime_new(&options_default, house_view());
    struct counting actor = {0};
    actor_init(&actor.actor, &counting_class, house_id(ACTOR_GOSSIP, 0));
    runtime_add_actor(runtime, &actor.actor, NULL, "gossip");
    runtime_thread_register();
    struct runtime_wakes wakes = {0};
    assert_true(runtime_post(runtime, house_message(actor.actor.id, 0, 0), &wakes));
    runtime_thread_unregister();
    runtime_free(runtime);
    runtime_free(NULL);
    assert_int_equal(actor.handled, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(delivers_once_in_order_to_the_edge),
        cmocka_unit_test(delivers_once_in_order_to_another_node),
        cmocka_unit_test(mailbox_bound_holds),
        cmocka_unit_test(no_step_with_a_view_from_before_its_message),
        cmocka_unit_test(routes_by_partition_and_index),
        cmocka_unit_test(store_is_submitted_once_a_batch),
        cmocka_unit_test(stop_drains_mail),
        cmocka_unit_test(stop_with_mail_in_flight),
        cmocka_unit_test(free_without_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
