#include "rpc/service_health.h"

#include "base/check.h"
#include "grpc/health/v1/health.pb-c.h"
#include "rpc/service.h"
#include "rpc/stream.h"

#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <stdlib.h>

#define ARMED_COUNT 4u /* watches ready to be taken; the rest of the table is for running ones */
#define REFUSED_MAX 64u
#define WATCHES_MAX (HEALTH_WATCHERS_MAX + ARMED_COUNT + REFUSED_MAX)

typedef Grpc__Health__V1__HealthCheckResponse__ServingStatus serving_status;

/* The services of this port; "" is the whole server. */
static const char *const services[] = {
    "",
    "coterie.v1.KeyValue",
    "coterie.v1.Cluster",
    "coterie.v1.Maintenance",
    "grpc.health.v1.Health",
};

static bool service_known(const char *name)
{
    for (size_t i = 0; i < ARRAY_COUNT(services); i++) {
        if (strcmp(services[i], name) == 0)
            return true;
    }
    return false;
}

static serving_status serving_now(const struct edge *edge)
{
    return atomic_load(&edge->serving)
               ? GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING
               : GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING;
}

/* -- Check ------------------------------------------------------------------------------------- */

static const Grpc__Health__V1__HealthCheckRequest *
request_decode(struct arena *arena, struct bytes payload, struct status *ret_error)
{
    return (const Grpc__Health__V1__HealthCheckRequest *)decode(
        arena, payload, &grpc__health__v1__health_check_request__descriptor, ret_error);
}

void health_check_handle(struct call *call, struct bytes payload)
{
    uint8_t memory[1024];
    struct arena arena;
    struct status status;
    arena_init(&arena, memory, sizeof memory);
    const Grpc__Health__V1__HealthCheckRequest *request = request_decode(&arena, payload, &status);
    if (request != NULL && service_known(request->service)) {
        Grpc__Health__V1__HealthCheckResponse response =
            GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
        response.status = serving_now(call->edge);
        call_reply(call, &response.base);
    } else {
        if (request != NULL)
            status_set(&status, GRPC_STATUS_NOT_FOUND, "SERVICE_UNKNOWN",
                       "service: \"%.80s\" is not served here", request->service);
        call_fail(call, &status);
    }
    arena_deinit(&arena);
}

/* -- Watch ------------------------------------------------------------------------------------- */

struct watch {
    struct rpc_event on_new;
    struct rpc_event on_close;
    struct rpc_event on_send;
    struct health *health;
    uint32_t queue;
    bool used;
    bool running; /* counted against HEALTH_WATCHERS_MAX */
    bool known;   /* its service is one of ours */
    bool closed;  /* the call is over, or our status is on its way */
    bool sending;
    bool started; /* the first message has left */
    bool headers_sent;
    uint32_t tags;
    serving_status last;
    grpc_call *call;
    gpr_timespec deadline;
    grpc_metadata_array metadata;
    grpc_byte_buffer *payload;
    grpc_byte_buffer *sent;
    int cancelled;
};

struct health {
    struct edge *edge;
    void *registered;
    pthread_mutex_t lock; /* all of it */
    bool draining;
    uint32_t live;
    uint32_t armed;
    uint32_t running;
    struct watch watches[WATCHES_MAX];
};

static void watch_batch(struct watch *watch, const grpc_op *ops, size_t count,
                        struct rpc_event *tag)
{
    watch->tags++;
    grpc_call_error error = grpc_call_start_batch(watch->call, ops, count, tag, NULL);
    CHECK_U64(error, ==, GRPC_CALL_OK);
}

static void watch_send_state(struct watch *watch)
{
    Grpc__Health__V1__HealthCheckResponse response = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
    response.status =
        watch->known ? serving_now(watch->health->edge)
                     : GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVICE_UNKNOWN;
    if (watch->closed || watch->sending || (watch->started && response.status == watch->last))
        return;
    watch->sent = buffer_of_message(&response.base);
    watch->started = true;
    watch->sending = true;
    watch->last = response.status;
    watch->tags++;
    stream_send_message(watch->call, &watch->headers_sent, watch->sent, &watch->on_send);
}

