/* service.h -- the methods of the client port (internal to it). */
#ifndef RPC_SERVICE_H
#define RPC_SERVICE_H

#include "rpc/edge.h"

#define SERVICE_HANDLER(name) void name##_handle(struct call *call, struct bytes payload)
#define SERVICE_ANSWER(name)  void name##_answer(struct call *call, struct message *answer)

SERVICE_HANDLER(get);
SERVICE_ANSWER(get);
SERVICE_HANDLER(put);
SERVICE_ANSWER(put);
SERVICE_HANDLER(delete);
SERVICE_HANDLER(compare_and_set);
SERVICE_ANSWER(compare_and_set);
SERVICE_HANDLER(batch_get);
void batch_get_answer(struct call *call);
SERVICE_HANDLER(batch_write);
void batch_write_answer(struct call *call);

SERVICE_HANDLER(cluster_status);
SERVICE_HANDLER(list_nodes);
SERVICE_HANDLER(get_ring);
SERVICE_HANDLER(list_keyspaces);
SERVICE_HANDLER(describe_keyspace);
SERVICE_HANDLER(create_keyspace);
SERVICE_ANSWER(create_keyspace);
SERVICE_HANDLER(drop_keyspace);
SERVICE_ANSWER(drop_keyspace);

SERVICE_HANDLER(join);
SERVICE_ANSWER(join);
SERVICE_HANDLER(stage_change);
SERVICE_ANSWER(stage_change);
SERVICE_HANDLER(get_plan);
void get_plan_answer(struct call *call);
SERVICE_HANDLER(commit_change);
void commit_change_checked(struct call *call);
SERVICE_ANSWER(commit_change);
SERVICE_HANDLER(abort_change);
SERVICE_ANSWER(abort_change);
SERVICE_HANDLER(pause_change);
SERVICE_ANSWER(pause_change);
SERVICE_HANDLER(resume_change);
SERVICE_ANSWER(resume_change);
SERVICE_HANDLER(set_pace);
SERVICE_ANSWER(set_pace);
SERVICE_HANDLER(get_change);
void get_change_answer(struct call *call);

SERVICE_HANDLER(hints);
SERVICE_HANDLER(pause_hints);
SERVICE_ANSWER(pause_hints);
SERVICE_HANDLER(resume_hints);
SERVICE_ANSWER(resume_hints);
SERVICE_HANDLER(start_repair);
SERVICE_ANSWER(start_repair);
SERVICE_HANDLER(get_repair);
SERVICE_ANSWER(get_repair);
SERVICE_HANDLER(cancel_repair);
SERVICE_ANSWER(cancel_repair);
SERVICE_HANDLER(digest);
void digest_answer(struct call *call);
SERVICE_HANDLER(explain);
void explain_answer(struct call *call);

SERVICE_HANDLER(health_check);

#endif
