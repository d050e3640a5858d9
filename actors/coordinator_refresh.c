/* A write that meets a newer floor: tombstones were reaped at its receiver since the state was
 * made, so it may hold what they hid, and nothing is taken from it (RELIABILITY rule 14). The bytes
 * that were refused are never sent again: our own replica, where the write was minted, says what it
 * holds now, and that is sent to those that lack it. A refusal counts for nothing, neither for W
 * nor against it, until a few such rounds have not helped.
 *
 * Our own floor may be the one that lags: a seal of the round has not come here yet, or was lost.
 * What is read under the same floor again would be refused again, so it is not sent before the next
 * late time, and anti-entropy is told, which raises the floor.
 *
 * Hints of what was refused count for nothing either: the replica that is away was perhaps sealed
 * in the same round, and would refuse them; then a write that was acknowledged with such a hint
 * would be held by this node alone. They count again when who refused has taken a newer state, and
 * are stored anew with that. What was sent before is given another id then, so that a late answer
 * to an older hint is not taken for one to the new. */
#include "actors/coordinator_request.h"

#include "model/record.h"

#define REFRESHES_MAX 4u

static uint64_t bit(uint32_t index)
{
    return (uint64_t)1 << index;
}

struct bytes coordinator_refresh_record(const struct request *request)
{
    return request->fresh != NULL ? request->fresh->replica_read_reply.record
                                  : request->mint->replica_mint_done.record;
}

static void refresh_ask(struct coordinator *coordinator, struct actor_context *ctx,
                        struct request *request)
{
    const struct put_request *put = coordinator_put_request(request->origin);
    struct message *message = message_new(MESSAGE_replica_read, put->key.size);
    message->id = request->id;
    message->to = (struct actor_id){.node = coordinator->options.self, .kind = ACTOR_REPLICA};
    message->deadline_ns = request->deadline_ns;
    message->replica_read = (struct replica_read){
        .keyspace_id = put->keyspace_id,
        .key = arena_copy(&message->arena, put->key),
        .policy = request->policy,
        .partition = request->partition,
    };
    request->refreshing = true;
    request->refreshes++;
    counter_add(&coordinator->figures.refreshed, 1);
    coordinator_request_send(coordinator, ctx, request, message);
}

/* Anti-entropy compares those that refused with this node at once, and their floors first. */
static void refresh_tell(struct coordinator *coordinator, struct actor_context *ctx,
                         const struct request *request)
{
    for (uint32_t i = 0; i < request->replicas.count; i++) {
        if ((request->stale & bit(i)) == 0)
            continue;
        struct message *message = message_new(MESSAGE_range_dirty, 0);
        message->to =
            (struct actor_id){.node = coordinator->options.self, .kind = ACTOR_ANTI_ENTROPY};
        message->range_dirty = (struct range_dirty){.partition = request->partition,
                                                    .member = request->replicas.replicas[i].member};
        outbox_send(ctx, &coordinator->actor, message);
    }
}

/* They will not get the write from here. */
static void refresh_give_up(struct request *request)
{
    for (uint32_t i = 0; i < request->replicas.count; i++) {
        if ((request->stale & bit(i)) == 0)
            continue;
        request->away &= ~bit(i);
        quorum_fail(&request->quorum, request->replicas.replicas[i].member);
    }
    /* What is away may have been sealed too: a hint for it is kept, but does not count. */
    for (uint32_t i = 0; i < request->replicas.count && request->refused != 0; i++) {
        if ((request->away & bit(i)) != 0)
            quorum_fail(&request->quorum, request->replicas.replicas[i].member);
    }
    request->stale = 0;
    request->floor_refused = false;
    request->last_error = ERR_STALE_FLOOR;
}

void coordinator_refresh_on_late(struct coordinator *coordinator, struct actor_context *ctx,
                                 struct request *request)
{
    if (request->stale == 0 || request->mint == NULL || request->refreshing)
        return;
    if (request->refreshes < REFRESHES_MAX)
        refresh_ask(coordinator, ctx, request);
    else
        refresh_give_up(request);
}

void coordinator_refresh_begin(struct coordinator *coordinator, struct actor_context *ctx,
                               struct request *request, uint32_t index)
{
    if (request->replicas.replicas[index].member == coordinator->options.self ||
        coordinator_hint_has_write(request, index))
        return;
    request->hinted &= ~bit(index); /* of the same bytes: it will be refused as well */
    request->stale |= bit(index);
    if (!request->floor_lags)
        coordinator_refresh_on_late(coordinator, ctx, request);
}

