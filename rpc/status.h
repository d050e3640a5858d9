/* status.h -- what a failed call says: gRPC status, message, and google.rpc details.
 *
 * The details go into the trailer grpc-status-details-bin as google.rpc.Status with
 * ErrorInfo{reason, domain "coterie", metadata}, BadRequest{field} and RetryInfo, as far as they
 * are set. Messages and words are printable ASCII, so that any client may show them.
 */
#ifndef RPC_STATUS_H
#define RPC_STATUS_H

#include "actors/message.h"
#include "actors/view.h"

#include <grpc/grpc.h>

#define STATUS_DETAILS_KEY "grpc-status-details-bin"
#define STATUS_DOMAIN      "coterie"
#define STATUS_PAIRS_MAX   5u

struct status {
    grpc_status_code code;
    char message[512];
    const char *reason;      /* ErrorInfo.reason, static; NULL = no details */
    const char *field;       /* BadRequest, static */
    const char *outcome;     /* "NOT_APPLIED", "UNKNOWN"; NULL for reads and refusals at the edge */
    uint64_t retry_after_ms; /* RetryInfo; 0 = none */
    uint32_t acknowledged;
    uint32_t needed;
    bool has_progress; /* acknowledged, needed and missing are metadata */
    char missing[256]; /* names, comma between */
};

/* What every builder starts from. `reason` is static text. */
__attribute__((format(printf, 4, 5))) void status_set(struct status *status, grpc_status_code code,
                                                      const char *reason, const char *format, ...);
/* INVALID_ARGUMENT about one field; the message begins with its name. */
__attribute__((format(printf, 3, 4))) void status_invalid(struct status *status, const char *field,
                                                          const char *format, ...);
/* "field: size bytes, limit max". */
void status_invalid_size(struct status *status, const char *field, uint64_t size, uint64_t max);
/* NOT_FOUND, NODE_NOT_FOUND: the field names no node of the cluster. */
void status_no_node(struct status *status, const char *field, const char *name);
void status_overloaded(struct status *status, uint64_t retry_after_ms, const char *why);

/* `why` may be NULL. err is not OK. */
void status_of_err(struct status *status, enum err err, const char *why);
/* From a coordinator's answer that is not OK. `view` names the missing. */
void status_of_get(struct status *status, const struct view *view,
                   const struct client_get_done *done);
void status_of_put(struct status *status, const struct view *view, const struct put_result *result);

/* The trailer's value; empty when there are no details. The caller unrefs it. */
grpc_slice status_details(const struct status *status);

#endif
