#include "base/heap.h"

#include "base/check.h"

#include <stdlib.h>

void heap_init(struct heap *heap)
{
    *heap = (struct heap){0};
}

void heap_deinit(struct heap *heap)
{
    free(heap->entries);
    heap_init(heap);
}

static bool entry_less(const struct heap_entry *a, const struct heap_entry *b)
{
    return a->key != b->key ? a->key < b->key : a->tie < b->tie;
}

void heap_push(struct heap *heap, struct heap_entry entry)
{
    if (heap->count == heap->capacity) {
        heap->capacity = heap->capacity == 0 ? 64 : 2 * heap->capacity;
        heap->entries = realloc(heap->entries, heap->capacity * sizeof *heap->entries);
        CHECK(heap->entries != NULL);
    }
    size_t index = heap->count++;
    while (index > 0) {
        size_t parent = (index - 1) / 2;
        if (!entry_less(&entry, &heap->entries[parent]))
            break;
        heap->entries[index] = heap->entries[parent];
        index = parent;
    }
    heap->entries[index] = entry;
}

const struct heap_entry *heap_peek(const struct heap *heap)
{
    return heap->count == 0 ? NULL : &heap->entries[0];
}

struct heap_entry heap_pop(struct heap *heap)
{
    CHECK(heap->count > 0);
    struct heap_entry least = heap->entries[0];
    struct heap_entry last = heap->entries[--heap->count];
    size_t index = 0;
    for (;;) {
        size_t child = 2 * index + 1;
        if (child >= heap->count)
            break;
        if (child + 1 < heap->count && entry_less(&heap->entries[child + 1], &heap->entries[child]))
            child++;
        if (!entry_less(&heap->entries[child], &last))
            break;
        heap->entries[index] = heap->entries[child];
        index = child;
    }
    if (heap->count > 0)
        heap->entries[index] = last;
    return least;
}
