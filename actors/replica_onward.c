#include "actors/replica_state.h"

void replica_pass_on(struct replica *replica, struct actor_context *ctx,
                     const struct message *message)
{
    const struct replica_write *write = &message->replica_write;
    bool over = message->deadline_ns != 0 && ctx->now_ns >= message->deadline_ns;
    for (uint8_t i = 0; i < write->onward_count && !over; i++) {
        struct message *onward =
            message_new(MESSAGE_replica_write, write->key.size + write->record.size);
        onward->id = message->id;
        /* The link says whose it is; a coordinator here that has such a number hears nothing of it
         * (message_new_undelivered). */
        onward->from = message->from;
        onward->from.node = replica->options.self;
        onward->to = (struct actor_id){.node = write->onward[i], .kind = ACTOR_REPLICA};
        onward->deadline_ns = message->deadline_ns;
        onward->epoch = message->epoch;
        onward->replica_write = *write;
        onward->replica_write.key = arena_copy(&onward->arena, write->key);
        onward->replica_write.record = arena_copy(&onward->arena, write->record);
        onward->replica_write.request_id = arena_copy(&onward->arena, write->request_id);
        onward->replica_write.request_context = arena_copy(&onward->arena, write->request_context);
        onward->replica_write.onward_count = 0;
        onward->replica_write.answer_to = message->from.node;
        counter_add(&replica->figures.passed_on, 1);
        outbox_send(ctx, &replica->actor, onward);
    }
}
