/* The client port as its clients see it: unary calls, streams and their details over the core API.
 */
#ifndef TESTS_RPC_RAW_CLIENT_H
#define TESTS_RPC_RAW_CLIENT_H

#include "base/check.h"
#include "coterie/internal/v1/status.pb-c.h"
#include "rpc/decode.h"
#include "rpc/loop.h"

#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc_security.h>
#include <grpc/support/time.h>
#include <stdio.h>
#include <stdlib.h>

struct raw_client {
    grpc_channel *channel;
    grpc_completion_queue *queue;
};

struct raw_reply {
    grpc_status_code code;
    char message[1024];
    char reason[64];
    char outcome[32];
    char acknowledged[16];
    char needed[16];
    char missing[64];
    char field[64];          /* BadRequest */
    uint64_t retry_after_ms; /* RetryInfo; 0 without */
    bool has_details;
    bool has_body;
    size_t body_size;
    uint8_t *body; /* malloc, freed by raw_reply_clear */
};

static inline struct raw_client raw_client_new(int port, int id)
{
    char target[64];
    snprintf(target, sizeof target, "ipv4:127.0.0.1:%d", port);
    grpc_arg args[4];
    memset(args, 0, sizeof args);
    const struct {
        const char *key;
        int value;
    } integers[] = {{"test.connection", id},
                    {GRPC_ARG_ENABLE_RETRIES, 0},
                    {GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, 16 << 20},
                    {GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1}};
    for (size_t i = 0; i < ARRAY_COUNT(integers); i++) {
        args[i].type = GRPC_ARG_INTEGER;
        args[i].key = (char *)(uintptr_t)integers[i].key;
        args[i].value.integer = integers[i].value;
    }
    grpc_channel_args list = {.num_args = ARRAY_COUNT(args), .args = args};
    grpc_channel_credentials *credentials = grpc_insecure_credentials_create();
    struct raw_client client = {.channel = grpc_channel_create(target, credentials, &list),
                                .queue = grpc_completion_queue_create_for_next(NULL)};
    grpc_channel_credentials_release(credentials);
    return client;
}

static inline void raw_client_free(struct raw_client *client)
{
    grpc_channel_destroy(client->channel);
    grpc_completion_queue_shutdown(client->queue);
    while (
        grpc_completion_queue_next(client->queue, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL).type !=
        GRPC_QUEUE_SHUTDOWN)
        continue;
    grpc_completion_queue_destroy(client->queue);
}

static inline gpr_timespec in_ms(uint64_t ms)
{
    return ms == 0 ? gpr_inf_future(GPR_CLOCK_MONOTONIC)
                   : gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                                  gpr_time_from_millis((int64_t)ms, GPR_TIMESPAN));
}

/* A unary call under way. */
struct raw_call {
    grpc_call *call;
    grpc_metadata_array headers;
    grpc_metadata_array trailers;
    grpc_status_code code;
    grpc_slice details;
    grpc_byte_buffer *request;
    grpc_byte_buffer *response;
};

/* `request` NULL: no message at all. deadline_ms 0: none. */
static inline struct raw_call *raw_start(struct raw_client *client, const char *method,
                                         const struct bytes *request, uint64_t deadline_ms)
{
    struct raw_call *call = calloc(1, sizeof *call);
    CHECK(call != NULL);
    grpc_slice path = grpc_slice_from_copied_string(method);
    call->call = grpc_channel_create_call(client->channel, NULL, GRPC_PROPAGATE_DEFAULTS,
                                          client->queue, path, NULL, in_ms(deadline_ms), NULL);
    grpc_slice_unref(path);
    grpc_metadata_array_init(&call->headers);
    grpc_metadata_array_init(&call->trailers);
    call->details = grpc_empty_slice();
    grpc_op ops[6];
    memset(ops, 0, sizeof ops);
    size_t count = 0;
    ops[count++].op = GRPC_OP_SEND_INITIAL_METADATA;
    if (request != NULL) {
        grpc_slice slice =
            grpc_slice_from_copied_buffer((const char *)request->data, request->size);
        call->request = grpc_raw_byte_buffer_create(&slice, 1);
        grpc_slice_unref(slice);
        ops[count].op = GRPC_OP_SEND_MESSAGE;
        ops[count++].data.send_message.send_message = call->request;
    }
    ops[count++].op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
    ops[count].op = GRPC_OP_RECV_INITIAL_METADATA;
    ops[count++].data.recv_initial_metadata.recv_initial_metadata = &call->headers;
    ops[count].op = GRPC_OP_RECV_MESSAGE;
    ops[count++].data.recv_message.recv_message = &call->response;
    ops[count].op = GRPC_OP_RECV_STATUS_ON_CLIENT;
    ops[count].data.recv_status_on_client.trailing_metadata = &call->trailers;
    ops[count].data.recv_status_on_client.status = &call->code;
    ops[count++].data.recv_status_on_client.status_details = &call->details;
    CHECK(grpc_call_start_batch(call->call, ops, count, call, NULL) == GRPC_CALL_OK);
    return call;
}

static inline void copy_text(char *to, size_t size, const char *from)
{
    snprintf(to, size, "%s", from);
}

