// link: coterie_actors coterie_store
/* One request and one step of a move, in all that can come together: each step, gets, puts, puts
 * passed on and rounds of registers, replicas that know of the step before the coordinator does, or
 * after, or in the middle, this node staying, leaving, coming or none of them. Nothing is lost on
 * the way, so every request ends well, soon, and where the sets of one epoch can see it (DESIGN.md
 * 4; RELIABILITY rules 26 to 28). Replicas are the test's: they follow the fence as message.h and
 * topology.h tell it, not the product's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/coordinator_bench.h"

#define KEY      "k"
#define MEMBERS  7u
#define EPOCH    7u
#define SEEDS    30u
#define PENDING  64u
#define SOON_MAX (400 * MS) /* before anything is sent again because it is late */

enum operation { OPERATION_GET, OPERATION_PUT, OPERATION_REGISTER_GET, OPERATION_REGISTER_PUT };
enum event { REPLICAS_AHEAD, SOME_AHEAD, SOME_BEHIND, ALL_TURN, EVENT_COUNT };

static const struct walks shapes[] = {
    {{1, 2, 3}, {1, 2, 4}}, /* this node stays */
    {{1, 2, 3}, {2, 3, 4}}, /* leaves */
    {{2, 3, 4}, {1, 3, 4}}, /* comes */
    {{2, 3, 4}, {3, 4, 5}}, /* has none of it */
    {{1, 2, 3}, {4, 5, 6}}, {{2, 3, 4}, {1, 5, 6}}, {{1, 2, 3}, {3, 2, 1}},
};

struct move {
    struct bench b;
    struct prng prng;
    enum operation operation;
    enum test_keyspace keyspace;
    struct view *views[2];
    uint32_t known[MEMBERS + 1]; /* index into views, by member */
    uint32_t shown;              /* to the coordinator */
    uint32_t holders;            /* bit by member: the value is durable there */
    struct register_state registers[MEMBERS + 1];
    struct message *pending[PENDING];
    uint32_t pending_count;
    uint32_t delivered;
    uint32_t turn_at;  /* ALL_TURN: after so many messages */
    bool acknowledged; /* what is to be read */
    struct bytes record;
    struct message *done;
};

static struct bytes record_of(struct move *m)
{
    struct version_set nothing = {0};
    struct version_set set = test_write(&m->b.f, &nothing, NULL, 2, 1, "value");
    return test_record(&m->b.f, m->keyspace, KEY, &set);
}

static uint32_t set_members(struct move *m, uint32_t at, enum topology_side side)
{
    struct replica_set set;
    uint32_t members = 0;
    const struct view *view = m->views[at];
    view_replica_set(view, keyspace_map_find_id(&view->keyspaces, m->b.f.keyspace_ids[m->keyspace]),
                     test_partition(&m->b.f, m->keyspace, KEY), &set);
    for (uint32_t i = 0; i < set.count; i++) {
        if ((set.replicas[i].sides >> side & 1) != 0)
            members |= 1u << set.replicas[i].member;
    }
    return members;
}

static bool holds_majority(uint32_t holders, uint32_t set)
{
    return 2 * __builtin_popcount(holders & set) > __builtin_popcount(set);
}

/* Both sets that are written in that epoch (one twice where there is one). */
static bool seen_by(struct move *m, uint32_t at)
{
    return holds_majority(m->holders, set_members(m, at, TOPOLOGY_NOW)) &&
           holds_majority(m->holders, set_members(m, at, TOPOLOGY_NEXT));
}

/* -- the replicas
 * --------------------------------------------------------------------------------------------- */

static enum err fence(struct move *m, uint32_t member, const struct message *message)
{
    const struct view *view = m->views[m->known[member]];
    const struct keyspace *keyspace =
        keyspace_map_find_id(&view->keyspaces, m->b.f.keyspace_ids[m->keyspace]);
    uint32_t partition = test_partition(&m->b.f, m->keyspace, KEY);
    bool spreads =
        message->kind == MESSAGE_replica_write && message->replica_write.reason != WRITE_REPLICATE;
    bool reads = message->kind == MESSAGE_replica_read || message->kind == MESSAGE_replica_mint ||
                 message->kind == MESSAGE_forward_put;
    if (!spreads && message->epoch < view->topology.phase_epochs[partition])
        return ERR_STALE_EPOCH;
    if (view_role(view, keyspace, partition, member) >= (reads ? ROLE_READER : ROLE_WRITER))
        return OK;
    if (message->epoch <= view->topology.epoch)
        return ERR_STALE_EPOCH;
    m->known[member] = 1; /* it fetches the document */
    return ERR_UNAVAILABLE;
}

