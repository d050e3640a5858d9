/* CompareAndSet: one change of one key of a consistent keyspace, if its condition is true. */
#include "base/check.h"
#include "rpc/key_value.h"
#include "rpc/service.h"

/* Beyond the request's own bytes: its struct, alignment of its fields. */
#define DECODE_SLACK_BYTES 512u

typedef Coterie__V1__CompareAndSetRequest compare_words;
typedef Coterie__V1__CompareAndSetResponse compare_response;

static bool condition_fill(struct call *call, const compare_words *words,
                           struct put_request *request, struct status *ret_error)
{
    uint32_t value_bytes_max = call->edge->options->value_bytes_max;
    switch (words->condition_case) {
    case COTERIE__V1__COMPARE_AND_SET_REQUEST__CONDITION_EXPECTED_VALUE:
        request->condition = REGISTER_IF_VALUE;
        request->expected = bytes_of_binary(words->expected_value);
        if (request->expected.size > value_bytes_max)
            status_invalid_size(ret_error, "expected_value", request->expected.size,
                                value_bytes_max);
        return request->expected.size <= value_bytes_max;
    case COTERIE__V1__COMPARE_AND_SET_REQUEST__CONDITION_EXPECTED_VERSION:
        request->condition = REGISTER_IF_VERSION;
        request->expected_version = words->expected_version;
        return true;
    case COTERIE__V1__COMPARE_AND_SET_REQUEST__CONDITION_ABSENT:
        request->condition = REGISTER_IF_ABSENT;
        if (words->absent == 0)
            status_invalid(ret_error, "absent", "false, must be true (or another condition)");
        return words->absent != 0;
    case COTERIE__V1__COMPARE_AND_SET_REQUEST__CONDITION__NOT_SET:
    default:
        status_invalid(ret_error, "condition",
                       "none given; give expected_value, expected_version or absent");
        return false;
    }
}

static bool change_fill(const compare_words *words, struct write_words *ret_write,
                        struct status *ret_error)
{
    *ret_write = (struct write_words){
        .key = bytes_of_binary(words->key),
        .has_ttl = words->_ttl_ms_case == COTERIE__V1__COMPARE_AND_SET_REQUEST___TTL_MS_TTL_MS,
        .ttl_ms = words->ttl_ms,
        .request_id = bytes_of_binary(words->request_id)};
    switch (words->change_case) {
    case COTERIE__V1__COMPARE_AND_SET_REQUEST__CHANGE_VALUE:
        ret_write->value = bytes_of_binary(words->value);
        return true;
    case COTERIE__V1__COMPARE_AND_SET_REQUEST__CHANGE_DELETE:
        ret_write->tombstone = true;
        if (words->delete_ == 0)
            status_invalid(ret_error, "delete", "false, must be true (or give a value)");
        else if (ret_write->has_ttl)
            status_invalid(ret_error, "ttl_ms", "given together with delete");
        return words->delete_ != 0 && !ret_write->has_ttl;
    case COTERIE__V1__COMPARE_AND_SET_REQUEST__CHANGE__NOT_SET:
    default:
        status_invalid(ret_error, "change", "none given; give a value or delete");
        return false;
    }
}

static bool compare_prepare(struct call *call, const struct view *view, const compare_words *words,
                            struct message *message, struct status *status)
{
    struct target target;
    struct target_words target_words = {.keyspace = words->keyspace, .compare = true};
    struct write_words write;
    if (!target_find(view, &target_words, &target, status) || !change_fill(words, &write, status) ||
        !put_request_fill(call, &target, &write, message, &call->scope, status) ||
        !condition_fill(call, words, &message->client_put.request, status))
        return false;
    call_address(call, view, 0, ACTOR_COORDINATOR, message);
    message->client_put.client = message->id;
    return true;
}

void compare_and_set_handle(struct call *call, struct bytes payload)
{
    struct status status;
    struct message *message = message_new(MESSAGE_client_put, payload.size + DECODE_SLACK_BYTES);
    const compare_words *words = (const compare_words *)decode(
        &message->arena, payload, &coterie__v1__compare_and_set_request__descriptor, &status);
    bool valid = words != NULL;
    if (valid) {
        const struct view *view = runtime_view_lock(call->edge->options->runtime);
        valid = compare_prepare(call, view, words, message, &status);
        runtime_view_unlock(call->edge->options->runtime);
    }
    message_start(call, message, MESSAGE_client_put_done, valid, &status);
}

void compare_and_set_answer(struct call *call, struct message *answer)
{
    CHECK_U64(answer->kind, ==, MESSAGE_client_put_done);
    struct runtime *runtime = call->edge->options->runtime;
    const struct put_result *result = &answer->client_put_done.result;
    struct status status;
    grpc_byte_buffer *buffer = NULL;
    const struct view *view = runtime_view_lock(runtime);
    if (result->status == OK || result->status == ERR_CONFLICT) {
        compare_response response = COTERIE__V1__COMPARE_AND_SET_RESPONSE__INIT;
        response.applied = result->status == OK;
        response.version = result->version;
        response.found = result->status == ERR_CONFLICT && result->found;
        if (response.found)
            response.value = binary_of_bytes(result->value);
        response.acknowledgement = acknowledgement_new(&answer->arena, view, &result->progress);
        buffer = buffer_of_message(&response.base);
    } else {
        status_of_put(&status, view, result);
    }
    runtime_view_unlock(runtime);
    message_end(call, answer, buffer, &status);
}
