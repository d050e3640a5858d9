#include "rpc/server.h"

#include "base/check.h"
#include "model/limits.h"
#include "rpc/edge.h"
#include "rpc/listen.h"
#include "rpc/methods.h"
#include "rpc/service_health.h"
#include "rpc/service_reflection.h"

#include <stdio.h>
#include <stdlib.h>

#define MEMORY_QUOTA_BYTES (128u << 20)
#define LATE_NS            2000000000ull /* past its deadline: the actors have lost the request */
#define CONNECTION_IDLE_MS (5 * 60 * 1000)
#define CONNECTION_AGE_MS  (60 * 60 * 1000)
#define AGE_GRACE_MS       30000
#define DRAIN_POLL_NS      2000000
#define DRAIN_IDLE_NS      (200ull * 1000000)

struct rpc_server {
    struct rpc_server_options options; /* strings are our own copies */
    char *address;
    char *node_name;
    char *version;
    int port;
    grpc_server *server;
    struct edge edge;
    struct health *health;
    struct reflection *reflection;
    struct rpc_tick sweep;
    struct rpc_event on_shutdown;
    _Atomic bool shut_down;
    bool drained;
};

/* -- start ------------------------------------------------------------------------------------- */

static grpc_server *core_server_new(void)
{
    grpc_resource_quota *quota = grpc_resource_quota_create("clients");
    grpc_resource_quota_resize(quota, MEMORY_QUOTA_BYTES);
    const struct {
        const char *key;
        int value;
    } integers[] = {
        {GRPC_ARG_ALLOW_REUSEPORT, 0},
        {GRPC_ARG_MAX_CONCURRENT_STREAMS, STREAMS_MAX},
        {GRPC_ARG_MAX_METADATA_SIZE, METADATA_BYTES_MAX},
        {GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, GRPC_MESSAGE_BYTES_MAX},
        {GRPC_ARG_MAX_CONNECTION_IDLE_MS, CONNECTION_IDLE_MS},
        {GRPC_ARG_MAX_CONNECTION_AGE_MS, CONNECTION_AGE_MS},
        {GRPC_ARG_MAX_CONNECTION_AGE_GRACE_MS, AGE_GRACE_MS},
        {GRPC_ARG_KEEPALIVE_TIME_MS, 60000},
        {GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10000},
        {GRPC_ARG_HTTP2_MAX_PING_STRIKES, 2},
        {GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 60000},
        {GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, 5000},
        {GRPC_ARG_ENABLE_CHANNELZ, 0},
        {GRPC_ARG_TCP_TX_ZEROCOPY_ENABLED, 0},
    };
    grpc_arg list[ARRAY_COUNT(integers) + 1];
    memset(list, 0, sizeof list);
    for (size_t i = 0; i < ARRAY_COUNT(integers); i++) {
        list[i].type = GRPC_ARG_INTEGER;
        list[i].key = (char *)(uintptr_t)integers[i].key;
        list[i].value.integer = integers[i].value;
    }
    grpc_arg *pointer = &list[ARRAY_COUNT(integers)];
    pointer->type = GRPC_ARG_POINTER;
    pointer->key = (char *)(uintptr_t)GRPC_ARG_RESOURCE_QUOTA;
    pointer->value.pointer.p = quota;
    pointer->value.pointer.vtable = grpc_resource_quota_arg_vtable();
    grpc_channel_args args = {.num_args = ARRAY_COUNT(list), .args = list};
    grpc_server *server = grpc_server_create(&args, NULL);
    grpc_resource_quota_unref(quota);
    return server;
}

static void sweep(struct rpc_tick *tick)
{
    struct rpc_server *server = CONTAINER_OF(tick, struct rpc_server, sweep);
    if (atomic_load(&server->edge.live) > server->edge.armed_count)
        edge_sweep(&server->edge, LATE_NS);
}

static void on_shutdown(struct rpc_event *event, bool ok)
{
    (void)ok;
    struct rpc_server *server = CONTAINER_OF(event, struct rpc_server, on_shutdown);
    atomic_store(&server->shut_down, true);
}

static char *copy(const char *text)
{
    char *copied = strdup(text);
    CHECK(copied != NULL);
    return copied;
}

static struct rpc_server *server_new(const struct rpc_server_options *options, grpc_server *core,
                                     int port)
{
    struct rpc_server *server = calloc(1, sizeof *server);
    CHECK(server != NULL);
    server->options = *options;
    server->options.address = server->address = copy(options->address);
    server->options.node_name = server->node_name = copy(options->node_name);
    server->options.version = server->version = copy(options->version);
    server->server = core;
    server->port = port;
    server->sweep.run = sweep;
    server->on_shutdown.done = on_shutdown;
    size_t count = 0;
    const struct method *methods = methods_all(&count);
    edge_init(&server->edge, &server->options, core, methods, count);
    server->edge.started_ns = runtime_now_ns();
    server->health = health_new(&server->edge);
    server->reflection = reflection_new(&server->edge);
    return server;
}

static void on_mail(void *host, struct message *answer)
{
    struct rpc_server *server = host;
    edge_deliver(&server->edge, answer);
}

