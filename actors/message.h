/* message.h -- everything that actors say to each other: one closed tagged union.
 *
 * Requests are verbs; answers are the same name + `_reply` (may cross nodes) or `_done` (local).
 * A message has one owner and one arena; every pointer in it points into its arena. Who receives it
 * consumes it: handle() and outbox_send() take ownership on every path. A message to another node
 * is the same message to an id whose node part is not ours (rpc/peer_codec.c makes it bytes).
 * Deadlines are absolute (monotonic) inside a node; the wire carries the milliseconds left.
 *
 * Here: who speaks, the closed list of kinds, and what all messages have. The bodies, by what they
 * are about: message_key.h, message_range.h, message_cluster.h, message_maintenance.h.
 */
#ifndef ACTORS_MESSAGE_H
#define ACTORS_MESSAGE_H

#include "actors/message_cluster.h"
#include "actors/message_key.h"
#include "actors/message_maintenance.h"
#include "actors/message_range.h"
#include "base/arena.h"

enum actor_kind {
    ACTOR_EDGE, /* no actor: the rpc layer's calls; `client` tells which */
    ACTOR_COORDINATOR,
    ACTOR_REPLICA,
    ACTOR_GOSSIP,
    ACTOR_HINTED_HANDOFF,
    ACTOR_ANTI_ENTROPY,
    ACTOR_RUNTIME, /* no actor: takes view_publish */
    ACTOR_KIND_COUNT
};

struct actor_id {
    uint32_t node; /* member number */
    uint8_t kind;  /* enum actor_kind */
    uint8_t index; /* which coordinator, which replica shard */
};

/* X(kind, struct, crosses nodes) */
#define MESSAGE_TABLE(X)                                                                           \
    X(client_get, 0)                                                                               \
    X(client_get_done, 0)                                                                          \
    X(client_put, 0)                                                                               \
    X(client_put_done, 0)                                                                          \
    X(forward_put, 1)                                                                              \
    X(forward_put_reply, 1)                                                                        \
    X(replica_mint, 0)                                                                             \
    X(replica_mint_done, 0)                                                                        \
    X(replica_write, 1)                                                                            \
    X(replica_write_reply, 1)                                                                      \
    X(replica_read, 1)                                                                             \
    X(replica_read_reply, 1)                                                                       \
    X(store_committed, 0)                                                                          \
    X(peer_link, 0)                                                                                \
    X(gossip_digest, 1)                                                                            \
    X(gossip_digest_reply, 1)                                                                      \
    X(gossip_keyspaces, 1)                                                                         \
    X(gossip_keyspaces_reply, 1)                                                                   \
    X(keyspace_change, 0)                                                                          \
    X(keyspace_change_done, 0)                                                                     \
    X(view_publish, 0)                                                                             \
    X(hint_store, 1)                                                                               \
    X(hint_store_reply, 1)                                                                         \
    X(tree_roots, 1)                                                                               \
    X(tree_roots_reply, 1)                                                                         \
    X(tree_read, 1)                                                                                \
    X(tree_read_reply, 1)                                                                          \
    X(digest_read, 1)                                                                              \
    X(digest_read_reply, 1)                                                                        \
    X(record_fetch, 1)                                                                             \
    X(record_fetch_reply, 1)                                                                       \
    X(register_query, 1)                                                                           \
    X(register_query_reply, 1)                                                                     \
    X(register_prepare, 1)                                                                         \
    X(register_prepare_reply, 1)                                                                   \
    X(register_accept, 1)                                                                          \
    X(register_accept_reply, 1)                                                                    \
    X(reap_hints, 1)                                                                               \
    X(reap_hints_reply, 1)                                                                         \
    X(reap_seal, 1)                                                                                \
    X(reap_seal_reply, 1)                                                                          \
    X(reap_remove, 1)                                                                              \
    X(reap_remove_reply, 1)                                                                        \
    X(key_explain, 1)                                                                              \
    X(key_explain_reply, 1)                                                                        \
    X(reap_scan, 0)                                                                                \
    X(reap_scan_done, 0)                                                                           \
    X(vnode_doubt, 0)                                                                              \
    X(vnode_incomplete, 0)                                                                         \
    X(vnode_adopt, 0)                                                                              \
    X(vnode_adopt_done, 0)                                                                         \
    X(vnode_complete, 0)                                                                           \
    X(vnode_complete_done, 0)                                                                      \
    X(record_repair, 0)                                                                            \
    X(range_dirty, 0)                                                                              \
    X(client_maintenance, 0)                                                                       \
    X(client_maintenance_done, 0)                                                                  \
    X(client_explain, 0)                                                                           \
    X(client_explain_done, 0)                                                                      \
    X(topology_document, 1)                                                                        \
    X(topology_document_reply, 1)                                                                  \
    X(topology_fetch, 1)                                                                           \
    X(topology_prepare, 1)                                                                         \
    X(topology_prepare_reply, 1)                                                                   \
    X(topology_accept, 1)                                                                          \
    X(topology_accept_reply, 1)                                                                    \
    X(topology_behind, 0)                                                                          \
    X(client_topology, 0)                                                                          \
    X(client_topology_done, 0)                                                                     \
    X(vnode_report, 1)                                                                             \
    X(vnode_report_reply, 1)                                                                       \
    X(client_reports, 0)                                                                           \
    X(client_reports_done, 0)                                                                      \
    X(register_list, 1)                                                                            \
    X(register_list_reply, 1)                                                                      \
    X(register_settle, 0)                                                                          \
    X(register_settle_done, 0)

