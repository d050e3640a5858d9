#include "actors/boot.h"

#include "base/mutation.h"

#include <inttypes.h>
#include <stdio.h>

#define META_IDENTITY   "identity"
#define META_TOPOLOGY   "topology"
#define META_CLEAN      "clean"
#define META_FLOOR      "epoch-floor"
#define META_LEASE      "epoch-lease/"
#define IDENTITY_FORMAT 1u

struct identity {
    uint8_t node_id[16];
    uint8_t cluster_id[16];
    uint32_t member;
    uint32_t partitions;
    uint64_t generation;
};

static enum err meta_put_u64(struct store *meta, const char *name, uint64_t value)
{
    uint8_t memory[64];
    struct arena arena;
    struct writer writer;
    arena_init(&arena, memory, sizeof memory);
    writer_init(&writer, &arena, 8);
    writer_u64(&writer, value);
    return store_put(meta, STORE_META, bytes_of_string(name), writer_result(&writer),
                     STORE_SYNC_NOW);
}

/* 0 when absent. */
static enum err meta_get_u64(struct store *meta, struct arena *arena, const char *name,
                             uint64_t *ret_value)
{
    struct bytes value = {0};
    enum err err = store_read(meta, STORE_META, bytes_of_string(name), arena, &value);
    if (err != OK && err != ERR_NOT_FOUND)
        return err;
    struct reader reader = reader_of(value);
    uint64_t number = err == OK ? reader_u64(&reader) : 0;
    if (!reader_done(&reader))
        return ERR_CORRUPT;
    *ret_value = number;
    return OK;
}

static enum err identity_read(struct store *meta, struct arena *arena,
                              struct identity *ret_identity)
{
    struct bytes value = {0};
    enum err err = store_read(meta, STORE_META, bytes_of_string(META_IDENTITY), arena, &value);
    if (err != OK)
        return err;
    struct reader reader = reader_of(value);
    struct identity identity = {0};
    uint8_t format = reader_u8(&reader);
    struct bytes node_id = reader_bytes(&reader, 16);
    struct bytes cluster_id = reader_bytes(&reader, 16);
    identity.member = reader_u32(&reader);
    identity.partitions = reader_u32(&reader);
    identity.generation = reader_u64(&reader);
    if (!reader_done(&reader) || format != IDENTITY_FORMAT)
        return ERR_CORRUPT;
    memcpy(identity.node_id, node_id.data, 16);
    memcpy(identity.cluster_id, cluster_id.data, 16);
    *ret_identity = identity;
    return OK;
}

static enum err identity_write(struct store *meta, struct arena *arena,
                               const struct identity *identity)
{
    struct writer writer;
    writer_init(&writer, arena, 64);
    writer_u8(&writer, IDENTITY_FORMAT);
    writer_bytes(&writer, bytes_of(identity->node_id, 16));
    writer_bytes(&writer, bytes_of(identity->cluster_id, 16));
    writer_u32(&writer, identity->member);
    writer_u32(&writer, identity->partitions);
    writer_u64(&writer, identity->generation);
    return store_put(meta, STORE_META, bytes_of_string(META_IDENTITY), writer_result(&writer),
                     STORE_SYNC_NOW);
}

struct lease_scan {
    uint64_t limit_max;
    bool corrupt;
};

static bool lease_visit(void *closure, struct bytes key, struct bytes value)
{
    (void)key;
    struct lease_scan *scan = closure;
    struct reader reader = reader_of(value);
    uint64_t limit = reader_u64(&reader);
    scan->corrupt |= !reader_done(&reader);
    if (limit > scan->limit_max)
        scan->limit_max = limit;
    return true;
}

/* Above every epoch that any start of this directory can have used. */
static enum err lease_scan_limit(struct store *meta, uint64_t *ret_limit)
{
    struct lease_scan scan = {0};
    /* '0' follows '/': all names that start with the prefix. */
    enum err err = store_scan(meta, STORE_META, bytes_of_string(META_LEASE),
                              bytes_of_string("epoch-lease0"), lease_visit, &scan);
    if (err == OK && scan.corrupt)
        err = ERR_CORRUPT;
    if (err == OK)
        *ret_limit = scan.limit_max;
    return err;
}

