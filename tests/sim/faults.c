#include "tests/sim/faults.h"

#include "tests/sim/faults_disk.h"
#include "tests/sim/world.h"

#define PAUSE_LONG_NS (5600 * (uint64_t)MS_NS)
#define SPARE_LOOK_NS (100 * (uint64_t)MS_NS) /* until a disk may be lost */
#define PROCESS_END_NS                                                                             \
    (20 * (uint64_t)MS_NS) /* from the failure of its disk to the end of a process */

/* -- drawing --------------------------------------------------------------------------------------
 */

static uint32_t all_nodes(const struct world *world)
{
    return (1u << world->options.nodes) - 1;
}

static uint32_t draw_node(struct world *world, struct prng *prng)
{
    return (uint32_t)prng_below(prng, world->options.nodes);
}

/* Neither empty nor all. */
static uint32_t draw_side(struct world *world, struct prng *prng)
{
    return (uint32_t)prng_between(prng, 1, all_nodes(world) - 1);
}

/* Everything, or what one node sends and gets. */
static void link_all_or_one(struct world *world, struct prng *prng, struct incident *incident)
{
    bool one = prng_chance(prng, 0.5);
    uint32_t node = draw_node(world, prng);
    for (uint32_t from = 0; from < world->options.nodes; from++)
        incident->links[from] = !one || from == node ? all_nodes(world) : 1u << node;
}

static void link_split(struct world *world, struct incident *incident, uint32_t side,
                       uint32_t bridge)
{
    for (uint32_t from = 0; from < world->options.nodes; from++) {
        uint32_t other = (side & (1u << from)) != 0 ? ~side & all_nodes(world) : side;
        incident->links[from] = (bridge & (1u << from)) != 0 ? 0 : other & ~bridge;
    }
}

static void link_one_way(struct world *world, struct prng *prng, struct incident *incident)
{
    uint32_t side = draw_side(world, prng);
    for (uint32_t from = 0; from < world->options.nodes; from++)
        incident->links[from] = (side & (1u << from)) != 0 ? ~side & all_nodes(world) : 0;
}

/* Each node reaches its two neighbours on a ring in random order; of three nodes, only the next
 * one. */
static void link_ring(struct world *world, struct prng *prng, struct incident *incident)
{
    uint32_t nodes = world->options.nodes;
    uint32_t order[NODES_MAX];
    for (uint32_t i = 0; i < nodes; i++) {
        uint32_t place = (uint32_t)prng_below(prng, i + 1);
        order[i] = order[place];
        order[place] = i;
    }
    for (uint32_t i = 0; i < nodes; i++) {
        uint32_t reached = 1u << order[(i + 1) % nodes];
        if (nodes > 3)
            reached |= 1u << order[(i + nodes - 1) % nodes];
        incident->links[order[i]] = all_nodes(world) & ~reached;
    }
}

/* One data centre from all others, or from one of them. */
static void link_centers(struct world *world, struct prng *prng, struct incident *incident)
{
    uint32_t centers = world->options.data_centers;
    uint32_t nodes_of[SIM_CENTERS_MAX] = {0};
    for (uint32_t i = 0; i < world->options.nodes_first; i++)
        nodes_of[i % centers] |= 1u << i;
    uint32_t alone = (uint32_t)prng_below(prng, centers);
    uint32_t other = (alone + 1) % centers;
    link_split(world, incident, nodes_of[alone], 0);
    if (!prng_chance(prng, 0.3))
        return;
    for (uint32_t from = 0; from < world->options.nodes_first; from++)
        incident->links[from] &= from % centers == alone   ? nodes_of[other]
                                 : from % centers == other ? nodes_of[alone]
                                                           : 0;
}

