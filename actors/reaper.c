#include "actors/reaper.h"

#include "base/mutation.h"

#define MS_NS ((uint64_t)1000 * 1000)
/* Each is looked up in the store, in one step of the replica: more of them would hold up requests.
 */
#define ROUND_KEYS_MAX 128u
#define FAILURES_MAX   3u /* then the turn goes on elsewhere */
#define TRIES_MAX      5u /* of a removal */

struct reaper_options reaper_options_default(uint32_t self, uint64_t generation)
{
    return (struct reaper_options){
        .self = self,
        .generation = generation,
        .interval_ns = 60000 * MS_NS,
        .reap_after_ms = 600000,
        .pace_ns = 10 * MS_NS,
        .late_ns = 5000 * MS_NS,
    };
}

void reaper_init(struct reaper *reaper, const struct reaper_options *options)
{
    *reaper = (struct reaper){.options = *options};
}

static void reaper_rest(struct reaper *reaper, uint64_t next_ns)
{
    reaper->state = REAPER_IDLE;
    reaper->asked_count = 0;
    reaper->next_ns = next_ns;
}

/* -- asking
 * ---------------------------------------------------------------------------------------- */

/* Each step has an id of its own; what answers an earlier one is not looked at. */
static void reaper_step(struct reaper *reaper, const struct actor_context *ctx,
                        enum reaper_state state)
{
    uint64_t serial = (reaper->serial + 1) & (UINT64_MAX >> 16);
    reaper->serial = (reaper->options.generation & 0xFFFF) << 48 | serial;
    reaper->state = state;
    reaper->next_ns = ctx->now_ns + reaper->options.late_ns;
    reaper->asked_count = 0;
}

static struct message *reaper_ask(struct reaper *reaper, enum message_kind kind, uint32_t member,
                                  enum actor_kind actor_kind)
{
    struct message *message = message_new(kind, 16u * reaper->list.count);
    message->id = reaper->serial;
    message->to = (struct actor_id){.node = member, .kind = (uint8_t)actor_kind};
    return message;
}

static const struct keyspace *reaper_keyspace(const struct reaper *reaper, const struct view *view)
{
    return keyspace_map_find_id(&view->keyspaces, reaper->keyspace_id);
}

static void reaper_ask_for_hints(struct reaper *reaper, struct actor_context *ctx,
                                 const struct actor *actor)
{
    const struct topology *topology = &ctx->view->topology;
    reaper_step(reaper, ctx, REAPER_HINTS);
    for (uint32_t i = 0; i < topology->member_count; i++) {
        if (topology->members[i].status == MEMBER_REMOVED || topology->members[i].gone)
            continue;
        uint32_t member = topology->members[i].number;
        if (MUTATE(REAP_IGNORES_FALLBACKS) &&
            view_role(ctx->view, reaper_keyspace(reaper, ctx->view), reaper->partition, member) ==
                ROLE_NONE)
            continue;
        struct message *message =
            reaper_ask(reaper, MESSAGE_reap_hints, member, ACTOR_HINTED_HANDOFF);
        message->reap_hints =
            (struct reap_hints){.partition = reaper->partition, .keyspace_id = reaper->keyspace_id};
        reaper->asked[reaper->asked_count++] = member;
        outbox_send(ctx, actor, message);
    }
}

/* A step that asks all replicas; false: the keyspace is gone, and the reaper rests. */
static bool reaper_step_all(struct reaper *reaper, const struct actor_context *ctx,
                            enum reaper_state state, struct replica_set *ret_set)
{
    const struct keyspace *keyspace = reaper_keyspace(reaper, ctx->view);
    if (keyspace == NULL) {
        reaper_rest(reaper, ctx->now_ns);
        return false;
    }
    view_replica_set(ctx->view, keyspace, reaper->partition, ret_set);
    reaper_step(reaper, ctx, state);
    return true;
}

/* ASKING: by a seal that nobody takes. */
static void reaper_send_seals(struct reaper *reaper, struct actor_context *ctx,
                              const struct actor *actor, enum reaper_state state)
{
    struct replica_set set;
    if (!reaper_step_all(reaper, ctx, state, &set))
        return;
    for (uint32_t i = 0; i < set.count; i++) {
        uint32_t member = set.replicas[i].member;
        struct message *message = reaper_ask(reaper, MESSAGE_reap_seal, member, ACTOR_REPLICA);
        message->reap_seal =
            (struct reap_seal){.partition = reaper->partition, .keyspace_id = reaper->keyspace_id};
        if (state == REAPER_SEALING) {
            message->reap_seal.floor = reaper->floor;
            message->reap_seal.reaped = reaper->reaped;
            message->reap_seal.older_than_ms = reaper->older_than_ms;
            message->reap_seal.digests = reap_list_encode(&message->arena, &reaper->list);
        }
        reaper->asked[reaper->asked_count++] = member;
        outbox_send(ctx, actor, message);
    }
}

