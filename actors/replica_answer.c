/* What an anti-entropy actor asks a replica: roots, nodes, digests, records (message_range.h). An
 * answer is held until all that was staged when it was made is durable. A step looks at a bounded
 * number of rows; who asks comes back for the rest. */
#include "actors/replica_state.h"

#include "model/exchange.h"

#define HASHES_MAX       65536u /* of one answer */
#define DIGEST_ROWS_MAX  2000u  /* that one answer looks at */
#define DIGEST_SCANS_MAX 256u
#define FETCH_PLACES_MAX 256u
#define FETCH_BYTES      ((size_t)256 << 10) /* that an answer is filled up to */
/* One place with more than a peer message can carry: what is beyond it is not sent at all. Two keys
 * of one place and of the greatest size are as good as never met. */
#define FETCH_BYTES_MAX ((size_t)7 << 19)

/* The vnode of a question about its trees. */
static enum err trees_admit(struct replica *replica, struct actor_context *ctx,
                            const struct message *message, uint32_t keyspace_id,
                            const struct vnode **ret_vnode)
{
    enum err err = replica_admit(replica, ctx, message);
    if (err == OK)
        err = replica_fence(replica, ctx, message, keyspace_id, FENCE_QUESTION);
    if (err != OK)
        return err;
    const struct vnode *vnode = vnode_of(&replica->vnodes, message_partition(message));
    if (vnode->state == VNODE_EMPTYING || !vnode->trees_ready)
        return ERR_UNAVAILABLE;
    *ret_vnode = vnode;
    return OK;
}

static void answer_when_durable(struct replica *replica, struct actor_context *ctx,
                                struct message *answer, enum err status)
{
    replica_answer(replica, ctx, answer, status == OK ? store_staged(ctx->store) : 0);
}

/* -- roots and nodes ------------------------------------------------------------------------------
 */

/* In some keyspace of registers whose replica this is. */
static bool is_mute(struct replica *replica, const struct actor_context *ctx, struct vnode *vnode)
{
    const struct keyspace_map *map = &ctx->view->keyspaces;
    bool mute = false;
    for (uint32_t i = 0; vnode->registers_lost && i < map->count; i++)
        mute = mute || (map->keyspaces[i].mode == KEYSPACE_CONSISTENT &&
                        !map->keyspaces[i].dropped && vnode_is_mute(vnode, map->keyspaces[i].id) &&
                        replica_part(replica, ctx, vnode, map->keyspaces[i].id).role != ROLE_NONE);
    return mute;
}

/* Keyspaces that this node does not know (yet, or any more) are nobody's to compare, and those of
 * which it is no replica are not its own. */
static struct bytes roots_of(struct replica *replica, struct actor_context *ctx,
                             struct arena *arena, struct vnode *vnode)
{
    struct exchange_root *roots = ARENA_NEW(arena, struct exchange_root, KEYSPACES_MAX);
    struct exchange_roots list = {.roots = roots};
    for (uint32_t i = 0; i < vnode->keyspace_count && list.count < KEYSPACES_MAX; i++) {
        const struct vnode_keyspace *keyspace = &vnode->keyspaces[i];
        if (keyspace_map_find_id(&ctx->view->keyspaces, keyspace->id) == NULL ||
            replica_part(replica, ctx, vnode, keyspace->id).role == ROLE_NONE)
            continue;
        struct exchange_root root = {
            .keyspace_id = keyspace->id,
            .depth = keyspace->tree == NULL ? MERKLE_DEPTH_MIN : keyspace->tree->depth,
            .floor = vnode_floor_said(vnode, keyspace->id, ctx->store, store_staged(ctx->store)),
            .reaped = keyspace->reaped,
            .incomplete = vnode->state == VNODE_COMPLETE && vnode_serves(vnode, keyspace->id) != OK,
        };
        if (keyspace->tree != NULL)
            root.node = merkle_root(keyspace->tree);
        if (root.node.count != 0 || root.floor != 0 || root.incomplete)
            roots[list.count++] = root;
    }
    return exchange_roots_encode(arena, &list);
}

void replica_on_tree_roots(struct replica *replica, struct actor_context *ctx,
                           const struct message *message)
{
    struct message *answer = message_new_reply(message, MESSAGE_tree_roots_reply, 0);
    struct tree_roots_reply *reply = &answer->tree_roots_reply;
    const struct vnode *vnode;
    reply->status = trees_admit(replica, ctx, message, 0, &vnode);
    if (reply->status == OK) {
        reply->complete = vnode->state == VNODE_COMPLETE;
        struct exchange_indices bad;
        reply->bad_rows = quarantine_records(replica, ctx, vnode->partition, &answer->arena, &bad);
        if (bad.count > 0)
            reply->bad_keyspaces = exchange_indices_encode(&answer->arena, &bad);
        reply->unfit = vnode->unreadable ||
                       is_mute(replica, ctx, vnode_of(&replica->vnodes, vnode->partition));
        reply->roots =
            roots_of(replica, ctx, &answer->arena, vnode_of(&replica->vnodes, vnode->partition));
    }
    answer_when_durable(replica, ctx, answer, reply->status);
}

