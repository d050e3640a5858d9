#include "actors/gossip.h"

#include "base/heap.h"
#include "model/hlc.h"

#include <inttypes.h>
#include <stdlib.h>

#define HELD_MAX           256u
#define CHANGES_MAX        16u
#define NS_PER_MS          1000000u
#define PHI_REFRESH_ROUNDS 5u

enum link_state { LINK_UNKNOWN, LINK_UP, LINK_DOWN };

struct peer {
    uint32_t member;
    uint64_t generation;
    uint64_t heartbeat;
    struct detector detector;
    enum link_state link;
    enum liveness liveness;
    bool heard; /* of it, directly or through others */
};

/* A keyspace_change that waits for this node's log and for the other nodes. */
struct change {
    struct message *origin; /* NULL: free */
    uint64_t id;
    uint64_t deadline_ns;
    uint64_t sequence; /* of our own row */
    uint64_t waiting;  /* bit per peer index */
    uint32_t known_by;
    struct keyspace keyspace;
};

struct gossip {
    struct actor actor;
    struct gossip_options options;
    struct arena topology_arena;
    struct topology topology;
    struct arena *map_arena; /* heap; replaced with the map */
    struct keyspace_map map;
    uint64_t map_digest;
    struct peer peers[MEMBERS_MAX];
    uint32_t peer_count;
    struct change changes[CHANGES_MAX];
    struct heap held; /* gossip_keyspaces_reply by the sequence they wait for */
    struct hlc hlc;
    struct detector_self detector_self;
    uint64_t heartbeat;
    uint64_t round_at_ns;
    uint64_t rounds;
    uint64_t serial;
    uint64_t view_version;
    struct arena scratch;
    struct gossip_figures figures;
};

static struct gossip *gossip_of(struct actor *actor)
{
    CHECK_U64(actor->magic, ==, ACTOR_MAGIC);
    return CONTAINER_OF(actor, struct gossip, actor);
}

struct gossip_options gossip_options_default(uint32_t self, uint64_t generation)
{
    struct detector_options detector = detector_options_default();
    /* Heartbeats come through others as well, a round late now and then. */
    detector.acceptable_pause_ms = 3000;
    return (struct gossip_options){
        .self = self,
        .generation = generation,
        .interval_ns = (uint64_t)1000 * NS_PER_MS,
        .fanout = 3,
        .change_timeout_ns = (uint64_t)2000 * NS_PER_MS,
        .detector = detector,
    };
}

static struct peer *gossip_peer(struct gossip *gossip, uint32_t member)
{
    for (uint32_t i = 0; i < gossip->peer_count; i++) {
        if (gossip->peers[i].member == member)
            return &gossip->peers[i];
    }
    return NULL;
}

static uint64_t gossip_id(struct gossip *gossip)
{
    return (gossip->options.generation & 0xFFFF) << 48 | ++gossip->serial;
}

/* -- the view
 * ------------------------------------------------------------------------------------------ */

static struct view *gossip_view(struct gossip *gossip, uint64_t now_ms)
{
    struct view *view = view_new(&gossip->topology, &gossip->map, gossip->options.self);
    view->version = ++gossip->view_version;
    for (uint32_t i = 0; i < gossip->topology.member_count; i++) {
        uint32_t member = gossip->topology.members[i].number;
        const struct peer *peer = gossip_peer(gossip, member);
        if (peer == NULL) {
            view->members[i].liveness =
                member == gossip->options.self ? LIVENESS_ALIVE : LIVENESS_UNKNOWN;
            view->members[i].generation = gossip->options.generation;
            continue;
        }
        view->members[i].liveness = peer->liveness;
        view->members[i].generation = peer->generation;
        view->members[i].phi = now_ms == 0 ? 0 : detector_phi(&peer->detector, now_ms);
    }
    return view;
}

struct view *gossip_first_view(struct gossip *gossip)
{
    return gossip_view(gossip, 0);
}

