/* One key as every node sees it: its replicas and all hinted handoffs are asked at once; what has
 * come by the deadline is the answer. Nobody keeps hints for a register: instead of the hinted
 * handoffs the replicas' anti-entropy is asked, which knows why a copy does not vote. */
#include "actors/anti_entropy_state.h"
#include "model/hash.h"

#include <stdlib.h>

#define WAIT_NS ((uint64_t)2000 * 1000 * 1000)

static void explain_end(struct anti_entropy *ae, struct actor_context *ctx,
                        struct ae_explain *explain)
{
    counter_add(&ae->figures.explained, 1);
    outbox_send(ctx, &ae->actor, explain->done);
    *explain = (struct ae_explain){0};
}

static void refuse(struct anti_entropy *ae, struct actor_context *ctx,
                   const struct message *message, enum err status, const char *why)
{
    struct message *done = message_new_reply(message, MESSAGE_client_explain_done, 0);
    done->client_explain_done = (struct client_explain_done){
        .client = message->client_explain.client, .status = status, .why = why};
    outbox_send(ctx, &ae->actor, done);
}

static void ask(struct anti_entropy *ae, struct actor_context *ctx, struct ae_explain *explain,
                const struct client_explain *request, struct actor_id to)
{
    struct message *message = message_new(MESSAGE_key_explain, request->key.size);
    message->to = to;
    message->id = explain->id;
    message->deadline_ns = explain->until_ns;
    message->key_explain =
        (struct key_explain){.partition = explain->done->client_explain_done.partition,
                             .keyspace_id = request->keyspace_id,
                             .key = arena_copy(&message->arena, request->key)};
    outbox_send(ctx, &ae->actor, message);
}

/* One line for each member; those that can be reached are asked. */
static void ask_all(struct anti_entropy *ae, struct actor_context *ctx, struct ae_explain *explain,
                    const struct client_explain *request, const struct keyspace *keyspace)
{
    const struct topology *topology = &ctx->view->topology;
    struct client_explain_done *done = &explain->done->client_explain_done;
    done->nodes = ARENA_NEW(&explain->done->arena, struct node_explain, topology->member_count);
    for (uint32_t i = 0; i < topology->member_count; i++) {
        const struct member *member = &topology->members[i];
        if (member->status == MEMBER_REMOVED)
            continue;
        struct node_explain *node = &done->nodes[done->count++];
        bool reachable = ae_reachable(ctx, member->number);
        enum err unheard = reachable ? ERR_TIMEOUT : ERR_UNAVAILABLE;
        node->member = member->number;
        node->replica = ae_is_replica(ctx->view, keyspace, done->partition, member->number);
        node->held.status = node->replica ? unheard : ERR_NOT_FOUND;
        bool registers = keyspace->mode == KEYSPACE_CONSISTENT;
        bool knows_more = !registers || node->replica;
        node->hints.status = knows_more ? unheard : ERR_NOT_FOUND;
        if (!reachable || !knows_more)
            continue;
        explain->waiting_hints |= ae_member_bit(ae, member->number);
        ask(ae, ctx, explain, request,
            (struct actor_id){.node = member->number,
                              .kind = registers ? ACTOR_ANTI_ENTROPY : ACTOR_HINTED_HANDOFF});
        if (!node->replica)
            continue;
        explain->waiting_replicas |= ae_member_bit(ae, member->number);
        ask(ae, ctx, explain, request,
            (struct actor_id){.node = member->number, .kind = ACTOR_REPLICA});
    }
}

