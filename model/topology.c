#include "model/topology.h"

#include "base/codec.h"
#include "model/claim.h"
#include "model/hash.h"

#include <stdlib.h>
#include <string.h>

#define FORMAT_VERSION 2u
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
        if (topology->members[i].places[TOPOLOGY_NOW].data_center == data_center)
            memcpy(zones[count++], topology->members[i].places[TOPOLOGY_NOW].zone, sizeof *zones);
    }
    uint32_t zone_count = words_unique(zones, count);
    count = 0;
    for (uint32_t i = 0; i < topology->member_count; i++) {
        const struct member_place *place = &topology->members[i].places[TOPOLOGY_NOW];
        if (place->data_center != data_center)
            continue;
        members[count].number = topology->members[i].number;
        members[count].weight = place->weight;
        members[count++].zone = (uint16_t)word_index(zones, zone_count, place->zone);
    }
    struct claim_result result = claim(arena, &(struct claim_input){
                                                  .members = members,
                                                  .member_count = count,
                                                  .partitions = topology->partitions,
                                                  .spread = CLAIM_SPREAD_DEFAULT,
                                              });
    memcpy(topology->owners[TOPOLOGY_NOW] + (size_t)data_center * topology->partitions,
           result.owners, topology->partitions * sizeof *result.owners);
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
        place->data_center = (uint8_t)word_index(topology->data_centers,
                                                 topology->data_center_count, seeds[i].data_center);
        memcpy(place->zone, seeds[i].zone, strlen(seeds[i].zone));
        member->places[TOPOLOGY_NEXT] = *place;
    }
    topology->number_next = topology->member_count + 1;
    topology->owners[TOPOLOGY_NOW] =
        ARENA_NEW(arena, uint32_t, (size_t)topology->data_center_count * topology->partitions);
    topology->owners[TOPOLOGY_NEXT] = topology->owners[TOPOLOGY_NOW];
    for (uint32_t i = 0; i < topology->data_center_count; i++)
        topology_claim(arena, topology, i);
    topology->phases = ARENA_NEW(arena, uint8_t, topology->partitions);
    topology->phase_epochs = ARENA_NEW(arena, uint64_t, topology->partitions);
    topology->voter_count = topology_choose_voters(topology, topology->voters);
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

/* -- who decides on the next epoch
 * ---------------------------------------------------------------------- */

static bool voter_is(const struct topology *topology, uint32_t number)
{
    for (uint32_t i = 0; i < topology->voter_count; i++) {
        if (topology->voters[i] == number)
            return true;
    }
    return false;
}

/* Chosen ones in the same data centre, and in the same zone of it. */
static void count_alike(const struct topology *topology, const struct member *member,
                        const bool *chosen, uint32_t *ret_data_center, uint32_t *ret_zone)
{
    *ret_data_center = *ret_zone = 0;
    enum topology_side side = member_is_on(member, TOPOLOGY_NEXT) ? TOPOLOGY_NEXT : TOPOLOGY_NOW;
    for (uint32_t i = 0; i < topology->member_count; i++) {
        const struct member *other = &topology->members[i];
        if (!chosen[i] || other->places[side].data_center != member->places[side].data_center)
            continue;
        ++*ret_data_center;
        *ret_zone += strcmp(other->places[side].zone, member->places[side].zone) == 0;
    }
}

uint32_t topology_choose_voters(const struct topology *topology, uint32_t ret_voters[VOTERS_MAX])
{
    bool chosen[MEMBERS_MAX] = {false};
    uint32_t count = 0;
    for (; count < VOTERS_MAX; count++) {
        uint32_t best = MEMBERS_MAX;
        uint32_t best_cost[3] = {0};
        for (uint32_t i = 0; i < topology->member_count; i++) {
            const struct member *member = &topology->members[i];
            if (chosen[i] || member->status == MEMBER_REMOVED || member->gone)
                continue;
            /* Members that come or go are the last choice: they would be replaced soon. */
            bool passes = member->status == MEMBER_NORMAL;
            uint32_t alike[2];
            count_alike(topology, member, chosen, &alike[0], &alike[1]);
            uint32_t cost[3] = {!passes, alike[0] * MEMBERS_MAX + alike[1],
                                !voter_is(topology, member->number)};
            bool better = best == MEMBERS_MAX;
            for (uint32_t j = 0; j < 3 && !better; j++) {
                if (cost[j] > best_cost[j])
                    break;
                better = cost[j] < best_cost[j];
            }
            if (!better)
                continue;
            best = i;
            memcpy(best_cost, cost, sizeof cost);
        }
        if (best == MEMBERS_MAX || (best_cost[0] != 0 && count > 0))
            break;
        chosen[best] = true;
    }
    uint32_t written = 0;
    for (uint32_t i = 0; i < topology->member_count; i++) {
        if (chosen[i])
            ret_voters[written++] = topology->members[i].number;
    }
    return written;
}

