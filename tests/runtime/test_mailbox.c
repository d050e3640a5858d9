// link: coterie_runtime
/* Rules of actors/runtime/mailbox.h and node_pool.h, without any runner. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "actors/runtime/mailbox.h"
#include "tests/runtime/house.h"

#include <sched.h>

static struct mailbox *mailbox_new(uint32_t messages_max)
{
    struct mailbox *mailbox = aligned_alloc(CACHE_LINE_BYTES, sizeof *mailbox);
    CHECK(mailbox != NULL);
    mailbox_init(mailbox, messages_max);
    return mailbox;
}

static void mailbox_free(struct mailbox *mailbox)
{
    mailbox_deinit(mailbox);
    rcu_drain();
    free(mailbox);
}

/* First in, first out; own mail keeps an order of its own; `max` holds for both. */
static void drains_in_order_and_bounded(void **state)
{
    (void)state;
    runtime_thread_register();
    struct mailbox *mailbox = mailbox_new(100);
    for (uint64_t i = 0; i < 10; i++) {
        assert_true(mailbox_post(mailbox, house_message(house_id(ACTOR_GOSSIP, 0), i, 0)));
        assert_true(mailbox_post_own(mailbox, house_message(house_id(ACTOR_GOSSIP, 0), i, 1)));
    }
    assert_true(mailbox_has_mail(mailbox));
    uint64_t next[2] = {0};
    static const uint32_t batches[] = {6, 6, 6, 2, 0};
    for (size_t i = 0; i < ARRAY_COUNT(batches); i++) {
        struct message_list list = {0};
        assert_int_equal(mailbox_drain(mailbox, 3, &list), batches[i]);
        assert_int_equal(list.count, batches[i]);
        for (struct message *message; (message = message_list_take(&list)) != NULL;) {
            assert_int_equal(message->id, next[message->store_committed.sequence]);
            next[message->store_committed.sequence]++;
            message_free(message);
        }
    }
    assert_int_equal(next[0], 10);
    assert_int_equal(next[1], 10);
    assert_false(mailbox_has_mail(mailbox));
    assert_int_equal(counter_get(&mailbox->drained_batches), 4);
    mailbox_free(mailbox);
    runtime_thread_unregister();
}

/* Over the bound: refused, counted, still the caller's. Own mail counts as well. */
static void refuses_over_the_bound(void **state)
{
    (void)state;
    runtime_thread_register();
    struct mailbox *mailbox = mailbox_new(5);
    struct actor_id to = house_id(ACTOR_GOSSIP, 0);
    for (uint64_t i = 0; i < 5; i++) {
        struct message *message = house_message(to, i, 0);
        assert_true(i % 2 == 0 ? mailbox_post(mailbox, message)
                               : mailbox_post_own(mailbox, message));
    }
    struct message *over = house_message(to, 5, 0);
    assert_false(mailbox_post(mailbox, over));
    assert_false(mailbox_post_own(mailbox, over));
    assert_int_equal(mailbox->depth, 5);
    assert_int_equal(mailbox->depth_max, 5);
    assert_int_equal(mailbox->posted, 5);
    assert_int_equal(mailbox->dropped, 2);
    struct message_list list = {0};
    assert_int_equal(mailbox_drain(mailbox, 1, &list), 2);
    assert_true(mailbox_post(mailbox, over));
    assert_int_equal(mailbox->depth, 4);
    message_list_free(&list);
    mailbox_free(mailbox); /* with 4 messages in it: freed */
    runtime_thread_unregister();
}

#define PRODUCERS 4u
#define OFFERS    250000u

struct crowd {
    struct mailbox *mailbox;
    _Atomic uint32_t running;
    struct {
        _Atomic uint64_t accepted;
        _Atomic uint64_t refused;
    } producers[PRODUCERS];
};

struct producer {
    struct crowd *crowd;
    uint32_t index;
};

