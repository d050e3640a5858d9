// link: coterie_actors coterie_store
/* Floors of writes (actors/message_range.h, "reaping tombstones by proof"; RELIABILITY rule 14):
 * each state says the floor of its source; one that is refused as older is never sent again and
 * never counted, and what our replica holds now is sent in its place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/coordinator_bench.h"

#define SIBLINGS KEYSPACE_TEST_SIBLINGS
#define FLOOR    40u

struct writing {
    const char *key;
    uint64_t id;
    uint32_t others[REPLICAS_TOTAL_MAX];
    struct bytes record; /* as minted */
    struct bytes fresh;  /* what the key holds later */
};

/* A put at three replicas of `members` nodes, minted here at FLOOR. */
static struct writing begin(struct bench *b, uint32_t members, enum consistency level)
{
    bench_init(b, members, 1);
    struct writing w = {.key = bench_key(b, true)};
    struct replica_set set = bench_replicas(b, w.key);
    for (uint32_t i = 0, k = 0; i < set.count; i++) {
        if (set.replicas[i].member != SELF)
            w.others[k++] = set.replicas[i].member;
    }
    struct version_set first = test_write(&b->f, &(struct version_set){0}, NULL, SELF, 1, "value");
    struct version_set second = test_write(&b->f, &first, NULL, SELF, 1, "later");
    w.record = test_record(&b->f, SIBLINGS, w.key, &first);
    w.fresh = test_record(&b->f, SIBLINGS, w.key, &second);
    struct message *put = message_new(MESSAGE_client_put, 0);
    put->from = actor_id_of(SELF, ACTOR_EDGE);
    put->id = 4321;
    put->deadline_ns = b->f.ctx.now_ns + DEADLINE_NS;
    put->client_put.client = CLIENT;
    put->client_put.request = bench_put_request(b, SIBLINGS, w.key, level);
    put->client_put.request.request_id = bytes_of_string("0123456789abcdef");
    fixture_handle(&b->f, put);
    struct message *mint = fixture_take(&b->f, MESSAGE_replica_mint);
    w.id = mint->id;
    assert_true(
        bytes_equal(mint->replica_mint.request.request_id, bytes_of_string("0123456789abcdef")));
    message_free(mint);
    return w;
}

static void minted(struct bench *b, const struct writing *w)
{
    struct message *message = message_new(MESSAGE_replica_mint_done, 0);
    message->from = actor_id_of(SELF, ACTOR_REPLICA);
    message->id = w->id;
    message->replica_mint_done = (struct replica_mint_done){.status = OK,
                                                            .staged = true,
                                                            .context = bytes_of_string("context"),
                                                            .record = w->record,
                                                            .floor = FLOOR,
                                                            .sibling_count = 1};
    fixture_handle(&b->f, message);
}

static struct progress answered(struct bench *b, enum err status, enum outcome outcome)
{
    struct message *message = fixture_take(&b->f, MESSAGE_client_put_done);
    struct put_result result = message->client_put_done.result;
    assert_int_equal(result.status, status);
    assert_int_equal(result.outcome, outcome);
    message_free(message);
    return result.progress;
}

/* Our own replica is asked what it holds now; nobody else is told anything. */
static void asks_itself(struct bench *b, const struct writing *w)
{
    struct message *read = fixture_take(&b->f, MESSAGE_replica_read);
    assert_int_equal(read->to.node, SELF);
    assert_int_equal(read->id, w->id);
    assert_true(bytes_equal(read->replica_read.key, bytes_of_string(w->key)));
    assert_int_equal(read->replica_read.keyspace_id, b->f.keyspace_ids[SIBLINGS]);
    message_free(read);
    fixture_silent(&b->f);
}

static void is_write(const struct replica_write *write, struct bytes record, uint64_t floor)
{
    assert_true(bytes_equal(write->record, record));
    assert_int_equal(write->floor, floor);
    assert_true(bytes_equal(write->request_id, bytes_of_string("0123456789abcdef")));
    assert_true(bytes_equal(write->request_context, bytes_of_string("context")));
}

