// link: coterie_rpc
/* Consistent keyspaces at the client port: which requests they take, and how a change that was
 * made, a condition that is false and an outcome that is not known are told apart (RELIABILITY
 * rules 20 and 33; DESIGN.md 8 and 9). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/rpc/server_fixture.h"

#include <stdio.h>

#define COMPARE_AND_SET "/coterie.v1.KeyValue/CompareAndSet"
#define STRICT          "strict" /* of mode consistent */

typedef Coterie__V1__CompareAndSetRequest compare_request;
typedef Coterie__V1__CompareAndSetResponse compare_response;

static void expect(const struct raw_reply *reply, grpc_status_code code, const char *reason,
                   const char *field, const char *message)
{
    assert_string_equal(reply->message, message);
    assert_int_equal(reply->code, code);
    assert_string_equal(reply->reason, reason);
    assert_string_equal(reply->field, field);
}

static uint64_t requests_seen(const struct fixture *fixture)
{
    return atomic_load(&fixture->node.coordinator->requests);
}

static ProtobufCBinaryData word(const char *text)
{
    return binary_of_bytes(bytes_of_string(text));
}

/* -- compare and set --------------------------------------------------------------------------- */

/* Without a condition and a change. */
static compare_request compare_of(const char *key)
{
    compare_request request = COTERIE__V1__COMPARE_AND_SET_REQUEST__INIT;
    request.keyspace = (char *)(uintptr_t)STRICT;
    request.key = word(key);
    return request;
}

static void set_value(compare_request *request, const char *value)
{
    request->change_case = COTERIE__V1__COMPARE_AND_SET_REQUEST__CHANGE_VALUE;
    request->value = word(value);
}

static void set_delete(compare_request *request, bool given)
{
    request->change_case = COTERIE__V1__COMPARE_AND_SET_REQUEST__CHANGE_DELETE;
    request->delete_ = given;
}

static void if_absent(compare_request *request, bool given)
{
    request->condition_case = COTERIE__V1__COMPARE_AND_SET_REQUEST__CONDITION_ABSENT;
    request->absent = given;
}

static void if_version(compare_request *request, uint64_t version)
{
    request->condition_case = COTERIE__V1__COMPARE_AND_SET_REQUEST__CONDITION_EXPECTED_VERSION;
    request->expected_version = version;
}

static void if_value(compare_request *request, const char *value)
{
    request->condition_case = COTERIE__V1__COMPARE_AND_SET_REQUEST__CONDITION_EXPECTED_VALUE;
    request->expected_value = word(value);
}

static struct raw_reply compare(struct fixture *fixture, const compare_request *request)
{
    return raw_message(&fixture->client, COMPARE_AND_SET, &request->base, 0);
}

/* `value`: that stands, when it was not applied; NULL: there is none. */
static void expect_answer(struct fixture *fixture, const compare_request *request, bool applied,
                          uint64_t version, const char *value)
{
    struct raw_reply reply = compare(fixture, request);
    assert_int_equal(reply.code, GRPC_STATUS_OK);
    compare_response *response =
        coterie__v1__compare_and_set_response__unpack(NULL, reply.body_size, reply.body);
    assert_int_equal(response->applied, applied);
    assert_int_equal(response->version, version);
    assert_int_equal(response->found, value != NULL);
    assert_int_equal(response->value.len, value == NULL ? 0 : strlen(value));
    if (value != NULL)
        assert_memory_equal(response->value.data, value, strlen(value));
    assert_non_null(response->acknowledgement);
    coterie__v1__compare_and_set_response__free_unpacked(response, NULL);
    raw_reply_clear(&reply);
}

