/* script_request.h -- the commands of clients: put, get, del. */
#ifndef TESTS_SCENARIO_SCRIPT_REQUEST_H
#define TESTS_SCENARIO_SCRIPT_REQUEST_H

#include "tests/scenario/script_words.h"

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

static bool parse_level(const char *word, enum consistency *ret_level)
{
    for (int level = CONSISTENCY_DEFAULT; level <= CONSISTENCY_COUNT; level++) {
        if (strcmp(word, consistency_text((enum consistency)level)) == 0) {
            *ret_level = (enum consistency)level;
            return true;
        }
    }
    return false;
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
        } else if (!parse_level(word_at(words, at), &asking->level)) {
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

#endif
