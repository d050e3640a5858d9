// link: coterie_rpc
/* Cluster, health (Check and Watch) and reflection (v1 and v1alpha) of the client port (DESIGN.md
 * 9), and bytes on its TCP port that are not gRPC (DESIGN.md 10). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "coterie/v1/maintenance.pb-c.h"
#include "grpc/health/v1/health.pb-c.h"
#include "grpc/reflection/v1/reflection.pb-c.h"
#include "model/limits.h"
#include "tests/rpc/server_fixture.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#define CLUSTER     "/coterie.v1.Cluster/"
#define MAINTENANCE "/coterie.v1.Maintenance/"

static struct raw_reply ask(struct fixture *fixture, const char *method,
                            const ProtobufCMessage *request)
{
    return raw_message(&fixture->client, method, request, 5000);
}

/* -- Cluster ----------------------------------------------------------------------------------- */

static void test_status(void **state)
{
    Coterie__V1__StatusRequest request = COTERIE__V1__STATUS_REQUEST__INIT;
    struct raw_reply reply = ask(*state, CLUSTER "Status", &request.base);
    assert_int_equal(reply.code, GRPC_STATUS_OK);
    Coterie__V1__StatusResponse *status =
        coterie__v1__status_response__unpack(NULL, reply.body_size, reply.body);
    assert_int_equal(strlen(status->cluster_id), 32);
    assert_string_equal(status->node, "n1");
    assert_int_equal(status->epoch, 1);
    assert_int_equal(status->partitions, 64);
    assert_int_equal(status->nodes_total, 3);
    assert_int_equal(status->nodes_alive, 2);
    assert_int_equal(status->keyspaces, FAKE_KEYSPACES);
    assert_false(status->healthy);
    assert_int_equal(status->n_problems, 1); /* n1 itself and n3 are alive */
    assert_non_null(strstr(status->problems[0], "node n2 (127.0.0.1:7802) does not answer"));
    coterie__v1__status_response__free_unpacked(status, NULL);
    raw_reply_clear(&reply);
}

/* Three nodes and N 3: any two of them are a pair of copies in each of 64 partitions. What has not
 * been compared is not said to be the same. */
static void test_status_of_copies(void **state)
{
    for (int pairs = 0; pairs <= 1; pairs++) {
        Coterie__V1__StatusRequest request = COTERIE__V1__STATUS_REQUEST__INIT;
        request.pairs = pairs;
        struct raw_reply reply = ask(*state, CLUSTER "Status", &request.base);
        Coterie__V1__StatusResponse *status =
            coterie__v1__status_response__unpack(NULL, reply.body_size, reply.body);
        assert_non_null(status->convergence);
        assert_int_equal(status->convergence->pairs_in_cluster, 3 * 64);
        assert_int_equal(status->convergence->identical, 0);
        assert_int_equal(status->convergence->identical_as_of_ms, 0);
        assert_true(status->convergence->now_ms > 1600000000000u);
        coterie__v1__status_response__free_unpacked(status, NULL);
        raw_reply_clear(&reply);
    }
}

/* One that has not been heard of yet is not alive, and is told of. */
static void test_status_of_the_unheard(void **state)
{
    struct fixture *fixture = *state;
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct view *view = fake_view(&arena);
    view->members[2].liveness = LIVENESS_UNKNOWN;
    runtime_publish(fixture->node.runtime, view);
    Coterie__V1__StatusRequest request = COTERIE__V1__STATUS_REQUEST__INIT;
    struct raw_reply reply = ask(fixture, CLUSTER "Status", &request.base);
    Coterie__V1__StatusResponse *status =
        coterie__v1__status_response__unpack(NULL, reply.body_size, reply.body);
    assert_int_equal(status->nodes_total, 3);
    assert_int_equal(status->nodes_alive, 1);
    assert_int_equal(status->n_problems, 2);
    assert_non_null(strstr(status->problems[1], "node n3 "));
    coterie__v1__status_response__free_unpacked(status, NULL);
    raw_reply_clear(&reply);
    arena_deinit(&arena);
}

