#include "tests/sim/faults_disk.h"

#include "model/hash.h"
#include "model/record.h"
#include "tests/sim/steward_replicas.h"
#include "tests/sim/world.h"

#define ROT_TRIES 8u /* of one incident */

/* A second process is started from a copy of the node's own directory while the first runs: whoever
 * has met the first, and has an answer from it, sends the second away. */
static void try_twin(struct world *world, struct host *host)
{
    struct boot twin;
    const uint64_t nonce = host->hellos.mine.self.start_nonce;
    struct memory_disk *copy = memory_disk_copy(host->disk, host->engine);
    if (!host_boots_from(host, copy, &twin))
        world_fail(world, "boot", "n%u does not start from a copy of its own disk", host->member);
    twin.hello.self.start_nonce = ~nonce;
    for (uint32_t i = 0; i < world->options.nodes; i++) {
        struct incarnation *row = &world->hosts[i].hellos.rows[host->index];
        struct incarnation next;
        if (i == host->index || !world->hosts[i].up || !row->known ||
            row->hello.self.start_nonce != nonce)
            continue;
        struct incarnation_answer answer =
            incarnation_judge(row, &twin.hello, twin.epoch_bound, IDENTITY_ANSWERS, &next);
        if (answer.action != IDENTITY_STOP || !incarnation_equal(row, &next))
            world_fail(world, "identity", "n%u takes a second process of n%u: %s", i + 1,
                       host->member, identity_text(answer.verdict));
    }
    memory_disk_free(copy);
}

void faults_disk_begin(struct world *world, struct incident *incident)
{
    struct host *host = &world->hosts[incident->node];
    if (incident->class == FAULT_CLONED && host->up)
        try_twin(world, host);
    if (incident->class == FAULT_RESTORED && incident->copy == NULL) {
        incident->copy = memory_disk_copy(host->disk, host->engine);
        incident->copied = host->hellos.mine.self;
        if (incident->copied.generation < host->hellos.generation)
            incident->copied.generation = host->hellos.generation;
        if (incident->copied.generation < host->hellos.raised)
            incident->copied.generation = host->hellos.raised;
    }
}

void faults_disk_end(struct incident *incident)
{
    memory_disk_free(incident->copy);
    incident->copy = NULL;
}

/* -- the budget -------------------------------------------------------------------------------- */

/* What all nodes of a set but one have on their disks of a key. A node that was given up does not
 * come back; a disk that was put back may be emptied any moment. Hints do not count: they are
 * forgotten when their target has said that it has the write, and it may be the target that is
 * struck. */
static struct version_set held_elsewhere(struct world *world, uint32_t node, uint32_t keyspace,
                                         struct bytes key, uint8_t sides, struct arena *arena)
{
    uint32_t keyspace_id = world->workload.keyspace_ids[keyspace];
    struct replica_set set = check_replica_set(world, keyspace, key);
    struct version_set all = {0};
    for (uint32_t i = 0; i < set.count; i++) {
        struct host *host = &world->hosts[set.replicas[i].member - 1];
        struct version_set held = {0};
        if (host->index != node && (set.replicas[i].sides & sides) != 0 && !host->dead &&
            !host_put_back_lately(host) && host_peek_durable(host, keyspace_id, key, arena, &held))
            all = version_set_merge(arena, &all, &held);
    }
    return all;
}

/* The sets that the node is in, each by itself: either may be the one that is left in the end. */
static uint32_t sides_of(const struct world *world, uint32_t node, uint32_t keyspace,
                         struct bytes key, uint8_t ret_sides[2])
{
    struct replica_set set = check_replica_set(world, keyspace, key);
    uint8_t mine = 0;
    uint32_t count = 0;
    for (uint32_t i = 0; i < set.count; i++)
        mine |= set.replicas[i].member == node + 1 ? set.replicas[i].sides : 0;
    for (uint8_t side = 0; side < 2; side++) {
        if ((mine & 1u << side) != 0)
            ret_sides[count++] = (uint8_t)(1u << side);
    }
    if (count == 0) /* what lies there all the same */
        ret_sides[count++] = 1u << TOPOLOGY_NOW | 1u << TOPOLOGY_NEXT;
    return count;
}

