// link: coterie_sim
/* Rules of actors/gossip_moves.h: a change that was committed is carried through to its end whoever
 * dies on the way, no step is taken before what it needs is true, and a client's question for
 * reports ends. Real gossip actors; what the vnodes answer is the test's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/effort.h"
#include "tests/unit/gossip_cluster.h"

#define ANNOUNCED_MAX 3u

/* What a member's vnodes hold: survives its crashes, as rows do. */
struct vnodes {
    uint64_t change;
    bool filled[PARTITIONS_MAX];
    uint32_t hints;
};

struct run {
    struct vnodes vnodes[NODES_MAX + 1]; /* by member */
    double fills;                        /* chance that a copy is complete when it is asked for */
    double step_breaks;
    uint32_t dead; /* a member that never comes back */
    bool quiet;
    bool answered;
    struct client_topology_done done; /* the last one; the document is elsewhere */
    uint64_t epoch_judged;
    uint32_t most_under_way;
    uint64_t steps, crashes, paused_steps;
    struct keyspace keyspace;
};

/* -- the vnodes of a member, as its anti-entropy actor tells of them
 * ---------------------------------------------------- */

static void vnodes_follow(struct cluster *c, struct node *node)
{
    struct run *run = c->closure;
    struct vnodes *vnodes = &run->vnodes[node->member];
    const struct topology *topology = &node->view->topology;
    uint64_t name = topology_change_name(topology);
    if (vnodes->change != name)
        *vnodes = (struct vnodes){.change = name, .hints = vnodes->hints};
    for (uint32_t p = 0; p < topology->partitions; p++) {
        bool need = topology_need(topology, &run->keyspace, p, node->member) != NEED_NOTHING;
        if (need && !topology->change.paused && prng_chance(&c->prng, run->fills))
            vnodes->filled[p] = true;
    }
    if (vnodes->hints > 0)
        vnodes->hints--;
}

static bool vnodes_answer(struct cluster *c, struct node *node, const struct message *message)
{
    struct run *run = c->closure;
    if (message->kind != MESSAGE_vnode_report)
        return false;
    struct vnodes *vnodes = &run->vnodes[node->member];
    const struct topology *topology = &node->view->topology;
    vnodes_follow(c, node);
    struct message *answer = message_new_reply(message, MESSAGE_vnode_report_reply, 0);
    struct vnode_report_reply *reply = &answer->vnode_report_reply;
    uint8_t *filled = ARENA_NEW(&answer->arena, uint8_t, topology->partitions / 8);
    for (uint32_t p = 0; p < topology->partitions; p++) {
        bool need = topology_need(topology, &run->keyspace, p, node->member) != NEED_NOTHING;
        if (!need || vnodes->filled[p])
            filled[p / 8] |= (uint8_t)(1u << p % 8);
    }
    reply->epoch = topology->epoch;
    reply->change = vnodes->change;
    reply->filled = bytes_of(filled, topology->partitions / 8);
    reply->hints = vnodes->hints;
    reply->keyspaces_digest = keyspace_map_digest(&node->view->keyspaces);
    reply->bytes_copied = 1000 + node->member;
    answer->from = actor_id_of(node->member, ACTOR_ANTI_ENTROPY);
    answer->epoch = topology->epoch;
    if (answer->to.node != node->member)
        send_away(c, node, answer);
    else
        schedule(c, 1000,
                 (struct event){.kind = EVENT_MESSAGE,
                                .node = node->member,
                                .life = node->life,
                                .message = answer});
    return true;
}

/* -- what each step needs
 * -------------------------------------------------------------------------------- */

