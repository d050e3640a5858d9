// link: coterie_actors coterie_store
/* Rules of actors/coordinator_remote.c: a write crosses to another data centre once (DESIGN.md 8),
 * and levels that name the local data centre stay in it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/put_bench.h"

#define SIBLINGS KEYSPACE_TEST_SIBLINGS
#define LOCAL    CONSISTENCY_LOCAL_QUORUM

/* Two data centres of `members / 2`; the replicas of a key of which this node holds one: the first
 * three are local. */
struct centers {
    struct bench b;
    const char *key;
    struct replica_set replicas;
};

static void centers_init(struct centers *c, uint32_t members)
{
    bench_init(&c->b, members, 2);
    c->key = bench_key(&c->b, true);
    c->replicas = bench_replicas(&c->b, c->key);
    assert_int_equal(c->replicas.count, 6);
}

static uint32_t member_of(const struct centers *c, uint32_t index)
{
    return c->replicas.replicas[index].member;
}

struct routed {
    uint64_t id;
    uint32_t direct_count;
    uint32_t direct[REPLICAS_TOTAL_MAX];
    uint32_t onward_count;
    uint32_t via; /* the member that passes on; MEMBER_NONE */
};

/* The mint of a put that has just begun. */
static struct routed take_routed(struct centers *c)
{
    struct message *message = fixture_take(&c->b.f, MESSAGE_replica_mint);
    const struct replica_mint *mint = &message->replica_mint;
    struct routed routed = {.id = message->id};
    for (uint32_t i = 0; i < mint->target_count; i++) {
        if (mint->via[i] == 0) {
            routed.direct[routed.direct_count++] = mint->targets[i];
            continue;
        }
        uint32_t via = mint->targets[mint->via[i] - 1];
        assert_int_equal(mint->via[mint->via[i] - 1], 0);
        assert_true(routed.via == MEMBER_NONE || routed.via == via);
        routed.via = via;
        routed.onward_count++;
    }
    message_free(message);
    fixture_silent(&c->b.f);
    return routed;
}

static struct routed begin(struct centers *c, const char *key, enum consistency level)
{
    bench_put(&c->b, SIBLINGS, key, level);
    return take_routed(c);
}

/* Of the two other local replicas, `count` from `first` have made it durable. */
static void local_replies(struct centers *c, uint64_t id, uint32_t first, uint32_t count)
{
    uint32_t others = 0;
    for (uint32_t i = 0; i < 3; i++) {
        if (member_of(c, i) == SELF)
            continue;
        if (others >= first && others < first + count)
            bench_write_reply(&c->b, id, member_of(c, i), OK);
        others++;
    }
    assert_int_equal(others, 2);
}

/* Ends it: all replicas have it. */
static void finish(struct centers *c, uint64_t id)
{
    struct message *message;
    mint_done(&c->b, id, OK, NULL);
    for (uint32_t i = 0; i < c->replicas.count; i++) {
        if (member_of(c, i) != SELF)
            bench_write_reply(&c->b, id, member_of(c, i), OK);
    }
    while ((message = outbox_take(&c->b.f.outbox)) != NULL)
        message_free(message);
}

/* Of the other data centre one replica is sent the write and passes it on; which one is drawn by
 * the key, so that each has a share. A replica that is down passes nothing on, and gets nothing. */
static void one_copy_crosses(void **state)
{
    (void)state;
    struct centers c;
    centers_init(&c, 6);
    uint32_t chosen[3] = {0};
    uint32_t partition = test_partition(&c.b.f, SIBLINGS, c.key);
    for (uint32_t i = 0, drawn = 0; drawn < 60; i++) {
        char key[16];
        snprintf(key, sizeof key, "spread%u", i);
        if (test_partition(&c.b.f, SIBLINGS, key) != partition)
            continue; /* its replicas come in another order */
        drawn++;
        struct routed routed = begin(&c, key, LOCAL);
        assert_int_equal(routed.direct_count, 3); /* two here, one there */
        assert_int_equal(routed.onward_count, 2);
        for (uint32_t k = 3; k < 6; k++)
            chosen[k - 3] += routed.via == member_of(&c, k);
        finish(&c, routed.id);
    }
    assert_int_equal(chosen[0] + chosen[1] + chosen[2], 60);
    for (uint32_t k = 0; k < 3; k++)
        assert_true(chosen[k] >= 10);
    assert_int_equal(counter_get(&c.b.figures->remote_onward), 120);

    fixture_set_liveness(&c.b.f, member_of(&c, 3), LIVENESS_DOWN);
    struct routed routed = begin(&c, c.key, LOCAL);
    assert_int_equal(routed.direct_count, 3);
    assert_int_equal(routed.onward_count, 1);
    assert_int_not_equal(routed.via, member_of(&c, 3));
    finish(&c, routed.id);

    fixture_set_liveness(&c.b.f, member_of(&c, 4), LIVENESS_DOWN);
    routed = begin(&c, c.key, LOCAL);
    assert_int_equal(routed.direct_count, 3);
    assert_int_equal(routed.onward_count, 0);
    assert_int_equal(counter_get(&c.b.figures->remote_stranded), 0);
    bench_deinit(&c.b);
}

