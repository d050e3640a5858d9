#include "tests/sim/host.h"

#include "tests/sim/world.h"

#define LOCAL_DELAY_NS    30000u /* at most, from one thread of a node to another */
#define PERIODIC_SYNC_NS  (100 * (uint64_t)MS_NS)
#define MAILBOX_DEPTH_MAX 4096u /* the bound that the checker holds it to */

void host_init(struct host *host, struct world *world, uint32_t index, uint32_t member)
{
    *host = (struct host){.world = world, .index = index, .member = member};
    host->disk = memory_disk_new();
    prng_init(&host->prng, world->options.seed, RANDOM_NODES + 100 * (uint64_t)(index + 1));
    prng_init(&host->disk_prng, world->options.seed, RANDOM_DISK + 100 * (uint64_t)(index + 1));
}

/* -- clocks ---------------------------------------------------------------------------------------
 */

uint64_t host_monotonic_ns(const struct host *host)
{
    int64_t now_ns = (int64_t)host->world->now_ns;
    return host->monotonic_offset_ns + (uint64_t)(now_ns + now_ns * host->drift_ppm / 1000000);
}

uint64_t host_wall_ms(const struct host *host)
{
    int64_t since_ms = (int64_t)(host_monotonic_ns(host) - host->monotonic_offset_ns) / MS_NS;
    return (uint64_t)((int64_t)SIM_WALL_MS + since_ms + host->wall_skew_ms);
}

/* The world's time at which the monotonic clock will be about there; a turn that comes too early is
 * planned again. */
static uint64_t world_time(const struct host *host, uint64_t monotonic_ns)
{
    uint64_t now_ns = host_monotonic_ns(host);
    return host->world->now_ns + (monotonic_ns > now_ns ? monotonic_ns - now_ns : 0);
}

/* -- mail and turns
 * --------------------------------------------------------------------------------- */

static void plan_turn(struct host *host, struct host_actor *actor, uint64_t at_ns)
{
    if (at_ns < actor->busy_until_ns)
        at_ns = actor->busy_until_ns;
    if (at_ns < host->world->now_ns)
        at_ns = host->world->now_ns;
    if (at_ns >= actor->turn_at_ns)
        return;
    actor->turn_at_ns = at_ns;
    struct event *event = world_plan_host(host, at_ns, EVENT_STEP);
    event->slot = (uint32_t)(actor - host->actors);
    event->number = ++actor->turn;
}

/* After a turn: at once for what is left of the mail, else when the actor wants it. */
static void plan_next_turn(struct host *host, struct host_actor *actor)
{
    uint64_t wake_at_ns = actor_wake_at_ns(actor->actor);
    if (actor->mail_first != NULL)
        plan_turn(host, actor, host->world->now_ns);
    else if (wake_at_ns != NEVER_NS)
        plan_turn(host, actor, world_time(host, wake_at_ns));
}

static struct host_actor *find_actor(struct host *host, const struct message *message)
{
    struct actor_id to = message->to;
    uint32_t partition = message_partition(message);
    if (to.kind == ACTOR_REPLICA && partition != UINT32_MAX)
        to.index = replica_shard(partition, host->world->options.shards);
    for (uint32_t i = 0; i < host->actor_count; i++) {
        if (actor_id_equal(host->actors[i].actor->id, to))
            return &host->actors[i];
    }
    return NULL;
}

static void post_at(struct host *host, struct message *message, uint64_t at_ns)
{
    struct world *world = host->world;
    struct host_actor *actor = find_actor(host, message);
    if (actor == NULL) {
        world_fail(world, "routing", "n%u: %s is for an actor that is not there (kind %u index %u)",
                   host->member, message_kind_text(message->kind), message->to.kind,
                   message->to.index);
        message_free(message);
        return;
    }
    at_ns += prng_below(&host->prng, LOCAL_DELAY_NS);
    if (at_ns <= actor->last_arrival_ns)
        at_ns = actor->last_arrival_ns + 1;
    actor->last_arrival_ns = at_ns;
    struct event *event = world_plan_host(host, at_ns, EVENT_LOCAL);
    event->slot = (uint32_t)(actor - host->actors);
    event->message = message;
    world->figures.messages_local++;
}

void host_post(struct host *host, struct message *message)
{
    CHECK(host->up);
    post_at(host, message, host->world->now_ns);
}

