// link: coterie_actors coterie_store
/* A replica as acceptor of registers: what it says is durable, it votes only with what it knows,
 * and registers and records never take each other's place (RELIABILITY rules 33, 35). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/replica_bench.h"

static struct ballot ballot(uint64_t counter)
{
    return (struct ballot){.counter = counter, .member = 2, .incarnation = 9};
}

static struct message *ask(struct bench *b, enum message_kind kind, enum test_keyspace keyspace,
                           struct ballot number, const char *value)
{
    struct message *message = message_new(kind, 0);
    message->id = ++b->next_id;
    message->from = actor_id_of(2, ACTOR_COORDINATOR);
    message->epoch = b->f.topology.epoch;
    uint32_t id = b->f.keyspace_ids[keyspace];
    uint32_t partition = test_partition(&b->f, keyspace, "k");
    struct bytes key = bytes_of_string("k");
    if (kind == MESSAGE_register_query)
        message->register_query = (struct register_query){id, key, partition};
    else if (kind == MESSAGE_register_prepare)
        message->register_prepare = (struct register_prepare){id, key, partition, number};
    else
        message->register_accept =
            (struct register_accept){id, key, partition, number, bytes_of_string(value)};
    return message;
}

static struct register_query_reply query_of(struct bench *b, enum test_keyspace keyspace)
{
    fixture_handle(&b->f, ask(b, MESSAGE_register_query, keyspace, ballot(0), NULL));
    fixture_sync(&b->f);
    struct message *message = fixture_take(&b->f, MESSAGE_register_query_reply);
    struct register_query_reply reply = message->register_query_reply;
    reply.value = arena_copy(&b->f.arena, reply.value);
    message_free(message);
    fixture_silent(&b->f);
    return reply;
}

static struct register_prepare_reply prepare(struct bench *b, uint64_t counter)
{
    fixture_handle(&b->f,
                   ask(b, MESSAGE_register_prepare, KEYSPACE_TEST_STRONG, ballot(counter), NULL));
    fixture_sync(&b->f);
    struct message *message = fixture_take(&b->f, MESSAGE_register_prepare_reply);
    struct register_prepare_reply reply = message->register_prepare_reply;
    reply.value = arena_copy(&b->f.arena, reply.value);
    message_free(message);
    return reply;
}

static struct register_accept_reply accept_of(struct bench *b, uint64_t counter, const char *value)
{
    fixture_handle(&b->f,
                   ask(b, MESSAGE_register_accept, KEYSPACE_TEST_STRONG, ballot(counter), value));
    fixture_sync(&b->f);
    struct message *message = fixture_take(&b->f, MESSAGE_register_accept_reply);
    struct register_accept_reply reply = message->register_accept_reply;
    message_free(message);
    return reply;
}

static struct message *explain(struct bench *b)
{
    struct message *message = message_new(MESSAGE_key_explain, 0);
    message->id = ++b->next_id;
    message->from = actor_id_of(2, ACTOR_ANTI_ENTROPY);
    message->epoch = b->f.topology.epoch;
    message->key_explain =
        (struct key_explain){.partition = test_partition(&b->f, KEYSPACE_TEST_STRONG, "k"),
                             .keyspace_id = b->f.keyspace_ids[KEYSPACE_TEST_STRONG],
                             .key = bytes_of_string("k")};
    fixture_handle(&b->f, message);
    fixture_sync(&b->f);
    return fixture_take(&b->f, MESSAGE_key_explain_reply);
}

/* Whoever asks what became of a key hears what the acceptor holds (message.h, key_explain_reply).
 */
