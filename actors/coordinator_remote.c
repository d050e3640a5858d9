/* Writes to other data centres: one copy over the long link, which the replica that gets it passes
 * on to the others there. Cassandra calls it the forwarding of mutations.
 *
 * Who passes on is drawn by the key among the replicas that are alive, so all have their share. All
 * of them answer this node. One that cannot be reached passes nothing on: those that it stood for
 * are sent the write from here, as soon as that is known, or when they are late. */
#include "actors/coordinator_request.h"

static uint64_t bit(uint32_t index)
{
    return (uint64_t)1 << index;
}

/* The targets in a data centre; how many. */
static uint32_t targets_in(const struct request *request, const struct replica_mint *mint,
                           uint8_t data_center, uint8_t ret_places[REPLICAS_TOTAL_MAX])
{
    uint32_t count = 0;
    for (uint8_t i = 0; i < mint->target_count; i++) {
        int index = coordinator_request_replica_index(request, mint->targets[i]);
        if (request->replicas.replicas[index].data_center == data_center)
            ret_places[count++] = i;
    }
    return count;
}

void coordinator_remote_route(struct coordinator *coordinator, const struct view *view,
                              struct request *request, struct replica_mint *mint)
{
    for (uint32_t center = 0; center < view->topology.data_center_count; center++) {
        uint8_t places[REPLICAS_TOTAL_MAX];
        uint32_t count = targets_in(request, mint, (uint8_t)center, places);
        if (coordinator->options.remote_direct || center == view->local_data_center || count < 2 ||
            count > ONWARD_MAX)
            continue;
        uint8_t chosen = places[request->hash % count];
        for (uint32_t i = 0; i < count; i++) {
            if (places[i] == chosen)
                continue;
            mint->via[places[i]] = (uint8_t)(1 + chosen);
            request->onward |=
                bit((uint32_t)coordinator_request_replica_index(request, mint->targets[places[i]]));
        }
        counter_add(&coordinator->figures.remote_onward, count - 1);
    }
}

void coordinator_remote_lost(struct coordinator *coordinator, struct actor_context *ctx,
                             struct request *request, uint32_t index)
{
    uint8_t data_center = request->replicas.replicas[index].data_center;
    if ((request->onward & bit(index)) != 0)
        return; /* it was to pass nothing on */
    for (uint32_t i = 0; i < request->replicas.count; i++) {
        if ((request->onward & bit(i)) != 0 &&
            request->replicas.replicas[i].data_center == data_center)
            request->stranded |= bit(i);
    }
    if (request->mint != NULL)
        coordinator_remote_resend(coordinator, ctx, request);
}

void coordinator_remote_resend(struct coordinator *coordinator, struct actor_context *ctx,
                               struct request *request)
{
    struct bytes record = coordinator_refresh_record(request);
    uint64_t stranded = request->stranded;
    request->onward &= ~stranded;
    request->stranded = 0;
    for (uint32_t i = 0; i < request->replicas.count && record.size != 0; i++) {
        if ((stranded & ~(request->away | request->stale) & bit(i)) == 0 ||
            request->quorum.members[i].state != REPLICA_WAITING)
            continue;
        counter_add(&coordinator->figures.remote_stranded, 1);
        coordinator_request_send_write(coordinator, ctx, request,
                                       request->replicas.replicas[i].member, record,
                                       WRITE_REPLICATE);
    }
}
