// link: coterie_model jansson
/* Published scripts of clients: the context that a put may hand back (dvvset*.json with "scenario"
 * or "context_cases"), and interleaved writers that must not pile up siblings
 * (sibling_explosion*.json). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/vectors.h"

#define STEPS_MAX 1024u

static size_t scripts_done;

/* [actor, base, extras?, ...] */
static struct clock clock_load(struct loader *loader, const json_t *json)
{
    const json_t *numbers = json_array_get(json, 2);
    struct clock_entry *entry = ARENA_NEW(&loader->arena, struct clock_entry, 1);
    uint64_t *extras = ARENA_NEW(&loader->arena, uint64_t, json_array_size(numbers));
    for (size_t i = 0; i < json_array_size(numbers); i++)
        extras[i] = (uint64_t)json_integer_value(json_array_get(numbers, i));
    *entry = (struct clock_entry){.member = member_of(loader, json_array_get(json, 0)),
                                  .base = (uint64_t)json_integer_value(json_array_get(json, 1)),
                                  .extra_count = (uint32_t)json_array_size(numbers),
                                  .extras = extras};
    bool nothing = entry->base == 0 && entry->extra_count == 0;
    return (struct clock){.count = nothing ? 0 : 1, .entries = entry};
}

/* A state with dots above a base: its context covers those dots and not what lies between. */
static void run_context_case(const json_t *json)
{
    struct loader *loader = loader_new(json);
    struct version_set set = {0};
    struct clock expect = {0};
    const json_t *entry;
    size_t index;
    json_array_foreach(json_object_get(json, "state"), index, entry)
    {
        const json_t *values = json_array_get(entry, 3);
        struct clock clock = clock_load(loader, entry);
        struct version_set part = {.clock = clock};
        struct version *versions =
            ARENA_NEW(&loader->arena, struct version, json_array_size(values));
        part.versions = versions;
        for (size_t i = 0; i < json_array_size(values); i++) {
            const json_t *pair = json_array_get(values, i);
            struct version version = version_of(loader, json_array_get(pair, 1));
            version.dot =
                (struct dot){.member = member_of(loader, json_array_get(entry, 0)),
                             .counter = (uint64_t)json_integer_value(json_array_get(pair, 0))};
            part.clock = clock_add(&loader->arena, &part.clock, version.dot);
            versions[part.count++] = version;
        }
        set = version_set_merge(&loader->arena, &set, &part);
    }
    json_array_foreach(json_object_get(json, "expect_context"), index, entry)
    {
        struct clock part = clock_load(loader, entry);
        expect = clock_merge(&loader->arena, &expect, &part);
    }
    struct clock context = version_set_context(&set);
    if (!clock_equal(&context, &expect))
        fail_msg("%s: not the expected context", json_string_value(json_object_get(json, "id")));
    scripts_done++;
    loader_free(loader);
}

/* A script of clients that write through one replica; contexts are acks and reads of former steps.
 */
static void run_script(const json_t *json)
{
    struct loader *loader = loader_new(json);
    const json_t *steps = json_object_get(json, "scenario");
    struct version_set *sets = calloc(STEPS_MAX, sizeof *sets);
    struct clock *acks = calloc(STEPS_MAX, sizeof *acks);
    assert_true(sets != NULL && acks != NULL && json_array_size(steps) < STEPS_MAX);
    for (size_t i = 1; i <= json_array_size(steps); i++) {
        const json_t *step = json_array_get(steps, i - 1);
        const char *words = json_string_value(json_object_get(step, "context"));
        assert_int_equal(json_integer_value(json_object_get(step, "step")), i);
        struct clock context = {0};
        size_t from = 0;
        if (sscanf(words, "ack of step %zu", &from) == 1 && from < i)
            context = acks[from];
        else if (sscanf(words, "full read after step %zu", &from) == 1 && from < i)
            context = version_set_context(&sets[from]);
        else
            assert_string_equal(words, "none");
        struct version version = version_of(loader, json_object_get(step, "put"));
        struct dot dot;
        sets[i] = version_set_put(&loader->arena, &sets[i - 1], &context, 1, 7, &version, &dot);
        acks[i] = version_set_put_context(&loader->arena, &context, &sets[i - 1], dot);
        assert_values(loader, words, &sets[i], json_object_get(step, "values_after"));
    }
    scripts_done++;
    print_message("  script of %zu steps\n", json_array_size(steps));
    free(sets);
    free(acks);
    loader_free(loader);
}

