// link: coterie_actors coterie_store
/* Rules of model/hint_gate.h as a replica keeps them (RELIABILITY 2.4, rule 22): an answer to a
 * hint grants what its sender may have under way, over the bound hints are refused, foreground work
 * that is refused ends all grants for a while. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model/hint_gate.h"
#include "tests/unit/replica_bench.h"

#define SIBLINGS KEYSPACE_TEST_SIBLINGS

static void bench_init_with_room(struct bench *b, uint32_t held_max)
{
    bench_init(b);
    replica_free(b->replica);
    struct replica_options options = {.self = SELF, .shards = 1, .held_max = held_max};
    b->replica = replica_new(&options, &b->boot);
    b->f.actor = replica_actor(b->replica);
}

static struct bytes some_record(struct bench *b, const char *key, uint64_t epoch)
{
    struct version_set set = test_write(&b->f, &(struct version_set){0}, NULL, 2, epoch, "v");
    return test_record(&b->f, SIBLINGS, key, &set);
}

static struct replica_write_reply take_reply(struct bench *b)
{
    struct message *message = fixture_take(&b->f, MESSAGE_replica_write_reply);
    struct replica_write_reply reply = message->replica_write_reply;
    message_free(message);
    return reply;
}

/* Granted when the answer leaves, which is when the hint is durable; others are granted nothing. */
static void answers_grant(void **state)
{
    (void)state;
    struct bench b;
    bench_init_with_room(&b, 1000);
    send_write(&b, SIBLINGS, "k", some_record(&b, "k", 7), WRITE_HINT);
    fixture_silent(&b.f);
    fixture_sync(&b.f);
    struct replica_write_reply reply = take_reply(&b);
    assert_int_equal(reply.status, OK);
    assert_int_equal(reply.credit, hint_gate_options_default().under_way_max);
    send_write(&b, SIBLINGS, "k", some_record(&b, "k", 7), WRITE_HINT); /* nothing new: at once */
    reply = take_reply(&b);
    assert_int_equal(reply.credit, hint_gate_options_default().under_way_max);
    send_write(&b, SIBLINGS, "k", some_record(&b, "k", 8), WRITE_REPLICATE);
    fixture_sync(&b.f);
    assert_int_equal(take_reply(&b).credit, 0);
    bench_deinit(&b);
}

/* As many as there is room for, the rest is refused before anything is read or staged; what is
 * answered makes room, whatever the answer was. */
static void no_more_than_the_bound(void **state)
{
    (void)state;
    struct bench b;
    bench_init_with_room(&b, 1000);
    uint32_t bound = hint_gate_options_default().under_way_max;
    for (uint32_t round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < bound; i++)
            send_write(&b, SIBLINGS, "k", some_record(&b, "k", 10 + i + round * bound), WRITE_HINT);
        fixture_silent(&b.f);
        uint64_t staged = store_staged(b.f.ctx.store);
        send_write(&b, SIBLINGS, "l", some_record(&b, "l", 7), WRITE_HINT);
        struct replica_write_reply reply = take_reply(&b);
        assert_int_equal(reply.status, ERR_OVERLOADED);
        assert_true(reply.credit > 0); /* there will be room soon */
        assert_int_equal(store_staged(b.f.ctx.store), staged);
        fixture_sync(&b.f);
        for (uint32_t i = 0; i < bound; i++)
            assert_int_equal(take_reply(&b).status, OK);
    }
    for (uint32_t i = 0; i < 2 * bound; i++) {
        send_write(&b, SIBLINGS, "other", some_record(&b, "k", 7), WRITE_HINT);
        assert_int_equal(take_reply(&b).status, ERR_CORRUPT);
    }
    bench_deinit(&b);
}

/* While the foreground is refused, and a second on, hints are granted nothing. */
static void the_foreground_is_refused(void **state)
{
    (void)state;
    struct bench b;
    bench_init_with_room(&b, 8);
    for (uint32_t i = 0; i < 8; i++)
        send_write(&b, SIBLINGS, "k", some_record(&b, "k", 10 + i), WRITE_REPLICATE);
    send_write(&b, SIBLINGS, "k", some_record(&b, "k", 9), WRITE_REPLICATE);
    assert_int_equal(take_reply(&b).status, ERR_OVERLOADED);
    fixture_sync(&b.f);
    for (uint32_t i = 0; i < 8; i++)
        assert_int_equal(take_reply(&b).status, OK);
    b.f.ctx.now_ns += 900 * MS;
    send_write(&b, SIBLINGS, "k", some_record(&b, "k", 10), WRITE_HINT);
    struct replica_write_reply reply = take_reply(&b);
    assert_int_equal(reply.status, OK);
    assert_int_equal(reply.credit, 0);
    b.f.ctx.now_ns += 200 * MS;
    send_write(&b, SIBLINGS, "k", some_record(&b, "k", 10), WRITE_HINT);
    assert_true(take_reply(&b).credit > 0);
    bench_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_grant),
        cmocka_unit_test(no_more_than_the_bound),
        cmocka_unit_test(the_foreground_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
