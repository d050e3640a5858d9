/* codec.h -- bounds-checked reading and writing of byte strings: varints (LEB128), fixed
 * little-endian integers, length-prefixed bytes.
 *
 * A reader never reads past its end: the first bad read sets `failed`, and all later reads give 0
 * or empty, so a decoder looks at `failed` once at its end. A writer grows inside an arena.
 */
#ifndef BASE_CODEC_H
#define BASE_CODEC_H

#include "base/arena.h"

struct reader {
    const uint8_t *next;
    const uint8_t *end;
    bool failed;
};

struct reader reader_of(struct bytes bytes);
uint8_t reader_u8(struct reader *reader);
uint32_t reader_u32(struct reader *reader);
uint64_t reader_u64(struct reader *reader);
/* A varint in canonical (shortest) form; any other form fails, so equal values are equal bytes. */
uint64_t reader_varint(struct reader *reader);
/* A varint that must be <= max; a count is bounded by what is left to read. */
uint64_t reader_varint_max(struct reader *reader, uint64_t max);
/* Borrowed from the input. */
struct bytes reader_bytes(struct reader *reader, size_t size);
struct bytes reader_sized_bytes(struct reader *reader, size_t size_max);
/* Sized bytes into a zeroed array of size_max + 1. A NUL inside would shorten the word: refused. */
void reader_word(struct reader *reader, char *ret_word, size_t size_max);
size_t reader_left(const struct reader *reader);
/* True when nothing failed and nothing is left. */
bool reader_done(const struct reader *reader);

/* Numbers in keys: big-endian, so that keys are in the order of the numbers. */
void key_put_u32(uint8_t memory[4], uint32_t value);
uint32_t key_get_u32(const uint8_t memory[4]);

struct writer {
    struct arena *arena;
    uint8_t *data;
    size_t size;
    size_t capacity;
};

void writer_init(struct writer *writer, struct arena *arena, size_t capacity);
void writer_u8(struct writer *writer, uint8_t value);
void writer_u32(struct writer *writer, uint32_t value);
void writer_u64(struct writer *writer, uint64_t value);
void writer_varint(struct writer *writer, uint64_t value);
void writer_bytes(struct writer *writer, struct bytes bytes);
void writer_sized_bytes(struct writer *writer, struct bytes bytes);
/* What was written, in the arena. */
struct bytes writer_result(const struct writer *writer);

#endif