static void reply(struct move *m, uint32_t member, uint64_t epoch, struct message *answer)
{
    answer->from = actor_id_of(member, answer->kind == MESSAGE_forward_put_reply ? ACTOR_COORDINATOR
                                                                                 : ACTOR_REPLICA);
    answer->epoch = epoch;
    assert_true(m->pending_count < PENDING);
    m->pending[m->pending_count++] = answer;
}

static void on_mint(struct move *m, const struct message *message, enum err err, uint64_t epoch)
{
    struct message *answer = message_new_reply(message, MESSAGE_replica_mint_done, 0);
    answer->replica_mint_done.status = err;
    if (err == OK) {
        m->holders |= 1u << SELF;
        answer->replica_mint_done.staged = true;
        answer->replica_mint_done.context = bytes_of_string("context");
        answer->replica_mint_done.record = m->record;
        for (uint32_t i = 0; i < message->replica_mint.target_count; i++) {
            struct message *write = message_new(MESSAGE_replica_write, 0);
            write->id = message->id;
            write->to = actor_id_of(message->replica_mint.targets[i], ACTOR_REPLICA);
            write->epoch = message->epoch;
            assert_true(m->pending_count < PENDING);
            m->pending[m->pending_count++] = write;
        }
    }
    reply(m, SELF, epoch, answer);
}

static void on_forward(struct move *m, uint32_t member, const struct message *message, enum err err,
                       uint64_t epoch)
{
    struct message *answer = message_new_reply(message, MESSAGE_forward_put_reply, 0);
    struct put_result *result = &answer->forward_put_reply.result;
    /* A coordinator plans by its own view, and its replicas would have to take it: it does that
     * well, or refuses. */
    uint32_t at = m->known[member];
    if (err == ERR_STALE_EPOCH && m->views[at]->topology.epoch > message->epoch &&
        view_role(m->views[at],
                  keyspace_map_find_id(&m->views[at]->keyspaces, m->b.f.keyspace_ids[m->keyspace]),
                  test_partition(&m->b.f, m->keyspace, KEY), member) == ROLE_READER)
        err = OK;
    *result = (struct put_result){.status = err == OK ? OK : ERR_STALE_EPOCH,
                                  .outcome = err == OK ? OUTCOME_APPLIED : OUTCOME_NOT_APPLIED,
                                  .why = err == OK ? NULL : "refused"};
    if (err == OK) {
        m->holders |= set_members(m, at, TOPOLOGY_NOW) | set_members(m, at, TOPOLOGY_NEXT);
        result->context = bytes_of_string("context");
    }
    reply(m, member, epoch, answer);
}

static void on_register(struct move *m, uint32_t member, const struct message *message,
                        enum err err, uint64_t epoch)
{
    struct register_state *state = &m->registers[member];
    struct message *answer;
    if (message->kind == MESSAGE_register_query) {
        answer = message_new_reply(message, MESSAGE_register_query_reply, 0);
        answer->register_query_reply =
            (struct register_query_reply){err, state->promised, state->accepted, state->value};
    } else if (message->kind == MESSAGE_register_prepare) {
        answer = message_new_reply(message, MESSAGE_register_prepare_reply, 0);
        struct register_prepare_reply *to = &answer->register_prepare_reply;
        to->status = err;
        to->agreed = err == OK && register_prepare(state, (struct ballot){0},
                                                   message->register_prepare.ballot, &to->conflict);
        to->accepted = state->accepted;
        to->value = state->value;
    } else {
        answer = message_new_reply(message, MESSAGE_register_accept_reply, 0);
        struct register_accept_reply *to = &answer->register_accept_reply;
        to->status = err;
        to->agreed =
            err == OK && register_accept(state, (struct ballot){0}, message->register_accept.ballot,
                                         arena_copy(&m->b.f.arena, message->register_accept.value),
                                         &to->conflict);
        if (to->agreed)
            m->holders |= 1u << member;
    }
    reply(m, member, epoch, answer);
}

