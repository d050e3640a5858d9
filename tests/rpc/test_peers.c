// link: coterie_rpc coterie_store
/* Peers talk over one stream each way: in order, many messages a frame, and what cannot be said is
 * answered as undelivered (DESIGN.md 9).
 */
#include "peers_fixture.h"

/* -- tests
 * ------------------------------------------------------------------------------------------------
 */

static void test_three_nodes_talk_in_order(void **state)
{
    (void)state;
    struct node *nodes[NODES_MAX];
    for (uint32_t i = 0; i < NODES_MAX; i++)
        nodes[i] = node_start_plain(i + 1);
    for (uint32_t i = 0; i < NODES_MAX; i++)
        node_connect(nodes[i], nodes[0]->port, nodes[1]->port, nodes[2]->port);
    for (uint32_t i = 0; i < NODES_MAX; i++)
        for (uint32_t j = 0; j < i; j++)
            WAIT_FOR(linked(nodes[i], nodes[j]));
    const uint32_t rounds = 200;
    const uint32_t batch = 20;
    for (uint32_t round = 0; round < rounds; round++)
        for (uint32_t i = 0; i < NODES_MAX; i++)
            for (uint32_t j = 0; j < NODES_MAX; j++)
                if (i != j)
                    ask(nodes[i], nodes[j]->member, round * batch, batch, 16);
    for (uint32_t i = 0; i < NODES_MAX; i++) {
        WAIT_FOR(atomic_load(&nodes[i]->answers) == (NODES_MAX - 1) * rounds * batch);
        WAIT_FOR(atomic_load(&nodes[i]->requests) == (NODES_MAX - 1) * rounds * batch);
        assert_int_equal(atomic_load(&nodes[i]->disorder), 0);
        assert_int_equal(atomic_load(&nodes[i]->ups[1 + (i + 1) % NODES_MAX]), 1);
    }
    /* The sender counts when gRPC says that the frame has left, which may be after the answer. */
    WAIT_FOR(figures_of(nodes[0], 2).messages_sent == 2 * rounds * batch);
    struct rpc_peer_figures figures = figures_of(nodes[0], 2);
    assert_int_equal(figures.messages_received, 2 * rounds * batch);
    assert_int_equal(figures.messages_dropped, 0);
    assert_int_equal(figures.queue_bytes, 0);
    assert_int_equal(figures.reconnects, 0);
    for (uint32_t i = 0; i < NODES_MAX; i++)
        node_stop(nodes[i], 100);
}

/* DESIGN.md 12: what queued up during the last send is the next frame. */
static void test_frames_carry_many_messages(void **state)
{
    (void)state;
    struct node *a = node_start_plain(1);
    struct node *b = node_start_plain(2);
    node_connect(a, a->port, b->port, NOWHERE);
    node_connect(b, a->port, b->port, NOWHERE);
    WAIT_FOR(linked(a, b));
    const uint64_t count = 100000;
    const uint32_t batch = 50;
    uint64_t start_ns = runtime_now_ns();
    for (uint64_t sent = 0; sent < count; sent += batch) {
        ask(a, 2, sent, batch, 100);
        if (sent > atomic_load(&a->answers) + 30000) /* keeps the mailboxes from overflowing */
            WAIT_FOR(sent < atomic_load(&a->answers) + 20000);
    }
    WAIT_FOR(atomic_load(&a->answers) == count);
    double seconds = (double)(runtime_now_ns() - start_ns) / 1e9;
    assert_int_equal(atomic_load(&a->disorder) + atomic_load(&b->disorder), 0);
    WAIT_FOR(figures_of(a, 2).messages_sent == count);
    struct rpc_peer_figures there = figures_of(a, 2);
    struct rpc_peer_figures back = figures_of(b, 1);
    print_message("%.0f requests/s and as many answers/s; %.0f messages a frame there, %.0f back\n",
                  (double)count / seconds, (double)count / (double)there.frames_sent,
                  (double)count / (double)back.frames_sent);
    assert_true(there.frames_sent * 5 < count);
    assert_true(back.frames_sent * 5 < count);
    assert_int_equal(there.messages_dropped, 0);
    node_stop(a, 100);
    node_stop(b, 100);
}

