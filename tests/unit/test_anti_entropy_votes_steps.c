// link: coterie_actors coterie_store
/* Rules of actors/anti_entropy_votes.c: a copy of registers that was emptied votes again only after
 * an epoch from after its loss, a list of the others and the settling of all that is on it, in that
 * epoch, and a second epoch. Source: model/register.h, "an acceptor that begins anew". */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "actors/anti_entropy.h"
#include "base/codec.h"
#include "tests/unit/change_bench.h"

#define STRONG  KEYSPACE_TEST_STRONG
#define SECONDS (1000 * MS)
#define NOT_NOW (10000ull * 3600 * SECONDS)
#define SOON_NS (3 * SECONDS) /* longer than an epoch is waited for */

struct votes {
    struct fixture f;
    struct anti_entropy *ae;
    const struct anti_entropy_figures *figures;
};

static void votes_init(struct votes *v, uint32_t members)
{
    fixture_init(&v->f, members, 1);
    v->f.ctx.now_ns = NOT_NOW; /* what is due at random is not due now */
    struct anti_entropy_options options = anti_entropy_options_default(SELF, 1, 16);
    options.interval_ns = options.reaper.interval_ns = options.reaper.late_ns = NOT_NOW;
    v->ae = anti_entropy_new(&options);
    v->figures = anti_entropy_figures(v->ae);
    v->f.actor = anti_entropy_actor(v->ae);
    fixture_tick(&v->f);
}

static void votes_deinit(struct votes *v)
{
    anti_entropy_free(v->ae);
    fixture_deinit(&v->f);
}

static bool is_step(const struct message *message)
{
    return message->kind == MESSAGE_client_topology || message->kind == MESSAGE_vnode_adopt ||
           message->kind == MESSAGE_register_list || message->kind == MESSAGE_register_settle ||
           message->kind == MESSAGE_vnode_complete;
}

/* The next step of a renewal that leaves by then; NULL: none does. What else leaves is lost. */
static struct message *next(struct votes *v, uint64_t limit_ns)
{
    uint64_t until_ns = v->f.ctx.now_ns + limit_ns;
    do {
        struct message *message;
        while ((message = outbox_take(&v->f.outbox)) != NULL) {
            if (is_step(message))
                return message;
            message_free(message);
        }
        fixture_pass(&v->f, 5 * MS);
    } while (v->f.ctx.now_ns <= until_ns);
    return NULL;
}

static struct message *expect(struct votes *v, enum message_kind kind)
{
    struct message *message = next(v, 2 * SOON_NS);
    assert_non_null(message);
    if (message->kind != kind)
        fail_msg("expected %s, got %s", message_kind_text(kind), message_kind_text(message->kind));
    return message;
}

static void expect_nothing(struct votes *v, uint64_t ns)
{
    const struct message *message = next(v, ns);
    if (message != NULL)
        fail_msg("%s left", message_kind_text(message->kind));
}

static void emptied(struct votes *v, uint32_t partition, uint64_t incarnation)
{
    struct message *message = message_new(MESSAGE_vnode_incomplete, 0);
    message->vnode_incomplete = (struct vnode_incomplete){.partition = partition,
                                                          .keyspace_id = v->f.keyspace_ids[STRONG],
                                                          .incarnation = incarnation,
                                                          .votes = true};
    fixture_handle(&v->f, message);
}

static void epoch_in_force(struct votes *v, uint64_t epoch)
{
    v->f.topology.epoch = epoch;
    change_publish(&v->f);
    fixture_tick(&v->f);
}

static bool asks_for(const struct message *message, uint32_t partition)
{
    assert_int_equal(message->client_topology.operation.kind, TOPOLOGY_RENEW);
    return message->client_topology.operation.partitions[partition / 8] >> partition % 8 & 1;
}

static void answer_epoch(struct votes *v, struct message *asked, enum err status, uint64_t epoch)
{
    struct message *done = message_new_reply(asked, MESSAGE_client_topology_done, 0);
    done->client_topology_done.status = status;
    done->client_topology_done.epoch = epoch;
    done->from = asked->to;
    message_free(asked);
    fixture_handle(&v->f, done);
}

