// link: coterie_model
/* Rules of model/identity.h: a member is one process at a time, and a directory that has forgotten
 * what its peers have seen of it goes on only as a new incarnation without a vote (RELIABILITY
 * rules 2, 29, 30). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/prng.h"
#include "model/identity.h"

#define SEED 20261122u

static struct node_id id_of(uint8_t number)
{
    return (struct node_id){.bytes = {number, [15] = 7}};
}

static struct identity_hello hello_of(uint8_t id, uint64_t generation, uint64_t nonce)
{
    return (struct identity_hello){
        .self = {.node_id = id_of(id), .generation = generation, .start_nonce = nonce}};
}

/* -- each rule -------------------------------------------------------------------------------- */

struct row {
    uint8_t id;
    uint64_t generation;
    uint64_t nonce;
    uint8_t superseded; /* 0: none */
    enum identity_verdict gone, linked, answers;
};

/* Recorded: id 1, generation 5, nonce 50. */
static void each_rule(void **state)
{
    (void)state;
    static const struct identity known = {{.bytes = {1, [15] = 7}}, 5, 50};
    static const struct row rows[] = {
        {1, 5, 50, 0, IDENTITY_SAME, IDENTITY_SAME, IDENTITY_SAME},
        {1, 5, 50, 9, IDENTITY_SAME, IDENTITY_SAME, IDENTITY_SAME},
        {1, 6, 60, 0, IDENTITY_RESTARTED, IDENTITY_PROBE, IDENTITY_DUPLICATE},
        {1, 6, 50, 0, IDENTITY_SAME, IDENTITY_SAME, IDENTITY_SAME}, /* raised since */
        {1, UINT64_MAX, 60, 0, IDENTITY_RESTARTED, IDENTITY_PROBE, IDENTITY_DUPLICATE},
        {1, 5, 51, 0, IDENTITY_RESTORED, IDENTITY_PROBE, IDENTITY_DUPLICATE},
        {1, 4, 50, 0, IDENTITY_SAME, IDENTITY_SAME, IDENTITY_SAME}, /* said before that */
        {1, 4, 40, 0, IDENTITY_RESTORED, IDENTITY_PROBE, IDENTITY_DUPLICATE},
        {2, 1, 10, 1, IDENTITY_REPLACED, IDENTITY_PROBE, IDENTITY_DUPLICATE},
        {2, 9, 50, 1, IDENTITY_REPLACED, IDENTITY_PROBE, IDENTITY_DUPLICATE},
        {2, 1, 10, 0, IDENTITY_WIPED, IDENTITY_PROBE, IDENTITY_DUPLICATE},
        {2, 1, 10, 3, IDENTITY_WIPED, IDENTITY_PROBE, IDENTITY_DUPLICATE},
        {2, 5, 50, 0, IDENTITY_WIPED, IDENTITY_PROBE, IDENTITY_DUPLICATE},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct row *row = &rows[i];
        struct identity_hello hello = hello_of(row->id, row->generation, row->nonce);
        if (row->superseded != 0)
            hello.superseded[hello.superseded_count++] = id_of(row->superseded);
        assert_int_equal(identity_judge(&known, &hello, IDENTITY_GONE), row->gone);
        assert_int_equal(identity_judge(&known, &hello, IDENTITY_LINKED), row->linked);
        assert_int_equal(identity_judge(&known, &hello, IDENTITY_ANSWERS), row->answers);
        assert_int_equal(identity_judge(NULL, &hello, IDENTITY_GONE), IDENTITY_FIRST);
    }
    /* Any id of the list counts. */
    struct identity_hello hello = hello_of(2, 1, 1);
    for (uint8_t i = 0; i < 3; i++)
        hello.superseded[hello.superseded_count++] = id_of((uint8_t)(10 - i));
    assert_int_equal(identity_judge(&known, &hello, IDENTITY_GONE), IDENTITY_WIPED);
    hello.superseded[2] = id_of(1);
    assert_int_equal(identity_judge(&known, &hello, IDENTITY_GONE), IDENTITY_REPLACED);
}