void host_on_local(struct host *host, uint32_t slot, struct message *message)
{
    struct host_actor *actor = &host->actors[slot];
    message->next = NULL;
    if (actor->mail_last == NULL)
        actor->mail_first = message;
    else
        actor->mail_last->next = message;
    actor->mail_last = message;
    actor->depth++;
    if (actor->depth > MAILBOX_DEPTH_MAX)
        world_fail(host->world, "bounds", "n%u: the mailbox of %s holds %u messages", host->member,
                   actor->actor->class->name, actor->depth);
    plan_turn(host, actor, host->world->now_ns);
}

static struct message *take_mail(struct host_actor *actor)
{
    struct message *message = actor->mail_first;
    if (message == NULL)
        return NULL;
    actor->mail_first = message->next;
    if (actor->mail_first == NULL)
        actor->mail_last = NULL;
    actor->depth--;
    message->next = NULL;
    return message;
}

/* -- the syncer
 * ------------------------------------------------------------------------------------- */

static void sync_begin(struct host *host)
{
    struct world *world = host->world;
    host->syncing = true;
    uint64_t lasts_ns = faults_fsync_ns(world, host->index);
    faults_on_sync(world, host->index, lasts_ns);
    world_plan_host(host, world->now_ns + lasts_ns, EVENT_SYNC_DONE)->number =
        engine_memory_mark(host->engine);
}

static void sync_if_wanted(struct host *host)
{
    if (host->syncing || host->engine_failed)
        return;
    if (engine_memory_wants_sync(host->engine)) {
        sync_begin(host);
    } else if (engine_memory_mark(host->engine) > host->synced_mark && !host->periodic_planned) {
        host->periodic_planned = true;
        world_plan_host(host, host->world->now_ns + PERIODIC_SYNC_NS, EVENT_SYNC_PERIODIC);
    }
}

void host_sync_wanted(struct host *host)
{
    sync_if_wanted(host);
}

void host_on_sync_periodic(struct host *host)
{
    host->periodic_planned = false;
    if (!host->syncing && !host->engine_failed &&
        engine_memory_mark(host->engine) > host->synced_mark)
        sync_begin(host);
}

void host_on_sync_done(struct host *host, uint64_t mark)
{
    struct world *world = host->world;
    host->syncing = false;
    if (mark > host->synced_mark && faults_fsync_fails(world, host->index)) {
        host->engine_failed = true;
        engine_memory_set_faults(host->engine, NULL, 0, 0, true);
        engine_memory_sync(host->engine, mark);
        return;
    }
    host->synced_mark = mark;
    trace_line(&world->trace, world->now_ns, "n%u log durable up to %llu", host->member,
               (unsigned long long)mark);
    engine_memory_sync(host->engine, mark);
    sync_if_wanted(host);
}

static void on_committed(void *closure, uint32_t handle, uint64_t sequence)
{
    struct host *host = closure;
    if (host->deaf)
        return;
    struct message *message = message_new(MESSAGE_store_committed, 0);
    uint32_t shards = host->world->options.shards;
    bool replica = handle < shards;
    message->from = (struct actor_id){.node = host->member, .kind = ACTOR_EDGE};
    message->to = (struct actor_id){.node = host->member,
                                    .kind = replica               ? ACTOR_REPLICA
                                            : handle == shards    ? ACTOR_GOSSIP
                                            : handle > shards + 1 ? ACTOR_ANTI_ENTROPY
                                                                  : ACTOR_HINTED_HANDOFF,
                                    .index = replica ? (uint8_t)handle : 0};
    message->store_committed.sequence = sequence;
    host_post(host, message);
}

static void on_failed(void *closure, const char *why)
{
    struct host *host = closure;
    trace_line(&host->world->trace, host->world->now_ns, "n%u: %s", host->member, why);
    if (!host->engine_failed)
        world_fail(host->world, "engine", "n%u: %s", host->member, why);
}

/* -- steps
 * -------------------------------------------------------------------------------------------- */

/* Who is no member any more ends. */
static void see_topology(struct host *host)
{
    struct world *world = host->world;
    steward_saw(world, host, &host->view->topology);
    check_log_view(host);
    if (topology_was_removed(&host->view->topology, host->member))
        world_plan_host(host, world->now_ns + MS_NS, EVENT_LEFT);
}

