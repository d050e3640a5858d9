// link: coterie_actors coterie_store
/* Rules of message_range.h: what a replica answers in an exchange. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/tree_bench.h"

#include <stdlib.h>

/* message_range.h: answers about trees are held until all that they speak of is durable. */
static void answers_wait_for_the_log(void **state)
{
    (void)state;
    struct bench b;
    start(&b);
    struct version_set set = test_write(&b.f, &(struct version_set){0}, NULL, 2, 1, "v");
    send_write(&b, KEYSPACE, "k", test_record(&b.f, KEYSPACE, "k", &set), WRITE_REPLICATE);
    uint32_t partition = test_partition(&b.f, KEYSPACE, "k");
    uint32_t id = b.f.keyspace_ids[KEYSPACE];
    static const uint32_t zero = 0;
    struct exchange_indices nodes = {.count = 1, .indices = &zero};
    struct bytes root = exchange_indices_encode(&b.f.arena, &nodes);
    struct message *message = question(&b, MESSAGE_tree_roots);
    message->tree_roots.partition = partition;
    fixture_handle(&b.f, message);
    message = question(&b, MESSAGE_tree_read);
    message->tree_read = (struct tree_read){
        .partition = partition, .keyspace_id = id, .fanout_bits = 2, .nodes = root};
    fixture_handle(&b.f, message);
    message = question(&b, MESSAGE_digest_read);
    message->digest_read =
        (struct digest_read){.partition = partition, .keyspace_id = id, .nodes = root};
    fixture_handle(&b.f, message);
    message = question(&b, MESSAGE_record_fetch);
    message->record_fetch =
        (struct record_fetch){.partition = partition, .keyspace_id = id, .places = root};
    fixture_handle(&b.f, message);
    fixture_silent(&b.f);
    fixture_sync(&b.f);
    static const enum message_kind kinds[] = {MESSAGE_replica_write_reply, MESSAGE_tree_roots_reply,
                                              MESSAGE_tree_read_reply, MESSAGE_digest_read_reply,
                                              MESSAGE_record_fetch_reply};
    for (size_t i = 0; i < ARRAY_COUNT(kinds); i++) {
        struct message *reply = fixture_take(&b.f, kinds[i]);
        assert_int_equal(reply->replica_write_reply.status, OK);
        assert_true(i == 0 || reply->to.kind == ACTOR_ANTI_ENTROPY);
        message_free(reply);
    }
    bench_deinit(&b);
}

static struct message *ask_nodes(struct bench *b, uint32_t level, uint32_t fanout_bits,
                                 const uint32_t *indices, uint32_t count)
{
    struct exchange_indices nodes = {.count = count, .indices = indices};
    struct message *message = question(b, MESSAGE_tree_read);
    message->tree_read = (struct tree_read){
        .partition = 5,
        .keyspace_id = b->f.keyspace_ids[KEYSPACE],
        .level = level,
        .fanout_bits = fanout_bits,
        .salt = SALT,
        .nodes = arena_copy(&message->arena, exchange_indices_encode(&b->f.arena, &nodes))};
    fixture_handle(&b->f, message);
    return fixture_take(&b->f, MESSAGE_tree_read_reply);
}

/* message_range.h, tree_read: the hashes of children, down to the leaves of this tree and no
 * deeper. */
static void nodes_are_answered(void **state)
{
    (void)state;
    struct bench b;
    struct merkle model;
    char key[16];
    start(&b);
    merkle_init(&model, 5, 16, MERKLE_DEPTH_MIN);
    for (uint32_t i = 0; i < 50; i++) {
        key_in(&b, 5, i, key);
        model_add(&model, &b, key, put_key(&b, key, "v"));
    }
    static const uint32_t some[] = {0, 2, 3};
    const uint32_t *hashes;
    uint32_t expected[3u << 3];
    /* Two levels asked for, from level 2 of a tree of depth 4; then three, of which two are there.
     */
    for (uint32_t bits = 2; bits < 4; bits++) {
        struct message *reply = ask_nodes(&b, 2, bits, some, 3);
        struct merkle_front front = {
            .salt = SALT, .level = 2, .fanout_bits = 2, .count = 3, .indices = some};
        merkle_front_hashes(&model, &front, expected);
        assert_int_equal(reply->tree_read_reply.status, OK);
        assert_int_equal(reply->tree_read_reply.level, 4);
        assert_int_equal(reply->tree_read_reply.depth, 4);
        assert_int_equal(
            exchange_hashes_decode(&b.f.arena, reply->tree_read_reply.hashes, 12, &hashes), OK);
        assert_memory_equal(hashes, expected, 12 * sizeof *hashes);
        message_free(reply);
    }
    struct message *reply = ask_nodes(&b, 4, 2, some, 3);
    assert_int_equal(reply->tree_read_reply.status, OK);
    assert_int_equal(reply->tree_read_reply.level, 4);
    assert_int_equal(reply->tree_read_reply.hashes.size, 0);
    message_free(reply);
    /* What a peer should not ask. */
    static const struct {
        uint32_t level, bits;
    } bad[] = {{2, 0}, {2, 7}, {1, 2}, {17, 2}, {64, 2}};
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        reply = ask_nodes(&b, bad[i].level, bad[i].bits, some, 3);
        assert_int_not_equal(reply->tree_read_reply.status, OK);
        message_free(reply);
    }
    merkle_deinit(&model);
    bench_deinit(&b);
}

