#include "actors/replica_state.h"

#include "base/mutation.h"

#include <stdlib.h>

/* A held answer's tie: its number, and in the low bits the partition that it is about. */
#define PARTITION_BITS 11u
#define PARTITION_MASK ((1u << PARTITION_BITS) - 1)

static_assert(PARTITIONS_MAX <= PARTITION_MASK, "one is left for none");

static struct replica *replica_of(struct actor *actor)
{
    CHECK_U64(actor->magic, ==, ACTOR_MAGIC);
    return CONTAINER_OF(actor, struct replica, actor);
}

/* -- answers wait for the log ---------------------------------------------------------------- */

static void replica_send(struct replica *replica, struct actor_context *ctx, struct message *answer)
{
    if (answer == NULL)
        return; /* void */
    if (answer->kind == MESSAGE_replica_write_reply)
        replica_grant(replica, ctx, &answer->replica_write_reply);
    outbox_send(ctx, &replica->actor, answer);
}

void replica_answer(struct replica *replica, struct actor_context *ctx, struct message *answer,
                    uint64_t sequence)
{
    if (MUTATE(ACK_BEFORE_SYNC) && answer->kind == MESSAGE_replica_write_reply)
        sequence = 0;
    if (sequence <= store_committed(ctx->store)) {
        replica_send(replica, ctx, answer);
        return;
    }
    uint64_t tie = replica->held_count++ << PARTITION_BITS | (replica->partition & PARTITION_MASK);
    heap_push(&replica->held, (struct heap_entry){.key = sequence, .tie = tie, .value = answer});
    counter_set(&replica->figures.held, replica->held.count);
}

#define STARTS_WITH_STATUS(name)                                                                   \
    static_assert(offsetof(struct name, status) == 0, "set through replica_write_reply")
STARTS_WITH_STATUS(replica_write_reply);
STARTS_WITH_STATUS(replica_read_reply);
STARTS_WITH_STATUS(vnode_adopt_done);
STARTS_WITH_STATUS(vnode_complete_done);
STARTS_WITH_STATUS(tree_roots_reply); /* and what else goes to anti-entropy: message.c */

void replica_void_answers(struct replica *replica, uint32_t partition)
{
    for (size_t i = 0; i < replica->held.count; i++) {
        struct heap_entry *entry = &replica->held.entries[i];
        struct message *answer = entry->value;
        if ((entry->tie & PARTITION_MASK) != partition || answer == NULL)
            continue;
        if (answer->kind == MESSAGE_replica_mint_done) {
            /* Others have been sent it: its outcome is not known, as if this node had crashed. */
            message_free(answer);
            entry->value = NULL;
        } else {
            answer->replica_write_reply.status = ERR_INCOMPLETE;
        }
    }
}

static void replica_on_store_committed(struct replica *replica, struct actor_context *ctx,
                                       const struct store_committed *committed)
{
    epoch_lease_committed(&replica->lease, committed->sequence);
    const struct heap_entry *least;
    while ((least = heap_peek(&replica->held)) != NULL && least->key <= committed->sequence)
        replica_send(replica, ctx, heap_pop(&replica->held).value);
    counter_set(&replica->figures.held, replica->held.count);
    replica_vnodes_go_on(replica, ctx);
}

enum err replica_admit(struct replica *replica, const struct actor_context *ctx,
                       const struct message *message)
{
    if (message->deadline_ns != 0 && ctx->now_ns >= message->deadline_ns)
        return ERR_TIMEOUT;
    if (!replica->vnodes.loaded)
        return ERR_UNAVAILABLE;
    if (message_partition(message) >= replica->vnodes.partitions)
        return ERR_INVALID;

    bool full = replica->held.count >= replica->options.held_max;
    if (message->kind != MESSAGE_replica_write || message->replica_write.reason != WRITE_HINT)
        hint_gate_foreground(&replica->hint_gate, full, ctx->now_ns);
    if (!full)
        return OK;
    counter_add(&replica->figures.overloaded, 1);
    return ERR_OVERLOADED;
}

/* -- reading
 * ------------------------------------------------------------------------------------------ */

static void replica_on_read(struct replica *replica, struct actor_context *ctx,
                            const struct message *message)
{
    const struct replica_read *read = &message->replica_read;
    struct message *answer = message_new_reply(message, MESSAGE_replica_read_reply, 0);
    struct replica_read_reply *reply = &answer->replica_read_reply;
    struct local_state state;
    counter_add(&replica->figures.read, 1);
    reply->status = replica_admit(replica, ctx, message);
    if (reply->status == OK)
        reply->status = replica_admit_mode(ctx, read->keyspace_id, KEYSPACE_AVAILABLE);
    if (reply->status == OK)
        reply->status = replica_fence(replica, ctx, message, read->keyspace_id, FENCE_READ);
    if (reply->status == OK)
        reply->status =
            vnode_serves(vnode_of(&replica->vnodes, read->partition), read->keyspace_id);
    if (reply->status == ERR_INCOMPLETE)
        counter_add(&replica->figures.incomplete_refused, 1);
    if (reply->status == OK)
        reply->status = replica_load_record(replica, ctx, read, &state);
    uint64_t sequence = 0;
    if (reply->status == OK) {
        sequence = replica_sequence(replica, state.hash, read->policy);
        reply->record = arena_copy(&answer->arena, state.record);
        reply->floor = vnode_floor_said(vnode_of(&replica->vnodes, read->partition),
                                        read->keyspace_id, ctx->store, sequence);
    }
    if (MUTATE(READ_SHOWS_STAGED))
        sequence = 0;
    replica_answer(replica, ctx, answer, sequence);
}

