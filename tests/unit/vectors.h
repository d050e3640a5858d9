/* Test vectors: a file pattern is a loop over files, of ../shared/vectors or of the folder that
 * COTERIE_VECTORS names; and a JSON state of version sets becomes a version set. */
#ifndef TESTS_UNIT_VECTORS_H
#define TESTS_UNIT_VECTORS_H

#include "base/check.h"
#include "model/version.h"

#include <glob.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#define NAMES_MAX   1024u
#define ENTRIES_MAX 256u

/* Everything that one case needs: strings of the case, sorted; a name's rank + 1 is its member. */
struct loader {
    struct arena arena;
    const char *names[NAMES_MAX];
    uint32_t name_count;
    const char *order; /* how a value gives its written_at; NULL = it does not */
};

static inline void names_collect(struct loader *loader, const json_t *json)
{
    const char *key;
    json_t *child;
    size_t index;
    if (json_is_string(json)) {
        const char *name = json_string_value(json);
        uint32_t at = 0;
        while (at < loader->name_count && strcmp(loader->names[at], name) < 0)
            at++;
        if (at < loader->name_count && strcmp(loader->names[at], name) == 0)
            return;
        assert_in_range(loader->name_count, 0, NAMES_MAX - 1);
        memmove(&loader->names[at + 1], &loader->names[at],
                (loader->name_count - at) * sizeof loader->names[0]);
        loader->names[at] = name;
        loader->name_count++;
    }
    json_array_foreach(json, index, child) names_collect(loader, child);
    json_object_foreach((json_t *)(uintptr_t)json, key, child) names_collect(loader, child);
}

static inline struct loader *loader_new(const json_t *json)
{
    struct loader *loader = malloc(sizeof *loader);
    assert_non_null(loader);
    *loader = (struct loader){.order = json_string_value(json_object_get(json, "order"))};
    arena_init(&loader->arena, NULL, 0);
    names_collect(loader, json);
    return loader;
}

static inline void loader_free(struct loader *loader)
{
    arena_deinit(&loader->arena);
    free(loader);
}

static inline uint32_t member_of(const struct loader *loader, const json_t *name)
{
    assert_true(json_is_string(name));
    for (uint32_t i = 0; i < loader->name_count; i++) {
        if (strcmp(loader->names[i], json_string_value(name)) == 0)
            return i + 1;
    }
    fail_msg("no member for %s", json_string_value(name));
    return 0;
}

static inline uint64_t written_at(const struct loader *loader, const json_t *value)
{
    if (loader->order == NULL)
        return 0;
    if (strcmp(loader->order, "second_element_le") == 0)
        value = json_array_get(value, 1);
    else
        assert_string_equal(loader->order, "numeric_le");
    assert_true(json_is_integer(value));
    return (uint64_t)json_integer_value(value) ^ (1ull << 63); /* order kept below zero too */
}

static inline struct version version_of(struct loader *loader, const json_t *value)
{
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_SORT_KEYS);
    assert_non_null(text);
    struct version version = {.written_at = written_at(loader, value),
                              .value = arena_copy(&loader->arena, bytes_of_string(text))};
    free(text);
    return version;
}

static inline json_t *value_json(const struct version *version)
{
    return json_loadb((const char *)version->value.data, version->value.size, JSON_DECODE_ANY,
                      NULL);
}

static inline struct version_set with_dotless(struct loader *loader, const struct version_set *set,
                                              const json_t *value)
{
    struct version *version = ARENA_NEW(&loader->arena, struct version, 1);
    *version = version_of(loader, value);
    struct version_set single = {.count = 1, .versions = version};
    return version_set_merge(&loader->arena, set, &single);
}

/* [[actor, counter, [values, newest first]?], ...]. Entries that cover nothing are no history and
 * are left out, unless `keep_empty`. */
