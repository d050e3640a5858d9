/* Repairs that somebody asked for: every range of this node, or those that it drives (for who asks
 * all nodes), of one keyspace or of all, once. A
 * task outlives the process. Its row is written after each range:
 *
 *     "anti-entropy/task/" u64 id (big endian) -> u8 format (1) | u8 flags | u32 keyspace |
 *     u64 started, wall ms | u32 partition, u32 member of the cursor | varints: done, failed,
 * total, keys, bytes
 *
 * Ranges are done in order, so all below the cursor have ended; those at it that had ended when the
 * process did are done once more. A range that cannot be compared fails after some attempts, and
 * the task goes on. One that gives up lasts GIVES_UP_NS at least: bad rows that are asked about
 * meanwhile, and that no other replica can mend, are given up (anti_entropy_record.c). */
#include "actors/anti_entropy_state.h"
#include "base/codec.h"

#include <inttypes.h>
#include <stdlib.h>

#define ROW_PREFIX      "anti-entropy/task/"
#define ROW_PREFIX_SIZE (sizeof ROW_PREFIX - 1)
#define ROW_KEY_BYTES   (ROW_PREFIX_SIZE + 8)
#define FORMAT          1u
#define FLAG_ENDED      1u
#define FLAG_CANCELLED  2u
#define FLAG_DRIVEN     4u
#define FLAG_GIVES_UP   8u
#define ATTEMPTS_MAX    3u
#define RETRY_NS        ((uint64_t)2000 * 1000 * 1000)
/* Each bad row is asked about within that time, and once more (replica_quarantine.h). */
#define GIVES_UP_NS ((uint64_t)75 * 1000 * 1000 * 1000)

void ae_task_free(struct ae_task *task)
{
    free(task->ranges);
    *task = (struct ae_task){0};
}

static void count_tasks(struct anti_entropy *ae)
{
    uint64_t running = 0;
    for (uint32_t i = 0; i < AE_TASKS_MAX; i++)
        running += ae->tasks[i].id != 0 && !ae->tasks[i].ended;
    counter_set(&ae->figures.tasks, running);
}

/* -- rows ---------------------------------------------------------------------------------------
 */

static void row_key(uint64_t id, uint8_t ret_key[ROW_KEY_BYTES])
{
    memcpy(ret_key, ROW_PREFIX, ROW_PREFIX_SIZE);
    for (uint32_t i = 0; i < 8; i++)
        ret_key[ROW_PREFIX_SIZE + i] = (uint8_t)(id >> (56 - 8 * i));
}

static enum err task_save(struct anti_entropy *ae, struct actor_context *ctx,
                          const struct ae_task *task)
{
    bool at_end = !task->planned || task->cursor == task->count;
    struct writer writer;
    uint8_t key[ROW_KEY_BYTES];
    writer_init(&writer, &ae->scratch, 64);
    writer_u8(&writer, FORMAT);
    writer_u8(&writer,
              (uint8_t)((task->ended ? FLAG_ENDED : 0) | (task->cancelled ? FLAG_CANCELLED : 0) |
                        (task->driven_only ? FLAG_DRIVEN : 0) |
                        (task->gives_up ? FLAG_GIVES_UP : 0)));
    writer_u32(&writer, task->keyspace_id);
    writer_u64(&writer, task->started_ms);
    writer_u32(&writer, at_end ? task->resume_partition : task->ranges[task->cursor].partition);
    writer_u32(&writer, at_end ? task->resume_member : task->ranges[task->cursor].member);
    writer_varint(&writer, task->done);
    writer_varint(&writer, task->failed);
    writer_varint(&writer, task->total);
    writer_varint(&writer, task->keys);
    writer_varint(&writer, task->bytes);
    row_key(task->id, key);
    enum err err = store_put(ctx->store, STORE_META, bytes_of(key, sizeof key),
                             writer_result(&writer), STORE_SYNC_NOW);
    if (err != OK)
        counter_add(&ae->figures.store_errors, 1);
    return err;
}

