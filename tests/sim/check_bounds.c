/* Everything that grows has a bound: siblings, clock entries, messages (mailboxes: host.c). */
#include "tests/sim/world.h"

/* An operation talks to each replica a few times: ask, mint, replicate, repair, the answers; a
 * forward on top. Doubled messages are sent once. */
#define MESSAGES_PER_REPLICA 8u
#define MESSAGES_SLACK       1000u
/* Two phases and their answers, asked again, and again above another proposer. */
#define MESSAGES_PER_REGISTER 24u
/* Two replicas that are equal: a question, an answer, and both again when one was lost. */
#define MESSAGES_PER_TURN 4u

/* Each replica, and a fresh epoch for each time that one has started, or has lost the key without a
 * start: a disk that was put back is found out later. A key that was reaped begins anew, and a
 * context from before brings the entries of that life along. Racing writes may leave as
 * many versions more than the limit as there are replicas that accepted their last one at the same
 * time. */
void check_bounds_set(struct world *world, uint32_t keyspace_id, struct bytes key,
                      const struct version_set *set)
{
    struct arena arena;
    uint32_t starts = 0;
    for (uint32_t i = 0; i < world->options.nodes; i++)
        starts += world->hosts[i].start + world->hosts[i].put_backs;
    arena_init(&arena, NULL, 0);
    struct clock reaped = check_explained(world, keyspace_id, key, &(struct clock){0}, &arena);
    uint32_t entries_max = 2 * starts + REPLICAS_SIM_MAX + reaped.count;
    arena_deinit(&arena);
    if (set->clock.count > entries_max)
        world_fail(world, "bounds", "a clock has %u entries, at most %u are explained",
                   set->clock.count, entries_max);
    if (set->count > SIBLINGS_MAX * REPLICAS_SIM_MAX)
        world_fail(world, "bounds", "%u siblings", set->count);
}

void check_bounds_messages(struct world *world)
{
    uint64_t allowed =
        MESSAGES_SLACK + (uint64_t)world->history.count * MESSAGES_PER_REPLICA * REPLICAS_SIM_MAX;
    if (world_has(world, FAULT_MEMBERSHIP)) /* retargeted hints, requests that plan again */
        allowed *= 3;
    if (world->figures.requests_messages > allowed)
        world_fail(world, "bounds", "%llu messages for %u operations",
                   (unsigned long long)world->figures.requests_messages, world->history.count);
    uint64_t rounds = MESSAGES_SLACK + world->figures.registers.operations * MESSAGES_PER_REGISTER *
                                           REPLICAS_SIM_MAX;
    if (world->figures.registers.messages > rounds)
        world_fail(world, "bounds", "%llu messages for %llu operations on registers",
                   (unsigned long long)world->figures.registers.messages,
                   (unsigned long long)world->figures.registers.operations);
    /* Each pair of replicas has its turn once in three quarters of the interval at most; what
     * differs is handed over once by each of them. */
    uint64_t replicas =
        world->options.nodes < REPLICAS_SIM_MAX ? world->options.nodes : REPLICAS_SIM_MAX;
    uint64_t pairs = world->options.partitions * replicas * (replicas - 1) / 2;
    uint64_t turns = pairs * (1 + world->now_ns / (world->options.compare_every_ns / 4 * 3));
    allowed += turns * MESSAGES_PER_TURN +
               (uint64_t)world->history.count * MESSAGES_PER_REPLICA * REPLICAS_SIM_MAX;
    /* Each copy that a change makes is compared with each old one, some times over. */
    if (world_has(world, FAULT_MEMBERSHIP))
        allowed = 4 * allowed +
                  world->topology.epoch * world->options.partitions * replicas * MESSAGES_PER_TURN;
    if (world->figures.anti_entropy_messages > allowed)
        world_fail(world, "bounds", "%llu messages of anti-entropy in %llu s",
                   (unsigned long long)world->figures.anti_entropy_messages,
                   (unsigned long long)(world->now_ns / SECOND_NS));
}