/* view.h: who holds another document of our epoch is named, and the cluster is not healthy. */
static void test_status_of_two_documents(void **state)
{
    struct fixture *fixture = *state;
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct view *view = fake_view(&arena);
    for (uint32_t i = 0; i < 3; i++)
        view->members[i].liveness = LIVENESS_ALIVE;
    view->members[2].split = true;
    runtime_publish(fixture->node.runtime, view);
    Coterie__V1__StatusRequest request = COTERIE__V1__STATUS_REQUEST__INIT;
    struct raw_reply reply = ask(fixture, CLUSTER "Status", &request.base);
    Coterie__V1__StatusResponse *status =
        coterie__v1__status_response__unpack(NULL, reply.body_size, reply.body);
    assert_int_equal(status->healthy, 0);
    assert_int_equal(status->nodes_alive, 3);
    assert_int_equal(status->n_problems, 1);
    assert_non_null(strstr(status->problems[0], "two topology documents of epoch 1 "));
    assert_non_null(strstr(status->problems[0], "another at n3: "));
    coterie__v1__status_response__free_unpacked(status, NULL);
    raw_reply_clear(&reply);
    arena_deinit(&arena);
}

static void test_nodes(void **state)
{
    Coterie__V1__ListNodesRequest request = COTERIE__V1__LIST_NODES_REQUEST__INIT;
    struct raw_reply reply = ask(*state, CLUSTER "ListNodes", &request.base);
    Coterie__V1__ListNodesResponse *nodes =
        coterie__v1__list_nodes_response__unpack(NULL, reply.body_size, reply.body);
    assert_int_equal(nodes->n_nodes, 3);
    uint32_t owned = 0;
    for (size_t i = 0; i < nodes->n_nodes; i++) {
        assert_int_equal(nodes->nodes[i]->number, i + 1);
        assert_int_equal(nodes->nodes[i]->liveness,
                         i == 1 ? COTERIE__V1__NODE__LIVENESS__LIVENESS_DOWN
                                : COTERIE__V1__NODE__LIVENESS__LIVENESS_ALIVE);
        owned += nodes->nodes[i]->partitions_owned;
    }
    assert_int_equal(owned, 64);
    coterie__v1__list_nodes_response__free_unpacked(nodes, NULL);
    raw_reply_clear(&reply);
}

static void test_ring(void **state)
{
    Coterie__V1__GetRingRequest request = COTERIE__V1__GET_RING_REQUEST__INIT;
    struct raw_reply reply = ask(*state, CLUSTER "GetRing", &request.base);
    Coterie__V1__GetRingResponse *ring =
        coterie__v1__get_ring_response__unpack(NULL, reply.body_size, reply.body);
    assert_int_equal(ring->n_partitions, 64);
    for (size_t i = 0; i < ring->n_partitions; i++) {
        assert_int_equal(ring->partitions[i]->partition, i);
        assert_true(ring->partitions[i]->first_hash == (uint64_t)i << 58);
        assert_int_equal(ring->partitions[i]->n_data_centers, 1);
        assert_int_equal(ring->partitions[i]->data_centers[0]->n_replicas, 3);
    }
    coterie__v1__get_ring_response__free_unpacked(ring, NULL);
    raw_reply_clear(&reply);
    request.keyspace = (char *)(uintptr_t) "nowhere";
    reply = ask(*state, CLUSTER "GetRing", &request.base);
    assert_int_equal(reply.code, GRPC_STATUS_NOT_FOUND);
    raw_reply_clear(&reply);
}

static struct raw_reply create(struct fixture *fixture, const Coterie__V1__Keyspace *keyspace)
{
    Coterie__V1__CreateKeyspaceRequest request = COTERIE__V1__CREATE_KEYSPACE_REQUEST__INIT;
    request.keyspace = (Coterie__V1__Keyspace *)(uintptr_t)keyspace;
    return ask(fixture, CLUSTER "CreateKeyspace", &request.base);
}

