#include "model/topology_change.h"

#include "base/mutation.h"
#include "model/topology_sets.h"

#include <string.h>

/* Partitions are taken in this stride, so that those under way at a time are far apart on the ring
 * and go to different members. Odd: it meets all of a power of two. */
#define STRIDE 37u

uint64_t topology_change_name(const struct topology *topology)
{
    return topology->change.aborting ? topology->change.abort_epoch : topology->change.began_epoch;
}

/* It was announced in the present direction. */
static bool is_announced(const struct topology *topology, uint32_t partition)
{
    return topology->change.state == CHANGE_RUNNING &&
           topology->phases[partition] != PHASE_WAITING &&
           topology->phase_epochs[partition] > topology->change.abort_epoch;
}

/* Bit sets by slot of those with a need. */
static uint64_t needing_copy(const struct side_sets *sets)
{
    return sets->sets[TOPOLOGY_NEXT] & ~sets->sets[TOPOLOGY_NOW];
}

static uint64_t needing_exchange(const struct side_sets *sets)
{
    return sets->shrinks && !MUTATE(SHRUNK_UNCOMPARED)
               ? sets->sets[TOPOLOGY_NEXT] & sets->sets[TOPOLOGY_NOW]
               : 0;
}

enum copy_need topology_need(const struct topology *topology, const struct keyspace *keyspace,
                             uint32_t partition, uint32_t number)
{
    const struct member *member = topology_member(topology, number);
    if (member == NULL || member->status == MEMBER_REMOVED || !is_announced(topology, partition))
        return NEED_NOTHING;
    struct replica_class class = topology_class(topology, keyspace);
    struct side_sets sets = topology_sets(topology, &class, partition);
    uint64_t bit = (uint64_t)1 << member->slot;
    if ((needing_copy(&sets) & bit) != 0)
        return NEED_COPY;
    return (needing_exchange(&sets) & bit) != 0 ? NEED_EXCHANGE : NEED_NOTHING;
}

struct stepper {
    const struct topology *before;
    struct topology after;
    const struct topology_progress *progress;
    struct replica_classes classes;
    uint64_t gone;      /* by slot */
    uint32_t under_way; /* partitions announced or copied that move something */
    bool changed;
};

/* What is asked for one partition, over all keyspaces. */
struct partition_needs {
    uint64_t members; /* of both sets */
    uint64_t needing; /* something copied or exchanged */
    uint64_t sound;   /* to be, before somebody else drops the partition: they are read */
    bool differs;     /* the sets of a keyspace that there may be */
};

static struct partition_needs needs_of(const struct stepper *stepper, uint32_t partition)
{
    struct partition_needs needs = {0};
    for (uint32_t i = 0; i < stepper->classes.count_possible; i++) {
        struct side_sets sets =
            topology_sets(stepper->before, &stepper->classes.classes[i], partition);
        needs.members |= sets.sets[TOPOLOGY_NOW] | sets.sets[TOPOLOGY_NEXT];
        needs.differs = needs.differs || sets.sets[TOPOLOGY_NOW] != sets.sets[TOPOLOGY_NEXT];
        if (i >= stepper->classes.count)
            continue;
        needs.needing |= needing_copy(&sets) | needing_exchange(&sets);
        if ((sets.sets[TOPOLOGY_NOW] & ~sets.sets[TOPOLOGY_NEXT]) != 0)
            needs.sound |= sets.sets[TOPOLOGY_NEXT];
    }
    needs.members &= ~stepper->gone;
    needs.needing &= ~stepper->gone;
    needs.sound &= ~stepper->gone;
    return needs;
}

/* Each has at least that epoch in force. */
static bool have_epoch(const struct stepper *stepper, uint64_t members, uint64_t epoch)
{
    for (uint32_t slot = 0; slot < MEMBERS_MAX; slot++) {
        if ((members >> slot & 1) != 0 && stepper->progress->epochs[slot] < epoch &&
            !MUTATE(STEP_LEAVES_BEHIND))
            return false;
    }
    return true;
}

static bool have_filled(const struct stepper *stepper, uint64_t members, uint32_t partition)
{
    for (uint32_t slot = 0; slot < MEMBERS_MAX; slot++) {
        if ((members >> slot & 1) != 0 &&
            (stepper->progress->filled[slot][partition / 8] >> partition % 8 & 1) == 0)
            return false;
    }
    return true;
}

