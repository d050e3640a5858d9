/* status: the cluster in short, and how far it is proven that all copies are the same */
#include "cli/output.h"
#include "cli/plan.h"
#include "cli/round.h"
#include "cli/waits.h"
#include "coterie/v1/cluster.pb-c.h"

#define STATUS         "/coterie.v1.Cluster/Status"
#define OTHERS_WAIT_MS 1000u
#define OTHERS_MAX     ROUND_NODES_MAX
#define PROBLEMS_MAX   4u /* of one node, in the mean */

typedef Coterie__V1__StatusResponse status_words;
typedef Coterie__V1__Convergence convergence_words;

static const char *duration(struct arena *arena, uint64_t ms)
{
    uint64_t s = ms / 1000;
    if (s < 60)
        return arena_printf(arena, "%llu.%03llu s", (unsigned long long)s,
                            (unsigned long long)(ms % 1000));
    if (s < 86400)
        return arena_printf(arena, "%llu:%02llu:%02llu h", (unsigned long long)(s / 3600),
                            (unsigned long long)(s / 60 % 60), (unsigned long long)(s % 60));
    return arena_printf(arena, "%llu d %llu h", (unsigned long long)(s / 86400),
                        (unsigned long long)(s / 3600 % 24));
}

/* What the nodes that were asked say together; each speaks of itself and of the pairs that it
 * drives. */
struct round_up {
    size_t node_count;
    const status_words *nodes[OTHERS_MAX];
    uint64_t in_cluster, pairs, behind, dirty, incomplete;
    uint64_t age_ms; /* of the oldest proof, by the clock of its node */
    bool proven;     /* any */
    const char *reasons;
    size_t problem_count; /* of the first, and what the others say of themselves */
    char *problems[OTHERS_MAX * PROBLEMS_MAX];
};

static void add_problems(struct round_up *sum, char *const *problems, size_t count)
{
    for (size_t i = 0; i < count && sum->problem_count < ARRAY_COUNT(sum->problems); i++)
        sum->problems[sum->problem_count++] = problems[i];
}

static void add_node(struct cli *cli, struct round_up *sum, const status_words *status)
{
    const convergence_words *words = status->convergence;
    for (size_t i = 0; i < sum->node_count; i++) {
        if (strcmp(sum->nodes[i]->node, status->node) == 0)
            return;
    }
    if (words == NULL || sum->node_count == OTHERS_MAX)
        return;
    if (sum->node_count != 0)
        add_problems(sum, status->own_problems, status->n_own_problems);
    sum->nodes[sum->node_count++] = status;
    sum->in_cluster = words->pairs_in_cluster;
    sum->pairs += words->pairs;
    sum->behind += words->behind;
    sum->dirty += words->dirty;
    sum->incomplete += words->incomplete;
    if (words->identical > 0) {
        uint64_t age_ms = words->now_ms > words->identical_as_of_ms
                              ? words->now_ms - words->identical_as_of_ms
                              : 0;
        sum->age_ms = age_ms > sum->age_ms ? age_ms : sum->age_ms;
        sum->proven = true;
    }
    for (size_t i = 0; i < words->n_reasons; i++)
        sum->reasons = arena_printf(&cli->arena, "%s%s%s", sum->reasons,
                                    sum->reasons[0] == '\0' ? "" : "; ", words->reasons[i]);
}

/* The other endpoints; who does not answer soon is left out, and its pairs are not known. */
static void ask_others(struct cli *cli, struct round_up *sum)
{
    struct round round = round_of(cli);
    Coterie__V1__StatusRequest request = COTERIE__V1__STATUS_REQUEST__INIT;
    struct rpc_client_status ignored;
    const char *endpoint;
    request.pairs = cli->json;
    if (cli->deadline_ms > OTHERS_WAIT_MS)
        cli->deadline_ms = OTHERS_WAIT_MS;
    if (strchr(cli->endpoints, ',') == NULL)
        return;
    while (round_next(&round, &endpoint)) {
        const status_words *status = (const status_words *)round_try(
            &round, endpoint, STATUS, &request.base, &coterie__v1__status_response__descriptor,
            false, &ignored);
        if (status != NULL)
            add_node(cli, sum, status);
    }
}

static bool all_known(const struct round_up *sum)
{
    return sum->pairs >= sum->in_cluster;
}

static bool is_converged(const struct round_up *sum)
{
    return all_known(sum) && sum->behind + sum->dirty + sum->incomplete == 0;
}

static bool is_healthy(const struct round_up *sum)
{
    return sum->problem_count == 0;
}

static void print_convergence(struct cli *cli, const struct round_up *sum)
{
    if (sum->in_cluster == 0) {
        puts("copies      one of each, nothing to compare");
        return;
    }
    const char *age = output_age(&cli->arena, sum->age_ms);
    const char *asked = all_known(sum) ? ""
                                       : arena_printf(&cli->arena, " of the %llu pairs asked about",
                                                      (unsigned long long)sum->pairs);
    if (sum->behind + sum->dirty + sum->incomplete == 0) {
        printf("copies      all %llu pairs identical as of %s ago", (unsigned long long)sum->pairs,
               age);
    } else {
        printf("copies      NOT PROVEN: %llu%s behind: %s", (unsigned long long)sum->behind, asked,
               sum->reasons);
        if (sum->proven)
            printf("; the others identical as of %s ago", age);
    }
    putchar('\n');
    if (!all_known(sum))
        printf("            %llu of %llu pairs are known to the nodes that were asked: name the "
               "others too (--endpoints)\n",
               (unsigned long long)sum->pairs, (unsigned long long)sum->in_cluster);
}

