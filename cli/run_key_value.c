/* get, put, del */
#include "cli/base64.h"
#include "cli/cli.h"
#include "cli/output.h"

#include <errno.h>
#include <unistd.h>

/* '-' is standard output where nothing else goes there. */
static enum cli_exit check_context_out(const struct cli *cli, bool value_is_printed)
{
    const char *path = cli->options[OPTION_CONTEXT_OUT];
    if (path == NULL || strcmp(path, "-") != 0 || (!value_is_printed && !cli->json))
        return CLI_OK;
    return cli_usage_error(cli, cli->json ? "--context-out -: the JSON on stdout has the context"
                                          : "--context-out -: the value goes to stdout; name a "
                                            "file, or take both from -o json");
}

static enum cli_exit write_context(struct cli *cli, struct bytes context)
{
    const char *path = cli->options[OPTION_CONTEXT_OUT];
    if (path == NULL)
        return CLI_OK;
    if (context.size == 0) {
        cli_note("%s was not written: keys of consistent keyspaces have a version, no context",
                 path);
        return CLI_FAILED;
    }
    if (strcmp(path, "-") == 0) {
        printf("%s\n", base64_encode(&cli->arena, context));
        return CLI_OK;
    }
    FILE *file = fopen(path, "w");
    if (file == NULL) {
        cli_note("cannot write the context to %s: %s", path, strerror(errno));
        return CLI_FAILED;
    }
    fprintf(file, "%s\n", base64_encode(&cli->arena, context));
    if (fclose(file) != 0) {
        cli_note("cannot write the context to %s: %s", path, strerror(errno));
        return CLI_FAILED;
    }
    return CLI_OK;
}

static void print_value(const Coterie__V1__Value *value, bool newline)
{
    if (value->value.len > 0)
        fwrite(value->value.data, 1, value->value.len, stdout);
    if (newline)
        putchar('\n');
}

static void print_values(struct cli *cli, const Coterie__V1__GetResponse *response)
{
    if (response->n_values == 1) {
        const Coterie__V1__Value *value = response->values[0];
        bool ended = value->value.len > 0 && value->value.data[value->value.len - 1] == '\n';
        print_value(value, !ended && isatty(STDOUT_FILENO));
        return;
    }
    for (size_t i = 0; i < response->n_values; i++) {
        const Coterie__V1__Value *value = response->values[i];
        printf("--- sibling %zu of %zu, %zu bytes, written %s ---\n", i + 1, response->n_values,
               value->value.len, output_time(&cli->arena, value->written_at_ms));
        print_value(value, true);
    }
}

static void print_get_json(struct cli *cli, struct bytes key,
                           const Coterie__V1__GetResponse *response)
{
    json_t *all = json_object();
    output_json_bytes(all, "key", key, &cli->arena);
    json_object_set_new(all, "found", json_boolean(response->found));
    json_t *values = json_array();
    for (size_t i = 0; i < response->n_values; i++) {
        const Coterie__V1__Value *value = response->values[i];
        struct bytes bytes = BYTES_OF_PROTO(value->value);
        json_t *object = json_object();
        json_t *text = json_stringn(bytes.size == 0 ? "" : (const char *)bytes.data, bytes.size);
        if (text != NULL)
            json_object_set_new(object, "value", text);
        json_object_set_new(object, "value_base64", json_string(base64_encode(&cli->arena, bytes)));
        json_object_set_new(object, "written_at_ms",
                            json_integer((json_int_t)value->written_at_ms));
        if (value->_ttl_ms_case == COTERIE__V1__VALUE___TTL_MS_TTL_MS)
            json_object_set_new(object, "ttl_ms", json_integer((json_int_t)value->ttl_ms));
        json_array_append_new(values, object);
    }
    json_object_set_new(all, "values", values);
    json_object_set_new(all, "context",
                        json_string(base64_encode(&cli->arena, BYTES_OF_PROTO(response->context))));
    if (response->context.len == 0)
        json_object_set_new(all, "version", json_integer((json_int_t)response->version));
    json_object_set_new(all, "acknowledgement",
                        output_json_acknowledgement(response->acknowledgement));
    output_json(all);
}

