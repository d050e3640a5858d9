/* Tombstones are reaped by proof (RELIABILITY rules 13, 14): a replica removes a record only when
 * every other replica has all of it on its disk, or has removed it too, and nobody keeps a hint
 * that could bring back what it had covered. What has been reaped explains what later states do not
 * know of, and is never read again: no resurrection. */
#include "actors/hinted_handoff_rows.h"
#include "model/record.h"
#include "tests/sim/world.h"

static bool is_dead(const struct version *version)
{
    return (version->flags & VERSION_TOMBSTONE) != 0 || version->expires_at_ms != 0;
}

struct clock check_reaped(const struct world *world, uint32_t keyspace, uint32_t key)
{
    return world->check.reaped[keyspace][key];
}

struct clock check_with_reaped(struct world *world, uint32_t keyspace, uint32_t key,
                               const struct clock *clock, struct arena *arena)
{
    return clock_merge(arena, clock, &world->check.reaped[keyspace][key]);
}

/* -- around a removal -------------------------------------------------------------------------- */

void check_reap_before(struct host *host, const struct message *message,
                       struct reap_watch *ret_watch)
{
    struct world *world = host->world;
    struct reap_watch *watch = ret_watch;
    *watch = (struct reap_watch){.keyspace_id = message->reap_remove.keyspace_id,
                                 .driver = message->from.node - 1};
    arena_init(&watch->arena, NULL, 0);
    while (watch->keyspace < world->options.keyspace_count &&
           world->workload.keyspace_ids[watch->keyspace] != watch->keyspace_id)
        watch->keyspace++;
    if (watch->keyspace == world->options.keyspace_count)
        return;
    for (uint32_t key = 0; key < world->options.keys; key++) {
        char name[16];
        key_name(key, name);
        if (world->workload.touched[watch->keyspace][key] &&
            world_partition(world, watch->keyspace_id, bytes_of_string(name)) ==
                message->reap_remove.partition)
            watch->held[key] = host_peek(host, watch->keyspace_id, bytes_of_string(name),
                                         &watch->arena, &watch->sets[key]);
    }
}

struct hint_look {
    struct host *keeper;
    const struct reap_watch *watch;
    uint32_t partition;
    bool waited; /* one of the range, since before the round began */
    const struct version_set *set;
    struct bytes key;
    struct arena *arena;
    uint64_t floor;
    bool revives;
};

static bool look_at_hint(void *closure, struct bytes row_key, struct bytes value)
{
    struct hint_look *look = closure;
    struct hint hint;
    struct version_set kept;
    struct world *world = look->keeper->world;
    if (hint_decode(row_key, value, &hint) != OK || hint.keyspace_id != look->watch->keyspace_id ||
        hint.partition != look->partition)
        return true;
    uint64_t age_ms = host_wall_ms(look->keeper) - hint.stored_at_ms;
    uint64_t began_ns = world->check.reap_began_ns[look->watch->driver][look->partition];
    look->waited |= age_ms > 1 + (world->now_ns - began_ns) / MS_NS;
    if (!bytes_equal(hint.key, look->key) || hint.floor < look->floor ||
        record_decode(look->arena, hint.keyspace_id, hint.key, hint.record, &kept) != OK)
        return true;
    for (uint32_t i = 0; i < kept.count; i++)
        look->revives |=
            !is_dead(&kept.versions[i]) && clock_covers(&look->set->clock, kept.versions[i].dot);
    return true;
}

/* By the view of the one that removes: who becomes a replica after that view copies from replicas
 * that know of it, and so from after the removal. */
static bool is_replica_by(const struct host *host, uint32_t member, uint32_t keyspace_id,
                          struct bytes key)
{
    const struct keyspace *keyspace = keyspace_map_find_id(&host->view->keyspaces, keyspace_id);
    uint32_t partition = world_partition(host->world, keyspace_id, key);
    return keyspace != NULL && view_role(host->view, keyspace, partition, member) != ROLE_NONE;
}

/* Every other node that holds something of the key holds all of this. */
static void check_removal(struct host *host, struct reap_watch *watch, uint32_t key,
                          const struct version_set *set, uint64_t floor)
{
    struct world *world = host->world;
    char name[16];
    key_name(key, name);
    uint32_t partition = world_partition(world, watch->keyspace_id, bytes_of_string(name));
    bool first = !clock_descends(&world->check.reaped[watch->keyspace][key], &set->clock);
    struct hint_look look = {.watch = watch,
                             .set = set,
                             .key = bytes_of_string(name),
                             .arena = &watch->arena,
                             .floor = floor,
                             .partition = partition};
    for (uint32_t i = 0; i < world->options.nodes; i++) {
        struct host *other = &world->hosts[i];
        struct version_set held = {0};
        look.keeper = other;
        if (other->up)
            host_visit_hints(other, look_at_hint, &look);
        bool there = i == host->index ||
                     host_peek_durable(other, watch->keyspace_id, look.key, &watch->arena, &held);
        bool replica =
            is_replica_by(host, other->member, watch->keyspace_id, bytes_of_string(name));
        if (i == host->index || !replica || other->losses > 0 ||
            host_is_rotten_durably(other, watch->keyspace_id, bytes_of_string(name)))
            continue;
        /* Once one has removed it, a later write of the key there begins from nothing. */
        if (first && (!there || !clock_descends(&held.clock, &set->clock)))
            world_fail(world, "reaped", "n%u removes ks%u/%s, and n%u holds less of it",
                       host->member, watch->keyspace, name, other->member);
    }
    /* A hint may move to another keeper when somebody leaves, and clocks may be set. */
    if (look.waited && first && !world_has(world, FAULT_MEMBERSHIP) &&
        !world_has(world, FAULT_JUMP))
        world_fail(world, "reaped", "n%u removes ks%u/%s, and hints of its range wait all along",
                   host->member, watch->keyspace, name);
    if (look.revives)
        world_fail(world, "reaped", "n%u removes ks%u/%s, and a hint could bring some of it back",
                   host->member, watch->keyspace, name);
    if (topology_is_joint(&host->view->topology, partition))
        world_fail(world, "reaped", "n%u removes ks%u/%s while its partition goes over",
                   host->member, watch->keyspace, name);
    for (uint32_t i = 0; i < set->count; i++) {
        if (!is_dead(&set->versions[i]))
            world_fail(world, "reaped", "n%u removes ks%u/%s, which is alive", host->member,
                       watch->keyspace, name);
    }
}

