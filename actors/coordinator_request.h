/* coordinator_request.h -- inside of the coordinator: its request table, shared by the get and the
 * put side. Included by coordinator*.c only. */
#ifndef ACTORS_COORDINATOR_REQUEST_H
#define ACTORS_COORDINATOR_REQUEST_H

#include "actors/coordinator.h"
#include "base/heap.h"
#include "model/replay_window.h"

/* A round of reaping reaches the replicas one after the other, so a read that begins anew in the
 * middle of one may meet it again. */
#define READ_AGAIN_MAX      4u
#define READ_UNREPAIRED_MAX 3u /* of one read, others are tried in the place of so many */

enum request_state {
    REQUEST_FREE,
    REQUEST_READING,
    REQUEST_REPAIRING,
    REQUEST_COMPARING,
    REQUEST_FORWARDED,
    REQUEST_WRITING,
    REQUEST_SETTLING,
    REQUEST_REGISTER, /* of a consistent keyspace */
    REQUEST_STATE_COUNT
};

struct request {
    enum request_state state;
    uint64_t id;
    struct message *origin; /* client_get, client_put, forward_put or register_settle; ours */
    uint64_t deadline_ns;
    uint64_t late_at_ns; /* ask again those that have not answered, and more; NEVER_NS: no more */
    uint64_t late_ns;    /* how long after the last time; doubles */
    uint64_t
        hedge_at_ns; /* reads: when the first answer is late for its replica; NEVER_NS: no more */
    uint64_t started_ns;
    /* A change of the topology is under way: look again; NEVER_NS: no need. */
    uint64_t soon_at_ns;
    uint64_t soon_ns;    /* the last wait; doubles */
    uint64_t wake_at_ns; /* the first of its entries in `wakes`; none of its times is earlier */
    bool plan_refused;   /* a replica knows of a step that the plan does not */
    bool plan_renewed;   /* refusals of an earlier plan may be on their way */
    bool unsent;         /* puts: nothing of it was staged anywhere; begins anew at soon_at_ns */
    uint64_t behind; /* replicas that do not know of the plan's epoch yet; asked at soon_at_ns */
    uint64_t epoch;  /* of the view that it was planned with; in all that it sends */
    uint32_t policy; /* enum replica_policy */
    bool strict; /* writes: a fallback's hint never counts, asked by the client or the keyspace */
    uint32_t partition;
    uint64_t hash;
    struct replica_set replicas; /* those that are read, then those that are only written */
    struct quorum quorum;        /* by the same index; of a read: over those that are read */
    /* writes: of another data centre, left to a replica there to be sent it; a bit per replica */
    uint64_t onward;
    uint64_t stranded;     /* of those: that replica could not be reached */
    uint64_t asked;        /* bit per index into replicas */
    uint32_t forwarded_to; /* FORWARDED: the member whose answer counts */
    uint64_t answered;     /* reads: the records are in `answers` */
    uint64_t timed;        /* reads: their answers will say how fast they are */
    uint64_t hedged;       /* reads: asked because another was late */
    uint64_t repairing;
    uint64_t copied;     /* did not vote, and hold what is to be answered */
    uint64_t uncopied;   /* did not vote, and could not take it */
    uint64_t comparing;  /* COMPARING: their answers are still to come */
    uint32_t read_again; /* reads: times, when a repair met a newer floor */
    /* reads: members that refused a repair; they do not vote in this read any more */
    uint32_t unrepaired_count;
    uint32_t unrepaired[READ_UNREPAIRED_MAX];
    struct bytes repair; /* REPAIRING: the merged record, in the arena of `result` */
    enum err last_error; /* of a replica, for the reason of a failure */
    bool disk_full;      /* why our own replica has refused to mint */
    struct message
        *answers;         /* replica_read_reply that voted, linked by next; COMPARING: their join */
    struct message *kept; /* REPAIRING: those that came too late to vote */
    struct message *result; /* REPAIRING: the client_get_done that waits */
    struct message *mint;   /* WRITING, SETTLING: replica_mint_done with OK */
    uint64_t floor;         /* of the state that is sent: where and when it was read */
    /* a write that was refused as older than the floor of its receiver: a bit per replica */
    uint64_t stale;
    uint64_t refused;   /* they refused, and have taken nothing since: no hint counts meanwhile */
    uint64_t outdated;  /* were sent nothing since our replica was asked, or its floor raised */
    bool floor_refused; /* the floor of what is sent now was refused: no hint is sent with it */
    bool hint_sent;     /* ever: answers to hints of older bytes may be on their way */
    bool refreshing;    /* our own replica was asked what it holds now */
    bool floor_lags;    /* our own is below that of the replicas that refused */
    uint8_t refreshes;
    struct message *fresh; /* its answer: sent from then on in the place of the mint's record */
    struct register_work *work; /* REGISTER; owned */
    /* hints, a bit per index into replicas */
    uint64_t away;     /* cannot take the write now */
    uint64_t hinting;  /* its hint was sent and is not answered */
    uint64_t hinted;   /* its hint is durable */
    uint64_t stood_in; /* of those: in the quorum the hint counts, not the replica */
    uint32_t keepers[REPLICAS_TOTAL_MAX]; /* who keeps its hint; MEMBER_NONE: nobody */
    uint32_t tried_count;
    uint32_t tried[PROGRESS_FALLBACKS_MAX]; /* each fallback stands in once */
};

