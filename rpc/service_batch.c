/* BatchGet and BatchWrite: one message an item, one answer when the last one is in. */
#include "base/check.h"
#include "model/limits.h"
#include "rpc/key_value.h"
#include "rpc/service.h"

#include <stdlib.h>

#define BATCH_BYTES_SLACK  (64u * 1024)
#define ITEMS_FIELD_NUMBER 2u /* BatchGetRequest.keys, BatchWriteRequest.items */

typedef Coterie__V1__BatchGetResponse__Item get_item;
typedef Coterie__V1__BatchWriteResponse__Item write_item;
typedef Coterie__V1__BatchWriteRequest__Item write_request_item;

/* Limits of the whole batch, before anything is decoded. */
static bool batch_check(struct bytes payload, const char *field, struct status *ret_error)
{
    if (payload.size > BATCH_BYTES_MAX + BATCH_BYTES_SLACK) {
        status_invalid_size(ret_error, "batch", payload.size, BATCH_BYTES_MAX);
        return false;
    }
    size_t count = wire_count(payload, ITEMS_FIELD_NUMBER);
    if (count == 0)
        status_invalid(ret_error, field, "none given, at least 1");
    else if (count > BATCH_ITEMS_MAX)
        status_invalid(ret_error, field, "%zu items, limit %u", count, BATCH_ITEMS_MAX);
    return count != 0 && count <= BATCH_ITEMS_MAX;
}

static bool batch_decoded(const struct batch *batch, size_t count, bool decoded,
                          struct status *ret_error)
{
    if (decoded && count != batch->count) {
        status_invalid(ret_error, "request", "%zu items announced, %u found", count, batch->count);
        return false;
    }
    return decoded;
}

static void item_refuse(struct batch *batch, uint32_t index, const struct status *status)
{
    struct batch_item *item = &batch->items[index];
    item->status = ARENA_NEW(&batch->arena, struct status, 1);
    *item->status = *status;
}

/* What BatchGet and BatchWrite differ in. */
struct batch_kind {
    const char *items_field;
    const ProtobufCMessageDescriptor *descriptor;
    enum message_kind done_kind;
    /* The decoded request's items, and what it says of keyspace and replicas. */
    size_t (*count)(const ProtobufCMessage *request);
    struct target_words (*words)(const ProtobufCMessage *request);
    /* The messages, in the order of the items; their number. Refused items get their status. */
    uint32_t (*messages)(struct call *call, const struct view *view,
                         const ProtobufCMessage *request, const struct target *target,
                         struct batch *batch, struct message **ret_list);
};

static void batch_handle(struct call *call, struct bytes payload, const struct batch_kind *kind)
{
    struct status status;
    if (!batch_check(payload, kind->items_field, &status)) {
        call_fail(call, &status);
        return;
    }
    struct batch *batch =
        batch_new((uint32_t)wire_count(payload, ITEMS_FIELD_NUMBER), payload.size * 2 + 4096);
    const ProtobufCMessage *request = decode(&batch->arena, payload, kind->descriptor, &status);
    bool valid =
        batch_decoded(batch, request == NULL ? 0 : kind->count(request), request != NULL, &status);
    struct message *list = NULL;
    uint32_t count = 0;
    if (valid) {
        struct target target;
        struct target_words words = kind->words(request);
        const struct view *view = runtime_view_lock(call->edge->options->runtime);
        valid = target_find(view, &words, &target, &status);
        if (valid) {
            call->lww = target.lww;
            call->consistent = target.consistent;
            count = kind->messages(call, view, request, &target, batch, &list);
        }
        runtime_view_unlock(call->edge->options->runtime);
    }
    if (!valid) {
        arena_deinit(&batch->arena);
        free(batch);
        call_fail(call, &status);
        return;
    }
    call_ask(call, count, list, kind->done_kind, batch); /* items refused here need no answer */
}

/* -- BatchGet ---------------------------------------------------------------------------------- */

static struct message *batch_get_message(struct call *call, const struct view *view,
                                         const struct target *target, struct bytes key,
                                         uint32_t index)
{
    struct message *message = message_new(MESSAGE_client_get, key.size);
    call_address(call, view, index, ACTOR_COORDINATOR, message);
    message->client_get = (struct client_get){.client = message->id,
                                              .keyspace_id = target->keyspace_id,
                                              .key = arena_copy(&message->arena, key),
                                              .level = target->level,
                                              .count = target->count};
    return message;
}