void check_reap_after(struct host *host, struct reap_watch *watch, uint64_t floor)
{
    struct world *world = host->world;
    for (uint32_t key = 0; key < world->options.keys; key++) {
        struct version_set after;
        char name[16];
        key_name(key, name);
        if (!watch->held[key] ||
            host_peek(host, watch->keyspace_id, bytes_of_string(name), &watch->arena, &after))
            continue;
        check_removal(host, watch, key, &watch->sets[key], floor);
        struct clock *reaped = &world->check.reaped[watch->keyspace][key];
        struct clock all = clock_merge(&watch->arena, reaped, &watch->sets[key].clock);
        *reaped = clock_copy(&world->check.arena, &all);
        world->figures.reaped++;
        trace_line(&world->trace, world->now_ns, "n%u reaps ks%u/%s", host->member, watch->keyspace,
                   name);
    }
    arena_deinit(&watch->arena);
}

void check_reap_began(struct host *host, const struct message *message)
{
    host->world->check.reap_began_ns[host->index][message->reap_scan.partition] =
        host->world->now_ns;
}

/* -- what is written --------------------------------------------------------------------------- */

void check_reaped_before(struct host *host, const struct message *message,
                         struct write_watch *ret_watch)
{
    const struct world *world = host->world;
    const struct replica_write *write = &message->replica_write;
    struct write_watch *watch = ret_watch;
    *watch = (struct write_watch){.keyspace = world->options.keyspace_count};
    for (uint32_t i = 0; i < world->options.keyspace_count; i++) {
        if (world->workload.keyspace_ids[i] == write->keyspace_id &&
            key_parse(write->key, &watch->key))
            watch->keyspace = i;
    }
}

/* What covered it is on no replica any more, and was on each: nobody may have it again but a disk
 * that is an older copy of itself. */
void check_reaped_after(struct host *host, const struct write_watch *watch)
{
    struct world *world = host->world;
    struct arena arena;
    struct version_set set = {0};
    char name[16];
    if (watch->keyspace == world->options.keyspace_count || host->put_backs > 0 ||
        world->check.reaped[watch->keyspace][watch->key].count == 0)
        return;
    const struct clock *reaped = &world->check.reaped[watch->keyspace][watch->key];
    key_name(watch->key, name);
    arena_init(&arena, NULL, 0);
    host_peek(host, world->workload.keyspace_ids[watch->keyspace], bytes_of_string(name), &arena,
              &set);
    for (uint32_t i = 0; i < set.count; i++) {
        if (!is_dead(&set.versions[i]) && clock_covers(reaped, set.versions[i].dot))
            world_fail(world, "reaped",
                       "n%u takes a write to ks%u/%s that was deleted and reaped before",
                       host->member, watch->keyspace, name);
    }
    arena_deinit(&arena);
}

/* -- what is read ------------------------------------------------------------------------------ */

void check_reaped_read(struct world *world, const struct operation *operation)
{
    const struct version_set *set = &operation->set;
    for (uint32_t i = 0; i < set->count; i++) {
        if (!is_dead(&set->versions[i]) && clock_covers(&operation->reaped, set->versions[i].dot))
            world_fail(world, "reaped",
                       "op %u reads what op %u had written to %s/key%u: it was deleted and reaped "
                       "before the read began",
                       operation->id, history_writer(&world->history, &set->versions[i]),
                       world->options.keyspaces[operation->keyspace].name, operation->key);
    }
}

struct clock check_explained(struct world *world, uint32_t keyspace_id, struct bytes key,
                             const struct clock *clock, struct arena *arena)
{
    uint32_t number = 0;
    for (uint32_t i = 0; i < world->options.keyspace_count && key_parse(key, &number); i++) {
        if (world->workload.keyspace_ids[i] == keyspace_id)
            return check_with_reaped(world, i, number, clock, arena);
    }
    return *clock;
}

/* Who meets his own dots again adds a fresh key epoch to the clock; so it is the versions that
 * tell.
 */
bool check_reaped_is(struct world *world, const struct replica_write *write)
{
    struct arena arena;
    struct version_set set;
    arena_init(&arena, NULL, 0);
    bool reaped = record_decode(&arena, write->keyspace_id, write->key, write->record, &set) == OK;
    if (reaped) {
        struct clock all =
            check_explained(world, write->keyspace_id, write->key, &(struct clock){0}, &arena);
        reaped = set.count > 0;
        for (uint32_t i = 0; i < set.count; i++)
            reaped = reaped && is_dead(&set.versions[i]) && clock_covers(&all, set.versions[i].dot);
    }
    arena_deinit(&arena);
    return reaped;
}
