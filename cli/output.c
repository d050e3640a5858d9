#include "cli/output.h"

#include "cli/base64.h"

#include <errno.h>
#include <time.h>

#define VALUE_BYTES_CAP (3u * 1024 * 1024) /* what any node can be set to take */

#define CONTEXT_FILE_BYTES_MAX (64u * 1024)

void table_init(struct table *table, struct arena *arena, const char *const *titles)
{
    *table = (struct table){.arena = arena};
    while (titles[table->columns] != NULL)
        table->columns++;
    CHECK_U64(table->columns, <=, TABLE_COLUMNS_MAX);
    table_row(table, titles);
}

void table_row(struct table *table, const char *const *cells)
{
    if (table->rows == table->capacity) {
        uint32_t capacity = table->capacity == 0 ? 16 : 2 * table->capacity;
        const char *(*grown)[TABLE_COLUMNS_MAX] =
            arena_alloc(table->arena, capacity * sizeof *grown);
        if (table->rows > 0)
            memcpy(grown, table->cells, table->rows * sizeof *grown);
        table->cells = grown;
        table->capacity = capacity;
    }
    for (uint32_t i = 0; i < table->columns; i++)
        table->cells[table->rows][i] = cells[i];
    table->rows++;
}

void table_print(const struct table *table)
{
    int widths[TABLE_COLUMNS_MAX] = {0};
    for (uint32_t i = 0; i < table->rows; i++) {
        for (uint32_t j = 0; j < table->columns; j++) {
            int width = (int)strlen(table->cells[i][j]);
            if (width > widths[j])
                widths[j] = width;
        }
    }
    for (uint32_t i = 0; i < table->rows; i++) {
        uint32_t last = table->columns - 1; /* no blanks at the end of a line */
        while (last > 0 && table->cells[i][last][0] == '\0')
            last--;
        for (uint32_t j = 0; j < last; j++)
            printf("%-*s  ", widths[j], table->cells[i][j]);
        puts(table->cells[i][last]);
    }
}

void output_json(json_t *value)
{
    json_dumpf(value, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
    putchar('\n');
    json_decref(value);
}

void output_json_bytes(json_t *object, const char *name, struct bytes bytes, struct arena *arena)
{
    json_t *text = json_stringn(bytes.size == 0 ? "" : (const char *)bytes.data, bytes.size);
    if (text != NULL) {
        json_object_set_new(object, name, text);
        return;
    }
    json_object_set_new(object, arena_printf(arena, "%s_base64", name),
                        json_string(base64_encode(arena, bytes)));
}

json_t *output_json_names(char *const *names, size_t count)
{
    json_t *array = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(array, json_string(names[i]));
    return array;
}

const char *output_names(struct arena *arena, char *const *names, size_t count)
{
    const char *all = "";
    for (size_t i = 0; i < count; i++)
        all = arena_printf(arena, "%s%s%s", all, i == 0 ? "" : ", ", names[i]);
    return all;
}

const char *output_time(struct arena *arena, uint64_t time_ms)
{
    time_t seconds = (time_t)(time_ms / 1000);
    struct tm parts;
    char text[64];
    if (gmtime_r(&seconds, &parts) == NULL ||
        strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &parts) == 0)
        return arena_printf(arena, "%llu ms", (unsigned long long)time_ms);
    return arena_printf(arena, "%s.%03u UTC", text, (unsigned)(time_ms % 1000));
}

const char *output_age(struct arena *arena, uint64_t ms)
{
    uint64_t s = ms / 1000;
    if (s < 120)
        return arena_printf(arena, "%llu s", (unsigned long long)s);
    if (s < 2 * 3600)
        return arena_printf(arena, "%llu min", (unsigned long long)(s / 60));
    if (s < 2 * 86400)
        return arena_printf(arena, "%llu h", (unsigned long long)(s / 3600));
    return arena_printf(arena, "%llu d", (unsigned long long)(s / 86400));
}

static const char *const levels[] = {"DEFAULT",   "ONE",          "QUORUM",      "ALL",
                                     "LOCAL_ONE", "LOCAL_QUORUM", "EACH_QUORUM", NULL};

const char *output_level(int consistency)
{
    return consistency >= 0 && (size_t)consistency < ARRAY_COUNT(levels) - 1 ? levels[consistency]
                                                                             : "?";
}

const char *output_key(struct arena *arena, struct bytes key)
{
    bool cut = key.size > 64;
    size_t size = cut ? 64 : key.size;
    char *text = arena_string(arena, bytes_of(key.data, size));
    json_t *utf8 = cut ? NULL : json_stringn(text, size);
    for (size_t i = 0; i < size; i++) {
        if ((uint8_t)text[i] < ' ' || text[i] == 127 || ((uint8_t)text[i] > 127 && utf8 == NULL))
            text[i] = '?';
    }
    json_decref(utf8);
    return cut ? arena_printf(arena, "%s...", text) : text;
}

