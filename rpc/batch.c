#include "rpc/batch.h"

#include "base/check.h"
#include "model/limits.h"

#include <stdlib.h>

struct batch *batch_new(uint32_t count, size_t size_hint)
{
    struct batch *batch = malloc(sizeof *batch + size_hint);
    CHECK(batch != NULL);
    *batch = (struct batch){.count = count};
    arena_init(&batch->arena, batch + 1, size_hint);
    batch->items = ARENA_NEW(&batch->arena, struct batch_item, count);
    return batch;
}

void batch_free(struct batch *batch)
{
    if (batch == NULL)
        return;
    for (uint32_t i = 0; i < batch->count; i++)
        message_free(batch->items[i].answer);
    arena_deinit(&batch->arena);
    free(batch);
}

static size_t answer_bytes(const struct message *answer)
{
    if (answer->kind != MESSAGE_client_get_done)
        return 0;
    size_t size = 0;
    for (uint32_t i = 0; i < answer->client_get_done.set.count; i++)
        size += answer->client_get_done.set.versions[i].value.size;
    return size;
}

bool batch_keep(struct batch *batch, uint32_t index, struct message *answer)
{
    if (index >= batch->count || batch->items[index].answer != NULL ||
        batch->items[index].status != NULL)
        return false;
    struct batch_item *item = &batch->items[index];
    size_t size = answer_bytes(answer);
    if (batch->answer_bytes + size <= BATCH_BYTES_MAX) {
        batch->answer_bytes += size;
        item->answer = answer;
        return true;
    }
    item->status = ARENA_NEW(&batch->arena, struct status, 1);
    status_set(item->status, GRPC_STATUS_RESOURCE_EXHAUSTED, "BATCH_TOO_LARGE",
               "items: the answer would hold more than %u bytes of values; get this key by itself",
               BATCH_BYTES_MAX);
    message_free(answer);
    return true;
}
