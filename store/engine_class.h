/* engine_class.h -- what the two engines share inside store/: the table behind engine.h.
 *
 * An engine is a struct whose first member is `struct engine`.
 */
#ifndef STORE_ENGINE_CLASS_H
#define STORE_ENGINE_CLASS_H

#include "store/engine.h"

struct engine_class {
    const char *name;
    struct store *(*store)(struct engine *engine, uint32_t handle);
    enum err (*create_partitions)(struct engine *engine, const uint32_t *partitions, size_t count);
    void (*close)(struct engine *engine);
    void (*figures)(struct engine *engine, struct engine_figures *ret);
    bool (*log_short)(const struct engine *engine);
};

struct engine {
    const struct engine_class *class;
};

/* Place of a partition in an engine's table of partitions + 2: STORE_META and STORE_HINTS come
 * last. The partition is < partitions or one of those two. */
uint32_t engine_partition_slot(uint32_t partition, uint32_t partitions);

#endif
