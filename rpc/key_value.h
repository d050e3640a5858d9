/* key_value.h -- what KeyValue's single and batch calls share (internal to the client port). */
#ifndef RPC_KEY_VALUE_H
#define RPC_KEY_VALUE_H

#include "coterie/v1/key_value.pb-c.h"
#include "rpc/edge.h"

/* Which keyspace, at which level: one for all items of a call. */
struct target {
    uint32_t keyspace_id;
    enum consistency level;
    uint32_t count;
    bool strict; /* writes */
    bool lww;
    bool consistent;
};

struct target_words {
    const char *keyspace;
    int consistency;
    uint32_t count;
    const char *count_field; /* "r" or "w" */
    bool strict;             /* writes */
    bool compare;            /* for consistent keyspaces alone */
};

/* One write as a client asks for it. */
struct write_words {
    struct bytes key;
    struct bytes value;
    struct bytes context;
    bool tombstone;
    bool has_ttl;
    uint64_t ttl_ms;
    struct bytes request_id; /* empty: none */
};

/* False with a status that names the field and the limit. */
bool target_find(const struct view *view, const struct target_words *words,
                 struct target *ret_target, struct status *ret_error) MUST_USE;
bool key_check(struct bytes key, struct status *ret_error) MUST_USE;
/* Fills message->client_put.request; it borrows all of `words`. The message's arena takes what
 * checking needs. */
bool put_request_fill(struct call *call, const struct target *target,
                      const struct write_words *words, struct message *message,
                      struct context_scope *ret_scope, struct status *ret_error) MUST_USE;
/* Which context an answer about `key` gives. */
struct context_scope call_context_scope(const struct call *call, const struct target *target,
                                        struct bytes key);

/* The message goes to its coordinator, whose answer is of `done_kind`; or, when it is not valid,
 * the status to the client. Consumes. */
void message_start(struct call *call, struct message *message, enum message_kind done_kind,
                   bool valid, const struct status *status);
/* What has come of it: the response, or where there is none the status. Consumes response and
 * answer. */
void message_end(struct call *call, struct message *answer, grpc_byte_buffer *response,
                 const struct status *status);

Coterie__V1__Acknowledgement *acknowledgement_new(struct arena *arena, const struct view *view,
                                                  const struct progress *progress);
/* Responses, in `arena`; names and values are borrowed from the view and the answer. */
Coterie__V1__GetResponse *get_response_new(const struct call *call,
                                           const struct context_scope *scope, struct arena *arena,
                                           const struct view *view,
                                           const struct client_get_done *done);
Coterie__V1__PutResponse *put_response_new(const struct call *call,
                                           const struct context_scope *scope, struct arena *arena,
                                           const struct view *view,
                                           const struct put_result *result);

#endif
