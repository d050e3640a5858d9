#include "model/topology.h"

#include "base/codec.h"
#include "base/mutation.h"
#include "model/claim.h"
#include "model/hash.h"
#include "model/topology_claim.h"
#include "model/topology_words.h"

#include <stdlib.h>
#include <string.h>

#define DEFAULT_WORD "default"

/* Seeds of the two halves of a cluster id. */
#define CLUSTER_ID_SEED_HIGH 0x636f746572696501u
#define CLUSTER_ID_SEED_LOW  0x636f746572696502u

static int seed_compare(const void *a, const void *b)
{
    const struct topology_seed *left = a;
    const struct topology_seed *right = b;
    return strcmp(left->name, right->name);
}

/* NULL when good. Sorted by name, the empty words already filled in. */
static const char *seeds_why_invalid(const struct topology_seed *seeds, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (i > 0 && strcmp(seeds[i - 1].name, seeds[i].name) == 0)
            return "initial cluster: a name is given twice";
        for (size_t j = 0; j < i; j++) {
            if (strcmp(seeds[j].address, seeds[i].address) == 0)
                return "initial cluster: an address is given twice";
        }
    }
    return NULL;
}

static const char *seed_why_invalid(const struct topology_seed *seed)
{
    if (seed->name[0] == '\0')
        return "initial cluster: a name is empty";
    if (!topology_word_valid(seed->name, NODE_NAME_MAX))
        return "initial cluster: a name must be at most 63 visible ASCII characters";
    if (seed->address[0] == '\0')
        return "initial cluster: an address is empty";
    if (!topology_word_valid(seed->address, ADDRESS_MAX))
        return "initial cluster: an address must be at most 255 visible ASCII characters";
    if (!topology_word_valid(seed->data_center, ZONE_NAME_MAX))
        return "initial cluster: a data centre must be at most 31 visible ASCII characters";
    if (!topology_word_valid(seed->zone, ZONE_NAME_MAX))
        return "initial cluster: a zone must be at most 31 visible ASCII characters";
    if (seed->weight > WEIGHT_MAX)
        return "initial cluster: a weight must be 1 to 64";
    return NULL;
}

static const char *seeds_prepare(struct topology_seed *seeds, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const char *why = seed_why_invalid(&seeds[i]);
        if (why != NULL)
            return why;
        if (seeds[i].data_center[0] == '\0')
            memcpy(seeds[i].data_center, DEFAULT_WORD, sizeof DEFAULT_WORD);
        if (seeds[i].zone[0] == '\0')
            memcpy(seeds[i].zone, DEFAULT_WORD, sizeof DEFAULT_WORD);
        if (seeds[i].weight == 0)
            seeds[i].weight = 1;
    }
    qsort(seeds, count, sizeof *seeds, seed_compare);
    return seeds_why_invalid(seeds, count);
}

static void topology_set_cluster_id(struct arena *arena, struct topology *topology)
{
    struct writer writer;
    writer_init(&writer, arena, 1024);
    writer_varint(&writer, topology->partitions);
    for (uint32_t i = 0; i < topology->member_count; i++) {
        const struct member *member = &topology->members[i];
        const struct member_place *place = &member->places[TOPOLOGY_NOW];
        writer_sized_bytes(&writer, bytes_of_string(member->name));
        writer_sized_bytes(&writer, bytes_of_string(member->address));
        writer_sized_bytes(&writer, bytes_of_string(topology->data_centers[place->data_center]));
        writer_sized_bytes(&writer, bytes_of_string(place->zone));
        writer_varint(&writer, place->weight);
    }
    /* Each founder deals the ring by itself: those that would deal it differently (another release)
     * are not of one cluster, and find that out when they say hello. */
    for (uint32_t i = 0; i < topology->data_center_count * topology->partitions; i++)
        writer_varint(&writer, topology->owners[TOPOLOGY_NOW][i]);
    uint64_t high = hash_bytes(writer_result(&writer), CLUSTER_ID_SEED_HIGH);
    uint64_t low = hash_bytes(writer_result(&writer), CLUSTER_ID_SEED_LOW);
    for (unsigned i = 0; i < 8; i++) {
        topology->cluster_id[i] = (uint8_t)(high >> (56 - 8 * i));
        topology->cluster_id[8 + i] = (uint8_t)(low >> (56 - 8 * i));
    }
}

