/* The read side: ask R replicas, merge, repair those that voted, answer. DESIGN.md 7. */
#include "actors/coordinator_request.h"

#include "base/mutation.h"
#include "model/record.h"

/* A cost: another data centre, hardly answers, leaves the set, distance, latency. */
#define COST_REMOTE_SHIFT   63
#define COST_SILENT_SHIFT   62
#define COST_LEAVES_SHIFT   61
#define COST_DISTANCE_SHIFT 59
#define COST_LATENCY_MAX    (((uint64_t)1 << COST_DISTANCE_SHIFT) - 1)
static_assert(DISTANCE_REMOTE < 4, "two bits");

struct message *coordinator_get_answer(const struct request *request, struct actor_context *ctx,
                                       enum err status, size_t size_hint)
{
    struct message *answer = message_new_reply(request->origin, MESSAGE_client_get_done, size_hint);
    answer->client_get_done.client = request->origin->client_get.client;
    answer->client_get_done.status = status;
    answer->client_get_done.wall_ms = ctx->wall_ms;
    coordinator_request_progress(request, &answer->client_get_done.progress);
    return answer;
}

void coordinator_get_fail(struct coordinator *coordinator, struct actor_context *ctx,
                          struct request *request, enum err status, const char *why)
{
    struct message *answer = coordinator_get_answer(request, ctx, status, 0);
    answer->client_get_done.why = why;
    if (status == ERR_UNAVAILABLE)
        counter_add(&coordinator->figures.unavailable, 1);
    if (status == ERR_OVERLOADED)
        answer->client_get_done.retry_after_ms = 100;
    outbox_send(ctx, &coordinator->actor, answer);
    coordinator_request_end(coordinator, request);
}

/* -- asking
 * -------------------------------------------------------------------------------------------- */

void coordinator_get_ask(struct coordinator *coordinator, struct actor_context *ctx,
                         struct request *request, uint32_t index)
{
    const struct client_get *get = &request->origin->client_get;
    struct message *message = message_new(MESSAGE_replica_read, get->key.size);
    message->id = request->id;
    message->to =
        (struct actor_id){.node = request->replicas.replicas[index].member, .kind = ACTOR_REPLICA};
    message->deadline_ns = request->deadline_ns;
    message->replica_read = (struct replica_read){
        .keyspace_id = get->keyspace_id,
        .key = arena_copy(&message->arena, get->key),
        .policy = request->policy,
        .partition = request->partition,
    };
    request->asked |= (uint64_t)1 << index;
    coordinator_request_send(coordinator, ctx, request, message);
}

/* The first word of a replica stands: after it, or when it was down at the beginning, its answer
 * cannot count any more. */
static bool get_waits_for(const struct request *request, uint32_t index)
{
    return request->quorum.members[index].state == REPLICA_WAITING;
}

/* Less is asked first. While the next step of a change will read the other set, an answer has to be
 * held there too before it is given: one of both sets says so by its answer. */
static uint64_t get_cost(const struct coordinator *coordinator, const struct view *view,
                         const struct request *request, uint32_t index)
{
    uint32_t member = request->replicas.replicas[index].member;
    uint64_t distance = view_distance(view, member);
    bool leaves =
        coordinator_repair_copies(request) && request->replicas.replicas[index].sides != 3;
    uint64_t cost = distance << COST_DISTANCE_SHIFT | (uint64_t)leaves << COST_LEAVES_SHIFT |
                    (uint64_t)(distance == DISTANCE_REMOTE) << COST_REMOTE_SHIFT;
    if (distance == DISTANCE_SELF)
        return cost;
    uint64_t latency_ns = coordinator_latency_ns(coordinator, member);
    bool silent = latency_ns >= coordinator->options.read_late_ns / 2;
    return cost | (uint64_t)silent << COST_SILENT_SHIFT |
           (latency_ns < COST_LATENCY_MAX ? latency_ns : COST_LATENCY_MAX);
}

