// link: coterie_actors coterie_store
/* Rules of actors/anti_entropy_votes.c: a copy of registers that was emptied votes again only after
 * an epoch from after its loss, a list of the others and the settling of all that is on it, in that
 * epoch, and a second epoch; then it does at once, whatever other copies wait for. Source:
 * model/register.h, "an acceptor that begins anew". */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "actors/anti_entropy.h"
#include "base/codec.h"
#include "tests/unit/change_bench.h"

#define STRONG     KEYSPACE_TEST_STRONG
#define SECONDS    (1000 * MS)
#define NOT_NOW    (10000ull * 3600 * SECONDS)
#define SOON_NS    (3 * SECONDS) /* longer than an epoch is waited for */
#define PARTITIONS 16u
#define LATE       (PARTITIONS - 1) /* the last one to get a place */

/* The actor of node 1; gossip, its replica and the others are the test. */
struct bench {
    struct fixture f;
    struct anti_entropy *ae;
    const struct anti_entropy_figures *figures;
};

static void bench_init(struct bench *b, uint32_t members)
{
    fixture_init(&b->f, members, 1);
    b->f.ctx.now_ns = NOT_NOW; /* what is due at random is not due now */
    struct anti_entropy_options options = anti_entropy_options_default(SELF, 1, PARTITIONS);
    options.interval_ns = options.reaper.interval_ns = options.reaper.late_ns = NOT_NOW;
    b->ae = anti_entropy_new(&options);
    b->figures = anti_entropy_figures(b->ae);
    b->f.actor = anti_entropy_actor(b->ae);
    fixture_tick(&b->f);
}

static void bench_deinit(struct bench *b)
{
    anti_entropy_free(b->ae);
    fixture_deinit(&b->f);
}

static bool is_step(const struct message *message)
{
    return message->kind == MESSAGE_client_topology || message->kind == MESSAGE_vnode_adopt ||
           message->kind == MESSAGE_register_list || message->kind == MESSAGE_register_settle ||
           message->kind == MESSAGE_vnode_complete;
}

/* The next step of a renewal that leaves by then; NULL: none does. What else leaves is lost. */
static struct message *next(struct bench *b, uint64_t limit_ns)
{
    uint64_t until_ns = b->f.ctx.now_ns + limit_ns;
    do {
        struct message *message;
        while ((message = outbox_take(&b->f.outbox)) != NULL) {
            if (is_step(message))
                return message;
            message_free(message);
        }
        fixture_pass(&b->f, 5 * MS);
    } while (b->f.ctx.now_ns <= until_ns);
    return NULL;
}

static struct message *expect(struct bench *b, enum message_kind kind)
{
    struct message *message = next(b, 2 * SOON_NS);
    assert_non_null(message);
    if (message->kind != kind)
        fail_msg("expected %s, got %s", message_kind_text(kind), message_kind_text(message->kind));
    return message;
}

static void expect_nothing(struct bench *b, uint64_t ns)
{
    const struct message *message = next(b, ns);
    if (message != NULL)
        fail_msg("%s left", message_kind_text(message->kind));
}

static void emptied(struct bench *b, uint32_t partition, uint64_t incarnation)
{
    struct message *message = message_new(MESSAGE_vnode_incomplete, 0);
    message->vnode_incomplete = (struct vnode_incomplete){.partition = partition,
                                                          .keyspace_id = b->f.keyspace_ids[STRONG],
                                                          .incarnation = incarnation,
                                                          .votes = true};
    fixture_handle(&b->f, message);
}

static void epoch_in_force(struct bench *b, uint64_t epoch)
{
    b->f.topology.epoch = epoch;
    change_publish(&b->f);
    fixture_tick(&b->f);
}

static bool asks_for(const struct message *message, uint32_t partition)
{
    assert_int_equal(message->client_topology.operation.kind, TOPOLOGY_RENEW);
    return message->client_topology.operation.partitions[partition / 8] >> partition % 8 & 1;
}