static void at_replica(struct move *m, const struct message *message)
{
    uint32_t member = message->to.node;
    uint64_t epoch = m->views[m->known[member]]->topology.epoch;
    enum err err = fence(m, member, message);
    struct message *answer;
    switch ((int)message->kind) {
    case MESSAGE_replica_mint:
        on_mint(m, message, err, epoch);
        return;
    case MESSAGE_forward_put:
        on_forward(m, member, message, err, epoch);
        return;
    case MESSAGE_replica_read:
        answer = message_new_reply(message, MESSAGE_replica_read_reply, 0);
        answer->replica_read_reply.status = err;
        if (err == OK && (m->holders >> member & 1) != 0)
            answer->replica_read_reply.record = m->record;
        reply(m, member, epoch, answer);
        return;
    case MESSAGE_replica_write:
        answer = message_new_reply(message, MESSAGE_replica_write_reply, 0);
        answer->to = actor_id_of(SELF, ACTOR_COORDINATOR);
        answer->replica_write_reply.status = err;
        if (err == OK)
            m->holders |= 1u << member;
        reply(m, member, epoch, answer);
        return;
    case MESSAGE_register_query:
    case MESSAGE_register_prepare:
    case MESSAGE_register_accept:
        on_register(m, member, message, err, epoch);
        return;
    default:
        fail_msg("%s was sent, and nobody was down", message_kind_text(message->kind));
    }
}

/* -- the run
 * --------------------------------------------------------------------------------------------- */

static void show(struct move *m, uint32_t at)
{
    m->shown = at;
    m->b.f.view = m->views[at];
    m->b.f.ctx.view = m->views[at];
}

static void turn(struct move *m, enum event event)
{
    if (m->known[SELF] == 1 && prng_chance(&m->prng, 0.2))
        show(m, 1); /* the node has it: its actors will, one after the other */
    if (event != ALL_TURN || m->delivered < m->turn_at)
        return;
    for (uint32_t member = 1; member <= MEMBERS; member++) { /* each by itself */
        if (prng_chance(&m->prng, 0.4))
            m->known[member] = 1;
    }
    if (prng_chance(&m->prng, 0.2))
        show(m, 1);
}

static void collect(struct move *m)
{
    struct message *message;
    while ((message = outbox_take(&m->b.f.outbox)) != NULL) {
        assert_true(m->pending_count < PENDING);
        m->pending[m->pending_count++] = message;
    }
}

/* Any of those that are under way. */
static void deliver(struct move *m)
{
    uint32_t at = (uint32_t)prng_below(&m->prng, m->pending_count);
    struct message *message = m->pending[at];
    m->pending[at] = m->pending[--m->pending_count];
    m->delivered++;
    if (message->kind == MESSAGE_client_get_done || message->kind == MESSAGE_client_put_done) {
        assert_null(m->done);
        m->done = message;
        return;
    }
    if (message->kind == MESSAGE_topology_behind) {
        assert_int_equal(message->topology_behind.epoch, EPOCH + 1);
        show(m, 1);
    } else if (message->to.kind == ACTOR_COORDINATOR && message->to.node == SELF) {
        fixture_handle(&m->b.f, message);
        return;
    } else {
        at_replica(m, message);
    }
    message_free(message);
}

static void begin(struct move *m, enum partition_phase phase, enum operation operation,
                  const struct walks *walks, enum event event, uint64_t seed)
{
    memset(m, 0, sizeof *m);
    bench_init(&m->b, MEMBERS, 1);
    prng_init(&m->prng, seed, 0);
    m->operation = operation;
    m->keyspace =
        operation >= OPERATION_REGISTER_GET ? KEYSPACE_TEST_STRONG : KEYSPACE_TEST_SIBLINGS;
    m->record = record_of(m);
    for (uint32_t i = 0; i < 2; i++)
        m->views[i] = bench_change_view(&m->b, m->keyspace, KEY, walks,
                                        (enum partition_phase)(phase + i), EPOCH + i);
    view_unref(m->b.f.view);
    for (uint32_t member = 1; member <= MEMBERS; member++)
        m->known[member] = event == REPLICAS_AHEAD ? 1
                           : event == ALL_TURN     ? 0
                                                   : (uint32_t)prng_below(&m->prng, 2);
    m->turn_at = (uint32_t)prng_below(&m->prng, 16);
    show(m, event == SOME_BEHIND);
}