/* What is sent again, and what is kept as a hint, says the mint's floor and which put it is of. */
static void writes_carry_floor_and_request(void **state)
{
    (void)state;
    struct bench b;
    struct writing w = begin(&b, 4, CONSISTENCY_ALL);
    minted(&b, &w);
    fixture_silent(&b.f);
    bench_write_reply(&b, w.id, w.others[0], ERR_UNAVAILABLE);
    struct asked hint = bench_asked(&b, MESSAGE_hint_store);
    assert_int_equal(hint.hints, 1);
    is_write(&hint.write, w.record, FLOOR);
    fixture_pass(&b.f, WRITE_LATE_NS);
    struct message *message = fixture_take(&b.f, MESSAGE_replica_write);
    is_write(&message->replica_write, w.record, FLOOR);
    assert_int_equal(message->to.node, w.others[1]);
    message_free(message);
    bench_deinit(&b);
}

/* A refusal counts for nothing: W is met when the replica has taken what the key holds now. */
static void refused_then_sent_anew(void **state)
{
    (void)state;
    struct bench b;
    struct writing w = begin(&b, 3, CONSISTENCY_QUORUM);
    minted(&b, &w);
    bench_write_reply(&b, w.id, w.others[0], ERR_STALE_FLOOR);
    asks_itself(&b, &w);
    bench_write_reply(&b, w.id, w.others[0], ERR_STALE_FLOOR); /* to a second copy of it */
    fixture_silent(&b.f);
    bench_read_reply_of(&b, w.id, w.others[1], OK, w.fresh, 50); /* was not asked */
    fixture_silent(&b.f);
    bench_read_reply_of(&b, w.id, SELF, OK, w.fresh, FLOOR + 1);
    struct asked asked = bench_asked(&b, MESSAGE_replica_write);
    assert_int_equal(asked.count, 1);
    assert_int_equal(asked.members[0], w.others[0]);
    is_write(&asked.write, w.fresh, FLOOR + 1);
    bench_write_reply(&b, w.id, w.others[0], OK);
    struct progress progress = answered(&b, OK, OUTCOME_APPLIED);
    assert_int_equal(progress.acked, 2);
    assert_int_equal(counter_get(&b.figures->refreshed), 1);
    /* What is owed to the other one is the new state as well. */
    fixture_pass(&b.f, WRITE_LATE_NS);
    asked = bench_asked(&b, MESSAGE_replica_write);
    assert_int_equal(asked.count, 1);
    assert_int_equal(asked.members[0], w.others[1]);
    is_write(&asked.write, w.fresh, FLOOR + 1);
    bench_deinit(&b);
}

/* One that is refused before the mint is durable here waits for it. */
static void refused_before_the_mint(void **state)
{
    (void)state;
    struct bench b;
    struct writing w = begin(&b, 3, CONSISTENCY_QUORUM);
    bench_write_reply(&b, w.id, w.others[0], ERR_STALE_FLOOR);
    fixture_silent(&b.f);
    minted(&b, &w);
    asks_itself(&b, &w);
    bench_read_reply_of(&b, w.id, SELF, OK, w.fresh, FLOOR + 1);
    struct asked asked = bench_asked(&b, MESSAGE_replica_write);
    assert_int_equal(asked.count, 1);
    assert_int_equal(asked.members[0], w.others[0]);
    bench_write_reply(&b, w.id, w.others[0], OK);
    answered(&b, OK, OUTCOME_APPLIED);
    bench_deinit(&b);
}

