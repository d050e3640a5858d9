#include "store/engine_class.h"

struct store *engine_store(struct engine *engine, uint32_t handle)
{
    return engine->class->store(engine, handle);
}

enum err engine_create_partitions(struct engine *engine, const uint32_t *partitions, size_t count)
{
    return engine->class->create_partitions(engine, partitions, count);
}

void engine_close(struct engine *engine)
{
    engine->class->close(engine);
}

void engine_figures(struct engine *engine, struct engine_figures *ret)
{
    engine->class->figures(engine, ret);
}

uint32_t engine_partition_slot(uint32_t partition, uint32_t partitions)
{
    if (partition == STORE_META)
        return partitions;
    if (partition == STORE_HINTS)
        return partitions + 1;
    CHECK_U64(partition, <, partitions);
    return partition;
}

bool engine_log_short(const struct engine *engine)
{
    return engine->class->log_short(engine);
}
