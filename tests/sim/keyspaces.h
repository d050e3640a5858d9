/* keyspaces.h -- the keyspaces that clients make: those of the workload before it begins, others
 * while everything breaks. What was acknowledged must be known to every node at the end, and all
 * nodes must hold the same map.
 */
#ifndef SIM_KEYSPACES_H
#define SIM_KEYSPACES_H

#include "tests/sim/options.h"

#include "actors/message.h"

struct world;

#define KEYSPACE_ASKS_MAX 24u

struct keyspaces {
    uint32_t count;
    struct keyspace_ask {
        char name[16];
        uint32_t node;
        enum { KEYSPACE_ASKED, KEYSPACE_MADE, KEYSPACE_REFUSED, KEYSPACE_CUT_OFF } state;
    } asks[KEYSPACE_ASKS_MAX];
};

/* Asks a node that is up for the next keyspace of the workload; false when all were asked for. */
bool keyspaces_ask_wanted(struct world *world);
/* One more, of no use to anyone; nothing when there are enough. */
void keyspaces_ask_extra(struct world *world, uint32_t node);
void keyspaces_on_done(struct world *world, const struct keyspace_change_done *done);
void keyspaces_host_down(struct world *world, uint32_t node);
/* Every change has an answer and every node the same map. */
bool keyspaces_settled(const struct world *world);
/* The checker. */
void keyspaces_check(struct world *world);

#endif