static void what_follows_from_verdicts(void **state)
{
    (void)state;
    static const struct {
        enum identity_verdict verdict;
        enum identity_action action;
        bool recorded;
    } rows[] = {
        {IDENTITY_FIRST, IDENTITY_PROCEED, true},     {IDENTITY_SAME, IDENTITY_PROCEED, false},
        {IDENTITY_RESTARTED, IDENTITY_PROCEED, true}, {IDENTITY_REPLACED, IDENTITY_PROCEED, true},
        {IDENTITY_PROBE, IDENTITY_RETRY, false},      {IDENTITY_DUPLICATE, IDENTITY_STOP, false},
        {IDENTITY_RESTORED, IDENTITY_RENEW, false},   {IDENTITY_WIPED, IDENTITY_RENEW, false},
        {IDENTITY_UNKNOWN, IDENTITY_RETRY, false},    {IDENTITY_REMOVED, IDENTITY_STOP, false},
    };
    assert_int_equal(sizeof rows / sizeof rows[0], IDENTITY_VERDICTS);
    for (size_t i = 0; i < IDENTITY_VERDICTS; i++) {
        assert_int_equal(identity_action_of(rows[i].verdict), rows[i].action);
        assert_int_equal(identity_recorded(rows[i].verdict), rows[i].recorded);
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(identity_text(rows[i].verdict), identity_text(rows[j].verdict));
    }
}

static void renewals(void **state)
{
    (void)state;
    struct identity_hello mine = hello_of(1, 5, 50);
    struct node_id fresh = id_of(2);

    /* An older copy: its id is burnt. */
    struct identity_hello renewed = identity_renew(&mine, IDENTITY_RESTORED, id_of(1), fresh, true);
    assert_true(node_id_equal(renewed.self.node_id, fresh));
    assert_int_equal(renewed.self.generation, 1);
    assert_int_equal(renewed.self.start_nonce, 50);
    assert_int_equal(renewed.superseded_count, 1);
    assert_true(node_id_equal(renewed.superseded[0], id_of(1)));
    renewed = identity_renew(&mine, IDENTITY_RESTORED, id_of(1), fresh, false);
    assert_true(node_id_equal(renewed.self.node_id, fresh));

    /* An empty directory that has never voted keeps its id. */
    renewed = identity_renew(&mine, IDENTITY_WIPED, id_of(9), fresh, false);
    assert_true(node_id_equal(renewed.self.node_id, id_of(1)));
    assert_int_equal(renewed.self.generation, 5);
    assert_int_equal(renewed.superseded_count, 1);
    assert_true(node_id_equal(renewed.superseded[0], id_of(9)));
    /* Told twice, it says it once. */
    struct identity_hello again = identity_renew(&renewed, IDENTITY_WIPED, id_of(9), fresh, false);
    assert_int_equal(again.superseded_count, 1);

    /* One that votes gives up its claims. */
    renewed = identity_renew(&mine, IDENTITY_WIPED, id_of(9), fresh, true);
    assert_true(node_id_equal(renewed.self.node_id, fresh));
    assert_int_equal(renewed.superseded_count, 2);
    assert_true(node_id_equal(renewed.superseded[0], id_of(1)));
    assert_true(node_id_equal(renewed.superseded[1], id_of(9)));

    /* The oldest are forgotten, the newest kept, none twice. */
    for (uint8_t i = 0; i < 2 * IDENTITY_SUPERSEDED_MAX; i++)
        mine = identity_renew(&mine, IDENTITY_WIPED, id_of((uint8_t)(100 + i)), fresh, false);
    assert_int_equal(mine.superseded_count, IDENTITY_SUPERSEDED_MAX);
    for (uint8_t i = 0; i < IDENTITY_SUPERSEDED_MAX; i++)
        assert_true(
            node_id_equal(mine.superseded[i], id_of((uint8_t)(100 + IDENTITY_SUPERSEDED_MAX + i))));
}