static void lease_name(uint32_t shard, char ret_name[32])
{
    snprintf(ret_name, 32, META_LEASE "%" PRIu32, shard);
}

/* Same members in the same places; addresses may differ. */
static bool topology_same_members(const struct topology *a, const struct topology *b)
{
    if (a->member_count != b->member_count || a->data_center_count != b->data_center_count)
        return false;
    for (uint32_t i = 0; i < a->data_center_count; i++) {
        if (strcmp(a->data_centers[i], b->data_centers[i]) != 0)
            return false;
    }
    for (uint32_t i = 0; i < a->member_count; i++) {
        const struct member *m = &a->members[i];
        const struct member *n = &b->members[i];
        if (m->number != n->number || m->data_center != n->data_center || m->weight != n->weight ||
            strcmp(m->name, n->name) != 0 || strcmp(m->zone, n->zone) != 0)
            return false;
    }
    return true;
}

static const char *identity_refusal(const struct identity *identity, const struct topology *stored,
                                    const struct boot_options *options)
{
    if (identity->partitions != options->topology->partitions)
        return "was created with another number of partitions; it is fixed for a cluster's life: "
               "start with the --partitions it was created with";
    if (!topology_same_members(stored, options->topology))
        return "belongs to a cluster of other members; start with the --initial-cluster it was "
               "created with (addresses may change, names, zones and weights may not), or with "
               "another --data-dir";
    if (identity->member != options->self && !MUTATE(CLONE_IS_WELCOME))
        return "belongs to another member of this cluster; start with the --name it was created "
               "with";
    return NULL;
}

/* At the first start writes the document, later checks that it is still the same cluster. */
static enum err boot_topology(struct store *meta, struct arena *arena,
                              const struct boot_options *options, const struct identity *identity,
                              struct boot *boot, const char **ret_refusal)
{
    struct bytes name = bytes_of_string(META_TOPOLOGY);
    boot->topology = *options->topology;
    if (boot->first_start)
        return store_put(meta, STORE_META, name, topology_encode(arena, options->topology),
                         STORE_SYNC_NOW);
    struct bytes value = {0};
    struct topology stored;
    enum err err = store_read(meta, STORE_META, name, arena, &value);
    if (err == OK)
        err = topology_decode(arena, value, &stored);
    if (err != OK)
        return err == ERR_NOT_FOUND ? ERR_CORRUPT : err;
    memcpy(boot->topology.cluster_id, identity->cluster_id, 16);
    *ret_refusal = identity_refusal(identity, &stored, options);
    return *ret_refusal == NULL ? OK : ERR_PRECONDITION;
}

static enum err keyspaces_read(struct store *meta, struct arena *arena,
                               struct keyspace_map *ret_map)
{
    struct bytes value = {0};
    enum err err = store_read(meta, STORE_META, bytes_of_string(META_KEYSPACES), arena, &value);
    if (err == OK)
        return keyspace_map_decode(arena, value, ret_map);
    if (err != ERR_NOT_FOUND)
        return err;
    struct keyspace builtin = keyspace_builtin();
    struct keyspace_map empty = {0};
    *ret_map = keyspace_map_put(arena, &empty, &builtin);
    return OK;
}

static enum err boot_epochs(struct store *meta, struct arena *arena,
                            const struct boot_options *options, struct boot *boot)
{
    uint64_t clean = 0;
    uint64_t limit = 0;
    uint64_t floor = 0;
    enum err err = meta_get_u64(meta, arena, META_CLEAN, &clean);
    if (err == OK)
        err = meta_get_u64(meta, arena, META_FLOOR, &floor);
    if (err == OK)
        err = lease_scan_limit(meta, &limit);
    if (err != OK)
        return err;
    boot->epoch_lease = options->epoch_lease == 0 ? EPOCH_LEASE : options->epoch_lease;
    boot->clean = clean != 0;
    boot->epoch_start = options->wall_ms << 20;
    if (boot->epoch_start < limit)
        boot->epoch_start = limit;
    boot->epoch_floor = boot->clean ? floor : boot->epoch_start;
    if (MUTATE(EPOCH_FLOOR_MISSING))
        boot->epoch_floor = 0;
    boot->epoch_limit = boot->epoch_start + (uint64_t)boot->epoch_lease * options->shards;
    for (uint32_t shard = 0; shard < options->shards && err == OK; shard++) {
        char name[32];
        lease_name(shard, name);
        err = meta_put_u64(meta, name, boot->epoch_limit);
    }
    if (err == OK)
        err = meta_put_u64(meta, META_FLOOR, boot->epoch_floor);
    if (err == OK && !MUTATE(CLEAN_MARK_STAYS))
        err = meta_put_u64(meta, META_CLEAN, 0);
    return err;
}

