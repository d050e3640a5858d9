// link: coterie_model
/* Rows and hellos come from disks and peers: each has one encoding, and everything else is refused
 * (model/identity.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/prng.h"
#include "model/identity.h"

#include <stdlib.h>

#define SEED 20261122u

static struct node_id id_of(uint8_t number)
{
    return (struct node_id){.bytes = {number, [15] = 7}};
}

static struct identity_hello hello_of(uint8_t id, uint64_t generation, uint64_t nonce)
{
    return (struct identity_hello){
        .self = {.node_id = id_of(id), .generation = generation, .start_nonce = nonce}};
}

static struct identity_hello random_hello(struct prng *prng)
{
    struct identity_hello hello = hello_of(1 + (uint8_t)prng_below(prng, 50), 1, prng_u64(prng));
    hello.self.generation = 1 + (prng_u64(prng) >> (1 + prng_below(prng, 63)));
    hello.superseded_count = (uint32_t)prng_below(prng, IDENTITY_SUPERSEDED_MAX + 1);
    for (uint32_t i = 0; i < hello.superseded_count; i++)
        hello.superseded[i] = id_of((uint8_t)(100 + i));
    return hello;
}

static enum err decode_hello(const uint8_t *data, size_t size, struct identity_hello *ret_hello)
{
    uint8_t *copy = malloc(size + 1); /* its exact size, for AddressSanitizer */
    assert_non_null(copy);
    memcpy(copy + 1, data, size);
    enum err err = identity_hello_decode(bytes_of(copy + 1, size), ret_hello);
    free(copy);
    return err;
}

static void encodings_come_back(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct prng prng;
    prng_init(&prng, SEED, 20);
    for (uint32_t round = 0; round < 2000; round++) {
        arena_clear(&arena);
        struct identity_hello hello = random_hello(&prng);
        struct identity_hello back;
        struct bytes bytes = identity_hello_encode(&arena, &hello);
        assert_int_equal(identity_hello_decode(bytes, &back), OK);
        assert_true(bytes_equal(bytes, identity_hello_encode(&arena, &back)));
        assert_int_equal(back.superseded_count, hello.superseded_count);
        assert_memory_equal(back.superseded, hello.superseded, sizeof hello.superseded);
        assert_memory_equal(&back.self, &hello.self, sizeof hello.self);
        for (size_t size = 0; size < bytes.size; size++)
            assert_int_equal(decode_hello(bytes.data, size, &back), ERR_CORRUPT);

        struct identity row;
        bytes = identity_encode(&arena, &hello.self);
        assert_int_equal(identity_decode(bytes, &row), OK);
        assert_memory_equal(&row, &hello.self, sizeof row);
        struct identity untouched = {.generation = 77};
        for (size_t size = 0; size < bytes.size; size++)
            assert_int_equal(identity_decode(bytes_of(bytes.data, size), &untouched), ERR_CORRUPT);
        assert_int_equal(untouched.generation, 77);
    }
    arena_deinit(&arena);
}

static void damaged_encodings(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct prng prng;
    prng_init(&prng, SEED, 21);
    uint32_t taken = 0;
    for (uint32_t round = 0; round < 50000; round++) {
        arena_clear(&arena);
        struct identity_hello hello = random_hello(&prng);
        struct bytes bytes = identity_hello_encode(&arena, &hello);
        uint8_t data[400];
        size_t size = bytes.size + prng_below(&prng, 2);
        memset(data, 0, sizeof data);
        memcpy(data, bytes.data, bytes.size);
        for (uint64_t flips = 1 + prng_below(&prng, 3); flips > 0; flips--)
            data[prng_below(&prng, size)] = (uint8_t)prng_u64(&prng);
        struct identity_hello back = {.superseded_count = 77};
        enum err err = decode_hello(data, size, &back);
        if (err == OK) {
            assert_true(bytes_equal(bytes_of(data, size), identity_hello_encode(&arena, &back)));
            taken++;
        } else {
            assert_int_equal(err, data[0] == 1 ? ERR_CORRUPT : ERR_UNSUPPORTED);
            assert_int_equal(back.superseded_count, 77);
        }
        struct identity row;
        err = identity_decode(bytes_of(data, size), &row);
        if (err == OK)
            assert_true(bytes_equal(bytes_of(data, size), identity_encode(&arena, &row)));
    }
    assert_in_range(taken, 1000, 49000);
    arena_deinit(&arena);
}

/* Version 1, id, generation 5, nonce 50; in a hello followed by the ids superseded. */
static void malformed_encodings(void **state)
{
    (void)state;
#define ID_1  1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7
#define ID_2  2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7
#define NONE  0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
#define NONCE 50, 0, 0, 0, 0, 0, 0, 0
    static const struct {
        enum err row, hello;
        size_t size;
        uint8_t data[64];
    } rows[] = {
        {OK, ERR_CORRUPT, 26, {1, ID_1, 5, NONCE}},
        {ERR_CORRUPT, OK, 27, {1, ID_1, 5, NONCE, 0}},
        {ERR_CORRUPT, OK, 43, {1, ID_1, 5, NONCE, 1, ID_2}},
        {ERR_CORRUPT, ERR_CORRUPT, 43, {1, ID_1, 5, NONCE, 1, ID_1}},       /* itself */
        {ERR_CORRUPT, ERR_CORRUPT, 43, {1, ID_1, 5, NONCE, 1, NONE}},       /* nobody */
        {ERR_CORRUPT, ERR_CORRUPT, 59, {1, ID_1, 5, NONCE, 2, ID_2, ID_2}}, /* twice */
        {ERR_CORRUPT, ERR_CORRUPT, 43, {1, ID_1, 5, NONCE, 2, ID_2}},
        {ERR_CORRUPT, ERR_CORRUPT, 59, {1, ID_1, 5, NONCE, 1, ID_2, ID_2}},
        {ERR_CORRUPT, ERR_CORRUPT, 26, {1, ID_1, 0, NONCE}}, /* never started */
        {ERR_CORRUPT, ERR_CORRUPT, 27, {1, ID_1, 0, NONCE, 0}},
        {ERR_CORRUPT, ERR_CORRUPT, 26, {1, NONE, 5, NONCE}},
        {ERR_CORRUPT, ERR_CORRUPT, 27, {1, NONE, 5, NONCE, 0}},
        {ERR_CORRUPT, ERR_CORRUPT, 27, {1, ID_1, 0x85, 0, NONCE}}, /* padded */
        {ERR_UNSUPPORTED, ERR_UNSUPPORTED, 26, {2, ID_1, 5, NONCE}},
        {ERR_UNSUPPORTED, ERR_UNSUPPORTED, 1, {0}},
        {ERR_CORRUPT, ERR_CORRUPT, 0, {0}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct identity row;
        struct identity_hello hello;
        assert_int_equal(identity_decode(bytes_of(rows[i].data, rows[i].size), &row), rows[i].row);
        assert_int_equal(decode_hello(rows[i].data, rows[i].size, &hello), rows[i].hello);
    }
    uint8_t many[27 + 17 * NODE_ID_BYTES] = {1, ID_1, 5, NONCE, 17};
    for (uint8_t i = 0; i < 17; i++)
        many[27 + i * NODE_ID_BYTES] = (uint8_t)(20 + i);
    struct identity_hello hello;
    assert_int_equal(decode_hello(many, sizeof many, &hello), ERR_CORRUPT);
    many[26] = 16;
    assert_int_equal(decode_hello(many, sizeof many - NODE_ID_BYTES, &hello), OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(encodings_come_back),
        cmocka_unit_test(damaged_encodings),
        cmocka_unit_test(malformed_encodings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
