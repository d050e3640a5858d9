/* peer_link.h -- what the parts of the peer port share (internal to it): peers.c has the table of
 * links, peer_identity.c knows who may be behind one, peer_link.c sends to one peer, over one
 * stream at a time (peer_attempt.h), peer_serve.c receives from all.
 *
 * Locks: rpc_peers.lock may be taken while a link's lock is held, never the other way round. Frames
 * are given to gRPC with no lock held (it may write to the socket at once): the busy flag `sending`
 * keeps sends one at a time, the tag count keeps the call alive.
 */
#ifndef RPC_PEER_LINK_H
#define RPC_PEER_LINK_H

#include "base/prng.h"
#include "model/topology.h"
#include "rpc/peer_queue.h"
#include "rpc/peers.h"

#include <pthread.h>

#define PEER_METHOD               "/coterie.internal.v1.Peer/Link"
#define PEER_KEEPALIVE_MS         10000
#define PEER_KEEPALIVE_TIMEOUT_MS 5000
#define PEER_WHY_BYTES            256u
#define PEER_TARGET_BYTES         (ADDRESS_MAX + 64u)

struct attempt;

/* A stream that waits for its member's row; part of the stream, whose tag the event is. */
struct row_wait {
    struct row_wait *next;
    uint64_t sequence;
    grpc_call *call;
    struct rpc_event *event;
};

/* What becomes of a hello. */
struct admission {
    struct link *link; /* admitted: it counts as a stream of the member; NULL: why says why not */
    bool waits;        /* the event comes when its row is durable */
    struct incarnation_answer answer; /* PROCEED also where a hello never came to be judged */
    char why[PEER_WHY_BYTES];
};

/*
 *            open            hello answered
 *     IDLE ---------> OPENING ------------> UP
 *      ^ |               | refused,          | broken, stalled,
 *      | | close         | broken            | close
 *      | |               v                   |
 *      | |    all tags  ENDING <-------------+
 *      +-|--------------+  |
 *        v                 | all tags, closing
 *      CLOSED <------------+
 */
enum link_state { LINK_IDLE, LINK_OPENING, LINK_UP, LINK_ENDING, LINK_CLOSED, LINK_STATE_COUNT };

struct link {
    struct rpc_peers *peers;
    /* Another one only when its link is closed and nobody is left of it: under both locks. */
    _Atomic uint32_t member;

    /* Who this member is. All streams that are up are of this incarnation. Under peers->lock. */
    struct incarnation row;
    bool row_loaded;
    uint64_t row_sequence; /* of the store; not used before it is durable */
    uint32_t streams_up;
    uint32_t streams_served;
    uint64_t rival_nonce;    /* another process that says it is this member */
    uint64_t rival_since_ns; /* its hello came, or came again; 0: none */
    uint64_t answered_ns;    /* when that was asked which the recorded incarnation answered last */

    pthread_mutex_t lock; /* all below but the figures */
    enum link_state state;
    _Atomic bool closing;          /* read without the lock by who admits streams */
    bool announced;                /* what the gossip actor was last told */
    bool told;                     /* it was told anything */
    char address[ADDRESS_MAX + 1]; /* in use */
    char listed[ADDRESS_MAX + 1];  /* the topology's */
    char said[ADDRESS_MAX + 1];    /* the member's own word, used instead of the one below */
    char said_instead_of[ADDRESS_MAX + 1];
    char target[PEER_TARGET_BYTES];
    bool target_changed;
    grpc_completion_queue *queue;
    grpc_channel *channel;
    struct attempt *attempt; /* NULL in IDLE and CLOSED */
    uint64_t retry_at_ns;
    uint64_t opened_at_ns;
    uint64_t probed_ns; /* a question whether it still answers is on its way; 0: none */
    bool called_back; /* OPENING: the peer has called meanwhile, an earlier failure says nothing */
    uint64_t up_since_ns;
    uint32_t failures; /* attempts in a row that did not come up */
    struct peer_queue queued;
    uint64_t queued_since_ns; /* since when it is not empty */
    uint64_t queue_bytes;     /* frames in the queue and in flight */

    struct {
        _Atomic uint64_t messages_sent;
        _Atomic uint64_t messages_received;
        _Atomic uint64_t messages_dropped;
        _Atomic uint64_t frames_sent;
        _Atomic uint64_t bytes_sent;
        _Atomic uint64_t bytes_received;
        _Atomic uint64_t ups;
    } figures;
};

struct incoming;

struct rpc_peers {
    struct rpc_peers_options options;
    char address[ADDRESS_MAX + 1];
    int port;
    grpc_server *server;
    void *method;
    struct rpc_tick tick;
    struct rpc_event on_shutdown;

    /* Links are only added, never taken away before rpc_peers_free; that of a member that was
     * removed becomes another one's. */
    struct link *links[MEMBERS_MAX];
    _Atomic uint32_t link_count;
    pthread_mutex_t connecting; /* taken before all others */

    pthread_mutex_t lock;
    pthread_cond_t idle;     /* live has become 0 */
    struct peer_hello hello; /* its generation is the one that this life began with (identity.h) */
    uint64_t generation;  /* raised since; only who has taken this life for what it is hears it */
    uint64_t raise_at_ns; /* when it is raised again */
    bool life_accepted;   /* by a peer: it goes up from then on (boot_raise_generation) */
    uint64_t raised;      /* to what; said when it is durable. 0: said */
    uint64_t raised_sequence;
    /* Of the topology: numbers from here on are not known yet, those below that are not listed were
     * removed. */
    uint32_t number_next;
    uint32_t listed_count;
    uint32_t listed[MEMBERS_MAX];
    struct row_wait *waits;
    struct prng prng;
    struct incoming *incoming; /* those with a call */
    uint32_t incoming_count;
    uint32_t live; /* objects that gRPC holds tags of */
    bool armed;
    bool closing;
    bool drained;
    struct {
        uint64_t hash;
        uint64_t at_ns;
    } logged[16]; /* causes of the last minute */

