// link: coterie_actors coterie_store
/* Rules of actors/replica.h: durability before answers, overload, key epochs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/replica_bench.h"

/* -- durability ------------------------------------------------------------------------------ */

/* RELIABILITY rule 17, replica.h: nothing that a crash could undo leaves, except replica_write of a
 * mint: "not yet" before the sync, "now" behind it. */
static void answers_wait_for_the_log(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    fixture_handle(&b.f, mint_message(&b, KEYSPACE_TEST_SIBLINGS, "k", "v", NULL));
    struct message *sent = fixture_take(&b.f, MESSAGE_replica_write);
    assert_int_equal(sent->to.node, 2);
    assert_int_equal(sent->from.kind, ACTOR_COORDINATOR); /* who counts the answers */
    assert_int_equal(sent->id, b.next_id);
    assert_int_equal(sent->replica_write.reason, WRITE_REPLICATE);
    struct bytes record = arena_copy(&b.f.arena, sent->replica_write.record);
    message_free(sent);
    fixture_silent(&b.f);

    /* A read, and a merge that brings nothing new, show the staged state: both wait for it. */
    send_read(&b, KEYSPACE_TEST_SIBLINGS, "k");
    send_write(&b, KEYSPACE_TEST_SIBLINGS, "k", record, WRITE_REPLICATE);
    fixture_silent(&b.f);
    assert_int_equal(counter_get(&replica_figures(b.replica)->held), 3);
    assert_int_equal(counter_get(&replica_figures(b.replica)->merged_same), 1);

    /* Another key is not held up. */
    struct version_set set;
    assert_int_equal(read_set(&b, KEYSPACE_TEST_SIBLINGS, "other", &set), OK);
    assert_int_equal(set.count, 0);

    fixture_sync(&b.f);
    struct message *done = fixture_take(&b.f, MESSAGE_replica_mint_done);
    assert_int_equal(done->replica_mint_done.status, OK);
    assert_true(done->replica_mint_done.staged);
    message_free(done);
    struct message *read = fixture_take(&b.f, MESSAGE_replica_read_reply);
    assert_true(bytes_equal(read->replica_read_reply.record, record));
    message_free(read);
    message_free(fixture_take(&b.f, MESSAGE_replica_write_reply));
    fixture_silent(&b.f);
    assert_int_equal(counter_get(&replica_figures(b.replica)->held), 0);
    bench_deinit(&b);
}

/* A sync that began before a write does not free its answer. */
static void answers_wait_for_their_own_write(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    fixture_handle(&b.f, mint_message(&b, KEYSPACE_TEST_SIBLINGS, "k", "v", NULL));
    message_free(fixture_take(&b.f, MESSAGE_replica_write));
    uint64_t mark = engine_memory_mark(b.f.engine);
    struct version_set peer = test_write(&b.f, &(struct version_set){0}, NULL, 2, 1, "x");
    send_write(&b, KEYSPACE_TEST_SIBLINGS, "k",
               test_record(&b.f, KEYSPACE_TEST_SIBLINGS, "k", &peer), WRITE_REPLICATE);
    fixture_silent(&b.f);
    fixture_sync_to(&b.f, mark);
    message_free(fixture_take(&b.f, MESSAGE_replica_mint_done));
    fixture_silent(&b.f);
    fixture_sync(&b.f);
    message_free(fixture_take(&b.f, MESSAGE_replica_write_reply));
    bench_deinit(&b);
}

/* keyspace.h, periodic: acknowledged from memory, at once. */
static void periodic_answers_at_once(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    fixture_handle(&b.f, mint_message(&b, KEYSPACE_TEST_PERIODIC, "k", "v", NULL));
    message_free(fixture_take(&b.f, MESSAGE_replica_write));
    struct message *done = fixture_take(&b.f, MESSAGE_replica_mint_done);
    assert_int_equal(done->replica_mint_done.status, OK);
    message_free(done);
    assert_false(engine_memory_wants_sync(b.f.engine));
    struct version_set set;
    assert_int_equal(read_set(&b, KEYSPACE_TEST_PERIODIC, "k", &set), OK);
    assert_true(test_holds(&set, "v"));
    bench_deinit(&b);
}

/* replica.h: at most held_max answers are held, beyond it OVERLOADED at once and nothing staged;
 * what is held still leaves. */
