/* What the peer port has counted, by peer and over all. */
#include "rpc/peer_link.h"

#include <stdlib.h>

static int figures_compare(const void *a, const void *b)
{
    uint32_t left = ((const struct rpc_peer_figures *)a)->member;
    uint32_t right = ((const struct rpc_peer_figures *)b)->member;
    return (left > right) - (left < right);
}

size_t rpc_peers_figures(struct rpc_peers *peers, struct rpc_peer_figures *ret, size_t max)
{
    struct rpc_peer_figures all[MEMBERS_MAX];
    uint32_t count = atomic_load(&peers->link_count);
    for (uint32_t i = 0; i < count; i++) {
        struct link *link = peers->links[i];
        uint64_t ups = atomic_load(&link->figures.ups);
        all[i] = (struct rpc_peer_figures){
            .member = link->member,
            .messages_sent = atomic_load(&link->figures.messages_sent),
            .messages_received = atomic_load(&link->figures.messages_received),
            .messages_dropped = atomic_load(&link->figures.messages_dropped),
            .frames_sent = atomic_load(&link->figures.frames_sent),
            .bytes_sent = atomic_load(&link->figures.bytes_sent),
            .bytes_received = atomic_load(&link->figures.bytes_received),
            .reconnects = ups == 0 ? 0 : ups - 1,
        };
        pthread_mutex_lock(&link->lock);
        all[i].connected = link->state == LINK_UP;
        all[i].queue_bytes = link->queue_bytes;
        pthread_mutex_unlock(&link->lock);
        pthread_mutex_lock(&peers->lock);
        all[i].serving = link->streams_served != 0;
        pthread_mutex_unlock(&peers->lock);
    }
    qsort(all, count, sizeof all[0], figures_compare);
    memcpy(ret, all, (count < max ? count : max) * sizeof all[0]);
    return count;
}

void rpc_peers_totals(struct rpc_peers *peers, struct rpc_peers_totals *ret)
{
    pthread_mutex_lock(&peers->lock);
    uint32_t streams = peers->incoming_count;
    pthread_mutex_unlock(&peers->lock);
    *ret = (struct rpc_peers_totals){
        .streams = streams,
        .accepted = atomic_load(&peers->accepted),
        .refused = atomic_load(&peers->refused),
        .malformed = atomic_load(&peers->malformed),
        .raises = atomic_load(&peers->raises),
    };
    for (size_t i = 0; i < IDENTITY_VERDICTS; i++)
        ret->verdicts[i] = atomic_load(&peers->verdicts[i]);
}
