// link: coterie_sim
/* Rules of actors/gossip_log.h: one document an epoch whoever proposes, nothing decided is ever
 * lost, and an answer says the truth about what became of an operation. Several gossip actors, the
 * real wire, lost, doubled and reordered messages, power cuts at every moment. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/effort.h"
#include "tests/unit/gossip_cluster.h"

#define OPERATIONS_MAX 500u
#define CLIENTS        4u
#define TRIES          10u

enum { OTHER_FAULT = 100 }; /* below: a client's turn */

/* One operation as its client knows it: `address` is its mark, of its own alone. */
struct operation {
    bool ended;
    struct topology_operation what;
    bool mark; /* it says an address that nobody else says */
    uint32_t node;
    enum err status;
    bool unknown;
    uint64_t epoch;
};

struct run {
    struct operation operations[OPERATIONS_MAX];
    uint32_t count;
    struct operation *waits_for[CLIENTS];
    bool quiet;         /* no new faults and operations */
    double step_breaks; /* chance that a node's power is cut right after a step */
    double disk_losses; /* that its disk is lost with it, when nobody else's votes are in doubt */
    uint64_t applied, refused, unknown, crashes, losses, recalls;
};

static void client_goes_on(struct cluster *c, uint32_t client)
{
    struct run *run = c->closure;
    run->waits_for[client] = NULL;
    schedule(c, prng_below(&c->prng, 100 * MS),
             (struct event){.kind = EVENT_OTHER, .node = client});
}

static void client_answered(struct cluster *c, const struct message *message)
{
    struct run *run = c->closure;
    const struct client_topology_done *done = &message->client_topology_done;
    struct operation *operation = &run->operations[done->client / CLIENTS];
    uint32_t client = (uint32_t)(done->client % CLIENTS);
    assert_int_equal(message->kind, MESSAGE_client_topology_done);
    assert_false(operation->ended);
    assert_false(done->unknown && done->status == OK);
    assert_int_equal(done->why == NULL, done->status == OK);
    operation->ended = true;
    operation->status = done->status;
    operation->unknown = done->unknown;
    operation->epoch = done->epoch;
    run->applied += done->status == OK;
    run->refused += done->status != OK && !done->unknown;
    run->unknown += done->unknown;
    client_goes_on(c, client);
}

static void operation_draw(struct cluster *c, struct run *run, struct operation *operation)
{
    uint32_t index = (uint32_t)(operation - run->operations);
    uint64_t draw = prng_below(&c->prng, 100);
    struct topology_operation *what = &operation->what;
    uint32_t member = 1 + (uint32_t)prng_below(&c->prng, c->node_count);
    if (draw < 40) {
        *what = (struct topology_operation){.kind = TOPOLOGY_ADDRESS, .member = member};
        snprintf(what->address, sizeof what->address, "10.0.0.1:%u", 10000 + index);
        operation->mark = true;
    } else if (draw < 60) {
        *what = (struct topology_operation){.kind = TOPOLOGY_JOIN};
        snprintf(what->name, sizeof what->name, "x%u", index);
        snprintf(what->address, sizeof what->address, "10.0.0.1:%u", 10000 + index);
        memcpy(what->join_id, &index, sizeof index);
        what->join_id[15] = 1;
        operation->mark = true;
    } else if (draw < 80) {
        *what = (struct topology_operation){.kind = TOPOLOGY_LEAVE, .member = member};
    } else if (draw < 97) {
        *what = (struct topology_operation){.kind = TOPOLOGY_ABORT};
    } else {
        *what = (struct topology_operation){.kind = TOPOLOGY_PACE, .bytes_per_second = index + 1};
    }
}

static void client_turn(struct cluster *c, uint32_t client)
{
    struct run *run = c->closure;
    struct node *node = &c->nodes[prng_below(&c->prng, c->node_count)];
    if (run->waits_for[client] != NULL || run->quiet ||
        run->count == OPERATIONS_MAX - TRIES * NODES_MAX)
        return;
    if (!node->up) {
        schedule(c, 20 * MS, (struct event){.kind = EVENT_OTHER, .node = client});
        return;
    }
    struct operation *operation = &run->operations[run->count++];
    *operation = (struct operation){.node = node->member};
    operation_draw(c, run, operation);
    run->waits_for[client] = operation;
    ask(c, node, (uint64_t)(operation - run->operations) * CLIENTS + client, &operation->what);
}

