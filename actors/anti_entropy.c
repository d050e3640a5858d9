#include "actors/anti_entropy_state.h"

#include <stdlib.h>

#define MS_NS           ((uint64_t)1000 * 1000)
#define S_NS            (1000 * MS_NS)
#define LOAD_RETRY_NS   (100 * MS_NS)
#define MESSAGE_BYTES   32u /* about what a message takes beside its payload */
#define PACE_BURST_PART 8u  /* of a second */
#define PAUSED_LOOK_NS  (100 * MS_NS)

/* Ids: 3 bits owner, 10 slot, 29 serial, 7 generation. They travel as varints with each record and
 * its answer, so they are kept to seven bytes. */
#define ID_OWNER_MASK       0x7u
#define ID_SLOT_SHIFT       3u
#define ID_SLOT_MASK        0x3FFu
#define ID_SERIAL_SHIFT     13u
#define ID_SERIAL_MASK      0x1FFFFFFFu
#define ID_GENERATION_SHIFT 42u
#define ID_GENERATION_MASK  0x7Fu

static_assert(PARTITIONS_MAX <= ID_SLOT_MASK + 1, "a partition is a slot");
static_assert(AE_RECORDS_MAX <= ID_SLOT_MASK && AE_EXPLAINS_MAX <= ID_SLOT_MASK, "slots");

struct anti_entropy_options anti_entropy_options_default(uint32_t self, uint64_t generation,
                                                         uint32_t partitions)
{
    return (struct anti_entropy_options){
        .self = self,
        .generation = generation,
        .partitions = partitions,
        .exchanges_max = 2,
        .window = 64,
        .bytes_per_second = (uint64_t)16 << 20,
        .fills_max = 2,
        .fill_bytes_per_second = (uint64_t)64 << 20,
        .interval_ns = 3600 * S_NS,
        .return_spread_ns = (uint64_t)30 * 1000 * 1000 * 1000,
        .late_ns = 2 * S_NS,
        .tries = 4,
        .backoff_min_ns = S_NS,
        .backoff_max_ns = 15 * S_NS,
        .reaper = reaper_options_default(self, generation),
    };
}

/* -- what all parts need ------------------------------------------------------------------------
 */

uint64_t ae_id(struct anti_entropy *ae, enum ae_owner owner, uint32_t slot)
{
    CHECK_U64(slot, <=, ID_SLOT_MASK);
    return (ae->options.generation & ID_GENERATION_MASK) << ID_GENERATION_SHIFT |
           (++ae->serial & ID_SERIAL_MASK) << ID_SERIAL_SHIFT | (uint64_t)slot << ID_SLOT_SHIFT |
           owner;
}

bool ae_reachable(const struct actor_context *ctx, uint32_t member)
{
    return view_alive(ctx->view, member);
}

/* Doubles; the wait is jittered downwards by up to a half. */
uint64_t ae_backoff(const struct anti_entropy *ae, struct actor_context *ctx, uint64_t *backoff_ns)
{
    uint64_t ns = *backoff_ns == 0 ? ae->options.backoff_min_ns : 2 * *backoff_ns;
    *backoff_ns = ns < ae->options.backoff_max_ns ? ns : ae->options.backoff_max_ns;
    return *backoff_ns - prng_below(ctx->prng, *backoff_ns / 2 + 1);
}

uint32_t ae_policy(const struct keyspace *keyspace)
{
    return keyspace->conflict == KEYSPACE_LWW ? (uint32_t)POLICY_LWW : 0;
}

bool ae_is_replica(const struct view *view, const struct keyspace *keyspace, uint32_t partition,
                   uint32_t member)
{
    return view_role(view, keyspace, partition, member) != ROLE_NONE;
}

struct message *ae_message(enum message_kind kind, uint32_t member, uint64_t id, size_t size)
{
    struct message *message = message_new(kind, size);
    message->to = (struct actor_id){.node = member, .kind = ACTOR_REPLICA};
    message->id = id;
    return message;
}

static bool fills(const struct ae_exchange *exchange)
{
    return exchange != NULL && exchange->reason == AE_GAIN;
}

