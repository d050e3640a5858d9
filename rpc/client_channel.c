#include "rpc/client_channel.h"

#include "coterie/internal/v1/status.pb-c.h"

#include <arpa/inet.h>
#include <grpc/grpc_security.h>
#include <grpc/support/time.h>
#include <stdio.h>
#include <stdlib.h>

#define DETAILS_BYTES_MAX (64u * 1024)
#define RECEIVE_BYTES_MAX (64 * 1024 * 1024)
#define URL_PREFIX        "type.googleapis.com/google.rpc."

static struct bytes trim(struct bytes text)
{
    while (text.size > 0 && (text.data[0] == ' ' || text.data[0] == '\t'))
        text = bytes_of(text.data + 1, text.size - 1);
    while (text.size > 0 && (text.data[text.size - 1] == ' ' || text.data[text.size - 1] == '\t'))
        text.size--;
    return text;
}

static bool port_parse(const char *text, unsigned *ret_port)
{
    unsigned port = 0;
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || digits > 5 || text[digits] != '\0')
        return false;
    for (size_t i = 0; i < digits; i++)
        port = port * 10 + (unsigned)(text[i] - '0');
    if (port == 0 || port > 65535)
        return false;
    *ret_port = port;
    return true;
}

enum err client_endpoint_parse(struct bytes text, struct client_endpoint *ret_endpoint, char *why,
                               size_t why_size)
{
    text = trim(text);
    char host[256];
    if (text.size == 0 || text.size >= sizeof host) {
        snprintf(why, why_size,
                 "an endpoint is empty or longer than 255 characters; write host:port");
        return ERR_INVALID;
    }
    memcpy(host, text.data, text.size);
    host[text.size] = '\0';
    char *port_text = NULL;
    char *name = host;
    bool bracketed = host[0] == '[';
    if (bracketed) {
        char *close = strchr(host, ']');
        if (close == NULL || (close[1] != '\0' && close[1] != ':')) {
            snprintf(why, why_size, "endpoint '%s': write an IPv6 address as [address]:port", host);
            return ERR_INVALID;
        }
        port_text = close[1] == ':' ? close + 2 : NULL;
        *close = '\0';
        name = host + 1;
    } else if ((port_text = strchr(host, ':')) != NULL) {
        *port_text++ = '\0';
    }
    unsigned port = RPC_CLIENT_PORT_DEFAULT;
    uint8_t address[16];
    bool is_ipv4 = inet_pton(AF_INET, name, address) == 1;
    bool is_ipv6 = bracketed && inet_pton(AF_INET6, name, address) == 1;
    if ((port_text != NULL && !port_parse(port_text, &port)) || bracketed != is_ipv6 ||
        name[0] == '\0' || strpbrk(name, " /,@") != NULL) {
        snprintf(why, why_size, "endpoint '%.*s' is not host:port with a port of 1 to 65535",
                 (int)text.size, (const char *)text.data);
        return ERR_INVALID;
    }
    struct client_endpoint *endpoint = ret_endpoint;
    snprintf(endpoint->name, sizeof endpoint->name, is_ipv6 ? "[%s]:%u" : "%s:%u", name, port);
    snprintf(endpoint->target, sizeof endpoint->target, "%s%s",
             is_ipv6   ? "ipv6:"
             : is_ipv4 ? "ipv4:"
                       : "dns:///",
             endpoint->name);
    return OK;
}

enum err client_endpoints_parse(const char *text, struct client_endpoint *ret_endpoints,
                                uint32_t *ret_count, char *why, size_t why_size)
{
    uint32_t count = 0;
    for (const char *next = text; next != NULL; count++) {
        size_t size = strcspn(next, ",");
        if (count == RPC_CLIENT_ENDPOINTS_MAX) {
            snprintf(why, why_size, "more than %u endpoints", RPC_CLIENT_ENDPOINTS_MAX);
            return ERR_INVALID;
        }
        enum err err =
            client_endpoint_parse(bytes_of(next, size), &ret_endpoints[count], why, why_size);
        if (err != OK)
            return err;
        next = next[size] == ',' ? next + size + 1 : NULL;
    }
    *ret_count = count;
    return OK;
}

