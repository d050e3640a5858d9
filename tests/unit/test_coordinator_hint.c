// link: coterie_actors coterie_store
/* Sloppy quorum (Dynamo 4.6; RELIABILITY rules 18, 22): a fallback's durable hint counts for W in
 * the place of its replica, once, and the answer says so; reads never count one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/coordinator_bench.h"

#define SIBLINGS KEYSPACE_TEST_SIBLINGS

/* The two other replicas of the key of a put that was begun, and the put's id. */
struct writing {
    const char *key;
    uint64_t id;
    uint32_t others[REPLICAS_TOTAL_MAX];
    uint32_t count;
};

static struct writing writing_of(struct bench *b)
{
    struct writing w = {.key = bench_key(b, true)};
    struct replica_set set = bench_replicas(b, w.key);
    for (uint32_t i = 0; i < set.count; i++) {
        if (set.replicas[i].member != SELF)
            w.others[w.count++] = set.replicas[i].member;
    }
    return w;
}

static void begin_with(struct bench *b, struct writing *w, enum consistency level,
                       enum test_keyspace keyspace, bool strict)
{
    bench_put_strict(b, keyspace, w->key, level, strict);
    struct message *mint = fixture_take(&b->f, MESSAGE_replica_mint);
    w->id = mint->id;
    message_free(mint);
    fixture_silent(&b->f);
}

static void begin(struct bench *b, struct writing *w, enum consistency level)
{
    begin_with(b, w, level, SIBLINGS, false);
}

static void minted(struct bench *b, const struct writing *w)
{
    struct message *message = message_new(MESSAGE_replica_mint_done, 0);
    message->from = actor_id_of(SELF, ACTOR_REPLICA);
    message->id = w->id;
    message->replica_mint_done = (struct replica_mint_done){.status = OK,
                                                            .staged = true,
                                                            .context = bytes_of_string("context"),
                                                            .record = bytes_of_string("record"),
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

/* The hints that left; nothing else did. */
static struct asked hints_sent(struct bench *b)
{
    struct asked asked = bench_asked(b, MESSAGE_hint_store);
    assert_int_equal(asked.count, 0);
    return asked;
}

/* Two replicas down, two more nodes: W 2 is met by this node's own copy and one durable hint. */
static void a_fallback_stands_in(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 5, 1);
    struct writing w = writing_of(&b);
    fixture_set_liveness(&b.f, w.others[0], LIVENESS_DOWN);
    fixture_set_liveness(&b.f, w.others[1], LIVENESS_DOWN);
    begin(&b, &w, CONSISTENCY_QUORUM);
    minted(&b, &w);
    struct asked asked = hints_sent(&b);
    assert_int_equal(asked.hints, 2);
    assert_int_equal(asked.targets[0], w.others[0]);
    assert_int_equal(asked.targets[1], w.others[1]);
    assert_int_not_equal(asked.keepers[0], asked.keepers[1]);
    for (uint32_t i = 0; i < 2; i++)
        assert_false(bench_is_replica(&b, w.key, asked.keepers[i]));
    assert_true(bytes_equal(asked.record, bytes_of_string("record")));
    bench_hint_reply(&b, w.id, w.others[0], OK); /* keeps no hint */
    fixture_silent(&b.f);
    bench_hint_reply(&b, w.id, asked.keepers[1], OK);
    struct progress progress = answered(&b, OK, OUTCOME_APPLIED);
    assert_int_equal(progress.acked, 2);
    assert_int_equal(progress.acked_count, 1);
    assert_int_equal(progress.acked_members[0], SELF);
    assert_int_equal(progress.fallback_count, 1);
    assert_int_equal(progress.fallback_members[0], asked.keepers[1]);
    assert_int_equal(progress.missing_count, 2);
    assert_int_equal(counter_get(&b.figures->settling), 1);
    bench_hint_reply(&b, w.id, asked.keepers[0], OK);
    assert_int_equal(counter_get(&b.figures->settling), 0);
    assert_int_equal(counter_get(&b.figures->unsettled), 0);
    fixture_silent(&b.f);
    bench_deinit(&b);
}

/* W counts distinct nodes: the same fallback twice is one, a replica and its fallback are one. */
static void nobody_counts_twice(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 5, 1);
    struct writing w = writing_of(&b);
    begin(&b, &w, CONSISTENCY_ALL);
    minted(&b, &w);
    bench_write_reply(&b, w.id, w.others[0], ERR_UNAVAILABLE);
    struct asked asked = hints_sent(&b);
    assert_int_equal(asked.hints, 1);
    bench_hint_reply(&b, w.id, asked.keepers[0], OK);
    bench_hint_reply(&b, w.id, asked.keepers[0], OK);
    bench_write_reply(&b, w.id, w.others[0], OK); /* it came back: now it counts itself */
    fixture_silent(&b.f);
    bench_write_reply(&b, w.id, w.others[1], OK);
    struct progress progress = answered(&b, OK, OUTCOME_APPLIED);
    assert_int_equal(progress.acked_count, 3);
    assert_int_equal(progress.fallback_count, 0);
    bench_deinit(&b);
}

