#include "model/topology.h"

#include "base/codec.h"
#include "model/claim.h"
#include "model/hash.h"

#include <stdlib.h>
#include <string.h>

#define FORMAT_VERSION 1u
#define DEFAULT_WORD   "default"

/* Seeds of the two halves of a cluster id. */
#define CLUSTER_ID_SEED_HIGH 0x636f746572696501u
#define CLUSTER_ID_SEED_LOW  0x636f746572696502u

static bool partitions_valid(uint64_t partitions)
{
    return partitions >= PARTITIONS_MIN && partitions <= PARTITIONS_MAX &&
           (partitions & (partitions - 1)) == 0;
}

/* Visible ASCII, closed by a NUL within the array. */
static bool word_valid(const char *word, size_t size_max)
{
    size_t size = strnlen(word, size_max + 1);
    for (size_t i = 0; i < size; i++) {
        if (word[i] <= ' ' || word[i] > '~')
            return false;
    }
    return size <= size_max;
}

static bool word_valid_some(const char *word, size_t size_max)
{
    return word[0] != '\0' && word_valid(word, size_max);
}

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
    if (!word_valid(seed->name, NODE_NAME_MAX))
        return "initial cluster: a name must be at most 63 visible ASCII characters";
    if (seed->address[0] == '\0')
        return "initial cluster: an address is empty";
    if (!word_valid(seed->address, ADDRESS_MAX))
        return "initial cluster: an address must be at most 255 visible ASCII characters";
    if (!word_valid(seed->data_center, ZONE_NAME_MAX))
        return "initial cluster: a data centre must be at most 31 visible ASCII characters";
    if (!word_valid(seed->zone, ZONE_NAME_MAX))
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

static int word_compare(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* Sorts the words and drops the second of equals. */
static uint32_t words_unique(char (*words)[ZONE_NAME_MAX + 1], uint32_t count)
{
    if (count == 0)
        return 0;
    qsort(words, count, sizeof *words, word_compare);
    uint32_t kept = 1;
    for (uint32_t i = 1; i < count; i++) {
        if (strcmp(words[kept - 1], words[i]) != 0)
            memmove(words[kept++], words[i], sizeof *words);
    }
    return kept;
}

static uint32_t word_index(char (*words)[ZONE_NAME_MAX + 1], uint32_t count, const char *word)
{
    uint32_t index = 0;
    while (index < count && strcmp(words[index], word) != 0)
        index++;
    CHECK_U64(index, <, count);
    return index;
}

static void topology_claim(struct arena *arena, struct topology *topology, uint32_t data_center)
{
    char(*zones)[ZONE_NAME_MAX + 1] = arena_alloc(arena, topology->member_count * sizeof *zones);
    struct claim_member *members = ARENA_NEW(arena, struct claim_member, topology->member_count);
    uint32_t count = 0;
    for (uint32_t i = 0; i < topology->member_count; i++) {
        if (topology->members[i].data_center == data_center)
            memcpy(zones[count++], topology->members[i].zone, sizeof *zones);
    }
    uint32_t zone_count = words_unique(zones, count);
    count = 0;
    for (uint32_t i = 0; i < topology->member_count; i++) {
        const struct member *member = &topology->members[i];
        if (member->data_center != data_center)
            continue;
        members[count].number = member->number;
        members[count].weight = member->weight;
        members[count++].zone = (uint16_t)word_index(zones, zone_count, member->zone);
    }
    struct claim_result result = claim(arena, &(struct claim_input){
                                                  .members = members,
                                                  .member_count = count,
                                                  .partitions = topology->partitions,
                                                  .spread = CLAIM_SPREAD_DEFAULT,
                                              });
    memcpy(topology->owners + (size_t)data_center * topology->partitions, result.owners,
           topology->partitions * sizeof *result.owners);
}

static void topology_set_cluster_id(struct arena *arena, struct topology *topology)
{
    struct writer writer;
    writer_init(&writer, arena, 1024);
    writer_varint(&writer, topology->partitions);
    for (uint32_t i = 0; i < topology->member_count; i++) {
        const struct member *member = &topology->members[i];
        writer_sized_bytes(&writer, bytes_of_string(member->name));
        writer_sized_bytes(&writer, bytes_of_string(member->address));
        writer_sized_bytes(&writer, bytes_of_string(topology->data_centers[member->data_center]));
        writer_sized_bytes(&writer, bytes_of_string(member->zone));
        writer_varint(&writer, member->weight);
    }
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
        member->number = i + 1;
        member->status = MEMBER_NORMAL;
        member->weight = seeds[i].weight;
        member->data_center = (uint8_t)word_index(
            topology->data_centers, topology->data_center_count, seeds[i].data_center);
        memcpy(member->name, seeds[i].name, strlen(seeds[i].name));
        memcpy(member->address, seeds[i].address, strlen(seeds[i].address));
        memcpy(member->zone, seeds[i].zone, strlen(seeds[i].zone));
    }
    topology->owners =
        ARENA_NEW(arena, uint32_t, (size_t)topology->data_center_count * topology->partitions);
    for (uint32_t i = 0; i < topology->data_center_count; i++)
        topology_claim(arena, topology, i);
    topology_set_cluster_id(arena, topology);
}

