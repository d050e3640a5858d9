#include "rpc/peer_link.h"
#include "rpc/peer_unknown.h"
#include "rpc/stream.h"

#include "actors/actor.h"
#include "base/check.h"

#include <stdio.h>
#include <stdlib.h>

#define NS_PER_MS       UINT64_C(1000000)
#define SLOTS_PER_QUEUE 4u

/*
 *             call           hello admitted            row durable    a frame that is none,
 *    ARMED ---------> HELLO ----------------> RECORDING ------> OPEN --- a newer stream --+
 *      | shutdown       | refused, malformed      | peer is gone | peer is gone           |
 *      v                v                         v              v                        v
 *    (freed)         ENDING <---------------------+--------------+------------------------+
 *                       | last tag
 *                       v
 *                    (freed)
 *
 * A stream's tags all come to one queue and so to one thread: only `call`, `link` and the list are
 * shared with the tick, under rpc_peers.lock.
 */
enum incoming_state {
    INCOMING_ARMED,
    INCOMING_HELLO,
    INCOMING_RECORDING,
    INCOMING_OPEN,
    INCOMING_ENDING
};

struct incoming {
    struct rpc_event on_call;
    struct rpc_event on_close;
    struct rpc_event on_sent;
    struct rpc_event on_received;
    struct rpc_event on_recorded;
    struct row_wait wait;
    struct rpc_peers *peers;
    struct incoming *next;
    struct incoming *previous;
    grpc_completion_queue *queue;
    enum incoming_state state;
    uint32_t tags;
    bool sending;
    grpc_call *call;
    gpr_timespec deadline;
    grpc_metadata_array metadata;
    int cancelled;
    grpc_byte_buffer *in;
    grpc_byte_buffer *out;
    bool headers_sent;
    bool asked;     /* by a hello on the open stream; answered when nothing else is on its way */
    bool finishing; /* a status is to be sent as soon as nothing else is on its way */
    grpc_status_code status;
    grpc_slice details;
    struct link *link; /* once admitted */
    uint64_t nonce;    /* of who has said hello */
    uint64_t since_ns;
};

static void slot_arm(struct rpc_peers *peers, grpc_completion_queue *queue);

static void batch_start(struct incoming *incoming, const grpc_op *ops, size_t count,
                        struct rpc_event *event)
{
    incoming->tags++;
    grpc_call_error error = grpc_call_start_batch(incoming->call, ops, count, event, NULL);
    CHECK_U64(error, ==, GRPC_CALL_OK);
}

static void list_add(struct incoming *incoming)
{
    struct rpc_peers *peers = incoming->peers;
    pthread_mutex_lock(&peers->lock);
    incoming->next = peers->incoming;
    if (peers->incoming != NULL)
        peers->incoming->previous = incoming;
    peers->incoming = incoming;
    peers->incoming_count++;
    pthread_mutex_unlock(&peers->lock);
}

static void list_remove(struct incoming *incoming)
{
    struct rpc_peers *peers = incoming->peers;
    pthread_mutex_lock(&peers->lock);
    if (incoming->previous != NULL)
        incoming->previous->next = incoming->next;
    else
        peers->incoming = incoming->next;
    if (incoming->next != NULL)
        incoming->next->previous = incoming->previous;
    peers->incoming_count--;
    pthread_mutex_unlock(&peers->lock);
}

static void incoming_free(struct incoming *incoming)
{
    struct rpc_peers *peers = incoming->peers;
    if (incoming->call != NULL) {
        list_remove(incoming);
        if (incoming->link != NULL)
            peers_leave(peers, incoming->link, true);
        grpc_call_unref(incoming->call);
    }
    grpc_metadata_array_destroy(&incoming->metadata);
    grpc_slice_unref(incoming->details);
    free(incoming);
    peers_live_drop(peers);
}

static void tag_done(struct incoming *incoming)
{
    CHECK_U64(incoming->tags, >, 0);
    if (--incoming->tags == 0)
        incoming_free(incoming);
}

/* -- ending
 * -----------------------------------------------------------------------------------------------
 */

