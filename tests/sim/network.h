/* network.h -- what happens to a message between two nodes: encoded by the real codec when it
 * leaves, decoded when it arrives; delayed, lost, doubled, reordered, held or cut off by the
 * incidents of the moment (faults.h). Peers' connections are told up and down with the lag of the
 * real ones.
 */
#ifndef SIM_NETWORK_H
#define SIM_NETWORK_H

#include "tests/sim/options.h"

#include "actors/message.h"
#include "base/prng.h"

struct world;
struct host;
struct event;

struct network {
    struct prng prng;
    struct prng link_prng;
    struct arena scratch;
    uint64_t faulty_until_ns; /* the last arrival of what was sent before the faults healed */
    uint64_t last_arrival_ns[NODES_MAX][NODES_MAX];
    struct {
        bool usable;               /* as the world is */
        bool announced;            /* as the node was told last in its present life */
        uint32_t start;            /* the peer's life that this was about */
        uint64_t serial;           /* of the changes of `usable` */
        uint64_t told_down_ns;     /* when the node was told so last */
    } links[NODES_MAX][NODES_MAX]; /* from, to */
};

void network_init(struct network *network, uint64_t seed);
void network_deinit(struct network *network);
/* Consumes the message. */
void network_send(struct world *world, struct host *from, struct message *message,
                  uint64_t leaves_at_ns);
void network_on_remote(struct world *world, struct event *event);
/* After a node came or went, or a partition began or healed. */
void network_links_changed(struct world *world);
void network_on_link(struct world *world, const struct event *event);
/* The node learns that the peer's life that it knows is over. */
void network_told_down(struct world *world, uint32_t node, uint32_t peer);
/* The node starts again: it has been told nothing yet. */
void network_host_started(struct world *world, uint32_t node);

#endif
