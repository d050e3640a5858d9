// link: coterie_actors coterie_store
/* The topology log explored: four gossip actors, proposals that meet, one of which replaces a
 * voter, and a further one by the new voters. The order of events is fixed, first in, first out;
 * then every single event of the run, and every pair of them (all with COTERIE_GOSSIP_PAIRS=1, else
 * one in so many), is lost, comes last, or meets a power cut, or the loss of the disk, at the node
 * that it is for. One document an epoch and honest answers in all of them (gossip_log.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "actors/gossip.h"
#include "tests/effort.h"
#include "tests/unit/actor_fixture.h"

#include <inttypes.h>
#include <stdlib.h>

#define NODES       4u
#define QUEUE_MAX   512u
#define EPOCHS_MAX  32u
#define OPERATIONS  3u
#define PAIR_STRIDE 29u

enum deviation_kind { LOST, LATE, POWER_CUT, DISK_LOST, DEVIATION_KINDS };

struct deviation {
    uint32_t at; /* number of the event */
    enum deviation_kind kind;
};

struct pending {
    uint32_t node;           /* that it is for */
    struct message *message; /* NULL: a sync of its disk */
    uint64_t mark;
};

struct node {
    struct memory_disk *disk;
    struct engine *engine;
    struct gossip *gossip;
    struct view *view;
    struct prng prng;
    uint64_t committed, told;
    uint64_t life;
    bool syncs;
    bool lost; /* its disk: its peers tell it so at the next start */
    struct boot boot;
};

struct asked {
    uint32_t node;
    uint32_t after; /* begins when that one has ended; itself: at once */
    struct topology_operation operation;
    bool begun, ended, cut_off, unknown;
    enum err status;
    uint32_t epochs; /* whose documents show it for the first time */
};

struct world {
    struct arena arena;
    struct topology first;
    struct keyspace_map map;
    struct node nodes[NODES + 1];
    struct pending queue[QUEUE_MAX];
    uint32_t head, count;
    uint64_t now_ns;
    uint32_t events; /* so far */
    uint32_t silent; /* in the first so many events no document arrives: only the log tells */
    struct deviation deviations[2];
    uint32_t deviation_count;
    struct asked asked[OPERATIONS];
    struct bytes documents[EPOCHS_MAX];
    uint64_t epoch_max;
    const char *why; /* what was violated */
};

static void note_document(struct world *w, struct bytes bytes)
{
    struct topology topology;
    assert_int_equal(topology_decode(&w->arena, bytes, &topology), OK);
    assert_true(topology.epoch < EPOCHS_MAX);
    struct bytes *known = &w->documents[topology.epoch];
    if (known->size == 0)
        *known = arena_copy(&w->arena, bytes);
    else if (!bytes_equal(*known, bytes))
        w->why = "two documents of one epoch";
    if (topology.epoch > w->epoch_max)
        w->epoch_max = topology.epoch;
}

static void queue_add(struct world *w, struct pending pending)
{
    assert_true(w->count < QUEUE_MAX);
    w->queue[(w->head + w->count++) % QUEUE_MAX] = pending;
}

static void on_committed(void *host, uint32_t handle, uint64_t sequence)
{
    if (handle == HANDLE_ACTOR)
        ((struct node *)host)->committed = sequence;
}

static void take_answer(struct world *w, const struct client_topology_done *done)
{
    struct asked *asked = &w->asked[done->client];
    if (asked->ended)
        w->why = "answered twice";
    asked->ended = true;
    asked->status = done->status;
    asked->unknown = done->unknown;
    note_document(w, done->document);
}

static void step(struct world *w, uint32_t number, struct message *message)
{
    struct node *node = &w->nodes[number];
    struct outbox outbox;
    outbox_init(&outbox);
    struct actor_context ctx = {.now_ns = w->now_ns,
                                .wall_ms = WALL_MS,
                                .prng = &node->prng,
                                .view = node->view,
                                .outbox = &outbox,
                                .store = engine_store(node->engine, HANDLE_ACTOR)};
    if (message == NULL)
        actor_tick(gossip_actor(node->gossip), &ctx);
    else
        actor_handle(gossip_actor(node->gossip), &ctx, message);
    actor_check(gossip_actor(node->gossip));
    while ((message = outbox_take(&outbox)) != NULL) {
        if (message->kind == MESSAGE_topology_document)
            note_document(w, message->topology_document.document);
        if (message->kind == MESSAGE_view_publish) {
            view_unref(node->view);
            node->view = view_ref(message->view_publish.view);
            note_document(w, topology_encode(&w->arena, &node->view->topology));
        } else if (message->to.kind == ACTOR_EDGE) {
            take_answer(w, &message->client_topology_done);
        } else {
            queue_add(w, (struct pending){.node = message->to.node, .message = message});
            continue;
        }
        message_free(message);
    }
    if (engine_memory_wants_sync(node->engine) && !node->syncs) {
        node->syncs = true;
        queue_add(w, (struct pending){.node = number, .mark = engine_memory_mark(node->engine)});
    }
}

