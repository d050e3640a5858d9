/* Two replicas compared, from the roots down to the digests. Every question is built from the
 * exchange's state, so asking again is building it again under the same id. */
#include "actors/anti_entropy_state.h"

#include "base/mutation.h"
#include "model/hash.h"

#include <inttypes.h>
#include <stdlib.h>

/* -- questions ----------------------------------------------------------------------------------
 */

static void asks_clear(struct ae_exchange *exchange)
{
    for (uint32_t side = 0; side < 2; side++) {
        message_free(exchange->asks[side].answer);
        exchange->asks[side] = (struct ae_ask){0};
    }
}

void ae_exchange_enter(struct ae_exchange *exchange, enum ae_phase phase, bool first, bool second)
{
    asks_clear(exchange);
    exchange->phase = phase;
    exchange->asks[0].wanted = first;
    exchange->asks[1].wanted = second;
}

static struct message *question(struct ae_exchange *exchange, uint32_t side)
{
    struct message *message = NULL;
    uint32_t member = exchange->members[side];
    uint64_t id = exchange->asks[side].id;
    if (exchange->phase == AE_ROOTS) {
        message = ae_message(MESSAGE_tree_roots, member, id, 0);
        message->tree_roots.partition = exchange->partition;
        return message;
    }
    const struct ae_keyspace *keyspace = ae_exchange_keyspace(exchange);
    struct exchange_indices nodes = ae_exchange_chunk(exchange);
    if (exchange->phase == AE_ALIGN) {
        message = ae_message(MESSAGE_reap_seal, member, id, 0);
        message->reap_seal = (struct reap_seal){.partition = exchange->partition,
                                                .keyspace_id = keyspace->id,
                                                .floor = keyspace->floors[1 - side],
                                                .reaped = keyspace->reaped[1 - side]};
    } else if (exchange->phase == AE_TREE) {
        message = ae_message(MESSAGE_tree_read, member, id, 0);
        message->tree_read =
            (struct tree_read){.partition = exchange->partition,
                               .keyspace_id = keyspace->id,
                               .level = exchange->level,
                               .fanout_bits = exchange->fanout_bits,
                               .salt = exchange->salt,
                               .nodes = exchange_indices_encode(&message->arena, &nodes)};
    } else if (exchange->phase == AE_DIGESTS) {
        message = ae_message(MESSAGE_digest_read, member, id, 0);
        message->digest_read =
            (struct digest_read){.partition = exchange->partition,
                                 .keyspace_id = keyspace->id,
                                 .level = exchange->level,
                                 .salt = exchange->salt,
                                 .nodes = exchange_indices_encode(&message->arena, &nodes),
                                 .from_hash = exchange->page_from};
    } else {
        CHECK_U64(exchange->phase, ==, AE_FETCH);
        message = ae_transfer_question(exchange);
        message->to.node = member;
        message->id = id;
    }
    return message;
}

static size_t question_bytes(const struct message *message)
{
    return message->kind == MESSAGE_tree_read      ? message->tree_read.nodes.size
           : message->kind == MESSAGE_digest_read  ? message->digest_read.nodes.size
           : message->kind == MESSAGE_record_fetch ? message->record_fetch.places.size
                                                   : 0;
}

uint64_t ae_late_ns(const struct anti_entropy *ae, uint32_t tries)
{
    return ae->options.late_ns << (tries > 4 ? 3 : tries - 1);
}

static void ask(struct anti_entropy *ae, struct actor_context *ctx, struct ae_exchange *exchange,
                uint32_t side)
{
    struct ae_ask *open = &exchange->asks[side];
    if (open->id == 0)
        open->id = ae_id(ae, AE_OWNER_EXCHANGE, exchange->slot);
    open->sent_ns = ctx->now_ns;
    open->tries++;
    struct message *message = question(exchange, side);
    message->deadline_ns = ctx->now_ns + ae_late_ns(ae, open->tries);
    ae_charge(ae, exchange, exchange->members[side], question_bytes(message));
    outbox_send(ctx, &ae->actor, message);
}

