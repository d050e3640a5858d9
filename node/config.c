#include "node/config.h"

#include "base/check.h"
#include "node/setting.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <yaml.h>

static const char *origin_text(enum config_origin origin)
{
    static const char *const texts[] = {"default", "file", "environment", "flag"};
    return texts[origin];
}

static void config_set(struct config *config, int key, const char *text, enum config_origin origin)
{
    if (origin < config->origin[key])
        return;
    free(config->text[key]);
    config->text[key] = strdup(text);
    CHECK(config->text[key] != NULL);
    config->origin[key] = origin;
}

/* -- the YAML file: one mapping of scalars; initial-cluster may be a list
 * --------------------------- */

struct file_reader {
    yaml_parser_t parser;
    yaml_event_t event;
    const char *path;
    bool seen[CONFIG_KEY_COUNT];
    char *why;
    size_t why_size;
};

__attribute__((format(printf, 2, 3))) static enum err file_error(struct file_reader *reader,
                                                                 const char *format, ...)
{
    va_list arguments;
    int size = snprintf(reader->why, reader->why_size, "%s line %zu: ", reader->path,
                        reader->event.start_mark.line + 1);
    va_start(arguments, format);
    if (size >= 0 && (size_t)size < reader->why_size)
        vsnprintf(reader->why + size, reader->why_size - (size_t)size, format, arguments);
    va_end(arguments);
    return ERR_INVALID;
}

static enum err file_next(struct file_reader *reader)
{
    yaml_event_delete(&reader->event);
    if (yaml_parser_parse(&reader->parser, &reader->event))
        return OK;
    memset(&reader->event, 0, sizeof reader->event);
    snprintf(reader->why, reader->why_size, "%s line %zu: not YAML: %s", reader->path,
             reader->parser.problem_mark.line + 1,
             reader->parser.problem == NULL ? "unreadable" : reader->parser.problem);
    return ERR_INVALID;
}

/* A list becomes what the flag would hold: joined by commas. */
static enum err file_list(struct file_reader *reader, char **ret_text)
{
    char *joined = strdup("");
    enum err err = file_next(reader);
    while (err == OK && reader->event.type == YAML_SCALAR_EVENT) {
        char *longer = NULL;
        CHECK(asprintf(&longer, "%s%s%s", joined, joined[0] == '\0' ? "" : ",",
                       (const char *)reader->event.data.scalar.value) >= 0);
        free(joined);
        joined = longer;
        err = file_next(reader);
    }
    if (err == OK && reader->event.type != YAML_SEQUENCE_END_EVENT)
        err = file_error(reader, "a list of plain values is expected");
    if (err == OK)
        *ret_text = joined;
    else
        free(joined);
    return err;
}

static enum err file_value(struct file_reader *reader, struct config *config, int key)
{
    enum err err = file_next(reader);
    if (err != OK)
        return err;
    if (reader->event.type == YAML_SCALAR_EVENT) {
        config_set(config, key, (const char *)reader->event.data.scalar.value, CONFIG_FILE);
        return OK;
    }
    if (reader->event.type != YAML_SEQUENCE_START_EVENT || key != CONFIG_initial_cluster)
        return file_error(reader, "%s: a plain value is expected", setting_table[key].name);
    char *joined = NULL;
    err = file_list(reader, &joined);
    if (err == OK)
        config_set(config, key, joined, CONFIG_FILE);
    free(joined);
    return err;
}

static enum err file_mapping(struct file_reader *reader, struct config *config)
{
    enum err err = file_next(reader);
    while (err == OK && reader->event.type == YAML_SCALAR_EVENT) {
        const char *name = (const char *)reader->event.data.scalar.value;
        int key = setting_find(name);
        if (key < 0)
            return file_error(reader, "unknown key \"%s\"; coteried --help lists them", name);
        if (reader->seen[key])
            return file_error(reader, "%s is given twice; take one of them out", name);
        reader->seen[key] = true;
        err = file_value(reader, config, key);
        if (err == OK)
            err = file_next(reader);
    }
    if (err == OK && reader->event.type != YAML_MAPPING_END_EVENT)
        err = file_error(reader, "a key is expected");
    return err;
}

