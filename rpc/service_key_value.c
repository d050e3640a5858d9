#include "rpc/key_value.h"

#include "base/check.h"
#include "model/hlc.h"
#include "model/limits.h"
#include "rpc/context.h"
#include "rpc/service.h"

/* Beyond the request's own bytes: its struct, alignment of its fields, a checked context. */
#define DECODE_SLACK_BYTES 512u
#define TTL_MS_MAX         (100ull * 366 * 24 * 3600 * 1000)

/* -- requests ---------------------------------------------------------------------------------- */

static uint32_t replica_count(const struct view *view, const struct keyspace *keyspace)
{
    uint32_t total = 0;
    for (uint32_t i = 0; i < view->topology.data_center_count; i++) {
        uint32_t n = view_replicas(view, TOPOLOGY_NOW, keyspace, i);
        uint32_t members = topology_member_count_in(&view->topology, TOPOLOGY_NOW, i);
        total += n < members ? n : members;
    }
    return total;
}

static const struct keyspace *keyspace_find(const struct view *view, const char *name,
                                            struct status *ret_error)
{
    if (name[0] == '\0')
        name = "default";
    if (!keyspace_name_valid(name)) {
        status_invalid(ret_error, "keyspace", "\"%.80s\" is not of the form [a-z][a-z0-9_-]{0,%u}",
                       name, KEYSPACE_NAME_MAX - 1);
        return NULL;
    }
    const struct keyspace *keyspace = keyspace_map_find(&view->keyspaces, name);
    if (keyspace == NULL)
        status_set(ret_error, GRPC_STATUS_NOT_FOUND, "KEYSPACE_NOT_FOUND",
                   "keyspace: \"%s\" does not exist", name);
    return keyspace;
}

/* A majority of the key's replicas decides, always. */
static bool target_consistent(const struct keyspace *keyspace, const struct target_words *words,
                              struct target *ret_target, struct status *ret_error)
{
    const char *field = words->consistency != 0 ? "consistency"
                        : words->count != 0     ? words->count_field
                        : words->strict         ? "strict"
                                                : NULL;
    if (field != NULL) {
        status_invalid(ret_error, field,
                       "keyspace \"%s\" is consistent: a majority of the key's replicas decides, "
                       "leave it out",
                       keyspace->name);
        return false;
    }
    *ret_target = (struct target){.keyspace_id = keyspace->id, .consistent = true};
    return true;
}

bool target_find(const struct view *view, const struct target_words *words,
                 struct target *ret_target, struct status *ret_error)
{
    const struct keyspace *keyspace = keyspace_find(view, words->keyspace, ret_error);
    if (keyspace == NULL)
        return false;
    if (keyspace->mode == KEYSPACE_CONSISTENT)
        return target_consistent(keyspace, words, ret_target, ret_error);
    if (words->compare) {
        status_set(ret_error, GRPC_STATUS_FAILED_PRECONDITION, "WRONG_MODE",
                   "keyspace: \"%s\" is of mode available; only consistent keyspaces have "
                   "compare-and-set",
                   keyspace->name);
        return false;
    }
    if (words->consistency < 0 || words->consistency > (int)CONSISTENCY_EACH_QUORUM) {
        status_invalid(ret_error, "consistency", "%d is no known level, limit %d",
                       words->consistency, (int)CONSISTENCY_EACH_QUORUM);
        return false;
    }
    if (words->count != 0 && words->consistency != 0) {
        status_invalid(ret_error, words->count_field,
                       "given together with consistency; give one of them");
        return false;
    }
    uint32_t replicas = words->count == 0 ? 0 : replica_count(view, keyspace);
    if (words->count > replicas) {
        status_invalid(ret_error, words->count_field, "%u replicas, limit %u (keyspace \"%s\")",
                       words->count, replicas, keyspace->name);
        return false;
    }
    *ret_target = (struct target){.keyspace_id = keyspace->id,
                                  .level = words->count != 0 ? CONSISTENCY_COUNT
                                                             : (enum consistency)words->consistency,
                                  .count = words->count,
                                  .strict = words->strict,
                                  .lww = keyspace->conflict == KEYSPACE_LWW};
    return true;
}

bool key_check(struct bytes key, struct status *ret_error)
{
    if (key.size == 0)
        status_invalid(ret_error, "key", "empty, at least 1 byte");
    else if (key.size > KEY_BYTES_MAX)
        status_invalid_size(ret_error, "key", key.size, KEY_BYTES_MAX);
    else
        return true;
    return false;
}

