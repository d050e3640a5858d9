/* The write side: mint here, count durable copies. DESIGN.md 7. */
#include "actors/coordinator_request.h"

#include "base/mutation.h"

const struct put_request *coordinator_put_request(const struct message *origin)
{
    return origin->kind == MESSAGE_client_put ? &origin->client_put.request
                                              : &origin->forward_put.request;
}

struct message *coordinator_put_answer(const struct message *origin, size_t size_hint,
                                       struct put_result **ret_result)
{
    if (origin->kind == MESSAGE_client_put) {
        struct message *answer = message_new_reply(origin, MESSAGE_client_put_done, size_hint);
        answer->client_put_done.client = origin->client_put.client;
        *ret_result = &answer->client_put_done.result;
        return answer;
    }
    CHECK(origin->kind == MESSAGE_forward_put);
    struct message *answer = message_new_reply(origin, MESSAGE_forward_put_reply, size_hint);
    *ret_result = &answer->forward_put_reply.result;
    return answer;
}

/* Answered; kept until no replica is left without the write or a hint of it. At most half of the
 * table is such requests. */
static void put_settle(struct coordinator *coordinator, struct actor_context *ctx,
                       struct request *request)
{
    if (coordinator_hint_settled(coordinator, request) ||
        2 * coordinator->settling_count >= coordinator->options.requests_max) {
        coordinator_hint_tell_lacking(coordinator, ctx, request);
        coordinator_request_end(coordinator, request);
        return;
    }
    coordinator_request_settle(coordinator, request);
    request->deadline_ns = ctx->now_ns + 6 * coordinator->options.write_late_ns;
    /* After a long pause the deadline has come before what was late, and took its wake-up. */
    if (request->late_at_ns == NEVER_NS || request->late_at_ns <= ctx->now_ns)
        coordinator_request_set_late(coordinator, ctx, request, coordinator->options.write_late_ns);
}

void coordinator_put_end(struct coordinator *coordinator, struct actor_context *ctx,
                         struct request *request, enum err status, enum outcome outcome,
                         const char *why)
{
    struct put_result *result;
    const struct replica_mint_done *mint =
        request->mint == NULL ? NULL : &request->mint->replica_mint_done;
    struct message *answer =
        coordinator_put_answer(request->origin, mint == NULL ? 0 : mint->context.size, &result);
    result->status = status;
    result->outcome = outcome;
    result->why = why == NULL ? NULL : arena_string(&answer->arena, bytes_of_string(why));
    coordinator_request_progress(request, &result->progress);
    if (mint != NULL && outcome == OUTCOME_APPLIED) {
        result->context = arena_copy(&answer->arena, mint->context);
        result->sibling_count = mint->sibling_count;
    }
    if (status == ERR_UNAVAILABLE)
        counter_add(&coordinator->figures.unavailable, 1);
    result->disk_full = request->disk_full;
    if (status == ERR_OVERLOADED && !result->disk_full)
        result->retry_after_ms = 100;
    outbox_send(ctx, &coordinator->actor, answer);
    if (mint != NULL) { /* applied or not known: it is here, so it is owed to all */
        put_settle(coordinator, ctx, request);
        return;
    }
    if (outcome == OUTCOME_UNKNOWN && request->state == REQUEST_WRITING)
        coordinator_hint_tell_lacking(coordinator, ctx, request);
    coordinator_request_end(coordinator, request);
}

/* -- this node holds a replica: mint here --------------------------------------------------------
 */

static void put_mint(struct coordinator *coordinator, struct actor_context *ctx,
                     struct request *request)
{
    const struct put_request *put = coordinator_put_request(request->origin);
    struct message *message =
        message_new(MESSAGE_replica_mint, put->key.size + put->value.size + put->context.size);
    struct replica_mint *mint = &message->replica_mint;
    message->id = request->id;
    message->to = (struct actor_id){.node = coordinator->options.self, .kind = ACTOR_REPLICA};
    message->deadline_ns = request->deadline_ns;
    put_request_copy(&message->arena, put, &mint->request);
    mint->policy = request->policy;
    mint->partition = request->partition;
    mint->hash = request->hash;
    for (uint32_t i = 0; i < request->replicas.count; i++) {
        uint32_t member = request->replicas.replicas[i].member;
        if (member != coordinator->options.self && view_alive(ctx->view, member))
            mint->targets[mint->target_count++] = member;
    }
    coordinator_remote_route(coordinator, ctx->view, request, mint);
    coordinator_request_set_late(coordinator, ctx, request, coordinator->options.write_late_ns);
    coordinator_request_send(coordinator, ctx, request, message);
}

