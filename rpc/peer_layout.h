/* peer_layout.h -- where each field of peer.proto lives in our structs, and what it may hold.
 * Included by peer_codec.c alone.
 */
#ifndef RPC_PEER_LAYOUT_H
#define RPC_PEER_LAYOUT_H

#include "actors/message.h"
#include "model/hash.h"
#include "rpc/peer_codec.h"
#include "rpc/peer_wire.h"

#define RESULT_CONTEXT_MAX   (1024u * 1024)
#define LIST_BYTES_MAX       (PEER_MESSAGE_BYTES_MAX - 256u)
#define KEYSPACE_MAP_MAX     (1024u * 1024)
#define WAITS_BYTES_MAX      (16u * 1024)
#define TOPOLOGY_BYTES_MAX   (1024u * 1024)
#define RETRY_AFTER_MS_MAX   86400000u
#define VERSION_FLAGS_MAX    ((uint64_t)VERSION_TOMBSTONE)
#define REPLICA_POLICIES_MAX ((uint64_t)(POLICY_LWW | POLICY_PERIODIC))
#define STATUS_FIELD(owner)  FIELD(FIELD_U32, owner, status, 0, ERR_COUNT - 1)

static_assert(RECORD_BYTES_MAX + KEY_BYTES_MAX + 256u <= PEER_MESSAGE_BYTES_MAX,
              "a record travels");
static_assert(sizeof(enum err) == 4 && sizeof(enum outcome) == 4 && sizeof(enum consistency) == 4 &&
                  sizeof(enum write_reason) == 4,
              "enums are read as FIELD_U32");

static const struct field forward_put_fields[] = {
    FIELD(FIELD_U32, struct put_request, keyspace_id, 0, UINT32_MAX),
    FIELD(FIELD_BYTES, struct put_request, key, 1, KEY_BYTES_MAX),
    FIELD(FIELD_BYTES, struct put_request, value, 0, VALUE_BYTES_MAX_CEILING),
    FIELD(FIELD_U32, struct put_request, flags, 0, VERSION_FLAGS_MAX),
    FIELD(FIELD_U64, struct put_request, expires_at_ms, 0, UINT64_MAX),
    FIELD(FIELD_BOOL, struct put_request, has_context, 0, 1),
    FIELD(FIELD_BYTES, struct put_request, context, 0, CONTEXT_BYTES_MAX),
    FIELD(FIELD_U32, struct put_request, level, 0, CONSISTENCY_COUNT),
    FIELD(FIELD_U32, struct put_request, count, 0, UINT32_MAX),
    FIELD(FIELD_BOOL, struct put_request, strict, 0, 1),
    FIELD(FIELD_BYTES, struct put_request, request_id, 0, REQUEST_ID_BYTES),
};
static const struct layout forward_put_layout = FIELDS_OF(forward_put_fields);

static const struct field progress_fields[] = {
    FIELD(FIELD_U32, struct progress, acked, 0, UINT32_MAX),
    FIELD(FIELD_U32, struct progress, needed, 0, UINT32_MAX),
    FIELD_COUNTED(FIELD_MEMBERS, struct progress, acked_members, acked_count, REPLICAS_TOTAL_MAX,
                  NULL),
    FIELD_COUNTED(FIELD_MEMBERS, struct progress, missing_members, missing_count,
                  REPLICAS_TOTAL_MAX, NULL),
    FIELD_COUNTED(FIELD_MEMBERS, struct progress, fallback_members, fallback_count,
                  PROGRESS_FALLBACKS_MAX, NULL),
};
static const struct layout progress_layout = FIELDS_OF(progress_fields);

static const struct field put_result_fields[] = {
    STATUS_FIELD(struct put_result),
    FIELD(FIELD_U32, struct put_result, outcome, 0, OUTCOME_UNKNOWN),
    FIELD(FIELD_TEXT, struct put_result, why, 0, PEER_WHY_BYTES_MAX),
    FIELD_INNER(struct put_result, progress, &progress_layout),
    FIELD(FIELD_BYTES, struct put_result, context, 0, RESULT_CONTEXT_MAX),
    FIELD(FIELD_U32, struct put_result, sibling_count, 0, UINT32_MAX),
    FIELD(FIELD_U64, struct put_result, retry_after_ms, 0, RETRY_AFTER_MS_MAX),
    FIELD(FIELD_BOOL, struct put_result, disk_full, 0, 1),
};
static const struct layout put_result_layout = FIELDS_OF(put_result_fields);

