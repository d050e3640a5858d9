#include "actors/replica_state.h"

#include "base/mutation.h"

#include <inttypes.h>

static size_t pending_slot(uint64_t hash)
{
    return (size_t)(hash >> 16) % PENDING_SLOTS;
}

/* The record of a key, not looked into; empty: nothing here. */
static enum err replica_find(struct replica *replica, struct actor_context *ctx, uint32_t partition,
                             uint32_t keyspace_id, struct bytes key, struct local_state *ret_state)
{
    struct local_state *state = ret_state;
    state->keyspace_id = keyspace_id;
    state->hash = hash_key(keyspace_id, key);
    state->key = bytes_of(state->key_memory,
                          hash_storage_key(keyspace_id, key, state->hash, state->key_memory));
    state->record = (struct bytes){0};
    state->bad_row = false;
    state->set = (struct version_set){0};
    if (hash_partition(state->hash, replica->vnodes.partitions) != partition)
        return ERR_INVALID;
    enum err err = store_read(ctx->store, partition, state->key, &replica->scratch, &state->record);
    if (err == OK && state->record.size == 0) {
        state->bad_row = true; /* no record is that short */
        return ERR_CORRUPT;
    }
    if (err == ERR_CORRUPT)
        replica_vnode_unreadable(replica, ctx, vnode_of(&replica->vnodes, partition));
    if (MUTATE(READ_ERROR_IS_NOT_FOUND) && err == ERR_IO)
        err = ERR_NOT_FOUND;
    return err == ERR_NOT_FOUND ? OK : err;
}

/* Counts and tells of a read that failed; gives the error back. */
static enum err replica_read_result(struct replica *replica, struct actor_context *ctx,
                                    uint32_t partition, const struct local_state *state,
                                    enum err err)
{
    if (err == OK || err == ERR_INVALID)
        return err;
    counter_add(&replica->figures.read_errors, 1);
    if (state->bad_row) {
        quarantine_met(replica, ctx, partition, state->key, state->record);
        return err;
    }
    log_write(ctx->log, LOG_ERROR, "replica_read_failed",
              "partition=%" PRIu32 " hash=%016" PRIx64 " error=\"%s\"", partition, state->hash,
              err_text(err));
    return err;
}

enum err replica_load(struct replica *replica, struct actor_context *ctx, uint32_t partition,
                      uint32_t keyspace_id, struct bytes key, struct local_state *ret_state)
{
    struct local_state *state = ret_state;
    enum err err = replica_find(replica, ctx, partition, keyspace_id, key, state);
    if (err == OK && state->record.size != 0)
        err = record_decode(&replica->scratch, keyspace_id, key, state->record, &state->set);
    state->bad_row |= err == ERR_CORRUPT && state->record.size != 0;
    return replica_read_result(replica, ctx, partition, state, err);
}

enum err replica_load_record(struct replica *replica, struct actor_context *ctx,
                             const struct replica_read *read, struct local_state *ret_state)
{
    struct local_state *state = ret_state;
    enum err err = replica_find(replica, ctx, read->partition, read->keyspace_id, read->key, state);
    if (err == OK && state->record.size != 0)
        err = record_verify(read->keyspace_id, read->key, state->record);
    state->bad_row |= err == ERR_CORRUPT && state->record.size != 0;
    return replica_read_result(replica, ctx, read->partition, state, err);
}

enum err replica_store(struct replica *replica, struct actor_context *ctx, uint32_t partition,
                       const struct local_state *state, struct bytes record, uint32_t policy)
{
    enum store_sync sync = (policy & POLICY_PERIODIC) != 0 ? STORE_SYNC_LATER : STORE_SYNC_NOW;
    enum err err = store_put(ctx->store, partition, state->key, record, sync);
    vnode_of(&replica->vnodes, partition)->absent = false;
    if (err == OK)
        replica->pending[pending_slot(state->hash)] = store_staged(ctx->store);
    if (err == OK)
        tree_row_changed(replica, ctx, partition, state->keyspace_id, state, record);
    if (err == ERR_OVERLOADED)
        counter_add(&replica->figures.overloaded, 1);
    return err;
}

enum err replica_remove(struct replica *replica, struct actor_context *ctx, uint32_t partition,
                        uint32_t keyspace_id, const struct local_state *state)
{
    enum err err = store_delete(ctx->store, partition, state->key, STORE_SYNC_NOW);
    if (err == OK) {
        replica->pending[pending_slot(state->hash)] = store_staged(ctx->store);
        tree_row_changed(replica, ctx, partition, keyspace_id, state, (struct bytes){0});
    }
    return err;
}

enum err replica_load_register(struct replica *replica, struct actor_context *ctx,
                               uint32_t partition, uint32_t keyspace_id, struct bytes key,
                               struct local_state *ret_state, struct register_state *ret_register)
{
    struct local_state *state = ret_state;
    *ret_register = (struct register_state){0};
    enum err err = replica_find(replica, ctx, partition, keyspace_id, key, state);
    if (err == OK && state->record.size != 0)
        err = register_row_decode(keyspace_id, key, state->record, ret_register);
    struct register_value value;
    if (MUTATE(REGISTER_TOMBSTONE_FORGOTTEN) && err == OK &&
        register_value_decode(ret_register->value, &value) == OK && !value.found)
        *ret_register = (struct register_state){0};
    if (MUTATE(REGISTER_BAD_ROW_IS_NEW) && err == ERR_CORRUPT && state->record.size != 0)
        err = OK;
    state->bad_row |= err == ERR_CORRUPT && state->record.size != 0;
    return replica_read_result(replica, ctx, partition, state, err);
}

enum err replica_store_register(struct replica *replica, struct actor_context *ctx,
                                uint32_t partition, struct bytes key,
                                const struct local_state *state, const struct register_state *next)
{
    struct bytes row = register_row_encode(&replica->scratch, state->keyspace_id, key, next);
    enum err err = store_put(ctx->store, partition, state->key, row, STORE_SYNC_NOW);
    struct vnode *vnode = vnode_of(&replica->vnodes, partition);
    vnode->absent = false;
    vnode_keyspace_get(vnode, state->keyspace_id)->registers = true;
    if (err == OK)
        replica->pending[pending_slot(state->hash)] = store_staged(ctx->store);
    if (err == ERR_OVERLOADED)
        counter_add(&replica->figures.overloaded, 1);
    return err;
}

uint64_t replica_sequence(const struct replica *replica, uint64_t hash, uint32_t policy)
{
    return (policy & POLICY_PERIODIC) != 0 ? 0 : replica->pending[pending_slot(hash)];
}

enum err replica_row_parse(const struct replica *replica, uint32_t partition, struct bytes key,
                           struct bytes value, struct row *ret_row)
{
    struct row row = {.record = value};
    if (!hash_storage_key_parse(key, &row.hash, &row.keyspace_id, &row.key) ||
        row.key.size > KEY_BYTES_MAX ||
        hash_partition(row.hash, replica->vnodes.partitions) != partition ||
        row.hash != hash_key(row.keyspace_id, row.key))
        return ERR_CORRUPT;
    if (record_verify(row.keyspace_id, row.key, value) == ERR_CORRUPT)
        return ERR_CORRUPT;
    *ret_row = row;
    return OK;
}
