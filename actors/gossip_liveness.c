/* Who is believed to be alive: heartbeats that go round in digests, and what the detector and the
 * peer links make of them. */
#include "actors/gossip_state.h"

#include <inttypes.h>

/* -- liveness
 * -------------------------------------------------------------------------------------------- */

static enum liveness peer_judge(const struct peer *peer, uint64_t now_ms, bool doubt)
{
    if (peer->link == LINK_DOWN)
        return LIVENESS_DOWN;
    if (!detector_available(&peer->detector, now_ms))
        return doubt ? peer->liveness : LIVENESS_DOWN;
    return peer->heard ? LIVENESS_ALIVE : LIVENESS_UNKNOWN;
}

void gossip_judge(struct gossip *gossip, struct actor_context *ctx, bool doubt, bool always)
{
    uint64_t now_ms = ctx->now_ns / NS_PER_MS;
    bool changed = always;
    for (uint32_t i = 0; i < MEMBERS_MAX; i++) {
        struct peer *peer = &gossip->peers[i];
        if (peer->member == MEMBER_NONE)
            continue;
        enum liveness liveness = peer_judge(peer, now_ms, doubt);
        if (liveness == peer->liveness)
            continue;
        bool down = liveness == LIVENESS_DOWN;
        if (down)
            counter_add(&gossip->figures.convictions, 1);
        else if (peer->liveness == LIVENESS_DOWN)
            counter_add(&gossip->figures.revivals, 1);
        log_write(ctx->log, down ? LOG_WARNING : LOG_INFO, down ? "peer_down" : "peer_up",
                  "member=%" PRIu32 " phi=%.1f link=%s", peer->member,
                  detector_phi(&peer->detector, now_ms), peer->link == LINK_DOWN ? "down" : "up");
        peer->liveness = liveness;
        changed = true;
    }
    if (!changed)
        return;
    moves_notice(gossip, ctx);
    gossip_publish(gossip, ctx);
}

void gossip_on_peer_link(struct gossip *gossip, struct actor_context *ctx,
                         const struct peer_link *link)
{
    struct peer *peer = gossip_peer(gossip, link->member);
    if (peer == NULL)
        return;
    peer->link = link->up ? LINK_UP : LINK_DOWN;
    if (link->up) {
        peer->heard = true;
        detector_heartbeat(&peer->detector, ctx->now_ns / NS_PER_MS);
    }
    /* Only a round may convict by silence: it alone knows whether we have just slept. */
    gossip_judge(gossip, ctx, true, false);
}

/* -- digests
 * -----------------------------------------------------------------------------------------------
 */

static void gossip_fill_digest(struct gossip *gossip, struct arena *arena,
                               struct gossip_digest *ret_digest)
{
    struct gossip_digest *digest = ret_digest;
    digest->topology_epoch = gossip_topology(gossip)->epoch;
    digest->topology_digest = gossip->document->digest;
    digest->keyspaces_digest = gossip->map_digest;
    digest->heartbeats = ARENA_NEW(arena, struct gossip_heartbeat, gossip->peer_count + 1);
    digest->heartbeats[digest->heartbeat_count++] = (struct gossip_heartbeat){
        .member = gossip->options.self,
        .generation = gossip->options.generation,
        .heartbeat = gossip->heartbeat,
    };
    for (uint32_t i = 0; i < MEMBERS_MAX; i++) {
        const struct peer *peer = &gossip->peers[i];
        if (peer->generation == 0)
            continue;
        digest->heartbeats[digest->heartbeat_count++] = (struct gossip_heartbeat){
            .member = peer->member,
            .generation = peer->generation,
            .heartbeat = peer->heartbeat,
        };
    }
}

static void gossip_take_digest(struct gossip *gossip, struct actor_context *ctx, uint32_t from,
                               const struct gossip_digest *digest)
{
    for (uint32_t i = 0; i < digest->heartbeat_count; i++) {
        const struct gossip_heartbeat *heartbeat = &digest->heartbeats[i];
        /* Of an earlier incarnation of this node, whose disk is gone: what we say must count more.
         */
        if (heartbeat->member == gossip->options.self &&
            heartbeat->generation > gossip->options.generation &&
            heartbeat->generation < UINT64_MAX)
            gossip->options.generation = heartbeat->generation + 1;
        struct peer *peer = gossip_peer(gossip, heartbeat->member);
        if (peer == NULL || heartbeat->generation < peer->generation)
            continue;
        if (heartbeat->generation > peer->generation) {
            peer->generation = heartbeat->generation;
            peer->heartbeat = 0;
        }
        if (heartbeat->heartbeat <= peer->heartbeat)
            continue;
        peer->heartbeat = heartbeat->heartbeat;
        peer->heard = true;
        detector_heartbeat(&peer->detector, ctx->now_ns / NS_PER_MS);
    }
    if (digest->keyspaces_digest == gossip->map_digest)
        gossip_map_heard(gossip, ctx, from);
    else
        gossip_send_map(gossip, ctx, from, gossip_id(gossip));
    gossip_compare_epochs(gossip, ctx, from, digest->topology_epoch);
    bool told = gossip_compare_documents(gossip, ctx, from, digest->topology_epoch,
                                         digest->topology_digest);
    gossip_judge(gossip, ctx, true, told);
}

void gossip_on_digest(struct gossip *gossip, struct actor_context *ctx,
                      const struct message *message)
{
    struct message *reply = message_new_reply(message, MESSAGE_gossip_digest_reply, 0);
    gossip_take_digest(gossip, ctx, message->from.node, &message->gossip_digest);
    gossip_fill_digest(gossip, &reply->arena, &reply->gossip_digest_reply.digest);
    outbox_send(ctx, &gossip->actor, reply);
}

void gossip_on_digest_reply(struct gossip *gossip, struct actor_context *ctx,
                            const struct message *message)
{
    gossip_take_digest(gossip, ctx, message->from.node, &message->gossip_digest_reply.digest);
}

void gossip_round(struct gossip *gossip, struct actor_context *ctx)
{
    uint32_t order[MEMBERS_MAX];
    uint32_t count = 0;
    gossip->heartbeat++;
    gossip->rounds++;
    counter_add(&gossip->figures.rounds, 1);
    for (uint32_t i = 0; i < MEMBERS_MAX; i++) {
        if (gossip->peers[i].member != MEMBER_NONE)
            order[count++] = i;
    }
    for (uint32_t i = 0; i < count && i < gossip->options.fanout; i++) {
        uint32_t pick = i + (uint32_t)prng_below(ctx->prng, count - i);
        uint32_t peer = order[pick];
        order[pick] = order[i];
        struct message *message = message_new(MESSAGE_gossip_digest, 0);
        message->id = gossip_id(gossip);
        message->to = (struct actor_id){.node = gossip->peers[peer].member, .kind = ACTOR_GOSSIP};
        gossip_fill_digest(gossip, &message->arena, &message->gossip_digest);
        outbox_send(ctx, &gossip->actor, message);
    }
}
