#include "cli/cli.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdlib.h>
#include <strings.h>

#define DEADLINE_DEFAULT_MS 5000u
#define DEADLINE_CAP_MS     60000u
#define TTL_MS_MAX          (100ull * 365 * 86400 * 1000)
#define NAME_BYTES_MAX      64u

enum cli_exit cli_usage_error(const struct cli *cli, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fflush(stdout); /* a plan that was shown stands before what is said of it */
    fputs("coterie: ", stderr);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    if (cli->command != NULL)
        fprintf(stderr, "\n  see: coterie %s --help\n", cli->command->name);
    else
        fputs("\n  see: coterie --help\n", stderr);
    return CLI_USAGE;
}

/* How many single changes turn a into b; both are cut at NAME_BYTES_MAX. */
static size_t edit_distance(const char *a, const char *b)
{
    size_t a_size = strnlen(a, NAME_BYTES_MAX), b_size = strnlen(b, NAME_BYTES_MAX);
    size_t row[NAME_BYTES_MAX + 1];
    for (size_t j = 0; j <= b_size; j++)
        row[j] = j;
    for (size_t i = 1; i <= a_size; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_size; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            diagonal = row[j];
            row[j] = best;
        }
    }
    return row[b_size];
}

const struct cli_command *cli_command_find(const char *const *words, size_t count,
                                           uint32_t *ret_used)
{
    char two[2 * NAME_BYTES_MAX] = "";
    if (count >= 2)
        snprintf(two, sizeof two, "%.60s %.60s", words[0], words[1]);
    for (size_t i = 0; i < cli_command_count; i++) {
        if (count >= 2 && strcmp(cli_commands[i].name, two) == 0) {
            *ret_used = 2;
            return &cli_commands[i];
        }
    }
    for (size_t i = 0; i < cli_command_count; i++) {
        if (count >= 1 && strcmp(cli_commands[i].name, words[0]) == 0) {
            *ret_used = 1;
            return &cli_commands[i];
        }
    }
    return NULL;
}

enum cli_exit cli_unknown_command(const struct cli *cli, const char *const *words, size_t count)
{
    size_t prefix = strlen(words[0]);
    char joined[1024] = "";
    for (size_t i = 0; i < cli_command_count; i++) {
        const char *name = cli_commands[i].name;
        if (strncmp(name, words[0], prefix) == 0 && name[prefix] == ' ')
            snprintf(joined + strlen(joined), sizeof joined - strlen(joined), "%s%s",
                     joined[0] == '\0' ? "" : ", ", name + prefix + 1);
    }
    if (joined[0] != '\0' && count == 1)
        return cli_usage_error(cli, "'%s' needs a second word: %s", words[0], joined);
    if (joined[0] != '\0')
        return cli_usage_error(cli, "there is no command '%s %s'; '%s' knows: %s", words[0],
                               words[1], words[0], joined);
    const char *nearest = NULL;
    size_t nearest_distance = 3;
    for (size_t i = 0; i < cli_command_count; i++) {
        size_t distance = edit_distance(words[0], cli_commands[i].name);
        if (distance < nearest_distance) {
            nearest_distance = distance;
            nearest = cli_commands[i].name;
        }
    }
    if (nearest != NULL)
        return cli_usage_error(cli, "there is no command '%s'; did you mean '%s'?", words[0],
                               nearest);
    return cli_usage_error(cli, "there is no command '%s'", words[0]);
}

static enum cli_exit unknown_option(const struct cli *cli, const char *text)
{
    char name[NAME_BYTES_MAX + 1];
    snprintf(name, sizeof name, "%s", text + strspn(text, "-"));
    name[strcspn(name, "=")] = '\0';
    const char *nearest = NULL;
    size_t nearest_distance = 3;
    for (int i = 0; i < OPTION_COUNT && strlen(name) > 1; i++) {
        size_t distance = edit_distance(name, cli_options[i].name);
        if (distance < nearest_distance) {
            nearest_distance = distance;
            nearest = cli_options[i].name;
        }
    }
    if (nearest != NULL)
        return cli_usage_error(cli, "there is no option '%s'; did you mean '--%s'?", text, nearest);
    return cli_usage_error(
        cli, "there is no option '%s' (a word that starts with '-' goes after '--')", text);
}

