#include "rpc/peer_link.h"

#include "base/check.h"
#include "model/hash.h"
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
/* How long messages wait for a link that is being opened. */
#define OPENING_QUEUE_NS (500 * NS_PER_MS)

/* One call to the peer. Lives until its last tag is back. */
struct attempt {
    struct rpc_event on_sent;
    struct rpc_event on_received;
    struct rpc_event on_status;
    struct rpc_event on_recorded;
    struct row_wait wait;
    struct link *link;
    grpc_call *call;
    uint32_t tags;
    bool sending;
    bool hello_sent;
    bool admitted;             /* by peers_admit: their answer to the hello */
    bool hello_answered;       /* and their row is durable */
    uint64_t asked_ns;         /* the hello was put together */
    uint64_t waiting_since_ns; /* for the send on its way, or the answer to the hello */
    size_t sending_bytes;      /* of the frame on its way; 0: the hello */
    uint32_t sending_messages;
    grpc_byte_buffer *out;
    grpc_byte_buffer *in;
    grpc_metadata_array initial;
    grpc_metadata_array trailing;
    grpc_status_code status;
    grpc_slice details;
    bool retry_now;
    bool retry_soon;
    bool refused;                   /* by us or by the peer */
    struct incarnation_answer told; /* what the other side makes of us, when it is not PROCEED */
    char why[PEER_WHY_BYTES];       /* ours for ending it; empty: the other side's */
};

static const uint32_t moves[LINK_STATE_COUNT] = {
    [LINK_IDLE] = 1u << LINK_OPENING | 1u << LINK_CLOSED,
    [LINK_OPENING] = 1u << LINK_UP | 1u << LINK_ENDING,
    [LINK_UP] = 1u << LINK_ENDING,
    [LINK_ENDING] = 1u << LINK_IDLE | 1u << LINK_CLOSED,
    [LINK_CLOSED] = 0,
};

static void link_move(struct link *link, enum link_state to)
{
    CHECK((moves[link->state] & 1u << to) != 0);
    link->state = to;
}

/* -- the queue
 * ----------------------------------------------------------------------------------------- */

/* The message was never given to gRPC. */
static bool answer_undelivered(void *closure, struct bytes bytes)
{
    const struct link *link = closure;
    const struct rpc_peers_options *options = &link->peers->options;
    struct message *message =
        peer_message_decode(bytes, options->hello.member, link->member, runtime_now_ns());
    struct message *answer = message == NULL ? NULL : message_new_undelivered(message);
    if (answer != NULL)
        rpc_loop_post(options->loop, answer);
    message_free(message);
    return true;
}

/* Who waits for an answer to what is dropped hears of it. The lock is held. Loop threads only. */
static void queue_drop(struct link *link)
{
    struct frame *frame;
    struct peer_hello hello;
    bool has_hello;
    while ((frame = peer_queue_take(&link->queued)) != NULL) {
        enum err err = peer_frame_walk(bytes_of(frame->data, frame->size), answer_undelivered, link,
                                       &has_hello, &hello);
        CHECK(err == OK);
        atomic_fetch_add(&link->figures.messages_dropped, frame->messages);
        link->queue_bytes -= frame->size;
        peer_queue_frame_free(frame);
    }
}

/* gRPC itself connects again and again while an attempt is open; this tells whether it has failed.
 */
static bool link_cannot_connect(const struct link *link)
{
    return link->state == LINK_OPENING && grpc_channel_check_connectivity_state(link->channel, 0) ==
                                              GRPC_CHANNEL_TRANSIENT_FAILURE;
}

/* Up, or about to be: what is said to a peer that has just come back waits for the handshake, for a
 * moment, instead of being lost. */
static bool link_takes(const struct link *link, uint64_t now_ns)
{
    return !link->closing &&
           (link->state == LINK_UP ||
            (link->state == LINK_OPENING && now_ns < link->opened_at_ns + OPENING_QUEUE_NS &&
             (link->called_back || !link_cannot_connect(link))));
}

