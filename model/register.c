#include "model/register.h"

#include "base/codec.h"
#include "base/mutation.h"

#define STATE_FORMAT 1u

/* -- ballots
 * ----------------------------------------------------------------------------------------- */

int ballot_compare(struct ballot a, struct ballot b)
{
    if (a.counter != b.counter)
        return a.counter < b.counter ? -1 : 1;
    if (a.member != b.member)
        return a.member < b.member ? -1 : 1;
    return (a.incarnation > b.incarnation) - (a.incarnation < b.incarnation);
}

struct ballot ballot_max(struct ballot a, struct ballot b)
{
    return ballot_compare(a, b) < 0 ? b : a;
}

struct ballot ballot_above(struct ballot seen, uint32_t member, uint64_t incarnation)
{
    CHECK_U64(seen.counter, <, UINT64_MAX);
    return (struct ballot){
        .counter = seen.counter + 1, .member = member, .incarnation = incarnation};
}

/* -- acceptor
 * ---------------------------------------------------------------------------------------- */

/* The least that a new ballot must beat. */
static struct ballot state_ballot(const struct register_state *state, struct ballot floor)
{
    return ballot_max(floor, ballot_max(state->promised, state->accepted));
}

bool register_prepare(struct register_state *state, struct ballot floor, struct ballot ballot,
                      struct ballot *ret_conflict)
{
    struct ballot held = state_ballot(state, floor);
    if (ballot_compare(held, ballot) >= 0) {
        *ret_conflict = held;
        return false;
    }
    state->promised = ballot;
    return true;
}

bool register_accept(struct register_state *state, struct ballot floor, struct ballot ballot,
                     struct bytes value, struct ballot *ret_conflict)
{
    struct ballot held = state_ballot(state, floor);
    if (MUTATE(REGISTER_PROMISE_BROKEN))
        held = ballot_max(floor, state->accepted);
    /* At the floor itself nothing is accepted either; an equal ballot above it is our own promise,
     * or the accept once more. */
    if (ballot_compare(held, ballot) > 0 || ballot_compare(floor, ballot) >= 0) {
        *ret_conflict = held;
        return false;
    }
    *state = (struct register_state){.accepted = ballot, .value = value};
    return true;
}

static void ballot_write(struct writer *writer, struct ballot ballot)
{
    writer_varint(writer, ballot.counter);
    writer_varint(writer, ballot.member);
    writer_varint(writer, ballot.incarnation);
}

static struct ballot ballot_read(struct reader *reader)
{
    struct ballot ballot = {.counter = reader_varint(reader)};
    ballot.member = (uint32_t)reader_varint_max(reader, UINT32_MAX);
    ballot.incarnation = reader_varint(reader);
    return ballot;
}

struct bytes register_state_encode(struct arena *arena, const struct register_state *state)
{
    struct writer writer;
    writer_init(&writer, arena, 64 + state->value.size);
    writer_u8(&writer, STATE_FORMAT);
    ballot_write(&writer, state->promised);
    ballot_write(&writer, state->accepted);
    writer_bytes(&writer, state->value);
    return writer_result(&writer);
}

static bool ballot_is_canonical(struct ballot ballot)
{
    return ballot.counter != 0 || (ballot.member == 0 && ballot.incarnation == 0);
}

enum err register_state_decode(struct bytes bytes, struct register_state *ret_state)
{
    struct reader reader = reader_of(bytes);
    uint8_t format = reader_u8(&reader);
    struct register_state state = {.promised = ballot_read(&reader)};
    state.accepted = ballot_read(&reader);
    state.value = reader_bytes(&reader, reader_left(&reader));
    if (!reader_done(&reader) || format != STATE_FORMAT || !ballot_is_canonical(state.promised) ||
        !ballot_is_canonical(state.accepted) ||
        (state.accepted.counter == 0 && state.value.size != 0))
        return ERR_CORRUPT;
    *ret_state = state;
    return OK;
}

/* -- proposer
 * ---------------------------------------------------------------------------------------- */

static bool majority_of(const struct register_acceptors *acceptors, uint32_t members, uint8_t set)
{
    uint32_t all = 0;
    uint32_t there = 0;
    for (uint32_t i = 0; i < acceptors->count; i++) {
        if ((acceptors->list[i].sets & set) == 0)
            continue;
        all++;
        there += members >> i & 1u;
    }
    if (MUTATE(REGISTER_MINORITY_DECIDES) && all > 1)
        return there >= all / 2;
    return all == 0 || there > all / 2;
}

