#include "actors/replica_request.h"

#include <stdlib.h>

#define ROW_FORMAT       1u
#define ROW_PREFIX       "request/"
#define ROW_PREFIX_BYTES 8u
#define ROW_KEY_BYTES    (ROW_PREFIX_BYTES + REQUEST_ID_BYTES)
#define CAPACITY_FIRST   64u
#define EXPIRE_PACE_NS   ((uint64_t)1000 * 1000 * 1000)
#define CATCH_UP_PACE_NS ((uint64_t)10 * 1000 * 1000)

struct row {
    uint64_t at_ms;
    uint32_t partition;
    uint32_t keyspace_id;
    uint64_t hash;
    struct bytes context;
};

static struct bytes row_key(const uint8_t id[REQUEST_ID_BYTES], uint8_t ret_memory[ROW_KEY_BYTES])
{
    memcpy(ret_memory, ROW_PREFIX, ROW_PREFIX_BYTES);
    memcpy(ret_memory + ROW_PREFIX_BYTES, id, REQUEST_ID_BYTES);
    return bytes_of(ret_memory, ROW_KEY_BYTES);
}

static bool row_decode(struct bytes value, struct row *ret_row)
{
    struct reader reader = reader_of(value);
    uint8_t format = reader_u8(&reader);
    struct row row = {.at_ms = reader_u64(&reader)};
    row.partition = reader_u32(&reader);
    row.keyspace_id = reader_u32(&reader);
    row.hash = reader_u64(&reader);
    row.context = reader_bytes(&reader, reader_left(&reader));
    if (!reader_done(&reader) || format != ROW_FORMAT)
        return false;
    *ret_row = row;
    return true;
}

/* -- the ring ------------------------------------------------------------------------------------
 */

void request_memory_init(struct request_memory *memory, const struct replica_options *options,
                         struct replica_figures *figures)
{
    *memory = (struct request_memory){
        .shard = options->shard,
        .shards = options->shards,
        .max = REQUEST_IDS_MAX / options->shards,
        .figures = figures,
    };
}

void request_memory_deinit(struct request_memory *memory)
{
    free(memory->rows);
}

static void ring_push(struct request_memory *memory, const struct request_row *row)
{
    if (memory->count == memory->capacity) {
        uint32_t capacity = memory->capacity == 0 ? CAPACITY_FIRST : 2 * memory->capacity;
        struct request_row *rows = calloc(capacity, sizeof *rows);
        CHECK(rows != NULL);
        for (uint32_t i = 0; i < memory->count; i++)
            rows[i] = memory->rows[(memory->first + i) % memory->capacity];
        free(memory->rows);
        memory->rows = rows;
        memory->capacity = capacity;
        memory->first = 0;
    }
    memory->rows[(memory->first + memory->count++) % memory->capacity] = *row;
    counter_set(&memory->figures->requests_remembered, memory->count);
}

/* The oldest goes, row and all; a row that cannot be deleted now stays until the next start finds
 * it. */
static void ring_drop_first(struct request_memory *memory, struct actor_context *ctx)
{
    uint8_t key[ROW_KEY_BYTES];
    enum err err = store_delete(ctx->store, STORE_META,
                                row_key(memory->rows[memory->first].id, key), STORE_SYNC_LATER);
    (void)err;
    memory->first = (memory->first + 1) % memory->capacity;
    counter_set(&memory->figures->requests_remembered, --memory->count);
}

/* -- puts
 * ------------------------------------------------------------------------------------------ */

enum err request_find(struct request_memory *memory, struct actor_context *ctx, struct arena *arena,
                      const struct put_request *request, uint64_t hash,
                      struct request_seen *ret_seen)
{
    uint8_t key[ROW_KEY_BYTES];
    struct bytes value;
    struct row row;
    if (request->request_id.size != REQUEST_ID_BYTES)
        return ERR_NOT_FOUND;
    enum err err =
        store_read(ctx->store, STORE_META, row_key(request->request_id.data, key), arena, &value);
    if (err != OK)
        return err;
    if (!row_decode(value, &row))
        return ERR_CORRUPT;
    if (row.keyspace_id != request->keyspace_id || row.hash != hash)
        return ERR_INVALID;
    counter_add(&memory->figures->requests_repeated, 1);
    *ret_seen = (struct request_seen){.context = row.context, .at_ms = row.at_ms};
    return OK;
}

