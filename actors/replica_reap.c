/* A replica's part in a round that removes tombstones (reaper.h): what may go, the seal, the
 * removal. */
#include "actors/replica_state.h"

#include "base/mutation.h"
#include "model/reap.h"

/* Floors rise by one a round: beyond this only nonsense could have led, and there must be room
 * above. */
#define FLOOR_MAX ((uint64_t)1 << 62)

#define SCAN_ROWS_MAX 2000u /* of one step */

static enum err replica_reap_admit(struct replica *replica, struct actor_context *ctx,
                                   const struct message *message, uint32_t keyspace_id,
                                   struct vnode **ret_vnode)
{
    enum err err = replica_admit(replica, ctx, message);
    if (err == OK)
        err = replica_fence(replica, ctx, message, keyspace_id, FENCE_WRITE);
    if (err != OK)
        return err;
    struct vnode *vnode = vnode_of(&replica->vnodes, message_partition(message));
    err = vnode_serves(vnode, keyspace_id);
    if (err == OK)
        *ret_vnode = vnode;
    return err;
}

void replica_reap_note(struct vnode *vnode, uint32_t keyspace_id, const struct version_set *set)
{
    for (uint32_t i = 0; i < set->count; i++) {
        const struct version *version = &set->versions[i];
        if ((version->flags & VERSION_TOMBSTONE) == 0 && version->expires_at_ms == 0)
            continue;
        struct vnode_keyspace *keyspace = vnode_keyspace_find(vnode, keyspace_id);
        if (keyspace != NULL)
            keyspace->reap_clean = keyspace->reap_looks_clean = false;
        return;
    }
}

/* -- reap_scan
 * --------------------------------------------------------------------------------------- */

struct reap_search {
    struct replica *replica;
    struct actor_context *ctx;
    const struct reap_scan *scan;
    struct reap_list list;
    uint32_t rows;
    uint32_t limit;
    uint64_t last_hash;
    bool more;
    bool candidates; /* rows that are dead, or may be one day */
};

/* Ascending, although the rows of one hash come in the order of their keys. */
static void reap_list_insert(struct reap_list *list, struct reap_digest digest)
{
    if (list->count == REAP_BATCH_MAX)
        return;
    uint32_t place = list->count++;
    while (place != 0 && list->digests[place - 1].key_hash == digest.key_hash &&
           list->digests[place - 1].checksum > digest.checksum) {
        list->digests[place] = list->digests[place - 1];
        place--;
    }
    list->digests[place] = digest;
}

static bool reap_search_visit(void *closure, struct bytes storage_key, struct bytes record)
{
    struct reap_search *search = closure;
    uint64_t hash;
    uint32_t keyspace_id;
    struct bytes key;
    struct version_set set;
    if (!hash_storage_key_parse(storage_key, &hash, &keyspace_id, &key))
        return true;
    bool full = search->rows >= SCAN_ROWS_MAX || search->list.count >= search->limit;
    if (full && hash != search->last_hash) {
        search->more = true;
        return false;
    }
    search->rows++;
    search->last_hash = hash;
    if (keyspace_id != search->scan->keyspace_id)
        return true;
    if (record_decode(&search->replica->scratch, keyspace_id, key, record, &set) != OK)
        return true; /* others look after damage */
    for (uint32_t i = 0; i < set.count; i++)
        search->candidates = search->candidates ||
                             (set.versions[i].flags & VERSION_TOMBSTONE) != 0 ||
                             set.versions[i].expires_at_ms != 0;
    if (MUTATE(COMPACTION_DROPS_TOMBSTONES) &&
        reap_is_dead(&set, search->scan->older_than_ms, search->ctx->wall_ms))
        return replica_remove(search->replica, search->ctx, search->scan->partition, keyspace_id,
                              &(struct local_state){.key = storage_key,
                                                    .keyspace_id = keyspace_id,
                                                    .hash = hash,
                                                    .record = record}) == OK;
    if (reap_is_dead(&set, search->scan->older_than_ms, search->ctx->wall_ms))
        reap_list_insert(&search->list, (struct reap_digest){hash, record_checksum(record)});
    arena_clear(&search->replica->scratch);
    return true;
}

static struct bytes hash_bound(uint64_t hash, uint8_t memory[8])
{
    for (unsigned i = 0; i < 8; i++)
        memory[i] = (uint8_t)(hash >> (56 - 8 * i));
    return bytes_of(memory, 8);
}

/* A keyspace that a whole scan has found without tombstones and times to live is not scanned again
 * until one is written. */
static void reap_scan_ended(struct vnode *vnode, const struct reap_search *search)
{
    struct vnode_keyspace *keyspace = vnode_keyspace_get(vnode, search->scan->keyspace_id);
    if (search->scan->from_hash == 0)
        keyspace->reap_looks_clean = true;
    if (search->candidates)
        keyspace->reap_looks_clean = false;
    keyspace->reap_clean = !search->more && keyspace->reap_looks_clean;
}

