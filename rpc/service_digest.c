/* Maintenance.Digest: the roots of the hash trees of this node's vnodes, asked from its own
 * replicas, one question a vnode. */
#include "base/check.h"
#include "coterie/v1/maintenance.pb-c.h"
#include "model/exchange.h"
#include "rpc/cluster.h"

#define ROWS_MAX 40000u /* of an answer: about 70 bytes each */

/* What an item of the batch is about; its key holds this. */
struct digest_item {
    uint32_t partition;
    uint32_t keyspace_id; /* 0: all */
};

static bool is_replica(const struct view *view, const struct keyspace *keyspace, uint32_t partition)
{
    return view_role(view, keyspace, partition, view->self) != ROLE_NONE;
}

/* `keyspace` NULL: in any. */
static bool is_replica_in(const struct view *view, const struct keyspace *keyspace,
                          uint32_t partition)
{
    if (keyspace != NULL)
        return is_replica(view, keyspace, partition);
    for (uint32_t i = 0; i < view->keyspaces.count; i++) {
        if (!view->keyspaces.keyspaces[i].dropped &&
            is_replica(view, &view->keyspaces.keyspaces[i], partition))
            return true;
    }
    return false;
}

static struct message *question_new(struct call *call, const struct view *view, uint32_t partition,
                                    uint32_t index)
{
    struct message *message = message_new(MESSAGE_tree_roots, 0);
    call_address(call, view, index, ACTOR_REPLICA, message);
    message->tree_roots.partition = partition;
    return message;
}

static void ask_all(struct request *request, const struct keyspace *keyspace)
{
    const struct view *view = request->view;
    struct call *call = request->call;
    uint32_t count = 0;
    for (uint32_t i = 0; i < view->topology.partitions; i++)
        count += is_replica_in(view, keyspace, i);
    struct batch *batch = batch_new(count, 0);
    struct message *list = NULL;
    uint32_t index = 0;
    for (uint32_t i = 0; i < view->topology.partitions; i++) {
        if (!is_replica_in(view, keyspace, i))
            continue;
        struct digest_item *item = ARENA_NEW(&batch->arena, struct digest_item, 1);
        *item = (struct digest_item){i, keyspace == NULL ? 0 : keyspace->id};
        batch->items[index].key = bytes_of(item, sizeof *item);
        struct message *message = question_new(call, view, i, index++);
        message->next = list;
        list = message;
    }
    call_ask(call, 1, list, MESSAGE_tree_roots_reply, batch);
}

void digest_handle(struct call *call, struct bytes payload)
{
    struct request request;
    if (!request_begin(&request, call, payload, &coterie__v1__digest_request__descriptor))
        return;
    const char *name = ((const Coterie__V1__DigestRequest *)request.message)->keyspace;
    const struct keyspace *keyspace = NULL;
    struct status status;
    if (name[0] != '\0')
        keyspace = keyspace_named(request.view, name, "keyspace", &status);
    if (name[0] == '\0' || keyspace != NULL)
        ask_all(&request, keyspace);
    else
        call_fail(call, &status);
    request_end(&request);
}

/* -- the answer -------------------------------------------------------------------------------- */

struct rows {
    struct arena *arena;
    const struct view *view;
    Coterie__V1__DigestResponse response;
    bool too_many;
};

static Coterie__V1__VnodeDigest *row_add(struct rows *rows, uint32_t partition, const char *name)
{
    if (rows->response.n_vnodes == ROWS_MAX) {
        rows->too_many = true;
        return NULL;
    }
    Coterie__V1__VnodeDigest *row = arena_alloc(rows->arena, sizeof *row);
    coterie__v1__vnode_digest__init(row);
    row->partition = partition;
    row->keyspace = text_of(name);
    rows->response.vnodes[rows->response.n_vnodes++] = row;
    return row;
}

static const struct exchange_root *root_of(const struct exchange_roots *roots, uint32_t keyspace_id)
{
    for (uint32_t i = 0; i < roots->count; i++) {
        if (roots->roots[i].keyspace_id == keyspace_id)
            return &roots->roots[i];
    }
    return NULL;
}

static const char *problem_of(enum err status)
{
    return status == ERR_UNAVAILABLE ? "its hash tree is being built" : err_text(status);
}

static void rows_of_item(struct rows *rows, const struct batch_item *item)
{
    struct digest_item asked;
    memcpy(&asked, item->key.data, sizeof asked);
    const struct tree_roots_reply *reply = &item->answer->tree_roots_reply;
    struct exchange_roots roots = {0};
    enum err status = reply->status;
    if (status == OK)
        status = exchange_roots_decode(rows->arena, reply->roots, &roots);
    for (uint32_t i = 0; i < rows->view->keyspaces.count; i++) {
        const struct keyspace *keyspace = &rows->view->keyspaces.keyspaces[i];
        if (keyspace->dropped || (asked.keyspace_id != 0 && asked.keyspace_id != keyspace->id) ||
            !is_replica(rows->view, keyspace, asked.partition))
            continue;
        Coterie__V1__VnodeDigest *row = row_add(rows, asked.partition, keyspace->name);
        if (row == NULL)
            return;
        row->complete = reply->complete;
        const struct exchange_root *root = root_of(&roots, keyspace->id);
        if (status != OK)
            row->problem = text_of(problem_of(status));
        if (root == NULL)
            continue;
        row->digest = root->node.sum;
        row->keys = root->node.count;
        row->floor = root->floor;
    }
}

void digest_answer(struct call *call)
{
    struct runtime *runtime = call->edge->options->runtime;
    struct batch *batch = call->batch;
    struct rows rows = {.arena = &batch->arena, .view = runtime_view_lock(runtime)};
    coterie__v1__digest_response__init(&rows.response);
    rows.response.node = text_of(call->edge->options->node_name);
    uint64_t most = (uint64_t)batch->count * rows.view->keyspaces.count;
    rows.response.vnodes = ARENA_NEW(&batch->arena, Coterie__V1__VnodeDigest *,
                                     most < ROWS_MAX ? (size_t)most : ROWS_MAX);
    for (uint32_t i = 0; i < batch->count; i++)
        rows_of_item(&rows, &batch->items[i]);
    if (rows.too_many) {
        struct status status;
        status_set(&status, GRPC_STATUS_RESOURCE_EXHAUSTED, "ANSWER_TOO_LARGE",
                   "keyspace: this node holds more than %u vnodes of keyspaces; ask for one "
                   "keyspace after the other",
                   ROWS_MAX);
        call_fail(call, &status);
    } else {
        call_reply(call, &rows.response.base);
    }
    runtime_view_unlock(runtime);
}
