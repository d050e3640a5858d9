#include "rpc/peer_codec.h"

#include "base/check.h"
#include "model/topology.h"
#include "rpc/peer_layout.h"

#include <inttypes.h>
#include <stdio.h>

#define NS_PER_MS UINT64_C(1000000)

#define WIRE_VARINT  0u
#define WIRE_FIXED64 1u
#define WIRE_SIZED   2u
#define WIRE_FIXED32 5u

#define FRAME_HELLO    1u
#define FRAME_MESSAGES 2u

#define MESSAGE_DEADLINE 7u

/* The fields of PeerMessage before its deadline and body. */
struct head {
    uint64_t id;
    uint32_t from_kind;
    uint32_t from_index;
    uint32_t to_kind;
    uint32_t to_index;
    uint64_t epoch;
};

static const struct field head_fields[] = {
    FIELD(FIELD_U64, struct head, id, 0, UINT64_MAX),
    FIELD(FIELD_U32, struct head, from_kind, ACTOR_COORDINATOR, ACTOR_ANTI_ENTROPY),
    FIELD(FIELD_U32, struct head, from_index, 0, UINT8_MAX),
    FIELD(FIELD_U32, struct head, to_kind, ACTOR_COORDINATOR, ACTOR_ANTI_ENTROPY),
    FIELD(FIELD_U32, struct head, to_index, 0, UINT8_MAX),
    FIELD(FIELD_U64, struct head, epoch, 0, UINT64_MAX),
};
static const struct layout head_layout = FIELDS_OF(head_fields);

/* The union of bodies starts at its first member, whatever that is. */
static void *message_body(struct message *message)
{
    return &message->client_get;
}

static const void *message_body_const(const struct message *message)
{
    return &message->client_get;
}

/* -- writing: sizes first, then bytes into memory of exactly that size
 * ------------------------------ */

static size_t varint_size(uint64_t value)
{
    return (size_t)(63 - __builtin_clzll(value | 1)) / 7 + 1;
}

static uint8_t *varint_write(uint8_t *at, uint64_t value)
{
    while (value >= 128) {
        *at++ = (uint8_t)(value | 128u);
        value >>= 7;
    }
    *at++ = (uint8_t)value;
    return at;
}

static uint8_t *tag_write(uint8_t *at, uint32_t number, uint32_t wire)
{
    return varint_write(at, number << 3 | wire);
}

static uint8_t *sized_write(uint8_t *at, uint32_t number, struct bytes bytes)
{
    at = varint_write(tag_write(at, number, WIRE_SIZED), bytes.size);
    if (bytes.size != 0)
        memcpy(at, bytes.data, bytes.size);
    return at + bytes.size;
}

static size_t sized_size(uint32_t number, size_t size)
{
    return varint_size(number << 3) + varint_size(size) + size;
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
        size += varint_size(members[i]);
    return size;
}

static size_t layout_size(const struct layout *layout, const uint8_t *base)
{
    size_t size = 0;
    for (uint32_t i = 0; i < layout->count; i++) {
        const struct field *field = &layout->fields[i];
        size_t inner = 0;
        switch (field->type) {
        case FIELD_U32:
        case FIELD_U64:
        case FIELD_BOOL: {
            uint64_t value = scalar_of(field, base);
            size += value == 0 ? 0 : varint_size((i + 1) << 3) + varint_size(value);
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
            inner = layout_size(field->inner, base + field->offset);
            break;
        case FIELD_HEARTBEATS:
            for (uint32_t k = 0; k < count_of(field, base); k++)
                size += sized_size(
                    i + 1, layout_size(field->inner, (const void *)&heartbeats_of(field, base)[k]));
            continue;
        }
        size += inner == 0 ? 0 : sized_size(i + 1, inner);
    }
    return size;
}

static uint8_t *layout_write(uint8_t *at, const struct layout *layout, const uint8_t *base);

static uint8_t *inner_write(uint8_t *at, uint32_t number, size_t size, const struct layout *layout,
                            const void *base)
{
    at = varint_write(tag_write(at, number, WIRE_SIZED), size);
    return layout_write(at, layout, base);
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
        return value == 0 ? at : varint_write(tag_write(at, number, WIRE_VARINT), value);
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
        at = varint_write(tag_write(at, number, WIRE_SIZED), size);
        for (uint32_t i = 0; i < count_of(field, base); i++)
            at = varint_write(at, ((const uint32_t *)(const void *)(base + field->offset))[i]);
        return at;
    case FIELD_STRUCT:
        size = layout_size(field->inner, base + field->offset);
        return size == 0 ? at : inner_write(at, number, size, field->inner, base + field->offset);
    case FIELD_HEARTBEATS:
        for (uint32_t i = 0; i < count_of(field, base); i++) {
            const void *heartbeat = &heartbeats_of(field, base)[i];
            at = inner_write(at, number, layout_size(field->inner, heartbeat), field->inner,
                             heartbeat);
        }
        return at;
    }
    UNREACHABLE("field type");
}

