// link: coterie_rpc coterie_store
/* Bytes that no peer sends, and peers that say hello and no more: they end alone, what waits for
 * them is bounded, and everything is freed in whatever state it is (DESIGN.md 10).
 */
#include "peers_fixture.h"

/* -- hostile bytes
 * ---------------------------------------------------------------------------------------- */

static int raw_connect(int port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    CHECK(fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) == 0);
    return fd;
}

static grpc_byte_buffer *buffer_of(struct bytes bytes)
{
    grpc_slice slice = grpc_slice_from_copied_buffer((const char *)bytes.data, bytes.size);
    grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice);
    return buffer;
}

static void pluck(grpc_completion_queue *queue, void *tag)
{
    gpr_timespec until =
        gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_seconds(20, GPR_TIMESPAN));
    grpc_event event = grpc_completion_queue_pluck(queue, tag, until, NULL);
    if (event.type != GRPC_OP_COMPLETE)
        fail_msg("no answer on the raw stream");
}

/* Opens a stream as a client of its own, sends two frames, gives the status that it ends with. */
static grpc_status_code raw_stream(int port, const char *method, struct bytes first,
                                   struct bytes second)
{
    char target[64];
    snprintf(target, sizeof target, "ipv4:127.0.0.1:%d", port);
    grpc_channel_credentials *credentials = grpc_insecure_credentials_create();
    grpc_channel *channel = grpc_channel_create(target, credentials, NULL);
    grpc_channel_credentials_release(credentials);
    grpc_completion_queue *queue = grpc_completion_queue_create_for_pluck(NULL);
    grpc_slice method_name = grpc_slice_from_copied_string(method);
    grpc_call *call =
        grpc_channel_create_call(channel, NULL, GRPC_PROPAGATE_DEFAULTS, queue, method_name, NULL,
                                 gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
    grpc_byte_buffer *frames[2] = {buffer_of(first), buffer_of(second)};
    grpc_byte_buffer *in = NULL;
    grpc_metadata_array initial = {0};
    grpc_metadata_array trailing = {0};
    grpc_status_code status = GRPC_STATUS_UNKNOWN;
    grpc_slice details = grpc_empty_slice();
    grpc_op open[3] = {
        {.op = GRPC_OP_SEND_INITIAL_METADATA, .flags = GRPC_INITIAL_METADATA_WAIT_FOR_READY},
        {.op = GRPC_OP_SEND_MESSAGE, .data.send_message.send_message = frames[0]},
    };
    grpc_op receive[2] = {
        {.op = GRPC_OP_RECV_INITIAL_METADATA,
         .data.recv_initial_metadata.recv_initial_metadata = &initial},
        {.op = GRPC_OP_RECV_MESSAGE, .data.recv_message.recv_message = &in},
    };
    grpc_op more = {.op = GRPC_OP_SEND_MESSAGE, .data.send_message.send_message = frames[1]};
    grpc_op end = {.op = GRPC_OP_RECV_STATUS_ON_CLIENT,
                   .data.recv_status_on_client = {.trailing_metadata = &trailing,
                                                  .status = &status,
                                                  .status_details = &details}};
    int tags[4];
    CHECK(grpc_call_start_batch(call, &end, 1, &tags[0], NULL) == GRPC_CALL_OK);
    CHECK(grpc_call_start_batch(call, open, 2, &tags[1], NULL) == GRPC_CALL_OK);
    CHECK(grpc_call_start_batch(call, receive, 2, &tags[2], NULL) == GRPC_CALL_OK);
    pluck(queue, &tags[1]);
    CHECK(grpc_call_start_batch(call, &more, 1, &tags[3], NULL) == GRPC_CALL_OK);
    pluck(queue, &tags[3]);
    pluck(queue, &tags[2]);
    pluck(queue, &tags[0]);
    grpc_byte_buffer_destroy(frames[0]);
    grpc_byte_buffer_destroy(frames[1]);
    grpc_byte_buffer_destroy(in);
    grpc_metadata_array_destroy(&initial);
    grpc_metadata_array_destroy(&trailing);
    grpc_slice_unref(details);
    grpc_slice_unref(method_name);
    grpc_call_unref(call);
    grpc_channel_destroy(channel);
    grpc_completion_queue_shutdown(queue);
    while (
        grpc_completion_queue_pluck(queue, NULL, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL).type !=
        GRPC_QUEUE_SHUTDOWN)
        continue;
    grpc_completion_queue_destroy(queue);
    return status;
}

static struct bytes frame_of(struct arena *arena, struct message *message)
{
    struct writer writer;
    writer_init(&writer, arena, 64);
    peer_frame_append(&writer, peer_message_encode(arena, message, 0));
    message_free(message);
    return writer_result(&writer);
}

static struct message *read_of_partition(uint32_t partition)
{
    struct message *message = message_new(MESSAGE_replica_read, 0);
    message->from = (struct actor_id){2, ACTOR_COORDINATOR, 0};
    message->to = (struct actor_id){1, ACTOR_REPLICA, 0};
    message->replica_read.key = bytes_of_string("k");
    message->replica_read.partition = partition;
    return message;
}

static void test_hostile_streams_end_alone(void **state)
{
    (void)state;
    const char *link_method = "/coterie.internal.v1.Peer/Link";
    struct node *a = node_start_plain(1);
    struct node *c = node_start_plain(3);
    node_connect(a, a->port, NOWHERE, c->port);
    node_connect(c, a->port, NOWHERE, c->port);
    WAIT_FOR(linked(a, c));
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct peer_hello hello = hello_of(&(struct node_options){.member = 2});
    hello.to_member = 1;
    struct bytes greeting = peer_frame_hello(&arena, &hello);
    struct bytes sound = frame_of(&arena, read_of_partition(3));
    struct bytes noise = bytes_of_string("\xff\xfe what is this \x01\x02");
    uint64_t malformed = totals_of(a).malformed;
    assert_int_equal(raw_stream(a->port, link_method, noise, noise), GRPC_STATUS_INVALID_ARGUMENT);
    assert_int_equal(raw_stream(a->port, link_method, sound, greeting),
                     GRPC_STATUS_INVALID_ARGUMENT); /* no hello first */
    assert_int_equal(raw_stream(a->port, link_method, greeting, noise),
                     GRPC_STATUS_INVALID_ARGUMENT);
    hello.start_nonce++; /* somebody else's, on the same stream */
    assert_int_equal(raw_stream(a->port, link_method, greeting, peer_frame_hello(&arena, &hello)),
                     GRPC_STATUS_INVALID_ARGUMENT);
    hello.start_nonce--;
    assert_int_equal(
        raw_stream(a->port, link_method, greeting, frame_of(&arena, read_of_partition(PARTITIONS))),
        GRPC_STATUS_INVALID_ARGUMENT);
    assert_int_equal(totals_of(a).malformed, malformed + 5);
    uint8_t *big = arena_alloc_zero(&arena, GRPC_MESSAGE_BYTES_MAX + 1);
    assert_int_equal(
        raw_stream(a->port, link_method, greeting, bytes_of(big, GRPC_MESSAGE_BYTES_MAX + 1)),
        GRPC_STATUS_RESOURCE_EXHAUSTED);
    assert_int_equal(raw_stream(a->port, "/coterie.internal.v1.Peer/Other", greeting, sound),
                     GRPC_STATUS_UNIMPLEMENTED);
    hello.cluster_id[0] ^= 1;
    assert_int_equal(raw_stream(a->port, link_method, peer_frame_hello(&arena, &hello), sound),
                     GRPC_STATUS_FAILED_PRECONDITION);
    WAIT_FOR(totals_of(a).streams == 1);
    /* The link that behaves has noticed nothing. */
    assert_int_equal(atomic_load(&a->downs[3]) + atomic_load(&c->downs[1]), 0);
    ask(c, 1, 0, 10, 16);
    WAIT_FOR(atomic_load(&c->answers) == 10);
    arena_deinit(&arena);
    node_stop(a, 0);
    node_stop(c, 0);
}

static void test_garbage_on_the_port(void **state)
{
    (void)state;
    struct node *a = node_start_plain(1);
    struct node *b = node_start_plain(2);
    node_connect(a, a->port, b->port, NOWHERE);
    node_connect(b, a->port, b->port, NOWHERE);
    WAIT_FOR(linked(a, b));
    struct prng prng;
    prng_init(&prng, 42, 0);
    for (int round = 0; round < 40; round++) {
        int fd = raw_connect(a->port);
        uint8_t garbage[4096];
        for (size_t i = 0; i < sizeof garbage; i++)
            garbage[i] = (uint8_t)prng_u64(&prng);
        if (round % 2 == 1) /* past the preface */
            memcpy(garbage, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
        (void)!send(fd, garbage, prng_between(&prng, 1, sizeof garbage), MSG_NOSIGNAL);
        close(fd);
    }
    ask(a, 2, 0, 10, 16);
    ask(b, 1, 0, 10, 16);
    WAIT_FOR(atomic_load(&a->answers) == 10 && atomic_load(&b->answers) == 10);
    node_stop(a, 0);
    node_stop(b, 0);
}

/* One that calls again and again but cannot be called: messages to it do not pile up. */
static void test_a_queue_does_not_wait_for_who_only_calls(void **state)
{
    (void)state;
    struct node *a = node_start_plain(1);
    struct node *b = node_start_plain(2); /* not connected: a's call waits there */
    node_connect(a, a->port, b->port, NOWHERE);
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct peer_hello hello = hello_of(&(struct node_options){.member = 2});
    hello.to_member = 1;
    struct bytes greeting = peer_frame_hello(&arena, &hello);
    uint64_t start_ns = runtime_now_ns();
    ask(a, 2, 0, 5, 16);
    while (figures_of(a, 2).messages_dropped < 5) {
        raw_stream(a->port, "/coterie.internal.v1.Peer/Link", greeting, bytes_of_string("noise"));
        assert_true(runtime_now_ns() - start_ns < 10000 * NS_PER_MS);
    }
    assert_true(runtime_now_ns() - start_ns > 490 * NS_PER_MS);
    WAIT_FOR(atomic_load(&a->undelivered) == 5);
    arena_deinit(&arena);
    node_stop(a, 0);
    node_stop(b, 0);
}

/* -- a peer that says hello and reads nothing more
 * ------------------------------------------------------- */

struct deaf_peer {
    grpc_server *server;
    grpc_completion_queue *queue;
    int port;
    grpc_call *call;
    grpc_metadata_array metadata;
    gpr_timespec deadline;
    int cancelled;
    bool closed; /* its close tag was plucked */
    grpc_byte_buffer *in;
    grpc_byte_buffer *out;
    int tags[4];
};

static void deaf_start(struct deaf_peer *deaf)
{
    memset(deaf, 0, sizeof *deaf);
    deaf->queue = grpc_completion_queue_create_for_pluck(NULL);
    deaf->server = grpc_server_create(NULL, NULL);
    grpc_server_register_completion_queue(deaf->server, deaf->queue, NULL);
    void *method = grpc_server_register_method(deaf->server, "/coterie.internal.v1.Peer/Link", NULL,
                                               GRPC_SRM_PAYLOAD_NONE, 0);
    grpc_server_credentials *credentials = grpc_insecure_server_credentials_create();
    deaf->port = grpc_server_add_http2_port(deaf->server, "127.0.0.1:0", credentials);
    grpc_server_credentials_release(credentials);
    grpc_server_start(deaf->server);
    CHECK(grpc_server_request_registered_call(deaf->server, method, &deaf->call, &deaf->deadline,
                                              &deaf->metadata, NULL, deaf->queue, deaf->queue,
                                              &deaf->tags[0]) == GRPC_CALL_OK);
}

static void deaf_greet(struct deaf_peer *deaf)
{
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct peer_hello hello = hello_of(&(struct node_options){.member = 2});
    hello.to_member = 1;
    deaf->out = buffer_of(peer_frame_hello(&arena, &hello));
    pluck(deaf->queue, &deaf->tags[0]);
    grpc_op close_op = {.op = GRPC_OP_RECV_CLOSE_ON_SERVER,
                        .data.recv_close_on_server.cancelled = &deaf->cancelled};
    grpc_op ops[3] = {
        {.op = GRPC_OP_RECV_MESSAGE, .data.recv_message.recv_message = &deaf->in},
        {.op = GRPC_OP_SEND_INITIAL_METADATA},
        {.op = GRPC_OP_SEND_MESSAGE, .data.send_message.send_message = deaf->out},
    };
    CHECK(grpc_call_start_batch(deaf->call, &close_op, 1, &deaf->tags[1], NULL) == GRPC_CALL_OK);
    CHECK(grpc_call_start_batch(deaf->call, ops, 3, &deaf->tags[2], NULL) == GRPC_CALL_OK);
    pluck(deaf->queue, &deaf->tags[2]);
    arena_deinit(&arena);
}

static void deaf_stop(struct deaf_peer *deaf)
{
    grpc_server_shutdown_and_notify(deaf->server, deaf->queue, &deaf->tags[3]);
    grpc_server_cancel_all_calls(deaf->server);
    if (!deaf->closed)
        pluck(deaf->queue, &deaf->tags[1]);
    pluck(deaf->queue, &deaf->tags[3]);
    grpc_byte_buffer_destroy(deaf->in);
    grpc_byte_buffer_destroy(deaf->out);
    grpc_call_unref(deaf->call);
    grpc_metadata_array_destroy(&deaf->metadata);
    grpc_server_destroy(deaf->server);
    grpc_completion_queue_shutdown(deaf->queue);
    while (grpc_completion_queue_pluck(deaf->queue, NULL, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL)
               .type != GRPC_QUEUE_SHUTDOWN)
        continue;
    grpc_completion_queue_destroy(deaf->queue);
}

static void deaf_accept(struct deaf_peer *deaf)
{
    pluck(deaf->queue, &deaf->tags[0]);
    grpc_op op = {.op = GRPC_OP_RECV_CLOSE_ON_SERVER,
                  .data.recv_close_on_server.cancelled = &deaf->cancelled};
    CHECK(grpc_call_start_batch(deaf->call, &op, 1, &deaf->tags[1], NULL) == GRPC_CALL_OK);
}

static void test_a_hello_without_an_answer_is_given_up(void **state)
{
    (void)state;
    struct deaf_peer deaf;
    deaf_start(&deaf);
    struct node *a = node_start(&(struct node_options){.member = 1, .stall_ms = 500});
    node_connect(a, a->port, deaf.port, NOWHERE);
    deaf_accept(&deaf);
    pluck(deaf.queue, &deaf.tags[1]);
    assert_int_equal(deaf.cancelled, 1);
    assert_false(figures_of(a, 2).connected);
    assert_int_equal(atomic_load(&a->ups[2]), 0);
    WAIT_FOR(atomic_load(&a->downs[2]) == 1); /* said once, though it was never up */
    node_stop(a, 0);
    deaf.closed = true;
    deaf_stop(&deaf);
}

/* The other way round: a stream on which no hello comes. */
static void test_a_stream_without_a_hello_is_given_up(void **state)
{
    (void)state;
    struct node *a = node_start(&(struct node_options){.member = 1, .stall_ms = 2000});
    node_connect(a, a->port, NOWHERE, NOWHERE);
    assert_int_equal(
        raw_stream(a->port, "/coterie.internal.v1.Peer/Link", (struct bytes){0}, (struct bytes){0}),
        GRPC_STATUS_INVALID_ARGUMENT); /* an empty frame is no hello */
    int fd = raw_connect(a->port);
    /* Preface, SETTINGS, and HEADERS that open the stream (names and values without Huffman). */
    static const char request[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
                                  "\0\0\0\4\0\0\0\0\0"
                                  "\0\0\x62\1\4\0\0\0\1"
                                  "\x83\x86"
                                  "\0\5:path\x1e/coterie.internal.v1.Peer/Link"
                                  "\0\xa:authority\1x"
                                  "\0\2te\x8trailers"
                                  "\0\xc"
                                  "content-type\x10"
                                  "application/grpc";
    CHECK(sizeof request - 1 == 24 + 9 + 9 + 0x62);
    CHECK(send(fd, request, sizeof request - 1, MSG_NOSIGNAL) == (ssize_t)(sizeof request - 1));
    WAIT_FOR(totals_of(a).streams == 1);
    WAIT_FOR(totals_of(a).streams == 0);
    close(fd);
    node_stop(a, 0);
}

static void test_the_queue_to_a_deaf_peer_is_bounded(void **state)
{
    (void)state;
    const size_t queue_bytes_max = GRPC_MESSAGE_BYTES_MAX;
    struct deaf_peer deaf;
    deaf_start(&deaf);
    struct node *a = node_start(
        &(struct node_options){.member = 1, .queue_bytes_max = queue_bytes_max, .stall_ms = 5000});
    node_connect(a, a->port, deaf.port, NOWHERE);
    deaf_greet(&deaf);
    WAIT_FOR(figures_of(a, 2).connected);
    for (uint64_t i = 0; i < 4000; i++) {
        ask(a, 2, i, 1, KEY_BYTES_MAX);
        assert_true(figures_of(a, 2).queue_bytes <= queue_bytes_max);
    }
    struct rpc_peer_figures figures = figures_of(a, 2);
    assert_true(figures.messages_dropped > 1000);
    assert_true(figures.queue_bytes > queue_bytes_max / 2);
    /* A send that does not end ends the link. */
    WAIT_FOR(atomic_load(&a->downs[2]) == 1);
    WAIT_FOR(figures_of(a, 2).queue_bytes == 0);
    figures = figures_of(a, 2);
    assert_int_equal(figures.messages_dropped + figures.messages_sent, 4000);
    node_stop(a, 0);
    deaf_stop(&deaf);
}

/* -- the end in every state
 * -------------------------------------------------------------------------------- */

static void test_free_in_every_state(void **state)
{
    (void)state;
    /* Never connected. */
    node_stop(node_start_plain(1), 0);
    /* Nobody listens there; and at once, while the first attempts start. */
    struct node *a = node_start_plain(1);
    node_connect(a, a->port, NOWHERE, NOWHERE);
    node_stop(a, 0);
    a = node_start_plain(1);
    node_connect(a, a->port, NOWHERE, NOWHERE);
    ask(a, 2, 0, 5, 16);
    WAIT_FOR(figures_of(a, 2).messages_dropped == 5);
    nanosleep(&(struct timespec){.tv_nsec = 300000000}, NULL); /* into the back-off */
    node_stop(a, 100);
    /* With messages that wait for a link. */
    a = node_start_plain(1);
    struct node *waiting = node_start_plain(2);
    node_connect(a, a->port, waiting->port, NOWHERE);
    ask(a, 2, 0, 5, 16);
    node_stop(waiting, 0);
    node_stop(a, 100);
    /* A listener that never says anything. */
    int silent = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    CHECK(bind(silent, (struct sockaddr *)&address, size) == 0 && listen(silent, 8) == 0);
    CHECK(getsockname(silent, (struct sockaddr *)&address, &size) == 0);
    a = node_start_plain(1);
    node_connect(a, a->port, ntohs(address.sin_port), NOWHERE);
    nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    node_stop(a, 0);
    close(silent);
    /* Connected but not greeted; then greeted, with a full queue. */
    struct deaf_peer deaf;
    deaf_start(&deaf);
    a = node_start_plain(1);
    node_connect(a, a->port, deaf.port, NOWHERE);
    deaf_accept(&deaf);
    node_stop(a, 0);
    deaf_stop(&deaf);
    deaf_start(&deaf);
    a = node_start_plain(1);
    node_connect(a, a->port, deaf.port, NOWHERE);
    deaf_greet(&deaf);
    WAIT_FOR(figures_of(a, 2).connected);
    for (uint64_t i = 0; i < 1000; i++)
        ask(a, 2, i, 1, KEY_BYTES_MAX);
    node_stop(a, 50);
    deaf_stop(&deaf);
    /* Without a drain of its own. */
    a = node_start_plain(1);
    node_connect(a, a->port, NOWHERE, NOWHERE);
    rpc_peers_free(a->peers);
    runtime_stop(a->runtime);
    rpc_loop_free(a->loop);
    runtime_free(a->runtime);
    pthread_mutex_destroy(&a->lock);
    free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hostile_streams_end_alone),
        cmocka_unit_test(test_garbage_on_the_port),
        cmocka_unit_test(test_a_queue_does_not_wait_for_who_only_calls),
        cmocka_unit_test(test_a_hello_without_an_answer_is_given_up),
        cmocka_unit_test(test_a_stream_without_a_hello_is_given_up),
        cmocka_unit_test(test_the_queue_to_a_deaf_peer_is_bounded),
        cmocka_unit_test(test_free_in_every_state),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