static void judge_partition(struct cluster *c, const struct topology *before, uint32_t p,
                            const struct view *view)
{
    struct run *run = c->closure;
    struct replica_set set;
    view_replica_set(view, &run->keyspace, p, &set);
    assert_true(set.joint);
    for (uint32_t i = 0; i < set.count; i++) {
        uint32_t member = set.replicas[i].member;
        if (topology_member(before, member)->gone)
            continue;
        /* Each has in force what was said of the partition last. */
        assert_true(node_of(c, member)->epoch_said >= before->phase_epochs[p]);
        bool need = topology_need(before, &run->keyspace, p, member) != NEED_NOTHING;
        if (need && before->phases[p] == PHASE_ANNOUNCED) {
            assert_int_equal(run->vnodes[member].change, topology_change_name(before));
            assert_true(run->vnodes[member].filled[p]);
        }
    }
}

/* Under way, and something is copied. */
static bool partition_moves(const struct run *run, const struct topology *topology, uint32_t p)
{
    bool moves = false;
    if (topology->phases[p] != PHASE_ANNOUNCED && topology->phases[p] != PHASE_COPIED)
        return false;
    for (uint32_t i = 0; i < topology->member_count && !moves; i++)
        moves =
            topology_need(topology, &run->keyspace, p, topology->members[i].number) != NEED_NOTHING;
    return moves;
}

static void judge_epoch(struct cluster *c, uint64_t epoch)
{
    struct run *run = c->closure;
    if (epoch < 2 || c->documents[epoch - 1].size == 0)
        return;
    struct topology before = document_of(c, epoch - 1);
    struct topology after = document_of(c, epoch);
    if (before.change.state != CHANGE_RUNNING || before.change.aborting != after.change.aborting)
        return;
    struct view *view = view_new(&before, &c->map, 1);
    bool over = after.change.state != CHANGE_RUNNING;
    uint32_t under_way = 0;
    for (uint32_t p = 0; p < before.partitions; p++) {
        enum partition_phase from = (enum partition_phase)before.phases[p];
        enum partition_phase to = over ? PHASE_DONE : (enum partition_phase)after.phases[p];
        if (from == to)
            continue;
        run->steps++;
        if (from == PHASE_WAITING && to == PHASE_ANNOUNCED)
            assert_false(before.change.paused);
        else if (from == PHASE_ANNOUNCED || from == PHASE_COPIED)
            judge_partition(c, &before, p, view);
        run->paused_steps += before.change.paused;
    }
    for (uint32_t p = 0; p < before.partitions && !over; p++)
        under_way += partition_moves(run, &after, p);
    assert_true(under_way <= ANNOUNCED_MAX);
    run->most_under_way = under_way > run->most_under_way ? under_way : run->most_under_way;
    for (uint32_t i = 0; over && i < before.member_count; i++) {
        const struct member *member = &before.members[i];
        if (member->status == MEMBER_LEAVING && !member->gone)
            assert_int_equal(run->vnodes[member->number].hints, 0);
    }
    view_unref(view);
}

/* -- the operator
 * ---------------------------------------------------------------------------------------- */

static void operator_answered(struct cluster *c, const struct message *message)
{
    struct run *run = c->closure;
    assert_int_equal(message->kind, MESSAGE_client_topology_done);
    run->answered = true;
    run->done = message->client_topology_done;
}

static struct node *someone(struct cluster *c)
{
    for (;;) {
        struct node *node = &c->nodes[prng_below(&c->prng, c->node_count)];
        struct run *run = c->closure;
        if (node->up && node->member != run->dead)
            return node;
        play_until(c, c->now_ns + 5 * MS);
    }
}

/* Asked once; true: answered OK. */
static bool operate_once(struct cluster *c, const struct topology_operation *operation)
{
    struct run *run = c->closure;
    struct node *node = someone(c);
    uint32_t life = node->life;
    run->answered = false;
    ask(c, node, 1, operation);
    for (int i = 0; i < 2000 && !run->answered && node->up && node->life == life; i++)
        play_until(c, c->now_ns + 10 * MS);
    return run->answered && run->done.status == OK;
}

static void operate(struct cluster *c, const struct topology_operation *operation)
{
    for (int i = 0; i < 200; i++) {
        if (operate_once(c, operation))
            return;
    }
    struct run *run = c->closure;
    fail_msg("operation %d: %s: %s", operation->kind, err_text(run->done.status), run->done.why);
}

