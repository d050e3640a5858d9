/* The topology document in force: adopted, made durable, shown, spread; who is a peer by it. */
#include "actors/gossip_state.h"

#include "base/mutation.h"

#include <inttypes.h>
#include <stdlib.h>

#define SPREAD_EVERY_NS ((uint64_t)50 * NS_PER_MS) /* to, or from, one member */

static struct document *document_decode(struct bytes bytes, enum err *ret_err)
{
    struct document *document = calloc(1, sizeof *document);
    CHECK(document != NULL);
    arena_init(&document->arena, NULL, 0);
    document->bytes = arena_copy(&document->arena, bytes);
    *ret_err = topology_decode(&document->arena, document->bytes, &document->topology);
    if (*ret_err == OK) {
        struct arena arena;
        arena_init(&arena, NULL, 0);
        document->digest = topology_digest(&arena, &document->topology);
        arena_deinit(&arena);
        return document;
    }
    document_free(document);
    return NULL;
}

struct document *document_new(const struct topology *topology)
{
    struct arena arena;
    arena_init(&arena, NULL, 0);
    enum err err = OK;
    struct document *document = document_decode(topology_encode(&arena, topology), &err);
    CHECK(document != NULL);
    arena_deinit(&arena);
    return document;
}

void document_free(struct document *document)
{
    if (document == NULL)
        return;
    arena_deinit(&document->arena);
    free(document);
}

/* -- peers
 * ------------------------------------------------------------------------------------------------
 */

static bool member_is_peer(const struct gossip *gossip, const struct member *member)
{
    return member != NULL && member->status != MEMBER_REMOVED &&
           member->number != gossip->options.self;
}

static void peer_leave(struct gossip *gossip, struct peer *peer)
{
    uint64_t bit = (uint64_t)1 << (peer - gossip->peers);
    for (uint32_t i = 0; i < CHANGES_MAX; i++)
        gossip->changes[i].waiting &= ~bit;
    *peer = (struct peer){0};
    gossip->peer_count--;
}

void gossip_follow_document(struct gossip *gossip, uint64_t now_ms)
{
    const struct topology *topology = gossip_topology(gossip);
    for (uint32_t i = 0; i < MEMBERS_MAX; i++) {
        struct peer *peer = &gossip->peers[i];
        const struct member *member = topology_member(topology, peer->member);
        if (peer->member != MEMBER_NONE && !member_is_peer(gossip, member))
            peer_leave(gossip, peer);
    }
    for (uint32_t i = 0; i < topology->member_count; i++) {
        const struct member *member = &topology->members[i];
        struct peer *peer = &gossip->peers[member->slot];
        if (!member_is_peer(gossip, member) || peer->member == member->number)
            continue;
        CHECK_U64(peer->member, ==, MEMBER_NONE);
        *peer = (struct peer){.member = member->number};
        detector_init(&peer->detector, gossip->options.detector);
        /* Silence from now on is silence. Before the first round it is not known when that is. */
        if (gossip->rounds > 0)
            detector_heartbeat(&peer->detector, now_ms);
        gossip->peer_count++;
    }
}

/* -- adopting
 * ------------------------------------------------------------------------------------------- */

enum err gossip_adopt(struct gossip *gossip, struct actor_context *ctx, struct bytes bytes)
{
    const struct topology *newest =
        gossip->staged != NULL ? &gossip->staged->topology : gossip_topology(gossip);
    enum err err = OK;
    struct document *document = document_decode(bytes, &err);
    if (document == NULL)
        return err;
    const struct topology *topology = &document->topology;
    if (memcmp(topology->cluster_id, newest->cluster_id, sizeof newest->cluster_id) != 0 ||
        topology->partitions != newest->partitions)
        err = ERR_INVALID;
    if (err == OK)
        proposer_see(gossip, topology->epoch, document->bytes);
    if (err == OK && topology->epoch <= newest->epoch)
        err = ERR_STALE_EPOCH;
    if (err == OK) {
        err = store_put(ctx->store, STORE_META, bytes_of_string(META_TOPOLOGY), document->bytes,
                        STORE_SYNC_NOW);
        if (err != OK)
            counter_add(&gossip->figures.store_errors, 1);
    }
    if (err != OK) {
        document_free(document);
        return err;
    }
    document_free(gossip->staged);
    gossip->staged = document;
    gossip->staged_sequence = store_staged(ctx->store);
    counter_add(&gossip->figures.documents_adopted, 1);
    return OK;
}

bool gossip_document_committed(struct gossip *gossip, struct actor_context *ctx)
{
    bool durable = gossip->staged != NULL && store_committed(ctx->store) >= gossip->staged_sequence;
    if (gossip->staged == NULL || !(durable || MUTATE(TOPOLOGY_NOT_SYNCED)))
        return false;
    document_free(gossip->document);
    gossip->document = gossip->staged;
    gossip->staged = NULL;
    const struct topology *topology = gossip_topology(gossip);
    log_write(ctx->log, LOG_INFO, "topology_epoch", "epoch=%" PRIu64 " members=%" PRIu32,
              topology->epoch, topology->member_count);
    gossip_follow_document(gossip, ctx->now_ns / NS_PER_MS);
    moves_notice(gossip, ctx);
    gossip_publish(gossip, ctx);
    return true;
}

/* -- spreading
 * ------------------------------------------------------------------------------------------ */

