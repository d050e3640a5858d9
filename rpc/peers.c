#include "rpc/peers.h"

#include "actors/boot.h"
#include "base/check.h"
#include "model/hash.h"
#include "rpc/listen.h"
#include "rpc/peer_link.h"

#include <grpc/byte_buffer_reader.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define NS_PER_MS            UINT64_C(1000000)
#define REFUSAL_LOG_EVERY_NS (60000 * NS_PER_MS)
#define RAISE_MS_DEFAULT     10000u
#define REFUSED_MS_DEFAULT   5000u
#define STALL_MS_DEFAULT     10000u
#define STREAMS_OF_A_PEER    16
#define DRAIN_LOOK_NS        1000000

static grpc_arg integer_arg(const char *key, int value)
{
    /* gRPC copies the key; its type is not const for historical reasons only. */
    return (grpc_arg){
        .type = GRPC_ARG_INTEGER, .key = (char *)(uintptr_t)key, .value.integer = value};
}

static grpc_server *server_new(void)
{
    grpc_arg args[] = {
        integer_arg(GRPC_ARG_ALLOW_REUSEPORT, 0),
        integer_arg(GRPC_ARG_ENABLE_CHANNELZ, 0),
        integer_arg(GRPC_ARG_MAX_CONCURRENT_STREAMS, STREAMS_OF_A_PEER),
        integer_arg(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, (int)GRPC_MESSAGE_BYTES_MAX),
        integer_arg(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, 5000),
        integer_arg(GRPC_ARG_MAX_CONNECTION_IDLE_MS, 60000),
        integer_arg(GRPC_ARG_KEEPALIVE_TIME_MS, PEER_KEEPALIVE_MS),
        integer_arg(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, PEER_KEEPALIVE_TIMEOUT_MS),
        integer_arg(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1),
        integer_arg(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, PEER_KEEPALIVE_MS / 2),
    };
    grpc_channel_args all = {.num_args = ARRAY_COUNT(args), .args = args};
    return grpc_server_create(&all, NULL);
}

static enum err server_listen(struct rpc_peers *peers, char *why, size_t why_size)
{
    char address[ADDRESS_MAX + 8];
    const char *given = peers->options.address;
    snprintf(address, sizeof address, "%s%s", given[0] == ':' ? "[::]" : "", given);
    return rpc_listen(peers->server, "--peer-address (or this node's entry of --initial-cluster)",
                      address, &peers->port, why, why_size);
}

/* True: the hello says another one from now on. */
static bool generation_tick(struct rpc_peers *peers, uint64_t now_ns)
{
    struct store *meta = peers->options.meta;
    bool says = false;
    if (meta == NULL)
        return false;
    pthread_mutex_lock(&peers->lock);
    if (peers->raised != 0 && store_committed(meta) >= peers->raised_sequence) {
        peers->generation = peers->raised;
        peers->raised = 0;
        atomic_fetch_add(&peers->raises, 1);
        says = true;
    } else if (peers->raised == 0 && now_ns >= peers->raise_at_ns && !peers->closing) {
        uint64_t generation = 0;
        peers->raise_at_ns = now_ns + peers->options.raise_ms * NS_PER_MS;
        enum err err = boot_raise_generation(meta, peers->life_accepted, &generation);
        if (err == OK) { /* else with the next turn */
            peers->raised = generation;
            peers->raised_sequence = store_staged(meta);
            store_submit(meta);
        }
    }
    pthread_mutex_unlock(&peers->lock);
    return says;
}

static void on_tick(struct rpc_tick *tick)
{
    struct rpc_peers *peers = CONTAINER_OF(tick, struct rpc_peers, tick);
    uint64_t now_ns = runtime_now_ns();
    uint32_t count = atomic_load(&peers->link_count);
    bool says = generation_tick(peers, now_ns);
    for (uint32_t i = 0; i < count; i++) {
        peer_link_tick(peers->links[i], now_ns);
        if (says)
            peer_link_say(peers->links[i]);
    }
    peer_serve_tick(peers, now_ns);
}

static void on_shutdown(struct rpc_event *event, bool ok)
{
    (void)ok;
    peers_live_drop(CONTAINER_OF(event, struct rpc_peers, on_shutdown));
}

static void peers_destroy(struct rpc_peers *peers)
{
    grpc_server_destroy(peers->server);
    for (uint32_t i = 0; i < atomic_load(&peers->link_count); i++)
        peer_link_free(peers->links[i]);
    CHECK(peers->incoming == NULL);
    pthread_mutex_destroy(&peers->lock);
    pthread_mutex_destroy(&peers->connecting);
    pthread_cond_destroy(&peers->idle);
    free(peers);
}