static void it_says_what_it_holds(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    struct message *message = explain(&b);
    const struct key_explain_reply *reply = &message->key_explain_reply;
    assert_int_equal(reply->status, OK);
    assert_false(reply->mute);
    assert_int_equal(reply->accepted.counter | reply->promised.counter | reply->record.size, 0);
    message_free(message);
    assert_true(prepare(&b, 5).agreed);
    assert_true(accept_of(&b, 5, "value").agreed);
    assert_true(prepare(&b, 8).agreed);
    message = explain(&b);
    reply = &message->key_explain_reply;
    assert_int_equal(reply->status, OK);
    assert_int_equal(reply->accepted.counter, 5);
    assert_int_equal(reply->promised.counter, 8);
    assert_true(bytes_equal(reply->record, bytes_of_string("value")));
    message_free(message);
    bench_deinit(&b);
}

static void it_promises_accepts_and_refuses_what_is_older(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    struct register_query_reply held = query_of(&b, KEYSPACE_TEST_STRONG);
    assert_int_equal(held.status, OK);
    assert_int_equal(held.promised.counter | held.accepted.counter | held.value.size, 0);
    assert_true(prepare(&b, 5).agreed);
    assert_true(prepare(&b, 5).agreed); /* the network may deliver it twice */
    struct register_prepare_reply late = prepare(&b, 4);
    assert_false(late.agreed);
    assert_int_equal(late.conflict.counter, 5);
    assert_int_equal(query_of(&b, KEYSPACE_TEST_STRONG).promised.counter, 5);
    assert_int_equal(accept_of(&b, 4, "old").conflict.counter, 5);
    assert_true(accept_of(&b, 5, "value").agreed);
    assert_true(accept_of(&b, 5, "value").agreed);
    assert_false(prepare(&b, 5).agreed);
    held = query_of(&b, KEYSPACE_TEST_STRONG);
    assert_int_equal(held.accepted.counter, 5);
    assert_int_equal(held.promised.counter, 0);
    assert_true(bytes_equal(held.value, bytes_of_string("value")));
    struct register_prepare_reply next = prepare(&b, 6);
    assert_true(next.agreed && next.accepted.counter == 5);
    assert_true(bytes_equal(next.value, bytes_of_string("value")));
    bench_deinit(&b);
}

/* Rule 35: promise and accept are on disk before the reply leaves, also the one that is repeated
 * and the query that tells of them. */
static void nothing_is_said_that_a_crash_could_undo(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    enum test_keyspace strong = KEYSPACE_TEST_STRONG;
    fixture_handle(&b.f, ask(&b, MESSAGE_register_prepare, strong, ballot(5), NULL));
    fixture_handle(&b.f, ask(&b, MESSAGE_register_prepare, strong, ballot(5), NULL));
    fixture_handle(&b.f, ask(&b, MESSAGE_register_query, strong, ballot(0), NULL));
    fixture_silent(&b.f);
    bench_restart(&b, false); /* it was not durable, nobody has heard of it */
    assert_int_equal(query_of(&b, strong).promised.counter, 0);
    assert_true(prepare(&b, 3).agreed);
    bench_restart(&b, false);
    assert_int_equal(query_of(&b, strong).promised.counter, 3);
    fixture_handle(&b.f, ask(&b, MESSAGE_register_accept, strong, ballot(3), "value"));
    fixture_silent(&b.f);
    bench_restart(&b, false);
    assert_int_equal(query_of(&b, strong).accepted.counter, 0);
    assert_true(accept_of(&b, 3, "value").agreed);
    bench_restart(&b, false);
    assert_int_equal(query_of(&b, strong).accepted.counter, 3);
    assert_false(prepare(&b, 2).agreed);
    bench_deinit(&b);
}

