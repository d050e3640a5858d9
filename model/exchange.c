/* All lists but the hashes begin with their count, so that a cut one cannot pass for a shorter one.
 *
 *     roots   = varint count, count x {u32 keyspace id, u8 depth | 0x80 if incomplete, varint
 * floor, varint reaped, varint keys, u64 sum if keys > 0} indices = varint count, count x varint
 * gap; gap = index - previous - 1, the first from 0 hashes  = count x u32 digests = varint count,
 * count x {varint key hash - previous, varint dots, u32 state}; the first from the first hash of
 * the range records = varint count, count x {varint size, key, varint size, record}
 */
#include "model/exchange.h"

#include "base/codec.h"
#include "model/hash.h"
#include "model/limits.h"

#include <stdlib.h>

#define ROOT_BYTES_MIN   8u
#define ROOT_BYTES_MAX   43u
#define DIGEST_BYTES_MIN 6u
#define DIGEST_BYTES     8u /* about what one takes */
#define RECORD_BYTES_MIN 3u /* a key of one byte, no record */
#define HASH_BYTES       4u
#define VARINT_BYTES_MAX 10u
#define INCOMPLETE_BIT   0x80u /* of the depth */

/* A count of items that are `bytes_min` each at least. */
static uint32_t count_decode(struct reader *reader, size_t bytes_min, uint32_t count_max)
{
    size_t fitting = reader_left(reader) / bytes_min;
    return (uint32_t)reader_varint_max(reader, fitting < count_max ? fitting : count_max);
}

static void *items_alloc(struct arena *arena, uint32_t count, size_t size)
{
    return count == 0 ? NULL : arena_alloc(arena, count * size);
}

/* -- roots ---------------------------------------------------------------------------------------
 */

struct bytes exchange_roots_encode(struct arena *arena, const struct exchange_roots *roots)
{
    CHECK_U64(roots->count, <=, KEYSPACES_MAX);
    struct writer writer;
    writer_init(&writer, arena, VARINT_BYTES_MAX + (size_t)roots->count * ROOT_BYTES_MAX);
    writer_varint(&writer, roots->count);
    for (uint32_t i = 0; i < roots->count; i++) {
        const struct exchange_root *root = &roots->roots[i];
        CHECK(i == 0 || roots->roots[i - 1].keyspace_id < root->keyspace_id);
        writer_u32(&writer, root->keyspace_id);
        writer_u8(&writer, (uint8_t)(root->depth | (root->incomplete ? INCOMPLETE_BIT : 0)));
        writer_varint(&writer, root->floor);
        writer_varint(&writer, root->reaped);
        writer_varint(&writer, root->node.count);
        if (root->node.count > 0)
            writer_u64(&writer, root->node.sum);
    }
    return writer_result(&writer);
}

enum err exchange_roots_decode(struct arena *arena, struct bytes bytes,
                               struct exchange_roots *ret_roots)
{
    struct reader reader = reader_of(bytes);
    uint32_t count = count_decode(&reader, ROOT_BYTES_MIN, KEYSPACES_MAX);
    struct exchange_root *roots = items_alloc(arena, count, sizeof *roots);
    for (uint32_t i = 0; i < count; i++) {
        struct exchange_root *root = &roots[i];
        root->keyspace_id = reader_u32(&reader);
        root->depth = reader_u8(&reader);
        root->incomplete = (root->depth & INCOMPLETE_BIT) != 0;
        root->depth &= ~INCOMPLETE_BIT;
        root->floor = reader_varint(&reader);
        root->reaped = reader_varint(&reader);
        root->node.count = reader_varint(&reader);
        root->node.sum = root->node.count == 0 ? 0 : reader_u64(&reader);
        if (reader.failed || root->reaped > root->floor || root->depth < MERKLE_DEPTH_MIN ||
            root->depth > MERKLE_DEPTH_MAX ||
            (i > 0 && roots[i - 1].keyspace_id >= root->keyspace_id))
            return ERR_CORRUPT;
    }
    if (!reader_done(&reader))
        return ERR_CORRUPT;
    *ret_roots = (struct exchange_roots){.count = count, .roots = roots};
    return OK;
}

