/* gossip.h -- who is alive, and the keyspace map; builds the view that all actors read.
 *
 * Owns:     heartbeats and failure detectors of all peers; the keyspace map, the topology document
 * in force and the slot of the next one, each with its row in STORE_META.
 * Receives: gossip_*, keyspace_change, topology_*, client_topology, client_reports,
 * vnode_report_reply, peer_link, store_committed. Sends:    the same to other nodes,
 * keyspace_change_done, client_topology_done, client_reports_done, vnode_report, view_publish.
 * Time:     a round every interval_ns (+-10 %), deadlines of changes.
 * Memory:   MEMBERS_MAX detectors, CHANGES_MAX keyspace changes, PROPOSALS_MAX topology changes,
 * the map, two documents.
 * Source:   Dynamo (SOSP 2007) 4.8; push-pull anti-entropy after Demers et al. (PODC 1987);
 *           phi accrual (model/detector.h).
 *
 * Gossip carries liveness and dissemination, never ownership (DESIGN.md 4): the next topology
 * document is decided by consensus (gossip_log.h), and what is spread here has been decided. A peer
 * is down when our link to it is down, or when its heartbeat is overdue by the detector and we have
 * not just slept ourselves. Keyspaces are last writer wins by hybrid clock (model/keyspace.h): two
 * nodes that create the same name at the same moment while cut off from each other end with one of
 * the two definitions. Two documents of one epoch cannot be; nodes that hold such name them in
 * their digests, and say so (topology_split in the log, `split` in the view). Nothing is refused
 * for it.
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
    /* Of ballots: never the same in two lives of this member, whatever became of its disk. The
     * start of its key epochs (boot.h); by default the generation. */
    uint64_t incarnation;
    /* host:port that the others reach this node at; proposed when the document has another one.
     * Empty: whatever the document says. */
    char address[ADDRESS_MAX + 1];
    /* That the views say as long as the document has the ones that they stand for (boot.h). */
    const struct boot_address *addresses;
    uint32_t address_count;
    uint64_t proposal_timeout_ns; /* 10 s */
    uint64_t phase_timeout_ns; /* after that long without a majority a round begins again; 500 ms */
    uint32_t announced_max;    /* partitions of a change under way at a time; 8 */
    uint64_t report_interval_ns; /* of who drives a change; 100 ms */
    uint64_t reports_timeout_ns; /* of a client's; 2 s */
    uint64_t interval_ns;        /* 1 s */
    uint32_t fanout;             /* 3 */
    uint64_t change_timeout_ns;  /* how long a keyspace change waits for the other nodes; 2 s */
    struct detector_options detector;
};

struct gossip_figures {
    struct counter rounds;
    struct counter maps_merged;
    struct counter convictions; /* peers that went down */
    struct counter revivals;
    struct counter self_doubts; /* rounds without convictions after a pause of our own */
    struct counter views;
    struct counter store_errors;
    struct counter answers_dropped; /* too many wait for the disk */
    struct counter documents_adopted;
    struct counter documents_split; /* peers met with another document of our epoch */
    struct counter proposals;
    struct counter proposals_refused; /* too many at a time */
    struct counter ballots;           /* rounds begun; more than proposals: others proposed too */
    struct counter documents_decided; /* in rounds of this node */
    struct counter forgotten;         /* 1: this voter has to recall what it promised */
    struct counter recalls;
    struct counter proposals_unknown; /* ended without knowing */
    struct counter unexpected;
};

struct gossip_options gossip_options_default(uint32_t self, uint64_t generation);
/* Copies all that is given. The first view is gossip_first_view; later ones are published. */
struct gossip *gossip_new(const struct gossip_options *options, const struct topology *topology,
                          const struct keyspace_map *keyspaces);
struct view *gossip_first_view(struct gossip *gossip);
void gossip_free(struct gossip *gossip);
struct actor *gossip_actor(struct gossip *gossip);
const struct gossip_figures *gossip_figures(const struct gossip *gossip);

#endif