static void watch_finish(struct watch *watch, grpc_status_code code, const char *message)
{
    if (watch->closed || watch->sending)
        return;
    watch->closed = true;
    watch->sending = true;
    grpc_slice details = grpc_slice_from_static_string(message);
    edge_count(watch->health->edge, RPC_CLUSTER, code, runtime_now_ns());
    watch->tags++;
    stream_send_status(watch->call, &watch->headers_sent, code, &details, &watch->on_send);
}

static void watch_arm(struct health *health, uint32_t queue)
{
    struct watch *watch = NULL;
    for (size_t i = 0; i < WATCHES_MAX && watch == NULL; i++) {
        if (!health->watches[i].used)
            watch = &health->watches[i];
    }
    if (watch == NULL || health->draining)
        return;
    struct rpc_event on_new = watch->on_new;
    struct rpc_event on_close = watch->on_close;
    struct rpc_event on_send = watch->on_send;
    *watch = (struct watch){.on_new = on_new,
                            .on_close = on_close,
                            .on_send = on_send,
                            .health = health,
                            .queue = queue,
                            .used = true,
                            .tags = 1};
    grpc_metadata_array_init(&watch->metadata);
    health->live++;
    health->armed++;
    grpc_completion_queue *completion = health->edge->queues[queue].queue;
    grpc_call_error error = grpc_server_request_registered_call(
        health->edge->server, health->registered, &watch->call, &watch->deadline, &watch->metadata,
        &watch->payload, completion, completion, &watch->on_new);
    CHECK_U64(error, ==, GRPC_CALL_OK);
}

/* A tag is back; with the last one the slot is free. Arms one when the table was full before. */
static void watch_put(struct watch *watch)
{
    CHECK_U64(watch->tags, >, 0);
    if (--watch->tags != 0)
        return;
    struct health *health = watch->health;
    if (watch->call != NULL)
        grpc_call_unref(watch->call);
    grpc_byte_buffer_destroy(watch->payload);
    grpc_byte_buffer_destroy(watch->sent);
    grpc_metadata_array_destroy(&watch->metadata);
    health->running -= watch->running;
    watch->used = false;
    health->live--;
    if (health->armed < ARMED_COUNT)
        watch_arm(health, watch->queue);
}

static bool watch_accept(struct watch *watch)
{
    struct health *health = watch->health;
    uint8_t memory[1024];
    struct arena arena;
    arena_init(&arena, memory, sizeof memory);
    bool accepted = false;
    grpc_byte_buffer_reader reader;
    struct status status;
    if (watch->payload == NULL || !grpc_byte_buffer_reader_init(&reader, watch->payload)) {
        watch_finish(watch, GRPC_STATUS_INVALID_ARGUMENT, "request: the call carries no message");
    } else {
        grpc_slice whole = grpc_byte_buffer_reader_readall(&reader);
        const Grpc__Health__V1__HealthCheckRequest *request = request_decode(
            &arena, bytes_of(GRPC_SLICE_START_PTR(whole), GRPC_SLICE_LENGTH(whole)), &status);
        if (request == NULL)
            watch_finish(watch, GRPC_STATUS_INVALID_ARGUMENT, "request: not a HealthCheckRequest");
        else if (health->running == HEALTH_WATCHERS_MAX)
            watch_finish(watch, GRPC_STATUS_RESOURCE_EXHAUSTED, "too many health watches");
        else
            accepted = true;
        watch->known = request != NULL && service_known(request->service);
        grpc_slice_unref(whole);
        grpc_byte_buffer_reader_destroy(&reader);
    }
    arena_deinit(&arena);
    return accepted;
}

