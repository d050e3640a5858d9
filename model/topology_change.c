#include "model/topology_change.h"

#include "base/mutation.h"
#include "model/register.h"
#include "model/topology_claim.h"
#include "model/topology_operating.h"
#include "model/topology_sets.h"

#include <string.h>

enum err topology_refused(struct operating *operating, enum err err, const char *why)
{
    operating->why = why;
    return err;
}

static bool is_staged(const struct topology *topology)
{
    for (uint32_t i = 0; i < topology->member_count; i++) {
        const struct member *member = &topology->members[i];
        if (member->status == MEMBER_JOINING || member->status == MEMBER_LEAVING ||
            !member_place_equal(&member->places[TOPOLOGY_NOW], &member->places[TOPOLOGY_NEXT]))
            return true;
    }
    for (uint32_t i = 0; i < topology->replication_count; i++) {
        const struct topology_replication *replication = &topology->replication[i];
        if (memcmp(replication->n[TOPOLOGY_NOW], replication->n[TOPOLOGY_NEXT],
                   sizeof replication->n[0]) != 0)
            return true;
    }
    return false;
}

/* Of registers more than so many replicas cannot be asked; no force changes that. */
static enum err check_registers(struct operating *operating, const struct keyspace *keyspace,
                                const struct replica_class *class)
{
    const struct topology *topology = &operating->after;
    uint32_t copies[2] = {0};
    for (uint32_t i = 0; i < 2 * topology->data_center_count; i++) {
        enum topology_side side = (enum topology_side)(i % 2);
        uint32_t members = topology_member_count_in(topology, side, i / 2);
        uint32_t n = class->n[side][i / 2];
        copies[side] += n < members ? n : members;
    }
    if (keyspace->mode != KEYSPACE_CONSISTENT || copies[TOPOLOGY_NEXT] <= REGISTER_REPLICAS_MAX ||
        copies[TOPOLOGY_NEXT] <= copies[TOPOLOGY_NOW])
        return OK;
    return topology_refused(
        operating, ERR_PRECONDITION,
        arena_printf(operating->arena,
                     "consistent keyspace %s would have %u replicas in all data centres, and %u "
                     "are the most: give it fewer in some of them",
                     keyspace->name, copies[TOPOLOGY_NEXT], REGISTER_REPLICAS_MAX));
}

/* What would be left with less than a keyspace asks for, and what must not be even by force. */
static enum err check_enough(struct operating *operating)
{
    const struct topology *topology = &operating->after;
    for (uint32_t k = 0; k < operating->keyspaces->count; k++) {
        const struct keyspace *keyspace = &operating->keyspaces->keyspaces[k];
        if (keyspace->dropped)
            continue;
        struct replica_class class = topology_class(topology, keyspace);
        uint32_t copies = 0;
        for (uint32_t i = 0; i < topology->data_center_count; i++) {
            uint32_t members = topology_member_count_in(topology, TOPOLOGY_NEXT, i);
            uint32_t before = topology_member_count_in(topology, TOPOLOGY_NOW, i);
            uint32_t n = class.n[TOPOLOGY_NEXT][i];
            copies += n < members ? n : members;
            bool less = members < before || n > class.n[TOPOLOGY_NOW][i];
            if (members < n && less && !operating->operation->force)
                return topology_refused(
                    operating, ERR_PRECONDITION,
                    arena_printf(operating->arena,
                                 "data centre %s would have %u members, and keyspace %s has %u "
                                 "replicas there: let more members join, give the keyspace fewer "
                                 "replicas, or force it",
                                 topology->data_centers[i], members, keyspace->name, n));
        }
        if (copies == 0)
            return topology_refused(
                operating, ERR_PRECONDITION,
                arena_printf(operating->arena,
                             "keyspace %s would have no replica at all: give it some "
                             "where members stay, or drop it first",
                             keyspace->name));
        enum err err = check_registers(operating, keyspace, &class);
        if (err != OK)
            return err;
    }
    return OK;
}

