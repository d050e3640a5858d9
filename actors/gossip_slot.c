/* What this node has promised and accepted for the epoch that comes after the one in force: the
 * acceptor of the topology log (actors/gossip_log.h). */
#include "actors/gossip_state.h"

#include "base/mutation.h"

#include <stdlib.h>

/* {epoch, register_state}. A row of another epoch than the one to be decided is of the past: the
 * document of its epoch was adopted, and the log keeps order. */
static struct bytes slot_encode(struct arena *arena, uint64_t epoch,
                                const struct register_state *state)
{
    struct writer writer;
    struct bytes bytes = register_state_encode(arena, state);
    writer_init(&writer, arena, 8 + bytes.size);
    writer_u64(&writer, epoch);
    writer_bytes(&writer, bytes);
    return writer_result(&writer);
}

static enum err slot_read(struct gossip *gossip, struct actor_context *ctx)
{
    struct slot *slot = &gossip->slot;
    struct bytes value = {0};
    enum err err =
        store_read(ctx->store, STORE_META, bytes_of_string(META_SLOT), &slot->arena, &value);
    if (err == OK) {
        struct reader reader = reader_of(value);
        slot->epoch = reader_u64(&reader);
        struct bytes state = reader_bytes(&reader, reader_left(&reader));
        err = reader_done(&reader) ? register_state_decode(state, &slot->state) : ERR_CORRUPT;
    }
    if (err == OK && slot->epoch > gossip_topology(gossip)->epoch + 1)
        err = ERR_CORRUPT;
    if (err == OK && MUTATE(TOPOLOGY_PROMISE_FORGOTTEN))
        *slot = (struct slot){.arena = slot->arena};
    if (err == ERR_NOT_FOUND)
        err = OK;
    if (err != OK) {
        *slot = (struct slot){.arena = slot->arena};
        arena_clear(&slot->arena);
        counter_add(&gossip->figures.store_errors, 1);
    }
    return err;
}

static enum err slot_load(struct gossip *gossip, struct actor_context *ctx)
{
    struct slot *slot = &gossip->slot;
    struct bytes value = {0};
    if (slot->loaded)
        return OK;
    enum err err = slot_read(gossip, ctx);
    if (err == ERR_CORRUPT) /* what it has promised is not known any more */
        err = store_put(ctx->store, STORE_META, bytes_of_string(META_FORGOT), bytes_of_string(""),
                        STORE_SYNC_NOW);
    if (err != OK)
        return err;
    err =
        store_read(ctx->store, STORE_META, bytes_of_string(META_FORGOT), &gossip->scratch, &value);
    if (err != OK && err != ERR_NOT_FOUND)
        return err;
    if (err == OK) {
        struct reader reader = reader_of(value);
        uint64_t epoch = reader_u64(&reader);
        slot->forgot = true;
        counter_set(&gossip->figures.forgotten, 1);
        slot->recalled_epoch = reader_done(&reader) ? epoch : 0;
    }
    slot->loaded = true;
    return OK;
}

enum err slot_open_next(struct gossip *gossip, struct actor_context *ctx)
{
    struct slot *slot = &gossip->slot;
    uint64_t epoch = gossip_topology(gossip)->epoch + 1;
    enum err err = slot_load(gossip, ctx);
    if (err == OK && slot->epoch != epoch) {
        CHECK_U64(slot->epoch, <, epoch);
        arena_clear(&slot->arena);
        slot->epoch = epoch;
        slot->state = (struct register_state){0};
    }
    return err;
}

/* OK: the slot is that of this epoch, and may vote. */
static enum err slot_open(struct gossip *gossip, struct actor_context *ctx,
                          const struct message *message, uint64_t epoch)
{
    uint64_t ours = gossip_topology(gossip)->epoch;
    if (epoch <= ours) {
        gossip_tell(gossip, ctx, message->from.node);
        return ERR_STALE_EPOCH;
    }
    if (epoch > ours + 1) {
        gossip_ask(gossip, ctx, message->from.node);
        return ERR_UNAVAILABLE;
    }
    if (gossip->held.count >= HELD_MAX)
        return ERR_OVERLOADED;
    enum err err = slot_open_next(gossip, ctx);
    return err == OK && !recall_is_done(gossip) ? ERR_INCOMPLETE : err;
}

enum err slot_keep(struct gossip *gossip, struct actor_context *ctx,
                   const struct register_state *state)
{
    struct slot *slot = &gossip->slot;
    struct bytes row = slot_encode(&gossip->scratch, slot->epoch, state);
    enum err err =
        store_put(ctx->store, STORE_META, bytes_of_string(META_SLOT), row, STORE_SYNC_NOW);
    if (err != OK) {
        counter_add(&gossip->figures.store_errors, 1);
        return err;
    }
    struct bytes value = arena_copy(&gossip->scratch, state->value);
    slot->state = *state;
    arena_clear(&slot->arena);
    slot->state.value = arena_copy(&slot->arena, value);
    return OK;
}

void gossip_on_topology_prepare(struct gossip *gossip, struct actor_context *ctx,
                                const struct message *message)
{
    const struct topology_prepare *prepare = &message->topology_prepare;
    struct slot *slot = &gossip->slot;
    struct message *answer = message_new_reply(message, MESSAGE_topology_prepare_reply, 0);
    struct topology_prepare_reply *reply = &answer->topology_prepare_reply;
    reply->status = slot_open(gossip, ctx, message, prepare->epoch);
    if (reply->status == OK) {
        struct register_state state = slot->state;
        reply->agreed =
            register_prepare(&state, (struct ballot){0}, prepare->ballot, &reply->conflict);
        if (reply->agreed)
            reply->status = slot_keep(gossip, ctx, &state);
    }
    if (reply->status == OK && reply->agreed) {
        reply->accepted = slot->state.accepted;
        reply->value = arena_copy(&answer->arena, slot->state.value);
    }
    gossip_answer_durable(gossip, ctx, answer);
}

void gossip_on_topology_accept(struct gossip *gossip, struct actor_context *ctx,
                               const struct message *message)
{
    const struct topology_accept *accept = &message->topology_accept;
    struct message *answer = message_new_reply(message, MESSAGE_topology_accept_reply, 0);
    struct topology_accept_reply *reply = &answer->topology_accept_reply;
    struct topology proposed;
    reply->status = topology_decode(&gossip->scratch, accept->value, &proposed);
    if (reply->status == OK && proposed.epoch != accept->epoch)
        reply->status = ERR_INVALID;
    if (reply->status == OK)
        reply->status = slot_open(gossip, ctx, message, accept->epoch);
    if (reply->status == OK) {
        struct register_state state = gossip->slot.state;
        reply->agreed = register_accept(&state, (struct ballot){0}, accept->ballot, accept->value,
                                        &reply->conflict);
        if (reply->agreed)
            reply->status = slot_keep(gossip, ctx, &state);
    }
    gossip_answer_durable(gossip, ctx, answer);
}