static void test_keyspaces(void **state)
{
    Coterie__V1__ListKeyspacesRequest list = COTERIE__V1__LIST_KEYSPACES_REQUEST__INIT;
    struct raw_reply reply = ask(*state, CLUSTER "ListKeyspaces", &list.base);
    Coterie__V1__ListKeyspacesResponse *listed =
        coterie__v1__list_keyspaces_response__unpack(NULL, reply.body_size, reply.body);
    assert_int_equal(listed->n_keyspaces, FAKE_KEYSPACES);
    assert_string_equal(listed->keyspaces[0]->name, "default");
    coterie__v1__list_keyspaces_response__free_unpacked(listed, NULL);
    raw_reply_clear(&reply);

    Coterie__V1__DescribeKeyspaceRequest describe = COTERIE__V1__DESCRIBE_KEYSPACE_REQUEST__INIT;
    describe.name = (char *)(uintptr_t) "last";
    reply = ask(*state, CLUSTER "DescribeKeyspace", &describe.base);
    Coterie__V1__DescribeKeyspaceResponse *described =
        coterie__v1__describe_keyspace_response__unpack(NULL, reply.body_size, reply.body);
    assert_int_equal(described->keyspace->conflict, COTERIE__V1__KEYSPACE__CONFLICT__CONFLICT_LWW);
    assert_int_equal(described->keyspace->n, 3);
    coterie__v1__describe_keyspace_response__free_unpacked(described, NULL);
    raw_reply_clear(&reply);

    Coterie__V1__DropKeyspaceRequest drop = COTERIE__V1__DROP_KEYSPACE_REQUEST__INIT;
    drop.name = (char *)(uintptr_t) "last";
    reply = ask(*state, CLUSTER "DropKeyspace", &drop.base);
    assert_int_equal(reply.code, GRPC_STATUS_OK);
    raw_reply_clear(&reply);
    drop.name = (char *)(uintptr_t) "nowhere";
    reply = ask(*state, CLUSTER "DropKeyspace", &drop.base);
    assert_int_equal(reply.code, GRPC_STATUS_NOT_FOUND);
    assert_string_equal(reply.message, "name: keyspace \"nowhere\" does not exist");
    raw_reply_clear(&reply);
}

