/* world.h -- one simulated cluster: its time, its events, its phases.
 *
 * Everything happens as events of one heap, ordered by time; what falls on the same nanosecond is
 * ordered by the seed. Phases: setup (keyspaces are made, no faults) -> safety (clients and faults)
 * -> settle (all faults healed, requests end, gossip finds everyone, replicas get equal) -> idle
 * (nobody asks anything, nothing is handed over) -> quiet (every request must succeed; final states
 * are read) -> end.
 */
#ifndef SIM_WORLD_H
#define SIM_WORLD_H

#include "base/heap.h"
#include "tests/sim/check.h"
#include "tests/sim/faults.h"
#include "tests/sim/given_up.h"
#include "tests/sim/history.h"
#include "tests/sim/host.h"
#include "tests/sim/keyspaces.h"
#include "tests/sim/mints.h"
#include "tests/sim/network.h"
#include "tests/sim/options.h"
#include "tests/sim/paths.h"
#include "tests/sim/random.h"
#include "tests/sim/registers.h"
#include "tests/sim/steward.h"
#include "tests/sim/trace.h"
#include "tests/sim/workload.h"

enum event_kind {
    EVENT_STEP,      /* node, slot: an actor's turn; number: which of its planned turns */
    EVENT_LOCAL,     /* node, slot, message: from an actor of the same node */
    EVENT_EDGE,      /* message: an answer reaches the client port */
    EVENT_REMOTE,    /* node, from, bytes: an encoded message arrives; slot: it was doubled */
    EVENT_SYNC_DONE, /* node, number: the mark */
    EVENT_SYNC_PERIODIC,
    EVENT_RAISE,             /* node: its generation */
    EVENT_LINK,              /* node, from, number: serial of the link's state */
    EVENT_RESTART,           /* node */
    EVENT_CLIENT,            /* slot: a client's next operation */
    EVENT_DEADLINE,          /* number: operation that must have ended */
    EVENT_REGISTER_CLIENT,   /* the same for consistent keyspaces */
    EVENT_REGISTER_DEADLINE, /* number: attempt */
    EVENT_INCIDENT,          /* number: incident that begins */
    EVENT_INCIDENT_END,      /* number */
    EVENT_CRASH,             /* number: incident whose moment has come */
    EVENT_PHASE,             /* looks whether the phase is over */
    EVENT_STEWARD,           /* the steward's next look */
    EVENT_LEFT,              /* node: it has learnt that it is no member any more */
};

struct event {
    enum event_kind kind;
    uint32_t node;  /* index from 0 */
    uint32_t start; /* of the node: an event for an earlier life of it is void */
    uint32_t slot;
    uint32_t from;
    uint64_t number;
    struct message *message; /* owned */
    uint8_t *bytes;          /* owned */
    size_t size;
    struct event *next; /* in the list of unused ones */
};

struct failure {
    bool failed;
    char checker[32];
    char what[512];
};

struct world_figures {
    uint64_t steps;
    uint64_t messages_local;
    uint64_t messages_remote;
    uint64_t undelivered;       /* no connection, and the sender knew */
    uint64_t requests_messages; /* between nodes, without gossip and anti-entropy */
    uint64_t anti_entropy_messages;
    /* among them records that are handed over; while all is idle, of what is not reaped already */
    uint64_t anti_entropy_writes;
    uint64_t anti_entropy_digests; /* and questions about leaves whose trees differ */
    uint64_t fired[FAULT_CLASS_COUNT];
    uint64_t fired_moving[FAULT_CLASS_COUNT]; /* of these, while a change of the topology ran */
    uint64_t paths[PATH_COUNT];
    struct steward_figures steward;
    uint64_t renewals;         /* nodes that began as new incarnations */
    uint64_t reaped;           /* records that a replica removed */
    uint64_t crashes_unsynced; /* crashes with writes that were not durable */
    struct {
        uint64_t messages;
        uint64_t operations; /* attempts */
        uint64_t retried;
        uint64_t ends[REGISTERS_UNKNOWN + 1]; /* by enum registers_end */
        uint64_t rotten;                      /* rows */
        uint64_t without_majority;            /* refused in a healed cluster, rightly */
        uint64_t judged;                      /* keys */
        uint64_t counters;
    } registers;
    uint64_t last_rotten; /* rows, of keys whose other copy was lost */
    uint64_t given_up;    /* keys */
    uint64_t holes;       /* blocks that cannot be read */
};

struct world {
    struct sim_options options;
    uint64_t now_ns;
    enum phase phase;
    uint64_t phase_since_ns;
    uint64_t looked_same_ns; /* when all keys were compared last */
    char waits_for[96];      /* what its end waits for */
    struct heap events;
    struct event *unused;
    struct prng order;
    struct trace trace;
    struct log log; /* of the actors, into the trace */
    struct arena arena;
    struct topology first;    /* what the nodes are started with */
    struct topology topology; /* the newest that is in force anywhere */
    struct host hosts[NODES_MAX];
    struct network network;
    struct faults faults;
    struct steward steward;
    struct history history;
    struct workload workload;
    struct registers registers;
    struct keyspaces keyspaces;
    struct mints mints;
    struct given_up given_up;
    struct check check;
    struct failure failure;
    struct world_figures figures;
};

struct world_result {
    struct failure failure;
    uint64_t hash;
    uint64_t events;
    uint64_t operations;
    uint64_t operations_ok;
    uint64_t simulated_ns;
    struct world_figures figures;
};

/* Runs a seed to its end or to its first failure. With `text` lines are made, to `stream` or only
 * for the last ones, which then are printed to stderr on a failure. */
struct world_result world_run(const struct sim_options *options, bool text, FILE *stream);

/* The last lines of the run under way, when they are only kept: for a process that is about to end.
 */
void world_print_last(FILE *file);

/* An event at `at_ns` (not before now); the caller fills the rest. */
struct event *world_plan(struct world *world, uint64_t at_ns, enum event_kind kind);
/* One of this life of the host: over when that is. */
struct event *world_plan_host(struct host *host, uint64_t at_ns, enum event_kind kind);
/* The partition of a key. */
uint32_t world_partition(const struct world *world, uint32_t keyspace_id, struct bytes key);
/* The first failure counts; the run ends after the event that found it. */
__attribute__((format(printf, 3, 4))) void world_fail(struct world *world, const char *checker,
                                                      const char *format, ...);

static inline void world_fired(struct world *world, enum fault_class class)
{
    world->figures.fired[class]++;
    world->figures.fired_moving[class] += world->topology.change.state == CHANGE_RUNNING;
}

static inline bool world_has(const struct world *world, enum fault_class class)
{
    return sim_options_has(&world->options, class);
}

#endif
