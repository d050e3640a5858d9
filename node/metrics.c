/* /metrics: what Prometheus scrapes. Names follow its conventions: unit last, _total for counters.
 */
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

static void header(FILE *out, const char *name, const char *type, const char *help)
{
    fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void metric(FILE *out, const char *name, const char *type, const char *help, uint64_t value)
{
    header(out, name, type, help);
    fprintf(out, "%s %" PRIu64 "\n", name, value);
}

static void write_operations(FILE *out, const struct node *node)
{
    struct rpc_operation_figures figures[RPC_OPERATION_COUNT];
    for (int i = 0; i < RPC_OPERATION_COUNT; i++)
        rpc_server_figures(node->server, (enum rpc_operation)i, &figures[i]);
    header(out, "coterie_requests_total", "counter", "Client requests by operation and gRPC code.");
    for (int i = 0; i < RPC_OPERATION_COUNT; i++) {
        for (int code = 0; code < RPC_CODES; code++) {
            if (figures[i].errors[code] != 0 || code == 0)
                fprintf(out, "coterie_requests_total{operation=\"%s\",code=\"%s\"} %" PRIu64 "\n",
                        operation_texts[i], rpc_code_name(code), figures[i].errors[code]);
        }
    }
    header(out, "coterie_request_duration_seconds", "histogram",
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
    metric(out, "coterie_requests_in_flight", "gauge", "Client requests being worked on.",
           rpc_server_in_flight(node->server));
    metric(out, "coterie_requests_refused_total", "counter",
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
        header(out, columns[column].name, columns[column].type, columns[column].help);
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
    metric(out, "coterie_store_" #field "_total", "counter", help, figures.field)
#define GAUGE(field, help) metric(out, "coterie_store_" #field, "gauge", help, figures.field)
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
    header(out, "coterie_store_sync_seconds_total", "counter", "Time spent in syncs.");
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
    header(out, "coterie_peer_connected", "gauge", "1 while the link to the peer is up.");
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
    metric(out, "coterie_generation_raises_total", "counter",
           "Times that this node has told its peers how far its directory has gone.",
           totals.raises);
    header(out, "coterie_peer_hellos_total", "counter",
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
    header(out, "coterie_hints_target_oldest_age_seconds", "gauge",
           "Age of the oldest one, as of the last pass over them.");
    for (size_t i = 0; i < count; i++) {
        uint64_t oldest_ms = figures[i].oldest_ms;
        fputs("coterie_hints_target_oldest_age_seconds{", out);
        label_target(out, node, &figures[i]);
        fprintf(out, "} %" PRIu64 "\n",
                oldest_ms != 0 && oldest_ms < wall_ms ? (wall_ms - oldest_ms) / 1000 : 0);
    }
}

static void write_actors(FILE *out, struct node *node)
{
#define SUM(actors, count, kind, field, suffix, type, help)                                        \
    do {                                                                                           \
        uint64_t sum_ = 0;                                                                         \
        for (uint32_t i_ = 0; i_ < node->count; i_++)                                              \
            sum_ += counter_get(&kind##_figures(node->actors[i_])->field);                         \
        metric(out, "coterie_" #kind "_" #field suffix, type, help, sum_);                         \
    } while (0)
#define COORDINATOR(field, help)                                                                   \
    SUM(coordinators, coordinator_count, coordinator, field, "_total", "counter", help)
#define REPLICA(field, help)       SUM(replicas, replica_count, replica, field, "_total", "counter", help)
#define REPLICA_GAUGE(field, help) SUM(replicas, replica_count, replica, field, "", "gauge", help)
#define GOSSIP(field, help)                                                                        \
    metric(out, "coterie_gossip_" #field "_total", "counter", help,                                \
           counter_get(&gossip_figures(node->gossip)->field))
#define HINTS(field, help)                                                                         \
    metric(out, "coterie_hints_" #field "_total", "counter", help,                                 \
           counter_get(&hinted_handoff_figures(node->hinted_handoff)->field))
#define ANTI_ENTROPY(field, help)                                                                  \
    metric(out, "coterie_anti_entropy_" #field "_total", "counter", help,                          \
           counter_get(&anti_entropy_figures(node->anti_entropy)->field))
#define ANTI_ENTROPY_NOW(field, help)                                                              \
    metric(out, "coterie_anti_entropy_" #field, "gauge", help,                                     \
           counter_get(&anti_entropy_figures(node->anti_entropy)->field))
#define REAPER(field, help)                                                                        \
    metric(out, "coterie_reaper_" #field "_total", "counter", help,                                \
           counter_get(&anti_entropy_reaper_figures(node->anti_entropy)->field))
    COORDINATOR(gets, "Reads begun.");
    COORDINATOR(puts, "Writes begun.");
    COORDINATOR(forwarded, "Writes passed on to a replica.");
    COORDINATOR(taken_over, "Writes taken over from a node without a replica.");
    COORDINATOR(read_differed, "Quorum reads whose replicas differed.");
    COORDINATOR(read_repairs, "Replicas repaired before an answer.");
    COORDINATOR(read_again, "Reads begun anew because a repair met a newer floor or was refused.");
    COORDINATOR(left_out, "Reads begun anew without a replica that could not be repaired.");
    COORDINATOR(compared, "Late answers compared with what had been answered.");
    COORDINATOR(compare_skipped, "Answered reads that had no place to wait for late answers.");
    COORDINATOR(late_repairs, "Replicas repaired after an answer.");
    COORDINATOR(late_repairs_failed, "Of those: refused or not answered.");
    COORDINATOR(refreshed, "Writes sent anew because a replica had a newer floor.");
    COORDINATOR(read_late, "Reads that asked more replicas because some were late.");
    COORDINATOR(hedges_sent, "Reads that asked one more replica because an answer was late.");
    COORDINATOR(hedges_won, "Hedged reads answered with the help of the hedge.");
    COORDINATOR(hedges_capped, "Late reads not hedged: hedges were 5 % of the load already.");
    COORDINATOR(asked_again, "Replica reads, repairs and writes sent again.");
    COORDINATOR(timeouts, "Requests that ran into their deadline.");
    COORDINATOR(unavailable, "Requests with too few live replicas.");
    COORDINATOR(answers_late, "Replica answers to requests that had ended.");
    COORDINATOR(registers, "Requests on consistent keyspaces.");
    COORDINATOR(register_fast_reads, "Of those: reads that one question decided.");
    COORDINATOR(register_conflicts, "Of those: attempts that met another's and began again.");
    COORDINATOR(corrupt, "Records from replicas that failed their checksum.");
    COORDINATOR(hints_sent, "Hints sent for replicas that could not take a write.");
    COORDINATOR(replanned, "Requests refused for the epoch of their plan, and planned anew.");
    COORDINATOR(epochs_told, "Times that gossip was told of a newer topology epoch.");
    COORDINATOR(remote_onward,
                "Copies of writes left to a replica of another data centre to be passed on there.");
    COORDINATOR(remote_stranded,
                "Of those, copies sent from here because that replica could not be reached.");
    COORDINATOR(stood_in, "Hints of fallbacks that counted for a write.");
    COORDINATOR(hints_failed, "Hints refused or not delivered; somebody else was asked.");
    SUM(coordinators, coordinator_count, coordinator, settling, "", "gauge",
        "Writes and reads that are answered, and that some replica still lacks or has yet to say.");
    COORDINATOR(unsettled,
                "Writes that left a replica without the write and a hint; anti-entropy was told.");
    REPLICA(minted, "Writes coordinated here.");
    REPLICA(merged, "States merged that changed something.");
    REPLICA(merged_same, "States merged that brought nothing new.");
    REPLICA(passed_on, "Writes from other data centres passed on to replicas of this one.");
    REPLICA(read, "Replica reads.");
    REPLICA(epochs_drawn, "Fresh key epochs.");
    REPLICA(amnesia, "Own writes met that this replica had forgotten.");
    REPLICA(corrupt, "Records that failed their checksum.");
    REPLICA(read_errors, "Reads that the store could not answer.");
    REPLICA(overloaded, "Requests refused by a full store or queue.");
    REPLICA(siblings_refused, "Writes refused because of too many siblings.");
    REPLICA(clock_refused, "Writes refused because their timestamp was too far ahead.");
    REPLICA(reaped, "Tombstones and expired records removed, all replicas having shown the same.");
    REPLICA(clock_entries_pruned, "Clock entries of retired members dropped by writes.");
    REPLICA(requests_repeated, "Puts with a known request id, answered with their first outcome.");
    REPLICA(requests_forgotten,
            "Request ids given up before ten minutes: no room, or a stalled disk.");
    REPLICA(register_queries, "Registers read for a coordinator.");
    REPLICA(register_promises, "Ballots promised.");
    REPLICA(register_accepts, "Values of registers accepted.");
    REPLICA(register_conflicts, "Ballots refused: a greater one stood in the way.");
    REPLICA(register_refused, "Votes not cast: what this copy had promised is lost.");
    REPLICA(incomplete_refused, "Requests to a vnode that is being filled after a loss.");
    REPLICA(stale_floor, "Writes refused because they were read before tombstones were reaped.");
    REPLICA(stale_epoch, "Messages refused: they were planned before the partition's last step.");
    REPLICA(behind, "Messages refused: their sender's topology is newer than this node's.");
    REPLICA(gains, "Copies (of a keyspace in a partition) that changes gave this node, begun.");
    REPLICA(gains_filled, "Such copies that are filled.");
    REPLICA(vnodes_dropped, "Vnodes that changes took from this node, dropped.");
    REPLICA(keyspaces_removed, "Keyspaces that changes took from vnodes that stay here.");
    REPLICA_GAUGE(gains_filling, "Copies that a change gives this node and that are not filled.");
    REPLICA(rows_repaired, "Rows that failed their checksum, replaced by what the others hold.");
    REPLICA(repairs_asked, "Times that the others were asked for such a row.");
    REPLICA(quarantine_full, "Such rows that found no room in the quarantine.");
    REPLICA_GAUGE(
        registers_mute,
        "Copies (partition, keyspace) of consistent keyspaces that were emptied and do not "
        "vote yet.");
    REPLICA(registers_renewed, "Copies of consistent keyspaces that vote again.");
    REPLICA_GAUGE(registers_bad,
                  "Registers that failed their checksum: no vote is cast with them.");
    REPLICA_GAUGE(quarantined, "Rows that failed their checksum and wait for repair.");
    REPLICA(tree_builds, "Vnodes whose hash trees were built from their rows.");
    REPLICA(tree_drift, "Hash trees that did not say what the rows do; must stay 0.");
    REPLICA_GAUGE(trees, "Hash trees.");
    REPLICA_GAUGE(tree_bytes, "Memory of hash trees.");
    REPLICA_GAUGE(tree_keys, "Keys in hash trees.");
    REPLICA_GAUGE(vnodes_incomplete, "Vnodes being filled after a loss, or one keyspace of them.");
    metric(out, "coterie_hints", "gauge", "Hints kept here for replicas that are away.",
           counter_get(&hinted_handoff_figures(node->hinted_handoff)->hints));
    metric(out, "coterie_hints_bytes", "gauge", "Their bytes.",
           counter_get(&hinted_handoff_figures(node->hinted_handoff)->bytes));
    HINTS(stored, "Hints taken.");
    HINTS(delivered, "Hints that their targets have made durable.");
    HINTS(resent, "Hints sent again because no answer came.");
    HINTS(failed, "Hints that could not be delivered and are tried again.");
    HINTS(refused, "Hints not taken.");
    HINTS(overflow, "Hints not taken for want of room: their replicas stay behind.");
    HINTS(expired, "Hints dropped because of their age: their replicas stay behind.");
    HINTS(corrupt, "Hints that failed their checksum: their replicas stay behind.");
    HINTS(stale, "Refusals of hints under an older floor: kept, and the range is looked at.");
    HINTS(rejected, "Hints that their targets refused for good: their replicas stay behind.");
    HINTS(dirty, "Ranges handed to anti-entropy because hints for them were given up.");
    HINTS(retargeted, "Hints whose targets are no replicas any more, kept for those that are.");
    HINTS(orphaned, "Hints of keyspaces that were dropped.");
    HINTS(probes, "Hints sent to a target that had granted no more, to ask again.");
    metric(out, "coterie_hints_targets_paused", "gauge", "Targets whose delivery is paused here.",
           counter_get(&hinted_handoff_figures(node->hinted_handoff)->paused));
    ANTI_ENTROPY(exchanges, "Comparisons of two replicas of a vnode begun.");
    ANTI_ENTROPY(exchanges_equal, "Comparisons that found both the same.");
    ANTI_ENTROPY(exchanges_failed, "Comparisons that proved nothing; tried again later.");
    ANTI_ENTROPY(brought_forward,
                 "Times that all comparisons were brought forward: a member was back.");
    ANTI_ENTROPY(keys_sent, "Records that peers made durable because they lacked them.");
    ANTI_ENTROPY(keys_received, "Records that this node made durable because it lacked them.");
    ANTI_ENTROPY(bytes_moved, "Bytes to and from peers for that, by the payload.");
    ANTI_ENTROPY(bytes_gained, "Bytes of keys and values that changes have given this node.");
    ANTI_ENTROPY(stale_floor, "Records refused because their source may hold what was reaped.");
    ANTI_ENTROPY(floors_raised, "Floors that lagged behind another replica's and were raised.");
    ANTI_ENTROPY(asked_again, "Questions and records sent again because no answer came.");
    ANTI_ENTROPY(dirty_marked, "Reports that a replica may lack something.");
    ANTI_ENTROPY(dirty_lost, "Such reports for which there was no room, or no member any more.");
    ANTI_ENTROPY(gains_filled, "Copies that changes gave this node, filled from the old replicas.");
    ANTI_ENTROPY(fills, "Comparisons begun to fill them.");
    ANTI_ENTROPY(fill_bytes, "Bytes to and from peers for that, by the payload.");
    ANTI_ENTROPY(registers_settled, "Registers decided once more because their replicas change.");
    ANTI_ENTROPY(completed, "Vnodes that were lost and have been filled again.");
    ANTI_ENTROPY(records_repaired, "Rows that failed their checksum and were fetched again.");
    ANTI_ENTROPY(records_missing, "Such rows that no other replica holds.");
    ANTI_ENTROPY(store_errors, "Rows of its own that could not be read or written.");
    ANTI_ENTROPY_NOW(exchanges_running, "Comparisons under way.");
    ANTI_ENTROPY_NOW(dirty, "Replicas that may lack something and wait for their comparison.");
    ANTI_ENTROPY_NOW(incomplete, "Vnodes of this node that are being filled.");
    ANTI_ENTROPY_NOW(refills, "Keyspaces that such a vnode still lacks: rows are bad elsewhere.");
    ANTI_ENTROPY_NOW(gains, "Copies that a change gives this node and that are being filled.");
    ANTI_ENTROPY_NOW(ranges, "Pairs of replicas that this node compares.");
    ANTI_ENTROPY_NOW(ranges_proven, "Among them: proven identical since the start.");
    ANTI_ENTROPY_NOW(tasks, "Repairs running.");
    header(out, "coterie_anti_entropy_identical_as_of_seconds", "gauge",
           "Wall clock: every pair that this node compares was identical as of then; 0: not yet.");
    fprintf(out, "coterie_anti_entropy_identical_as_of_seconds %.3f\n",
            (double)counter_get(&anti_entropy_figures(node->anti_entropy)->identical_as_of_ms) *
                1e-3);
    REAPER(turns, "Turns through all vnodes that this node reaps in.");
    REAPER(rounds, "Rounds that asked all replicas what they hold dead.");
    REAPER(put_off,
           "Rounds and turns put off: a member or its answer was missing, or hints were kept.");
    REAPER(reaped, "Tombstones and expired records removed everywhere.");
    GOSSIP(documents_adopted, "Topology documents put in force here.");
    GOSSIP(documents_split, "Peers met with another topology document of the same epoch.");
    GOSSIP(documents_decided, "Of those: decided in rounds of this node.");
    GOSSIP(ballots, "Rounds begun to decide on a document.");
    GOSSIP(proposals_unknown, "Changes whose outcome this node could not tell.");
    GOSSIP(rounds, "Gossip rounds.");
    GOSSIP(convictions, "Peers that went down.");
    GOSSIP(revivals, "Peers that came back.");
    GOSSIP(self_doubts, "Rounds without convictions after a pause of this process.");
    GOSSIP(views, "Views published.");
#undef SUM
#undef COORDINATOR
#undef REPLICA
#undef REPLICA_GAUGE
#undef GOSSIP
#undef HINTS
#undef ANTI_ENTROPY
#undef ANTI_ENTROPY_NOW
#undef REAPER
}

static void write_change(FILE *out, const struct topology *topology)
{
    static const char *const names[] = {"waiting", "announced", "copied", "done"};
    uint32_t phases[ARRAY_COUNT(names)] = {0};
    bool runs = topology->change.state == CHANGE_RUNNING;
    for (uint32_t i = 0; i < topology->partitions && runs; i++)
        phases[topology->phases[i]]++;
    metric(out, "coterie_topology_change_running", "gauge", "1 while partitions go over.", runs);
    metric(out, "coterie_topology_change_paused", "gauge", "1 while that is paused.",
           topology->change.paused);
    header(out, "coterie_topology_change_partitions", "gauge",
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
    header(out, "coterie_info", "gauge", "Constant 1; who this is.");
    fprintf(out, "coterie_info{version=\"%s\",node=\"%s\"} 1\n", COTERIE_VERSION,
            node->config->text[CONFIG_name]);
    metric(out, "coterie_uptime_seconds", "gauge", "Since the start.",
           (runtime_now_ns() - node->started_ns) / 1000000000u);
    metric(out, "coterie_generation", "gauge", "Starts of this node.",
           identity_starts(node->boot.generation));
    struct view *view = runtime_view_ref(node->runtime);
    header(out, "coterie_member_alive", "gauge", "1 while this node believes the member is alive.");
    for (uint32_t i = 0; i < view->topology.member_count; i++)
        if (view->topology.members[i].status != MEMBER_REMOVED)
            fprintf(out, "coterie_member_alive{member=\"%s\"} %d\n", view->topology.members[i].name,
                    view_alive(view, view->topology.members[i].number) ? 1 : 0);
    metric(out, "coterie_topology_epoch", "gauge", "Epoch of the topology document.",
           view->topology.epoch);
    write_change(out, &view->topology);
    convergence_metrics(node, view, out);
    view_unref(view);
    write_operations(out, node);
    write_mailboxes(out, node);
    write_actors(out, node);
    write_hint_targets(out, node);
    write_store(out, node);
    write_peers(out, node);
    fclose(out);
    return text;
}
