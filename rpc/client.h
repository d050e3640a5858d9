/* client.h -- a client of the public API, for the command line and the bench.
 *
 * Calls over a list of endpoints with their full status: blocking (rpc_client_call), or several at
 * once (rpc_client_start, rpc_client_next). A call is sent only over a connection that stands, so
 * an endpoint that cannot be reached never costs an unknown outcome: the next one in the list is
 * tried, and the one that answered is asked first from then on. Flights are for the bench: one
 * endpoint, raw answers, the least work per call.
 *
 * Threads: none. A client, and a flight, is used by one thread at a time.
 * Memory:  the requests that are outstanding, bounded by RPC_CLIENT_CALLS_MAX and
 * RPC_FLIGHT_CALLS_MAX.
 */
#ifndef RPC_CLIENT_H
#define RPC_CLIENT_H

#include "base/arena.h"
#include "base/err.h"

#include <grpc/grpc.h>
#include <protobuf-c/protobuf-c.h>

#define RPC_CLIENT_ENDPOINTS_MAX   32u
#define RPC_CLIENT_ENDPOINT_BYTES  272u /* a host name, brackets, a port */
#define RPC_CLIENT_CALLS_MAX       256u
#define RPC_CLIENT_PORT_DEFAULT    7700u
#define RPC_FLIGHT_CALLS_MAX       900u /* gRPC scans the outstanding tags at each completion */
#define RPC_FLIGHT_METHODS_MAX     8u
#define RPC_FLIGHT_CONNECTIONS_MAX 64u

struct rpc_client;

/* `endpoints`: "host:port,host:port"; no port means 7700; IPv6 literals in brackets. INVALID with a
 * sentence in `why`. Nothing is connected yet. */
enum err rpc_client_new(const char *endpoints, struct rpc_client **ret_client, char *why,
                        size_t why_size) MUST_USE;
/* Cancels what is outstanding. */
void rpc_client_free(struct rpc_client *client);

struct rpc_client_status {
    grpc_status_code code;
    char message[512];
    char reason[64]; /* ErrorInfo.reason; NOT_CONNECTED when no endpoint was reached; or empty */
    /* For writes: ErrorInfo.metadata["outcome"], or what follows from how far the call came; empty
     * when OK or when the server said nothing of it with a code of its own. */
    char outcome[16];
    char missing[256]; /* ErrorInfo.metadata["missing"]: nodes that did not answer, or empty */
    char acknowledged[16];
    char needed[16];
    char field[64];                           /* BadRequest: the first field named, or empty */
    char violation[256];                      /* what is wrong with it */
    uint64_t retry_after_ms;                  /* RetryInfo; 0: none */
    char endpoint[RPC_CLIENT_ENDPOINT_BYTES]; /* that answered, or was tried last */
};

/* method: "/coterie.v1.KeyValue/Get". The response is unpacked into `arena`; NULL when the status
 * is not OK. The next endpoint is tried where nothing was sent, where the code is UNAVAILABLE and
 * the call is `idempotent`, or where the server says NOT_APPLIED with UNAVAILABLE; each endpoint at
 * most once. Nothing else is outstanding. */
ProtobufCMessage *rpc_client_call(struct rpc_client *client, const char *method,
                                  const ProtobufCMessage *request,
                                  const ProtobufCMessageDescriptor *response, uint32_t deadline_ms,
                                  bool idempotent, struct arena *arena,
                                  struct rpc_client_status *ret_status);

/* -- several at once ---------------------------------------------------------------------- */

/* At most RPC_CLIENT_CALLS_MAX are outstanding. The request is packed at once; `method` and
 * `response` live for ever. */
void rpc_client_start(struct rpc_client *client, const char *method,
                      const ProtobufCMessage *request, const ProtobufCMessageDescriptor *response,
                      uint32_t deadline_ms, bool idempotent, void *tag);
struct rpc_client_answer {
    void *tag;
    ProtobufCMessage *response; /* in the caller's arena; NULL when the status is not OK */
    struct rpc_client_status status;
};
/* False: nothing ended within timeout_ms. */
bool rpc_client_next(struct rpc_client *client, uint32_t timeout_ms, struct arena *arena,
                     struct rpc_client_answer *ret_answer);
uint32_t rpc_client_outstanding(const struct rpc_client *client);

/* -- many at once, for the bench ---------------------------------------------------------- */

struct rpc_flight; /* one completion queue and its channels; one thread at a time */

/* `endpoints`: as for rpc_client_new. The calls take turns over `connections` TCP connections, and
 * these over the endpoints. INVALID with a sentence in `why`, also when an endpoint would have
 * none. */
enum err rpc_flight_new(const char *endpoints, uint32_t connections, struct rpc_flight **ret_flight,
                        char *why, size_t why_size) MUST_USE;
/* Starts a call whose answer will be given by rpc_flight_next. `request` is packed at once;
 * `method` lives for ever. At most RPC_FLIGHT_CALLS_MAX are outstanding. */
void rpc_flight_start(struct rpc_flight *flight, const char *method,
                      const ProtobufCMessage *request, uint32_t deadline_ms, void *tag);
struct rpc_flight_result {
    void *tag;
    grpc_status_code code;
    struct bytes response; /* raw, valid until the next call of rpc_flight_next */
    char message[200];     /* of a failure */
};
/* False: timed out. */
bool rpc_flight_next(struct rpc_flight *flight, uint32_t timeout_ms,
                     struct rpc_flight_result *ret_result);
uint32_t rpc_flight_outstanding(const struct rpc_flight *flight);
/* Nothing is outstanding. */
void rpc_flight_free(struct rpc_flight *flight);

#endif