static void topology_fill(struct arena *arena, struct topology *topology,
                          const struct topology_seed *seeds)
{
    topology->members = ARENA_NEW(arena, struct member, topology->member_count);
    for (uint32_t i = 0; i < topology->member_count; i++) {
        struct member *member = &topology->members[i];
        struct member_place *place = &member->places[TOPOLOGY_NOW];
        member->number = i + 1;
        member->slot = (uint8_t)i;
        member->status = MEMBER_NORMAL;
        memcpy(member->name, seeds[i].name, strlen(seeds[i].name));
        memcpy(member->address, seeds[i].address, strlen(seeds[i].address));
        place->weight = seeds[i].weight;
        place->data_center = (uint8_t)topology_word_index(
            topology->data_centers, topology->data_center_count, seeds[i].data_center);
        memcpy(place->zone, seeds[i].zone, strlen(seeds[i].zone));
        member->places[TOPOLOGY_NEXT] = *place;
    }
    topology->number_next = topology->member_count + 1;
    topology->owners[TOPOLOGY_NOW] =
        ARENA_NEW(arena, uint32_t, (size_t)topology->data_center_count * topology->partitions);
    topology->owners[TOPOLOGY_NEXT] = topology->owners[TOPOLOGY_NOW];
    for (uint32_t i = 0; i < topology->data_center_count; i++)
        topology_claim(arena, topology, TOPOLOGY_NOW, i, CLAIM_SPREAD_DEFAULT - 1);
    topology->phases = ARENA_NEW(arena, uint8_t, topology->partitions);
    topology->phase_epochs = ARENA_NEW(arena, uint64_t, topology->partitions);
    topology->voter_count = topology_choose_voters(topology, topology->voters);
    topology_set_cluster_id(arena, topology);
}

enum err topology_initial(struct arena *arena, const struct topology_seed *seeds, size_t count,
                          uint32_t partitions, struct topology *ret_topology, const char **ret_why)
{
    const char *why = NULL;
    if (!topology_partitions_valid(partitions))
        why = "partitions: must be a power of two from 8 to 1024";
    else if (count == 0)
        why = "initial cluster: no member is given";
    else if (count > MEMBERS_MAX)
        why = "initial cluster: more than 64 members";
    if (why != NULL) {
        *ret_why = why;
        return ERR_INVALID;
    }
    struct topology_seed *sorted = arena_alloc(arena, count * sizeof *sorted);
    memcpy(sorted, seeds, count * sizeof *sorted);
    why = seeds_prepare(sorted, count);
    char(*data_centers)[ZONE_NAME_MAX + 1] = arena_alloc_zero(arena, count * sizeof *data_centers);
    for (size_t i = 0; why == NULL && i < count; i++)
        memcpy(data_centers[i], sorted[i].data_center, strlen(sorted[i].data_center));
    uint32_t data_center_count =
        why == NULL ? topology_words_unique(data_centers, (uint32_t)count) : 0;
    if (data_center_count > DATA_CENTERS_MAX)
        why = "initial cluster: more than 8 data centres";
    if (why != NULL) {
        *ret_why = why;
        return ERR_INVALID;
    }
    struct topology topology = {
        .epoch = 1,
        .partitions = partitions,
        .member_count = (uint32_t)count,
        .data_centers = data_centers,
        .data_center_count = data_center_count,
    };
    topology_fill(arena, &topology, sorted);
    *ret_topology = topology;
    return OK;
}

const struct member *topology_member(const struct topology *topology, uint32_t number)
{
    /* Without removals the member numbers are 1, 2, 3, ... */
    if (number - 1 < topology->member_count && topology->members[number - 1].number == number)
        return &topology->members[number - 1];
    uint32_t low = 0;
    uint32_t high = topology->member_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (topology->members[middle].number < number)
            low = middle + 1;
        else
            high = middle;
    }
    bool found = low < topology->member_count && topology->members[low].number == number;
    return found ? &topology->members[low] : NULL;
}