static void status_send(struct incoming *incoming)
{
    incoming->sending = true;
    incoming->finishing = false;
    incoming->tags++;
    stream_send_status(incoming->call, &incoming->headers_sent, incoming->status,
                       &incoming->details, &incoming->on_sent);
}

static void incoming_finish(struct incoming *incoming, grpc_status_code status, const char *why)
{
    if (incoming->state == INCOMING_ENDING)
        return;
    incoming->state = INCOMING_ENDING;
    incoming->status = status;
    incoming->details = grpc_slice_from_copied_string(why);
    incoming->finishing = true;
    if (!incoming->sending)
        status_send(incoming);
}

static void incoming_malformed(struct incoming *incoming, const char *why)
{
    struct rpc_peers *peers = incoming->peers;
    uint32_t member = incoming->link == NULL ? MEMBER_NONE : incoming->link->member;
    atomic_fetch_add(&peers->malformed, 1);
    if (peers_may_log(peers, UINT64_MAX - member))
        log_write(peers->options.log, LOG_WARNING, "peer_malformed", "member=%u why=\"%s\"", member,
                  why);
    incoming_finish(incoming, GRPC_STATUS_INVALID_ARGUMENT, why);
}

static void on_close(struct rpc_event *event, bool ok)
{
    (void)ok;
    struct incoming *incoming = CONTAINER_OF(event, struct incoming, on_close);
    if (incoming->cancelled != 0)
        incoming->state = INCOMING_ENDING;
    tag_done(incoming);
}

/* -- what comes in
 * ------------------------------------------------------------------------------------------ */

/* The partition that a message is about is one of this cluster's. */
static bool partition_exists(const struct message *message, uint32_t partitions)
{
    uint32_t partition = message_partition(message);
    if (message->kind == MESSAGE_hint_store)
        partition = message->hint_store.write.partition;
    else if (message->kind == MESSAGE_reap_hints)
        partition = message->reap_hints.partition;
    return partition == UINT32_MAX || partition < partitions;
}

struct intake {
    struct incoming *incoming;
    uint64_t now_ns;
    uint64_t count;
};

static bool on_message(void *closure, struct bytes bytes)
{
    struct intake *intake = closure;
    struct incoming *incoming = intake->incoming;
    const struct rpc_peers_options *options = &incoming->peers->options;
    if (incoming->state != INCOMING_OPEN)
        return false; /* no hello yet */
    struct message *message =
        peer_message_decode(bytes, incoming->link->member, options->hello.member, intake->now_ns);
    if (message == NULL)
        return false;
    if (!partition_exists(message, options->hello.partitions)) {
        message_free(message);
        return false;
    }
    intake->count++;
    rpc_loop_post(options->loop, message); /* refused: counted by the mailbox */
    return true;
}

static void hello_send(struct incoming *incoming, const struct peer_hello *hello)
{
    incoming->out = peers_hello_buffer(hello);
    incoming->sending = true;
    incoming->tags++;
    stream_send_message(incoming->call, &incoming->headers_sent, incoming->out, &incoming->on_sent);
}

/* The row is durable. */
static void incoming_open(struct incoming *incoming)
{
    struct rpc_peers *peers = incoming->peers;
    struct link *link = incoming->link;
    atomic_fetch_add(&peers->accepted, 1);
    pthread_mutex_lock(&peers->lock);
    peer_serve_end(peers, link, incoming, "a newer stream took over");
    pthread_mutex_unlock(&peers->lock);
    incoming->state = INCOMING_OPEN;
    peer_link_poke(link);
    struct peer_hello mine = peers_hello(peers, link->member);
    hello_send(incoming, &mine);
}

static void on_recorded(struct rpc_event *event, bool ok)
{
    (void)ok;
    struct incoming *incoming = CONTAINER_OF(event, struct incoming, on_recorded);
    if (incoming->state == INCOMING_RECORDING) {
        if (peers_recorded(incoming->peers, incoming->link))
            incoming_open(incoming);
        else
            incoming_finish(incoming, GRPC_STATUS_UNAVAILABLE, "this node is closing");
    }
    tag_done(incoming);
}

