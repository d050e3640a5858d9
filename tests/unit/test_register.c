// link: coterie_model
/* Rules of model/register.h, one by one; every order of events is in test_register_explore.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/prng.h"
#include "model/register.h"

static const struct ballot none = {0};

static struct ballot ballot(uint64_t counter)
{
    return (struct ballot){.counter = counter, .member = 1, .incarnation = 1};
}

static bool same(struct ballot a, struct ballot b)
{
    return ballot_compare(a, b) == 0;
}

static void ballots_are_ordered_and_never_repeat(void **state)
{
    (void)state;
    struct ballot ascending[] = {none, {1, 1, 1}, {1, 1, 2}, {1, 2, 0}, {2, 1, 0}};
    for (size_t i = 0; i < 5; i++) {
        for (size_t k = 0; k < 5; k++)
            assert_int_equal(ballot_compare(ascending[i], ascending[k]), (i > k) - (i < k));
    }
    struct ballot next = ballot_above((struct ballot){7, 9, 9}, 2, 5);
    assert_true(same(next, (struct ballot){8, 2, 5}));
    /* Another life, the same memory: another ballot. */
    assert_false(same(next, ballot_above((struct ballot){7, 9, 9}, 2, 6)));
}

static void an_acceptor_keeps_its_promise(void **state)
{
    (void)state;
    struct register_state kept = {0};
    struct ballot conflict = none;
    assert_true(register_prepare(&kept, none, ballot(5), &conflict));
    assert_false(register_prepare(&kept, none, ballot(5), &conflict)); /* once each */
    assert_true(same(conflict, ballot(5)));
    assert_false(register_prepare(&kept, none, ballot(4), &conflict));
    assert_false(register_accept(&kept, none, ballot(4), bytes_of_string("v"), &conflict));
    assert_int_equal(kept.value.size, 0);
    assert_true(register_accept(&kept, none, ballot(5), bytes_of_string("v"), &conflict));
    assert_true(register_accept(&kept, none, ballot(5), bytes_of_string("v"), &conflict));
    assert_true(same(kept.accepted, ballot(5)) && same(kept.promised, none));
    assert_false(register_prepare(&kept, none, ballot(5), &conflict));
    /* Without a promise of its own: a majority elsewhere has promised. */
    assert_true(register_accept(&kept, none, ballot(7), bytes_of_string("w"), &conflict));
    assert_false(register_accept(&kept, none, ballot(6), bytes_of_string("x"), &conflict));
    assert_true(bytes_equal(kept.value, bytes_of_string("w")));
}

/* RELIABILITY 3.2, lost-update-after-gc: a removed register has promised the floor. */
static void below_the_floor_nothing_lives(void **state)
{
    (void)state;
    struct register_state kept = {0};
    struct ballot conflict = none;
    for (uint64_t counter = 1; counter <= 9; counter++) {
        assert_false(register_prepare(&kept, ballot(9), ballot(counter), &conflict));
        assert_true(same(conflict, ballot(9)));
        assert_false(
            register_accept(&kept, ballot(9), ballot(counter), bytes_of_string("v"), &conflict));
    }
    assert_true(register_prepare(&kept, ballot(9), ballot(10), &conflict));
    assert_true(register_accept(&kept, ballot(9), ballot(10), bytes_of_string("v"), &conflict));
}

static void states_come_back_as_they_went(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct register_state kept = {
        .promised = {9, 3, 1u << 20}, .accepted = {8, 2, 77}, .value = bytes_of_string("value")};
    struct bytes bytes = register_state_encode(&arena, &kept);
    struct register_state back;
    assert_int_equal(register_state_decode(bytes, &back), OK);
    assert_true(same(back.promised, kept.promised) && same(back.accepted, kept.accepted));
    assert_true(bytes_equal(back.value, kept.value));
    /* Up to the value every cut is seen; a value's own end is its host's record's business. */
    for (size_t size = 0; size < bytes.size - kept.value.size; size++)
        assert_int_equal(register_state_decode(bytes_of(bytes.data, size), &back), ERR_CORRUPT);
    struct prng prng;
    prng_init(&prng, 1, 1);
    for (int i = 0; i < 20000; i++) {
        uint8_t noise[24];
        size_t size = (size_t)prng_below(&prng, sizeof noise + 1);
        for (size_t k = 0; k < size; k++)
            noise[k] = (uint8_t)prng_u64(&prng);
        noise[0] = 1;
        struct bytes input = bytes_of(noise, size);
        if (register_state_decode(input, &back) == OK) /* canonical: one form each */
            assert_true(bytes_equal(register_state_encode(&arena, &back), input));
    }
    arena_deinit(&arena);
}

/* -- rounds
 * -------------------------------------------------------------------------------------------- */

static const struct register_acceptors three = {
    .count = 3, .list = {{1, REGISTER_OLD}, {2, REGISTER_OLD}, {3, REGISTER_OLD}}};