static struct message *ask_digests(struct bench *b, uint32_t level, const uint32_t *indices,
                                   uint32_t count, uint64_t from_hash)
{
    struct exchange_indices nodes = {.count = count, .indices = indices};
    struct message *message = question(b, MESSAGE_digest_read);
    message->digest_read = (struct digest_read){
        .partition = 5,
        .keyspace_id = b->f.keyspace_ids[KEYSPACE],
        .level = level,
        .salt = SALT,
        .nodes = arena_copy(&message->arena, exchange_indices_encode(&b->f.arena, &nodes)),
        .from_hash = from_hash};
    fixture_handle(&b->f, message);
    return fixture_take(&b->f, MESSAGE_digest_read_reply);
}

/* message_range.h, digest_read: of the keys in the ranges and no others, of one keyspace, in order.
 */
static void digests_are_answered(void **state)
{
    (void)state;
    struct bench b;
    char key[16];
    start(&b);
    static const uint32_t some[] = {3, 4, 9, 15};
    struct exchange_digest expected[100];
    uint32_t count = 0;
    for (uint32_t i = 0; i < 100; i++) {
        key_in(&b, 5, i, key);
        struct bytes record = put_key(&b, key, "v");
        uint64_t hash = hash_key(b.f.keyspace_ids[KEYSPACE], bytes_of_string(key));
        uint32_t leaf = merkle_index(16, 4, hash);
        bool asked = leaf == 3 || leaf == 4 || leaf == 9 || leaf == 15;
        struct exchange_digest digest = {.place = exchange_place(16, 4, hash),
                                         .state = exchange_state(record_checksum(record), SALT),
                                         .dots = 1};
        if (asked)
            expected[count++] = digest;
        snprintf(key, sizeof key, "strict%u", i);
        struct version_set set = test_write(&b.f, &(struct version_set){0}, NULL, 2, 1, "v");
        assert_int_equal(write_record(&b, KEYSPACE_TEST_STRICT, key,
                                      test_record(&b.f, KEYSPACE_TEST_STRICT, key, &set),
                                      WRITE_REPLICATE),
                         OK);
    }
    exchange_digests_sort(expected, count);
    struct message *reply = ask_digests(&b, 4, some, 4, 0);
    struct exchange_digests digests;
    assert_int_equal(reply->digest_read_reply.status, OK);
    assert_false(reply->digest_read_reply.more);
    assert_int_equal(
        exchange_digests_decode(&b.f.arena, reply->digest_read_reply.digests, 4, &digests), OK);
    assert_int_equal(digests.count, count);
    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(digests.digests[i].place, expected[i].place);
        assert_int_equal(digests.digests[i].state, expected[i].state);
        assert_int_equal(digests.digests[i].dots, expected[i].dots);
    }
    message_free(reply);
    bench_deinit(&b);
}

/* message_range.h, digest_read: a step looks at about 2000 rows; the asker goes on behind where the
 * answer ended, and has seen each key once in the end. */
static void digests_come_in_pages(void **state)
{
    (void)state;
    struct bench b;
    char key[16];
    start(&b);
    for (uint32_t i = 0; i < 300; i++) {
        key_in(&b, 5, i, key);
        put_key(&b, key, "v");
    }
    /* Many rows of another keyspace between them, put there in one go. */
    struct version_set set = test_write(&b.f, &(struct version_set){0}, NULL, 2, 1, "v");
    uint32_t others = 0;
    for (uint32_t i = 0; others < 6000; i++) {
        snprintf(key, sizeof key, "s%u", i);
        if (test_partition(&b.f, KEYSPACE_TEST_STRICT, key) != 5)
            continue;
        send_write(&b, KEYSPACE_TEST_STRICT, key,
                   test_record(&b.f, KEYSPACE_TEST_STRICT, key, &set), WRITE_REPLICATE);
        if (++others % 4 == 0)
            fixture_sync(&b.f);
    }
    fixture_sync(&b.f);
    while (b.f.outbox.first != NULL)
        message_free(fixture_take(&b.f, MESSAGE_replica_write_reply));
    uint32_t all[16];
    for (uint32_t i = 0; i < 16; i++)
        all[i] = i;
    uint32_t seen = 0;
    uint32_t pages = 0;
    uint64_t from = 0;
    bool more = true;
    int64_t last_place = -1;
    while (more) {
        struct message *reply = ask_digests(&b, 4, all, 16, from);
        struct exchange_digests digests;
        assert_int_equal(reply->digest_read_reply.status, OK);
        assert_int_equal(
            exchange_digests_decode(&b.f.arena, reply->digest_read_reply.digests, 4, &digests), OK);
        assert_true(digests.count == 0 || digests.digests[0].place > last_place);
        if (digests.count > 0)
            last_place = digests.digests[digests.count - 1].place;
        seen += digests.count;
        pages++;
        more = reply->digest_read_reply.more;
        assert_true(!more || reply->digest_read_reply.through_hash >= from);
        from = reply->digest_read_reply.through_hash + 1;
        message_free(reply);
    }
    assert_int_equal(seen, 300);
    assert_int_equal(pages, 4);
    bench_deinit(&b);
}

