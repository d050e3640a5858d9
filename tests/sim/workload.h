/* workload.h -- the clients: who asks what of which node, and what they make of the answers.
 *
 * Safety phase: each client does one operation after the other until the budget or the time is used
 * up. Quiet phase: writes and reads through every node, then every key that was touched is read at
 * ALL (its final state) and once more at ONE through another node; all of these must succeed.
 */
#ifndef SIM_WORKLOAD_H
#define SIM_WORKLOAD_H

#include "tests/sim/history.h"

#include "base/prng.h"

struct world;
struct host;

/* What a client remembers of a key: contexts that it may hand back. */
struct remembered {
    struct bytes latest; /* empty: none */
    struct bytes older;
};

struct workload {
    struct prng prng;
    uint32_t keyspace_ids[SIM_KEYSPACES_MAX]; /* 0 until made */
    uint32_t started;                         /* operations of the safety phase */
    uint32_t running;                         /* operations without an end */
    bool touched[SIM_KEYSPACES_MAX][KEYS_MAX];
    struct remembered remembered[CLIENTS_MAX][SIM_KEYSPACES_MAX][KEYS_MAX];
    struct {
        bool wanted;
        uint32_t operation;
    } retry[CLIENTS_MAX]; /* writes whose fate their clients do not know */
    uint32_t quiet_step;
    uint32_t quiet_steps;
    uint32_t quiet_again; /* clients that were refused for want of key epochs, a bit each */
    uint32_t quiet_refused[CLIENTS_MAX]; /* their operations */
    const struct operation *final[SIM_KEYSPACES_MAX][KEYS_MAX];
};

void workload_init(struct workload *workload, uint64_t seed);
/* Makes the next keyspace through node 1; true when every node knows all of them. */
bool workload_set_up(struct world *world);
void workload_start_clients(struct world *world);
void workload_start_quiet(struct world *world);
bool workload_quiet_done(const struct world *world);

/* Events. */
/* What was planned in an earlier phase is void. */
void workload_on_client(struct world *world, uint32_t client, enum phase planned_in);
void workload_on_answer(struct world *world, struct host *host, struct message *message);
void workload_on_deadline(struct world *world, uint32_t operation);
void workload_host_down(struct world *world, uint32_t node);

#endif
