#include "actors/replica_quarantine.h"

#include "actors/replica_state.h"

#include <inttypes.h>
#include <stdlib.h>

#define PREFIX          "quarantine/"
#define PREFIX_BYTES    11u
#define HEAD_BYTES      (PREFIX_BYTES + 4u)
#define ROW_KEY_MAX     (HEAD_BYTES + STORAGE_KEY_BYTES_MAX)
#define SECOND_NS       ((uint64_t)1000 * 1000 * 1000)
#define REBUILD_SOON_NS (10 * SECOND_NS)

static_assert(sizeof PREFIX - 1 == PREFIX_BYTES, "rows are taken apart by their size");

void quarantine_init(struct quarantine *quarantine)
{
    *quarantine = (struct quarantine){.wake_ns = NEVER_NS};
}

static void count(struct replica *replica)
{
    const struct quarantine *quarantine = &replica->quarantine;
    counter_set(&replica->figures.quarantined, quarantine->count - quarantine->register_count);
    counter_set(&replica->figures.registers_bad, quarantine->register_count);
}

static void drop(struct replica *replica, uint32_t place)
{
    struct quarantine *quarantine = &replica->quarantine;
    quarantine->register_count -= quarantine->rows[place].is_register;
    free(quarantine->rows[place].key);
    quarantine->rows[place] = quarantine->rows[--quarantine->count];
    count(replica);
}

void quarantine_deinit(struct quarantine *quarantine)
{
    for (uint32_t i = 0; i < quarantine->count; i++)
        free(quarantine->rows[i].key);
    free(quarantine->rows);
}

static int find(const struct quarantine *quarantine, uint32_t partition, struct bytes storage_key)
{
    for (uint32_t i = 0; i < quarantine->count; i++) {
        const struct quarantine_row *row = &quarantine->rows[i];
        if (row->partition == partition &&
            bytes_equal(bytes_of(row->key, row->key_size), storage_key))
            return (int)i;
    }
    return -1;
}

/* -- copies aside ---------------------------------------------------------------------------------
 */

struct load {
    struct quarantine *quarantine;
    const struct vnode_table *vnodes;
};

static bool load_row(void *closure, struct bytes key, struct bytes value)
{
    struct load *load = closure;
    uint32_t partition = 0;
    for (size_t i = PREFIX_BYTES; key.size > HEAD_BYTES && i < HEAD_BYTES; i++)
        partition = partition << 8 | key.data[i];
    if (replica_shard(partition, load->vnodes->shards) == load->vnodes->shard) {
        load->quarantine->kept_count++;
        load->quarantine->kept_bytes += value.size;
    }
    return true;
}

enum err quarantine_load(struct replica *replica, struct store *store)
{
    struct load load = {.quarantine = &replica->quarantine, .vnodes = &replica->vnodes};
    replica->quarantine.kept_count = 0;
    replica->quarantine.kept_bytes = 0;
    return store_scan(store, STORE_META, bytes_of_string(PREFIX), bytes_of_string("quarantine0"),
                      load_row, &load);
}

/* A copy that is there already, of an earlier damage, stays. */
static void copy_aside(struct replica *replica, struct actor_context *ctx, uint32_t partition,
                       struct bytes storage_key, struct bytes value)
{
    struct quarantine *quarantine = &replica->quarantine;
    uint8_t key[ROW_KEY_MAX];
    struct bytes there;
    if (quarantine->kept_count >= QUARANTINE_KEPT_MAX ||
        quarantine->kept_bytes + value.size > QUARANTINE_KEPT_BYTES) {
        counter_add(&replica->figures.quarantine_full, 1);
        return;
    }
    memcpy(key, PREFIX, PREFIX_BYTES);
    for (unsigned i = 0; i < 4; i++)
        key[PREFIX_BYTES + i] = (uint8_t)(partition >> (24 - 8 * i));
    memcpy(key + HEAD_BYTES, storage_key.data, storage_key.size);
    struct bytes name = bytes_of(key, HEAD_BYTES + storage_key.size);
    if (store_read(ctx->store, STORE_META, name, &replica->scratch, &there) != ERR_NOT_FOUND ||
        store_put(ctx->store, STORE_META, name, value, STORE_SYNC_LATER) != OK)
        return;
    quarantine->kept_count++;
    quarantine->kept_bytes += value.size;
}

/* -- rows
 * ------------------------------------------------------------------------------------------
 */

/* The trees that serve may still count what the row was; those under way too, if the scan has
 * passed it when it was sound. */