static struct message *ask_records(struct bench *b, uint32_t level, const uint32_t *places,
                                   uint32_t count)
{
    struct exchange_indices list = {.count = count, .indices = places};
    struct message *message = question(b, MESSAGE_record_fetch);
    message->record_fetch = (struct record_fetch){
        .partition = 5,
        .keyspace_id = b->f.keyspace_ids[KEYSPACE],
        .level = level,
        .places = arena_copy(&message->arena, exchange_indices_encode(&b->f.arena, &list))};
    fixture_handle(&b->f, message);
    return fixture_take(&b->f, MESSAGE_record_fetch_reply);
}

static int compare_u32(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a;
    uint32_t y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* message.h, record_fetch: whole places, as many as fit in about 256 KiB, at least one; what is
 * gone is left out; the records are those that are held. */
static void records_are_fetched(void **state)
{
    (void)state;
    struct bench b;
    char key[16];
    start(&b);
    static char value[60 * 1024];
    memset(value, 'x', sizeof value - 1);
    uint32_t places[21];
    for (uint32_t i = 0; i < 20; i++) {
        key_in(&b, 5, i, key);
        put_key(&b, key, value);
        places[i] =
            exchange_place(16, 4, hash_key(b.f.keyspace_ids[KEYSPACE], bytes_of_string(key)));
    }
    places[20] = 0; /* nothing there, most likely */
    qsort(places, 21, sizeof *places, compare_u32);
    uint32_t served = 0;
    uint32_t records_seen = 0;
    while (served < 21) {
        struct message *reply = ask_records(&b, 4, places + served, 21 - served);
        struct exchange_records records;
        assert_int_equal(reply->record_fetch_reply.status, OK);
        assert_in_range(reply->record_fetch_reply.served, 1, 21 - served);
        assert_true(reply->record_fetch_reply.records.size <= 300 * 1024);
        assert_int_equal(
            exchange_records_decode(&b.f.arena, reply->record_fetch_reply.records, &records), OK);
        for (uint32_t i = 0; i < records.count; i++)
            assert_int_equal(record_verify(b.f.keyspace_ids[KEYSPACE], records.records[i].key,
                                           records.records[i].record),
                             OK);
        served += reply->record_fetch_reply.served;
        records_seen += records.count;
        message_free(reply);
    }
    assert_int_equal(records_seen, 20);
    bench_deinit(&b);
}

/* message.h: the roots say whether the copy is complete, and the floor. */
static void an_incomplete_copy_says_so(void **state)
{
    (void)state;
    struct bench b;
    start(&b);
    put_key(&b, "k", "v");
    uint32_t partition = test_partition(&b.f, KEYSPACE, "k");
    struct message *message = message_new(MESSAGE_vnode_doubt, 0);
    message->vnode_doubt.partition = partition;
    fixture_handle(&b.f, message);
    struct message *reply = ask_roots(&b, partition);
    assert_int_equal(reply->tree_roots_reply.status, ERR_UNAVAILABLE); /* being emptied */
    message_free(reply);
    fixture_sync(&b.f);
    message_free(fixture_take(&b.f, MESSAGE_vnode_incomplete));
    fixture_sync(&b.f);
    assert_int_equal(root_of(&b, partition).node.count, 0);
    message = message_new(MESSAGE_vnode_adopt, 0);
    message->vnode_adopt = (struct vnode_adopt){
        .partition = partition, .keyspace_id = b.f.keyspace_ids[KEYSPACE], .floor = 9};
    fixture_handle(&b.f, message);
    fixture_sync(&b.f);
    message_free(fixture_take(&b.f, MESSAGE_vnode_adopt_done));
    assert_int_equal(root_of(&b, partition).floor, 9);
    reply = ask_roots(&b, partition);
    assert_false(reply->tree_roots_reply.complete);
    message_free(reply);
    reply = ask_roots(&b, (partition + 1) % 16);
    assert_true(reply->tree_roots_reply.complete);
    message_free(reply);
    consistent(&b);
    bench_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_wait_for_the_log), cmocka_unit_test(nodes_are_answered),
        cmocka_unit_test(digests_are_answered),     cmocka_unit_test(digests_come_in_pages),
        cmocka_unit_test(records_are_fetched),      cmocka_unit_test(an_incomplete_copy_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