static void answer_epoch(struct bench *b, struct message *asked, enum err status, uint64_t epoch)
{
    struct message *done = message_new_reply(asked, MESSAGE_client_topology_done, 0);
    done->client_topology_done.status = status;
    done->client_topology_done.epoch = epoch;
    done->from = asked->to;
    message_free(asked);
    fixture_handle(&b->f, done);
}

static void answer_adopt(struct bench *b, struct message *asked, enum err status)
{
    struct message *done = message_new_reply(asked, MESSAGE_vnode_adopt_done, 0);
    done->vnode_adopt_done.status = status;
    done->from = asked->to;
    message_free(asked);
    fixture_handle(&b->f, done);
}

static void answer_complete(struct bench *b, struct message *asked, enum err status)
{
    struct message *done = message_new_reply(asked, MESSAGE_vnode_complete_done, 0);
    done->vnode_complete_done.status = status;
    done->from = asked->to;
    message_free(asked);
    fixture_handle(&b->f, done);
}

/* One page with one key of that number; 0: with none. */
static void answer_list(struct bench *b, struct message *asked, enum err status, uint32_t number)
{
    struct message *reply = message_new_reply(asked, MESSAGE_register_list_reply, 256);
    struct writer writer;
    const char *key = change_key(&b->f, STRONG, asked->register_list.partition, number);
    writer_init(&writer, &reply->arena, 64);
    if (number != 0)
        writer_sized_bytes(&writer, bytes_of_string(key));
    reply->register_list_reply.status = status;
    reply->register_list_reply.keys = writer_result(&writer);
    reply->from = asked->to;
    message_free(asked);
    fixture_handle(&b->f, reply);
}

static void answer_settle(struct bench *b, struct message *asked, enum err status)
{
    struct message *done = message_new_reply(asked, MESSAGE_register_settle_done, 0);
    done->register_settle_done.status = status;
    done->from = asked->to;
    message_free(asked);
    fixture_handle(&b->f, done);
}

/* To where it fills: an epoch after the loss is in force, and the replica learns from it on. */
static void until_filling(struct bench *b, uint32_t partition, uint64_t incarnation, uint64_t epoch)
{
    emptied(b, partition, incarnation);
    answer_epoch(b, expect(b, MESSAGE_client_topology), OK, epoch);
    epoch_in_force(b, epoch);
    answer_adopt(b, expect(b, MESSAGE_vnode_adopt), OK);
}

/* To where it wants the second epoch: both others have listed nothing. */
static struct message *until_second(struct bench *b, uint32_t partition, uint64_t incarnation,
                                    uint64_t epoch)
{
    until_filling(b, partition, incarnation, epoch);
    struct message *first = expect(b, MESSAGE_register_list);
    struct message *second = expect(b, MESSAGE_register_list);
    answer_list(b, first, OK, 0);
    answer_list(b, second, OK, 0);
    return expect(b, MESSAGE_client_topology);
}

/* Each step waits for the one before it, an epoch until it is in force here; each key that anybody
 * lists is settled once. */