static const struct field replica_write_fields[] = {
    FIELD(FIELD_U32, struct replica_write, keyspace_id, 0, UINT32_MAX),
    FIELD(FIELD_BYTES, struct replica_write, key, 1, KEY_BYTES_MAX),
    FIELD(FIELD_BYTES, struct replica_write, record, 0, RECORD_BYTES_MAX),
    FIELD(FIELD_U32, struct replica_write, policy, 0, REPLICA_POLICIES_MAX),
    FIELD(FIELD_U32, struct replica_write, partition, 0, PARTITIONS_MAX - 1),
    FIELD(FIELD_U32, struct replica_write, reason, 0, WRITE_ANTI_ENTROPY),
    FIELD(FIELD_U64, struct replica_write, floor, 0, UINT64_MAX),
    FIELD(FIELD_BYTES, struct replica_write, request_id, 0, REQUEST_ID_BYTES),
    FIELD(FIELD_BYTES, struct replica_write, request_context, 0, RESULT_CONTEXT_MAX),
    FIELD_COUNTED(FIELD_MEMBERS, struct replica_write, onward, onward_count, ONWARD_MAX, NULL),
    FIELD(FIELD_U32, struct replica_write, answer_to, 0, UINT32_MAX),
};
static const struct layout replica_write_layout = FIELDS_OF(replica_write_fields);

static const struct field replica_write_reply_fields[] = {
    STATUS_FIELD(struct replica_write_reply),
    FIELD(FIELD_U32, struct replica_write_reply, credit, 0, UINT32_MAX),
    FIELD(FIELD_BOOL, struct replica_write_reply, differs, 0, 1),
};
static const struct layout replica_write_reply_layout = FIELDS_OF(replica_write_reply_fields);

static const struct field replica_read_fields[] = {
    FIELD(FIELD_U32, struct replica_read, keyspace_id, 0, UINT32_MAX),
    FIELD(FIELD_BYTES, struct replica_read, key, 1, KEY_BYTES_MAX),
    FIELD(FIELD_U32, struct replica_read, partition, 0, PARTITIONS_MAX - 1),
    FIELD(FIELD_U32, struct replica_read, policy, 0, REPLICA_POLICIES_MAX),
};
static const struct layout replica_read_layout = FIELDS_OF(replica_read_fields);

static const struct field replica_read_reply_fields[] = {
    STATUS_FIELD(struct replica_read_reply),
    FIELD(FIELD_BYTES, struct replica_read_reply, record, 0, RECORD_BYTES_MAX),
    FIELD(FIELD_U64, struct replica_read_reply, floor, 0, UINT64_MAX),
};
static const struct layout replica_read_reply_layout = FIELDS_OF(replica_read_reply_fields);

static const struct field heartbeat_fields[] = {
    FIELD(FIELD_U32, struct gossip_heartbeat, member, 1, UINT32_MAX),
    FIELD(FIELD_U64, struct gossip_heartbeat, generation, 0, UINT64_MAX),
    FIELD(FIELD_U64, struct gossip_heartbeat, heartbeat, 0, UINT64_MAX),
};
static const struct layout heartbeat_layout = FIELDS_OF(heartbeat_fields);

static const struct field gossip_digest_fields[] = {
    FIELD(FIELD_U64, struct gossip_digest, topology_epoch, 0, UINT64_MAX),
    FIELD(FIELD_U64, struct gossip_digest, keyspaces_digest, 0, UINT64_MAX),
    FIELD_COUNTED(FIELD_HEARTBEATS, struct gossip_digest, heartbeats, heartbeat_count, MEMBERS_MAX,
                  &heartbeat_layout),
    FIELD(FIELD_U64, struct gossip_digest, topology_digest, 0, UINT64_MAX),
};
static const struct layout gossip_digest_layout = FIELDS_OF(gossip_digest_fields);

