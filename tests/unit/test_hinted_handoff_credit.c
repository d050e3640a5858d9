// link: coterie_actors coterie_store
/* Rules of actors/hinted_handoff.h and model/hint_gate.h (RELIABILITY 2.4, rule 22): as many hints
 * are under way as their target grants, however many keepers there are, and all arrive. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model/hint_gate.h"
#include "tests/unit/hint_bench.h"

#define KEEPERS      8u
#define HINTS_EACH   300u
#define ANSWER_AFTER (7 * MS)

static void keep_many(struct bench *b, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        char key[16];
        snprintf(key, sizeof key, "key%u", i);
        keep_hint(b, key, 3, "v");
    }
}

/* One that does not send again what is not answered, so that the test may take its time. */
static void bench_init_patient(struct bench *b)
{
    bench_init(b);
    hinted_handoff_free(b->hinted_handoff);
    b->options.late_ns = 60 * SECONDS;
    bench_start(b, 2);
}

/* All that leaves within `limit_ns`; gives how many. */
static uint32_t collect(struct bench *b, uint64_t limit_ns, uint64_t *ids)
{
    uint32_t count = 0;
    for (uint64_t passed_ns = 0; passed_ns < limit_ns; passed_ns += 5 * MS) {
        struct message *message;
        while ((message = outbox_take(&b->f.outbox)) != NULL) {
            assert_int_equal(message->kind, MESSAGE_replica_write);
            assert_true(count < HINT_WINDOW_MAX);
            ids[count++] = message->id;
            message_free(message);
        }
        fixture_pass(&b->f, 5 * MS);
    }
    return count;
}

static uint32_t answer_all(struct bench *b, const uint64_t *ids, uint32_t count, uint32_t credit)
{
    for (uint32_t i = 0; i < count; i++)
        answer_granting(b, ids[i], TARGET, OK, credit);
    return count;
}

/* Four to begin with, one more for each answer, never more than granted; less at once. */
static void the_window_follows_the_grant(void **state)
{
    (void)state;
    struct bench b;
    uint64_t ids[HINT_WINDOW_MAX];
    bench_init_patient(&b);
    keep_many(&b, 100);
    fixture_set_liveness(&b.f, TARGET, LIVENESS_ALIVE);
    uint32_t count = collect(&b, 900 * MS, ids);
    assert_int_equal(count, HINT_CREDIT_FIRST);
    answer_all(&b, ids, 1, 32);
    assert_int_equal(collect(&b, 300 * MS, ids + 4), 2); /* one for the answer, one more */
    answer_all(&b, ids + 1, 5, 6);
    assert_int_equal(collect(&b, 300 * MS, ids), 6);
    answer_all(&b, ids, 2, 2);
    assert_int_equal(collect(&b, 300 * MS, ids + 6), 0); /* four are under way, two may be */
    answer_all(&b, ids + 2, 4, 2);
    assert_int_equal(collect(&b, 300 * MS, ids), 2);
    bench_deinit(&b);
}

/* No credit: nothing for a while, then one as a question; the pauses grow, and end with a grant. */
static void no_credit_is_asked_again(void **state)
{
    (void)state;
    struct bench b;
    struct hint_target_figures figures;
    uint64_t ids[HINT_WINDOW_MAX];
    bench_init_patient(&b);
    keep_many(&b, 50);
    fixture_set_liveness(&b.f, TARGET, LIVENESS_ALIVE);
    answer_all(&b, ids, collect(&b, 900 * MS, ids), 0);
    assert_int_equal(hinted_handoff_targets(b.hinted_handoff, b.f.ctx.now_ns, &figures, 1), 1);
    assert_int_equal(figures.state, HINT_TARGET_WAITING);
    assert_int_equal(collect(&b, 490 * MS, ids), 0);
    assert_int_equal(collect(&b, 1300 * MS, ids), 1);
    assert_int_equal(counter_get(&b.figures->probes), 1);
    answer_granting(&b, ids[0], TARGET, ERR_OVERLOADED, 0);
    assert_int_equal(collect(&b, 990 * MS, ids), 0); /* two seconds, give or take a half */
    assert_int_equal(collect(&b, 2300 * MS, ids), 1);
    answer_granting(&b, ids[0], TARGET, OK, 3);
    hinted_handoff_targets(b.hinted_handoff, b.f.ctx.now_ns, &figures, 1);
    assert_int_equal(figures.state, HINT_TARGET_DELIVERING);
    assert_int_equal(collect(&b, 300 * MS, ids), 2);
    bench_deinit(&b);
}

