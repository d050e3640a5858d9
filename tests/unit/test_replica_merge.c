// link: coterie_actors coterie_store
/* Rules of actors/replica.h: contexts, siblings, last writer wins, damaged and unreadable records.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/replica_bench.h"

#include <stdlib.h>

/* -- contexts and siblings ------------------------------------------------------------------- */

/* DESIGN.md 5: two plain puts overwrite; a put with a context replaces exactly what that covers. */
static void a_write_removes_what_it_covers(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    struct minted one = mint(&b, KEYSPACE_TEST_SIBLINGS, "k", "1", NULL);
    struct minted two = mint(&b, KEYSPACE_TEST_SIBLINGS, "k", "2", NULL);
    assert_int_equal(two.set.count, 1);
    assert_true(test_holds(&two.set, "2"));
    struct minted stale = mint(&b, KEYSPACE_TEST_SIBLINGS, "k", "3", &one.context);
    assert_int_equal(stale.set.count, 2);
    /* RELIABILITY rule 8: the writer of 3 has not seen 2, so its context does not cover it. */
    struct minted four = mint(&b, KEYSPACE_TEST_SIBLINGS, "k", "4", &stale.context);
    assert_int_equal(four.set.count, 2);
    assert_true(test_holds(&four.set, "2") && test_holds(&four.set, "4"));
    struct clock all = version_set_context(&four.set);
    struct minted five = mint(&b, KEYSPACE_TEST_SIBLINGS, "k", "5", &all);
    assert_int_equal(five.set.count, 1);
    bench_deinit(&b);
}

/* A context that cannot be read is INVALID and applies nothing. */
static void bad_contexts_are_refused(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    static const char *const bad[] = {"\xff\xff", "", "\x00trailing"};
    static const size_t sizes[] = {2, 0, 9};
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        struct message *message = mint_message(&b, KEYSPACE_TEST_SIBLINGS, "k", "v", NULL);
        message->replica_mint.request.has_context = true;
        message->replica_mint.request.context = bytes_of(bad[i], sizes[i]);
        fixture_handle(&b.f, message);
        struct message *done = fixture_take(&b.f, MESSAGE_replica_mint_done);
        assert_int_equal(done->replica_mint_done.status, ERR_INVALID);
        assert_non_null(strstr(done->replica_mint_done.why, "context"));
        message_free(done);
        fixture_silent(&b.f);
    }
    assert_int_equal(store_staged(b.f.ctx.store), 0);
    bench_deinit(&b);
}

/* RELIABILITY rule 9: over 25 siblings are counted as a warning, the 101st is refused with LIMIT
 * and nothing is dropped; a write that makes them fewer is let through. */
static void siblings_are_bounded(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    struct clock nothing = {0};
    struct minted m = {0};
    for (uint32_t i = 1; i <= SIBLINGS_MAX; i++) {
        char value[16];
        snprintf(value, sizeof value, "v%u", i);
        m = mint(&b, KEYSPACE_TEST_SIBLINGS, "k", value, &nothing);
        assert_int_equal(m.status, OK);
        assert_int_equal(m.siblings, i);
        uint64_t warned = i > SIBLINGS_WARN ? i - SIBLINGS_WARN : 0;
        assert_int_equal(counter_get(&replica_figures(b.replica)->siblings_warned), warned);
    }
    assert_int_equal(mint(&b, KEYSPACE_TEST_SIBLINGS, "k", "more", &nothing).status, ERR_LIMIT);
    assert_int_equal(counter_get(&replica_figures(b.replica)->siblings_refused), 1);
    struct version_set held;
    assert_int_equal(read_set(&b, KEYSPACE_TEST_SIBLINGS, "k", &held), OK);
    assert_true(version_set_equal(&held, &m.set));
    /* A merge of what others hold is never refused: nothing may be dropped. */
    struct version_set peer = test_write(&b.f, &(struct version_set){0}, NULL, 2, 1, "theirs");
    struct bytes record = test_record(&b.f, KEYSPACE_TEST_SIBLINGS, "k", &peer);
    assert_int_equal(write_record(&b, KEYSPACE_TEST_SIBLINGS, "k", record, WRITE_REPLICATE), OK);
    /* 101 held: a write that covers one leaves 101, not more than before; it goes through. */
    assert_int_equal(mint(&b, KEYSPACE_TEST_SIBLINGS, "k", "swap", &peer.clock).siblings,
                     SIBLINGS_MAX + 1);
    struct minted few = mint(&b, KEYSPACE_TEST_SIBLINGS, "k", "one", &m.set.clock);
    assert_int_equal(few.status, OK);
    assert_int_equal(few.siblings, 2);
    bench_deinit(&b);
}