static void put_refuse(struct coordinator *coordinator, struct actor_context *ctx,
                       struct message *origin)
{
    struct put_result *result;
    struct message *answer = coordinator_put_answer(origin, 0, &result);
    result->status = ERR_OVERLOADED;
    result->outcome = OUTCOME_NOT_APPLIED;
    result->why = "too many requests in flight on this node";
    result->retry_after_ms = 100;
    outbox_send(ctx, &coordinator->actor, answer);
    message_free(origin);
}

/* A replica that is only written has not got all that a dot must be above. */
static bool put_mints_here(const struct coordinator *coordinator, const struct request *request)
{
    int own = coordinator_request_replica_index(request, coordinator->options.self);
    return own >= 0 && request->replicas.replicas[own].reader;
}

static void put_start(struct coordinator *coordinator, struct actor_context *ctx,
                      struct request *request)
{
    const char *why = NULL;
    const struct put_request *put = coordinator_put_request(request->origin);
    enum err err = coordinator_request_plan(coordinator, ctx, request, put->keyspace_id, put->key,
                                            put->level, put->count, put, &why);
    if (err != OK)
        coordinator_put_end(coordinator, ctx, request, err, OUTCOME_NOT_APPLIED, why);
    else if (put_mints_here(coordinator, request))
        put_mint(coordinator, ctx, request);
    else if (request->origin->kind == MESSAGE_client_put)
        coordinator_forward_first(coordinator, ctx, request);
    else
        coordinator_put_end(coordinator, ctx, request, ERR_STALE_EPOCH, OUTCOME_NOT_APPLIED,
                            "passed on to a node that holds no replica of the key that is read");
}

void coordinator_put_begin(struct coordinator *coordinator, struct actor_context *ctx,
                           struct message *origin)
{
    struct request *request = coordinator_request_new(coordinator, ctx, origin, REQUEST_WRITING);
    if (request == NULL)
        put_refuse(coordinator, ctx, origin);
    else if (coordinator_put_request(origin)->condition != REGISTER_ALWAYS)
        coordinator_put_end(coordinator, ctx, request, ERR_PRECONDITION, OUTCOME_NOT_APPLIED,
                            "condition: only a consistent keyspace has compare-and-set");
    else
        put_start(coordinator, ctx, request);
}

/* Refused for the epoch of its plan before anything was staged: from the beginning. Another id, as
 * it may be passed on to the same node again. */
static void put_again(struct coordinator *coordinator, struct actor_context *ctx,
                      struct request *request)
{
    counter_add(&coordinator->figures.replanned, 1);
    coordinator_request_renew(coordinator, request);
    if (request->state != REQUEST_WRITING)
        coordinator_request_move(request, REQUEST_WRITING);
    request->unsent = request->plan_refused = false;
    request->soon_at_ns = NEVER_NS;
    request->away = request->asked = request->behind = 0;
    request->onward = request->stranded = 0;
    request->tried_count = 0;
    memset(request->keepers, 0, sizeof request->keepers);
    put_start(coordinator, ctx, request);
}

void coordinator_put_again_soon(struct coordinator *coordinator, struct actor_context *ctx,
                                struct request *request, enum epoch_verdict verdict)
{
    request->unsent = true;
    request->late_at_ns = NEVER_NS;
    if (verdict == EPOCH_BEHIND)
        coordinator_request_set_soon(coordinator, ctx, request, SOON_NS);
    else if (coordinator_epoch_may_plan(coordinator, ctx, request))
        put_again(coordinator, ctx, request);
}

void coordinator_on_client_put(struct coordinator *coordinator, struct actor_context *ctx,
                               struct message *message)
{
    counter_add(&coordinator->figures.puts, 1);
    if (coordinator_register_takes(ctx, message->client_put.request.keyspace_id)) {
        coordinator_register_begin(coordinator, ctx, message);
        return;
    }
    coordinator_put_begin(coordinator, ctx, message);
}

/* -- counting durable copies
 * ---------------------------------------------------------------------------- */