/* Nobody else has lost its disk and not recalled since: a majority of them is the end of any log.
 */
static bool all_remember(struct cluster *c, const struct node *but)
{
    for (uint32_t i = 0; i < c->node_count; i++) {
        const struct node *node = &c->nodes[i];
        bool forgets = node->up ? counter_get(&gossip_figures(node->gossip)->forgotten) != 0
                                : node->forgets || node->lost != IDENTITY_FIRST;
        if (node != but && forgets)
            return false;
    }
    return true;
}

static void crash(struct cluster *c, struct node *node, uint64_t back_ns)
{
    struct run *run = c->closure;
    run->recalls += counter_get(&gossip_figures(node->gossip)->recalls);
    if (node->copy == NULL && prng_chance(&c->prng, 0.1))
        node->copy = memory_disk_copy(node->disk, node->engine);
    bool loses =
        run->disk_losses != 0 && prng_chance(&c->prng, run->disk_losses) && all_remember(c, node);
    node_crash(c, node);
    run->crashes++;
    if (loses) {
        node_lose_disk(node);
        run->losses++;
    }
    schedule(c, back_ns, (struct event){.kind = EVENT_START, .node = node->member});
    for (uint32_t client = 0; client < CLIENTS; client++) { /* nobody will answer them */
        struct operation *operation = run->waits_for[client];
        if (operation == NULL || operation->node != node->member)
            continue;
        operation->ended = operation->unknown = true;
        operation->status = ERR_CLOSED;
        client_goes_on(c, client);
    }
}

static void after_step(struct cluster *c, struct node *node)
{
    struct run *run = c->closure;
    if (!run->quiet && run->step_breaks != 0 && prng_chance(&c->prng, run->step_breaks))
        crash(c, node, prng_below(&c->prng, prng_chance(&c->prng, 0.2) ? 400 * MS : 10 * MS));
}

static void fault(struct cluster *c)
{
    struct run *run = c->closure;
    uint32_t a = 1 + (uint32_t)prng_below(&c->prng, c->node_count);
    uint32_t b = 1 + (uint32_t)prng_below(&c->prng, c->node_count);
    if (run->quiet)
        return;
    if (prng_chance(&c->prng, 0.6) && node_of(c, a)->up) {
        crash(c, node_of(c, a), prng_below(&c->prng, 400 * MS));
    } else {
        c->cut_until_ns[a][b] = c->now_ns + prng_below(&c->prng, 1000 * MS);
        if (prng_chance(&c->prng, 0.5))
            c->cut_until_ns[b][a] = c->cut_until_ns[a][b];
    }
    schedule(c, prng_below(&c->prng, 300 * MS),
             (struct event){.kind = EVENT_OTHER, .node = OTHER_FAULT});
}

static void other(struct cluster *c, uint32_t what)
{
    if (what == OTHER_FAULT)
        fault(c);
    else
        client_turn(c, what);
}

static bool document_says(const struct topology *topology, const char *address)
{
    for (uint32_t i = 0; i < topology->member_count; i++) {
        const struct member *member = &topology->members[i];
        if (member->status != MEMBER_REMOVED && strcmp(member->address, address) == 0)
            return true;
    }
    return false;
}

/* Nothing is left under way, all nodes are up, and agree. */
static void rest(struct cluster *c)
{
    struct run *run = c->closure;
    run->quiet = true;
    c->loss = 0;
    memset(c->cut_until_ns, 0, sizeof c->cut_until_ns);
    play_until(c, c->now_ns + 20000 * MS);
    for (uint32_t i = 0; i < c->node_count; i++) {
        assert_true(c->nodes[i].up);
        /* A last document may be decided, and nobody left who knows: the next round finds it. */
        assert_int_equal(c->nodes[i].view->topology.epoch, c->nodes[0].view->topology.epoch);
    }
    for (uint32_t i = 0; i < run->count; i++)
        assert_true(run->operations[i].ended);
}