uint64_t cli_global_options(const struct cli_command *command)
{
    uint64_t all = OPTIONS_GLOBAL;
    for (int i = 0; command != NULL && i < OPTION_COUNT; i++) {
        for (int j = 0; (command->options >> i & 1u) != 0 && j < OPTION_COUNT; j++) {
            if (strcmp(cli_options[i].name, cli_options[j].name) == 0)
                all &= ~(1ull << j);
        }
    }
    return all;
}

/* The option of `mask` that `text` names; ret_value: the argument glued to it, or NULL. */
static int option_find_among(const char *text, uint64_t mask, const char **ret_value)
{
    *ret_value = NULL;
    for (int i = 0; i < OPTION_COUNT; i++) {
        if ((mask >> i & 1u) == 0)
            continue;
        const struct cli_option *option = &cli_options[i];
        size_t size = strlen(option->name);
        if (text[1] == '-' && strncmp(text + 2, option->name, size) == 0 &&
            (text[2 + size] == '\0' || text[2 + size] == '=')) {
            *ret_value = text[2 + size] == '=' ? text + 3 + size : NULL;
            return i;
        }
        if (text[1] != '-' && option->letter != 0 && text[1] == option->letter &&
            (option->argument != NULL || text[2] == '\0')) {
            *ret_value = text[2] != '\0' ? text + 2 : NULL;
            return i;
        }
    }
    return -1;
}

/* The words so far name the command, or not yet. */
static int option_find(const char *const *words, size_t count, const char *text,
                       const char **ret_value)
{
    uint32_t used;
    const struct cli_command *command = cli_command_find(words, count, &used);
    int id = command == NULL ? -1 : option_find_among(text, command->options, ret_value);
    return id >= 0 ? id : option_find_among(text, UINT64_MAX, ret_value);
}

/* Takes all options out of argv, wherever they stand; the rest are words. */
static enum cli_exit scan(struct cli *cli, int argc, char *const *argv, const char **words,
                          size_t words_max, size_t *ret_count)
{
    size_t count = 0;
    bool only_words = false;
    for (int i = 1; i < argc; i++) {
        const char *text = argv[i];
        if (!only_words && strcmp(text, "--") == 0) {
            only_words = true;
            continue;
        }
        if (only_words || text[0] != '-' || text[1] == '\0') {
            if (count == words_max)
                return cli_usage_error(cli, "too many words, from '%s' on", text);
            words[count++] = text;
            continue;
        }
        const char *value;
        int id = option_find(words, count, text, &value);
        if (id < 0)
            return unknown_option(cli, text);
        if (cli_options[id].argument == NULL && value != NULL)
            return cli_usage_error(cli, "--%s takes no value", cli_options[id].name);
        if (cli_options[id].argument != NULL && value == NULL) {
            if (i + 1 == argc)
                return cli_usage_error(cli, "--%s needs a value: %s", cli_options[id].name,
                                       cli_options[id].argument);
            value = argv[++i];
        }
        cli->options[id] = value == NULL ? "" : value;
    }
    *ret_count = count;
    return CLI_OK;
}

static enum cli_exit check_options(const struct cli *cli)
{
    for (int i = 0; i < OPTION_COUNT; i++) {
        uint64_t allowed = cli->command->options | OPTIONS_GLOBAL;
        if (cli->options[i] != NULL && (allowed & (1ull << i)) == 0)
            return cli_usage_error(cli, "'%s' has no option --%s", cli->command->name,
                                   cli_options[i].name);
    }
    return CLI_OK;
}

static enum cli_exit parse_global(struct cli *cli)
{
    static const char *const outputs[] = {"table", "json", NULL};
    int output = 0;
    uint64_t deadline_ms = DEADLINE_DEFAULT_MS;
    enum cli_exit exit = cli_option_choice(cli, OPTION_OUTPUT, outputs, &output);
    if (exit == CLI_OK)
        exit = cli_option_u64(cli, OPTION_DEADLINE_MS, 1, DEADLINE_CAP_MS, &deadline_ms);
    if (exit != CLI_OK)
        return exit;
    cli->json = output == 1;
    cli->deadline_ms = (uint32_t)deadline_ms;
    cli->verbose = cli->options[OPTION_VERBOSE] != NULL;
    cli->endpoints = cli->options[OPTION_ENDPOINTS];
    if (cli->endpoints != NULL && cli->endpoints[0] == '\0')
        return cli_usage_error(cli, "--endpoints is empty: give HOST:PORT,... or leave it out");
    if (cli->endpoints == NULL)
        cli->endpoints = getenv("COTERIE_ENDPOINTS");
    if (cli->endpoints == NULL || cli->endpoints[0] == '\0')
        cli->endpoints = "127.0.0.1:7700";
    return CLI_OK;
}

