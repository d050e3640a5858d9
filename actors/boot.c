#include "actors/boot.h"

#include "actors/boot_addresses.h"
#include "actors/epoch_lease.h"
#include "actors/replica.h"
#include "base/mutation.h"
#include "model/hash.h"

#include <inttypes.h>
#include <stdio.h>

#define META_IDENTITY   "identity"
#define META_CLEAN      "clean"
#define META_FLOOR      "epoch-floor"
#define META_ABOVE      "epoch-above"
#define META_INITIAL    "topology-initial" /* the list of the last start */
#define IDENTITY_FORMAT 2u                 /* 1: without the ids that it supersedes */

/* Whose directory this is. */
struct owner {
    uint8_t cluster_id[16];
    uint32_t member;
    uint32_t partitions;
    struct identity_hello hello; /* its nonce is that of the last start */
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

static enum err owner_decode_1(struct reader *reader, struct owner *owner)
{
    struct bytes node_id = reader_bytes(reader, NODE_ID_BYTES);
    struct bytes cluster_id = reader_bytes(reader, 16);
    owner->member = reader_u32(reader);
    owner->partitions = reader_u32(reader);
    owner->hello.self.generation = reader_u64(reader);
    if (!reader_done(reader))
        return ERR_CORRUPT;
    memcpy(owner->hello.self.node_id.bytes, node_id.data, NODE_ID_BYTES);
    memcpy(owner->cluster_id, cluster_id.data, 16);
    return OK;
}

static enum err owner_decode_2(struct reader *reader, struct owner *owner)
{
    struct bytes cluster_id = reader_bytes(reader, 16);
    owner->member = reader_u32(reader);
    owner->partitions = reader_u32(reader);
    struct bytes hello = reader_bytes(reader, reader_left(reader));
    if (!reader_done(reader))
        return ERR_CORRUPT;
    memcpy(owner->cluster_id, cluster_id.data, 16);
    return identity_hello_decode(hello, &owner->hello) == OK ? OK : ERR_CORRUPT;
}

static enum err owner_read(struct store *meta, struct arena *arena, struct owner *ret_owner)
{
    struct bytes value = {0};
    enum err err = store_read(meta, STORE_META, bytes_of_string(META_IDENTITY), arena, &value);
    if (err != OK)
        return err;
    struct reader reader = reader_of(value);
    struct owner owner = {0};
    uint8_t format = reader_u8(&reader);
    if (format == IDENTITY_FORMAT)
        err = owner_decode_2(&reader, &owner);
    else
        err = format == 1 ? owner_decode_1(&reader, &owner) : ERR_CORRUPT;
    if (err == OK)
        *ret_owner = owner;
    return err;
}

static enum err owner_write(struct store *meta, struct arena *arena, const struct owner *owner)
{
    struct writer writer;
    struct bytes hello = identity_hello_encode(arena, &owner->hello);
    writer_init(&writer, arena, 25 + hello.size);
    writer_u8(&writer, IDENTITY_FORMAT);
    writer_bytes(&writer, bytes_of(owner->cluster_id, 16));
    writer_u32(&writer, owner->member);
    writer_u32(&writer, owner->partitions);
    writer_bytes(&writer, hello);
    return store_put(meta, STORE_META, bytes_of_string(META_IDENTITY), writer_result(&writer),
                     STORE_SYNC_NOW);
}

/* -- the topology
 * ------------------------------------------------------------------------------------------- */

/* The same members in the same data centres. */
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
        if (m->number != n->number || strcmp(m->name, n->name) != 0 ||
            m->places[TOPOLOGY_NOW].data_center != n->places[TOPOLOGY_NOW].data_center)
            return false;
    }
    return true;
}

static const char *owner_refusal(const struct owner *owner, const struct boot_options *options)
{
    const struct topology *given = options->topology;
    if (given != NULL && owner->partitions != given->partitions)
        return "was created with another number of partitions; it is fixed for a cluster's life: "
               "start with the --partitions it was created with";
    if (options->self != MEMBER_NONE && owner->member != options->self && !MUTATE(CLONE_IS_WELCOME))
        return "belongs to another member of this cluster; start with the --name it was created "
               "with";
    return NULL;
}

