// link: coterie_rpc
/* The client port's life of a request: every method, deadlines, cancels, late answers, admission,
 * drain (DESIGN.md 7, 9, 10; the contract in rpc/server.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/rpc/server_fixture.h"

#include <time.h>

/* -- get, put, delete -------------------------------------------------------------------------- */

static void test_put_get_delete(void **state)
{
    struct fixture *fixture = *state;
    struct get_result got = do_get(fixture, &(struct get_words){.key = "missing"});
    assert_int_equal(got.reply.code, GRPC_STATUS_OK);
    assert_false(got.response->found);
    assert_int_not_equal(got.response->context.len, 0); /* its context matters also then */
    get_result_clear(&got);

    struct put_result_words put =
        do_put(fixture, &(struct put_words){.key = "a", .value = "one", .ttl_ms = 90000});
    assert_int_equal(put.reply.code, GRPC_STATUS_OK);
    assert_int_equal(put.response->siblings, 1);
    assert_string_equal(put.response->acknowledgement->primaries[0], "n1");
    put_result_clear(&put);

    got = do_get(fixture, &(struct get_words){.key = "a"});
    assert_true(got.response->found);
    assert_int_equal(got.response->n_values, 1);
    assert_memory_equal(got.response->values[0]->value.data, "one", 3);
    assert_int_equal(got.response->values[0]->written_at_ms, FAKE_WALL_MS);
    assert_in_range(got.response->values[0]->ttl_ms, 60000, 90000);

    struct put_result_words deleted =
        do_delete(fixture, "a", bytes_of_binary(got.response->context));
    assert_int_equal(deleted.reply.code, GRPC_STATUS_OK);
    put_result_clear(&deleted);
    get_result_clear(&got);

    got = do_get(fixture, &(struct get_words){.key = "a"});
    assert_int_equal(got.reply.code, GRPC_STATUS_OK);
    assert_false(got.response->found);
    get_result_clear(&got);
}

/* Two writes that start from the same context are siblings; a write with the read's context joins
 * them. */
static void test_siblings_and_contexts(void **state)
{
    struct fixture *fixture = *state;
    struct get_result nothing = do_get(fixture, &(struct get_words){.key = "s"});
    struct bytes context = bytes_of_binary(nothing.response->context);
    struct put_result_words put =
        do_put(fixture, &(struct put_words){.key = "s", .value = "left", .context = context});
    assert_int_equal(put.response->siblings, 1);
    put_result_clear(&put);
    put = do_put(fixture, &(struct put_words){.key = "s", .value = "right", .context = context});
    assert_int_equal(put.response->siblings, 2);
    put_result_clear(&put);
    get_result_clear(&nothing);

    struct get_result both = do_get(fixture, &(struct get_words){.key = "s"});
    assert_int_equal(both.response->n_values, 2);
    put = do_put(fixture, &(struct put_words){.key = "s",
                                              .value = "joined",
                                              .context = bytes_of_binary(both.response->context)});
    assert_int_equal(put.response->siblings, 1);
    put_result_clear(&put);
    get_result_clear(&both);
}

/* An lww keyspace gives one value whatever its replicas hold. */
static void test_last_writer_wins_gives_one(void **state)
{
    struct fixture *fixture = *state;
    struct get_result nothing =
        do_get(fixture, &(struct get_words){.key = "s", .keyspace = "last"});
    struct bytes context = bytes_of_binary(nothing.response->context);
    for (int i = 0; i < 2; i++) {
        struct put_result_words put = do_put(
            fixture,
            &(struct put_words){
                .key = "s", .keyspace = "last", .value = i == 0 ? "a" : "b", .context = context});
        assert_int_equal(put.response->siblings, i + 1);
        put_result_clear(&put);
    }
    get_result_clear(&nothing);
    struct get_result got = do_get(fixture, &(struct get_words){.key = "s", .keyspace = "last"});
    assert_int_equal(got.response->n_values, 1);
    get_result_clear(&got);
}

