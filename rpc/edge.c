#include "rpc/edge.h"

#include "base/check.h"
#include "model/limits.h"
#include "rpc/answer.h"

#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/support/time.h>
#include <stdlib.h>

#define REFUSALS_MAX 512u /* calls beyond requests_max that are being told so */

/* A handle: generation, item, index. */
#define INDEX_BITS 16u
#define ITEM_BITS  10u
static_assert(BATCH_ITEMS_MAX <= 1u << ITEM_BITS, "an item fits a handle");
#define GENERATION_MASK (UINT64_MAX >> (INDEX_BITS + ITEM_BITS))

/* The answer should reach the client before its own deadline ends the call. */
#define MARGIN_NS_MAX 25000000ull
#define MARGIN_PART   8u
#define UNREAD_LIMIT_NS                                                                            \
    30000000000ull /* how long a finished call may wait for its client to read */

static void on_new(struct rpc_event *event, bool ok);
static void on_answer(struct rpc_event *event, bool ok);

/* -- the pool ---------------------------------------------------------------------------------- */

static void pool_put(struct call *call)
{
    struct edge_queue *queue = &call->edge->queues[call->queue];
    pthread_mutex_lock(&queue->lock);
    call->next = queue->pool;
    queue->pool = call;
    pthread_mutex_unlock(&queue->lock);
    /* Last: whoever drains frees the pool when this count is zero. */
    atomic_fetch_sub(&call->edge->live, 1);
}

static struct call *pool_take(struct edge *edge, uint32_t index)
{
    struct edge_queue *queue = &edge->queues[index];
    pthread_mutex_lock(&queue->lock);
    struct call *call = queue->pool;
    if (call != NULL) {
        queue->pool = call->next;
        atomic_fetch_add(&edge->live, 1);
    }
    pthread_mutex_unlock(&queue->lock);
    return call;
}

static void call_arm(struct call *call, const struct method *method, void *registered)
{
    struct edge *edge = call->edge;
    grpc_completion_queue *queue = edge->queues[call->queue].queue;
    call->method = method;
    call->registered = registered;
    call->state = CALL_ARMED;
    call->rearm = false;
    call->metadata.count = 0;
    grpc_call_error error;
    if (method->path == NULL)
        error = grpc_server_request_call(edge->server, &call->call, &call->details, &call->metadata,
                                         queue, queue, &call->on_new);
    else
        error = grpc_server_request_registered_call(edge->server, registered, &call->call,
                                                    &call->deadline, &call->metadata,
                                                    &call->payload, queue, queue, &call->on_new);
    CHECK_U64(error, ==, GRPC_CALL_OK);
}

static void credits_return(struct call *call)
{
    if (call->credits != 0)
        atomic_fetch_sub(&call->edge->in_flight, call->credits);
    call->credits = 0;
}

/* No tag of the call is with gRPC and nobody else will touch it. */
static void call_release(struct call *call)
{
    /* First: from here neither a late answer nor the sweep sees anything of it. */
    pthread_mutex_lock(&call->lock);
    call->state = CALL_POOLED;
    call->generation = (call->generation + 1) & GENERATION_MASK;
    pthread_mutex_unlock(&call->lock);
    if (call->call != NULL)
        grpc_call_unref(call->call);
    grpc_byte_buffer_destroy(call->payload);
    grpc_byte_buffer_destroy(call->response);
    grpc_slice_unref(call->status_message);
    grpc_slice_unref(call->trailer.value);
    if (call->method->path == NULL) {
        grpc_call_details_destroy(&call->details);
        grpc_call_details_init(&call->details);
    }
    batch_free(call->batch);
    credits_return(call);
    call->call = NULL;
    call->payload = NULL;
    call->response = NULL;
    call->status_message = grpc_empty_slice();
    call->trailer.value = grpc_empty_slice();
    call->batch = NULL;
    call->overdue = false;
    if (call->rearm && !atomic_load(&call->edge->closing))
        call_arm(call, call->method, call->registered);
    else
        pool_put(call);
}

/* -- waiting ----------------------------------------------------------------------------------- */

static uint64_t handle_of(const struct call *call, uint32_t item)
{
    CHECK_U64(item, <, 1u << ITEM_BITS);
    return call->generation << (INDEX_BITS + ITEM_BITS) | (uint64_t)item << INDEX_BITS |
           call->index;
}