/* One that is over its bound for a moment, and grants something all the same, is not left alone. */
static void overloaded_with_a_grant(void **state)
{
    (void)state;
    struct bench b;
    uint64_t ids[HINT_WINDOW_MAX];
    bench_init_patient(&b);
    keep_many(&b, 50);
    fixture_set_liveness(&b.f, TARGET, LIVENESS_ALIVE);
    uint32_t count = collect(&b, 900 * MS, ids);
    for (uint32_t i = 0; i < count; i++)
        answer_granting(&b, ids[i], TARGET, ERR_OVERLOADED, 2);
    assert_int_equal(hints(&b), 50);
    assert_int_equal(collect(&b, 400 * MS, ids), 2);
    bench_deinit(&b);
}

/* -- many keepers ------------------------------------------------------------------------------ */

struct parcel {
    uint32_t keeper;
    uint64_t id;
    uint64_t answer_at_ns;
    bool taken;
};

struct receiver {
    struct hint_gate gate;
    struct parcel parcels[KEEPERS * HINT_WINDOW_MAX];
    uint32_t count;
    uint32_t most; /* under way at once */
    uint32_t refused;
};

static const struct hint_load idle = {.held = 0, .held_max = 16384};

static void receiver_takes(struct receiver *r, struct bench *b, uint32_t keeper)
{
    struct message *message;
    while ((message = outbox_take(&b->f.outbox)) != NULL) {
        assert_true(r->count < ARRAY_COUNT(r->parcels));
        uint64_t now_ns = b->f.ctx.now_ns;
        bool taken = hint_gate_take(&r->gate, keeper + 10, &idle, now_ns);
        r->refused += !taken;
        r->parcels[r->count++] = (struct parcel){.keeper = keeper,
                                                 .id = message->id,
                                                 .answer_at_ns = now_ns + ANSWER_AFTER,
                                                 .taken = taken};
        message_free(message);
    }
    if (r->count > r->most)
        r->most = r->count;
}

static void receiver_answers(struct receiver *r, struct bench *keepers, uint64_t now_ns)
{
    for (uint32_t i = 0; i < r->count;) {
        struct parcel parcel = r->parcels[i];
        if (parcel.answer_at_ns > now_ns) {
            i++;
            continue;
        }
        r->parcels[i] = r->parcels[--r->count];
        if (parcel.taken)
            hint_gate_answered(&r->gate);
        answer_granting(&keepers[parcel.keeper], parcel.id, TARGET,
                        parcel.taken ? OK : ERR_OVERLOADED,
                        hint_gate_credit(&r->gate, &idle, now_ns));
    }
}

static uint64_t hints_of_all(const struct bench *keepers)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < KEEPERS; i++)
        total += hints(&keepers[i]);
    return total;
}

/* Eight keepers with a backlog each: the target never has more under way than it allows, and all
 * arrive. On the road there may be no more than that and the first credits of those that it has not
 * heard of yet; once all have been heard, no more than it allows. */
static void many_keepers_one_target(void **state)
{
    (void)state;
    static struct bench keepers[KEEPERS];
    static struct receiver r;
    struct hint_gate_options options = hint_gate_options_default();
    options.under_way_max = KEEPERS * HINT_CREDIT_FIRST; /* few enough to be in the way */
    hint_gate_init(&r.gate, &options);
    for (uint32_t i = 0; i < KEEPERS; i++) {
        bench_init(&keepers[i]);
        prng_init(&keepers[i].f.prng, i, i);
        keep_many(&keepers[i], HINTS_EACH);
        fixture_set_liveness(&keepers[i].f, TARGET, LIVENESS_ALIVE);
    }
    uint64_t steps = 0;
    uint32_t most_later = 0;
    for (; hints_of_all(keepers) > 0; steps++) {
        assert_true(steps < 60000);
        for (uint32_t i = 0; i < KEEPERS; i++) {
            fixture_pass(&keepers[i].f, MS);
            receiver_takes(&r, &keepers[i], i);
        }
        receiver_answers(&r, keepers, keepers[0].f.ctx.now_ns);
        assert_true(r.gate.under_way <= options.under_way_max);
        assert_true(r.count <= options.under_way_max + (KEEPERS - 1) * HINT_CREDIT_FIRST);
        if (steps > 700 && r.count > most_later)
            most_later = r.count;
    }
    assert_true(most_later <= options.under_way_max);
    assert_true(r.most > options.under_way_max / 2); /* the bound is used, not only kept */
    for (uint32_t i = 0; i < KEEPERS; i++) {
        assert_int_equal(counter_get(&keepers[i].figures->delivered), HINTS_EACH);
        bench_deinit(&keepers[i]);
    }
    print_message("%u keepers: %u hints in %llu ms, at most %u under way, %u refused\n", KEEPERS,
                  KEEPERS * HINTS_EACH, (unsigned long long)steps, r.most, r.refused);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_window_follows_the_grant),
        cmocka_unit_test(no_credit_is_asked_again),
        cmocka_unit_test(overloaded_with_a_grant),
        cmocka_unit_test(many_keepers_one_target),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
