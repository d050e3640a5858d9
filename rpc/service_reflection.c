#include "rpc/service_reflection.h"

#include "base/check.h"
#include "grpc/reflection/v1/reflection.pb-c.h"
#include "rpc/descriptors.h"
#include "rpc/stream.h"

#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <stdlib.h>

#define ARMED_COUNT       2u /* of each version */
#define REFUSED_MAX       16u
#define SLOTS_MAX         (REFLECTION_STREAMS_MAX + 2 * ARMED_COUNT + REFUSED_MAX)
#define REQUEST_BYTES_MAX (16u * 1024)

/* v1 and v1alpha are the same bytes under two names. */
#define VERSIONS 2u
static const char *const paths[VERSIONS] = {
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
};

typedef Grpc__Reflection__V1__ServerReflectionRequest reflection_request;
typedef Grpc__Reflection__V1__ServerReflectionResponse reflection_response;

/* One stream: reads a request, sends its response, reads the next. */
struct stream {
    struct rpc_event on_new;
    struct rpc_event on_close;
    struct rpc_event on_receive;
    struct rpc_event on_send;
    struct reflection *reflection;
    uint32_t queue;
    uint32_t version;
    bool used;
    bool running;
    bool reading;
    bool sending;
    bool headers_sent;
    bool finished; /* our status is on its way, or the call is over */
    uint32_t tags;
    grpc_call *call;
    gpr_timespec deadline;
    grpc_metadata_array metadata;
    grpc_byte_buffer *received;
    grpc_byte_buffer *sent;
    int cancelled;
};

struct reflection {
    struct edge *edge;
    struct descriptors descriptors;
    pthread_mutex_t lock; /* all below */
    bool draining;
    uint32_t live;
    uint32_t running;
    uint32_t armed[VERSIONS];
    void *registered[VERSIONS];
    struct stream streams[SLOTS_MAX];
};

/* -- responses --------------------------------------------------------------------------------- */

/* What a response is built of; lives until it is packed. */
struct answer {
    Grpc__Reflection__V1__FileDescriptorResponse files;
    Grpc__Reflection__V1__ListServiceResponse services;
    Grpc__Reflection__V1__ErrorResponse error;
    ProtobufCBinaryData file_bytes[DESCRIPTOR_FILES_MAX];
    Grpc__Reflection__V1__ServiceResponse service[DESCRIPTOR_SERVICES_MAX];
    Grpc__Reflection__V1__ServiceResponse *service_list[DESCRIPTOR_SERVICES_MAX];
};

static void answer_error(struct answer *answer, reflection_response *response, int code,
                         const char *message)
{
    grpc__reflection__v1__error_response__init(&answer->error);
    answer->error.error_code = code;
    answer->error.error_message = (char *)(uintptr_t)message;
    response->message_response_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_ERROR_RESPONSE;
    response->error_response = &answer->error;
}

static void answer_file(const struct descriptors *descriptors, struct answer *answer,
                        reflection_response *response, int file)
{
    if (file < 0) {
        answer_error(answer, response, GRPC_STATUS_NOT_FOUND, "not found");
        return;
    }
    grpc__reflection__v1__file_descriptor_response__init(&answer->files);
    answer->files.file_descriptor_proto = answer->file_bytes;
    uint64_t closure = descriptors_closure(descriptors, file);
    for (uint32_t i = 0; i < descriptors->file_count; i++) {
        if (closure & 1ull << i)
            answer->file_bytes[answer->files.n_file_descriptor_proto++] =
                binary_of_bytes(descriptors->files[i].bytes);
    }
    response->message_response_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_FILE_DESCRIPTOR_RESPONSE;
    response->file_descriptor_response = &answer->files;
}

static void answer_services(const struct descriptors *descriptors, struct answer *answer,
                            reflection_response *response)
{
    grpc__reflection__v1__list_service_response__init(&answer->services);
    answer->services.n_service = descriptors->service_count;
    answer->services.service = answer->service_list;
    for (uint32_t i = 0; i < descriptors->service_count; i++) {
        grpc__reflection__v1__service_response__init(&answer->service[i]);
        answer->service[i].name = (char *)(uintptr_t)descriptors->services[i];
        answer->service_list[i] = &answer->service[i];
    }
    response->message_response_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_LIST_SERVICES_RESPONSE;
    response->list_services_response = &answer->services;
}

static grpc_byte_buffer *respond(const struct descriptors *descriptors, reflection_request *request)
{
    struct answer answer;
    reflection_response response = GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__INIT;
    response.valid_host = request->host;
    response.original_request = request;
    switch (request->message_request_case) {
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_BY_FILENAME:
        answer_file(descriptors, &answer, &response,
                    descriptors_find_file(descriptors, bytes_of_string(request->file_by_filename)));
        break;
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_SYMBOL:
        answer_file(
            descriptors, &answer, &response,
            descriptors_find_symbol(descriptors, bytes_of_string(request->file_containing_symbol)));
        break;
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_LIST_SERVICES:
        answer_services(descriptors, &answer, &response);
        break;
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_EXTENSION:
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_ALL_EXTENSION_NUMBERS_OF_TYPE:
        answer_error(&answer, &response, GRPC_STATUS_NOT_FOUND, "there are no extensions");
        break;
    default:
        answer_error(&answer, &response, GRPC_STATUS_INVALID_ARGUMENT, "nothing is asked for");
    }
    return buffer_of_message(&response.base);
}