static char *long_text(size_t size)
{
    char *text = malloc(size + 1);
    assert_non_null(text);
    memset(text, 'x', size);
    text[size] = '\0';
    return text;
}

/* limits.h: what could not travel to another replica in one message is refused before it is staged:
 * W could never be met, and the key could be read from here alone. Fewer or smaller siblings go
 * through. */
static void records_can_travel(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    char *large = long_text(1024 * 1024);
    struct clock nothing = {0};
    struct minted m = {0};
    for (uint32_t i = 1; i <= 3; i++) {
        m = mint(&b, KEYSPACE_TEST_SIBLINGS, "k", large, &nothing);
        assert_int_equal(m.status, OK);
        assert_int_equal(m.siblings, i);
    }
    uint64_t staged = store_staged(b.f.ctx.store);
    assert_int_equal(mint(&b, KEYSPACE_TEST_SIBLINGS, "k", large, &nothing).status, ERR_LIMIT);
    assert_int_equal(store_staged(b.f.ctx.store), staged);
    assert_int_equal(counter_get(&replica_figures(b.replica)->siblings_refused), 1);
    /* The record and the put's context together: the largest value that fits, and a byte more. */
    size_t held = test_record(&b.f, KEYSPACE_TEST_SIBLINGS, "k", &m.set).size;
    char *rest = long_text(RECORD_BYTES_MAX - held);
    size_t size = RECORD_BYTES_MAX - held;
    struct minted fits = {.status = ERR_LIMIT};
    while (fits.status == ERR_LIMIT && size > RECORD_BYTES_MAX - held - 100) {
        rest[size--] = '\0';
        fits = mint(&b, KEYSPACE_TEST_SIBLINGS, "k", rest, &nothing);
    }
    assert_int_equal(fits.status, OK);
    struct bytes record = test_record(&b.f, KEYSPACE_TEST_SIBLINGS, "k", &fits.set);
    assert_int_equal(record.size + test_clock_bytes(&b.f, &fits.context).size, RECORD_BYTES_MAX);
    assert_int_equal(mint(&b, KEYSPACE_TEST_SIBLINGS, "k", "", &nothing).status, ERR_LIMIT);
    assert_int_equal(mint(&b, KEYSPACE_TEST_SIBLINGS, "k", large, &m.set.clock).siblings, 2);
    free(rest);
    free(large);
    bench_deinit(&b);
}

/* limits.h: nor is a join stored that could not travel. It could never be copied again, and the
 * vnode not be filled from here; both sides keep what they have. */
