// link: coterie_actors coterie_store
/* Rules of actors/boot.h: a node's identity, generations, key epochs and their leases. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "actors/epoch_lease.h"
#include "tests/unit/actor_fixture.h"

#define SHARDS 2u
#define LEASE  1000u

static char why[256];

static struct boot_options options_of(const struct fixture *f)
{
    return (struct boot_options){.topology = &f->topology,
                                 .self = SELF,
                                 .shards = SHARDS,
                                 .epoch_lease = LEASE,
                                 .wall_ms = f->ctx.wall_ms,
                                 .random_id = {7, 7, 7}};
}

static enum err boot_with(struct fixture *f, const struct boot_options *options, struct boot *boot)
{
    why[0] = 0;
    return boot_node(engine_store(f->engine, HANDLE_BOOT), &f->arena, options, boot, why,
                     sizeof why);
}

static struct boot boot(struct fixture *f)
{
    struct boot_options options = options_of(f);
    struct boot result;
    assert_int_equal(boot_with(f, &options, &result), OK);
    return result;
}

static void mark_clean(struct fixture *f)
{
    assert_int_equal(boot_mark_clean(engine_store(f->engine, HANDLE_BOOT)), OK);
}

/* boot.h: a new directory is generation 1, its epochs start at its creation time (ms << 20), so
 * that a wiped one never repeats itself (DESIGN.md 5). */
static void first_start(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 3, 1);
    struct boot first = boot(&f);
    assert_true(first.first_start);
    assert_int_equal(first.generation, 1);
    assert_int_equal(first.hello.self.node_id.bytes[0], 7);
    assert_int_equal(first.epoch_start, (uint64_t)WALL_MS << 20);
    assert_int_equal(first.epoch_floor, first.epoch_start);
    assert_int_equal(first.epoch_limit, first.epoch_start + (uint64_t)LEASE * SHARDS);
    assert_non_null(keyspace_map_find(&first.keyspaces, "default"));
    assert_memory_equal(first.topology.cluster_id, f.topology.cluster_id, 16);
    fixture_deinit(&f);
}

/* boot.h: everything that boot_node wrote is durable when it returns: a crash right behind it, that
 * loses all that is unsynced, is a later start of the same node. RELIABILITY rules 29, 30. */
static void boot_is_durable(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 3, 1);
    struct boot first = boot(&f);
    fixture_crash(&f, false);
    f.ctx.wall_ms = 5; /* clocks may go back */
    struct boot_options options = options_of(&f);
    options.random_id[0] = 9; /* not taken: the id is burned in at the first start */
    struct boot second;
    assert_int_equal(boot_with(&f, &options, &second), OK);
    assert_false(second.first_start);
    assert_int_equal(second.generation, first.generation + 1);
    assert_int_equal(second.hello.self.node_id.bytes[0], 7);
    assert_in_range(second.epoch_start, first.epoch_limit, first.epoch_limit + EPOCH_GAP);
    fixture_deinit(&f);
}

/* boot.h, the floor: after a stop that was not clean every older epoch is below it; after a clean
 * one it stays where it was, and a crash behind that counts again. */
static void floor_follows_unclean_stops(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 3, 1);
    struct boot first = boot(&f);
    mark_clean(&f);
    fixture_crash(&f, false);
    struct boot clean = boot(&f);
    assert_true(clean.clean);
    assert_int_equal(clean.epoch_floor, first.epoch_floor);
    assert_in_range(clean.epoch_start, first.epoch_limit, first.epoch_limit + EPOCH_GAP);
    fixture_crash(&f, false);
    struct boot unclean = boot(&f);
    assert_false(unclean.clean);
    assert_int_equal(unclean.epoch_floor, unclean.epoch_start);
    assert_in_range(unclean.epoch_start, clean.epoch_limit, clean.epoch_limit + EPOCH_GAP);
    mark_clean(&f);
    fixture_crash(&f, true);
    struct boot again = boot(&f);
    assert_true(again.clean);
    assert_int_equal(again.epoch_floor, unclean.epoch_floor);
    fixture_deinit(&f);
}

