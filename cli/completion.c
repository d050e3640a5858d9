/* Completion scripts, written from the two tables. */
#include "cli/cli.h"

/* Calls `each` with every first word once: "get", "put", "keyspace", ... */
static void each_first_word(void (*each)(const char *word, size_t size,
                                         const struct cli_command *command))
{
    for (size_t i = 0; i < cli_command_count; i++) {
        const char *name = cli_commands[i].name;
        size_t size = strcspn(name, " ");
        bool seen = i > 0 && strncmp(cli_commands[i - 1].name, name, size) == 0 &&
                    cli_commands[i - 1].name[size] == ' ';
        if (!seen)
            each(name, size, &cli_commands[i]);
    }
}

/* What completes a value that only the machine or the cluster knows: "@file", "@node", "@keyspace".
 */
static const char *function_of(const char *values)
{
    if (strcmp(values, "@node") == 0)
        return "_coterie_nodes";
    return strcmp(values, "@keyspace") == 0 ? "_coterie_keyspaces" : "_coterie_files";
}

static void print_first_word(const char *word, size_t size, const struct cli_command *command)
{
    (void)command;
    printf(" %.*s", (int)size, word);
}

static void print_option_words(uint64_t mask)
{
    for (int i = 0; i < OPTION_COUNT; i++) {
        if ((mask & (1ull << i)) != 0)
            printf(" --%s", cli_options[i].name);
    }
}

/* "--file|-f" */
static void print_option_pattern(const struct cli_option *option)
{
    printf("--%s", option->name);
    if (option->letter != 0)
        printf("|-%c", option->letter);
}

static void print_second_words(const char *first, size_t size)
{
    for (size_t i = 0; i < cli_command_count; i++) {
        if (strncmp(cli_commands[i].name, first, size) == 0 && cli_commands[i].name[size] == ' ')
            printf(" %s", cli_commands[i].name + size + 1);
    }
}

/* A word that second words follow may be a command of its own too ("hints"). */
static const struct cli_command *command_of_one_word(const char *word, size_t size)
{
    for (size_t i = 0; i < cli_command_count; i++) {
        if (strncmp(cli_commands[i].name, word, size) == 0 && cli_commands[i].name[size] == '\0')
            return &cli_commands[i];
    }
    return NULL;
}

static void print_second_case(const char *word, size_t size, const struct cli_command *command)
{
    if (command->name[size] != ' ')
        return;
    const struct cli_command *alone = command_of_one_word(word, size);
    printf("        '%.*s') choices='", (int)size, word);
    print_second_words(word, size);
    if (alone != NULL)
        print_option_words(alone->options | cli_global_options(alone));
    puts("' ;;");
}

/* The part that bash and zsh share: which command stands there, and what can follow. */
static void print_cases(const char *words_name, const char *end, const char *first_index)
{
    printf("    for ((i = %s; i < %s; i++)); do\n        case ${%s[i]} in\n            ",
           first_index, end, words_name);
    bool first = true;
    printf("--endpoints) ((i++)); endpoints=${%s[i]} ;;\n            ", words_name);
    for (int i = 0; i < OPTION_COUNT; i++) {
        if (cli_options[i].argument == NULL || i == OPTION_ENDPOINTS)
            continue;
        fputs(first ? "" : "|", stdout);
        print_option_pattern(&cli_options[i]);
        first = false;
    }
    printf(") ((i++)) ;;\n            -?*) ;;\n"
           "            *) command=\"${command:+$command }${%s[i]}\" ;;\n        esac\n    done\n",
           words_name);
    puts("    case $previous in");
    for (int i = 0; i < OPTION_COUNT; i++) {
        const struct cli_option *option = &cli_options[i];
        if (option->argument == NULL)
            continue;
        fputs("        ", stdout);
        print_option_pattern(option);
        if (option->values == NULL)
            puts(") return ;;");
        else if (option->values[0] == '@')
            printf(") %s; return ;;\n", function_of(option->values));
        else
            printf(") _coterie_words '%s'; return ;;\n", option->values);
    }
    puts("    esac\n    case $command in");
    printf("        '') choices='");
    each_first_word(print_first_word);
    print_option_words(OPTIONS_GLOBAL);
    puts("' ;;");
    each_first_word(print_second_case);
    for (size_t i = 0; i < cli_command_count; i++) {
        const struct cli_command *command = &cli_commands[i];
        printf("        '%s'|'%s '*) choices='", command->name, command->name);
        print_option_words(command->options | cli_global_options(command));
        if (command->word_values != NULL && command->word_values[0] != '@')
            printf(" %s", command->word_values);
        bool asks = command->word_values != NULL && command->word_values[0] == '@';
        printf("'%s%s ;;\n", asks ? "; " : "", asks ? function_of(command->word_values) : "");
    }
    puts("    esac\n    _coterie_words \"$choices\"\n}");
}

