/* What a change of the cluster must keep, judged at the moments that it rests on (RELIABILITY 2.6,
 * rules 28 and 32): a step is taken when all members of both sets have the one before in force; who
 * gains a partition and says that it is filled holds what quorums had acknowledged when that was
 * announced; what is acknowledged while both sets are written is on a quorum of each. */
#include "tests/sim/world.h"

#define SIDES 2u

/* It holds all of that, or what it lacks was deleted and reaped. */
static bool holds(struct world *world, struct host *host, bool durable, uint32_t keyspace,
                  uint32_t key, const struct clock *clock)
{
    struct arena arena;
    struct version_set set = {0};
    char name[16];
    uint32_t id = world->workload.keyspace_ids[keyspace];
    key_name(key, name);
    if (host_is_rotten(host, id, bytes_of_string(name)) ||
        (durable && host_is_rotten_durably(host, id, bytes_of_string(name))))
        return true; /* it had it, and says nothing before it has what the others hold */
    arena_init(&arena, NULL, 0);
    if (durable)
        host_peek_durable(host, id, bytes_of_string(name), &arena, &set);
    else
        host_peek(host, id, bytes_of_string(name), &arena, &set);
    struct clock explained = check_with_reaped(world, keyspace, key, &set.clock, &arena);
    bool all = clock_descends(&explained, clock);
    arena_deinit(&arena);
    return all;
}

/* -- steps ------------------------------------------------------------------------------------- */

/* A document is durable before it is in force: nobody ever goes back to an older one. */
static void check_known(struct world *world, const struct topology *before, const struct view *view,
                        uint32_t keyspace, uint32_t partition)
{
    struct view old = *view;
    old.topology = *before;
    struct replica_set set = check_replica_set_of(world, &old, keyspace, partition);
    for (uint32_t i = 0; i < set.count; i++) {
        const struct host *host = &world->hosts[set.replicas[i].member - 1];
        const struct member *member = topology_member(before, host->member);
        uint64_t epoch = host->up ? host->view->topology.epoch : host->log_watch.shown;
        if (!member->gone && !host_lost_lately(host) && epoch < before->phase_epochs[partition])
            world_fail(world, "change",
                       "epoch %llu takes partition %u on, and n%u acts by epoch %llu: it has not "
                       "seen the step of epoch %llu",
                       (unsigned long long)view->topology.epoch, partition, host->member,
                       (unsigned long long)epoch,
                       (unsigned long long)before->phase_epochs[partition]);
    }
}

static void note_announced(struct world *world, uint32_t partition)
{
    struct check *check = &world->check;
    for (uint32_t keyspace = 0; keyspace < world->options.keyspace_count; keyspace++) {
        for (uint32_t key = 0; key < world->options.keys; key++) {
            if (world->workload.touched[keyspace][key] &&
                check_partition(world, keyspace, key) == partition)
                check->announced[keyspace][key] = clock_copy(
                    &check->arena, &check->acknowledged[keyspace][key][REPLICAS_SIM_MAX]);
        }
    }
}

void check_change_step(struct world *world, const struct topology *before, const struct view *view)
{
    const struct topology *after = &view->topology;
    bool runs = after->epoch == before->epoch + 1 && before->change.state == CHANGE_RUNNING &&
                after->change.state == CHANGE_RUNNING &&
                before->change.aborting == after->change.aborting;
    for (uint32_t p = 0; p < after->partitions; p++) {
        if (after->phases[p] == PHASE_ANNOUNCED && before->phases[p] != PHASE_ANNOUNCED)
            note_announced(world, p);
        bool goes_on = before->phases[p] == PHASE_ANNOUNCED || before->phases[p] == PHASE_COPIED;
        for (uint32_t i = 0; i < world->options.keyspace_count && runs && goes_on; i++) {
            if (after->phases[p] != before->phases[p])
                check_known(world, before, view, i, p);
        }
    }
}

/* -- who gains --------------------------------------------------------------------------------- */

static uint64_t gains_filled(const struct host *host)
{
    uint64_t filled = 0;
    for (uint32_t i = 0; i < host->world->options.shards; i++)
        filled += counter_get(&replica_figures(host->replicas[i])->gains_filled);
    return filled;
}

