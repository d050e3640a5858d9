/* A topology document under operations and steps, and members that know and fill what they are told
 * to. */
#ifndef TESTS_UNIT_TOPOLOGY_BENCH_H
#define TESTS_UNIT_TOPOLOGY_BENCH_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/prng.h"
#include "model/topology_change.h"
#include "model/topology_sets.h"

#include <stdio.h>
#include <stdlib.h>

struct bench {
    struct arena arena;
    struct topology topology;
    struct keyspace keyspace;
    struct keyspace_map keyspaces;
    struct topology_progress progress;
    uint32_t dead; /* bench_run: knows and fills nothing */
};

/* Members n1, n2, ... of one data centre and zone; one keyspace of three replicas. */
static inline void bench_init(struct bench *bench, uint32_t members, uint32_t partitions)
{
    *bench = (struct bench){.keyspace = keyspace_builtin(), .progress.announced_max = 8};
    arena_init(&bench->arena, NULL, 0);
    bench->keyspaces = (struct keyspace_map){.count = 1, .keyspaces = &bench->keyspace};
    struct topology_seed seeds[MEMBERS_MAX] = {0};
    for (uint32_t i = 0; i < members; i++) {
        snprintf(seeds[i].name, sizeof seeds[i].name, "n%u", i + 1);
        snprintf(seeds[i].address, sizeof seeds[i].address, "n%u:1", i + 1);
    }
    const char *why = NULL;
    assert_int_equal(
        topology_initial(&bench->arena, seeds, members, partitions, &bench->topology, &why), OK);
}

static inline void bench_deinit(struct bench *bench)
{
    arena_deinit(&bench->arena);
}

static inline uint32_t bench_operate(struct bench *bench,
                                     const struct topology_operation *operation)
{
    struct topology after;
    uint32_t number = 0;
    const char *why = "";
    enum err err = topology_operate(&bench->arena, &bench->topology, &bench->keyspaces, operation,
                                    &after, &number, &why);
    if (err != OK)
        fail_msg("operation %d: %s: %s", (int)operation->kind, err_text(err), why);
    assert_true(topology_valid(&after));
    assert_in_range(after.epoch - bench->topology.epoch, 0, 1);
    bench->topology = after;
    return number;
}

static inline void bench_refused(struct bench *bench, const struct topology_operation *operation,
                                 enum err expect, const char *words)
{
    struct topology after = {.epoch = 999999};
    uint32_t number = 999999;
    const char *why = NULL;
    assert_int_equal(topology_operate(&bench->arena, &bench->topology, &bench->keyspaces, operation,
                                      &after, &number, &why),
                     expect);
    assert_non_null(why);
    if (strstr(why, words) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", why, words);
    assert_int_equal(after.epoch, 999999);
    assert_int_equal(number, 999999);
}

static inline struct topology_operation join_of(const char *name, uint8_t join_id)
{
    struct topology_operation join = {.kind = TOPOLOGY_JOIN, .join_id = {join_id}};
    snprintf(join.name, sizeof join.name, "%s", name);
    snprintf(join.address, sizeof join.address, "%s:1", name);
    return join;
}

static inline uint32_t bench_join(struct bench *bench, const char *name, uint8_t join_id)
{
    struct topology_operation join = join_of(name, join_id);
    return bench_operate(bench, &join);
}

static inline bool bench_step(struct bench *bench)
{
    struct topology after;
    if (!topology_step(&bench->arena, &bench->topology, &bench->keyspaces, &bench->progress,
                       &after))
        return false;
    assert_true(topology_valid(&after));
    assert_int_equal(after.epoch, bench->topology.epoch + 1);
    bench->topology = after;
    return true;
}

/* Until nothing goes on by what is known. */
static inline void bench_steps(struct bench *bench)
{
    while (bench_step(bench)) {
    }
}

static inline void bench_forget(struct bench *bench)
{
    memset(bench->progress.epochs, 0, sizeof bench->progress.epochs);
    memset(bench->progress.filled, 0, sizeof bench->progress.filled);
}

static inline void bench_all_know(struct bench *bench)
{
    for (uint32_t slot = 0; slot < MEMBERS_MAX; slot++)
        bench->progress.epochs[slot] = bench->topology.epoch;
}

static inline void bench_fill(struct bench *bench, uint32_t member, uint32_t partition)
{
    uint8_t slot = topology_member(&bench->topology, member)->slot;
    bench->progress.filled[slot][partition / 8] |= (uint8_t)(1u << partition % 8);
}

/* Everybody but the dead one knows and fills everything, for as long as that brings it on. */
static inline void bench_run(struct bench *bench)
{
    do {
        bench_all_know(bench);
        memset(bench->progress.filled, 0, sizeof bench->progress.filled);
        for (uint32_t i = 0; i < bench->topology.member_count; i++) {
            const struct member *member = &bench->topology.members[i];
            if (member->number == bench->dead) {
                bench->progress.epochs[member->slot] = 0;
                continue;
            }
            for (uint32_t p = 0; p < bench->topology.partitions; p++) {
                if (topology_need(&bench->topology, &bench->keyspace, p, member->number) !=
                    NEED_NOTHING)
                    bench_fill(bench, member->number, p);
            }
        }
    } while (bench_step(bench));
}

static inline uint32_t bench_phases(const struct bench *bench, enum partition_phase phase)
{
    uint32_t count = 0;
    for (uint32_t p = 0; p < bench->topology.partitions; p++)
        count += bench->topology.phases[p] == phase;
    return count;
}

static inline uint32_t owned(const struct topology *topology, enum topology_side side,
                             uint32_t member)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < topology->partitions * topology->data_center_count; i++)
        count += topology->owners[side][i] == member;
    return count;
}

static inline struct side_sets bench_sets(const struct bench *bench, uint32_t partition)
{
    struct replica_class class = topology_class(&bench->topology, &bench->keyspace);
    return topology_sets(&bench->topology, &class, partition);
}

/* Of partitions whose sets differ, those in that phase. */
static inline uint32_t moving(const struct bench *bench, enum partition_phase phase)
{
    uint32_t count = 0;
    for (uint32_t p = 0; p < bench->topology.partitions; p++) {
        struct side_sets sets = bench_sets(bench, p);
        count += bench->topology.phases[p] == phase && sets.sets[0] != sets.sets[1];
    }
    return count;
}

static inline uint32_t first_moving(const struct bench *bench, enum partition_phase phase)
{
    for (uint32_t p = 0; p < bench->topology.partitions; p++) {
        struct side_sets sets = bench_sets(bench, p);
        if (bench->topology.phases[p] == phase && sets.sets[0] != sets.sets[1])
            return p;
    }
    fail_msg("no partition moves in phase %d", (int)phase);
    return 0;
}

static inline uint32_t number_of(const struct bench *bench, uint8_t slot)
{
    for (uint32_t i = 0; i < bench->topology.member_count; i++) {
        const struct member *member = &bench->topology.members[i];
        if (member->slot == slot && member->status != MEMBER_REMOVED)
            return member->number;
    }
    fail_msg("nobody has slot %u", slot);
    return 0;
}

/* A member that is in that set alone. */
static inline uint8_t slot_of_set(const struct bench *bench, enum topology_side side,
                                  uint32_t partition)
{
    struct side_sets sets = bench_sets(bench, partition);
    uint64_t alone = sets.sets[side] & ~sets.sets[1 - side];
    assert_true(alone != 0);
    return (uint8_t)__builtin_ctzll(alone);
}

#endif
