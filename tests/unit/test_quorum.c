// link: coterie_model
/* Every consistency level against its definition, over all sets of answers and failures. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model/quorum.h"

#include <stdio.h>

#define CENTERS 3u

/* Members are numbered through: the first counts[0] are in data centre 0, and so on. */
static uint8_t center_of(const uint8_t *counts, uint32_t index)
{
    uint8_t center = 0;
    while (index >= counts[center])
        index -= counts[center++];
    return center;
}

static uint32_t total_of(const uint8_t *counts)
{
    return (uint32_t)counts[0] + counts[1] + counts[2];
}

static enum err quorum_make(struct quorum *quorum, enum consistency level, uint32_t count,
                            uint8_t local, const uint8_t *counts)
{
    quorum_init(quorum, level, count, local);
    for (uint32_t i = 0; i < total_of(counts); i++)
        quorum_add_replica(quorum, 10 + i, center_of(counts, i));
    return quorum_seal(quorum);
}

/* The definition: is this set of answers enough? */
static bool enough(enum consistency level, uint32_t count, uint8_t local, const uint8_t *counts,
                   uint32_t acked)
{
    uint32_t acks[CENTERS] = {0};
    uint32_t all = 0;
    for (uint32_t i = 0; i < total_of(counts); i++) {
        if (acked & (1u << i)) {
            acks[center_of(counts, i)]++;
            all++;
        }
    }
    switch (level) {
    case CONSISTENCY_ONE:
        return all >= 1;
    case CONSISTENCY_QUORUM:
        return 2 * all > total_of(counts);
    case CONSISTENCY_ALL:
        return all == total_of(counts);
    case CONSISTENCY_LOCAL_ONE:
        return acks[local] >= 1;
    case CONSISTENCY_LOCAL_QUORUM:
        return 2 * acks[local] > counts[local];
    case CONSISTENCY_EACH_QUORUM:
        for (uint32_t i = 0; i < CENTERS; i++) {
            if (counts[i] > 0 && 2 * acks[i] <= counts[i])
                return false;
        }
        return true;
    case CONSISTENCY_COUNT:
        return all >= count;
    case CONSISTENCY_DEFAULT:
        break;
    }
    fail();
    return false;
}

static void check_all_answers(enum consistency level, uint32_t count, uint8_t local,
                              const uint8_t *counts)
{
    uint32_t total = total_of(counts);
    uint32_t outcomes = 1;
    for (uint32_t i = 0; i < total; i++)
        outcomes *= 3;
    for (uint32_t outcome = 0; outcome < outcomes; outcome++) {
        struct quorum quorum;
        assert_int_equal(quorum_make(&quorum, level, count, local, counts), OK);
        uint32_t acked = 0;
        uint32_t failed = 0;
        enum quorum_state last = quorum_state(&quorum);
        for (uint32_t i = 0, rest = outcome; i < total; i++, rest /= 3) {
            if (rest % 3 == 1) {
                acked |= 1u << i;
                last = quorum_ack(&quorum, 10 + i);
            } else if (rest % 3 == 2) {
                failed |= 1u << i;
                last = quorum_fail(&quorum, 10 + i);
            }
        }
        uint32_t reachable = ((1u << total) - 1) & ~failed;
        enum quorum_state expect = QUORUM_PENDING;
        if (enough(level, count, local, counts, acked))
            expect = QUORUM_MET;
        else if (!enough(level, count, local, counts, reachable))
            expect = QUORUM_IMPOSSIBLE;
        assert_int_equal(last, expect);
        assert_int_equal(quorum_state(&quorum), expect);
        assert_int_equal(quorum_settled(&quorum), (acked | failed) == (1u << total) - 1);
        uint32_t got = 0;
        uint32_t needed = 0;
        quorum_progress(&quorum, &got, &needed);
        assert_int_equal(got >= needed, expect == QUORUM_MET);
        assert_true(needed >= 1 && needed <= total);
    }
}

