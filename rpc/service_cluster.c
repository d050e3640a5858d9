/* Cluster: what this node knows of the cluster, from its view, at once. */
#include "rpc/change.h"
#include "rpc/problems.h"

#include "base/check.h"
#include "model/hash.h"
#include "model/identity.h"
#include "model/limits.h"

#include <stdio.h>

bool request_begin(struct request *request, struct call *call, struct bytes payload,
                   const ProtobufCMessageDescriptor *descriptor)
{
    struct status status;
    request->call = call;
    arena_init(&request->arena, request->memory, sizeof request->memory);
    request->message = decode(&request->arena, payload, descriptor, &status);
    if (request->message == NULL) {
        call_fail(call, &status);
        arena_deinit(&request->arena);
        return false;
    }
    request->view = runtime_view_lock(call->edge->options->runtime);
    return true;
}

void request_end(struct request *request)
{
    runtime_view_unlock(request->call->edge->options->runtime);
    arena_deinit(&request->arena);
}

static Coterie__V1__Node__Liveness liveness_of(const struct view *view, uint32_t number)
{
    if (number == view->self)
        return COTERIE__V1__NODE__LIVENESS__LIVENESS_ALIVE;
    switch (view_liveness(view, number)) {
    case LIVENESS_ALIVE:
        return COTERIE__V1__NODE__LIVENESS__LIVENESS_ALIVE;
    case LIVENESS_DOWN:
        return COTERIE__V1__NODE__LIVENESS__LIVENESS_DOWN;
    case LIVENESS_UNKNOWN:
        break;
    }
    return COTERIE__V1__NODE__LIVENESS__LIVENESS_UNSPECIFIED;
}

/* -- Status ------------------------------------------------------------------------------------ */

static void add_problems(struct request *request, Coterie__V1__StatusResponse *response)
{
    const struct rpc_server_options *options = request->call->edge->options;
    struct own_troubles troubles = {0};
    struct problems problems;
    if (options->own_troubles != NULL)
        troubles = options->own_troubles(options->host);
    problems_find(&request->arena, request->view, options->node_name, &troubles, &problems);
    response->problems = problems.texts;
    response->n_problems = problems.count;
    response->own_problems = &problems.texts[problems.count - problems.own_count];
    response->n_own_problems = problems.own_count;
    response->nodes_total = problems.nodes_total;
    response->nodes_alive = problems.nodes_alive;
}

void cluster_status_handle(struct call *call, struct bytes payload)
{
    struct request request;
    if (!request_begin(&request, call, payload, &coterie__v1__status_request__descriptor))
        return;
    const struct topology *topology = &request.view->topology;
    const struct rpc_server_options *options = call->edge->options;
    Coterie__V1__StatusResponse response = COTERIE__V1__STATUS_RESPONSE__INIT;
    char cluster_id[2 * sizeof topology->cluster_id + 1];
    for (size_t i = 0; i < sizeof topology->cluster_id; i++)
        snprintf(&cluster_id[2 * i], 3, "%02x", topology->cluster_id[i]);
    response.cluster_id = cluster_id;
    response.epoch = topology->epoch;
    response.partitions = topology->partitions;
    response.node = text_of(options->node_name);
    response.version = text_of(options->version);
    response.uptime_ms = (runtime_now_ns() - call->edge->started_ns) / 1000000;
    for (uint32_t i = 0; i < request.view->keyspaces.count; i++)
        response.keyspaces += !request.view->keyspaces.keyspaces[i].dropped;
    response.convergence = convergence_new(
        &request, ((const Coterie__V1__StatusRequest *)request.message)->pairs != 0);
    response.change = change_new(&request.arena, topology, &request.view->keyspaces);
    add_problems(&request, &response);
    response.healthy = response.n_problems == 0;
    call_reply(call, &response.base);
    request_end(&request);
}

/* -- ListNodes --------------------------------------------------------------------------------- */