static void overload_of_held_answers(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    for (uint32_t i = 0; i < HELD_MAX; i++) {
        fixture_handle(&b.f, mint_message(&b, KEYSPACE_TEST_SIBLINGS, "k", "v", NULL));
        message_free(fixture_take(&b.f, MESSAGE_replica_write));
    }
    uint64_t staged = store_staged(b.f.ctx.store);
    fixture_handle(&b.f, mint_message(&b, KEYSPACE_TEST_SIBLINGS, "k", "w", NULL));
    struct message *done = fixture_take(&b.f, MESSAGE_replica_mint_done);
    assert_int_equal(done->replica_mint_done.status, ERR_OVERLOADED);
    assert_false(done->replica_mint_done.staged);
    message_free(done);
    send_read(&b, KEYSPACE_TEST_SIBLINGS, "k");
    struct message *read = fixture_take(&b.f, MESSAGE_replica_read_reply);
    assert_int_equal(read->replica_read_reply.status, ERR_OVERLOADED);
    message_free(read);
    send_write(&b, KEYSPACE_TEST_SIBLINGS, "k", (struct bytes){0}, WRITE_REPLICATE);
    struct message *written = fixture_take(&b.f, MESSAGE_replica_write_reply);
    assert_int_equal(written->replica_write_reply.status, ERR_OVERLOADED);
    message_free(written);
    assert_int_equal(store_staged(b.f.ctx.store), staged);
    assert_int_equal(counter_get(&replica_figures(b.replica)->overloaded), 3);
    fixture_sync(&b.f);
    for (uint32_t i = 0; i < HELD_MAX; i++)
        message_free(fixture_take(&b.f, MESSAGE_replica_mint_done));
    assert_int_equal(mint(&b, KEYSPACE_TEST_SIBLINGS, "k", "w", NULL).status, OK);
    bench_deinit(&b);
}

static uint64_t no_space(struct store *store)
{
    (void)store;
    return 0;
}

/* A store that refuses for want of space: the answer says so, and whose disk it is. One that is
 * busy and has space says nothing of it. */
static void full_disk_is_named(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    engine_memory_set_faults(b.f.engine, &b.f.prng, 0, 1.0, false);
    const struct store_class *usual = b.f.ctx.store->class;
    struct store_class full = *usual;
    full.free_bytes = no_space;
    for (int i = 0; i < 2; i++) {
        b.f.ctx.store->class = i == 0 ? &full : usual;
        fixture_handle(&b.f, mint_message(&b, KEYSPACE_TEST_SIBLINGS, "k", "v", NULL));
        struct message *done = fixture_take(&b.f, MESSAGE_replica_mint_done);
        assert_int_equal(done->replica_mint_done.status, ERR_OVERLOADED);
        assert_false(done->replica_mint_done.staged);
        assert_int_equal(done->replica_mint_done.disk_full, i == 0);
        if (i == 0)
            assert_string_equal(done->replica_mint_done.why, "the disk of node n01 is full");
        else
            assert_null(done->replica_mint_done.why);
        message_free(done);
    }
    engine_memory_set_faults(b.f.engine, NULL, 0, 0, false);
    assert_int_equal(mint(&b, KEYSPACE_TEST_SIBLINGS, "k", "v", NULL).status, OK);
    bench_deinit(&b);
}

/* A store that refuses a write: not applied, and nothing was sent to anybody. */
static void store_refusals_apply_nothing(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    engine_memory_set_faults(b.f.engine, &b.f.prng, 0, 1.0, false);
    assert_int_equal(mint(&b, KEYSPACE_TEST_SIBLINGS, "k", "v", NULL).status, ERR_OVERLOADED);
    struct version_set peer = test_write(&b.f, &(struct version_set){0}, NULL, 2, 1, "x");
    struct bytes record = test_record(&b.f, KEYSPACE_TEST_SIBLINGS, "k", &peer);
    assert_int_equal(write_record(&b, KEYSPACE_TEST_SIBLINGS, "k", record, WRITE_REPLICATE),
                     ERR_OVERLOADED);
    engine_memory_set_faults(b.f.engine, NULL, 0, 0, false);
    struct version_set set;
    assert_int_equal(read_set(&b, KEYSPACE_TEST_SIBLINGS, "k", &set), OK);
    assert_int_equal(set.count, 0);
    bench_deinit(&b);
}

