#include "rpc/peer_attempt.h"

#include "base/check.h"
#include "rpc/client_channel.h"

#include <grpc/grpc_security.h>
#include <grpc/support/alloc.h>
#include <grpc/support/time.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#define NS_PER_MS UINT64_C(1000000)
/* A link that was up for longer than this is opened again at once when it breaks. */
#define STEADY_NS    (1000 * NS_PER_MS)
#define FAILURES_MAX 16u

static void batch_start(struct attempt *attempt, const grpc_op *ops, size_t count,
                        struct rpc_event *event)
{
    grpc_call_error error = grpc_call_start_batch(attempt->call, ops, count, event, NULL);
    CHECK_U64(error, ==, GRPC_CALL_OK);
}

void peer_attempt_send(struct attempt *attempt, struct frame *frame)
{
    attempt->out = peer_queue_frame_buffer(frame);
    grpc_op op = {.op = GRPC_OP_SEND_MESSAGE, .data.send_message.send_message = attempt->out};
    batch_start(attempt, &op, 1, &attempt->on_sent);
}

/* -- opening
 * -----------------------------------------------------------------------------------------------
 */

static grpc_arg integer_arg(const char *key, int value)
{
    return (grpc_arg){
        .type = GRPC_ARG_INTEGER, .key = (char *)(uintptr_t)key, .value.integer = value};
}

static grpc_channel *channel_new(const struct link *link)
{
    const struct rpc_peers_options *options = &link->peers->options;
    grpc_arg args[] = {
        integer_arg(GRPC_ARG_ENABLE_RETRIES, 0),
        integer_arg(GRPC_ARG_ENABLE_HTTP_PROXY, 0),
        integer_arg(GRPC_ARG_ENABLE_CHANNELZ, 0),
        integer_arg(GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION, 1),
        integer_arg(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1),
        integer_arg(GRPC_ARG_CLIENT_IDLE_TIMEOUT_MS, INT_MAX),
        integer_arg(GRPC_ARG_DNS_MIN_TIME_BETWEEN_RESOLUTIONS_MS, (int)options->backoff_max_ms),
        integer_arg(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, (int)options->backoff_min_ms),
        integer_arg(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, (int)options->backoff_max_ms),
        integer_arg(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, (int)options->backoff_max_ms),
        integer_arg(GRPC_ARG_KEEPALIVE_TIME_MS, PEER_KEEPALIVE_MS),
        integer_arg(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, PEER_KEEPALIVE_TIMEOUT_MS),
        integer_arg(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1),
        integer_arg(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0),
        integer_arg(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, 65536),
        integer_arg(GRPC_ARG_MAX_SEND_MESSAGE_LENGTH, (int)GRPC_MESSAGE_BYTES_MAX),
    };
    grpc_channel_args all = {.num_args = ARRAY_COUNT(args), .args = args};
    grpc_channel_credentials *credentials = grpc_insecure_credentials_create();
    grpc_channel *channel = grpc_channel_create(link->target, credentials, &all);
    grpc_channel_credentials_release(credentials);
    CHECK(channel != NULL);
    return channel;
}

static void on_sent(struct rpc_event *event, bool ok);
static void on_received(struct rpc_event *event, bool ok);
static void on_status(struct rpc_event *event, bool ok);
static void on_recorded(struct rpc_event *event, bool ok);

static void attempt_start(struct attempt *attempt)
{
    struct link *link = attempt->link;
    struct peer_hello hello = peers_hello(link->peers, link->member);
    attempt->asked_ns = runtime_now_ns();
    attempt->out = peers_hello_buffer(&hello);
    attempt->sending = true;
    attempt->tags = 3;
    grpc_op sends[2] = {
        {.op = GRPC_OP_SEND_INITIAL_METADATA,
         .flags = GRPC_INITIAL_METADATA_WAIT_FOR_READY |
                  GRPC_INITIAL_METADATA_WAIT_FOR_READY_EXPLICITLY_SET},
        {.op = GRPC_OP_SEND_MESSAGE, .data.send_message.send_message = attempt->out},
    };
    grpc_op receives[2] = {
        {.op = GRPC_OP_RECV_INITIAL_METADATA,
         .data.recv_initial_metadata.recv_initial_metadata = &attempt->initial},
        {.op = GRPC_OP_RECV_MESSAGE, .data.recv_message.recv_message = &attempt->in},
    };
    grpc_op status = {.op = GRPC_OP_RECV_STATUS_ON_CLIENT,
                      .data.recv_status_on_client = {.trailing_metadata = &attempt->trailing,
                                                     .status = &attempt->status,
                                                     .status_details = &attempt->details}};
    batch_start(attempt, sends, 2, &attempt->on_sent);
    batch_start(attempt, receives, 2, &attempt->on_received);
    batch_start(attempt, &status, 1, &attempt->on_status);
}

