/* edge.h -- calls in flight on the client port (internal to it).
 *
 * Owns:      a fixed pool of calls. As many of each method as it wants are armed, that is, ready to
 *            take the next request; taking one arms another. With the pool empty a call arms itself
 *            again when it is done, so no method is deaf for longer than its calls take.
 * Admission: requests that go to actors take credits (one an item), at most requests_max over all;
 *            a request without credits is answered RESOURCE_EXHAUSTED at once.
 * Handles:   an answer finds its call by index and generation. The generation changes when the call
 *            is done, so a late answer finds nothing (counted).
 * Threads:   a new call is handled on its queue's thread; answers may come on any thread, at the
 *            same time as the call's end. `lock` guards a call's state; whoever moves it to
 *            ANSWERING owns it until it has started the answer's batch.
 *
 * A client that goes away is noticed when its answer is sent: the coordinator answers by the
 * deadline in any case, until then the call keeps its credits, so that who cancels and asks again
 * gets no more than its share. Asking for word of the end on arrival would cost a batch and an
 * event a call.
 *
 *              request                wait            last answer
 *      ARMED ----------> HANDLING ------------> WAITING --------+
 *        ^                  | reply at once                     v
 *        |                  +-----------------------------> ANSWERING
 *        +------------- (pool) <----------------------------- sent
 */
#ifndef RPC_EDGE_H
#define RPC_EDGE_H

#include "rpc/batch.h"
#include "rpc/decode.h"
#include "rpc/server.h"

#include <pthread.h>

struct call;
struct edge;

enum call_state {
    CALL_POOLED,
    CALL_ARMED,
    CALL_HANDLING,
    CALL_WAITING,
    CALL_ANSWERING,
};

struct method {
    const char *path; /* "/coterie.v1.KeyValue/Get"; NULL: whatever no other method takes */
    enum rpc_operation operation;
    uint32_t armed_count; /* on each queue */
    bool write;           /* an answer that never comes leaves its outcome unknown */
    /* Replies, fails, or waits and posts. The payload is borrowed for the call. */
    void (*handle)(struct call *call, struct bytes payload);
    /* One answer to a call that waits without a batch; consumes it; replies or fails. */
    void (*answer)(struct call *call, struct message *answer);
    /* All answers of a batch are in. */
    void (*batch_answer)(struct call *call);
};

struct call {
    struct rpc_event on_new;
    struct rpc_event on_answer;
    struct edge *edge;
    const struct method *method;
    void *registered;
    uint32_t index;
    uint32_t queue;
    struct call *next; /* in the pool */

    pthread_mutex_t lock;
    _Atomic enum call_state state; /* changes under the lock once others know of the call */
    uint64_t generation;
    uint32_t expected; /* answers still to come */
    uint32_t credits;
    bool rearm;
    bool overdue; /* the client does not take the answer: cancelled */

    grpc_call *call;
    gpr_timespec deadline;
    grpc_metadata_array metadata;
    grpc_call_details details; /* unknown methods only */
    grpc_byte_buffer *payload;
    int cancelled;
    uint64_t arrived_ns;
    uint64_t deadline_ns; /* when the coordinator must have answered; monotonic */

    bool lww;                   /* of the request's keyspace */
    bool consistent;            /* the same */
    struct context_scope scope; /* of a single request: which context its answer gives */
    struct batch *batch;
    grpc_byte_buffer *response;
    grpc_slice status_message;
    grpc_metadata trailer;
};

struct edge_queue {
    grpc_completion_queue *queue;
    pthread_mutex_t lock; /* the pool */
    struct call *pool;
    uint32_t next_coordinator; /* the queue's thread only */
};

struct operation_figures {
    _Atomic uint64_t requests;
    _Atomic uint64_t codes[RPC_CODES];
    _Atomic uint64_t latency[RPC_LATENCY_BUCKETS];
    _Atomic uint64_t latency_ns_total;
};

struct edge {
    const struct rpc_server_options *options;
    grpc_server *server;
    uint32_t queue_count;
    struct edge_queue *queues;
    uint32_t call_count;
    uint32_t armed_count; /* over all methods and queues */
    struct call *calls;
    uint64_t started_ns;
    _Atomic bool serving; /* what health says */
    _Atomic bool closed;  /* not yet open for data */
    _Atomic bool closing;
    _Atomic uint32_t live; /* calls outside the pool */
    _Atomic uint64_t in_flight;
    _Atomic uint64_t refused;
    _Atomic uint64_t late; /* answers whose call was over */
    _Atomic uint64_t lost; /* calls whose answer did not come in time */
    struct operation_figures figures[RPC_OPERATION_COUNT];
};

/* The pool is for these methods, over all queues of the loop. */
void edge_init(struct edge *edge, const struct rpc_server_options *options, grpc_server *server,
               const struct method *methods, size_t method_count);
/* The server has started. `registered` as methods. */
void edge_arm(struct edge *edge, const struct method *methods, void *const *registered,
              size_t method_count);
/* Gives up calls whose answer is overdue by `late_ns` (all that wait when 0). */
void edge_sweep(struct edge *edge, uint64_t late_ns);
/* No call is live. */
void edge_deinit(struct edge *edge);
/* Consumes one answer from an actor. */
void edge_deliver(struct edge *edge, struct message *answer);
/* The queue (index) of the call that an answer is for. */
uint32_t edge_queue_of(const struct edge *edge, const struct message *answer);
void edge_figures(const struct edge *edge, enum rpc_operation operation,
                  struct rpc_operation_figures *ret);
void edge_count(struct edge *edge, enum rpc_operation operation, grpc_status_code code,
                uint64_t arrived_ns);

/* -- for services -------------------------------------------------------------------------------
 */

/* Says in a message from whom it comes, which actor of this node it goes to, with which handle (its
 * id, and its `client` where it has one), by when and in which epoch. Of coordinators they have
 * their turn: those of the numbers that the queue's own number leads to. With as many as there are
 * queues each has its own, on its own thread. */
void call_address(struct call *call, const struct view *view, uint32_t item, enum actor_kind to,
                  struct message *message);

/* Exactly one of these ends a call's handling. */
void call_reply(struct call *call, const ProtobufCMessage *response);
/* `response` is consumed. */
void call_reply_buffer(struct call *call, grpc_byte_buffer *response);
void call_fail(struct call *call, const struct status *status);
/* Takes `credits` and posts a list of messages (by `next`), each of which is answered once, as
 * `done_kind`: one that is refused as OVERLOADED, at once. Without credits nothing is posted and
 * the client told so; of an empty list the batch is answered at once. Consumes list and batch. The
 * call may have ended: touch nothing of it any more. */
void call_ask(struct call *call, uint32_t credits, struct message *list,
              enum message_kind done_kind, struct batch *batch);
/* In batch_answer: one more question, whose answer goes to `answer`; the batch is over. Otherwise
 * as call_ask. */
void call_ask_again(struct call *call, struct message *message, enum message_kind done_kind);

grpc_byte_buffer *buffer_of_message(const ProtobufCMessage *message);

#endif
