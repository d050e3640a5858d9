// link: coterie_model
/* Rules of model/hint_gate.h (RELIABILITY 2.4, rule 22): the target bounds all hints under way,
 * shares them evenly, gives way to its foreground, and gives nothing while it refuses foreground
 * work. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model/hint_gate.h"

#define MS 1000000ull

static const struct hint_load idle = {.held = 0, .held_max = 1000};

static struct hint_gate gate_new(void)
{
    struct hint_gate gate;
    const struct hint_gate_options options = {
        .under_way_max = 32, .interval_ns = 100 * MS, .taken_max = 400, .taken_min = 100};
    hint_gate_init(&gate, &options);
    return gate;
}

/* One alone gets all of it, several share it, one that has not been heard of for a second is not
 * waited for. */
static void shared_evenly(void **state)
{
    (void)state;
    struct hint_gate gate = gate_new();
    uint64_t now_ns = 5000 * MS;
    assert_true(hint_gate_take(&gate, 1, &idle, now_ns));
    assert_int_equal(hint_gate_credit(&gate, &idle, now_ns), 32);
    assert_true(hint_gate_take(&gate, 1, &idle, now_ns));
    assert_int_equal(hint_gate_credit(&gate, &idle, now_ns), 32);
    for (uint32_t member = 2; member <= 8; member++)
        assert_true(hint_gate_take(&gate, member, &idle, now_ns));
    assert_int_equal(hint_gate_credit(&gate, &idle, now_ns), 4);
    now_ns += 1001 * MS;
    assert_true(hint_gate_take(&gate, 3, &idle, now_ns));
    assert_int_equal(hint_gate_credit(&gate, &idle, now_ns), 32);
}

/* Whatever its senders believe that they may send. */
static void bounded_by_refusal(void **state)
{
    (void)state;
    struct hint_gate gate = gate_new();
    for (uint32_t i = 0; i < 32; i++)
        assert_true(hint_gate_take(&gate, i % 20 + 1, &idle, 0));
    assert_false(hint_gate_take(&gate, 1, &idle, 0));
    hint_gate_answered(&gate);
    assert_true(hint_gate_take(&gate, 1, &idle, 0));
    assert_false(hint_gate_take(&gate, 2, &idle, 0));
    assert_int_equal(hint_gate_credit(&gate, &idle, 0), 1);
}

/* More senders than places: each may have one under way, and the gate refuses the rest. */
static void a_crowd(void **state)
{
    (void)state;
    struct hint_gate gate = gate_new();
    for (uint32_t member = 1; member <= MEMBERS_MAX + 6; member++) {
        if (hint_gate_take(&gate, member, &idle, member))
            hint_gate_answered(&gate);
    }
    assert_int_equal(gate.sender_count, MEMBERS_MAX);
    assert_int_equal(hint_gate_credit(&gate, &idle, 100), 1);
}

/* `hints` and `foreground` requests in each of `intervals`. */
static uint64_t play(struct hint_gate *gate, uint64_t now_ns, uint32_t intervals, uint32_t hints,
                     uint32_t foreground, const struct hint_load *load)
{
    for (uint32_t i = 0; i < intervals; i++) {
        for (uint32_t j = 0; j < foreground; j++)
            hint_gate_foreground(gate, false, now_ns + j);
        for (uint32_t j = 0; j < hints; j++) {
            if (hint_gate_take(gate, 1, load, now_ns + 1000 + j))
                hint_gate_answered(gate);
        }
        now_ns += 101 * MS;
    }
    return now_ns;
}

/* The foreground takes room from hints, down to a rest; the level falls fast and comes back slowly.
 */
static void the_foreground_goes_first(void **state)
{
    (void)state;
    struct hint_gate gate = gate_new();
    uint64_t now_ns = play(&gate, 1000 * MS, 10, 300, 50, &idle);
    assert_int_equal(gate.level, 32);
    now_ns = play(&gate, now_ns, 3, 300, 200, &idle);
    assert_int_equal(gate.level, 18); /* an interval is judged when the next begins */
    now_ns = play(&gate, now_ns, 4, 100, 5000, &idle); /* the rest is never taken away */
    assert_int_equal(gate.level, 16); /* down to 13 for the last busy one, then up */
    now_ns = play(&gate, now_ns, 40, 50, 50, &idle);
    assert_int_equal(gate.level, 32);
    play(&gate, now_ns, 60, 401, 0, &idle);
    assert_int_equal(gate.level, 1);
}

/* Answers that pile up before the disk: less, and from half of the room on nothing. */
static void the_disk_is_behind(void **state)
{
    (void)state;
    struct hint_gate gate = gate_new();
    const struct hint_load behind = {.held = 126, .held_max = 1000};
    const struct hint_load half = {.held = 500, .held_max = 1000};
    play(&gate, 1000 * MS, 5, 10, 0, &behind);
    assert_true(gate.level < 12);
    assert_true(hint_gate_credit(&gate, &behind, 2000 * MS) > 0);
    assert_int_equal(hint_gate_credit(&gate, &half, 2000 * MS), 0);
}

static void none_while_foreground_is_refused(void **state)
{
    (void)state;
    struct hint_gate gate = gate_new();
    uint64_t now_ns = 0;
    assert_true(hint_gate_credit(&gate, &idle, now_ns) > 0);
    hint_gate_foreground(&gate, true, now_ns);
    assert_int_equal(hint_gate_credit(&gate, &idle, now_ns), 0);
    assert_int_equal(hint_gate_credit(&gate, &idle, now_ns + 999 * MS), 0);
    assert_true(hint_gate_credit(&gate, &idle, now_ns + 1000 * MS) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shared_evenly),
        cmocka_unit_test(bounded_by_refusal),
        cmocka_unit_test(a_crowd),
        cmocka_unit_test(the_foreground_goes_first),
        cmocka_unit_test(the_disk_is_behind),
        cmocka_unit_test(none_while_foreground_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
