/* cluster_register.h -- keys of consistent keyspaces in stories: what their messages say, in words.
 *
 * A ballot reads 8.n1a: its counter, its proposer, and which of the proposer's lives that was.
 */
#ifndef TESTS_SCENARIO_CLUSTER_REGISTER_H
#define TESTS_SCENARIO_CLUSTER_REGISTER_H

#include "model/register_value.h"
#include "tests/scenario/cluster.h"

static char life_letter(struct cluster *c, struct ballot ballot)
{
    uint32_t rank = 0;
    for (uint32_t i = 0; i < c->life_count; i++) {
        if (c->lives[i].member != ballot.member)
            continue;
        if (c->lives[i].incarnation == ballot.incarnation)
            return (char)('a' + rank % 26);
        rank++;
    }
    CHECK_U64(c->life_count, <, ARRAY_COUNT(c->lives));
    c->lives[c->life_count].member = ballot.member;
    c->lives[c->life_count++].incarnation = ballot.incarnation;
    return (char)('a' + rank % 26);
}

static const char *ballot_text(struct cluster *c, struct ballot ballot)
{
    static char text[4][48];
    static int which;
    which = (which + 1) % 4;
    if (ballot.counter == 0)
        return "none";
    snprintf(text[which], sizeof text[which], "%llu.n%u%c", (unsigned long long)ballot.counter,
             ballot.member, life_letter(c, ballot));
    return text[which];
}

/* What a register holds: "V, version 1", "nothing, version 2". */
static const char *register_text(struct bytes value)
{
    static char text[2][96];
    static int which;
    struct register_value held;
    which ^= 1;
    if (register_value_decode(value, &held) != OK)
        return "a value that cannot be read";
    snprintf(text[which], sizeof text[which], "%.*s, version %llu",
             held.found ? (int)held.value.size : 7,
             held.found ? (const char *)held.value.data : "nothing",
             (unsigned long long)held.version);
    return text[which];
}

/* A register's row: a letter, the state, a checksum (actors/replica_state.h). */
static const char *row_text(struct cluster *c, struct bytes row)
{
    static char text[192];
    struct register_state state;
    if (row.size < 10 || row.data[0] != 'R' ||
        register_state_decode(bytes_of(row.data + 1, row.size - 9), &state) != OK)
        return "no register";
    snprintf(text, sizeof text, "promised %s, accepted %s: %s", ballot_text(c, state.promised),
             ballot_text(c, state.accepted), register_text(state.value));
    return text;
}

/* RELIABILITY rule 35: a ballot never carries two values. */
static void check_ballot(struct cluster *c, const struct register_accept *accept)
{
    uint64_t key_hash = hash_key(accept->keyspace_id, accept->key);
    uint64_t content = hash_bytes(accept->value, 0);
    for (uint32_t i = 0; i < c->accept_count; i++) {
        if (c->accepts[i].key_hash == key_hash &&
            ballot_compare(c->accepts[i].ballot, accept->ballot) == 0) {
            if (c->accepts[i].content != content)
                cluster_fail(c, "two values go under ballot %s", ballot_text(c, accept->ballot));
            return;
        }
    }
    CHECK_U64(c->accept_count, <, ARRAY_COUNT(c->accepts));
    c->accepts[c->accept_count].ballot = accept->ballot;
    c->accepts[c->accept_count].key_hash = key_hash;
    c->accepts[c->accept_count++].content = content;
}

static const char *vote_text(struct cluster *c, char text[256], enum err status, bool agreed,
                             const char *word, struct ballot conflict)
{
    if (status != OK)
        snprintf(text, 256, " %s", err_text(status));
    else if (!agreed)
        snprintf(text, 256, " conflict with %s", ballot_text(c, conflict));
    else
        snprintf(text, 256, " %s", word);
    return text;
}

static const char *register_message_text(struct cluster *c, const struct message *message)
{
    static char text[256];
    const struct register_prepare *prepare = &message->register_prepare;
    const struct register_accept *accept = &message->register_accept;
    const struct register_query_reply *seen = &message->register_query_reply;
    const struct register_prepare_reply *promise = &message->register_prepare_reply;
    const struct register_accept_reply *vote = &message->register_accept_reply;
    char word[160];
    switch ((int)message->kind) {
    case MESSAGE_register_query:
        snprintf(text, sizeof text, " %.*s", (int)message->register_query.key.size,
                 (const char *)message->register_query.key.data);
        return text;
    case MESSAGE_register_prepare:
        snprintf(text, sizeof text, " %.*s %s", (int)prepare->key.size,
                 (const char *)prepare->key.data, ballot_text(c, prepare->ballot));
        return text;
    case MESSAGE_register_accept:
        check_ballot(c, accept);
        snprintf(text, sizeof text, " %.*s %s: %s", (int)accept->key.size,
                 (const char *)accept->key.data, ballot_text(c, accept->ballot),
                 register_text(accept->value));
        return text;
    case MESSAGE_register_query_reply:
        snprintf(word, sizeof word, "promised %s, accepted %s: %s", ballot_text(c, seen->promised),
                 ballot_text(c, seen->accepted), register_text(seen->value));
        return vote_text(c, text, seen->status, true, word, seen->promised);
    case MESSAGE_register_prepare_reply:
        snprintf(word, sizeof word, "promised; accepted %s: %s", ballot_text(c, promise->accepted),
                 register_text(promise->value));
        return vote_text(c, text, promise->status, promise->agreed, word, promise->conflict);
    case MESSAGE_register_accept_reply:
        return vote_text(c, text, vote->status, vote->agreed, "accepted", vote->conflict);
    default:
        return "";
    }
}

/* A second, equal message; NULL when it is no message of a register. */
static struct message *register_message_copy(const struct message *m)
{
    struct message *copy = message_new(m->kind, 256);
    struct arena *arena = &copy->arena;
    switch ((int)m->kind) {
    case MESSAGE_register_query:
        copy->register_query = m->register_query;
        copy->register_query.key = arena_copy(arena, m->register_query.key);
        return copy;
    case MESSAGE_register_prepare:
        copy->register_prepare = m->register_prepare;
        copy->register_prepare.key = arena_copy(arena, m->register_prepare.key);
        return copy;
    case MESSAGE_register_accept:
        copy->register_accept = m->register_accept;
        copy->register_accept.key = arena_copy(arena, m->register_accept.key);
        copy->register_accept.value = arena_copy(arena, m->register_accept.value);
        return copy;
    case MESSAGE_register_query_reply:
        copy->register_query_reply = m->register_query_reply;
        copy->register_query_reply.value = arena_copy(arena, m->register_query_reply.value);
        return copy;
    case MESSAGE_register_prepare_reply:
        copy->register_prepare_reply = m->register_prepare_reply;
        copy->register_prepare_reply.value = arena_copy(arena, m->register_prepare_reply.value);
        return copy;
    case MESSAGE_register_accept_reply:
        copy->register_accept_reply = m->register_accept_reply;
        return copy;
    default:
        message_free(copy);
        return NULL;
    }
}

#endif
