#include "base/mutation.h"
#include "model/topology_operating.h"
#include "model/topology_sets.h"
#include "model/topology_words.h"

#include <string.h>

#define DEFAULT_WORD "default"

static void word_set(char *ret_word, const char *word)
{
    size_t size = strlen(word);
    memset(ret_word, 0, ZONE_NAME_MAX + 1);
    memcpy(ret_word, word, size);
}

static enum err check_may_stage(struct operating *operating)
{
    if (operating->after.change.state == CHANGE_RUNNING)
        return topology_refused(
            operating, ERR_PRECONDITION,
            "a change is under way: wait until it is over, or abort it, then stage "
            "this one");
    return OK;
}

static enum err find_member(struct operating *operating, struct member **ret_member)
{
    struct topology *topology = &operating->after;
    const struct member *member = topology_member(topology, operating->operation->member);
    if (member == NULL || member->status == MEMBER_REMOVED) {
        bool left = topology_was_removed(topology, operating->operation->member);
        return topology_refused(
            operating, ERR_NOT_FOUND,
            arena_printf(operating->arena,
                         left ? "member %u has left the cluster: nothing is to be done"
                              : "no member has the number %u: look at the list of "
                                "members",
                         operating->operation->member));
    }
    *ret_member = &topology->members[member - topology->members];
    return OK;
}

/* The index of that data centre, added when it is a new one. */
static enum err data_center_of(struct operating *operating, const char *name, uint8_t *ret_index)
{
    struct topology *topology = &operating->after;
    uint32_t count = topology->data_center_count;
    uint32_t index = topology_word_find(topology->data_centers, count, name);
    if (index == DATA_CENTERS_MAX)
        return topology_refused(
            operating, ERR_LIMIT,
            arena_printf(operating->arena,
                         "there are %u data centres already, the most there can be: "
                         "give one of them",
                         DATA_CENTERS_MAX));
    if (index == count) {
        char(*names)[ZONE_NAME_MAX + 1] =
            arena_alloc_zero(operating->arena, (count + 1) * sizeof *names);
        memcpy(names, topology->data_centers, count * sizeof *names);
        word_set(names[count], name);
        uint32_t *owners =
            ARENA_NEW(operating->arena, uint32_t, (size_t)(count + 1) * topology->partitions);
        memcpy(owners, topology->owners[TOPOLOGY_NOW],
               sizeof *owners * count * topology->partitions);
        topology->data_centers = names;
        topology->owners[TOPOLOGY_NOW] = topology->owners[TOPOLOGY_NEXT] = owners;
        topology->data_center_count = count + 1;
    }
    *ret_index = (uint8_t)index;
    return OK;
}

/* The place that the operation asks for; what it leaves open is as in *place. */
static enum err place_of(struct operating *operating, struct member_place *place)
{
    const struct topology_operation *operation = operating->operation;
    if (!topology_word_valid(operation->data_center, ZONE_NAME_MAX))
        return topology_refused(operating, ERR_INVALID,
                                "a data centre must be at most 31 visible ASCII characters");
    if (!topology_word_valid(operation->zone, ZONE_NAME_MAX))
        return topology_refused(operating, ERR_INVALID,
                                "a zone must be at most 31 visible ASCII characters");
    if (operation->weight > WEIGHT_MAX)
        return topology_refused(operating, ERR_INVALID, "a weight must be 1 to 64");
    if (operation->data_center[0] != '\0') {
        enum err err = data_center_of(operating, operation->data_center, &place->data_center);
        if (err != OK)
            return err;
    }
    if (operation->zone[0] != '\0')
        word_set(place->zone, operation->zone);
    if (operation->weight != 0)
        place->weight = operation->weight;
    return OK;
}

