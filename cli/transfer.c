#include "cli/transfer.h"

#include "cli/output.h"

#include <signal.h>
#include <stdlib.h>
#include <time.h>

#define IN_FLIGHT_DEFAULT   8u
#define BATCH_ITEMS_DEFAULT 100u
#define PAUSE_MS_MIN        100u
#define PAUSE_MS_MAX        3000u
#define WAIT_MS_MAX         100u
#define ATTEMPTS_UNTOLD     2u /* the first pauses are short, and often enough */

enum cli_exit transfer_init(struct transfer *transfer, struct cli *cli,
                            const struct transfer_class *class, const char *input)
{
    uint64_t batch_items = BATCH_ITEMS_DEFAULT, in_flight = IN_FLIGHT_DEFAULT;
    enum cli_exit exit = cli_option_u64(cli, OPTION_BATCH, 1, TRANSFER_ITEMS_MAX, &batch_items);
    if (exit == CLI_OK)
        exit = cli_option_u64(cli, OPTION_IN_FLIGHT, 1, TRANSFER_IN_FLIGHT_MAX, &in_flight);
    if (exit != CLI_OK)
        return exit;
    *transfer = (struct transfer){.cli = cli, .class = class};
    transfer->client = cli_client(cli);
    if (transfer->client == NULL)
        return CLI_USAGE;
    if (!lines_open(&transfer->lines, input))
        return CLI_FAILED;
    transfer->batch_items = (uint32_t)batch_items;
    transfer->in_flight = (uint32_t)in_flight;
    for (uint32_t i = 0; i < transfer->in_flight; i++) {
        transfer->batches[i] = calloc(1, sizeof *transfer->batches[i]);
        CHECK(transfer->batches[i] != NULL);
        arena_init(&transfer->batches[i]->arena, NULL, 0);
    }
    prng_init(&transfer->prng, progress_now_ms(), 0);
    progress_init(&transfer->progress, class->verb);
    return CLI_OK;
}

void transfer_deinit(struct transfer *transfer)
{
    for (uint32_t i = 0; i < transfer->in_flight; i++) {
        arena_deinit(&transfer->batches[i]->arena);
        free(transfer->batches[i]);
    }
    lines_close(&transfer->lines);
}

static void say_repeated(struct transfer *transfer)
{
    if (transfer->repeated_count != 0)
        cli_note("and %llu more, up to line %llu: the same",
                 (unsigned long long)transfer->repeated_count,
                 (unsigned long long)transfer->repeated_line);
    transfer->repeated_count = 0;
    transfer->repeated_why[0] = '\0';
}

/* The cause is not the line's own: with a hundred others it is told once. */
static bool is_repeated(struct transfer *transfer, const struct transfer_item *item,
                        const char *why)
{
    if (strcmp(transfer->repeated_why, why) == 0) {
        transfer->repeated_count++;
        transfer->repeated_line = item->line;
        return true;
    }
    say_repeated(transfer);
    snprintf(transfer->repeated_why, sizeof transfer->repeated_why, "%s", why);
    return false;
}

static void item_failed(struct transfer *transfer, struct transfer_batch *batch,
                        struct transfer_item *item, const char *why)
{
    item->state = ITEM_FAILED;
    transfer->items_failed++;
    if (transfer->failures_told++ >= TRANSFER_FAILURES_TOLD)
        return;
    progress_clear(&transfer->progress);
    if (item->key.size > 0)
        cli_note("line %llu, key '%s': %s", (unsigned long long)item->line,
                 output_key(&batch->arena, item->key), why);
    else
        cli_note("line %llu: %s", (unsigned long long)item->line, why);
}

static bool is_temporary(int code)
{
    return code == GRPC_STATUS_UNAVAILABLE || code == GRPC_STATUS_RESOURCE_EXHAUSTED ||
           code == GRPC_STATUS_DEADLINE_EXCEEDED || code == GRPC_STATUS_ABORTED ||
           code == GRPC_STATUS_CANCELLED;
}

