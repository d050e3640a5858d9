// link: coterie_model
/* While partitions go over, R + W > N holds as it does at rest: an acknowledged write is seen by
 * every read that begins later, whatever members and coordinators lag (DESIGN.md section 4).
 *
 * A model of the protocol around topology_operate and topology_step. Each member has the epoch that
 * it knows, serves coordinators by it and coordinates by it; documents reach members late, out of
 * step, or not for long; the driver knows old news of members. A write is a bit that replicas gain.
 */
#include "tests/effort.h"
#include "tests/unit/topology_bench.h"

#define SEED          5150u
#define RUNS          effort(300)
#define MOVES         10000u
#define EPOCHS_MAX    6000u
#define NUMBERS_MAX   60u
#define PARTITIONS    8u
#define BUSY          3u /* partitions that are written and read */
#define TOKEN_WORDS   16u
#define TOKENS_MAX    (64u * TOKEN_WORDS)
#define REQUESTS_MAX  12u
#define MEMBERS_ALIVE 8u

enum policy { POLICY_MAJORITY, POLICY_READ_ONE, POLICY_WRITE_ONE };

/* What a document says, by member number. */
struct epoch_facts {
    struct topology topology;
    struct {
        uint64_t sets[2];
        uint64_t copy, exchange; /* with a need */
    } partitions[PARTITIONS];
    uint64_t gone;
    uint64_t members; /* listed and not removed */
};

enum mark { MARK_NONE, MARK_EMPTY, MARK_FILLED };

struct node {
    uint64_t epoch; /* in force; 0: there is no such member */
    bool stopped;   /* gone for good */
    struct {
        uint64_t tokens[TOKEN_WORDS];
        uint64_t change; /* that the mark is of */
        enum mark mark;
        uint64_t asked; /* sources that have been copied from */
    } copies[PARTITIONS];
};

struct request {
    bool used;
    bool writes;
    uint32_t coordinator;
    uint32_t partition;
    uint64_t epoch;
    uint64_t began_epoch; /* of the change that the plan belongs to */
    uint32_t token;
    uint64_t pending; /* by member number */
    uint64_t acks;
    uint64_t seen[TOKEN_WORDS];
    uint64_t expected[TOKEN_WORDS];
};

struct model {
    struct bench bench;
    struct prng prng;
    enum policy policy;
    struct epoch_facts *facts; /* by epoch */
    struct node nodes[NUMBERS_MAX + 4];
    uint64_t heard[NUMBERS_MAX + 4]; /* by the driver */
    struct request requests[REQUESTS_MAX];
    uint32_t token_next[PARTITIONS];
    uint64_t acked[PARTITIONS][TOKEN_WORDS];
    uint8_t join_next;
    uint64_t cut; /* members whom no document reaches for now */
    struct {
        uint32_t writes, reads, refusals, epochs, commits, aborts, gone, ends, replans;
    } counts;
};

static uint64_t below(struct model *model, uint64_t bound)
{
    return prng_below(&model->prng, bound);
}

static uint64_t bit_of(uint32_t number)
{
    return (uint64_t)1 << number;
}

static uint32_t count_of(uint64_t set)
{
    return (uint32_t)__builtin_popcountll(set);
}

static uint32_t any_of(struct model *model, uint64_t set)
{
    uint64_t skip = below(model, count_of(set));
    while (skip-- > 0)
        set &= set - 1;
    return (uint32_t)__builtin_ctzll(set);
}

static const struct epoch_facts *facts_at(const struct model *model, uint64_t epoch)
{
    return &model->facts[epoch];
}

static uint64_t by_number(const struct topology *topology, uint64_t slots)
{
    uint64_t numbers = 0;
    for (uint32_t i = 0; i < topology->member_count; i++) {
        const struct member *member = &topology->members[i];
        if (member->status != MEMBER_REMOVED && (slots >> member->slot & 1) != 0)
            numbers |= bit_of(member->number);
    }
    return numbers;
}

/* Neighbouring phases of a partition have the same write set, or one that contains the other. */
static void check_adjacent(const struct epoch_facts *before, const struct epoch_facts *after)
{
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        uint64_t writes[2];
        for (uint32_t i = 0; i < 2; i++) {
            const struct epoch_facts *facts = i == 0 ? before : after;
            enum topology_side side = topology_read_side(&facts->topology, p);
            writes[i] = facts->partitions[p].sets[side];
            if (topology_is_joint(&facts->topology, p))
                writes[i] |= facts->partitions[p].sets[1 - side];
        }
        assert_true((writes[0] & writes[1]) == writes[0] || (writes[0] & writes[1]) == writes[1]);
    }
}

