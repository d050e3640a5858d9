// link: coterie_actors coterie_store
/* Rules of actors/gossip_log.h about one voter: what it has promised and accepted is durable before
 * it is said and is kept over crashes; one that has forgotten recalls it from the others first. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/gossip_bench.h"

#define LEAP ((uint64_t)1 << 32)

static struct ballot ballot_of(uint64_t counter, uint32_t member)
{
    return (struct ballot){.counter = counter, .member = member, .incarnation = 1};
}

/* The document of the epoch after `before`, in which member 1 has that address. */
static struct bytes document_after(struct bench *b, const struct topology *before,
                                   const char *address, struct topology *ret_next)
{
    struct topology_operation operation = {.kind = TOPOLOGY_ADDRESS, .member = 1};
    uint32_t number = 0;
    const char *why = NULL;
    snprintf(operation.address, sizeof operation.address, "%s", address);
    assert_int_equal(
        topology_operate(&b->f.arena, before, &b->f.map, &operation, ret_next, &number, &why), OK);
    return topology_encode(&b->f.arena, ret_next);
}

static void send_prepare(struct bench *b, uint32_t from, uint64_t epoch, struct ballot ballot)
{
    struct message *message = message_new(MESSAGE_topology_prepare, 0);
    message->from = actor_id_of(from, ACTOR_GOSSIP);
    message->id = 3;
    message->topology_prepare = (struct topology_prepare){.epoch = epoch, .ballot = ballot};
    fixture_handle(&b->f, message);
}

static void send_accept(struct bench *b, uint32_t from, uint64_t epoch, struct ballot ballot,
                        struct bytes value)
{
    struct message *message = message_new(MESSAGE_topology_accept, value.size);
    message->from = actor_id_of(from, ACTOR_GOSSIP);
    message->id = 4;
    message->topology_accept = (struct topology_accept){
        .epoch = epoch, .ballot = ballot, .value = arena_copy(&message->arena, value)};
    fixture_handle(&b->f, message);
}

static void send_document(struct bench *b, uint32_t from, struct bytes document)
{
    struct message *message = message_new(MESSAGE_topology_document, document.size);
    message->from = actor_id_of(from, ACTOR_GOSSIP);
    message->topology_document.document = arena_copy(&message->arena, document);
    fixture_handle(&b->f, message);
    fixture_sync(&b->f);
    bench_views(b);
    message_free(fixture_take(&b->f, MESSAGE_topology_document_reply));
}

static struct topology_prepare_reply prepared(struct bench *b)
{
    struct message *message = fixture_take(&b->f, MESSAGE_topology_prepare_reply);
    struct topology_prepare_reply reply = message->topology_prepare_reply;
    reply.value = arena_copy(&b->f.arena, reply.value);
    message_free(message);
    return reply;
}

static struct topology_accept_reply accepted(struct bench *b)
{
    struct message *message = fixture_take(&b->f, MESSAGE_topology_accept_reply);
    struct topology_accept_reply reply = message->topology_accept_reply;
    message_free(message);
    return reply;
}

/* Power is cut, and it starts again with the document that is in force. */
static void crash(struct bench *b)
{
    struct topology topology;
    topology_copy(&b->f.arena, &b->view->topology, &topology);
    bench_stop(b);
    fixture_crash(&b->f, false);
    b->f.topology = topology;
    bench_start(b, &b->f.map);
}

/* -- the slot
 * ------------------------------------------------------------------------------------------- */

/* gossip_log.h: durable before it is said; nothing below a promise; a crash takes back only what
 * was not said. */
static void said_when_durable(void **state)
{
    (void)state;
    struct bench b;
    struct topology next;
    bench_init(&b, 1, 3);
    struct bytes value = document_after(&b, &b.f.topology, "10.0.0.1:1", &next);
    send_prepare(&b, 2, 2, ballot_of(5, 2));
    fixture_silent(&b.f);
    crash(&b); /* it was not said */
    send_prepare(&b, 3, 2, ballot_of(4, 3));
    fixture_sync(&b.f);
    assert_true(prepared(&b).agreed);
    crash(&b);
    send_prepare(&b, 2, 2, ballot_of(3, 2));
    struct topology_prepare_reply refused = prepared(&b); /* at once: nothing is written */
    assert_int_equal(refused.status, OK);
    assert_false(refused.agreed);
    assert_int_equal(refused.conflict.counter, 4);
    send_accept(&b, 3, 2, ballot_of(4, 3), value);
    fixture_silent(&b.f);
    fixture_sync(&b.f);
    assert_true(accepted(&b).agreed);
    crash(&b);
    send_prepare(&b, 2, 2, ballot_of(9, 2));
    fixture_sync(&b.f);
    struct topology_prepare_reply reply = prepared(&b);
    assert_true(reply.agreed);
    assert_int_equal(reply.accepted.counter, 4);
    assert_true(bytes_equal(reply.value, value));
    bench_deinit(&b);
}

