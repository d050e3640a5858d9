/* linearizable.h -- whether a history of one object could have happened one operation after the
 * other.
 *
 * Searches for an order of the operations that respects real time (one that returned before another
 * was called comes first) and the object's sequential model. An operation that never returned may
 * take effect at any moment after its call, or never. Objects are judged one by one: a history of
 * many keys is linearizable when each key's is (Herlihy and Wing, locality).
 *
 * Time:   exponential at worst; a configuration (set of operations done, state) is never looked at
 *         twice, and after `configurations_max` of them the search gives up.
 * Memory: a bit for each operation and 24 bytes, for each configuration.
 * Source: Wing and Gong, Testing and Verifying Concurrent Objects (1993); Lowe, Testing for
 * Linearizability (2017) for the memory of configurations.
 */
#ifndef TESTS_SIM_LINEARIZABLE_H
#define TESTS_SIM_LINEARIZABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LINEARIZABLE_NEVER          UINT64_MAX
#define LINEARIZABLE_OPERATIONS_MAX 1024u
#define LINEARIZABLE_CONFIGURATIONS ((size_t)2 << 20)

/* Moments in any unit, equal ones overlap. */
struct linearizable_interval {
    uint64_t called;
    uint64_t returned; /* LINEARIZABLE_NEVER: its outcome is unknown */
};

struct linearizable_model {
    uint64_t initial;
    /* Whether operation `index` may be the next one in `state`, seen what it answered. For one that
     * never returned false is right where it would change nothing: it need not be done at all. */
    bool (*step)(void *closure, uint64_t state, uint32_t index, uint64_t *ret_state);
    void *closure;
};

enum linearizable_verdict { LINEARIZABLE_YES, LINEARIZABLE_NO, LINEARIZABLE_GAVE_UP };

/* `configurations_max` 0: LINEARIZABLE_CONFIGURATIONS. At most LINEARIZABLE_OPERATIONS_MAX. */
enum linearizable_verdict linearizable_check(const struct linearizable_interval *intervals,
                                             uint32_t count, const struct linearizable_model *model,
                                             size_t configurations_max);

/* -- the model of a register with compare-and-set
 * ------------------------------------------------ */

enum linearizable_kind { LINEARIZABLE_READ, LINEARIZABLE_WRITE, LINEARIZABLE_CAS };

struct linearizable_operation {
    struct linearizable_interval interval;
    enum linearizable_kind kind;
    bool refused;      /* a compare-and-set whose condition was false */
    bool any;          /* a read whose answer is not known */
    uint64_t value;    /* read, or written */
    uint64_t expected; /* of a compare-and-set */
};

enum linearizable_verdict
linearizable_check_register(const struct linearizable_operation *operations, uint32_t count,
                            uint64_t initial, size_t configurations_max);

#endif
