// link: coterie_model
/* Rules of model/register.h for an acceptor that begins anew, in every order of events: an acceptor
 * that was emptied in the middle of rounds, whose promises and acceptances are still on their way;
 * rounds that were planned before and after the epoch of the renewal, each with any ballot; others
 * that learn of the epoch late; a second loss; a second acceptor that is lost.
 *
 * What must hold in each state: a proposal above a chosen ballot builds on it (CASPaxos 2.3),
 * unless a majority that remembers has accepted above it, so that it comes to nothing; chosen is
 * what a majority has ever accepted, in whatever life. And no acceptor votes again while the others
 * are no majority.
 *
 * A round meets each acceptor when it likes; an answer reaches its proposer at once or never. With
 * any first majority that is what any delays can do: only who was met, and in which order, matters.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/check.h"
#include "model/hash.h"
#include "model/register.h"
#include "tests/effort.h"

#include <stdlib.h>
#include <string.h>

enum { ACCEPTORS_MAX = 5, ROUNDS_MAX = 4 };

struct setting {
    uint32_t acceptors;
    uint32_t writers; /* the first rounds */
    uint32_t settles; /* the others: rounds of who begins anew */
    uint32_t losses[ACCEPTORS_MAX];
    /* a known mistake */
    bool mutant_unfenced;      /* votes again without an epoch */
    bool mutant_old_accepted;  /* the others do not refuse rounds of older epochs */
    bool mutant_old_voted;     /* nor does the acceptor itself */
    bool mutant_unsettled;     /* votes as soon as it has its epoch */
    bool mutant_few_listed;    /* whoever is left is enough */
    bool mutant_earlier_epoch; /* takes an epoch from before its loss for its own */
    bool mutant_one_epoch;     /* and the one of the list for that of its votes */
};

struct acceptor {
    uint8_t promised; /* ballots: 0 is none */
    uint8_t accepted;
    uint8_t epoch; /* in force here */
    uint8_t losses;
    uint8_t lost;       /* does not vote */
    uint8_t renewed_at; /* the first epoch; 0: not yet */
    uint8_t votes_at;   /* the second one; 0: not yet */
    uint8_t fenced;     /* others that have answered its list, bits */
    uint8_t listed;     /* of these, those that vote */
    uint8_t found;      /* one of them showed the register */
    uint8_t settles;    /* 1 + the round that settles it; 0: none yet */
};

struct round {
    uint8_t begun;
    uint8_t epoch;
    uint8_t prepared; /* met by the prepare, bits */
    uint8_t promised; /* and its promise came back */
    uint8_t proposed;
    uint8_t based_on;
    uint8_t accepted_at; /* met by the accept */
    uint8_t accepted;    /* accepted there, ever, by one who votes */
};

struct state {
    uint8_t epoch; /* the last decided one */
    struct acceptor acceptors[ACCEPTORS_MAX];
    struct round rounds[ROUNDS_MAX];
};

struct explorer {
    const struct setting *setting;
    uint8_t ballots[ROUNDS_MAX]; /* by round */
    uint64_t *seen;
    size_t seen_capacity;
    size_t seen_count;
    size_t states;
    size_t renewed;
    const char *broken;
};

static bool seen_add(struct explorer *explorer, uint64_t key)
{
    key = key == 0 ? 1 : key;
    if (explorer->seen_count * 2 >= explorer->seen_capacity) {
        size_t capacity = explorer->seen_capacity == 0 ? 1u << 16 : explorer->seen_capacity * 2;
        uint64_t *seen = calloc(capacity, sizeof *seen);
        CHECK(seen != NULL);
        for (size_t i = 0; i < explorer->seen_capacity; i++) {
            size_t place = explorer->seen[i] & (capacity - 1);
            while (explorer->seen[i] != 0 && seen[place] != 0)
                place = (place + 1) & (capacity - 1);
            if (explorer->seen[i] != 0)
                seen[place] = explorer->seen[i];
        }
        free(explorer->seen);
        explorer->seen = seen;
        explorer->seen_capacity = capacity;
    }
    size_t place = key & (explorer->seen_capacity - 1);
    for (; explorer->seen[place] != 0; place = (place + 1) & (explorer->seen_capacity - 1)) {
        if (explorer->seen[place] == key)
            return false;
    }
    explorer->seen[place] = key;
    explorer->seen_count++;
    return true;
}