static void draw_links(struct world *world, struct prng *prng, struct incident *incident)
{
    incident->chance = 1;
    incident->cuts_connections = true;
    switch (incident->class) {
    case FAULT_SPLIT:
        link_split(world, incident, draw_side(world, prng), 0);
        break;
    case FAULT_ISOLATE:
        link_split(world, incident, 1u << draw_node(world, prng), 0);
        break;
    case FAULT_ONE_WAY:
        link_one_way(world, prng, incident);
        incident->cuts_connections = prng_chance(prng, 0.5);
        break;
    case FAULT_BRIDGE:
        link_split(world, incident, draw_side(world, prng), 1u << draw_node(world, prng));
        break;
    case FAULT_RING:
        link_ring(world, prng, incident);
        break;
    case FAULT_CENTER:
        link_centers(world, prng, incident);
        break;
    default:
        link_all_or_one(world, prng, incident);
        incident->cuts_connections = false;
        break;
    }
}

/* How long an incident lasts, and how bad it is. */
static void draw_strength(struct world *world, struct prng *prng, struct incident *incident)
{
    uint64_t lasts_ns = random_log(prng, 20 * (uint64_t)MS_NS, world->options.safety_ns / 2);
    switch (incident->class) {
    case FAULT_PAUSE_NODE:
    case FAULT_PAUSE_ACTOR: /* long enough that peers and the node itself notice */
        lasts_ns = random_log(prng, 10 * (uint64_t)MS_NS, world->options.safety_ns);
        if (prng_chance(prng, 0.3))
            lasts_ns = PAUSE_LONG_NS + prng_below(prng, PAUSE_LONG_NS);
        break;
    case FAULT_CENTER: /* mostly long enough to be noticed */
        lasts_ns = random_log(prng, 500 * (uint64_t)MS_NS, world->options.safety_ns);
        break;
    case FAULT_DELAY:
        incident->chance = 0.05 + 0.5 * prng_unit(prng);
        incident->strength_ns = random_log(prng, 10 * (uint64_t)MS_NS, 10 * (uint64_t)SECOND_NS);
        if (world->options.late) { /* rounds end all the same */
            incident->chance = 0.01 + 0.05 * prng_unit(prng);
            incident->strength_ns = 8 * (uint64_t)SECOND_NS;
        }
        break;
    case FAULT_LOSS:
        incident->chance = 0.01 + (world->options.late ? 0.1 : 0.39) * prng_unit(prng);
        break;
    case FAULT_DUPLICATE:
        incident->chance = 0.05 + 0.5 * prng_unit(prng);
        break;
    case FAULT_REORDER:
        incident->chance = 0.1 + 0.8 * prng_unit(prng);
        incident->strength_ns = random_log(prng, MS_NS, SECOND_NS);
        break;
    case FAULT_FSYNC_SLOW:
        incident->strength_ns = random_log(prng, 20 * (uint64_t)MS_NS, 3 * (uint64_t)SECOND_NS);
        break;
    case FAULT_STALL: /* nothing is taken, and what was taken does not get durable */
        lasts_ns = random_log(prng, 100 * (uint64_t)MS_NS, 30 * (uint64_t)SECOND_NS);
        incident->chance = 1;
        break;
    case FAULT_RESTORED: /* the copy is half as old when it is put back */
        lasts_ns = random_log(prng, SECOND_NS / 2, world->options.safety_ns);
        break;
    case FAULT_OVERLOADED:
        incident->chance = 0.01 + 0.5 * prng_unit(prng);
        break;
    case FAULT_READ_ERROR:
        incident->chance = 0.005 + 0.1 * prng_unit(prng);
        break;
    case FAULT_JUMP:
        incident->clock_ms = (int64_t)random_log(prng, 1, 3600 * 1000);
        if (prng_chance(prng, 0.5))
            incident->clock_ms = -incident->clock_ms;
        break;
    default:
        break;
    }
    incident->ends_at_ns = incident->begins_at_ns + lasts_ns;
}

static void draw_incident(struct world *world, struct prng *prng, struct incident *incident)
{
    uint64_t safety_ns = world->options.safety_ns;
    incident->begins_at_ns = world->now_ns + prng_below(prng, safety_ns * 9 / 10);
    if (incident->class <= FAULT_RING || incident->class == FAULT_CENTER)
        draw_links(world, prng, incident);
    incident->node = draw_node(world, prng);
    incident->slot = (uint32_t)prng_below(prng, world->hosts[0].actor_count);
    incident->at_sync = prng_chance(prng, 0.6);
    draw_strength(world, prng, incident);
    uint64_t end_ns = world->now_ns + safety_ns;
    if (incident->ends_at_ns > end_ns)
        incident->ends_at_ns = end_ns;
}