void coordinator_refresh_refused(struct coordinator *coordinator, struct actor_context *ctx,
                                 struct request *request, uint32_t index)
{
    if (coordinator_hint_has_write(request, index))
        return; /* a copy of what was sent before */
    request->refused |= bit(index);
    if ((request->outdated & bit(index)) != 0) { /* another has refused before: we know by now */
        request->outdated &= ~bit(index);
        coordinator_request_send_write(coordinator, ctx, request,
                                       request->replicas.replicas[index].member,
                                       coordinator_refresh_record(request), WRITE_REPLICATE);
        return;
    }
    request->floor_refused = true;
    coordinator_hint_void(request);
    coordinator_refresh_begin(coordinator, ctx, request, index);
}

void coordinator_refresh_taken(struct coordinator *coordinator, struct actor_context *ctx,
                               struct request *request, uint32_t index)
{
    request->stale &= ~bit(index);
    if (request->refused == 0)
        return;
    request->refused &= ~bit(index);
    if (request->refused != 0)
        return;
    request->floor_refused = false;
    coordinator_hint_minted(coordinator, ctx, request);
    coordinator_hint_count_kept(coordinator, request);
}

/* Answers to older bytes must meet nobody: then those that have not answered are asked anew. */
static void refresh_renew(struct coordinator *coordinator, struct request *request)
{
    coordinator_request_renew(coordinator, request);
    coordinator_request_wake(coordinator, request);
    request->hint_sent = false;
    request->hinting = 0;
    for (uint32_t i = 0; i < request->replicas.count; i++) {
        if (request->quorum.members[i].state == REPLICA_WAITING)
            request->stale |= bit(i);
    }
}

/* To those that refused what was sent before: the write itself, or a hint where they are away.
 * `raised`: under a greater floor than before; then hints may be stored again. */
static void refresh_send(struct coordinator *coordinator, struct actor_context *ctx,
                         struct request *request, bool raised)
{
    if (raised) {
        request->floor_refused = false;
        if (request->hint_sent)
            refresh_renew(coordinator, request);
    }
    uint64_t stale = request->stale;
    request->stale = 0;
    request->outdated &= ~stale;
    for (uint32_t i = 0; i < request->replicas.count; i++) {
        if ((stale & bit(i)) == 0)
            continue;
        if ((request->away & bit(i)) != 0)
            coordinator_hint_begin(coordinator, ctx, request, i);
        else
            coordinator_request_send_write(coordinator, ctx, request,
                                           request->replicas.replicas[i].member,
                                           coordinator_refresh_record(request), WRITE_REPLICATE);
    }
    if (raised)
        coordinator_hint_minted(coordinator, ctx, request);
}

/* Our copy of the vnode may have been emptied since it minted the write, and filled by others that
 * never had it: what it holds then, and they all hold, says nothing of the write. */
static bool refresh_has_write(struct coordinator *coordinator, const struct request *request,
                              const struct put_request *put, struct bytes record)
{
    struct bytes minted = request->mint->replica_mint_done.record;
    struct version_set now;
    struct version_set then;
    struct arena *scratch = &coordinator->scratch;
    return record_decode(scratch, put->keyspace_id, put->key, record, &now) == OK &&
           record_decode(scratch, put->keyspace_id, put->key, minted, &then) == OK &&
           clock_descends(&now.clock, &then.clock);
}

void coordinator_refresh_on_reply(struct coordinator *coordinator, struct actor_context *ctx,
                                  struct request *request, struct message *message)
{
    const struct put_request *put = coordinator_put_request(request->origin);
    const struct replica_read_reply *reply = &message->replica_read_reply;
    if (!request->refreshing || message->from.node != coordinator->options.self) {
        message_free(message);
        return;
    }
    request->refreshing = false;
    enum err err = reply->status;
    if (err == OK && reply->record.size != 0)
        err = record_verify(put->keyspace_id, put->key, reply->record);
    if (err != OK) { /* the next late time asks again */
        message_free(message);
        return;
    }
    if (reply->record.size == 0 || !refresh_has_write(coordinator, request, put, reply->record)) {
        /* Reaped, or lost with our copy: it is not here to be sent. */
        message_free(message);
        refresh_give_up(request);
    } else if (request->fresh != NULL && reply->floor <= request->floor) {
        message_free(message);
        if (!request->floor_lags)
            refresh_tell(coordinator, ctx, request);
        request->floor_lags = true;
    } else {
        request->floor_lags = false;
        bool raised = reply->floor > request->floor;
        if (raised || request->fresh == NULL) /* what our replica sent itself may say less */
            request->outdated = UINT64_MAX;
        message_free(request->fresh);
        request->fresh = message;
        request->floor = reply->floor;
        refresh_send(coordinator, ctx, request, raised);
    }
    coordinator_put_decide(coordinator, ctx, request);
}
