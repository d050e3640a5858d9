/* One key as this replica sees it, for whoever asks what became of it. */
#include "actors/replica_state.h"

static struct repair_note *note_of(struct replica *replica, uint64_t hash)
{
    return &replica->repair_notes[(hash >> 16) % REPAIR_NOTES];
}

void replica_note_repair(struct replica *replica, const struct actor_context *ctx,
                         const struct replica_write *write, uint64_t hash)
{
    if (write->reason == WRITE_REPLICATE)
        return;
    *note_of(replica, hash) = (struct repair_note){.hash = hash,
                                                   .keyspace_id = write->keyspace_id,
                                                   .reason = write->reason,
                                                   .at_ms = ctx->wall_ms};
}

static void explain_tree(const struct replica *replica, const struct vnode *vnode,
                         uint32_t keyspace_id, uint64_t hash, struct key_explain_reply *reply)
{
    const struct vnode_keyspace *keyspace = vnode_keyspace_find(vnode, keyspace_id);
    if (!vnode->trees_ready || keyspace == NULL || keyspace->tree == NULL)
        return;
    const struct merkle *tree = keyspace->tree;
    uint32_t leaf = merkle_index(replica->vnodes.partitions, tree->depth, hash);
    struct merkle_node node = merkle_node(tree, tree->depth, leaf);
    reply->tree_depth = tree->depth;
    reply->leaf_index = leaf;
    reply->leaf_sum = node.sum;
    reply->leaf_keys = node.count < UINT32_MAX ? (uint32_t)node.count : UINT32_MAX;
}

/* Of a register: what the acceptor holds, whether it has a vote or not. */
static uint64_t explain_register(struct replica *replica, struct actor_context *ctx,
                                 const struct key_explain *explain, struct arena *arena,
                                 struct key_explain_reply *reply)
{
    const struct vnode *vnode = vnode_of(&replica->vnodes, explain->partition);
    struct local_state state;
    struct register_state held;
    reply->status = replica_load_register(replica, ctx, explain->partition, explain->keyspace_id,
                                          explain->key, &state, &held);
    reply->complete = vnode->state == VNODE_COMPLETE;
    reply->mute = vnode_is_mute(vnode, explain->keyspace_id);
    if (reply->status != OK)
        return 0;
    reply->promised = held.promised;
    reply->accepted = held.accepted;
    reply->record = arena_copy(arena, held.value);
    return replica_sequence(replica, state.hash, 0);
}

/* What is held is shown of an incomplete copy too: it says that it is one. */
void replica_on_key_explain(struct replica *replica, struct actor_context *ctx,
                            const struct message *message)
{
    const struct key_explain *explain = &message->key_explain;
    struct message *answer = message_new_reply(message, MESSAGE_key_explain_reply, 0);
    struct key_explain_reply *reply = &answer->key_explain_reply;
    struct replica_read read = {
        .keyspace_id = explain->keyspace_id, .key = explain->key, .partition = explain->partition};
    struct local_state state;
    uint64_t sequence = 0;
    reply->status = replica_admit(replica, ctx, message);
    bool registers = replica_admit_mode(ctx, explain->keyspace_id, KEYSPACE_CONSISTENT) == OK;
    if (reply->status == OK && registers) {
        sequence = explain_register(replica, ctx, explain, &answer->arena, reply);
    } else if (reply->status == OK) {
        const struct vnode *vnode = vnode_of(&replica->vnodes, explain->partition);
        reply->status = replica_load_record(replica, ctx, &read, &state);
        sequence = replica_sequence(replica, state.hash, 0);
        const struct repair_note *note = note_of(replica, state.hash);
        reply->complete = vnode->state == VNODE_COMPLETE;
        reply->floor = vnode_floor_said(vnode, explain->keyspace_id, ctx->store, sequence);
        if (reply->status != ERR_INVALID) /* the key is this partition's */
            explain_tree(replica, vnode, explain->keyspace_id, state.hash, reply);
        if (reply->status == OK)
            reply->record = arena_copy(&answer->arena, state.record);
        if (note->hash == state.hash && note->keyspace_id == explain->keyspace_id) {
            reply->repaired_at_ms = note->at_ms;
            reply->repaired_reason = note->reason;
        }
    }
    replica_answer(replica, ctx, answer, sequence);
}