enum message_kind {
#define X(name, crosses) MESSAGE_##name,
    MESSAGE_TABLE(X)
#undef X
        MESSAGE_KIND_COUNT
};

/* -- from the host
 * ---------------------------------------------------------------------------------- */

struct store_committed {
    uint64_t sequence; /* of the receiving actor's store handle */
};

/* A peer's connection came up or went down. */
struct peer_link {
    uint32_t member;
    bool up;
};

/* -- the union
 * ----------------------------------------------------------------------------------------- */

#define MESSAGE_MAGIC 0x434d5347u /* "CMSG" */

struct message {
    uint32_t magic;
    enum message_kind kind;
    struct actor_id from;
    struct actor_id to;
    uint64_t id;          /* the request's number at `from`; an answer carries its request's */
    uint64_t deadline_ns; /* monotonic; 0 = none */
    uint64_t epoch;       /* topology epoch of the sender, in every message between nodes */
    struct message *next; /* in an outbox or a list: owner's use */
    struct arena arena;
    union {
#define X(name, crosses) struct name name;
        MESSAGE_TABLE(X)
#undef X
    };
};

/* A zeroed body; the arena starts with memory inside the same allocation (enough for small keys and
 * values), `size_hint` more bytes if the caller knows that they will be needed. */
struct message *message_new(enum message_kind kind, size_t size_hint);
/* NULL is fine. view_publish drops its reference. */
void message_free(struct message *message);
const char *message_kind_text(enum message_kind kind);
bool message_crosses_nodes(enum message_kind kind);
/* An answer to `request`: to its sender, same id, same deadline. */
struct message *message_new_reply(const struct message *request, enum message_kind kind,
                                  size_t size_hint);
/* What a request that was never sent (no link to its node) is answered with, as if from there:
 * UNAVAILABLE, and for a write NOT_APPLIED. NULL for messages that nobody waits for, and for a
 * write that was passed on: whoever waits is on another node. */
struct message *message_new_undelivered(const struct message *request);
/* Deep copies of the parts that requests are passed on with. */
void put_request_copy(struct arena *arena, const struct put_request *from, struct put_request *ret);
void put_result_copy(struct arena *arena, const struct put_result *from, struct put_result *ret);

#endif
