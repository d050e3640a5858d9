/* cas: compare and set */
#include "cli/base64.h"
#include "cli/cli.h"
#include "cli/output.h"

#include <unistd.h>

typedef Coterie__V1__CompareAndSetRequest compare_request;
typedef Coterie__V1__CompareAndSetResponse compare_response;

static enum cli_exit read_condition(const struct cli *cli, compare_request *request)
{
    const char *value = cli->options[OPTION_EXPECT];
    bool version = cli->options[OPTION_EXPECT_VERSION] != NULL;
    bool absent = cli->options[OPTION_ABSENT] != NULL;
    if ((value != NULL) + version + absent != 1)
        return cli_usage_error(cli, "on which condition? Give one of --expect VALUE, --version N "
                                    "and --absent");
    if (value != NULL) {
        request->condition_case = COTERIE__V1__COMPARE_AND_SET_REQUEST__CONDITION_EXPECTED_VALUE;
        request->expected_value = PROTO_BYTES(bytes_of_string(value));
    } else if (version) {
        request->condition_case = COTERIE__V1__COMPARE_AND_SET_REQUEST__CONDITION_EXPECTED_VERSION;
        return cli_option_u64(cli, OPTION_EXPECT_VERSION, 0, 999999999999999999ull,
                              &request->expected_version);
    } else {
        request->condition_case = COTERIE__V1__COMPARE_AND_SET_REQUEST__CONDITION_ABSENT;
        request->absent = 1;
    }
    return CLI_OK;
}

static enum cli_exit read_change(struct cli *cli, compare_request *request)
{
    struct bytes value;
    uint64_t ttl_ms = 0;
    if (cli->options[OPTION_DELETE] != NULL) {
        if (cli->word_count > 1 || cli->options[OPTION_FILE] != NULL ||
            cli->options[OPTION_TTL] != NULL)
            return cli_usage_error(cli, "--delete takes no value, no --file and no --ttl");
        request->change_case = COTERIE__V1__COMPARE_AND_SET_REQUEST__CHANGE_DELETE;
        request->delete_ = 1;
        return CLI_OK;
    }
    enum cli_exit exit = input_value(cli, &value);
    if (exit == CLI_OK)
        exit = cli_option_duration_ms(cli, OPTION_TTL, &ttl_ms);
    if (exit != CLI_OK)
        return exit;
    request->change_case = COTERIE__V1__COMPARE_AND_SET_REQUEST__CHANGE_VALUE;
    request->value = PROTO_BYTES(value);
    if (ttl_ms != 0) {
        request->_ttl_ms_case = COTERIE__V1__COMPARE_AND_SET_REQUEST___TTL_MS_TTL_MS;
        request->ttl_ms = ttl_ms;
    }
    return CLI_OK;
}

static void print_json(struct cli *cli, struct bytes key, const compare_response *response)
{
    json_t *all = json_object();
    output_json_bytes(all, "key", key, &cli->arena);
    json_object_set_new(all, "applied", json_boolean(response->applied));
    json_object_set_new(all, "version", json_integer((json_int_t)response->version));
    if (!response->applied) {
        json_object_set_new(all, "found", json_boolean(response->found));
        if (response->found)
            output_json_bytes(all, "value", BYTES_OF_PROTO(response->value), &cli->arena);
    }
    json_object_set_new(all, "acknowledgement",
                        output_json_acknowledgement(response->acknowledgement));
    output_json(all);
}

enum cli_exit cli_run_compare(struct cli *cli)
{
    struct bytes key;
    compare_request request = COTERIE__V1__COMPARE_AND_SET_REQUEST__INIT;
    enum cli_exit exit = input_key(cli, cli->words[0], &key);
    if (exit == CLI_OK)
        exit = read_condition(cli, &request);
    if (exit == CLI_OK)
        exit = read_change(cli, &request);
    if (exit != CLI_OK)
        return exit;
    request.keyspace = input_keyspace(cli);
    request.key = PROTO_BYTES(key);
    const compare_response *response = (const compare_response *)cli_call(
        cli, "/coterie.v1.KeyValue/CompareAndSet", &request.base,
        &coterie__v1__compare_and_set_response__descriptor, true, &exit);
    if (response == NULL)
        return exit;
    if (cli->json)
        print_json(cli, key, response);
    const char *name = output_key(&cli->arena, key);
    unsigned long long version = (unsigned long long)response->version;
    if (!response->applied) {
        cli_note("'%s' was not changed: the condition is false; it has version %llu and %s", name,
                 version, response->found ? "a value" : "no value");
        return CLI_CONFLICT;
    }
    if (cli->verbose || (!cli->json && isatty(STDERR_FILENO))) {
        output_acknowledgement(cli, "changed", response->acknowledgement);
        cli_note("version: %llu", version);
    }
    return CLI_OK;
}
