/* hlc.h -- hybrid logical clock: wall time that never goes back and orders causally related events.
 *
 * A timestamp is 64 bits: milliseconds since 1970 << 16 | logical counter.
 * Source: Kulkarni, Demirbas, Madappa, Avva, Leone: Logical Physical Clocks (OPODIS 2014),
 * figure 5.
 */
#ifndef MODEL_HLC_H
#define MODEL_HLC_H

#include "base/err.h"

#include <stdint.h>

struct hlc {
    uint64_t last;
    uint64_t ahead_max_ms; /* refuse remote timestamps further ahead of the wall clock than this */
};

#define HLC_AHEAD_MAX_DEFAULT_MS 60000u

void hlc_init(struct hlc *hlc, uint64_t ahead_max_ms);
/* A timestamp greater than all given or seen before. */
uint64_t hlc_now(struct hlc *hlc, uint64_t wall_ms);
/* Takes in a remote timestamp. LIMIT when it is too far ahead; then nothing changes. */
enum err hlc_observe(struct hlc *hlc, uint64_t remote, uint64_t wall_ms) MUST_USE;
uint64_t hlc_wall_ms(uint64_t timestamp);

#endif