static const struct field gossip_keyspaces_fields[] = {
    FIELD(FIELD_BYTES, struct gossip_keyspaces, map, 0, KEYSPACE_MAP_MAX),
};
static const struct layout gossip_keyspaces_layout = FIELDS_OF(gossip_keyspaces_fields);

static const struct field gossip_keyspaces_reply_fields[] = {
    STATUS_FIELD(struct gossip_keyspaces_reply),
    FIELD(FIELD_U64, struct gossip_keyspaces_reply, keyspaces_digest, 0, UINT64_MAX),
};
static const struct layout gossip_keyspaces_reply_layout = FIELDS_OF(gossip_keyspaces_reply_fields);

static const struct field hint_store_fields[] = {
    FIELD(FIELD_U32, struct hint_store, target, 1, UINT32_MAX),
    FIELD_INNER(struct hint_store, write, &replica_write_layout),
};
static const struct layout hint_store_layout = FIELDS_OF(hint_store_fields);

static const struct field hint_store_reply_fields[] = {STATUS_FIELD(struct hint_store_reply)};
static const struct layout hint_store_reply_layout = FIELDS_OF(hint_store_reply_fields);

static const struct field tree_roots_fields[] = {
    FIELD(FIELD_U32, struct tree_roots, partition, 0, PARTITIONS_MAX - 1),
};
static const struct layout tree_roots_layout = FIELDS_OF(tree_roots_fields);

static const struct field tree_roots_reply_fields[] = {
    STATUS_FIELD(struct tree_roots_reply),
    FIELD(FIELD_BOOL, struct tree_roots_reply, complete, 0, 1),
    FIELD(FIELD_BYTES, struct tree_roots_reply, roots, 0, LIST_BYTES_MAX),
    FIELD(FIELD_BOOL, struct tree_roots_reply, bad_rows, 0, 1),
    FIELD(FIELD_BYTES, struct tree_roots_reply, bad_keyspaces, 0, LIST_BYTES_MAX),
    FIELD(FIELD_BOOL, struct tree_roots_reply, unfit, 0, 1),
};
static const struct layout tree_roots_reply_layout = FIELDS_OF(tree_roots_reply_fields);

static const struct field tree_read_fields[] = {
    FIELD(FIELD_U32, struct tree_read, partition, 0, PARTITIONS_MAX - 1),
    FIELD(FIELD_U32, struct tree_read, keyspace_id, 0, UINT32_MAX),
    FIELD(FIELD_U32, struct tree_read, level, 0, 64),
    FIELD(FIELD_U32, struct tree_read, fanout_bits, 0, 8),
    FIELD(FIELD_U64, struct tree_read, salt, 0, UINT64_MAX),
    FIELD(FIELD_BYTES, struct tree_read, nodes, 0, LIST_BYTES_MAX),
};
static const struct layout tree_read_layout = FIELDS_OF(tree_read_fields);

static const struct field tree_read_reply_fields[] = {
    STATUS_FIELD(struct tree_read_reply),
    FIELD(FIELD_U32, struct tree_read_reply, level, 0, 64),
    FIELD(FIELD_U32, struct tree_read_reply, depth, 0, 64),
    FIELD(FIELD_BYTES, struct tree_read_reply, hashes, 0, LIST_BYTES_MAX),
};
static const struct layout tree_read_reply_layout = FIELDS_OF(tree_read_reply_fields);

static const struct field digest_read_fields[] = {
    FIELD(FIELD_U32, struct digest_read, partition, 0, PARTITIONS_MAX - 1),
    FIELD(FIELD_U32, struct digest_read, keyspace_id, 0, UINT32_MAX),
    FIELD(FIELD_U32, struct digest_read, level, 0, 64),
    FIELD(FIELD_U64, struct digest_read, salt, 0, UINT64_MAX),
    FIELD(FIELD_BYTES, struct digest_read, nodes, 0, LIST_BYTES_MAX),
    FIELD(FIELD_U64, struct digest_read, from_hash, 0, UINT64_MAX),
};
static const struct layout digest_read_layout = FIELDS_OF(digest_read_fields);