/* Says so in a hello of ours when the cause is who the other side is, else in the status alone. */
static void incoming_refuse(struct incoming *incoming, const struct peer_hello *theirs,
                            const struct admission *admission)
{
    struct rpc_peers *peers = incoming->peers;
    enum identity_action action = admission->answer.action;
    if (action == IDENTITY_RETRY) {
        struct link *link = peers_link(peers, theirs->member);
        if (link != NULL)
            peer_link_probe(link);
    } else {
        peers_refuse(peers, theirs->member, "from", admission->why);
    }
    if (action != IDENTITY_PROCEED) {
        struct peer_hello mine = peers_hello(peers, theirs->member);
        peer_hello_say_answer(&mine, &admission->answer);
        hello_send(incoming, &mine);
    }
    incoming_finish(incoming,
                    action == IDENTITY_RETRY ? GRPC_STATUS_UNAVAILABLE
                                             : GRPC_STATUS_FAILED_PRECONDITION,
                    admission->why);
}

static void incoming_greet(struct incoming *incoming, const struct peer_hello *theirs)
{
    struct admission admission;
    incoming->wait = (struct row_wait){.call = incoming->call, .event = &incoming->on_recorded};
    peers_admit(incoming->peers, theirs, MEMBER_NONE, &incoming->wait, &admission);
    if (admission.link == NULL) {
        incoming_refuse(incoming, theirs, &admission);
        return;
    }
    pthread_mutex_lock(&incoming->peers->lock); /* the tick looks at it */
    incoming->link = admission.link;
    incoming->nonce = theirs->start_nonce;
    pthread_mutex_unlock(&incoming->peers->lock);
    peer_link_hear_address(admission.link, theirs->address);
    incoming->state = INCOMING_RECORDING;
    if (admission.waits)
        incoming->tags++; /* the event is on its way to this thread */
    else
        incoming_open(incoming);
}

static void hello_again(struct incoming *incoming)
{
    incoming->asked = incoming->sending;
    if (incoming->sending)
        return;
    struct peer_hello mine = peers_hello(incoming->peers, incoming->link->member);
    hello_send(incoming, &mine);
}

static void frame_take(struct incoming *incoming, struct bytes frame)
{
    struct intake intake = {.incoming = incoming, .now_ns = runtime_now_ns()};
    struct peer_hello hello;
    bool has_hello = false;
    enum err err = peer_frame_walk(frame, on_message, &intake, &has_hello, &hello);
    if (incoming->link != NULL) {
        atomic_fetch_add(&incoming->link->figures.messages_received, intake.count);
        atomic_fetch_add(&incoming->link->figures.bytes_received, frame.size);
    }
    if (err != OK)
        incoming_malformed(incoming, "a frame or a message in it is malformed");
    else if (has_hello ? incoming->state == INCOMING_RECORDING : incoming->state != INCOMING_OPEN)
        incoming_malformed(incoming, "the first frame is a hello, and its answer is waited for");
    else if (has_hello && incoming->state == INCOMING_HELLO)
        incoming_greet(incoming, &hello);
    else if (has_hello && hello.start_nonce != incoming->nonce)
        incoming_malformed(incoming, "another process says hello on this stream");
    else if (has_hello) {
        peers_heard(incoming->peers, incoming->link, &hello);
        hello_again(incoming);
    }
}

static void receive_next(struct incoming *incoming)
{
    grpc_op op = {.op = GRPC_OP_RECV_MESSAGE, .data.recv_message.recv_message = &incoming->in};
    batch_start(incoming, &op, 1, &incoming->on_received);
}

static void on_received(struct rpc_event *event, bool ok)
{
    struct incoming *incoming = CONTAINER_OF(event, struct incoming, on_received);
    grpc_byte_buffer *buffer = incoming->in;
    incoming->in = NULL;
    if (!ok || buffer == NULL) {
        /* Half-closed, cancelled, or a frame over the size limit. */
        incoming_finish(incoming, GRPC_STATUS_OK, "");
    } else if (incoming->state != INCOMING_ENDING) {
        grpc_slice copy;
        struct bytes frame;
        if (peers_buffer_bytes(buffer, &copy, &frame) != OK) {
            incoming_malformed(incoming, "a frame cannot be decompressed");
        } else {
            frame_take(incoming, frame);
            grpc_slice_unref(copy);
        }
        if (incoming->state != INCOMING_ENDING)
            receive_next(incoming);
    }
    grpc_byte_buffer_destroy(buffer);
    tag_done(incoming);
}

