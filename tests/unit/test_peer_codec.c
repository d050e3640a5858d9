// link: coterie_codec
/* Messages between nodes come out of the wire as they went in; whatever else comes in is refused.
 * The wire is that of peer.proto: protobuf-c reads what we write and we read what it writes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "coterie/internal/v1/peer.pb-c.h"
#include "model/topology.h"
#include "tests/unit/random_message.h"

#include <time.h>

#define ROUNDS 400

typedef Coterie__Internal__V1__PeerMessage wire_message;

/* protobuf-c, a second implementation of the format, takes our bytes apart and gives the same back.
 */
static void same_in_protobuf(struct bytes bytes)
{
    wire_message *wire = coterie__internal__v1__peer_message__unpack(NULL, bytes.size, bytes.data);
    assert_non_null(wire);
    assert_int_equal(wire->base.n_unknown_fields, 0);
    size_t size = coterie__internal__v1__peer_message__get_packed_size(wire);
    uint8_t *again = test_malloc(size);
    coterie__internal__v1__peer_message__pack(wire, again);
    struct message *decoded = peer_message_decode(bytes_of(again, size), 3, 9, NOW_NS);
    assert_non_null(decoded);
    struct message *first = peer_message_decode(bytes, 3, 9, NOW_NS);
    assert_non_null(first);
    same_message(first, decoded);
    message_free(first);
    message_free(decoded);
    test_free(again);
    coterie__internal__v1__peer_message__free_unpacked(wire, NULL);
}

static void test_every_kind_comes_back_as_it_went(void **state)
{
    (void)state;
    uint32_t crossing = 0;
    for (int kind = 0; kind < MESSAGE_KIND_COUNT; kind++) {
        if (!message_crosses_nodes((enum message_kind)kind))
            continue;
        crossing++;
        for (int round = 0; round < ROUNDS; round++) {
            struct message *message = random_message((enum message_kind)kind);
            struct arena arena;
            arena_init(&arena, NULL, 0);
            struct bytes bytes = peer_message_encode(&arena, message, NOW_NS);
            assert_true(bytes.size > 0);
            struct message *decoded = peer_message_decode(bytes, 3, 9, NOW_NS);
            assert_non_null(decoded);
            same_message(message, decoded);
            same_in_protobuf(bytes);
            message_free(decoded);
            message_free(message);
            arena_deinit(&arena);
        }
    }
    assert_int_equal(crossing, 45);
}

