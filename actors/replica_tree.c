#include "actors/replica_tree.h"

#include "actors/replica_state.h"
#include "base/mutation.h"

#include <inttypes.h>
#include <stdlib.h>

#define NS_PER_MS   ((uint64_t)1000 * 1000)
#define LOOK_NS     (60 * 1000 * NS_PER_MS)
#define GONE_FOR_NS (600 * 1000 * NS_PER_MS)

void tree_table_init(struct tree_table *table, const struct replica_options *options)
{
    uint64_t interval_ms =
        options->derive_interval_ms == 0 ? TREE_DERIVE_INTERVAL_MS : options->derive_interval_ms;
    *table = (struct tree_table){
        .bytes_max =
            options->tree_bytes_max == 0 ? TREE_BYTES_MAX_DEFAULT : options->tree_bytes_max,
        .derive_interval_ns = interval_ms * NS_PER_MS,
        .slice_rows = options->tree_slice_rows == 0 ? TREE_SLICE_ROWS : options->tree_slice_rows,
        .wake_ns = NEVER_NS,
    };
}

static void vnode_free_trees(struct replica *replica, struct vnode *vnode)
{
    for (uint32_t i = 0; i < vnode->keyspace_count; i++) {
        tree_replace(replica, &vnode->keyspaces[i], NULL);
        tree_free(replica, vnode->keyspaces[i].next);
        vnode->keyspaces[i].next = NULL;
    }
}

void tree_table_deinit(struct replica *replica)
{
    for (uint32_t i = 0; i < replica->vnodes.count; i++)
        vnode_free_trees(replica, &replica->vnodes.vnodes[i]);
    CHECK_U64(replica->trees.bytes, ==, 0);
}

/* -- trees and what they take -------------------------------------------------------------------
 */

/* As deep as memory allows. */
static unsigned depth_for(const struct replica *replica, uint64_t keys)
{
    const struct tree_table *table = &replica->trees;
    uint64_t left = table->bytes < table->bytes_max ? table->bytes_max - table->bytes : 0;
    unsigned depth = merkle_depth_for(keys);
    while (depth > MERKLE_DEPTH_MIN && ((uint64_t)12 << depth) > left)
        depth--;
    return depth;
}

static void count_bytes(struct replica *replica, uint64_t bytes)
{
    replica->trees.bytes += bytes;
    counter_set(&replica->figures.tree_bytes, replica->trees.bytes);
}

struct merkle *tree_new(struct replica *replica, const struct vnode *vnode, uint64_t keys)
{
    struct merkle *tree = calloc(1, sizeof *tree);
    CHECK(tree != NULL);
    merkle_init(tree, vnode->partition, replica->vnodes.partitions, depth_for(replica, keys));
    count_bytes(replica, merkle_memory_bytes(tree));
    return tree;
}

void tree_free(struct replica *replica, struct merkle *tree)
{
    if (tree == NULL)
        return;
    count_bytes(replica, -merkle_memory_bytes(tree));
    merkle_deinit(tree);
    free(tree);
}

void tree_replace(struct replica *replica, struct vnode_keyspace *keyspace, struct merkle *next)
{
    struct merkle *tree = keyspace->tree;
    uint64_t keys = tree == NULL ? 0 : merkle_root(tree).count;
    uint64_t keys_next = next == NULL ? 0 : merkle_root(next).count;
    counter_add(&replica->figures.trees, (uint64_t)(next != NULL) - (uint64_t)(tree != NULL));
    counter_add(&replica->figures.tree_keys, keys_next - keys);
    tree_free(replica, tree);
    keyspace->tree = next;
}

void tree_adopt(struct replica *replica, struct vnode_keyspace *keyspace, const struct merkle *from)
{
    struct merkle *tree = malloc(sizeof *tree);
    CHECK(tree != NULL);
    *tree = *from;
    count_bytes(replica, merkle_memory_bytes(tree));
    tree_replace(replica, keyspace, tree);
}

/* A clock that is not sorted would say how its entries came here: other bytes on each replica. */
uint64_t tree_digest(const struct replica *replica, struct bytes record)
{
    if (MUTATE(TREE_OF_UNSORTED_CLOCKS) && record.data[1] > 1)
        return record_checksum(record) + replica->options.self;
    return record_checksum(record);
}

