#include "base/arena.h"

#include "base/check.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define ALIGNMENT       16u
#define CHUNK_BYTES_MIN 4096u
#define CHUNK_BYTES_MAX (64u * 1024) /* also what arena_clear keeps */

struct arena_chunk {
    struct arena_chunk *previous;
    size_t size;
    _Alignas(ALIGNMENT) uint8_t memory[];
};

static uint8_t *align_up(uint8_t *pointer)
{
    uintptr_t address = (uintptr_t)pointer;
    return pointer + ((ALIGNMENT - address % ALIGNMENT) % ALIGNMENT);
}

void arena_init(struct arena *arena, void *memory, size_t size)
{
    CHECK(memory != NULL || size == 0);
    *arena = (struct arena){.first = memory, .first_size = size};
    arena->next = memory;
    arena->end = size == 0 ? memory : (uint8_t *)memory + size;
}

void arena_deinit(struct arena *arena)
{
    while (arena->chunks != NULL) {
        struct arena_chunk *chunk = arena->chunks;
        arena->chunks = chunk->previous;
        free(chunk);
    }
    arena_init(arena, arena->first, arena->first_size);
}

void arena_clear(struct arena *arena)
{
    struct arena_chunk *kept = NULL;
    while (arena->chunks != NULL) {
        struct arena_chunk *chunk = arena->chunks;
        arena->chunks = chunk->previous;
        if (kept == NULL && chunk->size <= CHUNK_BYTES_MAX)
            kept = chunk;
        else
            free(chunk);
    }
    arena_init(arena, arena->first, arena->first_size);
    if (kept != NULL) {
        kept->previous = NULL;
        arena->chunks = kept;
        arena->chunk_bytes = kept->size;
        arena->next = kept->memory;
        arena->end = kept->memory + kept->size;
    }
}

static struct arena_chunk *arena_add_chunk(struct arena *arena, size_t size)
{
    struct arena_chunk *chunk = malloc(sizeof *chunk + size);
    CHECK(chunk != NULL);
    chunk->previous = arena->chunks;
    chunk->size = size;
    arena->chunks = chunk;
    arena->chunk_bytes += size;
    return chunk;
}

/* A block above the limit gets a chunk of its own, and what is left of the current one stays in
 * use. */
static void *arena_grow(struct arena *arena, size_t size)
{
    if (size > CHUNK_BYTES_MAX)
        return arena_add_chunk(arena, size)->memory;
    size_t chunk_size = CHUNK_BYTES_MIN;
    if (arena->chunks != NULL)
        chunk_size = 2 * arena->chunks->size;
    if (chunk_size < size)
        chunk_size = size;
    if (chunk_size > CHUNK_BYTES_MAX)
        chunk_size = CHUNK_BYTES_MAX;
    struct arena_chunk *chunk = arena_add_chunk(arena, chunk_size);
    arena->next = chunk->memory + size;
    arena->end = chunk->memory + chunk_size;
    return chunk->memory;
}

void *arena_alloc(struct arena *arena, size_t size)
{
    CHECK(size <= SIZE_MAX / 4);
    uint8_t *start = arena->next == NULL ? NULL : align_up(arena->next);
    if (start == NULL || start > arena->end || (size_t)(arena->end - start) < size)
        return arena_grow(arena, size);
    arena->next = start + size;
    return start;
}

void *arena_alloc_zero(struct arena *arena, size_t size)
{
    return memset(arena_alloc(arena, size), 0, size);
}

struct bytes arena_copy(struct arena *arena, struct bytes bytes)
{
    if (bytes.size == 0)
        return (struct bytes){0};
    return bytes_of(memcpy(arena_alloc(arena, bytes.size), bytes.data, bytes.size), bytes.size);
}

char *arena_string(struct arena *arena, struct bytes bytes)
{
    char *text = arena_alloc(arena, bytes.size + 1);
    if (bytes.size != 0)
        memcpy(text, bytes.data, bytes.size);
    text[bytes.size] = '\0';
    return text;
}

char *arena_printf(struct arena *arena, const char *format, ...)
{
    CHECK(format != NULL);
    va_list arguments;
    va_start(arguments, format);
    va_list again;
    va_copy(again, arguments);
    int size = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    CHECK(size >= 0);
    char *text = arena_alloc(arena, (size_t)size + 1);
    vsnprintf(text, (size_t)size + 1, format, again);
    va_end(again);
    return text;
}