static void print_status(struct cli *cli, const status_words *status, const struct round_up *sum,
                         const Coterie__V1__GetChangeResponse *running)
{
    printf("cluster     %s\n", status->cluster_id);
    printf("health      %s\n", is_healthy(sum) ? "healthy" : "NOT HEALTHY");
    printf("nodes       %u of %u alive\n", status->nodes_alive, status->nodes_total);
    printf("partitions  %u, topology epoch %llu\n", status->partitions,
           (unsigned long long)status->epoch);
    printf("keyspaces   %u\n", status->keyspaces);
    if (sum->node_count > 0)
        print_convergence(cli, sum);
    if (status->change != NULL && status->change->state != COTERIE__V1__CHANGE__STATE__STATE_NONE) {
        printf("change      %s: see coterie changes\n",
               plan_change_text(&cli->arena, status->change));
        for (size_t i = 0; i < status->change->n_parts; i++)
            printf("            %s\n", status->change->parts[i]);
    }
    if (running != NULL)
        waits_print(&cli->arena, running, "waits       ", false);
    printf("asked       %s, version %s, up %s\n", status->node, status->version,
           duration(&cli->arena, status->uptime_ms));
    for (size_t i = 0; i < sum->problem_count; i++)
        printf("problem     %s\n", sum->problems[i]);
}

static json_t *json_of_pairs(const struct round_up *sum)
{
    static const char *const states[] = {"unknown", "waiting", "running", "identical", "failed"};
    json_t *list = json_array();
    for (size_t i = 0; i < sum->node_count; i++) {
        const convergence_words *words = sum->nodes[i]->convergence;
        for (size_t j = 0; j < words->n_list; j++) {
            const Coterie__V1__CopyPair *pair = words->list[j];
            size_t state = (size_t)pair->state < ARRAY_COUNT(states) ? (size_t)pair->state : 0;
            json_array_append_new(
                list, json_pack("{s:I, s:s, s:s, s:s, s:b, s:I, s:I, s:I, s:I}", "partition",
                                (json_int_t)pair->partition, "node", sum->nodes[i]->node, "peer",
                                pair->peer, "state", states[state], "driven", (int)pair->driven,
                                "identical_as_of_ms", (json_int_t)pair->identical_as_of_ms,
                                "attempted_ms", (json_int_t)pair->attempted_ms, "keys_repaired",
                                (json_int_t)pair->keys_repaired, "bytes_moved",
                                (json_int_t)pair->bytes_moved));
        }
    }
    return list;
}

static json_t *json_of(const status_words *status, const struct round_up *sum,
                       const Coterie__V1__GetChangeResponse *running)
{
    json_t *object =
        json_pack("{s:s, s:b, s:I, s:I, s:I, s:I, s:I, s:s, s:s, s:I, s:o}", "cluster_id",
                  status->cluster_id, "healthy", (int)is_healthy(sum), "nodes_total",
                  (json_int_t)status->nodes_total, "nodes_alive", (json_int_t)status->nodes_alive,
                  "epoch", (json_int_t)status->epoch, "partitions", (json_int_t)status->partitions,
                  "keyspaces", (json_int_t)status->keyspaces, "node", status->node, "version",
                  status->version, "uptime_ms", (json_int_t)status->uptime_ms, "problems",
                  output_json_names(sum->problems, sum->problem_count));
    if (status->change != NULL)
        json_object_set_new(object, "change", plan_change_json(status->change));
    if (running != NULL)
        json_object_set_new(object, "waits", waits_json(running->waits, running->n_waits));
    json_object_set_new(object, "convergence",
                        json_pack("{s:b, s:I, s:I, s:I, s:I, s:I, s:s, s:o}", "converged",
                                  (int)is_converged(sum), "pairs_in_cluster",
                                  (json_int_t)sum->in_cluster, "pairs", (json_int_t)sum->pairs,
                                  "behind", (json_int_t)sum->behind, "dirty",
                                  (json_int_t)sum->dirty, "incomplete", (json_int_t)sum->incomplete,
                                  "reasons", sum->reasons, "list", json_of_pairs(sum)));
    if (sum->proven)
        json_object_set_new(json_object_get(object, "convergence"), "identical_as_of_age_ms",
                            json_integer((json_int_t)sum->age_ms));
    return object;
}

enum cli_exit cli_run_status(struct cli *cli)
{
    enum cli_exit exit = CLI_OK;
    struct round_up *sum = ARENA_NEW(&cli->arena, struct round_up, 1);
    Coterie__V1__StatusRequest request = COTERIE__V1__STATUS_REQUEST__INIT;
    request.pairs = cli->json;
    const status_words *status = (const status_words *)cli_call(
        cli, STATUS, &request.base, &coterie__v1__status_response__descriptor, false, &exit);
    if (status == NULL)
        return exit;
    sum->reasons = "";
    add_problems(sum, status->problems, status->n_problems);
    add_node(cli, sum, status);
    /* Before the others, whose deadline is a short one. */
    const Coterie__V1__GetChangeResponse *running =
        status->change != NULL && status->change->state == COTERIE__V1__CHANGE__STATE__STATE_RUNNING
            ? waits_ask(cli)
            : NULL;
    ask_others(cli, sum);
    if (cli->json)
        output_json(json_of(status, sum, running));
    else
        print_status(cli, status, sum, running);
    return is_healthy(sum) ? CLI_OK : CLI_UNHEALTHY;
}
