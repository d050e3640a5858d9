/* gossip_moves.h -- who drives a running change, and how: inside of the gossip actor.
 *
 * While a change is RUNNING, the lowest-numbered voter that is not known to be down, by its own
 * view, drives it: it asks every member for its vnode_report, hears from documents' answers,
 * digests and reports which epoch each has in force, and proposes what topology_step makes of that
 * as soon as something can go on. Nothing of this is kept on disk: a voter that takes over asks
 * anew. Two that drive at once do no harm, the log (gossip_log.h) takes one step at a time, each
 * from what was true when it was made.
 *
 * Why reports stay true: what is filled for a change stays filled under that change's name, and a
 * report counts only for partitions whose last step its sender had in force when it made it; one
 * that has not been heard for a while counts for nothing.
 *
 * A node also proposes its own address, when it is told one that the document does not have.
 *
 * Time: reports are asked for every report_interval_ns; a client's client_reports ends after
 * reports_timeout_ns at the latest, silent members are UNAVAILABLE in it. Memory: a report for each
 * slot, REPORTS_MAX client_reports at a time.
 */
#ifndef ACTORS_GOSSIP_MOVES_H
#define ACTORS_GOSSIP_MOVES_H

#include "actors/actor.h"

struct gossip;

/* What a member has said of the change. */
struct moves_report {
    uint32_t member; /* MEMBER_NONE: nothing was heard */
    uint64_t heard_ns;
    uint64_t change; /* topology_change_name */
    uint64_t epoch;
    bool keeps_hints;
    uint64_t keyspaces_digest;
    uint8_t filled[PARTITIONS_MAX / 8];
};

#define REPORTS_MAX 8u

/* A client_reports that waits. */
struct moves_client {
    struct message *origin; /* NULL: free */
    uint64_t id;
    uint64_t deadline_ns;
    uint64_t waiting; /* bit by slot */
    struct arena arena;
    uint32_t count;
    struct member_report *reports;
};

struct moves {
    bool drives;
    uint64_t ask_at_ns;
    uint64_t step_at_ns; /* look for a step; NEVER_NS: nothing is new */
    uint64_t address_at_ns;
    struct moves_report reports[MEMBERS_MAX]; /* by slot */
    struct moves_client clients[REPORTS_MAX];
};

void moves_init(struct moves *moves);
void moves_free(struct moves *moves);
/* What is known may have changed: an epoch in force somewhere, a report, a document, who is alive.
 */
void moves_notice(struct gossip *gossip, struct actor_context *ctx);
void moves_tick(struct gossip *gossip, struct actor_context *ctx);
uint64_t moves_wake_at_ns(const struct gossip *gossip);
/* The next document by what is known now; false: nothing can go on. */
bool moves_step(struct gossip *gossip, struct actor_context *ctx, struct arena *arena,
                struct topology *ret_next) MUST_USE;
void gossip_on_vnode_report_reply(struct gossip *gossip, struct actor_context *ctx,
                                  const struct message *message);
/* Consumes the message. */
void gossip_on_client_reports(struct gossip *gossip, struct actor_context *ctx,
                              struct message *message);

#endif
