/* vnode_report: what this node holds, and how far the change under way has come here. */
#include "actors/anti_entropy_state.h"

#include "base/codec.h"
#include "model/topology_sets.h"

#define HINTS_COUNTED 256u /* at most: that there are any is what counts */
#define NS_PER_SECOND ((uint64_t)1000 * 1000 * 1000)

/* A copy that was lost is filled in any case; until then it is as good as not filled. */
static bool need_is_met(const struct anti_entropy *ae, const struct view *view,
                        const struct keyspace *keyspace, uint32_t partition)
{
    const struct topology *topology = &view->topology;
    enum copy_need need = topology_need(topology, keyspace, partition, ae->options.self);
    const struct ae_gain *gain = ae_gain_find(ae, partition, keyspace->id);
    if (need == NEED_NOTHING)
        return true;
    if (topology->phases[partition] != PHASE_ANNOUNCED)
        return gain == NULL || gain->filled; /* the change went on because it was filled */
    bool filled = gain != NULL && gain->filled &&
                  gain->epoch == topology->phase_epochs[partition] &&
                  gain->compares == (need == NEED_EXCHANGE);
    return filled && (gain->compares || !ae_completion_fills(ae, partition));
}

/* Of a partition that waits nothing is said: what it needs is known when it is announced. */
static bool is_filled(const struct anti_entropy *ae, const struct view *view, uint32_t partition)
{
    if (view->topology.phases[partition] == PHASE_WAITING)
        return false;
    for (uint32_t i = 0; i < view->keyspaces.count; i++) {
        const struct keyspace *keyspace = &view->keyspaces.keyspaces[i];
        if (!keyspace->dropped && !need_is_met(ae, view, keyspace, partition))
            return false;
    }
    /* What is to drop the partition may be what a bad row is mended from. */
    return !ae_record_waits(ae, partition) && !ae_completion_gives(ae, partition);
}

/* Whether the change gives it to this member, whatever the phase. */
static bool is_gained(const struct anti_entropy *ae, const struct topology *topology,
                      const struct keyspace *keyspace, uint32_t partition)
{
    struct replica_class class = topology_class(topology, keyspace);
    struct side_sets sets = topology_sets(topology, &class, partition);
    uint64_t gains = sets.sets[TOPOLOGY_NEXT] & ~sets.sets[TOPOLOGY_NOW];
    return (gains & ae_member_bit(ae, ae->options.self)) != 0;
}

/* Vnodes that the change gives this member, in any keyspace, and those of them that it has. */
static void count_vnodes(const struct anti_entropy *ae, const struct view *view,
                         const uint8_t *filled, struct vnode_report_reply *reply)
{
    const struct topology *topology = &view->topology;
    for (uint32_t p = 0; p < topology->partitions; p++) {
        bool gains = false;
        for (uint32_t i = 0; i < view->keyspaces.count && !gains; i++) {
            const struct keyspace *keyspace = &view->keyspaces.keyspaces[i];
            gains = !keyspace->dropped && is_gained(ae, topology, keyspace, p);
        }
        reply->gains += gains;
        reply->gains_filled += gains && (filled[p / 8] >> p % 8 & 1) != 0;
    }
}

static uint64_t rate_of(const struct anti_entropy *ae, const struct actor_context *ctx)
{
    uint64_t second = ctx->now_ns / NS_PER_SECOND;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < AE_RATE_SECONDS; i++) {
        if (second - ae->gains.rate[i].second < AE_RATE_SECONDS)
            bytes += ae->gains.rate[i].bytes;
    }
    return bytes / AE_RATE_SECONDS;
}

struct hints {
    uint64_t count;
    struct waits *waits;
};

static bool count_hint(void *closure, struct bytes key, struct bytes value)
{
    struct hints *hints = closure;
    (void)value;
    /* Rows begin with their target (hinted_handoff_rows.c). */
    if (key.size >= 4)
        waits_add(hints->waits,
                  &(struct wait){.cause = WAIT_HINTS, .member = key_get_u32(key.data), .count = 1});
    return ++hints->count < HINTS_COUNTED;
}

static struct bytes sizes_of(const struct anti_entropy *ae, struct actor_context *ctx,
                             struct arena *arena)
{
    struct writer writer;
    writer_init(&writer, arena, (size_t)ae->options.partitions * 8);
    for (uint32_t p = 0; p < ae->options.partitions; p++) {
        uint64_t bytes = store_bytes(ctx->store, p);
        for (unsigned i = 0; i < 8; i++)
            writer_u8(&writer, (uint8_t)(bytes >> (56 - 8 * i)));
    }
    return writer_result(&writer);
}

void ae_report_on_report(struct anti_entropy *ae, struct actor_context *ctx,
                         const struct message *message)
{
    const struct topology *topology = &ctx->view->topology;
    struct message *answer = message_new_reply(message, MESSAGE_vnode_report_reply, 0);
    struct vnode_report_reply *reply = &answer->vnode_report_reply;
    counter_add(&ae->figures.reports, 1);
    reply->epoch = topology->epoch;
    reply->free_bytes = store_free_bytes(ctx->store);
    struct waits waits = {0};
    struct hints hints = {.waits = &waits};
    reply->status = store_scan(ctx->store, STORE_HINTS, (struct bytes){0}, (struct bytes){0},
                               count_hint, &hints);
    reply->hints = hints.count;
    ae_waits(ae, ctx, &waits);
    reply->waits = waits_encode(&answer->arena, &waits);
    if (message->vnode_report.sizes)
        reply->sizes = sizes_of(ae, ctx, &answer->arena);
    bool running = topology->change.state == CHANGE_RUNNING;
    /* Under a view that the schedule has not looked at yet nothing is known. */
    if (running && ae->viewed && ae->topology_epoch == topology->epoch) {
        size_t size = topology->partitions / 8;
        uint8_t *filled = arena_alloc_zero(&answer->arena, size);
        reply->change = topology_change_name(topology);
        for (uint32_t p = 0; p < topology->partitions; p++) {
            if (is_filled(ae, ctx->view, p))
                filled[p / 8] |= (uint8_t)(1u << p % 8);
        }
        reply->filled = bytes_of(filled, size);
        reply->keyspaces_digest = keyspace_map_digest(&ctx->view->keyspaces);
        count_vnodes(ae, ctx->view, filled, reply);
        reply->bytes_copied = ae->gains.bytes;
        reply->bytes_per_second = rate_of(ae, ctx);
    }
    outbox_send(ctx, &ae->actor, answer);
}
