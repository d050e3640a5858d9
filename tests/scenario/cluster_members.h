/* cluster_members.h -- who is in the cluster of cluster.h: nodes that join and leave, what each of
 * them knows of the topology, and documents that are held back on their way to one.
 *
 * A node hears from those that know it. One that learns that it was removed ends.
 */
#ifndef TESTS_SCENARIO_CLUSTER_MEMBERS_H
#define TESTS_SCENARIO_CLUSTER_MEMBERS_H

#include "tests/scenario/cluster_network.h"

static void cluster_run_until(struct cluster *c, uint64_t until_ns);
static void node_stop(struct node *node);

static const char *const phase_texts[] = {"at rest", "announced", "copied", "done"};

static bool is_member(const struct topology *topology, uint32_t number)
{
    const struct member *member = topology_member(topology, number);
    return member != NULL && member->status != MEMBER_REMOVED && !member->gone;
}

/* In the newest document that any node has had in force. */
static bool is_member_now(const struct node *node)
{
    return is_member(&node->cluster->newest, node->number);
}

/* It has a document to start with. */
static bool may_start(const struct node *node)
{
    return node->joined != NULL || topology_member(&node->cluster->topology, node->number) != NULL;
}

/* Who is a member and up; NULL: nobody. */
static struct node *first_member(struct cluster *c)
{
    for (uint32_t i = 0; i < c->node_count; i++) {
        if (c->nodes[i].up && is_member_now(&c->nodes[i]))
            return &c->nodes[i];
    }
    return NULL;
}

static struct node *last_member(struct cluster *c)
{
    for (uint32_t i = c->node_count; i > 0; i--) {
        if (c->nodes[i - 1].up && is_member_now(&c->nodes[i - 1]))
            return &c->nodes[i - 1];
    }
    return NULL;
}

/* -- what a node learns ---------------------------------------------------------------------- */

/* What is new in a document, in words. */
struct news {
    char text[256];
    size_t size;
};

__attribute__((format(printf, 2, 3))) static void news_add(struct news *news, const char *format,
                                                           ...)
{
    va_list arguments;
    if (news->size != 0 && news->size + 2 < sizeof news->text)
        news->size += (size_t)snprintf(news->text + news->size, 3, ", ");
    va_start(arguments, format);
    int size =
        vsnprintf(news->text + news->size, sizeof news->text - news->size, format, arguments);
    va_end(arguments);
    news->size += (size_t)size;
    CHECK_U64(news->size, <, sizeof news->text);
}

static void news_of_members(struct news *news, const struct topology *before,
                            const struct topology *after)
{
    static const char *const words[] = {"is to join", "is a member", "is to leave", "has left"};
    for (uint32_t number = 1; number < after->number_next; number++) {
        const struct member *was = topology_member(before, number);
        const struct member *is = topology_member(after, number);
        if (is == NULL)
            continue;
        if (is->gone && (was == NULL || !was->gone))
            news_add(news, "n%u is gone", number);
        if (was == NULL || was->status != is->status)
            news_add(news, "n%u %s", number, words[is->status]);
        const struct member_place *place = &is->places[TOPOLOGY_NEXT];
        if (was != NULL && is->status == MEMBER_NORMAL && after->change.state == CHANGE_STAGED &&
            !member_place_equal(&was->places[TOPOLOGY_NEXT], place))
            news_add(news, "n%u is to have weight %u", number, place->weight);
    }
}

static void news_of_change(struct news *news, const struct topology *before,
                           const struct topology *after)
{
    enum change_state was = before->change.state;
    enum change_state is = after->change.state;
    if (was == CHANGE_STAGED && is == CHANGE_NONE)
        news_add(news, "nothing is staged any more");
    else if (was != is && is != CHANGE_STAGED)
        news_add(news, is == CHANGE_NONE ? "the change is over" : "the change has begun");
    if (!before->change.aborting && after->change.aborting)
        news_add(news, "the change is taken back");
    if (is == CHANGE_RUNNING && before->change.paused != after->change.paused)
        news_add(news, after->change.paused ? "the change is paused" : "the change goes on");
}

static bool is_first_of_key(const struct cluster *c, const struct request *request)
{
    for (const struct request *before = c->requests; before < request; before++) {
        if (strcmp(before->key, request->key) == 0 &&
            strcmp(before->keyspace, request->keyspace) == 0)
            return false;
    }
    return true;
}

