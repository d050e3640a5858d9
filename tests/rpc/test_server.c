// link: coterie_rpc
/* The client port's life of a request: every method, deadlines, cancels, late answers, admission,
 * drain (DESIGN.md 7, 9, 10; the contract in rpc/server.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/rpc/server_fixture.h"

#include <time.h>

/* -- get, put, delete
 * --------------------------------------------------------------------------------- */

static void test_put_get_delete(void **state)
{
    struct fixture *fixture = *state;
    struct get_result got = do_get(fixture, &(struct get_words){.key = "missing"});
    assert_int_equal(got.reply.code, GRPC_STATUS_OK);
    assert_false(got.response->found);
    assert_int_not_equal(got.response->context.len, 0); /* its context matters also then */
    get_result_clear(&got);

    struct put_result_words put =
        do_put(fixture, &(struct put_words){.key = "a", .value = "one", .ttl_ms = 90000});
    assert_int_equal(put.reply.code, GRPC_STATUS_OK);
    assert_int_equal(put.response->siblings, 1);
    assert_string_equal(put.response->acknowledgement->primaries[0], "n1");
    put_result_clear(&put);

    got = do_get(fixture, &(struct get_words){.key = "a"});
    assert_true(got.response->found);
    assert_int_equal(got.response->n_values, 1);
    assert_memory_equal(got.response->values[0]->value.data, "one", 3);
    assert_int_equal(got.response->values[0]->written_at_ms, FAKE_WALL_MS);
    assert_in_range(got.response->values[0]->ttl_ms, 60000, 90000);

    struct put_result_words deleted =
        do_delete(fixture, "a", bytes_of_binary(got.response->context));
    assert_int_equal(deleted.reply.code, GRPC_STATUS_OK);
    put_result_clear(&deleted);
    get_result_clear(&got);

    got = do_get(fixture, &(struct get_words){.key = "a"});
    assert_int_equal(got.reply.code, GRPC_STATUS_OK);
    assert_false(got.response->found);
    get_result_clear(&got);
}

/* Two writes that start from the same context are siblings; a write with the read's context joins
 * them. */
static void test_siblings_and_contexts(void **state)
{
    struct fixture *fixture = *state;
    struct get_result nothing = do_get(fixture, &(struct get_words){.key = "s"});
    struct bytes context = bytes_of_binary(nothing.response->context);
    struct put_result_words put =
        do_put(fixture, &(struct put_words){.key = "s", .value = "left", .context = context});
    assert_int_equal(put.response->siblings, 1);
    put_result_clear(&put);
    put = do_put(fixture, &(struct put_words){.key = "s", .value = "right", .context = context});
    assert_int_equal(put.response->siblings, 2);
    put_result_clear(&put);
    get_result_clear(&nothing);

    struct get_result both = do_get(fixture, &(struct get_words){.key = "s"});
    assert_int_equal(both.response->n_values, 2);
    put = do_put(fixture, &(struct put_words){.key = "s",
                                              .value = "joined",
                                              .context = bytes_of_binary(both.response->context)});
    assert_int_equal(put.response->siblings, 1);
    put_result_clear(&put);
    get_result_clear(&both);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_put_get_delete, fixture_start, fixture_stop),
        cmocka_unit_test_setup_teardown(test_siblings_and_contexts, fixture_start, fixture_stop),
    };
    rpc_library_init(NULL);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    rpc_library_shutdown();
    return failed;
}