static bool are_sound(const struct stepper *stepper, uint64_t members, uint32_t partition)
{
    for (uint32_t slot = 0; slot < MEMBERS_MAX; slot++) {
        if ((members >> slot & 1) != 0 &&
            (stepper->progress->unsound[slot][partition / 8] >> partition % 8 & 1) != 0)
            return false;
    }
    return true;
}

static void step_to(struct stepper *stepper, uint32_t partition, enum partition_phase phase)
{
    stepper->after.phases[partition] = (uint8_t)phase;
    stepper->after.phase_epochs[partition] = stepper->after.epoch;
    stepper->changed = true;
}

/* Those that are under way first: they make room. */
static void step_onwards(struct stepper *stepper, uint32_t partition)
{
    enum partition_phase phase = (enum partition_phase)stepper->before->phases[partition];
    if (phase != PHASE_ANNOUNCED && phase != PHASE_COPIED)
        return;
    struct partition_needs needs = needs_of(stepper, partition);
    bool known = have_epoch(stepper, needs.members, stepper->before->phase_epochs[partition]);
    /* An abort may have made it COPIED: then nobody needs anything copied. */
    if (phase == PHASE_COPIED && known && are_sound(stepper, needs.sound, partition)) {
        step_to(stepper, partition, PHASE_DONE);
        return;
    }
    if (phase == PHASE_ANNOUNCED && known &&
        (have_filled(stepper, needs.needing, partition) || MUTATE(COPIED_UNFILLED)))
        step_to(stepper, partition, PHASE_COPIED);
    stepper->under_way += needs.needing != 0;
}

static void step_away(struct stepper *stepper, uint32_t partition)
{
    if (stepper->before->phases[partition] != PHASE_WAITING)
        return;
    struct partition_needs needs = needs_of(stepper, partition);
    if (!needs.differs) {
        step_to(stepper, partition, PHASE_DONE);
        return;
    }
    bool moves = needs.needing != 0;
    if (stepper->before->change.paused || !have_epoch(stepper, needs.members, 1) ||
        (moves && stepper->under_way >= stepper->progress->announced_max))
        return;
    step_to(stepper, partition, PHASE_ANNOUNCED);
    stepper->under_way += moves;
}

static bool is_over(const struct stepper *stepper)
{
    const struct topology *topology = &stepper->after;
    for (uint32_t p = 0; p < topology->partitions; p++) {
        if (topology->phases[p] != PHASE_DONE)
            return false;
    }
    for (uint32_t i = 0; i < topology->member_count; i++) {
        const struct member *member = &topology->members[i];
        if (member->status == MEMBER_LEAVING && !member->gone &&
            stepper->progress->keeps_hints[member->slot])
            return false;
    }
    return true;
}

/* What was to be, is. */
static void finish(struct topology *topology)
{
    bool staged = false;
    for (uint32_t i = 0; i < topology->member_count; i++) {
        struct member *member = &topology->members[i];
        switch (member->status) {
        case MEMBER_LEAVING:
            member->status = MEMBER_REMOVED;
            break;
        case MEMBER_JOINING:
        case MEMBER_NORMAL:
            /* One that died during the change goes with the next one. */
            member->status = member->gone ? MEMBER_LEAVING : MEMBER_NORMAL;
            staged = staged || member->gone;
            member->places[TOPOLOGY_NOW] = member->places[TOPOLOGY_NEXT];
            break;
        case MEMBER_REMOVED:
            break;
        }
        if (member->status == MEMBER_REMOVED)
            member->places[TOPOLOGY_NEXT] = member->places[TOPOLOGY_NOW];
    }
    for (uint32_t i = 0; i < topology->replication_count; i++) {
        struct topology_replication *replication = &topology->replication[i];
        memcpy(replication->n[TOPOLOGY_NOW], replication->n[TOPOLOGY_NEXT],
               sizeof replication->n[TOPOLOGY_NOW]);
    }
    topology->owners[TOPOLOGY_NOW] = topology->owners[TOPOLOGY_NEXT];
    memset(topology->phases, PHASE_WAITING, topology->partitions);
    topology->change = (struct topology_change){.state = staged ? CHANGE_STAGED : CHANGE_NONE};
}

static uint64_t slots_gone(const struct topology *topology)
{
    uint64_t gone = 0;
    for (uint32_t i = 0; i < topology->member_count; i++) {
        const struct member *member = &topology->members[i];
        if (member->gone && member->status != MEMBER_REMOVED)
            gone |= (uint64_t)1 << member->slot;
    }
    return gone;
}

