// link: coterie_actors coterie_store coterie_codec
/* Rule: whoever starts a repair may name it, so that many nodes run it under one name and a start
 * that is sent again begins nothing new; without a name one that does the same is given.
 * actors/message_maintenance.h, MAINTENANCE_REPAIR_START. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/anti_entropy_bench.h"

static bool answered(const struct bench *b)
{
    return b->kept != NULL;
}

static struct client_maintenance_done ask(struct bench *b, enum maintenance_operation operation,
                                          uint64_t task)
{
    message_free(b->kept);
    b->kept = NULL;
    struct message *message = message_new(MESSAGE_client_maintenance, 0);
    message->from = actor_id_of(SELF, ACTOR_EDGE);
    message->to = actor_id_of(SELF, ACTOR_ANTI_ENTROPY);
    message->client_maintenance =
        (struct client_maintenance){.client = 7, .operation = operation, .task = task};
    fixture_handle(&b->f, message);
    assert_true(bench_run(b, answered, SECONDS));
    assert_int_equal(b->kept->kind, MESSAGE_client_maintenance_done);
    return b->kept->client_maintenance_done;
}

static void names_are_the_clients(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    struct client_maintenance_done first = ask(&b, MAINTENANCE_REPAIR_START, 0xabc);
    assert_int_equal(first.status, OK);
    assert_int_equal(first.task, 0xabc);
    assert_int_equal(figure(&b.figures->tasks), 1);
    assert_int_equal(ask(&b, MAINTENANCE_REPAIR_START, 0xabc).task, 0xabc);
    assert_int_equal(figure(&b.figures->tasks), 1);
    assert_int_equal(ask(&b, MAINTENANCE_REPAIR_START, 0).task, 0xabc);
    assert_int_equal(ask(&b, MAINTENANCE_REPAIR_START, 0xdef).task, 0xdef);
    assert_int_equal(figure(&b.figures->tasks), 2);
    assert_int_equal(ask(&b, MAINTENANCE_REPAIR_STATUS, 0xdef).task, 0xdef);
    assert_int_equal(ask(&b, MAINTENANCE_REPAIR_STATUS, 0x123).status, ERR_NOT_FOUND);
    bench_deinit(&b);
}

/* Also one that has ended: the client learns that, and does not begin it again. */
static void an_ended_one_keeps_its_name(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    ask(&b, MAINTENANCE_REPAIR_START, 0xabc);
    ask(&b, MAINTENANCE_REPAIR_CANCEL, 0xabc);
    assert_int_equal(figure(&b.figures->tasks), 0);
    struct client_maintenance_done again = ask(&b, MAINTENANCE_REPAIR_START, 0xabc);
    assert_true(again.ended);
    assert_int_equal(figure(&b.figures->tasks), 0);
    assert_int_not_equal(ask(&b, MAINTENANCE_REPAIR_START, 0).task, 0xabc);
    assert_int_equal(figure(&b.figures->tasks), 1);
    bench_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_the_clients),
        cmocka_unit_test(an_ended_one_keeps_its_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
