/* replay_window.h -- tells a message that comes a second time, by its sender's ascending serials.
 *
 * Exact within the last REPLAY_WINDOW serials; what is older is refused as well, since nobody can
 * tell. Source: RFC 4303 (IPsec ESP) 3.4.3, anti-replay; blocks of bits as in RFC 6479.
 */
#ifndef MODEL_REPLAY_WINDOW_H
#define MODEL_REPLAY_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

#define REPLAY_WINDOW 4096u

/* Zeroed: nothing seen. Serials start at 1. */
struct replay_window {
    uint64_t highest;
    uint64_t seen[REPLAY_WINDOW / 64]; /* bit serial mod REPLAY_WINDOW */
};

/* True for a serial that is new; it counts as seen from then on. */
bool replay_window_accept(struct replay_window *window, uint64_t serial);

#endif