void faults_plan(struct world *world)
{
    struct faults *faults = &world->faults;
    for (uint32_t class = 0; class < FAULT_CLASS_COUNT; class ++) {
        if (!world_has(world, (enum fault_class) class) || class == FAULT_SKEW ||
            class == FAULT_DRIFT || class == FAULT_MEMBERSHIP)
            continue;
        struct prng prng;
        prng_init(&prng, world->options.seed, RANDOM_FAULTS + class);
        uint64_t count = prng_between(&prng, 1, INCIDENTS_PER_CLASS_MAX);
        for (uint64_t i = 0; i < count; i++) {
            struct incident *incident = &faults->incidents[faults->count];
            incident->class = (enum fault_class) class;
            draw_incident(world, &prng, incident);
            world_plan(world, incident->begins_at_ns, EVENT_INCIDENT)->number = faults->count;
            faults->count++;
        }
    }
}

/* -- clocks ---------------------------------------------------------------------------------------
 */

void faults_set_clocks(struct world *world)
{
    struct prng prng;
    prng_init(&prng, world->options.seed, RANDOM_CLOCK);
    for (uint32_t i = 0; i < world->options.nodes; i++) {
        struct host *host = &world->hosts[i];
        host->monotonic_offset_ns = prng_below(&prng, 1000 * (uint64_t)SECOND_NS) + SECOND_NS;
        int64_t skew_ms = (int64_t)random_log(&prng, 1, 3600 * 1000);
        int64_t drift_ppm = (int64_t)prng_below(&prng, 2001) - 1000;
        bool behind = prng_chance(&prng, 0.5);
        bool skewed = prng_chance(&prng, 0.7);
        if (world_has(world, FAULT_SKEW) && skewed) {
            host->wall_skew_ms = behind ? -skew_ms : skew_ms;
            world_fired(world, FAULT_SKEW);
        }
        if (world_has(world, FAULT_DRIFT)) {
            host->drift_ppm = drift_ppm;
            world_fired(world, FAULT_DRIFT);
        }
    }
}

void faults_set_clock(struct world *world, uint32_t node)
{
    struct prng prng;
    prng_init(&prng, world->options.seed, RANDOM_CLOCK + 100 * (uint64_t)(node + 1));
    world->hosts[node].monotonic_offset_ns =
        prng_below(&prng, 1000 * (uint64_t)SECOND_NS) + SECOND_NS;
}

/* -- beginning and ending
 * --------------------------------------------------------------------------- */

static void crash_host(struct world *world, uint32_t node, enum fault_class class,
                       uint64_t up_again_at_ns)
{
    struct host *host = &world->hosts[node];
    if (!host->up)
        return;
    world_fired(world, class);
    if (class == FAULT_RESTART) {
        host_close(host);
    } else {
        world->figures.crashes_unsynced += engine_memory_mark(host->engine) > host->synced_mark;
        host_crash(host, class == FAULT_CRASH ? CRASH_PROCESS : CRASH_POWER);
    }
    network_links_changed(world);
    world_plan_host(host, up_again_at_ns, EVENT_RESTART);
}

static bool is_loss(const struct incident *incident)
{
    return incident->class == FAULT_WIPED || incident->class == FAULT_RESTORED ||
           incident->class == FAULT_CLONED;
}

/* Waits until there is another copy of all that goes. */
static void lose_disk(struct world *world, struct incident *incident, uint64_t up_again_at_ns)
{
    if (incident->done || !world->hosts[incident->node].up)
        return;
    if (!faults_disk_may_lose(world, incident)) {
        world_plan(world, world->now_ns + SPARE_LOOK_NS, EVENT_CRASH)->number =
            (uint64_t)(incident - world->faults.incidents);
        return;
    }
    incident->done = true;
    crash_host(world, incident->node, incident->class, up_again_at_ns);
    faults_disk_lose(world, incident);
}

