// link: coterie_model
/* Rules of model/register.h, in every order of events: three acceptors, proposers that are
 * restarted and begin again, messages that are lost (never delivered), late, twice and out of
 * order. All states that can be reached are visited; those that differ only in what can have no
 * effect any more are one.
 *
 * What must hold in each (CASPaxos 2.3): one value a ballot; a value that a majority has accepted
 * is what every later ballot builds on; what a read or an ended round says was chosen and is no
 * older than what was chosen when it began. */
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

enum { ACCEPTORS_MAX = 4, PROPOSERS_MAX = 3, MESSAGES_MAX = 96, BALLOTS_MAX = 8 };

enum operation { WRITE, READ, COMPARE_AND_SET /* from empty */ };

/* What is explored. */
struct setting {
    uint32_t acceptors;
    uint8_t sets[ACCEPTORS_MAX];
    uint32_t proposers;
    enum operation operations[PROPOSERS_MAX];
    uint32_t attempts[PROPOSERS_MAX]; /* ballots that each may draw */
    bool restarts;                    /* a proposer may forget all between attempts */
    bool duplicates;                  /* what was delivered can be delivered again */
    /* a known mistake */
    bool mutant_forget_promises;
    bool mutant_reuse_ballots;
    bool mutant_read_without_deciding;
    bool mutant_new_set_alone;
};

enum message_type { QUERY, QUERIED, PREPARE, PROMISE, ACCEPT, ACCEPTED };

struct note {
    uint8_t type;
    uint8_t proposer;
    uint8_t attempt;
    uint8_t acceptor;
    uint8_t agreed;
    uint8_t value;          /* 0: empty */
    struct ballot ballot;   /* of the round */
    struct ballot promised; /* or the conflict */
    struct ballot accepted;
};

struct acceptor {
    struct ballot promised;
    struct ballot accepted;
    uint8_t value;
};

struct proposer {
    struct register_round round;
    uint8_t values[ACCEPTORS_MAX * 2]; /* what round.value points to, by place */
    uint8_t value;
    uint8_t attempt; /* ballots drawn so far */
    uint8_t running;
    uint8_t ended;
    uint64_t incarnation;
    struct ballot seen;
    struct ballot accepted_at_start; /* by anyone, when the operation began */
    struct ballot chosen_at_start;
};

struct proposal {
    struct ballot ballot;
    struct ballot based_on;
    uint8_t value;
    uint8_t accepted_by; /* ever, bits */
};

struct state {
    struct acceptor acceptors[ACCEPTORS_MAX];
    struct proposer proposers[PROPOSERS_MAX];
    uint32_t proposal_count;
    struct proposal proposals[BALLOTS_MAX];
    uint32_t note_count;
    struct note notes[MESSAGES_MAX];
};

/* -- the set of states that were visited
 * --------------------------------------------------------------- */

struct seen_set {
    uint64_t *keys;
    size_t capacity;
    size_t count;
};

static bool seen_add(struct seen_set *seen, uint64_t key)
{
    key = key == 0 ? 1 : key;
    if (seen->count * 2 >= seen->capacity) {
        size_t capacity = seen->capacity == 0 ? 1u << 16 : seen->capacity * 2;
        uint64_t *keys = calloc(capacity, sizeof *keys);
        CHECK(keys != NULL);
        for (size_t i = 0; i < seen->capacity; i++) {
            if (seen->keys[i] == 0)
                continue;
            size_t place = seen->keys[i] & (capacity - 1);
            while (keys[place] != 0)
                place = (place + 1) & (capacity - 1);
            keys[place] = seen->keys[i];
        }
        free(seen->keys);
        seen->keys = keys;
        seen->capacity = capacity;
    }
    size_t place = key & (seen->capacity - 1);
    while (seen->keys[place] != 0) {
        if (seen->keys[place] == key)
            return false;
        place = (place + 1) & (seen->capacity - 1);
    }
    seen->keys[place] = key;
    seen->count++;
    return true;
}

/* The order of the notes does not matter: their hashes are added. Pointers are left out. */
static uint64_t state_key(const struct state *state)
{
    struct state copy = *state;
    uint64_t notes = 0;
    for (uint32_t i = 0; i < state->note_count; i++)
        notes += hash_bytes(bytes_of(&state->notes[i], sizeof state->notes[i]), 1);
    for (uint32_t i = 0; i < PROPOSERS_MAX; i++)
        copy.proposers[i].round.value = (struct bytes){0};
    return notes + hash_bytes(bytes_of(&copy, offsetof(struct state, note_count)), 2);
}