/* Senders of forward_put: a place for each coordinator of each member. */
#define COORDINATORS_MAX    16u
#define COORDINATOR_ORIGINS (MEMBERS_MAX * COORDINATORS_MAX)

struct coordinator {
    struct actor actor;
    struct coordinator_options options;
    struct request *requests;
    uint32_t *free_indices;
    uint32_t free_count;
    uint32_t settling_count;
    uint32_t comparing_count;
    uint64_t serial;
    uint64_t ballot_counter; /* the greatest that was used in this life */
    uint64_t changes;        /* ids given to changes of registers */
    struct heap wakes;       /* (time, id); what is not a request's wake_at_ns is skipped */
    struct peer_latency {
        uint32_t member; /* MEMBER_NONE: this place and those after it are free */
        uint32_t samples;
        uint64_t average_ns;
        uint64_t percentile_ns; /* the 95th, at most read_late_ns */
    } peers[MEMBERS_MAX];
    uint32_t hedge_credit; /* in first questions */
    uint64_t newer_epoch;  /* the greatest that was heard of, and from whom */
    uint32_t newer_member;
    uint64_t newer_told_ns; /* the gossip was told of it */
    uint32_t unsettled_unlogged;
    uint64_t unsettled_log_ns; /* the next line not before */
    /* A forward_put that the network delivers twice is not written twice. */
    struct forward_origin {
        struct actor_id id;
        struct replay_window window;
    } * origins[COORDINATOR_ORIGINS]; /* by id, NULL until heard of */
    struct arena scratch;
    struct coordinator_figures figures;
};

static_assert(REPLICAS_TOTAL_MAX <= 64, "a bit per replica");

/* -- the table (coordinator_request.c) -----------------------------------------------------------
 */

/* A new request that owns `origin`; NULL when the table is full (origin stays the caller's). Its
 * first wake-up is the caller's to set. */
struct request *coordinator_request_new(struct coordinator *coordinator, struct actor_context *ctx,
                                        struct message *origin, enum request_state state);
/* NULL when it has ended already. */
struct request *coordinator_request_find(struct coordinator *coordinator, uint64_t id);
void coordinator_request_move(struct request *request, enum request_state state);
/* Answered: it is not in flight any more. */
void coordinator_request_settle(struct coordinator *coordinator, struct request *request);
void coordinator_request_compare(struct coordinator *coordinator, struct request *request);
/* Another id: answers to what was asked before meet nobody. Wake-ups have to be set anew. */
void coordinator_request_renew(struct coordinator *coordinator, struct request *request);
void coordinator_request_forget_answers(struct request *request);
void coordinator_request_free_list(struct message *list);
void coordinator_request_end(struct coordinator *coordinator, struct request *request);
/* Drops the next wake-ups while they wake nobody: most reads end long before anything of them is
 * late. */
void coordinator_request_drop_wakes(struct coordinator *coordinator);
/* The first of its times. */
uint64_t coordinator_request_first_ns(const struct request *request);
/* A wake-up for it, unless it has one that is as early. */
void coordinator_request_wake(struct coordinator *coordinator, struct request *request);
/* The next time to ask again, and the wake-up for it or for the deadline. `late_ns` is the first
 * wait. */
void coordinator_request_set_late(struct coordinator *coordinator, struct actor_context *ctx,
                                  struct request *request, uint64_t late_ns);
