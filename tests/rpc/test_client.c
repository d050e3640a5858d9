// link: coterie_rpc coterie_proto
/* The client's contract (rpc/client.h) against a small server of its own: which endpoint is asked,
 * what a failure says about the request, and that every call ends once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "rpc/client.h"
#include "rpc/loop.h"
#include "tests/rpc/fake_server.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define GET         "/coterie.v1.KeyValue/Get"
#define PUT         "/coterie.v1.KeyValue/Put"
#define DEADLINE_MS 20000

/* -- helpers ------------------------------------------------------------------------------ */

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static struct rpc_client *client_of(const char *format, ...)
{
    char endpoints[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(endpoints, sizeof endpoints, format, arguments);
    va_end(arguments);
    struct rpc_client *client;
    char why[256];
    if (rpc_client_new(endpoints, &client, why, sizeof why) != OK)
        fail_msg("%s", why);
    return client;
}

struct asked {
    struct rpc_client_status status;
    bool answered;
    char value[64];
};

static struct asked ask(struct rpc_client *client, uint32_t deadline_ms, bool idempotent)
{
    struct arena arena;
    arena_init(&arena, NULL, 0);
    Coterie__V1__GetRequest request = COTERIE__V1__GET_REQUEST__INIT;
    request.key.data = (uint8_t *)(uintptr_t) "k";
    request.key.len = 1;
    struct asked outcome = {0};
    Coterie__V1__GetResponse *response = (Coterie__V1__GetResponse *)rpc_client_call(
        client, GET, &request.base, &coterie__v1__get_response__descriptor, deadline_ms, idempotent,
        &arena, &outcome.status);
    outcome.answered = response != NULL;
    if (response != NULL && response->n_values == 1)
        snprintf(outcome.value, sizeof outcome.value, "%.*s", (int)response->values[0]->value.len,
                 (const char *)response->values[0]->value.data);
    arena_deinit(&arena);
    return outcome;
}

/* -- the rules ---------------------------------------------------------------------------- */

static void endpoints_are_checked(void **state)
{
    (void)state;
    static const char *const good[] = {
        "127.0.0.1:7700", "localhost", "a.example:1,b.example:65535", " 127.0.0.1:1 , 127.0.0.1:2",
        "[::1]:7700",     "[::1]"};
    static const char *const bad[] = {
        "",     ",",      "a:1,",  "a:0",   "a:65536",    "a:x", ":7700", "::1:7700",
        "[::1", "[::1]x", "[a]:1", "a b:1", "http://a:1", "a:",  "[]:1",  "a:1:2"};
    for (size_t i = 0; i < ARRAY_COUNT(good); i++)
        rpc_client_free(client_of("%s", good[i]));
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        struct rpc_client *client = NULL;
        char why[256] = "";
        if (rpc_client_new(bad[i], &client, why, sizeof why) != ERR_INVALID)
            fail_msg("'%s' was taken", bad[i]);
        assert_null(client);
        assert_true(strlen(why) > 10);
    }
}

static void an_answer_names_its_endpoint(void **state)
{
    (void)state;
    struct fake *fake = fake_start(0);
    struct rpc_client *client = client_of("%s", fake->name);
    struct asked outcome = ask(client, DEADLINE_MS, false);
    assert_int_equal(outcome.status.code, GRPC_STATUS_OK);
    assert_string_equal(outcome.value, fake->name);
    assert_string_equal(outcome.status.endpoint, fake->name);
    assert_string_equal(outcome.status.outcome, "");
    rpc_client_free(client);
    fake_stop(fake);
}

/* Nothing listens: said at once, and that nothing was applied. */
static void unreachable_is_known_not_applied(void **state)
{
    (void)state;
    int port_a, port_b;
    int a = port_hold(false, &port_a), b = port_hold(false, &port_b);
    struct rpc_client *client = client_of("127.0.0.1:%d,127.0.0.1:%d", port_a, port_b);
    for (int round = 0; round < 2; round++) {
        uint64_t start = now_ms();
        struct asked outcome = ask(client, DEADLINE_MS, false);
        assert_false(outcome.answered);
        assert_int_equal(outcome.status.code, GRPC_STATUS_UNAVAILABLE);
        assert_string_equal(outcome.status.reason, "NOT_CONNECTED");
        assert_string_equal(outcome.status.outcome, "NOT_APPLIED");
        assert_true(now_ms() - start < 8000);
    }
    rpc_client_free(client);
    close(a);
    close(b);
}