/* -- what holds in every document
 * ---------------------------------------------------------------------- */

static bool place_valid(const struct topology *topology, const struct member_place *place)
{
    return place->data_center < topology->data_center_count && place->weight != 0 &&
           place->weight <= WEIGHT_MAX && word_valid_some(place->zone, ZONE_NAME_MAX);
}

static bool places_equal(const struct member *member)
{
    const struct member_place *now = &member->places[TOPOLOGY_NOW];
    const struct member_place *next = &member->places[TOPOLOGY_NEXT];
    return now->data_center == next->data_center && now->weight == next->weight &&
           strcmp(now->zone, next->zone) == 0;
}

static bool member_valid(const struct topology *topology, const struct member *member)
{
    if (member->number == MEMBER_NONE || member->number >= topology->number_next ||
        member->slot >= MEMBERS_MAX || member->status > MEMBER_REMOVED)
        return false;
    if (!place_valid(topology, &member->places[TOPOLOGY_NOW]) ||
        !place_valid(topology, &member->places[TOPOLOGY_NEXT]))
        return false;
    if (!word_valid_some(member->name, NODE_NAME_MAX) ||
        !word_valid_some(member->address, ADDRESS_MAX))
        return false;
    if (member->gone && member->status != MEMBER_LEAVING && member->status != MEMBER_REMOVED)
        return false;
    bool still = topology->change.state == CHANGE_NONE;
    bool settled = member->status == MEMBER_NORMAL || member->status == MEMBER_REMOVED;
    return !still || (settled && places_equal(member));
}

static bool members_valid(const struct topology *topology)
{
    uint64_t slots = 0;
    for (uint32_t i = 0; i < topology->member_count; i++) {
        const struct member *member = &topology->members[i];
        if (!member_valid(topology, member))
            return false;
        if (i > 0 && topology->members[i - 1].number >= member->number)
            return false;
        if (member->status == MEMBER_REMOVED)
            continue;
        /* The first living member of a name must be this one. */
        if (topology_member_by_name(topology, member->name) != member ||
            (slots >> member->slot & 1) != 0)
            return false;
        slots |= (uint64_t)1 << member->slot;
    }
    return true;
}

static bool owners_valid(const struct topology *topology, enum topology_side side,
                         uint32_t data_center)
{
    bool nobody = topology_member_count_in(topology, side, data_center) == 0;
    for (uint32_t partition = 0; partition < topology->partitions; partition++) {
        uint32_t owner = topology_owner(topology, side, data_center, partition);
        if (nobody && owner == MEMBER_NONE)
            continue;
        const struct member *member = topology_member(topology, owner);
        if (member == NULL || member->places[side].data_center != data_center ||
            !member_is_on(member, side))
            return false;
    }
    return true;
}

static bool change_valid(const struct topology *topology)
{
    const struct topology_change *change = &topology->change;
    if (change->state > CHANGE_RUNNING)
        return false;
    bool running = change->state == CHANGE_RUNNING;
    if (!running && (change->paused || change->aborting ||
                     topology->owners[TOPOLOGY_NEXT] != topology->owners[TOPOLOGY_NOW]))
        return false;
    for (uint32_t i = 0; i < topology->partitions; i++) {
        if (topology->phases[i] > PHASE_DONE || topology->phase_epochs[i] > topology->epoch ||
            (!running && topology->phases[i] != PHASE_WAITING))
            return false;
    }
    for (uint32_t i = 0; i < topology->replication_count; i++) {
        if (i > 0 &&
            topology->replication[i - 1].keyspace_id >= topology->replication[i].keyspace_id)
            return false;
    }
    return true;
}