/* boot.h: a directory restored from an older copy begins above all that it has used since the copy
 * was made: at the time of its start. A clock that went back changes nothing: above the leases
 * then. */
static void restored_directory_repeats_nothing(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 3, 1);
    struct boot copied = boot(&f);
    fixture_crash(&f, false);
    f.ctx.wall_ms += 1000;
    struct boot restored = boot(&f);
    assert_int_equal(restored.epoch_start, (uint64_t)(WALL_MS + 1000) << 20);
    assert_true(restored.epoch_start > copied.epoch_limit);
    fixture_crash(&f, false);
    f.ctx.wall_ms -= 2000;
    struct boot back = boot(&f);
    assert_in_range(back.epoch_start, restored.epoch_limit, restored.epoch_limit + EPOCH_GAP);
    fixture_deinit(&f);
}

/* boot.h: two starts from one copy of a directory know of the same leases, and a clock that has
 * gone back tells them nothing: what each draws is its own all the same. */
static void starts_from_one_copy_share_nothing(void **state)
{
    (void)state;
    uint64_t from[2];
    uint64_t to[2];
    for (uint32_t life = 0; life < 2; life++) {
        struct fixture f;
        fixture_init(&f, 3, 1);
        boot(&f);
        fixture_crash(&f, false);
        f.ctx.wall_ms = 5;
        struct boot_options options = options_of(&f);
        options.start_nonce = 100 + life;
        struct boot copy;
        assert_int_equal(boot_with(&f, &options, &copy), OK);
        from[life] = copy.epoch_start;
        to[life] = copy.epoch_limit;
        fixture_deinit(&f);
    }
    assert_true(to[0] <= from[1] || to[1] <= from[0]);
}

/* boot.h: no two starts share an epoch, also when the number of shards changes between them. */
static void starts_never_share_epochs(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 3, 1);
    uint64_t used_below = 0;
    for (uint32_t shards = 1; shards <= 4; shards++) {
        struct boot_options options = options_of(&f);
        struct boot result;
        options.shards = shards;
        assert_int_equal(boot_with(&f, &options, &result), OK);
        assert_true(result.epoch_start >= used_below);
        for (uint32_t shard = 0; shard < shards; shard++) {
            struct epoch_lease lease;
            uint64_t epoch = 0;
            epoch_lease_init(&lease, &result, shard, shards);
            assert_int_equal(epoch_lease_draw(&lease, f.ctx.store, &epoch), OK);
            assert_true(epoch >= used_below && epoch < result.epoch_limit);
            assert_int_equal((epoch - result.epoch_start) % shards, shard);
        }
        used_below = result.epoch_limit;
        fixture_crash(&f, shards % 2 == 0);
    }
    fixture_deinit(&f);
}

/* boot.h: a directory of another cluster, member or Q is refused with PRECONDITION and a sentence
 * that says what to do. */
static void refuses_what_is_not_its_own(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 3, 1);
    struct boot first = boot(&f);
    mark_clean(&f);
    struct boot result = {.generation = 77};

    struct boot_options other_member = options_of(&f);
    other_member.self = 2;
    assert_int_equal(boot_with(&f, &other_member, &result), ERR_PRECONDITION);
    assert_non_null(strstr(why, "--name"));

    struct topology bigger = fixture_topology(&f.arena, 4, 1, 16, 7701);
    struct boot_options other_cluster = options_of(&f);
    other_cluster.topology = &bigger;
    assert_int_equal(boot_with(&f, &other_cluster, &result), ERR_PRECONDITION);
    assert_non_null(strstr(why, "--initial-cluster"));

    struct topology elsewhere = fixture_topology(&f.arena, 3, 3, 16, 7701);
    struct boot_options other_places = options_of(&f);
    other_places.topology = &elsewhere;
    assert_int_equal(boot_with(&f, &other_places, &result), ERR_PRECONDITION);

    struct topology finer = fixture_topology(&f.arena, 3, 1, 32, 7701);
    struct boot_options other_partitions = options_of(&f);
    other_partitions.topology = &finer;
    assert_int_equal(boot_with(&f, &other_partitions, &result), ERR_PRECONDITION);
    assert_non_null(strstr(why, "--partitions"));

    assert_int_equal(result.generation, 77); /* no ret_ was touched on an error */
    /* The refused starts have changed nothing: not the generation, not the clean mark. */
    struct boot next = boot(&f);
    assert_int_equal(next.generation, first.generation + 1);
    assert_true(next.clean);
    fixture_deinit(&f);
}

