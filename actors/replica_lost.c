/* Vnodes that cannot prove that they hold what they have acknowledged: emptied, filled, complete
 * (replica_vnode.h). */
#include "actors/replica_state.h"

#include "base/mutation.h"

#include <inttypes.h>

#define RETRY_NS      ((uint64_t)100 * 1000 * 1000)
#define TELL_AGAIN_NS ((uint64_t)60 * 1000 * 1000 * 1000)

static struct message *announcement(const struct replica *replica, const struct vnode *vnode)
{
    struct message *message = message_new(MESSAGE_vnode_incomplete, 0);
    message->to = (struct actor_id){.node = replica->options.self, .kind = ACTOR_ANTI_ENTROPY};
    message->vnode_incomplete.partition = vnode->partition;
    message->vnode_incomplete.incarnation = vnode->incarnation;
    return message;
}

void replica_vnode_announce(struct replica *replica, struct actor_context *ctx,
                            const struct vnode *vnode)
{
    outbox_send(ctx, &replica->actor, announcement(replica, vnode));
}

void replica_vnodes_count(struct replica *replica)
{
    uint64_t count = 0;
    uint64_t filling = 0;
    uint64_t unreadable = 0;
    for (uint32_t i = 0; i < replica->vnodes.count; i++) {
        const struct vnode *vnode = &replica->vnodes.vnodes[i];
        bool lacks = vnode->state != VNODE_COMPLETE || vnode->unreadable;
        unreadable += vnode->unreadable;
        for (uint32_t j = 0; j < vnode->keyspace_count; j++) {
            const struct vnode_keyspace *keyspace = &vnode->keyspaces[j];
            bool empty = keyspace->gain.state == GAIN_EMPTY;
            filling += empty;
            lacks = lacks || (empty && keyspace->gain.lost);
        }
        count += lacks;
    }
    counter_set(&replica->figures.vnodes_incomplete, count);
    counter_set(&replica->figures.vnodes_unreadable, unreadable);
    counter_set(&replica->figures.gains_filling, filling);
}

/* By the view's last word it is to be emptied, or is being. */
static bool is_void(const struct vnode_keyspace *keyspace)
{
    bool other =
        keyspace->gain.state == GAIN_NONE || keyspace->gain.epoch != keyspace->part.announced;
    return keyspace->leaving || (keyspace->part.announced != 0 && other);
}

enum err vnode_serves(const struct vnode *vnode, uint32_t keyspace_id)
{
    const struct vnode_keyspace *keyspace = vnode_keyspace_find(vnode, keyspace_id);
    if (MUTATE(VOTES_WHEN_INCOMPLETE))
        return OK;
    if (vnode->state != VNODE_COMPLETE)
        return ERR_INCOMPLETE;
    bool filled = keyspace == NULL || (!is_void(keyspace) && keyspace->gain.state != GAIN_EMPTY);
    return filled ? OK : ERR_INCOMPLETE;
}

enum err vnode_takes_writes(const struct vnode *vnode, uint32_t keyspace_id)
{
    const struct vnode_keyspace *keyspace = vnode_keyspace_find(vnode, keyspace_id);
    if (vnode->state == VNODE_EMPTYING || (keyspace != NULL && is_void(keyspace)))
        return ERR_INCOMPLETE;
    bool filling = vnode->state == VNODE_INCOMPLETE ||
                   (keyspace != NULL && keyspace->gain.state == GAIN_EMPTY);
    return !filling || (keyspace != NULL && keyspace->has_row) ? OK : ERR_INCOMPLETE;
}

enum err vnode_votes(const struct vnode *vnode, uint32_t keyspace_id)
{
    const struct vnode_keyspace *keyspace = vnode_keyspace_find(vnode, keyspace_id);
    if (MUTATE(VOTES_WHEN_INCOMPLETE))
        return OK;
    bool votes = vnode->state == VNODE_COMPLETE && !vnode_is_mute(vnode, keyspace_id) &&
                 (keyspace == NULL || !is_void(keyspace));
    return votes ? OK : ERR_INCOMPLETE;
}