static enum err check_address(struct operating *operating, const struct member *self)
{
    const struct topology *topology = &operating->after;
    const char *address = operating->operation->address;
    if (!topology_word_valid_some(address, ADDRESS_MAX))
        return topology_refused(operating, ERR_INVALID,
                                "an address must be 1 to 255 visible ASCII characters, host:port");
    for (uint32_t i = 0; i < topology->member_count; i++) {
        const struct member *member = &topology->members[i];
        if (member != self && member->status != MEMBER_REMOVED && !member->gone &&
            strcmp(member->address, address) == 0)
            return topology_refused(
                operating, ERR_EXISTS,
                arena_printf(operating->arena,
                             "member %u (%s) has the address %s: give another one, or, if "
                             "that member will never run again, give it up first (coterie "
                             "replace %s)",
                             member->number, member->name, address, member->name));
    }
    return OK;
}

/* -- members come
 * ------------------------------------------------------------------------------------------ */

/* Room for one more at the end: the removed member that is listed longest makes it. */
static bool members_grow(struct operating *operating)
{
    struct topology *topology = &operating->after;
    uint32_t count = topology->member_count;
    uint32_t oldest = 0;
    if (count == MEMBERS_MAX) {
        while (oldest < count && topology->members[oldest].status != MEMBER_REMOVED)
            oldest++;
        if (oldest == count)
            return false;
        memmove(&topology->members[oldest], &topology->members[oldest + 1],
                (count - oldest - 1) * sizeof *topology->members);
        topology->member_count = --count;
    }
    struct member *members = ARENA_NEW(operating->arena, struct member, count + 1);
    memcpy(members, topology->members, count * sizeof *members);
    topology->members = members;
    topology->member_count = count + 1;
    return true;
}

/* One that no listed member has: what is kept by slot of a removed one is not taken for its own. */
static uint8_t slot_free(const struct topology *topology)
{
    uint64_t used = 0;
    for (uint32_t i = 0; i + 1 < topology->member_count; i++)
        used |= (uint64_t)1 << topology->members[i].slot;
    CHECK(used != UINT64_MAX);
    return (uint8_t)__builtin_ctzll(~used);
}

/* OK with `same` set: it has joined with this join_id. */
static enum err find_joined(struct operating *operating)
{
    static const uint8_t none[sizeof operating->operation->join_id];
    const uint8_t *join_id = operating->operation->join_id;
    if (memcmp(join_id, none, sizeof none) == 0)
        return topology_refused(operating, ERR_INVALID, "a join must have a random join_id");
    for (uint32_t i = 0; i < operating->after.member_count; i++) {
        const struct member *member = &operating->after.members[i];
        if (memcmp(member->join_id, join_id, sizeof none) != 0)
            continue;
        if (MUTATE(REMOVED_REJOINS) && member->status == MEMBER_REMOVED)
            operating->after.members[i].status = MEMBER_JOINING;
        else if (member->status == MEMBER_REMOVED)
            return topology_refused(
                operating, ERR_PRECONDITION,
                arena_printf(operating->arena,
                             "this node was member %u and has been removed: let it "
                             "join with an empty data directory",
                             member->number));
        operating->same = true;
        operating->number = member->number;
    }
    return OK;
}

static enum err check_name(struct operating *operating)
{
    const char *name = operating->operation->name;
    if (!topology_word_valid_some(name, NODE_NAME_MAX))
        return topology_refused(operating, ERR_INVALID,
                                "a name must be 1 to 63 visible ASCII characters");
    const struct member *holder = topology_member_by_name(&operating->after, name);
    if (holder != NULL && !holder->gone)
        return topology_refused(
            operating, ERR_EXISTS,
            arena_printf(operating->arena,
                         "member %u has the name %s: give another one, or, if that member's "
                         "disk is lost, give it up (coterie replace %s), then start this one "
                         "again",
                         holder->number, name, name));
    return OK;
}

