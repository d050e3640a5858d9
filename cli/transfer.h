/* transfer.h -- moves many keys in batches, several outstanding, in the order of the input.
 *
 * A batch is filled from the input, sent, and sent again for the items that the cluster refused for
 * now, after growing pauses and at most TRANSFER_ATTEMPTS_MAX times without progress. Batches leave
 * in order, so at any stop everything before a line is settled. When a whole request keeps failing,
 * all stops.
 *
 * Memory: in_flight batches of at most batch_items items and BATCH_BYTES of keys and values.
 */
#ifndef CLI_TRANSFER_H
#define CLI_TRANSFER_H

#include "base/prng.h"
#include "cli/cli.h"
#include "cli/lines.h"
#include "cli/progress.h"

#define TRANSFER_ATTEMPTS_MAX  8u
#define TRANSFER_ITEMS_MAX     1000u
#define TRANSFER_IN_FLIGHT_MAX 64u
#define TRANSFER_BATCH_BYTES   (2u * 1024 * 1024)
#define TRANSFER_FAILURES_TOLD 1000u /* the rest is only counted */

enum item_state { ITEM_PENDING, ITEM_DONE, ITEM_FAILED };

struct transfer_item {
    struct bytes key;
    struct bytes value;
    uint64_t ttl_ms; /* 0: none */
    uint64_t line;
    enum item_state state;
    const void *result; /* the command's own */
};

struct transfer_batch {
    bool used;
    bool in_flight;
    struct arena arena; /* items and results; lives as long as the batch */
    struct transfer_item items[TRANSFER_ITEMS_MAX];
    uint32_t count;
    size_t bytes;
    uint32_t sent[TRANSFER_ITEMS_MAX]; /* the items of the request under way, by index */
    uint32_t sent_count;
    uint32_t limit;                   /* items in one request; halved when that was too much */
    uint32_t attempts;                /* without progress */
    struct rpc_client_status gave_up; /* of the last item given up as unavailable; code OK: none */
    uint64_t due_ms;
    char wait_why[256];   /* of the last item that was left to the next attempt */
    uint64_t input_bytes; /* of the input, up to the end of this batch */
};

struct transfer;
struct transfer_class {
    const char *verb;
    bool is_write;
    /* Takes one line: fills the item (state too) or says what is wrong with it. The line dies
     * afterwards. */
    const char *(*parse)(struct transfer *transfer, struct transfer_batch *batch, struct bytes line,
                         struct transfer_item *item);
    /* rpc_client_start for the items named by batch->sent, tag = batch. */
    void (*send)(struct transfer *transfer, struct transfer_batch *batch);
    /* Gives transfer_item_answer for each item sent. */
    void (*answer)(struct transfer *transfer, struct transfer_batch *batch,
                   const ProtobufCMessage *response);
    /* All items are settled; batches come in order. May be NULL. */
    void (*settled)(struct transfer *transfer, struct transfer_batch *batch);
};

struct transfer {
    struct cli *cli;
    const struct transfer_class *class;
    void *command; /* the command's own */
    struct rpc_client *client;
    struct lines lines;
    struct progress progress;
    struct prng prng; /* jitter of the pauses only */
    uint32_t batch_items;
    uint32_t in_flight;
    uint64_t filled, settled;                               /* batches, counted from the start */
    struct transfer_batch *batches[TRANSFER_IN_FLIGHT_MAX]; /* batch b is batches[b % in_flight] */
    bool input_ended;
    bool wait_told;
    bool stopped; /* a request failed for good */
    struct rpc_client_status stop_status;
    bool input_failed;
    uint64_t items_done, items_failed, items_retried, failures_told;
    uint64_t input_bytes; /* settled */
    /* Lines in a row that failed for one cause which is not theirs. */
    uint64_t repeated_count, repeated_line;
    char repeated_why[512];
};

/* Options --batch and --in-flight; input: a path or "-". */
enum cli_exit transfer_init(struct transfer *transfer, struct cli *cli,
                            const struct transfer_class *class, const char *input) MUST_USE;
/* Runs to the end of the input, or to the stop. */
void transfer_run(struct transfer *transfer);
void transfer_deinit(struct transfer *transfer);
/* Settles an item, or leaves it to the next attempt. code: gRPC's. */
void transfer_item_answer(struct transfer *transfer, struct transfer_batch *batch,
                          struct transfer_item *item, int code, const char *message,
                          const char *reason, const char *outcome);
/* Tells what has stopped the transfer, if anything; the exit that follows from all of it. */
enum cli_exit transfer_finish(struct transfer *transfer);

#endif
