/* Read repair: the answer waits until every replica that voted holds what it says, so that no later
 * quorum read can see less (RELIABILITY rule 19; blocking read repair as in Cassandra 4.0).
 *
 * A voter that cannot take its repair now, because its disk is full say, gives its vote to another
 * replica: the read begins anew without it, while enough others are left. When none are, or a
 * repair does not come through in time, the read fails: the newer value is never handed out while a
 * quorum may still answer without it. */
#include "actors/coordinator_request.h"

#include "base/mutation.h"
#include "model/record.h"

bool coordinator_repair_copies(const struct request *request)
{
    return request->replicas.joint && request->replicas.read_side == TOPOLOGY_NOW &&
           quorum_overlaps(&request->quorum);
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

/* Sends the merged state to the voters that lack it, and counts them. */
static void repair_send(struct coordinator *coordinator, struct actor_context *ctx,
                        const struct request *request, struct counter *counter)
{
    for (uint32_t i = 0; i < request->replicas.count; i++) {
        if ((request->repairing >> i & 1) == 0)
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

/* Brings every voter that differs up to the merged state. */
static void repair_voters(struct coordinator *coordinator, struct actor_context *ctx,
                          struct request *request, struct bytes record)
{
    for (uint32_t i = 0; i < request->replicas.count; i++) {
        if ((request->answered >> i & 1) != 0 && !bytes_equal(repair_record(request, i), record))
            request->repairing |= (uint64_t)1 << i;
    }
    request->repair = record;
    repair_send(coordinator, ctx, request, &coordinator->figures.read_repairs);
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

void coordinator_repair_or_answer(struct coordinator *coordinator, struct actor_context *ctx,
                                  struct request *request)
{
    const struct client_get *get = &request->origin->client_get;
    struct bytes first = request->answers->replica_read_reply.record;
    struct message *answer = coordinator_get_answer(request, ctx, OK, first.size + 256);
    bool agree = repair_answers_agree(request);
    request->floor = repair_floor(request);
    if (agree) {
        /* The usual case: one decode, from a copy that lives as long as the answer. */
        if (first.size != 0) {
            enum err err =
                record_decode(&answer->arena, get->keyspace_id, get->key,
                              arena_copy(&answer->arena, first), &answer->client_get_done.set);
            CHECK(err == OK);
        }
        repair_answer(coordinator, ctx, request, answer, first);
        return;
    }
    counter_add(&coordinator->figures.read_differed, 1);
    struct version_set merged = repair_merge(request, &coordinator->scratch);
    struct bytes record = record_encode(&answer->arena, get->keyspace_id, get->key, &merged);
    enum err err = record_decode(&answer->arena, get->keyspace_id, get->key, record,
                                 &answer->client_get_done.set);
    CHECK(err == OK);
    repair_voters(coordinator, ctx, request, record);
    if (MUTATE(READ_REPAIR_IN_BACKGROUND))
        request->repairing = 0;
    if (request->repairing == 0) {
        repair_answer(coordinator, ctx, request, answer, record);
        return;
    }
    coordinator_request_move(request, REQUEST_REPAIRING);
    request->result = answer;
    coordinator_request_set_late(coordinator, ctx, request, coordinator->options.read_late_ns);
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

void coordinator_repair_on_written(struct coordinator *coordinator, struct actor_context *ctx,
                                   struct request *request, uint32_t member, enum err status)
{
    int index = coordinator_request_replica_index(request, member);
    if (index < 0 || (request->repairing >> index & 1) == 0)
        return;
    if (status == ERR_STALE_FLOOR && !request->read_again) {
        /* Tombstones were reaped there since this was read: what was read may be what they hid. */
        request->read_again = true;
        coordinator_get_again(coordinator, ctx, request);
        return;
    }
    if (status != OK && !MUTATE(FAILED_REPAIR_IS_IGNORED)) {
        request->last_error = status;
        if (repair_leave_out(coordinator, ctx, request, member, status))
            return;
        coordinator_get_fail(coordinator, ctx, request, coordinator_request_failure(request),
                             "replicas differed and one could not be repaired");
        return;
    }
    request->repairing &= ~((uint64_t)1 << index);
    if (request->repairing != 0)
        return;
    struct message *answer = request->result;
    request->result = NULL;
    repair_answer(coordinator, ctx, request, answer, request->repair);
}

void coordinator_repair_on_late(struct coordinator *coordinator, struct actor_context *ctx,
                                struct request *request)
{
    repair_send(coordinator, ctx, request, &coordinator->figures.asked_again);
}

void coordinator_repair_on_deadline(struct coordinator *coordinator, struct actor_context *ctx,
                                    struct request *request)
{
    coordinator_get_fail(coordinator, ctx, request, ERR_UNAVAILABLE,
                         "replicas differed and were not repaired in time");
}