/* Names as well as numbers: a field that changed places with another would pass a round trip. */
static void test_fields_are_those_of_the_schema(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct message *message = random_message(MESSAGE_forward_put);
    message->deadline_ns = NOW_NS + 1234 * NS_PER_MS;
    const struct put_request *request = &message->forward_put.request;
    struct bytes bytes = peer_message_encode(&arena, message, NOW_NS);
    wire_message *wire = coterie__internal__v1__peer_message__unpack(NULL, bytes.size, bytes.data);
    assert_non_null(wire);
    assert_int_equal(wire->id, message->id);
    assert_int_equal(wire->from_kind, message->from.kind);
    assert_int_equal(wire->from_index, message->from.index);
    assert_int_equal(wire->to_kind, message->to.kind);
    assert_int_equal(wire->to_index, message->to.index);
    assert_int_equal(wire->epoch, message->epoch);
    assert_int_equal(wire->deadline_left_ms, 1234);
    assert_int_equal(wire->body_case, COTERIE__INTERNAL__V1__PEER_MESSAGE__BODY_FORWARD_PUT);
    assert_int_equal(wire->forward_put->keyspace_id, request->keyspace_id);
    assert_int_equal(wire->forward_put->key.len, request->key.size);
    assert_int_equal(wire->forward_put->value.len, request->value.size);
    assert_int_equal(wire->forward_put->flags, request->flags);
    assert_int_equal(wire->forward_put->expires_at_ms, request->expires_at_ms);
    assert_int_equal(wire->forward_put->has_context, request->has_context);
    assert_int_equal(wire->forward_put->context.len, request->context.size);
    assert_int_equal(wire->forward_put->level, request->level);
    assert_int_equal(wire->forward_put->count, request->count);
    coterie__internal__v1__peer_message__free_unpacked(wire, NULL);
    message_free(message);

    message = random_message(MESSAGE_forward_put_reply);
    const struct put_result *result = &message->forward_put_reply.result;
    bytes = peer_message_encode(&arena, message, NOW_NS);
    wire = coterie__internal__v1__peer_message__unpack(NULL, bytes.size, bytes.data);
    assert_non_null(wire);
    assert_int_equal(wire->forward_put_reply->status, result->status);
    assert_int_equal(wire->forward_put_reply->outcome, result->outcome);
    assert_int_equal(wire->forward_put_reply->sibling_count, result->sibling_count);
    assert_int_equal(wire->forward_put_reply->retry_after_ms, result->retry_after_ms);
    assert_int_equal(wire->forward_put_reply->disk_full, result->disk_full);
    assert_int_equal(wire->forward_put_reply->progress->acked, result->progress.acked);
    assert_int_equal(wire->forward_put_reply->progress->needed, result->progress.needed);
    assert_int_equal(wire->forward_put_reply->progress->n_acked_members,
                     result->progress.acked_count);
    assert_int_equal(wire->forward_put_reply->progress->n_missing_members,
                     result->progress.missing_count);
    assert_int_equal(wire->forward_put_reply->progress->n_fallback_members,
                     result->progress.fallback_count);
    coterie__internal__v1__peer_message__free_unpacked(wire, NULL);
    message_free(message);

    message = random_message(MESSAGE_hint_store);
    const struct replica_write *write = &message->hint_store.write;
    bytes = peer_message_encode(&arena, message, NOW_NS);
    wire = coterie__internal__v1__peer_message__unpack(NULL, bytes.size, bytes.data);
    assert_non_null(wire);
    assert_int_equal(wire->hint_store->target, message->hint_store.target);
    assert_int_equal(wire->hint_store->write->keyspace_id, write->keyspace_id);
    assert_int_equal(wire->hint_store->write->key.len, write->key.size);
    assert_int_equal(wire->hint_store->write->record.len, write->record.size);
    assert_int_equal(wire->hint_store->write->policy, write->policy);
    assert_int_equal(wire->hint_store->write->partition, write->partition);
    assert_int_equal(wire->hint_store->write->reason, write->reason);
    assert_int_equal(wire->hint_store->write->n_onward, write->onward_count);
    assert_int_equal(wire->hint_store->write->answer_to, write->answer_to);
    coterie__internal__v1__peer_message__free_unpacked(wire, NULL);
    message_free(message);

    message = random_message(MESSAGE_tree_read);
    bytes = peer_message_encode(&arena, message, NOW_NS);
    wire = coterie__internal__v1__peer_message__unpack(NULL, bytes.size, bytes.data);
    assert_non_null(wire);
    assert_int_equal(wire->tree_read->partition, message->tree_read.partition);
    assert_int_equal(wire->tree_read->salt, message->tree_read.salt);
    coterie__internal__v1__peer_message__free_unpacked(wire, NULL);
    message_free(message);
    arena_deinit(&arena);
}

static uint64_t deadline_after_the_wire(uint64_t deadline_ns, uint64_t sent_ns, uint64_t got_ns)
{
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct message *message = random_message(MESSAGE_replica_read);
    message->deadline_ns = deadline_ns;
    struct message *decoded =
        peer_message_decode(peer_message_encode(&arena, message, sent_ns), 1, 2, got_ns);
    assert_non_null(decoded);
    uint64_t result = decoded->deadline_ns;
    message_free(decoded);
    message_free(message);
    arena_deinit(&arena);
    return result;
}

/* LIBRARIES: a peer's deadline is derived from the client's and never later than it. */
static void test_deadlines_never_grow(void **state)
{
    (void)state;
    assert_int_equal(deadline_after_the_wire(0, NOW_NS, NOW_NS), 0);
    assert_int_equal(deadline_after_the_wire(NOW_NS + 1999999, NOW_NS, NOW_NS), NOW_NS + NS_PER_MS);
    assert_int_equal(deadline_after_the_wire(NOW_NS + 999999, NOW_NS, 5), 5);
    assert_int_equal(deadline_after_the_wire(NOW_NS - 1, NOW_NS, NOW_NS), NOW_NS);
    /* Passed, seen by a clock that starts at zero: still a deadline, and passed. */
    assert_int_equal(deadline_after_the_wire(1, NOW_NS, 0), 1);
    assert_int_equal(deadline_after_the_wire(NOW_NS + 3600000 * NS_PER_MS, NOW_NS, 0),
                     DEADLINE_MAX_MS * NS_PER_MS);
    for (int i = 0; i < 1000; i++) {
        uint64_t left_ns = prng_below(&prng, DEADLINE_MAX_MS * NS_PER_MS);
        uint64_t after = deadline_after_the_wire(NOW_NS + left_ns, NOW_NS, NOW_NS);
        assert_true(after <= NOW_NS + left_ns && after + NS_PER_MS > NOW_NS + left_ns);
    }
}

