/* The background scan that builds a vnode's trees. */
#include "actors/replica_tree.h"

#include "actors/replica_state.h"

#include <inttypes.h>

#define RETRY_NS ((uint64_t)100 * 1000 * 1000)

void tree_build_cancel(struct replica *replica)
{
    struct vnode *vnode = replica->trees.build.vnode;
    if (vnode == NULL)
        return;
    for (uint32_t i = 0; i < vnode->keyspace_count; i++) {
        tree_free(replica, vnode->keyspaces[i].next);
        vnode->keyspaces[i].next = NULL;
    }
    replica->trees.build.vnode = NULL;
}

static void build_begin(struct replica *replica, struct vnode *vnode)
{
    struct tree_build *build = &replica->trees.build;
    vnode->build_at_ns = NEVER_NS;
    build->vnode = vnode;
    build->restarted = false;
    build->cursor_size = 0;
    for (uint32_t i = 0; i < vnode->keyspace_count; i++) {
        struct vnode_keyspace *keyspace = &vnode->keyspaces[i];
        keyspace->keys_expected = keyspace->tree == NULL ? 0 : merkle_root(keyspace->tree).count;
    }
}

/* Vnodes without trees come first. */
static bool build_choose(struct replica *replica, struct actor_context *ctx)
{
    struct vnode *chosen = NULL;
    for (uint32_t i = 0; i < replica->vnodes.count; i++) {
        struct vnode *vnode = &replica->vnodes.vnodes[i];
        if (vnode->state == VNODE_EMPTYING || vnode->build_at_ns > ctx->now_ns)
            continue;
        if (chosen == NULL || (chosen->trees_ready && !vnode->trees_ready))
            chosen = vnode;
    }
    if (chosen != NULL)
        build_begin(replica, chosen);
    return chosen != NULL;
}

/* -- rows
 * ------------------------------------------------------------------------------------------
 */

struct slice {
    struct replica *replica;
    struct actor_context *ctx;
    uint32_t rows_max;
    uint32_t rows;
    size_t bytes;
};

static bool slice_row(void *closure, struct bytes key, struct bytes value)
{
    struct slice *slice = closure;
    struct replica *replica = slice->replica;
    struct tree_build *build = &replica->trees.build;
    struct row row;
    enum err err = replica_row_parse(replica, build->vnode->partition, key, value, &row);
    if (err == OK && !register_row_is(row.record)) {
        struct vnode_keyspace *keyspace = vnode_keyspace_get(build->vnode, row.keyspace_id);
        if (!keyspace->forgotten) {
            if (keyspace->next == NULL)
                keyspace->next = tree_new(replica, build->vnode, keyspace->keys_expected);
            merkle_add(keyspace->next, row.hash, tree_digest(replica, row.record));
        }
    } else if (err == OK) {
        vnode_keyspace_get(build->vnode, row.keyspace_id)->registers = true;
    } else {
        quarantine_met(replica, slice->ctx, build->vnode->partition, key, value);
    }
    CHECK_U64(key.size, <=, sizeof build->cursor);
    memcpy(build->cursor, key.data, key.size);
    build->cursor_size = key.size;
    slice->bytes += value.size;
    return ++slice->rows < slice->rows_max && slice->bytes < TREE_SLICE_BYTES;
}

/* The first slice shows how many rows there are, as hashes are spread evenly: trees that will be
 * too shallow are begun again, deeper. */
static void build_reconsider(struct replica *replica)
{
    struct tree_build *build = &replica->trees.build;
    struct vnode *vnode = build->vnode;
    if (build->restarted || build->cursor_size < 8)
        return;
    build->restarted = true;
    struct merkle_range all = merkle_range(vnode->partition, replica->vnodes.partitions, 0, 0);
    uint64_t hash = 0;
    for (int i = 0; i < 8; i++)
        hash = hash << 8 | build->cursor[i];
    if (hash < all.first || hash > all.last)
        return; /* a damaged key: it says nothing of how far the scan is */
    uint64_t parts = (all.last - all.first) / (hash - all.first + 1) + 1;
    bool shallow = false;
    for (uint32_t i = 0; i < vnode->keyspace_count; i++) {
        struct vnode_keyspace *keyspace = &vnode->keyspaces[i];
        if (keyspace->next == NULL)
            continue;
        uint64_t keys = merkle_root(keyspace->next).count;
        keyspace->keys_expected = keys > UINT64_MAX / parts ? UINT64_MAX : keys * parts;
        shallow |= merkle_depth_for(keyspace->keys_expected) > keyspace->next->depth + 1;
    }
    for (uint32_t i = 0; i < vnode->keyspace_count && shallow; i++) {
        tree_free(replica, vnode->keyspaces[i].next);
        vnode->keyspaces[i].next = NULL;
    }
    if (shallow)
        build->cursor_size = 0;
}

/* -- the end
 * ---------------------------------------------------------------------------------------
 */

