/* One server with fake actors and one raw client; calls in words. */
#ifndef TESTS_RPC_SERVER_FIXTURE_H
#define TESTS_RPC_SERVER_FIXTURE_H

#include "bench/fake_actors.h"
#include "coterie/v1/cluster.pb-c.h"
#include "coterie/v1/key_value.pb-c.h"
#include "tests/rpc/raw_client.h"

#define KEY_VALUE_GET        "/coterie.v1.KeyValue/Get"
#define KEY_VALUE_PUT        "/coterie.v1.KeyValue/Put"
#define KEY_VALUE_NULL       "/coterie.v1.Maintenance/Null"
#define FIXTURE_REQUESTS_MAX 64u

struct fixture {
    struct fake_node node;
    struct raw_client client;
    int port;
};

static inline int fixture_start(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    CHECK(fixture != NULL);
    runtime_thread_register();
    fake_node_start(&fixture->node, FIXTURE_REQUESTS_MAX, 2);
    fixture->port = rpc_server_port(fixture->node.server);
    fixture->client = raw_client_new(fixture->port, 0);
    *state = fixture;
    return 0;
}

static inline int fixture_stop(void **state)
{
    struct fixture *fixture = *state;
    raw_client_free(&fixture->client);
    fake_node_stop(&fixture->node, 0);
    runtime_thread_unregister();
    free(fixture);
    return 0;
}

/* -- get --------------------------------------------------------------------------------------- */

struct get_words {
    const char *key;
    struct bytes key_bytes; /* instead of key */
    const char *keyspace;
    int consistency;
    uint32_t r;
    uint64_t deadline_ms;
};

struct get_result {
    struct raw_reply reply;
    Coterie__V1__GetResponse *response; /* NULL unless OK */
};

static inline struct get_result do_get(struct fixture *fixture, const struct get_words *words)
{
    Coterie__V1__GetRequest request = COTERIE__V1__GET_REQUEST__INIT;
    struct bytes key = words->key == NULL ? words->key_bytes : bytes_of_string(words->key);
    request.key = binary_of_bytes(key);
    if (words->keyspace != NULL)
        request.keyspace = (char *)(uintptr_t)words->keyspace;
    request.consistency = (Coterie__V1__Consistency)words->consistency;
    request.r = words->r;
    struct get_result result = {
        .reply = raw_message(&fixture->client, KEY_VALUE_GET, &request.base, words->deadline_ms)};
    if (result.reply.has_body)
        result.response =
            coterie__v1__get_response__unpack(NULL, result.reply.body_size, result.reply.body);
    return result;
}

static inline void get_result_clear(struct get_result *result)
{
    if (result->response != NULL)
        coterie__v1__get_response__free_unpacked(result->response, NULL);
    raw_reply_clear(&result->reply);
}

/* -- put, delete ------------------------------------------------------------------------------- */

struct put_words {
    const char *key;
    struct bytes key_bytes;
    const char *value;
    struct bytes value_bytes;
    struct bytes context;
    const char *keyspace;
    int consistency;
    uint32_t w;
    uint64_t ttl_ms;
    bool ttl_zero;
    uint64_t deadline_ms;
};

struct put_result_words {
    struct raw_reply reply;
    Coterie__V1__PutResponse *response;
};

static inline struct put_result_words put_result_of(struct raw_reply reply)
{
    struct put_result_words result = {.reply = reply};
    if (reply.has_body)
        result.response = coterie__v1__put_response__unpack(NULL, reply.body_size, reply.body);
    return result;
}

static inline struct put_result_words do_put(struct fixture *fixture, const struct put_words *words)
{
    Coterie__V1__PutRequest request = COTERIE__V1__PUT_REQUEST__INIT;
    request.key =
        binary_of_bytes(words->key == NULL ? words->key_bytes : bytes_of_string(words->key));
    request.value =
        binary_of_bytes(words->value == NULL ? words->value_bytes : bytes_of_string(words->value));
    request.context = binary_of_bytes(words->context);
    if (words->keyspace != NULL)
        request.keyspace = (char *)(uintptr_t)words->keyspace;
    request.consistency = (Coterie__V1__Consistency)words->consistency;
    request.w = words->w;
    if (words->ttl_ms != 0 || words->ttl_zero) {
        request._ttl_ms_case = COTERIE__V1__PUT_REQUEST___TTL_MS_TTL_MS;
        request.ttl_ms = words->ttl_ms;
    }
    return put_result_of(
        raw_message(&fixture->client, KEY_VALUE_PUT, &request.base, words->deadline_ms));
}

static inline struct put_result_words do_delete(struct fixture *fixture, const char *key,
                                                struct bytes context)
{
    Coterie__V1__DeleteRequest request = COTERIE__V1__DELETE_REQUEST__INIT;
    request.key = binary_of_bytes(bytes_of_string(key));
    request.context = binary_of_bytes(context);
    return put_result_of(
        raw_message(&fixture->client, "/coterie.v1.KeyValue/Delete", &request.base, 0));
}

static inline void put_result_clear(struct put_result_words *result)
{
    if (result->response != NULL)
        coterie__v1__put_response__free_unpacked(result->response, NULL);
    raw_reply_clear(&result->reply);
}

#endif