void replica_on_reap_scan(struct replica *replica, struct actor_context *ctx,
                          const struct message *message)
{
    const struct reap_scan *scan = &message->reap_scan;
    struct message *answer = message_new_reply(message, MESSAGE_reap_scan_done, 0);
    struct reap_scan_done *done = &answer->reap_scan_done;
    struct vnode *vnode = NULL;
    struct reap_search search = {.replica = replica,
                                 .ctx = ctx,
                                 .scan = scan,
                                 .limit =
                                     scan->limit < REAP_BATCH_MAX ? scan->limit : REAP_BATCH_MAX};
    uint8_t memory[8];
    enum err err = replica_reap_admit(replica, ctx, message, scan->keyspace_id, &vnode);
    if (err == OK) {
        const struct vnode_keyspace *keyspace = vnode_keyspace_find(vnode, scan->keyspace_id);
        if (keyspace == NULL || !keyspace->reap_clean) {
            err = store_scan(ctx->store, scan->partition, hash_bound(scan->from_hash, memory),
                             (struct bytes){0}, reap_search_visit, &search);
            if (err == OK)
                reap_scan_ended(vnode, &search);
        }
    }
    done->status = err;
    done->more = search.more;
    done->through_hash = search.last_hash;
    done->digests = reap_list_encode(&answer->arena, &search.list);
    replica_answer(replica, ctx, answer, 0);
}

/* -- one listed record
 * --------------------------------------------------------------------------------- */

struct reap_match {
    struct replica *replica;
    const struct actor_context *ctx;
    uint32_t keyspace_id;
    struct reap_digest digest;
    uint64_t older_than_ms; /* 0: whatever its age */
    bool found;
    struct local_state state; /* its storage key and record */
};

static bool reap_match_visit(void *closure, struct bytes storage_key, struct bytes record)
{
    struct reap_match *match = closure;
    struct version_set set;
    uint64_t hash;
    uint32_t keyspace_id;
    struct bytes key;
    if (!hash_storage_key_parse(storage_key, &hash, &keyspace_id, &key) ||
        record_decode(&match->replica->scratch, keyspace_id, key, record, &set) != OK ||
        record_checksum(record) != match->digest.checksum)
        return true;
    if (match->older_than_ms != 0 && !reap_is_dead(&set, match->older_than_ms, match->ctx->wall_ms))
        return true;
    memcpy(match->state.key_memory, storage_key.data, storage_key.size);
    match->state.key = bytes_of(match->state.key_memory, storage_key.size);
    match->state.hash = hash;
    match->state.record = arena_copy(&match->replica->scratch, record);
    match->found = true;
    return false;
}

/* The row that holds this record of this keyspace, if there is one. */
static enum err reap_match_find(struct reap_match *match, uint32_t partition)
{
    uint8_t from[STORAGE_KEY_PREFIX];
    uint8_t to[STORAGE_KEY_PREFIX + 1];
    struct bytes nothing = {0};
    hash_storage_key(match->keyspace_id, nothing, match->digest.key_hash, from);
    /* Behind all keys of this hash and keyspace: a key is at most 4096 bytes, each at most 0xff. */
    memcpy(to, from, STORAGE_KEY_PREFIX);
    size_t to_size = STORAGE_KEY_PREFIX;
    while (to_size != 0 && ++to[to_size - 1] == 0)
        to_size--;
    match->found = false;
    return store_scan(match->ctx->store, partition, bytes_of(from, sizeof from),
                      bytes_of(to, to_size), reap_match_visit, match);
}

/* -- reap_seal
 * ------------------------------------------------------------------------------------------ */