static void publish_view(struct host *host, struct message *message)
{
    check_detector_view(host, host->view, message->view_publish.view);
    view_unref(host->view);
    host->view = view_ref(message->view_publish.view);
    see_topology(host);
    trace_line(&host->world->trace, host->world->now_ns, "n%u view %llu", host->member,
               (unsigned long long)host->view->version);
    message_free(message);
}

static void deliver(struct host *host, struct message *message, uint64_t at_ns)
{
    struct world *world = host->world;
    trace_mix(&world->trace, at_ns, message->kind, message->id,
              (uint64_t)message->to.node << 16 | message->to.kind);
    check_durable_answered(host, message);
    check_log_answered(host, message);
    check_registers_leaves(host, message);
    if (message->to.node != host->member) {
        network_send(world, host, message, at_ns);
    } else if (message->to.kind == ACTOR_RUNTIME) {
        publish_view(host, message);
    } else if (message->to.kind == ACTOR_EDGE) {
        world_plan_host(host, at_ns, EVENT_EDGE)->message = message;
    } else {
        post_at(host, message, at_ns);
    }
}

static void trace_step(struct host *host, const struct host_actor *actor,
                       const struct message *message)
{
    struct trace *trace = &host->world->trace;
    trace_mix(trace, host->world->now_ns, (uint64_t)host->index << 32 | actor->actor->id.kind,
              message == NULL ? UINT64_MAX : message->kind, message == NULL ? 0 : message->id);
    if (!trace->text)
        return;
    if (message == NULL)
        trace_line(trace, host->world->now_ns, "n%u %s.%u tick", host->member,
                   actor->actor->class->name, actor->actor->id.index);
    else
        trace_line(trace, host->world->now_ns, "n%u %s.%u <- %s #%llx from n%u", host->member,
                   actor->actor->class->name, actor->actor->id.index,
                   message_kind_text(message->kind), (unsigned long long)message->id,
                   message->from.node);
}

/* One message, or a tick when there is none. */
static void step(struct host *host, struct host_actor *actor, struct actor_context *ctx,
                 struct message *message)
{
    host->world->figures.steps++;
    trace_step(host, actor, message);
    if (actor->actor->id.kind == ACTOR_GOSSIP)
        host->gossip_ran_ns = host->world->now_ns;
    if (message != NULL) {
        check_durable_asked(host, message);
        check_log_asked(host, message);
    }
    if (message == NULL) {
        actor_tick(actor->actor, ctx);
    } else if (message->kind == MESSAGE_replica_mint) {
        struct mint_watch watch;
        mints_before(host, message, &watch);
        actor_handle(actor->actor, ctx, message);
        mints_after(host, &watch);
    } else if (message->kind == MESSAGE_reap_remove) {
        struct reap_watch watch;
        uint64_t floor = message->reap_remove.floor;
        check_reap_before(host, message, &watch);
        actor_handle(actor->actor, ctx, message);
        check_reap_after(host, &watch, floor);
    } else if (message->kind == MESSAGE_reap_scan) {
        check_reap_began(host, message);
        actor_handle(actor->actor, ctx, message);
    } else if (message->kind == MESSAGE_replica_write) {
        struct write_watch watch;
        check_reaped_before(host, message, &watch);
        actor_handle(actor->actor, ctx, message);
        check_reaped_after(host, &watch);
    } else if (message->kind == MESSAGE_vnode_incomplete) {
        check_emptied(host, message);
        actor_handle(actor->actor, ctx, message);
    } else if (message->kind == MESSAGE_vnode_complete) {
        struct filled_watch watch;
        check_filled_before(host, message, &watch);
        actor_handle(actor->actor, ctx, message);
        check_filled_after(host, &watch);
    } else if (message->kind == MESSAGE_replica_write_reply &&
               message->to.kind == ACTOR_HINTED_HANDOFF) {
        struct hints_watch watch;
        check_hints_before(host, message, &watch);
        actor_handle(actor->actor, ctx, message);
        check_hints_after(host, &watch);
    } else {
        actor_handle(actor->actor, ctx, message);
    }
    actor_check(actor->actor);
}