static inline void read_error_info(struct raw_reply *reply, ProtobufCBinaryData value)
{
    Coterie__Internal__V1__RpcErrorInfo *info =
        coterie__internal__v1__rpc_error_info__unpack(NULL, value.len, value.data);
    CHECK(info != NULL);
    CHECK(strcmp(info->domain, "coterie") == 0);
    copy_text(reply->reason, sizeof reply->reason, info->reason);
    for (size_t i = 0; i < info->n_metadata; i++) {
        const char *key = info->metadata[i]->key;
        const char *text = info->metadata[i]->value;
        if (strcmp(key, "outcome") == 0)
            copy_text(reply->outcome, sizeof reply->outcome, text);
        else if (strcmp(key, "acknowledged") == 0)
            copy_text(reply->acknowledged, sizeof reply->acknowledged, text);
        else if (strcmp(key, "needed") == 0)
            copy_text(reply->needed, sizeof reply->needed, text);
        else if (strcmp(key, "missing") == 0)
            copy_text(reply->missing, sizeof reply->missing, text);
    }
    coterie__internal__v1__rpc_error_info__free_unpacked(info, NULL);
}

static inline void read_details(struct raw_reply *reply, grpc_slice slice)
{
    Coterie__Internal__V1__RpcStatus *status = coterie__internal__v1__rpc_status__unpack(
        NULL, GRPC_SLICE_LENGTH(slice), GRPC_SLICE_START_PTR(slice));
    CHECK(status != NULL);
    CHECK_U64(status->code, ==, reply->code);
    CHECK(strcmp(status->message, reply->message) == 0);
    reply->has_details = true;
    for (size_t i = 0; i < status->n_details; i++) {
        const char *type = strrchr(status->details[i]->type_url, '.') + 1;
        ProtobufCBinaryData value = status->details[i]->value;
        if (strcmp(type, "ErrorInfo") == 0)
            read_error_info(reply, value);
        if (strcmp(type, "BadRequest") == 0) {
            Coterie__Internal__V1__RpcBadRequest *bad =
                coterie__internal__v1__rpc_bad_request__unpack(NULL, value.len, value.data);
            CHECK(bad != NULL && bad->n_field_violations == 1);
            copy_text(reply->field, sizeof reply->field, bad->field_violations[0]->field);
            coterie__internal__v1__rpc_bad_request__free_unpacked(bad, NULL);
        }
        if (strcmp(type, "RetryInfo") == 0) {
            Coterie__Internal__V1__RpcRetryInfo *retry =
                coterie__internal__v1__rpc_retry_info__unpack(NULL, value.len, value.data);
            CHECK(retry != NULL && retry->retry_delay != NULL);
            reply->retry_after_ms = (uint64_t)retry->retry_delay->seconds * 1000 +
                                    (uint64_t)retry->retry_delay->nanos / 1000000;
            coterie__internal__v1__rpc_retry_info__free_unpacked(retry, NULL);
        }
    }
    coterie__internal__v1__rpc_status__free_unpacked(status, NULL);
}

static inline void raw_reply_read(struct raw_reply *reply, struct raw_call *call)
{
    *reply = (struct raw_reply){.code = call->code};
    snprintf(reply->message, sizeof reply->message, "%.*s", (int)GRPC_SLICE_LENGTH(call->details),
             (const char *)GRPC_SLICE_START_PTR(call->details));
    for (size_t i = 0; i < call->trailers.count; i++) {
        if (grpc_slice_str_cmp(call->trailers.metadata[i].key, "grpc-status-details-bin") == 0)
            read_details(reply, call->trailers.metadata[i].value);
    }
    if (call->response == NULL)
        return;
    grpc_byte_buffer_reader reader;
    CHECK(grpc_byte_buffer_reader_init(&reader, call->response));
    grpc_slice slice = grpc_byte_buffer_reader_readall(&reader);
    reply->has_body = true;
    reply->body_size = GRPC_SLICE_LENGTH(slice);
    reply->body = malloc(reply->body_size + 1);
    CHECK(reply->body != NULL);
    memcpy(reply->body, GRPC_SLICE_START_PTR(slice), reply->body_size);
    grpc_slice_unref(slice);
    grpc_byte_buffer_reader_destroy(&reader);
}

static inline void raw_reply_clear(struct raw_reply *reply)
{
    free(reply->body);
    reply->body = NULL;
}

static inline void raw_call_free(struct raw_call *call)
{
    grpc_metadata_array_destroy(&call->headers);
    grpc_metadata_array_destroy(&call->trailers);
    grpc_slice_unref(call->details);
    grpc_byte_buffer_destroy(call->request);
    grpc_byte_buffer_destroy(call->response);
    grpc_call_unref(call->call);
    free(call);
}

/* The next call that is done; NULL after `ms`. */
static inline struct raw_call *raw_next(struct raw_client *client, uint64_t ms)
{
    grpc_event event = grpc_completion_queue_next(client->queue, in_ms(ms), NULL);
    return event.type == GRPC_OP_COMPLETE ? event.tag : NULL;
}

static inline struct raw_reply raw_unary(struct raw_client *client, const char *method,
                                         const struct bytes *request, uint64_t deadline_ms)
{
    struct raw_call *started = raw_start(client, method, request, deadline_ms);
    struct raw_call *call = raw_next(client, 30000);
    CHECK(call == started);
    struct raw_reply reply;
    raw_reply_read(&reply, call);
    raw_call_free(call);
    return reply;
}

/* Packs into malloc memory that the caller frees. */
static inline struct bytes raw_pack(const ProtobufCMessage *message)
{
    size_t size = protobuf_c_message_get_packed_size(message);
    uint8_t *data = malloc(size + 1);
    CHECK(data != NULL);
    protobuf_c_message_pack(message, data);
    return bytes_of(data, size);
}

static inline struct raw_reply raw_message(struct raw_client *client, const char *method,
                                           const ProtobufCMessage *message, uint64_t deadline_ms)
{
    struct bytes request = raw_pack(message);
    struct raw_reply reply = raw_unary(client, method, &request, deadline_ms);
    free((void *)(uintptr_t)request.data);
    return reply;
}

#endif