bool vnode_learns(const struct vnode *vnode, uint32_t keyspace_id, uint64_t epoch)
{
    const struct vnode_keyspace *keyspace = vnode_keyspace_find(vnode, keyspace_id);
    return vnode->state != VNODE_EMPTYING && vnode_is_mute(vnode, keyspace_id) &&
           vnode->learns_from != 0 && epoch >= vnode->learns_from &&
           (keyspace == NULL || !is_void(keyspace));
}

/* What a change gives this member has to be filled again as well. */
static enum err vnode_gains_restage(const struct vnode *vnode, struct store *store)
{
    enum err err = OK;
    for (uint32_t i = 0; i < vnode->keyspace_count && err == OK; i++) {
        const struct vnode_keyspace *keyspace = &vnode->keyspaces[i];
        if (keyspace->gain.state != GAIN_NONE)
            err = vnode_gain_stage(vnode, store, keyspace->id, GAIN_EMPTY, keyspace->gain.epoch);
    }
    return err;
}

/* Only gains are known of afterwards. */
static void vnode_keyspaces_reset(struct replica *replica, struct vnode *vnode)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < vnode->keyspace_count; i++) {
        struct vnode_keyspace gaining = {.id = vnode->keyspaces[i].id,
                                         .gain = vnode->keyspaces[i].gain};
        if (gaining.gain.state == GAIN_NONE)
            continue;
        gaining.gain.state = GAIN_EMPTY;
        gaining.gain.incarnation = ++replica->vnodes.incarnation;
        gaining.gain.told = false;
        vnode->keyspaces[count++] = gaining;
    }
    vnode->keyspace_count = count;
    if (replica->gains.swept == vnode)
        replica->gains.swept = NULL;
    replica->gains.cursor = 0; /* to tell of them, and of votes */
}

/* Drops all that the vnode holds; then it is incomplete. May be begun again at any point. */
static enum err vnode_empty(struct replica *replica, struct actor_context *ctx, struct vnode *vnode)
{
    enum err err = vnode_epoch_floor_raise(vnode, ctx->store, replica->lease.next);
    if (err == OK && !MUTATE(EMPTIED_KEEPS_ROWS))
        err = store_drop(ctx->store, vnode->partition);
    if (err == OK)
        err = vnode_floors_forget(vnode, ctx->store);
    if (err == OK)
        err = vnode_lost_stage(vnode, ctx->store);
    if (err == OK)
        err = vnode_voting_unstage(vnode, ctx->store);
    if (err == OK)
        err = vnode_gains_restage(vnode, ctx->store);
    if (err == OK)
        err = vnode_state_stage(vnode, ctx->store, VNODE_INCOMPLETE);
    if (err != OK)
        return err;
    vnode->registers_lost = true;
    vnode_voting_forget(vnode);
    tree_vnode_emptied(replica, ctx, vnode);
    quarantine_emptied(replica, vnode->partition, 0);
    vnode_keyspaces_reset(replica, vnode);
    vnode->state = VNODE_INCOMPLETE;
    vnode->incarnation = ++replica->vnodes.incarnation;
    CHECK_U64(replica->vnodes.emptying, >, 0);
    replica->vnodes.emptying--;
    replica_vnodes_count(replica);
    log_write(ctx->log, LOG_WARNING, "vnode_emptied",
              "partition=%" PRIu32 " what_now=\"filled from the other replicas\"",
              vnode->partition);
    replica_vnode_announce(replica, ctx, vnode);
    return OK;
}

