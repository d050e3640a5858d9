/* Whose turn it is: the ranges of this node, their turns, and what is proven of them. */
#include "actors/anti_entropy_state.h"

#include <stdlib.h>

#define MS_NS        ((uint64_t)1000 * 1000)
#define DOWN_LOOK_NS (1000 * MS_NS)
#define IDLE_LOOK_NS (2000 * MS_NS) /* has the view changed? */
#define MOVE_LOOK_NS (200 * MS_NS)  /* while partitions go over */

/* -- the table of ranges ------------------------------------------------------------------------
 */

static uint32_t range_position(const struct anti_entropy *ae, uint32_t partition, uint32_t member)
{
    uint32_t low = 0;
    uint32_t high = ae->range_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const struct ae_range *range = &ae->ranges[middle];
        if (range->partition < partition ||
            (range->partition == partition && range->member < member))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct ae_range *ae_range_find(struct anti_entropy *ae, uint32_t partition, uint32_t member)
{
    uint32_t at = range_position(ae, partition, member);
    struct ae_range *range = at < ae->range_count ? &ae->ranges[at] : NULL;
    bool found = range != NULL && range->partition == partition && range->member == member;
    return found ? range : NULL;
}

struct ae_range *ae_range_add(struct anti_entropy *ae, uint32_t partition, uint32_t member)
{
    struct ae_range *found = ae_range_find(ae, partition, member);
    if (found != NULL)
        return found;
    uint32_t at = range_position(ae, partition, member);
    if (ae->range_count == ae->range_capacity) {
        ae->range_capacity = ae->range_capacity == 0 ? 64 : 2 * ae->range_capacity;
        ae->ranges = realloc(ae->ranges, ae->range_capacity * sizeof ae->ranges[0]);
        CHECK(ae->ranges != NULL);
    }
    memmove(&ae->ranges[at + 1], &ae->ranges[at], (ae->range_count - at) * sizeof ae->ranges[0]);
    ae->range_count++;
    ae->ranges[at] =
        (struct ae_range){.partition = partition, .member = member, .due_ns = NEVER_NS};
    return &ae->ranges[at];
}

/* -- proofs: written here, read by any thread ---------------------------------------------------
 */

static struct ae_proof *proof_of(const struct anti_entropy *ae, uint32_t partition, uint32_t member)
{
    struct ae_proofs *proofs = atomic_load_explicit(&ae->proofs[partition], memory_order_acquire);
    uint32_t slot = ae_member_slot(ae, member);
    return proofs == NULL || slot == MEMBERS_MAX ? NULL : &proofs->of[slot];
}

static struct ae_proof *proof_make(struct anti_entropy *ae, uint32_t partition, uint32_t member)
{
    if (atomic_load_explicit(&ae->proofs[partition], memory_order_relaxed) == NULL) {
        struct ae_proofs *proofs = calloc(1, sizeof *proofs);
        CHECK(proofs != NULL);
        atomic_store_explicit(&ae->proofs[partition], proofs, memory_order_release);
    }
    struct ae_proof *proof = proof_of(ae, partition, member);
    CHECK(proof != NULL);
    counter_set(&proof->member, member);
    return proof;
}

/* By the number: who asks from another thread has no table of slots. */
static const struct ae_proof *proof_find(const struct anti_entropy *ae, uint32_t partition,
                                         uint32_t member)
{
    struct ae_proofs *proofs = atomic_load_explicit(&ae->proofs[partition], memory_order_acquire);
    for (uint32_t slot = 0; proofs != NULL && slot < MEMBERS_MAX; slot++) {
        if (counter_get(&proofs->of[slot].member) == member)
            return &proofs->of[slot];
    }
    return NULL;
}

static void proof_set_state(struct ae_proof *proof, enum anti_entropy_state state)
{
    atomic_store_explicit(&proof->state, (uint32_t)state + 1, memory_order_relaxed);
}

bool anti_entropy_proof(const struct anti_entropy *ae, uint32_t partition, uint32_t member,
                        struct anti_entropy_proof *ret_proof)
{
    if (partition >= ae->options.partitions || member == MEMBER_NONE)
        return false;
    const struct ae_proof *proof = proof_find(ae, partition, member);
    if (proof == NULL)
        return false;
    uint32_t state = atomic_load_explicit(&proof->state, memory_order_relaxed);
    if (state == 0)
        return false;
    *ret_proof = (struct anti_entropy_proof){
        .state = (enum anti_entropy_state)(state - 1),
        .driven = counter_get(&proof->driven) != 0,
        .identical_as_of_ms = counter_get(&proof->identical_as_of_ms),
        .attempted_ms = counter_get(&proof->attempted_ms),
        .keys_repaired = counter_get(&proof->keys_repaired),
        .bytes_moved = counter_get(&proof->bytes_moved),
    };
    return true;
}

static void count_proofs(struct anti_entropy *ae)
{
    uint64_t oldest_ms = UINT64_MAX;
    uint64_t driven = 0;
    uint64_t proven = 0;
    for (uint32_t i = 0; i < ae->range_count; i++) {
        const struct ae_range *range = &ae->ranges[i];
        if (!range->driven)
            continue;
        driven++;
        uint64_t as_of_ms =
            counter_get(&proof_of(ae, range->partition, range->member)->identical_as_of_ms);
        proven += as_of_ms != 0;
        oldest_ms = as_of_ms < oldest_ms ? as_of_ms : oldest_ms;
    }
    counter_set(&ae->figures.ranges, driven);
    counter_set(&ae->figures.ranges_proven, proven);
    counter_set(&ae->figures.identical_as_of_ms, driven == 0 ? 0 : oldest_ms);
}

/* -- what the view says -------------------------------------------------------------------------
 */

uint64_t ae_replicas(const struct anti_entropy *ae, const struct actor_context *ctx,
                     const struct keyspace *keyspace, uint32_t partition)
{
    struct replica_set set;
    uint64_t members = 0;
    view_replica_set(ctx->view, keyspace, partition, &set);
    for (uint32_t i = 0; i < set.count; i++)
        members |= ae_member_bit(ae, set.replicas[i].member);
    return members;
}

/* Of each partition the members that are replicas in some keyspace, and those that share one with
 * this node. */
static void refresh_partition(struct anti_entropy *ae, struct actor_context *ctx,
                              const struct keyspace *const *keyspaces, uint32_t count,
                              uint32_t partition)
{
    uint64_t self = ae_member_bit(ae, ae->options.self);
    uint64_t peers = 0;
    ae->replicas[partition] = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t members = ae_replicas(ae, ctx, keyspaces[i], partition);
        ae->replicas[partition] |= members;
        if ((members & self) != 0)
            peers |= members & ~self;
    }
    for (uint32_t slot = 0; slot < MEMBERS_MAX; slot++) {
        uint32_t member = ae->slots[slot];
        bool pair = (peers >> slot & 1) != 0;
        if (member == MEMBER_NONE)
            continue;
        struct ae_range *range =
            pair ? ae_range_add(ae, partition, member) : ae_range_find(ae, partition, member);
        if (range == NULL)
            continue;
        bool driven = pair && ae->options.self < member;
        if (driven && !range->driven)
            range->due_ns = ctx->now_ns + prng_below(ctx->prng, ae->options.interval_ns);
        range->pair = pair;
        range->driven = driven;
        struct ae_proof *proof =
            pair ? proof_make(ae, partition, member) : proof_of(ae, partition, member);
        if (pair && atomic_load_explicit(&proof->state, memory_order_relaxed) == 0)
            proof_set_state(proof, ANTI_ENTROPY_WAITING);
        if (proof != NULL)
            counter_set(&proof->driven, driven);
        if (!pair && proof != NULL)
            atomic_store_explicit(&proof->state, 0, memory_order_relaxed);
    }
}

