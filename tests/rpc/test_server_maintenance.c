// link: coterie_rpc
/* Repairs, digests and one key explained, of the client port (DESIGN.md 9): what the actors say
 * becomes the answer, by name; what cannot be asked is refused with the field that is wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "coterie/v1/maintenance.pb-c.h"
#include "tests/rpc/server_fixture.h"

#define MAINTENANCE "/coterie.v1.Maintenance/"

static struct raw_reply ask(struct fixture *fixture, const char *method,
                            const ProtobufCMessage *request)
{
    return raw_message(&fixture->client, method, request, 5000);
}

/* -- repairs ----------------------------------------------------------------------------------- */

static struct raw_reply start_repair(struct fixture *fixture, const char *id, const char *keyspace,
                                     bool give_up)
{
    Coterie__V1__StartRepairRequest request = COTERIE__V1__START_REPAIR_REQUEST__INIT;
    request.repair = (char *)(uintptr_t)id;
    request.keyspace = (char *)(uintptr_t)keyspace;
    request.give_up_bad_rows = give_up;
    return ask(fixture, MAINTENANCE "StartRepair", &request.base);
}

/* The name is the client's; without one the node's. The keyspace reaches the actor by its id, and
 * so does whether bad rows are given up: never unless somebody asks for it. */
static void test_start_repair(void **state)
{
    static const struct {
        const char *id, *keyspace, *given;
        uint64_t keys; /* the fake says the keyspace's id here */
        bool give_up;
    } cases[] = {
        {"00000000deadbeef", "", "00000000deadbeef", 0, false},
        {"", "", "0000000000001234", 0, true},
        {"ffffffffffffffff", "default", "ffffffffffffffff", 1, false},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct raw_reply reply =
            start_repair(*state, cases[i].id, cases[i].keyspace, cases[i].give_up);
        assert_int_equal(reply.code, GRPC_STATUS_OK);
        Coterie__V1__StartRepairResponse *response =
            coterie__v1__start_repair_response__unpack(NULL, reply.body_size, reply.body);
        assert_string_equal(response->repair->repair, cases[i].given);
        assert_string_equal(response->repair->node, "n1");
        assert_false(response->repair->ended);
        assert_int_equal(response->repair->ranges_done, 100);
        assert_int_equal(response->repair->ranges_total, 128);
        assert_int_equal(response->repair->bytes_moved, cases[i].give_up ? 75 : 1000);
        assert_int_equal(response->repair->keys_repaired,
                         cases[i].keys == 0 ? 0 : keyspace_builtin().id);
        coterie__v1__start_repair_response__free_unpacked(response, NULL);
        raw_reply_clear(&reply);
    }
}

static void test_start_repair_refused(void **state)
{
    static const struct {
        const char *id, *keyspace;
        grpc_status_code code;
        const char *says;
    } cases[] = {
        {"deadbeef", "", GRPC_STATUS_INVALID_ARGUMENT, "repair: \"deadbeef\" is not of 16 hex"},
        {"00000000DEADBEEF", "", GRPC_STATUS_INVALID_ARGUMENT, "repair: "},
        {"0000000000000000", "", GRPC_STATUS_INVALID_ARGUMENT, "repair: "},
        {"00000000deadbeef", "none", GRPC_STATUS_NOT_FOUND, "keyspace \"none\" does not exist"},
        {"00000000deadbeef", "No", GRPC_STATUS_INVALID_ARGUMENT, "keyspace: "},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct raw_reply reply = start_repair(*state, cases[i].id, cases[i].keyspace, false);
        assert_int_equal(reply.code, cases[i].code);
        assert_non_null(strstr(reply.message, cases[i].says));
        raw_reply_clear(&reply);
    }
}