static void answer_adopt(struct votes *v, struct message *asked, enum err status)
{
    struct message *done = message_new_reply(asked, MESSAGE_vnode_adopt_done, 0);
    done->vnode_adopt_done.status = status;
    done->from = asked->to;
    message_free(asked);
    fixture_handle(&v->f, done);
}

static void answer_complete(struct votes *v, struct message *asked, enum err status)
{
    struct message *done = message_new_reply(asked, MESSAGE_vnode_complete_done, 0);
    done->vnode_complete_done.status = status;
    done->from = asked->to;
    message_free(asked);
    fixture_handle(&v->f, done);
}

/* One page with one key of that number; 0: with none. */
static void answer_list(struct votes *v, struct message *asked, enum err status, uint32_t number)
{
    struct message *reply = message_new_reply(asked, MESSAGE_register_list_reply, 256);
    struct writer writer;
    const char *key = change_key(&v->f, STRONG, asked->register_list.partition, number);
    writer_init(&writer, &reply->arena, 64);
    if (number != 0)
        writer_sized_bytes(&writer, bytes_of_string(key));
    reply->register_list_reply.status = status;
    reply->register_list_reply.keys = writer_result(&writer);
    reply->from = asked->to;
    message_free(asked);
    fixture_handle(&v->f, reply);
}

static void answer_settle(struct votes *v, struct message *asked, enum err status)
{
    struct message *done = message_new_reply(asked, MESSAGE_register_settle_done, 0);
    done->register_settle_done.status = status;
    done->from = asked->to;
    message_free(asked);
    fixture_handle(&v->f, done);
}

/* To where it fills: an epoch after the loss is in force, and the replica learns from it on. */
static void until_filling(struct votes *v, uint32_t partition, uint64_t incarnation, uint64_t epoch)
{
    emptied(v, partition, incarnation);
    answer_epoch(v, expect(v, MESSAGE_client_topology), OK, epoch);
    epoch_in_force(v, epoch);
    answer_adopt(v, expect(v, MESSAGE_vnode_adopt), OK);
}

/* To where it wants the second epoch: both others have listed nothing. */
static struct message *until_second(struct votes *v, uint32_t partition, uint64_t incarnation,
                                    uint64_t epoch)
{
    until_filling(v, partition, incarnation, epoch);
    struct message *first = expect(v, MESSAGE_register_list);
    struct message *second = expect(v, MESSAGE_register_list);
    answer_list(v, first, OK, 0);
    answer_list(v, second, OK, 0);
    return expect(v, MESSAGE_client_topology);
}

/* Each step waits for the one before it, an epoch until it is in force here; each key that anybody
 * lists is settled once. */
