/* cluster_text.h -- what the nodes of cluster.h say to each other, in words; looks at each record
 * on the way. */
#ifndef TESTS_SCENARIO_CLUSTER_TEXT_H
#define TESTS_SCENARIO_CLUSTER_TEXT_H

#include "tests/scenario/cluster_register.h"

static const char *record_text(struct cluster *c, uint32_t keyspace_id, struct bytes key,
                               struct bytes record)
{
    struct version_set set;
    if (record.size == 0)
        return "nothing";
    check_record(c, keyspace_id, key, record, &set);
    return set_text(c, &set);
}

static const struct request *request_of_key(const struct cluster *c, uint32_t keyspace_id,
                                            struct bytes *key, struct bytes record)
{
    /* A reply carries no key: the one whose checksum fits. */
    for (uint32_t i = c->request_count; i > 0; i--) {
        *key = bytes_of_string(c->requests[i - 1].key);
        if (record_verify(keyspace_id, *key, record) == OK)
            return &c->requests[i - 1];
    }
    return NULL;
}

static const char *read_reply_text(struct cluster *c, const struct message *message)
{
    const struct replica_read_reply *reply = &message->replica_read_reply;
    if (reply->status != OK)
        return err_text(reply->status);
    const struct keyspace_map *map = &cluster_node(c, message->from.node)->view->keyspaces;
    for (uint32_t i = 0; i < map->count && reply->record.size != 0; i++) {
        struct bytes key;
        if (request_of_key(c, map->keyspaces[i].id, &key, reply->record) != NULL)
            return record_text(c, map->keyspaces[i].id, key, reply->record);
    }
    return reply->record.size == 0 ? "nothing" : "a record that fits no key";
}

static const char *outcome_text(enum outcome outcome)
{
    return outcome == OUTCOME_APPLIED       ? "applied"
           : outcome == OUTCOME_NOT_APPLIED ? "not applied"
                                            : "unknown";
}

static const char *message_text(struct cluster *c, const struct message *message)
{
    static char text[1280];
    static const char *const reasons[] = {"", " (read repair)", " (hint)", " (anti-entropy)",
                                          " (repair)"};
    const struct replica_write *write = &message->replica_write;
    const struct hint_store *hint = &message->hint_store;
    const struct put_request *put = &message->forward_put.request;
    switch ((int)message->kind) {
    case MESSAGE_replica_write:
        snprintf(
            text, sizeof text, " %.*s %s%s", (int)write->key.size, (const char *)write->key.data,
            record_text(c, write->keyspace_id, write->key, write->record), reasons[write->reason]);
        if (write->onward_count != 0)
            snprintf(text + strlen(text), sizeof text - strlen(text), " (and on to %s)",
                     members_text(write->onward, write->onward_count));
        if (write->answer_to != MEMBER_NONE)
            snprintf(text + strlen(text), sizeof text - strlen(text), " (for n%u)",
                     write->answer_to);
        return text;
    case MESSAGE_hint_store:
        snprintf(text, sizeof text, " for n%u %.*s %s", hint->target, (int)hint->write.key.size,
                 (const char *)hint->write.key.data,
                 record_text(c, hint->write.keyspace_id, hint->write.key, hint->write.record));
        return text;
    case MESSAGE_hint_store_reply:
        snprintf(text, sizeof text, " %s", err_text(message->hint_store_reply.status));
        return text;
    case MESSAGE_replica_write_reply:
        snprintf(text, sizeof text, " %s", err_text(message->replica_write_reply.status));
        return text;
    case MESSAGE_replica_read:
        snprintf(text, sizeof text, " %.*s", (int)message->replica_read.key.size,
                 (const char *)message->replica_read.key.data);
        return text;
    case MESSAGE_replica_read_reply:
        snprintf(text, sizeof text, " %s", read_reply_text(c, message));
        return text;
    case MESSAGE_forward_put:
        snprintf(text, sizeof text, " %.*s=%.*s", (int)put->key.size, (const char *)put->key.data,
                 (int)put->value.size, (const char *)put->value.data);
        return text;
    case MESSAGE_forward_put_reply:
        snprintf(text, sizeof text, " %s, %s", err_text(message->forward_put_reply.result.status),
                 outcome_text(message->forward_put_reply.result.outcome));
        return text;
    case MESSAGE_reap_remove:
        return message->reap_remove.digests.size == 0 ? " asks: still sealed?" : "";
    default:
        return register_message_text(c, message);
    }
}

static const char *progress_text(const struct progress *p)
{
    static char text[320];
    int at = snprintf(text, sizeof text, "%u of %u: %s; missing %s", p->acked, p->needed,
                      members_text(p->acked_members, p->acked_count),
                      members_text(p->missing_members, p->missing_count));
    if (p->fallback_count > 0)
        snprintf(text + at, sizeof text - (size_t)at, "; hints at %s",
                 members_text(p->fallback_members, p->fallback_count));
    return text;
}

#endif
