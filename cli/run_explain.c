/* explain: one key, as every node sees it */
#include "cli/output.h"
#include "cli/waits.h"
#include "coterie/v1/maintenance.pb-c.h"

typedef Coterie__V1__ExplainedNode node_words;
typedef Coterie__V1__ExplainedVersion version_words;

/* -- are they the same? ------------------------------------------------------------------------ */

struct verdict {
    size_t replicas;
    size_t silent; /* say nothing, or cannot read it */
    size_t states; /* different ones among the rest; holding nothing is one */
};

static bool is_silent(const node_words *node)
{
    return node->problem[0] != '\0';
}

static struct verdict verdict_of(const Coterie__V1__ExplainResponse *response)
{
    struct verdict verdict = {0};
    for (size_t i = 0; i < response->n_nodes; i++) {
        const node_words *node = response->nodes[i];
        if (!node->replica)
            continue;
        verdict.replicas++;
        verdict.silent += is_silent(node);
        bool seen = is_silent(node);
        for (size_t j = 0; j < i && !seen; j++) {
            const node_words *other = response->nodes[j];
            seen = other->replica && !is_silent(other) && other->found == node->found &&
                   other->checksum == node->checksum;
        }
        verdict.states += !seen;
    }
    return verdict;
}

static const char *verdict_text(struct arena *arena, struct verdict verdict)
{
    const char *silent =
        verdict.silent == 0 ? "" : arena_printf(arena, ", %zu not known", verdict.silent);
    if (verdict.states <= 1)
        return arena_printf(arena, "%zu of %zu replicas hold the same%s",
                            verdict.replicas - verdict.silent, verdict.replicas, silent);
    return arena_printf(arena, "THE REPLICAS DIFFER: %zu states on %zu replicas%s", verdict.states,
                        verdict.replicas - verdict.silent, silent);
}

/* -- table ------------------------------------------------------------------------------------- */

static const char *ago(struct arena *arena, uint64_t now_ms, uint64_t then_ms)
{
    return then_ms > now_ms ? arena_printf(arena, "in %s", output_age(arena, then_ms - now_ms))
                            : arena_printf(arena, "%s ago", output_age(arena, now_ms - then_ms));
}

static const char *state_of(const node_words *node)
{
    if (!node->replica)
        return "no replica";
    if (is_silent(node))
        return node->problem;
    return !node->complete ? "is being filled" : node->found ? "holds it" : "holds nothing";
}

static void print_nodes(struct cli *cli, const Coterie__V1__ExplainResponse *response)
{
    struct table table;
    struct arena *arena = &cli->arena;
    uint64_t now_ms = response->asked_at_ms;
    table_init(&table, arena,
               (const char *const[]){"NODE", "STATE", "CHECKSUM", "TREE LEAF", "FLOOR",
                                     "LAST REPAIR", "KEEPS A HINT FOR", NULL});
    for (size_t i = 0; i < response->n_nodes; i++) {
        const node_words *node = response->nodes[i];
        bool answered = node->replica && !is_silent(node);
        const char *leaf = "-", *repair = "-", *hints = "-";
        if (answered && node->tree_depth > 0)
            leaf = arena_printf(arena, "%llu/2^%u: %u keys, %016llx",
                                (unsigned long long)node->leaf, node->tree_depth, node->leaf_keys,
                                (unsigned long long)node->leaf_digest);
        else if (answered)
            leaf = "being built";
        if (answered && node->repaired_at_ms != 0)
            repair = arena_printf(arena, "%s, %s", node->repaired_by,
                                  ago(arena, now_ms, node->repaired_at_ms));
        if (node->hints_problem[0] != '\0')
            hints = "not known";
        else if (node->n_hints_for > 0)
            hints = arena_printf(arena, "%s, oldest %s",
                                 output_names(arena, node->hints_for, node->n_hints_for),
                                 ago(arena, now_ms, node->hint_stored_at_ms));
        table_row(&table,
                  (const char *const[]){
                      node->node, state_of(node),
                      node->found && answered
                          ? arena_printf(arena, "%016llx", (unsigned long long)node->checksum)
                          : "-",
                      leaf,
                      answered ? arena_printf(arena, "%llu", (unsigned long long)node->floor) : "-",
                      repair, hints, NULL});
    }
    table_print(&table);
}

static const char *expiry_of(struct arena *arena, uint64_t now_ms, const version_words *version)
{
    if (version->expires_at_ms == 0)
        return "-";
    return arena_printf(arena, "%s%s", version->expired ? "EXPIRED " : "",
                        ago(arena, now_ms, version->expires_at_ms));
}

