/* export: keys into BatchGet, values out as JSON lines */
#include "cli/base64.h"
#include "cli/output.h"
#include "cli/transfer.h"

struct export
{
    Coterie__V1__Consistency consistency;
    uint32_t r;
    bool keys_are_base64;
    uint64_t missing;
    uint64_t with_siblings;
};

/* What stays of an answer until its turn to be printed: values in the batch's arena. */
struct export_result {
    size_t count;
    struct export_value {
        struct bytes value;
        uint64_t ttl_ms;
    } values[];
};

static const char *export_parse(struct transfer *transfer, struct transfer_batch *batch,
                                struct bytes line, struct transfer_item *item)
{
    const struct export *export = transfer->command;
    if (!export->keys_are_base64)
        item->key = arena_copy(&batch->arena, line);
    else if (base64_decode(&batch->arena, line, &item->key) != OK)
        return "the key is not base64";
    return NULL;
}

static void export_send(struct transfer *transfer, struct transfer_batch *batch)
{
    const struct export *export = transfer->command;
    struct arena arena;
    arena_init(&arena, NULL, 0);
    Coterie__V1__BatchGetRequest request = COTERIE__V1__BATCH_GET_REQUEST__INIT;
    request.keyspace = input_keyspace(transfer->cli);
    request.consistency = export->consistency;
    request.r = export->r;
    request.keys = ARENA_NEW(&arena, ProtobufCBinaryData, batch->sent_count);
    for (uint32_t i = 0; i < batch->sent_count; i++)
        request.keys[request.n_keys++] = PROTO_BYTES(batch->items[batch->sent[i]].key);
    rpc_client_start(transfer->client, "/coterie.v1.KeyValue/BatchGet", &request.base,
                     &coterie__v1__batch_get_response__descriptor, transfer->cli->deadline_ms, true,
                     batch);
    arena_deinit(&arena);
}

static const struct export_result *result_keep(struct arena *arena,
                                               const Coterie__V1__GetResponse *response)
{
    size_t count = response == NULL ? 0 : response->n_values;
    struct export_result *result =
        arena_alloc_zero(arena, sizeof *result + count * sizeof result->values[0]);
    result->count = count;
    for (size_t i = 0; i < count; i++) {
        const Coterie__V1__Value *value = response->values[i];
        result->values[i].value = arena_copy(arena, BYTES_OF_PROTO(value->value));
        if (value->_ttl_ms_case == COTERIE__V1__VALUE___TTL_MS_TTL_MS)
            result->values[i].ttl_ms = value->ttl_ms;
    }
    return result;
}

static void export_answer(struct transfer *transfer, struct transfer_batch *batch,
                          const ProtobufCMessage *message)
{
    const Coterie__V1__BatchGetResponse *response = (const Coterie__V1__BatchGetResponse *)message;
    for (uint32_t i = 0; i < batch->sent_count; i++) {
        struct transfer_item *item = &batch->items[batch->sent[i]];
        if (i >= response->n_items) {
            transfer_item_answer(transfer, batch, item, GRPC_STATUS_INTERNAL,
                                 "the node answered fewer items than it was sent", "", "");
            continue;
        }
        const Coterie__V1__ItemStatus *status = response->items[i]->status;
        if (status != NULL && status->code != 0) {
            transfer_item_answer(transfer, batch, item, status->code, status->message,
                                 status->reason, "");
            continue;
        }
        item->result = result_keep(&batch->arena, response->items[i]->result);
        transfer_item_answer(transfer, batch, item, GRPC_STATUS_OK, "", "", "");
    }
}

static void set_value(json_t *object, const struct export_value *value, struct arena *arena)
{
    output_json_bytes(object, "value", value->value, arena);
    if (value->ttl_ms != 0)
        json_object_set_new(object, "ttl_ms", json_integer((json_int_t)value->ttl_ms));
}

static void print_item(struct export *export, struct transfer_batch *batch,
                       const struct transfer_item *item)
{
    const struct export_result *result = item->result;
    if (result->count == 0) {
        export->missing++;
        return;
    }
    json_t *object = json_object();
    output_json_bytes(object, "key", item->key, &batch->arena);
    if (result->count == 1) {
        set_value(object, &result->values[0], &batch->arena);
    } else {
        json_t *siblings = json_array();
        for (size_t i = 0; i < result->count; i++) {
            json_t *sibling = json_object();
            set_value(sibling, &result->values[i], &batch->arena);
            json_array_append_new(siblings, sibling);
        }
        json_object_set_new(object, "siblings", siblings);
        export->with_siblings++;
    }
    json_dumpf(object, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(object);
}

static void export_settled(struct transfer *transfer, struct transfer_batch *batch)
{
    for (uint32_t i = 0; i < batch->count; i++) {
        if (batch->items[i].state == ITEM_DONE)
            print_item(transfer->command, batch, &batch->items[i]);
    }
}

static const struct transfer_class export_class = {.verb = "read",
                                                   .is_write = false,
                                                   .parse = export_parse,
                                                   .send = export_send,
                                                   .answer = export_answer,
                                                   .settled = export_settled};

enum cli_exit cli_run_export(struct cli *cli)
{
    struct export export = {.keys_are_base64 = cli->options[OPTION_KEY_BASE64] != NULL};
    enum cli_exit exit = input_level(cli, OPTION_R, &export.consistency, &export.r);
    struct transfer *transfer = ARENA_NEW(&cli->arena, struct transfer, 1);
    const char *keys = cli->options[OPTION_KEYS];
    if (exit == CLI_OK)
        exit = transfer_init(transfer, cli, &export_class, keys == NULL ? "-" : keys);
    if (exit != CLI_OK)
        return exit;
    transfer->command = &export;
    transfer_run(transfer);
    exit = transfer_finish(transfer);
    cli_note("read %llu keys in %.1f s, %llu without a value, %llu with siblings, %llu failed",
             (unsigned long long)transfer->items_done, progress_seconds(&transfer->progress),
             (unsigned long long)export.missing, (unsigned long long)export.with_siblings,
             (unsigned long long)transfer->items_failed);
    transfer_deinit(transfer);
    return exit == CLI_OK && export.missing > 0 ? CLI_NOT_FOUND : exit;
}
