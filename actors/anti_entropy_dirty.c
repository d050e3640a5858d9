/* Ranges of which a member may lack something that nobody keeps for it any more. A mark is a row in
 * STORE_META until an exchange that began after it has gone through:
 *
 *     "anti-entropy/dirty/" u32 partition | u32 member (big endian) -> u8 format (1)
 *
 * A replica of the range compares its own copy with the member's: it holds what it reported. A node
 * that kept hints without being a replica has the member compared with every other replica, one
 * after the other. */
#include "actors/anti_entropy_state.h"

#define ROW_PREFIX      "anti-entropy/dirty/"
#define ROW_PREFIX_SIZE (sizeof ROW_PREFIX - 1)
#define ROW_BYTES       (ROW_PREFIX_SIZE + 8)
#define FORMAT          1u
#define DIRTY_MAX       8192u

static void row_key(uint32_t partition, uint32_t member, uint8_t ret_key[ROW_BYTES])
{
    memcpy(ret_key, ROW_PREFIX, ROW_PREFIX_SIZE);
    for (uint32_t i = 0; i < 4; i++) {
        ret_key[ROW_PREFIX_SIZE + i] = (uint8_t)(partition >> (24 - 8 * i));
        ret_key[ROW_PREFIX_SIZE + 4 + i] = (uint8_t)(member >> (24 - 8 * i));
    }
}

static uint32_t number_at(const uint8_t *data)
{
    return (uint32_t)data[0] << 24 | (uint32_t)data[1] << 16 | (uint32_t)data[2] << 8 | data[3];
}

/* A mark while its range is being compared counts for the next time. */
static void mark(struct anti_entropy *ae, struct ae_range *range)
{
    if (!range->dirty)
        counter_add(&ae->figures.dirty, 1);
    range->dirty = true;
    range->dirty_serial = ++ae->serial;
    range->dirty_done = 0;
}

static bool load_visit(void *closure, struct bytes key, struct bytes value)
{
    struct anti_entropy *ae = closure;
    uint32_t partition = key.size == ROW_BYTES ? number_at(key.data + ROW_PREFIX_SIZE) : UINT32_MAX;
    uint32_t member = key.size == ROW_BYTES ? number_at(key.data + ROW_PREFIX_SIZE + 4) : 0;
    (void)value; /* whatever it says: the row is the mark */
    if (partition >= ae->options.partitions || member == MEMBER_NONE) {
        counter_add(&ae->figures.corrupt, 1);
        return true;
    }
    mark(ae, ae_range_add(ae, partition, member));
    return true;
}

enum err ae_dirty_load(struct anti_entropy *ae, struct actor_context *ctx)
{
    return store_scan(ctx->store, STORE_META, bytes_of_string(ROW_PREFIX),
                      bytes_of_string("anti-entropy/dirty0"), load_visit, ae);
}

void ae_dirty_mark(struct anti_entropy *ae, struct actor_context *ctx,
                   const struct range_dirty *dirty)
{
    static const uint8_t format[1] = {FORMAT};
    const struct member *member = topology_member(&ctx->view->topology, dirty->member);
    uint8_t key[ROW_BYTES];
    if (dirty->partition >= ae->options.partitions || member == NULL ||
        member->status == MEMBER_REMOVED || counter_get(&ae->figures.dirty) >= DIRTY_MAX) {
        counter_add(&ae->figures.dirty_lost, 1);
        return;
    }
    counter_add(&ae->figures.dirty_marked, 1);
    struct ae_range *range = ae_range_add(ae, dirty->partition, dirty->member);
    bool known = range->dirty;
    mark(ae, range);
    row_key(range->partition, range->member, key);
    if (!known && store_put(ctx->store, STORE_META, bytes_of(key, sizeof key),
                            bytes_of(format, sizeof format), STORE_SYNC_NOW) != OK)
        counter_add(&ae->figures.store_errors, 1); /* it stands in memory, and the schedule stays */
    ae->look_ns = ctx->now_ns;
}

void ae_dirty_clear(struct anti_entropy *ae, struct actor_context *ctx, struct ae_range *range)
{
    uint8_t key[ROW_BYTES];
    row_key(range->partition, range->member, key);
    if (store_delete(ctx->store, STORE_META, bytes_of(key, sizeof key), STORE_SYNC_LATER) != OK)
        counter_add(&ae->figures.store_errors, 1); /* found again, and cleared, after a start */
    range->dirty = false;
    counter_add(&ae->figures.dirty, (uint64_t)-1);
}