/* One that cannot be reached passes nothing on: the others there are sent the write from here as
 * soon as there is something to send, and it gets a hint. */
static void unreachable_passes_nothing_on(void **state)
{
    (void)state;
    for (uint32_t order = 0; order < 2; order++) {
        struct centers c;
        centers_init(&c, 6);
        struct routed routed = begin(&c, c.key, CONSISTENCY_EACH_QUORUM);
        if (order == 0) { /* known before the write is durable here */
            bench_write_reply(&c.b, routed.id, routed.via, ERR_UNAVAILABLE);
            fixture_silent(&c.b.f);
            mint_done(&c.b, routed.id, OK, NULL);
        } else {
            mint_done(&c.b, routed.id, OK, NULL);
            fixture_silent(&c.b.f);
            bench_write_reply(&c.b, routed.id, routed.via, ERR_UNAVAILABLE);
        }
        struct asked asked = bench_asked(&c.b, MESSAGE_replica_write);
        assert_int_equal(asked.count, 2);
        assert_int_equal(asked.write.onward_count, 0);
        assert_int_equal(asked.write.answer_to, MEMBER_NONE);
        assert_int_equal(asked.hints, 1);
        assert_int_equal(asked.targets[0], routed.via);
        for (uint32_t k = 3; k < 6; k++)
            assert_int_equal(asked_member(&asked, member_of(&c, k)),
                             member_of(&c, k) != routed.via);
        assert_int_equal(counter_get(&c.b.figures->remote_stranded), 2);
        /* Said twice it changes nothing; nor does one that was to pass nothing on. */
        bench_write_reply(&c.b, routed.id, routed.via, ERR_UNAVAILABLE);
        fixture_silent(&c.b.f);
        bench_deinit(&c.b);
    }
    struct centers c;
    centers_init(&c, 6);
    struct routed routed = begin(&c, c.key, CONSISTENCY_EACH_QUORUM);
    mint_done(&c.b, routed.id, OK, NULL);
    uint32_t other = routed.via == member_of(&c, 3) ? member_of(&c, 4) : member_of(&c, 3);
    bench_write_reply(&c.b, routed.id, other, ERR_UNAVAILABLE);
    struct asked asked = bench_asked(&c.b, MESSAGE_replica_write);
    assert_int_equal(asked.count, 0);
    assert_int_equal(asked.hints, 1);
    bench_deinit(&c.b);
}

/* One that says nothing: when the write is late it is sent to each of them from here. */
static void silent_one_is_gone_round(void **state)
{
    (void)state;
    struct centers c;
    centers_init(&c, 6);
    struct routed routed = begin(&c, c.key, CONSISTENCY_EACH_QUORUM);
    mint_done(&c.b, routed.id, OK, NULL);
    local_replies(&c, routed.id, 0, 2);
    fixture_silent(&c.b.f);
    fixture_pass(&c.b.f, WRITE_LATE_NS);
    struct asked asked = bench_asked(&c.b, MESSAGE_replica_write);
    assert_int_equal(asked.count, 3);
    for (uint32_t k = 3; k < 6; k++)
        assert_true(asked_member(&asked, member_of(&c, k)));
    assert_int_equal(asked.write.onward_count, 0);
    bench_deinit(&c.b);
}

/* A data centre that is cut off takes nothing from LOCAL_QUORUM here: the write is answered by the
 * local replicas, this node keeps a hint for each that is away, and none counts, whereas
 * EACH_QUORUM is refused before anything is written. */
static void center_cut_off(void **state)
{
    (void)state;
    struct centers c;
    centers_init(&c, 6);
    for (uint32_t k = 3; k < 6; k++)
        fixture_set_liveness(&c.b.f, member_of(&c, k), LIVENESS_DOWN);
    struct routed routed = begin(&c, c.key, LOCAL);
    assert_int_equal(routed.direct_count, 2);
    mint_done(&c.b, routed.id, OK, NULL);
    struct asked asked = bench_asked(&c.b, MESSAGE_hint_store);
    assert_int_equal(asked.hints, 3);
    for (uint32_t i = 0; i < asked.hints; i++)
        assert_int_equal(asked.keepers[i], SELF);
    for (uint32_t i = 0; i < asked.hints; i++)
        bench_hint_reply(&c.b, routed.id, SELF, OK);
    fixture_silent(&c.b.f); /* not answered by hints */
    local_replies(&c, routed.id, 0, 1);
    struct put_result result = put_answered(&c.b, OK, OUTCOME_APPLIED);
    assert_int_equal(result.progress.acked, 2);
    assert_int_equal(result.progress.needed, 2);
    assert_int_equal(result.progress.fallback_count, 0);
    local_replies(&c, routed.id, 1, 1);
    fixture_silent(&c.b.f);
    assert_int_equal(counter_get(&c.b.figures->settling), 0);
    assert_int_equal(counter_get(&c.b.figures->stood_in), 0);

    bench_put(&c.b, SIBLINGS, c.key, CONSISTENCY_EACH_QUORUM);
    put_answered(&c.b, ERR_UNAVAILABLE, OUTCOME_NOT_APPLIED);
    bench_put(&c.b, SIBLINGS, c.key, CONSISTENCY_QUORUM);
    put_answered(&c.b, ERR_UNAVAILABLE, OUTCOME_NOT_APPLIED);
    bench_deinit(&c.b);
}