/* The names are asked of the cluster that the command line or COTERIE_ENDPOINTS names; nobody who
 * answers within half a second, no names. */
static void print_askers(void)
{
    puts("_coterie_asked() {\n"
         "    local -a at\n"
         "    at=()\n"
         "    [[ -z $endpoints ]] || at=(--endpoints \"$endpoints\")\n"
         "    _coterie_words \"$(command coterie \"${at[@]}\" --deadline-ms 500 \"$@\" "
         "2>/dev/null |\n"
         "        while read -r name rest; do [[ $name == NAME ]] || echo \"$name\"; done)\"\n"
         "}\n"
         "_coterie_nodes() { _coterie_asked nodes; }\n"
         "_coterie_keyspaces() { _coterie_asked keyspace list; }");
}

static void completion_bash(void)
{
    puts("# bash completion for coterie: source <(coterie completion bash)\n"
         "_coterie_words() { COMPREPLY+=($(compgen -W \"$1\" -- \"$current\")); }\n"
         "_coterie_files() { compopt -o filenames; COMPREPLY+=($(compgen -f -- \"$current\")); }");
    print_askers();
    puts("_coterie() {\n"
         "    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]}\n"
         "    local command='' choices='' endpoints='' i\n    COMPREPLY=()");
    print_cases("COMP_WORDS", "COMP_CWORD", "1");
    puts("complete -F _coterie coterie");
}

static void completion_zsh(void)
{
    puts("#compdef coterie\n"
         "_coterie_words() { compadd -- ${=1}; }\n"
         "_coterie_files() { _files; }");
    print_askers();
    puts("_coterie() {\n"
         "    local -a line\n    line=(\"${words[@]}\")\n"
         "    local current=${line[CURRENT]} previous=${line[CURRENT-1]}\n"
         "    local command='' choices='' endpoints='' i");
    print_cases("line", "CURRENT", "2");
    puts("# Loaded by name from $fpath this file is the function's body; else it was sourced.\n"
         "if [[ ${funcstack[1]} == _coterie ]]; then _coterie; else compdef _coterie coterie; fi");
}

/* Single quotes for fish. */
static void print_quoted(const char *text)
{
    putchar('\'');
    for (; *text != '\0'; text++) {
        if (*text == '\'' || *text == '\\')
            putchar('\\');
        putchar(*text);
    }
    putchar('\'');
}

static void fish_values(const char *values)
{
    if (values[0] == '@')
        printf(" -a '(%s)'", function_of(values));
    else
        printf(" -a '%s'", values);
}

static void fish_option(const struct cli_option *option, const char *condition)
{
    printf("complete -c coterie -n '%s' -l %s", condition, option->name);
    if (option->letter != 0)
        printf(" -s %c", option->letter);
    if (option->argument != NULL && option->values != NULL &&
        strcmp(option->values, "@file") == 0) {
        fputs(" -r -F", stdout);
    } else if (option->argument != NULL) {
        fputs(" -x", stdout);
        if (option->values != NULL)
            fish_values(option->values);
    }
    fputs(" -d ", stdout);
    print_quoted(option->help);
    putchar('\n');
}