void ae_charge(struct anti_entropy *ae, struct ae_exchange *exchange, uint32_t member,
               size_t payload)
{
    if (member == ae->options.self)
        return;
    uint64_t bytes = MESSAGE_BYTES + payload;
    if (exchange != NULL)
        exchange->bytes += bytes;
    counter_add(&ae->figures.bytes_moved, bytes);
    ae->paces[!fills(exchange)].bytes -= (int64_t)bytes;
}

/* Lets the bucket fill up since it was looked at last. */
static void pace_refill(struct ae_pace *pace, const struct actor_context *ctx, uint64_t rate)
{
    int64_t burst = (int64_t)(rate / PACE_BURST_PART + 1);
    uint64_t passed_ns = ctx->now_ns - pace->at_ns;
    if (pace->at_ns == 0 || passed_ns >= S_NS) {
        /* The debt is at most what one step sends; a second pays for `rate` of it. */
        bool full = pace->at_ns == 0 || pace->bytes + (int64_t)rate > burst;
        pace->bytes = full ? burst : pace->bytes + (int64_t)rate;
        pace->at_ns = ctx->now_ns;
        return;
    }
    uint64_t bytes = rate * (passed_ns / 1000) / (S_NS / 1000);
    if (bytes == 0)
        return;
    pace->bytes = pace->bytes + (int64_t)bytes < burst ? pace->bytes + (int64_t)bytes : burst;
    pace->at_ns = ctx->now_ns;
}

bool ae_pace(struct anti_entropy *ae, const struct actor_context *ctx,
             const struct ae_exchange *exchange, uint64_t *ret_wait_ns)
{
    const struct topology_change *change = &ctx->view->topology.change;
    struct ae_pace *pace = &ae->paces[!fills(exchange)];
    uint64_t rate = ae->options.bytes_per_second;
    if (fills(exchange)) {
        rate = change->bytes_per_second != 0 ? change->bytes_per_second
                                             : ae->options.fill_bytes_per_second;
        if (change->state == CHANGE_RUNNING && change->paused) {
            *ret_wait_ns = PAUSED_LOOK_NS;
            return false;
        }
    }
    pace_refill(pace, ctx, rate);
    if (pace->bytes > 0)
        return true;
    *ret_wait_ns = (uint64_t)(1 - pace->bytes) * (S_NS / 1000) / rate * 1000 + MS_NS;
    /* Whoever set a low pace may set another one. */
    if (fills(exchange) && *ret_wait_ns > PAUSED_LOOK_NS)
        *ret_wait_ns = PAUSED_LOOK_NS;
    return false;
}

/* -- mail ---------------------------------------------------------------------------------------
 */

static void anti_entropy_answer(struct anti_entropy *ae, struct actor_context *ctx,
                                struct message *message)
{
    uint32_t slot = (uint32_t)(message->id >> ID_SLOT_SHIFT) & ID_SLOT_MASK;
    unsigned owner = (unsigned)message->id & ID_OWNER_MASK;
    if (message->id >> ID_GENERATION_SHIFT != (ae->options.generation & ID_GENERATION_MASK))
        owner = 0;
    actor_heard_epoch(&ae->actor, ctx, message);
    if (message->kind == MESSAGE_reap_seal_reply && !ae_exchange_expects(ae, message)) {
        reaper_handle(&ae->reaper, ctx, &ae->actor, message);
        message_free(message);
        return;
    }
    switch (owner) {
    case AE_OWNER_EXCHANGE:
        ae_exchange_answered(ae, ctx, slot, message); /* consumes it */
        return;
    case AE_OWNER_COMPLETION:
        ae_completion_answered(ae, ctx, slot, message); /* consumes it */
        return;
    case AE_OWNER_RECORD:
        ae_record_answered(ae, ctx, slot, message);
        break;
    case AE_OWNER_EXPLAIN:
        ae_explain_answered(ae, ctx, slot, message);
        break;
    case AE_OWNER_GAIN:
        ae_gain_answered(ae, ctx, message); /* consumes it */
        return;
    case AE_OWNER_SETTLE:
        ae_settle_done(ae, ctx, message);
        break;
    case AE_OWNER_RENEWAL:
        ae_votes_on_epoch(ae, ctx, message);
        break;
    default:
        counter_add(&ae->figures.late, 1);
        break;
    }
    message_free(message);
}

