// link: coterie_model
/* The topology document: the same from any order of the list, canonical on the wire, and never
 * believed unread (DESIGN.md section 4, 10). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/codec.h"
#include "base/prng.h"
#include "model/topology.h"

#include <stdio.h>
#include <stdlib.h>

#define SEED 77u

static struct topology_seed seed_of(const char *name, const char *address, const char *data_center,
                                    const char *zone, uint16_t weight)
{
    struct topology_seed seed = {.weight = weight};
    snprintf(seed.name, sizeof seed.name, "%s", name);
    snprintf(seed.address, sizeof seed.address, "%s", address);
    snprintf(seed.data_center, sizeof seed.data_center, "%s", data_center);
    snprintf(seed.zone, sizeof seed.zone, "%s", zone);
    return seed;
}

static uint32_t seeds_fill(struct topology_seed *seeds)
{
    uint32_t count = 0;
    seeds[count++] = seed_of("delta", "10.0.0.4:7000", "west", "r1", 1);
    seeds[count++] = seed_of("alpha", "10.0.0.1:7000", "west", "r2", 3);
    seeds[count++] = seed_of("echo", "10.0.0.5:7000", "east", "r1", 1);
    seeds[count++] = seed_of("bravo", "10.0.0.2:7000", "east", "", 0);
    seeds[count++] = seed_of("charlie", "10.0.0.3:7000", "", "r2", 2);
    return count;
}

static struct topology initial(struct arena *arena, const struct topology_seed *seeds, size_t count,
                               uint32_t partitions)
{
    struct topology topology;
    const char *why = "untouched";
    assert_int_equal(topology_initial(arena, seeds, count, partitions, &topology, &why), OK);
    assert_string_equal(why, "untouched");
    assert_true(topology_valid(&topology));
    return topology;
}

static void test_initial_document(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct topology_seed seeds[8];
    uint32_t count = seeds_fill(seeds);
    struct topology topology = initial(&arena, seeds, count, 64);
    assert_int_equal(topology.epoch, 1);
    assert_int_equal(topology.partitions, 64);
    assert_int_equal(topology.data_center_count, 3);
    assert_string_equal(topology.data_centers[0], "default");
    assert_string_equal(topology.data_centers[1], "east");
    assert_string_equal(topology.data_centers[2], "west");
    static const char *const names[] = {"alpha", "bravo", "charlie", "delta", "echo"};
    for (uint32_t i = 0; i < 5; i++) {
        const struct member *member = topology_member(&topology, i + 1);
        assert_non_null(member);
        assert_string_equal(member->name, names[i]);
        assert_int_equal(member->status, MEMBER_NORMAL);
        assert_ptr_equal(topology_member_by_name(&topology, names[i]), member);
    }
    assert_string_equal(topology.members[1].places[0].zone, "default");
    assert_int_equal(topology.members[1].places[0].weight, 1);
    assert_int_equal(topology.members[0].places[1].weight, 3);
    assert_string_equal(topology.members[0].address, "10.0.0.1:7000");
    assert_null(topology_member(&topology, 0));
    assert_null(topology_member(&topology, 6));
    assert_null(topology_member_by_name(&topology, "foxtrot"));
    assert_int_equal(topology_member_count_in(&topology, TOPOLOGY_NOW, 0), 1);
    assert_int_equal(topology_member_count_in(&topology, TOPOLOGY_NOW, 1), 2);
    for (uint32_t p = 0; p < 64; p++) {
        assert_int_equal(topology_owner(&topology, TOPOLOGY_NOW, 0, p), 3);
        uint32_t owner = topology_owner(&topology, TOPOLOGY_NOW, 2, p);
        assert_true(owner == 1 || owner == 4);
    }
    arena_deinit(&arena);
}

/* Every node reads its own flag: the order of the list must not matter, all the rest must. */
static void test_same_list_same_document(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct topology_seed seeds[8];
    uint32_t count = seeds_fill(seeds);
    struct topology first = initial(&arena, seeds, count, 64);
    struct bytes expect = topology_encode(&arena, &first);
    struct prng prng;
    prng_init(&prng, SEED, 1);
    for (int round = 0; round < 50; round++) {
        for (uint32_t i = count - 1; i > 0; i--) {
            uint32_t k = (uint32_t)prng_below(&prng, i + 1);
            struct topology_seed seed = seeds[i];
            seeds[i] = seeds[k];
            seeds[k] = seed;
        }
        struct topology again = initial(&arena, seeds, count, 64);
        assert_true(bytes_equal(topology_encode(&arena, &again), expect));
    }
    for (int change = 0; change < 6; change++) {
        count = seeds_fill(seeds);
        if (change == 0)
            seeds[2].name[0] = 'f';
        else if (change == 1)
            seeds[2].address[0] = '9';
        else if (change == 2)
            seeds[2].weight = 2;
        else if (change == 3)
            seeds[2].zone[0] = 's';
        else if (change == 4)
            seeds[2].data_center[0] = 'f';
        struct topology other = initial(&arena, seeds, count, change == 5 ? 128 : 64);
        assert_memory_not_equal(other.cluster_id, first.cluster_id, 16);
    }
    arena_deinit(&arena);
}

