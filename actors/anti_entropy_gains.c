/* Which copies a change of the topology gives this member, and which it compares: the table of
 * them, and what a new view makes of it. anti_entropy_gain.c fills them. */
#include "actors/anti_entropy_state.h"

#include <stdlib.h>

/* -- the table
 * -------------------------------------------------------------------------------------- */

static uint32_t position(const struct ae_gains *gains, uint32_t partition, uint32_t keyspace_id)
{
    uint32_t low = 0;
    uint32_t high = gains->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const struct ae_gain *gain = &gains->list[middle];
        if (gain->partition < partition ||
            (gain->partition == partition && gain->keyspace_id < keyspace_id))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct ae_gain *ae_gain_find(const struct anti_entropy *ae, uint32_t partition,
                             uint32_t keyspace_id)
{
    uint32_t at = position(&ae->gains, partition, keyspace_id);
    struct ae_gain *gain = at < ae->gains.count ? &ae->gains.list[at] : NULL;
    bool found = gain != NULL && gain->partition == partition && gain->keyspace_id == keyspace_id;
    return found ? gain : NULL;
}

void ae_gain_roots_drop(struct ae_gain *gain)
{
    for (uint32_t i = 0; gain->roots != NULL && i < MEMBERS_MAX; i++)
        message_free(gain->roots[i]);
    free(gain->roots);
    gain->roots = NULL;
}

void ae_gain_clear(struct ae_gain *gain)
{
    gain->id = 0;
    ae_gain_roots_drop(gain);
    ae_settle_free(gain);
}

/* A place for it, in which nothing is under way. */
static struct ae_gain *gain_place(struct anti_entropy *ae, uint32_t partition, uint32_t keyspace_id)
{
    struct ae_gains *gains = &ae->gains;
    struct ae_gain *found = ae_gain_find(ae, partition, keyspace_id);
    if (found != NULL) {
        ae_gain_clear(found);
        return found;
    }
    if (gains->count == gains->capacity) {
        gains->capacity = gains->capacity == 0 ? 16 : 2 * gains->capacity;
        gains->list = realloc(gains->list, gains->capacity * sizeof gains->list[0]);
        CHECK(gains->list != NULL);
    }
    uint32_t at = position(gains, partition, keyspace_id);
    memmove(&gains->list[at + 1], &gains->list[at], (gains->count - at) * sizeof gains->list[0]);
    gains->count++;
    return &gains->list[at];
}

/* Such a copy was lost: nobody is read before he has filled it. */
static bool is_read(const struct anti_entropy *ae, const struct actor_context *ctx,
                    const struct ae_gain *gain)
{
    const struct keyspace *keyspace =
        keyspace_map_find_id(&ctx->view->keyspaces, gain->keyspace_id);
    return keyspace != NULL &&
           view_role(ctx->view, keyspace, gain->partition, ae->options.self) == ROLE_READER;
}

void ae_gains_free(struct anti_entropy *ae)
{
    for (uint32_t i = 0; i < ae->gains.count; i++)
        ae_gain_clear(&ae->gains.list[i]);
    free(ae->gains.list);
}

static void count_open(struct anti_entropy *ae, const struct actor_context *ctx)
{
    uint64_t filling = 0;
    uint64_t refilling = 0;
    for (uint32_t i = 0; i < ae->gains.count; i++) {
        const struct ae_gain *gain = &ae->gains.list[i];
        filling += !gain->filled;
        refilling += !gain->filled && !gain->compares && is_read(ae, ctx, gain);
    }
    counter_set(&ae->figures.gains, filling);
    counter_set(&ae->figures.refills, refilling);
}

/* -- what the view says
 * ---------------------------------------------------------------------------------- */

uint64_t ae_gain_sources(const struct anti_entropy *ae, const struct actor_context *ctx,
                         const struct ae_gain *gain)
{
    const struct keyspace *keyspace =
        keyspace_map_find_id(&ctx->view->keyspaces, gain->keyspace_id);
    bool announced = ctx->view->topology.phases[gain->partition] == PHASE_ANNOUNCED;
    uint64_t sources = 0;
    struct replica_set set;
    if (keyspace == NULL)
        return 0;
    view_replica_set(ctx->view, keyspace, gain->partition, &set);
    for (uint32_t i = 0; i < set.count; i++) {
        bool now = (set.replicas[i].sides & 1u << TOPOLOGY_NOW) != 0;
        bool drops_out = set.replicas[i].sides == 1u << TOPOLOGY_NOW;
        /* Of registers a majority of the old set is asked, whoever it is. */
        bool compared = drops_out || keyspace->mode == KEYSPACE_CONSISTENT;
        if (announced && (!now || (gain->compares && !compared)))
            continue;
        sources |= ae_member_bit(ae, set.replicas[i].member);
    }
    return sources & ~ae->gone & ~ae_member_bit(ae, ae->options.self);
}

/* Whether it is still what the view asks for. A copy that is read was filled once, and lost since:
 * it is to be filled whatever else goes over meanwhile, for nothing else gives it its answers back.
 */
static bool stands(const struct anti_entropy *ae, const struct actor_context *ctx,
                   const struct ae_gain *gain)
{
    const struct topology *topology = &ctx->view->topology;
    const struct keyspace *keyspace =
        keyspace_map_find_id(&ctx->view->keyspaces, gain->keyspace_id);
    if (keyspace == NULL)
        return false;
    bool announced = topology->phases[gain->partition] == PHASE_ANNOUNCED &&
                     gain->epoch == topology->phase_epochs[gain->partition];
    enum replica_role role = view_role(ctx->view, keyspace, gain->partition, ae->options.self);
    if (!gain->compares && role == ROLE_READER)
        return !gain->filled;
    return announced && (gain->compares || role == ROLE_WRITER);
}

static void gain_begin(struct anti_entropy *ae, struct actor_context *ctx, const struct ae_gain *as)
{
    struct ae_gain *gain = gain_place(ae, as->partition, as->keyspace_id);
    *gain = *as;
    gain->serial = ++ae->serial;
    gain->next_ns = ctx->now_ns;
    gain->since_ms = ctx->wall_ms;
    ae->look_ns = ctx->now_ns;
    count_open(ae, ctx);
}

void ae_gain_on_incomplete(struct anti_entropy *ae, struct actor_context *ctx,
                           const struct vnode_incomplete *incomplete)
{
    if (incomplete->partition >= ae->options.partitions) {
        counter_add(&ae->figures.unexpected, 1);
        return;
    }
    const struct ae_gain *found = ae_gain_find(ae, incomplete->partition, incomplete->keyspace_id);
    struct ae_gain gain = {.partition = incomplete->partition,
                           .keyspace_id = incomplete->keyspace_id,
                           .filled = incomplete->filled,
                           .epoch = incomplete->epoch,
                           .incarnation = incomplete->incarnation};
    bool known = found != NULL && !found->compares && found->incarnation == gain.incarnation;
    if (!known)
        gain_begin(ae, ctx, &gain);
}

/* Of those that stay where the set becomes smaller. Who has to be filled first compares then. */
static void compare_if_needed(struct anti_entropy *ae, struct actor_context *ctx,
                              uint32_t partition, const struct keyspace *keyspace)
{
    const struct topology *topology = &ctx->view->topology;
    if (keyspace->dropped ||
        topology_need(topology, keyspace, partition, ae->options.self) != NEED_EXCHANGE)
        return;
    struct ae_gain gain = {.partition = partition,
                           .keyspace_id = keyspace->id,
                           .compares = true,
                           .epoch = topology->phase_epochs[partition],
                           .phase = AE_GAIN_FILL};
    const struct ae_gain *found = ae_gain_find(ae, partition, keyspace->id);
    bool fills = found != NULL && !found->compares && !found->filled;
    bool known = found != NULL && found->compares && found->epoch == gain.epoch;
    if (!fills && !known)
        gain_begin(ae, ctx, &gain);
}

static void find_compares(struct anti_entropy *ae, struct actor_context *ctx)
{
    for (uint32_t p = 0; p < ctx->view->topology.partitions; p++) {
        if (ctx->view->topology.phases[p] != PHASE_ANNOUNCED)
            continue;
        for (uint32_t i = 0; i < ctx->view->keyspaces.count; i++)
            compare_if_needed(ae, ctx, p, &ctx->view->keyspaces.keyspaces[i]);
    }
}

void ae_gain_filled(struct anti_entropy *ae, struct actor_context *ctx, struct ae_gain *gain)
{
    const struct keyspace *keyspace =
        keyspace_map_find_id(&ctx->view->keyspaces, gain->keyspace_id);
    ae_gain_clear(gain);
    gain->filled = true;
    counter_add(&ae->figures.gains_filled, 1);
    if (keyspace != NULL && !gain->compares)
        compare_if_needed(ae, ctx, gain->partition, keyspace); /* in its place */
    count_open(ae, ctx);
    ae->look_ns = ctx->now_ns;
}

void ae_gains_refresh(struct anti_entropy *ae, struct actor_context *ctx)
{
    const struct topology *topology = &ctx->view->topology;
    struct ae_gains *gains = &ae->gains;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < gains->count; i++) {
        gains->list[i].wake_ns = 0; /* its sources may be others now */
        if (stands(ae, ctx, &gains->list[i]))
            gains->list[kept++] = gains->list[i];
        else
            ae_gain_clear(&gains->list[i]);
    }
    gains->count = kept;
    if (topology->change.state == CHANGE_RUNNING) {
        if (gains->change != topology_change_name(topology))
            gains->bytes = 0;
        gains->change = topology_change_name(topology);
        find_compares(ae, ctx);
    }
    count_open(ae, ctx);
}
