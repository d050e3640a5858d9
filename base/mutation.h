/* mutation.h -- known bugs of this field, each one line of the source behind a name, to prove that
 * the simulator's checkers see them (RELIABILITY 7.4).
 *
 *     if (MUTATE(LEASE_NOT_DURABLE))
 *         lease->limit = limit;
 *
 * In every build but one MUTATE is the constant false and nothing of a mutant is compiled. With
 * -DCOTERIE_MUTATIONS=ON the one that was chosen at run time is alive (coterie-sim --mutation
 * NAME), so that one build tests them all.
 */
#ifndef BASE_MUTATION_H
#define BASE_MUTATION_H

#include <stdbool.h>

/* X(name, what the mutant does, section of RELIABILITY that tells of it) */
#define MUTATION_TABLE(X)                                                                          \
    MUTATION_TABLE_REQUESTS(X)                                                                     \
    MUTATION_TABLE_TOMBSTONES(X)                                                                   \
    MUTATION_TABLE_MEMBERSHIP(X)

#define MUTATION_TABLE_REQUESTS(X)                                                                 \
    X(MERGE_DROPS_EQUAL_DOT, "a merge drops a version that both sides hold", "2.1.4")              \
    X(MERGE_BY_COUNTER, "a merge compares counters and not the key epoch", "2.1.1")                \
    X(CONTEXT_COVERS_SIBLINGS, "a put's context covers siblings its writer never saw", "2.1.5")    \
    X(CLOCK_PRUNED_AT_4, "a write drops the oldest clock entry over four", "2.1.6")                \
    X(DELETE_REMOVES_ALL, "a delete removes what its context does not cover", "2.2.5")             \
    X(EPOCH_FLOOR_MISSING, "a key's epoch is kept after a crash", "rule 2")                        \
    X(EPOCH_LEASE_OFF_BY_ONE, "the first epoch above the lease is used too", "rule 3")             \
    X(EPOCH_LEASE_NOT_DURABLE, "a lease counts before it is on disk", "rule 3")                    \
    X(CLEAN_MARK_STAYS, "a start leaves the mark of the last clean stop", "rule 38")               \
    X(GENERATION_IS_TIME, "the generation is the wall clock at the start", "2.10")                 \
    X(CLONE_IS_WELCOME, "a node starts from a copy of another one's directory", "rule 29")         \
    X(EPOCHS_BEGIN_AT_ONE, "each start begins its key epochs at one", "2.1.1")                     \
    X(W_COUNTS_NODE_TWICE, "a quorum counts a node each time that it answers", "rule 18")          \
    X(READ_ERROR_IS_NOT_FOUND, "a replica takes a read error for \"nothing here\"", "rule 5")      \
    X(ACK_BEFORE_SYNC, "a replica answers writes before they are durable", "rule 17")              \
    X(READ_SHOWS_STAGED, "a replica shows readers what a crash could undo", "2.12")                \
    X(ONE_EPOCH_FOR_ALL, "a key that is not here gets the epoch of every other one", "2.1.1")      \
    X(LWW_BY_WALL_CLOCK, "a last-writer-wins stamp is the wall clock alone", "2.3")                \
    X(SIBLINGS_UNLIMITED, "a key may have any number of siblings", "2.1.7")                        \
    X(MERGE_IS_OVERWRITE, "a replica takes the state that came last", "2.1.4")                     \
    X(STALE_ANSWER_COUNTS, "an answer to an earlier life of the node meets a new request", "2.10") \
    X(FALLBACK_IS_PRIMARY,                                                                         \
      "the answer names a replica whose hint is kept elsewhere as having the write", "rule 18")    \
    X(HINT_FORGOTTEN_WHEN_SENT, "a hint is deleted when it leaves, not when its target has it",    \
      "2.4")                                                                                       \
    X(HINT_FORGOTTEN_THOUGH_JOINED,                                                                \
      "a hint that has grown since it was sent is deleted with its answer", "2.4")                 \
    X(HINT_COUNTS_UNSYNCED, "a fallback says that it keeps a hint before that is durable", "2.4")  \
    X(HINT_REPLACES_HINT, "a second hint for a key takes the place of the first", "2.4")           \
    X(TIMEOUT_IS_NOT_APPLIED, "a write that timed out is said to be not applied", "rule 20")       \
    X(READ_REPAIR_IN_BACKGROUND, "a read answers before the replicas that differ are repaired",    \
      "2.9")                                                                                       \
    X(FAILED_REPAIR_IS_IGNORED, "a read answers although a replica could not be repaired", "2.9")  \
    X(FORWARD_WRITTEN_TWICE, "a forwarded put that arrives twice is written twice", "rule 21")     \
    X(CONVICTS_AFTER_OWN_PAUSE, "the detector convicts its peers after its own pause", "2.10")     \
    X(READ_ASKS_ONE_TOO_FEW, "a read answers when one replica is still missing", "rule 18")        \
    X(RETRY_MAKES_SECOND_DOT, "a put with a known request id is made again", "rule 21")            \
    X(LAGGING_FLOOR_IS_RAISED, "a copy from before a removal is sealed as if it had been away",    \
      "rule 29")                                                                                   \
    X(OWN_HINT_COUNTS, "a hint that the coordinator keeps itself counts for W", "rule 18")         \
    X(STRICT_COUNTS_HINTS, "a fallback's hint counts for W in a strict write", "rule 18")          \
    X(TTL_DECIDED_LOCALLY, "a replica drops what has expired by its own clock", "rule 15")         \
    X(CHECKSUM_UNCHECKED, "a record is read, merged and sent whatever its checksum says",          \
      "rule 25")                                                                                   \
    X(TREE_OF_ONE_BIT, "hash trees take two records for one when a weak digest says so", "2.5")    \
    X(REAP_WITHOUT_THE_LAST, "tombstones are reaped when all replicas but one agree", "rule 13")   \
    X(REAP_WHAT_DIFFERS, "tombstones are reaped that some replica does not hold", "rule 13")       \
    X(HINT_OVERFLOW_SILENT, "hints that find no room are given up, and nobody is told", "rule 22") \
    X(VOTES_WHEN_INCOMPLETE, "a copy that was lost votes before it is filled again", "rule 38")    \
    X(EXCHANGE_ALWAYS_PROVES, "an exchange that failed half way counts as a proof", "2.2.4")       \
    X(WIPED_IS_REPLACED, "a node whose disk is empty goes on as the member that it was",           \
      "rule 29")                                                                                   \
    X(GENERATION_RAISED_ALONE,                                                                     \
      "a life that no peer has accepted raises its directory's generation", "rule 29")             \
    X(LOCAL_COUNTS_REMOTE, "a local quorum is met by nodes of any data centre", "rule 18")         \
    X(LOCAL_WRITE_LEAVES, "a local write is coordinated in another data centre", "rule 18")        \
    X(HINT_STANDS_IN_ABROAD, "a fallback stands in for a replica of another data centre",          \
      "rule 18")                                                                                   \
    X(PASSED_ON_COUNTS, "who passes a write on answers for those it passes it on to", "rule 17")   \
    X(REGISTER_READ_UNDECIDED, "a strong read answers from a majority that differs", "rule 34")    \
    X(REGISTER_FALSE_UNDECIDED, "a compare-and-set that is refused ends no round", "rule 34")      \
    X(REGISTER_BALLOT_REUSED, "a proposer counts its ballots from one in each life", "rule 35")    \
    X(REGISTER_PROMISE_NOT_SYNCED, "a promise is told before it is durable", "rule 35")            \
    X(REGISTER_ACCEPT_NOT_SYNCED, "an accept is told before it is durable", "rule 35")             \
    X(REGISTER_PROMISE_BROKEN, "an acceptor takes values below its promise", "3")                  \
    X(REGISTER_MINORITY_DECIDES, "half of the acceptors is a majority", "3")                       \
    X(REGISTER_ANY_VALUE, "a proposer goes on from the promise that came last", "3")               \
    X(REGISTER_LATE_ANSWER_COUNTS, "an answer to an earlier round counts in the next", "3")        \
    X(REGISTER_ID_FORGOTTEN, "after a conflict a change is made once more", "rule 21")             \
    X(REGISTER_UNKNOWN_IS_NOT_APPLIED, "a change without an answer is told as not applied",        \
      "rule 20")                                                                                   \
    X(REGISTER_EXPIRY_UNDECIDED, "each reader finds a value expired by its own clock", "rule 15")  \
    X(REGISTER_LOST_COPY_VOTES, "an acceptor votes that has lost its promises", "rule 35")         \
    X(RENEWAL_UNSETTLED, "an acceptor votes again before all keys are settled", "rule 35")         \
    X(REGISTER_BAD_ROW_IS_NEW, "an acceptor takes a damaged row for an empty register", "rule 35") \
    X(TREE_OF_UNSORTED_CLOCKS, "hash trees depend on the order of arrival", "2.5")                 \
    X(LWW_TIE_BY_ARRIVAL, "of equal stamps the one that came last wins", "2.3")                    \
    X(REGISTER_TOMBSTONE_FORGOTTEN, "an acceptor forgets deleted registers", "rule 36")            \
    X(AMNESIA_IGNORED_IN_REPAIR, "in the repair of a damaged row: the same", "rule 4")             \
    X(COMPACTION_DROPS_TOMBSTONES, "a replica drops old tombstones by itself", "rule 16")          \
    X(REGISTER_TAKES_EVENTUAL, "a replica takes eventual writes to a consistent keyspace",         \
      "rule 33")