static bool is_majority(const struct setting *setting, uint32_t members)
{
    return (uint32_t)__builtin_popcount(members) > setting->acceptors / 2;
}

static struct ballot ballot_of(uint8_t counter)
{
    return (struct ballot){.counter = counter, .member = counter == 0 ? 0 : 1};
}

/* -- what must hold
 * ------------------------------------------------------------------------------------------ */

/* A majority that remembers has accepted something above it: nobody can choose it, or build on it.
 */
static bool is_covered(const struct setting *setting, const struct state *state, uint8_t ballot)
{
    uint32_t above = 0;
    for (uint32_t a = 0; a < setting->acceptors; a++)
        above |= (uint32_t)(!state->acceptors[a].lost && state->acceptors[a].accepted > ballot)
                 << a;
    return is_majority(setting, above);
}

static const struct round *round_of(const struct explorer *explorer, const struct state *state,
                                    uint8_t ballot)
{
    for (uint32_t i = 0; i < ROUNDS_MAX; i++) {
        if (explorer->ballots[i] == ballot)
            return &state->rounds[i];
    }
    return NULL;
}

/* Whether the value of a proposal was made from that of an earlier one, over however many. */
static bool builds_on(const struct explorer *explorer, const struct state *state,
                      const struct round *round, uint8_t earlier)
{
    while (round->based_on > earlier)
        round = round_of(explorer, state, round->based_on);
    return round->based_on == earlier;
}

static void check_state(struct explorer *explorer, const struct state *state)
{
    const struct setting *setting = explorer->setting;
    uint32_t rounds = setting->writers + setting->settles;
    for (uint32_t i = 0; i < rounds; i++) {
        const struct round *chosen = &state->rounds[i];
        if (!is_majority(setting, chosen->accepted))
            continue;
        for (uint32_t k = 0; k < rounds; k++) {
            const struct round *other = &state->rounds[k];
            if (!other->proposed || explorer->ballots[k] <= explorer->ballots[i] ||
                builds_on(explorer, state, other, explorer->ballots[i]))
                continue;
            if (is_majority(setting, other->accepted))
                explorer->broken = "what was chosen was lost";
            else if (!is_covered(setting, state, explorer->ballots[k]))
                explorer->broken = "a proposal that may be chosen does not build on what was";
        }
    }
}

/* -- what happens
 * -------------------------------------------------------------------------------------------- */

/* Whether the acceptor looks at the round at all; *ret_counts: its answer is a vote. */
static bool meets(const struct setting *setting, const struct acceptor *acceptor,
                  const struct round *round, bool *ret_counts)
{
    bool unfenced =
        acceptor->losses == 0 ? setting->mutant_old_accepted : setting->mutant_old_voted;
    *ret_counts = !acceptor->lost;
    if (round->epoch < acceptor->epoch && !unfenced)
        return false;
    /* Learns what is sent to it from its epoch on, as one whose answers are lost. */
    return !acceptor->lost ||
           (acceptor->renewed_at != 0 && acceptor->epoch >= acceptor->renewed_at);
}

/* What has no effect is as if it had not come yet: false. */
static bool on_prepare(struct explorer *explorer, struct state *state, uint32_t r, uint32_t a,
                       bool delivered)
{
    struct round *round = &state->rounds[r];
    struct acceptor *acceptor = &state->acceptors[a];
    struct ballot conflict;
    bool counts = false;
    if (!meets(explorer->setting, acceptor, round, &counts))
        return false;
    struct register_state held = {.promised = ballot_of(acceptor->promised),
                                  .accepted = ballot_of(acceptor->accepted)};
    if (!register_prepare(&held, (struct ballot){0}, ballot_of(explorer->ballots[r]), &conflict))
        return false;
    round->prepared |= (uint8_t)(1u << a);
    acceptor->promised = (uint8_t)held.promised.counter;
    if (!counts || round->proposed)
        return !delivered;
    if (!delivered)
        return true;
    round->promised |= (uint8_t)(1u << a);
    if (acceptor->accepted > round->based_on)
        round->based_on = acceptor->accepted;
    round->proposed = is_majority(explorer->setting, round->promised);
    return true;
}

