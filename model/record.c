#include "model/record.h"

#include "base/check.h"
#include "base/mutation.h"
#include "model/hash.h"

#define FORMAT         1u
#define CHECKSUM_BYTES 8u
/* What the varints and fixed fields can take at most. */
#define ENTRY_BYTES_MAX   (5u + 8 + 10 + 5)
#define EXTRA_BYTES_MAX   10u
#define VERSION_BYTES_MAX (5u + 10 + 8 + 10 + 1 + 10)

static uint64_t checksum(uint32_t keyspace_id, struct bytes key, struct bytes body)
{
    return hash_bytes(body, hash_key(keyspace_id, key));
}

static size_t encoded_bytes_max(const struct version_set *set)
{
    size_t size = 1 + 5 + 5 + CHECKSUM_BYTES;
    for (uint32_t i = 0; i < set->clock.count; i++)
        size += ENTRY_BYTES_MAX + (size_t)set->clock.entries[i].extra_count * EXTRA_BYTES_MAX;
    for (uint32_t i = 0; i < set->count; i++)
        size += VERSION_BYTES_MAX + set->versions[i].value.size;
    return size;
}

struct bytes record_encode(struct arena *arena, uint32_t keyspace_id, struct bytes key,
                           const struct version_set *set)
{
    struct writer writer;
    writer_init(&writer, arena, encoded_bytes_max(set));
    writer_u8(&writer, FORMAT);
    version_set_encode(&writer, set);
    writer_u64(&writer, checksum(keyspace_id, key, writer_result(&writer)));
    return writer_result(&writer);
}

uint64_t record_checksum(struct bytes record)
{
    CHECK_U64(record.size, >=, 1 + CHECKSUM_BYTES);
    struct reader reader =
        reader_of(bytes_of(record.data + record.size - CHECKSUM_BYTES, CHECKSUM_BYTES));
    return reader_u64(&reader);
}

enum err record_verify(uint32_t keyspace_id, struct bytes key, struct bytes record)
{
    if (record.size < 1 + CHECKSUM_BYTES)
        return ERR_CORRUPT;
    struct bytes body = bytes_of(record.data, record.size - CHECKSUM_BYTES);
    if (record_checksum(record) != checksum(keyspace_id, key, body) && !MUTATE(CHECKSUM_UNCHECKED))
        return ERR_CORRUPT;
    return body.data[0] == FORMAT ? OK : ERR_UNSUPPORTED;
}

enum err record_decode(struct arena *arena, uint32_t keyspace_id, struct bytes key,
                       struct bytes record, struct version_set *ret_set)
{
    enum err err = record_verify(keyspace_id, key, record);
    if (err != OK)
        return err;
    struct reader reader = reader_of(bytes_of(record.data + 1, record.size - 1 - CHECKSUM_BYTES));
    struct version_set set;
    err = version_set_decode(&reader, arena, &set);
    if (err != OK)
        return err;
    if (!reader_done(&reader))
        return ERR_CORRUPT;
    *ret_set = set;
    return OK;
}
