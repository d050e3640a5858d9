#include "rpc/peer_unknown.h"

#include "base/check.h"

#include <stdlib.h>

struct unknown {
    struct rpc_event on_call;
    struct rpc_event on_done;
    struct rpc_peers *peers;
    grpc_completion_queue *queue;
    grpc_call *call;
    grpc_call_details details;
    grpc_metadata_array metadata;
    int cancelled;
    grpc_slice why;
};

static void unknown_free(struct unknown *unknown)
{
    struct rpc_peers *peers = unknown->peers;
    if (unknown->call != NULL)
        grpc_call_unref(unknown->call);
    grpc_call_details_destroy(&unknown->details);
    grpc_metadata_array_destroy(&unknown->metadata);
    free(unknown);
    peers_live_drop(peers);
}

static void on_done(struct rpc_event *event, bool ok)
{
    (void)ok;
    struct unknown *unknown = CONTAINER_OF(event, struct unknown, on_done);
    struct rpc_peers *peers = unknown->peers;
    pthread_mutex_lock(&peers->lock);
    bool closing = peers->closing;
    pthread_mutex_unlock(&peers->lock);
    if (!closing)
        peer_unknown_arm(peers, unknown->queue);
    unknown_free(unknown);
}

static void on_call(struct rpc_event *event, bool ok)
{
    struct unknown *unknown = CONTAINER_OF(event, struct unknown, on_call);
    if (!ok) {
        unknown_free(unknown);
        return;
    }
    unknown->why = grpc_slice_from_static_string(
        "this port is for the other nodes; clients ask the one of --client-address (7700)");
    grpc_op ops[3] = {
        {.op = GRPC_OP_RECV_CLOSE_ON_SERVER,
         .data.recv_close_on_server.cancelled = &unknown->cancelled},
        {.op = GRPC_OP_SEND_INITIAL_METADATA},
        {.op = GRPC_OP_SEND_STATUS_FROM_SERVER,
         .data.send_status_from_server = {.status = GRPC_STATUS_UNIMPLEMENTED,
                                          .status_details = &unknown->why}},
    };
    grpc_call_error error = grpc_call_start_batch(unknown->call, ops, 3, &unknown->on_done, NULL);
    CHECK_U64(error, ==, GRPC_CALL_OK);
}

void peer_unknown_arm(struct rpc_peers *peers, grpc_completion_queue *queue)
{
    struct unknown *unknown = calloc(1, sizeof *unknown);
    CHECK(unknown != NULL);
    unknown->peers = peers;
    unknown->queue = queue;
    unknown->on_call.done = on_call;
    unknown->on_done.done = on_done;
    grpc_call_details_init(&unknown->details);
    peers_live_add(peers);
    grpc_call_error error =
        grpc_server_request_call(peers->server, &unknown->call, &unknown->details,
                                 &unknown->metadata, queue, queue, &unknown->on_call);
    CHECK_U64(error, ==, GRPC_CALL_OK);
}