static struct boot boot_listed(struct fixture *f, const struct topology *list)
{
    struct boot_options options = options_of(f);
    struct boot result;
    options.topology = list;
    assert_int_equal(boot_with(f, &options, &result), OK);
    assert_memory_equal(result.topology.cluster_id, f->topology.cluster_id, 16);
    return result;
}

/* The document is of a later epoch, as gossip leaves it. */
static void put_document(struct fixture *f, const struct topology *topology)
{
    assert_int_equal(store_put(engine_store(f->engine, HANDLE_BOOT), STORE_META,
                               bytes_of_string(META_TOPOLOGY), topology_encode(&f->arena, topology),
                               STORE_SYNC_NOW),
                     OK);
}

static struct topology document_after(struct fixture *f, const struct topology_operation *operation)
{
    struct topology next;
    uint32_t number = 0;
    const char *problem = NULL;
    assert_int_equal(
        topology_operate(&f->arena, &f->topology, &f->map, operation, &next, &number, &problem),
        OK);
    return next;
}

/* boot.h: an address that was changed in the list since the last start is news, through any number
 * of starts, until the document says another one than it did then; one that was not changed is
 * none. The document itself stays as the log has it. */
static void addresses_of_the_list(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 3, 1);
    assert_int_equal(boot(&f).address_count, 0);
    struct topology moved = fixture_topology(&f.arena, 3, 1, 16, 8801);
    for (int i = 0; i < 3; i++) {
        struct boot second = boot_listed(&f, &moved);
        assert_int_equal(second.address_count, 3);
        assert_int_equal(second.addresses[1].member, 2);
        assert_string_equal(second.addresses[1].address, "127.0.0.1:8802");
        assert_string_equal(second.addresses[1].instead_of, "127.0.0.1:7702");
        assert_string_equal(second.topology.members[1].address, "127.0.0.1:7702");
    }
    struct topology_operation operation = {.kind = TOPOLOGY_ADDRESS, .member = 2};
    snprintf(operation.address, sizeof operation.address, "127.0.0.1:9902");
    struct topology next = document_after(&f, &operation);
    put_document(&f, &next);
    struct boot third = boot_listed(&f, &moved);
    assert_int_equal(third.topology.epoch, 2);
    assert_int_equal(third.address_count, 2); /* of 1 and 3 */
    assert_int_equal(third.addresses[0].member, 1);
    assert_int_equal(third.addresses[1].member, 3);
    struct topology again = fixture_topology(&f.arena, 3, 1, 16, 6601);
    struct boot fourth = boot_listed(&f, &again);
    assert_int_equal(fourth.address_count, 3);
    for (uint32_t i = 0; i < 3; i++) {
        if (fourth.addresses[i].member == 2)
            assert_string_equal(fourth.addresses[i].instead_of, "127.0.0.1:9902");
    }
    fixture_deinit(&f);
}