static void ranges_drop_unused(struct anti_entropy *ae, struct actor_context *ctx)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < ae->range_count; i++) {
        struct ae_range *range = &ae->ranges[i];
        const struct member *member = topology_member(&ctx->view->topology, range->member);
        if (range->dirty && (member == NULL || member->status == MEMBER_REMOVED)) {
            counter_add(&ae->figures.dirty_lost, 1);
            ae_dirty_clear(ae, ctx, range);
        }
        if (ae_member_bit(ae, range->member) == 0)
            range->pair = range->driven = false; /* its slot is another's */
        if (range->pair || range->dirty)
            ae->ranges[kept++] = *range;
    }
    ae->range_count = kept;
}

/* Whether a member is there that was down, or was not heard of, or has started again. What was
 * under way when it went may lie on some replicas alone, also on two of which it is none. */
static bool somebody_returned(struct anti_entropy *ae, const struct view *view)
{
    bool returned = false;
    for (uint32_t i = 0; i < view->topology.member_count; i++) {
        uint32_t number = view->topology.members[i].number;
        struct ae_seen *seen = &ae->seen[view->topology.members[i].slot];
        if (number == view->self || view->topology.members[i].status == MEMBER_REMOVED)
            continue;
        if (view->members[i].liveness != LIVENESS_ALIVE) {
            seen->down |= view->members[i].liveness == LIVENESS_DOWN;
            continue;
        }
        returned |= seen->down || seen->generation != view->members[i].generation;
        *seen = (struct ae_seen){.generation = view->members[i].generation};
    }
    return returned;
}