static uint32_t batch_get_messages(struct call *call, const struct view *view,
                                   const ProtobufCMessage *decoded, const struct target *target,
                                   struct batch *batch, struct message **ret_list)
{
    const Coterie__V1__BatchGetRequest *request = (const Coterie__V1__BatchGetRequest *)decoded;
    struct message *list = NULL;
    uint32_t count = 0;
    struct status status;
    for (uint32_t i = (uint32_t)request->n_keys; i-- > 0;) {
        struct bytes key = bytes_of_binary(request->keys[i]);
        batch->items[i].key = key;
        if (!key_check(key, &status)) {
            item_refuse(batch, i, &status);
            continue;
        }
        batch->items[i].scope = call_context_scope(call, target, key);
        struct message *message = batch_get_message(call, view, target, key, i);
        message->next = list;
        list = message;
        count++;
    }
    *ret_list = list;
    return count;
}

static size_t batch_get_count(const ProtobufCMessage *request)
{
    return ((const Coterie__V1__BatchGetRequest *)request)->n_keys;
}

static struct target_words batch_get_words(const ProtobufCMessage *message)
{
    const Coterie__V1__BatchGetRequest *request = (const Coterie__V1__BatchGetRequest *)message;
    return (struct target_words){.keyspace = request->keyspace,
                                 .consistency = (int)request->consistency,
                                 .count = request->r,
                                 .count_field = "r"};
}

void batch_get_handle(struct call *call, struct bytes payload)
{
    static const struct batch_kind kind = {
        .items_field = "keys",
        .descriptor = &coterie__v1__batch_get_request__descriptor,
        .done_kind = MESSAGE_client_get_done,
        .count = batch_get_count,
        .words = batch_get_words,
        .messages = batch_get_messages,
    };
    batch_handle(call, payload, &kind);
}

/* -- BatchWrite -------------------------------------------------------------------------------- */

static struct message *batch_write_message(struct call *call, const struct view *view,
                                           const struct target *target,
                                           const write_request_item *item, uint32_t index,
                                           struct context_scope *ret_scope,
                                           struct status *ret_error)
{
    struct write_words words = {.key = bytes_of_binary(item->key),
                                .value = bytes_of_binary(item->value),
                                .context = bytes_of_binary(item->context),
                                .tombstone = item->delete_ != 0,
                                .has_ttl = item->_ttl_ms_case ==
                                           COTERIE__V1__BATCH_WRITE_REQUEST__ITEM___TTL_MS_TTL_MS,
                                .ttl_ms = item->ttl_ms,
                                .request_id = bytes_of_binary(item->request_id)};
    if (words.tombstone && (words.value.size != 0 || words.has_ttl)) {
        status_invalid(ret_error, words.value.size != 0 ? "value" : "ttl_ms",
                       "given together with delete");
        return NULL;
    }
    struct message *message =
        message_new(MESSAGE_client_put, words.key.size + words.value.size + words.context.size);
    if (!put_request_fill(call, target, &words, message, ret_scope, ret_error)) {
        message_free(message);
        return NULL;
    }
    struct put_request request = message->client_put.request; /* borrows the batch's bytes */
    put_request_copy(&message->arena, &request, &message->client_put.request);
    call_address(call, view, index, ACTOR_COORDINATOR, message);
    message->client_put.client = message->id;
    return message;
}

static uint32_t batch_write_messages(struct call *call, const struct view *view,
                                     const ProtobufCMessage *decoded, const struct target *target,
                                     struct batch *batch, struct message **ret_list)
{
    const Coterie__V1__BatchWriteRequest *request = (const Coterie__V1__BatchWriteRequest *)decoded;
    struct message *list = NULL;
    uint32_t count = 0;
    struct status status;
    for (uint32_t i = (uint32_t)request->n_items; i-- > 0;) {
        batch->items[i].key = bytes_of_binary(request->items[i]->key);
        struct message *message = batch_write_message(call, view, target, request->items[i], i,
                                                      &batch->items[i].scope, &status);
        if (message == NULL) {
            item_refuse(batch, i, &status);
            continue;
        }
        message->next = list;
        list = message;
        count++;
    }
    *ret_list = list;
    return count;
}

