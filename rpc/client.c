/* A call's life:
 *
 *   start --> CONNECTING --ready--> SENT --status--> done
 *               |  ^                 |
 *               |  +--next endpoint--+  (only where the rules in client.h allow it)
 *               +--no endpoint left--> done, NOT_CONNECTED
 *
 * In CONNECTING the call waits for one connectivity watch, in SENT for one batch: exactly one tag
 * of a call is in the completion queue at any time.
 */
#include "rpc/client.h"

#include "rpc/client_channel.h"

#include <grpc/byte_buffer_reader.h>
#include <grpc/support/time.h>
#include <stdio.h>
#include <stdlib.h>

#define CONNECT_MS_MAX 1000u /* while another endpoint is left to try */
#define RECONNECT_MS_MAX                                                                           \
    500u /* where the last attempt has failed: gRPC says nothing of a second one */

enum call_state { CALL_CONNECTING, CALL_SENT, CALL_DONE };

struct client_call {
    struct client_call *next;  /* in the list of finished calls, or of all live ones */
    struct client_call **link; /* of the live list */
    enum call_state state;
    const char *method;
    const ProtobufCMessageDescriptor *response_type;
    bool idempotent;
    bool has_status;     /* an earlier attempt was answered: `status` says how */
    bool may_be_applied; /* an earlier attempt left with an unknown outcome */
    void *tag;
    gpr_timespec deadline;
    uint32_t endpoint; /* tried now */
    uint32_t attempts; /* endpoints tried, this one included */
    gpr_timespec connect_deadline;
    grpc_slice request;
    grpc_call *call;
    struct client_exchange exchange;
    struct rpc_client_status status;
};

struct rpc_client {
    grpc_completion_queue *queue;
    uint32_t endpoint_count;
    uint32_t preferred; /* the endpoint that answered last */
    struct client_endpoint endpoints[RPC_CLIENT_ENDPOINTS_MAX];
    grpc_channel *channels[RPC_CLIENT_ENDPOINTS_MAX]; /* NULL until first used */
    struct client_call *live;
    struct client_call *done;
    struct client_call **done_tail;
    uint32_t outstanding;
    bool closing; /* nothing is sent any more */
};

static void call_connect(struct rpc_client *client, struct client_call *call);

enum err rpc_client_new(const char *endpoints, struct rpc_client **ret_client, char *why,
                        size_t why_size)
{
    struct rpc_client *client = calloc(1, sizeof *client);
    CHECK(client != NULL);
    enum err err = client_endpoints_parse(endpoints, client->endpoints, &client->endpoint_count,
                                          why, why_size);
    if (err != OK) {
        free(client);
        return err;
    }
    client->queue = grpc_completion_queue_create_for_next(NULL);
    client->done_tail = &client->done;
    *ret_client = client;
    return OK;
}

static void live_remove(struct client_call *call)
{
    *call->link = call->next;
    if (call->next != NULL)
        call->next->link = call->link;
    call->next = NULL;
}

static void attempt_clear(struct client_call *call)
{
    if (call->call != NULL)
        grpc_call_unref(call->call);
    grpc_byte_buffer_destroy(call->exchange.send_buffer);
    grpc_byte_buffer_destroy(call->exchange.receive_buffer);
    grpc_metadata_array_destroy(&call->exchange.initial);
    grpc_metadata_array_destroy(&call->exchange.trailing);
    grpc_slice_unref(call->exchange.details);
    call->call = NULL;
    call->exchange.send_buffer = NULL;
    call->exchange.receive_buffer = NULL;
    grpc_metadata_array_init(&call->exchange.initial);
    grpc_metadata_array_init(&call->exchange.trailing);
    call->exchange.details = grpc_empty_slice();
}

static void call_free(struct client_call *call)
{
    attempt_clear(call);
    grpc_slice_unref(call->request);
    free(call);
}

static void call_finish(struct rpc_client *client, struct client_call *call)
{
    CHECK(call->state != CALL_DONE);
    call->state = CALL_DONE;
    struct rpc_client_status *status = &call->status;
    if (status->code != GRPC_STATUS_OK && call->may_be_applied)
        snprintf(status->outcome, sizeof status->outcome, "UNKNOWN");
    live_remove(call);
    *client->done_tail = call;
    client->done_tail = &call->next;
}