/* -- what happens
 * ---------------------------------------------------------------------------------------- */

struct explorer {
    const struct setting *setting;
    struct seen_set seen;
    const char *broken; /* the first violation */
    size_t states;
    size_t decided;
};

static struct register_acceptors acceptors_of(const struct setting *setting)
{
    struct register_acceptors acceptors;
    memset(&acceptors, 0, sizeof acceptors);
    for (uint32_t i = 0; i < setting->acceptors; i++) {
        uint8_t sets = setting->sets[i];
        if (setting->mutant_new_set_alone)
            sets &= REGISTER_NEW;
        if (sets == 0)
            continue;
        acceptors.list[acceptors.count].member = i + 1;
        acceptors.list[acceptors.count++].sets = sets;
    }
    return acceptors;
}

static void state_send(struct state *state, const struct note *note)
{
    for (uint32_t i = 0; i < state->note_count; i++) {
        if (memcmp(&state->notes[i], note, sizeof *note) == 0)
            return;
    }
    CHECK_U64(state->note_count, <, MESSAGES_MAX);
    state->notes[state->note_count++] = *note;
}

static struct ballot greatest_chosen(const struct setting *setting, const struct state *state)
{
    struct ballot greatest = {0};
    struct setting whole = *setting;
    whole.mutant_new_set_alone = false; /* what is chosen is what the sets that there are say */
    struct register_acceptors acceptors = acceptors_of(&whole);
    for (uint32_t i = 0; i < state->proposal_count; i++) {
        if (register_majority(&acceptors, state->proposals[i].accepted_by))
            greatest = ballot_max(greatest, state->proposals[i].ballot);
    }
    return greatest;
}

static void check_state(struct explorer *explorer, const struct state *state)
{
    struct ballot chosen = greatest_chosen(explorer->setting, state);
    for (uint32_t i = 0; i < state->proposal_count; i++) {
        const struct proposal *a = &state->proposals[i];
        if (ballot_compare(a->ballot, chosen) > 0 && ballot_compare(a->based_on, chosen) < 0)
            explorer->broken = "a later ballot does not build on what was chosen";
        for (uint32_t k = 0; k < i; k++) {
            if (ballot_compare(a->ballot, state->proposals[k].ballot) == 0)
                explorer->broken = "two proposals under one ballot";
        }
    }
}

static void broadcast(const struct explorer *explorer, struct state *state, uint32_t index,
                      enum message_type type)
{
    struct proposer *proposer = &state->proposers[index];
    for (uint32_t i = 0; i < proposer->round.acceptors.count; i++) {
        struct note note;
        memset(&note, 0, sizeof note);
        note.type = (uint8_t)type;
        note.proposer = (uint8_t)index;
        note.attempt = proposer->attempt;
        note.acceptor = (uint8_t)(proposer->round.acceptors.list[i].member - 1);
        note.ballot = proposer->round.ballot;
        note.value = type == ACCEPT ? proposer->value : 0;
        state_send(state, &note);
    }
    (void)explorer;
}

static void prepare(const struct explorer *explorer, struct state *state, uint32_t index)
{
    struct proposer *proposer = &state->proposers[index];
    struct register_acceptors acceptors = acceptors_of(explorer->setting);
    proposer->attempt++;
    struct ballot ballot = ballot_above(proposer->seen, index + 1, proposer->incarnation);
    if (explorer->setting->mutant_reuse_ballots)
        ballot.incarnation = 0;
    register_round_prepare(&proposer->round, &acceptors, ballot);
    broadcast(explorer, state, index, PREPARE);
}

/* An operation begins: reads ask first, the others prepare. */
static void begin(const struct explorer *explorer, struct state *state, uint32_t index)
{
    struct proposer *proposer = &state->proposers[index];
    proposer->running = 1;
    proposer->chosen_at_start = greatest_chosen(explorer->setting, state);
    for (uint32_t i = 0; i < state->proposal_count; i++) {
        if (state->proposals[i].accepted_by != 0)
            proposer->accepted_at_start =
                ballot_max(proposer->accepted_at_start, state->proposals[i].ballot);
    }
    if (explorer->setting->operations[index] == READ) {
        struct register_acceptors acceptors = acceptors_of(explorer->setting);
        register_round_query(&proposer->round, &acceptors);
        broadcast(explorer, state, index, QUERY);
    } else {
        prepare(explorer, state, index);
    }
}