/* A copy that is put back does not count: who sees that it is one has it emptied. */
static bool key_is_spare(struct world *world, uint32_t node, uint32_t keyspace, uint32_t key)
{
    struct arena arena;
    struct version_set mine = {0};
    uint8_t sides[2];
    char name[16];
    uint32_t id = world->workload.keyspace_ids[keyspace];
    bool spare = true;
    key_name(key, name);
    struct bytes text = bytes_of_string(name);
    arena_init(&arena, NULL, 0);
    host_peek_durable(&world->hosts[node], id, text, &arena, &mine);
    host_join_hints(&world->hosts[node], id, text, &arena, &mine);
    uint32_t count = sides_of(world, node, keyspace, text, sides);
    for (uint32_t i = 0; i < count; i++) {
        struct version_set others = held_elsewhere(world, node, keyspace, text, sides[i], &arena);
        struct clock explained = check_with_reaped(world, keyspace, key, &others.clock, &arena);
        spare = spare && clock_descends(&explained, &mine.clock);
    }
    arena_deinit(&arena);
    return spare;
}

/* Every keyspace that was acknowledged is known to another node. */
static bool keyspaces_are_spare(const struct world *world, uint32_t node)
{
    for (uint32_t i = 0; i < world->keyspaces.count; i++) {
        const struct keyspace_ask *ask = &world->keyspaces.asks[i];
        bool known = ask->state != KEYSPACE_MADE;
        for (uint32_t other = 0; other < world->options.nodes && !known; other++)
            known = other != node && host_keyspace(&world->hosts[other], ask->name) != NULL;
        if (!known)
            return false;
    }
    return true;
}

/* Up, and complete. A lost disk that nobody has found out yet, and a shard that has not read its
 * rows of vnodes, count no incomplete ones. */
static bool is_whole(const struct host *host)
{
    bool whole = host->up && !host->wiped && !engine_memory_hides(host->engine);
    for (uint32_t i = 0; whole && i < host->world->options.shards; i++)
        whole = host_copies_known(host, i) &&
                counter_get(&replica_figures(host->replicas[i])->vnodes_incomplete) == 0;
    return whole;
}

/* One loss at a time (docs/operations.md): also where the node itself has nothing to lose
 * any more, its last copy having rotted (seed 266277). Where members do not change a copy that was
 * put back may pass for the node for a while, and is emptied when the floors of others show it:
 * with two of those goes what only they have acknowledged meanwhile (seed 19876). */
static bool others_are_whole(const struct world *world, uint32_t node)
{
    bool whole = world->hosts[node].up;
    for (uint32_t i = 0; whole && i < world->options.nodes; i++) {
        const struct host *host = &world->hosts[i];
        if (i == node || !steward_is_member(world, i))
            continue;
        whole =
            is_whole(host) && (world_has(world, FAULT_MEMBERSHIP) || !host_put_back_lately(host));
    }
    return whole;
}

bool faults_disk_log_remembers(const struct world *world, uint32_t node, uint32_t *ret_voters,
                               uint32_t *ret_others)
{
    const struct topology *topology = &world->topology;
    bool votes = false;
    *ret_voters = topology->voter_count;
    *ret_others = 0;
    for (uint32_t i = 0; i < topology->voter_count; i++) {
        const struct host *host = &world->hosts[topology->voters[i] - 1];
        bool forgot =
            host->dead || !host->up || counter_get(&gossip_figures(host->gossip)->forgotten) > 0;
        votes |= host->index == node;
        *ret_others += host->index != node && !forgot;
    }
    return votes;
}

/* Who has forgotten what it promised asks so many others that each majority has one of them
 * (actors/gossip_recall.c): with fewer the log of the topology never goes on. */
static bool log_goes_on(const struct world *world, uint32_t node)
{
    uint32_t voters;
    uint32_t others;
    return !faults_disk_log_remembers(world, node, &voters, &others) ||
           others >= voters - voters / 2;
}

