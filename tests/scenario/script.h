/* script.h -- the commands of a story, one a line, and the checks at its end.
 *
 *   nodes 3 [spares 1] [centers 2] [reaping 5s] [comparing 10s]    first of all; how many more
 *                                            are there that are no members, the age of tombstones
 *                                            that go, how often replicas are compared
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
 *   raise n2                                 its generation, as it does every ten seconds
 *   slow n2    fast n2                       its syncs do not end; do again
 *   skew n2 500ms                            its wall clock goes ahead
 *   unreadable n2    readable n2             its reads fail; do not any more
 *   rot n2 KEY       hide n2 KEY             a bit of its row turns; the store cannot read the
 *                                            block that it lies in
 *   wipe n2                                  of a node that is down: its disk is empty
 *   backup n2 NAME    restore n2 NAME        a copy of its disk; puts it back, of one that is down
 *   create n1 NAME [consistent] [lww] [periodic] [n=2]   drop n1 NAME   keyspaces n2
 *   show KEY [in KEYSPACE]                   what each node's disk holds, and who keeps hints
 *   change n4 join [weight 2]                it begins to run, and has a place to be
 *   change n2 leave | gone                   gone: it is dead, and nobody waits for it
 *   change n3 weight 4 | zone east           another place to be
 *   commit [force]    abort    pause    resume    of what was staged so, or is under way
 *   ... through n2                           at the end of these: who is asked, instead of the
 * first member that is up wait KEY [in KEYSPACE] announced | copied | done    until all members
 * know that it is wait end                                 until the change is over replicas KEY
 * [in KEYSPACE]               where it is, and where it goes hold n2    release n2 topology
 * documents do not reach it; the last one does never VALUE                              if the last
 * request was applied: nobody reads it again
 *
 * `with none` is the context of a writer that has seen nothing.
 */
#ifndef TESTS_SCENARIO_SCRIPT_H
#define TESTS_SCENARIO_SCRIPT_H

#include "tests/scenario/script_change.h"
#include "tests/scenario/script_faults.h"
#include "tests/scenario/script_request.h"

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
        .task = strtoull(word_at(words, 2), NULL, 10),
        .gives_up = word_is(words, 3, "giving-up")};
    c->given_up = c->given_up || message->client_maintenance.gives_up;
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
               word_is(words, 0, "start") || word_is(words, 0, "raise")) {
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
    } else if (word_is(words, 0, "rot") || word_is(words, 0, "hide")) {
        command_rot(c, words, node);
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
        return command_run_change(c, words);
    }
    return true;
}

#endif