static uint32_t join(struct cluster *c, uint32_t index)
{
    struct run *run = c->closure;
    struct topology_operation operation = {.kind = TOPOLOGY_JOIN, .join_id = {1, (uint8_t)index}};
    snprintf(operation.name, sizeof operation.name, "j%02u", index);
    snprintf(operation.address, sizeof operation.address, "127.0.0.1:%u", 8800 + index);
    operate(c, &operation);
    uint32_t number = run->done.number;
    struct topology joined = document_of(c, c->epoch_max);
    assert_true(number <= NODES_MAX);
    assert_non_null(topology_member(&joined, number));
    if (number > c->node_count)
        c->node_count = number;
    node_start(c, node_of(c, number), &joined);
    return number;
}

static void after_step(struct cluster *c, struct node *node)
{
    struct run *run = c->closure;
    if (run->quiet || run->step_breaks == 0 || !prng_chance(&c->prng, run->step_breaks))
        return;
    node_crash(c, node);
    run->crashes++;
    if (node->member != run->dead)
        schedule(c, prng_below(&c->prng, 2000 * MS),
                 (struct event){.kind = EVENT_START, .node = node->member});
}

static bool change_is_over(struct cluster *c)
{
    return document_of(c, c->epoch_max).change.state == CHANGE_NONE;
}

static void wait_for_the_end(struct cluster *c, uint64_t seed)
{
    uint64_t end_ns = c->now_ns + 300000 * MS;
    while (!change_is_over(c) && c->now_ns < end_ns)
        play_until(c, c->now_ns + 100 * MS);
    if (!change_is_over(c))
        fail_msg("seed %" PRIu64 ": the change has not ended", seed);
}

static void begin(struct cluster *c, struct run *run, uint64_t seed, uint32_t members)
{
    cluster_init(c, seed, members);
    memset(run, 0, sizeof *run);
    c->closure = run;
    c->on_edge = operator_answered;
    c->on_actor = vnodes_answer;
    c->on_epoch = judge_epoch;
    c->on_step = after_step;
    run->keyspace = keyspace_builtin();
    struct keyspace_map none = {0};
    c->map = keyspace_map_put(&c->arena, &none, &run->keyspace);
    run->fills = 0.5;
    c->announced_max = ANNOUNCED_MAX;
    cluster_start(c);
}

/* A commit that may have been made and forgotten is looked for, not made twice. */
static void commit(struct cluster *c)
{
    struct topology_operation operation = {.kind = TOPOLOGY_COMMIT};
    uint64_t epoch = c->epoch_max;
    for (int i = 0; i < 200; i++) {
        if (operate_once(c, &operation))
            return;
        for (uint64_t e = epoch; e <= c->epoch_max; e++) {
            if (document_of(c, e).change.state == CHANGE_RUNNING)
                return;
        }
    }
    fail_msg("no commit");
}

/* gossip_moves.h: joins, departures and other weights together, with crashes of whoever it hits,
 * pauses and aborts at any time: the change goes to its end, each step in its time, and afterwards
 * the members are what they were to be. */
