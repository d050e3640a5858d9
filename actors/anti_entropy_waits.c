/* For whom and for what copies of this member wait (model/wait.h): those that a change gives it,
 * and those that were emptied and do not vote in registers. Said to whoever asks; nothing is
 * decided by it. */
#include "actors/anti_entropy_state.h"

#define STUCK_NS ((uint64_t)3000 * 1000 * 1000) /* keys that are not settled for that long */

static void add_members(const struct anti_entropy *ae, struct waits *waits, struct wait wait,
                        uint64_t members)
{
    for (uint32_t slot = 0; slot < MEMBERS_MAX; slot++) {
        wait.member = ae->slots[slot];
        if ((members >> slot & 1) != 0)
            waits_add(waits, &wait);
    }
}

/* Of these, those that no question can be sent to. */
static uint64_t unreachable(const struct anti_entropy *ae, const struct actor_context *ctx,
                            uint64_t members)
{
    for (uint32_t slot = 0; slot < MEMBERS_MAX; slot++) {
        if ((members >> slot & 1) != 0 && ae_reachable(ctx, ae->slots[slot]))
            members &= ~((uint64_t)1 << slot);
    }
    return members;
}

/* All replicas on both sides but this member and those that are gone, by slot. */
static uint64_t other_replicas(const struct anti_entropy *ae, const struct actor_context *ctx,
                               const struct keyspace *keyspace, uint32_t partition)
{
    return ae_replicas(ae, ctx, keyspace, partition) & ~ae->gone &
           ~ae_member_bit(ae, ae->options.self);
}

/* -- what a change gives ------------------------------------------------------------------------
 */

static void register_waits(const struct anti_entropy *ae, const struct actor_context *ctx,
                           const struct ae_gain *gain, const struct keyspace *keyspace,
                           struct wait wait, struct waits *waits)
{
    uint64_t emptied;
    uint64_t lacks = ae_settle_lacks(ae, ctx, gain, &emptied);
    if (lacks != 0) {
        wait.cause = WAIT_MAJORITY;
        add_members(ae, waits, wait, lacks);
    } else if (gain->settle != NULL && ctx->now_ns >= ae_settle_advanced_ns(gain) + STUCK_NS) {
        wait.cause = WAIT_DECISION;
        uint64_t away = unreachable(ae, ctx, other_replicas(ae, ctx, keyspace, gain->partition));
        add_members(ae, waits, wait, away);
        if (away == 0)
            waits_add(waits, &wait);
    }
}

static void gain_waits(const struct anti_entropy *ae, const struct actor_context *ctx,
                       const struct ae_gain *gain, struct waits *waits)
{
    const struct keyspace *keyspace =
        keyspace_map_find_id(&ctx->view->keyspaces, gain->keyspace_id);
    struct wait wait = {.keyspace_id = gain->keyspace_id,
                        .partition = gain->partition,
                        .count = 1,
                        .since_ms = gain->since_ms};
    if (gain->filled || keyspace == NULL)
        return;
    if (keyspace->mode == KEYSPACE_CONSISTENT && gain->phase == AE_GAIN_FILL) {
        register_waits(ae, ctx, gain, keyspace, wait, waits);
        return;
    }
    uint64_t left = ae_gain_sources(ae, ctx, gain) & ~gain->done;
    uint64_t away = unreachable(ae, ctx, left);
    wait.cause = WAIT_SOURCE;
    add_members(ae, waits, wait, away);
    wait.cause = WAIT_COPY;
    add_members(ae, waits, wait, left & ~away & gain->incomplete);
    wait.cause = WAIT_EXCHANGE;
    wait.why = gain->why;
    add_members(ae, waits, wait, left & ~away & ~gain->incomplete & gain->failed);
}

/* -- copies that were emptied -------------------------------------------------------------------
 */

static void vote_waits(const struct anti_entropy *ae, const struct actor_context *ctx,
                       const struct ae_gain *vote, struct waits *waits)
{
    const struct keyspace *keyspace =
        keyspace_map_find_id(&ctx->view->keyspaces, vote->keyspace_id);
    struct wait wait = {.keyspace_id = vote->keyspace_id,
                        .partition = vote->partition,
                        .count = 1,
                        .since_ms = vote->since_ms};
    if (vote->filled || keyspace == NULL)
        return;
    if (ctx->view->topology.change.state == CHANGE_RUNNING) {
        wait.cause = WAIT_VOTES_CHANGE;
        waits_add(waits, &wait);
        return;
    }
    if (vote->phase != AE_GAIN_FILL) {
        wait.cause = WAIT_VOTES_EPOCH;
        waits_add(waits, &wait);
        return;
    }
    /* All others are needed, so one that is away is known before it is late. */
    uint64_t away = unreachable(ae, ctx, other_replicas(ae, ctx, keyspace, vote->partition));
    uint64_t lacks = (vote->lacks & ~vote->emptied) | away;
    wait.cause = WAIT_VOTES_OTHER;
    add_members(ae, waits, wait, lacks);
    wait.cause = WAIT_VOTES_EMPTIED;
    add_members(ae, waits, wait, vote->emptied & ~lacks);
    if ((lacks | vote->emptied) == 0) {
        wait.cause = WAIT_VOTES_SETTLE;
        waits_add(waits, &wait);
    }
}

/* -- copies that the store cannot read in part --------------------------------------------------
 */

static void give_waits(const struct anti_entropy *ae, const struct actor_context *ctx,
                       uint32_t partition, struct waits *waits)
{
    const struct ae_completion *completion = &ae->completions[partition];
    for (uint32_t i = 0; i < ctx->view->keyspaces.count; i++) {
        const struct keyspace *keyspace = &ctx->view->keyspaces.keyspaces[i];
        struct wait wait = {.cause = WAIT_UNREADABLE,
                            .keyspace_id = keyspace->id,
                            .partition = partition,
                            .count = 1,
                            .since_ms = completion->since_ms};
        if (keyspace->dropped ||
            view_role(ctx->view, keyspace, partition, ae->options.self) != ROLE_READER ||
            !ae_give_waits(ae, ctx, partition, keyspace))
            continue;
        uint64_t others = other_replicas(ae, ctx, keyspace, partition) & ~completion->done;
        add_members(ae, waits, wait, others);
        if (others == 0)
            waits_add(waits, &wait);
    }
}

void ae_waits(const struct anti_entropy *ae, const struct actor_context *ctx, struct waits *waits)
{
    if (!ae->viewed || ae->topology_epoch != ctx->view->topology.epoch)
        return; /* slots are those of another view */
    for (uint32_t i = 0; i < ae->gains.count; i++)
        gain_waits(ae, ctx, &ae->gains.list[i], waits);
    for (uint32_t i = 0; i < ae->options.partitions; i++) {
        if (ae_completion_gives(ae, i))
            give_waits(ae, ctx, i, waits);
    }
    for (uint32_t i = 0; i < ae->vote_count; i++)
        vote_waits(ae, ctx, &ae->votes[i], waits);
}

void ae_waits_of_vote(const struct anti_entropy *ae, const struct actor_context *ctx,
                      uint32_t partition, uint32_t keyspace_id, struct waits *waits)
{
    for (uint32_t i = 0; i < ae->vote_count; i++) {
        const struct ae_gain *vote = &ae->votes[i];
        if (vote->partition == partition && vote->keyspace_id == keyspace_id)
            vote_waits(ae, ctx, vote, waits);
    }
}