static void print_versions(struct cli *cli, const Coterie__V1__ExplainResponse *response)
{
    struct table table;
    struct arena *arena = &cli->arena;
    uint64_t now_ms = response->asked_at_ms;
    table_init(&table, arena,
               (const char *const[]){"NODE", "VERSION", "KIND", "WRITTEN", "EXPIRES", "BYTES",
                                     "VALUE HASH", NULL});
    for (size_t i = 0; i < response->n_nodes; i++) {
        const node_words *node = response->nodes[i];
        for (size_t j = 0; j < node->n_versions; j++) {
            const version_words *version = node->versions[j];
            table_row(
                &table,
                (const char *const[]){
                    node->node, version->dot, version->tombstone ? "tombstone" : "value",
                    arena_printf(arena, "%s (%s)", output_time(arena, version->written_at_ms),
                                 ago(arena, now_ms, version->written_at_ms)),
                    expiry_of(arena, now_ms, version),
                    version->tombstone
                        ? "-"
                        : arena_printf(arena, "%llu", (unsigned long long)version->value_bytes),
                    version->tombstone
                        ? "-"
                        : arena_printf(arena, "%016llx", (unsigned long long)version->value_hash),
                    NULL});
        }
    }
    if (table.rows > 1) {
        putchar('\n');
        table_print(&table);
    }
}

static void print_history(struct cli *cli, const Coterie__V1__ExplainResponse *response)
{
    struct table table;
    table_init(&table, &cli->arena, (const char *const[]){"NODE", "HAS SEEN", NULL});
    for (size_t i = 0; i < response->n_nodes; i++) {
        const node_words *node = response->nodes[i];
        if (node->n_history > 0)
            table_row(&table, (const char *const[]){
                                  node->node,
                                  output_names(&cli->arena, node->history, node->n_history), NULL});
    }
    if (table.rows > 1) {
        putchar('\n');
        table_print(&table);
    }
}

/* -- json -------------------------------------------------------------------------------------- */

static json_t *hex(struct arena *arena, uint64_t number)
{
    return json_string(arena_printf(arena, "%016llx", (unsigned long long)number));
}

static json_t *json_of_version(struct arena *arena, uint64_t now_ms, const version_words *version)
{
    json_t *object =
        json_pack("{s:s, s:b, s:I, s:I}", "dot", version->dot, "tombstone", (int)version->tombstone,
                  "written_at_ms", (json_int_t)version->written_at_ms, "age_ms",
                  (json_int_t)now_ms - (json_int_t)version->written_at_ms);
    if (version->expires_at_ms != 0) {
        json_object_set_new(object, "expires_at_ms",
                            json_integer((json_int_t)version->expires_at_ms));
        json_object_set_new(object, "expired", json_boolean(version->expired));
    }
    if (!version->tombstone) {
        json_object_set_new(object, "value_bytes", json_integer((json_int_t)version->value_bytes));
        json_object_set_new(object, "value_hash", hex(arena, version->value_hash));
    }
    return object;
}

static json_t *json_of_node(struct arena *arena, uint64_t now_ms, const node_words *node,
                            bool registers)
{
    json_t *object = json_pack("{s:s, s:b, s:o}", "node", node->node, "replica", (int)node->replica,
                               "hints_for", output_json_names(node->hints_for, node->n_hints_for));
    if (node->n_hints_for > 0)
        json_object_set_new(object, "hint_stored_at_ms",
                            json_integer((json_int_t)node->hint_stored_at_ms));
    if (node->hints_problem[0] != '\0')
        json_object_set_new(object, "hints_problem", json_string(node->hints_problem));
    if (is_silent(node))
        json_object_set_new(object, "problem", json_string(node->problem));
    if (!node->replica || is_silent(node))
        return object;
    json_object_set_new(object, "complete", json_boolean(node->complete));
    json_object_set_new(object, "found", json_boolean(node->found));
    if (registers) {
        json_object_set_new(object, "votes", json_boolean(!node->mute));
        json_object_set_new(object, "promised", json_string(node->promised));
        json_object_set_new(object, "accepted", json_string(node->accepted));
        json_object_set_new(object, "waits", waits_json(node->waits, node->n_waits));
    }
    json_object_set_new(object, "floor", json_integer((json_int_t)node->floor));
    json_object_set_new(object, "tree_depth", json_integer((json_int_t)node->tree_depth));
    json_object_set_new(object, "leaf", json_integer((json_int_t)node->leaf));
    json_object_set_new(object, "leaf_digest", hex(arena, node->leaf_digest));
    json_object_set_new(object, "leaf_keys", json_integer((json_int_t)node->leaf_keys));
    if (node->repaired_at_ms != 0) {
        json_object_set_new(object, "repaired_at_ms",
                            json_integer((json_int_t)node->repaired_at_ms));
        json_object_set_new(object, "repaired_by", json_string(node->repaired_by));
    }
    if (!node->found)
        return object;
    json_t *versions = json_array();
    for (size_t i = 0; i < node->n_versions; i++)
        json_array_append_new(versions, json_of_version(arena, now_ms, node->versions[i]));
    json_object_set_new(object, "checksum", hex(arena, node->checksum));
    json_object_set_new(object, "versions", versions);
    json_object_set_new(object, "history", output_json_names(node->history, node->n_history));
    return object;
}