uint32_t coordinator_get_order(const struct coordinator *coordinator, const struct view *view,
                               const struct request *request,
                               uint32_t ret_indices[REPLICAS_TOTAL_MAX])
{
    uint64_t cost[REPLICAS_TOTAL_MAX];
    uint32_t count = 0;
    for (uint32_t i = 0; i < request->quorum.replica_count; i++) {
        if ((request->asked >> i & 1) != 0 || !get_waits_for(request, i) ||
            !view_alive(view, request->replicas.replicas[i].member))
            continue;
        uint64_t own = get_cost(coordinator, view, request, i);
        uint32_t at = count++;
        for (; at > 0 && cost[at - 1] > own; at--) {
            cost[at] = cost[at - 1];
            ret_indices[at] = ret_indices[at - 1];
        }
        cost[at] = own;
        ret_indices[at] = i;
    }
    return count;
}

bool coordinator_get_helps(const struct quorum *quorum, uint32_t member)
{
    struct quorum with = *quorum;
    uint32_t before;
    uint32_t after;
    uint32_t needed;
    quorum_progress(quorum, &before, &needed);
    quorum_ack(&with, member);
    quorum_progress(&with, &after, &needed);
    return after > before;
}

/* Asks just as many more as could meet the quorum if all that were asked answer; or all that can
 * count. */
static void get_ask_more(struct coordinator *coordinator, struct actor_context *ctx,
                         struct request *request, bool all)
{
    uint32_t order[REPLICAS_TOTAL_MAX];
    uint32_t count = coordinator_get_order(coordinator, ctx->view, request, order);
    struct quorum hoped = request->quorum;
    for (uint32_t i = 0; i < request->quorum.replica_count; i++) {
        if ((request->asked >> i & 1) != 0)
            quorum_ack(&hoped, request->replicas.replicas[i].member);
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t member = request->replicas.replicas[order[i]].member;
        if (!all && quorum_state(&hoped) == QUORUM_MET)
            return;
        uint8_t data_center = request->replicas.replicas[order[i]].data_center;
        bool asks = all ? quorum_counts_in(&request->quorum, data_center)
                        : coordinator_get_helps(&hoped, member);
        quorum_ack(&hoped, member);
        if (asks)
            coordinator_get_ask(coordinator, ctx, request, order[i]);
    }
}

static void get_begin(struct coordinator *coordinator, struct actor_context *ctx,
                      struct request *request)
{
    const struct client_get *get = &request->origin->client_get;
    const char *why = NULL;
    enum err err = coordinator_request_plan(coordinator, ctx, request, get->keyspace_id, get->key,
                                            get->level, get->count, NULL, &why);
    if (err != OK) {
        coordinator_get_fail(coordinator, ctx, request, err, why);
        return;
    }
    for (uint32_t i = 0; i < request->unrepaired_count; i++)
        quorum_fail(&request->quorum, request->unrepaired[i]);
    if (quorum_state(&request->quorum) == QUORUM_IMPOSSIBLE) { /* some went down meanwhile */
        coordinator_get_fail(coordinator, ctx, request, coordinator_request_failure(request),
                             "replicas differed and one could not be repaired");
        return;
    }
    get_ask_more(coordinator, ctx, request, false);
    coordinator_hedge_begin(coordinator, request);
    coordinator_request_set_late(coordinator, ctx, request, coordinator->options.read_late_ns);
}

void coordinator_on_client_get(struct coordinator *coordinator, struct actor_context *ctx,
                               struct message *message)
{
    const struct client_get *get = &message->client_get;
    counter_add(&coordinator->figures.gets, 1);
    if (coordinator_register_takes(ctx, get->keyspace_id)) {
        coordinator_register_begin(coordinator, ctx, message);
        return;
    }
    struct request *request = coordinator_request_new(coordinator, ctx, message, REQUEST_READING);
    if (request == NULL) {
        struct message *answer = message_new_reply(message, MESSAGE_client_get_done, 0);
        answer->client_get_done = (struct client_get_done){
            .client = get->client,
            .status = ERR_OVERLOADED,
            .why = "too many requests in flight on this node",
            .retry_after_ms = 100,
        };
        outbox_send(ctx, &coordinator->actor, answer);
        message_free(message);
        return;
    }
    get_begin(coordinator, ctx, request);
}