static enum err nodes_decode(struct arena *arena, uint32_t level, struct bytes nodes,
                             struct exchange_indices *ret_nodes)
{
    if (level > MERKLE_DEPTH_MAX)
        return ERR_INVALID;
    return exchange_indices_decode(arena, nodes, (uint64_t)1 << level, ret_nodes);
}

static enum err children_of(struct arena *arena, const struct tree_read *read,
                            const struct merkle *tree, struct tree_read_reply *reply)
{
    struct exchange_indices nodes;
    if (read->fanout_bits == 0 || read->fanout_bits > MERKLE_FANOUT_BITS_MAX)
        return ERR_INVALID;
    enum err err = nodes_decode(arena, read->level, read->nodes, &nodes);
    if (err != OK)
        return err;
    reply->depth = tree->depth;
    reply->level = read->level;
    if (read->level >= tree->depth)
        return OK; /* no children: their hashes are none */
    unsigned bits = tree->depth - read->level;
    bits = read->fanout_bits < bits ? read->fanout_bits : bits;
    if ((uint64_t)nodes.count << bits > HASHES_MAX)
        return ERR_LIMIT;
    struct merkle_front front = {.salt = read->salt,
                                 .level = read->level,
                                 .fanout_bits = bits,
                                 .count = nodes.count,
                                 .indices = nodes.indices};
    uint32_t count = nodes.count << bits;
    uint32_t *hashes = ARENA_NEW(arena, uint32_t, count);
    merkle_front_hashes(tree, &front, hashes);
    reply->level = read->level + bits;
    reply->hashes = exchange_hashes_encode(arena, hashes, count);
    return OK;
}

void replica_on_tree_read(struct replica *replica, struct actor_context *ctx,
                          const struct message *message)
{
    const struct tree_read *read = &message->tree_read;
    struct message *answer = message_new_reply(message, MESSAGE_tree_read_reply, 0);
    struct tree_read_reply *reply = &answer->tree_read_reply;
    const struct vnode *vnode;
    reply->status = trees_admit(replica, ctx, message, read->keyspace_id, &vnode);
    if (reply->status == OK) {
        const struct vnode_keyspace *keyspace = vnode_keyspace_find(vnode, read->keyspace_id);
        struct merkle nothing = {0};
        const struct merkle *tree = keyspace == NULL ? NULL : keyspace->tree;
        if (tree == NULL) {
            merkle_init(&nothing, vnode->partition, replica->vnodes.partitions, MERKLE_DEPTH_MIN);
            tree = &nothing;
        }
        reply->status = children_of(&answer->arena, read, tree, reply);
        merkle_deinit(&nothing);
    }
    answer_when_durable(replica, ctx, answer, reply->status);
}

/* -- scans ----------------------------------------------------------------------------------------
 */

/* The sound rows of one keyspace in a range of hashes. False ends the scan. */
struct range_scan {
    struct replica *replica;
    struct actor_context *ctx;
    uint32_t partition;
    uint32_t keyspace_id;
    bool (*visit)(struct range_scan *scan, const struct row *row);
    bool (*pass)(struct range_scan *scan, uint64_t hash); /* before each row; may be NULL */
    void *closure;
    bool bad_rows; /* of the keyspace were passed over */
};

static bool range_scan_row(void *closure, struct bytes key, struct bytes value)
{
    struct range_scan *scan = closure;
    uint64_t hash;
    uint32_t keyspace_id;
    struct bytes name;
    struct row row;
    if (!hash_storage_key_parse(key, &hash, &keyspace_id, &name)) {
        quarantine_met(scan->replica, scan->ctx, scan->partition, key, value);
        return true;
    }
    if (scan->pass != NULL && !scan->pass(scan, hash))
        return false;
    if (keyspace_id != scan->keyspace_id)
        return true;
    if (replica_row_parse(scan->replica, scan->partition, key, value, &row) != OK) {
        quarantine_met(scan->replica, scan->ctx, scan->partition, key, value);
        scan->bad_rows = scan->bad_rows || hash == hash_key(keyspace_id, name);
        return true;
    }
    return register_row_is(row.record) || scan->visit(scan, &row);
}