static void next_endpoint_when_one_is_down_and_stays_there(void **state)
{
    (void)state;
    int dead_port;
    int dead = port_hold(false, &dead_port);
    struct fake *fake = fake_start(0);
    struct rpc_client *client = client_of("127.0.0.1:%d,%s", dead_port, fake->name);
    for (unsigned i = 1; i <= 3; i++) {
        struct asked outcome = ask(client, DEADLINE_MS, false);
        assert_int_equal(outcome.status.code, GRPC_STATUS_OK);
        assert_string_equal(outcome.value, fake->name);
        assert_int_equal(atomic_load(&fake->calls), i);
    }
    rpc_client_free(client);
    fake_stop(fake);
    close(dead);
}

/* A host that takes the connection and says nothing costs a second, not the deadline. */
static void next_endpoint_when_one_is_mute(void **state)
{
    (void)state;
    int mute_port;
    int mute = port_hold(true, &mute_port);
    struct fake *fake = fake_start(0);
    struct rpc_client *client = client_of("127.0.0.1:%d,%s", mute_port, fake->name);
    uint64_t start = now_ms();
    struct asked outcome = ask(client, DEADLINE_MS, false);
    assert_int_equal(outcome.status.code, GRPC_STATUS_OK);
    assert_true(now_ms() - start >= 900);
    assert_true(now_ms() - start < 8000);
    rpc_client_free(client);
    fake_stop(fake);
    close(mute);
}

static void details_are_read(void **state)
{
    (void)state;
    struct fake *fake = fake_start(0);
    fake->code = GRPC_STATUS_INVALID_ARGUMENT;
    fake->reason = "KEY_TOO_LONG";
    fake->outcome = "NOT_APPLIED";
    struct rpc_client *client = client_of("%s", fake->name);
    struct asked outcome = ask(client, DEADLINE_MS, false);
    assert_false(outcome.answered);
    assert_int_equal(outcome.status.code, GRPC_STATUS_INVALID_ARGUMENT);
    assert_string_equal(outcome.status.message, "as configured");
    assert_string_equal(outcome.status.reason, "KEY_TOO_LONG");
    assert_string_equal(outcome.status.outcome, "NOT_APPLIED");
    assert_string_equal(outcome.status.missing, "n2, n3");
    assert_string_equal(outcome.status.acknowledged, "1");
    assert_string_equal(outcome.status.needed, "2");
    assert_string_equal(outcome.status.field, "key");
    assert_string_equal(outcome.status.violation, "longer than 4096 bytes");
    assert_int_equal(outcome.status.retry_after_ms, 1250);
    rpc_client_free(client);
    fake_stop(fake);
}