static void decide(struct explorer *explorer, struct state *state, struct proposer *proposer)
{
    struct ballot said = proposer->round.accepted;
    struct ballot chosen = greatest_chosen(explorer->setting, state);
    explorer->decided++;
    if (ballot_compare(said, proposer->chosen_at_start) < 0)
        explorer->broken = "an answer is older than what was chosen when it was asked";
    if (ballot_compare(said, chosen) > 0)
        explorer->broken = "an answer says what was not chosen";
    /* What a minority had accepted by then may come up later only if it was decided over. */
    if (ballot_compare(said, proposer->accepted_at_start) < 0)
        explorer->broken = "an answer passes over what a minority had accepted before";
    proposer->running = 0;
    proposer->ended = 1;
}

static void propose(struct explorer *explorer, struct state *state, uint32_t index)
{
    struct proposer *proposer = &state->proposers[index];
    uint8_t current = proposer->round.accepted.counter == 0 ? 0 : proposer->value;
    uint8_t next = current;
    enum operation operation = explorer->setting->operations[index];
    if (operation == WRITE || (operation == COMPARE_AND_SET && current == 0))
        next = (uint8_t)(16 * (index + 1) + proposer->attempt);
    CHECK_U64(state->proposal_count, <, BALLOTS_MAX);
    state->proposals[state->proposal_count++] = (struct proposal){
        .ballot = proposer->round.ballot, .based_on = proposer->round.accepted, .value = next};
    proposer->value = next;
    register_round_accept(&proposer->round, bytes_of(&proposer->value, 1));
    broadcast(explorer, state, index, ACCEPT);
}

static void on_answer(struct explorer *explorer, struct state *state, const struct note *note)
{
    static const enum register_phase phases[] = {
        [QUERIED] = REGISTER_QUERY, [PROMISE] = REGISTER_PREPARE, [ACCEPTED] = REGISTER_ACCEPT};
    struct proposer *proposer = &state->proposers[note->proposer];
    if (!proposer->running || proposer->round.phase != phases[note->type] ||
        ballot_compare(proposer->round.ballot, note->ballot) != 0)
        return; /* of a round that has ended, or of an earlier life */
    struct ballot accepted_before = proposer->round.accepted;
    struct register_answer answer = {
        .member = note->acceptor + 1u,
        .agreed = note->agreed != 0,
        .conflict = note->promised,
        .promised = note->type == QUERIED ? note->promised : (struct ballot){0},
        .accepted = note->accepted,
        .value = bytes_of(&note->value, 1),
    };
    enum register_verdict verdict = register_round_answer(&proposer->round, &answer);
    if (note->type != ACCEPTED && ballot_compare(proposer->round.accepted, accepted_before) != 0)
        proposer->value = note->value;
    proposer->seen = ballot_max(proposer->seen, proposer->round.seen);
    if (verdict == REGISTER_UNDECIDED && explorer->setting->mutant_read_without_deciding)
        verdict = REGISTER_DECIDED;
    if (verdict == REGISTER_DECIDED)
        decide(explorer, state, proposer);
    else if (verdict == REGISTER_PROPOSE)
        propose(explorer, state, note->proposer);
    else if ((verdict == REGISTER_CONFLICT || verdict == REGISTER_UNDECIDED) &&
             proposer->attempt < explorer->setting->attempts[note->proposer])
        prepare(explorer, state, note->proposer);
    else if (verdict != REGISTER_WAIT)
        proposer->running = 0;
}