/* One that refuses or cannot be reached is followed by the next of the walk; when there is none
 * left this node keeps the hint, which counts for nothing. */
static void the_next_of_the_walk(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 5, 1);
    struct writing w = writing_of(&b);
    begin(&b, &w, CONSISTENCY_ALL);
    minted(&b, &w);
    bench_write_reply(&b, w.id, w.others[0], OK);
    bench_write_reply(&b, w.id, w.others[1], ERR_UNAVAILABLE);
    uint32_t first = hints_sent(&b).keepers[0];
    bench_hint_reply(&b, w.id, first, ERR_UNAVAILABLE);
    uint32_t second = hints_sent(&b).keepers[0];
    assert_true(second != first && second != SELF);
    bench_hint_reply(&b, w.id, second, ERR_LIMIT);
    struct message *hint = fixture_take(&b.f, MESSAGE_hint_store);
    assert_int_equal(hint->to.node, SELF);
    assert_int_equal(hint->hint_store.target, w.others[1]);
    message_free(hint);
    struct progress progress = answered(&b, ERR_UNAVAILABLE, OUTCOME_UNKNOWN);
    assert_int_equal(progress.acked, 2);
    assert_int_equal(progress.fallback_count, 0);
    bench_deinit(&b);
}

/* Three nodes: no fallback, so a hint never meets a quorum, but it is kept here all the same. */
static void without_fallbacks(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 3, 1);
    struct writing w = writing_of(&b);
    fixture_set_liveness(&b.f, w.others[0], LIVENESS_DOWN);
    begin(&b, &w, CONSISTENCY_QUORUM);
    minted(&b, &w);
    struct asked asked = hints_sent(&b);
    assert_int_equal(asked.hints, 1);
    assert_int_equal(asked.keepers[0], SELF);
    bench_hint_reply(&b, w.id, SELF, OK);
    fixture_silent(&b.f);
    bench_write_reply(&b, w.id, w.others[1], OK);
    struct progress progress = answered(&b, OK, OUTCOME_APPLIED);
    assert_int_equal(progress.acked, 2);
    assert_int_equal(progress.fallback_count, 0);
    assert_int_equal(counter_get(&b.figures->settling), 0);
    bench_deinit(&b);
}

/* A replica that does not answer in time gets a hint, before the answer or after it. */
static void late_ones_get_hints(void **state)
{
    (void)state;
    for (int after = 0; after < 2; after++) {
        struct bench b;
        bench_init(&b, 4, 1);
        struct writing w = writing_of(&b);
        begin(&b, &w, after ? CONSISTENCY_QUORUM : CONSISTENCY_ALL);
        minted(&b, &w);
        bench_write_reply(&b, w.id, w.others[0], OK);
        if (after)
            answered(&b, OK, OUTCOME_APPLIED);
        fixture_pass(&b.f, 500 * MS - 1);
        fixture_silent(&b.f);
        fixture_pass(&b.f, 1);
        struct asked asked = bench_asked(&b, MESSAGE_replica_write);
        assert_int_equal(asked.count, 1); /* it is asked again too */
        assert_int_equal(asked.members[0], w.others[1]);
        assert_int_equal(asked.hints, 1);
        assert_int_equal(asked.targets[0], w.others[1]);
        bench_hint_reply(&b, w.id, asked.keepers[0], OK);
        if (!after)
            assert_int_equal(answered(&b, OK, OUTCOME_APPLIED).fallback_count, 1);
        fixture_silent(&b.f);
        assert_int_equal(counter_get(&b.figures->settling), 0);
        fixture_pass(&b.f, 10 * DEADLINE_NS);
        fixture_silent(&b.f);
        bench_deinit(&b);
    }
}