static void read_register_row(const struct host *host, const struct memory_disk *disk,
                              uint32_t number, struct arena *arena, struct bytes *ret_row)
{
    uint8_t memory[STORAGE_KEY_BYTES_MAX];
    char name[16];
    uint32_t id = host->world->registers.keyspace_id;
    registers_key_name(number, name);
    uint64_t hash = hash_key(id, bytes_of_string(name));
    struct bytes key = bytes_of(memory, hash_storage_key(id, bytes_of_string(name), hash, memory));
    uint32_t partition = hash_partition(hash, host->world->options.partitions);
    enum err err = disk != NULL
                       ? memory_disk_read(disk, partition, key, arena, ret_row)
                       : engine_memory_read_durable(host->engine, partition, key, arena, ret_row);
    if (err == ERR_NOT_FOUND)
        *ret_row = (struct bytes){0};
}

/* Who has lost promises does not vote again, if that is found out. Of a copy it may not be: one
 * that was taken in the same life of the node looks like the node, and so does an older one that
 * has started once more before anybody could judge it (model/identity.h). So no vote was given
 * since. */
static bool votes_are_kept(struct world *world, const struct incident *incident)
{
    const struct host *host = &world->hosts[incident->node];
    bool found_out = incident->class == FAULT_WIPED || world_has(world, FAULT_MEMBERSHIP);
    bool same = true;
    struct arena arena;
    if (found_out && !registers_spare(world, incident->node))
        return false;
    if (found_out && steward_replicas_sum_least(world, world->options.keyspace_count) > 1)
        return true;
    arena_init(&arena, NULL, 0);
    for (uint32_t key = 0; key < world->options.registers.keys && same; key++) {
        struct bytes before = {0};
        struct bytes now = {0};
        read_register_row(host, incident->copy, key, &arena, &before);
        read_register_row(host, NULL, key, &arena, &now);
        same = bytes_equal(before, now);
    }
    arena_deinit(&arena);
    return same;
}

/* Nobody can tell a copy from the node before the node has gone on and told it: such a one may have
 * forgotten what it has voted for in the topology log, and then one epoch has two documents. While
 * members change it is put back later. */
static bool is_told(const struct world *world, const struct incident *incident)
{
    return incident->class != FAULT_RESTORED || !world_has(world, FAULT_MEMBERSHIP) ||
           hellos_past(world, incident->node, &incident->copied);
}

bool faults_disk_may_lose(struct world *world, const struct incident *incident)
{
    if (incident->class == FAULT_CLONED)
        return true; /* its own disk comes back */
    if (!world->hosts[incident->node].up || !is_told(world, incident) ||
        !votes_are_kept(world, incident) || !keyspaces_are_spare(world, incident->node) ||
        !log_goes_on(world, incident->node) || !hellos_known_everywhere(world, incident->node) ||
        !others_are_whole(world, incident->node))
        return false;
    for (uint32_t keyspace = 0; keyspace < world->options.keyspace_count; keyspace++) {
        for (uint32_t key = 0; key < world->options.keys; key++) {
            if (world->workload.touched[keyspace][key] &&
                !key_is_spare(world, incident->node, keyspace, key))
                return false;
        }
    }
    return true;
}

/* -- the loss ---------------------------------------------------------------------------------- */

/* A copy of another member's directory is refused at the start. */
static void try_clone(struct world *world, struct incident *incident)
{
    struct host *host = &world->hosts[incident->node];
    uint32_t other = (incident->node + 1) % world->options.nodes;
    const struct host *source = &world->hosts[other];
    if (!source->up)
        return;
    struct memory_disk *copy = memory_disk_copy(source->disk, source->engine);
    struct boot boot;
    if (host_boots_from(host, copy, &boot))
        world_fail(world, "boot", "n%u starts from a copy of the disk of n%u", host->member,
                   source->member);
    memory_disk_free(copy);
}

void faults_disk_lose(struct world *world, struct incident *incident)
{
    struct host *host = &world->hosts[incident->node];
    CHECK(!host->up);
    host->lost_at_ns = world->now_ns;
    if (incident->class == FAULT_CLONED) {
        try_clone(world, incident);
    } else if (incident->class == FAULT_WIPED) {
        memory_disk_wipe(host->disk);
        host->wiped = true;
        host->losses++;
        given_up_rot(world, host->index);
    } else {
        check_put_back(host, incident->copy);
        host->put_backs++;
        memory_disk_free(host->disk);
        host->disk = incident->copy;
        incident->copy = NULL;
        host->losses++;
    }
    trace_line(&world->trace, world->now_ns, "n%u: its disk is %s", host->member,
               fault_class_name(incident->class));
}