enum err topology_initial(struct arena *arena, const struct topology_seed *seeds, size_t count,
                          uint32_t partitions, struct topology *ret_topology, const char **ret_why)
{
    const char *why = NULL;
    if (!partitions_valid(partitions))
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
    uint32_t data_center_count = why == NULL ? words_unique(data_centers, (uint32_t)count) : 0;
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
    for (uint32_t i = 0; i < topology->member_count; i++) {
        const struct member *member = &topology->members[i];
        if (member->status != MEMBER_REMOVED && strcmp(member->name, name) == 0)
            return member;
    }
    return NULL;
}

uint32_t topology_owner(const struct topology *topology, uint32_t data_center, uint32_t partition)
{
    CHECK_U64(data_center, <, topology->data_center_count);
    CHECK_U64(partition, <, topology->partitions);
    return topology->owners[(size_t)data_center * topology->partitions + partition];
}

static bool member_holds_data(const struct member *member)
{
    return member->status == MEMBER_NORMAL || member->status == MEMBER_LEAVING;
}

uint32_t topology_member_count_in(const struct topology *topology, uint32_t data_center)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < topology->member_count; i++) {
        const struct member *member = &topology->members[i];
        count += member->data_center == data_center && member_holds_data(member);
    }
    return count;
}

static bool members_valid(const struct topology *topology)
{
    for (uint32_t i = 0; i < topology->member_count; i++) {
        const struct member *member = &topology->members[i];
        if (member->number == MEMBER_NONE)
            return false;
        if (i > 0 && topology->members[i - 1].number >= member->number)
            return false;
        if (member->status > MEMBER_REMOVED || member->data_center >= topology->data_center_count)
            return false;
        if (member->weight == 0 || member->weight > WEIGHT_MAX)
            return false;
        if (!word_valid_some(member->name, NODE_NAME_MAX) ||
            !word_valid_some(member->address, ADDRESS_MAX) ||
            !word_valid_some(member->zone, ZONE_NAME_MAX))
            return false;
        /* The first living member of a name must be this one. */
        if (member->status != MEMBER_REMOVED &&
            topology_member_by_name(topology, member->name) != member)
            return false;
    }
    return true;
}

static bool owners_valid(const struct topology *topology, uint32_t data_center)
{
    bool nobody = topology_member_count_in(topology, data_center) == 0;
    for (uint32_t partition = 0; partition < topology->partitions; partition++) {
        uint32_t owner = topology_owner(topology, data_center, partition);
        if (nobody && owner == MEMBER_NONE)
            continue;
        const struct member *member = topology_member(topology, owner);
        if (member == NULL || member->data_center != data_center || !member_holds_data(member))
            return false;
    }
    return true;
}

bool topology_valid(const struct topology *topology)
{
    if (topology->epoch == 0 || !partitions_valid(topology->partitions))
        return false;
    if (topology->member_count == 0 || topology->member_count > MEMBERS_MAX)
        return false;
    if (topology->data_center_count == 0 || topology->data_center_count > DATA_CENTERS_MAX)
        return false;
    for (uint32_t i = 0; i < topology->data_center_count; i++) {
        if (!word_valid_some(topology->data_centers[i], ZONE_NAME_MAX))
            return false;
        if (i > 0 && strcmp(topology->data_centers[i - 1], topology->data_centers[i]) >= 0)
            return false;
    }
    if (!members_valid(topology))
        return false;
    for (uint32_t i = 0; i < topology->data_center_count; i++) {
        if (!owners_valid(topology, i))
            return false;
    }
    return true;
}

