#include "base/codec.h"
#include "model/hash.h"
#include "model/topology.h"

#include <string.h>

#define FORMAT_VERSION 2u
/* One side, no change: numbers as given, slots in their order, voters chosen. */
#define FORMAT_VERSION_ONE_SIDE 1u
/* In one byte with the member's status. */
#define MEMBER_GONE 0x80u
#define MEMBER_HELD 0x40u

#define DIGEST_HASH_BITS 56u
#define DIGEST_SEED      0x746F706F6C6F6779u

static void write_member(struct writer *writer, const struct member *member)
{
    writer_varint(writer, member->number);
    writer_u8(writer, member->slot);
    writer_u8(writer, (uint8_t)((unsigned)member->status | (member->gone ? MEMBER_GONE : 0u) |
                                (member->held ? MEMBER_HELD : 0u)));
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
    writer_varint(writer, change->abort_epoch);
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

uint64_t topology_digest(struct arena *arena, const struct topology *topology)
{
    uint64_t hash = hash_bytes(topology_encode(arena, topology), DIGEST_SEED);
    return (uint64_t)FORMAT_VERSION << DIGEST_HASH_BITS | hash >> (64 - DIGEST_HASH_BITS);
}

bool topology_digests_differ(uint64_t a, uint64_t b)
{
    return a >> DIGEST_HASH_BITS == b >> DIGEST_HASH_BITS && a != b;
}

static enum member_status status_of(struct reader *reader, uint8_t status)
{
    if (status > MEMBER_REMOVED)
        reader->failed = true;
    return status > MEMBER_REMOVED ? MEMBER_REMOVED : (enum member_status)status;
}

static void read_member(struct reader *reader, struct member *ret_member)
{
    ret_member->number = (uint32_t)reader_varint_max(reader, UINT32_MAX);
    ret_member->slot = reader_u8(reader);
    uint8_t status = reader_u8(reader);
    ret_member->status = status_of(reader, status & (MEMBER_HELD - 1));
    ret_member->gone = (status & MEMBER_GONE) != 0;
    ret_member->held = (status & MEMBER_HELD) != 0;
    struct bytes join_id = reader_bytes(reader, sizeof ret_member->join_id);
    if (join_id.size == sizeof ret_member->join_id)
        memcpy(ret_member->join_id, join_id.data, join_id.size);
    reader_word(reader, ret_member->name, NODE_NAME_MAX);
    reader_word(reader, ret_member->address, ADDRESS_MAX);
    for (uint32_t side = 0; side < 2; side++) {
        ret_member->places[side].data_center = reader_u8(reader);
        ret_member->places[side].weight = (uint16_t)reader_varint_max(reader, WEIGHT_MAX);
        reader_word(reader, ret_member->places[side].zone, ZONE_NAME_MAX);
    }
}

static void read_member_one_side(struct reader *reader, struct member *ret_member)
{
    struct member_place *place = &ret_member->places[TOPOLOGY_NOW];
    ret_member->number = (uint32_t)reader_varint_max(reader, UINT32_MAX);
    ret_member->status = status_of(reader, reader_u8(reader));
    place->data_center = reader_u8(reader);
    place->weight = (uint16_t)reader_varint_max(reader, WEIGHT_MAX);
    reader_word(reader, ret_member->name, NODE_NAME_MAX);
    reader_word(reader, ret_member->address, ADDRESS_MAX);
    reader_word(reader, place->zone, ZONE_NAME_MAX);
    ret_member->places[TOPOLOGY_NEXT] = *place;
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
    change->abort_epoch = reader_varint(reader);
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

/* What the older format leaves to be concluded. */
static void complete_one_side(struct topology *topology)
{
    uint32_t greatest = 0;
    for (uint32_t i = 0; i < topology->member_count; i++) {
        struct member *member = &topology->members[i];
        member->slot = (uint8_t)i;
        greatest = member->number > greatest ? member->number : greatest;
    }
    topology->number_next = greatest == UINT32_MAX ? UINT32_MAX : greatest + 1;
    topology->voter_count = topology_choose_voters(topology, topology->voters);
}

static void read_head(struct arena *arena, struct reader *reader, bool one_side,
                      struct topology *topology)
{
    struct bytes cluster_id = reader_bytes(reader, sizeof topology->cluster_id);
    if (cluster_id.size == sizeof topology->cluster_id)
        memcpy(topology->cluster_id, cluster_id.data, cluster_id.size);
    topology->epoch = reader_varint(reader);
    topology->partitions = (uint32_t)reader_varint_max(reader, PARTITIONS_MAX);
    if (!one_side)
        topology->number_next = (uint32_t)reader_varint_max(reader, UINT32_MAX);
    topology->data_center_count = (uint32_t)reader_varint_max(reader, DATA_CENTERS_MAX);
    topology->data_centers =
        arena_alloc_zero(arena, topology->data_center_count * sizeof *topology->data_centers);
    for (uint32_t i = 0; i < topology->data_center_count && !reader->failed; i++)
        reader_word(reader, topology->data_centers[i], ZONE_NAME_MAX);
}

enum err topology_decode(struct arena *arena, struct bytes bytes, struct topology *ret_topology)
{
    struct reader reader = reader_of(bytes);
    uint8_t format = bytes.size > 0 ? reader_u8(&reader) : FORMAT_VERSION;
    bool one_side = format == FORMAT_VERSION_ONE_SIDE;
    if (format != FORMAT_VERSION && !one_side)
        return ERR_UNSUPPORTED;
    struct topology topology = {0};
    read_head(arena, &reader, one_side, &topology);
    topology.member_count = (uint32_t)reader_varint_max(&reader, MEMBERS_MAX);
    topology.members = ARENA_NEW(arena, struct member, topology.member_count);
    for (uint32_t i = 0; i < topology.member_count && !reader.failed; i++) {
        if (one_side)
            read_member_one_side(&reader, &topology.members[i]);
        else
            read_member(&reader, &topology.members[i]);
    }
    topology.phases = ARENA_NEW(arena, uint8_t, topology.partitions);
    topology.phase_epochs = ARENA_NEW(arena, uint64_t, topology.partitions);
    if (!one_side) {
        read_change(&reader, &topology);
        read_lists(arena, &reader, &topology);
    }
    read_rings(arena, &reader, &topology);
    if (!reader_done(&reader))
        return ERR_CORRUPT;
    if (one_side)
        complete_one_side(&topology);
    if (!topology_valid(&topology))
        return ERR_CORRUPT;
    *ret_topology = topology;
    return OK;
}