static void test_create_keyspace(void **state)
{
    Coterie__V1__Keyspace__NByDataCenterEntry east =
        COTERIE__V1__KEYSPACE__NBY_DATA_CENTER_ENTRY__INIT;
    Coterie__V1__Keyspace__NByDataCenterEntry again =
        COTERIE__V1__KEYSPACE__NBY_DATA_CENTER_ENTRY__INIT;
    east.key = again.key = (char *)(uintptr_t) "east";
    east.value = again.value = 2;
    Coterie__V1__Keyspace__NByDataCenterEntry *entries[] = {&east, &again};
    const struct {
        const char *name;
        int mode;
        int conflict;
        uint32_t n;
        size_t entry_count;
        int read;
        int code;
        const char *message;
    } cases[] = {
        {"ok", 0, 2, 5, 1, 1, 0, ""},
        {"", 0, 0, 0, 0, 0, 3, "keyspace.name: \"\" is not of the form [a-z][a-z0-9_-]{0,62}"},
        {"9a", 0, 0, 0, 0, 0, 3, "keyspace.name: \"9a\" is not of the form [a-z][a-z0-9_-]{0,62}"},
        {"a", 3, 0, 0, 0, 0, 3, "keyspace.mode: 3 is no known value, limit 2"},
        {"a", 0, 9, 0, 0, 0, 3, "keyspace.conflict: 9 is no known value, limit 2"},
        {"a", 0, 0, 8, 0, 0, 3, "keyspace.n: 8 replicas, limit 7"},
        {"a", 0, 0, 0, 2, 0, 3, "n_by_data_center: \"east\" given twice"},
        {"a", 0, 0, 0, 0, 7, 3, "keyspace.read_consistency: 7 is no known value, limit 6"},
        {"taken", 0, 0, 0, 0, 0, 6, "exists already"},
        {"full", 0, 0, 0, 0, 0, 9, "over a limit"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        Coterie__V1__Keyspace keyspace = COTERIE__V1__KEYSPACE__INIT;
        keyspace.name = (char *)(uintptr_t)cases[i].name;
        keyspace.mode = (Coterie__V1__Keyspace__Mode)cases[i].mode;
        keyspace.conflict = (Coterie__V1__Keyspace__Conflict)cases[i].conflict;
        keyspace.n = cases[i].n;
        keyspace.n_n_by_data_center = cases[i].entry_count;
        keyspace.n_by_data_center = entries;
        keyspace.read_consistency = (Coterie__V1__Consistency)cases[i].read;
        struct raw_reply reply = create(*state, &keyspace);
        assert_string_equal(reply.message, cases[i].message);
        assert_int_equal(reply.code, cases[i].code);
        if (reply.has_body) {
            Coterie__V1__CreateKeyspaceResponse *created =
                coterie__v1__create_keyspace_response__unpack(NULL, reply.body_size, reply.body);
            assert_int_equal(created->keyspace->n, 5);
            assert_int_equal(created->keyspace->n_n_by_data_center, 2); /* default too */
            assert_int_equal(created->keyspace->read_consistency, 1);
            assert_int_equal(created->keyspace->write_consistency, 2);
            assert_int_equal(created->known_by, 1);
            assert_int_equal(created->nodes, 3);
            coterie__v1__create_keyspace_response__free_unpacked(created, NULL);
        }
        raw_reply_clear(&reply);
    }
    struct raw_reply reply = create(*state, NULL);
    assert_string_equal(reply.message, "keyspace: missing");
    raw_reply_clear(&reply);
}

/* -- Maintenance: hints ------------------------------------------------------------------------ */

static Coterie__V1__HintsResponse *ask_hints(struct fixture *fixture)
{
    Coterie__V1__HintsRequest request = COTERIE__V1__HINTS_REQUEST__INIT;
    struct raw_reply reply = ask(fixture, MAINTENANCE "Hints", &request.base);
    assert_int_equal(reply.code, GRPC_STATUS_OK);
    Coterie__V1__HintsResponse *hints =
        coterie__v1__hints_response__unpack(NULL, reply.body_size, reply.body);
    raw_reply_clear(&reply);
    return hints;
}

static grpc_status_code change_pause(struct fixture *fixture, bool pause, const char *target)
{
    Coterie__V1__PauseHintsRequest to_pause = COTERIE__V1__PAUSE_HINTS_REQUEST__INIT;
    Coterie__V1__ResumeHintsRequest to_resume = COTERIE__V1__RESUME_HINTS_REQUEST__INIT;
    to_pause.target = to_resume.target = (char *)(uintptr_t)target;
    struct raw_reply reply = pause ? ask(fixture, MAINTENANCE "PauseHints", &to_pause.base)
                                   : ask(fixture, MAINTENANCE "ResumeHints", &to_resume.base);
    grpc_status_code code = reply.code;
    raw_reply_clear(&reply);
    return code;
}

/* By name, those with something to say alone; one that nobody knows any more by its number. */
static void test_hints(void **state)
{
    Coterie__V1__HintsResponse *hints = ask_hints(*state);
    assert_string_equal(hints->node, "n1");
    assert_int_equal(hints->n_targets, 2);
    const Coterie__V1__HintTarget *target = hints->targets[0];
    assert_string_equal(target->target, "n2");
    assert_int_equal(target->state, COTERIE__V1__HINT_TARGET__STATE__STATE_AWAY);
    assert_int_equal(target->hints, 12);
    assert_int_equal(target->bytes, 3456);
    assert_true(target->oldest_age_ms >= 90000 && target->oldest_age_ms < 120000);
    assert_true(target->delivered_per_s > 1.4 && target->delivered_per_s < 1.6);
    assert_string_equal(hints->targets[1]->target, "#77");
    assert_int_equal(hints->targets[1]->state, COTERIE__V1__HINT_TARGET__STATE__STATE_WAITING);
    assert_int_equal(hints->targets[1]->oldest_age_ms, 0);
    coterie__v1__hints_response__free_unpacked(hints, NULL);
}

static void test_hints_pause(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(change_pause(fixture, true, "n2"), GRPC_STATUS_OK);
    Coterie__V1__HintsResponse *hints = ask_hints(fixture);
    assert_int_equal(hints->targets[0]->state, COTERIE__V1__HINT_TARGET__STATE__STATE_PAUSED);
    coterie__v1__hints_response__free_unpacked(hints, NULL);
    assert_int_equal(change_pause(fixture, false, ""), GRPC_STATUS_OK);
    hints = ask_hints(fixture);
    assert_int_equal(hints->targets[0]->state, COTERIE__V1__HINT_TARGET__STATE__STATE_AWAY);
    coterie__v1__hints_response__free_unpacked(hints, NULL);
    assert_int_equal(change_pause(fixture, true, "n9"), GRPC_STATUS_NOT_FOUND);
    assert_int_equal(change_pause(fixture, true, "n1"), GRPC_STATUS_INVALID_ARGUMENT); /* itself */
    assert_int_equal(change_pause(fixture, false, "n3"), GRPC_STATUS_UNAVAILABLE);
}

/* -- streams ----------------------------------------------------------------------------------- */

/* A stream of the test's own: one operation at a time. */
struct stream {
    struct raw_client *client;
    grpc_call *call;
    grpc_metadata_array headers;
    grpc_metadata_array trailers;
    grpc_status_code code;
    grpc_slice details;
    bool over;
};

static void stream_wait(struct stream *stream, void *tag)
{
    for (;;) {
        grpc_event event = grpc_completion_queue_next(stream->client->queue, in_ms(10000), NULL);
        assert_int_equal(event.type, GRPC_OP_COMPLETE);
        if (event.tag == stream)
            stream->over = true;
        if (event.tag == tag)
            return;
    }
}

static void stream_open(struct stream *stream, struct raw_client *client, const char *method)
{
    *stream = (struct stream){.client = client, .details = grpc_empty_slice()};
    grpc_slice path = grpc_slice_from_copied_string(method);
    stream->call = grpc_channel_create_call(client->channel, NULL, GRPC_PROPAGATE_DEFAULTS,
                                            client->queue, path, NULL, in_ms(20000), NULL);
    grpc_slice_unref(path);
    grpc_metadata_array_init(&stream->headers);
    grpc_metadata_array_init(&stream->trailers);
    grpc_op ops[2];
    memset(ops, 0, sizeof ops);
    ops[0].op = GRPC_OP_SEND_INITIAL_METADATA;
    ops[1].op = GRPC_OP_RECV_INITIAL_METADATA;
    ops[1].data.recv_initial_metadata.recv_initial_metadata = &stream->headers;
    CHECK(grpc_call_start_batch(stream->call, ops, 2, &stream->headers, NULL) == GRPC_CALL_OK);
    memset(ops, 0, sizeof ops);
    ops[0].op = GRPC_OP_RECV_STATUS_ON_CLIENT;
    ops[0].data.recv_status_on_client.trailing_metadata = &stream->trailers;
    ops[0].data.recv_status_on_client.status = &stream->code;
    ops[0].data.recv_status_on_client.status_details = &stream->details;
    CHECK(grpc_call_start_batch(stream->call, ops, 1, stream, NULL) == GRPC_CALL_OK);
}

static void stream_write(struct stream *stream, const ProtobufCMessage *message, bool last)
{
    grpc_slice slice = grpc_slice_malloc(protobuf_c_message_get_packed_size(message));
    protobuf_c_message_pack(message, GRPC_SLICE_START_PTR(slice));
    grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice);
    grpc_op ops[2];
    memset(ops, 0, sizeof ops);
    ops[0].op = GRPC_OP_SEND_MESSAGE;
    ops[0].data.send_message.send_message = buffer;
    ops[1].op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
    CHECK(grpc_call_start_batch(stream->call, ops, last ? 2 : 1, buffer, NULL) == GRPC_CALL_OK);
    stream_wait(stream, buffer);
    grpc_byte_buffer_destroy(buffer);
}