static bool on_accept(struct explorer *explorer, struct state *state, uint32_t r, uint32_t a)
{
    struct round *round = &state->rounds[r];
    struct acceptor *acceptor = &state->acceptors[a];
    struct ballot conflict;
    bool counts = false;
    if (!meets(explorer->setting, acceptor, round, &counts))
        return false;
    struct register_state held = {.promised = ballot_of(acceptor->promised),
                                  .accepted = ballot_of(acceptor->accepted)};
    if (!register_accept(&held, (struct ballot){0}, ballot_of(explorer->ballots[r]),
                         (struct bytes){0}, &conflict))
        return false;
    round->accepted_at |= (uint8_t)(1u << a);
    acceptor->promised = (uint8_t)held.promised.counter;
    acceptor->accepted = (uint8_t)held.accepted.counter;
    if (counts)
        round->accepted |= (uint8_t)(1u << a);
    return true;
}

/* All but the epoch: that one is told again by anybody. */
static void on_loss(const struct setting *setting, struct acceptor *acceptor)
{
    *acceptor = (struct acceptor){
        .epoch = acceptor->epoch,
        .losses = (uint8_t)(acceptor->losses + 1),
        .lost = 1,
        .renewed_at = setting->mutant_earlier_epoch ? acceptor->renewed_at : 0,
        .votes_at = setting->mutant_earlier_epoch ? acceptor->votes_at : 0,
    };
}

/* What the rule of model/register.h is asked with. */
static bool has_listed(const struct setting *setting, uint32_t a, const struct acceptor *acceptor)
{
    uint32_t others = ((1u << setting->acceptors) - 1) & ~(1u << a);
    uint32_t acceptors = setting->acceptors;
    if (setting->mutant_few_listed)
        acceptors = 1;
    return register_renewal_listed(acceptors, others, acceptor->fenced, acceptor->listed);
}

static void explore(struct explorer *explorer, const struct state *state);

static uint8_t permuted_bits(uint8_t bits, const uint8_t *place)
{
    uint8_t result = 0;
    for (uint32_t a = 0; a < ACCEPTORS_MAX; a++)
        result |= (uint8_t)((bits >> a & 1) << place[a]);
    return result;
}

static uint64_t permuted_key(const struct state *state, const uint8_t *place)
{
    struct state other = *state;
    for (uint32_t a = 0; a < ACCEPTORS_MAX; a++) {
        struct acceptor *acceptor = &other.acceptors[place[a]];
        *acceptor = state->acceptors[a];
        acceptor->fenced = permuted_bits(acceptor->fenced, place);
        acceptor->listed = permuted_bits(acceptor->listed, place);
    }
    for (uint32_t r = 0; r < ROUNDS_MAX; r++) {
        struct round *round = &other.rounds[r];
        round->prepared = permuted_bits(round->prepared, place);
        round->promised = permuted_bits(round->promised, place);
        round->accepted_at = permuted_bits(round->accepted_at, place);
        round->accepted = permuted_bits(round->accepted, place);
    }
    return hash_bytes(bytes_of(&other, sizeof other), 1);
}

static bool are_alike(const struct setting *setting, uint32_t a, uint32_t b)
{
    return a < setting->acceptors && b < setting->acceptors &&
           setting->losses[a] == setting->losses[b];
}

/* States that differ in the names of acceptors that are alike are one. */
static uint64_t state_key(const struct setting *setting, const struct state *state, uint8_t *place,
                          uint32_t a, uint32_t taken)
{
    uint64_t least = UINT64_MAX;
    if (a == ACCEPTORS_MAX)
        return permuted_key(state, place);
    for (uint32_t to = 0; to < ACCEPTORS_MAX; to++) {
        if ((taken >> to & 1) != 0 || (to != a && !are_alike(setting, a, to)))
            continue;
        place[a] = (uint8_t)to;
        uint64_t key = state_key(setting, state, place, a + 1, taken | 1u << to);
        least = key < least ? key : least;
    }
    return least;
}

