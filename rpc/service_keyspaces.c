/* Keyspaces: listed and described from the view; created and dropped through gossip. */
#include "base/check.h"
#include "model/hlc.h"
#include "model/limits.h"
#include "model/register.h"
#include "model/topology_sets.h"
#include "rpc/cluster.h"

#include <stdlib.h>

typedef Coterie__V1__Keyspace keyspace_words;
typedef Coterie__V1__Keyspace__NByDataCenterEntry data_center_words;

/* -- keyspaces, read --------------------------------------------------------------------------- */

static Coterie__V1__Consistency level_words(enum consistency level)
{
    /* An explicit count has no word: shown as unspecified. */
    return level == CONSISTENCY_COUNT ? COTERIE__V1__CONSISTENCY__CONSISTENCY_UNSPECIFIED
                                      : (Coterie__V1__Consistency)level;
}

static void n_add(struct arena *arena, keyspace_words *words, const char *data_center, uint32_t n)
{
    data_center_words *entry = arena_alloc(arena, sizeof *entry);
    coterie__v1__keyspace__nby_data_center_entry__init(entry);
    entry->key = text_of(data_center);
    entry->value = n;
    words->n_by_data_center[words->n_n_by_data_center++] = entry;
}

/* Where one data centre has an N of its own, or it was changed since, what each of them has; those
 * that the keyspace names and nobody is in come last. */
static void n_fill(struct arena *arena, const struct topology *topology,
                   const struct keyspace *keyspace, keyspace_words *words)
{
    bool changed = false;
    words->n = keyspace->n;
    for (uint32_t i = 0; i < topology->replication_count; i++)
        changed = changed || topology->replication[i].keyspace_id == keyspace->id;
    if (!changed && keyspace->data_center_count == 0)
        return;
    words->n_by_data_center =
        ARENA_NEW(arena, data_center_words *, topology->data_center_count + DATA_CENTERS_MAX);
    for (uint32_t i = 0; i < topology->data_center_count; i++) {
        uint32_t n = topology_side_n(topology, TOPOLOGY_NOW, keyspace, i);
        words->n = changed && (i == 0 || n > words->n) ? n : words->n;
        n_add(arena, words, topology->data_centers[i], n);
    }
    for (uint8_t i = 0; i < keyspace->data_center_count && !changed; i++) {
        const char *name = keyspace->data_centers[i].name;
        uint32_t known = 0;
        while (known < topology->data_center_count &&
               strcmp(topology->data_centers[known], name) != 0)
            known++;
        if (known == topology->data_center_count)
            n_add(arena, words, name, keyspace->data_centers[i].n);
    }
}

static keyspace_words *keyspace_new(struct arena *arena, const struct topology *topology,
                                    const struct keyspace *keyspace)
{
    keyspace_words *words = arena_alloc(arena, sizeof *words);
    coterie__v1__keyspace__init(words);
    words->name = text_of(keyspace->name);
    words->mode = keyspace->mode == KEYSPACE_CONSISTENT
                      ? COTERIE__V1__KEYSPACE__MODE__MODE_CONSISTENT
                      : COTERIE__V1__KEYSPACE__MODE__MODE_AVAILABLE;
    words->conflict = keyspace->conflict == KEYSPACE_LWW
                          ? COTERIE__V1__KEYSPACE__CONFLICT__CONFLICT_LWW
                          : COTERIE__V1__KEYSPACE__CONFLICT__CONFLICT_SIBLINGS;
    words->durability = keyspace->durability == KEYSPACE_PERIODIC
                            ? COTERIE__V1__KEYSPACE__DURABILITY__DURABILITY_PERIODIC
                            : COTERIE__V1__KEYSPACE__DURABILITY__DURABILITY_FSYNC;
    n_fill(arena, topology, keyspace, words);
    words->read_consistency = level_words(keyspace->read_level);
    words->write_consistency = level_words(keyspace->write_level);
    words->strict = keyspace->strict;
    words->id = keyspace->id;
    words->created_at_ms = hlc_wall_ms(keyspace->created_at);
    return words;
}

