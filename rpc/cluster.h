/* cluster.h -- what Cluster's calls share (internal to the client port). */
#ifndef RPC_CLUSTER_H
#define RPC_CLUSTER_H

#include "coterie/v1/cluster.pb-c.h"
#include "rpc/service.h"

/* One request decoded in `arena`, and the view locked, until request_end. */
struct request {
    struct call *call;
    struct arena arena;
    const struct view *view;
    const ProtobufCMessage *message; /* NULL: answered already */
    uint8_t memory[2048];
};

/* False: answered already, nothing to end. */
bool request_begin(struct request *request, struct call *call, struct bytes payload,
                   const ProtobufCMessageDescriptor *descriptor) MUST_USE;
void request_end(struct request *request);

/* NULL with a status that names `field` (static text). */
const struct keyspace *keyspace_named(const struct view *view, const char *name, const char *field,
                                      struct status *ret_error);

Coterie__V1__Node__State node_state_of(enum member_status status);

/* How far it is proven that copies are the same; `list`: every pair of them. */
Coterie__V1__Convergence *convergence_new(struct request *request, bool list);

/* protobuf-c's strings are not const; packing only reads them. */
static inline char *text_of(const char *text)
{
    return (char *)(uintptr_t)text;
}

#endif
