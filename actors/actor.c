#include "actors/actor.h"

#include "base/check.h"

void actor_init(struct actor *actor, const struct actor_class *class, struct actor_id id)
{
    CHECK(class->name != NULL);
    CHECK(class->handle != NULL);
    CHECK_U64(id.kind, <, ACTOR_KIND_COUNT);
    *actor = (struct actor){.magic = ACTOR_MAGIC, .class = class, .id = id};
}

void actor_handle(struct actor *actor, struct actor_context *ctx, struct message *message)
{
    CHECK_U64(actor->magic, ==, ACTOR_MAGIC);
    CHECK_U64(message->magic, ==, MESSAGE_MAGIC);
    message->next = NULL;
    actor->class->handle(actor, ctx, message);
}

void actor_tick(struct actor *actor, struct actor_context *ctx)
{
    CHECK_U64(actor->magic, ==, ACTOR_MAGIC);
    if (actor->class->tick != NULL)
        actor->class->tick(actor, ctx);
}

uint64_t actor_wake_at_ns(const struct actor *actor)
{
    CHECK_U64(actor->magic, ==, ACTOR_MAGIC);
    return actor->class->wake_at_ns == NULL ? NEVER_NS : actor->class->wake_at_ns(actor);
}

void actor_check(const struct actor *actor)
{
    CHECK_U64(actor->magic, ==, ACTOR_MAGIC);
    if (actor->class->check != NULL)
        actor->class->check(actor);
}

void outbox_init(struct outbox *outbox)
{
    *outbox = (struct outbox){0};
}

void outbox_send(struct actor_context *ctx, const struct actor *from, struct message *message)
{
    CHECK_U64(message->magic, ==, MESSAGE_MAGIC);
    CHECK_U64(message->to.kind, <, ACTOR_KIND_COUNT);
    if (message->from.node == MEMBER_NONE)
        message->from = from->id;
    if (message->epoch == 0 && ctx->view != NULL)
        message->epoch = ctx->view->topology.epoch;
    struct outbox *outbox = ctx->outbox;
    message->next = NULL;
    if (outbox->last == NULL)
        outbox->first = message;
    else
        outbox->last->next = message;
    outbox->last = message;
    outbox->count++;
}

struct message *outbox_take(struct outbox *outbox)
{
    struct message *message = outbox->first;
    if (message == NULL)
        return NULL;
    outbox->first = message->next;
    if (outbox->first == NULL)
        outbox->last = NULL;
    outbox->count--;
    message->next = NULL;
    return message;
}

void actor_tell_newer_epoch(const struct actor *actor, struct actor_context *ctx, uint32_t member,
                            uint64_t epoch)
{
    struct message *message = message_new(MESSAGE_topology_behind, 0);
    message->to = (struct actor_id){.node = actor->id.node, .kind = ACTOR_GOSSIP};
    message->topology_behind = (struct topology_behind){.member = member, .epoch = epoch};
    outbox_send(ctx, actor, message);
}

void actor_heard_epoch(const struct actor *actor, struct actor_context *ctx,
                       const struct message *message)
{
    if (message->epoch > ctx->view->topology.epoch && message->from.node != actor->id.node)
        actor_tell_newer_epoch(actor, ctx, message->from.node, message->epoch);
}