static uint8_t *layout_write(uint8_t *at, const struct layout *layout, const uint8_t *base)
{
    for (uint32_t i = 0; i < layout->count; i++)
        at = field_write(at, i + 1, &layout->fields[i], base);
    return at;
}

/* What a struct may hold on the wire, on its way out and after it was read. */
static bool layout_valid(const struct layout *layout, const uint8_t *base)
{
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
            if (!layout_valid(field->inner, base + field->offset))
                return false;
            continue;
        }
        if (value < field->min || value > field->max)
            return false;
        if (field->type == FIELD_HEARTBEATS)
            for (uint32_t k = 0; k < value; k++)
                if (!layout_valid(field->inner, (const void *)&heartbeats_of(field, base)[k]))
                    return false;
    }
    return true;
}

/* -- one message
 * --------------------------------------------------------------------------------------- */

static struct head head_of(const struct message *message)
{
    return (struct head){
        .id = message->id,
        .from_kind = message->from.kind,
        .from_index = message->from.index,
        .to_kind = message->to.kind,
        .to_index = message->to.index,
        .epoch = message->epoch,
    };
}

static bool head_valid(const struct head *head, enum message_kind kind)
{
    return layout_valid(&head_layout, (const void *)head) &&
           (wire_kinds[kind].to_kinds & 1u << head->to_kind) != 0;
}

/* Rounded down: a deadline may shrink on its way but never grow. */
static uint64_t deadline_left_ms(uint64_t deadline_ns, uint64_t now_ns)
{
    uint64_t left_ms = deadline_ns > now_ns ? (deadline_ns - now_ns) / NS_PER_MS : 0;
    return left_ms < DEADLINE_MAX_MS ? left_ms : DEADLINE_MAX_MS;
}

static size_t message_size(const struct message *message, uint64_t now_ns)
{
    CHECK_U64(message->magic, ==, MESSAGE_MAGIC);
    CHECK(message_crosses_nodes(message->kind));
    const struct layout *layout = wire_kinds[message->kind].layout;
    struct head head = head_of(message);
    const void *body = message_body_const(message);
    if (!head_valid(&head, message->kind) || !layout_valid(layout, body))
        return 0;
    size_t size = layout_size(&head_layout, (const void *)&head);
    if (message->deadline_ns != 0)
        size += 1 + varint_size(deadline_left_ms(message->deadline_ns, now_ns));
    size += sized_size(wire_kinds[message->kind].number, layout_size(layout, body));
    return size <= PEER_MESSAGE_BYTES_MAX ? size : 0;
}

static uint8_t *message_write(uint8_t *at, const struct message *message, uint64_t now_ns)
{
    const struct layout *layout = wire_kinds[message->kind].layout;
    struct head head = head_of(message);
    const void *body = message_body_const(message);
    at = layout_write(at, &head_layout, (const void *)&head);
    if (message->deadline_ns != 0)
        at = varint_write(tag_write(at, MESSAGE_DEADLINE, WIRE_VARINT),
                          deadline_left_ms(message->deadline_ns, now_ns));
    return inner_write(at, wire_kinds[message->kind].number, layout_size(layout, body), layout,
                       body);
}

struct bytes peer_message_encode(struct arena *arena, const struct message *message,
                                 uint64_t now_ns)
{
    size_t size = message_size(message, now_ns);
    if (size == 0)
        return (struct bytes){0};
    uint8_t *data = arena_alloc(arena, size);
    CHECK(message_write(data, message, now_ns) == data + size);
    return bytes_of(data, size);
}

/* -- reading
 * -----------------------------------------------------------------------------------------------
 */

static void field_skip(struct reader *reader, uint32_t wire)
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

static uint32_t tag_read(struct reader *reader, uint32_t *ret_wire)
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

static bool layout_read(const struct layout *layout, uint8_t *base, struct bytes bytes,
                        struct arena *arena);

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
    return layout_read(field->inner, (void *)&(*heartbeats)[(*count)++], bytes, arena);
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
        return layout_read(field->inner, at, bytes, arena);
    case FIELD_HEARTBEATS:
        return heartbeat_read(field, base, bytes, arena);
    case FIELD_U32:
    case FIELD_U64:
    case FIELD_BOOL:
        break;
    }
    return false;
}