static void joins_can_travel(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    char *big = long_text(VALUE_BYTES_MAX_CEILING);
    struct version_set none = {0};
    struct version_set first = test_write(&b.f, &none, NULL, 2, 1, big);
    struct version_set second = test_write(&b.f, &none, NULL, 3, 1, big);
    struct version_set small = test_write(&b.f, &none, NULL, 3, 2, "small");
    struct bytes one = test_record(&b.f, KEYSPACE_TEST_SIBLINGS, "k", &first);
    struct bytes two = test_record(&b.f, KEYSPACE_TEST_SIBLINGS, "k", &second);
    struct bytes three = test_record(&b.f, KEYSPACE_TEST_SIBLINGS, "k", &small);
    struct version_set held;
    assert_int_equal(write_record(&b, KEYSPACE_TEST_SIBLINGS, "k", one, WRITE_REPLICATE), OK);
    assert_int_equal(write_record(&b, KEYSPACE_TEST_SIBLINGS, "k", two, WRITE_REPLICATE),
                     ERR_LIMIT);
    assert_int_equal(write_record(&b, KEYSPACE_TEST_SIBLINGS, "k", two, WRITE_ANTI_ENTROPY),
                     ERR_LIMIT);
    assert_int_equal(counter_get(&replica_figures(b.replica)->siblings_refused), 2);
    assert_int_equal(read_set(&b, KEYSPACE_TEST_SIBLINGS, "k", &held), OK);
    assert_true(version_set_equal(&held, &first));
    assert_int_equal(write_record(&b, KEYSPACE_TEST_SIBLINGS, "k", three, WRITE_REPLICATE), OK);
    assert_int_equal(write_record(&b, KEYSPACE_TEST_SIBLINGS, "k", one, WRITE_REPLICATE), OK);
    free(big);
    bench_deinit(&b);
}

/* RELIABILITY rule 6: a merge keeps what was written apart, and the same state twice changes
 * nothing. */
static void merge_keeps_concurrent_writes(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    mint(&b, KEYSPACE_TEST_SIBLINGS, "k", "mine", NULL);
    struct version_set peer = test_write(&b.f, &(struct version_set){0}, NULL, 2, 1, "theirs");
    struct bytes record = test_record(&b.f, KEYSPACE_TEST_SIBLINGS, "k", &peer);
    assert_int_equal(write_record(&b, KEYSPACE_TEST_SIBLINGS, "k", record, WRITE_REPLICATE), OK);
    uint64_t staged = store_staged(b.f.ctx.store);
    assert_int_equal(write_record(&b, KEYSPACE_TEST_SIBLINGS, "k", record, WRITE_REPLICATE), OK);
    assert_int_equal(store_staged(b.f.ctx.store), staged);
    assert_int_equal(counter_get(&replica_figures(b.replica)->merged), 1);
    assert_int_equal(counter_get(&replica_figures(b.replica)->merged_same), 1);
    struct version_set held;
    assert_int_equal(read_set(&b, KEYSPACE_TEST_SIBLINGS, "k", &held), OK);
    assert_true(test_holds(&held, "mine") && test_holds(&held, "theirs"));
    bench_deinit(&b);
}

/* -- last writer wins ------------------------------------------------------------------------ */

static struct version_set lww_peer(struct bench *b, const char *value, uint64_t wall_ms)
{
    struct version version = test_version(value, wall_ms << 16);
    struct dot dot;
    return version_set_put(&b->f.arena, &(struct version_set){0}, NULL, 2, wall_ms, &version, &dot);
}

/* DESIGN.md 5, lww: the later timestamp wins a merge, in whichever order they come; one version is
 * left. */
static bool write_differs(struct bench *b, struct bytes record)
{
    send_write(b, KEYSPACE_TEST_SIBLINGS, "k", record, WRITE_ANTI_ENTROPY);
    fixture_sync(&b->f);
    struct message *reply = fixture_take(&b->f, MESSAGE_replica_write_reply);
    assert_int_equal(reply->replica_write_reply.status, OK);
    bool differs = reply->replica_write_reply.differs;
    message_free(reply);
    return differs;
}

/* Who hands a state over is told when the join holds more than that: then he lacks something. */
static void the_answer_says_what_else_is_held(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    struct version_set empty = {0};
    struct version_set older = test_write(&b.f, &empty, NULL, 2, 7, "old");
    struct version_set newer = test_write(&b.f, &older, NULL, 2, 7, "new");
    struct version_set apart = test_write(&b.f, &empty, NULL, 3, 7, "apart");
    struct bytes records[] = {test_record(&b.f, KEYSPACE_TEST_SIBLINGS, "k", &older),
                              test_record(&b.f, KEYSPACE_TEST_SIBLINGS, "k", &newer),
                              test_record(&b.f, KEYSPACE_TEST_SIBLINGS, "k", &apart)};
    assert_false(write_differs(&b, records[0]));
    assert_false(write_differs(&b, records[1])); /* it covers what was held */
    assert_false(write_differs(&b, records[1])); /* twice */
    assert_true(write_differs(&b, records[0]));  /* it is covered by what is held */
    assert_true(write_differs(&b, records[2]));  /* concurrent */
    bench_deinit(&b);
}

