/* check.h -- the checkers: one file each, always on, each sees the run through a few calls.
 *
 *   check_dots.c       a dot names one content for ever, an epoch one key of a node
 *   check_leases.c     a key epoch is used only below a lease that is on disk
 *   check_lost.c       no acknowledged write is lost, nothing replaced comes back
 *   check_durable.c    what a node acknowledges or shows is on its disk
 *   check_hints.c      a hint is forgotten when its target has it on disk
 *   check_reaped.c     tombstones are reaped by proof, and what they covered stays away
 *   check_detector.c   who was paused himself convicts nobody
 *   check_phantom.c    only what was written is read
 *   check_monotonic.c  a quorum read never goes behind an earlier quorum read or write
 *   check_centers.c    nor a local quorum read behind an earlier local quorum; levels are met where
 *                      they say
 *   check_outcome.c    applied, not applied and unknown are never mixed up
 *   check_bounds.c     siblings, clocks, messages stay within bounds
 *   check_ends.c       every request ends in time; after healing it succeeds
 *   check_converged.c  what was read at ALL is what every replica holds
 *   check_same.c       without any read all replicas get equal, and then all is silent
 *   check_held.c       with all hints delivered W replicas hold each acknowledged write
 *   check_change.c     what a change of the cluster must keep, with each step of it
 *   check_refilled.c   a lost copy that votes again holds what the others held when it was emptied
 *   check_log.c        votes and documents of the topology are durable when they are told
 *   check_registers.c  keys of consistent keyspaces are linearizable
 *   check_trees.c      a hash tree says what its rows say
 *   check_put_back.c   what a copy of a disk takes back that nobody can see
 *   keyspaces.c        no acknowledged keyspace is lost
 * and mints.c: a write removes what it is entitled to, no more.
 */
#ifndef SIM_CHECK_H
#define SIM_CHECK_H

#include "actors/message.h"
#include "tests/sim/options.h"

struct replica_set;
struct world;
struct host;
struct memory_disk;
struct operation;
struct register_attempt;

#define REPLICAS_SIM_MAX   10u /* two data centres of five */
#define PARTITIONS_SIM_MAX 32u

struct dot_shadow {
    uint64_t identity; /* hash of keyspace, key and dot; 0: free */
    uint64_t content;
};

/* A copy that was lost, since its node's anti-entropy knows of it. */
struct refill {
    uint32_t start; /* of the node */
    uint64_t incarnation;
    uint64_t emptied;     /* times, so far */
    uint64_t others_lost; /* copies of the partition */
    uint64_t step;        /* epoch of the partition's last one */
};

struct check {
    struct arena arena;
    /* check_dots.c: open addressing, a power of two */
    struct dot_shadow *dots;
    size_t dot_count;
    size_t dot_capacity;
    /* check_monotonic.c: what `index` nodes have been said to hold durably */
    struct clock acknowledged[SIM_KEYSPACES_MAX][KEYS_MAX][REPLICAS_SIM_MAX + 1];
    /* check_centers.c: what a majority in data centre `index` has been said to hold durably */
    struct clock local_quorums[SIM_KEYSPACES_MAX][KEYS_MAX][SIM_CENTERS_MAX];
    /* check_change.c: what quorums had acknowledged when its partition was last announced */
    struct clock announced[SIM_KEYSPACES_MAX][KEYS_MAX];
    /* check_refilled.c */
    struct refill refills[NODES_MAX][PARTITIONS_SIM_MAX];
    struct clock refilled_from[NODES_MAX][SIM_KEYSPACES_MAX][KEYS_MAX];
    /* given_up.c: when, 0: never; and what sound copies held then */
    uint64_t gave_up_ns[SIM_KEYSPACES_MAX][KEYS_MAX];
    struct clock left[SIM_KEYSPACES_MAX][KEYS_MAX];
    /* check_reaped.c: what replicas have removed */
    struct clock reaped[SIM_KEYSPACES_MAX][KEYS_MAX];
    /* the last round, by its driver */
    uint64_t reap_began_ns[NODES_MAX][PARTITIONS_SIM_MAX];
    /* check_same.c: as the silence began */
    struct {
        uint64_t requests_messages;
        uint64_t register_messages;
        bool registers_wait;
        bool trees_suspect;
        uint64_t anti_entropy_writes;
        uint64_t anti_entropy_digests;
        uint64_t reaped; /* when all was the same */
    } idle;
    /* check_outcome.c: operations that were said to be not applied */
    uint8_t *not_applied;
    uint8_t *minted;
};

