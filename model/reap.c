#include "model/reap.h"

#include "model/hlc.h"

bool reap_is_dead(const struct version_set *set, uint64_t older_than_ms, uint64_t wall_ms)
{
    for (uint32_t i = 0; i < set->count; i++) {
        const struct version *version = &set->versions[i];
        if (version_is_live(version, wall_ms) || hlc_wall_ms(version->written_at) >= older_than_ms)
            return false;
        if ((version->flags & VERSION_TOMBSTONE) == 0 && version->expires_at_ms >= older_than_ms)
            return false;
    }
    return true;
}

static bool digest_before(const struct reap_digest *a, const struct reap_digest *b)
{
    return a->key_hash != b->key_hash ? a->key_hash < b->key_hash : a->checksum < b->checksum;
}

struct bytes reap_list_encode(struct arena *arena, const struct reap_list *list)
{
    struct writer writer;
    writer_init(&writer, arena, 16u * list->count);
    for (uint32_t i = 0; i < list->count; i++) {
        CHECK(i == 0 || digest_before(&list->digests[i - 1], &list->digests[i]));
        writer_u64(&writer, list->digests[i].key_hash);
        writer_u64(&writer, list->digests[i].checksum);
    }
    return writer_result(&writer);
}

enum err reap_list_decode(struct bytes bytes, struct reap_list *ret_list)
{
    struct reader reader = reader_of(bytes);
    if (bytes.size % 16 != 0 || bytes.size / 16 > REAP_BATCH_MAX)
        return ERR_CORRUPT;
    for (uint32_t i = 0; i < bytes.size / 16; i++) {
        struct reap_digest digest = {.key_hash = reader_u64(&reader)};
        digest.checksum = reader_u64(&reader);
        if (i != 0 && !digest_before(&ret_list->digests[i - 1], &digest))
            return ERR_CORRUPT;
        ret_list->digests[i] = digest;
    }
    ret_list->count = (uint32_t)(bytes.size / 16);
    return OK;
}

size_t reap_bits_bytes(uint32_t count)
{
    return ((size_t)count + 7) / 8;
}

void reap_bits_set(struct reap_bits *bits, uint32_t index)
{
    CHECK_U64(index, <, REAP_BATCH_MAX);
    bits->bytes[index / 8] |= (uint8_t)(1u << index % 8);
}

static bool bits_get(const struct reap_bits *bits, uint32_t index)
{
    CHECK_U64(index, <, REAP_BATCH_MAX);
    return (bits->bytes[index / 8] & 1u << index % 8) != 0;
}

enum err reap_bits_and(struct reap_bits *bits, struct bytes bytes, uint32_t count)
{
    if (bytes.size != reap_bits_bytes(count))
        return ERR_CORRUPT;
    for (size_t i = 0; i < bytes.size; i++)
        bits->bytes[i] &= bytes.data[i];
    return OK;
}

void reap_list_keep(struct reap_list *list, const struct reap_bits *bits)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < list->count; i++) {
        if (bits_get(bits, i))
            list->digests[kept++] = list->digests[i];
    }
    list->count = kept;
}