static void lww_later_stamp_wins(void **state)
{
    (void)state;
    for (int order = 0; order < 2; order++) {
        struct bench b;
        bench_init(&b);
        struct version_set early = lww_peer(&b, "early", WALL_MS - 10);
        struct version_set late = lww_peer(&b, "late", WALL_MS + 10);
        struct bytes first = test_record(&b.f, KEYSPACE_TEST_LWW, "k", order == 0 ? &early : &late);
        struct bytes second =
            test_record(&b.f, KEYSPACE_TEST_LWW, "k", order == 0 ? &late : &early);
        assert_int_equal(write_record(&b, KEYSPACE_TEST_LWW, "k", first, WRITE_REPLICATE), OK);
        assert_int_equal(write_record(&b, KEYSPACE_TEST_LWW, "k", second, WRITE_REPLICATE), OK);
        struct version_set held;
        assert_int_equal(read_set(&b, KEYSPACE_TEST_LWW, "k", &held), OK);
        assert_int_equal(held.count, 1);
        assert_true(test_holds(&held, "late"));
        /* A write here beats what this replica holds, although its wall clock is behind. */
        struct minted mine = mint(&b, KEYSPACE_TEST_LWW, "k", "mine", NULL);
        assert_int_equal(mine.set.count, 1);
        assert_true(mine.set.versions[0].written_at > (uint64_t)(WALL_MS + 10) << 16);
        bench_deinit(&b);
    }
}

/* replica.c: in lww a write replaces what its replica holds, whatever context comes with it: one
 * version stays, and the context does not remove a later stamp that was never here. */
static void lww_ignores_contexts(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    struct clock nothing = {0};
    mint(&b, KEYSPACE_TEST_LWW, "k", "1", NULL);
    struct minted two = mint(&b, KEYSPACE_TEST_LWW, "k", "2", &nothing);
    assert_int_equal(two.set.count, 1);
    struct version_set later = lww_peer(&b, "later", WALL_MS + 1000);
    struct minted three = mint(&b, KEYSPACE_TEST_LWW, "k", "3", &later.clock);
    assert_false(clock_descends(&three.set.clock, &later.clock));
    struct bytes record = test_record(&b.f, KEYSPACE_TEST_LWW, "k", &later);
    assert_int_equal(write_record(&b, KEYSPACE_TEST_LWW, "k", record, WRITE_REPLICATE), OK);
    struct version_set held;
    assert_int_equal(read_set(&b, KEYSPACE_TEST_LWW, "k", &held), OK);
    assert_true(test_holds(&held, "later"));
    bench_deinit(&b);
}

/* DESIGN.md 5: timestamps too far ahead are refused, as new writes; repair of what others hold goes
 * through, or reads could not end. Siblings keyspaces read no clock (RELIABILITY rule 11). */
static void lww_far_stamps_are_refused(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    struct version_set far = lww_peer(&b, "far", WALL_MS + 2 * HLC_AHEAD_MAX_DEFAULT_MS);
    struct bytes record = test_record(&b.f, KEYSPACE_TEST_LWW, "k", &far);
    assert_int_equal(write_record(&b, KEYSPACE_TEST_LWW, "k", record, WRITE_REPLICATE), ERR_LIMIT);
    assert_int_equal(counter_get(&replica_figures(b.replica)->clock_refused), 1);
    struct version_set held;
    assert_int_equal(read_set(&b, KEYSPACE_TEST_LWW, "k", &held), OK);
    assert_int_equal(held.count, 0);
    assert_int_equal(write_record(&b, KEYSPACE_TEST_LWW, "k", record, WRITE_READ_REPAIR), OK);
    assert_int_equal(read_set(&b, KEYSPACE_TEST_LWW, "k", &held), OK);
    assert_true(test_holds(&held, "far"));
    record = test_record(&b.f, KEYSPACE_TEST_SIBLINGS, "k", &far);
    assert_int_equal(write_record(&b, KEYSPACE_TEST_SIBLINGS, "k", record, WRITE_REPLICATE), OK);
    bench_deinit(&b);
}

