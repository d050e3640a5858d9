/* register_value.h -- what a register of a consistent keyspace holds, and how a request changes it.
 *
 * A proposer reads the value of the greatest accepted ballot, applies one change and has the result
 * accepted (model/register.h). A change that changes nothing (a read, a false condition) is
 * accepted all the same: that is what decides it.
 *
 * The value remembers the ids of its last changes. A proposer whose accept met a conflict cannot
 * know whether it was chosen; when it comes back above it, its id says so, and nothing is applied
 * twice. The same ids answer a client that tries again.
 *
 * Expiry is a change like any other: whoever first finds a value expired by its clock has it
 * removed, so that no later reader with a slower clock sees it again.
 */
#ifndef MODEL_REGISTER_VALUE_H
#define MODEL_REGISTER_VALUE_H

#include "base/arena.h"
#include "base/err.h"

/* Changes whose ids are remembered. */
#define REGISTER_CHANGES_KEPT    8u
#define REGISTER_CHANGE_ID_BYTES 16u

struct register_value {
    uint64_t version; /* changes so far; 0: there was none */
    bool found;
    struct bytes value;
    uint64_t expires_at_ms; /* 0: never */
    uint32_t change_count;
    struct register_past {
        uint8_t id[REGISTER_CHANGE_ID_BYTES];
        uint64_t version;             /* that it made */
    } changes[REGISTER_CHANGES_KEPT]; /* the newest last */
};

enum register_condition {
    REGISTER_ALWAYS,
    REGISTER_IF_VALUE,   /* it is there, and equal */
    REGISTER_IF_VERSION, /* whether it is there or not; 0: it never was */
    REGISTER_IF_ABSENT,
};

struct register_change {
    bool read; /* changes nothing */
    bool remove;
    enum register_condition condition;
    struct bytes expected;
    uint64_t expected_version;
    struct bytes value;
    uint64_t expires_at_ms;
    uint8_t id[REGISTER_CHANGE_ID_BYTES];
};

struct register_outcome {
    bool applied;     /* now */
    bool repeated;    /* it was applied before, as `version` */
    bool refused;     /* its condition is false */
    uint64_t version; /* after it; of a repeated one: that it made then */
};

/* Values are borrowed from `from` and `change`. */
struct register_outcome register_change_apply(const struct register_value *from,
                                              const struct register_change *change,
                                              uint64_t wall_ms, struct register_value *ret_to);
/* It is there, and expired by this clock. */
bool register_value_expired(const struct register_value *value, uint64_t wall_ms);
struct bytes register_value_encode(struct arena *arena, const struct register_value *value);
/* No bytes: nothing was ever written. CORRUPT. The value is borrowed. */
enum err register_value_decode(struct bytes bytes, struct register_value *ret_value) MUST_USE;

#endif
