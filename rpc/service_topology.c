/* Cluster: joins and changes of the topology, each one operation of the topology log (gossip). A
 * commit first asks all members whether what they receive fits their disks (plan.c). */
#include "base/check.h"
#include "rpc/change.h"

static void operation_start(struct request *request, const struct topology_operation *operation)
{
    struct call *call = request->call;
    struct topology_operation timed = *operation;
    timed.wall_ms = runtime_wall_ms();
    struct message *message = change_message(call, request->view, &timed);
    call_ask(call, 1, message, MESSAGE_client_topology_done, NULL);
}

static void operation_start_kind(struct call *call, struct bytes payload,
                                 const ProtobufCMessageDescriptor *descriptor,
                                 enum topology_operation_kind kind)
{
    struct request request;
    if (!request_begin(&request, call, payload, descriptor))
        return;
    operation_start(&request, &(struct topology_operation){.kind = kind});
    request_end(&request);
}

/* -- requests ---------------------------------------------------------------------------------- */

void join_handle(struct call *call, struct bytes payload)
{
    struct request request;
    if (!request_begin(&request, call, payload, &coterie__v1__join_request__descriptor))
        return;
    struct topology_operation operation;
    struct status status;
    if (change_join_operation((const Coterie__V1__JoinRequest *)request.message, &operation,
                              &status))
        operation_start(&request, &operation);
    else
        call_fail(call, &status);
    request_end(&request);
}

void stage_change_handle(struct call *call, struct bytes payload)
{
    struct request request;
    if (!request_begin(&request, call, payload, &coterie__v1__stage_change_request__descriptor))
        return;
    struct topology_operation operation;
    struct status status;
    if (change_operation(request.view, (const Coterie__V1__StageChangeRequest *)request.message,
                         &operation, &status))
        operation_start(&request, &operation);
    else
        call_fail(call, &status);
    request_end(&request);
}

void abort_change_handle(struct call *call, struct bytes payload)
{
    operation_start_kind(call, payload, &coterie__v1__abort_change_request__descriptor,
                         TOPOLOGY_ABORT);
}

void pause_change_handle(struct call *call, struct bytes payload)
{
    operation_start_kind(call, payload, &coterie__v1__pause_change_request__descriptor,
                         TOPOLOGY_PAUSE);
}

void resume_change_handle(struct call *call, struct bytes payload)
{
    operation_start_kind(call, payload, &coterie__v1__resume_change_request__descriptor,
                         TOPOLOGY_RESUME);
}

void set_pace_handle(struct call *call, struct bytes payload)
{
    struct request request;
    if (!request_begin(&request, call, payload, &coterie__v1__set_pace_request__descriptor))
        return;
    const Coterie__V1__SetPaceRequest *words = (const Coterie__V1__SetPaceRequest *)request.message;
    operation_start(&request, &(struct topology_operation){
                                  .kind = TOPOLOGY_PACE,
                                  .bytes_per_second = words->bytes_per_second,
                              });
    request_end(&request);
}

/* -- commit ------------------------------------------------------------------------------------ */

struct commit {
    uint64_t expected_epoch;
    bool force;
};

void commit_change_handle(struct call *call, struct bytes payload)
{
    struct request request;
    if (!request_begin(&request, call, payload, &coterie__v1__commit_change_request__descriptor))
        return;
    const Coterie__V1__CommitChangeRequest *words =
        (const Coterie__V1__CommitChangeRequest *)request.message;
    struct commit commit = {.expected_epoch = words->expected_epoch, .force = words->force != 0};
    if (commit.force || request.view->topology.change.state != CHANGE_STAGED)
        operation_start(&request,
                        &(struct topology_operation){.kind = TOPOLOGY_COMMIT,
                                                     .force = commit.force,
                                                     .expected_epoch = commit.expected_epoch});
    else
        reports_ask(&request, &commit, sizeof commit);
    request_end(&request);
}

/* What all members say is here: NULL when it may go on. */
static const char *commit_refusal(struct call *call, const struct view *view)
{
    struct batch *batch = call->batch;
    const struct client_reports_done *done = &batch->items[0].answer->client_reports_done;
    struct reports reports = {.count = done->count, .list = done->reports};
    const struct topology *topology = &view->topology;
    if (done->status != OK)
        return arena_printf(&batch->arena, "the nodes could not be asked for room: %s",
                            err_text(done->status));
    struct topology next;
    uint32_t number;
    const char *why;
    struct topology_operation commit = {.kind = TOPOLOGY_COMMIT};
    if (topology_operate(&batch->arena, topology, &view->keyspaces, &commit, &next, &number,
                         &why) != OK)
        return NULL; /* the log says it better */
    const Coterie__V1__Plan *plan = plan_words(&batch->arena, view, topology, &reports,
                                               call->edge->options->move_bytes_per_second);
    return plan->n_refusals == 0 ? NULL : plan->refusals[0];
}

