#include "base/codec.h"

#include "base/check.h"

struct reader reader_of(struct bytes bytes)
{
    /* An empty view may have no address; give the reader one, so that pointers can be compared. */
    static const uint8_t nothing;
    const uint8_t *start = bytes.size == 0 ? &nothing : bytes.data;
    return (struct reader){.next = start, .end = start + bytes.size};
}

size_t reader_left(const struct reader *reader)
{
    return reader->failed ? 0 : (size_t)(reader->end - reader->next);
}

bool reader_done(const struct reader *reader)
{
    return !reader->failed && reader->next == reader->end;
}

struct bytes reader_bytes(struct reader *reader, size_t size)
{
    if (size > reader_left(reader)) {
        reader->failed = true;
        return (struct bytes){0};
    }
    struct bytes bytes = bytes_of(reader->next, size);
    reader->next += size;
    return bytes;
}

static uint64_t reader_fixed(struct reader *reader, size_t size)
{
    struct bytes bytes = reader_bytes(reader, size);
    uint64_t value = 0;
    for (size_t i = 0; i < bytes.size; i++)
        value |= (uint64_t)bytes.data[i] << (8 * i);
    return value;
}

uint8_t reader_u8(struct reader *reader)
{
    return (uint8_t)reader_fixed(reader, 1);
}

uint32_t reader_u32(struct reader *reader)
{
    return (uint32_t)reader_fixed(reader, 4);
}

uint64_t reader_u64(struct reader *reader)
{
    return reader_fixed(reader, 8);
}

uint64_t reader_varint(struct reader *reader)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (reader_left(reader) == 0)
            break;
        uint8_t byte = *reader->next++;
        if (shift == 63 && byte > 1)
            break;
        value |= (uint64_t)(byte & 127u) << shift;
        if (byte < 128) {
            if (byte == 0 && shift > 0)
                break; /* padded: not canonical */
            return value;
        }
    }
    reader->failed = true;
    return 0;
}

uint64_t reader_varint_max(struct reader *reader, uint64_t max)
{
    uint64_t value = reader_varint(reader);
    if (value <= max)
        return value;
    reader->failed = true;
    return 0;
}

struct bytes reader_sized_bytes(struct reader *reader, size_t size_max)
{
    return reader_bytes(reader, (size_t)reader_varint_max(reader, size_max));
}

void writer_init(struct writer *writer, struct arena *arena, size_t capacity)
{
    capacity = capacity < 16 ? 16 : capacity;
    *writer = (struct writer){
        .arena = arena, .data = arena_alloc(arena, capacity), .capacity = capacity};
}

static uint8_t *writer_reserve(struct writer *writer, size_t size)
{
    if (writer->capacity - writer->size < size) {
        size_t capacity = 2 * writer->capacity;
        if (capacity < writer->size + size)
            capacity = writer->size + size;
        uint8_t *data = arena_alloc(writer->arena, capacity);
        memcpy(data, writer->data, writer->size);
        writer->data = data;
        writer->capacity = capacity;
    }
    uint8_t *start = writer->data + writer->size;
    writer->size += size;
    return start;
}

static void writer_fixed(struct writer *writer, uint64_t value, size_t size)
{
    uint8_t *start = writer_reserve(writer, size);
    for (size_t i = 0; i < size; i++)
        start[i] = (uint8_t)(value >> (8 * i));
}

void writer_u8(struct writer *writer, uint8_t value)
{
    writer_fixed(writer, value, 1);
}

void writer_u32(struct writer *writer, uint32_t value)
{
    writer_fixed(writer, value, 4);
}

void writer_u64(struct writer *writer, uint64_t value)
{
    writer_fixed(writer, value, 8);
}

void writer_varint(struct writer *writer, uint64_t value)
{
    uint8_t buffer[10];
    size_t size = 0;
    while (value >= 128) {
        buffer[size++] = (uint8_t)(value | 128u);
        value >>= 7;
    }
    buffer[size++] = (uint8_t)value;
    memcpy(writer_reserve(writer, size), buffer, size);
}

void writer_bytes(struct writer *writer, struct bytes bytes)
{
    if (bytes.size != 0)
        memcpy(writer_reserve(writer, bytes.size), bytes.data, bytes.size);
}

void writer_sized_bytes(struct writer *writer, struct bytes bytes)
{
    writer_varint(writer, bytes.size);
    writer_bytes(writer, bytes);
}

struct bytes writer_result(const struct writer *writer)
{
    return bytes_of(writer->data, writer->size);
}
