#include "actors/replica.h"

#include "base/heap.h"
#include "model/hash.h"
#include "model/hlc.h"
#include "model/record.h"

#include <inttypes.h>
#include <stdlib.h>

/* Keys with a staged write, by hash: a slot holds the last sequence of any key that falls into it.
 * Two keys in one slot wait a little longer than they must, which is harmless. */
#define PENDING_SLOTS 4096u

struct replica {
    struct actor actor;
    struct replica_options options;
    uint64_t epoch_floor;
    struct epoch_lease lease;
    struct hlc hlc;
    uint64_t pending[PENDING_SLOTS];
    struct heap held; /* answers by the sequence that they wait for */
    uint64_t held_count;
    struct arena scratch; /* of one step */
    struct replica_figures figures;
};

static struct replica *replica_of(struct actor *actor)
{
    CHECK_U64(actor->magic, ==, ACTOR_MAGIC);
    return CONTAINER_OF(actor, struct replica, actor);
}

/* -- answers wait for the log ---------------------------------------------------------------- */

static uint64_t *pending_slot(struct replica *replica, uint64_t hash)
{
    return &replica->pending[(hash >> 16) % PENDING_SLOTS];
}

/* Sends `answer` when the log is durable up to `sequence` (0: at once). */
static void replica_answer(struct replica *replica, struct actor_context *ctx,
                           struct message *answer, uint64_t sequence)
{
    if (sequence <= store_committed(ctx->store)) {
        outbox_send(ctx, &replica->actor, answer);
        return;
    }
    heap_push(&replica->held,
              (struct heap_entry){.key = sequence, .tie = replica->held_count++, .value = answer});
    counter_set(&replica->figures.held, replica->held.count);
}

static void replica_on_store_committed(struct replica *replica, struct actor_context *ctx,
                                       const struct store_committed *committed)
{
    epoch_lease_committed(&replica->lease, committed->sequence);
    const struct heap_entry *least;
    while ((least = heap_peek(&replica->held)) != NULL && least->key <= committed->sequence)
        outbox_send(ctx, &replica->actor, heap_pop(&replica->held).value);
    counter_set(&replica->figures.held, replica->held.count);
}

/* -- records ----------------------------------------------------------------------------------- */

struct local_state {
    uint8_t key_memory[STORAGE_KEY_BYTES_MAX];
    struct bytes key; /* storage key */
    uint64_t hash;
    struct bytes record; /* empty: nothing here */
    struct version_set set;
};

/* The record of a key, not looked into; empty: nothing here. */
static enum err replica_find(struct replica *replica, struct actor_context *ctx, uint32_t partition,
                             uint32_t keyspace_id, struct bytes key, struct local_state *ret_state)
{
    struct local_state *state = ret_state;
    state->hash = hash_key(keyspace_id, key);
    state->key = bytes_of(state->key_memory,
                          hash_storage_key(keyspace_id, key, state->hash, state->key_memory));
    state->record = (struct bytes){0};
    state->set = (struct version_set){0};
    enum err err = store_read(ctx->store, partition, state->key, &replica->scratch, &state->record);
    if (err == OK && state->record.size == 0)
        return ERR_CORRUPT; /* no record is that short */
    return err == ERR_NOT_FOUND ? OK : err;
}

/* Counts and tells of a read that failed; gives the error back. */
static enum err replica_read_result(struct replica *replica, struct actor_context *ctx,
                                    uint32_t partition, const struct local_state *state,
                                    enum err err)
{
    if (err == OK)
        return OK;
    counter_add(&replica->figures.read_errors, 1);
    if (err == ERR_CORRUPT)
        counter_add(&replica->figures.corrupt, 1);
    log_write(ctx->log, LOG_ERROR, "replica_read_failed",
              "partition=%" PRIu32 " hash=%016" PRIx64 " error=\"%s\"", partition, state->hash,
              err_text(err));
    return err;
}

/* What this vnode holds of a key. A read error is an error, never "nothing" (RELIABILITY rule 5).
 */
static enum err replica_load(struct replica *replica, struct actor_context *ctx, uint32_t partition,
                             uint32_t keyspace_id, struct bytes key, struct local_state *ret_state)
{
    struct local_state *state = ret_state;
    enum err err = replica_find(replica, ctx, partition, keyspace_id, key, state);
    if (err == OK && state->record.size != 0)
        err = record_decode(&replica->scratch, keyspace_id, key, state->record, &state->set);
    return replica_read_result(replica, ctx, partition, state, err);
}

