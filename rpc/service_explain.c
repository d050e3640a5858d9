/* Maintenance.Explain: what every node holds of one key, gathered by the anti-entropy actor. */
#include "base/check.h"
#include "coterie/v1/maintenance.pb-c.h"
#include "model/hash.h"
#include "model/hlc.h"
#include "model/record.h"
#include "model/register_value.h"
#include "rpc/change.h"
#include "rpc/cluster.h"
#include "rpc/key_value.h"

#include <inttypes.h>

typedef Coterie__V1__ExplainedNode node_words;
typedef Coterie__V1__ExplainedVersion version_words;

void explain_handle(struct call *call, struct bytes payload)
{
    struct request request;
    if (!request_begin(&request, call, payload, &coterie__v1__explain_request__descriptor))
        return;
    const Coterie__V1__ExplainRequest *words = (const Coterie__V1__ExplainRequest *)request.message;
    struct bytes key = bytes_of_binary(words->key);
    struct status status;
    const char *name = words->keyspace[0] == '\0' ? "default" : words->keyspace;
    const struct keyspace *keyspace = keyspace_named(request.view, name, "keyspace", &status);
    bool known = keyspace != NULL && key_check(key, &status);
    if (!known) {
        call_fail(call, &status);
        request_end(&request);
        return;
    }
    struct batch *batch =
        batch_new(1, key.size); /* the answer does not say which key it is about */
    batch->items[0].key = arena_copy(&batch->arena, key);
    batch->items[0].scope.keyspace_id = keyspace->id;
    struct message *message = message_new(MESSAGE_client_explain, key.size);
    call_address(call, request.view, 0, ACTOR_ANTI_ENTROPY, message);
    message->client_explain = (struct client_explain){.client = message->id,
                                                      .keyspace_id = keyspace->id,
                                                      .key = arena_copy(&message->arena, key)};
    call_ask(call, 1, message, MESSAGE_client_explain_done, batch);
    request_end(&request);
}

/* -- the answer -------------------------------------------------------------------------------- */

struct explained {
    struct arena *arena;
    const struct view *view;
    uint32_t keyspace_id;
    bool registers; /* of a consistent keyspace */
    struct bytes key;
    uint64_t wall_ms;
};

static char *name_of(const struct explained *explained, uint32_t number)
{
    const struct member *member = topology_member(&explained->view->topology, number);
    return member == NULL ? arena_printf(explained->arena, "#%" PRIu32, number)
                          : text_of(member->name);
}

static version_words *version_new(const struct explained *explained, const struct version *version)
{
    version_words *words = arena_alloc(explained->arena, sizeof *words);
    coterie__v1__explained_version__init(words);
    words->dot = arena_printf(explained->arena, "%s:%" PRIu64 ":%" PRIu64,
                              name_of(explained, version->dot.member), version->dot.key_epoch,
                              version->dot.counter);
    words->tombstone = (version->flags & VERSION_TOMBSTONE) != 0;
    words->written_at_ms = hlc_wall_ms(version->written_at);
    words->expires_at_ms = version->expires_at_ms;
    words->expired = !words->tombstone && !version_is_live(version, explained->wall_ms);
    words->value_bytes = version->value.size;
    words->value_hash = hash_bytes(version->value, 0);
    return words;
}

static char *history_of(const struct explained *explained, const struct clock_entry *entry)
{
    char *text = arena_printf(explained->arena, "%s:%" PRIu64 ":1-%" PRIu64,
                              name_of(explained, entry->member), entry->key_epoch, entry->base);
    for (uint32_t i = 0; i < entry->extra_count; i++)
        text = arena_printf(explained->arena, "%s,%" PRIu64, text, entry->extras[i]);
    return text;
}

static void record_fill(const struct explained *explained, struct bytes record, node_words *words)
{
    struct version_set set;
    enum err err =
        record_decode(explained->arena, explained->keyspace_id, explained->key, record, &set);
    words->found = true;
    if (err != OK) {
        words->problem = text_of(err_text(err));
        return;
    }
    words->checksum = record_checksum(record);
    words->versions = ARENA_NEW(explained->arena, version_words *, set.count);
    for (uint32_t i = 0; i < set.count; i++)
        words->versions[words->n_versions++] = version_new(explained, &set.versions[i]);
    words->history = ARENA_NEW(explained->arena, char *, set.clock.count);
    for (uint32_t i = 0; i < set.clock.count; i++)
        words->history[words->n_history++] = history_of(explained, &set.clock.entries[i]);
}

/* "14 by n2"; empty: none */
static char *ballot_text(const struct explained *explained, struct ballot ballot)
{
    if (ballot.counter == 0)
        return text_of("");
    return arena_printf(explained->arena, "%" PRIu64 " by %s", ballot.counter,
                        name_of(explained, ballot.member));
}