/* Rule 33: the mode is checked at the replica, whatever a coordinator believes. */
static void modes_are_never_mixed(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    assert_int_equal(query_of(&b, KEYSPACE_TEST_SIBLINGS).status, ERR_PRECONDITION);
    assert_true(prepare(&b, 1).agreed);
    assert_true(accept_of(&b, 1, "value").agreed);
    struct version_set set = {0};
    set = test_write(&b.f, &set, NULL, 2, 7, "eventual");
    struct bytes record = test_record(&b.f, KEYSPACE_TEST_STRONG, "k", &set);
    for (unsigned reason = WRITE_REPLICATE; reason <= WRITE_REPAIR; reason++)
        assert_int_equal(
            write_record(&b, KEYSPACE_TEST_STRONG, "k", record, (enum write_reason)reason),
            ERR_PRECONDITION);
    assert_int_equal(mint(&b, KEYSPACE_TEST_STRONG, "k", "eventual", NULL).status,
                     ERR_PRECONDITION);
    assert_int_equal(read_set(&b, KEYSPACE_TEST_STRONG, "k", &set), ERR_PRECONDITION);
    struct register_query_reply held = query_of(&b, KEYSPACE_TEST_STRONG);
    assert_true(bytes_equal(held.value, bytes_of_string("value")));
    bench_deinit(&b);
}

/* A row of the other kind, or a damaged one, is no register: it does not vote. */
static void what_is_not_a_register_does_not_vote(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    struct version_set set = {0};
    set = test_write(&b.f, &set, NULL, 2, 7, "eventual");
    put_raw(&b, KEYSPACE_TEST_STRONG, "k", test_record(&b.f, KEYSPACE_TEST_STRONG, "k", &set));
    assert_int_equal(query_of(&b, KEYSPACE_TEST_STRONG).status, ERR_CORRUPT);
    assert_int_equal(prepare(&b, 9).status, ERR_CORRUPT);
    bench_deinit(&b);

    bench_init(&b);
    assert_true(prepare(&b, 1).agreed);
    assert_true(accept_of(&b, 1, "value").agreed);
    uint8_t memory[STORAGE_KEY_BYTES_MAX];
    uint32_t id = b.f.keyspace_ids[KEYSPACE_TEST_STRONG];
    struct bytes name = bytes_of_string("k");
    size_t size = hash_storage_key(id, name, hash_key(id, name), memory);
    struct bytes row;
    assert_int_equal(store_read(b.f.ctx.store, test_partition(&b.f, KEYSPACE_TEST_STRONG, "k"),
                                bytes_of(memory, size), &b.f.arena, &row),
                     OK);
    /* Sound as a row, of a format that no record has. */
    struct version_set none;
    assert_int_equal(record_decode(&b.f.arena, id, name, row, &none), ERR_UNSUPPORTED);
    ((uint8_t *)(uintptr_t)row.data)[row.size / 2] ^= 1;
    put_raw(&b, KEYSPACE_TEST_STRONG, "k", row);
    assert_int_equal(query_of(&b, KEYSPACE_TEST_STRONG).status, ERR_CORRUPT);
    assert_int_equal(accept_of(&b, 9, "over it").status, ERR_CORRUPT);
    /* Nobody is asked for it, ever: no other copy knows what this one had promised. */
    for (uint32_t i = 0; i < 100; i++) {
        fixture_pass(&b.f, 1000 * MS);
        fixture_silent(&b.f);
    }
    assert_int_equal(counter_get(&replica_figures(b.replica)->quarantined), 0);
    assert_int_equal(counter_get(&replica_figures(b.replica)->registers_bad), 1);
    bench_deinit(&b);
}

/* Says so to anti-entropy; the incarnation to answer with. */
static uint64_t take_mute(struct bench *b)
{
    struct message *told = fixture_take(&b->f, MESSAGE_vnode_incomplete);
    uint64_t incarnation = told->vnode_incomplete.incarnation;
    assert_true(told->vnode_incomplete.votes);
    assert_int_equal(told->vnode_incomplete.partition,
                     test_partition(&b->f, KEYSPACE_TEST_STRONG, "k"));
    message_free(told);
    return incarnation;
}

