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

struct message *message_new_undelivered(const struct message *request)
{
    struct message *reply = NULL;
    if (request->kind == MESSAGE_replica_read) {
        reply = message_new_reply(request, MESSAGE_replica_read_reply, 0);
        reply->replica_read_reply.status = ERR_UNAVAILABLE;
    } else if (request->kind == MESSAGE_replica_write) {
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
}

void put_result_copy(struct arena *arena, const struct put_result *from, struct put_result *ret)
{
    *ret = *from;
    if (from->why != NULL)
        ret->why = arena_string(arena, bytes_of_string(from->why));
    ret->context = arena_copy(arena, from->context);
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
    case MESSAGE_tree_compare:
    case MESSAGE_tree_compare_reply:
    case MESSAGE_KIND_COUNT:
        break;
    }
    return UINT32_MAX;
}