static void distrust_trees(struct replica *replica, struct actor_context *ctx, uint32_t partition,
                           struct bytes storage_key)
{
    struct vnode *vnode = vnode_of(&replica->vnodes, partition);
    const struct tree_build *build = &replica->trees.build;
    vnode->trees_suspect = true;
    bool passed = build->vnode == vnode &&
                  bytes_compare(storage_key, bytes_of(build->cursor, build->cursor_size)) <= 0;
    if (passed)
        tree_build_cancel(replica);
    if (passed || build->vnode != vnode)
        tree_build_wanted(replica, vnode, ctx->now_ns + REBUILD_SOON_NS);
}

/* The keyspace of a row may be known later than the row was met. */
static void note_register(struct quarantine *quarantine, const struct actor_context *ctx,
                          struct quarantine_row *row)
{
    const struct keyspace *keyspace = keyspace_map_find_id(&ctx->view->keyspaces, row->keyspace_id);
    if (row->is_register || !row->has_name || keyspace == NULL ||
        keyspace->mode != KEYSPACE_CONSISTENT)
        return;
    row->is_register = true;
    row->ask_ns = NEVER_NS;
    quarantine->register_count++;
}

static void remember(struct replica *replica, struct actor_context *ctx, uint32_t partition,
                     struct bytes storage_key)
{
    struct quarantine *quarantine = &replica->quarantine;
    struct quarantine_row row = {
        .partition = partition, .key_size = storage_key.size, .ask_ns = ctx->now_ns};
    uint64_t hash;
    struct bytes name;
    if (quarantine->count == QUARANTINE_ROWS_MAX) {
        counter_add(&replica->figures.quarantine_full, 1);
        return;
    }
    row.has_name = hash_storage_key_parse(storage_key, &hash, &row.keyspace_id, &name) &&
                   hash == hash_key(row.keyspace_id, name);
    if (quarantine->rows == NULL)
        quarantine->rows = calloc(QUARANTINE_ROWS_MAX, sizeof *quarantine->rows);
    row.key = malloc(storage_key.size + 1);
    CHECK(quarantine->rows != NULL && row.key != NULL);
    memcpy(row.key, storage_key.data, storage_key.size);
    if (!row.has_name)
        row.ask_ns = NEVER_NS;
    note_register(quarantine, ctx, &row);
    if (row.ask_ns < quarantine->wake_ns)
        quarantine->wake_ns = row.ask_ns;
    quarantine->rows[quarantine->count++] = row;
    count(replica);
    log_write(ctx->log, LOG_ERROR, "row_quarantined",
              "partition=%" PRIu32 " keyspace=%08" PRIx32 " hash=%016" PRIx64 " what_now=\"%s\"",
              partition, row.keyspace_id, row.has_name ? hash : 0,
              row.is_register ? "a register: this copy of it does not vote any more"
              : row.has_name  ? "fetched from the other replicas"
                              : "its key is damaged too: the copy aside is all there is");
}

void quarantine_met(struct replica *replica, struct actor_context *ctx, uint32_t partition,
                    struct bytes storage_key, struct bytes value)
{
    counter_add(&replica->figures.corrupt, 1);
    if (storage_key.size > STORAGE_KEY_BYTES_MAX ||
        find(&replica->quarantine, partition, storage_key) >= 0)
        return;
    copy_aside(replica, ctx, partition, storage_key, value);
    distrust_trees(replica, ctx, partition, storage_key);
    remember(replica, ctx, partition, storage_key);
}

void quarantine_repaired(struct replica *replica, struct actor_context *ctx, uint32_t partition,
                         struct bytes storage_key)
{
    int place = find(&replica->quarantine, partition, storage_key);
    counter_add(&replica->figures.rows_repaired, 1);
    log_write(ctx->log, LOG_INFO, "row_repaired", "partition=%" PRIu32, partition);
    if (place >= 0)
        drop(replica, (uint32_t)place);
}

bool quarantine_holds(const struct replica *replica, uint32_t partition, uint32_t keyspace_id)
{
    for (uint32_t i = 0; i < replica->quarantine.count; i++) {
        const struct quarantine_row *row = &replica->quarantine.rows[i];
        if (row->partition == partition && row->has_name && row->keyspace_id == keyspace_id)
            return true;
    }
    return false;
}

/* Ascending, each once. */
static void ids_add(uint32_t *ids, uint32_t *count, uint32_t id)
{
    uint32_t at = *count;
    while (at > 0 && ids[at - 1] > id)
        at--;
    if (at > 0 && ids[at - 1] == id)
        return;
    memmove(&ids[at + 1], &ids[at], (*count - at) * sizeof *ids);
    ids[at] = id;
    ++*count;
}

