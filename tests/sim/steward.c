#include "tests/sim/steward.h"

#include "model/hash.h"
#include "tests/sim/faults_disk.h"
#include "tests/sim/steward_replicas.h"
#include "tests/sim/world.h"

#define TURN_NS   (150 * (uint64_t)MS_NS) /* on average */
#define BESIDES   2u
#define ANSWER_NS (12 * (uint64_t)SECOND_NS)

void steward_init(struct steward *steward, uint64_t seed, uint32_t changes)
{
    *steward = (struct steward){.left = changes};
    prng_init(&steward->prng, seed, RANDOM_STEWARD);
    steward->replications = (uint32_t)prng_between(&steward->prng, changes / 3, changes);
}

static void plan_turn(struct world *world)
{
    uint64_t wait_ns = 1 + random_exponential(&world->steward.prng, TURN_NS);
    world_plan(world, world->now_ns + wait_ns, EVENT_STEWARD);
}

void steward_start(struct world *world)
{
    if (world_has(world, FAULT_MEMBERSHIP))
        plan_turn(world);
}

/* -- who there is
 * ------------------------------------------------------------------------------------------ */

bool steward_is_member(const struct world *world, uint32_t node)
{
    const struct member *member = topology_member(&world->topology, world->hosts[node].member);
    return member != NULL && member->status != MEMBER_REMOVED && !world->hosts[node].dead;
}

const struct host *steward_newest_host(const struct world *world)
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
        count += steward_is_member(world, i) && world->hosts[i].up;
    return count;
}

/* NODES_MAX: none is. */
static uint32_t draw_member_up(struct world *world)
{
    uint32_t count = members_up(world);
    uint32_t pick = count == 0 ? 0 : (uint32_t)prng_below(&world->steward.prng, count);
    for (uint32_t i = 0; i < world->options.nodes; i++) {
        if (steward_is_member(world, i) && world->hosts[i].up && pick-- == 0)
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
    struct steward *steward = &world->steward;
    uint32_t node = draw_member_up(world);
    if (node == NODES_MAX)
        return;
    struct host *host = &world->hosts[node];
    steward->asked = true;
    steward->node = node;
    steward->start = host->start;
    steward->until_ns = world->now_ns + ANSWER_NS;
    steward->kind = operation->kind;
    steward->member = operation->member;
    steward->gone = operation->gone;
    world->figures.steward.asked++;
    world_fired(world, FAULT_MEMBERSHIP);
    struct message *message = message_new(MESSAGE_client_topology, 0);
    message->from = (struct actor_id){.node = host->member, .kind = ACTOR_EDGE};
    message->to = (struct actor_id){.node = host->member, .kind = ACTOR_GOSSIP};
    message->id = ++steward->id;
    message->deadline_ns = host_monotonic_ns(host) + 10 * (uint64_t)SECOND_NS;
    message->client_topology.client = steward->id;
    message->client_topology.operation = *operation;
    message->client_topology.operation.wall_ms = host_wall_ms(host);
    trace_line(&world->trace, world->now_ns, "steward: %s n%u, asked of n%u",
               kind_texts[operation->kind], operation->member, host->member);
    host_post(host, message);
}

/* The cluster cannot do without them: who was given up comes back, if it is not too late. */
static void refused(struct world *world)
{
    struct steward *steward = &world->steward;
    steward->refused = steward->kind == TOPOLOGY_COMMIT;
    for (uint32_t i = 0; i < world->options.nodes; i++) {
        struct host *host = &world->hosts[i];
        const struct member *member = topology_member(&world->topology, host->member);
        if (!host->dead || member == NULL || member->gone || member->status == MEMBER_REMOVED)
            continue;
        host->dead = false;
        host_start(host);
    }
}

void steward_on_done(struct world *world, const struct client_topology_done *done)
{
    struct steward *steward = &world->steward;
    trace_line(&world->trace, world->now_ns, "steward: %s%s (%s), epoch %llu",
               err_text(done->status), done->unknown ? ", unknown" : "",
               done->why == NULL ? "" : done->why, (unsigned long long)done->epoch);
    if (done->client != steward->id || !steward->asked)
        return; /* too late */
    steward->asked = false;
    world->figures.steward.unknown += done->unknown;
    world->figures.steward.refused += done->status != OK && !done->unknown;
    if (steward->kind == TOPOLOGY_JOIN && !done->unknown)
        steward->joining = false;
    steward->stuck |= steward->kind == TOPOLOGY_ABORT && done->status == ERR_PRECONDITION;
    bool decides = steward->kind == TOPOLOGY_COMMIT || steward->kind == TOPOLOGY_LEAVE;
    if (decides && done->status == ERR_PRECONDITION)
        refused(world);
}

/* -- what to do next
 * ------------------------------------------------------------------------------------ */

static void draw_place(struct world *world, struct topology_operation *operation)
{
    struct prng *prng = &world->steward.prng;
    if (prng_chance(prng, 0.7))
        operation->weight = (uint16_t)prng_between(prng, 1, 4);
    else
        snprintf(operation->zone, sizeof operation->zone, "zone%u", (unsigned)prng_below(prng, 3));
}

static void ask_join(struct world *world)
{
    struct steward *steward = &world->steward;
    struct topology_operation operation = {.kind = TOPOLOGY_JOIN};
    if (!steward->joining) {
        steward->joining = true;
        steward->names++;
        for (uint32_t i = 0; i < sizeof steward->join_id; i++)
            steward->join_id[i] = (uint8_t)(1 + prng_below(&steward->prng, 255));
    }
    memcpy(operation.join_id, steward->join_id, sizeof operation.join_id);
    snprintf(operation.name, sizeof operation.name, "joiner%u", steward->names);
    snprintf(operation.address, sizeof operation.address, "sim:j%u", steward->names);
    snprintf(operation.data_center, sizeof operation.data_center, "dc%u",
             steward->names % world->options.data_centers);
    snprintf(operation.zone, sizeof operation.zone, "zone%u", steward->names % 3);
    operation.weight = 1;
    ask(world, &operation);
}

/* Without a majority of its votes nobody can tell what a register holds, and a change that moves it
 * waits for ever: of three or more replicas one may be away for good at a time. */
static bool votes_live_on(const struct world *world)
{
    bool any_dead = false;
    for (uint32_t i = 0; i < world->options.nodes; i++) {
        const struct member *member = topology_member(&world->topology, world->hosts[i].member);
        any_dead |= world->hosts[i].dead && member != NULL && member->status != MEMBER_REMOVED;
    }
    return world->options.registers.keys == 0 ||
           (steward_replicas_least(world, world->options.keyspace_count) >= 3 && !any_dead);
}

static bool sets_may_shrink(const struct world *world)
{
    return !steward_votes_go(world) ||
           steward_replicas_sum(world, world->options.keyspace_count, TOPOLOGY_NEXT) >= 3;
}

/* Its disk is lost with it, so there must be a copy of all that it has. */
static bool may_die(struct world *world, uint32_t node)
{
    struct incident loss = {.class = FAULT_WIPED, .node = node};
    uint32_t voters;
    uint32_t others;
    /* Nobody could declare it gone. */
    if (faults_disk_log_remembers(world, node, &voters, &others) && others <= voters / 2)
        return false;
    /* A change that is taken back would hand a single copy to somebody who is gone. */
    if (steward_replicas_least_of_all(world) < 2)
        return false;
    return members_up(world) > 3 && votes_live_on(world) && faults_disk_may_lose(world, &loss);
}

static void begin_change(struct world *world)
{
    struct steward *steward = &world->steward;
    struct topology_operation operation = {0};
    uint32_t node = draw_member_up(world);
    uint64_t pick = prng_below(&steward->prng, 10);
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
        world->figures.steward.deaths++;
        host_crash(&world->hosts[node], CRASH_POWER);
        network_links_changed(world);
    } else {
        operation.kind = TOPOLOGY_PLACE;
        draw_place(world, &operation);
        ask(world, &operation);
    }
}

