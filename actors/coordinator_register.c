/* Requests on consistent keyspaces: one register a key, by consensus among the key's replicas
 * (model/register.h). Any coordinator proposes: a request takes no hop more and depends on no other
 * node than a majority; two that meet at one key back off at random.
 *
 *     get ----> QUERY -- decided --> answer
 *                 `-- undecided --.
 *     put, delete, compare-and-set --> PREPARE -- majority --> ACCEPT -- majority --> answer
 *                                       ^   `-- conflict --.     `-- conflict: not known yet --.
 *                                       `-- above it, after a while <-----------------------'
 *
 * Before an accept was sent the outcome is "not applied" whatever happens. After it, it is unknown
 * until a round is decided: in that one's value the id of the change says whether it is in there.
 */
#include "actors/coordinator_register.h"

#include "base/mutation.h"
#include "model/hash.h"

#include <stdlib.h>

#define BACKOFF_FIRST_NS ((uint64_t)2 * 1000 * 1000)
#define BACKOFF_DOUBLES  7u
/* Of ballot counters: two coordinators of one node never draw the same. */
#define COUNTER_STEP ((uint64_t)COORDINATORS_MAX)

bool coordinator_register_takes(const struct actor_context *ctx, uint32_t keyspace_id)
{
    const struct keyspace *keyspace = keyspace_map_find_id(&ctx->view->keyspaces, keyspace_id);
    return keyspace != NULL && keyspace->mode == KEYSPACE_CONSISTENT;
}

void coordinator_register_free(struct register_work *work)
{
    if (work == NULL)
        return;
    arena_deinit(&work->arena);
    free(work);
}

static void register_fail(struct coordinator *coordinator, struct actor_context *ctx,
                          struct request *request)
{
    coordinator_register_end(coordinator, ctx, request, coordinator_request_failure(request),
                             request->work->unknown
                                 ? "the majority of the key's replicas was lost on the way"
                                 : "there is no majority of the key's replicas");
}

/* The round is decided: `value` and `outcome` are true. */
static void register_decided(struct coordinator *coordinator, struct actor_context *ctx,
                             struct request *request)
{
    bool refused = request->work->outcome.refused;
    coordinator_register_end(coordinator, ctx, request, refused ? ERR_CONFLICT : OK,
                             refused ? "condition: it is false" : NULL);
}

/* -- one attempt
 * ----------------------------------------------------------------------------------- */

/* Who is known to be down is not waited for; asks the others. */
static void phase_begin(struct coordinator *coordinator, struct actor_context *ctx,
                        struct request *request)
{
    struct register_work *work = request->work;
    enum register_verdict verdict = REGISTER_WAIT;
    work->asked = false;
    for (uint32_t i = 0; i < work->acceptors.count && verdict == REGISTER_WAIT; i++) {
        struct register_answer down = {.member = work->acceptors.list[i].member, .failed = true};
        if (!view_alive(ctx->view, down.member))
            verdict = register_round_answer(&work->round, &down);
    }
    if (verdict != REGISTER_WAIT) {
        register_fail(coordinator, ctx, request);
        return;
    }
    work->asked = true;
    coordinator_register_ask(coordinator, ctx, request, UINT64_MAX);
    coordinator_request_set_late(coordinator, ctx, request, coordinator->options.read_late_ns);
}

/* Above all that was seen and all that this coordinator has used, whatever the key: a ballot is one
 * proposal. The incarnation keeps those of another life apart. */
static struct ballot ballot_draw(struct coordinator *coordinator, struct ballot seen)
{
    uint64_t least = seen.counter;
    if (coordinator->ballot_counter > least)
        least = coordinator->ballot_counter;
    coordinator->ballot_counter =
        (least / COUNTER_STEP + 1) * COUNTER_STEP + coordinator->options.index;
    return (struct ballot){
        .counter = coordinator->ballot_counter,
        .member = coordinator->options.self,
        .incarnation = MUTATE(REGISTER_BALLOT_REUSED) ? 1 : coordinator->options.incarnation};
}

/* The replicas of the key and nobody else: a fallback knows nothing of what was promised. While the
 * partition goes over, a majority of each set. False: the request has ended. */
