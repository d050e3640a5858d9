/* topology.h -- the topology document: who is in the cluster and who owns which partition.
 *
 * One document per epoch, immutable, the only source of ownership (DESIGN.md 4). Each data centre
 * has a ring of its own: Q partitions, each with one owner among the members of that data centre.
 */
#ifndef MODEL_TOPOLOGY_H
#define MODEL_TOPOLOGY_H

#include "base/arena.h"
#include "base/err.h"
#include "model/limits.h"

enum member_status {
    MEMBER_JOINING,
    MEMBER_NORMAL,
    MEMBER_LEAVING,
    MEMBER_REMOVED, /* a durable tombstone: the number is never used again */
};

#define MEMBER_NONE   0u /* member numbers start at 1 */
#define NODE_NAME_MAX 63u
#define ADDRESS_MAX   255u
#define ZONE_NAME_MAX 31u

struct member {
    uint32_t number;
    enum member_status status;
    uint8_t data_center; /* index into topology.data_centers */
    uint16_t weight;     /* 1..WEIGHT_MAX */
    char name[NODE_NAME_MAX + 1];
    char address[ADDRESS_MAX + 1]; /* host:port of the peer port; an attribute, not the identity */
    char zone[ZONE_NAME_MAX + 1];
};

struct topology {
    uint8_t cluster_id[16];
    uint64_t epoch;
    uint32_t partitions; /* Q */
    uint32_t member_count;
    struct member *members; /* ordered by number */
    uint32_t data_center_count;
    char (*data_centers)[ZONE_NAME_MAX + 1]; /* ordered by name */
    uint32_t *owners; /* owners[data_center * partitions + partition] = member number */
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
 * given. Members are numbered by name; the cluster id is a hash of the sorted list and Q.
 * INVALID: empty or duplicate name, duplicate address, bad Q, too many; *ret_why names it (static).
 */
enum err topology_initial(struct arena *arena, const struct topology_seed *seeds, size_t count,
                          uint32_t partitions, struct topology *ret_topology,
                          const char **ret_why) MUST_USE;

const struct member *topology_member(const struct topology *topology, uint32_t number);
/* NULL when absent or removed: a name may be used again after its member has gone. */
const struct member *topology_member_by_name(const struct topology *topology, const char *name);
uint32_t topology_owner(const struct topology *topology, uint32_t data_center, uint32_t partition);
/* Members of a data centre that hold data (normal or leaving). */
uint32_t topology_member_count_in(const struct topology *topology, uint32_t data_center);

struct bytes topology_encode(struct arena *arena, const struct topology *topology);
/* CORRUPT; UNSUPPORTED for another format version. What is given back is valid and canonical. */
enum err topology_decode(struct arena *arena, struct bytes bytes,
                         struct topology *ret_topology) MUST_USE;
/* Invariants: numbers ascend, names of living members unique; every owner is a member of its data
 * centre that holds data. Only a data centre without such members has MEMBER_NONE as owners.
 * At most MEMBERS_MAX members, tombstones included. */
bool topology_valid(const struct topology *topology);

#endif