void host_on_step(struct host *host, uint32_t slot, uint64_t turn)
{
    struct world *world = host->world;
    struct host_actor *actor = &host->actors[slot];
    if (turn != actor->turn || actor->turn_at_ns == NEVER_NS)
        return;
    actor->turn_at_ns = NEVER_NS;
    uint64_t paused_until_ns = host->paused_until_ns > actor->paused_until_ns
                                   ? host->paused_until_ns
                                   : actor->paused_until_ns;
    if (paused_until_ns > world->now_ns) {
        plan_turn(host, actor, paused_until_ns);
        return;
    }
    struct outbox outbox;
    outbox_init(&outbox);
    struct view *view = view_ref(host->view);
    struct actor_context ctx = {
        .now_ns = host_monotonic_ns(host),
        .wall_ms = host_wall_ms(host),
        .prng = &actor->prng,
        .view = view,
        .outbox = &outbox,
        .store = actor->store,
        .log = &world->log,
    };
    uint64_t cost_ns = 0;
    for (uint32_t i = 0; i < world->options.batch_max && actor->mail_first != NULL; i++) {
        step(host, actor, &ctx, take_mail(actor));
        cost_ns += 1 + prng_below(&host->prng, 2 * world->options.step_cost_ns);
    }
    if (actor_wake_at_ns(actor->actor) <= ctx.now_ns) {
        step(host, actor, &ctx, NULL);
        cost_ns += 1 + prng_below(&host->prng, 2 * world->options.step_cost_ns);
    }
    actor->busy_until_ns = world->now_ns + cost_ns + 1;
    if (actor->store != NULL)
        store_submit(actor->store);
    struct message *message;
    while ((message = outbox_take(&outbox)) != NULL)
        deliver(host, message, actor->busy_until_ns);
    view_unref(view);
    sync_if_wanted(host);
    plan_next_turn(host, actor);
}

/* -- life
 * -----------------------------------------------------------------------------------------------
 */

static enum err boot(struct host *host, struct engine *engine, struct arena *arena,
                     struct boot *ret_boot, char *why, size_t why_size)
{
    struct world *world = host->world;
    bool founder = host->index < world->options.nodes_first;
    struct boot_options options = {
        .topology = founder ? &world->first : NULL,
        .joined = founder ? NULL : &world->topology,
        .self = host->member,
        .shards = world->options.shards,
        .wall_ms = host_wall_ms(host),
        .epoch_lease = world->options.epoch_lease,
        .start_nonce = (uint64_t)host->index << 32 | host->start,
        .log_short = engine_log_short(engine),
        .log = &world->log,
    };
    for (size_t i = 0; i < sizeof options.random_id; i++)
        options.random_id[i] = (uint8_t)prng_below(&host->prng, 256);
    return boot_node(engine_store(engine, world->options.shards), arena, &options, ret_boot, why,
                     why_size);
}

bool host_boots_from(struct host *host, struct memory_disk *disk, struct boot *ret_boot)
{
    char why[256];
    struct arena arena;
    *ret_boot = (struct boot){0};
    struct engine_options options = {
        .handle_count = host->world->options.shards + 2,
        .partitions = host->world->options.partitions,
    };
    struct engine *engine = engine_memory_open(&options, disk);
    arena_init(&arena, NULL, 0);
    enum err err = boot(host, engine, &arena, ret_boot, why, sizeof why);
    arena_deinit(&arena);
    engine_close(engine);
    return err == OK;
}

static void plan_first_turns(struct host *host)
{
    for (uint32_t i = 0; i < host->actor_count; i++) {
        struct host_actor *actor = &host->actors[i];
        prng_init(&actor->prng, host->world->options.seed,
                  RANDOM_ACTORS + ((uint64_t)host->start * NODES_MAX + host->index) * 100 + i);
        actor->turn_at_ns = NEVER_NS;
        plan_next_turn(host, actor);
    }
}