/* -- stories: one member's processes and directories against its peers --------------------------
 */

#define PEERS 4u

struct process {
    struct identity_hello hello;
    bool votes;
    bool running;
};

struct peer {
    bool has_row;
    struct identity row;
    const struct process *linked; /* the process at the other end of its link */
};

struct world {
    struct peer peers[PEERS];
    struct prng prng;
    uint8_t next_id;
    uint64_t next_nonce;
};

static void world_init(struct world *world, uint64_t seed)
{
    *world = (struct world){.next_id = 1};
    prng_init(&world->prng, SEED, seed);
}

/* A start from a directory: the counter goes up, the nonce is new. */
static struct process start(struct world *world, struct identity_hello directory, bool votes)
{
    struct process process = {.hello = directory, .votes = votes, .running = true};
    process.hello.self.generation++;
    process.hello.self.start_nonce = ++world->next_nonce;
    return process;
}

static struct process start_empty(struct world *world)
{
    struct process process = start(world, hello_of(world->next_id++, 0, 0), true);
    return process;
}

static void end_links(struct world *world, const struct process *process)
{
    for (uint32_t i = 0; i < PEERS; i++) {
        if (world->peers[i].linked == process)
            world->peers[i].linked = NULL;
    }
}

static void stop(struct world *world, struct process *process)
{
    process->running = false;
    end_links(world, process);
}

/* One hello to one peer, the link's state as it truly is. */
static enum identity_verdict say_hello(struct world *world, uint32_t to, struct process *process)
{
    struct peer *peer = &world->peers[to];
    enum identity_liveness liveness = IDENTITY_GONE;
    if (peer->linked != NULL)
        liveness = peer->linked->running ? IDENTITY_ANSWERS : IDENTITY_LINKED;
    enum identity_verdict verdict =
        identity_judge(peer->has_row ? &peer->row : NULL, &process->hello, liveness);
    if (identity_recorded(verdict)) {
        peer->has_row = true;
        peer->row = process->hello.self;
    }
    switch (identity_action_of(verdict)) {
    case IDENTITY_PROCEED:
        peer->linked = process;
        break;
    case IDENTITY_RETRY: /* the probe finds it dead */
        peer->linked = NULL;
        break;
    case IDENTITY_RENEW:
        end_links(world, process);
        process->hello = identity_renew(&process->hello, verdict, peer->row.node_id,
                                        id_of(world->next_id++), process->votes);
        process->votes = false;
        break;
    case IDENTITY_STOP:
        stop(world, process);
        break;
    }
    return verdict;
}

static void all_proceed(struct world *world, struct process *process, enum identity_verdict verdict)
{
    for (uint32_t i = 0; i < PEERS; i++)
        assert_int_equal(say_hello(world, i, process), verdict);
}

static void restarts(void **state)
{
    (void)state;
    struct world world;
    world_init(&world, 1);
    struct process first = start_empty(&world);
    all_proceed(&world, &first, IDENTITY_FIRST);
    all_proceed(&world, &first, IDENTITY_SAME);
    struct identity_hello directory = first.hello;
    stop(&world, &first);
    struct process second = start(&world, directory, true);
    all_proceed(&world, &second, IDENTITY_RESTARTED);
    all_proceed(&world, &second, IDENTITY_SAME);
    assert_true(second.votes);

    /* Its host dies: links look alive until they are asked. A peer that misses starts sees one. */
    directory = second.hello;
    second.running = false;
    struct process third = start(&world, directory, true);
    assert_int_equal(say_hello(&world, 0, &third), IDENTITY_PROBE);
    assert_int_equal(say_hello(&world, 0, &third), IDENTITY_RESTARTED);
    directory = third.hello;
    stop(&world, &third);
    stop(&world, &second);
    struct process fourth = start(&world, directory, true);
    all_proceed(&world, &fourth, IDENTITY_RESTARTED);
    assert_int_equal(world.peers[3].row.generation, 4);
}