static void gossip_publish(struct gossip *gossip, struct actor_context *ctx)
{
    struct message *message = message_new(MESSAGE_view_publish, 0);
    message->to = (struct actor_id){.node = gossip->options.self, .kind = ACTOR_RUNTIME};
    message->view_publish.view = gossip_view(gossip, ctx->now_ns / NS_PER_MS);
    counter_add(&gossip->figures.views, 1);
    outbox_send(ctx, &gossip->actor, message);
}

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

/* Judges all peers; publishes a view when anything has changed, or when `always`. */
static void gossip_judge(struct gossip *gossip, struct actor_context *ctx, bool doubt, bool always)
{
    uint64_t now_ms = ctx->now_ns / NS_PER_MS;
    bool changed = always;
    for (uint32_t i = 0; i < gossip->peer_count; i++) {
        struct peer *peer = &gossip->peers[i];
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
    if (changed)
        gossip_publish(gossip, ctx);
}

static void gossip_on_peer_link(struct gossip *gossip, struct actor_context *ctx,
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
    digest->topology_epoch = gossip->topology.epoch;
    digest->keyspaces_digest = gossip->map_digest;
    digest->heartbeats = ARENA_NEW(arena, struct gossip_heartbeat, gossip->peer_count + 1);
    digest->heartbeats[digest->heartbeat_count++] = (struct gossip_heartbeat){
        .member = gossip->options.self,
        .generation = gossip->options.generation,
        .heartbeat = gossip->heartbeat,
    };
    for (uint32_t i = 0; i < gossip->peer_count; i++) {
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

static void gossip_send_map(struct gossip *gossip, struct actor_context *ctx, uint32_t member,
                            uint64_t id)
{
    struct bytes map = keyspace_map_encode(&gossip->scratch, &gossip->map);
    struct message *message = message_new(MESSAGE_gossip_keyspaces, map.size);
    message->id = id;
    message->to = (struct actor_id){.node = member, .kind = ACTOR_GOSSIP};
    message->gossip_keyspaces.map = arena_copy(&message->arena, map);
    counter_add(&gossip->figures.maps_sent, 1);
    outbox_send(ctx, &gossip->actor, message);
}

static void gossip_take_digest(struct gossip *gossip, struct actor_context *ctx, uint32_t from,
                               const struct gossip_digest *digest)
{
    counter_add(&gossip->figures.digests_received, 1);
    for (uint32_t i = 0; i < digest->heartbeat_count; i++) {
        const struct gossip_heartbeat *heartbeat = &digest->heartbeats[i];
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
    if (digest->keyspaces_digest != gossip->map_digest)
        gossip_send_map(gossip, ctx, from, gossip_id(gossip));
    gossip_judge(gossip, ctx, true, false);
}

static void gossip_on_digest(struct gossip *gossip, struct actor_context *ctx,
                             const struct message *message)
{
    struct message *reply = message_new_reply(message, MESSAGE_gossip_digest_reply, 0);
    gossip_take_digest(gossip, ctx, message->from.node, &message->gossip_digest);
    gossip_fill_digest(gossip, &reply->arena, &reply->gossip_digest_reply.digest);
    outbox_send(ctx, &gossip->actor, reply);
}

static void gossip_round(struct gossip *gossip, struct actor_context *ctx)
{
    uint32_t order[MEMBERS_MAX];
    gossip->heartbeat++;
    gossip->rounds++;
    counter_add(&gossip->figures.rounds, 1);
    for (uint32_t i = 0; i < gossip->peer_count; i++)
        order[i] = i;
    for (uint32_t i = 0; i < gossip->peer_count && i < gossip->options.fanout; i++) {
        uint32_t pick = i + (uint32_t)prng_below(ctx->prng, gossip->peer_count - i);
        uint32_t peer = order[pick];
        order[pick] = order[i];
        struct message *message = message_new(MESSAGE_gossip_digest, 0);
        message->id = gossip_id(gossip);
        message->to = (struct actor_id){.node = gossip->peers[peer].member, .kind = ACTOR_GOSSIP};
        gossip_fill_digest(gossip, &message->arena, &message->gossip_digest);
        outbox_send(ctx, &gossip->actor, message);
    }
}

/* -- the keyspace map
 * --------------------------------------------------------------------------------------- */

/* Takes over a map (in scratch) that differs from ours: stages it, then shows it. The log keeps
 * order, so data of a new keyspace is never durable before its definition. */
static enum err gossip_adopt_map(struct gossip *gossip, struct actor_context *ctx,
                                 const struct keyspace_map *map)
{
    struct bytes bytes = keyspace_map_encode(&gossip->scratch, map);
    enum err err =
        store_put(ctx->store, STORE_META, bytes_of_string(META_KEYSPACES), bytes, STORE_SYNC_NOW);
    if (err != OK) {
        counter_add(&gossip->figures.store_errors, 1);
        return err;
    }
    struct arena *arena = malloc(sizeof *arena);
    CHECK(arena != NULL);
    arena_init(arena, NULL, 0);
    err = keyspace_map_decode(arena, arena_copy(arena, bytes), &gossip->map);
    CHECK(err == OK);
    arena_deinit(gossip->map_arena);
    free(gossip->map_arena);
    gossip->map_arena = arena;
    gossip->map_digest = keyspace_map_digest(&gossip->map);
    gossip_publish(gossip, ctx);
    return OK;
}

static void gossip_on_keyspaces(struct gossip *gossip, struct actor_context *ctx,
                                const struct message *message)
{
    struct keyspace_map theirs;
    struct message *reply = message_new_reply(message, MESSAGE_gossip_keyspaces_reply, 0);
    enum err err = keyspace_map_decode(&gossip->scratch, message->gossip_keyspaces.map, &theirs);
    if (err == OK && gossip->held.count >= HELD_MAX)
        err = ERR_OVERLOADED;
    if (err == OK) {
        struct keyspace_map merged = keyspace_map_merge(&gossip->scratch, &gossip->map, &theirs);
        for (uint32_t i = 0; i < theirs.count; i++) {
            /* Later changes here must win over what we have seen; a stamp from far ahead is merged
             * like any other, but does not drag our clock along. */
            if (hlc_observe(&gossip->hlc, theirs.keyspaces[i].changed_at, ctx->wall_ms) != OK)
                continue;
        }
        if (keyspace_map_digest(&merged) != gossip->map_digest) {
            counter_add(&gossip->figures.maps_merged, 1);
            err = gossip_adopt_map(gossip, ctx, &merged);
        }
    }
    reply->gossip_keyspaces_reply.status = err;
    reply->gossip_keyspaces_reply.keyspaces_digest = gossip->map_digest;
    uint64_t sequence = store_staged(ctx->store);
    if (err != OK || sequence <= store_committed(ctx->store))
        outbox_send(ctx, &gossip->actor, reply);
    else
        heap_push(&gossip->held,
                  (struct heap_entry){.key = sequence, .tie = ++gossip->serial, .value = reply});
}

/* -- changes
 * --------------------------------------------------------------------------------------------------
 */

static void change_answer(struct gossip *gossip, struct actor_context *ctx,
                          const struct message *origin, enum err status, const char *why,
                          const struct change *change)
{
    struct message *answer = message_new_reply(origin, MESSAGE_keyspace_change_done, 0);
    struct keyspace_change_done *done = &answer->keyspace_change_done;
    done->client = origin->keyspace_change.client;
    done->status = status;
    done->why = why;
    done->nodes = gossip->peer_count + 1;
    if (change != NULL) {
        done->keyspace = change->keyspace;
        done->known_by = change->known_by;
    }
    outbox_send(ctx, &gossip->actor, answer);
}

static void change_end(struct gossip *gossip, struct actor_context *ctx, struct change *change,
                       enum err status, const char *why)
{
    change_answer(gossip, ctx, change->origin, status, why, change);
    message_free(change->origin);
    change->origin = NULL;
}

/* Done when our own row is durable and every node that is not known to be down has answered. */
static void change_step(struct gossip *gossip, struct actor_context *ctx, struct change *change)
{
    bool durable = store_committed(ctx->store) >= change->sequence;
    if (durable && change->waiting == 0)
        change_end(gossip, ctx, change, OK, NULL);
    else if (ctx->now_ns >= change->deadline_ns)
        change_end(gossip, ctx, change, durable ? OK : ERR_TIMEOUT,
                   durable ? NULL : "the change is not durable on this node yet");
}

static enum err change_apply(struct gossip *gossip, struct actor_context *ctx,
                             const struct keyspace_change *request, struct keyspace *ret_keyspace,
                             const char **ret_why)
{
    const struct keyspace *present = keyspace_map_find(&gossip->map, request->keyspace.name);
    struct keyspace keyspace =
        request->operation == KEYSPACE_CREATE || present == NULL ? request->keyspace : *present;
    keyspace.changed_at = hlc_now(&gossip->hlc, ctx->wall_ms);
    for (uint32_t i = 0; i < gossip->map.count; i++) {
        /* Above every change of that name, whatever clocks did. */
        const struct keyspace *other = &gossip->map.keyspaces[i];
        if (strcmp(other->name, keyspace.name) == 0 && other->changed_at >= keyspace.changed_at)
            keyspace.changed_at = other->changed_at + 1;
    }
    switch (request->operation) {
    case KEYSPACE_CREATE:
        if (present != NULL) {
            *ret_why = "a keyspace of this name exists";
            return ERR_EXISTS;
        }
        if (gossip->map.count >= KEYSPACES_MAX) {
            *ret_why = "the cluster holds as many keyspaces as it can, dropped ones included";
            return ERR_LIMIT;
        }
        keyspace.created_at = keyspace.changed_at;
        keyspace.id = keyspace_id(keyspace.name, keyspace.created_at);
        break;
    case KEYSPACE_DROP:
        if (present == NULL) {
            *ret_why = "no keyspace of this name";
            return ERR_NOT_FOUND;
        }
        keyspace.dropped = true;
        break;
    }
    enum err err = keyspace_validate(&keyspace, ret_why);
    if (err != OK)
        return err;
    struct keyspace_map map = keyspace_map_put(&gossip->scratch, &gossip->map, &keyspace);
    err = gossip_adopt_map(gossip, ctx, &map);
    if (err != OK)
        *ret_why = "the change could not be stored on this node";
    else
        *ret_keyspace = keyspace;
    return err;
}

/* Consumes the message: kept as the change's origin, or freed. */
static void gossip_on_keyspace_change(struct gossip *gossip, struct actor_context *ctx,
                                      struct message *message)
{
    const char *why = "too many keyspace changes at once";
    struct change *change = NULL;
    for (uint32_t i = 0; i < CHANGES_MAX && change == NULL; i++) {
        if (gossip->changes[i].origin == NULL)
            change = &gossip->changes[i];
    }
    enum err err = ERR_OVERLOADED;
    if (change != NULL) {
        *change = (struct change){.id = gossip_id(gossip)};
        err = change_apply(gossip, ctx, &message->keyspace_change, &change->keyspace, &why);
    }
    if (err != OK) {
        change_answer(gossip, ctx, message, err, why, NULL);
        message_free(message);
        return;
    }
    change->origin = message;
    change->sequence = store_staged(ctx->store);
    change->deadline_ns = ctx->now_ns + gossip->options.change_timeout_ns;
    change->known_by = 1;
    for (uint32_t i = 0; i < gossip->peer_count; i++) {
        if (gossip->peers[i].liveness == LIVENESS_DOWN)
            continue;
        change->waiting |= (uint64_t)1 << i;
        gossip_send_map(gossip, ctx, gossip->peers[i].member, change->id);
    }
    log_write(ctx->log, LOG_INFO, "keyspace_changed", "name=%s operation=%s id=%" PRIu32,
              change->keyspace.name, change->keyspace.dropped ? "drop" : "create",
              change->keyspace.id);
    change_step(gossip, ctx, change);
}

static void gossip_on_keyspaces_reply(struct gossip *gossip, struct actor_context *ctx,
                                      const struct message *message)
{
    for (uint32_t i = 0; i < CHANGES_MAX; i++) {
        struct change *change = &gossip->changes[i];
        const struct peer *peer = gossip_peer(gossip, message->from.node);
        if (change->origin == NULL || change->id != message->id || peer == NULL)
            continue;
        uint64_t bit = (uint64_t)1 << (peer - gossip->peers);
        if ((change->waiting & bit) != 0 && message->gossip_keyspaces_reply.status == OK)
            change->known_by++;
        change->waiting &= ~bit;
        change_step(gossip, ctx, change);
    }
}

static void gossip_on_store_committed(struct gossip *gossip, struct actor_context *ctx,
                                      uint64_t sequence)
{
    const struct heap_entry *least;
    while ((least = heap_peek(&gossip->held)) != NULL && least->key <= sequence)
        outbox_send(ctx, &gossip->actor, heap_pop(&gossip->held).value);
    for (uint32_t i = 0; i < CHANGES_MAX; i++) {
        if (gossip->changes[i].origin != NULL)
            change_step(gossip, ctx, &gossip->changes[i]);
    }
}

/* -- the actor
 * ---------------------------------------------------------------------------------------------------
 */

static void gossip_handle(struct actor *actor, struct actor_context *ctx, struct message *message)
{
    struct gossip *gossip = gossip_of(actor);
    CHECK(ctx->store != NULL);
    switch (message->kind) {
    case MESSAGE_gossip_digest:
        gossip_on_digest(gossip, ctx, message);
        break;
    case MESSAGE_gossip_digest_reply:
        gossip_take_digest(gossip, ctx, message->from.node, &message->gossip_digest_reply.digest);
        break;
    case MESSAGE_gossip_keyspaces:
        gossip_on_keyspaces(gossip, ctx, message);
        break;
    case MESSAGE_gossip_keyspaces_reply:
        gossip_on_keyspaces_reply(gossip, ctx, message);
        break;
    case MESSAGE_keyspace_change:
        gossip_on_keyspace_change(gossip, ctx, message);
        message = NULL;
        break;
    case MESSAGE_peer_link:
        gossip_on_peer_link(gossip, ctx, &message->peer_link);
        break;
    case MESSAGE_store_committed:
        gossip_on_store_committed(gossip, ctx, message->store_committed.sequence);
        break;
    case MESSAGE_client_get:
    case MESSAGE_client_get_done:
    case MESSAGE_client_put:
    case MESSAGE_client_put_done:
    case MESSAGE_forward_put:
    case MESSAGE_forward_put_reply:
    case MESSAGE_replica_mint:
    case MESSAGE_replica_mint_done:
    case MESSAGE_replica_write:
    case MESSAGE_replica_write_reply:
    case MESSAGE_replica_read:
    case MESSAGE_replica_read_reply:
    case MESSAGE_keyspace_change_done:
    case MESSAGE_view_publish:
    case MESSAGE_hint_store:
    case MESSAGE_hint_store_reply:
    case MESSAGE_tree_compare:
    case MESSAGE_tree_compare_reply:
    case MESSAGE_KIND_COUNT:
        counter_add(&gossip->figures.unexpected, 1);
        break;
    }
    message_free(message);
    arena_clear(&gossip->scratch);
}

static void gossip_tick(struct actor *actor, struct actor_context *ctx)
{
    struct gossip *gossip = gossip_of(actor);
    for (uint32_t i = 0; i < CHANGES_MAX; i++) {
        if (gossip->changes[i].origin != NULL)
            change_step(gossip, ctx, &gossip->changes[i]);
    }
    if (ctx->now_ns >= gossip->round_at_ns) {
        uint64_t now_ms = ctx->now_ns / NS_PER_MS;
        if (gossip->rounds == 0) {
            /* Silence from the start on is silence: a peer that never speaks goes down like any
             * other. */
            for (uint32_t i = 0; i < gossip->peer_count; i++)
                detector_heartbeat(&gossip->peers[i].detector, now_ms);
        }
        bool doubt = detector_self_doubts(&gossip->detector_self, now_ms,
                                          gossip->options.detector.local_pause_max_ms);
        if (doubt)
            counter_add(&gossip->figures.self_doubts, 1);
        gossip_round(gossip, ctx);
        gossip_judge(gossip, ctx, doubt, gossip->rounds % PHI_REFRESH_ROUNDS == 0);
        uint64_t interval_ns = gossip->options.interval_ns;
        gossip->round_at_ns =
            ctx->now_ns + interval_ns * 9 / 10 + prng_below(ctx->prng, interval_ns / 5 + 1);
    }
    arena_clear(&gossip->scratch);
}

static uint64_t gossip_wake_at_ns(const struct actor *actor)
{
    const struct gossip *gossip = CONTAINER_OF(actor, const struct gossip, actor);
    uint64_t wake_at_ns = gossip->round_at_ns;
    for (uint32_t i = 0; i < CHANGES_MAX; i++) {
        const struct change *change = &gossip->changes[i];
        if (change->origin != NULL && change->deadline_ns < wake_at_ns)
            wake_at_ns = change->deadline_ns;
    }
    return wake_at_ns;
}

static void gossip_check(const struct actor *actor)
{
    const struct gossip *gossip = CONTAINER_OF(actor, const struct gossip, actor);
    CHECK_U64(gossip->peer_count + 1, ==, gossip->topology.member_count);
    CHECK_U64(gossip->map.count, <=, KEYSPACES_MAX);
    for (uint32_t i = 0; i < gossip->peer_count; i++)
        CHECK(gossip->peers[i].member != gossip->options.self);
}

static const struct actor_class gossip_class = {
    .name = "gossip",
    .handle = gossip_handle,
    .tick = gossip_tick,
    .wake_at_ns = gossip_wake_at_ns,
    .check = gossip_check,
};

struct gossip *gossip_new(const struct gossip_options *options, const struct topology *topology,
                          const struct keyspace_map *keyspaces)
{
    struct gossip *gossip = calloc(1, sizeof *gossip);
    CHECK(gossip != NULL);
    actor_init(&gossip->actor, &gossip_class,
               (struct actor_id){.node = options->self, .kind = ACTOR_GOSSIP});
    gossip->options = *options;
    arena_init(&gossip->topology_arena, NULL, 0);
    arena_init(&gossip->scratch, NULL, 0);
    heap_init(&gossip->held);
    hlc_init(&gossip->hlc, HLC_AHEAD_MAX_DEFAULT_MS);
    enum err err =
        topology_decode(&gossip->topology_arena, topology_encode(&gossip->topology_arena, topology),
                        &gossip->topology);
    CHECK(err == OK);
    gossip->map_arena = malloc(sizeof *gossip->map_arena);
    CHECK(gossip->map_arena != NULL);
    arena_init(gossip->map_arena, NULL, 0);
    err = keyspace_map_decode(gossip->map_arena, keyspace_map_encode(gossip->map_arena, keyspaces),
                              &gossip->map);
    CHECK(err == OK);
    gossip->map_digest = keyspace_map_digest(&gossip->map);
    for (uint32_t i = 0; i < gossip->topology.member_count; i++) {
        uint32_t member = gossip->topology.members[i].number;
        if (member == options->self)
            continue;
        struct peer *peer = &gossip->peers[gossip->peer_count++];
        peer->member = member;
        detector_init(&peer->detector, options->detector);
    }
    return gossip;
}

void gossip_free(struct gossip *gossip)
{
    for (uint32_t i = 0; i < CHANGES_MAX; i++)
        message_free(gossip->changes[i].origin);
    while (heap_peek(&gossip->held) != NULL)
        message_free(heap_pop(&gossip->held).value);
    heap_deinit(&gossip->held);
    arena_deinit(gossip->map_arena);
    free(gossip->map_arena);
    arena_deinit(&gossip->topology_arena);
    arena_deinit(&gossip->scratch);
    free(gossip);
}

struct actor *gossip_actor(struct gossip *gossip)
{
    return &gossip->actor;
}

const struct gossip_figures *gossip_figures(const struct gossip *gossip)
{
    return &gossip->figures;
}
