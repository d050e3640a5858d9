/* The proposer of the topology log (actors/gossip_log.h). */
#include "actors/gossip_state.h"

#include "base/mutation.h"

#include <stdio.h>
#include <stdlib.h>

#define BACKOFF_MIN_NS  ((uint64_t)10 * NS_PER_MS)
#define BACKOFF_DOUBLES 6u /* at most 640 ms */

static struct proposal *proposal_first(struct proposer *proposer)
{
    return proposer->count == 0 ? NULL : proposer->queue[0];
}

static void proposal_free(struct proposal *proposal)
{
    message_free(proposal->origin);
    arena_deinit(&proposal->arena);
    free(proposal);
}

void proposer_free(struct proposer *proposer)
{
    for (uint32_t i = 0; i < proposer->count; i++)
        proposal_free(proposer->queue[i]);
    arena_deinit(&proposer->arena);
}

/* -- answers
 * -------------------------------------------------------------------------------------------- */

struct verdict {
    enum err status;
    const char *why;
    bool unknown;
    uint32_t number;
};

static void client_answer(struct gossip *gossip, struct actor_context *ctx,
                          const struct message *origin, const struct verdict *verdict)
{
    struct bytes document = gossip->document->bytes;
    struct message *answer = message_new_reply(origin, MESSAGE_client_topology_done, document.size);
    struct client_topology_done *done = &answer->client_topology_done;
    done->client = origin->client_topology.client;
    done->status = verdict->status;
    if (verdict->why != NULL)
        done->why = arena_string(&answer->arena, bytes_of_string(verdict->why));
    done->unknown = verdict->unknown;
    done->number = verdict->number;
    done->epoch = gossip_topology(gossip)->epoch;
    done->document = arena_copy(&answer->arena, document);
    outbox_send(ctx, &gossip->actor, answer);
}

/* Takes it out of the queue; the next one has its turn then. */
static void proposal_end(struct gossip *gossip, struct actor_context *ctx, uint32_t place,
                         const struct verdict *verdict)
{
    struct proposer *proposer = &gossip->proposer;
    struct proposal *proposal = proposer->queue[place];
    if (verdict->unknown)
        counter_add(&gossip->figures.proposals_unknown, 1);
    if (proposal->origin != NULL)
        client_answer(gossip, ctx, proposal->origin, verdict);
    else if (!proposal->step && verdict->status != OK)
        log_write(ctx->log, LOG_WARNING, "own_address_not_taken", "address=%s why=\"%s\"",
                  proposal->operation.address, verdict->why);
    proposal_free(proposal);
    proposer->count--;
    for (uint32_t i = place; i < proposer->count; i++)
        proposer->queue[i] = proposer->queue[i + 1];
    if (place != 0)
        return;
    proposer->attempts = 0;
    proposer->state = proposer->count == 0 ? PROPOSER_IDLE : PROPOSER_WAITING;
    proposer->retry_at_ns = ctx->now_ns;
}

static void proposal_end_late(struct gossip *gossip, struct actor_context *ctx, uint32_t place)
{
    const struct topology *topology = gossip_topology(gossip);
    struct verdict verdict = {.status = ERR_TIMEOUT,
                              .unknown = gossip->proposer.queue[place]->offer != OFFER_NONE,
                              .why = "other changes were before it; ask again"};
    if (place == 0) {
        char names[VOTERS_MAX * (NODE_NAME_MAX + 2) + 1] = "";
        size_t size = 0;
        for (uint32_t i = 0; i < topology->voter_count; i++) {
            const struct member *voter = topology_member(topology, topology->voters[i]);
            size += (size_t)snprintf(names + size, sizeof names - size, "%s%s", i == 0 ? "" : ", ",
                                     voter->name);
        }
        verdict.status = ERR_UNAVAILABLE;
        verdict.why = arena_printf(
            &gossip->scratch, "a majority of the members that decide (%s) has not agreed in time%s",
            names, verdict.unknown ? "; the change may still be made" : "");
    }
    proposal_end(gossip, ctx, place, &verdict);
}

/* -- a round
 * -------------------------------------------------------------------------------------------- */

static void round_wait(struct gossip *gossip, struct actor_context *ctx)
{
    struct proposer *proposer = &gossip->proposer;
    uint32_t doubles = proposer->attempts < BACKOFF_DOUBLES ? proposer->attempts : BACKOFF_DOUBLES;
    proposer->attempts++;
    proposer->seen = ballot_max(proposer->seen, proposer->round.seen);
    proposer->state = PROPOSER_WAITING;
    proposer->retry_at_ns =
        ctx->now_ns + BACKOFF_MIN_NS / 2 + prng_below(ctx->prng, BACKOFF_MIN_NS << doubles);
}

