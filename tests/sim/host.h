/* host.h -- one simulated node: its clocks, its disk, its actors and their mailboxes.
 *
 * Does what the runtime does with threads: an actor with mail drains up to a batch, is ticked when
 * its time has come, its store is submitted, its outbox delivered; view_publish replaces the node's
 * view. An actor is busy while a step lasts; different actors of a node overlap, as threads do.
 */
#ifndef SIM_HOST_H
#define SIM_HOST_H

#include "actors/actor.h"
#include "actors/anti_entropy.h"
#include "actors/boot.h"
#include "actors/coordinator.h"
#include "actors/gossip.h"
#include "actors/hinted_handoff.h"
#include "actors/replica.h"
#include "model/register.h"
#include "store/engine.h"

#include "tests/sim/hellos.h"
#include "tests/sim/options.h"

/* What takes an hour in a cluster has to happen in a simulated quarter of a minute. */
#define ANTI_ENTROPY_BACKOFF_NS ((uint64_t)4000 * 1000 * 1000)
#define ANTI_ENTROPY_LATE_NS    ((uint64_t)500 * 1000 * 1000)

#define HOST_ACTORS_MAX 8u
#define SIM_WALL_MS     1800000000000u /* when the simulated world begins */

struct world;

struct host_actor {
    struct actor *actor;
    struct store *store; /* NULL for most */
    struct prng prng;
    struct message *mail_first;
    struct message *mail_last;
    uint32_t depth;
    uint64_t last_arrival_ns; /* mail keeps the order in which it was sent */
    uint64_t busy_until_ns;
    uint64_t paused_until_ns;
    uint64_t turn_at_ns; /* NEVER_NS: none planned */
    uint64_t turn;       /* number of the planned one */
};

/* check_log.c: what a voter has been asked, and has agreed to, over all its lives. */
#define LOG_ASKED_MAX 64u

struct log_watch {
    struct log_asked {
        uint64_t id;
        struct actor_id by;
        uint64_t epoch;
        struct ballot ballot;
    } asked[LOG_ASKED_MAX];
    uint32_t next;
    uint64_t epoch;
    struct ballot promised;
    uint64_t shown; /* the epoch that it acts by */
};

struct host {
    struct world *world;
    uint32_t index;
    uint32_t member;
    bool up;
    bool dead;           /* for good: the steward has given it up */
    bool deaf;           /* commits are told to nobody: it starts or ends */
    uint32_t start;      /* how often it has started */
    uint32_t losses;     /* disks that were wiped or put back */
    uint32_t put_backs;  /* those that were put back */
    bool wiped;          /* and it has not begun as a new incarnation yet */
    uint64_t lost_at_ns; /* the last one */
    struct hellos hellos;
    struct memory_disk *disk;
    struct engine *engine;
    struct view *view;
    uint32_t actor_count;
    struct host_actor actors[HOST_ACTORS_MAX];
    struct coordinator *coordinators[2];
    struct replica *replicas[3];
    struct gossip *gossip;
    struct hinted_handoff *hinted_handoff;
    struct anti_entropy *anti_entropy;
    struct asked *asked; /* check_durable.c: requests whose answers have not left */
    struct log_watch log_watch;
    uint64_t gossip_ran_ns;
    uint64_t doubt_from_ns; /* check_detector.c: a long pause began */
    uint64_t doubt_until_ns;
    uint64_t paused_until_ns;
    uint64_t pause_ended_ns; /* until when it, or an actor of it, is or was paused */
    struct prng prng;        /* delays inside the node */
    struct prng disk_prng;
    /* clocks */
    uint64_t monotonic_offset_ns;
    int64_t drift_ppm;
    int64_t wall_skew_ms;
    /* syncer */
    bool syncing;
    bool engine_failed; /* a sync failed: nothing is durable any more, the process ends soon */
    bool periodic_planned;
    uint64_t synced_mark;
    double read_error;
    double overloaded;
};

void host_init(struct host *host, struct world *world, uint32_t index, uint32_t member);
/* With the disk. */
void host_deinit(struct host *host);
void host_start(struct host *host);
/* Whether it would start from this disk. */
bool host_boots_from(struct host *host, struct memory_disk *disk, struct boot *ret_boot);
void host_crash(struct host *host, enum crash_kind kind);
/* A clean stop: all that was staged is durable. */
void host_close(struct host *host);

/* To an actor of this node from itself or from the client port; consumed. Arrives a little later.
 */
void host_post(struct host *host, struct message *message);
/* The node's monotonic and wall clocks. */
uint64_t host_monotonic_ns(const struct host *host);
uint64_t host_wall_ms(const struct host *host);
void host_pause(struct host *host, uint64_t until_ns);
void host_pause_actor(struct host *host, uint32_t slot, uint64_t until_ns);
/* host_disk.c */
void host_set_disk_faults(struct host *host, double read_error, double overloaded);
/* What this node's disk and page cache hold of a key, whatever faults are on. `arena` keeps it.
 * False: nothing, or the node is down. */
bool host_peek(struct host *host, uint32_t keyspace_id, struct bytes key, struct arena *arena,
               struct version_set *ret_set);
/* Its disk was lost so shortly ago that others may still believe what it said before. */
bool host_lost_lately(const struct host *host);
/* Its copy of the partition is not one that was lost and is not filled yet, nor is that keyspace's
 * in it (0: of none). */
bool host_copy_votes(const struct host *host, uint32_t partition, uint32_t keyspace_id);
/* A bad row was met in one of its copies: until that one's trees are built anew they may count what
 * the row was. */
bool host_trees_suspect(const struct host *host);
/* The shard has read what state its copies are in. */
bool host_copies_known(const struct host *host, uint32_t shard);
/* Put back so shortly ago that it may not have been compared with all others. */
bool host_put_back_lately(const struct host *host);
/* As bytes; empty: nothing. */
void host_peek_record(struct host *host, uint32_t keyspace_id, struct bytes key,
                      struct arena *arena, struct bytes *ret_record);
/* What it holds of a key has rotted: it holds something, and nobody can say what. */
bool host_is_rotten(struct host *host, uint32_t keyspace_id, struct bytes key);
/* So is what a power cut now would leave: its repair may not be on the disk yet. */
bool host_is_rotten_durably(struct host *host, uint32_t keyspace_id, struct bytes key);
/* What a power cut now would leave of a key; of a node that is down, what it left. */
bool host_peek_durable(struct host *host, uint32_t keyspace_id, struct bytes key,
                       struct arena *arena, struct version_set *ret_set);
/* What a power cut now would leave of a register; all zero: nothing. False: that has rotted. */
bool host_peek_register(struct host *host, uint32_t keyspace_id, struct bytes key,
                        struct arena *arena, struct register_state *ret_register);
/* The rows that an up node keeps as hints. */
void host_visit_hints(struct host *host, store_visit visit, void *closure);
/* Joins what the hints that an up node keeps say of a key. */
void host_join_hints(struct host *host, uint32_t keyspace_id, struct bytes key, struct arena *arena,
                     struct version_set *set);
const struct keyspace *host_keyspace(const struct host *host, const char *name);

/* Something was staged outside of a step. */
void host_sync_wanted(struct host *host);

/* Events. */
void host_on_step(struct host *host, uint32_t slot, uint64_t turn);
void host_on_local(struct host *host, uint32_t slot, struct message *message);
void host_on_sync_done(struct host *host, uint64_t mark);
void host_on_sync_periodic(struct host *host);

/* host_actors.c: what a start makes (the first view too) and an end frees. */
void host_actors_new(struct host *host, const struct boot *boot);
void host_actors_free(struct host *host);

#endif