bool register_majority(const struct register_acceptors *acceptors, uint32_t members)
{
    return majority_of(acceptors, members, REGISTER_OLD) &&
           majority_of(acceptors, members, REGISTER_NEW);
}

static uint32_t everyone(const struct register_acceptors *acceptors)
{
    return (uint32_t)(((uint64_t)1 << acceptors->count) - 1);
}

static void round_begin(struct register_round *round, const struct register_acceptors *acceptors,
                        enum register_phase phase, struct ballot ballot)
{
    CHECK_U64(acceptors->count, <=, REGISTER_ACCEPTORS_MAX);
    CHECK_U64(acceptors->count, <=, 32);
    for (uint32_t i = 0; i < acceptors->count; i++)
        CHECK(acceptors->list[i].sets != 0);
    *round = (struct register_round){.acceptors = *acceptors, .phase = phase, .ballot = ballot};
}

void register_round_query(struct register_round *round, const struct register_acceptors *acceptors)
{
    round_begin(round, acceptors, REGISTER_QUERY, (struct ballot){0});
}

void register_round_prepare(struct register_round *round,
                            const struct register_acceptors *acceptors, struct ballot ballot)
{
    CHECK(ballot.counter != 0);
    round_begin(round, acceptors, REGISTER_PREPARE, ballot);
    round->seen = ballot;
}

void register_round_accept(struct register_round *round, struct bytes value)
{
    CHECK(round->phase == REGISTER_PREPARE && register_majority(&round->acceptors, round->agreed));
    round->phase = REGISTER_ACCEPT;
    round->answered = round->agreed = 0;
    round->accepted = round->ballot;
    round->value = value;
}

/* The greatest accepted ballot of the answers so far, who shows it, and what it carries. */
static void round_note_accepted(struct register_round *round, const struct register_answer *answer,
                                uint32_t bit)
{
    int order = ballot_compare(answer->accepted, round->accepted);
    if (MUTATE(REGISTER_ANY_VALUE) && round->phase == REGISTER_PREPARE)
        order = answer->accepted.counter != 0;
    if (order > 0) {
        round->accepted = answer->accepted;
        round->accepted_by = 0;
        round->value = answer->value;
    }
    if (order >= 0)
        round->accepted_by |= bit;
    round->seen = ballot_max(round->seen, answer->accepted);
}

static enum register_verdict round_verdict(const struct register_round *round)
{
    const struct register_acceptors *acceptors = &round->acceptors;
    bool majority = register_majority(acceptors, round->agreed);
    uint32_t silent = everyone(acceptors) & ~round->answered;
    if (round->phase == REGISTER_QUERY) {
        /* A promise above may be followed by an accept that this majority has not seen. */
        if (!round->promised_above && register_majority(acceptors, round->accepted_by))
            return REGISTER_DECIDED;
        /* Some who are silent might still make it one; waiting for them could take for ever. */
        if (majority)
            return MUTATE(REGISTER_READ_UNDECIDED) ? REGISTER_DECIDED : REGISTER_UNDECIDED;
    } else if (majority) {
        return round->phase == REGISTER_PREPARE ? REGISTER_PROPOSE : REGISTER_DECIDED;
    }
    if (register_majority(acceptors, round->agreed | silent))
        return REGISTER_WAIT;
    return ballot_compare(round->seen, round->ballot) > 0 ? REGISTER_CONFLICT : REGISTER_FAILED;
}

enum register_verdict register_round_answer(struct register_round *round,
                                            const struct register_answer *answer)
{
    uint32_t place = 0;
    while (place < round->acceptors.count && round->acceptors.list[place].member != answer->member)
        place++;
    uint32_t bit = place < round->acceptors.count ? 1u << place : 0;
    if (bit == 0 || (round->answered & bit) != 0)
        return REGISTER_WAIT;
    round->answered |= bit;
    if (!answer->failed && !answer->agreed)
        round->seen = ballot_max(round->seen, answer->conflict);
    if (!answer->failed && answer->agreed) {
        round->agreed |= bit;
        if (round->phase != REGISTER_ACCEPT)
            round_note_accepted(round, answer, bit);
        if (round->phase == REGISTER_QUERY) {
            round->seen = ballot_max(round->seen, answer->promised);
            round->promised_above |= ballot_compare(answer->promised, answer->accepted) > 0;
        }
    }
    return round_verdict(round);
}

bool register_renewal_listed(uint32_t acceptors, uint64_t others, uint64_t fenced, uint64_t listed)
{
    return (others & ~fenced) == 0 &&
           (uint32_t)__builtin_popcountll(listed & others) > acceptors / 2;
}
