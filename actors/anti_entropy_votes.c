/* Copies of consistent keyspaces that were emptied, by (partition, keyspace): how their votes come
 * back. model/register.h says why, replica_votes.c has the replica's part.
 *
 *     ASK ---an epoch---> ADOPT --> FILL ---all settled---> RENEW ---an epoch---> FINISH --> filled
 *      ^  (all others list in it)    ^                        |                     |
 *      |                             +--- another set --------+                     |
 *      +------------- emptied again: heard of anew, with another incarnation -------+
 *
 * Epochs are asked of this node's gossip, for all that want one together, and never while a change
 * is under way: it has to end first. One counts for what had wanted it when it was asked for. */
#include "actors/anti_entropy_state.h"

#include "base/mutation.h"

#include <inttypes.h>
#include <stdlib.h>

#define MS_NS          ((uint64_t)1000 * 1000)
#define QUIET_NS       (500 * MS_NS)  /* nobody else has come to want an epoch for that long */
#define WAIT_MAX_NS    (5000 * MS_NS) /* or somebody has waited that long for the others */
#define ASK_TIMEOUT_NS (10000 * MS_NS)
#define ASK_AGAIN_NS   (1000 * MS_NS)
#define LOOK_NS        (250 * MS_NS)
#define FILLING_MAX    8u             /* at a time */
#define STUCK_NS       (3000 * MS_NS) /* without a step: others have the place */
#define PAUSE_MIN_NS   (3000 * MS_NS) /* then, doubling; half of it to one and a half */
#define PAUSE_MAX_NS   (12000 * MS_NS)

static struct ae_gain *vote_find(const struct anti_entropy *ae, uint32_t partition,
                                 uint32_t keyspace_id)
{
    for (uint32_t i = 0; i < ae->vote_count; i++) {
        if (ae->votes[i].partition == partition && ae->votes[i].keyspace_id == keyspace_id)
            return &ae->votes[i];
    }
    return NULL;
}

static void count_votes(struct anti_entropy *ae)
{
    uint64_t waiting = 0;
    for (uint32_t i = 0; i < ae->vote_count; i++)
        waiting += !ae->votes[i].filled;
    counter_set(&ae->figures.votes, waiting);
}

static const struct keyspace *keyspace_of(const struct actor_context *ctx,
                                          const struct ae_gain *vote)
{
    return keyspace_map_find_id(&ctx->view->keyspaces, vote->keyspace_id);
}

static uint64_t set_of(const struct anti_entropy *ae, const struct actor_context *ctx,
                       const struct ae_gain *vote)
{
    struct replica_set set;
    uint64_t members = 0;
    view_replica_set(ctx->view, keyspace_of(ctx, vote), vote->partition, &set);
    for (uint32_t i = 0; i < set.count; i++)
        members |= ae_member_bit(ae, set.replicas[i].member);
    return members;
}

/* An epoch is wanted from now on. */
static void want(struct anti_entropy *ae, const struct actor_context *ctx, struct ae_gain *vote,
                 enum ae_gain_phase phase)
{
    vote->phase = phase;
    vote->serial = ++ae->serial;
    vote->next_ns = NEVER_NS;
    if (ae->renewal.first_ns == 0)
        ae->renewal.first_ns = ctx->now_ns;
    if (ae->renewal.ask_ns < ctx->now_ns + QUIET_NS)
        ae->renewal.ask_ns = ctx->now_ns + QUIET_NS;
}

void ae_votes_on_incomplete(struct anti_entropy *ae, struct actor_context *ctx,
                            const struct vnode_incomplete *incomplete)
{
    if (incomplete->partition >= ae->options.partitions) {
        counter_add(&ae->figures.unexpected, 1);
        return;
    }
    struct ae_gain *vote = vote_find(ae, incomplete->partition, incomplete->keyspace_id);
    if (vote != NULL && vote->incarnation == incomplete->incarnation)
        return;
    if (vote == NULL) {
        ae->votes = realloc(ae->votes, (ae->vote_count + 1) * sizeof ae->votes[0]);
        CHECK(ae->votes != NULL);
        vote = &ae->votes[ae->vote_count++];
    } else {
        ae_settle_free(vote);
    }
    *vote = (struct ae_gain){.partition = incomplete->partition,
                             .keyspace_id = incomplete->keyspace_id,
                             .votes = true,
                             .since_ms = ctx->wall_ms,
                             .incarnation = incomplete->incarnation};
    want(ae, ctx, vote, AE_GAIN_ASK);
    count_votes(ae);
}