static void model_decide(struct model *model)
{
    const struct topology *topology = &model->bench.topology;
    assert_true(topology->epoch < EPOCHS_MAX);
    struct epoch_facts *facts = &model->facts[topology->epoch];
    if (facts->topology.epoch != 0)
        return;
    facts->topology = *topology;
    model->counts.epochs++;
    for (uint32_t i = 0; i < topology->member_count; i++) {
        const struct member *member = &topology->members[i];
        if (member->status == MEMBER_REMOVED)
            continue;
        facts->members |= bit_of(member->number);
        facts->gone |= member->gone ? bit_of(member->number) : 0;
    }
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        struct side_sets sets = bench_sets(&model->bench, p);
        for (uint32_t side = 0; side < 2; side++)
            facts->partitions[p].sets[side] = by_number(topology, sets.sets[side]);
        for (uint32_t i = 0; i < topology->member_count; i++) {
            uint32_t number = topology->members[i].number;
            enum copy_need need = topology_need(topology, &model->bench.keyspace, p, number);
            facts->partitions[p].copy |= need == NEED_COPY ? bit_of(number) : 0;
            facts->partitions[p].exchange |= need == NEED_EXCHANGE ? bit_of(number) : 0;
        }
    }
    if (topology->epoch > 1)
        check_adjacent(facts_at(model, topology->epoch - 1), facts);
}

static uint64_t read_set(const struct epoch_facts *facts, uint32_t p)
{
    return facts->partitions[p].sets[topology_read_side(&facts->topology, p)];
}

static uint64_t write_set(const struct epoch_facts *facts, uint32_t p)
{
    uint64_t set = read_set(facts, p);
    if (topology_is_joint(&facts->topology, p))
        set |= facts->partitions[p].sets[0] | facts->partitions[p].sets[1];
    return set;
}

static bool enough(const struct model *model, bool writes, uint64_t set, uint64_t acks)
{
    uint32_t n = count_of(set);
    uint32_t wanted = n / 2 + 1;
    if (model->policy != POLICY_MAJORITY)
        wanted = writes == (model->policy == POLICY_WRITE_ONE) ? 1 : n;
    return count_of(set & acks) >= wanted;
}

/* -- requests */

static void request_begin(struct model *model)
{
    uint32_t index = 0;
    while (index < REQUESTS_MAX && model->requests[index].used)
        index++;
    uint32_t coordinator = any_of(model, facts_at(model, model->bench.topology.epoch)->members);
    struct node *node = &model->nodes[coordinator];
    if (index == REQUESTS_MAX || node->stopped || node->epoch == 0)
        return;
    const struct epoch_facts *facts = facts_at(model, node->epoch);
    struct request *request = &model->requests[index];
    *request = (struct request){.used = true,
                                .writes = below(model, 2) == 0,
                                .coordinator = coordinator,
                                .partition = (uint32_t)below(model, BUSY),
                                .epoch = node->epoch,
                                .began_epoch = facts->topology.change.began_epoch};
    uint32_t p = request->partition;
    if (request->writes && model->token_next[p] == TOKENS_MAX) {
        request->used = false;
        return;
    }
    if (request->writes)
        request->token = model->token_next[p]++;
    request->pending = request->writes ? write_set(facts, p) : read_set(facts, p);
    memcpy(request->expected, model->acked[p], sizeof request->expected);
}

static bool request_is_enough(const struct model *model, const struct request *request)
{
    const struct epoch_facts *facts = facts_at(model, request->epoch);
    uint32_t p = request->partition;
    if (!request->writes)
        return enough(model, false, read_set(facts, p), request->acks);
    if (!topology_is_joint(&facts->topology, p))
        return enough(model, true, read_set(facts, p), request->acks);
    return enough(model, true, facts->partitions[p].sets[0], request->acks) &&
           enough(model, true, facts->partitions[p].sets[1], request->acks);
}

static void request_settle(struct model *model, struct request *request)
{
    if (!request_is_enough(model, request))
        return;
    uint32_t p = request->partition;
    request->used = false;
    if (request->writes) {
        model->acked[p][request->token / 64] |= (uint64_t)1 << request->token % 64;
        model->counts.writes++;
        return;
    }
    model->counts.reads++;
    for (uint32_t i = 0; i < TOKEN_WORDS; i++) {
        uint64_t missing = request->expected[i] & ~request->seen[i];
        if (missing != 0)
            fail_msg("partition %u: write %u was acknowledged, and a read of epoch %lu by member "
                     "%u, now at epoch %lu, missed it",
                     p, i * 64 + (uint32_t)__builtin_ctzll(missing), (unsigned long)request->epoch,
                     request->coordinator, (unsigned long)model->bench.topology.epoch);
    }
}

