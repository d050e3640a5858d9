// link: coterie_rpc
/* Bad input gets a precise status that names the field and the limit, and nothing of it reaches an
 * actor (DESIGN.md 10). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model/limits.h"
#include "tests/rpc/server_fixture.h"

static struct bytes filled(size_t size)
{
    uint8_t *data = malloc(size + 1);
    assert_non_null(data);
    memset(data, 'x', size);
    return bytes_of(data, size);
}

static void expect(const struct raw_reply *reply, grpc_status_code code, const char *reason,
                   const char *field, const char *message)
{
    assert_string_equal(reply->message, message);
    assert_int_equal(reply->code, code);
    assert_string_equal(reply->reason, reason);
    assert_string_equal(reply->field, field);
}

static void expect_invalid(const struct raw_reply *reply, const char *field, const char *message)
{
    expect(reply, GRPC_STATUS_INVALID_ARGUMENT, "INVALID_ARGUMENT", field, message);
}

static uint64_t requests_seen(const struct fixture *fixture)
{
    return atomic_load(&fixture->node.coordinator->requests);
}

#define NOT_OURS                                                                                   \
    "context: not one that this cluster has given for this key; read the key again and hand back " \
    "the context of that answer, unchanged"

/* -- single calls ------------------------------------------------------------------------------ */