static void test_get_and_cancel_repair(void **state)
{
    Coterie__V1__GetRepairRequest get = COTERIE__V1__GET_REPAIR_REQUEST__INIT;
    get.repair = (char *)(uintptr_t) "00000000deadbeef";
    struct raw_reply reply = ask(*state, MAINTENANCE "GetRepair", &get.base);
    assert_int_equal(reply.code, GRPC_STATUS_OK);
    Coterie__V1__GetRepairResponse *got =
        coterie__v1__get_repair_response__unpack(NULL, reply.body_size, reply.body);
    assert_true(got->repair->ended);
    assert_false(got->repair->cancelled);
    assert_int_equal(got->repair->ranges_failed, 28);
    assert_int_equal(got->repair->started_at_ms, FAKE_EXPLAINED_MS);
    coterie__v1__get_repair_response__free_unpacked(got, NULL);
    raw_reply_clear(&reply);

    Coterie__V1__CancelRepairRequest cancel = COTERIE__V1__CANCEL_REPAIR_REQUEST__INIT;
    cancel.repair = get.repair;
    reply = ask(*state, MAINTENANCE "CancelRepair", &cancel.base);
    assert_int_equal(reply.code, GRPC_STATUS_OK);
    Coterie__V1__CancelRepairResponse *cancelled =
        coterie__v1__cancel_repair_response__unpack(NULL, reply.body_size, reply.body);
    assert_true(cancelled->repair->ended && cancelled->repair->cancelled);
    coterie__v1__cancel_repair_response__free_unpacked(cancelled, NULL);
    raw_reply_clear(&reply);

    get.repair = (char *)(uintptr_t) "00000000000000ff";
    reply = ask(*state, MAINTENANCE "GetRepair", &get.base);
    assert_int_equal(reply.code, GRPC_STATUS_NOT_FOUND);
    raw_reply_clear(&reply);
    get.repair = (char *)(uintptr_t) "";
    reply = ask(*state, MAINTENANCE "GetRepair", &get.base);
    assert_int_equal(reply.code, GRPC_STATUS_INVALID_ARGUMENT);
    raw_reply_clear(&reply);
}

/* -- digests ----------------------------------------------------------------------------------- */

static Coterie__V1__DigestResponse *digest(struct fixture *fixture, const char *keyspace)
{
    Coterie__V1__DigestRequest request = COTERIE__V1__DIGEST_REQUEST__INIT;
    request.keyspace = (char *)(uintptr_t)keyspace;
    struct raw_reply reply = ask(fixture, MAINTENANCE "Digest", &request.base);
    assert_int_equal(reply.code, GRPC_STATUS_OK);
    Coterie__V1__DigestResponse *response =
        coterie__v1__digest_response__unpack(NULL, reply.body_size, reply.body);
    raw_reply_clear(&reply);
    return response;
}

/* A row for every vnode of every keyspace, in order; a tree that cannot be told is no digest of 0.
 */
static void test_digest(void **state)
{
    Coterie__V1__DigestResponse *all = digest(*state, "");
    assert_string_equal(all->node, "n1");
    assert_int_equal(all->n_vnodes, 64 * FAKE_KEYSPACES); /* N 3 on three nodes: n1 holds all */
    coterie__v1__digest_response__free_unpacked(all, NULL);
    all = digest(*state, "default");
    assert_int_equal(all->n_vnodes, 64);
    for (uint32_t i = 0; i < 64; i++) {
        const Coterie__V1__VnodeDigest *row = all->vnodes[i];
        bool known = i != 5 && i != 6;
        assert_int_equal(row->partition, i);
        assert_string_equal(row->keyspace, "default");
        assert_int_equal(row->complete, i != 7);
        assert_int_equal(row->digest, known ? 3 * i : 0);
        assert_int_equal(row->keys, known ? i : 0);
        assert_int_equal(row->floor, known ? i : 0);
        assert_int_equal(row->problem[0] == '\0', known);
    }
    assert_string_equal(all->vnodes[5]->problem, "its hash tree is being built");
    assert_string_equal(all->vnodes[6]->problem, "corrupt data");
    coterie__v1__digest_response__free_unpacked(all, NULL);
    all = digest(*state, "last"); /* nothing of it has a tree: empty, and known to be */
    assert_int_equal(all->vnodes[20]->digest, 0);
    assert_string_equal(all->vnodes[20]->problem, "");
    coterie__v1__digest_response__free_unpacked(all, NULL);
}

static void test_digest_of_no_keyspace(void **state)
{
    Coterie__V1__DigestRequest request = COTERIE__V1__DIGEST_REQUEST__INIT;
    request.keyspace = (char *)(uintptr_t) "none";
    struct raw_reply reply = ask(*state, MAINTENANCE "Digest", &request.base);
    assert_int_equal(reply.code, GRPC_STATUS_NOT_FOUND);
    raw_reply_clear(&reply);
}

/* -- one key ----------------------------------------------------------------------------------- */

