#include "cli/waits.h"

#include "cli/output.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define METHOD  "/coterie.v1.Cluster/GetChange"
#define LONG_MS 3000u /* each step has members that lag for a moment */

typedef Coterie__V1__Wait wait_words;

const Coterie__V1__GetChangeResponse *waits_ask(struct cli *cli)
{
    Coterie__V1__GetChangeRequest request = COTERIE__V1__GET_CHANGE_REQUEST__INIT;
    struct rpc_client_status status;
    if (cli_client(cli) == NULL)
        return NULL;
    return (const Coterie__V1__GetChangeResponse *)rpc_client_call(
        cli->client, METHOD, &request.base, &coterie__v1__get_change_response__descriptor,
        cli->deadline_ms, true, &cli->arena, &status);
}

bool waits_is_usual(const wait_words *wait)
{
    return wait->cause == COTERIE__V1__WAIT__CAUSE__CAUSE_TURN ||
           wait->cause == COTERIE__V1__WAIT__CAUSE__CAUSE_COPYING;
}

static const char *since(struct arena *arena, const wait_words *wait)
{
    uint64_t now_ms = (uint64_t)time(NULL) * 1000;
    if (wait->since_ms == 0)
        return "";
    return arena_printf(arena, " (for %s)",
                        output_age(arena, now_ms > wait->since_ms ? now_ms - wait->since_ms : 0));
}

void waits_print(struct arena *arena, const Coterie__V1__GetChangeResponse *change,
                 const char *label, bool usual)
{
    for (int pass = 0; pass < (usual ? 2 : 1); pass++) {
        for (size_t i = 0; i < change->n_waits; i++) {
            const wait_words *wait = change->waits[i];
            if (waits_is_usual(wait) == (pass == 1))
                printf("%s%s%s\n", label, wait->text, since(arena, wait));
        }
    }
}

void waits_print_list(struct arena *arena, wait_words *const *list, size_t count, const char *label)
{
    for (size_t i = 0; i < count; i++)
        printf("%s%s%s\n", label, list[i]->text, since(arena, list[i]));
}

static const char *cause_name(const wait_words *wait)
{
    const ProtobufCEnumValue *value = protobuf_c_enum_descriptor_get_value(
        &coterie__v1__wait__cause__descriptor, (int)wait->cause);
    return value == NULL ? "CAUSE_UNSPECIFIED" : value->name;
}

json_t *waits_json(wait_words *const *list, size_t count)
{
    json_t *array = json_array();
    for (size_t i = 0; i < count; i++) {
        const wait_words *wait = list[i];
        json_array_append_new(
            array, json_pack("{s:s, s:s, s:o, s:s, s:I, s:I, s:I, s:s}", "cause", cause_name(wait),
                             "node", wait->node, "waits_for",
                             output_json_names(wait->waits_for, wait->n_waits_for), "keyspace",
                             wait->keyspace, "partitions", (json_int_t)wait->partitions,
                             "first_partition", (json_int_t)wait->first_partition, "since_ms",
                             (json_int_t)wait->since_ms, "text", wait->text));
    }
    return array;
}

bool waits_watch(struct waits_watch *watch, const Coterie__V1__GetChangeResponse *change,
                 uint64_t now_ms)
{
    char seen[sizeof watch->last] = "";
    size_t size = 0;
    for (size_t i = 0; i < change->n_waits; i++) {
        const wait_words *wait = change->waits[i];
        if (waits_is_usual(wait) || size >= sizeof seen)
            continue;
        int more =
            snprintf(seen + size, sizeof seen - size, "%d %s %s %s;", (int)wait->cause, wait->node,
                     wait->keyspace, wait->n_waits_for == 0 ? "" : wait->waits_for[0]);
        size += more < 0 ? 0 : (size_t)more;
    }
    if (strcmp(seen, watch->last) != 0) {
        memcpy(watch->last, seen, sizeof seen);
        watch->since_ms = now_ms;
        watch->told = false;
    }
    if (seen[0] == '\0' || watch->told || now_ms < watch->since_ms + LONG_MS)
        return false;
    watch->told = true;
    return true;
}
