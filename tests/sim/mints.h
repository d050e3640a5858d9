/* mints.h -- the shadow of every write: looks at a replica's disk before and after it mints a dot.
 *
 * So the checkers know, without asking the code under test, which dot names which operation and
 * what that write was entitled to replace: what its context covers, or, without one, what the
 * minting replica held. A mint that a crash took back stays on record; it explains nothing by
 * itself.
 */
#ifndef SIM_MINTS_H
#define SIM_MINTS_H

#include "actors/message.h"
#include "tests/sim/options.h"

struct world;
struct host;

struct mint {
    struct dot dot;
    struct clock covers; /* what it replaces, its own dot not included */
    uint64_t written_at;
    uint32_t operation;
    uint32_t start; /* life of the node that made it */
    bool kept;      /* a last-writer-wins mint may lose against what is there already */
    struct mint *next;
};

struct mints {
    struct arena arena;
    struct mint *by_key[SIM_KEYSPACES_MAX][KEYS_MAX]; /* newest first */
};

/* Between mints_before and mints_after. */
struct mint_watch {
    bool valid;
    uint32_t keyspace;
    uint32_t keyspace_id;
    uint32_t key;
    uint32_t operation;
    uint32_t partition;
    bool has_context;
    struct clock context;
    struct version_set before;
    struct arena arena;
};

void mints_init(struct mints *mints);
void mints_deinit(struct mints *mints);
void mints_before(struct host *host, const struct message *message, struct mint_watch *ret_watch);
/* Fails the world when the write did anything but what DESIGN.md 5 allows. */
void mints_after(struct host *host, struct mint_watch *watch);
/* The mint of an operation whose dot `clock` covers (one that was passed on twice has two); NULL
 * when there is none. */
const struct mint *mints_find(const struct mints *mints, uint32_t keyspace, uint32_t key,
                              uint32_t operation, const struct clock *clock);

#endif
