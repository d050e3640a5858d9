/* What a node says is on its disk when it says so: a crash right after the answer takes nothing
 * back (RELIABILITY rules 17, 22). Requests to replicas and keepers of hints are remembered until
 * their answers leave; then the durable state must descend what was asked or shown. */
#include "actors/hinted_handoff_rows.h"
#include "model/hash.h"
#include "model/record.h"
#include "tests/sim/check.h"
#include "tests/sim/world.h"

#include <stddef.h>
#include <stdlib.h>

struct asked {
    enum message_kind answer;
    uint64_t id;
    struct actor_id by;
    uint32_t target; /* of a hint; MEMBER_NONE */
    uint32_t keyspace_id;
    uint32_t partition;
    struct bytes key;     /* in `memory` */
    struct bytes record;  /* to be written; empty for a read or a mint */
    struct ballot ballot; /* to be promised or accepted */
    uint8_t *memory;
    struct asked *next;
};

static void remember(struct host *host, const struct message *message, enum message_kind answer,
                     const struct asked *what)
{
    struct asked *asked = malloc(sizeof *asked + what->key.size + what->record.size);
    CHECK(asked != NULL);
    *asked = *what;
    asked->memory = (uint8_t *)(asked + 1);
    memcpy(asked->memory, what->key.data, what->key.size);
    if (what->record.size != 0)
        memcpy(asked->memory + what->key.size, what->record.data, what->record.size);
    asked->key = bytes_of(asked->memory, what->key.size);
    asked->record = bytes_of(asked->memory + what->key.size, what->record.size);
    asked->answer = answer;
    asked->id = message->id;
    asked->by = message->from;
    if (message->kind == MESSAGE_replica_write && message->replica_write.answer_to != MEMBER_NONE)
        asked->by.node = message->replica_write.answer_to;
    asked->next = host->asked;
    host->asked = asked;
}

static void remember_vote(struct host *host, const struct message *message,
                          enum message_kind answer, uint32_t keyspace_id, struct bytes key,
                          struct ballot ballot)
{
    remember(host, message, answer,
             &(struct asked){.target = MEMBER_NONE,
                             .keyspace_id = keyspace_id,
                             .partition = message_partition(message),
                             .key = key,
                             .ballot = ballot});
}

static void remember_write(struct host *host, const struct message *message,
                           enum message_kind answer, uint32_t target,
                           const struct replica_write *write)
{
    if ((write->policy & POLICY_PERIODIC) == 0 || target != MEMBER_NONE)
        remember(host, message, answer,
                 &(struct asked){.target = target,
                                 .keyspace_id = write->keyspace_id,
                                 .partition = write->partition,
                                 .key = write->key,
                                 .record = write->record});
}

void check_durable_asked(struct host *host, const struct message *message)
{
    if (message->kind == MESSAGE_replica_write) {
        remember_write(host, message, MESSAGE_replica_write_reply, MEMBER_NONE,
                       &message->replica_write);
    } else if (message->kind == MESSAGE_hint_store) {
        remember_write(host, message, MESSAGE_hint_store_reply, message->hint_store.target,
                       &message->hint_store.write);
    } else if (message->kind == MESSAGE_replica_read) {
        const struct replica_read *read = &message->replica_read;
        if ((read->policy & POLICY_PERIODIC) == 0)
            remember(host, message, MESSAGE_replica_read_reply,
                     &(struct asked){.target = MEMBER_NONE,
                                     .keyspace_id = read->keyspace_id,
                                     .partition = read->partition,
                                     .key = read->key});
    } else if (message->kind == MESSAGE_replica_mint) {
        const struct replica_mint *mint = &message->replica_mint;
        if ((mint->policy & POLICY_PERIODIC) == 0)
            remember(host, message, MESSAGE_replica_mint_done,
                     &(struct asked){.target = MEMBER_NONE,
                                     .keyspace_id = mint->request.keyspace_id,
                                     .partition = mint->partition,
                                     .key = mint->request.key});
    } else if (message->kind == MESSAGE_register_query) {
        remember_vote(host, message, MESSAGE_register_query_reply,
                      message->register_query.keyspace_id, message->register_query.key,
                      (struct ballot){0});
    } else if (message->kind == MESSAGE_register_prepare) {
        remember_vote(host, message, MESSAGE_register_prepare_reply,
                      message->register_prepare.keyspace_id, message->register_prepare.key,
                      message->register_prepare.ballot);
    } else if (message->kind == MESSAGE_register_accept) {
        remember_vote(host, message, MESSAGE_register_accept_reply,
                      message->register_accept.keyspace_id, message->register_accept.key,
                      message->register_accept.ballot);
    }
}

void check_durable_forget(struct host *host)
{
    while (host->asked != NULL) {
        struct asked *next = host->asked->next;
        free(host->asked);
        host->asked = next;
    }
}

