/* Single rows that failed their checksum: all other replicas are asked what they hold there, the
 * join of it is written here when all have answered. While one is away the row stays lost: what
 * only it holds would be missed, and reads ask other replicas meanwhile. A copy that is being
 * filled itself has lost what it held: what it has got since is joined, but does not mend the row
 * alone, and what it lacks says nothing. */
#include "actors/anti_entropy_state.h"

#include "base/mutation.h"
#include "model/hash.h"
#include "model/record.h"

#include <inttypes.h>
#include <stdlib.h>

void ae_record_free(struct ae_record *record)
{
    free((void *)record->key.data);
    free((void *)record->joined.data);
    *record = (struct ae_record){0};
}

static struct bytes copy_of(struct bytes bytes)
{
    uint8_t *data = malloc(bytes.size + 1);
    CHECK(data != NULL);
    memcpy(data, bytes.data, bytes.size);
    return bytes_of(data, bytes.size);
}

void ae_record_on_repair(struct anti_entropy *ae, struct actor_context *ctx,
                         const struct record_repair *repair)
{
    struct ae_record *place = NULL;
    bool valid = repair->partition < ae->options.partitions && repair->key.size > 0 &&
                 repair->key.size <= KEY_BYTES_MAX;
    for (uint32_t i = 0; i < AE_RECORDS_MAX; i++) {
        struct ae_record *record = &ae->records[i];
        if (!record->used)
            place = place == NULL ? record : place;
        else if (record->keyspace_id == repair->keyspace_id &&
                 bytes_equal(record->key, repair->key))
            return; /* is under way */
    }
    if (place == NULL || !valid) {
        counter_add(&ae->figures.records_refused, 1);
        return;
    }
    *place = (struct ae_record){
        .used = true,
        .partition = repair->partition,
        .keyspace_id = repair->keyspace_id,
        .hash = hash_key(repair->keyspace_id, repair->key),
        .key = copy_of(repair->key),
        .next_ns = ctx->now_ns,
    };
}

static void again_later(struct anti_entropy *ae, struct actor_context *ctx,
                        struct ae_record *record)
{
    record->id = 0;
    record->writing = false;
    free((void *)record->joined.data);
    record->joined = (struct bytes){0};
    record->next_ns = ctx->now_ns + ae_backoff(ae, ctx, &record->backoff_ns);
}

/* Not one that a change is just giving the partition, or was before it was taken back: what it
 * lacks says nothing, and from below the others' floor its answer would have the repair refused. */
static bool holds_copy(const struct topology *topology, uint32_t partition, bool reader)
{
    if (reader || topology->change.state != CHANGE_RUNNING)
        return true;
    if (topology->change.aborting) /* it was read until then */
        return topology->phase_epochs[partition] >= topology->change.abort_epoch;
    return topology->phases[partition] == PHASE_COPIED;
}

static bool is_asked(const struct anti_entropy *ae, const struct actor_context *ctx,
                     const struct ae_record *record, const struct replica_set *set, uint32_t i)
{
    uint32_t member = set->replicas[i].member;
    return member != ae->options.self && (ae->gone & ae_member_bit(ae, member)) == 0 &&
           holds_copy(&ctx->view->topology, record->partition, set->replicas[i].reader);
}