void commit_change_checked(struct call *call)
{
    struct edge *edge = call->edge;
    struct runtime *runtime = edge->options->runtime;
    const struct view *view = runtime_view_lock(runtime);
    struct commit commit;
    memcpy(&commit, call->batch->items[0].key.data, sizeof commit);
    const char *refusal = commit_refusal(call, view);
    if (refusal != NULL) {
        struct status status;
        status_set(&status, GRPC_STATUS_FAILED_PRECONDITION, "DOES_NOT_FIT", "%s", refusal);
        status.outcome = "NOT_APPLIED";
        call_fail(call, &status);
    } else {
        /* What was checked is what is committed. */
        struct topology_operation operation = {
            .kind = TOPOLOGY_COMMIT,
            .expected_epoch =
                commit.expected_epoch == 0 ? view->topology.epoch : commit.expected_epoch,
            .wall_ms = runtime_wall_ms(),
        };
        struct message *message = change_message(call, view, &operation);
        call_ask_again(call, message, MESSAGE_client_topology_done);
    }
    runtime_view_unlock(runtime);
}

/* -- answers ----------------------------------------------------------------------------------- */

/* The change of the document that the answer brings; NULL: the call has failed. */
static Coterie__V1__Change *answered_change(struct call *call, struct message *answer)
{
    CHECK_U64(answer->kind, ==, MESSAGE_client_topology_done);
    const struct client_topology_done *done = &answer->client_topology_done;
    if (done->status != OK) {
        struct status status;
        change_status(&status, done->status, done->unknown, done->why);
        call_fail(call, &status);
        return NULL;
    }
    struct runtime *runtime = call->edge->options->runtime;
    const struct view *view = runtime_view_lock(runtime);
    struct topology decoded;
    const struct topology *topology = &view->topology;
    if (done->document.size != 0 && topology_decode(&answer->arena, done->document, &decoded) == OK)
        topology = &decoded;
    Coterie__V1__Change *change = change_new(&answer->arena, topology, &view->keyspaces);
    /* What it points at in the view is copied text. */
    runtime_view_unlock(runtime);
    return change;
}

#define CHANGE_ANSWER(name, type, TYPE)                                                            \
    void name##_answer(struct call *call, struct message *answer)                                  \
    {                                                                                              \
        type response = TYPE##__INIT;                                                              \
        response.epoch = answer->client_topology_done.epoch;                                       \
        response.change = answered_change(call, answer);                                           \
        if (response.change != NULL)                                                               \
            call_reply(call, &response.base);                                                      \
        message_free(answer);                                                                      \
    }

CHANGE_ANSWER(stage_change, Coterie__V1__StageChangeResponse, COTERIE__V1__STAGE_CHANGE_RESPONSE)
CHANGE_ANSWER(commit_change, Coterie__V1__CommitChangeResponse, COTERIE__V1__COMMIT_CHANGE_RESPONSE)
CHANGE_ANSWER(abort_change, Coterie__V1__AbortChangeResponse, COTERIE__V1__ABORT_CHANGE_RESPONSE)
CHANGE_ANSWER(pause_change, Coterie__V1__PauseChangeResponse, COTERIE__V1__PAUSE_CHANGE_RESPONSE)
CHANGE_ANSWER(resume_change, Coterie__V1__ResumeChangeResponse, COTERIE__V1__RESUME_CHANGE_RESPONSE)
CHANGE_ANSWER(set_pace, Coterie__V1__SetPaceResponse, COTERIE__V1__SET_PACE_RESPONSE)

void join_answer(struct call *call, struct message *answer)
{
    CHECK_U64(answer->kind, ==, MESSAGE_client_topology_done);
    const struct client_topology_done *done = &answer->client_topology_done;
    struct topology topology;
    struct status status;
    if (done->status != OK) {
        change_status(&status, done->status, done->unknown, done->why);
        call_fail(call, &status);
    } else if (topology_decode(&answer->arena, done->document, &topology) != OK) {
        status_set(&status, GRPC_STATUS_INTERNAL, "INTERNAL", "the document cannot be read");
        call_fail(call, &status);
    } else {
        Coterie__V1__JoinResponse response = COTERIE__V1__JOIN_RESPONSE__INIT;
        response.number = done->number;
        response.cluster_id.len = sizeof topology.cluster_id;
        response.cluster_id.data = topology.cluster_id;
        response.partitions = topology.partitions;
        response.epoch = topology.epoch;
        response.document.len = done->document.size;
        response.document.data = (uint8_t *)(uintptr_t)done->document.data;
        call_reply(call, &response.base);
    }
    message_free(answer);
}
