/* Requests whose plan and whose replicas are of different epochs (model/topology.h). Every message
 * says the epoch that it was planned with; a replica refuses what is older than the last step of
 * the partition, and cannot take what it does not know of yet. Neither counts as a failure of the
 * replica: the first asks for a new plan, as soon as the view is new enough, the second for another
 * question a little later.
 *
 * A get and a put that was staged nowhere begin anew. A put that has been minted goes on with the
 * replicas of the new view: what stays has what it has, and the others are sent the write. Answers
 * of replicas that are only written by now are not carried over: they may have been emptied in
 * between, to be filled again. */
#include "actors/coordinator_request.h"

#include "base/mutation.h"

static uint64_t bit(uint32_t index)
{
    return (uint64_t)1 << index;
}

enum epoch_verdict coordinator_epoch_judge(const struct request *request, enum err status,
                                           uint64_t epoch)
{
    if (epoch == 0 || (status != ERR_STALE_EPOCH && status != ERR_UNAVAILABLE))
        return EPOCH_SAME;
    if (epoch < request->epoch)
        return EPOCH_BEHIND;
    if (status == ERR_UNAVAILABLE)
        return EPOCH_SAME;
    if (epoch > request->epoch)
        return EPOCH_STALE;
    return request->plan_renewed ? EPOCH_EARLIER : EPOCH_SAME;
}

/* -- the view is to follow
 * ---------------------------------------------------------------------------------------------- */

static void epoch_tell(struct coordinator *coordinator, struct actor_context *ctx)
{
    coordinator->newer_told_ns = ctx->now_ns;
    counter_add(&coordinator->figures.epochs_told, 1);
    actor_tell_newer_epoch(&coordinator->actor, ctx, coordinator->newer_member,
                           coordinator->newer_epoch);
}

void coordinator_epoch_note(struct coordinator *coordinator, struct actor_context *ctx,
                            const struct message *message)
{
    if (message->epoch <= ctx->view->topology.epoch ||
        message->from.node == coordinator->options.self)
        return;
    if (message->epoch <= coordinator->newer_epoch &&
        ctx->now_ns - coordinator->newer_told_ns < SOON_NS)
        return;
    if (message->epoch >= coordinator->newer_epoch) {
        coordinator->newer_epoch = message->epoch;
        coordinator->newer_member = message->from.node;
    }
    epoch_tell(coordinator, ctx);
}

bool coordinator_epoch_may_plan(struct coordinator *coordinator, struct actor_context *ctx,
                                struct request *request)
{
    uint64_t epoch = ctx->view->topology.epoch;
    if (epoch > request->epoch)
        return true;
    request->plan_refused = true;
    if (coordinator->newer_epoch > epoch && ctx->now_ns - coordinator->newer_told_ns >= SOON_NS)
        epoch_tell(coordinator, ctx);
    coordinator_request_set_soon(coordinator, ctx, request,
                                 coordinator->newer_epoch > epoch ? SOON_NS : SOON_LOCAL_NS);
    return false;
}

/* -- a minted put by another plan
 * --------------------------------------------------------------------------------------- */

/* What is known by index into the replica set. */
struct plan_state {
    struct replica_set replicas;
    struct quorum quorum;
    uint64_t epoch;
    uint64_t away;
    uint64_t hinting;
    uint64_t hinted;
    uint64_t stood_in;
    uint64_t stale;
    uint64_t refused;
    uint64_t outdated;
    uint32_t keepers[REPLICAS_TOTAL_MAX];
};

static struct plan_state plan_state_of(const struct request *request)
{
    struct plan_state state = {
        .replicas = request->replicas,
        .quorum = request->quorum,
        .epoch = request->epoch,
        .away = request->away,
        .hinting = request->hinting,
        .hinted = request->hinted,
        .stood_in = request->stood_in,
        .stale = request->stale,
        .refused = request->refused,
        .outdated = request->outdated,
    };
    memcpy(state.keepers, request->keepers, sizeof state.keepers);
    return state;
}

static int state_index(const struct plan_state *state, uint32_t member)
{
    for (uint32_t i = 0; i < state->replicas.count; i++) {
        if (state->replicas.replicas[i].member == member)
            return (int)i;
    }
    return -1;
}

static void carry_bit(uint64_t from, uint32_t from_index, uint64_t *to, uint32_t to_index)
{
    if ((from & bit(from_index)) != 0)
        *to |= bit(to_index);
}

