#include "actors/gossip_state.h"

#include <inttypes.h>
#include <stdlib.h>

#define STEP_EVERY_NS    ((uint64_t)20 * NS_PER_MS)
#define TELL_AGAIN_NS    ((uint64_t)500 * NS_PER_MS)
#define REPORT_OLD_ASKS  20u /* a report is forgotten after that many that were not answered */
#define ADDRESS_EVERY_NS ((uint64_t)1000 * NS_PER_MS)

void moves_init(struct moves *moves)
{
    moves->step_at_ns = NEVER_NS;
    for (uint32_t i = 0; i < REPORTS_MAX; i++)
        arena_init(&moves->clients[i].arena, NULL, 0);
}

void moves_free(struct moves *moves)
{
    for (uint32_t i = 0; i < REPORTS_MAX; i++) {
        message_free(moves->clients[i].origin);
        arena_deinit(&moves->clients[i].arena);
    }
}

static bool member_counts(const struct member *member)
{
    return member->status != MEMBER_REMOVED && !member->gone;
}

/* The least voter that is not known to be down. */
static bool is_driver(const struct gossip *gossip)
{
    const struct topology *topology = gossip_topology(gossip);
    if (topology->change.state != CHANGE_RUNNING)
        return false;
    for (uint32_t i = 0; i < topology->voter_count; i++) {
        uint32_t voter = topology->voters[i];
        if (voter == gossip->options.self)
            return true;
        const struct member *member = topology_member(topology, voter);
        if (gossip->peers[member->slot].liveness != LIVENESS_DOWN)
            return false;
    }
    return false;
}

/* -- what is known
 * --------------------------------------------------------------------------------------- */

static uint64_t epoch_at(const struct gossip *gossip, const struct member *member)
{
    const struct peer *peer = &gossip->peers[member->slot];
    if (member->number == gossip->options.self)
        return gossip_topology(gossip)->epoch;
    return peer->liveness == LIVENESS_DOWN ? 0 : peer->topology_epoch;
}

static void take_report(const struct topology *topology, const struct moves_report *report,
                        uint32_t slot, struct topology_progress *progress)
{
    progress->keeps_hints[slot] = report->keeps_hints;
    for (uint32_t p = 0; p < topology->partitions; p++) {
        uint8_t filled = (uint8_t)(report->filled[p / 8] & (1u << p % 8));
        /* Before a partition's step there was nothing to fill there. */
        if (report->epoch >= topology->phase_epochs[p])
            progress->filled[slot][p / 8] |= filled;
        /* Who has filled it knows of no bad row either. */
        progress->unsound[slot][p / 8] &= (uint8_t)~filled;
    }
}

/* What a change gives to whom follows from the keyspaces: a member that does not know one yet has
 * nothing to fill in it, as it sees it, and who lacks one here would not miss it. So nothing goes
 * on before all that are not down know the same. */
static bool keyspaces_agree(const struct gossip *gossip)
{
    const struct topology *topology = gossip_topology(gossip);
    for (uint32_t i = 0; i < topology->member_count; i++) {
        const struct member *member = &topology->members[i];
        const struct moves_report *report = &gossip->moves.reports[member->slot];
        bool self = member->number == gossip->options.self;
        if (!member_counts(member) || self || gossip->peers[member->slot].liveness == LIVENESS_DOWN)
            continue;
        if (report->member != member->number || report->change != topology_change_name(topology) ||
            report->keyspaces_digest != gossip->map_digest)
            return false;
    }
    return true;
}

static void progress_now(const struct gossip *gossip, uint64_t now_ns,
                         struct topology_progress *ret_progress)
{
    const struct topology *topology = gossip_topology(gossip);
    uint64_t old_ns = REPORT_OLD_ASKS * gossip->options.report_interval_ns;
    *ret_progress = (struct topology_progress){.announced_max = gossip->options.announced_max};
    for (uint32_t i = 0; i < topology->member_count; i++) {
        const struct member *member = &topology->members[i];
        const struct moves_report *report = &gossip->moves.reports[member->slot];
        if (!member_counts(member))
            continue;
        ret_progress->epochs[member->slot] = epoch_at(gossip, member);
        /* As long as it has not said otherwise: */
        ret_progress->keeps_hints[member->slot] = true;
        memset(ret_progress->unsound[member->slot], 0xff, sizeof ret_progress->unsound[0]);
        if (report->member == member->number && report->heard_ns + old_ns >= now_ns &&
            report->change == topology_change_name(topology))
            take_report(topology, report, member->slot, ret_progress);
    }
}

bool moves_step(struct gossip *gossip, struct actor_context *ctx, struct arena *arena,
                struct topology *ret_next)
{
    const struct topology *topology = gossip_topology(gossip);
    struct topology_progress progress;
    if (topology->change.state != CHANGE_RUNNING || !keyspaces_agree(gossip))
        return false;
    progress_now(gossip, ctx->now_ns, &progress);
    return topology_step(arena, topology, &gossip->map, &progress, ret_next);
}

/* -- driving
 * -------------------------------------------------------------------------------------------- */

