/* view.h -- what a step may know of the cluster: an immutable picture, replaced as a whole.
 *
 * Built by the gossip actor, published by the host (RCU in production), read as ctx->view for one
 * step only. Counted: whoever keeps one holds a reference.
 */
#ifndef ACTORS_VIEW_H
#define ACTORS_VIEW_H

#include "model/keyspace.h"
#include "model/ring.h"
#include "model/topology.h"

enum liveness {
    LIVENESS_UNKNOWN, /* never heard of: treated as alive, its link will tell */
    LIVENESS_ALIVE,
    LIVENESS_DOWN,
};

/* From this node, by where members are now. */
enum distance {
    DISTANCE_SELF,
    DISTANCE_ZONE, /* the same zone of the same data centre */
    DISTANCE_DATA_CENTER,
    DISTANCE_REMOTE,
};

struct view {
    struct arena arena; /* holds all of it */
    _Atomic uint32_t references;
    uint64_t version; /* grows by one with each published view of a node */
    uint32_t self;    /* member number */
    uint8_t local_data_center;
    struct topology topology;
    struct keyspace_map keyspaces;
    struct {
        enum liveness liveness;
        enum distance distance;
        bool split;   /* it holds another document of this epoch: the log has failed */
        bool unheard; /* this life of ours has not heard yet which keyspaces it knows */
        uint64_t generation;
        double phi;
    } members[MEMBERS_MAX]; /* as topology.members */
};

/* Copies of all that is given. */
struct view *view_new(const struct topology *topology, const struct keyspace_map *keyspaces,
                      uint32_t self);
struct view *view_ref(struct view *view);
void view_unref(struct view *view);

enum liveness view_liveness(const struct view *view, uint32_t member);
/* Neither known to be down nor given up (member.gone); this node itself is always alive. */
bool view_alive(const struct view *view, uint32_t member);
/* Whether a majority of the members, this one included, has told this life of the node which
 * keyspaces they know. One that has lost its disk has lost those with it. */
bool view_keyspaces_heard(const struct view *view);
enum distance view_distance(const struct view *view, uint32_t member);

/* N of the keyspace in a data centre (index), on one side of the change under way. */
uint32_t view_replicas(const struct view *view, enum topology_side side,
                       const struct keyspace *keyspace, uint32_t data_center);
/* They have the same replicas of every partition. */
bool view_keyspaces_alike(const struct view *view, const struct keyspace *a,
                          const struct keyspace *b);
/* The walk of the side that the partition is read from: replicas, then fallbacks. Empty where the
 * keyspace has none. */
void view_preference_list(const struct view *view, const struct keyspace *keyspace,
                          uint32_t data_center, uint32_t partition,
                          struct preference_list *ret_list);

/* The replicas of one partition, all data centres: first those that are read, the local data centre
 * before others, in preference order; then those that are only written, while it goes over from one
 * set to another (model/topology.h). */
struct replica_set {
    bool joint; /* two sets: a write needs its quorum in each, a read in the one that is read */
    enum topology_side read_side;
    uint32_t count;
    struct {
        uint32_t member;
        uint8_t data_center; /* on the side that it was found on: the one that is read, else the
                                other */
        uint8_t sides; /* bit `1u << side`: it belongs to that set; without a change to both */
        uint8_t side_data_centers[2]; /* on each side that it belongs to */
        bool reader;                  /* in the set that is read */
    } replicas[REPLICAS_TOTAL_MAX];
};
void view_replica_set(const struct view *view, const struct keyspace *keyspace, uint32_t partition,
                      struct replica_set *ret_set);

enum replica_role {
    ROLE_NONE,
    ROLE_WRITER, /* is written, not read: gains the partition, or has just lost it */
    ROLE_READER,
};
enum replica_role view_role(const struct view *view, const struct keyspace *keyspace,
                            uint32_t partition, uint32_t member);

#endif