static void reaper_ask_for_floors(struct reaper *reaper, struct actor_context *ctx,
                                  const struct actor *actor)
{
    reaper->floor = reaper->reaped = 0;
    reaper_send_seals(reaper, ctx, actor, REAPER_ASKING);
}

static void reaper_ask_for_seals(struct reaper *reaper, struct actor_context *ctx,
                                 const struct actor *actor)
{
    reaper->floor++;
    memset(&reaper->matched, 0xff, sizeof reaper->matched);
    counter_add(&reaper->figures.rounds, 1);
    reaper_send_seals(reaper, ctx, actor, REAPER_SEALING);
}

static void reaper_send_removals(struct reaper *reaper, struct actor_context *ctx,
                                 const struct actor *actor)
{
    for (uint32_t i = 0; i < reaper->asked_count; i++) {
        struct message *message =
            reaper_ask(reaper, MESSAGE_reap_remove, reaper->asked[i], ACTOR_REPLICA);
        message->reap_remove = (struct reap_remove){
            .partition = reaper->partition,
            .keyspace_id = reaper->keyspace_id,
            .floor = reaper->floor,
        };
        if (reaper->state == REAPER_REMOVING)
            message->reap_remove.digests = reap_list_encode(&message->arena, &reaper->list);
        outbox_send(ctx, actor, message);
    }
}

/* To all replicas; CONFIRMING asks with an empty list. */
static void reaper_ask_replicas(struct reaper *reaper, struct actor_context *ctx,
                                const struct actor *actor, enum reaper_state state)
{
    struct replica_set set;
    if (!reaper_step_all(reaper, ctx, state, &set))
        return;
    reaper->tries = 1;
    for (uint32_t i = 0; i < set.count; i++)
        reaper->asked[reaper->asked_count++] = set.replicas[i].member;
    reaper_send_removals(reaper, ctx, actor);
}

/* -- the turn
 * ---------------------------------------------------------------------------------------- */

/* One replica of each partition leads, so that rounds do not cross; which one, all work out alike.
 * If two should disagree, their floors do the rest. */
static bool reaper_leads(const struct reaper *reaper, const struct view *view,
                         const struct keyspace *keyspace, uint32_t partition)
{
    struct replica_set set;
    view_replica_set(view, keyspace, partition, &set);
    uint32_t rank = 0;
    bool replica = false;
    for (uint32_t i = 0; i < set.count; i++) {
        replica = replica || set.replicas[i].member == reaper->options.self;
        rank += set.replicas[i].member < reaper->options.self ? 1 : 0;
    }
    return replica && rank == partition % set.count;
}

static bool everyone_is_there(const struct view *view)
{
    for (uint32_t i = 0; i < view->topology.member_count; i++) {
        const struct member *member = &view->topology.members[i];
        if (member->status != MEMBER_REMOVED && !member->gone && !view_alive(view, member->number))
            return false;
    }
    return true;
}

static void reaper_next_place(struct reaper *reaper)
{
    reaper->keyspace_index++;
    reaper->from_hash = 0;
    reaper->failures = 0;
    reaper->keyspace_id = 0;
}

/* The next (partition, keyspace) that this node leads, from where the turn is; false at its end. */
static bool reaper_find_place(struct reaper *reaper, const struct view *view)
{
    for (; reaper->partition < view->topology.partitions; reaper->partition++) {
        /* While it goes over no round could end: who gains it takes over the floors that there are.
         */
        bool joint =
            topology_is_joint(&view->topology, reaper->partition) && !MUTATE(REAPED_WHILE_JOINT);
        for (; !joint && reaper->keyspace_index < view->keyspaces.count; reaper->keyspace_index++) {
            const struct keyspace *keyspace = &view->keyspaces.keyspaces[reaper->keyspace_index];
            bool same = keyspace->id == reaper->keyspace_id;
            if (keyspace->dropped || keyspace->mode != KEYSPACE_AVAILABLE ||
                !reaper_leads(reaper, view, keyspace, reaper->partition))
                continue;
            if (!same)
                reaper->from_hash = 0;
            reaper->keyspace_id = keyspace->id;
            return true;
        }
        reaper->keyspace_index = 0;
        reaper->keyspace_id = 0;
        reaper->from_hash = 0;
    }
    return false;
}

