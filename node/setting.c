#include "node/setting.h"

#include "base/check.h"
#include "model/limits.h"
#include "model/topology_words.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

const struct setting setting_table[CONFIG_KEY_COUNT] = {
    [CONFIG_name] = {"name", SETTING_WORD, "node-1", 1, 63,
                     "this node's name, one of those in initial-cluster"},
    [CONFIG_data_dir] = {"data-dir", SETTING_TEXT, "coterie-data", 1, 4000,
                         "where everything is kept; created when absent"},
    [CONFIG_client_address] = {"client-address", SETTING_ADDRESS, "127.0.0.1:7700", 1, 255,
                               "host:port for clients (gRPC)"},
    [CONFIG_peer_address] = {"peer-address", SETTING_ADDRESS, "127.0.0.1:7701", 1, 255,
                             "host:port to listen on for the other nodes; default: this node's "
                             "entry in initial-cluster"},
    [CONFIG_http_address] = {"http-address", SETTING_ADDRESS, "127.0.0.1:7702", 0, 255,
                             "host:port for /metrics and the status page; empty: none"},
    [CONFIG_advertise_address] = {"advertise-address", SETTING_ADDRESS, "", 0, 255,
                                  "host:port where the other nodes reach this one, when that is "
                                  "another address than it listens on; may change from start to "
                                  "start"},
    [CONFIG_initial_cluster] = {"initial-cluster", SETTING_TEXT, "", 0, 65536,
                                "all nodes at the first start: name=host:peerport,... with "
                                "optional ;dc=NAME;zone=NAME;weight=N behind an address; empty: "
                                "this node alone"},
    [CONFIG_join] = {"join", SETTING_TEXT, "", 0, 4000,
                     "client addresses host:port,... of nodes of a cluster that runs: the first "
                     "start with an empty directory joins it (unless initial-cluster names this "
                     "node); later starts ignore this"},
    [CONFIG_join_hold] = {"join-hold", SETTING_SWITCH, "false", 0, 0,
                          "wait for an operator's coterie commit, instead of having the join "
                          "committed as soon as no other change is under way"},
    [CONFIG_cluster_key_file] = {"cluster-key-file", SETTING_TEXT, "", 0, 4000,
                                 "file with a secret of 32 bytes or more, the same on all nodes, "
                                 "that signs the contexts given to clients; empty: a key from the "
                                 "cluster's id, which guards against mistakes but is no secret"},
    [CONFIG_data_center] = {"data-center", SETTING_WORD, "", 0, 31,
                            "data centre of a node that starts alone or joins"},
    [CONFIG_zone] = {"zone", SETTING_WORD, "", 0, 31, "zone of a node that starts alone or joins"},
    [CONFIG_weight] = {"weight", SETTING_NUMBER, "1", 1, WEIGHT_MAX,
                       "share of the ring of a node that starts alone or joins"},
    [CONFIG_partitions] = {"partitions", SETTING_NUMBER, "64", PARTITIONS_MIN, PARTITIONS_MAX,
                           "Q, a power of two, fixed when the cluster is created; at least 10 x "
                           "the nodes you expect"},
    [CONFIG_memory] = {"memory", SETTING_SIZE, "256MiB", 32u << 20, (uint64_t)1 << 46,
                       "ceiling for block cache and memtables together"},
    [CONFIG_coordinators] = {"coordinators", SETTING_NUMBER, "0", 0, 16,
                             "coordinators, on the gRPC threads first; 0: half the cores"},
    [CONFIG_replicas] = {"replicas", SETTING_NUMBER, "0", 0, 16,
                         "replica threads; 0: half the cores"},
    [CONFIG_grpc_threads] = {"grpc-threads", SETTING_NUMBER, "0", 0, 16,
                             "gRPC threads; 0: half the cores"},
    [CONFIG_requests_max] = {"requests-max", SETTING_NUMBER, "4096", 1, 60000,
                             "client requests in flight; more are refused at once"},
    [CONFIG_value_bytes_max] = {"value-bytes-max", SETTING_SIZE, "1MiB", 1024,
                                VALUE_BYTES_MAX_CEILING, "largest value"},
    [CONFIG_anti_entropy_interval] = {"anti-entropy-interval", SETTING_NUMBER, "3600", 1, 604800,
                                      "seconds within which every two replicas of a vnode are "
                                      "compared, always"},
    [CONFIG_anti_entropy_rate] = {"anti-entropy-rate", SETTING_SIZE, "16MiB", 65536,
                                  (uint64_t)1 << 40,
                                  "bytes a second that comparing and repairing replicas may send "
                                  "and receive"},
    [CONFIG_move_bytes_per_second] = {"move-bytes-per-second", SETTING_SIZE, "64MiB", 65536,
                                      (uint64_t)1 << 40,
                                      "bytes a second that this node copies of partitions that "
                                      "it receives, where a change has no pace of its own"},
    [CONFIG_hints_bytes] = {"hints-bytes", SETTING_SIZE, "1GiB", 0, (uint64_t)1 << 44,
                            "how much this node keeps for one other that is away (four times that "
                            "in all); beyond it the range is left to anti-entropy; 0: no hints"},
    [CONFIG_hints_age] = {"hints-age", SETTING_NUMBER, "604800", 1, 31536000,
                          "seconds after which a hint is given up and its range left to "
                          "anti-entropy"},
    [CONFIG_reap_after] = {"reap-after", SETTING_NUMBER, "600", 0, 31536000,
                           "seconds that a tombstone or an expired value is left alone before the "
                           "replicas may agree to remove it; they do when all members are there"},
    [CONFIG_forward_remote_writes] = {"forward-remote-writes", SETTING_NUMBER, "1", 0, 1,
                                      "1: a write crosses to each other data centre once, and a "
                                      "replica there passes it on; 0: once for each replica there"},
    [CONFIG_drain_ms] = {"drain-ms", SETTING_NUMBER, "5000", 0, 600000,
                         "how long SIGTERM lets running requests finish"},
    [CONFIG_log_level] = {"log-level", SETTING_LOG_LEVEL, "info", 0, 0,
                          "debug, info, warning or error"},
};

