// link: coterie_model jansson
/* The published laws of dotted version vector sets, case by case: every file dvvset*.json of the
 * vectors folder that has "cases". */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/vectors.h"

/* DVVSet's "less": b's history strictly contains a's. */
static bool is_less(const struct version_set *a, const struct version_set *b)
{
    return clock_descends(&b->clock, &a->clock) && !clock_descends(&a->clock, &b->clock);
}

/* DVVSet renames the last writer's value to the newest dot of its actor; ours keeps its dot. So the
 * clocks and the values by member are compared. */
static void assert_values_by_member(const char *id, const struct version_set *a,
                                    const struct version_set *b)
{
    if (!clock_equal(&a->clock, &b->clock) || a->count != b->count)
        fail_msg("%s: not the expected clock or count", id);
    for (uint32_t i = 0; i < a->count; i++) {
        if (a->versions[i].dot.member != b->versions[i].dot.member ||
            !bytes_equal(a->versions[i].value, b->versions[i].value))
            fail_msg("%s: not the expected values", id);
    }
}

static int64_t fold(const char *fn, const struct version_set *set)
{
    int64_t result = 0;
    for (uint32_t i = 0; i < set->count; i++) {
        json_t *value = value_json(&set->versions[i]);
        int64_t number = json_integer_value(value);
        json_decref(value);
        if (strcmp(fn, "sum") == 0)
            result += number;
        else if (strcmp(fn, "min") == 0)
            result = i == 0 || number < result ? number : result;
        else if (strcmp(fn, "max") == 0)
            result = i == 0 || number > result ? number : result;
        else
            fail_msg("no function named %s", fn);
    }
    return result;
}

static struct version_set reconcile(struct loader *loader, const struct version_set *set,
                                    const char *fn)
{
    json_t *value = json_integer(fold(fn, set));
    struct version_set emptied = {.clock = set->clock};
    emptied = with_dotless(loader, &emptied, value);
    json_decref(value);
    return emptied;
}

static struct version_set map(struct loader *loader, const struct version_set *set, const char *fn)
{
    int64_t factor = 0;
    assert_int_equal(sscanf(fn, "x%" SCNd64, &factor), 1);
    struct version_set mapped = {.clock = set->clock};
    for (uint32_t i = 0; i < set->count; i++) {
        json_t *old = value_json(&set->versions[i]);
        json_t *new = json_integer(factor * json_integer_value(old));
        if (set->versions[i].dot.counter == 0) {
            mapped = with_dotless(loader, &mapped, new);
        } else {
            struct version *version = ARENA_NEW(&loader->arena, struct version, 1);
            *version = version_of(loader, new);
            version->dot = set->versions[i].dot;
            struct version_set single = {.count = 1, .versions = version};
            struct version_set unseen = {.count = mapped.count, .versions = mapped.versions};
            mapped = version_set_merge(&loader->arena, &unseen, &single);
            mapped.clock = set->clock;
        }
        json_decref(old);
        json_decref(new);
    }
    return mapped;
}

static bool equal_history(const struct version_set *a, const struct version_set *b)
{
    uint32_t i = 0;
    uint32_t j = 0;
    while (i < a->count && a->versions[i].dot.counter == 0)
        i++;
    while (j < b->count && b->versions[j].dot.counter == 0)
        j++;
    for (; i < a->count && j < b->count; i++, j++) {
        if (dot_compare(a->versions[i].dot, b->versions[j].dot) != 0)
            return false;
    }
    return i == a->count && j == b->count && clock_equal(&a->clock, &b->clock);
}

static void run_put(struct loader *loader, const json_t *json, const char *id)
{
    struct version_set server = get_state(loader, json, "server");
    struct version_set context = entries_load(loader, json_object_get(json, "context"), false);
    struct version version = version_of(loader, json_object_get(json, "value"));
    uint32_t actor = member_of(loader, json_object_get(json, "actor"));
    struct dot dot;
    struct version_set put =
        version_set_put(&loader->arena, &server, &context.clock, actor, 0, &version, &dot);
    struct version_set expect = get_state(loader, json, "expect");
    assert_sets_equal(id, &put, &expect);
    assert_int_equal(dot.counter, clock_last_counter(&expect.clock, actor, 0));
}