static enum err document_check(struct arena *arena, const struct topology *document,
                               const struct boot_options *options, uint32_t self,
                               const char **ret_refusal)
{
    const struct member *member = topology_member(document, self);
    if (topology_was_removed(document, self) || (member != NULL && member->gone)) {
        *ret_refusal = arena_printf(
            arena,
            "belongs to a member that was removed from the cluster (epoch %" PRIu64
            " says so); what it holds is not used any more: to add this machine as a new member, "
            "start with an empty --data-dir and --join",
            document->epoch);
        return ERR_DENIED;
    }
    if (member != NULL && options->name != NULL && strcmp(member->name, options->name) != 0) {
        *ret_refusal = arena_printf(arena, "belongs to member \"%s\"; start with --name %s",
                                    member->name, member->name);
        return ERR_PRECONDITION;
    }
    return member == NULL ? ERR_CORRUPT : OK;
}

static enum err row_read_topology(struct store *meta, struct arena *arena, const char *name,
                                  struct topology *ret_topology)
{
    struct bytes value = {0};
    enum err err = store_read(meta, STORE_META, bytes_of_string(name), arena, &value);
    return err == OK ? topology_decode(arena, value, ret_topology) : err;
}

static enum err row_write_topology(struct store *meta, struct arena *arena, const char *name,
                                   const struct topology *topology)
{
    return store_put(meta, STORE_META, bytes_of_string(name), topology_encode(arena, topology),
                     STORE_SYNC_NOW);
}

static void warn_of_places(const struct boot_options *options, const struct boot *boot)
{
    const struct member *listed = topology_member(options->topology, boot->self);
    const struct member *member = topology_member(&boot->topology, boot->self);
    if (listed == NULL || member == NULL)
        return;
    const struct member_place *given = &listed->places[TOPOLOGY_NOW];
    const struct member_place *place = member_place(member);
    if (given->weight == place->weight && strcmp(given->zone, place->zone) == 0)
        return;
    log_write(options->log, LOG_WARNING, "place_not_taken",
              "zone=%s weight=%u given_zone=%s given_weight=%u what_now=\"a running cluster's "
              "zones and weights are changed by coterie zone and coterie weight\"",
              place->zone, place->weight, given->zone, given->weight);
}

/* The list that is given against the one of the start before. */
static enum err boot_list(struct store *meta, struct arena *arena,
                          const struct boot_options *options, struct boot *boot,
                          const char **ret_refusal)
{
    struct topology before;
    enum err err = boot_addresses_read(meta, arena, boot);
    if (err == OK && options->listed_count != 0)
        return boot_addresses_by_name(meta, arena, options->listed, options->listed_count, boot);
    if (err != OK || options->topology == NULL)
        return err;
    err = row_read_topology(meta, arena, META_INITIAL, &before);
    if (err == ERR_NOT_FOUND && boot->topology.epoch == 1) {
        before = boot->topology; /* of a start that kept no list */
        err = OK;
    }
    if (err == ERR_NOT_FOUND) {
        log_write(options->log, LOG_WARNING, "initial_cluster_not_used",
                  "why=\"this member has joined a running cluster\"");
        return OK;
    }
    if (err != OK)
        return err;
    if (!topology_same_members(&before, options->topology)) {
        *ret_refusal =
            "belongs to a cluster that began with other members; start with the "
            "--initial-cluster it was created with (addresses may change, names and data centers "
            "may not), or with another --data-dir";
        return ERR_PRECONDITION;
    }
    warn_of_places(options, boot);
    boot_addresses_follow(boot, &before, options->topology);
    err = row_write_topology(meta, arena, META_INITIAL, options->topology);
    return err == OK ? boot_addresses_write(meta, arena, boot) : err;
}

