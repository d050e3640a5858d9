#include "actors/replica_vnode.h"

#include "actors/replica_state.h"

#include "base/mutation.h"

#include <inttypes.h>
#include <stdlib.h>

#define ROW_FORMAT      1u
#define STATE_PREFIX    "vnode-state/"
#define FLOOR_PREFIX    "vnode-floor/"
#define LOST_PREFIX     "vnode-voter/" /* no vote in registers */
#define VOTES_PREFIX    "vnode-votes/" /* but in these */
#define GAIN_PREFIX     "vnode-gains/"
#define EPOCH_PREFIX    "vnode-epoch/"
#define PREFIX_BYTES    12u
#define ROW_KEY_BYTES   (PREFIX_BYTES + 8u)
#define LOAD_RETRY_NS   ((uint64_t)250 * 1000 * 1000)
#define KEYSPACES_FIRST 4u

static_assert(sizeof STATE_PREFIX - 1 == PREFIX_BYTES && sizeof FLOOR_PREFIX - 1 == PREFIX_BYTES &&
                  sizeof LOST_PREFIX - 1 == PREFIX_BYTES &&
                  sizeof VOTES_PREFIX - 1 == PREFIX_BYTES &&
                  sizeof GAIN_PREFIX - 1 == PREFIX_BYTES && sizeof EPOCH_PREFIX - 1 == PREFIX_BYTES,
              "rows are taken apart by their size");

/* -- the table -----------------------------------------------------------------------------------
 */

void vnode_table_init(struct vnode_table *table, const struct replica_options *options,
                      uint32_t partitions)
{
    *table = (struct vnode_table){
        .partitions = partitions, .shard = options->shard, .shards = options->shards};
    for (uint32_t partition = options->shard; partition < partitions; partition += options->shards)
        table->count++;
    table->vnodes = calloc(table->count == 0 ? 1 : table->count, sizeof *table->vnodes);
    CHECK(table->vnodes != NULL);
    for (uint32_t i = 0; i < table->count; i++)
        table->vnodes[i].partition = options->shard + i * options->shards;
}

void vnode_table_deinit(struct vnode_table *table)
{
    for (uint32_t i = 0; i < table->count; i++) {
        free(table->vnodes[i].keyspaces);
        free(table->vnodes[i].voting);
    }
    free(table->vnodes);
}

struct vnode *vnode_of(struct vnode_table *table, uint32_t partition)
{
    CHECK_U64(partition, <, table->partitions);
    CHECK_U64(replica_shard(partition, table->shards), ==, table->shard);
    return &table->vnodes[partition / table->shards];
}

