#include "actors/view.h"

#include "base/check.h"
#include "model/topology_sets.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static enum distance distance_between(const struct member *self, const struct member *other)
{
    if (other == self)
        return DISTANCE_SELF;
    const struct member_place *from = member_place(self);
    const struct member_place *to = member_place(other);
    if (from->data_center != to->data_center)
        return DISTANCE_REMOTE;
    return strcmp(from->zone, to->zone) == 0 ? DISTANCE_ZONE : DISTANCE_DATA_CENTER;
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
        view->local_data_center = member_place(member)->data_center;
    for (uint32_t i = 0; i < view->topology.member_count; i++)
        view->members[i].distance =
            member == NULL ? DISTANCE_REMOTE : distance_between(member, &view->topology.members[i]);
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
    if (member == view->self)
        return true;
    const struct member *found = topology_member(&view->topology, member);
    return found == NULL ||
           (!found->gone &&
            view->members[found - view->topology.members].liveness != LIVENESS_DOWN);
}

bool view_keyspaces_heard(const struct view *view)
{
    uint32_t members = 0;
    uint32_t heard = 0;
    for (uint32_t i = 0; i < view->topology.member_count; i++) {
        const struct member *member = &view->topology.members[i];
        if (member->status == MEMBER_REMOVED || member->gone)
            continue;
        members++;
        heard += !view->members[i].unheard;
    }
    return heard >= members / 2 + 1;
}

enum distance view_distance(const struct view *view, uint32_t member)
{
    const struct member *found = topology_member(&view->topology, member);
    return found == NULL ? DISTANCE_REMOTE : view->members[found - view->topology.members].distance;
}

uint32_t view_replicas(const struct view *view, enum topology_side side,
                       const struct keyspace *keyspace, uint32_t data_center)
{
    return topology_side_n(&view->topology, side, keyspace, data_center);
}

static bool replication_alike(const struct topology *topology, uint32_t a, uint32_t b)
{
    const struct topology_replication *of[2] = {NULL, NULL};
    for (uint32_t i = 0; i < topology->replication_count; i++) {
        const struct topology_replication *replication = &topology->replication[i];
        if (replication->keyspace_id == a)
            of[0] = replication;
        if (replication->keyspace_id == b)
            of[1] = replication;
    }
    if (of[0] == NULL || of[1] == NULL)
        return of[0] == of[1];
    return memcmp(of[0]->n, of[1]->n, sizeof of[0]->n) == 0;
}

bool view_keyspaces_alike(const struct view *view, const struct keyspace *a,
                          const struct keyspace *b)
{
    return a->n == b->n && a->data_center_count == b->data_center_count &&
           memcmp(a->data_centers, b->data_centers, sizeof a->data_centers) == 0 &&
           replication_alike(&view->topology, a->id, b->id);
}

static void side_list(const struct view *view, enum topology_side side,
                      const struct keyspace *keyspace, uint32_t data_center, uint32_t partition,
                      struct preference_list *ret_list)
{
    topology_side_list(&view->topology, side, view_replicas(view, side, keyspace, data_center),
                       data_center, partition, ret_list);
}

void view_preference_list(const struct view *view, const struct keyspace *keyspace,
                          uint32_t data_center, uint32_t partition,
                          struct preference_list *ret_list)
{
    side_list(view, topology_read_side(&view->topology, partition), keyspace, data_center,
              partition, ret_list);
}

static void add_data_center(const struct view *view, enum topology_side side,
                            const struct keyspace *keyspace, uint32_t partition,
                            uint32_t data_center, struct replica_set *set)
{
    struct preference_list list;
    side_list(view, side, keyspace, data_center, partition, &list);
    for (uint32_t i = 0; i < list.replicas; i++) {
        uint32_t at = 0;
        while (at < set->count && set->replicas[at].member != list.members[i])
            at++;
        if (at == set->count) {
            CHECK_U64(set->count, <, REPLICAS_TOTAL_MAX);
            set->replicas[set->count].member = list.members[i];
            set->replicas[set->count].data_center = (uint8_t)data_center;
            set->replicas[set->count].reader = side == set->read_side;
            set->replicas[set->count++].sides = 0;
        }
        set->replicas[at].sides |= (uint8_t)(1u << side);
        set->replicas[at].side_data_centers[side] = (uint8_t)data_center;
    }
}

static void add_side(const struct view *view, enum topology_side side,
                     const struct keyspace *keyspace, uint32_t partition, struct replica_set *set)
{
    add_data_center(view, side, keyspace, partition, view->local_data_center, set);
    for (uint32_t i = 0; i < view->topology.data_center_count; i++) {
        if (i != view->local_data_center)
            add_data_center(view, side, keyspace, partition, i, set);
    }
}

void view_replica_set(const struct view *view, const struct keyspace *keyspace, uint32_t partition,
                      struct replica_set *ret_set)
{
    struct replica_set *set = ret_set;
    enum topology_side side = topology_read_side(&view->topology, partition);
    set->count = 0;
    set->read_side = side;
    set->joint = topology_is_joint(&view->topology, partition);
    add_side(view, side, keyspace, partition, set);
    if (set->joint) {
        add_side(view, side == TOPOLOGY_NOW ? TOPOLOGY_NEXT : TOPOLOGY_NOW, keyspace, partition,
                 set);
        return;
    }
    for (uint32_t i = 0; i < set->count; i++) {
        set->replicas[i].sides = 1u << TOPOLOGY_NOW | 1u << TOPOLOGY_NEXT;
        set->replicas[i].side_data_centers[TOPOLOGY_NOW] =
            set->replicas[i].side_data_centers[TOPOLOGY_NEXT] = set->replicas[i].data_center;
    }
}

enum replica_role view_role(const struct view *view, const struct keyspace *keyspace,
                            uint32_t partition, uint32_t member)
{
    struct replica_set set;
    view_replica_set(view, keyspace, partition, &set);
    for (uint32_t i = 0; i < set.count; i++) {
        if (set.replicas[i].member == member)
            return set.replicas[i].reader ? ROLE_READER : ROLE_WRITER;
    }
    return ROLE_NONE;
}