static void on_request(struct explorer *explorer, struct state *state, const struct note *note)
{
    struct acceptor *acceptor = &state->acceptors[note->acceptor];
    struct register_state held = {.promised = acceptor->promised,
                                  .accepted = acceptor->accepted,
                                  .value = bytes_of(&acceptor->value, 1)};
    struct ballot none = {0};
    struct ballot conflict = {0};
    struct note reply = *note;
    reply.agreed = 1;
    reply.accepted = acceptor->accepted;
    reply.value = acceptor->value;
    reply.promised = acceptor->promised;
    if (note->type == QUERY) {
        reply.type = QUERIED;
    } else if (note->type == PREPARE) {
        reply.type = PROMISE;
        reply.agreed = register_prepare(&held, none, note->ballot, &conflict);
        reply.promised = reply.agreed ? none : conflict;
    } else {
        reply.type = ACCEPTED;
        reply.agreed =
            register_accept(&held, none, note->ballot, bytes_of(&note->value, 1), &conflict);
        reply.promised = reply.agreed ? none : conflict;
        reply.accepted = none;
        reply.value = 0;
        if (reply.agreed) {
            acceptor->value = note->value;
            for (uint32_t i = 0; i < state->proposal_count; i++) {
                struct proposal *proposal = &state->proposals[i];
                if (ballot_compare(proposal->ballot, note->ballot) == 0 &&
                    proposal->value == note->value)
                    proposal->accepted_by |= (uint8_t)(1u << note->acceptor);
            }
        }
    }
    acceptor->promised = explorer->setting->mutant_forget_promises ? none : held.promised;
    acceptor->accepted = held.accepted;
    state_send(state, &reply);
}

/* -- all of it
 * -----------------------------------------------------------------------------------------------
 */

static void explore(struct explorer *explorer, const struct state *state);

/* Whether the proposer that it goes to would still look at it. */
static bool reply_matters(const struct state *state, const struct note *note)
{
    const struct proposer *proposer = &state->proposers[note->proposer];
    static const int phases[] = {
        [QUERIED] = REGISTER_QUERY, [PROMISE] = REGISTER_PREPARE, [ACCEPTED] = REGISTER_ACCEPT};
    return proposer->running && (int)proposer->round.phase == phases[note->type] &&
           ballot_compare(proposer->round.ballot, note->ballot) == 0 &&
           (proposer->round.answered & 1u << note->acceptor) == 0;
}

static void forget_what_has_no_effect(struct state *state)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < state->note_count; i++) {
        const struct note *note = &state->notes[i];
        bool request = note->type == QUERY || note->type == PREPARE || note->type == ACCEPT;
        if (request || reply_matters(state, note))
            state->notes[kept++] = *note;
    }
    state->note_count = kept;
    for (uint32_t i = 0; i < PROPOSERS_MAX; i++) {
        struct proposer *proposer = &state->proposers[i];
        if (proposer->running)
            continue;
        struct proposer rest = {.attempt = proposer->attempt, .ended = 1};
        if (proposer->attempt != 0 || proposer->ended != 0) {
            memset(proposer, 0, sizeof *proposer);
            proposer->attempt = rest.attempt;
            proposer->ended = 1;
        }
    }
}

static void visit(struct explorer *explorer, struct state *next)
{
    if (!explorer->setting->duplicates)
        forget_what_has_no_effect(next);
    if (explorer->broken == NULL && seen_add(&explorer->seen, state_key(next)))
        explore(explorer, next);
}

static void explore(struct explorer *explorer, const struct state *state)
{
    explorer->states++;
    check_state(explorer, state);
    struct state *next = malloc(sizeof *next);
    CHECK(next != NULL);
    for (uint32_t i = 0; i < explorer->setting->proposers && explorer->broken == NULL; i++) {
        const struct proposer *proposer = &state->proposers[i];
        if (!proposer->running && !proposer->ended && proposer->attempt == 0) {
            *next = *state;
            begin(explorer, next, i);
            visit(explorer, next);
        }
        if (explorer->setting->restarts && proposer->running &&
            proposer->attempt < explorer->setting->attempts[i]) {
            *next = *state;
            struct proposer *again = &next->proposers[i];
            uint8_t attempt = again->attempt;
            uint64_t incarnation = again->incarnation;
            memset(again, 0, sizeof *again); /* `seen` as well: it starts at the first counter */
            again->attempt = attempt;
            again->incarnation = incarnation + 1;
            begin(explorer, next, i);
            visit(explorer, next);
        }
    }
    for (uint32_t i = 0; i < state->note_count && explorer->broken == NULL; i++) {
        const struct note *note = &state->notes[i];
        *next = *state;
        if (!explorer->setting->duplicates)
            next->notes[i] = next->notes[--next->note_count];
        if (note->type == QUERY || note->type == PREPARE || note->type == ACCEPT)
            on_request(explorer, next, note);
        else
            on_answer(explorer, next, note);
        visit(explorer, next);
    }
    free(next);
}

