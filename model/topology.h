/* topology.h -- the topology document: who is in the cluster and who owns which partition.
 *
 * One document per epoch, immutable, the only source of ownership (DESIGN.md 4). Each data centre
 * has a ring of its own: Q partitions, each with one owner among the members of that data centre.
 *
 * A document has two sides: what is (NOW), and what is to be (NEXT) when the change under way is
 * over. Without a change both are the same. Members stage their places on the NEXT side first; a
 * commit computes the NEXT rings, and then each partition goes over by itself, in steps that are
 * epochs:
 *
 *     WAITING       ANNOUNCED         COPIED            DONE
 *     reads  NOW    reads  NOW        reads  NEXT       reads  NEXT
 *     writes NOW    writes both       writes both       writes NEXT
 *
 * Seen from the other side the same table reads backwards: an abort exchanges the sides and turns
 * every phase round (what was copied is read from the old side again at once), and the change goes
 * on to where it came from. Neighbouring phases always have a set in common that both write, so a
 * reader one step behind or ahead misses nothing.
 * model/topology_change.h has the operations, actors/gossip_moves.h who takes the steps, and when.
 */
#ifndef MODEL_TOPOLOGY_H
#define MODEL_TOPOLOGY_H

#include "base/arena.h"
#include "base/err.h"
#include "model/limits.h"

enum member_status {
    MEMBER_JOINING, /* has a place on the NEXT side alone */
    MEMBER_NORMAL,
    MEMBER_LEAVING, /* has a place on the side NOW alone */
    /* Has left for good. So has every number below `number_next` that is not listed: the oldest
     * entries make room when the list is full. A number is never used again. */
    MEMBER_REMOVED,
};

enum topology_side { TOPOLOGY_NOW, TOPOLOGY_NEXT };

enum partition_phase { PHASE_WAITING, PHASE_ANNOUNCED, PHASE_COPIED, PHASE_DONE };

#define MEMBER_NONE   0u /* member numbers start at 1 */
#define NODE_NAME_MAX 63u
#define ADDRESS_MAX   255u
#define ZONE_NAME_MAX 31u

struct member_place {
    uint8_t data_center; /* index into topology.data_centers */
    uint16_t weight;     /* 1..WEIGHT_MAX */
    char zone[ZONE_NAME_MAX + 1];
};

struct member {
    uint32_t number;
    /* 0..MEMBERS_MAX-1, for tables and bit sets by member: no two listed members but removed ones
     * have the same at a time, and it goes to another one only after its member was removed. */
    uint8_t slot;
    enum member_status status;
    /* Dead for good, as an operator says: nothing waits for it, nothing is read from it, and it
     * must not run again (it ends when it reads this, as a removed one). LEAVING or REMOVED, or any
     * status while a change is RUNNING. Its name and address may be given to another member. */
    bool gone;
    /* JOINING, and staged until an operator commits it: members that join meanwhile do not have
     * their change committed by themselves (node/join.h). */
    bool held;
    uint8_t
        join_id[16]; /* random, of whoever asked to join: asking twice joins once. Zero: initial */
    char name[NODE_NAME_MAX + 1];
    char address[ADDRESS_MAX + 1]; /* host:port of the peer port; an attribute, not the identity */
    struct member_place
        places[2]; /* by enum topology_side; equal unless a change has it otherwise */
};

/* N of a keyspace whose replication was changed after its creation, instead of the definition's. */
struct topology_replication {
    uint32_t keyspace_id;
    uint8_t n[2][DATA_CENTERS_MAX]; /* by side and data centre; 0: none there */
};

enum change_state {
    CHANGE_NONE,
    CHANGE_STAGED,  /* members have other places on the NEXT side; no ring knows of it yet */
    CHANGE_RUNNING, /* committed: partitions go over */
};

struct topology_change {
    enum change_state state;
    bool paused;               /* no further partition is announced, nothing is copied */
    bool aborting;             /* the sides were exchanged: it goes back to what was */
    uint64_t began_epoch;      /* RUNNING: the commit's. An abort leaves it */
    uint64_t abort_epoch;      /* aborting: the abort's; 0 otherwise */
    uint64_t began_ms;         /* wall clock of who committed it, for people */
    uint64_t bytes_per_second; /* what each receiver may copy; 0: as configured there */
};

#define VOTERS_MAX 5u

