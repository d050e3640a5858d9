/* story_end.h -- what holds at the end of every story, when all is well again. */
#ifndef TESTS_SCENARIO_STORY_END_H
#define TESTS_SCENARIO_STORY_END_H

#include "tests/scenario/story_registers.h"

/* Every hint has reached its target. */
static void check_hints_gone(struct cluster *c)
{
    for (uint32_t i = 0; i < c->node_count; i++) {
        if (!c->nodes[i].up)
            continue;
        uint64_t hints = counter_get(&hinted_handoff_figures(c->nodes[i].hinted_handoff)->hints);
        if (hints != 0)
            cluster_fail(c, "n%u still keeps %llu hints although all is well", i + 1,
                         (unsigned long long)hints);
    }
}

/* The set of the last request, a get at ALL through `node`, by its context. */
static void read_all(struct cluster *c, uint32_t node, const struct request *asked,
                     struct clock *ret_clock)
{
    char line[160];
    struct words words;
    struct bytes bytes;
    c->context_count = 0;
    snprintf(line, sizeof line, "get n%u %s ALL in %s as final", node, asked->key, asked->keyspace);
    words_split(&words, line);
    uint32_t number = c->request_count;
    command_run(c, &words);
    if (c->request_count == number || c->requests[number].status != OK ||
        !find_context(c, "final", &bytes)) {
        cluster_fail(c, "%s cannot be read at ALL although all is well", asked->key);
        return;
    }
    struct reader reader = reader_of(bytes);
    enum err err = clock_decode(&reader, &c->arena, ret_clock);
    CHECK(err == OK);
}

/* RELIABILITY section 2 (moves): a change that was committed comes to its end, or back to where it
 * began. */
static void end_change(struct cluster *c)
{
    uint64_t until_ns = c->now_ns + 60000 * MS;
    while (c->now_ns < until_ns && !change_is_over(c))
        cluster_run_until(c, c->now_ns + 100 * MS);
    if (!change_is_over(c))
        cluster_fail(c, "a change is not at its end although all is well");
}

static bool rows_are_bad(const struct cluster *c)
{
    for (uint32_t i = 0; i < c->node_count; i++) {
        if (!c->nodes[i].up)
            continue;
        const struct replica_figures *figures = replica_figures(c->nodes[i].replica);
        if (counter_get(&figures->quarantined) + counter_get(&figures->vnodes_incomplete) > 0)
            return true;
    }
    return false;
}

/* What no disk can give back is given up: as long as somebody might, a change waits for it, and so
 * does a copy that was lost. */
static void end_rot(struct cluster *c)
{
    uint64_t until_ns = c->now_ns + 90000 * MS;
    for (uint32_t i = 0; i < c->node_count && c->rotten[0] != 0; i++) {
        char line[32];
        struct words words;
        snprintf(line, sizeof line, "repair n%u 9 giving-up", c->nodes[i].number);
        words_split(&words, line);
        command_run(c, &words);
    }
    while (c->rotten[0] != 0 && c->now_ns < until_ns && rows_are_bad(c))
        cluster_run_until(c, c->now_ns + 100 * MS);
}

/* RELIABILITY rules 17, 19: when all is well again every write that was acknowledged is covered by
 * what is read, and every node reads the same, with nothing left to repair. */
static void story_ends(struct cluster *c)
{
    cluster_heal(c);
    c->tamper = TAMPER_NONE;
    for (uint32_t i = 0; i < c->node_count; i++) {
        c->nodes[i].slow = c->nodes[i].syncing = c->nodes[i].unreadable = false;
        node_set_reads(&c->nodes[i], false);
        release(c, &c->nodes[i]);
        if (c->nodes[i].up)
            plan_sync(&c->nodes[i]);
    }
    cluster_run_until(c, c->now_ns + 500 * MS);
    for (uint32_t i = 0; i < c->node_count; i++) {
        if (!c->nodes[i].up && may_start(&c->nodes[i]) && is_member_now(&c->nodes[i]))
            node_start(&c->nodes[i]);
    }
    end_rot(c);
    end_change(c);
    cluster_run_until(c, c->now_ns + 10000 * MS);
    check_hints_gone(c);
    uint32_t asked = c->request_count;
    uint32_t one = first_member(c)->number;
    const struct node *other = last_member(c);
    const struct counter *differed = &coordinator_figures(other->coordinator)->read_differed;
    for (uint32_t r = 0; r < asked && c->failure[0] == 0; r++) {
        const struct request *request = &c->requests[r];
        struct clock first = {0};
        struct clock second = {0};
        if (!request->is_put || request->strong ||
            (request->outcome != OUTCOME_APPLIED && !request->cut_off) ||
            keyspace_map_find(&other->view->keyspaces, request->keyspace) == NULL)
            continue; /* not written, or dropped with its keyspace */
        /* Twice: a replica that meets its own lost writes in a repair adds an epoch of its own. */
        read_all(c, one, request, &first);
        read_all(c, one, request, &first);
        uint64_t before = counter_get(differed);
        read_all(c, other->number, request, &second);
        if (!clock_equal(&first, &second) || counter_get(differed) != before)
            cluster_fail(c, "the replicas of %s differ after a read at ALL", request->key);
        if (!request->cut_off && !request->periodic && !is_forgotten(c, request->key) &&
            !clock_descends(&first, &request->context))
            cluster_fail(c, "%s=%s was acknowledged and is lost", request->key, request->value);
    }
    registers_end(c);
}

#endif