/* 0..3 replicas in each of three data centres, seven in all at most: 3^7 outcomes. */
static void test_all_levels_all_answers(void **state)
{
    (void)state;
    for (uint32_t shape = 1; shape < 64; shape++) {
        uint8_t counts[CENTERS] = {(uint8_t)(shape % 4), (uint8_t)(shape / 4 % 4),
                                   (uint8_t)(shape / 16)};
        if (total_of(counts) > 7)
            continue;
        check_all_answers(CONSISTENCY_ONE, 0, 0, counts);
        check_all_answers(CONSISTENCY_QUORUM, 0, 0, counts);
        check_all_answers(CONSISTENCY_ALL, 0, 0, counts);
        check_all_answers(CONSISTENCY_EACH_QUORUM, 0, 0, counts);
        for (uint32_t count = 1; count <= total_of(counts); count++)
            check_all_answers(CONSISTENCY_COUNT, count, 0, counts);
        for (uint8_t local = 0; local < CENTERS; local++) {
            if (counts[local] == 0)
                continue;
            check_all_answers(CONSISTENCY_LOCAL_ONE, 0, local, counts);
            check_all_answers(CONSISTENCY_LOCAL_QUORUM, 0, local, counts);
        }
    }
}

/* The figures as a user reads them. */
static void test_needed_table(void **state)
{
    (void)state;
    static const struct {
        enum consistency level;
        uint32_t count;
        uint8_t local;
        uint8_t counts[CENTERS];
        enum err err;
        uint32_t needed;
    } cases[] = {
        {CONSISTENCY_ONE, 0, 0, {3, 0, 0}, ERR_OK, 1},
        {CONSISTENCY_QUORUM, 0, 0, {3, 0, 0}, ERR_OK, 2},
        {CONSISTENCY_QUORUM, 0, 0, {2, 0, 0}, ERR_OK, 2},
        {CONSISTENCY_QUORUM, 0, 0, {5, 0, 0}, ERR_OK, 3},
        {CONSISTENCY_QUORUM, 0, 0, {3, 3, 0}, ERR_OK, 4},
        {CONSISTENCY_QUORUM, 0, 2, {3, 3, 3}, ERR_OK, 5},
        {CONSISTENCY_ALL, 0, 0, {3, 3, 0}, ERR_OK, 6},
        {CONSISTENCY_LOCAL_ONE, 0, 1, {3, 3, 0}, ERR_OK, 1},
        {CONSISTENCY_LOCAL_QUORUM, 0, 1, {3, 5, 0}, ERR_OK, 3},
        {CONSISTENCY_LOCAL_QUORUM, 0, 2, {3, 3, 0}, ERR_UNAVAILABLE, 0},
        {CONSISTENCY_LOCAL_ONE, 0, 2, {3, 3, 0}, ERR_UNAVAILABLE, 0},
        {CONSISTENCY_EACH_QUORUM, 0, 0, {3, 3, 2}, ERR_OK, 6},
        {CONSISTENCY_EACH_QUORUM, 0, 0, {3, 0, 1}, ERR_OK, 3},
        {CONSISTENCY_COUNT, 2, 0, {3, 0, 0}, ERR_OK, 2},
        {CONSISTENCY_COUNT, 0, 0, {3, 0, 0}, ERR_INVALID, 0},
        {CONSISTENCY_COUNT, 4, 0, {3, 0, 0}, ERR_INVALID, 0},
        {CONSISTENCY_COUNT, 257, 0, {3, 0, 0}, ERR_INVALID, 0}, /* 1 in a byte */
        {CONSISTENCY_COUNT, 1, 0, {0, 0, 0}, ERR_INVALID, 0},
        {CONSISTENCY_ONE, 0, 0, {0, 0, 0}, ERR_UNAVAILABLE, 0},
        {CONSISTENCY_QUORUM, 0, 0, {0, 0, 0}, ERR_UNAVAILABLE, 0},
        {CONSISTENCY_ALL, 0, 0, {0, 0, 0}, ERR_UNAVAILABLE, 0},
        {CONSISTENCY_EACH_QUORUM, 0, 0, {0, 0, 0}, ERR_UNAVAILABLE, 0},
        {CONSISTENCY_LOCAL_QUORUM, 0, 0, {0, 0, 0}, ERR_UNAVAILABLE, 0},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct quorum quorum;
        enum err err =
            quorum_make(&quorum, cases[i].level, cases[i].count, cases[i].local, cases[i].counts);
        assert_int_equal(err, cases[i].err);
        if (err != OK)
            continue;
        uint32_t acked = 9;
        uint32_t needed = 0;
        quorum_progress(&quorum, &acked, &needed);
        assert_int_equal(acked, 0);
        assert_int_equal(needed, cases[i].needed);
    }
}