/* -- the actor
 * ------------------------------------------------------------------------------------------ */

static void replica_handle(struct actor *actor, struct actor_context *ctx, struct message *message)
{
    struct replica *replica = replica_of(actor);
    CHECK(ctx->store != NULL);
    replica->partition = message_partition(message);
    if (replica_vnodes_load(replica, ctx))
        replica_gains_go_on(replica, ctx);
    switch (message->kind) {
    case MESSAGE_replica_mint:
        replica_on_mint(replica, ctx, message);
        break;
    case MESSAGE_replica_write:
        replica_on_write(replica, ctx, message);
        break;
    case MESSAGE_replica_read:
        replica_on_read(replica, ctx, message);
        break;
    case MESSAGE_register_query:
        replica_on_register_query(replica, ctx, message);
        break;
    case MESSAGE_register_prepare:
        replica_on_register_prepare(replica, ctx, message);
        break;
    case MESSAGE_register_accept:
        replica_on_register_accept(replica, ctx, message);
        break;
    case MESSAGE_register_list:
        replica_on_register_list(replica, ctx, message);
        break;
    case MESSAGE_reap_seal:
        replica_on_reap_seal(replica, ctx, message);
        break;
    case MESSAGE_reap_remove:
        replica_on_reap_remove(replica, ctx, message);
        break;
    case MESSAGE_reap_scan:
        replica_on_reap_scan(replica, ctx, message);
        break;
    case MESSAGE_store_committed:
        replica_on_store_committed(replica, ctx, &message->store_committed);
        break;
    case MESSAGE_vnode_doubt:
        replica_on_vnode_doubt(replica, ctx, message);
        break;
    case MESSAGE_vnode_adopt:
        replica_on_vnode_adopt(replica, ctx, message);
        break;
    case MESSAGE_vnode_complete:
        replica_on_vnode_complete(replica, ctx, message);
        break;
    case MESSAGE_tree_roots:
        replica_on_tree_roots(replica, ctx, message);
        break;
    case MESSAGE_tree_read:
        replica_on_tree_read(replica, ctx, message);
        break;
    case MESSAGE_digest_read:
        replica_on_digest_read(replica, ctx, message);
        break;
    case MESSAGE_record_fetch:
        replica_on_record_fetch(replica, ctx, message);
        break;
    case MESSAGE_key_explain:
        replica_on_key_explain(replica, ctx, message);
        break;
    case MESSAGE_client_get:
    case MESSAGE_client_get_done:
    case MESSAGE_client_put:
    case MESSAGE_client_put_done:
    case MESSAGE_forward_put:
    case MESSAGE_forward_put_reply:
    case MESSAGE_replica_mint_done:
    case MESSAGE_replica_write_reply:
    case MESSAGE_replica_read_reply:
    case MESSAGE_peer_link:
    case MESSAGE_gossip_digest:
    case MESSAGE_gossip_digest_reply:
    case MESSAGE_gossip_keyspaces:
    case MESSAGE_gossip_keyspaces_reply:
    case MESSAGE_keyspace_change:
    case MESSAGE_keyspace_change_done:
    case MESSAGE_view_publish:
    case MESSAGE_hint_store:
    case MESSAGE_hint_store_reply:
    case MESSAGE_tree_roots_reply:
    case MESSAGE_tree_read_reply:
    case MESSAGE_digest_read_reply:
    case MESSAGE_record_fetch_reply:
    case MESSAGE_register_query_reply:
    case MESSAGE_register_prepare_reply:
    case MESSAGE_register_accept_reply:
    case MESSAGE_reap_hints:
    case MESSAGE_reap_hints_reply:
    case MESSAGE_reap_seal_reply:
    case MESSAGE_reap_remove_reply:
    case MESSAGE_key_explain_reply:
    case MESSAGE_reap_scan_done:
    case MESSAGE_vnode_incomplete:
    case MESSAGE_vnode_adopt_done:
    case MESSAGE_vnode_complete_done:
    case MESSAGE_record_repair:
    case MESSAGE_range_dirty:
    case MESSAGE_client_maintenance:
    case MESSAGE_client_maintenance_done:
    case MESSAGE_client_explain:
    case MESSAGE_client_explain_done:
    case MESSAGE_topology_document:
    case MESSAGE_topology_document_reply:
    case MESSAGE_topology_fetch:
    case MESSAGE_topology_prepare:
    case MESSAGE_topology_prepare_reply:
    case MESSAGE_topology_accept:
    case MESSAGE_topology_accept_reply:
    case MESSAGE_topology_behind:
    case MESSAGE_client_topology:
    case MESSAGE_client_topology_done:
    case MESSAGE_vnode_report:
    case MESSAGE_vnode_report_reply:
    case MESSAGE_client_reports:
    case MESSAGE_client_reports_done:
    case MESSAGE_register_list_reply:
    case MESSAGE_register_settle:
    case MESSAGE_register_settle_done:
    case MESSAGE_KIND_COUNT:
        counter_add(&replica->figures.unexpected, 1);
        break;
    }
    message_free(message);
    arena_clear(&replica->scratch);
}