int setting_find(const char *name)
{
    for (int i = 0; i < CONFIG_KEY_COUNT; i++) {
        if (strcmp(setting_table[i].name, name) == 0)
            return i;
    }
    return -1;
}

void setting_variable(const struct setting *setting, char ret_name[64])
{
    int size = snprintf(ret_name, 64, "COTERIE_%s", setting->name);
    for (int i = 0; i < size && i < 63; i++)
        ret_name[i] = ret_name[i] == '-' ? '_' : (char)toupper((unsigned char)ret_name[i]);
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

static bool parse_log_level(const char *text, uint64_t *ret_level)
{
    for (int level = 0; level < LOG_LEVEL_COUNT; level++) {
        if (strcasecmp(text, log_level_text((enum log_level)level)) == 0) {
            *ret_level = (uint64_t)level;
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

/* "32MiB"; bytes where nothing rounder is the same. */
static const char *limit_text(const struct setting *setting, uint64_t limit, char text[32])
{
    static const char *const units[] = {"", "KiB", "MiB", "GiB", "TiB"};
    size_t unit = 0;
    while (setting->type == SETTING_SIZE && limit != 0 && limit % 1024 == 0 &&
           unit + 1 < sizeof units / sizeof units[0]) {
        limit /= 1024;
        unit++;
    }
    snprintf(text, 32, "%" PRIu64 "%s", limit, units[unit]);
    return text;
}

enum err setting_value(const struct setting *setting, const char *text, const char *origin,
                       uint64_t *ret_value, char *why, size_t why_size)
{
    uint64_t value = 0;
    bool good = false;
    char limits[2][32];
    switch (setting->type) {
    case SETTING_TEXT:
        good = strlen(text) >= setting->min && strlen(text) <= setting->max;
        if (!good)
            snprintf(why, why_size, "%s (%s): %zu bytes, allowed are %" PRIu64 " to %" PRIu64,
                     setting->name, origin, strlen(text), setting->min, setting->max);
        break;
    case SETTING_WORD:
        good = strlen(text) >= setting->min && topology_word_valid(text, setting->max);
        if (!good)
            snprintf(why, why_size,
                     "%s (%s): \"%.80s\" is not %" PRIu64 " to %" PRIu64
                     " visible ASCII characters, without blanks",
                     setting->name, origin, text, setting->min, setting->max);
        break;
    case SETTING_ADDRESS:
        good =
            strlen(text) <= setting->max && (*text == '\0' ? setting->min == 0 : is_address(text));
        if (!good)
            snprintf(why, why_size, "%s (%s): \"%.300s\" is not host:port", setting->name, origin,
                     text);
        break;
    case SETTING_NUMBER:
    case SETTING_SIZE:
        good = parse_number(text, setting->type == SETTING_SIZE, &value) && value >= setting->min &&
               value <= setting->max;
        if (!good)
            snprintf(why, why_size, "%s (%s): \"%s\" is not a %s between %s and %s", setting->name,
                     origin, text,
                     setting->type == SETTING_SIZE ? "size (64MiB, 1GiB, ...)" : "number",
                     limit_text(setting, setting->min, limits[0]),
                     limit_text(setting, setting->max, limits[1]));
        break;
    case SETTING_SWITCH:
        value = strcmp(text, "true") == 0;
        good = value == 1 || strcmp(text, "false") == 0;
        if (!good)
            snprintf(why, why_size, "%s (%s): \"%s\" is not true or false", setting->name, origin,
                     text);
        break;
    case SETTING_LOG_LEVEL:
        good = parse_log_level(text, &value);
        if (!good)
            snprintf(why, why_size, "%s (%s): \"%s\" is not debug, info, warning or error",
                     setting->name, origin, text);
        break;
    }
    if (!good)
        return ERR_INVALID;
    *ret_value = value;
    return OK;
}