void coordinator_get_again(struct coordinator *coordinator, struct actor_context *ctx,
                           struct request *request)
{
    counter_add(&coordinator->figures.read_again, 1);
    coordinator_request_forget_answers(request);
    coordinator_request_renew(coordinator, request);
    coordinator_request_move(request, REQUEST_READING);
    request->asked = request->answered = request->repairing = request->hedged = 0;
    request->copied = request->uncopied = request->behind = 0;
    request->plan_refused = false;
    request->soon_at_ns = NEVER_NS;
    request->started_ns = ctx->now_ns;
    get_begin(coordinator, ctx, request);
}

/* -- answers
 * -----------------------------------------------------------------------------------------------
 */

enum err coordinator_get_verify(struct coordinator *coordinator, const struct request *request,
                                const struct replica_read_reply *reply)
{
    const struct client_get *get = &request->origin->client_get;
    if (reply->status != OK || reply->record.size == 0)
        return reply->status;
    struct version_set set;
    enum err err =
        record_decode(&coordinator->scratch, get->keyspace_id, get->key, reply->record, &set);
    if (err != OK)
        counter_add(&coordinator->figures.corrupt, 1);
    return err;
}

/* Asked again soon, and others now. */
static void get_on_behind(struct coordinator *coordinator, struct actor_context *ctx,
                          struct request *request, uint32_t index)
{
    request->behind |= (uint64_t)1 << index;
    coordinator_request_set_soon(coordinator, ctx, request, SOON_NS);
    get_ask_more(coordinator, ctx, request, true);
}

static void get_on_refusal(struct coordinator *coordinator, struct actor_context *ctx,
                           struct request *request, uint32_t index, enum err err)
{
    request->last_error = err;
    enum quorum_state state =
        quorum_fail(&request->quorum, request->replicas.replicas[index].member);
    if (state == QUORUM_PENDING)
        get_ask_more(coordinator, ctx, request, true);
    else if (state == QUORUM_IMPOSSIBLE && !request->plan_refused) /* else there will be another */
        coordinator_get_fail(coordinator, ctx, request, coordinator_request_failure(request),
                             "too many replicas could not answer");
}

static void get_on_failed(struct coordinator *coordinator, struct actor_context *ctx,
                          struct request *request, uint32_t index, enum err err, uint64_t epoch)
{
    switch (coordinator_epoch_judge(request, err, epoch)) {
    case EPOCH_BEHIND:
        get_on_behind(coordinator, ctx, request, index);
        return;
    case EPOCH_STALE:
        if (coordinator_epoch_may_plan(coordinator, ctx, request)) {
            counter_add(&coordinator->figures.replanned, 1);
            coordinator_get_again(coordinator, ctx, request);
            return;
        }
        break;
    case EPOCH_SAME:
    case EPOCH_EARLIER:
        break;
    }
    get_on_refusal(coordinator, ctx, request, index, err);
}

static void get_on_reply(struct coordinator *coordinator, struct actor_context *ctx,
                         struct request *request, uint32_t index, struct message *message)
{
    uint32_t member = message->from.node;
    enum err err = coordinator_get_verify(coordinator, request, &message->replica_read_reply);
    coordinator_hedge_answered(coordinator, ctx, request, index, err);
    if (err != OK) {
        uint64_t epoch = message->epoch;
        message_free(message);
        get_on_failed(coordinator, ctx, request, index, err, epoch);
        return;
    }
    message->next = request->answers;
    request->answers = message;
    request->answered |= (uint64_t)1 << index;
    enum quorum_state state = quorum_ack(&request->quorum, member);
    if (MUTATE(READ_ASKS_ONE_TOO_FEW))
        state = QUORUM_MET;
    if (state != QUORUM_MET)
        return;
    if ((request->hedged & request->answered) != 0)
        counter_add(&coordinator->figures.hedges_won, 1);
    coordinator_hedge_end(request);
    coordinator_repair_or_answer(coordinator, ctx, request);
}

