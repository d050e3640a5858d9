/* epoch_lease.h -- the key epochs that one shard may use: leased to disk before they are drawn, so
 * that no start uses what an earlier one has used (boot.h).
 *
 * Owns:    the rows "epoch-lease/<shard>" of STORE_META: every epoch below may have been used.
 * Source:  DESIGN.md 5.
 */
#ifndef ACTORS_EPOCH_LEASE_H
#define ACTORS_EPOCH_LEASE_H

#include "actors/store.h"

struct boot;

struct epoch_lease {
    uint64_t next;
    uint64_t step;
    uint32_t size;           /* epochs that one lease covers */
    uint64_t limit;          /* durable: epochs below may be used */
    uint64_t bound;          /* no lease goes beyond: OVERLOADED then, until the next start */
    uint64_t limit_staged;   /* asked for, not durable yet; 0 = none */
    uint64_t limit_sequence; /* of the store handle */
    uint32_t shard;
};

void epoch_lease_init(struct epoch_lease *lease, const struct boot *boot, uint32_t shard,
                      uint32_t shards);
/* A fresh epoch. OVERLOADED when the lease is used up and the next one is not durable yet. Asks for
 * the next lease at 80 %. */
enum err epoch_lease_draw(struct epoch_lease *lease, struct store *store,
                          uint64_t *ret_epoch) MUST_USE;
/* On store_committed. */
void epoch_lease_committed(struct epoch_lease *lease, uint64_t sequence);

/* Above every epoch that any start of this directory can have used; 0: none has. */
enum err epoch_lease_read_limit(struct store *meta, uint64_t *ret_limit) MUST_USE;
/* Staged: durable with the next sync. */
enum err epoch_lease_write_limit(struct store *meta, uint32_t shard, uint64_t limit) MUST_USE;

#endif
