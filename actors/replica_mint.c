#include "actors/replica_state.h"

#include "base/mutation.h"

/* Greater than the wall clock, than all that this shard has stamped, and than what it replaces: a
 * write always beats what its coordinating replica held. */
static uint64_t replica_timestamp(struct replica *replica, struct actor_context *ctx,
                                  const struct version_set *set)
{
    uint64_t timestamp = hlc_now(&replica->hlc, ctx->wall_ms);
    if (MUTATE(LWW_BY_WALL_CLOCK))
        return ctx->wall_ms << 16;
    for (uint32_t i = 0; i < set->count; i++) {
        if (set->versions[i].written_at >= timestamp)
            timestamp = set->versions[i].written_at + 1;
    }
    return timestamp;
}

/* Clock entries of a key beyond which those of retired members go (DESIGN.md 5). */
#define CLOCK_ENTRIES_MAX 50u

static bool member_is_current(uint32_t member, void *closure)
{
    const struct view *view = closure;
    const struct member *found = topology_member(&view->topology, member);
    return found != NULL && found->status != MEMBER_REMOVED;
}

/* The row of a request outlives its write when the vnode was emptied since: then the write counts
 * as made only if what came back from the others covers it. */
static bool replica_mint_was_lost(struct replica *replica, const struct replica_mint *mint,
                                  const struct local_state *state, const struct request_seen *seen)
{
    const struct vnode *vnode = vnode_of(&replica->vnodes, mint->partition);
    const struct vnode_keyspace *keyspace = vnode_keyspace_find(vnode, mint->request.keyspace_id);
    struct clock made;
    if (keyspace == NULL || seen->at_ms > keyspace->adopted_at_ms)
        return false;
    struct reader reader = reader_of(seen->context);
    return clock_decode(&reader, &replica->scratch, &made) != OK || !reader_done(&reader) ||
           !clock_descends(&state->set.clock, &made);
}

/* A put that has been here before is answered with its first outcome; its targets get what the key
 * holds now, which is no older than what they were sent then (nothing, when it has been deleted and
 * reaped since: they have had it). NOT_FOUND: a new one. */
static enum err replica_mint_repeat(struct replica *replica, struct actor_context *ctx,
                                    const struct replica_mint *mint, struct arena *answer_arena,
                                    const struct local_state *state, struct replica_mint_done *done)
{
    const struct put_request *request = &mint->request;
    struct request_seen seen;
    enum err err =
        request_find(&replica->requests, ctx, &replica->scratch, request, state->hash, &seen);
    if (MUTATE(RETRY_MAKES_SECOND_DOT) && err == OK)
        err = ERR_NOT_FOUND;
    if (err == ERR_INVALID)
        done->why = "request_id: another key was written under it; draw a new one for each write";
    if (err != OK)
        return err;
    if (replica_mint_was_lost(replica, mint, state, &seen)) {
        err = request_forget(ctx, request->request_id);
        return err == OK ? ERR_NOT_FOUND : err;
    }
    done->context = arena_copy(answer_arena, seen.context);
    done->record = arena_copy(answer_arena, state->record);
    done->sibling_count = state->set.count;
    return OK;
}

/* A store that is only busy has space. */
static void mint_say_disk_full(const struct replica *replica, const struct actor_context *ctx,
                               struct arena *answer_arena, struct replica_mint_done *done)
{
    const struct member *self = topology_member(&ctx->view->topology, replica->options.self);
    done->disk_full = store_free_bytes(ctx->store) == 0;
    if (done->disk_full)
        done->why = arena_printf(answer_arena, "the disk of node %s is full",
                                 self == NULL ? "?" : self->name);
}

