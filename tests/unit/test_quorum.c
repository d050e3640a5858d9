// link: coterie_model
/* Every consistency level against its definition, over all sets of answers and failures. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/prng.h"
#include "model/quorum.h"

#include <stdio.h>
#include <string.h>

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

/* -- two sets, while a partition goes over
 * ---------------------------------------------------------------------------- */

#define JOINT_MAX 6u

struct joint {
    uint32_t count;
    uint8_t sets[JOINT_MAX];
    uint8_t centers[JOINT_MAX][2]; /* by set */
};

static void joint_counts(const struct joint *joint, uint32_t set, uint8_t counts[CENTERS])
{
    memset(counts, 0, CENTERS);
    for (uint32_t i = 0; i < joint->count; i++) {
        if ((joint->sets[i] >> set & 1u) != 0)
            counts[joint->centers[i][set]]++;
    }
}

/* The definition of one set alone, over those that are in it. */
static bool set_enough(const struct joint *joint, uint32_t set, enum consistency level,
                       uint32_t count, uint8_t local, uint32_t acked)
{
    uint8_t counts[CENTERS];
    uint32_t acks[CENTERS] = {0};
    uint32_t all = 0;
    joint_counts(joint, set, counts);
    for (uint32_t i = 0; i < joint->count; i++) {
        if ((joint->sets[i] >> set & 1u) != 0 && (acked >> i & 1u) != 0) {
            acks[joint->centers[i][set]]++;
            all++;
        }
    }
    /* As one set of members that are numbered by data centre: the first `acks` of each. */
    uint32_t as_one = 0;
    uint32_t first = 0;
    for (uint32_t center = 0; center < CENTERS; center++) {
        for (uint32_t i = 0; i < acks[center]; i++)
            as_one |= 1u << (first + i);
        first += counts[center];
    }
    uint32_t most = total_of(counts);
    if (level == CONSISTENCY_COUNT)
        return all >= (count < most ? count : most);
    return enough(level, count, local, counts, as_one);
}

static enum err joint_make(struct quorum *quorum, const struct joint *joint, enum consistency level,
                           uint32_t count, uint8_t local)
{
    quorum_init(quorum, level, count, local);
    for (uint32_t i = 0; i < joint->count; i++)
        quorum_add_joint_replica(quorum, 10 + i, joint->sets[i], joint->centers[i]);
    return quorum_seal(quorum);
}

static enum err joint_expect(const struct joint *joint, enum consistency level, uint32_t count,
                             uint8_t local)
{
    uint8_t counts[2][CENTERS];
    uint32_t most = 0;
    for (uint32_t set = 0; set < 2; set++) {
        joint_counts(joint, set, counts[set]);
        if (total_of(counts[set]) > most)
            most = total_of(counts[set]);
    }
    if (level == CONSISTENCY_COUNT && (count == 0 || count > most))
        return ERR_INVALID;
    bool locals = level == CONSISTENCY_LOCAL_ONE || level == CONSISTENCY_LOCAL_QUORUM;
    for (uint32_t set = 0; set < 2; set++) {
        if (total_of(counts[set]) == 0 || (locals && counts[set][local] == 0))
            return ERR_UNAVAILABLE;
    }
    return OK;
}

static void check_joint_outcome(const struct joint *joint, enum consistency level, uint32_t count,
                                uint8_t local, uint32_t outcome)
{
    struct quorum quorum;
    assert_int_equal(joint_make(&quorum, joint, level, count, local), OK);
    uint32_t acked = 0;
    uint32_t failed = 0;
    for (uint32_t i = 0; i < joint->count; i++, outcome /= 4) {
        if (outcome % 4 == 1 || outcome % 4 == 3)
            quorum_ack(&quorum, 10 + i);
        if (outcome % 4 == 2)
            quorum_fail(&quorum, 10 + i);
        if (outcome % 4 == 3) /* counted for a while */
            quorum_take_back(&quorum, 10 + i);
        acked |= (outcome % 4 == 1 ? 1u : 0u) << i;
        failed |= (outcome % 4 == 2 ? 1u : 0u) << i;
    }
    uint32_t reachable = ((1u << joint->count) - 1) & ~failed;
    bool met = true;
    bool possible = true;
    for (uint32_t set = 0; set < 2; set++) {
        met = met && set_enough(joint, set, level, count, local, acked);
        possible = possible && set_enough(joint, set, level, count, local, reachable);
    }
    enum quorum_state expect = met ? QUORUM_MET : !possible ? QUORUM_IMPOSSIBLE : QUORUM_PENDING;
    assert_int_equal(quorum_state(&quorum), expect);
    uint32_t got = 0;
    uint32_t needed = 0;
    quorum_progress(&quorum, &got, &needed);
    assert_int_equal(got >= needed, met);
    assert_true(needed >= 1 && needed <= joint->count);
}

static struct joint joint_draw(struct prng *prng)
{
    struct joint joint = {.count = (uint32_t)prng_between(prng, 1, JOINT_MAX)};
    for (uint32_t i = 0; i < joint.count; i++) {
        joint.sets[i] = (uint8_t)prng_between(prng, 1, 3);
        joint.centers[i][0] = joint.centers[i][1] = (uint8_t)prng_below(prng, CENTERS);
        if (prng_chance(prng, 0.2)) /* it goes to another data centre */
            joint.centers[i][1] = (uint8_t)prng_below(prng, CENTERS);
    }
    return joint;
}

/* Each set must meet the level by itself; an answer counts in every set that its node is in; a
 * count beyond a set means all of it. Against that definition, all outcomes of drawn sets. */
