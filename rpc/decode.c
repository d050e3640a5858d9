#include "rpc/decode.h"

#include "base/check.h"
#include "model/limits.h"

/* Decoded messages are larger than their bytes, up to a hundred times for hostile ones (protobuf-c
 * keeps a struct for each two-byte item). 1,000 honest batch items of a few bytes each fit the
 * fixed part. */
#define BUDGET_FACTOR 4u
#define BUDGET_FIXED  (512u * 1024)
#define NESTING_MAX   8u /* our public schema nests 2 deep */

static_assert((uint64_t)GRPC_MESSAGE_BYTES_MAX * BUDGET_FACTOR + BUDGET_FIXED <= 32u << 20,
              "decoding a request takes at most 32 MiB");

static bool take_varint(struct bytes *bytes, uint64_t *ret_value)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && bytes->size > 0; shift += 7) {
        uint8_t byte = *bytes->data++;
        bytes->size--;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *ret_value = value;
            return true;
        }
    }
    return false;
}

static bool take(struct bytes *bytes, uint64_t size, struct bytes *ret_taken)
{
    if (size > bytes->size)
        return false;
    *ret_taken = bytes_of(bytes->data, (size_t)size);
    bytes->data += size;
    bytes->size -= (size_t)size;
    return true;
}

bool wire_next(struct bytes *bytes, struct wire_field *ret_field, bool *ret_malformed)
{
    *ret_malformed = false;
    if (bytes->size == 0)
        return false;
    uint64_t tag;
    uint64_t number = 0;
    struct bytes contents = {0};
    bool taken = take_varint(bytes, &tag);
    if (taken) {
        switch (tag & 7) {
        case 0:
            taken = take_varint(bytes, &number);
            break;
        case 1:
            taken = take(bytes, 8, &contents);
            break;
        case 2:
            taken = take_varint(bytes, &number) && take(bytes, number, &contents);
            break;
        case 5:
            taken = take(bytes, 4, &contents);
            break;
        default:
            taken = false;
        }
    }
    if (!taken || tag >> 3 == 0 || tag >> 3 > UINT32_MAX >> 3) {
        *ret_malformed = true;
        return false;
    }
    *ret_field = (struct wire_field){
        .number = (uint32_t)(tag >> 3), .wire_type = (uint8_t)(tag & 7), .bytes = contents};
    return true;
}

size_t wire_count(struct bytes bytes, uint32_t number)
{
    size_t count = 0;
    struct wire_field field;
    bool malformed;
    while (wire_next(&bytes, &field, &malformed))
        count += field.number == number;
    return count;
}

/* Sees what protobuf-c would let pass. False with a status: our scanner and protobuf-c could read
 * the bytes differently, or a string holds a NUL (a C string would end there and hide the rest). */
static bool wire_check(struct bytes bytes, const ProtobufCMessageDescriptor *descriptor,
                       uint32_t depth, struct status *ret_error)
{
    CHECK_U64(depth, <, NESTING_MAX);
    struct wire_field field;
    bool malformed;
    while (wire_next(&bytes, &field, &malformed)) {
        const ProtobufCFieldDescriptor *known =
            protobuf_c_message_descriptor_get_field(descriptor, field.number);
        if (known == NULL || field.wire_type != 2)
            continue;
        if (known->type == PROTOBUF_C_TYPE_STRING && field.bytes.size != 0 &&
            memchr(field.bytes.data, '\0', field.bytes.size) != NULL) {
            status_invalid(ret_error, known->name, "holds a NUL byte");
            return false;
        }
        if (known->type == PROTOBUF_C_TYPE_MESSAGE &&
            !wire_check(field.bytes, known->descriptor, depth + 1, ret_error))
            return false;
    }
    if (malformed)
        status_invalid(ret_error, "request", "not a valid %s", descriptor->name);
    return !malformed;
}

struct budget {
    struct arena *arena;
    size_t left;
    bool exceeded;
};

static void *budget_alloc(void *closure, size_t size)
{
    struct budget *budget = closure;
    if (size > budget->left) {
        budget->exceeded = true;
        return NULL;
    }
    budget->left -= size;
    return arena_alloc(budget->arena, size);
}

static void budget_free(void *closure, void *pointer)
{
    (void)closure;
    (void)pointer;
}

ProtobufCMessage *decode(struct arena *arena, struct bytes payload,
                         const ProtobufCMessageDescriptor *descriptor, struct status *ret_error)
{
    if (!wire_check(payload, descriptor, 0, ret_error))
        return NULL;
    struct budget budget = {.arena = arena, .left = BUDGET_FIXED + BUDGET_FACTOR * payload.size};
    ProtobufCAllocator allocator = {
        .alloc = budget_alloc, .free = budget_free, .allocator_data = &budget};
    ProtobufCMessage *message =
        protobuf_c_message_unpack(descriptor, &allocator, payload.size, payload.data);
    if (message != NULL)
        return message;
    if (budget.exceeded)
        status_invalid(ret_error, "request",
                       "%zu bytes hold more fields than may be decoded, limit %zu bytes of memory",
                       payload.size, BUDGET_FIXED + BUDGET_FACTOR * payload.size);
    else
        status_invalid(ret_error, "request", "not a valid %s", descriptor->name);
    return NULL;
}