bool peer_link_append(struct link *link, const struct message *message, uint64_t now_ns)
{
    pthread_mutex_lock(&link->lock);
    bool fits = false;
    if (link_takes(link, now_ns) && link->member == message->to.node) {
        size_t size = peer_frame_message_size(message, now_ns);
        fits = size != 0 && link->queue_bytes + size <= link->peers->options.queue_bytes_max;
        if (fits) {
            if (link->queued.first == NULL)
                link->queued_since_ns = now_ns;
            uint8_t *at = peer_queue_reserve(&link->queued, size);
            peer_frame_message_write(at, size, message, now_ns);
            link->queue_bytes += size;
        } else if (size == 0 && peers_may_log(link->peers, link->member))
            log_write(link->peers->options.log, LOG_WARNING, "peer_message_too_large",
                      "member=%u message=%s id=%llu", link->member,
                      message_kind_text(message->kind), (unsigned long long)message->id);
    }
    pthread_mutex_unlock(&link->lock);
    if (!fits)
        atomic_fetch_add(&link->figures.messages_dropped, 1);
    return fits;
}

void peer_link_probe(struct link *link)
{
    struct peer_hello hello = peers_hello(link->peers, link->member);
    uint8_t memory[1024];
    struct arena arena;
    arena_init(&arena, memory, sizeof memory);
    struct bytes bytes = peer_frame_hello(&arena, &hello);
    pthread_mutex_lock(&link->lock);
    bool up = link->state == LINK_UP;
    if (up && link->probed_ns == 0) {
        link->probed_ns = runtime_now_ns();
        if (link->queued.first == NULL)
            link->queued_since_ns = link->probed_ns;
        memcpy(peer_queue_reserve(&link->queued, bytes.size), bytes.data, bytes.size);
        link->queue_bytes += bytes.size;
    }
    pthread_mutex_unlock(&link->lock);
    arena_deinit(&arena);
    if (up)
        peer_link_flush(link);
    else /* whoever answers there says who it is */
        peer_link_poke(link);
}

bool peer_link_is_empty(struct link *link)
{
    pthread_mutex_lock(&link->lock);
    bool empty = link->queue_bytes == 0;
    pthread_mutex_unlock(&link->lock);
    return empty;
}

bool peer_link_settled(struct link *link)
{
    pthread_mutex_lock(&link->lock);
    bool settled = link->state == LINK_UP || link->failures > 0 || link_cannot_connect(link);
    pthread_mutex_unlock(&link->lock);
    return settled;
}

/* -- sending
 * --------------------------------------------------------------------------------------------- */

static void batch_start(struct attempt *attempt, const grpc_op *ops, size_t count,
                        struct rpc_event *event)
{
    grpc_call_error error = grpc_call_start_batch(attempt->call, ops, count, event, NULL);
    CHECK_U64(error, ==, GRPC_CALL_OK);
}

