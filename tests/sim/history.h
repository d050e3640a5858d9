/* history.h -- every operation of every client: what it asked, when, and what it was told.
 *
 * Each write is unique: a put by its value, a delete by an expiry time, long ago, so that any
 * version anywhere tells which operation made it.
 */
#ifndef SIM_HISTORY_H
#define SIM_HISTORY_H

#include "actors/message.h"
#include "tests/sim/options.h"

#define OPERATIONS_MAX 4096u
#define OPERATION_NONE UINT32_MAX
#define VALUE_SIZE_MAX 256u

struct world;

enum operation_kind { OPERATION_GET, OPERATION_PUT, OPERATION_DELETE };

enum operation_state {
    OPERATION_RUNNING,
    OPERATION_ENDED,
    OPERATION_CUT_OFF, /* its node went down: nobody will answer */
};

struct operation {
    uint32_t id; /* index in the history */
    uint32_t
        write;    /* what it writes is this operation's: its own, or the one that it tries again */
    bool retried; /* somebody has tried it again */
    enum operation_kind kind;
    enum operation_state state;
    bool client_left; /* gave up on a paused node */
    bool quiet;       /* of the quiet phase: must succeed */
    bool final;       /* reads a final state */
    uint32_t client;
    uint32_t node;
    uint32_t start; /* life of the node */
    uint32_t keyspace;
    uint32_t keyspace_id;
    uint32_t key;
    enum consistency level;
    uint32_t count;
    uint32_t needed;   /* distinct nodes that the level asks for */
    uint32_t replicas; /* nodes that hold the key */
    uint64_t started_ns;
    uint64_t deadline_ns; /* of the world */
    uint64_t ended_ns;
    bool has_context;
    struct bytes context;
    bool has_request_id;
    uint64_t expires_at_ms; /* 0: never */
    struct clock reaped;    /* of its key, when it began (check_reaped.c) */
    uint64_t joint;         /* the change in which both sets are written (check_change.c) */
    struct clock required;  /* what a read must have seen (check_monotonic.c) */
    uint32_t put_back;      /* disks that became older copies of themselves meanwhile */
    /* the answer */
    enum err status;
    enum outcome outcome;
    uint32_t primaries;        /* replicas that acknowledged; fallbacks are left out */
    uint32_t fallbacks;        /* that stood in for others */
    bool alone;                /* one node may have been all, and that one's disk put back */
    struct version_set set;    /* of a get */
    struct clock result_clock; /* of a put: its context */
    struct bytes result_context;
};

struct history {
    struct arena arena;
    uint32_t count;
    struct operation *operations;
};

void history_init(struct history *history);
void history_deinit(struct history *history);
struct operation *history_add(struct history *history);

/* Whether it asks for a strict quorum itself: one in eight, by what it writes, so that a retry asks
 * for the same. */
static inline bool operation_is_strict(const struct operation *operation)
{
    return operation->write % 8 == 3;
}

/* The bytes of a put's value. */
struct bytes history_value(uint32_t operation, uint8_t memory[VALUE_SIZE_MAX]);
/* What a delete carries as its expiry. */
uint64_t history_delete_mark(uint32_t operation);
/* The operation that wrote this version, OPERATION_NONE when nobody can have. */
uint32_t history_writer(const struct history *history, const struct version *version);

void key_name(uint32_t key, char ret_name[16]);
/* False: not one of ours. */
bool key_parse(struct bytes name, uint32_t *ret_key);
/* Copies of all that a set is made of. */
struct version_set version_set_copy(struct arena *arena, const struct version_set *set);
struct clock clock_copy(struct arena *arena, const struct clock *clock);

#endif
