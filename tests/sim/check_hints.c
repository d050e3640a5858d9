/* A hint is forgotten only when its target has all of it on disk; what is given up marks its range
 * for anti-entropy (RELIABILITY rule 22). */
#include "actors/hinted_handoff_rows.h"
#include "model/hash.h"
#include "model/record.h"
#include "tests/sim/world.h"

struct row {
    struct bytes key;
    struct bytes value;
    struct row *next;
};

struct watch {
    struct arena *arena;
    uint32_t target;
    struct row *rows;
};

static bool visit(void *closure, struct bytes key, struct bytes value)
{
    struct watch *watch = closure;
    struct hint hint;
    if (hint_decode(key, value, &hint) != OK || hint.target != watch->target)
        return true;
    struct row *row = ARENA_NEW(watch->arena, struct row, 1);
    row->key = arena_copy(watch->arena, key);
    row->value = arena_copy(watch->arena, value);
    row->next = watch->rows;
    watch->rows = row;
    return true;
}

static struct row *hint_rows(struct host *host, uint32_t target, struct arena *arena)
{
    struct watch watch = {.arena = arena, .target = target};
    host_visit_hints(host, visit, &watch);
    return watch.rows;
}

static bool found(const struct row *rows, struct bytes key)
{
    while (rows != NULL && !bytes_equal(rows->key, key))
        rows = rows->next;
    return rows != NULL;
}

/* A target from which the partition went over since, or that has left the cluster, may have dropped
 * what it had: then somebody else has it. Whoever is down may be the one. */
static bool went_over(struct host *host, const struct hint *hint, const struct clock *kept,
                      struct arena *arena)
{
    struct world *world = host->world;
    const struct host *target = &world->hosts[hint->target - 1];
    if (!target->up && steward_is_member(world, target->index))
        return false;
    const struct keyspace *keyspace =
        target->up ? keyspace_map_find_id(&target->view->keyspaces, hint->keyspace_id) : NULL;
    if (target->up && (keyspace == NULL || view_role(target->view, keyspace, hint->partition,
                                                     hint->target) != ROLE_NONE))
        return false;
    for (uint32_t i = 0; i < world->options.nodes; i++) {
        struct version_set held = {0};
        host_peek_durable(&world->hosts[i], hint->keyspace_id, hint->key, arena, &held);
        struct clock all = check_explained(world, hint->keyspace_id, hint->key, &held.clock, arena);
        if (!world->hosts[i].up || clock_descends(&all, kept))
            return true;
    }
    return false;
}

static void check_row(struct host *host, const struct row *row, struct arena *arena)
{
    struct hint hint;
    struct version_set kept;
    struct version_set held = {0};
    struct world *world = host->world;
    if (hint_decode(row->key, row->value, &hint) != OK ||
        record_decode(arena, hint.keyspace_id, hint.key, hint.record, &kept) != OK)
        return;
    host_peek_durable(&world->hosts[hint.target - 1], hint.keyspace_id, hint.key, arena, &held);
    struct clock all = check_explained(world, hint.keyspace_id, hint.key, &held.clock, arena);
    if (!clock_descends(&all, &kept.clock) &&
        !host_is_rotten(&world->hosts[hint.target - 1], hint.keyspace_id, hint.key) &&
        !host_lost_lately(&world->hosts[hint.target - 1]) &&
        !went_over(host, &hint, &kept.clock, arena))
        world_fail(world, "hints", "n%u forgets its hint for n%u of %.*s, which lacks some of it",
                   host->member, hint.target, (int)hint.key.size, (const char *)hint.key.data);
}

void check_hints_before(struct host *host, const struct message *message,
                        struct hints_watch *ret_watch)
{
    struct hints_watch *watch = ret_watch;
    *watch = (struct hints_watch){0};
    arena_init(&watch->arena, NULL, 0);
    watch->delivered = counter_get(&hinted_handoff_figures(host->hinted_handoff)->delivered);
    watch->target = message->from.node;
    watch->rows = hint_rows(host, watch->target, &watch->arena);
}

void check_hints_after(struct host *host, struct hints_watch *watch)
{
    if (counter_get(&hinted_handoff_figures(host->hinted_handoff)->delivered) != watch->delivered) {
        const struct row *left = hint_rows(host, watch->target, &watch->arena);
        for (const struct row *row = watch->rows; row != NULL; row = row->next) {
            if (!found(left, row->key))
                check_row(host, row, &watch->arena);
        }
    }
    arena_deinit(&watch->arena);
}

void check_hints_finally(struct world *world)
{
    for (uint32_t i = 0; i < world->options.nodes; i++) {
        if (!world->hosts[i].up)
            continue;
        const struct hinted_handoff_figures *figures =
            hinted_handoff_figures(world->hosts[i].hinted_handoff);
        uint64_t given_up = counter_get(&figures->overflow) + counter_get(&figures->expired) +
                            counter_get(&figures->stale) + counter_get(&figures->rejected);
        if (given_up > 0 && counter_get(&figures->dirty) == 0)
            world_fail(world, "hints", "n%u gave up %llu hints and told nobody", i + 1,
                       (unsigned long long)given_up);
    }
}