void list_keyspaces_handle(struct call *call, struct bytes payload)
{
    struct request request;
    if (!request_begin(&request, call, payload, &coterie__v1__list_keyspaces_request__descriptor))
        return;
    const struct keyspace_map *map = &request.view->keyspaces;
    Coterie__V1__ListKeyspacesResponse response = COTERIE__V1__LIST_KEYSPACES_RESPONSE__INIT;
    response.keyspaces = ARENA_NEW(&request.arena, keyspace_words *, map->count);
    for (uint32_t i = 0; i < map->count; i++) {
        if (!map->keyspaces[i].dropped)
            response.keyspaces[response.n_keyspaces++] =
                keyspace_new(&request.arena, &request.view->topology, &map->keyspaces[i]);
    }
    call_reply(call, &response.base);
    request_end(&request);
}

void describe_keyspace_handle(struct call *call, struct bytes payload)
{
    struct request request;
    if (!request_begin(&request, call, payload,
                       &coterie__v1__describe_keyspace_request__descriptor))
        return;
    const char *name = ((const Coterie__V1__DescribeKeyspaceRequest *)request.message)->name;
    struct status status;
    const struct keyspace *keyspace = keyspace_named(request.view, name, "name", &status);
    if (keyspace == NULL) {
        call_fail(call, &status);
    } else {
        Coterie__V1__DescribeKeyspaceResponse response =
            COTERIE__V1__DESCRIBE_KEYSPACE_RESPONSE__INIT;
        response.keyspace = keyspace_new(&request.arena, &request.view->topology, keyspace);
        call_reply(call, &response.base);
    }
    request_end(&request);
}

/* -- keyspaces, change ------------------------------------------------------------------------- */

static bool choice_check(const char *field, int value, int max, struct status *ret_error)
{
    if (value < 0 || value > max)
        status_invalid(ret_error, field, "%d is no known value, limit %d", value, max);
    return value >= 0 && value <= max;
}

static bool n_check(const char *field, uint32_t n, struct status *ret_error)
{
    if (n > REPLICAS_MAX)
        status_invalid(ret_error, field, "%u replicas, limit %u", n, REPLICAS_MAX);
    return n <= REPLICAS_MAX;
}

static int data_center_order(const void *a, const void *b)
{
    const data_center_words *const *left = a;
    const data_center_words *const *right = b;
    return strcmp((*left)->key, (*right)->key);
}

static bool data_centers_fill(const keyspace_words *words, struct keyspace *keyspace,
                              struct status *ret_error)
{
    static const char field[] = "n_by_data_center";
    size_t count = words->n_n_by_data_center;
    if (count > DATA_CENTERS_MAX) {
        status_invalid(ret_error, field, "%zu data centres, limit %u", count, DATA_CENTERS_MAX);
        return false;
    }
    if (count != 0)
        qsort(words->n_by_data_center, count, sizeof *words->n_by_data_center, data_center_order);
    for (size_t i = 0; i < count; i++) {
        const data_center_words *entry = words->n_by_data_center[i];
        size_t size = strlen(entry->key);
        if (size == 0 || size >= sizeof keyspace->data_centers[i].name) {
            status_invalid(ret_error, field, "a name of %zu bytes, must be 1 to %zu", size,
                           sizeof keyspace->data_centers[i].name - 1);
            return false;
        }
        if (i > 0 && strcmp(words->n_by_data_center[i - 1]->key, entry->key) == 0) {
            status_invalid(ret_error, field, "\"%s\" given twice", entry->key);
            return false;
        }
        if (entry->value == 0) {
            status_invalid(ret_error, field, "0 replicas for \"%s\", at least 1", entry->key);
            return false;
        }
        if (!n_check(field, entry->value, ret_error))
            return false;
        memcpy(keyspace->data_centers[i].name, entry->key, size);
        keyspace->data_centers[i].n = (uint8_t)entry->value;
    }
    keyspace->data_center_count = (uint8_t)count;
    return true;
}

