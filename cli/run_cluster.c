/* nodes, ring, health */
#include "cli/cli.h"
#include "cli/output.h"
#include "coterie/v1/cluster.pb-c.h"
#include "grpc/health/v1/health.pb-c.h"
#include "model/detector.h"

#define SERVICE "/coterie.v1.Cluster/"

static const char *const states[] = {"unknown", "joining", "normal", "leaving", "removed"};
static const char *const phases[] = {"waiting", "announced", "copied", "done"};
static const char *const livenesses[] = {"unheard", "alive", "down"};

static const char *name_in(const char *const *names, size_t count, int value)
{
    return value >= 0 && (size_t)value < count ? names[value] : "?";
}

static const char *state_of(const Coterie__V1__Node *node)
{
    if (node->gone && node->state != COTERIE__V1__NODE__STATE__STATE_REMOVED)
        return "gone";
    return name_in(states, ARRAY_COUNT(states), (int)node->state);
}

static const char *now_next(struct arena *arena, const char *now, const char *next)
{
    if (next != NULL && strcmp(now, next) != 0)
        return arena_printf(arena, "%s -> %s", now, next);
    return now[0] == '\0' ? "-" : now;
}

static void print_nodes(struct cli *cli, const Coterie__V1__ListNodesResponse *response)
{
    struct table table;
    struct arena *arena = &cli->arena;
    table_init(&table, arena,
               (const char *const[]){"NAME", "LIVENESS", "STATE", "ADDRESS", "DC", "ZONE", "WEIGHT",
                                     "PARTITIONS", "SHARE", "PHI", NULL});
    for (size_t i = 0; i < response->n_nodes; i++) {
        const Coterie__V1__Node *node = response->nodes[i];
        if (node->state == COTERIE__V1__NODE__STATE__STATE_REMOVED && !cli->verbose)
            continue;
        const Coterie__V1__Place *next = node->next;
        char phi[DETECTOR_PHI_TEXT_SIZE];
        table_row(&table,
                  (const char *const[]){
                      node->name, name_in(livenesses, ARRAY_COUNT(livenesses), (int)node->liveness),
                      state_of(node), node->peer_address,
                      now_next(arena, node->data_center, next == NULL ? NULL : next->data_center),
                      now_next(arena, node->zone, next == NULL ? NULL : next->zone),
                      next == NULL || next->weight == node->weight
                          ? arena_printf(arena, "%u", node->weight)
                          : arena_printf(arena, "%u -> %u", node->weight, next->weight),
                      arena_printf(arena, "%u", node->partitions_owned),
                      arena_printf(arena, "%.1f %%", 100 * node->share),
                      arena_string(arena, bytes_of_string(detector_phi_text(node->phi, phi))),
                      NULL});
    }
    table_print(&table);
}

enum cli_exit cli_run_nodes(struct cli *cli)
{
    enum cli_exit exit = CLI_OK;
    Coterie__V1__ListNodesRequest request = COTERIE__V1__LIST_NODES_REQUEST__INIT;
    Coterie__V1__ListNodesResponse *response = (Coterie__V1__ListNodesResponse *)cli_call(
        cli, SERVICE "ListNodes", &request.base, &coterie__v1__list_nodes_response__descriptor,
        false, &exit);
    if (response == NULL)
        return exit;
    if (!cli->json) {
        print_nodes(cli, response);
        return CLI_OK;
    }
    json_t *nodes = json_array();
    for (size_t i = 0; i < response->n_nodes; i++) {
        const Coterie__V1__Node *node = response->nodes[i];
        json_array_append_new(
            nodes,
            json_pack("{s:I, s:s, s:s, s:s, s:s, s:I, s:s, s:s, s:f, s:I, s:I, s:f}", "number",
                      (json_int_t)node->number, "name", node->name, "peer_address",
                      node->peer_address, "data_center", node->data_center, "zone", node->zone,
                      "weight", (json_int_t)node->weight, "state",
                      name_in(states, ARRAY_COUNT(states), (int)node->state), "liveness",
                      name_in(livenesses, ARRAY_COUNT(livenesses), (int)node->liveness), "phi",
                      node->phi, "generation", (json_int_t)node->generation, "partitions_owned",
                      (json_int_t)node->partitions_owned, "share", node->share));
        json_t *object = json_array_get(nodes, i);
        json_object_set_new(object, "gone", json_boolean(node->gone));
        json_object_set_new(object, "voter", json_boolean(node->voter));
        if (node->next != NULL)
            json_object_set_new(object, "next",
                                json_pack("{s:s, s:s, s:I}", "data_center", node->next->data_center,
                                          "zone", node->next->zone, "weight",
                                          (json_int_t)node->next->weight));
    }
    output_json(json_pack("{s:o}", "nodes", nodes));
    return CLI_OK;
}