/* While it is asked what the key holds now, the old bytes go to the others only. */
static void old_bytes_are_never_sent_again(void **state)
{
    (void)state;
    struct bench b;
    struct writing w = begin(&b, 3, CONSISTENCY_ALL);
    minted(&b, &w);
    bench_write_reply(&b, w.id, w.others[0], ERR_STALE_FLOOR);
    asks_itself(&b, &w);
    fixture_pass(&b.f, WRITE_LATE_NS);
    struct asked late = bench_asked(&b, MESSAGE_replica_write);
    assert_int_equal(late.count, 1);
    assert_int_equal(late.members[0], w.others[1]);
    assert_int_equal(late.hints, 0); /* nor to who might keep a hint */
    /* The store refused the question: it is asked again at the next late time. */
    bench_read_reply_of(&b, w.id, SELF, ERR_OVERLOADED, (struct bytes){0}, 0);
    fixture_silent(&b.f);
    fixture_pass(&b.f, 2 * WRITE_LATE_NS);
    struct message *read = fixture_take(&b.f, MESSAGE_replica_read);
    assert_int_equal(read->to.node, SELF);
    message_free(read);
    bench_asked(&b, MESSAGE_replica_write);
    bench_read_reply_of(&b, w.id, SELF, OK, w.fresh, FLOOR + 2);
    late = bench_asked(&b, MESSAGE_replica_write);
    assert_int_equal(late.count, 1);
    assert_int_equal(late.members[0], w.others[0]);
    is_write(&late.write, w.fresh, FLOOR + 2);
    bench_deinit(&b);
}

/* A damaged record of our own replica is not sent on. */
static void a_damaged_record_is_not_sent(void **state)
{
    (void)state;
    struct bench b;
    struct writing w = begin(&b, 3, CONSISTENCY_QUORUM);
    minted(&b, &w);
    bench_write_reply(&b, w.id, w.others[0], ERR_STALE_FLOOR);
    asks_itself(&b, &w);
    struct version_set set = test_write(&b.f, &(struct version_set){0}, NULL, SELF, 1, "value");
    bench_read_reply_of(&b, w.id, SELF, OK, test_record(&b.f, SIBLINGS, "another", &set), 50);
    fixture_silent(&b.f);
    bench_deinit(&b);
}

/* Our copy was emptied after the mint and filled from others that refused the write: they hold all
 * that it holds now, and not the write. It counts for nobody. */
static void a_write_lost_with_our_copy_is_not_acknowledged(void **state)
{
    (void)state;
    struct bench b;
    struct writing w = begin(&b, 3, CONSISTENCY_QUORUM);
    minted(&b, &w);
    bench_write_reply(&b, w.id, w.others[0], ERR_STALE_FLOOR);
    asks_itself(&b, &w);
    struct version_set other = test_write(&b.f, &(struct version_set){0}, NULL, 2, 1, "other");
    bench_read_reply_of(&b, w.id, SELF, OK, test_record(&b.f, SIBLINGS, w.key, &other), FLOOR + 1);
    fixture_silent(&b.f);
    bench_write_reply(&b, w.id, w.others[0], OK); /* that it would have said */
    fixture_silent(&b.f);
    bench_write_reply(&b, w.id, w.others[1], ERR_STALE_FLOOR);
    bench_deinit(&b);
}

/* Who was to keep a hint may know of a newer floor too: it gets the new state, and counts then. */
static void a_hint_refused_then_sent_anew(void **state)
{
    (void)state;
    struct bench b;
    struct writing w = begin(&b, 5, CONSISTENCY_QUORUM);
    fixture_set_liveness(&b.f, w.others[1], LIVENESS_DOWN);
    minted(&b, &w);
    bench_write_reply(&b, w.id, w.others[0], ERR_UNAVAILABLE);
    struct asked hint = bench_asked(&b, MESSAGE_hint_store);
    assert_int_equal(hint.hints, 1);
    uint32_t keeper = hint.keepers[0];
    bench_hint_reply(&b, w.id, keeper, ERR_STALE_FLOOR);
    asks_itself(&b, &w);
    assert_int_equal(counter_get(&b.figures->stood_in), 0);
    bench_read_reply_of(&b, w.id, SELF, OK, w.fresh, FLOOR + 1);
    hint = bench_asked(&b, MESSAGE_replica_write); /* to the third one anew */
    assert_int_equal(hint.hints, 1);
    assert_int_equal(hint.keepers[0], keeper);
    is_write(&hint.write, w.fresh, FLOOR + 1);
    bench_hint_reply(&b, hint.id, keeper, OK);
    assert_int_equal(answered(&b, OK, OUTCOME_APPLIED).fallback_count, 1);
    bench_deinit(&b);
}