static void fish_first_word(const char *word, size_t size, const struct cli_command *command)
{
    (void)command;
    printf("complete -c coterie -n _coterie_first -a %.*s -d ", (int)size, word);
    const struct cli_command *alone = command_of_one_word(word, size);
    if (alone == NULL)
        printf("'commands about a %.*s'\n", (int)size, word);
    else {
        print_quoted(alone->summary);
        putchar('\n');
    }
}

/* What stands there before the cursor: options and their values left out, but for the endpoints. */
static void print_fish_line(void)
{
    puts("function _coterie_line\n"
         "    set -l skip\n"
         "    for word in (commandline -opc)[2..]\n"
         "        if set -q skip[1]\n"
         "            set -e skip[1]\n"
         "            continue\n"
         "        end\n"
         "        switch $word");
    fputs("            case", stdout);
    for (int i = 0; i < OPTION_COUNT; i++) {
        if (cli_options[i].argument == NULL)
            continue;
        printf(" --%s", cli_options[i].name);
        if (cli_options[i].letter != 0)
            printf(" -%c", cli_options[i].letter);
    }
    puts("\n                set skip 1\n"
         "            case '-?*'\n"
         "            case '*'\n"
         "                echo $word\n"
         "        end\n"
         "    end\n"
         "end\n"
         "function _coterie_first; test (count (_coterie_line)) = 0; end\n"
         "function _coterie_second; test \"$(_coterie_line)\" = $argv[1]; end\n"
         "function _coterie_is\n"
         "    set -l line (_coterie_line)\n"
         "    set -l size (count $argv)\n"
         "    test (count $line) -ge $size; and test \"$line[1..$size]\" = \"$argv\"\n"
         "end");
}

static void completion_fish(void)
{
    puts("# fish completion for coterie: coterie completion fish | source");
    print_fish_line();
    puts(
        "function _coterie_asked\n"
        "    set -l line (commandline -opc)\n"
        "    set -l at\n"
        "    set -l place (contains -i -- --endpoints $line); and set at --endpoints "
        "$line[(math $place + 1)]\n"
        "    command coterie $at --deadline-ms 500 $argv 2>/dev/null | string match -rv '^NAME ' | "
        "string replace -r ' .*' ''\n"
        "end\n"
        "function _coterie_nodes; _coterie_asked nodes; end\n"
        "function _coterie_keyspaces; _coterie_asked keyspace list; end\n"
        "complete -c coterie -f");
    each_first_word(fish_first_word);
    for (int i = 0; i < OPTION_COUNT; i++) {
        if ((OPTIONS_GLOBAL & (1ull << i)) != 0)
            fish_option(&cli_options[i], "true");
    }
    for (size_t i = 0; i < cli_command_count; i++) {
        const struct cli_command *command = &cli_commands[i];
        char condition[160];
        size_t size = strcspn(command->name, " ");
        snprintf(condition, sizeof condition, "_coterie_is %s", command->name);
        if (command->name[size] == ' ') {
            printf("complete -c coterie -n '_coterie_second %.*s' -a %s -d ", (int)size,
                   command->name, command->name + size + 1);
            print_quoted(command->summary);
            putchar('\n');
        }
        if (command->word_values != NULL && strcmp(command->word_values, "@file") == 0) {
            printf("complete -c coterie -n '%s' -F\n", condition);
        } else if (command->word_values != NULL) {
            printf("complete -c coterie -n '%s'", condition);
            fish_values(command->word_values);
            putchar('\n');
        }
        for (int j = 0; j < OPTION_COUNT; j++) {
            if ((command->options & (1ull << j)) != 0)
                fish_option(&cli_options[j], condition);
        }
    }
}

enum cli_exit cli_run_completion(struct cli *cli)
{
    const char *shell = cli->words[0];
    if (strcmp(shell, "bash") == 0)
        completion_bash();
    else if (strcmp(shell, "zsh") == 0)
        completion_zsh();
    else if (strcmp(shell, "fish") == 0)
        completion_fish();
    else
        return cli_usage_error(cli, "there is no completion for '%s'; bash, zsh and fish have one",
                               shell);
    return CLI_OK;
}