/* -- indices
 * --------------------------------------------------------------------------------------- */

struct bytes exchange_indices_encode(struct arena *arena, const struct exchange_indices *indices)
{
    struct writer writer;
    writer_init(&writer, arena, VARINT_BYTES_MAX + 2 * (size_t)indices->count);
    writer_varint(&writer, indices->count);
    uint64_t next = 0;
    for (uint32_t i = 0; i < indices->count; i++) {
        CHECK_U64(indices->indices[i], >=, next);
        writer_varint(&writer, indices->indices[i] - next);
        next = (uint64_t)indices->indices[i] + 1;
    }
    return writer_result(&writer);
}

enum err exchange_indices_decode(struct arena *arena, struct bytes bytes, uint64_t limit,
                                 struct exchange_indices *ret_indices)
{
    struct reader reader = reader_of(bytes);
    uint32_t count = count_decode(&reader, 1, limit < UINT32_MAX ? (uint32_t)limit : UINT32_MAX);
    uint32_t *indices = items_alloc(arena, count, sizeof *indices);
    uint64_t next = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t gap = reader_varint_max(&reader, limit);
        if (reader.failed || next + gap >= limit)
            return ERR_CORRUPT;
        indices[i] = (uint32_t)(next + gap);
        next += gap + 1;
    }
    if (!reader_done(&reader))
        return ERR_CORRUPT;
    *ret_indices = (struct exchange_indices){.count = count, .indices = indices};
    return OK;
}

/* -- hashes
 * ---------------------------------------------------------------------------------------- */

struct bytes exchange_hashes_encode(struct arena *arena, const uint32_t *hashes, uint32_t count)
{
    struct writer writer;
    writer_init(&writer, arena, (size_t)count * HASH_BYTES);
    for (uint32_t i = 0; i < count; i++)
        writer_u32(&writer, hashes[i]);
    return writer_result(&writer);
}

enum err exchange_hashes_decode(struct arena *arena, struct bytes bytes, uint32_t count,
                                const uint32_t **ret_hashes)
{
    if (bytes.size != (size_t)count * HASH_BYTES)
        return ERR_CORRUPT;
    struct reader reader = reader_of(bytes);
    uint32_t *hashes = items_alloc(arena, count, sizeof *hashes);
    for (uint32_t i = 0; i < count; i++)
        hashes[i] = reader_u32(&reader);
    *ret_hashes = hashes;
    return OK;
}

/* -- digests
 * --------------------------------------------------------------------------------------- */

static_assert(MERKLE_DEPTH_MAX + EXCHANGE_PLACE_BITS <= 32, "a place is 32 bits");

uint32_t exchange_place(uint32_t partitions, unsigned depth, uint64_t key_hash)
{
    return merkle_index(partitions, depth + EXCHANGE_PLACE_BITS, key_hash);
}

uint64_t exchange_places(unsigned depth)
{
    CHECK_U64(depth, <=, MERKLE_DEPTH_MAX);
    return (uint64_t)1 << (depth + EXCHANGE_PLACE_BITS);
}

struct merkle_range exchange_place_range(uint32_t partition, uint32_t partitions, unsigned depth,
                                         uint32_t place)
{
    return merkle_range(partition, partitions, depth + EXCHANGE_PLACE_BITS, place);
}

uint32_t exchange_state(uint64_t checksum, uint64_t salt)
{
    return (uint32_t)(hash_mix(hash_mix(salt) + checksum) >> 32);
}

