/* keyspace create, list, describe, drop */
#include "cli/cli.h"
#include "cli/output.h"
#include "coterie/v1/cluster.pb-c.h"

#include <stdlib.h>
#include <unistd.h>

#define SERVICE      "/coterie.v1.Cluster/"
#define REPLICAS_CAP 7u
#define DATA_CENTERS 8u

static const char *const modes[] = {"available", "consistent", NULL};
static const char *const conflicts[] = {"siblings", "lww", NULL};
static const char *const durabilities[] = {"fsync", "periodic", NULL};

/* Enum values start with UNSPECIFIED, which means the first name. */
static const char *name_of(const char *const *names, int value)
{
    if (value == 0)
        return names[0];
    return value == 1 || value == 2 ? names[value - 1] : "?";
}

/* "3", or "eu=3,us=2" into a list of pairs. */
static enum cli_exit parse_replicas(struct cli *cli, Coterie__V1__Keyspace *keyspace)
{
    const char *text = cli->options[OPTION_N];
    if (text == NULL)
        return CLI_OK;
    if (strchr(text, '=') == NULL) {
        uint64_t n = 0;
        enum cli_exit exit = cli_option_u64(cli, OPTION_N, 1, REPLICAS_CAP, &n);
        keyspace->n = (uint32_t)n;
        return exit;
    }
    typedef Coterie__V1__Keyspace__NByDataCenterEntry entry_type;
    entry_type **entries = ARENA_NEW(&cli->arena, entry_type *, DATA_CENTERS);
    while (*text != '\0') {
        size_t size = strcspn(text, ",");
        const char *equals = memchr(text, '=', size);
        bool good = equals != NULL && equals > text && keyspace->n_n_by_data_center < DATA_CENTERS;
        good = good && text + size == equals + 2 && equals[1] >= '1' &&
               equals[1] <= (char)('0' + REPLICAS_CAP);
        if (!good)
            return cli_usage_error(cli,
                                   "--n is '%s', must be a number from 1 to %u, or for each "
                                   "data centre NAME=N with commas between",
                                   cli->options[OPTION_N], REPLICAS_CAP);
        entry_type *entry = ARENA_NEW(&cli->arena, entry_type, 1);
        coterie__v1__keyspace__nby_data_center_entry__init(entry);
        entry->key = arena_string(&cli->arena, bytes_of(text, (size_t)(equals - text)));
        entry->value = (uint32_t)(equals[1] - '0');
        entries[keyspace->n_n_by_data_center++] = entry;
        text += size + (text[size] == ',');
    }
    keyspace->n_by_data_center = entries;
    return CLI_OK;
}

static const char *replicas_text(struct arena *arena, const Coterie__V1__Keyspace *keyspace)
{
    if (keyspace->n_n_by_data_center == 0)
        return arena_printf(arena, "%u", keyspace->n);
    const char *all = "";
    for (size_t i = 0; i < keyspace->n_n_by_data_center; i++)
        all =
            arena_printf(arena, "%s%s%s=%u", all, i == 0 ? "" : ",",
                         keyspace->n_by_data_center[i]->key, keyspace->n_by_data_center[i]->value);
    return all;
}

/* A consistent keyspace has no conflicts and no levels, whatever its definition says. */
static const char *conflict_text(const Coterie__V1__Keyspace *keyspace)
{
    return keyspace->mode == COTERIE__V1__KEYSPACE__MODE__MODE_CONSISTENT
               ? "none"
               : name_of(conflicts, (int)keyspace->conflict);
}

static json_t *json_of_keyspace(const Coterie__V1__Keyspace *keyspace)
{
    json_t *by_data_center = json_object();
    for (size_t i = 0; i < keyspace->n_n_by_data_center; i++)
        json_object_set_new(by_data_center, keyspace->n_by_data_center[i]->key,
                            json_integer(keyspace->n_by_data_center[i]->value));
    bool consistent = keyspace->mode == COTERIE__V1__KEYSPACE__MODE__MODE_CONSISTENT;
    return json_pack(
        "{s:s, s:s, s:s, s:s, s:I, s:o, s:s?, s:s?, s:b, s:I, s:I}", "name", keyspace->name, "mode",
        name_of(modes, (int)keyspace->mode), "conflict", conflict_text(keyspace), "durability",
        name_of(durabilities, (int)keyspace->durability), "n", (json_int_t)keyspace->n,
        "n_by_data_center", by_data_center, "read_consistency",
        consistent ? NULL : output_level((int)keyspace->read_consistency), "write_consistency",
        consistent ? NULL : output_level((int)keyspace->write_consistency), "strict",
        (int)keyspace->strict, "id", (json_int_t)keyspace->id, "created_at_ms",
        (json_int_t)keyspace->created_at_ms);
}

