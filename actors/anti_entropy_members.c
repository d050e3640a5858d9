/* Which member has which slot (model/topology.h): tables and bit sets are by slot, because numbers
 * grow without bound. */
#include "actors/anti_entropy_state.h"

/* The slot has another member now: whatever was known of the one before is not about it. */
static void forget(struct anti_entropy *ae, uint32_t slot)
{
    uint64_t others = ~((uint64_t)1 << slot);
    ae->seen[slot] = (struct ae_seen){0};
    for (uint32_t i = 0; i < ae->options.partitions; i++) {
        struct ae_completion *completion = &ae->completions[i];
        struct ae_proofs *proofs = atomic_load_explicit(&ae->proofs[i], memory_order_relaxed);
        completion->done &= others;
        completion->waiting &= others;
        if (completion->roots != NULL) {
            message_free(completion->roots[slot]);
            completion->roots[slot] = NULL;
        }
        ae->replicas[i] &= others;
        if (proofs == NULL)
            continue;
        struct ae_proof *proof = &proofs->of[slot];
        atomic_store_explicit(&proof->state, 0, memory_order_relaxed);
        counter_set(&proof->member, MEMBER_NONE);
        counter_set(&proof->driven, 0);
        counter_set(&proof->identical_as_of_ms, 0);
        counter_set(&proof->attempted_ms, 0);
        counter_set(&proof->keys_repaired, 0);
        counter_set(&proof->bytes_moved, 0);
    }
    for (uint32_t i = 0; i < ae->range_count; i++)
        ae->ranges[i].dirty_done &= others;
    for (uint32_t i = 0; i < ae->gains.count; i++) {
        struct ae_gain *gain = &ae->gains.list[i];
        gain->done &= others;
        gain->waiting &= others;
        if (gain->roots != NULL) {
            message_free(gain->roots[slot]);
            gain->roots[slot] = NULL;
        }
        ae_settle_free(gain);
    }
    for (uint32_t i = 0; i < AE_RECORDS_MAX; i++)
        ae->records[i].waiting &= others;
    for (uint32_t i = 0; i < AE_EXPLAINS_MAX; i++) {
        ae->explains[i].waiting_replicas &= others;
        ae->explains[i].waiting_hints &= others;
    }
}

void ae_members_refresh(struct anti_entropy *ae, const struct actor_context *ctx)
{
    const struct topology *topology = &ctx->view->topology;
    if (ae->slots_version == ctx->view->version + 1)
        return;
    ae->slots_version = ctx->view->version + 1;
    if (ae->viewed && ae->topology_epoch != topology->epoch)
        ae->look_ns = ctx->now_ns;
    ae->gone = 0;
    for (uint32_t i = 0; i < topology->member_count; i++) {
        const struct member *member = &topology->members[i];
        if (member->status == MEMBER_REMOVED)
            continue;
        if (ae->slots[member->slot] != member->number && ae->slots[member->slot] != MEMBER_NONE)
            forget(ae, member->slot);
        ae->slots[member->slot] = member->number;
        ae->gone |= (uint64_t)member->gone << member->slot;
    }
}

uint32_t ae_member_slot(const struct anti_entropy *ae, uint32_t member)
{
    uint32_t slot = 0;
    if (member == MEMBER_NONE)
        return MEMBERS_MAX;
    while (slot < MEMBERS_MAX && ae->slots[slot] != member)
        slot++;
    return slot;
}

uint64_t ae_member_bit(const struct anti_entropy *ae, uint32_t member)
{
    uint32_t slot = ae_member_slot(ae, member);
    return slot == MEMBERS_MAX ? 0 : (uint64_t)1 << slot;
}