/* What was listed under another set, or may have been, is listed again. */
void ae_votes_refresh(struct anti_entropy *ae, struct actor_context *ctx)
{
    bool running = ctx->view->topology.change.state == CHANGE_RUNNING;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < ae->vote_count; i++) {
        struct ae_gain *vote = &ae->votes[i];
        const struct keyspace *keyspace = keyspace_of(ctx, vote);
        if (keyspace == NULL || keyspace->mode != KEYSPACE_CONSISTENT ||
            !ae_is_replica(ctx->view, keyspace, vote->partition, ae->options.self)) {
            ae_settle_free(vote);
            continue;
        }
        bool listed = vote->phase == AE_GAIN_FILL || vote->phase == AE_GAIN_RENEW;
        if (!vote->filled && listed && (running || set_of(ae, ctx, vote) != vote->set)) {
            ae_settle_free(vote);
            vote->phase = AE_GAIN_FILL;
            vote->next_ns = ctx->now_ns;
        }
        ae->votes[kept++] = *vote;
    }
    ae->vote_count = kept;
    count_votes(ae);
}

/* -- epochs
 * -------------------------------------------------------------------------------------------------
 */

static bool wants(const struct ae_gain *vote)
{
    return !vote->filled && ((vote->phase == AE_GAIN_ASK && vote->epoch == 0) ||
                             (vote->phase == AE_GAIN_RENEW && vote->votes_from == 0));
}

static void epoch_take(struct actor_context *ctx, struct ae_gain *vote, uint64_t epoch)
{
    if (vote->phase == AE_GAIN_ASK)
        vote->epoch = epoch;
    else
        vote->votes_from = epoch;
    vote->next_ns = ctx->now_ns;
}

/* True: somebody wants one. */
static bool renewal_gather(struct anti_entropy *ae)
{
    struct ae_renewal *renewal = &ae->renewal;
    bool any = false;
    memset(renewal->partitions, 0, sizeof renewal->partitions);
    for (uint32_t i = 0; i < ae->vote_count; i++) {
        uint32_t p = ae->votes[i].partition;
        if (!wants(&ae->votes[i]))
            continue;
        any = true;
        renewal->partitions[p / 8] |= (uint8_t)(1u << p % 8);
    }
    return any;
}

static void renewal_ask(struct anti_entropy *ae, struct actor_context *ctx)
{
    struct ae_renewal *renewal = &ae->renewal;
    struct message *message = message_new(MESSAGE_client_topology, 0);
    renewal->first_ns = 0;
    renewal->id = ae_id(ae, AE_OWNER_RENEWAL, 0);
    renewal->serial = ++ae->serial;
    renewal->late_ns = ctx->now_ns + 2 * ASK_TIMEOUT_NS;
    message->to = (struct actor_id){.node = ae->options.self, .kind = ACTOR_GOSSIP};
    message->id = renewal->id;
    message->deadline_ns = ctx->now_ns + ASK_TIMEOUT_NS;
    message->client_topology.operation =
        (struct topology_operation){.kind = TOPOLOGY_RENEW, .member = ae->options.self};
    memcpy(message->client_topology.operation.partitions, renewal->partitions,
           sizeof renewal->partitions);
    counter_add(&ae->figures.renewals, 1);
    outbox_send(ctx, &ae->actor, message);
}

static void renewal_tick(struct anti_entropy *ae, struct actor_context *ctx)
{
    struct ae_renewal *renewal = &ae->renewal;
    if (renewal->id != 0 && renewal->late_ns <= ctx->now_ns)
        renewal->id = 0;
    bool quiet = renewal->ask_ns <= ctx->now_ns;
    bool long_ago = renewal->first_ns != 0 && renewal->first_ns + WAIT_MAX_NS <= ctx->now_ns;
    if (renewal->id != 0 || (!quiet && !long_ago))
        return;
    renewal->ask_ns = ctx->now_ns + LOOK_NS;
    if (ctx->view->topology.change.state == CHANGE_RUNNING || !renewal_gather(ae))
        return;
    renewal_ask(ae, ctx);
}

