/* script_change.h -- the commands of who changes the cluster. */
#ifndef TESTS_SCENARIO_SCRIPT_CHANGE_H
#define TESTS_SCENARIO_SCRIPT_CHANGE_H

#include "model/topology_sets.h"
#include "tests/scenario/script_words.h"

#define WAIT_NS (60000 * MS)

/* Who is asked: `through n2`, or the first member that is up. */
static struct node *word_through(struct cluster *c, const struct words *words)
{
    struct node *first = first_member(c);
    int last = words->count - 1;
    if (last > 1 && word_is(words, last - 1, "through"))
        return word_node(c, word_at(words, last));
    return first == NULL ? &c->nodes[0] : first;
}

/* change n4 join [weight 2] | leave | gone | weight 4 | zone east */
static void command_change(struct cluster *c, const struct words *words)
{
    struct node *node = word_node(c, word_at(words, 1));
    struct topology_operation operation = {.member = node->number, .kind = TOPOLOGY_PLACE};
    struct node *through = word_through(c, words);
    const char *what = word_at(words, 2);
    for (int i = 2; i < words->count && !word_is(words, i, "through"); i++) {
        if (word_is(words, i, "weight"))
            operation.weight = (uint16_t)strtoul(word_at(words, ++i), NULL, 10);
        else if (word_is(words, i, "zone"))
            snprintf(operation.zone, sizeof operation.zone, "%s", word_at(words, ++i));
        else if (i != 2)
            cluster_fail(c, "\"%s\" is not understood", word_at(words, i));
    }
    operation.gone = strcmp(what, "gone") == 0;
    if (operation.gone || strcmp(what, "leave") == 0)
        operation.kind = TOPOLOGY_LEAVE;
    if (strcmp(what, "join") == 0)
        node_join(c, node, through, &operation);
    else
        topology_ask(c, through, &operation);
    cluster_run_until(c, c->now_ns + 10 * MS);
}

/* commit [force], abort, pause, resume: of the change */
static void command_operate(struct cluster *c, const struct words *words)
{
    struct topology_operation operation = {.kind = word_is(words, 0, "commit")  ? TOPOLOGY_COMMIT
                                                   : word_is(words, 0, "abort") ? TOPOLOGY_ABORT
                                                   : word_is(words, 0, "pause") ? TOPOLOGY_PAUSE
                                                                                : TOPOLOGY_RESUME,
                                           .force = word_is(words, 1, "force")};
    topology_ask(c, word_through(c, words), &operation);
}

/* The view of who knows most; NULL: nobody runs. */
static const struct view *newest_view(const struct cluster *c)
{
    const struct view *newest = NULL;
    for (uint32_t i = 0; i < c->node_count; i++) {
        const struct node *node = &c->nodes[i];
        if (node->up && (newest == NULL || node->view->topology.epoch > newest->topology.epoch))
            newest = node->view;
    }
    return newest;
}

static bool word_phase(const char *word, enum partition_phase *ret_phase)
{
    for (uint32_t i = PHASE_ANNOUNCED; i <= PHASE_DONE; i++) {
        if (strcmp(word, phase_texts[i]) == 0) {
            *ret_phase = (enum partition_phase)i;
            return true;
        }
    }
    return false;
}

/* wait KEY [in KEYSPACE] announced|copied|done, wait end: for all members that are up */
static void command_wait(struct cluster *c, const struct words *words)
{
    const char *name = word_is(words, 2, "in") ? word_at(words, 3) : "default";
    const struct view *view = newest_view(c);
    const struct keyspace *keyspace =
        view == NULL ? NULL : keyspace_map_find(&view->keyspaces, name);
    bool end = word_is(words, 1, "end");
    enum partition_phase phase = PHASE_WAITING;
    if (!end && !word_phase(word_at(words, words->count - 1), &phase))
        cluster_fail(c, "wait for what: end, or a KEY to be announced, copied or done");
    uint32_t partition =
        keyspace == NULL
            ? 0
            : hash_partition(hash_key(keyspace->id, bytes_of_string(word_at(words, 1))),
                             c->topology.partitions);
    uint64_t until_ns = c->now_ns + WAIT_NS;
    while (c->now_ns < until_ns && (end ? !change_is_over(c) : !phase_is(c, partition, phase)))
        cluster_run_until(c, c->now_ns + MS);
    if (c->now_ns >= until_ns && c->tamper == TAMPER_NONE)
        cluster_fail(c, "\"%s\" is waited for in vain", word_at(words, words->count - 1));
}

/* Ascending. */
static const char *side_text(const struct view *view, enum topology_side side,
                             const struct keyspace *keyspace, uint32_t partition)
{
    bool has[NODES_MAX + 1] = {false};
    uint32_t members[NODES_MAX];
    uint32_t count = 0;
    for (uint32_t i = 0; i < view->topology.data_center_count; i++) {
        struct preference_list list;
        topology_side_list(&view->topology, side, view_replicas(view, side, keyspace, i), i,
                           partition, &list);
        for (uint32_t k = 0; k < list.replicas; k++)
            has[list.members[k]] = true;
    }
    for (uint32_t number = 1; number <= NODES_MAX; number++) {
        if (has[number])
            members[count++] = number;
    }
    return members_text(members, count);
}

/* replicas KEY [in KEYSPACE]: where it is, and where it goes, by the newest topology. */
static void command_replicas(struct cluster *c, const struct words *words)
{
    const char *name = word_is(words, 2, "in") ? word_at(words, 3) : "default";
    const struct view *view = newest_view(c);
    const struct keyspace *keyspace =
        view == NULL ? NULL : keyspace_map_find(&view->keyspaces, name);
    if (keyspace == NULL)
        return;
    const struct topology *topology = &view->topology;
    uint32_t partition = hash_partition(hash_key(keyspace->id, bytes_of_string(word_at(words, 1))),
                                        topology->partitions);
    const char *now = side_text(view, TOPOLOGY_NOW, keyspace, partition);
    if (topology->change.state == CHANGE_RUNNING)
        cluster_say(c, "%s: %s, to be %s; %s", word_at(words, 1), now,
                    side_text(view, TOPOLOGY_NEXT, keyspace, partition),
                    phase_texts[topology->phases[partition]]);
    else
        cluster_say(c, "%s: %s", word_at(words, 1), now);
}

/* False: no such command. */
static bool command_run_change(struct cluster *c, const struct words *words)
{
    if (word_is(words, 0, "change"))
        command_change(c, words);
    else if (word_is(words, 0, "commit") || word_is(words, 0, "abort") ||
             word_is(words, 0, "pause") || word_is(words, 0, "resume"))
        command_operate(c, words);
    else if (word_is(words, 0, "wait"))
        command_wait(c, words);
    else if (word_is(words, 0, "replicas"))
        command_replicas(c, words);
    else if (word_is(words, 0, "hold"))
        word_node(c, word_at(words, 1))->holds_documents = true;
    else if (word_is(words, 0, "release"))
        release(c, word_node(c, word_at(words, 1)));
    else
        return false;
    return true;
}

#endif
