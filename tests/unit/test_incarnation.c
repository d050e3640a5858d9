// link: coterie_actors coterie_store
/* Rules of actors/incarnation.h and boot_renew: what is kept of each other member, and how a
 * directory that has forgotten goes on as a new incarnation without a vote (RELIABILITY rules 1, 2,
 * 29, 30, 38). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "actors/epoch_lease.h"
#include "actors/replica.h"
#include "tests/unit/actor_fixture.h"

#define PEER 3u

static char why[256];

static struct boot start_with(struct fixture *f, struct boot_options options)
{
    struct boot result;
    options.topology = &f->topology;
    options.self = SELF;
    options.shards = 1;
    options.wall_ms = f->ctx.wall_ms;
    options.random_id[0] = 7;
    assert_int_equal(boot_node(engine_store(f->engine, HANDLE_BOOT), &f->arena, &options, &result,
                               why, sizeof why),
                     OK);
    return result;
}

static struct boot start(struct fixture *f)
{
    return start_with(f, (struct boot_options){.start_nonce = 5});
}

static bool votes(struct fixture *f)
{
    bool vote = false;
    assert_int_equal(
        replica_rows_vote(engine_store(f->engine, HANDLE_BOOT), f->topology.partitions, &vote), OK);
    return vote;
}

static struct incarnation_answer answer_of(enum identity_verdict verdict, struct identity known,
                                           uint64_t epoch_bound)
{
    return (struct incarnation_answer){.verdict = verdict,
                                       .action = identity_action_of(verdict),
                                       .known.self = known,
                                       .epoch_bound = epoch_bound};
}

static enum err renew(struct fixture *f, struct incarnation_answer answer, uint8_t fresh)
{
    struct boot_renewal renewal = {.answer = answer, .fresh = {.bytes = {fresh}}};
    return boot_renew(engine_store(f->engine, HANDLE_BOOT), &f->arena, &renewal, why, sizeof why);
}

/* -- rows of peers ----------------------------------------------------------------------------- */

static void rows_are_durable(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 3, 1);
    struct store *meta = engine_store(f.engine, HANDLE_BOOT);
    struct incarnation row;
    struct identity_hello hello = {
        .self = {.node_id = {.bytes = {9}}, .generation = 4, .start_nonce = 40},
        .superseded_count = 4,
        .superseded = {{.bytes = {7}}, {.bytes = {9}}, {.bytes = {7}}, {.bytes = {8}}}};
    assert_int_equal(incarnation_load(meta, PEER, &row), OK);
    assert_false(row.known);
    struct incarnation_answer answer = incarnation_judge(&row, &hello, 1000, IDENTITY_GONE, &row);
    assert_int_equal(answer.verdict, IDENTITY_FIRST);
    assert_int_equal(incarnation_stage(meta, PEER, &row), OK);
    assert_int_equal(store_sync(meta), OK);
    fixture_crash(&f, false);
    struct incarnation again;
    meta = engine_store(f.engine, HANDLE_BOOT);
    assert_int_equal(incarnation_load(meta, PEER, &again), OK);
    assert_true(incarnation_equal(&row, &again));
    assert_int_equal(again.epoch_bound, 1000);
    assert_int_equal(again.hello.superseded_count, 2); /* neither its own nor one twice */
    assert_int_equal(again.hello.superseded[0].bytes[0], 7);
    assert_int_equal(again.hello.superseded[1].bytes[0], 8);
    assert_int_equal(incarnation_load(meta, PEER + 1, &again), OK); /* each its own */
    assert_false(again.known);

    uint8_t key[] = "peer-identity/\0\0\0\3";
    uint8_t junk[] = {1, 2, 3};
    assert_int_equal(store_put(meta, STORE_META, bytes_of(key, sizeof key - 1),
                               bytes_of(junk, sizeof junk), STORE_SYNC_NOW),
                     OK);
    assert_int_equal(incarnation_load(meta, PEER, &again), ERR_CORRUPT); /* never "no row" */
    fixture_deinit(&f);
}