static bool task_decode(struct bytes key, struct bytes value, struct ae_task *ret_task)
{
    struct ae_task task = {.resumed = true};
    if (key.size != ROW_KEY_BYTES)
        return false;
    for (uint32_t i = 0; i < 8; i++)
        task.id = task.id << 8 | key.data[ROW_PREFIX_SIZE + i];
    struct reader reader = reader_of(value);
    uint8_t format = reader_u8(&reader);
    uint8_t flags = reader_u8(&reader);
    task.ended = (flags & FLAG_ENDED) != 0;
    task.cancelled = (flags & FLAG_CANCELLED) != 0;
    task.driven_only = (flags & FLAG_DRIVEN) != 0;
    task.gives_up = (flags & FLAG_GIVES_UP) != 0;
    task.keyspace_id = reader_u32(&reader);
    task.started_ms = reader_u64(&reader);
    task.resume_partition = reader_u32(&reader);
    task.resume_member = reader_u32(&reader);
    task.done = (uint32_t)reader_varint_max(&reader, UINT32_MAX);
    task.failed = (uint32_t)reader_varint_max(&reader, UINT32_MAX);
    task.total = (uint32_t)reader_varint_max(&reader, UINT32_MAX);
    task.keys = reader_varint(&reader);
    task.bytes = reader_varint(&reader);
    *ret_task = task;
    return format == FORMAT && reader_done(&reader) && task.id != 0;
}

static bool load_visit(void *closure, struct bytes key, struct bytes value)
{
    struct anti_entropy *ae = closure;
    struct ae_task task;
    if (!task_decode(key, value, &task)) {
        counter_add(&ae->figures.corrupt, 1);
        return true;
    }
    for (uint32_t i = 0; i < AE_TASKS_MAX; i++) {
        if (ae->tasks[i].id == 0) {
            ae->tasks[i] = task;
            return true;
        }
    }
    return false;
}

enum err ae_task_load(struct anti_entropy *ae, struct actor_context *ctx)
{
    for (uint32_t i = 0; i < AE_TASKS_MAX; i++)
        ae_task_free(&ae->tasks[i]);
    enum err err = store_scan(ctx->store, STORE_META, bytes_of_string(ROW_PREFIX),
                              bytes_of_string("anti-entropy/task0"), load_visit, ae);
    count_tasks(ae);
    return err;
}

/* -- the ranges ---------------------------------------------------------------------------------
 */

static bool range_below(const struct ae_range *range, const struct ae_task *task)
{
    return range->partition < task->resume_partition ||
           (range->partition == task->resume_partition && range->member < task->resume_member);
}

/* All ranges of this node as the view has them now; those below the cursor ended in an earlier
 * life. */
static void task_plan(struct anti_entropy *ae, const struct actor_context *ctx,
                      struct ae_task *task)
{
    const struct keyspace *keyspace =
        task->keyspace_id == 0 ? NULL
                               : keyspace_map_find_id(&ctx->view->keyspaces, task->keyspace_id);
    task->planned = true;
    task->until_ns = task->gives_up ? ctx->now_ns + GIVES_UP_NS : 0;
    task->ranges = calloc(ae->range_count + 1, sizeof task->ranges[0]);
    CHECK(task->ranges != NULL);
    uint32_t below = 0;
    for (uint32_t i = 0; i < ae->range_count; i++) {
        const struct ae_range *range = &ae->ranges[i];
        bool wanted = range->pair && (range->driven || !task->driven_only) &&
                      (task->keyspace_id == 0 ||
                       (keyspace != NULL &&
                        ae_is_replica(ctx->view, keyspace, range->partition, ae->options.self) &&
                        ae_is_replica(ctx->view, keyspace, range->partition, range->member)));
        if (!wanted)
            continue;
        below += task->resumed && range_below(range, task);
        task->ranges[task->count++] =
            (struct ae_task_range){.partition = range->partition,
                                   .member = range->member,
                                   .ended = task->resumed && range_below(range, task)};
    }
    task->total = task->count;
    task->cursor = below;
    if (!task->resumed)
        return;
    /* What ended above the cursor is done again, and counted again. */
    uint32_t failed = task->failed < below ? task->failed : below;
    task->failed = failed;
    task->done = below - failed;
}

static void task_end_if_through(const struct actor_context *ctx, struct ae_task *task)
{
    while (task->cursor < task->count && task->ranges[task->cursor].ended)
        task->cursor++;
    if (task->cursor < task->count || task->ended || ctx->now_ns < task->until_ns)
        return;
    task->ended = true;
    log_write(ctx->log, LOG_INFO, "repair_ended",
              "task=%" PRIx64 " done=%" PRIu32 " failed=%" PRIu32 " keys=%" PRIu64
              " bytes=%" PRIu64,
              task->id, task->done, task->failed, task->keys, task->bytes);
}

