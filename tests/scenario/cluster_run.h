/* cluster_run.h -- the life of the nodes of cluster.h: start, crash, steps, mail, time. */
#ifndef TESTS_SCENARIO_CLUSTER_RUN_H
#define TESTS_SCENARIO_CLUSTER_RUN_H

#include "tests/scenario/cluster_answers.h"
#include "tests/scenario/cluster_members.h"

/* -- steps ----------------------------------------------------------------------------------- */

static void flush(struct cluster *c, struct node *node, struct outbox *outbox)
{
    struct message *message;
    bool crash = false;
    while ((message = outbox_take(outbox)) != NULL) {
        if (message->kind == MESSAGE_view_publish) {
            take_view(c, node, message);
        } else if (message->to.kind == ACTOR_EDGE) {
            client_answer(c, message);
            message_free(message);
            crash |= tamper_here(c) && c->tamper == TAMPER_CRASH_ALL;
        } else if (message->to.node == node->number) {
            if (message->kind == MESSAGE_replica_write_reply && message->id == EVENTUAL_ID)
                cluster_say(c, "n%u's replica says: %s", node->number,
                            err_text(message->replica_write_reply.status));
            if (message->kind == MESSAGE_replica_write || message->kind == MESSAGE_hint_store)
                cluster_say(c, "n%u -> itself %s%s", node->number, message_kind_text(message->kind),
                            message_text(c, message));
            plan_message(c, node, 0, message);
        } else if (crash) {
            message_free(message);
        } else {
            crash = network_send(c, node, message);
        }
    }
    for (uint32_t i = 0; crash && i < c->node_count; i++) {
        struct node *other = &c->nodes[i];
        if (!other->up || (other != node && c->tamper != TAMPER_CRASH_ALL))
            continue;
        node_crash(other, false);
        cluster_plan(c, c->now_ns + 300 * MS, EVENT_START, other);
    }
}

/* NULL: a tick. */
static void node_step(struct node *node, uint32_t slot, struct message *message)
{
    struct cluster *c = node->cluster;
    struct outbox outbox;
    outbox_init(&outbox);
    struct actor_context ctx = {
        .now_ns = c->now_ns,
        .wall_ms = (uint64_t)((int64_t)(WALL_MS + c->now_ns / MS) + node->wall_skew_ms),
        .prng = slot == SLOT_ANTI_ENTROPY ? &node->background : &node->prng,
        .view = node->view,
        .outbox = &outbox,
        .store = slot == SLOT_REPLICA        ? engine_store(node->engine, HANDLE_REPLICA)
                 : slot == SLOT_GOSSIP       ? engine_store(node->engine, HANDLE_GOSSIP)
                 : slot == SLOT_HINTS        ? engine_store(node->engine, HANDLE_HINTS)
                 : slot == SLOT_ANTI_ENTROPY ? engine_store(node->engine, HANDLE_ANTI_ENTROPY)
                                             : NULL,
    };
    struct actor *actor = node->actors[slot];
    if (message != NULL)
        actor_handle(actor, &ctx, message);
    else
        actor_tick(actor, &ctx);
    actor_check(actor);
    uint32_t start = node->start;
    plan_sync(node);
    uint64_t wake_at_ns = actor_wake_at_ns(actor);
    if (wake_at_ns < node->tick_at_ns[slot]) {
        node->tick_at_ns[slot] = wake_at_ns;
        cluster_plan(c, wake_at_ns > c->now_ns ? wake_at_ns : c->now_ns, EVENT_TICK, node)->mark =
            slot;
    }
    flush(c, node, &outbox);
    CHECK(start == node->start || !node->up);
}

static void tell_links(struct node *node, bool up)
{
    struct cluster *c = node->cluster;
    for (uint32_t i = 0; i < c->node_count; i++) {
        struct node *other = &c->nodes[i];
        if (other == node || !other->up || c->cut[node->number - 1][i] ||
            hello_look_one(other, node) == HELLO_UNKNOWN)
            continue;
        tell_link(c, other, node->number, up);
        if (up)
            tell_link(c, node, other->number, true);
    }
}

/* Connections that were cut come up again; nothing is lost by name any more. */
static void cluster_heal(struct cluster *c)
{
    bool cut[NODES_MAX][NODES_MAX];
    memcpy(cut, c->cut, sizeof cut);
    memset(c->cut, 0, sizeof c->cut);
    c->loss_count = 0;
    for (uint32_t i = 0; i < c->node_count; i++) {
        for (uint32_t j = 0; j < c->node_count; j++) {
            if ((cut[i][j] || cut[j][i]) && c->nodes[i].up && c->nodes[j].up &&
                hello_pair(&c->nodes[j], &c->nodes[i]))
                tell_link(c, &c->nodes[i], j + 1, true);
        }
    }
}

/* -- life ------------------------------------------------------------------------------------ */

