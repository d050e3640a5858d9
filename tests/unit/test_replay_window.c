// link: coterie_model
/* Rule: a serial is accepted once; in any order within the window, never when older than it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/prng.h"
#include "model/replay_window.h"

#define SERIALS 50000u

static void test_accepts_once(void **state)
{
    (void)state;
    struct replay_window window = {0};
    assert_true(replay_window_accept(&window, 1));
    assert_false(replay_window_accept(&window, 1));
    assert_true(replay_window_accept(&window, 3));
    assert_true(replay_window_accept(&window, 2));
    assert_false(replay_window_accept(&window, 2));
    assert_false(replay_window_accept(&window, 3));
    assert_true(replay_window_accept(&window, 3 + REPLAY_WINDOW - 1));
    assert_false(replay_window_accept(&window, 3)); /* one too old */
    assert_true(replay_window_accept(&window, 4));  /* the oldest that can be told */
    assert_true(replay_window_accept(&window, (uint64_t)1 << 40));
    assert_true(replay_window_accept(&window, ((uint64_t)1 << 40) - REPLAY_WINDOW + 1));
    assert_false(replay_window_accept(&window, ((uint64_t)1 << 40) - REPLAY_WINDOW));
}

/* Against a plain table of all serials ever seen. */
static void test_agrees_with_a_table(void **state)
{
    (void)state;
    static uint8_t seen[SERIALS];
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct replay_window window = {0};
        struct prng prng;
        uint64_t highest = 0;
        prng_init(&prng, seed, 0);
        for (size_t i = 0; i < SERIALS; i++)
            seen[i] = 0;
        for (int i = 0; i < 20000; i++) {
            uint64_t low = highest > REPLAY_WINDOW + 50 ? highest - REPLAY_WINDOW - 50 : 1;
            uint64_t serial = prng_between(&prng, low, highest + prng_between(&prng, 1, 8));
            if (prng_chance(&prng, 0.0005))
                serial = highest + prng_between(&prng, 1, 2 * REPLAY_WINDOW);
            if (serial >= SERIALS)
                break;
            uint64_t newest = serial > highest ? serial : highest;
            bool expected = newest - serial < REPLAY_WINDOW && !seen[serial];
            assert_int_equal(replay_window_accept(&window, serial), expected);
            seen[serial] = seen[serial] || expected;
            highest = newest;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepts_once),
        cmocka_unit_test(test_agrees_with_a_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