static grpc_arg integer_arg(const char *key, int value)
{
    /* gRPC copies the key; its type is not const for historical reasons only. */
    return (grpc_arg){
        .type = GRPC_ARG_INTEGER, .key = (char *)(uintptr_t)key, .value.integer = value};
}

grpc_channel *client_channel_new(const char *target, uint32_t ordinal)
{
    grpc_arg args[] = {
        integer_arg(GRPC_ARG_ENABLE_RETRIES, 0),
        integer_arg(GRPC_ARG_ENABLE_HTTP_PROXY, 0),
        integer_arg(GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION, 1),
        integer_arg(GRPC_ARG_ENABLE_CHANNELZ, 0),
        integer_arg(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100),
        integer_arg(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 2000),
        integer_arg(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2000),
        integer_arg(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, RECEIVE_BYTES_MAX),
        integer_arg("coterie.connection", (int)ordinal),
        {.type = GRPC_ARG_STRING,
         .key = (char *)(uintptr_t)GRPC_ARG_PRIMARY_USER_AGENT_STRING,
         .value.string = (char *)(uintptr_t) "coterie/" COTERIE_VERSION},
    };
    grpc_channel_args all = {.num_args = ARRAY_COUNT(args), .args = args};
    grpc_channel_credentials *credentials = grpc_insecure_credentials_create();
    grpc_channel *channel = grpc_channel_create(target, credentials, &all);
    grpc_channel_credentials_release(credentials);
    CHECK(channel != NULL);
    return channel;
}

void client_exchange_start(grpc_call *call, struct client_exchange *exchange, void *tag)
{
    grpc_op ops[6];
    memset(ops, 0, sizeof ops);
    ops[0].op = GRPC_OP_SEND_INITIAL_METADATA;
    ops[1].op = GRPC_OP_SEND_MESSAGE;
    ops[1].data.send_message.send_message = exchange->send_buffer;
    ops[2].op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
    ops[3].op = GRPC_OP_RECV_INITIAL_METADATA;
    ops[3].data.recv_initial_metadata.recv_initial_metadata = &exchange->initial;
    ops[4].op = GRPC_OP_RECV_MESSAGE;
    ops[4].data.recv_message.recv_message = &exchange->receive_buffer;
    ops[5].op = GRPC_OP_RECV_STATUS_ON_CLIENT;
    ops[5].data.recv_status_on_client.trailing_metadata = &exchange->trailing;
    ops[5].data.recv_status_on_client.status = &exchange->code;
    ops[5].data.recv_status_on_client.status_details = &exchange->details;
    grpc_call_error error = grpc_call_start_batch(call, ops, ARRAY_COUNT(ops), tag, NULL);
    CHECK(error == GRPC_CALL_OK);
}

gpr_timespec client_deadline(uint64_t timeout_ms)
{
    return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                        gpr_time_from_millis((int64_t)timeout_ms, GPR_TIMESPAN));
}

grpc_slice client_message_pack(const ProtobufCMessage *message)
{
    size_t size = protobuf_c_message_get_packed_size(message);
    grpc_slice slice = grpc_slice_malloc(size);
    protobuf_c_message_pack(message, GRPC_SLICE_START_PTR(slice));
    return slice;
}

static void *arena_allocator_alloc(void *data, size_t size)
{
    return arena_alloc(data, size);
}

static void arena_allocator_free(void *data, void *pointer)
{
    (void)data;
    (void)pointer;
}

ProtobufCAllocator client_arena_allocator(struct arena *arena)
{
    return (ProtobufCAllocator){
        .alloc = arena_allocator_alloc, .free = arena_allocator_free, .allocator_data = arena};
}

static void set_text(char *to, size_t to_size, const char *text)
{
    snprintf(to, to_size, "%s", text);
}
#define SET_TEXT(field, text) set_text((field), sizeof(field), (text))