/* What was known of a member that stays. A hint whose keeper is a replica by now is that replica's
 * own copy, and another is asked to keep one. */
static void carry_over(struct request *request, uint32_t self, uint32_t index,
                       const struct plan_state *before, uint32_t was)
{
    uint32_t member = request->replicas.replicas[index].member;
    uint32_t keeper = before->keepers[was];
    bool has_write =
        before->quorum.members[was].state == REPLICA_ACKED && (before->stood_in & bit(was)) == 0;
    if (has_write && (request->replicas.replicas[index].reader || MUTATE(PLAN_KEEPS_ALL_ACKS)))
        quorum_ack(&request->quorum, member);
    if (before->quorum.members[was].state == REPLICA_FAILED && (before->away & bit(was)) == 0)
        quorum_fail(&request->quorum, member); /* it will not have it */
    carry_bit(before->away, was, &request->away, index);
    carry_bit(before->stale, was, &request->stale, index);
    carry_bit(before->refused, was, &request->refused, index);
    carry_bit(before->outdated, was, &request->outdated, index);
    if (keeper != self && coordinator_request_replica_index(request, keeper) >= 0)
        return;
    request->keepers[index] = keeper;
    carry_bit(before->hinting, was, &request->hinting, index);
    carry_bit(before->hinted, was, &request->hinted, index);
}

static void forget_plan(struct request *request)
{
    request->away = request->hinting = request->hinted = request->stood_in = 0;
    request->stale = request->refused = request->outdated = 0;
    request->onward = request->stranded = request->behind = 0;
    memset(request->keepers, 0, sizeof request->keepers);
}

static void restore_plan(struct request *request, const struct plan_state *before)
{
    request->replicas = before->replicas;
    request->quorum = before->quorum;
    request->epoch = before->epoch;
    request->away = before->away;
    request->hinting = before->hinting;
    request->hinted = before->hinted;
    request->stood_in = before->stood_in;
    request->stale = before->stale;
    request->refused = before->refused;
    request->outdated = before->outdated;
    memcpy(request->keepers, before->keepers, sizeof before->keepers);
}

/* The write, or a hint of it, to a replica that may not have it. */
static void send_anew(struct coordinator *coordinator, struct actor_context *ctx,
                      struct request *request, uint32_t index)
{
    uint32_t member = request->replicas.replicas[index].member;
    bool failed = request->quorum.members[index].state == REPLICA_FAILED;
    if (coordinator_request_is_minter(coordinator, request, index) ||
        coordinator_hint_has_write(request, index))
        return;
    if ((request->away & bit(index)) == 0 && !failed && !view_alive(ctx->view, member))
        coordinator_hint_reserve(coordinator, ctx, request, index);
    if ((request->away & bit(index)) != 0)
        coordinator_hint_carry(coordinator, ctx, request, index);
    else if (!failed && (request->stale & bit(index)) == 0)
        coordinator_request_send_write(coordinator, ctx, request, member,
                                       coordinator_refresh_record(request), WRITE_REPLICATE);
}

enum err coordinator_replan(struct coordinator *coordinator, struct actor_context *ctx,
                            struct request *request, const char **ret_why)
{
    const struct put_request *put = coordinator_put_request(request->origin);
    struct plan_state before = plan_state_of(request);
    forget_plan(request);
    enum err err = coordinator_request_plan_sets(ctx, request, put->keyspace_id, put->key,
                                                 put->level, put->count, put, ret_why);
    request->plan_refused = false;
    request->soon_at_ns = NEVER_NS;
    request->soon_ns = 0;
    if (err != OK) {
        restore_plan(request, &before);
        return err;
    }
    request->plan_renewed = true;
    counter_add(&coordinator->figures.replanned, 1);
    bool held_by_all = coordinator_refresh_record(request).size == 0; /* made before, and reaped */
    for (uint32_t i = 0; i < request->replicas.count; i++) {
        int was = state_index(&before, request->replicas.replicas[i].member);
        if (held_by_all || coordinator_request_is_minter(coordinator, request, i))
            quorum_ack(&request->quorum, request->replicas.replicas[i].member);
        else if (was >= 0)
            carry_over(request, coordinator->options.self, i, &before, (uint32_t)was);
    }
    if (request->refused == 0 && request->stale == 0)
        request->floor_refused = false;
    coordinator_hint_count_kept(coordinator, request);
    for (uint32_t i = 0; i < request->replicas.count; i++)
        send_anew(coordinator, ctx, request, i);
    return OK;
}