/* Minted here at FLOOR; others[1] cannot take it, so another node keeps a hint for it. */
static struct asked minted_with_hint(struct bench *b, const struct writing *w)
{
    minted(b, w);
    bench_write_reply(b, w->id, w->others[1], ERR_UNAVAILABLE);
    struct asked hint = bench_asked(b, MESSAGE_hint_store);
    assert_int_equal(hint.hints, 1);
    assert_int_equal(hint.targets[0], w->others[1]);
    assert_int_not_equal(hint.keepers[0], SELF);
    return hint;
}

/* A round of reaping sealed the two others, not this node. The one that is there refuses: the one
 * that is away would refuse its hint, so that does not count for W, or one lost disk would be
 * enough to lose what was acknowledged. */
static void no_hint_counts_under_a_refused_floor(void **state)
{
    (void)state;
    struct bench b;
    struct writing w = begin(&b, 5, CONSISTENCY_QUORUM);
    struct asked hint = minted_with_hint(&b, &w);
    bench_write_reply(&b, w.id, w.others[0], ERR_STALE_FLOOR);
    asks_itself(&b, &w);
    bench_hint_reply(&b, w.id, hint.keepers[0], OK);
    fixture_silent(&b.f);
    /* Still under the same floor: to the one that is there, once. */
    bench_read_reply_of(&b, w.id, SELF, OK, w.fresh, FLOOR);
    struct asked again = bench_asked(&b, MESSAGE_replica_write);
    assert_int_equal(again.count, 1);
    assert_int_equal(again.hints, 0);
    bench_write_reply(&b, w.id, w.others[0], ERR_STALE_FLOOR);
    asks_itself(&b, &w);
    bench_read_reply_of(&b, w.id, SELF, OK, w.fresh, FLOOR);
    message_free(fixture_take(&b.f, MESSAGE_range_dirty));
    fixture_pass(&b.f, WRITE_LATE_NS);
    asks_itself(&b, &w);
    bench_read_reply_of(&b, w.id, SELF, OK, w.fresh, FLOOR + 1);
    again = bench_asked(&b, MESSAGE_replica_write);
    assert_int_equal(again.count, 1);
    assert_int_equal(again.members[0], w.others[0]);
    assert_int_equal(again.hints, 1);
    is_write(&again.write, w.fresh, FLOOR + 1);
    bench_hint_reply(&b, w.id, hint.keepers[0], OK); /* of the old one: to nobody */
    bench_hint_reply(&b, again.id, again.keepers[0], OK);
    fixture_silent(&b.f); /* is it new enough? that the other one says */
    assert_int_equal(counter_get(&b.figures->stood_in), 0);
    bench_write_reply(&b, again.id, w.others[0], OK);
    struct progress progress = answered(&b, OK, OUTCOME_APPLIED);
    assert_int_equal(progress.acked_count, 2);
    assert_int_equal(progress.fallback_count, 1);
    bench_deinit(&b);
}

/* It counted before the refusal came: it is taken back, and stored and counted again. */
static void a_hint_that_counted_is_taken_back(void **state)
{
    (void)state;
    struct bench b;
    struct writing w = begin(&b, 5, CONSISTENCY_ALL);
    struct asked hint = minted_with_hint(&b, &w);
    bench_hint_reply(&b, w.id, hint.keepers[0], OK);
    assert_int_equal(counter_get(&b.figures->stood_in), 1);
    bench_write_reply(&b, w.id, w.others[0], ERR_STALE_FLOOR);
    asks_itself(&b, &w);
    bench_read_reply_of(&b, w.id, SELF, OK, w.fresh, FLOOR + 1);
    struct asked again = bench_asked(&b, MESSAGE_replica_write);
    assert_int_equal(again.hints, 1);
    bench_write_reply(&b, again.id, w.others[0], OK);
    fixture_silent(&b.f);
    bench_hint_reply(&b, again.id, again.keepers[0], OK);
    assert_int_equal(answered(&b, OK, OUTCOME_APPLIED).fallback_count, 1);
    bench_deinit(&b);
}

