/* heap.h -- a binary min-heap of (key, tie, value): deadlines, simulated events.
 *
 * Ordered by key, then tie, so that equal keys leave in an order that the caller chose. */
#ifndef BASE_HEAP_H
#define BASE_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct heap_entry {
    uint64_t key;
    uint64_t tie;
    void *value;
};

struct heap {
    struct heap_entry *entries;
    size_t count;
    size_t capacity;
};

void heap_init(struct heap *heap);
void heap_deinit(struct heap *heap);
void heap_push(struct heap *heap, struct heap_entry entry);
/* The least entry, or NULL when empty; valid until the next change. */
const struct heap_entry *heap_peek(const struct heap *heap);
/* The heap is not empty. */
struct heap_entry heap_pop(struct heap *heap);

#endif
