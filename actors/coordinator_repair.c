/* Read repair: the answer waits until every replica that voted holds what it says, so that no later
 * quorum read can see less (RELIABILITY rule 19; blocking read repair as in Cassandra 4.0).
 *
 * A voter that cannot take its repair now, because its disk is full say, gives its vote to another
 * replica: the read begins anew without it, while enough others are left. When none are, or a
 * repair does not come through in time, the read fails: the newer value is never handed out while a
 * quorum may still answer without it.
 *
 * While two sets are written the next step, or an abort, will read the other one. What such a read
 * answers is there too before it leaves, by the level of the read: who is in both sets and has
 * voted counts, others are sent it. */
#include "actors/coordinator_request.h"

#include "base/mutation.h"
#include "model/record.h"

bool coordinator_repair_copies(const struct request *request)
{
    return request->replicas.joint && quorum_overlaps(&request->quorum);
}

/* The answer of a replica, by its index. */
static struct bytes repair_record(const struct request *request, uint32_t index)
{
    uint32_t member = request->replicas.replicas[index].member;
    for (const struct message *answer = request->answers; answer != NULL; answer = answer->next) {
        if (answer->from.node == member)
            return answer->replica_read_reply.record;
    }
    UNREACHABLE("an answer that was counted is kept");
}

/* Joins what the voters hold, in `arena`. All records have been verified. */
static struct version_set repair_merge(const struct request *request, struct arena *arena)
{
    const struct client_get *get = &request->origin->client_get;
    struct version_set merged = {0};
    struct bytes last = {0};
    for (const struct message *answer = request->answers; answer != NULL; answer = answer->next) {
        struct bytes record = answer->replica_read_reply.record;
        struct version_set set;
        if (record.size == 0 || bytes_equal(record, last))
            continue;
        enum err err = record_decode(arena, get->keyspace_id, get->key, record, &set);
        CHECK(err == OK);
        merged = last.size == 0 ? set : version_set_merge(arena, &merged, &set);
        last = record;
    }
    if ((request->policy & POLICY_LWW) != 0)
        merged = version_set_last_writer_wins(arena, &merged);
    return merged;
}

/* Sends what is to be answered to those that lack it, and counts them. */
static void repair_send(struct coordinator *coordinator, struct actor_context *ctx,
                        const struct request *request, uint64_t to, struct counter *counter)
{
    for (uint32_t i = 0; i < request->replicas.count; i++) {
        if ((to >> i & 1) == 0)
            continue;
        counter_add(counter, 1);
        coordinator_request_send_write(coordinator, ctx, request,
                                       request->replicas.replicas[i].member, request->repair,
                                       WRITE_READ_REPAIR);
    }
}

/* The floor of a join is that of its oldest part, and "nothing" is a part too. */
static uint64_t repair_floor(const struct request *request)
{
    uint64_t floor = UINT64_MAX;
    for (const struct message *answer = request->answers; answer != NULL; answer = answer->next) {
        if (answer->replica_read_reply.floor < floor)
            floor = answer->replica_read_reply.floor;
    }
    return floor;
}

/* The voters that differ are to be brought up to the merged state. */
static void repair_voters(struct request *request)
{
    for (uint32_t i = 0; i < request->replicas.count; i++) {
        if ((request->answered >> i & 1) != 0 &&
            !bytes_equal(repair_record(request, i), request->repair))
            request->repairing |= (uint64_t)1 << i;
    }
}

/* Both sets, by the level of the read, with these as the ones that hold the answer. False: one of
 * them has nobody that this level would ask. */
static bool repair_both_sets(const struct request *request, uint64_t holders,
                             struct quorum *ret_quorum)
{
    quorum_init(ret_quorum, request->quorum.level, request->quorum.count,
                request->quorum.local_data_center);
    coordinator_request_add_replicas(&request->replicas, true, ret_quorum);
    if (quorum_seal(ret_quorum) != OK)
        return false;
    for (uint32_t i = 0; i < request->replicas.count; i++) {
        if ((holders >> i & 1) != 0)
            quorum_ack(ret_quorum, request->replicas.replicas[i].member);
    }
    return true;
}

/* Whether the answer may leave. */
static bool repair_is_done(const struct request *request)
{
    struct quorum both;
    if ((request->repairing & request->answered) != 0)
        return false;
    return !coordinator_repair_copies(request) ||
           !repair_both_sets(request, request->answered | request->copied, &both) ||
           quorum_state(&both) == QUORUM_MET;
}