const struct member *topology_member_by_name(const struct topology *topology, const char *name)
{
    const struct member *found = NULL;
    for (uint32_t i = 0; i < topology->member_count; i++) {
        const struct member *member = &topology->members[i];
        if (member->status == MEMBER_REMOVED || strcmp(member->name, name) != 0)
            continue;
        if (!member->gone)
            return member;
        found = member;
    }
    return found;
}

bool topology_was_removed(const struct topology *topology, uint32_t number)
{
    const struct member *member = topology_member(topology, number);
    if (member != NULL)
        return member->status == MEMBER_REMOVED;
    return number != MEMBER_NONE && number < topology->number_next;
}

const struct member_place *member_place(const struct member *member)
{
    return &member->places[member->status == MEMBER_JOINING ? TOPOLOGY_NEXT : TOPOLOGY_NOW];
}

bool member_place_equal(const struct member_place *a, const struct member_place *b)
{
    return a->data_center == b->data_center && a->weight == b->weight &&
           strcmp(a->zone, b->zone) == 0;
}

bool member_is_on(const struct member *member, enum topology_side side)
{
    switch (member->status) {
    case MEMBER_JOINING:
        return side == TOPOLOGY_NEXT;
    case MEMBER_NORMAL:
        return true;
    case MEMBER_LEAVING:
        return side == TOPOLOGY_NOW;
    case MEMBER_REMOVED:
        return false;
    }
    UNREACHABLE("member status");
}

uint32_t topology_owner(const struct topology *topology, enum topology_side side,
                        uint32_t data_center, uint32_t partition)
{
    CHECK_U64(data_center, <, topology->data_center_count);
    CHECK_U64(partition, <, topology->partitions);
    return topology->owners[side][(size_t)data_center * topology->partitions + partition];
}

uint32_t topology_member_count_in(const struct topology *topology, enum topology_side side,
                                  uint32_t data_center)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < topology->member_count; i++) {
        const struct member *member = &topology->members[i];
        count += member->places[side].data_center == data_center && member_is_on(member, side);
    }
    return count;
}

enum topology_side topology_read_side(const struct topology *topology, uint32_t partition)
{
    CHECK_U64(partition, <, topology->partitions);
    return topology->phases[partition] >= PHASE_COPIED ? TOPOLOGY_NEXT : TOPOLOGY_NOW;
}

bool topology_is_joint(const struct topology *topology, uint32_t partition)
{
    CHECK_U64(partition, <, topology->partitions);
    return topology->phases[partition] == PHASE_ANNOUNCED ||
           topology->phases[partition] == PHASE_COPIED;
}

uint32_t topology_replicas(const struct topology *topology, enum topology_side side,
                           uint32_t keyspace_id, uint32_t data_center, uint32_t otherwise)
{
    if (MUTATE(REPLICAS_AT_ONCE))
        side = TOPOLOGY_NEXT;
    for (uint32_t i = 0; i < topology->replication_count; i++) {
        if (topology->replication[i].keyspace_id == keyspace_id)
            return topology->replication[i].n[side][data_center];
    }
    return otherwise;
}

static void *copied(struct arena *arena, const void *from, size_t bytes)
{
    void *to = arena_alloc(arena, bytes);
    if (bytes != 0)
        memcpy(to, from, bytes);
    return to;
}

void topology_copy(struct arena *arena, const struct topology *from, struct topology *ret)
{
    size_t rings = sizeof(uint32_t) * from->data_center_count * from->partitions;
    *ret = *from;
    ret->members = copied(arena, from->members, sizeof *from->members * from->member_count);
    ret->data_centers =
        copied(arena, from->data_centers, sizeof *from->data_centers * from->data_center_count);
    ret->owners[TOPOLOGY_NOW] = copied(arena, from->owners[TOPOLOGY_NOW], rings);
    bool one = from->owners[TOPOLOGY_NEXT] == from->owners[TOPOLOGY_NOW];
    ret->owners[TOPOLOGY_NEXT] =
        one ? ret->owners[TOPOLOGY_NOW] : copied(arena, from->owners[TOPOLOGY_NEXT], rings);
    ret->phases = copied(arena, from->phases, sizeof *from->phases * from->partitions);
    ret->phase_epochs =
        copied(arena, from->phase_epochs, sizeof *from->phase_epochs * from->partitions);
    ret->replication =
        copied(arena, from->replication, sizeof *from->replication * from->replication_count);
}