/* boot.h: the document in the directory counts, not the list, and not where it says other zones. */
static void the_document_wins(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 3, 1);
    boot(&f);
    struct topology_operation join = {.kind = TOPOLOGY_JOIN, .join_id = {1}};
    snprintf(join.name, sizeof join.name, "n04");
    snprintf(join.address, sizeof join.address, "127.0.0.1:7704");
    struct topology next = document_after(&f, &join);
    put_document(&f, &next);
    struct topology list = f.topology;
    list.members = ARENA_NEW(&f.arena, struct member, 3);
    memcpy(list.members, f.topology.members, sizeof *list.members * 3);
    list.members[0].places[TOPOLOGY_NOW].weight = 7;
    list.members[0].places[TOPOLOGY_NEXT].weight = 7;
    struct boot second = boot_listed(&f, &list);
    assert_int_equal(second.topology.epoch, 2);
    assert_int_equal(second.topology.member_count, 4);
    assert_int_equal(second.self, SELF);
    assert_int_equal(topology_member(&second.topology, SELF)->places[TOPOLOGY_NOW].weight, 1);
    /* The list may be left away then, and the number. */
    struct boot_options options = options_of(&f);
    options.topology = NULL;
    options.self = MEMBER_NONE;
    options.name = "n01";
    assert_int_equal(boot_with(&f, &options, &second), OK);
    assert_int_equal(second.self, SELF);
    assert_int_equal(second.topology.epoch, 2);
    options.name = "n02";
    assert_int_equal(boot_with(&f, &options, &second), ERR_PRECONDITION);
    assert_non_null(strstr(why, "--name n01"));
    fixture_deinit(&f);
}

static struct topology document_with_n04(struct fixture *f)
{
    struct topology_operation join = {.kind = TOPOLOGY_JOIN, .join_id = {1}};
    snprintf(join.name, sizeof join.name, "n04");
    snprintf(join.address, sizeof join.address, "127.0.0.1:7704");
    return document_after(f, &join);
}

/* boot.h, `joined`: the first start of a member that joins needs no list; the next ones need
 * nothing, and a founder's list is no use to them. */
static void joins(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 3, 1);
    struct topology joined = document_with_n04(&f);
    struct boot_options options = options_of(&f);
    options.topology = NULL;
    options.joined = &joined;
    options.self = 4;
    struct boot first;
    assert_int_equal(boot_with(&f, &options, &first), OK);
    assert_true(first.first_start);
    assert_int_equal(first.self, 4);
    assert_int_equal(first.topology.epoch, 2);
    fixture_crash(&f, false);
    for (int i = 0; i < 2; i++) {
        options.joined = NULL;
        options.self = MEMBER_NONE;
        options.topology = i == 0 ? NULL : &f.topology;
        struct boot second;
        assert_int_equal(boot_with(&f, &options, &second), OK);
        assert_false(second.first_start);
        assert_int_equal(second.self, 4);
        assert_int_equal(second.topology.epoch, 2);
        assert_int_equal(second.address_count, 0);
    }
    fixture_deinit(&f);
}

static void seed_is(struct topology_seed *seed, const char *name, const char *address)
{
    *seed = (struct topology_seed){0};
    snprintf(seed->name, sizeof seed->name, "%s", name);
    snprintf(seed->address, sizeof seed->address, "%s", address);
}

/* boot_addresses.h: to a member that has joined a list is an address book. What it says at the
 * first start is no news, what is changed in it later is, for members alone, and until the document
 * says something else. */
