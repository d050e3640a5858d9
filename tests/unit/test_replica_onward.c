// link: coterie_actors coterie_store
/* Rules of replica_mint.via and replica_write.onward (actors/message.h): one copy of a write goes
 * to another data centre, and from there on to the others in it; each answers the coordinator. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/replica_bench.h"

#define SIBLINGS KEYSPACE_TEST_SIBLINGS
#define EPOCH    7u

/* A mint's targets that others pass the write on to are sent nothing from here. */
static void mint_names_who_passes_on(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    struct message *message = mint_message(&b, SIBLINGS, "key", "value", NULL);
    struct replica_mint *mint = &message->replica_mint;
    mint->target_count = 5;
    for (uint32_t i = 0; i < 5; i++)
        mint->targets[i] = 10 + i;
    mint->via[2] = mint->via[4] = 1 + 3; /* 13 passes it on to 12 and 14 */
    fixture_handle(&b.f, message);
    static const uint32_t sent[] = {10, 11, 13};
    for (uint32_t i = 0; i < ARRAY_COUNT(sent); i++) {
        message = fixture_take(&b.f, MESSAGE_replica_write);
        assert_int_equal(message->to.node, sent[i]);
        assert_int_equal(message->replica_write.answer_to, MEMBER_NONE);
        assert_int_equal(message->replica_write.onward_count, i == 2 ? 2 : 0);
        if (i == 2) {
            assert_int_equal(message->replica_write.onward[0], 12);
            assert_int_equal(message->replica_write.onward[1], 14);
        }
        message_free(message);
    }
    fixture_silent(&b.f);
    bench_deinit(&b);
}

static struct message *write_message(struct bench *b, struct bytes record)
{
    struct message *message = message_new(MESSAGE_replica_write, 0);
    message->id = 77;
    message->from = (struct actor_id){.node = 9, .kind = ACTOR_COORDINATOR, .index = 3};
    message->epoch = EPOCH;
    message->deadline_ns = b->f.ctx.now_ns + 100 * MS;
    message->replica_write = (struct replica_write){
        .keyspace_id = b->f.keyspace_ids[SIBLINGS],
        .key = bytes_of_string("key"),
        .record = record,
        .partition = test_partition(&b->f, SIBLINGS, "key"),
        .request_id = bytes_of_string("0123456789abcdef"),
        .request_context = bytes_of_string("context"),
        .onward_count = 2,
        .onward = {2, 3},
    };
    return message;
}

static struct bytes record_of_another(struct bench *b)
{
    struct bench other;
    bench_init(&other);
    struct minted minted = mint(&other, SIBLINGS, "key", "value", NULL);
    struct bytes record = record_encode(&b->f.arena, b->f.keyspace_ids[SIBLINGS],
                                        bytes_of_string("key"), &minted.set);
    bench_deinit(&other);
    return record;
}

static void check_passed_on(struct bench *b, struct bytes record)
{
    for (uint32_t i = 0; i < 2; i++) {
        struct message *message = fixture_take(&b->f, MESSAGE_replica_write);
        const struct replica_write *write = &message->replica_write;
        assert_int_equal(message->to.node, 2 + i);
        assert_int_equal(message->to.kind, ACTOR_REPLICA);
        /* Its link would say so anyway. */
        assert_int_equal(message->from.node, SELF);
        assert_int_equal(message->from.kind, ACTOR_COORDINATOR);
        assert_int_equal(message->from.index, 3);
        assert_int_equal(message->id, 77);
        assert_int_equal(message->epoch, EPOCH);
        assert_int_equal(message->deadline_ns, b->f.ctx.now_ns + 100 * MS);
        assert_int_equal(write->answer_to, 9);
        assert_int_equal(write->onward_count, 0); /* once, never round and round */
        assert_true(bytes_equal(write->record, record));
        assert_true(bytes_equal(write->key, bytes_of_string("key")));
        assert_true(bytes_equal(write->request_id, bytes_of_string("0123456789abcdef")));
        assert_true(bytes_equal(write->request_context, bytes_of_string("context")));
        /* Nobody here hears of it when it cannot be sent. */
        assert_null(message_new_undelivered(message));
        message_free(message);
    }
}

/* It goes on at once, before it is durable here, and also when it cannot be taken here; our own
 * answer is as ever. */
static void write_goes_on(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    struct bytes record = record_of_another(&b);
    fixture_handle(&b.f, write_message(&b, record));
    check_passed_on(&b, record);
    fixture_silent(&b.f);
    fixture_sync(&b.f);
    struct message *reply = fixture_take(&b.f, MESSAGE_replica_write_reply);
    assert_int_equal(reply->replica_write_reply.status, OK);
    assert_int_equal(reply->to.node, 9);
    assert_int_equal(reply->to.index, 3);
    message_free(reply);

    struct message *message = write_message(&b, record);
    message->replica_write.keyspace_id = b.f.keyspace_ids[KEYSPACE_TEST_STRONG];
    fixture_handle(&b.f, message);
    check_passed_on(&b, record);
    reply = fixture_take(&b.f, MESSAGE_replica_write_reply);
    assert_int_equal(reply->replica_write_reply.status, ERR_PRECONDITION);
    message_free(reply);
    assert_int_equal(counter_get(&replica_figures(b.replica)->passed_on), 4);

    /* Not when nobody waits for it any more. */
    message = write_message(&b, record);
    message->deadline_ns = b.f.ctx.now_ns;
    fixture_handle(&b.f, message);
    reply = fixture_take(&b.f, MESSAGE_replica_write_reply);
    assert_int_equal(reply->replica_write_reply.status, ERR_TIMEOUT);
    message_free(reply);
    fixture_silent(&b.f);
    bench_deinit(&b);
}

/* What was passed on is answered to the coordinator that it came from, not to who passed it on. */
static void answer_goes_to_the_coordinator(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    struct message *message = write_message(&b, record_of_another(&b));
    message->from.node = 2;
    message->replica_write.onward_count = 0;
    message->replica_write.answer_to = 9;
    fixture_handle(&b.f, message);
    fixture_silent(&b.f);
    fixture_sync(&b.f);
    struct message *reply = fixture_take(&b.f, MESSAGE_replica_write_reply);
    assert_int_equal(reply->replica_write_reply.status, OK);
    assert_int_equal(reply->id, 77);
    assert_int_equal(reply->from.node, SELF);
    assert_int_equal(reply->to.node, 9);
    assert_int_equal(reply->to.kind, ACTOR_COORDINATOR);
    assert_int_equal(reply->to.index, 3);
    message_free(reply);
    fixture_silent(&b.f);
    bench_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mint_names_who_passes_on),
        cmocka_unit_test(write_goes_on),
        cmocka_unit_test(answer_goes_to_the_coordinator),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
