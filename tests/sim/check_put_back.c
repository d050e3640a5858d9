/* A disk that becomes an older copy of itself (restored) may do so unseen by the hellos
 * (model/identity.h). What no promise covers then, and nothing else, is left out:
 *
 *   - one node less holds what the copy lacks, and it votes on until it has been compared;
 *   - when it is found out it is emptied, and with it goes what it alone has acknowledged since;
 *   - before that, a read of it alone may show what was reaped since the copy; and it may be alone by
 *     the sets of that time, until somebody has told it that others have followed;
 *   - it begins its key epochs by its clock, which may have been set back meanwhile: the epoch of
 *     one key may be used for another one. Never for the same one: dots stay unique.
 *
 * The budget of faults_disk.c sees to it that something else holds all that the copy lacks, and
 * that nothing else is lost before it can have been compared. */
#include "model/hash.h"
#include "model/record.h"
#include "tests/sim/world.h"

static struct version_set copy_holds(const struct host *host, const struct memory_disk *copy,
                                     uint32_t keyspace, uint32_t key, struct arena *arena)
{
    uint8_t memory[STORAGE_KEY_BYTES_MAX];
    char name[16];
    uint32_t id = host->world->workload.keyspace_ids[keyspace];
    key_name(key, name);
    uint64_t hash = hash_key(id, bytes_of_string(name));
    size_t size = hash_storage_key(id, bytes_of_string(name), hash, memory);
    struct bytes record = {0};
    struct version_set set = {0};
    if (memory_disk_read(copy, hash_partition(hash, host->world->options.partitions),
                         bytes_of(memory, size), arena, &record) != OK ||
        record_decode(arena, id, bytes_of_string(name), record, &set) != OK)
        set = (struct version_set){0};
    return set;
}

/* What k nodes held and the copy lacks, k - 1 hold; another one holds it in any case (the budget).
 */
static void key_put_back(struct host *host, const struct memory_disk *copy, uint32_t keyspace,
                         uint32_t key)
{
    struct check *check = &host->world->check;
    struct clock *acknowledged = check->acknowledged[keyspace][key];
    struct version_set set = copy_holds(host, copy, keyspace, key, &check->arena);
    for (uint32_t k = 2; k <= REPLICAS_SIM_MAX; k++) {
        if (clock_descends(&set.clock, &acknowledged[k]))
            continue;
        acknowledged[k - 1] = clock_merge(&check->arena, &acknowledged[k - 1], &acknowledged[k]);
        acknowledged[k] = (struct clock){0};
    }
    uint8_t center =
        member_place(topology_member(&host->world->topology, host->member))->data_center;
    struct clock *local = &check->local_quorums[keyspace][key][center];
    if (!clock_descends(&set.clock, local)) /* no majority any more, perhaps */
        *local = (struct clock){0};
}

void check_put_back(struct host *host, const struct memory_disk *copy)
{
    struct world *world = host->world;
    for (uint32_t keyspace = 0; keyspace < world->options.keyspace_count; keyspace++) {
        for (uint32_t key = 0; key < world->options.keys; key++)
            key_put_back(host, copy, keyspace, key);
    }
    for (uint32_t i = 0; i < world->history.count; i++) {
        if (world->history.operations[i].state == OPERATION_RUNNING)
            world->history.operations[i].put_back++;
    }
}

bool check_put_back_alone(const struct world *world, const struct operation *operation)
{
    char name[16];
    key_name(operation->key, name);
    bool alone = operation->needed == 1 || operation->primaries == 1;
    for (uint32_t i = 0; alone && i < world->options.nodes; i++) {
        const struct host *host = &world->hosts[i];
        if (host->put_backs > 0 &&
            check_is_replica(world, host->member, operation->keyspace, bytes_of_string(name)))
            return true;
    }
    return false;
}