static void start(struct world *w, uint32_t number)
{
    struct node *node = &w->nodes[number];
    struct engine_options engine = {.handle_count = HANDLE_COUNT,
                                    .partitions = w->first.partitions,
                                    .committed = on_committed,
                                    .host = node};
    node->engine = engine_memory_open(&engine, node->disk);
    node->committed = node->told = 0;
    node->syncs = false;
    node->life++;
    struct boot_options options = {.topology = &w->first,
                                   .self = number,
                                   .shards = 1,
                                   .random_id = {(uint8_t)number},
                                   .wall_ms = WALL_MS};
    char why[256];
    struct store *meta = engine_store(node->engine, HANDLE_BOOT);
    struct boot before = node->boot;
    assert_int_equal(boot_node(meta, &w->arena, &options, &node->boot, why, sizeof why), OK);
    if (node->lost) {
        struct boot_renewal renewal = {.answer = {.verdict = IDENTITY_WIPED,
                                                  .action = IDENTITY_RENEW,
                                                  .known.self = before.hello.self,
                                                  .epoch_bound = before.epoch_bound},
                                       .fresh = {.bytes = {(uint8_t)number, (uint8_t)node->life}}};
        assert_int_equal(boot_renew(meta, &w->arena, &renewal, why, sizeof why), OK);
        assert_int_equal(boot_node(meta, &w->arena, &options, &node->boot, why, sizeof why), OK);
        node->lost = false;
    }
    note_document(w, topology_encode(&w->arena, &node->boot.topology));
    struct gossip_options gossip = gossip_options_default(number, node->boot.generation);
    gossip.incarnation = node->boot.epoch_start;
    gossip.interval_ns = (uint64_t)1000000 * MS; /* nothing but the log */
    node->gossip = gossip_new(&gossip, &node->boot.topology, &node->boot.keyspaces);
    node->view = gossip_first_view(node->gossip);
    prng_init(&node->prng, number, node->life);
    step(w, number, NULL);
}

static void stop(struct world *w, uint32_t number)
{
    struct node *node = &w->nodes[number];
    struct prng prng;
    gossip_free(node->gossip);
    view_unref(node->view);
    prng_init(&prng, w->events, 1);
    engine_memory_crash(node->engine, CRASH_POWER, &prng);
    for (uint32_t i = w->count; i-- > 0;) { /* what it said to itself, and its syncs */
        struct pending pending = w->queue[w->head];
        w->head = (w->head + 1) % QUEUE_MAX;
        w->count--;
        bool own = pending.message == NULL || pending.message->from.node == number;
        if (pending.node == number && own)
            message_free(pending.message);
        else
            queue_add(w, pending);
    }
    for (uint32_t i = 0; i < OPERATIONS; i++) {
        struct asked *asked = &w->asked[i];
        if (asked->node == number && asked->begun && !asked->ended)
            asked->ended = asked->cut_off = asked->unknown = true;
    }
}

static const struct deviation *deviation_here(const struct world *w)
{
    for (uint32_t i = 0; i < w->deviation_count; i++) {
        if (w->deviations[i].at == w->events)
            return &w->deviations[i];
    }
    return NULL;
}