static const struct field digest_read_reply_fields[] = {
    STATUS_FIELD(struct digest_read_reply),
    FIELD(FIELD_BOOL, struct digest_read_reply, more, 0, 1),
    FIELD(FIELD_U64, struct digest_read_reply, through_hash, 0, UINT64_MAX),
    FIELD(FIELD_BYTES, struct digest_read_reply, digests, 0, LIST_BYTES_MAX),
    FIELD(FIELD_BOOL, struct digest_read_reply, bad_rows, 0, 1),
};
static const struct layout digest_read_reply_layout = FIELDS_OF(digest_read_reply_fields);

static const struct field record_fetch_fields[] = {
    FIELD(FIELD_U32, struct record_fetch, partition, 0, PARTITIONS_MAX - 1),
    FIELD(FIELD_U32, struct record_fetch, keyspace_id, 0, UINT32_MAX),
    FIELD(FIELD_U32, struct record_fetch, level, 0, 64),
    FIELD(FIELD_BYTES, struct record_fetch, places, 0, LIST_BYTES_MAX),
};
static const struct layout record_fetch_layout = FIELDS_OF(record_fetch_fields);

static const struct field record_fetch_reply_fields[] = {
    STATUS_FIELD(struct record_fetch_reply),
    FIELD(FIELD_U32, struct record_fetch_reply, served, 0, UINT32_MAX),
    FIELD(FIELD_U64, struct record_fetch_reply, floor, 0, UINT64_MAX),
    FIELD(FIELD_BYTES, struct record_fetch_reply, records, 0, LIST_BYTES_MAX),
    FIELD(FIELD_BOOL, struct record_fetch_reply, bad_rows, 0, 1),
    FIELD(FIELD_BOOL, struct record_fetch_reply, incomplete, 0, 1),
};
static const struct layout record_fetch_reply_layout = FIELDS_OF(record_fetch_reply_fields);

static const struct field reap_hints_fields[] = {
    FIELD(FIELD_U32, struct reap_hints, partition, 0, PARTITIONS_MAX - 1),
    FIELD(FIELD_U32, struct reap_hints, keyspace_id, 0, UINT32_MAX),
};
static const struct layout reap_hints_layout = FIELDS_OF(reap_hints_fields);

static const struct field reap_hints_reply_fields[] = {
    STATUS_FIELD(struct reap_hints_reply),
};
static const struct layout reap_hints_reply_layout = FIELDS_OF(reap_hints_reply_fields);

static const struct field reap_seal_fields[] = {
    FIELD(FIELD_U32, struct reap_seal, partition, 0, PARTITIONS_MAX - 1),
    FIELD(FIELD_U32, struct reap_seal, keyspace_id, 0, UINT32_MAX),
    FIELD(FIELD_U64, struct reap_seal, floor, 0, UINT64_MAX),
    FIELD(FIELD_U64, struct reap_seal, older_than_ms, 0, UINT64_MAX),
    FIELD(FIELD_BYTES, struct reap_seal, digests, 0, LIST_BYTES_MAX),
    FIELD(FIELD_U64, struct reap_seal, reaped, 0, UINT64_MAX),
};
static const struct layout reap_seal_layout = FIELDS_OF(reap_seal_fields);

static const struct field reap_seal_reply_fields[] = {
    STATUS_FIELD(struct reap_seal_reply),
    FIELD(FIELD_U64, struct reap_seal_reply, floor, 0, UINT64_MAX),
    FIELD(FIELD_BYTES, struct reap_seal_reply, matched, 0, LIST_BYTES_MAX),
    FIELD(FIELD_U64, struct reap_seal_reply, reaped, 0, UINT64_MAX),
};
static const struct layout reap_seal_reply_layout = FIELDS_OF(reap_seal_reply_fields);

static const struct field reap_remove_fields[] = {
    FIELD(FIELD_U32, struct reap_remove, partition, 0, PARTITIONS_MAX - 1),
    FIELD(FIELD_U32, struct reap_remove, keyspace_id, 0, UINT32_MAX),
    FIELD(FIELD_U64, struct reap_remove, floor, 0, UINT64_MAX),
    FIELD(FIELD_BYTES, struct reap_remove, digests, 0, LIST_BYTES_MAX),
};
static const struct layout reap_remove_layout = FIELDS_OF(reap_remove_fields);

static const struct field reap_remove_reply_fields[] = {
    STATUS_FIELD(struct reap_remove_reply),
    FIELD(FIELD_U32, struct reap_remove_reply, removed, 0, UINT32_MAX),
};
static const struct layout reap_remove_reply_layout = FIELDS_OF(reap_remove_reply_fields);