static void ask_all(struct anti_entropy *ae, struct actor_context *ctx, struct ae_record *record,
                    const struct keyspace *keyspace)
{
    uint32_t place = exchange_place(ae->options.partitions, MERKLE_DEPTH_MAX, record->hash);
    struct exchange_indices places = {.count = 1, .indices = &place};
    struct replica_set set;
    view_replica_set(ctx->view, keyspace, record->partition, &set);
    for (uint32_t i = 0; i < set.count; i++) {
        if (is_asked(ae, ctx, record, &set, i) && !ae_reachable(ctx, set.replicas[i].member)) {
            again_later(ae, ctx, record);
            return;
        }
    }
    record->id = ae_id(ae, AE_OWNER_RECORD, (uint32_t)(record - ae->records));
    record->waiting = 0;
    record->unsure = record->held = false;
    record->floor = UINT64_MAX;
    for (uint32_t i = 0; i < set.count; i++) {
        uint32_t member = set.replicas[i].member;
        if (!is_asked(ae, ctx, record, &set, i))
            continue;
        struct message *message = ae_message(MESSAGE_record_fetch, member, record->id, 0);
        message->record_fetch =
            (struct record_fetch){.partition = record->partition,
                                  .keyspace_id = record->keyspace_id,
                                  .level = MERKLE_DEPTH_MAX,
                                  .places = exchange_indices_encode(&message->arena, &places)};
        message->deadline_ns = ctx->now_ns + ae->options.late_ns;
        record->waiting |= ae_member_bit(ae, member);
        ae_charge(ae, NULL, member, message->record_fetch.places.size);
        outbox_send(ctx, &ae->actor, message);
    }
    record->next_ns = ctx->now_ns + ae->options.late_ns;
}

static void write_here(struct anti_entropy *ae, struct actor_context *ctx, struct ae_record *record,
                       const struct keyspace *keyspace)
{
    record->writing = true;
    record->id = ae_id(ae, AE_OWNER_RECORD, (uint32_t)(record - ae->records));
    record->next_ns = ctx->now_ns + ae->options.late_ns;
    struct message *message = ae_message(MESSAGE_replica_write, ae->options.self, record->id,
                                         record->key.size + record->joined.size);
    message->deadline_ns = record->next_ns;
    message->replica_write = (struct replica_write){
        .keyspace_id = record->keyspace_id,
        .key = arena_copy(&message->arena, record->key),
        .record = arena_copy(&message->arena, record->joined),
        .policy = ae_policy(keyspace),
        .partition = record->partition,
        .reason = WRITE_REPAIR,
        .floor = record->floor,
    };
    outbox_send(ctx, &ae->actor, message);
}

/* No whole copy holds anything of it. `certain`: all others have said so, it was reaped there or
 * they never had it. Otherwise nobody could have said, and the key stays CORRUPT, until the row is
 * mended or somebody gives it up: the replica asks again. The bytes are kept aside; in their place
 * comes what was found, or a state without versions, which is reaped in its turn. */
static void nothing_found(struct anti_entropy *ae, struct actor_context *ctx,
                          struct ae_record *record, const struct keyspace *keyspace, bool certain)
{
    struct version_set nothing = {0};
    counter_add(&ae->figures.records_missing, 1);
    if (!certain && !ae_task_give_up(ae, ctx, record->keyspace_id)) {
        ae_record_free(record);
        return;
    }
    if (!certain)
        log_write(ctx->log, LOG_WARNING, "record_given_up",
                  "partition=%" PRIu32 " keyspace=%08" PRIx32 " hash=%016" PRIx64,
                  record->partition, record->keyspace_id, record->hash);
    if (record->joined.size == 0)
        record->joined =
            copy_of(record_encode(&ae->scratch, record->keyspace_id, record->key, &nothing));
    write_here(ae, ctx, record, keyspace);
}

/* Joins what a replica holds of the key to what the others do. */
static enum err join(struct anti_entropy *ae, struct ae_record *record,
                     const struct keyspace *keyspace, const struct record_fetch_reply *reply)
{
    struct arena *scratch = &ae->scratch;
    struct exchange_records records;
    enum err err = exchange_records_decode(scratch, reply->records, &records);
    for (uint32_t i = 0; err == OK && i < records.count; i++) {
        struct version_set theirs;
        struct version_set known = {0};
        if (!bytes_equal(records.records[i].key, record->key))
            continue;
        err = record_decode(scratch, record->keyspace_id, record->key, records.records[i].record,
                            &theirs);
        if (err == OK && record->joined.size > 0)
            err = record_decode(scratch, record->keyspace_id, record->key, record->joined, &known);
        if (err != OK)
            break;
        struct version_set joined = version_set_merge(scratch, &known, &theirs);
        if (keyspace->conflict == KEYSPACE_LWW)
            joined = version_set_last_writer_wins(scratch, &joined);
        struct bytes bytes =
            copy_of(record_encode(scratch, record->keyspace_id, record->key, &joined));
        free((void *)record->joined.data);
        record->joined = bytes;
        record->held = record->held || !reply->incomplete;
    }
    return err;
}