void host_start(struct host *host)
{
    struct world *world = host->world;
    CHECK(!host->up);
    host->start++;
    struct engine_options options = {
        .handle_count = world->options.shards + 3,
        .partitions = world->options.partitions,
        .periodic_sync_ms = 100,
        .log = &world->log,
        .committed = on_committed,
        .failed = on_failed,
        .host = host,
    };
    host->engine = engine_memory_open(&options, host->disk);
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct boot booted = {0};
    char why[256] = "";
    host->deaf = true;
    hellos_renew(host);
    enum err err = boot(host, host->engine, &arena, &booted, why, sizeof why);
    host->deaf = false;
    if (err == ERR_DENIED && world_has(world, FAULT_MEMBERSHIP)) { /* steward_settled judges it */
        trace_line(&world->trace, world->now_ns, "n%u: %s", host->member, why);
        engine_close(host->engine);
        host->engine = NULL;
        arena_deinit(&arena);
        return;
    }
    if (err != OK)
        world_fail(world, "boot", "n%u: %s", host->member, why);
    trace_line(&world->trace, world->now_ns, "n%u starts, generation %llu", host->member,
               (unsigned long long)booted.generation);
    if (!world->failure.failed) {
        memset(host->actors, 0, sizeof host->actors);
        host->actor_count = 0;
        hellos_started(host, &booted);
        host_actors_new(host, &booted);
        host->up = true;
        host->syncing = false;
        host->periodic_planned = false;
        host->synced_mark = engine_memory_mark(host->engine);
        host->paused_until_ns = 0;
        host->doubt_until_ns = 0;
        host->engine_failed = false;
        host_set_disk_faults(host, host->read_error, host->overloaded);
        plan_first_turns(host);
        network_host_started(world, host->index);
    }
    arena_deinit(&arena);
}

static void host_stop(struct host *host)
{
    host->up = false;
    for (uint32_t i = 0; i < host->actor_count; i++) {
        struct message *message;
        while ((message = take_mail(&host->actors[i])) != NULL)
            message_free(message);
    }
    host_actors_free(host);
    check_durable_forget(host);
    view_unref(host->view);
    host->view = NULL;
}

/* What runs is gone; what the engine has not made durable goes with it. */
static void host_lose(struct host *host, enum crash_kind kind)
{
    host_stop(host);
    engine_memory_crash(host->engine, kind, &host->disk_prng);
    host->engine = NULL;
    workload_host_down(host->world, host->index);
}

void host_crash(struct host *host, enum crash_kind kind)
{
    CHECK(host->up);
    trace_line(&host->world->trace, host->world->now_ns, "n%u %s", host->member,
               kind == CRASH_POWER ? "loses power" : "is killed");
    check_trees(host->world, host);
    host_lose(host, kind);
}

/* As node_stop: nothing is marked clean behind what could not be kept. */
static enum err host_keep(struct host *host)
{
    enum err err = OK;
    for (uint32_t i = 0; i < host->world->options.shards && err == OK; i++)
        err = replica_keep_trees(host->replicas[i], engine_store(host->engine, i));
    if (err == OK)
        err = boot_mark_clean(engine_store(host->engine, host->world->options.shards));
    return err;
}

void host_close(struct host *host)
{
    struct world *world = host->world;
    CHECK(host->up);
    trace_line(&world->trace, world->now_ns, "n%u stops", host->member);
    check_trees(world, host);
    engine_memory_set_faults(host->engine, NULL, 0, 0, false);
    bool failed = host->engine_failed; /* a sync has failed before: no stop is clean after that */
    host->deaf = true;
    enum err err = host_keep(host);
    if (failed) {
        trace_line(&world->trace, world->now_ns, "n%u ends without a clean mark", host->member);
        if (err == OK)
            world_fail(world, "boot", "n%u marks a clean stop on a store that failed",
                       host->member);
        host_lose(host, CRASH_PROCESS);
        return;
    }
    if (err != OK)
        world_fail(world, "boot", "n%u cannot mark a clean stop: %s", host->member, err_text(err));
    host_stop(host);
    engine_close(host->engine);
    host->engine = NULL;
    workload_host_down(world, host->index);
}

void host_deinit(struct host *host)
{
    if (host->up)
        host_stop(host);
    host->deaf = true;
    if (host->engine != NULL)
        engine_close(host->engine);
    memory_disk_free(host->disk);
}

void host_pause(struct host *host, uint64_t until_ns)
{
    check_detector_paused(host, until_ns);
    if (until_ns > host->paused_until_ns)
        host->paused_until_ns = until_ns;
    if (until_ns > host->pause_ended_ns)
        host->pause_ended_ns = until_ns;
}

void host_pause_actor(struct host *host, uint32_t slot, uint64_t until_ns)
{
    CHECK_U64(slot, <, host->actor_count);
    if (host->actors[slot].actor->id.kind == ACTOR_GOSSIP)
        check_detector_paused(host, until_ns);
    if (until_ns > host->actors[slot].paused_until_ns)
        host->actors[slot].paused_until_ns = until_ns;
    if (until_ns > host->pause_ended_ns)
        host->pause_ended_ns = until_ns;
}
