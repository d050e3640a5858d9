#include "actors/hinted_handoff_rows.h"

#include "base/codec.h"
#include "model/record.h"

#include <stdlib.h>

#define FORMAT         2u
#define FORMAT_1       1u   /* had no floor */
#define COUNT_ROWS_MAX 256u /* of a slice */
#define COUNT_RETRY_NS (100u * 1000 * 1000)

static uint32_t row_target(struct bytes row_key)
{
    uint32_t target = 0;
    for (uint32_t i = 0; i < 4; i++)
        target = target << 8 | row_key.data[i];
    return target;
}

enum err hint_decode(struct bytes row_key, struct bytes value, struct hint *ret_hint)
{
    struct hint hint = {0};
    uint64_t hash = 0;
    if (row_key.size < 4)
        return ERR_CORRUPT;
    hint.target = row_target(row_key);
    struct reader reader = reader_of(value);
    uint8_t format = reader_u8(&reader);
    hint.policy = (uint32_t)reader_varint_max(&reader, UINT32_MAX);
    hint.partition = (uint32_t)reader_varint_max(&reader, PARTITIONS_MAX - 1);
    hint.stored_at_ms = reader_u64(&reader);
    if (format != FORMAT_1) {
        hint.floor = reader_varint(&reader);
        hint.request_id = reader_sized_bytes(&reader, REQUEST_ID_BYTES);
        hint.request_context = reader_sized_bytes(&reader, CONTEXT_BYTES_MAX);
    }
    hint.record = reader_bytes(&reader, reader_left(&reader));
    if ((format != FORMAT && format != FORMAT_1) || !reader_done(&reader) ||
        !hash_storage_key_parse(bytes_of(row_key.data + 4, row_key.size - 4), &hash,
                                &hint.keyspace_id, &hint.key))
        return ERR_CORRUPT;
    *ret_hint = hint;
    return OK;
}