/* Every prefix either is refused or is a whole message by itself (the fields that were cut off were
 * absent); never more than was sent. */
static void test_truncated_messages(void **state)
{
    (void)state;
    uint32_t refused = 0;
    for (int kind = 0; kind < MESSAGE_KIND_COUNT; kind++) {
        if (!message_crosses_nodes((enum message_kind)kind))
            continue;
        struct arena arena;
        arena_init(&arena, NULL, 0);
        struct message *message = random_message((enum message_kind)kind);
        struct bytes bytes = peer_message_encode(&arena, message, NOW_NS);
        for (size_t size = 0; size < bytes.size; size += 1 + size / 200) {
            /* In a block of its own, so that the sanitizer sees a read past the end. */
            uint8_t *cut = test_malloc(size + 1);
            memcpy(cut, bytes.data, size);
            struct message *decoded = peer_message_decode(bytes_of(cut, size), 3, 9, NOW_NS);
            assert_null(decoded); /* the body is last and sized */
            refused++;
            test_free(cut);
        }
        message_free(message);
        arena_deinit(&arena);
    }
    assert_true(refused > 500);
}

/* What is accepted after damage must be a message that could have been sent. */
static void check_hostile(struct bytes bytes, uint32_t *accepted)
{
    struct message *decoded = peer_message_decode(bytes, 3, 9, NOW_NS);
    if (decoded == NULL)
        return;
    (*accepted)++;
    assert_int_equal(decoded->from.node, 3);
    assert_int_equal(decoded->to.node, 9);
    assert_true(message_crosses_nodes(decoded->kind));
    struct arena arena;
    arena_init(&arena, NULL, 0);
    assert_true(peer_message_encode(&arena, decoded, NOW_NS).size > 0);
    arena_deinit(&arena);
    message_free(decoded);
}

static void test_flipped_bits_and_noise(void **state)
{
    (void)state;
    uint32_t accepted = 0;
    for (int round = 0; round < 20000; round++) {
        enum message_kind kind = (enum message_kind)prng_below(&prng, MESSAGE_KIND_COUNT);
        if (!message_crosses_nodes(kind))
            continue;
        struct arena arena;
        arena_init(&arena, NULL, 0);
        struct message *message = random_message(kind);
        struct bytes bytes = peer_message_encode(&arena, message, NOW_NS);
        uint8_t *copy = test_malloc(bytes.size);
        memcpy(copy, bytes.data, bytes.size);
        for (uint64_t flips = prng_between(&prng, 1, 8); flips > 0; flips--) {
            /* Most damage goes where the structure is: the start. */
            size_t end = prng_chance(&prng, 0.7) && bytes.size > 40 ? 40 : bytes.size;
            copy[prng_below(&prng, end)] ^= (uint8_t)(1u << prng_below(&prng, 8));
        }
        check_hostile(bytes_of(copy, bytes.size), &accepted);
        test_free(copy);
        message_free(message);
        arena_deinit(&arena);
    }
    assert_true(accepted > 100);
    for (int round = 0; round < 100000; round++) {
        uint8_t noise[64];
        size_t size = prng_below(&prng, sizeof noise);
        for (size_t i = 0; i < size; i++)
            noise[i] = (uint8_t)prng_u64(&prng);
        check_hostile(bytes_of(noise, size), &accepted);
    }
}

static bool refused_by_both(struct message *message)
{
    struct arena arena;
    arena_init(&arena, NULL, 0);
    bool refused = peer_message_encode(&arena, message, NOW_NS).size == 0 &&
                   peer_frame_message_size(message, NOW_NS) == 0;
    arena_deinit(&arena);
    message_free(message);
    return refused;
}

static struct message *sound_write(void)
{
    struct message *message = message_new(MESSAGE_replica_write, 0);
    message->to = (struct actor_id){9, ACTOR_REPLICA, 0};
    message->from = (struct actor_id){3, ACTOR_COORDINATOR, 0};
    message->replica_write.key = bytes_of_string("k");
    return message;
}

