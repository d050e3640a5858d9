#include "tests/sim/operator.h"

#include "model/hash.h"
#include "tests/sim/faults_disk.h"
#include "tests/sim/world.h"

#define TURN_NS   (150 * (uint64_t)MS_NS) /* on average */
#define ANSWER_NS (12 * (uint64_t)SECOND_NS)

void operator_init(struct operator* operator, uint64_t seed, uint32_t changes)
{
    *operator=(struct operator){.left = changes};
    prng_init(&operator->prng, seed, RANDOM_OPERATOR);
}

static void plan_turn(struct world *world)
{
    uint64_t wait_ns = 1 + random_exponential(&world->operator.prng, TURN_NS);
    world_plan(world, world->now_ns + wait_ns, EVENT_OPERATOR);
}

void operator_start(struct world *world)
{
    if (world_has(world, FAULT_MEMBERSHIP))
        plan_turn(world);
}

/* -- who there is
 * ------------------------------------------------------------------------------------------ */

bool operator_is_member(const struct world *world, uint32_t node)
{
    const struct member *member = topology_member(&world->topology, world->hosts[node].member);
    return member != NULL && member->status != MEMBER_REMOVED && !world->hosts[node].dead;
}

const struct host *operator_newest_host(const struct world *world)
{
    const struct host *newest = NULL;
    for (uint32_t i = 0; i < world->options.nodes; i++) {
        const struct host *host = &world->hosts[i];
        if (host->up &&
            (newest == NULL || host->view->topology.epoch > newest->view->topology.epoch))
            newest = host;
    }
    return newest;
}

static uint32_t members_up(const struct world *world)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < world->options.nodes; i++)
        count += operator_is_member(world, i) && world->hosts[i].up;
    return count;
}

/* NODES_MAX: none is. */
static uint32_t draw_member_up(struct world *world)
{
    uint32_t count = members_up(world);
    uint32_t pick = count == 0 ? 0 : (uint32_t)prng_below(&world->operator.prng, count);
    for (uint32_t i = 0; i < world->options.nodes; i++) {
        if (operator_is_member(world, i) && world->hosts[i].up && pick-- == 0)
            return i;
    }
    return NODES_MAX;
}

/* -- asking
 * --------------------------------------------------------------------------------------------- */

static const char *const kind_texts[] = {"join",  "leave", "place",  "replicate", "commit",
                                         "abort", "pause", "resume", "pace",      "address"};

static void ask(struct world *world, const struct topology_operation *operation)
{
    struct operator* operator= & world->operator;
    uint32_t node = draw_member_up(world);
    if (node == NODES_MAX)
        return;
    struct host *host = &world->hosts[node];
    operator->asked = true;
    operator->node = node;
    operator->start = host->start;
    operator->until_ns = world->now_ns + ANSWER_NS;
    operator->kind = operation->kind;
    operator->member = operation->member;
    operator->gone = operation->gone;
    operator->figures.asked++;
    struct message *message = message_new(MESSAGE_client_topology, 0);
    message->from = (struct actor_id){.node = host->member, .kind = ACTOR_EDGE};
    message->to = (struct actor_id){.node = host->member, .kind = ACTOR_GOSSIP};
    message->id = ++operator->id;
    message->deadline_ns = host_monotonic_ns(host) + 10 * (uint64_t)SECOND_NS;
    message->client_topology.client = operator->id;
    message->client_topology.operation = *operation;
    message->client_topology.operation.wall_ms = host_wall_ms(host);
    trace_line(&world->trace, world->now_ns, "operator: %s n%u, asked of n%u",
               kind_texts[operation->kind], operation->member, host->member);
    host_post(host, message);
}

void operator_on_done(struct world *world, const struct client_topology_done *done)
{
    struct operator* operator= & world->operator;
    trace_line(&world->trace, world->now_ns, "operator: %s%s (%s), epoch %llu",
               err_text(done->status), done->unknown ? ", unknown" : "",
               done->why == NULL ? "" : done->why, (unsigned long long)done->epoch);
    if (done->client != operator->id || !operator->asked)
        return; /* too late */
    operator->asked = false;
    operator->figures.unknown += done->unknown;
    operator->figures.refused += done->status != OK && !done->unknown;
    if (operator->kind == TOPOLOGY_JOIN && !done->unknown)
        operator->joining = false;
    /* The cluster cannot do without it: it comes back after all. */
    struct host *host = operator->member == 0 ? NULL : & world->hosts[operator->member - 1];
    if (host != NULL && host->dead &&
                        operator->kind == TOPOLOGY_LEAVE &&
                        done->status == ERR_PRECONDITION && world->phase == PHASE_SETTLE) {
        host->dead = false;
        host_start(host);
    }
}

