/* What a change of the topology gives this member, by (partition, keyspace): filled from every
 * replica of the old set that is not gone (replica_gain.h has the other half).
 *
 * The floors come first, as for a vnode that was lost. Then one exchange with each source, begun
 * after the announcement was in force on both sides: the source answers a question only when it
 * knows of the announcement, and from then on it refuses writes that were planned without the new
 * set. So what the sources hold when they are asked, and what is written to both sets since, is all
 * there is. A consistent keyspace is filled by its registers (anti_entropy_registers.c).
 *
 * Where a set becomes smaller, those that stay compare their copies with those that drop out: what
 * only those have must not be left behind. Nothing of it is kept over a restart; it is done again.
 */
#include "actors/anti_entropy_state.h"

#include "base/mutation.h"

#include <inttypes.h>
#include <stdlib.h>

#define MS_NS          ((uint64_t)1000 * 1000)
#define ASKING_MAX     8u /* at a time */
#define AGAIN_FIRST_NS (50 * MS_NS)
#define PAUSED_LOOK_NS (100 * MS_NS)
#define NS_PER_SECOND  (1000 * MS_NS)

/* -- ASK and ADOPT
 * ----------------------------------------------------------------------------------- */

static void close_question(struct ae_gain *gain)
{
    gain->id = 0;
    ae_gain_roots_drop(gain);
}

static void again(struct anti_entropy *ae, struct actor_context *ctx, struct ae_gain *gain)
{
    uint64_t backoff_ns = gain->backoff_ns == 0 ? AGAIN_FIRST_NS : 2 * gain->backoff_ns;
    ae_gain_clear(gain);
    gain->phase = gain->compares ? AE_GAIN_FILL : AE_GAIN_ASK;
    gain->backoff_ns =
        backoff_ns < ae->options.backoff_max_ns ? backoff_ns : ae->options.backoff_max_ns;
    gain->next_ns = ctx->now_ns + gain->backoff_ns - prng_below(ctx->prng, gain->backoff_ns / 2);
    gain->wake_ns = 0;
}

static void open_question(struct anti_entropy *ae, struct actor_context *ctx, struct ae_gain *gain)
{
    gain->id = ae_id(ae, AE_OWNER_GAIN, 0);
    gain->next_ns = ctx->now_ns + ae->options.late_ns;
    gain->wake_ns = 0;
}

static void ask_roots(struct anti_entropy *ae, struct actor_context *ctx, struct ae_gain *gain)
{
    uint64_t sources = ae_gain_sources(ae, ctx, gain);
    open_question(ae, ctx, gain);
    gain->waiting = 0;
    gain->roots = calloc(MEMBERS_MAX, sizeof gain->roots[0]);
    CHECK(gain->roots != NULL);
    for (uint32_t slot = 0; slot < MEMBERS_MAX; slot++) {
        if ((sources >> slot & 1) == 0 || !ae_reachable(ctx, ae->slots[slot]))
            continue;
        struct message *message = ae_message(MESSAGE_tree_roots, ae->slots[slot], gain->id, 0);
        message->tree_roots.partition = gain->partition;
        message->deadline_ns = gain->next_ns;
        gain->waiting |= (uint64_t)1 << slot;
        ae_charge(ae, NULL, ae->slots[slot], 0);
        outbox_send(ctx, &ae->actor, message);
    }
}