static void one_step_after_another(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 3);
    emptied(&b, 2, 7);
    assert_int_equal(counter_get(&b.figures->votes), 1);
    struct message *asked = expect(&b, MESSAGE_client_topology);
    assert_true(asks_for(asked, 2) && !asks_for(asked, 3));
    expect_nothing(&b, SECONDS);
    answer_epoch(&b, asked, OK, 5);
    epoch_in_force(&b, 4);
    expect_nothing(&b, SOON_NS);

    epoch_in_force(&b, 5);
    struct message *adopt = expect(&b, MESSAGE_vnode_adopt);
    assert_int_equal(adopt->vnode_adopt.learns_from, 5);
    assert_int_equal(adopt->vnode_adopt.incarnation, 7);
    expect_nothing(&b, SECONDS);
    answer_adopt(&b, adopt, OK);

    struct message *lists[2] = {expect(&b, MESSAGE_register_list),
                                expect(&b, MESSAGE_register_list)};
    assert_int_equal(lists[0]->to.node + lists[1]->to.node, 2 + 3);
    answer_list(&b, lists[0], OK, 1);
    expect_nothing(&b, 200 * MS);
    answer_list(&b, lists[1], OK, 1);
    struct message *settle = expect(&b, MESSAGE_register_settle);
    expect_nothing(&b, 200 * MS);
    answer_settle(&b, settle, ERR_UNAVAILABLE); /* and once more when it fails */
    answer_settle(&b, expect(&b, MESSAGE_register_settle), OK);

    asked = expect(&b, MESSAGE_client_topology);
    assert_true(asks_for(asked, 2));
    answer_epoch(&b, asked, OK, 6);
    expect_nothing(&b, SOON_NS);
    epoch_in_force(&b, 6);
    struct message *complete = expect(&b, MESSAGE_vnode_complete);
    assert_int_equal(complete->vnode_complete.votes_from, 6);
    assert_int_equal(complete->vnode_complete.incarnation, 7);
    answer_complete(&b, complete, ERR_UNAVAILABLE);
    assert_int_equal(counter_get(&b.figures->votes), 1);
    answer_complete(&b, expect(&b, MESSAGE_vnode_complete), OK);
    assert_int_equal(counter_get(&b.figures->votes), 0);
    assert_int_equal(counter_get(&b.figures->votes_renewed), 1);
    expect_nothing(&b, 10 * SECONDS);
    bench_deinit(&b);
}

/* All that want an epoch at about the same time share one; one that was asked for before a loss is
 * none from after it. */
static void epochs_are_from_after_the_loss(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 3);
    emptied(&b, 2, 7);
    emptied(&b, 3, 8);
    struct message *asked = expect(&b, MESSAGE_client_topology);
    assert_true(asks_for(asked, 2) && asks_for(asked, 3));
    emptied(&b, 3, 9); /* once more, while that one is on its way */
    answer_epoch(&b, asked, OK, 5);
    epoch_in_force(&b, 5);
    struct message *adopt = expect(&b, MESSAGE_vnode_adopt);
    assert_int_equal(adopt->vnode_adopt.partition, 2);
    message_free(adopt);
    do { /* the one that is not answered is told again meanwhile */
        asked = next(&b, 2 * SOON_NS);
        assert_non_null(asked);
        if (asked->kind == MESSAGE_vnode_adopt) {
            assert_int_equal(asked->vnode_adopt.partition, 2);
            message_free(asked);
            asked = NULL;
        }
    } while (asked == NULL);
    assert_true(asks_for(asked, 3) && !asks_for(asked, 2));
    message_free(asked);
    bench_deinit(&b);
}

/* The same for the second epoch: one that is decided for a copy that was emptied meanwhile gives
 * no vote to what it is now. */
static void emptied_before_the_second(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 3);
    struct message *asked = until_second(&b, 2, 7, 5);
    emptied(&b, 2, 8);
    answer_epoch(&b, asked, OK, 6);
    epoch_in_force(&b, 6);
    struct message *again = expect(&b, MESSAGE_client_topology);
    answer_epoch(&b, again, OK, 7);
    epoch_in_force(&b, 7);
    struct message *adopt = expect(&b, MESSAGE_vnode_adopt);
    assert_int_equal(adopt->vnode_adopt.incarnation, 8);
    assert_int_equal(adopt->vnode_adopt.learns_from, 7);
    message_free(adopt);
    bench_deinit(&b);
}

/* An answer that says no, or none at all: it is asked again. What comes late for a former question
 * is no answer to the present one. */
static void refused_epochs_are_asked_again(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 3);
    emptied(&b, 2, 7);
    answer_epoch(&b, expect(&b, MESSAGE_client_topology), ERR_UNAVAILABLE, 0);
    struct message *unanswered = expect(&b, MESSAGE_client_topology);
    struct message *third = next(&b, 30 * SECONDS);
    assert_non_null(third);
    assert_int_equal(third->kind, MESSAGE_client_topology);
    answer_epoch(&b, unanswered, OK, 5);
    epoch_in_force(&b, 5);
    expect_nothing(&b, SOON_NS);
    answer_epoch(&b, third, OK, 5);
    message_free(expect(&b, MESSAGE_vnode_adopt));
    bench_deinit(&b);
}

