#include "tests/sim/network.h"

#include "model/hash.h"
#include "rpc/peer_codec.h"
#include "tests/sim/world.h"

#include <stdlib.h>

void network_init(struct network *network, uint64_t seed)
{
    *network = (struct network){0};
    prng_init(&network->prng, seed, RANDOM_NETWORK);
    prng_init(&network->link_prng, seed, RANDOM_LINKS);
    arena_init(&network->scratch, NULL, 0);
}

void network_deinit(struct network *network)
{
    arena_deinit(&network->scratch);
}

static void plan_arrival(struct world *world, uint32_t from, uint32_t to, struct bytes bytes,
                         uint64_t at_ns, bool doubled)
{
    struct event *event = world_plan(world, at_ns, EVENT_REMOTE);
    event->node = to;
    event->from = from;
    event->start = world->network.links[from][to].start;
    event->slot = doubled;
    event->bytes = malloc(bytes.size);
    CHECK(event->bytes != NULL);
    memcpy(event->bytes, bytes.data, bytes.size);
    event->size = bytes.size;
    if (world->phase <= PHASE_SAFETY && at_ns > world->network.faulty_until_ns)
        world->network.faulty_until_ns = at_ns;
}

/* How the incidents of the moment change one message's way. Who has joined since they were drawn
 * shares the fate of one that was there. */
struct passage {
    bool lost;
    bool doubled;
    bool reordered;
    uint64_t extra_ns;
    uint64_t held_until_ns;
};

static struct passage passage_of(struct world *world, uint32_t from, uint32_t to)
{
    from %= world->options.nodes_first;
    to %= world->options.nodes_first;
    struct passage passage = {0};
    struct prng *prng = &world->network.prng;
    for (uint32_t i = 0; i < world->faults.count; i++) {
        const struct incident *incident = &world->faults.incidents[i];
        if (!incident->active || (incident->links[from] & (1u << to)) == 0)
            continue;
        bool hit = prng_chance(prng, incident->chance);
        if (!hit)
            continue;
        switch (incident->class) {
        case FAULT_DELAY:
            passage.extra_ns += random_log(prng, MS_NS, incident->strength_ns);
            break;
        case FAULT_DUPLICATE:
            passage.doubled = true;
            break;
        case FAULT_REORDER:
            passage.reordered = true;
            passage.extra_ns += prng_below(prng, incident->strength_ns);
            break;
        case FAULT_CLOG:
            if (incident->ends_at_ns > passage.held_until_ns)
                passage.held_until_ns = incident->ends_at_ns;
            break;
        default: /* loss and the partitions; no other class has links */
            passage.lost = true;
            break;
        }
        world_fired(world, incident->class);
    }
    return passage;
}

static uint64_t arrival_time(struct world *world, const struct passage *passage, uint32_t from,
                             uint32_t to, uint64_t leaves_at_ns)
{
    const struct sim_options *options = &world->options;
    struct network *network = &world->network;
    uint64_t at_ns = leaves_at_ns + options->delay_min_ns +
                     random_exponential(&network->prng, options->delay_mean_ns);
    at_ns += passage->extra_ns;
    if (at_ns < passage->held_until_ns)
        at_ns = passage->held_until_ns + prng_below(&network->prng, MS_NS);
    uint64_t *last = &network->last_arrival_ns[from][to];
    if (!passage->reordered) {
        if (at_ns <= *last)
            at_ns = *last + 1;
        *last = at_ns;
    }
    return at_ns;
}

/* The sender knows that there is no connection: whoever waits for an answer gets it from there. */
static void undelivered(struct host *from, struct message *message, uint64_t at_ns)
{
    struct message *reply = message_new_undelivered(message);
    from->world->figures.undelivered++;
    trace_mix(&from->world->trace, at_ns, message->kind, message->id, reply != NULL);
    if (from->world->trace.text)
        trace_line(&from->world->trace, from->world->now_ns, "n%u -> n%u %s #%llu undelivered",
                   from->member, message->to.node, message_kind_text(message->kind),
                   (unsigned long long)message->id);
    if (reply != NULL)
        host_post(from, reply);
    message_free(message);
}

void network_send(struct world *world, struct host *from, struct message *message,
                  uint64_t leaves_at_ns)
{
    struct network *network = &world->network;
    CHECK(message_crosses_nodes(message->kind));
    uint32_t to = message->to.node - 1; /* members are numbered from 1 without gaps */
    if (to >= world->options.nodes) {   /* it has not started yet */
        undelivered(from, message, leaves_at_ns);
        return;
    }
    struct bytes bytes = peer_message_encode(&network->scratch, message, host_monotonic_ns(from));
    check_sent(world, from, message);
    if (bytes.size == 0)
        world_fail(world, "codec", "a %s cannot be encoded", message_kind_text(message->kind));
    if (!network->links[from->index][to].announced) {
        undelivered(from, message, leaves_at_ns);
        arena_clear(&network->scratch);
        return;
    }
    struct passage passage = passage_of(world, from->index, to);
    trace_mix(&world->trace, leaves_at_ns, (uint64_t)from->index << 32 | to, hash_bytes(bytes, 0),
              passage.lost);
    if (passage.lost && world->trace.text)
        trace_line(&world->trace, world->now_ns, "n%u -> n%u %s #%llu lost", from->member,
                   message->to.node, message_kind_text(message->kind),
                   (unsigned long long)message->id);
    world->figures.messages_remote++;
    if (!passage.lost && !world->failure.failed) {
        uint64_t at_ns = arrival_time(world, &passage, from->index, to, leaves_at_ns);
        plan_arrival(world, from->index, to, bytes, at_ns, passage.doubled);
    }
    if (!passage.lost && !world->failure.failed && passage.doubled) {
        passage.reordered = true;
        passage.extra_ns += random_log(&network->prng, MS_NS, SECOND_NS);
        uint64_t at_ns = arrival_time(world, &passage, from->index, to, leaves_at_ns);
        plan_arrival(world, from->index, to, bytes, at_ns, true);
    }
    arena_clear(&network->scratch);
    message_free(message);
}

