/* What a request needs: keyspace, replicas, quorum; how far it got, and why it failed. */
#include "actors/coordinator_request.h"

#include "base/mutation.h"
#include "model/hash.h"

static void plan_level(const struct keyspace *keyspace, bool write, enum consistency *level,
                       uint32_t *count)
{
    if (*level != CONSISTENCY_DEFAULT)
        return;
    *level = write ? keyspace->write_level : keyspace->read_level;
    *count = write ? keyspace->write_count : keyspace->read_count;
}

void coordinator_request_add_replicas(const struct replica_set *set, bool joint,
                                      struct quorum *quorum)
{
    if (MUTATE(ANNOUNCED_COUNTS_OLD) && set->read_side == TOPOLOGY_NOW)
        joint = false; /* its readers are the old set */
    if (MUTATE(COPIED_COUNTS_NEW) && set->read_side == TOPOLOGY_NEXT)
        joint = false;
    for (uint32_t i = 0; i < set->count; i++) {
        if (joint)
            quorum_add_joint_replica(quorum, set->replicas[i].member, set->replicas[i].sides,
                                     set->replicas[i].side_data_centers);
        else if (set->replicas[i].reader)
            quorum_add_replica(quorum, set->replicas[i].member, set->replicas[i].data_center);
    }
}

enum err coordinator_request_plan_sets(struct actor_context *ctx, struct request *request,
                                       uint32_t keyspace_id, struct bytes key,
                                       enum consistency level, uint32_t count,
                                       const struct put_request *put, const char **ret_why)
{
    const struct view *view = ctx->view;
    const struct keyspace *keyspace = keyspace_map_find_id(&view->keyspaces, keyspace_id);
    if (keyspace == NULL) {
        *ret_why = "keyspace: not known to this node; it may have just been dropped or created";
        return ERR_NOT_FOUND;
    }
    if (keyspace->mode != KEYSPACE_AVAILABLE) {
        *ret_why = "keyspace: its mode is not available";
        return ERR_PRECONDITION;
    }
    request->policy = (keyspace->conflict == KEYSPACE_LWW ? POLICY_LWW : 0u) |
                      (keyspace->durability == KEYSPACE_PERIODIC ? POLICY_PERIODIC : 0u);
    request->hash = hash_key(keyspace_id, key);
    request->partition = hash_partition(request->hash, view->topology.partitions);
    request->epoch = view->topology.epoch;
    view_replica_set(view, keyspace, request->partition, &request->replicas);
    request->strict = put != NULL && (put->strict || keyspace->strict);
    if (MUTATE(STRICT_COUNTS_HINTS))
        request->strict = false;
    plan_level(keyspace, put != NULL, &level, &count);
    quorum_init(&request->quorum, level, count, view->local_data_center);
    coordinator_request_add_replicas(&request->replicas, put != NULL && request->replicas.joint,
                                     &request->quorum);
    enum err err = quorum_seal(&request->quorum);
    if (err != OK)
        *ret_why = err == ERR_INVALID ? "r or w: 0, or more than the key has replicas"
                                      : "consistency: a data centre it needs holds no replica";
    return err;
}

enum err coordinator_request_plan(struct coordinator *coordinator, struct actor_context *ctx,
                                  struct request *request, uint32_t keyspace_id, struct bytes key,
                                  enum consistency level, uint32_t count,
                                  const struct put_request *put, const char **ret_why)
{
    const struct view *view = ctx->view;
    enum err err =
        coordinator_request_plan_sets(ctx, request, keyspace_id, key, level, count, put, ret_why);
    if (err != OK)
        return err;
    for (uint32_t i = 0; i < request->quorum.replica_count; i++) {
        if (view_alive(view, request->replicas.replicas[i].member))
            continue;
        if (put != NULL)
            coordinator_hint_reserve(coordinator, ctx, request, i);
        else
            quorum_fail(&request->quorum, request->replicas.replicas[i].member);
    }
    if (quorum_state(&request->quorum) == QUORUM_IMPOSSIBLE) {
        *ret_why = "too many replicas of the key are down";
        return ERR_UNAVAILABLE;
    }
    return OK;
}

void coordinator_request_progress(const struct request *request, struct progress *ret_progress)
{
    struct progress *progress = ret_progress;
    quorum_progress(&request->quorum, &progress->acked, &progress->needed);
    /* Once too many have failed, those are the ones that are missing; the others may never have
     * been asked. */
    bool impossible = quorum_state(&request->quorum) == QUORUM_IMPOSSIBLE;
    for (uint32_t i = 0; i < request->quorum.replica_count; i++) {
        uint32_t member = request->quorum.members[i].member;
        bool stood_in = (request->stood_in >> i & 1) != 0;
        if (MUTATE(FALLBACK_IS_PRIMARY))
            stood_in = false;
        if (stood_in && progress->fallback_count < PROGRESS_FALLBACKS_MAX)
            progress->fallback_members[progress->fallback_count++] = request->keepers[i];
        if (request->quorum.members[i].state == REPLICA_ACKED && !stood_in)
            progress->acked_members[progress->acked_count++] = member;
        else if (stood_in)
            progress->missing_members[progress->missing_count++] = member;
        else if (!impossible || request->quorum.members[i].state == REPLICA_FAILED)
            progress->missing_members[progress->missing_count++] = member;
    }
}

enum err coordinator_request_failure(const struct request *request)
{
    switch (request->last_error) {
    case ERR_OVERLOADED:
    case ERR_LIMIT:
        return request->last_error;
    default:
        return ERR_UNAVAILABLE;
    }
}