static void one_step_after_another(void **state)
{
    (void)state;
    struct votes v;
    votes_init(&v, 3);
    emptied(&v, 2, 7);
    assert_int_equal(counter_get(&v.figures->votes), 1);
    struct message *asked = expect(&v, MESSAGE_client_topology);
    assert_true(asks_for(asked, 2) && !asks_for(asked, 3));
    expect_nothing(&v, SECONDS);
    answer_epoch(&v, asked, OK, 5);
    epoch_in_force(&v, 4);
    expect_nothing(&v, SOON_NS);

    epoch_in_force(&v, 5);
    struct message *adopt = expect(&v, MESSAGE_vnode_adopt);
    assert_int_equal(adopt->vnode_adopt.learns_from, 5);
    assert_int_equal(adopt->vnode_adopt.incarnation, 7);
    expect_nothing(&v, SECONDS);
    answer_adopt(&v, adopt, OK);

    struct message *lists[2] = {expect(&v, MESSAGE_register_list),
                                expect(&v, MESSAGE_register_list)};
    assert_int_equal(lists[0]->to.node + lists[1]->to.node, 2 + 3);
    answer_list(&v, lists[0], OK, 1);
    expect_nothing(&v, 200 * MS);
    answer_list(&v, lists[1], OK, 1);
    struct message *settle = expect(&v, MESSAGE_register_settle);
    expect_nothing(&v, 200 * MS);
    answer_settle(&v, settle, ERR_UNAVAILABLE); /* and once more when it fails */
    answer_settle(&v, expect(&v, MESSAGE_register_settle), OK);

    asked = expect(&v, MESSAGE_client_topology);
    assert_true(asks_for(asked, 2));
    answer_epoch(&v, asked, OK, 6);
    expect_nothing(&v, SOON_NS);
    epoch_in_force(&v, 6);
    struct message *complete = expect(&v, MESSAGE_vnode_complete);
    assert_int_equal(complete->vnode_complete.votes_from, 6);
    assert_int_equal(complete->vnode_complete.incarnation, 7);
    answer_complete(&v, complete, ERR_UNAVAILABLE);
    assert_int_equal(counter_get(&v.figures->votes), 1);
    answer_complete(&v, expect(&v, MESSAGE_vnode_complete), OK);
    assert_int_equal(counter_get(&v.figures->votes), 0);
    assert_int_equal(counter_get(&v.figures->votes_renewed), 1);
    expect_nothing(&v, 10 * SECONDS);
    votes_deinit(&v);
}

/* All that want an epoch at about the same time share one; one that was asked for before a loss is
 * none from after it. */
static void epochs_are_from_after_the_loss(void **state)
{
    (void)state;
    struct votes v;
    votes_init(&v, 3);
    emptied(&v, 2, 7);
    emptied(&v, 3, 8);
    struct message *asked = expect(&v, MESSAGE_client_topology);
    assert_true(asks_for(asked, 2) && asks_for(asked, 3));
    emptied(&v, 3, 9); /* once more, while that one is on its way */
    answer_epoch(&v, asked, OK, 5);
    epoch_in_force(&v, 5);
    struct message *adopt = expect(&v, MESSAGE_vnode_adopt);
    assert_int_equal(adopt->vnode_adopt.partition, 2);
    message_free(adopt);
    do { /* the one that is not answered is told again meanwhile */
        asked = next(&v, 2 * SOON_NS);
        assert_non_null(asked);
        if (asked->kind == MESSAGE_vnode_adopt) {
            assert_int_equal(asked->vnode_adopt.partition, 2);
            message_free(asked);
            asked = NULL;
        }
    } while (asked == NULL);
    assert_true(asks_for(asked, 3) && !asks_for(asked, 2));
    message_free(asked);
    votes_deinit(&v);
}

/* The same for the second epoch: one that is decided for a copy that was emptied meanwhile gives
 * no vote to what it is now. */
static void emptied_before_the_second(void **state)
{
    (void)state;
    struct votes v;
    votes_init(&v, 3);
    struct message *asked = until_second(&v, 2, 7, 5);
    emptied(&v, 2, 8);
    answer_epoch(&v, asked, OK, 6);
    epoch_in_force(&v, 6);
    struct message *again = expect(&v, MESSAGE_client_topology);
    answer_epoch(&v, again, OK, 7);
    epoch_in_force(&v, 7);
    struct message *adopt = expect(&v, MESSAGE_vnode_adopt);
    assert_int_equal(adopt->vnode_adopt.incarnation, 8);
    assert_int_equal(adopt->vnode_adopt.learns_from, 7);
    message_free(adopt);
    votes_deinit(&v);
}

/* An answer that says no, or none at all: it is asked again. What comes late for a former question
 * is no answer to the present one. */
