/* coteried: reads its settings, starts a node, waits for signals. */
#include "node/http.h"
#include "node/log_sink.h"
#include "node/node.h"

#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define EXIT_BAD_SETTINGS 2
#define EXIT_NOT_WANTED                                                                            \
    78 /* as sysexits.h calls it: a mistake in the set-up, not worth a retry                       \
        */

/* Threads inherit the mask: only this thread takes the signals, by sigwait. */
static sigset_t block_signals(void)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    sigaddset(&signals, NODE_END_SIGNAL);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    return signals;
}

#define NO_SPACE_BYTES (64u * 1024)

static const char *abort_directory;

/* RocksDB as Debian builds it asserts that nobody touches a log behind a failed write to it, and
 * another thread may be about to when the disk has just run full: the cause is told all the same.
 */
static void on_abort(int number)
{
    (void)number;
    static const char text[] =
        "coteried: no space is left on the disk of the data directory, the process ends; nothing "
        "that was acknowledged is lost. Free some space, then start it again.\n";
    struct statvfs space;
    if (statvfs(abort_directory, &space) != 0 ||
        (uint64_t)space.f_bavail * space.f_frsize >= NO_SPACE_BYTES)
        return; /* abort() goes on */
    ssize_t written = write(STDERR_FILENO, text, sizeof text - 1);
    (void)written;
    _exit(EXIT_DISK_FAILED);
}

static void reload(struct node *node, struct config *config)
{
    char why[512];
    if (config_reload_log_level(config, why, sizeof why) != OK) {
        log_write(&node->log, LOG_ERROR, "reload_failed", "why=\"%s\"", why);
        return;
    }
    node->log.level = config->log_level;
    log_write(&node->log, LOG_INFO, "reloaded", "log_level=%s", log_level_text(config->log_level));
}

static void announce(const struct node *node)
{
    const struct config *config = node->config;
    fprintf(
        stdout,
        "coteried %s: node %s is ready in %llu ms\n  clients  %s\n  peers    %s\n"
        "  http     %s\n  data     %s\n",
        COTERIE_VERSION, config->text[CONFIG_name],
        (unsigned long long)((runtime_now_ns() - node->started_ns) / 1000000u),
        config->text[CONFIG_client_address], topology_member(&node->topology, node->self)->address,
        config->text[CONFIG_http_address][0] == '\0' ? "off" : config->text[CONFIG_http_address],
        config->text[CONFIG_data_dir]);
    fflush(stdout);
}

/* One life of the node, until a signal or a peer ends it. `renewal` is the end of the life before,
 * NULL for the first. */
static int live(struct node *node, struct config *config, const struct log *log,
                const sigset_t *signals, const struct incarnation_answer *renewal)
{
    char why[1024] = "";
    enum err err = node_start(node, config, log, renewal, why, sizeof why);
    if (err == ERR_CLOSED) {
        log_write(log, LOG_INFO, "stopped", "why=\"%s\"", why);
        return EXIT_SUCCESS;
    }
    if (err != OK) {
        fprintf(stderr, "coteried: %s\n", why);
        if (node->end == NODE_WAS_REMOVED)
            return EXIT_NOT_WANTED;
        return err == ERR_INVALID ? EXIT_BAD_SETTINGS : EXIT_FAILURE;
    }
    if (node_end(node) == NODE_GOES_ON)
        announce(node);
    int received = 0;
    while (
        sigwait(signals, &received) == 0 &&
        (received == SIGHUP || (received == NODE_END_SIGNAL && node_end(node) == NODE_GOES_ON))) {
        if (received == SIGHUP)
            reload(node, config);
    }
    log_write(&node->log, LOG_INFO, "draining", "signal=%d", received);
    bool clean = node_stop(node);
    log_write(log, LOG_INFO, "stopped", "clean=%s", clean ? "yes" : "no");
    return EXIT_SUCCESS;
}

static int complain_duplicate(const struct node *node)
{
    fprintf(stderr,
            "coteried: another process of node %s is running, node %s is connected to it. Two "
            "processes of one node must not run: end one of them. If %s is a copy of a directory "
            "that is in use, do not start it; if the node has moved, end the old one first.\n",
            node->config->text[CONFIG_name], node->judge, node->config->text[CONFIG_data_dir]);
    return EXIT_NOT_WANTED;
}

static int complain_removed(const struct node *node)
{
    fprintf(stderr,
            "coteried: node %s is no member of its cluster any more%s%s: it has left, or was taken "
            "out as gone. It does not come back. Its copies are elsewhere by now, so %s may be "
            "deleted; to run a node here again, start it with an empty directory and --join.\n",
            node->config->text[CONFIG_name], node->judge[0] == '\0' ? "" : ", says node ",
            node->judge, node->config->text[CONFIG_data_dir]);
    return EXIT_NOT_WANTED;
}

static int run(struct config *config)
{
    static struct node node; /* threads hold pointers into it */
    sigset_t signals = block_signals();
    abort_directory = config->text[CONFIG_data_dir];
    signal(SIGABRT, on_abort);
    /* Threads of gRPC and RocksDB would each keep an arena of their own. */
    mallopt(M_ARENA_MAX, 2);
    struct log log = log_sink_stderr(config->log_level, config->text[CONFIG_name]);
    rpc_library_init(&log);
    runtime_thread_register();
    if (config->unknown_variable[0] != '\0')
        log_write(&log, LOG_WARNING, "unknown_variable",
                  "name=%s what_now=\"coteried --help lists the settings\"",
                  config->unknown_variable);
    int status = live(&node, config, &log, &signals, NULL);
    while (status == EXIT_SUCCESS && node.end == NODE_RENEWS) {
        struct incarnation_answer renewal = node.renewal;
        status = live(&node, config, &log, &signals, &renewal);
    }
    if (status == EXIT_SUCCESS && node.end == NODE_IS_DUPLICATE)
        status = complain_duplicate(&node);
    if (status == EXIT_SUCCESS && node.end == NODE_WAS_REMOVED)
        status = complain_removed(&node);
    runtime_thread_unregister();
    rpc_library_shutdown();
    return status;
}

int main(int argc, char **argv)
{
    struct config config;
    enum config_action action;
    char why[1024];
    if (config_load(argc, argv, &config, &action, why, sizeof why) != OK) {
        fprintf(stderr, "coteried: %s\n", why);
        return EXIT_BAD_SETTINGS;
    }
    int status = EXIT_SUCCESS;
    switch (action) {
    case CONFIG_RUN:
        status = run(&config);
        break;
    case CONFIG_HELP:
        config_help(stdout);
        break;
    case CONFIG_VERSION:
        printf("coteried %s\n", COTERIE_VERSION);
        break;
    case CONFIG_PRINT:
    case CONFIG_PRINT_ORIGIN:
        config_print(&config, action == CONFIG_PRINT_ORIGIN, stdout);
        break;
    }
    config_deinit(&config);
    return status;
}
