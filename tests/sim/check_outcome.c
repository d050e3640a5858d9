/* Three outcomes, never mixed up (RELIABILITY rule 20). Not applied: no replica ever mints it,
 * nobody ever reads it. Applied: as many distinct replicas as the level asks for have it (that it
 * does not vanish is check_lost.c). Anything else is unknown. */
#include "tests/sim/world.h"

static bool is_replica(const struct replica_set *replicas, uint32_t member)
{
    for (uint32_t i = 0; i < replicas->count; i++) {
        if (replicas->replicas[i].member == member)
            return true;
    }
    return false;
}

/* A fallback keeps a hint for a replica of its own data centre: it is no replica itself, and its
 * data centre has as many replicas without the write. In a strict keyspace, or for a strict write,
 * none counts. */
static uint32_t count_fallbacks(struct world *world, const struct operation *operation,
                                const struct replica_set *replicas, const struct progress *progress)
{
    uint32_t count = 0;
    uint32_t away[DATA_CENTERS_MAX] = {0};
    for (uint32_t i = 0; i < replicas->count; i++)
        away[replicas->replicas[i].data_center]++;
    for (uint32_t i = 0; i < progress->acked_count; i++) {
        const struct member *member = topology_member(&world->topology, progress->acked_members[i]);
        if (member != NULL && is_replica(replicas, member->number))
            away[member_place(member)->data_center]--;
    }
    for (uint32_t i = 0; i < progress->fallback_count; i++) {
        uint32_t fallback = progress->fallback_members[i];
        const struct member *member = topology_member(&world->topology, fallback);
        bool good = operation->kind != OPERATION_GET && member != NULL &&
                    !world->options.keyspaces[operation->keyspace].strict &&
                    !operation_is_strict(operation) && !is_replica(replicas, fallback) &&
                    away[member_place(member)->data_center] > 0;
        for (uint32_t j = 0; j < i; j++)
            good &= progress->fallback_members[j] != fallback;
        if (!good) {
            world_fail(world, "outcome", "op %u counts n%u, which cannot stand in", operation->id,
                       fallback);
            return count;
        }
        away[member_place(member)->data_center]--;
        count++;
    }
    return count;
}

static void check_progress(struct world *world, struct operation *operation,
                           const struct progress *progress)
{
    operation->fallbacks = progress->fallback_count;
    if (world_has(world, FAULT_MEMBERSHIP)) {
        if (progress->acked < progress->needed || progress->needed == 0)
            world_fail(world, "outcome", "op %u is OK with %u of %u nodes", operation->id,
                       progress->acked, progress->needed);
        return; /* of which sets, nobody can say any more */
    }
    const struct host *host = &world->hosts[operation->node];
    const struct keyspace *keyspace =
        keyspace_map_find_id(&host->view->keyspaces, operation->keyspace_id);
    char name[16];
    key_name(operation->key, name);
    uint32_t partition = world_partition(world, operation->keyspace_id, bytes_of_string(name));
    struct replica_set replicas = {0};
    if (keyspace != NULL)
        view_replica_set(host->view, keyspace, partition, &replicas);
    uint32_t acked = 0; /* distinct nodes: replicas, and fallbacks that are none */
    for (uint32_t i = 0; i < replicas.count; i++) {
        for (uint32_t j = 0; j < progress->acked_count; j++) {
            if (progress->acked_members[j] != replicas.replicas[i].member)
                continue;
            acked++;
            break;
        }
    }
    operation->primaries = acked;
    acked += count_fallbacks(world, operation, &replicas, progress);
    if (acked < operation->needed)
        world_fail(world, "outcome", "op %u is OK with %u nodes, its level asks for %u",
                   operation->id, acked, operation->needed);
    check_centers_progress(world, operation, &replicas, progress);
}

/* What a put hands back covers its own write and what its writer replaced, nothing that it has not
 * seen (RELIABILITY rule 8): else its next write would remove the siblings of others. */
static void check_context(struct world *world, const struct operation *operation)
{
    const struct mint *mint = mints_find(&world->mints, operation->keyspace, operation->key,
                                         operation->write, &operation->result_clock);
    if (mint == NULL) {
        world_fail(world, "outcome", "op %u is applied, but its context names no write of it",
                   operation->id);
        return;
    }
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct clock entitled = clock_add(&arena, &mint->covers, mint->dot);
    if (!clock_equal(&entitled, &operation->result_clock))
        world_fail(world, "outcome", "the context of op %u is not what its writer has seen",
                   operation->id);
    arena_deinit(&arena);
}

void check_outcome_put(struct world *world, struct operation *operation,
                       const struct put_result *result)
{
    if ((result->status == OK) != (result->outcome == OUTCOME_APPLIED))
        world_fail(world, "outcome", "op %u: status \"%s\" with outcome %u", operation->id,
                   err_text(result->status), result->outcome);
    if (result->status == OK) {
        check_progress(world, operation, &result->progress);
        check_context(world, operation);
    }
    /* Of one that was tried again only the attempt is told about. */
    if (result->outcome != OUTCOME_NOT_APPLIED ||
        world->history.operations[operation->write].retried)
        return;
    world->check.not_applied[operation->id] = 1;
    if (world->check.minted[operation->id] != 0)
        world_fail(world, "outcome", "op %u is said to be not applied, but a replica has minted it",
                   operation->id);
}

void check_outcome_get(struct world *world, struct operation *operation,
                       const struct client_get_done *done)
{
    if (done->status == OK)
        check_progress(world, operation, &done->progress);
}

void check_outcome_minted(struct world *world, uint32_t operation)
{
    if (world->check.not_applied[operation] != 0)
        world_fail(world, "outcome", "op %u was said to be not applied; now a replica mints it",
                   operation);
}

void check_outcome_seen(struct world *world, uint32_t operation, const char *where)
{
    if (world->check.not_applied[operation] != 0)
        world_fail(world, "outcome", "%s: op %u was said to be not applied; there it is", where,
                   operation);
}