static void changes_end(void **state)
{
    (void)state;
    static struct cluster c;
    static struct run run;
    uint64_t seeds = effort(300);
    uint32_t most = 0;
    uint64_t steps = 0, crashes = 0, aborts = 0, paused = 0, epochs = 0;
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        uint32_t founders = 3 + (uint32_t)(seed % 4);
        begin(&c, &run, seed, founders);
        run.fills = 0.02 + prng_unit(&c.prng) * 0.9;
        c.loss = prng_chance(&c.prng, 0.5) ? prng_unit(&c.prng) * 0.1 : 0;
        c.doubles = prng_chance(&c.prng, 0.5) ? prng_unit(&c.prng) * 0.2 : 0;
        c.delay_ns = prng_between(&c.prng, MS / 10, 20 * MS);
        run.step_breaks = prng_chance(&c.prng, 0.6) ? prng_unit(&c.prng) * 0.02 : 0;
        uint32_t joins = (uint32_t)prng_below(&c.prng, 3);
        bool leaves = founders > 3 && prng_chance(&c.prng, 0.7);
        bool weighs = prng_chance(&c.prng, 0.3) || (joins == 0 && !leaves);
        for (uint32_t i = 0; i < joins; i++)
            join(&c, i + 1);
        uint32_t leaver = 1 + (uint32_t)prng_below(&c.prng, founders);
        if (leaves) {
            run.vnodes[leaver].hints = (uint32_t)prng_below(&c.prng, 60);
            operate(&c, &(struct topology_operation){.kind = TOPOLOGY_LEAVE, .member = leaver});
        }
        if (weighs)
            operate(&c, &(struct topology_operation){
                            .kind = TOPOLOGY_PLACE, .member = leaver % founders + 1, .weight = 3});
        commit(&c);
        bool aborted = false;
        uint64_t wait_ns = prng_below(&c.prng, 3000 * MS);
        if (prng_chance(&c.prng, 0.5)) {
            play_until(&c, c.now_ns + wait_ns);
            if (!change_is_over(&c) && prng_chance(&c.prng, 0.5)) {
                (void)operate_once(&c, &(struct topology_operation){.kind = TOPOLOGY_PAUSE});
                play_until(&c, c.now_ns + 3000 * MS);
                (void)operate_once(&c, &(struct topology_operation){.kind = TOPOLOGY_RESUME});
                paused++;
            }
            if (!change_is_over(&c) && prng_chance(&c.prng, 0.5))
                (void)operate_once(&c, &(struct topology_operation){.kind = TOPOLOGY_ABORT});
        }
        while (document_of(&c, c.epoch_max).change.paused)
            (void)operate_once(&c, &(struct topology_operation){.kind = TOPOLOGY_RESUME});
        wait_for_the_end(&c, seed);
        for (uint64_t epoch = 1; epoch <= c.epoch_max; epoch++)
            aborted = aborted || document_of(&c, epoch).change.aborting;
        run.quiet = true;
        play_until(&c, c.now_ns + 10000 * MS);
        struct topology end = document_of(&c, c.epoch_max);
        for (uint32_t i = 0; i < end.member_count; i++) {
            const struct member *member = &end.members[i];
            bool joined = member->number > founders;
            bool removed = aborted ? joined : leaves && member->number == leaver;
            assert_int_equal(member->status, removed ? MEMBER_REMOVED : MEMBER_NORMAL);
            if (!removed)
                assert_int_equal(node_of(&c, member->number)->view->topology.epoch, c.epoch_max);
        }
        steps += run.steps;
        most = run.most_under_way > most ? run.most_under_way : most;
        crashes += run.crashes;
        aborts += aborted;
        epochs += c.epoch_max;
        cluster_deinit(&c);
    }
    print_message("%" PRIu64 " epochs, %" PRIu64 " steps of partitions, %" PRIu64
                  " crashes, %" PRIu64 " aborts, %" PRIu64 " pauses\n",
                  epochs, steps, crashes, aborts, paused);
    assert_int_equal(most, ANNOUNCED_MAX);
    assert_true(steps > 0 && crashes > 0 && aborts > 0 && paused > 0);
}

/* gossip_moves.h: the lowest voter drives; when it dies for good another one takes over, and the
 * change goes round the dead one when the operator says that it is gone. */
