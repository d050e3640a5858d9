/* replica_quarantine.h -- inside of a replica shard: rows that fail their checksum.
 *
 * Such a row is never "not found" and never merged: its key answers CORRUPT here until anti-entropy
 * brings the join of what all other replicas hold (WRITE_REPAIR). That takes its place, with a
 * fresh key epoch: what this node has written and only the bad row knew may come back to it later.
 * One peer's state is not enough: an acknowledged write may lie on this row and on a third replica.
 *
 * The row is remembered and asked about until it is repaired, at most once in
 * QUARANTINE_ASK_AGAIN_NS and QUARANTINE_ASKS_MAX a second. Its bytes are copied aside for whoever
 * looks into the damage, bounded in number and size, and stay there.
 *
 * Whoever asks for trees, digests or records is told that bad rows were passed over: a copy that is
 * made of them, for a change or after a loss, is not complete (anti_entropy_gain.c,
 * anti_entropy_completion.c), and silence about a key is no word that nothing is held of it, nor is
 * that of a copy that is being filled (anti_entropy_record.c). Where no other replica can ever mend
 * them, somebody has to give them up (anti_entropy_task.c): a state without versions takes their
 * place.
 *
 * Row in STORE_META: "quarantine/" u32 partition (big-endian), storage key -> the bytes as found.
 * Included by replica*.c only.
 */
#ifndef ACTORS_REPLICA_QUARANTINE_H
#define ACTORS_REPLICA_QUARANTINE_H

#include "actors/replica_vnode.h"
#include "model/exchange.h"

#define QUARANTINE_ROWS_MAX     1024u /* remembered; others are met again */
#define QUARANTINE_KEPT_MAX     1000u /* copies aside */
#define QUARANTINE_KEPT_BYTES   ((uint64_t)16 << 20)
#define QUARANTINE_ASKS_MAX     64u
#define QUARANTINE_ASK_AGAIN_NS ((uint64_t)30 * 1000 * 1000 * 1000)

struct quarantine_row {
    uint32_t partition;
    uint32_t keyspace_id;
    bool is_register; /* nobody can give back what it had promised */
    bool has_name;    /* false: its key is damaged, nobody can say whose row it was */
    size_t key_size;  /* of the storage key */
    uint8_t *key;     /* owned */
    uint64_t ask_ns;  /* when anti-entropy is asked (again) */
};

struct quarantine {
    uint32_t count;
    uint32_t register_count; /* of these */
    struct quarantine_row *rows;
    uint64_t wake_ns;
    uint32_t kept_count;
    uint64_t kept_bytes;
};

void quarantine_init(struct quarantine *quarantine);
void quarantine_deinit(struct quarantine *quarantine);
/* Counts what earlier lives have copied aside. */
enum err quarantine_load(struct replica *replica, struct store *store) MUST_USE;
/* Asks anti-entropy for rows whose time has come; never for registers: such a copy does not vote.
 */
void quarantine_tick(struct replica *replica, struct actor_context *ctx);

/* A row was read and is not sound. */
void quarantine_met(struct replica *replica, struct actor_context *ctx, uint32_t partition,
                    struct bytes storage_key, struct bytes value);
/* It was replaced. */
void quarantine_repaired(struct replica *replica, struct actor_context *ctx, uint32_t partition,
                         struct bytes storage_key);
/* Whether a bad row of the keyspace lies there: no tree counts it. */
bool quarantine_holds(const struct replica *replica, uint32_t partition, uint32_t keyspace_id);
/* Whether a record of the partition may be bad, and of which keyspaces: those of the bad rows, or
 * of any (an empty list) where more rows are bad than are remembered; of all but those given up
 * where the store cannot read a part of it. Not registers, rows that
 * nobody can name, and those of keyspaces that are not there. */
bool quarantine_records(const struct replica *replica, const struct actor_context *ctx,
                        uint32_t partition, struct arena *arena,
                        struct exchange_indices *ret_keyspaces);
/* What the store cannot read of the keyspace there is given up. */
bool quarantine_gave_up(const struct replica *replica, uint32_t partition, uint32_t keyspace_id);
/* Whether any row of the partition may be bad, as above. */
bool quarantine_any(const struct replica *replica, uint32_t partition);
/* All rows of the vnode are gone, or of one keyspace (0: of all). */
void quarantine_emptied(struct replica *replica, uint32_t partition, uint32_t keyspace_id);

#endif