/* Just as many more as the other set needs, or all that are left. False: that is too few. */
static bool repair_choose_copies(struct actor_context *ctx, struct request *request, bool all)
{
    struct quorum both;
    uint64_t holders = request->answered | request->copied | request->repairing;
    uint32_t other = request->replicas.read_side == TOPOLOGY_NOW ? TOPOLOGY_NEXT : TOPOLOGY_NOW;
    if (request->repair.size == 0 || !coordinator_repair_copies(request) ||
        !repair_both_sets(request, holders, &both))
        return true;
    for (uint32_t i = 0; i < request->replicas.count; i++) {
        uint32_t member = request->replicas.replicas[i].member;
        if (!all && quorum_state(&both) == QUORUM_MET)
            break;
        bool wanted = (request->replicas.replicas[i].sides >> other & 1) != 0 &&
                      ((holders | request->uncopied) >> i & 1) == 0 &&
                      view_alive(ctx->view, member);
        if (!wanted || !(all || coordinator_get_helps(&both, member)))
            continue;
        quorum_ack(&both, member);
        request->repairing |= (uint64_t)1 << i;
    }
    return quorum_state(&both) == QUORUM_MET;
}

static bool repair_answers_agree(const struct request *request)
{
    const struct message *first = request->answers;
    for (const struct message *answer = first->next; answer != NULL; answer = answer->next) {
        if (!bytes_equal(answer->replica_read_reply.record, first->replica_read_reply.record))
            return false;
    }
    return true;
}

/* The answer leaves; what has not voted is compared with `record` when it comes. */
static void repair_answer(struct coordinator *coordinator, struct actor_context *ctx,
                          struct request *request, struct message *answer, struct bytes record)
{
    bool compares = coordinator_compare_begin(coordinator, ctx, request, record);
    outbox_send(ctx, &coordinator->actor, answer);
    if (compares)
        coordinator_compare_kept(coordinator, ctx, request);
    else
        coordinator_request_end(coordinator, request);
}

static void repair_begin(struct coordinator *coordinator, struct actor_context *ctx,
                         struct request *request, struct message *answer, struct bytes record)
{
    request->repair = record;
    request->plan_refused = false;
    request->behind = 0;
    repair_voters(request);
    bool enough = repair_choose_copies(ctx, request, false);
    if (MUTATE(READ_REPAIR_IN_BACKGROUND)) {
        repair_send(coordinator, ctx, request, request->repairing,
                    &coordinator->figures.read_repairs);
        request->repairing = 0;
    }
    if (request->repairing == 0 && enough) {
        repair_answer(coordinator, ctx, request, answer, record);
        return;
    }
    coordinator_request_move(request, REQUEST_REPAIRING);
    request->result = answer;
    if (!enough) {
        coordinator_get_fail(
            coordinator, ctx, request, ERR_UNAVAILABLE,
            "too few of the replicas that the partition goes over to can take what "
            "was read");
        return;
    }
    repair_send(coordinator, ctx, request, request->repairing, &coordinator->figures.read_repairs);
    coordinator_request_set_late(coordinator, ctx, request, coordinator->options.read_late_ns);
}

void coordinator_repair_or_answer(struct coordinator *coordinator, struct actor_context *ctx,
                                  struct request *request)
{
    const struct client_get *get = &request->origin->client_get;
    struct bytes record = request->answers->replica_read_reply.record;
    struct message *answer = coordinator_get_answer(request, ctx, OK, record.size + 256);
    bool agree = repair_answers_agree(request);
    request->floor = repair_floor(request);
    if (agree) {
        record = arena_copy(&answer->arena, record);
    } else {
        counter_add(&coordinator->figures.read_differed, 1);
        struct version_set merged = repair_merge(request, &coordinator->scratch);
        record = record_encode(&answer->arena, get->keyspace_id, get->key, &merged);
    }
    /* The usual case: one decode, from a copy that lives as long as the answer. */
    if (record.size != 0) {
        enum err err = record_decode(&answer->arena, get->keyspace_id, get->key, record,
                                     &answer->client_get_done.set);
        CHECK(err == OK);
    }
    if (agree && !coordinator_repair_copies(request))
        repair_answer(coordinator, ctx, request, answer, record);
    else
        repair_begin(coordinator, ctx, request, answer, record);
}

/* It could not, now, as opposed to it would not: another may. */
static bool repair_may_be_left_out(enum err status)
{
    switch (status) {
    case ERR_OVERLOADED:
    case ERR_IO:
    case ERR_CORRUPT:
    case ERR_INCOMPLETE:
    case ERR_UNAVAILABLE:
    case ERR_TIMEOUT:
        return true;
    case OK:
    case ERR_NOT_FOUND:
    case ERR_EXISTS:
    case ERR_INVALID:
    case ERR_LIMIT:
    case ERR_CONFLICT:
    case ERR_PRECONDITION:
    case ERR_STALE_EPOCH:
    case ERR_STALE_FLOOR:
    case ERR_UNSUPPORTED:
    case ERR_DENIED:
    case ERR_CLOSED:
    case ERR_COUNT:
        break;
    }
    return false;
}

