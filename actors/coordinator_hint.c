/* Sloppy quorum: who keeps a write for a replica that cannot take it. Dynamo (SOSP 2007) 4.6.
 *
 * The next node of the same ring walk keeps the hint, and its durable answer counts in the place of
 * that replica; each fallback stands in once, so W still counts distinct nodes. When the data
 * centre has no other node left, this one keeps the hint itself; then it counts for nothing, since
 * this node's own copy has been counted. In a strict write hints are kept all the same, and none
 * counts (RELIABILITY rule 18). */
#include "actors/coordinator_request.h"

#include "base/mutation.h"

#include <inttypes.h>

#define LOG_PACE_NS (1000u * 1000 * 1000)

static uint64_t bit(uint32_t index)
{
    return (uint64_t)1 << index;
}

static bool hint_was_tried(const struct request *request, uint32_t member)
{
    for (uint32_t i = 0; i < request->tried_count; i++) {
        if (request->tried[i] == member)
            return true;
    }
    return false;
}

/* The next live node of the walk in the replica's own data centre, or MEMBER_NONE. */
static uint32_t hint_find_fallback(struct actor_context *ctx, struct request *request,
                                   uint32_t index)
{
    const struct view *view = ctx->view;
    const struct keyspace *keyspace = keyspace_map_find_id(
        &view->keyspaces, coordinator_put_request(request->origin)->keyspace_id);
    uint32_t data_center = request->replicas.replicas[index].data_center;
    if (MUTATE(HINT_STANDS_IN_ABROAD))
        data_center = view->local_data_center;
    if (keyspace == NULL)
        return MEMBER_NONE;
    struct preference_list list;
    view_preference_list(view, keyspace, data_center, request->partition, &list);
    for (uint32_t i = list.replicas; i < list.count; i++) {
        uint32_t member = list.members[i];
        if (request->tried_count == PROGRESS_FALLBACKS_MAX)
            break;
        if (!view_alive(view, member) || hint_was_tried(request, member) ||
            coordinator_request_replica_index(request, member) >= 0)
            continue;
        if (request->mint != NULL && member == view->self)
            continue; /* no replica any more, but its copy is the one that was minted */
        request->tried[request->tried_count++] = member;
        return member;
    }
    return MEMBER_NONE;
}

/* Whether a durable hint with its keeper stands in for the replica in the quorum. */
static bool hint_may_count(const struct coordinator *coordinator, const struct request *request,
                           uint32_t index)
{
    if (MUTATE(OWN_HINT_COUNTS))
        return !request->strict;
    return !request->strict && request->refused == 0 &&
           request->keepers[index] != coordinator->options.self;
}

/* A keeper for the hint. Without a fallback, or in a strict write, a replica that is away cannot
 * count. */
static void hint_choose_keeper(struct coordinator *coordinator, struct actor_context *ctx,
                               struct request *request, uint32_t index)
{
    uint32_t fallback = hint_find_fallback(ctx, request, index);
    request->keepers[index] = fallback == MEMBER_NONE ? coordinator->options.self : fallback;
    /* Where the write will be passed on this node may be the fallback. */
    bool counts = !request->strict && fallback != MEMBER_NONE;
    if ((request->away & bit(index)) != 0 && !counts)
        quorum_fail(&request->quorum, request->replicas.replicas[index].member);
}

static void hint_send(struct coordinator *coordinator, struct actor_context *ctx,
                      struct request *request, uint32_t index)
{
    struct bytes record = coordinator_refresh_record(request);
    struct message *message =
        message_new(MESSAGE_hint_store, coordinator_request_key(request).size + record.size);
    message->id = request->id;
    message->to = (struct actor_id){.node = request->keepers[index], .kind = ACTOR_HINTED_HANDOFF};
    message->deadline_ns = request->deadline_ns;
    message->hint_store = (struct hint_store){
        .target = request->replicas.replicas[index].member,
        .write = coordinator_request_write(request, &message->arena, record, WRITE_HINT),
    };
    request->hinting |= bit(index);
    request->hint_sent = true;
    counter_add(&coordinator->figures.hints_sent, 1);
    coordinator_request_send(coordinator, ctx, request, message);
}

void coordinator_hint_begin(struct coordinator *coordinator, struct actor_context *ctx,
                            struct request *request, uint32_t index)
{
    if (((request->hinting | request->hinted | request->stale) & bit(index)) != 0)
        return;
    if (request->keepers[index] == MEMBER_NONE)
        hint_choose_keeper(coordinator, ctx, request, index);
    if (request->mint != NULL && !request->floor_refused)
        hint_send(coordinator, ctx, request, index);
}