static void visit(struct explorer *explorer, const struct state *next)
{
    uint8_t place[ACCEPTORS_MAX];
    if (explorer->broken == NULL &&
        seen_add(explorer, state_key(explorer->setting, next, place, 0, 0)))
        explore(explorer, next);
}

/* A writer's round may be of any epoch that there is; one that settles is planned by who has
 * listed. */
static void explore_beginnings(struct explorer *explorer, const struct state *state, uint32_t r)
{
    const struct setting *setting = explorer->setting;
    struct state next = *state;
    next.rounds[r].begun = 1;
    if (r < setting->writers) {
        for (uint32_t epoch = 0; epoch <= state->epoch; epoch++) {
            next.rounds[r].epoch = (uint8_t)epoch;
            visit(explorer, &next);
        }
        return;
    }
    for (uint32_t a = 0; a < setting->acceptors; a++) {
        const struct acceptor *acceptor = &state->acceptors[a];
        if (!acceptor->lost || acceptor->renewed_at == 0 || acceptor->settles != 0 ||
            !has_listed(setting, a, acceptor) || !acceptor->found)
            continue;
        next = *state;
        next.rounds[r].begun = 1;
        next.rounds[r].epoch = acceptor->epoch;
        next.acceptors[a].settles = (uint8_t)(1 + r);
        visit(explorer, &next);
    }
}

static void explore_round(struct explorer *explorer, const struct state *state, uint32_t r)
{
    const struct setting *setting = explorer->setting;
    const struct round *round = &state->rounds[r];
    if (!round->begun) {
        explore_beginnings(explorer, state, r);
        return;
    }
    for (uint32_t a = 0; a < setting->acceptors; a++) {
        struct state next = *state;
        if ((round->prepared >> a & 1) == 0) {
            if (on_prepare(explorer, &next, r, a, true))
                visit(explorer, &next);
            next = *state;
            if (on_prepare(explorer, &next, r, a, false))
                visit(explorer, &next);
        }
        if (round->proposed && (round->accepted_at >> a & 1) == 0) {
            next = *state;
            if (on_accept(explorer, &next, r, a))
                visit(explorer, &next);
        }
    }
}

/* The register is settled, as far as it was found. */
static bool has_settled(const struct setting *setting, const struct state *state, uint32_t a)
{
    const struct acceptor *acceptor = &state->acceptors[a];
    if (setting->mutant_unsettled)
        return true;
    if (!has_listed(setting, a, acceptor) || (acceptor->found && acceptor->settles == 0))
        return false;
    return !acceptor->found || is_majority(setting, state->rounds[acceptor->settles - 1u].accepted);
}

/* Asks for an epoch, and for another one when it has settled all; then it votes. */
static void explore_renewal(struct explorer *explorer, const struct state *state, uint32_t a)
{
    const struct setting *setting = explorer->setting;
    const struct acceptor *acceptor = &state->acceptors[a];
    struct state next = *state;
    if (!acceptor->lost)
        return;
    if (acceptor->renewed_at == 0) {
        next.acceptors[a].renewed_at = setting->mutant_unfenced ? 0 : ++next.epoch;
        visit(explorer, &next);
    }
    if (!has_settled(setting, state, a))
        return;
    next = *state;
    if (acceptor->votes_at == 0) {
        if (setting->mutant_one_epoch || setting->mutant_unfenced)
            next.acceptors[a].votes_at = acceptor->epoch;
        else
            next.acceptors[a].votes_at = ++next.epoch;
        next.acceptors[a].lost = next.acceptors[a].votes_at == 0 ? 0 : 1;
        visit(explorer, &next);
    } else if (acceptor->epoch >= acceptor->votes_at) {
        next.acceptors[a].lost = 0;
        explorer->renewed++;
        visit(explorer, &next);
    }
}