/* malloc memory; data NULL at the end of the stream. */
static struct bytes stream_read(struct stream *stream)
{
    grpc_byte_buffer *buffer = NULL;
    grpc_op op;
    memset(&op, 0, sizeof op);
    op.op = GRPC_OP_RECV_MESSAGE;
    op.data.recv_message.recv_message = &buffer;
    CHECK(grpc_call_start_batch(stream->call, &op, 1, &op, NULL) == GRPC_CALL_OK);
    stream_wait(stream, &op);
    if (buffer == NULL)
        return bytes_of(NULL, 0);
    grpc_byte_buffer_reader reader;
    CHECK(grpc_byte_buffer_reader_init(&reader, buffer));
    grpc_slice slice = grpc_byte_buffer_reader_readall(&reader);
    uint8_t *data = malloc(GRPC_SLICE_LENGTH(slice) + 1);
    assert_non_null(data);
    memcpy(data, GRPC_SLICE_START_PTR(slice), GRPC_SLICE_LENGTH(slice));
    struct bytes bytes = bytes_of(data, GRPC_SLICE_LENGTH(slice));
    grpc_slice_unref(slice);
    grpc_byte_buffer_reader_destroy(&reader);
    grpc_byte_buffer_destroy(buffer);
    return bytes;
}

static grpc_status_code stream_close(struct stream *stream, bool cancel)
{
    if (cancel)
        grpc_call_cancel(stream->call, NULL);
    if (!stream->over)
        stream_wait(stream, stream);
    grpc_metadata_array_destroy(&stream->headers);
    grpc_metadata_array_destroy(&stream->trailers);
    grpc_slice_unref(stream->details);
    grpc_call_unref(stream->call);
    return stream->code;
}

