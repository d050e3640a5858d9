#include "actors/message.h"

#include "actors/actor.h"
#include "actors/view.h"
#include "base/check.h"

#include <stdlib.h>

/* A message and its first arena bytes are one block of this size unless more is asked for. */
#define MESSAGE_BLOCK_BYTES     1024u
#define MESSAGE_ARENA_BYTES_MIN 128u
#define ARENA_SLACK_BYTES       64u /* alignment of a few allocations within a size hint */

#define BLOCK_ALIGNMENT 16u
#define MESSAGE_BYTES                                                                              \
    ((sizeof(struct message) + BLOCK_ALIGNMENT - 1) / BLOCK_ALIGNMENT * BLOCK_ALIGNMENT)

static_assert(MESSAGE_BYTES + MESSAGE_ARENA_BYTES_MIN <= MESSAGE_BLOCK_BYTES,
              "a small message is one small block");

static const struct {
    const char *text;
    uint16_t body_bytes;
    bool crosses_nodes;
} kinds[MESSAGE_KIND_COUNT] = {
#define X(name, crosses)                                                                           \
    [MESSAGE_##name] = {                                                                           \
        .text = #name, .body_bytes = sizeof(struct name), .crosses_nodes = (crosses) != 0},
    MESSAGE_TABLE(X)
#undef X
};

struct message *message_new(enum message_kind kind, size_t size_hint)
{
    CHECK_U64(kind, <, MESSAGE_KIND_COUNT);
    CHECK_U64(size_hint, <=, SIZE_MAX / 4);
    size_t arena_bytes = MESSAGE_BLOCK_BYTES - MESSAGE_BYTES;
    if (size_hint + ARENA_SLACK_BYTES > arena_bytes)
        arena_bytes = size_hint + ARENA_SLACK_BYTES;
    uint8_t *block = malloc(MESSAGE_BYTES + arena_bytes);
    CHECK(block != NULL);
    struct message *message = (struct message *)block;
    /* Only the kind's own body: the union is several times the size of a typical one. */
    memset(message, 0, offsetof(struct message, client_get) + kinds[kind].body_bytes);
    message->magic = MESSAGE_MAGIC;
    message->kind = kind;
    arena_init(&message->arena, block + MESSAGE_BYTES, arena_bytes);
    return message;
}

void message_free(struct message *message)
{
    if (message == NULL)
        return;
    CHECK_U64(message->magic, ==, MESSAGE_MAGIC);
    if (message->kind == MESSAGE_view_publish && message->view_publish.view != NULL)
        view_unref(message->view_publish.view);
    message->magic = 0;
    arena_deinit(&message->arena);
    free(message);
}

const char *message_kind_text(enum message_kind kind)
{
    return (unsigned)kind < MESSAGE_KIND_COUNT ? kinds[kind].text : "unknown";
}

bool message_crosses_nodes(enum message_kind kind)
{
    return (unsigned)kind < MESSAGE_KIND_COUNT && kinds[kind].crosses_nodes;
}

struct message *message_new_reply(const struct message *request, enum message_kind kind,
                                  size_t size_hint)
{
    CHECK_U64(request->magic, ==, MESSAGE_MAGIC);
    struct message *reply = message_new(kind, size_hint);
    reply->to = request->from;
    reply->id = request->id;
    reply->deadline_ns = request->deadline_ns;
    return reply;
}

#define STARTS_WITH_STATUS(name)                                                                   \
    static_assert(offsetof(struct name, status) == 0, "undelivered answers set it")
STARTS_WITH_STATUS(replica_write_reply);
STARTS_WITH_STATUS(tree_roots_reply);
STARTS_WITH_STATUS(tree_read_reply);
STARTS_WITH_STATUS(digest_read_reply);
STARTS_WITH_STATUS(record_fetch_reply);
STARTS_WITH_STATUS(register_query_reply);
STARTS_WITH_STATUS(register_prepare_reply);
STARTS_WITH_STATUS(register_accept_reply);
STARTS_WITH_STATUS(reap_hints_reply);
STARTS_WITH_STATUS(reap_seal_reply);
STARTS_WITH_STATUS(reap_remove_reply);
STARTS_WITH_STATUS(key_explain_reply);

struct message *message_new_undelivered(const struct message *request)
{
    static const struct {
        enum message_kind request;
        enum message_kind reply;
    } plain[] = {
        {MESSAGE_tree_roots, MESSAGE_tree_roots_reply},
        {MESSAGE_tree_read, MESSAGE_tree_read_reply},
        {MESSAGE_digest_read, MESSAGE_digest_read_reply},
        {MESSAGE_record_fetch, MESSAGE_record_fetch_reply},
        {MESSAGE_register_query, MESSAGE_register_query_reply},
        {MESSAGE_register_prepare, MESSAGE_register_prepare_reply},
        {MESSAGE_register_accept, MESSAGE_register_accept_reply},
        {MESSAGE_reap_hints, MESSAGE_reap_hints_reply},
        {MESSAGE_reap_seal, MESSAGE_reap_seal_reply},
        {MESSAGE_reap_remove, MESSAGE_reap_remove_reply},
        {MESSAGE_key_explain, MESSAGE_key_explain_reply},
        {MESSAGE_topology_document, MESSAGE_topology_document_reply},
        {MESSAGE_topology_prepare, MESSAGE_topology_prepare_reply},
        {MESSAGE_topology_accept, MESSAGE_topology_accept_reply},
        {MESSAGE_vnode_report, MESSAGE_vnode_report_reply},
        {MESSAGE_register_list, MESSAGE_register_list_reply},
    };
    struct message *reply = NULL;
    if (request->kind == MESSAGE_replica_read) {
        reply = message_new_reply(request, MESSAGE_replica_read_reply, 0);
        reply->replica_read_reply.status = ERR_UNAVAILABLE;
    } else if (request->kind == MESSAGE_replica_write) {
        if (request->replica_write.answer_to != MEMBER_NONE)
            return NULL;
        reply = message_new_reply(request, MESSAGE_replica_write_reply, 0);
        reply->replica_write_reply.status = ERR_UNAVAILABLE;
    } else if (request->kind == MESSAGE_hint_store) {
        reply = message_new_reply(request, MESSAGE_hint_store_reply, 0);
        reply->hint_store_reply.status = ERR_UNAVAILABLE;
    } else if (request->kind == MESSAGE_forward_put) {
        reply = message_new_reply(request, MESSAGE_forward_put_reply, 0);
        reply->forward_put_reply.result = (struct put_result){
            .status = ERR_UNAVAILABLE,
            .outcome = OUTCOME_NOT_APPLIED,
            .why = "there is no link to the replica",
        };
    } else {
        for (size_t i = 0; i < ARRAY_COUNT(plain) && reply == NULL; i++) {
            if (plain[i].request != request->kind)
                continue;
            reply = message_new_reply(request, plain[i].reply, 0);
            reply->replica_write_reply.status = ERR_UNAVAILABLE;
        }
    }
    if (reply != NULL)
        reply->from = request->to;
    return reply;
}

void put_request_copy(struct arena *arena, const struct put_request *from, struct put_request *ret)
{
    *ret = *from;
    ret->key = arena_copy(arena, from->key);
    ret->value = arena_copy(arena, from->value);
    ret->context = arena_copy(arena, from->context);
    ret->request_id = arena_copy(arena, from->request_id);
    ret->expected = arena_copy(arena, from->expected);
}

void put_result_copy(struct arena *arena, const struct put_result *from, struct put_result *ret)
{
    *ret = *from;
    if (from->why != NULL)
        ret->why = arena_string(arena, bytes_of_string(from->why));
    ret->context = arena_copy(arena, from->context);
    ret->value = arena_copy(arena, from->value);
}

uint32_t message_partition(const struct message *message)
{
    switch (message->kind) {
    case MESSAGE_replica_mint:
        return message->replica_mint.partition;
    case MESSAGE_replica_write:
        return message->replica_write.partition;
    case MESSAGE_replica_read:
        return message->replica_read.partition;
    case MESSAGE_tree_roots:
        return message->tree_roots.partition;
    case MESSAGE_tree_read:
        return message->tree_read.partition;
    case MESSAGE_digest_read:
        return message->digest_read.partition;
    case MESSAGE_record_fetch:
        return message->record_fetch.partition;
    case MESSAGE_register_query:
        return message->register_query.partition;
    case MESSAGE_register_prepare:
        return message->register_prepare.partition;
    case MESSAGE_register_accept:
        return message->register_accept.partition;
    case MESSAGE_register_list:
        return message->register_list.partition;
    case MESSAGE_reap_seal:
        return message->reap_seal.partition;
    case MESSAGE_reap_remove:
        return message->reap_remove.partition;
    case MESSAGE_key_explain:
        return message->key_explain.partition;
    case MESSAGE_reap_scan:
        return message->reap_scan.partition;
    case MESSAGE_vnode_doubt:
        return message->vnode_doubt.partition;
    case MESSAGE_vnode_adopt:
        return message->vnode_adopt.partition;
    case MESSAGE_vnode_complete:
        return message->vnode_complete.partition;
    case MESSAGE_client_get:
    case MESSAGE_client_get_done:
    case MESSAGE_client_put:
    case MESSAGE_client_put_done:
    case MESSAGE_forward_put:
    case MESSAGE_forward_put_reply:
    case MESSAGE_replica_mint_done:
    case MESSAGE_replica_write_reply:
    case MESSAGE_replica_read_reply:
    case MESSAGE_store_committed:
    case MESSAGE_peer_link:
    case MESSAGE_gossip_digest:
    case MESSAGE_gossip_digest_reply:
    case MESSAGE_gossip_keyspaces:
    case MESSAGE_gossip_keyspaces_reply:
    case MESSAGE_keyspace_change:
    case MESSAGE_keyspace_change_done:
    case MESSAGE_view_publish:
    case MESSAGE_hint_store:
    case MESSAGE_hint_store_reply:
    case MESSAGE_tree_roots_reply:
    case MESSAGE_tree_read_reply:
    case MESSAGE_digest_read_reply:
    case MESSAGE_record_fetch_reply:
    case MESSAGE_register_query_reply:
    case MESSAGE_register_prepare_reply:
    case MESSAGE_register_accept_reply:
    case MESSAGE_reap_hints:
    case MESSAGE_reap_hints_reply:
    case MESSAGE_reap_seal_reply:
    case MESSAGE_reap_remove_reply:
    case MESSAGE_key_explain_reply:
    case MESSAGE_reap_scan_done:
    case MESSAGE_vnode_incomplete:
    case MESSAGE_vnode_adopt_done:
    case MESSAGE_vnode_complete_done:
    case MESSAGE_record_repair:
    case MESSAGE_range_dirty:
    case MESSAGE_client_maintenance:
    case MESSAGE_client_maintenance_done:
    case MESSAGE_client_explain:
    case MESSAGE_client_explain_done:
    case MESSAGE_topology_document:
    case MESSAGE_topology_document_reply:
    case MESSAGE_topology_fetch:
    case MESSAGE_topology_prepare:
    case MESSAGE_topology_prepare_reply:
    case MESSAGE_topology_accept:
    case MESSAGE_topology_accept_reply:
    case MESSAGE_topology_behind:
    case MESSAGE_client_topology:
    case MESSAGE_client_topology_done:
    case MESSAGE_vnode_report:
    case MESSAGE_vnode_report_reply:
    case MESSAGE_client_reports:
    case MESSAGE_client_reports_done:
    case MESSAGE_register_list_reply:
    case MESSAGE_register_settle:
    case MESSAGE_register_settle_done:
    case MESSAGE_KIND_COUNT:
        break;
    }
    return UINT32_MAX;
}
