/* A copy that was emptied, as an acceptor that begins anew (model/register.h): the replica's part.
 *
 *     mute --vnode_adopt, first epoch--> learns --vnode_complete, second epoch--> votes
 *
 * Anti-entropy has the epochs, the list and the settling (anti_entropy_votes.c). What is kept on
 * disk is the end of it, by keyspace: what a restart forgets before that has never counted. */
#include "actors/replica_state.h"

#include "base/mutation.h"

#include <inttypes.h>
#include <stdlib.h>

bool vnode_is_mute(const struct vnode *vnode, uint32_t keyspace_id)
{
    if (!vnode->registers_lost || MUTATE(REGISTER_LOST_COPY_VOTES))
        return false;
    for (uint32_t i = 0; i < vnode->voting_count; i++) {
        if (vnode->voting[i] == keyspace_id)
            return false;
    }
    return true;
}

void vnode_voting_add(struct vnode *vnode, uint32_t keyspace_id)
{
    vnode->voting = realloc(vnode->voting, (vnode->voting_count + 1) * sizeof vnode->voting[0]);
    CHECK(vnode->voting != NULL);
    vnode->voting[vnode->voting_count++] = keyspace_id;
}

enum err vnode_voting_unstage(const struct vnode *vnode, struct store *store)
{
    enum err err = OK;
    for (uint32_t i = 0; i < vnode->voting_count && err == OK; i++)
        err = vnode_voting_stage(vnode, store, vnode->voting[i], false);
    return err;
}

void vnode_voting_forget(struct vnode *vnode)
{
    vnode->voting_count = 0;
    vnode->learns_from = 0;
}

static void count(struct replica *replica)
{
    uint64_t mute = 0;
    for (uint32_t i = 0; i < replica->vnodes.count; i++) {
        const struct vnode *vnode = &replica->vnodes.vnodes[i];
        for (uint32_t j = 0; vnode->registers_lost && j < vnode->keyspace_count; j++)
            mute += vnode->keyspaces[j].votes_told && vnode_is_mute(vnode, vnode->keyspaces[j].id);
    }
    counter_set(&replica->figures.registers_mute, mute);
}

void replica_votes_tell(struct replica *replica, struct actor_context *ctx, struct vnode *vnode,
                        const struct keyspace *keyspace)
{
    struct vnode_keyspace *entry = vnode_keyspace_find(vnode, keyspace->id);
    if (keyspace->mode != KEYSPACE_CONSISTENT || !vnode_is_mute(vnode, keyspace->id) ||
        vnode->state == VNODE_EMPTYING || (entry != NULL && entry->votes_told))
        return;
    struct message *message = message_new(MESSAGE_vnode_incomplete, 0);
    message->to = (struct actor_id){.node = replica->options.self, .kind = ACTOR_ANTI_ENTROPY};
    message->vnode_incomplete = (struct vnode_incomplete){.partition = vnode->partition,
                                                          .keyspace_id = keyspace->id,
                                                          .incarnation = vnode->incarnation,
                                                          .votes = true};
    vnode_keyspace_get(vnode, keyspace->id)->votes_told = true;
    outbox_send(ctx, &replica->actor, message);
    count(replica);
}

enum err replica_votes_learn(struct replica *replica, const struct vnode_adopt *adopt)
{
    struct vnode *vnode = vnode_of(&replica->vnodes, adopt->partition);
    if (vnode->state == VNODE_EMPTYING || vnode->incarnation != adopt->incarnation ||
        !vnode_is_mute(vnode, adopt->keyspace_id))
        return ERR_PRECONDITION;
    vnode->learns_from = adopt->learns_from;
    return OK;
}

enum err replica_votes_complete(struct replica *replica, struct actor_context *ctx,
                                const struct vnode_complete *complete)
{
    struct vnode *vnode = vnode_of(&replica->vnodes, complete->partition);
    if (!vnode_is_mute(vnode, complete->keyspace_id))
        return OK;
    if (vnode->state == VNODE_EMPTYING || vnode->incarnation != complete->incarnation)
        return ERR_PRECONDITION;
    if (ctx->view->topology.epoch < complete->votes_from)
        return ERR_UNAVAILABLE; /* older rounds are not refused here yet */
    enum err err = vnode_voting_stage(vnode, ctx->store, complete->keyspace_id, true);
    if (err != OK)
        return err;
    vnode_voting_add(vnode, complete->keyspace_id);
    counter_add(&replica->figures.registers_renewed, 1);
    count(replica);
    log_write(ctx->log, LOG_INFO, "vnode_votes_again",
              "partition=%" PRIu32 " keyspace=%08" PRIx32 " epoch=%" PRIu64, vnode->partition,
              complete->keyspace_id, complete->votes_from);
    return OK;
}

bool replica_votes(struct replica *replica, uint32_t partition, uint32_t keyspace_id)
{
    return vnode_votes(vnode_of(&replica->vnodes, partition), keyspace_id) == OK;
}