static void reaper_go_on(struct reaper *reaper, struct actor_context *ctx,
                         const struct actor *actor)
{
    if (!everyone_is_there(ctx->view)) {
        counter_add(&reaper->figures.put_off, 1);
        reaper_rest(reaper, ctx->now_ns + reaper->options.interval_ns);
        return;
    }
    if (!reaper->turning) {
        reaper->turning = true;
        reaper->partition = 0;
        reaper->keyspace_index = 0;
        reaper->keyspace_id = 0;
        reaper->from_hash = 0;
        counter_add(&reaper->figures.turns, 1);
    }
    if (!reaper_find_place(reaper, ctx->view)) {
        reaper->turning = false;
        /* A tenth either way, so that the nodes of a cluster do not turn together. */
        uint64_t interval_ns = reaper->options.interval_ns;
        reaper_rest(reaper, ctx->now_ns + interval_ns - interval_ns / 10 +
                                prng_below(ctx->prng, interval_ns / 5 + 1));
        return;
    }
    reaper_step(reaper, ctx, REAPER_SCANNING);
    reaper->older_than_ms = ctx->wall_ms < reaper->options.reap_after_ms
                                ? 0
                                : ctx->wall_ms - reaper->options.reap_after_ms;
    reaper->asked[reaper->asked_count++] = reaper->options.self;
    struct message *message =
        reaper_ask(reaper, MESSAGE_reap_scan, reaper->options.self, ACTOR_REPLICA);
    message->reap_scan = (struct reap_scan){.partition = reaper->partition,
                                            .keyspace_id = reaper->keyspace_id,
                                            .from_hash = reaper->from_hash,
                                            .older_than_ms = reaper->older_than_ms,
                                            .limit = ROUND_KEYS_MAX};
    outbox_send(ctx, actor, message);
}

/* Behind what this page or round was about. */
static void reaper_advance(struct reaper *reaper, struct actor_context *ctx)
{
    if (reaper->more && reaper->through_hash != UINT64_MAX) {
        reaper->from_hash = reaper->through_hash + 1;
        reaper->failures = 0;
    } else {
        reaper_next_place(reaper);
    }
    reaper_rest(reaper, ctx->now_ns + reaper->options.pace_ns);
}

/* A round that cannot be ended now: again after a while from the scan on, then elsewhere. */
static void reaper_put_off(struct reaper *reaper, struct actor_context *ctx)
{
    counter_add(&reaper->figures.put_off, 1);
    if (++reaper->failures >= FAILURES_MAX)
        reaper_next_place(reaper);
    reaper_rest(reaper, ctx->now_ns + reaper->options.late_ns);
}

/* -- answers
 * -------------------------------------------------------------------------------------------- */

/* Whether this answers the step under way; each member answers it once. */
static bool reaper_expects(struct reaper *reaper, enum reaper_state state,
                           const struct message *message)
{
    if (reaper->state != state || message->id != reaper->serial)
        return false;
    for (uint32_t i = 0; i < reaper->asked_count; i++) {
        if (reaper->asked[i] == message->from.node) {
            reaper->asked[i] = reaper->asked[--reaper->asked_count];
            return true;
        }
    }
    return false;
}

static void reaper_on_scan(struct reaper *reaper, struct actor_context *ctx,
                           const struct actor *actor, const struct reap_scan_done *done)
{
    if (done->status != OK || reap_list_decode(done->digests, &reaper->list) != OK) {
        reaper_put_off(reaper, ctx);
        return;
    }
    reaper->more = done->more;
    reaper->through_hash = done->through_hash;
    if (reaper->list.count == 0) {
        reaper_advance(reaper, ctx);
        return;
    }
    reaper_ask_for_hints(reaper, ctx, actor);
}

static void reaper_on_floor(struct reaper *reaper, struct actor_context *ctx,
                            const struct actor *actor, const struct reap_seal_reply *reply)
{
    if (reply->status != ERR_STALE_FLOOR || reply->floor == UINT64_MAX) {
        reaper_put_off(reaper, ctx);
        return;
    }
    if (reply->floor > reaper->floor)
        reaper->floor = reply->floor;
    if (reply->reaped > reaper->reaped)
        reaper->reaped = reply->reaped;
    if (reaper->asked_count == 0)
        reaper_ask_for_seals(reaper, ctx, actor);
}

