/* script.h -- the commands of a story, one a line, and the checks at its end.
 *
 *   nodes 3 [centers 2] [reaping 5s] [comparing 10s]    first of all; the age of tombstones that
 *                                            go, and how often replicas are compared
 *   put n1 KEY VALUE [LEVEL] [with CONTEXT] [in KEYSPACE] [as CONTEXT] [until 3s]
 *   del n1 KEY ...   get n1 KEY ...          the same words
 *   put n1 KEY VALUE if-absent | if=VALUE | if-version=3 [id NAME] in KEYSPACE
 *                                            compare-and-set, of a consistent keyspace; under the
 *                                            same id it is the same change
 *   eventual n1 KEY VALUE in KEYSPACE        its replica gets a write of the other kind
 *   begin put ...                            does not wait for the answer
 *   tick 100ms | 2s                          time passes
 *   cut n1-n2 | n1>n2     heal               both ways, one way
 *   lose n1>n3 KIND                          its messages of that kind do not arrive, until heal
 *   repair n1 7    repaired n1 7             begins that repair; asks how far it is
 *   vnodes n2                                how many of its vnodes wait to be filled
 *   crash n2 losing|keeping                  what is not durable
 *   stop n2    start n2                      a clean stop; a start
 *   slow n2    fast n2                       its syncs do not end; do again
 *   skew n2 500ms                            its wall clock goes ahead
 *   unreadable n2    readable n2             its reads fail; do not any more
 *   wipe n2                                  of a node that is down: its disk is empty
 *   backup n2 NAME    restore n2 NAME        a copy of its disk; puts it back, of one that is down
 *   create n1 NAME [consistent] [lww] [periodic] [n=2]   drop n1 NAME   keyspaces n2
 *   show KEY [in KEYSPACE]                   what each node's disk holds, and who keeps hints
 *   never VALUE                              if the last request was applied: nobody reads it again
 *
 * `with none` is the context of a writer that has seen nothing.
 */
#ifndef TESTS_SCENARIO_SCRIPT_H
#define TESTS_SCENARIO_SCRIPT_H

#include "tests/scenario/cluster_run.h"

#define WORDS_MAX 16

struct words {
    int count;
    char memory[256];
    char *word[WORDS_MAX];
};

static void words_split(struct words *words, const char *line)
{
    words->count = 0;
    snprintf(words->memory, sizeof words->memory, "%s", line);
    char *rest = words->memory;
    char *word;
    while ((word = strsep(&rest, " \n")) != NULL) {
        if (*word != 0 && words->count < WORDS_MAX)
            words->word[words->count++] = word;
    }
}

static const char *word_at(const struct words *words, int index)
{
    return index < words->count ? words->word[index] : "";
}

static bool word_is(const struct words *words, int index, const char *word)
{
    return strcmp(word_at(words, index), word) == 0;
}

static struct node *word_node(struct cluster *c, const char *word)
{
    unsigned number = 0;
    if (sscanf(word, "n%u", &number) != 1 || number == 0 || number > c->node_count) {
        cluster_fail(c, "\"%s\" is no node", word);
        number = 1;
    }
    return &c->nodes[number - 1];
}

static uint64_t word_ns(struct cluster *c, const char *word)
{
    unsigned long long amount = 0;
    char unit[4] = "";
    if (sscanf(word, "%llu%3s", &amount, unit) != 2 ||
        (strcmp(unit, "ms") != 0 && strcmp(unit, "s") != 0))
        cluster_fail(c, "\"%s\" is no time: 100ms or 2s", word);
    return amount * (strcmp(unit, "s") == 0 ? 1000 : 1) * MS;
}