static struct message *round_message(struct gossip *gossip, struct actor_context *ctx,
                                     enum message_kind kind, uint32_t place, size_t size_hint)
{
    struct proposer *proposer = &gossip->proposer;
    struct message *message = message_new(kind, size_hint);
    message->id = proposer->id;
    message->to = (struct actor_id){.node = proposer->round.acceptors.list[place].member,
                                    .kind = ACTOR_GOSSIP};
    message->deadline_ns = ctx->now_ns + gossip->options.phase_timeout_ns;
    return message;
}

static void round_begin(struct gossip *gossip, struct actor_context *ctx)
{
    struct proposer *proposer = &gossip->proposer;
    const struct topology *topology = gossip_topology(gossip);
    struct register_acceptors acceptors = {.count = topology->voter_count};
    for (uint32_t i = 0; i < topology->voter_count; i++) {
        acceptors.list[i].member = topology->voters[i];
        acceptors.list[i].sets = REGISTER_OLD;
    }
    if (MUTATE(TOPOLOGY_MINORITY_DECIDES)) {
        acceptors.list[0] = acceptors.list[prng_below(ctx->prng, acceptors.count)];
        acceptors.count = 1;
    }
    arena_clear(&proposer->arena);
    if (proposer->seen_epoch != topology->epoch)
        proposer->seen = (struct ballot){0};
    proposer->seen_epoch = topology->epoch;
    proposer->seen =
        ballot_above(proposer->seen, gossip->options.self, gossip->options.incarnation);
    register_round_prepare(&proposer->round, &acceptors, proposer->seen);
    proposer->state = PROPOSER_PREPARING;
    proposer->id = gossip_id(gossip);
    proposer->late_at_ns = ctx->now_ns + gossip->options.phase_timeout_ns;
    counter_add(&gossip->figures.ballots, 1);
    for (uint32_t i = 0; i < acceptors.count; i++) {
        struct message *message = round_message(gossip, ctx, MESSAGE_topology_prepare, i, 0);
        message->topology_prepare = (struct topology_prepare){.epoch = topology->epoch + 1,
                                                              .ballot = proposer->round.ballot};
        outbox_send(ctx, &gossip->actor, message);
    }
}

static void round_accept(struct gossip *gossip, struct actor_context *ctx, struct bytes value)
{
    struct proposer *proposer = &gossip->proposer;
    register_round_accept(&proposer->round, value);
    proposer->state = PROPOSER_ACCEPTING;
    proposer->id = gossip_id(gossip);
    proposer->late_at_ns = ctx->now_ns + gossip->options.phase_timeout_ns;
    for (uint32_t i = 0; i < proposer->round.acceptors.count; i++) {
        struct message *message =
            round_message(gossip, ctx, MESSAGE_topology_accept, i, value.size);
        message->topology_accept = (struct topology_accept){
            .epoch = gossip_topology(gossip)->epoch + 1,
            .ballot = proposer->round.ballot,
            .value = arena_copy(&message->arena, value),
        };
        outbox_send(ctx, &gossip->actor, message);
    }
}

/* -- a proposal's way
 * ----------------------------------------------------------------------------------- */

static void offer_send(struct gossip *gossip, struct actor_context *ctx,
                       const struct topology *next)
{
    struct proposal *proposal = proposal_first(&gossip->proposer);
    CHECK_U64(next->epoch, ==, gossip_topology(gossip)->epoch + 1);
    proposal->offer = OFFER_OPEN;
    proposal->offer_epoch = next->epoch;
    arena_clear(&proposal->arena);
    proposal->offer_bytes = topology_encode(&proposal->arena, next);
    round_accept(gossip, ctx, proposal->offer_bytes);
}

static void offer_step(struct gossip *gossip, struct actor_context *ctx)
{
    struct topology next;
    struct verdict verdict = {.status = OK};
    if (moves_step(gossip, ctx, &gossip->proposer.arena, &next))
        offer_send(gossip, ctx, &next);
    else
        proposal_end(gossip, ctx, 0, &verdict);
}

/* A majority has said that ours is the last document, and that nothing is accepted on top of it. */
static void offer_operation(struct gossip *gossip, struct actor_context *ctx)
{
    struct proposer *proposer = &gossip->proposer;
    struct proposal *proposal = proposal_first(proposer);
    const struct topology *topology = gossip_topology(gossip);
    struct topology next;
    struct verdict verdict = {.status = OK};
    verdict.status = topology_operate(&proposer->arena, topology, &gossip->map,
                                      &proposal->operation, &next, &verdict.number, &verdict.why);
    bool is_so = verdict.status == OK && next.epoch == topology->epoch;
    if (!is_so && proposal->offer == OFFER_OUT_OF_SIGHT) {
        /* It may have been made, and undone by somebody since: never make it twice. */
        verdict.status = ERR_UNAVAILABLE;
        verdict.unknown = true;
        verdict.why = "other changes followed before it was known whether this one was made; look "
                      "at what is planned or under way";
    }
    if (is_so || verdict.status != OK) {
        proposal_end(gossip, ctx, 0, &verdict);
        return;
    }
    proposal->number = verdict.number;
    offer_send(gossip, ctx, &next);
}

