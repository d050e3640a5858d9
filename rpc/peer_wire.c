#include "rpc/peer_wire.h"

#include "base/check.h"
#include "rpc/peer_codec.h"

#define WIRE_FIXED64 1u
#define WIRE_FIXED32 5u

/* -- writing
 * ------------------------------------------------------------------------------------------- */

size_t wire_varint_size(uint64_t value)
{
    return (size_t)(63 - __builtin_clzll(value | 1)) / 7 + 1;
}

uint8_t *wire_varint_write(uint8_t *at, uint64_t value)
{
    while (value >= 128) {
        *at++ = (uint8_t)(value | 128u);
        value >>= 7;
    }
    *at++ = (uint8_t)value;
    return at;
}

uint8_t *wire_tag_write(uint8_t *at, uint32_t number, uint32_t wire)
{
    return wire_varint_write(at, number << 3 | wire);
}

static uint8_t *sized_write(uint8_t *at, uint32_t number, struct bytes bytes)
{
    at = wire_varint_write(wire_tag_write(at, number, WIRE_SIZED), bytes.size);
    if (bytes.size != 0)
        memcpy(at, bytes.data, bytes.size);
    return at + bytes.size;
}

size_t wire_sized_size(uint32_t number, size_t size)
{
    return wire_varint_size(number << 3) + wire_varint_size(size) + size;
}

/* Cut at PEER_WHY_BYTES_MAX, between characters of UTF-8. */
static struct bytes text_bytes(const char *text)
{
    if (text == NULL)
        return (struct bytes){0};
    size_t size = strnlen(text, PEER_WHY_BYTES_MAX + 1);
    if (size > PEER_WHY_BYTES_MAX) {
        size = PEER_WHY_BYTES_MAX;
        while (size > 0 && ((uint8_t)text[size] & 0xc0u) == 0x80u)
            size--;
    }
    return bytes_of(text, size);
}

static uint64_t scalar_of(const struct field *field, const uint8_t *base)
{
    const void *at = base + field->offset;
    if (field->type == FIELD_U32)
        return *(const uint32_t *)at;
    if (field->type == FIELD_U64)
        return *(const uint64_t *)at;
    return *(const bool *)at;
}

static struct bytes bytes_of_field(const struct field *field, const uint8_t *base)
{
    const void *at = base + field->offset;
    if (field->type == FIELD_BYTES)
        return *(const struct bytes *)at;
    if (field->type == FIELD_TEXT)
        return text_bytes(*(const char *const *)at);
    return bytes_of(at, field->min == field->max ? field->max : strnlen(at, field->max));
}

static uint32_t count_of(const struct field *field, const uint8_t *base)
{
    const void *at = base + field->count_offset;
    return field->type == FIELD_MEMBERS ? *(const uint8_t *)at : *(const uint32_t *)at;
}

static const struct gossip_heartbeat *heartbeats_of(const struct field *field, const uint8_t *base)
{
    return *(const struct gossip_heartbeat *const *)(const void *)(base + field->offset);
}

static size_t members_size(const struct field *field, const uint8_t *base)
{
    const uint32_t *members = (const void *)(base + field->offset);
    size_t size = 0;
    for (uint32_t i = 0; i < count_of(field, base); i++)
        size += wire_varint_size(members[i]);
    return size;
}

size_t wire_layout_size(const struct layout *layout, const void *owner)
{
    const uint8_t *base = owner;
    size_t size = 0;
    for (uint32_t i = 0; i < layout->count; i++) {
        const struct field *field = &layout->fields[i];
        size_t inner = 0;
        switch (field->type) {
        case FIELD_U32:
        case FIELD_U64:
        case FIELD_BOOL: {
            uint64_t value = scalar_of(field, base);
            size += value == 0 ? 0 : wire_varint_size((i + 1) << 3) + wire_varint_size(value);
            continue;
        }
        case FIELD_BYTES:
        case FIELD_TEXT:
        case FIELD_ARRAY:
            inner = bytes_of_field(field, base).size;
            break;
        case FIELD_MEMBERS:
            inner = members_size(field, base);
            break;
        case FIELD_STRUCT:
            inner = wire_layout_size(field->inner, base + field->offset);
            break;
        case FIELD_HEARTBEATS:
            for (uint32_t k = 0; k < count_of(field, base); k++)
                size += wire_sized_size(
                    i + 1, wire_layout_size(field->inner, &heartbeats_of(field, base)[k]));
            continue;
        }
        size += inner == 0 ? 0 : wire_sized_size(i + 1, inner);
    }
    return size;
}

