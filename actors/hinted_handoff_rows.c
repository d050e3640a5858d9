#include "actors/hinted_handoff_rows.h"

#include "base/codec.h"
#include "model/record.h"

#include <inttypes.h>
#include <stdlib.h>

#define FORMAT         1u
#define COUNT_ROWS_MAX 256u /* of a slice */
#define COUNT_RETRY_NS (100u * 1000 * 1000)

enum err hint_decode(struct bytes row_key, struct bytes value, struct hint *ret_hint)
{
    struct hint hint = {0};
    uint64_t hash = 0;
    if (row_key.size < 4)
        return ERR_CORRUPT;
    for (uint32_t i = 0; i < 4; i++)
        hint.target = hint.target << 8 | row_key.data[i];
    struct reader reader = reader_of(value);
    uint8_t format = reader_u8(&reader);
    hint.policy = (uint32_t)reader_varint_max(&reader, UINT32_MAX);
    hint.partition = (uint32_t)reader_varint_max(&reader, PARTITIONS_MAX - 1);
    hint.stored_at_ms = reader_u64(&reader);
    hint.record = reader_bytes(&reader, reader_left(&reader));
    if (format != FORMAT || !reader_done(&reader) ||
        !hash_storage_key_parse(bytes_of(row_key.data + 4, row_key.size - 4), &hash,
                                &hint.keyspace_id, &hint.key))
        return ERR_CORRUPT;
    *ret_hint = hint;
    return OK;
}

struct bytes hint_encode(struct arena *arena, const struct hint *hint)
{
    struct writer writer;
    writer_init(&writer, arena, hint->record.size + 24);
    writer_u8(&writer, FORMAT);
    writer_varint(&writer, hint->policy);
    writer_varint(&writer, hint->partition);
    writer_u64(&writer, hint->stored_at_ms);
    writer_bytes(&writer, hint->record);
    return writer_result(&writer);
}

size_t hint_row_key(const struct hint *hint, uint8_t ret[ROW_KEY_BYTES_MAX])
{
    for (uint32_t i = 0; i < 4; i++)
        ret[i] = (uint8_t)(hint->target >> (24 - 8 * i));
    return 4 + hash_storage_key(hint->keyspace_id, hint->key,
                                hash_key(hint->keyspace_id, hint->key), ret + 4);
}

struct target *hint_target(struct hinted_handoff *hinted_handoff, uint32_t member)
{
    for (uint32_t i = 0; i < hinted_handoff->target_count; i++) {
        if (hinted_handoff->targets[i]->member == member)
            return hinted_handoff->targets[i];
    }
    if (hinted_handoff->target_count == MEMBERS_MAX)
        return NULL;
    struct target *target = calloc(1, sizeof *target);
    CHECK(target != NULL);
    target->member = member;
    hinted_handoff->targets[hinted_handoff->target_count++] = target;
    return target;
}

#define SAY_EVERY_NS (10000ull * 1000 * 1000)

/* What a target will lack until something else finds it; at most every ten seconds. */
void hint_say_dirty(struct actor_context *ctx, struct target *target, const char *what)
{
    if (target->said_ns != 0 && ctx->now_ns < target->said_ns + SAY_EVERY_NS)
        return;
    target->said_ns = ctx->now_ns;
    log_write(ctx->log, LOG_WARNING, "hints_lost",
              "target=%" PRIu32 " why=\"%s\" hints=%" PRIu64 " bytes=%" PRIu64, target->member,
              what, target->count, target->bytes);
}

bool hint_member_is_there(const struct view *view, uint32_t number)
{
    const struct member *member = topology_member(&view->topology, number);
    return member != NULL && member->status != MEMBER_REMOVED;
}

/* -- what the rows add up to
 * --------------------------------------------------------------------------------- */

static bool row_is_counted(const struct hinted_handoff *hinted_handoff, struct bytes row_key)
{
    struct bytes mark = bytes_of(hinted_handoff->counted_mark, hinted_handoff->counted_size);
    return hinted_handoff->counted || bytes_compare(row_key, mark) < 0;
}

static void figures_move(struct hinted_handoff *hinted_handoff, struct target *target,
                         size_t size_before, size_t size_after)
{
    struct hinted_handoff_figures *figures = &hinted_handoff->figures;
    uint64_t count = (uint64_t)(size_after != 0) - (size_before != 0);
    uint64_t bytes = (uint64_t)size_after - size_before;
    target->count += count;
    target->bytes += bytes;
    counter_add(&figures->hints, count);
    counter_add(&figures->bytes, bytes);
}

enum err hint_row_change(struct hinted_handoff *hinted_handoff, struct actor_context *ctx,
                         struct target *target, struct bytes row_key, size_t size_before,
                         const struct bytes *value)
{
    /* A hint that comes back after a crash is delivered once more: nobody waits for its end. */
    enum err err = value == NULL
                       ? store_delete(ctx->store, STORE_HINTS, row_key, STORE_SYNC_LATER)
                       : store_put(ctx->store, STORE_HINTS, row_key, *value, STORE_SYNC_NOW);
    if (err == OK && row_is_counted(hinted_handoff, row_key))
        figures_move(hinted_handoff, target, size_before,
                     value == NULL ? 0 : row_key.size + value->size);
    return err;
}

struct count_slice {
    struct hinted_handoff *hinted_handoff;
    uint32_t rows;
};

static bool count_visit(void *closure, struct bytes row_key, struct bytes value)
{
    struct count_slice *slice = closure;
    struct hinted_handoff *hinted_handoff = slice->hinted_handoff;
    struct hint hint = {0};
    if (slice->rows == COUNT_ROWS_MAX)
        return false;
    slice->rows++;
    struct target *target = NULL;
    if (row_key.size <= ROW_KEY_BYTES_MAX && hint_decode(row_key, value, &hint) == OK)
        target = hint_target(hinted_handoff, hint.target);
    if (target == NULL)
        counter_add(&hinted_handoff->figures.corrupt, 1);
    else
        figures_move(hinted_handoff, target, 0, row_key.size + value.size);
    size_t size = row_key.size < ROW_KEY_BYTES_MAX ? row_key.size : ROW_KEY_BYTES_MAX;
    memcpy(hinted_handoff->counted_mark, row_key.data, size);
    hinted_handoff->counted_mark[size] = 0; /* the next key that there can be */
    hinted_handoff->counted_size = size + 1;
    return true;
}

void hint_count_rows(struct hinted_handoff *hinted_handoff, struct actor_context *ctx)
{
    struct count_slice slice = {.hinted_handoff = hinted_handoff};
    struct bytes from =
        arena_copy(&hinted_handoff->scratch,
                   bytes_of(hinted_handoff->counted_mark, hinted_handoff->counted_size));
    enum err err =
        store_scan(ctx->store, STORE_HINTS, from, (struct bytes){0}, count_visit, &slice);
    hinted_handoff->count_at_ns = ctx->now_ns;
    if (err != OK) {
        counter_add(&hinted_handoff->figures.store_errors, 1);
        hinted_handoff->count_at_ns += COUNT_RETRY_NS;
    } else if (slice.rows < COUNT_ROWS_MAX) {
        hinted_handoff->counted = true;
    }
}
