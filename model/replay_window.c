#include "model/replay_window.h"

#include <string.h>

bool replay_window_accept(struct replay_window *window, uint64_t serial)
{
    uint64_t slot = serial % REPLAY_WINDOW;
    uint64_t bit = (uint64_t)1 << slot % 64;
    if (serial > window->highest) {
        if (serial - window->highest >= REPLAY_WINDOW)
            memset(window->seen, 0, sizeof window->seen);
        else
            for (uint64_t passed = window->highest + 1; passed < serial; passed++)
                window->seen[passed % REPLAY_WINDOW / 64] &=
                    ~((uint64_t)1 << passed % REPLAY_WINDOW % 64);
        window->highest = serial;
        window->seen[slot / 64] |= bit;
        return true;
    }
    if (window->highest - serial >= REPLAY_WINDOW || (window->seen[slot / 64] & bit) != 0)
        return false;
    window->seen[slot / 64] |= bit;
    return true;
}
