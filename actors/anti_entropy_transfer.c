/* The records that one side of an exchange lacks: fetched from the other in pages, written in a
 * window.
 *
 * A page has four legs. First what the first side has to send, then what the second has. Whoever
 * takes a record and afterwards holds more than that (they were concurrent, or another write came
 * in between) says so: the third and the fourth leg bring those places back the other way. After
 * that each side covers what the other held when the exchange began. */
#include "actors/anti_entropy_state.h"
#include "base/mutation.h"
#include "model/hash.h"

#define FETCH_PLACES_MAX 256u

/* -- what goes where ----------------------------------------------------------------------------
 */

static void leg_plan(struct ae_exchange *exchange, struct ae_leg *leg, uint32_t source,
                     const uint32_t *places, uint32_t count)
{
    *leg = (struct ae_leg){
        .source = source,
        .count = count,
        .places = places,
        .differs = arena_alloc_zero(&exchange->page, count),
    };
}

void ae_transfer_plan(struct ae_exchange *exchange, const struct exchange_digests digests[2])
{
    struct exchange_diff diff = exchange_digests_diff(&exchange->page, &digests[0], &digests[1]);
    uint32_t *places = ARENA_NEW(&exchange->page, uint32_t, diff.send.count);
    uint32_t count = 0;
    for (uint32_t i = 0; i < diff.send.count; i++) {
        uint32_t place = digests[0].digests[diff.send.indices[i]].place;
        if (count == 0 || places[count - 1] != place)
            places[count++] = place;
    }
    exchange->leg = 0;
    leg_plan(exchange, &exchange->legs[0], 0, places, count);
    leg_plan(exchange, &exchange->legs[1], 1, diff.want.indices, diff.want.count);
    exchange->legs[2] = (struct ae_leg){.source = 1};
    exchange->legs[3] = (struct ae_leg){.source = 0};
}

/* What came back from the leg there. */
static void leg_back(struct ae_exchange *exchange, const struct ae_leg *there)
{
    uint32_t *places = ARENA_NEW(&exchange->page, uint32_t, there->count);
    uint32_t count = 0;
    for (uint32_t i = 0; i < there->count; i++) {
        if (there->differs[i])
            places[count++] = there->places[i];
    }
    leg_plan(exchange, &exchange->legs[2 + (there - exchange->legs)], 1 - there->source, places,
             count);
}

bool ae_transfer_next(struct ae_exchange *exchange)
{
    while (exchange->legs[exchange->leg].done == exchange->legs[exchange->leg].count) {
        if (exchange->leg < 2)
            leg_back(exchange, &exchange->legs[exchange->leg]);
        if (exchange->leg + 1 == AE_LEGS)
            return false;
        exchange->leg++;
    }
    return true;
}

/* -- fetching -----------------------------------------------------------------------------------
 */

static uint32_t fetch_count(const struct ae_leg *leg)
{
    uint32_t left = leg->count - leg->done;
    return left < FETCH_PLACES_MAX ? left : FETCH_PLACES_MAX;
}

struct message *ae_transfer_question(struct ae_exchange *exchange)
{
    const struct ae_leg *leg = &exchange->legs[exchange->leg];
    struct exchange_indices places = {.count = fetch_count(leg),
                                      .indices = leg->places + leg->done};
    struct message *message = ae_message(MESSAGE_record_fetch, 0, 0, 0);
    message->record_fetch =
        (struct record_fetch){.partition = exchange->partition,
                              .keyspace_id = exchange->keyspaces[exchange->keyspace_at].id,
                              .level = exchange->level,
                              .places = exchange_indices_encode(&message->arena, &places)};
    return message;
}

const char *ae_transfer_fetched(const struct anti_entropy *ae, struct ae_exchange *exchange)
{
    struct ae_leg *leg = &exchange->legs[exchange->leg];
    struct ae_ask *open = &exchange->asks[leg->source];
    struct message *message = open->answer;
    const struct record_fetch_reply *reply = &message->record_fetch_reply;
    if (reply->served == 0 || reply->served > fetch_count(leg) ||
        exchange_records_decode(&message->arena, reply->records, &exchange->records) != OK)
        return "fetched records cannot be read";
    if (reply->bad_rows)
        ae_exchange_note_lack(ae, exchange, leg->source, ae_exchange_keyspace(exchange)->id);
    open->answer = NULL;
    exchange->fetched = message;
    exchange->record_next = 0;
    leg->done += reply->served;
    return NULL;
}

void ae_transfer_drop(struct ae_exchange *exchange)
{
    message_free(exchange->fetched);
    exchange->fetched = NULL;
    exchange->write_count = 0;
    memset(exchange->writes, 0, sizeof exchange->writes);
}

/* -- writing ------------------------------------------------------------------------------------
 */

static uint32_t receiver(const struct ae_exchange *exchange)
{
    return exchange->members[1 - exchange->legs[exchange->leg].source];
}

