/* What a change means for each node, in words and figures: shares, bytes, room on the disks. */
#include "base/check.h"
#include "model/topology_sets.h"
#include "rpc/change.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#define SENTENCES_MAX (3u * MEMBERS_MAX + 3u * DATA_CENTERS_MAX + 8u)
/* Of a disk that would hold what is moved, so much stays free: compaction needs room to work. */
#define ROOM_PART 10u

void reports_ask(struct request *request, const void *what, size_t size)
{
    struct call *call = request->call;
    struct batch *batch = batch_new(1, 0);
    batch->items[0].key = arena_copy(&batch->arena, bytes_of(what, size));
    struct message *message = message_new(MESSAGE_client_reports, 0);
    call_address(call, request->view, 0, ACTOR_GOSSIP, message);
    message->client_reports = (struct client_reports){.client = message->id, .sizes = true};
    call_ask(call, 1, message, MESSAGE_client_reports_done, batch);
}

const struct vnode_report_reply *reports_of(const struct reports *reports, uint32_t member)
{
    for (uint32_t i = 0; i < reports->count; i++) {
        if (reports->list[i].member == member)
            return reports->list[i].report.status == OK ? &reports->list[i].report : NULL;
    }
    return NULL;
}

const uint64_t *reports_sizes(struct arena *arena, const struct reports *reports,
                              uint32_t partitions)
{
    uint64_t *sizes = ARENA_NEW(arena, uint64_t, partitions);
    bool known = false;
    for (uint32_t i = 0; i < reports->count; i++) {
        const struct vnode_report_reply *report = &reports->list[i].report;
        if (report->status != OK || report->sizes.size != partitions * sizeof(uint64_t))
            continue;
        known = true;
        for (uint32_t j = 0; j < partitions; j++) {
            uint64_t size = 0;
            for (size_t k = 0; k < sizeof size; k++) /* big-endian */
                size = size << 8 | report->sizes.data[j * sizeof size + k];
            sizes[j] = size > sizes[j] ? size : sizes[j];
        }
    }
    return known ? sizes : NULL;
}

/* -- the plan ---------------------------------------------------------------------------------- */

struct planned {
    struct arena *arena;
    const struct view *view;
    const struct topology *topology;
    const struct reports *reports;
    struct plan plan;
    Coterie__V1__Plan *words;
    uint32_t copies[2][DATA_CENTERS_MAX]; /* by side */
};

__attribute__((format(printf, 4, 5))) static void say(struct planned *planned, char **list,
                                                      size_t *count, const char *format, ...)
{
    char text[500];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    CHECK_U64(*count, <, SENTENCES_MAX);
    list[(*count)++] = arena_string(planned->arena, bytes_of_string(text));
}

#define warn(planned, ...)                                                                         \
    say(planned, (planned)->words->warnings, &(planned)->words->n_warnings, __VA_ARGS__)
#define refuse(planned, ...)                                                                       \
    say(planned, (planned)->words->refusals, &(planned)->words->n_refusals, __VA_ARGS__)

static uint64_t eta_ms(uint64_t bytes, uint64_t bytes_per_second)
{
    return bytes_per_second == 0 ? 0 : (uint64_t)((double)bytes * 1000 / (double)bytes_per_second);
}

static double share(uint32_t copies, uint32_t all)
{
    return all == 0 ? 0 : (double)copies / (double)all;
}

static void node_room(struct planned *planned, const struct member *member,
                      Coterie__V1__PlanNode *node)
{
    const struct vnode_report_reply *report = reports_of(planned->reports, member->number);
    node->free_known = report != NULL;
    node->free_bytes = report == NULL ? 0 : report->free_bytes;
    uint64_t needed = node->bytes_in + node->bytes_in / ROOM_PART;
    node->fits = node->bytes_in == 0 || (report != NULL && needed <= report->free_bytes);
    if (node->fits)
        return;
    if (report == NULL)
        refuse(planned,
               "node %s receives %" PRIu64 " bytes and does not say how much room it has: start "
               "it, or see that the others reach it; force goes on without knowing",
               member->name, node->bytes_in);
    else
        refuse(planned,
               "node %s receives %" PRIu64 " bytes and has %" PRIu64 " free above its reserve (a "
               "tenth more than it receives is needed): make room there, give it less weight, or "
               "force it",
               member->name, node->bytes_in, report->free_bytes);
}

