#include "actors/epoch_lease.h"

#include "actors/boot.h"
#include "base/codec.h"
#include "base/mutation.h"

#include <inttypes.h>
#include <stdio.h>

#define META_LEASE "epoch-lease/"

/* -- the rows
 * ------------------------------------------------------------------------------------------- */

struct lease_scan {
    uint64_t limit_max;
    bool corrupt;
};

static bool lease_visit(void *closure, struct bytes key, struct bytes value)
{
    (void)key;
    struct lease_scan *scan = closure;
    struct reader reader = reader_of(value);
    uint64_t limit = reader_u64(&reader);
    scan->corrupt |= !reader_done(&reader);
    if (limit > scan->limit_max)
        scan->limit_max = limit;
    return true;
}

enum err epoch_lease_read_limit(struct store *meta, uint64_t *ret_limit)
{
    struct lease_scan scan = {0};
    /* '0' follows '/': all names that start with the prefix. */
    enum err err = store_scan(meta, STORE_META, bytes_of_string(META_LEASE),
                              bytes_of_string("epoch-lease0"), lease_visit, &scan);
    if (err == OK && scan.corrupt)
        err = ERR_CORRUPT;
    if (err == OK)
        *ret_limit = scan.limit_max;
    return err;
}

enum err epoch_lease_write_limit(struct store *meta, uint32_t shard, uint64_t limit)
{
    char name[32];
    uint8_t memory[64];
    struct arena arena;
    struct writer writer;
    snprintf(name, sizeof name, META_LEASE "%" PRIu32, shard);
    arena_init(&arena, memory, sizeof memory);
    writer_init(&writer, &arena, 8);
    writer_u64(&writer, limit);
    return store_put(meta, STORE_META, bytes_of_string(name), writer_result(&writer),
                     STORE_SYNC_NOW);
}

/* -- one shard
 * ------------------------------------------------------------------------------------------- */

void epoch_lease_init(struct epoch_lease *lease, const struct boot *boot, uint32_t shard,
                      uint32_t shards)
{
    CHECK_U64(shard, <, shards);
    *lease = (struct epoch_lease){
        .next = boot->epoch_start + shard,
        .step = shards,
        .size = boot->epoch_lease,
        .limit = boot->epoch_limit,
        .bound = boot->epoch_bound,
        .shard = shard,
    };
}

static void epoch_lease_renew(struct epoch_lease *lease, struct store *store)
{
    uint64_t limit = lease->limit + (uint64_t)lease->size * lease->step;
    if (limit > lease->bound)
        return; /* no new keys until the next start, which goes on above */
    if (epoch_lease_write_limit(store, lease->shard, limit) != OK)
        return; /* asked for again at the next draw */
    lease->limit_staged = limit;
    lease->limit_sequence = store_staged(store);
    if (MUTATE(EPOCH_LEASE_NOT_DURABLE))
        epoch_lease_committed(lease, lease->limit_sequence);
}

enum err epoch_lease_draw(struct epoch_lease *lease, struct store *store, uint64_t *ret_epoch)
{
    uint64_t left = lease->next >= lease->limit ? 0 : (lease->limit - lease->next) / lease->step;
    if (left <= lease->size / 5 && lease->limit_staged == 0)
        epoch_lease_renew(lease, store);
    uint64_t limit = lease->limit;
    if (MUTATE(EPOCH_LEASE_OFF_BY_ONE))
        limit += lease->step;
    if (lease->next >= limit)
        return ERR_OVERLOADED;
    *ret_epoch = lease->next;
    lease->next += lease->step;
    return OK;
}

void epoch_lease_committed(struct epoch_lease *lease, uint64_t sequence)
{
    if (lease->limit_staged != 0 && sequence >= lease->limit_sequence) {
        lease->limit = lease->limit_staged;
        lease->limit_staged = 0;
    }
}
