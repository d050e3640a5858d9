/* decode.h -- protobuf requests of clients, all hostile: bounded memory, no hidden bytes in
 * strings.
 */
#ifndef RPC_DECODE_H
#define RPC_DECODE_H

#include "rpc/status.h"

#include <protobuf-c/protobuf-c.h>

/* One field of a message on the wire, as a scanner meets it. */
struct wire_field {
    uint32_t number;
    uint8_t wire_type;  /* 0 varint, 1 fixed 64, 2 bytes, 5 fixed 32 */
    struct bytes bytes; /* contents, wire type 2 only */
};
/* Takes the next field off the front of `bytes`. False at the end and on malformed input
 * (*ret_malformed tells). */
bool wire_next(struct bytes *bytes, struct wire_field *ret_field, bool *ret_malformed);
/* How often a field occurs at the top of a message. */
size_t wire_count(struct bytes bytes, uint32_t number);

/* Unpacks into `arena`: nothing to free. NULL with a status: malformed, a NUL inside a string, or
 * more memory needed than a request of that size may take. */
ProtobufCMessage *decode(struct arena *arena, struct bytes payload,
                         const ProtobufCMessageDescriptor *descriptor, struct status *ret_error);

static inline struct bytes bytes_of_binary(ProtobufCBinaryData binary)
{
    return bytes_of(binary.data, binary.len);
}

static inline ProtobufCBinaryData binary_of_bytes(struct bytes bytes)
{
    return (ProtobufCBinaryData){.len = bytes.size, .data = (uint8_t *)(uintptr_t)bytes.data};
}

#endif
