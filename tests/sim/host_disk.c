/* A node's disk, seen from outside. */
#include "model/hash.h"
#include "model/record.h"
#include "tests/sim/world.h"

void host_set_disk_faults(struct host *host, double read_error, double overloaded)
{
    host->read_error = read_error;
    host->overloaded = overloaded;
    if (host->engine != NULL)
        engine_memory_set_faults(host->engine, &host->disk_prng, read_error, overloaded, false);
}

bool host_peek(struct host *host, uint32_t keyspace_id, struct bytes key, struct arena *arena,
               struct version_set *ret_set)
{
    if (!host->up)
        return false;
    uint8_t memory[STORAGE_KEY_BYTES_MAX];
    uint64_t hash = hash_key(keyspace_id, key);
    uint32_t partition = hash_partition(hash, host->world->options.partitions);
    size_t size = hash_storage_key(keyspace_id, key, hash, memory);
    struct bytes record = {0};
    engine_memory_set_faults(host->engine, NULL, 0, 0, false);
    enum err err = store_read(engine_store(host->engine, 0), partition, bytes_of(memory, size),
                              arena, &record);
    host_set_disk_faults(host, host->read_error, host->overloaded);
    if (err == ERR_NOT_FOUND)
        return false;
    if (err == OK)
        err = record_decode(arena, keyspace_id, key, record, ret_set);
    if (err != OK)
        world_fail(host->world, "disk", "n%u: a stored record is %s", host->member, err_text(err));
    return err == OK;
}

const struct keyspace *host_keyspace(const struct host *host, const char *name)
{
    return host->view == NULL ? NULL : keyspace_map_find(&host->view->keyspaces, name);
}