enum err rpc_peers_start(const struct rpc_peers_options *options, struct rpc_peers **ret_peers,
                         char *why, size_t why_size)
{
    CHECK(options->address != NULL && strlen(options->address) <= ADDRESS_MAX);
    CHECK_U64(options->queue_bytes_max, >=, GRPC_MESSAGE_BYTES_MAX);
    CHECK_U64(options->backoff_min_ms, >, 0);
    CHECK_U64(options->backoff_min_ms, <=, options->backoff_max_ms);
    CHECK_U64(options->hello.member, !=, MEMBER_NONE);
    struct rpc_peers *peers = calloc(1, sizeof *peers);
    CHECK(peers != NULL);
    peers->options = *options;
    if (peers->options.refused_ms == 0)
        peers->options.refused_ms = REFUSED_MS_DEFAULT;
    if (peers->options.stall_ms == 0)
        peers->options.stall_ms = STALL_MS_DEFAULT;
    snprintf(peers->address, sizeof peers->address, "%s", options->address);
    peers->options.address = peers->address;
    if (peers->options.raise_ms == 0)
        peers->options.raise_ms = RAISE_MS_DEFAULT;
    peers->hello = options->hello;
    peers->generation = options->hello.generation;
    peers->raise_at_ns = runtime_now_ns() + peers->options.raise_ms * NS_PER_MS;
    peers->tick.run = on_tick;
    peers->on_shutdown.done = on_shutdown;
    prng_init(&peers->prng, runtime_now_ns(), options->hello.member);
    CHECK(pthread_mutex_init(&peers->lock, NULL) == 0);
    CHECK(pthread_mutex_init(&peers->connecting, NULL) == 0);
    CHECK(pthread_cond_init(&peers->idle, NULL) == 0);
    peers->server = server_new();
    for (uint32_t i = 0; i < rpc_loop_count(options->loop); i++)
        grpc_server_register_completion_queue(peers->server, rpc_loop_queue(options->loop, i),
                                              NULL);
    peers->method =
        grpc_server_register_method(peers->server, PEER_METHOD, NULL, GRPC_SRM_PAYLOAD_NONE, 0);
    CHECK(peers->method != NULL);
    enum err err = server_listen(peers, why, why_size);
    if (err != OK) {
        peers_destroy(peers);
        return err;
    }
    grpc_server_start(peers->server);
    rpc_loop_tick_add(options->loop, &peers->tick);
    *ret_peers = peers;
    return OK;
}

int rpc_peers_port(const struct rpc_peers *peers)
{
    return peers->port;
}

/* -- who is who
 * ---------------------------------------------------------------------------------------- */

struct link *peers_link(struct rpc_peers *peers, uint32_t member)
{
    uint32_t count = atomic_load_explicit(&peers->link_count, memory_order_acquire);
    for (uint32_t i = 0; i < count; i++)
        if (peers->links[i]->member == member)
            return peers->links[i];
    return NULL;
}

/* What is said to who calls goes by this. Under peers->lock. */
static void members_note(struct rpc_peers *peers, const struct topology *topology)
{
    peers->number_next = topology->number_next;
    peers->listed_count = 0;
    for (uint32_t i = 0; i < topology->member_count; i++) {
        if (topology->members[i].status != MEMBER_REMOVED && !topology->members[i].gone)
            peers->listed[peers->listed_count++] = topology->members[i].number;
    }
}

static bool wants_link(const struct topology *topology, uint32_t member, uint32_t self)
{
    const struct member *found = topology_member(topology, member);
    return found != NULL && member != self && found->status != MEMBER_REMOVED && !found->gone;
}

/* NULL: the links of members that have gone are not closed yet. */
static struct link *link_for(struct rpc_peers *peers, uint32_t member)
{
    struct link *link = peers_link(peers, member);
    if (link != NULL)
        return link;
    uint32_t count = atomic_load(&peers->link_count);
    for (uint32_t i = 0; i < count; i++)
        if (peer_link_reuse(peers->links[i], member))
            return peers->links[i];
    if (count == MEMBERS_MAX)
        return NULL;
    uint32_t queue = count % rpc_loop_count(peers->options.loop);
    link = peer_link_new(peers, member, rpc_loop_queue(peers->options.loop, queue));
    peers->links[count] = link;
    atomic_store_explicit(&peers->link_count, count + 1, memory_order_release);
    return link;
}