static enum err config_read_file(struct config *config, char *why, size_t why_size)
{
    if (config->file == NULL)
        return OK;
    FILE *file = fopen(config->file, "re");
    struct stat status;
    if (file != NULL && fstat(fileno(file), &status) == 0 && S_ISDIR(status.st_mode)) {
        fclose(file);
        file = NULL;
        errno = EISDIR;
    }
    if (file == NULL) {
        snprintf(why, why_size, "--config %s: %s", config->file, strerror(errno));
        return ERR_INVALID;
    }
    struct file_reader reader = {.path = config->file, .why = why, .why_size = why_size};
    CHECK(yaml_parser_initialize(&reader.parser));
    yaml_parser_set_input_file(&reader.parser, file);
    enum err err = OK;
    do {
        err = file_next(&reader);
        if (err == OK && reader.event.type == YAML_MAPPING_START_EVENT)
            err = file_mapping(&reader, config);
        else if (err == OK && (reader.event.type == YAML_SCALAR_EVENT ||
                               reader.event.type == YAML_SEQUENCE_START_EVENT))
            err = file_error(&reader, "\"key: value\" lines are expected");
    } while (err == OK && reader.event.type != YAML_STREAM_END_EVENT);
    yaml_event_delete(&reader.event);
    yaml_parser_delete(&reader.parser);
    fclose(file);
    return err;
}

/* -- environment, flags, checks
 * ----------------------------------------------------------------------- */

extern char **environ;

/* No settings, and known: the file's name, and what `coterie` reads in the same pod. */
static bool is_known_variable(const char *name, size_t size)
{
    static const char *const known[] = {"COTERIE_CONFIG", "COTERIE_ENDPOINTS"};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strlen(known[i]) == size && strncmp(name, known[i], size) == 0)
            return true;
    }
    return false;
}

/* A variable that is no setting of ours is only told of: Kubernetes puts COTERIE_SERVICE_HOST and
 * the like into the environment of every pod beside a service of that name. */
static void config_read_environment(struct config *config)
{
    for (char **entry = environ; *entry != NULL; entry++) {
        const char *equals = strchr(*entry, '=');
        if (strncmp(*entry, "COTERIE_", 8) != 0 || equals == NULL)
            continue;
        size_t size = (size_t)(equals - *entry);
        bool known = is_known_variable(*entry, size);
        for (int i = 0; i < CONFIG_KEY_COUNT; i++) {
            char name[64];
            setting_variable(&setting_table[i], name);
            if (strlen(name) == size && strncmp(*entry, name, size) == 0) {
                config_set(config, i, equals + 1, CONFIG_ENVIRONMENT);
                known = true;
            }
        }
        if (!known && config->unknown_variable[0] == '\0')
            snprintf(config->unknown_variable, sizeof config->unknown_variable, "%.*s",
                     size > 60 ? 60 : (int)size, *entry);
    }
}

static enum err config_read_flags(int argc, char **argv, struct config *config,
                                  enum config_action *action, char *why, size_t why_size)
{
    for (int i = 1; i < argc; i++) {
        const char *flag = argv[i];
        if (strcmp(flag, "--help") == 0 || strcmp(flag, "-h") == 0) {
            *action = CONFIG_HELP;
            return OK;
        }
        if (strcmp(flag, "--version") == 0) {
            *action = CONFIG_VERSION;
            return OK;
        }
        if (strcmp(flag, "config") == 0 && i + 1 < argc && strcmp(argv[i + 1], "print") == 0) {
            *action = CONFIG_PRINT;
            i++;
            continue;
        }
        if (strcmp(flag, "--origin") == 0 && *action == CONFIG_PRINT) {
            *action = CONFIG_PRINT_ORIGIN;
            continue;
        }
        if (strcmp(flag, "config") == 0) {
            snprintf(why, why_size,
                     "config what? coteried config print [--origin] shows what is "
                     "in force");
            return ERR_INVALID;
        }
        if (strncmp(flag, "--", 2) != 0) {
            snprintf(why, why_size, "unknown argument \"%s\"; coteried --help lists the flags%s",
                     flag, flag[0] == '-' ? "" : ", coterie --help what a running node is asked");
            return ERR_INVALID;
        }
        char name[64];
        const char *equals = strchr(flag, '=');
        size_t size = equals == NULL ? strlen(flag) - 2 : (size_t)(equals - flag) - 2;
        snprintf(name, sizeof name, "%.*s", (int)(size > 60 ? 60 : size), flag + 2);
        int key = setting_find(name);
        if (key < 0 && strcmp(name, "config") != 0) {
            snprintf(why, why_size, "unknown flag --%s; coteried --help lists them", name);
            return ERR_INVALID;
        }
        bool is_switch = key >= 0 && setting_table[key].type == SETTING_SWITCH;
        const char *value = equals != NULL ? equals + 1
                            : is_switch    ? "true"
                            : i + 1 < argc ? argv[++i]
                                           : NULL;
        if (value == NULL) {
            snprintf(why, why_size, "--%s needs a value", name);
            return ERR_INVALID;
        }
        if (key >= 0) {
            config_set(config, key, value, CONFIG_FLAG);
        } else {
            free(config->file);
            config->file = strdup(value);
        }
    }
    return OK;
}