/* At the first start writes the document; later takes the one that is there. */
static enum err boot_topology(struct store *meta, struct arena *arena,
                              const struct boot_options *options, const struct owner *owner,
                              struct boot *boot, const char **ret_refusal)
{
    boot->self = owner->member;
    enum err err = OK;
    if (boot->first_start) {
        bool joins = options->joined != NULL;
        boot->topology = joins ? *options->joined : *options->topology;
        err = row_write_topology(meta, arena, META_TOPOLOGY, &boot->topology);
        if (err == OK && !joins)
            err = row_write_topology(meta, arena, META_INITIAL, options->topology);
        if (err == OK && joins)
            err = boot_addresses_keep(meta, arena, options->listed, options->listed_count);
        return err;
    }
    *ret_refusal = owner_refusal(owner, options);
    if (*ret_refusal != NULL)
        return ERR_PRECONDITION;
    err = row_read_topology(meta, arena, META_TOPOLOGY, &boot->topology);
    if (err == OK && memcmp(boot->topology.cluster_id, owner->cluster_id, 16) != 0)
        err = ERR_CORRUPT;
    if (err != OK)
        return err == ERR_NOT_FOUND ? ERR_CORRUPT : err;
    err = document_check(arena, &boot->topology, options, owner->member, ret_refusal);
    if (err != OK)
        return err;
    return boot_list(meta, arena, options, boot, ret_refusal);
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
    uint64_t above = 0;
    enum err err = meta_get_u64(meta, arena, META_CLEAN, &clean);
    if (err == OK)
        err = meta_get_u64(meta, arena, META_ABOVE, &above);
    if (err == OK)
        err = meta_get_u64(meta, arena, META_FLOOR, &floor);
    if (err == OK)
        err = epoch_lease_read_limit(meta, &limit);
    if (err != OK)
        return err;
    boot->epoch_lease = options->epoch_lease == 0 ? EPOCH_LEASE : options->epoch_lease;
    boot->clean = clean != 0;
    boot->epoch_start = options->wall_ms << 20;
    if (MUTATE(EPOCHS_BEGIN_AT_ONE)) {
        boot->epoch_start = 1;
        above = limit = 0;
    }
    uint64_t least = limit > above ? limit : above;
    if (boot->epoch_start < least)
        boot->epoch_start = least + hash_mix(options->start_nonce) % EPOCH_GAP;
    boot->epoch_bound = boot->epoch_start + EPOCH_SPAN;
    boot->epoch_floor = boot->clean ? floor : boot->epoch_start;
    if (MUTATE(EPOCH_FLOOR_MISSING))
        boot->epoch_floor = 0;
    boot->epoch_limit = boot->epoch_start + (uint64_t)boot->epoch_lease * options->shards;
    for (uint32_t shard = 0; shard < options->shards && err == OK; shard++)
        err = epoch_lease_write_limit(meta, shard, boot->epoch_limit);
    if (err == OK)
        err = meta_put_u64(meta, META_FLOOR, boot->epoch_floor);
    if (err == OK && !MUTATE(CLEAN_MARK_STAYS))
        err = meta_put_u64(meta, META_CLEAN, 0);
    return err;
}

/* Whose directory it is, or is to be from now on. */
static enum err boot_owner(struct store *meta, struct arena *arena,
                           const struct boot_options *options, struct boot *boot,
                           struct owner *ret_owner)
{
    enum err err = owner_read(meta, arena, ret_owner);
    if (err != ERR_NOT_FOUND)
        return err;
    const struct topology *topology = options->joined != NULL ? options->joined : options->topology;
    CHECK(topology != NULL && topology_member(topology, options->self) != NULL);
    boot->first_start = true;
    *ret_owner = (struct owner){.member = options->self, .partitions = topology->partitions};
    memcpy(ret_owner->cluster_id, topology->cluster_id, 16);
    memcpy(ret_owner->hello.self.node_id.bytes, options->random_id, NODE_ID_BYTES);
    CHECK(!node_id_is_none(ret_owner->hello.self.node_id));
    return OK;
}

/* What this directory holds is no proof of what it has acknowledged or promised. */
static enum err forgets(struct store *meta, uint32_t partitions)
{
    enum err err = replica_rows_doubt_all(meta, partitions);
    if (err == OK)
        err = store_put(meta, STORE_META, bytes_of_string(META_FORGOT), bytes_of_string(""),
                        STORE_SYNC_NOW);
    return err;
}

/* All that a start writes; the identity last, so that it is not this start without the rest. */
static enum err boot_write(struct store *meta, struct arena *arena,
                           const struct boot_options *options, struct owner *owner,
                           struct boot *boot)
{
    owner->hello.self.generation++;
    owner->hello.self.start_nonce = options->start_nonce;
    if (MUTATE(GENERATION_IS_TIME))
        owner->hello.self.generation = options->wall_ms;
    enum err err = OK;
    if (options->log_short)
        err = forgets(meta, owner->partitions);
    if (err == OK)
        err = boot_epochs(meta, arena, options, boot);
    if (err == OK)
        err = keyspaces_read(meta, arena, &boot->keyspaces);
    if (err == OK)
        err = owner_write(meta, arena, owner);
    if (err == OK)
        err = store_sync(meta);
    return err;
}