/* Emptying goes on: first its row, then, when the log has it, the drop. */
static void vnode_go_on(struct replica *replica, struct actor_context *ctx, struct vnode *vnode)
{
    if (ctx->now_ns < vnode->retry_ns)
        return;
    enum err err = OK;
    if (!vnode->emptying_staged) {
        err = vnode_state_stage(vnode, ctx->store, VNODE_EMPTYING);
        vnode->emptying_staged = err == OK;
        vnode->emptying_sequence = store_staged(ctx->store);
    }
    if (err == OK && vnode->emptying_sequence <= store_committed(ctx->store))
        err = vnode_empty(replica, ctx, vnode);
    vnode->retry_ns = err == OK ? 0 : ctx->now_ns + RETRY_NS;
}

void replica_vnodes_go_on(struct replica *replica, struct actor_context *ctx)
{
    struct vnode_table *table = &replica->vnodes;
    for (uint32_t i = 0; table->emptying != 0 && i < table->count; i++) {
        if (table->vnodes[i].state == VNODE_EMPTYING)
            vnode_go_on(replica, ctx, &table->vnodes[i]);
    }
}

uint64_t replica_vnodes_wake_at_ns(const struct replica *replica)
{
    const struct vnode_table *table = &replica->vnodes;
    if (!table->loaded)
        return table->load_ns;
    uint64_t wake_at_ns = NEVER_NS;
    for (uint32_t i = 0; table->emptying != 0 && i < table->count; i++) {
        const struct vnode *vnode = &table->vnodes[i];
        if (vnode->state == VNODE_EMPTYING && vnode->retry_ns != 0 && vnode->retry_ns < wake_at_ns)
            wake_at_ns = vnode->retry_ns;
    }
    return wake_at_ns;
}

static const char *doubt_text(enum doubt_reason reason)
{
    switch (reason) {
    case DOUBT_WIPED:
        return "the other members know this one under another node id";
    case DOUBT_RESTORED:
        return "it is an older copy of itself";
    case DOUBT_LOG_SHORT:
        return "recovery found less than was acknowledged";
    case DOUBT_CORRUPT:
        return "the store cannot read a part of it, and other copies hold the rest";
    case DOUBT_GIVEN_UP:
        break; /* of a part alone */
    }
    return "unknown";
}

/* What counts at once is the state in memory, whether or not its row can be staged now. */
void replica_vnode_doubt(struct replica *replica, struct actor_context *ctx, struct vnode *vnode,
                         enum doubt_reason reason)
{
    if (vnode->state == VNODE_EMPTYING)
        return;
    log_write(ctx->log, LOG_ERROR, "vnode_incomplete",
              "partition=%" PRIu32
              " why=\"%s\" what_now=\"emptied, then filled from the other replicas\"",
              vnode->partition, doubt_text(reason));
    if (replica->trees.build.vnode == vnode)
        tree_build_cancel(replica);
    replica_void_answers(replica, vnode->partition);
    vnode->state = VNODE_EMPTYING;
    vnode->absent = false;
    vnode->emptying_staged = false;
    vnode->retry_ns = 0;
    replica->vnodes.emptying++;
    replica_vnodes_count(replica);
    vnode_go_on(replica, ctx, vnode);
}

/* Met anew by each read of that part. */
void replica_vnode_unreadable(struct replica *replica, struct actor_context *ctx,
                              struct vnode *vnode)
{
    bool known = vnode->unreadable;
    if (vnode->state == VNODE_EMPTYING || (known && ctx->now_ns < vnode->unreadable_ns))
        return;
    vnode->unreadable = vnode->trees_suspect = true;
    vnode->unreadable_ns = ctx->now_ns + TELL_AGAIN_NS;
    replica_vnodes_count(replica);
    if (!known)
        log_write(ctx->log, LOG_ERROR, "vnode_unreadable",
                  "partition=%" PRIu32
                  " why=\"the store cannot read a part of it\" what_now=\"emptied, and filled "
                  "again, when other copies hold the rest; coterie changes says who is missing\"",
                  vnode->partition);
    struct message *message = announcement(replica, vnode);
    message->vnode_incomplete.unreadable = true;
    outbox_send(ctx, &replica->actor, message);
}