static void node_start(struct node *node)
{
    struct cluster *c = node->cluster;
    struct engine_options options = {.handle_count = HANDLE_COUNT,
                                     .partitions = c->topology.partitions,
                                     .committed = on_committed,
                                     .host = node};
    CHECK(!node->up);
    node->starting = true;
    node->engine = engine_memory_open(&options, node->disk);
    struct boot_options boot_options = {
        .topology = node->joined == NULL ? &c->topology : NULL,
        .joined = node->joined,
        .self = node->number,
        .shards = 1,
        .random_id = {(uint8_t)node->number, (uint8_t)node->start},
        .start_nonce = node->start,
        .log_short = engine_log_short(node->engine),
        .wall_ms = (uint64_t)((int64_t)(WALL_MS + c->now_ns / MS) + node->wall_skew_ms)};
    struct boot boot;
    char why[256];
    hello_renew(node);
    enum err err = boot_node(engine_store(node->engine, HANDLE_GOSSIP), &c->arena, &boot_options,
                             &boot, why, sizeof why);
    if (err == ERR_DENIED) {
        cluster_say(c, "n%u does not start: %s", node->number, why);
        engine_close(node->engine);
        return;
    }
    CHECK(err == OK);
    struct coordinator_options coordinator =
        coordinator_options_default(node->number, 0, boot.generation, boot.epoch_start);
    coordinator.requests_max = 16;
    struct replica_options replica = {.self = node->number, .shards = 1, .held_max = 16};
    struct gossip_options gossip = gossip_options_default(node->number, boot.generation);
    gossip.incarnation = boot.epoch_start;
    gossip.addresses = boot.addresses;
    gossip.address_count = boot.address_count;
    node->coordinator = coordinator_new(&coordinator);
    node->replica = replica_new(&replica, &boot);
    node->gossip = gossip_new(&gossip, &boot.topology, &boot.keyspaces);
    struct hinted_handoff_options hints =
        hinted_handoff_options_default(node->number, boot.generation);
    node->hinted_handoff = hinted_handoff_new(&hints);
    node->actors[SLOT_HINTS] = hinted_handoff_actor(node->hinted_handoff);
    struct anti_entropy_options anti_entropy =
        anti_entropy_options_default(node->number, boot.generation, c->topology.partitions);
    if (c->reap_after_ms != 0) {
        anti_entropy.reaper.reap_after_ms = c->reap_after_ms;
        anti_entropy.reaper.interval_ns = c->reap_after_ms * MS;
    }
    if (c->compare_ns != 0)
        anti_entropy.interval_ns = c->compare_ns;
    node->anti_entropy = anti_entropy_new(&anti_entropy);
    node->actors[SLOT_ANTI_ENTROPY] = anti_entropy_actor(node->anti_entropy);
    node->actors[SLOT_COORDINATOR] = coordinator_actor(node->coordinator);
    node->actors[SLOT_REPLICA] = replica_actor(node->replica);
    node->actors[SLOT_GOSSIP] = gossip_actor(node->gossip);
    node->view = gossip_first_view(node->gossip);
    prng_init(&node->prng, node->number, boot.generation);
    prng_init(&node->background, node->number, boot.generation);
    for (int slot = 0; slot < SLOT_COUNT; slot++)
        node->tick_at_ns[slot] = NEVER_NS;
    node->syncing = node->periodic = node->slow = node->starting = false;
    node->up = true;
    hello_load(node, &boot);
    if (!hello_all(node))
        return;
    tell_links(node, true);
    node_step(node, SLOT_GOSSIP, NULL);
    node_step(node, SLOT_HINTS, NULL);
    node_step(node, SLOT_REPLICA, NULL);
    node_step(node, SLOT_ANTI_ENTROPY, NULL);
}

static void node_end(struct node *node)
{
    struct cluster *c = node->cluster;
    coordinator_free(node->coordinator);
    replica_free(node->replica);
    gossip_free(node->gossip);
    hinted_handoff_free(node->hinted_handoff);
    anti_entropy_free(node->anti_entropy);
    view_unref(node->view);
    node->view = NULL;
    node->up = false;
    node->start++;
    for (uint32_t i = 0; i < c->request_count; i++) {
        if (c->requests[i].node == node->number && !c->requests[i].ended)
            c->requests[i].ended = c->requests[i].cut_off = true;
    }
    tell_links(node, false);
}

static void node_crash(struct node *node, bool keep)
{
    struct prng prng;
    for (uint64_t seed = 0;; seed++) {
        /* engine_memory_crash draws twice, then one in four is "all" or "none". */
        prng_init(&prng, seed, 0);
        struct prng ahead = prng;
        prng_u64(&ahead);
        prng_u64(&ahead);
        if (prng_below(&ahead, 4) == 0)
            break;
    }
    node_end(node);
    engine_memory_crash(node->engine, keep ? CRASH_PROCESS : CRASH_POWER, &prng);
}

static void node_stop(struct node *node)
{
    node->starting = true; /* commits are told to nobody any more */
    enum err err = boot_mark_clean(engine_store(node->engine, HANDLE_GOSSIP));
    CHECK(err == OK);
    node_end(node);
    engine_close(node->engine);
}

/* -- time ------------------------------------------------------------------------------------ */