/* What settles ends in bounded time, and is counted when a replica was left without. */
static void settling_ends(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 4, 1);
    struct writing w = writing_of(&b);
    begin(&b, &w, CONSISTENCY_ONE);
    minted(&b, &w);
    answered(&b, OK, OUTCOME_APPLIED);
    assert_int_equal(counter_get(&b.figures->in_flight), 0);
    assert_int_equal(counter_get(&b.figures->settling), 1);
    struct asked asked = {0};
    for (uint32_t i = 0; i < 10 && asked.dirty == 0; i++) {
        fixture_pass(&b.f, 500 * MS);
        asked = bench_asked(&b, MESSAGE_replica_write);
    }
    assert_int_equal(asked.dirty, 2); /* message.h: anti-entropy is told whom to look at */
    assert_int_equal(asked.dirty_partition, test_partition(&b.f, SIBLINGS, w.key));
    assert_true((asked.dirty_members[0] == w.others[0] && asked.dirty_members[1] == w.others[1]));
    assert_int_equal(counter_get(&b.figures->settling), 0);
    assert_int_equal(counter_get(&b.figures->unsettled), 1);
    assert_int_equal(counter_get(&b.figures->timeouts), 0);
    bench_deinit(&b);
}

/* A refusal is no absence: a hint would not change it, and nobody stands in. */
static void refusals_are_not_hinted(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 5, 1);
    struct writing w = writing_of(&b);
    begin(&b, &w, CONSISTENCY_ALL);
    minted(&b, &w);
    bench_write_reply(&b, w.id, w.others[0], ERR_LIMIT);
    answered(&b, ERR_LIMIT, OUTCOME_UNKNOWN);
    fixture_silent(&b.f);
    /* It is owed to the other one still; then the one that refused is told of. */
    bench_write_reply(&b, w.id, w.others[1], OK);
    struct asked asked = bench_asked(&b, MESSAGE_range_dirty);
    assert_int_equal(asked.dirty, 1);
    assert_int_equal(asked.dirty_members[0], w.others[0]);
    assert_int_equal(asked.hints, 0);
    assert_int_equal(counter_get(&b.figures->settling), 0);
    assert_int_equal(counter_get(&b.figures->unsettled), 1);
    bench_deinit(&b);
}

/* A replica that cannot take the write now gets a hint, like one that is away, and a fallback may
 * stand in; one that will not take it does not. Every error is one or the other. */
static void who_gets_a_hint(void **state)
{
    (void)state;
    static const bool helps[ERR_COUNT] = {
        [ERR_UNAVAILABLE] = true, [ERR_OVERLOADED] = true, [ERR_IO] = true,
        [ERR_CORRUPT] = true,     [ERR_TIMEOUT] = true,    [ERR_INCOMPLETE] = true,
        [ERR_STALE_EPOCH] = true, [ERR_CLOSED] = true,
    };
    for (enum err err = OK + 1; err < ERR_COUNT; err++) {
        if (err == ERR_STALE_FLOOR)
            continue; /* sent anew: test_coordinator_refresh.c */
        struct bench b;
        bench_init(&b, 5, 1);
        struct writing w = writing_of(&b);
        begin(&b, &w, CONSISTENCY_ALL);
        minted(&b, &w);
        bench_write_reply(&b, w.id, w.others[0], OK);
        bench_write_reply(&b, w.id, w.others[1], err);
        if (helps[err]) {
            struct asked asked = hints_sent(&b);
            assert_int_equal(asked.hints, 1);
            assert_int_equal(asked.targets[0], w.others[1]);
            bench_hint_reply(&b, w.id, asked.keepers[0], OK);
            assert_int_equal(answered(&b, OK, OUTCOME_APPLIED).fallback_count, 1);
            fixture_silent(&b.f);
            assert_int_equal(counter_get(&b.figures->unsettled), 0);
        } else {
            answered(&b, err == ERR_LIMIT ? ERR_LIMIT : ERR_UNAVAILABLE, OUTCOME_UNKNOWN);
            struct asked asked = bench_asked(&b, MESSAGE_range_dirty);
            assert_int_equal(asked.hints, 0);
            assert_int_equal(asked.dirty, 1);
            assert_int_equal(asked.dirty_members[0], w.others[1]);
            assert_int_equal(counter_get(&b.figures->unsettled), 1);
        }
        assert_int_equal(counter_get(&b.figures->settling), 0);
        bench_deinit(&b);
    }
}