struct bytes coordinator_request_key(const struct request *request);
/* The body of a replica_write: `record`, read at request->floor, in `arena`. */
struct replica_write coordinator_request_write(const struct request *request, struct arena *arena,
                                               struct bytes record, enum write_reason reason);
/* Sends a state of the request's key, read at request->floor, to one replica. */
void coordinator_request_send_write(struct coordinator *coordinator, struct actor_context *ctx,
                                    const struct request *request, uint32_t member,
                                    struct bytes record, enum write_reason reason);
/* The next time to look again, if there is none. `first_ns` is the first wait. */
void coordinator_request_set_soon(struct coordinator *coordinator, struct actor_context *ctx,
                                  struct request *request, uint64_t first_ns);
/* Sends a message of this request, with its epoch. */
void coordinator_request_send(struct coordinator *coordinator, struct actor_context *ctx,
                              const struct request *request, struct message *message);
/* Index of a member in the replica set, or -1. */
int coordinator_request_replica_index(const struct request *request, uint32_t member);
/* It is this node's replica, of which the mint tells. (One that is only written by now may have
 * been emptied since, and is sent the write as any other.) */
bool coordinator_request_is_minter(const struct coordinator *coordinator,
                                   const struct request *request, uint32_t index);

/* -- what a request needs and how far it got (coordinator_plan.c) --------------------------------
 */

/* Keyspace, replicas and sealed quorum for a key; `put` is NULL for a read. Replicas known to be
 * down have failed already, or have a fallback. On an error *ret_why says why (static text). */
enum err coordinator_request_plan(struct coordinator *coordinator, struct actor_context *ctx,
                                  struct request *request, uint32_t keyspace_id, struct bytes key,
                                  enum consistency level, uint32_t count,
                                  const struct put_request *put, const char **ret_why);
/* The same without a look at who is down. */
enum err coordinator_request_plan_sets(struct actor_context *ctx, struct request *request,
                                       uint32_t keyspace_id, struct bytes key,
                                       enum consistency level, uint32_t count,
                                       const struct put_request *put,
                                       const char **ret_why) MUST_USE;
/* The members of the set as quorum_add_*: a write needs its level in each of two sets. */
void coordinator_request_add_replicas(const struct replica_set *set, bool joint,
                                      struct quorum *quorum);
void coordinator_request_progress(const struct request *request, struct progress *ret_progress);
/* Why too many replicas have failed, as a status for the client. */
enum err coordinator_request_failure(const struct request *request);

/* -- other epochs than the plan's (coordinator_epoch.c) -------------------------------------------
 */

/* First waits before another look. */
#define SOON_NS       (10u * 1000 * 1000)
#define SOON_LOCAL_NS (1u * 1000 * 1000) /* this node has the view, the coordinator not yet */

enum epoch_verdict {
    EPOCH_SAME,    /* the answer is what its status says */
    EPOCH_STALE,   /* the plan is of an older epoch than the replica's */
    EPOCH_BEHIND,  /* the replica does not know of the plan's epoch yet */
    EPOCH_EARLIER, /* it refuses what was sent before the plan was renewed */
};

/* What a refusal says of the plan; `epoch` is the answer's, 0 when it was made on this node. */
enum epoch_verdict coordinator_epoch_judge(const struct request *request, enum err status,
                                           uint64_t epoch);
/* Any message: the own gossip hears of a newer epoch than the view's. */
void coordinator_epoch_note(struct coordinator *coordinator, struct actor_context *ctx,
                            const struct message *message);
/* The view is newer than the plan. Otherwise the gossip is reminded, and a time to look again set.
 */
bool coordinator_epoch_may_plan(struct coordinator *coordinator, struct actor_context *ctx,
                                struct request *request);
/* A minted put by the view's set: what members that stay have answered is carried over, the others
 * are sent the write. On an error the plan stands as it was. */
enum err coordinator_replan(struct coordinator *coordinator, struct actor_context *ctx,
                            struct request *request, const char **ret_why) MUST_USE;

/* -- who is fast (coordinator_latency.c) ----------------------------------------------------------
 */