static struct bytes hash_bound(uint64_t hash, uint8_t memory[8])
{
    for (int i = 0; i < 8; i++)
        memory[i] = (uint8_t)(hash >> (56 - 8 * i));
    return bytes_of(memory, 8);
}

static enum err range_scan_run(struct range_scan *scan, struct merkle_range range)
{
    uint8_t first[8];
    uint8_t end[8];
    struct bytes to =
        range.last == UINT64_MAX ? (struct bytes){0} : hash_bound(range.last + 1, end);
    bool hole;
    enum err err = replica_scan(scan->replica, scan->ctx, scan->partition,
                                hash_bound(range.first, first), to, range_scan_row, scan, &hole);
    if (hole && !quarantine_gave_up(scan->replica, scan->partition, scan->keyspace_id))
        scan->bad_rows = true;
    return err;
}

/* -- digests --------------------------------------------------------------------------------------
 */

struct digest_scan {
    const struct digest_read *read;
    uint32_t partitions;
    struct arena decoded; /* of one row */
    struct arena *arena;
    struct exchange_digest *digests;
    uint32_t count;
    uint32_t capacity;
    uint32_t rows;
    uint32_t place; /* of the last row */
    bool full;
};

/* The answer ends between two places. */
static bool digest_pass(struct range_scan *scan, uint64_t hash)
{
    struct digest_scan *digest = scan->closure;
    uint32_t place = exchange_place(digest->partitions, digest->read->level, hash);
    if (digest->rows >= DIGEST_ROWS_MAX && place != digest->place) {
        digest->full = true;
        return false;
    }
    digest->rows++;
    digest->place = place;
    return true;
}

static bool digest_visit(struct range_scan *scan, const struct row *row)
{
    struct digest_scan *digest = scan->closure;
    struct version_set set = {0};
    arena_clear(&digest->decoded);
    /* A newer release's record has a checksum and no dots that we could read. */
    enum err err = record_decode(&digest->decoded, row->keyspace_id, row->key, row->record, &set);
    if (err == ERR_CORRUPT)
        return true;
    if (digest->count == digest->capacity) {
        uint32_t capacity = digest->capacity == 0 ? 256 : 2 * digest->capacity;
        struct exchange_digest *digests =
            ARENA_NEW(digest->arena, struct exchange_digest, capacity);
        if (digest->count != 0)
            memcpy(digests, digest->digests, digest->count * sizeof *digests);
        digest->digests = digests;
        digest->capacity = capacity;
    }
    digest->digests[digest->count++] = (struct exchange_digest){
        .place = digest->place,
        .state = exchange_state(record_checksum(row->record), digest->read->salt),
        .dots = clock_dot_count(&set.clock),
    };
    return true;
}

/* Neighbours among the nodes from `*next` on, as one range. */
static struct merkle_range next_range(const struct digest_read *read, uint32_t partitions,
                                      const struct exchange_indices *nodes, uint32_t *next)
{
    struct merkle_range range =
        merkle_range(read->partition, partitions, read->level, nodes->indices[*next]);
    while (++*next < nodes->count && nodes->indices[*next] == nodes->indices[*next - 1] + 1)
        range.last =
            merkle_range(read->partition, partitions, read->level, nodes->indices[*next]).last;
    return range;
}

static enum err digests_of(struct replica *replica, struct actor_context *ctx,
                           struct digest_scan *digest, struct digest_read_reply *reply)
{
    const struct digest_read *read = digest->read;
    struct exchange_indices nodes;
    struct range_scan scan = {.replica = replica,
                              .ctx = ctx,
                              .partition = read->partition,
                              .keyspace_id = read->keyspace_id,
                              .visit = digest_visit,
                              .pass = digest_pass,
                              .closure = digest};
    enum err err = nodes_decode(digest->arena, read->level, read->nodes, &nodes);
    uint32_t next = 0;
    for (uint32_t scans = 0; err == OK && next < nodes.count && !digest->full;) {
        if (scans == DIGEST_SCANS_MAX || digest->rows >= DIGEST_ROWS_MAX) {
            reply->more = true;
            break;
        }
        struct merkle_range range = next_range(read, digest->partitions, &nodes, &next);
        if (range.last < read->from_hash)
            continue;
        if (range.first < read->from_hash)
            range.first = read->from_hash;
        err = range_scan_run(&scan, range);
        scans++;
        reply->through_hash = range.last;
    }
    reply->bad_rows = scan.bad_rows;
    if (err != OK)
        return err;
    if (digest->full) {
        reply->more = true;
        reply->through_hash =
            exchange_place_range(read->partition, digest->partitions, read->level, digest->place)
                .last;
    }
    struct exchange_digests list = {.count = digest->count, .digests = digest->digests};
    exchange_digests_sort(digest->digests, digest->count);
    reply->digests = exchange_digests_encode(digest->arena, &list);
    return OK;
}