static bool attempt_plan(struct coordinator *coordinator, struct actor_context *ctx,
                         struct request *request)
{
    const struct view *view = ctx->view;
    struct register_work *work = request->work;
    struct replica_set *set = &request->replicas;
    const struct keyspace *keyspace =
        keyspace_map_find_id(&view->keyspaces, coordinator_register_keyspace_id(request));
    request->plan_refused = false;
    request->behind = 0;
    request->soon_at_ns = NEVER_NS;
    if (request->epoch == view->topology.epoch)
        return true;
    if (keyspace == NULL) {
        coordinator_register_end(coordinator, ctx, request, ERR_NOT_FOUND,
                                 "keyspace: it was dropped meanwhile");
        return false;
    }
    request->epoch = view->topology.epoch;
    view_replica_set(view, keyspace, request->partition, set);
    if (set->count > REGISTER_REPLICAS_MAX) {
        coordinator_register_end(coordinator, ctx, request, ERR_UNSUPPORTED,
                                 "keyspace: a register has at most 32 replicas");
        return false;
    }
    work->acceptors.count = 0;
    for (uint32_t i = 0; i < set->count; i++) {
        bool joint = set->joint && !MUTATE(REGISTER_COUNTS_READERS);
        if (!joint && !set->replicas[i].reader)
            continue;
        uint32_t place = work->acceptors.count++;
        work->acceptors.list[place].member = set->replicas[i].member;
        work->acceptors.list[place].sets = joint ? set->replicas[i].sides : REGISTER_OLD;
    }
    return true;
}

/* Nothing of an earlier attempt is waited for: its answers meet nobody. */
static void attempt_begin(struct coordinator *coordinator, struct actor_context *ctx,
                          struct request *request, bool query)
{
    struct register_work *work = request->work;
    if (!attempt_plan(coordinator, ctx, request))
        return;
    if (!MUTATE(REGISTER_LATE_ANSWER_COUNTS))
        coordinator_request_renew(coordinator, request);
    work->waits = false;
    work->outcome = (struct register_outcome){0};
    work->value = (struct register_value){0};
    work->encoded = (struct bytes){0};
    if (query)
        register_round_query(&work->round, &work->acceptors);
    else
        register_round_prepare(&work->round, &work->acceptors,
                               ballot_draw(coordinator, work->seen));
    arena_clear(&work->arena);
    phase_begin(coordinator, ctx, request);
}

/* By the view's replicas. */
static void attempt_replan(struct coordinator *coordinator, struct actor_context *ctx,
                           struct request *request)
{
    struct register_work *work = request->work;
    counter_add(&coordinator->figures.replanned, 1);
    request->soon_ns = 0;
    attempt_begin(coordinator, ctx, request, work->round.phase == REGISTER_QUERY);
}

static void attempt_again(struct coordinator *coordinator, struct actor_context *ctx,
                          struct request *request)
{
    struct register_work *work = request->work;
    counter_add(&coordinator->figures.register_conflicts, 1);
    uint32_t doubles = work->conflicts < BACKOFF_DOUBLES ? work->conflicts : BACKOFF_DOUBLES;
    uint64_t most_ns = work->conflicts++ == 0 ? 0 : BACKOFF_FIRST_NS << doubles;
    if (!MUTATE(REGISTER_LATE_ANSWER_COUNTS))
        coordinator_request_renew(coordinator, request);
    work->waits = true;
    /* The first conflict tells mostly that others were here before, not that they are now. */
    coordinator_request_set_late(coordinator, ctx, request,
                                 most_ns == 0 ? 0 : prng_below(ctx->prng, most_ns));
}

/* A majority has promised. */
static void propose(struct coordinator *coordinator, struct actor_context *ctx,
                    struct request *request)
{
    struct register_work *work = request->work;
    struct register_value from;
    if (register_value_decode(work->round.value, &from) != OK) {
        counter_add(&coordinator->figures.corrupt, 1);
        coordinator_register_end(coordinator, ctx, request, ERR_CORRUPT,
                                 "the register cannot be read");
        return;
    }
    work->outcome = register_change_apply(&from, &work->change, ctx->wall_ms, &work->value);
    /* Its id would have been pushed out by now. */
    if (work->unknown && !work->outcome.repeated &&
        from.version >= work->version_least + REGISTER_CHANGES_KEPT) {
        coordinator_register_end(
            coordinator, ctx, request, ERR_UNAVAILABLE,
            "too many other changes came between to tell whether this one was made");
        return;
    }
    if (MUTATE(REGISTER_FALSE_UNDECIDED) && work->outcome.refused) {
        register_decided(coordinator, ctx, request);
        return;
    }
    work->encoded = register_value_encode(&work->arena, &work->value);
    if (work->outcome.applied) {
        if (!work->unknown || work->outcome.version < work->version_least)
            work->version_least = work->outcome.version;
        work->unknown = true;
    }
    register_round_accept(&work->round, work->encoded);
    phase_begin(coordinator, ctx, request);
}