static void round_decided(struct gossip *gossip, struct actor_context *ctx)
{
    struct proposer *proposer = &gossip->proposer;
    struct bytes value = proposer->round.value;
    proposer->state = PROPOSER_ADOPTING;
    counter_add(&gossip->figures.documents_decided, 1);
    gossip_spread(gossip, ctx, value);
    enum err err = gossip_adopt(gossip, ctx, value);
    if (err != OK && err != ERR_STALE_EPOCH)
        round_wait(gossip, ctx); /* it will be found accepted, and decided again */
}

static void round_step(struct gossip *gossip, struct actor_context *ctx,
                       enum register_verdict verdict)
{
    struct register_round *round = &gossip->proposer.round;
    switch (verdict) {
    case REGISTER_WAIT:
        break;
    case REGISTER_PROPOSE:
        if (round->accepted.counter != 0 &&
            !MUTATE(TOPOLOGY_ANY_DOCUMENT)) /* somebody's, which may be decided already */
            round_accept(gossip, ctx, round->value);
        else if (proposal_first(&gossip->proposer)->step)
            offer_step(gossip, ctx);
        else
            offer_operation(gossip, ctx);
        break;
    case REGISTER_DECIDED:
        round_decided(gossip, ctx);
        break;
    case REGISTER_CONFLICT:
    case REGISTER_FAILED:
        round_wait(gossip, ctx);
        break;
    case REGISTER_UNDECIDED:
        UNREACHABLE("nothing is queried");
    }
}

static void round_answer(struct gossip *gossip, struct actor_context *ctx,
                         const struct message *message, enum err status,
                         struct register_answer *answer)
{
    struct proposer *proposer = &gossip->proposer;
    answer->member = message->from.node;
    answer->failed = status != OK;
    if (status == ERR_UNAVAILABLE && gossip_peer(gossip, answer->member) != NULL)
        gossip_tell(gossip, ctx, answer->member);
    answer->value = arena_copy(&proposer->arena, answer->value);
    round_step(gossip, ctx, register_round_answer(&proposer->round, answer));
}

void gossip_on_topology_prepare_reply(struct gossip *gossip, struct actor_context *ctx,
                                      const struct message *message)
{
    const struct topology_prepare_reply *reply = &message->topology_prepare_reply;
    if (gossip->proposer.state != PROPOSER_PREPARING || message->id != gossip->proposer.id)
        return;
    struct register_answer answer = {.agreed = reply->agreed,
                                     .conflict = reply->conflict,
                                     .accepted = reply->accepted,
                                     .value = reply->value};
    round_answer(gossip, ctx, message, reply->status, &answer);
}

void gossip_on_topology_accept_reply(struct gossip *gossip, struct actor_context *ctx,
                                     const struct message *message)
{
    const struct topology_accept_reply *reply = &message->topology_accept_reply;
    if (gossip->proposer.state != PROPOSER_ACCEPTING || message->id != gossip->proposer.id)
        return;
    struct register_answer answer = {.agreed = reply->agreed, .conflict = reply->conflict};
    round_answer(gossip, ctx, message, reply->status, &answer);
}

/* -- documents that come in
 * ------------------------------------------------------------------------------ */

void proposer_see(struct gossip *gossip, uint64_t epoch, struct bytes bytes)
{
    struct proposal *proposal = proposal_first(&gossip->proposer);
    if (proposal == NULL || proposal->offer != OFFER_OPEN || proposal->offer_epoch != epoch)
        return;
    proposal->offer = bytes_equal(proposal->offer_bytes, bytes) ? OFFER_WON : OFFER_NONE;
}

void proposer_advance(struct gossip *gossip, struct actor_context *ctx)
{
    struct proposer *proposer = &gossip->proposer;
    struct proposal *proposal = proposal_first(proposer);
    uint64_t epoch = gossip_topology(gossip)->epoch;
    if (proposal == NULL)
        return;
    if (proposal->offer == OFFER_OPEN && proposal->offer_epoch <= epoch)
        proposal->offer = OFFER_OUT_OF_SIGHT;
    if (proposal->offer == OFFER_WON || proposal->step) {
        struct verdict verdict = {.status = OK, .number = proposal->number};
        proposal_end(gossip, ctx, 0, &verdict);
    }
    proposer->attempts = 0;
    if (proposer->count != 0)
        round_begin(gossip, ctx);
}

