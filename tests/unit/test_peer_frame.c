// link: coterie_codec
/* A frame carries many messages in their order, or a hello, which says who may talk to whom
 * (rpc/peer_codec.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/random_message.h"

struct walked {
    uint32_t count;
    uint32_t refuse_at;
    uint64_t ids[64];
};

static bool walked_visit(void *closure, struct bytes bytes)
{
    struct walked *walked = closure;
    if (walked->count == walked->refuse_at)
        return false;
    struct message *message = peer_message_decode(bytes, 3, 9, NOW_NS);
    if (message == NULL)
        return false;
    walked->ids[walked->count++ % 64] = message->id;
    message_free(message);
    return true;
}

static void test_frames_carry_many_messages_in_order(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct writer writer;
    writer_init(&writer, &arena, 64);
    uint8_t *direct = test_malloc(1u << 20);
    size_t direct_size = 0;
    for (uint64_t i = 0; i < 40; i++) {
        struct message *message = random_message(MESSAGE_replica_write_reply);
        message->id = i;
        peer_frame_append(&writer, peer_message_encode(&arena, message, NOW_NS));
        size_t size = peer_frame_message_size(message, NOW_NS);
        peer_frame_message_write(direct + direct_size, size, message, NOW_NS);
        direct_size += size;
        message_free(message);
    }
    struct bytes frame = writer_result(&writer);
    assert_true(bytes_equal(frame, bytes_of(direct, direct_size)));
    struct walked walked = {.refuse_at = UINT32_MAX};
    struct peer_hello hello;
    bool has_hello = true;
    assert_int_equal(peer_frame_walk(frame, walked_visit, &walked, &has_hello, &hello), OK);
    assert_false(has_hello);
    assert_int_equal(walked.count, 40);
    for (uint64_t i = 0; i < 40; i++)
        assert_int_equal(walked.ids[i], i);
    walked = (struct walked){.refuse_at = 7};
    assert_int_equal(peer_frame_walk(frame, walked_visit, &walked, &has_hello, &hello),
                     ERR_CORRUPT);
    assert_int_equal(walked.count, 7);
    walked = (struct walked){.refuse_at = UINT32_MAX};
    assert_int_equal(peer_frame_walk(bytes_of(frame.data, frame.size - 1), walked_visit, &walked,
                                     &has_hello, &hello),
                     ERR_CORRUPT);
    test_free(direct);
    arena_deinit(&arena);
}

static struct peer_hello hello_of(uint32_t member, uint32_t to_member)
{
    struct peer_hello hello = {.protocol_min = 1,
                               .protocol_max = 3,
                               .partitions = 64,
                               .epoch = 5,
                               .generation = 77,
                               .member = member,
                               .to_member = to_member,
                               .context_mark = 0xfedcba9876543210ull,
                               .name = "node"};
    memset(hello.cluster_id, 0xab, sizeof hello.cluster_id);
    memset(hello.node_id, (int)member, sizeof hello.node_id);
    return hello;
}

static void test_hello_comes_back(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct peer_hello hello = hello_of(4, 9);
    memset(hello.name, 'n', sizeof hello.name - 1);
    struct bytes frame = peer_frame_hello(&arena, &hello);
    struct peer_hello got;
    bool has_hello = false;
    assert_int_equal(peer_frame_walk(frame, walked_visit, NULL, &has_hello, &got), OK);
    assert_true(has_hello);
    assert_memory_equal(got.cluster_id, hello.cluster_id, 16);
    assert_memory_equal(got.node_id, hello.node_id, 16);
    assert_string_equal(got.name, hello.name);
    assert_true(got.context_mark == hello.context_mark);
    assert_int_equal(got.protocol_min, 1);
    assert_int_equal(got.protocol_max, 3);
    assert_int_equal(got.partitions, 64);
    assert_int_equal(got.epoch, 5);
    assert_int_equal(got.generation, 77);
    assert_int_equal(got.member, 4);
    assert_int_equal(got.to_member, 9);
    for (size_t size = 1; size < frame.size; size++)
        assert_int_equal(
            peer_frame_walk(bytes_of(frame.data, size), walked_visit, NULL, &has_hello, &got),
            ERR_CORRUPT);
    arena_deinit(&arena);
}

static const char *refusal(struct peer_hello mine, struct peer_hello theirs)
{
    static char why[256];
    return peer_hello_refusal(&mine, &theirs, why, sizeof why);
}

static void assert_refused(struct peer_hello mine, struct peer_hello theirs, const char *part)
{
    const char *why = refusal(mine, theirs);
    assert_non_null(why);
    assert_non_null(strstr(why, part));
}

static void test_who_may_talk(void **state)
{
    (void)state;
    struct peer_hello server = hello_of(1, MEMBER_NONE);
    struct peer_hello client = hello_of(2, 1);
    assert_null(refusal(server, client));
    assert_null(refusal(client, hello_of(1, 2)));
    client.epoch = 6; /* epochs may differ: one of us learns */
    assert_null(refusal(server, client));

    client = hello_of(2, 1);
    client.cluster_id[15] ^= 1;
    assert_refused(server, client, "different clusters");
    client = hello_of(2, 1);
    client.protocol_min = client.protocol_max = 4;
    assert_refused(server, client, "no version in common");
    client.protocol_min = 0;
    client.protocol_max = 0;
    assert_refused(server, client, "no version in common");
    client.protocol_min = 3;
    client.protocol_max = 1;
    assert_refused(server, client, "no version in common");
    client = hello_of(2, 1);
    client.protocol_min = client.protocol_max = 3;
    assert_null(refusal(server, client));
    client.partitions = 128;
    assert_refused(server, client, "64 here and 128 there");
    assert_refused(server, hello_of(2, 3), "meant for member 3");
    assert_refused(server, hello_of(MEMBER_NONE, 1), "does not say who");
    client = hello_of(2, 1);
    memset(client.node_id, 0, sizeof client.node_id);
    assert_refused(server, client, "does not say who");
    client = hello_of(1, 1);
    assert_refused(server, client, "both nodes say that they are member 1");
    client = hello_of(2, 1);
    memcpy(client.node_id, server.node_id, sizeof client.node_id);
    assert_refused(server, client, "data directory was copied");
    assert_refused(hello_of(2, 1), hello_of(3, 2), "member 3 answered where member 1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_frames_carry_many_messages_in_order, setup),
        cmocka_unit_test_setup(test_hello_comes_back, setup),
        cmocka_unit_test_setup(test_who_may_talk, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