static void on_message(struct node *node, struct message *message)
{
    uint32_t slot = message->to.kind == ACTOR_COORDINATOR      ? SLOT_COORDINATOR
                    : message->to.kind == ACTOR_REPLICA        ? SLOT_REPLICA
                    : message->to.kind == ACTOR_HINTED_HANDOFF ? SLOT_HINTS
                    : message->to.kind == ACTOR_ANTI_ENTROPY   ? SLOT_ANTI_ENTROPY
                                                               : SLOT_GOSSIP;
    CHECK(message->to.kind == node->actors[slot]->id.kind);
    node_step(node, slot, message);
}

static void run_event(struct cluster *c, struct event *event)
{
    struct node *node = &c->nodes[event->node];
    /* Mail from another node meets whatever life there is; the rest belongs to one life. */
    bool remote = event->kind == EVENT_MESSAGE && event->message->from.node != 0 &&
                  event->message->from.node != node->number;
    bool void_now = event->kind == EVENT_START
                        ? node->up
                        : !node->up || (!remote && event->start != node->start);
    if (void_now) {
        message_free(event->message);
        return;
    }
    switch (event->kind) {
    case EVENT_MESSAGE:
        on_message(node, event->message);
        break;
    case EVENT_SYNCED:
        node->syncing = false;
        if (node->slow)
            break;
        engine_memory_sync(node->engine, event->mark);
        plan_sync(node);
        break;
    case EVENT_PERIODIC:
        node->periodic = false;
        begin_sync(node);
        break;
    case EVENT_TICK:
        node->tick_at_ns[event->mark] = NEVER_NS;
        node_step(node, (uint32_t)event->mark, NULL);
        break;
    case EVENT_START:
        node_start(node);
        break;
    case EVENT_MEET:
        meet_members(node, event->mark);
        break;
    case EVENT_LEAVE:
        node_leave(node);
        break;
    }
}

static void cluster_run_until(struct cluster *c, uint64_t until_ns)
{
    const struct heap_entry *least;
    while ((least = heap_peek(&c->events)) != NULL && least->key <= until_ns) {
        struct heap_entry entry = heap_pop(&c->events);
        c->now_ns = entry.key;
        run_event(c, entry.value);
        free(entry.value);
    }
    c->now_ns = until_ns;
}

/* Until all requests have ended and the network is quiet; every request ends by its deadline. */
static void cluster_settle(struct cluster *c)
{
    uint64_t limit_ns = c->now_ns + REQUEST_NS + 200 * MS;
    for (;;) {
        bool running = false;
        for (uint32_t i = 0; i < c->request_count; i++)
            running |= !c->requests[i].ended;
        if (!running)
            break;
        if (c->now_ns >= limit_ns) {
            cluster_fail(c, "a request did not end by its deadline");
            return;
        }
        cluster_run_until(c, c->now_ns + MS);
    }
    cluster_run_until(c, c->now_ns + 20 * MS);
}

/* After the nodes come spares: no members at first. */
static void cluster_init(struct cluster *c, uint32_t nodes, uint32_t spares, uint32_t centers,
                         FILE *trace)
{
    struct topology_seed seeds[NODES_MAX] = {0};
    const char *why = NULL;
    arena_init(&c->arena, NULL, 0);
    heap_init(&c->events);
    for (uint32_t i = 0; i < nodes; i++) {
        snprintf(seeds[i].name, sizeof seeds[i].name, "n%u", i + 1);
        snprintf(seeds[i].address, sizeof seeds[i].address, "127.0.0.1:%u", 7701 + i);
        snprintf(seeds[i].data_center, sizeof seeds[i].data_center, "dc%u", i % centers + 1);
    }
    enum err err = topology_initial(&c->arena, seeds, nodes, 16, &c->topology, &why);
    CHECK(err == OK);
    topology_copy(&c->arena, &c->topology, &c->newest);
    c->node_count = nodes + spares;
    c->centers = centers;
    c->now_ns = c->begun_ns = 1000 * MS;
    c->trace = trace;
    for (uint32_t i = 0; i < c->node_count; i++)
        c->nodes[i] = (struct node){.cluster = c, .number = i + 1, .disk = memory_disk_new()};
    for (uint32_t i = 0; i < nodes; i++)
        node_start(&c->nodes[i]);
    cluster_run_until(c, c->now_ns + 3000 * MS);
}

static void cluster_deinit(struct cluster *c)
{
    for (uint32_t i = 0; i < c->node_count; i++) {
        if (c->nodes[i].up)
            node_crash(&c->nodes[i], true);
        memory_disk_free(c->nodes[i].disk);
        message_free(c->nodes[i].held_document);
    }
    for (uint32_t i = 0; i < BACKUPS_MAX; i++)
        memory_disk_free(c->backups[i].disk);
    while (heap_peek(&c->events) != NULL) {
        struct event *event = heap_pop(&c->events).value;
        message_free(event->message);
        free(event);
    }
    heap_deinit(&c->events);
    arena_deinit(&c->arena);
}

#endif