static Coterie__V1__PlanNode *node_words(struct planned *planned, const struct plan_member *from)
{
    const struct topology *topology = planned->topology;
    const struct member *member = topology_member(topology, from->number);
    CHECK(member != NULL);
    const struct member_place *now = &member->places[TOPOLOGY_NOW];
    const struct member_place *next = &member->places[TOPOLOGY_NEXT];
    const struct member_place *place = member->status == MEMBER_LEAVING ? now : next;
    Coterie__V1__PlanNode *node = arena_alloc(planned->arena, sizeof *node);
    coterie__v1__plan_node__init(node);
    node->node = arena_string(planned->arena, bytes_of_string(member->name));
    node->state = node_state_of(member->status);
    node->gone = member->gone;
    node->data_center = text_of(topology->data_centers[place->data_center]);
    node->zone = arena_string(planned->arena, bytes_of_string(place->zone));
    node->weight = place->weight;
    node->partitions_before = from->owned[TOPOLOGY_NOW];
    node->partitions_after = from->owned[TOPOLOGY_NEXT];
    node->copies_before = from->replicas[TOPOLOGY_NOW];
    node->copies_after = from->replicas[TOPOLOGY_NEXT];
    node->share_before =
        share(from->replicas[TOPOLOGY_NOW], planned->copies[TOPOLOGY_NOW][now->data_center]);
    node->share_after =
        share(from->replicas[TOPOLOGY_NEXT], planned->copies[TOPOLOGY_NEXT][next->data_center]);
    node->gains = from->gains;
    node->loses = from->loses;
    node->bytes_in = from->bytes_in;
    node->bytes_out = from->bytes_out;
    node->eta_ms = eta_ms(from->bytes_in, planned->words->bytes_per_second);
    if (node->eta_ms > planned->words->eta_ms)
        planned->words->eta_ms = node->eta_ms;
    node_room(planned, member, node);
    return node;
}

static void zones_fill(struct planned *planned)
{
    Coterie__V1__Plan *words = planned->words;
    words->zones = ARENA_NEW(planned->arena, Coterie__V1__PlanZone *, planned->plan.zone_count);
    for (uint32_t i = 0; i < planned->plan.zone_count; i++) {
        const struct plan_zone *from = &planned->plan.zones[i];
        Coterie__V1__PlanZone *zone = arena_alloc(planned->arena, sizeof *zone);
        coterie__v1__plan_zone__init(zone);
        zone->data_center = text_of(planned->topology->data_centers[from->data_center]);
        zone->zone = arena_string(planned->arena, bytes_of_string(from->zone));
        zone->nodes_before = from->members[TOPOLOGY_NOW];
        zone->nodes_after = from->members[TOPOLOGY_NEXT];
        zone->copies_before = from->replicas[TOPOLOGY_NOW];
        zone->copies_after = from->replicas[TOPOLOGY_NEXT];
        words->zones[words->n_zones++] = zone;
    }
}

static void copies_sum(struct planned *planned)
{
    for (uint32_t i = 0; i < planned->plan.member_count; i++) {
        const struct plan_member *from = &planned->plan.members[i];
        const struct member *member = topology_member(planned->topology, from->number);
        for (uint32_t side = 0; side < 2; side++)
            planned->copies[side][member->places[side].data_center] += from->replicas[side];
    }
}

/* -- too few copies ---------------------------------------------------------------------------- */

#define NAMES_SHOWN 3u

static uint32_t zones_in(const struct planned *planned, enum topology_side side,
                         uint32_t data_center)
{
    uint32_t zones = 0;
    for (uint32_t i = 0; i < planned->plan.zone_count; i++)
        zones += planned->plan.zones[i].data_center == data_center &&
                 planned->plan.zones[i].members[side] > 0;
    return zones;
}

static uint32_t members_in(const struct planned *planned, enum topology_side side,
                           uint32_t data_center)
{
    uint32_t members = 0;
    for (uint32_t i = 0; i < planned->plan.zone_count; i++) {
        if (planned->plan.zones[i].data_center == data_center)
            members += planned->plan.zones[i].members[side];
    }
    return members;
}

/* Copies of each key on distinct nodes, everywhere. */
static uint32_t copies_of(const struct planned *planned, enum topology_side side,
                          const struct keyspace *keyspace)
{
    uint32_t copies = 0;
    for (uint32_t i = 0; i < planned->topology->data_center_count; i++) {
        uint32_t n = topology_side_n(planned->topology, side, keyspace, i);
        uint32_t members = members_in(planned, side, i);
        copies += n < members ? n : members;
    }
    return copies;
}

/* What is told of keyspaces: of each by itself, and in one sentence of all that it is true of. */
typedef bool (*concern)(const struct planned *planned, const struct keyspace *keyspace,
                        uint32_t data_center);

