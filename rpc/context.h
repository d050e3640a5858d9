/* context.h -- contexts as clients see them: opaque, authenticated bytes around an encoded clock.
 *
 *     token = u8 format, clock_encode's bytes, 16 bytes MAC
 *
 * The MAC covers format, keyspace, key and clock under keys that all nodes of a cluster derive
 * alike, so any node takes what any other gave, and for nothing but the key that it was given for.
 * Clients keep tokens and hand them back; nothing else may be relied upon. Between nodes contexts
 * are bare clock bytes: the edge that the client talks to opens and seals.
 *
 * Threads: no state; any thread.
 * Source:  SipHash-2-4 with 128 bits out, a pseudorandom function for short inputs (Aumasson,
 *          Bernstein, INDOCRYPT 2012), from libsodium; keys by BLAKE2b.
 */
#ifndef RPC_CONTEXT_H
#define RPC_CONTEXT_H

#include "base/arena.h"
#include "base/err.h"
#include "model/version.h"

#define CONTEXT_MAC_BYTES 16u

struct context_keys {
    uint8_t name[16];  /* for keys' names */
    uint8_t token[16]; /* for tokens */
    uint64_t mark;     /* says nothing of the keys but which they are: for logs and peers; not 0 */
};

/* Which key of which keyspace a context is for. */
struct context_scope {
    uint32_t keyspace_id;
    uint8_t name[16]; /* of the key: keyed, so clients cannot make two keys with one name */
};

/* `secret` may be empty: then the keys follow from the cluster id, which is no secret. */
void context_keys_derive(const uint8_t cluster_id[16], struct bytes secret,
                         struct context_keys *ret_keys);
struct context_scope context_scope_of(const struct context_keys *keys, uint32_t keyspace_id,
                                      struct bytes key);
/* The token, in `arena`. */
struct bytes context_of_clock(struct arena *arena, const struct context_keys *keys,
                              const struct context_scope *scope, const struct clock *clock);
/* `clock` as clock_encode wrote it; empty gives empty. */
struct bytes context_of_clock_bytes(struct arena *arena, const struct context_keys *keys,
                                    const struct context_scope *scope, struct bytes clock);
/* Hostile input. LIMIT: over CONTEXT_BYTES_MAX. CORRUPT: not one that this cluster has given for
 * this scope. The clock's bytes are borrowed from the context; `scratch` takes what checking
 * needs, about twice the context. */
enum err context_open(struct arena *scratch, const struct context_keys *keys,
                      const struct context_scope *scope, struct bytes context,
                      struct bytes *ret_clock) MUST_USE;

#endif