static const struct field ballot_fields[] = {
    FIELD(FIELD_U64, struct ballot, counter, 0, UINT64_MAX / 2),
    FIELD(FIELD_U32, struct ballot, member, 0, UINT32_MAX),
    FIELD(FIELD_U64, struct ballot, incarnation, 0, UINT64_MAX),
};
static const struct layout ballot_layout = FIELDS_OF(ballot_fields);

static const struct field key_explain_fields[] = {
    FIELD(FIELD_U32, struct key_explain, partition, 0, PARTITIONS_MAX - 1),
    FIELD(FIELD_U32, struct key_explain, keyspace_id, 0, UINT32_MAX),
    FIELD(FIELD_BYTES, struct key_explain, key, 1, KEY_BYTES_MAX),
};
static const struct layout key_explain_layout = FIELDS_OF(key_explain_fields);

static const struct field key_explain_reply_fields[] = {
    STATUS_FIELD(struct key_explain_reply),
    FIELD(FIELD_BYTES, struct key_explain_reply, record, 0, RECORD_BYTES_MAX),
    FIELD(FIELD_BOOL, struct key_explain_reply, complete, 0, 1),
    FIELD(FIELD_U64, struct key_explain_reply, floor, 0, UINT64_MAX),
    FIELD(FIELD_U32, struct key_explain_reply, tree_depth, 0, UINT32_MAX),
    FIELD(FIELD_U64, struct key_explain_reply, leaf_index, 0, UINT64_MAX),
    FIELD(FIELD_U64, struct key_explain_reply, leaf_sum, 0, UINT64_MAX),
    FIELD(FIELD_U32, struct key_explain_reply, leaf_keys, 0, UINT32_MAX),
    FIELD(FIELD_U64, struct key_explain_reply, repaired_at_ms, 0, UINT64_MAX),
    FIELD(FIELD_U32, struct key_explain_reply, repaired_reason, 0, WRITE_REPAIR),
    FIELD_COUNTED(FIELD_MEMBERS, struct key_explain_reply, hint_members, hint_count,
                  EXPLAIN_HINTS_MAX, NULL),
    FIELD(FIELD_U64, struct key_explain_reply, hint_stored_at_ms, 0, UINT64_MAX),
    FIELD(FIELD_BOOL, struct key_explain_reply, mute, 0, 1),
    FIELD_INNER(struct key_explain_reply, promised, &ballot_layout),
    FIELD_INNER(struct key_explain_reply, accepted, &ballot_layout),
    FIELD(FIELD_BYTES, struct key_explain_reply, waits, 0, WAITS_BYTES_MAX),
};
static const struct layout key_explain_reply_layout = FIELDS_OF(key_explain_reply_fields);

static const struct field register_query_fields[] = {
    FIELD(FIELD_U32, struct register_query, keyspace_id, 0, UINT32_MAX),
    FIELD(FIELD_BYTES, struct register_query, key, 1, KEY_BYTES_MAX),
    FIELD(FIELD_U32, struct register_query, partition, 0, PARTITIONS_MAX - 1),
};
static const struct layout register_query_layout = FIELDS_OF(register_query_fields);

static const struct field register_query_reply_fields[] = {
    STATUS_FIELD(struct register_query_reply),
    FIELD_INNER(struct register_query_reply, promised, &ballot_layout),
    FIELD_INNER(struct register_query_reply, accepted, &ballot_layout),
    FIELD(FIELD_BYTES, struct register_query_reply, value, 0, REGISTER_VALUE_BYTES_MAX),
};
static const struct layout register_query_reply_layout = FIELDS_OF(register_query_reply_fields);

static const struct field register_prepare_fields[] = {
    FIELD(FIELD_U32, struct register_prepare, keyspace_id, 0, UINT32_MAX),
    FIELD(FIELD_BYTES, struct register_prepare, key, 1, KEY_BYTES_MAX),
    FIELD(FIELD_U32, struct register_prepare, partition, 0, PARTITIONS_MAX - 1),
    FIELD_INNER(struct register_prepare, ballot, &ballot_layout),
};
static const struct layout register_prepare_layout = FIELDS_OF(register_prepare_fields);