/* What an earlier life left behind. */
static void anti_entropy_load(struct anti_entropy *ae, struct actor_context *ctx)
{
    enum err err = ae_dirty_load(ae, ctx);
    if (err == OK)
        err = ae_task_load(ae, ctx);
    ae->loaded = err == OK;
    if (err == OK)
        return;
    counter_add(&ae->figures.store_errors, 1);
    ae->load_ns = ctx->now_ns + LOAD_RETRY_NS;
}

static void anti_entropy_tick(struct actor *actor, struct actor_context *ctx)
{
    struct anti_entropy *ae = CONTAINER_OF(actor, struct anti_entropy, actor);
    if (!ae->loaded && ae->load_ns <= ctx->now_ns)
        anti_entropy_load(ae, ctx);
    ae_members_refresh(ae, ctx);
    ae_exchange_tick(ae, ctx);
    ae_gains_tick(ae, ctx);
    ae_votes_tick(ae, ctx);
    ae_completion_tick(ae, ctx);
    ae_record_tick(ae, ctx);
    ae_explain_tick(ae, ctx);
    reaper_tick(&ae->reaper, ctx, actor);
    if (ae->look_ns <= ctx->now_ns)
        ae_schedule_tick(ae, ctx);
    arena_clear(&ae->scratch);
}