static bool find_context(const struct cluster *c, const char *name, struct bytes *ret_bytes)
{
    static const uint8_t none[] = {0}; /* a clock without entries */
    if (strcmp(name, "none") == 0) {
        *ret_bytes = bytes_of(none, sizeof none);
        return true;
    }
    for (uint32_t i = c->context_count; i > 0; i--) {
        if (strcmp(c->contexts[i - 1].name, name) == 0) {
            *ret_bytes = c->contexts[i - 1].bytes;
            return true;
        }
    }
    return false;
}

/* The words behind key and value. */
struct asking {
    enum consistency level;
    const char *keyspace;
    const char *keep_as;
    const char *context_name;
    struct bytes context;
    uint64_t expires_at_ms;
    bool strict;
    enum register_condition condition;
    const char *expected;
    unsigned long long expected_version;
    const char *id;
};

/* The words of a compare-and-set; false: this is none of them. */
static bool parse_condition(const struct words *words, int *at, struct asking *asking)
{
    const char *word = word_at(words, *at);
    if (strcmp(word, "if-absent") == 0) {
        asking->condition = REGISTER_IF_ABSENT;
    } else if (strncmp(word, "if=", 3) == 0) {
        asking->condition = REGISTER_IF_VALUE;
        asking->expected = word + 3;
    } else if (sscanf(word, "if-version=%llu", &asking->expected_version) == 1) {
        asking->condition = REGISTER_IF_VERSION;
    } else if (strcmp(word, "id") == 0 && *at + 1 < words->count) {
        asking->id = word_at(words, ++*at);
    } else {
        return false;
    }
    return true;
}

static bool parse_asking(struct cluster *c, const struct words *words, int at,
                         struct asking *asking)
{
    *asking = (struct asking){.keyspace = "default", .keep_as = "", .expected = "", .id = ""};
    for (; at < words->count; at++) {
        if (parse_condition(words, &at, asking))
            continue;
        if (word_is(words, at, "with") && at + 1 < words->count) {
            asking->context_name = word_at(words, ++at);
            if (!find_context(c, asking->context_name, &asking->context)) {
                cluster_say(c, "there is no context %s", asking->context_name);
                return false;
            }
        } else if (word_is(words, at, "in") && at + 1 < words->count) {
            asking->keyspace = word_at(words, ++at);
        } else if (word_is(words, at, "as") && at + 1 < words->count) {
            asking->keep_as = word_at(words, ++at);
        } else if (word_is(words, at, "until") && at + 1 < words->count) {
            asking->expires_at_ms = WALL_MS + (c->now_ns + word_ns(c, word_at(words, ++at))) / MS;
        } else if (word_is(words, at, "strict")) {
            asking->strict = true;
        } else if (consistency_parse(word_at(words, at), &asking->level) != OK) {
            cluster_fail(c, "\"%s\" is not understood", word_at(words, at));
            return false;
        }
    }
    return true;
}