void network_on_remote(struct world *world, struct event *event)
{
    struct host *host = &world->hosts[event->node];
    if (!host->up)
        return;
    /* Sent to an earlier life: most died with its connection, some was still queued at the sender.
     * But links never repeat a frame, so nothing reaches two lives. */
    if (event->start != host->start &&
        (event->slot != 0 || prng_chance(&world->network.prng, 0.7) ||
         world->network.links[event->from][event->node].start != host->start))
        return;
    struct message *message =
        peer_message_decode(bytes_of(event->bytes, event->size), event->from + 1, host->member,
                            host_monotonic_ns(host));
    if (message == NULL) {
        world_fail(world, "codec", "n%u: a message of n%u was refused by the decoder", host->member,
                   event->from + 1);
        return;
    }
    check_arrived(world, host, message);
    host_post(host, message);
}

/* -- connections ------------------------------------------------------------------------------ */

static bool cut_off(const struct world *world, uint32_t from, uint32_t to)
{
    from %= world->options.nodes_first;
    to %= world->options.nodes_first;
    for (uint32_t i = 0; i < world->faults.count; i++) {
        const struct incident *incident = &world->faults.incidents[i];
        if (incident->active && incident->cuts_connections &&
            ((incident->links[from] & (1u << to)) != 0 ||
             (incident->links[to] & (1u << from)) != 0))
            return true;
    }
    return false;
}

static void plan_link(struct world *world, uint32_t from, uint32_t to)
{
    bool usable = world->network.links[from][to].usable;
    struct prng *prng = &world->network.link_prng;
    uint64_t lag_ns;
    if (usable)
        lag_ns = random_log(prng, MS_NS, 2 * (uint64_t)SECOND_NS); /* backoff of a reconnection */
    else if (!world->hosts[to].up)
        lag_ns = random_log(prng, MS_NS, 5 * (uint64_t)SECOND_NS); /* a reset, or keepalive */
    else
        lag_ns = random_log(prng, SECOND_NS, 10 * (uint64_t)SECOND_NS);
    struct event *event = world_plan(world, world->now_ns + lag_ns, EVENT_LINK);
    event->node = from;
    event->from = to;
    event->start = world->hosts[from].start;
    event->number = world->network.links[from][to].serial;
}

void network_links_changed(struct world *world)
{
    for (uint32_t from = 0; from < world->options.nodes; from++) {
        for (uint32_t to = 0; to < world->options.nodes; to++) {
            bool usable = from != to && world->hosts[from].up && world->hosts[to].up &&
                          !cut_off(world, from, to);
            if (usable == world->network.links[from][to].usable)
                continue;
            world->network.links[from][to].usable = usable;
            world->network.links[from][to].serial++;
            if (world->hosts[from].up)
                plan_link(world, from, to);
        }
    }
}

static void tell(struct world *world, uint32_t node, uint32_t peer, bool up)
{
    struct host *host = &world->hosts[node];
    world->network.links[node][peer].announced = up;
    world->network.links[node][peer].start = world->hosts[peer].start;
    if (!up)
        world->network.links[node][peer].told_down_ns = world->now_ns;
    struct message *message = message_new(MESSAGE_peer_link, 0);
    message->from = (struct actor_id){.node = host->member, .kind = ACTOR_EDGE};
    message->to = (struct actor_id){.node = host->member, .kind = ACTOR_GOSSIP};
    message->peer_link = (struct peer_link){.member = peer + 1, .up = up};
    host_post(host, message);
}

void network_told_down(struct world *world, uint32_t node, uint32_t peer)
{
    if (world->network.links[node][peer].announced)
        tell(world, node, peer, false);
}

/* A link is used when both ends know whom they have before them; until then it is tried again. */
void network_on_link(struct world *world, const struct event *event)
{
    uint32_t node = event->node;
    uint32_t peer = event->from;
    struct host *host = &world->hosts[node];
    bool usable = world->network.links[node][peer].usable;
    if (!host->up || host->start != event->start ||
        event->number != world->network.links[node][peer].serial)
        return;
    bool same_life = world->network.links[node][peer].start == world->hosts[peer].start;
    if (!usable || !same_life)
        network_told_down(world, node, peer);
    if (!usable || world->network.links[node][peer].announced)
        return;
    if (hellos_admit(world, node, peer)) {
        tell(world, node, peer, true);
    } else if (host->up) {
        uint64_t lag_ns = random_log(&world->network.link_prng, MS_NS, 200 * (uint64_t)MS_NS);
        struct event *again = world_plan_host(host, world->now_ns + lag_ns, EVENT_LINK);
        again->from = peer;
        again->number = world->network.links[node][peer].serial;
    }
}

void network_host_started(struct world *world, uint32_t node)
{
    for (uint32_t to = 0; to < world->options.nodes; to++) {
        world->network.links[node][to].usable = false;
        world->network.links[node][to].announced = false;
    }
    network_links_changed(world);
}