/* -- what to do next
 * ------------------------------------------------------------------------------------ */

static void draw_place(struct world *world, struct topology_operation *operation)
{
    struct prng *prng = &world->operator.prng;
    if (prng_chance(prng, 0.7))
        operation->weight = (uint16_t)prng_between(prng, 1, 4);
    else
        snprintf(operation->zone, sizeof operation->zone, "zone%u", (unsigned)prng_below(prng, 3));
}

static void ask_join(struct world *world)
{
    struct operator* operator= & world->operator;
    struct topology_operation operation = {.kind = TOPOLOGY_JOIN};
    if (!operator->joining) {
        operator->joining = true;
        operator->names++;
        for (uint32_t i = 0; i < sizeof operator->join_id; i++)
            operator->join_id[i] =(uint8_t)(1 + prng_below(&operator->prng, 255));
    }
    memcpy(operation.join_id, operator->join_id, sizeof operation.join_id);
    snprintf(operation.name, sizeof operation.name, "joiner%u", operator->names);
    snprintf(operation.address, sizeof operation.address, "sim:j%u", operator->names);
    snprintf(operation.data_center, sizeof operation.data_center,
             "dc%u", operator->names % world->options.data_centers);
    snprintf(operation.zone, sizeof operation.zone, "zone%u", operator->names % 3);
    operation.weight = 1;
    ask(world, &operation);
}

/* Its disk is lost with it, so there must be a copy of all that it has. */
static bool may_die(struct world *world, uint32_t node)
{
    struct incident loss = {.class = FAULT_WIPED, .node = node};
    return members_up(world) > 3 && faults_disk_may_lose(world, &loss);
}

static void begin_change(struct world *world)
{
    struct operator* operator= & world->operator;
    struct topology_operation operation = {0};
    uint32_t node = draw_member_up(world);
    uint64_t pick = prng_below(&operator->prng, 10);
    if (node == NODES_MAX)
        return;
    operation.member = world->hosts[node].member;
    if (pick < 4 && world->topology.number_next <= NODES_MAX) {
        ask_join(world);
    } else if (pick < 7) {
        operation.kind = TOPOLOGY_LEAVE;
        ask(world, &operation);
    } else if (pick < 8 && may_die(world, node)) {
        world->hosts[node].dead = true;
        operator->figures.deaths++;
        host_crash(&world->hosts[node], CRASH_POWER);
        network_links_changed(world);
    } else {
        operation.kind = TOPOLOGY_PLACE;
        draw_place(world, &operation);
        ask(world, &operation);
    }
}

/* Who was given up and is a member still; 0: nobody. */
static uint32_t dead_member(const struct world *world)
{
    for (uint32_t i = 0; i < world->options.nodes; i++) {
        const struct member *member = topology_member(&world->topology, world->hosts[i].member);
        if (world->hosts[i].dead && member != NULL &&
            (member->status == MEMBER_NORMAL || member->status == MEMBER_JOINING))
            return member->number;
    }
    return MEMBER_NONE;
}

static void ask_simply(struct world *world, enum topology_operation_kind kind)
{
    ask(world, &(struct topology_operation){.kind = kind});
}

static void go_on_staged(struct world *world)
{
    struct operator* operator= & world->operator;
    bool safety = world->phase == PHASE_SAFETY;
    if (safety && prng_chance(&operator->prng, 0.1)) {
        operator->figures.aborts++;
        ask_simply(world, TOPOLOGY_ABORT);
    } else if (safety && operator->left> 0 && prng_chance(&operator->prng, 0.2)) {
        operator->left--;
        begin_change(world);
    } else {
        operator->figures.commits++;
        ask_simply(world, TOPOLOGY_COMMIT);
    }
}

static void go_on_running(struct world *world)
{
    struct prng *prng = &world->operator.prng;
    bool safety = world->phase == PHASE_SAFETY;
    if (world->topology.change.paused) {
        if (!safety || prng_chance(prng, 0.2))
            ask_simply(world, TOPOLOGY_RESUME);
    } else if (safety && prng_chance(prng, 0.03)) {
        ask_simply(world, TOPOLOGY_PAUSE);
    } else if (safety && prng_chance(prng, 0.03)) {
        world->operator.figures.aborts++;
        ask_simply(world, TOPOLOGY_ABORT);
    }
}

