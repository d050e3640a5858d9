#include "base/check.h"
#include "model/topology.h"
#include "rpc/peer_codec.h"
#include "rpc/peer_wire.h"

#include <inttypes.h>
#include <stdio.h>

#define FRAME_HELLO 1u

static const struct field hello_fields[] = {
    FIELD(FIELD_ARRAY, struct peer_hello, cluster_id, 16, 16),
    FIELD(FIELD_U32, struct peer_hello, protocol_min, 0, UINT32_MAX),
    FIELD(FIELD_U32, struct peer_hello, protocol_max, 0, UINT32_MAX),
    FIELD(FIELD_U32, struct peer_hello, partitions, 0, UINT32_MAX),
    FIELD(FIELD_U64, struct peer_hello, epoch, 0, UINT64_MAX),
    FIELD(FIELD_U32, struct peer_hello, member, 0, UINT32_MAX),
    FIELD(FIELD_ARRAY, struct peer_hello, node_id, 16, 16),
    FIELD(FIELD_ARRAY, struct peer_hello, name, 0, sizeof(((struct peer_hello *)0)->name) - 1),
    FIELD(FIELD_U64, struct peer_hello, generation, 0, UINT64_MAX),
    FIELD(FIELD_U32, struct peer_hello, to_member, 0, UINT32_MAX),
    FIELD(FIELD_U64, struct peer_hello, context_mark, 0, UINT64_MAX),
    FIELD(FIELD_U64, struct peer_hello, start_nonce, 0, UINT64_MAX),
    FIELD(FIELD_ARRAY, struct peer_hello, superseded, IDENTITY_SUPERSEDED_BYTES,
          IDENTITY_SUPERSEDED_BYTES),
    FIELD(FIELD_U64, struct peer_hello, epoch_bound, 0, UINT64_MAX),
    FIELD(FIELD_U32, struct peer_hello, action, 0, UINT32_MAX),
    FIELD(FIELD_U32, struct peer_hello, verdict, 0, UINT32_MAX),
    FIELD(FIELD_ARRAY, struct peer_hello, known_id, 16, 16),
    FIELD(FIELD_U64, struct peer_hello, known_generation, 0, UINT64_MAX),
    FIELD(FIELD_U64, struct peer_hello, known_bound, 0, UINT64_MAX),
    FIELD(FIELD_ARRAY, struct peer_hello, address, 0,
          sizeof(((struct peer_hello *)0)->address) - 1),
    FIELD(FIELD_ARRAY, struct peer_hello, known_superseded, IDENTITY_SUPERSEDED_BYTES,
          IDENTITY_SUPERSEDED_BYTES),
};
static const struct layout hello_layout = FIELDS_OF(hello_fields);

/* -- frames
 * -----------------------------------------------------------------------------------------------
 */

void peer_frame_append(struct writer *frame, struct bytes message)
{
    writer_varint(frame, PEER_FRAME_MESSAGES << 3 | WIRE_SIZED);
    writer_sized_bytes(frame, message);
}

struct bytes peer_frame_hello(struct arena *arena, const struct peer_hello *hello)
{
    size_t inner = wire_layout_size(&hello_layout, hello);
    size_t size = wire_sized_size(FRAME_HELLO, inner);
    uint8_t *data = arena_alloc(arena, size);
    CHECK(wire_inner_write(data, FRAME_HELLO, inner, &hello_layout, hello) == data + size);
    return bytes_of(data, size);
}

static bool is_loggable(const char *text)
{
    for (const char *c = text; *c != '\0'; c++)
        if (*c < ' ' || *c > '~' || *c == '"' || *c == '\\')
            return false;
    return true;
}

static bool hello_read(struct bytes bytes, struct peer_hello *hello)
{
    *hello = (struct peer_hello){0};
    if (!wire_layout_read(&hello_layout, hello, bytes, NULL))
        return false;
    return is_loggable(hello->name) && is_loggable(hello->address);
}

enum err peer_frame_walk(struct bytes frame, bool (*visit)(void *closure, struct bytes message),
                         void *closure, bool *ret_has_hello, struct peer_hello *ret_hello)
{
    struct peer_hello hello;
    bool has_hello = false;
    struct reader reader = reader_of(frame);
    while (reader_left(&reader) != 0) {
        uint32_t wire;
        uint32_t number = wire_tag_read(&reader, &wire);
        if (reader.failed)
            return ERR_CORRUPT;
        if (number > PEER_FRAME_MESSAGES) {
            wire_skip(&reader, wire);
            continue;
        }
        if (wire != WIRE_SIZED)
            return ERR_CORRUPT;
        struct bytes bytes = reader_sized_bytes(&reader, reader_left(&reader));
        if (reader.failed)
            return ERR_CORRUPT;
        if (number == PEER_FRAME_MESSAGES) {
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
    else if (theirs->member == MEMBER_NONE || memcmp(theirs->node_id, no_id, sizeof no_id) == 0 ||
             theirs->generation == 0)
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