void ae_votes_on_epoch(struct anti_entropy *ae, struct actor_context *ctx,
                       const struct message *message)
{
    const struct client_topology_done *done = &message->client_topology_done;
    struct ae_renewal *renewal = &ae->renewal;
    if (message->id != renewal->id) {
        counter_add(&ae->figures.late, 1);
        return;
    }
    renewal->id = 0;
    renewal->ask_ns = ctx->now_ns + ASK_AGAIN_NS;
    if (done->status != OK) {
        log_write(ctx->log, LOG_WARNING, "votes_wait", "why=\"%s\" what_now=\"asked again\"",
                  done->why == NULL ? "" : done->why);
        return;
    }
    for (uint32_t i = 0; i < ae->vote_count; i++) {
        struct ae_gain *vote = &ae->votes[i];
        uint32_t p = vote->partition;
        if (wants(vote) && vote->serial < renewal->serial &&
            (renewal->partitions[p / 8] >> p % 8 & 1) != 0)
            epoch_take(ctx, vote, done->epoch);
    }
}

/* -- the steps
 * ----------------------------------------------------------------------------------------------
 */

static void tell_replica(struct anti_entropy *ae, struct actor_context *ctx, struct ae_gain *vote)
{
    bool learns = vote->phase == AE_GAIN_ADOPT;
    vote->id = ae_id(ae, AE_OWNER_GAIN, 0);
    vote->next_ns = ctx->now_ns + ae->options.late_ns;
    struct message *message = ae_message(learns ? MESSAGE_vnode_adopt : MESSAGE_vnode_complete,
                                         ae->options.self, vote->id, 0);
    if (learns)
        message->vnode_adopt = (struct vnode_adopt){.partition = vote->partition,
                                                    .keyspace_id = vote->keyspace_id,
                                                    .learns_from = vote->epoch,
                                                    .incarnation = vote->incarnation};
    else
        message->vnode_complete = (struct vnode_complete){.partition = vote->partition,
                                                          .keyspace_id = vote->keyspace_id,
                                                          .incarnation = vote->incarnation,
                                                          .votes_from = vote->votes_from};
    outbox_send(ctx, &ae->actor, message);
}

/* Gives its place to others for a while. */
static void fill_pause(struct actor_context *ctx, struct ae_gain *vote)
{
    uint64_t pause_ns = vote->backoff_ns == 0 ? PAUSE_MIN_NS : 2 * vote->backoff_ns;
    vote->backoff_ns = pause_ns < PAUSE_MAX_NS ? pause_ns : PAUSE_MAX_NS;
    ae_settle_free(vote);
    vote->next_ns = ctx->now_ns + vote->backoff_ns / 2 + prng_below(ctx->prng, vote->backoff_ns);
}

static void fill_step(struct anti_entropy *ae, struct actor_context *ctx, struct ae_gain *vote,
                      uint32_t *filling)
{
    vote->next_ns = ctx->now_ns + LOOK_NS;
    if (ctx->view->topology.change.state == CHANGE_RUNNING ||
        (vote->settle == NULL && *filling >= FILLING_MAX))
        return;
    vote->set = set_of(ae, ctx, vote);
    ++*filling;
    bool settled = ae_settle_step(ae, ctx, vote);
    vote->lacks = ae_settle_lacks(ae, ctx, vote, &vote->emptied);
    if (!settled && !MUTATE(RENEWAL_UNSETTLED)) {
        vote->next_ns = ae_settle_wake_ns(vote);
        /* Somebody is down, or has no vote either: many such copies would keep one that can go on
         * from its place. */
        if (ae_settle_is_refused(vote) || ctx->now_ns >= ae_settle_advanced_ns(vote) + STUCK_NS) {
            fill_pause(ctx, vote);
            --*filling;
        }
        return;
    }
    ae_settle_free(vote);
    vote->backoff_ns = 0;
    vote->votes_from = 0;
    want(ae, ctx, vote, AE_GAIN_RENEW);
}