static void go_on(struct world *world)
{
    struct operator* operator= & world->operator;
    uint32_t dead = dead_member(world);
    if (world->topology.change.state == CHANGE_RUNNING) {
        go_on_running(world);
    } else if (dead != MEMBER_NONE) {
        ask(world,
            &(struct topology_operation){.kind = TOPOLOGY_LEAVE, .member = dead, .gone = true});
    } else if (operator->joining) {
        ask_join(world);
    } else if (world->topology.change.state == CHANGE_STAGED) {
        go_on_staged(world);
    } else if (operator->left> 0 && world->phase == PHASE_SAFETY) {
        operator->left--;
        begin_change(world);
    }
}

void operator_on_turn(struct world *world)
{
    struct operator* operator= & world->operator;
    if (world->phase > PHASE_SETTLE)
        return;
    const struct host *host = &world->hosts[operator->node];
    if (operator->asked &&(
            world->now_ns > operator->until_ns || !host->up || host->start != operator->start))
        operator->asked = false;
    if (!operator->asked)
        go_on(world);
    plan_turn(world);
}

/* -- documents
 * ------------------------------------------------------------------------------------------ */

/* A member that has just joined gets a node; numbers that never came to life get one that is gone.
 */
static void start_joined(struct world *world, const struct topology *topology)
{
    for (uint32_t i = 0; i < topology->member_count; i++) {
        const struct member *member = &topology->members[i];
        if (member->number <= world->options.nodes || member->number > NODES_MAX)
            continue;
        while (world->options.nodes < member->number) {
            uint32_t index = world->options.nodes++;
            host_init(&world->hosts[index], world, index, index + 1);
            faults_set_clock(world, index);
        }
        if (member->status == MEMBER_REMOVED)
            continue;
        world->operator.figures.joins++;
        host_start(&world->hosts[member->number - 1]);
    }
}

/* From one document to the next. */
static void check_step(struct world *world, const struct topology *before,
                       const struct topology *after)
{
    if (after->epoch != before->epoch + 1 || after->change.state != CHANGE_RUNNING ||
        before->change.state != CHANGE_RUNNING)
        return;
    bool turned = before->change.aborting != after->change.aborting;
    for (uint32_t p = 0; p < after->partitions; p++) {
        uint32_t from = turned ? PHASE_DONE - before->phases[p] : before->phases[p];
        uint32_t to = after->phases[p];
        bool skips = from == PHASE_WAITING && to == PHASE_DONE; /* both sets are the same */
        if (to != from && to != from + 1 && !skips)
            world_fail(world, "topology", "partition %u goes from phase %u to %u in epoch %llu", p,
                       from, to, (unsigned long long)after->epoch);
    }
}

void operator_saw(struct world *world, struct host *host, const struct topology *topology)
{
    struct operator* operator= & world->operator;
    if (topology->epoch >= EPOCHS_SIM_MAX) {
        world_fail(world, "topology", "epoch %llu", (unsigned long long)topology->epoch);
        return;
    }
    uint64_t *seen = &operator->documents[topology->epoch];
    if (*seen != 0 && topology->epoch < world->topology.epoch)
        return; /* was compared when it was new; an old one comes back with a restart */
    struct arena arena;
    arena_init(&arena, NULL, 0);
    uint64_t hash = hash_bytes(topology_encode(&arena, topology), 1) | 1;
    arena_deinit(&arena);
    if (*seen != 0 && *seen != hash)
        world_fail(world, "topology", "n%u: epoch %llu has two documents", host->member,
                   (unsigned long long)topology->epoch);
    *seen = hash;
    if (topology->epoch <= world->topology.epoch)
        return;
    check_step(world, &world->topology, topology);
    operator->figures.finished +=
        world->topology.change.state == CHANGE_RUNNING && topology->change.state == CHANGE_NONE;
    topology_copy(&world->arena, topology, &world->topology);
    trace_line(&world->trace, world->now_ns, "n%u: topology of epoch %llu", host->member,
               (unsigned long long)topology->epoch);
    start_joined(world, &world->topology);
}

bool operator_settled(struct world *world, char *why, size_t why_size)
{
    if (!world_has(world, FAULT_MEMBERSHIP))
        return true;
    snprintf(why, why_size, "a change of the topology is not at its end (epoch %llu, state %u)",
             (unsigned long long)world->topology.epoch, world->topology.change.state);
    if (world->topology.change.state != CHANGE_NONE ||
        world->operator.asked || world->operator.joining)
        return false;
    for (uint32_t i = 0; i < world->options.nodes; i++) {
        struct host *host = &world->hosts[i];
        bool member = operator_is_member(world, i);
        snprintf(why, why_size, "n%u %s", host->member,
                 member ? "has an older topology" : "has left and runs still");
        if (host->up != member || (member && host->view->topology.epoch != world->topology.epoch))
            return false;
    }
    return true;
}
