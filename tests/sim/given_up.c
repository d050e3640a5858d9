#include "tests/sim/given_up.h"

#include "model/hash.h"
#include "tests/sim/faults_disk.h"
#include "tests/sim/world.h"

#define ROT_TRIES 6u
/* Each bad row is asked about within half a minute (actors/replica_quarantine.h). */
#define FIRST_NS  (45 * (uint64_t)SECOND_NS)
#define AGAIN_NS  (80 * (uint64_t)SECOND_NS)
#define TIMES_MAX 3u

/* -- one copy lost, the other one bad -----------------------------------------------------------
 */

/* The other one of two replicas, if it is up and holds the key for good; NULL: there is none. */
static struct host *other_copy(struct world *world, uint32_t node, uint32_t keyspace,
                               struct bytes key, uint32_t partition)
{
    static const uint8_t both = 1u << TOPOLOGY_NOW | 1u << TOPOLOGY_NEXT;
    uint32_t id = world->workload.keyspace_ids[keyspace];
    struct replica_set set = check_replica_set(world, keyspace, key);
    struct host *other = NULL;
    struct version_set state = {0};
    bool here = false;
    struct arena arena;
    for (uint32_t i = 0; set.count == 2 && i < 2; i++) {
        if (set.replicas[i].sides != both)
            return NULL;
        if (set.replicas[i].member == node + 1)
            here = true;
        else
            other = &world->hosts[set.replicas[i].member - 1];
    }
    if (!here || other == NULL || !other->up || other->dead || host_put_back_lately(other) ||
        !host_copy_votes(other, partition, id) || host_is_rotten(other, id, key))
        return NULL;
    arena_init(&arena, NULL, 0);
    bool held = host_peek_durable(other, id, key, &arena, &state);
    arena_deinit(&arena);
    return held ? other : NULL;
}

void given_up_rot(struct world *world, uint32_t node)
{
    struct prng *prng = &world->hosts[node].disk_prng;
    struct prng hole;
    prng_init(&hole, world->options.seed ^ world->now_ns, RANDOM_HOLES);
    for (uint32_t i = 0; world->options.gives_up && i < ROT_TRIES; i++) {
        uint32_t keyspace = (uint32_t)prng_below(prng, world->options.keyspace_count);
        uint32_t key = (uint32_t)prng_below(prng, world->options.keys);
        uint64_t bit = prng_u64(prng);
        uint8_t memory[STORAGE_KEY_BYTES_MAX];
        char name[16];
        key_name(key, name);
        struct bytes text = bytes_of_string(name);
        uint32_t id = world->workload.keyspace_ids[keyspace];
        uint64_t hash = hash_key(id, text);
        uint32_t partition = hash_partition(hash, world->options.partitions);
        struct bytes row = bytes_of(memory, hash_storage_key(id, text, hash, memory));
        struct host *other = world->workload.touched[keyspace][key]
                                 ? other_copy(world, node, keyspace, text, partition)
                                 : NULL;
        bool hides = world->options.registers.keys == 0 && prng_chance(&hole, 0.3) &&
                     other != NULL && faults_disk_may_hide(other, partition);
        struct merkle_range range = faults_disk_block(world, &hole, hash);
        if (other == NULL ||
            !(hides ? engine_memory_hide(other->engine, partition, range.first, range.last)
                    : engine_memory_damage(other->engine, partition, row, bit)))
            continue;
        world_fired(world, FAULT_CORRUPT);
        world->given_up.rotten++;
        world->figures.holes += hides;
        trace_line(&world->trace, world->now_ns, "n%u: %s ks%u/%s %s, the last copy", other->member,
                   hides ? "a block with" : "a bit of", keyspace, name,
                   hides ? "cannot be read" : "turns");
    }
}

/* -- the operator -------------------------------------------------------------------------------
 */

static bool rows_are_bad(const struct world *world)
{
    for (uint32_t i = 0; i < world->options.nodes; i++) {
        for (uint32_t j = 0; world->hosts[i].up && j < world->options.shards; j++) {
            const struct replica_figures *figures = replica_figures(world->hosts[i].replicas[j]);
            if (counter_get(&figures->quarantined) + counter_get(&figures->vnodes_unreadable) > 0)
                return true;
        }
    }
    return false;
}