/* -- bit rot ----------------------------------------------------------------------------------- */

/* A register's row, where the key keeps a majority of sound acceptors. */
static void rot_register(struct world *world, struct host *host)
{
    struct prng *prng = &host->disk_prng;
    uint8_t memory[STORAGE_KEY_BYTES_MAX];
    char name[16];
    uint32_t lost = 0;
    uint32_t number = (uint32_t)prng_below(prng, world->options.registers.keys);
    uint64_t bit = prng_u64(prng);
    uint32_t id = world->registers.keyspace_id;
    registers_key_name(number, name);
    uint64_t hash = hash_key(id, bytes_of_string(name));
    struct bytes key = bytes_of(memory, hash_storage_key(id, bytes_of_string(name), hash, memory));
    uint32_t acceptors = registers_acceptors(world, number, &lost);
    bool shrinks = world_has(world, FAULT_MEMBERSHIP) &&
                   steward_replicas_sum_least(world, world->options.keyspace_count) < 3;
    if (acceptors <= acceptors / 2 + lost + 1 || !registers_spare(world, host->index) || shrinks ||
        !engine_memory_damage(host->engine, hash_partition(hash, world->options.partitions), key,
                              bit))
        return;
    world_fired(world, FAULT_CORRUPT);
    world->figures.registers.rotten++;
    trace_line(&world->trace, world->now_ns, "n%u: a bit of %s turns", host->member, name);
}

/* The copy is to be the only one, and is not compared yet. A bad row that nobody has met is not
 * known to be one when the others go (topology_step.c): that is not promised. */
static bool may_be_left_alone(const struct world *world, uint32_t keyspace, uint32_t partition)
{
    return world_has(world, FAULT_MEMBERSHIP) &&
           world->topology.phases[partition] == PHASE_WAITING &&
           steward_replicas_sum_least(world, keyspace) < 2;
}

void faults_disk_rot(struct world *world, struct incident *incident)
{
    struct host *host = &world->hosts[incident->node];
    struct prng *prng = &host->disk_prng;
    if (host->up && world->options.registers.keys > 0 && prng_chance(prng, 0.5))
        rot_register(world, host);
    for (uint32_t i = 0; i < ROT_TRIES && host->up; i++) {
        uint32_t keyspace = (uint32_t)prng_below(prng, world->options.keyspace_count);
        uint32_t key = (uint32_t)prng_below(prng, world->options.keys);
        uint64_t bit = prng_u64(prng);
        uint8_t memory[STORAGE_KEY_BYTES_MAX];
        char name[16];
        uint32_t id = world->workload.keyspace_ids[keyspace];
        key_name(key, name);
        uint64_t hash = hash_key(id, bytes_of_string(name));
        size_t size = hash_storage_key(id, bytes_of_string(name), hash, memory);
        uint32_t partition = hash_partition(hash, world->options.partitions);
        if (!world->workload.touched[keyspace][key] ||
            may_be_left_alone(world, keyspace, partition) ||
            host_is_rotten(host, id, bytes_of_string(name)) || /* the bit could turn back */
            !key_is_spare(world, incident->node, keyspace, key) ||
            !engine_memory_damage(host->engine, partition, bytes_of(memory, size), bit))
            continue;
        world_fired(world, FAULT_CORRUPT);
        trace_line(&world->trace, world->now_ns, "n%u: a bit of ks%u/%s turns", host->member,
                   keyspace, name);
    }
}

/* -- blocks that cannot be read ------------------------------------------------------------------
 */

static bool in_range(struct merkle_range range, uint32_t keyspace_id, const char *name)
{
    uint64_t hash = hash_key(keyspace_id, bytes_of_string(name));
    return hash >= range.first && hash <= range.last;
}

