/* cluster_hello.h -- who is on the other end: whenever two nodes of cluster.h meet, each judges the
 * other as the daemon does at a hello (actors/incarnation.h). Rows are staged and the link is used
 * at once: the order of the two is what the simulator is for.
 */
#ifndef TESTS_SCENARIO_CLUSTER_HELLO_H
#define TESTS_SCENARIO_CLUSTER_HELLO_H

#include "tests/scenario/cluster.h"

static void node_start(struct node *node);
static void node_crash(struct node *node, bool keep);
static void node_leave(struct node *node);
static void plan_sync(struct node *node);

/* What one knows of the other before any hello. */
enum hello_look { HELLO_UNKNOWN, HELLO_KNOWN, HELLO_REMOVED };

/* After the boot: whom it remembers. */
static void hello_load(struct node *node, const struct boot *boot)
{
    node->hello = boot->hello;
    node->accepted = false;
    node->epoch_bound = boot->epoch_bound;
    for (uint32_t i = 0; i < node->cluster->node_count; i++) {
        enum err err =
            incarnation_load(engine_store(node->engine, HANDLE_GOSSIP), i + 1, &node->met[i]);
        CHECK(err == OK);
    }
}

/* Before the boot: what was told to it before it ended. */
static void hello_renew(struct node *node)
{
    char why[256];
    struct cluster *c = node->cluster;
    if (!node->renewing)
        return;
    struct boot_renewal renewal = {.answer = node->told,
                                   .fresh = {{(uint8_t)node->number, (uint8_t)++c->renewals, 1}}};
    enum err err =
        boot_renew(engine_store(node->engine, HANDLE_GOSSIP), &c->arena, &renewal, why, sizeof why);
    CHECK(err == OK);
    node->renewing = false;
}

static enum hello_look hello_look_one(const struct node *judge, const struct node *node)
{
    const struct topology *topology = &judge->view->topology;
    const struct member *member = topology_member(topology, node->number);
    if (topology_was_removed(topology, node->number) || (member != NULL && member->gone))
        return HELLO_REMOVED;
    return member == NULL ? HELLO_UNKNOWN : HELLO_KNOWN;
}

/* Both have to know each other. */
static enum hello_look hello_look(const struct node *judge, const struct node *node)
{
    enum hello_look look = hello_look_one(judge, node);
    return look == HELLO_KNOWN ? hello_look_one(node, judge) : look;
}

/* False: the node has begun again as a new incarnation. */
static bool hello_judge(struct node *judge, struct node *node)
{
    struct cluster *c = node->cluster;
    struct incarnation *row = &judge->met[node->number - 1];
    struct incarnation next;
    struct incarnation_answer answer =
        incarnation_judge(row, &node->hello, node->epoch_bound, IDENTITY_GONE, &next);
    if (answer.action == IDENTITY_RENEW) {
        cluster_say(c, "n%u tells n%u: %s", judge->number, node->number,
                    identity_text(answer.verdict));
        node_crash(node, true);
        node->renewing = true;
        node->told = answer;
        node_start(node);
        return false;
    }
    CHECK_U64(answer.action, ==, IDENTITY_PROCEED);
    node->accepted = true;
    if (!incarnation_equal(row, &next)) {
        *row = next;
        enum err err =
            incarnation_stage(engine_store(judge->engine, HANDLE_GOSSIP), node->number, row);
        CHECK(err == OK);
        plan_sync(judge);
    }
    return true;
}

/* As every ten seconds (boot_raise_generation); who has met this life hears of it. */
static void hello_raise(struct node *node)
{
    struct cluster *c = node->cluster;
    struct store *meta = engine_store(node->engine, HANDLE_GOSSIP);
    struct identity_hello hello = node->hello;
    enum err err = boot_raise_generation(meta, node->accepted, &hello.self.generation);
    cluster_say(c, "n%u raises its generation: %s", node->number,
                err == OK ? "ok" : "nobody has accepted this life");
    for (uint32_t i = 0; i < c->node_count && err == OK; i++) {
        struct node *other = &c->nodes[i];
        struct incarnation next;
        if (other == node || !other->up || c->cut[node->number - 1][i] ||
            incarnation_judge(&other->met[node->number - 1], &hello, node->epoch_bound,
                              IDENTITY_LINKED, &next)
                    .verdict != IDENTITY_SAME)
            continue;
        other->met[node->number - 1] = next;
        err = incarnation_stage(engine_store(other->engine, HANDLE_GOSSIP), node->number, &next);
        plan_sync(other);
    }
    plan_sync(node);
}

/* Whether a link between them may be used: both know each other, and the judge knows the node for
 * what it is. Who was removed is told so, and ends. */
static bool hello_pair(struct node *judge, struct node *node)
{
    if (hello_look_one(judge, node) == HELLO_REMOVED) {
        cluster_say(node->cluster, "n%u tells n%u: %s", judge->number, node->number,
                    identity_text(IDENTITY_REMOVED));
        node_leave(node);
        return false;
    }
    return hello_look(judge, node) == HELLO_KNOWN && hello_judge(judge, node);
}

/* False: `node` has ended; or begun again, and has met all others as what it is now. */
static bool hello_all(struct node *node)
{
    struct cluster *c = node->cluster;
    uint32_t start = node->start;
    for (uint32_t i = 0; i < c->node_count && node->start == start; i++) {
        struct node *other = &c->nodes[i];
        if (other == node || !other->up || c->cut[node->number - 1][i] ||
            c->cut[i][node->number - 1])
            continue;
        if (hello_pair(other, node))
            hello_pair(node, other);
    }
    return node->start == start;
}

#endif