    _Atomic uint64_t accepted;
    _Atomic uint64_t refused;
    _Atomic uint64_t malformed;
    _Atomic uint64_t raises;
    _Atomic uint64_t verdicts[IDENTITY_VERDICTS];
    _Atomic bool told;
};

/* -- peers.c
 * ------------------------------------------------------------------------------------------ */

/* NULL: no such member. */
struct link *peers_link(struct rpc_peers *peers, uint32_t member);
/* Counts a refusal, writes it to the log once a minute for each cause, tells the host. */
void peers_refuse(struct rpc_peers *peers, uint32_t member, const char *direction, const char *why);
/* At most once a minute for each cause. */
bool peers_may_log(struct rpc_peers *peers, uint64_t cause);
/* What this node says to `to_member`. */
struct peer_hello peers_hello(struct rpc_peers *peers, uint32_t to_member);
/* On a stream that is open. */
struct peer_hello peers_hello_again(struct rpc_peers *peers, uint32_t to_member);
/* Objects with tags in gRPC: drain waits for the last of them. */
void peers_live_add(struct rpc_peers *peers);
void peers_live_drop(struct rpc_peers *peers);
/* Uniform in [ms / 2, ms], as nanoseconds. */
uint64_t peers_jitter_ns(struct rpc_peers *peers, uint64_t ms);
/* The bytes of a received buffer: borrowed from it when they lie in one piece, else in *ret_copy,
 * to be unreffed. CORRUPT: cannot be decompressed. */
enum err peers_buffer_bytes(grpc_byte_buffer *buffer, grpc_slice *ret_copy,
                            struct bytes *ret_bytes) MUST_USE;
grpc_byte_buffer *peers_hello_buffer(const struct peer_hello *hello);

/* -- peer_identity.c
 * ------------------------------------------------------------------------------------ */

/* Judges a hello. `expected` is whom this node called, MEMBER_NONE when it was called. When the
 * admission waits, `wait` is in use until its event has come, and the caller owns one tag more. */
void peers_admit(struct rpc_peers *peers, const struct peer_hello *theirs, uint32_t expected,
                 struct row_wait *wait, struct admission *ret_admission);
/* Whether what the event was for has come: not when the port is being closed. */
bool peers_recorded(struct rpc_peers *peers, const struct link *link);
void peers_leave(struct rpc_peers *peers, struct link *link, bool serving);
/* Another hello on a stream that is open, of the process that opened it: its generation may have
 * been raised since. */
void peers_heard(struct rpc_peers *peers, struct link *link, const struct peer_hello *theirs);
/* The member has answered what was asked then. */
void peers_answered(struct rpc_peers *peers, struct link *link, const struct peer_hello *theirs,
                    uint64_t asked_ns);
/* A peer has taken this life of the node for what it says to be, durably. */
void peers_accepted(struct rpc_peers *peers);
/* What `member` makes of this node. */
void peers_told(struct rpc_peers *peers, uint32_t member, const struct incarnation_answer *answer);

/* -- peer_link.c
 * --------------------------------------------------------------------------------------- */

struct link *peer_link_new(struct rpc_peers *peers, uint32_t member, grpc_completion_queue *queue);
/* Where the peer is. A change takes effect with the next stream, which starts now. */
void peer_link_set_address(struct link *link, const char *address);
/* Where it says that it is, in a hello that was admitted: counts for as long as the topology says
 * what it says now. Without this a member that has moved could not have that decided: no answer
 * would reach it. */
void peer_link_hear_address(struct link *link, const char *address);
/* Appends to the queue; false: dropped. Does not send. */
bool peer_link_append(struct link *link, const struct message *message, uint64_t now_ns);
/* Sends what is queued if nothing is on its way. */
void peer_link_flush(struct link *link);
void peer_link_tick(struct link *link, uint64_t now_ns);
/* No new stream from here; the one that is open is cancelled. */
void peer_link_close(struct link *link);
bool peer_link_is_empty(struct link *link);
/* The peer has just shown that it is there: connects now instead of after the back-off. */
void peer_link_poke(struct link *link);
/* Says hello again, with the generation as it is now, where the link is up. */
void peer_link_say(struct link *link);
/* Asks the other side whether it still answers; the answer goes to peers_answered. */
void peer_link_probe(struct link *link);
/* Up, or an attempt has failed. */
bool peer_link_settled(struct link *link);
/* The link of a removed member becomes that of another one. False: something is left of it. */
bool peer_link_reuse(struct link *link, uint32_t member);
/* Closed, all tags back. */
void peer_link_free(struct link *link);

/* -- peer_serve.c
 * -------------------------------------------------------------------------------------- */

/* On every queue: slots for streams, and for methods that do not exist. */
void peer_serve_arm(struct rpc_peers *peers);
/* Ends streams whose hello does not come. */
void peer_serve_tick(struct rpc_peers *peers, uint64_t now_ns);
/* Cancels the streams of a member but for one (the newest is the one that lives) or, NULL, all.
 * Under peers->lock. */
void peer_serve_end(struct rpc_peers *peers, const struct link *link, const struct incoming *except,
                    const char *why);

#endif
