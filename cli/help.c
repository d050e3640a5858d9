#include "cli/cli.h"

#define HELP_COLUMN 30
#define HELP_WIDTH  100

/* `text` from HELP_COLUMN on, wrapped at blanks. */
static void print_wrapped(const char *text)
{
    int column = HELP_COLUMN;
    while (*text != '\0') {
        size_t size = strcspn(text, " ");
        if (column > HELP_COLUMN && column + 1 + (int)size > HELP_WIDTH) {
            printf("\n%*s", HELP_COLUMN, "");
            column = HELP_COLUMN;
        } else if (column > HELP_COLUMN) {
            putchar(' ');
            column++;
        }
        fwrite(text, 1, size, stdout);
        column += (int)size;
        text += size;
        text += strspn(text, " ");
    }
    putchar('\n');
}

static void print_option(const struct cli_option *option)
{
    char left[128];
    char letter[8] = "    ";
    if (option->letter != 0)
        snprintf(letter, sizeof letter, "-%c, ", option->letter);
    snprintf(left, sizeof left, "  %s--%s%s%s", letter, option->name,
             option->argument == NULL ? "" : " ", option->argument == NULL ? "" : option->argument);
    if (strlen(left) >= HELP_COLUMN)
        printf("%s\n%*s", left, HELP_COLUMN, "");
    else
        printf("%-*s", HELP_COLUMN, left);
    print_wrapped(option->help);
}

static void print_options(const char *title, uint64_t mask)
{
    if (mask == 0)
        return;
    printf("\n%s\n", title);
    for (int i = 0; i < OPTION_COUNT; i++) {
        if ((mask & (1ull << i)) != 0)
            print_option(&cli_options[i]);
    }
}

static void print_examples(const char *examples)
{
    puts("\nExamples");
    while (*examples != '\0') {
        size_t size = strcspn(examples, "\n");
        printf("  %.*s\n", (int)size, examples);
        examples += size + (examples[size] == '\n');
    }
}

/* One line of the list: its arguments as much as fits, all, or the first word, or that there are
 * some. */
static void print_in_short(const struct cli_command *command)
{
    char left[128];
    const char *arguments = command->arguments;
    int size = (int)strlen(arguments);
    bool fits = size < 14;
    if (!fits)
        size = arguments[0] == '[' ? 0 : (int)strcspn(arguments, " ");
    snprintf(left, sizeof left, "  %s%s%.*s%s", command->name, arguments[0] == '\0' ? "" : " ",
             size, arguments,
             fits        ? ""
             : size == 0 ? "[...]"
                         : " ...");
    printf("%-*s%s\n", HELP_COLUMN, left, command->summary);
}

static void help_overview(void)
{
    puts("coterie -- the command line of the Coterie key-value store\n\n"
         "Usage\n  coterie [options] COMMAND [arguments]\n\nCommands");
    for (size_t i = 0; i < cli_command_count; i++)
        print_in_short(&cli_commands[i]);
    print_options("Options of every command", OPTIONS_GLOBAL);
    puts("\nExits\n  0 ok, 1 failed, 2 usage, 3 not found, 4 unavailable, 5 unhealthy, 6 conflict");
    print_examples("coterie put greeting hello\n"
                   "coterie get greeting\n"
                   "coterie --endpoints n1:7700,n2:7700 status\n"
                   "coterie help put");
}

static void help_command(const struct cli_command *command)
{
    if (command == NULL) {
        help_overview();
        return;
    }
    printf("coterie %s -- %s\n\nUsage\n", command->name, command->summary);
    const char *arguments = command->arguments;
    do {
        const char *bar = strstr(arguments, " | ");
        size_t size = bar == NULL ? strlen(arguments) : (size_t)(bar - arguments);
        printf("  coterie %s%s%.*s%s\n", command->name, size > 0 ? " " : "", (int)size, arguments,
               command->options != 0 ? " [options]" : "");
        arguments += size + (bar == NULL ? 0 : strlen(" | "));
    } while (*arguments != '\0');
    if (command->details != NULL)
        printf("\n%s\n", command->details);
    print_options("Options", command->options);
    print_options("Options of every command", cli_global_options(command));
    print_examples(command->examples);
}

/* The commands that begin with `word`, as keyspace create does; false: there are none. */
static bool help_group(const char *word)
{
    size_t size = strlen(word);
    bool found = false;
    for (size_t i = 0; i < cli_command_count; i++) {
        const char *name = cli_commands[i].name;
        if (strncmp(name, word, size) != 0 || name[size] != ' ')
            continue;
        if (!found)
            printf("coterie %s -- one of these commands\n\nCommands\n", word);
        found = true;
        print_in_short(&cli_commands[i]);
    }
    if (found)
        printf("\nSee: coterie help %s COMMAND\n", word);
    return found;
}

static enum cli_exit help_on(struct cli *cli, const char *const *words, size_t count)
{
    uint32_t used = 0;
    const struct cli_command *command = count == 0 ? NULL : cli_command_find(words, count, &used);
    if (count > 0 && command == NULL) {
        if (count == 1 && help_group(words[0]))
            return CLI_OK;
        cli->command = NULL;
        return cli_unknown_command(cli, words, count);
    }
    if (used < count)
        return cli_usage_error(cli, "help on one command at a time: '%s' is one word too many",
                               words[used]);
    help_command(command);
    return CLI_OK;
}

enum cli_exit cli_run_help(struct cli *cli)
{
    return help_on(cli, cli->words, cli->word_count);
}

enum cli_exit cli_run_help_option(struct cli *cli)
{
    if (cli->command == NULL)
        return help_on(cli, cli->words, cli->word_count);
    help_command(cli->command);
    return CLI_OK;
}

enum cli_exit cli_run_version(struct cli *cli)
{
    if (cli->json)
        printf("{\"version\": \"%s\"}\n", COTERIE_VERSION);
    else
        printf("coterie %s\n", COTERIE_VERSION);
    return CLI_OK;
}