static void joined_hears_of_addresses(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 3, 1);
    struct topology joined = document_with_n04(&f);
    struct topology_seed list[3];
    seed_is(&list[0], "n01", "127.0.0.1:8801");
    seed_is(&list[1], "n02", topology_member(&joined, 2)->address);
    seed_is(&list[2], "stranger", "127.0.0.1:8809");
    struct boot_options options = options_of(&f);
    options.topology = NULL;
    options.joined = &joined;
    options.self = 4;
    options.listed = list;
    options.listed_count = 3;
    struct boot boot;
    assert_int_equal(boot_with(&f, &options, &boot), OK);
    options.joined = NULL;
    assert_int_equal(boot_with(&f, &options, &boot), OK);
    assert_int_equal(boot.address_count, 0);
    snprintf(list[1].address, sizeof list[1].address, "127.0.0.1:8802");
    snprintf(list[2].address, sizeof list[2].address, "127.0.0.1:8810");
    for (int i = 0; i < 3; i++) { /* also with the same list again, and without any */
        options.listed_count = i == 2 ? 0 : 3;
        assert_int_equal(boot_with(&f, &options, &boot), OK);
        assert_int_equal(boot.address_count, 1);
        assert_int_equal(boot.addresses[0].member, 2);
        assert_string_equal(boot.addresses[0].address, "127.0.0.1:8802");
        assert_string_equal(boot.addresses[0].instead_of, topology_member(&joined, 2)->address);
    }
    snprintf(list[1].address, sizeof list[1].address, "127.0.0.1:8803");
    options.listed_count = 3;
    assert_int_equal(boot_with(&f, &options, &boot), OK);
    assert_int_equal(boot.address_count, 1);
    assert_string_equal(boot.addresses[0].address, "127.0.0.1:8803");
    struct topology_operation moved = {.kind = TOPOLOGY_ADDRESS, .member = 2};
    snprintf(moved.address, sizeof moved.address, "127.0.0.1:8804");
    f.topology = joined;
    struct topology next = document_after(&f, &moved);
    put_document(&f, &next);
    assert_int_equal(boot_with(&f, &options, &boot), OK);
    assert_int_equal(boot.address_count, 0);
    fixture_deinit(&f);
}

/* boot.h: a directory whose member was removed, or was given up as dead, does not start, and says
 * what to do. */
static void the_removed_do_not_start(void **state)
{
    (void)state;
    for (int gone = 0; gone < 2; gone++) {
        struct fixture f;
        fixture_init(&f, 3, 1);
        boot(&f);
        struct topology next;
        topology_copy(&f.arena, &f.topology, &next);
        next.epoch++;
        if (gone) {
            next = document_after(&f, &(struct topology_operation){
                                          .kind = TOPOLOGY_LEAVE, .member = SELF, .gone = true});
        } else {
            /* Its entry has made room. */
            struct topology_seed seeds[2] = {{.name = "n02", .address = "127.0.0.1:7702"},
                                             {.name = "n03", .address = "127.0.0.1:7703"}};
            const char *problem = NULL;
            assert_int_equal(topology_initial(&f.arena, seeds, 2, 16, &next, &problem), OK);
            for (uint32_t i = 0; i < next.partitions * next.data_center_count; i++)
                next.owners[TOPOLOGY_NOW][i]++;
            for (uint32_t i = 0; i < 2; i++)
                next.members[i].number = next.voters[i] = i + 2;
            next.number_next = 4;
            next.epoch = 9;
            memcpy(next.cluster_id, f.topology.cluster_id, 16);
        }
        put_document(&f, &next);
        struct boot_options options = options_of(&f);
        struct boot result = {.generation = 77};
        assert_int_equal(boot_with(&f, &options, &result), ERR_DENIED);
        assert_non_null(strstr(why, "removed"));
        assert_non_null(strstr(why, "--join"));
        assert_int_equal(result.generation, 77);
        fixture_deinit(&f);
    }
}