/* -- when
 * ------------------------------------------------------------------------------------------
 */

/* Half the interval to one and a half: spread over the vnodes of a cluster, the same in each run.
 */
uint64_t tree_derive_at_ns(struct replica *replica, struct actor_context *ctx,
                           const struct vnode *vnode)
{
    uint64_t interval_ns = replica->trees.derive_interval_ns;
    uint64_t who = (uint64_t)replica->options.self << 32 | vnode->partition;
    return ctx->now_ns + interval_ns / 2 + hash_mix(hash_mix(who) + ctx->now_ns) % interval_ns;
}

void tree_build_wanted(struct replica *replica, struct vnode *vnode, uint64_t at_ns)
{
    if (at_ns < vnode->build_at_ns)
        vnode->build_at_ns = at_ns;
    if (at_ns < replica->trees.wake_ns)
        replica->trees.wake_ns = at_ns;
}

void tree_start(struct replica *replica, struct actor_context *ctx)
{
    replica->trees.look_ns = ctx->now_ns + LOOK_NS;
    replica->trees.wake_ns = replica->trees.look_ns;
    for (uint32_t i = 0; i < replica->vnodes.count; i++) {
        struct vnode *vnode = &replica->vnodes.vnodes[i];
        vnode->build_at_ns = NEVER_NS;
        vnode->trees_ready = tree_take_kept(replica, ctx, vnode, replica->clean_start);
        uint64_t interval_ns = replica->trees.derive_interval_ns;
        /* However often a node starts, each tree has its turn. */
        uint64_t after_ns = vnode->trees_ready ? hash_mix(ctx->wall_ms + i) % interval_ns : 0;
        tree_build_wanted(replica, vnode, ctx->now_ns + after_ns);
    }
}

void tree_vnode_emptied(struct replica *replica, struct actor_context *ctx, struct vnode *vnode)
{
    if (replica->trees.build.vnode == vnode)
        tree_build_cancel(replica);
    vnode_free_trees(replica, vnode);
    vnode->trees_ready = true;
    vnode->trees_suspect = vnode->unreadable = false;
    vnode->build_at_ns = tree_derive_at_ns(replica, ctx, vnode);
    if (vnode->build_at_ns < replica->trees.wake_ns)
        replica->trees.wake_ns = vnode->build_at_ns;
}

/* -- keyspaces that are gone
 * -----------------------------------------------------------------------
 */

/* One that nobody has told us of may be new here; one that stays unknown was replaced by another of
 * its name. */
static void look_at_keyspace(struct replica *replica, struct actor_context *ctx,
                             struct vnode *vnode, struct vnode_keyspace *keyspace)
{
    const struct keyspace_map *map = &ctx->view->keyspaces;
    if (keyspace->leaving)
        return; /* replica_gain.c sees to it */
    if (keyspace_map_find_id(map, keyspace->id) != NULL) {
        keyspace->gone_since_ns = 0;
        if (!keyspace->forgotten)
            return;
        keyspace->forgotten = false;
        if (replica->trees.build.vnode == vnode)
            tree_build_cancel(replica);
        vnode->trees_ready = false;
        tree_build_wanted(replica, vnode, ctx->now_ns);
        return;
    }
    if (keyspace->gone_since_ns == 0)
        keyspace->gone_since_ns = ctx->now_ns;
    if (keyspace->forgotten || (!keyspace_map_known_dropped(map, keyspace->id) &&
                                ctx->now_ns < keyspace->gone_since_ns + GONE_FOR_NS))
        return;
    keyspace->forgotten = true;
    tree_replace(replica, keyspace, NULL);
    tree_free(replica, keyspace->next);
    keyspace->next = NULL;
}

static void look_for_gone(struct replica *replica, struct actor_context *ctx)
{
    for (uint32_t i = 0; i < replica->vnodes.count; i++) {
        struct vnode *vnode = &replica->vnodes.vnodes[i];
        for (uint32_t j = 0; j < vnode->keyspace_count; j++)
            look_at_keyspace(replica, ctx, vnode, &vnode->keyspaces[j]);
    }
    replica->trees.look_ns = ctx->now_ns + LOOK_NS;
}

