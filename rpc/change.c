/* Changes of the topology in words: what one consists of, what may be staged, why it is refused. */
#include "rpc/change.h"

#include "base/check.h"
#include "model/limits.h"
#include "rpc/client_channel.h"

#include <stdio.h>

#define PARTS_MAX (MEMBERS_MAX + KEYSPACES_MAX)

/* -- a change in words ------------------------------------------------------------------------- */

static Coterie__V1__Change__State state_of(enum change_state state)
{
    switch (state) {
    case CHANGE_NONE:
        return COTERIE__V1__CHANGE__STATE__STATE_NONE;
    case CHANGE_STAGED:
        return COTERIE__V1__CHANGE__STATE__STATE_STAGED;
    case CHANGE_RUNNING:
        break;
    }
    return COTERIE__V1__CHANGE__STATE__STATE_RUNNING;
}

static char *place_part(struct arena *arena, const struct topology *topology,
                        const struct member *member)
{
    const struct member_place *now = &member->places[TOPOLOGY_NOW];
    const struct member_place *next = &member->places[TOPOLOGY_NEXT];
    char *text = arena_printf(arena, "%s:", member->name);
    const char *comma = "";
    if (now->data_center != next->data_center) {
        text = arena_printf(arena, "%s%s data centre %s -> %s", text, comma,
                            topology->data_centers[now->data_center],
                            topology->data_centers[next->data_center]);
        comma = ",";
    }
    if (strcmp(now->zone, next->zone) != 0) {
        text = arena_printf(arena, "%s%s zone %s -> %s", text, comma, now->zone, next->zone);
        comma = ",";
    }
    if (now->weight != next->weight) {
        text = arena_printf(arena, "%s%s weight %u -> %u", text, comma, now->weight, next->weight);
        comma = ",";
    }
    return comma[0] == '\0' ? NULL : text;
}

/* NULL: nothing is to become of it. */
static char *member_part(struct arena *arena, const struct topology *topology,
                         const struct member *member)
{
    const struct member_place *next = &member->places[TOPOLOGY_NEXT];
    switch (member->status) {
    case MEMBER_JOINING:
        return arena_printf(arena, "%s joins: data centre %s, zone %s, weight %u%s", member->name,
                            topology->data_centers[next->data_center], next->zone, next->weight,
                            member->held ? " (held: waits for a commit)" : "");
    case MEMBER_LEAVING:
        return arena_printf(arena, member->gone ? "%s is gone for good" : "%s leaves",
                            member->name);
    case MEMBER_NORMAL:
        return place_part(arena, topology, member);
    case MEMBER_REMOVED:
        break;
    }
    return NULL;
}

static char *replication_part(struct arena *arena, const struct topology *topology,
                              const struct keyspace_map *keyspaces,
                              const struct topology_replication *replication)
{
    const struct keyspace *keyspace = keyspace_map_find_id(keyspaces, replication->keyspace_id);
    char *text = NULL;
    for (uint32_t i = 0; i < topology->data_center_count; i++) {
        uint8_t now = replication->n[TOPOLOGY_NOW][i];
        uint8_t next = replication->n[TOPOLOGY_NEXT][i];
        if (now == next)
            continue;
        if (text == NULL)
            text = arena_printf(
                arena, "keyspace %s:", keyspace == NULL ? "that was dropped" : keyspace->name);
        text = arena_printf(arena, "%s replicas in %s %u -> %u", text, topology->data_centers[i],
                            now, next);
    }
    return text;
}

Coterie__V1__Change *change_new(struct arena *arena, const struct topology *topology,
                                const struct keyspace_map *keyspaces)
{
    const struct topology_change *from = &topology->change;
    Coterie__V1__Change *change = arena_alloc(arena, sizeof *change);
    coterie__v1__change__init(change);
    change->state = state_of(from->state);
    change->paused = from->paused;
    change->aborting = from->aborting;
    change->began_epoch = from->began_epoch;
    change->began_at_ms = from->began_ms;
    change->bytes_per_second = from->bytes_per_second;
    if (from->state == CHANGE_NONE)
        return change;
    uint32_t phases[PHASE_DONE + 1] = {0};
    for (uint32_t i = 0; i < topology->partitions; i++)
        phases[topology->phases[i]]++;
    change->partitions_waiting = phases[PHASE_WAITING];
    change->partitions_announced = phases[PHASE_ANNOUNCED];
    change->partitions_copied = phases[PHASE_COPIED];
    change->partitions_done = phases[PHASE_DONE];
    change->parts = ARENA_NEW(arena, char *, PARTS_MAX);
    for (uint32_t i = 0; i < topology->member_count; i++) {
        char *part = member_part(arena, topology, &topology->members[i]);
        if (part != NULL)
            change->parts[change->n_parts++] = part;
    }
    for (uint32_t i = 0; i < topology->replication_count; i++) {
        char *part = replication_part(arena, topology, keyspaces, &topology->replication[i]);
        if (part != NULL)
            change->parts[change->n_parts++] = part;
    }
    return change;
}

