// link: coterie_actors coterie_store
/* What each consistency level means over two data centres, as in Cassandra, seen from the client:
 * every set of replicas that answer, for reads and writes, whether the others refuse, are known to
 * be down, or say nothing. The definitions here are written apart from model/quorum.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/put_bench.h"

#define SIBLINGS KEYSPACE_TEST_SIBLINGS
#define N        3u /* of each data centre */
#define REPLICAS (2 * N)
#define LOCAL    0x07u /* bits of the replicas here: the first N */
#define REMOTE   0x38u

static const enum consistency levels[] = {
    CONSISTENCY_ONE,          CONSISTENCY_LOCAL_ONE,   CONSISTENCY_QUORUM,
    CONSISTENCY_LOCAL_QUORUM, CONSISTENCY_EACH_QUORUM, CONSISTENCY_ALL,
};

enum others { REFUSE, DOWN, SILENT, OTHERS_COUNT };

static uint32_t bits(uint32_t set)
{
    return (uint32_t)__builtin_popcount(set);
}

static bool enough(enum consistency level, uint32_t set)
{
    switch (level) {
    case CONSISTENCY_ONE:
        return set != 0;
    case CONSISTENCY_LOCAL_ONE:
        return (set & LOCAL) != 0;
    case CONSISTENCY_QUORUM:
        return bits(set) >= 4; /* of six */
    case CONSISTENCY_LOCAL_QUORUM:
        return bits(set & LOCAL) >= 2;
    case CONSISTENCY_EACH_QUORUM:
        return bits(set & LOCAL) >= 2 && bits(set & REMOTE) >= 2;
    case CONSISTENCY_ALL:
        return set == (LOCAL | REMOTE);
    case CONSISTENCY_DEFAULT:
    case CONSISTENCY_COUNT:
        break;
    }
    fail();
    return false;
}

static bool stays_local(enum consistency level)
{
    return level == CONSISTENCY_LOCAL_ONE || level == CONSISTENCY_LOCAL_QUORUM;
}

/* -- one request ----------------------------------------------------------------------------------
 */

struct round {
    struct bench b;
    const char *key;
    struct replica_set replicas;
    enum consistency level;
    uint32_t answering; /* bit set of replicas */
    enum others others;
    uint32_t asked;
};

static void round_init(struct round *r, enum consistency level, uint32_t answering,
                       enum others others)
{
    bench_init(&r->b, REPLICAS, 2);
    r->key = "key";
    r->replicas = bench_replicas(&r->b, r->key);
    assert_int_equal(r->replicas.count, REPLICAS);
    for (uint32_t i = 0; i < REPLICAS; i++) /* the local ones first */
        assert_int_equal(r->replicas.replicas[i].data_center == r->b.f.view->local_data_center,
                         i < N);
    r->level = level;
    r->answering = answering;
    r->others = others;
    r->asked = 0;
    for (uint32_t i = 0; i < REPLICAS && others == DOWN; i++) {
        if ((answering >> i & 1) == 0)
            fixture_set_liveness(&r->b.f, r->replicas.replicas[i].member, LIVENESS_DOWN);
    }
}

static uint32_t index_of(const struct round *r, uint32_t member)
{
    uint32_t i = 0;
    while (r->replicas.replicas[i].member != member)
        i++;
    assert_true(i < REPLICAS);
    return i;
}

/* Says what the replica of that place says, if anything, to a read or a write. */
static void round_reply(struct round *r, uint64_t id, uint32_t index, bool write)
{
    uint32_t member = r->replicas.replicas[index].member;
    bool answers = (r->answering >> index & 1) != 0;
    if (!answers && r->others != REFUSE)
        return;
    if (write)
        bench_write_reply(&r->b, id, member, answers ? OK : ERR_IO);
    else
        bench_read_reply(&r->b, id, member, answers ? OK : ERR_IO, (struct bytes){0});
}

/* Answers what is asked until the client has its answer; time passes when all is silent. */
static enum err round_play(struct round *r, enum message_kind done)
{
    for (uint32_t step = 0; step < 200; step++) {
        struct message *message = outbox_take(&r->b.f.outbox);
        if (message == NULL) {
            fixture_pass(&r->b.f, 50 * MS);
            continue;
        }
        enum message_kind kind = message->kind;
        uint64_t id = message->id;
        uint32_t to = message->to.node;
        enum err status = OK;
        if (kind == MESSAGE_client_get_done)
            status = message->client_get_done.status;
        if (kind == MESSAGE_client_put_done)
            status = message->client_put_done.result.status;
        message_free(message);
        if (kind == done)
            return status;
        if (kind == MESSAGE_replica_read || kind == MESSAGE_replica_write) {
            r->asked |= 1u << index_of(r, to);
            round_reply(r, id, index_of(r, to), kind == MESSAGE_replica_write);
        } else if (kind == MESSAGE_replica_mint) {
            mint_done(&r->b, id, OK, NULL);
            for (uint32_t i = 0; i < REPLICAS; i++) {
                if (r->replicas.replicas[i].member != SELF)
                    round_reply(r, id, i, true);
            }
        }
    }
    fail_msg("no answer at %s", consistency_text(r->level));
    return OK;
}