static void begin_replication(struct world *world)
{
    struct topology_operation operation;
    if (steward_draw_replicate(world, &operation))
        ask(world, &operation);
}

/* Who was given up and is a member still; 0: nobody. */
static uint32_t dead_member(const struct world *world)
{
    for (uint32_t i = 0; i < world->options.nodes; i++) {
        const struct member *member = topology_member(&world->topology, world->hosts[i].member);
        if (world->hosts[i].dead && member != NULL && !member->gone &&
            member->status != MEMBER_REMOVED)
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
    struct steward *steward = &world->steward;
    bool safety = world->phase == PHASE_SAFETY;
    if (steward->stuck && world->topology.number_next <= NODES_MAX) {
        steward->stuck = false;
        ask_join(world);
    } else if (steward->refused) {
        bool forces = prng_chance(&steward->prng, 0.3) && sets_may_shrink(world);
        steward->refused = false;
        ask(world, &(struct topology_operation){.kind = forces ? TOPOLOGY_COMMIT : TOPOLOGY_ABORT,
                                                .force = forces});
    } else if (safety && prng_chance(&steward->prng, 0.1)) {
        world->figures.steward.aborts++;
        ask_simply(world, TOPOLOGY_ABORT);
    } else if (safety && steward->replications > 0 && prng_chance(&steward->prng, 0.2)) {
        steward->replications--;
        begin_replication(world);
    } else if (safety && steward->left > 0 && prng_chance(&steward->prng, 0.2)) {
        steward->left--;
        begin_change(world);
    } else {
        world->figures.steward.commits++;
        ask_simply(world, TOPOLOGY_COMMIT);
    }
}

static void go_on_running(struct world *world)
{
    struct prng *prng = &world->steward.prng;
    bool safety = world->phase == PHASE_SAFETY;
    if (world->topology.change.paused) {
        if (!safety || prng_chance(prng, 0.2))
            ask_simply(world, TOPOLOGY_RESUME);
    } else if (safety && prng_chance(prng, 0.03)) {
        ask_simply(world, TOPOLOGY_PAUSE);
    } else if (safety && prng_chance(prng, 0.03)) {
        world->figures.steward.aborts++;
        ask_simply(world, TOPOLOGY_ABORT);
    }
}

static void go_on(struct world *world)
{
    struct steward *steward = &world->steward;
    uint32_t dead = dead_member(world);
    if (dead != MEMBER_NONE) {
        ask(world,
            &(struct topology_operation){.kind = TOPOLOGY_LEAVE, .member = dead, .gone = true});
    } else if (world->topology.change.state == CHANGE_RUNNING) {
        go_on_running(world);
    } else if (steward->joining) {
        ask_join(world);
    } else if (world->topology.change.state == CHANGE_STAGED) {
        go_on_staged(world);
    } else if (world->phase == PHASE_SAFETY && steward->replications > 0 &&
               (steward->left == 0 || prng_chance(&steward->prng, 0.5))) {
        steward->replications--;
        begin_replication(world);
    } else if (world->phase == PHASE_SAFETY && steward->left > 0) {
        steward->left--;
        begin_change(world);
    }
}

/* Somebody else, who asks at the same time: two proposers meet. Nobody waits for the answer. */
static void ask_besides(struct world *world)
{
    struct prng *prng = &world->steward.prng;
    uint32_t node = draw_member_up(world);
    if (node == NODES_MAX)
        return;
    struct host *host = &world->hosts[node];
    struct message *message = message_new(MESSAGE_client_topology, 0);
    message->from = (struct actor_id){.node = host->member, .kind = ACTOR_EDGE};
    message->to = (struct actor_id){.node = host->member, .kind = ACTOR_GOSSIP};
    message->deadline_ns = host_monotonic_ns(host) + SECOND_NS;
    message->client_topology.operation = (struct topology_operation){
        .kind = TOPOLOGY_PACE, .bytes_per_second = random_log(prng, 1 << 20, 1 << 26)};
    host_post(host, message);
}

void steward_on_turn(struct world *world)
{
    struct steward *steward = &world->steward;
    if (world->phase > PHASE_SETTLE)
        return;
    const struct host *host = &world->hosts[steward->node];
    if (steward->asked &&
        (world->now_ns > steward->until_ns || !host->up || host->start != steward->start))
        steward->asked = false;
    for (uint32_t i = 0; i < BESIDES && world->phase == PHASE_SAFETY &&
                         world->topology.change.state == CHANGE_RUNNING;
         i++)
        ask_besides(world);
    if (!steward->asked)
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
        world->figures.steward.joins++;
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
        world->figures.steward.moved += from == PHASE_COPIED && to == PHASE_DONE;
        if (to != from && to != from + 1 && !skips)
            world_fail(world, "topology", "partition %u goes from phase %u to %u in epoch %llu", p,
                       from, to, (unsigned long long)after->epoch);
    }
}

