#include "actors/replica_state.h"

#include "base/mutation.h"

/* lww decides by timestamps, so one from the far future would win for ever: a new write that
 * carries one is refused. Repair of what a replica already holds must go through, or reads could
 * not end. */
static enum err replica_check_timestamps(struct replica *replica, struct actor_context *ctx,
                                         const struct replica_write *write,
                                         const struct version_set *set)
{
    for (uint32_t i = 0; i < set->count && (write->policy & POLICY_LWW) != 0; i++) {
        enum err err = hlc_observe(&replica->hlc, set->versions[i].written_at, ctx->wall_ms);
        if (err != OK && write->reason == WRITE_REPLICATE) {
            counter_add(&replica->figures.clock_refused, 1);
            return err;
        }
    }
    return OK;
}

static bool amnesia_ignored(enum write_reason reason)
{
    return (MUTATE(AMNESIA_IGNORED_IN_A_WRITE) && reason == WRITE_REPLICATE) ||
           (MUTATE(AMNESIA_IGNORED_IN_READ_REPAIR) && reason == WRITE_READ_REPAIR) ||
           (MUTATE(AMNESIA_IGNORED_IN_A_HINT) && reason == WRITE_HINT) ||
           (MUTATE(AMNESIA_IGNORED_IN_ANTI_ENTROPY) && reason == WRITE_ANTI_ENTROPY) ||
           (MUTATE(AMNESIA_IGNORED_IN_REPAIR) && reason == WRITE_REPAIR);
}

static enum err replica_merge(struct replica *replica, struct actor_context *ctx,
                              const struct replica_write *write, struct local_state *state,
                              bool *ret_differs)
{
    struct version_set incoming;
    struct arena *scratch = &replica->scratch;
    enum err err = record_decode(scratch, write->keyspace_id, write->key, write->record, &incoming);
    if (err != OK) {
        if (err == ERR_CORRUPT)
            counter_add(&replica->figures.corrupt, 1);
        return err;
    }
    err = replica_check_timestamps(replica, ctx, write, &incoming);
    if (err == OK)
        err = replica_load(replica, ctx, write->partition, write->keyspace_id, write->key, state);
    bool repair = err == ERR_CORRUPT && state->bad_row && write->reason == WRITE_REPAIR;
    if (repair)
        state->record = (struct bytes){0};
    else if (err != OK)
        return err;
    /* Nobody held anything to mend it with, and it is bad no more: it was mended meanwhile, or went
     * with its tombstone everywhere. An empty state would only have to be reaped again. */
    if (!repair && write->reason == WRITE_REPAIR && incoming.clock.count == 0) {
        *ret_differs = false;
        counter_add(&replica->figures.merged_same, 1);
        return OK;
    }
    /* What a bad row knew of our own writes is forgotten, whatever the others know. Own epochs
     * below the floor are not counted on from anyway: a copy that a change gives back stays as it
     * was. */
    bool counts_on = clock_last_epoch(&incoming.clock, replica->options.self) >=
                     replica_epoch_floor(replica, write->partition);
    bool amnesia = repair || (counts_on &&
                              replica_ahead_of_memory(replica, &incoming.clock, &state->set.clock));
    struct version_set merged = version_set_merge(scratch, &state->set, &incoming);
    if (MUTATE(TTL_DECIDED_LOCALLY) && merged.count == 1 && merged.versions[0].flags == 0 &&
        !version_is_live(&merged.versions[0], ctx->wall_ms))
        merged.count = 0;
    if (MUTATE(MERGE_IS_OVERWRITE))
        merged = incoming;
    if (MUTATE(LWW_TIE_BY_ARRIVAL) && (write->policy & POLICY_LWW) != 0 && merged.count == 2 &&
        incoming.count == 1 && merged.versions[0].written_at == merged.versions[1].written_at)
        merged = (struct version_set){merged.clock, 1, incoming.versions};
    if ((write->policy & POLICY_LWW) != 0)
        merged = version_set_last_writer_wins(scratch, &merged);
    struct bytes record = state->record.size == 0 && incoming.count == merged.count
                              ? write->record
                              : record_encode(scratch, write->keyspace_id, write->key, &merged);
    *ret_differs = amnesia || !bytes_equal(record, write->record);
    if (!amnesia && bytes_equal(record, state->record)) {
        counter_add(&replica->figures.merged_same, 1);
        return OK;
    }
    if (write->floor <
            vnode_floor(vnode_of(&replica->vnodes, write->partition), write->keyspace_id) &&
        !MUTATE(FLOOR_UNCHECKED)) {
        counter_add(&replica->figures.stale_floor, 1);
        return ERR_STALE_FLOOR;
    }
    if (amnesia) {
        /* riak_kv PR 1643: our own writes come back to us; never count on from there. */
        uint64_t epoch = 0;
        err = replica_draw_epoch(replica, ctx, &merged.clock, &merged.clock, &epoch);
        if (err != OK)
            return err;
        counter_add(&replica->figures.amnesia, 1);
        if (!amnesia_ignored(write->reason))
            merged = version_set_add_epoch(scratch, &merged, replica->options.self, epoch);
        record = record_encode(scratch, write->keyspace_id, write->key, &merged);
    }
    /* It could not travel: neither a read nor an exchange would ever have an answer from here. Both
     * sides keep what they have. */
    if (record.size > RECORD_BYTES_MAX && record.size > state->record.size) {
        counter_add(&replica->figures.siblings_refused, 1);
        return ERR_LIMIT;
    }
    replica_reap_note(vnode_of(&replica->vnodes, write->partition), write->keyspace_id, &merged);
    counter_add(&replica->figures.merged, 1);
    err = replica_store(replica, ctx, write->partition, state, record, write->policy);
    if (err == OK)
        replica_note_repair(replica, ctx, write, state->hash);
    if (err == OK && repair)
        quarantine_repaired(replica, ctx, write->partition, state->key);
    return err;
}