/* Down until the incident ends; a whole cluster comes back node by node. */
void faults_on_crash(struct world *world, struct incident *incident)
{
    /* A process whose disk has failed ends, whatever has healed meanwhile. */
    bool failed = incident->class == FAULT_FSYNC_ERROR;
    if (failed ? !world->hosts[incident->node].engine_failed : !incident->active)
        return;
    struct prng *prng = &world->network.link_prng;
    uint64_t up_again_at_ns =
        incident->ends_at_ns > world->now_ns ? incident->ends_at_ns : world->now_ns;
    if (is_loss(incident)) {
        lose_disk(world, incident, up_again_at_ns);
        return;
    }
    if (incident->class == FAULT_RESTART && !incident->done && up_again_at_ns > world->now_ns) {
        /* Up again soon, and now and then it falls over after that clean start. */
        uint64_t down_ns = prng_below(prng, up_again_at_ns - world->now_ns) / 2;
        incident->done = true;
        up_again_at_ns = world->now_ns + down_ns;
        if (prng_chance(prng, 0.5))
            world_plan(world, up_again_at_ns + prng_below(prng, 2 * down_ns + 1), EVENT_CRASH)
                ->number = (uint64_t)(incident - world->faults.incidents);
    } else if (incident->class == FAULT_RESTART && incident->done) {
        incident->class = FAULT_POWER_ONE;
    }
    if (incident->class != FAULT_POWER_ALL) {
        crash_host(world, incident->node, incident->class, up_again_at_ns);
        return;
    }
    for (uint32_t node = 0; node < world->options.nodes; node++)
        crash_host(world, node, FAULT_POWER_ALL,
                   up_again_at_ns + prng_below(prng, 500 * (uint64_t)MS_NS));
}

static bool is_crash(const struct incident *incident)
{
    return incident->class == FAULT_RESTART || incident->class == FAULT_CRASH ||
           incident->class == FAULT_POWER_ONE || incident->class == FAULT_POWER_ALL;
}

void faults_on_sync(struct world *world, uint32_t node, uint64_t lasts_ns)
{
    for (uint32_t i = 0; i < world->faults.count; i++) {
        struct incident *incident = &world->faults.incidents[i];
        if (!incident->active || !incident->at_sync || incident->node != node ||
            !is_crash(incident))
            continue;
        incident->at_sync = false;
        uint64_t at_ns = world->now_ns + prng_below(&world->hosts[node].disk_prng, lasts_ns + 1);
        world_plan(world, at_ns, EVENT_CRASH)->number = i;
    }
}

static void pause_begin(struct world *world, const struct incident *incident)
{
    struct host *host = &world->hosts[incident->node];
    if (!host->up)
        return;
    world_fired(world, incident->class);
    if (incident->class == FAULT_PAUSE_NODE)
        host_pause(host, incident->ends_at_ns);
    else
        host_pause_actor(host, incident->slot, incident->ends_at_ns);
}

/* What the incidents of the moment make of a node's disk. */
static void set_disk(struct world *world, uint32_t node)
{
    double read_error = 0;
    double overloaded = 0;
    for (uint32_t i = 0; i < world->faults.count; i++) {
        const struct incident *incident = &world->faults.incidents[i];
        double *chance = incident->class == FAULT_READ_ERROR ? &read_error : &overloaded;
        bool disk = incident->class == FAULT_READ_ERROR || incident->class == FAULT_OVERLOADED ||
                    incident->class == FAULT_STALL;
        if (disk && incident->active && incident->node == node && incident->chance > *chance)
            *chance = incident->chance;
    }
    host_set_disk_faults(&world->hosts[node], read_error, overloaded);
}