static const struct field register_prepare_reply_fields[] = {
    STATUS_FIELD(struct register_prepare_reply),
    FIELD(FIELD_BOOL, struct register_prepare_reply, agreed, 0, 1),
    FIELD_INNER(struct register_prepare_reply, conflict, &ballot_layout),
    FIELD_INNER(struct register_prepare_reply, accepted, &ballot_layout),
    FIELD(FIELD_BYTES, struct register_prepare_reply, value, 0, REGISTER_VALUE_BYTES_MAX),
};
static const struct layout register_prepare_reply_layout = FIELDS_OF(register_prepare_reply_fields);

static const struct field register_accept_fields[] = {
    FIELD(FIELD_U32, struct register_accept, keyspace_id, 0, UINT32_MAX),
    FIELD(FIELD_BYTES, struct register_accept, key, 1, KEY_BYTES_MAX),
    FIELD(FIELD_U32, struct register_accept, partition, 0, PARTITIONS_MAX - 1),
    FIELD_INNER(struct register_accept, ballot, &ballot_layout),
    FIELD(FIELD_BYTES, struct register_accept, value, 0, REGISTER_VALUE_BYTES_MAX),
};
static const struct layout register_accept_layout = FIELDS_OF(register_accept_fields);

static const struct field register_accept_reply_fields[] = {
    STATUS_FIELD(struct register_accept_reply),
    FIELD(FIELD_BOOL, struct register_accept_reply, agreed, 0, 1),
    FIELD_INNER(struct register_accept_reply, conflict, &ballot_layout),
};
static const struct layout register_accept_reply_layout = FIELDS_OF(register_accept_reply_fields);

static const struct field topology_document_fields[] = {
    FIELD(FIELD_BYTES, struct topology_document, document, 1, TOPOLOGY_BYTES_MAX),
};
static const struct layout topology_document_layout = FIELDS_OF(topology_document_fields);

static const struct field topology_document_reply_fields[] = {
    STATUS_FIELD(struct topology_document_reply),
    FIELD(FIELD_U64, struct topology_document_reply, epoch, 0, UINT64_MAX),
};
static const struct layout topology_document_reply_layout =
    FIELDS_OF(topology_document_reply_fields);

static const struct field topology_fetch_fields[] = {
    FIELD(FIELD_U64, struct topology_fetch, epoch, 0, UINT64_MAX),
};
static const struct layout topology_fetch_layout = FIELDS_OF(topology_fetch_fields);

static const struct field topology_prepare_fields[] = {
    FIELD(FIELD_U64, struct topology_prepare, epoch, 0, UINT64_MAX),
    FIELD_INNER(struct topology_prepare, ballot, &ballot_layout),
};
static const struct layout topology_prepare_layout = FIELDS_OF(topology_prepare_fields);

static const struct field topology_prepare_reply_fields[] = {
    STATUS_FIELD(struct topology_prepare_reply),
    FIELD(FIELD_BOOL, struct topology_prepare_reply, agreed, 0, 1),
    FIELD_INNER(struct topology_prepare_reply, conflict, &ballot_layout),
    FIELD_INNER(struct topology_prepare_reply, accepted, &ballot_layout),
    FIELD(FIELD_BYTES, struct topology_prepare_reply, value, 0, TOPOLOGY_BYTES_MAX),
};
static const struct layout topology_prepare_reply_layout = FIELDS_OF(topology_prepare_reply_fields);

static const struct field topology_accept_fields[] = {
    FIELD(FIELD_U64, struct topology_accept, epoch, 0, UINT64_MAX),
    FIELD_INNER(struct topology_accept, ballot, &ballot_layout),
    FIELD(FIELD_BYTES, struct topology_accept, value, 1, TOPOLOGY_BYTES_MAX),
};
static const struct layout topology_accept_layout = FIELDS_OF(topology_accept_fields);

static const struct field topology_accept_reply_fields[] = {
    STATUS_FIELD(struct topology_accept_reply),
    FIELD(FIELD_BOOL, struct topology_accept_reply, agreed, 0, 1),
    FIELD_INNER(struct topology_accept_reply, conflict, &ballot_layout),
};
static const struct layout topology_accept_reply_layout = FIELDS_OF(topology_accept_reply_fields);

