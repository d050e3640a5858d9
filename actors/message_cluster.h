/* message_cluster.h -- bodies of messages about the cluster (message.h): who is up, which keyspaces
 * there are, the topology log and how far a change has come.
 */
#ifndef ACTORS_MESSAGE_CLUSTER_H
#define ACTORS_MESSAGE_CLUSTER_H

#include "base/bytes.h"
#include "base/err.h"
#include "model/keyspace.h"
#include "model/register.h"
#include "model/topology_change.h"

struct view;
/* -- gossip
 * ------------------------------------------------------------------------------------------- */

struct gossip_heartbeat {
    uint32_t member;
    uint64_t generation; /* durable counter of starts, not a time */
    uint64_t heartbeat;
};

/* Push-pull: the reply is the receiver's own digest. */
struct gossip_digest {
    uint64_t topology_epoch;
    uint64_t keyspaces_digest;
    uint64_t topology_digest; /* of that epoch's document (model/topology.h); 0: not said */
    uint32_t heartbeat_count;
    struct gossip_heartbeat *heartbeats;
};

struct gossip_digest_reply {
    struct gossip_digest digest;
};

/* The whole keyspace map (it is small), sent when digests differ; merged, made durable, answered.
 */
struct gossip_keyspaces {
    struct bytes map; /* keyspace_map_encode */
};

struct gossip_keyspaces_reply {
    enum err status;
    uint64_t keyspaces_digest; /* of the receiver, after the merge */
};

enum keyspace_operation { KEYSPACE_CREATE, KEYSPACE_DROP };

struct keyspace_change {
    uint64_t client;
    enum keyspace_operation operation;
    struct keyspace keyspace; /* for a drop only the name counts */
};

struct keyspace_change_done {
    uint64_t client;
    enum err status;
    const char *why;
    struct keyspace keyspace;
    uint32_t known_by; /* nodes that have it, this one included */
    uint32_t nodes;    /* nodes in the cluster */
};

/* To the host: this view replaces the one before. The view is counted (view.h); the message holds
 * one reference. */
struct view_publish {
    struct view *view;
};

/* -- the topology log (gossip_log.h)
 * -------------------------------------------------------------------------------
 *
 * Epoch e + 1 is one register: decided by a majority of the voters that the document of epoch e
 * names. Whoever has a newer document than the one asked about answers STALE_EPOCH and sends it. */

/* Answered when it is durable there and in force, or was known already. */
struct topology_document {
    struct bytes document; /* topology_encode */
};

struct topology_document_reply {
    enum err status;
    uint64_t epoch; /* in force at the receiver */
};

/* Answered with a topology_document. */
struct topology_fetch {
    uint64_t epoch; /* that the asker has */
};

struct topology_prepare {
    uint64_t epoch; /* to be decided */
    struct ballot ballot;
};

struct topology_prepare_reply {
    enum err status; /* STALE_EPOCH; UNAVAILABLE: this member does not know the epoch before yet */
    bool agreed;
    struct ballot conflict;
    struct ballot accepted;
    struct bytes value; /* a document, of `accepted` */
};

struct topology_accept {
    uint64_t epoch;
    struct ballot ballot;
    struct bytes value;
};

struct topology_accept_reply {
    enum err status;
    bool agreed;
    struct ballot conflict;
};

/* Any actor to its gossip: `member` has a newer document than this node. */
struct topology_behind {
    uint32_t member;
    uint64_t epoch;
};

struct client_topology {
    uint64_t client;
    struct topology_operation operation;
};

struct client_topology_done {
    uint64_t client;
    enum err
        status; /* as topology_operate; UNAVAILABLE, TIMEOUT: it may still be decided (`unknown`) */
    const char *why;
    bool unknown;
    uint64_t epoch;  /* of the document that says so */
    uint32_t number; /* of a join: the new member */
    struct bytes document;
};

/* To the anti-entropy actor of a member: what its vnodes hold, and how far a change has come there.
 */
struct vnode_report {
    bool sizes; /* of partitions as well */
};

struct vnode_report_reply {
    enum err status;
    uint64_t epoch;      /* in force there */
    uint64_t change;     /* topology_change_name of what `filled` is about */
    struct bytes filled; /* bit by partition: what topology_need asks of this member is done */
    uint32_t gains;      /* vnodes that it gains by the change */
    uint32_t gains_filled;
    uint64_t bytes_copied;     /* by them so far */
    uint64_t bytes_per_second; /* lately */
    uint64_t free_bytes;       /* of the disk */
    uint64_t hints;            /* kept for others: a leaving member stays while there are any */
    struct bytes sizes; /* bytes by partition, big-endian u64 each; empty when not asked for */
    /* keyspace_map_digest of the map that `filled` is about: what a change gives depends on it */
    uint64_t keyspaces_digest;
    struct bytes waits; /* waits_encode: for what copies of this member wait (model/wait.h) */
};

/* The rpc layer to its gossip: ask every member for its report. */
struct client_reports {
    uint64_t client;
    bool sizes;
};

struct member_report {
    uint32_t member;
    struct vnode_report_reply report; /* status UNAVAILABLE: it did not answer */
};

struct client_reports_done {
    uint64_t client;
    enum err status;
    uint32_t count;
    struct member_report *reports; /* in the arena */
};

#endif