static void links_follow(struct rpc_peers *peers, const struct topology *topology)
{
    uint32_t self = peers->options.hello.member;
    for (uint32_t i = 0; i < atomic_load(&peers->link_count); i++) {
        if (wants_link(topology, peers->links[i]->member, self))
            continue;
        peer_link_close(peers->links[i]);
        pthread_mutex_lock(&peers->lock);
        peer_serve_end(peers, peers->links[i], NULL, "the member was removed");
        pthread_mutex_unlock(&peers->lock);
    }
    for (uint32_t i = 0; i < topology->member_count; i++) {
        const struct member *member = &topology->members[i];
        if (!wants_link(topology, member->number, self))
            continue;
        struct link *link = link_for(peers, member->number);
        if (link != NULL)
            peer_link_set_address(link, member->address);
        else
            log_write(peers->options.log, LOG_WARNING, "peer_table_full", "member=%u",
                      member->number);
    }
}

void rpc_peers_connect(struct rpc_peers *peers, const struct topology *topology)
{
    pthread_mutex_lock(&peers->connecting);
    pthread_mutex_lock(&peers->lock);
    bool closing = peers->closing;
    bool older = topology->epoch < peers->hello.epoch && peers->armed;
    bool arm = !peers->armed && !closing;
    peers->armed = peers->armed || arm;
    if (!older) {
        peers->hello.epoch = topology->epoch;
        members_note(peers, topology);
    }
    pthread_mutex_unlock(&peers->lock);
    if (!closing && !older)
        links_follow(peers, topology);
    if (arm)
        peer_serve_arm(peers);
    pthread_mutex_unlock(&peers->connecting);
}

struct peer_hello peers_hello(struct rpc_peers *peers, uint32_t to_member)
{
    pthread_mutex_lock(&peers->lock);
    struct peer_hello hello = peers->hello;
    pthread_mutex_unlock(&peers->lock);
    hello.to_member = to_member;
    return hello;
}

struct peer_hello peers_hello_again(struct rpc_peers *peers, uint32_t to_member)
{
    struct peer_hello hello = peers_hello(peers, to_member);
    pthread_mutex_lock(&peers->lock);
    hello.generation = peers->generation;
    pthread_mutex_unlock(&peers->lock);
    return hello;
}

bool peers_may_log(struct rpc_peers *peers, uint64_t hash)
{
    uint64_t now_ns = runtime_now_ns();
    size_t oldest = 0;
    bool fresh = true;
    pthread_mutex_lock(&peers->lock);
    for (size_t i = 0; i < ARRAY_COUNT(peers->logged); i++) {
        if (peers->logged[i].hash == hash && peers->logged[i].at_ns != 0 &&
            now_ns - peers->logged[i].at_ns < REFUSAL_LOG_EVERY_NS)
            fresh = false;
        if (peers->logged[i].at_ns < peers->logged[oldest].at_ns)
            oldest = i;
    }
    if (fresh) {
        peers->logged[oldest].hash = hash;
        peers->logged[oldest].at_ns = now_ns;
    }
    pthread_mutex_unlock(&peers->lock);
    return fresh;
}

void peers_refuse(struct rpc_peers *peers, uint32_t member, const char *direction, const char *why)
{
    atomic_fetch_add(&peers->refused, 1);
    if (peers_may_log(peers, hash_bytes(bytes_of_string(why), member)))
        log_write(peers->options.log, LOG_WARNING, "peer_refused",
                  "member=%u direction=%s why=\"%s\"", member, direction, why);
    if (peers->options.refused != NULL)
        peers->options.refused(peers->options.host, member, why);
}

/* -- shared pieces
 * -------------------------------------------------------------------------------------- */

void peers_live_add(struct rpc_peers *peers)
{
    pthread_mutex_lock(&peers->lock);
    peers->live++;
    pthread_mutex_unlock(&peers->lock);
}

void peers_live_drop(struct rpc_peers *peers)
{
    pthread_mutex_lock(&peers->lock);
    CHECK_U64(peers->live, >, 0);
    if (--peers->live == 0)
        pthread_cond_broadcast(&peers->idle);
    pthread_mutex_unlock(&peers->lock);
}

uint64_t peers_jitter_ns(struct rpc_peers *peers, uint64_t ms)
{
    pthread_mutex_lock(&peers->lock);
    uint64_t ns = prng_between(&peers->prng, ms * NS_PER_MS / 2, ms * NS_PER_MS);
    pthread_mutex_unlock(&peers->lock);
    return ns;
}