void transfer_item_answer(struct transfer *transfer, struct transfer_batch *batch,
                          struct transfer_item *item, int code, const char *message,
                          const char *reason, const char *outcome)
{
    CHECK(item->state == ITEM_PENDING);
    if (code == GRPC_STATUS_OK) {
        item->state = ITEM_DONE;
        transfer->items_done++;
        return;
    }
    if (is_temporary(code) && batch->attempts + 1 < TRANSFER_ATTEMPTS_MAX) {
        snprintf(batch->wait_why, sizeof batch->wait_why, "%s", message);
        return;
    }
    if (is_temporary(code)) {
        batch->gave_up = (struct rpc_client_status){.code = (grpc_status_code)code};
        snprintf(batch->gave_up.message, sizeof batch->gave_up.message, "%s", message);
        snprintf(batch->gave_up.reason, sizeof batch->gave_up.reason, "%s", reason);
        snprintf(batch->gave_up.outcome, sizeof batch->gave_up.outcome, "%s", outcome);
    }
    bool tells_outcome = transfer->class->is_write && outcome[0] != '\0';
    const char *why = arena_printf(&batch->arena, "%s (%s%s%s%s%s)", message, rpc_code_name(code),
                                   reason[0] != '\0' ? " " : "", reason, tells_outcome ? ", " : "",
                                   tells_outcome ? outcome : "");
    if (is_temporary(code) && is_repeated(transfer, item, why)) {
        item->state = ITEM_FAILED;
        transfer->items_failed++;
    } else {
        item_failed(transfer, batch, item, why);
    }
}

/* -- input -------------------------------------------------------------------------------- */

/* False: nothing more is to be had now. */
static bool batch_take_line(struct transfer *transfer, struct transfer_batch *batch)
{
    struct bytes line;
    enum lines_result result = lines_next(&transfer->lines, &line);
    if (result == LINES_END || result == LINES_FAILED) {
        transfer->input_ended = true;
        transfer->input_failed = result == LINES_FAILED;
        return false;
    }
    batch->input_bytes = transfer->lines.bytes;
    if (result == LINES_LINE && line.size == 0)
        return true;
    struct transfer_item *item = &batch->items[batch->count++];
    *item = (struct transfer_item){.line = transfer->lines.line};
    const char *wrong = result == LINES_TOO_LONG
                            ? "the line is longer than any value can be"
                            : transfer->class->parse(transfer, batch, line, item);
    if (wrong == NULL && (item->key.size == 0 || item->key.size > 4096))
        wrong = "the key has not 1 to 4096 bytes";
    if (wrong != NULL)
        item_failed(transfer, batch, item, wrong);
    else
        batch->bytes += item->key.size + item->value.size;
    return true;
}

/* A batch from the input; does not wait for input while others are under way. */
static bool batch_fill(struct transfer *transfer)
{
    struct transfer_batch *batch = transfer->batches[transfer->filled % transfer->in_flight];
    CHECK(!batch->used);
    arena_clear(&batch->arena);
    batch->count = 0;
    batch->bytes = 0;
    batch->attempts = 0;
    batch->gave_up = (struct rpc_client_status){.code = GRPC_STATUS_OK};
    batch->due_ms = 0;
    batch->limit = transfer->batch_items;
    while (batch->count < transfer->batch_items && batch->bytes < TRANSFER_BATCH_BYTES) {
        bool may_wait = batch->count == 0 && transfer->filled == transfer->settled;
        if (!may_wait && !lines_ready(&transfer->lines))
            break;
        if (!batch_take_line(transfer, batch))
            break;
    }
    if (batch->count == 0)
        return false;
    batch->used = true;
    transfer->filled++;
    return true;
}

/* -- sending ------------------------------------------------------------------------------ */

static bool batch_is_settled(const struct transfer_batch *batch)
{
    for (uint32_t i = 0; i < batch->count; i++) {
        if (batch->items[i].state == ITEM_PENDING)
            return false;
    }
    return true;
}

static void batch_send(struct transfer *transfer, struct transfer_batch *batch)
{
    size_t bytes = 0;
    batch->sent_count = 0;
    for (uint32_t i = 0; i < batch->count && batch->sent_count < batch->limit; i++) {
        const struct transfer_item *item = &batch->items[i];
        if (item->state != ITEM_PENDING)
            continue;
        /* The last item of a full batch may be a large one: it goes alone. */
        size_t size = item->key.size + item->value.size;
        if (batch->sent_count > 0 && bytes + size > TRANSFER_BATCH_BYTES)
            break;
        bytes += size;
        batch->sent[batch->sent_count++] = i;
    }
    batch->in_flight = true;
    transfer->class->send(transfer, batch);
}

