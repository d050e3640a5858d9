/* Scans that go past what the store cannot read (replica_state.h). */
#include "actors/replica_state.h"

/* The part that is looked for next, of a partition's hashes: at most a few rows. */
#define STEP_BITS 16u
/* After so many steps they become twice as long, so that no hole takes more than some 1,200 reads:
 * what can be read between two holes that are nearer than that is passed over with them. */
#define STEPS_EACH 128u

struct sight {
    store_visit visit;
    void *closure;
    uint64_t hash; /* of the last row */
};

static uint64_t hash_of(struct bytes key)
{
    uint64_t hash = 0;
    for (size_t i = 0; i < 8; i++)
        hash = hash << 8 | (i < key.size ? key.data[i] : 0);
    return hash;
}

static struct bytes key_of(uint64_t hash, uint8_t memory[8])
{
    for (size_t i = 0; i < 8; i++)
        memory[i] = (uint8_t)(hash >> (56 - 8 * i));
    return bytes_of(memory, 8);
}

static bool sight_row(void *closure, struct bytes key, struct bytes value)
{
    struct sight *sight = closure;
    sight->hash = hash_of(key);
    return sight->visit(sight->closure, key, value);
}

static bool first_row(void *closure, struct bytes key, struct bytes value)
{
    (void)closure;
    (void)key;
    (void)value;
    return false;
}

static bool is_hole(struct store *store, uint32_t partition, uint64_t hash, struct bytes to)
{
    uint8_t memory[8];
    return store_scan(store, partition, key_of(hash, memory), to, first_row, NULL) == ERR_CORRUPT;
}

/* The first hash behind `hash` from which on rows can be read; `end`: there is none before it. */
static uint64_t hole_end(struct store *store, uint32_t partition, uint64_t hash, uint64_t end,
                         uint64_t step, struct bytes to)
{
    uint64_t bad = hash;
    uint64_t good = hash;
    for (uint32_t steps = 1; good < end; steps++) {
        good = end - good > step ? good + step : end;
        if (good == end || !is_hole(store, partition, good, to))
            break;
        bad = good;
        step = steps % STEPS_EACH == 0 && step < end ? 2 * step : step;
    }
    while (good - bad > 1) {
        uint64_t middle = bad + (good - bad) / 2;
        if (is_hole(store, partition, middle, to))
            bad = middle;
        else
            good = middle;
    }
    return good;
}

enum err replica_scan(struct replica *replica, struct actor_context *ctx, uint32_t partition,
                      struct bytes from, struct bytes to, store_visit visit, void *closure,
                      bool *ret_hole)
{
    struct merkle_range all = merkle_range(partition, replica->vnodes.partitions, 0, 0);
    uint64_t first = from.size == 0 ? all.first : hash_of(from);
    uint64_t end = to.size == 0 ? all.last : hash_of(to);
    struct sight sight = {.visit = visit, .closure = closure, .hash = first};
    uint8_t memory[8];
    *ret_hole = false;
    for (;;) {
        enum err err = store_scan(ctx->store, partition, from, to, sight_row, &sight);
        if (err != ERR_CORRUPT)
            return err;
        *ret_hole = true;
        replica_vnode_unreadable(replica, ctx, vnode_of(&replica->vnodes, partition));
        uint64_t next = sight.hash >= end ? end
                                          : hole_end(ctx->store, partition, sight.hash, end,
                                                     (all.last - all.first) >> STEP_BITS, to);
        if (next == end)
            return OK;
        sight.hash = next;
        from = key_of(next, memory);
    }
}