enum cli_exit cli_parse(struct cli *cli, int argc, char *const *argv)
{
    const char *words[2 + CLI_WORDS_MAX];
    size_t count = 0;
    enum cli_exit exit = scan(cli, argc, argv, words, ARRAY_COUNT(words), &count);
    if (exit != CLI_OK)
        return exit;
    if (count > 0) {
        uint32_t used = 0;
        cli->command = cli_command_find(words, count, &used);
        if (cli->command == NULL && cli->options[OPTION_HELP] == NULL)
            return cli_unknown_command(cli, words, count);
        cli->word_count = (uint32_t)count - used;
        for (uint32_t i = 0; i < cli->word_count && i < CLI_WORDS_MAX; i++)
            cli->words[i] = words[used + i];
    }
    if (cli->options[OPTION_HELP] != NULL || cli->options[OPTION_VERSION] != NULL)
        return CLI_OK;
    if (cli->command == NULL)
        return cli_usage_error(cli, "which command?");
    exit = check_options(cli);
    if (exit != CLI_OK)
        return exit;
    if (cli->word_count < cli->command->words_min)
        return cli_usage_error(cli, "something is missing: coterie %s %s", cli->command->name,
                               cli->command->arguments);
    if (cli->word_count > cli->command->words_max)
        return cli_usage_error(cli, "'%s' is one word too many: coterie %s%s%s",
                               cli->words[cli->command->words_max], cli->command->name,
                               cli->command->arguments[0] == '\0' ? "" : " ",
                               cli->command->arguments);
    return parse_global(cli);
}

static bool parse_u64(const char *text, size_t size, uint64_t *ret_value)
{
    uint64_t value = 0;
    if (size == 0 || size > 18)
        return false;
    for (size_t i = 0; i < size; i++) {
        if (!isdigit((unsigned char)text[i]))
            return false;
        value = value * 10 + (uint64_t)(text[i] - '0');
    }
    *ret_value = value;
    return true;
}

enum cli_exit cli_option_u64(const struct cli *cli, enum cli_option_id id, uint64_t min,
                             uint64_t max, uint64_t *ret_value)
{
    const char *text = cli->options[id];
    uint64_t value;
    if (text == NULL)
        return CLI_OK;
    if (!parse_u64(text, strlen(text), &value) || value < min || value > max)
        return cli_usage_error(cli, "--%s is '%s', must be a number from %llu to %llu",
                               cli_options[id].name, text, (unsigned long long)min,
                               (unsigned long long)max);
    *ret_value = value;
    return CLI_OK;
}

enum cli_exit cli_option_duration_ms(const struct cli *cli, enum cli_option_id id, uint64_t *ret_ms)
{
    static const struct {
        const char *unit;
        uint64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
    const char *text = cli->options[id];
    if (text == NULL)
        return CLI_OK;
    size_t digits = strspn(text, "0123456789");
    uint64_t count;
    for (size_t i = 0; i < ARRAY_COUNT(units); i++) {
        if (strcmp(text + digits, units[i].unit) != 0 || !parse_u64(text, digits, &count))
            continue;
        if (count == 0 || count > TTL_MS_MAX / units[i].ms)
            break;
        *ret_ms = count * units[i].ms;
        return CLI_OK;
    }
    return cli_usage_error(
        cli, "--%s is '%s', must be a time such as 500ms, 30s, 5m, 2h or 7d, at most 36500d",
        cli_options[id].name, text);
}

static bool same_name(const char *a, const char *b)
{
    for (; *a != '\0' && *b != '\0'; a++, b++) {
        int x = *a == '-' ? '_' : tolower((unsigned char)*a);
        int y = *b == '-' ? '_' : tolower((unsigned char)*b);
        if (x != y)
            return false;
    }
    return *a == *b;
}

enum cli_exit cli_option_choice(const struct cli *cli, enum cli_option_id id,
                                const char *const *names, int *ret_index)
{
    const char *text = cli->options[id];
    if (text == NULL)
        return CLI_OK;
    char all[256] = "";
    for (int i = 0; names[i] != NULL; i++) {
        if (same_name(text, names[i])) {
            *ret_index = i;
            return CLI_OK;
        }
        snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", i == 0 ? "" : ", ", names[i]);
    }
    return cli_usage_error(cli, "--%s is '%s', must be one of %s", cli_options[id].name, text, all);
}
