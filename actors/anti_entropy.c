#include "actors/anti_entropy.h"

#include <stdlib.h>

struct anti_entropy {
    struct actor actor;
    struct anti_entropy_figures figures;
};

static void anti_entropy_handle(struct actor *actor, struct actor_context *ctx,
                                struct message *message)
{
    struct anti_entropy *anti_entropy = CONTAINER_OF(actor, struct anti_entropy, actor);
    (void)ctx;
    counter_add(&anti_entropy->figures.unexpected, 1);
    message_free(message);
}

static void anti_entropy_tick(struct actor *actor, struct actor_context *ctx)
{
    (void)actor;
    (void)ctx;
}

static uint64_t anti_entropy_wake_at_ns(const struct actor *actor)
{
    (void)actor;
    return NEVER_NS;
}

static void anti_entropy_check(const struct actor *actor)
{
    CHECK_U64(actor->magic, ==, ACTOR_MAGIC);
}

static const struct actor_class anti_entropy_class = {
    .name = "anti_entropy",
    .handle = anti_entropy_handle,
    .tick = anti_entropy_tick,
    .wake_at_ns = anti_entropy_wake_at_ns,
    .check = anti_entropy_check,
};

struct anti_entropy *anti_entropy_new(uint32_t self)
{
    struct anti_entropy *anti_entropy = calloc(1, sizeof *anti_entropy);
    CHECK(anti_entropy != NULL);
    actor_init(&anti_entropy->actor, &anti_entropy_class,
               (struct actor_id){.node = self, .kind = ACTOR_ANTI_ENTROPY});
    return anti_entropy;
}

void anti_entropy_free(struct anti_entropy *anti_entropy)
{
    free(anti_entropy);
}

struct actor *anti_entropy_actor(struct anti_entropy *anti_entropy)
{
    return &anti_entropy->actor;
}

const struct anti_entropy_figures *anti_entropy_figures(const struct anti_entropy *anti_entropy)
{
    return &anti_entropy->figures;
}
