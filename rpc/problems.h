/* problems.h -- what is wrong with the cluster as this node sees it, in sentences that say what to
 * do: one list for the call Status and for the status page.
 *
 * Pure: from a view and what the node knows of itself. All texts are in the arena or static.
 */
#ifndef RPC_PROBLEMS_H
#define RPC_PROBLEMS_H

#include "actors/view.h"
#include "base/arena.h"

/* What nobody else knows of this node. */
struct own_troubles {
    uint64_t vnodes_incomplete; /* do not vote before they are filled */
    uint64_t registers_mute;    /* copies (vnode, keyspace) of consistent keyspaces without votes */
    bool disk_full;             /* no room above the reserve: writes are refused */
};

struct problems {
    char **texts;
    size_t count;
    size_t own_count; /* the last of them: known to this node alone */
    uint32_t nodes_total;
    uint32_t nodes_alive;
};

void problems_find(struct arena *arena, const struct view *view, const char *node_name,
                   const struct own_troubles *troubles, struct problems *ret_problems);

#endif