/* Everything up to the point where the write is staged; the answer's fields are set on the way. */
static enum err replica_mint_stage(struct replica *replica, struct actor_context *ctx,
                                   const struct replica_mint *mint, struct arena *answer_arena,
                                   struct replica_mint_done *done, struct local_state *state)
{
    const struct put_request *request = &mint->request;
    struct clock context = {0};
    uint64_t epoch = 0;
    enum err err =
        replica_load(replica, ctx, mint->partition, request->keyspace_id, request->key, state);
    if (err != OK)
        return err;
    err = replica_mint_repeat(replica, ctx, mint, answer_arena, state, done);
    if (err != ERR_NOT_FOUND)
        return err;
    if (request->has_context) {
        struct reader reader = reader_of(request->context);
        err = clock_decode(&reader, &replica->scratch, &context);
        if (err != OK || !reader_done(&reader)) {
            done->why = "context: not one that this cluster has given out";
            return ERR_INVALID;
        }
    }
    err = replica_choose_epoch(replica, ctx, mint->partition, &state->set,
                               request->has_context ? &context : NULL, &epoch);
    if (err != OK) {
        done->why = "key epochs are used up until the next lease is durable";
        return err;
    }
    struct version version = {
        .written_at = replica_timestamp(replica, ctx, &state->set),
        .expires_at_ms = request->expires_at_ms,
        .flags = request->flags,
        .value = request->value,
    };
    /* In a lww keyspace the write replaces what this replica holds and nothing else, whatever the
     * client has seen: covering a later stamp that was never here would leave no value at all
     * (version.h). */
    bool lww = (mint->policy & POLICY_LWW) != 0;
    const struct clock *covers = request->has_context && !lww ? &context : NULL;
    struct dot dot;
    struct version_set set = version_set_put(&replica->scratch, &state->set, covers,
                                             replica->options.self, epoch, &version, &dot);
    if (lww)
        set = version_set_last_writer_wins(&replica->scratch, &set);
    if (set.clock.count > CLOCK_ENTRIES_MAX) {
        uint32_t before = set.clock.count;
        set = version_set_prune(&replica->scratch, &set, CLOCK_ENTRIES_MAX, member_is_current,
                                (void *)(uintptr_t)ctx->view);
        counter_add(&replica->figures.clock_entries_pruned, before - set.clock.count);
    }
    bool too_many = set.count > SIBLINGS_MAX && set.count > state->set.count;
    if (MUTATE(SIBLINGS_UNLIMITED))
        too_many = false;
    if (too_many) {
        counter_add(&replica->figures.siblings_refused, 1);
        done->why = "the key has too many siblings; read it and write with its context";
        return ERR_LIMIT;
    }
    if (set.count > SIBLINGS_WARN)
        counter_add(&replica->figures.siblings_warned, 1);
    done->record = record_encode(answer_arena, request->keyspace_id, request->key, &set);
    done->sibling_count = set.count;
    struct clock covered = version_set_put_context(&replica->scratch, covers, &state->set, dot);
    struct writer writer;
    writer_init(&writer, answer_arena, 64);
    clock_encode(&writer, &covered);
    done->context = writer_result(&writer);
    /* Not one of the other replicas could be sent it, nor keep a hint of it. */
    if (done->record.size + done->context.size > RECORD_BYTES_MAX) {
        counter_add(&replica->figures.siblings_refused, 1);
        done->why = "the key's siblings are too large together; read it and write with its context";
        return ERR_LIMIT;
    }
    err = replica_store(replica, ctx, mint->partition, state, done->record, mint->policy);
    if (err == ERR_OVERLOADED)
        mint_say_disk_full(replica, ctx, answer_arena, done);
    if (err != OK)
        return err;
    replica_reap_note(vnode_of(&replica->vnodes, mint->partition), request->keyspace_id, &set);
    counter_add(&replica->figures.minted, 1);
    /* The write is staged: from here on it is made, whether its id can be kept or not. */
    err = request_remember(&replica->requests, ctx, &replica->scratch, mint->partition,
                           request->keyspace_id, state->hash, request->request_id, done->context);
    if (err != OK)
        counter_add(&replica->figures.requests_forgotten, 1);
    return OK;
}

/* The state leaves before it is durable: what it says of the floor must be, already. */
static void replica_fan_out(struct replica *replica, struct actor_context *ctx,
                            const struct message *request, const struct replica_mint_done *done)
{
    const struct replica_mint *mint = &request->replica_mint;
    uint64_t floor = vnode_floor_said(vnode_of(&replica->vnodes, mint->partition),
                                      mint->request.keyspace_id, ctx->store, 0);
    for (uint32_t i = 0; i < mint->target_count && done->record.size != 0; i++) {
        if (mint->via[i] != 0)
            continue;
        struct message *message =
            message_new(MESSAGE_replica_write, mint->request.key.size + done->record.size);
        message->id = request->id;
        message->from = request->from; /* the coordinator counts the answers */
        message->to = (struct actor_id){.node = mint->targets[i], .kind = ACTOR_REPLICA};
        message->deadline_ns = request->deadline_ns;
        message->epoch = request->epoch; /* that the targets were chosen by */
        message->replica_write = (struct replica_write){
            .keyspace_id = mint->request.keyspace_id,
            .key = arena_copy(&message->arena, mint->request.key),
            .record = arena_copy(&message->arena, done->record),
            .policy = mint->policy,
            .partition = mint->partition,
            .reason = WRITE_REPLICATE,
            .floor = floor,
        };
        for (uint32_t k = 0; k < mint->target_count; k++) {
            if (mint->via[k] == 1 + i)
                message->replica_write.onward[message->replica_write.onward_count++] =
                    mint->targets[k];
        }
        if (mint->request.request_id.size != 0) {
            message->replica_write.request_id =
                arena_copy(&message->arena, mint->request.request_id);
            message->replica_write.request_context = arena_copy(&message->arena, done->context);
        }
        outbox_send(ctx, &replica->actor, message);
    }
}

void replica_on_mint(struct replica *replica, struct actor_context *ctx,
                     const struct message *message)
{
    const struct replica_mint *mint = &message->replica_mint;
    struct message *answer = message_new_reply(message, MESSAGE_replica_mint_done,
                                               mint->request.key.size + mint->request.value.size);
    struct replica_mint_done *done = &answer->replica_mint_done;
    struct local_state state;
    enum err err = replica_admit(replica, ctx, message);
    if (err == OK)
        err = replica_admit_mode(ctx, mint->request.keyspace_id, KEYSPACE_AVAILABLE);
    if (err == OK)
        err = replica_fence(replica, ctx, message, mint->request.keyspace_id, FENCE_READ);
    if (err == OK)
        err = vnode_serves(vnode_of(&replica->vnodes, mint->partition), mint->request.keyspace_id);
    if (err == ERR_INCOMPLETE)
        counter_add(&replica->figures.incomplete_refused, 1);
    if (err == OK)
        err = replica_mint_stage(replica, ctx, mint, &answer->arena, done, &state);
    done->status = err;
    if (err != OK) {
        replica_answer(replica, ctx, answer, 0);
        return;
    }
    done->staged = true;
    replica_fan_out(replica, ctx, message, done);
    uint64_t sequence = replica_sequence(replica, state.hash, mint->policy);
    done->floor = vnode_floor_said(vnode_of(&replica->vnodes, mint->partition),
                                   mint->request.keyspace_id, ctx->store, sequence);
    replica_answer(replica, ctx, answer, sequence);
}