static void query_decided(struct coordinator *coordinator, struct actor_context *ctx,
                          struct request *request)
{
    struct register_work *work = request->work;
    if (register_value_decode(work->round.value, &work->value) != OK) {
        counter_add(&coordinator->figures.corrupt, 1);
        coordinator_register_end(coordinator, ctx, request, ERR_CORRUPT,
                                 "the register cannot be read");
    } else if (MUTATE(REGISTER_EXPIRY_UNDECIDED) &&
               register_value_expired(&work->value, ctx->wall_ms)) {
        work->value.found = false;
        work->outcome.version = ++work->value.version;
        register_decided(coordinator, ctx, request);
    } else if (register_value_expired(&work->value, ctx->wall_ms)) {
        attempt_begin(coordinator, ctx, request, false); /* that is to be decided */
    } else {
        counter_add(&coordinator->figures.register_fast_reads, 1);
        work->outcome.version = work->value.version;
        register_decided(coordinator, ctx, request);
    }
}

/* -- answers
 * ----------------------------------------------------------------------------------------- */

static void decide(struct coordinator *coordinator, struct actor_context *ctx,
                   struct request *request, enum register_verdict verdict)
{
    struct register_work *work = request->work;
    bool query = work->round.phase == REGISTER_QUERY;
    switch (verdict) {
    case REGISTER_WAIT:
        break;
    case REGISTER_PROPOSE:
        propose(coordinator, ctx, request);
        break;
    case REGISTER_DECIDED:
        if (query)
            query_decided(coordinator, ctx, request);
        else
            register_decided(coordinator, ctx, request);
        break;
    case REGISTER_UNDECIDED:
        attempt_begin(coordinator, ctx, request, false);
        break;
    case REGISTER_CONFLICT:
        attempt_again(coordinator, ctx, request);
        break;
    case REGISTER_FAILED:
        if (request->plan_refused)
            break; /* there will be another plan */
        register_fail(coordinator, ctx, request);
        break;
    }
}

/* True: it says nothing but that a change is under way. */
static bool epoch_differs(struct coordinator *coordinator, struct actor_context *ctx,
                          struct request *request, const struct message *message, enum err status)
{
    int place = coordinator_request_replica_index(request, message->from.node);
    switch (coordinator_epoch_judge(request, status, message->epoch)) {
    case EPOCH_SAME:
    case EPOCH_EARLIER:
        return false;
    case EPOCH_BEHIND:
        if (place >= 0)
            request->behind |= (uint64_t)1 << place;
        coordinator_request_set_soon(coordinator, ctx, request, SOON_NS);
        return true;
    case EPOCH_STALE: /* it votes no more in this attempt, but others may be a majority */
        if (!coordinator_epoch_may_plan(coordinator, ctx, request))
            return false;
        attempt_replan(coordinator, ctx, request);
        return true;
    }
    UNREACHABLE("verdict");
}

void coordinator_on_register_reply(struct coordinator *coordinator, struct actor_context *ctx,
                                   struct message *message)
{
    struct request *request = coordinator_request_find(coordinator, message->id);
    struct register_answer answer;
    enum err status;
    if (request != NULL && request->state == REQUEST_REGISTER && !request->work->waits &&
        coordinator_register_parse(message, request->work, &answer, &status) &&
        (status == OK || !epoch_differs(coordinator, ctx, request, message, status))) {
        struct register_work *work = request->work;
        answer.value = arena_copy(&work->arena, answer.value);
        if (status != OK)
            request->last_error = status;
        enum register_verdict verdict = register_round_answer(&work->round, &answer);
        work->seen = ballot_max(work->seen, work->round.seen);
        decide(coordinator, ctx, request, verdict);
    }
    message_free(message);
}

/* -- time
 * -------------------------------------------------------------------------------------------- */

void coordinator_register_on_late(struct coordinator *coordinator, struct actor_context *ctx,
                                  struct request *request)
{
    if (request->work->waits) {
        attempt_begin(coordinator, ctx, request, false);
        return;
    }
    counter_add(&coordinator->figures.asked_again, 1);
    coordinator_register_ask(coordinator, ctx, request, UINT64_MAX);
    coordinator_request_set_late(coordinator, ctx, request, 2 * request->late_ns);
}