struct context_scope call_context_scope(const struct call *call, const struct target *target,
                                        struct bytes key)
{
    return context_scope_of(&call->edge->options->context_keys, target->keyspace_id, key);
}

static bool context_check(struct call *call, const struct context_scope *scope,
                          struct bytes context, struct arena *scratch, struct bytes *ret_clock,
                          struct status *ret_error)
{
    enum err err =
        context_open(scratch, &call->edge->options->context_keys, scope, context, ret_clock);
    if (err == ERR_LIMIT)
        status_invalid_size(ret_error, "context", context.size, CONTEXT_BYTES_MAX);
    else if (err != OK)
        status_invalid(ret_error, "context",
                       "not one that this cluster has given for this key; read the key again and "
                       "hand back the context of that answer, unchanged");
    return err == OK;
}

bool put_request_fill(struct call *call, const struct target *target,
                      const struct write_words *words, struct message *message,
                      struct context_scope *ret_scope, struct status *ret_error)
{
    if (!key_check(words->key, ret_error))
        return false;
    uint32_t value_bytes_max = call->edge->options->value_bytes_max;
    if (words->value.size > value_bytes_max) {
        status_invalid_size(ret_error, "value", words->value.size, value_bytes_max);
        return false;
    }
    if (words->has_ttl && (words->ttl_ms == 0 || words->ttl_ms > TTL_MS_MAX)) {
        status_invalid(ret_error, "ttl_ms", "%llu, must be 1 to %llu",
                       (unsigned long long)words->ttl_ms, TTL_MS_MAX);
        return false;
    }
    if (words->request_id.size != 0 && words->request_id.size != REQUEST_ID_BYTES) {
        status_invalid(ret_error, "request_id", "%zu bytes, must be %u random ones (or none)",
                       words->request_id.size, REQUEST_ID_BYTES);
        return false;
    }
    if (target->consistent && words->context.size != 0) {
        status_invalid(ret_error, "context",
                       "consistent keyspaces have none; use CompareAndSet with the version or the "
                       "value that you have read");
        return false;
    }
    struct bytes clock = {0};
    struct context_scope scope = call_context_scope(call, target, words->key);
    if (words->context.size != 0 &&
        !context_check(call, &scope, words->context, &message->arena, &clock, ret_error))
        return false;
    message->client_put.request = (struct put_request){
        .keyspace_id = target->keyspace_id,
        .key = words->key,
        .value = words->value,
        .flags = words->tombstone ? VERSION_TOMBSTONE : 0,
        .expires_at_ms = words->has_ttl ? runtime_wall_ms() + words->ttl_ms : 0,
        .has_context = words->context.size != 0,
        .context = clock,
        .level = target->level,
        .count = target->count,
        .strict = target->strict,
        .request_id = words->request_id,
    };
    *ret_scope = scope;
    return true;
}

/* -- responses --------------------------------------------------------------------------------- */

Coterie__V1__Acknowledgement *acknowledgement_new(struct arena *arena, const struct view *view,
                                                  const struct progress *progress)
{
    Coterie__V1__Acknowledgement *acknowledgement = arena_alloc(arena, sizeof *acknowledgement);
    coterie__v1__acknowledgement__init(acknowledgement);
    acknowledgement->acknowledged = progress->acked;
    acknowledgement->needed = progress->needed;
    acknowledgement->primaries = ARENA_NEW(arena, char *, progress->acked_count);
    for (uint8_t i = 0; i < progress->acked_count; i++) {
        const struct member *member = topology_member(&view->topology, progress->acked_members[i]);
        if (member != NULL)
            acknowledgement->primaries[acknowledgement->n_primaries++] =
                (char *)(uintptr_t)member->name;
    }
    acknowledgement->fallbacks = ARENA_NEW(arena, char *, progress->fallback_count);
    for (uint8_t i = 0; i < progress->fallback_count; i++) {
        const struct member *member =
            topology_member(&view->topology, progress->fallback_members[i]);
        if (member != NULL)
            acknowledgement->fallbacks[acknowledgement->n_fallbacks++] =
                (char *)(uintptr_t)member->name;
    }
    return acknowledgement;
}

static Coterie__V1__Value *value_new(struct arena *arena, const struct version *version,
                                     uint64_t wall_ms)
{
    Coterie__V1__Value *value = arena_alloc(arena, sizeof *value);
    coterie__v1__value__init(value);
    value->value = binary_of_bytes(version->value);
    value->written_at_ms = hlc_wall_ms(version->written_at);
    if (version->expires_at_ms != 0) {
        value->_ttl_ms_case = COTERIE__V1__VALUE___TTL_MS_TTL_MS;
        value->ttl_ms = version->expires_at_ms - wall_ms;
    }
    return value;
}