static bool voters_valid(const struct topology *topology)
{
    if (topology->voter_count == 0 || topology->voter_count > VOTERS_MAX)
        return false;
    for (uint32_t i = 0; i < topology->voter_count; i++) {
        const struct member *member = topology_member(topology, topology->voters[i]);
        if (member == NULL || member->status == MEMBER_REMOVED ||
            (i > 0 && topology->voters[i - 1] >= topology->voters[i]))
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
        if (!word_valid_some(topology->data_centers[i], ZONE_NAME_MAX) ||
            word_index(topology->data_centers, topology->data_center_count,
                       topology->data_centers[i]) != i)
            return false;
    }
    if (!members_valid(topology) || !change_valid(topology) || !voters_valid(topology))
        return false;
    for (uint32_t i = 0; i < topology->data_center_count; i++) {
        /* A joining member alone has no ring on the side NEXT before the commit. */
        if (!owners_valid(topology, TOPOLOGY_NOW, i) ||
            (topology->change.state == CHANGE_RUNNING && !owners_valid(topology, TOPOLOGY_NEXT, i)))
            return false;
    }
    return true;
}

/* -- as bytes
 * ------------------------------------------------------------------------------------------ */

static void write_member(struct writer *writer, const struct member *member)
{
    writer_varint(writer, member->number);
    writer_u8(writer, member->slot);
    writer_u8(writer, (uint8_t)((unsigned)member->status | (member->gone ? 0x80u : 0u)));
    writer_bytes(writer, bytes_of(member->join_id, sizeof member->join_id));
    writer_sized_bytes(writer, bytes_of_string(member->name));
    writer_sized_bytes(writer, bytes_of_string(member->address));
    for (uint32_t side = 0; side < 2; side++) {
        writer_u8(writer, member->places[side].data_center);
        writer_varint(writer, member->places[side].weight);
        writer_sized_bytes(writer, bytes_of_string(member->places[side].zone));
    }
}

static void write_change(struct writer *writer, const struct topology *topology)
{
    const struct topology_change *change = &topology->change;
    writer_u8(writer, (uint8_t)change->state);
    writer_u8(writer, (uint8_t)((change->paused ? 1u : 0u) | (change->aborting ? 2u : 0u)));
    writer_varint(writer, change->began_epoch);
    writer_varint(writer, change->began_ms);
    writer_varint(writer, change->bytes_per_second);
    for (uint32_t i = 0; i < topology->partitions; i++) {
        writer_u8(writer, topology->phases[i]);
        writer_varint(writer, topology->phase_epochs[i]);
    }
}

struct bytes topology_encode(struct arena *arena, const struct topology *topology)
{
    struct writer writer;
    size_t owner_count = (size_t)topology->data_center_count * topology->partitions;
    writer_init(&writer, arena,
                256 + 128 * (size_t)topology->member_count + 4 * owner_count +
                    4 * topology->partitions);
    writer_u8(&writer, FORMAT_VERSION);
    writer_bytes(&writer, bytes_of(topology->cluster_id, sizeof topology->cluster_id));
    writer_varint(&writer, topology->epoch);
    writer_varint(&writer, topology->partitions);
    writer_varint(&writer, topology->number_next);
    writer_varint(&writer, topology->data_center_count);
    for (uint32_t i = 0; i < topology->data_center_count; i++)
        writer_sized_bytes(&writer, bytes_of_string(topology->data_centers[i]));
    writer_varint(&writer, topology->member_count);
    for (uint32_t i = 0; i < topology->member_count; i++)
        write_member(&writer, &topology->members[i]);
    write_change(&writer, topology);
    writer_varint(&writer, topology->voter_count);
    for (uint32_t i = 0; i < topology->voter_count; i++)
        writer_varint(&writer, topology->voters[i]);
    writer_varint(&writer, topology->replication_count);
    for (uint32_t i = 0; i < topology->replication_count; i++) {
        writer_u32(&writer, topology->replication[i].keyspace_id);
        writer_bytes(&writer,
                     bytes_of(topology->replication[i].n, sizeof topology->replication[i].n));
    }
    uint32_t sides = topology->change.state == CHANGE_RUNNING ? 2 : 1;
    for (uint32_t side = 0; side < sides; side++) {
        for (size_t i = 0; i < owner_count; i++)
            writer_varint(&writer, topology->owners[side][i]);
    }
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
    ret_member->slot = reader_u8(reader);
    uint8_t status = reader_u8(reader);
    ret_member->status = (enum member_status)(status & 0x7fu);
    ret_member->gone = (status & 0x80u) != 0;
    struct bytes join_id = reader_bytes(reader, sizeof ret_member->join_id);
    if (join_id.size == sizeof ret_member->join_id)
        memcpy(ret_member->join_id, join_id.data, join_id.size);
    read_word(reader, ret_member->name, NODE_NAME_MAX);
    read_word(reader, ret_member->address, ADDRESS_MAX);
    for (uint32_t side = 0; side < 2; side++) {
        ret_member->places[side].data_center = reader_u8(reader);
        ret_member->places[side].weight = (uint16_t)reader_varint_max(reader, WEIGHT_MAX);
        read_word(reader, ret_member->places[side].zone, ZONE_NAME_MAX);
    }
}