static void run_merge(struct loader *loader, const json_t *json, const char *id)
{
    const json_t *states = json_object_get(json, "states");
    struct version_set expect = get_state(loader, json, "expect");
    struct version_set merged = {0};
    struct version_set reversed = {0};
    size_t count = json_array_size(states);
    for (size_t i = 0; i < count; i++) {
        struct version_set first = state_load(loader, json_array_get(states, i), false);
        struct version_set last = state_load(loader, json_array_get(states, count - 1 - i), false);
        merged = version_set_merge(&loader->arena, &merged, &first);
        reversed = version_set_merge(&loader->arena, &reversed, &last);
    }
    assert_sets_equal(id, &merged, &expect);
    if (json_is_true(json_object_get(json, "commutative")))
        assert_sets_equal(id, &reversed, &expect);
}

static void run_event(struct loader *loader, const json_t *json, const char *id)
{
    struct version_set state = entries_load(loader, json_object_get(json, "state_entries"), false);
    struct version version = version_of(loader, json_object_get(json, "value"));
    struct clock nothing = {0};
    struct dot dot;
    struct version_set put =
        version_set_put(&loader->arena, &state, &nothing,
                        member_of(loader, json_object_get(json, "actor")), 0, &version, &dot);
    struct version_set expect =
        entries_load(loader, json_object_get(json, "expect_entries"), false);
    assert_sets_equal(id, &put, &expect);
}

static void run_ids_values(struct loader *loader, const json_t *json, const char *id)
{
    struct version_set state = state_load(loader, json_object_get(json, "state"), true);
    const json_t *ids = json_object_get(json, "expect_ids");
    assert_int_equal(state.clock.count, json_array_size(ids));
    for (uint32_t i = 0; i < state.clock.count; i++)
        assert_int_equal(state.clock.entries[i].member, member_of(loader, json_array_get(ids, i)));
    assert_values(loader, id, &state, json_object_get(json, "expect_values_sorted"));
}

static void run_one_state(struct loader *loader, const json_t *json, const char *id, const char *op)
{
    struct version_set state = get_state(loader, json, "state");
    const json_t *expected = json_object_get(json, "expect");
    const char *fn = json_string_value(json_object_get(json, "fn"));
    struct version_set last = version_set_last_writer_wins(&loader->arena, &state);
    if (strcmp(op, "context_of") == 0) {
        struct version_set clock = entries_load(loader, expected, false);
        struct clock context = version_set_context(&state);
        assert_true(clock_equal(&context, &clock.clock));
    } else if (strcmp(op, "size") == 0) {
        assert_int_equal(state.count, json_integer_value(expected));
    } else if (strcmp(op, "last") == 0) {
        struct version wanted = version_of(loader, expected);
        assert_int_equal(last.count, 1);
        assert_true(bytes_equal(last.versions[0].value, wanted.value));
    } else {
        struct version_set expect = state_load(loader, expected, false);
        if (strcmp(op, "lww") == 0) {
            assert_values_by_member(id, &last, &expect);
        } else if (strcmp(op, "reconcile") == 0) {
            struct version_set reconciled = reconcile(loader, &state, fn);
            assert_sets_equal(id, &reconciled, &expect);
        } else if (strcmp(op, "map") == 0) {
            struct version_set mapped = map(loader, &state, fn);
            assert_sets_equal(id, &mapped, &expect);
        } else {
            fail_msg("%s: no operation named %s", id, op);
        }
    }
}

static size_t cases_done;

static void run_case(const json_t *json)
{
    const char *id = json_string_value(json_object_get(json, "id"));
    const char *op = json_string_value(json_object_get(json, "op"));
    struct loader *loader = loader_new(json);
    print_message("  %s: %s\n", op, id);
    cases_done++;
    if (strcmp(op, "put") == 0) {
        run_put(loader, json, id);
    } else if (strcmp(op, "merge") == 0) {
        run_merge(loader, json, id);
    } else if (strcmp(op, "event") == 0) {
        run_event(loader, json, id);
    } else if (strcmp(op, "ids_values") == 0) {
        run_ids_values(loader, json, id);
    } else if (strcmp(op, "less") == 0 || strcmp(op, "equal_history") == 0) {
        struct version_set left = get_state(loader, json, "left");
        struct version_set right = get_state(loader, json, "right");
        bool got = op[0] == 'l' ? is_less(&left, &right) : equal_history(&left, &right);
        if (got != json_is_true(json_object_get(json, "expect")))
            fail_msg("%s: gives %d", id, got);
    } else {
        run_one_state(loader, json, id, op);
    }
    loader_free(loader);
}

static void run_file(const json_t *root)
{
    size_t index;
    const json_t *json;
    json_array_foreach(json_object_get(root, "cases"), index, json) run_case(json);
}

static void test_dvvset(void **state)
{
    (void)state;
    each_file("dvvset*.json", run_file);
    assert_true(cases_done > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dvvset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