void check_init(struct check *check);
void check_deinit(struct check *check);

/* A message leaves for another node; has arrived from one. */
void check_sent(struct world *world, const struct host *from, const struct message *message);
void check_arrived(struct world *world, const struct host *host, const struct message *message);
void check_minted(struct world *world, uint32_t operation);
/* The write is tried again: what its first attempt was told says nothing any more. */
void check_retried(struct world *world, uint32_t write);
/* Around an operation; `done` is what the client got. */
void check_began(struct world *world, struct operation *operation);
void check_get_ended(struct world *world, struct operation *operation,
                     const struct client_get_done *done);
void check_put_ended(struct world *world, struct operation *operation,
                     const struct client_put_done *done);
/* Around what a node does: a request arrives at a replica or a keeper of hints; its answer leaves;
 * the node goes down. */
void check_durable_asked(struct host *host, const struct message *message);
void check_durable_answered(struct host *host, const struct message *answer);
void check_durable_forget(struct host *host);
void check_log_asked(struct host *host, const struct message *message);
void check_log_answered(struct host *host, const struct message *answer);
void check_log_view(struct host *host);
/* Around an answer to a hint that was sent. */
struct hints_watch {
    struct arena arena;
    uint64_t delivered;
    uint32_t target;
    struct row *rows;
};
void check_hints_before(struct host *host, const struct message *message,
                        struct hints_watch *ret_watch);
void check_hints_after(struct host *host, struct hints_watch *watch);
void check_hints_finally(struct world *world);
/* Around a removal of what is dead everywhere. */
struct reap_watch {
    struct arena arena;
    uint32_t keyspace;
    uint32_t keyspace_id;
    uint32_t driver; /* index */
    bool held[KEYS_MAX];
    struct version_set sets[KEYS_MAX];
};
void check_reap_before(struct host *host, const struct message *message,
                       struct reap_watch *ret_watch);
void check_reap_after(struct host *host, struct reap_watch *watch, uint64_t floor);
/* Each version of the record is dead, and was removed by a replica already. */
bool check_reaped_is(struct world *world, const struct replica_write *write);
/* A round of reaping begins. */
void check_reap_began(struct host *host, const struct message *message);
/* Around a write that comes to a replica. */
struct write_watch {
    uint32_t keyspace;
    uint32_t key;
};
void check_reaped_before(struct host *host, const struct message *message,
                         struct write_watch *ret_watch);
void check_reaped_after(struct host *host, const struct write_watch *watch);
void check_reaped_read(struct world *world, const struct operation *operation);
/* The clock of all that was reaped of a key so far; joined with another one. */
struct clock check_reaped(const struct world *world, uint32_t keyspace, uint32_t key);
struct clock check_with_reaped(struct world *world, uint32_t keyspace, uint32_t key,
                               const struct clock *clock, struct arena *arena);
/* The same for a key by its name. */
struct clock check_explained(struct world *world, uint32_t keyspace_id, struct bytes key,
                             const struct clock *clock, struct arena *arena);
/* The node, or its gossip, is paused; its view changes. */
void check_detector_paused(struct host *host, uint64_t until_ns);
void check_detector_view(struct host *host, const struct view *before, const struct view *view);
/* A message has come from another node; leaves an actor of the node, for wherever. */
void check_registers_arrived(struct world *world, const struct message *message);
void check_registers_leaves(struct host *host, const struct message *message);
/* What an eventual write to a consistent keyspace was told. */
void check_registers_refused(struct host *host, enum err status);
void check_register_ended(struct world *world, const struct register_attempt *attempt,
                          enum err status);
