/* wait.h -- for whom and for what copies wait, counted: one entry for each cause, keyspace and
 * member, however many partitions it holds up.
 *
 * A member says it of its own copies in its vnode_report (actors/message_cluster.h); topology_waits
 * (topology_change.h) says which partitions of a change cannot take their next step. The client
 * port makes sentences of both (rpc/waits.c).
 */
#ifndef MODEL_WAIT_H
#define MODEL_WAIT_H

#include "base/arena.h"
#include "base/err.h"

/* Of a peer's, in a report; numbers are never used again. */
enum wait_cause {
    /* partitions of a change that runs */
    WAIT_RESUME = 1,   /* it is paused */
    WAIT_TURN = 2,     /* others are under way */
    WAIT_EPOCH = 3,    /* `member` has not the partition's last step in force */
    WAIT_FILL = 4,     /* `member` has not all that the change gives it there */
    WAIT_HANDS_ON = 5, /* `member` leaves, and keeps hints */
    /* copies that the reporting member fills for a change, or keyspace by keyspace after a loss */
    WAIT_SOURCE = 7,    /* `member`, a source, has not said what it holds, or cannot be reached */
    WAIT_COPY = 8,      /* the copy of `member`, a source, is not complete itself */
    WAIT_EXCHANGE = 9,  /* the last exchange with `member` did not go through: `why` */
    WAIT_MAJORITY = 10, /* of registers too few voters were heard: `member` is missing */
    WAIT_DECISION = 11, /* registers are listed, and some cannot be decided */
    /* hints of the reporting member, which leaves: for `member`; `count` are rows */
    WAIT_HINTS = 12,
    /* copies of the reporting member that were emptied, and do not vote in registers */
    WAIT_VOTES_CHANGE = 13,  /* a change is under way: it has to end first */
    WAIT_VOTES_EPOCH = 14,   /* an epoch is wanted, and not decided yet */
    WAIT_VOTES_OTHER = 15,   /* `member` has not listed its registers, or cannot be reached */
    WAIT_VOTES_EMPTIED = 16, /* `member` was emptied too, and does not vote */
    WAIT_VOTES_SETTLE = 17,  /* what the others have listed is being settled */
    /* partitions of a change: `member` mends bad rows before anybody drops its copy */
    WAIT_SOUND = 18,
    /* copies of the reporting member that its store cannot read in part: `member` does not hold all
     * that they can give */
    WAIT_UNREADABLE = 19,
    WAIT_CAUSE_COUNT
};

#define WAITS_MAX          64u
#define WAIT_WHY_BYTES_MAX 80u
/* The `why` of an exchange with a source that could not read all of its rows. */
#define WAIT_WHY_BAD_ROWS "bad rows there are not mended yet: its log has row_quarantined"

struct wait {
    enum wait_cause cause;
    uint32_t keyspace_id; /* 0: of no certain one */
    uint32_t member;      /* MEMBER_NONE: nobody in particular */
    uint32_t partition;   /* the first */
    uint32_t count;       /* of partitions */
    uint64_t since_ms;    /* wall clock of the reporting member; 0: not said. The earliest */
    const char *why;      /* printable, at most WAIT_WHY_BYTES_MAX; NULL: nothing to add */
};

struct waits {
    uint32_t count;
    uint32_t left_out; /* entries that had no room */
    struct wait list[WAITS_MAX];
};

/* One partition more that waits so (`wait->count` of them): joins an entry of the same cause,
 * keyspace and member. */
void waits_add(struct waits *waits, const struct wait *wait);
struct bytes waits_encode(struct arena *arena, const struct waits *waits);
/* CORRUPT. Causes of a newer release are left out, and counted so. Texts go to the arena. */
enum err waits_decode(struct arena *arena, struct bytes bytes, struct waits *ret_waits) MUST_USE;

#endif