static enum err expected(enum consistency level, uint32_t set, enum others others)
{
    if (enough(level, set))
        return OK;
    return others == SILENT ? ERR_TIMEOUT : ERR_UNAVAILABLE;
}

static void check(const struct round *r, enum err status, const char *what)
{
    enum err expect = expected(r->level, r->answering, r->others);
    if (status != expect)
        fail_msg("%s at %s, replicas %02x answer, the others %u: %s, not %s", what,
                 consistency_text(r->level), r->answering, r->others, err_text(status),
                 err_text(expect));
}

/* -- the rules ------------------------------------------------------------------------------------
 */

/* A read is answered just when the level says so, and a local one asks nobody in the other data
 * centre, whatever happens here. */
static void reads(void **state)
{
    (void)state;
    for (uint32_t level = 0; level < ARRAY_COUNT(levels); level++) {
        for (uint32_t set = 0; set < 1u << REPLICAS; set++) {
            for (uint32_t others = 0; others < OTHERS_COUNT; others++) {
                struct round r;
                round_init(&r, levels[level], set, (enum others)others);
                /* A node knows itself to be alive: there it has failed to read instead. */
                fixture_set_liveness(&r.b.f, SELF, LIVENESS_ALIVE);
                bool own = (set >> index_of(&r, SELF) & 1) != 0;
                if (others == DOWN && !own) {
                    bench_deinit(&r.b);
                    continue;
                }
                bench_get(&r.b, SIBLINGS, r.key, levels[level], 0);
                check(&r, round_play(&r, MESSAGE_client_get_done), "get");
                if (stays_local(levels[level]))
                    assert_int_equal(r.asked & REMOTE, 0);
                bench_deinit(&r.b);
            }
        }
    }
}

/* The same for a write, here a strict one: no fallback stands in. The replica of this node makes
 * it, so that one always answers. */
static void writes(void **state)
{
    (void)state;
    for (uint32_t level = 0; level < ARRAY_COUNT(levels); level++) {
        for (uint32_t set = 0; set < 1u << REPLICAS; set++) {
            for (uint32_t others = 0; others < OTHERS_COUNT; others++) {
                struct round r;
                round_init(&r, levels[level], set, (enum others)others);
                if ((set >> index_of(&r, SELF) & 1) != 0) {
                    bench_put_strict(&r.b, SIBLINGS, r.key, levels[level], true);
                    check(&r, round_play(&r, MESSAGE_client_put_done), "put");
                }
                bench_deinit(&r.b);
            }
        }
    }
}

/* Sloppy: a spare node stands in for a replica of its own data centre, and for no other. */
static void fallbacks_stand_in_at_home(void **state)
{
    (void)state;
    for (uint32_t away = 1; away <= N; away++) {
        struct bench b;
        bench_init(&b, 8, 2); /* one spare node in each */
        const char *key = bench_key(&b, true);
        struct replica_set replicas = bench_replicas(&b, key);
        for (uint32_t i = 0; i < away; i++)
            fixture_set_liveness(&b.f, replicas.replicas[N + i].member, LIVENESS_DOWN);
        bench_put(&b, SIBLINGS, key, CONSISTENCY_EACH_QUORUM);
        if (away == N) { /* the spare one there is one, and needed are two */
            put_answered(&b, ERR_UNAVAILABLE, OUTCOME_NOT_APPLIED);
            bench_deinit(&b);
            continue;
        }
        struct minting minting = take_mint(&b);
        mint_done(&b, minting.id, OK, NULL);
        for (uint32_t i = 0; i < minting.targets.count; i++) {
            struct asked hints = bench_asked(&b, MESSAGE_hint_store);
            for (uint32_t k = 0; k < hints.hints; k++) {
                /* Places go in turn: odd members are here. What this node keeps counts for nothing.
                 */
                assert_true(hints.keepers[k] == SELF || hints.keepers[k] % 2 != SELF % 2);
                bench_hint_reply(&b, minting.id, hints.keepers[k], OK);
            }
            bench_write_reply(&b, minting.id, minting.targets.members[i], OK);
            if (b.f.outbox.first != NULL && b.f.outbox.first->kind == MESSAGE_client_put_done)
                break;
        }
        struct message *done = fixture_take(&b.f, MESSAGE_client_put_done);
        assert_int_equal(done->client_put_done.result.status, OK);
        assert_int_equal(done->client_put_done.result.progress.needed, 4);
        assert_int_equal(done->client_put_done.result.progress.fallback_count, 1);
        message_free(done);
        bench_deinit(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads),
        cmocka_unit_test(writes),
        cmocka_unit_test(fallbacks_stand_in_at_home),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
