#include "actors/replica_state.h"

#include "base/mutation.h"

uint64_t replica_epoch_floor(struct replica *replica, uint32_t partition)
{
    uint64_t floor = vnode_of(&replica->vnodes, partition)->epoch_floor;
    return floor > replica->epoch_floor ? floor : replica->epoch_floor;
}

bool replica_ahead_of_memory(const struct replica *replica, const struct clock *clock,
                             const struct clock *memory)
{
    uint32_t self = replica->options.self;
    uint64_t epoch = clock_last_epoch(clock, self);
    uint64_t epoch_remembered = clock_last_epoch(memory, self);
    if (epoch != epoch_remembered)
        return epoch > epoch_remembered;
    return epoch != 0 &&
           clock_last_counter(clock, self, epoch) > clock_last_counter(memory, self, epoch);
}

enum err replica_draw_epoch(struct replica *replica, struct actor_context *ctx,
                            const struct clock *a, const struct clock *b, uint64_t *ret_epoch)
{
    uint32_t self = replica->options.self;
    uint64_t epoch = 0;
    do {
        enum err err = epoch_lease_draw(&replica->lease, ctx->store, &epoch);
        if (err != OK)
            return err;
        counter_add(&replica->figures.epochs_drawn, 1);
    } while (clock_find(a, self, epoch) != NULL || clock_find(b, self, epoch) != NULL);
    *ret_epoch = epoch;
    return OK;
}

enum err replica_choose_epoch(struct replica *replica, struct actor_context *ctx,
                              uint32_t partition, const struct version_set *set,
                              const struct clock *context, uint64_t *ret_epoch)
{
    uint64_t epoch = clock_last_epoch(&set->clock, replica->options.self);
    if (MUTATE(ONE_EPOCH_FOR_ALL)) {
        *ret_epoch = 1;
        return OK;
    }
    bool amnesia = context != NULL && replica_ahead_of_memory(replica, context, &set->clock);
    if (amnesia)
        counter_add(&replica->figures.amnesia, 1);
    if (MUTATE(AMNESIA_IGNORED_IN_A_PUT))
        amnesia = false;
    if (epoch != 0 && epoch >= replica_epoch_floor(replica, partition) &&
        epoch < replica->lease.next && !amnesia) {
        *ret_epoch = epoch;
        return OK;
    }
    return replica_draw_epoch(replica, ctx, &set->clock, context == NULL ? &set->clock : context,
                              ret_epoch);
}
