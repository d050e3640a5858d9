#include "actors/incarnation.h"

#include "base/codec.h"

#define ROW_PREFIX   "peer-identity/"
#define PREFIX_BYTES (sizeof ROW_PREFIX - 1)
#define KEY_BYTES    (PREFIX_BYTES + 4)
#define ROW_FORMAT   2u
#define ROW_FORMAT_1 1u /* without the ids that were superseded */
#define ROW_BYTES    (96u + IDENTITY_SUPERSEDED_BYTES)

static struct bytes row_key(uint32_t member, uint8_t memory[KEY_BYTES])
{
    memcpy(memory, ROW_PREFIX, PREFIX_BYTES);
    for (uint32_t i = 0; i < 4; i++)
        memory[PREFIX_BYTES + i] = (uint8_t)(member >> (24 - 8 * i));
    return bytes_of(memory, KEY_BYTES);
}

/* A peer may say anything: an id twice, or its own, would make a row that cannot be read. */
static struct identity_hello sound(const struct identity_hello *said)
{
    struct identity_hello hello = {.self = said->self};
    identity_supersede(&hello, said->superseded, said->superseded_count);
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
    enum err err = format == ROW_FORMAT ? identity_hello_decode(identity, &row.hello)
                                        : identity_decode(identity, &row.hello.self);
    if (err != OK)
        return ERR_CORRUPT;
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
    arena_init(&arena, memory, sizeof memory);
    writer_init(&writer, &arena, ROW_BYTES);
    writer_u8(&writer, ROW_FORMAT);
    writer_u64(&writer, row->epoch_bound);
    writer_bytes(&writer, identity_hello_encode(&arena, &row->hello));
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
        .verdict = identity_judge(row->known ? &row->hello.self : NULL, hello, liveness),
        .known = row->hello,
        .epoch_bound = row->epoch_bound,
    };
    answer.action = identity_action_of(answer.verdict);
    *ret_row = *row;
    if (answer.action != IDENTITY_PROCEED)
        return answer;
    if (identity_recorded(answer.verdict)) {
        ret_row->known = true;
        ret_row->hello = sound(hello);
    }
    if (answer.verdict == IDENTITY_SAME && hello->self.generation > row->hello.self.generation)
        ret_row->hello.self.generation = hello->self.generation;
    if (epoch_bound > ret_row->epoch_bound)
        ret_row->epoch_bound = epoch_bound;
    return answer;
}

bool incarnation_equal(const struct incarnation *a, const struct incarnation *b)
{
    const struct identity_hello *ours = &a->hello;
    const struct identity_hello *theirs = &b->hello;
    return a->known == b->known && a->epoch_bound == b->epoch_bound &&
           ours->self.generation == theirs->self.generation &&
           ours->self.start_nonce == theirs->self.start_nonce &&
           node_id_equal(ours->self.node_id, theirs->self.node_id) &&
           ours->superseded_count == theirs->superseded_count &&
           memcmp(ours->superseded, theirs->superseded,
                  ours->superseded_count * sizeof ours->superseded[0]) == 0;
}
