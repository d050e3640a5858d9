/* /metrics: what the actors count. */
#include "node/metrics.h"
#include "node/node.h"

void metrics_write_actors(const struct node *node, FILE *out)
{
#define SUM(actors, count, kind, field, suffix, type, help)                                        \
    do {                                                                                           \
        uint64_t sum_ = 0;                                                                         \
        for (uint32_t i_ = 0; i_ < node->count; i_++)                                              \
            sum_ += counter_get(&kind##_figures(node->actors[i_])->field);                         \
        metrics_write_number(out, "coterie_" #kind "_" #field suffix, type, help, sum_);           \
    } while (0)
#define COORDINATOR(field, help)                                                                   \
    SUM(coordinators, coordinator_count, coordinator, field, "_total", "counter", help)
#define REPLICA(field, help)       SUM(replicas, replica_count, replica, field, "_total", "counter", help)
#define REPLICA_GAUGE(field, help) SUM(replicas, replica_count, replica, field, "", "gauge", help)
#define GOSSIP(field, help)                                                                        \
    metrics_write_number(out, "coterie_gossip_" #field "_total", "counter", help,                  \
                         counter_get(&gossip_figures(node->gossip)->field))
#define HINTS(field, help)                                                                         \
    metrics_write_number(out, "coterie_hints_" #field "_total", "counter", help,                   \
                         counter_get(&hinted_handoff_figures(node->hinted_handoff)->field))
#define ANTI_ENTROPY(field, help)                                                                  \
    metrics_write_number(out, "coterie_anti_entropy_" #field "_total", "counter", help,            \
                         counter_get(&anti_entropy_figures(node->anti_entropy)->field))
#define ANTI_ENTROPY_NOW(field, help)                                                              \
    metrics_write_number(out, "coterie_anti_entropy_" #field, "gauge", help,                       \
                         counter_get(&anti_entropy_figures(node->anti_entropy)->field))
#define REAPER(field, help)                                                                        \
    metrics_write_number(out, "coterie_reaper_" #field "_total", "counter", help,                  \
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
    COORDINATOR(refused, "Requests refused because too many were in flight.");
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
    REPLICA_GAUGE(vnodes_incomplete,
                  "Vnodes that lack something after a loss, or are unreadable in part.");
    REPLICA_GAUGE(vnodes_unreadable,
                  "Vnodes that the store cannot read in part: emptied when others hold the rest.");
    metrics_write_number(out, "coterie_hints", "gauge",
                         "Hints kept here for replicas that are away.",
                         counter_get(&hinted_handoff_figures(node->hinted_handoff)->hints));
    metrics_write_number(out, "coterie_hints_bytes", "gauge", "Their bytes.",
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
    HINTS(store_errors, "Rows of its own that could not be read or written.");
    metrics_write_number(out, "coterie_hints_targets_paused", "gauge",
                         "Targets whose delivery is paused here.",
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
    ANTI_ENTROPY(records_refused, "Such rows put off: too many were asked for at a time.");
    ANTI_ENTROPY(corrupt, "Answers and rows of its own that could not be understood.");
    ANTI_ENTROPY(store_errors, "Rows of its own that could not be read or written.");
    ANTI_ENTROPY_NOW(exchanges_running, "Comparisons under way.");
    ANTI_ENTROPY_NOW(dirty, "Replicas that may lack something and wait for their comparison.");
    ANTI_ENTROPY_NOW(incomplete, "Vnodes of this node that are being filled.");
    ANTI_ENTROPY_NOW(refills, "Keyspaces that such a vnode still lacks: rows are bad elsewhere.");
    ANTI_ENTROPY_NOW(gains, "Copies that a change gives this node and that are being filled.");
    ANTI_ENTROPY_NOW(ranges, "Pairs of replicas that this node compares.");
    ANTI_ENTROPY_NOW(ranges_proven, "Among them: proven identical since the start.");
    ANTI_ENTROPY_NOW(tasks, "Repairs running.");
    metrics_write_header(
        out, "coterie_anti_entropy_identical_as_of_seconds", "gauge",
        "Wall clock: every pair that this node compares was identical as of then; 0: not yet.");
    fprintf(out, "coterie_anti_entropy_identical_as_of_seconds %.3f\n",
            (double)counter_get(&anti_entropy_figures(node->anti_entropy)->identical_as_of_ms) *
                1e-3);
    REAPER(turns, "Turns through all vnodes that this node reaps in.");
    REAPER(rounds, "Rounds that asked all replicas what they hold dead.");
    REAPER(put_off,
           "Rounds and turns put off: a member or its answer was missing, or hints were kept.");
    REAPER(reaped, "Tombstones and expired records removed everywhere.");
    REAPER(unanswered, "Removals that some replica never confirmed; a later round takes the rest.");
    GOSSIP(documents_adopted, "Topology documents put in force here.");
    GOSSIP(documents_split, "Peers met with another topology document of the same epoch.");
    GOSSIP(documents_decided, "Of those: decided in rounds of this node.");
    GOSSIP(ballots, "Rounds begun to decide on a document.");
    GOSSIP(proposals_unknown, "Changes whose outcome this node could not tell.");
    GOSSIP(proposals_refused,
           "Changes refused: too many at a time, or this node was taken out of its cluster.");
    GOSSIP(answers_dropped, "Answers to peers dropped: too many waited for the disk.");
    GOSSIP(store_errors, "Rows of its own that could not be read or written.");
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
