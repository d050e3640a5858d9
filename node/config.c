#include "node/config.h"

#include "model/limits.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

enum config_type { TYPE_TEXT, TYPE_ADDRESS, TYPE_NUMBER, TYPE_SIZE, TYPE_SWITCH, TYPE_LOG_LEVEL };

struct setting {
    const char *name;
    enum config_type type;
    const char *fallback;
    uint64_t min;
    uint64_t max;
    const char *help;
};

static const struct setting settings[CONFIG_KEY_COUNT] = {
    [CONFIG_name] = {"name", TYPE_TEXT, "node-1", 1, 63,
                     "this node's name, one of those in initial-cluster"},
    [CONFIG_data_dir] = {"data-dir", TYPE_TEXT, "coterie-data", 1, 4000,
                         "where everything is kept; created when absent"},
    [CONFIG_client_address] = {"client-address", TYPE_ADDRESS, "127.0.0.1:7700", 1, 255,
                               "host:port for clients (gRPC)"},
    [CONFIG_peer_address] = {"peer-address", TYPE_ADDRESS, "127.0.0.1:7701", 1, 255,
                             "host:port to listen on for the other nodes; default: this node's "
                             "entry in initial-cluster"},
    [CONFIG_http_address] = {"http-address", TYPE_ADDRESS, "127.0.0.1:7702", 0, 255,
                             "host:port for /metrics and the status page; empty: none"},
    [CONFIG_advertise_address] = {"advertise-address", TYPE_ADDRESS, "", 0, 255,
                                  "host:port where the other nodes reach this one, when that is "
                                  "another address than it listens on; may change from start to "
                                  "start"},
    [CONFIG_initial_cluster] = {"initial-cluster", TYPE_TEXT, "", 0, 65536,
                                "all nodes at the first start: name=host:peerport,... with "
                                "optional ;dc=NAME;zone=NAME;weight=N behind an address; empty: "
                                "this node alone"},
    [CONFIG_join] = {"join", TYPE_TEXT, "", 0, 4000,
                     "client addresses host:port,... of nodes of a cluster that runs: the first "
                     "start with an empty directory joins it (unless initial-cluster names this "
                     "node); later starts ignore this"},
    [CONFIG_join_hold] = {"join-hold", TYPE_SWITCH, "false", 0, 0,
                          "wait for an operator's coterie commit, instead of having the join "
                          "committed as soon as no other change is under way"},
    [CONFIG_cluster_key_file] = {"cluster-key-file", TYPE_TEXT, "", 0, 4000,
                                 "file with a secret of 32 bytes or more, the same on all nodes, "
                                 "that signs the contexts given to clients; empty: a key from the "
                                 "cluster's id, which guards against mistakes but is no secret"},
    [CONFIG_data_center] = {"data-center", TYPE_TEXT, "", 0, 31,
                            "data centre of a node that starts alone or joins"},
    [CONFIG_zone] = {"zone", TYPE_TEXT, "", 0, 31, "zone of a node that starts alone or joins"},
    [CONFIG_weight] = {"weight", TYPE_NUMBER, "1", 1, WEIGHT_MAX,
                       "share of the ring of a node that starts alone or joins"},
    [CONFIG_partitions] = {"partitions", TYPE_NUMBER, "64", PARTITIONS_MIN, PARTITIONS_MAX,
                           "Q, a power of two, fixed when the cluster is created; at least 10 x "
                           "the nodes you expect"},
    [CONFIG_memory] = {"memory", TYPE_SIZE, "256MiB", 32u << 20, (uint64_t)1 << 46,
                       "ceiling for block cache and memtables together"},
    [CONFIG_coordinators] = {"coordinators", TYPE_NUMBER, "0", 0, 16,
                             "coordinators, on the gRPC threads first; 0: half the cores"},
    [CONFIG_replicas] = {"replicas", TYPE_NUMBER, "0", 0, 16, "replica threads; 0: half the cores"},
    [CONFIG_grpc_threads] = {"grpc-threads", TYPE_NUMBER, "0", 0, 16,
                             "gRPC threads; 0: half the cores"},
    [CONFIG_requests_max] = {"requests-max", TYPE_NUMBER, "4096", 1, 60000,
                             "client requests in flight; more are refused at once"},
    [CONFIG_value_bytes_max] = {"value-bytes-max", TYPE_SIZE, "1MiB", 1024, VALUE_BYTES_MAX_CEILING,
                                "largest value"},
    [CONFIG_anti_entropy_interval] = {"anti-entropy-interval", TYPE_NUMBER, "3600", 1, 604800,
                                      "seconds within which every two replicas of a vnode are "
                                      "compared, always"},
    [CONFIG_anti_entropy_rate] = {"anti-entropy-rate", TYPE_SIZE, "16MiB", 65536, (uint64_t)1 << 40,
                                  "bytes a second that comparing and repairing replicas may send "
                                  "and receive"},
    [CONFIG_move_bytes_per_second] = {"move-bytes-per-second", TYPE_SIZE, "64MiB", 65536,
                                      (uint64_t)1 << 40,
                                      "bytes a second that this node copies of partitions that "
                                      "it receives, where a change has no pace of its own"},
    [CONFIG_hints_bytes] = {"hints-bytes", TYPE_SIZE, "1GiB", 0, (uint64_t)1 << 44,
                            "how much this node keeps for one other that is away (four times that "
                            "in all); beyond it the range is left to anti-entropy; 0: no hints"},
    [CONFIG_hints_age] = {"hints-age", TYPE_NUMBER, "604800", 1, 31536000,
                          "seconds after which a hint is given up and its range left to "
                          "anti-entropy"},
    [CONFIG_reap_after] = {"reap-after", TYPE_NUMBER, "600", 0, 31536000,
                           "seconds that a tombstone or an expired value is left alone before the "
                           "replicas may agree to remove it; they do when all members are there"},
    [CONFIG_forward_remote_writes] = {"forward-remote-writes", TYPE_NUMBER, "1", 0, 1,
                                      "1: a write crosses to each other data centre once, and a "
                                      "replica there passes it on; 0: once for each replica there"},
    [CONFIG_drain_ms] = {"drain-ms", TYPE_NUMBER, "5000", 0, 600000,
                         "how long SIGTERM lets running requests finish"},
    [CONFIG_log_level] = {"log-level", TYPE_LOG_LEVEL, "info", 0, 0,
                          "debug, info, warning or error"},
};

