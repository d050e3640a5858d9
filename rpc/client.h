/* client.h -- a client of the public API, for the command line and the bench.
 *
 * Blocking calls over a list of endpoints: the next one is tried when one is unreachable before the
 * request left. Asynchronous calls for the bench: many outstanding on one thread of the caller's.
 */
#ifndef RPC_CLIENT_H
#define RPC_CLIENT_H

#include "base/arena.h"
#include "base/err.h"

#include <grpc/grpc.h>
#include <protobuf-c/protobuf-c.h>

struct rpc_client;

/* `endpoints`: "host:port,host:port". INVALID with a sentence in `why`. */
enum err rpc_client_new(const char *endpoints, struct rpc_client **ret_client, char *why,
                        size_t why_size) MUST_USE;
void rpc_client_free(struct rpc_client *client);

struct rpc_client_status {
    grpc_status_code code;
    char message[512];
    char reason[64];       /* ErrorInfo.reason, or empty */
    char outcome[16];      /* ErrorInfo.metadata["outcome"], or empty */
    uint64_t retry_after_ms;
    char endpoint[256];    /* that answered, or was tried last */
};

/* method: "/coterie.v1.KeyValue/Get". The response is unpacked into `arena`; NULL when the status is not
 * OK. Retries over endpoints only where nothing was sent, or the code is UNAVAILABLE and `idempotent`. */
ProtobufCMessage *rpc_client_call(struct rpc_client *client, const char *method,
                                  const ProtobufCMessage *request,
                                  const ProtobufCMessageDescriptor *response, uint32_t deadline_ms,
                                  bool idempotent, struct arena *arena,
                                  struct rpc_client_status *ret_status);

/* -- many at once, for the bench -------------------------------------------------------------- */

struct rpc_flight; /* one completion queue and its channels; one thread at a time */

struct rpc_flight *rpc_flight_new(const char *endpoint, uint32_t connections);
/* Starts a call whose answer will be given by rpc_flight_next. `request` is packed at once. */
void rpc_flight_start(struct rpc_flight *flight, const char *method,
                      const ProtobufCMessage *request, uint32_t deadline_ms, void *tag);
struct rpc_flight_result {
    void *tag;
    grpc_status_code code;
    struct bytes response; /* raw, valid until the next call of rpc_flight_next */
};
/* False: timed out. */
bool rpc_flight_next(struct rpc_flight *flight, uint32_t timeout_ms,
                     struct rpc_flight_result *ret_result);
uint32_t rpc_flight_outstanding(const struct rpc_flight *flight);
/* Nothing is outstanding. */
void rpc_flight_free(struct rpc_flight *flight);

#endif
