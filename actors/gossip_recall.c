/* What a voter does that has forgotten what it promised (actors/gossip_log.h). */
#include "actors/gossip_state.h"

#include <inttypes.h>

/* Between what the others have seen and the ballot that is recalled with: nobody's counter goes so
 * far by itself. */
#define COUNTER_LEAP   ((uint64_t)1 << 32)
#define BACKOFF_MIN_NS ((uint64_t)10 * NS_PER_MS)

bool recall_is_done(const struct gossip *gossip)
{
    const struct slot *slot = &gossip->slot;
    return slot->loaded && (!slot->forgot || slot->recalled_epoch == slot->epoch);
}

/* Others than this node among the voters, and how many of them each majority has one of. */
static void recall_needs(const struct gossip *gossip, uint32_t *ret_others, uint32_t *ret_enough)
{
    const struct topology *topology = gossip_topology(gossip);
    *ret_others = 0;
    for (uint32_t i = 0; i < topology->voter_count; i++)
        *ret_others += topology->voters[i] != gossip->options.self;
    *ret_enough = topology->voter_count - (topology->voter_count / 2 + 1) + 1;
}

static void recall_later(struct gossip *gossip, struct actor_context *ctx)
{
    struct recall *recall = &gossip->recall;
    recall->asks = false;
    recall->late_at_ns =
        ctx->now_ns + BACKOFF_MIN_NS + prng_below(ctx->prng, gossip->options.phase_timeout_ns);
}

/* What the others have accepted is what this slot goes on from. */
static enum err recall_keep(struct gossip *gossip, struct actor_context *ctx)
{
    struct recall *recall = &gossip->recall;
    struct slot *slot = &gossip->slot;
    bool for_good = recall->accepted.counter == 0;
    struct register_state state = {
        .promised = recall->ballot, .accepted = recall->accepted, .value = recall->value};
    if (ballot_compare(slot->state.accepted, recall->accepted) > 0) {
        state.accepted = slot->state.accepted;
        state.value = slot->state.value;
    }
    struct writer writer;
    writer_init(&writer, &gossip->scratch, 8);
    writer_u64(&writer, slot->epoch);
    struct bytes row = bytes_of_string(META_FORGOT);
    enum err err = slot_keep(gossip, ctx, &state);
    if (err == OK && for_good)
        err = store_delete(ctx->store, STORE_META, row, STORE_SYNC_NOW);
    else if (err == OK)
        err = store_put(ctx->store, STORE_META, row, writer_result(&writer), STORE_SYNC_NOW);
    if (err != OK)
        return err;
    slot->forgot = !for_good;
    counter_set(&gossip->figures.forgotten, slot->forgot);
    counter_add(&gossip->figures.recalls, 1);
    slot->recalled_epoch = slot->epoch;
    log_write(ctx->log, LOG_INFO, "votes_recalled", "epoch=%" PRIu64 " for_good=%s", slot->epoch,
              for_good ? "yes" : "no");
    return OK;
}

static void recall_step(struct gossip *gossip, struct actor_context *ctx)
{
    struct recall *recall = &gossip->recall;
    uint32_t others = 0;
    uint32_t enough = 0;
    recall_needs(gossip, &others, &enough);
    if ((uint32_t)__builtin_popcount(recall->promised) < enough &&
        (uint32_t)__builtin_popcount(recall->answered) < others)
        return;
    if (slot_open_next(gossip, ctx) != OK || recall_keep(gossip, ctx) != OK)
        recall_later(gossip, ctx);
    else
        recall->asks = false;
}

static void recall_begin(struct gossip *gossip, struct actor_context *ctx)
{
    struct recall *recall = &gossip->recall;
    const struct topology *topology = gossip_topology(gossip);
    uint64_t counter = recall->seen.counter + COUNTER_LEAP;
    if (counter < gossip->options.incarnation)
        counter = gossip->options.incarnation;
    arena_clear(&recall->arena);
    *recall = (struct recall){
        .asks = true,
        .epoch = topology->epoch + 1,
        .id = gossip_id(gossip),
        .late_at_ns = ctx->now_ns + gossip->options.phase_timeout_ns,
        .ballot = {.counter = counter,
                   .member = gossip->options.self,
                   .incarnation = gossip->options.incarnation},
        .seen = recall->seen,
        .arena = recall->arena,
    };
    for (uint32_t i = 0; i < topology->voter_count; i++) {
        if (topology->voters[i] == gossip->options.self)
            continue;
        struct message *message = message_new(MESSAGE_topology_prepare, 0);
        message->id = recall->id;
        message->to = (struct actor_id){.node = topology->voters[i], .kind = ACTOR_GOSSIP};
        message->deadline_ns = recall->late_at_ns;
        message->topology_prepare =
            (struct topology_prepare){.epoch = recall->epoch, .ballot = recall->ballot};
        outbox_send(ctx, &gossip->actor, message);
    }
    recall_step(gossip, ctx); /* there may be no others */
}

static uint32_t voter_bit(const struct topology *topology, uint32_t member)
{
    for (uint32_t i = 0; i < topology->voter_count; i++) {
        if (topology->voters[i] == member)
            return 1u << i;
    }
    return 0;
}

void recall_on_prepare_reply(struct gossip *gossip, struct actor_context *ctx,
                             const struct message *message)
{
    const struct topology_prepare_reply *reply = &message->topology_prepare_reply;
    struct recall *recall = &gossip->recall;
    uint32_t bit = voter_bit(gossip_topology(gossip), message->from.node);
    if (!recall->asks || message->id != recall->id ||
        recall->epoch != gossip_topology(gossip)->epoch + 1 || (recall->answered & bit) != 0)
        return;
    if (reply->status == ERR_UNAVAILABLE)
        gossip_tell(gossip, ctx, message->from.node);
    if (reply->status == OK && !reply->agreed) {
        recall->seen = ballot_max(recall->seen, reply->conflict);
        recall_later(gossip, ctx);
        return;
    }
    if (reply->status != OK && reply->status != ERR_INCOMPLETE)
        return;
    recall->answered |= bit;
    if (reply->status == OK) {
        recall->promised |= bit;
        if (ballot_compare(reply->accepted, recall->accepted) > 0) {
            recall->accepted = reply->accepted;
            recall->value = arena_copy(&recall->arena, reply->value);
        }
    }
    recall_step(gossip, ctx);
}

void recall_tick(struct gossip *gossip, struct actor_context *ctx)
{
    struct recall *recall = &gossip->recall;
    if (ctx->now_ns < recall_wake_at_ns(gossip))
        return;
    if (slot_open_next(gossip, ctx) != OK)
        recall_later(gossip, ctx);
    else if (recall_is_done(gossip))
        recall->asks = false;
    else if (recall->asks && recall->epoch == gossip->slot.epoch &&
             ctx->now_ns >= recall->late_at_ns)
        recall_later(gossip, ctx);
    else
        recall_begin(gossip, ctx);
}

/* At the start, to see; and while there is something to recall. */
uint64_t recall_wake_at_ns(const struct gossip *gossip)
{
    const struct slot *slot = &gossip->slot;
    uint64_t epoch = gossip_topology(gossip)->epoch + 1;
    if (slot->loaded && (!slot->forgot || slot->recalled_epoch == epoch))
        return NEVER_NS;
    bool is_late = gossip->recall.asks && gossip->recall.epoch != epoch;
    return is_late ? 0 : gossip->recall.late_at_ns;
}