enum cli_exit cli_run_get(struct cli *cli)
{
    struct bytes key;
    Coterie__V1__GetRequest request = COTERIE__V1__GET_REQUEST__INIT;
    enum cli_exit exit = input_key(cli, cli->words[0], &key);
    if (exit == CLI_OK)
        exit = input_level(cli, OPTION_R, &request.consistency, &request.r);
    if (exit == CLI_OK)
        exit = check_context_out(cli, true);
    if (exit != CLI_OK)
        return exit;
    request.keyspace = input_keyspace(cli);
    request.key = PROTO_BYTES(key);
    Coterie__V1__GetResponse *response =
        (Coterie__V1__GetResponse *)cli_call(cli, "/coterie.v1.KeyValue/Get", &request.base,
                                             &coterie__v1__get_response__descriptor, false, &exit);
    if (response == NULL)
        return exit;
    if (cli->json)
        print_get_json(cli, key, response);
    else
        print_values(cli, response);
    if (cli->verbose)
        output_acknowledgement(cli, "answered", response->acknowledgement);
    if (response->n_values > 1)
        cli_note("'%s' has %zu siblings; settle them: coterie put KEY VALUE --context CONTEXT",
                 output_key(&cli->arena, key), response->n_values);
    bool consistent = response->context.len == 0; /* others have one, also for what is not there */
    if (cli->verbose && consistent)
        cli_note("version: %llu", (unsigned long long)response->version);
    if ((response->n_values > 1 || cli->verbose) && !consistent &&
        cli->options[OPTION_CONTEXT_OUT] == NULL)
        fprintf(stderr, "context: %s\n",
                base64_encode(&cli->arena, BYTES_OF_PROTO(response->context)));
    exit = write_context(cli, BYTES_OF_PROTO(response->context));
    if (exit == CLI_OK && !response->found) {
        cli_note("'%s' not found", output_key(&cli->arena, key));
        exit = CLI_NOT_FOUND;
    }
    return exit;
}

/* What put and del say when it went well. */
static enum cli_exit written(struct cli *cli, const char *what, struct bytes key,
                             struct bytes context, uint32_t siblings, uint64_t version,
                             const Coterie__V1__Acknowledgement *ack)
{
    if (cli->json) {
        json_t *all = json_object();
        output_json_bytes(all, "key", key, &cli->arena);
        json_object_set_new(all, "context", json_string(base64_encode(&cli->arena, context)));
        json_object_set_new(all, "siblings", json_integer(siblings));
        if (version != 0)
            json_object_set_new(all, "version", json_integer((json_int_t)version));
        json_object_set_new(all, "acknowledgement", output_json_acknowledgement(ack));
        output_json(all);
    }
    if (cli->verbose || (!cli->json && isatty(STDERR_FILENO)))
        output_acknowledgement(cli, what, ack);
    if (cli->verbose && version != 0)
        cli_note("version: %llu", (unsigned long long)version);
    if (siblings > 1)
        cli_note("'%s' has %u siblings now; settle them: coterie get KEY --context-out ctx, then "
                 "coterie put KEY VALUE --context @ctx",
                 output_key(&cli->arena, key), siblings);
    return write_context(cli, context);
}

enum cli_exit cli_run_put(struct cli *cli)
{
    struct bytes key, value = {0}, context;
    uint64_t ttl_ms = 0;
    Coterie__V1__PutRequest request = COTERIE__V1__PUT_REQUEST__INIT;
    enum cli_exit exit = input_key(cli, cli->words[0], &key);
    if (exit == CLI_OK)
        exit = input_level(cli, OPTION_W, &request.consistency, &request.w);
    if (exit == CLI_OK)
        exit = cli_option_duration_ms(cli, OPTION_TTL, &ttl_ms);
    if (exit == CLI_OK)
        exit = input_context(cli, &context);
    if (exit == CLI_OK)
        exit = check_context_out(cli, false);
    if (exit == CLI_OK)
        exit = input_value(cli, &value);
    if (exit != CLI_OK)
        return exit;
    request.keyspace = input_keyspace(cli);
    request.key = PROTO_BYTES(key);
    request.value = PROTO_BYTES(value);
    request.context = PROTO_BYTES(context);
    request.strict = cli->options[OPTION_STRICT] != NULL;
    if (ttl_ms != 0) {
        request._ttl_ms_case = COTERIE__V1__PUT_REQUEST___TTL_MS_TTL_MS;
        request.ttl_ms = ttl_ms;
    }
    Coterie__V1__PutResponse *response =
        (Coterie__V1__PutResponse *)cli_call(cli, "/coterie.v1.KeyValue/Put", &request.base,
                                             &coterie__v1__put_response__descriptor, true, &exit);
    if (response == NULL)
        return exit;
    return written(cli, "written", key, BYTES_OF_PROTO(response->context), response->siblings,
                   response->version, response->acknowledgement);
}

enum cli_exit cli_run_delete(struct cli *cli)
{
    struct bytes key, context;
    Coterie__V1__DeleteRequest request = COTERIE__V1__DELETE_REQUEST__INIT;
    enum cli_exit exit = input_key(cli, cli->words[0], &key);
    if (exit == CLI_OK)
        exit = input_level(cli, OPTION_W, &request.consistency, &request.w);
    if (exit == CLI_OK)
        exit = input_context(cli, &context);
    if (exit == CLI_OK)
        exit = check_context_out(cli, false);
    if (exit != CLI_OK)
        return exit;
    request.keyspace = input_keyspace(cli);
    request.key = PROTO_BYTES(key);
    request.context = PROTO_BYTES(context);
    request.strict = cli->options[OPTION_STRICT] != NULL;
    Coterie__V1__DeleteResponse *response = (Coterie__V1__DeleteResponse *)cli_call(
        cli, "/coterie.v1.KeyValue/Delete", &request.base,
        &coterie__v1__delete_response__descriptor, true, &exit);
    if (response == NULL)
        return exit;
    return written(cli, "deleted", key, BYTES_OF_PROTO(response->context), response->siblings,
                   response->version, response->acknowledgement);
}