/* The place of an id, or where it would be. */
static uint32_t keyspace_place(const struct vnode *vnode, uint32_t keyspace_id)
{
    uint32_t low = 0;
    uint32_t high = vnode->keyspace_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (vnode->keyspaces[middle].id < keyspace_id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct vnode_keyspace *vnode_keyspace_find(const struct vnode *vnode, uint32_t keyspace_id)
{
    uint32_t place = keyspace_place(vnode, keyspace_id);
    bool found = place < vnode->keyspace_count && vnode->keyspaces[place].id == keyspace_id;
    return found ? &vnode->keyspaces[place] : NULL;
}

struct vnode_keyspace *vnode_keyspace_get(struct vnode *vnode, uint32_t keyspace_id)
{
    struct vnode_keyspace *found = vnode_keyspace_find(vnode, keyspace_id);
    if (found != NULL)
        return found;
    if (vnode->keyspace_count == vnode->keyspace_capacity) {
        vnode->keyspace_capacity =
            vnode->keyspace_capacity == 0 ? KEYSPACES_FIRST : 2 * vnode->keyspace_capacity;
        vnode->keyspaces =
            realloc(vnode->keyspaces, vnode->keyspace_capacity * sizeof *vnode->keyspaces);
        CHECK(vnode->keyspaces != NULL);
    }
    uint32_t place = keyspace_place(vnode, keyspace_id);
    struct vnode_keyspace *keyspace = &vnode->keyspaces[place];
    memmove(keyspace + 1, keyspace, (vnode->keyspace_count - place) * sizeof *keyspace);
    *keyspace = (struct vnode_keyspace){.id = keyspace_id};
    vnode->keyspace_count++;
    return keyspace;
}

/* -- rows
 * ------------------------------------------------------------------------------------------
 */

static struct bytes vnode_key(const char *prefix, uint32_t partition, uint8_t memory[ROW_KEY_BYTES])
{
    memcpy(memory, prefix, PREFIX_BYTES);
    key_put_u32(memory + PREFIX_BYTES, partition);
    return bytes_of(memory, PREFIX_BYTES + 4);
}

static struct bytes part_key(const char *prefix, uint32_t partition, uint32_t keyspace_id,
                             uint8_t memory[ROW_KEY_BYTES])
{
    (void)vnode_key(prefix, partition, memory);
    key_put_u32(memory + PREFIX_BYTES + 4, keyspace_id);
    return bytes_of(memory, ROW_KEY_BYTES);
}

enum err vnode_state_stage(const struct vnode *vnode, struct store *store, enum vnode_state state)
{
    uint8_t key[ROW_KEY_BYTES];
    uint8_t value[2] = {ROW_FORMAT, (uint8_t)state};
    struct bytes name = vnode_key(STATE_PREFIX, vnode->partition, key);
    if (state == VNODE_COMPLETE)
        return store_delete(store, STORE_META, name, STORE_SYNC_NOW);
    return store_put(store, STORE_META, name, bytes_of(value, sizeof value), STORE_SYNC_NOW);
}

enum err vnode_lost_stage(const struct vnode *vnode, struct store *store)
{
    uint8_t key[ROW_KEY_BYTES];
    uint8_t value[1] = {ROW_FORMAT};
    return store_put(store, STORE_META, vnode_key(LOST_PREFIX, vnode->partition, key),
                     bytes_of(value, sizeof value), STORE_SYNC_NOW);
}

enum err vnode_voting_stage(const struct vnode *vnode, struct store *store, uint32_t keyspace_id,
                            bool votes)
{
    uint8_t key[ROW_KEY_BYTES];
    uint8_t value[1] = {ROW_FORMAT};
    struct bytes name = part_key(VOTES_PREFIX, vnode->partition, keyspace_id, key);
    if (!votes)
        return store_delete(store, STORE_META, name, STORE_SYNC_NOW);
    return store_put(store, STORE_META, name, bytes_of(value, sizeof value), STORE_SYNC_NOW);
}

enum err vnode_gain_stage(const struct vnode *vnode, struct store *store, uint32_t keyspace_id,
                          enum gain_state state, uint64_t epoch)
{
    uint8_t key[ROW_KEY_BYTES];
    uint8_t memory[64];
    struct arena arena;
    struct writer writer;
    struct bytes name = part_key(GAIN_PREFIX, vnode->partition, keyspace_id, key);
    if (state == GAIN_NONE)
        return store_delete(store, STORE_META, name, STORE_SYNC_LATER);
    arena_init(&arena, memory, sizeof memory);
    writer_init(&writer, &arena, 10);
    writer_u8(&writer, ROW_FORMAT);
    writer_u8(&writer, (uint8_t)state);
    writer_u64(&writer, epoch);
    enum err err = store_put(store, STORE_META, name, writer_result(&writer), STORE_SYNC_NOW);
    arena_deinit(&arena);
    return err;
}

enum err vnode_epoch_floor_raise(struct vnode *vnode, struct store *store, uint64_t epoch)
{
    uint8_t key[ROW_KEY_BYTES];
    uint8_t memory[32];
    struct arena arena;
    struct writer writer;
    if (epoch <= vnode->epoch_floor)
        return OK;
    struct bytes name = vnode_key(EPOCH_PREFIX, vnode->partition, key);
    arena_init(&arena, memory, sizeof memory);
    writer_init(&writer, &arena, 9);
    writer_u8(&writer, ROW_FORMAT);
    writer_u64(&writer, epoch);
    enum err err = store_put(store, STORE_META, name, writer_result(&writer), STORE_SYNC_LATER);
    arena_deinit(&arena);
    if (err == OK)
        vnode->epoch_floor = epoch;
    return err;
}

enum err replica_rows_doubt_all(struct store *meta, uint32_t partitions)
{
    enum err err = OK;
    for (uint32_t i = 0; i < partitions && err == OK; i++)
        err = vnode_state_stage(&(struct vnode){.partition = i}, meta, VNODE_EMPTYING);
    return err;
}

enum err replica_rows_vote(struct store *meta, uint32_t partitions, bool *ret_vote)
{
    *ret_vote = false;
    for (uint32_t i = 0; i < partitions && !*ret_vote; i++) {
        uint8_t key[ROW_KEY_BYTES];
        uint8_t memory[32];
        struct arena arena;
        struct bytes value = {0};
        arena_init(&arena, memory, sizeof memory);
        enum err err =
            store_read(meta, STORE_META, vnode_key(STATE_PREFIX, i, key), &arena, &value);
        arena_deinit(&arena);
        if (err != OK && err != ERR_NOT_FOUND)
            return err;
        *ret_vote = err == ERR_NOT_FOUND;
    }
    return OK;
}

struct load {
    struct vnode_table *table;
    uint32_t unreadable;
};

/* The vnode of a row, NULL when it is another shard's. */
static struct vnode *load_vnode(const struct load *load, struct bytes key)
{
    uint32_t partition = key_get_u32(key.data + PREFIX_BYTES);
    const struct vnode_table *table = load->table;
    if (partition >= table->partitions || replica_shard(partition, table->shards) != table->shard)
        return NULL;
    return vnode_of(load->table, partition);
}

static bool load_state(void *closure, struct bytes key, struct bytes value)
{
    struct load *load = closure;
    struct vnode *vnode = key.size == PREFIX_BYTES + 4 ? load_vnode(load, key) : NULL;
    if (vnode == NULL)
        return true;
    /* A row that says something unknown says at least that the vnode was not complete. */
    bool known = value.size == 2 && value.data[0] == ROW_FORMAT && value.data[1] > VNODE_COMPLETE &&
                 value.data[1] < VNODE_STATE_COUNT;
    vnode->state = known ? (enum vnode_state)value.data[1] : VNODE_EMPTYING;
    load->unreadable += !known;
    vnode->emptying_staged = vnode->state == VNODE_EMPTYING;
    load->table->emptying += vnode->state == VNODE_EMPTYING;
    vnode->incarnation = ++load->table->incarnation;
    return true;
}

static bool load_lost(void *closure, struct bytes key, struct bytes value)
{
    struct load *load = closure;
    struct vnode *vnode = key.size == PREFIX_BYTES + 4 ? load_vnode(load, key) : NULL;
    (void)value;
    if (vnode != NULL)
        vnode->registers_lost = true;
    return true;
}

static bool load_epoch(void *closure, struct bytes key, struct bytes value)
{
    struct load *load = closure;
    struct vnode *vnode = key.size == PREFIX_BYTES + 4 ? load_vnode(load, key) : NULL;
    if (vnode == NULL)
        return true;
    struct reader reader = reader_of(value);
    bool known = reader_u8(&reader) == ROW_FORMAT;
    vnode->epoch_floor = reader_u64(&reader);
    load->unreadable += !known || !reader_done(&reader);
    return true;
}

static bool load_voting(void *closure, struct bytes key, struct bytes value)
{
    struct load *load = closure;
    struct vnode *vnode = key.size == ROW_KEY_BYTES ? load_vnode(load, key) : NULL;
    if (vnode != NULL && value.size == 1 && value.data[0] == ROW_FORMAT)
        vnode_voting_add(vnode, key_get_u32(key.data + PREFIX_BYTES + 4));
    return true;
}

/* A row that cannot be read says at least that the copy is not filled. */
static bool load_gain(void *closure, struct bytes key, struct bytes value)
{
    struct load *load = closure;
    struct vnode *vnode = key.size == ROW_KEY_BYTES ? load_vnode(load, key) : NULL;
    if (vnode == NULL)
        return true;
    struct reader reader = reader_of(value);
    bool known = reader_u8(&reader) == ROW_FORMAT;
    uint8_t state = reader_u8(&reader);
    uint64_t epoch = reader_u64(&reader);
    known = known && reader_done(&reader) && (state == GAIN_EMPTY || state == GAIN_FILLED);
    vnode_keyspace_get(vnode, key_get_u32(key.data + PREFIX_BYTES + 4))->gain = (struct vnode_gain){
        .state = known ? (enum gain_state)state : GAIN_EMPTY,
        .epoch = known ? epoch : 0,
        .incarnation = ++load->table->incarnation,
    };
    return true;
}

static bool load_floor(void *closure, struct bytes key, struct bytes value)
{
    struct load *load = closure;
    struct vnode *vnode = key.size == ROW_KEY_BYTES ? load_vnode(load, key) : NULL;
    if (vnode == NULL)
        return true;
    struct reader reader = reader_of(value);
    bool known = reader_u8(&reader) == ROW_FORMAT;
    uint64_t floor = reader_u64(&reader);
    uint64_t adopted_at_ms = reader_left(&reader) == 0 ? 0 : reader_u64(&reader);
    uint64_t reaped = reader_left(&reader) == 0 ? 0 : reader_u64(&reader);
    if (!reader_done(&reader) || !known || reaped > floor) {
        load->unreadable++;
        return true;
    }
    struct vnode_keyspace *keyspace =
        vnode_keyspace_get(vnode, key_get_u32(key.data + PREFIX_BYTES + 4));
    keyspace->has_row = true;
    keyspace->floor = keyspace->floor_durable = floor;
    keyspace->adopted_at_ms = adopted_at_ms;
    keyspace->reaped = reaped;
    return true;
}

static const struct {
    const char *prefix;
    store_visit visit;
} loads[] = {
    {STATE_PREFIX, load_state},  {FLOOR_PREFIX, load_floor}, {LOST_PREFIX, load_lost},
    {VOTES_PREFIX, load_voting}, {GAIN_PREFIX, load_gain},   {EPOCH_PREFIX, load_epoch},
};

/* What was found is taken as a whole or not at all: the next try begins with an empty table. */
static enum err load_rows(struct replica *replica, struct actor_context *ctx)
{
    struct vnode_table table;
    struct load load = {.table = &table};
    vnode_table_init(&table, &replica->options, replica->vnodes.partitions);
    enum err err = OK;
    for (size_t i = 0; i < ARRAY_COUNT(loads) && err == OK; i++) {
        uint8_t end[PREFIX_BYTES];
        memcpy(end, loads[i].prefix, PREFIX_BYTES);
        end[PREFIX_BYTES - 1]++;
        err = store_scan(ctx->store, STORE_META, bytes_of_string(loads[i].prefix),
                         bytes_of(end, sizeof end), loads[i].visit, &load);
    }
    if (err == OK && load.unreadable != 0)
        err = ERR_CORRUPT;
    if (err != OK) {
        log_write(ctx->log, LOG_ERROR, "vnode_rows_unreadable",
                  "shard=%u error=\"%s\" what_now=\"nothing is answered; tried again\"",
                  table.shard, err_text(err));
        vnode_table_deinit(&table);
        return err;
    }
    for (uint32_t i = 0; i < table.count; i++) {
        table.vnodes[i].doubted = replica->vnodes.vnodes[i].doubted;
        table.vnodes[i].doubt = replica->vnodes.vnodes[i].doubt;
    }
    vnode_table_deinit(&replica->vnodes);
    replica->vnodes = table;
    replica->vnodes.loaded = true;
    return OK;
}

bool replica_vnodes_load(struct replica *replica, struct actor_context *ctx)
{
    struct vnode_table *table = &replica->vnodes;
    if (table->loaded)
        return true;
    if (ctx->now_ns < table->load_ns)
        return false;
    if (quarantine_load(replica, ctx->store) != OK || load_rows(replica, ctx) != OK) {
        table->load_ns = ctx->now_ns + LOAD_RETRY_NS;
        return false;
    }
    for (uint32_t i = 0; i < table->count; i++) {
        struct vnode *vnode = &table->vnodes[i];
        if (vnode->doubted)
            replica_vnode_doubt(replica, ctx, vnode, vnode->doubt);
        else if (vnode->state == VNODE_INCOMPLETE)
            replica_vnode_announce(replica, ctx, vnode);
    }
    replica_vnodes_count(replica);
    tree_start(replica, ctx);
    replica_vnodes_go_on(replica, ctx);
    return true;
}

/* -- floors ---------------------------------------------------------------------------------------
 */

uint64_t vnode_floor(const struct vnode *vnode, uint32_t keyspace_id)
{
    const struct vnode_keyspace *keyspace = vnode_keyspace_find(vnode, keyspace_id);
    return keyspace == NULL ? 0 : keyspace->floor;
}

uint64_t vnode_floor_said(const struct vnode *vnode, uint32_t keyspace_id, struct store *store,
                          uint64_t sequence)
{
    const struct vnode_keyspace *keyspace = vnode_keyspace_find(vnode, keyspace_id);
    if (keyspace == NULL)
        return 0;
    bool durable =
        keyspace->floor_sequence <= sequence || keyspace->floor_sequence <= store_committed(store);
    return durable ? keyspace->floor : keyspace->floor_durable;
}

uint64_t vnode_reaped(const struct vnode *vnode, uint32_t keyspace_id)
{
    const struct vnode_keyspace *keyspace = vnode_keyspace_find(vnode, keyspace_id);
    return keyspace == NULL ? 0 : keyspace->reaped;
}

bool vnode_lost_its_seal(const struct vnode *vnode, uint32_t keyspace_id, uint64_t reaped)
{
    const struct vnode_keyspace *keyspace = vnode_keyspace_find(vnode, keyspace_id);
    if (MUTATE(LAGGING_FLOOR_IS_RAISED))
        return false;
    if (keyspace == NULL)
        return false;
    bool holds = keyspace->tree != NULL && merkle_root(keyspace->tree).count > 0;
    return (keyspace->has_row || holds) && keyspace->floor < reaped;
}

enum err vnode_floors_set(struct vnode *vnode, struct store *store, uint32_t keyspace_id,
                          struct vnode_floors floors)
{
    uint8_t key[ROW_KEY_BYTES];
    uint8_t memory[64];
    struct arena arena;
    struct writer writer;
    const struct vnode_keyspace *known = vnode_keyspace_find(vnode, keyspace_id);
    arena_init(&arena, memory, sizeof memory);
    writer_init(&writer, &arena, 25);
    writer_u8(&writer, ROW_FORMAT);
    writer_u64(&writer, floors.floor);
    writer_u64(&writer, known == NULL ? 0 : known->adopted_at_ms);
    writer_u64(&writer, floors.reaped);
    enum err err =
        store_put(store, STORE_META, part_key(FLOOR_PREFIX, vnode->partition, keyspace_id, key),
                  writer_result(&writer), STORE_SYNC_NOW);
    arena_deinit(&arena);
    if (err != OK)
        return err;
    struct vnode_keyspace *keyspace = vnode_keyspace_get(vnode, keyspace_id);
    CHECK_U64(floors.floor, >=, keyspace->floor);
    CHECK_U64(floors.reaped, >=, keyspace->reaped);
    CHECK_U64(floors.reaped, <=, floors.floor);
    keyspace->floor_durable = vnode_floor_said(vnode, keyspace_id, store, 0);
    keyspace->floor = floors.floor;
    keyspace->reaped = floors.reaped;
    keyspace->floor_sequence = store_staged(store);
    keyspace->has_row = true;
    return OK;
}

enum err vnode_floor_forget(const struct vnode *vnode, struct store *store, uint32_t keyspace_id)
{
    uint8_t key[ROW_KEY_BYTES];
    return store_delete(store, STORE_META,
                        part_key(FLOOR_PREFIX, vnode->partition, keyspace_id, key), STORE_SYNC_NOW);
}

enum err vnode_floors_forget(const struct vnode *vnode, struct store *store)
{
    enum err err = OK;
    for (uint32_t i = 0; i < vnode->keyspace_count && err == OK; i++) {
        if (vnode->keyspaces[i].has_row)
            err = vnode_floor_forget(vnode, store, vnode->keyspaces[i].id);
    }
    return err;
}