static uint8_t next_coordinator(struct call *call)
{
    uint32_t count = runtime_coordinators(call->edge->options->runtime);
    struct edge_queue *queue = &call->edge->queues[call->queue];
    uint32_t chosen = queue->next_coordinator < count ? queue->next_coordinator : call->queue;
    queue->next_coordinator = chosen + call->edge->queue_count;
    return (uint8_t)(chosen % count);
}

void call_address(struct call *call, const struct view *view, uint32_t item, enum actor_kind to,
                  struct message *message)
{
    message->from = (struct actor_id){.node = view->self, .kind = ACTOR_EDGE};
    message->to = (struct actor_id){.node = view->self, .kind = to};
    if (to == ACTOR_COORDINATOR)
        message->to.index = next_coordinator(call);
    message->id = handle_of(call, item);
    message->deadline_ns = call->deadline_ns;
    message->epoch = view->topology.epoch;
}

/* False: refused, and answered already. Consumes the batch. */
static bool call_wait(struct call *call, uint32_t credits, uint32_t expected, struct batch *batch)
{
    struct edge *edge = call->edge;
    CHECK_U64(call->state, ==, CALL_HANDLING);
    CHECK_U64(expected, >, 0);
    uint32_t max = edge->options->requests_max;
    if (atomic_load_explicit(&edge->closed, memory_order_relaxed)) {
        batch_free(batch);
        struct status status;
        status_set(&status, GRPC_STATUS_UNAVAILABLE, "UNAVAILABLE",
                   "this node has just been created and asks the others who it is");
        call_fail(call, &status);
        return false;
    }
    if (credits > max)
        credits = max;
    if (atomic_fetch_add(&edge->in_flight, credits) + credits > max) {
        atomic_fetch_sub(&edge->in_flight, credits);
        atomic_fetch_add(&edge->refused, 1);
        batch_free(batch);
        struct status status;
        status_overloaded(&status, 0, "too many requests in flight at this node");
        call_fail(call, &status);
        return false;
    }
    call->credits = credits;
    call->expected = expected;
    call->batch = batch;
    pthread_mutex_lock(&call->lock);
    call->state = CALL_WAITING;
    pthread_mutex_unlock(&call->lock);
    return true;
}

static void post(struct edge *edge, struct message *message, enum message_kind done_kind)
{
    uint64_t client = message->id;
    if (!rpc_loop_post(edge->options->loop, message))
        edge_deliver(edge, answer_new_refusal(done_kind, client));
}

void call_ask(struct call *call, uint32_t credits, struct message *list,
              enum message_kind done_kind, struct batch *batch)
{
    struct edge *edge = call->edge;
    uint32_t count = 0;
    for (const struct message *message = list; message != NULL; message = message->next)
        count++;
    if (count == 0) {
        call->batch = batch;
        call->method->batch_answer(call);
        return;
    }
    bool waits = call_wait(call, credits, count, batch);
    while (list != NULL) {
        struct message *message = list;
        list = message->next;
        message->next = NULL;
        if (waits)
            post(edge, message, done_kind);
        else
            message_free(message);
    }
}

void call_ask_again(struct call *call, struct message *message, enum message_kind done_kind)
{
    struct edge *edge = call->edge;
    CHECK_U64(call->state, ==, CALL_ANSWERING);
    batch_free(call->batch);
    call->batch = NULL;
    call->credits = 1;
    call->expected = 1;
    atomic_fetch_add(&edge->in_flight, 1);
    pthread_mutex_lock(&call->lock);
    call->state = CALL_WAITING;
    pthread_mutex_unlock(&call->lock);
    post(edge, message, done_kind);
}

/* -- answers ----------------------------------------------------------------------------------- */

uint32_t edge_queue_of(const struct edge *edge, const struct message *answer)
{
    uint32_t index = (uint32_t)(answer_client(answer) & ((1u << INDEX_BITS) - 1));
    CHECK_U64(index, <, edge->call_count);
    return edge->calls[index].queue;
}