/* put n1 KEY VALUE ..., del n1 KEY ..., get n1 KEY ...; `at` is the first word's place. */
static void command_request(struct cluster *c, const struct words *words, int at)
{
    bool put = word_is(words, at, "put");
    bool get = word_is(words, at, "get");
    struct node *node = word_node(c, word_at(words, at + 1));
    struct asking asking;
    c->asked = false;
    if (!parse_asking(c, words, at + (put ? 4 : 3), &asking))
        return;
    const struct keyspace *keyspace =
        node->up ? keyspace_map_find(&node->view->keyspaces, asking.keyspace) : NULL;
    if (keyspace == NULL) {
        cluster_say(c, node->up ? "n%u does not know this keyspace" : "n%u is down", node->number);
        return;
    }
    CHECK_U64(c->request_count, <, REQUESTS_MAX);
    struct request *request = &c->requests[c->request_count];
    *request = (struct request){
        .is_put = !get,
        .node = node->number,
        .begun_ns = c->now_ns,
        .expires = asking.expires_at_ms != 0,
        .periodic = keyspace->durability == KEYSPACE_PERIODIC,
        .quorum = asking.level == CONSISTENCY_DEFAULT || asking.level == CONSISTENCY_QUORUM ||
                  asking.level == CONSISTENCY_ALL,
        .strong = keyspace->mode == KEYSPACE_CONSISTENT,
        .condition = asking.condition,
        .expected_version = asking.expected_version,
    };
    request->quorum &= !request->strong;
    snprintf(request->expected, sizeof request->expected, "%s", asking.expected);
    snprintf(request->id, sizeof request->id, "%s", asking.id);
    snprintf(request->key, sizeof request->key, "%s", word_at(words, at + 2));
    snprintf(request->value, sizeof request->value, "%s", put ? word_at(words, at + 3) : "");
    snprintf(request->keep_as, sizeof request->keep_as, "%s", asking.keep_as);
    snprintf(request->keyspace, sizeof request->keyspace, "%s", asking.keyspace);
    struct message *message = message_new(get ? MESSAGE_client_get : MESSAGE_client_put, 0);
    message->from = (struct actor_id){.node = node->number, .kind = ACTOR_EDGE};
    message->to = (struct actor_id){.node = node->number, .kind = ACTOR_COORDINATOR};
    message->deadline_ns = c->now_ns + REQUEST_NS;
    if (get) {
        message->client_get = (struct client_get){.client = c->request_count,
                                                  .keyspace_id = keyspace->id,
                                                  .key = bytes_of_string(request->key),
                                                  .level = asking.level};
    } else {
        message->client_put.client = c->request_count;
        message->client_put.request =
            (struct put_request){.keyspace_id = keyspace->id,
                                 .key = bytes_of_string(request->key),
                                 .value = bytes_of_string(request->value),
                                 .flags = put ? 0 : VERSION_TOMBSTONE,
                                 .expires_at_ms = asking.expires_at_ms,
                                 .has_context = asking.context_name != NULL,
                                 .context = asking.context,
                                 .level = asking.level,
                                 .strict = asking.strict,
                                 .condition = asking.condition,
                                 .expected = bytes_of_string(request->expected),
                                 .expected_version = asking.expected_version};
        if (request->id[0] != 0)
            message->client_put.request.request_id = bytes_of(request->id, REQUEST_ID_BYTES);
    }
    c->request_count++;
    c->asked = true;
    plan_message(c, node, 0, message);
}

static void command_keyspace(struct cluster *c, const struct words *words)
{
    struct node *node = word_node(c, word_at(words, 1));
    if (!node->up)
        return;
    struct message *message = message_new(MESSAGE_keyspace_change, 0);
    struct keyspace keyspace = keyspace_default(word_at(words, 2));
    for (int i = 3; i < words->count; i++) {
        if (word_is(words, i, "lww"))
            keyspace.conflict = KEYSPACE_LWW;
        else if (word_is(words, i, "periodic"))
            keyspace.durability = KEYSPACE_PERIODIC;
        else if (word_is(words, i, "strict"))
            keyspace.strict = true;
        else if (word_is(words, i, "consistent"))
            keyspace.mode = KEYSPACE_CONSISTENT;
        else if (sscanf(word_at(words, i), "n=%hhu", &keyspace.n) == 1)
            continue;
        else
            cluster_fail(c, "\"%s\" is not understood", word_at(words, i));
    }
    message->from = (struct actor_id){.node = node->number, .kind = ACTOR_EDGE};
    message->to = (struct actor_id){.node = node->number, .kind = ACTOR_GOSSIP};
    message->keyspace_change.operation =
        word_is(words, 0, "create") ? KEYSPACE_CREATE : KEYSPACE_DROP;
    message->keyspace_change.keyspace = keyspace;
    plan_message(c, node, 0, message);
    cluster_run_until(c, c->now_ns + 2100 * MS);
}

