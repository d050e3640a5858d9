#include "rpc/status.h"

#include "base/check.h"
#include "coterie/internal/v1/status.pb-c.h"

#include <stdarg.h>
#include <stdio.h>

#define TYPE_PREFIX            "type.googleapis.com/google.rpc."
#define RETRY_AFTER_DEFAULT_MS 100u

/* Members' names and clients' words can hold anything. */
static void make_printable(char *text)
{
    for (; *text != '\0'; text++) {
        if (*text < ' ' || *text > '~')
            *text = '?';
    }
}

static void status_set_list(struct status *status, grpc_status_code code, const char *reason,
                            const char *format, va_list arguments)
{
    *status = (struct status){.code = code, .reason = reason};
    vsnprintf(status->message, sizeof status->message, format, arguments);
    make_printable(status->message);
}

void status_set(struct status *status, grpc_status_code code, const char *reason,
                const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    status_set_list(status, code, reason, format, arguments);
    va_end(arguments);
}

void status_invalid(struct status *status, const char *field, const char *format, ...)
{
    char text[400];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    status_set(status, GRPC_STATUS_INVALID_ARGUMENT, "INVALID_ARGUMENT", "%s: %s", field, text);
    status->field = field;
}

void status_invalid_size(struct status *status, const char *field, uint64_t size, uint64_t max)
{
    status_invalid(status, field, "%llu bytes, limit %llu", (unsigned long long)size,
                   (unsigned long long)max);
}

void status_no_node(struct status *status, const char *field, const char *name)
{
    status_set(status, GRPC_STATUS_NOT_FOUND, "NODE_NOT_FOUND",
               "%s: \"%.80s\" is no node of this cluster; ListNodes has their names", field, name);
}

void status_overloaded(struct status *status, uint64_t retry_after_ms, const char *why)
{
    status_set(status, GRPC_STATUS_RESOURCE_EXHAUSTED, "OVERLOADED", "overloaded: %s", why);
    status->retry_after_ms = retry_after_ms == 0 ? RETRY_AFTER_DEFAULT_MS : retry_after_ms;
}

/* -- from answers ------------------------------------------------------------------------------ */

static void add_missing(struct status *status, const struct view *view,
                        const struct progress *progress)
{
    size_t size = 0;
    for (uint8_t i = 0; i < progress->missing_count; i++) {
        const struct member *member =
            topology_member(&view->topology, progress->missing_members[i]);
        const char *name = member == NULL ? "?" : member->name;
        size_t left = sizeof status->missing - size;
        int written = snprintf(status->missing + size, left, "%s%s", size == 0 ? "" : ", ", name);
        if (written < 0 || (size_t)written >= left) {
            status->missing[size] = '\0'; /* whole names only */
            break;
        }
        size += (size_t)written;
    }
    make_printable(status->missing);
}

/* How far the request got, then what the coordinator said about it. */
static void set_with_progress(struct status *status, const struct view *view, grpc_status_code code,
                              const char *reason, const char *why, const struct progress *progress)
{
    status_set(status, code, reason, "%s", "");
    status->has_progress = true;
    status->acknowledged = progress->acked;
    status->needed = progress->needed;
    add_missing(status, view, progress);
    bool missing = status->missing[0] != '\0';
    snprintf(status->message, sizeof status->message, "%u of %u replicas answered%s%s%s: %s",
             progress->acked, progress->needed, missing ? " (missing: " : "", status->missing,
             missing ? ")" : "", why);
    make_printable(status->message);
}

struct translation {
    grpc_status_code code;
    const char *reason;
};

