/* import: JSON lines into BatchWrite */
#include "cli/base64.h"
#include "cli/output.h"
#include "cli/transfer.h"

#define TTL_MS_MAX (100ll * 365 * 86400 * 1000)

struct import {
    Coterie__V1__Consistency consistency;
    uint32_t w;
    uint64_t ttl_ms;
};

/* The bytes of "name" or "name_base64", copied into the arena; exactly one of them is there. */
static bool field_bytes(struct arena *arena, const json_t *object, const char *name,
                        const char *name_base64, struct bytes *ret_bytes)
{
    const json_t *text = json_object_get(object, name);
    const json_t *encoded = json_object_get(object, name_base64);
    const json_t *given = text != NULL ? text : encoded;
    if ((text == NULL) == (encoded == NULL) || !json_is_string(given))
        return false;
    struct bytes bytes = bytes_of(json_string_value(given), json_string_length(given));
    if (encoded != NULL)
        return base64_decode(arena, bytes, ret_bytes) == OK;
    *ret_bytes = arena_copy(arena, bytes);
    return true;
}

static const char *parse_object(struct transfer *transfer, struct transfer_batch *batch,
                                const json_t *object, struct transfer_item *item)
{
    const struct import *import = transfer->command;
    if (json_object_get(object, "siblings") != NULL)
        return "the key has several values (\"siblings\"): choose one of them";
    if (!field_bytes(&batch->arena, object, "key", "key_base64", &item->key))
        return "needs \"key\" (text) or \"key_base64\"";
    if (!field_bytes(&batch->arena, object, "value", "value_base64", &item->value))
        return "needs \"value\" (text) or \"value_base64\"";
    const json_t *ttl = json_object_get(object, "ttl_ms");
    if (ttl != NULL && (!json_is_integer(ttl) || json_integer_value(ttl) <= 0 ||
                        json_integer_value(ttl) > TTL_MS_MAX))
        return "\"ttl_ms\" is not a number of milliseconds from 1 to 100 years";
    if (json_object_size(object) != (ttl == NULL ? 2u : 3u))
        return "has other fields than key, key_base64, value, value_base64 and ttl_ms";
    item->ttl_ms = ttl == NULL ? import->ttl_ms : (uint64_t)json_integer_value(ttl);
    return NULL;
}

static const char *import_parse(struct transfer *transfer, struct transfer_batch *batch,
                                struct bytes line, struct transfer_item *item)
{
    json_error_t error;
    json_t *object = json_loadb((const char *)line.data, line.size,
                                JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    const char *wrong;
    if (object == NULL)
        wrong =
            arena_printf(&batch->arena, "is not JSON: %s (column %d)", error.text, error.column);
    else if (!json_is_object(object))
        wrong = "is not a JSON object";
    else
        wrong = parse_object(transfer, batch, object, item);
    json_decref(object);
    return wrong;
}

static void import_send(struct transfer *transfer, struct transfer_batch *batch)
{
    const struct import *import = transfer->command;
    struct arena arena;
    arena_init(&arena, NULL, 0);
    Coterie__V1__BatchWriteRequest request = COTERIE__V1__BATCH_WRITE_REQUEST__INIT;
    request.keyspace = input_keyspace(transfer->cli);
    request.consistency = import->consistency;
    request.w = import->w;
    request.strict = transfer->cli->options[OPTION_STRICT] != NULL;
    request.items = ARENA_NEW(&arena, Coterie__V1__BatchWriteRequest__Item *, batch->sent_count);
    for (uint32_t i = 0; i < batch->sent_count; i++) {
        const struct transfer_item *item = &batch->items[batch->sent[i]];
        Coterie__V1__BatchWriteRequest__Item *to =
            ARENA_NEW(&arena, Coterie__V1__BatchWriteRequest__Item, 1);
        coterie__v1__batch_write_request__item__init(to);
        to->key = PROTO_BYTES(item->key);
        to->value = PROTO_BYTES(item->value);
        if (item->ttl_ms != 0) {
            to->_ttl_ms_case = COTERIE__V1__BATCH_WRITE_REQUEST__ITEM___TTL_MS_TTL_MS;
            to->ttl_ms = item->ttl_ms;
        }
        request.items[request.n_items++] = to;
    }
    rpc_client_start(transfer->client, "/coterie.v1.KeyValue/BatchWrite", &request.base,
                     &coterie__v1__batch_write_response__descriptor, transfer->cli->deadline_ms,
                     true, batch);
    arena_deinit(&arena);
}

static void import_answer(struct transfer *transfer, struct transfer_batch *batch,
                          const ProtobufCMessage *message)
{
    const Coterie__V1__BatchWriteResponse *response =
        (const Coterie__V1__BatchWriteResponse *)message;
    for (uint32_t i = 0; i < batch->sent_count; i++) {
        struct transfer_item *item = &batch->items[batch->sent[i]];
        const Coterie__V1__ItemStatus *status =
            i < response->n_items ? response->items[i]->status : NULL;
        if (i >= response->n_items)
            transfer_item_answer(transfer, batch, item, GRPC_STATUS_INTERNAL,
                                 "the node answered fewer items than it was sent", "", "UNKNOWN");
        else if (status == NULL)
            transfer_item_answer(transfer, batch, item, GRPC_STATUS_OK, "", "", "");
        else
            transfer_item_answer(transfer, batch, item, status->code, status->message,
                                 status->reason, status->outcome);
    }
}

static const struct transfer_class import_class = {.verb = "imported",
                                                   .is_write = true,
                                                   .parse = import_parse,
                                                   .send = import_send,
                                                   .answer = import_answer};

enum cli_exit cli_run_import(struct cli *cli)
{
    struct import import = {0};
    enum cli_exit exit = input_level(cli, OPTION_W, &import.consistency, &import.w);
    if (exit == CLI_OK)
        exit = cli_option_duration_ms(cli, OPTION_TTL, &import.ttl_ms);
    struct transfer *transfer = ARENA_NEW(&cli->arena, struct transfer, 1);
    if (exit == CLI_OK)
        exit =
            transfer_init(transfer, cli, &import_class, cli->word_count > 0 ? cli->words[0] : "-");
    if (exit != CLI_OK)
        return exit;
    transfer->command = &import;
    transfer_run(transfer);
    exit = transfer_finish(transfer);
    double seconds = progress_seconds(&transfer->progress);
    if (cli->json)
        output_json(json_pack("{s:I, s:I, s:I, s:f}", "imported", (json_int_t)transfer->items_done,
                              "failed", (json_int_t)transfer->items_failed, "written_again",
                              (json_int_t)transfer->items_retried, "seconds", seconds));
    else
        cli_note("imported %llu keys in %.1f s (%.0f/s), %llu failed, %llu written again",
                 (unsigned long long)transfer->items_done, seconds,
                 (double)transfer->items_done / seconds, (unsigned long long)transfer->items_failed,
                 (unsigned long long)transfer->items_retried);
    transfer_deinit(transfer);
    return exit;
}
