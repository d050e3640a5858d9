// link: coterie_sim jansson
/* The checker of linearizability against histories whose verdict is known (RELIABILITY 7.3 C7: a
 * checker is trusted when it judges what others have recorded as they published it). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/prng.h"
#include "tests/sim/linearizable.h"
#include "tests/unit/vectors.h"

#define STRINGS_MAX 65536u
#define NIL         UINT64_MAX

/* -- histories as files
 * --------------------------------------------------------------------------- */

/* A string is its place here: the state of a key-value register. */
struct strings {
    uint32_t count;
    char *list[STRINGS_MAX];
};

static uint64_t string_number(struct strings *strings, const char *text)
{
    for (uint32_t i = 0; i < strings->count; i++) {
        if (strcmp(strings->list[i], text) == 0)
            return i;
    }
    assert_in_range(strings->count, 0, STRINGS_MAX - 1);
    strings->list[strings->count] = strdup(text);
    return strings->count++;
}

struct operation {
    struct linearizable_operation register_operation;
    bool append;
    const char *key; /* NULL: there is one object */
    int64_t id;
};

struct history {
    json_t *lines[4096];
    uint32_t line_count;
    struct operation operations[2048];
    uint32_t count;
    struct strings strings;
};

static uint64_t value_of(struct history *history, const json_t *json)
{
    if (json_is_string(json))
        return string_number(&history->strings, json_string_value(json));
    return json_is_integer(json) ? (uint64_t)json_integer_value(json) : NIL;
}

static void history_call(struct history *history, const json_t *line, uint64_t at)
{
    const char *what = json_string_value(json_object_get(line, "f"));
    const json_t *value = json_object_get(line, "v");
    struct operation *operation = &history->operations[history->count++];
    assert_in_range(history->count, 1, 2048);
    *operation = (struct operation){
        .register_operation.interval = {at, LINEARIZABLE_NEVER},
        .append = strcmp(what, "append") == 0,
        .key = json_string_value(json_object_get(line, "k")),
        .id = json_integer_value(json_object_get(line, "id")),
    };
    struct linearizable_operation *plain = &operation->register_operation;
    if (strcmp(what, "cas") == 0) {
        plain->kind = LINEARIZABLE_CAS;
        plain->expected = value_of(history, json_array_get(value, 0));
        plain->value = value_of(history, json_array_get(value, 1));
    } else {
        bool read = strcmp(what, "read") == 0 || strcmp(what, "get") == 0;
        plain->kind = read ? LINEARIZABLE_READ : LINEARIZABLE_WRITE;
        plain->value = value_of(history, value);
    }
}

static void history_return(struct history *history, const json_t *line, uint64_t at, bool nil_any)
{
    const char *how = json_string_value(json_object_get(line, "s"));
    struct operation *operation = history->operations;
    while (operation->id != json_integer_value(json_object_get(line, "id")))
        operation++;
    struct linearizable_operation *plain = &operation->register_operation;
    if (strcmp(how, "unknown") == 0)
        return;
    plain->interval.returned = at;
    plain->refused = strcmp(how, "fail") == 0;
    assert_false(plain->refused && plain->kind != LINEARIZABLE_CAS);
    if (plain->kind == LINEARIZABLE_READ) {
        const json_t *value = json_object_get(line, "v");
        plain->value = value_of(history, value);
        plain->any = nil_any && json_is_null(value);
    }
}

/* Gives the first line, which says what it is. */
static json_t *history_load(struct history *history, const char *path)
{
    memset(history, 0, sizeof *history);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    char text[8192];
    while (fgets(text, sizeof text, file) != NULL) {
        json_t *line = json_loads(text, 0, NULL);
        assert_non_null(line);
        assert_in_range(history->line_count, 0, 4095);
        history->lines[history->line_count++] = line;
    }
    fclose(file);
    bool nil_any = json_object_get(history->lines[0], "read_nil") != NULL;
    for (uint32_t i = 1; i < history->line_count; i++) {
        if (strcmp(json_string_value(json_object_get(history->lines[i], "e")), "call") == 0)
            history_call(history, history->lines[i], i);
        else
            history_return(history, history->lines[i], i, nil_any);
    }
    return history->lines[0];
}