static void play_event(struct world *w)
{
    struct pending pending = w->queue[w->head];
    const struct deviation *deviation = deviation_here(w);
    struct node *node = &w->nodes[pending.node];
    w->head = (w->head + 1) % QUEUE_MAX;
    w->count--;
    w->events++;
    w->now_ns += MS / 10;
    if (deviation != NULL && deviation->kind == LATE) {
        queue_add(w, pending);
        return;
    }
    bool silent = pending.message != NULL && w->events <= w->silent &&
                  pending.message->kind == MESSAGE_topology_document;
    bool cut = deviation != NULL && (deviation->kind == POWER_CUT || deviation->kind == DISK_LOST);
    if (cut || silent || (deviation != NULL && pending.message != NULL)) {
        if (cut)
            stop(w, pending.node);
        if (cut && deviation->kind == DISK_LOST) {
            memory_disk_wipe(node->disk);
            node->lost = true;
        }
        if (cut)
            start(w, pending.node);
        message_free(pending.message);
        return;
    }
    if (pending.message != NULL) {
        step(w, pending.node, pending.message);
        return;
    }
    node->syncs = false;
    engine_memory_sync(node->engine, pending.mark);
    if (node->committed == node->told)
        return;
    node->told = node->committed;
    struct message *message = message_new(MESSAGE_store_committed, 0);
    message->store_committed.sequence = node->committed;
    step(w, pending.node, message);
}

static void begin_what_can(struct world *w)
{
    for (uint32_t i = 0; i < OPERATIONS; i++) {
        struct asked *asked = &w->asked[i];
        if (asked->begun || (asked->after != i && !w->asked[asked->after].ended))
            continue;
        asked->begun = true;
        struct message *message = message_new(MESSAGE_client_topology, 0);
        message->from = actor_id_of(asked->node, ACTOR_EDGE);
        message->client_topology.client = i;
        message->client_topology.operation = asked->operation;
        step(w, asked->node, message);
    }
}

static bool all_ended(const struct world *w)
{
    for (uint32_t i = 0; i < OPERATIONS; i++) {
        if (!w->asked[i].ended)
            return false;
    }
    return true;
}

/* To the end of all operations and of what they have left under way. */
static void play(struct world *w)
{
    while (w->why == NULL && w->events < 5000) {
        begin_what_can(w);
        if (w->count != 0) {
            play_event(w);
            continue;
        }
        if (all_ended(w))
            return;
        uint32_t next = 1;
        for (uint32_t i = 2; i <= NODES; i++) {
            if (actor_wake_at_ns(gossip_actor(w->nodes[i].gossip)) <
                actor_wake_at_ns(gossip_actor(w->nodes[next].gossip)))
                next = i;
        }
        uint64_t wake_ns = actor_wake_at_ns(gossip_actor(w->nodes[next].gossip));
        if (wake_ns > w->now_ns)
            w->now_ns = wake_ns;
        step(w, next, NULL);
    }
    if (w->why == NULL)
        w->why = "it does not end";
}

static bool says(const struct topology *topology, const struct topology_operation *operation)
{
    const struct member *member = topology_member(topology, operation->member);
    return operation->kind == TOPOLOGY_LEAVE ? member->status == MEMBER_LEAVING
                                             : strcmp(member->address, operation->address) == 0;
}

static void judge(struct world *w)
{
    bool before[OPERATIONS] = {false};
    for (uint64_t epoch = 1; epoch <= w->epoch_max && w->why == NULL; epoch++) {
        struct topology topology;
        if (w->documents[epoch].size == 0) {
            w->why = "an epoch without a document";
            return;
        }
        assert_int_equal(topology_decode(&w->arena, w->documents[epoch], &topology), OK);
        for (uint32_t i = 0; i < OPERATIONS; i++) {
            bool now = says(&topology, &w->asked[i].operation);
            w->asked[i].epochs += now && !before[i];
            before[i] = now;
        }
    }
    for (uint32_t i = 0; i < OPERATIONS && w->why == NULL; i++) {
        const struct asked *asked = &w->asked[i];
        if (asked->status == OK && !asked->cut_off && asked->epochs != 1)
            w->why = "what was answered OK is not in the log";
        if (asked->status != OK && !asked->unknown && asked->epochs != 0)
            w->why = "what was refused is in the log";
        if (asked->epochs > 1)
            w->why = "made twice";
    }
}

static void operation_address(struct asked *asked, uint32_t node, uint32_t after, uint32_t port)
{
    *asked = (struct asked){.node = node, .after = after};
    asked->operation = (struct topology_operation){.kind = TOPOLOGY_ADDRESS, .member = node};
    snprintf(asked->operation.address, sizeof asked->operation.address, "10.0.0.1:%u", port);
}

struct figures {
    uint64_t runs, events, unknown, retried, voters_replaced;
};