/* True when both sides have answered; asks what has not been asked. */
static bool asked(struct anti_entropy *ae, struct actor_context *ctx, struct ae_exchange *exchange)
{
    bool all = true;
    for (uint32_t side = 0; side < 2; side++) {
        struct ae_ask *open = &exchange->asks[side];
        if (!open->wanted || open->answer != NULL)
            continue;
        all = false;
        uint64_t wait_ns = 0;
        if (open->id != 0)
            continue;
        if (!ae_pace(ae, ctx, exchange, &wait_ns)) {
            exchange->stalled = true;
            exchange->wake_ns = ctx->now_ns + wait_ns;
            return false;
        }
        ask(ae, ctx, exchange, side);
    }
    return all;
}

/* -- the exchange -------------------------------------------------------------------------------
 */

static bool asking(const struct ae_exchange *exchange)
{
    return exchange->asks[0].wanted || exchange->asks[1].wanted;
}

static const char *answered(struct anti_entropy *ae, struct actor_context *ctx,
                            struct ae_exchange *exchange)
{
    const char *why;
    switch (exchange->phase) {
    case AE_ROOTS:
        return ae_compare_roots_answered(ae, ctx, exchange);
    case AE_ALIGN:
        return ae_compare_align_answered(ae, exchange);
    case AE_TREE:
        return ae_compare_tree_answered(ae, exchange);
    case AE_DIGESTS:
        return ae_compare_digests_answered(ae, exchange);
    case AE_FETCH:
        why = ae_transfer_fetched(ae, exchange);
        asks_clear(exchange);
        exchange->phase = AE_WRITE;
        return why;
    case AE_WRITE:
        break;
    }
    CHECK(false);
    return NULL;
}

/* What comes next in a phase that has no question open. */
static const char *next(struct anti_entropy *ae, struct ae_exchange *exchange)
{
    switch (exchange->phase) {
    case AE_ALIGN:
        return ae_compare_align_answered(ae, exchange);
    case AE_TREE:
        return ae_compare_tree_next(exchange);
    case AE_DIGESTS:
        return ae_compare_digests_next(exchange);
    case AE_FETCH:
        return ae_compare_fetch_next(exchange);
    case AE_ROOTS:
    case AE_WRITE:
        break;
    }
    CHECK(false);
    return NULL;
}

/* When something that was asked is late. */
static uint64_t late_at(const struct anti_entropy *ae, const struct ae_exchange *exchange)
{
    uint64_t at_ns = NEVER_NS;
    for (uint32_t side = 0; side < 2; side++) {
        const struct ae_ask *open = &exchange->asks[side];
        if (open->id == 0 || open->answer != NULL)
            continue;
        uint64_t late_ns = open->sent_ns + ae_late_ns(ae, open->tries);
        at_ns = late_ns < at_ns ? late_ns : at_ns;
    }
    return at_ns;
}

/* Does all that can be done now. */
static void step(struct anti_entropy *ae, struct actor_context *ctx, struct ae_exchange *exchange)
{
    const char *why = NULL;
    exchange->stalled = false;
    exchange->wake_ns = NEVER_NS;
    while (why == NULL) {
        if (exchange->phase == AE_WRITE) {
            bool done = false;
            why = ae_transfer_write(ae, ctx, exchange, &done);
            if (why == NULL && !done)
                break;
            if (why == NULL)
                ae_exchange_enter(exchange, AE_FETCH, false, false);
        } else if (!asking(exchange)) {
            why = next(ae, exchange);
        } else if (asked(ae, ctx, exchange)) {
            why = answered(ae, ctx, exchange);
        } else {
            break;
        }
    }
    if (why != NULL) {
        ae_exchange_end(ae, ctx, exchange, why == AE_DONE ? NULL : why);
        return;
    }
    uint64_t late_ns = late_at(ae, exchange);
    if (late_ns < exchange->wake_ns)
        exchange->wake_ns = late_ns;
    if (exchange->phase == AE_WRITE && exchange->write_count > 0) {
        why = ae_transfer_again(ae, ctx, exchange, &late_ns);
        if (why != NULL)
            ae_exchange_end(ae, ctx, exchange, why);
        else if (late_ns < exchange->wake_ns)
            exchange->wake_ns = late_ns;
    }
}

