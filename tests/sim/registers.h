/* registers.h -- the clients of a consistent keyspace: get, put, delete and compare-and-set by
 * value, by version and if absent, on a few keys, under all faults. Some keys are counters, on
 * which every change is an increment by compare-and-set.
 *
 * A write whose outcome its client does not know is tried again under its request id, through any
 * node; each try is an attempt of its own. check_registers.c judges them when all is over: each key
 * must be linearizable, version numbers included, and a counter must count.
 *
 * Quiet phase: through every node in turn a change and a read of each key. They must succeed where
 * a majority of the key's replicas votes: one whose disk was lost does so again by then, when the
 * others were a majority; one whose row has rotted never does. The last read of each key is its
 * final state.
 */
#ifndef SIM_REGISTERS_H
#define SIM_REGISTERS_H

#include "actors/message.h"
#include "base/prng.h"
#include "tests/sim/options.h"

struct world;
struct host;

#define REGISTER_ATTEMPTS_KEY_MAX 250u /* so that judging always ends */
#define REGISTER_QUIET_ROUNDS     2u   /* of a change and a read, of each key */
#define REGISTER_ATTEMPTS_MAX                                                                      \
    (REGISTER_KEYS_MAX * (REGISTER_ATTEMPTS_KEY_MAX + 2 * REGISTER_QUIET_ROUNDS))
#define REGISTER_NONE      UINT32_MAX
#define REGISTER_VALUE_MAX 256u
#define REGISTERS_KEYSPACE "strong"

enum registers_kind {
    REGISTERS_GET,
    REGISTERS_PUT,
    REGISTERS_DELETE,
    REGISTERS_IF_VALUE,
    REGISTERS_IF_VERSION,
    REGISTERS_IF_ABSENT,
};

enum registers_end {
    REGISTERS_RUNNING,
    REGISTERS_READ,
    REGISTERS_APPLIED,
    REGISTERS_REFUSED,     /* its condition is false */
    REGISTERS_NOT_APPLIED, /* or a read without an answer */
    REGISTERS_UNKNOWN,     /* it was said so, or its node went down */
};

struct register_attempt {
    uint32_t id;    /* index */
    uint32_t write; /* the first attempt at the same change */
    enum registers_kind kind;
    enum registers_end end;
    bool remove; /* a compare-and-set that deletes */
    bool client_left;
    bool quiet;
    bool final;
    bool has_request_id;
    uint32_t key;
    uint32_t client;
    uint32_t node;
    uint64_t called_ns;
    uint64_t deadline_ns;
    uint64_t ended_ns; /* NEVER_NS while it runs */
    uint32_t value;    /* that it writes, or has read: 0 when nothing is there; of others the number
                        * of the write + 1, of a counter its count */
    uint32_t expected; /* the same of IF_VALUE */
    uint64_t expected_version;
    uint64_t expires_at_ms; /* 0: never */
    /* of the answer */
    uint64_t version;
    uint32_t value_seen; /* of one that was refused: what is there */
};

struct registers {
    struct prng prng;
    uint32_t keyspace_id;
    uint32_t started; /* attempts of the safety phase */
    uint32_t running;
    uint32_t count;
    struct register_attempt *attempts;
    uint32_t of_key[REGISTER_KEYS_MAX];
    struct {
        uint32_t value;
        uint64_t version;
    } seen[REGISTER_CLIENTS_MAX][REGISTER_KEYS_MAX];
    uint32_t retry[REGISTER_CLIENTS_MAX]; /* attempt; REGISTER_NONE */
    uint32_t quiet_step;
    bool quiet_begun;
    uint64_t rogues; /* eventual writes that were sent to replicas by mistake */
};

void registers_init(struct registers *registers, uint64_t seed);
void registers_deinit(struct registers *registers);
/* True when every node knows the keyspace, or there is none. */
bool registers_set_up(struct world *world);
void registers_start_clients(struct world *world);
/* Begins the quiet phase when it is called first; true when it is over. */
bool registers_quiet(struct world *world);
/* An answer of a client port is for these clients. */
bool registers_takes(uint64_t client);

/* Events. */
void registers_on_client(struct world *world, uint32_t client, enum phase planned_in);
void registers_on_answer(struct world *world, struct host *host, const struct message *message);
void registers_on_deadline(struct world *world, uint32_t attempt);
void registers_host_down(struct world *world, uint32_t node);

/* -- what the checkers ask ---------------------------------------------------------------------
 */

void registers_key_name(uint32_t key, char ret_name[16]);
bool registers_is_counter(const struct world *world, uint32_t key);
/* The key's replicas, and how many of them may have lost what they promised. */
uint32_t registers_acceptors(struct world *world, uint32_t key, uint32_t *ret_lost);
/* The cluster stays as it is, or no other node is without a vote: whatever sets a change makes, one
 * of three or more votes at most is lost then. */
bool registers_spare(struct world *world, uint32_t node);
/* No copy is without its vote where a majority of the others has one to give it back by. */
bool registers_vote(struct world *world);
/* A copy is without its vote, and asks for what would give it back. */
bool registers_wait(struct world *world);

#endif