enum err topology_join(struct operating *operating)
{
    struct topology *topology = &operating->after;
    const struct topology_operation *operation = operating->operation;
    enum err err = find_joined(operating);
    if (err != OK || operating->same)
        return err;
    struct member_place place = {.weight = 1, .zone = DEFAULT_WORD};
    err = check_may_stage(operating);
    if (err == OK)
        err = check_name(operating);
    if (err == OK)
        err = check_address(operating, NULL);
    if (err == OK && operation->data_center[0] == '\0')
        err = data_center_of(operating, DEFAULT_WORD, &place.data_center);
    if (err == OK)
        err = place_of(operating, &place);
    if (err != OK)
        return err;
    if (topology->number_next == UINT32_MAX || !members_grow(operating))
        return topology_refused(
            operating, ERR_LIMIT,
            "the cluster has 64 members, the most there can be: let one leave first");
    struct member *member = &topology->members[topology->member_count - 1];
    member->slot = slot_free(topology);
    if (MUTATE(MEMBER_NUMBER_AGAIN) && (member - 1)->status == MEMBER_REMOVED) {
        member--; /* with all that it is */
        *member = (struct member){.slot = slot_free(topology)};
        topology->member_count--;
        topology->number_next--;
    }
    member->number = topology->number_next++;
    member->status = MEMBER_JOINING;
    member->held = operation->hold;
    memcpy(member->join_id, operation->join_id, sizeof member->join_id);
    memcpy(member->name, operation->name, strlen(operation->name));
    memcpy(member->address, operation->address, strlen(operation->address));
    member->places[TOPOLOGY_NOW] = member->places[TOPOLOGY_NEXT] = place;
    operating->number = member->number;
    return OK;
}

/* -- members go, or change their place
 * ---------------------------------------------------------------------------------------------- */

/* Nobody else on that side is alive. */
static bool is_last_alive(const struct topology *topology, const struct member *member,
                          enum topology_side side)
{
    for (uint32_t i = 0; i < topology->member_count; i++) {
        const struct member *other = &topology->members[i];
        if (other != member && !other->gone && member_is_on(other, side))
            return false;
    }
    return true;
}

enum err topology_leave(struct operating *operating)
{
    struct member *member = NULL;
    enum err err = find_member(operating, &member);
    if (err != OK)
        return err;
    bool gone = operating->operation->gone;
    /* Of both sides: a running change may be aborted. What is staged to join may not come. */
    if (gone && (is_last_alive(&operating->after, member, TOPOLOGY_NOW) ||
                 (operating->after.change.state == CHANGE_RUNNING &&
                  is_last_alive(&operating->after, member, TOPOLOGY_NEXT))))
        return topology_refused(operating, ERR_PRECONDITION,
                                "this is the last member alive: it cannot be gone");
    if (operating->after.change.state == CHANGE_RUNNING) {
        /* What a running change does with it stays; only that nothing waits for it is new. */
        if (!gone && member->status != MEMBER_LEAVING)
            return check_may_stage(operating);
        operating->same = member->gone || !gone;
        member->gone = member->gone || gone;
        return OK;
    }
    if (member->status == MEMBER_JOINING) {
        member->status = MEMBER_REMOVED;
        member->held = false;
        return OK;
    }
    operating->same = member->status == MEMBER_LEAVING && (member->gone || !gone);
    member->status = MEMBER_LEAVING;
    member->gone = member->gone || gone;
    member->places[TOPOLOGY_NEXT] = member->places[TOPOLOGY_NOW];
    return OK;
}

enum err topology_place(struct operating *operating)
{
    struct member *member = NULL;
    enum err err = find_member(operating, &member);
    if (err == OK)
        err = check_may_stage(operating);
    if (err == OK && member->status == MEMBER_LEAVING)
        err = topology_refused(operating, ERR_PRECONDITION,
                               "this member is staged to leave: abort what is staged first");
    struct member_place place;
    if (err == OK) {
        place = member->places[TOPOLOGY_NEXT];
        err = place_of(operating, &place);
    }
    if (err != OK)
        return err;
    operating->same = member_place_equal(&place, &member->places[TOPOLOGY_NEXT]);
    member->places[TOPOLOGY_NEXT] = place;
    if (member->status == MEMBER_JOINING)
        member->places[TOPOLOGY_NOW] = place;
    return OK;
}