bool ae_exchange_runs(const struct anti_entropy *ae, uint32_t partition, uint32_t a, uint32_t b)
{
    for (uint32_t i = 0; i < ANTI_ENTROPY_EXCHANGES_MAX; i++) {
        const struct ae_exchange *exchange = &ae->exchanges[i];
        if (exchange->running && exchange->partition == partition &&
            ((exchange->members[0] == a && exchange->members[1] == b) ||
             (exchange->members[0] == b && exchange->members[1] == a)))
            return true;
    }
    return false;
}

bool ae_exchange_begin(struct anti_entropy *ae, struct actor_context *ctx,
                       const struct ae_exchange_plan *plan)
{
    bool fills = plan->reason == AE_GAIN;
    bool full =
        fills ? ae->fills == ae->options.fills_max : ae->running == ae->options.exchanges_max;
    if (full || ae_exchange_runs(ae, plan->partition, plan->members[0], plan->members[1]))
        return false;
    uint32_t slot = 0;
    while (ae->exchanges[slot].running)
        slot++;
    struct ae_exchange *exchange = &ae->exchanges[slot];
    *exchange = (struct ae_exchange){
        .running = true,
        .slot = slot,
        .partition = plan->partition,
        .members = {plan->members[0], plan->members[1]},
        .reason = plan->reason,
        .task = plan->task,
        .only_keyspace = plan->only_keyspace,
        .serial = ++ae->serial,
        .began_ms = ctx->wall_ms,
        .salt = prng_u64(ctx->prng),
        .self_was_complete = !ae_completion_fills(ae, plan->partition),
    };
    arena_init(&exchange->arena, NULL, 0);
    arena_init(&exchange->page, NULL, 0);
    *(fills ? &ae->fills : &ae->running) += 1;
    counter_add(&ae->figures.exchanges, 1);
    counter_add(&ae->figures.fills, fills);
    counter_set(&ae->figures.exchanges_running, ae->running + ae->fills);
    ae_schedule_begun(ae, ctx, exchange);
    ae_exchange_enter(exchange, AE_ROOTS, true, true);
    step(ae, ctx, exchange);
    return true;
}

void ae_exchange_free(struct ae_exchange *exchange)
{
    if (!exchange->running)
        return;
    asks_clear(exchange);
    ae_transfer_drop(exchange);
    free(exchange->front.indices);
    free(exchange->next.indices);
    ae_ids_free(&exchange->lacks);
    arena_deinit(&exchange->arena);
    arena_deinit(&exchange->page);
    exchange->running = false;
}

void ae_ids_add(struct ae_ids *ids, uint32_t id)
{
    for (uint32_t i = 0; i < ids->count; i++) {
        if (ids->ids[i] == id)
            return;
    }
    if (ids->count == ids->capacity) {
        ids->capacity = ids->capacity == 0 ? 4 : 2 * ids->capacity;
        ids->ids = realloc(ids->ids, ids->capacity * sizeof *ids->ids);
        CHECK(ids->ids != NULL);
    }
    ids->ids[ids->count++] = id;
}

void ae_ids_free(struct ae_ids *ids)
{
    free(ids->ids);
    *ids = (struct ae_ids){0};
}

/* A copy that is made here must not say "nothing" where its source says "damaged". */
void ae_exchange_note_lack(const struct anti_entropy *ae, struct ae_exchange *exchange,
                           uint32_t side, uint32_t keyspace_id)
{
    if (exchange->members[side] != ae->options.self)
        ae_ids_add(&exchange->lacks, keyspace_id);
}

