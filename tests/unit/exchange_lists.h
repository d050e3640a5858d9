/* The lists of model/exchange.h behind one face, for tests that do the same with each: random ones,
 * their encoding, their decoding, whether two are equal. */
#ifndef TESTS_UNIT_EXCHANGE_LISTS_H
#define TESTS_UNIT_EXCHANGE_LISTS_H

#include "base/codec.h"
#include "base/prng.h"
#include "model/exchange.h"
#include "model/hash.h"
#include "model/limits.h"

/* What a decoder may take for each byte of its input, and what an arena rounds up to. */
#define LIST_MEMORY_PER_BYTE 12u
#define LIST_MEMORY_BASE     4096u

enum list_kind { LIST_ROOTS, LIST_INDICES, LIST_HASHES, LIST_DIGESTS, LIST_RECORDS, LISTS };

struct list {
    uint32_t kind;
    uint64_t limit; /* of indices; of digests the depth */
    uint32_t count; /* of hashes, which do not say it themselves */
    struct exchange_roots roots;
    struct exchange_indices indices;
    const uint32_t *hashes;
    struct exchange_digests digests;
    struct exchange_records records;
};

static inline struct exchange_roots list_random_roots(struct arena *arena, struct prng *prng)
{
    uint32_t count = (uint32_t)prng_below(prng, 8);
    struct exchange_root *roots = ARENA_NEW(arena, struct exchange_root, count + 1);
    uint32_t id = 0;
    for (uint32_t i = 0; i < count; i++) {
        id += 1 + (uint32_t)prng_below(prng, 1u << prng_below(prng, 28));
        roots[i].keyspace_id = id;
        roots[i].depth = (unsigned)prng_between(prng, MERKLE_DEPTH_MIN, MERKLE_DEPTH_MAX);
        roots[i].floor = prng_below(prng, UINT64_C(1) << prng_below(prng, 63));
        roots[i].reaped = prng_below(prng, roots[i].floor + 1);
        roots[i].node.count = prng_below(prng, UINT64_C(1) << prng_below(prng, 63));
        roots[i].node.sum = roots[i].node.count == 0 ? 0 : prng_u64(prng);
    }
    return (struct exchange_roots){.count = count, .roots = roots};
}

static inline struct exchange_indices list_random_indices(struct arena *arena, struct prng *prng,
                                                          uint64_t limit)
{
    uint32_t *indices = ARENA_NEW(arena, uint32_t, 20);
    uint32_t count = 0;
    uint64_t next = prng_chance(prng, 0.3) ? 0 : prng_below(prng, limit);
    uint64_t wanted = prng_below(prng, 20);
    while (count < wanted && next < limit) {
        indices[count++] = (uint32_t)next;
        next += 1 + (prng_chance(prng, 0.5) ? 0 : prng_below(prng, (limit - next) / 2 + 1));
    }
    if (prng_chance(prng, 0.1) && (count == 0 || indices[count - 1] != limit - 1))
        indices[count++] = (uint32_t)(limit - 1);
    return (struct exchange_indices){.count = count, .indices = indices};
}

static inline struct exchange_digests list_random_digests(struct arena *arena, struct prng *prng,
                                                          unsigned depth)
{
    uint32_t count = (uint32_t)prng_below(prng, 12);
    struct exchange_digest *digests = ARENA_NEW(arena, struct exchange_digest, count + 1);
    for (uint32_t i = 0; i < count; i++) {
        digests[i].place = (uint32_t)prng_below(prng, exchange_places(depth));
        if (i > 0 && prng_chance(prng, 0.3))
            digests[i].place = digests[i - 1].place;
        digests[i].state = (uint32_t)prng_below(prng, UINT64_C(1) << prng_below(prng, 33));
        digests[i].dots = prng_u64(prng) >> prng_below(prng, 64);
    }
    exchange_digests_sort(digests, count);
    return (struct exchange_digests){.count = count, .digests = digests};
}

static inline struct bytes list_random_bytes(struct arena *arena, struct prng *prng, size_t size)
{
    uint8_t *data = arena_alloc(arena, size);
    for (size_t i = 0; i < size; i++)
        data[i] = (uint8_t)prng_u64(prng);
    return bytes_of(data, size);
}