Coterie__V1__Node__State node_state_of(enum member_status status)
{
    switch (status) {
    case MEMBER_JOINING:
        return COTERIE__V1__NODE__STATE__STATE_JOINING;
    case MEMBER_NORMAL:
        return COTERIE__V1__NODE__STATE__STATE_NORMAL;
    case MEMBER_LEAVING:
        return COTERIE__V1__NODE__STATE__STATE_LEAVING;
    case MEMBER_REMOVED:
        break;
    }
    return COTERIE__V1__NODE__STATE__STATE_REMOVED;
}

/* Where it is to be, when that is another place than where it is. */
static Coterie__V1__Place *next_place_new(struct arena *arena, const struct topology *topology,
                                          const struct member *member)
{
    const struct member_place *now = &member->places[TOPOLOGY_NOW];
    const struct member_place *next = &member->places[TOPOLOGY_NEXT];
    if (member->status != MEMBER_NORMAL ||
        (now->data_center == next->data_center && now->weight == next->weight &&
         strcmp(now->zone, next->zone) == 0))
        return NULL;
    Coterie__V1__Place *place = arena_alloc(arena, sizeof *place);
    coterie__v1__place__init(place);
    place->data_center = text_of(topology->data_centers[next->data_center]);
    place->zone = text_of(next->zone);
    place->weight = next->weight;
    return place;
}

static bool is_voter(const struct topology *topology, uint32_t number)
{
    for (uint32_t i = 0; i < topology->voter_count; i++) {
        if (topology->voters[i] == number)
            return true;
    }
    return false;
}

static Coterie__V1__Node *node_new(struct arena *arena, const struct view *view, uint32_t index)
{
    const struct topology *topology = &view->topology;
    const struct member *member = &topology->members[index];
    Coterie__V1__Node *node = arena_alloc(arena, sizeof *node);
    coterie__v1__node__init(node);
    node->number = member->number;
    node->name = text_of(member->name);
    node->peer_address = text_of(member->address);
    enum topology_side side = member_is_on(member, TOPOLOGY_NOW) ? TOPOLOGY_NOW : TOPOLOGY_NEXT;
    const struct member_place *place = member_place(member);
    node->data_center = text_of(topology->data_centers[place->data_center]);
    node->zone = text_of(place->zone);
    node->weight = place->weight;
    node->state = node_state_of(member->status);
    node->liveness = liveness_of(view, member->number);
    node->phi = view->members[index].phi;
    node->generation = identity_starts(view->members[index].generation);
    for (uint32_t i = 0; i < topology->partitions; i++)
        node->partitions_owned +=
            topology_owner(topology, side, place->data_center, i) == member->number;
    node->share = (double)node->partitions_owned / (double)topology->partitions;
    node->gone = member->gone;
    node->next = next_place_new(arena, topology, member);
    node->voter = is_voter(topology, member->number);
    return node;
}

void list_nodes_handle(struct call *call, struct bytes payload)
{
    struct request request;
    if (!request_begin(&request, call, payload, &coterie__v1__list_nodes_request__descriptor))
        return;
    uint32_t count = request.view->topology.member_count;
    Coterie__V1__ListNodesResponse response = COTERIE__V1__LIST_NODES_RESPONSE__INIT;
    response.n_nodes = count;
    response.nodes = ARENA_NEW(&request.arena, Coterie__V1__Node *, count);
    for (uint32_t i = 0; i < count; i++)
        response.nodes[i] = node_new(&request.arena, request.view, i);
    call_reply(call, &response.base);
    request_end(&request);
}

/* -- GetRing ----------------------------------------------------------------------------------- */

/* Members that are written to and not read, because the partition goes over. */
static void written_too_fill(struct arena *arena, const struct view *view,
                             const struct keyspace *keyspace, uint32_t data_center,
                             uint32_t partition, Coterie__V1__Partition__Replicas *replicas)
{
    struct replica_set set;
    view_replica_set(view, keyspace, partition, &set);
    if (!set.joint)
        return;
    replicas->written_too = ARENA_NEW(arena, char *, set.count);
    for (uint32_t i = 0; i < set.count; i++) {
        const struct member *member = topology_member(&view->topology, set.replicas[i].member);
        CHECK(member != NULL);
        if (!set.replicas[i].reader && set.replicas[i].data_center == data_center)
            replicas->written_too[replicas->n_written_too++] = text_of(member->name);
    }
}

