/* Row: u8 version, 16 bytes node id, varint generation, u64 nonce. Hello: u8 version, the rest of a
 * row, varint count, count x 16 bytes. */
#include "model/identity.h"

#include "base/codec.h"
#include "base/mutation.h"

#define VERSION       1u
#define ENCODED_BYTES (1 + NODE_ID_BYTES + 10 + 8 + 10)

bool node_id_equal(struct node_id a, struct node_id b)
{
    return memcmp(a.bytes, b.bytes, NODE_ID_BYTES) == 0;
}

bool node_id_is_none(struct node_id id)
{
    return node_id_equal(id, (struct node_id){0});
}

static bool supersedes(const struct identity_hello *hello, struct node_id id)
{
    for (uint32_t i = 0; i < hello->superseded_count; i++) {
        if (node_id_equal(hello->superseded[i], id))
            return true;
    }
    return false;
}

/* -- the judge --------------------------------------------------------------------------------- */

enum identity_verdict identity_judge(const struct identity *known,
                                     const struct identity_hello *hello,
                                     enum identity_liveness liveness)
{
    const struct identity *self = &hello->self;
    CHECK(!node_id_is_none(self->node_id));
    if (known == NULL)
        return IDENTITY_FIRST;
    bool same_id = node_id_equal(known->node_id, self->node_id);
    if (same_id && known->start_nonce == self->start_nonce)
        return IDENTITY_SAME;
    switch (liveness) {
    case IDENTITY_ANSWERS:
        return IDENTITY_DUPLICATE;
    case IDENTITY_LINKED:
        return IDENTITY_PROBE;
    case IDENTITY_GONE:
        break;
    }
    if (same_id)
        return self->generation > known->generation ? IDENTITY_RESTARTED : IDENTITY_RESTORED;
    if (MUTATE(WIPED_IS_REPLACED))
        return IDENTITY_REPLACED;
    return supersedes(hello, known->node_id) ? IDENTITY_REPLACED : IDENTITY_WIPED;
}

bool identity_recorded(enum identity_verdict verdict)
{
    return verdict == IDENTITY_FIRST || verdict == IDENTITY_RESTARTED ||
           verdict == IDENTITY_REPLACED;
}

enum identity_action identity_action_of(enum identity_verdict verdict)
{
    switch (verdict) {
    case IDENTITY_FIRST:
    case IDENTITY_SAME:
    case IDENTITY_RESTARTED:
    case IDENTITY_REPLACED:
        return IDENTITY_PROCEED;
    case IDENTITY_PROBE:
    case IDENTITY_UNKNOWN:
        return IDENTITY_RETRY;
    case IDENTITY_DUPLICATE:
    case IDENTITY_REMOVED:
        return IDENTITY_STOP;
    case IDENTITY_RESTORED:
    case IDENTITY_WIPED:
        return IDENTITY_RENEW;
    case IDENTITY_VERDICTS:
        break;
    }
    UNREACHABLE("identity verdict");
}

const char *identity_text(enum identity_verdict verdict)
{
    static const char *const texts[] = {
#define X(name, text) text,
        IDENTITY_VERDICT_TABLE(X)
#undef X
    };
    CHECK_U64(verdict, <, IDENTITY_VERDICTS);
    return texts[verdict];
}

/* -- a new incarnation ------------------------------------------------------------------------- */

static void add_superseded(struct identity_hello *hello, struct node_id id)
{
    if (node_id_is_none(id) || supersedes(hello, id))
        return;
    if (hello->superseded_count == IDENTITY_SUPERSEDED_MAX) {
        memmove(hello->superseded, hello->superseded + 1,
                (IDENTITY_SUPERSEDED_MAX - 1) * sizeof hello->superseded[0]);
        hello->superseded_count--;
    }
    hello->superseded[hello->superseded_count++] = id;
}

struct identity_hello identity_renew(const struct identity_hello *mine,
                                     enum identity_verdict verdict, struct node_id known,
                                     struct node_id fresh, bool votes)
{
    CHECK_U64(identity_action_of(verdict), ==, IDENTITY_RENEW);
    CHECK(!node_id_is_none(fresh) && !node_id_equal(fresh, mine->self.node_id));
    CHECK(!supersedes(mine, fresh));
    struct identity_hello renewed = *mine;
    if (verdict == IDENTITY_RESTORED || votes) {
        renewed.self.node_id = fresh;
        renewed.self.generation = 1;
        add_superseded(&renewed, mine->self.node_id);
    }
    /* The judge has on record an id that this directory gave up itself: nothing to add. */
    if (!node_id_equal(known, renewed.self.node_id))
        add_superseded(&renewed, known);
    return renewed;
}

