/* peer_wire.h -- the protobuf wire format, walked along tables of a struct's fields (internal to
 * the peer codec).
 *
 * A field's number is its place in its table, from 1. Zero and empty fields are not written.
 * Unknown numbers are skipped when read, so that a newer release may say more.
 */
#ifndef RPC_PEER_WIRE_H
#define RPC_PEER_WIRE_H

#include "actors/message.h"
#include "base/codec.h"

#define WIRE_VARINT 0u
#define WIRE_SIZED  2u

#define PEER_FRAME_MESSAGES 2u /* Frame.messages */

enum field_kind {
    FIELD_U32, /* also enums */
    FIELD_U64,
    FIELD_BOOL,
    FIELD_BYTES,      /* struct bytes */
    FIELD_TEXT,       /* const char *, NULL when empty */
    FIELD_ARRAY,      /* char or uint8_t [max], zero-padded; `min` bytes at least */
    FIELD_MEMBERS,    /* uint32_t [max] with a uint8_t count */
    FIELD_STRUCT,     /* one inner message */
    FIELD_HEARTBEATS, /* repeated GossipHeartbeat in the arena, uint32_t count */
};

struct field {
    enum field_kind type;
    uint32_t offset;
    uint32_t count_offset; /* FIELD_MEMBERS, FIELD_HEARTBEATS */
    uint64_t min;          /* of the value, or of the size or count */
    uint64_t max;
    const struct layout *inner;
};

struct layout {
    const struct field *fields;
    uint32_t count;
};

#define FIELDS_OF(table)                                                                           \
    {                                                                                              \
        .fields = (table), .count = ARRAY_COUNT(table)                                             \
    }
#define FIELD(field_type, owner, member, low, high)                                                \
    {                                                                                              \
        .type = (field_type), .offset = offsetof(owner, member), .min = (low), .max = (high)       \
    }
#define FIELD_INNER(owner, member, inner_layout)                                                   \
    {                                                                                              \
        .type = FIELD_STRUCT, .offset = offsetof(owner, member), .inner = (inner_layout)           \
    }
#define FIELD_COUNTED(field_type, owner, member, counter, high, inner_layout)                      \
    {                                                                                              \
        .type = (field_type), .offset = offsetof(owner, member),                                   \
        .count_offset = offsetof(owner, counter), .max = (high), .inner = (inner_layout)           \
    }

/* Writing goes in two steps: sizes, then bytes into memory of exactly that size. All writers give
 * the place after what they wrote. */
size_t wire_varint_size(uint64_t value);
uint8_t *wire_varint_write(uint8_t *at, uint64_t value);
uint8_t *wire_tag_write(uint8_t *at, uint32_t number, uint32_t wire);
/* Of a sized field with its tag. */
size_t wire_sized_size(uint32_t number, size_t size);
size_t wire_layout_size(const struct layout *layout, const void *base);
uint8_t *wire_layout_write(uint8_t *at, const struct layout *layout, const void *base);
/* As a sized field; `size` is what wire_layout_size gave. */
uint8_t *wire_inner_write(uint8_t *at, uint32_t number, size_t size, const struct layout *layout,
                          const void *base);
/* Whether all fields hold what they may, on the way out and after reading. */
bool wire_layout_valid(const struct layout *layout, const void *base);

/* The number; 0 with the reader failed. */
uint32_t wire_tag_read(struct reader *reader, uint32_t *ret_wire);
void wire_skip(struct reader *reader, uint32_t wire);
/* One field, its tag being read. */
bool wire_field_read(const struct field *field, uint32_t wire, void *base, struct reader *reader,
                     struct arena *arena);
/* Into a zeroed struct. Byte fields are views of `bytes`; texts and heartbeats go to the arena,
 * which may be NULL for layouts without them. False: malformed, or over a limit. */
bool wire_layout_read(const struct layout *layout, void *base, struct bytes bytes,
                      struct arena *arena);

#endif
