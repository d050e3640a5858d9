/* A round of a register and the messages that it is made of. */
#include "actors/coordinator_register.h"

static struct message *question(const struct request *request)
{
    const struct register_work *work = request->work;
    uint32_t keyspace_id = coordinator_register_keyspace_id(request);
    struct bytes key = coordinator_request_key(request);
    struct message *message = NULL;
    switch (work->round.phase) {
    case REGISTER_QUERY:
        message = message_new(MESSAGE_register_query, key.size);
        message->register_query = (struct register_query){
            keyspace_id, arena_copy(&message->arena, key), request->partition};
        break;
    case REGISTER_PREPARE:
        message = message_new(MESSAGE_register_prepare, key.size);
        message->register_prepare = (struct register_prepare){
            keyspace_id, arena_copy(&message->arena, key), request->partition, work->round.ballot};
        break;
    case REGISTER_ACCEPT:
        message = message_new(MESSAGE_register_accept, key.size + work->encoded.size);
        message->register_accept = (struct register_accept){
            keyspace_id, arena_copy(&message->arena, key), request->partition, work->round.ballot,
            arena_copy(&message->arena, work->encoded)};
        break;
    }
    message->id = request->id;
    message->deadline_ns = request->deadline_ns;
    return message;
}

void coordinator_register_ask(struct coordinator *coordinator, struct actor_context *ctx,
                              const struct request *request, uint64_t places)
{
    const struct register_work *work = request->work;
    for (uint32_t i = 0; i < work->acceptors.count; i++) {
        if ((work->round.answered >> i & 1u) != 0 || (places >> i & 1u) == 0)
            continue;
        struct message *message = question(request);
        message->to =
            (struct actor_id){.node = work->acceptors.list[i].member, .kind = ACTOR_REPLICA};
        coordinator_request_send(coordinator, ctx, request, message);
    }
}

bool coordinator_register_parse(const struct message *message, const struct register_work *work,
                                struct register_answer *ret_answer, enum err *ret_status)
{
    struct register_answer answer = {.member = message->from.node};
    enum register_phase phase = REGISTER_QUERY;
    if (message->kind == MESSAGE_register_query_reply) {
        const struct register_query_reply *reply = &message->register_query_reply;
        *ret_status = reply->status;
        answer.agreed = true;
        answer.promised = reply->promised;
        answer.accepted = reply->accepted;
        answer.value = reply->value;
    } else if (message->kind == MESSAGE_register_prepare_reply) {
        const struct register_prepare_reply *reply = &message->register_prepare_reply;
        phase = REGISTER_PREPARE;
        *ret_status = reply->status;
        answer.agreed = reply->agreed;
        answer.conflict = reply->conflict;
        answer.accepted = reply->accepted;
        answer.value = reply->value;
    } else {
        const struct register_accept_reply *reply = &message->register_accept_reply;
        phase = REGISTER_ACCEPT;
        *ret_status = reply->status;
        answer.agreed = reply->agreed;
        answer.conflict = reply->conflict;
    }
    answer.failed = *ret_status != OK;
    *ret_answer = answer;
    return phase == work->round.phase;
}
