#include "model/quorum.h"

#include "base/mutation.h"

#include <string.h>
#include <strings.h>

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

enum err consistency_parse(const char *text, enum consistency *ret_level)
{
    for (size_t i = 0; i < ARRAY_COUNT(consistency_words); i++) {
        if (strcasecmp(text, consistency_words[i]) == 0) {
            *ret_level = (enum consistency)i;
            return OK;
        }
    }
    return ERR_INVALID;
}

void quorum_init(struct quorum *quorum, enum consistency level, uint32_t count,
                 uint8_t local_data_center)
{
    CHECK(level != CONSISTENCY_DEFAULT);
    CHECK_U64(level, <, ARRAY_COUNT(consistency_words));
    CHECK_U64(local_data_center, <, DATA_CENTERS_MAX);
    *quorum = (struct quorum){.level = level, .local_data_center = local_data_center};
    /* Kept until the seal; whatever is above the byte is above the replicas too. */
    if (level == CONSISTENCY_COUNT)
        quorum->needed_total = count > UINT8_MAX ? UINT8_MAX : (uint8_t)count;
}

void quorum_add_replica(struct quorum *quorum, uint32_t member, uint8_t data_center)
{
    CHECK_U64(quorum->replica_count, <, REPLICAS_TOTAL_MAX);
    CHECK_U64(data_center, <, DATA_CENTERS_MAX);
    for (uint8_t i = 0; i < quorum->replica_count; i++)
        CHECK_U64(quorum->members[i].member, !=, member);
    quorum->members[quorum->replica_count].member = member;
    quorum->members[quorum->replica_count].data_center = data_center;
    quorum->members[quorum->replica_count].state = REPLICA_WAITING;
    quorum->replica_count++;
    quorum->replicas[data_center]++;
    if (quorum->data_center_count <= data_center)
        quorum->data_center_count = (uint8_t)(data_center + 1);
}

static uint8_t majority(uint8_t count)
{
    return (uint8_t)(count / 2 + 1);
}

static enum err quorum_seal_local(struct quorum *quorum)
{
    uint8_t local = quorum->local_data_center;
    if (quorum->replicas[local] == 0)
        return ERR_UNAVAILABLE;
    quorum->needed[local] =
        quorum->level == CONSISTENCY_LOCAL_ONE ? 1 : majority(quorum->replicas[local]);
    return OK;
}

enum err quorum_seal(struct quorum *quorum)
{
    if (quorum->level == CONSISTENCY_COUNT) {
        bool possible = quorum->needed_total > 0 && quorum->needed_total <= quorum->replica_count;
        return possible ? OK : ERR_INVALID;
    }
    if (quorum->replica_count == 0)
        return ERR_UNAVAILABLE;
    switch (quorum->level) {
    case CONSISTENCY_ONE:
        quorum->needed_total = 1;
        return OK;
    case CONSISTENCY_QUORUM:
        quorum->needed_total = majority(quorum->replica_count);
        return OK;
    case CONSISTENCY_ALL:
        quorum->needed_total = quorum->replica_count;
        return OK;
    case CONSISTENCY_LOCAL_ONE:
    case CONSISTENCY_LOCAL_QUORUM:
        return quorum_seal_local(quorum);
    case CONSISTENCY_EACH_QUORUM:
        for (uint8_t i = 0; i < quorum->data_center_count; i++)
            quorum->needed[i] = quorum->replicas[i] == 0 ? 0 : majority(quorum->replicas[i]);
        return OK;
    case CONSISTENCY_DEFAULT:
    case CONSISTENCY_COUNT:
        break;
    }
    UNREACHABLE("consistency level");
}

static void quorum_settle(struct quorum *quorum, uint32_t member, bool acked)
{
    for (uint8_t i = 0; i < quorum->replica_count; i++) {
        bool settled = quorum->members[i].state != REPLICA_WAITING;
        if (MUTATE(W_COUNTS_NODE_TWICE) && acked)
            settled = false;
        if (quorum->members[i].member != member || settled)
            continue;
        uint8_t data_center = quorum->members[i].data_center;
        quorum->members[i].state = acked ? REPLICA_ACKED : REPLICA_FAILED;
        if (acked)
            quorum->acked[data_center]++;
        else
            quorum->failed[data_center]++;
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
        quorum->acked[quorum->members[i].data_center]--;
    }
}

static enum quorum_state state_of(uint32_t acked, uint32_t failed, uint32_t replicas,
                                  uint32_t needed)
{
    if (acked >= needed)
        return QUORUM_MET;
    return replicas - failed < needed ? QUORUM_IMPOSSIBLE : QUORUM_PENDING;
}

enum quorum_state quorum_state(const struct quorum *quorum)
{
    uint32_t acked = 0;
    uint32_t failed = 0;
    enum quorum_state worst = QUORUM_MET;
    for (uint8_t i = 0; i < quorum->data_center_count; i++) {
        acked += quorum->acked[i];
        failed += quorum->failed[i];
        enum quorum_state state =
            state_of(quorum->acked[i], quorum->failed[i], quorum->replicas[i], quorum->needed[i]);
        if (state == QUORUM_IMPOSSIBLE)
            worst = QUORUM_IMPOSSIBLE;
        else if (state == QUORUM_PENDING && worst == QUORUM_MET)
            worst = QUORUM_PENDING;
    }
    if (quorum->needed_total > 0)
        return state_of(acked, failed, quorum->replica_count, quorum->needed_total);
    return worst;
}

void quorum_progress(const struct quorum *quorum, uint32_t *ret_acked, uint32_t *ret_needed)
{
    uint32_t acked = 0;
    uint32_t needed = quorum->needed_total;
    for (uint8_t i = 0; i < quorum->data_center_count; i++) {
        uint8_t useful = quorum->acked[i];
        if (quorum->needed_total == 0 && useful > quorum->needed[i])
            useful = quorum->needed[i];
        acked += useful;
        needed += quorum->needed[i];
    }
    *ret_acked = acked;
    *ret_needed = needed;
}

bool quorum_settled(const struct quorum *quorum)
{
    uint32_t settled = 0;
    for (uint8_t i = 0; i < quorum->data_center_count; i++)
        settled += (uint32_t)quorum->acked[i] + quorum->failed[i];
    return settled == quorum->replica_count;
}