void coordinator_put_decide(struct coordinator *coordinator, struct actor_context *ctx,
                            struct request *request)
{
    if (request->state == REQUEST_SETTLING) {
        if (!coordinator_hint_settled(coordinator, request))
            return;
        coordinator_hint_tell_lacking(coordinator, ctx, request);
        coordinator_request_end(coordinator, request);
        return;
    }
    enum quorum_state state = quorum_state(&request->quorum);
    if (state == QUORUM_MET && request->mint != NULL)
        coordinator_put_end(coordinator, ctx, request, OK, OUTCOME_APPLIED, NULL);
    else if (state == QUORUM_IMPOSSIBLE)
        coordinator_put_end(coordinator, ctx, request, coordinator_request_failure(request),
                            OUTCOME_UNKNOWN,
                            "too many replicas could not take the write; some have it");
}

/* Minted, and refused for the epoch of its plan: by the view's, or as soon as that is newer. True:
 * it was decided. */
static bool put_replan(struct coordinator *coordinator, struct actor_context *ctx,
                       struct request *request)
{
    const char *why = NULL;
    if (!coordinator_epoch_may_plan(coordinator, ctx, request))
        return false;
    enum err err = coordinator_replan(coordinator, ctx, request, &why);
    if (err != OK && request->state == REQUEST_WRITING)
        coordinator_put_end(coordinator, ctx, request, err, OUTCOME_UNKNOWN, why);
    else
        coordinator_put_decide(coordinator, ctx, request);
    return true;
}

void coordinator_on_replica_mint_done(struct coordinator *coordinator, struct actor_context *ctx,
                                      struct message *message)
{
    struct request *request = coordinator_request_find(coordinator, message->id);
    const struct replica_mint_done *done = &message->replica_mint_done;
    if (request == NULL || request->state != REQUEST_WRITING || request->mint != NULL) {
        message_free(message);
        return;
    }
    if (request->unsent) { /* a copy of the refusal */
        message_free(message);
        return;
    }
    if (done->status != OK) {
        enum epoch_verdict verdict = coordinator_epoch_judge(request, done->status, message->epoch);
        CHECK(!done->staged);
        if (verdict == EPOCH_STALE || verdict == EPOCH_BEHIND)
            coordinator_put_again_soon(coordinator, ctx, request, verdict);
        else if (!coordinator_forward_elsewhere(coordinator, ctx, request, done)) {
            request->disk_full = done->disk_full;
            coordinator_put_end(coordinator, ctx, request, done->status, OUTCOME_NOT_APPLIED,
                                done->why);
        }
        message_free(message);
        return;
    }
    request->mint = message;
    request->floor = done->floor;
    quorum_ack(&request->quorum, coordinator->options.self);
    /* Tried again, deleted since and reaped: for that all replicas had to hold it. */
    for (uint32_t i = 0; i < request->replicas.count && done->record.size == 0; i++)
        quorum_ack(&request->quorum, request->replicas.replicas[i].member);
    if (done->record.size == 0)
        request->away = 0; /* there is nothing to hint at */
    coordinator_refresh_on_late(coordinator, ctx, request);
    coordinator_remote_resend(coordinator, ctx, request);
    coordinator_hint_minted(coordinator, ctx, request);
    if (!request->plan_refused || !put_replan(coordinator, ctx, request))
        coordinator_put_decide(coordinator, ctx, request);
}

/* False: a copy of it counts for what its status says. */
static bool put_epoch_differs(struct coordinator *coordinator, struct actor_context *ctx,
                              struct request *request, uint32_t index, enum err status,
                              uint64_t epoch)
{
    switch (coordinator_epoch_judge(request, status, epoch)) {
    case EPOCH_SAME:
        return false;
    case EPOCH_EARLIER:
        return true;
    case EPOCH_BEHIND:
        request->behind |= (uint64_t)1 << index;
        coordinator_request_set_soon(coordinator, ctx, request, SOON_NS);
        return true;
    case EPOCH_STALE:
        request->plan_refused = true;
        if (request->mint != NULL)
            put_replan(coordinator, ctx, request);
        return true;
    }
    UNREACHABLE("verdict");
}