/* What it usually takes to answer a read. */
uint64_t coordinator_latency_ns(const struct coordinator *coordinator, uint32_t member);
/* What is late for it, 1 ms to read_late_ns; read_late_ns while too little is known. */
uint64_t coordinator_latency_late_ns(const struct coordinator *coordinator, uint32_t member);
/* It answered after `ns`; not for hedged reads. */
void coordinator_latency_answered(struct coordinator *coordinator, uint32_t member, uint64_t ns);
/* It has not answered after `ns`, which is late for it: that much is known without its answer. */
void coordinator_latency_late(struct coordinator *coordinator, uint32_t member, uint64_t ns);
/* It has not answered after read_late_ns or more: others are asked first from now on. */
void coordinator_latency_silent(struct coordinator *coordinator, uint32_t member, uint64_t ns);

/* -- hedged reads (coordinator_hedge.c) -----------------------------------------------------------
 */

/* The first questions have left. */
void coordinator_hedge_begin(struct coordinator *coordinator, struct request *request);
void coordinator_hedge_answered(struct coordinator *coordinator, struct actor_context *ctx,
                                struct request *request, uint32_t index, enum err status);
/* request->hedge_at_ns has come: asks one more, or sets the next time. */
void coordinator_hedge_on_due(struct coordinator *coordinator, struct actor_context *ctx,
                              struct request *request);
/* Nothing of this read is late or timed any more. */
void coordinator_hedge_end(struct request *request);

/* -- hints (coordinator_hint.c) -------------------------------------------------------------------
 */

/* This replica is known to be down before the write begins: finds a fallback for it. */
void coordinator_hint_reserve(struct coordinator *coordinator, struct actor_context *ctx,
                              struct request *request, uint32_t index);
/* This replica did not take the write: a hint for it if it may later, else it has failed. */
void coordinator_hint_refused(struct coordinator *coordinator, struct actor_context *ctx,
                              struct request *request, uint32_t index, enum err status);
/* The write is durable here: hints that waited for it leave. */
void coordinator_hint_minted(struct coordinator *coordinator, struct actor_context *ctx,
                             struct request *request);
/* A hint for this replica, now or when there is something to send. */
void coordinator_hint_begin(struct coordinator *coordinator, struct actor_context *ctx,
                            struct request *request, uint32_t index);
/* Hints, sent or sent again, for all replicas that have not answered. */
void coordinator_hint_late(struct coordinator *coordinator, struct actor_context *ctx,
                           struct request *request);
/* False: it is about nothing that this request waits for. */
bool coordinator_hint_answered(struct coordinator *coordinator, struct actor_context *ctx,
                               struct request *request, uint32_t keeper, enum err status);
/* A live replica has refused the floor of what is sent: its hints would be refused as well, by the
 * first replica that was sealed together with that one. None counts from now on, those that did are
 * taken back, and all are to be stored anew. */
void coordinator_hint_void(struct request *request);
/* After a new plan: whoever is away gets, or keeps, a hint. */
void coordinator_hint_carry(struct coordinator *coordinator, struct actor_context *ctx,
                            struct request *request, uint32_t index);
/* Hints that were durable while none counted. */
void coordinator_hint_count_kept(struct coordinator *coordinator, struct request *request);
/* Whether the replica itself has made the write durable. */
bool coordinator_hint_has_write(const struct request *request, uint32_t index);
/* The write ends: the local anti-entropy is told which replicas have neither it nor a hint. */
void coordinator_hint_tell_lacking(struct coordinator *coordinator, struct actor_context *ctx,
                                   const struct request *request);
/* Every replica has the write, or a hint, or has refused it. */
bool coordinator_hint_settled(const struct coordinator *coordinator, const struct request *request);

/* -- gets (coordinator_get.c) ---------------------------------------------------------------------
 */

void coordinator_on_client_get(struct coordinator *coordinator, struct actor_context *ctx,
                               struct message *message);
void coordinator_on_replica_read_reply(struct coordinator *coordinator, struct actor_context *ctx,
                                       struct message *message);
void coordinator_get_ask(struct coordinator *coordinator, struct actor_context *ctx,
                         struct request *request, uint32_t index);
/* Replicas that have not been asked, may still answer and are not known to be down, the nearest
 * first: this node, its zone, its data centre, others; among those as near the fastest. Of a data
 * centre the last are those that hardly answer, and before them, while the next step of a change
 * will read another set, those that are not in it. */
uint32_t coordinator_get_order(const struct coordinator *coordinator, const struct view *view,
                               const struct request *request,
                               uint32_t ret_indices[REPLICAS_TOTAL_MAX]);
/* Whether this member's answer would bring the quorum further; another data centre's need not. */
bool coordinator_get_helps(const struct quorum *quorum, uint32_t member);
struct message *coordinator_get_answer(const struct request *request, struct actor_context *ctx,
                                       enum err status, size_t size_hint);