/* One that fills a copy after a loss goes on without the keyspaces that have bad rows there
 * (anti_entropy_completion.c). The source of a gain need not take what it cannot read itself. */
static const char *end_reason(const struct ae_exchange *exchange)
{
    bool gains = exchange->reason == AE_GAIN;
    if (exchange->refused + exchange->damaged[0] + (gains ? 0 : exchange->damaged[1]) != 0)
        return "rows were refused";
    return gains && exchange->lacks.count > 0 && !MUTATE(GAIN_PASSES_OVER_BAD_ROWS)
               ? WAIT_WHY_BAD_ROWS
               : NULL;
}

/* A keyspace in which the other side is read, and is being filled, is among what it lacks. One that
 * is unreadable itself may have trees from before that: they may be equal all the same. */
bool ae_exchange_gave(const struct anti_entropy *ae, const struct ae_exchange *exchange)
{
    uint32_t other = exchange->members[0] == ae->options.self ? 1 : 0;
    return exchange->through && exchange->refused + exchange->damaged[other] == 0 &&
           exchange->complete[other] && !exchange->unfit && exchange->lacks.count == 0;
}

void ae_exchange_end(struct anti_entropy *ae, struct actor_context *ctx,
                     struct ae_exchange *exchange, const char *why)
{
    exchange->through = why == NULL;
    exchange->why = why != NULL ? why : end_reason(exchange);
    bool whole = exchange->why == NULL && !exchange->left_out;
    if (MUTATE(EXCHANGE_ALWAYS_PROVES))
        whole = true;
    if (!whole)
        counter_add(&ae->figures.exchanges_failed, 1);
    else if (exchange->keyspace_count == 0)
        counter_add(&ae->figures.exchanges_equal, 1);
    if (!whole || exchange->keys[0] + exchange->keys[1] > 0)
        log_write(ctx->log, exchange->refused == 0 ? LOG_INFO : LOG_WARNING, "exchange_ended",
                  "partition=%" PRIu32 " members=%" PRIu32 ",%" PRIu32 " whole=%d why=\"%s\""
                  " keys_to_first=%" PRIu64 " keys_to_second=%" PRIu64 " bytes=%" PRIu64
                  " refused=%" PRIu32,
                  exchange->partition, exchange->members[0], exchange->members[1], whole,
                  exchange->why == NULL ? "" : exchange->why, exchange->keys[0], exchange->keys[1],
                  exchange->bytes, exchange->refused + exchange->damaged[0] + exchange->damaged[1]);
    struct ae_ids lacks = exchange->lacks;
    exchange->lacks = (struct ae_ids){0};
    ae_exchange_free(exchange);
    *(exchange->reason == AE_GAIN ? &ae->fills : &ae->running) -= 1;
    counter_set(&ae->figures.exchanges_running, ae->running + ae->fills);
    ae->look_ns = ctx->now_ns; /* a place is free */
    exchange->lacks = lacks;
    ae_schedule_ended(ae, ctx, exchange, whole);
    ae_ids_free(&exchange->lacks);
}

/* -- answers ------------------------------------------------------------------------------------
 */

static enum err answer_status(const struct message *message)
{
    return message->replica_write_reply.status; /* all of them begin with it (message.c) */
}

static size_t answer_bytes(const struct message *message)
{
    return message->kind == MESSAGE_tree_roots_reply     ? message->tree_roots_reply.roots.size
           : message->kind == MESSAGE_tree_read_reply    ? message->tree_read_reply.hashes.size
           : message->kind == MESSAGE_digest_read_reply  ? message->digest_read_reply.digests.size
           : message->kind == MESSAGE_record_fetch_reply ? message->record_fetch_reply.records.size
                                                         : 0;
}

static bool answer_fits(const struct ae_exchange *exchange, enum message_kind kind)
{
    static const enum message_kind kinds[] = {
        [AE_ROOTS] = MESSAGE_tree_roots_reply,   [AE_ALIGN] = MESSAGE_reap_seal_reply,
        [AE_TREE] = MESSAGE_tree_read_reply,     [AE_DIGESTS] = MESSAGE_digest_read_reply,
        [AE_FETCH] = MESSAGE_record_fetch_reply, [AE_WRITE] = MESSAGE_replica_write_reply,
    };
    return kinds[exchange->phase] == kind;
}