void steward_saw(struct world *world, struct host *host, const struct topology *topology)
{
    struct steward *steward = &world->steward;
    if (topology->epoch >= EPOCHS_SIM_MAX) {
        world_fail(world, "topology", "epoch %llu", (unsigned long long)topology->epoch);
        return;
    }
    uint64_t *seen = &steward->documents[topology->epoch];
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
    steward_count_replications(world, &world->topology, topology);
    if (topology == &host->view->topology) {
        check_held_step(world, &world->topology, host->view);
        check_change_step(world, &world->topology, host->view);
    }
    world->figures.steward.finished +=
        world->topology.change.state == CHANGE_RUNNING && topology->change.state == CHANGE_NONE;
    topology_copy(&world->arena, topology, &world->topology);
    trace_line(&world->trace, world->now_ns, "n%u: topology of epoch %llu", host->member,
               (unsigned long long)topology->epoch);
    start_joined(world, &world->topology);
}

bool steward_settled(struct world *world, char *why, size_t why_size)
{
    if (!world_has(world, FAULT_MEMBERSHIP))
        return true;
    snprintf(why, why_size, "a change of the topology is not at its end (epoch %llu, state %u)",
             (unsigned long long)world->topology.epoch, world->topology.change.state);
    if (world->topology.change.state != CHANGE_NONE || world->steward.asked ||
        world->steward.joining)
        return false;
    for (uint32_t i = 0; i < world->options.nodes; i++) {
        struct host *host = &world->hosts[i];
        bool member = steward_is_member(world, i);
        snprintf(why, why_size, "n%u %s", host->member,
                 member ? "has an older topology" : "has left and runs still");
        if (host->up != member || (member && host->view->topology.epoch != world->topology.epoch))
            return false;
    }
    why[0] = '\0';
    return true;
}
