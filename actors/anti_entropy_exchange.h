/* anti_entropy_exchange.h -- inside of anti-entropy: two replicas of one partition compared and
 * made equal. anti_entropy_exchange.c asks both and goes from phase to phase, _compare.c says what
 * their answers mean, _transfer.c carries the records. One exchange serves whoever began it
 * (ae_reason); each hears of its end.
 */
#ifndef ACTORS_ANTI_ENTROPY_EXCHANGE_H
#define ACTORS_ANTI_ENTROPY_EXCHANGE_H

#include "actors/anti_entropy.h"
#include "model/exchange.h"

struct anti_entropy;

/* -- exchanges ----------------------------------------------------------------------------------
 *
 *            roots differ           leaves           some differ
 *   ROOTS ─┬─────────────▶ ALIGN ─▶ TREE ─▶ DIGESTS ──────────────▶ FETCH ◀─▶ WRITE
 *          │                         ▲        ▲  │                    │
 *          │ equal                   │        └──┴─── next page ◀─────┘ all handed over
 *          ▼                         └── next keyspace, or the end
 *        ended                  any failure: ended, not whole
 */
enum ae_phase { AE_ROOTS, AE_ALIGN, AE_TREE, AE_DIGESTS, AE_FETCH, AE_WRITE };

/* In the order in which they take the places; gains have places, and a pace, of their own. */
enum ae_reason { AE_COMPLETION, AE_DIRTY, AE_TASK, AE_SCHEDULE, AE_GAIN };

/* A question to one of the two sides. */
struct ae_ask {
    bool wanted; /* false: this side need not be asked */
    uint64_t id; /* 0: not sent */
    uint64_t sent_ns;
    uint32_t tries;
    struct message *answer; /* owned, until both sides have answered */
};

struct ae_keyspace {
    uint32_t id;
    unsigned depth; /* that both trees have */
    bool differs;
    bool empty[2];
    uint64_t floors[2];
    uint64_t reaped[2];
    bool incomplete[2];
};

/* Records at these places go from one side to the other. */
struct ae_leg {
    uint32_t source;
    uint32_t count;
    uint32_t done;
    const uint32_t *places; /* ascending, in the page's arena */
    bool *differs;          /* the receiver holds more than what came: it goes back */
};

#define AE_LEGS 4u /* there and back, from either side */

struct ae_write {
    uint64_t id; /* 0: a free place */
    uint32_t record;
    uint32_t tries;
    uint64_t sent_ns;
};

struct ae_nodes {
    uint32_t *indices; /* owned */
    uint32_t count;
    uint32_t capacity;
};

/* Keyspaces, by id, each once; the room is owned. */
struct ae_ids {
    uint32_t count;
    uint32_t capacity;
    uint32_t *ids;
};

struct ae_exchange {
    bool running;
    uint32_t slot;
    uint32_t partition;
    uint32_t members[2];
    enum ae_reason reason;
    uint64_t task;          /* AE_TASK */
    uint32_t only_keyspace; /* 0: all */
    uint64_t serial;        /* of its begin, among all that happens here */
    uint64_t began_ms;
    uint64_t salt;
    enum ae_phase phase;
    struct ae_ask asks[2];
    bool stalled; /* waits for its share of the bytes */
    uint64_t wake_ns;

    bool complete[2];
    bool self_was_complete; /* at its begin */
    uint32_t keyspace_count;
    uint32_t keyspace_at;
    struct ae_keyspace *keyspaces; /* in the arena */
    struct arena arena;

    /* the descent in one keyspace */
    unsigned level;       /* of `front` */
    unsigned fanout_bits; /* of the question that is open */
    struct ae_nodes front;
    struct ae_nodes next;
    uint32_t front_from; /* the chunk that is asked about */
    uint32_t front_to;

    /* one page of digests */
    uint64_t page_from;
    bool page_more;
    uint64_t page_through;
    uint32_t leg;
    struct ae_leg legs[AE_LEGS];
    struct arena page;

    /* one page of records */
    struct message *fetched; /* owned */
    struct exchange_records records;
    uint32_t record_next;
    uint32_t write_count;
    struct ae_write writes[ANTI_ENTROPY_WINDOW_MAX];

    const char *why;      /* ended: it had to; static. NULL: it went through to its end */
    uint64_t bytes;       /* to and from peers */
    uint64_t keys[2];     /* made durable on that side */
    uint64_t taken_bytes; /* of them, keys and records, by this node */
    uint32_t
        refused; /* records that were not taken, or keyspaces not heard of: nothing is proven */
    uint32_t damaged[2]; /* records that this side refused: its own rows are bad there. The same,
                            but a copy that is filled from it has what it gives */
    bool through;        /* ended: it went through to its end, whatever was refused */
    bool differed;
    struct ae_ids lacks; /* of these the other side could not give all: bad rows, a lost copy */
    bool left_out;       /* a keyspace whose copy is being filled: nothing is proven either */
    bool unfit;          /* the other side says that it is (tree_roots_reply) */
    bool waits;          /* for one that a change gives: a vnode that was lost waits as well */
};