Coterie__V1__GetResponse *get_response_new(const struct call *call,
                                           const struct context_scope *scope, struct arena *arena,
                                           const struct view *view,
                                           const struct client_get_done *done)
{
    struct version_set set = done->set;
    if (call->lww)
        set = version_set_last_writer_wins(arena, &set);
    Coterie__V1__GetResponse *response = arena_alloc(arena, sizeof *response);
    coterie__v1__get_response__init(response);
    response->values = ARENA_NEW(arena, Coterie__V1__Value *, set.count);
    for (uint32_t i = 0; i < set.count; i++) {
        if (version_is_live(&set.versions[i], done->wall_ms))
            response->values[response->n_values++] =
                value_new(arena, &set.versions[i], done->wall_ms);
    }
    response->found = response->n_values != 0;
    response->version = done->version;
    if (!call->consistent) {
        struct clock clock = version_set_context(&set);
        response->context = binary_of_bytes(
            context_of_clock(arena, &call->edge->options->context_keys, scope, &clock));
    }
    response->acknowledgement = acknowledgement_new(arena, view, &done->progress);
    return response;
}

Coterie__V1__PutResponse *put_response_new(const struct call *call,
                                           const struct context_scope *scope, struct arena *arena,
                                           const struct view *view, const struct put_result *result)
{
    Coterie__V1__PutResponse *response = arena_alloc(arena, sizeof *response);
    coterie__v1__put_response__init(response);
    if (!call->consistent)
        response->context = binary_of_bytes(context_of_clock_bytes(
            arena, &call->edge->options->context_keys, scope, result->context));
    response->siblings = call->consistent ? 1 : result->sibling_count;
    response->version = result->version;
    response->acknowledgement = acknowledgement_new(arena, view, &result->progress);
    return response;
}

/* -- Get --------------------------------------------------------------------------------------- */

void message_start(struct call *call, struct message *message, enum message_kind done_kind,
                   bool valid, const struct status *status)
{
    if (valid) {
        call_ask(call, 1, message, done_kind, NULL);
    } else {
        call_fail(call, status);
        message_free(message);
    }
}

void message_end(struct call *call, struct message *answer, grpc_byte_buffer *response,
                 const struct status *status)
{
    if (response != NULL)
        call_reply_buffer(call, response);
    else
        call_fail(call, status);
    message_free(answer);
}

static bool get_prepare(struct call *call, const struct view *view,
                        const Coterie__V1__GetRequest *request, struct message *message,
                        struct status *status)
{
    struct target target;
    struct target_words words = {.keyspace = request->keyspace,
                                 .consistency = (int)request->consistency,
                                 .count = request->r,
                                 .count_field = "r"};
    if (!target_find(view, &words, &target, status) ||
        !key_check(bytes_of_binary(request->key), status))
        return false;
    call->lww = target.lww;
    call->consistent = target.consistent;
    call->scope = call_context_scope(call, &target, bytes_of_binary(request->key));
    call_address(call, view, 0, ACTOR_COORDINATOR, message);
    message->client_get = (struct client_get){.client = message->id,
                                              .keyspace_id = target.keyspace_id,
                                              .key = bytes_of_binary(request->key),
                                              .level = target.level,
                                              .count = target.count};
    return true;
}

void get_handle(struct call *call, struct bytes payload)
{
    struct status status;
    /* Decoded into the message's own arena: no copy later. */
    struct message *message = message_new(MESSAGE_client_get, payload.size + DECODE_SLACK_BYTES);
    const Coterie__V1__GetRequest *request = (const Coterie__V1__GetRequest *)decode(
        &message->arena, payload, &coterie__v1__get_request__descriptor, &status);
    bool valid = request != NULL;
    if (valid) {
        const struct view *view = runtime_view_lock(call->edge->options->runtime);
        valid = get_prepare(call, view, request, message, &status);
        runtime_view_unlock(call->edge->options->runtime);
    }
    message_start(call, message, MESSAGE_client_get_done, valid, &status);
}