static void roots_gathered(struct anti_entropy *ae, struct actor_context *ctx, struct ae_gain *gain)
{
    const struct keyspace *keyspace =
        keyspace_map_find_id(&ctx->view->keyspaces, gain->keyspace_id);
    struct ae_floor_found found = {0};
    if (keyspace != NULL)
        found = ae_find_floor(ae, ctx, gain->partition, keyspace, ae_gain_sources(ae, ctx, gain),
                              gain->roots);
    gain->incomplete = 0;
    for (uint32_t slot = 0; slot < MEMBERS_MAX; slot++) {
        if (gain->roots[slot] != NULL && !gain->roots[slot]->tree_roots_reply.complete)
            gain->incomplete |= (uint64_t)1 << slot;
    }
    if (!found.complete && !found.all) {
        again(ae, ctx, gain);
        return;
    }
    ae_gain_roots_drop(gain);
    gain->phase = AE_GAIN_ADOPT;
    gain->next_ns = ctx->now_ns + ae->options.late_ns;
    gain->wake_ns = 0;
    struct message *message = ae_message(MESSAGE_vnode_adopt, ae->options.self, gain->id, 0);
    message->vnode_adopt = (struct vnode_adopt){.partition = gain->partition,
                                                .keyspace_id = gain->keyspace_id,
                                                .floor = found.floor,
                                                .reaped = found.reaped};
    outbox_send(ctx, &ae->actor, message);
}

static void roots_answered(struct anti_entropy *ae, struct actor_context *ctx, struct ae_gain *gain,
                           struct message *message)
{
    uint64_t bit = ae_member_bit(ae, message->from.node);
    if ((gain->waiting & bit) == 0) {
        counter_add(&ae->figures.late, 1);
        message_free(message);
        return;
    }
    ae_charge(ae, NULL, message->from.node, message->tree_roots_reply.roots.size);
    gain->waiting &= ~bit;
    if (message->tree_roots_reply.status == OK)
        gain->roots[ae_member_slot(ae, message->from.node)] = message;
    else
        message_free(message);
    if (gain->waiting == 0)
        roots_gathered(ae, ctx, gain);
}

/* -- FILL and FINISH
 * ----------------------------------------------------------------------------------- */

static bool settles(const struct actor_context *ctx, const struct ae_gain *gain)
{
    const struct keyspace *keyspace =
        keyspace_map_find_id(&ctx->view->keyspaces, gain->keyspace_id);
    return keyspace != NULL && keyspace->mode == KEYSPACE_CONSISTENT;
}

static bool is_paused(const struct actor_context *ctx)
{
    const struct topology_change *change = &ctx->view->topology.change;
    return change->state == CHANGE_RUNNING && change->paused;
}

/* From one source at a time: a second one would send again what the first one has not sent yet. */
static bool is_being_filled(const struct anti_entropy *ae, const struct ae_gain *gain)
{
    for (uint32_t i = 0; i < ANTI_ENTROPY_EXCHANGES_MAX; i++) {
        const struct ae_exchange *exchange = &ae->exchanges[i];
        if (exchange->running && exchange->reason == AE_GAIN &&
            exchange->partition == gain->partition && exchange->only_keyspace == gain->keyspace_id)
            return true;
    }
    return false;
}

bool ae_gain_next(struct anti_entropy *ae, struct actor_context *ctx,
                  struct ae_exchange_plan *ret_plan, uint64_t *look_ns)
{
    if (counter_get(&ae->figures.gains) == 0)
        return false;
    if (is_paused(ctx)) {
        if (ctx->now_ns + PAUSED_LOOK_NS < *look_ns)
            *look_ns = ctx->now_ns + PAUSED_LOOK_NS;
        return false;
    }
    for (uint32_t i = 0; i < ae->gains.count; i++) {
        struct ae_gain *gain = &ae->gains.list[i];
        if (gain->filled || gain->phase != AE_GAIN_FILL || settles(ctx, gain) ||
            is_being_filled(ae, gain))
            continue;
        if (gain->next_ns > ctx->now_ns) {
            *look_ns = gain->next_ns < *look_ns ? gain->next_ns : *look_ns;
            continue;
        }
        uint64_t left = ae_gain_sources(ae, ctx, gain) & ~gain->done;
        for (uint32_t slot = 0; left != 0 && slot < MEMBERS_MAX; slot++) {
            if ((left >> slot & 1) == 0 ||
                !ae_schedule_can(ae, ctx, gain->partition, ae->options.self, ae->slots[slot],
                                 look_ns))
                continue;
            *ret_plan = (struct ae_exchange_plan){.partition = gain->partition,
                                                  .members = {ae->options.self, ae->slots[slot]},
                                                  .reason = AE_GAIN,
                                                  .only_keyspace = gain->keyspace_id};
            return true;
        }
    }
    return false;
}