/* gossip_log.h: about an epoch that it has: STALE_EPOCH, and the document; about one that it cannot
 * know yet: UNAVAILABLE, and it asks. A slot of the past is void. */
static void other_epochs(void **state)
{
    (void)state;
    struct bench b;
    struct topology second;
    bench_init(&b, 1, 3);
    struct bytes value = document_after(&b, &b.f.topology, "10.0.0.1:1", &second);
    send_prepare(&b, 2, 3, ballot_of(1, 2));
    struct message *fetch = fixture_take(&b.f, MESSAGE_topology_fetch);
    assert_int_equal(fetch->to.node, 2);
    message_free(fetch);
    assert_int_equal(prepared(&b).status, ERR_UNAVAILABLE);
    send_accept(&b, 2, 2, ballot_of(7, 2), value);
    fixture_sync(&b.f);
    assert_true(accepted(&b).agreed);
    send_document(&b, 2, value);
    assert_int_equal(b.view->topology.epoch, 2);
    for (int again = 0; again < 2; again++) {
        b.f.ctx.now_ns += 100 * MS;
        send_prepare(&b, 2, 2, ballot_of(8, 2));
        struct message *told = fixture_take(&b.f, MESSAGE_topology_document);
        assert_true(bytes_equal(told->topology_document.document, value));
        message_free(told);
        assert_int_equal(prepared(&b).status, ERR_STALE_EPOCH);
        send_prepare(&b, 3, 3, ballot_of(1 + (uint64_t)again, 3));
        fixture_sync(&b.f);
        struct topology_prepare_reply reply = prepared(&b);
        assert_true(reply.agreed);
        assert_int_equal(reply.accepted.counter, 0); /* of epoch 2 it was */
        crash(&b);
    }
    /* What is no document of that epoch is not accepted. */
    send_accept(&b, 2, 3, ballot_of(9, 2), value);
    assert_int_equal(accepted(&b).status, ERR_INVALID);
    bench_deinit(&b);
}

/* -- a voter that has forgotten
 * ---------------------------------------------------------------------------------- */

static void bench_init_forgetful(struct bench *b, uint32_t members)
{
    bench_init(b, 1, members);
    assert_int_equal(store_put(engine_store(b->f.engine, HANDLE_BOOT), STORE_META,
                               bytes_of_string(META_FORGOT), bytes_of_string(""), STORE_SYNC_NOW),
                     OK);
    fixture_sync(&b->f);
}

/* The questions of its next try; gives their ballot and id. */
static struct ballot recall_asks(struct bench *b, uint32_t others, uint64_t epoch, uint64_t *ret_id)
{
    struct ballot ballot = {0};
    uint32_t asked = 0;
    for (int i = 0; i < 100 && asked == 0; i++) {
        fixture_pass(&b->f, 20 * MS);
        bench_views(b);
        struct message *message;
        while ((message = outbox_take(&b->f.outbox)) != NULL) {
            if (message->kind == MESSAGE_topology_prepare) {
                assert_int_not_equal(message->to.node, 1);
                assert_int_equal(message->topology_prepare.epoch, epoch);
                ballot = message->topology_prepare.ballot;
                *ret_id = message->id;
                asked++;
            }
            message_free(message);
        }
    }
    assert_int_equal(asked, others);
    return ballot;
}

static void recall_answer(struct bench *b, uint32_t from, uint64_t id,
                          const struct topology_prepare_reply *reply)
{
    struct message *message = message_new(MESSAGE_topology_prepare_reply, reply->value.size);
    message->from = actor_id_of(from, ACTOR_GOSSIP);
    message->id = id;
    message->topology_prepare_reply = *reply;
    message->topology_prepare_reply.value = arena_copy(&message->arena, reply->value);
    fixture_handle(&b->f, message);
    fixture_sync(&b->f);
}

