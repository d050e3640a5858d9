/* hint_gate.h -- how many hints a replica lets its keepers have under way.
 *
 * Every answer to a hint carries a credit: how many hints its sender may have under way at this
 * target from now on. So the total is bounded by the target, however many keepers come with their
 * backlogs at once, and it follows the target's load instead of a rate that somebody has configured
 * at each keeper.
 *
 * The gate's level is shared evenly by the senders that were heard of within a second. It grows by
 * one in each interval that was calm and falls by a quarter in one that was not: more hints taken
 * than the foreground leaves room for, or more answers waiting for the disk than an eighth of what
 * may. Above the level nothing is taken (OVERLOADED), so a crowd with first credits of its own
 * cannot get past it. A replica that refuses foreground work gives no credit for a second.
 *
 * Pure: time is given. Source: RELIABILITY 2.4, rule 22; additive increase, multiplicative decrease
 * as in Chiu and Jain (1989).
 */
#ifndef MODEL_HINT_GATE_H
#define MODEL_HINT_GATE_H

#include "base/check.h"
#include "model/limits.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HINT_CREDIT_FIRST 4u /* of a keeper that has not been told yet */

struct hint_gate_options {
    uint32_t under_way_max; /* 64 */
    uint64_t interval_ns;   /* 100 ms */
    uint32_t taken_max;     /* hints of an interval, when nobody else wants anything; 600 */
    uint32_t taken_min;     /* however busy the foreground is; 150 */
};

struct hint_gate {
    struct hint_gate_options options;
    uint32_t level;     /* hints that may be under way, all senders together */
    uint32_t under_way; /* taken and not answered */
    uint64_t interval_ends_ns;
    uint32_t taken;      /* in this interval */
    uint32_t foreground; /* requests of others in this interval */
    bool overloaded;     /* ever, and: */
    uint64_t overloaded_ns;
    uint32_t sender_count;
    struct hint_sender {
        uint32_t member;
        uint64_t heard_ns;
    } senders[MEMBERS_MAX];
};

/* What the replica holds back, in the step that asks. */
struct hint_load {
    uint32_t held; /* answers that wait for the disk */
    uint32_t held_max;
};

struct hint_gate_options hint_gate_options_default(void);
void hint_gate_init(struct hint_gate *gate, const struct hint_gate_options *options);
/* A request that is not a hint was admitted, or refused for want of room. */
void hint_gate_foreground(struct hint_gate *gate, bool refused, uint64_t now_ns);
/* A hint came. True: it is under way until hint_gate_answered. False: refuse it (OVERLOADED). */
bool hint_gate_take(struct hint_gate *gate, uint32_t member, const struct hint_load *load,
                    uint64_t now_ns);
void hint_gate_answered(struct hint_gate *gate);
/* What the next answer to any sender grants; 0: nothing for now. */
uint32_t hint_gate_credit(const struct hint_gate *gate, const struct hint_load *load,
                          uint64_t now_ns);

#endif
