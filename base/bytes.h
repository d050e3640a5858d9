/* bytes.h -- a borrowed view of memory. Never owns; the owner is said where one is stored. */
#ifndef BASE_BYTES_H
#define BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct bytes {
    const uint8_t *data; /* may be NULL when size is 0 */
    size_t size;
};

static inline struct bytes bytes_of(const void *data, size_t size)
{
    return (struct bytes){.data = data, .size = size};
}

static inline struct bytes bytes_of_string(const char *text)
{
    return bytes_of(text, strlen(text));
}

static inline int bytes_compare(struct bytes a, struct bytes b)
{
    size_t size = a.size < b.size ? a.size : b.size;
    int order = size == 0 ? 0 : memcmp(a.data, b.data, size);
    if (order != 0)
        return order;
    return (a.size > b.size) - (a.size < b.size);
}

static inline bool bytes_equal(struct bytes a, struct bytes b)
{
    return a.size == b.size && bytes_compare(a, b) == 0;
}

#endif