void replica_on_digest_read(struct replica *replica, struct actor_context *ctx,
                            const struct message *message)
{
    struct message *answer = message_new_reply(message, MESSAGE_digest_read_reply, 0);
    struct digest_read_reply *reply = &answer->digest_read_reply;
    struct digest_scan digest = {.read = &message->digest_read,
                                 .partitions = replica->vnodes.partitions,
                                 .arena = &answer->arena};
    const struct vnode *vnode;
    reply->status = trees_admit(replica, ctx, message, message->digest_read.keyspace_id, &vnode);
    if (reply->status == OK) {
        arena_init(&digest.decoded, NULL, 0);
        reply->status = digests_of(replica, ctx, &digest, reply);
        arena_deinit(&digest.decoded);
    }
    answer_when_durable(replica, ctx, answer, reply->status);
}

/* -- records --------------------------------------------------------------------------------------
 */

struct fetch {
    struct arena *arena;
    struct exchange_record *records;
    uint32_t count;
    uint32_t capacity;
    size_t bytes;
    bool first; /* place: it goes whole, or what a message can carry of it */
    bool full;
};

static bool fetch_visit(struct range_scan *scan, const struct row *row)
{
    struct fetch *fetch = scan->closure;
    struct exchange_record record = {.key = row->key, .record = row->record};
    size_t bytes = fetch->bytes + exchange_record_bytes(&record);
    if (bytes > (fetch->first ? FETCH_BYTES_MAX : FETCH_BYTES) && fetch->count != 0) {
        fetch->full = true;
        return false;
    }
    if (fetch->count == fetch->capacity) {
        uint32_t capacity = fetch->capacity == 0 ? 16 : 2 * fetch->capacity;
        struct exchange_record *records = ARENA_NEW(fetch->arena, struct exchange_record, capacity);
        if (fetch->count != 0)
            memcpy(records, fetch->records, fetch->count * sizeof *records);
        fetch->records = records;
        fetch->capacity = capacity;
    }
    fetch->records[fetch->count++] = (struct exchange_record){
        .key = arena_copy(fetch->arena, row->key), .record = arena_copy(fetch->arena, row->record)};
    fetch->bytes = bytes;
    return true;
}

static enum err fetch_places(struct replica *replica, struct actor_context *ctx,
                             const struct record_fetch *ask, struct arena *arena,
                             struct record_fetch_reply *reply)
{
    struct exchange_indices places;
    struct fetch fetch = {.arena = &replica->scratch, .first = true};
    struct range_scan scan = {.replica = replica,
                              .ctx = ctx,
                              .partition = ask->partition,
                              .keyspace_id = ask->keyspace_id,
                              .visit = fetch_visit,
                              .closure = &fetch};
    if (ask->level > MERKLE_DEPTH_MAX)
        return ERR_INVALID;
    enum err err =
        exchange_indices_decode(arena, ask->places, exchange_places(ask->level), &places);
    if (err != OK)
        return err;
    while (reply->served < places.count && reply->served < FETCH_PLACES_MAX) {
        uint32_t count = fetch.count;
        err =
            range_scan_run(&scan, exchange_place_range(ask->partition, replica->vnodes.partitions,
                                                       ask->level, places.indices[reply->served]));
        if (err != OK)
            return err;
        if (fetch.full && !fetch.first) {
            fetch.count = count; /* places go whole */
            break;
        }
        reply->served++;
        fetch.first = false;
        if (fetch.full || fetch.bytes >= FETCH_BYTES)
            break;
    }
    struct exchange_records list = {.count = fetch.count, .records = fetch.records};
    reply->bad_rows = scan.bad_rows;
    reply->records = exchange_records_encode(arena, &list);
    return OK;
}

void replica_on_record_fetch(struct replica *replica, struct actor_context *ctx,
                             const struct message *message)
{
    const struct record_fetch *ask = &message->record_fetch;
    struct message *answer = message_new_reply(message, MESSAGE_record_fetch_reply, 0);
    struct record_fetch_reply *reply = &answer->record_fetch_reply;
    const struct vnode *vnode;
    reply->status = trees_admit(replica, ctx, message, ask->keyspace_id, &vnode);
    if (reply->status == OK)
        reply->status = fetch_places(replica, ctx, ask, &answer->arena, reply);
    if (reply->status == OK) {
        reply->incomplete = vnode_serves(vnode, ask->keyspace_id) != OK;
        reply->floor =
            vnode_floor_said(vnode, ask->keyspace_id, ctx->store, store_staged(ctx->store));
    } else {
        reply->served = 0;
    }
    answer_when_durable(replica, ctx, answer, reply->status);
}