/* RELIABILITY rule 5: an unreadable or damaged row is an error, never a first start. */
static void damaged_rows_are_errors(void **state)
{
    (void)state;
    static const char *const rows[] = {"identity",    "topology",  "clean",
                                       "epoch-floor", "keyspaces", "epoch-lease/0"};
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct fixture f;
        fixture_init(&f, 3, 1);
        boot(&f);
        struct store *store = engine_store(f.engine, HANDLE_BOOT);
        assert_int_equal(store_put(store, STORE_META, bytes_of_string(rows[i]),
                                   bytes_of_string(i == 1 ? "\2junk" : "\1junk"), STORE_SYNC_NOW),
                         OK);
        struct boot_options options = options_of(&f);
        struct boot result;
        assert_int_equal(boot_with(&f, &options, &result), ERR_CORRUPT);
        assert_true(strlen(why) > 0);
        fixture_deinit(&f);
    }
    struct fixture f;
    fixture_init(&f, 3, 1);
    boot(&f);
    engine_memory_set_faults(f.engine, &f.prng, 1.0, 0, false);
    struct boot_options options = options_of(&f);
    struct boot result;
    assert_int_equal(boot_with(&f, &options, &result), ERR_IO);
    engine_memory_set_faults(f.engine, NULL, 0, 0, false);
    fixture_deinit(&f);
}

/* -- the lease ------------------------------------------------------------------------------- */

/* RELIABILITY rule 3: asks for the next lease at 80 %, goes on to draw from what is durable, blocks
 * at 100 % with OVERLOADED, and goes on when the next lease is durable. */
static void lease_renews_and_blocks(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 3, 1);
    struct boot start = boot(&f);
    struct epoch_lease lease;
    epoch_lease_init(&lease, &start, 0, SHARDS);
    uint64_t epoch = 0;
    uint64_t last = 0;
    for (uint32_t i = 0; i < LEASE; i++) {
        assert_int_equal(epoch_lease_draw(&lease, f.ctx.store, &epoch), OK);
        assert_true(epoch > last && epoch < start.epoch_limit);
        last = epoch;
        bool asked = store_staged(f.ctx.store) > 0;
        assert_int_equal(asked, i >= LEASE * 4 / 5);
    }
    assert_int_equal(store_staged(f.ctx.store), 1); /* asked once */
    assert_int_equal(epoch_lease_draw(&lease, f.ctx.store, &epoch), ERR_OVERLOADED);
    assert_int_equal(epoch, last);
    epoch_lease_committed(&lease, 0); /* not ours yet */
    assert_int_equal(epoch_lease_draw(&lease, f.ctx.store, &epoch), ERR_OVERLOADED);
    fixture_sync(&f);
    epoch_lease_committed(&lease, f.committed[HANDLE_ACTOR]);
    assert_int_equal(epoch_lease_draw(&lease, f.ctx.store, &epoch), OK);
    assert_int_equal(epoch, start.epoch_limit);
    fixture_deinit(&f);
}

/* A store that refuses the renewal: nothing is lost, it is asked again with the next draw. */
static void lease_renewal_refused(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 3, 1);
    struct boot start = boot(&f);
    struct epoch_lease lease;
    epoch_lease_init(&lease, &start, 0, SHARDS);
    uint64_t epoch = 0;
    engine_memory_set_faults(f.engine, &f.prng, 0, 1.0, false);
    for (uint32_t i = 0; i < LEASE; i++)
        assert_int_equal(epoch_lease_draw(&lease, f.ctx.store, &epoch), OK);
    assert_int_equal(epoch_lease_draw(&lease, f.ctx.store, &epoch), ERR_OVERLOADED);
    engine_memory_set_faults(f.engine, NULL, 0, 0, false);
    assert_int_equal(epoch_lease_draw(&lease, f.ctx.store, &epoch), ERR_OVERLOADED);
    fixture_sync(&f);
    epoch_lease_committed(&lease, f.committed[HANDLE_ACTOR]);
    assert_int_equal(epoch_lease_draw(&lease, f.ctx.store, &epoch), OK);
    fixture_deinit(&f);
}

/* RELIABILITY rule 3: crash at each point of the lease path (before the renewal, with it staged and
 * lost, staged and kept, durable, used), many starts in a row: no epoch is drawn twice, and none at
 * or above the durable limit. */