static void register_fill(const struct explained *explained, const struct key_explain_reply *held,
                          node_words *words)
{
    struct register_value value;
    words->mute = held->mute;
    words->complete = held->complete;
    words->promised = ballot_text(explained, held->promised);
    words->accepted = ballot_text(explained, held->accepted);
    if (register_value_decode(held->record, &value) != OK) {
        words->problem = text_of(err_text(ERR_CORRUPT));
        return;
    }
    words->found = held->accepted.counter != 0;
    words->checksum = words->found ? hash_bytes(held->record, 0) : 0;
    if (value.version == 0)
        return;
    words->versions = ARENA_NEW(explained->arena, version_words *, 1);
    version_words *version = arena_alloc(explained->arena, sizeof *version);
    coterie__v1__explained_version__init(version);
    version->dot = arena_printf(explained->arena, "%" PRIu64, value.version);
    version->tombstone = !value.found;
    version->expires_at_ms = value.expires_at_ms;
    version->expired = register_value_expired(&value, explained->wall_ms);
    version->value_bytes = value.value.size;
    version->value_hash = hash_bytes(value.value, 0);
    words->versions[words->n_versions++] = version;
}

static const char *reason_text(uint32_t reason)
{
    static const char *const texts[] = {[WRITE_REPLICATE] = "late write",
                                        [WRITE_READ_REPAIR] = "read repair",
                                        [WRITE_HINT] = "hint",
                                        [WRITE_ANTI_ENTROPY] = "anti-entropy"};
    return reason < ARRAY_COUNT(texts) ? texts[reason] : "?";
}

static const char *problem_of(enum err status)
{
    return status == ERR_UNAVAILABLE ? "the node cannot be reached"
           : status == ERR_TIMEOUT   ? "the node has not answered in time"
                                     : err_text(status);
}

static node_words *node_new(const struct explained *explained, const struct node_explain *node)
{
    node_words *words = arena_alloc(explained->arena, sizeof *words);
    const struct key_explain_reply *held = &node->held;
    coterie__v1__explained_node__init(words);
    words->node = name_of(explained, node->member);
    words->replica = node->replica;
    if (node->replica && held->status != OK && held->status != ERR_NOT_FOUND)
        words->problem = text_of(problem_of(held->status));
    if (node->replica && explained->registers) {
        if (held->status == OK)
            register_fill(explained, held, words);
        struct waits waits;
        if (waits_decode(explained->arena, node->hints.waits, &waits) == OK)
            waits_of_vote(explained->arena, explained->view, words->node, &waits, &words->waits,
                          &words->n_waits);
        return words;
    }
    if (node->replica && held->status == OK) {
        words->complete = held->complete;
        words->floor = held->floor;
        words->tree_depth = held->tree_depth;
        words->leaf = held->leaf_index;
        words->leaf_digest = held->leaf_sum;
        words->leaf_keys = held->leaf_keys;
        words->repaired_at_ms = held->repaired_at_ms;
        if (held->repaired_at_ms != 0)
            words->repaired_by = text_of(reason_text(held->repaired_reason));
        if (held->record.size != 0)
            record_fill(explained, held->record, words);
    }
    if (node->hints.status != OK && node->hints.status != ERR_NOT_FOUND)
        words->hints_problem = text_of(problem_of(node->hints.status));
    words->hints_for = ARENA_NEW(explained->arena, char *, EXPLAIN_HINTS_MAX);
    for (uint32_t i = 0; i < node->hints.hint_count && i < EXPLAIN_HINTS_MAX; i++)
        words->hints_for[words->n_hints_for++] = name_of(explained, node->hints.hint_members[i]);
    words->hint_stored_at_ms = node->hints.hint_count == 0 ? 0 : node->hints.hint_stored_at_ms;
    return words;
}

void explain_answer(struct call *call)
{
    struct batch *batch = call->batch;
    struct message *answer = batch->items[0].answer;
    CHECK_U64(answer->kind, ==, MESSAGE_client_explain_done);
    const struct client_explain_done *done = &answer->client_explain_done;
    if (done->status != OK) {
        struct status status;
        status_of_err(&status, done->status, done->why);
        call_fail(call, &status);
        return;
    }
    struct runtime *runtime = call->edge->options->runtime;
    struct explained explained = {.arena = &batch->arena,
                                  .view = runtime_view_lock(runtime),
                                  .keyspace_id = batch->items[0].scope.keyspace_id,
                                  .key = batch->items[0].key,
                                  .wall_ms = done->wall_ms};
    const struct keyspace *keyspace =
        keyspace_map_find_id(&explained.view->keyspaces, explained.keyspace_id);
    explained.registers = keyspace != NULL && keyspace->mode == KEYSPACE_CONSISTENT;
    Coterie__V1__ExplainResponse response = COTERIE__V1__EXPLAIN_RESPONSE__INIT;
    response.consistent = explained.registers;
    response.keyspace = text_of(keyspace == NULL ? "" : keyspace->name);
    response.partition = done->partition;
    response.hash = done->hash;
    response.asked_at_ms = done->wall_ms;
    response.nodes = ARENA_NEW(&batch->arena, node_words *, done->count);
    for (uint32_t i = 0; i < done->count; i++)
        response.nodes[response.n_nodes++] = node_new(&explained, &done->nodes[i]);
    call_reply(call, &response.base);
    runtime_view_unlock(runtime);
}