void coordinator_register_on_soon(struct coordinator *coordinator, struct actor_context *ctx,
                                  struct request *request)
{
    uint64_t behind = request->behind;
    request->behind = 0;
    if (request->work->waits)
        return; /* the next attempt has a plan of its own */
    if (request->plan_refused && coordinator_epoch_may_plan(coordinator, ctx, request)) {
        attempt_replan(coordinator, ctx, request);
        return;
    }
    if (behind != 0)
        counter_add(&coordinator->figures.asked_again, 1);
    coordinator_register_ask(coordinator, ctx, request, behind);
}

void coordinator_register_on_deadline(struct coordinator *coordinator, struct actor_context *ctx,
                                      struct request *request)
{
    coordinator_register_end(coordinator, ctx, request, ERR_TIMEOUT,
                             request->work->conflicts > 1
                                 ? "others proposed for the key all the time"
                                 : "too few replicas answered in time");
}

/* -- the beginning
 * ----------------------------------------------------------------------------------- */

/* An id that no other request of any node has, in any life. */
static void change_id(struct coordinator *coordinator, uint8_t *ret_id)
{
    uint64_t words[2] = {coordinator->options.incarnation,
                         (uint64_t)coordinator->options.self << 44 ^
                             (uint64_t)coordinator->options.index << 40 ^ ++coordinator->changes};
    static_assert(sizeof words == REGISTER_CHANGE_ID_BYTES, "an id");
    memcpy(ret_id, words, sizeof words);
}

static const char *change_of(struct coordinator *coordinator, const struct message *origin,
                             struct register_change *ret_change)
{
    *ret_change = (struct register_change){.read = true};
    if (origin->kind == MESSAGE_client_get || origin->kind == MESSAGE_register_settle)
        return NULL;
    const struct put_request *put = coordinator_put_request(origin);
    *ret_change = (struct register_change){.remove = (put->flags & VERSION_TOMBSTONE) != 0,
                                           .condition = put->condition,
                                           .expected = put->expected,
                                           .expected_version = put->expected_version,
                                           .value = put->value,
                                           .expires_at_ms = put->expires_at_ms};
    if (put->request_id.size == REGISTER_CHANGE_ID_BYTES)
        memcpy(ret_change->id, put->request_id.data, REGISTER_CHANGE_ID_BYTES);
    else
        change_id(coordinator, ret_change->id);
    return put->has_context ? "context: consistent keyspaces have none; compare and set instead"
                            : NULL;
}

void coordinator_register_begin(struct coordinator *coordinator, struct actor_context *ctx,
                                struct message *origin)
{
    const struct view *view = ctx->view;
    counter_add(&coordinator->figures.registers, 1);
    struct request *request = coordinator_request_new(coordinator, ctx, origin, REQUEST_REGISTER);
    if (request == NULL) {
        struct request refused = {.origin = origin};
        coordinator_register_answer(coordinator, ctx, &refused, ERR_OVERLOADED,
                                    "too many requests in flight on this node");
        message_free(origin);
        return;
    }
    request->hash =
        hash_key(coordinator_register_keyspace_id(request), coordinator_request_key(request));
    request->partition = hash_partition(request->hash, view->topology.partitions);
    struct register_work *work = calloc(1, sizeof *work);
    CHECK(work != NULL);
    arena_init(&work->arena, NULL, 0);
    request->work = work;
    work->settles = origin->kind == MESSAGE_register_settle;
    const char *why = change_of(coordinator, origin, &work->change);
    if (why != NULL)
        coordinator_register_end(coordinator, ctx, request, ERR_INVALID, why);
    else
        attempt_begin(coordinator, ctx, request, work->change.read && !work->settles);
}

void coordinator_on_register_settle(struct coordinator *coordinator, struct actor_context *ctx,
                                    struct message *message)
{
    uint32_t keyspace_id = message->register_settle.keyspace_id;
    bool known = keyspace_map_find_id(&ctx->view->keyspaces, keyspace_id) != NULL;
    if (coordinator_register_takes(ctx, keyspace_id)) {
        coordinator_register_begin(coordinator, ctx, message);
        return;
    }
    struct message *answer = message_new_reply(message, MESSAGE_register_settle_done, 0);
    answer->register_settle_done.status = known ? ERR_PRECONDITION : ERR_NOT_FOUND;
    outbox_send(ctx, &coordinator->actor, answer);
    message_free(message);
}
