/* The topology log (model/topology.h): what a voter has agreed to for an epoch is on its disk when
 * it says so, and nothing below it is agreed to afterwards, in no life of the voter. A document is
 * on the disk of whoever acts by it (RELIABILITY rules 17, 35). */
#include "base/codec.h"
#include "model/register.h"
#include "tests/sim/world.h"

void check_log_asked(struct host *host, const struct message *message)
{
    struct log_watch *watch = &host->log_watch;
    bool prepares = message->kind == MESSAGE_topology_prepare;
    if (!prepares && message->kind != MESSAGE_topology_accept)
        return;
    watch->asked[watch->next++ % LOG_ASKED_MAX] = (struct log_asked){
        .id = message->id,
        .by = message->from,
        .epoch = prepares ? message->topology_prepare.epoch : message->topology_accept.epoch,
        .ballot = prepares ? message->topology_prepare.ballot : message->topology_accept.ballot,
    };
}

/* What a power cut now would leave of the promise for that epoch, or of a later one. */
static bool slot_is_durable(const struct host *host, const struct log_asked *asked)
{
    struct arena arena;
    struct bytes row = {0};
    struct register_state state = {0};
    arena_init(&arena, NULL, 0);
    enum err err = engine_memory_read_durable(host->engine, STORE_META, bytes_of_string(META_SLOT),
                                              &arena, &row);
    struct reader reader = reader_of(row);
    uint64_t epoch = err == OK ? reader_u64(&reader) : 0;
    bool good = epoch > asked->epoch;
    if (epoch == asked->epoch &&
        register_state_decode(reader_bytes(&reader, reader_left(&reader)), &state) == OK)
        good = ballot_compare(ballot_max(state.promised, state.accepted), asked->ballot) >= 0;
    arena_deinit(&arena);
    return good;
}

static void check_vote(struct host *host, const struct log_asked *asked)
{
    struct log_watch *watch = &host->log_watch;
    if (host->losses > 0)
        return;
    if (!slot_is_durable(host, asked))
        world_fail(host->world, "log",
                   "n%u agrees to a ballot for epoch %llu; a crash could still take that back",
                   host->member, (unsigned long long)asked->epoch);
    if (watch->epoch == asked->epoch && ballot_compare(asked->ballot, watch->promised) < 0)
        world_fail(host->world, "log", "n%u agrees to a ballot for epoch %llu below its promise",
                   host->member, (unsigned long long)asked->epoch);
    watch->promised =
        watch->epoch == asked->epoch ? ballot_max(watch->promised, asked->ballot) : asked->ballot;
    watch->epoch = asked->epoch;
}

void check_log_answered(struct host *host, const struct message *answer)
{
    const struct topology_prepare_reply *promise = &answer->topology_prepare_reply;
    const struct topology_accept_reply *vote = &answer->topology_accept_reply;
    bool agreed =
        (answer->kind == MESSAGE_topology_prepare_reply && promise->status == OK &&
         promise->agreed) ||
        (answer->kind == MESSAGE_topology_accept_reply && vote->status == OK && vote->agreed);
    for (uint32_t i = 0; agreed && i < LOG_ASKED_MAX; i++) {
        const struct log_asked *asked = &host->log_watch.asked[i];
        if (asked->id == answer->id && actor_id_equal(asked->by, answer->to)) {
            check_vote(host, asked);
            return;
        }
    }
}

void check_log_view(struct host *host)
{
    struct arena arena;
    struct bytes row = {0};
    struct topology held = {0};
    uint64_t epoch = host->view->topology.epoch;
    if (epoch <= 1 || epoch == host->log_watch.shown)
        return;
    host->log_watch.shown = epoch;
    arena_init(&arena, NULL, 0);
    enum err err = engine_memory_read_durable(host->engine, STORE_META,
                                              bytes_of_string(META_TOPOLOGY), &arena, &row);
    if (err != OK || topology_decode(&arena, row, &held) != OK || held.epoch < epoch)
        world_fail(host->world, "log",
                   "n%u acts by epoch %llu, and a crash would take it back to epoch %llu",
                   host->member, (unsigned long long)epoch, (unsigned long long)held.epoch);
    arena_deinit(&arena);
}
