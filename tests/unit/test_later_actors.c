// link: coterie_actors coterie_store
/* Rules of actors/anti_entropy.h: what does not work yet says so. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "actors/anti_entropy.h"
#include "tests/unit/actor_fixture.h"

/* Every message but the one that `actor` answers is counted and consumed without an answer. */
static uint64_t send_all_but(struct fixture *f, enum message_kind own)
{
    uint64_t sent = 0;
    for (unsigned kind = 0; kind < MESSAGE_KIND_COUNT; kind++) {
        if (kind == (unsigned)own)
            continue;
        fixture_handle(f, message_new((enum message_kind)kind, 0));
        sent++;
    }
    fixture_silent(f);
    fixture_tick(f);
    fixture_silent(f);
    assert_int_equal(actor_wake_at_ns(f->actor), NEVER_NS);
    return sent;
}

/* A comparison of trees is refused as UNSUPPORTED: nobody is told that replicas are equal. */
static void comparisons_are_refused(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 3, 1);
    struct anti_entropy *anti_entropy = anti_entropy_new(SELF);
    f.actor = anti_entropy_actor(anti_entropy);
    struct message *message = message_new(MESSAGE_tree_compare, 0);
    message->from = actor_id_of(3, ACTOR_ANTI_ENTROPY);
    message->id = 9;
    fixture_handle(&f, message);
    struct message *reply = fixture_take(&f, MESSAGE_tree_compare_reply);
    assert_int_equal(reply->tree_compare_reply.status, ERR_UNSUPPORTED);
    assert_int_equal(reply->to.node, 3);
    assert_int_equal(reply->id, 9);
    message_free(reply);
    uint64_t sent = send_all_but(&f, MESSAGE_tree_compare);
    const struct anti_entropy_figures *figures = anti_entropy_figures(anti_entropy);
    assert_int_equal(counter_get(&figures->refused), 1);
    assert_int_equal(counter_get(&figures->unexpected), sent);
    anti_entropy_free(anti_entropy);
    fixture_deinit(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(comparisons_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
