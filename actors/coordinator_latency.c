/* How fast replicas answer reads. Two figures a member: a moving average, which orders them, and a
 * running 95th percentile, which says what is late.
 *
 * The percentile is a stochastic approximation (Robbins and Monro 1951): a step up for an answer
 * above it, a nineteenth of that step down for one below, each a share of the value itself, so that
 * no samples are kept. A step up needs no figure: that an answer has not come yet says enough. */
#include "actors/coordinator_request.h"

#define LATENCY_UNKNOWN_NS (1000u * 1000)
#define LATE_SAMPLES_MIN   16u            /* before it nothing is known to be late */
#define LATE_NS_MIN        (1000u * 1000) /* less is noise */
#define FIRST_GUESS        4u             /* times the first answer */
#define PERCENTILE_NS_MIN  1000u
#define STEP_UP            8u             /* an eighth of it for the 5 % above */
#define STEP_DOWN          (19 * STEP_UP) /* for the 95 % below */

/* The member's place, a fresh one if it has none yet. */
static struct peer_latency *latency_place(struct coordinator *coordinator, uint32_t member)
{
    uint32_t i = 0;
    while (coordinator->peers[i].member != MEMBER_NONE && coordinator->peers[i].member != member) {
        i++;
        CHECK_U64(i, <, MEMBERS_MAX);
    }
    coordinator->peers[i].member = member;
    return &coordinator->peers[i];
}

static const struct peer_latency *latency_find(const struct coordinator *coordinator,
                                               uint32_t member)
{
    for (uint32_t i = 0; i < MEMBERS_MAX && coordinator->peers[i].member != MEMBER_NONE; i++) {
        if (coordinator->peers[i].member == member)
            return &coordinator->peers[i];
    }
    return NULL;
}

uint64_t coordinator_latency_ns(const struct coordinator *coordinator, uint32_t member)
{
    const struct peer_latency *peer = latency_find(coordinator, member);
    return peer == NULL ? LATENCY_UNKNOWN_NS : peer->average_ns;
}

uint64_t coordinator_latency_late_ns(const struct coordinator *coordinator, uint32_t member)
{
    const struct peer_latency *peer = latency_find(coordinator, member);
    if (peer == NULL || peer->samples < LATE_SAMPLES_MIN)
        return coordinator->options.read_late_ns;
    return peer->percentile_ns < LATE_NS_MIN ? LATE_NS_MIN : peer->percentile_ns;
}

static void average_learn(struct peer_latency *peer, uint64_t ns)
{
    peer->average_ns =
        peer->average_ns == 0 ? ns : peer->average_ns - peer->average_ns / 8 + ns / 8;
}

static void percentile_step_up(const struct coordinator *coordinator, struct peer_latency *peer)
{
    peer->percentile_ns += peer->percentile_ns / STEP_UP;
    if (peer->percentile_ns > coordinator->options.read_late_ns)
        peer->percentile_ns = coordinator->options.read_late_ns;
}

void coordinator_latency_answered(struct coordinator *coordinator, uint32_t member, uint64_t ns)
{
    struct peer_latency *peer = latency_place(coordinator, member);
    average_learn(peer, ns);
    if (peer->samples == 0)
        peer->percentile_ns =
            FIRST_GUESS * ns < PERCENTILE_NS_MIN ? PERCENTILE_NS_MIN : FIRST_GUESS * ns;
    if (peer->samples < LATE_SAMPLES_MIN)
        peer->samples++;
    if (ns > peer->percentile_ns)
        percentile_step_up(coordinator, peer);
    else if (peer->percentile_ns > PERCENTILE_NS_MIN)
        peer->percentile_ns -= peer->percentile_ns / STEP_DOWN;
}

void coordinator_latency_late(struct coordinator *coordinator, uint32_t member, uint64_t ns)
{
    struct peer_latency *peer = latency_place(coordinator, member);
    average_learn(peer, ns);
    percentile_step_up(coordinator, peer);
}

void coordinator_latency_silent(struct coordinator *coordinator, uint32_t member, uint64_t ns)
{
    average_learn(latency_place(coordinator, member), 8 * ns);
}