enum err rpc_server_start(const struct rpc_server_options *options, struct rpc_server **ret_server,
                          char *why, size_t why_size)
{
    CHECK_U64(options->value_bytes_max, <=, VALUE_BYTES_MAX_CEILING);
    grpc_server *core = core_server_new();
    for (uint32_t i = 0; i < rpc_loop_count(options->loop); i++)
        grpc_server_register_completion_queue(core, rpc_loop_queue(options->loop, i), NULL);
    int port = 0;
    enum err err = rpc_listen(core, "--client-address", options->address, &port, why, why_size);
    if (err != OK) {
        grpc_server_destroy(core);
        return err;
    }
    struct rpc_server *server = server_new(options, core, port);
    size_t count = 0;
    const struct method *methods = methods_all(&count);
    void *registered[METHODS_MAX];
    for (size_t i = 0; i < count; i++)
        registered[i] =
            methods[i].path == NULL
                ? NULL
                : grpc_server_register_method(core, methods[i].path, NULL,
                                              GRPC_SRM_PAYLOAD_READ_INITIAL_BYTE_BUFFER, 0);
    void *watch = grpc_server_register_method(core, "/grpc.health.v1.Health/Watch", NULL,
                                              GRPC_SRM_PAYLOAD_READ_INITIAL_BYTE_BUFFER, 0);
    reflection_register(server->reflection);
    grpc_server_start(core);
    edge_arm(&server->edge, methods, registered, count);
    health_arm(server->health, watch);
    reflection_arm(server->reflection);
    rpc_loop_on_mail(options->loop, on_mail, server);
    rpc_loop_tick_add(options->loop, &server->sweep);
    log_write(options->log, LOG_INFO, "client_port", "address=%s port=%d", options->address, port);
    *ret_server = server;
    return OK;
}

int rpc_server_port(const struct rpc_server *server)
{
    return server->port;
}

void rpc_server_set_serving(struct rpc_server *server, bool serving)
{
    if (serving)
        atomic_store(&server->edge.closed, false);
    if (atomic_exchange(&server->edge.serving, serving) != serving)
        health_changed(server->health);
}

static void deliver_here(struct rpc_server *server, struct message *list)
{
    while (list != NULL) {
        struct message *answer = list;
        list = answer->next;
        answer->next = NULL;
        edge_deliver(&server->edge, answer);
    }
}

/* To the thread of each call's queue, which sends a batch of answers without being woken for each.
 * A single answer to an idle node leaves at once from here. */
void rpc_server_deliver(struct rpc_server *server, struct message *list)
{
    struct rpc_loop *loop = server->options.loop;
    while (list != NULL) {
        uint32_t queue = edge_queue_of(&server->edge, list);
        struct message *last = list;
        while (last->next != NULL && edge_queue_of(&server->edge, last->next) == queue)
            last = last->next;
        struct message *rest = last->next;
        last->next = NULL;
        if (rpc_loop_is_current(loop, queue))
            deliver_here(server, list);
        else if (list == last && rpc_loop_idle(loop, queue))
            edge_deliver(&server->edge, list);
        else
            rpc_loop_mail(loop, queue, list);
        list = rest;
    }
}

/* -- end --------------------------------------------------------------------------------------- */

static bool calls_done(struct rpc_server *server)
{
    return atomic_load(&server->edge.live) == 0 && health_live(server->health) == 0 &&
           reflection_live(server->reflection) == 0;
}

static bool all_done(struct rpc_server *server)
{
    return atomic_load(&server->shut_down) && calls_done(server);
}

/* Ends early when no call has been left for a while: clients that only keep a connection may take
 * seconds to notice that they should close it. */
static void drain_gently(struct rpc_server *server, uint64_t until_ns)
{
    const struct timespec pause = {.tv_nsec = DRAIN_POLL_NS};
    uint64_t now_ns = runtime_now_ns();
    uint64_t busy_ns = now_ns; /* when a call was last seen */
    while (!all_done(server) && now_ns < until_ns && now_ns - busy_ns < DRAIN_IDLE_NS) {
        nanosleep(&pause, NULL);
        now_ns = runtime_now_ns();
        if (!calls_done(server))
            busy_ns = now_ns;
    }
}

void rpc_server_drain(struct rpc_server *server, uint32_t grace_ms)
{
    const struct timespec pause = {.tv_nsec = DRAIN_POLL_NS};
    if (server->drained)
        return;
    server->drained = true;
    rpc_server_set_serving(server, false);
    atomic_store(&server->edge.closing, true);
    health_drain(server->health);
    reflection_drain(server->reflection);
    grpc_server_shutdown_and_notify(server->server, rpc_loop_queue(server->options.loop, 0),
                                    &server->on_shutdown);
    drain_gently(server, runtime_now_ns() + grace_ms * 1000000ull);
    if (!all_done(server))
        grpc_server_cancel_all_calls(server->server);
    while (!all_done(server)) {
        /* Calls whose client is gone wait for their actors no longer. */
        edge_sweep(&server->edge, 0);
        nanosleep(&pause, NULL);
    }
    rpc_loop_tick_remove(server->options.loop, &server->sweep);
}

void rpc_server_free(struct rpc_server *server)
{
    rpc_server_drain(server, 0);
    rpc_loop_mail_flush(server->options.loop);
    grpc_server_destroy(server->server);
    reflection_free(server->reflection);
    health_free(server->health);
    edge_deinit(&server->edge);
    free(server->address);
    free(server->node_name);
    free(server->version);
    free(server);
}

void rpc_server_figures(const struct rpc_server *server, enum rpc_operation operation,
                        struct rpc_operation_figures *ret)
{
    edge_figures(&server->edge, operation, ret);
}

uint64_t rpc_server_in_flight(const struct rpc_server *server)
{
    return atomic_load(&server->edge.in_flight);
}

uint64_t rpc_server_refused(const struct rpc_server *server)
{
    return atomic_load(&server->edge.refused);
}