/* Nothing of this attempt has left: on to the next endpoint, or the end. */
static void call_give_up_endpoint(struct rpc_client *client, struct client_call *call,
                                  const char *why)
{
    bool late = gpr_time_cmp(gpr_now(GPR_CLOCK_MONOTONIC), call->deadline) >= 0;
    if (call->attempts < client->endpoint_count && !late) {
        call->endpoint = (call->endpoint + 1) % client->endpoint_count;
        call->attempts++;
        call_connect(client, call);
        return;
    }
    if (call->has_status) {
        call_finish(client, call);
        return;
    }
    call->status = (struct rpc_client_status){.code = GRPC_STATUS_UNAVAILABLE};
    memcpy(call->status.endpoint, client->endpoints[call->endpoint].name,
           sizeof call->status.endpoint);
    snprintf(call->status.reason, sizeof call->status.reason, "NOT_CONNECTED");
    snprintf(call->status.outcome, sizeof call->status.outcome, "NOT_APPLIED");
    snprintf(call->status.message, sizeof call->status.message,
             "cannot connect to %s: %s (tried %u of %u endpoints)",
             client->endpoints[call->endpoint].name, why, call->attempts, client->endpoint_count);
    call_finish(client, call);
}

static void call_send(struct rpc_client *client, struct client_call *call)
{
    call->state = CALL_SENT;
    call->call = grpc_channel_create_call(
        client->channels[call->endpoint], NULL, GRPC_PROPAGATE_DEFAULTS, client->queue,
        grpc_slice_from_static_string(call->method), NULL, call->deadline, NULL);
    call->exchange.send_buffer = grpc_raw_byte_buffer_create(&call->request, 1);
    client_exchange_start(call->call, &call->exchange, call);
}

/* Looks at the connection and does what its state asks for; waits for a change when it is being
 * made. */
static void call_look(struct rpc_client *client, struct client_call *call, bool first)
{
    grpc_channel *channel = client->channels[call->endpoint];
    grpc_connectivity_state state = grpc_channel_check_connectivity_state(channel, 1);
    bool late = gpr_time_cmp(gpr_now(GPR_CLOCK_MONOTONIC), call->connect_deadline) >= 0;
    if (state == GRPC_CHANNEL_READY && !client->closing) {
        call_send(client, call);
    } else if (late || client->closing || state == GRPC_CHANNEL_SHUTDOWN ||
               (state == GRPC_CHANNEL_TRANSIENT_FAILURE && !first)) {
        call_give_up_endpoint(client, call,
                              late ? "not in time" : "refused, no such host, or no gRPC there");
    } else {
        grpc_channel_watch_connectivity_state(channel, state, call->connect_deadline, client->queue,
                                              call);
    }
}

static void call_connect(struct rpc_client *client, struct client_call *call)
{
    call->state = CALL_CONNECTING;
    uint64_t connect_ms = call->attempts < client->endpoint_count ? CONNECT_MS_MAX : UINT32_MAX;
    grpc_channel **channel = &client->channels[call->endpoint];
    if (*channel == NULL) {
        *channel = client_channel_new(client->endpoints[call->endpoint].target, call->endpoint);
    } else if (grpc_channel_check_connectivity_state(*channel, 1) ==
               GRPC_CHANNEL_TRANSIENT_FAILURE) {
        grpc_channel_reset_connect_backoff(*channel);
        connect_ms = RECONNECT_MS_MAX;
    }
    gpr_timespec soon = client_deadline(connect_ms);
    call->connect_deadline = gpr_time_min(soon, call->deadline);
    call_look(client, call, true);
}

static bool call_may_retry(const struct rpc_client *client, const struct client_call *call)
{
    const struct rpc_client_status *status = &call->status;
    if (status->code != GRPC_STATUS_UNAVAILABLE || call->attempts >= client->endpoint_count)
        return false;
    return call->idempotent || strcmp(status->outcome, "NOT_APPLIED") == 0;
}

static void call_on_status(struct rpc_client *client, struct client_call *call)
{
    client_status_decode(call->exchange.code, call->exchange.details, &call->exchange.trailing,
                         &call->status);
    memcpy(call->status.endpoint, client->endpoints[call->endpoint].name,
           sizeof call->status.endpoint);
    call->has_status = true;
    if (call_may_retry(client, call)) {
        if (strcmp(call->status.outcome, "UNKNOWN") == 0)
            call->may_be_applied = true;
        attempt_clear(call);
        call->endpoint = (call->endpoint + 1) % client->endpoint_count;
        call->attempts++;
        call_connect(client, call);
        return;
    }
    if (call->exchange.code != GRPC_STATUS_UNAVAILABLE)
        client->preferred = call->endpoint;
    call_finish(client, call);
}

void rpc_client_start(struct rpc_client *client, const char *method,
                      const ProtobufCMessage *request, const ProtobufCMessageDescriptor *response,
                      uint32_t deadline_ms, bool idempotent, void *tag)
{
    CHECK_U64(client->outstanding, <, RPC_CLIENT_CALLS_MAX);
    CHECK(deadline_ms > 0);
    struct client_call *call = calloc(1, sizeof *call);
    CHECK(call != NULL);
    call->method = method;
    call->response_type = response;
    call->idempotent = idempotent;
    call->tag = tag;
    call->deadline = client_deadline(deadline_ms);
    call->endpoint = client->preferred;
    call->attempts = 1;
    call->request = client_message_pack(request);
    call->exchange.details = grpc_empty_slice();
    grpc_metadata_array_init(&call->exchange.initial);
    grpc_metadata_array_init(&call->exchange.trailing);
    call->link = &client->live;
    call->next = client->live;
    if (call->next != NULL)
        call->next->link = &call->next;
    client->live = call;
    client->outstanding++;
    call_connect(client, call);
}