void check_registers_finally(struct world *world);
/* All has healed, hints are delivered, nothing has been read yet. */
void check_held(struct world *world);
/* A node acts by a newer document than any before. */
void check_held_step(struct world *world, const struct topology *before, const struct view *view);
void check_change_step(struct world *world, const struct topology *before, const struct view *view);
/* Around the word that what a change gives to a node has been filled. */
struct filled_watch {
    uint32_t keyspace_id;
    uint32_t partition;
    bool voted;
    uint64_t filled;
};
void check_filled_before(struct host *host, const struct message *message,
                         struct filled_watch *ret_watch);
void check_filled_after(struct host *host, const struct filled_watch *watch);
/* Anti-entropy hears of a copy that was lost; its replica, that it has been filled. */
void check_emptied(struct host *host, const struct message *message);
void check_refilled(struct host *host, uint32_t partition, uint32_t keyspace_id); /* 0: all */
/* Whether all replicas are equal and nobody knows of anything to do; else `why` says what differs.
 */
bool check_same(struct world *world, char *why, size_t why_size);
void check_idle_began(struct world *world);
void check_idle_ended(struct world *world);
/* A node's disk becomes an older copy of itself. */
void check_put_back(struct host *host, const struct memory_disk *copy);
/* What one node alone was asked for may be held, or may have been held, by one with such a disk. */
bool check_put_back_alone(const struct world *world, const struct operation *operation);
/* When all is quiet and every final state was read. */
void check_finally(struct world *world);

/* Before a node ends, and at the end of the run. */
void check_trees(struct world *world, struct host *host);

/* -- the checkers -------------------------------------------------------------------------------
 */

/* False: `identity` stands for something else than `content` already. */
bool check_named_once(struct world *world, uint64_t identity, uint64_t content);
void check_dots_see(struct world *world, uint32_t keyspace_id, struct bytes key,
                    const struct version_set *set);
/* A write at `host` got the first dot of a key epoch. */
void check_leases_drawn(struct host *host, uint32_t partition, uint64_t epoch);
void check_lost_finally(struct world *world, uint32_t keyspace, uint32_t key,
                        const struct version_set *final);
/* Nothing that a covered write replaced is in `set`. */
void check_lost_resurrection(struct world *world, uint32_t keyspace, uint32_t key,
                             const struct version_set *set, const char *where);
void check_phantom(struct world *world, uint32_t keyspace, uint32_t key,
                   const struct version_set *set, const char *where);
void check_monotonic_began(struct world *world, struct operation *operation);
void check_monotonic_ended(struct world *world, struct operation *operation,
                           const struct clock *clock);
void check_joint_began(const struct world *world, struct operation *operation);
/* Of one whose answer speaks for a quorum. */
void check_joint_ended(struct world *world, const struct operation *operation,
                       const struct clock *clock);
void check_centers_began(struct world *world, struct operation *operation);
void check_centers_ended(struct world *world, const struct operation *operation,
                         const struct clock *clock);
/* Of an operation that was answered with OK. */
void check_centers_progress(struct world *world, const struct operation *operation,
                            const struct replica_set *replicas, const struct progress *progress);
void check_outcome_put(struct world *world, struct operation *operation,
                       const struct put_result *result);
void check_outcome_get(struct world *world, struct operation *operation,
                       const struct client_get_done *done);
void check_outcome_minted(struct world *world, uint32_t operation);
void check_outcome_seen(struct world *world, uint32_t operation, const char *where);
void check_bounds_set(struct world *world, uint32_t keyspace_id, struct bytes key,
                      const struct version_set *set);
void check_bounds_messages(struct world *world);
void check_ends_status(struct world *world, struct operation *operation);
/* The partition of a key of the workload. */
uint32_t check_partition(const struct world *world, uint32_t keyspace, uint32_t key);
/* By the newest view that there is. */
struct replica_set check_replica_set(const struct world *world, uint32_t keyspace,
                                     struct bytes key);
/* By this one; none where it does not know the keyspace. */
struct replica_set check_replica_set_of(const struct world *world, const struct view *view,
                                        uint32_t keyspace, uint32_t partition);
bool check_is_replica(const struct world *world, uint32_t member, uint32_t keyspace,
                      struct bytes key);
void check_converged(struct world *world, uint32_t keyspace, uint32_t key,
                     const struct version_set *final);

#endif