/* Which side's open question this answers; 2: none. */
static uint32_t answer_side(const struct ae_exchange *exchange, const struct message *message)
{
    for (uint32_t side = 0; side < 2; side++) {
        const struct ae_ask *open = &exchange->asks[side];
        if (open->id == message->id && open->answer == NULL &&
            message->from.node == exchange->members[side])
            return side;
    }
    return 2;
}

bool ae_exchange_expects(const struct anti_entropy *ae, const struct message *message)
{
    for (uint32_t i = 0; i < ANTI_ENTROPY_EXCHANGES_MAX; i++) {
        const struct ae_exchange *exchange = &ae->exchanges[i];
        if (exchange->running && answer_fits(exchange, message->kind) &&
            answer_side(exchange, message) != 2)
            return true;
    }
    return false;
}

void ae_exchange_answered(struct anti_entropy *ae, struct actor_context *ctx, uint32_t slot,
                          struct message *message)
{
    struct ae_exchange *exchange = slot < ANTI_ENTROPY_EXCHANGES_MAX ? &ae->exchanges[slot] : NULL;
    if (exchange == NULL || !exchange->running || !answer_fits(exchange, message->kind)) {
        counter_add(&ae->figures.late, 1);
        message_free(message);
        return;
    }
    if (message->kind == MESSAGE_replica_write_reply) {
        const char *why = ae_transfer_written(ae, ctx, exchange, message);
        message_free(message);
        if (why != NULL)
            ae_exchange_end(ae, ctx, exchange, why);
        else
            step(ae, ctx, exchange);
        return;
    }
    uint32_t side = answer_side(exchange, message);
    if (side == 2) {
        counter_add(&ae->figures.late, 1);
        message_free(message);
        return;
    }
    ae_charge(ae, exchange, message->from.node, answer_bytes(message));
    enum err status = answer_status(message);
    bool sealed_already = message->kind == MESSAGE_reap_seal_reply && status == ERR_STALE_FLOOR;
    if (status == ERR_OVERLOADED || status == ERR_TIMEOUT) { /* asked again when it is late */
        message_free(message);
        return;
    }
    if (status != OK && !sealed_already) {
        message_free(message);
        ae_exchange_end(ae, ctx, exchange, err_text(status));
        return;
    }
    exchange->asks[side].answer = message;
    step(ae, ctx, exchange);
}

static const char *ask_again(struct anti_entropy *ae, struct actor_context *ctx,
                             struct ae_exchange *exchange)
{
    for (uint32_t side = 0; side < 2; side++) {
        struct ae_ask *open = &exchange->asks[side];
        if (open->id == 0 || open->answer != NULL ||
            ctx->now_ns < open->sent_ns + ae_late_ns(ae, open->tries))
            continue;
        if (open->tries == ae->options.tries)
            return "no answer";
        counter_add(&ae->figures.asked_again, 1);
        ask(ae, ctx, exchange, side);
    }
    return NULL;
}

void ae_exchange_tick(struct anti_entropy *ae, struct actor_context *ctx)
{
    for (uint32_t i = 0; i < ANTI_ENTROPY_EXCHANGES_MAX; i++) {
        struct ae_exchange *exchange = &ae->exchanges[i];
        if (!exchange->running || exchange->wake_ns > ctx->now_ns)
            continue;
        const char *why = ask_again(ae, ctx, exchange);
        if (why == NULL &&
            (!ae_reachable(ctx, exchange->members[0]) || !ae_reachable(ctx, exchange->members[1])))
            why = "a side went down";
        if (why != NULL)
            ae_exchange_end(ae, ctx, exchange, why);
        else
            step(ae, ctx, exchange);
    }
}