static void vote_step(struct anti_entropy *ae, struct actor_context *ctx, struct ae_gain *vote,
                      uint32_t *filling)
{
    uint64_t epoch = ctx->view->topology.epoch;
    switch (vote->phase) {
    case AE_GAIN_ASK:
        if (vote->epoch != 0 && vote->epoch <= epoch) {
            vote->phase = AE_GAIN_ADOPT;
            tell_replica(ae, ctx, vote);
        } else {
            vote->next_ns = vote->epoch == 0 ? NEVER_NS : ctx->now_ns + LOOK_NS;
        }
        break;
    case AE_GAIN_RENEW:
        if (vote->votes_from != 0 && vote->votes_from <= epoch) {
            vote->phase = AE_GAIN_FINISH;
            tell_replica(ae, ctx, vote);
        } else {
            vote->next_ns = vote->votes_from == 0 ? NEVER_NS : ctx->now_ns + LOOK_NS;
        }
        break;
    case AE_GAIN_ADOPT:
    case AE_GAIN_FINISH:
        tell_replica(ae, ctx, vote); /* no answer came, or a refusal */
        break;
    case AE_GAIN_FILL:
        fill_step(ae, ctx, vote, filling);
        break;
    }
}

void ae_votes_tick(struct anti_entropy *ae, struct actor_context *ctx)
{
    uint32_t filling = 0;
    if (counter_get(&ae->figures.votes) == 0)
        return;
    if (!ae->viewed || ae->topology_epoch != ctx->view->topology.epoch) {
        ae->look_ns = ctx->now_ns; /* the schedule looks at the view first */
        return;
    }
    for (uint32_t i = 0; i < ae->vote_count; i++)
        filling += ae->votes[i].settle != NULL;
    for (uint32_t i = 0; i < ae->vote_count; i++) {
        struct ae_gain *vote = &ae->votes[i];
        if (!vote->filled && vote->next_ns <= ctx->now_ns) {
            filling -= vote->settle != NULL;
            vote_step(ae, ctx, vote, &filling);
        }
    }
    renewal_tick(ae, ctx);
}

uint64_t ae_votes_wake_ns(const struct anti_entropy *ae)
{
    const struct ae_renewal *renewal = &ae->renewal;
    if (counter_get(&ae->figures.votes) == 0)
        return NEVER_NS;
    uint64_t at_ns = renewal->id != 0 ? renewal->late_ns : renewal->ask_ns;
    for (uint32_t i = 0; i < ae->vote_count; i++) {
        if (!ae->votes[i].filled && ae->votes[i].next_ns < at_ns)
            at_ns = ae->votes[i].next_ns;
    }
    return at_ns;
}

static struct ae_gain *vote_of(const struct anti_entropy *ae, uint64_t id)
{
    for (uint32_t i = 0; i < ae->vote_count; i++) {
        if (ae->votes[i].id == id)
            return &ae->votes[i];
    }
    return NULL;
}

bool ae_votes_answered(struct anti_entropy *ae, struct actor_context *ctx, struct message *message)
{
    struct ae_gain *vote = vote_of(ae, message->id);
    if (vote == NULL)
        return false;
    if (message->kind == MESSAGE_register_list_reply && vote->phase == AE_GAIN_FILL) {
        ae_settle_listed(ae, ctx, vote, message);
        vote->next_ns = ctx->now_ns;
        return true;
    }
    if (message->kind == MESSAGE_vnode_adopt_done && vote->phase == AE_GAIN_ADOPT) {
        vote->id = 0;
        vote->next_ns = ctx->now_ns + LOOK_NS;
        if (message->vnode_adopt_done.status == OK) {
            vote->phase = AE_GAIN_FILL;
            vote->next_ns = ctx->now_ns;
        }
    } else if (message->kind == MESSAGE_vnode_complete_done && vote->phase == AE_GAIN_FINISH) {
        vote->id = 0;
        vote->next_ns = ctx->now_ns + LOOK_NS;
        if (message->vnode_complete_done.status == OK) {
            vote->filled = true;
            counter_add(&ae->figures.votes_renewed, 1);
            count_votes(ae);
        }
    } else {
        counter_add(&ae->figures.late, 1);
    }
    message_free(message);
    return true;
}

void ae_votes_free(struct anti_entropy *ae)
{
    for (uint32_t i = 0; i < ae->vote_count; i++)
        ae_settle_free(&ae->votes[i]);
    free(ae->votes);
}