static void replica_tick(struct actor *actor, struct actor_context *ctx)
{
    struct replica *replica = replica_of(actor);
    request_expire(&replica->requests, ctx);
    if (replica_vnodes_load(replica, ctx)) {
        replica_vnodes_go_on(replica, ctx);
        replica_gains_go_on(replica, ctx);
        tree_tick(replica, ctx);
        quarantine_tick(replica, ctx);
    }
    arena_clear(&replica->scratch);
}

static uint64_t replica_wake_at_ns(const struct actor *actor)
{
    const struct replica *replica = CONTAINER_OF(actor, const struct replica, actor);
    uint64_t wake_at_ns = replica_vnodes_wake_at_ns(replica);
    uint64_t gains_ns = replica_gains_wake_at_ns(replica);
    if (gains_ns < wake_at_ns)
        wake_at_ns = gains_ns;
    if (replica->requests.next_ns < wake_at_ns)
        wake_at_ns = replica->requests.next_ns;
    if (replica->quarantine.wake_ns < wake_at_ns)
        wake_at_ns = replica->quarantine.wake_ns;
    return replica->trees.wake_ns < wake_at_ns ? replica->trees.wake_ns : wake_at_ns;
}

static void replica_check(const struct actor *actor)
{
    const struct replica *replica = CONTAINER_OF(actor, const struct replica, actor);
    CHECK_U64(replica->held.count, <=, replica->options.held_max);
    uint32_t emptying = 0;
    for (uint32_t i = 0; i < replica->vnodes.count; i++)
        emptying += replica->vnodes.vnodes[i].state == VNODE_EMPTYING;
    CHECK_U64(replica->vnodes.emptying, ==, emptying);
    CHECK_U64(replica->lease.next, <=, replica->lease.limit + replica->lease.step);
    CHECK(replica->lease.limit_staged == 0 || replica->lease.limit_staged > replica->lease.limit);
}

static const struct actor_class replica_class = {
    .name = "replica",
    .handle = replica_handle,
    .tick = replica_tick,
    .wake_at_ns = replica_wake_at_ns,
    .check = replica_check,
};

struct replica *replica_new(const struct replica_options *options, const struct boot *boot)
{
    CHECK(options->self != MEMBER_NONE);
    struct replica *replica = calloc(1, sizeof *replica);
    CHECK(replica != NULL);
    actor_init(
        &replica->actor, &replica_class,
        (struct actor_id){.node = options->self, .kind = ACTOR_REPLICA, .index = options->shard});
    replica->options = *options;
    replica->epoch_floor = boot->epoch_floor;
    replica->clean_start = boot->clean;
    epoch_lease_init(&replica->lease, boot, options->shard, options->shards);
    hlc_init(&replica->hlc, HLC_AHEAD_MAX_DEFAULT_MS);
    struct hint_gate_options gate = hint_gate_options_default();
    hint_gate_init(&replica->hint_gate, &gate);
    heap_init(&replica->held);
    request_memory_init(&replica->requests, options, &replica->figures);
    vnode_table_init(&replica->vnodes, options, boot->topology.partitions);
    tree_table_init(&replica->trees, options);
    quarantine_init(&replica->quarantine);
    arena_init(&replica->scratch, NULL, 0);
    return replica;
}

void replica_free(struct replica *replica)
{
    while (heap_peek(&replica->held) != NULL)
        message_free(heap_pop(&replica->held).value);
    heap_deinit(&replica->held);
    arena_deinit(&replica->scratch);
    request_memory_deinit(&replica->requests);
    tree_table_deinit(replica);
    quarantine_deinit(&replica->quarantine);
    vnode_table_deinit(&replica->vnodes);
    free(replica);
}

struct actor *replica_actor(struct replica *replica)
{
    return &replica->actor;
}

const struct replica_figures *replica_figures(const struct replica *replica)
{
    return &replica->figures;
}