static enum err operate_commit(struct operating *operating)
{
    struct topology *topology = &operating->after;
    uint64_t expected = operating->operation->expected_epoch;
    if (expected != 0 && expected != operating->before->epoch)
        return topology_refused(
            operating, ERR_CONFLICT,
            arena_printf(operating->arena,
                         "the plan was made for epoch %lu, and it is %lu now: look at "
                         "the plan again",
                         (unsigned long)expected, (unsigned long)operating->before->epoch));
    if (topology->change.state == CHANGE_RUNNING)
        return topology_refused(operating, ERR_PRECONDITION,
                                "a change is under way already: wait until it is over");
    if (topology->change.state == CHANGE_NONE)
        return topology_refused(
            operating, ERR_PRECONDITION,
            "nothing is staged: stage members that join, leave or change their place "
            "first");
    enum err err = check_enough(operating);
    if (err != OK)
        return err;
    topology_claim_next(operating->arena, topology, operating->keyspaces);
    for (uint32_t i = 0; i < topology->member_count; i++)
        topology->members[i].held = false;
    topology->change.state = CHANGE_RUNNING;
    topology->change.began_epoch = topology->epoch;
    topology->change.began_ms = operating->operation->wall_ms;
    return OK;
}

/* Nothing has moved: places are taken back. A member that is gone does not come back: false when
 * there is nothing else. */
static bool abort_staged(struct topology *topology)
{
    bool taken_back = false;
    for (uint32_t i = 0; i < topology->member_count; i++) {
        struct member *member = &topology->members[i];
        bool stays =
            member_place_equal(&member->places[TOPOLOGY_NOW], &member->places[TOPOLOGY_NEXT]);
        member->held = false;
        if (member->status == MEMBER_JOINING)
            member->status = MEMBER_REMOVED;
        else if (member->status == MEMBER_LEAVING && !member->gone)
            member->status = MEMBER_NORMAL;
        else if (stays)
            continue;
        member->places[TOPOLOGY_NEXT] = member->places[TOPOLOGY_NOW];
        taken_back = true;
    }
    for (uint32_t i = 0; i < topology->replication_count; i++) {
        struct topology_replication *replication = &topology->replication[i];
        size_t size = sizeof replication->n[TOPOLOGY_NOW];
        taken_back = taken_back ||
                     memcmp(replication->n[TOPOLOGY_NEXT], replication->n[TOPOLOGY_NOW], size) != 0;
        memcpy(replication->n[TOPOLOGY_NEXT], replication->n[TOPOLOGY_NOW], size);
    }
    return taken_back;
}

static void exchange_bytes(void *a, void *b, size_t size)
{
    uint8_t *left = a;
    uint8_t *right = b;
    for (size_t i = 0; i < size; i++) {
        uint8_t byte = left[i];
        left[i] = right[i];
        right[i] = byte;
    }
}

static void exchange_sides(struct topology *topology)
{
    for (uint32_t i = 0; i < topology->member_count; i++) {
        struct member *member = &topology->members[i];
        exchange_bytes(&member->places[0], &member->places[1], sizeof member->places[0]);
        if (member->status == MEMBER_JOINING)
            member->status = MEMBER_LEAVING;
        else if (member->status == MEMBER_LEAVING)
            member->status = MEMBER_JOINING;
    }
    for (uint32_t i = 0; i < topology->replication_count; i++)
        exchange_bytes(topology->replication[i].n[0], topology->replication[i].n[1],
                       sizeof topology->replication[i].n[0]);
    uint32_t *owners = topology->owners[TOPOLOGY_NOW];
    topology->owners[TOPOLOGY_NOW] = topology->owners[TOPOLOGY_NEXT];
    topology->owners[TOPOLOGY_NEXT] = owners;
}

static void abort_running(struct topology *topology)
{
    exchange_sides(topology);
    for (uint32_t p = 0; p < topology->partitions && !MUTATE(ABORT_KEEPS_PHASES); p++) {
        switch ((enum partition_phase)topology->phases[p]) {
        case PHASE_WAITING:
            topology->phases[p] = PHASE_DONE;
            break;
        case PHASE_ANNOUNCED:
            topology->phases[p] = PHASE_COPIED;
            break;
        case PHASE_COPIED:
            /* All of the set that it goes back to hold their copies and were written all along. */
            topology->phase_epochs[p] = topology->epoch;
            break;
        case PHASE_DONE:
            topology->phases[p] = PHASE_WAITING;
            break;
        }
    }
    topology->change.aborting = true;
    topology->change.abort_epoch = topology->epoch;
}

