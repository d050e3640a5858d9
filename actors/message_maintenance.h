/* message_maintenance.h -- bodies of messages with which an operator looks and mends (message.h):
 * repairs, pauses of hints, one key explained. The rpc layer asks, an actor answers.
 */
#ifndef ACTORS_MESSAGE_MAINTENANCE_H
#define ACTORS_MESSAGE_MAINTENANCE_H

#include "base/bytes.h"
#include "base/err.h"
#include "model/register.h"

enum maintenance_operation {
    /* anti-entropy: `keyspace_id`, or all when 0, under the name `task`, so that asking twice
     * begins one; 0: the actor names it, or gives one that does the same */
    MAINTENANCE_REPAIR_START,
    MAINTENANCE_REPAIR_CANCEL, /* anti-entropy: `task` */
    MAINTENANCE_REPAIR_STATUS, /* anti-entropy: `task` */
    MAINTENANCE_HINTS_PAUSE,   /* hinted handoff: `member`, or all when MEMBER_NONE */
    MAINTENANCE_HINTS_RESUME,
};

struct client_maintenance {
    uint64_t client;
    enum maintenance_operation operation;
    uint32_t keyspace_id;
    uint32_t member;
    uint64_t task;
    bool driven_only; /* a repair: not the pairs that the other node compares by its schedule */
    bool gives_up;    /* a repair: also bad rows that no other replica can mend */
};

struct client_maintenance_done {
    uint64_t client;
    enum err status;
    const char *why;
    uint64_t task;
    /* of a repair */
    bool ended;
    uint32_t ranges_done;
    uint32_t ranges_total; /* pairs of vnode and peer */
    uint32_t ranges_failed;
    uint64_t keys_repaired;
    uint64_t bytes_moved;
    uint64_t started_ms; /* wall clock */
};

/* One key as one node sees it: replicas and hinted handoffs answer. */
struct key_explain {
    uint32_t partition;
    uint32_t keyspace_id;
    struct bytes key;
};

#define EXPLAIN_HINTS_MAX 8u

struct key_explain_reply {
    enum err status; /* of the read */
    struct bytes record;
    bool complete;
    uint64_t floor;
    uint32_t tree_depth;
    uint64_t leaf_index;
    uint64_t leaf_sum;
    uint32_t leaf_keys;
    uint64_t repaired_at_ms;  /* 0: not since the start, as far as it is remembered */
    uint32_t repaired_reason; /* enum write_reason */
    /* of a register: what the acceptor holds, with its value in `record` (register_value.h) */
    bool mute; /* the copy was emptied and does not vote */
    struct ballot promised;
    struct ballot accepted;
    /* of anti-entropy, which is asked about registers: waits_encode, why the copy does not vote */
    struct bytes waits;
    /* of a hinted handoff: for whom it keeps the key */
    uint8_t hint_count;
    uint32_t hint_members[EXPLAIN_HINTS_MAX];
    uint64_t hint_stored_at_ms; /* the oldest */
};

struct client_explain {
    uint64_t client;
    uint32_t keyspace_id;
    struct bytes key;
};

struct node_explain {
    uint32_t member;
    bool replica;                   /* of this key, not only a possible keeper of hints */
    struct key_explain_reply held;  /* of the replica */
    struct key_explain_reply hints; /* of the hinted handoff */
};

struct client_explain_done {
    uint64_t client;
    enum err status;
    const char *why;
    uint32_t partition;
    uint64_t hash;
    uint32_t count;
    struct node_explain *nodes; /* in the arena */
    uint64_t wall_ms;
};

#endif