/* -- hints: as many as there is room for (model/hint_gate.h) ---------------------------------- */

#define GRANT_UNDER_WAY UINT32_MAX /* a hint that was taken: granted when its answer leaves */
#define GRANT_REFUSED   (UINT32_MAX - 1)

static struct hint_load hint_load_now(const struct replica *replica)
{
    return (struct hint_load){.held = (uint32_t)replica->held.count,
                              .held_max = replica->options.held_max};
}

static enum err replica_take_hint(struct replica *replica, const struct actor_context *ctx,
                                  const struct message *message, uint32_t *ret_grant)
{
    struct hint_load load = hint_load_now(replica);
    *ret_grant = GRANT_REFUSED;
    if (!hint_gate_take(&replica->hint_gate, message->from.node, &load, ctx->now_ns))
        return ERR_OVERLOADED;
    *ret_grant = GRANT_UNDER_WAY;
    return OK;
}

void replica_grant(struct replica *replica, const struct actor_context *ctx,
                   struct replica_write_reply *reply)
{
    struct hint_load load = hint_load_now(replica);
    if (reply->credit == 0)
        return;
    if (reply->credit == GRANT_UNDER_WAY)
        hint_gate_answered(&replica->hint_gate);
    reply->credit = hint_gate_credit(&replica->hint_gate, &load, ctx->now_ns);
}

void replica_on_write(struct replica *replica, struct actor_context *ctx,
                      const struct message *message)
{
    const struct replica_write *write = &message->replica_write;
    struct message *answer = message_new_reply(message, MESSAGE_replica_write_reply, 0);
    struct local_state state;
    if (write->answer_to != MEMBER_NONE)
        answer->to.node = write->answer_to;
    replica_pass_on(replica, ctx, message);
    enum err err = replica_admit(replica, ctx, message);
    if (err == OK && !MUTATE(REGISTER_TAKES_EVENTUAL))
        err = replica_admit_mode(ctx, write->keyspace_id, KEYSPACE_AVAILABLE);
    if (err == OK)
        err = replica_fence(replica, ctx, message, write->keyspace_id,
                            write->reason == WRITE_REPLICATE ? FENCE_WRITE
                            : write->reason == WRITE_HINT    ? FENCE_HINT
                                                             : FENCE_SPREAD);
    if (err == OK && write->reason == WRITE_HINT)
        err = replica_take_hint(replica, ctx, message, &answer->replica_write_reply.credit);
    if (err == OK)
        err = vnode_takes_writes(vnode_of(&replica->vnodes, write->partition), write->keyspace_id);
    if (err == ERR_INCOMPLETE)
        counter_add(&replica->figures.incomplete_refused, 1);
    if (err == OK)
        err = replica_merge(replica, ctx, write, &state, &answer->replica_write_reply.differs);
    if (err == OK)
        err = request_remember(&replica->requests, ctx, &replica->scratch, write->partition,
                               write->keyspace_id, state.hash, write->request_id,
                               write->request_context);
    answer->replica_write_reply.status = err;
    replica_answer(replica, ctx, answer,
                   err == OK ? replica_sequence(replica, state.hash, write->policy) : 0);
}