static void test_large_messages_take_frames_of_their_own(void **state)
{
    (void)state;
    struct node *a = node_start_plain(1);
    struct node *b = node_start_plain(2);
    node_connect_host(a, "localhost", (const int[]){a->port, b->port, NOWHERE});
    node_connect_host(b, "localhost", (const int[]){a->port, b->port, NOWHERE});
    WAIT_FOR(linked(a, b));
    uint8_t *value = calloc(1, GRPC_MESSAGE_BYTES_MAX);
    CHECK(value != NULL);
    for (uint64_t id = 0; id < 12; id++) {
        struct message *message = message_new(MESSAGE_replica_write, 0);
        message->id = id;
        message->from = (struct actor_id){1, ACTOR_COORDINATOR, 0};
        message->to = (struct actor_id){2, ACTOR_REPLICA, 0};
        message->replica_write.key = bytes_of_string("key");
        message->replica_write.record = bytes_of(value, 3 * 1024 * 1024);
        rpc_peers_deliver(a->peers, message);
    }
    /* One that no frame can carry is counted, not sent. */
    struct message *message = message_new(MESSAGE_replica_write, 0);
    message->from = (struct actor_id){1, ACTOR_COORDINATOR, 0};
    message->to = (struct actor_id){2, ACTOR_REPLICA, 0};
    message->replica_write.key = bytes_of_string("key");
    message->replica_write.record = bytes_of(value, GRPC_MESSAGE_BYTES_MAX);
    rpc_peers_deliver(a->peers, message);
    WAIT_FOR(atomic_load(&b->requests) == 12);
    assert_int_equal(atomic_load(&b->disorder), 0);
    assert_int_equal(figures_of(a, 2).messages_dropped, 1);
    assert_true(figures_of(a, 2).connected);
    free(value);
    node_stop(a, 100);
    node_stop(b, 100);
}

static void test_a_peer_dies_and_comes_back(void **state)
{
    (void)state;
    struct node *a = node_start_plain(1);
    struct node *b = node_start_plain(2);
    int port = b->port;
    node_connect(a, a->port, port, NOWHERE);
    node_connect(b, a->port, port, NOWHERE);
    WAIT_FOR(linked(a, b));
    for (uint32_t round = 1; round <= 3; round++) {
        node_stop(b, 0);
        WAIT_FOR(atomic_load(&a->downs[2]) == round);
        WAIT_FOR(!figures_of(a, 2).connected && !figures_of(a, 2).serving);
        uint64_t dropped = figures_of(a, 2).messages_dropped;
        uint64_t undelivered = atomic_load(&a->undelivered);
        ask(a, 2, 0, 7, 16); /* taken for half a second at most, when the link is just opening */
        WAIT_FOR(figures_of(a, 2).messages_dropped == dropped + 7);
        WAIT_FOR(atomic_load(&a->undelivered) == undelivered + 7);
        b = node_start(&(struct node_options){.member = 2, .port = port});
        node_connect(b, a->port, port, NOWHERE);
        WAIT_FOR(linked(a, b));
        assert_int_equal(atomic_load(&a->ups[2]), round + 1);
        assert_int_equal(figures_of(a, 2).reconnects, round);
        uint64_t answers = atomic_load(&a->answers);
        ask(a, 2, 0, 10, 16);
        WAIT_FOR(atomic_load(&a->answers) == answers + 10);
    }
    node_stop(b, 0);
    node_stop(a, 0);
}

/* peers.h: who waits for an answer hears at once that there will be none: of a peer without a link,
 * and of one that is not known. */