/* The record that the answer speaks of; empty: it says nothing about the disk. */
static struct bytes spoken_of(const struct message *answer, const struct asked *asked)
{
    struct bytes nothing = {0};
    if (answer->kind == MESSAGE_replica_read_reply)
        return answer->replica_read_reply.status == OK ? answer->replica_read_reply.record
                                                       : nothing;
    if (answer->kind == MESSAGE_replica_mint_done)
        return answer->replica_mint_done.status == OK ? answer->replica_mint_done.record : nothing;
    enum err status = answer->kind == MESSAGE_hint_store_reply ? answer->hint_store_reply.status
                                                               : answer->replica_write_reply.status;
    return status == OK ? asked->record : nothing;
}

/* What a crash now would leave of it. */
static enum err read_durable(struct host *host, const struct asked *asked, struct arena *arena,
                             struct bytes *ret_record)
{
    uint8_t memory[ROW_KEY_BYTES_MAX];
    if (asked->target == MEMBER_NONE) {
        size_t size = hash_storage_key(asked->keyspace_id, asked->key,
                                       hash_key(asked->keyspace_id, asked->key), memory);
        return engine_memory_read_durable(host->engine, asked->partition, bytes_of(memory, size),
                                          arena, ret_record);
    }
    struct hint hint = {
        .target = asked->target, .keyspace_id = asked->keyspace_id, .key = asked->key};
    struct bytes row_key = bytes_of(memory, hint_row_key(&hint, memory));
    struct bytes value = {0};
    enum err err = engine_memory_read_durable(host->engine, STORE_HINTS, row_key, arena, &value);
    if (err == OK)
        err = hint_decode(row_key, value, &hint);
    *ret_record = hint.record;
    return err;
}

/* A keeper that knows the target to be no replica any more keeps the hint for one that is. */
static void join_other_hints(struct host *host, const struct asked *asked, struct arena *arena,
                             struct version_set *held)
{
    for (uint32_t i = 0; i < host->world->options.nodes; i++) {
        struct asked other = *asked;
        struct bytes record = {0};
        struct version_set kept;
        other.target = i + 1;
        if (read_durable(host, &other, arena, &record) == OK &&
            record_decode(arena, asked->keyspace_id, asked->key, record, &kept) == OK)
            *held = version_set_merge(arena, held, &kept);
    }
}

/* The target had it, and the partition has gone over since: each of those that are read now took
 * that copy, or what it was repaired with. Or it was given up, and they were handed the hint. Only
 * what all of them hold counts. */
static bool all_that_took_over_hold(struct host *host, const struct asked *asked,
                                    struct arena *arena, const struct clock *said)
{
    struct world *world = host->world;
    uint32_t keyspace = 0;
    while (keyspace < SIM_KEYSPACES_MAX &&
           world->workload.keyspace_ids[keyspace] != asked->keyspace_id)
        keyspace++;
    if (keyspace == SIM_KEYSPACES_MAX)
        return false;
    struct replica_set set = check_replica_set(world, keyspace, asked->key);
    bool any = false;
    for (uint32_t i = 0; i < set.count; i++) {
        struct host *other = &world->hosts[set.replicas[i].member - 1];
        struct version_set held = {0};
        if (other->dead || !set.replicas[i].reader ||
            host_is_rotten(other, asked->keyspace_id, asked->key))
            continue;
        host_peek_durable(other, asked->keyspace_id, asked->key, arena, &held);
        struct clock all =
            check_explained(world, asked->keyspace_id, asked->key, &held.clock, arena);
        if (other->member == asked->target || !clock_descends(&all, said))
            return false;
        any = true;
    }
    return any;
}

/* By its view it is no replica of that any more, and its rows may be swept already. What it says
 * then speaks for the sets of the step before, and a member of both has the write
 * (actors/replica_gain.h). */
static bool gave_up(const struct host *host, const struct asked *asked)
{
    const struct keyspace *keyspace =
        keyspace_map_find_id(&host->view->keyspaces, asked->keyspace_id);
    return asked->target == MEMBER_NONE && keyspace != NULL &&
           view_role(host->view, keyspace, asked->partition, host->member) == ROLE_NONE;
}

