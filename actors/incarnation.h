/* incarnation.h -- what a node remembers durably of each other member, and what it answers to a
 * hello (model/identity.h has the rules). No actor: whoever serves peer links calls it, the daemon
 * (rpc/peers.c) and the simulator alike.
 *
 * For each hello, in either direction of a stream:
 *   1. incarnation_judge with the member's row and what is known of a link to the incarnation in
 * it;
 *   2. IDENTITY_PROCEED: when *ret_row changed, incarnation_stage it, and use the link when that is
 *      durable; any other action: the answer goes to the one who said hello, no link is used.
 * Who gets the answer RENEW ends its process or host (all that it holds in memory is of an
 * incarnation that is over), starts again and calls boot_renew (boot.h) before boot_node.
 *
 * Row in STORE_META, each written through one handle only (the number of the key is big-endian, so
 * that rows are sorted; those of the value are little-endian):
 *     "peer-identity/" u32 member -> u8 format | u64 epoch bound | identity_hello_encode
 * (format 1: identity_encode, without the ids that it had taken the place of)
 */
#ifndef ACTORS_INCARNATION_H
#define ACTORS_INCARNATION_H

#include "actors/store.h"
#include "model/identity.h"

/* The row of one other member. */
struct incarnation {
    bool known;                  /* false: no row */
    struct identity_hello hello; /* as it said itself */
    /* No incarnation of this member that we have met uses a key epoch at or above it (boot.h). Kept
     * when the identity changes: the greatest ever said. */
    uint64_t epoch_bound;
};

struct incarnation_answer {
    enum identity_verdict verdict;
    enum identity_action action;
    struct identity_hello known; /* for RENEW: what the judge has on record */
    uint64_t epoch_bound;        /* for RENEW: the next incarnation starts there or above */
};

/* A row that is not there leaves `known` false. CORRUPT, IO. */
enum err incarnation_load(struct store *meta, uint32_t member,
                          struct incarnation *ret_row) MUST_USE;
/* Durable with store_staged() as it is behind this call. */
enum err incarnation_stage(struct store *meta, uint32_t member,
                           const struct incarnation *row) MUST_USE;

/* *ret_row is the row from now on when the answer is PROCEED. */
struct incarnation_answer incarnation_judge(const struct incarnation *row,
                                            const struct identity_hello *hello,
                                            uint64_t epoch_bound, enum identity_liveness liveness,
                                            struct incarnation *ret_row);
bool incarnation_equal(const struct incarnation *a, const struct incarnation *b);

#endif