enum err boot_node(struct store *meta, struct arena *arena, const struct boot_options *options,
                   struct boot *ret_boot, char *why, size_t why_size)
{
    CHECK(options->shards > 0);
    struct boot boot = {0};
    struct owner owner = {0};
    enum err err = boot_owner(meta, arena, options, &boot, &owner);
    if (err != OK) {
        snprintf(why, why_size, "the node's identity cannot be read from the data directory: %s",
                 err_text(err));
        return err;
    }
    const char *refusal = NULL;
    err = boot_topology(meta, arena, options, &owner, &boot, &refusal);
    if (refusal != NULL) {
        snprintf(why, why_size, "the data directory %s", refusal);
        return err;
    }
    if (err == OK)
        err = boot_write(meta, arena, options, &owner, &boot);
    if (err != OK) {
        snprintf(why, why_size, "the node's own records in the data directory: %s", err_text(err));
        return err;
    }
    boot.hello = owner.hello;
    boot.generation = owner.hello.self.generation;
    *ret_boot = boot;
    return OK;
}

/* -- a new incarnation ----------------------------------------------------------------------------
 */

static enum err renew_write(struct store *meta, struct arena *arena,
                            const struct boot_renewal *renewal, struct owner *owner)
{
    const struct incarnation_answer *answer = &renewal->answer;
    struct node_id before = owner->hello.self.node_id;
    bool votes = true;
    uint64_t above = 0;
    enum err err = replica_rows_vote(meta, owner->partitions, &votes);
    if (err == OK)
        err = forgets(meta, owner->partitions);
    if (err == OK)
        err = meta_get_u64(meta, arena, META_ABOVE, &above);
    if (err == OK && answer->epoch_bound > above)
        err = meta_put_u64(meta, META_ABOVE, answer->epoch_bound);
    if (err != OK)
        return err;
    uint64_t generation = owner->hello.self.generation;
    owner->hello = identity_renew(&owner->hello, answer->verdict, answer->known.self.node_id,
                                  renewal->fresh, votes);
    identity_supersede(&owner->hello, answer->known.superseded, answer->known.superseded_count);
    /* Above all of this member that is known here: gossip and ids of requests count on it. */
    if (generation < answer->known.self.generation)
        generation = answer->known.self.generation;
    if (owner->hello.self.generation < generation)
        owner->hello.self.generation = generation;
    err = owner_write(meta, arena, owner);
    if (err == OK)
        err = store_sync(meta);
    bool same = node_id_equal(before, owner->hello.self.node_id);
    if (err == OK)
        log_write(renewal->log, LOG_WARNING, "identity_renewed",
                  "why=\"%s\" node_id=%s what_now=\"all vnodes are emptied and filled from the "
                  "other nodes; they vote again one by one\"",
                  identity_text(answer->verdict), same ? "kept" : "new");
    return err;
}

enum err boot_renew(struct store *meta, struct arena *arena, const struct boot_renewal *renewal,
                    char *why, size_t why_size)
{
    CHECK(renewal->answer.action == IDENTITY_RENEW);
    struct owner owner = {0};
    enum err err = owner_read(meta, arena, &owner);
    if (err == OK)
        err = renew_write(meta, arena, renewal, &owner);
    if (err != OK)
        snprintf(why, why_size, "the data directory cannot be made a new incarnation: %s",
                 err_text(err));
    return err;
}

enum err boot_raise_generation(struct store *meta, bool accepted, uint64_t *ret_generation)
{
    struct owner owner = {0};
    struct arena arena;
    if (!accepted && !MUTATE(GENERATION_RAISED_ALONE))
        return ERR_PRECONDITION;
    arena_init(&arena, NULL, 0);
    enum err err = owner_read(meta, &arena, &owner);
    if (err == OK) {
        *ret_generation = owner.hello.self.generation += IDENTITY_RAISE;
        err = owner_write(meta, &arena, &owner);
    }
    arena_deinit(&arena);
    return err;
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