void ae_explain_on_client(struct anti_entropy *ae, struct actor_context *ctx,
                          const struct message *message)
{
    const struct client_explain *request = &message->client_explain;
    const struct keyspace *keyspace =
        keyspace_map_find_id(&ctx->view->keyspaces, request->keyspace_id);
    uint32_t slot = 0;
    while (slot < AE_EXPLAINS_MAX && ae->explains[slot].done != NULL)
        slot++;
    if (keyspace == NULL) {
        refuse(ae, ctx, message, ERR_NOT_FOUND, "there is no such keyspace");
        return;
    }
    if (slot == AE_EXPLAINS_MAX) {
        refuse(ae, ctx, message, ERR_OVERLOADED, "too many keys are being explained");
        return;
    }
    struct ae_explain *explain = &ae->explains[slot];
    uint64_t until_ns = ctx->now_ns + WAIT_NS;
    if (message->deadline_ns != 0) { /* leave a little for the way back */
        uint64_t left_ns =
            message->deadline_ns > ctx->now_ns ? message->deadline_ns - ctx->now_ns : 0;
        if (left_ns / 8 * 7 < WAIT_NS)
            until_ns = ctx->now_ns + left_ns / 8 * 7;
    }
    *explain = (struct ae_explain){
        .done = message_new_reply(message, MESSAGE_client_explain_done, 0),
        .id = ae_id(ae, AE_OWNER_EXPLAIN, slot),
        .until_ns = until_ns,
    };
    struct client_explain_done *done = &explain->done->client_explain_done;
    done->client = request->client;
    done->hash = hash_key(request->keyspace_id, request->key);
    done->partition = hash_partition(done->hash, ae->options.partitions);
    done->wall_ms = ctx->wall_ms;
    ask_all(ae, ctx, explain, request, keyspace);
    if (explain->waiting_replicas == 0 && explain->waiting_hints == 0)
        explain_end(ae, ctx, explain);
}

void ae_explain_on_key(struct anti_entropy *ae, struct actor_context *ctx,
                       const struct message *message)
{
    struct message *answer = message_new_reply(message, MESSAGE_key_explain_reply, 0);
    struct waits waits = {0};
    if (ae->viewed && ae->topology_epoch == ctx->view->topology.epoch)
        ae_waits_of_vote(ae, ctx, message->key_explain.partition, message->key_explain.keyspace_id,
                         &waits);
    answer->key_explain_reply.waits = waits_encode(&answer->arena, &waits);
    outbox_send(ctx, &ae->actor, answer);
}

void ae_explain_answered(struct anti_entropy *ae, struct actor_context *ctx, uint32_t slot,
                         const struct message *message)
{
    struct ae_explain *explain = slot < AE_EXPLAINS_MAX ? &ae->explains[slot] : NULL;
    bool hints = message->from.kind != ACTOR_REPLICA;
    uint32_t member = message->from.node;
    if (explain == NULL || explain->done == NULL || explain->id != message->id ||
        message->kind != MESSAGE_key_explain_reply) {
        counter_add(&ae->figures.late, 1);
        return;
    }
    uint64_t *waiting = hints ? &explain->waiting_hints : &explain->waiting_replicas;
    struct client_explain_done *done = &explain->done->client_explain_done;
    for (uint32_t i = 0; i < done->count && (*waiting & ae_member_bit(ae, member)) != 0; i++) {
        struct node_explain *node = &done->nodes[i];
        if (node->member != member)
            continue;
        struct key_explain_reply *part = hints ? &node->hints : &node->held;
        *part = message->key_explain_reply;
        part->record = arena_copy(&explain->done->arena, message->key_explain_reply.record);
        part->waits = arena_copy(&explain->done->arena, message->key_explain_reply.waits);
    }
    *waiting &= ~ae_member_bit(ae, member);
    if (explain->waiting_replicas == 0 && explain->waiting_hints == 0)
        explain_end(ae, ctx, explain);
}

void ae_explain_tick(struct anti_entropy *ae, struct actor_context *ctx)
{
    for (uint32_t i = 0; i < AE_EXPLAINS_MAX; i++) {
        struct ae_explain *explain = &ae->explains[i];
        if (explain->done != NULL && explain->until_ns <= ctx->now_ns)
            explain_end(ae, ctx, explain);
    }
}

uint64_t ae_explain_wake_ns(const struct anti_entropy *ae)
{
    uint64_t at_ns = NEVER_NS;
    for (uint32_t i = 0; i < AE_EXPLAINS_MAX; i++) {
        if (ae->explains[i].done != NULL && ae->explains[i].until_ns < at_ns)
            at_ns = ae->explains[i].until_ns;
    }
    return at_ns;
}