uint8_t *wire_inner_write(uint8_t *at, uint32_t number, size_t size, const struct layout *layout,
                          const void *base)
{
    at = wire_varint_write(wire_tag_write(at, number, WIRE_SIZED), size);
    return wire_layout_write(at, layout, base);
}

static uint8_t *field_write(uint8_t *at, uint32_t number, const struct field *field,
                            const uint8_t *base)
{
    size_t size;
    switch (field->type) {
    case FIELD_U32:
    case FIELD_U64:
    case FIELD_BOOL: {
        uint64_t value = scalar_of(field, base);
        return value == 0 ? at : wire_varint_write(wire_tag_write(at, number, WIRE_VARINT), value);
    }
    case FIELD_BYTES:
    case FIELD_TEXT:
    case FIELD_ARRAY: {
        struct bytes bytes = bytes_of_field(field, base);
        return bytes.size == 0 ? at : sized_write(at, number, bytes);
    }
    case FIELD_MEMBERS:
        size = members_size(field, base);
        if (size == 0)
            return at;
        at = wire_varint_write(wire_tag_write(at, number, WIRE_SIZED), size);
        for (uint32_t i = 0; i < count_of(field, base); i++)
            at = wire_varint_write(at, ((const uint32_t *)(const void *)(base + field->offset))[i]);
        return at;
    case FIELD_STRUCT:
        size = wire_layout_size(field->inner, base + field->offset);
        return size == 0 ? at
                         : wire_inner_write(at, number, size, field->inner, base + field->offset);
    case FIELD_HEARTBEATS:
        for (uint32_t i = 0; i < count_of(field, base); i++) {
            const void *heartbeat = &heartbeats_of(field, base)[i];
            at = wire_inner_write(at, number, wire_layout_size(field->inner, heartbeat),
                                  field->inner, heartbeat);
        }
        return at;
    }
    UNREACHABLE("field type");
}

uint8_t *wire_layout_write(uint8_t *at, const struct layout *layout, const void *owner)
{
    for (uint32_t i = 0; i < layout->count; i++)
        at = field_write(at, i + 1, &layout->fields[i], owner);
    return at;
}

/* What a struct may hold on the wire, on its way out and after it was read. */
bool wire_layout_valid(const struct layout *layout, const void *owner)
{
    const uint8_t *base = owner;
    for (uint32_t i = 0; i < layout->count; i++) {
        const struct field *field = &layout->fields[i];
        uint64_t value = 0;
        switch (field->type) {
        case FIELD_U32:
        case FIELD_U64:
        case FIELD_BOOL:
            value = scalar_of(field, base);
            break;
        case FIELD_BYTES:
        case FIELD_TEXT:
        case FIELD_ARRAY:
            value = bytes_of_field(field, base).size;
            break;
        case FIELD_MEMBERS:
        case FIELD_HEARTBEATS:
            value = count_of(field, base);
            break;
        case FIELD_STRUCT:
            if (!wire_layout_valid(field->inner, base + field->offset))
                return false;
            continue;
        }
        if (value < field->min || value > field->max)
            return false;
        if (field->type == FIELD_HEARTBEATS)
            for (uint32_t k = 0; k < value; k++)
                if (!wire_layout_valid(field->inner, &heartbeats_of(field, base)[k]))
                    return false;
    }
    return true;
}

/* -- reading
 * ------------------------------------------------------------------------------------------- */

void wire_skip(struct reader *reader, uint32_t wire)
{
    if (wire == WIRE_VARINT)
        reader_varint(reader);
    else if (wire == WIRE_SIZED)
        reader_sized_bytes(reader, reader_left(reader));
    else if (wire == WIRE_FIXED64)
        reader_u64(reader);
    else if (wire == WIRE_FIXED32)
        reader_u32(reader);
    else
        reader->failed = true;
}

uint32_t wire_tag_read(struct reader *reader, uint32_t *ret_wire)
{
    uint32_t tag = (uint32_t)reader_varint_max(reader, UINT32_MAX);
    *ret_wire = tag & 7u;
    if (tag >> 3 == 0)
        reader->failed = true;
    return tag >> 3;
}