static void write_value(struct loader *loader, struct version_set *set, const struct clock *context,
                        uint64_t number)
{
    json_t *text = json_sprintf("v%d", (int)number);
    struct version version = version_of(loader, text);
    struct dot dot;
    *set = version_set_put(&loader->arena, set, context, 1, 1, &version, &dot);
    json_decref(text);
}

/* What the comparison is with: one plain version vector for all siblings, whose only actor is the
 * replica. A context that is behind it covers none of them (Riak before DVVSets). */
static uint64_t plain_vector_siblings(uint64_t writes, bool blind)
{
    uint64_t counter = 0;
    uint64_t siblings = 0;
    uint64_t contexts[2] = {0};
    for (uint64_t i = 0; i < writes; i++) {
        uint64_t writer = i % 2;
        siblings = contexts[writer] == counter ? 1 : siblings + 1;
        counter++;
        if (writer == 0 || !blind)
            contexts[writer] = counter;
    }
    return siblings;
}

/* Two writers take turns. Blind: the second never sends a context; else each sends that of its last
 * read, which was taken before the other wrote. */
static void run_explosion(const json_t *scenario, bool blind)
{
    struct loader *loader = loader_new(scenario);
    const json_t *published = json_object_get(scenario, "published");
    uint32_t bound = 0;
    assert_int_equal(sscanf(json_string_value(json_object_get(scenario, "bound_to_assert")),
                            "siblings <= %u at every step", &bound),
                     1);
    uint64_t writes = (uint64_t)json_integer_value(json_object_get(scenario, "writes"));
    struct version_set set = {0};
    struct clock contexts[2] = {{0}};
    assert_true(writes > 2 && bound > 0);
    for (uint64_t i = 0; i < writes; i++) {
        uint64_t writer = i % 2;
        write_value(loader, &set, &contexts[writer], i + 1);
        if (writer == 0 || !blind)
            contexts[writer] = version_set_context(&set);
        if (set.count > bound)
            fail_msg("%u siblings after write %u", set.count, (unsigned)i + 1);
    }
    assert_int_equal(set.count, json_integer_value(json_object_get(published, "dvvset_siblings")));
    const json_t *plain = json_object_get(published, "version_vectors_siblings");
    if (plain != NULL)
        assert_int_equal(plain_vector_siblings(writes, blind), json_integer_value(plain));
    assert_values(loader, "explosion", &set, json_object_get(published, "dvvset_values"));
    loader_free(loader);
}

static void run_put_ack_file(const json_t *root)
{
    size_t index;
    const json_t *json;
    json_array_foreach(json_object_get(root, "context_cases"), index, json) run_context_case(json);
    if (json_object_get(root, "scenario") != NULL)
        run_script(root);
}

static void run_explosion_file(const json_t *root)
{
    const char *name = NULL;
    json_t *scenario = NULL;
    uint32_t done = 0;
    json_object_foreach((json_t *)(uintptr_t)root, name, scenario)
    {
        if (!json_is_object(scenario))
            continue;
        bool blind = strcmp(name, "scenario_1") == 0;
        if (!blind && strcmp(name, "scenario_2") != 0)
            fail_msg("%s: which writers it has is not known here", name);
        run_explosion(scenario, blind);
        done++;
    }
    assert_int_not_equal(done, 0);
}

static void test_put_ack(void **state)
{
    (void)state;
    each_file("dvvset*.json", run_put_ack_file);
    assert_true(scripts_done > 0);
}

static void test_sibling_explosion(void **state)
{
    (void)state;
    each_file("sibling_explosion*.json", run_explosion_file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_put_ack),
        cmocka_unit_test(test_sibling_explosion),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