/* In the data centres of today and those that the definition names, whether or not there are
 * members enough. */
static uint32_t replicas_asked(const struct view *view, const struct keyspace *keyspace)
{
    uint32_t total = 0;
    for (uint32_t i = 0; i < view->topology.data_center_count; i++)
        total += view_replicas(view, TOPOLOGY_NOW, keyspace, i);
    for (uint8_t i = 0; i < keyspace->data_center_count; i++) {
        bool known = false;
        for (uint32_t j = 0; j < view->topology.data_center_count; j++)
            known = known ||
                    strcmp(view->topology.data_centers[j], keyspace->data_centers[i].name) == 0;
        total += known ? 0 : keyspace->data_centers[i].n;
    }
    return total;
}

/* What does not go with registers is refused rather than ignored. */
static bool consistent_check(const struct view *view, const keyspace_words *words,
                             const struct keyspace *keyspace, struct status *ret_error)
{
    const struct {
        const char *field;
        bool given;
        const char *why;
    } refused[] = {
        {"keyspace.durability", keyspace->durability == KEYSPACE_PERIODIC,
         "a consistent keyspace acknowledges what is on disk; leave periodic out"},
        {"keyspace.conflict", keyspace->conflict == KEYSPACE_LWW,
         "a consistent keyspace has no conflicts; leave lww out"},
        {"keyspace.strict", keyspace->strict,
         "in a consistent keyspace replicas alone vote; leave it out"},
        {"keyspace.read_consistency", words->read_consistency != 0,
         "in a consistent keyspace a majority decides; leave it out"},
        {"keyspace.write_consistency", words->write_consistency != 0,
         "in a consistent keyspace a majority decides; leave it out"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(refused); i++) {
        if (refused[i].given) {
            status_invalid(ret_error, refused[i].field, "%s", refused[i].why);
            return false;
        }
    }
    uint32_t replicas = replicas_asked(view, keyspace);
    if (replicas > REGISTER_REPLICAS_MAX)
        status_invalid(ret_error, "keyspace.n",
                       "%u replicas in all data centres, limit %u in a consistent keyspace",
                       replicas, REGISTER_REPLICAS_MAX);
    return replicas <= REGISTER_REPLICAS_MAX;
}

static bool keyspace_fill(const struct view *view, const keyspace_words *words,
                          struct keyspace *ret_keyspace, struct status *ret_error)
{
    if (!keyspace_name_valid(words->name)) {
        status_invalid(ret_error, "keyspace.name",
                       "\"%.80s\" is not of the form [a-z][a-z0-9_-]{0,%u}", words->name,
                       KEYSPACE_NAME_MAX - 1);
        return false;
    }
    if (!choice_check("keyspace.mode", (int)words->mode, 2, ret_error) ||
        !choice_check("keyspace.conflict", (int)words->conflict, 2, ret_error) ||
        !choice_check("keyspace.durability", (int)words->durability, 2, ret_error) ||
        !choice_check("keyspace.read_consistency", (int)words->read_consistency,
                      CONSISTENCY_EACH_QUORUM, ret_error) ||
        !choice_check("keyspace.write_consistency", (int)words->write_consistency,
                      CONSISTENCY_EACH_QUORUM, ret_error) ||
        !n_check("keyspace.n", words->n, ret_error))
        return false;
    struct keyspace keyspace = keyspace_default(words->name);
    if (words->mode == COTERIE__V1__KEYSPACE__MODE__MODE_CONSISTENT)
        keyspace.mode = KEYSPACE_CONSISTENT;
    if (words->conflict == COTERIE__V1__KEYSPACE__CONFLICT__CONFLICT_LWW)
        keyspace.conflict = KEYSPACE_LWW;
    if (words->durability == COTERIE__V1__KEYSPACE__DURABILITY__DURABILITY_PERIODIC)
        keyspace.durability = KEYSPACE_PERIODIC;
    if (words->n != 0)
        keyspace.n = (uint8_t)words->n;
    if (words->read_consistency != 0)
        keyspace.read_level = (enum consistency)words->read_consistency;
    if (words->write_consistency != 0)
        keyspace.write_level = (enum consistency)words->write_consistency;
    keyspace.strict = words->strict != 0;
    if (!data_centers_fill(words, &keyspace, ret_error))
        return false;
    if (keyspace.mode == KEYSPACE_CONSISTENT &&
        !consistent_check(view, words, &keyspace, ret_error))
        return false;
    *ret_keyspace = keyspace;
    return true;
}

static void change_start(struct request *request, enum keyspace_operation operation,
                         const struct keyspace *keyspace)
{
    struct call *call = request->call;
    struct message *message = message_new(MESSAGE_keyspace_change, 0);
    call_address(call, request->view, 0, ACTOR_GOSSIP, message);
    message->keyspace_change = (struct keyspace_change){
        .client = message->id, .operation = operation, .keyspace = *keyspace};
    call_ask(call, 1, message, MESSAGE_keyspace_change_done, NULL);
}

void create_keyspace_handle(struct call *call, struct bytes payload)
{
    struct request request;
    if (!request_begin(&request, call, payload, &coterie__v1__create_keyspace_request__descriptor))
        return;
    const keyspace_words *words =
        ((const Coterie__V1__CreateKeyspaceRequest *)request.message)->keyspace;
    struct keyspace keyspace;
    struct status status;
    if (words == NULL) {
        status_invalid(&status, "keyspace", "missing");
        call_fail(call, &status);
    } else if (keyspace_fill(request.view, words, &keyspace, &status)) {
        change_start(&request, KEYSPACE_CREATE, &keyspace);
    } else {
        call_fail(call, &status);
    }
    request_end(&request);
}

void drop_keyspace_handle(struct call *call, struct bytes payload)
{
    struct request request;
    if (!request_begin(&request, call, payload, &coterie__v1__drop_keyspace_request__descriptor))
        return;
    const char *name = ((const Coterie__V1__DropKeyspaceRequest *)request.message)->name;
    struct status status;
    const struct keyspace *keyspace = keyspace_named(request.view, name, "name", &status);
    if (keyspace != NULL)
        change_start(&request, KEYSPACE_DROP, keyspace);
    else
        call_fail(call, &status);
    request_end(&request);
}

static bool change_failed(struct call *call, const struct keyspace_change_done *done)
{
    if (done->status == OK)
        return false;
    struct status status;
    status_of_err(&status, done->status, done->why);
    if (done->status == ERR_LIMIT)
        status.reason = "TOO_MANY_KEYSPACES";
    if (done->status == ERR_TIMEOUT)
        status.outcome = "UNKNOWN";
    call_fail(call, &status);
    return true;
}

void create_keyspace_answer(struct call *call, struct message *answer)
{
    CHECK_U64(answer->kind, ==, MESSAGE_keyspace_change_done);
    const struct keyspace_change_done *done = &answer->keyspace_change_done;
    if (!change_failed(call, done)) {
        Coterie__V1__CreateKeyspaceResponse response = COTERIE__V1__CREATE_KEYSPACE_RESPONSE__INIT;
        struct runtime *runtime = call->edge->options->runtime;
        const struct view *view = runtime_view_lock(runtime);
        response.keyspace = keyspace_new(&answer->arena, &view->topology, &done->keyspace);
        response.known_by = done->known_by;
        response.nodes = done->nodes;
        call_reply(call, &response.base);
        runtime_view_unlock(runtime);
    }
    message_free(answer);
}

void drop_keyspace_answer(struct call *call, struct message *answer)
{
    CHECK_U64(answer->kind, ==, MESSAGE_keyspace_change_done);
    const struct keyspace_change_done *done = &answer->keyspace_change_done;
    if (!change_failed(call, done)) {
        Coterie__V1__DropKeyspaceResponse response = COTERIE__V1__DROP_KEYSPACE_RESPONSE__INIT;
        response.known_by = done->known_by;
        response.nodes = done->nodes;
        call_reply(call, &response.base);
    }
    message_free(answer);
}