static const struct field vnode_report_fields[] = {
    FIELD(FIELD_BOOL, struct vnode_report, sizes, 0, 1),
};
static const struct layout vnode_report_layout = FIELDS_OF(vnode_report_fields);

static const struct field vnode_report_reply_fields[] = {
    STATUS_FIELD(struct vnode_report_reply),
    FIELD(FIELD_U64, struct vnode_report_reply, epoch, 0, UINT64_MAX),
    FIELD(FIELD_U64, struct vnode_report_reply, change, 0, UINT64_MAX),
    FIELD(FIELD_BYTES, struct vnode_report_reply, filled, 0, PARTITIONS_MAX / 8),
    FIELD(FIELD_U32, struct vnode_report_reply, gains, 0, PARTITIONS_MAX),
    FIELD(FIELD_U32, struct vnode_report_reply, gains_filled, 0, PARTITIONS_MAX),
    FIELD(FIELD_U64, struct vnode_report_reply, bytes_copied, 0, UINT64_MAX),
    FIELD(FIELD_U64, struct vnode_report_reply, bytes_per_second, 0, UINT64_MAX),
    FIELD(FIELD_U64, struct vnode_report_reply, free_bytes, 0, UINT64_MAX),
    FIELD(FIELD_BYTES, struct vnode_report_reply, sizes, 0, 8 * PARTITIONS_MAX),
    FIELD(FIELD_U64, struct vnode_report_reply, hints, 0, UINT64_MAX),
    FIELD(FIELD_U64, struct vnode_report_reply, keyspaces_digest, 0, UINT64_MAX),
    FIELD(FIELD_BYTES, struct vnode_report_reply, waits, 0, WAITS_BYTES_MAX),
};
static const struct layout vnode_report_reply_layout = FIELDS_OF(vnode_report_reply_fields);

static const struct field register_list_fields[] = {
    FIELD(FIELD_U32, struct register_list, partition, 0, PARTITIONS_MAX - 1),
    FIELD(FIELD_U32, struct register_list, keyspace_id, 0, UINT32_MAX),
    FIELD(FIELD_BYTES, struct register_list, after, 0, STORAGE_KEY_BYTES_MAX),
};
static const struct layout register_list_layout = FIELDS_OF(register_list_fields);

static const struct field register_list_reply_fields[] = {
    STATUS_FIELD(struct register_list_reply),
    FIELD(FIELD_BOOL, struct register_list_reply, more, 0, 1),
    FIELD(FIELD_BYTES, struct register_list_reply, last, 0, STORAGE_KEY_BYTES_MAX),
    FIELD(FIELD_BYTES, struct register_list_reply, keys, 0, LIST_BYTES_MAX),
};
static const struct layout register_list_reply_layout = FIELDS_OF(register_list_reply_fields);

#define TO(kind)         (1u << ACTOR_##kind)
#define TO_REPLICA_ASKER (TO(COORDINATOR) | TO(HINTED_HANDOFF) | TO(ANTI_ENTROPY))

/* Each kind that crosses nodes: its number in PeerMessage.body, which actors may get it, and the
 * layout of its body. X(number, kind, to, layout) */