/* replica.c: work whose asker has given up is not begun: TIMEOUT, nothing staged. What is begun
 * tells the other replicas the same deadline. */
static void late_work_is_refused(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    struct message *message = mint_message(&b, KEYSPACE_TEST_SIBLINGS, "k", "v", NULL);
    message->deadline_ns = b.f.ctx.now_ns;
    fixture_handle(&b.f, message);
    struct message *done = fixture_take(&b.f, MESSAGE_replica_mint_done);
    assert_int_equal(done->replica_mint_done.status, ERR_TIMEOUT);
    assert_false(done->replica_mint_done.staged);
    message_free(done);
    fixture_silent(&b.f);
    message = mint_message(&b, KEYSPACE_TEST_SIBLINGS, "k", "v", NULL);
    message->deadline_ns = b.f.ctx.now_ns + 1;
    fixture_handle(&b.f, message);
    message = fixture_take(&b.f, MESSAGE_replica_write);
    assert_int_equal(message->deadline_ns, b.f.ctx.now_ns + 1);
    message_free(message);
    bench_deinit(&b);
}

/* -- key epochs ------------------------------------------------------------------------------ */

/* RELIABILITY rule 2: a key that is new here gets an epoch of its own; later writes count on in it.
 */
static void fresh_key_fresh_epoch(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    struct minted a = mint(&b, KEYSPACE_TEST_SIBLINGS, "a", "1", NULL);
    struct minted c = mint(&b, KEYSPACE_TEST_SIBLINGS, "c", "1", NULL);
    struct minted a2 = mint(&b, KEYSPACE_TEST_SIBLINGS, "a", "2", NULL);
    assert_int_not_equal(own_epoch(&a.set), own_epoch(&c.set));
    assert_int_equal(own_epoch(&a.set), own_epoch(&a2.set));
    assert_int_equal(a.set.versions[0].dot.counter, 1);
    assert_int_equal(a2.set.versions[0].dot.counter, 2);
    assert_int_equal(counter_get(&replica_figures(b.replica)->epochs_drawn), 2);
    bench_deinit(&b);
}

/* The same for a key of which only others' writes are known. */
static void others_writes_are_no_epoch(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    struct version_set peer = test_write(&b.f, &(struct version_set){0}, NULL, 2, 1, "x");
    struct bytes record = test_record(&b.f, KEYSPACE_TEST_SIBLINGS, "k", &peer);
    assert_int_equal(write_record(&b, KEYSPACE_TEST_SIBLINGS, "k", record, WRITE_REPLICATE), OK);
    struct minted m = mint(&b, KEYSPACE_TEST_SIBLINGS, "k", "mine", &peer.clock);
    assert_int_equal(m.set.count, 1);
    assert_true(own_epoch(&m.set) >= b.boot.epoch_start);
    assert_int_equal(m.set.versions[0].dot.counter, 1);
    bench_deinit(&b);
}

/* replica.h: after a crash the next write of every key draws a fresh epoch, for the dot that was
 * sent before the crash may live on elsewhere. After a clean stop it counts on. RELIABILITY rule 1.
 */
static void unclean_start_fresh_epoch(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    struct minted first = mint(&b, KEYSPACE_TEST_SIBLINGS, "k", "1", NULL);
    /* The second write leaves for node 2 and is lost here. */
    fixture_handle(&b.f, mint_message(&b, KEYSPACE_TEST_SIBLINGS, "k", "2", NULL));
    struct message *sent = fixture_take(&b.f, MESSAGE_replica_write);
    struct version_set lost =
        test_decode(&b.f, KEYSPACE_TEST_SIBLINGS, "k", sent->replica_write.record);
    message_free(sent);
    bench_restart(&b, false);
    struct version_set held;
    assert_int_equal(read_set(&b, KEYSPACE_TEST_SIBLINGS, "k", &held), OK);
    assert_true(version_set_equal(&held, &first.set));
    struct minted third = mint(&b, KEYSPACE_TEST_SIBLINGS, "k", "3", NULL);
    assert_true(own_epoch(&third.set) > own_epoch(&first.set));
    /* The lost write comes back: it is another write, and both stay. */
    assert_int_equal(dot_compare(third.set.versions[0].dot, lost.versions[0].dot) != 0, true);
    struct bytes record = test_record(&b.f, KEYSPACE_TEST_SIBLINGS, "k", &lost);
    assert_int_equal(write_record(&b, KEYSPACE_TEST_SIBLINGS, "k", record, WRITE_READ_REPAIR), OK);
    assert_int_equal(read_set(&b, KEYSPACE_TEST_SIBLINGS, "k", &held), OK);
    assert_int_equal(held.count, 2);

    uint64_t epoch = own_epoch(&held);
    assert_int_equal(boot_mark_clean(engine_store(b.f.engine, HANDLE_BOOT)), OK);
    bench_restart(&b, true);
    struct minted clean = mint(&b, KEYSPACE_TEST_SIBLINGS, "k", "4", NULL);
    assert_int_equal(own_epoch(&clean.set), epoch);
    bench_deinit(&b);
}