/* What the steps before have seen to: on a majority of each set that is written, drawn; or of the
 * set that is read alone, by a write that was not acknowledged. */
static void held_already(struct move *m)
{
    uint32_t now = set_members(m, 0, TOPOLOGY_NOW);
    while (m->acknowledged ? !seen_by(m, 0) : !holds_majority(m->holders, now)) {
        uint32_t member = 1u << prng_between(&m->prng, 1, MEMBERS);
        m->holders |= m->acknowledged ? member : member & now;
    }
    struct register_value value = {.version = 1, .found = true, .value = bytes_of_string("value")};
    for (uint32_t member = 1; member <= MEMBERS; member++) {
        if ((m->holders >> member & 1) != 0 && m->operation == OPERATION_REGISTER_GET)
            m->registers[member] =
                (struct register_state){.accepted = {.counter = 1, .member = 9, .incarnation = 1},
                                        .value = register_value_encode(&m->b.f.arena, &value)};
    }
}

static void check_got(struct move *m)
{
    const struct client_get_done *done = &m->done->client_get_done;
    assert_int_equal(done->status, OK);
    if (m->acknowledged)
        assert_int_equal(done->set.count, 1);
    else if (done->set.count != 0) /* the next step reads the other set: it is there */
        assert_true(seen_by(m, 0));
}

static void run(enum partition_phase phase, enum operation operation, const struct walks *walks,
                enum event event, uint64_t seed)
{
    struct move m;
    begin(&m, phase, operation, walks, event, seed);
    bool gets = operation == OPERATION_GET || operation == OPERATION_REGISTER_GET;
    m.acknowledged = operation != OPERATION_GET || phase != PHASE_ANNOUNCED || seed % 2 == 0;
    if (gets) {
        held_already(&m);
        bench_get(&m.b, m.keyspace, KEY, CONSISTENCY_QUORUM, 0);
    } else {
        bench_put(&m.b, m.keyspace, KEY, CONSISTENCY_QUORUM);
    }
    uint64_t began_ns = m.b.f.ctx.now_ns;
    while (m.done == NULL) {
        collect(&m);
        turn(&m, event);
        if (m.pending_count > 0)
            deliver(&m);
        else
            fixture_pass(&m.b.f, MS);
        if (m.b.f.ctx.now_ns - began_ns > SOON_MAX)
            fail_msg("it hangs: phase %d, operation %d, event %d, seed %d", (int)phase,
                     (int)operation, (int)event, (int)seed);
    }
    if (gets) {
        check_got(&m);
    } else {
        assert_int_equal(m.done->client_put_done.result.status, OK);
        assert_int_equal(m.done->client_put_done.result.outcome, OUTCOME_APPLIED);
        /* In force at a majority already: the plan of before would have met it. */
        assert_true(seen_by(&m, 1) || (event != REPLICAS_AHEAD && seen_by(&m, 0)));
    }
    message_free(m.done);
    while (m.pending_count > 0)
        message_free(m.pending[--m.pending_count]);
    view_unref(m.views[1 - m.shown]);
    bench_deinit(&m.b);
}

static void run_all(enum operation operation)
{
    for (int phase = PHASE_WAITING; phase < PHASE_DONE; phase++) {
        for (size_t shape = 0; shape < ARRAY_COUNT(shapes); shape++) {
            for (int event = 0; event < EVENT_COUNT; event++) {
                for (uint64_t seed = 1; seed <= SEEDS; seed++)
                    run((enum partition_phase)phase, operation, &shapes[shape], (enum event)event,
                        seed);
            }
        }
    }
}

static void gets(void **state)
{
    (void)state;
    run_all(OPERATION_GET);
}

static void puts_of_available_keyspaces(void **state)
{
    (void)state;
    run_all(OPERATION_PUT);
}

static void register_gets(void **state)
{
    (void)state;
    run_all(OPERATION_REGISTER_GET);
}

static void register_puts(void **state)
{
    (void)state;
    run_all(OPERATION_REGISTER_PUT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gets),
        cmocka_unit_test(puts_of_available_keyspaces),
        cmocka_unit_test(register_gets),
        cmocka_unit_test(register_puts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
