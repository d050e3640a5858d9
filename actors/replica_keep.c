/* Trees over a clean stop. Rows in STORE_META (big-endian numbers):
 *
 *     "vnode-tree/" u32 partition, u32 keyspace -> merkle_encode()
 *     "vnode-tree/" u32 partition               -> u8 format | u32 number of those; written last
 *
 * They are removed at every start, behind nothing and before all that is written then, and are
 * taken only if the start follows a clean stop: a crash never finds trees that are older than its
 * rows. */
#include "actors/replica_state.h"

#include <inttypes.h>

#define ROW_FORMAT    1u
#define PREFIX        "vnode-tree/"
#define PREFIX_BYTES  11u
#define ROW_KEY_BYTES (PREFIX_BYTES + 8u)

static_assert(sizeof PREFIX - 1 == PREFIX_BYTES, "rows are taken apart by their size");

static struct bytes vnode_key(uint32_t partition, uint8_t memory[ROW_KEY_BYTES])
{
    memcpy(memory, PREFIX, PREFIX_BYTES);
    key_put_u32(memory + PREFIX_BYTES, partition);
    return bytes_of(memory, PREFIX_BYTES + 4);
}

static struct bytes tree_key(uint32_t partition, uint32_t keyspace_id,
                             uint8_t memory[ROW_KEY_BYTES])
{
    vnode_key(partition, memory);
    key_put_u32(memory + PREFIX_BYTES + 4, keyspace_id);
    return bytes_of(memory, ROW_KEY_BYTES);
}

/* -- at the stop ----------------------------------------------------------------------------------
 */

static enum err vnode_keep(struct replica *replica, struct store *store, const struct vnode *vnode)
{
    uint8_t key[ROW_KEY_BYTES];
    uint8_t value[5] = {ROW_FORMAT};
    uint32_t count = 0;
    enum err err = OK;
    for (uint32_t i = 0; i < vnode->keyspace_count && err == OK; i++) {
        const struct vnode_keyspace *keyspace = &vnode->keyspaces[i];
        if (keyspace->tree == NULL)
            continue;
        arena_clear(&replica->scratch);
        err = store_put(store, STORE_META, tree_key(vnode->partition, keyspace->id, key),
                        merkle_encode(&replica->scratch, keyspace->tree), STORE_SYNC_LATER);
        count++;
    }
    key_put_u32(value + 1, count);
    if (err == OK)
        err = store_put(store, STORE_META, vnode_key(vnode->partition, key),
                        bytes_of(value, sizeof value), STORE_SYNC_LATER);
    return err;
}

/* Rows that are being removed are in no tree, nor are bad ones: the next start has to meet them. */
static bool is_leaving(const struct vnode *vnode)
{
    for (uint32_t i = 0; i < vnode->keyspace_count; i++) {
        if (vnode->keyspaces[i].leaving)
            return true;
    }
    return false;
}

enum err replica_keep_trees(struct replica *replica, struct store *store)
{
    enum err err = OK;
    if (!replica->vnodes.loaded)
        return OK; /* nothing was written, and what an earlier stop has kept is still true */
    for (uint32_t i = 0; i < replica->vnodes.count && err == OK; i++) {
        const struct vnode *vnode = &replica->vnodes.vnodes[i];
        uint8_t key[ROW_KEY_BYTES];
        if (vnode->trees_ready && !vnode->trees_suspect && vnode->state != VNODE_EMPTYING &&
            !is_leaving(vnode) && !quarantine_any(replica, vnode->partition))
            err = vnode_keep(replica, store, vnode);
        else /* should its removal at the start have failed */
            err =
                store_delete(store, STORE_META, vnode_key(vnode->partition, key), STORE_SYNC_LATER);
    }
    arena_clear(&replica->scratch);
    store_submit(store);
    return err;
}

/* -- at the start ---------------------------------------------------------------------------------
 */

struct kept {
    struct replica *replica;
    struct actor_context *ctx;
    struct vnode *vnode;
    bool trusted;
    bool known; /* the row of the vnode was there */
    uint32_t expected;
    uint32_t count;
};

static void take_tree(struct kept *kept, uint32_t keyspace_id, struct bytes value)
{
    struct replica *replica = kept->replica;
    struct merkle tree;
    if (merkle_decode(value, kept->vnode->partition, replica->vnodes.partitions, &tree) != OK)
        return; /* one less than expected */
    tree_adopt(replica, vnode_keyspace_get(kept->vnode, keyspace_id), &tree);
    kept->count++;
}

static bool kept_row(void *closure, struct bytes key, struct bytes value)
{
    struct kept *kept = closure;
    if (kept->trusted && key.size == ROW_KEY_BYTES)
        take_tree(kept, key_get_u32(key.data + PREFIX_BYTES + 4), value);
    if (kept->trusted && key.size == PREFIX_BYTES + 4 && value.size == 5 &&
        value.data[0] == ROW_FORMAT) {
        kept->known = true;
        kept->expected = key_get_u32(value.data + 1);
    }
    enum err err = store_delete(kept->ctx->store, STORE_META, key, STORE_SYNC_LATER);
    (void)err; /* replica_keep_trees does not rely on it */
    return true;
}

bool tree_take_kept(struct replica *replica, struct actor_context *ctx, struct vnode *vnode,
                    bool trusted)
{
    uint8_t from[ROW_KEY_BYTES];
    uint8_t to[ROW_KEY_BYTES];
    struct kept kept = {.replica = replica, .ctx = ctx, .vnode = vnode, .trusted = trusted};
    vnode_key(vnode->partition + 1, to);
    enum err err = store_scan(ctx->store, STORE_META, vnode_key(vnode->partition, from),
                              bytes_of(to, PREFIX_BYTES + 4), kept_row, &kept);
    bool whole = err == OK && kept.known && kept.count == kept.expected;
    for (uint32_t i = 0; i < vnode->keyspace_count && !whole; i++)
        tree_replace(replica, &vnode->keyspaces[i], NULL);
    return whole;
}