/* Which answers are asked again elsewhere, and what the caller learns when they are not. */
static void unavailable_is_retried_only_where_that_is_safe(void **state)
{
    (void)state;
    static const struct {
        grpc_status_code code;
        const char *reason, *outcome;
        bool idempotent;
        unsigned second_asked;
        const char *outcome_told;
    } table[] = {
        {GRPC_STATUS_UNAVAILABLE, NULL, "", true, 1, ""},
        {GRPC_STATUS_UNAVAILABLE, NULL, "", false, 0, "UNKNOWN"},
        {GRPC_STATUS_UNAVAILABLE, "QUORUM_NOT_MET", "NOT_APPLIED", false, 1, ""},
        {GRPC_STATUS_UNAVAILABLE, "QUORUM_NOT_MET", "UNKNOWN", false, 0, "UNKNOWN"},
        {GRPC_STATUS_DEADLINE_EXCEEDED, NULL, "", true, 0, "UNKNOWN"},
        {GRPC_STATUS_FAILED_PRECONDITION, NULL, "", true, 0, ""},
        {GRPC_STATUS_RESOURCE_EXHAUSTED, "OVERLOADED", "NOT_APPLIED", true, 0, "NOT_APPLIED"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(table); i++) {
        struct fake *first = fake_start(0), *second = fake_start(0);
        first->code = table[i].code;
        first->reason = table[i].reason;
        first->outcome = table[i].outcome;
        struct rpc_client *client = client_of("%s,%s", first->name, second->name);
        struct asked outcome = ask(client, DEADLINE_MS, table[i].idempotent);
        assert_int_equal(atomic_load(&first->calls), 1);
        assert_int_equal(atomic_load(&second->calls), table[i].second_asked);
        assert_int_equal(outcome.answered, table[i].second_asked != 0);
        assert_int_equal(outcome.status.code,
                         table[i].second_asked != 0 ? GRPC_STATUS_OK : table[i].code);
        assert_string_equal(outcome.status.outcome, table[i].outcome_told);
        rpc_client_free(client);
        fake_stop(first);
        fake_stop(second);
    }
}

/* An attempt with an unknown outcome is never forgotten over a later one that surely did nothing.
 */
static void unknown_once_is_unknown_for_good(void **state)
{
    (void)state;
    struct fake *first = fake_start(0), *second = fake_start(0);
    first->code = second->code = GRPC_STATUS_UNAVAILABLE;
    first->reason = second->reason = "QUORUM_NOT_MET";
    first->outcome = "UNKNOWN";
    second->outcome = "NOT_APPLIED";
    struct rpc_client *client = client_of("%s,%s", first->name, second->name);
    struct asked outcome = ask(client, DEADLINE_MS, true);
    assert_int_equal(atomic_load(&second->calls), 1);
    assert_string_equal(outcome.status.endpoint, second->name);
    assert_string_equal(outcome.status.outcome, "UNKNOWN");
    rpc_client_free(client);

    /* And the answer that came is kept over an endpoint that cannot be reached. */
    int dead_port;
    int dead = port_hold(false, &dead_port);
    client = client_of("%s,127.0.0.1:%d", first->name, dead_port);
    outcome = ask(client, DEADLINE_MS, true);
    assert_string_equal(outcome.status.reason, "QUORUM_NOT_MET");
    assert_string_equal(outcome.status.outcome, "UNKNOWN");
    assert_string_equal(outcome.status.endpoint, first->name);
    rpc_client_free(client);
    close(dead);
    fake_stop(first);
    fake_stop(second);
}

static void deadline_ends_a_call(void **state)
{
    (void)state;
    struct fake *fake = fake_start(0);
    fake->silent = true;
    struct rpc_client *client = client_of("%s", fake->name);
    uint64_t start = now_ms();
    struct asked outcome = ask(client, 300, true);
    assert_int_equal(outcome.status.code, GRPC_STATUS_DEADLINE_EXCEEDED);
    assert_string_equal(outcome.status.outcome, "UNKNOWN");
    assert_true(now_ms() - start >= 290 && now_ms() - start < 8000);
    rpc_client_free(client);
    fake_stop(fake);

    int mute_port;
    int mute = port_hold(true, &mute_port);
    client = client_of("127.0.0.1:%d", mute_port);
    start = now_ms();
    outcome = ask(client, 300, false);
    assert_string_equal(outcome.status.reason, "NOT_CONNECTED");
    assert_string_equal(outcome.status.outcome, "NOT_APPLIED");
    assert_true(now_ms() - start < 8000);
    rpc_client_free(client);
    close(mute);
}

static void an_answer_that_is_none_is_internal(void **state)
{
    (void)state;
    struct fake *fake = fake_start(0);
    fake->garbage = true;
    struct rpc_client *client = client_of("%s", fake->name);
    struct asked outcome = ask(client, DEADLINE_MS, true);
    assert_false(outcome.answered);
    assert_int_equal(outcome.status.code, GRPC_STATUS_INTERNAL);
    assert_non_null(strstr(outcome.status.message, fake->name));
    rpc_client_free(client);
    fake_stop(fake);
}

static void a_server_that_comes_back_is_found_again(void **state)
{
    (void)state;
    struct fake *fake = fake_start(0);
    int port = fake->port;
    struct rpc_client *client = client_of("%s", fake->name);
    assert_int_equal(ask(client, DEADLINE_MS, true).status.code, GRPC_STATUS_OK);
    fake_stop(fake);
    assert_int_equal(ask(client, DEADLINE_MS, true).status.code, GRPC_STATUS_UNAVAILABLE);
    fake = fake_start(port);
    uint64_t give_up = now_ms() + 60000;
    grpc_status_code code = GRPC_STATUS_UNAVAILABLE;
    while (code != GRPC_STATUS_OK && now_ms() < give_up)
        code = ask(client, DEADLINE_MS, true).status.code;
    assert_int_equal(code, GRPC_STATUS_OK);
    rpc_client_free(client);
    fake_stop(fake);
}

static void every_call_ends_once(void **state)
{
    (void)state;
    enum { CALLS = RPC_CLIENT_CALLS_MAX };
    struct fake *fake = fake_start(0);
    struct rpc_client *client = client_of("%s", fake->name);
    static int tags[CALLS];
    memset(tags, 0, sizeof tags);
    Coterie__V1__GetRequest request = COTERIE__V1__GET_REQUEST__INIT;
    for (int i = 0; i < CALLS; i++)
        rpc_client_start(client, GET, &request.base, &coterie__v1__get_response__descriptor,
                         DEADLINE_MS, true, &tags[i]);
    assert_int_equal(rpc_client_outstanding(client), CALLS);
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct rpc_client_answer answer;
    while (rpc_client_next(client, DEADLINE_MS, &arena, &answer)) {
        assert_int_equal(answer.status.code, GRPC_STATUS_OK);
        assert_non_null(answer.response);
        ++*(int *)answer.tag;
    }
    for (int i = 0; i < CALLS; i++)
        assert_int_equal(tags[i], 1);
    assert_int_equal(rpc_client_outstanding(client), 0);
    arena_deinit(&arena);
    rpc_client_free(client);
    fake_stop(fake);
}

/* Free with calls waiting for a connection, for an answer, and for being fetched. */
static void free_cancels(void **state)
{
    (void)state;
    int mute_port;
    int mute = port_hold(true, &mute_port);
    struct fake *fake = fake_start(0);
    fake->silent = true;
    Coterie__V1__GetRequest request = COTERIE__V1__GET_REQUEST__INIT;
    uint64_t start = now_ms();
    for (int i = 0; i < 2; i++) {
        struct rpc_client *client =
            i == 0 ? client_of("127.0.0.1:%d", mute_port) : client_of("%s", fake->name);
        for (int j = 0; j < 5; j++)
            rpc_client_start(client, GET, &request.base, &coterie__v1__get_response__descriptor,
                             600, true, NULL);
        struct rpc_client_answer answer;
        struct arena arena;
        arena_init(&arena, NULL, 0);
        assert_false(rpc_client_next(client, 50, &arena, &answer));
        arena_deinit(&arena);
        rpc_client_free(client);
    }
    assert_true(now_ms() - start < 8000);
    fake_stop(fake);
    close(mute);
}

static void flights_share_their_connections(void **state)
{
    (void)state;
    enum { CALLS = 2000, OUTSTANDING = 64, CONNECTIONS = 4 };
    struct fake *fake = fake_start(0);
    struct rpc_flight *flight;
    char why[256];
    assert_int_equal(rpc_flight_new("nonsense:port", 1, &flight, why, sizeof why), ERR_INVALID);
    assert_int_equal(rpc_flight_new(fake->name, CONNECTIONS, &flight, why, sizeof why), OK);
    static uint8_t seen[CALLS];
    memset(seen, 0, sizeof seen);
    Coterie__V1__GetRequest request = COTERIE__V1__GET_REQUEST__INIT;
    size_t started = 0, ended = 0;
    while (ended < CALLS) {
        while (started < CALLS && rpc_flight_outstanding(flight) < OUTSTANDING)
            rpc_flight_start(flight, started % 2 == 0 ? GET : PUT, &request.base, DEADLINE_MS,
                             &seen[started]),
                started++;
        struct rpc_flight_result result;
        assert_true(rpc_flight_next(flight, DEADLINE_MS, &result));
        assert_int_equal(result.code, GRPC_STATUS_OK);
        Coterie__V1__GetResponse *response =
            coterie__v1__get_response__unpack(NULL, result.response.size, result.response.data);
        assert_non_null(response);
        assert_true(response->found);
        coterie__v1__get_response__free_unpacked(response, NULL);
        ++*(uint8_t *)result.tag;
        ended++;
    }
    for (size_t i = 0; i < CALLS; i++)
        assert_int_equal(seen[i], 1);
    assert_int_equal(fake->peer_count, CONNECTIONS);
    struct rpc_flight_result result;
    assert_false(rpc_flight_next(flight, 10, &result));
    rpc_flight_free(flight);
    fake_stop(fake);
}

/* Connections take turns over the endpoints, so each gets its share of the calls. */
static void flights_take_turns_over_endpoints(void **state)
{
    (void)state;
    struct fake *first = fake_start(0), *second = fake_start(0);
    char endpoints[128], why[256];
    snprintf(endpoints, sizeof endpoints, "%s,%s", first->name, second->name);
    struct rpc_flight *flight;
    assert_int_equal(rpc_flight_new(endpoints, 1, &flight, why, sizeof why), ERR_INVALID);
    assert_int_equal(rpc_flight_new(endpoints, 2, &flight, why, sizeof why), OK);
    Coterie__V1__GetRequest request = COTERIE__V1__GET_REQUEST__INIT;
    for (int i = 0; i < 10; i++)
        rpc_flight_start(flight, GET, &request.base, DEADLINE_MS, NULL);
    struct rpc_flight_result result;
    for (int i = 0; i < 10; i++)
        assert_true(rpc_flight_next(flight, DEADLINE_MS, &result));
    assert_int_equal(atomic_load(&first->calls), 5);
    assert_int_equal(atomic_load(&second->calls), 5);
    rpc_flight_free(flight);
    fake_stop(first);
    fake_stop(second);
}

static void flights_tell_codes(void **state)
{
    (void)state;
    struct fake *fake = fake_start(0);
    fake->code = GRPC_STATUS_RESOURCE_EXHAUSTED;
    struct rpc_flight *flight;
    char why[256];
    assert_int_equal(rpc_flight_new(fake->name, 1, &flight, why, sizeof why), OK);
    Coterie__V1__GetRequest request = COTERIE__V1__GET_REQUEST__INIT;
    rpc_flight_start(flight, GET, &request.base, DEADLINE_MS, NULL);
    struct rpc_flight_result result;
    assert_true(rpc_flight_next(flight, DEADLINE_MS, &result));
    assert_int_equal(result.code, GRPC_STATUS_RESOURCE_EXHAUSTED);
    assert_int_equal(result.response.size, 0);
    rpc_flight_free(flight);
    fake_stop(fake);
}

int main(void)
{
    rpc_library_init(NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(endpoints_are_checked),
        cmocka_unit_test(an_answer_names_its_endpoint),
        cmocka_unit_test(unreachable_is_known_not_applied),
        cmocka_unit_test(next_endpoint_when_one_is_down_and_stays_there),
        cmocka_unit_test(next_endpoint_when_one_is_mute),
        cmocka_unit_test(details_are_read),
        cmocka_unit_test(unavailable_is_retried_only_where_that_is_safe),
        cmocka_unit_test(unknown_once_is_unknown_for_good),
        cmocka_unit_test(deadline_ends_a_call),
        cmocka_unit_test(an_answer_that_is_none_is_internal),
        cmocka_unit_test(a_server_that_comes_back_is_found_again),
        cmocka_unit_test(every_call_ends_once),
        cmocka_unit_test(free_cancels),
        cmocka_unit_test(flights_share_their_connections),
        cmocka_unit_test(flights_take_turns_over_endpoints),
        cmocka_unit_test(flights_tell_codes),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    rpc_library_shutdown();
    return failed;
}