static const struct topology_prepare_reply nothing_accepted = {.agreed = true};

/* Its answer to a prepare so far above all others that it can only say whether it votes. */
static struct topology_prepare_reply votes(struct bench *b, uint64_t epoch)
{
    static uint64_t counter = 1000 * LEAP;
    send_prepare(b, 2, epoch, ballot_of(counter++, 2));
    fixture_sync(&b->f);
    return prepared(b);
}

/* gossip_log.h: it does not vote before so many have promised its ballot that every majority has
 * one of them (of five: three others), and never below that ballot; what they have accepted is what
 * it goes on from; silence, refusals and crashes only delay it. */
static void recalls_from_enough(void **state)
{
    (void)state;
    struct bench b;
    struct topology next;
    uint64_t id = 0;
    bench_init_forgetful(&b, 5);
    struct bytes value = document_after(&b, &b.f.topology, "10.0.0.1:1", &next);
    struct bytes older = document_after(&b, &b.f.topology, "10.0.0.1:2", &next);
    assert_int_equal(votes(&b, 2).status, ERR_INCOMPLETE);
    send_accept(&b, 2, 2, ballot_of(1, 2), value);
    assert_int_equal(accepted(&b).status, ERR_INCOMPLETE);
    struct ballot first = recall_asks(&b, 4, 2, &id);
    struct topology_prepare_reply conflict = {.conflict = ballot_of(7 * LEAP, 4)};
    recall_answer(&b, 4, id, &conflict);
    struct ballot ballot = recall_asks(&b, 4, 2, &id);
    assert_true(ballot_compare(ballot, first) > 0);
    assert_true(ballot.counter >= 8 * LEAP);
    struct topology_prepare_reply some = {
        .agreed = true, .accepted = ballot_of(5, 3), .value = value};
    struct topology_prepare_reply less = {
        .agreed = true, .accepted = ballot_of(4, 3), .value = older};
    recall_answer(&b, 2, id, &some);
    recall_answer(&b, 2, id, &some); /* twice is once */
    recall_answer(&b, 3, id, &less);
    struct topology_prepare_reply forgot = {.status = ERR_INCOMPLETE};
    recall_answer(&b, 5, id, &forgot);
    assert_int_equal(votes(&b, 2).status, ERR_INCOMPLETE);
    crash(&b);
    ballot = recall_asks(&b, 4, 2, &id);
    recall_answer(&b, 2, id, &some);
    recall_answer(&b, 3, id, &less);
    recall_answer(&b, 4, id, &nothing_accepted);
    crash(&b); /* it knows from its disk now */
    send_prepare(&b, 3, 2, ballot_of(ballot.counter - 1, 3));
    struct topology_prepare_reply below = prepared(&b);
    assert_int_equal(below.status, OK);
    assert_false(below.agreed);
    assert_int_equal(below.conflict.counter, ballot.counter);
    struct topology_prepare_reply reply = votes(&b, 2);
    assert_true(reply.agreed);
    assert_int_equal(reply.accepted.counter, 5);
    assert_true(bytes_equal(reply.value, value));
    bench_deinit(&b);
}

/* gossip_log.h: something was accepted for the next epoch: that document may have been decided, and
 * known here, so it recalls again in the epoch after; nothing was: for good. */
static void recalls_until_nothing_is_accepted(void **state)
{
    (void)state;
    for (int crashes = 0; crashes < 2; crashes++) {
        struct bench b;
        struct topology second;
        struct topology third;
        struct topology fourth;
        uint64_t id = 0;
        bench_init_forgetful(&b, 3);
        struct bytes value = document_after(&b, &b.f.topology, "10.0.0.1:1", &second);
        struct bytes value3 = document_after(&b, &second, "10.0.0.1:2", &third);
        struct bytes value4 = document_after(&b, &third, "10.0.0.1:3", &fourth);
        struct topology_prepare_reply some = {
            .agreed = true, .accepted = ballot_of(5, 3), .value = value};
        recall_asks(&b, 2, 2, &id);
        recall_answer(&b, 2, id, &some);
        recall_answer(&b, 3, id, &nothing_accepted);
        assert_true(votes(&b, 2).agreed);
        send_document(&b, 2, value);
        if (crashes)
            crash(&b);
        assert_int_equal(votes(&b, 3).status, ERR_INCOMPLETE);
        recall_asks(&b, 2, 3, &id);
        recall_answer(&b, 2, id, &nothing_accepted);
        recall_answer(&b, 3, id, &nothing_accepted);
        assert_true(votes(&b, 3).agreed);
        send_document(&b, 2, value3);
        if (crashes)
            crash(&b);
        assert_true(votes(&b, 4).agreed);
        send_document(&b, 2, value4);
        assert_true(votes(&b, 5).agreed);
        bench_deinit(&b);
    }
}