static void print_keyspaces(struct cli *cli, Coterie__V1__Keyspace *const *keyspaces, size_t count)
{
    struct table table;
    table_init(&table, &cli->arena,
               (const char *const[]){"NAME", "MODE", "CONFLICT", "DURABILITY", "N", "READ", "WRITE",
                                     "QUORUM", "CREATED", NULL});
    for (size_t i = 0; i < count; i++) {
        const Coterie__V1__Keyspace *keyspace = keyspaces[i];
        bool consistent = keyspace->mode == COTERIE__V1__KEYSPACE__MODE__MODE_CONSISTENT;
        table_row(&table,
                  (const char *const[]){
                      keyspace->name, name_of(modes, (int)keyspace->mode), conflict_text(keyspace),
                      name_of(durabilities, (int)keyspace->durability),
                      replicas_text(&cli->arena, keyspace),
                      consistent ? "-" : output_level((int)keyspace->read_consistency),
                      consistent ? "-" : output_level((int)keyspace->write_consistency),
                      consistent         ? "majority"
                      : keyspace->strict ? "strict"
                                         : "sloppy",
                      keyspace->created_at_ms == 0
                          ? "-"
                          : output_time(&cli->arena, keyspace->created_at_ms),
                      NULL});
    }
    table_print(&table);
}

/* A name that is mistyped would take effect the day that a node stands there, and not now. */
static void say_nobody_there(struct cli *cli, const Coterie__V1__Keyspace *asked)
{
    enum cli_exit exit = CLI_OK;
    if (asked->n_n_by_data_center == 0)
        return;
    Coterie__V1__ListNodesRequest request = COTERIE__V1__LIST_NODES_REQUEST__INIT;
    Coterie__V1__ListNodesResponse *nodes = (Coterie__V1__ListNodesResponse *)cli_call(
        cli, SERVICE "ListNodes", &request.base, &coterie__v1__list_nodes_response__descriptor,
        false, &exit);
    for (size_t i = 0; nodes != NULL && i < asked->n_n_by_data_center; i++) {
        const char *name = asked->n_by_data_center[i]->key;
        bool found = false;
        for (size_t j = 0; j < nodes->n_nodes; j++)
            found = found || strcmp(nodes->nodes[j]->data_center, name) == 0;
        if (!found)
            cli_note("no node is in data centre %s: it has no replicas until one joins there; the "
                     "data centres that there are: coterie nodes. If the name is wrong: coterie "
                     "keyspace drop %s",
                     name, asked->name);
    }
}

/* Such a keyspace is allowed: its levels count the replicas that there are until more nodes join.
 */
static void say_too_few_nodes(const Coterie__V1__Keyspace *keyspace, uint32_t nodes)
{
    uint32_t wanted = keyspace->n;
    for (size_t i = 0; i < keyspace->n_n_by_data_center; i++)
        wanted = (i == 0 ? 0 : wanted) + keyspace->n_by_data_center[i]->value;
    if (wanted > nodes)
        cli_note("%u replicas are asked for and there are %u nodes: until more join, each of these "
                 "holds one, and levels count those",
                 wanted, nodes);
}

enum cli_exit cli_run_keyspace_create(struct cli *cli)
{
    Coterie__V1__Keyspace keyspace = COTERIE__V1__KEYSPACE__INIT;
    int mode = -1, conflict = -1, durability = -1;
    enum cli_exit exit = parse_replicas(cli, &keyspace);
    if (exit == CLI_OK)
        exit = cli_option_choice(cli, OPTION_MODE, modes, &mode);
    if (exit == CLI_OK)
        exit = cli_option_choice(cli, OPTION_CONFLICT, conflicts, &conflict);
    if (exit == CLI_OK)
        exit = cli_option_choice(cli, OPTION_DURABILITY, durabilities, &durability);
    if (exit == CLI_OK)
        exit = input_level_of(cli, OPTION_READ_CONSISTENCY, &keyspace.read_consistency);
    if (exit == CLI_OK)
        exit = input_level_of(cli, OPTION_WRITE_CONSISTENCY, &keyspace.write_consistency);
    if (exit != CLI_OK)
        return exit;
    keyspace.name = (char *)(uintptr_t)cli->words[0];
    keyspace.mode = (Coterie__V1__Keyspace__Mode)(mode + 1);
    keyspace.conflict = (Coterie__V1__Keyspace__Conflict)(conflict + 1);
    keyspace.durability = (Coterie__V1__Keyspace__Durability)(durability + 1);
    keyspace.strict = cli->options[OPTION_STRICT] != NULL;
    Coterie__V1__CreateKeyspaceRequest request = COTERIE__V1__CREATE_KEYSPACE_REQUEST__INIT;
    request.keyspace = &keyspace;
    Coterie__V1__CreateKeyspaceResponse *response = (Coterie__V1__CreateKeyspaceResponse *)cli_call(
        cli, SERVICE "CreateKeyspace", &request.base,
        &coterie__v1__create_keyspace_response__descriptor, true, &exit);
    if (response == NULL)
        return exit;
    if (cli->json)
        output_json(json_pack(
            "{s:o?, s:I, s:I}", "keyspace",
            response->keyspace == NULL ? NULL : json_of_keyspace(response->keyspace), "known_by",
            (json_int_t)response->known_by, "nodes", (json_int_t)response->nodes));
    else
        printf("keyspace %s created, known by %u of %u nodes\n", cli->words[0], response->known_by,
               response->nodes);
    say_nobody_there(cli, &keyspace);
    if (response->keyspace != NULL)
        say_too_few_nodes(response->keyspace, response->nodes);
    return CLI_OK;
}