static bool task_next(struct anti_entropy *ae, struct actor_context *ctx, struct ae_task *task,
                      struct ae_exchange_plan *ret_plan, uint64_t *look_ns)
{
    for (uint32_t i = task->cursor; i < task->count; i++) {
        struct ae_task_range *range = &task->ranges[i];
        if (range->ended || ae_exchange_runs(ae, range->partition, ae->options.self, range->member))
            continue;
        if (range->retry_ns > ctx->now_ns) {
            *look_ns = range->retry_ns < *look_ns ? range->retry_ns : *look_ns;
            continue;
        }
        /* A member that is down is an attempt like any other. */
        *ret_plan = (struct ae_exchange_plan){.partition = range->partition,
                                              .members = {ae->options.self, range->member},
                                              .reason = AE_TASK,
                                              .task = task->id,
                                              .only_keyspace = task->keyspace_id};
        return true;
    }
    return false;
}

/* One that gives up bad rows goes on for a while after its ranges. */
static void task_give_up_ends(struct anti_entropy *ae, struct actor_context *ctx,
                              struct ae_task *task, uint64_t *look_ns)
{
    if (task->until_ns == 0)
        return;
    if (ctx->now_ns < task->until_ns) {
        *look_ns = task->until_ns < *look_ns ? task->until_ns : *look_ns;
        return;
    }
    task->until_ns = 0;
    task_end_if_through(ctx, task);
    enum err err = task_save(ae, ctx, task);
    (void)err; /* counted */
    count_tasks(ae);
}

bool ae_task_give_up(struct anti_entropy *ae, const struct actor_context *ctx, uint32_t keyspace_id)
{
    for (uint32_t i = 0; i < AE_TASKS_MAX; i++) {
        struct ae_task *task = &ae->tasks[i];
        if (task->id == 0 || task->ended || ctx->now_ns >= task->until_ns ||
            (task->keyspace_id != 0 && task->keyspace_id != keyspace_id))
            continue;
        task->keys++;
        return true;
    }
    return false;
}

bool ae_task_next(struct anti_entropy *ae, struct actor_context *ctx,
                  struct ae_exchange_plan *ret_plan, uint64_t *look_ns)
{
    for (uint32_t i = 0; i < AE_TASKS_MAX; i++) {
        struct ae_task *task = &ae->tasks[i];
        if (task->id == 0 || task->ended)
            continue;
        if (!task->planned) {
            task_plan(ae, ctx, task);
            task_end_if_through(ctx, task);
            enum err err = task_save(ae, ctx, task);
            (void)err; /* counted; the task goes on from memory */
            count_tasks(ae);
        }
        task_give_up_ends(ae, ctx, task, look_ns);
        if (!task->ended && task_next(ae, ctx, task, ret_plan, look_ns))
            return true;
    }
    return false;
}

void ae_task_ended(struct anti_entropy *ae, struct actor_context *ctx,
                   const struct ae_exchange *exchange, bool whole)
{
    for (uint32_t i = 0; i < AE_TASKS_MAX && exchange->reason == AE_TASK; i++) {
        struct ae_task *task = &ae->tasks[i];
        if (task->id != exchange->task || task->ended || !task->planned)
            continue;
        task->keys += exchange->keys[0] + exchange->keys[1];
        task->bytes += exchange->bytes;
        for (uint32_t j = task->cursor; j < task->count; j++) {
            struct ae_task_range *range = &task->ranges[j];
            if (range->partition != exchange->partition || range->member != exchange->members[1])
                continue;
            range->tries++;
            range->retry_ns = ctx->now_ns + RETRY_NS;
            range->ended = whole || range->tries == ATTEMPTS_MAX;
            task->done += whole;
            task->failed += range->ended && !whole;
        }
        task_end_if_through(ctx, task);
        enum err err = task_save(ae, ctx, task);
        (void)err; /* counted; after a restart it begins further back */
        count_tasks(ae);
    }
}

/* -- maintenance --------------------------------------------------------------------------------
 */

static struct ae_task *task_find(struct anti_entropy *ae, uint64_t id)
{
    for (uint32_t i = 0; i < AE_TASKS_MAX && id != 0; i++) {
        if (ae->tasks[i].id == id)
            return &ae->tasks[i];
    }
    return NULL;
}

/* A free place, or that of the task that ended longest ago. */
static struct ae_task *task_place(struct anti_entropy *ae, struct actor_context *ctx)
{
    struct ae_task *oldest = NULL;
    uint8_t key[ROW_KEY_BYTES];
    for (uint32_t i = 0; i < AE_TASKS_MAX; i++) {
        struct ae_task *task = &ae->tasks[i];
        if (task->id == 0)
            return task;
        if (task->ended && (oldest == NULL || task->started_ms < oldest->started_ms))
            oldest = task;
    }
    if (oldest == NULL)
        return NULL;
    row_key(oldest->id, key);
    if (store_delete(ctx->store, STORE_META, bytes_of(key, sizeof key), STORE_SYNC_LATER) != OK)
        counter_add(&ae->figures.store_errors, 1);
    ae_task_free(oldest);
    return oldest;
}