/* -- streams ----------------------------------------------------------------------------------- */

static void stream_batch(struct stream *stream, const grpc_op *ops, size_t count,
                         struct rpc_event *tag)
{
    stream->tags++;
    grpc_call_error error = grpc_call_start_batch(stream->call, ops, count, tag, NULL);
    CHECK_U64(error, ==, GRPC_CALL_OK);
}

static void stream_receive(struct stream *stream)
{
    if (stream->finished || stream->reading)
        return;
    stream->reading = true;
    grpc_op op;
    memset(&op, 0, sizeof op);
    op.op = GRPC_OP_RECV_MESSAGE;
    op.data.recv_message.recv_message = &stream->received;
    stream_batch(stream, &op, 1, &stream->on_receive);
}

static void stream_send(struct stream *stream, grpc_byte_buffer *response)
{
    CHECK(!stream->sending);
    stream->sending = true;
    stream->sent = response;
    stream->tags++;
    stream_send_message(stream->call, &stream->headers_sent, response, &stream->on_send);
}

static void stream_finish(struct stream *stream, grpc_status_code code, const char *message)
{
    if (stream->finished || stream->sending)
        return;
    stream->finished = true;
    stream->sending = true;
    grpc_slice details = grpc_slice_from_static_string(message);
    stream->tags++;
    stream_send_status(stream->call, &stream->headers_sent, code, &details, &stream->on_send);
}

static void stream_arm(struct reflection *reflection, uint32_t version, uint32_t queue)
{
    struct stream *stream = NULL;
    for (size_t i = 0; i < SLOTS_MAX && stream == NULL; i++) {
        if (!reflection->streams[i].used)
            stream = &reflection->streams[i];
    }
    if (stream == NULL || reflection->draining)
        return;
    *stream = (struct stream){.on_new = stream->on_new,
                              .on_close = stream->on_close,
                              .on_receive = stream->on_receive,
                              .on_send = stream->on_send,
                              .reflection = reflection,
                              .queue = queue,
                              .version = version,
                              .used = true,
                              .tags = 1};
    grpc_metadata_array_init(&stream->metadata);
    reflection->live++;
    reflection->armed[version]++;
    grpc_completion_queue *completion = reflection->edge->queues[queue].queue;
    grpc_call_error error = grpc_server_request_registered_call(
        reflection->edge->server, reflection->registered[version], &stream->call, &stream->deadline,
        &stream->metadata, NULL, completion, completion, &stream->on_new);
    CHECK_U64(error, ==, GRPC_CALL_OK);
}

/* A tag is back; with the last one the slot is free. Arms what the full table could not. */
static void stream_put(struct stream *stream)
{
    CHECK_U64(stream->tags, >, 0);
    if (--stream->tags != 0)
        return;
    struct reflection *reflection = stream->reflection;
    if (stream->call != NULL)
        grpc_call_unref(stream->call);
    grpc_byte_buffer_destroy(stream->received);
    grpc_byte_buffer_destroy(stream->sent);
    grpc_metadata_array_destroy(&stream->metadata);
    reflection->running -= stream->running;
    reflection->live--;
    stream->used = false;
    uint32_t queue = stream->queue;
    for (uint32_t version = 0; version < VERSIONS; version++) {
        if (reflection->armed[version] < ARMED_COUNT)
            stream_arm(reflection, version, queue);
    }
}

static void stream_on_new(struct rpc_event *event, bool ok)
{
    struct stream *stream = CONTAINER_OF(event, struct stream, on_new);
    struct reflection *reflection = stream->reflection;
    pthread_mutex_lock(&reflection->lock);
    reflection->armed[stream->version]--;
    if (ok) {
        stream_arm(reflection, stream->version, stream->queue);
        grpc_op op;
        memset(&op, 0, sizeof op);
        op.op = GRPC_OP_RECV_CLOSE_ON_SERVER;
        op.data.recv_close_on_server.cancelled = &stream->cancelled;
        stream_batch(stream, &op, 1, &stream->on_close);
        if (reflection->draining) {
            stream_finish(stream, GRPC_STATUS_UNAVAILABLE, "the server shuts down");
        } else if (reflection->running == REFLECTION_STREAMS_MAX) {
            stream_finish(stream, GRPC_STATUS_RESOURCE_EXHAUSTED, "too many reflection streams");
        } else {
            stream->running = true;
            reflection->running++;
            stream_receive(stream);
        }
    }
    stream_put(stream);
    pthread_mutex_unlock(&reflection->lock);
}