/* Says once, after the first pauses have not helped, what a silent bar waits for. */
static void say_wait(struct transfer *transfer, const struct transfer_batch *batch, const char *why)
{
    if (transfer->wait_told || transfer->stopped || batch->attempts < ATTEMPTS_UNTOLD ||
        why[0] == '\0')
        return;
    transfer->wait_told = true;
    progress_clear(&transfer->progress);
    cli_note("asking again, with pauses, %u times at most: %s", TRANSFER_ATTEMPTS_MAX, why);
}

static void batch_pause(struct transfer *transfer, struct transfer_batch *batch,
                        uint64_t retry_after_ms, const char *why)
{
    say_wait(transfer, batch, why);
    uint64_t pause_ms = PAUSE_MS_MIN << (batch->attempts < 6 ? batch->attempts : 6);
    if (pause_ms < retry_after_ms)
        pause_ms = retry_after_ms;
    if (pause_ms > PAUSE_MS_MAX)
        pause_ms = PAUSE_MS_MAX;
    batch->due_ms = progress_now_ms() + prng_between(&transfer->prng, pause_ms / 2, pause_ms);
}

/* The server names a field of an item: the items can be told apart by asking for fewer. */
static bool is_about_items(const struct rpc_client_status *status)
{
    static const char *const fields[] = {"items", "keys", "key", "value", "context", "ttl_ms"};
    size_t size = strcspn(status->field, "[.");
    for (size_t i = 0; i < ARRAY_COUNT(fields); i++) {
        if (strlen(fields[i]) == size && strncmp(fields[i], status->field, size) == 0)
            return status->code == GRPC_STATUS_INVALID_ARGUMENT;
    }
    return false;
}

static void transfer_stop(struct transfer *transfer, const struct rpc_client_status *status)
{
    if (!transfer->stopped)
        transfer->stop_status = *status;
    transfer->stopped = true;
}

/* The request as a whole was refused: for its size or one item, for now, or for good. */
static void batch_on_failure(struct transfer *transfer, struct transfer_batch *batch,
                             const struct rpc_client_status *status)
{
    bool about_items = is_about_items(status);
    bool too_much = status->code == GRPC_STATUS_RESOURCE_EXHAUSTED || about_items;
    if (about_items && batch->sent_count == 1) {
        struct transfer_item *item = &batch->items[batch->sent[0]];
        transfer_item_answer(transfer, batch, item, (int)status->code, status->message,
                             status->reason, status->outcome);
        batch->limit = transfer->batch_items;
        return;
    }
    if (too_much && batch->sent_count > 1)
        batch->limit = batch->sent_count / 2;
    if (about_items)
        return;
    batch->attempts++;
    if (is_temporary((int)status->code) && batch->attempts < TRANSFER_ATTEMPTS_MAX) {
        transfer->items_retried += batch->sent_count;
        batch_pause(transfer, batch, status->retry_after_ms, status->message);
        return;
    }
    transfer_stop(transfer, status);
}

/* Nothing of the batch was taken, over all attempts: the next ones would fare no better. */
static bool batch_is_hopeless(const struct transfer_batch *batch)
{
    if (batch->gave_up.code == GRPC_STATUS_OK)
        return false;
    for (uint32_t i = 0; i < batch->count; i++) {
        if (batch->items[i].state == ITEM_DONE)
            return false;
    }
    return true;
}

static void batch_on_answer(struct transfer *transfer, struct transfer_batch *batch,
                            const struct rpc_client_answer *answer)
{
    batch->in_flight = false;
    if (answer->response == NULL) {
        batch_on_failure(transfer, batch, &answer->status);
        return;
    }
    transfer->class->answer(transfer, batch, answer->response);
    uint32_t left = 0;
    for (uint32_t i = 0; i < batch->sent_count; i++)
        left += batch->items[batch->sent[i]].state == ITEM_PENDING;
    batch->attempts = left < batch->sent_count ? 0 : batch->attempts + 1;
    if (left > 0) {
        transfer->items_retried += left;
        batch_pause(transfer, batch, 0, batch->wait_why);
    } else if (batch_is_hopeless(batch)) {
        memcpy(batch->gave_up.endpoint, answer->status.endpoint, sizeof answer->status.endpoint);
        transfer_stop(transfer, &batch->gave_up);
    }
}

/* -- the loop ----------------------------------------------------------------------------- */

