/* effort.h -- how much of its work a test does that plays many lives, tries many cases or explores
 * many states.
 *
 * COTERIE_EFFORT is in per cent of what CI plays: 100 when it is not set, 5 in `tests/run --quick`,
 * 1000 or more before a release. Under a sanitizer the same work takes five to ten times as long
 * and is there to find bad memory, not rare cases: a fifth of it. Seeds are the same whatever the
 * effort, so a part plays the first ones.
 */
#ifndef TESTS_EFFORT_H
#define TESTS_EFFORT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

static inline uint64_t effort_per_cent(void)
{
    const char *text = getenv("COTERIE_EFFORT");
    uint64_t per_cent = text == NULL ? 100 : strtoull(text, NULL, 10);
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    per_cent /= 5;
#endif
    return per_cent == 0 ? 1 : per_cent;
}

/* How many of `full` lives or rounds; one at least. */
static inline uint32_t effort(uint32_t full)
{
    uint64_t count = full * effort_per_cent() / 100;
    return count == 0 ? 1 : (uint32_t)count;
}

/* Every how manyth of the cases, where CI takes every `full`th. */
static inline uint32_t effort_stride(uint32_t full)
{
    uint64_t stride = full * UINT64_C(100) / effort_per_cent();
    return stride == 0 ? 1 : (uint32_t)stride;
}

/* What cannot be done in part: spaces of millions of states. */
static inline bool effort_is_full(void)
{
    return effort_per_cent() >= 100;
}

#endif