static struct translation translate(enum err err)
{
    switch (err) {
    case ERR_UNAVAILABLE:
        return (struct translation){GRPC_STATUS_UNAVAILABLE, "QUORUM_NOT_MET"};
    case ERR_TIMEOUT:
        return (struct translation){GRPC_STATUS_DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED"};
    case ERR_OVERLOADED:
        return (struct translation){GRPC_STATUS_RESOURCE_EXHAUSTED, "OVERLOADED"};
    case ERR_LIMIT:
        return (struct translation){GRPC_STATUS_FAILED_PRECONDITION, "TOO_MANY_SIBLINGS"};
    case ERR_INVALID:
        return (struct translation){GRPC_STATUS_INVALID_ARGUMENT, "INVALID_ARGUMENT"};
    case ERR_NOT_FOUND:
        return (struct translation){GRPC_STATUS_NOT_FOUND, "KEYSPACE_NOT_FOUND"};
    case ERR_EXISTS:
        return (struct translation){GRPC_STATUS_ALREADY_EXISTS, "ALREADY_EXISTS"};
    case ERR_PRECONDITION:
        return (struct translation){GRPC_STATUS_FAILED_PRECONDITION, "FAILED_PRECONDITION"};
    case ERR_CONFLICT:
        return (struct translation){GRPC_STATUS_ABORTED, "CONFLICT"};
    case ERR_UNSUPPORTED:
        return (struct translation){GRPC_STATUS_UNIMPLEMENTED, "UNIMPLEMENTED"};
    case ERR_DENIED:
        return (struct translation){GRPC_STATUS_PERMISSION_DENIED, "DENIED"};
    case ERR_STALE_EPOCH:
    case ERR_STALE_FLOOR:
    case ERR_INCOMPLETE:
    case ERR_CLOSED:
        return (struct translation){GRPC_STATUS_UNAVAILABLE, "UNAVAILABLE"};
    case ERR_CORRUPT:
        return (struct translation){GRPC_STATUS_INTERNAL, "CORRUPT"};
    case ERR_IO:
    case ERR_OK:
    case ERR_COUNT:
        break;
    }
    return (struct translation){GRPC_STATUS_INTERNAL, "INTERNAL"};
}

static uint64_t retry_after(enum err err, uint64_t given_ms)
{
    if (given_ms != 0 || err != ERR_OVERLOADED)
        return given_ms;
    return RETRY_AFTER_DEFAULT_MS;
}

void status_of_err(struct status *status, enum err err, const char *why)
{
    CHECK(err != OK);
    struct translation translation = translate(err);
    status_set(status, translation.code, translation.reason, "%s",
               why == NULL ? err_text(err) : why);
    status->retry_after_ms = retry_after(err, 0);
}

void status_of_get(struct status *status, const struct view *view,
                   const struct client_get_done *done)
{
    CHECK(done->status != OK);
    const char *why = done->why == NULL ? err_text(done->status) : done->why;
    struct translation translation = translate(done->status);
    set_with_progress(status, view, translation.code, translation.reason, why, &done->progress);
    status->retry_after_ms = retry_after(done->status, done->retry_after_ms);
}

void status_of_put(struct status *status, const struct view *view, const struct put_result *result)
{
    CHECK(result->status != OK);
    const char *why = result->why == NULL ? err_text(result->status) : result->why;
    struct translation translation = translate(result->status);
    if (result->outcome == OUTCOME_NOT_APPLIED) {
        set_with_progress(status, view, translation.code,
                          result->disk_full ? "DISK_FULL" : translation.reason, why,
                          &result->progress);
        status->outcome = "NOT_APPLIED";
        if (!result->disk_full) /* nobody knows when there is space again */
            status->retry_after_ms = retry_after(result->status, result->retry_after_ms);
        return;
    }
    /* A blind retry could apply the write twice: never a code that libraries retry by themselves.
     */
    grpc_status_code code = translation.code == GRPC_STATUS_DEADLINE_EXCEEDED
                                ? GRPC_STATUS_DEADLINE_EXCEEDED
                                : GRPC_STATUS_UNKNOWN;
    set_with_progress(status, view, code, "OUTCOME_UNKNOWN", why, &result->progress);
    status->outcome = "UNKNOWN";
}

/* -- the trailer ------------------------------------------------------------------------------- */

#define DETAILS_MAX 3u
#define ENCODED_MAX 1024u /* of one detail; all its texts are bounded by struct status */

typedef Coterie__Internal__V1__RpcErrorInfo__MetadataEntry pair_message;

struct details {
    size_t count;
    Coterie__Internal__V1__RpcAny any[DETAILS_MAX];
    uint8_t encoded[DETAILS_MAX][ENCODED_MAX];
};

static void details_add(struct details *details, const char *type_url,
                        const ProtobufCMessage *message)
{
    CHECK_U64(details->count, <, DETAILS_MAX);
    CHECK_U64(protobuf_c_message_get_packed_size(message), <=, ENCODED_MAX);
    uint8_t *encoded = details->encoded[details->count];
    Coterie__Internal__V1__RpcAny *any = &details->any[details->count++];
    coterie__internal__v1__rpc_any__init(any);
    any->type_url = (char *)(uintptr_t)type_url;
    any->value.data = encoded;
    any->value.len = protobuf_c_message_pack(message, encoded);
}

static void add_error_info(struct details *details, const struct status *status)
{
    pair_message pairs[STATUS_PAIRS_MAX];
    pair_message *list[STATUS_PAIRS_MAX];
    char acknowledged[16];
    char needed[16];
    snprintf(acknowledged, sizeof acknowledged, "%u", status->acknowledged);
    snprintf(needed, sizeof needed, "%u", status->needed);
    const struct {
        const char *key;
        const char *value;
    } words[] = {
        {"acknowledged", status->has_progress ? acknowledged : NULL},
        {"needed", status->has_progress ? needed : NULL},
        {"missing", status->has_progress ? status->missing : NULL},
        {"outcome", status->outcome},
        {"field", status->field},
    };
    static_assert(ARRAY_COUNT(words) <= STATUS_PAIRS_MAX, "room for all");
    Coterie__Internal__V1__RpcErrorInfo info = COTERIE__INTERNAL__V1__RPC_ERROR_INFO__INIT;
    info.reason = (char *)(uintptr_t)status->reason;
    info.domain = (char *)(uintptr_t)STATUS_DOMAIN;
    info.metadata = list;
    for (size_t i = 0; i < ARRAY_COUNT(words); i++) {
        if (words[i].value == NULL)
            continue;
        pair_message *pair = &pairs[info.n_metadata];
        coterie__internal__v1__rpc_error_info__metadata_entry__init(pair);
        pair->key = (char *)(uintptr_t)words[i].key;
        pair->value = (char *)(uintptr_t)words[i].value;
        list[info.n_metadata++] = pair;
    }
    details_add(details, TYPE_PREFIX "ErrorInfo", &info.base);
}

static void add_bad_request(struct details *details, const struct status *status)
{
    Coterie__Internal__V1__RpcFieldViolation violation =
        COTERIE__INTERNAL__V1__RPC_FIELD_VIOLATION__INIT;
    Coterie__Internal__V1__RpcFieldViolation *list[] = {&violation};
    Coterie__Internal__V1__RpcBadRequest request = COTERIE__INTERNAL__V1__RPC_BAD_REQUEST__INIT;
    violation.field = (char *)(uintptr_t)status->field;
    violation.description = (char *)(uintptr_t)status->message;
    request.n_field_violations = 1;
    request.field_violations = list;
    details_add(details, TYPE_PREFIX "BadRequest", &request.base);
}

static void add_retry_info(struct details *details, const struct status *status)
{
    Coterie__Internal__V1__RpcDuration delay = COTERIE__INTERNAL__V1__RPC_DURATION__INIT;
    Coterie__Internal__V1__RpcRetryInfo info = COTERIE__INTERNAL__V1__RPC_RETRY_INFO__INIT;
    delay.seconds = (int64_t)(status->retry_after_ms / 1000);
    delay.nanos = (int32_t)(status->retry_after_ms % 1000) * 1000000;
    info.retry_delay = &delay;
    details_add(details, TYPE_PREFIX "RetryInfo", &info.base);
}

grpc_slice status_details(const struct status *status)
{
    if (status->reason == NULL)
        return grpc_empty_slice();
    struct details details;
    details.count = 0;
    add_error_info(&details, status);
    if (status->field != NULL)
        add_bad_request(&details, status);
    if (status->retry_after_ms != 0)
        add_retry_info(&details, status);
    Coterie__Internal__V1__RpcAny *list[DETAILS_MAX];
    for (size_t i = 0; i < details.count; i++)
        list[i] = &details.any[i];
    Coterie__Internal__V1__RpcStatus wire = COTERIE__INTERNAL__V1__RPC_STATUS__INIT;
    wire.code = (int32_t)status->code;
    wire.message = (char *)(uintptr_t)status->message;
    wire.n_details = details.count;
    wire.details = list;
    grpc_slice slice = grpc_slice_malloc(protobuf_c_message_get_packed_size(&wire.base));
    protobuf_c_message_pack(&wire.base, GRPC_SLICE_START_PTR(slice));
    return slice;
}