void check_filled_before(struct host *host, const struct message *message,
                         struct filled_watch *ret_watch)
{
    *ret_watch =
        (struct filled_watch){.keyspace_id = message->vnode_complete.keyspace_id,
                              .partition = message->vnode_complete.partition,
                              .voted = host_copy_votes(host, message->vnode_complete.partition, 0),
                              .filled = gains_filled(host)};
}

void check_filled_after(struct host *host, const struct filled_watch *watch)
{
    struct world *world = host->world;
    if (!watch->voted && host_copy_votes(host, watch->partition, 0))
        check_refilled(host, watch->partition, 0);
    if (gains_filled(host) == watch->filled)
        return;
    check_refilled(host, watch->partition, watch->keyspace_id);
    if (world->options.data_centers != 1)
        return;
    for (uint32_t keyspace = 0; keyspace < world->options.keyspace_count; keyspace++) {
        for (uint32_t key = 0; key < world->options.keys; key++) {
            if (world->workload.keyspace_ids[keyspace] == watch->keyspace_id &&
                world->workload.touched[keyspace][key] &&
                check_partition(world, keyspace, key) == watch->partition &&
                !holds(world, host, false, keyspace, key, &world->check.announced[keyspace][key]))
                world_fail(world, "change",
                           "n%u says that partition %u is filled, and lacks what quorums had "
                           "acknowledged of %s/key%u when it was announced",
                           host->member, watch->partition, world->options.keyspaces[keyspace].name,
                           key);
        }
    }
}

/* -- both sets --------------------------------------------------------------------------------- */

/* The change that all members know of, and in which both sets of the partition are written; 0. */
static uint64_t joint_change(const struct world *world, uint32_t partition)
{
    uint64_t name = 0;
    for (uint32_t i = 0; i < world->options.nodes; i++) {
        const struct host *host = &world->hosts[i];
        if (!steward_is_member(world, i))
            continue;
        if (!host->up || host->view->topology.change.state != CHANGE_RUNNING ||
            !topology_is_joint(&host->view->topology, partition))
            return 0;
        uint64_t change = topology_change_name(&host->view->topology);
        if (name != 0 && change != name)
            return 0;
        name = change;
    }
    return name;
}

void check_joint_began(const struct world *world, struct operation *operation)
{
    operation->joint =
        world_has(world, FAULT_MEMBERSHIP) && world->options.data_centers == 1
            ? joint_change(world, check_partition(world, operation->keyspace, operation->key))
            : 0;
}

void check_joint_ended(struct world *world, const struct operation *operation,
                       const struct clock *clock)
{
    uint32_t partition = check_partition(world, operation->keyspace, operation->key);
    if (operation->joint == 0 || operation->joint != joint_change(world, partition))
        return;
    for (uint32_t i = 0; i < world->options.nodes; i++) {
        const struct host *host = &world->hosts[i];
        if (host->losses > 0 && host->lost_at_ns >= operation->started_ns)
            return; /* it had it when it said so */
    }
    struct replica_set set = check_replica_set_of(world, steward_newest_host(world)->view,
                                                  operation->keyspace, partition);
    if (set.count == 0)
        return; /* a node that has lost its disk has not heard of the keyspace yet */
    for (uint32_t side = 0; side < SIDES; side++) {
        uint32_t count = 0;
        uint32_t holders = 0;
        for (uint32_t i = 0; i < set.count; i++) {
            if ((set.replicas[i].sides >> side & 1) == 0)
                continue;
            count++;
            holders += holds(world, &world->hosts[set.replicas[i].member - 1], true,
                             operation->keyspace, operation->key, clock);
        }
        if (holders < count / 2 + 1)
            world_fail(world, "change",
                       "op %u on %s/key%u was answered while both sets are written, and %u of %u "
                       "replicas of the %s set hold it",
                       operation->id, world->options.keyspaces[operation->keyspace].name,
                       operation->key, holders, count, side == TOPOLOGY_NOW ? "old" : "new");
    }
}