/* The replica's side: refuse, or take part. */
static bool node_takes(const struct model *model, uint32_t number, const struct request *request)
{
    const struct node *node = &model->nodes[number];
    uint32_t p = request->partition;
    if (node->epoch == 0 || node->stopped)
        return false;
    const struct epoch_facts *facts = facts_at(model, node->epoch);
    if (request->epoch < facts->topology.phase_epochs[p])
        return false;
    uint64_t set = request->writes ? write_set(facts, p) : read_set(facts, p);
    if ((set & bit_of(number)) == 0)
        return false;
    uint64_t name = topology_change_name(&facts->topology);
    bool marked = node->copies[p].mark != MARK_NONE && node->copies[p].change == name;
    /* It gains the partition: nothing before it is emptied, no answers before it is filled. */
    if (facts->topology.phases[p] == PHASE_ANNOUNCED &&
        (facts->partitions[p].copy & bit_of(number)) != 0 && !marked)
        return false;
    return request->writes || !marked || node->copies[p].mark == MARK_FILLED ||
           (facts->partitions[p].copy & bit_of(number)) == 0;
}

static void request_deliver(struct model *model)
{
    struct request *request = &model->requests[below(model, REQUESTS_MAX)];
    if (!request->used || request->pending == 0)
        return;
    uint32_t number = any_of(model, request->pending);
    request->pending &= ~bit_of(number);
    if (!node_takes(model, number, request)) {
        model->counts.refusals++;
        return;
    }
    struct node *node = &model->nodes[number];
    uint32_t p = request->partition;
    if (request->writes)
        node->copies[p].tokens[request->token / 64] |= (uint64_t)1 << request->token % 64;
    else
        for (uint32_t i = 0; i < TOKEN_WORDS; i++)
            request->seen[i] |= node->copies[p].tokens[i];
    request->acks |= bit_of(number);
    request_settle(model, request);
}

/* A coordinator that has a newer view plans again. Acks of members that stay count on within one
 * change; a read begins anew. */
static void request_plan_again(struct model *model)
{
    struct request *request = &model->requests[below(model, REQUESTS_MAX)];
    if (!request->used)
        return;
    const struct node *node = &model->nodes[request->coordinator];
    if (node->stopped || below(model, 8) == 0) {
        request->used = false; /* crashed, or its deadline has passed */
        return;
    }
    const struct epoch_facts *facts = facts_at(model, node->epoch);
    uint64_t set = request->writes ? write_set(facts, request->partition)
                                   : read_set(facts, request->partition);
    if (node->epoch != request->epoch) {
        model->counts.replans++;
        bool keeps = request->writes &&
                     request->began_epoch == facts->topology.change.began_epoch &&
                     request->began_epoch != 0;
        request->acks = keeps ? request->acks & set : 0;
        if (!request->writes)
            memset(request->seen, 0, sizeof request->seen);
        request->epoch = node->epoch;
        request->began_epoch = facts->topology.change.began_epoch;
    }
    request->pending = set & ~request->acks;
    request_settle(model, request);
}

/* -- members */

static void node_adopt(struct model *model)
{
    uint64_t newest = model->bench.topology.epoch;
    uint32_t number = (uint32_t)(1 + below(model, model->bench.topology.number_next - 1));
    struct node *node = &model->nodes[number];
    if (below(model, 40) == 0)
        model->cut = prng_u64(&model->prng) & prng_u64(&model->prng);
    if (node->stopped || node->epoch == 0 || node->epoch == newest ||
        (model->cut & bit_of(number)) != 0)
        return;
    uint64_t ahead = newest - node->epoch;
    node->epoch += below(model, 3) == 0 ? 1 + below(model, ahead) : ahead;
    if ((facts_at(model, node->epoch)->gone & bit_of(number)) != 0)
        node->stopped = true;
}