/* The client was answered before: the hint is stored anew all the same. */
static void a_hint_is_stored_anew_after_the_answer(void **state)
{
    (void)state;
    struct bench b;
    struct writing w = begin(&b, 5, CONSISTENCY_QUORUM);
    struct asked hint = minted_with_hint(&b, &w);
    bench_hint_reply(&b, w.id, hint.keepers[0], OK);
    answered(&b, OK, OUTCOME_APPLIED);
    bench_write_reply(&b, w.id, w.others[0], ERR_STALE_FLOOR);
    asks_itself(&b, &w);
    bench_read_reply_of(&b, w.id, SELF, OK, w.fresh, FLOOR + 1);
    struct asked again = bench_asked(&b, MESSAGE_replica_write);
    assert_int_equal(again.hints, 1);
    is_write(&again.write, w.fresh, FLOOR + 1);
    bench_write_reply(&b, again.id, w.others[0], OK);
    assert_int_equal(counter_get(&b.figures->settling), 1);
    bench_hint_reply(&b, again.id, again.keepers[0], OK);
    assert_int_equal(counter_get(&b.figures->settling), 0);
    fixture_silent(&b.f);
    bench_deinit(&b);
}

/* Bounded: with a floor that is refused again and again nothing is claimed. */
static void no_hint_counts_when_rounds_end(void **state)
{
    (void)state;
    struct bench b;
    struct writing w = begin(&b, 5, CONSISTENCY_QUORUM);
    struct asked hint = minted_with_hint(&b, &w);
    uint64_t id = w.id;
    for (uint32_t round = 1; round <= 4; round++) {
        bench_write_reply(&b, id, w.others[0], ERR_STALE_FLOOR);
        message_free(fixture_take(&b.f, MESSAGE_replica_read));
        bench_read_reply_of(&b, id, SELF, OK, w.fresh, FLOOR + round);
        struct asked again = bench_asked(&b, MESSAGE_replica_write);
        assert_int_equal(again.hints, 1);
        id = again.id;
        bench_hint_reply(&b, id, hint.keepers[0], OK);
        fixture_silent(&b.f);
    }
    bench_write_reply(&b, id, w.others[0], ERR_STALE_FLOOR);
    struct progress progress = answered(&b, ERR_UNAVAILABLE, OUTCOME_UNKNOWN);
    assert_int_equal(progress.acked, 1);
    assert_int_equal(progress.fallback_count, 0);
    bench_deinit(&b);
}

/* Both refuse what was minted, which our replica sent before its own seal was durable; one says so
 * late: it has not seen the new state yet, and is sent that at once. */
static void two_refuse_the_same_bytes(void **state)
{
    (void)state;
    for (uint64_t raise = 0; raise < 2; raise++) {
        struct bench b;
        struct writing w = begin(&b, 3, CONSISTENCY_ALL);
        minted(&b, &w);
        bench_write_reply(&b, w.id, w.others[0], ERR_STALE_FLOOR);
        asks_itself(&b, &w);
        bench_read_reply_of(&b, w.id, SELF, OK, w.fresh, FLOOR + raise);
        assert_int_equal(bench_asked(&b, MESSAGE_replica_write).members[0], w.others[0]);
        bench_write_reply(&b, w.id, w.others[1], ERR_STALE_FLOOR);
        struct asked asked = bench_asked(&b, MESSAGE_replica_write);
        assert_int_equal(asked.count, 1);
        assert_int_equal(asked.members[0], w.others[1]);
        is_write(&asked.write, w.fresh, FLOOR + raise);
        bench_write_reply(&b, w.id, w.others[0], OK);
        bench_write_reply(&b, w.id, w.others[1], OK);
        assert_int_equal(answered(&b, OK, OUTCOME_APPLIED).acked, 3);
        bench_deinit(&b);
    }
}

/* A hint of the bytes that its target has refused is none: not sent again, and nothing when it is
 * durable at last. */