/* gossip_log.h: others that have forgotten as well count when all have answered; a document that
 * comes in the middle begins it anew. */
static void recalls_from_all_that_there_is(void **state)
{
    (void)state;
    struct bench b;
    struct topology second;
    uint64_t id = 0;
    bench_init_forgetful(&b, 3);
    struct bytes value = document_after(&b, &b.f.topology, "10.0.0.1:1", &second);
    recall_asks(&b, 2, 2, &id);
    recall_answer(&b, 2, id, &nothing_accepted);
    send_document(&b, 2, value);
    recall_answer(&b, 3, id, &nothing_accepted); /* about the epoch before */
    assert_int_equal(votes(&b, 3).status, ERR_INCOMPLETE);
    recall_asks(&b, 2, 3, &id);
    struct topology_prepare_reply forgot = {.status = ERR_INCOMPLETE};
    recall_answer(&b, 2, id, &forgot);
    assert_int_equal(votes(&b, 3).status, ERR_INCOMPLETE);
    recall_answer(&b, 3, id, &forgot);
    assert_true(votes(&b, 3).agreed);
    bench_deinit(&b);
}

/* A voter on its own has nobody to ask, and keeps what it has accepted. */
static void recalls_alone(void **state)
{
    (void)state;
    struct bench b;
    struct topology second;
    bench_init(&b, 1, 1);
    struct bytes value = document_after(&b, &b.f.topology, "10.0.0.1:1", &second);
    send_accept(&b, 1, 2, ballot_of(4, 1), value);
    fixture_sync(&b.f);
    assert_true(accepted(&b).agreed);
    assert_int_equal(store_put(engine_store(b.f.engine, HANDLE_BOOT), STORE_META,
                               bytes_of_string(META_FORGOT), bytes_of_string(""), STORE_SYNC_NOW),
                     OK);
    fixture_sync(&b.f);
    crash(&b);
    fixture_tick(&b.f);
    fixture_sync(&b.f);
    bench_views(&b);
    send_prepare(&b, 1, 2, ballot_of(1000 * LEAP, 1));
    fixture_sync(&b.f);
    struct topology_prepare_reply reply = prepared(&b);
    assert_true(reply.agreed);
    assert_int_equal(reply.accepted.counter, 4);
    assert_true(bytes_equal(reply.value, value));
    bench_deinit(&b);
}

/* A slot that cannot be read any more is one that was forgotten. */
static void damaged_slot_is_forgotten(void **state)
{
    (void)state;
    struct bench b;
    uint64_t id = 0;
    bench_init(&b, 1, 3);
    assert_int_equal(store_put(engine_store(b.f.engine, HANDLE_BOOT), STORE_META,
                               bytes_of_string(META_SLOT), bytes_of_string("\1junk"),
                               STORE_SYNC_NOW),
                     OK);
    fixture_sync(&b.f);
    assert_int_equal(votes(&b, 2).status, ERR_INCOMPLETE);
    recall_asks(&b, 2, 2, &id);
    recall_answer(&b, 2, id, &nothing_accepted);
    recall_answer(&b, 3, id, &nothing_accepted);
    assert_true(votes(&b, 2).agreed);
    bench_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(said_when_durable),
        cmocka_unit_test(other_epochs),
        cmocka_unit_test(recalls_from_enough),
        cmocka_unit_test(recalls_until_nothing_is_accepted),
        cmocka_unit_test(recalls_from_all_that_there_is),
        cmocka_unit_test(recalls_alone),
        cmocka_unit_test(damaged_slot_is_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
