// link: coterie_model
/* Anti-entropy's lists come from peers. The first byte says which list, the second what bounds it;
 * what is taken is canonical, takes memory in proportion, and can be compared. */
#include "tests/fuzz/fuzz.h"

#include "base/check.h"
#include "tests/unit/exchange_lists.h"

static void bounds_of(struct list *list, uint8_t byte)
{
    if (list->kind == LIST_INDICES)
        list->limit = UINT64_C(1) << byte % 33;
    else if (list->kind == LIST_DIGESTS)
        list->limit = MERKLE_DEPTH_MIN + byte % (MERKLE_DEPTH_MAX - MERKLE_DEPTH_MIN + 1);
    else if (list->kind == LIST_HASHES)
        list->count = byte;
}

/* The front half against the back half, as if two sides had sent them. */
static void diff_halves(struct arena *arena, const struct exchange_digests *all)
{
    uint32_t half = all->count / 2;
    struct exchange_digests mine = {.count = half, .digests = all->digests};
    struct exchange_digests theirs = {.count = all->count - half, .digests = all->digests + half};
    struct exchange_diff diff = exchange_digests_diff(arena, &mine, &theirs);
    CHECK_U64(diff.send.count, <=, mine.count);
    CHECK_U64(diff.want.count, <=, theirs.count);
    CHECK_U64(diff.send.count, <=, diff.only_mine + diff.different);
    exchange_indices_encode(arena, &diff.send); /* checks that they ascend */
    exchange_indices_encode(arena, &diff.want);
    struct exchange_diff none = exchange_digests_diff(arena, all, all);
    CHECK(none.send.count == 0 && none.want.count == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct bytes bytes = bytes_of(data + 2, size - 2);
    struct list list = {.kind = data[0] % LISTS};
    bounds_of(&list, data[1]);
    struct arena arena;
    arena_init(&arena, NULL, 0);
    enum err err = list_decode(&arena, bytes, &list);
    CHECK_U64(arena.chunk_bytes, <=, LIST_MEMORY_BASE + LIST_MEMORY_PER_BYTE * size);
    if (err == OK) {
        CHECK(bytes_equal(bytes, list_encode(&arena, &list)));
        if (list.kind == LIST_DIGESTS)
            diff_halves(&arena, &list.digests);
    } else {
        CHECK(err == ERR_CORRUPT && list_untouched(&list));
    }
    arena_deinit(&arena);
    return 0;
}

size_t fuzz_seed(uint64_t index, uint8_t *ret, size_t size_max)
{
    struct prng prng;
    prng_init(&prng, index, 1);
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct list list = list_random(&arena, &prng, (uint32_t)(index % LISTS));
    struct bytes bytes = list_encode(&arena, &list);
    CHECK_U64(bytes.size + 2, <=, size_max);
    ret[0] = (uint8_t)list.kind;
    ret[1] = 0;
    if (list.kind == LIST_INDICES)
        ret[1] = (uint8_t)__builtin_ctzll(list.limit);
    else if (list.kind == LIST_DIGESTS)
        ret[1] = (uint8_t)(list.limit - MERKLE_DEPTH_MIN);
    else if (list.kind == LIST_HASHES)
        ret[1] = (uint8_t)list.count;
    if (bytes.size > 0)
        memcpy(ret + 2, bytes.data, bytes.size);
    arena_deinit(&arena);
    return bytes.size + 2;
}