static void refused_epochs_are_asked_again(void **state)
{
    (void)state;
    struct votes v;
    votes_init(&v, 3);
    emptied(&v, 2, 7);
    answer_epoch(&v, expect(&v, MESSAGE_client_topology), ERR_UNAVAILABLE, 0);
    struct message *unanswered = expect(&v, MESSAGE_client_topology);
    struct message *third = next(&v, 30 * SECONDS);
    assert_non_null(third);
    assert_int_equal(third->kind, MESSAGE_client_topology);
    answer_epoch(&v, unanswered, OK, 5);
    epoch_in_force(&v, 5);
    expect_nothing(&v, SOON_NS);
    answer_epoch(&v, third, OK, 5);
    message_free(expect(&v, MESSAGE_vnode_adopt));
    votes_deinit(&v);
}

/* All others answer in the epoch, and with their keys a majority of all: one that cannot be asked,
 * or has lost its own keys, holds the second epoch back. */
static void everybody_lists(void **state)
{
    (void)state;
    static const enum err refusals[] = {ERR_UNAVAILABLE, ERR_INCOMPLETE};
    for (size_t how = 0; how < ARRAY_COUNT(refusals); how++) {
        struct votes v;
        votes_init(&v, 3);
        until_filling(&v, 2, 7, 5);
        uint32_t lists = 0;
        uint64_t until_ns = v.f.ctx.now_ns + 20 * SECONDS;
        while (v.f.ctx.now_ns < until_ns) {
            struct message *message = next(&v, SECONDS);
            if (message == NULL)
                continue;
            assert_int_equal(message->kind, MESSAGE_register_list);
            lists++;
            answer_list(&v, message, message->to.node == 2 ? refusals[how] : OK, 0);
        }
        assert_true(lists > 4); /* it has not given up */
        struct message *message = expect(&v, MESSAGE_register_list);
        while (message->kind == MESSAGE_register_list) {
            answer_list(&v, message, OK, 0);
            message = next(&v, 20 * SECONDS);
            assert_non_null(message);
        }
        assert_int_equal(message->kind, MESSAGE_client_topology);
        message_free(message);
        votes_deinit(&v);
    }
}

/* SELF has the partition before and after, and not all others do. */
static uint32_t partition_that_changes(struct votes *v)
{
    for (uint32_t partition = 0; partition < v->f.topology.partitions; partition++) {
        bool changes = false;
        for (uint32_t member = 2; member <= v->f.topology.member_count; member++) {
            uint32_t sides = change_sides(&v->f, STRONG, partition, member);
            changes = changes || sides == 1u << TOPOLOGY_NOW || sides == 1u << TOPOLOGY_NEXT;
        }
        if (changes && change_sides(&v->f, STRONG, partition, SELF) == 3)
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
    struct votes v;
    votes_init(&v, 5);
    change_operate(&v.f,
                   (struct topology_operation){.kind = TOPOLOGY_PLACE, .member = 5, .weight = 3});
    change_operate(&v.f, (struct topology_operation){.kind = TOPOLOGY_COMMIT});
    change_publish(&v.f);
    uint32_t partition = partition_that_changes(&v);
    fixture_tick(&v.f);
    emptied(&v, partition, 7);
    expect_nothing(&v, 2 * SOON_NS);
    change_finish(&v.f);
    fixture_tick(&v.f);
    answer_epoch(&v, expect(&v, MESSAGE_client_topology), OK, v.f.topology.epoch);
    answer_adopt(&v, expect(&v, MESSAGE_vnode_adopt), OK);
    for (int i = 0; i < 2; i++)
        answer_list(&v, expect(&v, MESSAGE_register_list), OK, 0);
    struct message *asked = expect(&v, MESSAGE_client_topology);

    /* The second one is decided, but the next change runs already when it is. */
    change_operate(&v.f,
                   (struct topology_operation){.kind = TOPOLOGY_PLACE, .member = 5, .weight = 1});
    change_operate(&v.f, (struct topology_operation){.kind = TOPOLOGY_COMMIT});
    change_publish(&v.f);
    fixture_tick(&v.f);
    answer_epoch(&v, asked, OK, v.f.topology.epoch);
    expect_nothing(&v, 2 * SOON_NS);
    change_finish(&v.f);
    fixture_tick(&v.f);
    message_free(expect(&v, MESSAGE_register_list));
    votes_deinit(&v);
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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
