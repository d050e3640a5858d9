#include "cli/cli.h"

#include <jansson.h>
#include <stdarg.h>

void cli_note(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fflush(stdout); /* in the order of what happens, also where both go to one file */
    fputs("coterie: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
}

static enum cli_exit exit_of(grpc_status_code code)
{
    switch ((int)code) {
    case GRPC_STATUS_OK:
        return CLI_OK;
    case GRPC_STATUS_NOT_FOUND:
        return CLI_NOT_FOUND;
    case GRPC_STATUS_UNAVAILABLE:
    case GRPC_STATUS_DEADLINE_EXCEEDED:
    case GRPC_STATUS_RESOURCE_EXHAUSTED:
        return CLI_UNAVAILABLE;
    case GRPC_STATUS_ALREADY_EXISTS:
    case GRPC_STATUS_ABORTED:
        return CLI_CONFLICT;
    default:
        return CLI_FAILED;
    }
}

struct rpc_client *cli_client(struct cli *cli)
{
    char why[512];
    if (cli->client == NULL &&
        rpc_client_new(cli->endpoints, &cli->client, why, sizeof why) != OK) {
        bool given = cli->options[OPTION_ENDPOINTS] != NULL;
        cli_usage_error(cli, "%s%s", why, given ? "" : " (COTERIE_ENDPOINTS)");
        return NULL;
    }
    return cli->client;
}

ProtobufCMessage *cli_call(struct cli *cli, const char *method, const ProtobufCMessage *request,
                           const ProtobufCMessageDescriptor *response, bool is_write,
                           enum cli_exit *ret_exit)
{
    struct rpc_client *client = cli_client(cli);
    if (client == NULL) {
        *ret_exit = CLI_USAGE;
        return NULL;
    }
    struct rpc_client_status status;
    ProtobufCMessage *message = rpc_client_call(client, method, request, response, cli->deadline_ms,
                                                !is_write, &cli->arena, &status);
    if (message == NULL)
        *ret_exit = cli_report(cli, &status, is_write);
    else if (cli->verbose)
        cli_note("answered by %s", status.endpoint);
    return message;
}

/* What to do about it, in words of the command line. */
static const char *advice(const struct rpc_client_status *status, bool is_write)
{
    if (strcmp(status->reason, "NOT_CONNECTED") == 0)
        return "see that the node runs (coteried), or name one that does: --endpoints "
               "HOST:PORT,... or COTERIE_ENDPOINTS";
    if (is_write && strcmp(status->outcome, "UNKNOWN") == 0 && strstr(status->message, "GetChange"))
        return "see what became of it (coterie changes, coterie nodes) before you do it again";
    if (is_write && strcmp(status->outcome, "UNKNOWN") == 0)
        return "read the key before you write again: the write may have happened";
    if (strcmp(status->reason, "REPAIR_NOT_FOUND") == 0)
        return "each node remembers its last eight repairs; ask the nodes that took part";
    if (strcmp(status->reason, "EPOCH_CHANGED") == 0)
        return "somebody else changed the cluster meanwhile: look again (coterie plan)";
    if (strcmp(status->reason, "NODE_NOT_FOUND") == 0)
        return "see which nodes there are: coterie nodes";
    if (strcmp(status->reason, "DOES_NOT_FIT") == 0)
        return "see the plan: coterie plan; --force goes on all the same";
    if (strcmp(status->reason, "VOTERS_UNAVAILABLE") == 0)
        return "a majority of the voters must answer: coterie changes names them, coterie status "
               "tells who is away";
    if (strcmp(status->reason, "WRONG_MODE") == 0)
        return "name a consistent keyspace with -k, or make one: coterie keyspace create NAME "
               "--mode consistent";
    if (strcmp(status->reason, "DISK_FULL") == 0)
        return "make room on the disk of the node named above: it then takes writes by itself";
    if (strcmp(status->reason, "OVERLOADED") == 0)
        return "a node is at a limit, or its disk is full: coterie status; try again later, or "
               "with less at once";
    if (strcmp(status->reason, "KEYSPACE_NOT_FOUND") == 0)
        return "see what exists: coterie keyspace list; or make it: coterie keyspace create NAME";
    if (strcmp(status->reason, "QUORUM_NOT_MET") == 0 && strstr(status->message, "majority"))
        return "see which nodes are away: coterie status; a key of a consistent keyspace needs a "
               "majority of its replicas, for reads too";
    switch ((int)status->code) {
    case GRPC_STATUS_UNAVAILABLE:
        return "see which nodes are away: coterie status; then try again, or ask for fewer "
               "replicas with --consistency ONE";
    case GRPC_STATUS_DEADLINE_EXCEEDED:
        return "see whether the cluster is well: coterie status; or allow more time with "
               "--deadline-ms";
    case GRPC_STATUS_RESOURCE_EXHAUSTED:
        return "the node is at a limit; try again later or with less at once";
    case GRPC_STATUS_NOT_FOUND:
        return "see what exists: coterie keyspace list";
    case GRPC_STATUS_ALREADY_EXISTS:
        return "see what exists: coterie keyspace list; or choose another name";
    case GRPC_STATUS_UNIMPLEMENTED:
        if (strstr(status->message, "--client-address"))
            return "name the client port: --endpoints HOST:PORT,... or COTERIE_ENDPOINTS";
        return "the node does not know this request: compare coterie version with coterie status";
    case GRPC_STATUS_INVALID_ARGUMENT:
        return "correct the value named above";
    default:
        return NULL;
    }
}

static const char *outcome_in_words(const char *outcome)
{
    if (strcmp(outcome, "NOT_APPLIED") == 0)
        return "NOT_APPLIED (it did not happen and never will)";
    if (strcmp(outcome, "UNKNOWN") == 0)
        return "UNKNOWN (it may have happened, or may still)";
    return outcome;
}

static void report_json(const struct rpc_client_status *status, bool is_write, const char *next)
{
    json_t *error = json_pack("{s:s, s:s}", "code", rpc_code_name((int)status->code), "message",
                              status->message);
    if (error == NULL) /* the message is not UTF-8 */
        error = json_pack("{s:s}", "code", rpc_code_name((int)status->code));
    const struct {
        const char *name, *text;
    } fields[] = {
        {"reason", status->reason},
        {"outcome", is_write ? status->outcome : ""},
        {"acknowledged", status->acknowledged},
        {"needed", status->needed},
        {"missing", status->missing},
        {"field", status->field},
        {"violation", status->violation},
        {"endpoint", status->endpoint},
        {"next", next == NULL ? "" : next},
    };
    for (size_t i = 0; i < ARRAY_COUNT(fields); i++) {
        if (fields[i].text[0] != '\0')
            json_object_set_new(error, fields[i].name, json_string(fields[i].text));
    }
    if (status->retry_after_ms != 0)
        json_object_set_new(error, "retry_after_ms",
                            json_integer((json_int_t)status->retry_after_ms));
    json_t *all = json_pack("{s:o}", "error", error);
    json_dumpf(all, stderr, JSON_COMPACT);
    fputc('\n', stderr);
    json_decref(all);
}

enum cli_exit cli_report(const struct cli *cli, const struct rpc_client_status *status,
                         bool is_write)
{
    const char *next = advice(status, is_write);
    if (cli->json) {
        report_json(status, is_write, next);
        return exit_of(status->code);
    }
    fprintf(stderr, "coterie: %s\n",
            status->message[0] != '\0' ? status->message : "the node gives no message");
    const char *code = rpc_code_name((int)status->code);
    bool says_more = status->reason[0] != '\0' && strcmp(status->reason, code) != 0;
    fprintf(stderr, "  code:    %s%s%s, from %s\n", code, says_more ? " " : "",
            says_more ? status->reason : "", status->endpoint);
    if (status->needed[0] != '\0')
        fprintf(stderr, "  answers: %s of %s needed\n", status->acknowledged, status->needed);
    if (status->missing[0] != '\0')
        fprintf(stderr, "  missing: %s\n", status->missing);
    if (status->violation[0] != '\0' && strstr(status->message, status->violation) == NULL)
        fprintf(stderr, "  field:   %s: %s\n", status->field, status->violation);
    if (is_write && status->outcome[0] != '\0')
        fprintf(stderr, "  outcome: %s\n", outcome_in_words(status->outcome));
    if (status->retry_after_ms != 0)
        fprintf(stderr, "  retry:   after %llu ms\n", (unsigned long long)status->retry_after_ms);
    if (next != NULL)
        fprintf(stderr, "  next:    %s\n", next);
    return exit_of(status->code);
}