/* One event of the queue, if one comes before `until`. */
static bool client_step(struct rpc_client *client, gpr_timespec until)
{
    grpc_event event = grpc_completion_queue_next(client->queue, until, NULL);
    if (event.type == GRPC_QUEUE_TIMEOUT)
        return false;
    CHECK(event.type == GRPC_OP_COMPLETE);
    struct client_call *call = event.tag;
    if (call->state == CALL_CONNECTING)
        call_look(client, call, false);
    else
        call_on_status(client, call);
    return true;
}

static ProtobufCMessage *response_unpack(const struct client_call *call, struct arena *arena)
{
    ProtobufCAllocator allocator = client_arena_allocator(arena);
    grpc_byte_buffer_reader reader;
    if (call->exchange.receive_buffer == NULL ||
        !grpc_byte_buffer_reader_init(&reader, call->exchange.receive_buffer))
        return NULL;
    grpc_slice all = grpc_byte_buffer_reader_readall(&reader);
    grpc_byte_buffer_reader_destroy(&reader);
    ProtobufCMessage *message = protobuf_c_message_unpack(
        call->response_type, &allocator, GRPC_SLICE_LENGTH(all), GRPC_SLICE_START_PTR(all));
    grpc_slice_unref(all);
    return message;
}

bool rpc_client_next(struct rpc_client *client, uint32_t timeout_ms, struct arena *arena,
                     struct rpc_client_answer *ret_answer)
{
    if (client->outstanding == 0)
        return false;
    gpr_timespec until = client_deadline(timeout_ms);
    while (client->done == NULL) {
        if (!client_step(client, until))
            return false;
    }
    struct client_call *call = client->done;
    client->done = call->next;
    if (client->done == NULL)
        client->done_tail = &client->done;
    client->outstanding--;
    struct rpc_client_answer answer = {.tag = call->tag, .status = call->status};
    if (call->status.code == GRPC_STATUS_OK) {
        answer.response = response_unpack(call, arena);
        if (answer.response == NULL) {
            answer.status.code = GRPC_STATUS_INTERNAL;
            snprintf(answer.status.message, sizeof answer.status.message,
                     "the answer of %s to %s cannot be decoded", answer.status.endpoint,
                     call->method);
        }
    }
    call_free(call);
    *ret_answer = answer;
    return true;
}

uint32_t rpc_client_outstanding(const struct rpc_client *client)
{
    return client->outstanding;
}

ProtobufCMessage *rpc_client_call(struct rpc_client *client, const char *method,
                                  const ProtobufCMessage *request,
                                  const ProtobufCMessageDescriptor *response, uint32_t deadline_ms,
                                  bool idempotent, struct arena *arena,
                                  struct rpc_client_status *ret_status)
{
    CHECK_U64(client->outstanding, ==, 0);
    rpc_client_start(client, method, request, response, deadline_ms, idempotent, NULL);
    struct rpc_client_answer answer;
    while (!rpc_client_next(client, 1000, arena, &answer))
        ; /* a call ends by its own deadline */
    *ret_status = answer.status;
    return answer.response;
}

void rpc_client_free(struct rpc_client *client)
{
    client->closing = true;
    for (struct client_call *call = client->live; call != NULL; call = call->next) {
        call->attempts = client->endpoint_count; /* no further endpoint */
        if (call->state == CALL_SENT)
            grpc_call_cancel(call->call, NULL);
    }
    /* Destroying a channel wakes nobody's watch; each ends by its own deadline at the latest. */
    while (client->live != NULL)
        client_step(client, gpr_inf_future(GPR_CLOCK_MONOTONIC));
    while (client->done != NULL) {
        struct client_call *call = client->done;
        client->done = call->next;
        call_free(call);
    }
    for (uint32_t i = 0; i < client->endpoint_count; i++) {
        if (client->channels[i] != NULL)
            grpc_channel_destroy(client->channels[i]);
    }
    grpc_completion_queue_shutdown(client->queue);
    gpr_timespec never = gpr_inf_future(GPR_CLOCK_MONOTONIC);
    while (grpc_completion_queue_next(client->queue, never, NULL).type != GRPC_QUEUE_SHUTDOWN)
        ;
    grpc_completion_queue_destroy(client->queue);
    free(client);
}