/* Of the keys that the story has named. */
static void news_of_phases(struct cluster *c, struct news *news, const struct view *view,
                           const struct topology *before)
{
    const struct topology *after = &view->topology;
    for (uint32_t i = 0; i < c->request_count && after->change.state == CHANGE_RUNNING; i++) {
        const struct request *request = &c->requests[i];
        const struct keyspace *keyspace = keyspace_map_find(&view->keyspaces, request->keyspace);
        if (keyspace == NULL || !is_first_of_key(c, request))
            continue;
        uint32_t partition = hash_partition(hash_key(keyspace->id, bytes_of_string(request->key)),
                                            after->partitions);
        if (after->phases[partition] != before->phases[partition])
            news_add(news, "%s is %s", request->key, phase_texts[after->phases[partition]]);
    }
}

/* RELIABILITY section 3: there is one document an epoch. */
static void check_document(struct cluster *c, const struct topology *topology)
{
    struct arena arena;
    if (topology->epoch >= EPOCHS_MAX) {
        cluster_fail(c, "epoch %llu", (unsigned long long)topology->epoch);
        return;
    }
    arena_init(&arena, NULL, 0);
    uint64_t content = hash_bytes(topology_encode(&arena, topology), 0) | 1;
    uint64_t *seen = &c->documents[topology->epoch];
    if (*seen != 0 && *seen != content)
        cluster_fail(c, "epoch %llu has two documents", (unsigned long long)topology->epoch);
    *seen = content;
    arena_deinit(&arena);
    if (topology->epoch > c->newest.epoch)
        topology_copy(&c->arena, topology, &c->newest);
}

static void tell_link(struct cluster *c, struct node *node, uint32_t member, bool up)
{
    struct message *message = message_new(MESSAGE_peer_link, 0);
    message->to = (struct actor_id){.node = node->number, .kind = ACTOR_GOSSIP};
    message->peer_link.member = member;
    message->peer_link.up = up;
    plan_message(c, node, NETWORK_NS, message);
}

/* Bit by number. */
static uint64_t new_members(const struct topology *before, const struct topology *after)
{
    uint64_t numbers = 0;
    for (uint32_t number = 1; number <= NODES_MAX; number++) {
        if (!is_member(before, number) && is_member(after, number))
            numbers |= (uint64_t)1 << number;
    }
    return numbers;
}

/* Links follow what both ends know. */
static void meet_members(struct node *node, uint64_t numbers)
{
    struct cluster *c = node->cluster;
    uint32_t start = node->start;
    for (uint32_t i = 0; i < c->node_count && node->start == start; i++) {
        struct node *other = &c->nodes[i];
        if (other == node || !other->up || (numbers >> other->number & 1) == 0 ||
            c->cut[node->number - 1][i] || c->cut[i][node->number - 1] ||
            !hello_pair(node, other) || !hello_pair(other, node))
            continue;
        tell_link(c, node, other->number, true);
        tell_link(c, other, node->number, true);
    }
}

static void see_topology(struct cluster *c, struct node *node, const struct topology *before)
{
    const struct topology *after = &node->view->topology;
    struct news news = {0};
    if (after->epoch == before->epoch)
        return;
    check_document(c, after);
    news_of_members(&news, before, after);
    news_of_change(&news, before, after);
    news_of_phases(c, &news, node->view, before);
    if (news.size != 0)
        cluster_say(c, "n%u learns of epoch %llu: %s", node->number,
                    (unsigned long long)after->epoch, news.text);
    uint64_t numbers = new_members(before, after);
    if (!is_member(after, node->number))
        cluster_plan(c, c->now_ns + MS, EVENT_LEAVE, node);
    else if (numbers != 0)
        cluster_plan(c, c->now_ns, EVENT_MEET, node)->mark = numbers;
}

/* As the daemon, which ends with 78. */
static void node_leave(struct node *node)
{
    cluster_say(node->cluster, "n%u ends: it was removed", node->number);
    node_stop(node);
}

