/* topology_change.h -- how one topology document becomes the next: every operation, as a pure
 * function.
 *
 * A change is staged (places on the NEXT side of members), committed (the NEXT rings are claimed
 * and partitions begin to go over), stepped partition by partition, and finished (NEXT becomes
 * NOW). One change at a time is committed; what is staged meanwhile is refused. An abort of a
 * staged change takes the places back; of a running one it exchanges the sides and turns every
 * phase round (WAITING and DONE change places; ANNOUNCED and COPIED are COPIED, for all of the old
 * side hold their copies), so it is carried out as any other change, and every partition ends where
 * it began.
 *
 * Each result is the document of epoch + 1, valid (topology_valid), with its voters chosen anew.
 * What a partition needs for its next step is told apart from who drives it: topology_step takes
 * what is known and never steps without it.
 *
 * A partition's phase_epoch is the epoch at which its reading or writing last changed: an abort
 * leaves it where it has no effect on either.
 *
 * Source: DESIGN.md 4; Scylla's topology log and Cassandra's CEP-21 for epochs with barriers;
 * Riak's staged plan and commit.
 */
#ifndef MODEL_TOPOLOGY_CHANGE_H
#define MODEL_TOPOLOGY_CHANGE_H

#include "model/keyspace.h"
#include "model/topology.h"
#include "model/wait.h"

enum topology_operation_kind {
    TOPOLOGY_JOIN, /* a new member, staged: name, address, join_id, place, hold */
    /* member, staged (one that is only staged to join is removed at once). `gone`: it is dead and
     * will not come back, which no abort undoes; of a running change too, which then waits for it
     * no longer. */
    TOPOLOGY_LEAVE,
    TOPOLOGY_PLACE,     /* member, staged: place (data centre, zone and weight as they are to be) */
    TOPOLOGY_REPLICATE, /* keyspace_id, staged: N by data centre */
    /* Of what is staged. expected_epoch: the one that was looked at, 0 = any. `force`: also with
     * fewer members in a data centre than a keyspace has replicas there. */
    TOPOLOGY_COMMIT,
    TOPOLOGY_ABORT, /* of what is staged, or under way; an abort is not aborted */
    TOPOLOGY_PAUSE,
    TOPOLOGY_RESUME,
    TOPOLOGY_PACE,    /* bytes_per_second */
    TOPOLOGY_ADDRESS, /* member, address: at once, no data moves */
    /* partitions, for a member whose copies of registers begin anew (model/register.h): the epoch
     * of their last step is this one, so that whatever was planned before it is refused. Nothing
     * else changes, and no data moves. Not while a change is RUNNING. */
    TOPOLOGY_RENEW,
};

struct topology_operation {
    enum topology_operation_kind kind;
    uint32_t member;
    bool gone;
    bool hold; /* of a join: its change waits for an operator */
    bool force;
    uint64_t expected_epoch;
    uint64_t wall_ms;
    uint64_t bytes_per_second;
    uint32_t keyspace_id;
    uint8_t n[DATA_CENTERS_MAX];            /* as topology.data_centers */
    uint8_t partitions[PARTITIONS_MAX / 8]; /* bits */
    uint8_t join_id[16];
    char name[NODE_NAME_MAX + 1];
    char address[ADDRESS_MAX + 1];
    char data_center[ZONE_NAME_MAX + 1]; /* empty: as it is; of a new member: "default" */
    char zone[ZONE_NAME_MAX + 1];
    uint16_t weight; /* 0: as it is; of a new member 1 */
};

/* OK; *ret_topology may be the same document when it says already what was asked for (a join with a
 * join_id that is a member's: *ret_number is that one; an abort of what is aborting). INVALID,
 * EXISTS (name or address taken), NOT_FOUND (no such member), LIMIT (too many members or data
 * centres), CONFLICT (the epoch is not the expected one), PRECONDITION (a change is under way;
 * nothing is staged; a data centre would be left with fewer members than a keyspace has replicas
 * there, a consistent one would have more than REGISTER_REPLICAS_MAX in all): *ret_why says it in a
 * sentence (in the arena or static), with what to do next. */
