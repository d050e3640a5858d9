// link: coterie_model
/* Any bytes: refused, or a valid document whose canonical bytes they are. */
#include "model/topology.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct topology topology;
    if (topology_decode(&arena, bytes_of(data, size), &topology) == OK) {
        CHECK(topology_valid(&topology));
        CHECK(bytes_equal(topology_encode(&arena, &topology), bytes_of(data, size)));
        /* What a node would ask of it next. */
        for (uint32_t i = 0; i < topology.member_count; i++)
            CHECK(topology_member(&topology, topology.members[i].number) == &topology.members[i]);
    }
    arena_deinit(&arena);
    return 0;
}