/* All others answer in the epoch, and with their keys a majority of all: one that cannot be asked,
 * or has lost its own keys, holds the second epoch back. */
static void everybody_lists(void **state)
{
    (void)state;
    static const enum err refusals[] = {ERR_UNAVAILABLE, ERR_INCOMPLETE};
    for (size_t how = 0; how < ARRAY_COUNT(refusals); how++) {
        struct bench b;
        bench_init(&b, 3);
        until_filling(&b, 2, 7, 5);
        uint64_t until_ns = b.f.ctx.now_ns + 20 * SECONDS;
        while (b.f.ctx.now_ns < until_ns) {
            struct message *message = next(&b, SECONDS);
            if (message == NULL)
                continue;
            assert_int_equal(message->kind, MESSAGE_register_list);
            answer_list(&b, message, message->to.node == 2 ? refusals[how] : OK, 0);
        }
        struct message *message = expect(&b, MESSAGE_register_list);
        while (message->kind == MESSAGE_register_list) {
            answer_list(&b, message, OK, 0);
            message = next(&b, 20 * SECONDS);
            assert_non_null(message);
        }
        assert_int_equal(message->kind, MESSAGE_client_topology);
        message_free(message);
        bench_deinit(&b);
    }
}

/* SELF has the partition before and after, and not all others do. */
static uint32_t partition_that_changes(struct bench *b)
{
    for (uint32_t partition = 0; partition < b->f.topology.partitions; partition++) {
        bool changes = false;
        for (uint32_t member = 2; member <= b->f.topology.member_count; member++) {
            uint32_t sides = change_sides(&b->f, STRONG, partition, member);
            changes = changes || sides == 1u << TOPOLOGY_NOW || sides == 1u << TOPOLOGY_NEXT;
        }
        if (changes && change_sides(&b->f, STRONG, partition, SELF) == 3)
            return partition;
    }
    fail_msg("no such partition");
    return 0;
}

/* While a change runs no epoch is asked for and nothing is settled; what was listed before is
 * listed again by who has the partition then. */
static void a_change_comes_first(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 5);
    change_operate(&b.f,
                   (struct topology_operation){.kind = TOPOLOGY_PLACE, .member = 5, .weight = 3});
    change_operate(&b.f, (struct topology_operation){.kind = TOPOLOGY_COMMIT});
    change_publish(&b.f);
    uint32_t partition = partition_that_changes(&b);
    fixture_tick(&b.f);
    emptied(&b, partition, 7);
    expect_nothing(&b, 2 * SOON_NS);
    change_finish(&b.f);
    fixture_tick(&b.f);
    answer_epoch(&b, expect(&b, MESSAGE_client_topology), OK, b.f.topology.epoch);
    answer_adopt(&b, expect(&b, MESSAGE_vnode_adopt), OK);
    for (int i = 0; i < 2; i++)
        answer_list(&b, expect(&b, MESSAGE_register_list), OK, 0);
    struct message *asked = expect(&b, MESSAGE_client_topology);

    /* The second one is decided, but the next change runs already when it is. */
    change_operate(&b.f,
                   (struct topology_operation){.kind = TOPOLOGY_PLACE, .member = 5, .weight = 1});
    change_operate(&b.f, (struct topology_operation){.kind = TOPOLOGY_COMMIT});
    change_publish(&b.f);
    fixture_tick(&b.f);
    answer_epoch(&b, asked, OK, b.f.topology.epoch);
    expect_nothing(&b, 2 * SOON_NS);
    change_finish(&b.f);
    fixture_tick(&b.f);
    message_free(expect(&b, MESSAGE_register_list));
    bench_deinit(&b);
}

/* -- many copies at once, each further than the first epoch by itself ----------------------------
 */

/* What the test plays there, and what it saw. Member 3 lists everywhere. */
struct others {
    bool lists[PARTITIONS]; /* member 2 has a vote there */
    bool silent;            /* member 2 */
    bool votes[PARTITIONS]; /* node 1 votes again */
    uint32_t asked[PARTITIONS];
};

