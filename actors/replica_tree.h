/* replica_tree.h -- inside of a replica shard: the hash trees of its vnodes (model/merkle.h), one
 * for each keyspace in each.
 *
 * A tree is changed in the same step that stages a record (replica_store, replica_remove), so that
 * it always says what a scan of the staged rows would say. It is built by such a scan, a slice at a
 * time, one vnode after the other: rows up to the cursor are in the new trees, and a write to one
 * of them changes the new tree as well as the one that serves; what lies beyond is left to the
 * scan. The new trees then take the place of the old ones, which they must equal (tree_drift).
 * Built at the start, when a tree has become two levels too shallow, and anew every
 * `derive_interval_ms`, whatever they say. Until a vnode's trees are built, questions about them
 * are answered UNAVAILABLE.
 *
 * Memory: 12 bytes a leaf, about four keys a leaf; beyond `tree_bytes_max` of a shard trees are
 * made shallower than they should be. Trees of keyspaces that were dropped are forgotten.
 *
 * Included by replica*.c only.
 */
#ifndef ACTORS_REPLICA_TREE_H
#define ACTORS_REPLICA_TREE_H

#include "actors/replica_vnode.h"
#include "model/hash.h"

#define TREE_BYTES_MAX_DEFAULT  ((uint64_t)64 << 20)
#define TREE_DERIVE_INTERVAL_MS ((uint64_t)86400 * 1000)
#define TREE_SLICE_ROWS         512u
#define TREE_SLICE_BYTES        ((size_t)1 << 20)
#define TREE_SLICE_VNODES       16u /* empty ones cost a look each */
#define TREE_SLICE_PAUSE_NS     ((uint64_t)4 * 1000 * 1000)

struct local_state;

/* The scan under way. */
struct tree_build {
    struct vnode *vnode; /* NULL: none */
    bool restarted;      /* with better depths */
    uint64_t slice_ns;   /* the next slice */
    size_t cursor_size;  /* 0: nothing is below it */
    uint8_t cursor[STORAGE_KEY_BYTES_MAX];
};

struct tree_table {
    uint64_t bytes_max;
    uint64_t derive_interval_ns;
    uint32_t slice_rows;
    uint64_t wake_ns;
    uint64_t look_ns; /* when keyspaces that are gone are looked for */
    uint64_t bytes;
    struct tree_build build;
};

void tree_table_init(struct tree_table *table, const struct replica_options *options);
void tree_table_deinit(struct replica *replica);

/* The vnodes' rows are known: trees that were kept are taken, the others will be built. */
void tree_start(struct replica *replica, struct actor_context *ctx);
void tree_tick(struct replica *replica, struct actor_context *ctx);

/* -- what happens to the rows ------------------------------------------------------------------ */

/* A row was staged in the place of what `state` says; `record` empty: deleted. */
void tree_row_changed(struct replica *replica, struct actor_context *ctx, uint32_t partition,
                      uint32_t keyspace_id, const struct local_state *state, struct bytes record);
/* All rows of the vnode are gone: its trees are empty, and known. */
void tree_vnode_emptied(struct replica *replica, struct actor_context *ctx, struct vnode *vnode);
/* Rows are not what the trees say: they are built anew, soon. */
void tree_build_wanted(struct replica *replica, struct vnode *vnode, uint64_t at_ns);

/* -- replica_build.c ------------------------------------------------------------------------------
 */

/* The next slice; a vnode's trees are in their place when it is through. */
void tree_build_slice(struct replica *replica, struct actor_context *ctx);
void tree_build_cancel(struct replica *replica);

/* -- replica_keep.c -------------------------------------------------------------------------------
 */

/* Takes the trees that the last stop has kept, if they are to be trusted, and removes their rows in
 * any case. False: the vnode has none. */
bool tree_take_kept(struct replica *replica, struct actor_context *ctx, struct vnode *vnode,
                    bool trusted);

/* -- used by several
 * -------------------------------------------------------------------------------
 */

/* What a tree says of a record. */
uint64_t tree_digest(const struct replica *replica, struct bytes record);
/* A new tree for about `keys` keys, within what memory there is. */
struct merkle *tree_new(struct replica *replica, const struct vnode *vnode, uint64_t keys);
void tree_free(struct replica *replica, struct merkle *tree);
/* Takes `next` as the keyspace's tree. */
void tree_replace(struct replica *replica, struct vnode_keyspace *keyspace, struct merkle *next);
/* Takes over what `from` owns as the keyspace's tree. */
void tree_adopt(struct replica *replica, struct vnode_keyspace *keyspace,
                const struct merkle *from);
/* When the trees of a vnode are built next, for no reason but their age. */
uint64_t tree_derive_at_ns(struct replica *replica, struct actor_context *ctx,
                           const struct vnode *vnode);

#endif