/* All of FILE ("-": stdin), at most `max` bytes. False after saying why. */
static bool read_all(const char *path, size_t max, struct arena *arena, struct bytes *ret_bytes)
{
    bool is_stdin = strcmp(path, "-") == 0;
    FILE *file = is_stdin ? stdin : fopen(path, "rb");
    if (file == NULL) {
        cli_note("cannot open %s: %s", path, strerror(errno));
        return false;
    }
    size_t capacity = 4096, size = 0;
    uint8_t *data = arena_alloc(arena, capacity);
    for (;;) {
        size += fread(data + size, 1, capacity - size, file);
        if (size < capacity || size > max)
            break;
        uint8_t *grown = arena_alloc(arena, 2 * capacity);
        memcpy(grown, data, size);
        data = grown;
        capacity *= 2;
    }
    bool failed = ferror(file) != 0;
    if (failed)
        cli_note("cannot read %s: %s", path, strerror(errno));
    else if (size > max)
        cli_note("%s is larger than %zu bytes, the limit", is_stdin ? "stdin" : path, max);
    if (!is_stdin)
        fclose(file);
    if (failed || size > max)
        return false;
    *ret_bytes = bytes_of(data, size);
    return true;
}

enum cli_exit input_key(struct cli *cli, const char *text, struct bytes *ret_key)
{
    struct bytes key = bytes_of_string(text);
    if (cli->options[OPTION_KEY_BASE64] != NULL &&
        base64_decode(&cli->arena, bytes_of_string(text), &key) != OK)
        return cli_usage_error(cli, "the key '%.80s' is not base64", text);
    if (key.size == 0)
        return cli_usage_error(cli, "the key is empty; keys have 1 to 4096 bytes");
    *ret_key = key;
    return CLI_OK;
}

enum cli_exit input_context(struct cli *cli, struct bytes *ret_context)
{
    const char *option = cli->options[OPTION_CONTEXT];
    *ret_context = (struct bytes){0};
    if (option == NULL)
        return CLI_OK;
    struct bytes text = bytes_of_string(option);
    if (option[0] == '@' && !read_all(option + 1, CONTEXT_FILE_BYTES_MAX, &cli->arena, &text))
        return CLI_FAILED;
    while (text.size > 0 && strchr(" \t\r\n", text.data[text.size - 1]) != NULL)
        text.size--;
    if (base64_decode(&cli->arena, text, ret_context) != OK)
        return cli_usage_error(cli, "--context is not base64; hand over what a get gave "
                                    "(--context-out FILE, then --context @FILE)");
    return CLI_OK;
}

enum cli_exit input_level_of(const struct cli *cli, enum cli_option_id id,
                             Coterie__V1__Consistency *ret_level)
{
    int level = 0;
    enum cli_exit exit = cli_option_choice(cli, id, levels + 1, &level);
    if (exit == CLI_OK && cli->options[id] != NULL)
        *ret_level = (Coterie__V1__Consistency)(level + 1);
    return exit;
}

enum cli_exit input_level(const struct cli *cli, enum cli_option_id explicit_id,
                          Coterie__V1__Consistency *ret_level, uint32_t *ret_replicas)
{
    uint64_t replicas = 0;
    enum cli_exit exit = input_level_of(cli, OPTION_CONSISTENCY, ret_level);
    if (exit == CLI_OK)
        exit = cli_option_u64(cli, explicit_id, 1, 56, &replicas);
    if (exit == CLI_OK && replicas != 0 && cli->options[OPTION_CONSISTENCY] != NULL)
        return cli_usage_error(cli, "--consistency and --%s say the same; give one of them",
                               cli_options[explicit_id].name);
    *ret_replicas = (uint32_t)replicas;
    return exit;
}

char *input_keyspace(const struct cli *cli)
{
    const char *name = cli->options[OPTION_KEYSPACE];
    return (char *)(uintptr_t)(name == NULL ? "" : name);
}

json_t *output_json_acknowledgement(const Coterie__V1__Acknowledgement *ack)
{
    json_t *object = json_object();
    json_object_set_new(object, "acknowledged", json_integer(ack == NULL ? 0 : ack->acknowledged));
    json_object_set_new(object, "needed", json_integer(ack == NULL ? 0 : ack->needed));
    if (ack != NULL) {
        json_object_set_new(object, "primaries",
                            output_json_names(ack->primaries, ack->n_primaries));
        json_object_set_new(object, "fallbacks",
                            output_json_names(ack->fallbacks, ack->n_fallbacks));
    }
    return object;
}

void output_acknowledgement(struct cli *cli, const char *what,
                            const Coterie__V1__Acknowledgement *ack)
{
    if (ack == NULL)
        return;
    cli_note("%s by %u of %u needed: %s%s%s", what, ack->acknowledged, ack->needed,
             output_names(&cli->arena, ack->primaries, ack->n_primaries),
             ack->n_fallbacks > 0 ? "; hints at " : "",
             output_names(&cli->arena, ack->fallbacks, ack->n_fallbacks));
}

enum cli_exit input_value(struct cli *cli, struct bytes *ret_value)
{
    const char *file = cli->options[OPTION_FILE];
    if ((file == NULL) == (cli->word_count < 2))
        return cli_usage_error(cli, file == NULL
                                        ? "which value? Give it as an argument, '-' for stdin, or "
                                          "--file FILE"
                                        : "a value and --file are both given");
    if (file == NULL && strcmp(cli->words[1], "-") != 0) {
        *ret_value = bytes_of_string(cli->words[1]);
        return CLI_OK;
    }
    return read_all(file == NULL ? "-" : file, VALUE_BYTES_CAP, &cli->arena, ret_value)
               ? CLI_OK
               : CLI_FAILED;
}
