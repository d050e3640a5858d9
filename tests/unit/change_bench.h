/* change_bench.h -- views of a cluster whose partitions go over from one set of replicas to
 * another: the test takes the steps. */
#ifndef TESTS_UNIT_CHANGE_BENCH_H
#define TESTS_UNIT_CHANGE_BENCH_H

#include "model/topology_change.h"
#include "tests/unit/actor_fixture.h"

/* Shows f->topology to the actor. Who was down is not any more. */
static inline void change_publish(struct fixture *f)
{
    struct view *view = view_new(&f->topology, &f->map, SELF);
    view->version = f->view->version + 1;
    view_unref(f->view);
    f->view = view;
    f->ctx.view = view;
}

static inline void change_operate(struct fixture *f, struct topology_operation operation)
{
    struct topology after;
    uint32_t number = 0;
    const char *why = NULL;
    enum err err =
        topology_operate(&f->arena, &f->topology, &f->map, &operation, &after, &number, &why);
    if (err != OK)
        fail_msg("%s: %s", err_text(err), why);
    topology_copy(&f->arena, &after, &f->topology);
}

/* Commits what is staged. */
static inline void change_commit(struct fixture *f)
{
    change_operate(f, (struct topology_operation){.kind = TOPOLOGY_COMMIT});
    change_publish(f);
}

/* A member leaves. */
static inline void change_leave(struct fixture *f, uint32_t member)
{
    change_operate(f, (struct topology_operation){.kind = TOPOLOGY_LEAVE, .member = member});
    change_commit(f);
}

static inline void change_replicate(struct fixture *f, enum test_keyspace keyspace, uint8_t n)
{
    change_operate(f, (struct topology_operation){.kind = TOPOLOGY_REPLICATE,
                                                  .keyspace_id = f->keyspace_ids[keyspace],
                                                  .n = {n}});
    change_commit(f);
}

/* The next epoch; one partition is in that phase. */
static inline void change_step(struct fixture *f, uint32_t partition, enum partition_phase phase)
{
    f->topology.epoch++;
    f->topology.phases[partition] = (uint8_t)phase;
    f->topology.phase_epochs[partition] = f->topology.epoch;
    change_publish(f);
}

static inline void change_abort(struct fixture *f)
{
    change_operate(f, (struct topology_operation){.kind = TOPOLOGY_ABORT});
    change_publish(f);
}

/* All that is left of the change, as if everybody had filled everything. */
static inline void change_finish(struct fixture *f)
{
    struct topology_progress *progress = ARENA_NEW(&f->arena, struct topology_progress, 1);
    struct topology after;
    progress->announced_max = f->topology.partitions;
    memset(progress->epochs, 0xff, sizeof progress->epochs);
    memset(progress->filled, 0xff, sizeof progress->filled);
    while (topology_step(&f->arena, &f->topology, &f->map, progress, &after))
        f->topology = after;
    assert_int_equal(f->topology.change.state, CHANGE_NONE);
    change_publish(f);
}

/* The sides (bits `1u << side`) whose sets the member is in. */
static inline uint32_t change_sides(const struct fixture *f, enum test_keyspace keyspace,
                                    uint32_t partition, uint32_t member)
{
    const struct keyspace *found = keyspace_map_find_id(&f->map, f->keyspace_ids[keyspace]);
    uint32_t sides = 0;
    for (uint32_t side = 0; side < 2; side++) {
        struct preference_list list;
        uint32_t n = view_replicas(f->view, (enum topology_side)side, found, 0);
        ring_preference_list(&f->topology, (enum topology_side)side, 0, partition, n, &list);
        for (uint32_t i = 0; i < list.replicas; i++)
            sides |= (list.members[i] == member ? 1u : 0u) << side;
    }
    return sides;
}

/* A partition of which SELF is in just these sets; UINT32_MAX: there is none. */
static inline uint32_t change_find(const struct fixture *f, enum test_keyspace keyspace,
                                   uint32_t sides)
{
    for (uint32_t partition = 0; partition < f->topology.partitions; partition++) {
        if (change_sides(f, keyspace, partition, SELF) == sides)
            return partition;
    }
    return UINT32_MAX;
}

static inline uint32_t change_partition(const struct fixture *f, enum test_keyspace keyspace,
                                        uint32_t sides)
{
    uint32_t partition = change_find(f, keyspace, sides);
    assert_int_not_equal(partition, UINT32_MAX);
    return partition;
}

/* SELF gets a greater share; a partition that it gains so. */
static inline uint32_t change_gain(struct fixture *f, enum test_keyspace keyspace)
{
    change_operate(
        f, (struct topology_operation){.kind = TOPOLOGY_PLACE, .member = SELF, .weight = 3});
    change_commit(f);
    return change_partition(f, keyspace, 1u << TOPOLOGY_NEXT);
}

static inline const char *change_key(struct fixture *f, enum test_keyspace keyspace,
                                     uint32_t partition, uint32_t number)
{
    for (uint32_t i = 0;; i++) {
        char key[24];
        snprintf(key, sizeof key, "k%u-%u", number, i);
        if (test_partition(f, keyspace, key) == partition)
            return arena_string(&f->arena, bytes_of_string(key));
    }
}

#endif