/* -- what is to be staged ---------------------------------------------------------------------- */

static const struct member *member_named(const struct view *view, const char *name,
                                         const char *field, struct status *ret_error)
{
    const struct member *member = topology_member_by_name(&view->topology, name);
    if (name[0] == '\0')
        status_invalid(ret_error, field, "missing");
    else if (member == NULL)
        status_no_node(ret_error, field, name);
    return name[0] == '\0' ? NULL : member;
}

static bool leave_operation(const struct view *view, const Coterie__V1__Leave *words,
                            struct topology_operation *operation, struct status *ret_error)
{
    const struct member *member = member_named(view, words->node, "leave.node", ret_error);
    if (member == NULL)
        return false;
    bool answers =
        member->number == view->self || view_liveness(view, member->number) == LIVENESS_ALIVE;
    if (words->gone && answers) {
        status_set(ret_error, GRPC_STATUS_FAILED_PRECONDITION, "CHANGE_REFUSED",
                   "node %s answers, so it is not gone: have it leave (its data is then taken from "
                   "it too), or stop it first",
                   member->name);
        return false;
    }
    operation->kind = TOPOLOGY_LEAVE;
    operation->member = member->number;
    operation->gone = words->gone != 0;
    return true;
}

static bool word_copy(char *ret, size_t size_max, const char *field, const char *word,
                      struct status *ret_error)
{
    size_t size = strlen(word);
    bool good = size <= size_max;
    for (size_t i = 0; good && i < size; i++)
        good = word[i] > ' ' && word[i] <= '~';
    if (!good) {
        status_invalid(ret_error, field, "must be at most %zu visible ASCII characters", size_max);
        return false;
    }
    memcpy(ret, word, size + 1);
    return true;
}

static bool place_fill(const Coterie__V1__Place *words, struct topology_operation *operation,
                       struct status *ret_error)
{
    if (words == NULL)
        return true;
    if (words->weight > WEIGHT_MAX) {
        status_invalid(ret_error, "place.weight", "%u, must be 1 to %u", words->weight, WEIGHT_MAX);
        return false;
    }
    operation->weight = (uint16_t)words->weight;
    return word_copy(operation->data_center, ZONE_NAME_MAX, "place.data_center", words->data_center,
                     ret_error) &&
           word_copy(operation->zone, ZONE_NAME_MAX, "place.zone", words->zone, ret_error);
}

static bool place_operation(const struct view *view, const Coterie__V1__SetPlace *words,
                            struct topology_operation *operation, struct status *ret_error)
{
    const struct member *member = member_named(view, words->node, "place.node", ret_error);
    if (member == NULL)
        return false;
    const Coterie__V1__Place *place = words->place;
    if (place == NULL ||
        (place->weight == 0 && place->data_center[0] == '\0' && place->zone[0] == '\0')) {
        status_invalid(ret_error, "place.place",
                       "nothing is to change: give a weight, a zone or "
                       "a data centre");
        return false;
    }
    operation->kind = TOPOLOGY_PLACE;
    operation->member = member->number;
    return place_fill(place, operation, ret_error);
}

static bool n_by_data_center(const struct view *view, const Coterie__V1__Replicate *words,
                             struct topology_operation *operation, struct status *ret_error)
{
    static const char field[] = "replicate.n_by_data_center";
    for (size_t i = 0; i < words->n_n_by_data_center; i++) {
        const char *name = words->n_by_data_center[i]->key;
        uint32_t n = words->n_by_data_center[i]->value;
        uint32_t found = 0;
        while (found < view->topology.data_center_count &&
               strcmp(view->topology.data_centers[found], name) != 0)
            found++;
        if (found == view->topology.data_center_count) {
            status_invalid(ret_error, field, "\"%.80s\" is no data centre of this cluster", name);
            return false;
        }
        if (n > REPLICAS_MAX) {
            status_invalid(ret_error, field, "%u replicas, limit %u", n, REPLICAS_MAX);
            return false;
        }
        operation->n[found] = (uint8_t)n;
    }
    return true;
}