static void decode_error_info(struct bytes value, struct arena *arena,
                              struct rpc_client_status *status)
{
    ProtobufCAllocator allocator = client_arena_allocator(arena);
    Coterie__Internal__V1__RpcErrorInfo *info =
        coterie__internal__v1__rpc_error_info__unpack(&allocator, value.size, value.data);
    if (info == NULL)
        return;
    SET_TEXT(status->reason, info->reason);
    for (size_t i = 0; i < info->n_metadata; i++) {
        const char *key = info->metadata[i]->key;
        const char *text = info->metadata[i]->value;
        if (strcmp(key, "outcome") == 0)
            SET_TEXT(status->outcome, text);
        else if (strcmp(key, "missing") == 0)
            SET_TEXT(status->missing, text);
        else if (strcmp(key, "acknowledged") == 0)
            SET_TEXT(status->acknowledged, text);
        else if (strcmp(key, "needed") == 0)
            SET_TEXT(status->needed, text);
    }
}

static void decode_bad_request(struct bytes value, struct arena *arena,
                               struct rpc_client_status *status)
{
    ProtobufCAllocator allocator = client_arena_allocator(arena);
    Coterie__Internal__V1__RpcBadRequest *bad =
        coterie__internal__v1__rpc_bad_request__unpack(&allocator, value.size, value.data);
    if (bad == NULL || bad->n_field_violations == 0)
        return;
    SET_TEXT(status->field, bad->field_violations[0]->field);
    SET_TEXT(status->violation, bad->field_violations[0]->description);
}

static void decode_retry_info(struct bytes value, struct arena *arena,
                              struct rpc_client_status *status)
{
    ProtobufCAllocator allocator = client_arena_allocator(arena);
    Coterie__Internal__V1__RpcRetryInfo *info =
        coterie__internal__v1__rpc_retry_info__unpack(&allocator, value.size, value.data);
    if (info == NULL || info->retry_delay == NULL || info->retry_delay->seconds < 0 ||
        info->retry_delay->seconds > 86400 || info->retry_delay->nanos < 0)
        return;
    status->retry_after_ms =
        (uint64_t)info->retry_delay->seconds * 1000 + (uint64_t)info->retry_delay->nanos / 1000000;
}

static void decode_details(struct bytes packed, struct rpc_client_status *status)
{
    if (packed.size > DETAILS_BYTES_MAX)
        return;
    struct arena arena;
    arena_init(&arena, NULL, 0);
    ProtobufCAllocator allocator = client_arena_allocator(&arena);
    Coterie__Internal__V1__RpcStatus *rich =
        coterie__internal__v1__rpc_status__unpack(&allocator, packed.size, packed.data);
    for (size_t i = 0; rich != NULL && i < rich->n_details; i++) {
        const char *url = rich->details[i]->type_url;
        struct bytes value = bytes_of(rich->details[i]->value.data, rich->details[i]->value.len);
        if (strcmp(url, URL_PREFIX "ErrorInfo") == 0)
            decode_error_info(value, &arena, status);
        else if (strcmp(url, URL_PREFIX "BadRequest") == 0)
            decode_bad_request(value, &arena, status);
        else if (strcmp(url, URL_PREFIX "RetryInfo") == 0)
            decode_retry_info(value, &arena, status);
    }
    arena_deinit(&arena);
}

static bool may_have_arrived(grpc_status_code code)
{
    return code == GRPC_STATUS_UNAVAILABLE || code == GRPC_STATUS_DEADLINE_EXCEEDED ||
           code == GRPC_STATUS_CANCELLED || code == GRPC_STATUS_INTERNAL ||
           code == GRPC_STATUS_UNKNOWN;
}

void client_status_decode(grpc_status_code code, grpc_slice details,
                          const grpc_metadata_array *trailing, struct rpc_client_status *ret_status)
{
    struct rpc_client_status status = {.code = code};
    snprintf(status.message, sizeof status.message, "%.*s", (int)GRPC_SLICE_LENGTH(details),
             (const char *)GRPC_SLICE_START_PTR(details));
    for (size_t i = 0; trailing != NULL && i < trailing->count; i++) {
        const grpc_metadata *entry = &trailing->metadata[i];
        if (code != GRPC_STATUS_OK &&
            grpc_slice_str_cmp(entry->key, "grpc-status-details-bin") == 0)
            decode_details(
                bytes_of(GRPC_SLICE_START_PTR(entry->value), GRPC_SLICE_LENGTH(entry->value)),
                &status);
    }
    if (status.outcome[0] == '\0' && may_have_arrived(code))
        SET_TEXT(status.outcome, "UNKNOWN");
    *ret_status = status;
}