/* -- damage ---------------------------------------------------------------------------------- */

/* RELIABILITY rule 25: a record from a peer with any bit flipped is refused as CORRUPT; what is
 * held here stays as it was. */
static void corrupt_from_a_peer(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    struct minted held = mint(&b, KEYSPACE_TEST_SIBLINGS, "k", "v", NULL);
    struct version_set peer = test_write(&b.f, &(struct version_set){0}, NULL, 2, 1, "x");
    struct bytes record = test_record(&b.f, KEYSPACE_TEST_SIBLINGS, "k", &peer);
    uint8_t *bytes = arena_alloc(&b.f.arena, record.size);
    uint64_t staged = store_staged(b.f.ctx.store);
    for (size_t bit = 0; bit < 8 * record.size; bit++) {
        memcpy(bytes, record.data, record.size);
        bytes[bit / 8] = (uint8_t)(bytes[bit / 8] ^ 1u << bit % 8);
        assert_int_equal(write_record(&b, KEYSPACE_TEST_SIBLINGS, "k", bytes_of(bytes, record.size),
                                      WRITE_REPLICATE),
                         ERR_CORRUPT);
    }
    /* A sound record of another key is damage too. */
    record = test_record(&b.f, KEYSPACE_TEST_SIBLINGS, "other", &peer);
    assert_int_equal(write_record(&b, KEYSPACE_TEST_SIBLINGS, "k", record, WRITE_REPLICATE),
                     ERR_CORRUPT);
    assert_int_equal(store_staged(b.f.ctx.store), staged);
    struct version_set after;
    assert_int_equal(read_set(&b, KEYSPACE_TEST_SIBLINGS, "k", &after), OK);
    assert_true(version_set_equal(&after, &held.set));
    bench_deinit(&b);
}

/* RELIABILITY rules 5, 25: a damaged record on disk is never "nothing": reads, writes and mints of
 * that key fail, no dot is issued and the damage is not spread or overwritten. */
static void corrupt_on_disk(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    struct minted good = mint(&b, KEYSPACE_TEST_SIBLINGS, "k", "v", NULL);
    struct bytes record = test_record(&b.f, KEYSPACE_TEST_SIBLINGS, "k", &good.set);
    uint8_t *bytes = arena_alloc(&b.f.arena, record.size);
    memcpy(bytes, record.data, record.size);
    bytes[record.size / 2] ^= 0x10;
    put_raw(&b, KEYSPACE_TEST_SIBLINGS, "k", bytes_of(bytes, record.size));
    uint64_t staged = store_staged(b.f.ctx.store);
    uint64_t drawn = counter_get(&replica_figures(b.replica)->epochs_drawn);
    struct version_set set;
    assert_int_equal(read_set(&b, KEYSPACE_TEST_SIBLINGS, "k", &set), ERR_CORRUPT);
    assert_int_equal(mint(&b, KEYSPACE_TEST_SIBLINGS, "k", "w", NULL).status, ERR_CORRUPT);
    assert_int_equal(write_record(&b, KEYSPACE_TEST_SIBLINGS, "k", record, WRITE_REPLICATE),
                     ERR_CORRUPT);
    assert_int_equal(store_staged(b.f.ctx.store), staged + 1); /* the copy aside */
    assert_int_equal(counter_get(&replica_figures(b.replica)->epochs_drawn), drawn);
    assert_int_equal(counter_get(&replica_figures(b.replica)->corrupt), 3);
    assert_int_equal(counter_get(&replica_figures(b.replica)->read_errors), 3);
    /* Other keys live. */
    assert_int_equal(mint(&b, KEYSPACE_TEST_SIBLINGS, "other", "v", NULL).status, OK);
    bench_deinit(&b);
}