/* A row of format 1 (actors/incarnation.h) is read as that of a member that has taken the place of
 * nobody, and is one of format 2 from the next write on: whoever met a member before the ids that
 * it supersedes were kept must know it again. The bytes stand here as they were written then. */
static void rows_of_format_1_are_read(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 3, 1);
    struct store *meta = engine_store(f.engine, HANDLE_BOOT);
    struct bytes key = bytes_of("peer-identity/\0\0\0\3", 18);
    uint8_t old[] = {1,                                                 /* format */
                     0xe8, 3, 0, 0, 0, 0, 0, 0,                         /* epoch bound */
                     1,                                                 /* of identity_encode */
                     9,    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, /* node id */
                     4,                                                 /* generation */
                     40,   0, 0, 0, 0, 0, 0, 0,                         /* start nonce */
                     0};                                                /* no part of it */
    size_t size = sizeof old - 1;
    struct incarnation expected = {.known = true,
                                   .hello.self = {.node_id = {.bytes = {[0] = 9, [15] = 7}},
                                                  .generation = 4,
                                                  .start_nonce = 40},
                                   .epoch_bound = 1000};
    struct incarnation row;
    struct bytes now = {0};
    assert_int_equal(store_put(meta, STORE_META, key, bytes_of(old, size), STORE_SYNC_NOW), OK);
    assert_int_equal(incarnation_load(meta, PEER, &row), OK);
    assert_true(incarnation_equal(&row, &expected));

    assert_int_equal(incarnation_stage(meta, PEER, &row), OK);
    assert_int_equal(store_read(meta, STORE_META, key, &f.arena, &now), OK);
    assert_int_equal(now.data[0], 2);
    assert_int_equal(incarnation_load(meta, PEER, &row), OK);
    assert_true(incarnation_equal(&row, &expected));

    /* A byte less or more is no row, nor is the same body of another format. */
    const struct {
        uint8_t format;
        size_t size;
    } bad[] = {{1, size - 1}, {1, size + 1}, {0, size}, {2, size}, {3, size}};
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        old[0] = bad[i].format;
        assert_int_equal(
            store_put(meta, STORE_META, key, bytes_of(old, bad[i].size), STORE_SYNC_NOW), OK);
        assert_int_equal(incarnation_load(meta, PEER, &row), ERR_CORRUPT);
    }
    fixture_deinit(&f);
}

/* A peer that slept through two lives of a member knows the third for what it is: the others tell
 * each new life of all those before it. Otherwise it would be emptied for an old memory, perhaps
 * the last copy of what it holds. */
static void earlier_lives_are_handed_on(void **state)
{
    (void)state;
    struct incarnation sleeper = {0};
    struct incarnation peer = {0};
    struct identity_hello life = {
        .self = {.node_id = {.bytes = {1}}, .generation = 4, .start_nonce = 40}};
    incarnation_judge(&sleeper, &life, 10, IDENTITY_GONE, &sleeper);
    incarnation_judge(&peer, &life, 10, IDENTITY_GONE, &peer);
    for (uint8_t i = 2; i <= 3; i++) {
        struct identity_hello empty = {
            .self = {.node_id = {.bytes = {i}}, .generation = 1, .start_nonce = 40u + i}};
        struct incarnation_answer answer =
            incarnation_judge(&peer, &empty, 10, IDENTITY_GONE, &peer);
        assert_int_equal(answer.verdict, IDENTITY_WIPED);
        life = identity_renew(&empty, answer.verdict, answer.known.self.node_id,
                              (struct node_id){.bytes = {99}}, false);
        identity_supersede(&life, answer.known.superseded, answer.known.superseded_count);
        answer = incarnation_judge(&peer, &life, 10, IDENTITY_GONE, &peer);
        assert_int_equal(answer.verdict, IDENTITY_REPLACED);
    }
    assert_int_equal(life.superseded_count, 2);
    assert_int_equal(life.superseded[0].bytes[0], 1);
    assert_int_equal(life.superseded[1].bytes[0], 2);
    assert_int_equal(incarnation_judge(&sleeper, &life, 10, IDENTITY_GONE, &sleeper).verdict,
                     IDENTITY_REPLACED);
}