/* RELIABILITY rule 4: a context that knows more of this replica than it does itself means memory
 * was lost: a fresh epoch, never the next counter. Wherever the context is ahead: epoch or counter.
 */
static void amnesia_in_a_context(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    struct minted first = mint(&b, KEYSPACE_TEST_SIBLINGS, "k", "1", NULL);
    struct dot ahead = first.set.versions[0].dot;
    ahead.counter = 2;
    struct clock context = clock_add(&b.f.arena, &first.context, ahead);
    struct minted second = mint(&b, KEYSPACE_TEST_SIBLINGS, "k", "2", &context);
    assert_int_equal(second.set.count, 1);
    assert_true(own_epoch(&second.set) > own_epoch(&first.set));
    assert_int_equal(second.set.versions[0].dot.counter, 1);
    assert_int_equal(counter_get(&replica_figures(b.replica)->amnesia), 1);
    assert_true(clock_descends(&second.set.clock, &context));
    /* An epoch that this replica has never seen, on a key that it does not hold. */
    struct version_set forgotten = test_write(&b.f, &(struct version_set){0}, NULL, SELF, 3, "x");
    struct minted other = mint(&b, KEYSPACE_TEST_SIBLINGS, "o", "3", &forgotten.clock);
    assert_true(own_epoch(&other.set) >= b.boot.epoch_start);
    assert_int_equal(counter_get(&replica_figures(b.replica)->amnesia), 2);
    /* A context that it knows is no amnesia. */
    mint(&b, KEYSPACE_TEST_SIBLINGS, "k", "4", &second.context);
    assert_int_equal(counter_get(&replica_figures(b.replica)->amnesia), 2);
    bench_deinit(&b);
}

/* RELIABILITY rule 4: the same when own writes come back in a state, on each write path: they are
 * merged, and every later write here takes another epoch than they have, whether theirs is older
 * than the next of our lease, ahead of it, or the very same (a directory restored from a copy). */
static void amnesia_in_a_state(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 3 * (WRITE_ANTI_ENTROPY + 1); i++) {
        struct bench b;
        bench_init(&b);
        enum write_reason reason = (enum write_reason)(i / 3);
        uint64_t old_epoch = b.boot.epoch_start + i % 3 * (LEASE / 2) - (i % 3 == 0);
        struct version_set mine =
            test_write(&b.f, &(struct version_set){0}, NULL, SELF, old_epoch, "x");
        mine = test_write(&b.f, &mine, NULL, SELF, b.boot.epoch_start, "x");
        struct bytes record = test_record(&b.f, KEYSPACE_TEST_SIBLINGS, "k", &mine);
        assert_int_equal(write_record(&b, KEYSPACE_TEST_SIBLINGS, "k", record, reason), OK);
        assert_int_equal(counter_get(&replica_figures(b.replica)->amnesia), 1);
        struct version_set held;
        assert_int_equal(read_set(&b, KEYSPACE_TEST_SIBLINGS, "k", &held), OK);
        assert_true(test_holds(&held, "x"));
        for (int write = 0; write < 2; write++) {
            struct minted next = mint(&b, KEYSPACE_TEST_SIBLINGS, "k", "y", NULL);
            assert_int_equal(next.set.count, 1);
            assert_false(clock_covers(&held.clock, next.set.versions[0].dot));
            assert_int_equal(
                clock_last_counter(&mine.clock, SELF, next.set.versions[0].dot.key_epoch), 0);
        }
        bench_deinit(&b);
    }
}