static void wiped_directories(void **state)
{
    (void)state;
    struct world world;
    world_init(&world, 2);
    struct process first = start_empty(&world);
    all_proceed(&world, &first, IDENTITY_FIRST);
    stop(&world, &first);
    struct process second = start_empty(&world);
    assert_int_equal(say_hello(&world, 0, &second), IDENTITY_WIPED);
    assert_false(second.votes);
    all_proceed(&world, &second, IDENTITY_REPLACED);
    all_proceed(&world, &second, IDENTITY_SAME);

    /* The first one's disk turns up again: it is no longer that member, and becomes another. */
    stop(&world, &second);
    struct process back = start(&world, first.hello, true);
    assert_int_equal(say_hello(&world, 1, &back), IDENTITY_WIPED);
    assert_false(node_id_equal(back.hello.self.node_id, first.hello.self.node_id));
    all_proceed(&world, &back, IDENTITY_REPLACED);
}

static void restored_directories(void **state)
{
    (void)state;
    struct world world;
    world_init(&world, 3);
    struct process process = start_empty(&world);
    all_proceed(&world, &process, IDENTITY_FIRST);
    struct identity_hello copy = process.hello; /* of generation 1 */
    stop(&world, &process);
    struct process second = start(&world, process.hello, true);
    all_proceed(&world, &second, IDENTITY_RESTARTED);
    stop(&world, &second);
    struct process restored = start(&world, copy, true); /* generation 2 again */
    assert_int_equal(say_hello(&world, 0, &restored), IDENTITY_RESTORED);
    assert_false(restored.votes);
    all_proceed(&world, &restored, IDENTITY_REPLACED);
}

static void clones(void **state)
{
    (void)state;
    struct world world;
    world_init(&world, 4);
    struct process first = start_empty(&world);
    all_proceed(&world, &first, IDENTITY_FIRST);

    /* A copy of the directory starts beside it: its generation is even higher. */
    struct process beside = start(&world, first.hello, true);
    assert_int_equal(beside.hello.self.generation, 2);
    assert_int_equal(say_hello(&world, 2, &beside), IDENTITY_DUPLICATE);
    assert_false(beside.running);
    all_proceed(&world, &first, IDENTITY_SAME);

    /* The same with an empty directory under the member's name, and with one that claims to
     * supersede it. */
    struct process stranger = start_empty(&world);
    assert_int_equal(say_hello(&world, 2, &stranger), IDENTITY_DUPLICATE);
    struct process claimant = start_empty(&world);
    claimant.hello =
        identity_renew(&claimant.hello, IDENTITY_WIPED, first.hello.self.node_id, id_of(99), false);
    assert_int_equal(say_hello(&world, 2, &claimant), IDENTITY_DUPLICATE);

    /* After the first one's end the copy is the same node one start later. */
    stop(&world, &first);
    struct process after = start(&world, first.hello, true);
    all_proceed(&world, &after, IDENTITY_RESTARTED);
    /* The original comes back with that generation: an older copy of what peers have seen. */
    stop(&world, &after);
    struct process original = start(&world, first.hello, true);
    assert_int_equal(say_hello(&world, 0, &original), IDENTITY_RESTORED);
    all_proceed(&world, &original, IDENTITY_REPLACED);
}

static void late_hellos_change_nothing(void **state)
{
    (void)state;
    struct world world;
    world_init(&world, 5);
    struct process first = start_empty(&world);
    all_proceed(&world, &first, IDENTITY_FIRST);
    stop(&world, &first);
    struct process second = start(&world, first.hello, true);
    all_proceed(&world, &second, IDENTITY_RESTARTED);
    struct identity row = world.peers[0].row;

    struct process ghost = first;
    ghost.running = true;
    assert_int_equal(say_hello(&world, 0, &ghost), IDENTITY_DUPLICATE);
    world.peers[0].linked = NULL;
    ghost.running = true;
    assert_int_equal(say_hello(&world, 0, &ghost), IDENTITY_RESTORED);
    assert_memory_equal(&world.peers[0].row, &row, sizeof row);
    assert_int_equal(say_hello(&world, 0, &second), IDENTITY_SAME);
}

