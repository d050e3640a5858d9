#include "actors/incarnation.h"

#include "base/codec.h"

#define ROW_PREFIX   "peer-identity/"
#define PREFIX_BYTES (sizeof ROW_PREFIX - 1)
#define KEY_BYTES    (PREFIX_BYTES + 4)
#define ROW_FORMAT   2u
#define ROW_FORMAT_1 1u /* without the ids that were superseded */
#define ROW_BYTES    (96u + IDENTITY_SUPERSEDED_MAX * NODE_ID_BYTES)

static struct bytes row_key(uint32_t member, uint8_t memory[KEY_BYTES])
{
    memcpy(memory, ROW_PREFIX, PREFIX_BYTES);
    for (uint32_t i = 0; i < 4; i++)
        memory[PREFIX_BYTES + i] = (uint8_t)(member >> (24 - 8 * i));
    return bytes_of(memory, KEY_BYTES);
}

/* A peer may say anything: an id twice, or its own, would make a row that cannot be read. */
static void row_take(struct incarnation *row, const struct identity_hello *hello)
{
    struct identity_hello sound = {.self = hello->self};
    identity_supersede(&sound, hello->superseded, hello->superseded_count);
    row->identity = sound.self;
    row->superseded_count = sound.superseded_count;
    memcpy(row->superseded, sound.superseded, sizeof row->superseded);
}

static struct identity_hello hello_of(const struct incarnation *row)
{
    struct identity_hello hello = {.self = row->identity,
                                   .superseded_count = row->superseded_count};
    memcpy(hello.superseded, row->superseded, sizeof hello.superseded);
    return hello;
}

static enum err row_decode(struct bytes value, struct incarnation *ret_row)
{
    struct reader reader = reader_of(value);
    uint8_t format = reader_u8(&reader);
    struct incarnation row = {.known = true, .epoch_bound = reader_u64(&reader)};
    struct bytes identity = reader_bytes(&reader, reader_left(&reader));
    if (reader.failed || (format != ROW_FORMAT && format != ROW_FORMAT_1))
        return ERR_CORRUPT;
    struct identity_hello hello = {0};
    enum err err = format == ROW_FORMAT ? identity_hello_decode(identity, &hello)
                                        : identity_decode(identity, &hello.self);
    if (err != OK)
        return ERR_CORRUPT;
    row_take(&row, &hello);
    *ret_row = row;
    return OK;
}

enum err incarnation_load(struct store *meta, uint32_t member, struct incarnation *ret_row)
{
    uint8_t key[KEY_BYTES];
    uint8_t memory[512];
    struct arena arena;
    struct bytes value = {0};
    arena_init(&arena, memory, sizeof memory);
    enum err err = store_read(meta, STORE_META, row_key(member, key), &arena, &value);
    *ret_row = (struct incarnation){0};
    if (err == OK)
        err = row_decode(value, ret_row);
    arena_deinit(&arena);
    return err == ERR_NOT_FOUND ? OK : err;
}

enum err incarnation_stage(struct store *meta, uint32_t member, const struct incarnation *row)
{
    CHECK(row->known);
    uint8_t key[KEY_BYTES];
    uint8_t memory[1024];
    struct arena arena;
    struct writer writer;
    struct identity_hello hello = hello_of(row);
    arena_init(&arena, memory, sizeof memory);
    writer_init(&writer, &arena, ROW_BYTES);
    writer_u8(&writer, ROW_FORMAT);
    writer_u64(&writer, row->epoch_bound);
    writer_bytes(&writer, identity_hello_encode(&arena, &hello));
    enum err err =
        store_put(meta, STORE_META, row_key(member, key), writer_result(&writer), STORE_SYNC_NOW);
    arena_deinit(&arena);
    return err;
}

struct incarnation_answer incarnation_judge(const struct incarnation *row,
                                            const struct identity_hello *hello,
                                            uint64_t epoch_bound, enum identity_liveness liveness,
                                            struct incarnation *ret_row)
{
    struct incarnation_answer answer = {
        .verdict = identity_judge(row->known ? &row->identity : NULL, hello, liveness),
        .known = row->identity,
        .superseded_count = row->superseded_count,
        .epoch_bound = row->epoch_bound,
    };
    memcpy(answer.superseded, row->superseded, sizeof answer.superseded);
    answer.action = identity_action_of(answer.verdict);
    *ret_row = *row;
    if (answer.action != IDENTITY_PROCEED)
        return answer;
    if (identity_recorded(answer.verdict)) {
        ret_row->known = true;
        row_take(ret_row, hello);
    }
    if (answer.verdict == IDENTITY_SAME && hello->self.generation > row->identity.generation)
        ret_row->identity.generation = hello->self.generation;
    if (epoch_bound > ret_row->epoch_bound)
        ret_row->epoch_bound = epoch_bound;
    return answer;
}

bool incarnation_equal(const struct incarnation *a, const struct incarnation *b)
{
    return a->known == b->known && a->epoch_bound == b->epoch_bound &&
           a->identity.generation == b->identity.generation &&
           a->identity.start_nonce == b->identity.start_nonce &&
           node_id_equal(a->identity.node_id, b->identity.node_id) &&
           a->superseded_count == b->superseded_count &&
           memcmp(a->superseded, b->superseded, a->superseded_count * sizeof a->superseded[0]) == 0;
}