static bool has_none_there(const struct planned *planned, const struct keyspace *keyspace,
                           uint32_t data_center)
{
    const struct topology *topology = planned->topology;
    return topology_side_n(topology, TOPOLOGY_NEXT, keyspace, data_center) == 0 &&
           topology_side_n(topology, TOPOLOGY_NOW, keyspace, data_center) != 0;
}

static bool lacks_nodes(const struct planned *planned, const struct keyspace *keyspace,
                        uint32_t data_center)
{
    uint32_t members = members_in(planned, TOPOLOGY_NEXT, data_center);
    return members != 0 &&
           topology_side_n(planned->topology, TOPOLOGY_NEXT, keyspace, data_center) > members;
}

/* By this change: it gets other replicas, or fewer zones. */
static bool lacks_zones(const struct planned *planned, const struct keyspace *keyspace,
                        uint32_t data_center)
{
    uint32_t before = zones_in(planned, TOPOLOGY_NOW, data_center);
    uint32_t zones = zones_in(planned, TOPOLOGY_NEXT, data_center);
    uint32_t n = topology_side_n(planned->topology, TOPOLOGY_NEXT, keyspace, data_center);
    bool changes =
        n != topology_side_n(planned->topology, TOPOLOGY_NOW, keyspace, data_center) && zones > 1;
    return zones != 0 && n > zones && (changes || zones < before) &&
           !lacks_nodes(planned, keyspace, data_center);
}

static bool has_one_copy(const struct planned *planned, const struct keyspace *keyspace,
                         uint32_t data_center)
{
    (void)data_center;
    return copies_of(planned, TOPOLOGY_NEXT, keyspace) == 1 &&
           copies_of(planned, TOPOLOGY_NOW, keyspace) != 1;
}

static bool needs_both(const struct planned *planned, const struct keyspace *keyspace,
                       uint32_t data_center)
{
    (void)data_center;
    return keyspace->mode == KEYSPACE_CONSISTENT &&
           copies_of(planned, TOPOLOGY_NEXT, keyspace) == 2 &&
           copies_of(planned, TOPOLOGY_NOW, keyspace) != 2;
}

struct concerned {
    uint32_t count;
    uint32_t n;        /* the greatest of them, in that data centre */
    const char *names; /* "keyspace a is", "keyspaces a, b, c and 5 more are" */
};

static struct concerned concerned_by(const struct planned *planned, concern is_true,
                                     uint32_t data_center)
{
    const struct keyspace_map *keyspaces = &planned->view->keyspaces;
    struct concerned concerned = {.names = ""};
    const char *names[NAMES_SHOWN] = {0};
    for (uint32_t i = 0; i < keyspaces->count; i++) {
        const struct keyspace *keyspace = &keyspaces->keyspaces[i];
        if (keyspace->dropped || !is_true(planned, keyspace, data_center))
            continue;
        uint32_t n = topology_side_n(planned->topology, TOPOLOGY_NEXT, keyspace, data_center);
        concerned.n = n > concerned.n ? n : concerned.n;
        if (++concerned.count <= NAMES_SHOWN)
            names[concerned.count - 1] = keyspace->name;
    }
    if (concerned.count == 1)
        concerned.names = arena_printf(planned->arena, "keyspace %s is", names[0]);
    else if (concerned.count == 2)
        concerned.names =
            arena_printf(planned->arena, "keyspaces %s and %s are", names[0], names[1]);
    else if (concerned.count == 3)
        concerned.names = arena_printf(planned->arena, "keyspaces %s, %s and %s are", names[0],
                                       names[1], names[2]);
    else if (concerned.count > 3)
        concerned.names = arena_printf(planned->arena, "keyspaces %s, %s, %s and %u more are",
                                       names[0], names[1], names[2], concerned.count - 3);
    return concerned;
}

static void data_center_warn(struct planned *planned, uint32_t data_center)
{
    const char *name = planned->topology->data_centers[data_center];
    uint32_t members = members_in(planned, TOPOLOGY_NEXT, data_center);
    uint32_t zones = zones_in(planned, TOPOLOGY_NEXT, data_center);
    struct concerned concerned = concerned_by(planned, has_none_there, data_center);
    if (concerned.count != 0)
        warn(planned,
             "%s to have no replica in data centre %s: who asks a node there for LOCAL_ONE or "
             "LOCAL_QUORUM is refused",
             concerned.names, name);
    concerned = concerned_by(planned, lacks_nodes, data_center);
    if (concerned.count != 0)
        warn(planned,
             "%s to have %s%u replicas in data centre %s, which has %u node%s then: no more than "
             "%u %s kept there until others join",
             concerned.names, concerned.count == 1 ? "" : "up to ", concerned.n, name, members,
             members == 1 ? "" : "s", members, members == 1 ? "is" : "are");
    concerned = concerned_by(planned, lacks_zones, data_center);
    if (concerned.count != 0)
        warn(planned,
             "%s to have %s%u replicas in data centre %s, which has %u zone%s then: with one of "
             "them up to %u copies of a key are away",
             concerned.names, concerned.count == 1 ? "" : "up to ", concerned.n, name, zones,
             zones == 1 ? "" : "s", (concerned.n + zones - 1) / zones);
}

