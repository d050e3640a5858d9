/* gossip.h -- who is alive, and the keyspace map; builds the view that all actors read.
 *
 * Owns:     heartbeats and failure detectors of all peers, the keyspace map and its row in
 * STORE_META. Receives: gossip_digest, gossip_digest_reply, gossip_keyspaces,
 * gossip_keyspaces_reply, keyspace_change, peer_link, store_committed. Sends:    the same to other
 * nodes, keyspace_change_done, view_publish. Time:     a round every interval_ns (+-10 %),
 * deadlines of keyspace changes. Memory:   MEMBERS_MAX detectors, CHANGES_MAX changes, the map.
 * Source:   Dynamo (SOSP 2007) 4.8; push-pull anti-entropy after Demers et al. (PODC 1987);
 *           phi accrual (model/detector.h).
 *
 * Gossip carries liveness and dissemination, never ownership (DESIGN.md 4). A peer is down when our
 * link to it is down, or when its heartbeat is overdue by the detector and we have not just slept
 * ourselves. Keyspaces are last writer wins by hybrid clock (model/keyspace.h): two nodes that
 * create the same name at the same moment while cut off from each other end with one of the two
 * definitions.
 */
#ifndef ACTORS_GOSSIP_H
#define ACTORS_GOSSIP_H

#include "actors/actor.h"
#include "actors/boot.h"
#include "base/counter.h"
#include "model/detector.h"

struct gossip;

struct gossip_options {
    uint32_t self;
    uint64_t generation;
    uint64_t interval_ns;       /* 1 s */
    uint32_t fanout;            /* 3 */
    uint64_t change_timeout_ns; /* how long a keyspace change waits for the other nodes; 2 s */
    struct detector_options detector;
};

struct gossip_figures {
    struct counter rounds;
    struct counter digests_received;
    struct counter maps_sent;
    struct counter maps_merged;
    struct counter convictions; /* peers that went down */
    struct counter revivals;
    struct counter self_doubts; /* rounds without convictions after a pause of our own */
    struct counter views;
    struct counter store_errors;
    struct counter unexpected;
};

struct gossip_options gossip_options_default(uint32_t self, uint64_t generation);
/* Copies topology and keyspaces. The first view is gossip_first_view; later ones are published. */
struct gossip *gossip_new(const struct gossip_options *options, const struct topology *topology,
                          const struct keyspace_map *keyspaces);
struct view *gossip_first_view(struct gossip *gossip);
void gossip_free(struct gossip *gossip);
struct actor *gossip_actor(struct gossip *gossip);
const struct gossip_figures *gossip_figures(const struct gossip *gossip);

#endif