void coordinator_on_replica_read_reply(struct coordinator *coordinator, struct actor_context *ctx,
                                       struct message *message)
{
    struct request *request = coordinator_request_find(coordinator, message->id);
    int found =
        request == NULL ? -1 : coordinator_request_replica_index(request, message->from.node);
    uint32_t index = (uint32_t)found;
    if (found >= 0 && (request->state == REQUEST_WRITING || request->state == REQUEST_SETTLING)) {
        coordinator_refresh_on_reply(coordinator, ctx, request, message);
        return;
    }
    /* Only the first word of one that was asked. */
    bool counts = found >= 0 && (request->asked >> index & 1) != 0 && get_waits_for(request, index);
    if (counts && request->state == REQUEST_READING)
        get_on_reply(coordinator, ctx, request, index, message);
    else if (counts && request->state == REQUEST_REPAIRING)
        coordinator_compare_keep(request, message);
    else if (counts && request->state == REQUEST_COMPARING)
        coordinator_compare_on_reply(coordinator, ctx, request, index, message);
    else
        message_free(message);
}

/* -- time
 * --------------------------------------------------------------------------------------------------
 */

/* Messages may be lost, and replicas slow: those that were asked are asked again, the others as
 * well. */
void coordinator_get_on_late(struct coordinator *coordinator, struct actor_context *ctx,
                             struct request *request)
{
    if (request->late_ns == coordinator->options.read_late_ns)
        counter_add(&coordinator->figures.read_late, 1);
    for (uint32_t i = 0; i < request->quorum.replica_count; i++) {
        uint32_t member = request->replicas.replicas[i].member;
        if ((request->asked >> i & 1) == 0 || !get_waits_for(request, i) ||
            member == coordinator->options.self)
            continue;
        uint64_t elapsed_ns = ctx->now_ns - request->started_ns;
        coordinator_latency_silent(coordinator, member, elapsed_ns);
        if ((request->timed >> i & 1) != 0)
            coordinator_latency_late(coordinator, member, elapsed_ns);
        counter_add(&coordinator->figures.asked_again, 1);
        coordinator_get_ask(coordinator, ctx, request, i);
    }
    coordinator_hedge_end(request);
    get_ask_more(coordinator, ctx, request, true);
}

bool coordinator_get_replans(struct coordinator *coordinator, struct actor_context *ctx,
                             struct request *request)
{
    if (!request->plan_refused || !coordinator_epoch_may_plan(coordinator, ctx, request))
        return false;
    counter_add(&coordinator->figures.replanned, 1);
    coordinator_get_again(coordinator, ctx, request);
    return true;
}

void coordinator_get_on_soon(struct coordinator *coordinator, struct actor_context *ctx,
                             struct request *request)
{
    if (coordinator_get_replans(coordinator, ctx, request))
        return;
    uint64_t behind = request->behind;
    request->behind = 0;
    for (uint32_t i = 0; i < request->quorum.replica_count; i++) {
        if ((behind >> i & 1) == 0 || !get_waits_for(request, i))
            continue;
        counter_add(&coordinator->figures.asked_again, 1);
        coordinator_get_ask(coordinator, ctx, request, i);
    }
}

void coordinator_get_on_deadline(struct coordinator *coordinator, struct actor_context *ctx,
                                 struct request *request)
{
    coordinator_get_fail(coordinator, ctx, request, ERR_TIMEOUT,
                         "too few replicas answered in time");
}
