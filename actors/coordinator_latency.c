/* How fast the other replicas are. */
#include "actors/coordinator_request.h"

#define LATENCY_UNKNOWN_NS (1000u * 1000)

uint64_t coordinator_latency_ns(const struct coordinator *coordinator, uint32_t member)
{
    for (uint32_t i = 0; i < MEMBERS_MAX && coordinator->peers[i].member != MEMBER_NONE; i++) {
        if (coordinator->peers[i].member == member)
            return coordinator->peers[i].latency_ns;
    }
    return LATENCY_UNKNOWN_NS;
}

void coordinator_learn_latency(struct coordinator *coordinator, uint32_t member,
                               uint64_t latency_ns)
{
    for (uint32_t i = 0; i < MEMBERS_MAX; i++) {
        if (coordinator->peers[i].member == MEMBER_NONE) {
            coordinator->peers[i].member = member;
            coordinator->peers[i].latency_ns = latency_ns;
            return;
        }
        if (coordinator->peers[i].member == member) {
            uint64_t *average = &coordinator->peers[i].latency_ns;
            *average = *average - *average / 8 + latency_ns / 8;
            return;
        }
    }
}
