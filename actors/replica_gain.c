#include "actors/replica_gain.h"

#include "actors/replica_state.h"
#include "base/mutation.h"

#include <inttypes.h>

#define RETRY_NS         ((uint64_t)100 * 1000 * 1000)
#define CORRUPT_RETRY_NS (100 * RETRY_NS)
#define LOOK_NS          ((uint64_t)500 * 1000 * 1000) /* is there another view? */
#define LOOK_VNODES      64u                           /* of one step */
#define SWEEP_ROWS       512u
#define SWEEP_BYTES      ((size_t)1 << 20)
#define SWEEP_PAUSE_NS   ((uint64_t)4 * 1000 * 1000)

/* -- what the view says of all keyspaces
 * ---------------------------------------------------------------------- */

struct look {
    uint32_t count; /* keyspaces that are there */
    struct gain_group groups[KEYSPACES_MAX];
    uint32_t group_count;
    const struct keyspace *heads[KEYSPACES_MAX];
    struct vnode_part parts[KEYSPACES_MAX]; /* by group, of the vnode that is looked at */
};

static void look_begin(struct look *look, const struct view *view)
{
    *look = (struct look){0};
    for (uint32_t i = 0; i < view->keyspaces.count && look->count < KEYSPACES_MAX; i++) {
        const struct keyspace *keyspace = &view->keyspaces.keyspaces[i];
        uint32_t group = 0;
        if (keyspace->dropped)
            continue;
        while (group < look->group_count &&
               !view_keyspaces_alike(view, look->heads[group], keyspace))
            group++;
        if (group == look->group_count)
            look->heads[look->group_count++] = keyspace;
        look->groups[look->count++] = (struct gain_group){.keyspace = keyspace, .group = group};
    }
}

static const struct vnode_part *look_part(const struct look *look, uint32_t keyspace_id)
{
    for (uint32_t i = 0; i < look->count; i++) {
        if (look->groups[i].keyspace->id == keyspace_id)
            return &look->parts[look->groups[i].group];
    }
    return NULL;
}

/* -- one keyspace of one vnode
 * -------------------------------------------------------------------------------- */

static bool gain_is_of(const struct vnode_gain *gain, const struct vnode_part *part)
{
    return gain->state != GAIN_NONE && gain->epoch == part->announced;
}

/* Nothing of it counts: it is nobody's here, or an announcement gives it anew. */
static bool is_void(const struct vnode_keyspace *entry, const struct vnode_part *part)
{
    bool old = part->role == ROLE_WRITER && part->announced == 0;
    if (part->role == ROLE_NONE || (MUTATE(DROPPED_WHEN_COPIED) && old))
        return true;
    return part->announced != 0 && (entry == NULL || !gain_is_of(&entry->gain, part));
}

static bool has_keys(const struct vnode_keyspace *entry)
{
    return entry->tree != NULL && merkle_root(entry->tree).count != 0;
}

static bool has_something(const struct vnode_keyspace *entry)
{
    return entry->has_row || entry->registers || entry->gain.state != GAIN_NONE ||
           has_keys(entry) || entry->next != NULL;
}

/* To anti-entropy. */
static void tell(struct replica *replica, struct actor_context *ctx, const struct vnode *vnode,
                 struct vnode_keyspace *entry)
{
    struct message *message = message_new(MESSAGE_vnode_incomplete, 0);
    message->to = (struct actor_id){.node = replica->options.self, .kind = ACTOR_ANTI_ENTROPY};
    message->vnode_incomplete =
        (struct vnode_incomplete){.partition = vnode->partition,
                                  .keyspace_id = entry->id,
                                  .incarnation = entry->gain.incarnation,
                                  .epoch = entry->gain.epoch,
                                  .filled = entry->gain.state == GAIN_FILLED};
    entry->gain.told = true;
    outbox_send(ctx, &replica->actor, message);
}

