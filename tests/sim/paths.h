/* paths.h -- how often the run went where it matters: the actors' own figures, summed over all
 * lives of all nodes. A path that a large batch never took is not tested by it, and fails the
 * batch.
 */
#ifndef SIM_PATHS_H
#define SIM_PATHS_H

#include <stdint.h>

struct host;

/* X(owner, figure) */
#define PATH_TABLE(X)                                                                              \
    X(replica, minted)                                                                             \
    X(replica, merged)                                                                             \
    X(replica, merged_same)                                                                        \
    X(replica, passed_on)                                                                          \
    X(replica, epochs_drawn)                                                                       \
    X(replica, amnesia)                                                                            \
    X(replica, read_errors)                                                                        \
    X(replica, overloaded)                                                                         \
    X(replica, siblings_warned)                                                                    \
    X(replica, siblings_refused)                                                                   \
    X(replica, clock_refused)                                                                      \
    X(coordinator, forwarded)                                                                      \
    X(coordinator, taken_over)                                                                     \
    X(coordinator, duplicates)                                                                     \
    X(coordinator, remote_onward)                                                                  \
    X(coordinator, remote_stranded)                                                                \
    X(coordinator, refused)                                                                        \
    X(coordinator, read_differed)                                                                  \
    X(coordinator, read_repairs)                                                                   \
    X(coordinator, read_late)                                                                      \
    X(coordinator, compared)                                                                       \
    X(coordinator, late_repairs)                                                                   \
    X(coordinator, hedges_sent)                                                                    \
    X(coordinator, hedges_won)                                                                     \
    X(coordinator, hedges_capped)                                                                  \
    X(coordinator, timeouts)                                                                       \
    X(coordinator, unavailable)                                                                    \
    X(coordinator, answers_late)                                                                   \
    X(coordinator, hints_sent)                                                                     \
    X(coordinator, stood_in)                                                                       \
    X(coordinator, hints_failed)                                                                   \
    X(coordinator, unsettled)                                                                      \
    X(hinted_handoff, stored)                                                                      \
    X(hinted_handoff, joined)                                                                      \
    X(hinted_handoff, delivered)                                                                   \
    X(hinted_handoff, resent)                                                                      \
    X(hinted_handoff, failed)                                                                      \
    X(hinted_handoff, overflow)                                                                    \
    X(hinted_handoff, dirty)                                                                       \
    X(hinted_handoff, probes)                                                                      \
    X(hinted_handoff, stale)                                                                       \
    X(replica, stale_floor)                                                                        \
    X(replica, requests_repeated)                                                                  \
    X(anti_entropy, exchanges)                                                                     \
    X(anti_entropy, exchanges_equal)                                                               \
    X(anti_entropy, exchanges_failed)                                                              \
    X(anti_entropy, keys_sent)                                                                     \
    X(anti_entropy, keys_received)                                                                 \
    X(anti_entropy, stale_floor)                                                                   \
    X(anti_entropy, floors_raised)                                                                 \
    X(anti_entropy, asked_again)                                                                   \
    X(anti_entropy, dirty_marked)                                                                  \
    X(anti_entropy, completed)                                                                     \
    X(anti_entropy, records_repaired)                                                              \
    X(reaper, rounds)                                                                              \
    X(reaper, put_off)                                                                             \
    X(reaper, differed)                                                                            \
    X(reaper, reaped)                                                                              \
    X(replica, register_queries)                                                                   \
    X(replica, register_promises)                                                                  \
    X(replica, register_accepts)                                                                   \
    X(replica, register_conflicts)                                                                 \
    X(replica, register_refused)                                                                   \
    X(replica, registers_renewed)                                                                  \
    X(anti_entropy, renewals)                                                                      \
    X(coordinator, registers)                                                                      \
    X(coordinator, register_fast_reads)                                                            \
    X(coordinator, register_conflicts)                                                             \
    X(gossip, maps_merged)                                                                         \
    X(gossip, convictions)                                                                         \
    X(gossip, revivals)                                                                            \
    X(gossip, self_doubts)                                                                         \
    X(gossip, store_errors)

enum path {
#define X(owner, figure) PATH_##owner##_##figure,
    PATH_TABLE(X)
#undef X
        PATH_COUNT
};

const char *path_name(enum path path);
/* Adds what the actors of a node have counted, at the end of its life. Fails the world on what must
 * never be counted: messages to the wrong kind of actor, corrupt records. */
void paths_collect(struct host *host);

#endif