static void test_without_a_link_the_answer_is_undelivered(void **state)
{
    (void)state;
    struct node *a = node_start_plain(1);
    assert_true(rpc_peers_settled(a->peers)); /* no peers yet */
    node_connect(a, a->port, NOWHERE, NOWHERE);
    WAIT_FOR(rpc_peers_settled(a->peers));
    uint64_t times = 0;
    uint64_t took_ns = UINT64_MAX;
    for (; took_ns >= 400 * NS_PER_MS && times < 5; times++) { /* the machine may be busy */
        uint64_t start_ns = runtime_now_ns();
        ask(a, 2, 7 * times, 7, 16);
        ask(a, 7, 3 * times, 3, 16);
        WAIT_FOR(atomic_load(&a->undelivered) == 10 * (times + 1));
        took_ns = runtime_now_ns() - start_ns;
    }
    assert_true(took_ns < 400 * NS_PER_MS);
    assert_int_equal(atomic_load(&a->answers), 10 * times);
    assert_int_equal(atomic_load(&a->disorder), 0); /* each as if from the peer, in order */
    assert_int_equal(figures_of(a, 2).messages_dropped, 7 * times);
    /* Nobody waits for this one. */
    struct message *message = message_new(MESSAGE_replica_read_reply, 0);
    message->from = (struct actor_id){1, ACTOR_COORDINATOR, 0};
    message->to = (struct actor_id){2, ACTOR_COORDINATOR, 0};
    rpc_peers_deliver(a->peers, message);
    assert_int_equal(figures_of(a, 2).messages_dropped, 7 * times + 1);
    nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    assert_int_equal(atomic_load(&a->answers), 10 * times);
    node_stop(a, 0);
}

/* Half a second at most, so on a busy machine not each time. */
static bool wait_for_the_handshake(void)
{
    struct node *a = node_start_plain(1);
    struct node *b = node_start_plain(2); /* not connected: calls wait there */
    node_connect(a, a->port, b->port, NOWHERE);
    uint64_t start_ns = runtime_now_ns();
    ask(a, 2, 0, 5, 16);
    ask(a, 2, 5, 5, 16);
    nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    uint64_t done = atomic_load(&a->answers) + figures_of(a, 2).messages_dropped;
    bool waits = figures_of(a, 2).queue_bytes > 0 && !rpc_peers_settled(a->peers);
    if (runtime_now_ns() - start_ns < 490 * NS_PER_MS) {
        assert_int_equal(done, 0);
        assert_true(waits);
    }
    node_connect(b, a->port, b->port, NOWHERE);
    WAIT_FOR(atomic_load(&a->answers) == 10);
    if (atomic_load(&a->undelivered) > 0 && runtime_now_ns() - start_ns >= 490 * NS_PER_MS) {
        node_stop(b, 0);
        node_stop(a, 0);
        return false;
    }
    assert_int_equal(atomic_load(&a->undelivered) + atomic_load(&a->disorder), 0);
    assert_int_equal(atomic_load(&b->requests), 10);
    assert_int_equal(atomic_load(&b->disorder), 0);
    WAIT_FOR(linked(a, b));
    WAIT_FOR(rpc_peers_settled(a->peers) && rpc_peers_settled(b->peers));
    node_stop(b, 0);
    node_stop(a, 0);
    return true;
}

/* What is said to a peer whose hello is on its way comes after the handshake, in order. */
static void test_messages_wait_for_the_handshake(void **state)
{
    (void)state;
    for (uint32_t times = 0; !wait_for_the_handshake(); times++)
        assert_true(times < 10);
}

/* They do not wait for longer than half a second and a tick of the loop, and then they are
 * answered; later ones are not taken. */