/* Of deletes and what is lost: they are killed in runs that delete and reap all the time. */
#define MUTATION_TABLE_TOMBSTONES(X)                                                               \
    X(REAP_IGNORES_HINTS, "tombstones are reaped while hints wait", "rule 13")                     \
    X(REAP_IGNORES_FALLBACKS, "only replicas are asked for hints before a reap", "2.1.2")          \
    X(REAP_UNCONFIRMED, "a copy confirms a seal that it has lost", "rule 13")                      \
    X(FLOOR_UNCHECKED, "a replica takes what was read below its floor", "rule 14")                 \
    X(HINT_FLOOR_FORGOTTEN, "a hint is delivered whatever was reaped since", "rule 14")            \
    X(STALE_SNAPSHOT_STREAMED, "anti-entropy writes what it read before a reap", "2.5")            \
    X(FILLED_WITHOUT_KEYSPACES, "a lost copy is filled before the keyspaces are known", "rule 38") \
    X(EMPTIED_KEEPS_ROWS, "a lost copy keeps rows from before its loss", "rule 24")                \
    X(AMNESIA_IGNORED_IN_A_PUT, "own writes in a context are not taken as lost", "rule 4")         \
    X(AMNESIA_IGNORED_IN_A_WRITE, "own writes that come back in a write: the same", "rule 4")      \
    X(AMNESIA_IGNORED_IN_READ_REPAIR, "in a read repair: the same", "rule 4")                      \
    X(AMNESIA_IGNORED_IN_A_HINT, "in a hint: the same", "rule 4")                                  \
    X(AMNESIA_IGNORED_IN_ANTI_ENTROPY, "from anti-entropy: the same", "rule 4")