static void stream_on_close(struct rpc_event *event, bool ok)
{
    (void)ok;
    struct stream *stream = CONTAINER_OF(event, struct stream, on_close);
    struct reflection *reflection = stream->reflection;
    pthread_mutex_lock(&reflection->lock);
    stream->finished = true;
    stream_put(stream);
    pthread_mutex_unlock(&reflection->lock);
}

static void stream_serve(struct stream *stream)
{
    uint8_t memory[2048];
    struct arena arena;
    arena_init(&arena, memory, sizeof memory);
    grpc_byte_buffer_reader reader;
    struct status status;
    if (grpc_byte_buffer_length(stream->received) > REQUEST_BYTES_MAX ||
        !grpc_byte_buffer_reader_init(&reader, stream->received)) {
        stream_finish(stream, GRPC_STATUS_INVALID_ARGUMENT, "request: over 16384 bytes");
    } else {
        grpc_slice whole = grpc_byte_buffer_reader_readall(&reader);
        reflection_request *request = (reflection_request *)decode(
            &arena, bytes_of(GRPC_SLICE_START_PTR(whole), GRPC_SLICE_LENGTH(whole)),
            &grpc__reflection__v1__server_reflection_request__descriptor, &status);
        if (request == NULL)
            stream_finish(stream, GRPC_STATUS_INVALID_ARGUMENT,
                          "request: not a ServerReflectionRequest");
        else
            stream_send(stream, respond(&stream->reflection->descriptors, request));
        grpc_slice_unref(whole);
        grpc_byte_buffer_reader_destroy(&reader);
    }
    arena_deinit(&arena);
}

static void stream_on_receive(struct rpc_event *event, bool ok)
{
    struct stream *stream = CONTAINER_OF(event, struct stream, on_receive);
    struct reflection *reflection = stream->reflection;
    pthread_mutex_lock(&reflection->lock);
    stream->reading = false;
    if (!stream->finished) {
        if (!ok || stream->received == NULL)
            stream_finish(stream, GRPC_STATUS_OK, "");
        else
            stream_serve(stream);
    }
    grpc_byte_buffer_destroy(stream->received);
    stream->received = NULL;
    stream_put(stream);
    pthread_mutex_unlock(&reflection->lock);
}

static void stream_on_send(struct rpc_event *event, bool ok)
{
    struct stream *stream = CONTAINER_OF(event, struct stream, on_send);
    struct reflection *reflection = stream->reflection;
    pthread_mutex_lock(&reflection->lock);
    stream->sending = false;
    grpc_byte_buffer_destroy(stream->sent);
    stream->sent = NULL;
    if (!ok)
        stream->finished = true;
    if (reflection->draining)
        stream_finish(stream, GRPC_STATUS_UNAVAILABLE, "the server shuts down");
    stream_receive(stream);
    stream_put(stream);
    pthread_mutex_unlock(&reflection->lock);
}

/* -- life -------------------------------------------------------------------------------------- */

struct reflection *reflection_new(struct edge *edge)
{
    struct reflection *reflection = calloc(1, sizeof *reflection);
    CHECK(reflection != NULL);
    reflection->edge = edge;
    descriptors_init(&reflection->descriptors);
    CHECK(pthread_mutex_init(&reflection->lock, NULL) == 0);
    for (size_t i = 0; i < SLOTS_MAX; i++) {
        reflection->streams[i].on_new.done = stream_on_new;
        reflection->streams[i].on_close.done = stream_on_close;
        reflection->streams[i].on_receive.done = stream_on_receive;
        reflection->streams[i].on_send.done = stream_on_send;
    }
    return reflection;
}

void reflection_register(struct reflection *reflection)
{
    for (uint32_t version = 0; version < VERSIONS; version++)
        reflection->registered[version] = grpc_server_register_method(
            reflection->edge->server, paths[version], NULL, GRPC_SRM_PAYLOAD_NONE, 0);
}

void reflection_arm(struct reflection *reflection)
{
    pthread_mutex_lock(&reflection->lock);
    for (uint32_t version = 0; version < VERSIONS; version++) {
        for (uint32_t i = 0; i < ARMED_COUNT; i++)
            stream_arm(reflection, version, i % reflection->edge->queue_count);
    }
    pthread_mutex_unlock(&reflection->lock);
}

void reflection_drain(struct reflection *reflection)
{
    pthread_mutex_lock(&reflection->lock);
    reflection->draining = true;
    for (size_t i = 0; i < SLOTS_MAX; i++) {
        struct stream *stream = &reflection->streams[i];
        if (stream->used && stream->running)
            stream_finish(stream, GRPC_STATUS_UNAVAILABLE, "the server shuts down");
    }
    pthread_mutex_unlock(&reflection->lock);
}

uint32_t reflection_live(const struct reflection *reflection)
{
    struct reflection *mutable = (struct reflection *)(uintptr_t)reflection;
    pthread_mutex_lock(&mutable->lock);
    uint32_t live = mutable->live;
    pthread_mutex_unlock(&mutable->lock);
    return live;
}

void reflection_free(struct reflection *reflection)
{
    CHECK_U64(reflection->live, ==, 0);
    pthread_mutex_destroy(&reflection->lock);
    free(reflection);
}