/* Pairs are new, and who has left may have been the only one to know of a copy that lacks
 * something.
 */
static bool change_ended(struct anti_entropy *ae, const struct view *view)
{
    bool before = ae->changing;
    ae->changing = view->topology.change.state == CHANGE_RUNNING;
    return before && !ae->changing;
}

/* All ranges have their turn soon; equal ones cost two small messages. */
static void bring_forward(struct anti_entropy *ae, struct actor_context *ctx)
{
    uint64_t spread_ns = ae->options.return_spread_ns;
    for (uint32_t i = 0; i < ae->range_count; i++) {
        uint64_t soon_ns = ctx->now_ns + prng_below(ctx->prng, spread_ns + 1);
        if (ae->ranges[i].driven && ae->ranges[i].due_ns > soon_ns)
            ae->ranges[i].due_ns = soon_ns;
    }
    counter_add(&ae->figures.brought_forward, 1);
}

static void refresh_ranges(struct anti_entropy *ae, struct actor_context *ctx)
{
    const struct view *view = ctx->view;
    uint64_t digest = keyspace_map_digest(&view->keyspaces);
    if (ae->viewed && digest == ae->keyspaces_digest && view->topology.epoch == ae->topology_epoch)
        return;
    ae->viewed = true;
    ae->keyspaces_digest = digest;
    ae->topology_epoch = view->topology.epoch;
    const struct keyspace *keyspaces[KEYSPACES_MAX];
    uint32_t count = 0;
    for (uint32_t i = 0; i < view->keyspaces.count; i++) {
        const struct keyspace *keyspace = &view->keyspaces.keyspaces[i];
        bool known = keyspace->dropped;
        for (uint32_t j = 0; j < count && !known; j++)
            known = view_keyspaces_alike(view, keyspaces[j], keyspace);
        if (!known)
            keyspaces[count++] = keyspace;
    }
    for (uint32_t partition = 0; partition < ae->options.partitions; partition++)
        refresh_partition(ae, ctx, keyspaces, count, partition);
    ranges_drop_unused(ae, ctx);
    count_proofs(ae);
    ae_gains_refresh(ae, ctx);
    ae_votes_refresh(ae, ctx);
}

static void refresh(struct anti_entropy *ae, struct actor_context *ctx)
{
    const struct view *view = ctx->view;
    if (ae->viewed && view->version == ae->view_version)
        return;
    CHECK_U64(view->topology.partitions, ==, ae->options.partitions);
    ae->view_version = view->version;
    refresh_ranges(ae, ctx);
    bool ended = change_ended(ae, view);
    if (somebody_returned(ae, view) || ended)
        bring_forward(ae, ctx);
}

/* -- who comes next -----------------------------------------------------------------------------
 */

static void look_at(uint64_t *look_ns, uint64_t at_ns)
{
    if (at_ns < *look_ns)
        *look_ns = at_ns;
}

bool ae_schedule_can(const struct anti_entropy *ae, const struct actor_context *ctx,
                     uint32_t partition, uint32_t a, uint32_t b, uint64_t *look_ns)
{
    if (ae_exchange_runs(ae, partition, a, b))
        return false; /* its end wakes the schedule */
    if (ae_reachable(ctx, a) && ae_reachable(ctx, b))
        return true;
    look_at(look_ns, ctx->now_ns + DOWN_LOOK_NS);
    return false;
}

/* The one that has waited longest. */
static bool schedule_next(struct anti_entropy *ae, struct actor_context *ctx,
                          struct ae_exchange_plan *ret_plan, uint64_t *look_ns)
{
    const struct ae_range *best = NULL;
    for (uint32_t i = 0; i < ae->range_count; i++) {
        const struct ae_range *range = &ae->ranges[i];
        if (!range->driven)
            continue;
        uint64_t at_ns = range->due_ns > range->retry_ns ? range->due_ns : range->retry_ns;
        if (at_ns > ctx->now_ns)
            look_at(look_ns, at_ns);
        else if ((best == NULL || range->due_ns < best->due_ns) &&
                 ae_schedule_can(ae, ctx, range->partition, ae->options.self, range->member,
                                 look_ns))
            best = range;
    }
    if (best == NULL)
        return false;
    *ret_plan = (struct ae_exchange_plan){.partition = best->partition,
                                          .members = {ae->options.self, best->member},
                                          .reason = AE_SCHEDULE};
    return true;
}