/* The same for a reader, who decodes for himself: the checksum is enough before it is sent. */
static enum err replica_load_record(struct replica *replica, struct actor_context *ctx,
                                    const struct replica_read *read, struct local_state *ret_state)
{
    struct local_state *state = ret_state;
    enum err err = replica_find(replica, ctx, read->partition, read->keyspace_id, read->key, state);
    if (err == OK && state->record.size != 0)
        err = record_verify(read->keyspace_id, read->key, state->record);
    return replica_read_result(replica, ctx, read->partition, state, err);
}

static enum err replica_store(struct replica *replica, struct actor_context *ctx,
                              uint32_t partition, const struct local_state *state,
                              struct bytes record, uint32_t policy)
{
    enum store_sync sync = (policy & POLICY_PERIODIC) != 0 ? STORE_SYNC_LATER : STORE_SYNC_NOW;
    enum err err = store_put(ctx->store, partition, state->key, record, sync);
    if (err == OK)
        *pending_slot(replica, state->hash) = store_staged(ctx->store);
    if (err == ERR_OVERLOADED)
        counter_add(&replica->figures.overloaded, 1);
    return err;
}

/* What an answer about this key must wait for. Periodic keyspaces are acknowledged from memory. */
static uint64_t replica_sequence(struct replica *replica, uint64_t hash, uint32_t policy)
{
    return (policy & POLICY_PERIODIC) != 0 ? 0 : *pending_slot(replica, hash);
}

/* Work whose asker has given up is not begun. */
static enum err replica_admit(struct replica *replica, const struct actor_context *ctx,
                              const struct message *message)
{
    if (message->deadline_ns != 0 && ctx->now_ns >= message->deadline_ns)
        return ERR_TIMEOUT;

    if (replica->held.count < replica->options.held_max)
        return OK;
    counter_add(&replica->figures.overloaded, 1);
    return ERR_OVERLOADED;
}

/* -- minting -------------------------------------------------------------------------------------
 */

/* Whether `clock` knows more of this node's writes than `memory` does. */
static bool replica_ahead_of_memory(const struct replica *replica, const struct clock *clock,
                                    const struct clock *memory)
{
    uint32_t self = replica->options.self;
    uint64_t epoch = clock_last_epoch(clock, self);
    uint64_t epoch_remembered = clock_last_epoch(memory, self);
    if (epoch != epoch_remembered)
        return epoch > epoch_remembered;
    return epoch != 0 &&
           clock_last_counter(clock, self, epoch) > clock_last_counter(memory, self, epoch);
}

/* A fresh epoch that neither clock has an entry of. They can only know one when the directory was
 * restored from an older copy and its lease with it. */
static enum err replica_draw_epoch(struct replica *replica, struct actor_context *ctx,
                                   const struct clock *a, const struct clock *b,
                                   uint64_t *ret_epoch)
{
    uint32_t self = replica->options.self;
    uint64_t epoch = 0;
    do {
        enum err err = epoch_lease_draw(&replica->lease, ctx->store, &epoch);
        if (err != OK)
            return err;
        counter_add(&replica->figures.epochs_drawn, 1);
    } while (clock_find(a, self, epoch) != NULL || clock_find(b, self, epoch) != NULL);
    *ret_epoch = epoch;
    return OK;
}

/* The key epoch for a write here: the one in use, or a fresh one when this replica holds nothing of
 * its own, when the last start followed a crash (the floor), when the writer has seen more of our
 * writes than we remember, or when the epoch is not one that this directory has ever drawn. */
static enum err replica_choose_epoch(struct replica *replica, struct actor_context *ctx,
                                     const struct version_set *set, const struct clock *context,
                                     uint64_t *ret_epoch)
{
    uint64_t epoch = clock_last_epoch(&set->clock, replica->options.self);
    bool amnesia = context != NULL && replica_ahead_of_memory(replica, context, &set->clock);
    if (amnesia)
        counter_add(&replica->figures.amnesia, 1);
    if (epoch != 0 && epoch >= replica->epoch_floor && epoch < replica->lease.next && !amnesia) {
        *ret_epoch = epoch;
        return OK;
    }
    return replica_draw_epoch(replica, ctx, &set->clock, context == NULL ? &set->clock : context,
                              ret_epoch);
}

/* Greater than the wall clock, than all that this shard has stamped, and than what it replaces: a
 * write always beats what its coordinating replica held. */
