/* Writes that are minted on another node: by the coordinator of a replica, since this node has
 * none, or its own is not to be written on. Sent once to each: a second could be a second write. */
#include "actors/coordinator_request.h"

#include "base/mutation.h"

#include <stdlib.h>

/* Levels that speak of the local data centre mean this node's: a coordinator in another one would
 * count there. */
static bool forward_stays_local(const struct request *request)
{
    if (MUTATE(LOCAL_WRITE_LEAVES))
        return false;
    return request->quorum.level == CONSISTENCY_LOCAL_ONE ||
           request->quorum.level == CONSISTENCY_LOCAL_QUORUM;
}

/* To the first live replica that is read and has not been tried, which coordinates it; local data
 * centre first. False: there is none. */
static bool forward_next(struct coordinator *coordinator, struct actor_context *ctx,
                         struct request *request)
{
    const struct put_request *put = coordinator_put_request(request->origin);
    for (uint32_t i = 0; i < request->replicas.count; i++) {
        uint32_t member = request->replicas.replicas[i].member;
        bool remote = request->replicas.replicas[i].data_center != ctx->view->local_data_center;
        if ((request->asked >> i & 1) != 0 || !request->replicas.replicas[i].reader ||
            !view_alive(ctx->view, member) || (remote && forward_stays_local(request)))
            continue;
        struct message *message =
            message_new(MESSAGE_forward_put, put->key.size + put->value.size + put->context.size);
        message->id = request->id;
        message->to = (struct actor_id){.node = member, .kind = ACTOR_COORDINATOR};
        message->deadline_ns = request->deadline_ns;
        put_request_copy(&message->arena, put, &message->forward_put.request);
        request->asked |= (uint64_t)1 << i;
        request->forwarded_to = member;
        counter_add(&coordinator->figures.forwarded, 1);
        coordinator_request_send(coordinator, ctx, request, message);
        return true;
    }
    return false;
}

void coordinator_forward_first(struct coordinator *coordinator, struct actor_context *ctx,
                               struct request *request)
{
    if (!forward_next(coordinator, ctx, request)) {
        coordinator_put_end(coordinator, ctx, request, ERR_UNAVAILABLE, OUTCOME_NOT_APPLIED,
                            "no replica of the key is alive");
        return;
    }
    coordinator_request_move(request, REQUEST_FORWARDED);
    coordinator_request_wake(coordinator, request);
}

/* A copy is not to be written on, or its disk is full, so nothing was staged; another replica's may
 * be. Who is only busy is left alone: the next one would be as soon. */
static bool forward_is_for_another(enum err status, bool disk_full)
{
    return status == ERR_INCOMPLETE || status == ERR_CORRUPT || disk_full;
}

bool coordinator_forward_elsewhere(struct coordinator *coordinator, struct actor_context *ctx,
                                   struct request *request, const struct replica_mint_done *done)
{
    int own = coordinator_request_replica_index(request, coordinator->options.self);
    if (!forward_is_for_another(done->status, done->disk_full) ||
        request->origin->kind != MESSAGE_client_put)
        return false;
    request->asked |= (uint64_t)1 << own;
    if (!forward_next(coordinator, ctx, request))
        return false;
    coordinator_request_move(request, REQUEST_FORWARDED);
    request->late_at_ns = NEVER_NS;
    coordinator_request_wake(coordinator, request);
    return true;
}

/* Whether this forward_put has not come before. Ids of one sender ascend (coordinator.c). */
static bool forward_is_new(struct coordinator *coordinator, const struct message *message)
{
    struct actor_id from = message->from;
    struct forward_origin **slot =
        &coordinator->origins[(from.node * COORDINATORS_MAX + from.index) % COORDINATOR_ORIGINS];
    if (*slot == NULL) {
        *slot = calloc(1, sizeof **slot);
        CHECK(*slot != NULL);
        (*slot)->id = from;
    } else if (!actor_id_equal((*slot)->id, from)) {
        memset(*slot, 0, sizeof **slot);
        (*slot)->id = from;
    }
    if (MUTATE(FORWARD_WRITTEN_TWICE))
        return true;
    return replay_window_accept(&(*slot)->window, message->id >> 16);
}

void coordinator_on_forward_put(struct coordinator *coordinator, struct actor_context *ctx,
                                struct message *message)
{
    if (!forward_is_new(coordinator, message)) {
        counter_add(&coordinator->figures.duplicates, 1);
        message_free(message);
        return;
    }
    counter_add(&coordinator->figures.taken_over, 1);
    coordinator_put_begin(coordinator, ctx, message);
}

/* Whether the write can be given to another replica: this one has not applied it and never will. */
static bool forward_was_refused(const struct message *message)
{
    const struct put_result *result = &message->forward_put_reply.result;
    return result->outcome == OUTCOME_NOT_APPLIED &&
           (result->status == ERR_UNAVAILABLE || result->status == ERR_STALE_EPOCH ||
            forward_is_for_another(result->status, result->disk_full));
}

/* True: it goes on with another replica, or another plan. */
static bool forward_again(struct coordinator *coordinator, struct actor_context *ctx,
                          struct request *request, const struct message *message)
{
    if (!forward_was_refused(message))
        return false;
    enum epoch_verdict verdict =
        coordinator_epoch_judge(request, message->forward_put_reply.result.status, message->epoch);
    request->plan_refused |= verdict == EPOCH_STALE || verdict == EPOCH_BEHIND;
    if (verdict != EPOCH_STALE && forward_next(coordinator, ctx, request))
        return true;
    if (!request->plan_refused)
        return false;
    coordinator_put_again_soon(coordinator, ctx, request, verdict);
    return true;
}

void coordinator_on_forward_put_reply(struct coordinator *coordinator, struct actor_context *ctx,
                                      struct message *message)
{
    struct request *request = coordinator_request_find(coordinator, message->id);
    /* One that was tried before and answers twice must not move the write a second time. */
    if (request != NULL && request->state == REQUEST_FORWARDED && !request->unsent &&
        message->from.node == request->forwarded_to &&
        !forward_again(coordinator, ctx, request, message)) {
        struct put_result *result;
        const struct put_result *from = &message->forward_put_reply.result;
        struct message *answer =
            coordinator_put_answer(request->origin, from->context.size, &result);
        put_result_copy(&answer->arena, from, result);
        outbox_send(ctx, &coordinator->actor, answer);
        coordinator_request_end(coordinator, request);
    }
    message_free(message);
}
