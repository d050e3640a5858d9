#include "model/quorum.h"

#include "base/mutation.h"

#include <string.h>

static const char *const consistency_words[] = {
    [CONSISTENCY_DEFAULT] = "DEFAULT",         [CONSISTENCY_ONE] = "ONE",
    [CONSISTENCY_QUORUM] = "QUORUM",           [CONSISTENCY_ALL] = "ALL",
    [CONSISTENCY_LOCAL_ONE] = "LOCAL_ONE",     [CONSISTENCY_LOCAL_QUORUM] = "LOCAL_QUORUM",
    [CONSISTENCY_EACH_QUORUM] = "EACH_QUORUM", [CONSISTENCY_COUNT] = "COUNT",
};

static_assert(REPLICAS_TOTAL_MAX <= UINT8_MAX, "replica counts fit a byte");

const char *consistency_text(enum consistency level)
{
    CHECK_U64(level, <, ARRAY_COUNT(consistency_words));
    return consistency_words[level];
}

void quorum_init(struct quorum *quorum, enum consistency level, uint32_t count,
                 uint8_t local_data_center)
{
    CHECK(level != CONSISTENCY_DEFAULT);
    CHECK_U64(level, <, ARRAY_COUNT(consistency_words));
    CHECK_U64(local_data_center, <, DATA_CENTERS_MAX);
    *quorum = (struct quorum){
        .level = level, .count = count, .local_data_center = local_data_center, .set_count = 1};
}

static void add_to_set(struct quorum *quorum, uint32_t set, uint8_t data_center)
{
    CHECK_U64(data_center, <, DATA_CENTERS_MAX);
    quorum->sets[set].replica_count++;
    quorum->sets[set].replicas[data_center]++;
    if (quorum->data_center_count <= data_center)
        quorum->data_center_count = (uint8_t)(data_center + 1);
}

static void add_member(struct quorum *quorum, uint32_t member, uint8_t sets,
                       const uint8_t data_centers[QUORUM_SETS_MAX])
{
    CHECK_U64(quorum->replica_count, <, REPLICAS_TOTAL_MAX);
    for (uint8_t i = 0; i < quorum->replica_count; i++)
        CHECK_U64(quorum->members[i].member, !=, member);
    uint8_t at = quorum->replica_count++;
    quorum->members[at].member = member;
    quorum->members[at].sets = sets;
    quorum->members[at].state = REPLICA_WAITING;
    for (uint32_t set = 0; set < QUORUM_SETS_MAX; set++) {
        quorum->members[at].data_centers[set] = data_centers[set];
        if (((unsigned)sets >> set & 1u) != 0)
            add_to_set(quorum, set, data_centers[set]);
    }
}

void quorum_add_replica(struct quorum *quorum, uint32_t member, uint8_t data_center)
{
    CHECK_U64(quorum->set_count, ==, 1);
    add_member(quorum, member, 1, (uint8_t[QUORUM_SETS_MAX]){data_center});
}

void quorum_add_joint_replica(struct quorum *quorum, uint32_t member, uint8_t sets,
                              const uint8_t data_centers[QUORUM_SETS_MAX])
{
    CHECK(quorum->set_count == 2 || quorum->replica_count == 0);
    CHECK(sets >= 1 && sets <= 3);
    quorum->set_count = 2;
    add_member(quorum, member, sets, data_centers);
}

static uint8_t majority(uint8_t count)
{
    return (uint8_t)(count / 2 + 1);
}

static enum err seal_local(const struct quorum *quorum, struct quorum_set *set)
{
    uint8_t local = quorum->local_data_center;
    if (set->replicas[local] == 0)
        return ERR_UNAVAILABLE;
    set->needed[local] =
        quorum->level == CONSISTENCY_LOCAL_ONE ? 1 : majority(set->replicas[local]);
    return OK;
}

static enum err seal_set(const struct quorum *quorum, struct quorum_set *set)
{
    if (set->replica_count == 0)
        return ERR_UNAVAILABLE;
    switch (quorum->level) {
    case CONSISTENCY_ONE:
        set->needed_total = 1;
        return OK;
    case CONSISTENCY_QUORUM:
        set->needed_total = majority(set->replica_count);
        return OK;
    case CONSISTENCY_ALL:
        set->needed_total = set->replica_count;
        return OK;
    case CONSISTENCY_LOCAL_ONE:
    case CONSISTENCY_LOCAL_QUORUM:
        if (MUTATE(LOCAL_COUNTS_REMOTE)) {
            set->needed_total = majority(set->replicas[quorum->local_data_center]);
            return OK;
        }
        return seal_local(quorum, set);
    case CONSISTENCY_EACH_QUORUM:
        for (uint8_t i = 0; i < quorum->data_center_count; i++)
            set->needed[i] = set->replicas[i] == 0 ? 0 : majority(set->replicas[i]);
        return OK;
    case CONSISTENCY_COUNT:
        set->needed_total =
            quorum->count < set->replica_count ? (uint8_t)quorum->count : set->replica_count;
        return OK;
    case CONSISTENCY_DEFAULT:
        break;
    }
    UNREACHABLE("consistency level");
}

static bool count_is_possible(const struct quorum *quorum)
{
    uint32_t most = 0;
    for (uint8_t i = 0; i < quorum->set_count; i++) {
        if (quorum->sets[i].replica_count > most)
            most = quorum->sets[i].replica_count;
    }
    return quorum->count > 0 && quorum->count <= most;
}

