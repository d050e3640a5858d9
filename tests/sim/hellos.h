/* hellos.h -- who is on the other end of a connection: before a link is used each of the two judges
 * the other (actors/incarnation.h), and remembers durably whom it has met. A node that is told that
 * its directory has forgotten ends, and starts as a new incarnation.
 */
#ifndef SIM_HELLOS_H
#define SIM_HELLOS_H

#include "tests/sim/options.h"

#include "actors/boot.h"

struct world;
struct host;

/* Of one host. */
struct hellos {
    struct identity_hello mine;
    uint64_t epoch_bound;
    struct incarnation rows[NODES_MAX]; /* by index */
    uint64_t sequences[NODES_MAX];      /* of the store handle: when the row is durable */
    uint64_t raised;                    /* generation that is being made durable; 0: none */
    uint64_t generation;                /* raised since the start; `mine` has that of the start */
    uint64_t raised_sequence;
    bool accepted; /* by a peer, in this life */
    bool renewing;
    struct incarnation_answer answer;
};

/* The host has booted: reads its rows. */
void hellos_started(struct host *host, const struct boot *boot);
/* Raises the generation of the directory, or tells the peers of it (boot_raise_generation). */
void hellos_on_raise(struct host *host);
/* Every other node knows, durably, that this one has gone on since that directory was copied. */
bool hellos_past(const struct world *world, uint32_t node, const struct identity *copied);
/* Before the boot: what was told to it before it ended. */
void hellos_renew(struct host *host);
/* Whether a link between the two may be used now. False: later, or one of them ends meanwhile. */
bool hellos_admit(struct world *world, uint32_t one, uint32_t other);
/* Every other node has a durable row of this life, or one of it as a later one. */
bool hellos_known_everywhere(const struct world *world, uint32_t node);

#endif