static void a_hint_of_old_bytes_is_none(void **state)
{
    (void)state;
    struct bench b;
    struct writing w = begin(&b, 4, CONSISTENCY_ALL);
    minted(&b, &w);
    bench_write_reply(&b, w.id, w.others[0], OK);
    fixture_pass(&b.f, WRITE_LATE_NS);
    struct asked late = bench_asked(&b, MESSAGE_replica_write);
    assert_int_equal(late.hints, 1);
    assert_int_equal(late.targets[0], w.others[1]);
    bench_write_reply(&b, w.id, w.others[1], ERR_STALE_FLOOR);
    asks_itself(&b, &w);
    fixture_pass(&b.f, 2 * WRITE_LATE_NS); /* the hint is late too */
    fixture_silent(&b.f);
    bench_hint_reply(&b, w.id, late.keepers[0], OK);
    fixture_silent(&b.f);
    bench_read_reply_of(&b, w.id, SELF, OK, w.fresh, FLOOR + 1);
    struct asked asked = bench_asked(&b, MESSAGE_replica_write);
    assert_int_equal(asked.count, 1);
    assert_int_equal(asked.members[0], w.others[1]);
    is_write(&asked.write, w.fresh, FLOOR + 1);
    bench_write_reply(&b, asked.id, w.others[1], OK);
    struct progress progress = answered(&b, OK, OUTCOME_APPLIED);
    assert_int_equal(progress.acked_count, 3);
    assert_int_equal(progress.fallback_count, 0);
    bench_deinit(&b);
}

/* The same, with a hint that was durable before, here where none counts. */
static void a_durable_hint_of_old_bytes_is_none(void **state)
{
    (void)state;
    struct bench b;
    struct writing w = begin(&b, 3, CONSISTENCY_QUORUM);
    minted(&b, &w);
    fixture_pass(&b.f, WRITE_LATE_NS);
    assert_int_equal(bench_asked(&b, MESSAGE_replica_write).hints, 2);
    bench_hint_reply(&b, w.id, SELF, OK); /* of the first one */
    bench_write_reply(&b, w.id, w.others[0], ERR_STALE_FLOOR);
    asks_itself(&b, &w);
    bench_write_reply(&b, w.id, w.others[1], OK);
    answered(&b, OK, OUTCOME_APPLIED);
    assert_int_equal(counter_get(&b.figures->settling), 1);
    bench_read_reply_of(&b, w.id, SELF, OK, w.fresh, FLOOR + 1);
    struct asked asked = bench_asked(&b, MESSAGE_replica_write);
    assert_int_equal(asked.members[0], w.others[0]);
    bench_write_reply(&b, asked.id, w.others[0], OK);
    assert_int_equal(counter_get(&b.figures->settling), 0);
    bench_deinit(&b);
}

/* Bounded: a replica that refuses again and again has failed, without ever having counted. */
static void rounds_are_bounded(void **state)
{
    (void)state;
    struct bench b;
    struct writing w = begin(&b, 3, CONSISTENCY_ALL);
    minted(&b, &w);
    for (uint32_t round = 1; round <= 4; round++) {
        bench_write_reply(&b, w.id, w.others[0], ERR_STALE_FLOOR);
        asks_itself(&b, &w);
        bench_read_reply_of(&b, w.id, SELF, OK, w.fresh, FLOOR + round);
        assert_int_equal(bench_asked(&b, MESSAGE_replica_write).count, 1);
    }
    bench_write_reply(&b, w.id, w.others[0], ERR_STALE_FLOOR);
    assert_int_equal(answered(&b, ERR_UNAVAILABLE, OUTCOME_UNKNOWN).acked, 1);
    bench_deinit(&b);
}

/* A seal of a round that has not come here yet: what is read under the same floor is not sent in
 * vain, anti-entropy is told, and the write goes through when the floor has been raised. */