static void test_two_sets_against_the_definition(void **state)
{
    (void)state;
    struct prng prng;
    uint32_t sealed = 0;
    prng_init(&prng, 1, 0);
    for (uint32_t run = 0; run < 400; run++) {
        struct joint joint = joint_draw(&prng);
        enum consistency level =
            (enum consistency)prng_between(&prng, CONSISTENCY_ONE, CONSISTENCY_COUNT);
        uint32_t count = (uint32_t)prng_between(&prng, 0, joint.count + 1);
        uint8_t local = (uint8_t)prng_below(&prng, CENTERS);
        struct quorum quorum;
        enum err err = joint_expect(&joint, level, count, local);
        assert_int_equal(joint_make(&quorum, &joint, level, count, local), err);
        for (uint32_t outcome = 0; err == OK && outcome < 1u << 2 * joint.count; outcome++)
            check_joint_outcome(&joint, level, count, local, outcome);
        sealed += err == OK;
    }
    assert_true(sealed > 100);
}

/* A set that equals the other one changes nothing: the same states and the same figures. */
static void test_two_equal_sets_are_one(void **state)
{
    (void)state;
    for (uint32_t outcome = 0; outcome < 243; outcome++) {
        const uint8_t counts[CENTERS] = {3, 2, 0};
        for (enum consistency level = CONSISTENCY_ONE; level < CONSISTENCY_COUNT; level++) {
            struct quorum one;
            struct quorum two;
            assert_int_equal(quorum_make(&one, level, 0, 0, counts), OK);
            quorum_init(&two, level, 0, 0);
            for (uint32_t i = 0; i < 5; i++)
                quorum_add_joint_replica(&two, 10 + i, 3,
                                         (uint8_t[2]){center_of(counts, i), center_of(counts, i)});
            assert_int_equal(quorum_seal(&two), OK);
            for (uint32_t i = 0, rest = outcome; i < 5; i++, rest /= 3) {
                if (rest % 3 == 1)
                    assert_int_equal(quorum_ack(&one, 10 + i), quorum_ack(&two, 10 + i));
                else if (rest % 3 == 2)
                    assert_int_equal(quorum_fail(&one, 10 + i), quorum_fail(&two, 10 + i));
            }
            uint32_t got[2];
            uint32_t needed[2];
            quorum_progress(&one, &got[0], &needed[0]);
            quorum_progress(&two, &got[1], &needed[1]);
            assert_int_equal(got[0], got[1]);
            assert_int_equal(needed[0], needed[1]);
        }
    }
}

/* "k of n" is of the set that holds the request up. */
static void test_progress_of_the_worse_set(void **state)
{
    (void)state;
    struct quorum quorum;
    uint32_t got = 0;
    uint32_t needed = 0;
    const uint8_t here[2] = {0, 0};
    quorum_init(&quorum, CONSISTENCY_QUORUM, 0, 0); /* of three, and of those and two more */
    for (uint32_t i = 0; i < 5; i++)
        quorum_add_joint_replica(&quorum, 10 + i, i < 3 ? 3 : 2, here);
    assert_int_equal(quorum_seal(&quorum), OK);
    quorum_progress(&quorum, &got, &needed);
    assert_int_equal(needed, 3);
    assert_int_equal(quorum_ack(&quorum, 13), QUORUM_PENDING);
    assert_int_equal(quorum_ack(&quorum, 14), QUORUM_PENDING);
    quorum_progress(&quorum, &got, &needed); /* 0 of 2, not 2 of 3 */
    assert_int_equal(got, 0);
    assert_int_equal(needed, 2);
    assert_int_equal(quorum_ack(&quorum, 10), QUORUM_PENDING);
    assert_int_equal(quorum_fail(&quorum, 11), QUORUM_PENDING);
    assert_int_equal(quorum_fail(&quorum, 12), QUORUM_IMPOSSIBLE);
    quorum_progress(&quorum, &got, &needed);
    assert_int_equal(got, 1);
    assert_int_equal(needed, 2);
}

/* Whether two quorums of a level must share a replica: found among all pairs of sets. */
static void test_overlap_against_all_pairs(void **state)
{
    (void)state;
    for (uint32_t shape = 1; shape < 64; shape++) {
        const uint8_t counts[CENTERS] = {(uint8_t)(shape % 4), (uint8_t)(shape / 4 % 4),
                                         (uint8_t)(shape / 16)};
        uint32_t all = 1u << total_of(counts);
        for (enum consistency level = CONSISTENCY_ONE; level <= CONSISTENCY_COUNT; level++) {
            for (uint32_t count = 1; count <= total_of(counts) && all <= 64; count++) {
                struct quorum quorum;
                if (quorum_make(&quorum, level, count, 0, counts) != OK)
                    continue;
                bool overlaps = true;
                for (uint32_t a = 0; a < all; a++) /* the other one is as large as it can be */
                    overlaps = overlaps && !(enough(level, count, 0, counts, a) &&
                                             enough(level, count, 0, counts, all - 1 - a));
                assert_int_equal(quorum_overlaps(&quorum), overlaps);
            }
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
    assert_int_equal(quorum_ack(&quorum, 12), QUORUM_MET);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_levels_all_answers),
        cmocka_unit_test(test_needed_table),
        cmocka_unit_test(test_second_answers_and_strangers_change_nothing),
        cmocka_unit_test(test_progress_does_not_mix_data_centers),
        cmocka_unit_test(test_two_sets_against_the_definition),
        cmocka_unit_test(test_two_equal_sets_are_one),
        cmocka_unit_test(test_progress_of_the_worse_set),
        cmocka_unit_test(test_overlap_against_all_pairs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