static void test_get_limits(void **state)
{
    struct fixture *fixture = *state;
    struct bytes big = filled(KEY_BYTES_MAX + 1);
    char long_name[80];
    memset(long_name, 'a', 64);
    long_name[64] = '\0';
    const struct {
        struct get_words words;
        grpc_status_code code;
        const char *reason;
        const char *field;
        const char *message;
    } cases[] = {
        {{.key = ""}, 3, "INVALID_ARGUMENT", "key", "key: empty, at least 1 byte"},
        {{.key_bytes = big}, 3, "INVALID_ARGUMENT", "key", "key: 4097 bytes, limit 4096"},
        {{.key = "a", .keyspace = "Bad"},
         3,
         "INVALID_ARGUMENT",
         "keyspace",
         "keyspace: \"Bad\" is not of the form [a-z][a-z0-9_-]{0,62}"},
        {{.key = "a", .keyspace = "b\n\xff"},
         3,
         "INVALID_ARGUMENT",
         "keyspace",
         "keyspace: \"b??\" is not of the form [a-z][a-z0-9_-]{0,62}"},
        {{.key = "a", .keyspace = long_name},
         3,
         "INVALID_ARGUMENT",
         "keyspace",
         "keyspace: \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\" is not "
         "of the form [a-z][a-z0-9_-]{0,62}"},
        {{.key = "a", .keyspace = "nowhere"},
         5,
         "KEYSPACE_NOT_FOUND",
         "",
         "keyspace: \"nowhere\" does not exist"},
        {{.key = "a", .consistency = 7},
         3,
         "INVALID_ARGUMENT",
         "consistency",
         "consistency: 7 is no known level, limit 6"},
        {{.key = "a", .consistency = -1},
         3,
         "INVALID_ARGUMENT",
         "consistency",
         "consistency: -1 is no known level, limit 6"},
        {{.key = "a", .consistency = 1, .r = 1},
         3,
         "INVALID_ARGUMENT",
         "r",
         "r: given together with consistency; give one of them"},
        {{.key = "a", .r = 4},
         3,
         "INVALID_ARGUMENT",
         "r",
         "r: 4 replicas, limit 3 (keyspace \"default\")"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct get_result got = do_get(fixture, &cases[i].words);
        expect(&got.reply, cases[i].code, cases[i].reason, cases[i].field, cases[i].message);
        get_result_clear(&got);
    }
    assert_int_equal(requests_seen(fixture), 0);
    /* At the limits all is well. */
    struct get_result got = do_get(
        fixture, &(struct get_words){.key_bytes = bytes_of(big.data, KEY_BYTES_MAX), .r = 3});
    assert_int_equal(got.reply.code, GRPC_STATUS_OK);
    get_result_clear(&got);
    for (int level = 0; level <= 6; level++) {
        got = do_get(fixture, &(struct get_words){.key = "a", .consistency = level});
        assert_int_equal(got.reply.code, GRPC_STATUS_OK);
        get_result_clear(&got);
    }
    free((void *)(uintptr_t)big.data);
}

static void test_put_limits(void **state)
{
    struct fixture *fixture = *state;
    uint32_t max = VALUE_BYTES_MAX_DEFAULT;
    struct bytes big = filled(max + 1);
    static const uint8_t newer_format[] = {9, 0, 0};
    static const uint8_t truncated[] = {1, 1};
    static const uint8_t trailing[] = {1, 0, 0};
    const struct {
        struct put_words words;
        const char *field;
        const char *message;
    } cases[] = {
        {{.key = "", .value = "v"}, "key", "key: empty, at least 1 byte"},
        {{.key = "a", .value_bytes = big}, "value", "value: 1048577 bytes, limit 1048576"},
        {{.key = "a", .value = "v", .context = bytes_of(big.data, CONTEXT_BYTES_MAX + 1)},
         "context",
         "context: 16385 bytes, limit 16384"},
        {{.key = "a", .value = "v", .context = bytes_of(newer_format, sizeof newer_format)},
         "context",
         NOT_OURS},
        {{.key = "a", .value = "v", .context = bytes_of(truncated, sizeof truncated)},
         "context",
         NOT_OURS},
        {{.key = "a", .value = "v", .context = bytes_of(trailing, sizeof trailing)},
         "context",
         NOT_OURS},
        {{.key = "a", .value = "v", .ttl_zero = true},
         "ttl_ms",
         "ttl_ms: 0, must be 1 to 3162240000000"},
        {{.key = "a", .value = "v", .ttl_ms = UINT64_MAX},
         "ttl_ms",
         "ttl_ms: 18446744073709551615, must be 1 to 3162240000000"},
        {{.key = "a", .value = "v", .w = 4}, "w", "w: 4 replicas, limit 3 (keyspace \"default\")"},
        {{.key = "a", .value = "v", .w = 2, .consistency = 2},
         "w",
         "w: given together with consistency; give one of them"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct put_result_words put = do_put(fixture, &cases[i].words);
        expect_invalid(&put.reply, cases[i].field, cases[i].message);
        put_result_clear(&put);
    }
    assert_int_equal(requests_seen(fixture), 0);
    struct put_result_words put =
        do_put(fixture, &(struct put_words){.key = "a", .value_bytes = bytes_of(big.data, max)});
    assert_int_equal(put.reply.code, GRPC_STATUS_OK);
    put_result_clear(&put);
    struct get_result got = do_get(fixture, &(struct get_words){.key = "a"});
    assert_int_equal(got.response->values[0]->value.len, max);
    assert_memory_equal(got.response->values[0]->value.data, big.data, max);
    get_result_clear(&got);
    free((void *)(uintptr_t)big.data);
}

/* A context for `key` of `keyspace` as a node with this secret would give it. */
static struct bytes forged(struct arena *arena, const char *cluster_secret, uint32_t keyspace_id,
                           const char *key)
{
    struct context_keys keys;
    context_keys_derive(fake_cluster_id, bytes_of_string(cluster_secret), &keys);
    struct context_scope scope = context_scope_of(&keys, keyspace_id, bytes_of_string(key));
    const struct clock_entry entry = {.member = 1, .key_epoch = 1, .base = 1};
    return context_of_clock(arena, &keys, &scope, &(struct clock){.count = 1, .entries = &entry});
}

/* A context says which writes the client has seen: whoever could make one up, or use another key's,
 * could remove what nobody has read (DESIGN.md 5). */
static void test_forged_contexts(void **state)
{
    struct fixture *fixture = *state;
    struct arena arena;
    arena_init(&arena, NULL, 0);
    uint32_t keyspace_id = keyspace_builtin().id;
    struct bytes sound = forged(&arena, "fake secret", keyspace_id, "a");
    const struct bytes bad[] = {
        forged(&arena, "another secret", keyspace_id, "a"),
        forged(&arena, "", keyspace_id, "a"),
        forged(&arena, "fake secret", keyspace_id + 1, "a"),
        forged(&arena, "fake secret", keyspace_id, "b"),
        bytes_of(sound.data, sound.size - 1),
        bytes_of(sound.data + 1, sound.size - 1 - CONTEXT_MAC_BYTES), /* the bare clock */
    };
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        struct put_result_words put =
            do_put(fixture, &(struct put_words){.key = "a", .value = "v", .context = bad[i]});
        expect_invalid(&put.reply, "context", NOT_OURS);
        put_result_clear(&put);
        put = do_delete(fixture, "a", bad[i]);
        expect_invalid(&put.reply, "context", NOT_OURS);
        put_result_clear(&put);
    }
    /* What a get or a put gave for one key is refused for another, and in another keyspace. */
    struct get_result got = do_get(fixture, &(struct get_words){.key = "b"});
    struct put_result_words given = do_put(fixture, &(struct put_words){.key = "b", .value = "v"});
    const struct bytes others[] = {bytes_of_binary(got.response->context),
                                   bytes_of_binary(given.response->context)};
    uint64_t before = requests_seen(fixture);
    for (size_t i = 0; i < ARRAY_COUNT(others); i++) {
        struct put_result_words put =
            do_put(fixture, &(struct put_words){.key = "a", .value = "v", .context = others[i]});
        expect_invalid(&put.reply, "context", NOT_OURS);
        put_result_clear(&put);
        put = do_put(fixture,
                     &(struct put_words){.key = "b", .keyspace = "last", .context = others[i]});
        expect_invalid(&put.reply, "context", NOT_OURS);
        put_result_clear(&put);
    }
    assert_int_equal(requests_seen(fixture), before);
    struct put_result_words put =
        do_put(fixture, &(struct put_words){.key = "b", .value = "w", .context = others[1]});
    assert_int_equal(put.reply.code, GRPC_STATUS_OK);
    put_result_clear(&put);
    put = do_put(fixture, &(struct put_words){.key = "a", .value = "v", .context = sound});
    assert_int_equal(put.reply.code, GRPC_STATUS_OK); /* the forger's only way is the secret */
    put_result_clear(&put);
    put_result_clear(&given);
    get_result_clear(&got);
    arena_deinit(&arena);
}

/* A C string would end at the NUL and "default" would be written to. */
static void test_hidden_bytes_in_strings(void **state)
{
    struct fixture *fixture = *state;
    static const uint8_t request[] = "\x0a\x0c"
                                     "default\0evil"
                                     "\x12\x01"
                                     "a";
    struct bytes bytes = bytes_of(request, sizeof request - 1);
    struct raw_reply reply = raw_unary(&fixture->client, KEY_VALUE_GET, &bytes, 0);
    expect_invalid(&reply, "keyspace", "keyspace: holds a NUL byte");
    raw_reply_clear(&reply);
    /* Inside a message of a message. */
    static const uint8_t create[] = "\x0a\x05\x0a\x03"
                                    "a\0b";
    bytes = bytes_of(create, sizeof create - 1);
    reply = raw_unary(&fixture->client, "/coterie.v1.Cluster/CreateKeyspace", &bytes, 0);
    expect_invalid(&reply, "name", "name: holds a NUL byte");
    raw_reply_clear(&reply);
}

static const char *const unary_methods[] = {
    "/coterie.v1.KeyValue/Get",           "/coterie.v1.KeyValue/Put",
    "/coterie.v1.KeyValue/Delete",        "/coterie.v1.KeyValue/BatchGet",
    "/coterie.v1.KeyValue/BatchWrite",    "/coterie.v1.Cluster/Status",
    "/coterie.v1.Cluster/ListNodes",      "/coterie.v1.Cluster/GetRing",
    "/coterie.v1.Cluster/ListKeyspaces",  "/coterie.v1.Cluster/DescribeKeyspace",
    "/coterie.v1.Cluster/CreateKeyspace", "/coterie.v1.Cluster/DropKeyspace",
    "/grpc.health.v1.Health/Check",       "/coterie.v1.KeyValue/CompareAndSet",
};

static void test_no_message_and_garbage(void **state)
{
    struct fixture *fixture = *state;
    static const uint8_t garbage[] = {0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f, 1, 2, 3};
    struct bytes bytes = bytes_of(garbage, sizeof garbage);
    for (size_t i = 0; i < ARRAY_COUNT(unary_methods); i++) {
        struct raw_reply reply = raw_unary(&fixture->client, unary_methods[i], NULL, 0);
        expect_invalid(&reply, "request", "request: the call carries no message");
        raw_reply_clear(&reply);
        reply = raw_unary(&fixture->client, unary_methods[i], &bytes, 0);
        assert_int_equal(reply.code, GRPC_STATUS_INVALID_ARGUMENT);
        raw_reply_clear(&reply);
    }
    assert_int_equal(requests_seen(fixture), 0);
}

/* Random bytes as messages: whatever the decoder makes of them, the server answers each. */
static void test_random_messages(void **state)
{
    struct fixture *fixture = *state;
    struct prng prng;
    prng_init(&prng, 7, 0);
    uint8_t data[64];
    for (int round = 0; round < 2000; round++) {
        size_t size = prng_below(&prng, sizeof data + 1);
        for (size_t i = 0; i < size; i++)
            data[i] =
                prng_chance(&prng, 0.5) ? (uint8_t)prng_below(&prng, 32) : (uint8_t)prng_u64(&prng);
        struct bytes bytes = bytes_of(data, size);
        const char *method = unary_methods[prng_below(&prng, ARRAY_COUNT(unary_methods))];
        struct raw_reply reply = raw_unary(&fixture->client, method, &bytes, 10000);
        assert_int_not_equal(reply.code, GRPC_STATUS_UNAVAILABLE);
        assert_int_not_equal(reply.code, GRPC_STATUS_DEADLINE_EXCEEDED);
        raw_reply_clear(&reply);
    }
}

static void test_unknown_method(void **state)
{
    struct fixture *fixture = *state;
    for (int i = 0; i < 20; i++) {
        struct raw_reply reply =
            raw_unary(&fixture->client, "/coterie.v1.KeyValue/Nonsense", &(struct bytes){0}, 0);
        expect(&reply, GRPC_STATUS_UNIMPLEMENTED, "UNKNOWN_METHOD", "",
               "method: /coterie.v1.KeyValue/Nonsense is not served here");
        raw_reply_clear(&reply);
    }
}

/* 4 MiB on the wire is gRPC's own limit; it ends that call only. */
static void test_oversized_message(void **state)
{
    struct fixture *fixture = *state;
    struct bytes big = filled(GRPC_MESSAGE_BYTES_MAX + 1);
    struct raw_reply reply = raw_unary(&fixture->client, KEY_VALUE_PUT, &big, 0);
    assert_int_equal(reply.code, GRPC_STATUS_RESOURCE_EXHAUSTED);
    raw_reply_clear(&reply);
    struct get_result got = do_get(fixture, &(struct get_words){.key = "a"});
    assert_int_equal(got.reply.code, GRPC_STATUS_OK);
    get_result_clear(&got);
    free((void *)(uintptr_t)big.data);
}

/* -- batches ----------------------------------------------------------------------------------- */

typedef Coterie__V1__BatchWriteRequest__Item write_item;

static struct raw_reply batch_write(struct fixture *fixture, write_item *items, size_t count)
{
    write_item **list = malloc((count + 1) * sizeof *list);
    assert_non_null(list);
    for (size_t i = 0; i < count; i++)
        list[i] = &items[i];
    Coterie__V1__BatchWriteRequest request = COTERIE__V1__BATCH_WRITE_REQUEST__INIT;
    request.n_items = count;
    request.items = list;
    struct raw_reply reply =
        raw_message(&fixture->client, "/coterie.v1.KeyValue/BatchWrite", &request.base, 0);
    free(list);
    return reply;
}

static struct raw_reply batch_get(struct fixture *fixture, const char *keyspace,
                                  ProtobufCBinaryData *keys, size_t count)
{
    Coterie__V1__BatchGetRequest request = COTERIE__V1__BATCH_GET_REQUEST__INIT;
    request.keyspace = (char *)(uintptr_t)keyspace;
    request.n_keys = count;
    request.keys = keys;
    return raw_message(&fixture->client, "/coterie.v1.KeyValue/BatchGet", &request.base, 0);
}

static ProtobufCBinaryData word(const char *text)
{
    return binary_of_bytes(bytes_of_string(text));
}

/* Each item succeeds or fails by itself, in the order of the request. */
static void test_batch_items(void **state)
{
    struct fixture *fixture = *state;
    write_item items[5];
    const char *keys[] = {"b1", "", "error:8:2:", "b2", "b1"};
    for (size_t i = 0; i < ARRAY_COUNT(items); i++) {
        coterie__v1__batch_write_request__item__init(&items[i]);
        items[i].key = word(keys[i]);
        items[i].value = word(keys[i]);
    }
    items[4].delete_ = true; /* with a value: refused */
    struct raw_reply reply = batch_write(fixture, items, ARRAY_COUNT(items));
    assert_int_equal(reply.code, GRPC_STATUS_OK);
    Coterie__V1__BatchWriteResponse *written =
        coterie__v1__batch_write_response__unpack(NULL, reply.body_size, reply.body);
    assert_int_equal(written->n_items, 5);
    assert_int_equal(written->items[0]->status->code, GRPC_STATUS_OK);
    assert_int_not_equal(written->items[0]->result->context.len, 0);
    assert_int_equal(written->items[1]->status->code, GRPC_STATUS_INVALID_ARGUMENT);
    assert_string_equal(written->items[1]->status->message, "key: empty, at least 1 byte");
    assert_null(written->items[1]->result);
    assert_int_equal(written->items[2]->status->code, GRPC_STATUS_UNKNOWN);
    assert_string_equal(written->items[2]->status->reason, "OUTCOME_UNKNOWN");
    assert_string_equal(written->items[2]->status->outcome, "UNKNOWN");
    assert_int_equal(written->items[3]->status->code, GRPC_STATUS_OK);
    assert_int_equal(written->items[4]->status->code, GRPC_STATUS_INVALID_ARGUMENT);
    assert_string_equal(written->items[4]->status->message, "value: given together with delete");
    coterie__v1__batch_write_response__free_unpacked(written, NULL);
    raw_reply_clear(&reply);

    ProtobufCBinaryData asked[] = {word("b2"), word("none"), word("error:8:"), word("b1")};
    reply = batch_get(fixture, "default", asked, ARRAY_COUNT(asked));
    assert_int_equal(reply.code, GRPC_STATUS_OK);
    Coterie__V1__BatchGetResponse *got =
        coterie__v1__batch_get_response__unpack(NULL, reply.body_size, reply.body);
    assert_int_equal(got->n_items, 4);
    assert_memory_equal(got->items[0]->key.data, "b2", 2);
    assert_memory_equal(got->items[0]->result->values[0]->value.data, "b2", 2);
    assert_false(got->items[1]->result->found);
    assert_int_equal(got->items[2]->status->code, GRPC_STATUS_UNAVAILABLE);
    assert_string_equal(got->items[2]->status->message,
                        "1 of 2 replicas answered (missing: n2): why");
    assert_memory_equal(got->items[3]->result->values[0]->value.data, "b1", 2);
    coterie__v1__batch_get_response__free_unpacked(got, NULL);
    raw_reply_clear(&reply);
}

/* Each item's context is its own key's, given by whichever call. */
static void test_batch_contexts(void **state)
{
    struct fixture *fixture = *state;
    struct put_result_words one = do_put(fixture, &(struct put_words){.key = "c1", .value = "v"});
    ProtobufCBinaryData keys[] = {word("c1"), word("c2")};
    struct raw_reply reply = batch_get(fixture, "default", keys, ARRAY_COUNT(keys));
    assert_int_equal(reply.code, GRPC_STATUS_OK);
    Coterie__V1__BatchGetResponse *got =
        coterie__v1__batch_get_response__unpack(NULL, reply.body_size, reply.body);
    assert_true(bytes_equal(bytes_of_binary(got->items[0]->result->context),
                            bytes_of_binary(one.response->context)));
    write_item items[4];
    for (size_t i = 0; i < ARRAY_COUNT(items); i++) {
        coterie__v1__batch_write_request__item__init(&items[i]);
        items[i].key = keys[i / 2];
        items[i].value = word("w");
        items[i].context = got->items[i % 2]->result->context;
    }
    struct raw_reply written_reply = batch_write(fixture, items, ARRAY_COUNT(items));
    assert_int_equal(written_reply.code, GRPC_STATUS_OK);
    Coterie__V1__BatchWriteResponse *written = coterie__v1__batch_write_response__unpack(
        NULL, written_reply.body_size, written_reply.body);
    for (size_t i = 0; i < ARRAY_COUNT(items); i++) {
        bool own = i / 2 == i % 2;
        assert_int_equal(written->items[i]->status->code,
                         own ? GRPC_STATUS_OK : GRPC_STATUS_INVALID_ARGUMENT);
        assert_string_equal(written->items[i]->status->message, own ? "" : NOT_OURS);
        assert_true((written->items[i]->result != NULL) == own);
    }
    /* What a batch gave, a single put takes. */
    struct put_result_words put =
        do_put(fixture,
               &(struct put_words){.key = "c2",
                                   .value = "x",
                                   .context = bytes_of_binary(written->items[3]->result->context)});
    assert_int_equal(put.reply.code, GRPC_STATUS_OK);
    assert_int_equal(put.response->siblings, 1);
    put_result_clear(&put);
    put_result_clear(&one);
    coterie__v1__batch_write_response__free_unpacked(written, NULL);
    coterie__v1__batch_get_response__free_unpacked(got, NULL);
    raw_reply_clear(&written_reply);
    raw_reply_clear(&reply);
}

static void test_batch_limits(void **state)
{
    struct fixture *fixture = *state;
    ProtobufCBinaryData *keys = calloc(BATCH_ITEMS_MAX + 1, sizeof *keys);
    assert_non_null(keys);
    for (size_t i = 0; i <= BATCH_ITEMS_MAX; i++)
        keys[i] = word("k");
    struct raw_reply reply = batch_get(fixture, "default", keys, BATCH_ITEMS_MAX + 1);
    expect_invalid(&reply, "keys", "keys: 1001 items, limit 1000");
    raw_reply_clear(&reply);
    reply = batch_get(fixture, "default", keys, 0);
    expect_invalid(&reply, "keys", "keys: none given, at least 1");
    raw_reply_clear(&reply);
    reply = batch_get(fixture, "nowhere", keys, 1);
    assert_int_equal(reply.code, GRPC_STATUS_NOT_FOUND);
    raw_reply_clear(&reply);
    assert_int_equal(requests_seen(fixture), 0);
    /* 1,000 items is the most, also where fewer may be in flight: then it goes alone. */
    reply = batch_get(fixture, "default", keys, BATCH_ITEMS_MAX);
    assert_int_equal(reply.code, GRPC_STATUS_OK);
    raw_reply_clear(&reply);
    assert_int_equal(requests_seen(fixture), BATCH_ITEMS_MAX);
    free(keys);

    struct bytes big = filled(VALUE_BYTES_MAX_DEFAULT);
    write_item items[4];
    for (size_t i = 0; i < ARRAY_COUNT(items); i++) {
        coterie__v1__batch_write_request__item__init(&items[i]);
        items[i].key = word("big");
        items[i].value = (ProtobufCBinaryData){.len = big.size - (i == 3 ? 1024 : 0),
                                               .data = (uint8_t *)(uintptr_t)big.data};
    }
    reply = batch_write(fixture, items, 4);
    assert_int_equal(reply.code, GRPC_STATUS_INVALID_ARGUMENT);
    assert_string_equal(reply.field, "batch");
    assert_non_null(strstr(reply.message, "limit 3145728"));
    raw_reply_clear(&reply);
    reply = batch_write(fixture, items, 1);
    assert_int_equal(reply.code, GRPC_STATUS_OK);
    raw_reply_clear(&reply);
    /* Three values of 1 MiB fit an answer, the others are to be asked for again. */
    ProtobufCBinaryData same[5] = {word("big"), word("big"), word("big"), word("big"), word("k")};
    reply = batch_get(fixture, "default", same, 5);
    assert_int_equal(reply.code, GRPC_STATUS_OK);
    Coterie__V1__BatchGetResponse *got =
        coterie__v1__batch_get_response__unpack(NULL, reply.body_size, reply.body);
    size_t full = 0;
    for (size_t i = 0; i < got->n_items; i++) {
        if (got->items[i]->status->code == GRPC_STATUS_RESOURCE_EXHAUSTED) {
            assert_string_equal(got->items[i]->status->reason, "BATCH_TOO_LARGE");
            full++;
        }
    }
    assert_int_equal(full, 1);
    coterie__v1__batch_get_response__free_unpacked(got, NULL);
    raw_reply_clear(&reply);
    free((void *)(uintptr_t)big.data);
}

/* Two bytes on the wire make a struct of a hundred: counted before they are decoded. */
static void test_batch_of_empty_items(void **state)
{
    struct fixture *fixture = *state;
    size_t size = 2u << 20;
    uint8_t *data = malloc(size);
    assert_non_null(data);
    for (size_t i = 0; i < size; i += 2) {
        data[i] = 0x12;
        data[i + 1] = 0;
    }
    struct bytes bytes = bytes_of(data, size);
    struct raw_reply reply =
        raw_unary(&fixture->client, "/coterie.v1.KeyValue/BatchWrite", &bytes, 0);
    expect_invalid(&reply, "items", "items: 1048576 items, limit 1000");
    raw_reply_clear(&reply);
    /* The same in a message that has no such limit: map entries of a keyspace. */
    data[0] = 0x0a;
    size_t inner = size - 4;
    data[1] = (uint8_t)(0x80 | (inner & 0x7f));
    data[2] = (uint8_t)(0x80 | ((inner >> 7) & 0x7f));
    data[3] = (uint8_t)(inner >> 14);
    for (size_t i = 4; i < size; i += 2) {
        data[i] = 0x32;
        data[i + 1] = 0;
    }
    reply = raw_unary(&fixture->client, "/coterie.v1.Cluster/CreateKeyspace", &bytes, 0);
    assert_int_equal(reply.code, GRPC_STATUS_INVALID_ARGUMENT);
    assert_string_equal(reply.field, "request");
    raw_reply_clear(&reply);
    free(data);
}

#define WITH_SERVER(test) cmocka_unit_test_setup_teardown(test, fixture_start, fixture_stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_SERVER(test_get_limits),
        WITH_SERVER(test_put_limits),
        WITH_SERVER(test_forged_contexts),
        WITH_SERVER(test_hidden_bytes_in_strings),
        WITH_SERVER(test_no_message_and_garbage),
        WITH_SERVER(test_random_messages),
        WITH_SERVER(test_unknown_method),
        WITH_SERVER(test_oversized_message),
        WITH_SERVER(test_batch_items),
        WITH_SERVER(test_batch_contexts),
        WITH_SERVER(test_batch_limits),
        WITH_SERVER(test_batch_of_empty_items),
    };
    rpc_library_init(NULL);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    rpc_library_shutdown();
    return failed;
}
