/* A node's disk, seen from outside. */
#include "actors/hinted_handoff_rows.h"
#include "actors/replica_state.h"
#include "model/hash.h"
#include "model/record.h"
#include "tests/sim/world.h"

void host_set_disk_faults(struct host *host, double read_error, double overloaded)
{
    host->read_error = read_error;
    host->overloaded = overloaded;
    if (host->engine != NULL)
        engine_memory_set_faults(host->engine, &host->disk_prng, read_error, overloaded, false);
}

static enum err read_now(struct host *host, uint32_t partition, struct bytes key,
                         struct arena *arena, struct bytes *ret_record)
{
    engine_memory_set_faults(host->engine, NULL, 0, 0, false);
    enum err err = store_read(engine_store(host->engine, 0), partition, key, arena, ret_record);
    host_set_disk_faults(host, host->read_error, host->overloaded);
    return err;
}

/* The row of a key, as a step would read it or as a power cut would leave it. */
static enum err row_read(struct host *host, bool durable, uint32_t keyspace_id, struct bytes key,
                         struct arena *arena, struct bytes *ret_row)
{
    uint8_t memory[STORAGE_KEY_BYTES_MAX];
    uint64_t hash = hash_key(keyspace_id, key);
    uint32_t partition = hash_partition(hash, host->world->options.partitions);
    struct bytes name = bytes_of(memory, hash_storage_key(keyspace_id, key, hash, memory));
    if (!host->up)
        return memory_disk_read(host->disk, partition, name, arena, ret_row);
    if (durable)
        return engine_memory_read_durable(host->engine, partition, name, arena, ret_row);
    return read_now(host, partition, name, arena, ret_row);
}

static bool peek(struct host *host, bool durable, uint32_t keyspace_id, struct bytes key,
                 struct arena *arena, struct version_set *ret_set)
{
    struct bytes record = {0};
    enum err err = row_read(host, durable, keyspace_id, key, arena, &record);
    if (err == ERR_NOT_FOUND)
        return false;
    if (err == OK)
        err = record_decode(arena, keyspace_id, key, record, ret_set);
    if (err == ERR_CORRUPT && world_has(host->world, FAULT_CORRUPT))
        return false; /* as good as nothing, until it is repaired */
    if (err != OK)
        world_fail(host->world, "disk", "n%u: a stored record is %s", host->member, err_text(err));
    return err == OK;
}

bool host_peek(struct host *host, uint32_t keyspace_id, struct bytes key, struct arena *arena,
               struct version_set *ret_set)
{
    return host->up && peek(host, false, keyspace_id, key, arena, ret_set);
}

void host_peek_record(struct host *host, uint32_t keyspace_id, struct bytes key,
                      struct arena *arena, struct bytes *ret_record)
{
    if (row_read(host, false, keyspace_id, key, arena, ret_record) != OK)
        *ret_record = (struct bytes){0};
}

static bool is_rotten(struct host *host, bool durable, uint32_t keyspace_id, struct bytes key)
{
    struct bytes record = {0};
    struct arena arena;
    if (!world_has(host->world, FAULT_CORRUPT))
        return false;
    arena_init(&arena, NULL, 0);
    enum err err = row_read(host, durable, keyspace_id, key, &arena, &record);
    bool rotten =
        err == ERR_CORRUPT || (err == OK && record_verify(keyspace_id, key, record) != OK);
    arena_deinit(&arena);
    return rotten;
}

bool host_is_rotten(struct host *host, uint32_t keyspace_id, struct bytes key)
{
    return is_rotten(host, false, keyspace_id, key);
}

bool host_is_rotten_durably(struct host *host, uint32_t keyspace_id, struct bytes key)
{
    return is_rotten(host, true, keyspace_id, key);
}

bool host_peek_durable(struct host *host, uint32_t keyspace_id, struct bytes key,
                       struct arena *arena, struct version_set *ret_set)
{
    return peek(host, true, keyspace_id, key, arena, ret_set);
}

bool host_peek_register(struct host *host, uint32_t keyspace_id, struct bytes key,
                        struct arena *arena, struct register_state *ret_register)
{
    struct bytes row = {0};
    *ret_register = (struct register_state){0};
    enum err err = row_read(host, true, keyspace_id, key, arena, &row);
    if (err == ERR_NOT_FOUND)
        return true;
    /* A letter, the state, a checksum (actors/replica_state.h). */
    if (err == OK && row.size > 9 && row.data[0] == 'R')
        err = record_verify(keyspace_id, key, row) == ERR_CORRUPT
                  ? ERR_CORRUPT
                  : register_state_decode(bytes_of(row.data + 1, row.size - 9), ret_register);
    else
        err = ERR_CORRUPT;
    if (err != OK && !world_has(host->world, FAULT_CORRUPT))
        world_fail(host->world, "disk", "n%u: a register is %s", host->member, err_text(err));
    return err == OK;
}

