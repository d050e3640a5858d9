#include "actors/gossip_state.h"

#include "base/mutation.h"

#include <stdlib.h>

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
        .incarnation = generation,
        .proposal_timeout_ns = (uint64_t)10000 * NS_PER_MS,
        .phase_timeout_ns = (uint64_t)500 * NS_PER_MS,
        .announced_max = 8,
        .report_interval_ns = (uint64_t)100 * NS_PER_MS,
        .reports_timeout_ns = (uint64_t)2000 * NS_PER_MS,
        .interval_ns = (uint64_t)1000 * NS_PER_MS,
        .fanout = 3,
        .change_timeout_ns = (uint64_t)2000 * NS_PER_MS,
        .detector = detector,
    };
}

struct peer *gossip_peer(struct gossip *gossip, uint32_t member)
{
    const struct member *found = topology_member(gossip_topology(gossip), member);
    if (found == NULL || found->status == MEMBER_REMOVED)
        return NULL;
    struct peer *peer = &gossip->peers[found->slot];
    return peer->member == member ? peer : NULL;
}

uint64_t gossip_id(struct gossip *gossip)
{
    return (gossip->options.generation & 0xFFFF) << 48 | ++gossip->serial;
}

/* What can be said only when the answer leaves. */
static void answer_send(struct gossip *gossip, struct actor_context *ctx, struct message *answer)
{
    if (answer->kind == MESSAGE_topology_document_reply)
        answer->topology_document_reply.epoch = gossip_topology(gossip)->epoch;
    outbox_send(ctx, &gossip->actor, answer);
}

void gossip_answer_durable(struct gossip *gossip, struct actor_context *ctx, struct message *answer)
{
    uint64_t sequence = store_staged(ctx->store);
    bool vote = answer->kind == MESSAGE_topology_prepare_reply ||
                answer->kind == MESSAGE_topology_accept_reply;
    if (sequence <= store_committed(ctx->store) || (MUTATE(TOPOLOGY_PROMISE_NOT_SYNCED) && vote)) {
        answer_send(gossip, ctx, answer);
    } else if (gossip->held.count >= HELD_MAX) {
        counter_add(&gossip->figures.answers_dropped, 1);
        message_free(answer);
    } else {
        heap_push(&gossip->held,
                  (struct heap_entry){.key = sequence, .tie = ++gossip->serial, .value = answer});
    }
}

/* -- the view
 * ------------------------------------------------------------------------------------------ */

/* Addresses that are newer than the document (boot.h). */
static void view_set_addresses(const struct gossip *gossip, struct view *view)
{
    for (uint32_t i = 0; i < gossip->options.address_count; i++) {
        const struct boot_address *entry = &gossip->options.addresses[i];
        const struct member *member = topology_member(&view->topology, entry->member);
        if (member != NULL && strcmp(member->address, entry->instead_of) == 0)
            memcpy(view->topology.members[member - view->topology.members].address, entry->address,
                   sizeof entry->address);
    }
}

static struct view *gossip_view(struct gossip *gossip, uint64_t now_ms)
{
    const struct topology *topology = gossip_topology(gossip);
    struct view *view = view_new(topology, &gossip->map, gossip->options.self);
    view->version = ++gossip->view_version;
    view_set_addresses(gossip, view);
    for (uint32_t i = 0; i < topology->member_count; i++) {
        uint32_t member = topology->members[i].number;
        const struct peer *peer = gossip_peer(gossip, member);
        if (peer == NULL) {
            bool self = member == gossip->options.self;
            bool removed = topology->members[i].status == MEMBER_REMOVED;
            view->members[i].liveness = self      ? LIVENESS_ALIVE
                                        : removed ? LIVENESS_DOWN
                                                  : LIVENESS_UNKNOWN;
            view->members[i].generation = self ? gossip->options.generation : 0;
            continue;
        }
        view->members[i].liveness = peer->liveness;
        view->members[i].generation = peer->generation;
        view->members[i].split = peer->split_epoch == topology->epoch;
        view->members[i].unheard = !peer->map_heard;
        view->members[i].phi = now_ms == 0 ? 0 : detector_phi(&peer->detector, now_ms);
    }
    return view;
}