/* RELIABILITY rule 3 in the replica: a used-up lease refuses writes as OVERLOADED, applies nothing,
 * and writes go on once the next lease is durable. */
static void lease_used_up(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    char key[16];
    uint32_t minted = 0;
    /* The renewal is staged at 80 % and never becomes durable: no sync. Periodic, so that no answer
     * waits. */
    for (uint32_t i = 0; i < LEASE + 10; i++) {
        snprintf(key, sizeof key, "k%u", i);
        fixture_handle(&b.f, mint_message(&b, KEYSPACE_TEST_PERIODIC, key, "v", NULL));
        struct message *message;
        while ((message = outbox_take(&b.f.outbox)) != NULL) {
            if (message->kind == MESSAGE_replica_mint_done) {
                enum err status = message->replica_mint_done.status;
                assert_int_equal(status, i < LEASE ? OK : ERR_OVERLOADED);
                minted += status == OK;
            }
            message_free(message);
        }
    }
    assert_int_equal(minted, LEASE);
    /* Keys that have their epoch are not held up. */
    fixture_handle(&b.f, mint_message(&b, KEYSPACE_TEST_PERIODIC, "k1", "w", NULL));
    message_free(fixture_take(&b.f, MESSAGE_replica_write));
    message_free(fixture_take(&b.f, MESSAGE_replica_mint_done));
    fixture_sync(&b.f);
    struct minted after = mint(&b, KEYSPACE_TEST_SIBLINGS, "new", "v", NULL);
    assert_int_equal(after.status, OK);
    assert_true(own_epoch(&after.set) >= b.boot.epoch_limit);
    bench_deinit(&b);
}

/* DESIGN.md 5: over the bound a coordinated write drops what retired members wrote, the oldest
 * first, and nothing of members that are here; a merge drops nothing. */
static void clocks_forget_retired_members(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    struct clock_entry entries[60];
    for (uint32_t i = 0; i < 60; i++)
        entries[i] = (struct clock_entry){.member = i < 20 ? 2 : 9, .key_epoch = i + 1, .base = 1};
    struct version version = test_version("v", (uint64_t)WALL_MS << 16);
    version.dot = (struct dot){.member = 2, .key_epoch = 1, .counter = 1};
    struct version_set set = {
        .clock = {.count = 60, .entries = entries}, .count = 1, .versions = &version};
    struct bytes record = test_record(&b.f, KEYSPACE_TEST_SIBLINGS, "k", &set);
    assert_int_equal(write_record(&b, KEYSPACE_TEST_SIBLINGS, "k", record, WRITE_REPLICATE), OK);
    struct version_set held;
    assert_int_equal(read_set(&b, KEYSPACE_TEST_SIBLINGS, "k", &held), OK);
    assert_int_equal(held.clock.count, 60);
    struct minted minted = mint(&b, KEYSPACE_TEST_SIBLINGS, "k", "w", NULL);
    assert_int_equal(minted.set.clock.count, 50);
    assert_int_equal(counter_get(&replica_figures(b.replica)->clock_entries_pruned), 11);
    for (uint64_t epoch = 1; epoch <= 20; epoch++)
        assert_non_null(clock_find(&minted.set.clock, 2, epoch));
    assert_null(clock_find(&minted.set.clock, 9, 21));
    assert_non_null(clock_find(&minted.set.clock, 9, 60));
    bench_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_wait_for_the_log),
        cmocka_unit_test(answers_wait_for_their_own_write),
        cmocka_unit_test(periodic_answers_at_once),
        cmocka_unit_test(overload_of_held_answers),
        cmocka_unit_test(store_refusals_apply_nothing),
        cmocka_unit_test(full_disk_is_named),
        cmocka_unit_test(late_work_is_refused),
        cmocka_unit_test(fresh_key_fresh_epoch),
        cmocka_unit_test(others_writes_are_no_epoch),
        cmocka_unit_test(unclean_start_fresh_epoch),
        cmocka_unit_test(amnesia_in_a_context),
        cmocka_unit_test(amnesia_in_a_state),
        cmocka_unit_test(lease_used_up),
        cmocka_unit_test(clocks_forget_retired_members),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
