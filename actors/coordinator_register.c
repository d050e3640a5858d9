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
#include "actors/coordinator_request.h"

#include "base/mutation.h"
#include "model/hash.h"
#include "model/register_value.h"

#include <stdlib.h>

#define BACKOFF_FIRST_NS ((uint64_t)2 * 1000 * 1000)
#define BACKOFF_DOUBLES  7u
/* Of ballot counters: two coordinators of one node never draw the same. */
#define COUNTER_STEP ((uint64_t)COORDINATORS_MAX)

struct register_work {
    struct register_round round;
    struct register_acceptors acceptors;
    struct register_change change;
    struct register_outcome outcome; /* of the change in the value under way */
    struct register_value value;     /* that is being accepted, or was decided; in `arena` */
    struct bytes encoded;            /* the same */
    struct arena arena;              /* of this attempt */
    struct ballot seen;              /* the greatest of all attempts */
    uint32_t conflicts;
    bool asked;             /* in this phase */
    bool waits;             /* until late_at_ns, to begin again */
    bool unknown;           /* an accept of the change was sent */
    uint64_t version_least; /* with `unknown`: that such an accept would have made */
};

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

static uint32_t keyspace_id_of(const struct request *request)
{
    return request->origin->kind == MESSAGE_client_get
               ? request->origin->client_get.keyspace_id
               : coordinator_put_request(request->origin)->keyspace_id;
}

/* -- the end
 * ------------------------------------------------------------------------------------------- */