static bool field_read(const struct field *field, uint32_t wire, uint8_t *base,
                       struct reader *reader, struct arena *arena)
{
    if (wire == WIRE_VARINT) {
        uint64_t value = reader_varint(reader);
        return !reader->failed && scalar_read(field, base, value);
    }
    if (wire != WIRE_SIZED)
        return false;
    struct bytes bytes = reader_sized_bytes(reader, reader_left(reader));
    return !reader->failed && sized_read(field, base, bytes, arena);
}

static bool layout_read(const struct layout *layout, uint8_t *base, struct bytes bytes,
                        struct arena *arena)
{
    struct reader reader = reader_of(bytes);
    while (reader_left(&reader) != 0) {
        uint32_t wire;
        uint32_t number = tag_read(&reader, &wire);
        if (reader.failed)
            return false;
        if (number > layout->count)
            field_skip(&reader, wire); /* of a newer release */
        else if (!field_read(&layout->fields[number - 1], wire, base, &reader, arena))
            return false;
    }
    return reader_done(&reader);
}

/* A PeerMessage taken apart as far as its envelope goes. */
struct envelope {
    struct head head;
    bool has_deadline;
    uint64_t deadline_left_ms;
    uint32_t body_number; /* 0: none */
    struct bytes body;    /* borrowed */
};

static bool envelope_read(struct bytes bytes, struct envelope *envelope)
{
    struct reader reader = reader_of(bytes);
    while (reader_left(&reader) != 0) {
        uint32_t wire;
        uint32_t number = tag_read(&reader, &wire);
        if (reader.failed)
            return false;
        if (number <= head_layout.count) {
            if (!field_read(&head_fields[number - 1], wire, (void *)&envelope->head, &reader, NULL))
                return false;
        } else if (number == MESSAGE_DEADLINE && wire == WIRE_VARINT) {
            envelope->has_deadline = true;
            envelope->deadline_left_ms = reader_varint_max(&reader, UINT32_MAX);
        } else if (number >= BODY_NUMBER_FIRST && number <= BODY_NUMBER_LAST) {
            if (wire != WIRE_SIZED || envelope->body_number != 0)
                return false;
            envelope->body_number = number;
            envelope->body = reader_sized_bytes(&reader, reader_left(&reader));
        } else {
            field_skip(&reader, wire);
        }
    }
    return reader_done(&reader) && envelope->body_number != 0;
}

struct message *peer_message_decode(struct bytes bytes, uint32_t from_node, uint32_t to_node,
                                    uint64_t now_ns)
{
    struct envelope envelope = {0};
    if (bytes.size > PEER_MESSAGE_BYTES_MAX || !envelope_read(bytes, &envelope))
        return NULL;
    enum message_kind kind = body_kinds[envelope.body_number - BODY_NUMBER_FIRST];
    const struct head *head = &envelope.head;
    if (!head_valid(head, kind))
        return NULL;
    struct message *message = message_new(kind, envelope.body.size);
    message->id = head->id;
    message->epoch = head->epoch;
    message->from =
        (struct actor_id){from_node, (uint8_t)head->from_kind, (uint8_t)head->from_index};
    message->to = (struct actor_id){to_node, (uint8_t)head->to_kind, (uint8_t)head->to_index};
    if (envelope.has_deadline) {
        uint64_t left_ms = envelope.deadline_left_ms;
        left_ms = left_ms < DEADLINE_MAX_MS ? left_ms : DEADLINE_MAX_MS;
        message->deadline_ns = now_ns + left_ms * NS_PER_MS;
        if (message->deadline_ns == 0)
            message->deadline_ns = 1; /* at the start of a simulated clock; 0 means none */
    }
    struct bytes body = arena_copy(&message->arena, envelope.body);
    if (layout_read(wire_kinds[kind].layout, message_body(message), body, &message->arena) &&
        layout_valid(wire_kinds[kind].layout, message_body(message)))
        return message;
    message_free(message);
    return NULL;
}

/* -- frames
 * -----------------------------------------------------------------------------------------------
 */

void peer_frame_append(struct writer *frame, struct bytes message)
{
    writer_varint(frame, FRAME_MESSAGES << 3 | WIRE_SIZED);
    writer_sized_bytes(frame, message);
}

size_t peer_frame_message_size(const struct message *message, uint64_t now_ns)
{
    size_t size = message_size(message, now_ns);
    return size == 0 ? 0 : sized_size(FRAME_MESSAGES, size);
}

void peer_frame_message_write(uint8_t *at, size_t size, const struct message *message,
                              uint64_t now_ns)
{
    const uint8_t *end = at + size;
    at = varint_write(tag_write(at, FRAME_MESSAGES, WIRE_SIZED), message_size(message, now_ns));
    CHECK(message_write(at, message, now_ns) == end);
}