/* It is empty, and the row that says so is staged behind all that was removed. */
static enum err gain_begin(struct replica *replica, struct actor_context *ctx, struct vnode *vnode,
                           uint32_t keyspace_id, uint64_t epoch)
{
    enum err err = vnode_gain_stage(vnode, ctx->store, keyspace_id, GAIN_EMPTY, epoch);
    if (err != OK)
        return err;
    struct vnode_keyspace *entry = vnode_keyspace_get(vnode, keyspace_id);
    entry->gain = (struct vnode_gain){
        .state = GAIN_EMPTY, .epoch = epoch, .incarnation = ++replica->vnodes.incarnation};
    vnode->absent = false;
    counter_add(&replica->figures.gains, 1);
    log_write(ctx->log, LOG_INFO, "vnode_gains",
              "partition=%" PRIu32 " keyspace=%08" PRIx32 " epoch=%" PRIu64, vnode->partition,
              keyspace_id, epoch);
    tell(replica, ctx, vnode, entry);
    return OK;
}

/* -- the whole partition
 * ----------------------------------------------------------------------------------- */

/* Nothing in it stays. What is here of a keyspace that the view does not know may be somebody's.
 * Nor does a lost copy become a complete one by that: who has lost his disk knows none of the
 * keyspaces. */
static bool can_drop(const struct look *look, const struct vnode *vnode)
{
    bool any = false;
    if (vnode->state != VNODE_COMPLETE)
        return false;
    for (uint32_t i = 0; i < look->count; i++) {
        const struct vnode_part *part = &look->parts[look->groups[i].group];
        any = true;
        if (!is_void(vnode_keyspace_find(vnode, look->groups[i].keyspace->id), part))
            return false;
    }
    return any;
}

static bool holds_unknown(const struct actor_context *ctx, const struct look *look,
                          const struct vnode *vnode)
{
    for (uint32_t i = 0; i < vnode->keyspace_count; i++) {
        const struct vnode_keyspace *entry = &vnode->keyspaces[i];
        if (look_part(look, entry->id) == NULL && has_something(entry) && !entry->forgotten &&
            !keyspace_map_known_dropped(&ctx->view->keyspaces, entry->id))
            return true;
    }
    return false;
}

/* A vote that was lost stays lost: the keyspace that it belonged to may not be known here yet. */
static enum err stage_nothing(struct vnode *vnode, struct store *store)
{
    enum err err = vnode_floors_forget(vnode, store);
    for (uint32_t i = 0; i < vnode->keyspace_count && err == OK; i++) {
        if (vnode->keyspaces[i].gain.state != GAIN_NONE)
            err = vnode_gain_stage(vnode, store, vnode->keyspaces[i].id, GAIN_NONE, 0);
    }
    if (err == OK && vnode->state != VNODE_COMPLETE)
        err = vnode_state_stage(vnode, store, VNODE_COMPLETE);
    return err;
}

/* May be begun again at any point. Trees go with the rows, whether or not what tells of them can be
 * staged now. */
static enum err drop_all(struct replica *replica, struct actor_context *ctx, struct vnode *vnode)
{
    bool held = false;
    for (uint32_t i = 0; i < vnode->keyspace_count; i++)
        held = held || has_something(&vnode->keyspaces[i]);
    if (replica->gains.swept == vnode)
        replica->gains.swept = NULL;
    replica_void_answers(replica, vnode->partition);
    enum err err = held ? vnode_epoch_floor_raise(vnode, ctx->store, replica->lease.next) : OK;
    if (err == OK && !MUTATE(GAIN_KEEPS_OLD))
        err = store_drop(ctx->store, vnode->partition);
    if (err != OK)
        return err;
    tree_vnode_emptied(replica, ctx, vnode);
    quarantine_emptied(replica, vnode->partition, 0);
    err = stage_nothing(vnode, ctx->store);
    if (err != OK)
        return err;
    vnode->keyspace_count = 0;
    replica->vnodes.emptying -= vnode->state == VNODE_EMPTYING;
    vnode->state = VNODE_COMPLETE;
    vnode->incarnation = ++replica->vnodes.incarnation;
    vnode->absent = true;
    replica_vnodes_count(replica);
    if (held) {
        counter_add(&replica->figures.vnodes_dropped, 1);
        log_write(ctx->log, LOG_INFO, "vnode_dropped", "partition=%" PRIu32, vnode->partition);
    }
    return OK;
}

