// link: coterie_actors coterie_store
/* Rules of message.h, key_explain: what a replica says of one key. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model/merkle.h"
#include "tests/unit/replica_bench.h"

#define KEYSPACE KEYSPACE_TEST_SIBLINGS

static void ask(struct bench *b, const char *key)
{
    struct message *message = message_new(MESSAGE_key_explain, 0);
    message->id = ++b->next_id;
    message->from = actor_id_of(3, ACTOR_ANTI_ENTROPY);
    message->key_explain = (struct key_explain){.partition = test_partition(&b->f, KEYSPACE, key),
                                                .keyspace_id = b->f.keyspace_ids[KEYSPACE],
                                                .key = bytes_of_string(key)};
    fixture_handle(&b->f, message);
}

static struct message *explain(struct bench *b, const char *key)
{
    ask(b, key);
    struct message *reply = fixture_take(&b->f, MESSAGE_key_explain_reply);
    assert_int_equal(reply->to.node, 3);
    return reply;
}

static void start(struct bench *b)
{
    bench_init(b);
    for (int i = 0; i < 100; i++)
        fixture_pass(&b->f, 4 * MS);
}

/* The record, its leaf, the floor, whether the copy is complete; nothing that a crash could undo.
 */
static void what_is_held(void **state)
{
    (void)state;
    struct bench b;
    start(&b);
    struct minted m = mint(&b, KEYSPACE, "k", "v", NULL);
    struct bytes record = test_record(&b.f, KEYSPACE, "k", &m.set);
    uint64_t hash = hash_key(b.f.keyspace_ids[KEYSPACE], bytes_of_string("k"));
    struct merkle tree;
    merkle_init(&tree, test_partition(&b.f, KEYSPACE, "k"), 16, MERKLE_DEPTH_MIN);
    merkle_add(&tree, hash, record_checksum(record));
    struct message *message = explain(&b, "k");
    const struct key_explain_reply *reply = &message->key_explain_reply;
    assert_int_equal(reply->status, OK);
    assert_true(bytes_equal(reply->record, record));
    assert_true(reply->complete);
    assert_int_equal(reply->floor, 0);
    assert_int_equal(reply->tree_depth, MERKLE_DEPTH_MIN);
    assert_int_equal(reply->leaf_index, merkle_index(16, MERKLE_DEPTH_MIN, hash));
    assert_int_equal(reply->leaf_sum, merkle_root(&tree).sum);
    assert_int_equal(reply->leaf_keys, 1);
    assert_int_equal(reply->repaired_at_ms, 0);
    message_free(message);
    merkle_deinit(&tree);
    message = explain(&b, "absent");
    assert_int_equal(message->key_explain_reply.status, OK);
    assert_int_equal(message->key_explain_reply.record.size, 0);
    message_free(message);
    fixture_handle(&b.f, mint_message(&b, KEYSPACE, "k", "w", NULL));
    message_free(fixture_take(&b.f, MESSAGE_replica_write));
    ask(&b, "k");
    fixture_silent(&b.f);
    bench_deinit(&b);
}

/* When and why it was last repaired, as far as it is remembered: replication is no repair. */
static void when_it_was_repaired(void **state)
{
    (void)state;
    struct bench b;
    start(&b);
    static const enum write_reason reasons[] = {WRITE_REPLICATE, WRITE_READ_REPAIR, WRITE_HINT,
                                                WRITE_ANTI_ENTROPY};
    for (uint32_t i = 0; i < ARRAY_COUNT(reasons); i++) {
        struct version_set set =
            test_write(&b.f, &(struct version_set){0}, NULL, 2, 1 + i, "theirs");
        fixture_pass(&b.f, 1000 * MS);
        assert_int_equal(
            write_record(&b, KEYSPACE, "k", test_record(&b.f, KEYSPACE, "k", &set), reasons[i]),
            OK);
        struct message *message = explain(&b, "k");
        const struct key_explain_reply *reply = &message->key_explain_reply;
        assert_int_equal(reply->repaired_at_ms, i == 0 ? 0 : b.f.ctx.wall_ms);
        assert_int_equal(reply->repaired_reason, i == 0 ? WRITE_REPLICATE : reasons[i]);
        message_free(message);
        /* What brings nothing new repairs nothing. */
        fixture_pass(&b.f, 1000 * MS);
        assert_int_equal(write_record(&b, KEYSPACE, "k", test_record(&b.f, KEYSPACE, "k", &set),
                                      WRITE_READ_REPAIR),
                         OK);
        message = explain(&b, "k");
        assert_int_not_equal(message->key_explain_reply.repaired_at_ms, b.f.ctx.wall_ms);
        message_free(message);
    }
    bench_deinit(&b);
}

/* A bad row says CORRUPT, an incomplete copy says that it is one and shows what it has. */
static void what_is_wrong(void **state)
{
    (void)state;
    struct bench b;
    start(&b);
    put_raw(&b, KEYSPACE, "k", bytes_of_string("not a record"));
    struct message *message = explain(&b, "k");
    assert_int_equal(message->key_explain_reply.status, ERR_CORRUPT);
    assert_int_equal(message->key_explain_reply.record.size, 0);
    assert_true(message->key_explain_reply.complete);
    message_free(message);
    struct message *doubt = message_new(MESSAGE_vnode_doubt, 0);
    doubt->vnode_doubt.partition = UINT32_MAX;
    fixture_handle(&b.f, doubt);
    fixture_sync(&b.f);
    fixture_sync(&b.f);
    while (b.f.outbox.first != NULL)
        message_free(fixture_take(&b.f, MESSAGE_vnode_incomplete));
    message = explain(&b, "k");
    assert_int_equal(message->key_explain_reply.status, OK);
    assert_false(message->key_explain_reply.complete);
    message_free(message);
    bench_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_held),
        cmocka_unit_test(when_it_was_repaired),
        cmocka_unit_test(what_is_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