static void command_keyspaces(struct cluster *c, const struct node *node)
{
    char text[256] = "";
    for (uint32_t i = 0; node->up && i < node->view->keyspaces.count; i++) {
        const struct keyspace *keyspace = &node->view->keyspaces.keyspaces[i];
        size_t at = strlen(text);
        if (!keyspace->dropped)
            snprintf(text + at, sizeof text - at, " %s%s%s", keyspace->name,
                     keyspace->conflict == KEYSPACE_LWW ? "(lww)" : "",
                     keyspace->durability == KEYSPACE_PERIODIC ? "(periodic)" : "");
    }
    cluster_say(c, "n%u knows%s", node->number, text);
}

static void command_hints(struct cluster *c)
{
    for (uint32_t i = 0; i < c->node_count; i++) {
        if (c->nodes[i].up)
            cluster_say(c, "n%u keeps %llu hints", i + 1,
                        (unsigned long long)counter_get(
                            &hinted_handoff_figures(c->nodes[i].hinted_handoff)->hints));
    }
}

static void command_cut(struct cluster *c, const struct words *words)
{
    unsigned a = 0;
    unsigned b = 0;
    char how = 0;
    if (sscanf(word_at(words, 1), "n%u%cn%u", &a, &how, &b) != 3 || (how != '-' && how != '>') ||
        a - 1 >= c->node_count || b - 1 >= c->node_count) {
        cluster_fail(c, "\"%s\" is no link: n1-n2 or n1>n2", word_at(words, 1));
        return;
    }
    c->cut[a - 1][b - 1] = true;
    if (how == '-')
        c->cut[b - 1][a - 1] = true;
}

static void command_life(struct cluster *c, const struct words *words)
{
    struct node *node = word_node(c, word_at(words, 1));
    if (word_is(words, 0, "start")) {
        if (!node->up)
            node_start(node);
    } else if (!node->up) {
        return;
    } else if (word_is(words, 0, "crash")) {
        node_crash(node, word_is(words, 2, "keeping"));
    } else {
        node_stop(node);
    }
    cluster_run_until(c, c->now_ns + 10 * MS);
}

static void node_set_reads(struct node *node, bool fail)
{
    static struct prng prng;
    prng_init(&prng, 1, 1);
    if (node->up)
        engine_memory_set_faults(node->engine, &prng, fail ? 1 : 0, 0, false);
}

static struct backup *find_backup(struct cluster *c, const char *name)
{
    for (uint32_t i = 0; i < BACKUPS_MAX; i++) {
        if (strcmp(c->backups[i].name, name) == 0)
            return &c->backups[i];
    }
    return NULL;
}

/* What happens to disks. */
static void command_disk(struct cluster *c, const struct words *words)
{
    struct node *node = word_node(c, word_at(words, 1));
    const char *name = word_at(words, 2);
    struct backup *backup = find_backup(c, name);
    if (word_is(words, 0, "backup")) {
        if (backup == NULL)
            backup = find_backup(c, "");
        CHECK(backup != NULL && *name != 0);
        memory_disk_free(backup->disk);
        snprintf(backup->name, sizeof backup->name, "%s", name);
        backup->disk = memory_disk_copy(node->disk, node->up ? node->engine : NULL);
    } else if (node->up) {
        node_crash(node, false);
    }
    node->lost |= !word_is(words, 0, "backup");
    if (word_is(words, 0, "wipe")) {
        memory_disk_wipe(node->disk);
    } else if (word_is(words, 0, "restore") && backup != NULL) {
        memory_disk_free(node->disk);
        node->disk = memory_disk_copy(backup->disk, NULL);
    }
}

static void command_lose(struct cluster *c, const struct words *words)
{
    CHECK_U64(c->loss_count, <, LOSSES_MAX);
    if (sscanf(word_at(words, 1), "n%u>n%u", &c->losses[c->loss_count].from,
               &c->losses[c->loss_count].to) != 2)
        cluster_fail(c, "\"%s\" is no direction: n1>n2", word_at(words, 1));
    snprintf(c->losses[c->loss_count].kind, sizeof c->losses[0].kind, "%s", word_at(words, 2));
    c->loss_count++;
}