enum err peers_buffer_bytes(grpc_byte_buffer *buffer, grpc_slice *ret_copy, struct bytes *ret_bytes)
{
    grpc_byte_buffer_reader reader;
    if (grpc_byte_buffer_length(buffer) == 0) {
        *ret_copy = grpc_empty_slice();
        *ret_bytes = (struct bytes){0};
        return OK;
    }
    if (!grpc_byte_buffer_reader_init(&reader, buffer))
        return ERR_CORRUPT;
    if (buffer->type == GRPC_BB_RAW && buffer->data.raw.compression == GRPC_COMPRESS_NONE &&
        buffer->data.raw.slice_buffer.count == 1) {
        const grpc_slice *slice = &buffer->data.raw.slice_buffer.slices[0];
        *ret_copy = grpc_empty_slice();
        *ret_bytes = bytes_of(GRPC_SLICE_START_PTR(*slice), GRPC_SLICE_LENGTH(*slice));
    } else {
        *ret_copy = grpc_byte_buffer_reader_readall(&reader);
        *ret_bytes = bytes_of(GRPC_SLICE_START_PTR(*ret_copy), GRPC_SLICE_LENGTH(*ret_copy));
    }
    grpc_byte_buffer_reader_destroy(&reader);
    return OK;
}

grpc_byte_buffer *peers_hello_buffer(const struct peer_hello *hello)
{
    uint8_t memory[1024];
    struct arena arena;
    arena_init(&arena, memory, sizeof memory);
    struct bytes frame = peer_frame_hello(&arena, hello);
    grpc_slice slice = grpc_slice_from_copied_buffer((const char *)frame.data, frame.size);
    grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice);
    arena_deinit(&arena);
    return buffer;
}

/* -- messages out
 * ------------------------------------------------------------------------------------------ */

void rpc_peers_deliver(struct rpc_peers *peers, struct message *list)
{
    uint64_t now_ns = runtime_now_ns();
    struct link *touched[MEMBERS_MAX];
    uint32_t touched_count = 0;
    while (list != NULL) {
        struct message *message = list;
        list = message->next;
        struct link *link = peers_link(peers, message->to.node);
        if (link != NULL && peer_link_append(link, message, now_ns)) {
            uint32_t i = 0;
            while (i < touched_count && touched[i] != link)
                i++;
            if (i == touched_count)
                touched[touched_count++] = link;
        } else {
            /* Who waits for an answer hears at once that there will be none. */
            struct message *answer = message_new_undelivered(message);
            if (answer != NULL)
                rpc_loop_post(peers->options.loop, answer);
        }
        message_free(message);
    }
    /* Only now: one frame for all of the batch. */
    for (uint32_t i = 0; i < touched_count; i++)
        peer_link_flush(touched[i]);
}

bool rpc_peers_settled(struct rpc_peers *peers)
{
    for (uint32_t i = 0; i < atomic_load(&peers->link_count); i++)
        if (!peer_link_settled(peers->links[i]))
            return false;
    return true;
}

/* -- the end
 * -------------------------------------------------------------------------------------------------
 */

static bool queues_are_empty(struct rpc_peers *peers)
{
    for (uint32_t i = 0; i < atomic_load(&peers->link_count); i++)
        if (!peer_link_is_empty(peers->links[i]))
            return false;
    return true;
}

void rpc_peers_drain(struct rpc_peers *peers, uint32_t grace_ms)
{
    CHECK(!peers->drained);
    peers->drained = true;
    uint64_t until_ns = runtime_now_ns() + grace_ms * NS_PER_MS;
    while (!queues_are_empty(peers) && runtime_now_ns() < until_ns)
        nanosleep(&(struct timespec){.tv_nsec = DRAIN_LOOK_NS}, NULL);
    pthread_mutex_lock(&peers->lock);
    peers->closing = true;
    peers->live++; /* the server's own tag */
    pthread_mutex_unlock(&peers->lock);
    rpc_loop_tick_remove(peers->options.loop, &peers->tick);
    for (uint32_t i = 0; i < atomic_load(&peers->link_count); i++)
        peer_link_close(peers->links[i]);
    grpc_server_shutdown_and_notify(peers->server, rpc_loop_queue(peers->options.loop, 0),
                                    &peers->on_shutdown);
    grpc_server_cancel_all_calls(peers->server);
    rpc_peers_committed(peers, UINT64_MAX); /* nobody waits any more */
    pthread_mutex_lock(&peers->lock);
    while (peers->live != 0)
        pthread_cond_wait(&peers->idle, &peers->lock);
    pthread_mutex_unlock(&peers->lock);
}

void rpc_peers_free(struct rpc_peers *peers)
{
    if (peers == NULL)
        return;
    if (!peers->drained)
        rpc_peers_drain(peers, 0);
    peers_destroy(peers);
}