static void lease_survives_crashes(void **state)
{
    (void)state;
    static const uint32_t draws[] = {1, LEASE * 4 / 5, LEASE * 4 / 5 + 1, LEASE, LEASE + LEASE / 2};
    struct fixture f;
    fixture_init(&f, 3, 1);
    uint64_t last = 0;
    for (uint32_t round = 0; round < 4 * ARRAY_COUNT(draws); round++) {
        struct boot start = boot(&f);
        struct epoch_lease lease;
        epoch_lease_init(&lease, &start, round % SHARDS, SHARDS);
        uint64_t durable = start.epoch_limit;
        bool syncs = round % 4 < 2;
        for (uint32_t i = 0; i < draws[round % ARRAY_COUNT(draws)]; i++) {
            uint64_t epoch = 0;
            enum err err = epoch_lease_draw(&lease, f.ctx.store, &epoch);
            if (err == ERR_OVERLOADED) {
                assert_false(syncs);
                break;
            }
            assert_int_equal(err, OK);
            assert_true(epoch > last);
            assert_true(epoch < durable);
            last = epoch;
            if (syncs && engine_memory_wants_sync(f.engine)) {
                fixture_sync(&f);
                epoch_lease_committed(&lease, f.committed[HANDLE_ACTOR]);
                durable = lease.limit;
            }
        }
        fixture_crash(&f, round % 2 == 0);
    }
    fixture_deinit(&f);
}

/* A start that a crash interrupts, wherever in its own writes: the next one is a start like any
 * other, above all epochs that were ever used, and never takes an unclean stop for a clean one. */
static void interrupted_starts(void **state)
{
    (void)state;
    unsigned first_again = 0;
    unsigned unclean = 0;
    for (uint64_t seed = 0; seed < 400; seed++) {
        struct fixture f;
        struct prng prng;
        fixture_init(&f, 3, 1);
        prng_init(&prng, seed, 0);
        bool started = seed % 2 == 0;
        struct boot before = {0};
        if (started) {
            before = boot(&f);
            mark_clean(&f);
        }
        struct boot_options options = options_of(&f);
        struct boot result;
        engine_memory_set_faults(f.engine, &prng, 0, 0, true);
        assert_int_equal(boot_with(&f, &options, &result), ERR_IO);
        engine_memory_crash(f.engine, CRASH_POWER, &prng);
        fixture_open_store(&f);
        struct boot next = boot(&f);
        if (started) {
            assert_false(next.first_start);
            assert_true(next.generation > before.generation);
            assert_true(next.epoch_start >= before.epoch_limit);
            assert_true(next.clean ? next.epoch_floor == before.epoch_floor
                                   : next.epoch_floor == next.epoch_start);
            unclean += !next.clean;
        } else {
            first_again += next.first_start;
            assert_true(next.epoch_floor == next.epoch_start);
        }
        assert_true(next.epoch_floor <= next.epoch_start);
        fixture_deinit(&f);
    }
    assert_true(first_again > 0); /* the crash has hit what it should */
    assert_true(unclean > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_start),
        cmocka_unit_test(boot_is_durable),
        cmocka_unit_test(floor_follows_unclean_stops),
        cmocka_unit_test(restored_directory_repeats_nothing),
        cmocka_unit_test(starts_from_one_copy_share_nothing),
        cmocka_unit_test(starts_never_share_epochs),
        cmocka_unit_test(refuses_what_is_not_its_own),
        cmocka_unit_test(addresses_of_the_list),
        cmocka_unit_test(the_document_wins),
        cmocka_unit_test(joins),
        cmocka_unit_test(joined_hears_of_addresses),
        cmocka_unit_test(the_removed_do_not_start),
        cmocka_unit_test(damaged_rows_are_errors),
        cmocka_unit_test(interrupted_starts),
        cmocka_unit_test(lease_renews_and_blocks),
        cmocka_unit_test(lease_renewal_refused),
        cmocka_unit_test(lease_survives_crashes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