static struct raw_reply explain(struct fixture *fixture, const char *keyspace, const char *key)
{
    Coterie__V1__ExplainRequest request = COTERIE__V1__EXPLAIN_REQUEST__INIT;
    request.keyspace = (char *)(uintptr_t)keyspace;
    request.key.data = (uint8_t *)(uintptr_t)key;
    request.key.len = strlen(key);
    return ask(fixture, MAINTENANCE "Explain", &request.base);
}

static void check_held(const Coterie__V1__ExplainedNode *node)
{
    assert_string_equal(node->node, "n1");
    assert_true(node->replica && node->complete && node->found);
    assert_string_equal(node->problem, "");
    assert_int_equal(node->floor, 4);
    assert_int_equal(node->tree_depth, 8);
    assert_int_equal(node->leaf, 77);
    assert_int_equal(node->leaf_digest, 0xabc);
    assert_string_equal(node->repaired_by, "anti-entropy");
    assert_int_equal(node->repaired_at_ms, FAKE_EXPLAINED_MS - 3000);
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct bytes record = fake_record(&arena, keyspace_builtin().id, bytes_of_string("key"));
    assert_int_equal(node->checksum, record_checksum(record));
    arena_deinit(&arena);
    assert_int_equal(node->n_versions, 2);
    const Coterie__V1__ExplainedVersion *value = node->versions[0], *tombstone = node->versions[1];
    assert_string_equal(value->dot, "n1:10:1");
    assert_true(value->expired && !value->tombstone);
    assert_int_equal(value->written_at_ms, FAKE_EXPLAINED_MS - 5000);
    assert_int_equal(value->expires_at_ms, FAKE_EXPLAINED_MS - 1);
    assert_int_equal(value->value_bytes, 5);
    assert_int_equal(value->value_hash, hash_bytes(bytes_of_string("value"), 0));
    assert_string_equal(tombstone->dot, "n3:20:1");
    assert_true(tombstone->tombstone && !tombstone->expired);
    assert_int_equal(tombstone->expires_at_ms, 0);
    assert_int_equal(node->n_history, 2);
    assert_string_equal(node->history[0], "n1:10:1-1");
}

static void test_explain(void **state)
{
    struct raw_reply reply = explain(*state, "", "key");
    assert_int_equal(reply.code, GRPC_STATUS_OK);
    Coterie__V1__ExplainResponse *response =
        coterie__v1__explain_response__unpack(NULL, reply.body_size, reply.body);
    assert_string_equal(response->keyspace, "default");
    assert_int_equal(response->partition, 9);
    assert_int_equal(response->hash, 0x0123456789abcdef);
    assert_int_equal(response->n_nodes, 3);
    check_held(response->nodes[0]);
    const Coterie__V1__ExplainedNode *away = response->nodes[1], *keeper = response->nodes[2];
    assert_true(away->replica && !away->found);
    assert_string_equal(away->problem, "the node cannot be reached");
    assert_string_equal(away->hints_problem, "the node cannot be reached");
    assert_false(keeper->replica);
    assert_string_equal(keeper->problem, "");
    assert_int_equal(keeper->n_hints_for, 1);
    assert_string_equal(keeper->hints_for[0], "n2");
    assert_int_equal(keeper->hint_stored_at_ms, FAKE_EXPLAINED_MS - 9000);
    coterie__v1__explain_response__free_unpacked(response, NULL);
    raw_reply_clear(&reply);
}

static void test_explain_refused(void **state)
{
    struct raw_reply reply = explain(*state, "", "");
    assert_int_equal(reply.code, GRPC_STATUS_INVALID_ARGUMENT);
    assert_non_null(strstr(reply.message, "key: empty"));
    raw_reply_clear(&reply);
    reply = explain(*state, "none", "key");
    assert_int_equal(reply.code, GRPC_STATUS_NOT_FOUND);
    raw_reply_clear(&reply);
}

#define WITH_SERVER(test) cmocka_unit_test_setup_teardown(test, fixture_start, fixture_stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_SERVER(test_start_repair),          WITH_SERVER(test_start_repair_refused),
        WITH_SERVER(test_get_and_cancel_repair), WITH_SERVER(test_digest),
        WITH_SERVER(test_digest_of_no_keyspace), WITH_SERVER(test_explain),
        WITH_SERVER(test_explain_refused),
    };
    rpc_library_init(NULL);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    rpc_library_shutdown();
    return failed;
}