static enum err replica_reap_seal(struct replica *replica, struct actor_context *ctx,
                                  const struct reap_seal *seal, struct vnode *vnode,
                                  struct message *answer)
{
    struct reap_list list;
    struct reap_bits bits = {{0}};
    struct reap_seal_reply *reply = &answer->reap_seal_reply;
    struct reap_match match = {.replica = replica,
                               .ctx = ctx,
                               .keyspace_id = seal->keyspace_id,
                               .older_than_ms = seal->older_than_ms};
    if (reap_list_decode(seal->digests, &list) != OK)
        return ERR_INVALID;
    if (seal->floor > FLOOR_MAX)
        return ERR_INVALID;
    /* Who gains the partition took over the floors that there were. A seal that asks for nothing
     * brings no new one. */
    if (list.count != 0 && topology_is_joint(&ctx->view->topology, seal->partition) &&
        !MUTATE(REAPED_WHILE_JOINT))
        return ERR_PRECONDITION;
    if (seal->reaped > 0 && !vnode->trees_ready)
        return ERR_UNAVAILABLE; /* what is held here is not known yet */
    if (vnode_lost_its_seal(vnode, seal->keyspace_id, seal->reaped)) {
        replica_vnode_doubt(replica, ctx, vnode, DOUBT_RESTORED);
        return ERR_INCOMPLETE;
    }
    reply->floor = vnode_floor(vnode, seal->keyspace_id);
    reply->reaped = vnode_reaped(vnode, seal->keyspace_id);
    if (seal->floor <= reply->floor)
        return ERR_STALE_FLOOR;
    struct vnode_floors floors = {.floor = seal->floor, .reaped = reply->reaped};
    if (seal->reaped > floors.reaped)
        floors.reaped = seal->reaped;
    enum err err = vnode_floors_set(vnode, ctx->store, seal->keyspace_id, floors);
    if (err != OK)
        return err;
    reply->floor = seal->floor;
    vnode_keyspace_get(vnode, seal->keyspace_id)->sealed_floor = seal->floor;
    for (uint32_t i = 0; i < list.count && err == OK; i++) {
        match.digest = list.digests[i];
        err = reap_match_find(&match, seal->partition);
        if (err == OK && match.found)
            reap_bits_set(&bits, i);
        arena_clear(&replica->scratch);
    }
    reply->matched = arena_copy(&answer->arena, bytes_of(bits.bytes, reap_bits_bytes(list.count)));
    return err;
}

void replica_on_reap_seal(struct replica *replica, struct actor_context *ctx,
                          const struct message *message)
{
    const struct reap_seal *seal = &message->reap_seal;
    struct message *answer = message_new_reply(message, MESSAGE_reap_seal_reply, 0);
    struct vnode *vnode = NULL;
    enum err err = replica_reap_admit(replica, ctx, message, seal->keyspace_id, &vnode);
    if (err == OK)
        err = replica_reap_seal(replica, ctx, seal, vnode, answer);
    answer->reap_seal_reply.status = err;
    replica_answer(replica, ctx, answer, err == OK ? store_staged(ctx->store) : 0);
}

/* -- reap_remove
 * ----------------------------------------------------------------------------------------- */

/* The question before the removal. Whoever asks has heard that all have sealed: a replica below
 * this floor has lost its seal, from now on. */
static enum err replica_reap_confirm(struct actor_context *ctx, const struct reap_remove *remove,
                                     struct vnode *vnode)
{
    const struct vnode_keyspace *keyspace = vnode_keyspace_get(vnode, remove->keyspace_id);
    struct vnode_floors floors = {.floor = remove->floor, .reaped = remove->floor};
    if (keyspace->sealed_floor != remove->floor && !MUTATE(REAP_UNCONFIRMED))
        return ERR_PRECONDITION;
    if (keyspace->reaped >= remove->floor)
        return OK;
    return vnode_floors_set(vnode, ctx->store, remove->keyspace_id, floors);
}

static enum err replica_reap_remove(struct replica *replica, struct actor_context *ctx,
                                    const struct reap_remove *remove, struct vnode *vnode,
                                    struct reap_remove_reply *reply)
{
    struct reap_list list;
    struct reap_match match = {.replica = replica, .ctx = ctx, .keyspace_id = remove->keyspace_id};
    if (reap_list_decode(remove->digests, &list) != OK)
        return ERR_INVALID;
    if (topology_is_joint(&ctx->view->topology, remove->partition) && !MUTATE(REAPED_WHILE_JOINT))
        return ERR_PRECONDITION;
    if (vnode_floor(vnode, remove->keyspace_id) != remove->floor)
        return ERR_STALE_FLOOR;
    if (list.count == 0)
        return replica_reap_confirm(ctx, remove, vnode);
    if (vnode_reaped(vnode, remove->keyspace_id) < remove->floor)
        return ERR_PRECONDITION;
    enum err err = OK;
    for (uint32_t i = 0; i < list.count && err == OK; i++) {
        match.digest = list.digests[i];
        err = reap_match_find(&match, remove->partition);
        if (err == OK && match.found)
            err =
                replica_remove(replica, ctx, remove->partition, remove->keyspace_id, &match.state);
        if (err == OK && match.found)
            reply->removed++;
        arena_clear(&replica->scratch);
    }
    counter_add(&replica->figures.reaped, reply->removed);
    return err;
}

void replica_on_reap_remove(struct replica *replica, struct actor_context *ctx,
                            const struct message *message)
{
    const struct reap_remove *remove = &message->reap_remove;
    struct message *answer = message_new_reply(message, MESSAGE_reap_remove_reply, 0);
    struct vnode *vnode = NULL;
    enum err err = replica_reap_admit(replica, ctx, message, remove->keyspace_id, &vnode);
    if (err == OK)
        err = replica_reap_remove(replica, ctx, remove, vnode, &answer->reap_remove_reply);
    answer->reap_remove_reply.status = err;
    replica_answer(replica, ctx, answer, err == OK ? store_staged(ctx->store) : 0);
}