static struct stepper *stepper_new(struct arena *arena, const struct topology *topology,
                                   const struct keyspace_map *keyspaces,
                                   const struct topology_progress *progress)
{
    struct stepper *stepper = ARENA_NEW(arena, struct stepper, 1);
    stepper->before = topology;
    stepper->progress = progress;
    stepper->gone = slots_gone(topology);
    topology_classes(topology, keyspaces, &stepper->classes);
    return stepper;
}

bool topology_step(struct arena *arena, const struct topology *topology,
                   const struct keyspace_map *keyspaces, const struct topology_progress *progress,
                   struct topology *ret_topology)
{
    CHECK_U64(progress->announced_max, >, 0);
    if (topology->change.state != CHANGE_RUNNING)
        return false;
    struct stepper *stepper = stepper_new(arena, topology, keyspaces, progress);
    topology_copy(arena, topology, &stepper->after);
    stepper->after.epoch++;
    for (uint32_t p = 0; p < topology->partitions; p++)
        step_onwards(stepper, p);
    for (uint32_t i = 0; i < topology->partitions; i++)
        step_away(stepper, i * STRIDE % topology->partitions);
    bool over = is_over(stepper);
    if (over)
        finish(&stepper->after);
    else if (!stepper->changed)
        return false;
    stepper->after.voter_count = topology_choose_voters(&stepper->after, stepper->after.voters);
    CHECK(topology_valid(&stepper->after));
    *ret_topology = stepper->after;
    return true;
}

/* -- why not ------------------------------------------------------------------------------------
 */

static bool lacks_epoch(const struct stepper *stepper, uint32_t slot, uint64_t epoch)
{
    return !have_epoch(stepper, (uint64_t)1 << slot, epoch);
}

static void add_wait(struct waits *waits, enum wait_cause cause, uint32_t member,
                     uint32_t partition)
{
    waits_add(waits,
              &(struct wait){.cause = cause, .member = member, .partition = partition, .count = 1});
}

static void partition_waits(const struct stepper *stepper, uint32_t p, struct waits *waits)
{
    const struct topology *topology = stepper->before;
    enum partition_phase phase = (enum partition_phase)topology->phases[p];
    struct partition_needs needs = needs_of(stepper, p);
    if (phase == PHASE_DONE || (phase == PHASE_WAITING && !needs.differs))
        return;
    bool waits_for_member = false;
    bool unfilled = false;
    for (uint32_t i = 0; i < topology->member_count; i++) {
        const struct member *member = &topology->members[i];
        uint64_t bit = (uint64_t)1 << member->slot;
        if (member->status == MEMBER_REMOVED || (needs.members & bit) == 0)
            continue;
        bool lacks = lacks_epoch(stepper, member->slot,
                                 phase == PHASE_WAITING ? 1 : topology->phase_epochs[p]);
        bool fills =
            phase == PHASE_ANNOUNCED && (needs.needing & bit) != 0 && !have_filled(stepper, bit, p);
        waits_for_member = waits_for_member || lacks;
        unfilled = unfilled || fills;
        if (lacks || (fills && !topology->change.paused))
            add_wait(waits, lacks ? WAIT_EPOCH : WAIT_FILL, member->number, p);
        else if (phase == PHASE_COPIED && !are_sound(stepper, needs.sound & bit, p))
            add_wait(waits, WAIT_SOUND, member->number, p);
    }
    if (topology->change.paused && (unfilled || phase == PHASE_WAITING))
        add_wait(waits, WAIT_RESUME, MEMBER_NONE, p);
    else if (phase == PHASE_WAITING && !waits_for_member && needs.needing != 0)
        add_wait(waits, WAIT_TURN, MEMBER_NONE, p);
}

void topology_waits(struct arena *arena, const struct topology *topology,
                    const struct keyspace_map *keyspaces, const struct topology_progress *progress,
                    struct waits *waits)
{
    if (topology->change.state != CHANGE_RUNNING)
        return;
    struct stepper *stepper = stepper_new(arena, topology, keyspaces, progress);
    bool done = true;
    for (uint32_t p = 0; p < topology->partitions; p++) {
        partition_waits(stepper, p, waits);
        done = done && topology->phases[p] == PHASE_DONE;
    }
    for (uint32_t i = 0; done && i < topology->member_count; i++) {
        const struct member *member = &topology->members[i];
        if (member->status == MEMBER_LEAVING && !member->gone &&
            progress->keeps_hints[member->slot])
            add_wait(waits, WAIT_HANDS_ON, member->number, 0);
    }
}
