/* A topology log that a test steers: each operation is applied to the view's document, whose
 * successor is published at once; n2 is down and answers nothing. Names of nodes that join decide:
 *
 *   unknown    the outcome is not known; nothing happens
 *   voteless   no majority of the voters; nothing happens
 */
#ifndef BENCH_FAKE_TOPOLOGY_H
#define BENCH_FAKE_TOPOLOGY_H

#include "actors/actor.h"
#include "actors/view.h"

#define FAKE_COPY_BYTES 1000000u /* of each partition */
#define FAKE_COPIED     3000000u
#define FAKE_RATE       500000u

static inline void fake_publish(struct actor *actor, struct actor_context *ctx,
                                const struct topology *topology)
{
    struct view *view = view_new(topology, &ctx->view->keyspaces, ctx->view->self);
    for (uint32_t i = 0; i < topology->member_count; i++)
        view->members[i].liveness =
            topology->members[i].number == 2 ? LIVENESS_DOWN : LIVENESS_ALIVE;
    struct message *message = message_new(MESSAGE_view_publish, 0);
    message->to = (struct actor_id){.node = ctx->view->self, .kind = ACTOR_RUNTIME};
    message->view_publish.view = view;
    outbox_send(ctx, actor, message);
}

static inline void fake_operate(struct actor *actor, struct actor_context *ctx,
                                const struct message *message)
{
    const struct client_topology *request = &message->client_topology;
    struct message *reply = message_new_reply(message, MESSAGE_client_topology_done, 65536);
    struct client_topology_done *done = &reply->client_topology_done;
    struct topology next;
    done->client = request->client;
    if (strcmp(request->operation.name, "unknown") == 0 ||
        strcmp(request->operation.name, "voteless") == 0) {
        done->status = ERR_UNAVAILABLE;
        done->unknown = request->operation.name[0] == 'u';
        done->why = "a majority of the voters does not answer";
    } else {
        done->status = topology_operate(&reply->arena, &ctx->view->topology, &ctx->view->keyspaces,
                                        &request->operation, &next, &done->number, &done->why);
    }
    if (done->status == OK) {
        done->epoch = next.epoch;
        done->document = topology_encode(&reply->arena, &next);
        fake_publish(actor, ctx, &next);
    }
    outbox_send(ctx, actor, reply);
}

static inline void fake_report(struct arena *arena, const struct view *view, uint32_t member,
                               uint64_t free_bytes, struct vnode_report_reply *report)
{
    size_t size = sizeof(uint64_t) * view->topology.partitions;
    uint8_t *sizes = arena_alloc_zero(arena, size);
    for (size_t i = 0; i < size; i++) {
        if (i % 8 >= 4)
            sizes[i] = (uint8_t)(FAKE_COPY_BYTES >> (56 - 8 * (i % 8)));
    }
    *report = (struct vnode_report_reply){
        .status = member == 2 ? ERR_UNAVAILABLE : OK,
        .epoch = view->topology.epoch,
        .change = topology_change_name(&view->topology),
        .gains = member > 3 ? 5 : 0,
        .gains_filled = member > 3 ? 3 : 0,
        .bytes_copied = member > 3 ? FAKE_COPIED : 0,
        .bytes_per_second = member > 3 ? FAKE_RATE : 0,
        .free_bytes = free_bytes,
        .sizes = bytes_of(sizes, size),
    };
}

static inline void fake_reports(struct actor *actor, struct actor_context *ctx,
                                const struct message *message, uint64_t free_bytes)
{
    const struct topology *topology = &ctx->view->topology;
    struct message *reply = message_new_reply(message, MESSAGE_client_reports_done, 4096);
    struct client_reports_done *done = &reply->client_reports_done;
    done->client = message->client_reports.client;
    done->reports = ARENA_NEW(&reply->arena, struct member_report, topology->member_count);
    for (uint32_t i = 0; i < topology->member_count; i++) {
        struct member_report *report = &done->reports[done->count++];
        report->member = topology->members[i].number;
        fake_report(&reply->arena, ctx->view, report->member, free_bytes, &report->report);
    }
    outbox_send(ctx, actor, reply);
}

#endif