static void count_line(void *host, enum log_level level, const char *event, const char *fields)
{
    assert_int_equal(level, LOG_WARNING);
    assert_string_equal(event, "write_unsettled");
    assert_non_null(strstr(fields, "member="));
    ++*(uint32_t *)host;
    assert_non_null(strstr(fields, *(uint32_t *)host == 1 ? "writes=1 " : "writes=4 "));
}

/* Told in the log too, a line a second that says how many. */
static void unsettled_writes_are_logged(void **state)
{
    (void)state;
    struct bench b;
    uint32_t lines = 0;
    struct log log = {.sink = count_line, .host = &lines, .level = LOG_INFO};
    bench_init(&b, 4, 1);
    b.f.ctx.log = &log;
    struct writing w = writing_of(&b);
    for (uint32_t i = 0; i < 5; i++) {
        begin(&b, &w, CONSISTENCY_ONE);
        minted(&b, &w);
        answered(&b, OK, OUTCOME_APPLIED);
        bench_write_reply(&b, w.id, w.others[0], ERR_LIMIT);
        fixture_pass(&b.f, i == 4 ? 1000 * MS : 0);
        bench_write_reply(&b, w.id, w.others[1], OK);
        bench_asked(&b, MESSAGE_replica_write);
        assert_int_equal(lines, i < 4 ? 1 : 2);
    }
    assert_int_equal(counter_get(&b.figures->unsettled), 5);
    bench_deinit(&b);
}

/* RELIABILITY rule 18: where strict was asked a durable hint is kept, and counts for nothing: the
 * write is open until a replica itself has it. */
static void strict_counts_replicas_alone(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 5, 1);
    struct writing w = writing_of(&b);
    fixture_set_liveness(&b.f, w.others[0], LIVENESS_DOWN);
    begin_with(&b, &w, CONSISTENCY_QUORUM, SIBLINGS, true);
    minted(&b, &w);
    struct asked asked = hints_sent(&b);
    assert_int_equal(asked.hints, 1);
    assert_int_equal(asked.targets[0], w.others[0]);
    assert_int_not_equal(asked.keepers[0], SELF);
    bench_hint_reply(&b, w.id, asked.keepers[0], OK);
    fixture_silent(&b.f);
    bench_write_reply(&b, w.id, w.others[1], OK);
    struct progress progress = answered(&b, OK, OUTCOME_APPLIED);
    assert_int_equal(progress.acked, 2);
    assert_int_equal(progress.acked_count, 2);
    assert_int_equal(progress.fallback_count, 0);
    assert_int_equal(counter_get(&b.figures->stood_in), 0);
    assert_int_equal(counter_get(&b.figures->settling), 0);
    bench_deinit(&b);
}

/* One that is late gets a hint in a strict write too; only its own answer counts. */
static void strict_waits_for_late_ones(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 4, 1);
    struct writing w = writing_of(&b);
    begin_with(&b, &w, CONSISTENCY_ALL, SIBLINGS, true);
    minted(&b, &w);
    bench_write_reply(&b, w.id, w.others[0], OK);
    fixture_pass(&b.f, WRITE_LATE_NS);
    struct asked asked = bench_asked(&b, MESSAGE_replica_write);
    assert_int_equal(asked.hints, 1);
    bench_hint_reply(&b, w.id, asked.keepers[0], OK);
    fixture_silent(&b.f);
    bench_write_reply(&b, w.id, w.others[1], OK);
    assert_int_equal(answered(&b, OK, OUTCOME_APPLIED).acked_count, 3);
    bench_deinit(&b);
}

/* Asked by the request or by the keyspace: too few live replicas is UNAVAILABLE, not applied, at
 * once, where a sloppy write would go on; a replica lost on the way leaves it open. */
