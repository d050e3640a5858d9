#include "actors/hinted_handoff.h"

#include <stdlib.h>

struct hinted_handoff {
    struct actor actor;
    struct hinted_handoff_figures figures;
};

static void hinted_handoff_handle(struct actor *actor, struct actor_context *ctx,
                                  struct message *message)
{
    struct hinted_handoff *hinted_handoff = CONTAINER_OF(actor, struct hinted_handoff, actor);
    if (message->kind == MESSAGE_hint_store) {
        struct message *reply = message_new_reply(message, MESSAGE_hint_store_reply, 0);
        reply->hint_store_reply.status = ERR_UNSUPPORTED;
        counter_add(&hinted_handoff->figures.refused, 1);
        outbox_send(ctx, actor, reply);
    } else {
        counter_add(&hinted_handoff->figures.unexpected, 1);
    }
    message_free(message);
}

static void hinted_handoff_tick(struct actor *actor, struct actor_context *ctx)
{
    (void)actor;
    (void)ctx;
}

static uint64_t hinted_handoff_wake_at_ns(const struct actor *actor)
{
    (void)actor;
    return NEVER_NS;
}

static void hinted_handoff_check(const struct actor *actor)
{
    CHECK_U64(actor->magic, ==, ACTOR_MAGIC);
}

static const struct actor_class hinted_handoff_class = {
    .name = "hinted_handoff",
    .handle = hinted_handoff_handle,
    .tick = hinted_handoff_tick,
    .wake_at_ns = hinted_handoff_wake_at_ns,
    .check = hinted_handoff_check,
};

struct hinted_handoff *hinted_handoff_new(uint32_t self)
{
    struct hinted_handoff *hinted_handoff = calloc(1, sizeof *hinted_handoff);
    CHECK(hinted_handoff != NULL);
    actor_init(&hinted_handoff->actor, &hinted_handoff_class,
               (struct actor_id){.node = self, .kind = ACTOR_HINTED_HANDOFF});
    return hinted_handoff;
}

void hinted_handoff_free(struct hinted_handoff *hinted_handoff)
{
    free(hinted_handoff);
}

struct actor *hinted_handoff_actor(struct hinted_handoff *hinted_handoff)
{
    return &hinted_handoff->actor;
}

const struct hinted_handoff_figures *
hinted_handoff_figures(const struct hinted_handoff *hinted_handoff)
{
    return &hinted_handoff->figures;
}