static void count_bytes(struct anti_entropy *ae, const struct actor_context *ctx, uint64_t bytes)
{
    uint64_t second = ctx->now_ns / NS_PER_SECOND;
    uint32_t place = (uint32_t)(second % AE_RATE_SECONDS);
    if (ae->gains.rate[place].second != second)
        ae->gains.rate[place].bytes = 0;
    ae->gains.rate[place].second = second;
    ae->gains.rate[place].bytes += bytes;
    ae->gains.bytes += bytes;
    counter_add(&ae->figures.bytes_gained, bytes);
}

void ae_gain_ended(struct anti_entropy *ae, struct actor_context *ctx,
                   const struct ae_exchange *exchange, bool whole)
{
    if (exchange->reason != AE_GAIN)
        return;
    struct ae_gain *gain = ae_gain_find(ae, exchange->partition, exchange->only_keyspace);
    count_bytes(ae, ctx, exchange->taken_bytes);
    counter_add(&ae->figures.fill_bytes, exchange->bytes);
    if (gain == NULL || gain->phase != AE_GAIN_FILL || exchange->serial <= gain->serial)
        return;
    uint64_t source = ae_member_bit(ae, exchange->members[1]);
    if (!whole) {
        gain->failed |= source;
        gain->why = exchange->why;
        again(ae, ctx, gain); /* a floor may be higher, a keyspace new */
        return;
    }
    gain->done |= source;
    gain->failed &= ~source;
    gain->backoff_ns = 0;
    gain->wake_ns = 0;
}

static void finish(struct anti_entropy *ae, struct actor_context *ctx, struct ae_gain *gain)
{
    if (gain->compares) {
        ae_gain_filled(ae, ctx, gain);
        return;
    }
    open_question(ae, ctx, gain);
    gain->phase = AE_GAIN_FINISH;
    struct message *message = ae_message(MESSAGE_vnode_complete, ae->options.self, gain->id, 0);
    message->vnode_complete = (struct vnode_complete){.partition = gain->partition,
                                                      .keyspace_id = gain->keyspace_id,
                                                      .incarnation = gain->incarnation};
    outbox_send(ctx, &ae->actor, message);
}

/* -- the steps
 * ------------------------------------------------------------------------------------------ */

static void adopt_answered(struct anti_entropy *ae, struct actor_context *ctx, struct ae_gain *gain,
                           enum err status)
{
    close_question(gain);
    if (status == ERR_PRECONDITION ||
        MUTATE(GAIN_UNFILLED)) { /* it is filled already: that was told too late */
        finish(ae, ctx, gain);
        return;
    }
    if (status != OK) {
        again(ae, ctx, gain);
        return;
    }
    gain->phase = AE_GAIN_FILL;
    gain->next_ns = ctx->now_ns;
    gain->wake_ns = 0;
    ae->look_ns = ctx->now_ns;
}

void ae_gain_answered(struct anti_entropy *ae, struct actor_context *ctx, struct message *message)
{
    struct ae_gain *gain = NULL;
    if (ae_votes_answered(ae, ctx, message))
        return;
    for (uint32_t i = 0; i < ae->gains.count && gain == NULL; i++) {
        if (ae->gains.list[i].id == message->id)
            gain = &ae->gains.list[i];
    }
    if (gain != NULL && message->kind == MESSAGE_tree_roots_reply && gain->phase == AE_GAIN_ASK) {
        roots_answered(ae, ctx, gain, message);
        return;
    }
    if (gain != NULL && message->kind == MESSAGE_register_list_reply &&
        gain->phase == AE_GAIN_FILL) {
        ae_settle_listed(ae, ctx, gain, message);
        return;
    }
    if (gain != NULL && message->kind == MESSAGE_vnode_adopt_done && gain->phase == AE_GAIN_ADOPT) {
        adopt_answered(ae, ctx, gain, message->vnode_adopt_done.status);
    } else if (gain != NULL && message->kind == MESSAGE_vnode_complete_done &&
               gain->phase == AE_GAIN_FINISH) {
        if (message->vnode_complete_done.status == OK)
            ae_gain_filled(ae, ctx, gain);
        else
            again(ae, ctx, gain);
    } else {
        counter_add(&ae->figures.late, 1);
    }
    message_free(message);
}