enum err boot_node(struct store *meta, struct arena *arena, const struct boot_options *options,
                   struct boot *ret_boot, char *why, size_t why_size)
{
    CHECK(options->shards > 0);
    struct boot boot = {0};
    struct identity identity = {0};
    enum err err = identity_read(meta, arena, &identity);
    if (err == ERR_NOT_FOUND) {
        boot.first_start = true;
        memcpy(identity.node_id, options->random_id, 16);
        memcpy(identity.cluster_id, options->topology->cluster_id, 16);
        identity.member = options->self;
        identity.partitions = options->topology->partitions;
        err = OK;
    }
    if (err != OK) {
        snprintf(why, why_size, "the node's identity cannot be read from the data directory: %s",
                 err_text(err));
        return err;
    }
    const char *refusal = NULL;
    err = boot_topology(meta, arena, options, &identity, &boot, &refusal);
    if (refusal != NULL) {
        snprintf(why, why_size, "the data directory %s", refusal);
        return err;
    }
    identity.generation++;
    if (MUTATE(GENERATION_IS_TIME))
        identity.generation = options->wall_ms;
    if (err == OK)
        err = boot_epochs(meta, arena, options, &boot);
    if (err == OK)
        err = keyspaces_read(meta, arena, &boot.keyspaces);
    if (err == OK)
        err = identity_write(meta, arena, &identity);
    if (err == OK)
        err = store_sync(meta);
    if (err != OK) {
        snprintf(why, why_size, "the node's own records in the data directory: %s", err_text(err));
        return err;
    }
    memcpy(boot.node_id, identity.node_id, 16);
    boot.generation = identity.generation;
    *ret_boot = boot;
    return OK;
}

enum err boot_mark_clean(struct store *meta)
{
    enum err err = store_sync(meta);
    if (err == OK)
        err = meta_put_u64(meta, META_CLEAN, 1);
    if (err == OK)
        err = store_sync(meta);
    return err;
}

void epoch_lease_init(struct epoch_lease *lease, const struct boot *boot, uint32_t shard,
                      uint32_t shards)
{
    CHECK_U64(shard, <, shards);
    *lease = (struct epoch_lease){
        .next = boot->epoch_start + shard,
        .step = shards,
        .size = boot->epoch_lease,
        .limit = boot->epoch_limit,
        .shard = shard,
    };
}

static void epoch_lease_renew(struct epoch_lease *lease, struct store *store)
{
    char name[32];
    uint64_t limit = lease->limit + (uint64_t)lease->size * lease->step;
    lease_name(lease->shard, name);
    if (meta_put_u64(store, name, limit) != OK)
        return; /* asked for again at the next draw */
    lease->limit_staged = limit;
    lease->limit_sequence = store_staged(store);
    if (MUTATE(EPOCH_LEASE_NOT_DURABLE))
        epoch_lease_committed(lease, lease->limit_sequence);
}

enum err epoch_lease_draw(struct epoch_lease *lease, struct store *store, uint64_t *ret_epoch)
{
    uint64_t left = lease->next >= lease->limit ? 0 : (lease->limit - lease->next) / lease->step;
    if (left <= lease->size / 5 && lease->limit_staged == 0)
        epoch_lease_renew(lease, store);
    uint64_t limit = lease->limit;
    if (MUTATE(EPOCH_LEASE_OFF_BY_ONE))
        limit += lease->step;
    if (lease->next >= limit)
        return ERR_OVERLOADED;
    *ret_epoch = lease->next;
    lease->next += lease->step;
    return OK;
}

void epoch_lease_committed(struct epoch_lease *lease, uint64_t sequence)
{
    if (lease->limit_staged != 0 && sequence >= lease->limit_sequence) {
        lease->limit = lease->limit_staged;
        lease->limit_staged = 0;
    }
}