/* Each condition, true and false; a false one shows what stands. */
static void test_conditions(void **state)
{
    struct fixture *fixture = *state;
    compare_request create = compare_of("k");
    set_value(&create, "one");
    if_absent(&create, true);
    expect_answer(fixture, &create, true, 1, NULL);
    expect_answer(fixture, &create, false, 1, "one");
    compare_request by_value = compare_of("k");
    set_value(&by_value, "two");
    if_value(&by_value, "one");
    expect_answer(fixture, &by_value, true, 2, NULL);
    expect_answer(fixture, &by_value, false, 2, "two");
    compare_request by_version = compare_of("k");
    set_delete(&by_version, true);
    if_version(&by_version, 2);
    expect_answer(fixture, &by_version, true, 3, NULL);
    expect_answer(fixture, &by_version, false, 3, NULL);
    expect_answer(fixture, &create, true, 4, NULL);
}

static void test_ttl_and_request_id(void **state)
{
    struct fixture *fixture = *state;
    compare_request request = compare_of("fading");
    set_value(&request, "v");
    if_version(&request, 0);
    request._ttl_ms_case = COTERIE__V1__COMPARE_AND_SET_REQUEST___TTL_MS_TTL_MS;
    request.ttl_ms = 600000;
    request.request_id = word("0123456789abcdef");
    expect_answer(fixture, &request, true, 1, NULL);
    struct get_result got =
        do_get(fixture, &(struct get_words){.key = "fading", .keyspace = STRICT});
    assert_int_equal(got.response->n_values, 1);
    assert_true(got.response->values[0]->ttl_ms > 500000);
    get_result_clear(&got);
}

/* Bad requests name their field, and nothing of them reaches an actor. */
static void test_compare_limits(void **state)
{
    struct fixture *fixture = *state;
    compare_request cases[9];
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        cases[i] = compare_of("k");
        set_value(&cases[i], "v");
        if_absent(&cases[i], true);
    }
    cases[0].condition_case = COTERIE__V1__COMPARE_AND_SET_REQUEST__CONDITION__NOT_SET;
    cases[1].change_case = COTERIE__V1__COMPARE_AND_SET_REQUEST__CHANGE__NOT_SET;
    if_absent(&cases[2], false);
    set_delete(&cases[3], false);
    set_delete(&cases[4], true);
    cases[4]._ttl_ms_case = COTERIE__V1__COMPARE_AND_SET_REQUEST___TTL_MS_TTL_MS;
    cases[4].ttl_ms = 5;
    cases[5].request_id = word("short");
    cases[6].key = word("");
    size_t large = (1u << 20) + 1;
    uint8_t *bytes = calloc(1, large);
    assert_non_null(bytes);
    cases[7].value = (ProtobufCBinaryData){.len = large, .data = bytes};
    if_value(&cases[8], "");
    cases[8].expected_value = (ProtobufCBinaryData){.len = large, .data = bytes};
    static const struct {
        const char *field;
        const char *message;
    } expected[ARRAY_COUNT(cases)] = {
        {"condition", "condition: none given; give expected_value, expected_version or absent"},
        {"change", "change: none given; give a value or delete"},
        {"absent", "absent: false, must be true (or another condition)"},
        {"delete", "delete: false, must be true (or give a value)"},
        {"ttl_ms", "ttl_ms: given together with delete"},
        {"request_id", "request_id: 5 bytes, must be 16 random ones (or none)"},
        {"key", "key: empty, at least 1 byte"},
        {"value", "value: 1048577 bytes, limit 1048576"},
        {"expected_value", "expected_value: 1048577 bytes, limit 1048576"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct raw_reply reply = compare(fixture, &cases[i]);
        expect(&reply, GRPC_STATUS_INVALID_ARGUMENT, "INVALID_ARGUMENT", expected[i].field,
               expected[i].message);
        raw_reply_clear(&reply);
    }
    free(bytes);
    assert_int_equal(requests_seen(fixture), 0);
}

static void test_wrong_mode(void **state)
{
    struct fixture *fixture = *state;
    compare_request request = compare_of("k");
    request.keyspace = (char *)(uintptr_t) "default";
    set_value(&request, "v");
    if_absent(&request, true);
    struct raw_reply reply = compare(fixture, &request);
    expect(&reply, GRPC_STATUS_FAILED_PRECONDITION, "WRONG_MODE", "",
           "keyspace: \"default\" is of mode available; only consistent keyspaces have "
           "compare-and-set");
    raw_reply_clear(&reply);
    assert_int_equal(requests_seen(fixture), 0);
}

