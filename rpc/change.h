/* change.h -- what the calls about a change of the topology share (internal to the client port). */
#ifndef RPC_CHANGE_H
#define RPC_CHANGE_H

#include "rpc/cluster.h"

/* What a change of a document consists of and how far it is; never NULL. */
Coterie__V1__Change *change_new(struct arena *arena, const struct topology *topology,
                                const struct keyspace_map *keyspaces);
/* What is to be staged, with the words checked: false with a status that names the field. */
bool change_operation(const struct view *view, const Coterie__V1__StageChangeRequest *words,
                      struct topology_operation *ret_operation, struct status *ret_error);
bool change_join_operation(const Coterie__V1__JoinRequest *words,
                           struct topology_operation *ret_operation, struct status *ret_error);
/* Of an operation that was refused, or whose outcome is not known. err is not OK. */
void change_status(struct status *status, enum err err, bool unknown, const char *why);
/* One operation for the gossip actor of this node, answered with client_topology_done. */
struct message *change_message(struct call *call, const struct view *view,
                               const struct topology_operation *operation);

/* -- plan.c ------------------------------------------------------------------------------------ */

/* What all members have said of themselves. */
struct reports {
    uint32_t count;
    const struct member_report *list;
};

/* Of the member; NULL: it has not answered. */
const struct vnode_report_reply *reports_of(const struct reports *reports, uint32_t member);
/* The bytes of one copy by partition, the greatest that anybody has said; NULL: nobody has. */
const uint64_t *reports_sizes(struct arena *arena, const struct reports *reports,
                              uint32_t partitions);

/* `topology` has a change: that of the view, or one with something proposed on top of it. */
Coterie__V1__Plan *plan_words(struct arena *arena, const struct view *view,
                              const struct topology *topology, const struct reports *reports,
                              uint64_t pace_default);

/* -- waits.c -----------------------------------------------------------------------------------
 */

/* For whom and for what partitions and votes wait, by what all members have said. */
void waits_fill(struct arena *arena, const struct view *view, const struct reports *reports,
                Coterie__V1__GetChangeResponse *response);
/* Why a copy of `node` has no vote, as it says itself. */
void waits_of_vote(struct arena *arena, const struct view *view, const char *node,
                   const struct waits *waits, Coterie__V1__Wait ***ret_list, size_t *ret_count);

/* Asks all members for their reports; the call has one item, whose key is `what`. */
void reports_ask(struct request *request, const void *what, size_t size);

#endif
