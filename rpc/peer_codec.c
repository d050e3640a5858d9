#include "rpc/peer_codec.h"

#include "base/check.h"
#include "rpc/peer_layout.h"

#define NS_PER_MS UINT64_C(1000000)

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

/* -- sending
 * ---------------------------------------------------------------------------------------- */

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
    return wire_layout_valid(&head_layout, head) &&
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
    if (!head_valid(&head, message->kind) || !wire_layout_valid(layout, body))
        return 0;
    size_t size = wire_layout_size(&head_layout, &head);
    if (message->deadline_ns != 0)
        size += 1 + wire_varint_size(deadline_left_ms(message->deadline_ns, now_ns));
    size += wire_sized_size(wire_kinds[message->kind].number, wire_layout_size(layout, body));
    return size <= PEER_MESSAGE_BYTES_MAX ? size : 0;
}

static uint8_t *message_write(uint8_t *at, const struct message *message, uint64_t now_ns)
{
    const struct layout *layout = wire_kinds[message->kind].layout;
    struct head head = head_of(message);
    const void *body = message_body_const(message);
    at = wire_layout_write(at, &head_layout, &head);
    if (message->deadline_ns != 0)
        at = wire_varint_write(wire_tag_write(at, MESSAGE_DEADLINE, WIRE_VARINT),
                               deadline_left_ms(message->deadline_ns, now_ns));
    return wire_inner_write(at, wire_kinds[message->kind].number, wire_layout_size(layout, body),
                            layout, body);
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
 * --------------------------------------------------------------------------------------- */

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
        uint32_t number = wire_tag_read(&reader, &wire);
        if (reader.failed)
            return false;
        if (number <= head_layout.count) {
            if (!wire_field_read(&head_fields[number - 1], wire, &envelope->head, &reader, NULL))
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
            wire_skip(&reader, wire);
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
    if (wire_layout_read(wire_kinds[kind].layout, message_body(message), body, &message->arena) &&
        wire_layout_valid(wire_kinds[kind].layout, message_body(message)))
        return message;
    message_free(message);
    return NULL;
}

/* -- in a frame
 * ------------------------------------------------------------------------------------ */

size_t peer_frame_message_size(const struct message *message, uint64_t now_ns)
{
    size_t size = message_size(message, now_ns);
    return size == 0 ? 0 : wire_sized_size(PEER_FRAME_MESSAGES, size);
}

void peer_frame_message_write(uint8_t *at, size_t size, const struct message *message,
                              uint64_t now_ns)
{
    const uint8_t *end = at + size;
    size_t inner = size - 2;
    while (wire_sized_size(PEER_FRAME_MESSAGES, inner) > size)
        inner--;
    at = wire_tag_write(at, PEER_FRAME_MESSAGES, WIRE_SIZED);
    CHECK(message_write(wire_varint_write(at, inner), message, now_ns) == end);
}