static void print_json(struct cli *cli, struct bytes key,
                       const Coterie__V1__ExplainResponse *response, struct verdict verdict)
{
    struct arena *arena = &cli->arena;
    json_t *nodes = json_array();
    for (size_t i = 0; i < response->n_nodes; i++)
        json_array_append_new(nodes, json_of_node(arena, response->asked_at_ms, response->nodes[i],
                                                  response->consistent));
    json_t *object = json_object();
    output_json_bytes(object, "key", key, arena);
    json_object_set_new(object, "keyspace", json_string(response->keyspace));
    json_object_set_new(object, "partition", json_integer((json_int_t)response->partition));
    json_object_set_new(object, "hash", hex(arena, response->hash));
    json_object_set_new(object, "same", json_boolean(verdict.states <= 1 && verdict.silent == 0));
    json_object_set_new(object, "silent", json_integer((json_int_t)verdict.silent));
    json_object_set_new(object, "asked_at_ms", json_integer((json_int_t)response->asked_at_ms));
    json_object_set_new(object, "nodes", nodes);
    output_json(object);
}

/* -- registers of a consistent keyspace ---------------------------------------------------------
 */

/* Replicas may differ: what a majority has accepted counts, and who missed it learns it in the
 * next round. What matters is how many have a vote. */
static size_t voters_of(const Coterie__V1__ExplainResponse *response)
{
    size_t votes = 0;
    for (size_t i = 0; i < response->n_nodes; i++) {
        const node_words *node = response->nodes[i];
        votes += node->replica && !is_silent(node) && !node->mute;
    }
    return votes;
}

static const char *voter_state(const node_words *node)
{
    if (!node->replica)
        return "no replica";
    if (is_silent(node))
        return node->problem;
    return node->mute ? "does not vote" : "votes";
}

static void print_registers(struct cli *cli, const Coterie__V1__ExplainResponse *response)
{
    struct table table;
    struct arena *arena = &cli->arena;
    table_init(&table, arena,
               (const char *const[]){"NODE", "STATE", "ACCEPTED", "PROMISED", "VERSION", "BYTES",
                                     "VALUE HASH", NULL});
    for (size_t i = 0; i < response->n_nodes; i++) {
        const node_words *node = response->nodes[i];
        const version_words *version = node->n_versions == 0 ? NULL : node->versions[0];
        bool value = version != NULL && !version->tombstone;
        table_row(
            &table,
            (const char *const[]){
                node->node, voter_state(node), node->accepted[0] == '\0' ? "-" : node->accepted,
                node->promised[0] == '\0' ? "-" : node->promised,
                version == NULL ? "-" : version->dot,
                value ? arena_printf(arena, "%llu", (unsigned long long)version->value_bytes) : "-",
                value ? arena_printf(arena, "%016llx", (unsigned long long)version->value_hash)
                      : "-",
                NULL});
    }
    table_print(&table);
    for (size_t i = 0; i < response->n_nodes; i++)
        waits_print_list(arena, response->nodes[i]->waits, response->nodes[i]->n_waits, "waits  ");
}

static enum cli_exit show_registers(struct cli *cli, struct bytes key,
                                    const Coterie__V1__ExplainResponse *response)
{
    struct verdict verdict = verdict_of(response);
    size_t votes = voters_of(response);
    if (cli->json)
        print_json(cli, key, response, verdict);
    else
        printf("key %s in keyspace %s: partition %u, hash %016llx\n%s%zu of %zu replicas vote\n\n",
               output_key(&cli->arena, key), response->keyspace, response->partition,
               (unsigned long long)response->hash,
               2 * votes > verdict.replicas ? "" : "NO MAJORITY: ", votes, verdict.replicas);
    if (!cli->json)
        print_registers(cli, response);
    return votes < verdict.replicas ? CLI_UNHEALTHY : CLI_OK;
}

enum cli_exit cli_run_explain(struct cli *cli)
{
    struct bytes key;
    enum cli_exit exit = input_key(cli, cli->words[0], &key);
    if (exit != CLI_OK)
        return exit;
    Coterie__V1__ExplainRequest request = COTERIE__V1__EXPLAIN_REQUEST__INIT;
    request.keyspace = input_keyspace(cli);
    request.key = PROTO_BYTES(key);
    Coterie__V1__ExplainResponse *response = (Coterie__V1__ExplainResponse *)cli_call(
        cli, "/coterie.v1.Maintenance/Explain", &request.base,
        &coterie__v1__explain_response__descriptor, false, &exit);
    if (response == NULL)
        return exit;
    if (response->consistent)
        return show_registers(cli, key, response);
    struct verdict verdict = verdict_of(response);
    if (cli->json) {
        print_json(cli, key, response, verdict);
    } else {
        printf("key %s in keyspace %s: partition %u, hash %016llx\n%s\n\n",
               output_key(&cli->arena, key), response->keyspace, response->partition,
               (unsigned long long)response->hash, verdict_text(&cli->arena, verdict));
        print_nodes(cli, response);
        print_versions(cli, response);
        print_history(cli, response);
    }
    return verdict.states > 1 || verdict.silent > 0 ? CLI_UNHEALTHY : CLI_OK;
}