static void ask_member(struct gossip *gossip, struct actor_context *ctx, uint32_t member,
                       uint64_t id, bool sizes, uint64_t deadline_ns)
{
    struct message *message = message_new(MESSAGE_vnode_report, 0);
    message->id = id;
    message->to = (struct actor_id){.node = member, .kind = ACTOR_ANTI_ENTROPY};
    message->deadline_ns = deadline_ns;
    message->vnode_report.sizes = sizes;
    outbox_send(ctx, &gossip->actor, message);
}

/* Everybody, and the document once more to whom it may not have reached. */
static void moves_ask(struct gossip *gossip, struct actor_context *ctx)
{
    const struct topology *topology = gossip_topology(gossip);
    struct moves *moves = &gossip->moves;
    uint64_t id = gossip_id(gossip);
    uint64_t deadline_ns = ctx->now_ns + REPORT_OLD_ASKS * gossip->options.report_interval_ns;
    moves->ask_at_ns = ctx->now_ns + gossip->options.report_interval_ns;
    for (uint32_t i = 0; i < topology->member_count; i++) {
        const struct member *member = &topology->members[i];
        struct peer *peer = &gossip->peers[member->slot];
        if (!member_counts(member))
            continue;
        ask_member(gossip, ctx, member->number, id, false, deadline_ns);
        if (member->number != gossip->options.self && peer->topology_epoch < topology->epoch &&
            ctx->now_ns >= peer->told_ns + TELL_AGAIN_NS)
            gossip_tell(gossip, ctx, member->number);
    }
}

void moves_notice(struct gossip *gossip, struct actor_context *ctx)
{
    struct moves *moves = &gossip->moves;
    bool drives = is_driver(gossip);
    if (drives && !moves->drives) {
        log_write(ctx->log, LOG_INFO, "change_driven", "change=%" PRIu64,
                  topology_change_name(gossip_topology(gossip)));
        moves->ask_at_ns = ctx->now_ns;
    }
    moves->drives = drives;
    if (!drives)
        moves->step_at_ns = NEVER_NS;
    else if (moves->step_at_ns == NEVER_NS)
        moves->step_at_ns = ctx->now_ns + STEP_EVERY_NS;
}

static void moves_try(struct gossip *gossip, struct actor_context *ctx)
{
    struct topology next;
    gossip->moves.step_at_ns = NEVER_NS;
    if (moves_step(gossip, ctx, &gossip->scratch, &next))
        proposer_add_step(gossip, ctx);
}

static void note_report(struct gossip *gossip, struct actor_context *ctx,
                        const struct member *member, const struct vnode_report_reply *reply)
{
    struct moves_report *report = &gossip->moves.reports[member->slot];
    *report = (struct moves_report){
        .member = member->number,
        .heard_ns = ctx->now_ns,
        .change = reply->change,
        .epoch = reply->epoch,
        .keeps_hints = reply->hints != 0,
        .keyspaces_digest = reply->keyspaces_digest,
    };
    size_t size =
        reply->filled.size < sizeof report->filled ? reply->filled.size : sizeof report->filled;
    if (size != 0)
        memcpy(report->filled, reply->filled.data, size);
    if (reply->epoch > gossip_topology(gossip)->epoch)
        gossip_ask(gossip, ctx, member->number);
    moves_notice(gossip, ctx);
}

/* -- for clients
 * ----------------------------------------------------------------------------------------- */

static void client_end(struct gossip *gossip, struct actor_context *ctx,
                       struct moves_client *client)
{
    struct message *answer = message_new_reply(client->origin, MESSAGE_client_reports_done, 0);
    struct client_reports_done *done = &answer->client_reports_done;
    done->client = client->origin->client_reports.client;
    done->count = client->count;
    done->reports = ARENA_NEW(&answer->arena, struct member_report, client->count);
    for (uint32_t i = 0; i < client->count; i++) {
        done->reports[i] = client->reports[i];
        struct vnode_report_reply *report = &done->reports[i].report;
        report->filled = arena_copy(&answer->arena, report->filled);
        report->sizes = arena_copy(&answer->arena, report->sizes);
        report->waits = arena_copy(&answer->arena, report->waits);
    }
    outbox_send(ctx, &gossip->actor, answer);
    message_free(client->origin);
    client->origin = NULL;
    arena_clear(&client->arena);
}

static void client_take(struct gossip *gossip, struct actor_context *ctx,
                        struct moves_client *client, const struct member *member,
                        const struct vnode_report_reply *reply)
{
    uint64_t bit = (uint64_t)1 << member->slot;
    if ((client->waiting & bit) == 0)
        return;
    client->waiting &= ~bit;
    for (uint32_t i = 0; i < client->count; i++) {
        if (client->reports[i].member != member->number)
            continue;
        client->reports[i].report = *reply;
        client->reports[i].report.filled = arena_copy(&client->arena, reply->filled);
        client->reports[i].report.sizes = arena_copy(&client->arena, reply->sizes);
        client->reports[i].report.waits = arena_copy(&client->arena, reply->waits);
    }
    if (client->waiting == 0)
        client_end(gossip, ctx, client);
}