#define BODY_TABLE(X)                                                                              \
    X(10, forward_put, TO(COORDINATOR), forward_put)                                               \
    X(11, forward_put_reply, TO(COORDINATOR), put_result)                                          \
    X(12, replica_write, TO(REPLICA), replica_write)                                               \
    X(13, replica_write_reply, TO_REPLICA_ASKER, replica_write_reply)                              \
    X(14, replica_read, TO(REPLICA), replica_read)                                                 \
    X(15, replica_read_reply, TO_REPLICA_ASKER, replica_read_reply)                                \
    X(16, gossip_digest, TO(GOSSIP), gossip_digest)                                                \
    X(17, gossip_digest_reply, TO(GOSSIP), gossip_digest)                                          \
    X(18, gossip_keyspaces, TO(GOSSIP), gossip_keyspaces)                                          \
    X(19, gossip_keyspaces_reply, TO(GOSSIP), gossip_keyspaces_reply)                              \
    X(20, hint_store, TO(HINTED_HANDOFF), hint_store)                                              \
    X(21, hint_store_reply, TO(COORDINATOR) | TO(HINTED_HANDOFF), hint_store_reply)                \
    X(22, tree_roots, TO(REPLICA), tree_roots)                                                     \
    X(23, tree_roots_reply, TO(ANTI_ENTROPY), tree_roots_reply)                                    \
    X(24, tree_read, TO(REPLICA), tree_read)                                                       \
    X(25, tree_read_reply, TO(ANTI_ENTROPY), tree_read_reply)                                      \
    X(26, digest_read, TO(REPLICA), digest_read)                                                   \
    X(27, digest_read_reply, TO(ANTI_ENTROPY), digest_read_reply)                                  \
    X(28, record_fetch, TO(REPLICA), record_fetch)                                                 \
    X(29, record_fetch_reply, TO(ANTI_ENTROPY), record_fetch_reply)                                \
    X(30, reap_hints, TO(HINTED_HANDOFF), reap_hints)                                              \
    X(31, reap_hints_reply, TO(ANTI_ENTROPY), reap_hints_reply)                                    \
    X(32, reap_seal, TO(REPLICA), reap_seal)                                                       \
    X(33, reap_seal_reply, TO(ANTI_ENTROPY), reap_seal_reply)                                      \
    X(34, reap_remove, TO(REPLICA), reap_remove)                                                   \
    X(35, reap_remove_reply, TO(ANTI_ENTROPY), reap_remove_reply)                                  \
    X(36, key_explain, TO(REPLICA) | TO(HINTED_HANDOFF) | TO(ANTI_ENTROPY), key_explain)           \
    X(37, key_explain_reply, TO(ANTI_ENTROPY), key_explain_reply)                                  \
    X(38, register_query, TO(REPLICA), register_query)                                             \
    X(39, register_query_reply, TO(COORDINATOR), register_query_reply)                             \
    X(40, register_prepare, TO(REPLICA), register_prepare)                                         \
    X(41, register_prepare_reply, TO(COORDINATOR), register_prepare_reply)                         \
    X(42, register_accept, TO(REPLICA), register_accept)                                           \
    X(43, register_accept_reply, TO(COORDINATOR), register_accept_reply)                           \
    X(44, topology_document, TO(GOSSIP), topology_document)                                        \
    X(45, topology_document_reply, TO(GOSSIP), topology_document_reply)                            \
    X(46, topology_fetch, TO(GOSSIP), topology_fetch)                                              \
    X(47, topology_prepare, TO(GOSSIP), topology_prepare)                                          \
    X(48, topology_prepare_reply, TO(GOSSIP), topology_prepare_reply)                              \
    X(49, topology_accept, TO(GOSSIP), topology_accept)                                            \
    X(50, topology_accept_reply, TO(GOSSIP), topology_accept_reply)                                \
    X(51, vnode_report, TO(ANTI_ENTROPY), vnode_report)                                            \
    X(52, vnode_report_reply, TO(GOSSIP), vnode_report_reply)                                      \
    X(53, register_list, TO(REPLICA), register_list)                                               \
    X(54, register_list_reply, TO(ANTI_ENTROPY), register_list_reply)

/* Kinds that never leave their node have number 0. */
static const struct {
    uint32_t number;
    uint32_t to_kinds;
    const struct layout *layout;
} wire_kinds[MESSAGE_KIND_COUNT] = {
#define X(number, kind, to, layout) [MESSAGE_##kind] = {number, to, &layout##_layout},
    BODY_TABLE(X)
#undef X
};

#define BODY_NUMBER_FIRST 10u
#define BODY_NUMBER_LAST  54u

/* From the number to the kind. */
static const uint8_t body_kinds[BODY_NUMBER_LAST - BODY_NUMBER_FIRST + 1] = {
#define X(number, kind, to, layout) [number - BODY_NUMBER_FIRST] = MESSAGE_##kind,
    BODY_TABLE(X)
#undef X
};

static_assert(offsetof(struct forward_put, request) == 0, "a body starts with its layout's struct");
static_assert(offsetof(struct forward_put_reply, result) == 0, "as above");
static_assert(offsetof(struct gossip_digest_reply, digest) == 0, "as above");

#endif
