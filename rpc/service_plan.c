/* Cluster.GetPlan and GetChange: what a change means, and how far it is, with what all members say
 * of themselves. */
#include "base/check.h"
#include "rpc/change.h"

/* -- GetPlan ----------------------------------------------------------------------------------- */

void get_plan_handle(struct call *call, struct bytes payload)
{
    struct request request;
    if (!request_begin(&request, call, payload, &coterie__v1__get_plan_request__descriptor))
        return;
    const Coterie__V1__StageChangeRequest *proposed =
        ((const Coterie__V1__GetPlanRequest *)request.message)->proposed;
    struct topology_operation operation = {.kind = TOPOLOGY_COMMIT}; /* nothing is proposed */
    struct status status;
    if (proposed == NULL || change_operation(request.view, proposed, &operation, &status))
        reports_ask(&request, &operation, sizeof operation);
    else
        call_fail(call, &status);
    request_end(&request);
}

/* False: the call has failed. */
static bool topology_planned(struct call *call, const struct view *view,
                             struct topology *ret_topology)
{
    struct topology_operation operation;
    struct status status;
    memcpy(&operation, call->batch->items[0].key.data, sizeof operation);
    *ret_topology = view->topology;
    if (operation.kind != TOPOLOGY_COMMIT) {
        uint32_t number;
        const char *why = NULL;
        struct topology proposed;
        enum err err = topology_operate(&call->batch->arena, &view->topology, &view->keyspaces,
                                        &operation, &proposed, &number, &why);
        if (err != OK) {
            change_status(&status, err, false, why);
            call_fail(call, &status);
            return false;
        }
        *ret_topology = proposed;
        ret_topology->epoch = view->topology.epoch; /* of what it was made of */
    }
    if (ret_topology->change.state != CHANGE_NONE)
        return true;
    status_set(&status, GRPC_STATUS_FAILED_PRECONDITION, "NOTHING_STAGED",
               "no change is staged or under way: have nodes join or leave, or change places, "
               "then look at the plan");
    call_fail(call, &status);
    return false;
}

void get_plan_answer(struct call *call)
{
    struct runtime *runtime = call->edge->options->runtime;
    const struct view *view = runtime_view_lock(runtime);
    struct batch *batch = call->batch;
    const struct client_reports_done *done = &batch->items[0].answer->client_reports_done;
    struct reports reports = {.count = done->status == OK ? done->count : 0, .list = done->reports};
    struct topology topology;
    if (topology_planned(call, view, &topology)) {
        Coterie__V1__GetPlanResponse response = COTERIE__V1__GET_PLAN_RESPONSE__INIT;
        response.plan = plan_words(&batch->arena, view, &topology, &reports,
                                   call->edge->options->move_bytes_per_second);
        call_reply(call, &response.base);
    }
    runtime_view_unlock(runtime);
}

/* -- GetChange --------------------------------------------------------------------------------- */

void get_change_handle(struct call *call, struct bytes payload)
{
    struct request request;
    if (!request_begin(&request, call, payload, &coterie__v1__get_change_request__descriptor))
        return;
    reports_ask(&request, "", 0);
    request_end(&request);
}

static uint64_t eta_ms(uint64_t copied, uint64_t total, uint64_t bytes_per_second)
{
    uint64_t left = total > copied ? total - copied : 0;
    return bytes_per_second == 0 ? 0 : (uint64_t)((double)left * 1000 / (double)bytes_per_second);
}

static Coterie__V1__ReceivingNode *receiving_new(struct arena *arena,
                                                 const struct topology *topology,
                                                 const struct plan_member *planned,
                                                 const struct reports *reports)
{
    const struct member *member = topology_member(topology, planned->number);
    const struct vnode_report_reply *report = reports_of(reports, planned->number);
    CHECK(member != NULL);
    Coterie__V1__ReceivingNode *node = arena_alloc(arena, sizeof *node);
    coterie__v1__receiving_node__init(node);
    node->node = text_of(member->name);
    node->gains = planned->gains;
    node->bytes_total = planned->bytes_in;
    node->answers = report != NULL;
    if (report == NULL)
        return node;
    node->epoch = report->epoch;
    if (report->change != topology_change_name(topology))
        return node; /* it does not know of the change yet */
    node->gains = report->gains > node->gains ? report->gains : node->gains;
    node->filled = report->gains_filled;
    node->bytes_copied = report->bytes_copied;
    node->bytes_per_second = report->bytes_per_second;
    node->eta_ms = eta_ms(node->bytes_copied, node->bytes_total, node->bytes_per_second);
    return node;
}

static void receiving_fill(struct arena *arena, const struct view *view,
                           const struct reports *reports, Coterie__V1__GetChangeResponse *response)
{
    const struct topology *topology = &view->topology;
    const uint64_t *sizes = reports_sizes(arena, reports, topology->partitions);
    struct plan plan;
    plan_make(arena, topology, &view->keyspaces, sizes, &plan);
    response->nodes = ARENA_NEW(arena, Coterie__V1__ReceivingNode *, plan.member_count);
    for (uint32_t i = 0; i < plan.member_count; i++) {
        if (plan.members[i].gains == 0)
            continue;
        Coterie__V1__ReceivingNode *node =
            receiving_new(arena, topology, &plan.members[i], reports);
        response->nodes[response->n_nodes++] = node;
        response->bytes_copied += node->bytes_copied;
        response->bytes_total += node->bytes_total;
        response->bytes_per_second += node->bytes_per_second;
        if (node->eta_ms > response->eta_ms)
            response->eta_ms = node->eta_ms;
    }
    response->phases = ARENA_NEW(arena, Coterie__V1__Phase, topology->partitions);
    response->n_phases = topology->partitions;
    for (uint32_t i = 0; i < topology->partitions; i++)
        response->phases[i] = (Coterie__V1__Phase)topology->phases[i];
}

void get_change_answer(struct call *call)
{
    struct runtime *runtime = call->edge->options->runtime;
    const struct view *view = runtime_view_lock(runtime);
    struct batch *batch = call->batch;
    const struct topology *topology = &view->topology;
    const struct client_reports_done *done = &batch->items[0].answer->client_reports_done;
    struct reports reports = {.count = done->status == OK ? done->count : 0, .list = done->reports};
    Coterie__V1__GetChangeResponse response = COTERIE__V1__GET_CHANGE_RESPONSE__INIT;
    response.epoch = topology->epoch;
    response.change = change_new(&batch->arena, topology, &view->keyspaces);
    response.voters = ARENA_NEW(&batch->arena, char *, topology->voter_count);
    for (uint32_t i = 0; i < topology->voter_count; i++) {
        const struct member *member = topology_member(topology, topology->voters[i]);
        if (member != NULL)
            response.voters[response.n_voters++] = text_of(member->name);
    }
    if (topology->change.state == CHANGE_RUNNING)
        receiving_fill(&batch->arena, view, &reports, &response);
    if (done->status == OK)
        waits_fill(&batch->arena, view, &reports, &response);
    call_reply(call, &response.base);
    runtime_view_unlock(runtime);
}