void peer_attempt_open(struct link *link)
{
    peer_link_move(link, LINK_OPENING);
    link->opened_at_ns = runtime_now_ns();
    link->called_back = false;
    if (link->channel == NULL || link->target_changed) {
        if (link->channel != NULL)
            grpc_channel_destroy(link->channel);
        link->channel = channel_new(link);
        link->target_changed = false;
    }
    struct attempt *attempt = calloc(1, sizeof *attempt);
    CHECK(attempt != NULL);
    attempt->link = link;
    attempt->on_sent.done = on_sent;
    attempt->on_received.done = on_received;
    attempt->on_status.done = on_status;
    attempt->on_recorded.done = on_recorded;
    attempt->details = grpc_empty_slice();
    attempt->call =
        grpc_channel_create_call(link->channel, NULL, GRPC_PROPAGATE_DEFAULTS, link->queue,
                                 grpc_slice_from_static_string(PEER_METHOD), NULL,
                                 gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
    CHECK(attempt->call != NULL);
    link->attempt = attempt;
    peers_live_add(link->peers);
    attempt_start(attempt);
}
/* -- ending
 * -------------------------------------------------------------------------------------------------
 */

void peer_attempt_cancel(struct attempt *attempt, grpc_status_code code, const char *why)
{
    if (attempt->why[0] != '\0')
        return;
    snprintf(attempt->why, sizeof attempt->why, "%s", why);
    grpc_call_cancel_with_status(attempt->call, code, attempt->why, NULL);
}

/* Another node's words end up in our log: printable, without quotes. */
static void details_copy(const struct attempt *attempt, char *text, size_t text_size)
{
    snprintf(text, text_size, "%.*s", (int)GRPC_SLICE_LENGTH(attempt->details),
             (const char *)GRPC_SLICE_START_PTR(attempt->details));
    for (char *c = text; *c != '\0'; c++)
        if (*c < ' ' || *c > '~' || *c == '"' || *c == '\\')
            *c = '?';
}

/* The status is here: nothing more will get through. The lock is held. */
static void link_end(struct link *link)
{
    struct rpc_peers *peers = link->peers;
    struct attempt *attempt = link->attempt;
    uint64_t now_ns = runtime_now_ns();
    bool steady = link->state == LINK_UP && now_ns - link->up_since_ns > STEADY_NS;
    char theirs[PEER_WHY_BYTES];
    details_copy(attempt, theirs, sizeof theirs);
    const char *why = attempt->why[0] != '\0' ? attempt->why : theirs;
    attempt->refused = attempt->refused || attempt->status == GRPC_STATUS_FAILED_PRECONDITION;
    if (link->state == LINK_UP)
        log_write(peers->options.log, LOG_INFO, "peer_down", "member=%u status=%d why=\"%s\"",
                  link->member, (int)attempt->status, why);
    if (attempt->refused)
        peers_refuse(peers, link->member, "to", why);
    if (attempt->admitted)
        peers_leave(peers, link, false);
    link->probed_ns = 0;
    if (attempt->refused) {
        link->failures += link->failures == 0;
        link->retry_at_ns = now_ns + peers_jitter_ns(peers, peers->options.refused_ms);
    } else if (steady || attempt->retry_now) {
        link->retry_at_ns = now_ns;
    } else if (attempt->retry_soon) {
        link->failures += link->failures == 0;
        link->retry_at_ns = now_ns + peers_jitter_ns(peers, peers->options.backoff_min_ms);
    } else {
        uint64_t delay_ms = (uint64_t)peers->options.backoff_min_ms << link->failures;
        if (delay_ms > peers->options.backoff_max_ms)
            delay_ms = peers->options.backoff_max_ms;
        link->failures += link->failures < FAILURES_MAX ? 1 : 0;
        link->retry_at_ns = now_ns + peers_jitter_ns(peers, delay_ms);
    }
    peer_link_move(link, LINK_ENDING);
    peer_link_announce(link);
    peer_link_drop_queue(link);
}

static void attempt_free(struct attempt *attempt)
{
    grpc_call_unref(attempt->call);
    grpc_metadata_array_destroy(&attempt->initial);
    grpc_metadata_array_destroy(&attempt->trailing);
    grpc_slice_unref(attempt->details);
    free(attempt);
}

/* Gives up the lock, and with the last tag the attempt; then the link may be gone as well. */
static void tag_done(struct attempt *attempt)
{
    struct link *link = attempt->link;
    struct rpc_peers *peers = link->peers;
    CHECK_U64(attempt->tags, >, 0);
    bool last = --attempt->tags == 0;
    if (last) {
        link->attempt = NULL;
        attempt_free(attempt);
        peer_link_move(link, link->closing ? LINK_CLOSED : LINK_IDLE);
        if (!link->closing && runtime_now_ns() >= link->retry_at_ns)
            peer_attempt_open(link);
    }
    pthread_mutex_unlock(&link->lock);
    if (last)
        peers_live_drop(peers);
}

static void on_status(struct rpc_event *event, bool ok)
{
    (void)ok;
    struct attempt *attempt = CONTAINER_OF(event, struct attempt, on_status);
    pthread_mutex_lock(&attempt->link->lock);
    link_end(attempt->link);
    tag_done(attempt);
}

/* -- progress
 * ------------------------------------------------------------------------------------------------
 */

static void on_sent(struct rpc_event *event, bool ok)
{
    struct attempt *attempt = CONTAINER_OF(event, struct attempt, on_sent);
    struct link *link = attempt->link;
    grpc_byte_buffer_destroy(attempt->out);
    pthread_mutex_lock(&link->lock);
    attempt->out = NULL;
    attempt->sending = false;
    if (attempt->sending_bytes == 0) {
        attempt->hello_sent = true;
        attempt->waiting_since_ns = runtime_now_ns();
    } else {
        link->queue_bytes -= attempt->sending_bytes;
        atomic_fetch_add(ok ? &link->figures.messages_sent : &link->figures.messages_dropped,
                         attempt->sending_messages);
        if (ok) {
            atomic_fetch_add(&link->figures.frames_sent, 1);
            atomic_fetch_add(&link->figures.bytes_sent, attempt->sending_bytes);
        }
    }
    bool more = link->state == LINK_UP && link->queued.first != NULL;
    tag_done(attempt);
    if (more) /* up: so there are tags left, and this thread is the one that brings them */
        peer_link_flush(link);
}

static bool no_message(void *closure, struct bytes message)
{
    (void)closure;
    (void)message;
    return false;
}

static bool hello_of_buffer(grpc_byte_buffer *buffer, struct peer_hello *ret_hello)
{
    grpc_slice copy;
    struct bytes bytes;
    bool has_hello = false;
    if (peers_buffer_bytes(buffer, &copy, &bytes) != OK)
        return false;
    enum err err = peer_frame_walk(bytes, no_message, NULL, &has_hello, ret_hello);
    grpc_slice_unref(copy);
    return err == OK && has_hello;
}

/* Two nodes with different keys serve all the same, and during a change of the key they must; but
 * clients that go from one to the other are refused, and nothing else would say why. */
static void link_compare_keys(const struct link *link, const struct peer_hello *theirs)
{
    const struct rpc_peers_options *options = &link->peers->options;
    if (theirs->context_mark != 0 && options->hello.context_mark != 0 &&
        theirs->context_mark != options->hello.context_mark)
        log_write(options->log, LOG_WARNING, "cluster_key_differs",
                  "member=%u name=\"%s\" what_now=\"give all nodes the same cluster-key-file: "
                  "until then each refuses contexts that the other has given\"",
                  link->member, theirs->name);
}

/* Their row is durable. The lock is held. */
static void link_up(struct link *link)
{
    link->attempt->hello_answered = true;
    link->failures = 0;
    link->up_since_ns = runtime_now_ns();
    atomic_fetch_add(&link->figures.ups, 1);
    peer_link_move(link, LINK_UP);
    peer_link_announce(link);
}

/* The other side will not have us as who we are. It ends the stream; told with no lock held. */
static bool link_is_judged(struct attempt *attempt, const struct peer_hello *theirs)
{
    struct rpc_peers *peers = attempt->link->peers;
    char why[PEER_WHY_BYTES];
    struct peer_hello mine = peers_hello(peers, attempt->link->member);
    if (attempt->admitted || peer_hello_refusal(&mine, theirs, why, sizeof why) != NULL ||
        !peer_hello_answer(theirs, &attempt->told))
        return false;
    attempt->retry_soon = attempt->told.action == IDENTITY_RETRY;
    return true;
}

/* The answer to the hello. The lock is held. */
static void link_greet(struct link *link, const struct peer_hello *theirs)
{
    struct rpc_peers *peers = link->peers;
    struct attempt *attempt = link->attempt;
    struct admission admission;
    attempt->wait = (struct row_wait){.call = attempt->call, .event = &attempt->on_recorded};
    peers_admit(peers, theirs, link->member, &attempt->wait, &admission);
    if (admission.link == NULL) {
        bool retry = admission.answer.action == IDENTITY_RETRY;
        attempt->refused = !retry;
        attempt->retry_soon = retry;
        peer_attempt_cancel(attempt,
                            retry ? GRPC_STATUS_UNAVAILABLE : GRPC_STATUS_FAILED_PRECONDITION,
                            admission.why);
        return;
    }
    attempt->admitted = true;
    peers_accepted(peers);
    peers_answered(peers, link, theirs, attempt->asked_ns);
    log_write(peers->options.log, LOG_INFO, "peer_up",
              "member=%u name=\"%s\" generation=%llu verdict=\"%s\"", link->member, theirs->name,
              (unsigned long long)theirs->generation, identity_text(admission.answer.verdict));
    link_compare_keys(link, theirs);
    if (admission.waits)
        attempt->tags++; /* the event is on its way to this thread */
    else
        link_up(link);
}

/* What the other side says: the answer to a hello. The lock is held. */
static void link_hear(struct link *link, grpc_byte_buffer *buffer)
{
    struct rpc_peers *peers = link->peers;
    struct attempt *attempt = link->attempt;
    struct peer_hello theirs;
    bool is_hello = hello_of_buffer(buffer, &theirs);
    if (is_hello && attempt->hello_answered && link->probed_ns != 0) {
        peers_answered(peers, link, &theirs, link->probed_ns);
        peers_heard(peers, link, &theirs);
        link->probed_ns = 0;
    } else if (!is_hello || attempt->admitted || attempt->told.action != IDENTITY_PROCEED) {
        atomic_fetch_add(&peers->malformed, 1);
        peer_attempt_cancel(attempt, GRPC_STATUS_INVALID_ARGUMENT, "the answer is not a hello");
    } else if (theirs.action == IDENTITY_PROCEED) {
        link_greet(link, &theirs);
    } else if (!link_is_judged(attempt, &theirs)) {
        atomic_fetch_add(&peers->malformed, 1);
        peer_attempt_cancel(attempt, GRPC_STATUS_INVALID_ARGUMENT,
                            "the answer judges somebody else");
    }
}

static void on_recorded(struct rpc_event *event, bool ok)
{
    (void)ok;
    struct attempt *attempt = CONTAINER_OF(event, struct attempt, on_recorded);
    struct link *link = attempt->link;
    pthread_mutex_lock(&link->lock);
    if (link->state == LINK_OPENING) {
        if (peers_recorded(link->peers, link))
            link_up(link);
        else
            peer_attempt_cancel(attempt, GRPC_STATUS_UNAVAILABLE, "this node is closing");
    }
    bool up = link->state == LINK_UP;
    tag_done(attempt);
    if (up) /* the attempt listens on, so the link is there */
        peer_link_flush(link);
}

static void on_received(struct rpc_event *event, bool ok)
{
    struct attempt *attempt = CONTAINER_OF(event, struct attempt, on_received);
    struct link *link = attempt->link;
    pthread_mutex_lock(&link->lock);
    grpc_byte_buffer *buffer = attempt->in;
    attempt->in = NULL;
    if (ok && buffer != NULL && (link->state == LINK_OPENING || link->state == LINK_UP)) {
        link_hear(link, buffer);
        /* Keeps listening: the status comes only after what was said before it has been taken. */
        grpc_op op = {.op = GRPC_OP_RECV_MESSAGE, .data.recv_message.recv_message = &attempt->in};
        attempt->tags++;
        batch_start(attempt, &op, 1, &attempt->on_received);
    }
    grpc_byte_buffer_destroy(buffer);
    bool up = link->state == LINK_UP;
    struct incarnation_answer told = attempt->told;
    struct rpc_peers *peers = link->peers;
    uint32_t member = link->member;
    tag_done(attempt);
    if (up) /* the attempt listens on, so the link is there */
        peer_link_flush(link);
    peers_told(peers, member, &told);
}
