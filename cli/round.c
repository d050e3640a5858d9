#include "cli/round.h"

#include "cli/output.h"
#include "coterie/v1/cluster.pb-c.h"

struct round round_of(struct cli *cli)
{
    return (struct round){.cli = cli, .next = cli->endpoints};
}

bool round_next(struct round *round, const char **ret_endpoint)
{
    if (round->next == NULL)
        return false;
    size_t size = strcspn(round->next, ",");
    *ret_endpoint = arena_string(&round->cli->arena, bytes_of(round->next, size));
    round->next = round->next[size] == ',' ? round->next + size + 1 : NULL;
    return true;
}

ProtobufCMessage *round_try(struct round *round, const char *endpoint, const char *method,
                            const ProtobufCMessage *request,
                            const ProtobufCMessageDescriptor *response, bool is_write,
                            struct rpc_client_status *ret_status)
{
    struct cli *cli = round->cli;
    struct rpc_client *client;
    char why[512];
    if (rpc_client_new(endpoint, &client, why, sizeof why) != OK)
        UNREACHABLE("the whole list was checked");
    ProtobufCMessage *message = rpc_client_call(client, method, request, response, cli->deadline_ms,
                                                !is_write, &cli->arena, ret_status);
    rpc_client_free(client);
    if (message != NULL && cli->verbose)
        cli_note("answered by %s", ret_status->endpoint);
    return message;
}

void round_report(struct round *round, const struct rpc_client_status *status, bool is_write)
{
    bool again = round->failed > 0 && status->code == round->told.code &&
                 strcmp(status->message, round->told.message) == 0;
    if (again && !round->cli->json)
        cli_note("%s says the same", status->endpoint);
    else
        round->exit = cli_report(round->cli, status, is_write);
    round->told = *status;
    round->failed++;
}

ProtobufCMessage *round_ask(struct round *round, const char *endpoint, const char *method,
                            const ProtobufCMessage *request,
                            const ProtobufCMessageDescriptor *response, bool is_write)
{
    struct rpc_client_status status;
    ProtobufCMessage *message =
        round_try(round, endpoint, method, request, response, is_write, &status);
    if (message != NULL)
        return message;
    round_report(round, &status, is_write);
    return NULL;
}

bool round_asked_already(struct round *round, char *node)
{
    for (size_t i = 0; i < round->asked_count; i++) {
        if (strcmp(round->asked[i], node) == 0)
            return true;
    }
    if (round->asked_count < ROUND_NODES_MAX)
        round->asked[round->asked_count++] = node;
    return false;
}

size_t round_not_asked(struct round *round, char **ret_names)
{
    struct cli *cli = round->cli;
    struct rpc_client_status status;
    Coterie__V1__ListNodesRequest request = COTERIE__V1__LIST_NODES_REQUEST__INIT;
    size_t count = 0;
    if (round->asked_count == 0)
        return 0;
    Coterie__V1__ListNodesResponse *nodes = (Coterie__V1__ListNodesResponse *)rpc_client_call(
        cli_client(cli), "/coterie.v1.Cluster/ListNodes", &request.base,
        &coterie__v1__list_nodes_response__descriptor, cli->deadline_ms, true, &cli->arena,
        &status);
    for (size_t i = 0; nodes != NULL && i < nodes->n_nodes && count < ROUND_NODES_MAX; i++) {
        bool asked = nodes->nodes[i]->state == COTERIE__V1__NODE__STATE__STATE_REMOVED;
        for (size_t j = 0; j < round->asked_count; j++)
            asked = asked || strcmp(nodes->nodes[i]->name, round->asked[j]) == 0;
        if (!asked)
            ret_names[count++] = nodes->nodes[i]->name;
    }
    return count;
}

void round_say_not_asked(struct round *round, const char *what, char *const *names, size_t count)
{
    if (count == 0)
        return;
    cli_note("not asked: %s (each node has its own %s; %s)",
             output_names(&round->cli->arena, names, count), what,
             round->failed > 0 ? "no endpoint of theirs has answered"
                               : "name their endpoints too: --endpoints HOST:PORT,...");
}

enum cli_exit round_exit(const struct round *round)
{
    return round->failed == 0 ? CLI_OK : round->exit;
}