/* RELIABILITY rule 5: a local read error is not "not found": no dot is issued from a failed read.
 */
static void read_errors_are_not_absence(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    mint(&b, KEYSPACE_TEST_SIBLINGS, "k", "v", NULL);
    uint64_t drawn = counter_get(&replica_figures(b.replica)->epochs_drawn);
    engine_memory_set_faults(b.f.engine, &b.f.prng, 1.0, 0, false);
    struct version_set set;
    assert_int_equal(read_set(&b, KEYSPACE_TEST_SIBLINGS, "k", &set), ERR_IO);
    assert_int_equal(mint(&b, KEYSPACE_TEST_SIBLINGS, "k", "w", NULL).status, ERR_IO);
    assert_int_equal(mint(&b, KEYSPACE_TEST_SIBLINGS, "new", "w", NULL).status, ERR_IO);
    struct version_set peer = test_write(&b.f, &(struct version_set){0}, NULL, 2, 1, "x");
    struct bytes record = test_record(&b.f, KEYSPACE_TEST_SIBLINGS, "k", &peer);
    assert_int_equal(write_record(&b, KEYSPACE_TEST_SIBLINGS, "k", record, WRITE_REPLICATE),
                     ERR_IO);
    engine_memory_set_faults(b.f.engine, NULL, 0, 0, false);
    assert_int_equal(counter_get(&replica_figures(b.replica)->epochs_drawn), drawn);
    assert_int_equal(counter_get(&replica_figures(b.replica)->minted), 1);
    assert_int_equal(read_set(&b, KEYSPACE_TEST_SIBLINGS, "k", &set), OK);
    assert_int_equal(set.count, 1);
    bench_deinit(&b);
}

/* actor.h: a message that is not for a replica is counted and consumed. */
static void foreign_messages_are_counted(void **state)
{
    (void)state;
    static const enum message_kind known[] = {
        MESSAGE_replica_mint,    MESSAGE_replica_write,  MESSAGE_replica_read,
        MESSAGE_store_committed, MESSAGE_vnode_doubt,    MESSAGE_vnode_adopt,
        MESSAGE_vnode_complete,  MESSAGE_reap_scan,      MESSAGE_reap_seal,
        MESSAGE_reap_remove,     MESSAGE_vnode_complete, MESSAGE_tree_roots,
        MESSAGE_tree_read,       MESSAGE_digest_read,    MESSAGE_record_fetch,
        MESSAGE_key_explain,     MESSAGE_register_query, MESSAGE_register_prepare,
        MESSAGE_register_accept, MESSAGE_register_list,
    };
    struct bench b;
    bench_init(&b);
    uint64_t expected = 0;
    for (unsigned kind = 0; kind < MESSAGE_KIND_COUNT; kind++) {
        bool mine = false;
        for (size_t i = 0; i < ARRAY_COUNT(known); i++)
            mine |= known[i] == (enum message_kind)kind;
        if (mine)
            continue;
        fixture_handle(&b.f, message_new((enum message_kind)kind, 0));
        expected++;
    }
    fixture_silent(&b.f);
    assert_int_equal(counter_get(&replica_figures(b.replica)->unexpected), expected);
    bench_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_write_removes_what_it_covers),
        cmocka_unit_test(bad_contexts_are_refused),
        cmocka_unit_test(siblings_are_bounded),
        cmocka_unit_test(records_can_travel),
        cmocka_unit_test(joins_can_travel),
        cmocka_unit_test(merge_keeps_concurrent_writes),
        cmocka_unit_test(the_answer_says_what_else_is_held),
        cmocka_unit_test(lww_later_stamp_wins),
        cmocka_unit_test(lww_ignores_contexts),
        cmocka_unit_test(lww_far_stamps_are_refused),
        cmocka_unit_test(corrupt_from_a_peer),
        cmocka_unit_test(corrupt_on_disk),
        cmocka_unit_test(read_errors_are_not_absence),
        cmocka_unit_test(foreign_messages_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
