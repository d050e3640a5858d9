/* story_registers.h -- at the end of a story each key of a consistent keyspace is judged: what its
 * requests were told could have happened one after the other, version numbers included. Requests
 * with one id are one change. Where a majority of the replicas has kept its disk, it can be read.
 */
#ifndef TESTS_SCENARIO_STORY_REGISTERS_H
#define TESTS_SCENARIO_STORY_REGISTERS_H

#include "tests/scenario/script.h"
#include "tests/sim/linearizable.h"

struct key_history {
    const struct cluster *c;
    uint32_t count;
    const struct request *requests[REQUESTS_MAX];
    bool pending[REQUESTS_MAX];
    struct linearizable_interval intervals[REQUESTS_MAX];
};

/* Values by number: the first request that wrote it; 0: nothing. */
static uint64_t value_of(const struct cluster *c, const char *value)
{
    for (uint32_t i = 0; i < c->request_count && value[0] != 0; i++) {
        if (c->requests[i].strong && c->requests[i].is_put &&
            strcmp(c->requests[i].value, value) == 0)
            return i + 1;
    }
    return value[0] == 0 ? 0 : UINT32_MAX; /* that nobody wrote */
}

static bool key_condition(const struct cluster *c, const struct request *request, uint64_t version,
                          uint64_t value)
{
    switch (request->condition) {
    case REGISTER_IF_VALUE:
        return value != 0 && value == value_of(c, request->expected);
    case REGISTER_IF_VERSION:
        return version == request->expected_version;
    case REGISTER_IF_ABSENT:
        return value == 0;
    case REGISTER_ALWAYS:
        break;
    }
    return true;
}

static bool key_step(void *closure, uint64_t state, uint32_t index, uint64_t *ret_state)
{
    const struct key_history *history = closure;
    const struct request *request = history->requests[index];
    uint64_t version = state >> 32;
    uint64_t value = state & UINT32_MAX;
    bool holds = key_condition(history->c, request, version, value);
    *ret_state = state;
    if (!request->is_put || (request->status == ERR_CONFLICT && !history->pending[index]))
        return (!request->is_put || !holds) && request->version == version &&
               value_of(history->c, request->seen) == value;
    *ret_state = (version + 1) << 32 | value_of(history->c, request->value);
    return holds && (history->pending[index] || request->version == version + 1);
}

static bool is_same_change(const struct request *a, const struct request *b)
{
    return a == b || (a->id[0] != 0 && strcmp(a->id, b->id) == 0);
}

static void key_add(struct key_history *history, const struct request *request, bool pending,
                    uint64_t called_ns, uint64_t returned_ns)
{
    history->requests[history->count] = request;
    history->pending[history->count] = pending;
    history->intervals[history->count++] = (struct linearizable_interval){called_ns, returned_ns};
}

/* The attempts at one change, `first` the first of them. */
static void key_add_change(struct key_history *history, const struct request *first)
{
    const struct cluster *c = history->c;
    const struct request *applied = NULL;
    bool unknown = false;
    for (const struct request *request = first; request < &c->requests[c->request_count];
         request++) {
        if (!is_same_change(first, request))
            continue;
        bool answered = request->ended && !request->cut_off;
        if (answered && request->status == OK && applied == NULL)
            applied = request;
        unknown |= !answered || request->outcome == OUTCOME_UNKNOWN;
        if (answered && request->status == ERR_CONFLICT)
            key_add(history, request, false, request->begun_ns, request->ended_ns);
    }
    if (applied != NULL)
        key_add(history, applied, false, first->begun_ns, applied->ended_ns);
    else if (unknown)
        key_add(history, first, true, first->begun_ns, LINEARIZABLE_NEVER);
}

static bool is_first(const struct cluster *c, const struct request *request)
{
    for (const struct request *before = c->requests; before < request; before++) {
        if (is_same_change(before, request))
            return false;
    }
    return true;
}

static void judge_key(struct cluster *c, const struct request *asked)
{
    struct key_history *history = calloc(1, sizeof *history);
    CHECK(history != NULL);
    history->c = c;
    for (uint32_t i = 0; i < c->request_count; i++) {
        const struct request *request = &c->requests[i];
        if (!request->strong || strcmp(request->key, asked->key) != 0 ||
            strcmp(request->keyspace, asked->keyspace) != 0)
            continue;
        if (request->is_put && is_first(c, request))
            key_add_change(history, request);
        else if (!request->is_put && request->ended && !request->cut_off && request->status == OK)
            key_add(history, request, false, request->begun_ns, request->ended_ns);
    }
    const struct linearizable_model model = {.step = key_step, .closure = history};
    if (linearizable_check(history->intervals, history->count, &model, 0) != LINEARIZABLE_YES)
        cluster_fail(c, "%s is not linearizable", asked->key);
    free(history);
}

/* Acceptors that have lost their disks do not vote again. */
static bool key_has_majority(const struct cluster *c, const struct request *request)
{
    const struct view *view = newest_view(c);
    const struct keyspace *keyspace = keyspace_map_find(&view->keyspaces, request->keyspace);
    struct replica_set set = {0};
    uint32_t lost = 0;
    if (keyspace == NULL)
        return false;
    view_replica_set(view, keyspace,
                     hash_partition(hash_key(keyspace->id, bytes_of_string(request->key)),
                                    c->topology.partitions),
                     &set);
    for (uint32_t i = 0; i < set.count; i++)
        lost += c->nodes[set.replicas[i].member - 1].lost;
    return set.count - lost > set.count / 2;
}

/* An earlier request has the same key. */
static bool was_asked(const struct cluster *c, const struct request *request)
{
    for (const struct request *before = c->requests; before < request; before++) {
        if (before->strong && strcmp(before->key, request->key) == 0 &&
            strcmp(before->keyspace, request->keyspace) == 0)
            return true;
    }
    return false;
}

/* Reads every key through two nodes, then judges it. */
static void registers_end(struct cluster *c)
{
    uint32_t asked = c->request_count;
    const uint32_t through[] = {first_member(c)->number, last_member(c)->number};
    for (uint32_t r = 0; r < asked && c->failure[0] == 0; r++) {
        const struct request *request = &c->requests[r];
        if (!request->strong || was_asked(c, request))
            continue;
        for (uint32_t i = 0; i < ARRAY_COUNT(through); i++) {
            char line[160];
            struct words words;
            snprintf(line, sizeof line, "get n%u %s in %s", through[i], request->key,
                     request->keyspace);
            words_split(&words, line);
            uint32_t number = c->request_count;
            command_run(c, &words);
            bool read = c->request_count > number && c->requests[number].status == OK;
            if (!read && key_has_majority(c, request))
                cluster_fail(c, "%s cannot be read although all is well", request->key);
        }
        judge_key(c, request);
    }
}

#endif