void coordinator_hint_reserve(struct coordinator *coordinator, struct actor_context *ctx,
                              struct request *request, uint32_t index)
{
    request->away |= bit(index);
    hint_choose_keeper(coordinator, ctx, request, index);
}

static void hint_away(struct coordinator *coordinator, struct actor_context *ctx,
                      struct request *request, uint32_t index)
{
    request->away |= bit(index);
    if (!hint_may_count(coordinator, request, index))
        quorum_fail(&request->quorum, request->replicas.replicas[index].member);
    if (!coordinator_hint_has_write(request, index))
        coordinator_hint_begin(coordinator, ctx, request, index);
}

/* Whether a hint may change what this replica answered: it could not, now, as opposed to it would
 * not. */
static bool hint_helps(enum err status)
{
    switch (status) {
    case ERR_UNAVAILABLE:
    case ERR_OVERLOADED:
    case ERR_TIMEOUT:
    case ERR_IO:
    case ERR_CORRUPT: /* what it holds of the key is damaged, and may be repaired */
    case ERR_INCOMPLETE:
    case ERR_STALE_EPOCH:
    case ERR_CLOSED:
        return true;
    case OK:
    case ERR_NOT_FOUND:
    case ERR_EXISTS:
    case ERR_INVALID:
    case ERR_LIMIT:
    case ERR_CONFLICT:
    case ERR_PRECONDITION:
    case ERR_STALE_FLOOR: /* a newer state may: coordinator_refresh.c */
    case ERR_UNSUPPORTED:
    case ERR_DENIED:
    case ERR_COUNT:
        break;
    }
    return false;
}

/* A change has only just given it this copy, which takes writes in a moment, and nobody can stand
 * in for it: with few nodes all others are replicas of the old or the new set. It is asked again
 * soon instead; a keeper that was found is kept. */
static bool hint_copy_is_coming(struct actor_context *ctx, struct request *request, uint32_t index)
{
    if (request->replicas.replicas[index].reader || (request->away & bit(index)) != 0 ||
        request->keepers[index] != MEMBER_NONE)
        return false;
    request->keepers[index] = hint_find_fallback(ctx, request, index);
    return request->keepers[index] == MEMBER_NONE;
}

void coordinator_hint_refused(struct coordinator *coordinator, struct actor_context *ctx,
                              struct request *request, uint32_t index, enum err status)
{
    request->last_error = status;
    if (status == ERR_INCOMPLETE && hint_copy_is_coming(ctx, request, index)) {
        request->behind |= bit(index);
        coordinator_request_set_soon(coordinator, ctx, request, SOON_NS);
    } else if (hint_helps(status)) {
        hint_away(coordinator, ctx, request, index);
    } else {
        quorum_fail(&request->quorum, request->replicas.replicas[index].member);
    }
}

void coordinator_hint_carry(struct coordinator *coordinator, struct actor_context *ctx,
                            struct request *request, uint32_t index)
{
    if (request->keepers[index] != MEMBER_NONE && !hint_may_count(coordinator, request, index))
        quorum_fail(&request->quorum, request->replicas.replicas[index].member);
    coordinator_hint_begin(coordinator, ctx, request, index);
}

void coordinator_hint_minted(struct coordinator *coordinator, struct actor_context *ctx,
                             struct request *request)
{
    for (uint32_t i = 0; i < request->replicas.count; i++) {
        if ((request->away & bit(i)) != 0 && !coordinator_hint_has_write(request, i))
            coordinator_hint_begin(coordinator, ctx, request, i);
    }
}

bool coordinator_hint_has_write(const struct request *request, uint32_t index)
{
    return request->quorum.members[index].state == REPLICA_ACKED &&
           (request->stood_in & bit(index)) == 0;
}

/* It said no itself, for a reason that a hint would not change. */
static bool hint_is_useless(const struct request *request, uint32_t index)
{
    return request->quorum.members[index].state == REPLICA_FAILED &&
           (request->away & bit(index)) == 0;
}

static bool hint_is_owed(const struct coordinator *coordinator, const struct request *request,
                         uint32_t index)
{
    return !coordinator_request_is_minter(coordinator, request, index) &&
           !coordinator_hint_has_write(request, index) && !hint_is_useless(request, index) &&
           (request->hinted & bit(index)) == 0;
}

