/* The keyspace map: merged, made durable, shown, spread; and the changes that clients ask for. */
#include "actors/gossip_state.h"

#include <inttypes.h>
#include <stdlib.h>

void gossip_send_map(struct gossip *gossip, struct actor_context *ctx, uint32_t member, uint64_t id)
{
    struct bytes map = keyspace_map_encode(&gossip->scratch, &gossip->map);
    struct message *message = message_new(MESSAGE_gossip_keyspaces, map.size);
    message->id = id;
    message->to = (struct actor_id){.node = member, .kind = ACTOR_GOSSIP};
    message->gossip_keyspaces.map = arena_copy(&message->arena, map);
    outbox_send(ctx, &gossip->actor, message);
}

void gossip_map_heard(struct gossip *gossip, struct actor_context *ctx, uint32_t member)
{
    struct peer *peer = gossip_peer(gossip, member);
    if (peer == NULL || peer->map_heard)
        return;
    peer->map_heard = true;
    gossip_publish(gossip, ctx);
}

/* -- the keyspace map
 * --------------------------------------------------------------------------------------- */

/* Takes over a map (in scratch) that differs from ours: stages it, then shows it. The log keeps
 * order, so data of a new keyspace is never durable before its definition. */
static enum err gossip_adopt_map(struct gossip *gossip, struct actor_context *ctx,
                                 const struct keyspace_map *map)
{
    struct bytes bytes = keyspace_map_encode(&gossip->scratch, map);
    enum err err =
        store_put(ctx->store, STORE_META, bytes_of_string(META_KEYSPACES), bytes, STORE_SYNC_NOW);
    if (err != OK) {
        counter_add(&gossip->figures.store_errors, 1);
        return err;
    }
    struct arena *arena = malloc(sizeof *arena);
    CHECK(arena != NULL);
    arena_init(arena, NULL, 0);
    err = keyspace_map_decode(arena, arena_copy(arena, bytes), &gossip->map);
    CHECK(err == OK);
    arena_deinit(gossip->map_arena);
    free(gossip->map_arena);
    gossip->map_arena = arena;
    gossip->map_digest = keyspace_map_digest(&gossip->map);
    gossip_publish(gossip, ctx);
    return OK;
}

void gossip_on_keyspaces(struct gossip *gossip, struct actor_context *ctx,
                         const struct message *message)
{
    struct keyspace_map theirs;
    struct message *reply = message_new_reply(message, MESSAGE_gossip_keyspaces_reply, 0);
    enum err err = keyspace_map_decode(&gossip->scratch, message->gossip_keyspaces.map, &theirs);
    if (err == OK && gossip->held.count >= HELD_MAX)
        err = ERR_OVERLOADED;
    if (err == OK) {
        struct keyspace_map merged = keyspace_map_merge(&gossip->scratch, &gossip->map, &theirs);
        for (uint32_t i = 0; i < theirs.count; i++) {
            /* Later changes here must win over what we have seen; a stamp from far ahead is merged
             * like any other, but does not drag our clock along. */
            if (hlc_observe(&gossip->hlc, theirs.keyspaces[i].changed_at, ctx->wall_ms) != OK)
                continue;
        }
        if (keyspace_map_digest(&merged) != gossip->map_digest) {
            counter_add(&gossip->figures.maps_merged, 1);
            err = gossip_adopt_map(gossip, ctx, &merged);
        }
        if (err == OK)
            gossip_map_heard(gossip, ctx, message->from.node);
    }
    reply->gossip_keyspaces_reply.status = err;
    reply->gossip_keyspaces_reply.keyspaces_digest = gossip->map_digest;
    if (err != OK)
        outbox_send(ctx, &gossip->actor, reply);
    else
        gossip_answer_durable(gossip, ctx, reply);
}

/* -- changes
 * --------------------------------------------------------------------------------------------------
 */

static void change_answer(struct gossip *gossip, struct actor_context *ctx,
                          const struct message *origin, enum err status, const char *why,
                          const struct change *change)
{
    struct message *answer = message_new_reply(origin, MESSAGE_keyspace_change_done, 0);
    struct keyspace_change_done *done = &answer->keyspace_change_done;
    done->client = origin->keyspace_change.client;
    done->status = status;
    done->why = why;
    done->nodes = gossip->peer_count + 1;
    if (change != NULL) {
        done->keyspace = change->keyspace;
        done->known_by = change->known_by;
    }
    outbox_send(ctx, &gossip->actor, answer);
}

static void change_end(struct gossip *gossip, struct actor_context *ctx, struct change *change,
                       enum err status, const char *why)
{
    change_answer(gossip, ctx, change->origin, status, why, change);
    message_free(change->origin);
    change->origin = NULL;
}