static int u64_compare(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

static int contents_compare(const struct exchange_digest *a, const struct exchange_digest *b)
{
    return a->state != b->state ? u64_compare(a->state, b->state) : u64_compare(a->dots, b->dots);
}

static int digest_compare(const void *a_pointer, const void *b_pointer)
{
    const struct exchange_digest *a = a_pointer;
    const struct exchange_digest *b = b_pointer;
    return a->place != b->place ? u64_compare(a->place, b->place) : contents_compare(a, b);
}

void exchange_digests_sort(struct exchange_digest *digests, uint32_t count)
{
    if (count > 1)
        qsort(digests, count, sizeof *digests, digest_compare);
}

struct bytes exchange_digests_encode(struct arena *arena, const struct exchange_digests *digests)
{
    struct writer writer;
    writer_init(&writer, arena, VARINT_BYTES_MAX + (size_t)digests->count * DIGEST_BYTES);
    writer_varint(&writer, digests->count);
    uint32_t previous = 0;
    for (uint32_t i = 0; i < digests->count; i++) {
        const struct exchange_digest *digest = &digests->digests[i];
        CHECK(i == 0 || digest_compare(digest - 1, digest) <= 0);
        writer_varint(&writer, digest->place - previous);
        writer_varint(&writer, digest->dots);
        writer_u32(&writer, digest->state);
        previous = digest->place;
    }
    return writer_result(&writer);
}

enum err exchange_digests_decode(struct arena *arena, struct bytes bytes, unsigned depth,
                                 struct exchange_digests *ret_digests)
{
    uint64_t last = exchange_places(depth) - 1;
    struct reader reader = reader_of(bytes);
    uint32_t count = count_decode(&reader, DIGEST_BYTES_MIN, UINT32_MAX);
    struct exchange_digest *digests = items_alloc(arena, count, sizeof *digests);
    uint64_t place = 0;
    for (uint32_t i = 0; i < count; i++) {
        place += reader_varint_max(&reader, last - place);
        digests[i].place = (uint32_t)place;
        digests[i].dots = reader_varint(&reader);
        digests[i].state = reader_u32(&reader);
        if (reader.failed || (i > 0 && digest_compare(&digests[i - 1], &digests[i]) > 0))
            return ERR_CORRUPT;
    }
    if (!reader_done(&reader))
        return ERR_CORRUPT;
    *ret_digests = (struct exchange_digests){.count = count, .digests = digests};
    return OK;
}

/* -- the difference of two lists
 * ------------------------------------------------------------------- */

struct differ {
    const struct exchange_digest *mine;
    const struct exchange_digest *theirs;
    uint32_t *send;
    uint32_t *want;
    uint32_t *left_mine; /* of one place, what the other side does not hold as it is */
    uint32_t *left_theirs;
    struct exchange_diff diff;
};

static void add_send(struct differ *differ, uint32_t index)
{
    differ->send[differ->diff.send.count++] = index;
}

/* All of one place are asked for at once. */
static void add_want(struct differ *differ, uint32_t index)
{
    uint32_t place = differ->theirs[index].place;
    uint32_t count = differ->diff.want.count;
    if (count == 0 || differ->want[count - 1] != place)
        differ->want[differ->diff.want.count++] = place;
}

/* mine[i..i_end) and theirs[j..j_end) share one place. */
static void diff_group(struct differ *differ, uint32_t i, uint32_t i_end, uint32_t j,
                       uint32_t j_end)
{
    uint32_t mine = 0;
    uint32_t theirs = 0;
    while (i < i_end || j < j_end) {
        int order = i == i_end   ? 1
                    : j == j_end ? -1
                                 : contents_compare(&differ->mine[i], &differ->theirs[j]);
        if (order < 0) {
            differ->left_mine[mine++] = i++;
        } else if (order > 0) {
            differ->left_theirs[theirs++] = j++;
        } else {
            i++;
            j++;
        }
    }
    uint32_t pairs = mine < theirs ? mine : theirs;
    for (uint32_t k = 0; k < pairs; k++) {
        uint32_t my_index = differ->left_mine[k];
        uint32_t their_index = differ->left_theirs[k];
        if (differ->mine[my_index].dots >= differ->theirs[their_index].dots)
            add_send(differ, my_index);
        else
            add_want(differ, their_index);
    }
    for (uint32_t k = pairs; k < mine; k++)
        add_send(differ, differ->left_mine[k]);
    for (uint32_t k = pairs; k < theirs; k++)
        add_want(differ, differ->left_theirs[k]);
    differ->diff.different += pairs;
    differ->diff.only_mine += mine - pairs;
    differ->diff.only_theirs += theirs - pairs;
}

/* The end of the run of digests with the place. */
static uint32_t group_end(const struct exchange_digests *list, uint32_t from, uint32_t place)
{
    while (from < list->count && list->digests[from].place == place)
        from++;
    return from;
}

struct exchange_diff exchange_digests_diff(struct arena *arena, const struct exchange_digests *mine,
                                           const struct exchange_digests *theirs)
{
    struct differ differ = {
        .mine = mine->digests,
        .theirs = theirs->digests,
        .send = arena_alloc(arena, mine->count * sizeof *differ.send),
        .want = arena_alloc(arena, theirs->count * sizeof *differ.want),
        .left_mine = arena_alloc(arena, mine->count * sizeof *differ.left_mine),
        .left_theirs = arena_alloc(arena, theirs->count * sizeof *differ.left_theirs),
    };
    uint32_t i = 0;
    uint32_t j = 0;
    while (i < mine->count || j < theirs->count) {
        uint32_t place = i < mine->count ? mine->digests[i].place : UINT32_MAX;
        if (j < theirs->count && theirs->digests[j].place < place)
            place = theirs->digests[j].place;
        uint32_t i_end = group_end(mine, i, place);
        uint32_t j_end = group_end(theirs, j, place);
        diff_group(&differ, i, i_end, j, j_end);
        i = i_end;
        j = j_end;
    }
    differ.diff.send.indices = differ.send;
    differ.diff.want.indices = differ.want;
    return differ.diff;
}

/* -- records
 * --------------------------------------------------------------------------------------- */

static size_t varint_bytes(uint64_t value)
{
    size_t size = 1;
    while (value >= 128) {
        value >>= 7;
        size++;
    }
    return size;
}

size_t exchange_record_bytes(const struct exchange_record *record)
{
    return varint_bytes(record->key.size) + record->key.size + varint_bytes(record->record.size) +
           record->record.size;
}

struct bytes exchange_records_encode(struct arena *arena, const struct exchange_records *records)
{
    size_t size = VARINT_BYTES_MAX;
    for (uint32_t i = 0; i < records->count; i++)
        size += exchange_record_bytes(&records->records[i]);
    struct writer writer;
    writer_init(&writer, arena, size);
    writer_varint(&writer, records->count);
    for (uint32_t i = 0; i < records->count; i++) {
        const struct exchange_record *record = &records->records[i];
        CHECK_U64(record->key.size, >, 0);
        CHECK_U64(record->key.size, <=, KEY_BYTES_MAX);
        writer_sized_bytes(&writer, record->key);
        writer_sized_bytes(&writer, record->record);
    }
    return writer_result(&writer);
}

enum err exchange_records_decode(struct arena *arena, struct bytes bytes,
                                 struct exchange_records *ret_records)
{
    struct reader reader = reader_of(bytes);
    uint32_t count = count_decode(&reader, RECORD_BYTES_MIN, UINT32_MAX);
    struct exchange_record *records = items_alloc(arena, count, sizeof *records);
    for (uint32_t i = 0; i < count; i++) {
        records[i].key = reader_sized_bytes(&reader, KEY_BYTES_MAX);
        records[i].record = reader_sized_bytes(&reader, SIZE_MAX);
        if (reader.failed || records[i].key.size == 0)
            return ERR_CORRUPT;
    }
    if (!reader_done(&reader))
        return ERR_CORRUPT;
    *ret_records = (struct exchange_records){.count = count, .records = records};
    return OK;
}