/* anti_entropy_exchange.c */
struct ae_exchange_plan {
    uint32_t partition;
    uint32_t members[2];
    enum ae_reason reason;
    uint64_t task;
    uint32_t only_keyspace;
};
/* False: no place is free, or these two are being compared already. */
bool ae_exchange_begin(struct anti_entropy *ae, struct actor_context *ctx,
                       const struct ae_exchange_plan *plan);
void ae_exchange_answered(struct anti_entropy *ae, struct actor_context *ctx, uint32_t slot,
                          struct message *message);
/* Whether a question of an exchange is open that this answers. */
bool ae_exchange_expects(const struct anti_entropy *ae, const struct message *message);
void ae_exchange_tick(struct anti_entropy *ae, struct actor_context *ctx);
bool ae_exchange_runs(const struct anti_entropy *ae, uint32_t partition, uint32_t a, uint32_t b);
/* Ends it; `why` NULL: it went through to its end. */
void ae_exchange_end(struct anti_entropy *ae, struct actor_context *ctx,
                     struct ae_exchange *exchange, const char *why);
void ae_exchange_free(struct ae_exchange *exchange);
/* What the side gives of the keyspace is not all that it held. */
void ae_exchange_note_lack(const struct anti_entropy *ae, struct ae_exchange *exchange,
                           uint32_t side, uint32_t keyspace_id);
/* Ended, and one side of it was this node: all that could be read here the other side holds, whose
 * copy is complete, and can be read. */
bool ae_exchange_gave(const struct anti_entropy *ae, const struct ae_exchange *exchange);
void ae_ids_add(struct ae_ids *ids, uint32_t id);
void ae_ids_free(struct ae_ids *ids);

/* A phase, and which sides are asked in it; none: what comes next is to be found. */
void ae_exchange_enter(struct ae_exchange *exchange, enum ae_phase phase, bool first, bool second);

static inline struct ae_keyspace *ae_exchange_keyspace(const struct ae_exchange *exchange)
{
    return &exchange->keyspaces[exchange->keyspace_at];
}

/* The nodes that are asked about. */
static inline struct exchange_indices ae_exchange_chunk(const struct ae_exchange *exchange)
{
    return (struct exchange_indices){.count = exchange->front_to - exchange->front_from,
                                     .indices = exchange->front.indices + exchange->front_from};
}

/* anti_entropy_compare.c: each gives NULL, or why the exchange has to end; AE_DONE: it is through
 */
extern const char *const AE_DONE;
const char *ae_compare_roots_answered(struct anti_entropy *ae, struct actor_context *ctx,
                                      struct ae_exchange *exchange);
const char *ae_compare_align_answered(struct anti_entropy *ae, struct ae_exchange *exchange);
const char *ae_compare_tree_answered(struct anti_entropy *ae, struct ae_exchange *exchange);
const char *ae_compare_tree_next(struct ae_exchange *exchange);
const char *ae_compare_digests_answered(struct anti_entropy *ae, struct ae_exchange *exchange);
const char *ae_compare_digests_next(struct ae_exchange *exchange);
const char *ae_compare_fetch_next(struct ae_exchange *exchange);

/* anti_entropy_transfer.c: FETCH and WRITE */
/* What both sides say of a page: plans its legs. */
void ae_transfer_plan(struct ae_exchange *exchange, const struct exchange_digests digests[2]);
/* Goes to the next leg that has something left; false: the page is done. */
bool ae_transfer_next(struct ae_exchange *exchange);
struct message *ae_transfer_question(struct ae_exchange *exchange);
/* The next three give NULL, or why the exchange has to end. */
const char *ae_transfer_fetched(const struct anti_entropy *ae, struct ae_exchange *exchange);
/* Fills the window. *ret_done: all that was fetched is written. */
const char *ae_transfer_write(struct anti_entropy *ae, struct actor_context *ctx,
                              struct ae_exchange *exchange, bool *ret_done);
const char *ae_transfer_written(struct anti_entropy *ae, struct actor_context *ctx,
                                struct ae_exchange *exchange, const struct message *message);
/* When the next write is late; sends again what is. */
const char *ae_transfer_again(struct anti_entropy *ae, struct actor_context *ctx,
                              struct ae_exchange *exchange, uint64_t *ret_late_ns);
void ae_transfer_drop(struct ae_exchange *exchange);
/* After what time a question that was sent `tries` times is late. */
uint64_t ae_late_ns(const struct anti_entropy *ae, uint32_t tries);

#endif