static void take_view(struct cluster *c, struct node *node, struct message *message)
{
    struct view *before = node->view;
    node->view = view_ref(message->view_publish.view);
    for (uint32_t number = 1; number <= c->node_count; number++) {
        bool was_up = view_alive(before, number);
        if (view_alive(node->view, number) != was_up && is_member(&node->view->topology, number))
            cluster_say(c, "n%u sees n%u %s", node->number, number, was_up ? "down" : "up again");
    }
    see_topology(c, node, &before->topology);
    view_unref(before);
    message_free(message);
}

/* -- documents that are held ----------------------------------------------------------------- */

static void release(struct cluster *c, struct node *node)
{
    struct message *document = node->held_document;
    node->holds_documents = false;
    node->held_document = NULL;
    if (document != NULL)
        plan_message(c, node, NETWORK_NS, document);
}

/* -- changes --------------------------------------------------------------------------------- */

/* What became of the last operation. */
static void topology_answered(struct cluster *c, uint32_t node,
                              const struct client_topology_done *done)
{
    if (done->client != c->operation)
        return; /* nobody waits any more */
    c->operated = true;
    c->operation_status = done->status;
    c->operation_number = done->number;
    c->operation_document = arena_copy(&c->arena, done->document);
    cluster_say(c, "n%u answers: %s%s, epoch %llu%s%s", node, err_text(done->status),
                done->unknown ? ", unknown" : "", (unsigned long long)done->epoch,
                done->why == NULL ? "" : ": ", done->why == NULL ? "" : done->why);
}

static void topology_ask(struct cluster *c, struct node *node,
                         const struct topology_operation *operation)
{
    uint32_t start = node->start;
    uint64_t until_ns = c->now_ns + OPERATION_NS + 1000 * MS;
    c->operated = false;
    c->operation_status = ERR_UNAVAILABLE;
    if (!node->up) {
        cluster_say(c, "n%u is down", node->number);
        return;
    }
    struct message *message = message_new(MESSAGE_client_topology, 0);
    message->from = (struct actor_id){.node = node->number, .kind = ACTOR_EDGE};
    message->to = (struct actor_id){.node = node->number, .kind = ACTOR_GOSSIP};
    message->deadline_ns = c->now_ns + OPERATION_NS;
    message->client_topology.client = ++c->operation;
    message->client_topology.operation = *operation;
    message->client_topology.operation.wall_ms = WALL_MS + c->now_ns / MS;
    plan_message(c, node, 0, message);
    while (!c->operated && node->start == start && c->now_ns < until_ns)
        cluster_run_until(c, c->now_ns + MS);
}

/* As `coteried --join`: asks under one id until a member says its number, and starts with what that
 * one told. */
static void node_join(struct cluster *c, struct node *node, struct node *through,
                      struct topology_operation *operation)
{
    operation->kind = TOPOLOGY_JOIN;
    operation->join_id[0] = (uint8_t)node->number;
    snprintf(operation->name, sizeof operation->name, "n%u", node->number);
    snprintf(operation->address, sizeof operation->address, "127.0.0.1:%u", 7700 + node->number);
    snprintf(operation->data_center, sizeof operation->data_center, "dc%u",
             (node->number - 1) % c->centers + 1);
    topology_ask(c, through, operation);
    if (c->operation_status != OK)
        return;
    if (c->operation_number != node->number) {
        cluster_fail(c, "the cluster calls n%u n%u", node->number, c->operation_number);
        return;
    }
    enum err err = topology_decode(&c->arena, c->operation_document, &node->document);
    CHECK(err == OK);
    node->joined = &node->document;
    node_start(node);
}

/* All that are members know the newest document, and it has no change under way. */
static bool change_is_over(const struct cluster *c)
{
    for (uint32_t i = 0; i < c->node_count; i++) {
        const struct node *node = &c->nodes[i];
        if (is_member_now(node) && node->up && !node->holds_documents &&
            node->view->topology.epoch != c->newest.epoch)
            return false;
    }
    return c->newest.change.state != CHANGE_RUNNING;
}

/* The partition has come that far for all members that are up. */
static bool phase_is(const struct cluster *c, uint32_t partition, enum partition_phase phase)
{
    for (uint32_t i = 0; i < c->node_count; i++) {
        const struct node *node = &c->nodes[i];
        if (is_member_now(node) && node->up && !node->holds_documents &&
            (node->view->topology.change.state != CHANGE_RUNNING ||
             node->view->topology.phases[partition] != phase))
            return false;
    }
    return true;
}

#endif