/* Not applied and unknown are never mixed up, and both say how far it came. */
static void test_failures(void **state)
{
    const struct {
        enum outcome said;
        grpc_status_code code;
        const char *reason;
        const char *outcome;
    } cases[] = {
        {OUTCOME_NOT_APPLIED, GRPC_STATUS_UNAVAILABLE, "QUORUM_NOT_MET", "NOT_APPLIED"},
        {OUTCOME_UNKNOWN, GRPC_STATUS_UNKNOWN, "OUTCOME_UNKNOWN", "UNKNOWN"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        char key[32];
        snprintf(key, sizeof key, "error:%u:%u:", (unsigned)ERR_UNAVAILABLE,
                 (unsigned)cases[i].said);
        compare_request request = compare_of(key);
        set_value(&request, "v");
        if_absent(&request, true);
        struct raw_reply reply = compare(*state, &request);
        expect(&reply, cases[i].code, cases[i].reason, "",
               "1 of 2 replicas answered (missing: n2): why");
        assert_string_equal(reply.outcome, cases[i].outcome);
        assert_string_equal(reply.acknowledged, "1");
        assert_string_equal(reply.needed, "2");
        raw_reply_clear(&reply);
    }
}

/* -- the other calls --------------------------------------------------------------------------- */

/* A version instead of a context; one value. */
static void test_versions(void **state)
{
    struct fixture *fixture = *state;
    struct get_result got = do_get(fixture, &(struct get_words){.key = "v", .keyspace = STRICT});
    assert_false(got.response->found);
    assert_int_equal(got.response->version, 0);
    assert_int_equal(got.response->context.len, 0);
    get_result_clear(&got);
    for (uint64_t version = 1; version <= 2; version++) {
        struct put_result_words put =
            do_put(fixture, &(struct put_words){.key = "v", .value = "v", .keyspace = STRICT});
        assert_int_equal(put.response->version, version);
        assert_int_equal(put.response->context.len, 0);
        assert_int_equal(put.response->siblings, 1);
        put_result_clear(&put);
    }
    got = do_get(fixture, &(struct get_words){.key = "v", .keyspace = STRICT});
    assert_int_equal(got.response->version, 2);
    assert_int_equal(got.response->n_values, 1);
    assert_int_equal(got.response->context.len, 0);
    get_result_clear(&got);
    /* The same call of an available keyspace has its context. */
    got = do_get(fixture, &(struct get_words){.key = "v"});
    assert_int_not_equal(got.response->context.len, 0);
    get_result_clear(&got);
}

/* A majority decides: whoever asks for something else is told so. */
static void test_levels(void **state)
{
#define NO_LEVEL                                                                                   \
    ": keyspace \"strict\" is consistent: a majority of the key's replicas decides, leave it out"
    struct fixture *fixture = *state;
    for (int level = 1; level <= 6; level++) {
        struct get_result got = do_get(
            fixture, &(struct get_words){.key = "k", .keyspace = STRICT, .consistency = level});
        expect(&got.reply, GRPC_STATUS_INVALID_ARGUMENT, "INVALID_ARGUMENT", "consistency",
               "consistency" NO_LEVEL);
        get_result_clear(&got);
    }
    struct get_result got =
        do_get(fixture, &(struct get_words){.key = "k", .keyspace = STRICT, .r = 2});
    expect(&got.reply, GRPC_STATUS_INVALID_ARGUMENT, "INVALID_ARGUMENT", "r", "r" NO_LEVEL);
    get_result_clear(&got);
    struct put_result_words put =
        do_put(fixture, &(struct put_words){.key = "k", .value = "v", .keyspace = STRICT, .w = 2});
    expect(&put.reply, GRPC_STATUS_INVALID_ARGUMENT, "INVALID_ARGUMENT", "w", "w" NO_LEVEL);
    put_result_clear(&put);
    Coterie__V1__DeleteRequest request = COTERIE__V1__DELETE_REQUEST__INIT;
    request.keyspace = (char *)(uintptr_t)STRICT;
    request.key = word("k");
    request.strict = true;
    struct raw_reply reply =
        raw_message(&fixture->client, "/coterie.v1.KeyValue/Delete", &request.base, 0);
    expect(&reply, GRPC_STATUS_INVALID_ARGUMENT, "INVALID_ARGUMENT", "strict", "strict" NO_LEVEL);
    raw_reply_clear(&reply);
    put = do_put(fixture, &(struct put_words){.key = "k",
                                              .value = "v",
                                              .keyspace = STRICT,
                                              .context = bytes_of_string("any")});
    expect(&put.reply, GRPC_STATUS_INVALID_ARGUMENT, "INVALID_ARGUMENT", "context",
           "context: consistent keyspaces have none; use CompareAndSet with the version or the "
           "value that you have read");
    put_result_clear(&put);
    assert_int_equal(requests_seen(fixture), 0);
}

static void test_batches(void **state)
{
    struct fixture *fixture = *state;
    Coterie__V1__BatchWriteRequest__Item items[2];
    Coterie__V1__BatchWriteRequest__Item *list[] = {&items[0], &items[1]};
    for (size_t i = 0; i < ARRAY_COUNT(items); i++) {
        coterie__v1__batch_write_request__item__init(&items[i]);
        items[i].key = word(i == 0 ? "a" : "b");
        items[i].value = word("v");
    }
    items[1].context = word("any");
    Coterie__V1__BatchWriteRequest write = COTERIE__V1__BATCH_WRITE_REQUEST__INIT;
    write.keyspace = (char *)(uintptr_t)STRICT;
    write.items = list;
    write.n_items = ARRAY_COUNT(items);
    struct raw_reply reply =
        raw_message(&fixture->client, "/coterie.v1.KeyValue/BatchWrite", &write.base, 0);
    Coterie__V1__BatchWriteResponse *written =
        coterie__v1__batch_write_response__unpack(NULL, reply.body_size, reply.body);
    assert_int_equal(written->items[0]->result->version, 1);
    assert_int_equal(written->items[0]->result->context.len, 0);
    assert_int_equal(written->items[1]->status->code, GRPC_STATUS_INVALID_ARGUMENT);
    assert_non_null(strstr(written->items[1]->status->message, "use CompareAndSet"));
    coterie__v1__batch_write_response__free_unpacked(written, NULL);
    raw_reply_clear(&reply);
    ProtobufCBinaryData keys[] = {word("a"), word("b")};
    Coterie__V1__BatchGetRequest read = COTERIE__V1__BATCH_GET_REQUEST__INIT;
    read.keyspace = (char *)(uintptr_t)STRICT;
    read.keys = keys;
    read.n_keys = ARRAY_COUNT(keys);
    reply = raw_message(&fixture->client, "/coterie.v1.KeyValue/BatchGet", &read.base, 0);
    Coterie__V1__BatchGetResponse *got =
        coterie__v1__batch_get_response__unpack(NULL, reply.body_size, reply.body);
    assert_int_equal(got->items[0]->result->version, 1);
    assert_int_equal(got->items[0]->result->context.len, 0);
    assert_int_equal(got->items[1]->result->version, 0);
    coterie__v1__batch_get_response__free_unpacked(got, NULL);
    raw_reply_clear(&reply);
}

/* -- their creation ---------------------------------------------------------------------------- */

static struct raw_reply create(struct fixture *fixture, Coterie__V1__Keyspace *keyspace)
{
    Coterie__V1__CreateKeyspaceRequest request = COTERIE__V1__CREATE_KEYSPACE_REQUEST__INIT;
    keyspace->name = (char *)(uintptr_t) "bank";
    keyspace->mode = COTERIE__V1__KEYSPACE__MODE__MODE_CONSISTENT;
    request.keyspace = keyspace;
    return raw_message(&fixture->client, "/coterie.v1.Cluster/CreateKeyspace", &request.base, 0);
}

/* What does not go with registers is refused, not ignored. */
static void test_create(void **state)
{
    typedef Coterie__V1__Keyspace__NByDataCenterEntry entry_type;
    entry_type entries[5];
    entry_type *list[5];
    for (size_t i = 0; i < ARRAY_COUNT(entries); i++) {
        coterie__v1__keyspace__nby_data_center_entry__init(&entries[i]);
        entries[i].key = (char *)(uintptr_t)(const char *[]){"a", "b", "c", "d", "e"}[i];
        entries[i].value = i < 4 ? 7 : 2;
        list[i] = &entries[i];
    }
    Coterie__V1__Keyspace cases[7];
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
        coterie__v1__keyspace__init(&cases[i]);
    cases[0].durability = COTERIE__V1__KEYSPACE__DURABILITY__DURABILITY_PERIODIC;
    cases[1].conflict = COTERIE__V1__KEYSPACE__CONFLICT__CONFLICT_LWW;
    cases[2].strict = true;
    cases[3].read_consistency = COTERIE__V1__CONSISTENCY__CONSISTENCY_QUORUM;
    cases[4].write_consistency = COTERIE__V1__CONSISTENCY__CONSISTENCY_ALL;
    cases[5].n_by_data_center = list; /* 30, and 3 in the data centre of the nodes */
    cases[5].n_n_by_data_center = ARRAY_COUNT(list);
    cases[6].n_by_data_center = list; /* 28 and 3 */
    cases[6].n_n_by_data_center = 4;
    static const struct {
        const char *field;
        const char *message;
    } expected[] = {
        {"keyspace.durability", "keyspace.durability: a consistent keyspace acknowledges what is "
                                "on disk; leave periodic out"},
        {"keyspace.conflict",
         "keyspace.conflict: a consistent keyspace has no conflicts; leave lww out"},
        {"keyspace.strict",
         "keyspace.strict: in a consistent keyspace replicas alone vote; leave it out"},
        {"keyspace.read_consistency",
         "keyspace.read_consistency: in a consistent keyspace a majority decides; leave it out"},
        {"keyspace.write_consistency",
         "keyspace.write_consistency: in a consistent keyspace a majority decides; leave it out"},
        {"keyspace.n", "keyspace.n: 33 replicas in all data centres, limit 32 in a consistent "
                       "keyspace"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct raw_reply reply = create(*state, &cases[i]);
        if (i < ARRAY_COUNT(expected)) {
            expect(&reply, GRPC_STATUS_INVALID_ARGUMENT, "INVALID_ARGUMENT", expected[i].field,
                   expected[i].message);
        } else {
            assert_int_equal(reply.code, GRPC_STATUS_OK);
            Coterie__V1__CreateKeyspaceResponse *created =
                coterie__v1__create_keyspace_response__unpack(NULL, reply.body_size, reply.body);
            assert_int_equal(created->keyspace->mode, COTERIE__V1__KEYSPACE__MODE__MODE_CONSISTENT);
            coterie__v1__create_keyspace_response__free_unpacked(created, NULL);
        }
        raw_reply_clear(&reply);
    }
}

#define WITH_SERVER(test) cmocka_unit_test_setup_teardown(test, fixture_start, fixture_stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_SERVER(test_conditions),     WITH_SERVER(test_ttl_and_request_id),
        WITH_SERVER(test_compare_limits), WITH_SERVER(test_wrong_mode),
        WITH_SERVER(test_failures),       WITH_SERVER(test_versions),
        WITH_SERVER(test_levels),         WITH_SERVER(test_batches),
        WITH_SERVER(test_create),
    };
    rpc_library_init(NULL);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    rpc_library_shutdown();
    return failed;
}
