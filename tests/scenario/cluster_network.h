/* cluster_network.h -- what is between the nodes of cluster.h: what arrives, what is told of it,
 * and where a run is tampered with. */
#ifndef TESTS_SCENARIO_CLUSTER_NETWORK_H
#define TESTS_SCENARIO_CLUSTER_NETWORK_H

#include "tests/scenario/cluster_hello.h"
#include "tests/scenario/cluster_text.h"

/* Counts a place where a run can be tampered with; true when this is the one. */
static bool tamper_here(struct cluster *c)
{
    return c->points++ == c->tamper_at && c->tamper != TAMPER_NONE;
}

/* What goes on by itself. */
static bool is_background(const struct message *message)
{
    return message->to.kind == ACTOR_GOSSIP || message->to.kind == ACTOR_ANTI_ENTROPY ||
           message->from.kind == ACTOR_ANTI_ENTROPY;
}

/* Of that, what a story tells: data that moves or goes. */
static bool is_told(const struct message *message)
{
    return !is_background(message) || message->kind == MESSAGE_replica_write ||
           message->kind == MESSAGE_reap_remove;
}

/* A second, equal message, as a network that repeats itself makes one. */
static struct message *message_copy(const struct message *m)
{
    struct message *copy = register_message_copy(m);
    bool copied = copy != NULL;
    if (copy == NULL)
        copy = message_new(m->kind, 256);
    copy->from = m->from;
    copy->to = m->to;
    copy->id = m->id;
    copy->epoch = m->epoch;
    copy->deadline_ns = m->deadline_ns;
    struct arena *arena = &copy->arena;
    if (copied)
        return copy;
    switch ((int)m->kind) {
    case MESSAGE_replica_write:
        copy->replica_write = m->replica_write;
        copy->replica_write.key = arena_copy(arena, m->replica_write.key);
        copy->replica_write.record = arena_copy(arena, m->replica_write.record);
        break;
    case MESSAGE_replica_read:
        copy->replica_read = m->replica_read;
        copy->replica_read.key = arena_copy(arena, m->replica_read.key);
        break;
    case MESSAGE_replica_read_reply:
        copy->replica_read_reply.status = m->replica_read_reply.status;
        copy->replica_read_reply.record = arena_copy(arena, m->replica_read_reply.record);
        break;
    case MESSAGE_replica_write_reply:
        copy->replica_write_reply = m->replica_write_reply;
        break;
    case MESSAGE_hint_store:
        copy->hint_store = m->hint_store;
        copy->hint_store.write.key = arena_copy(arena, m->hint_store.write.key);
        copy->hint_store.write.record = arena_copy(arena, m->hint_store.write.record);
        break;
    case MESSAGE_hint_store_reply:
        copy->hint_store_reply = m->hint_store_reply;
        break;
    case MESSAGE_forward_put:
        put_request_copy(arena, &m->forward_put.request, &copy->forward_put.request);
        break;
    case MESSAGE_forward_put_reply:
        put_result_copy(arena, &m->forward_put_reply.result, &copy->forward_put_reply.result);
        break;
    default:
        UNREACHABLE("no message of a request");
    }
    return copy;
}

/* What the story loses by name; of reap_remove only those that remove, not the question before. */
static bool is_lost_by_name(const struct cluster *c, const struct message *message)
{
    for (uint32_t i = 0; i < c->loss_count; i++) {
        if (c->losses[i].from == message->from.node && c->losses[i].to == message->to.node &&
            strcmp(c->losses[i].kind, message_kind_text(message->kind)) == 0 &&
            (message->kind != MESSAGE_reap_remove || message->reap_remove.digests.size != 0))
            return true;
    }
    return false;
}

/* The last document that is on its way to a node that they do not reach. */
static void hold_document(struct node *to, struct message *document)
{
    message_free(to->held_document);
    to->held_document = document;
}

/* Gives true when the sender is to crash now. */
static bool network_send(struct cluster *c, struct node *from, struct message *message)
{
    struct node *to = cluster_node(c, message->to.node);
    bool lost = c->cut[from->number - 1][to->number - 1] || is_lost_by_name(c, message) ||
                (to->up && hello_look_one(to, from) != HELLO_KNOWN);
    bool crash = false;
    CHECK(message_crosses_nodes(message->kind));
    c->reaped |= message->kind == MESSAGE_reap_remove;
    if (is_told(message))
        cluster_say(c, "n%u -> n%u %s%s%s", from->number, to->number,
                    message_kind_text(message->kind), message_text(c, message),
                    lost ? " ... lost" : "");
    if (!is_background(message)) {
        if (tamper_here(c)) {
            lost |= c->tamper == TAMPER_DROP;
            crash = c->tamper == TAMPER_CRASH_SENDER || c->tamper == TAMPER_CRASH_ALL;
            if (c->tamper == TAMPER_TWICE && !lost)
                plan_message(c, to, 3 * NETWORK_NS, message_copy(message));
        }
    }
    if (lost)
        message_free(message);
    else if (to->holds_documents && message->kind == MESSAGE_topology_document)
        hold_document(to, message);
    else
        plan_message(c, to, NETWORK_NS, message);
    return crash;
}

#endif