enum err quorum_seal(struct quorum *quorum)
{
    if (quorum->level == CONSISTENCY_COUNT && !count_is_possible(quorum))
        return ERR_INVALID;
    enum err err = OK;
    for (uint8_t i = 0; i < quorum->set_count && err == OK; i++)
        err = seal_set(quorum, &quorum->sets[i]);
    return err;
}

/* Its answer or failure, in each set that it is in; `by` is 1, or -1 to take it back. */
static void count_answer(struct quorum *quorum, uint8_t at, bool acked, int by)
{
    for (uint32_t i = 0; i < quorum->set_count; i++) {
        if (((unsigned)quorum->members[at].sets >> i & 1u) == 0)
            continue;
        struct quorum_set *set = &quorum->sets[i];
        uint8_t data_center = quorum->members[at].data_centers[i];
        uint8_t *total = acked ? &set->acked_total : &set->failed_total;
        uint8_t *there = acked ? &set->acked[data_center] : &set->failed[data_center];
        *total = (uint8_t)(*total + by);
        *there = (uint8_t)(*there + by);
    }
}

static void quorum_settle(struct quorum *quorum, uint32_t member, bool acked)
{
    for (uint8_t i = 0; i < quorum->replica_count; i++) {
        bool settled = quorum->members[i].state != REPLICA_WAITING;
        if (MUTATE(W_COUNTS_NODE_TWICE) && acked)
            settled = false;
        if (quorum->members[i].member != member || settled)
            continue;
        quorum->members[i].state = acked ? REPLICA_ACKED : REPLICA_FAILED;
        count_answer(quorum, i, acked, 1);
    }
}

enum quorum_state quorum_ack(struct quorum *quorum, uint32_t member)
{
    quorum_settle(quorum, member, true);
    return quorum_state(quorum);
}

enum quorum_state quorum_fail(struct quorum *quorum, uint32_t member)
{
    quorum_settle(quorum, member, false);
    return quorum_state(quorum);
}

void quorum_take_back(struct quorum *quorum, uint32_t member)
{
    for (uint8_t i = 0; i < quorum->replica_count; i++) {
        if (quorum->members[i].member != member || quorum->members[i].state != REPLICA_ACKED)
            continue;
        quorum->members[i].state = REPLICA_WAITING;
        count_answer(quorum, i, true, -1);
    }
}

static enum quorum_state state_of(uint32_t acked, uint32_t failed, uint32_t replicas,
                                  uint32_t needed)
{
    if (acked >= needed)
        return QUORUM_MET;
    return replicas - failed < needed ? QUORUM_IMPOSSIBLE : QUORUM_PENDING;
}

static enum quorum_state worse(enum quorum_state a, enum quorum_state b)
{
    if (a == QUORUM_IMPOSSIBLE || b == QUORUM_IMPOSSIBLE)
        return QUORUM_IMPOSSIBLE;
    return a == QUORUM_MET ? b : a;
}

static enum quorum_state set_state(const struct quorum *quorum, const struct quorum_set *set)
{
    if (set->needed_total > 0)
        return state_of(set->acked_total, set->failed_total, set->replica_count, set->needed_total);
    enum quorum_state state = QUORUM_MET;
    for (uint8_t i = 0; i < quorum->data_center_count; i++)
        state =
            worse(state, state_of(set->acked[i], set->failed[i], set->replicas[i], set->needed[i]));
    return state;
}

enum quorum_state quorum_state(const struct quorum *quorum)
{
    enum quorum_state state = set_state(quorum, &quorum->sets[0]);
    if (quorum->set_count == 2)
        state = worse(state, set_state(quorum, &quorum->sets[1]));
    return state;
}

static void set_progress(const struct quorum *quorum, const struct quorum_set *set,
                         uint32_t *ret_acked, uint32_t *ret_needed)
{
    *ret_acked = set->acked_total;
    *ret_needed = set->needed_total;
    if (set->needed_total > 0)
        return;
    *ret_acked = 0;
    for (uint8_t i = 0; i < quorum->data_center_count; i++) {
        *ret_acked += set->acked[i] < set->needed[i] ? set->acked[i] : set->needed[i];
        *ret_needed += set->needed[i];
    }
}

/* Greater is worse: what can never be met first, then what lacks more. */
static uint32_t set_lack(const struct quorum *quorum, const struct quorum_set *set)
{
    uint32_t acked;
    uint32_t needed;
    set_progress(quorum, set, &acked, &needed);
    uint32_t lack = acked < needed ? needed - acked : 0;
    return set_state(quorum, set) == QUORUM_IMPOSSIBLE ? REPLICAS_TOTAL_MAX + lack : lack;
}

void quorum_progress(const struct quorum *quorum, uint32_t *ret_acked, uint32_t *ret_needed)
{
    const struct quorum_set *set = &quorum->sets[0];
    if (quorum->set_count == 2 && set_lack(quorum, &quorum->sets[1]) > set_lack(quorum, set))
        set = &quorum->sets[1];
    set_progress(quorum, set, ret_acked, ret_needed);
}

bool quorum_counts_in(const struct quorum *quorum, uint8_t data_center)
{
    for (uint8_t i = 0; i < quorum->set_count; i++) {
        if (quorum->sets[i].needed_total > 0 || quorum->sets[i].needed[data_center] > 0)
            return true;
    }
    return false;
}

bool quorum_overlaps(const struct quorum *quorum)
{
    const struct quorum_set *set = &quorum->sets[0];
    CHECK_U64(quorum->set_count, ==, 1);
    if (set->needed_total > 0)
        return 2 * set->needed_total > set->replica_count;
    for (uint8_t i = 0; i < quorum->data_center_count; i++) {
        if (2 * set->needed[i] > set->replicas[i])
            return true;
    }
    return false;
}