static void watch_on_new(struct rpc_event *event, bool ok)
{
    struct watch *watch = CONTAINER_OF(event, struct watch, on_new);
    struct health *health = watch->health;
    pthread_mutex_lock(&health->lock);
    health->armed--;
    if (ok) {
        watch_arm(health, watch->queue);
        grpc_op op;
        memset(&op, 0, sizeof op);
        op.op = GRPC_OP_RECV_CLOSE_ON_SERVER;
        op.data.recv_close_on_server.cancelled = &watch->cancelled;
        watch_batch(watch, &op, 1, &watch->on_close);
        if (watch_accept(watch)) {
            watch->running = true;
            health->running++;
            watch_send_state(watch);
            if (health->draining)
                watch_finish(watch, GRPC_STATUS_UNAVAILABLE, "the server shuts down");
        }
    }
    watch_put(watch);
    pthread_mutex_unlock(&health->lock);
}

static void watch_on_close(struct rpc_event *event, bool ok)
{
    (void)ok;
    struct watch *watch = CONTAINER_OF(event, struct watch, on_close);
    struct health *health = watch->health;
    pthread_mutex_lock(&health->lock);
    watch->closed = true;
    watch_put(watch);
    pthread_mutex_unlock(&health->lock);
}

static void watch_on_send(struct rpc_event *event, bool ok)
{
    struct watch *watch = CONTAINER_OF(event, struct watch, on_send);
    struct health *health = watch->health;
    pthread_mutex_lock(&health->lock);
    grpc_byte_buffer_destroy(watch->sent);
    watch->sent = NULL;
    watch->sending = false;
    if (!ok)
        watch->closed = true;
    if (health->draining)
        watch_finish(watch, GRPC_STATUS_UNAVAILABLE, "the server shuts down");
    else
        watch_send_state(watch);
    watch_put(watch);
    pthread_mutex_unlock(&health->lock);
}

/* -- life -------------------------------------------------------------------------------------- */

struct health *health_new(struct edge *edge)
{
    struct health *health = calloc(1, sizeof *health);
    CHECK(health != NULL);
    health->edge = edge;
    CHECK(pthread_mutex_init(&health->lock, NULL) == 0);
    for (size_t i = 0; i < WATCHES_MAX; i++) {
        health->watches[i].on_new.done = watch_on_new;
        health->watches[i].on_close.done = watch_on_close;
        health->watches[i].on_send.done = watch_on_send;
    }
    return health;
}

void health_arm(struct health *health, void *registered_watch)
{
    pthread_mutex_lock(&health->lock);
    health->registered = registered_watch;
    for (uint32_t i = 0; i < ARMED_COUNT; i++)
        watch_arm(health, i % health->edge->queue_count);
    pthread_mutex_unlock(&health->lock);
}

void health_changed(struct health *health)
{
    pthread_mutex_lock(&health->lock);
    for (size_t i = 0; i < WATCHES_MAX; i++) {
        if (health->watches[i].used && health->watches[i].started)
            watch_send_state(&health->watches[i]);
    }
    pthread_mutex_unlock(&health->lock);
}

void health_drain(struct health *health)
{
    pthread_mutex_lock(&health->lock);
    health->draining = true;
    for (size_t i = 0; i < WATCHES_MAX; i++) {
        if (health->watches[i].used && health->watches[i].started)
            watch_finish(&health->watches[i], GRPC_STATUS_UNAVAILABLE, "the server shuts down");
    }
    pthread_mutex_unlock(&health->lock);
}

uint32_t health_live(const struct health *health)
{
    struct health *mutable = (struct health *)(uintptr_t)health;
    pthread_mutex_lock(&mutable->lock);
    uint32_t live = health->live;
    pthread_mutex_unlock(&mutable->lock);
    return live;
}

void health_free(struct health *health)
{
    CHECK_U64(health->live, ==, 0);
    pthread_mutex_destroy(&health->lock);
    free(health);
}
