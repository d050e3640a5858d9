#include "model/hash.h"
#include "store/rdb.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void family_name(uint32_t partition, char ret_name[RDB_FAMILY_NAME_SIZE])
{
    if (partition == STORE_META)
        snprintf(ret_name, RDB_FAMILY_NAME_SIZE, "meta");
    else if (partition == STORE_HINTS)
        snprintf(ret_name, RDB_FAMILY_NAME_SIZE, "hints");
    else
        snprintf(ret_name, RDB_FAMILY_NAME_SIZE, "p%04u", partition);
}

bool rdb_family_parse(const char *name, uint32_t *ret_partition)
{
    uint32_t partition;
    if (strcmp(name, "meta") == 0)
        partition = STORE_META;
    else if (strcmp(name, "hints") == 0)
        partition = STORE_HINTS;
    else if (name[0] == 'p')
        partition = (uint32_t)strtoul(name + 1, NULL, 10);
    else
        return false;
    char canonical[RDB_FAMILY_NAME_SIZE];
    family_name(partition, canonical);
    if (strcmp(name, canonical) != 0)
        return false;
    *ret_partition = partition;
    return true;
}

static _Atomic(rocksdb_column_family_handle_t *) *family_place(struct rdb_engine *engine,
                                                               uint32_t partition)
{
    return &engine->families[engine_partition_slot(partition, engine->options.partitions)];
}

rocksdb_column_family_handle_t *rdb_family(struct rdb_engine *engine, uint32_t partition)
{
    return atomic_load_explicit(family_place(engine, partition), memory_order_acquire);
}

static enum err family_create_locked(struct rdb_engine *engine, uint32_t partition,
                                     rocksdb_column_family_handle_t **ret_family)
{
    rocksdb_column_family_handle_t *family = rdb_family(engine, partition);
    if (family == NULL) {
        char name[RDB_FAMILY_NAME_SIZE];
        family_name(partition, name);
        char *error = NULL;
        family = rocksdb_create_column_family(engine->db, engine->db_options, name, &error);
        if (error != NULL) {
            rdb_fail(engine, error);
            rocksdb_free(error);
            return ERR_IO;
        }
        atomic_store_explicit(family_place(engine, partition), family, memory_order_release);
    }
    *ret_family = family;
    return OK;
}

enum err rdb_family_create(struct rdb_engine *engine, uint32_t partition,
                           rocksdb_column_family_handle_t **ret_family)
{
    pthread_mutex_lock(&engine->families_mutex);
    enum err err = family_create_locked(engine, partition, ret_family);
    pthread_mutex_unlock(&engine->families_mutex);
    return err;
}

void rdb_batch_empty(rocksdb_writebatch_t *batch, rocksdb_column_family_handle_t *family)
{
    char end[STORAGE_KEY_BYTES_MAX + 1]; /* behind every key */
    memset(end, 0xff, sizeof end);
    rocksdb_writebatch_delete_range_cf(batch, family, "", 0, end, sizeof end);
}

enum err rdb_create_partitions(struct engine *base, const uint32_t *partitions, size_t count)
{
    struct rdb_engine *engine = CONTAINER_OF(base, struct rdb_engine, engine);
    enum err err = OK;
    for (size_t i = 0; i < count && err == OK; i++) {
        rocksdb_column_family_handle_t *family;
        if (atomic_load(&engine->failed))
            return ERR_IO;
        if (atomic_load(&engine->full))
            return ERR_OVERLOADED;
        err = rdb_family_create(engine, partitions[i], &family);
    }
    return err;
}

void rdb_families_close(struct rdb_engine *engine)
{
    for (size_t i = 0; i < (size_t)engine->options.partitions + 2; i++) {
        rocksdb_column_family_handle_t *family = atomic_load(&engine->families[i]);
        if (family != NULL)
            rocksdb_column_family_handle_destroy(family);
    }
    rocksdb_column_family_handle_destroy(engine->default_family);
    free(engine->families);
}