/* A crash would leave all that the answer speaks of. */
static bool answer_is_true(struct host *host, const struct asked *asked, struct bytes spoken)
{
    struct arena arena;
    struct version_set said = {0};
    struct version_set held = {0};
    struct bytes durable = {0};
    arena_init(&arena, NULL, 0);
    enum err err = read_durable(host, asked, &arena, &durable);
    bool same = err == OK && bytes_equal(durable, spoken);
    if (!same && err == OK)
        err = record_decode(&arena, asked->keyspace_id, asked->key, durable, &held);
    bool good =
        same || ((err == OK || err == ERR_NOT_FOUND) &&
                 record_decode(&arena, asked->keyspace_id, asked->key, spoken, &said) == OK &&
                 clock_descends(&held.clock, &said.clock));
    struct clock all =
        check_explained(host->world, asked->keyspace_id, asked->key, &held.clock, &arena);
    good |= clock_descends(&all, &said.clock) && (err == OK || err == ERR_NOT_FOUND);
    /* A hint may have been delivered already, or refused as older than what was reaped there: then
     * the range is dirty. */
    const struct hinted_handoff_figures *hints = hinted_handoff_figures(host->hinted_handoff);
    if (!good && asked->target != MEMBER_NONE) {
        /* A bad row stays on the disk until what it was repaired with is durable. */
        bool sound = host_peek_durable(&host->world->hosts[asked->target - 1], asked->keyspace_id,
                                       asked->key, &arena, &held);
        if (world_has(host->world, FAULT_MEMBERSHIP))
            join_other_hints(host, asked, &arena, &held);
        all = check_explained(host->world, asked->keyspace_id, asked->key, &held.clock, &arena);
        good =
            !sound || clock_descends(&all, &said.clock) || counter_get(&hints->stale) > 0 ||
            all_that_took_over_hold(host, asked, &arena, &said.clock) ||
            host_lost_lately(&host->world->hosts[asked->target - 1]) ||
            host_is_rotten(&host->world->hosts[asked->target - 1], asked->keyspace_id, asked->key);
    } else if (!good) {
        good = host_is_rotten(host, asked->keyspace_id, asked->key);
    }
    arena_deinit(&arena);
    return good;
}

/* The same of a vote: what is durable has promised and accepted at least what is said. One that was
 * taken back while it was held says nothing: the copy was given away meanwhile. */
static bool vote_is_true(struct host *host, const struct asked *asked, const struct message *answer)
{
    struct ballot promised = {0};
    struct ballot accepted = {0};
    static_assert(offsetof(struct register_query_reply, status) == 0 &&
                      offsetof(struct register_prepare_reply, status) == 0 &&
                      offsetof(struct register_accept_reply, status) == 0,
                  "read through the first");
    if (answer->register_query_reply.status != OK)
        return true;
    if (answer->kind == MESSAGE_register_query_reply) {
        promised = answer->register_query_reply.promised;
        accepted = answer->register_query_reply.accepted;
    } else if (answer->kind == MESSAGE_register_prepare_reply) {
        promised = answer->register_prepare_reply.agreed ? asked->ballot : promised;
        accepted = answer->register_prepare_reply.accepted;
    } else if (answer->register_accept_reply.agreed) {
        accepted = asked->ballot;
    }
    struct arena arena;
    struct register_state held;
    arena_init(&arena, NULL, 0);
    bool rotten = !host_peek_register(host, asked->keyspace_id, asked->key, &arena, &held);
    arena_deinit(&arena);
    return rotten || (ballot_compare(held.accepted, accepted) >= 0 &&
                      ballot_compare(ballot_max(held.promised, held.accepted), promised) >= 0);
}

static bool is_vote(const struct message *message)
{
    return message->kind == MESSAGE_register_query_reply ||
           message->kind == MESSAGE_register_prepare_reply ||
           message->kind == MESSAGE_register_accept_reply;
}

static bool answer_lies(struct host *host, const struct asked *asked, const struct message *answer)
{
    if (is_vote(answer))
        return !vote_is_true(host, asked, answer) && !gave_up(host, asked);
    struct bytes spoken = spoken_of(answer, asked);
    return spoken.size != 0 && !answer_is_true(host, asked, spoken) && !gave_up(host, asked);
}

static bool is_answer(const struct message *message)
{
    return is_vote(message) || message->kind == MESSAGE_replica_write_reply ||
           message->kind == MESSAGE_replica_read_reply ||
           message->kind == MESSAGE_replica_mint_done || message->kind == MESSAGE_hint_store_reply;
}

/* Several requests may have one number: copies, and hints for several replicas at one keeper. Then
 * one of them must fit. */
void check_durable_answered(struct host *host, const struct message *answer)
{
    struct asked **fitting = NULL;
    if (!is_answer(answer))
        return;
    bool lies = false;
    for (struct asked **place = &host->asked; *place != NULL; place = &(*place)->next) {
        struct asked *asked = *place;
        if (asked->answer != answer->kind || asked->id != answer->id ||
            !actor_id_equal(asked->by, answer->to))
            continue;
        fitting = place;
        lies = answer_lies(host, asked, answer);
        if (!lies)
            break;
    }
    /* Of several hints under one number nobody can tell which one was refused. */
    if (fitting == NULL ||
        (answer->kind == MESSAGE_hint_store_reply && answer->hint_store_reply.status != OK))
        return;
    struct asked *asked = *fitting;
    if (lies)
        world_fail(host->world, "durable",
                   "n%u: a %s leaves; a crash could still take back what it says of %.*s",
                   host->member, message_kind_text(answer->kind), (int)asked->key.size,
                   (const char *)asked->key.data);
    if (answer->kind == MESSAGE_replica_write_reply && asked->keyspace_id != 0 &&
        asked->keyspace_id == host->world->registers.keyspace_id)
        check_registers_refused(host, answer->replica_write_reply.status);
    *fitting = asked->next;
    free(asked);
}