static void anti_entropy_handle(struct actor *actor, struct actor_context *ctx,
                                struct message *message)
{
    struct anti_entropy *ae = CONTAINER_OF(actor, struct anti_entropy, actor);
    CHECK(ctx->store != NULL);
    ae_members_refresh(ae, ctx);
    switch (message->kind) {
    case MESSAGE_tree_roots_reply:
    case MESSAGE_tree_read_reply:
    case MESSAGE_digest_read_reply:
    case MESSAGE_record_fetch_reply:
    case MESSAGE_replica_write_reply:
    case MESSAGE_reap_seal_reply:
    case MESSAGE_vnode_adopt_done:
    case MESSAGE_vnode_complete_done:
    case MESSAGE_key_explain_reply:
    case MESSAGE_register_list_reply:
    case MESSAGE_register_settle_done:
    case MESSAGE_client_topology_done:
        anti_entropy_answer(ae, ctx, message);
        message = NULL;
        break;
    case MESSAGE_reap_scan_done:
    case MESSAGE_reap_hints_reply:
    case MESSAGE_reap_remove_reply:
        reaper_handle(&ae->reaper, ctx, &ae->actor, message);
        break;
    case MESSAGE_vnode_incomplete:
        if (message->vnode_incomplete.votes)
            ae_votes_on_incomplete(ae, ctx, &message->vnode_incomplete);
        else if (message->vnode_incomplete.keyspace_id != 0)
            ae_gain_on_incomplete(ae, ctx, &message->vnode_incomplete);
        else
            ae_completion_on_incomplete(ae, ctx, &message->vnode_incomplete);
        break;
    case MESSAGE_vnode_report:
        ae_report_on_report(ae, ctx, message);
        break;
    case MESSAGE_record_repair:
        ae_record_on_repair(ae, ctx, &message->record_repair);
        break;
    case MESSAGE_range_dirty:
        ae_dirty_mark(ae, ctx, &message->range_dirty);
        break;
    case MESSAGE_client_maintenance:
        ae_task_on_maintenance(ae, ctx, message);
        break;
    case MESSAGE_client_explain:
        ae_explain_on_client(ae, ctx, message);
        break;
    case MESSAGE_key_explain:
        ae_explain_on_key(ae, ctx, message);
        break;
    case MESSAGE_store_committed: /* nothing here is answered before it is durable, or waits */
        break;
    case MESSAGE_client_get:
    case MESSAGE_client_get_done:
    case MESSAGE_client_put:
    case MESSAGE_client_put_done:
    case MESSAGE_forward_put:
    case MESSAGE_forward_put_reply:
    case MESSAGE_replica_mint:
    case MESSAGE_replica_mint_done:
    case MESSAGE_replica_write:
    case MESSAGE_replica_read:
    case MESSAGE_replica_read_reply:
    case MESSAGE_peer_link:
    case MESSAGE_gossip_digest:
    case MESSAGE_gossip_digest_reply:
    case MESSAGE_gossip_keyspaces:
    case MESSAGE_gossip_keyspaces_reply:
    case MESSAGE_keyspace_change:
    case MESSAGE_keyspace_change_done:
    case MESSAGE_view_publish:
    case MESSAGE_hint_store:
    case MESSAGE_hint_store_reply:
    case MESSAGE_tree_roots:
    case MESSAGE_tree_read:
    case MESSAGE_digest_read:
    case MESSAGE_record_fetch:
    case MESSAGE_reap_hints:
    case MESSAGE_register_query:
    case MESSAGE_register_query_reply:
    case MESSAGE_register_prepare:
    case MESSAGE_register_prepare_reply:
    case MESSAGE_register_accept:
    case MESSAGE_register_accept_reply:
    case MESSAGE_reap_seal:
    case MESSAGE_reap_remove:
    case MESSAGE_reap_scan:
    case MESSAGE_vnode_doubt:
    case MESSAGE_vnode_adopt:
    case MESSAGE_vnode_complete:
    case MESSAGE_client_maintenance_done:
    case MESSAGE_client_explain_done:
    case MESSAGE_topology_document:
    case MESSAGE_topology_document_reply:
    case MESSAGE_topology_fetch:
    case MESSAGE_topology_prepare:
    case MESSAGE_topology_prepare_reply:
    case MESSAGE_topology_accept:
    case MESSAGE_topology_accept_reply:
    case MESSAGE_topology_behind:
    case MESSAGE_client_topology:
    case MESSAGE_vnode_report_reply:
    case MESSAGE_client_reports:
    case MESSAGE_client_reports_done:
    case MESSAGE_register_list:
    case MESSAGE_register_settle:
    case MESSAGE_KIND_COUNT:
        counter_add(&ae->figures.unexpected, 1);
        break;
    }
    message_free(message);
    arena_clear(&ae->scratch);
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t anti_entropy_wake_at_ns(const struct actor *actor)
{
    const struct anti_entropy *ae = CONTAINER_OF(actor, const struct anti_entropy, actor);
    uint64_t at_ns = ae->loaded ? ae->look_ns : least(ae->look_ns, ae->load_ns);
    for (uint32_t i = 0; i < ANTI_ENTROPY_EXCHANGES_MAX; i++) {
        if (ae->exchanges[i].running)
            at_ns = least(at_ns, ae->exchanges[i].wake_ns);
    }
    at_ns = least(at_ns, ae_gains_wake_ns(ae));
    at_ns = least(at_ns, ae_votes_wake_ns(ae));
    at_ns = least(at_ns, ae_completion_wake_ns(ae));
    at_ns = least(at_ns, ae_record_wake_ns(ae));
    at_ns = least(at_ns, reaper_wake_at_ns(&ae->reaper));
    return least(at_ns, ae_explain_wake_ns(ae));
}

static void anti_entropy_check(const struct actor *actor)
{
    const struct anti_entropy *ae = CONTAINER_OF(actor, const struct anti_entropy, actor);
    uint32_t running = 0;
    uint32_t fill_count = 0;
    uint64_t dirty = 0;
    for (uint32_t i = 0; i < ANTI_ENTROPY_EXCHANGES_MAX; i++) {
        const struct ae_exchange *exchange = &ae->exchanges[i];
        running += exchange->running && exchange->reason != AE_GAIN;
        fill_count += exchange->running && exchange->reason == AE_GAIN;
        CHECK_U64(exchange->write_count, <=, ae->options.window);
        CHECK(exchange->running || exchange->fetched == NULL);
    }
    CHECK_U64(running, ==, ae->running);
    CHECK_U64(running, <=, ae->options.exchanges_max);
    CHECK_U64(fill_count, ==, ae->fills);
    CHECK_U64(fill_count, <=, ae->options.fills_max);
    for (uint32_t i = 0; i < ae->range_count; i++) {
        const struct ae_range *range = &ae->ranges[i];
        dirty += range->dirty;
        CHECK(!range->driven || range->pair);
        CHECK(i == 0 || range[-1].partition < range->partition ||
              (range[-1].partition == range->partition && range[-1].member < range->member));
    }
    CHECK_U64(dirty, ==, counter_get(&ae->figures.dirty));
    reaper_check(&ae->reaper);
}

static const struct actor_class anti_entropy_class = {
    .name = "anti_entropy",
    .handle = anti_entropy_handle,
    .tick = anti_entropy_tick,
    .wake_at_ns = anti_entropy_wake_at_ns,
    .check = anti_entropy_check,
};

/* -- life ---------------------------------------------------------------------------------------
 */

struct anti_entropy *anti_entropy_new(const struct anti_entropy_options *options)
{
    CHECK_U64(options->exchanges_max, >, 0);
    CHECK_U64(options->fills_max, >, 0);
    CHECK_U64(options->exchanges_max + options->fills_max, <=, ANTI_ENTROPY_EXCHANGES_MAX);
    CHECK_U64(options->window, >, 0);
    CHECK_U64(options->window, <=, ANTI_ENTROPY_WINDOW_MAX);
    CHECK_U64(options->partitions, <=, PARTITIONS_MAX);
    CHECK(options->bytes_per_second > 0 && options->fill_bytes_per_second > 0 &&
          options->interval_ns > 0 && options->tries > 0);
    struct anti_entropy *ae = calloc(1, sizeof *ae);
    CHECK(ae != NULL);
    actor_init(&ae->actor, &anti_entropy_class,
               (struct actor_id){.node = options->self, .kind = ACTOR_ANTI_ENTROPY});
    ae->options = *options;
    ae->replicas = calloc(options->partitions, sizeof ae->replicas[0]);
    ae->proofs = calloc(options->partitions, sizeof ae->proofs[0]);
    ae->completions = calloc(options->partitions, sizeof ae->completions[0]);
    CHECK(ae->replicas != NULL && ae->proofs != NULL && ae->completions != NULL);
    arena_init(&ae->scratch, NULL, 0);
    reaper_init(&ae->reaper, &options->reaper);
    return ae;
}

void anti_entropy_free(struct anti_entropy *ae)
{
    for (uint32_t i = 0; i < ANTI_ENTROPY_EXCHANGES_MAX; i++)
        ae_exchange_free(&ae->exchanges[i]);
    for (uint32_t i = 0; i < ae->options.partitions; i++) {
        ae_completion_free(&ae->completions[i]);
        free(atomic_load_explicit(&ae->proofs[i], memory_order_relaxed));
    }
    for (uint32_t i = 0; i < AE_RECORDS_MAX; i++)
        ae_record_free(&ae->records[i]);
    for (uint32_t i = 0; i < AE_TASKS_MAX; i++)
        ae_task_free(&ae->tasks[i]);
    for (uint32_t i = 0; i < AE_EXPLAINS_MAX; i++)
        message_free(ae->explains[i].done);
    ae_gains_free(ae);
    ae_votes_free(ae);
    free(ae->replicas);
    free(ae->ranges);
    free(ae->proofs);
    free(ae->completions);
    arena_deinit(&ae->scratch);
    free(ae);
}

struct actor *anti_entropy_actor(struct anti_entropy *ae)
{
    return &ae->actor;
}

const struct reaper_figures *anti_entropy_reaper_figures(const struct anti_entropy *ae)
{
    return &ae->reaper.figures;
}

const struct anti_entropy_figures *anti_entropy_figures(const struct anti_entropy *ae)
{
    return &ae->figures;
}