static uint64_t replica_timestamp(struct replica *replica, struct actor_context *ctx,
                                  const struct version_set *set)
{
    uint64_t timestamp = hlc_now(&replica->hlc, ctx->wall_ms);
    for (uint32_t i = 0; i < set->count; i++) {
        if (set->versions[i].written_at >= timestamp)
            timestamp = set->versions[i].written_at + 1;
    }
    return timestamp;
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
    if (request->has_context) {
        struct reader reader = reader_of(request->context);
        err = clock_decode(&reader, &replica->scratch, &context);
        if (err != OK || !reader_done(&reader)) {
            done->why = "context: not one that this cluster has given out";
            return ERR_INVALID;
        }
    }
    err = replica_choose_epoch(replica, ctx, &state->set, request->has_context ? &context : NULL,
                               &epoch);
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
    if (set.count > SIBLINGS_MAX && set.count > state->set.count) {
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
    return replica_store(replica, ctx, mint->partition, state, done->record, mint->policy);
}

static void replica_fan_out(struct replica *replica, struct actor_context *ctx,
                            const struct message *request, struct bytes record)
{
    const struct replica_mint *mint = &request->replica_mint;
    for (uint32_t i = 0; i < mint->target_count; i++) {
        struct message *message =
            message_new(MESSAGE_replica_write, mint->request.key.size + record.size);
        message->id = request->id;
        message->from = request->from; /* the coordinator counts the answers */
        message->to = (struct actor_id){.node = mint->targets[i], .kind = ACTOR_REPLICA};
        message->deadline_ns = request->deadline_ns;
        message->replica_write = (struct replica_write){
            .keyspace_id = mint->request.keyspace_id,
            .key = arena_copy(&message->arena, mint->request.key),
            .record = arena_copy(&message->arena, record),
            .policy = mint->policy,
            .partition = mint->partition,
            .reason = WRITE_REPLICATE,
        };
        outbox_send(ctx, &replica->actor, message);
    }
}

static void replica_on_mint(struct replica *replica, struct actor_context *ctx,
                            const struct message *message)
{
    const struct replica_mint *mint = &message->replica_mint;
    struct message *answer = message_new_reply(message, MESSAGE_replica_mint_done,
                                               mint->request.key.size + mint->request.value.size);
    struct replica_mint_done *done = &answer->replica_mint_done;
    struct local_state state;
    enum err err = replica_admit(replica, ctx, message);
    if (err == OK)
        err = replica_mint_stage(replica, ctx, mint, &answer->arena, done, &state);
    done->status = err;
    if (err != OK) {
        replica_answer(replica, ctx, answer, 0);
        return;
    }
    done->staged = true;
    counter_add(&replica->figures.minted, 1);
    replica_fan_out(replica, ctx, message, done->record);
    replica_answer(replica, ctx, answer, replica_sequence(replica, state.hash, mint->policy));
}

/* -- merging
 * ---------------------------------------------------------------------------------------- */

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

static enum err replica_merge(struct replica *replica, struct actor_context *ctx,
                              const struct replica_write *write, struct local_state *state)
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
    if (err != OK)
        return err;
    bool amnesia = replica_ahead_of_memory(replica, &incoming.clock, &state->set.clock);
    struct version_set merged = version_set_merge(scratch, &state->set, &incoming);
    if ((write->policy & POLICY_LWW) != 0)
        merged = version_set_last_writer_wins(scratch, &merged);
    if (amnesia) {
        /* riak_kv PR 1643: our own writes come back to us; never count on from there. */
        uint64_t epoch = 0;
        err = replica_draw_epoch(replica, ctx, &merged.clock, &merged.clock, &epoch);
        if (err != OK)
            return err;
        counter_add(&replica->figures.amnesia, 1);
        merged = version_set_add_epoch(scratch, &merged, replica->options.self, epoch);
    }
    struct bytes record = state->record.size == 0 && !amnesia && incoming.count == merged.count
                              ? write->record
                              : record_encode(scratch, write->keyspace_id, write->key, &merged);
    if (bytes_equal(record, state->record)) {
        counter_add(&replica->figures.merged_same, 1);
        return OK;
    }
    counter_add(&replica->figures.merged, 1);
    return replica_store(replica, ctx, write->partition, state, record, write->policy);
}

static void replica_on_write(struct replica *replica, struct actor_context *ctx,
                             const struct message *message)
{
    const struct replica_write *write = &message->replica_write;
    struct message *answer = message_new_reply(message, MESSAGE_replica_write_reply, 0);
    struct local_state state;
    enum err err = replica_admit(replica, ctx, message);
    if (err == OK)
        err = replica_merge(replica, ctx, write, &state);
    answer->replica_write_reply.status = err;
    replica_answer(replica, ctx, answer,
                   err == OK ? replica_sequence(replica, state.hash, write->policy) : 0);
}

/* -- reading
 * ------------------------------------------------------------------------------------------ */