void coordinator_get_fail(struct coordinator *coordinator, struct actor_context *ctx,
                          struct request *request, enum err status, const char *why);
/* Whether its record is whole; counts those that are not. */
enum err coordinator_get_verify(struct coordinator *coordinator, const struct request *request,
                                const struct replica_read_reply *reply) MUST_USE;
/* From the beginning. */
void coordinator_get_again(struct coordinator *coordinator, struct actor_context *ctx,
                           struct request *request);
/* The same when a replica has refused the plan and there may be another by now; false: not. */
bool coordinator_get_replans(struct coordinator *coordinator, struct actor_context *ctx,
                             struct request *request);
void coordinator_get_on_late(struct coordinator *coordinator, struct actor_context *ctx,
                             struct request *request);
void coordinator_get_on_soon(struct coordinator *coordinator, struct actor_context *ctx,
                             struct request *request);
void coordinator_get_on_deadline(struct coordinator *coordinator, struct actor_context *ctx,
                                 struct request *request);

/* -- read repair before the answer (coordinator_repair.c) -----------------------------------------
 */

/* The next step of a change will read the other set: what a read answers has to be there too, if it
 * is of the kind that never goes back in time. */
bool coordinator_repair_copies(const struct request *request);
/* Enough replicas have answered. */
void coordinator_repair_or_answer(struct coordinator *coordinator, struct actor_context *ctx,
                                  struct request *request);
/* `epoch` is the answer's, here and below. */
void coordinator_repair_on_written(struct coordinator *coordinator, struct actor_context *ctx,
                                   struct request *request, uint32_t member, enum err status,
                                   uint64_t epoch);
void coordinator_repair_on_soon(struct coordinator *coordinator, struct actor_context *ctx,
                                struct request *request);
void coordinator_repair_on_late(struct coordinator *coordinator, struct actor_context *ctx,
                                struct request *request);
void coordinator_repair_on_deadline(struct coordinator *coordinator, struct actor_context *ctx,
                                    struct request *request);

/* -- read repair after the answer (coordinator_compare.c) -----------------------------------------
 */

/* The answer, `record`, is about to leave. False: nothing is to come, or there is no place to wait
 * for it. */
bool coordinator_compare_begin(struct coordinator *coordinator, struct actor_context *ctx,
                               struct request *request, struct bytes record);
/* An answer that came while others were repaired: for later. Takes the message. */
void coordinator_compare_keep(struct request *request, struct message *message);
/* Those that were kept. May end the request. */
void coordinator_compare_kept(struct coordinator *coordinator, struct actor_context *ctx,
                              struct request *request);
/* Takes the message. */
void coordinator_compare_on_reply(struct coordinator *coordinator, struct actor_context *ctx,
                                  struct request *request, uint32_t index, struct message *message);
void coordinator_compare_on_written(struct coordinator *coordinator, struct request *request,
                                    uint32_t member, enum err status);
void coordinator_compare_on_deadline(struct coordinator *coordinator, struct request *request);

/* -- other data centres (coordinator_remote.c) ----------------------------------------------------
 */

/* mint->via, its targets being set: which of them pass the write on to which. */
void coordinator_remote_route(struct coordinator *coordinator, const struct view *view,
                              struct request *request, struct replica_mint *mint);
/* This replica could not be reached: those that it was to pass the write on to are sent it from
 * here, now or when there is something to send. */
void coordinator_remote_lost(struct coordinator *coordinator, struct actor_context *ctx,
                             struct request *request, uint32_t index);
/* Minted. */
void coordinator_remote_resend(struct coordinator *coordinator, struct actor_context *ctx,
                               struct request *request);

/* -- writes that met a newer floor (coordinator_refresh.c) ----------------------------------------
 */

/* What is sent to the replicas now. Minted. */
struct bytes coordinator_refresh_record(const struct request *request);
/* This replica, or who was to keep its hint, refused the state as older than its floor. */
void coordinator_refresh_begin(struct coordinator *coordinator, struct actor_context *ctx,
                               struct request *request, uint32_t index);
/* It was the replica itself, which is there: no hint under this floor counts any more. */
void coordinator_refresh_refused(struct coordinator *coordinator, struct actor_context *ctx,
                                 struct request *request, uint32_t index);