/* Done when our own row is durable and every node that is not known to be down has answered. */
void gossip_change_step(struct gossip *gossip, struct actor_context *ctx, struct change *change)
{
    bool durable = store_committed(ctx->store) >= change->sequence;
    if (durable && change->waiting == 0)
        change_end(gossip, ctx, change, OK, NULL);
    else if (ctx->now_ns >= change->deadline_ns)
        change_end(gossip, ctx, change, durable ? OK : ERR_TIMEOUT,
                   durable ? NULL : "the change is not durable on this node yet");
}

static enum err change_apply(struct gossip *gossip, struct actor_context *ctx,
                             const struct keyspace_change *request, struct keyspace *ret_keyspace,
                             const char **ret_why)
{
    const struct keyspace *present = keyspace_map_find(&gossip->map, request->keyspace.name);
    struct keyspace keyspace =
        request->operation == KEYSPACE_CREATE || present == NULL ? request->keyspace : *present;
    keyspace.changed_at = hlc_now(&gossip->hlc, ctx->wall_ms);
    for (uint32_t i = 0; i < gossip->map.count; i++) {
        /* Above every change of that name, whatever clocks did. */
        const struct keyspace *other = &gossip->map.keyspaces[i];
        if (strcmp(other->name, keyspace.name) == 0 && other->changed_at >= keyspace.changed_at)
            keyspace.changed_at = other->changed_at + 1;
    }
    switch (request->operation) {
    case KEYSPACE_CREATE:
        if (present != NULL) {
            *ret_why = "a keyspace of this name exists";
            return ERR_EXISTS;
        }
        if (gossip->map.count >= KEYSPACES_MAX) {
            *ret_why = "the cluster holds as many keyspaces as it can, dropped ones included";
            return ERR_LIMIT;
        }
        keyspace.created_at = keyspace.changed_at;
        keyspace.id = keyspace_id(keyspace.name, keyspace.created_at);
        break;
    case KEYSPACE_DROP:
        if (present == NULL) {
            *ret_why = "no keyspace of this name";
            return ERR_NOT_FOUND;
        }
        keyspace.dropped = true;
        break;
    }
    enum err err = keyspace_validate(&keyspace, ret_why);
    if (err != OK)
        return err;
    struct keyspace_map map = keyspace_map_put(&gossip->scratch, &gossip->map, &keyspace);
    err = gossip_adopt_map(gossip, ctx, &map);
    if (err != OK)
        *ret_why = "the change could not be stored on this node";
    else
        *ret_keyspace = keyspace;
    return err;
}

/* Consumes the message: kept as the change's origin, or freed. */
void gossip_on_keyspace_change(struct gossip *gossip, struct actor_context *ctx,
                               struct message *message)
{
    const char *why = "too many keyspace changes at once";
    struct change *change = NULL;
    for (uint32_t i = 0; i < CHANGES_MAX && change == NULL; i++) {
        if (gossip->changes[i].origin == NULL)
            change = &gossip->changes[i];
    }
    enum err err = ERR_OVERLOADED;
    if (change != NULL) {
        *change = (struct change){.id = gossip_id(gossip)};
        err = change_apply(gossip, ctx, &message->keyspace_change, &change->keyspace, &why);
    }
    if (err != OK) {
        change_answer(gossip, ctx, message, err, why, NULL);
        message_free(message);
        return;
    }
    change->origin = message;
    change->sequence = store_staged(ctx->store);
    change->deadline_ns = ctx->now_ns + gossip->options.change_timeout_ns;
    change->known_by = 1;
    for (uint32_t i = 0; i < MEMBERS_MAX; i++) {
        if (gossip->peers[i].member == MEMBER_NONE || gossip->peers[i].liveness == LIVENESS_DOWN)
            continue;
        change->waiting |= (uint64_t)1 << i;
        gossip_send_map(gossip, ctx, gossip->peers[i].member, change->id);
    }
    log_write(ctx->log, LOG_INFO, "keyspace_changed", "name=%s operation=%s id=%" PRIu32,
              change->keyspace.name, change->keyspace.dropped ? "drop" : "create",
              change->keyspace.id);
    gossip_change_step(gossip, ctx, change);
}

void gossip_on_keyspaces_reply(struct gossip *gossip, struct actor_context *ctx,
                               const struct message *message)
{
    for (uint32_t i = 0; i < CHANGES_MAX; i++) {
        struct change *change = &gossip->changes[i];
        const struct peer *peer = gossip_peer(gossip, message->from.node);
        if (change->origin == NULL || change->id != message->id || peer == NULL)
            continue;
        uint64_t bit = (uint64_t)1 << (peer - gossip->peers);
        if ((change->waiting & bit) != 0 && message->gossip_keyspaces_reply.status == OK)
            change->known_by++;
        change->waiting &= ~bit;
        gossip_change_step(gossip, ctx, change);
    }
}