/* -- the sweep: some keyspaces of a partition go, others stay
 * ----------------------------------------------------------- */

static void leave(struct replica *replica, struct vnode *vnode, struct vnode_keyspace *entry)
{
    if (entry->leaving)
        return;
    entry->leaving = true;
    entry->sweeping = false;
    entry->forgotten = true; /* no tree counts its rows */
    tree_replace(replica, entry, NULL);
    tree_free(replica, entry->next);
    entry->next = NULL;
    quarantine_emptied(replica, vnode->partition, entry->id);
}

static void sweep_choose(struct replica *replica)
{
    struct gain_table *gains = &replica->gains;
    for (uint32_t i = 0; i < replica->vnodes.count && gains->swept == NULL; i++) {
        struct vnode *vnode = &replica->vnodes.vnodes[i];
        for (uint32_t j = 0; j < vnode->keyspace_count; j++) {
            struct vnode_keyspace *entry = &vnode->keyspaces[j];
            entry->sweeping = entry->leaving;
            if (entry->leaving && vnode->state != VNODE_EMPTYING)
                gains->swept = vnode;
        }
    }
    gains->cursor_size = 0;
}

struct sweep_row {
    struct bytes key;
    struct sweep_row *next;
};

struct sweep {
    struct replica *replica;
    uint32_t rows;
    size_t bytes;
    bool more;
    struct sweep_row *first;
};

static bool sweep_visit(void *closure, struct bytes key, struct bytes value)
{
    struct sweep *sweep = closure;
    struct gain_table *gains = &sweep->replica->gains;
    uint64_t hash;
    uint32_t keyspace_id;
    struct bytes name;
    if (sweep->rows == SWEEP_ROWS || sweep->bytes >= SWEEP_BYTES) {
        sweep->more = true;
        return false;
    }
    sweep->rows++;
    sweep->bytes += value.size;
    CHECK_U64(key.size, <=, sizeof gains->sweep_cursor);
    memcpy(gains->sweep_cursor, key.data, key.size);
    gains->cursor_size = key.size;
    if (!hash_storage_key_parse(key, &hash, &keyspace_id, &name))
        return true; /* a damaged key: nobody can say whose it was */
    const struct vnode_keyspace *entry = vnode_keyspace_find(gains->swept, keyspace_id);
    if (entry == NULL || !entry->sweeping)
        return true;
    struct sweep_row *row = ARENA_NEW(&sweep->replica->scratch, struct sweep_row, 1);
    *row =
        (struct sweep_row){.key = arena_copy(&sweep->replica->scratch, key), .next = sweep->first};
    sweep->first = row;
    return true;
}

/* Its rows are gone. */
static enum err swept_end(struct replica *replica, struct actor_context *ctx, struct vnode *vnode,
                          uint32_t keyspace_id)
{
    struct vnode_part part = replica_part(replica, ctx, vnode, keyspace_id);
    const struct vnode_keyspace *entry = vnode_keyspace_find(vnode, keyspace_id);
    enum err err = OK;
    if (entry->has_row)
        err = vnode_floor_forget(vnode, ctx->store, keyspace_id);
    if (err == OK && entry->gain.state != GAIN_NONE)
        err = vnode_gain_stage(vnode, ctx->store, keyspace_id, GAIN_NONE, 0);
    if (err != OK)
        return err;
    quarantine_emptied(replica, vnode->partition, keyspace_id); /* what was met meanwhile */
    *vnode_keyspace_get(vnode, keyspace_id) =
        (struct vnode_keyspace){.id = keyspace_id, .part = part};
    counter_add(&replica->figures.keyspaces_removed, 1);
    log_write(ctx->log, LOG_INFO, "vnode_keyspace_removed",
              "partition=%" PRIu32 " keyspace=%08" PRIx32, vnode->partition, keyspace_id);
    /* Should the row be refused now, the next look finds the keyspace void, and empty. */
    return part.announced == 0 ? OK : gain_begin(replica, ctx, vnode, keyspace_id, part.announced);
}