static void on_sent(struct rpc_event *event, bool ok)
{
    (void)ok;
    struct incoming *incoming = CONTAINER_OF(event, struct incoming, on_sent);
    grpc_byte_buffer_destroy(incoming->out);
    incoming->out = NULL;
    incoming->sending = false;
    if (incoming->finishing)
        status_send(incoming);
    else if (incoming->asked && incoming->state == INCOMING_OPEN)
        hello_again(incoming);
    tag_done(incoming);
}

/* -- slots
 * -----------------------------------------------------------------------------------------------------
 */

static void on_call(struct rpc_event *event, bool ok)
{
    struct incoming *incoming = CONTAINER_OF(event, struct incoming, on_call);
    struct rpc_peers *peers = incoming->peers;
    if (!ok) {
        tag_done(incoming);
        return;
    }
    slot_arm(peers, incoming->queue);
    list_add(incoming);
    incoming->state = INCOMING_HELLO;
    incoming->since_ns = runtime_now_ns();
    grpc_op op = {.op = GRPC_OP_RECV_CLOSE_ON_SERVER,
                  .data.recv_close_on_server.cancelled = &incoming->cancelled};
    batch_start(incoming, &op, 1, &incoming->on_close);
    pthread_mutex_lock(&peers->lock);
    bool full = peers->incoming_count > PEER_STREAMS_MAX;
    pthread_mutex_unlock(&peers->lock);
    if (full)
        incoming_finish(incoming, GRPC_STATUS_RESOURCE_EXHAUSTED, "too many streams");
    else
        receive_next(incoming);
    tag_done(incoming);
}

static void slot_arm(struct rpc_peers *peers, grpc_completion_queue *queue)
{
    struct incoming *incoming = calloc(1, sizeof *incoming);
    CHECK(incoming != NULL);
    incoming->peers = peers;
    incoming->queue = queue;
    incoming->on_call.done = on_call;
    incoming->on_close.done = on_close;
    incoming->on_sent.done = on_sent;
    incoming->on_received.done = on_received;
    incoming->on_recorded.done = on_recorded;
    incoming->details = grpc_empty_slice();
    incoming->tags = 1;
    peers_live_add(peers);
    grpc_call_error error = grpc_server_request_registered_call(
        peers->server, peers->method, &incoming->call, &incoming->deadline, &incoming->metadata,
        NULL, queue, queue, &incoming->on_call);
    CHECK_U64(error, ==, GRPC_CALL_OK);
}

void peer_serve_arm(struct rpc_peers *peers)
{
    for (uint32_t i = 0; i < rpc_loop_count(peers->options.loop); i++) {
        grpc_completion_queue *queue = rpc_loop_queue(peers->options.loop, i);
        for (uint32_t slot = 0; slot < SLOTS_PER_QUEUE; slot++)
            slot_arm(peers, queue);
        peer_unknown_arm(peers, queue);
    }
}

void peer_serve_tick(struct rpc_peers *peers, uint64_t now_ns)
{
    uint64_t stall_ns = peers->options.stall_ms * NS_PER_MS;
    pthread_mutex_lock(&peers->lock);
    for (struct incoming *at = peers->incoming; at != NULL; at = at->next)
        if (at->link == NULL && now_ns > at->since_ns + stall_ns)
            grpc_call_cancel_with_status(at->call, GRPC_STATUS_DEADLINE_EXCEEDED, "no hello", NULL);
    pthread_mutex_unlock(&peers->lock);
}

void peer_serve_end(struct rpc_peers *peers, const struct link *link, const struct incoming *except,
                    const char *why)
{
    for (struct incoming *at = peers->incoming; at != NULL; at = at->next)
        if (at != except && at->link == link)
            grpc_call_cancel_with_status(at->call, GRPC_STATUS_ABORTED, why, NULL);
}