static struct operation *move_first(struct cluster *c, struct node *node)
{
    struct run *run = c->closure;
    uint32_t index = run->count++;
    struct operation *operation = &run->operations[index];
    assert_true(run->count <= OPERATIONS_MAX);
    *operation = (struct operation){.node = node->member, .mark = true};
    operation->what = (struct topology_operation){.kind = TOPOLOGY_ADDRESS, .member = 1};
    snprintf(operation->what.address, sizeof operation->what.address, "10.0.0.1:%u", 10000 + index);
    ask(c, node, (uint64_t)index * CLIENTS, &operation->what);
    play_until(c, c->now_ns + 2000 * MS);
    return operation;
}

/* Whoever is asked, the log goes on. (It may take a few times: some runs have little patience.) */
static void goes_on(struct cluster *c, uint64_t seed)
{
    for (uint32_t i = 0; i < c->node_count; i++) {
        const struct operation *operation = move_first(c, &c->nodes[i]);
        for (int again = 0; again + 1 < (int)TRIES && operation->status != OK; again++)
            operation = move_first(c, &c->nodes[i]);
        if (!operation->ended || operation->status != OK)
            fail_msg("seed %" PRIu64 ": member %u cannot go on: %s", seed, i + 1,
                     err_text(operation->status));
    }
    play_until(c, c->now_ns + 5000 * MS);
    for (uint32_t i = 0; i < c->node_count; i++)
        assert_int_equal(c->nodes[i].view->topology.epoch, c->epoch_max);
}

static void judge(struct cluster *c, uint64_t seed, uint64_t *ret_voters_replaced)
{
    struct run *run = c->closure;
    uint32_t *appeared = ARENA_NEW(&c->arena, uint32_t, run->count);
    bool *is_there = ARENA_NEW(&c->arena, bool, run->count);
    struct topology before = document_of(c, 1);
    for (uint64_t epoch = 2; epoch <= c->epoch_max; epoch++) {
        struct topology topology = document_of(c, epoch);
        for (uint32_t i = 0; i < run->count; i++) {
            const struct operation *operation = &run->operations[i];
            bool says = operation->mark && document_says(&topology, operation->what.address);
            appeared[i] += says && !is_there[i];
            is_there[i] = says;
            if (says && operation->status != OK && !operation->unknown)
                fail_msg("seed %" PRIu64 ": what was refused is in epoch %" PRIu64, seed, epoch);
        }
        *ret_voters_replaced += topology.voter_count != before.voter_count ||
                                memcmp(topology.voters, before.voters, sizeof before.voters) != 0;
        before = topology;
    }
    for (uint32_t i = 0; i < run->count; i++) {
        const struct operation *operation = &run->operations[i];
        if (!operation->mark)
            continue;
        if (operation->status == OK)
            assert_int_equal(appeared[i], 1);
        assert_true(appeared[i] <= 1); /* never made twice */
    }
}

/* gossip_log.h, all of it, with any number of proposers: one document an epoch (gossip_cluster.h
 * looks at everything that is shown and said), what was answered OK is in the log, just once; what
 * was refused never is; and at rest everybody has the same document, and a further change is made.
 */