void edge_deliver(struct edge *edge, struct message *answer)
{
    uint64_t client = answer_client(answer);
    uint32_t index = (uint32_t)(client & ((1u << INDEX_BITS) - 1));
    uint32_t item = (uint32_t)(client >> INDEX_BITS) & ((1u << ITEM_BITS) - 1);
    CHECK_U64(index, <, edge->call_count);
    struct call *call = &edge->calls[index];
    pthread_mutex_lock(&call->lock);
    bool waited_for =
        call->generation == client >> (INDEX_BITS + ITEM_BITS) && call->state == CALL_WAITING;
    if (waited_for && call->batch != NULL)
        waited_for = batch_keep(call->batch, item, answer);
    if (!waited_for) {
        pthread_mutex_unlock(&call->lock);
        atomic_fetch_add(&edge->late, 1);
        message_free(answer);
        return;
    }
    bool last = --call->expected == 0;
    if (last)
        call->state = CALL_ANSWERING;
    bool batch = call->batch != NULL;
    pthread_mutex_unlock(&call->lock);
    if (last) {
        credits_return(call);
        if (batch)
            call->method->batch_answer(call);
        else
            call->method->answer(call, answer);
    }
}

/* -- events ------------------------------------------------------------------------------------ */

static uint64_t deadline_of(const struct call *call)
{
    uint64_t left_ns = DEADLINE_DEFAULT_MS * 1000000ull;
    gpr_timespec future = gpr_inf_future(call->deadline.clock_type);
    if (gpr_time_cmp(call->deadline, future) != 0) {
        gpr_timespec left = gpr_time_sub(call->deadline, gpr_now(GPR_CLOCK_MONOTONIC));
        if (left.tv_sec < 0)
            left_ns = 0;
        else if (left.tv_sec >= (int64_t)(DEADLINE_MAX_MS / 1000))
            left_ns = DEADLINE_MAX_MS * 1000000ull;
        else
            left_ns = (uint64_t)left.tv_sec * UINT64_C(1000000000) + (uint64_t)left.tv_nsec;
    }
    uint64_t margin_ns = left_ns / MARGIN_PART;
    return call->arrived_ns + left_ns - (margin_ns < MARGIN_NS_MAX ? margin_ns : MARGIN_NS_MAX);
}

static void call_handle_request(struct call *call)
{
    if (call->method->path == NULL) {
        call->method->handle(call, bytes_of(NULL, 0));
        return;
    }
    grpc_byte_buffer_reader reader;
    struct status status;
    if (call->payload == NULL || !grpc_byte_buffer_reader_init(&reader, call->payload)) {
        status_invalid(&status, "request", "%s",
                       call->payload == NULL ? "the call carries no message"
                                             : "the message cannot be decompressed");
        call_fail(call, &status);
        return;
    }
    grpc_slice *first = NULL;
    grpc_slice whole = grpc_empty_slice();
    struct bytes payload = {0};
    if (grpc_byte_buffer_reader_peek(&reader, &first)) {
        payload = bytes_of(GRPC_SLICE_START_PTR(*first), GRPC_SLICE_LENGTH(*first));
        if (payload.size != grpc_byte_buffer_length(reader.buffer_out)) {
            grpc_byte_buffer_reader_destroy(&reader);
            CHECK(grpc_byte_buffer_reader_init(&reader, call->payload));
            whole = grpc_byte_buffer_reader_readall(&reader);
            payload = bytes_of(GRPC_SLICE_START_PTR(whole), GRPC_SLICE_LENGTH(whole));
        }
    }
    /* handle() may end the call on another thread: what is needed after it is not the call's. */
    grpc_byte_buffer *buffer = call->payload;
    call->payload = NULL;
    call->method->handle(call, payload);
    grpc_slice_unref(whole);
    grpc_byte_buffer_reader_destroy(&reader);
    grpc_byte_buffer_destroy(buffer);
}

static void on_new(struct rpc_event *event, bool ok)
{
    struct call *call = CONTAINER_OF(event, struct call, on_new);
    if (!ok) { /* the server shuts down */
        call->rearm = false;
        call_release(call);
        return;
    }
    call->arrived_ns = runtime_now_ns();
    call->state = CALL_HANDLING;
    call->lww = false;
    struct call *next = pool_take(call->edge, call->queue);
    if (next != NULL)
        call_arm(next, call->method, call->registered);
    call->rearm = next == NULL;
    call->deadline_ns = deadline_of(call);
    call_handle_request(call);
}

static void on_answer(struct rpc_event *event, bool ok)
{
    (void)ok; /* not sent: the client is gone, nothing else to do */
    call_release(CONTAINER_OF(event, struct call, on_answer));
}

/* -- overdue ----------------------------------------------------------------------------------- */

static void call_give_up(struct call *call)
{
    struct status status;
    status_set(&status, GRPC_STATUS_DEADLINE_EXCEEDED,
               call->method->write ? "OUTCOME_UNKNOWN" : "DEADLINE_EXCEEDED",
               "the deadline passed without an answer");
    status.outcome = call->method->write ? "UNKNOWN" : NULL;
    call_fail(call, &status);
}