static void another_voter_takes_over(void **state)
{
    (void)state;
    static struct cluster c;
    static struct run run;
    begin(&c, &run, 8, 5);
    run.fills = 0.1;
    join(&c, 1);
    commit(&c);
    play_until(&c, c.now_ns + 400 * MS);
    assert_false(change_is_over(&c));
    uint64_t epoch = c.epoch_max;
    run.dead = 1;
    node_crash(&c, node_of(&c, 1));
    play_until(&c, c.now_ns + 30000 * MS);
    assert_true(c.epoch_max > epoch); /* others drive, until they need it */
    assert_false(change_is_over(&c));
    operate(&c, &(struct topology_operation){.kind = TOPOLOGY_LEAVE, .member = 1, .gone = true});
    uint64_t end_ns = c.now_ns + 60000 * MS;
    while (document_of(&c, c.epoch_max).change.state == CHANGE_RUNNING && c.now_ns < end_ns)
        play_until(&c, c.now_ns + 100 * MS);
    struct topology end = document_of(&c, c.epoch_max);
    assert_int_equal(end.change.state, CHANGE_STAGED); /* the dead one is to leave */
    assert_int_equal(topology_member(&end, 1)->status, MEMBER_LEAVING);
    assert_int_equal(topology_member(&end, 6)->status, MEMBER_NORMAL);
    cluster_deinit(&c);
}

/* -- client_reports
 * ------------------------------------------------------------------------------------------- */

struct reports {
    uint32_t count;
    enum err status[NODES_MAX];
    uint64_t bytes_copied[NODES_MAX];
    uint32_t ended;
};

static void reports_answered(struct cluster *c, const struct message *message)
{
    struct reports *reports = c->closure;
    assert_int_equal(message->kind, MESSAGE_client_reports_done);
    assert_int_equal(message->client_reports_done.client, 9);
    reports->count = message->client_reports_done.count;
    for (uint32_t i = 0; i < reports->count; i++) {
        const struct member_report *report = &message->client_reports_done.reports[i];
        assert_int_equal(report->member, i + 1);
        reports->status[i] = report->report.status;
        reports->bytes_copied[i] = report->report.bytes_copied;
    }
    reports->ended++;
}

static bool reports_are_told(struct cluster *c, struct node *node, const struct message *message)
{
    if (message->kind != MESSAGE_vnode_report)
        return false;
    struct message *answer = message_new_reply(message, MESSAGE_vnode_report_reply, 0);
    assert_true(message->vnode_report.sizes);
    answer->vnode_report_reply.bytes_copied = 100 + node->member;
    answer->from = actor_id_of(node->member, ACTOR_ANTI_ENTROPY);
    answer->epoch = 1;
    if (answer->to.node != node->member)
        send_away(c, node, answer);
    else
        schedule(c, 1000,
                 (struct event){.kind = EVENT_MESSAGE,
                                .node = node->member,
                                .life = node->life,
                                .message = answer});
    return true;
}

static void ask_reports(struct cluster *c, struct node *node)
{
    struct message *message = message_new(MESSAGE_client_reports, 0);
    message->from = actor_id_of(node->member, ACTOR_EDGE);
    message->client_reports.client = 9;
    message->client_reports.sizes = true;
    node_step(c, node, message);
}

/* gossip_moves.h: each member's report, at once when all have answered; who is silent for two
 * seconds is UNAVAILABLE. */
static void reports(void **state)
{
    (void)state;
    static struct cluster c;
    struct reports got = {0};
    cluster_init(&c, 1, 3);
    c.closure = &got;
    c.on_edge = reports_answered;
    c.on_actor = reports_are_told;
    cluster_start(&c);
    ask_reports(&c, node_of(&c, 2));
    play_until(&c, c.now_ns + 50 * MS);
    assert_int_equal(got.ended, 1);
    assert_int_equal(got.count, 3);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(got.status[i], OK);
        assert_int_equal(got.bytes_copied[i], 101 + i);
    }
    node_crash(&c, node_of(&c, 3));
    ask_reports(&c, node_of(&c, 2));
    play_until(&c, c.now_ns + 1900 * MS);
    assert_int_equal(got.ended, 1);
    play_until(&c, c.now_ns + 200 * MS);
    assert_int_equal(got.ended, 2);
    assert_int_equal(got.status[0], OK);
    assert_int_equal(got.status[1], OK);
    assert_int_equal(got.status[2], ERR_UNAVAILABLE);
    cluster_deinit(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(changes_end),
        cmocka_unit_test(another_voter_takes_over),
        cmocka_unit_test(reports),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