struct bytes topology_encode(struct arena *arena, const struct topology *topology)
{
    struct writer writer;
    size_t owner_count = (size_t)topology->data_center_count * topology->partitions;
    writer_init(&writer, arena, 256 + 64 * (size_t)topology->member_count + 2 * owner_count);
    writer_u8(&writer, FORMAT_VERSION);
    writer_bytes(&writer, bytes_of(topology->cluster_id, sizeof topology->cluster_id));
    writer_varint(&writer, topology->epoch);
    writer_varint(&writer, topology->partitions);
    writer_varint(&writer, topology->data_center_count);
    for (uint32_t i = 0; i < topology->data_center_count; i++)
        writer_sized_bytes(&writer, bytes_of_string(topology->data_centers[i]));
    writer_varint(&writer, topology->member_count);
    for (uint32_t i = 0; i < topology->member_count; i++) {
        const struct member *member = &topology->members[i];
        writer_varint(&writer, member->number);
        writer_u8(&writer, (uint8_t)member->status);
        writer_u8(&writer, member->data_center);
        writer_varint(&writer, member->weight);
        writer_sized_bytes(&writer, bytes_of_string(member->name));
        writer_sized_bytes(&writer, bytes_of_string(member->address));
        writer_sized_bytes(&writer, bytes_of_string(member->zone));
    }
    for (size_t i = 0; i < owner_count; i++)
        writer_varint(&writer, topology->owners[i]);
    return writer_result(&writer);
}

/* Into a zeroed array of size_max + 1. A NUL inside would shorten the word: refused. */
static void read_word(struct reader *reader, char *ret_word, size_t size_max)
{
    struct bytes bytes = reader_sized_bytes(reader, size_max);
    if (bytes.size == 0)
        return;
    if (memchr(bytes.data, '\0', bytes.size) != NULL) {
        reader->failed = true;
        return;
    }
    memcpy(ret_word, bytes.data, bytes.size);
}

static void read_member(struct reader *reader, struct member *ret_member)
{
    ret_member->number = (uint32_t)reader_varint_max(reader, UINT32_MAX);
    ret_member->status = (enum member_status)reader_u8(reader);
    ret_member->data_center = reader_u8(reader);
    ret_member->weight = (uint16_t)reader_varint_max(reader, WEIGHT_MAX);
    read_word(reader, ret_member->name, NODE_NAME_MAX);
    read_word(reader, ret_member->address, ADDRESS_MAX);
    read_word(reader, ret_member->zone, ZONE_NAME_MAX);
}

enum err topology_decode(struct arena *arena, struct bytes bytes, struct topology *ret_topology)
{
    struct reader reader = reader_of(bytes);
    if (bytes.size > 0 && reader_u8(&reader) != FORMAT_VERSION)
        return ERR_UNSUPPORTED;
    struct topology topology = {0};
    struct bytes cluster_id = reader_bytes(&reader, sizeof topology.cluster_id);
    if (cluster_id.size == sizeof topology.cluster_id)
        memcpy(topology.cluster_id, cluster_id.data, cluster_id.size);
    topology.epoch = reader_varint(&reader);
    topology.partitions = (uint32_t)reader_varint_max(&reader, PARTITIONS_MAX);
    topology.data_center_count = (uint32_t)reader_varint_max(&reader, DATA_CENTERS_MAX);
    topology.data_centers =
        arena_alloc_zero(arena, topology.data_center_count * sizeof *topology.data_centers);
    for (uint32_t i = 0; i < topology.data_center_count && !reader.failed; i++)
        read_word(&reader, topology.data_centers[i], ZONE_NAME_MAX);
    topology.member_count = (uint32_t)reader_varint_max(&reader, MEMBERS_MAX);
    topology.members = ARENA_NEW(arena, struct member, topology.member_count);
    for (uint32_t i = 0; i < topology.member_count && !reader.failed; i++)
        read_member(&reader, &topology.members[i]);
    size_t owner_count = (size_t)topology.data_center_count * topology.partitions;
    topology.owners = ARENA_NEW(arena, uint32_t, owner_count);
    for (size_t i = 0; i < owner_count; i++)
        topology.owners[i] = (uint32_t)reader_varint_max(&reader, UINT32_MAX);
    if (!reader_done(&reader) || !topology_valid(&topology))
        return ERR_CORRUPT;
    *ret_topology = topology;
    return OK;
}