/* Those that the member has to be compared with. */
static uint64_t needed(const struct anti_entropy *ae, const struct ae_range *range)
{
    uint64_t self = ae_member_bit(ae, ae->options.self);
    uint64_t others =
        ae->replicas[range->partition] & ~ae_member_bit(ae, range->member) & ~ae->gone;
    return range->pair ? self : others;
}

/* The next exchange that this dirty range needs. */
static bool range_next(struct anti_entropy *ae, struct actor_context *ctx, struct ae_range *range,
                       struct ae_exchange_plan *ret_plan, uint64_t *look_ns)
{
    bool filling = range->pair && ae_completion_fills(ae, range->partition);
    if (!range->dirty || filling)
        return false;
    if (ae->viewed && (ae->replicas[range->partition] & ae_member_bit(ae, range->member)) == 0) {
        ae_dirty_clear(ae, ctx, range); /* it is no replica any more: it lacks nothing */
        return false;
    }
    uint64_t left = needed(ae, range) & ~range->dirty_done;
    if (left == 0) {
        ae_dirty_clear(ae, ctx, range);
        return false;
    }
    if (range->retry_ns > ctx->now_ns) {
        *look_ns = range->retry_ns < *look_ns ? range->retry_ns : *look_ns;
        return false;
    }
    for (uint32_t slot = 0; slot < MEMBERS_MAX; slot++) {
        uint32_t other = ae->slots[slot];
        if ((left >> slot & 1) == 0 ||
            !ae_schedule_can(ae, ctx, range->partition, other, range->member, look_ns))
            continue;
        *ret_plan = (struct ae_exchange_plan){
            .partition = range->partition, .members = {other, range->member}, .reason = AE_DIRTY};
        return true;
    }
    return false;
}

/* Whether this node goes through the ranges of that member from the last one down. The other
 * replicas of a member that is back have marked the same ranges: every second begins at the other
 * end, so that they meet in the middle and do not both hand over the same records. */
static bool goes_down(const struct anti_entropy *ae, const struct ae_range *range)
{
    uint64_t below = ae_member_bit(ae, ae->options.self) - 1;
    uint64_t others = ae->replicas[range->partition] & ~ae_member_bit(ae, range->member);
    return __builtin_popcountll(others & below) % 2 == 1;
}

bool ae_dirty_next(struct anti_entropy *ae, struct actor_context *ctx,
                   struct ae_exchange_plan *ret_plan, uint64_t *look_ns)
{
    if (counter_get(&ae->figures.dirty) == 0)
        return false;
    for (uint32_t i = 0; i < ae->range_count; i++) {
        if (!goes_down(ae, &ae->ranges[i]) &&
            range_next(ae, ctx, &ae->ranges[i], ret_plan, look_ns))
            return true;
    }
    for (uint32_t i = ae->range_count; i-- > 0;) {
        if (goes_down(ae, &ae->ranges[i]) && range_next(ae, ctx, &ae->ranges[i], ret_plan, look_ns))
            return true;
    }
    return false;
}

void ae_dirty_ended(struct anti_entropy *ae, struct actor_context *ctx,
                    const struct ae_exchange *exchange, bool whole)
{
    for (uint32_t side = 0; side < 2; side++) {
        uint32_t other = exchange->members[1 - side];
        struct ae_range *range = ae_range_find(ae, exchange->partition, exchange->members[side]);
        if (range == NULL || !range->dirty || exchange->only_keyspace != 0)
            continue;
        /* What this node reported it may have lost itself meanwhile. */
        bool holds = other != ae->options.self || exchange->self_was_complete;
        if (whole && holds && exchange->serial > range->dirty_serial)
            range->dirty_done |= ae_member_bit(ae, other);
        else if (exchange->reason == AE_DIRTY && !range->pair)
            range->retry_ns = ctx->now_ns + ae_backoff(ae, ctx, &range->backoff_ns);
        if ((needed(ae, range) & ~range->dirty_done) == 0)
            ae_dirty_clear(ae, ctx, range);
    }
}