/* Sends what is due; the milliseconds until the next one is. */
static uint64_t send_due(struct transfer *transfer)
{
    uint64_t now_ms = progress_now_ms(), wait_ms = WAIT_MS_MAX;
    for (uint64_t i = transfer->settled; i < transfer->filled && !transfer->stopped; i++) {
        struct transfer_batch *batch = transfer->batches[i % transfer->in_flight];
        if (batch->in_flight || batch_is_settled(batch))
            continue;
        if (batch->due_ms <= now_ms)
            batch_send(transfer, batch);
        else if (batch->due_ms - now_ms < wait_ms)
            wait_ms = batch->due_ms - now_ms;
    }
    return wait_ms;
}

static void settle_in_order(struct transfer *transfer)
{
    while (transfer->settled < transfer->filled) {
        struct transfer_batch *batch = transfer->batches[transfer->settled % transfer->in_flight];
        if (batch->in_flight || !batch_is_settled(batch))
            return;
        if (transfer->class->settled != NULL)
            transfer->class->settled(transfer, batch);
        transfer->input_bytes = batch->input_bytes;
        batch->used = false;
        transfer->settled++;
    }
}

static void wait_for_answers(struct transfer *transfer, uint64_t wait_ms)
{
    if (rpc_client_outstanding(transfer->client) == 0) {
        struct timespec pause = {.tv_nsec = (long)wait_ms * 1000000};
        nanosleep(&pause, NULL);
        return;
    }
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct rpc_client_answer answer;
    while (rpc_client_next(transfer->client, (uint32_t)wait_ms, &arena, &answer)) {
        batch_on_answer(transfer, answer.tag, &answer);
        arena_clear(&arena);
        wait_ms = 0; /* whatever else is there already */
    }
    arena_deinit(&arena);
}

static volatile sig_atomic_t interrupted;

/* The first Ctrl-C ends it in order, a second one at once. */
static void on_interrupt(int signal_number)
{
    (void)signal_number;
    interrupted = 1;
}

void transfer_run(struct transfer *transfer)
{
    struct sigaction action = {.sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND};
    sigaction(SIGINT, &action, NULL);
    transfer->lines.stop = &interrupted;
    for (;;) {
        transfer->stopped = transfer->stopped || interrupted != 0;
        bool full = transfer->filled - transfer->settled == transfer->in_flight;
        bool filled = !full && !transfer->input_ended && !transfer->stopped && batch_fill(transfer);
        uint64_t wait_ms = send_due(transfer);
        settle_in_order(transfer);
        bool idle = rpc_client_outstanding(transfer->client) == 0;
        if (transfer->stopped && idle)
            break;
        if (transfer->input_ended && transfer->settled == transfer->filled)
            break;
        if (filled)
            wait_ms = 0;
        if (!idle || !filled)
            wait_for_answers(transfer, wait_ms);
        settle_in_order(transfer);
        progress_show(&transfer->progress, transfer->items_done, transfer->input_bytes,
                      transfer->lines.bytes_total);
    }
    transfer->stopped = transfer->stopped || interrupted != 0;
    progress_clear(&transfer->progress);
}

/* The first line that is not settled: where to go on. */
static uint64_t stop_line(const struct transfer *transfer)
{
    const struct transfer_batch *batch = transfer->batches[transfer->settled % transfer->in_flight];
    for (uint32_t i = 0; transfer->settled < transfer->filled && i < batch->count; i++) {
        if (batch->items[i].state == ITEM_PENDING)
            return batch->items[i].line;
    }
    return transfer->lines.line + 1;
}

enum cli_exit transfer_finish(struct transfer *transfer)
{
    say_repeated(transfer);
    if (transfer->failures_told > TRANSFER_FAILURES_TOLD)
        cli_note("and %llu more failed lines",
                 (unsigned long long)(transfer->failures_told - TRANSFER_FAILURES_TOLD));
    if (transfer->stopped) {
        enum cli_exit exit = CLI_FAILED;
        if (transfer->stop_status.code == GRPC_STATUS_OK)
            cli_note("interrupted");
        else
            exit = cli_report(transfer->cli, &transfer->stop_status, transfer->class->is_write);
        unsigned long long line = stop_line(transfer);
        if (transfer->items_done == 0)
            cli_note("stopped at line %llu: nothing was %s", line, transfer->class->verb);
        else
            cli_note(
                "stopped: the lines before line %llu are done or named above; go on from there",
                line);
        return exit;
    }
    return transfer->input_failed || transfer->items_failed > 0 ? CLI_FAILED : CLI_OK;
}