static void explore_acceptor(struct explorer *explorer, const struct state *state, uint32_t a)
{
    const struct setting *setting = explorer->setting;
    const struct acceptor *acceptor = &state->acceptors[a];
    struct state next = *state;
    if (acceptor->losses < setting->losses[a]) {
        on_loss(setting, &next.acceptors[a]);
        visit(explorer, &next);
    }
    if (acceptor->epoch < state->epoch) {
        next = *state;
        next.acceptors[a].epoch++;
        visit(explorer, &next);
    }
    explore_renewal(explorer, state, a);
    for (uint32_t i = 0; acceptor->lost && i < setting->acceptors; i++) {
        const struct acceptor *source = &state->acceptors[i];
        bool due = acceptor->renewed_at != 0 && acceptor->epoch >= acceptor->renewed_at &&
                   source->epoch >= acceptor->epoch;
        if (i == a || (!due && !setting->mutant_unfenced) || (acceptor->fenced >> i & 1) != 0)
            continue;
        next = *state;
        next.acceptors[a].fenced |= (uint8_t)(1u << i);
        if (!source->lost) {
            next.acceptors[a].listed |= (uint8_t)(1u << i);
            next.acceptors[a].found |= source->promised != 0 || source->accepted != 0;
        }
        visit(explorer, &next);
    }
}

static void explore(struct explorer *explorer, const struct state *state)
{
    explorer->states++;
    check_state(explorer, state);
    uint32_t rounds = explorer->setting->writers + explorer->setting->settles;
    for (uint32_t r = 0; r < rounds && explorer->broken == NULL; r++)
        explore_round(explorer, state, r);
    for (uint32_t a = 0; a < explorer->setting->acceptors && explorer->broken == NULL; a++)
        explore_acceptor(explorer, state, a);
}

/* -- settings
 * ------------------------------------------------------------------------------------------------
 */

struct result {
    const char *broken;
    size_t states;
    size_t renewed;
};

static void run_with(const struct setting *setting, const uint8_t *ballots, struct result *result)
{
    struct explorer explorer = {.setting = setting};
    struct state state;
    memset(&state, 0, sizeof state);
    memcpy(explorer.ballots, ballots, sizeof explorer.ballots);
    visit(&explorer, &state);
    free(explorer.seen);
    result->states += explorer.states;
    result->renewed += explorer.renewed;
    if (explorer.broken != NULL)
        result->broken = explorer.broken;
}

/* Every order of ballots. */
static void run_orders(const struct setting *setting, uint8_t *ballots, uint32_t r,
                       struct result *result)
{
    uint32_t rounds = setting->writers + setting->settles;
    CHECK(rounds <= ROUNDS_MAX);
    if (r >= rounds) {
        run_with(setting, ballots, result);
        return;
    }
    for (uint8_t ballot = 1; ballot <= rounds && result->broken == NULL; ballot++) {
        bool taken = false;
        for (uint32_t i = 0; i < r; i++)
            taken = taken || ballots[i] == ballot;
        ballots[r] = ballot;
        /* Writers are alike, and so are those that settle. */
        bool first = r == 0 || r == setting->writers;
        if (!taken && (first || ballots[r - 1] < ballot))
            run_orders(setting, ballots, r + 1, result);
    }
}

static struct result run(const struct setting *setting)
{
    struct result result = {0};
    uint8_t ballots[ROUNDS_MAX] = {0};
    run_orders(setting, ballots, 0, &result);
    if (getenv("COTERIE_PRINT") != NULL)
        print_message("%zu states, %zu renewed, %s\n", result.states, result.renewed,
                      result.broken == NULL ? "sound" : result.broken);
    return result;
}

static void assert_sound(const struct setting *setting)
{
    struct result result = run(setting);
    if (result.broken != NULL)
        fail_msg("%s", result.broken);
    assert_true(result.states > 100);
    assert_true(result.renewed > 0);
}

static void assert_broken(const struct setting *setting)
{
    assert_non_null(run(setting).broken);
}

#define ONE_OF_THREE .acceptors = 3, .losses = {0, 0, 1}

