/* view.h -- what a step may know of the cluster: an immutable picture, replaced as a whole.
 *
 * Built by the gossip actor, published by the host (RCU in production), read as ctx->view for one step
 * only. Counted: whoever keeps one holds a reference.
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
/* Not known to be down; this node itself is always alive. */
bool view_alive(const struct view *view, uint32_t member);

/* The replicas of one key, all data centres, local one first, in preference order. */
struct replica_set {
    uint32_t count;
    struct {
        uint32_t member;
        uint8_t data_center;
    } replicas[REPLICAS_TOTAL_MAX];
};
void view_replica_set(const struct view *view, const struct keyspace *keyspace, uint32_t partition,
                      struct replica_set *ret_set);

#endif