void coordinator_hint_late(struct coordinator *coordinator, struct actor_context *ctx,
                           struct request *request)
{
    for (uint32_t i = 0; i < request->replicas.count; i++) {
        if (!hint_is_owed(coordinator, request, i) || (request->stale & bit(i)) != 0)
            continue;
        if ((request->hinting & bit(i)) != 0 && !view_alive(ctx->view, request->keepers[i])) {
            request->hinting &= ~bit(i);
            request->keepers[i] = MEMBER_NONE;
        }
        if ((request->hinting & bit(i)) != 0)
            hint_send(coordinator, ctx, request, i);
        else
            coordinator_hint_begin(coordinator, ctx, request, i);
    }
}

/* It is durable. */
static void hint_count(struct coordinator *coordinator, struct request *request, uint32_t index)
{
    if (!hint_may_count(coordinator, request, index) ||
        request->quorum.members[index].state != REPLICA_WAITING)
        return;
    request->stood_in |= bit(index);
    counter_add(&coordinator->figures.stood_in, 1);
    quorum_ack(&request->quorum, request->replicas.replicas[index].member);
}

void coordinator_hint_count_kept(struct coordinator *coordinator, struct request *request)
{
    for (uint32_t i = 0; i < request->replicas.count && request->refused == 0; i++) {
        if ((request->hinted & bit(i)) != 0)
            hint_count(coordinator, request, i);
    }
}

void coordinator_hint_void(struct request *request)
{
    request->hinting = request->hinted = 0;
    for (uint32_t i = 0; i < request->replicas.count; i++) {
        if ((request->stood_in & bit(i)) != 0)
            quorum_take_back(&request->quorum, request->replicas.replicas[i].member);
    }
    request->stood_in = 0;
}

bool coordinator_hint_answered(struct coordinator *coordinator, struct actor_context *ctx,
                               struct request *request, uint32_t keeper, enum err status)
{
    for (uint32_t i = 0; i < request->replicas.count; i++) {
        /* Several may be kept here: their answers are alike and count for nothing. */
        if (request->keepers[i] != keeper || (request->hinting & bit(i)) == 0)
            continue;
        if (status == OK && (request->stale & bit(i)) == 0) {
            request->hinting &= ~bit(i);
            request->hinted |= bit(i);
            hint_count(coordinator, request, i);
            return true;
        }
        request->hinting &= ~bit(i);
        if (status == OK)
            return true; /* a hint of what its target has refused meanwhile */
        if (status == ERR_STALE_FLOOR) {
            coordinator_refresh_begin(coordinator, ctx, request, i);
            return true;
        }
        counter_add(&coordinator->figures.hints_failed, 1);
        if (keeper == coordinator->options.self)
            return true; /* the next late time tries again */
        request->keepers[i] = MEMBER_NONE;
        coordinator_hint_begin(coordinator, ctx, request, i);
        return true;
    }
    return false;
}

/* -- what nobody keeps ------------------------------------------------------------------------
 */

static void hint_log_lacking(struct coordinator *coordinator, struct actor_context *ctx,
                             const struct request *request, uint32_t member)
{
    coordinator->unsettled_unlogged++;
    if (ctx->now_ns < coordinator->unsettled_log_ns)
        return;
    log_write(ctx->log, LOG_WARNING, "write_unsettled",
              "writes=%" PRIu32 " partition=%" PRIu32 " member=%" PRIu32 " last_error=\"%s\"",
              coordinator->unsettled_unlogged, request->partition, member,
              err_text(request->last_error));
    coordinator->unsettled_unlogged = 0;
    coordinator->unsettled_log_ns = ctx->now_ns + LOG_PACE_NS;
}

void coordinator_hint_tell_lacking(struct coordinator *coordinator, struct actor_context *ctx,
                                   const struct request *request)
{
    uint32_t last = MEMBER_NONE;
    for (uint32_t i = 0; i < request->replicas.count; i++) {
        uint32_t member = request->replicas.replicas[i].member;
        if (member == coordinator->options.self || coordinator_hint_has_write(request, i) ||
            (request->hinted & bit(i)) != 0)
            continue; /* no replica compares itself with itself */
        struct message *message = message_new(MESSAGE_range_dirty, 0);
        message->to =
            (struct actor_id){.node = coordinator->options.self, .kind = ACTOR_ANTI_ENTROPY};
        message->range_dirty =
            (struct range_dirty){.partition = request->partition, .member = member};
        outbox_send(ctx, &coordinator->actor, message);
        last = member;
    }
    if (last == MEMBER_NONE)
        return;
    counter_add(&coordinator->figures.unsettled, 1);
    hint_log_lacking(coordinator, ctx, request, last);
}

bool coordinator_hint_settled(const struct coordinator *coordinator, const struct request *request)
{
    for (uint32_t i = 0; i < request->replicas.count; i++) {
        if (hint_is_owed(coordinator, request, i))
            return false;
    }
    return true;
}