static void replica_on_read(struct replica *replica, struct actor_context *ctx,
                            const struct message *message)
{
    const struct replica_read *read = &message->replica_read;
    struct message *answer = message_new_reply(message, MESSAGE_replica_read_reply, 0);
    struct replica_read_reply *reply = &answer->replica_read_reply;
    struct local_state state;
    counter_add(&replica->figures.read, 1);
    reply->status = replica_admit(replica, ctx, message);
    if (reply->status == OK)
        reply->status = replica_load_record(replica, ctx, read, &state);
    if (reply->status == OK)
        reply->record = arena_copy(&answer->arena, state.record);
    replica_answer(replica, ctx, answer,
                   reply->status == OK ? replica_sequence(replica, state.hash, read->policy) : 0);
}

/* -- the actor
 * ------------------------------------------------------------------------------------------ */

static void replica_handle(struct actor *actor, struct actor_context *ctx, struct message *message)
{
    struct replica *replica = replica_of(actor);
    CHECK(ctx->store != NULL);
    switch (message->kind) {
    case MESSAGE_replica_mint:
        replica_on_mint(replica, ctx, message);
        break;
    case MESSAGE_replica_write:
        replica_on_write(replica, ctx, message);
        break;
    case MESSAGE_replica_read:
        replica_on_read(replica, ctx, message);
        break;
    case MESSAGE_store_committed:
        replica_on_store_committed(replica, ctx, &message->store_committed);
        break;
    case MESSAGE_client_get:
    case MESSAGE_client_get_done:
    case MESSAGE_client_put:
    case MESSAGE_client_put_done:
    case MESSAGE_forward_put:
    case MESSAGE_forward_put_reply:
    case MESSAGE_replica_mint_done:
    case MESSAGE_replica_write_reply:
    case MESSAGE_replica_read_reply:
    case MESSAGE_peer_link:
    case MESSAGE_gossip_digest:
    case MESSAGE_gossip_digest_reply:
    case MESSAGE_gossip_keyspaces:
    case MESSAGE_gossip_keyspaces_reply:
    case MESSAGE_keyspace_change:
    case MESSAGE_keyspace_change_done:
    case MESSAGE_view_publish:
    case MESSAGE_hint_store:
    case MESSAGE_hint_store_reply:
    case MESSAGE_tree_compare:
    case MESSAGE_tree_compare_reply:
    case MESSAGE_KIND_COUNT:
        counter_add(&replica->figures.unexpected, 1);
        break;
    }
    message_free(message);
    arena_clear(&replica->scratch);
}

static void replica_tick(struct actor *actor, struct actor_context *ctx)
{
    (void)actor;
    (void)ctx;
}

static uint64_t replica_wake_at_ns(const struct actor *actor)
{
    (void)actor;
    return NEVER_NS;
}

static void replica_check(const struct actor *actor)
{
    const struct replica *replica = CONTAINER_OF(actor, const struct replica, actor);
    CHECK_U64(replica->held.count, <=, replica->options.held_max);
    CHECK_U64(replica->lease.next, <=, replica->lease.limit + replica->lease.step);
    CHECK(replica->lease.limit_staged == 0 || replica->lease.limit_staged > replica->lease.limit);
}

static const struct actor_class replica_class = {
    .name = "replica",
    .handle = replica_handle,
    .tick = replica_tick,
    .wake_at_ns = replica_wake_at_ns,
    .check = replica_check,
};

struct replica *replica_new(const struct replica_options *options, const struct boot *boot)
{
    CHECK(options->self != MEMBER_NONE);
    struct replica *replica = calloc(1, sizeof *replica);
    CHECK(replica != NULL);
    actor_init(
        &replica->actor, &replica_class,
        (struct actor_id){.node = options->self, .kind = ACTOR_REPLICA, .index = options->shard});
    replica->options = *options;
    replica->epoch_floor = boot->epoch_floor;
    epoch_lease_init(&replica->lease, boot, options->shard, options->shards);
    hlc_init(&replica->hlc, HLC_AHEAD_MAX_DEFAULT_MS);
    heap_init(&replica->held);
    arena_init(&replica->scratch, NULL, 0);
    return replica;
}

void replica_free(struct replica *replica)
{
    while (heap_peek(&replica->held) != NULL)
        message_free(heap_pop(&replica->held).value);
    heap_deinit(&replica->held);
    arena_deinit(&replica->scratch);
    free(replica);
}

struct actor *replica_actor(struct replica *replica)
{
    return &replica->actor;
}

const struct replica_figures *replica_figures(const struct replica *replica)
{
    return &replica->figures;
}
