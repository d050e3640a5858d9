#include "actors/view.h"

#include "base/check.h"

#include <stdatomic.h>
#include <stdlib.h>

static void topology_copy(struct arena *arena, const struct topology *from, struct topology *ret)
{
    *ret = *from;
    ret->members = ARENA_NEW(arena, struct member, from->member_count);
    if (from->member_count != 0)
        memcpy(ret->members, from->members, sizeof *from->members * from->member_count);
    size_t names_bytes = sizeof *from->data_centers * from->data_center_count;
    ret->data_centers = arena_alloc(arena, names_bytes);
    if (names_bytes != 0)
        memcpy(ret->data_centers, from->data_centers, names_bytes);
    size_t owner_count = (size_t)from->data_center_count * from->partitions;
    ret->owners = ARENA_NEW(arena, uint32_t, owner_count);
    if (owner_count != 0)
        memcpy(ret->owners, from->owners, sizeof *from->owners * owner_count);
}

struct view *view_new(const struct topology *topology, const struct keyspace_map *keyspaces,
                      uint32_t self)
{
    CHECK_U64(topology->member_count, <=, MEMBERS_MAX);
    CHECK_U64(topology->data_center_count, <=, DATA_CENTERS_MAX);
    struct view *view = calloc(1, sizeof *view);
    CHECK(view != NULL);
    arena_init(&view->arena, NULL, 0);
    atomic_init(&view->references, 1);
    view->self = self;
    topology_copy(&view->arena, topology, &view->topology);
    const struct member *member = topology_member(&view->topology, self);
    if (member != NULL)
        view->local_data_center = member->data_center;
    if (keyspaces->count != 0) {
        struct keyspace *copies = ARENA_NEW(&view->arena, struct keyspace, keyspaces->count);
        memcpy(copies, keyspaces->keyspaces, sizeof *copies * keyspaces->count);
        view->keyspaces = (struct keyspace_map){.count = keyspaces->count, .keyspaces = copies};
    }
    return view;
}

struct view *view_ref(struct view *view)
{
    /* Relaxed: the caller already holds a reference or a lock that keeps one alive. */
    uint32_t before = atomic_fetch_add_explicit(&view->references, 1, memory_order_relaxed);
    CHECK_U64(before, >, 0);
    return view;
}

void view_unref(struct view *view)
{
    /* Release: our reads are done before the count falls. Acquire: whoever frees sees that of all.
     */
    uint32_t before = atomic_fetch_sub_explicit(&view->references, 1, memory_order_acq_rel);
    CHECK_U64(before, >, 0);
    if (before != 1)
        return;
    arena_deinit(&view->arena);
    free(view);
}

enum liveness view_liveness(const struct view *view, uint32_t member)
{
    const struct member *found = topology_member(&view->topology, member);
    if (found == NULL)
        return LIVENESS_UNKNOWN;
    return view->members[found - view->topology.members].liveness;
}

bool view_alive(const struct view *view, uint32_t member)
{
    return member == view->self || view_liveness(view, member) != LIVENESS_DOWN;
}

static void add_data_center(const struct view *view, const struct keyspace *keyspace,
                            uint32_t partition, uint32_t data_center, struct replica_set *set)
{
    const struct topology *topology = &view->topology;
    uint32_t n = keyspace_n(keyspace, topology->data_centers[data_center]);
    if (n == 0)
        return;
    struct preference_list list;
    ring_preference_list(topology, data_center, partition, n, &list);
    CHECK_U64(set->count + list.replicas, <=, REPLICAS_TOTAL_MAX);
    for (uint32_t i = 0; i < list.replicas; i++) {
        set->replicas[set->count].member = list.members[i];
        set->replicas[set->count].data_center = (uint8_t)data_center;
        set->count++;
    }
}

void view_replica_set(const struct view *view, const struct keyspace *keyspace, uint32_t partition,
                      struct replica_set *ret_set)
{
    CHECK_U64(partition, <, view->topology.partitions);
    ret_set->count = 0;
    add_data_center(view, keyspace, partition, view->local_data_center, ret_set);
    for (uint32_t i = 0; i < view->topology.data_center_count; i++) {
        if (i != view->local_data_center)
            add_data_center(view, keyspace, partition, i, ret_set);
    }
}