/* A copy of a register that begins anew needs the list of each other one. */
static bool others_begin_anew(const struct world *world, uint32_t node)
{
    uint64_t mute = 0;
    for (uint32_t i = 0; i < world->options.nodes; i++) {
        mute += i != node && host_lost_lately(&world->hosts[i]);
        for (uint32_t j = 0; world->hosts[i].up && j < world->options.shards; j++)
            mute += counter_get(&replica_figures(world->hosts[i].replicas[j])->registers_mute);
    }
    return mute > 0;
}

/* Others hold all that lies there, and no register does. Of what else the copy holds they need have
 * nothing. */
static bool range_is_spare(struct world *world, const struct host *host, struct merkle_range range)
{
    char name[16];
    for (uint32_t key = 0; key < world->options.registers.keys; key++) {
        registers_key_name(key, name);
        if (in_range(range, world->registers.keyspace_id, name))
            return false;
    }
    for (uint32_t keyspace = 0; keyspace < world->options.keyspace_count; keyspace++) {
        uint32_t id = world->workload.keyspace_ids[keyspace];
        for (uint32_t key = 0; key < world->options.keys; key++) {
            key_name(key, name);
            if (world->workload.touched[keyspace][key] && in_range(range, id, name) &&
                !key_is_spare(world, host->index, keyspace, key))
                return false;
        }
    }
    return true;
}

/* The only replica of some keyspace is never emptied, and never mended, nor is one whose vote the
 * others need: an operator has to place it anew. */
bool faults_disk_may_hide(const struct host *host, uint32_t partition)
{
    bool alone = false;
    for (uint32_t i = 0; i < host->view->keyspaces.count; i++) {
        const struct keyspace *keyspace = &host->view->keyspaces.keyspaces[i];
        struct replica_set set;
        if (keyspace->dropped)
            continue;
        view_replica_set(host->view, keyspace, partition, &set);
        uint32_t least = keyspace->mode == KEYSPACE_CONSISTENT ? 3 : 2;
        for (uint32_t j = 0; j < set.count; j++)
            alone |= set.count < least && set.replicas[j].member == host->member;
    }
    return !alone;
}

struct merkle_range faults_disk_block(struct world *world, struct prng *prng, uint64_t hash)
{
    uint32_t partitions = world->options.partitions;
    struct merkle_range range = merkle_range(hash_partition(hash, partitions), partitions, 0, 0);
    uint64_t width = prng_u64(prng) >> (4 + prng_below(prng, 60));
    if (range.last - hash > width)
        range.last = hash + width;
    range.first = hash;
    return range;
}

void faults_disk_hide(struct world *world, const struct incident *incident)
{
    struct host *host = &world->hosts[incident->node];
    struct prng prng;
    prng_init(&prng, world->options.seed ^ world->now_ns, RANDOM_HOLES);
    uint32_t keyspace = (uint32_t)prng_below(&prng, world->options.keyspace_count);
    uint32_t key = (uint32_t)prng_below(&prng, world->options.keys);
    uint32_t id = world->workload.keyspace_ids[keyspace];
    struct version_set held = {0};
    struct arena arena;
    char name[16];
    key_name(key, name);
    struct bytes text = bytes_of_string(name);
    uint64_t hash = hash_key(id, text);
    uint32_t partition = hash_partition(hash, world->options.partitions);
    struct merkle_range range = faults_disk_block(world, &prng, hash);
    /* It has no vote in registers afterwards, which a change may need. */
    if (world->options.registers.keys > 0 && world_has(world, FAULT_MEMBERSHIP))
        return;
    if (!host->up || !world->workload.touched[keyspace][key] || !prng_chance(&prng, 0.5) ||
        others_begin_anew(world, host->index) || !others_are_whole(world, host->index) ||
        may_be_left_alone(world, keyspace, partition) || !faults_disk_may_hide(host, partition) ||
        !range_is_spare(world, host, range))
        return;
    arena_init(&arena, NULL, 0);
    if (host_peek_durable(host, id, text, &arena, &held) &&
        engine_memory_hide(host->engine, partition, range.first, range.last)) {
        world_fired(world, FAULT_CORRUPT);
        world->figures.holes++;
        trace_line(&world->trace, world->now_ns, "n%u: a block with ks%u/%s cannot be read",
                   host->member, keyspace, name);
    }
    arena_deinit(&arena);
}
