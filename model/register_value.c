#include "model/register_value.h"

#include "base/codec.h"
#include "base/mutation.h"

#define FORMAT     1u
#define FLAG_FOUND 1u

bool register_value_expired(const struct register_value *value, uint64_t wall_ms)
{
    return value->found && value->expires_at_ms != 0 && value->expires_at_ms <= wall_ms;
}

static bool condition_holds(const struct register_value *value,
                            const struct register_change *change)
{
    switch (change->condition) {
    case REGISTER_ALWAYS:
        return true;
    case REGISTER_IF_VALUE:
        return value->found && bytes_equal(value->value, change->expected);
    case REGISTER_IF_VERSION:
        return value->version == change->expected_version;
    case REGISTER_IF_ABSENT:
        return !value->found;
    }
    return false;
}

static void change_remember(struct register_value *value, const uint8_t *id)
{
    if (value->change_count == REGISTER_CHANGES_KEPT) {
        value->change_count--;
        memmove(&value->changes[0], &value->changes[1],
                value->change_count * sizeof value->changes[0]);
    }
    struct register_past *past = &value->changes[value->change_count++];
    memcpy(past->id, id, sizeof past->id);
    past->version = value->version;
}

struct register_outcome register_change_apply(const struct register_value *from,
                                              const struct register_change *change,
                                              uint64_t wall_ms, struct register_value *ret_to)
{
    struct register_value *to = ret_to;
    *to = *from;
    if (register_value_expired(to, wall_ms)) {
        to->version++;
        to->found = false;
        to->value = (struct bytes){0};
        to->expires_at_ms = 0;
    }
    if (change->read)
        return (struct register_outcome){.version = to->version};
    for (uint32_t i = 0; i < to->change_count && !MUTATE(REGISTER_ID_FORGOTTEN); i++) {
        if (memcmp(to->changes[i].id, change->id, sizeof change->id) == 0)
            return (struct register_outcome){.repeated = true, .version = to->changes[i].version};
    }
    if (!condition_holds(to, change))
        return (struct register_outcome){.refused = true, .version = to->version};
    to->version++;
    to->found = !change->remove;
    to->value = change->remove ? (struct bytes){0} : change->value;
    to->expires_at_ms = change->remove ? 0 : change->expires_at_ms;
    change_remember(to, change->id);
    return (struct register_outcome){.applied = true, .version = to->version};
}

struct bytes register_value_encode(struct arena *arena, const struct register_value *value)
{
    struct writer writer;
    writer_init(&writer, arena,
                32 + value->change_count * sizeof value->changes[0] + value->value.size);
    writer_u8(&writer, FORMAT);
    writer_u8(&writer, value->found ? FLAG_FOUND : 0);
    writer_varint(&writer, value->version);
    writer_varint(&writer, value->expires_at_ms);
    writer_varint(&writer, value->change_count);
    for (uint32_t i = 0; i < value->change_count; i++) {
        writer_bytes(&writer, bytes_of(value->changes[i].id, REGISTER_CHANGE_ID_BYTES));
        writer_varint(&writer, value->changes[i].version);
    }
    writer_bytes(&writer, value->value);
    return writer_result(&writer);
}

enum err register_value_decode(struct bytes bytes, struct register_value *ret_value)
{
    struct register_value value = {0};
    if (bytes.size == 0) {
        *ret_value = value;
        return OK;
    }
    struct reader reader = reader_of(bytes);
    uint8_t format = reader_u8(&reader);
    uint8_t flags = reader_u8(&reader);
    value.version = reader_varint(&reader);
    value.expires_at_ms = reader_varint(&reader);
    value.change_count = (uint32_t)reader_varint_max(&reader, REGISTER_CHANGES_KEPT);
    for (uint32_t i = 0; i < value.change_count && i < REGISTER_CHANGES_KEPT; i++) {
        struct bytes id = reader_bytes(&reader, REGISTER_CHANGE_ID_BYTES);
        if (id.size != REGISTER_CHANGE_ID_BYTES)
            return ERR_CORRUPT;
        memcpy(value.changes[i].id, id.data, id.size);
        value.changes[i].version = reader_varint(&reader);
    }
    value.found = flags == FLAG_FOUND;
    value.value = reader_bytes(&reader, reader_left(&reader));
    if (!reader_done(&reader) || format != FORMAT || flags > FLAG_FOUND ||
        (!value.found && (value.value.size != 0 || value.expires_at_ms != 0)))
        return ERR_CORRUPT;
    *ret_value = value;
    return OK;
}