/* One run; gives how many events it had. */
static uint32_t run(uint32_t leaver, uint32_t silent, const struct deviation *deviations,
                    uint32_t count, struct figures *figures)
{
    static struct world w;
    memset(&w, 0, sizeof w);
    arena_init(&w.arena, NULL, 0);
    w.now_ns = MS;
    w.first = fixture_topology(&w.arena, NODES, 1, 8, 7701);
    for (uint32_t i = 0; i < count; i++)
        w.deviations[i] = deviations[i];
    w.deviation_count = count;
    w.silent = silent;
    /* Two that meet, one of which replaces a voter; then one that the new voters decide. */
    operation_address(&w.asked[0], 2, 0, 1);
    w.asked[1] = (struct asked){.node = 4, .after = 1};
    w.asked[1].operation = (struct topology_operation){.kind = TOPOLOGY_LEAVE, .member = leaver};
    operation_address(&w.asked[2], 3, 1, 2);
    for (uint32_t i = 1; i <= NODES; i++) {
        w.nodes[i].disk = memory_disk_new();
        start(&w, i);
    }
    play(&w);
    if (w.why == NULL)
        judge(&w);
    if (w.why != NULL)
        fail_msg("member %u leaves, silent %u; event %u meets %d, event %u meets %d: %s", leaver,
                 silent, count > 0 ? deviations[0].at : 0, count > 0 ? (int)deviations[0].kind : -1,
                 count > 1 ? deviations[1].at : 0, count > 1 ? (int)deviations[1].kind : -1, w.why);
    struct topology last;
    assert_int_equal(topology_decode(&w.arena, w.documents[w.epoch_max], &last), OK);
    figures->runs++;
    figures->events += w.events;
    figures->voters_replaced += memcmp(last.voters, w.first.voters, sizeof last.voters) != 0;
    for (uint32_t i = 0; i < OPERATIONS; i++)
        figures->unknown += w.asked[i].unknown && !w.asked[i].cut_off;
    for (uint32_t i = 1; i <= NODES; i++) {
        figures->retried += counter_get(&gossip_figures(w.nodes[i].gossip)->ballots);
        stop(&w, i);
        memory_disk_free(w.nodes[i].disk);
    }
    while (w.count > 0) {
        message_free(w.queue[w.head].message);
        w.head = (w.head + 1) % QUEUE_MAX;
        w.count--;
    }
    uint32_t events = w.events;
    arena_deinit(&w.arena);
    return events;
}

static void explore(uint32_t leaver, uint32_t silent, uint32_t stride, struct figures *figures)
{
    uint32_t events = run(leaver, silent, NULL, 0, figures);
    uint32_t singles = events * DEVIATION_KINDS;
    uint64_t pair = 0;
    for (uint32_t i = 0; i < singles; i++) {
        struct deviation two[2] = {
            {i / DEVIATION_KINDS, (enum deviation_kind)(i % DEVIATION_KINDS)}};
        uint32_t then = run(leaver, silent, two, 1, figures) * DEVIATION_KINDS;
        /* What follows may be longer for the first one. */
        for (uint32_t j = (i / DEVIATION_KINDS + 1) * DEVIATION_KINDS; j < then; j++) {
            if (pair++ % stride != 0)
                continue;
            two[1] =
                (struct deviation){j / DEVIATION_KINDS, (enum deviation_kind)(j % DEVIATION_KINDS)};
            bool both = two[0].kind == DISK_LOST && two[1].kind == DISK_LOST;
            if (!both) /* two disks of three voters are the end of any log */
                run(leaver, silent, two, 2, figures);
        }
    }
}

static void every_event_may_fail(void **state)
{
    (void)state;
    struct figures figures = {0};
    uint32_t stride = effort_stride(PAIR_STRIDE);
    for (uint32_t silent = 0; silent <= 120; silent += 120) {
        explore(1, silent, stride, &figures); /* a voter that proposes nothing */
        explore(2, silent, stride, &figures); /* one that proposes at the same time */
    }
    print_message("%" PRIu64 " runs, %" PRIu64 " events, %" PRIu64 " ballots, %" PRIu64
                  " unknown outcomes, voters replaced in %" PRIu64 "\n",
                  figures.runs, figures.events, figures.retried, figures.unknown,
                  figures.voters_replaced);
    assert_true(figures.voters_replaced > figures.runs / 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_event_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