void coordinator_put_on_written(struct coordinator *coordinator, struct actor_context *ctx,
                                struct request *request, uint32_t member, enum err status,
                                uint64_t epoch)
{
    int index = coordinator_request_replica_index(request, member);
    if (index < 0 || coordinator_request_is_minter(coordinator, request, (uint32_t)index))
        return;
    if (status != OK &&
        put_epoch_differs(coordinator, ctx, request, (uint32_t)index, status, epoch))
        return;
    if (status == OK) {
        quorum_ack(&request->quorum, member);
        request->stood_in &= ~((uint64_t)1 << index);
        coordinator_refresh_taken(coordinator, ctx, request, (uint32_t)index);
        for (uint32_t i = 0; MUTATE(PASSED_ON_COUNTS) && i < request->replicas.count; i++) {
            if ((request->onward >> i & 1) != 0)
                quorum_ack(&request->quorum, request->replicas.replicas[i].member);
        }
    } else if (status == ERR_STALE_FLOOR) {
        coordinator_refresh_refused(coordinator, ctx, request, (uint32_t)index);
    } else {
        if (status == ERR_UNAVAILABLE)
            coordinator_remote_lost(coordinator, ctx, request, (uint32_t)index);
        coordinator_hint_refused(coordinator, ctx, request, (uint32_t)index, status);
    }
    coordinator_put_decide(coordinator, ctx, request);
}

void coordinator_on_hint_store_reply(struct coordinator *coordinator, struct actor_context *ctx,
                                     struct message *message)
{
    struct request *request = coordinator_request_find(coordinator, message->id);
    uint32_t keeper = message->from.node;
    enum err status = message->hint_store_reply.status;
    message_free(message);
    if (request != NULL &&
        (request->state == REQUEST_WRITING || request->state == REQUEST_SETTLING) &&
        coordinator_hint_answered(coordinator, ctx, request, keeper, status))
        coordinator_put_decide(coordinator, ctx, request);
}

/* The state to a replica that has not answered. */
static void put_send_again(struct coordinator *coordinator, struct actor_context *ctx,
                           struct request *request, uint32_t index)
{
    if (request->quorum.members[index].state != REPLICA_WAITING ||
        coordinator_request_is_minter(coordinator, request, index) ||
        ((request->away | request->stale) >> index & 1) != 0)
        return;
    counter_add(&coordinator->figures.asked_again, 1);
    coordinator_request_send_write(coordinator, ctx, request,
                                   request->replicas.replicas[index].member,
                                   coordinator_refresh_record(request), WRITE_REPLICATE);
}

/* A write to a replica may be lost on its way; it is a state, so it may come twice. A replica that
 * is this slow gets a hint as well, and a fallback may answer in its place. */
void coordinator_put_on_late(struct coordinator *coordinator, struct actor_context *ctx,
                             struct request *request)
{
    coordinator_request_set_late(coordinator, ctx, request, 2 * request->late_ns);
    if (request->mint == NULL)
        return; /* not durable here yet: nothing to send again */
    coordinator_refresh_on_late(coordinator, ctx, request);
    for (uint32_t i = 0; i < request->quorum.replica_count; i++)
        put_send_again(coordinator, ctx, request, i);
    coordinator_hint_late(coordinator, ctx, request);
    coordinator_put_decide(coordinator, ctx, request); /* what was refused may be given up now */
}

void coordinator_put_on_soon(struct coordinator *coordinator, struct actor_context *ctx,
                             struct request *request)
{
    if (request->unsent) {
        put_again(coordinator, ctx, request);
        return;
    }
    if (request->mint == NULL) {
        coordinator_request_set_soon(coordinator, ctx, request, SOON_NS);
        return;
    }
    if (request->plan_refused && put_replan(coordinator, ctx, request))
        return;
    uint64_t behind = request->behind;
    request->behind = 0;
    for (uint32_t i = 0; i < request->replicas.count; i++) {
        if ((behind >> i & 1) != 0)
            put_send_again(coordinator, ctx, request, i);
    }
}

void coordinator_put_on_deadline(struct coordinator *coordinator, struct actor_context *ctx,
                                 struct request *request)
{
    enum outcome outcome = request->unsent ? OUTCOME_NOT_APPLIED : OUTCOME_UNKNOWN;
    if (MUTATE(TIMEOUT_IS_NOT_APPLIED))
        outcome = OUTCOME_NOT_APPLIED;
    coordinator_put_end(coordinator, ctx, request, ERR_TIMEOUT, outcome,
                        request->unsent
                            ? "the topology changed, and no replica took the write in time"
                        : request->state == REQUEST_FORWARDED
                            ? "the replica that the write was passed on to did not answer in time"
                            : "too few replicas acknowledged in time");
}