/* -- health ------------------------------------------------------------------------------------ */

static int check_health(struct fixture *fixture, const char *service, grpc_status_code *ret_code)
{
    Grpc__Health__V1__HealthCheckRequest request = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
    request.service = (char *)(uintptr_t)service;
    struct raw_reply reply = ask(fixture, "/grpc.health.v1.Health/Check", &request.base);
    *ret_code = reply.code;
    int status = -1;
    if (reply.has_body) {
        Grpc__Health__V1__HealthCheckResponse *response =
            grpc__health__v1__health_check_response__unpack(NULL, reply.body_size, reply.body);
        status = (int)response->status;
        grpc__health__v1__health_check_response__free_unpacked(response, NULL);
    }
    raw_reply_clear(&reply);
    return status;
}

static void test_health_check(void **state)
{
    struct fixture *fixture = *state;
    grpc_status_code code;
    assert_int_equal(check_health(fixture, "", &code), 1);
    assert_int_equal(check_health(fixture, "coterie.v1.KeyValue", &code), 1);
    rpc_server_set_serving(fixture->node.server, false);
    assert_int_equal(check_health(fixture, "", &code), 2);
    assert_int_equal(code, GRPC_STATUS_OK);
    assert_int_equal(check_health(fixture, "nonsense", &code), -1);
    assert_int_equal(code, GRPC_STATUS_NOT_FOUND);
}

static void watch_open(struct stream *stream, struct raw_client *client, const char *service)
{
    Grpc__Health__V1__HealthCheckRequest request = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
    request.service = (char *)(uintptr_t)service;
    stream_open(stream, client, "/grpc.health.v1.Health/Watch");
    stream_write(stream, &request.base, true);
}

static int watch_next(struct stream *stream)
{
    struct bytes bytes = stream_read(stream);
    if (bytes.data == NULL)
        return -1;
    Grpc__Health__V1__HealthCheckResponse *response =
        grpc__health__v1__health_check_response__unpack(NULL, bytes.size, bytes.data);
    int status = (int)response->status;
    grpc__health__v1__health_check_response__free_unpacked(response, NULL);
    free((void *)(uintptr_t)bytes.data);
    return status;
}

static void test_health_watch(void **state)
{
    struct fixture *fixture = *state;
    struct stream watch;
    watch_open(&watch, &fixture->client, "");
    assert_int_equal(watch_next(&watch), 1);
    for (int i = 0; i < 10; i++) {
        rpc_server_set_serving(fixture->node.server, false);
        assert_int_equal(watch_next(&watch), 2);
        rpc_server_set_serving(fixture->node.server, true);
        assert_int_equal(watch_next(&watch), 1);
    }
    stream_close(&watch, true);
    watch_open(&watch, &fixture->client, "nonsense");
    assert_int_equal(watch_next(&watch), 3); /* and the stream stays open */
    assert_false(watch.over);
    stream_close(&watch, true);
    /* A drain ends it with a status. */
    watch_open(&watch, &fixture->client, "");
    assert_int_equal(watch_next(&watch), 1);
    rpc_server_drain(fixture->node.server, 5000);
    int last = watch_next(&watch);
    assert_true(last == 2 || last == -1);
    assert_int_equal(stream_close(&watch, false), GRPC_STATUS_UNAVAILABLE);
}

/* The watchers are bounded, and places come back. */
static void test_health_watchers_bounded(void **state)
{
    struct fixture *fixture = *state;
    enum { WATCHERS = 128 };
    static struct stream watches[WATCHERS + 1];
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < WATCHERS; i++) {
            watch_open(&watches[i], &fixture->client, "");
            assert_int_equal(watch_next(&watches[i]), 1);
        }
        watch_open(&watches[WATCHERS], &fixture->client, "");
        assert_int_equal(watch_next(&watches[WATCHERS]), -1);
        assert_int_equal(stream_close(&watches[WATCHERS], false), GRPC_STATUS_RESOURCE_EXHAUSTED);
        for (int i = 0; i < WATCHERS; i++)
            stream_close(&watches[i], true);
        /* The server hears of the last cancel a moment later. */
        struct stream probe;
        int first = -1;
        for (int i = 0; i < 1000 && first != 1; i++) {
            watch_open(&probe, &fixture->client, "");
            first = watch_next(&probe);
            stream_close(&probe, true);
        }
        assert_int_equal(first, 1);
        usleep(100000);
    }
}

