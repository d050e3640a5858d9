/* options.h -- everything that one seed decides before the run starts: the cluster, the workload,
 * the network, and which fault classes are on ("swarm": each in a random half of the seeds).
 */
#ifndef SIM_OPTIONS_H
#define SIM_OPTIONS_H

#include "model/keyspace.h"

#include <stdio.h>

#define NODES_FIRST_MAX   9u  /* that a run begins with */
#define NODES_MAX         12u /* with those that join */
#define CLIENTS_MAX       16u
#define KEYS_MAX          64u
#define SIM_KEYSPACES_MAX 3u
#define SIM_CENTERS_MAX   3u

#define REGISTER_KEYS_MAX    6u
#define REGISTER_CLIENTS_MAX 8u

#define MS_NS     1000000u
#define SECOND_NS 1000000000u

/* X(class, name). A network class acts on messages, the others on nodes. */
#define FAULT_TABLE(X)                                                                             \
    X(DELAY, "delay")                                                                              \
    X(LOSS, "loss")                                                                                \
    X(DUPLICATE, "duplicate")                                                                      \
    X(REORDER, "reorder")                                                                          \
    X(CLOG, "clog")                                                                                \
    X(SPLIT, "partition-split")                                                                    \
    X(ISOLATE, "partition-isolate")                                                                \
    X(ONE_WAY, "partition-one-way")                                                                \
    X(BRIDGE, "partition-bridge")                                                                  \
    X(RING, "partition-ring")                                                                      \
    X(RESTART, "restart")                                                                          \
    X(CRASH, "crash")                                                                              \
    X(POWER_ONE, "power-cut-one")                                                                  \
    X(POWER_ALL, "power-cut-all")                                                                  \
    X(PAUSE_NODE, "pause-node")                                                                    \
    X(PAUSE_ACTOR, "pause-actor")                                                                  \
    X(SKEW, "clock-skew")                                                                          \
    X(DRIFT, "clock-drift")                                                                        \
    X(JUMP, "clock-jump")                                                                          \
    X(FSYNC_SLOW, "fsync-slow")                                                                    \
    X(FSYNC_ERROR, "fsync-error")                                                                  \
    X(STALL, "disk-stall")                                                                         \
    X(WIPED, "wiped")                                                                              \
    X(RESTORED, "restored")                                                                        \
    X(CLONED, "cloned")                                                                            \
    X(CORRUPT, "corrupt")                                                                          \
    X(OVERLOADED, "overloaded")                                                                    \
    X(READ_ERROR, "read-error")                                                                    \
    X(MEMBERSHIP, "membership")                                                                    \
    X(CENTER, "partition-data-centre")

enum fault_class {
#define X(class, name) FAULT_##class,
    FAULT_TABLE(X)
#undef X
        FAULT_CLASS_COUNT
};

const char *fault_class_name(enum fault_class class);
/* FAULT_CLASS_COUNT when there is none of that name. */
enum fault_class fault_class_parse(const char *name);

enum phase { PHASE_SETUP, PHASE_SAFETY, PHASE_SETTLE, PHASE_IDLE, PHASE_QUIET, PHASE_END };

struct sim_keyspace {
    char name[16];
    enum keyspace_conflict conflict;
    uint8_t n;
    enum consistency read_level;
    enum consistency write_level;
    uint8_t read_count;
    uint8_t write_count;
    bool strict; /* hints never count for a write */
};

/* Keys of a consistent keyspace, beside those above (registers.h). */
struct sim_registers {
    uint32_t keys;     /* 0: there is no such keyspace in this run */
    uint32_t counters; /* the first ones of these */
    uint8_t n;
    uint32_t clients;
    uint32_t operations_max; /* of all clients in the safety phase */
    uint64_t think_mean_ns;
    double write_share;
    double request_share; /* of changes, with an id under which they are tried again */
    double ttl_share;     /* of puts */
};

struct sim_options {
    uint64_t seed;
    uint32_t nodes_first;  /* 3..NODES_FIRST_MAX */
    uint32_t nodes;        /* and those that have joined meanwhile */
    uint32_t changes;      /* of the topology, that are begun */
    uint32_t data_centers; /* 1..SIM_CENTERS_MAX */
    uint32_t partitions;
    uint32_t coordinators; /* on each node */
    uint32_t shards;       /* on each node */
    uint32_t requests_max; /* of a coordinator */
    uint32_t held_max;     /* answers that a replica shard holds */
    uint32_t epoch_lease;  /* 0: as in production */
    uint32_t keyspace_count;
    struct sim_keyspace keyspaces[SIM_KEYSPACES_MAX];
    uint32_t clients;
    uint32_t keys;           /* hot keys of each keyspace */
    uint32_t operations_max; /* of all clients in the safety phase */
    uint64_t think_mean_ns;
    double write_share;        /* of operations */
    double delete_share;       /* of those */
    double context_share;      /* of writes that hand back a context */
    double ttl_share;          /* of puts, that expire within about the length of the run */
    double request_share;      /* of writes, with an id under which they are tried again */
    uint64_t reap_after_ms;    /* how long dead records are left alone */
    uint64_t compare_every_ns; /* anti-entropy's turns */
    uint64_t reap_every_ns;    /* the reaper's */
    uint64_t hint_bytes_max;   /* for one target; 0: as in production */
    bool graves;               /* keys are deleted, reaped and written again all the time */
    bool gives_up;       /* a disk may be lost of which another copy has just rotted (given_up.h) */
    bool late;           /* and a few messages come long after what they speak of was reaped */
    bool rush;           /* changes under a dense load (draw_rush) */
    bool hoarding;       /* writers hand back the context of a key that was not there yet */
    double local_share;  /* of operations at LOCAL_QUORUM and LOCAL_ONE */
    double quorum_share; /* of the rest at QUORUM; the others draw any level */
    uint64_t safety_ns;
    uint32_t batch_max;     /* messages an actor drains at once */
    uint64_t step_cost_ns;  /* of one message */
    uint64_t delay_min_ns;  /* network, one way */
    uint64_t delay_mean_ns; /* exponential on top */
    uint64_t fsync_mean_ns;
    uint32_t faults; /* bit set of enum fault_class */
    struct sim_registers registers;
};

/* The same seed, the same options. `without` are fault classes to leave out whatever the seed says.
 */
struct sim_options sim_options_draw(uint64_t seed, uint32_t without);
void sim_options_print(const struct sim_options *options, FILE *file);

/* Key epochs may be used up for the time of a sync, or of a disk that took nothing when they were
 * asked for last: who is refused asks again. */
static inline bool sim_options_starved(const struct sim_options *options)
{
    return options->epoch_lease > 0;
}

static inline bool sim_options_has(const struct sim_options *options, enum fault_class class)
{
    return (options->faults & (1u << class)) != 0;
}

#endif