static bool trees_equal(const struct merkle *a, const struct merkle *b)
{
    static const struct merkle_node empty = {0};
    return merkle_node_equal(a == NULL ? empty : merkle_root(a),
                             b == NULL ? empty : merkle_root(b));
}

static void build_finish(struct replica *replica, struct actor_context *ctx)
{
    struct vnode *vnode = replica->trees.build.vnode;
    for (uint32_t i = 0; i < vnode->keyspace_count; i++) {
        struct vnode_keyspace *keyspace = &vnode->keyspaces[i];
        if (vnode->trees_ready && !vnode->trees_suspect &&
            !trees_equal(keyspace->tree, keyspace->next)) {
            counter_add(&replica->figures.tree_drift, 1);
            log_write(ctx->log, LOG_ERROR, "tree_drift",
                      "partition=%" PRIu32 " keyspace=%08" PRIx32
                      " what_now=\"the tree that was built from the rows serves\"",
                      vnode->partition, keyspace->id);
        }
        tree_replace(replica, keyspace, keyspace->next);
        keyspace->next = NULL;
    }
    vnode->trees_ready = true;
    vnode->trees_suspect = vnode->unreadable;
    replica->trees.build.vnode = NULL;
    counter_add(&replica->figures.tree_builds, 1);
    tree_build_wanted(replica, vnode, tree_derive_at_ns(replica, ctx, vnode));
}

/* False: enough for now. */
static bool build_go_on(struct replica *replica, struct actor_context *ctx, uint32_t *rows)
{
    struct tree_build *build = &replica->trees.build;
    uint8_t from[STORAGE_KEY_BYTES_MAX + 1];
    size_t from_size = build->cursor_size == 0 ? 0 : build->cursor_size + 1; /* the next key */
    memcpy(from, build->cursor, build->cursor_size);
    from[build->cursor_size] = 0;
    struct slice slice = {
        .replica = replica, .ctx = ctx, .rows_max = replica->trees.slice_rows - *rows};
    bool hole; /* the trees are of what can be read */
    enum err err = replica_scan(replica, ctx, build->vnode->partition, bytes_of(from, from_size),
                                (struct bytes){0}, slice_row, &slice, &hole);
    *rows += slice.rows;
    build->slice_ns = ctx->now_ns + TREE_SLICE_PAUSE_NS;
    if (err != OK) {
        counter_add(&replica->figures.read_errors, 1);
        build->slice_ns = ctx->now_ns + RETRY_NS;
        return false;
    }
    if (slice.rows < slice.rows_max && slice.bytes < TREE_SLICE_BYTES) {
        build_finish(replica, ctx);
        return *rows < replica->trees.slice_rows;
    }
    build_reconsider(replica);
    return false;
}

void tree_build_slice(struct replica *replica, struct actor_context *ctx)
{
    const struct tree_build *build = &replica->trees.build;
    uint32_t rows = 0;
    if (build->vnode != NULL && ctx->now_ns < build->slice_ns)
        return;
    for (uint32_t vnodes = 0; vnodes < TREE_SLICE_VNODES; vnodes++) {
        if (build->vnode == NULL && !build_choose(replica, ctx))
            return;
        if (!build_go_on(replica, ctx, &rows))
            return;
    }
}

/* -- for tests
 * -------------------------------------------------------------------------------------
 */

struct recount {
    const struct replica *replica;
    const struct vnode *vnode;
    uint32_t keyspace_id;
    bool damaged;
    struct merkle tree;
};

static bool recount_row(void *closure, struct bytes key, struct bytes value)
{
    struct recount *recount = closure;
    struct row row;
    if (replica_row_parse(recount->replica, recount->vnode->partition, key, value, &row) != OK)
        recount->damaged = true; /* the tree may count what it was */
    else if (row.keyspace_id == recount->keyspace_id && !register_row_is(row.record))
        merkle_add(&recount->tree, row.hash, tree_digest(recount->replica, row.record));
    return true;
}

static bool differs(const struct replica *replica, struct store *store, const struct vnode *vnode,
                    const struct vnode_keyspace *keyspace)
{
    struct recount recount = {.replica = replica, .vnode = vnode, .keyspace_id = keyspace->id};
    merkle_init(&recount.tree, vnode->partition, replica->vnodes.partitions, MERKLE_DEPTH_MIN);
    enum err err = store_scan(store, vnode->partition, (struct bytes){0}, (struct bytes){0},
                              recount_row, &recount);
    bool equal = trees_equal(&recount.tree, keyspace->tree);
    merkle_deinit(&recount.tree);
    return err == OK && !recount.damaged && !equal;
}

uint32_t replica_trees_differing(const struct replica *replica, struct store *store)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < replica->vnodes.count; i++) {
        const struct vnode *vnode = &replica->vnodes.vnodes[i];
        bool known = vnode->trees_ready && !vnode->trees_suspect && vnode->state != VNODE_EMPTYING;
        for (uint32_t j = 0; j < vnode->keyspace_count && known; j++)
            count += !vnode->keyspaces[j].forgotten &&
                     differs(replica, store, vnode, &vnode->keyspaces[j]);
    }
    return count;
}