/* The one that a start would begin: of that name, or when none is given one that does the same. */
static struct ae_task *task_started(struct anti_entropy *ae,
                                    const struct client_maintenance *request)
{
    uint64_t id = request->task;
    for (uint32_t i = 0; i < AE_TASKS_MAX; i++) {
        struct ae_task *task = &ae->tasks[i];
        bool same = id == 0 ? !task->ended && task->keyspace_id == request->keyspace_id &&
                                  task->gives_up == request->gives_up
                            : task->id == id;
        if (task->id != 0 && same)
            return task;
    }
    return NULL;
}

static enum err task_start(struct anti_entropy *ae, struct actor_context *ctx,
                           const struct client_maintenance *request, const char **ret_why,
                           struct ae_task **ret_task)
{
    uint32_t keyspace_id = request->keyspace_id;
    uint64_t id = request->task;
    *ret_task = task_started(ae, request);
    if (*ret_task != NULL)
        return OK;
    if (keyspace_id != 0 && keyspace_map_find_id(&ctx->view->keyspaces, keyspace_id) == NULL) {
        *ret_why = "there is no such keyspace";
        return ERR_NOT_FOUND;
    }
    struct ae_task *task = task_place(ae, ctx);
    if (task == NULL) {
        *ret_why = "too many repairs are running";
        return ERR_LIMIT;
    }
    if (id == 0)
        id = (ae->options.generation & UINT32_MAX) << 32 | (++ae->serial & UINT32_MAX);
    *task = (struct ae_task){
        .id = id,
        .keyspace_id = keyspace_id,
        .driven_only = request->driven_only,
        .gives_up = request->gives_up,
        .started_ms = ctx->wall_ms,
    };
    enum err err = task_save(ae, ctx, task);
    if (err != OK) {
        *ret_why = "the task cannot be written down";
        ae_task_free(task);
        return err;
    }
    ae->look_ns = ctx->now_ns;
    *ret_task = task;
    return OK;
}

static void task_cancel(struct anti_entropy *ae, struct actor_context *ctx, struct ae_task *task)
{
    if (task->ended)
        return;
    task->ended = task->cancelled = true;
    for (uint32_t i = 0; i < ANTI_ENTROPY_EXCHANGES_MAX; i++) {
        struct ae_exchange *exchange = &ae->exchanges[i];
        if (exchange->running && exchange->reason == AE_TASK && exchange->task == task->id)
            ae_exchange_end(ae, ctx, exchange, "the repair was cancelled");
    }
}

static void task_fill(const struct ae_task *task, struct client_maintenance_done *done)
{
    done->task = task->id;
    done->ended = task->ended;
    done->why = task->cancelled ? "cancelled" : NULL;
    done->ranges_done = task->done;
    done->ranges_total = task->total;
    done->ranges_failed = task->failed;
    done->keys_repaired = task->keys;
    done->bytes_moved = task->bytes;
    done->started_ms = task->started_ms;
}

void ae_task_on_maintenance(struct anti_entropy *ae, struct actor_context *ctx,
                            const struct message *message)
{
    const struct client_maintenance *request = &message->client_maintenance;
    struct message *reply = message_new_reply(message, MESSAGE_client_maintenance_done, 0);
    struct client_maintenance_done *done = &reply->client_maintenance_done;
    struct ae_task *task = task_find(ae, request->task);
    const char *why = NULL;
    done->client = request->client;
    if (!ae->loaded) {
        done->status = ERR_UNAVAILABLE;
        why = "this node is starting";
        task = NULL;
    } else if (request->operation == MAINTENANCE_REPAIR_START) {
        task = NULL;
        done->status = task_start(ae, ctx, request, &why, &task);
    } else if (request->operation != MAINTENANCE_REPAIR_CANCEL &&
               request->operation != MAINTENANCE_REPAIR_STATUS) {
        done->status = ERR_UNSUPPORTED;
        task = NULL;
    } else if (task == NULL) {
        done->status = ERR_NOT_FOUND;
        why = "there is no such repair on this node";
    } else if (request->operation == MAINTENANCE_REPAIR_CANCEL) {
        task_cancel(ae, ctx, task);
        done->status = task_save(ae, ctx, task);
    }
    if (task != NULL)
        task_fill(task, done);
    if (why != NULL)
        done->why = why;
    count_tasks(ae);
    outbox_send(ctx, &ae->actor, reply);
}