/* No room for hints here: the write is answered all the same, they are tried again for a while, and
 * then anti-entropy is told which replicas lack it. Nothing is forgotten in silence. */
static void no_room_for_hints(void **state)
{
    (void)state;
    struct centers c;
    centers_init(&c, 6);
    for (uint32_t k = 3; k < 6; k++)
        fixture_set_liveness(&c.b.f, member_of(&c, k), LIVENESS_DOWN);
    struct routed routed = begin(&c, c.key, LOCAL);
    mint_done(&c.b, routed.id, OK, NULL);
    assert_int_equal(bench_asked(&c.b, MESSAGE_hint_store).hints, 3);
    for (uint32_t i = 0; i < 3; i++)
        bench_hint_reply(&c.b, routed.id, SELF, ERR_LIMIT);
    local_replies(&c, routed.id, 0, 1);
    put_answered(&c.b, OK, OUTCOME_APPLIED);
    local_replies(&c, routed.id, 1, 1);
    struct asked asked = {0};
    uint32_t again = 0;
    for (uint32_t i = 0; i < 20 && asked.dirty == 0; i++) {
        fixture_pass(&c.b.f, WRITE_LATE_NS);
        asked = bench_asked(&c.b, MESSAGE_hint_store);
        again += asked.hints;
        for (uint32_t k = 0; k < asked.hints; k++)
            bench_hint_reply(&c.b, routed.id, SELF, ERR_LIMIT);
    }
    assert_true(again >= 3);
    assert_int_equal(asked.dirty, 3);
    for (uint32_t k = 0; k < 3; k++)
        assert_true(asked.dirty_members[k] == member_of(&c, 3) ||
                    asked.dirty_members[k] == member_of(&c, 4) ||
                    asked.dirty_members[k] == member_of(&c, 5));
    assert_int_equal(counter_get(&c.b.figures->settling), 0);
    bench_deinit(&c.b);
}

/* A coordinator in another data centre would count the replicas there: a write at a local level is
 * passed on within this one alone; others go wherever a replica is alive. */
static void local_levels_stay(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 10, 2);
    const char *key = bench_key(&b, false);
    struct replica_set replicas = bench_replicas(&b, key);
    assert_int_equal(replicas.count, 6);
    bench_put(&b, SIBLINGS, key, LOCAL);
    struct message *message = fixture_take(&b.f, MESSAGE_forward_put);
    assert_int_equal(message->to.node, replicas.replicas[0].member);
    message_free(message);
    /* Two of three are away, and other nodes here would keep hints; then the third one refuses. */
    for (uint32_t i = 0; i < 2; i++)
        fixture_set_liveness(&b.f, replicas.replicas[i].member, LIVENESS_DOWN);
    static const enum consistency levels[] = {CONSISTENCY_LOCAL_QUORUM, CONSISTENCY_LOCAL_ONE,
                                              CONSISTENCY_ONE, CONSISTENCY_EACH_QUORUM};
    for (uint32_t i = 0; i < ARRAY_COUNT(levels); i++) {
        bench_put(&b, SIBLINGS, key, levels[i]);
        message = fixture_take(&b.f, MESSAGE_forward_put);
        uint64_t id = message->id;
        assert_int_equal(message->to.node, replicas.replicas[2].member);
        message_free(message);
        message = message_new(MESSAGE_forward_put_reply, 0);
        message->from = actor_id_of(replicas.replicas[2].member, ACTOR_COORDINATOR);
        message->id = id;
        message->forward_put_reply.result = (struct put_result){
            .status = ERR_UNAVAILABLE, .outcome = OUTCOME_NOT_APPLIED, .why = "no"};
        fixture_handle(&b.f, message);
        if (i < 2) {
            put_answered(&b, ERR_UNAVAILABLE, OUTCOME_NOT_APPLIED);
        } else {
            message = fixture_take(&b.f, MESSAGE_forward_put);
            assert_int_equal(message->to.node, replicas.replicas[3].member);
            message_free(message);
        }
    }
    bench_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_copy_crosses),         cmocka_unit_test(unreachable_passes_nothing_on),
        cmocka_unit_test(silent_one_is_gone_round), cmocka_unit_test(center_cut_off),
        cmocka_unit_test(no_room_for_hints),        cmocka_unit_test(local_levels_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