struct topology {
    uint8_t cluster_id[16];
    uint64_t epoch;
    uint32_t partitions;  /* Q */
    uint32_t number_next; /* that the next member to join gets */
    uint32_t member_count;
    struct member *members; /* ordered by number */
    uint32_t data_center_count;
    /* In the order in which they came (the first ones by name): an index means the same in all
     * later documents. */
    char (*data_centers)[ZONE_NAME_MAX + 1];
    /* owners[side][data_center * partitions + partition] = member number. Both sides are one array
     * unless a change is RUNNING. */
    uint32_t *owners[2];
    struct topology_change change;
    uint8_t *phases;        /* [partitions], enum partition_phase; all WAITING unless RUNNING */
    uint64_t *phase_epochs; /* [partitions]: the epoch of the partition's last step, 0 = none */
    uint32_t voter_count;   /* who decides on the next epoch: ascending numbers */
    uint32_t voters[VOTERS_MAX];
    uint32_t replication_count; /* ascending by keyspace id, at most KEYSPACES_MAX */
    struct topology_replication *replication;
};

/* One entry of --initial-cluster. Empty data centre and zone mean "default", weight 0 means 1. */
struct topology_seed {
    char name[NODE_NAME_MAX + 1];
    char address[ADDRESS_MAX + 1];
    char data_center[ZONE_NAME_MAX + 1];
    char zone[ZONE_NAME_MAX + 1];
    uint16_t weight;
};

/* Epoch 1: every listed node computes the same document from the same list, in whatever order it is
 * given. Members are numbered by name; the cluster id is a hash of the sorted list, Q and the ring.
 * INVALID: empty or duplicate name, duplicate address, bad Q, too many; *ret_why names it (static).
 */
enum err topology_initial(struct arena *arena, const struct topology_seed *seeds, size_t count,
                          uint32_t partitions, struct topology *ret_topology,
                          const char **ret_why) MUST_USE;

const struct member *topology_member(const struct topology *topology, uint32_t number);
/* NULL when absent or removed; one that is gone only when nobody else has the name. */
const struct member *topology_member_by_name(const struct topology *topology, const char *name);
/* It was a member once and is none any more. */
bool topology_was_removed(const struct topology *topology, uint32_t number);
/* Where it is; of a joining one, where it is to be. */
const struct member_place *member_place(const struct member *member);
bool member_place_equal(const struct member_place *a, const struct member_place *b);
/* Has a place on that side. */
bool member_is_on(const struct member *member, enum topology_side side);
uint32_t topology_owner(const struct topology *topology, enum topology_side side,
                        uint32_t data_center, uint32_t partition);
/* Members of a data centre that have a place there on that side. */
uint32_t topology_member_count_in(const struct topology *topology, enum topology_side side,
                                  uint32_t data_center);
/* The side that the partition is read from. */
enum topology_side topology_read_side(const struct topology *topology, uint32_t partition);
/* Both sides are written. */
bool topology_is_joint(const struct topology *topology, uint32_t partition);
/* N of the keyspace with that id in the data centre; `otherwise` where no change has set it. */
uint32_t topology_replicas(const struct topology *topology, enum topology_side side,
                           uint32_t keyspace_id, uint32_t data_center, uint32_t otherwise);
/* One, two, three or VOTERS_MAX members, ascending: over as many data centres and zones as there
 * are, the present voters rather than others; members that come or go only while there are not
 * three others, and none that is gone. */
uint32_t topology_choose_voters(const struct topology *topology, uint32_t ret_voters[VOTERS_MAX]);
/* A deep copy. */
void topology_copy(struct arena *arena, const struct topology *from, struct topology *ret);

struct bytes topology_encode(struct arena *arena, const struct topology *topology);
/* CORRUPT; UNSUPPORTED for another format version. What is given back is valid and canonical. */
enum err topology_decode(struct arena *arena, struct bytes bytes,
                         struct topology *ret_topology) MUST_USE;
/* What the document says as one number, never 0: in its highest byte the format that this release
 * encodes, below a hash of the encoded bytes. */
uint64_t topology_digest(struct arena *arena, const struct topology *topology);
/* Of two nodes' documents of one epoch. Those of different formats tell nothing, nor does 0. */
bool topology_digests_differ(uint64_t a, uint64_t b);
/* Invariants: numbers ascend below number_next; names and slots of living members unique; every
 * owner is a member with a place in its data centre on that side. Only a data centre without such
 * members has MEMBER_NONE as owners. Places differ, and phases are other than WAITING, only where
 * the change's state allows it. 1 to VOTERS_MAX voters, all living members. At most MEMBERS_MAX
 * members, removed ones included. */
bool topology_valid(const struct topology *topology);

#endif