/* The bound is the greatest that any incarnation has said, and what is refused changes no row. */
static void judging(void **state)
{
    (void)state;
    struct identity_hello hello = {
        .self = {.node_id = {.bytes = {9}}, .generation = 4, .start_nonce = 40}};
    struct incarnation row = {0};
    struct incarnation next;
    incarnation_judge(&row, &hello, 1000, IDENTITY_GONE, &row);
    hello.self.generation = 5;
    hello.self.start_nonce = 41;
    assert_int_equal(incarnation_judge(&row, &hello, 900, IDENTITY_GONE, &next).verdict,
                     IDENTITY_RESTARTED);
    assert_int_equal(next.epoch_bound, 1000);
    assert_int_equal(next.hello.self.generation, 5);
    row = next;
    struct identity_hello wiped = {
        .self = {.node_id = {.bytes = {8}}, .generation = 1, .start_nonce = 1}};
    struct incarnation_answer answer = incarnation_judge(&row, &wiped, 5000, IDENTITY_GONE, &next);
    assert_int_equal(answer.action, IDENTITY_RENEW);
    assert_int_equal(answer.epoch_bound, 1000);
    assert_true(node_id_equal(answer.known.self.node_id, hello.self.node_id));
    assert_true(
        incarnation_equal(&row, &next)); /* not its bound either: it is not the member yet */
    answer = incarnation_judge(&row, &wiped, 5000, IDENTITY_ANSWERS, &next);
    assert_int_equal(answer.action, IDENTITY_STOP);
    assert_true(incarnation_equal(&row, &next));
    /* The same process again, with a later bound. */
    answer = incarnation_judge(&row, &hello, 2000, IDENTITY_LINKED, &next);
    assert_int_equal(answer.verdict, IDENTITY_SAME);
    assert_false(incarnation_equal(&row, &next));
    assert_int_equal(next.epoch_bound, 2000);
}

/* RELIABILITY rules 2, 29: a copy of the directory that is put back within the life that it was
 * taken in, and does not know how far that went, is told apart from a restart by the generation
 * that was raised since, as soon as a peer has heard of it. */
static void copies_of_a_life_are_known(void **state)
{
    (void)state;
    for (int told = 0; told < 2; told++) {
        struct fixture f;
        struct incarnation row = {0};
        struct incarnation next;
        uint64_t generation = 0;
        fixture_init(&f, 3, 1);
        struct boot boot = start(&f);
        incarnation_judge(&row, &boot.hello, boot.epoch_bound, IDENTITY_GONE, &row);
        struct memory_disk *copy = memory_disk_copy(f.disk, f.engine);
        struct store *meta = engine_store(f.engine, HANDLE_BOOT);
        assert_int_equal(boot_raise_generation(meta, true, &generation), OK);
        assert_int_equal(store_sync(meta), OK);
        assert_int_equal(generation, boot.generation + IDENTITY_RAISE);
        struct identity_hello before = boot.hello;
        boot.hello.self.generation = generation;
        if (told == 1) {
            struct incarnation_answer answer =
                incarnation_judge(&row, &boot.hello, boot.epoch_bound, IDENTITY_LINKED, &next);
            assert_int_equal(answer.verdict, IDENTITY_SAME);
            assert_false(incarnation_equal(&row, &next)); /* to be durable */
            row = next;
            /* What it has said before comes late. */
            answer = incarnation_judge(&row, &before, boot.epoch_bound, IDENTITY_LINKED, &next);
            assert_int_equal(answer.verdict, IDENTITY_SAME);
            assert_true(incarnation_equal(&row, &next));
        }
        fixture_crash(&f, false); /* a restart is one, whatever was told */
        struct boot again = start_with(&f, (struct boot_options){.start_nonce = 6});
        assert_int_equal(
            incarnation_judge(&row, &again.hello, again.epoch_bound, IDENTITY_GONE, &next).verdict,
            IDENTITY_RESTARTED);
        engine_close(f.engine);
        memory_disk_free(f.disk);
        f.disk = copy;
        fixture_open_store(&f);
        struct boot restored = start_with(&f, (struct boot_options){.start_nonce = 7});
        assert_int_equal(
            incarnation_judge(&row, &restored.hello, restored.epoch_bound, IDENTITY_GONE, &next)
                .verdict,
            told == 1 ? IDENTITY_RESTORED : IDENTITY_RESTARTED);
        fixture_deinit(&f);
    }
}