/* Works on one partition: empties it, copies from one source, or drops it. */
static void node_work(struct model *model)
{
    uint32_t number = (uint32_t)(1 + below(model, model->bench.topology.number_next - 1));
    uint32_t p = (uint32_t)below(model, PARTITIONS);
    struct node *node = &model->nodes[number];
    if (node->stopped || node->epoch == 0)
        return;
    const struct epoch_facts *facts = facts_at(model, node->epoch);
    uint64_t name = topology_change_name(&facts->topology);
    uint64_t self = bit_of(number);
    if ((write_set(facts, p) & self) == 0) {
        memset(&node->copies[p], 0, sizeof node->copies[p]);
        return;
    }
    bool copies = (facts->partitions[p].copy & self) != 0;
    bool exchanges = (facts->partitions[p].exchange & self) != 0;
    if (facts->topology.phases[p] != PHASE_ANNOUNCED || (!copies && !exchanges))
        return;
    if (node->copies[p].mark == MARK_NONE || node->copies[p].change != name) {
        if (copies)
            memset(node->copies[p].tokens, 0, sizeof node->copies[p].tokens);
        node->copies[p].mark = MARK_EMPTY;
        node->copies[p].change = name;
        node->copies[p].asked = 0;
        return;
    }
    uint64_t sources = facts->partitions[p].sets[TOPOLOGY_NOW] & ~facts->gone;
    if (exchanges)
        sources &= ~facts->partitions[p].sets[TOPOLOGY_NEXT];
    sources &= ~node->copies[p].asked;
    if (sources == 0) {
        node->copies[p].mark = MARK_FILLED;
        return;
    }
    uint32_t from = any_of(model, sources);
    struct node *source = &model->nodes[from];
    if (source->stopped || source->epoch < node->epoch)
        return;
    const struct epoch_facts *theirs = facts_at(model, source->epoch);
    if (node->epoch < theirs->topology.phase_epochs[p] ||
        (write_set(theirs, p) & bit_of(from)) == 0)
        return;
    for (uint32_t i = 0; i < TOKEN_WORDS; i++)
        node->copies[p].tokens[i] |= source->copies[p].tokens[i];
    node->copies[p].asked |= bit_of(from);
}

/* -- the driver and the operator */

static void driver_listen(struct model *model)
{
    uint32_t number = (uint32_t)(1 + below(model, model->bench.topology.number_next - 1));
    const struct topology *topology = &model->bench.topology;
    const struct member *member = topology_member(topology, number);
    const struct node *node = &model->nodes[number];
    if (member == NULL || member->status == MEMBER_REMOVED || node->stopped)
        return;
    model->heard[number] = node->epoch;
    uint8_t *filled = model->bench.progress.filled[member->slot];
    memset(filled, 0, PARTITIONS_MAX / 8);
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        if (node->copies[p].mark == MARK_FILLED &&
            node->copies[p].change == topology_change_name(topology))
            filled[p / 8] |= (uint8_t)(1u << p % 8);
    }
}

static void driver_step(struct model *model)
{
    struct topology_progress *progress = &model->bench.progress;
    memset(progress->epochs, 0, sizeof progress->epochs);
    for (uint32_t i = 0; i < model->bench.topology.member_count; i++) {
        const struct member *member = &model->bench.topology.members[i];
        if (member->status != MEMBER_REMOVED)
            progress->epochs[member->slot] = model->heard[member->number];
    }
    progress->announced_max = 1 + (uint32_t)below(model, 4);
    if (!bench_step(&model->bench))
        return;
    if (model->bench.topology.change.state != CHANGE_RUNNING) {
        memset(progress->filled, 0, sizeof progress->filled);
        model->counts.ends++;
    }
    model_decide(model);
}

static bool model_operate(struct model *model, const struct topology_operation *operation,
                          uint32_t *ret_number)
{
    struct bench *bench = &model->bench;
    struct topology after;
    const char *why = "";
    if (topology_operate(&bench->arena, &bench->topology, &bench->keyspaces, operation, &after,
                         ret_number, &why) != OK)
        return false;
    bool fresh = after.epoch != bench->topology.epoch;
    bench->topology = after;
    model_decide(model);
    return fresh;
}

static uint32_t any_member(struct model *model)
{
    return any_of(model, facts_at(model, model->bench.topology.epoch)->members);
}

static void operator_join(struct model *model)
{
    const struct epoch_facts *facts = facts_at(model, model->bench.topology.epoch);
    if (model->bench.topology.number_next >= NUMBERS_MAX ||
        count_of(facts->members) >= MEMBERS_ALIVE)
        return;
    char name[16];
    snprintf(name, sizeof name, "j%u", ++model->join_next);
    struct topology_operation join = join_of(name, model->join_next);
    uint32_t number = 0;
    if (model_operate(model, &join, &number))
        model->nodes[number].epoch = model->bench.topology.epoch;
}

