/* Read repair after the answer: replicas that were asked but did not vote, because they were late
 * or one more had been asked, are compared with what was answered when their answers come, and
 * whoever lacks something is sent the join. Nobody waits for it; what is lost here the next read,
 * or anti-entropy, finds again. */
#include "actors/coordinator_request.h"

#include "model/record.h"

/* How long it waits, in read_late_ns, and the part of the table that it may take. */
#define COMPARE_LATE_TIMES  10u
#define COMPARE_TABLE_PARTS 4u

static uint64_t bit(uint32_t index)
{
    return (uint64_t)1 << index;
}

/* Asked, and neither answered nor failed. */
static uint64_t compare_expected(const struct request *request)
{
    uint64_t expected = request->asked & ~request->answered;
    for (uint32_t i = 0; i < request->replicas.count && expected >> i != 0; i++) {
        if (request->quorum.members[i].state != REPLICA_WAITING)
            expected &= ~bit(i);
    }
    return expected;
}

/* Takes the place of all that was read before. */
static void compare_remember(struct request *request, struct bytes record)
{
    struct message *kept = message_new(MESSAGE_replica_read_reply, record.size);
    kept->replica_read_reply.record = arena_copy(&kept->arena, record);
    coordinator_request_free_list(request->answers);
    request->answers = kept;
}

bool coordinator_compare_begin(struct coordinator *coordinator, struct actor_context *ctx,
                               struct request *request, struct bytes record)
{
    request->comparing = compare_expected(request);
    if (request->comparing == 0)
        return false;
    if (COMPARE_TABLE_PARTS * coordinator->comparing_count >= coordinator->options.requests_max) {
        counter_add(&coordinator->figures.compare_skipped, 1);
        return false;
    }
    compare_remember(request, record);
    request->deadline_ns = ctx->now_ns + COMPARE_LATE_TIMES * coordinator->options.read_late_ns;
    request->late_at_ns = request->soon_at_ns = NEVER_NS;
    coordinator_request_compare(coordinator, request);
    coordinator_request_wake(coordinator, request);
    return true;
}

void coordinator_compare_keep(struct request *request, struct message *message)
{
    for (const struct message *kept = request->kept; kept != NULL; kept = kept->next) {
        if (kept->from.node == message->from.node) {
            message_free(message);
            return;
        }
    }
    message->next = request->kept;
    request->kept = message;
}

static struct version_set compare_decode(const struct request *request, struct arena *arena,
                                         struct bytes record)
{
    const struct client_get *get = &request->origin->client_get;
    struct version_set set = {0};
    if (record.size != 0) {
        enum err err = record_decode(arena, get->keyspace_id, get->key, record, &set);
        CHECK(err == OK);
    }
    return set;
}

/* The join of both, canonical. */
static struct bytes compare_join(const struct request *request, struct arena *arena, struct bytes a,
                                 struct bytes b)
{
    const struct client_get *get = &request->origin->client_get;
    struct version_set left = compare_decode(request, arena, a);
    struct version_set right = compare_decode(request, arena, b);
    struct version_set joined = version_set_merge(arena, &left, &right);
    if ((request->policy & POLICY_LWW) != 0)
        joined = version_set_last_writer_wins(arena, &joined);
    return record_encode(arena, get->keyspace_id, get->key, &joined);
}

static void compare_with(struct coordinator *coordinator, struct actor_context *ctx,
                         struct request *request, uint32_t index,
                         const struct replica_read_reply *reply)
{
    struct bytes known = request->answers->replica_read_reply.record;
    counter_add(&coordinator->figures.compared, 1);
    if (reply->floor < request->floor)
        request->floor = reply->floor;
    uint64_t lacking = 0;
    if (!bytes_equal(known, reply->record)) {
        struct bytes joined = compare_join(request, &coordinator->scratch, known, reply->record);
        if (!bytes_equal(joined, reply->record))
            lacking |= bit(index);
        if (!bytes_equal(joined, known)) {
            lacking |= request->answered;
            compare_remember(request, joined);
        }
    }
    request->answered |= bit(index);
    request->repairing |= lacking;
    for (uint32_t i = 0; i < request->replicas.count; i++) {
        if ((lacking & bit(i)) == 0)
            continue;
        counter_add(&coordinator->figures.late_repairs, 1);
        coordinator_request_send_write(
            coordinator, ctx, request, request->replicas.replicas[i].member,
            request->answers->replica_read_reply.record, WRITE_READ_REPAIR);
    }
}

static void compare_end_if_done(struct coordinator *coordinator, struct request *request)
{
    if (request->comparing == 0 && request->repairing == 0)
        coordinator_request_end(coordinator, request);
}

/* Consumes the message. */
static void compare_take(struct coordinator *coordinator, struct actor_context *ctx,
                         struct request *request, uint32_t index, struct message *message)
{
    if ((request->comparing & bit(index)) != 0) {
        request->comparing &= ~bit(index);
        if (coordinator_get_verify(coordinator, request, &message->replica_read_reply) == OK)
            compare_with(coordinator, ctx, request, index, &message->replica_read_reply);
    }
    message_free(message);
}

void coordinator_compare_kept(struct coordinator *coordinator, struct actor_context *ctx,
                              struct request *request)
{
    while (request->kept != NULL) {
        struct message *message = request->kept;
        request->kept = message->next;
        int index = coordinator_request_replica_index(request, message->from.node);
        compare_take(coordinator, ctx, request, (uint32_t)index, message);
    }
    compare_end_if_done(coordinator, request);
}

void coordinator_compare_on_reply(struct coordinator *coordinator, struct actor_context *ctx,
                                  struct request *request, uint32_t index, struct message *message)
{
    compare_take(coordinator, ctx, request, index, message);
    compare_end_if_done(coordinator, request);
}

void coordinator_compare_on_written(struct coordinator *coordinator, struct request *request,
                                    uint32_t member, enum err status)
{
    int index = coordinator_request_replica_index(request, member);
    if (index < 0 || (request->repairing & bit((uint32_t)index)) == 0)
        return;
    request->repairing &= ~bit((uint32_t)index);
    if (status != OK)
        counter_add(&coordinator->figures.late_repairs_failed, 1);
    compare_end_if_done(coordinator, request);
}

void coordinator_compare_on_deadline(struct coordinator *coordinator, struct request *request)
{
    for (uint64_t left = request->repairing; left != 0; left &= left - 1)
        counter_add(&coordinator->figures.late_repairs_failed, 1);
    coordinator_request_end(coordinator, request);
}