/* What came too late finds another copy there. */
static void unreadable_ends(struct replica *replica, struct actor_context *ctx, struct vnode *vnode,
                            const struct vnode_doubt *doubt)
{
    if (!vnode->unreadable)
        return;
    if (doubt->reason == DOUBT_CORRUPT) {
        replica_vnode_doubt(replica, ctx, vnode, doubt->reason);
        return;
    }
    vnode_keyspace_get(vnode, doubt->keyspace_id)->given_up = true;
    log_write(ctx->log, LOG_WARNING, "vnode_unreadable_given_up",
              "partition=%" PRIu32 " keyspace=%08" PRIx32, vnode->partition, doubt->keyspace_id);
}

void replica_on_vnode_doubt(struct replica *replica, struct actor_context *ctx,
                            const struct message *message)
{
    const struct vnode_doubt *doubt = &message->vnode_doubt;
    struct vnode_table *table = &replica->vnodes;
    bool of_a_part = doubt->reason == DOUBT_CORRUPT || doubt->reason == DOUBT_GIVEN_UP;
    for (uint32_t i = 0; i < table->count; i++) {
        struct vnode *vnode = &table->vnodes[i];
        if (doubt->partition != UINT32_MAX && doubt->partition != vnode->partition)
            continue;
        if (of_a_part && table->loaded) {
            unreadable_ends(replica, ctx, vnode, doubt);
        } else if (table->loaded) {
            replica_vnode_doubt(replica, ctx, vnode, doubt->reason);
        } else if (!of_a_part) {
            vnode->doubted = true;
            vnode->doubt = doubt->reason;
        }
    }
}

/* -- filling it again ----------------------------------------------------------------------------
 */

static enum err vnode_adopt(struct replica *replica, struct actor_context *ctx,
                            const struct vnode_adopt *adopt)
{
    struct vnode *vnode = vnode_of(&replica->vnodes, adopt->partition);
    struct vnode_keyspace *keyspace = vnode_keyspace_get(vnode, adopt->keyspace_id);
    if (adopt->learns_from != 0)
        return replica_votes_learn(replica, adopt);
    if (vnode->state == VNODE_EMPTYING || is_void(keyspace))
        return ERR_UNAVAILABLE;
    if (vnode->state == VNODE_COMPLETE && keyspace->gain.state != GAIN_EMPTY)
        return ERR_PRECONDITION; /* its floors are raised by seals alone */
    /* Nothing is reaped while a copy is being filled: what is here was filled in another time. */
    if (keyspace->has_row && vnode_lost_its_seal(vnode, adopt->keyspace_id, adopt->reaped)) {
        replica_vnode_doubt(replica, ctx, vnode, DOUBT_RESTORED);
        return ERR_INCOMPLETE;
    }
    struct vnode_floors floors = {.floor = keyspace->floor, .reaped = keyspace->reaped};
    if (adopt->floor > floors.floor)
        floors.floor = adopt->floor;
    if (adopt->reaped > floors.reaped)
        floors.reaped = adopt->reaped;
    if (keyspace->has_row && keyspace->floor == floors.floor && keyspace->reaped == floors.reaped)
        return OK;
    if (!keyspace->has_row)
        keyspace->adopted_at_ms = ctx->wall_ms;
    return vnode_floors_set(vnode, ctx->store, adopt->keyspace_id, floors);
}

void replica_on_vnode_adopt(struct replica *replica, struct actor_context *ctx,
                            const struct message *message)
{
    struct message *answer = message_new_reply(message, MESSAGE_vnode_adopt_done, 0);
    enum err err = replica_admit(replica, ctx, message);
    if (err == OK)
        err = vnode_adopt(replica, ctx, &message->vnode_adopt);
    answer->vnode_adopt_done.status = err;
    replica_answer(replica, ctx, answer, err == OK ? store_staged(ctx->store) : 0);
}

