#include "tests/sim/keyspaces.h"

#include "tests/sim/world.h"

#include <inttypes.h>

static void ask(struct world *world, uint32_t node, const struct keyspace *keyspace)
{
    struct keyspaces *keyspaces = &world->keyspaces;
    struct host *host = &world->hosts[node];
    CHECK_U64(keyspaces->count, <, KEYSPACE_ASKS_MAX);
    uint32_t index = keyspaces->count++;
    keyspaces->asks[index] = (struct keyspace_ask){.node = node};
    snprintf(keyspaces->asks[index].name, sizeof keyspaces->asks[index].name, "%.15s",
             keyspace->name);
    struct message *message = message_new(MESSAGE_keyspace_change, 0);
    message->from = (struct actor_id){.node = host->member, .kind = ACTOR_EDGE};
    message->to = (struct actor_id){.node = host->member, .kind = ACTOR_GOSSIP};
    message->id = index + 1;
    message->deadline_ns = host_monotonic_ns(host) + 5 * (uint64_t)SECOND_NS;
    message->keyspace_change = (struct keyspace_change){
        .client = index, .operation = KEYSPACE_CREATE, .keyspace = *keyspace};
    trace_line(&world->trace, world->now_ns, "keyspace %s asked of n%u", keyspace->name,
               host->member);
    host_post(host, message);
}

bool keyspaces_ask_wanted(struct world *world)
{
    if (world->keyspaces.count == world->options.keyspace_count + 1)
        return false;
    if (world->keyspaces.count == world->options.keyspace_count) {
        struct keyspace strong = keyspace_default(REGISTERS_KEYSPACE);
        strong.mode = KEYSPACE_CONSISTENT;
        strong.n = world->options.registers.n;
        if (world->options.registers.keys == 0)
            return false;
        ask(world, 0, &strong);
        return true;
    }
    const struct sim_keyspace *wanted = &world->options.keyspaces[world->keyspaces.count];
    struct keyspace keyspace = keyspace_default(wanted->name);
    keyspace.n = wanted->n;
    keyspace.conflict = wanted->conflict;
    keyspace.read_level = wanted->read_level;
    keyspace.write_level = wanted->write_level;
    keyspace.read_count = wanted->read_count;
    keyspace.write_count = wanted->write_count;
    keyspace.strict = wanted->strict;
    ask(world, 0, &keyspace);
    return true;
}

void keyspaces_ask_extra(struct world *world, uint32_t node)
{
    char name[16];
    if (world->keyspaces.count == KEYSPACE_ASKS_MAX)
        return;
    snprintf(name, sizeof name, "extra%" PRIu32, world->keyspaces.count);
    struct keyspace keyspace = keyspace_default(name);
    ask(world, node, &keyspace);
}

void keyspaces_on_done(struct world *world, const struct keyspace_change_done *done)
{
    struct keyspace_ask *ask =
        done->client < world->keyspaces.count ? &world->keyspaces.asks[done->client] : NULL;
    if (ask == NULL || ask->state != KEYSPACE_ASKED) {
        world_fail(world, "ends", "an answer for keyspace change %llu, which has none to get",
                   (unsigned long long)done->client);
        return;
    }
    ask->state = done->status == OK ? KEYSPACE_MADE : KEYSPACE_REFUSED;
    trace_line(&world->trace, world->now_ns, "keyspace %s: %s, known by %u of %u", ask->name,
               err_text(done->status), done->known_by, done->nodes);
    if (done->status != OK && world->phase == PHASE_SETUP)
        world_fail(world, "setup", "keyspace %s was refused: %s (%s)", ask->name,
                   err_text(done->status), done->why == NULL ? "" : done->why);
}

void keyspaces_host_down(struct world *world, uint32_t node)
{
    for (uint32_t i = 0; i < world->keyspaces.count; i++) {
        struct keyspace_ask *ask = &world->keyspaces.asks[i];
        if (ask->node == node && ask->state == KEYSPACE_ASKED)
            ask->state = KEYSPACE_CUT_OFF;
    }
}

bool keyspaces_settled(const struct world *world)
{
    for (uint32_t i = 0; i < world->keyspaces.count; i++) {
        if (world->keyspaces.asks[i].state == KEYSPACE_ASKED)
            return false;
    }
    const struct keyspace_map *first = NULL;
    for (uint32_t i = 0; i < world->options.nodes; i++) {
        if (!world->hosts[i].up)
            continue;
        const struct keyspace_map *map = &world->hosts[i].view->keyspaces;
        if (first == NULL)
            first = map;
        if (keyspace_map_digest(map) != keyspace_map_digest(first))
            return false;
    }
    return true;
}

void keyspaces_check(struct world *world)
{
    for (uint32_t i = 0; i < world->keyspaces.count; i++) {
        const struct keyspace_ask *ask = &world->keyspaces.asks[i];
        for (uint32_t node = 0; node < world->options.nodes; node++) {
            /* One that only a leaving member had heard of goes with it (ARCHITECTURE.md). */
            if (ask->state == KEYSPACE_MADE && world->hosts[node].up &&
                steward_is_member(world, ask->node) &&
                host_keyspace(&world->hosts[node], ask->name) == NULL)
                world_fail(world, "lost", "keyspace %s was acknowledged; n%u does not know it",
                           ask->name, node + 1);
        }
    }
}