struct bytes peer_frame_hello(struct arena *arena, const struct peer_hello *hello)
{
    size_t inner = layout_size(&hello_layout, (const void *)hello);
    size_t size = sized_size(FRAME_HELLO, inner);
    uint8_t *data = arena_alloc(arena, size);
    CHECK(inner_write(data, FRAME_HELLO, inner, &hello_layout, hello) == data + size);
    return bytes_of(data, size);
}

static bool hello_read(struct bytes bytes, struct peer_hello *hello)
{
    *hello = (struct peer_hello){0};
    if (!layout_read(&hello_layout, (void *)hello, bytes, NULL))
        return false;
    for (const char *c = hello->name; *c != '\0'; c++)
        if (*c < ' ' || *c > '~' || *c == '"' || *c == '\\')
            return false; /* it is written to logs */
    return true;
}

enum err peer_frame_walk(struct bytes frame, bool (*visit)(void *closure, struct bytes message),
                         void *closure, bool *ret_has_hello, struct peer_hello *ret_hello)
{
    struct peer_hello hello;
    bool has_hello = false;
    struct reader reader = reader_of(frame);
    while (reader_left(&reader) != 0) {
        uint32_t wire;
        uint32_t number = tag_read(&reader, &wire);
        if (reader.failed)
            return ERR_CORRUPT;
        if (number > FRAME_MESSAGES) {
            field_skip(&reader, wire);
            continue;
        }
        if (wire != WIRE_SIZED)
            return ERR_CORRUPT;
        struct bytes bytes = reader_sized_bytes(&reader, reader_left(&reader));
        if (reader.failed)
            return ERR_CORRUPT;
        if (number == FRAME_MESSAGES) {
            if (!visit(closure, bytes))
                return ERR_CORRUPT;
        } else {
            if (has_hello || !hello_read(bytes, &hello))
                return ERR_CORRUPT;
            has_hello = true;
        }
    }
    if (!reader_done(&reader))
        return ERR_CORRUPT;
    *ret_has_hello = has_hello;
    if (has_hello)
        *ret_hello = hello;
    return OK;
}

/* -- may we talk?
 * ------------------------------------------------------------------------------------------- */

static const char *hex16(const uint8_t *id, char text[33])
{
    for (size_t i = 0; i < 16; i++)
        snprintf(text + 2 * i, 3, "%02x", id[i]);
    return text;
}

const char *peer_hello_refusal(const struct peer_hello *mine, const struct peer_hello *theirs,
                               char *why, size_t why_size)
{
    static const uint8_t no_id[16];
    char a[33];
    char b[33];
    if (memcmp(mine->cluster_id, theirs->cluster_id, sizeof mine->cluster_id) != 0)
        snprintf(why, why_size, "cluster id is %s here and %s there: two different clusters",
                 hex16(mine->cluster_id, a), hex16(theirs->cluster_id, b));
    else if (theirs->protocol_min > theirs->protocol_max ||
             theirs->protocol_min > mine->protocol_max || theirs->protocol_max < mine->protocol_min)
        snprintf(why, why_size,
                 "peer protocol is %" PRIu32 " to %" PRIu32 " here and %" PRIu32 " to %" PRIu32
                 " there: no version in common",
                 mine->protocol_min, mine->protocol_max, theirs->protocol_min,
                 theirs->protocol_max);
    else if (mine->partitions != theirs->partitions)
        snprintf(why, why_size, "partitions are %" PRIu32 " here and %" PRIu32 " there",
                 mine->partitions, theirs->partitions);
    else if (theirs->member == MEMBER_NONE || memcmp(theirs->node_id, no_id, sizeof no_id) == 0)
        snprintf(why, why_size, "the other node does not say who it is");
    else if (theirs->member == mine->member)
        snprintf(why, why_size, "both nodes say that they are member %" PRIu32, mine->member);
    else if (memcmp(mine->node_id, theirs->node_id, sizeof mine->node_id) == 0)
        snprintf(why, why_size, "node id %s is that of both nodes: a data directory was copied",
                 hex16(mine->node_id, a));
    else if (theirs->to_member != mine->member)
        snprintf(why, why_size, "meant for member %" PRIu32 ", but this is member %" PRIu32,
                 theirs->to_member, mine->member);
    else if (mine->to_member != MEMBER_NONE && theirs->member != mine->to_member)
        snprintf(why, why_size, "member %" PRIu32 " answered where member %" PRIu32 " was expected",
                 theirs->member, mine->to_member);
    else
        return NULL;
    return why;
}