static Coterie__V1__Partition__Replicas *replicas_new(struct arena *arena, const struct view *view,
                                                      const struct keyspace *keyspace,
                                                      uint32_t data_center, uint32_t partition)
{
    const struct topology *topology = &view->topology;
    Coterie__V1__Partition__Replicas *replicas = arena_alloc(arena, sizeof *replicas);
    coterie__v1__partition__replicas__init(replicas);
    replicas->data_center = text_of(topology->data_centers[data_center]);
    struct preference_list list;
    written_too_fill(arena, view, keyspace, data_center, partition, replicas);
    view_preference_list(view, keyspace, data_center, partition, &list);
    if (list.count == 0)
        return replicas;
    /* As many fallbacks as could ever stand in; 1,024 partitions of 64 names would not fit a reply.
     */
    uint32_t count = list.count < 2 * list.replicas ? list.count : 2 * list.replicas;
    replicas->replicas = ARENA_NEW(arena, char *, count);
    replicas->fallbacks = replicas->replicas + list.replicas;
    for (uint32_t i = 0; i < count; i++) {
        const struct member *member = topology_member(topology, list.members[i]);
        CHECK(member != NULL);
        replicas->replicas[i] = text_of(member->name);
    }
    replicas->n_replicas = list.replicas;
    replicas->n_fallbacks = count - list.replicas;
    return replicas;
}

const struct keyspace *keyspace_named(const struct view *view, const char *name, const char *field,
                                      struct status *ret_error)
{
    if (!keyspace_name_valid(name)) {
        status_invalid(ret_error, field, "\"%.80s\" is not of the form [a-z][a-z0-9_-]{0,%u}", name,
                       KEYSPACE_NAME_MAX - 1);
        return NULL;
    }
    const struct keyspace *keyspace = keyspace_map_find(&view->keyspaces, name);
    if (keyspace == NULL)
        status_set(ret_error, GRPC_STATUS_NOT_FOUND, "KEYSPACE_NOT_FOUND",
                   "%s: keyspace \"%s\" does not exist", field, name);
    return keyspace;
}

void get_ring_handle(struct call *call, struct bytes payload)
{
    struct request request;
    if (!request_begin(&request, call, payload, &coterie__v1__get_ring_request__descriptor))
        return;
    const struct view *view = request.view;
    const char *name = ((const Coterie__V1__GetRingRequest *)request.message)->keyspace;
    struct status status;
    const struct keyspace *keyspace =
        keyspace_named(view, name[0] == '\0' ? "default" : name, "keyspace", &status);
    if (keyspace == NULL) {
        call_fail(call, &status);
        request_end(&request);
        return;
    }
    Coterie__V1__GetRingResponse response = COTERIE__V1__GET_RING_RESPONSE__INIT;
    uint32_t data_centers = view->topology.data_center_count;
    response.epoch = view->topology.epoch;
    response.n_partitions = view->topology.partitions;
    response.partitions =
        ARENA_NEW(&request.arena, Coterie__V1__Partition *, response.n_partitions);
    for (uint32_t i = 0; i < response.n_partitions; i++) {
        Coterie__V1__Partition *partition = arena_alloc(&request.arena, sizeof *partition);
        coterie__v1__partition__init(partition);
        partition->partition = i;
        partition->first_hash = hash_partition_start(i, view->topology.partitions);
        partition->phase = (Coterie__V1__Phase)view->topology.phases[i];
        partition->n_data_centers = data_centers;
        partition->data_centers =
            ARENA_NEW(&request.arena, Coterie__V1__Partition__Replicas *, data_centers);
        for (uint32_t j = 0; j < data_centers; j++)
            partition->data_centers[j] = replicas_new(&request.arena, view, keyspace, j, i);
        response.partitions[i] = partition;
    }
    call_reply(call, &response.base);
    request_end(&request);
}