/* One keyspace that a change gives this member. */
static enum err gain_complete(struct replica *replica, struct actor_context *ctx,
                              struct vnode *vnode, const struct vnode_complete *complete)
{
    struct vnode_keyspace *keyspace = vnode_keyspace_find(vnode, complete->keyspace_id);
    if (vnode->state == VNODE_EMPTYING || keyspace == NULL || is_void(keyspace) ||
        keyspace->gain.incarnation != complete->incarnation || keyspace->gain.state == GAIN_NONE)
        return ERR_PRECONDITION;
    if (keyspace->gain.state == GAIN_FILLED)
        return OK;
    enum err err =
        vnode_gain_stage(vnode, ctx->store, keyspace->id, GAIN_FILLED, keyspace->gain.epoch);
    if (err != OK)
        return err;
    keyspace->gain.state = GAIN_FILLED;
    counter_add(&replica->figures.gains_filled, 1);
    replica_vnodes_count(replica);
    log_write(ctx->log, LOG_INFO, "vnode_gained",
              "partition=%" PRIu32 " keyspace=%08" PRIx32 " epoch=%" PRIu64, vnode->partition,
              keyspace->id, keyspace->gain.epoch);
    return OK;
}

/* Keyspaces that are not filled yet go on as what was gained, and lost since (replica_gain.h). What
 * is to be filled for a change, or was since the loss, stays as it is. */
static enum err leave_unfilled(struct replica *replica, struct actor_context *ctx,
                               struct vnode *vnode, const struct vnode_complete *complete)
{
    for (uint32_t i = 0; i < complete->unfilled_count; i++) {
        uint32_t id = complete->unfilled[i];
        struct vnode_keyspace *keyspace = vnode_keyspace_get(vnode, id);
        if (keyspace->gain.state != GAIN_NONE)
            continue;
        enum err err = vnode_gain_stage(vnode, ctx->store, id, GAIN_EMPTY, 0);
        if (err != OK)
            return err;
        keyspace->gain = (struct vnode_gain){
            .state = GAIN_EMPTY, .incarnation = ++replica->vnodes.incarnation, .lost = true};
    }
    return OK;
}

static enum err vnode_complete(struct replica *replica, struct actor_context *ctx,
                               const struct vnode_complete *complete)
{
    struct vnode *vnode = vnode_of(&replica->vnodes, complete->partition);
    if (complete->votes_from != 0)
        return replica_votes_complete(replica, ctx, complete);
    if (complete->keyspace_id != 0)
        return gain_complete(replica, ctx, vnode, complete);
    if (vnode->state == VNODE_COMPLETE)
        return OK;
    /* An exchange that began before it was emptied (again) proves nothing. */
    if (vnode->state == VNODE_EMPTYING || vnode->incarnation != complete->incarnation)
        return ERR_PRECONDITION;
    enum err err = leave_unfilled(replica, ctx, vnode, complete);
    if (err == OK)
        err = vnode_state_stage(vnode, ctx->store, VNODE_COMPLETE);
    if (err != OK)
        return err;
    vnode->state = VNODE_COMPLETE;
    replica->gains.cursor = 0; /* it may be nobody's here, or a keyspace is to be filled */
    replica_vnodes_count(replica);
    log_write(ctx->log, LOG_INFO, "vnode_complete", "partition=%" PRIu32, vnode->partition);
    return OK;
}

void replica_on_vnode_complete(struct replica *replica, struct actor_context *ctx,
                               const struct message *message)
{
    struct message *answer = message_new_reply(message, MESSAGE_vnode_complete_done, 0);
    enum err err = replica_admit(replica, ctx, message);
    if (err == OK)
        err = vnode_complete(replica, ctx, &message->vnode_complete);
    answer->vnode_complete_done.status = err;
    replica_answer(replica, ctx, answer, err == OK ? store_staged(ctx->store) : 0);
}
