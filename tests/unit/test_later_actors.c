// link: coterie_actors coterie_store
/* Rules of actors/anti_entropy.h: what does not work yet says so. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "actors/anti_entropy.h"
#include "tests/unit/actor_fixture.h"

/* What it does not know it consumes and counts. */
static void messages_are_counted(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 3, 1);
    struct anti_entropy *anti_entropy = anti_entropy_new(SELF);
    f.actor = anti_entropy_actor(anti_entropy);
    for (unsigned kind = 0; kind < MESSAGE_KIND_COUNT; kind++)
        fixture_handle(&f, message_new((enum message_kind)kind, 0));
    fixture_silent(&f);
    fixture_tick(&f);
    fixture_silent(&f);
    assert_int_equal(actor_wake_at_ns(f.actor), NEVER_NS);
    assert_int_equal(counter_get(&anti_entropy_figures(anti_entropy)->unexpected),
                     MESSAGE_KIND_COUNT);
    anti_entropy_free(anti_entropy);
    fixture_deinit(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
