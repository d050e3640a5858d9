/* Hedged reads: when an answer takes longer than its replica usually does, one more replica is
 * asked. Dean and Barroso, The Tail at Scale (CACM 2013).
 *
 * Each first question earns a twentieth of a hedge, so hedges add at most 5 % to the questions
 * asked: when all are slow, more questions are the last thing that helps. Answers to a hedged read
 * never feed what is known of latencies, or hedging would teach itself; that one was late does, at
 * the moment of the hedge, or a replica that has stopped would stay the favourite. */
#include "actors/coordinator_request.h"

#define HEDGE_COST       20u /* in first questions: 5 % */
#define HEDGE_CREDIT_MAX (16 * HEDGE_COST)

static uint64_t bit(uint32_t index)
{
    return (uint64_t)1 << index;
}

/* When the first of those that are waited for is late; NEVER_NS: not before read_late_ns, which
 * asks everybody anyway. */
static uint64_t hedge_next_ns(const struct coordinator *coordinator, const struct request *request)
{
    uint64_t late_ns = coordinator->options.read_late_ns;
    for (uint32_t i = 0; i < request->replicas.count; i++) {
        if ((request->timed & bit(i)) == 0)
            continue;
        uint64_t own =
            coordinator_latency_late_ns(coordinator, request->replicas.replicas[i].member);
        if (own < late_ns)
            late_ns = own;
    }
    return late_ns < coordinator->options.read_late_ns ? request->started_ns + late_ns : NEVER_NS;
}

void coordinator_hedge_begin(struct coordinator *coordinator, struct request *request)
{
    request->timed = request->asked;
    for (uint64_t asked = request->asked; asked != 0; asked &= asked - 1)
        coordinator->hedge_credit++;
    if (coordinator->hedge_credit > HEDGE_CREDIT_MAX)
        coordinator->hedge_credit = HEDGE_CREDIT_MAX;
    request->hedge_at_ns = hedge_next_ns(coordinator, request);
}

void coordinator_hedge_answered(struct coordinator *coordinator, struct actor_context *ctx,
                                struct request *request, uint32_t index, enum err status)
{
    if ((request->timed & bit(index)) == 0)
        return;
    request->timed &= ~bit(index);
    if (status == OK)
        coordinator_latency_answered(coordinator, request->replicas.replicas[index].member,
                                     ctx->now_ns - request->started_ns);
}

/* Those that are late by now. */
static uint64_t hedge_find_late(const struct coordinator *coordinator, struct actor_context *ctx,
                                const struct request *request)
{
    uint64_t late = 0;
    uint64_t elapsed_ns = ctx->now_ns - request->started_ns;
    for (uint32_t i = 0; i < request->replicas.count; i++) {
        uint32_t member = request->replicas.replicas[i].member;
        if ((request->timed & bit(i)) != 0 &&
            coordinator_latency_late_ns(coordinator, member) <= elapsed_ns)
            late |= bit(i);
    }
    return late;
}

/* The fastest replica whose answer helps if the late ones never answer; false: there is none. */
static bool hedge_find_target(const struct coordinator *coordinator, struct actor_context *ctx,
                              const struct request *request, uint64_t late, uint32_t *ret_index)
{
    uint32_t order[REPLICAS_TOTAL_MAX];
    uint32_t count = coordinator_get_order(coordinator, ctx->view, request, order);
    struct quorum hoped = request->quorum;
    for (uint32_t i = 0; i < request->replicas.count; i++) {
        if ((request->asked & ~late & bit(i)) != 0)
            quorum_ack(&hoped, request->replicas.replicas[i].member);
    }
    for (uint32_t i = 0; i < count; i++) {
        if (!coordinator_get_helps(&hoped, request->replicas.replicas[order[i]].member))
            continue;
        *ret_index = order[i];
        return true;
    }
    return false;
}

void coordinator_hedge_on_due(struct coordinator *coordinator, struct actor_context *ctx,
                              struct request *request)
{
    uint32_t target;
    uint64_t late = hedge_find_late(coordinator, ctx, request);
    request->hedge_at_ns = late == 0 ? hedge_next_ns(coordinator, request) : NEVER_NS;
    if (late == 0 || !hedge_find_target(coordinator, ctx, request, late, &target))
        return;
    if (coordinator->hedge_credit < HEDGE_COST) {
        counter_add(&coordinator->figures.hedges_capped, 1);
        return;
    }
    coordinator->hedge_credit -= HEDGE_COST;
    counter_add(&coordinator->figures.hedges_sent, 1);
    for (uint32_t i = 0; i < request->replicas.count; i++) {
        if ((late & bit(i)) != 0)
            coordinator_latency_late(coordinator, request->replicas.replicas[i].member,
                                     ctx->now_ns - request->started_ns);
    }
    request->timed = 0;
    request->hedged = bit(target);
    coordinator_get_ask(coordinator, ctx, request, target);
}

void coordinator_hedge_end(struct request *request)
{
    request->timed = 0;
    request->hedge_at_ns = NEVER_NS;
}