/* Sentences end up in logs and in statuses of clients: printable ASCII only. */
static char *text_read(struct arena *arena, struct bytes bytes)
{
    char *text = arena_string(arena, bytes);
    for (size_t i = 0; i < bytes.size; i++)
        if (text[i] < 0x20 || text[i] > 0x7e)
            text[i] = '?';
    return text;
}

static bool member_read(const struct field *field, uint8_t *base, uint64_t value)
{
    uint8_t *count = base + field->count_offset;
    if (*count >= field->max || value > UINT32_MAX)
        return false;
    ((uint32_t *)(void *)(base + field->offset))[(*count)++] = (uint32_t)value;
    return true;
}

static bool members_read(const struct field *field, uint8_t *base, struct bytes packed)
{
    struct reader reader = reader_of(packed);
    while (reader_left(&reader) != 0)
        if (!member_read(field, base, reader_varint(&reader)))
            return false;
    return reader_done(&reader);
}

static bool heartbeat_read(const struct field *field, uint8_t *base, struct bytes bytes,
                           struct arena *arena)
{
    uint32_t *count = (void *)(base + field->count_offset);
    struct gossip_heartbeat **heartbeats = (void *)(base + field->offset);
    if (*count >= field->max)
        return false;
    if (*heartbeats == NULL)
        *heartbeats = ARENA_NEW(arena, struct gossip_heartbeat, field->max);
    return wire_layout_read(field->inner, &(*heartbeats)[(*count)++], bytes, arena);
}

static bool scalar_read(const struct field *field, uint8_t *base, uint64_t value)
{
    void *at = base + field->offset;
    if (field->type == FIELD_MEMBERS)
        return member_read(field, base, value);
    if (value > field->max)
        return false;
    if (field->type == FIELD_U32)
        *(uint32_t *)at = (uint32_t)value;
    else if (field->type == FIELD_U64)
        *(uint64_t *)at = value;
    else if (field->type == FIELD_BOOL)
        *(bool *)at = value != 0;
    else
        return false;
    return true;
}

/* `bytes` stay where they are: byte fields are views of them. */
static bool sized_read(const struct field *field, uint8_t *base, struct bytes bytes,
                       struct arena *arena)
{
    void *at = base + field->offset;
    switch (field->type) {
    case FIELD_BYTES:
        *(struct bytes *)at = bytes;
        return bytes.size <= field->max;
    case FIELD_TEXT:
        if (bytes.size > field->max)
            return false;
        *(const char **)at = bytes.size == 0 ? NULL : text_read(arena, bytes);
        return true;
    case FIELD_ARRAY:
        if (bytes.size < field->min || bytes.size > field->max)
            return false;
        memset(at, 0, field->max);
        if (bytes.size != 0)
            memcpy(at, bytes.data, bytes.size);
        return true;
    case FIELD_MEMBERS:
        return members_read(field, base, bytes);
    case FIELD_STRUCT:
        return wire_layout_read(field->inner, at, bytes, arena);
    case FIELD_HEARTBEATS:
        return heartbeat_read(field, base, bytes, arena);
    case FIELD_U32:
    case FIELD_U64:
    case FIELD_BOOL:
        break;
    }
    return false;
}

bool wire_field_read(const struct field *field, uint32_t wire, void *owner, struct reader *reader,
                     struct arena *arena)
{
    if (wire == WIRE_VARINT) {
        uint64_t value = reader_varint(reader);
        return !reader->failed && scalar_read(field, owner, value);
    }
    if (wire != WIRE_SIZED)
        return false;
    struct bytes bytes = reader_sized_bytes(reader, reader_left(reader));
    return !reader->failed && sized_read(field, owner, bytes, arena);
}

bool wire_layout_read(const struct layout *layout, void *owner, struct bytes bytes,
                      struct arena *arena)
{
    struct reader reader = reader_of(bytes);
    while (reader_left(&reader) != 0) {
        uint32_t wire;
        uint32_t number = wire_tag_read(&reader, &wire);
        if (reader.failed)
            return false;
        if (number > layout->count)
            wire_skip(&reader, wire); /* of a newer release */
        else if (!wire_field_read(&layout->fields[number - 1], wire, owner, &reader, arena))
            return false;
    }
    return reader_done(&reader);
}