/* -- the queue
 * ------------------------------------------------------------------------------------------ */

static const char *proposal_why_refused(const struct gossip *gossip)
{
    const struct topology *topology = gossip_topology(gossip);
    const struct member *self = topology_member(topology, gossip->options.self);
    if (topology_was_removed(topology, gossip->options.self) || (self != NULL && self->gone))
        return "this node has been removed from the cluster";
    if (gossip->proposer.count == PROPOSALS_MAX)
        return "too many changes of the topology at once";
    return NULL;
}

static struct proposal *proposal_add(struct gossip *gossip, struct actor_context *ctx,
                                     const struct topology_operation *operation)
{
    struct proposer *proposer = &gossip->proposer;
    struct proposal *proposal = calloc(1, sizeof *proposal);
    CHECK(proposal != NULL);
    arena_init(&proposal->arena, NULL, 0);
    proposal->operation = *operation;
    if (proposal->operation.wall_ms == 0)
        proposal->operation.wall_ms = ctx->wall_ms;
    proposal->deadline_ns = ctx->now_ns + gossip->options.proposal_timeout_ns;
    proposer->queue[proposer->count++] = proposal;
    counter_add(&gossip->figures.proposals, 1);
    return proposal;
}

static void proposer_start(struct gossip *gossip, struct actor_context *ctx)
{
    if (gossip->proposer.state == PROPOSER_IDLE)
        round_begin(gossip, ctx);
}

void gossip_on_client_topology(struct gossip *gossip, struct actor_context *ctx,
                               struct message *message)
{
    struct verdict refused = {.status = ERR_OVERLOADED, .why = proposal_why_refused(gossip)};
    if (refused.why != NULL) {
        if (gossip->proposer.count < PROPOSALS_MAX)
            refused.status = ERR_PRECONDITION;
        counter_add(&gossip->figures.proposals_refused, 1);
        client_answer(gossip, ctx, message, &refused);
        message_free(message);
        return;
    }
    struct proposal *proposal = proposal_add(gossip, ctx, &message->client_topology.operation);
    proposal->origin = message;
    if (message->deadline_ns != 0 && message->deadline_ns < proposal->deadline_ns)
        proposal->deadline_ns = message->deadline_ns;
    proposer_start(gossip, ctx);
}

/* One of a sort at a time. */
static void proposer_take(struct gossip *gossip, struct actor_context *ctx,
                          const struct topology_operation *operation, bool step)
{
    for (uint32_t i = 0; i < gossip->proposer.count; i++) {
        const struct proposal *other = gossip->proposer.queue[i];
        if (other->origin == NULL && other->step == step)
            return;
    }
    if (proposal_why_refused(gossip) != NULL)
        return;
    proposal_add(gossip, ctx, operation)->step = step;
    proposer_start(gossip, ctx);
}

void proposer_add(struct gossip *gossip, struct actor_context *ctx,
                  const struct topology_operation *operation)
{
    proposer_take(gossip, ctx, operation, false);
}

void proposer_add_step(struct gossip *gossip, struct actor_context *ctx)
{
    proposer_take(gossip, ctx, &(struct topology_operation){0}, true);
}

/* -- time
 * -----------------------------------------------------------------------------------------------
 */

void proposer_tick(struct gossip *gossip, struct actor_context *ctx)
{
    struct proposer *proposer = &gossip->proposer;
    for (uint32_t i = proposer->count; i-- > 0;) {
        if (ctx->now_ns >= proposer->queue[i]->deadline_ns)
            proposal_end_late(gossip, ctx, i);
    }
    bool in_round = proposer->state == PROPOSER_PREPARING || proposer->state == PROPOSER_ACCEPTING;
    if (in_round && ctx->now_ns >= proposer->late_at_ns)
        round_wait(gossip, ctx);
    else if (proposer->state == PROPOSER_WAITING && ctx->now_ns >= proposer->retry_at_ns)
        round_begin(gossip, ctx);
}

uint64_t proposer_wake_at_ns(const struct gossip *gossip)
{
    const struct proposer *proposer = &gossip->proposer;
    uint64_t wake_at_ns = NEVER_NS;
    for (uint32_t i = 0; i < proposer->count; i++) {
        if (proposer->queue[i]->deadline_ns < wake_at_ns)
            wake_at_ns = proposer->queue[i]->deadline_ns;
    }
    bool in_round = proposer->state == PROPOSER_PREPARING || proposer->state == PROPOSER_ACCEPTING;
    if (in_round && proposer->late_at_ns < wake_at_ns)
        wake_at_ns = proposer->late_at_ns;
    if (proposer->state == PROPOSER_WAITING && proposer->retry_at_ns < wake_at_ns)
        wake_at_ns = proposer->retry_at_ns;
    return wake_at_ns;
}