/* Rules 2, 29: a copy that runs alone, however long, and is started again does not come above the
 * generation that the peers remember: who has been accepted by nobody raises nothing (simulator
 * seed 263672, where such a copy voted again). */
static void a_copy_alone_raises_nothing(void **state)
{
    (void)state;
    struct fixture f;
    struct incarnation row = {0};
    struct incarnation next;
    uint64_t generation = 0;
    fixture_init(&f, 3, 1);
    struct boot boot = start(&f);
    struct memory_disk *copy = memory_disk_copy(f.disk, f.engine);
    struct store *meta = engine_store(f.engine, HANDLE_BOOT);
    assert_int_equal(boot_raise_generation(meta, true, &generation), OK);
    boot.hello.self.generation = generation;
    incarnation_judge(&row, &boot.hello, boot.epoch_bound, IDENTITY_GONE, &row);
    engine_close(f.engine);
    memory_disk_free(f.disk);
    f.disk = copy;
    fixture_open_store(&f);
    start_with(&f, (struct boot_options){.start_nonce = 7});
    meta = engine_store(f.engine, HANDLE_BOOT);
    for (int i = 0; i < 3; i++)
        assert_int_equal(boot_raise_generation(meta, false, &generation), ERR_PRECONDITION);
    assert_int_equal(store_sync(meta), OK);
    fixture_crash(&f, false);
    struct boot again = start_with(&f, (struct boot_options){.start_nonce = 8});
    assert_int_equal(
        incarnation_judge(&row, &again.hello, again.epoch_bound, IDENTITY_GONE, &next).verdict,
        IDENTITY_RESTORED);
    fixture_deinit(&f);
}

/* -- a new incarnation ------------------------------------------------------------------------- */

/* RELIABILITY rules 1, 29: an empty directory under a known name: another id, one that names what
 * it supersedes, no vote, and key epochs above all that the peers have seen, although its clock
 * went back behind the first one's start. */
static void wiped_directory(void **state)
{
    (void)state;
    struct fixture first;
    fixture_init(&first, 3, 1);
    struct boot old = start(&first);
    assert_true(votes(&first));
    struct fixture f;
    fixture_init(&f, 3, 1);
    f.ctx.wall_ms -= 3600000;
    struct boot empty = start(&f);
    assert_true(empty.epoch_start < old.epoch_bound);
    assert_true(votes(&f)); /* a new cluster is complete from its start */
    struct identity known = {.node_id = {.bytes = {1}}, .generation = 12, .start_nonce = 3};
    struct incarnation_answer answer = answer_of(IDENTITY_WIPED, known, old.epoch_bound);
    answer.known.superseded_count = 1; /* a life before that one */
    answer.known.superseded[0] = (struct node_id){.bytes = {6}};
    assert_int_equal(renew(&f, answer, 44), OK);
    assert_false(votes(&f));
    fixture_crash(&f, false); /* durable */
    assert_false(votes(&f));
    struct boot renewed = start(&f);
    assert_int_equal(renewed.hello.self.node_id.bytes[0], 44);
    assert_int_equal(renewed.hello.superseded_count, 3);
    assert_int_equal(renewed.hello.superseded[0].bytes[0], 6);
    assert_int_equal(renewed.hello.superseded[1].bytes[0], 7);
    assert_int_equal(renewed.hello.superseded[2].bytes[0], 1);
    assert_int_equal(renewed.generation, 13);
    assert_in_range(renewed.epoch_start, old.epoch_bound, old.epoch_bound + EPOCH_GAP);
    assert_int_equal(renewed.epoch_floor, renewed.epoch_start);
    assert_false(renewed.first_start);
    assert_memory_equal(renewed.topology.cluster_id, empty.topology.cluster_id, 16);

    /* Another peer remembers another id: it has no vote, so it keeps its own and adds that one. */
    known.node_id.bytes[0] = 2;
    assert_int_equal(renew(&f, answer_of(IDENTITY_WIPED, known, 5), 45), OK);
    renewed = start(&f);
    assert_int_equal(renewed.hello.self.node_id.bytes[0], 44);
    assert_int_equal(renewed.hello.superseded_count, 4);
    assert_true(renewed.epoch_start >= old.epoch_bound); /* a lower bound changes nothing */
    assert_false(votes(&f));
    fixture_deinit(&f);
    fixture_deinit(&first);
}

