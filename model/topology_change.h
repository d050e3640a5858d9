/* topology_change.h -- how one topology document becomes the next: every operation, as a pure
 * function.
 *
 * A change is staged (places on the NEXT side of members), committed (the NEXT rings are claimed
 * and partitions begin to go over), stepped partition by partition, and finished (NEXT becomes
 * NOW). One change at a time is committed; what is staged meanwhile is refused. An abort of a
 * staged change takes the places back; of a running one it exchanges the sides and turns every
 * phase round (topology.h), so it is carried out as any other change, and every partition ends
 * where it began.
 *
 * Each result is the document of epoch + 1, valid (topology_valid), with its voters chosen anew.
 * What a partition needs for its next step is told apart from who drives it: topology_step takes
 * what is known and never steps without it.
 *
 * Source: DESIGN.md 4; Scylla's topology log and Cassandra's CEP-21 for epochs with barriers;
 * Riak's staged plan and commit.
 */
#ifndef MODEL_TOPOLOGY_CHANGE_H
#define MODEL_TOPOLOGY_CHANGE_H

#include "model/keyspace.h"
#include "model/topology.h"

enum topology_operation_kind {
    TOPOLOGY_JOIN,      /* a new member, staged: name, address, join_id, place */
    TOPOLOGY_LEAVE,     /* member, staged; `gone`: it is dead and will not come back */
    TOPOLOGY_PLACE,     /* member, staged: place (data centre, zone and weight as they are to be) */
    TOPOLOGY_REPLICATE, /* keyspace_id, staged: N by data centre */
    TOPOLOGY_COMMIT,    /* of what is staged; expected_epoch: the one that was looked at, 0 = any */
    TOPOLOGY_ABORT,     /* of what is staged, or under way */
    TOPOLOGY_PAUSE,
    TOPOLOGY_RESUME,
    TOPOLOGY_PACE,    /* bytes_per_second */
    TOPOLOGY_ADDRESS, /* member, address: at once, no data moves */
};

struct topology_operation {
    enum topology_operation_kind kind;
    uint32_t member;
    bool gone;
    uint64_t expected_epoch;
    uint64_t wall_ms;
    uint64_t bytes_per_second;
    uint32_t keyspace_id;
    uint8_t n[DATA_CENTERS_MAX]; /* as topology.data_centers */
    uint8_t join_id[16];
    char name[NODE_NAME_MAX + 1];
    char address[ADDRESS_MAX + 1];
    char data_center[ZONE_NAME_MAX + 1]; /* empty: as it is; of a new member: "default" */
    char zone[ZONE_NAME_MAX + 1];
    uint16_t weight; /* 0: as it is; of a new member 1 */
};

/* OK; *ret_topology may be the same document when it says already what was asked for (a join with a
 * join_id that is a member's: *ret_number is that one). INVALID, EXISTS (name or address taken),
 * NOT_FOUND (no such member), LIMIT (too many members or data centres), CONFLICT (the epoch is not
 * the expected one), PRECONDITION (a change is under way; nothing is staged; a data centre would be
 * left with fewer members than a keyspace has replicas there): *ret_why says it in a sentence
 * (in the arena or static), with what to do next. */
enum err topology_operate(struct arena *arena, const struct topology *topology,
                          const struct keyspace_map *keyspaces,
                          const struct topology_operation *operation, struct topology *ret_topology,
                          uint32_t *ret_number, const char **ret_why) MUST_USE;

/* What is known to whoever drives a running change. */
struct topology_progress {
    uint64_t
        epochs[MEMBERS_MAX]; /* by slot: the epoch that the member has in force; 0: not known */
    /* By slot, bit by partition: it is filled, as far as this change (began_epoch) gives it
     * anything */
    uint8_t filled[MEMBERS_MAX][PARTITIONS_MAX / 8];
    uint32_t announced_max; /* partitions that may be announced or copied at a time; at least 1 */
};

/* The next document: partitions that can go on do, and the last one ends the change (joining
 * members are normal then, leaving ones removed). False: nothing can go on; *ret_topology is
 * untouched. WAITING -> ANNOUNCED  as many as announced_max allows; at once DONE when both sets are
 * the same in every keyspace ANNOUNCED -> COPIED   every member of the new set that is not gone has
 * filled it, and a majority of the old set (of those not gone) has the epoch of the announcement in
 * force COPIED -> DONE        a majority of the old set (not gone) and every live member of the new
 * one have the epoch of the step before in force Nothing is announced while paused. */
bool topology_step(struct arena *arena, const struct topology *topology,
                   const struct keyspace_map *keyspaces, const struct topology_progress *progress,
                   struct topology *ret_topology) MUST_USE;

/* -- the plan: what a commit of what is staged, or the running change, means
 * ------------------------------------------------ */

struct plan_member {
    uint32_t number;
    uint32_t owned[2];    /* ring positions, by side */
    uint32_t replicas[2]; /* copies of partitions (in the keyspace with the most), by side */
    uint32_t gains;       /* copies that it has to receive */
    uint32_t loses;
    uint64_t bytes_in;  /* by the sizes given */
    uint64_t bytes_out; /* that it will drop */
};

struct plan_zone {
    uint8_t data_center;
    char zone[ZONE_NAME_MAX + 1];
    uint32_t members[2];
    uint32_t replicas[2];
};

struct plan {
    uint32_t member_count;
    struct plan_member *members; /* as topology.members, removed ones left out */
    uint32_t zone_count;
    struct plan_zone *zones;
    uint32_t moved;     /* copies of partitions to be made */
    uint32_t moved_min; /* the least that the new shares need */
    uint64_t bytes;
    double balance[2];          /* max/mean of copies per weight, the worst data centre, by side */
    uint32_t member_violations; /* partitions with fewer distinct nodes than N */
    uint32_t zone_violations; /* partitions with two copies in one zone although there are enough */
};

/* `partition_bytes`: one copy's size by partition, NULL = not known. The NEXT rings of a staged
 * change are those that a commit would claim. The topology has a change. */
void plan_make(struct arena *arena, const struct topology *topology,
               const struct keyspace_map *keyspaces, const uint64_t *partition_bytes,
               struct plan *ret_plan);

#endif