static void send_document(struct gossip *gossip, struct actor_context *ctx, uint32_t member,
                          uint64_t id, struct bytes bytes)
{
    struct message *message = message_new(MESSAGE_topology_document, bytes.size);
    message->id = id;
    message->to = (struct actor_id){.node = member, .kind = ACTOR_GOSSIP};
    message->topology_document.document = arena_copy(&message->arena, bytes);
    outbox_send(ctx, &gossip->actor, message);
}

/* True, and noted: not since 50 ms. */
static bool is_time(uint64_t *last_ns, uint64_t now_ns)
{
    if (*last_ns != 0 && now_ns < *last_ns + SPREAD_EVERY_NS)
        return false;
    *last_ns = now_ns;
    return true;
}

void gossip_tell(struct gossip *gossip, struct actor_context *ctx, uint32_t member)
{
    struct peer *peer = gossip_peer(gossip, member);
    if (peer == NULL || is_time(&peer->told_ns, ctx->now_ns))
        send_document(gossip, ctx, member, gossip_id(gossip), gossip->document->bytes);
}

void gossip_ask(struct gossip *gossip, struct actor_context *ctx, uint32_t member)
{
    struct peer *peer = gossip_peer(gossip, member);
    if (member == gossip->options.self || (peer != NULL && !is_time(&peer->asked_ns, ctx->now_ns)))
        return;
    struct message *message = message_new(MESSAGE_topology_fetch, 0);
    message->id = gossip_id(gossip);
    message->to = (struct actor_id){.node = member, .kind = ACTOR_GOSSIP};
    message->topology_fetch.epoch = gossip_topology(gossip)->epoch;
    outbox_send(ctx, &gossip->actor, message);
}

void gossip_spread(struct gossip *gossip, struct actor_context *ctx, struct bytes bytes)
{
    struct topology next;
    if (topology_decode(&gossip->scratch, bytes, &next) != OK)
        return;
    uint64_t id = gossip_id(gossip);
    for (uint32_t i = 0; i < next.member_count; i++) {
        const struct member *member = &next.members[i];
        struct peer *peer = gossip_peer(gossip, member->number);
        bool was = peer != NULL;
        if (member->number == gossip->options.self || (!was && member->status == MEMBER_REMOVED))
            continue;
        if (was)
            peer->told_ns = ctx->now_ns;
        send_document(gossip, ctx, member->number, id, bytes);
    }
}

void gossip_compare_epochs(struct gossip *gossip, struct actor_context *ctx, uint32_t member,
                           uint64_t epoch)
{
    struct peer *peer = gossip_peer(gossip, member);
    if (peer != NULL && peer->topology_epoch != epoch) {
        peer->topology_epoch = epoch;
        moves_notice(gossip, ctx);
    }
    uint64_t ours = gossip_topology(gossip)->epoch;
    if (epoch == 0) /* not known */
        return;
    if (epoch < ours)
        gossip_tell(gossip, ctx, member);
    else if (epoch > (gossip->staged != NULL ? gossip->staged->topology.epoch : ours))
        gossip_ask(gossip, ctx, member);
}

bool gossip_compare_documents(struct gossip *gossip, struct actor_context *ctx, uint32_t member,
                              uint64_t epoch, uint64_t digest)
{
    struct peer *peer = gossip_peer(gossip, member);
    uint64_t ours = gossip_topology(gossip)->epoch;
    bool split = epoch == ours && topology_digests_differ(digest, gossip->document->digest);
    uint64_t split_epoch = split ? ours : 0;
    if (peer == NULL || digest == 0 || peer->split_epoch == split_epoch)
        return false;
    peer->split_epoch = split_epoch;
    if (split) {
        counter_add(&gossip->figures.documents_split, 1);
        log_write(ctx->log, LOG_ERROR, "topology_split",
                  "member=%" PRIu32 " epoch=%" PRIu64 " digest=%016" PRIx64
                  " its_digest=%016" PRIx64
                  " what_now=\"two documents of one epoch: change nothing, see coterie status\"",
                  member, ours, gossip->document->digest, digest);
    }
    return true;
}

void gossip_on_topology_document(struct gossip *gossip, struct actor_context *ctx,
                                 const struct message *message)
{
    struct message *reply = message_new_reply(message, MESSAGE_topology_document_reply, 0);
    enum err err = gossip_adopt(gossip, ctx, message->topology_document.document);
    reply->topology_document_reply.status = err == ERR_STALE_EPOCH ? OK : err;
    if (err != OK && err != ERR_STALE_EPOCH)
        log_write(ctx->log, LOG_WARNING, "topology_refused", "member=%" PRIu32 " why=\"%s\"",
                  message->from.node, err_text(err));
    gossip_answer_durable(gossip, ctx, reply);
}

void gossip_on_topology_document_reply(struct gossip *gossip, struct actor_context *ctx,
                                       const struct message *message)
{
    const struct topology_document_reply *reply = &message->topology_document_reply;
    if (reply->status == OK)
        gossip_compare_epochs(gossip, ctx, message->from.node, reply->epoch);
}

void gossip_on_topology_fetch(struct gossip *gossip, struct actor_context *ctx,
                              const struct message *message)
{
    if (message->topology_fetch.epoch < gossip_topology(gossip)->epoch)
        send_document(gossip, ctx, message->from.node, message->id, gossip->document->bytes);
}

void gossip_on_topology_behind(struct gossip *gossip, struct actor_context *ctx,
                               const struct message *message)
{
    const struct topology_behind *behind = &message->topology_behind;
    if (behind->epoch > gossip_topology(gossip)->epoch)
        gossip_ask(gossip, ctx, behind->member);
}