static void a_floor_that_lags_here_is_waited_for(void **state)
{
    (void)state;
    struct bench b;
    struct writing w = begin(&b, 3, CONSISTENCY_ALL);
    minted(&b, &w);
    bench_write_reply(&b, w.id, w.others[1], OK);
    bench_write_reply(&b, w.id, w.others[0], ERR_STALE_FLOOR);
    asks_itself(&b, &w);
    bench_read_reply_of(&b, w.id, SELF, OK, w.fresh, FLOOR);
    assert_int_equal(bench_asked(&b, MESSAGE_replica_write).count, 1);
    bench_write_reply(&b, w.id, w.others[0], ERR_STALE_FLOOR);
    asks_itself(&b, &w);
    bench_read_reply_of(&b, w.id, SELF, OK, w.fresh, FLOOR);
    struct message *dirty = fixture_take(&b.f, MESSAGE_range_dirty);
    assert_int_equal(dirty->to.kind, ACTOR_ANTI_ENTROPY);
    assert_int_equal(dirty->range_dirty.member, w.others[0]);
    message_free(dirty);
    fixture_silent(&b.f); /* nor has the put failed */
    fixture_pass(&b.f, WRITE_LATE_NS);
    asks_itself(&b, &w);
    bench_read_reply_of(&b, w.id, SELF, OK, w.fresh, FLOOR + 1);
    assert_int_equal(bench_asked(&b, MESSAGE_replica_write).count, 1);
    bench_write_reply(&b, w.id, w.others[0], OK);
    assert_int_equal(answered(&b, OK, OUTCOME_APPLIED).acked, 3);
    bench_deinit(&b);
}

/* Our replica holds nothing any more: there is nothing to send, so nothing is claimed. */
static void nothing_left_to_send(void **state)
{
    (void)state;
    struct bench b;
    struct writing w = begin(&b, 3, CONSISTENCY_ALL);
    minted(&b, &w);
    bench_write_reply(&b, w.id, w.others[0], ERR_STALE_FLOOR);
    asks_itself(&b, &w);
    bench_read_reply_of(&b, w.id, SELF, OK, (struct bytes){0}, FLOOR + 1);
    answered(&b, ERR_UNAVAILABLE, OUTCOME_UNKNOWN);
    bench_deinit(&b);
}

/* When the last round has not helped either, the write fails there and then, not at its deadline.
 */
static void given_up_is_decided(void **state)
{
    (void)state;
    struct bench b;
    struct writing w = begin(&b, 3, CONSISTENCY_QUORUM);
    minted(&b, &w);
    for (uint32_t i = 0; i < 2; i++) {
        bench_write_reply(&b, w.id, w.others[i], ERR_STALE_FLOOR);
        asks_itself(&b, &w);
        bench_read_reply_of(&b, w.id, SELF, ERR_IO, (struct bytes){0}, 0);
        fixture_silent(&b.f);
    }
    for (uint32_t i = 0; i < 2; i++) {
        fixture_pass(&b.f, WRITE_LATE_NS << i);
        asks_itself(&b, &w);
        bench_read_reply_of(&b, w.id, SELF, ERR_IO, (struct bytes){0}, 0);
        fixture_silent(&b.f);
    }
    fixture_pass(&b.f, 4 * WRITE_LATE_NS);
    answered(&b, ERR_UNAVAILABLE, OUTCOME_UNKNOWN);
    bench_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_carry_floor_and_request),
        cmocka_unit_test(refused_then_sent_anew),
        cmocka_unit_test(refused_before_the_mint),
        cmocka_unit_test(old_bytes_are_never_sent_again),
        cmocka_unit_test(a_damaged_record_is_not_sent),
        cmocka_unit_test(a_write_lost_with_our_copy_is_not_acknowledged),
        cmocka_unit_test(a_hint_refused_then_sent_anew),
        cmocka_unit_test(no_hint_counts_under_a_refused_floor),
        cmocka_unit_test(a_hint_that_counted_is_taken_back),
        cmocka_unit_test(a_hint_is_stored_anew_after_the_answer),
        cmocka_unit_test(no_hint_counts_when_rounds_end),
        cmocka_unit_test(two_refuse_the_same_bytes),
        cmocka_unit_test(a_hint_of_old_bytes_is_none),
        cmocka_unit_test(a_durable_hint_of_old_bytes_is_none),
        cmocka_unit_test(rounds_are_bounded),
        cmocka_unit_test(a_floor_that_lags_here_is_waited_for),
        cmocka_unit_test(nothing_left_to_send),
        cmocka_unit_test(given_up_is_decided),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
