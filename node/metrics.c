/* /metrics: what Prometheus scrapes. Names follow its conventions: unit last, _total for counters.
 */
#include "node/metrics.h"
#include "node/convergence.h"
#include "node/http.h"
#include "node/node.h"
#include "rpc/code.h"

#include <inttypes.h>
#include <stdlib.h>

static const char *const operation_texts[RPC_OPERATION_COUNT] = {
    [RPC_GET] = "get",
    [RPC_PUT] = "put",
    [RPC_DELETE] = "delete",
    [RPC_COMPARE_AND_SET] = "compare_and_set",
    [RPC_BATCH_GET] = "batch_get",
    [RPC_BATCH_WRITE] = "batch_write",
    [RPC_CLUSTER] = "cluster",
    [RPC_NULL] = "null",
};

void metrics_write_header(FILE *out, const char *name, const char *type, const char *help)
{
    fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

void metrics_write_number(FILE *out, const char *name, const char *type, const char *help,
                          uint64_t value)
{
    metrics_write_header(out, name, type, help);
    fprintf(out, "%s %" PRIu64 "\n", name, value);
}

static void write_operations(FILE *out, const struct node *node)
{
    struct rpc_operation_figures figures[RPC_OPERATION_COUNT];
    for (int i = 0; i < RPC_OPERATION_COUNT; i++)
        rpc_server_figures(node->server, (enum rpc_operation)i, &figures[i]);
    metrics_write_header(out, "coterie_requests_total", "counter",
                         "Client requests by operation and gRPC code.");
    for (int i = 0; i < RPC_OPERATION_COUNT; i++) {
        for (int code = 0; code < RPC_CODES; code++) {
            if (figures[i].errors[code] != 0 || code == 0)
                fprintf(out, "coterie_requests_total{operation=\"%s\",code=\"%s\"} %" PRIu64 "\n",
                        operation_texts[i], rpc_code_name(code), figures[i].errors[code]);
        }
    }
    metrics_write_header(out, "coterie_request_duration_seconds", "histogram",
                         "Time from a request's arrival to its answer.");
    for (int i = 0; i < RPC_OPERATION_COUNT; i++) {
        uint64_t total = 0;
        for (unsigned bucket = 0; bucket + 1 < RPC_LATENCY_BUCKETS; bucket++) {
            total += figures[i].latency[bucket];
            fprintf(out,
                    "coterie_request_duration_seconds_bucket{operation=\"%s\",le=\"%g\"} %" PRIu64
                    "\n",
                    operation_texts[i], (double)((uint64_t)16 << bucket) * 1e-6, total);
        }
        total += figures[i].latency[RPC_LATENCY_BUCKETS - 1];
        fprintf(out,
                "coterie_request_duration_seconds_bucket{operation=\"%s\",le=\"+Inf\"} %" PRIu64
                "\ncoterie_request_duration_seconds_sum{operation=\"%s\"} %g\n"
                "coterie_request_duration_seconds_count{operation=\"%s\"} %" PRIu64 "\n",
                operation_texts[i], total, operation_texts[i],
                (double)figures[i].latency_ns_total * 1e-9, operation_texts[i], total);
    }
    metrics_write_number(out, "coterie_requests_in_flight", "gauge",
                         "Client requests being worked on.", rpc_server_in_flight(node->server));
    metrics_write_number(out, "coterie_requests_refused_total", "counter",
                         "Client requests refused at the door because too many were in flight.",
                         rpc_server_refused(node->server));
}

/* One metric of many rows: a uint64_t at `offset` in each. */
struct column {
    const char *name;
    const char *type;
    const char *help;
    size_t offset;
};

/* `label` writes what stands between the braces for a row. */
static void write_columns(FILE *out, const struct column *columns, size_t column_count,
                          const void *rows, size_t row_bytes, size_t row_count,
                          void (*label)(FILE *out, struct node *node, const void *row),
                          struct node *node)
{
    for (size_t column = 0; column < column_count; column++) {
        metrics_write_header(out, columns[column].name, columns[column].type, columns[column].help);
        for (size_t i = 0; i < row_count; i++) {
            const char *row = (const char *)rows + i * row_bytes;
            uint64_t value;
            memcpy(&value, row + columns[column].offset, sizeof value);
            fprintf(out, "%s{", columns[column].name);
            label(out, node, row);
            fprintf(out, "} %" PRIu64 "\n", value);
        }
    }
}

static void label_mailbox(FILE *out, struct node *node, const void *row)
{
    (void)node;
    const struct mailbox_figures *figures = row;
    fprintf(out, "actor=\"%s\",index=\"%u\"", figures->actor_name, figures->id.index);
}

static void label_peer(FILE *out, struct node *node, const void *row)
{
    const struct rpc_peer_figures *figures = row;
    char name[NODE_NAME_MAX + 1];
    node_member_name(node, figures->member, name);
    fprintf(out, "peer=\"%s\"", name);
}

static void write_mailboxes(FILE *out, struct node *node)
{
    struct mailbox_figures figures[RUNTIME_ACTORS_MAX];
    size_t count = runtime_mailbox_figures(node->runtime, figures, RUNTIME_ACTORS_MAX);
    static const struct column columns[] = {
        {"coterie_mailbox_depth", "gauge", "Messages waiting.",
         offsetof(struct mailbox_figures, depth)},
        {"coterie_mailbox_depth_max", "gauge", "Most messages that ever waited.",
         offsetof(struct mailbox_figures, depth_max)},
        {"coterie_mailbox_posted_total", "counter", "Messages posted.",
         offsetof(struct mailbox_figures, posted)},
        {"coterie_mailbox_dropped_total", "counter", "Messages dropped because it was full.",
         offsetof(struct mailbox_figures, dropped)},
        {"coterie_mailbox_batches_total", "counter", "Drained batches.",
         offsetof(struct mailbox_figures, drained_batches)},
        {"coterie_mailbox_wakeups_total", "counter", "Wake-ups of the actor's thread.",
         offsetof(struct mailbox_figures, wakeups)},
        {"coterie_mailbox_lost_wakeups_total", "counter",
         "Waits that ended by time-out and found work; always 0.",
         offsetof(struct mailbox_figures, park_timeouts_with_work)},
    };
    write_columns(out, columns, ARRAY_COUNT(columns), figures, sizeof figures[0], count,
                  label_mailbox, node);
}

static void write_store(FILE *out, struct node *node)
{
    struct engine_figures figures;
    engine_figures(node->engine, &figures);
#define COUNTER(field, help)                                                                       \
    metrics_write_number(out, "coterie_store_" #field "_total", "counter", help, figures.field)
#define GAUGE(field, help)                                                                         \
    metrics_write_number(out, "coterie_store_" #field, "gauge", help, figures.field)
    COUNTER(staged, "Writes staged in the commit log.");
    COUNTER(reads, "Point reads.");
    COUNTER(cache_hits, "Point reads of hot records, without RocksDB.");
    COUNTER(syncs, "Syncs of the commit log.");
    COUNTER(synced_writes, "Writes made durable by them.");
    COUNTER(refused, "Writes refused because the store was stalled or out of space.");
    COUNTER(background_errors, "RocksDB background errors.");
    GAUGE(partitions_open, "Column families of vnodes.");
    GAUGE(memtable_bytes, "Memtables, all vnodes.");
    GAUGE(block_cache_bytes, "Block cache in use.");
    GAUGE(table_reader_bytes, "Table readers outside the block cache.");
    GAUGE(sst_bytes, "SSTables on disk.");
    GAUGE(wal_bytes, "Commit log on disk.");
    GAUGE(keys_estimate, "Estimated keys, all vnodes.");
    GAUGE(pending_compaction_bytes, "Bytes that compaction has to rewrite.");
    GAUGE(running_compactions, "Compactions running.");
    COUNTER(compactions_for_space, "Compactions of vnodes in which much was deleted.");
    GAUGE(running_flushes, "Flushes running.");
    GAUGE(write_stopped, "1 while RocksDB refuses writes.");
#undef COUNTER
#undef GAUGE
    metrics_write_header(out, "coterie_store_sync_seconds_total", "counter",
                         "Time spent in syncs.");
    fprintf(out, "coterie_store_sync_seconds_total %g\n", (double)figures.sync_ns_total * 1e-9);
}

static void write_peers(FILE *out, struct node *node)
{
    struct rpc_peer_figures figures[MEMBERS_MAX];
    size_t count = rpc_peers_figures(node->peers, figures, MEMBERS_MAX);
    static const struct column columns[] = {
        {"coterie_peer_messages_sent_total", "counter", "Messages sent.",
         offsetof(struct rpc_peer_figures, messages_sent)},
        {"coterie_peer_messages_received_total", "counter", "Messages received.",
         offsetof(struct rpc_peer_figures, messages_received)},
        {"coterie_peer_messages_dropped_total", "counter",
         "Messages dropped: link down or queue full.",
         offsetof(struct rpc_peer_figures, messages_dropped)},
        {"coterie_peer_frames_sent_total", "counter", "Frames that carried them.",
         offsetof(struct rpc_peer_figures, frames_sent)},
        {"coterie_peer_bytes_sent_total", "counter", "Bytes sent.",
         offsetof(struct rpc_peer_figures, bytes_sent)},
        {"coterie_peer_bytes_received_total", "counter", "Bytes received.",
         offsetof(struct rpc_peer_figures, bytes_received)},
        {"coterie_peer_queue_bytes", "gauge", "Bytes waiting for the link.",
         offsetof(struct rpc_peer_figures, queue_bytes)},
        {"coterie_peer_reconnects_total", "counter", "Times the link was opened again.",
         offsetof(struct rpc_peer_figures, reconnects)},
    };
    metrics_write_header(out, "coterie_peer_connected", "gauge",
                         "1 while the link to the peer is up.");
    for (size_t i = 0; i < count; i++) {
        char name[NODE_NAME_MAX + 1];
        node_member_name(node, figures[i].member, name);
        fprintf(out, "coterie_peer_connected{peer=\"%s\"} %d\n", name,
                figures[i].connected ? 1 : 0);
    }
    write_columns(out, columns, ARRAY_COUNT(columns), figures, sizeof figures[0], count, label_peer,
                  node);
    static const char *const verdicts[] = {
#define X(name, text) #name,
        IDENTITY_VERDICT_TABLE(X)
#undef X
    };
    struct rpc_peers_totals totals;
    rpc_peers_totals(node->peers, &totals);
    metrics_write_number(out, "coterie_generation_raises_total", "counter",
                         "Times that this node has told its peers how far its directory has gone.",
                         totals.raises);
    metrics_write_header(out, "coterie_peer_hellos_total", "counter",
                         "Hellos of peers by what this node made of them, either direction.");
    for (size_t i = 0; i < IDENTITY_VERDICTS; i++) {
        fputs("coterie_peer_hellos_total{verdict=\"", out);
        for (const char *c = verdicts[i]; *c != '\0'; c++)
            fputc(*c | 0x20, out);
        fprintf(out, "\"} %" PRIu64 "\n", totals.verdicts[i]);
    }
}

static void label_target(FILE *out, struct node *node, const void *row)
{
    const struct hint_target_figures *figures = row;
    char name[NODE_NAME_MAX + 1];
    node_member_name(node, figures->member, name);
    fprintf(out, "target=\"%s\"", name);
}

static void write_hint_targets(FILE *out, struct node *node)
{
    struct hint_target_figures figures[MEMBERS_MAX];
    size_t count =
        hinted_handoff_targets(node->hinted_handoff, runtime_now_ns(), figures, MEMBERS_MAX);
    uint64_t wall_ms = runtime_wall_ms();
    static const struct column columns[] = {
        {"coterie_hints_target", "gauge", "Hints kept here for this node.",
         offsetof(struct hint_target_figures, hints)},
        {"coterie_hints_target_bytes", "gauge", "Their bytes.",
         offsetof(struct hint_target_figures, bytes)},
    };
    write_columns(out, columns, ARRAY_COUNT(columns), figures, sizeof figures[0], count,
                  label_target, node);
    metrics_write_header(out, "coterie_hints_target_oldest_age_seconds", "gauge",
                         "Age of the oldest one, as of the last pass over them.");
    for (size_t i = 0; i < count; i++) {
        uint64_t oldest_ms = figures[i].oldest_ms;
        fputs("coterie_hints_target_oldest_age_seconds{", out);
        label_target(out, node, &figures[i]);
        fprintf(out, "} %" PRIu64 "\n",
                oldest_ms != 0 && oldest_ms < wall_ms ? (wall_ms - oldest_ms) / 1000 : 0);
    }
}

static void write_change(FILE *out, const struct topology *topology)
{
    static const char *const names[] = {"waiting", "announced", "copied", "done"};
    uint32_t phases[ARRAY_COUNT(names)] = {0};
    bool runs = topology->change.state == CHANGE_RUNNING;
    for (uint32_t i = 0; i < topology->partitions && runs; i++)
        phases[topology->phases[i]]++;
    metrics_write_number(out, "coterie_topology_change_running", "gauge",
                         "1 while partitions go over.", runs);
    metrics_write_number(out, "coterie_topology_change_paused", "gauge", "1 while that is paused.",
                         topology->change.paused);
    metrics_write_header(out, "coterie_topology_change_partitions", "gauge",
                         "Partitions by the phase of the change that runs.");
    for (size_t i = 0; i < ARRAY_COUNT(names); i++)
        fprintf(out, "coterie_topology_change_partitions{phase=\"%s\"} %" PRIu32 "\n", names[i],
                phases[i]);
}

char *metrics_text(struct node *node)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    CHECK(out != NULL);
    metrics_write_header(out, "coterie_info", "gauge", "Constant 1; who this is.");
    fprintf(out, "coterie_info{version=\"%s\",node=\"%s\"} 1\n", COTERIE_VERSION,
            node->config->text[CONFIG_name]);
    metrics_write_number(out, "coterie_uptime_seconds", "gauge", "Since the start.",
                         (runtime_now_ns() - node->started_ns) / 1000000000u);
    metrics_write_number(out, "coterie_generation", "gauge", "Starts of this node.",
                         identity_starts(node->boot.generation));
    struct view *view = runtime_view_ref(node->runtime);
    metrics_write_header(out, "coterie_member_alive", "gauge",
                         "1 while this node believes the member is alive.");
    for (uint32_t i = 0; i < view->topology.member_count; i++)
        if (view->topology.members[i].status != MEMBER_REMOVED)
            fprintf(out, "coterie_member_alive{member=\"%s\"} %d\n", view->topology.members[i].name,
                    view_alive(view, view->topology.members[i].number) ? 1 : 0);
    metrics_write_number(out, "coterie_topology_epoch", "gauge", "Epoch of the topology document.",
                         view->topology.epoch);
    write_change(out, &view->topology);
    convergence_metrics(node, view, out);
    view_unref(view);
    write_operations(out, node);
    write_mailboxes(out, node);
    metrics_write_actors(node, out);
    write_hint_targets(out, node);
    write_store(out, node);
    write_peers(out, node);
    fclose(out);
    return text;
}
