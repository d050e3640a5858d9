/* No acknowledged write is lost, by causality; nothing that was replaced comes back.
 *
 * At the end an acknowledged write is there, or a write that is part of the final history was
 * entitled to replace it, or, where the last writer wins, is later. The final clock covers all that
 * clients were told. */
#include "tests/sim/world.h"

static bool held(const struct version_set *set, struct dot dot)
{
    for (uint32_t i = 0; i < set->count; i++) {
        if (dot_compare(set->versions[i].dot, dot) == 0)
            return true;
    }
    return false;
}

static bool replaced(const struct world *world, const struct operation *operation, struct dot dot,
                     const struct version_set *final)
{
    for (const struct mint *mint = world->mints.by_key[operation->keyspace][operation->key];
         mint != NULL; mint = mint->next) {
        if (clock_covers(&mint->covers, dot) && clock_covers(&final->clock, mint->dot))
            return true;
    }
    return false;
}

/* A later write is, or was, part of the final history. */
static bool beaten(const struct world *world, const struct operation *operation,
                   const struct mint *mint, const struct version_set *final)
{
    for (const struct mint *other = world->mints.by_key[operation->keyspace][operation->key];
         other != NULL; other = other->next) {
        if (!other->kept || !clock_covers(&final->clock, other->dot))
            continue;
        if (other->written_at > mint->written_at ||
            (other->written_at == mint->written_at && dot_compare(other->dot, mint->dot) > 0))
            return true;
    }
    return false;
}

/* Deleted or expired, and reaped everywhere. */
static bool reaped(const struct world *world, const struct operation *operation, struct dot dot)
{
    const struct operation *write = &world->history.operations[operation->write];
    struct clock clock = check_reaped(world, operation->keyspace, operation->key);
    return (write->kind == OPERATION_DELETE || write->expires_at_ms != 0) &&
           clock_covers(&clock, dot);
}

/* `final` with the clock of what was reaped. */
static void check_write(struct world *world, const struct operation *operation,
                        const struct version_set *final)
{
    const char *name = world->options.keyspaces[operation->keyspace].name;
    if (!clock_descends(&final->clock, &operation->result_clock)) {
        world_fail(world, "lost", "op %u on %s/key%u was acknowledged; the final clock misses it",
                   operation->id, name, operation->key);
        return;
    }
    const struct mint *mint = mints_find(&world->mints, operation->keyspace, operation->key,
                                         operation->write, &operation->result_clock);
    if (mint == NULL) {
        world_fail(world, "lost", "op %u on %s/key%u: the context does not name its write",
                   operation->id, name, operation->key);
        return;
    }
    bool lww = world->options.keyspaces[operation->keyspace].conflict == KEYSPACE_LWW;
    if (lww && (!mint->kept || beaten(world, operation, mint, final)))
        return;
    if (!held(final, mint->dot) && !reaped(world, operation, mint->dot) &&
        !replaced(world, operation, mint->dot, final))
        world_fail(world, "lost",
                   "op %u on %s/key%u was acknowledged and nothing replaced it; gone",
                   operation->id, name, operation->key);
}

void check_lost_finally(struct world *world, uint32_t keyspace, uint32_t key,
                        const struct version_set *final)
{
    struct version_set explained = *final;
    explained.clock = check_with_reaped(world, keyspace, key, &final->clock, &world->check.arena);
    for (uint32_t i = 0; i < world->history.count; i++) {
        const struct operation *operation = &world->history.operations[i];
        if (operation->keyspace == keyspace && operation->key == key &&
            operation->kind != OPERATION_GET && operation->state == OPERATION_ENDED &&
            operation->status == OK && !operation->alone && !given_up_is(world, operation))
            check_write(world, operation, &explained);
    }
    if (!clock_descends(&explained.clock, &world->check.left[keyspace][key]))
        world_fail(world, "lost",
                   "ks%u/key%u was given up where it was bad; what sound copies held is gone too",
                   keyspace, key);
    bool lww = world->options.keyspaces[keyspace].conflict == KEYSPACE_LWW;
    if (lww && final->count > 1)
        world_fail(world, "lost", "ks%u/key%u: %u versions in a last-writer-wins keyspace",
                   keyspace, key, final->count);
}

void check_lost_resurrection(struct world *world, uint32_t keyspace, uint32_t key,
                             const struct version_set *set, const char *where)
{
    for (const struct mint *mint = world->mints.by_key[keyspace][key]; mint != NULL;
         mint = mint->next) {
        if (!clock_covers(&set->clock, mint->dot))
            continue;
        for (uint32_t i = 0; i < set->count; i++) {
            if (clock_covers(&mint->covers, set->versions[i].dot))
                world_fail(world, "lost", "%s: op %u is back, which op %u had replaced", where,
                           history_writer(&world->history, &set->versions[i]), mint->operation);
        }
    }
}
