#include "model/hlc.h"

#define COUNTER_BITS 16
#define WALL_MS_MAX  ((1ull << (64 - COUNTER_BITS)) - 1)

void hlc_init(struct hlc *hlc, uint64_t ahead_max_ms)
{
    *hlc = (struct hlc){.ahead_max_ms = ahead_max_ms};
}

uint64_t hlc_now(struct hlc *hlc, uint64_t wall_ms)
{
    CHECK_U64(wall_ms, <=, WALL_MS_MAX);
    CHECK_U64(hlc->last, <, UINT64_MAX);
    uint64_t wall = wall_ms << COUNTER_BITS;
    /* A counter that runs over borrows from the milliseconds to come: still greater than all
     * before. */
    hlc->last = wall > hlc->last ? wall : hlc->last + 1;
    return hlc->last;
}

enum err hlc_observe(struct hlc *hlc, uint64_t remote, uint64_t wall_ms)
{
    uint64_t remote_ms = hlc_wall_ms(remote);
    if (remote == UINT64_MAX || (remote_ms > wall_ms && remote_ms - wall_ms > hlc->ahead_max_ms))
        return ERR_LIMIT;
    if (remote > hlc->last)
        hlc->last = remote;
    return OK;
}

uint64_t hlc_wall_ms(uint64_t timestamp)
{
    return timestamp >> COUNTER_BITS;
}
