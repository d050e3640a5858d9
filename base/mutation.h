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
    X(W_COUNTS_NODE_TWICE, "a quorum counts a node each time that it answers", "rule 18")

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
