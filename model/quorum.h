/* quorum.h -- how many answers are enough: N, R, W arithmetic for every consistency level.
 *
 * Pure bookkeeping for one request: which replicas there are (by data centre), which have answered,
 * which have failed. Counts distinct nodes; an answer of a node that has already answered, or that
 * is no replica, changes nothing. Levels mean what they mean in Cassandra:
 *
 *   ONE           any one replica              LOCAL_ONE     any one of the local data centre
 *   QUORUM        majority of all replicas     LOCAL_QUORUM  majority of the local data centre
 *   ALL           every replica                EACH_QUORUM   a majority in every data centre
 *   COUNT         an explicit r or w over all replicas
 *
 * While a partition goes over there are two sets of replicas, and each must meet the level by
 * itself: an answer counts in every set that its node is in. A count that is greater than one of
 * the two sets means all of that one.
 */
#ifndef MODEL_QUORUM_H
#define MODEL_QUORUM_H

#include "base/err.h"
#include "model/limits.h"

#include <stdbool.h>
#include <stdint.h>

enum consistency {
    CONSISTENCY_DEFAULT, /* the keyspace's */
    CONSISTENCY_ONE,
    CONSISTENCY_QUORUM,
    CONSISTENCY_ALL,
    CONSISTENCY_LOCAL_ONE,
    CONSISTENCY_LOCAL_QUORUM,
    CONSISTENCY_EACH_QUORUM,
    CONSISTENCY_COUNT, /* explicit count */
};

const char *consistency_text(enum consistency level); /* "ONE", ... */

enum quorum_state {
    QUORUM_PENDING, /* more answers are needed and can still come */
    QUORUM_MET,
    QUORUM_IMPOSSIBLE, /* too many have failed */
};

#define QUORUM_SETS_MAX 2u

struct quorum_set {
    uint8_t replica_count;
    uint8_t acked_total;
    uint8_t failed_total;
    uint8_t needed_total;             /* over all data centres; 0 where counted per centre */
    uint8_t needed[DATA_CENTERS_MAX]; /* per data centre; 0 = none needed there */
    uint8_t acked[DATA_CENTERS_MAX];
    uint8_t failed[DATA_CENTERS_MAX];
    uint8_t replicas[DATA_CENTERS_MAX];
};

struct quorum {
    enum consistency level;
    uint32_t count; /* r or w */
    uint8_t local_data_center;
    uint8_t data_center_count;
    uint8_t replica_count; /* distinct, of both sets */
    uint8_t set_count;
    struct quorum_set sets[QUORUM_SETS_MAX];
    struct {
        uint32_t member;
        uint8_t state;                         /* enum replica_state */
        uint8_t sets;                          /* bit per set that it is in */
        uint8_t data_centers[QUORUM_SETS_MAX]; /* where it is, by set */
    } members[REPLICAS_TOTAL_MAX];
};

enum replica_state { REPLICA_WAITING, REPLICA_ACKED, REPLICA_FAILED };

/* `count` is r or w for CONSISTENCY_COUNT, else ignored. Replicas are added afterwards, each once;
 * then quorum_seal computes what is needed.
 * quorum_seal: INVALID when count is 0 or more than any set has replicas; UNAVAILABLE when the
 * level asks for a data centre in which one of the sets has no replica. EACH_QUORUM asks for those
 * that have replicas. */
void quorum_init(struct quorum *quorum, enum consistency level, uint32_t count,
                 uint8_t local_data_center);
/* There is one set. */
void quorum_add_replica(struct quorum *quorum, uint32_t member, uint8_t data_center);
/* There are two: `sets` has a bit for each that it is in, and `data_centers` where it is there. */
void quorum_add_joint_replica(struct quorum *quorum, uint32_t member, uint8_t sets,
                              const uint8_t data_centers[QUORUM_SETS_MAX]);
enum err quorum_seal(struct quorum *quorum) MUST_USE;

enum quorum_state quorum_ack(struct quorum *quorum, uint32_t member);
/* This member will not answer (refused, known dead, timed out). The first outcome of a member
 * stands: an answer after its failure changes nothing. */
enum quorum_state quorum_fail(struct quorum *quorum, uint32_t member);
/* Its answer does not count after all: it is waited for again. Changes nothing unless it counted.
 */
void quorum_take_back(struct quorum *quorum, uint32_t member);
enum quorum_state quorum_state(const struct quorum *quorum);
/* For errors: "k of n", of the set that is worse off. With counts per data centre: sums over those
 * that matter, answers beyond what a data centre needs left out. */
void quorum_progress(const struct quorum *quorum, uint32_t *ret_acked, uint32_t *ret_needed);
/* Whether answers from this data centre can count: LOCAL_* levels never wait for another one. */
bool quorum_counts_in(const struct quorum *quorum, uint8_t data_center);
/* Whether any two such quorums have a replica in common. One set. */
bool quorum_overlaps(const struct quorum *quorum);

#endif
