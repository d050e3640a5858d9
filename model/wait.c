#include "model/wait.h"

#include "base/check.h"
#include "base/codec.h"

#include <string.h>

void waits_add(struct waits *waits, const struct wait *wait)
{
    for (uint32_t i = 0; i < waits->count; i++) {
        struct wait *found = &waits->list[i];
        if (found->cause != wait->cause || found->keyspace_id != wait->keyspace_id ||
            found->member != wait->member)
            continue;
        found->count += wait->count;
        if (wait->partition < found->partition)
            found->partition = wait->partition;
        if (wait->since_ms != 0 && (found->since_ms == 0 || wait->since_ms < found->since_ms))
            found->since_ms = wait->since_ms;
        return;
    }
    if (waits->count == WAITS_MAX)
        waits->left_out++;
    else
        waits->list[waits->count++] = *wait;
}

struct bytes waits_encode(struct arena *arena, const struct waits *waits)
{
    struct writer writer;
    writer_init(&writer, arena, 16 * (size_t)waits->count + 4);
    writer_varint(&writer, waits->count);
    writer_varint(&writer, waits->left_out);
    for (uint32_t i = 0; i < waits->count; i++) {
        const struct wait *wait = &waits->list[i];
        size_t why_size = wait->why == NULL ? 0 : strnlen(wait->why, WAIT_WHY_BYTES_MAX);
        writer_varint(&writer, wait->cause);
        writer_varint(&writer, wait->keyspace_id);
        writer_varint(&writer, wait->member);
        writer_varint(&writer, wait->partition);
        writer_varint(&writer, wait->count);
        writer_varint(&writer, wait->since_ms);
        writer_sized_bytes(&writer, bytes_of(wait->why, why_size));
    }
    return writer_result(&writer);
}

/* It is shown to people: printable ASCII alone. */
static const char *why_read(struct arena *arena, struct bytes bytes)
{
    if (bytes.size == 0)
        return NULL;
    char *text = arena_string(arena, bytes);
    for (size_t i = 0; i < bytes.size; i++) {
        if (text[i] < ' ' || text[i] > '~')
            text[i] = '?';
    }
    return text;
}

enum err waits_decode(struct arena *arena, struct bytes bytes, struct waits *ret_waits)
{
    struct waits waits = {0};
    struct reader reader = reader_of(bytes);
    uint32_t count = (uint32_t)reader_varint_max(&reader, WAITS_MAX);
    waits.left_out = (uint32_t)reader_varint_max(&reader, UINT32_MAX / 2);
    for (uint32_t i = 0; i < count && !reader.failed; i++) {
        struct wait *wait = &waits.list[waits.count];
        uint32_t cause = (uint32_t)reader_varint_max(&reader, UINT32_MAX);
        wait->keyspace_id = (uint32_t)reader_varint_max(&reader, UINT32_MAX);
        wait->member = (uint32_t)reader_varint_max(&reader, UINT32_MAX);
        wait->partition = (uint32_t)reader_varint_max(&reader, UINT32_MAX);
        wait->count = (uint32_t)reader_varint_max(&reader, UINT32_MAX / 2);
        wait->since_ms = reader_varint(&reader);
        wait->why = why_read(arena, reader_sized_bytes(&reader, WAIT_WHY_BYTES_MAX));
        bool known = cause != 0 && cause < WAIT_CAUSE_COUNT;
        wait->cause = (enum wait_cause)(known ? cause : 0);
        waits.count += known;
        waits.left_out += !known;
    }
    if (!reader_done(&reader))
        return ERR_CORRUPT;
    *ret_waits = waits;
    return OK;
}