static inline struct exchange_records list_random_records(struct arena *arena, struct prng *prng)
{
    uint32_t count = (uint32_t)prng_below(prng, 6);
    struct exchange_record *records = ARENA_NEW(arena, struct exchange_record, count + 1);
    for (uint32_t i = 0; i < count; i++) {
        records[i].key = list_random_bytes(arena, prng, 1 + prng_below(prng, 20));
        records[i].record = list_random_bytes(arena, prng, prng_below(prng, 180));
    }
    return (struct exchange_records){.count = count, .records = records};
}

static inline struct list list_random(struct arena *arena, struct prng *prng, uint32_t kind)
{
    struct list list = {.kind = kind};
    switch (kind) {
    case LIST_ROOTS:
        list.roots = list_random_roots(arena, prng);
        break;
    case LIST_INDICES:
        list.limit = UINT64_C(1) << prng_below(prng, 33);
        list.indices = list_random_indices(arena, prng, list.limit);
        break;
    case LIST_HASHES:
        list.count = (uint32_t)prng_below(prng, 20);
        list.hashes =
            (const uint32_t *)(const void *)list_random_bytes(arena, prng, 4u * list.count).data;
        break;
    case LIST_DIGESTS:
        list.limit = prng_between(prng, MERKLE_DEPTH_MIN, MERKLE_DEPTH_MAX);
        list.digests = list_random_digests(arena, prng, (unsigned)list.limit);
        break;
    default:
        list.records = list_random_records(arena, prng);
        break;
    }
    return list;
}

static inline struct bytes list_encode(struct arena *arena, const struct list *list)
{
    switch (list->kind) {
    case LIST_ROOTS:
        return exchange_roots_encode(arena, &list->roots);
    case LIST_INDICES:
        return exchange_indices_encode(arena, &list->indices);
    case LIST_HASHES:
        return exchange_hashes_encode(arena, list->hashes, list->count);
    case LIST_DIGESTS:
        return exchange_digests_encode(arena, &list->digests);
    default:
        return exchange_records_encode(arena, &list->records);
    }
}

/* `list` says kind, limit and count. */
static inline enum err list_decode(struct arena *arena, struct bytes bytes, struct list *list)
{
    switch (list->kind) {
    case LIST_ROOTS:
        return exchange_roots_decode(arena, bytes, &list->roots);
    case LIST_INDICES:
        return exchange_indices_decode(arena, bytes, list->limit, &list->indices);
    case LIST_HASHES:
        return exchange_hashes_decode(arena, bytes, list->count, &list->hashes);
    case LIST_DIGESTS:
        return exchange_digests_decode(arena, bytes, (unsigned)list->limit, &list->digests);
    default:
        return exchange_records_decode(arena, bytes, &list->records);
    }
}

static inline bool list_untouched(const struct list *list)
{
    return list->roots.roots == NULL && list->roots.count == 0 && list->indices.indices == NULL &&
           list->indices.count == 0 && list->hashes == NULL && list->digests.digests == NULL &&
           list->digests.count == 0 && list->records.records == NULL && list->records.count == 0;
}

static inline bool list_equal(const struct list *a, const struct list *b)
{
    if (a->roots.count != b->roots.count || a->indices.count != b->indices.count ||
        a->count != b->count || a->digests.count != b->digests.count ||
        a->records.count != b->records.count)
        return false;
    bool equal = true;
    for (uint32_t i = 0; i < a->roots.count; i++) {
        const struct exchange_root *x = &a->roots.roots[i];
        const struct exchange_root *y = &b->roots.roots[i];
        equal &= x->keyspace_id == y->keyspace_id && x->depth == y->depth && x->floor == y->floor &&
                 x->reaped == y->reaped && merkle_node_equal(x->node, y->node);
    }
    for (uint32_t i = 0; i < a->indices.count; i++)
        equal &= a->indices.indices[i] == b->indices.indices[i];
    for (uint32_t i = 0; i < a->count; i++)
        equal &= a->hashes[i] == b->hashes[i];
    for (uint32_t i = 0; i < a->digests.count; i++) {
        const struct exchange_digest *x = &a->digests.digests[i];
        const struct exchange_digest *y = &b->digests.digests[i];
        equal &= x->place == y->place && x->state == y->state && x->dots == y->dots;
    }
    for (uint32_t i = 0; i < a->records.count; i++) {
        equal &= bytes_equal(a->records.records[i].key, b->records.records[i].key);
        equal &= bytes_equal(a->records.records[i].record, b->records.records[i].record);
    }
    return equal;
}

#endif