static void one_document_an_epoch(void **state)
{
    (void)state;
    static struct cluster c;
    static struct run run;
    uint64_t seeds = effort(150);
    uint64_t epochs = 0, applied = 0, refused = 0, unknown = 0, crashes = 0, voters = 0;
    uint64_t losses = 0, recalls = 0;
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        cluster_init(&c, seed, 3 + (uint32_t)(seed % 5));
        memset(&run, 0, sizeof run);
        c.closure = &run;
        c.on_edge = client_answered;
        c.on_other = other;
        c.loss = prng_chance(&c.prng, 0.5) ? prng_unit(&c.prng) * 0.2 : 0;
        c.doubles = prng_chance(&c.prng, 0.5) ? prng_unit(&c.prng) * 0.3 : 0;
        c.on_step = after_step;
        run.step_breaks = prng_chance(&c.prng, 0.7) ? prng_unit(&c.prng) * 0.05 : 0;
        run.disk_losses = prng_chance(&c.prng, 0.5) ? 0.3 : 0;
        c.proposal_timeout_ns = prng_chance(&c.prng, 0.5) ? 300 * MS : 0;
        c.phase_timeout_ns = prng_chance(&c.prng, 0.5) ? 60 * MS : 0;
        c.delay_ns = prng_between(&c.prng, MS / 10, 20 * MS);
        c.sync_ns = prng_between(&c.prng, MS / 10, 20 * MS);
        cluster_start(&c);
        for (uint32_t client = 0; client < CLIENTS; client++)
            client_goes_on(&c, client);
        if (prng_chance(&c.prng, 0.8))
            schedule(&c, prng_below(&c.prng, 300 * MS),
                     (struct event){.kind = EVENT_OTHER, .node = OTHER_FAULT});
        play_until(&c, 8000 * MS);
        rest(&c);
        goes_on(&c, seed);
        judge(&c, seed, &voters);
        epochs += c.epoch_max;
        applied += run.applied;
        refused += run.refused;
        unknown += run.unknown;
        crashes += run.crashes;
        losses += run.losses;
        recalls += run.recalls;
        cluster_deinit(&c);
    }
    print_message("%" PRIu64 " epochs, applied %" PRIu64 ", refused %" PRIu64 ", unknown %" PRIu64
                  ", voters replaced %" PRIu64 ", crashes %" PRIu64 ", disks lost %" PRIu64
                  ", votes recalled %" PRIu64 "\n",
                  epochs, applied, refused, unknown, voters, crashes, losses, recalls);
    assert_true(losses > 0 && recalls > 0);
    assert_true(applied > 0 && refused > 0 && unknown > 0 && voters > 0 && crashes > 0);
}

static const char *address_in(const struct view *view, uint32_t member)
{
    return topology_member(&view->topology, member)->address;
}

/* gossip_moves.h: a node whose list says another address than the document has it proposed until it
 * is in; until then, and for the others of the list, its own views say what the list says (boot.h).
 */
static void own_address_is_proposed(void **state)
{
    (void)state;
    static struct cluster c;
    cluster_init(&c, 5, 3);
    cluster_start(&c);
    play_until(&c, c.now_ns + 3000 * MS);
    assert_int_equal(c.epoch_max, 1);
    node_crash(&c, node_of(&c, 2));
    c.topology = fixture_topology(&c.arena, 3, 1, 16, 9901);
    node_start(&c, node_of(&c, 2), NULL);
    const struct view *own = node_of(&c, 2)->view;
    for (uint32_t member = 1; member <= 3; member++) {
        char address[32];
        snprintf(address, sizeof address, "127.0.0.1:%u", 9900 + member);
        assert_string_equal(address_in(own, member), address);
    }
    play_until(&c, c.now_ns + 3000 * MS);
    assert_int_equal(c.epoch_max, 2); /* once, and nothing of the others */
    for (uint32_t member = 1; member <= 3; member += 2) {
        assert_string_equal(address_in(node_of(&c, member)->view, 2), "127.0.0.1:9902");
        assert_string_equal(address_in(node_of(&c, member)->view, member),
                            member == 1 ? "127.0.0.1:7701" : "127.0.0.1:7703");
    }
    /* What the document says anew goes before the list. */
    struct topology_operation operation = {.kind = TOPOLOGY_ADDRESS, .member = 3};
    snprintf(operation.address, sizeof operation.address, "10.0.0.3:1");
    ask(&c, node_of(&c, 1), 1, &operation);
    play_until(&c, c.now_ns + 3000 * MS);
    assert_string_equal(address_in(node_of(&c, 2)->view, 3), "10.0.0.3:1");
    assert_string_equal(address_in(node_of(&c, 2)->view, 1), "127.0.0.1:9901");
    cluster_deinit(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_document_an_epoch),
        cmocka_unit_test(own_address_is_proposed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
