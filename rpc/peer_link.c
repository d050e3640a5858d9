#include "rpc/peer_link.h"

#include "base/check.h"
#include "rpc/client_channel.h"
#include "rpc/peer_attempt.h"

#include <stdio.h>
#include <stdlib.h>

#define NS_PER_MS UINT64_C(1000000)
/* How long messages wait for a link that is being opened. */
#define OPENING_QUEUE_NS (500 * NS_PER_MS)

static const uint32_t moves[LINK_STATE_COUNT] = {
    [LINK_IDLE] = 1u << LINK_OPENING | 1u << LINK_CLOSED,
    [LINK_OPENING] = 1u << LINK_UP | 1u << LINK_ENDING,
    [LINK_UP] = 1u << LINK_ENDING,
    [LINK_ENDING] = 1u << LINK_IDLE | 1u << LINK_CLOSED,
    [LINK_CLOSED] = 0,
};

void peer_link_move(struct link *link, enum link_state to)
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

void peer_link_drop_queue(struct link *link)
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

/* True: the link is up, and its next frame begins with our hello, or one is on its way already. */
static bool hello_queue(struct link *link)
{
    struct peer_hello hello = peers_hello_again(link->peers, link->member);
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
    return up;
}

void peer_link_say(struct link *link)
{
    (void)hello_queue(link);
}

void peer_link_probe(struct link *link)
{
    if (!hello_queue(link)) /* whoever answers there says who it is */
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
    peer_attempt_send(attempt, frame);
}

void peer_link_announce(struct link *link)
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
        peer_attempt_open(link);
    } else if (link->attempt != NULL) {
        link->attempt->retry_now = true;
        peer_attempt_cancel(link->attempt, GRPC_STATUS_CANCELLED, "the peer's address changed");
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
        peer_attempt_open(link);
    } else if (link->state == LINK_OPENING || link->state == LINK_UP) {
        bool waiting = link->state == LINK_UP ? attempt->sending : attempt->hello_sent;
        if (waiting && now_ns > attempt->waiting_since_ns + stall_ns)
            peer_attempt_cancel(attempt, GRPC_STATUS_DEADLINE_EXCEEDED,
                                "the peer makes no progress");
        /* By their age: who calls again and again moves opened_at_ns. */
        if (link->state == LINK_OPENING && now_ns >= link->queued_since_ns + OPENING_QUEUE_NS)
            peer_link_drop_queue(link);
        link->failures += link->failures == 0 && link_cannot_connect(link);
    }
    peer_link_announce(link);
    pthread_mutex_unlock(&link->lock);
}

void peer_link_poke(struct link *link)
{
    pthread_mutex_lock(&link->lock);
    if (link->state == LINK_IDLE && !link->closing && link->target[0] != '\0')
        peer_attempt_open(link);
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
        peer_link_move(link, LINK_CLOSED);
    else if (link->attempt != NULL)
        peer_attempt_cancel(link->attempt, GRPC_STATUS_CANCELLED, "this node closes the link");
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