struct copies {
    bool rotten; /* one is */
    bool whole;  /* one is sound, holds it, and was not lost: the others take it from there */
    struct clock sound;
};

static struct copies copies_of(struct world *world, uint32_t keyspace, uint32_t key)
{
    struct copies copies = {0};
    char name[16];
    key_name(key, name);
    struct bytes text = bytes_of_string(name);
    uint32_t id = world->workload.keyspace_ids[keyspace];
    uint32_t partition = hash_partition(hash_key(id, text), world->options.partitions);
    struct replica_set set = check_replica_set(world, keyspace, text);
    for (uint32_t i = 0; i < set.count; i++) {
        struct host *host = &world->hosts[set.replicas[i].member - 1];
        struct version_set state = {0};
        if (!host->up)
            continue;
        if (host_is_rotten(host, id, text)) {
            copies.rotten = true;
        } else if (host_peek_durable(host, id, text, &world->check.arena, &state)) {
            copies.whole |= set.replicas[i].reader && host_copy_votes(host, partition, id);
            copies.sound = clock_merge(&world->check.arena, &copies.sound, &state.clock);
        }
    }
    return copies;
}

/* What was told of it counts no more, but for what is left. */
static void forget(struct world *world, uint32_t keyspace, uint32_t key, const struct clock *left)
{
    struct check *check = &world->check;
    for (uint32_t k = 0; k <= REPLICAS_SIM_MAX; k++)
        check->acknowledged[keyspace][key][k] = (struct clock){0};
    for (uint32_t i = 0; i < SIM_CENTERS_MAX; i++)
        check->local_quorums[keyspace][key][i] = (struct clock){0};
    for (uint32_t i = 0; i < NODES_MAX; i++)
        check->refilled_from[i][keyspace][key] = (struct clock){0};
    check->announced[keyspace][key] = (struct clock){0};
    check->gave_up_ns[keyspace][key] = world->now_ns;
    check->left[keyspace][key] = *left;
}

static void ask(struct world *world, struct host *host)
{
    struct message *message = message_new(MESSAGE_client_maintenance, 0);
    message->from = (struct actor_id){.node = host->member, .kind = ACTOR_EDGE};
    message->to = (struct actor_id){.node = host->member, .kind = ACTOR_ANTI_ENTROPY};
    message->id = ++world->given_up.message_id;
    message->deadline_ns = host_monotonic_ns(host) + 10 * (uint64_t)SECOND_NS;
    message->client_maintenance =
        (struct client_maintenance){.operation = MAINTENANCE_REPAIR_START, .gives_up = true};
    host_post(host, message);
}

/* A row that a whole copy could mend is none of these, and nothing is excused. */
void given_up_look(struct world *world)
{
    uint64_t last_ns = world->given_up.times == 0 ? world->phase_since_ns : world->given_up.at_ns;
    uint64_t wait_ns = world->given_up.times == 0 ? FIRST_NS : AGAIN_NS;
    if (world->now_ns < last_ns + wait_ns || world->given_up.times == TIMES_MAX ||
        world->workload.running + world->registers.running > 0 || !rows_are_bad(world))
        return;
    world->given_up.times++;
    world->given_up.at_ns = world->now_ns;
    trace_line(&world->trace, world->now_ns, "bad rows are given up");
    for (uint32_t keyspace = 0; keyspace < world->options.keyspace_count; keyspace++) {
        for (uint32_t key = 0; key < world->options.keys; key++) {
            struct copies copies = {0};
            if (world->workload.touched[keyspace][key])
                copies = copies_of(world, keyspace, key);
            if (!copies.rotten || copies.whole)
                continue;
            trace_line(&world->trace, world->now_ns, "ks%u/key%u is given up", keyspace, key);
            world->given_up.keys += world->check.gave_up_ns[keyspace][key] == 0;
            forget(world, keyspace, key, &copies.sound);
        }
    }
    for (uint32_t i = 0; i < world->options.nodes; i++) {
        if (world->hosts[i].up)
            ask(world, &world->hosts[i]);
    }
}

bool given_up_is(const struct world *world, const struct operation *operation)
{
    return operation->started_ns < world->check.gave_up_ns[operation->keyspace][operation->key];
}
