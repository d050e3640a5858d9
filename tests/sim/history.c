#include "tests/sim/history.h"

#include <inttypes.h>
#include <stdlib.h>

#define DELETE_MARK_BASE 1000u /* ms: 1970, and means nothing for a delete */

void history_init(struct history *history)
{
    *history = (struct history){0};
    arena_init(&history->arena, NULL, 0);
    history->operations = calloc(OPERATIONS_MAX, sizeof *history->operations);
    CHECK(history->operations != NULL);
}

void history_deinit(struct history *history)
{
    free(history->operations);
    arena_deinit(&history->arena);
}

struct operation *history_add(struct history *history)
{
    CHECK_U64(history->count, <, OPERATIONS_MAX);
    struct operation *operation = &history->operations[history->count];
    operation->id = history->count++;
    operation->write = operation->id;
    return operation;
}

struct bytes history_value(uint32_t operation, uint8_t memory[VALUE_SIZE_MAX])
{
    int used = snprintf((char *)memory, VALUE_SIZE_MAX, "value %" PRIu32 ":", operation);
    size_t size = (size_t)used + operation * 37 % 200;
    memset(memory + used, 'a' + (int)(operation % 26), size - (size_t)used);
    return bytes_of(memory, size);
}

uint64_t history_delete_mark(uint32_t operation)
{
    return DELETE_MARK_BASE + operation;
}

uint32_t history_writer(const struct history *history, const struct version *version)
{
    if ((version->flags & VERSION_TOMBSTONE) != 0) {
        uint64_t id = version->expires_at_ms - DELETE_MARK_BASE;
        bool made = id < history->count && version->value.size == 0 &&
                    history->operations[id].kind == OPERATION_DELETE;
        return made ? (uint32_t)id : OPERATION_NONE;
    }
    char text[32] = "";
    size_t size = version->value.size < sizeof text ? version->value.size : sizeof text - 1;
    memcpy(text, version->value.data, size);
    uint32_t id = OPERATION_NONE;
    if (sscanf(text, "value %" SCNu32 ":", &id) != 1 || id >= history->count)
        return OPERATION_NONE;
    uint8_t memory[VALUE_SIZE_MAX];
    bool same = bytes_equal(history_value(id, memory), version->value);
    return same && history->operations[id].kind == OPERATION_PUT ? id : OPERATION_NONE;
}

void key_name(uint32_t key, char ret_name[16])
{
    snprintf(ret_name, 16, "key%" PRIu32, key);
}

bool key_parse(struct bytes name, uint32_t *ret_key)
{
    char text[16] = "";
    if (name.size >= sizeof text)
        return false;
    memcpy(text, name.data, name.size);
    uint32_t key = 0;
    if (sscanf(text, "key%" SCNu32, &key) != 1 || key >= KEYS_MAX)
        return false;
    *ret_key = key;
    return true;
}

struct clock clock_copy(struct arena *arena, const struct clock *clock)
{
    struct clock empty = {0};
    if (clock->count == 0)
        return empty;
    struct clock_entry *entries = ARENA_NEW(arena, struct clock_entry, clock->count);
    for (uint32_t i = 0; i < clock->count; i++) {
        entries[i] = clock->entries[i];
        if (entries[i].extra_count == 0)
            continue;
        entries[i].extras =
            (const uint64_t *)arena_copy(arena, bytes_of(clock->entries[i].extras,
                                                         entries[i].extra_count * sizeof(uint64_t)))
                .data;
    }
    return (struct clock){.count = clock->count, .entries = entries};
}

struct version_set version_set_copy(struct arena *arena, const struct version_set *set)
{
    struct version_set copy = {.clock = clock_copy(arena, &set->clock), .count = set->count};
    struct version *versions = ARENA_NEW(arena, struct version, set->count);
    for (uint32_t i = 0; i < set->count; i++) {
        versions[i] = set->versions[i];
        versions[i].value = arena_copy(arena, versions[i].value);
    }
    copy.versions = versions;
    return copy;
}