static void empty_and_fill(struct bench *b)
{
    struct message *doubt = message_new(MESSAGE_vnode_doubt, 0);
    doubt->vnode_doubt.partition = test_partition(&b->f, KEYSPACE_TEST_STRONG, "k");
    fixture_handle(&b->f, doubt);
    fixture_handle(&b->f, ask(b, MESSAGE_register_query, KEYSPACE_TEST_STRONG, ballot(0), NULL));
    struct message *refused = fixture_take(&b->f, MESSAGE_register_query_reply);
    assert_int_equal(refused->register_query_reply.status, ERR_INCOMPLETE);
    message_free(refused);
    fixture_sync(&b->f);
    fixture_sync(&b->f);
    struct message *incomplete = fixture_take(&b->f, MESSAGE_vnode_incomplete);
    assert_int_equal(incomplete->vnode_incomplete.keyspace_id, 0);
    struct message *complete = message_new(MESSAGE_vnode_complete, 0);
    complete->from = actor_id_of(SELF, ACTOR_ANTI_ENTROPY);
    complete->vnode_complete.partition = incomplete->vnode_incomplete.partition;
    complete->vnode_complete.incarnation = incomplete->vnode_incomplete.incarnation;
    message_free(incomplete);
    fixture_handle(&b->f, complete);
    fixture_sync(&b->f);
}

static void take_complete(struct bench *b)
{
    struct message *done = fixture_take(&b->f, MESSAGE_vnode_complete_done);
    assert_int_equal(done->vnode_complete_done.status, OK);
    message_free(done);
}

/* A copy that was emptied has forgotten promises that others build on. Nothing that it is sent
 * brings them back, so it has no vote, through restarts, although it is complete; it says so. */
static void a_copy_that_has_forgotten_does_not_vote(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    assert_true(prepare(&b, 5).agreed);
    empty_and_fill(&b);
    take_mute(&b);
    take_complete(&b);
    assert_int_equal(prepare(&b, 4).status, ERR_INCOMPLETE);
    assert_int_equal(accept_of(&b, 4, "value").status, ERR_INCOMPLETE);
    assert_int_equal(counter_get(&replica_figures(b.replica)->registers_mute), 1);
    bench_restart(&b, false);
    fixture_handle(&b.f, ask(&b, MESSAGE_register_query, KEYSPACE_TEST_STRONG, ballot(0), NULL));
    take_mute(&b);
    struct message *refused = fixture_take(&b.f, MESSAGE_register_query_reply);
    assert_int_equal(refused->register_query_reply.status, ERR_INCOMPLETE);
    message_free(refused);
    struct version_set set;
    assert_int_equal(read_set(&b, KEYSPACE_TEST_SIBLINGS, "k", &set), OK);
    bench_deinit(&b);
}

static enum err adopt_of(struct bench *b, uint64_t learns_from, uint64_t incarnation)
{
    struct message *adopt = message_new(MESSAGE_vnode_adopt, 0);
    adopt->from = actor_id_of(SELF, ACTOR_ANTI_ENTROPY);
    adopt->vnode_adopt =
        (struct vnode_adopt){.partition = test_partition(&b->f, KEYSPACE_TEST_STRONG, "k"),
                             .keyspace_id = b->f.keyspace_ids[KEYSPACE_TEST_STRONG],
                             .learns_from = learns_from,
                             .incarnation = incarnation};
    fixture_handle(&b->f, adopt);
    struct message *done = fixture_take(&b->f, MESSAGE_vnode_adopt_done);
    enum err status = done->vnode_adopt_done.status;
    message_free(done);
    return status;
}

static enum err complete_of(struct bench *b, uint64_t votes_from, uint64_t incarnation)
{
    struct message *complete = message_new(MESSAGE_vnode_complete, 0);
    complete->from = actor_id_of(SELF, ACTOR_ANTI_ENTROPY);
    complete->vnode_complete =
        (struct vnode_complete){.partition = test_partition(&b->f, KEYSPACE_TEST_STRONG, "k"),
                                .keyspace_id = b->f.keyspace_ids[KEYSPACE_TEST_STRONG],
                                .votes_from = votes_from,
                                .incarnation = incarnation};
    fixture_handle(&b->f, complete);
    fixture_sync(&b->f);
    struct message *done = fixture_take(&b->f, MESSAGE_vnode_complete_done);
    enum err status = done->vnode_complete_done.status;
    message_free(done);
    return status;
}

