/* Hints whose target is no replica of their key any more, or has been given up: handed to the
 * members that are.
 *
 * A hint may be one of the two copies of a write that was acknowledged. When a change takes the
 * partition from its target, or the target has left for good, its state is kept for every member of
 * the present set instead, as hints of their own, and the old row goes in the same write of the
 * log. Most of those members hold it already, and say so. Room for hints does not bound this: it
 * adds no more than one row a replica to what was there, and one that found no room would stay for
 * ever. A hint of a keyspace that was dropped goes. */
#include "actors/hinted_handoff_rows.h"

#include "base/mutation.h"

/* Who was given up stays in the sets until a change has ended; and a member that leaves, which may
 * be what that change waits for, is not removed before it has handed on what it keeps. */
static bool may_come_back(const struct view *view, uint32_t number)
{
    const struct member *member = topology_member(&view->topology, number);
    return hint_member_is_there(view, number) && !member->gone;
}

static bool any_may_come_back(const struct view *view, const struct replica_set *set)
{
    for (uint32_t i = 0; i < set->count; i++) {
        if (may_come_back(view, set->replicas[i].member))
            return true;
    }
    return false;
}

static enum err keep_for_all(struct hinted_handoff *hinted_handoff, struct actor_context *ctx,
                             const struct replica_set *set, const struct hint *hint)
{
    enum err err = OK;
    for (uint32_t i = 0; i < set->count && err == OK; i++) {
        struct hint copy = *hint;
        copy.target = set->replicas[i].member;
        if (may_come_back(ctx->view, copy.target))
            err = hint_keep_row(hinted_handoff, ctx, &copy, false);
    }
    return err;
}

enum hint_place hint_place(struct hinted_handoff *hinted_handoff, struct actor_context *ctx,
                           struct target *target, struct bytes row_key, size_t row_size,
                           const struct hint *hint)
{
    const struct keyspace_map *map = &ctx->view->keyspaces;
    const struct keyspace *keyspace = keyspace_map_find_id(map, hint->keyspace_id);
    struct hinted_handoff_figures *figures = &hinted_handoff->figures;
    struct replica_set set = {0};
    enum err err = OK;
    bool orphaned = keyspace_map_known_dropped(map, hint->keyspace_id);
    if (keyspace == NULL && !orphaned) /* told of to others, and soon to this node */
        return hint_member_is_there(ctx->view, hint->target) ? HINT_STAYS : HINT_STUCK;
    if (!orphaned) {
        view_replica_set(ctx->view, keyspace, hint->partition, &set);
        for (uint32_t i = 0; i < set.count; i++) {
            if (set.replicas[i].member != hint->target || !may_come_back(ctx->view, hint->target))
                continue;
            /* The new set has taken its copy already: what comes there now would go with it. */
            bool drops_out = set.joint && set.replicas[i].sides == 1u << TOPOLOGY_NOW;
            return drops_out ? HINT_STUCK : HINT_STAYS;
        }
        if (!any_may_come_back(ctx->view, &set))
            return HINT_STUCK;
        if (!MUTATE(HINTS_LEFT_BEHIND))
            err = keep_for_all(hinted_handoff, ctx, &set, hint);
    }
    if (err == OK)
        err = hint_row_change(hinted_handoff, ctx, target, row_key, row_size, NULL);
    if (err != OK) {
        counter_add(&figures->store_errors, err != ERR_LIMIT);
        return HINT_STUCK; /* tried again with the next pass */
    }
    counter_add(orphaned ? &figures->orphaned : &figures->retargeted, 1);
    return HINT_MOVED;
}
