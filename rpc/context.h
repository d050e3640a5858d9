/* context.h -- contexts as clients see them: opaque bytes around an encoded clock.
 *
 * One format byte, then clock_encode's bytes. Clients keep them and hand them back; nothing else
 * may be relied upon.
 */
#ifndef RPC_CONTEXT_H
#define RPC_CONTEXT_H

#include "base/arena.h"
#include "base/err.h"
#include "model/version.h"

struct bytes context_of_clock(struct arena *arena, const struct clock *clock);
/* `clock` as clock_encode wrote it; empty gives empty. */
struct bytes context_of_clock_bytes(struct arena *arena, struct bytes clock);
/* Hostile input. LIMIT: over CONTEXT_BYTES_MAX. CORRUPT: not one of ours. The clock's bytes are
 * borrowed from the context; `scratch` takes what checking them needs. */
enum err context_open(struct arena *scratch, struct bytes context,
                      struct bytes *ret_clock) MUST_USE;

#endif