static void test_null_takes_anything(void **state)
{
    struct fixture *fixture = *state;
    struct bytes empty = {0};
    struct raw_reply reply = raw_unary(&fixture->client, KEY_VALUE_NULL, &empty, 0);
    assert_int_equal(reply.code, GRPC_STATUS_OK);
    assert_true(reply.has_body);
    assert_int_equal(reply.body_size, 0);
    raw_reply_clear(&reply);
}

/* -- errors from coordinators ------------------------------------------------------------------ */

/* UNAVAILABLE is said only where a blind retry is right; applied, not applied and unknown are never
 * mixed up (DESIGN.md 7, 9). */
static void test_errors_of_reads(void **state)
{
    struct fixture *fixture = *state;
    static const struct {
        enum err err;
        grpc_status_code code;
        const char *reason;
    } cases[] = {
        {ERR_UNAVAILABLE, GRPC_STATUS_UNAVAILABLE, "QUORUM_NOT_MET"},
        {ERR_TIMEOUT, GRPC_STATUS_DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED"},
        {ERR_OVERLOADED, GRPC_STATUS_RESOURCE_EXHAUSTED, "OVERLOADED"},
        {ERR_CORRUPT, GRPC_STATUS_INTERNAL, "CORRUPT"},
        {ERR_IO, GRPC_STATUS_INTERNAL, "INTERNAL"},
        {ERR_INVALID, GRPC_STATUS_INVALID_ARGUMENT, "INVALID_ARGUMENT"},
        {ERR_NOT_FOUND, GRPC_STATUS_NOT_FOUND, "KEYSPACE_NOT_FOUND"},
        {ERR_STALE_EPOCH, GRPC_STATUS_UNAVAILABLE, "UNAVAILABLE"},
        {ERR_UNSUPPORTED, GRPC_STATUS_UNIMPLEMENTED, "UNIMPLEMENTED"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        char key[32];
        snprintf(key, sizeof key, "error:%d:", cases[i].err);
        struct get_result got = do_get(fixture, &(struct get_words){.key = key});
        assert_int_equal(got.reply.code, cases[i].code);
        assert_string_equal(got.reply.reason, cases[i].reason);
        assert_string_equal(got.reply.message, "1 of 2 replicas answered (missing: n2): why");
        assert_string_equal(got.reply.acknowledged, "1");
        assert_string_equal(got.reply.needed, "2");
        assert_string_equal(got.reply.missing, "n2");
        assert_string_equal(got.reply.outcome, "");
        assert_true((got.reply.retry_after_ms != 0) == (cases[i].err == ERR_OVERLOADED));
        get_result_clear(&got);
    }
}

static void test_errors_of_writes(void **state)
{
    struct fixture *fixture = *state;
    static const struct {
        enum err err;
        enum outcome outcome;
        grpc_status_code code;
        const char *reason;
        const char *word;
    } cases[] = {
        {ERR_UNAVAILABLE, OUTCOME_NOT_APPLIED, GRPC_STATUS_UNAVAILABLE, "QUORUM_NOT_MET",
         "NOT_APPLIED"},
        {ERR_UNAVAILABLE, OUTCOME_UNKNOWN, GRPC_STATUS_UNKNOWN, "OUTCOME_UNKNOWN", "UNKNOWN"},
        {ERR_TIMEOUT, OUTCOME_UNKNOWN, GRPC_STATUS_DEADLINE_EXCEEDED, "OUTCOME_UNKNOWN", "UNKNOWN"},
        {ERR_TIMEOUT, OUTCOME_NOT_APPLIED, GRPC_STATUS_DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED",
         "NOT_APPLIED"},
        {ERR_OVERLOADED, OUTCOME_NOT_APPLIED, GRPC_STATUS_RESOURCE_EXHAUSTED, "OVERLOADED",
         "NOT_APPLIED"},
        {ERR_OVERLOADED, OUTCOME_NOT_APPLIED, GRPC_STATUS_RESOURCE_EXHAUSTED, "DISK_FULL",
         "NOT_APPLIED"},
        {ERR_LIMIT, OUTCOME_NOT_APPLIED, GRPC_STATUS_FAILED_PRECONDITION, "TOO_MANY_SIBLINGS",
         "NOT_APPLIED"},
        {ERR_IO, OUTCOME_UNKNOWN, GRPC_STATUS_UNKNOWN, "OUTCOME_UNKNOWN", "UNKNOWN"},
        {ERR_IO, OUTCOME_NOT_APPLIED, GRPC_STATUS_INTERNAL, "INTERNAL", "NOT_APPLIED"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        char key[32];
        bool disk_full = strcmp(cases[i].reason, "DISK_FULL") == 0;
        snprintf(key, sizeof key, "error:%d:%d:%d:", cases[i].err, cases[i].outcome, disk_full);
        struct put_result_words put =
            do_put(fixture, &(struct put_words){.key = key, .value = "v"});
        assert_int_equal(put.reply.code, cases[i].code);
        assert_string_equal(put.reply.reason, cases[i].reason);
        assert_string_equal(put.reply.outcome, cases[i].word);
        assert_string_equal(put.reply.message, "1 of 2 replicas answered (missing: n2): why");
        bool waiting_helps = cases[i].err == ERR_OVERLOADED && !disk_full;
        assert_true((put.reply.retry_after_ms != 0) == waiting_helps);
        put_result_clear(&put);
    }
}

/* -- time -------------------------------------------------------------------------------------- */

static void wait_for_idle(struct fixture *fixture)
{
    uint64_t until_ns = runtime_now_ns() + 10000000000ull;
    while (rpc_server_in_flight(fixture->node.server) != 0) {
        assert_true(runtime_now_ns() < until_ns);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
}

/* Deadlines: the client's own, 5 s without one, at most 60 s (DESIGN.md 10). */
static void test_deadlines_given_to_actors(void **state)
{
    struct fixture *fixture = *state;
    static const struct {
        uint64_t asked_ms;
        uint64_t low_ms;
        uint64_t high_ms;
    } cases[] = {{0, 4000, 5000}, {1000, 500, 1000}, {600000, 59000, 60000}};
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        uint64_t before_ns = runtime_now_ns();
        struct get_result got =
            do_get(fixture, &(struct get_words){.key = "a", .deadline_ms = cases[i].asked_ms});
        get_result_clear(&got);
        uint64_t took_ms = (runtime_now_ns() - before_ns) / 1000000; /* the way there is in it */
        uint64_t given_ms = (fixture->node.coordinator->deadline_ns - before_ns) / 1000000;
        assert_in_range(given_ms, cases[i].low_ms, cases[i].high_ms + took_ms + 50);
    }
}

/* A coordinator that never answers: the client's deadline ends the call. Its credit is given back
 * when the answer is overdue, not before, and the server goes on. */
static void test_never_answered(void **state)
{
    struct fixture *fixture = *state;
    uint64_t before_ns = runtime_now_ns();
    struct get_result got =
        do_get(fixture, &(struct get_words){.key = "never:", .deadline_ms = 100});
    assert_int_equal(got.reply.code, GRPC_STATUS_DEADLINE_EXCEEDED);
    assert_in_range((runtime_now_ns() - before_ns) / 1000000, 50, 2000);
    assert_int_equal(rpc_server_in_flight(fixture->node.server), 1);
    get_result_clear(&got);
    wait_for_idle(fixture);
    assert_in_range((runtime_now_ns() - before_ns) / 1000000, 1500, 9000);
    got = do_get(fixture, &(struct get_words){.key = "a"});
    assert_int_equal(got.reply.code, GRPC_STATUS_OK);
    get_result_clear(&got);
}

static void expect_code(struct raw_client *client, grpc_status_code code)
{
    struct raw_call *call = raw_next(client, 20000);
    assert_non_null(call);
    struct raw_reply reply;
    raw_reply_read(&reply, call);
    assert_int_equal(reply.code, code);
    raw_reply_clear(&reply);
    raw_call_free(call);
}

static struct raw_call *start_get(struct fixture *fixture, const char *key, uint64_t deadline_ms)
{
    Coterie__V1__GetRequest request = COTERIE__V1__GET_REQUEST__INIT;
    request.key = binary_of_bytes(bytes_of_string(key));
    struct bytes bytes = raw_pack(&request.base);
    struct raw_call *call = raw_start(&fixture->client, KEY_VALUE_GET, &bytes, deadline_ms);
    free((void *)(uintptr_t)bytes.data);
    return call;
}

/* Answers that come after the client went away, while its calls' places are used again: each client
 * gets its own key's value and nothing of another's. */
static void test_late_answers_hit_nobody(void **state)
{
    struct fixture *fixture = *state;
    for (int i = 0; i < 8; i++) {
        char key[32];
        snprintf(key, sizeof key, "k%d", i);
        struct put_result_words put =
            do_put(fixture, &(struct put_words){.key = key, .value = key});
        put_result_clear(&put);
    }
    struct raw_call *calls[32];
    for (size_t i = 0; i < ARRAY_COUNT(calls); i++)
        calls[i] = start_get(fixture, "late:1500:x", 0);
    nanosleep(&(struct timespec){.tv_nsec = 30000000}, NULL);
    for (size_t i = 0; i < ARRAY_COUNT(calls); i++)
        grpc_call_cancel(calls[i]->call, NULL);
    for (size_t i = 0; i < ARRAY_COUNT(calls); i++)
        expect_code(&fixture->client, GRPC_STATUS_CANCELLED);
    uint64_t until_ns = runtime_now_ns() + 2000000000;
    for (int i = 0; runtime_now_ns() < until_ns; i = (i + 1) % 8) {
        char key[32];
        snprintf(key, sizeof key, "k%d", i);
        struct get_result got = do_get(fixture, &(struct get_words){.key = key});
        assert_int_equal(got.reply.code, GRPC_STATUS_OK);
        assert_int_equal(got.response->n_values, 1);
        assert_memory_equal(got.response->values[0]->value.data, key, 2);
        get_result_clear(&got);
    }
    wait_for_idle(fixture);
}

static void test_answered_twice(void **state)
{
    struct fixture *fixture = *state;
    for (int i = 0; i < 20; i++) {
        struct get_result got = do_get(fixture, &(struct get_words){.key = "twice:a"});
        assert_int_equal(got.reply.code, GRPC_STATUS_OK);
        get_result_clear(&got);
    }
    wait_for_idle(fixture);
}

/* Beyond requests_max a call is accepted and refused at once, with a time to come back; calls
 * already running end as if nothing had been. */
static void test_admission(void **state)
{
    struct fixture *fixture = *state;
    for (uint32_t i = 0; i < FIXTURE_REQUESTS_MAX; i++)
        (void)start_get(fixture, "late:500:x", 0);
    uint64_t until_ns = runtime_now_ns() + 5000000000ull;
    while (rpc_server_in_flight(fixture->node.server) < FIXTURE_REQUESTS_MAX)
        assert_true(runtime_now_ns() < until_ns);
    struct raw_client second = raw_client_new(fixture->port, 1);
    uint64_t before_ns = runtime_now_ns();
    Coterie__V1__GetRequest request = COTERIE__V1__GET_REQUEST__INIT;
    request.key = binary_of_bytes(bytes_of_string("a"));
    struct raw_reply reply = raw_message(&second, KEY_VALUE_GET, &request.base, 0);
    assert_int_equal(reply.code, GRPC_STATUS_RESOURCE_EXHAUSTED);
    assert_string_equal(reply.reason, "OVERLOADED");
    assert_int_not_equal(reply.retry_after_ms, 0);
    assert_in_range((runtime_now_ns() - before_ns) / 1000000, 0, 300);
    raw_reply_clear(&reply);
    assert_int_equal(rpc_server_refused(fixture->node.server), 1);
    /* What needs no actor is not refused. */
    reply = raw_unary(&second, KEY_VALUE_NULL, &(struct bytes){0}, 0);
    assert_int_equal(reply.code, GRPC_STATUS_OK);
    raw_reply_clear(&reply);
    raw_client_free(&second);
    for (uint32_t i = 0; i < FIXTURE_REQUESTS_MAX; i++)
        expect_code(&fixture->client, GRPC_STATUS_OK);
    wait_for_idle(fixture);
}

/* -- figures, end ------------------------------------------------------------------------------ */

static void test_figures(void **state)
{
    struct fixture *fixture = *state;
    for (int i = 0; i < 3; i++) {
        struct get_result got = do_get(fixture, &(struct get_words){.key = i == 0 ? "" : "a"});
        get_result_clear(&got);
    }
    struct rpc_operation_figures figures;
    rpc_server_figures(fixture->node.server, RPC_GET, &figures);
    assert_int_equal(figures.requests, 3);
    assert_int_equal(figures.errors[GRPC_STATUS_OK], 2);
    assert_int_equal(figures.errors[GRPC_STATUS_INVALID_ARGUMENT], 1);
    uint64_t latencies = 0;
    for (size_t i = 0; i < RPC_LATENCY_BUCKETS; i++)
        latencies += figures.latency[i];
    assert_int_equal(latencies, 3);
}

/* Running calls may end within the grace; what runs longer is cancelled; nobody waits for actors
 * that never answer. */
static void test_drain(void **state)
{
    struct fixture *fixture = *state;
    (void)start_get(fixture, "late:200:x", 0);
    (void)start_get(fixture, "never:", 0);
    uint64_t until_ns = runtime_now_ns() + 5000000000ull;
    while (rpc_server_in_flight(fixture->node.server) < 2)
        assert_true(runtime_now_ns() < until_ns);
    uint64_t before_ns = runtime_now_ns();
    rpc_server_drain(fixture->node.server, 2000);
    assert_in_range((runtime_now_ns() - before_ns) / 1000000, 1950, 9000);
    expect_code(&fixture->client, GRPC_STATUS_OK);
    struct raw_call *cancelled = raw_next(&fixture->client, 20000);
    assert_non_null(cancelled);
    assert_int_not_equal(cancelled->code, GRPC_STATUS_OK);
    raw_call_free(cancelled);
    assert_int_equal(rpc_server_in_flight(fixture->node.server), 0);
    struct get_result got = do_get(fixture, &(struct get_words){.key = "a", .deadline_ms = 20000});
    assert_int_equal(got.reply.code, GRPC_STATUS_UNAVAILABLE);
    get_result_clear(&got);
}

static void test_address_in_use(void **state)
{
    struct fixture *fixture = *state;
    char address[64];
    snprintf(address, sizeof address, "127.0.0.1:%d", fixture->port);
    struct rpc_server_options options = {.address = address,
                                         .loop = fixture->node.loop,
                                         .runtime = fixture->node.runtime,
                                         .requests_max = 1,
                                         .value_bytes_max = 1,
                                         .node_name = "n1",
                                         .version = "test"};
    struct rpc_server *second = NULL;
    char why[256];
    assert_int_equal(rpc_server_start(&options, &second, why, sizeof why), ERR_IO);
    assert_non_null(strstr(why, address));
    assert_non_null(strstr(why, "Address already in use"));
    assert_null(second);
}

#define WITH_SERVER(test) cmocka_unit_test_setup_teardown(test, fixture_start, fixture_stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_SERVER(test_put_get_delete),
        WITH_SERVER(test_siblings_and_contexts),
        WITH_SERVER(test_last_writer_wins_gives_one),
        WITH_SERVER(test_null_takes_anything),
        WITH_SERVER(test_errors_of_reads),
        WITH_SERVER(test_errors_of_writes),
        WITH_SERVER(test_deadlines_given_to_actors),
        WITH_SERVER(test_never_answered),
        WITH_SERVER(test_late_answers_hit_nobody),
        WITH_SERVER(test_answered_twice),
        WITH_SERVER(test_admission),
        WITH_SERVER(test_figures),
        WITH_SERVER(test_drain),
        WITH_SERVER(test_address_in_use),
    };
    rpc_library_init(NULL);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    rpc_library_shutdown();
    return failed;
}