static void test_messages_do_not_wait_for_long(void **state)
{
    (void)state;
    struct node *a = node_start_plain(1);
    struct node *b = node_start_plain(2);
    node_connect(a, a->port, b->port, NOWHERE);
    uint64_t start_ns = runtime_now_ns();
    ask(a, 2, 0, 10, 16);
    WAIT_FOR(figures_of(a, 2).messages_dropped == 10);
    uint64_t took_ns = runtime_now_ns() - start_ns;
    assert_true(took_ns > 490 * NS_PER_MS);
    assert_true(took_ns < 5000 * NS_PER_MS);
    assert_int_equal(figures_of(a, 2).queue_bytes, 0);
    WAIT_FOR(atomic_load(&a->undelivered) == 10);
    ask(a, 2, 10, 5, 16);
    assert_int_equal(figures_of(a, 2).messages_dropped, 15);
    WAIT_FOR(atomic_load(&a->undelivered) == 15);
    assert_int_equal(atomic_load(&a->disorder), 0);
    /* None of them arrives later. */
    node_connect(b, a->port, b->port, NOWHERE);
    WAIT_FOR(linked(a, b));
    ask(a, 2, 15, 1, 16);
    WAIT_FOR(atomic_load(&a->answers) == 16);
    assert_int_equal(atomic_load(&b->requests), 1);
    node_stop(b, 0);
    node_stop(a, 0);
}

/* A peer that calls is called back at once, however long the back-off: after a short life of the
 * link (which then waits), and after a long one (then gRPC waits). */
static void test_who_calls_is_called_back(void **state)
{
    (void)state;
    const uint32_t backoff_ms = 20000;
    for (int steady = 0; steady < 2; steady++) {
        struct node *a = node_start(&(struct node_options){.member = 1, .backoff_ms = backoff_ms});
        struct node *b = node_start_plain(2);
        int port = b->port;
        node_connect(a, a->port, port, NOWHERE);
        node_connect(b, a->port, port, NOWHERE);
        WAIT_FOR(linked(a, b));
        if (steady != 0)
            nanosleep(&(struct timespec){.tv_sec = 1, .tv_nsec = 100000000}, NULL);
        node_stop(b, 0);
        WAIT_FOR(!figures_of(a, 2).connected && !figures_of(a, 2).serving);
        nanosleep(&(struct timespec){.tv_nsec = 300000000}, NULL); /* into the back-off */
        b = node_start(&(struct node_options){.member = 2, .port = port});
        uint64_t start_ns = runtime_now_ns();
        node_connect(b, a->port, port, NOWHERE);
        WAIT_FOR(linked(a, b));
        assert_true(runtime_now_ns() - start_ns < backoff_ms * NS_PER_MS / 4);
        ask(b, 1, 0, 1, 16); /* the answer needs the link back */
        WAIT_FOR(atomic_load(&b->answers) == 1);
        assert_int_equal(atomic_load(&b->undelivered), 0);
        node_stop(b, 0);
        node_stop(a, 0);
    }
}

static void test_an_address_in_use(void **state)
{
    (void)state;
    struct node *a = node_start_plain(1);
    char address[64];
    char why[256] = "";
    snprintf(address, sizeof address, "127.0.0.1:%d", a->port);
    struct rpc_peers_options options = {
        .address = address,
        .loop = a->loop,
        .runtime = a->runtime,
        .hello = hello_of(&(struct node_options){.member = 1}),
        .queue_bytes_max = GRPC_MESSAGE_BYTES_MAX,
        .backoff_min_ms = 100,
        .backoff_max_ms = 2000,
    };
    struct rpc_peers *second = NULL;
    assert_int_equal(rpc_peers_start(&options, &second, why, sizeof why), ERR_IO);
    assert_null(second);
    assert_non_null(strstr(why, address));
    node_stop(a, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_three_nodes_talk_in_order),
        cmocka_unit_test(test_frames_carry_many_messages),
        cmocka_unit_test(test_large_messages_take_frames_of_their_own),
        cmocka_unit_test(test_a_peer_dies_and_comes_back),
        cmocka_unit_test(test_without_a_link_the_answer_is_undelivered),
        cmocka_unit_test(test_messages_wait_for_the_handshake),
        cmocka_unit_test(test_messages_do_not_wait_for_long),
        cmocka_unit_test(test_who_calls_is_called_back),
        cmocka_unit_test(test_an_address_in_use),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
