/* gossip_state.h -- inside of the gossip actor: its state, shared by liveness and digests
 * (gossip.c), the keyspace map and its changes (gossip_keyspaces.c), the topology document in force
 * (gossip_document.c), and the log that decides on the next one (gossip_log.h). Included by these
 * only. */
#ifndef ACTORS_GOSSIP_STATE_H
#define ACTORS_GOSSIP_STATE_H

#include "actors/gossip.h"
#include "actors/gossip_log.h"
#include "actors/gossip_moves.h"
#include "base/heap.h"
#include "model/hlc.h"

#define HELD_MAX           256u
#define CHANGES_MAX        16u
#define NS_PER_MS          1000000u
#define PHI_REFRESH_ROUNDS 5u

enum link_state { LINK_UNKNOWN, LINK_UP, LINK_DOWN };

struct peer {
    uint32_t member; /* MEMBER_NONE: free */
    uint64_t generation;
    uint64_t heartbeat;
    struct detector detector;
    enum link_state link;
    enum liveness liveness;
    bool heard;              /* of it, directly or through others */
    bool map_heard;          /* ours holds all that its keyspace map held once in this life */
    uint64_t topology_epoch; /* in force there, as it said last; 0: not known */
    uint64_t split_epoch;    /* of ours, that it holds another document of; 0: none */
    uint64_t told_ns;        /* when the document was sent to it last */
    uint64_t asked_ns;       /* when it was asked for its document last */
};

/* A keyspace_change that waits for this node's log and for the other nodes. */
struct change {
    struct message *origin; /* NULL: free */
    uint64_t id;
    uint64_t deadline_ns;
    uint64_t sequence; /* of our own row */
    uint64_t waiting;  /* bit by slot */
    uint32_t known_by;
    struct keyspace keyspace;
};

/* The topology document of an epoch. */
struct document {
    struct arena arena; /* holds all of it */
    struct topology topology;
    struct bytes bytes; /* encoded */
    uint64_t digest;
};

struct gossip {
    struct actor actor;
    struct gossip_options options;
    struct document *document; /* in force: durable here, and in the last view */
    struct document *staged;   /* NULL, or in force once the log is durable up to: */
    uint64_t staged_sequence;
    struct slot slot;
    struct recall recall;
    struct proposer proposer;
    struct moves moves;
    struct boot_address addresses[MEMBERS_MAX]; /* the options' */
    struct arena *map_arena;                    /* heap; replaced with the map */
    struct keyspace_map map;
    uint64_t map_digest;
    struct peer peers[MEMBERS_MAX]; /* by slot */
    uint32_t peer_count;
    struct change changes[CHANGES_MAX];
    struct heap held; /* answers by the sequence that they wait for */
    struct hlc hlc;
    struct detector_self detector_self;
    uint64_t heartbeat;
    uint64_t round_at_ns;
    uint64_t rounds;
    uint64_t serial;
    uint64_t view_version;
    struct arena scratch;
    struct gossip_figures figures;
};

/* -- gossip.c
 * ---------------------------------------------------------------------------------------- */

struct peer *gossip_peer(struct gossip *gossip, uint32_t member);
/* An answer: now, or when all that is staged by now is durable. */
void gossip_answer_durable(struct gossip *gossip, struct actor_context *ctx,
                           struct message *answer);
/* A number for a request of ours. */
uint64_t gossip_id(struct gossip *gossip);
/* A view of all that is known now, to the host. */
void gossip_publish(struct gossip *gossip, struct actor_context *ctx);

/* -- gossip_liveness.c
 * ------------------------------------------------------------------------------ */

/* All peers, by what was heard; a new view when that changes who is alive. `doubt`: nobody is
 * called down by silence alone. `always`: a view in any case. */
void gossip_judge(struct gossip *gossip, struct actor_context *ctx, bool doubt, bool always);
void gossip_on_peer_link(struct gossip *gossip, struct actor_context *ctx,
                         const struct peer_link *link);
void gossip_on_digest(struct gossip *gossip, struct actor_context *ctx,
                      const struct message *message);
void gossip_on_digest_reply(struct gossip *gossip, struct actor_context *ctx,
                            const struct message *message);
/* One heartbeat more, and digests to some peers. */
void gossip_round(struct gossip *gossip, struct actor_context *ctx);

/* -- gossip_keyspaces.c
 * ------------------------------------------------------------------------------ */

/* Ours holds now all that the map of this member holds. */
void gossip_map_heard(struct gossip *gossip, struct actor_context *ctx, uint32_t member);
void gossip_send_map(struct gossip *gossip, struct actor_context *ctx, uint32_t member,
                     uint64_t id);
void gossip_on_keyspaces(struct gossip *gossip, struct actor_context *ctx,
                         const struct message *message);
void gossip_on_keyspaces_reply(struct gossip *gossip, struct actor_context *ctx,
                               const struct message *message);
/* Consumes the message. */
void gossip_on_keyspace_change(struct gossip *gossip, struct actor_context *ctx,
                               struct message *message);
/* Ends a change that is done or late. */
void gossip_change_step(struct gossip *gossip, struct actor_context *ctx, struct change *change);

/* -- gossip_document.c
 * ------------------------------------------------------------------------------------ */

static inline const struct topology *gossip_topology(const struct gossip *gossip)
{
    return &gossip->document->topology;
}

struct document *document_new(const struct topology *topology);
void document_free(struct document *document);
/* The peers are the members of the document in force but this one and those that were removed. */
void gossip_follow_document(struct gossip *gossip, uint64_t now_ms);
/* STALE_EPOCH: ours is as new or newer. INVALID: of another cluster. Else staged: in force, and
 * shown, when it is durable. */
enum err gossip_adopt(struct gossip *gossip, struct actor_context *ctx,
                      struct bytes bytes) MUST_USE;
/* To everybody who is a member, or was one until now. */
void gossip_spread(struct gossip *gossip, struct actor_context *ctx, struct bytes bytes);
/* `epoch` is what `member` says to have in force: who is behind is told, at most every 50 ms. */
void gossip_compare_epochs(struct gossip *gossip, struct actor_context *ctx, uint32_t member,
                           uint64_t epoch);
/* `digest` is of the document that `member` has in force: the log decides on one an epoch, so
 * another one than ours is told to whoever looks. True: what views say of it has changed. */
bool gossip_compare_documents(struct gossip *gossip, struct actor_context *ctx, uint32_t member,
                              uint64_t epoch, uint64_t digest);
void gossip_tell(struct gossip *gossip, struct actor_context *ctx, uint32_t member);
void gossip_ask(struct gossip *gossip, struct actor_context *ctx, uint32_t member);
void gossip_on_topology_document(struct gossip *gossip, struct actor_context *ctx,
                                 const struct message *message);
void gossip_on_topology_document_reply(struct gossip *gossip, struct actor_context *ctx,
                                       const struct message *message);
void gossip_on_topology_fetch(struct gossip *gossip, struct actor_context *ctx,
                              const struct message *message);
void gossip_on_topology_behind(struct gossip *gossip, struct actor_context *ctx,
                               const struct message *message);
/* The staged document comes in force when it is durable. True: it has just now. */
bool gossip_document_committed(struct gossip *gossip, struct actor_context *ctx);

#endif