static void strict_is_refused_at_once(void **state)
{
    (void)state;
    static const struct {
        enum test_keyspace keyspace;
        bool strict;
        bool refused;
    } cases[] = {{SIBLINGS, false, false},
                 {SIBLINGS, true, true},
                 {KEYSPACE_TEST_STRICT, false, true},
                 {KEYSPACE_TEST_STRICT, true, true}};
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct bench b;
        bench_init(&b, 5, 1);
        struct writing w = {0};
        for (uint32_t k = 0; w.key == NULL; k++) { /* of which this node holds a replica */
            static char key[16];
            snprintf(key, sizeof key, "key%u", k);
            struct replica_set set = bench_replicas_in(&b, cases[i].keyspace, key);
            for (uint32_t r = 0; r < set.count; r++) {
                if (set.replicas[r].member == SELF)
                    w.key = key;
            }
        }
        for (uint32_t member = 2; member <= 5; member++) {
            struct replica_set set = bench_replicas_in(&b, cases[i].keyspace, w.key);
            for (uint32_t r = 0; r < set.count; r++) {
                if (set.replicas[r].member == member)
                    fixture_set_liveness(&b.f, member, LIVENESS_DOWN);
            }
        }
        if (!cases[i].refused) {
            begin_with(&b, &w, CONSISTENCY_QUORUM, cases[i].keyspace, cases[i].strict);
            bench_deinit(&b);
            continue;
        }
        bench_put_strict(&b, cases[i].keyspace, w.key, CONSISTENCY_QUORUM, cases[i].strict);
        struct progress progress = answered(&b, ERR_UNAVAILABLE, OUTCOME_NOT_APPLIED);
        assert_int_equal(progress.needed, 2);
        assert_int_equal(progress.missing_count, 2);
        assert_int_equal(progress.fallback_count, 0);
        fixture_silent(&b.f);
        bench_deinit(&b);
    }
}

/* A replica that cannot be reached after the mint has failed for a strict write. */
static void strict_and_undelivered(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 5, 1);
    struct writing w = writing_of(&b);
    begin_with(&b, &w, CONSISTENCY_ALL, SIBLINGS, true);
    minted(&b, &w);
    bench_write_reply(&b, w.id, w.others[0], ERR_UNAVAILABLE);
    struct message *hint = fixture_take(&b.f, MESSAGE_hint_store); /* kept for it all the same */
    message_free(hint);
    answered(&b, ERR_UNAVAILABLE, OUTCOME_UNKNOWN);
    fixture_silent(&b.f);
    bench_deinit(&b);
}

/* A fallback stands in only within its own data centre. */
static void data_centres_keep_apart(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 7, 2); /* four nodes here, three there: no fallback there */
    struct writing w = writing_of(&b);
    for (uint32_t member = 2; member <= 7; member += 2)
        fixture_set_liveness(&b.f, member, LIVENESS_DOWN);
    begin(&b, &w, CONSISTENCY_LOCAL_QUORUM);
    minted(&b, &w);
    struct asked asked = hints_sent(&b);
    assert_int_equal(asked.hints, 3);
    for (uint32_t i = 0; i < asked.hints; i++)
        assert_int_equal(asked.keepers[i], SELF);
    bench_put(&b, SIBLINGS, w.key, CONSISTENCY_EACH_QUORUM);
    answered(&b, ERR_UNAVAILABLE, OUTCOME_NOT_APPLIED);
    bench_deinit(&b);
}

/* Reads ask replicas alone, whoever keeps hints. */
static void reads_never_ask_fallbacks(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 5, 1);
    struct writing w = writing_of(&b);
    fixture_set_liveness(&b.f, w.others[0], LIVENESS_DOWN);
    fixture_set_liveness(&b.f, w.others[1], LIVENESS_DOWN);
    bench_get(&b, SIBLINGS, w.key, CONSISTENCY_QUORUM, 0);
    bench_got(&b, ERR_UNAVAILABLE);
    bench_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fallback_stands_in),
        cmocka_unit_test(nobody_counts_twice),
        cmocka_unit_test(the_next_of_the_walk),
        cmocka_unit_test(without_fallbacks),
        cmocka_unit_test(late_ones_get_hints),
        cmocka_unit_test(settling_ends),
        cmocka_unit_test(refusals_are_not_hinted),
        cmocka_unit_test(data_centres_keep_apart),
        cmocka_unit_test(reads_never_ask_fallbacks),
        cmocka_unit_test(strict_counts_replicas_alone),
        cmocka_unit_test(strict_waits_for_late_ones),
        cmocka_unit_test(strict_is_refused_at_once),
        cmocka_unit_test(strict_and_undelivered),
        cmocka_unit_test(who_gets_a_hint),
        cmocka_unit_test(unsettled_writes_are_logged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