static enum register_verdict promise(struct register_round *round, uint32_t member,
                                     struct ballot accepted, const char *value)
{
    return register_round_answer(round, &(struct register_answer){.member = member,
                                                                  .agreed = true,
                                                                  .accepted = accepted,
                                                                  .value = bytes_of_string(value)});
}

static void a_round_builds_on_the_greatest_accepted(void **state)
{
    (void)state;
    struct register_round round;
    register_round_prepare(&round, &three, ballot(9));
    assert_int_equal(promise(&round, 1, ballot(3), "three"), REGISTER_WAIT);
    assert_int_equal(promise(&round, 1, ballot(8), "again"), REGISTER_WAIT); /* one voice each */
    assert_int_equal(promise(&round, 7, ballot(8), "stranger"), REGISTER_WAIT);
    assert_int_equal(promise(&round, 2, ballot(2), "two"), REGISTER_PROPOSE);
    assert_true(bytes_equal(round.value, bytes_of_string("three")));
    register_round_accept(&round, bytes_of_string("new"));
    assert_int_equal(promise(&round, 3, none, ""), REGISTER_WAIT);
    assert_int_equal(promise(&round, 1, none, ""), REGISTER_DECIDED);
    assert_true(same(round.accepted, ballot(9)));
}

static void conflicts_and_failures_end_a_round(void **state)
{
    (void)state;
    struct register_round round;
    struct register_answer refusal = {.member = 1, .conflict = ballot(20)};
    struct register_answer failure = {.member = 2, .failed = true};
    register_round_prepare(&round, &three, ballot(9));
    assert_int_equal(register_round_answer(&round, &refusal), REGISTER_WAIT);
    assert_int_equal(register_round_answer(&round, &failure), REGISTER_CONFLICT);
    assert_true(same(round.seen, ballot(20)));
    register_round_prepare(&round, &three, ballot(9));
    failure.member = 1;
    assert_int_equal(register_round_answer(&round, &failure), REGISTER_WAIT);
    failure.member = 2;
    assert_int_equal(register_round_answer(&round, &failure), REGISTER_FAILED);
}

/* The fast read, and what keeps it from answering. */
static void a_query_decides_or_says_that_it_cannot(void **state)
{
    (void)state;
    struct register_round round;
    register_round_query(&round, &three);
    assert_int_equal(promise(&round, 1, ballot(3), "v"), REGISTER_WAIT);
    assert_int_equal(promise(&round, 3, ballot(3), "v"), REGISTER_DECIDED);
    register_round_query(&round, &three); /* a minority has accepted something newer */
    promise(&round, 1, ballot(3), "v");
    assert_int_equal(promise(&round, 3, ballot(4), "w"), REGISTER_UNDECIDED);
    register_round_query(&round, &three); /* somebody is about to */
    promise(&round, 1, ballot(3), "v");
    struct register_answer promised = {
        .member = 2, .agreed = true, .promised = ballot(5), .accepted = ballot(3)};
    assert_int_equal(register_round_answer(&round, &promised), REGISTER_UNDECIDED);
    register_round_query(&round, &three);
    assert_int_equal(promise(&round, 1, none, ""), REGISTER_WAIT);
    assert_int_equal(promise(&round, 2, none, ""), REGISTER_DECIDED); /* nothing yet, for sure */
}

/* RELIABILITY rule 36: while replicas change, majorities of both sets. */
static void both_sets_must_agree(void **state)
{
    (void)state;
    static const struct register_acceptors moving = {.count = 4,
                                                     .list = {{1, REGISTER_OLD | REGISTER_NEW},
                                                              {2, REGISTER_OLD},
                                                              {3, REGISTER_OLD},
                                                              {4, REGISTER_NEW}}};
    assert_false(register_majority(&moving, 0x7)); /* all of the old, one of two of the new */
    assert_false(register_majority(&moving, 0x9)); /* all of the new, one of three of the old */
    assert_true(register_majority(&moving, 0xb));
    struct register_round round;
    register_round_prepare(&round, &moving, ballot(2));
    assert_int_equal(promise(&round, 1, none, ""), REGISTER_WAIT);
    assert_int_equal(promise(&round, 2, none, ""), REGISTER_WAIT);
    assert_int_equal(promise(&round, 3, none, ""), REGISTER_WAIT);
    assert_int_equal(promise(&round, 4, none, ""), REGISTER_PROPOSE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ballots_are_ordered_and_never_repeat),
        cmocka_unit_test(an_acceptor_keeps_its_promise),
        cmocka_unit_test(below_the_floor_nothing_lives),
        cmocka_unit_test(states_come_back_as_they_went),
        cmocka_unit_test(a_round_builds_on_the_greatest_accepted),
        cmocka_unit_test(conflicts_and_failures_end_a_round),
        cmocka_unit_test(a_query_decides_or_says_that_it_cannot),
        cmocka_unit_test(both_sets_must_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