/* How far the phase under way has come. Who was not asked, others being down, is not missing. */
static void progress_of(const struct register_work *work, struct progress *ret_progress)
{
    const struct register_acceptors *acceptors = &work->acceptors;
    struct progress *progress = ret_progress;
    progress->needed = acceptors->count / 2 + 1;
    for (uint32_t i = 0; i < acceptors->count; i++) {
        if ((work->round.agreed >> i & 1u) != 0)
            progress->acked_members[progress->acked_count++] = acceptors->list[i].member;
        else if (work->asked || (work->round.answered >> i & 1u) != 0)
            progress->missing_members[progress->missing_count++] = acceptors->list[i].member;
    }
    progress->acked = progress->acked_count;
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

static void register_end(struct coordinator *coordinator, struct actor_context *ctx,
                         struct request *request, enum err status, const char *why)
{
    bool unknown = request->work != NULL && request->work->unknown;
    if (MUTATE(REGISTER_UNKNOWN_IS_NOT_APPLIED))
        unknown = false;
    if (status == ERR_UNAVAILABLE)
        counter_add(&coordinator->figures.unavailable, 1);
    if (request->origin->kind == MESSAGE_client_get)
        answer_get(coordinator, ctx, request, status, why);
    else
        answer_put(coordinator, ctx, request, status,
                   status == OK                        ? OUTCOME_APPLIED
                   : status != ERR_CONFLICT && unknown ? OUTCOME_UNKNOWN
                                                       : OUTCOME_NOT_APPLIED,
                   why);
    coordinator_request_end(coordinator, request);
}

static void register_fail(struct coordinator *coordinator, struct actor_context *ctx,
                          struct request *request)
{
    register_end(coordinator, ctx, request, coordinator_request_failure(request),
                 request->work->unknown ? "the majority of the key's replicas was lost on the way"
                                        : "there is no majority of the key's replicas");
}

/* The round is decided: `value` and `outcome` are true. */
static void register_decided(struct coordinator *coordinator, struct actor_context *ctx,
                             struct request *request)
{
    bool refused = request->work->outcome.refused;
    register_end(coordinator, ctx, request, refused ? ERR_CONFLICT : OK,
                 refused ? "condition: it is false" : NULL);
}

/* -- one attempt
 * ----------------------------------------------------------------------------------- */

static struct message *question(const struct request *request)
{
    const struct register_work *work = request->work;
    uint32_t keyspace_id = keyspace_id_of(request);
    struct bytes key = coordinator_request_key(request);
    struct message *message = NULL;
    switch (work->round.phase) {
    case REGISTER_QUERY:
        message = message_new(MESSAGE_register_query, key.size);
        message->register_query = (struct register_query){
            keyspace_id, arena_copy(&message->arena, key), request->partition};
        break;
    case REGISTER_PREPARE:
        message = message_new(MESSAGE_register_prepare, key.size);
        message->register_prepare = (struct register_prepare){
            keyspace_id, arena_copy(&message->arena, key), request->partition, work->round.ballot};
        break;
    case REGISTER_ACCEPT:
        message = message_new(MESSAGE_register_accept, key.size + work->encoded.size);
        message->register_accept = (struct register_accept){
            keyspace_id, arena_copy(&message->arena, key), request->partition, work->round.ballot,
            arena_copy(&message->arena, work->encoded)};
        break;
    }
    message->id = request->id;
    message->deadline_ns = request->deadline_ns;
    return message;
}

/* To all that have not answered this phase. */
static void ask_all(struct coordinator *coordinator, struct actor_context *ctx,
                    struct request *request)
{
    const struct register_work *work = request->work;
    for (uint32_t i = 0; i < work->acceptors.count; i++) {
        if ((work->round.answered >> i & 1u) != 0)
            continue;
        struct message *message = question(request);
        message->to =
            (struct actor_id){.node = work->acceptors.list[i].member, .kind = ACTOR_REPLICA};
        outbox_send(ctx, &coordinator->actor, message);
    }
}

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
    ask_all(coordinator, ctx, request);
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

/* Nothing of an earlier attempt is waited for: its answers meet nobody. */
static void attempt_begin(struct coordinator *coordinator, struct actor_context *ctx,
                          struct request *request, bool query)
{
    struct register_work *work = request->work;
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
        register_end(coordinator, ctx, request, ERR_CORRUPT, "the register cannot be read");
        return;
    }
    work->outcome = register_change_apply(&from, &work->change, ctx->wall_ms, &work->value);
    /* Its id would have been pushed out by now. */
    if (work->unknown && !work->outcome.repeated &&
        from.version >= work->version_least + REGISTER_CHANGES_KEPT) {
        register_end(coordinator, ctx, request, ERR_UNAVAILABLE,
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
        register_end(coordinator, ctx, request, ERR_CORRUPT, "the register cannot be read");
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

/* False: it is not one of the phase under way. */
static bool answer_of(const struct message *message, const struct register_work *work,
                      struct register_answer *ret_answer, enum err *ret_status)
{
    struct register_answer answer = {.member = message->from.node};
    enum register_phase phase = REGISTER_QUERY;
    if (message->kind == MESSAGE_register_query_reply) {
        const struct register_query_reply *reply = &message->register_query_reply;
        *ret_status = reply->status;
        answer.agreed = true;
        answer.promised = reply->promised;
        answer.accepted = reply->accepted;
        answer.value = reply->value;
    } else if (message->kind == MESSAGE_register_prepare_reply) {
        const struct register_prepare_reply *reply = &message->register_prepare_reply;
        phase = REGISTER_PREPARE;
        *ret_status = reply->status;
        answer.agreed = reply->agreed;
        answer.conflict = reply->conflict;
        answer.accepted = reply->accepted;
        answer.value = reply->value;
    } else {
        const struct register_accept_reply *reply = &message->register_accept_reply;
        phase = REGISTER_ACCEPT;
        *ret_status = reply->status;
        answer.agreed = reply->agreed;
        answer.conflict = reply->conflict;
    }
    answer.failed = *ret_status != OK;
    *ret_answer = answer;
    return phase == work->round.phase;
}

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
        register_fail(coordinator, ctx, request);
        break;
    }
}

void coordinator_on_register_reply(struct coordinator *coordinator, struct actor_context *ctx,
                                   struct message *message)
{
    struct request *request = coordinator_request_find(coordinator, message->id);
    struct register_answer answer;
    enum err status;
    if (request != NULL && request->state == REQUEST_REGISTER && !request->work->waits &&
        answer_of(message, request->work, &answer, &status)) {
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
    ask_all(coordinator, ctx, request);
    coordinator_request_set_late(coordinator, ctx, request, 2 * request->late_ns);
}

void coordinator_register_on_deadline(struct coordinator *coordinator, struct actor_context *ctx,
                                      struct request *request)
{
    register_end(coordinator, ctx, request, ERR_TIMEOUT,
                 request->work->conflicts > 1 ? "others proposed for the key all the time"
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
    if (origin->kind == MESSAGE_client_get)
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
        const char *why = "too many requests in flight on this node";
        if (origin->kind == MESSAGE_client_get)
            answer_get(coordinator, ctx, &refused, ERR_OVERLOADED, why);
        else
            answer_put(coordinator, ctx, &refused, ERR_OVERLOADED, OUTCOME_NOT_APPLIED, why);
        message_free(origin);
        return;
    }
    uint32_t keyspace_id = keyspace_id_of(request);
    request->hash = hash_key(keyspace_id, coordinator_request_key(request));
    request->partition = hash_partition(request->hash, view->topology.partitions);
    view_replica_set(view, keyspace_map_find_id(&view->keyspaces, keyspace_id), request->partition,
                     &request->replicas);
    struct register_work *work = calloc(1, sizeof *work);
    CHECK(work != NULL);
    arena_init(&work->arena, NULL, 0);
    request->work = work;
    const char *why = change_of(coordinator, origin, &work->change);
    if (why != NULL || request->replicas.count > REGISTER_REPLICAS_MAX) {
        register_end(coordinator, ctx, request, why != NULL ? ERR_INVALID : ERR_UNSUPPORTED,
                     why != NULL ? why : "keyspace: a register has at most 32 replicas");
        return;
    }
    /* The replicas of the key and nobody else: a fallback knows nothing of what was promised. */
    for (uint32_t i = 0; i < request->replicas.count; i++) {
        work->acceptors.list[work->acceptors.count].member = request->replicas.replicas[i].member;
        work->acceptors.list[work->acceptors.count++].sets = REGISTER_OLD;
    }
    attempt_begin(coordinator, ctx, request, work->change.read);
}
