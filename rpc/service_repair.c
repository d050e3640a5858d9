/* Maintenance: repairs of this node's vnodes, which its anti-entropy actor runs. */
#include "base/check.h"
#include "coterie/v1/maintenance.pb-c.h"
#include "rpc/cluster.h"

#include <inttypes.h>

#define ID_DIGITS 16u

/* 0 for the empty name. */
static bool id_parse(const char *text, uint64_t *ret_id, struct status *ret_error)
{
    uint64_t id = 0;
    size_t size = strlen(text);
    bool good = size == 0 || size == ID_DIGITS;
    for (size_t i = 0; good && i < size; i++) {
        const char *digit = strchr("0123456789abcdef", text[i]);
        good = digit != NULL;
        id = id << 4 | (good ? (uint64_t)(digit - "0123456789abcdef") : 0);
    }
    if (!good || (size != 0 && id == 0)) {
        status_invalid(ret_error, "repair", "\"%.80s\" is not of %u hex digits 0-9a-f, not all 0",
                       text, ID_DIGITS);
        return false;
    }
    *ret_id = id;
    return true;
}

static void ask(struct request *request, const struct client_maintenance *body)
{
    struct message *message = message_new(MESSAGE_client_maintenance, 0);
    call_address(request->call, request->view, 0, ACTOR_ANTI_ENTROPY, message);
    message->client_maintenance = *body;
    message->client_maintenance.client = message->id;
    call_ask(request->call, 1, message, MESSAGE_client_maintenance_done, NULL);
}

void start_repair_handle(struct call *call, struct bytes payload)
{
    struct request request;
    if (!request_begin(&request, call, payload, &coterie__v1__start_repair_request__descriptor))
        return;
    const Coterie__V1__StartRepairRequest *words =
        (const Coterie__V1__StartRepairRequest *)request.message;
    struct client_maintenance body = {.operation = MAINTENANCE_REPAIR_START,
                                      .driven_only = words->driven_only != 0,
                                      .gives_up = words->give_up_bad_rows != 0};
    struct status status;
    bool good = id_parse(words->repair, &body.task, &status);
    if (good && words->keyspace[0] != '\0') {
        const struct keyspace *keyspace =
            keyspace_named(request.view, words->keyspace, "keyspace", &status);
        good = keyspace != NULL;
        body.keyspace_id = good ? keyspace->id : 0;
    }
    if (good)
        ask(&request, &body);
    else
        call_fail(call, &status);
    request_end(&request);
}

static void ask_about(struct request *request, enum maintenance_operation operation,
                      const char *repair)
{
    struct client_maintenance body = {.operation = operation};
    struct status status;
    if (!id_parse(repair, &body.task, &status)) {
        call_fail(request->call, &status);
    } else if (body.task == 0) {
        status_invalid(&status, "repair", "missing");
        call_fail(request->call, &status);
    } else {
        ask(request, &body);
    }
}

void get_repair_handle(struct call *call, struct bytes payload)
{
    struct request request;
    if (!request_begin(&request, call, payload, &coterie__v1__get_repair_request__descriptor))
        return;
    ask_about(&request, MAINTENANCE_REPAIR_STATUS,
              ((const Coterie__V1__GetRepairRequest *)request.message)->repair);
    request_end(&request);
}

void cancel_repair_handle(struct call *call, struct bytes payload)
{
    struct request request;
    if (!request_begin(&request, call, payload, &coterie__v1__cancel_repair_request__descriptor))
        return;
    ask_about(&request, MAINTENANCE_REPAIR_CANCEL,
              ((const Coterie__V1__CancelRepairRequest *)request.message)->repair);
    request_end(&request);
}

/* -- answers ----------------------------------------------------------------------------------- */

/* NULL: the call has failed. */
static Coterie__V1__Repair *repair_new(struct call *call, struct message *answer)
{
    CHECK_U64(answer->kind, ==, MESSAGE_client_maintenance_done);
    const struct client_maintenance_done *done = &answer->client_maintenance_done;
    if (done->status != OK) {
        struct status status;
        status_of_err(&status, done->status, done->why);
        if (done->status == ERR_NOT_FOUND)
            status.reason = "REPAIR_NOT_FOUND";
        if (done->status == ERR_UNAVAILABLE)
            status.reason = "UNAVAILABLE";
        call_fail(call, &status);
        return NULL;
    }
    Coterie__V1__Repair *repair = arena_alloc(&answer->arena, sizeof *repair);
    coterie__v1__repair__init(repair);
    repair->repair = arena_printf(&answer->arena, "%016" PRIx64, done->task);
    repair->node = text_of(call->edge->options->node_name);
    repair->ended = done->ended;
    repair->cancelled = done->ended && done->why != NULL;
    repair->ranges_done = done->ranges_done;
    repair->ranges_total = done->ranges_total;
    repair->ranges_failed = done->ranges_failed;
    repair->keys_repaired = done->keys_repaired;
    repair->bytes_moved = done->bytes_moved;
    repair->started_at_ms = done->started_ms;
    return repair;
}

void start_repair_answer(struct call *call, struct message *answer)
{
    Coterie__V1__StartRepairResponse response = COTERIE__V1__START_REPAIR_RESPONSE__INIT;
    response.repair = repair_new(call, answer);
    if (response.repair != NULL)
        call_reply(call, &response.base);
    message_free(answer);
}

void get_repair_answer(struct call *call, struct message *answer)
{
    Coterie__V1__GetRepairResponse response = COTERIE__V1__GET_REPAIR_RESPONSE__INIT;
    response.repair = repair_new(call, answer);
    if (response.repair != NULL)
        call_reply(call, &response.base);
    message_free(answer);
}

void cancel_repair_answer(struct call *call, struct message *answer)
{
    Coterie__V1__CancelRepairResponse response = COTERIE__V1__CANCEL_REPAIR_RESPONSE__INIT;
    response.repair = repair_new(call, answer);
    if (response.repair != NULL)
        call_reply(call, &response.base);
    message_free(answer);
}