/* -- reflection -------------------------------------------------------------------------------- */

static Grpc__Reflection__V1__ServerReflectionResponse *
reflect(struct stream *stream, const Grpc__Reflection__V1__ServerReflectionRequest *request)
{
    stream_write(stream, &request->base, false);
    struct bytes bytes = stream_read(stream);
    assert_non_null(bytes.data);
    Grpc__Reflection__V1__ServerReflectionResponse *response =
        grpc__reflection__v1__server_reflection_response__unpack(NULL, bytes.size, bytes.data);
    assert_non_null(response);
    free((void *)(uintptr_t)bytes.data);
    return response;
}

static void reflect_all(struct raw_client *client, const char *path)
{
    struct stream stream;
    stream_open(&stream, client, path);
    Grpc__Reflection__V1__ServerReflectionRequest request =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__INIT;
    request.message_request_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_LIST_SERVICES;
    request.list_services = (char *)(uintptr_t) "";
    Grpc__Reflection__V1__ServerReflectionResponse *response = reflect(&stream, &request);
    const char *wanted[] = {"coterie.v1.KeyValue",
                            "coterie.v1.Cluster",
                            "coterie.v1.Maintenance",
                            "grpc.health.v1.Health",
                            "grpc.reflection.v1.ServerReflection",
                            "grpc.reflection.v1alpha.ServerReflection"};
    assert_int_equal(response->list_services_response->n_service, ARRAY_COUNT(wanted));
    for (size_t i = 0; i < ARRAY_COUNT(wanted); i++) {
        bool found = false;
        for (size_t j = 0; j < ARRAY_COUNT(wanted); j++)
            found |= strcmp(response->list_services_response->service[j]->name, wanted[i]) == 0;
        assert_true(found);
    }
    grpc__reflection__v1__server_reflection_response__free_unpacked(response, NULL);

    /* With all that it imports, imports first. */
    request.message_request_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_BY_FILENAME;
    request.file_by_filename = (char *)(uintptr_t) "coterie/v1/cluster_service.proto";
    response = reflect(&stream, &request);
    assert_int_equal(response->file_descriptor_response->n_file_descriptor_proto, 3);
    ProtobufCBinaryData last = response->file_descriptor_response->file_descriptor_proto[2];
    assert_memory_equal(last.data + 2, "coterie/v1/cluster_service.proto", 32);
    assert_string_equal(response->original_request->file_by_filename,
                        "coterie/v1/cluster_service.proto");
    grpc__reflection__v1__server_reflection_response__free_unpacked(response, NULL);

    request.message_request_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_SYMBOL;
    const struct {
        const char *symbol;
        bool found;
    } symbols[] = {{"coterie.v1.KeyValue", true},
                   {"coterie.v1.KeyValue.BatchGet", true},
                   {"coterie.v1.BatchWriteRequest.Item", true},
                   {"coterie.v1.BatchWriteRequest.Item.key", true},
                   {"coterie.v1.Node.Liveness", true},
                   {"coterie.v1.Node.Liveness.LIVENESS_DOWN", true},
                   {"grpc.health.v1.Health.Watch", true},
                   {"coterie.v1.Nonsense", false},
                   {"coterie.v1", false},
                   {"coterie.v1.KeyValueX", false},
                   {"", false}};
    for (size_t i = 0; i < ARRAY_COUNT(symbols); i++) {
        request.file_containing_symbol = (char *)(uintptr_t)symbols[i].symbol;
        response = reflect(&stream, &request);
        if (symbols[i].found)
            assert_int_not_equal(response->file_descriptor_response->n_file_descriptor_proto, 0);
        else
            assert_int_equal(response->error_response->error_code, GRPC_STATUS_NOT_FOUND);
        grpc__reflection__v1__server_reflection_response__free_unpacked(response, NULL);
    }
    grpc_op op;
    memset(&op, 0, sizeof op);
    op.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
    CHECK(grpc_call_start_batch(stream.call, &op, 1, &op, NULL) == GRPC_CALL_OK);
    assert_null(stream_read(&stream).data);
    assert_int_equal(stream_close(&stream, false), GRPC_STATUS_OK);
}