void peer_link_flush(struct link *link)
{
    pthread_mutex_lock(&link->lock);
    struct attempt *attempt = link->attempt;
    if (link->state != LINK_UP || attempt->sending || link->queued.first == NULL) {
        pthread_mutex_unlock(&link->lock);
        return;
    }
    struct frame *frame = peer_queue_take(&link->queued);
    attempt->sending = true;
    attempt->sending_bytes = frame->size;
    attempt->sending_messages = frame->messages;
    attempt->waiting_since_ns = runtime_now_ns();
    attempt->tags++;
    pthread_mutex_unlock(&link->lock);
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

/* The lock is held. */
static void link_open(struct link *link)
{
    link_move(link, LINK_OPENING);
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

/* Tells the gossip actor when it does not know yet; a full mailbox is tried again by the tick. The
 * lock is held, so that ups and downs keep their order. Loop threads only. */
static void link_announce(struct link *link)
{
    bool up = link->state == LINK_UP;
    /* Before the first attempt has ended there is nothing to tell. */
    if (link->told ? up == link->announced : !up && link->failures == 0)
        return;
    uint32_t self = link->peers->options.hello.member;
    struct message *message = message_new(MESSAGE_peer_link, 0);
    message->from = (struct actor_id){self, ACTOR_RUNTIME, 0};
    message->to = (struct actor_id){self, ACTOR_GOSSIP, 0};
    message->peer_link = (struct peer_link){.member = link->member, .up = up};
    if (rpc_loop_post(link->peers->options.loop, message)) {
        link->announced = up;
        link->told = true;
    }
}

/* -- ending
 * -------------------------------------------------------------------------------------------------
 */

/* The status tag follows. The lock is held. */
static void attempt_cancel(struct attempt *attempt, grpc_status_code code, const char *why)
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
    link_move(link, LINK_ENDING);
    link_announce(link);
    queue_drop(link);
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
        link_move(link, link->closing ? LINK_CLOSED : LINK_IDLE);
        if (!link->closing && runtime_now_ns() >= link->retry_at_ns)
            link_open(link);
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
    link_move(link, LINK_UP);
    link_announce(link);
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
        attempt_cancel(attempt, retry ? GRPC_STATUS_UNAVAILABLE : GRPC_STATUS_FAILED_PRECONDITION,
                       admission.why);
        return;
    }
    attempt->admitted = true;
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
        link->probed_ns = 0;
    } else if (!is_hello || attempt->admitted || attempt->told.action != IDENTITY_PROCEED) {
        atomic_fetch_add(&peers->malformed, 1);
        attempt_cancel(attempt, GRPC_STATUS_INVALID_ARGUMENT, "the answer is not a hello");
    } else if (theirs.action == IDENTITY_PROCEED) {
        link_greet(link, &theirs);
    } else if (!link_is_judged(attempt, &theirs)) {
        atomic_fetch_add(&peers->malformed, 1);
        attempt_cancel(attempt, GRPC_STATUS_INVALID_ARGUMENT, "the answer judges somebody else");
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
            attempt_cancel(attempt, GRPC_STATUS_UNAVAILABLE, "this node is closing");
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

/* -- from outside
 * --------------------------------------------------------------------------------------------- */

struct link *peer_link_new(struct rpc_peers *peers, uint32_t member, grpc_completion_queue *queue)
{
    struct link *link = calloc(1, sizeof *link);
    CHECK(link != NULL);
    link->peers = peers;
    link->member = member;
    link->queue = queue;
    link->state = LINK_IDLE;
    CHECK(pthread_mutex_init(&link->lock, NULL) == 0);
    return link;
}

/* The lock is held. */
static void link_retarget(struct link *link)
{
    struct client_endpoint endpoint;
    char why[512];
    bool said = link->said[0] != '\0' && strcmp(link->said_instead_of, link->listed) == 0;
    const char *address = said ? link->said : link->listed;
    if (link->closing || strcmp(link->address, address) == 0)
        return;
    snprintf(link->address, sizeof link->address, "%s", address);
    if (client_endpoint_parse(bytes_of_string(address), &endpoint, why, sizeof why) != OK) {
        log_write(link->peers->options.log, LOG_ERROR, "peer_address", "member=%u why=\"%s\"",
                  link->member, why);
        return;
    }
    snprintf(link->target, sizeof link->target, "%s", endpoint.target);
    link->target_changed = true;
    if (link->state == LINK_IDLE) {
        link_open(link);
    } else if (link->attempt != NULL) {
        link->attempt->retry_now = true;
        attempt_cancel(link->attempt, GRPC_STATUS_CANCELLED, "the peer's address changed");
    }
}

void peer_link_set_address(struct link *link, const char *address)
{
    pthread_mutex_lock(&link->lock);
    snprintf(link->listed, sizeof link->listed, "%s", address);
    link_retarget(link);
    pthread_mutex_unlock(&link->lock);
}

void peer_link_hear_address(struct link *link, const char *address)
{
    struct client_endpoint endpoint;
    char why[512];
    if (address[0] == '\0' ||
        client_endpoint_parse(bytes_of_string(address), &endpoint, why, sizeof why) != OK)
        return;
    pthread_mutex_lock(&link->lock);
    snprintf(link->said, sizeof link->said, "%s", address);
    snprintf(link->said_instead_of, sizeof link->said_instead_of, "%s", link->listed);
    link_retarget(link);
    pthread_mutex_unlock(&link->lock);
}

void peer_link_tick(struct link *link, uint64_t now_ns)
{
    uint64_t stall_ns = link->peers->options.stall_ms * NS_PER_MS;
    pthread_mutex_lock(&link->lock);
    struct attempt *attempt = link->attempt;
    if (link->state == LINK_IDLE && !link->closing && link->target[0] != '\0' &&
        now_ns >= link->retry_at_ns) {
        link_open(link);
    } else if (link->state == LINK_OPENING || link->state == LINK_UP) {
        bool waiting = link->state == LINK_UP ? attempt->sending : attempt->hello_sent;
        if (waiting && now_ns > attempt->waiting_since_ns + stall_ns)
            attempt_cancel(attempt, GRPC_STATUS_DEADLINE_EXCEEDED, "the peer makes no progress");
        /* By their age: who calls again and again moves opened_at_ns. */
        if (link->state == LINK_OPENING && now_ns >= link->queued_since_ns + OPENING_QUEUE_NS)
            queue_drop(link);
        link->failures += link->failures == 0 && link_cannot_connect(link);
    }
    link_announce(link);
    pthread_mutex_unlock(&link->lock);
}

void peer_link_poke(struct link *link)
{
    pthread_mutex_lock(&link->lock);
    if (link->state == LINK_IDLE && !link->closing && link->target[0] != '\0')
        link_open(link);
    if (link->state == LINK_OPENING) {
        link->opened_at_ns = runtime_now_ns();
        link->called_back = true;
        grpc_channel_reset_connect_backoff(link->channel);
    } else if (link->state == LINK_ENDING) {
        link->retry_at_ns = runtime_now_ns(); /* when the last tag is back */
    }
    pthread_mutex_unlock(&link->lock);
}

void peer_link_close(struct link *link)
{
    pthread_mutex_lock(&link->lock);
    link->closing = true;
    if (link->state == LINK_IDLE)
        link_move(link, LINK_CLOSED);
    else if (link->attempt != NULL)
        attempt_cancel(link->attempt, GRPC_STATUS_CANCELLED, "this node closes the link");
    pthread_mutex_unlock(&link->lock);
}

bool peer_link_reuse(struct link *link, uint32_t member)
{
    struct rpc_peers *peers = link->peers;
    pthread_mutex_lock(&link->lock);
    pthread_mutex_lock(&peers->lock);
    bool free = link->state == LINK_CLOSED && link->streams_up == 0 && !peers->closing;
    if (free) {
        CHECK(link->queued.first == NULL && link->attempt == NULL);
        link->member = member;
        link->row = (struct incarnation){0};
        link->row_loaded = false;
        link->row_sequence = 0;
        link->rival_nonce = link->rival_since_ns = link->answered_ns = 0;
        link->state = LINK_IDLE;
        link->closing = false;
        link->announced = link->told = false;
        link->address[0] = link->target[0] = link->listed[0] = link->said[0] = '\0';
        link->target_changed = true;
        link->retry_at_ns = link->probed_ns = 0;
        link->failures = 0;
        memset((void *)&link->figures, 0, sizeof link->figures);
    }
    pthread_mutex_unlock(&peers->lock);
    pthread_mutex_unlock(&link->lock);
    return free;
}

void peer_link_free(struct link *link)
{
    CHECK(link->attempt == NULL);
    CHECK(link->queued.first == NULL); /* dropped when the last attempt ended */
    if (link->channel != NULL)
        grpc_channel_destroy(link->channel);
    pthread_mutex_destroy(&link->lock);
    free(link);
}