void ae_schedule_tick(struct anti_entropy *ae, struct actor_context *ctx)
{
    refresh(ae, ctx);
    bool moving = ctx->view->topology.change.state == CHANGE_RUNNING;
    uint64_t look_ns = ctx->now_ns + (moving ? MOVE_LOOK_NS : IDLE_LOOK_NS);
    while (ae->running < ae->options.exchanges_max) {
        struct ae_exchange_plan plan;
        if (!ae_completion_next(ae, ctx, &plan, &look_ns) &&
            !ae_dirty_next(ae, ctx, &plan, &look_ns) && !ae_task_next(ae, ctx, &plan, &look_ns) &&
            !schedule_next(ae, ctx, &plan, &look_ns))
            break;
        CHECK(ae_exchange_begin(ae, ctx, &plan));
    }
    while (ae->fills < ae->options.fills_max) {
        struct ae_exchange_plan plan;
        if (!ae_gain_next(ae, ctx, &plan, &look_ns))
            break;
        CHECK(ae_exchange_begin(ae, ctx, &plan));
    }
    ae->look_ns = look_ns;
}

/* -- begins and ends ----------------------------------------------------------------------------
 */

static struct ae_range *range_of(struct anti_entropy *ae, const struct ae_exchange *exchange)
{
    for (uint32_t side = 0; side < 2; side++) {
        if (exchange->members[side] == ae->options.self)
            return ae_range_find(ae, exchange->partition, exchange->members[1 - side]);
    }
    return NULL;
}

void ae_schedule_begun(struct anti_entropy *ae, struct actor_context *ctx,
                       const struct ae_exchange *exchange)
{
    struct ae_range *range = range_of(ae, exchange);
    (void)ctx;
    if (range == NULL || !range->pair)
        return;
    struct ae_proof *proof = proof_of(ae, range->partition, range->member);
    counter_set(&proof->attempted_ms, exchange->began_ms);
    proof_set_state(proof, ANTI_ENTROPY_RUNNING);
}

/* `whole`: see anti_entropy.h. An exchange of one keyspace says nothing of the others. */
static void prove(struct anti_entropy *ae, struct actor_context *ctx, struct ae_range *range,
                  const struct ae_exchange *exchange, bool whole)
{
    struct ae_proof *proof = proof_of(ae, range->partition, range->member);
    counter_set(&proof->keys_repaired, exchange->keys[0] + exchange->keys[1]);
    counter_set(&proof->bytes_moved, exchange->bytes);
    if (whole && exchange->only_keyspace == 0) {
        counter_set(&proof->identical_as_of_ms, exchange->began_ms);
        uint64_t interval_ns = ae->options.interval_ns;
        range->due_ns =
            ctx->now_ns + interval_ns / 4 * 3 + prng_below(ctx->prng, interval_ns / 4 + 1);
    }
    bool stands = counter_get(&proof->identical_as_of_ms) != 0;
    proof_set_state(proof, !whole   ? ANTI_ENTROPY_FAILED
                           : stands ? ANTI_ENTROPY_IDENTICAL
                                    : ANTI_ENTROPY_WAITING);
    if (whole && exchange->only_keyspace == 0)
        range->retry_ns = range->backoff_ns = 0;
    else if (!whole)
        range->retry_ns = ctx->now_ns + ae_backoff(ae, ctx, &range->backoff_ns);
}

void ae_schedule_ended(struct anti_entropy *ae, struct actor_context *ctx,
                       const struct ae_exchange *exchange, bool whole)
{
    struct ae_range *range = range_of(ae, exchange);
    if (range != NULL && range->pair) {
        prove(ae, ctx, range, exchange, whole);
        count_proofs(ae);
    }
    ae_dirty_ended(ae, ctx, exchange, whole);
    ae_completion_ended(ae, ctx, exchange, whole);
    ae_gain_ended(ae, ctx, exchange, whole);
    ae_task_ended(ae, ctx, exchange, whole);
}