static void fetched(struct anti_entropy *ae, struct actor_context *ctx, struct ae_record *record,
                    const struct message *message)
{
    const struct record_fetch_reply *reply = &message->record_fetch_reply;
    const struct keyspace *keyspace =
        keyspace_map_find_id(&ctx->view->keyspaces, record->keyspace_id);
    uint32_t member = message->from.node;
    if ((record->waiting & ae_member_bit(ae, member)) == 0) {
        counter_add(&ae->figures.late, 1);
        return;
    }
    ae_charge(ae, NULL, member, reply->records.size);
    if (keyspace == NULL || reply->status != OK || join(ae, record, keyspace, reply) != OK) {
        again_later(ae, ctx, record);
        return;
    }
    record->waiting &= ~ae_member_bit(ae, member);
    record->floor = reply->floor < record->floor ? reply->floor : record->floor;
    bool silent = reply->incomplete && !MUTATE(SILENCE_OF_UNFILLED);
    record->unsure = record->unsure || reply->bad_rows || silent;
    if (record->waiting != 0)
        return;
    if (record->held)
        write_here(ae, ctx, record, keyspace);
    else
        nothing_found(ae, ctx, record, keyspace, !record->unsure);
}

void ae_record_answered(struct anti_entropy *ae, struct actor_context *ctx, uint32_t slot,
                        const struct message *message)
{
    struct ae_record *record = slot < AE_RECORDS_MAX ? &ae->records[slot] : NULL;
    if (record == NULL || !record->used || record->id == 0 || record->id != message->id) {
        counter_add(&ae->figures.late, 1);
    } else if (!record->writing && message->kind == MESSAGE_record_fetch_reply) {
        fetched(ae, ctx, record, message);
    } else if (record->writing && message->kind == MESSAGE_replica_write_reply) {
        if (message->replica_write_reply.status == OK) {
            counter_add(&ae->figures.records_repaired, 1);
            log_write(ctx->log, LOG_INFO, "record_repaired",
                      "partition=%" PRIu32 " hash=%016" PRIx64, record->partition, record->hash);
            ae_record_free(record);
        } else {
            again_later(ae, ctx, record);
        }
    } else {
        counter_add(&ae->figures.unexpected, 1);
    }
}

void ae_record_tick(struct anti_entropy *ae, struct actor_context *ctx)
{
    for (uint32_t i = 0; i < AE_RECORDS_MAX; i++) {
        struct ae_record *record = &ae->records[i];
        if (!record->used || record->next_ns > ctx->now_ns)
            continue;
        const struct keyspace *keyspace =
            keyspace_map_find_id(&ctx->view->keyspaces, record->keyspace_id);
        if (record->id != 0)
            again_later(ae, ctx, record);
        else if (keyspace == NULL || !ae_is_replica(ctx->view, keyspace, record->partition,
                                                    ae->options.self)) /* nobody wants it */
            ae_record_free(record);
        else
            ask_all(ae, ctx, record, keyspace);
        if (record->used && record->id != 0 && record->waiting == 0) /* the only replica */
            nothing_found(ae, ctx, record, keyspace, false);
    }
}

bool ae_record_waits(const struct anti_entropy *ae, uint32_t partition)
{
    for (uint32_t i = 0; i < AE_RECORDS_MAX; i++) {
        if (ae->records[i].used && ae->records[i].partition == partition)
            return true;
    }
    return false;
}

uint64_t ae_record_wake_ns(const struct anti_entropy *ae)
{
    uint64_t at_ns = NEVER_NS;
    for (uint32_t i = 0; i < AE_RECORDS_MAX; i++) {
        if (ae->records[i].used && ae->records[i].next_ns < at_ns)
            at_ns = ae->records[i].next_ns;
    }
    return at_ns;
}