static void check_refused(const struct topology_seed *seeds, size_t count, uint32_t partitions,
                          const char *word)
{
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct topology topology = {.epoch = 999};
    const char *why = NULL;
    assert_int_equal(topology_initial(&arena, seeds, count, partitions, &topology, &why),
                     ERR_INVALID);
    assert_non_null(why);
    if (strstr(why, word) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", why, word);
    assert_int_equal(topology.epoch, 999);
    arena_deinit(&arena);
}

static void test_refused_lists(void **state)
{
    (void)state;
    static struct topology_seed seeds[MEMBERS_MAX + 1];
    uint32_t count = seeds_fill(seeds);
    check_refused(seeds, count, 0, "power of two");
    check_refused(seeds, count, 4, "power of two");
    check_refused(seeds, count, 48, "power of two");
    check_refused(seeds, count, 2048, "power of two");
    check_refused(seeds, 0, 64, "no member");
    seeds[3].name[0] = '\0';
    check_refused(seeds, count, 64, "name is empty");
    seeds_fill(seeds);
    seeds[3].name[1] = ' ';
    check_refused(seeds, count, 64, "name must be");
    seeds_fill(seeds);
    memset(seeds[3].name, 'x', sizeof seeds[3].name); /* no closing NUL */
    check_refused(seeds, count, 64, "name must be");
    seeds_fill(seeds);
    memcpy(seeds[3].name, seeds[0].name, sizeof seeds[3].name);
    check_refused(seeds, count, 64, "name is given twice");
    seeds_fill(seeds);
    memcpy(seeds[4].address, seeds[0].address, sizeof seeds[4].address);
    check_refused(seeds, count, 64, "address is given twice");
    seeds_fill(seeds);
    seeds[1].address[0] = '\0';
    check_refused(seeds, count, 64, "address is empty");
    seeds_fill(seeds);
    seeds[1].address[3] = '\n';
    check_refused(seeds, count, 64, "address must be");
    seeds_fill(seeds);
    seeds[1].data_center[0] = '\x7f';
    check_refused(seeds, count, 64, "data centre must be");
    seeds_fill(seeds);
    seeds[1].zone[0] = (char)0xc3;
    check_refused(seeds, count, 64, "zone must be");
    seeds_fill(seeds);
    seeds[1].weight = WEIGHT_MAX + 1;
    check_refused(seeds, count, 64, "weight");
    for (uint32_t i = 0; i <= MEMBERS_MAX; i++) {
        char name[16];
        snprintf(name, sizeof name, "n%u", i);
        seeds[i] = seed_of(name, name, i < 9 ? name : "", "", 1);
    }
    check_refused(seeds, MEMBERS_MAX + 1, 64, "more than 64 members");
    check_refused(seeds, 9, 64, "more than 8 data centres");
    struct arena arena;
    arena_init(&arena, NULL, 0);
    initial(&arena, seeds, 8, 64);
    arena_deinit(&arena);
}

static void test_round_trip(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct topology_seed seeds[8];
    uint32_t count = seeds_fill(seeds);
    struct topology topology = initial(&arena, seeds, count, 32);
    topology.epoch = 1234567;
    topology.members[4].number = 4000000000u;
    topology.members[4].status = MEMBER_LEAVING;
    topology.members[4].gone = true;
    topology.members[2].places[TOPOLOGY_NEXT].weight = 17;
    topology.number_next = 4000000001u;
    topology.change = (struct topology_change){.state = CHANGE_RUNNING,
                                               .paused = true,
                                               .aborting = true,
                                               .began_epoch = 1234000,
                                               .abort_epoch = 1234100,
                                               .began_ms = 99,
                                               .bytes_per_second = 1u << 20};
    uint32_t next[3 * 32];
    for (uint32_t i = 0; i < 3 * 32; i++) {
        bool echo = topology.owners[TOPOLOGY_NOW][i] == 5;
        topology.owners[TOPOLOGY_NOW][i] = echo ? 4000000000u : topology.owners[TOPOLOGY_NOW][i];
        next[i] = echo ? 2 : topology.owners[TOPOLOGY_NOW][i];
    }
    topology.owners[TOPOLOGY_NEXT] = next;
    topology.phases[7] = PHASE_COPIED;
    topology.phase_epochs[7] = 1234567;
    topology.voter_count = 2;
    topology.voters[0] = 3;
    topology.voters[1] = 4000000000u;
    struct topology_replication replication[1] = {{.keyspace_id = 77, .n = {{3, 1}, {5, 0}}}};
    topology.replication = replication;
    topology.replication_count = 1;
    assert_true(topology_valid(&topology));
    struct bytes bytes = topology_encode(&arena, &topology);
    struct topology decoded;
    assert_int_equal(topology_decode(&arena, bytes, &decoded), OK);
    assert_true(bytes_equal(topology_encode(&arena, &decoded), bytes));
    assert_int_equal(decoded.epoch, 1234567);
    assert_string_equal(topology_member(&decoded, 4000000000u)->name, "echo");
    assert_memory_equal(decoded.owners[0], topology.owners[0], 3 * 32 * sizeof(uint32_t));
    assert_memory_equal(decoded.owners[1], next, sizeof next);
    assert_true(decoded.change.paused && decoded.change.aborting);
    assert_int_equal(decoded.change.began_epoch, 1234000);
    assert_int_equal(decoded.change.abort_epoch, 1234100);
    assert_int_equal(decoded.phases[7], PHASE_COPIED);
    assert_int_equal(decoded.replication[0].n[1][0], 5);
    assert_true(topology_member(&decoded, 4000000000u)->gone);
    struct topology copy;
    topology_copy(&arena, &decoded, &copy);
    assert_true(bytes_equal(topology_encode(&arena, &copy), bytes));
    assert_memory_equal(decoded.cluster_id, topology.cluster_id, 16);
    arena_deinit(&arena);
}

/* Bytes of format 1, as an older release keeps them: one side, no slots, no voters. */
static struct bytes encode_one_side(struct arena *arena, const struct topology *topology)
{
    struct writer writer;
    writer_init(&writer, arena, 1024);
    writer_u8(&writer, 1);
    writer_bytes(&writer, bytes_of(topology->cluster_id, sizeof topology->cluster_id));
    writer_varint(&writer, topology->epoch);
    writer_varint(&writer, topology->partitions);
    writer_varint(&writer, topology->data_center_count);
    for (uint32_t i = 0; i < topology->data_center_count; i++)
        writer_sized_bytes(&writer, bytes_of_string(topology->data_centers[i]));
    writer_varint(&writer, topology->member_count);
    for (uint32_t i = 0; i < topology->member_count; i++) {
        const struct member *member = &topology->members[i];
        const struct member_place *place = &member->places[TOPOLOGY_NOW];
        writer_varint(&writer, member->number);
        writer_u8(&writer, (uint8_t)member->status);
        writer_u8(&writer, place->data_center);
        writer_varint(&writer, place->weight);
        writer_sized_bytes(&writer, bytes_of_string(member->name));
        writer_sized_bytes(&writer, bytes_of_string(member->address));
        writer_sized_bytes(&writer, bytes_of_string(place->zone));
    }
    for (uint32_t i = 0; i < topology->data_center_count * topology->partitions; i++)
        writer_varint(&writer, topology->owners[TOPOLOGY_NOW][i]);
    return writer_result(&writer);
}

/* A directory of an older release opens: what the format does not say is concluded, the same on
 * every node, for epoch 1 as topology_initial has it. */
static void test_older_format(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct topology_seed seeds[8];
    uint32_t count = seeds_fill(seeds);
    struct topology topology = initial(&arena, seeds, count, 32);
    struct bytes old = encode_one_side(&arena, &topology);
    struct topology decoded;
    assert_int_equal(topology_decode(&arena, old, &decoded), OK);
    assert_true(bytes_equal(topology_encode(&arena, &decoded), topology_encode(&arena, &topology)));
    topology.members[4].number = 4000000000u;
    for (uint32_t i = 0; i < 3 * 32; i++) {
        if (topology.owners[TOPOLOGY_NOW][i] == 5)
            topology.owners[TOPOLOGY_NOW][i] = 4000000000u;
    }
    old = encode_one_side(&arena, &topology);
    assert_int_equal(topology_decode(&arena, old, &decoded), OK);
    assert_int_equal(decoded.number_next, 4000000001u);
    assert_int_equal(topology_member(&decoded, 4000000000u)->slot, 4);
    assert_int_equal(decoded.voter_count, 5);
    assert_true(decoded.owners[TOPOLOGY_NOW] == decoded.owners[TOPOLOGY_NEXT]);
    /* In no order at all, and a member that was on its way: never written by that release. */
    topology.members[3].number = 4000000000u;
    old = encode_one_side(&arena, &topology);
    assert_int_equal(topology_decode(&arena, old, &decoded), ERR_CORRUPT);
    topology.members[3].number = 4;
    topology.members[3].status = MEMBER_JOINING;
    old = encode_one_side(&arena, &topology);
    assert_int_equal(topology_decode(&arena, old, &decoded), ERR_CORRUPT);
    arena_deinit(&arena);
}

/* Anything may arrive: it is refused, or it is a valid document whose bytes these are. */
static void check_hostile(const uint8_t *data, size_t size)
{
    struct arena arena;
    arena_init(&arena, NULL, 0);
    uint8_t *copy = malloc(size == 0 ? 1 : size); /* exactly sized, for the sanitizer */
    assert_non_null(copy);
    if (size > 0)
        memcpy(copy, data, size);
    struct topology topology;
    enum err err = topology_decode(&arena, bytes_of(copy, size), &topology);
    if (err == OK) {
        assert_true(topology_valid(&topology));
        if (copy[0] != 1) /* the older format is written in the new one */
            assert_true(bytes_equal(topology_encode(&arena, &topology), bytes_of(copy, size)));
    } else {
        assert_true(err == ERR_CORRUPT || err == ERR_UNSUPPORTED);
    }
    free(copy);
    arena_deinit(&arena);
}

static void test_hostile_bytes(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct topology_seed seeds[8];
    uint32_t count = seeds_fill(seeds);
    struct topology topology = initial(&arena, seeds, count, 16);
    struct bytes bytes = topology_encode(&arena, &topology);
    uint8_t *copy = arena_alloc(&arena, bytes.size + 1);
    memcpy(copy, bytes.data, bytes.size);
    struct topology decoded;
    for (size_t size = 0; size < bytes.size; size++) {
        assert_int_equal(topology_decode(&arena, bytes_of(copy, size), &decoded), ERR_CORRUPT);
        check_hostile(copy, size);
    }
    copy[bytes.size] = 0;
    assert_int_equal(topology_decode(&arena, bytes_of(copy, bytes.size + 1), &decoded),
                     ERR_CORRUPT);
    copy[0] = 3;
    assert_int_equal(topology_decode(&arena, bytes_of(copy, bytes.size), &decoded),
                     ERR_UNSUPPORTED);
    copy[0] = bytes.data[0];
    for (size_t bit = 0; bit < 8 * bytes.size; bit++) {
        copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
        check_hostile(copy, bytes.size);
        copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    struct prng prng;
    prng_init(&prng, SEED, 2);
    for (int round = 0; round < 20000; round++) {
        memcpy(copy, bytes.data, bytes.size);
        for (uint64_t k = prng_between(&prng, 1, 4); k > 0; k--)
            copy[prng_below(&prng, bytes.size)] = (uint8_t)prng_u64(&prng);
        check_hostile(copy, (size_t)prng_below(&prng, bytes.size + 1));
        check_hostile(copy, bytes.size);
    }
    arena_deinit(&arena);
}

/* Each invariant, broken alone. */
static void test_invalid_documents(void **state)
{
    (void)state;
    for (int broken = 0; broken < 26; broken++) {
        struct arena arena;
        arena_init(&arena, NULL, 0);
        struct topology_seed seeds[8];
        uint32_t count = seeds_fill(seeds);
        struct topology topology = initial(&arena, seeds, count, 16);
        struct member *members = topology.members;
        switch (broken) {
        case 0:
            topology.epoch = 0;
            break;
        case 1:
            topology.partitions = 12;
            break;
        case 2:
            topology.member_count = 0;
            break;
        case 3:
            topology.member_count = MEMBERS_MAX + 1;
            break;
        case 4:
            topology.data_center_count = 0;
            break;
        case 5:
            topology.data_center_count = DATA_CENTERS_MAX + 1;
            break;
        case 6:
            memcpy(topology.data_centers[1], "west", 5);
            break;
        case 7:
            topology.data_centers[0][0] = '\0';
            break;
        case 8:
            members[0].number = 0;
            break;
        case 9:
            members[1].number = 1;
            break;
        case 10:
            members[2].places[0].data_center = 3;
            break;
        case 11:
            members[2].places[1].weight = 0;
            break;
        case 12:
            members[2].places[0].weight = WEIGHT_MAX + 1;
            break;
        case 13:
            members[2].name[0] = '\0';
            break;
        case 14:
            members[2].address[0] = ' ';
            break;
        case 15:
            members[2].places[0].zone[0] = '\0';
            break;
        case 16:
            memcpy(members[3].name, members[2].name, sizeof members[3].name);
            break;
        case 17:
            topology.owners[0][5] = 77;
            break; /* nobody's number */
        case 18:
            topology.owners[0][5] = 1;
            break; /* of another data centre */
        case 19:
            members[2].slot = members[3].slot;
            break;
        case 20:
            topology.number_next = 5;
            break;
        case 21:
            members[1].places[TOPOLOGY_NEXT].weight = 9;
            break; /* nothing is staged */
        case 22:
            topology.phases[3] = PHASE_ANNOUNCED;
            break; /* nothing is under way */
        case 23:
            topology.voter_count = 0;
            break;
        case 24:
            topology.voters[0] = 77;
            break;
        default:
            members[0].status = MEMBER_REMOVED;
            break; /* a tombstone that owns */
        }
        assert_false(topology_valid(&topology));
        arena_deinit(&arena);
    }
}

/* A removed member is a tombstone: its name is free for a new number, nothing else finds it. */
static void test_tombstones(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct topology_seed seeds[8];
    uint32_t count = seeds_fill(seeds);
    struct topology topology = initial(&arena, seeds, count, 16);
    /* alpha leaves west to delta; delta is then alpha's successor under alpha's name. */
    topology.members[0].status = MEMBER_REMOVED;
    topology.voter_count = topology_choose_voters(&topology, topology.voters);
    for (uint32_t p = 0; p < 16; p++)
        topology.owners[0][2 * 16 + p] = 4;
    memcpy(topology.members[3].name, "alpha", 6);
    assert_true(topology_valid(&topology));
    assert_ptr_equal(topology_member_by_name(&topology, "alpha"), &topology.members[3]);
    assert_int_equal(topology_member(&topology, 1)->status, MEMBER_REMOVED);
    assert_int_equal(topology_member_count_in(&topology, TOPOLOGY_NOW, 2), 1);
    /* The last one goes too: then, and only then, partitions may have no owner. */
    topology.owners[0][2 * 16] = MEMBER_NONE;
    assert_false(topology_valid(&topology));
    topology.members[3].status = MEMBER_REMOVED;
    topology.voter_count = topology_choose_voters(&topology, topology.voters);
    for (uint32_t p = 0; p < 16; p++)
        topology.owners[0][2 * 16 + p] = MEMBER_NONE;
    assert_true(topology_valid(&topology));
    arena_deinit(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_initial_document),  cmocka_unit_test(test_same_list_same_document),
        cmocka_unit_test(test_refused_lists),     cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_older_format),      cmocka_unit_test(test_hostile_bytes),
        cmocka_unit_test(test_invalid_documents), cmocka_unit_test(test_tombstones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