static void answer_list_of(struct bench *b, struct others *others, struct message *asked)
{
    uint32_t p = asked->register_list.partition;
    bool second = asked->to.node == 2;
    others->asked[p] += second;
    if (second && others->silent)
        message_free(asked);
    else
        answer_list(b, asked, second && !others->lists[p] ? ERR_INCOMPLETE : OK, 0);
}

static void serve(struct bench *b, struct others *others, uint64_t ns)
{
    uint64_t until_ns = b->f.ctx.now_ns + ns;
    while (b->f.ctx.now_ns < until_ns) {
        struct message *message = next(b, until_ns - b->f.ctx.now_ns);
        if (message == NULL)
            break;
        if (message->kind == MESSAGE_client_topology) {
            answer_epoch(b, message, OK, b->f.topology.epoch);
        } else if (message->kind == MESSAGE_vnode_adopt) {
            answer_adopt(b, message, OK);
        } else if (message->kind == MESSAGE_register_list) {
            answer_list_of(b, others, message);
        } else {
            assert_int_equal(message->kind, MESSAGE_vnode_complete);
            others->votes[message->vnode_complete.partition] = true;
            answer_complete(b, message, OK);
        }
    }
}

static void emptied_all(struct bench *b)
{
    for (uint32_t p = 0; p < PARTITIONS; p++)
        emptied(b, p, 1);
}

/* Copies whose others have no majority wait, perhaps for ever. They are more than there are places:
 * one that can be listed gets its place at once all the same. */
static void those_that_wait_keep_no_place(void **state)
{
    (void)state;
    struct bench b;
    struct others others = {0};
    bench_init(&b, 3);
    others.lists[LATE] = true;
    emptied_all(&b);
    serve(&b, &others,
          3 * SECONDS); /* two epochs, each half a second after the last one came to want it */
    for (uint32_t p = 0; p < PARTITIONS; p++)
        assert_int_equal(others.votes[p], p == LATE);
    bench_deinit(&b);
}

/* Who is asked in vain is asked again after a pause that grows, to an end. */
static void what_is_refused_is_asked_again_with_growing_pauses(void **state)
{
    (void)state;
    struct bench b;
    struct others others = {0};
    bench_init(&b, 3);
    emptied_all(&b);
    serve(&b, &others, 120 * SECONDS);
    for (uint32_t p = 0; p < PARTITIONS; p++)
        assert_in_range(others.asked[p], 120 / 18, 120 / 6);
    for (uint32_t p = 0; p < PARTITIONS; p++)
        others.lists[p] = true;
    serve(&b, &others, 20 * SECONDS);
    for (uint32_t p = 0; p < PARTITIONS; p++)
        assert_true(others.votes[p]);
    bench_deinit(&b);
}

/* One that does not answer keeps a place, but not for long. */
static void silence_gives_the_place_back(void **state)
{
    (void)state;
    struct bench b;
    struct others others = {0};
    bench_init(&b, 3);
    others.silent = true;
    emptied_all(&b);
    serve(&b, &others, 20 * SECONDS);
    for (uint32_t p = 0; p < PARTITIONS; p++)
        assert_true(others.asked[p] > 0);
    others.silent = false;
    others.lists[0] = others.lists[LATE] = true;
    serve(&b, &others, 40 * SECONDS);
    for (uint32_t p = 0; p < PARTITIONS; p++)
        assert_int_equal(others.votes[p], p == 0 || p == LATE);
    bench_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_step_after_another),
        cmocka_unit_test(epochs_are_from_after_the_loss),
        cmocka_unit_test(emptied_before_the_second),
        cmocka_unit_test(refused_epochs_are_asked_again),
        cmocka_unit_test(everybody_lists),
        cmocka_unit_test(a_change_comes_first),
        cmocka_unit_test(those_that_wait_keep_no_place),
        cmocka_unit_test(what_is_refused_is_asked_again_with_growing_pauses),
        cmocka_unit_test(silence_gives_the_place_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
