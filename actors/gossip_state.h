/* gossip_state.h -- inside of the gossip actor: its state, shared by liveness and digests
 * (gossip.c) and by the keyspace map and its changes (gossip_keyspaces.c). Included by these two
 * only. */
#ifndef ACTORS_GOSSIP_STATE_H
#define ACTORS_GOSSIP_STATE_H

#include "actors/gossip.h"
#include "base/heap.h"
#include "model/hlc.h"

#define HELD_MAX           256u
#define CHANGES_MAX        16u
#define NS_PER_MS          1000000u
#define PHI_REFRESH_ROUNDS 5u

enum link_state { LINK_UNKNOWN, LINK_UP, LINK_DOWN };

struct peer {
    uint32_t member;
    uint64_t generation;
    uint64_t heartbeat;
    struct detector detector;
    enum link_state link;
    enum liveness liveness;
    bool heard; /* of it, directly or through others */
};

/* A keyspace_change that waits for this node's log and for the other nodes. */
struct change {
    struct message *origin; /* NULL: free */
    uint64_t id;
    uint64_t deadline_ns;
    uint64_t sequence; /* of our own row */
    uint64_t waiting;  /* bit per peer index */
    uint32_t known_by;
    struct keyspace keyspace;
};

struct gossip {
    struct actor actor;
    struct gossip_options options;
    struct arena topology_arena;
    struct topology topology;
    struct arena *map_arena; /* heap; replaced with the map */
    struct keyspace_map map;
    uint64_t map_digest;
    struct peer peers[MEMBERS_MAX];
    uint32_t peer_count;
    struct change changes[CHANGES_MAX];
    struct heap held; /* gossip_keyspaces_reply by the sequence they wait for */
    struct hlc hlc;
    struct detector_self detector_self;
    uint64_t heartbeat;
    uint64_t round_at_ns;
    uint64_t rounds;
    uint64_t serial;
    uint64_t view_version;
    struct arena scratch;
    struct gossip_figures figures;
};

/* -- gossip.c
 * ---------------------------------------------------------------------------------------- */

struct peer *gossip_peer(struct gossip *gossip, uint32_t member);
/* A number for a request of ours. */
uint64_t gossip_id(struct gossip *gossip);
/* A view of all that is known now, to the host. */
void gossip_publish(struct gossip *gossip, struct actor_context *ctx);

/* -- gossip_keyspaces.c
 * ------------------------------------------------------------------------------ */

void gossip_send_map(struct gossip *gossip, struct actor_context *ctx, uint32_t member,
                     uint64_t id);
void gossip_on_keyspaces(struct gossip *gossip, struct actor_context *ctx,
                         const struct message *message);
void gossip_on_keyspaces_reply(struct gossip *gossip, struct actor_context *ctx,
                               const struct message *message);
/* Consumes the message. */
void gossip_on_keyspace_change(struct gossip *gossip, struct actor_context *ctx,
                               struct message *message);
void gossip_on_store_committed(struct gossip *gossip, struct actor_context *ctx, uint64_t sequence);
/* Ends a change that is done or late. */
void gossip_change_step(struct gossip *gossip, struct actor_context *ctx, struct change *change);

#endif