static enum err operate_abort(struct operating *operating)
{
    struct topology *topology = &operating->after;
    switch (topology->change.state) {
    case CHANGE_NONE:
        return topology_refused(operating, ERR_PRECONDITION,
                                "nothing is staged or under way: there is nothing to abort");
    case CHANGE_STAGED:
        if (!abort_staged(topology))
            return topology_refused(operating, ERR_PRECONDITION,
                                    "only members that are gone are staged, and they cannot come "
                                    "back: commit it");
        return OK;
    case CHANGE_RUNNING:
        operating->same = topology->change.aborting;
        if (!operating->same)
            abort_running(topology);
        return OK;
    }
    UNREACHABLE("change state");
}

static enum err operate_flow(struct operating *operating)
{
    struct topology_change *change = &operating->after.change;
    if (change->state != CHANGE_RUNNING)
        return topology_refused(operating, ERR_PRECONDITION,
                                "no change is under way: pause, resume and pace are for one that "
                                "runs (coterie commit carries out what is staged)");
    struct topology_change before = *change;
    enum topology_operation_kind kind = operating->operation->kind;
    if (kind == TOPOLOGY_PACE)
        change->bytes_per_second = operating->operation->bytes_per_second;
    else
        change->paused = kind == TOPOLOGY_PAUSE;
    operating->same =
        before.paused == change->paused && before.bytes_per_second == change->bytes_per_second;
    return OK;
}

/* Never the same document: who asks wants an epoch that was not there when it asked. */
static enum err operate_renew(struct operating *operating)
{
    struct topology *topology = &operating->after;
    bool any = false;
    if (topology->change.state == CHANGE_RUNNING)
        return topology_refused(operating, ERR_PRECONDITION,
                                "a change is under way: wait until it is over");
    for (uint32_t p = 0; p < topology->partitions; p++) {
        if ((operating->operation->partitions[p / 8] >> p % 8 & 1) == 0)
            continue;
        any = true;
        topology->phase_epochs[p] = topology->epoch;
    }
    return any ? OK : topology_refused(operating, ERR_INVALID, "no partition is named");
}

static enum err operate(struct operating *operating)
{
    switch (operating->operation->kind) {
    case TOPOLOGY_JOIN:
        return topology_join(operating);
    case TOPOLOGY_LEAVE:
        return topology_leave(operating);
    case TOPOLOGY_PLACE:
        return topology_place(operating);
    case TOPOLOGY_REPLICATE:
        return topology_replicate(operating);
    case TOPOLOGY_COMMIT:
        return operate_commit(operating);
    case TOPOLOGY_ABORT:
        return operate_abort(operating);
    case TOPOLOGY_PAUSE:
    case TOPOLOGY_RESUME:
    case TOPOLOGY_PACE:
        return operate_flow(operating);
    case TOPOLOGY_ADDRESS:
        return topology_address(operating);
    case TOPOLOGY_RENEW:
        return operate_renew(operating);
    }
    return topology_refused(operating, ERR_UNSUPPORTED, "this operation is not known here");
}

enum err topology_operate(struct arena *arena, const struct topology *topology,
                          const struct keyspace_map *keyspaces,
                          const struct topology_operation *operation, struct topology *ret_topology,
                          uint32_t *ret_number, const char **ret_why)
{
    struct operating operating = {
        .arena = arena, .before = topology, .keyspaces = keyspaces, .operation = operation};
    topology_copy(arena, topology, &operating.after);
    struct topology *after = &operating.after;
    after->epoch++;
    enum err err = operate(&operating);
    if (err != OK) {
        *ret_why = operating.why;
        return err;
    }
    if (operating.same)
        *after = *topology;
    else {
        if (after->change.state != CHANGE_RUNNING)
            after->change.state = is_staged(after) ? CHANGE_STAGED : CHANGE_NONE;
        after->voter_count = topology_choose_voters(after, after->voters);
        CHECK(topology_valid(after));
    }
    *ret_topology = *after;
    *ret_number = operating.number;
    return OK;
}