enum err topology_operate(struct arena *arena, const struct topology *topology,
                          const struct keyspace_map *keyspaces,
                          const struct topology_operation *operation, struct topology *ret_topology,
                          uint32_t *ret_number, const char **ret_why) MUST_USE;

/* -- what a running change asks of a member
 * ---------------------------------------------------------------------------------------- */

/* Names the running change and its direction: began_epoch, of an aborting one abort_epoch. What a
 * member has emptied or filled for it is kept under this name, and void under any other. */
uint64_t topology_change_name(const struct topology *topology);

enum copy_need {
    NEED_NOTHING,
    /* It holds a copy already, but the new set is smaller than the old one: what only a member that
     * drops out has must reach it first. One exchange with each of those that are not gone, begun
     * after the announcement; its own copy stays in use all the while. */
    NEED_EXCHANGE,
    /* It is in the new set and was not in the old: what it has counts for nothing. Empty it, take
     * writes from then on, fill it from all of the old set that are not gone. */
    NEED_COPY,
};

/* What the announcement of (keyspace, partition) asks of the member; NEED_NOTHING before it (phase
 * WAITING) and where an abort has taken it back: members of the set that it goes back to hold their
 * copies already and must not empty them. In phase DONE the answer may be NEED_COPY for one that
 * held its copy all along: begin a copy in ANNOUNCED only; later the member's own mark says. */
enum copy_need topology_need(const struct topology *topology, const struct keyspace *keyspace,
                             uint32_t partition, uint32_t member);

/* What is known to whoever drives a running change. */
struct topology_progress {
    /* By slot: the epoch that the member has in force; 0: not known, or not to be reached now */
    uint64_t epochs[MEMBERS_MAX];
    /* By slot, bit by partition: what this change (topology_change_name) needs there is done */
    uint8_t filled[MEMBERS_MAX][PARTITIONS_MAX / 8];
    /* By slot, bit by partition: it has met a bad row there that is not mended yet, or has not said
     * under this change that there is none */
    uint8_t unsound[MEMBERS_MAX][PARTITIONS_MAX / 8];
    /* By slot: keeps hints for others. A leaving member is not removed before they are handed on */
    bool keeps_hints[MEMBERS_MAX];
    uint32_t announced_max; /* partitions that may be announced or copied at a time; at least 1 */
};

/* The next document: partitions that can go on do, and the last one ends the change (joining
 * members are normal then, leaving ones removed; a member that is gone and was not leaving is
 * staged to leave). False: nothing can go on; *ret_topology is untouched.
 *
 *   WAITING -> ANNOUNCED  as many as announced_max allows, where each member of both sets can be
 *                         reached. At once DONE when no keyspace's set can differ.
 *   ANNOUNCED -> COPIED   each member of both sets has the partition's epoch in force, and each
 *                         with a need has filled it.
 *   COPIED -> DONE        each member of both sets has the partition's epoch in force. Where
 * somebody is to drop it, no member that is read has a bad row there: the copy that goes may be the
 * only one to mend it from.
 *
 * Members that are gone are left out. Why each and not a majority: a member that lags serves
 * coordinators that lag, and with R = 1 or W = 1 one such answer is a quorum. Nothing is announced
 * while paused; what is announced goes on when it needs no copying any more. */
bool topology_step(struct arena *arena, const struct topology *topology,
                   const struct keyspace_map *keyspaces, const struct topology_progress *progress,
                   struct topology *ret_topology) MUST_USE;

/* Why topology_step does not take partitions further: added to `waits`, each partition to one entry
 * for each member that it waits for. WAIT_FILL is also of those that are being copied just now. */
void topology_waits(struct arena *arena, const struct topology *topology,
                    const struct keyspace_map *keyspaces, const struct topology_progress *progress,
                    struct waits *waits);

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
    uint32_t moved_min; /* the least that lead from the shares now to those on the side NEXT */
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