struct bytes hint_encode(struct arena *arena, const struct hint *hint)
{
    struct writer writer;
    writer_init(&writer, arena, hint->record.size + hint->request_context.size + 64);
    writer_u8(&writer, FORMAT);
    writer_varint(&writer, hint->policy);
    writer_varint(&writer, hint->partition);
    writer_u64(&writer, hint->stored_at_ms);
    writer_varint(&writer, hint->floor);
    writer_sized_bytes(&writer, hint->request_id);
    writer_sized_bytes(&writer, hint->request_context);
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

/* A place whose target has nothing is given to another when there are no more. */
static struct target *target_free_place(struct hinted_handoff *hinted_handoff)
{
    if (hinted_handoff->target_count < MEMBERS_MAX) {
        uint32_t index = hinted_handoff->target_count++;
        struct target *target = calloc(1, sizeof *target);
        CHECK(target != NULL);
        target->gauges = &hinted_handoff->gauges[index];
        hinted_handoff->targets[index] = target;
        return target;
    }
    for (uint32_t i = 0; i < MEMBERS_MAX && hinted_handoff->counted; i++) {
        struct target *target = hinted_handoff->targets[i];
        struct target_gauges *gauges = target->gauges;
        if (target->count != 0 || target->dirty_any)
            continue;
        hint_flights_stop(target);
        *target = (struct target){.gauges = gauges};
        return target;
    }
    return NULL;
}

struct target *hint_target(struct hinted_handoff *hinted_handoff, uint32_t member)
{
    for (uint32_t i = 0; i < hinted_handoff->target_count; i++) {
        if (hinted_handoff->targets[i]->member == member)
            return hinted_handoff->targets[i];
    }
    struct target *target = target_free_place(hinted_handoff);
    if (target == NULL)
        return NULL;
    target->member = member;
    counter_set(&target->gauges->member, member);
    return target;
}

bool hint_member_is_there(const struct view *view, uint32_t number)
{
    const struct member *member = topology_member(&view->topology, number);
    return member != NULL && member->status != MEMBER_REMOVED;
}

/* -- rows of a range ----------------------------------------------------------------------------
 */

static bool row_hash(struct bytes row_key, uint64_t *ret_hash, uint32_t *ret_keyspace_id)
{
    struct bytes key;
    return row_key.size >= 4 && hash_storage_key_parse(bytes_of(row_key.data + 4, row_key.size - 4),
                                                       ret_hash, ret_keyspace_id, &key);
}

bool hint_row_partition(const struct view *view, struct bytes row_key, uint32_t *ret_partition)
{
    uint64_t hash = 0;
    uint32_t keyspace_id = 0;
    if (!row_hash(row_key, &hash, &keyspace_id))
        return false;
    *ret_partition = hash_partition(hash, view->topology.partitions);
    return true;
}

/* The range's place, or the free one where it would stand. */
static struct range_count *range_place(const struct range_counts *ranges, uint64_t range)
{
    uint32_t i = (uint32_t)hash_mix(range) & (ranges->capacity - 1);
    while (ranges->places[i].taken && ranges->places[i].range != range)
        i = (i + 1) & (ranges->capacity - 1);
    return &ranges->places[i];
}

/* Ranges whose rows are gone are left behind. */
static void ranges_grow(struct range_counts *ranges)
{
    struct range_counts old = *ranges;
    uint32_t used = 0;
    for (uint32_t i = 0; i < old.capacity; i++)
        used += old.places[i].rows != 0;
    uint32_t capacity = 64;
    while (capacity < 4 * (used + 1))
        capacity *= 2;
    *ranges = (struct range_counts){.capacity = capacity, .taken = used};
    ranges->places = calloc(capacity, sizeof *ranges->places);
    CHECK(ranges->places != NULL);
    for (uint32_t i = 0; i < old.capacity; i++) {
        if (old.places[i].rows != 0)
            *range_place(ranges, old.places[i].range) = old.places[i];
    }
    free(old.places);
}

static uint64_t range_of(uint32_t partition, uint32_t keyspace_id)
{
    return (uint64_t)partition << 32 | keyspace_id;
}

static void range_move(struct range_counts *ranges, uint64_t range, uint64_t delta)
{
    if (ranges->capacity == 0 || 4 * (ranges->taken + 1) > 3 * ranges->capacity)
        ranges_grow(ranges);
    struct range_count *place = range_place(ranges, range);
    if (!place->taken) {
        *place = (struct range_count){.range = range, .taken = true};
        ranges->taken++;
    }
    place->rows += delta;
    CHECK_U64(place->rows, <, UINT64_MAX / 2);
}

uint64_t hint_range_rows(const struct hinted_handoff *hinted_handoff, uint32_t partition,
                         uint32_t keyspace_id)
{
    const struct range_counts *ranges = &hinted_handoff->ranges;
    if (ranges->capacity == 0)
        return 0;
    return range_place(ranges, range_of(partition, keyspace_id))->rows;
}

void hint_ranges_free(struct range_counts *ranges)
{
    free(ranges->places);
    *ranges = (struct range_counts){0};
}

/* -- what the rows add up to
 * --------------------------------------------------------------------------------- */

static bool row_is_counted(const struct hinted_handoff *hinted_handoff, struct bytes row_key)
{
    struct bytes mark = bytes_of(hinted_handoff->counted_mark, hinted_handoff->counted_size);
    return hinted_handoff->counted || bytes_compare(row_key, mark) < 0;
}

/* A row counts by its key, whatever its value is worth. */
static void figures_move(struct hinted_handoff *hinted_handoff, const struct view *view,
                         struct target *target, struct bytes row_key, size_t size_before,
                         size_t size_after)
{
    struct hinted_handoff_figures *figures = &hinted_handoff->figures;
    uint64_t count = (uint64_t)(size_after != 0) - (size_before != 0);
    uint64_t bytes = (uint64_t)size_after - size_before;
    uint64_t hash = 0;
    uint32_t keyspace_id = 0;
    target->count += count;
    target->bytes += bytes;
    counter_add(&figures->hints, count);
    counter_add(&figures->bytes, bytes);
    if (count != 0 && row_hash(row_key, &hash, &keyspace_id))
        range_move(&hinted_handoff->ranges,
                   range_of(hash_partition(hash, view->topology.partitions), keyspace_id), count);
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
        figures_move(hinted_handoff, ctx->view, target, row_key, size_before,
                     value == NULL ? 0 : row_key.size + value->size);
    return err;
}

struct count_slice {
    struct hinted_handoff *hinted_handoff;
    const struct view *view;
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
    /* A damaged value is met again, and dropped, when its turn comes. */
    bool whole = hint_decode(row_key, value, &hint) == OK;
    struct target *target = NULL;
    if (row_key.size >= 4 && row_key.size <= ROW_KEY_BYTES_MAX)
        target = hint_target(hinted_handoff, row_target(row_key));
    if (target == NULL) {
        counter_add(&hinted_handoff->figures.corrupt, 1);
    } else {
        figures_move(hinted_handoff, slice->view, target, row_key, 0, row_key.size + value.size);
        uint64_t oldest_ms = counter_get(&target->gauges->oldest_ms);
        if (whole && (oldest_ms == 0 || hint.stored_at_ms < oldest_ms))
            counter_set(&target->gauges->oldest_ms, hint.stored_at_ms);
    }
    size_t size = row_key.size < ROW_KEY_BYTES_MAX ? row_key.size : ROW_KEY_BYTES_MAX;
    memcpy(hinted_handoff->counted_mark, row_key.data, size);
    hinted_handoff->counted_mark[size] = 0; /* the next key that there can be */
    hinted_handoff->counted_size = size + 1;
    return true;
}

void hint_count_rows(struct hinted_handoff *hinted_handoff, struct actor_context *ctx)
{
    struct count_slice slice = {.hinted_handoff = hinted_handoff, .view = ctx->view};
    struct bytes from =
        arena_copy(&hinted_handoff->scratch,
                   bytes_of(hinted_handoff->counted_mark, hinted_handoff->counted_size));
    enum err err = hinted_handoff->pauses_read ? OK : hint_pauses_read(hinted_handoff, ctx);
    if (err == OK)
        err = store_scan(ctx->store, STORE_HINTS, from, (struct bytes){0}, count_visit, &slice);
    hinted_handoff->count_at_ns = ctx->now_ns;
    if (err != OK) {
        counter_add(&hinted_handoff->figures.store_errors, 1);
        hinted_handoff->count_at_ns += COUNT_RETRY_NS;
    } else if (slice.rows < COUNT_ROWS_MAX) {
        hinted_handoff->counted = true;
    }
    for (uint32_t i = 0; i < hinted_handoff->target_count; i++)
        hint_gauge(hinted_handoff, ctx, hinted_handoff->targets[i]);
}