static void history_free(struct history *history)
{
    for (uint32_t i = 0; i < history->line_count; i++)
        json_decref(history->lines[i]);
    for (uint32_t i = 0; i < history->strings.count; i++)
        free(history->strings.list[i]);
}

/* -- a key of the key-value store: a string that grows
 * -------------------------------------------- */

struct key_history {
    struct history *history;
    uint32_t count;
    uint32_t operations[LINEARIZABLE_OPERATIONS_MAX];
};

static bool key_step(void *closure, uint64_t state, uint32_t index, uint64_t *ret_state)
{
    struct key_history *key = closure;
    struct history *history = key->history;
    const struct operation *operation = &history->operations[key->operations[index]];
    uint64_t value = operation->register_operation.value;
    *ret_state = state;
    if (operation->register_operation.kind == LINEARIZABLE_READ)
        return state == value;
    *ret_state = value;
    if (operation->append) {
        char text[8192];
        snprintf(text, sizeof text, "%s%s", history->strings.list[state],
                 history->strings.list[value]);
        *ret_state = string_number(&history->strings, text);
    }
    return true;
}

static enum linearizable_verdict judge_key(struct history *history, const char *name)
{
    struct key_history key = {.history = history};
    struct linearizable_interval intervals[LINEARIZABLE_OPERATIONS_MAX];
    for (uint32_t i = 0; i < history->count; i++) {
        if (strcmp(history->operations[i].key, name) != 0)
            continue;
        intervals[key.count] = history->operations[i].register_operation.interval;
        key.operations[key.count++] = i;
    }
    const struct linearizable_model model = {
        .initial = string_number(&history->strings, ""), .step = key_step, .closure = &key};
    return linearizable_check(intervals, key.count, &model, 0);
}

static enum linearizable_verdict judge_keys(struct history *history)
{
    for (uint32_t i = 0; i < history->count; i++) {
        bool first = true;
        for (uint32_t j = 0; j < i; j++)
            first &= strcmp(history->operations[j].key, history->operations[i].key) != 0;
        enum linearizable_verdict verdict =
            first ? judge_key(history, history->operations[i].key) : LINEARIZABLE_YES;
        if (verdict != LINEARIZABLE_YES)
            return verdict;
    }
    return LINEARIZABLE_YES;
}

static enum linearizable_verdict judge(struct history *history, const json_t *head)
{
    if (history->count != 0 && history->operations[0].key != NULL)
        return judge_keys(history);
    struct linearizable_operation operations[LINEARIZABLE_OPERATIONS_MAX];
    assert_in_range(history->count, 0, LINEARIZABLE_OPERATIONS_MAX);
    for (uint32_t i = 0; i < history->count; i++)
        operations[i] = history->operations[i].register_operation;
    return linearizable_check_register(operations, history->count,
                                       value_of(history, json_object_get(head, "init")), 0);
}

static void every_recorded_history_is_judged_as_published(void **state)
{
    (void)state;
    char path[4096];
    snprintf(path, sizeof path, "%s/histories/*/*.jsonl", vectors_folder());
    glob_t found;
    if (glob(path, 0, NULL, &found) != 0) {
        print_message("SKIPPED: no recorded histories at %s\n", path);
        skip();
    }
    static struct history history;
    uint32_t judged[2] = {0};
    for (size_t i = 0; i < found.gl_pathc; i++) {
        json_t *head = history_load(&history, found.gl_pathv[i]);
        bool expected = json_is_true(json_object_get(head, "linearizable"));
        enum linearizable_verdict verdict = judge(&history, head);
        if (verdict != (expected ? LINEARIZABLE_YES : LINEARIZABLE_NO))
            fail_msg("%s: verdict %d", found.gl_pathv[i], (int)verdict);
        judged[expected]++;
        history_free(&history);
    }
    globfree(&found);
    print_message("%u histories linearizable, %u not\n", judged[true], judged[false]);
    assert_int_not_equal(judged[true], 0);
    assert_int_not_equal(judged[false], 0);
}