static void test_reflection(void **state)
{
    struct fixture *fixture = *state;
    reflect_all(&fixture->client, "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo");
    reflect_all(&fixture->client, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo");
    /* One left open must not hold up the end. */
    struct stream stream;
    stream_open(&stream, &fixture->client,
                "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo");
    Grpc__Reflection__V1__ServerReflectionRequest request =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__INIT;
    Grpc__Reflection__V1__ServerReflectionResponse *response = reflect(&stream, &request);
    assert_int_equal(response->error_response->error_code, GRPC_STATUS_INVALID_ARGUMENT);
    grpc__reflection__v1__server_reflection_response__free_unpacked(response, NULL);
    rpc_server_drain(fixture->node.server, 5000);
    assert_int_equal(stream_close(&stream, false), GRPC_STATUS_UNAVAILABLE);
}

/* -- not gRPC ---------------------------------------------------------------------------------- */

static int tcp_connect(int port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static void tcp_write(int fd, const void *data, size_t size)
{
    /* The server may have closed already: that is an answer too. */
    ssize_t written = send(fd, data, size, MSG_NOSIGNAL);
    (void)written;
}

/* Until the server closes, or a moment: a flood of connections is another matter than hostile
 * bytes. */
static void tcp_finish(int fd)
{
    struct timeval moment = {.tv_usec = 10000};
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &moment, sizeof moment), 0);
    uint8_t answer[4096];
    while (recv(fd, answer, sizeof answer, 0) > 0)
        continue;
    close(fd);
}

/* Random bytes, then HTTP/2 with hostile frames: random ones, announced lengths that never come,
 * oversized ones. Two seconds; then a well-behaved client is served. */
static void test_hostile_bytes(void **state)
{
    struct fixture *fixture = *state;
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    static const uint8_t settings[9] = {0, 0, 0, 4, 0, 0, 0, 0, 0};
    struct prng prng;
    prng_init(&prng, 11, 0);
    uint8_t data[4096];
    uint64_t until_ns = runtime_now_ns() + 2000000000ull;
    uint32_t rounds = 0;
    for (; runtime_now_ns() < until_ns; rounds++) {
        int fd = tcp_connect(fixture->port);
        if (rounds % 3 != 0) {
            tcp_write(fd, preface, sizeof preface - 1);
            tcp_write(fd, settings, sizeof settings);
        }
        for (int frame = 0; frame < 8; frame++) {
            size_t size = prng_below(&prng, sizeof data - 9);
            for (size_t i = 0; i < size + 9; i++)
                data[i] = (uint8_t)prng_u64(&prng);
            if (rounds % 3 == 1) { /* a true length, a frame of a known type */
                data[0] = 0;
                data[1] = (uint8_t)(size >> 8);
                data[2] = (uint8_t)size;
                data[3] = (uint8_t)prng_below(&prng, 11);
                data[5] = data[6] = data[7] = 0;
                data[8] = (uint8_t)prng_below(&prng, 4);
            }
            tcp_write(fd, data, size + 9);
        }
        tcp_finish(fd);
    }
    assert_true(rounds > 10);
    struct get_result got = do_get(fixture, &(struct get_words){.key = "a", .deadline_ms = 5000});
    assert_int_equal(got.reply.code, GRPC_STATUS_OK);
    get_result_clear(&got);
}

#define WITH_SERVER(test) cmocka_unit_test_setup_teardown(test, fixture_start, fixture_stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_SERVER(test_status),
        WITH_SERVER(test_status_of_copies),
        WITH_SERVER(test_status_of_the_unheard),
        WITH_SERVER(test_status_of_two_documents),
        WITH_SERVER(test_nodes),
        WITH_SERVER(test_ring),
        WITH_SERVER(test_keyspaces),
        WITH_SERVER(test_create_keyspace),
        WITH_SERVER(test_hints),
        WITH_SERVER(test_hints_pause),
        WITH_SERVER(test_health_check),
        WITH_SERVER(test_health_watch),
        WITH_SERVER(test_health_watchers_bounded),
        WITH_SERVER(test_reflection),
        WITH_SERVER(test_hostile_bytes),
    };
    rpc_library_init(NULL);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    rpc_library_shutdown();
    return failed;
}