/* Of clusters that change: they are killed in runs that have changes. */
#define MUTATION_TABLE_MEMBERSHIP(X)                                                               \
    X(EPOCH_UNCHECKED, "a replica answers whatever epoch and role it was asked in", "rule 28")     \
    X(ANNOUNCED_COUNTS_OLD, "a write in ANNOUNCED counts the old set only", "rule 28")             \
    X(COPIED_UNFILLED, "the new set is read before it is filled", "rule 28")                       \
    X(GAIN_UNFILLED, "a gaining member is complete as soon as it is empty", "rule 28")             \
    X(REPLICAS_AT_ONCE, "a new number of replicas is in force before they are filled", "rule 28")  \
    X(DROPPED_WHEN_COPIED, "who loses a partition drops it before the last step", "rule 28")       \
    X(ABORT_KEEPS_PHASES, "an abort exchanges the sides and keeps the phases", "rule 28")          \
    X(HINTS_LEFT_BEHIND, "hints for who is no replica any more are thrown away", "rule 22")        \
    X(TOPOLOGY_PROMISE_FORGOTTEN, "a start forgets what was promised of the next epoch",           \
      "rule 35")                                                                                   \
    X(TOPOLOGY_PROMISE_NOT_SYNCED, "a voter answers before its vote is durable", "rule 35")        \
    X(TOPOLOGY_MINORITY_DECIDES, "less than half of the voters decide an epoch", "3")              \
    X(TOPOLOGY_ANY_DOCUMENT, "a proposer goes on with its own document whatever is accepted", "3") \
    X(TOPOLOGY_NOT_SYNCED, "a document is in force before it is durable", "rule 17")               \
    X(MEMBER_NUMBER_AGAIN, "a member gets the number of one that has left", "rule 29")             \
    X(REGISTERS_UNSETTLED, "registers go over without being decided again", "rule 35")             \
    X(REGISTER_COUNTS_READERS, "a round on a partition that goes over counts one set only", "3")   \
    X(COPIED_COUNTS_NEW, "a write in COPIED counts the new set only", "rule 28")                   \
    X(GAIN_FROM_ONE, "who gains a partition is filled from one replica", "2.6")                    \
    X(GAIN_PASSES_OVER_BAD_ROWS, "a copy is complete although its source could not read a row",    \
      "rule 25")                                                                                   \
    X(LOST_PASSES_OVER_BAD_ROWS, "the same of a copy that was lost and is filled", "rule 25")      \
    X(UNREADABLE_IS_EMPTIED,                                                                       \
      "a copy with an unreadable part is emptied, whoever else has the rest", "rule 25")           \
    X(SILENCE_OF_UNFILLED, "what a copy lacks that is filled says there was nothing", "rule 25")   \
    X(GAIN_KEEPS_OLD, "who gains a partition keeps what it had of it", "rule 24")                  \
    X(REAPED_WHILE_JOINT, "tombstones are reaped while a partition goes over", "rule 13")          \
    X(PLAN_KEEPS_ALL_ACKS, "a new plan counts who is only written by it", "rule 28")               \
    X(STEP_LEAVES_BEHIND, "a step does not wait until all know of the last", "rule 32")            \
    X(SHRUNK_UNCOMPARED, "a set shrinks, and who stays was not compared", "rule 28")               \
    X(REMOVED_REJOINS, "who was removed joins again as the one that it was", "rule 29")

enum mutation {
    MUTATION_NONE,
#define X(name, what, source) MUTATION_##name,
    MUTATION_TABLE(X)
#undef X
        MUTATION_COUNT
};

#ifdef COTERIE_MUTATIONS
extern enum mutation mutation_chosen; /* set once, before anything runs */
#define MUTATE(name) (mutation_chosen == MUTATION_##name)
#else
#define MUTATE(name) (MUTATION_##name == MUTATION_NONE)
#endif

#endif