static void read_change(struct reader *reader, struct topology *topology)
{
    struct topology_change *change = &topology->change;
    change->state = (enum change_state)reader_u8(reader);
    uint8_t flags = reader_u8(reader);
    change->paused = (flags & 1u) != 0;
    change->aborting = (flags & 2u) != 0;
    if (flags > 3)
        reader->failed = true;
    change->began_epoch = reader_varint(reader);
    change->began_ms = reader_varint(reader);
    change->bytes_per_second = reader_varint(reader);
    for (uint32_t i = 0; i < topology->partitions; i++) {
        topology->phases[i] = reader_u8(reader);
        topology->phase_epochs[i] = reader_varint(reader);
    }
}

static void read_rings(struct arena *arena, struct reader *reader, struct topology *topology)
{
    size_t owner_count = (size_t)topology->data_center_count * topology->partitions;
    uint32_t sides = topology->change.state == CHANGE_RUNNING ? 2 : 1;
    for (uint32_t side = 0; side < sides; side++) {
        topology->owners[side] = ARENA_NEW(arena, uint32_t, owner_count);
        for (size_t i = 0; i < owner_count; i++)
            topology->owners[side][i] = (uint32_t)reader_varint_max(reader, UINT32_MAX);
    }
    if (sides == 1)
        topology->owners[TOPOLOGY_NEXT] = topology->owners[TOPOLOGY_NOW];
}

static void read_lists(struct arena *arena, struct reader *reader, struct topology *topology)
{
    topology->voter_count = (uint32_t)reader_varint_max(reader, VOTERS_MAX);
    for (uint32_t i = 0; i < topology->voter_count; i++)
        topology->voters[i] = (uint32_t)reader_varint_max(reader, UINT32_MAX);
    topology->replication_count = (uint32_t)reader_varint_max(reader, KEYSPACES_MAX);
    topology->replication =
        ARENA_NEW(arena, struct topology_replication, topology->replication_count);
    for (uint32_t i = 0; i < topology->replication_count; i++) {
        struct topology_replication *replication = &topology->replication[i];
        replication->keyspace_id = reader_u32(reader);
        struct bytes n = reader_bytes(reader, sizeof replication->n);
        if (n.size == sizeof replication->n)
            memcpy(replication->n, n.data, n.size);
    }
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
    topology.number_next = (uint32_t)reader_varint_max(&reader, UINT32_MAX);
    topology.data_center_count = (uint32_t)reader_varint_max(&reader, DATA_CENTERS_MAX);
    topology.data_centers =
        arena_alloc_zero(arena, topology.data_center_count * sizeof *topology.data_centers);
    for (uint32_t i = 0; i < topology.data_center_count && !reader.failed; i++)
        read_word(&reader, topology.data_centers[i], ZONE_NAME_MAX);
    topology.member_count = (uint32_t)reader_varint_max(&reader, MEMBERS_MAX);
    topology.members = ARENA_NEW(arena, struct member, topology.member_count);
    for (uint32_t i = 0; i < topology.member_count && !reader.failed; i++)
        read_member(&reader, &topology.members[i]);
    topology.phases = ARENA_NEW(arena, uint8_t, topology.partitions);
    topology.phase_epochs = ARENA_NEW(arena, uint64_t, topology.partitions);
    read_change(&reader, &topology);
    read_lists(arena, &reader, &topology);
    read_rings(arena, &reader, &topology);
    if (!reader_done(&reader) || !topology_valid(&topology))
        return ERR_CORRUPT;
    *ret_topology = topology;
    return OK;
}