static void operator_act(struct model *model)
{
    const struct epoch_facts *facts = facts_at(model, model->bench.topology.epoch);
    enum change_state state = facts->topology.change.state;
    struct topology_operation operation = {.member = any_member(model)};
    uint32_t number = 0;
    switch (below(model, 12)) {
    case 0:
    case 1:
        operator_join(model);
        return;
    case 2:
        operation.kind = TOPOLOGY_LEAVE;
        if (count_of(facts->members) > 4)
            (void)model_operate(model, &operation, &number);
        return;
    case 3: /* dead, and not another one while the copies of one are missing */
        operation.kind = TOPOLOGY_LEAVE;
        operation.gone = true;
        if (model->policy != POLICY_MAJORITY || facts->gone != 0 || below(model, 4) != 0 ||
            count_of(facts->members) <= 4 || !model_operate(model, &operation, &number))
            return;
        model->nodes[operation.member].stopped = true;
        model->counts.gone++;
        return;
    case 4:
        operation.kind = TOPOLOGY_PLACE;
        operation.weight = (uint16_t)(1 + below(model, 3));
        (void)model_operate(model, &operation, &number);
        return;
    case 5:
        operation.kind = TOPOLOGY_REPLICATE;
        operation.keyspace_id = model->bench.keyspace.id;
        operation.n[0] = (uint8_t)(2 + below(model, 4));
        (void)model_operate(model, &operation, &number);
        return;
    case 6:
        operation.kind = TOPOLOGY_ABORT;
        if (state == CHANGE_RUNNING && below(model, 6) == 0)
            model->counts.aborts += model_operate(model, &operation, &number);
        return;
    case 7:
        operation.kind = TOPOLOGY_PAUSE;
        (void)model_operate(model, &operation, &number);
        return;
    case 8:
    case 9:
        operation.kind = TOPOLOGY_RESUME;
        (void)model_operate(model, &operation, &number);
        return;
    default:
        operation.kind = TOPOLOGY_COMMIT;
        operation.force = true;
        model->counts.commits += model_operate(model, &operation, &number);
        return;
    }
}

/* Now and then in the moment that is shortest. */
static void operator_hurry(struct model *model)
{
    struct topology_operation abort = {.kind = TOPOLOGY_ABORT};
    uint32_t number = 0;
    const struct topology *topology = &model->bench.topology;
    bool copied = false;
    for (uint32_t p = 0; p < BUSY; p++)
        copied = copied || topology->phases[p] == PHASE_COPIED;
    if (copied && !topology->change.aborting && below(model, 5) == 0)
        model->counts.aborts += model_operate(model, &abort, &number);
}

static void model_move(struct model *model)
{
    uint64_t drawn = below(model, 100);
    if (drawn < 14)
        request_begin(model);
    else if (drawn < 50)
        request_deliver(model);
    else if (drawn < 56)
        request_plan_again(model);
    else if (drawn < 66)
        node_adopt(model);
    else if (drawn < 82)
        node_work(model);
    else if (drawn < 92)
        driver_listen(model);
    else if (drawn < 98) {
        driver_step(model);
        operator_hurry(model);
    } else
        operator_act(model);
}

static void model_run(struct model *model, enum policy policy, uint64_t stream)
{
    struct epoch_facts *facts = model->facts;
    memset(facts, 0, EPOCHS_MAX * sizeof *facts);
    *model = (struct model){.policy = policy, .facts = facts, .counts = model->counts};
    bench_init(&model->bench, 5, PARTITIONS);
    prng_init(&model->prng, SEED, stream);
    for (uint32_t number = 1; number <= 5; number++)
        model->nodes[number].epoch = 1;
    model_decide(model);
    for (uint32_t i = 0; i < MOVES; i++)
        model_move(model);
    bench_deinit(&model->bench);
}

static void test_reads_see_acknowledged_writes(void **state)
{
    (void)state;
    static struct model model;
    model.facts = calloc(EPOCHS_MAX, sizeof *model.facts);
    assert_non_null(model.facts);
    for (uint32_t run = 0; run < RUNS; run++)
        model_run(&model, (enum policy)(run % 3), run);
    print_message("%u runs of %u moves: %u epochs, %u commits, %u aborts, %u gone, %u ends; "
                  "%u writes, %u reads, %u refusals, %u planned again\n",
                  RUNS, MOVES, model.counts.epochs, model.counts.commits, model.counts.aborts,
                  model.counts.gone, model.counts.ends, model.counts.writes, model.counts.reads,
                  model.counts.refusals, model.counts.replans);
    free(model.facts);
    assert_true(model.counts.reads > 100 * RUNS && model.counts.writes > 100 * RUNS);
    assert_true(model.counts.aborts > RUNS / 2 && model.counts.ends > RUNS);
    assert_true(model.counts.gone > 0 && model.counts.replans > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_reads_see_acknowledged_writes)};
    return cmocka_run_group_tests_name("topology_quorums", tests, NULL, NULL);
}
