// link: coterie_model
/* Any bytes: refused, or a valid document whose canonical bytes they are (those of the older format
 * are written in the newer one). What was decoded can be worked on as a node would: looked up,
 * planned, stepped, aborted. */
#include "tests/fuzz/fuzz.h"

#include "base/codec.h"
#include "base/prng.h"
#include "model/topology_change.h"

#include <stdio.h>
#include <stdlib.h>

#define FORMAT_ONE_SIDE 1u

static struct keyspace keyspace;
static struct keyspace_map keyspaces = {.count = 1, .keyspaces = &keyspace};

static bool operate(struct arena *arena, struct topology *topology,
                    const struct topology_operation *operation)
{
    uint32_t number = 0;
    const char *why = NULL;
    struct topology after;
    if (topology_operate(arena, topology, &keyspaces, operation, &after, &number, &why) != OK) {
        CHECK(why != NULL);
        return false;
    }
    *topology = after;
    return true;
}

/* Everybody has heard of everything and filled it. */
static bool step(struct arena *arena, struct topology *topology, uint32_t announced_max)
{
    struct topology_progress *progress = ARENA_NEW(arena, struct topology_progress, 1);
    progress->announced_max = announced_max;
    memset(progress->filled, 0xff, sizeof progress->filled);
    for (uint32_t i = 0; i < MEMBERS_MAX; i++)
        progress->epochs[i] = topology->epoch;
    return topology_step(arena, topology, &keyspaces, progress, topology);
}

static void work_on(struct arena *arena, struct topology *topology)
{
    /* The last epoch that there can be, and the last number, have no next one. */
    if (topology->epoch > UINT64_MAX - 100 || topology->number_next > UINT32_MAX - 100)
        return;
    struct plan plan;
    plan_make(arena, topology, &keyspaces, NULL, &plan);
    struct topology_operation join = {
        .kind = TOPOLOGY_JOIN, .join_id = {1}, .name = "new", .address = "new:1"};
    operate(arena, topology, &join);
    step(arena, topology, 4);
    operate(arena, topology, &(struct topology_operation){.kind = TOPOLOGY_ABORT});
    step(arena, topology, 4);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    arena_init(&arena, NULL, 0);
    keyspace = keyspace_builtin();
    struct topology topology;
    if (topology_decode(&arena, bytes_of(data, size), &topology) == OK) {
        CHECK(topology_valid(&topology));
        struct bytes again = topology_encode(&arena, &topology);
        if (data[0] != FORMAT_ONE_SIDE)
            CHECK(bytes_equal(again, bytes_of(data, size)));
        struct topology same;
        CHECK(topology_decode(&arena, again, &same) == OK);
        for (uint32_t i = 0; i < topology.member_count; i++)
            CHECK(topology_member(&topology, topology.members[i].number) == &topology.members[i]);
        work_on(&arena, &topology);
    }
    arena_deinit(&arena);
    return 0;
}

static void change(struct arena *arena, struct topology *topology, struct prng *prng)
{
    struct topology_operation join = {
        .kind = TOPOLOGY_JOIN, .join_id = {7}, .name = "n9", .address = "n9:1", .zone = "r9"};
    if (prng_chance(prng, 0.3))
        memcpy(join.data_center, "far", 4);
    operate(arena, topology, &join);
    operate(arena, topology,
            &(struct topology_operation){
                .kind = TOPOLOGY_LEAVE, .member = 1, .gone = prng_chance(prng, 0.5)});
    operate(arena, topology,
            &(struct topology_operation){.kind = TOPOLOGY_PLACE, .member = 2, .weight = 2});
    operate(arena, topology,
            &(struct topology_operation){
                .kind = TOPOLOGY_REPLICATE, .keyspace_id = keyspace.id, .n = {2}});
    if (prng_chance(prng, 0.2))
        return;
    operate(arena, topology,
            &(struct topology_operation){.kind = TOPOLOGY_COMMIT, .force = true, .wall_ms = 5});
    for (uint64_t left = prng_below(prng, 12); left > 0; left--)
        step(arena, topology, 3);
    if (prng_chance(prng, 0.4))
        operate(arena, topology, &(struct topology_operation){.kind = TOPOLOGY_ABORT});
    if (prng_chance(prng, 0.3))
        operate(arena, topology, &(struct topology_operation){.kind = TOPOLOGY_PAUSE});
    for (uint64_t left = prng_below(prng, 6); left > 0; left--)
        step(arena, topology, 3);
}

static struct bytes encode_one_side(struct arena *arena, const struct topology *topology)
{
    struct writer writer;
    writer_init(&writer, arena, 1024);
    writer_u8(&writer, FORMAT_ONE_SIDE);
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
        writer_u8(&writer, member->places[0].data_center);
        writer_varint(&writer, member->places[0].weight);
        writer_sized_bytes(&writer, bytes_of_string(member->name));
        writer_sized_bytes(&writer, bytes_of_string(member->address));
        writer_sized_bytes(&writer, bytes_of_string(member->places[0].zone));
    }
    for (uint32_t i = 0; i < topology->data_center_count * topology->partitions; i++)
        writer_varint(&writer, topology->owners[0][i]);
    return writer_result(&writer);
}

static size_t document_make(uint64_t index, uint8_t *ret, size_t size_max)
{
    struct arena arena;
    struct prng prng;
    arena_init(&arena, NULL, 0);
    prng_init(&prng, index, 1);
    keyspace = keyspace_builtin();
    struct topology_seed seeds[5] = {0};
    uint64_t count = 3 + prng_below(&prng, 3);
    for (uint64_t i = 0; i < count; i++) {
        snprintf(seeds[i].name, sizeof seeds[i].name, "n%u", (unsigned)i);
        snprintf(seeds[i].address, sizeof seeds[i].address, "n%u:1", (unsigned)i);
        snprintf(seeds[i].data_center, sizeof seeds[i].data_center, "d%u",
                 (unsigned)prng_below(&prng, 2));
        snprintf(seeds[i].zone, sizeof seeds[i].zone, "r%u", (unsigned)prng_below(&prng, 3));
    }
    struct topology topology;
    const char *why = NULL;
    CHECK(topology_initial(&arena, seeds, count, 8, &topology, &why) == OK);
    bool one_side = prng_chance(&prng, 0.2);
    if (!one_side && prng_chance(&prng, 0.9))
        change(&arena, &topology, &prng);
    struct bytes bytes =
        one_side ? encode_one_side(&arena, &topology) : topology_encode(&arena, &topology);
    CHECK_U64(bytes.size, <=, size_max);
    memcpy(ret, bytes.data, bytes.size);
    size_t size = bytes.size;
    arena_deinit(&arena);
    return size;
}

/* Dealing rings takes most of a round, so there are only so many documents, each made once. */
size_t fuzz_seed(uint64_t index, uint8_t *ret, size_t size_max)
{
    static struct {
        size_t size;
        uint8_t *bytes;
    } documents[1024];
    size_t i = index % ARRAY_COUNT(documents);
    if (documents[i].bytes == NULL) {
        documents[i].size = document_make(i, ret, size_max);
        documents[i].bytes = malloc(documents[i].size);
        CHECK(documents[i].bytes != NULL);
        memcpy(documents[i].bytes, ret, documents[i].size);
    }
    memcpy(ret, documents[i].bytes, documents[i].size);
    return documents[i].size;
}
