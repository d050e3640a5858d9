/* replica_gain.h -- inside of a replica shard: what a change of the topology gives this member, and
 * what it takes away, by (partition, keyspace).
 *
 * The view says of each one what this member is: none, writer or reader (view.h). A writer that is
 * in the next set alone *gains* it, from the epoch of the announcement on:
 *
 *     none ----------------------> nothing of it counts here, and what there is is removed
 *     gains, row of another epoch, or no row: the same, then
 *         EMPTY{epoch of the announcement}: takes writes once the floor was adopted; anti-entropy
 *             fills it
 *         FILLED{epoch}: the change may go on
 *     reader --------------------> holds it, unless its row says EMPTY
 *
 * Who gains has been a writer without a break since the announcement that its row names, or the row
 * is void: an announcement that was taken back and made again has another epoch. Nobody becomes a
 * reader before all that gain have said FILLED of this announcement, so a reader needs no row. One
 * whose copy was lost since (its directory was put back) has EMPTY there again, and is filled from
 * those that are read, whatever is announced meanwhile (anti_entropy_gains.c). So has one whose
 * vnode was lost and filled but for this keyspace, of which another replica could not read all
 * rows; then the epoch is 0, that of no announcement.
 *
 * Removing: the whole partition is dropped when no keyspace that stays has anything in it;
 * otherwise the rows of those that go are removed by a scan, a slice at a time, and neither written
 * nor read until it is through. A crash at any point begins that again: the row EMPTY is staged
 * behind all removals, and without it nothing of a gain counts.
 *
 * An answer that was held when its copy went needs no care of its own. It speaks for a write that
 * was planned before the copy's last step; the sets of two neighbouring steps have one in common
 * that both write, and that one has the write or has refused it (replica_fence.c).
 *
 * Included by replica*.c only.
 */
#ifndef ACTORS_REPLICA_GAIN_H
#define ACTORS_REPLICA_GAIN_H

#include "actors/view.h"
#include "model/hash.h"

/* What the view says of this member and one keyspace of a vnode. */
struct vnode_part {
    enum replica_role role;
    uint64_t announced; /* epoch, when it gains it; 0: it does not */
    bool drops_out;     /* both sets are written, and it is in the old one alone */
};

enum gain_state { GAIN_NONE, GAIN_EMPTY, GAIN_FILLED };

/* As the row says. */
struct vnode_gain {
    enum gain_state state;
    uint64_t epoch;       /* of the announcement */
    uint64_t incarnation; /* another one each time that it was emptied */
    bool told;            /* to anti-entropy */
    bool lost;            /* it is read: it was filled once */
};

struct vnode;

/* Keyspaces of the view that have the same replicas everywhere share one place. */
struct gain_group {
    const struct keyspace *keyspace; /* of the view that is looked at; void after the step */
    uint32_t group;
};

struct gain_table {
    bool viewed;
    uint64_t view_version;
    uint64_t topology_epoch;
    uint64_t keyspaces_digest;
    uint32_t cursor; /* vnodes below have been looked at under this view */
    bool again;      /* one of them could not be dealt with: from the first one on, later */
    uint64_t look_ns;
    struct vnode *swept; /* NULL: no sweep is under way */
    uint64_t sweep_ns;   /* its next slice */
    size_t cursor_size;
    uint8_t sweep_cursor[STORAGE_KEY_BYTES_MAX];
};

#endif
