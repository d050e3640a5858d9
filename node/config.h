/* config.h -- the daemon's settings: flag > COTERIE_* > YAML file > default. One table names them
 * all.
 *
 * A setting `data-dir` is --data-dir, COTERIE_DATA_DIR and `data-dir:` in the file. Unknown keys
 * are refused; an unknown COTERIE_* variable is warned of.
 */
#ifndef NODE_CONFIG_H
#define NODE_CONFIG_H

#include "base/err.h"
#include "base/log.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum config_origin { CONFIG_DEFAULT, CONFIG_FILE, CONFIG_ENVIRONMENT, CONFIG_FLAG };

enum config_key {
    CONFIG_name,
    CONFIG_data_dir,
    CONFIG_client_address,
    CONFIG_peer_address,
    CONFIG_http_address,
    CONFIG_advertise_address,
    CONFIG_initial_cluster,
    CONFIG_join,
    CONFIG_join_hold,
    CONFIG_cluster_key_file,
    CONFIG_data_center,
    CONFIG_zone,
    CONFIG_weight,
    CONFIG_partitions,
    CONFIG_memory,
    CONFIG_coordinators,
    CONFIG_replicas,
    CONFIG_grpc_threads,
    CONFIG_requests_max,
    CONFIG_value_bytes_max,
    CONFIG_anti_entropy_interval,
    CONFIG_anti_entropy_rate,
    CONFIG_move_bytes_per_second,
    CONFIG_hints_bytes,
    CONFIG_hints_age,
    CONFIG_reap_after,
    CONFIG_forward_remote_writes,
    CONFIG_drain_ms,
    CONFIG_log_level,
    CONFIG_KEY_COUNT
};

struct config {
    char *text[CONFIG_KEY_COUNT]; /* owned */
    enum config_origin origin[CONFIG_KEY_COUNT];
    char *file; /* --config, or NULL */
    /* The numbers among them, checked. */
    uint64_t number[CONFIG_KEY_COUNT];
    enum log_level log_level;
    char unknown_variable[64]; /* a COTERIE_* variable that is no setting: worth a warning */
};

enum config_action { CONFIG_RUN, CONFIG_HELP, CONFIG_VERSION, CONFIG_PRINT, CONFIG_PRINT_ORIGIN };

/* Reads flags, environment and file. INVALID with a sentence in `why` that says what to do. */
enum err config_load(int argc, char **argv, struct config *ret_config,
                     enum config_action *ret_action, char *why, size_t why_size) MUST_USE;
/* The file and environment again (SIGHUP): only the log level is taken over. */
enum err config_reload_log_level(struct config *config, char *why, size_t why_size) MUST_USE;
void config_deinit(struct config *config);
void config_print(const struct config *config, bool origin, FILE *out);
void config_help(FILE *out);

#endif
