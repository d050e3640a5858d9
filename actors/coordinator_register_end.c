/* What a request on a consistent keyspace is answered with. */
#include "actors/coordinator_register.h"

#include "base/mutation.h"

uint32_t coordinator_register_keyspace_id(const struct request *request)
{
    const struct message *origin = request->origin;
    if (origin->kind == MESSAGE_register_settle)
        return origin->register_settle.keyspace_id;
    return origin->kind == MESSAGE_client_get ? origin->client_get.keyspace_id
                                              : coordinator_put_request(origin)->keyspace_id;
}

/* Of one set. */
static void progress_in(const struct register_work *work, uint8_t set, uint32_t *ret_acked,
                        uint32_t *ret_needed)
{
    uint32_t count = 0;
    *ret_acked = 0;
    for (uint32_t i = 0; i < work->acceptors.count; i++) {
        if ((work->acceptors.list[i].sets & set) == 0)
            continue;
        count++;
        *ret_acked += work->round.agreed >> i & 1u;
    }
    *ret_needed = count == 0 ? 0 : count / 2 + 1;
}

/* Of the set that lacks more. */
static void progress_worse(const struct register_work *work, struct progress *progress)
{
    uint32_t acked;
    uint32_t needed;
    progress_in(work, REGISTER_OLD, &progress->acked, &progress->needed);
    progress_in(work, REGISTER_NEW, &acked, &needed);
    if (needed + progress->acked > progress->needed + acked) {
        progress->acked = acked;
        progress->needed = needed;
    }
}

/* How far the phase under way has come. Who was not asked, others being down, is not missing. */
static void progress_of(const struct register_work *work, struct progress *ret_progress)
{
    const struct register_acceptors *acceptors = &work->acceptors;
    struct progress *progress = ret_progress;
    progress_worse(work, progress);
    for (uint32_t i = 0; i < acceptors->count; i++) {
        if ((work->round.agreed >> i & 1u) != 0)
            progress->acked_members[progress->acked_count++] = acceptors->list[i].member;
        else if (work->asked || (work->round.answered >> i & 1u) != 0)
            progress->missing_members[progress->missing_count++] = acceptors->list[i].member;
    }
}

static void answer_get(struct coordinator *coordinator, struct actor_context *ctx,
                       const struct request *request, enum err status, const char *why)
{
    const struct register_work *work = request->work;
    struct message *answer = message_new_reply(request->origin, MESSAGE_client_get_done,
                                               work == NULL ? 0 : work->value.value.size);
    struct client_get_done *done = &answer->client_get_done;
    done->client = request->origin->client_get.client;
    done->status = status;
    done->why = why;
    done->wall_ms = ctx->wall_ms;
    done->retry_after_ms = status == ERR_OVERLOADED ? 100 : 0;
    if (work != NULL)
        progress_of(work, &done->progress);
    if (work != NULL && status == OK) {
        done->version = work->value.version;
        if (work->value.found) {
            struct version *version = ARENA_NEW(&answer->arena, struct version, 1);
            version->expires_at_ms = work->value.expires_at_ms;
            version->value = arena_copy(&answer->arena, work->value.value);
            done->set = (struct version_set){.count = 1, .versions = version};
        }
    }
    outbox_send(ctx, &coordinator->actor, answer);
}

static void answer_put(struct coordinator *coordinator, struct actor_context *ctx,
                       const struct request *request, enum err status, enum outcome outcome,
                       const char *why)
{
    const struct register_work *work = request->work;
    struct message *answer = message_new_reply(request->origin, MESSAGE_client_put_done,
                                               status == ERR_CONFLICT ? work->value.value.size : 0);
    struct put_result *result = &answer->client_put_done.result;
    answer->client_put_done.client = request->origin->client_put.client;
    *result = (struct put_result){.status = status,
                                  .outcome = outcome,
                                  .why = why,
                                  .retry_after_ms = status == ERR_OVERLOADED ? 100 : 0};
    if (work != NULL)
        progress_of(work, &result->progress);
    if (work != NULL && (status == OK || status == ERR_CONFLICT))
        result->version = work->outcome.version;
    if (status == ERR_CONFLICT) {
        result->found = work->value.found;
        result->value = arena_copy(&answer->arena, work->value.value);
    }
    outbox_send(ctx, &coordinator->actor, answer);
}

void coordinator_register_answer(struct coordinator *coordinator, struct actor_context *ctx,
                                 const struct request *request, enum err status, const char *why)
{
    bool unknown = request->work != NULL && request->work->unknown;
    if (MUTATE(REGISTER_UNKNOWN_IS_NOT_APPLIED))
        unknown = false;
    if (request->origin->kind == MESSAGE_client_get) {
        answer_get(coordinator, ctx, request, status, why);
    } else if (request->origin->kind == MESSAGE_register_settle) {
        struct message *answer =
            message_new_reply(request->origin, MESSAGE_register_settle_done, 0);
        answer->register_settle_done.status = status;
        outbox_send(ctx, &coordinator->actor, answer);
    } else {
        answer_put(coordinator, ctx, request, status,
                   status == OK                        ? OUTCOME_APPLIED
                   : status != ERR_CONFLICT && unknown ? OUTCOME_UNKNOWN
                                                       : OUTCOME_NOT_APPLIED,
                   why);
    }
}

void coordinator_register_end(struct coordinator *coordinator, struct actor_context *ctx,
                              struct request *request, enum err status, const char *why)
{
    if (status == ERR_UNAVAILABLE)
        counter_add(&coordinator->figures.unavailable, 1);
    coordinator_register_answer(coordinator, ctx, request, status, why);
    coordinator_request_end(coordinator, request);
}