/* -- small ones
 * ----------------------------------------------------------------------------------- */

static void micro_case(const json_t *root)
{
    const json_t *one;
    size_t index;
    json_array_foreach(json_object_get(root, "cases"), index, one)
    {
        struct linearizable_operation operations[64];
        const json_t *list = json_object_get(one, "ops");
        uint32_t count = (uint32_t)json_array_size(list);
        assert_in_range(count, 1, 64);
        for (uint32_t i = 0; i < count; i++) {
            const json_t *item = json_array_get(list, i);
            const json_t *returned = json_array_get(item, 3);
            bool read = strcmp(json_string_value(json_array_get(item, 0)), "r") == 0;
            operations[i] = (struct linearizable_operation){
                .interval = {(uint64_t)json_integer_value(json_array_get(item, 2)),
                             json_is_null(returned) ? LINEARIZABLE_NEVER
                                                    : (uint64_t)json_integer_value(returned)},
                .kind = read ? LINEARIZABLE_READ : LINEARIZABLE_WRITE,
                .value = (uint64_t)json_integer_value(json_array_get(item, 1)),
            };
        }
        const json_t *init = json_object_get(one, "init");
        uint64_t initial = json_is_null(init) ? NIL : (uint64_t)json_integer_value(init);
        bool expected = json_is_true(json_object_get(one, "linearizable"));
        if (linearizable_check_register(operations, count, initial, 0) !=
            (expected ? LINEARIZABLE_YES : LINEARIZABLE_NO))
            fail_msg("%s", json_string_value(json_object_get(one, "id")));
    }
}

static void micro_histories_are_judged_as_published(void **state)
{
    (void)state;
    each_file("register_micro*.json", micro_case);
}

static struct linearizable_operation operation(enum linearizable_kind kind, uint64_t expected,
                                               uint64_t value, uint64_t called, uint64_t returned)
{
    return (struct linearizable_operation){
        .interval = {called, returned}, .kind = kind, .expected = expected, .value = value};
}

/* An operation without an answer may take effect late, once, or never, but not before its call. */
static void an_unknown_outcome_stays_open_for_ever(void **state)
{
    (void)state;
    struct linearizable_operation late[] = {
        operation(LINEARIZABLE_CAS, 0, 1, 10, LINEARIZABLE_NEVER),
        operation(LINEARIZABLE_READ, 0, 0, 20, 21),
        operation(LINEARIZABLE_READ, 0, 1, 1000, 1001),
    };
    assert_int_equal(linearizable_check_register(late, 3, 0, 0), LINEARIZABLE_YES);
    assert_int_equal(linearizable_check_register(late, 2, 0, 0), LINEARIZABLE_YES);
    struct linearizable_operation back[] = {late[0], late[2],
                                            operation(LINEARIZABLE_READ, 0, 0, 1002, 1003)};
    assert_int_equal(linearizable_check_register(back, 3, 0, 0), LINEARIZABLE_NO);
    late[2].interval = (struct linearizable_interval){5, 6};
    assert_int_equal(linearizable_check_register(late, 3, 0, 0), LINEARIZABLE_NO);
}