static void test_limits_when_sending(void **state)
{
    (void)state;
    uint8_t *big = test_calloc(1, GRPC_MESSAGE_BYTES_MAX + 1);
    assert_false(refused_by_both(sound_write()));
    struct message *message = sound_write();
    message->replica_write.key = bytes_of(big, KEY_BYTES_MAX);
    message->replica_write.record = bytes_of(big, VALUE_BYTES_MAX_CEILING + 65536);
    assert_false(refused_by_both(message));
    message = sound_write();
    message->replica_write.key = bytes_of(big, KEY_BYTES_MAX + 1);
    assert_true(refused_by_both(message));
    message = sound_write();
    message->replica_write.key.size = 0;
    assert_true(refused_by_both(message));
    message = sound_write();
    message->replica_write.record = bytes_of(big, GRPC_MESSAGE_BYTES_MAX);
    assert_true(refused_by_both(message));
    message = sound_write();
    message->replica_write.partition = PARTITIONS_MAX;
    assert_true(refused_by_both(message));
    message = sound_write();
    message->to.kind = ACTOR_GOSSIP;
    assert_true(refused_by_both(message));
    message = sound_write();
    message->from.kind = ACTOR_EDGE;
    assert_true(refused_by_both(message));
    test_free(big);
}

/* Made by protobuf-c, since our own encoder would refuse. */
static bool decodes(const wire_message *wire)
{
    size_t size = coterie__internal__v1__peer_message__get_packed_size(wire);
    uint8_t *data = test_malloc(size);
    coterie__internal__v1__peer_message__pack(wire, data);
    struct message *message = peer_message_decode(bytes_of(data, size), 3, 9, NOW_NS);
    test_free(data);
    bool accepted = message != NULL;
    message_free(message);
    return accepted;
}

static void test_limits_when_receiving(void **state)
{
    (void)state;
    uint8_t *big = test_calloc(1, GRPC_MESSAGE_BYTES_MAX + 1);
    Coterie__Internal__V1__ReplicaWrite write = COTERIE__INTERNAL__V1__REPLICA_WRITE__INIT;
    write.key = (ProtobufCBinaryData){1, big};
    wire_message good = COTERIE__INTERNAL__V1__PEER_MESSAGE__INIT;
    good.from_kind = ACTOR_COORDINATOR;
    good.to_kind = ACTOR_REPLICA;
    good.body_case = COTERIE__INTERNAL__V1__PEER_MESSAGE__BODY_REPLICA_WRITE;
    good.replica_write = &write;
    assert_true(decodes(&good));

    wire_message bad = good;
    bad.to_kind = ACTOR_COORDINATOR;
    assert_false(decodes(&bad));
    bad = good;
    bad.to_kind = 77;
    assert_false(decodes(&bad));
    bad = good;
    bad.from_kind = ACTOR_EDGE;
    assert_false(decodes(&bad));
    bad = good;
    bad.from_kind = ACTOR_RUNTIME;
    assert_false(decodes(&bad));
    bad = good;
    bad.to_index = 256;
    assert_false(decodes(&bad));
    bad = good;
    bad.body_case = COTERIE__INTERNAL__V1__PEER_MESSAGE__BODY__NOT_SET;
    assert_false(decodes(&bad));

    uint32_t onward[ONWARD_MAX + 1] = {1};
    write.onward = onward;
    write.n_onward = ONWARD_MAX;
    assert_true(decodes(&good));
    write.n_onward = ONWARD_MAX + 1;
    assert_false(decodes(&good));
    write.n_onward = 0;

    write.key.len = KEY_BYTES_MAX;
    assert_true(decodes(&good));
    write.key.len = KEY_BYTES_MAX + 1;
    assert_false(decodes(&good));
    write.key.len = 0;
    assert_false(decodes(&good));
    write.key.len = 1;
    write.policy = 4;
    assert_false(decodes(&good));
    write.policy = 3;
    write.partition = PARTITIONS_MAX;
    assert_false(decodes(&good));
    write.partition = PARTITIONS_MAX - 1;
    write.reason = 4;
    assert_false(decodes(&good));
    write.reason = 3;
    write.record = (ProtobufCBinaryData){GRPC_MESSAGE_BYTES_MAX, big};
    assert_false(decodes(&good));
    write.record.len = VALUE_BYTES_MAX_CEILING;
    assert_true(decodes(&good));

    Coterie__Internal__V1__Progress progress = COTERIE__INTERNAL__V1__PROGRESS__INIT;
    Coterie__Internal__V1__ForwardPutReply reply = COTERIE__INTERNAL__V1__FORWARD_PUT_REPLY__INIT;
    uint32_t members[REPLICAS_TOTAL_MAX + 1] = {0};
    reply.progress = &progress;
    progress.acked_members = members;
    progress.n_acked_members = REPLICAS_TOTAL_MAX;
    good.to_kind = ACTOR_COORDINATOR;
    good.body_case = COTERIE__INTERNAL__V1__PEER_MESSAGE__BODY_FORWARD_PUT_REPLY;
    good.forward_put_reply = &reply;
    assert_true(decodes(&good));
    progress.n_acked_members = REPLICAS_TOTAL_MAX + 1;
    assert_false(decodes(&good));
    progress.n_acked_members = 0;
    reply.status = ERR_COUNT;
    assert_false(decodes(&good));
    reply.status = ERR_COUNT - 1;
    reply.outcome = 3;
    assert_false(decodes(&good));
    reply.outcome = 2;
    reply.why = (ProtobufCBinaryData){PEER_WHY_BYTES_MAX, big};
    assert_true(decodes(&good));
    reply.why.len++;
    assert_false(decodes(&good));
    test_free(big);
}