static bool replicate_operation(const struct view *view, const Coterie__V1__Replicate *words,
                                struct topology_operation *operation, struct status *ret_error)
{
    const struct keyspace *keyspace =
        keyspace_named(view, words->keyspace, "replicate.keyspace", ret_error);
    if (keyspace == NULL)
        return false;
    bool by_data_center = words->n_n_by_data_center != 0;
    if ((words->n != 0) == by_data_center || words->n > REPLICAS_MAX) {
        status_invalid(ret_error, "replicate.n",
                       "must be 1 to %u replicas, or, instead, a number for each data centre",
                       REPLICAS_MAX);
        return false;
    }
    operation->kind = TOPOLOGY_REPLICATE;
    operation->keyspace_id = keyspace->id;
    for (uint32_t i = 0; i < view->topology.data_center_count && i < DATA_CENTERS_MAX; i++)
        operation->n[i] =
            (uint8_t)(by_data_center ? view_replicas(view, TOPOLOGY_NEXT, keyspace, i) : words->n);
    return n_by_data_center(view, words, operation, ret_error);
}

bool change_operation(const struct view *view, const Coterie__V1__StageChangeRequest *words,
                      struct topology_operation *ret_operation, struct status *ret_error)
{
    *ret_operation = (struct topology_operation){0};
    switch (words->what_case) {
    case COTERIE__V1__STAGE_CHANGE_REQUEST__WHAT_LEAVE:
        return leave_operation(view, words->leave, ret_operation, ret_error);
    case COTERIE__V1__STAGE_CHANGE_REQUEST__WHAT_PLACE:
        return place_operation(view, words->place, ret_operation, ret_error);
    case COTERIE__V1__STAGE_CHANGE_REQUEST__WHAT_REPLICATE:
        return replicate_operation(view, words->replicate, ret_operation, ret_error);
    default:
        status_invalid(ret_error, "what", "missing: leave, place or replicate");
        return false;
    }
}

bool change_join_operation(const Coterie__V1__JoinRequest *words,
                           struct topology_operation *ret_operation, struct status *ret_error)
{
    static const uint8_t none[16];
    struct topology_operation operation = {.kind = TOPOLOGY_JOIN, .hold = words->hold != 0};
    if (words->join_id.len != sizeof operation.join_id ||
        memcmp(words->join_id.data, none, sizeof none) == 0) {
        status_invalid(ret_error, "join_id", "must be 16 random bytes");
        return false;
    }
    memcpy(operation.join_id, words->join_id.data, sizeof operation.join_id);
    if (words->name[0] == '\0' || words->peer_address[0] == '\0') {
        status_invalid(ret_error, words->name[0] == '\0' ? "name" : "peer_address", "missing");
        return false;
    }
    if (!word_copy(operation.name, NODE_NAME_MAX, "name", words->name, ret_error) ||
        !word_copy(operation.address, ADDRESS_MAX, "peer_address", words->peer_address,
                   ret_error) ||
        !place_fill(words->place, &operation, ret_error))
        return false;
    struct client_endpoint endpoint;
    char why[512];
    if (strrchr(operation.address, ':') == NULL ||
        client_endpoint_parse(bytes_of_string(operation.address), &endpoint, why, sizeof why) !=
            OK) {
        status_invalid(ret_error, "peer_address", "\"%.200s\" is not host:port", operation.address);
        return false;
    }
    *ret_operation = operation;
    return true;
}

/* -- why not ----------------------------------------------------------------------------------- */

void change_status(struct status *status, enum err err, bool unknown, const char *why)
{
    status_of_err(status, err, why);
    if (unknown) {
        status_set(status, GRPC_STATUS_UNAVAILABLE, "OUTCOME_UNKNOWN",
                   "%s; it may still be decided: see GetChange before asking again",
                   why == NULL ? err_text(err) : why);
        status->outcome = "UNKNOWN";
        return;
    }
    status->outcome = "NOT_APPLIED";
    if (err == ERR_PRECONDITION || err == ERR_LIMIT) {
        status->reason = "CHANGE_REFUSED";
    } else if (err == ERR_CONFLICT) {
        status->reason = "EPOCH_CHANGED";
    } else if (err == ERR_NOT_FOUND) {
        status->reason = "NODE_NOT_FOUND";
    } else if (err == ERR_UNAVAILABLE || err == ERR_TIMEOUT) {
        status->code = GRPC_STATUS_UNAVAILABLE;
        status->reason = "VOTERS_UNAVAILABLE";
    }
}

struct message *change_message(struct call *call, const struct view *view,
                               const struct topology_operation *operation)
{
    struct message *message = message_new(MESSAGE_client_topology, 0);
    call_address(call, view, 0, ACTOR_GOSSIP, message);
    message->client_topology =
        (struct client_topology){.client = message->id, .operation = *operation};
    return message;
}