void gossip_on_client_reports(struct gossip *gossip, struct actor_context *ctx,
                              struct message *message)
{
    const struct topology *topology = gossip_topology(gossip);
    struct moves_client *client = NULL;
    for (uint32_t i = 0; i < REPORTS_MAX && client == NULL; i++) {
        if (gossip->moves.clients[i].origin == NULL)
            client = &gossip->moves.clients[i];
    }
    if (client == NULL) {
        struct message *answer = message_new_reply(message, MESSAGE_client_reports_done, 0);
        answer->client_reports_done.client = message->client_reports.client;
        answer->client_reports_done.status = ERR_OVERLOADED;
        outbox_send(ctx, &gossip->actor, answer);
        message_free(message);
        return;
    }
    client->origin = message;
    client->id = gossip_id(gossip);
    client->deadline_ns = ctx->now_ns + gossip->options.reports_timeout_ns;
    client->waiting = 0;
    client->count = 0;
    client->reports = ARENA_NEW(&client->arena, struct member_report, topology->member_count);
    for (uint32_t i = 0; i < topology->member_count; i++) {
        const struct member *member = &topology->members[i];
        if (member->status == MEMBER_REMOVED)
            continue;
        struct member_report *report = &client->reports[client->count++];
        report->member = member->number;
        report->report.status = ERR_UNAVAILABLE;
        client->waiting |= (uint64_t)1 << member->slot;
        ask_member(gossip, ctx, member->number, client->id, message->client_reports.sizes,
                   client->deadline_ns);
    }
}

void gossip_on_vnode_report_reply(struct gossip *gossip, struct actor_context *ctx,
                                  const struct message *message)
{
    const struct vnode_report_reply *reply = &message->vnode_report_reply;
    const struct member *member = topology_member(gossip_topology(gossip), message->from.node);
    if (member == NULL || member->status == MEMBER_REMOVED)
        return;
    for (uint32_t i = 0; i < REPORTS_MAX; i++) {
        struct moves_client *client = &gossip->moves.clients[i];
        if (client->origin != NULL && client->id == message->id)
            client_take(gossip, ctx, client, member, reply);
    }
    if (reply->status == OK)
        note_report(gossip, ctx, member, reply);
}

/* -- our own address
 * -------------------------------------------------------------------------------------- */

/* What the document should say of this node; NULL: what it says. */
static const char *own_address(const struct gossip *gossip, const struct member *self)
{
    if (gossip->options.address[0] != '\0')
        return gossip->options.address;
    for (uint32_t i = 0; i < gossip->options.address_count; i++) {
        const struct boot_address *entry = &gossip->options.addresses[i];
        if (entry->member == self->number && strcmp(entry->instead_of, self->address) == 0)
            return entry->address;
    }
    return NULL;
}

static void address_look(struct gossip *gossip, struct actor_context *ctx)
{
    const struct member *self = topology_member(gossip_topology(gossip), gossip->options.self);
    struct topology_operation operation = {.kind = TOPOLOGY_ADDRESS,
                                           .member = gossip->options.self};
    gossip->moves.address_at_ns = ctx->now_ns + ADDRESS_EVERY_NS;
    if (self == NULL || !member_counts(self))
        return;
    const char *address = own_address(gossip, self);
    if (address == NULL || strcmp(address, self->address) == 0)
        return;
    memcpy(operation.address, address, strnlen(address, ADDRESS_MAX));
    proposer_add(gossip, ctx, &operation); /* again and again, as long as it differs */
}

/* -- time
 * -----------------------------------------------------------------------------------------------
 */

void moves_tick(struct gossip *gossip, struct actor_context *ctx)
{
    struct moves *moves = &gossip->moves;
    for (uint32_t i = 0; i < REPORTS_MAX; i++) {
        if (moves->clients[i].origin != NULL && ctx->now_ns >= moves->clients[i].deadline_ns)
            client_end(gossip, ctx, &moves->clients[i]);
    }
    if (ctx->now_ns >= moves->address_at_ns)
        address_look(gossip, ctx);
    if (moves->drives && ctx->now_ns >= moves->ask_at_ns)
        moves_ask(gossip, ctx);
    if (moves->drives && ctx->now_ns >= moves->step_at_ns)
        moves_try(gossip, ctx);
}

uint64_t moves_wake_at_ns(const struct gossip *gossip)
{
    const struct moves *moves = &gossip->moves;
    uint64_t wake_at_ns = NEVER_NS;
    for (uint32_t i = 0; i < REPORTS_MAX; i++) {
        if (moves->clients[i].origin != NULL && moves->clients[i].deadline_ns < wake_at_ns)
            wake_at_ns = moves->clients[i].deadline_ns;
    }
    if (moves->drives && moves->ask_at_ns < wake_at_ns)
        wake_at_ns = moves->ask_at_ns;
    if (moves->drives && moves->step_at_ns < wake_at_ns)
        wake_at_ns = moves->step_at_ns;
    return wake_at_ns;
}