static void print_ring(struct cli *cli, const Coterie__V1__GetRingResponse *ring)
{
    struct table table;
    struct arena *arena = &cli->arena;
    table_init(
        &table, arena,
        (const char *const[]){"PARTITION", "FIRST HASH", "DC", "REPLICAS | FALLBACKS", NULL});
    for (size_t i = 0; i < ring->n_partitions; i++) {
        const Coterie__V1__Partition *partition = ring->partitions[i];
        for (size_t j = 0; j < partition->n_data_centers; j++) {
            const Coterie__V1__Partition__Replicas *replicas = partition->data_centers[j];
            const char *names = output_names(arena, replicas->replicas, replicas->n_replicas);
            if (replicas->n_written_too > 0)
                names = arena_printf(
                    arena, "%s + %s (%s)", names,
                    output_names(arena, replicas->written_too, replicas->n_written_too),
                    name_in(phases, ARRAY_COUNT(phases), (int)partition->phase));
            if (replicas->n_fallbacks > 0)
                names =
                    arena_printf(arena, "%s | %s", names,
                                 output_names(arena, replicas->fallbacks, replicas->n_fallbacks));
            table_row(&table,
                      (const char *const[]){
                          arena_printf(arena, "%u", partition->partition),
                          arena_printf(arena, "%016llx", (unsigned long long)partition->first_hash),
                          replicas->data_center[0] == '\0' ? "-" : replicas->data_center, names,
                          NULL});
        }
    }
    table_print(&table);
}

static json_t *json_of_partition(struct arena *arena, const Coterie__V1__Partition *partition)
{
    json_t *data_centers = json_array();
    for (size_t i = 0; i < partition->n_data_centers; i++) {
        const Coterie__V1__Partition__Replicas *replicas = partition->data_centers[i];
        json_array_append_new(
            data_centers,
            json_pack("{s:s, s:o, s:o, s:o}", "data_center", replicas->data_center, "replicas",
                      output_json_names(replicas->replicas, replicas->n_replicas), "fallbacks",
                      output_json_names(replicas->fallbacks, replicas->n_fallbacks), "written_too",
                      output_json_names(replicas->written_too, replicas->n_written_too)));
    }
    /* Hashes are 64 bits wide, more than a JSON number can be trusted with. */
    return json_pack(
        "{s:I, s:s, s:s, s:o}", "partition", (json_int_t)partition->partition, "first_hash",
        arena_printf(arena, "%016llx", (unsigned long long)partition->first_hash), "phase",
        name_in(phases, ARRAY_COUNT(phases), (int)partition->phase), "data_centers", data_centers);
}

enum cli_exit cli_run_ring(struct cli *cli)
{
    enum cli_exit exit = CLI_OK;
    Coterie__V1__GetRingRequest request = COTERIE__V1__GET_RING_REQUEST__INIT;
    request.keyspace = input_keyspace(cli);
    Coterie__V1__GetRingResponse *ring = (Coterie__V1__GetRingResponse *)cli_call(
        cli, SERVICE "GetRing", &request.base, &coterie__v1__get_ring_response__descriptor, false,
        &exit);
    if (ring == NULL)
        return exit;
    if (!cli->json) {
        print_ring(cli, ring);
        return CLI_OK;
    }
    json_t *partitions = json_array();
    for (size_t i = 0; i < ring->n_partitions; i++)
        json_array_append_new(partitions, json_of_partition(&cli->arena, ring->partitions[i]));
    output_json(
        json_pack("{s:I, s:o}", "epoch", (json_int_t)ring->epoch, "partitions", partitions));
    return CLI_OK;
}

/* One endpoint: what it says of itself. */
static const char *ask_health(struct cli *cli, const char *endpoint, bool *ret_reached)
{
    static const char *const answers[] = {"unknown", "serving", "not serving", "service unknown"};
    struct rpc_client *client;
    struct rpc_client_status status;
    char why[512];
    if (rpc_client_new(endpoint, &client, why, sizeof why) != OK)
        UNREACHABLE("the whole list was checked");
    Grpc__Health__V1__HealthCheckRequest request = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
    Grpc__Health__V1__HealthCheckResponse *response =
        (Grpc__Health__V1__HealthCheckResponse *)rpc_client_call(
            client, "/grpc.health.v1.Health/Check", &request.base,
            &grpc__health__v1__health_check_response__descriptor, cli->deadline_ms, true,
            &cli->arena, &status);
    rpc_client_free(client);
    *ret_reached = strcmp(status.reason, "NOT_CONNECTED") != 0;
    if (response != NULL)
        return name_in(answers, ARRAY_COUNT(answers), (int)response->status);
    return arena_printf(&cli->arena, "%s: %s", rpc_code_name((int)status.code), status.message);
}

enum cli_exit cli_run_health(struct cli *cli)
{
    if (cli_client(cli) == NULL)
        return CLI_USAGE;
    struct table table;
    table_init(&table, &cli->arena, (const char *const[]){"ENDPOINT", "HEALTH", NULL});
    json_t *list = json_array();
    bool all_serve = true, any_reached = false;
    for (const char *next = cli->endpoints; next != NULL;) {
        size_t size = strcspn(next, ",");
        const char *endpoint = arena_string(&cli->arena, bytes_of(next, size));
        bool reached = false;
        const char *health = ask_health(cli, endpoint, &reached);
        any_reached = any_reached || reached;
        all_serve = all_serve && strcmp(health, "serving") == 0;
        table_row(&table, (const char *const[]){endpoint, health, NULL});
        json_array_append_new(list,
                              json_pack("{s:s, s:s}", "endpoint", endpoint, "health", health));
        next = next[size] == ',' ? next + size + 1 : NULL;
    }
    if (cli->json) {
        output_json(json_pack("{s:o}", "endpoints", list));
    } else {
        table_print(&table);
        json_decref(list);
    }
    if (all_serve)
        return CLI_OK;
    return any_reached ? CLI_UNHEALTHY : CLI_UNAVAILABLE;
}