void faults_on_begin(struct world *world, struct incident *incident)
{
    if (world->phase != PHASE_SAFETY)
        return;
    trace_line(&world->trace, world->now_ns, "fault %s begins, node n%u, until %.3f s",
               fault_class_name(incident->class), incident->node + 1,
               (double)incident->ends_at_ns / SECOND_NS);
    incident->active = true;
    world_plan(world, incident->ends_at_ns, EVENT_INCIDENT_END)->number =
        (uint64_t)(incident - world->faults.incidents);
    switch (incident->class) {
    case FAULT_RESTART:
    case FAULT_CRASH:
    case FAULT_POWER_ONE:
    case FAULT_POWER_ALL:
        if (!incident->at_sync)
            faults_on_crash(world, incident);
        break;
    case FAULT_WIPED:
    case FAULT_RESTORED:
    case FAULT_CLONED:
        faults_disk_begin(world, incident);
        world_plan(world, world->now_ns + (incident->ends_at_ns - world->now_ns) / 2, EVENT_CRASH)
            ->number = (uint64_t)(incident - world->faults.incidents);
        break;
    case FAULT_CORRUPT:
        faults_disk_rot(world, incident);
        faults_disk_hide(world, incident);
        break;
    case FAULT_PAUSE_NODE:
    case FAULT_PAUSE_ACTOR:
        pause_begin(world, incident);
        break;
    case FAULT_JUMP:
        world->hosts[incident->node].wall_skew_ms += incident->clock_ms;
        world_fired(world, FAULT_JUMP);
        break;
    case FAULT_OVERLOADED:
    case FAULT_READ_ERROR:
    case FAULT_STALL:
        world_fired(world, incident->class);
        set_disk(world, incident->node);
        break;
    default:
        break;
    }
    if (incident->cuts_connections)
        network_links_changed(world);
}

void faults_on_end(struct world *world, struct incident *incident)
{
    if (!incident->active)
        return;
    incident->active = false;
    trace_line(&world->trace, world->now_ns, "fault %s ends", fault_class_name(incident->class));
    set_disk(world, incident->node);
    if (is_loss(incident))
        faults_disk_end(incident);
    if (incident->cuts_connections)
        network_links_changed(world);
}

void faults_heal(struct world *world)
{
    for (uint32_t i = 0; i < world->faults.count; i++)
        faults_on_end(world, &world->faults.incidents[i]);
    for (uint32_t i = 0; i < world->options.nodes; i++) {
        struct host *host = &world->hosts[i];
        host->wall_skew_ms = 0;
        host->drift_ppm = 0;
        if (!host->up && steward_is_member(world, i))
            host_start(host);
    }
}

void faults_deinit(struct world *world)
{
    for (uint32_t i = 0; i < world->faults.count; i++)
        faults_disk_end(&world->faults.incidents[i]);
}

uint64_t faults_fsync_ns(struct world *world, uint32_t node)
{
    struct prng *prng = &world->hosts[node].disk_prng;
    uint64_t latency_ns =
        world->options.fsync_mean_ns / 4 + random_exponential(prng, world->options.fsync_mean_ns);
    for (uint32_t i = 0; i < world->faults.count; i++) {
        const struct incident *incident = &world->faults.incidents[i];
        if (!incident->active || incident->node != node)
            continue;
        if (incident->class == FAULT_STALL && incident->ends_at_ns > world->now_ns)
            latency_ns += incident->ends_at_ns - world->now_ns;
        if (incident->class != FAULT_FSYNC_SLOW)
            continue;
        latency_ns += prng_below(prng, incident->strength_ns);
        world_fired(world, FAULT_FSYNC_SLOW);
    }
    return latency_ns;
}

bool faults_fsync_fails(struct world *world, uint32_t node)
{
    for (uint32_t i = 0; i < world->faults.count; i++) {
        struct incident *incident = &world->faults.incidents[i];
        if (!incident->active || incident->class != FAULT_FSYNC_ERROR || incident->node != node ||
            incident->done)
            continue;
        incident->done = true;
        uint64_t at_ns = world->now_ns + prng_below(&world->hosts[node].disk_prng, PROCESS_END_NS);
        world_plan(world, at_ns, EVENT_CRASH)->number = i;
        return true;
    }
    return false;
}