static void a_refused_compare_and_set_is_an_observation(void **state)
{
    (void)state;
    struct linearizable_operation list[] = {
        operation(LINEARIZABLE_WRITE, 0, 7, 0, 1),
        operation(LINEARIZABLE_CAS, 7, 8, 2, 3),
        operation(LINEARIZABLE_READ, 0, 8, 4, 5),
    };
    assert_int_equal(linearizable_check_register(list, 3, 0, 0), LINEARIZABLE_YES);
    list[1].refused = true; /* it was 7: the condition cannot have been false */
    assert_int_equal(linearizable_check_register(list, 2, 0, 0), LINEARIZABLE_NO);
    list[1].expected = 9;
    list[2].value = 7;
    assert_int_equal(linearizable_check_register(list, 3, 0, 0), LINEARIZABLE_YES);
}

/* Its time is bounded, and it says so rather than guess. */
static void a_search_that_is_too_long_is_given_up(void **state)
{
    (void)state;
    struct linearizable_operation list[41];
    for (uint32_t i = 0; i < 40; i++)
        list[i] = operation(LINEARIZABLE_WRITE, 0, i, 0, 100);
    list[40] = operation(LINEARIZABLE_READ, 0, 999, 101, 102);
    assert_int_equal(linearizable_check_register(list, 41, 0, 5000), LINEARIZABLE_GAVE_UP);
}

/* Against the definition: every order of a few operations. */
static bool brute(const struct linearizable_operation *list, uint32_t count, uint32_t done,
                  uint64_t value)
{
    bool open = false;
    for (uint32_t i = 0; i < count; i++)
        open |= (done >> i & 1u) == 0 && list[i].interval.returned != LINEARIZABLE_NEVER;
    if (!open)
        return true;
    for (uint32_t i = 0; i < count; i++) {
        bool may = (done >> i & 1u) == 0;
        for (uint32_t j = 0; j < count; j++)
            may &= (done >> j & 1u) != 0 || list[j].interval.returned >= list[i].interval.called;
        bool answered = list[i].interval.returned != LINEARIZABLE_NEVER;
        bool met = value == list[i].expected;
        uint64_t next = value;
        if (list[i].kind == LINEARIZABLE_READ)
            may &= !answered || list[i].value == value;
        else if (list[i].kind == LINEARIZABLE_WRITE)
            next = list[i].value;
        else if (answered)
            may &= met == !list[i].refused;
        if (list[i].kind == LINEARIZABLE_CAS && met)
            next = list[i].value;
        if (may && brute(list, count, done | 1u << i, next))
            return true;
    }
    return false;
}

static void it_agrees_with_trying_every_order(void **state)
{
    (void)state;
    struct prng prng;
    prng_init(&prng, 20260101, 0);
    uint32_t yes = 0;
    for (uint32_t round = 0; round < 20000; round++) {
        struct linearizable_operation list[6];
        uint32_t count = 1 + (uint32_t)prng_below(&prng, 6);
        for (uint32_t i = 0; i < count; i++) {
            uint64_t called = prng_below(&prng, 12);
            list[i] = operation((enum linearizable_kind)prng_below(&prng, 3), prng_below(&prng, 3),
                                prng_below(&prng, 3), called,
                                prng_below(&prng, 5) == 0 ? LINEARIZABLE_NEVER
                                                          : called + prng_below(&prng, 6));
            list[i].refused =
                list[i].interval.returned != LINEARIZABLE_NEVER && prng_below(&prng, 2) == 0;
        }
        bool expected = brute(list, count, 0, 0);
        yes += expected;
        assert_int_equal(linearizable_check_register(list, count, 0, 0),
                         expected ? LINEARIZABLE_YES : LINEARIZABLE_NO);
    }
    assert_in_range(yes, 2000, 18000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_recorded_history_is_judged_as_published),
        cmocka_unit_test(micro_histories_are_judged_as_published),
        cmocka_unit_test(an_unknown_outcome_stays_open_for_ever),
        cmocka_unit_test(a_refused_compare_and_set_is_an_observation),
        cmocka_unit_test(a_search_that_is_too_long_is_given_up),
        cmocka_unit_test(it_agrees_with_trying_every_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