void tree_tick(struct replica *replica, struct actor_context *ctx)
{
    struct tree_table *table = &replica->trees;
    if (ctx->now_ns < table->wake_ns)
        return;
    if (ctx->now_ns >= table->look_ns)
        look_for_gone(replica, ctx);
    tree_build_slice(replica, ctx);
    table->wake_ns = table->look_ns;
    if (table->build.vnode != NULL && table->build.slice_ns < table->wake_ns)
        table->wake_ns = table->build.slice_ns;
    for (uint32_t i = 0; table->build.vnode == NULL && i < replica->vnodes.count; i++) {
        const struct vnode *vnode = &replica->vnodes.vnodes[i];
        if (vnode->state != VNODE_EMPTYING && vnode->build_at_ns < table->wake_ns)
            table->wake_ns = vnode->build_at_ns;
    }
    if (table->wake_ns < ctx->now_ns + TREE_SLICE_PAUSE_NS)
        table->wake_ns = ctx->now_ns + TREE_SLICE_PAUSE_NS;
}

/* -- rows
 * ------------------------------------------------------------------------------------------
 */

/* Two levels too shallow, and there is room for more. */
static bool outgrown(const struct replica *replica, const struct merkle *tree)
{
    uint64_t keys = merkle_root(tree).count;
    return keys > (uint64_t)MERKLE_LEAF_KEYS << (tree->depth + 1) &&
           tree->depth < MERKLE_DEPTH_MAX && depth_for(replica, keys) > tree->depth + 1;
}

/* False: tree and rows have parted. */
static bool change(struct replica *replica, const struct vnode *vnode, struct merkle **tree,
                   const struct local_state *state, struct bytes record)
{
    if (state->record.size != 0 && *tree == NULL)
        return false;
    if (*tree == NULL)
        *tree = tree_new(replica, vnode, 0);
    bool sound = true;
    if (state->record.size != 0)
        sound = merkle_remove(*tree, state->hash, tree_digest(replica, state->record));
    if (sound && record.size != 0)
        merkle_add(*tree, state->hash, tree_digest(replica, record));
    return sound;
}

static void parted(struct replica *replica, struct actor_context *ctx, struct vnode *vnode,
                   uint32_t keyspace_id, const struct local_state *state)
{
    if (vnode->trees_suspect)
        return; /* that is known, and they are built anew already */
    counter_add(&replica->figures.tree_drift, 1);
    log_write(ctx->log, LOG_ERROR, "tree_drift",
              "partition=%" PRIu32 " keyspace=%08" PRIx32 " hash=%016" PRIx64
              " what_now=\"the trees are built anew\"",
              vnode->partition, keyspace_id, state->hash);
    vnode->trees_suspect = true;
    tree_build_wanted(replica, vnode, ctx->now_ns);
}

void tree_row_changed(struct replica *replica, struct actor_context *ctx, uint32_t partition,
                      uint32_t keyspace_id, const struct local_state *state, struct bytes record)
{
    struct vnode *vnode = vnode_of(&replica->vnodes, partition);
    struct tree_build *build = &replica->trees.build;
    struct vnode_keyspace *keyspace = vnode_keyspace_get(vnode, keyspace_id);
    if (keyspace->forgotten)
        return;
    bool had_tree = keyspace->tree != NULL;
    if (vnode->trees_ready) {
        uint64_t keys = had_tree ? merkle_root(keyspace->tree).count : 0;
        if (!change(replica, vnode, &keyspace->tree, state, record))
            parted(replica, ctx, vnode, keyspace_id, state);
        if (keyspace->tree != NULL) {
            counter_add(&replica->figures.trees, !had_tree);
            counter_add(&replica->figures.tree_keys, merkle_root(keyspace->tree).count - keys);
        }
        if (keyspace->tree != NULL && build->vnode != vnode && outgrown(replica, keyspace->tree))
            tree_build_wanted(replica, vnode, ctx->now_ns);
    }
    if (build->vnode == vnode &&
        bytes_compare(state->key, bytes_of(build->cursor, build->cursor_size)) <= 0 &&
        !change(replica, vnode, &keyspace->next, state, record)) {
        parted(replica, ctx, vnode, keyspace_id, state);
        tree_build_cancel(replica);
    }
}