static void reaper_on_seal(struct reaper *reaper, struct actor_context *ctx,
                           const struct actor *actor, const struct reap_seal_reply *reply)
{
    if (reply->status != OK ||
        reap_bits_and(&reaper->matched, reply->matched, reaper->list.count) != OK) {
        reaper_put_off(reaper, ctx);
        return;
    }
    if (reaper->asked_count > (MUTATE(REAP_WITHOUT_THE_LAST) ? 1 : 0))
        return;
    uint32_t before = reaper->list.count;
    if (!MUTATE(REAP_WHAT_DIFFERS))
        reap_list_keep(&reaper->list, &reaper->matched);
    counter_add(&reaper->figures.differed, before - reaper->list.count);
    if (reaper->list.count == 0)
        reaper_advance(reaper, ctx);
    else
        reaper_ask_replicas(reaper, ctx, actor, REAPER_CONFIRMING);
}

static void reaper_on_confirm(struct reaper *reaper, struct actor_context *ctx,
                              const struct actor *actor, const struct reap_remove_reply *reply)
{
    if (reply->status != OK)
        reaper_put_off(reaper, ctx);
    else if (reaper->asked_count == 0)
        reaper_ask_replicas(reaper, ctx, actor, REAPER_REMOVING);
}

static void reaper_end_removal(struct reaper *reaper, struct actor_context *ctx)
{
    counter_add(&reaper->figures.reaped, reaper->list.count);
    if (reaper->asked_count != 0)
        counter_add(&reaper->figures.unanswered, 1);
    reaper_advance(reaper, ctx);
}

void reaper_handle(struct reaper *reaper, struct actor_context *ctx, const struct actor *actor,
                   const struct message *message)
{
    if (message->kind == MESSAGE_reap_scan_done) {
        if (reaper_expects(reaper, REAPER_SCANNING, message))
            reaper_on_scan(reaper, ctx, actor, &message->reap_scan_done);
    } else if (message->kind == MESSAGE_reap_hints_reply) {
        if (!reaper_expects(reaper, REAPER_HINTS, message))
            return;
        if (message->reap_hints_reply.status != OK)
            reaper_put_off(reaper, ctx);
        else if (reaper->asked_count == 0)
            reaper_ask_for_floors(reaper, ctx, actor);
    } else if (message->kind == MESSAGE_reap_seal_reply && reaper->state == REAPER_ASKING) {
        if (reaper_expects(reaper, REAPER_ASKING, message))
            reaper_on_floor(reaper, ctx, actor, &message->reap_seal_reply);
    } else if (message->kind == MESSAGE_reap_seal_reply) {
        if (reaper_expects(reaper, REAPER_SEALING, message))
            reaper_on_seal(reaper, ctx, actor, &message->reap_seal_reply);
    } else if (reaper->state == REAPER_CONFIRMING) {
        if (reaper_expects(reaper, REAPER_CONFIRMING, message))
            reaper_on_confirm(reaper, ctx, actor, &message->reap_remove_reply);
    } else {
        CHECK_U64(message->kind, ==, MESSAGE_reap_remove_reply);
        /* A refusal is an answer too: another round has begun there and looks for itself. */
        if (message->reap_remove_reply.status != ERR_UNAVAILABLE &&
            reaper_expects(reaper, REAPER_REMOVING, message) && reaper->asked_count == 0)
            reaper_end_removal(reaper, ctx);
    }
}

void reaper_tick(struct reaper *reaper, struct actor_context *ctx, const struct actor *actor)
{
    if (ctx->now_ns < reaper->next_ns)
        return;
    if (reaper->state == REAPER_IDLE) {
        reaper_go_on(reaper, ctx, actor);
    } else if (reaper->state != REAPER_REMOVING) {
        reaper_put_off(reaper, ctx);
    } else if (reaper->tries < TRIES_MAX) {
        reaper->tries++;
        reaper->next_ns = ctx->now_ns + reaper->options.late_ns;
        reaper_send_removals(reaper, ctx, actor);
    } else {
        reaper_end_removal(reaper, ctx);
    }
}

uint64_t reaper_wake_at_ns(const struct reaper *reaper)
{
    return reaper->next_ns;
}

void reaper_check(const struct reaper *reaper)
{
    CHECK_U64(reaper->asked_count, <=, MEMBERS_MAX);
    CHECK_U64(reaper->list.count, <=, REAP_BATCH_MAX);
    CHECK((reaper->state == REAPER_IDLE) == (reaper->asked_count == 0));
}