void identity_supersede(struct identity_hello *hello, const struct node_id *ids, uint32_t count)
{
    struct identity_hello named = {.self = hello->self};
    for (uint32_t i = 0; i < count; i++) {
        if (!supersedes(hello, ids[i]) && !node_id_equal(ids[i], hello->self.node_id))
            add_superseded(&named, ids[i]);
    }
    for (uint32_t i = 0; i < hello->superseded_count; i++)
        add_superseded(&named, hello->superseded[i]);
    *hello = named;
}

/* -- as bytes ---------------------------------------------------------------------------------- */

static void id_encode(struct writer *writer, struct node_id id)
{
    writer_bytes(writer, bytes_of(id.bytes, NODE_ID_BYTES));
}

static struct node_id id_decode(struct reader *reader)
{
    struct node_id id = {0};
    struct bytes bytes = reader_bytes(reader, NODE_ID_BYTES);
    if (bytes.size == NODE_ID_BYTES)
        memcpy(id.bytes, bytes.data, NODE_ID_BYTES);
    if (node_id_is_none(id))
        reader->failed = true;
    return id;
}

static void self_encode(struct writer *writer, const struct identity *identity)
{
    CHECK(!node_id_is_none(identity->node_id));
    CHECK_U64(identity->generation, >, 0);
    writer_u8(writer, VERSION);
    id_encode(writer, identity->node_id);
    writer_varint(writer, identity->generation);
    writer_u64(writer, identity->start_nonce);
}

static struct identity self_decode(struct reader *reader)
{
    struct identity identity = {.node_id = id_decode(reader)};
    identity.generation = reader_varint(reader);
    identity.start_nonce = reader_u64(reader);
    if (identity.generation == 0)
        reader->failed = true;
    return identity;
}

struct bytes identity_encode(struct arena *arena, const struct identity *identity)
{
    struct writer writer;
    writer_init(&writer, arena, ENCODED_BYTES);
    self_encode(&writer, identity);
    return writer_result(&writer);
}

enum err identity_decode(struct bytes bytes, struct identity *ret_identity)
{
    struct reader reader = reader_of(bytes);
    uint8_t version = reader_u8(&reader);
    if (reader.failed)
        return ERR_CORRUPT;
    if (version != VERSION)
        return ERR_UNSUPPORTED;
    struct identity identity = self_decode(&reader);
    if (!reader_done(&reader))
        return ERR_CORRUPT;
    *ret_identity = identity;
    return OK;
}

struct bytes identity_hello_encode(struct arena *arena, const struct identity_hello *hello)
{
    CHECK_U64(hello->superseded_count, <=, IDENTITY_SUPERSEDED_MAX);
    struct writer writer;
    writer_init(&writer, arena, ENCODED_BYTES + hello->superseded_count * NODE_ID_BYTES);
    self_encode(&writer, &hello->self);
    writer_varint(&writer, hello->superseded_count);
    for (uint32_t i = 0; i < hello->superseded_count; i++)
        id_encode(&writer, hello->superseded[i]);
    return writer_result(&writer);
}

enum err identity_hello_decode(struct bytes bytes, struct identity_hello *ret_hello)
{
    struct reader reader = reader_of(bytes);
    uint8_t version = reader_u8(&reader);
    if (reader.failed)
        return ERR_CORRUPT;
    if (version != VERSION)
        return ERR_UNSUPPORTED;
    struct identity_hello hello = {.self = self_decode(&reader)};
    uint32_t count = (uint32_t)reader_varint_max(&reader, IDENTITY_SUPERSEDED_MAX);
    for (uint32_t i = 0; i < count; i++) {
        struct node_id id = id_decode(&reader);
        /* Nobody supersedes itself, nor another twice. */
        if (reader.failed || node_id_equal(id, hello.self.node_id) || supersedes(&hello, id))
            return ERR_CORRUPT;
        hello.superseded[hello.superseded_count++] = id;
    }
    if (!reader_done(&reader))
        return ERR_CORRUPT;
    *ret_hello = hello;
    return OK;
}