void get_answer(struct call *call, struct message *answer)
{
    CHECK_U64(answer->kind, ==, MESSAGE_client_get_done);
    struct runtime *runtime = call->edge->options->runtime;
    const struct client_get_done *done = &answer->client_get_done;
    struct status status;
    grpc_byte_buffer *response = NULL;
    const struct view *view = runtime_view_lock(runtime);
    if (done->status == OK)
        response = buffer_of_message(
            &get_response_new(call, &call->scope, &answer->arena, view, done)->base);
    else
        status_of_get(&status, view, done);
    runtime_view_unlock(runtime);
    message_end(call, answer, response, &status);
}

/* -- Put, Delete ------------------------------------------------------------------------------- */

static bool put_prepare(struct call *call, const struct view *view,
                        const struct target_words *target_words,
                        const struct write_words *write_words, struct message *message,
                        struct status *status)
{
    struct target target;
    if (!target_find(view, target_words, &target, status) ||
        !put_request_fill(call, &target, write_words, message, &call->scope, status))
        return false;
    call->consistent = target.consistent;
    call_address(call, view, 0, ACTOR_COORDINATOR, message);
    message->client_put.client = message->id;
    return true;
}

static void put_start(struct call *call, const struct target_words *target_words,
                      const struct write_words *write_words, struct message *message)
{
    struct status status;
    const struct view *view = runtime_view_lock(call->edge->options->runtime);
    bool valid = put_prepare(call, view, target_words, write_words, message, &status);
    runtime_view_unlock(call->edge->options->runtime);
    message_start(call, message, MESSAGE_client_put_done, valid, &status);
}

/* NULL: it cannot be, and the call has been answered. */
static const ProtobufCMessage *put_decode(struct call *call, struct bytes payload,
                                          const ProtobufCMessageDescriptor *descriptor,
                                          struct message **ret_message)
{
    struct status status;
    struct message *message = message_new(MESSAGE_client_put, payload.size + DECODE_SLACK_BYTES);
    const ProtobufCMessage *request = decode(&message->arena, payload, descriptor, &status);
    if (request == NULL)
        message_start(call, message, MESSAGE_client_put_done, false, &status);
    *ret_message = message;
    return request;
}

static struct target_words put_target(const char *keyspace, Coterie__V1__Consistency consistency,
                                      uint32_t w, bool strict)
{
    return (struct target_words){.keyspace = keyspace,
                                 .consistency = (int)consistency,
                                 .count = w,
                                 .count_field = "w",
                                 .strict = strict};
}

void put_handle(struct call *call, struct bytes payload)
{
    struct message *message = NULL;
    const Coterie__V1__PutRequest *request = (const Coterie__V1__PutRequest *)put_decode(
        call, payload, &coterie__v1__put_request__descriptor, &message);
    if (request == NULL)
        return;
    struct target_words target_words =
        put_target(request->keyspace, request->consistency, request->w, request->strict != 0);
    struct write_words write_words = {.key = bytes_of_binary(request->key),
                                      .value = bytes_of_binary(request->value),
                                      .context = bytes_of_binary(request->context),
                                      .has_ttl = request->_ttl_ms_case ==
                                                 COTERIE__V1__PUT_REQUEST___TTL_MS_TTL_MS,
                                      .ttl_ms = request->ttl_ms,
                                      .request_id = bytes_of_binary(request->request_id)};
    put_start(call, &target_words, &write_words, message);
}

void delete_handle(struct call *call, struct bytes payload)
{
    struct message *message = NULL;
    const Coterie__V1__DeleteRequest *request = (const Coterie__V1__DeleteRequest *)put_decode(
        call, payload, &coterie__v1__delete_request__descriptor, &message);
    if (request == NULL)
        return;
    struct target_words target_words =
        put_target(request->keyspace, request->consistency, request->w, request->strict != 0);
    struct write_words write_words = {.key = bytes_of_binary(request->key),
                                      .context = bytes_of_binary(request->context),
                                      .tombstone = true,
                                      .request_id = bytes_of_binary(request->request_id)};
    put_start(call, &target_words, &write_words, message);
}

/* PutResponse and DeleteResponse are the same bytes. */
void put_answer(struct call *call, struct message *answer)
{
    CHECK_U64(answer->kind, ==, MESSAGE_client_put_done);
    struct runtime *runtime = call->edge->options->runtime;
    const struct put_result *result = &answer->client_put_done.result;
    struct status status;
    grpc_byte_buffer *response = NULL;
    const struct view *view = runtime_view_lock(runtime);
    if (result->status == OK)
        response = buffer_of_message(
            &put_response_new(call, &call->scope, &answer->arena, view, result)->base);
    else
        status_of_put(&status, view, result);
    runtime_view_unlock(runtime);
    message_end(call, answer, response, &status);
}
