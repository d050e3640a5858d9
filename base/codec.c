#include "base/codec.h"

#define VARINT_BYTES_MAX 10u

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

uint8_t reader_u8(struct reader *reader)
{
    struct bytes bytes = reader_bytes(reader, 1);
    return bytes.size == 0 ? 0 : bytes.data[0];
}

/* Written out, these become one load on a little-endian machine and stay right on others. */
static uint64_t load_u32(const uint8_t *from)
{
    return (uint64_t)from[0] | (uint64_t)from[1] << 8 | (uint64_t)from[2] << 16 |
           (uint64_t)from[3] << 24;
}

uint32_t reader_u32(struct reader *reader)
{
    struct bytes bytes = reader_bytes(reader, 4);
    return bytes.size == 0 ? 0 : (uint32_t)load_u32(bytes.data);
}

uint64_t reader_u64(struct reader *reader)
{
    struct bytes bytes = reader_bytes(reader, 8);
    return bytes.size == 0 ? 0 : load_u32(bytes.data) | load_u32(bytes.data + 4) << 32;
}

uint64_t reader_varint(struct reader *reader)
{
    const uint8_t *next = reader->next;
    size_t left = reader_left(reader);
    if (left > 0 && *next < 128) {
        reader->next = next + 1;
        return *next;
    }
    uint64_t value = 0;
    for (unsigned i = 0; i < VARINT_BYTES_MAX && i < left; i++) {
        uint8_t byte = next[i];
        if (i == 9 && byte > 1)
            break;
        value |= (uint64_t)(byte & 127u) << (7 * i);
        if (byte < 128) {
            if (byte == 0)
                break; /* padded: not canonical */
            reader->next = next + i + 1;
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

void reader_word(struct reader *reader, char *ret_word, size_t size_max)
{
    struct bytes bytes = reader_sized_bytes(reader, size_max);
    if (bytes.size == 0)
        return;
    if (memchr(bytes.data, '\0', bytes.size) != NULL) {
        reader->failed = true;
        return;
    }
    memcpy(ret_word, bytes.data, bytes.size);
}

void key_put_u32(uint8_t memory[4], uint32_t value)
{
    for (int i = 0; i < 4; i++)
        memory[i] = (uint8_t)(value >> (24 - 8 * i));
}

uint32_t key_get_u32(const uint8_t memory[4])
{
    return (uint32_t)memory[0] << 24 | (uint32_t)memory[1] << 16 | (uint32_t)memory[2] << 8 |
           memory[3];
}

void writer_init(struct writer *writer, struct arena *arena, size_t capacity)
{
    capacity = capacity < 16 ? 16 : capacity;
    *writer =
        (struct writer){.arena = arena, .data = arena_alloc(arena, capacity), .capacity = capacity};
}

/* Room for `size` bytes more; the caller says afterwards how many it took. */
static uint8_t *writer_room(struct writer *writer, size_t size)
{
    if (__builtin_expect(writer->capacity - writer->size < size, 0)) {
        size_t capacity = 2 * writer->capacity;
        if (capacity < writer->size + size)
            capacity = writer->size + size;
        uint8_t *data = arena_alloc(writer->arena, capacity);
        memcpy(data, writer->data, writer->size);
        writer->data = data;
        writer->capacity = capacity;
    }
    return writer->data + writer->size;
}

static void store_u32(uint8_t *to, uint32_t value)
{
    to[0] = (uint8_t)value;
    to[1] = (uint8_t)(value >> 8);
    to[2] = (uint8_t)(value >> 16);
    to[3] = (uint8_t)(value >> 24);
}

void writer_u8(struct writer *writer, uint8_t value)
{
    *writer_room(writer, 1) = value;
    writer->size += 1;
}

void writer_u32(struct writer *writer, uint32_t value)
{
    store_u32(writer_room(writer, 4), value);
    writer->size += 4;
}

void writer_u64(struct writer *writer, uint64_t value)
{
    uint8_t *room = writer_room(writer, 8);
    store_u32(room, (uint32_t)value);
    store_u32(room + 4, (uint32_t)(value >> 32));
    writer->size += 8;
}

void writer_varint(struct writer *writer, uint64_t value)
{
    uint8_t *room = writer_room(writer, VARINT_BYTES_MAX);
    size_t size = 0;
    while (value >= 128) {
        room[size++] = (uint8_t)(value | 128u);
        value >>= 7;
    }
    room[size++] = (uint8_t)value;
    writer->size += size;
}

void writer_bytes(struct writer *writer, struct bytes bytes)
{
    if (bytes.size != 0)
        memcpy(writer_room(writer, bytes.size), bytes.data, bytes.size);
    writer->size += bytes.size;
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