enum err request_forget(struct actor_context *ctx, struct bytes id)
{
    uint8_t key[ROW_KEY_BYTES];
    return store_delete(ctx->store, STORE_META, row_key(id.data, key), STORE_SYNC_LATER);
}

enum err request_remember(struct request_memory *memory, struct actor_context *ctx,
                          struct arena *scratch, uint32_t partition, uint32_t keyspace_id,
                          uint64_t hash, struct bytes id, struct bytes context)
{
    uint8_t key[ROW_KEY_BYTES];
    struct bytes value;
    struct writer writer;
    if (id.size != REQUEST_ID_BYTES)
        return OK;
    enum err err = store_read(ctx->store, STORE_META, row_key(id.data, key), scratch, &value);
    if (err != ERR_NOT_FOUND)
        return err;
    writer_init(&writer, scratch, 64 + context.size);
    writer_u8(&writer, ROW_FORMAT);
    writer_u64(&writer, ctx->wall_ms);
    writer_u32(&writer, partition);
    writer_u32(&writer, keyspace_id);
    writer_u64(&writer, hash);
    writer_bytes(&writer, context);
    err = store_put(ctx->store, STORE_META, row_key(id.data, key), writer_result(&writer),
                    STORE_SYNC_LATER);
    if (err != OK)
        return err;
    if (memory->count == memory->max) {
        counter_add(&memory->figures->requests_forgotten, 1);
        ring_drop_first(memory, ctx);
    }
    struct request_row row = {.at_ms = ctx->wall_ms};
    memcpy(row.id, id.data, REQUEST_ID_BYTES);
    ring_push(memory, &row);
    if (memory->next_ns > ctx->now_ns + EXPIRE_PACE_NS)
        memory->next_ns = ctx->now_ns + EXPIRE_PACE_NS;
    return OK;
}

/* -- their time
 * -------------------------------------------------------------------------------------- */

struct load {
    struct request_memory *memory;
    struct actor_context *ctx;
    uint32_t seen;
};

static bool load_row(void *closure, struct bytes key, struct bytes value)
{
    struct load *load = closure;
    struct request_memory *memory = load->memory;
    struct row row;
    if (key.size != ROW_KEY_BYTES)
        return true;
    if (row_decode(value, &row) && replica_shard(row.partition, memory->shards) == memory->shard &&
        memory->count < memory->max) {
        /* The order of a scan is not that of time: an old row may wait behind a younger one, for no
         * longer than any row is kept. */
        struct request_row entry = {.at_ms = row.at_ms};
        memcpy(entry.id, key.data + ROW_PREFIX_BYTES, REQUEST_ID_BYTES);
        ring_push(memory, &entry);
    }
    memcpy(memory->load_from, key.data, key.size);
    memory->load_from[key.size] = 0;
    memory->load_from_size = key.size + 1;
    return ++load->seen < REQUEST_EXPIRE_STEP;
}

/* The rows of an earlier life, a page a step. */
static void request_load(struct request_memory *memory, struct actor_context *ctx)
{
    struct load load = {.memory = memory, .ctx = ctx};
    struct bytes from = memory->load_from_size == 0
                            ? bytes_of_string(ROW_PREFIX)
                            : bytes_of(memory->load_from, memory->load_from_size);
    /* '0' follows '/': the end of the prefix. */
    enum err err =
        store_scan(ctx->store, STORE_META, from, bytes_of_string("request0"), load_row, &load);
    memory->loaded = err == OK && load.seen < REQUEST_EXPIRE_STEP;
}

void request_expire(struct request_memory *memory, struct actor_context *ctx)
{
    if (ctx->now_ns < memory->next_ns)
        return;
    if (!memory->loaded)
        request_load(memory, ctx);
    uint32_t dropped = 0;
    while (memory->count != 0 && dropped < REQUEST_EXPIRE_STEP) {
        uint64_t at_ms = memory->rows[memory->first].at_ms;
        /* A row from ahead of this clock (it was set back) goes too: age is all that it is kept
         * for. */
        if (at_ms <= ctx->wall_ms + REQUEST_KEPT_MS && ctx->wall_ms < at_ms + REQUEST_KEPT_MS)
            break;
        ring_drop_first(memory, ctx);
        dropped++;
    }
    bool more = !memory->loaded || dropped == REQUEST_EXPIRE_STEP;
    memory->next_ns = more                 ? ctx->now_ns + CATCH_UP_PACE_NS
                      : memory->count != 0 ? ctx->now_ns + EXPIRE_PACE_NS
                                           : NEVER_NS;
}