/* A directory that is an older copy gives up its id. A crash anywhere in the renewal leaves either
 * the old identity, to be told again, or the new one without a vote, never a new one with one. */
static void restored_directory(void **state)
{
    (void)state;
    uint32_t old_ones = 0;
    uint32_t new_ones = 0;
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct fixture f;
        struct prng prng;
        fixture_init(&f, 3, 1);
        prng_init(&prng, seed, 0);
        struct boot old = start(&f);
        struct incarnation_answer answer =
            answer_of(IDENTITY_RESTORED, old.hello.self, old.epoch_bound);
        engine_memory_set_faults(f.engine, &prng, 0, 0, true);
        assert_int_equal(renew(&f, answer, 44), ERR_IO);
        engine_memory_crash(f.engine, CRASH_POWER, &prng);
        fixture_open_store(&f);
        bool vote = votes(&f);
        struct boot next = start(&f);
        if (next.hello.self.node_id.bytes[0] == 44) {
            new_ones++;
            assert_false(vote);
            assert_true(next.epoch_start >= old.epoch_bound);
            assert_true(next.generation > old.generation);
        } else {
            old_ones++;
            assert_int_equal(renew(&f, answer, 44), OK);
            assert_false(votes(&f));
            assert_int_equal(start(&f).hello.self.node_id.bytes[0], 44);
        }
        fixture_deinit(&f);
    }
    assert_true(old_ones > 0 && new_ones > 0);
}

/* RELIABILITY rule 38: recovery found less than was acknowledged: the node is who it was, and none
 * of its vnodes votes. */
static void short_log(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 3, 1);
    struct boot before = start(&f);
    fixture_crash(&f, false);
    struct boot after = start_with(&f, (struct boot_options){.log_short = true});
    assert_true(node_id_equal(after.hello.self.node_id, before.hello.self.node_id));
    assert_int_equal(after.generation, before.generation + 1);
    assert_false(votes(&f));
    fixture_crash(&f, false);
    start(&f);
    assert_false(votes(&f)); /* and stays so */
    fixture_deinit(&f);
}

/* What a start may use has an end, so that peers can say one number for it. */
static void epochs_stay_below_the_bound(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 3, 1);
    struct boot first = start(&f);
    assert_int_equal(first.epoch_bound, first.epoch_start + EPOCH_SPAN);
    struct epoch_lease lease;
    uint64_t epoch = 0;
    epoch_lease_init(&lease, &first, 0, 1);
    lease.next = first.epoch_bound - 1; /* used up but for one */
    lease.limit = first.epoch_bound;
    assert_int_equal(epoch_lease_draw(&lease, f.ctx.store, &epoch), OK);
    assert_true(epoch < first.epoch_bound);
    fixture_sync(&f);
    epoch_lease_committed(&lease, f.committed[HANDLE_ACTOR]);
    assert_int_equal(epoch_lease_draw(&lease, f.ctx.store, &epoch), ERR_OVERLOADED);
    fixture_deinit(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_durable),
        cmocka_unit_test(rows_of_format_1_are_read),
        cmocka_unit_test(judging),
        cmocka_unit_test(earlier_lives_are_handed_on),
        cmocka_unit_test(copies_of_a_life_are_known),
        cmocka_unit_test(a_copy_alone_raises_nothing),
        cmocka_unit_test(wiped_directory),
        cmocka_unit_test(restored_directory),
        cmocka_unit_test(short_log),
        cmocka_unit_test(epochs_stay_below_the_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