static void command_repair(struct cluster *c, const struct words *words, struct node *node)
{
    if (!node->up)
        return;
    struct message *message = message_new(MESSAGE_client_maintenance, 0);
    message->from = (struct actor_id){.node = node->number, .kind = ACTOR_EDGE};
    message->to = (struct actor_id){.node = node->number, .kind = ACTOR_ANTI_ENTROPY};
    message->client_maintenance = (struct client_maintenance){
        .operation =
            word_is(words, 0, "repair") ? MAINTENANCE_REPAIR_START : MAINTENANCE_REPAIR_STATUS,
        .task = strtoull(word_at(words, 2), NULL, 10)};
    plan_message(c, node, 0, message);
    cluster_run_until(c, c->now_ns + 10 * MS);
}

static void command_vnodes(struct cluster *c, const struct node *node)
{
    if (node->up)
        cluster_say(
            c, "n%u has %llu vnodes that are not complete", node->number,
            (unsigned long long)counter_get(&replica_figures(node->replica)->vnodes_incomplete));
}

/* What a node would send that takes a consistent keyspace for an available one. */
static void command_eventual(struct cluster *c, const struct words *words)
{
    struct node *node = word_node(c, word_at(words, 1));
    const struct keyspace *keyspace =
        node->up ? keyspace_map_find(&node->view->keyspaces, word_at(words, 5)) : NULL;
    if (keyspace == NULL)
        return;
    struct message *message = message_new(MESSAGE_replica_write, 256);
    struct arena *arena = &message->arena;
    struct bytes key = arena_copy(arena, bytes_of_string(word_at(words, 2)));
    struct version version = {.dot = {node->number, 1, 1},
                              .value = bytes_of_string(word_at(words, 3))};
    struct clock nothing = {0};
    struct version_set set = {.count = 1, .versions = &version};
    set.clock = clock_add(arena, &nothing, version.dot);
    message->from = (struct actor_id){.node = node->number, .kind = ACTOR_COORDINATOR};
    message->to = (struct actor_id){.node = node->number, .kind = ACTOR_REPLICA};
    message->id = EVENTUAL_ID;
    message->replica_write = (struct replica_write){
        .keyspace_id = keyspace->id,
        .key = key,
        .record = record_encode(arena, keyspace->id, key, &set),
        .partition = hash_partition(hash_key(keyspace->id, key), c->topology.partitions),
        .reason = WRITE_REPLICATE,
    };
    plan_message(c, node, 0, message);
    cluster_run_until(c, c->now_ns + 10 * MS);
}

static void show_keepers(struct cluster *c)
{
    for (uint32_t i = 0; i < c->node_count; i++) {
        const struct node *node = &c->nodes[i];
        uint64_t hints =
            node->up ? counter_get(&hinted_handoff_figures(node->hinted_handoff)->hints) : 0;
        if (hints > 0)
            cluster_say(c, "n%u keeps %llu hints", node->number, (unsigned long long)hints);
    }
}

static void command_show(struct cluster *c, const struct words *words)
{
    const char *keyspace_name = word_is(words, 2, "in") ? word_at(words, 3) : "default";
    struct bytes key = bytes_of_string(word_at(words, 1));
    bool held = false;
    for (uint32_t i = 0; i < c->node_count; i++) {
        struct node *node = &c->nodes[i];
        const struct keyspace *keyspace =
            node->up ? keyspace_map_find(&node->view->keyspaces, keyspace_name) : NULL;
        uint8_t memory[STORAGE_KEY_BYTES_MAX];
        struct bytes record = {0};
        struct version_set set;
        if (keyspace == NULL)
            continue;
        uint64_t hash = hash_key(keyspace->id, key);
        struct bytes row = bytes_of(memory, hash_storage_key(keyspace->id, key, hash, memory));
        node_set_reads(node, false);
        enum err err =
            store_read(engine_store(node->engine, HANDLE_REPLICA),
                       hash_partition(hash, c->topology.partitions), row, &c->arena, &record);
        node_set_reads(node, node->unreadable);
        if (err == OK && keyspace->mode == KEYSPACE_CONSISTENT) {
            cluster_say(c, "n%u holds %s", node->number, row_text(c, record));
            held = true;
            continue;
        }
        if (err == OK && record_decode(&c->arena, keyspace->id, key, record, &set) == OK) {
            cluster_say(c, "n%u holds %s", node->number, set_text(c, &set));
            held = true;
        }
    }
    if (!held)
        cluster_say(c, "no node holds anything");
    show_keepers(c);
}