static size_t batch_write_count(const ProtobufCMessage *request)
{
    return ((const Coterie__V1__BatchWriteRequest *)request)->n_items;
}

static struct target_words batch_write_words(const ProtobufCMessage *message)
{
    const Coterie__V1__BatchWriteRequest *request = (const Coterie__V1__BatchWriteRequest *)message;
    return (struct target_words){.keyspace = request->keyspace,
                                 .consistency = (int)request->consistency,
                                 .count = request->w,
                                 .count_field = "w",
                                 .strict = request->strict != 0};
}

void batch_write_handle(struct call *call, struct bytes payload)
{
    static const struct batch_kind kind = {
        .items_field = "items",
        .descriptor = &coterie__v1__batch_write_request__descriptor,
        .done_kind = MESSAGE_client_put_done,
        .count = batch_write_count,
        .words = batch_write_words,
        .messages = batch_write_messages,
    };
    batch_handle(call, payload, &kind);
}

/* -- answers ----------------------------------------------------------------------------------- */

static Coterie__V1__ItemStatus *item_status_new(struct arena *arena, const struct status *status)
{
    Coterie__V1__ItemStatus *item = arena_alloc(arena, sizeof *item);
    coterie__v1__item_status__init(item);
    if (status == NULL)
        return item;
    item->code = (int32_t)status->code;
    item->message = arena_string(arena, bytes_of_string(status->message));
    if (status->reason != NULL)
        item->reason = (char *)(uintptr_t)status->reason;
    if (status->outcome != NULL)
        item->outcome = (char *)(uintptr_t)status->outcome;
    return item;
}

void batch_get_answer(struct call *call)
{
    struct runtime *runtime = call->edge->options->runtime;
    struct batch *batch = call->batch;
    Coterie__V1__BatchGetResponse response = COTERIE__V1__BATCH_GET_RESPONSE__INIT;
    response.n_items = batch->count;
    response.items = ARENA_NEW(&batch->arena, get_item *, batch->count);
    const struct view *view = runtime_view_lock(runtime);
    for (uint32_t i = 0; i < batch->count; i++) {
        const struct batch_item *from = &batch->items[i];
        get_item *item = arena_alloc(&batch->arena, sizeof *item);
        coterie__v1__batch_get_response__item__init(item);
        item->key = binary_of_bytes(from->key);
        const struct client_get_done *done =
            from->answer == NULL ? NULL : &from->answer->client_get_done;
        struct status status;
        if (done != NULL && done->status != OK)
            status_of_get(&status, view, done);
        else if (done == NULL)
            status = *from->status;
        bool good = done != NULL && done->status == OK;
        item->status = item_status_new(&batch->arena, good ? NULL : &status);
        if (good)
            item->result = get_response_new(call, &from->scope, &batch->arena, view, done);
        response.items[i] = item;
    }
    grpc_byte_buffer *buffer = buffer_of_message(&response.base);
    runtime_view_unlock(runtime);
    call_reply_buffer(call, buffer);
}

void batch_write_answer(struct call *call)
{
    struct runtime *runtime = call->edge->options->runtime;
    struct batch *batch = call->batch;
    Coterie__V1__BatchWriteResponse response = COTERIE__V1__BATCH_WRITE_RESPONSE__INIT;
    response.n_items = batch->count;
    response.items = ARENA_NEW(&batch->arena, write_item *, batch->count);
    const struct view *view = runtime_view_lock(runtime);
    for (uint32_t i = 0; i < batch->count; i++) {
        const struct batch_item *from = &batch->items[i];
        write_item *item = arena_alloc(&batch->arena, sizeof *item);
        coterie__v1__batch_write_response__item__init(item);
        item->key = binary_of_bytes(from->key);
        const struct put_result *result =
            from->answer == NULL ? NULL : &from->answer->client_put_done.result;
        struct status status;
        if (result != NULL && result->status != OK)
            status_of_put(&status, view, result);
        else if (result == NULL)
            status = *from->status;
        bool good = result != NULL && result->status == OK;
        item->status = item_status_new(&batch->arena, good ? NULL : &status);
        if (good)
            item->result = put_response_new(call, &from->scope, &batch->arena, view, result);
        response.items[i] = item;
    }
    grpc_byte_buffer *buffer = buffer_of_message(&response.base);
    runtime_view_unlock(runtime);
    call_reply_buffer(call, buffer);
}