static inline struct version_set entries_load(struct loader *loader, const json_t *json,
                                              bool keep_empty)
{
    const json_t *sorted[ENTRIES_MAX];
    uint32_t count = 0;
    size_t value_count = 0;
    for (size_t i = 0; i < json_array_size(json); i++) {
        const json_t *entry = json_array_get(json, i);
        if (json_integer_value(json_array_get(entry, 1)) == 0 && !keep_empty)
            continue;
        uint32_t member = member_of(loader, json_array_get(entry, 0));
        assert_in_range(count, 0, ENTRIES_MAX - 1);
        uint32_t at = count++;
        for (; at > 0 && member_of(loader, json_array_get(sorted[at - 1], 0)) > member; at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = entry;
        value_count += json_array_size(json_array_get(entry, 2));
    }

    struct clock_entry *entries = ARENA_NEW(&loader->arena, struct clock_entry, count);
    struct version *versions = ARENA_NEW(&loader->arena, struct version, value_count);
    struct version_set set = {.clock = {count, entries}, .versions = versions};
    for (uint32_t i = 0; i < count; i++) {
        const json_t *values = json_array_get(sorted[i], 2);
        entries[i].member = member_of(loader, json_array_get(sorted[i], 0));
        entries[i].base = (uint64_t)json_integer_value(json_array_get(sorted[i], 1));
        for (size_t j = json_array_size(values); j-- > 0;) {
            struct version *version = &versions[set.count++];
            *version = version_of(loader, json_array_get(values, j));
            version->dot =
                (struct dot){.member = entries[i].member, .counter = entries[i].base - j};
        }
    }
    return set;
}

/* {entries, anonymous} or null. */
static inline struct version_set state_load(struct loader *loader, const json_t *json,
                                            bool keep_empty)
{
    struct version_set set = entries_load(loader, json_object_get(json, "entries"), keep_empty);
    const json_t *anonymous = json_object_get(json, "anonymous");
    for (size_t i = 0; i < json_array_size(anonymous); i++)
        set = with_dotless(loader, &set, json_array_get(anonymous, i));
    return set;
}

static inline struct version_set get_state(struct loader *loader, const json_t *json,
                                           const char *key)
{
    assert_non_null(json_object_get(json, key));
    return state_load(loader, json_object_get(json, key), false);
}

static inline void assert_sets_equal(const char *id, const struct version_set *a,
                                     const struct version_set *b)
{
    if (!version_set_equal(a, b))
        fail_msg("%s: not the expected state", id);
}

static inline int text_order(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The set's values are those of a JSON array, in any order. */
static inline void assert_values(struct loader *loader, const char *id,
                                 const struct version_set *set, const json_t *expected)
{
    assert_int_equal(set->count, json_array_size(expected));
    char **got = ARENA_NEW(&loader->arena, char *, set->count);
    char **wanted = ARENA_NEW(&loader->arena, char *, set->count);
    for (uint32_t i = 0; i < set->count; i++) {
        struct version version = version_of(loader, json_array_get(expected, i));
        got[i] = arena_string(&loader->arena, set->versions[i].value);
        wanted[i] = arena_string(&loader->arena, version.value);
    }
    qsort(got, set->count, sizeof *got, text_order);
    qsort(wanted, set->count, sizeof *wanted, text_order);
    for (uint32_t i = 0; i < set->count; i++) {
        if (strcmp(got[i], wanted[i]) != 0)
            fail_msg("%s: value %s where %s was expected", id, got[i], wanted[i]);
    }
}

static inline const char *vectors_folder(void)
{
    const char *folder = getenv("COTERIE_VECTORS");
    return folder == NULL ? VECTORS_DIR : folder;
}

/* Calls `run` with the root of every file of a pattern; the test is skipped when there is none. */
static inline uint32_t each_file(const char *pattern, void (*run)(const json_t *root))
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", vectors_folder(), pattern);
    glob_t found;
    if (glob(path, 0, NULL, &found) != 0) {
        print_message("SKIPPED: no test vectors at %s\n", path);
        skip();
    }
    uint32_t count = 0;
    for (; count < found.gl_pathc; count++) {
        json_error_t error;
        json_t *root = json_load_file(found.gl_pathv[count], 0, &error);
        if (root == NULL)
            fail_msg("%s: %s", found.gl_pathv[count], error.text);
        print_message("%s\n", found.gl_pathv[count]);
        run(root);
        json_decref(root);
    }
    globfree(&found);
    return count;
}

#endif