static void test_sentences_are_cut_and_made_printable(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct message *message = message_new(MESSAGE_forward_put_reply, 0);
    message->from = (struct actor_id){3, ACTOR_COORDINATOR, 0};
    message->to = (struct actor_id){9, ACTOR_COORDINATOR, 0};
    char text[1000];
    memset(text, 'x', sizeof text);
    text[1] = '\n';
    text[999] = '\0';
    message->forward_put_reply.result.why = text;
    struct message *decoded =
        peer_message_decode(peer_message_encode(&arena, message, NOW_NS), 3, 9, NOW_NS);
    assert_non_null(decoded);
    assert_int_equal(strlen(decoded->forward_put_reply.result.why), PEER_WHY_BYTES_MAX);
    assert_int_equal(decoded->forward_put_reply.result.why[1], '?');
    message_free(decoded);
    message_free(message);
    arena_deinit(&arena);
}

/* Not a limit to hold on a loaded machine; the figure is printed for whoever looks. */
static void test_speed_of_a_small_write(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct message *message = sound_write();
    message->id = 123456789;
    message->epoch = 3;
    message->deadline_ns = NOW_NS + 5000 * NS_PER_MS;
    message->replica_write.keyspace_id = 0xdeadbeef;
    message->replica_write.key = random_bytes(&message->arena, 16, 16);
    message->replica_write.record = random_bytes(&message->arena, 140, 140);
    uint8_t frame[512];
    uint8_t sum = 0;
    const int count = 200000;
    struct timespec t[3];
    clock_gettime(CLOCK_MONOTONIC, &t[0]);
    size_t size = 0;
    for (int i = 0; i < count; i++) {
        size = peer_frame_message_size(message, NOW_NS + (uint64_t)i);
        assert_true(size != 0 && size < sizeof frame);
        peer_frame_message_write(frame, size, message, NOW_NS + (uint64_t)i);
        sum = (uint8_t)(sum + frame[size / 2]);
    }
    clock_gettime(CLOCK_MONOTONIC, &t[1]);
    struct bytes bytes = peer_message_encode(&arena, message, NOW_NS);
    for (int i = 0; i < count; i++) {
        struct message *decoded = peer_message_decode(bytes, 3, 9, NOW_NS);
        assert_non_null(decoded);
        sum = (uint8_t)(sum + decoded->replica_write.record.data[0]);
        message_free(decoded);
    }
    clock_gettime(CLOCK_MONOTONIC, &t[2]);
    double ns[2];
    for (int i = 0; i < 2; i++)
        ns[i] = ((double)(t[i + 1].tv_sec - t[i].tv_sec) * 1e9 +
                 (double)(t[i + 1].tv_nsec - t[i].tv_nsec)) /
                count;
    print_message("replica_write of %zu bytes: encode %.0f ns, decode and free %.0f ns (%u)\n",
                  size, ns[0], ns[1], sum);
    message_free(message);
    arena_deinit(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_every_kind_comes_back_as_it_went, setup),
        cmocka_unit_test_setup(test_fields_are_those_of_the_schema, setup),
        cmocka_unit_test_setup(test_deadlines_never_grow, setup),
        cmocka_unit_test_setup(test_truncated_messages, setup),
        cmocka_unit_test_setup(test_flipped_bits_and_noise, setup),
        cmocka_unit_test_setup(test_limits_when_sending, setup),
        cmocka_unit_test_setup(test_limits_when_receiving, setup),
        cmocka_unit_test_setup(test_sentences_are_cut_and_made_printable, setup),
        cmocka_unit_test_setup(test_speed_of_a_small_write, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