static void copies_warn(struct planned *planned)
{
    for (uint32_t i = 0; i < planned->topology->data_center_count; i++)
        data_center_warn(planned, i);
    struct concerned concerned = concerned_by(planned, has_one_copy, 0);
    if (concerned.count != 0)
        warn(planned,
             "%s to have one copy of each key: it is away while its node is, and lost with its "
             "disk",
             concerned.names);
    concerned = concerned_by(planned, needs_both, 0);
    if (concerned.count != 0)
        warn(planned,
             "%s to have two copies, and a majority of them is both: with either node away their "
             "keys cannot be asked",
             concerned.names);
}

/* What is no reason to refuse, and worth knowing before. */
static void warnings_fill(struct planned *planned)
{
    const struct topology *topology = planned->topology;
    for (uint32_t i = 0; i < topology->member_count; i++) {
        const struct member *member = &topology->members[i];
        if (member->status == MEMBER_REMOVED || member->gone)
            continue;
        const struct vnode_report_reply *report = reports_of(planned->reports, member->number);
        if (report == NULL && member->status == MEMBER_LEAVING)
            warn(planned,
                 "node %s leaves and does not answer: the change waits until it is back; if it "
                 "never will be, abort this and give it up (coterie replace %s)",
                 member->name, member->name);
        else if (report == NULL)
            warn(planned, "node %s does not answer: what it takes part in waits for it",
                 member->name);
    }
    if (planned->plan.zone_violations != 0)
        warn(planned,
             "%u partitions have two copies in one zone although there are zones enough: the "
             "weights of the zones are too uneven",
             planned->plan.zone_violations);
    if (!planned->words->bytes_known)
        warn(planned, "no node has told how much its partitions hold: bytes and times are not "
                      "known");
    copies_warn(planned);
}

Coterie__V1__Plan *plan_words(struct arena *arena, const struct view *view,
                              const struct topology *topology, const struct reports *reports,
                              uint64_t pace_default)
{
    struct planned planned = {
        .arena = arena, .view = view, .topology = topology, .reports = reports};
    const uint64_t *sizes = reports_sizes(arena, reports, topology->partitions);
    Coterie__V1__Plan *words = arena_alloc(arena, sizeof *words);
    coterie__v1__plan__init(words);
    planned.words = words;
    words->epoch = topology->epoch;
    words->change = change_new(arena, topology, &view->keyspaces);
    words->warnings = ARENA_NEW(arena, char *, SENTENCES_MAX);
    words->refusals = ARENA_NEW(arena, char *, SENTENCES_MAX);
    words->bytes_known = sizes != NULL;
    words->bytes_per_second =
        topology->change.bytes_per_second != 0 ? topology->change.bytes_per_second : pace_default;
    plan_make(arena, topology, &view->keyspaces, sizes, &planned.plan);
    words->copies_moved = planned.plan.moved;
    words->copies_moved_min = planned.plan.moved_min;
    words->bytes = planned.plan.bytes;
    words->balance_before = planned.plan.balance[TOPOLOGY_NOW];
    words->balance_after = planned.plan.balance[TOPOLOGY_NEXT];
    copies_sum(&planned);
    words->nodes = ARENA_NEW(arena, Coterie__V1__PlanNode *, planned.plan.member_count);
    for (uint32_t i = 0; i < planned.plan.member_count; i++)
        words->nodes[words->n_nodes++] = node_words(&planned, &planned.plan.members[i]);
    zones_fill(&planned);
    warnings_fill(&planned);
    if (topology->change.state == CHANGE_STAGED) {
        struct topology next;
        uint32_t number;
        const char *why;
        struct topology_operation commit = {.kind = TOPOLOGY_COMMIT};
        if (topology_operate(arena, topology, &view->keyspaces, &commit, &next, &number, &why) !=
            OK)
            refuse(&planned, "%s", why);
    }
    return words;
}