static void call_sweep(struct call *call, uint64_t now_ns, uint64_t late_ns)
{
    bool give_up = false;
    pthread_mutex_lock(&call->lock);
    enum call_state state = call->state;
    if (state == CALL_WAITING) {
        give_up = late_ns == 0 || now_ns > call->deadline_ns + late_ns;
        if (give_up)
            call->state = CALL_ANSWERING; /* ours alone from here */
    } else if (state == CALL_ANSWERING && call->call != NULL && !call->overdue &&
               now_ns > call->deadline_ns + UNREAD_LIMIT_NS) {
        call->overdue = true;
        grpc_call_cancel(call->call, NULL);
    }
    pthread_mutex_unlock(&call->lock);
    if (!give_up)
        return;
    atomic_fetch_add(&call->edge->lost, 1);
    credits_return(call);
    call_give_up(call);
}

void edge_sweep(struct edge *edge, uint64_t late_ns)
{
    uint64_t now_ns = runtime_now_ns();
    for (uint32_t i = 0; i < edge->call_count; i++)
        call_sweep(&edge->calls[i], now_ns, late_ns);
}

/* -- life -------------------------------------------------------------------------------------- */

static void call_init(struct call *call, struct edge *edge, uint32_t index)
{
    call->on_new.done = on_new;
    call->on_answer.done = on_answer;
    call->edge = edge;
    call->index = index;
    call->queue = index % edge->queue_count;
    call->state = CALL_POOLED;
    call->status_message = grpc_empty_slice();
    call->trailer.key = grpc_slice_from_static_string(STATUS_DETAILS_KEY);
    call->trailer.value = grpc_empty_slice();
    CHECK(pthread_mutex_init(&call->lock, NULL) == 0);
    grpc_metadata_array_init(&call->metadata);
    grpc_call_details_init(&call->details);
}

void edge_init(struct edge *edge, const struct rpc_server_options *options, grpc_server *server,
               const struct method *methods, size_t method_count)
{
    memset(edge, 0, sizeof *edge);
    edge->options = options;
    atomic_store(&edge->closed, options->closed_at_first);
    edge->server = server;
    edge->queue_count = rpc_loop_count(options->loop);
    edge->queues = calloc(edge->queue_count, sizeof *edge->queues);
    CHECK(edge->queues != NULL);
    for (uint32_t i = 0; i < edge->queue_count; i++) {
        edge->queues[i].queue = rpc_loop_queue(options->loop, i);
        edge->queues[i].next_coordinator = i;
        CHECK(pthread_mutex_init(&edge->queues[i].lock, NULL) == 0);
    }
    for (size_t i = 0; i < method_count; i++)
        edge->armed_count += methods[i].armed_count * edge->queue_count;
    edge->call_count = options->requests_max + REFUSALS_MAX + edge->armed_count;
    CHECK_U64(edge->call_count, <=, 1u << INDEX_BITS);
    edge->calls = calloc(edge->call_count, sizeof *edge->calls);
    CHECK(edge->calls != NULL);
    for (uint32_t i = 0; i < edge->call_count; i++) {
        struct call *call = &edge->calls[i];
        call_init(call, edge, i);
        call->next = edge->queues[call->queue].pool;
        edge->queues[call->queue].pool = call;
    }
}

void edge_arm(struct edge *edge, const struct method *methods, void *const *registered,
              size_t method_count)
{
    for (uint32_t queue = 0; queue < edge->queue_count; queue++) {
        for (size_t i = 0; i < method_count; i++) {
            for (uint32_t j = 0; j < methods[i].armed_count; j++) {
                struct call *call = pool_take(edge, queue);
                CHECK(call != NULL);
                call_arm(call, &methods[i], registered[i]);
            }
        }
    }
}

void edge_deinit(struct edge *edge)
{
    CHECK_U64(atomic_load(&edge->live), ==, 0);
    for (uint32_t i = 0; i < edge->call_count; i++) {
        struct call *call = &edge->calls[i];
        grpc_metadata_array_destroy(&call->metadata);
        grpc_call_details_destroy(&call->details);
        pthread_mutex_destroy(&call->lock);
    }
    for (uint32_t i = 0; i < edge->queue_count; i++)
        pthread_mutex_destroy(&edge->queues[i].lock);
    free(edge->calls);
    free(edge->queues);
}