static const char *run(const struct setting *setting, size_t *ret_states)
{
    struct explorer explorer = {.setting = setting};
    struct state state;
    memset(&state, 0, sizeof state);
    visit(&explorer, &state);
    free(explorer.seen.keys);
    if (getenv("COTERIE_PRINT") != NULL)
        print_message("%zu states, %zu decisions%s%s\n", explorer.states, explorer.decided,
                      explorer.broken == NULL ? "" : ": ",
                      explorer.broken == NULL ? "" : explorer.broken);
    assert_true(explorer.broken != NULL || explorer.decided > 0);
    *ret_states = explorer.states;
    return explorer.broken;
}

static void assert_sound(const struct setting *setting)
{
    size_t states;
    const char *broken = run(setting, &states);
    if (broken != NULL)
        fail_msg("%s", broken);
    assert_true(states > 100);
}

static void assert_broken(const struct setting *setting)
{
    size_t states;
    assert_non_null(run(setting, &states));
}

#define THREE .acceptors = 3, .sets = {REGISTER_OLD, REGISTER_OLD, REGISTER_OLD}

static void two_writers(void **state)
{
    (void)state;
    assert_sound(
        &(struct setting){THREE, .proposers = 2, .operations = {WRITE, WRITE}, .attempts = {1, 1}});
    assert_sound(&(struct setting){THREE, .proposers = 2, .operations = {COMPARE_AND_SET, WRITE},
                                   .attempts = {1, 1}});
}

/* RELIABILITY 2.7, read-must-decide: a write that a minority accepted, two readers one after the
 * other. */
static void a_writer_and_a_reader(void **state)
{
    (void)state;
    if (!effort_is_full())
        skip(); /* a million and a half states */
    assert_sound(
        &(struct setting){THREE, .proposers = 2, .operations = {WRITE, READ}, .attempts = {1, 1}});
}

/* ballot-reuse-after-crash: a proposer that forgets everything begins again at the first counter.
 */
static void a_proposer_is_restarted(void **state)
{
    (void)state;
    assert_sound(&(struct setting){THREE, .proposers = 1, .operations = {WRITE}, .attempts = {2},
                                   .restarts = true});
}

/* A replica is replaced, A B C to A B D: majorities of both sets. */
static void two_sets(void **state)
{
    (void)state;
    assert_sound(
        &(struct setting){.acceptors = 4,
                          .sets = {REGISTER_OLD | REGISTER_NEW, REGISTER_OLD | REGISTER_NEW,
                                   REGISTER_OLD, REGISTER_NEW},
                          .proposers = 1,
                          .operations = {WRITE},
                          .attempts = {1}});
}

/* The checks see what they are there for. */
static void known_mistakes_are_found(void **state)
{
    (void)state;
    assert_broken(&(struct setting){THREE, .proposers = 2, .operations = {WRITE, WRITE},
                                    .attempts = {1, 1}, .mutant_forget_promises = true});
    if (effort_is_full()) /* a million states */
        assert_broken(&(struct setting){THREE, .proposers = 1, .operations = {WRITE},
                                        .attempts = {2}, .restarts = true, .duplicates = true,
                                        .mutant_reuse_ballots = true});
    assert_broken(&(struct setting){THREE, .proposers = 2, .operations = {WRITE, READ},
                                    .attempts = {1, 1}, .mutant_read_without_deciding = true});
    assert_broken(
        &(struct setting){.acceptors = 4,
                          .sets = {REGISTER_OLD | REGISTER_NEW, REGISTER_OLD | REGISTER_NEW,
                                   REGISTER_OLD, REGISTER_NEW},
                          .proposers = 1,
                          .operations = {WRITE},
                          .attempts = {1},
                          .mutant_new_set_alone = true});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_writers),
        cmocka_unit_test(a_writer_and_a_reader),
        cmocka_unit_test(a_proposer_is_restarted),
        cmocka_unit_test(two_sets),
        cmocka_unit_test(known_mistakes_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