static void one_of_three(void **state)
{
    (void)state;
    assert_sound(&(struct setting){ONE_OF_THREE, .writers = 2, .settles = 1});
}

/* Its second life is as unknown to the third as the first one was to the second. */
static void lost_again(void **state)
{
    (void)state;
    assert_sound(
        &(struct setting){.acceptors = 3, .losses = {0, 0, 2}, .writers = 1, .settles = 2});
    if (effort_is_full()) /* six million states */
        assert_broken(&(struct setting){.acceptors = 3,
                                        .losses = {0, 0, 2},
                                        .writers = 2,
                                        .settles = 1,
                                        .mutant_earlier_epoch = true});
}

/* Nobody has a vote to give: refused for ever, not begun from nothing. */
static void two_of_three(void **state)
{
    (void)state;
    struct setting setting = {.acceptors = 3, .losses = {0, 1, 1}, .writers = 1, .settles = 2};
    assert_sound(&setting);
    setting.mutant_few_listed = true;
    assert_broken(&setting);
}

/* Five acceptors, the last one lost. One that knows nothing of the epoch completes an old round
 * with what the former life and a third one had promised before: above the settled ballot, and
 * unseen by who accepts below it. */
static const char *play_five(bool fenced, bool *ret_listed)
{
    struct setting setting = {.acceptors = 5, .writers = 2, .settles = 1};
    struct explorer explorer = {.setting = &setting, .ballots = {2, 3, 1}};
    struct state state = {.rounds = {{.epoch = 2}, {.epoch = 0}, {.epoch = 1}}};
    struct acceptor *lost = &state.acceptors[4];
    on_prepare(&explorer, &state, 1, 4, true);
    on_prepare(&explorer, &state, 1, 2, true);
    on_loss(&setting, lost);
    for (uint32_t i = 0; i < 5; i++)
        state.acceptors[i].epoch = i != 3 || fenced;
    lost->renewed_at = 1;
    lost->fenced = lost->listed = fenced ? 0x0f : 0x07;
    *ret_listed = has_listed(&setting, 4, lost);
    for (uint32_t i = 0; i < 4; i++)
        on_prepare(&explorer, &state, 2, i == 2 ? 4 : i, true);
    for (uint32_t i = 0; i < 4; i++)
        on_accept(&explorer, &state, 2, i == 2 ? 4 : i);
    lost->accepted = lost->promised = 0; /* that was lost on the way */
    lost->lost = 0;
    lost->epoch = 2;
    on_prepare(&explorer, &state, 1, 3, true);
    static const uint32_t quorum[] = {0, 1, 4};
    for (uint32_t i = 0; i < 3; i++)
        on_prepare(&explorer, &state, 0, quorum[i], true);
    for (uint32_t i = 0; i < 3; i++)
        on_accept(&explorer, &state, 0, quorum[i]);
    assert_true(is_majority(&setting, state.rounds[0].accepted));
    check_state(&explorer, &state);
    return explorer.broken;
}

static void all_the_others_are_fenced(void **state)
{
    (void)state;
    bool listed;
    assert_non_null(play_five(false, &listed));
    assert_false(listed);
    assert_null(play_five(true, &listed));
    assert_true(listed);
}

static void mistakes_are_found(void **state)
{
    (void)state;
    assert_broken(
        &(struct setting){ONE_OF_THREE, .writers = 2, .settles = 1, .mutant_unfenced = true});
    assert_broken(
        &(struct setting){ONE_OF_THREE, .writers = 2, .settles = 1, .mutant_old_accepted = true});
    assert_broken(
        &(struct setting){ONE_OF_THREE, .writers = 2, .settles = 1, .mutant_old_voted = true});
    assert_broken(
        &(struct setting){ONE_OF_THREE, .writers = 2, .settles = 1, .mutant_unsettled = true});
    assert_broken(
        &(struct setting){ONE_OF_THREE, .writers = 2, .settles = 1, .mutant_one_epoch = true});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_of_three),       cmocka_unit_test(lost_again),
        cmocka_unit_test(two_of_three),       cmocka_unit_test(all_the_others_are_fenced),
        cmocka_unit_test(mistakes_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