static void *producer_main(void *argument)
{
    struct producer *self = argument;
    struct crowd *crowd = self->crowd;
    runtime_thread_register();
    for (uint64_t i = 0; i < OFFERS; i++) {
        /* Numbers only what is accepted, so that the consumer can tell a gap. */
        uint64_t sequence = atomic_load(&crowd->producers[self->index].accepted);
        struct message *message = house_message(house_id(ACTOR_GOSSIP, 0), self->index, sequence);
        if (mailbox_post(crowd->mailbox, message)) {
            atomic_store(&crowd->producers[self->index].accepted, sequence + 1);
        } else {
            message_free(message);
            atomic_fetch_add(&crowd->producers[self->index].refused, 1);
            sched_yield();
        }
    }
    runtime_thread_unregister();
    atomic_fetch_sub(&crowd->running, 1);
    return NULL;
}

/* A million offers into a mailbox so small that it is nearly always full: what is accepted arrives
 * once, in each producer's order; what is refused is counted; the bound is never exceeded. */
static void many_producers_lose_nothing(void **state)
{
    (void)state;
    runtime_thread_register();
    struct crowd crowd = {.mailbox = mailbox_new(64), .running = PRODUCERS};
    struct producer producers[PRODUCERS];
    pthread_t threads[PRODUCERS];
    for (uint32_t i = 0; i < PRODUCERS; i++) {
        producers[i] = (struct producer){.crowd = &crowd, .index = i};
        threads[i] = house_thread(producer_main, &producers[i]);
    }
    uint64_t next[PRODUCERS] = {0};
    uint64_t taken = 0;
    for (bool last = false; !last;) {
        last = atomic_load(&crowd.running) == 0; /* then one more look */
        struct message_list list = {0};
        while (mailbox_drain(crowd.mailbox, 32, &list) != 0) {
            assert_true(list.count <= 64);
            for (struct message *message; (message = message_list_take(&list)) != NULL;) {
                assert_int_equal(message->store_committed.sequence, next[message->id]);
                next[message->id]++;
                taken++;
                message_free(message);
            }
        }
        sched_yield();
    }
    uint64_t refused = 0;
    for (uint32_t i = 0; i < PRODUCERS; i++) {
        house_join(threads[i]);
        assert_int_equal(next[i], crowd.producers[i].accepted);
        refused += crowd.producers[i].refused;
    }
    assert_int_equal(taken + refused, (uint64_t)PRODUCERS * OFFERS);
    assert_true(refused > 0);
    assert_int_equal(crowd.mailbox->posted, taken);
    assert_int_equal(crowd.mailbox->dropped, refused);
    assert_true(crowd.mailbox->depth_max <= 64);
    assert_int_equal(crowd.mailbox->depth, 0);
    print_message("taken %llu refused %llu nodes %llu\n", (unsigned long long)taken,
                  (unsigned long long)refused, (unsigned long long)node_pool_size());
    mailbox_free(crowd.mailbox);
    runtime_thread_unregister();
}

#define NODES 2000u

static void *recycle_main(void *argument)
{
    struct queue_node **taken = argument;
    runtime_thread_register();
    struct node_batch batch = {0};
    for (uint32_t i = 0; i < NODES; i++)
        taken[i] = node_pool_take();
    for (uint32_t i = 0; i < NODES; i++)
        node_batch_add(&batch, taken[i]);
    node_batch_retire(&batch);
    runtime_thread_unregister();
    return NULL;
}

static void recycle(struct queue_node **ret_taken)
{
    house_join(house_thread(recycle_main, ret_taken));
}

static uint32_t common_count(struct queue_node **a, struct queue_node **b)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < NODES; i++) {
        for (uint32_t j = 0; j < NODES; j++)
            count += a[i] == b[j];
    }
    return count;
}

/* node_pool.h: a node may be used again only when every reader of the time it left its queue is
 * gone; then it is used again. */
static void nodes_come_back_after_a_grace_period(void **state)
{
    (void)state;
    static struct queue_node *first[NODES];
    static struct queue_node *second[NODES];
    runtime_thread_register();
    rcu_lock();
    recycle(first);
    recycle(second);
    assert_int_equal(common_count(first, second), 0);
    rcu_unlock();
    rcu_drain();
    uint64_t size = node_pool_size();
    for (uint32_t i = 0; i < 20; i++) {
        recycle(first);
        rcu_drain();
    }
    assert_int_equal(node_pool_size(), size);
    runtime_thread_unregister();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(drains_in_order_and_bounded),
        cmocka_unit_test(refuses_over_the_bound),
        cmocka_unit_test(many_producers_lose_nothing),
        cmocka_unit_test(nodes_come_back_after_a_grace_period),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
