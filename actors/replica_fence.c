/* Whether this member may answer a message about a partition, by the epochs of sender and receiver.
 *
 * What was planned before the partition's last step is refused: the sets were others then. A sender
 * that knows of later steps than this node is asked to wait, and gossip is told to fetch the
 * document; a copy may only be taken from a replica that knows of the announcement, for from then
 * on it refuses writes that were planned without the new set. States that only spread what some
 * replica holds already (repairs, hints, anti-entropy) do no harm whenever they were planned. */
#include "actors/replica_state.h"

#include "base/mutation.h"

struct vnode_part replica_part_of(const struct replica *replica, const struct view *view,
                                  const struct keyspace *keyspace, uint32_t partition)
{
    struct replica_set set;
    struct vnode_part part = {.role = ROLE_NONE};
    view_replica_set(view, keyspace, partition, &set);
    for (uint32_t i = 0; i < set.count; i++) {
        if (set.replicas[i].member != replica->options.self)
            continue;
        part.role = set.replicas[i].reader ? ROLE_READER : ROLE_WRITER;
        bool next_alone = set.replicas[i].sides == 1u << TOPOLOGY_NEXT;
        if (view->topology.phases[partition] == PHASE_ANNOUNCED && next_alone)
            part.announced = view->topology.phase_epochs[partition];
        part.drops_out = set.joint && set.replicas[i].sides == 1u << TOPOLOGY_NOW;
    }
    return part;
}

/* A keyspace that this node has not heard of yet is taken for what the sender says. */
struct vnode_part replica_part(struct replica *replica, const struct actor_context *ctx,
                               struct vnode *vnode, uint32_t keyspace_id)
{
    struct vnode_keyspace *entry = vnode_keyspace_find(vnode, keyspace_id);
    uint64_t version = ctx->view->version + 1;
    struct vnode_part part = {.role = ROLE_READER};
    if (entry != NULL && entry->part_version == version)
        return entry->part;
    const struct keyspace *keyspace = keyspace_map_find_id(&ctx->view->keyspaces, keyspace_id);
    if (keyspace != NULL) {
        part = replica_part_of(replica, ctx->view, keyspace, vnode->partition);
        if (entry == NULL && part.role != ROLE_NONE)
            entry = vnode_keyspace_get(vnode, keyspace_id);
    }
    if (entry != NULL) {
        entry->part = part;
        entry->part_version = version;
    }
    return part;
}

/* The sender knows of an epoch that this node has not in force. */
static enum err behind(struct replica *replica, struct actor_context *ctx,
                       const struct message *message)
{
    counter_add(&replica->figures.behind, 1);
    if (message->from.node == replica->options.self)
        return ERR_UNAVAILABLE; /* the view is on its way to this shard */
    struct message *tell = message_new(MESSAGE_topology_behind, 0);
    tell->to = (struct actor_id){.node = replica->options.self, .kind = ACTOR_GOSSIP};
    tell->topology_behind =
        (struct topology_behind){.member = message->from.node, .epoch = message->epoch};
    outbox_send(ctx, &replica->actor, tell);
    return ERR_UNAVAILABLE;
}

static enum err stale(struct replica *replica)
{
    counter_add(&replica->figures.stale_epoch, 1);
    return ERR_STALE_EPOCH;
}

enum err replica_fence(struct replica *replica, struct actor_context *ctx,
                       const struct message *message, uint32_t keyspace_id, enum fence fence)
{
    const struct topology *topology = &ctx->view->topology;
    uint32_t partition = message_partition(message);
    CHECK_U64(partition, <, topology->partitions);
    bool spreads = fence == FENCE_SPREAD || fence == FENCE_HINT;
    if (!spreads && message->epoch < topology->phase_epochs[partition] && !MUTATE(EPOCH_UNCHECKED))
        return stale(replica);
    if (fence == FENCE_QUESTION && message->epoch > topology->epoch)
        return behind(replica, ctx, message);
    if (keyspace_id == 0 || MUTATE(EPOCH_UNCHECKED))
        return OK;
    struct vnode_part part =
        replica_part(replica, ctx, vnode_of(&replica->vnodes, partition), keyspace_id);
    /* A hint is forgotten once its target has it. This copy was taken from already, and goes:
     * nobody would have what the hint alone knew. */
    if (fence == FENCE_HINT && part.drops_out)
        return stale(replica);
    if (part.role >= (fence == FENCE_READ ? ROLE_READER : ROLE_WRITER))
        return OK;
    return message->epoch > topology->epoch ? behind(replica, ctx, message) : stale(replica);
}
