/* round.h -- one question to every endpoint given, one after the other: for what each node knows of
 * itself alone (hints, repairs, digests).
 */
#ifndef CLI_ROUND_H
#define CLI_ROUND_H

#include "cli/cli.h"

#define ROUND_NODES_MAX 64u

struct round {
    struct cli *cli;
    const char *next;
    char *asked[ROUND_NODES_MAX]; /* names of nodes that have answered */
    size_t asked_count;
    size_t failed;
    enum cli_exit exit; /* of the last failure */
    struct rpc_client_status told;
};

struct round round_of(struct cli *cli);
/* False at the end of the list. */
bool round_next(struct round *round, const char **ret_endpoint);
/* One call to one endpoint. NULL after the failure was told and counted. */
ProtobufCMessage *round_ask(struct round *round, const char *endpoint, const char *method,
                            const ProtobufCMessage *request,
                            const ProtobufCMessageDescriptor *response, bool is_write);
/* Tells of a failure and counts it; who says the same as the one before is only named. */
void round_report(struct round *round, const struct rpc_client_status *status, bool is_write);
/* round_ask without a word: for who asks again. */
ProtobufCMessage *round_try(struct round *round, const char *endpoint, const char *method,
                            const ProtobufCMessage *request,
                            const ProtobufCMessageDescriptor *response, bool is_write,
                            struct rpc_client_status *ret_status);
/* Remembers that the node has answered; true: it had before. Two endpoints of one node are one. */
bool round_asked_already(struct round *round, char *node);
/* The nodes of the cluster that no endpoint belongs to; no names when nobody says. `ret_names` has
 * room for ROUND_NODES_MAX. */
size_t round_not_asked(struct round *round, char **ret_names);
/* A note about them; `what` is what each node has alone ("hints"). */
void round_say_not_asked(struct round *round, const char *what, char *const *names, size_t count);
/* OK, or that of the last failure. */
enum cli_exit round_exit(const struct round *round);

#endif