bool quarantine_records(const struct replica *replica, const struct actor_context *ctx,
                        uint32_t partition, struct arena *arena,
                        struct exchange_indices *ret_keyspaces)
{
    const struct quarantine *quarantine = &replica->quarantine;
    const struct keyspace_map *map = &ctx->view->keyspaces;
    bool unreadable = replica->vnodes.vnodes[partition / replica->vnodes.shards].unreadable;
    *ret_keyspaces = (struct exchange_indices){0};
    if (quarantine->count == QUARANTINE_ROWS_MAX)
        return true;
    if (quarantine->count == 0 && !unreadable)
        return false; /* nearly always */
    uint32_t *ids = ARENA_NEW(arena, uint32_t, KEYSPACES_MAX);
    uint32_t count = 0;
    for (uint32_t i = 0; i < quarantine->count && count < KEYSPACES_MAX; i++) {
        const struct quarantine_row *row = &quarantine->rows[i];
        if (row->partition == partition && row->has_name && !row->is_register &&
            keyspace_map_find_id(&ctx->view->keyspaces, row->keyspace_id) != NULL)
            ids_add(ids, &count, row->keyspace_id);
    }
    for (uint32_t i = 0; unreadable && i < map->count; i++) {
        const struct keyspace *keyspace = &map->keyspaces[i];
        if (!keyspace->dropped && keyspace->mode != KEYSPACE_CONSISTENT &&
            !quarantine_gave_up(replica, partition, keyspace->id) && count < KEYSPACES_MAX)
            ids_add(ids, &count, keyspace->id);
    }
    *ret_keyspaces = (struct exchange_indices){.count = count, .indices = ids};
    return count > 0;
}

bool quarantine_gave_up(const struct replica *replica, uint32_t partition, uint32_t keyspace_id)
{
    const struct vnode_keyspace *keyspace = vnode_keyspace_find(
        &replica->vnodes.vnodes[partition / replica->vnodes.shards], keyspace_id);
    return keyspace != NULL && keyspace->given_up;
}

bool quarantine_any(const struct replica *replica, uint32_t partition)
{
    const struct quarantine *quarantine = &replica->quarantine;
    bool found = quarantine->count == QUARANTINE_ROWS_MAX ||
                 replica->vnodes.vnodes[partition / replica->vnodes.shards].unreadable;
    for (uint32_t i = 0; i < quarantine->count && !found; i++)
        found = quarantine->rows[i].partition == partition;
    return found;
}

void quarantine_emptied(struct replica *replica, uint32_t partition, uint32_t keyspace_id)
{
    for (uint32_t i = replica->quarantine.count; i-- > 0;) {
        const struct quarantine_row *row = &replica->quarantine.rows[i];
        if (row->partition == partition &&
            (keyspace_id == 0 || (row->has_name && row->keyspace_id == keyspace_id)))
            drop(replica, i);
    }
}

/* -- asking ---------------------------------------------------------------------------------------
 */

static void ask(struct replica *replica, struct actor_context *ctx,
                const struct quarantine_row *row)
{
    size_t name_size = row->key_size - STORAGE_KEY_PREFIX;
    struct message *message = message_new(MESSAGE_record_repair, name_size);
    message->to = (struct actor_id){.node = replica->options.self, .kind = ACTOR_ANTI_ENTROPY};
    message->record_repair = (struct record_repair){
        .partition = row->partition,
        .keyspace_id = row->keyspace_id,
        .key = arena_copy(&message->arena, bytes_of(row->key + STORAGE_KEY_PREFIX, name_size)),
    };
    counter_add(&replica->figures.repairs_asked, 1);
    outbox_send(ctx, &replica->actor, message);
}

void quarantine_tick(struct replica *replica, struct actor_context *ctx)
{
    struct quarantine *quarantine = &replica->quarantine;
    uint32_t asked = 0;
    if (ctx->now_ns < quarantine->wake_ns)
        return;
    quarantine->wake_ns = NEVER_NS;
    for (uint32_t i = 0; i < quarantine->count; i++) {
        struct quarantine_row *row = &quarantine->rows[i];
        if (row->ask_ns <= ctx->now_ns)
            note_register(quarantine, ctx, row);
        if (row->ask_ns <= ctx->now_ns && asked < QUARANTINE_ASKS_MAX) {
            ask(replica, ctx, row);
            row->ask_ns = ctx->now_ns + QUARANTINE_ASK_AGAIN_NS;
            asked++;
        }
        if (row->ask_ns < quarantine->wake_ns)
            quarantine->wake_ns = row->ask_ns;
    }
    count(replica);
    if (asked == QUARANTINE_ASKS_MAX || quarantine->wake_ns <= ctx->now_ns)
        quarantine->wake_ns = ctx->now_ns + SECOND_NS;
}