static void test_second_answers_and_strangers_change_nothing(void **state)
{
    (void)state;
    const uint8_t counts[CENTERS] = {3, 0, 0};
    struct quorum quorum;
    assert_int_equal(quorum_make(&quorum, CONSISTENCY_QUORUM, 0, 0, counts), OK);
    assert_int_equal(quorum_ack(&quorum, 10), QUORUM_PENDING);
    assert_int_equal(quorum_ack(&quorum, 10), QUORUM_PENDING);
    assert_int_equal(quorum_fail(&quorum, 10), QUORUM_PENDING);
    assert_int_equal(quorum_ack(&quorum, 99), QUORUM_PENDING);
    assert_int_equal(quorum_fail(&quorum, 11), QUORUM_PENDING);
    assert_int_equal(quorum_fail(&quorum, 11), QUORUM_PENDING);
    assert_int_equal(quorum_ack(&quorum, 11), QUORUM_PENDING); /* the first outcome stands */
    assert_false(quorum_settled(&quorum));
    assert_int_equal(quorum_ack(&quorum, 12), QUORUM_MET);
    assert_true(quorum_settled(&quorum));
}

/* Surplus answers of one data centre do not stand for those that another lacks. */
static void test_progress_does_not_mix_data_centers(void **state)
{
    (void)state;
    const uint8_t counts[CENTERS] = {3, 3, 0};
    struct quorum quorum;
    assert_int_equal(quorum_make(&quorum, CONSISTENCY_EACH_QUORUM, 0, 0, counts), OK);
    for (uint32_t member = 10; member < 13; member++)
        assert_int_equal(quorum_ack(&quorum, member), QUORUM_PENDING);
    uint32_t acked = 0;
    uint32_t needed = 0;
    quorum_progress(&quorum, &acked, &needed);
    assert_int_equal(acked, 2);
    assert_int_equal(needed, 4);
}

static void test_words(void **state)
{
    (void)state;
    for (int level = CONSISTENCY_DEFAULT; level <= CONSISTENCY_COUNT; level++) {
        enum consistency parsed = CONSISTENCY_DEFAULT;
        assert_int_equal(consistency_parse(consistency_text((enum consistency)level), &parsed), OK);
        assert_int_equal(parsed, level);
    }
    enum consistency level = CONSISTENCY_ALL;
    assert_int_equal(consistency_parse("Local_Quorum", &level), OK);
    assert_int_equal(level, CONSISTENCY_LOCAL_QUORUM);
    static const char *const bad[] = {"", "TWO", "QUORUM ", "LOCAL", "LOCAL_QUORUMS"};
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        assert_int_equal(consistency_parse(bad[i], &level), ERR_INVALID);
        assert_int_equal(level, CONSISTENCY_LOCAL_QUORUM); /* untouched */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_levels_all_answers),
        cmocka_unit_test(test_needed_table),
        cmocka_unit_test(test_second_answers_and_strangers_change_nothing),
        cmocka_unit_test(test_progress_does_not_mix_data_centers),
        cmocka_unit_test(test_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
