// link: coterie_actors coterie_store
/* Rules of actors/anti_entropy_votes.c: a copy of a consistent keyspace that was emptied votes
 * again as soon as the others list it for it, whatever other copies wait for (model/register.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "actors/anti_entropy.h"
#include "tests/unit/actor_fixture.h"

#define STRONG     KEYSPACE_TEST_STRONG
#define SECONDS    (1000 * MS)
#define PARTITIONS 16u
#define LATE       (PARTITIONS - 1) /* the last one to get a place */

/* The actor of node 1 of three, of which every copy was emptied; gossip, the replicas and the
 * others are the test. */
struct bench {
    struct fixture f;
    struct anti_entropy *ae;
    bool lists[PARTITIONS]; /* member 2 has a vote there, as 3 has everywhere */
    bool silent;            /* member 2 */
    bool votes[PARTITIONS]; /* node 1 votes again */
    uint32_t asked[PARTITIONS];
};

static void bench_init(struct bench *b)
{
    memset(b, 0, sizeof *b);
    fixture_init(&b->f, 3, 1);
    b->f.ctx.now_ns = 10000ull * 3600 * SECONDS;
    struct anti_entropy_options options = anti_entropy_options_default(SELF, 1, PARTITIONS);
    options.interval_ns = options.reaper.interval_ns = b->f.ctx.now_ns;
    b->ae = anti_entropy_new(&options);
    b->f.actor = anti_entropy_actor(b->ae);
    fixture_tick(&b->f);
}

static void bench_deinit(struct bench *b)
{
    anti_entropy_free(b->ae);
    fixture_deinit(&b->f);
}

static void empty_all(struct bench *b)
{
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        struct message *message = message_new(MESSAGE_vnode_incomplete, 0);
        message->vnode_incomplete =
            (struct vnode_incomplete){.partition = p,
                                      .keyspace_id = b->f.keyspace_ids[STRONG],
                                      .incarnation = 1,
                                      .votes = true};
        fixture_handle(&b->f, message);
    }
}

/* NULL: nobody answers. */
static struct message *answer(struct bench *b, const struct message *message)
{
    struct message *reply = NULL;
    if (message->kind == MESSAGE_client_topology) {
        reply = message_new_reply(message, MESSAGE_client_topology_done, 0);
        reply->client_topology_done.epoch = b->f.topology.epoch;
    } else if (message->kind == MESSAGE_vnode_adopt) {
        reply = message_new_reply(message, MESSAGE_vnode_adopt_done, 0);
    } else if (message->kind == MESSAGE_vnode_complete) {
        reply = message_new_reply(message, MESSAGE_vnode_complete_done, 0);
        b->votes[message->vnode_complete.partition] = true;
    } else if (message->kind == MESSAGE_register_list) {
        uint32_t p = message->register_list.partition;
        bool second = message->to.node == 2;
        b->asked[p] += second;
        if (second && b->silent)
            return NULL;
        reply = message_new_reply(message, MESSAGE_register_list_reply, 0);
        if (second && !b->lists[p])
            reply->register_list_reply.status = ERR_INCOMPLETE;
    }
    if (reply != NULL)
        reply->from = message->to;
    return reply;
}

static void run(struct bench *b, uint64_t ns)
{
    uint64_t until_ns = b->f.ctx.now_ns + ns;
    while (b->f.ctx.now_ns < until_ns) {
        struct message *message = outbox_take(&b->f.outbox);
        if (message == NULL) {
            fixture_pass(&b->f, 5 * MS);
            continue;
        }
        struct message *reply = answer(b, message);
        message_free(message);
        if (reply != NULL)
            fixture_handle(&b->f, reply);
    }
}

/* Copies whose others have no majority wait, perhaps for ever. They are more than there are places:
 * one that can be listed gets its place at once all the same. */
static void those_that_wait_keep_no_place(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    b.lists[LATE] = true;
    empty_all(&b);
    run(&b, 3 * SECONDS); /* two epochs, each half a second after the last one came to want it */
    for (uint32_t p = 0; p < PARTITIONS; p++)
        assert_int_equal(b.votes[p], p == LATE);
    bench_deinit(&b);
}

/* Who is asked in vain is asked again after a pause that grows, to an end. */
static void what_is_refused_is_asked_again_with_growing_pauses(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    empty_all(&b);
    run(&b, 120 * SECONDS);
    for (uint32_t p = 0; p < PARTITIONS; p++)
        assert_in_range(b.asked[p], 120 / 18, 120 / 6);
    for (uint32_t p = 0; p < PARTITIONS; p++)
        b.lists[p] = true;
    run(&b, 20 * SECONDS);
    for (uint32_t p = 0; p < PARTITIONS; p++)
        assert_true(b.votes[p]);
    bench_deinit(&b);
}

/* One that does not answer keeps a place, but not for long. */
static void silence_gives_the_place_back(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    b.silent = true;
    empty_all(&b);
    run(&b, 20 * SECONDS);
    for (uint32_t p = 0; p < PARTITIONS; p++)
        assert_true(b.asked[p] > 0);
    b.silent = false;
    b.lists[0] = b.lists[LATE] = true;
    run(&b, 40 * SECONDS);
    for (uint32_t p = 0; p < PARTITIONS; p++)
        assert_int_equal(b.votes[p], p == 0 || p == LATE);
    bench_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(those_that_wait_keep_no_place),
        cmocka_unit_test(what_is_refused_is_asked_again_with_growing_pauses),
        cmocka_unit_test(silence_gives_the_place_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