static enum err sweep_end(struct replica *replica, struct actor_context *ctx)
{
    struct vnode *vnode = replica->gains.swept;
    for (uint32_t i = 0; i < vnode->keyspace_count; i++) {
        if (!vnode->keyspaces[i].sweeping)
            continue;
        enum err err = swept_end(replica, ctx, vnode, vnode->keyspaces[i].id);
        if (err != OK)
            return err;
    }
    replica->gains.swept = NULL;
    replica->gains.sweep_ns = ctx->now_ns;
    replica_vnodes_count(replica);
    return OK;
}

static void sweep_slice(struct replica *replica, struct actor_context *ctx)
{
    struct gain_table *gains = &replica->gains;
    struct sweep sweep = {.replica = replica};
    uint8_t from[STORAGE_KEY_BYTES_MAX + 1];
    size_t from_size = gains->cursor_size == 0 ? 0 : gains->cursor_size + 1; /* the next key */
    memcpy(from, gains->sweep_cursor, gains->cursor_size);
    from[gains->cursor_size] = 0;
    uint32_t partition = gains->swept->partition;
    enum err err = OK;
    if (gains->cursor_size == 0)
        err = vnode_epoch_floor_raise(gains->swept, ctx->store, replica->lease.next);
    if (err == OK)
        err = store_scan(ctx->store, partition, bytes_of(from, from_size), (struct bytes){0},
                         sweep_visit, &sweep);
    for (const struct sweep_row *row = sweep.first; row != NULL && err == OK; row = row->next)
        err = store_delete(ctx->store, partition, row->key, STORE_SYNC_LATER);
    gains->sweep_ns = ctx->now_ns + SWEEP_PAUSE_NS;
    if (err == OK && !sweep.more)
        err = sweep_end(replica, ctx);
    if (err != OK) {
        gains->cursor_size = 0; /* what is gone is not met again */
        gains->sweep_ns = ctx->now_ns + RETRY_NS;
    }
    if (err == ERR_CORRUPT) { /* it is emptied before this can go on */
        gains->sweep_ns = ctx->now_ns + CORRUPT_RETRY_NS;
        replica_vnode_unreadable(replica, ctx, vnode_of(&replica->vnodes, partition));
    }
}

/* -- looking
 * ---------------------------------------------------------------------------------------------- */

/* All that can be dropped at once. */
static enum err look_drop(struct replica *replica, struct actor_context *ctx,
                          const struct look *look, struct vnode *vnode)
{
    enum err err = vnode->absent ? OK : drop_all(replica, ctx, vnode);
    for (uint32_t i = 0; i < look->count && err == OK; i++) {
        const struct vnode_part *part = &look->parts[look->groups[i].group];
        uint32_t keyspace_id = look->groups[i].keyspace->id;
        if (part->announced != 0)
            err = gain_begin(replica, ctx, vnode, keyspace_id, part->announced);
    }
    return err;
}

/* UNAVAILABLE: what is here of it is not known yet. A power cut may have brought back what was
 * removed. */
static enum err look_keyspace(struct replica *replica, struct actor_context *ctx,
                              struct vnode *vnode, uint32_t keyspace_id,
                              const struct vnode_part *part)
{
    struct vnode_keyspace *entry = vnode_keyspace_find(vnode, keyspace_id);
    if (is_void(entry, part)) {
        /* A gain may follow rows of registers that no tree tells of, and of bad rows none does. */
        bool untold =
            part->announced != 0 || quarantine_holds(replica, vnode->partition, keyspace_id);
        if (entry == NULL && untold)
            entry = vnode_keyspace_get(vnode, keyspace_id);
        if (entry != NULL && (untold || has_something(entry)))
            leave(replica, vnode, entry);
        else if (!vnode->trees_ready)
            return ERR_UNAVAILABLE;
        return OK;
    }
    if (entry == NULL || entry->gain.state == GAIN_NONE || entry->leaving)
        return OK;
    entry->gain.lost = part->role == ROLE_READER;
    if (part->role != ROLE_READER && part->announced == 0) {
        entry->gain.told = false; /* nobody fills it while it is not read */
        return OK;
    }
    if (part->role == ROLE_READER && entry->gain.state == GAIN_FILLED) {
        enum err err = vnode_gain_stage(vnode, ctx->store, keyspace_id, GAIN_NONE, 0);
        if (err == OK)
            entry->gain = (struct vnode_gain){0};
        return err;
    }
    if (!entry->gain.told)
        tell(replica, ctx, vnode, entry);
    return OK;
}

