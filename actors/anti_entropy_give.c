/* Vnodes of this node that the store cannot read in part.
 *
 * What it can read may be nowhere else: a write that one replica has acknowledged, or the other one
 * was lost. So such a copy goes on, and is compared with the others until, in each keyspace that it
 * is read in, all other replicas hold all that it can give, are complete by their own word, and
 * have no bad row (ae_exchange_gave). Only then is it emptied, and filled as after any loss. One
 * other replica is not enough, as for a bad row: an acknowledged write may lie in the part that
 * cannot be read and on a third copy. Of registers nothing is exchanged: what a majority has
 * accepted is at another acceptor, if all of those vote; and they have to be a majority without it.
 *
 * A row that was written since into the range of a damaged block may be found by reads and not by
 * scans: for what such a write has not reached its coordinator keeps a hint, as for any.
 *
 * Whoever is filled from it meanwhile is told that rows of each keyspace may be bad, and waits; so
 * where another copy was lost both wait until somebody gives up what cannot be read, keyspace by
 * keyspace. Then the other copy is complete with the rest, and this one is emptied. */
#include "actors/anti_entropy_state.h"

#include "base/mutation.h"

/* What somebody held so long ago he may have lost since: it is asked again. */
#define AGAIN_NS ((uint64_t)10 * 1000 * 1000 * 1000)

bool ae_completion_gives(const struct anti_entropy *ae, uint32_t partition)
{
    const struct ae_completion *completion = &ae->completions[partition];
    return completion->known && completion->phase == AE_GIVE;
}

void ae_give_begin(struct ae_completion *completion, const struct actor_context *ctx)
{
    ae_ids_free(&completion->lacks);
    completion->phase = AE_GIVE;
    completion->unreadable = true;
    completion->since_ms = ctx->wall_ms;
    completion->done = completion->waiting = 0;
    completion->next_ns = ctx->now_ns;
}

void ae_give_ended(struct anti_entropy *ae, struct ae_completion *completion,
                   const struct ae_exchange *exchange)
{
    uint32_t other = exchange->members[0] == ae->options.self ? 1 : 0;
    uint64_t bit = ae_member_bit(ae, exchange->members[other]);
    if (exchange->serial <= completion->serial)
        return;
    completion->waiting |= bit;
    if (ae_exchange_gave(ae, exchange))
        completion->done |= bit;
}

bool ae_give_waits(const struct anti_entropy *ae, const struct actor_context *ctx,
                   uint32_t partition, const struct keyspace *keyspace)
{
    struct replica_set set;
    uint64_t done = ae->completions[partition].done;
    uint32_t read = 0;
    uint32_t others = 0;
    uint32_t hold = 0;
    view_replica_set(ctx->view, keyspace, partition, &set);
    for (uint32_t i = 0; i < set.count; i++) {
        uint64_t bit = ae_member_bit(ae, set.replicas[i].member);
        read += set.replicas[i].reader;
        if (set.replicas[i].member == ae->options.self || !set.replicas[i].reader ||
            (ae->gone & bit) != 0)
            continue;
        others++;
        hold += (done & bit) != 0;
    }
    bool needed = keyspace->mode == KEYSPACE_CONSISTENT && hold <= read / 2;
    return others == 0 || ((hold < others || needed) && !MUTATE(UNREADABLE_IS_EMPTIED));
}

static void doubt(struct anti_entropy *ae, struct actor_context *ctx, uint32_t partition,
                  enum doubt_reason reason, uint32_t keyspace_id)
{
    struct message *message = ae_message(MESSAGE_vnode_doubt, ae->options.self, 0, 0);
    message->vnode_doubt =
        (struct vnode_doubt){.partition = partition, .reason = reason, .keyspace_id = keyspace_id};
    outbox_send(ctx, &ae->actor, message);
}

static bool is_given_up(const struct ae_completion *completion, uint32_t keyspace_id)
{
    for (uint32_t i = 0; i < completion->lacks.count; i++) {
        if (completion->lacks.ids[i] == keyspace_id)
            return true;
    }
    return false;
}

/* Whoever only is written here, for a change, has nothing that the others have not. */
static bool is_given(struct anti_entropy *ae, struct actor_context *ctx, uint32_t partition,
                     bool *ret_nobodys)
{
    const struct keyspace_map *map = &ctx->view->keyspaces;
    bool given = true;
    *ret_nobodys = true;
    for (uint32_t i = 0; i < map->count; i++) {
        enum replica_role role = ROLE_NONE;
        if (!map->keyspaces[i].dropped)
            role = view_role(ctx->view, &map->keyspaces[i], partition, ae->options.self);
        *ret_nobodys = *ret_nobodys && role == ROLE_NONE;
        given = given &&
                (role != ROLE_READER || !ae_give_waits(ae, ctx, partition, &map->keyspaces[i]));
    }
    return given;
}

static void give_up(struct anti_entropy *ae, struct actor_context *ctx, uint32_t partition)
{
    struct ae_completion *completion = &ae->completions[partition];
    for (uint32_t i = 0; i < ctx->view->keyspaces.count; i++) {
        const struct keyspace *keyspace = &ctx->view->keyspaces.keyspaces[i];
        if (keyspace->dropped || keyspace->mode == KEYSPACE_CONSISTENT ||
            !ae_is_replica(ctx->view, keyspace, partition, ae->options.self) ||
            is_given_up(completion, keyspace->id) || !ae_task_give_up(ae, ctx, keyspace->id))
            continue;
        ae_ids_add(&completion->lacks, keyspace->id);
        doubt(ae, ctx, partition, DOUBT_GIVEN_UP, keyspace->id);
    }
}

void ae_give_step(struct anti_entropy *ae, struct actor_context *ctx, uint32_t partition)
{
    struct ae_completion *completion = &ae->completions[partition];
    bool nobodys;
    bool given = is_given(ae, ctx, partition, &nobodys);
    if (given && view_keyspaces_heard(ctx->view)) {
        if (!nobodys)
            doubt(ae, ctx, partition, DOUBT_CORRUPT, 0);
        ae_completion_close(ae, partition);
    } else if (completion->next_ns <= ctx->now_ns) {
        give_up(ae, ctx, partition);
        completion->done = completion->waiting = 0;
        completion->next_ns = ctx->now_ns + AGAIN_NS;
        ae->look_ns = ctx->now_ns;
    }
}