static void command_never(struct cluster *c, const struct words *words)
{
    const struct request *last = c->request_count == 0 ? NULL : &c->requests[c->request_count - 1];
    if (last != NULL && c->asked && last->ended && !last->cut_off &&
        (!last->is_put || last->outcome == OUTCOME_APPLIED) && last->status == OK &&
        c->never_count < ARRAY_COUNT(c->never))
        snprintf(c->never[c->never_count++], sizeof c->never[0], "%s", word_at(words, 1));
}

/* False: no such command. */
static bool command_run(struct cluster *c, const struct words *words)
{
    bool begin = word_is(words, 0, "begin");
    int at = begin ? 1 : 0;
    struct node *node = word_node(c, words->count > 1 && word_at(words, 1)[0] == 'n' &&
                                             strlen(word_at(words, 1)) == 2
                                         ? word_at(words, 1)
                                         : "n1");
    if (word_is(words, at, "put") || word_is(words, at, "get") || word_is(words, at, "del")) {
        command_request(c, words, at);
        if (!begin)
            cluster_settle(c);
    } else if (word_is(words, 0, "tick")) {
        cluster_run_until(c, c->now_ns + word_ns(c, word_at(words, 1)));
    } else if (word_is(words, 0, "cut")) {
        command_cut(c, words);
    } else if (word_is(words, 0, "heal")) {
        cluster_heal(c);
    } else if (word_is(words, 0, "lose")) {
        command_lose(c, words);
    } else if (word_is(words, 0, "repair") || word_is(words, 0, "repaired")) {
        command_repair(c, words, node);
    } else if (word_is(words, 0, "vnodes")) {
        command_vnodes(c, node);
    } else if (word_is(words, 0, "crash") || word_is(words, 0, "stop") ||
               word_is(words, 0, "start")) {
        command_life(c, words);
    } else if (word_is(words, 0, "slow")) {
        node->slow = true;
    } else if (word_is(words, 0, "fast")) {
        node->slow = node->syncing = false;
        if (node->up)
            plan_sync(node);
        cluster_run_until(c, c->now_ns + 20 * MS);
    } else if (word_is(words, 0, "unreadable") || word_is(words, 0, "readable")) {
        node->unreadable = word_is(words, 0, "unreadable");
        node_set_reads(node, node->unreadable);
    } else if (word_is(words, 0, "wipe") || word_is(words, 0, "backup") ||
               word_is(words, 0, "restore")) {
        command_disk(c, words);
    } else if (word_is(words, 0, "show")) {
        command_show(c, words);
    } else if (word_is(words, 0, "eventual")) {
        command_eventual(c, words);
    } else if (word_is(words, 0, "never")) {
        command_never(c, words);
    } else if (word_is(words, 0, "skew")) {
        node->wall_skew_ms += (int64_t)(word_ns(c, word_at(words, 2)) / MS);
    } else if (word_is(words, 0, "create") || word_is(words, 0, "drop")) {
        command_keyspace(c, words);
    } else if (word_is(words, 0, "hints")) {
        command_hints(c);
    } else if (word_is(words, 0, "keyspaces")) {
        command_keyspaces(c, node);
    } else {
        return false;
    }
    return true;
}

#endif