void host_visit_hints(struct host *host, store_visit visit, void *closure)
{
    engine_memory_set_faults(host->engine, NULL, 0, 0, false);
    enum err err = store_scan(engine_store(host->engine, 0), STORE_HINTS, (struct bytes){0},
                              (struct bytes){0}, visit, closure);
    CHECK(err == OK);
    host_set_disk_faults(host, host->read_error, host->overloaded);
}

bool host_lost_lately(const struct host *host)
{
    return host->losses > 0 && host->world->now_ns < host->lost_at_ns + 30 * (uint64_t)SECOND_NS;
}

/* What a node that is down finds at its next start (actors/replica_vnode.h has the rows). The byte
 * behind the format; `absent`: there is no row. */
static uint8_t vnode_row_on_disk(const struct host *host, const char *prefix, const uint32_t *parts,
                                 size_t count, uint8_t absent)
{
    uint8_t key[32];
    size_t size = strlen(prefix);
    struct bytes row = {0};
    struct arena arena;
    memcpy(key, prefix, size);
    for (size_t i = 0; i < count; i++, size += 4)
        key_put_u32(key + size, parts[i]);
    arena_init(&arena, NULL, 0);
    enum err err = memory_disk_read(host->disk, STORE_META, bytes_of(key, size), &arena, &row);
    uint8_t state = err == OK && row.size > 1 ? row.data[1] : absent;
    arena_deinit(&arena);
    return state;
}

static bool is_complete_on_disk(const struct host *host, uint32_t partition)
{
    const uint32_t parts[] = {partition};
    return vnode_row_on_disk(host, "vnode-state/", parts, 1, VNODE_COMPLETE) == VNODE_COMPLETE;
}

/* One keyspace of it is to be filled. */
static bool is_empty_on_disk(const struct host *host, uint32_t partition, uint32_t keyspace_id)
{
    const uint32_t parts[] = {partition, keyspace_id};
    return vnode_row_on_disk(host, "vnode-gains/", parts, 2, GAIN_NONE) == GAIN_EMPTY;
}

bool host_copy_votes(const struct host *host, uint32_t partition, uint32_t keyspace_id)
{
    uint32_t shards = host->world->options.shards;
    if (host->wiped || !host->up)
        return !host->wiped && is_complete_on_disk(host, partition) &&
               !is_empty_on_disk(host, partition, keyspace_id);
    struct actor *actor = replica_actor(host->replicas[replica_shard(partition, shards)]);
    struct replica *replica = CONTAINER_OF(actor, struct replica, actor);
    const struct vnode *vnode = vnode_of(&replica->vnodes, partition);
    const struct vnode_keyspace *keyspace = vnode_keyspace_find(vnode, keyspace_id);
    return vnode->state == VNODE_COMPLETE &&
           (keyspace == NULL || keyspace->gain.state != GAIN_EMPTY);
}

bool host_trees_suspect(const struct host *host)
{
    bool suspect = false;
    for (uint32_t i = 0; host->up && i < host->world->options.shards; i++) {
        struct actor *actor = replica_actor(host->replicas[i]);
        const struct vnode_table *vnodes = &CONTAINER_OF(actor, struct replica, actor)->vnodes;
        for (uint32_t j = 0; j < vnodes->count; j++)
            suspect |= vnodes->vnodes[j].trees_suspect;
    }
    return suspect;
}

bool host_copies_known(const struct host *host, uint32_t shard)
{
    struct actor *actor = replica_actor(host->replicas[shard]);
    return CONTAINER_OF(actor, struct replica, actor)->vnodes.loaded;
}

bool host_put_back_lately(const struct host *host)
{
    return host->put_backs > 0 && host_lost_lately(host);
}

struct hint_join {
    uint32_t keyspace_id;
    struct bytes key;
    struct arena *arena;
    struct version_set *set;
};

static bool join_hint(void *closure, struct bytes row_key, struct bytes value)
{
    struct hint_join *join = closure;
    struct hint hint;
    struct version_set kept;
    if (hint_decode(row_key, value, &hint) == OK && hint.keyspace_id == join->keyspace_id &&
        bytes_equal(hint.key, join->key) &&
        record_decode(join->arena, hint.keyspace_id, hint.key, arena_copy(join->arena, hint.record),
                      &kept) == OK)
        *join->set = version_set_merge(join->arena, join->set, &kept);
    return true;
}

void host_join_hints(struct host *host, uint32_t keyspace_id, struct bytes key, struct arena *arena,
                     struct version_set *set)
{
    struct hint_join join = {.keyspace_id = keyspace_id, .key = key, .arena = arena, .set = set};
    host_visit_hints(host, join_hint, &join);
}

const struct keyspace *host_keyspace(const struct host *host, const char *name)
{
    return host->view == NULL ? NULL : keyspace_map_find(&host->view->keyspaces, name);
}