/* UNAVAILABLE: what is here is not known yet. */
static enum err look_vnode(struct replica *replica, struct actor_context *ctx, struct look *look,
                           struct vnode *vnode)
{
    for (uint32_t i = 0; i < look->group_count; i++)
        look->parts[i] = replica_part_of(replica, ctx->view, look->heads[i], vnode->partition);
    if (can_drop(look, vnode)) {
        bool nothing = vnode->absent;
        for (uint32_t i = 0; i < look->group_count; i++)
            nothing = nothing && look->parts[i].announced == 0;
        if (nothing)
            return OK;
        if (!vnode->absent && !vnode->trees_ready && vnode->state != VNODE_EMPTYING)
            return ERR_UNAVAILABLE;
        if (!holds_unknown(ctx, look, vnode))
            return look_drop(replica, ctx, look, vnode);
    }
    if (vnode->state == VNODE_EMPTYING)
        return ERR_UNAVAILABLE;
    enum err first = OK;
    for (uint32_t i = 0; i < look->count; i++) {
        const struct vnode_part *part = &look->parts[look->groups[i].group];
        if (part->role != ROLE_NONE)
            replica_votes_tell(replica, ctx, vnode, look->groups[i].keyspace);
        enum err err = look_keyspace(replica, ctx, vnode, look->groups[i].keyspace->id, part);
        first = first == OK ? err : first;
    }
    return first;
}

/* What concerns vnodes: not who is alive. */
static void look_again_if_changed(struct gain_table *gains, const struct view *view)
{
    if (gains->viewed && gains->view_version == view->version)
        return;
    uint64_t digest = keyspace_map_digest(&view->keyspaces);
    if (!gains->viewed || gains->topology_epoch != view->topology.epoch ||
        gains->keyspaces_digest != digest)
        gains->cursor = 0;
    gains->viewed = true;
    gains->view_version = view->version;
    gains->topology_epoch = view->topology.epoch;
    gains->keyspaces_digest = digest;
}

static void look_on(struct replica *replica, struct actor_context *ctx)
{
    struct gain_table *gains = &replica->gains;
    struct look *look = ARENA_NEW(&replica->scratch, struct look, 1);
    if (gains->cursor == 0)
        gains->again = false;
    look_begin(look, ctx->view);
    for (uint32_t i = 0; i < LOOK_VNODES && gains->cursor < replica->vnodes.count; i++) {
        struct vnode *vnode = &replica->vnodes.vnodes[gains->cursor++];
        gains->again |= look_vnode(replica, ctx, look, vnode) != OK;
    }
    replica_vnodes_count(replica);
}

void replica_gains_go_on(struct replica *replica, struct actor_context *ctx)
{
    struct gain_table *gains = &replica->gains;
    if (!replica->vnodes.loaded)
        return;
    look_again_if_changed(gains, ctx->view);
    if (gains->again && gains->look_ns <= ctx->now_ns && gains->cursor == replica->vnodes.count)
        gains->cursor = 0;
    bool looking = gains->cursor < replica->vnodes.count;
    if (looking)
        look_on(replica, ctx);
    if (gains->swept == NULL && looking)
        sweep_choose(replica);
    if (gains->swept != NULL && gains->sweep_ns <= ctx->now_ns) {
        sweep_slice(replica, ctx);
        if (gains->swept == NULL)
            sweep_choose(replica);
    }
    if (looking || gains->look_ns <= ctx->now_ns)
        gains->look_ns = ctx->now_ns + (gains->cursor < replica->vnodes.count ? SWEEP_PAUSE_NS
                                        : gains->again                        ? RETRY_NS
                                                                              : LOOK_NS);
}

uint64_t replica_gains_wake_at_ns(const struct replica *replica)
{
    const struct gain_table *gains = &replica->gains;
    if (!replica->vnodes.loaded)
        return NEVER_NS;
    return gains->swept != NULL && gains->sweep_ns < gains->look_ns ? gains->sweep_ns
                                                                    : gains->look_ns;
}
