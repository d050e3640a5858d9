/* arena.h -- bump allocation: everything that one step or one message needs, freed in one go.
 *
 * The first bytes come from memory that the caller gives (often the tail of the same block), later
 * ones from chunks of malloc that double up to 64 KiB; a larger block has a chunk of its own. Out
 * of memory aborts; budgets are kept at the edges. Not safe for use from two threads at once.
 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include "base/bytes.h"

struct arena_chunk;

struct arena {
    uint8_t *next;
    uint8_t *end;
    uint8_t *first; /* the caller's memory */
    size_t first_size;
    struct arena_chunk *chunks;
    size_t chunk_bytes; /* what the chunks hold, for budgets */
};

/* `memory` (may be NULL with size 0) outlives the arena. */
void arena_init(struct arena *arena, void *memory, size_t size);
void arena_deinit(struct arena *arena);
/* Forgets all contents; keeps the caller's memory and one chunk of at most 64 KiB. */
void arena_clear(struct arena *arena);

/* 16-byte aligned, not zeroed; size 0 gives a valid pointer. */
void *arena_alloc(struct arena *arena, size_t size);
void *arena_alloc_zero(struct arena *arena, size_t size);
struct bytes arena_copy(struct arena *arena, struct bytes bytes);
/* A copy with a closing NUL. */
char *arena_string(struct arena *arena, struct bytes bytes);
__attribute__((format(printf, 2, 3))) char *arena_printf(struct arena *arena, const char *format,
                                                         ...);

#define ARENA_NEW(arena, type, count) ((type *)arena_alloc_zero((arena), sizeof(type) * (count)))

#endif
