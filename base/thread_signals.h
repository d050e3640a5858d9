/* thread_signals.h -- threads inherit the mask of their maker: signals belong to the main thread
 * alone, so all are blocked while others are made. For hosts only (store, runtime, rpc): actors
 * know of no threads. */
#ifndef BASE_THREAD_SIGNALS_H
#define BASE_THREAD_SIGNALS_H

#include "base/check.h"

#include <signal.h>

/* The mask before, for thread_signals_restore. */
static inline sigset_t thread_signals_block(void)
{
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    CHECK(pthread_sigmask(SIG_SETMASK, &all, &before) == 0);
    return before;
}

static inline void thread_signals_restore(sigset_t before)
{
    CHECK(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
}

#endif