enum cli_exit cli_run_keyspace_list(struct cli *cli)
{
    enum cli_exit exit = CLI_OK;
    Coterie__V1__ListKeyspacesRequest request = COTERIE__V1__LIST_KEYSPACES_REQUEST__INIT;
    Coterie__V1__ListKeyspacesResponse *response = (Coterie__V1__ListKeyspacesResponse *)cli_call(
        cli, SERVICE "ListKeyspaces", &request.base,
        &coterie__v1__list_keyspaces_response__descriptor, false, &exit);
    if (response == NULL)
        return exit;
    if (!cli->json) {
        print_keyspaces(cli, response->keyspaces, response->n_keyspaces);
        return CLI_OK;
    }
    json_t *keyspaces = json_array();
    for (size_t i = 0; i < response->n_keyspaces; i++)
        json_array_append_new(keyspaces, json_of_keyspace(response->keyspaces[i]));
    output_json(json_pack("{s:o}", "keyspaces", keyspaces));
    return CLI_OK;
}

enum cli_exit cli_run_keyspace_describe(struct cli *cli)
{
    enum cli_exit exit = CLI_OK;
    Coterie__V1__DescribeKeyspaceRequest request = COTERIE__V1__DESCRIBE_KEYSPACE_REQUEST__INIT;
    request.name = (char *)(uintptr_t)cli->words[0];
    Coterie__V1__DescribeKeyspaceResponse *response =
        (Coterie__V1__DescribeKeyspaceResponse *)cli_call(
            cli, SERVICE "DescribeKeyspace", &request.base,
            &coterie__v1__describe_keyspace_response__descriptor, false, &exit);
    if (response == NULL)
        return exit;
    if (response->keyspace == NULL) {
        cli_note("the node answered without a keyspace");
        return CLI_FAILED;
    }
    if (cli->json)
        output_json(json_of_keyspace(response->keyspace));
    else
        print_keyspaces(cli, &response->keyspace, 1);
    return CLI_OK;
}

static enum cli_exit confirm_drop(const struct cli *cli)
{
    if (cli->options[OPTION_YES] != NULL)
        return CLI_OK;
    if (!isatty(STDIN_FILENO))
        return cli_usage_error(cli, "dropping '%s' removes all of its data; say --yes",
                               cli->words[0]);
    char line[256] = "";
    fprintf(stderr, "This removes keyspace %s and all of its data. Type its name to go on: ",
            cli->words[0]);
    if (fgets(line, sizeof line, stdin) == NULL)
        line[0] = '\0';
    line[strcspn(line, "\n")] = '\0';
    if (strcmp(line, cli->words[0]) == 0)
        return CLI_OK;
    cli_note("nothing was dropped");
    return CLI_FAILED;
}

enum cli_exit cli_run_keyspace_drop(struct cli *cli)
{
    enum cli_exit exit = confirm_drop(cli);
    if (exit != CLI_OK)
        return exit;
    Coterie__V1__DropKeyspaceRequest request = COTERIE__V1__DROP_KEYSPACE_REQUEST__INIT;
    request.name = (char *)(uintptr_t)cli->words[0];
    Coterie__V1__DropKeyspaceResponse *response = (Coterie__V1__DropKeyspaceResponse *)cli_call(
        cli, SERVICE "DropKeyspace", &request.base,
        &coterie__v1__drop_keyspace_response__descriptor, true, &exit);
    if (response == NULL)
        return exit;
    if (cli->json)
        output_json(json_pack("{s:s, s:I, s:I}", "dropped", cli->words[0], "known_by",
                              (json_int_t)response->known_by, "nodes",
                              (json_int_t)response->nodes));
    else
        printf("keyspace %s dropped, known by %u of %u nodes\n", cli->words[0], response->known_by,
               response->nodes);
    return CLI_OK;
}
