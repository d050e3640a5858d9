/* Once all has healed and every hint has been delivered, an acknowledged write is held by as many
 * replicas as its level asked for, before any read could have repaired them: a fallback's hint
 * counted, so it was durable and has reached the replica that it stood for (RELIABILITY rule 22).
 *
 * And with every step of a change: whichever quorum of the replicas that are read from then on is
 * asked, it holds together what quorums have acknowledged before (rule 28). */
#include "tests/sim/world.h"

/* What the replicas of a key hold. */
struct held {
    struct arena arena;
    uint32_t count;
    uint32_t silent; /* bit by place: it answers nobody */
    struct version_set sets[REPLICAS_TOTAL_MAX];
};

static void look(struct world *world, uint32_t keyspace, uint32_t key, struct held *held)
{
    uint32_t id = world->workload.keyspace_ids[keyspace];
    char name[16];
    key_name(key, name);
    struct replica_set set = check_replica_set(world, keyspace, bytes_of_string(name));
    held->count = set.count;
    for (uint32_t i = 0; i < set.count; i++) {
        held->sets[i] = (struct version_set){0};
        host_peek(&world->hosts[set.replicas[i].member - 1], id, bytes_of_string(name),
                  &held->arena, &held->sets[i]);
    }
}

static void check_write(struct world *world, const struct operation *operation, struct held *held)
{
    uint32_t holders = 0;
    for (uint32_t i = 0; i < held->count; i++) {
        struct clock explained = check_with_reaped(world, operation->keyspace, operation->key,
                                                   &held->sets[i].clock, &held->arena);
        holders += clock_descends(&explained, &operation->result_clock);
    }
    /* Of other sets than today's the level asked for other numbers: all of these hold it by now. */
    uint32_t least = world_has(world, FAULT_MEMBERSHIP) ? held->count : operation->needed;
    if (holders < least)
        world_fail(world, "held",
                   "op %u on %s/key%u was acknowledged by %u nodes; no hint is left, and %u "
                   "replicas hold it",
                   operation->id, world->options.keyspaces[operation->keyspace].name,
                   operation->key, operation->needed, holders);
}

static void check_key(struct world *world, uint32_t keyspace, uint32_t key)
{
    struct held held;
    arena_init(&held.arena, NULL, 0);
    look(world, keyspace, key, &held);
    for (uint32_t i = 0; i < world->history.count; i++) {
        const struct operation *operation = &world->history.operations[i];
        if (operation->keyspace == keyspace && operation->key == key &&
            operation->kind != OPERATION_GET && operation->state == OPERATION_ENDED &&
            operation->status == OK && !operation->alone && !given_up_is(world, operation))
            check_write(world, operation, &held);
    }
    arena_deinit(&held.arena);
}

void check_held(struct world *world)
{
    for (uint32_t keyspace = 0; keyspace < world->options.keyspace_count; keyspace++) {
        for (uint32_t key = 0; key < world->options.keys; key++) {
            if (world->workload.touched[keyspace][key])
                check_key(world, keyspace, key);
        }
    }
}

/* -- steps of a change
 * --------------------------------------------------------------------------------------------- */

/* What a power cut would leave at those that are read of a key. */
static void look_durably(struct world *world, const struct view *view, uint32_t keyspace,
                         uint32_t key, struct held *held)
{
    uint32_t id = world->workload.keyspace_ids[keyspace];
    char name[16];
    key_name(key, name);
    struct bytes text = bytes_of_string(name);
    uint32_t partition = world_partition(world, id, text);
    struct replica_set set = check_replica_set_of(world, view, keyspace, partition);
    held->count = 0;
    for (uint32_t i = 0; i < set.count; i++) {
        struct host *host = &world->hosts[set.replicas[i].member - 1];
        if (!set.replicas[i].reader)
            continue;
        struct version_set *state = &held->sets[held->count++];
        *state = (struct version_set){0};
        if (host->dead || host_is_rotten(host, id, text) ||
            host_is_rotten_durably(host, id, text) || !host_copy_votes(host, partition, id))
            held->silent |= 1u << (held->count - 1);
        else
            host_peek_durable(host, id, text, &held->arena, state);
    }
}

/* One that was given up answers nobody, nor does one whose row is bad or whose copy was lost,
 * before it has all that the others hold: no quorum has it. */
static bool quorum_covers(struct world *world, uint32_t keyspace, uint32_t key, struct held *held,
                          uint32_t members, const struct clock *acknowledged)
{
    struct clock joined = {0};
    if ((members & held->silent) != 0 ||
        (uint32_t)__builtin_popcount(members) != held->count / 2 + 1)
        return true;
    for (uint32_t i = 0; i < held->count; i++) {
        if ((members >> i & 1) != 0)
            joined = clock_merge(&held->arena, &joined, &held->sets[i].clock);
    }
    struct clock explained = check_with_reaped(world, keyspace, key, &joined, &held->arena);
    return clock_descends(&explained, acknowledged);
}

static void check_step_of_key(struct world *world, const struct view *view, uint32_t keyspace,
                              uint32_t key)
{
    const struct clock *acknowledged = &world->check.acknowledged[keyspace][key][REPLICAS_SIM_MAX];
    struct held held = {0};
    arena_init(&held.arena, NULL, 0);
    look_durably(world, view, keyspace, key, &held);
    for (uint32_t members = 1; members < 1u << held.count; members++) {
        if (!quorum_covers(world, keyspace, key, &held, members, acknowledged)) {
            world_fail(world, "held",
                       "with epoch %llu a quorum of the replicas of %s/key%u lacks what quorums "
                       "have acknowledged",
                       (unsigned long long)view->topology.epoch,
                       world->options.keyspaces[keyspace].name, key);
            break;
        }
    }
    arena_deinit(&held.arena);
}

void check_held_step(struct world *world, const struct topology *before, const struct view *view)
{
    const struct topology *after = &view->topology;
    for (uint32_t keyspace = 0; keyspace < world->options.keyspace_count; keyspace++) {
        for (uint32_t key = 0; key < world->options.keys; key++) {
            uint32_t p = check_partition(world, keyspace, key);
            if (world->workload.touched[keyspace][key] && world->options.data_centers == 1 &&
                (before->phases[p] != after->phases[p] ||
                 before->change.aborting != after->change.aborting))
                check_step_of_key(world, view, keyspace, key);
        }
    }
}