enum err topology_address(struct operating *operating)
{
    struct member *member = NULL;
    enum err err = find_member(operating, &member);
    if (err == OK)
        err = check_address(operating, member);
    if (err != OK)
        return err;
    const char *address = operating->operation->address;
    operating->same = strcmp(member->address, address) == 0;
    memset(member->address, 0, sizeof member->address);
    memcpy(member->address, address, strlen(address));
    return OK;
}

/* -- keyspaces
 * -------------------------------------------------------------------------------------------- */

static struct topology_replication *replication_insert(struct operating *operating,
                                                       const struct keyspace *keyspace)
{
    struct topology *topology = &operating->after;
    uint32_t count = topology->replication_count;
    uint32_t place = 0;
    while (place < count && topology->replication[place].keyspace_id < keyspace->id)
        place++;
    if (place < count && topology->replication[place].keyspace_id == keyspace->id)
        return &topology->replication[place];
    struct topology_replication *list =
        ARENA_NEW(operating->arena, struct topology_replication, count + 1);
    memcpy(list, topology->replication, place * sizeof *list);
    memcpy(list + place + 1, topology->replication + place, (count - place) * sizeof *list);
    struct replica_class class = topology_class(topology, keyspace);
    list[place].keyspace_id = keyspace->id;
    memcpy(list[place].n, class.n, sizeof class.n);
    topology->replication = list;
    topology->replication_count = count + 1;
    return &list[place];
}

/* Of keyspaces that are dropped. */
static void replication_prune(struct operating *operating)
{
    struct topology *topology = &operating->after;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < topology->replication_count; i++) {
        bool dropped = false;
        for (uint32_t k = 0; k < operating->keyspaces->count; k++)
            dropped = dropped || (operating->keyspaces->keyspaces[k].dropped &&
                                  operating->keyspaces->keyspaces[k].id ==
                                      topology->replication[i].keyspace_id);
        if (!dropped)
            topology->replication[kept++] = topology->replication[i];
    }
    topology->replication_count = kept;
}

enum err topology_replicate(struct operating *operating)
{
    struct topology *topology = &operating->after;
    const uint8_t *n = operating->operation->n;
    enum err err = check_may_stage(operating);
    if (err != OK)
        return err;
    const struct keyspace *keyspace =
        keyspace_map_find_id(operating->keyspaces, operating->operation->keyspace_id);
    if (keyspace == NULL)
        return topology_refused(operating, ERR_NOT_FOUND,
                                "no keyspace has this id: look at the list of keyspaces");
    uint32_t sum = 0;
    for (uint32_t i = 0; i < DATA_CENTERS_MAX; i++) {
        if (n[i] > REPLICAS_MAX || (n[i] != 0 && i >= topology->data_center_count))
            return topology_refused(operating, ERR_INVALID,
                                    "replicas must be 0 to 7 in each data centre that there is");
        sum += n[i];
    }
    if (sum == 0)
        return topology_refused(operating, ERR_INVALID,
                                "a keyspace must have replicas in a data centre: drop it instead");
    replication_prune(operating);
    struct replica_class class = topology_class(topology, keyspace);
    operating->same = memcmp(class.n[TOPOLOGY_NEXT], n, DATA_CENTERS_MAX) == 0;
    if (operating->same)
        return OK;
    if (topology->replication_count == KEYSPACES_MAX)
        return topology_refused(
            operating, ERR_LIMIT,
            "too many keyspaces have had their replication changed: drop those that "
            "are not needed");
    memcpy(replication_insert(operating, keyspace)->n[TOPOLOGY_NEXT], n, DATA_CENTERS_MAX);
    return OK;
}