static const char *write_send(struct anti_entropy *ae, struct actor_context *ctx,
                              struct ae_exchange *exchange, struct ae_write *write)
{
    const struct exchange_record *record = &exchange->records.records[write->record];
    uint32_t keyspace_id = exchange->keyspaces[exchange->keyspace_at].id;
    const struct keyspace *keyspace = keyspace_map_find_id(&ctx->view->keyspaces, keyspace_id);
    if (keyspace == NULL)
        return "the keyspace was dropped meanwhile";
    struct message *message = ae_message(MESSAGE_replica_write, receiver(exchange), write->id,
                                         record->key.size + record->record.size);
    message->replica_write = (struct replica_write){
        .keyspace_id = keyspace_id,
        .key = arena_copy(&message->arena, record->key),
        .record = arena_copy(&message->arena, record->record),
        .policy = ae_policy(keyspace),
        .partition = exchange->partition,
        .reason = WRITE_ANTI_ENTROPY,
        .floor = MUTATE(STALE_SNAPSHOT_STREAMED) ? UINT64_MAX
                                                 : exchange->fetched->record_fetch_reply.floor,
    };
    write->sent_ns = ctx->now_ns;
    write->tries++;
    /* No deadline: a late write does no harm, and it would travel with each record and its answer.
     */
    ae_charge(ae, exchange, message->to.node, record->key.size + record->record.size);
    outbox_send(ctx, &ae->actor, message);
    return NULL;
}

static struct ae_write *write_find(struct ae_exchange *exchange, uint64_t id)
{
    for (uint32_t i = 0; i < ANTI_ENTROPY_WINDOW_MAX; i++) {
        if (exchange->writes[i].id == id)
            return &exchange->writes[i];
    }
    return NULL;
}

const char *ae_transfer_write(struct anti_entropy *ae, struct actor_context *ctx,
                              struct ae_exchange *exchange, bool *ret_done)
{
    while (exchange->record_next < exchange->records.count &&
           exchange->write_count < ae->options.window) {
        uint64_t wait_ns = 0;
        if (receiver(exchange) != ae->options.self && !ae_pace(ae, ctx, exchange, &wait_ns)) {
            exchange->stalled = true;
            exchange->wake_ns = ctx->now_ns + wait_ns;
            break;
        }
        struct ae_write *write = write_find(exchange, 0);
        *write = (struct ae_write){.id = ae_id(ae, AE_OWNER_EXCHANGE, exchange->slot),
                                   .record = exchange->record_next++};
        exchange->write_count++;
        const char *why = write_send(ae, ctx, exchange, write);
        if (why != NULL)
            return why;
    }
    *ret_done = exchange->write_count == 0 && exchange->record_next == exchange->records.count;
    if (*ret_done)
        ae_transfer_drop(exchange);
    return NULL;
}

/* The receiver holds more than that: the place goes back. */
static void mark_differs(const struct anti_entropy *ae, struct ae_exchange *exchange,
                         const struct exchange_record *record)
{
    struct ae_leg *leg = &exchange->legs[exchange->leg];
    uint32_t keyspace_id = exchange->keyspaces[exchange->keyspace_at].id;
    uint32_t place =
        exchange_place(ae->options.partitions, exchange->level, hash_key(keyspace_id, record->key));
    uint32_t low = 0;
    uint32_t high = leg->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (leg->places[middle] < place)
            low = middle + 1;
        else
            high = middle;
    }
    if (low < leg->count && leg->places[low] == place)
        leg->differs[low] = true;
}

const char *ae_transfer_written(struct anti_entropy *ae, struct actor_context *ctx,
                                struct ae_exchange *exchange, const struct message *message)
{
    struct ae_write *write = message->id == 0 ? NULL : write_find(exchange, message->id);
    const struct replica_write_reply *reply = &message->replica_write_reply;
    if (write == NULL || message->from.node != receiver(exchange)) {
        counter_add(&ae->figures.late, 1);
        return NULL;
    }
    ae_charge(ae, exchange, message->from.node, 0);
    const struct exchange_record *record = &exchange->records.records[write->record];
    switch (reply->status) {
    case OK:
        if (message->from.node == ae->options.self)
            exchange->taken_bytes += record->key.size + record->record.size;
        exchange->keys[1 - exchange->legs[exchange->leg].source]++;
        counter_add(message->from.node == ae->options.self ? &ae->figures.keys_received
                                                           : &ae->figures.keys_sent,
                    1);
        if (reply->differs && exchange->leg < 2)
            mark_differs(ae, exchange, record);
        break;
    case ERR_OVERLOADED:
    case ERR_TIMEOUT: /* sent again when it is late */
        write->sent_ns = ctx->now_ns;
        return NULL;
    case ERR_UNAVAILABLE:
    case ERR_INCOMPLETE:
    case ERR_STALE_EPOCH:
    case ERR_IO:
        return err_text(reply->status);
    case ERR_STALE_FLOOR:
        counter_add(&ae->figures.stale_floor, 1);
        exchange->refused++;
        break;
    default: /* this record alone: the others go on, but nothing is proven */
        if (reply->status == ERR_CORRUPT)
            exchange->damaged[1 - exchange->legs[exchange->leg].source]++;
        else
            exchange->refused++;
        break;
    }
    *write = (struct ae_write){0};
    exchange->write_count--;
    return NULL;
}

const char *ae_transfer_again(struct anti_entropy *ae, struct actor_context *ctx,
                              struct ae_exchange *exchange, uint64_t *ret_late_ns)
{
    uint64_t next_ns = NEVER_NS;
    for (uint32_t i = 0; i < ANTI_ENTROPY_WINDOW_MAX; i++) {
        struct ae_write *write = &exchange->writes[i];
        if (write->id == 0)
            continue;
        if (ctx->now_ns >= write->sent_ns + ae_late_ns(ae, write->tries)) {
            if (write->tries == ae->options.tries)
                return "a write was not answered";
            counter_add(&ae->figures.asked_again, 1);
            const char *why = write_send(ae, ctx, exchange, write);
            if (why != NULL)
                return why;
        }
        uint64_t late_ns = write->sent_ns + ae_late_ns(ae, write->tries);
        next_ns = late_ns < next_ns ? late_ns : next_ns;
    }
    *ret_late_ns = next_ns;
    return NULL;
}
