/* faults.h -- the incidents of a run: what breaks, where, from when until when. All drawn before
 * the safety phase begins, one stream of random numbers a class, so that leaving a class out
 * changes no other; all healed when it ends.
 *
 * A new one: a class in the table of options.h, a case in draw_strength, faults_on_begin and
 * faults_on_end.
 */
#ifndef SIM_FAULTS_H
#define SIM_FAULTS_H

#include "tests/sim/options.h"

#include "base/prng.h"
#include "model/identity.h"

struct world;
struct memory_disk;

#define INCIDENTS_PER_CLASS_MAX 4u
#define INCIDENTS_MAX           (INCIDENTS_PER_CLASS_MAX * FAULT_CLASS_COUNT)

struct incident {
    enum fault_class class;
    bool active;
    bool cuts_connections; /* peers notice */
    bool done;             /* of what happens once */
    bool at_sync;          /* a crash that waits for the node's next fsync and falls into it */
    uint64_t begins_at_ns;
    uint64_t ends_at_ns;
    uint32_t node; /* of those that hit one */
    uint32_t slot; /* of an actor */
    double chance; /* that a message is hit; of a disk error */
    uint64_t strength_ns;
    int64_t clock_ms;          /* a jump or skew; parts per million for drift */
    uint32_t links[NODES_MAX]; /* bit sets of receivers by sender */
    struct memory_disk *copy;  /* what a restore puts back */
    struct identity copied;    /* its generation is no greater */
};

struct faults {
    uint32_t count;
    struct incident incidents[INCIDENTS_MAX];
};

/* Draws and plans all incidents of a safety phase that begins now. */
void faults_plan(struct world *world);
void faults_on_begin(struct world *world, struct incident *incident);
void faults_on_end(struct world *world, struct incident *incident);
/* A node's log begins to be synced: the moment that some crashes wait for. */
void faults_on_sync(struct world *world, uint32_t node, uint64_t lasts_ns);
void faults_on_crash(struct world *world, struct incident *incident);
/* Ends all that is active, starts what is down, sets the clocks right. */
void faults_heal(struct world *world);
/* What incidents hold. */
void faults_deinit(struct world *world);
/* Skewed or drifting clocks exist from the first start on. */
/* Of a node that joins. */
void faults_set_clock(struct world *world, uint32_t node);
void faults_set_clocks(struct world *world);
/* The fsync latency of a node, with what is wrong with it now. */
uint64_t faults_fsync_ns(struct world *world, uint32_t node);
/* The sync that ends now fails; the process ends a little later. */
bool faults_fsync_fails(struct world *world, uint32_t node);

#endif