/* An exchange that ends wakes the actor by itself. */
static uint64_t step_wake_ns(const struct actor_context *ctx, const struct ae_gain *gain)
{
    bool waits = gain->next_ns > ctx->now_ns;
    if (gain->filled)
        return NEVER_NS;
    if (gain->phase == AE_GAIN_FILL && settles(ctx, gain))
        return gain->settle == NULL || is_paused(ctx)
                   ? (waits ? gain->next_ns : ctx->now_ns + PAUSED_LOOK_NS)
                   : ae_settle_wake_ns(gain);
    if (gain->phase == AE_GAIN_FILL)
        return waits ? gain->next_ns : NEVER_NS;
    if (gain->phase == AE_GAIN_ASK && gain->id == 0 && !waits)
        return ctx->now_ns + PAUSED_LOOK_NS;
    return gain->next_ns;
}

/* Registers are settled key by key, everything else comes from each source in turn. */
static bool is_filled_now(struct anti_entropy *ae, struct actor_context *ctx, struct ae_gain *gain)
{
    if (settles(ctx, gain))
        return MUTATE(REGISTERS_UNSETTLED) || (!is_paused(ctx) && ae_settle_step(ae, ctx, gain));
    return (ae_gain_sources(ae, ctx, gain) & ~gain->done) == 0 ||
           (MUTATE(GAIN_FROM_ONE) && gain->done != 0);
}

static void gain_step(struct anti_entropy *ae, struct actor_context *ctx, struct ae_gain *gain,
                      uint32_t *asking)
{
    bool due = gain->next_ns <= ctx->now_ns;
    switch (gain->phase) {
    case AE_GAIN_ASK:
        if (gain->id != 0 && due) { /* with what has come */
            roots_gathered(ae, ctx, gain);
        } else if (gain->id == 0 && due && *asking < ASKING_MAX && !is_paused(ctx)) {
            ask_roots(ae, ctx, gain);
            if (gain->waiting == 0)
                roots_gathered(ae, ctx, gain);
        }
        break;
    case AE_GAIN_RENEW: /* of votes alone */
    case AE_GAIN_ADOPT:
    case AE_GAIN_FINISH:
        if (due)
            again(ae, ctx, gain);
        break;
    case AE_GAIN_FILL:
        if (!due && gain->settle == NULL)
            break;
        if (is_filled_now(ae, ctx, gain))
            finish(ae, ctx, gain);
        break;
    }
    *asking += gain->id != 0 || gain->settle != NULL;
    gain->wake_ns = step_wake_ns(ctx, gain);
}

void ae_gains_tick(struct anti_entropy *ae, struct actor_context *ctx)
{
    uint32_t asking = 0;
    if (counter_get(&ae->figures.gains) == 0 || !ae->viewed ||
        ae->topology_epoch != ctx->view->topology.epoch)
        return; /* the schedule looks at the view first */
    for (uint32_t i = 0; i < ae->gains.count; i++) {
        if (!ae->gains.list[i].filled)
            gain_step(ae, ctx, &ae->gains.list[i], &asking);
    }
}

uint64_t ae_gains_wake_ns(const struct anti_entropy *ae)
{
    uint64_t at_ns = NEVER_NS;
    if (counter_get(&ae->figures.gains) == 0)
        return at_ns;
    for (uint32_t i = 0; i < ae->gains.count; i++) {
        const struct ae_gain *gain = &ae->gains.list[i];
        if (!gain->filled && gain->wake_ns < at_ns)
            at_ns = gain->wake_ns;
    }
    return at_ns;
}