static enum err config_check(struct config *config, char *why, size_t why_size)
{
    for (int i = 0; i < CONFIG_KEY_COUNT; i++) {
        enum err err =
            setting_value(&setting_table[i], config->text[i], origin_text(config->origin[i]),
                          &config->number[i], why, why_size);
        if (err != OK)
            return err;
    }
    config->log_level = (enum log_level)config->number[CONFIG_log_level];
    uint64_t partitions = config->number[CONFIG_partitions];
    if ((partitions & (partitions - 1)) != 0) {
        snprintf(why, why_size, "partitions: %" PRIu64 " is not a power of two", partitions);
        return ERR_INVALID;
    }
    return OK;
}

static void config_defaults(struct config *config)
{
    for (int i = 0; i < CONFIG_KEY_COUNT; i++)
        config_set(config, i, setting_table[i].fallback, CONFIG_DEFAULT);
}

/* File and environment beside what flags have said. */
static enum err config_complete(struct config *config, char *why, size_t why_size)
{
    enum err err = config_read_file(config, why, why_size);
    config_read_environment(config);
    return err == OK ? config_check(config, why, why_size) : err;
}

enum err config_load(int argc, char **argv, struct config *ret_config,
                     enum config_action *ret_action, char *why, size_t why_size)
{
    struct config config = {0};
    enum config_action action = CONFIG_RUN;
    config_defaults(&config);
    const char *file = getenv("COTERIE_CONFIG");
    if (file != NULL)
        config.file = strdup(file);
    enum err err = config_read_flags(argc, argv, &config, &action, why, why_size);
    if (err == OK && action != CONFIG_HELP && action != CONFIG_VERSION)
        err = config_complete(&config, why, why_size);
    if (err != OK) {
        config_deinit(&config);
        return err;
    }
    *ret_config = config;
    *ret_action = action;
    return OK;
}

enum err config_reload_log_level(struct config *config, char *why, size_t why_size)
{
    struct config again = {.file = config->file == NULL ? NULL : strdup(config->file)};
    config_defaults(&again);
    enum err err = config_complete(&again, why, why_size);
    if (err == OK && config->origin[CONFIG_log_level] != CONFIG_FLAG)
        config->log_level = again.log_level;
    config_deinit(&again);
    return err;
}

void config_deinit(struct config *config)
{
    for (int i = 0; i < CONFIG_KEY_COUNT; i++)
        free(config->text[i]);
    free(config->file);
    *config = (struct config){0};
}

/* YAML that reads back as the same settings. */
void config_print(const struct config *config, bool origin, FILE *out)
{
    for (int i = 0; i < CONFIG_KEY_COUNT; i++) {
        fprintf(out, "%s: \"%s\"", setting_table[i].name, config->text[i]);
        if (origin)
            fprintf(out, "  # %s", origin_text(config->origin[i]));
        fputc('\n', out);
    }
}

void config_help(FILE *out)
{
    fputs("coteried -- one node of a Coterie cluster\n\n"
          "usage: coteried [--FLAG VALUE]...\n"
          "       coteried config print [--origin] [--FLAG VALUE]...\n\n"
          "With no flags it is a one-node store in ./coterie-data, for clients on "
          "127.0.0.1:7700.\n\n"
          "  --config FILE\n      YAML file of the settings below\n",
          out);
    for (int i = 0; i < CONFIG_KEY_COUNT; i++)
        fprintf(out, "  --%s (default \"%s\")\n      %s\n", setting_table[i].name,
                setting_table[i].fallback, setting_table[i].help);
    fputs(
        "\nEach setting --some-name is also COTERIE_SOME_NAME in the environment and "
        "some-name: in the file;\na flag wins over the environment, that over the file, that "
        "over the default.\n\n"
        "examples:\n"
        "  coteried\n"
        "  coteried --name n1 --data-dir /var/lib/coterie/n1 --client-address 10.0.0.1:7700 \\\n"
        "      --initial-cluster n1=10.0.0.1:7701,n2=10.0.0.2:7701,n3=10.0.0.3:7701\n"
        "  coteried --name n4 --data-dir /var/lib/coterie/n4 --client-address 10.0.0.4:7700 \\\n"
        "      --peer-address 10.0.0.4:7701 --join 10.0.0.1:7700,10.0.0.2:7700\n"
        "  coteried config print --origin\n\n"
        "signals: SIGTERM and SIGINT drain and stop, SIGHUP reads the log level again\n"
        "exits:   0 stopped, 1 could not start, 2 bad settings, 74 the disk failed, 78 not wanted\n"
        "         (another process of this node runs, or it was removed from its cluster)\n",
        out);
}
