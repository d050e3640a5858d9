#include "rpc/answer.h"

#include "base/check.h"

uint64_t answer_client(const struct message *answer)
{
    if (answer->kind == MESSAGE_client_get_done)
        return answer->client_get_done.client;
    if (answer->kind == MESSAGE_client_put_done)
        return answer->client_put_done.client;
    if (answer->kind == MESSAGE_client_maintenance_done)
        return answer->client_maintenance_done.client;
    if (answer->kind == MESSAGE_client_explain_done)
        return answer->client_explain_done.client;
    if (answer->kind == MESSAGE_client_topology_done)
        return answer->client_topology_done.client;
    if (answer->kind == MESSAGE_client_reports_done)
        return answer->client_reports_done.client;
    if (answer->kind == MESSAGE_tree_roots_reply) /* to a question whose id was the handle */
        return answer->id;
    CHECK_U64(answer->kind, ==, MESSAGE_keyspace_change_done);
    return answer->keyspace_change_done.client;
}

struct message *answer_new_refusal(enum message_kind kind, uint64_t client)
{
    static const char why[] = "the mailbox of this node's actor is full";
    struct message *answer = message_new(kind, 0);
    if (kind == MESSAGE_client_get_done) {
        answer->client_get_done =
            (struct client_get_done){.client = client, .status = ERR_OVERLOADED, .why = why};
    } else if (kind == MESSAGE_client_put_done) {
        answer->client_put_done.client = client;
        answer->client_put_done.result = (struct put_result){
            .status = ERR_OVERLOADED, .outcome = OUTCOME_NOT_APPLIED, .why = why};
    } else if (kind == MESSAGE_client_maintenance_done) {
        answer->client_maintenance_done = (struct client_maintenance_done){
            .client = client, .status = ERR_OVERLOADED, .why = why};
    } else if (kind == MESSAGE_client_explain_done) {
        answer->client_explain_done =
            (struct client_explain_done){.client = client, .status = ERR_OVERLOADED, .why = why};
    } else if (kind == MESSAGE_client_topology_done) {
        answer->client_topology_done =
            (struct client_topology_done){.client = client, .status = ERR_OVERLOADED, .why = why};
    } else if (kind == MESSAGE_client_reports_done) {
        answer->client_reports_done =
            (struct client_reports_done){.client = client, .status = ERR_OVERLOADED};
    } else if (kind == MESSAGE_tree_roots_reply) {
        answer->id = client;
        answer->tree_roots_reply.status = ERR_OVERLOADED;
    } else {
        CHECK_U64(kind, ==, MESSAGE_keyspace_change_done);
        answer->keyspace_change_done.client = client;
        answer->keyspace_change_done.status = ERR_OVERLOADED;
        answer->keyspace_change_done.why = why;
    }
    return answer;
}
