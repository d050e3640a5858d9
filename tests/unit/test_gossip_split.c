// link: coterie_actors coterie_store
/* Rules of actors/gossip.h: two nodes that hold different topology documents of one epoch say so.
 * Two gossip actors, each with its own document; their digests go from one to the other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/gossip_bench.h"

/* Lines of the event that tells of it. */
static void count_line(void *host, enum log_level level, const char *event, const char *fields)
{
    (void)fields;
    if (strcmp(event, "topology_split") != 0)
        return;
    assert_int_equal(level, LOG_ERROR);
    ++*(uint32_t *)host;
}

struct node {
    struct bench b;
    struct log log;
    uint32_t lines;
};

/* Of three members; `epoch` of a log, not of the list. The third one's address is all that differs,
 * if it does. */
static void node_init(struct node *node, uint32_t self, uint64_t epoch, const char *third)
{
    memset(node, 0, sizeof *node);
    fixture_init(&node->b.f, 3, 1);
    node->b.self = self;
    node->b.f.topology.epoch = epoch;
    if (third != NULL)
        snprintf(node->b.f.topology.members[2].address, ADDRESS_MAX + 1, "%s", third);
    bench_start(&node->b, &node->b.f.map);
    node->log = (struct log){.sink = count_line, .host = &node->lines, .level = LOG_INFO};
    node->b.f.ctx.log = &node->log;
}

/* A round trip: the digest of `from`, and the answer back. Documents that are sent are dropped. */
static void digests(struct node *from, struct node *to)
{
    struct message *message = message_new(MESSAGE_gossip_digest, 0);
    message->from = actor_id_of(to->b.self, ACTOR_GOSSIP);
    message->gossip_digest.keyspaces_digest = bench_map_digest(&from->b);
    fixture_handle(&from->b.f, message); /* without an epoch: only to have its digest */
    bench_views(&from->b);
    struct message *own = fixture_take(&from->b.f, MESSAGE_gossip_digest_reply);
    struct message *there = message_new(MESSAGE_gossip_digest, 0);
    there->from = actor_id_of(from->b.self, ACTOR_GOSSIP);
    there->gossip_digest = own->gossip_digest_reply.digest;
    there->gossip_digest.heartbeat_count = 0;
    message_free(own);
    fixture_handle(&to->b.f, there);
    bench_views(&to->b);
    struct message *back = NULL;
    struct message *other;
    while ((other = outbox_take(&to->b.f.outbox)) != NULL) {
        if (other->kind == MESSAGE_gossip_digest_reply)
            back = other;
        else
            message_free(other);
    }
    assert_non_null(back);
    back->from = actor_id_of(to->b.self, ACTOR_GOSSIP);
    fixture_handle(&from->b.f, back);
    bench_views(&from->b);
    while ((other = outbox_take(&from->b.f.outbox)) != NULL)
        message_free(other);
}

static bool says_split(const struct node *node, uint32_t member)
{
    return node->b.view->members[member - 1].split;
}

static uint64_t count_of(const struct node *node)
{
    return counter_get(&node->b.figures->documents_split);
}

/* Both ends of one pair of digests: a line and a count each, once however often they meet; the view
 * names the other. */
static void two_documents_are_told(void **state)
{
    (void)state;
    struct node a;
    struct node b;
    node_init(&a, 1, 7, NULL);
    node_init(&b, 2, 7, "elsewhere:1");
    for (int i = 0; i < 5; i++) {
        digests(&a, &b);
        assert_true(says_split(&a, 2));
        assert_true(says_split(&b, 1));
    }
    assert_false(says_split(&a, 3));
    assert_false(says_split(&a, 1));
    assert_int_equal(a.lines, 1);
    assert_int_equal(b.lines, 1);
    assert_int_equal(count_of(&a), 1);
    assert_int_equal(count_of(&b), 1);
    bench_deinit(&a.b);
    bench_deinit(&b.b);
}

/* Equal documents, and documents of different epochs, are no contradiction. */
static void one_document_is_quiet(void **state)
{
    (void)state;
    struct node a;
    struct node same;
    struct node older;
    node_init(&a, 1, 7, NULL);
    node_init(&same, 2, 7, NULL);
    node_init(&older, 3, 6, "elsewhere:1");
    digests(&a, &same);
    digests(&a, &older);
    digests(&older, &a);
    assert_int_equal(a.lines + same.lines + older.lines, 0);
    assert_int_equal(count_of(&a) + count_of(&same) + count_of(&older), 0);
    assert_false(says_split(&a, 2) || says_split(&a, 3));
    bench_deinit(&a.b);
    bench_deinit(&same.b);
    bench_deinit(&older.b);
}

static void digest_of(struct node *node, uint32_t from, uint64_t epoch, uint64_t digest)
{
    struct message *message = message_new(MESSAGE_gossip_digest, 0);
    message->from = actor_id_of(from, ACTOR_GOSSIP);
    message->gossip_digest.topology_epoch = epoch;
    message->gossip_digest.topology_digest = digest;
    message->gossip_digest.keyspaces_digest = bench_map_digest(&node->b);
    fixture_handle(&node->b.f, message);
    bench_views(&node->b);
    message_free(fixture_take(&node->b.f, MESSAGE_gossip_digest_reply));
}

/* message.h: 0 is not said (a release before this field); model/topology.h: nor does the digest of
 * another format tell anything. */
static void what_is_not_said_is_not_compared(void **state)
{
    (void)state;
    struct node a;
    node_init(&a, 1, 7, NULL);
    uint64_t own = topology_digest(&a.b.f.arena, &a.b.f.topology);
    assert_int_not_equal(own >> 56, 0);
    digest_of(&a, 2, 7, 0);
    digest_of(&a, 3, 7, own + ((uint64_t)1 << 56));
    assert_int_equal(a.lines, 0);
    assert_false(says_split(&a, 2) || says_split(&a, 3));
    digest_of(&a, 2, 7, own ^ 1);
    assert_int_equal(a.lines, 1);
    assert_true(says_split(&a, 2));
    /* It has been started with the document that all others have. */
    digest_of(&a, 2, 7, own);
    assert_false(says_split(&a, 2));
    assert_int_equal(a.lines, 1);
    bench_deinit(&a.b);
}

/* The next document is one for all again, and what was said of the last is over: in the view that
 * shows it. */
static void the_next_epoch_ends_it(void **state)
{
    (void)state;
    struct node a;
    struct node next;
    node_init(&a, 1, 7, NULL);
    node_init(&next, 2, 8, NULL);
    digest_of(&a, 2, 7, topology_digest(&a.b.f.arena, &a.b.f.topology) ^ 1);
    assert_true(says_split(&a, 2));
    struct bytes document = topology_encode(&next.b.f.arena, &next.b.f.topology);
    struct message *message = message_new(MESSAGE_topology_document, document.size);
    message->from = actor_id_of(2, ACTOR_GOSSIP);
    message->topology_document.document = arena_copy(&message->arena, document);
    fixture_handle(&a.b.f, message);
    fixture_sync(&a.b.f);
    bench_views(&a.b);
    assert_int_equal(a.b.view->topology.epoch, 8);
    assert_false(says_split(&a, 2));
    while ((message = outbox_take(&a.b.f.outbox)) != NULL)
        message_free(message);
    bench_deinit(&a.b);
    bench_deinit(&next.b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_documents_are_told),
        cmocka_unit_test(one_document_is_quiet),
        cmocka_unit_test(what_is_not_said_is_not_compared),
        cmocka_unit_test(the_next_epoch_ends_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