/* Reads anew without this voter. False: too few others are left. */
static bool repair_leave_out(struct coordinator *coordinator, struct actor_context *ctx,
                             struct request *request, uint32_t member, enum err status)
{
    struct quorum without = request->quorum;
    if (!repair_may_be_left_out(status) || request->unrepaired_count == READ_UNREPAIRED_MAX)
        return false;
    quorum_take_back(&without, member);
    if (quorum_fail(&without, member) == QUORUM_IMPOSSIBLE)
        return false;
    request->unrepaired[request->unrepaired_count++] = member;
    counter_add(&coordinator->figures.left_out, 1);
    coordinator_get_again(coordinator, ctx, request);
    return true;
}

/* One that did not vote: another may take it instead. */
static void repair_copy_refused(struct coordinator *coordinator, struct actor_context *ctx,
                                struct request *request, uint32_t index)
{
    request->repairing &= ~((uint64_t)1 << index);
    request->uncopied |= (uint64_t)1 << index;
    uint64_t before = request->repairing;
    if (!repair_choose_copies(ctx, request, false))
        coordinator_get_fail(
            coordinator, ctx, request, coordinator_request_failure(request),
            "too few of the replicas that the partition goes over to can take what "
            "was read");
    else
        repair_send(coordinator, ctx, request, request->repairing & ~before,
                    &coordinator->figures.read_repairs);
}

static void repair_refused(struct coordinator *coordinator, struct actor_context *ctx,
                           struct request *request, uint32_t index, enum err status)
{
    uint32_t member = request->replicas.replicas[index].member;
    if (status == ERR_STALE_FLOOR && request->read_again < READ_AGAIN_MAX) {
        /* Tombstones were reaped there since this was read: what was read may be what they hid. */
        request->read_again++;
        coordinator_get_again(coordinator, ctx, request);
        return;
    }
    request->last_error = status;
    if ((request->answered >> index & 1) == 0)
        repair_copy_refused(coordinator, ctx, request, index);
    else if (!repair_leave_out(coordinator, ctx, request, member, status))
        coordinator_get_fail(coordinator, ctx, request, coordinator_request_failure(request),
                             "replicas differed and one could not be repaired");
}

/* True: it says nothing but that a change is under way. */
static bool repair_epoch_differs(struct coordinator *coordinator, struct actor_context *ctx,
                                 struct request *request, uint32_t index, enum err status,
                                 uint64_t epoch)
{
    switch (coordinator_epoch_judge(request, status, epoch)) {
    case EPOCH_SAME:
    case EPOCH_EARLIER:
        return false;
    case EPOCH_BEHIND:
        request->behind |= (uint64_t)1 << index;
        coordinator_request_set_soon(coordinator, ctx, request, SOON_NS);
        return true;
    case EPOCH_STALE: /* a voter that is none any more */
        request->plan_refused = true;
        coordinator_repair_on_soon(coordinator, ctx, request);
        return true;
    }
    UNREACHABLE("verdict");
}

void coordinator_repair_on_written(struct coordinator *coordinator, struct actor_context *ctx,
                                   struct request *request, uint32_t member, enum err status,
                                   uint64_t epoch)
{
    int found = coordinator_request_replica_index(request, member);
    uint32_t index = (uint32_t)found;
    if (found < 0 || (request->repairing >> index & 1) == 0)
        return;
    if (status != OK && !MUTATE(FAILED_REPAIR_IS_IGNORED)) {
        if (!repair_epoch_differs(coordinator, ctx, request, index, status, epoch))
            repair_refused(coordinator, ctx, request, index, status);
        return;
    }
    request->repairing &= ~((uint64_t)1 << index);
    if ((request->answered >> index & 1) == 0)
        request->copied |= (uint64_t)1 << index;
    if (!repair_is_done(request))
        return;
    struct message *answer = request->result;
    request->result = NULL;
    request->repairing = 0;
    repair_answer(coordinator, ctx, request, answer, request->repair);
}

void coordinator_repair_on_late(struct coordinator *coordinator, struct actor_context *ctx,
                                struct request *request)
{
    uint64_t before = request->repairing;
    repair_send(coordinator, ctx, request, before, &coordinator->figures.asked_again);
    repair_choose_copies(ctx, request, true);
    repair_send(coordinator, ctx, request, request->repairing & ~before,
                &coordinator->figures.read_repairs);
}

void coordinator_repair_on_deadline(struct coordinator *coordinator, struct actor_context *ctx,
                                    struct request *request)
{
    coordinator_get_fail(coordinator, ctx, request, ERR_UNAVAILABLE,
                         "replicas differed and were not repaired in time");
}

void coordinator_repair_on_soon(struct coordinator *coordinator, struct actor_context *ctx,
                                struct request *request)
{
    if (coordinator_get_replans(coordinator, ctx, request))
        return;
    uint64_t behind = request->behind;
    request->behind = 0;
    repair_send(coordinator, ctx, request, behind & request->repairing,
                &coordinator->figures.asked_again);
}