/* model/register.h, an acceptor that begins anew: it learns from the first epoch on, and its
 * answers do not count; it votes from the second one on, when that is in force here; through
 * restarts, and until it is emptied again. */
static void a_copy_that_begins_anew_votes(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    uint64_t epoch = b.f.topology.epoch;
    empty_and_fill(&b);
    uint64_t incarnation = take_mute(&b);
    take_complete(&b);
    assert_int_equal(adopt_of(&b, epoch, incarnation + 1), ERR_PRECONDITION);
    assert_int_equal(adopt_of(&b, epoch + 1, incarnation), OK);
    assert_int_equal(accept_of(&b, 4, "early").status, ERR_INCOMPLETE);
    assert_int_equal(adopt_of(&b, epoch, incarnation), OK);
    assert_int_equal(accept_of(&b, 4, "learned").status, ERR_INCOMPLETE);
    assert_int_equal(prepare(&b, 6).status, ERR_INCOMPLETE);
    assert_int_equal(complete_of(&b, epoch + 1, incarnation), ERR_UNAVAILABLE);
    assert_int_equal(complete_of(&b, epoch, incarnation + 1), ERR_PRECONDITION);
    assert_int_equal(query_of(&b, KEYSPACE_TEST_STRONG).status, ERR_INCOMPLETE);
    assert_int_equal(complete_of(&b, epoch, incarnation), OK);
    struct register_query_reply held = query_of(&b, KEYSPACE_TEST_STRONG);
    assert_int_equal(held.status, OK);
    assert_int_equal(held.accepted.counter, 4);
    assert_int_equal(held.promised.counter, 6);
    assert_false(prepare(&b, 5).agreed);
    bench_restart(&b, false);
    assert_true(prepare(&b, 7).agreed);
    assert_int_equal(counter_get(&replica_figures(b.replica)->registers_mute), 0);
    empty_and_fill(&b);
    incarnation = take_mute(&b);
    take_complete(&b);
    assert_int_equal(complete_of(&b, epoch, incarnation - 1), ERR_PRECONDITION);
    assert_int_equal(query_of(&b, KEYSPACE_TEST_STRONG).status, ERR_INCOMPLETE);
    bench_deinit(&b);
}

/* Hash trees are of records: an exchange of the available keyspaces never meets a register. */
static void registers_are_in_no_hash_tree(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    assert_true(prepare(&b, 1).agreed);
    assert_true(accept_of(&b, 1, "value").agreed);
    bench_restart(&b, true); /* trees are built by a scan of the rows */
    query_of(&b, KEYSPACE_TEST_STRONG);
    for (uint32_t i = 0; i < 400; i++)
        fixture_pass(&b.f, 5 * MS);
    assert_int_equal(counter_get(&replica_figures(b.replica)->tree_keys), 0);
    assert_int_equal(counter_get(&replica_figures(b.replica)->quarantined), 0);
    assert_int_equal(replica_trees_differing(b.replica, b.f.ctx.store), 0);
    assert_int_equal(mint(&b, KEYSPACE_TEST_SIBLINGS, "a", "v", NULL).status, OK);
    assert_int_equal(counter_get(&replica_figures(b.replica)->tree_keys), 1);
    bench_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_promises_accepts_and_refuses_what_is_older),
        cmocka_unit_test(it_says_what_it_holds),
        cmocka_unit_test(nothing_is_said_that_a_crash_could_undo),
        cmocka_unit_test(modes_are_never_mixed),
        cmocka_unit_test(what_is_not_a_register_does_not_vote),
        cmocka_unit_test(a_copy_that_has_forgotten_does_not_vote),
        cmocka_unit_test(a_copy_that_begins_anew_votes),
        cmocka_unit_test(registers_are_in_no_hash_tree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