/* It has taken the write. */
void coordinator_refresh_taken(struct coordinator *coordinator, struct actor_context *ctx,
                               struct request *request, uint32_t index);
/* Asks again where that is needed. */
void coordinator_refresh_on_late(struct coordinator *coordinator, struct actor_context *ctx,
                                 struct request *request);
/* Takes the message. May end the request. */
void coordinator_refresh_on_reply(struct coordinator *coordinator, struct actor_context *ctx,
                                  struct request *request, struct message *message);

/* -- puts (coordinator_put.c) ---------------------------------------------------------------------
 */

/* The write that a client_put or forward_put carries. */
const struct put_request *coordinator_put_request(const struct message *origin);
void coordinator_on_client_put(struct coordinator *coordinator, struct actor_context *ctx,
                               struct message *message);
/* Takes the origin, a client_put or forward_put. */
void coordinator_put_begin(struct coordinator *coordinator, struct actor_context *ctx,
                           struct message *origin);
/* Refused for the epoch of its plan before anything was staged: from the beginning, as soon as that
 * makes sense. */
void coordinator_put_again_soon(struct coordinator *coordinator, struct actor_context *ctx,
                                struct request *request, enum epoch_verdict verdict);
/* An answer in the form that the origin expects; its result is the caller's to fill. */
struct message *coordinator_put_answer(const struct message *origin, size_t size_hint,
                                       struct put_result **ret_result);
/* Answers. What was minted settles, all else ends. */
void coordinator_put_end(struct coordinator *coordinator, struct actor_context *ctx,
                         struct request *request, enum err status, enum outcome outcome,
                         const char *why);
void coordinator_on_replica_mint_done(struct coordinator *coordinator, struct actor_context *ctx,
                                      struct message *message);
void coordinator_put_on_written(struct coordinator *coordinator, struct actor_context *ctx,
                                struct request *request, uint32_t member, enum err status,
                                uint64_t epoch);
void coordinator_put_on_soon(struct coordinator *coordinator, struct actor_context *ctx,
                             struct request *request);
void coordinator_on_hint_store_reply(struct coordinator *coordinator, struct actor_context *ctx,
                                     struct message *message);
/* Answers, or ends what settles, when enough is known. */
void coordinator_put_decide(struct coordinator *coordinator, struct actor_context *ctx,
                            struct request *request);
void coordinator_put_on_late(struct coordinator *coordinator, struct actor_context *ctx,
                             struct request *request);
void coordinator_put_on_deadline(struct coordinator *coordinator, struct actor_context *ctx,
                                 struct request *request);

/* -- puts minted on another node (coordinator_forward.c) ------------------------------------------
 */

/* Planned, and there is no replica here that could mint. */
void coordinator_forward_first(struct coordinator *coordinator, struct actor_context *ctx,
                               struct request *request);
/* Our own replica has refused to mint. False: no other one can be asked, or it is not ours to ask.
 */
bool coordinator_forward_elsewhere(struct coordinator *coordinator, struct actor_context *ctx,
                                   struct request *request, const struct replica_mint_done *done);
void coordinator_on_forward_put(struct coordinator *coordinator, struct actor_context *ctx,
                                struct message *message);
void coordinator_on_forward_put_reply(struct coordinator *coordinator, struct actor_context *ctx,
                                      struct message *message);

/* -- consistent keyspaces (coordinator_register.c) ------------------------------------------------
 */

struct register_work;

/* The keyspace is known, and of that mode. */
bool coordinator_register_takes(const struct actor_context *ctx, uint32_t keyspace_id);
/* Anti-entropy: any keyspace. */
void coordinator_on_register_settle(struct coordinator *coordinator, struct actor_context *ctx,
                                    struct message *message);
/* A client_get, client_put or register_settle of such a keyspace. */
void coordinator_register_begin(struct coordinator *coordinator, struct actor_context *ctx,
                                struct message *origin);
void coordinator_on_register_reply(struct coordinator *coordinator, struct actor_context *ctx,
                                   struct message *message);
void coordinator_register_on_late(struct coordinator *coordinator, struct actor_context *ctx,
                                  struct request *request);
void coordinator_register_on_soon(struct coordinator *coordinator, struct actor_context *ctx,
                                  struct request *request);
void coordinator_register_on_deadline(struct coordinator *coordinator, struct actor_context *ctx,
                                      struct request *request);
void coordinator_register_free(struct register_work *work);

#endif