/* Peers remember different incarnations, for each was away at some time. Whatever happens to the
 * one directory that runs, it settles with all of them in a few rounds, without a circle in which
 * they make it renew itself again and again; and one that was made to forget nothing keeps its
 * vote. */
static void peers_of_different_memories_settle(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 3000; seed++) {
        struct world world;
        world_init(&world, 1000 + seed);
        struct process process = start_empty(&world);
        struct identity_hello copy = process.hello;
        for (uint32_t step = 0; step < 12; step++) {
            for (uint32_t i = 0; i < PEERS; i++) {
                if (prng_chance(&world.prng, 0.5) && process.running)
                    say_hello(&world, i, &process);
            }
            if (prng_chance(&world.prng, 0.3))
                copy = process.hello;
            bool repaired = prng_chance(&world.prng, 0.5);
            stop(&world, &process);
            if (prng_chance(&world.prng, 0.3))
                process = start_empty(&world);
            else if (prng_chance(&world.prng, 0.3))
                process = start(&world, copy, repaired);
            else
                process = start(&world, process.hello, process.votes || repaired);
        }
        bool settled = false;
        uint32_t renewed = 0;
        for (uint32_t round = 0; round < 4 && !settled; round++) {
            settled = true;
            for (uint32_t i = 0; i < PEERS; i++) {
                enum identity_verdict verdict = say_hello(&world, i, &process);
                settled = settled && identity_action_of(verdict) == IDENTITY_PROCEED;
                renewed += identity_action_of(verdict) == IDENTITY_RENEW;
                assert_true(process.running); /* alone: never a duplicate */
            }
        }
        assert_true(settled);
        assert_true(renewed <= PEERS + 1);
        assert_true(renewed == 0 || !process.votes);
        for (uint32_t i = 0; i < PEERS; i++)
            assert_memory_equal(&world.peers[i].row, &process.hello.self, sizeof(struct identity));
    }
}

/* Two processes that both want to be the member: whatever the order of their hellos, no peer links
 * both, and once one is linked everywhere the other is refused everywhere. */
static void one_process_at_a_time(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 2000; seed++) {
        struct world world;
        world_init(&world, 10000 + seed);
        struct process first = start_empty(&world);
        all_proceed(&world, &first, IDENTITY_FIRST);
        stop(&world, &first);
        struct process rivals[2] = {start(&world, first.hello, true),
                                    seed % 2 == 0 ? start_empty(&world)
                                                  : start(&world, first.hello, true)};
        for (uint32_t step = 0; step < 40; step++) {
            struct process *process = &rivals[prng_below(&world.prng, 2)];
            uint32_t to = (uint32_t)prng_below(&world.prng, PEERS);
            const struct process *before = world.peers[to].linked;
            if (!process->running)
                continue;
            enum identity_verdict verdict = say_hello(&world, to, process);
            if (before != NULL && before != process)
                assert_int_equal(verdict, IDENTITY_DUPLICATE);
        }
        for (uint32_t i = 0; i < PEERS; i++) {
            const struct process *linked = world.peers[i].linked;
            assert_true(linked == NULL || linked->running);
        }
        assert_false(rivals[0].running && rivals[1].running);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_rule),
        cmocka_unit_test(what_follows_from_verdicts),
        cmocka_unit_test(renewals),
        cmocka_unit_test(restarts),
        cmocka_unit_test(wiped_directories),
        cmocka_unit_test(restored_directories),
        cmocka_unit_test(clones),
        cmocka_unit_test(late_hellos_change_nothing),
        cmocka_unit_test(peers_of_different_memories_settle),
        cmocka_unit_test(one_process_at_a_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
