/* Maintenance: the hints that this node keeps, and the pause of their delivery. */
#include "base/check.h"
#include "coterie/v1/maintenance.pb-c.h"
#include "rpc/cluster.h"

static Coterie__V1__HintTarget__State state_of(const struct hint_target_figures *figures)
{
    if (figures->paused)
        return COTERIE__V1__HINT_TARGET__STATE__STATE_PAUSED;
    switch (figures->state) {
    case HINT_TARGET_IDLE:
        return COTERIE__V1__HINT_TARGET__STATE__STATE_IDLE;
    case HINT_TARGET_AWAY:
        return COTERIE__V1__HINT_TARGET__STATE__STATE_AWAY;
    case HINT_TARGET_DELIVERING:
        return COTERIE__V1__HINT_TARGET__STATE__STATE_DELIVERING;
    case HINT_TARGET_PAUSED:
        return COTERIE__V1__HINT_TARGET__STATE__STATE_PAUSED;
    case HINT_TARGET_WAITING:
        return COTERIE__V1__HINT_TARGET__STATE__STATE_WAITING;
    }
    return COTERIE__V1__HINT_TARGET__STATE__STATE_UNSPECIFIED;
}

static Coterie__V1__HintTarget *target_new(struct arena *arena, const struct view *view,
                                           const struct hint_target_figures *figures,
                                           uint64_t wall_ms)
{
    const struct member *member = topology_member(&view->topology, figures->member);
    Coterie__V1__HintTarget *target = arena_alloc(arena, sizeof *target);
    coterie__v1__hint_target__init(target);
    target->target =
        member == NULL ? arena_printf(arena, "#%u", figures->member) : text_of(member->name);
    target->state = state_of(figures);
    target->hints = figures->hints;
    target->bytes = figures->bytes;
    if (figures->oldest_ms != 0 && figures->oldest_ms < wall_ms)
        target->oldest_age_ms = wall_ms - figures->oldest_ms;
    target->delivered_per_s = figures->delivered_per_s;
    return target;
}

void hints_handle(struct call *call, struct bytes payload)
{
    struct request request;
    if (!request_begin(&request, call, payload, &coterie__v1__hints_request__descriptor))
        return;
    const struct rpc_server_options *options = call->edge->options;
    struct hint_target_figures figures[MEMBERS_MAX];
    size_t count = options->hint_targets == NULL
                       ? 0
                       : options->hint_targets(options->host, figures, ARRAY_COUNT(figures));
    Coterie__V1__HintsResponse response = COTERIE__V1__HINTS_RESPONSE__INIT;
    response.node = text_of(options->node_name);
    response.targets = ARENA_NEW(&request.arena, Coterie__V1__HintTarget *, count);
    for (size_t i = 0; i < count; i++) {
        if (figures[i].hints != 0 || figures[i].paused || figures[i].delivered_per_s > 0)
            response.targets[response.n_targets++] =
                target_new(&request.arena, request.view, &figures[i], runtime_wall_ms());
    }
    call_reply(call, &response.base);
    request_end(&request);
}

/* -- pause and resume -------------------------------------------------------------------------- */

static bool member_named(const struct view *view, const char *name, uint32_t *ret_member,
                         struct status *ret_error)
{
    *ret_member = MEMBER_NONE;
    if (name[0] == '\0')
        return true;
    const struct member *member = topology_member_by_name(&view->topology, name);
    if (member == NULL || member->status == MEMBER_REMOVED) {
        status_no_node(ret_error, "target", name);
        return false;
    }
    if (member->number == view->self) {
        status_invalid(ret_error, "target",
                       "\"%.80s\" is the node that was asked; it keeps no "
                       "hints for itself",
                       name);
        return false;
    }
    *ret_member = member->number;
    return true;
}

static void change_start(struct request *request, enum maintenance_operation operation,
                         const char *target)
{
    struct call *call = request->call;
    uint32_t member = MEMBER_NONE;
    struct status status;
    if (!member_named(request->view, target, &member, &status)) {
        call_fail(call, &status);
        return;
    }
    struct message *message = message_new(MESSAGE_client_maintenance, 0);
    call_address(call, request->view, 0, ACTOR_HINTED_HANDOFF, message);
    message->client_maintenance = (struct client_maintenance){
        .client = message->id, .operation = operation, .member = member};
    call_ask(call, 1, message, MESSAGE_client_maintenance_done, NULL);
}

void pause_hints_handle(struct call *call, struct bytes payload)
{
    struct request request;
    if (!request_begin(&request, call, payload, &coterie__v1__pause_hints_request__descriptor))
        return;
    change_start(&request, MAINTENANCE_HINTS_PAUSE,
                 ((const Coterie__V1__PauseHintsRequest *)request.message)->target);
    request_end(&request);
}

void resume_hints_handle(struct call *call, struct bytes payload)
{
    struct request request;
    if (!request_begin(&request, call, payload, &coterie__v1__resume_hints_request__descriptor))
        return;
    change_start(&request, MAINTENANCE_HINTS_RESUME,
                 ((const Coterie__V1__ResumeHintsRequest *)request.message)->target);
    request_end(&request);
}

static bool change_failed(struct call *call, const struct message *answer)
{
    CHECK_U64(answer->kind, ==, MESSAGE_client_maintenance_done);
    const struct client_maintenance_done *done = &answer->client_maintenance_done;
    if (done->status == OK)
        return false;
    struct status status;
    status_of_err(&status, done->status, done->why);
    if (done->status == ERR_UNAVAILABLE)
        status.reason = "UNAVAILABLE";
    call_fail(call, &status);
    return true;
}

void pause_hints_answer(struct call *call, struct message *answer)
{
    if (!change_failed(call, answer)) {
        Coterie__V1__PauseHintsResponse response = COTERIE__V1__PAUSE_HINTS_RESPONSE__INIT;
        response.node = text_of(call->edge->options->node_name);
        call_reply(call, &response.base);
    }
    message_free(answer);
}

void resume_hints_answer(struct call *call, struct message *answer)
{
    if (!change_failed(call, answer)) {
        Coterie__V1__ResumeHintsResponse response = COTERIE__V1__RESUME_HINTS_RESPONSE__INIT;
        response.node = text_of(call->edge->options->node_name);
        call_reply(call, &response.base);
    }
    message_free(answer);
}