static const char *origin_text(enum config_origin origin)
{
    static const char *const texts[] = {"default", "file", "environment", "flag"};
    return texts[origin];
}

static int setting_find(const char *name)
{
    for (int i = 0; i < CONFIG_KEY_COUNT; i++) {
        if (strcmp(settings[i].name, name) == 0)
            return i;
    }
    return -1;
}

static void environment_name(const struct setting *setting, char ret_name[64])
{
    int size = snprintf(ret_name, 64, "COTERIE_%s", setting->name);
    for (int i = 0; i < size && i < 63; i++)
        ret_name[i] = ret_name[i] == '-' ? '_' : (char)toupper((unsigned char)ret_name[i]);
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
        return file_error(reader, "%s: a plain value is expected", settings[key].name);
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
            environment_name(&settings[i], name);
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
        if (strncmp(flag, "--", 2) != 0) {
            snprintf(why, why_size, "unknown argument \"%s\"; coteried --help lists the flags",
                     flag);
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
        bool is_switch = key >= 0 && settings[key].type == TYPE_SWITCH;
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

static bool parse_number(const char *text, bool size, uint64_t *ret_number)
{
    static const struct {
        const char *unit;
        unsigned shift;
    } units[] = {{"", 0},     {"B", 0},  {"K", 10},   {"KiB", 10}, {"M", 20},
                 {"MiB", 20}, {"G", 30}, {"GiB", 30}, {"T", 40},   {"TiB", 40}};
    char *end = NULL;
    errno = 0;
    if (!isdigit((unsigned char)text[0]))
        return false;
    uint64_t number = strtoull(text, &end, 10);
    if (errno != 0)
        return false;
    while (size && *end == ' ')
        end++;
    for (size_t i = 0; i < (size ? sizeof units / sizeof units[0] : 1); i++) {
        if (strcasecmp(end, units[i].unit) == 0) {
            if (number > UINT64_MAX >> units[i].shift)
                return false;
            *ret_number = number << units[i].shift;
            return true;
        }
    }
    return false;
}

static bool parse_log_level(const char *text, enum log_level *ret_level)
{
    for (int level = 0; level < LOG_LEVEL_COUNT; level++) {
        if (strcasecmp(text, log_level_text((enum log_level)level)) == 0) {
            *ret_level = (enum log_level)level;
            return true;
        }
    }
    return false;
}

/* host:port, [host]:port when the host has colons. Without a port gRPC would take one of its own.
 */
static bool is_address(const char *text)
{
    const char *colon = strrchr(text, ':');
    if (colon == NULL || colon == text || !isdigit((unsigned char)colon[1]))
        return false;
    char *end = NULL;
    unsigned long port = strtoul(colon + 1, &end, 10);
    bool bracketed = text[0] == '[' && colon[-1] == ']';
    return *end == '\0' && port <= UINT16_MAX && (bracketed || strchr(text, ':') == colon);
}

static enum err config_check(struct config *config, char *why, size_t why_size)
{
    for (int i = 0; i < CONFIG_KEY_COUNT; i++) {
        const struct setting *setting = &settings[i];
        const char *text = config->text[i];
        const char *origin = origin_text(config->origin[i]);
        switch (setting->type) {
        case TYPE_TEXT:
            if (strlen(text) < setting->min || strlen(text) > setting->max) {
                snprintf(why, why_size, "%s (%s): %zu bytes, allowed are %" PRIu64 " to %" PRIu64,
                         setting->name, origin, strlen(text), setting->min, setting->max);
                return ERR_INVALID;
            }
            break;
        case TYPE_ADDRESS:
            if (strlen(text) > setting->max ||
                (*text == '\0' ? setting->min > 0 : !is_address(text))) {
                snprintf(why, why_size, "%s (%s): \"%.300s\" is not host:port", setting->name,
                         origin, text);
                return ERR_INVALID;
            }
            break;
        case TYPE_NUMBER:
        case TYPE_SIZE:
            if (!parse_number(text, setting->type == TYPE_SIZE, &config->number[i]) ||
                config->number[i] < setting->min || config->number[i] > setting->max) {
                snprintf(why, why_size,
                         "%s (%s): \"%s\" is not a %s between %" PRIu64 " and %" PRIu64,
                         setting->name, origin, text,
                         setting->type == TYPE_SIZE ? "size (64MiB, 1GiB, ...)" : "number",
                         setting->min, setting->max);
                return ERR_INVALID;
            }
            break;
        case TYPE_SWITCH:
            config->number[i] = strcmp(text, "true") == 0;
            if (config->number[i] == 0 && strcmp(text, "false") != 0) {
                snprintf(why, why_size, "%s (%s): \"%s\" is not true or false", setting->name,
                         origin, text);
                return ERR_INVALID;
            }
            break;
        case TYPE_LOG_LEVEL:
            if (!parse_log_level(text, &config->log_level)) {
                snprintf(why, why_size, "%s (%s): \"%s\" is not debug, info, warning or error",
                         setting->name, origin, text);
                return ERR_INVALID;
            }
            break;
        }
    }
    uint64_t partitions = config->number[CONFIG_partitions];
    if ((partitions & (partitions - 1)) != 0) {
        snprintf(why, why_size, "partitions: %" PRIu64 " is not a power of two", partitions);
        return ERR_INVALID;
    }
    return OK;
}

enum err config_load(int argc, char **argv, struct config *ret_config,
                     enum config_action *ret_action, char *why, size_t why_size)
{
    struct config config = {0};
    enum config_action action = CONFIG_RUN;
    for (int i = 0; i < CONFIG_KEY_COUNT; i++)
        config_set(&config, i, settings[i].fallback, CONFIG_DEFAULT);
    const char *file = getenv("COTERIE_CONFIG");
    if (file != NULL)
        config.file = strdup(file);
    enum err err = config_read_flags(argc, argv, &config, &action, why, why_size);
    if (err == OK && action != CONFIG_HELP && action != CONFIG_VERSION) {
        err = config_read_file(&config, why, why_size);
        config_read_environment(&config);
        if (err == OK)
            err = config_check(&config, why, why_size);
    }
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
    for (int i = 0; i < CONFIG_KEY_COUNT; i++)
        config_set(&again, i, settings[i].fallback, CONFIG_DEFAULT);
    enum err err = config_read_file(&again, why, why_size);
    config_read_environment(&again);
    if (err == OK)
        err = config_check(&again, why, why_size);
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
        fprintf(out, "%s: \"%s\"", settings[i].name, config->text[i]);
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
        fprintf(out, "  --%s (default \"%s\")\n      %s\n", settings[i].name, settings[i].fallback,
                settings[i].help);
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