struct view *gossip_first_view(struct gossip *gossip)
{
    return gossip_view(gossip, 0);
}

void gossip_publish(struct gossip *gossip, struct actor_context *ctx)
{
    struct message *message = message_new(MESSAGE_view_publish, 0);
    message->to = (struct actor_id){.node = gossip->options.self, .kind = ACTOR_RUNTIME};
    message->view_publish.view = gossip_view(gossip, ctx->now_ns / NS_PER_MS);
    counter_add(&gossip->figures.views, 1);
    outbox_send(ctx, &gossip->actor, message);
}

/* -- the store
 * -----------------------------------------------------------------------------------------------
 */

static void gossip_on_store_committed(struct gossip *gossip, struct actor_context *ctx,
                                      uint64_t sequence)
{
    bool document = gossip_document_committed(gossip, ctx);
    const struct heap_entry *least;
    while ((least = heap_peek(&gossip->held)) != NULL && least->key <= sequence)
        answer_send(gossip, ctx, heap_pop(&gossip->held).value);
    for (uint32_t i = 0; i < CHANGES_MAX; i++) {
        if (gossip->changes[i].origin != NULL)
            gossip_change_step(gossip, ctx, &gossip->changes[i]);
    }
    if (document)
        proposer_advance(gossip, ctx);
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
        gossip_on_digest_reply(gossip, ctx, message);
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
    case MESSAGE_topology_document:
        gossip_on_topology_document(gossip, ctx, message);
        break;
    case MESSAGE_topology_document_reply:
        gossip_on_topology_document_reply(gossip, ctx, message);
        break;
    case MESSAGE_topology_fetch:
        gossip_on_topology_fetch(gossip, ctx, message);
        break;
    case MESSAGE_topology_behind:
        gossip_on_topology_behind(gossip, ctx, message);
        break;
    case MESSAGE_topology_prepare:
        gossip_on_topology_prepare(gossip, ctx, message);
        break;
    case MESSAGE_topology_accept:
        gossip_on_topology_accept(gossip, ctx, message);
        break;
    case MESSAGE_topology_prepare_reply:
        recall_on_prepare_reply(gossip, ctx, message);
        gossip_on_topology_prepare_reply(gossip, ctx, message);
        break;
    case MESSAGE_topology_accept_reply:
        gossip_on_topology_accept_reply(gossip, ctx, message);
        break;
    case MESSAGE_vnode_report_reply:
        gossip_on_vnode_report_reply(gossip, ctx, message);
        break;
    case MESSAGE_client_reports:
        gossip_on_client_reports(gossip, ctx, message);
        message = NULL;
        break;
    case MESSAGE_client_topology:
        gossip_on_client_topology(gossip, ctx, message);
        message = NULL;
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
    case MESSAGE_tree_roots:
    case MESSAGE_tree_roots_reply:
    case MESSAGE_tree_read:
    case MESSAGE_tree_read_reply:
    case MESSAGE_digest_read:
    case MESSAGE_digest_read_reply:
    case MESSAGE_record_fetch:
    case MESSAGE_record_fetch_reply:
    case MESSAGE_reap_hints:
    case MESSAGE_reap_hints_reply:
    case MESSAGE_register_query:
    case MESSAGE_register_query_reply:
    case MESSAGE_register_prepare:
    case MESSAGE_register_prepare_reply:
    case MESSAGE_register_accept:
    case MESSAGE_register_accept_reply:
    case MESSAGE_reap_seal:
    case MESSAGE_reap_seal_reply:
    case MESSAGE_reap_remove:
    case MESSAGE_reap_remove_reply:
    case MESSAGE_key_explain:
    case MESSAGE_key_explain_reply:
    case MESSAGE_reap_scan:
    case MESSAGE_reap_scan_done:
    case MESSAGE_vnode_doubt:
    case MESSAGE_vnode_incomplete:
    case MESSAGE_vnode_adopt:
    case MESSAGE_vnode_adopt_done:
    case MESSAGE_vnode_complete:
    case MESSAGE_vnode_complete_done:
    case MESSAGE_record_repair:
    case MESSAGE_range_dirty:
    case MESSAGE_client_maintenance:
    case MESSAGE_client_maintenance_done:
    case MESSAGE_client_explain:
    case MESSAGE_client_explain_done:
    case MESSAGE_client_topology_done:
    case MESSAGE_vnode_report:
    case MESSAGE_client_reports_done:
    case MESSAGE_register_list:
    case MESSAGE_register_list_reply:
    case MESSAGE_register_settle:
    case MESSAGE_register_settle_done:
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
            gossip_change_step(gossip, ctx, &gossip->changes[i]);
    }
    recall_tick(gossip, ctx);
    proposer_tick(gossip, ctx);
    moves_tick(gossip, ctx);
    if (ctx->now_ns >= gossip->round_at_ns) {
        uint64_t now_ms = ctx->now_ns / NS_PER_MS;
        if (gossip->rounds == 0) {
            /* Silence from the start on is silence: a peer that never speaks goes down like any
             * other. */
            for (uint32_t i = 0; i < MEMBERS_MAX; i++) {
                if (gossip->peers[i].member != MEMBER_NONE)
                    detector_heartbeat(&gossip->peers[i].detector, now_ms);
            }
        }
        bool doubt = detector_self_doubts(&gossip->detector_self, now_ms,
                                          gossip->options.detector.local_pause_max_ms);
        if (MUTATE(CONVICTS_AFTER_OWN_PAUSE))
            doubt = false;
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
    uint64_t wake_at_ns = proposer_wake_at_ns(gossip);
    if (recall_wake_at_ns(gossip) < wake_at_ns)
        wake_at_ns = recall_wake_at_ns(gossip);
    if (moves_wake_at_ns(gossip) < wake_at_ns)
        wake_at_ns = moves_wake_at_ns(gossip);
    if (gossip->round_at_ns < wake_at_ns)
        wake_at_ns = gossip->round_at_ns;
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
    const struct topology *topology = gossip_topology(gossip);
    uint32_t peers = 0;
    CHECK_U64(gossip->map.count, <=, KEYSPACES_MAX);
    CHECK_U64(gossip->proposer.count, <=, PROPOSALS_MAX);
    CHECK((gossip->proposer.state == PROPOSER_IDLE) == (gossip->proposer.count == 0));
    for (uint32_t i = 0; i < topology->member_count; i++) {
        const struct member *member = &topology->members[i];
        if (member->status == MEMBER_REMOVED || member->number == gossip->options.self)
            continue;
        CHECK_U64(gossip->peers[member->slot].member, ==, member->number);
        peers++;
    }
    CHECK_U64(gossip->peer_count, ==, peers);
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
    if (options->address_count != 0) {
        CHECK_U64(options->address_count, <=, MEMBERS_MAX);
        memcpy(gossip->addresses, options->addresses,
               sizeof *options->addresses * options->address_count);
        gossip->options.addresses = gossip->addresses;
    }
    arena_init(&gossip->slot.arena, NULL, 0);
    arena_init(&gossip->recall.arena, NULL, 0);
    arena_init(&gossip->proposer.arena, NULL, 0);
    moves_init(&gossip->moves);
    arena_init(&gossip->scratch, NULL, 0);
    heap_init(&gossip->held);
    hlc_init(&gossip->hlc, HLC_AHEAD_MAX_DEFAULT_MS);
    gossip->document = document_new(topology);
    gossip->map_arena = malloc(sizeof *gossip->map_arena);
    CHECK(gossip->map_arena != NULL);
    arena_init(gossip->map_arena, NULL, 0);
    enum err err = keyspace_map_decode(
        gossip->map_arena, keyspace_map_encode(gossip->map_arena, keyspaces), &gossip->map);
    CHECK(err == OK);
    gossip->map_digest = keyspace_map_digest(&gossip->map);
    gossip_follow_document(gossip, 0);
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
    proposer_free(&gossip->proposer);
    moves_free(&gossip->moves);
    arena_deinit(&gossip->slot.arena);
    arena_deinit(&gossip->recall.arena);
    document_free(gossip->document);
    document_free(gossip->staged);
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
