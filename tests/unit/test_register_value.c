// link: coterie_model
/* What a register holds and how it changes (model/register_value.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model/register_value.h"

#include <string.h>

#define NOW_MS 1000u

static struct register_change change(enum register_condition condition, const char *value,
                                     uint8_t id)
{
    return (struct register_change){
        .condition = condition, .value = bytes_of_string(value), .id = {id}};
}

static struct register_outcome apply(struct register_value *value,
                                     const struct register_change *what)
{
    struct register_value from = *value;
    return register_change_apply(&from, what, NOW_MS, value);
}

/* Value, version and absence are each compared with what is there, and a false condition changes
 * nothing. */
static void conditions(void **state)
{
    (void)state;
    struct register_value value = {0};
    struct register_change absent = change(REGISTER_IF_ABSENT, "a", 1);
    assert_true(apply(&value, &absent).applied);
    assert_true(value.found && value.version == 1);
    absent.id[0] = 2;
    struct register_outcome outcome = apply(&value, &absent);
    assert_true(outcome.refused && !outcome.applied && outcome.version == 1);
    struct register_change equal = change(REGISTER_IF_VALUE, "b", 3);
    equal.expected = bytes_of_string("x");
    assert_true(apply(&value, &equal).refused);
    assert_true(bytes_equal(value.value, bytes_of_string("a")));
    equal.expected = bytes_of_string("a");
    assert_int_equal(apply(&value, &equal).version, 2);
    struct register_change at = change(REGISTER_IF_VERSION, "c", 4);
    at.expected_version = 1;
    assert_true(apply(&value, &at).refused);
    at.expected_version = 2;
    assert_true(apply(&value, &at).applied);
    struct register_change remove = change(REGISTER_ALWAYS, "ignored", 5);
    remove.remove = true;
    assert_int_equal(apply(&value, &remove).version, 4);
    assert_true(!value.found && value.value.size == 0);
    /* Nothing is not the empty value. */
    equal.id[0] = 6;
    equal.expected = (struct bytes){0};
    assert_true(apply(&value, &equal).refused);
    absent.id[0] = 7;
    assert_int_equal(apply(&value, &absent).version, 5);
}

/* A change that is there already is not made again, while its id is remembered. */
static void a_change_is_made_once(void **state)
{
    (void)state;
    struct register_value value = {0};
    struct register_change first = change(REGISTER_ALWAYS, "first", 1);
    assert_true(apply(&value, &first).applied);
    for (uint8_t i = 2; i <= REGISTER_CHANGES_KEPT; i++) {
        struct register_change other = change(REGISTER_ALWAYS, "other", i);
        assert_true(apply(&value, &other).applied);
        struct register_outcome outcome = apply(&value, &first);
        assert_true(outcome.repeated && !outcome.applied && outcome.version == 1);
        assert_int_equal(value.version, i);
    }
    struct register_change last = change(REGISTER_ALWAYS, "other", REGISTER_CHANGES_KEPT + 1);
    assert_true(apply(&value, &last).applied);
    assert_true(apply(&value, &first).applied); /* pushed out by exactly that many others */
}

/* Expiry is a change: decided once, it does not come back for a slower clock. */
static void expiry_is_decided(void **state)
{
    (void)state;
    struct register_value value = {0};
    struct register_change put = change(REGISTER_ALWAYS, "v", 1);
    put.expires_at_ms = NOW_MS + 1;
    assert_true(apply(&value, &put).applied);
    struct register_change read = {.read = true};
    assert_int_equal(apply(&value, &read).version, 1);
    assert_false(register_value_expired(&value, NOW_MS));
    assert_true(register_value_expired(&value, NOW_MS + 1));
    struct register_value from = value;
    assert_int_equal(register_change_apply(&from, &read, NOW_MS + 1, &value).version, 2);
    assert_false(value.found);
    assert_int_equal(apply(&value, &read).version, 2);
    assert_false(value.found);
}

static void bytes_and_back(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct register_value value = {0};
    struct register_value back;
    assert_int_equal(register_value_decode((struct bytes){0}, &back), OK);
    assert_int_equal(back.version, 0);
    for (uint8_t i = 1; i <= 2 * REGISTER_CHANGES_KEPT; i++) {
        struct register_change put = change(REGISTER_ALWAYS, i % 3 == 0 ? "" : "value", i);
        put.remove = i % 5 == 0;
        put.expires_at_ms = i % 4 == 0 ? NOW_MS + i : 0;
        assert_true(apply(&value, &put).applied);
        struct bytes bytes = register_value_encode(&arena, &value);
        assert_int_equal(register_value_decode(bytes, &back), OK);
        assert_true(back.version == value.version && back.found == value.found &&
                    back.expires_at_ms == value.expires_at_ms &&
                    back.change_count == value.change_count);
        assert_true(bytes_equal(back.value, value.value));
        assert_memory_equal(back.changes, value.changes,
                            value.change_count * sizeof value.changes[0]);
        /* Cut anywhere in its fixed part, it is none. */
        size_t fixed = bytes.size - value.value.size;
        for (size_t size = 1; size < fixed; size++)
            assert_int_equal(register_value_decode(bytes_of(bytes.data, size), &back), ERR_CORRUPT);
        uint8_t *data = (uint8_t *)(uintptr_t)bytes.data;
        data[0] ^= 0x40;
        assert_int_equal(register_value_decode(bytes, &back), ERR_CORRUPT);
    }
    arena_deinit(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conditions),
        cmocka_unit_test(a_change_is_made_once),
        cmocka_unit_test(expiry_is_decided),
        cmocka_unit_test(bytes_and_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
