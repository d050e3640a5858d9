// link: coterie_model
/* Any bytes: refused, or a valid map whose canonical bytes they are, and that merges with itself.
 */
#include "model/keyspace.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct keyspace_map map;
    if (keyspace_map_decode(&arena, bytes_of(data, size), &map) == OK) {
        CHECK(bytes_equal(keyspace_map_encode(&arena, &map), bytes_of(data, size)));
        struct keyspace_map merged = keyspace_map_merge(&arena, &map, &map);
        CHECK_U64(keyspace_map_digest(&merged), ==, keyspace_map_digest(&map));
    }
    arena_deinit(&arena);
    return 0;
}
