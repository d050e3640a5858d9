/* topology_operating.h -- one operation on a copy of a topology document, while it is worked out.
 *
 * topology_change.c has the operations on the change as a whole, topology_staging.c those that
 * stage a part of one. Each of them works on `after`, or says that it is the same already.
 */
#ifndef MODEL_TOPOLOGY_OPERATING_H
#define MODEL_TOPOLOGY_OPERATING_H

#include "model/topology_change.h"

struct operating {
    struct arena *arena;
    const struct topology *before;
    const struct keyspace_map *keyspaces;
    const struct topology_operation *operation;
    struct topology after; /* epoch + 1 */
    bool same;             /* it says already what was asked for */
    uint32_t number;
    const char *why;
};

enum err topology_refused(struct operating *operating, enum err err, const char *why) MUST_USE;

enum err topology_join(struct operating *operating) MUST_USE;
enum err topology_leave(struct operating *operating) MUST_USE;
enum err topology_place(struct operating *operating) MUST_USE;
enum err topology_address(struct operating *operating) MUST_USE;
enum err topology_replicate(struct operating *operating) MUST_USE;

#endif
