// link: coterie_rpc
/* A context is taken back by any node of the cluster that gave it, for the key that it was given
 * for, and in no other case (DESIGN.md 5: opaque and authenticated; the contract in rpc/context.h).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model/limits.h"
#include "rpc/context.h"
#include "tests/unit/random_set.h"

#include <stdlib.h>

#define KEYSPACE 0x01020304u

static const uint8_t cluster_id[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
static const char secret[] = "ssssssssssssssssssssssssssssssss";
static const char key[] = "cart:7";

struct fixture {
    struct arena arena;
    struct context_keys keys;
    struct context_scope scope;
};

static struct context_keys keys_of(const char *text)
{
    struct context_keys keys;
    context_keys_derive(cluster_id, bytes_of_string(text), &keys);
    return keys;
}

static int start(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    arena_init(&fixture->arena, NULL, 0);
    fixture->keys = keys_of(secret);
    fixture->scope = context_scope_of(&fixture->keys, KEYSPACE, bytes_of_string(key));
    *state = fixture;
    return 0;
}

static int stop(void **state)
{
    struct fixture *fixture = *state;
    arena_deinit(&fixture->arena);
    free(fixture);
    return 0;
}

static struct bytes clock_bytes(struct arena *arena, const struct clock *clock)
{
    struct writer writer;
    writer_init(&writer, arena, 64);
    clock_encode(&writer, clock);
    return writer_result(&writer);
}

/* An exact copy on the heap, so that a read past its end is seen by ASan. On a refusal the result
 * is untouched. */
static enum err open_copy(struct fixture *fixture, const struct context_keys *keys,
                          const struct context_scope *scope, struct bytes token)
{
    uint8_t *copy = malloc(token.size == 0 ? 1 : token.size);
    assert_non_null(copy);
    if (token.size != 0)
        memcpy(copy, token.data, token.size);
    struct bytes untouched = bytes_of(copy, 12345);
    struct bytes clock = untouched;
    enum err err = context_open(&fixture->arena, keys, scope, bytes_of(copy, token.size), &clock);
    if (err == OK)
        assert_true(clock.size < token.size);
    else
        assert_int_equal(clock.size, untouched.size);
    free(copy);
    return err;
}

static void refused(struct fixture *fixture, const uint8_t *token, size_t size)
{
    assert_int_equal(open_copy(fixture, &fixture->keys, &fixture->scope, bytes_of(token, size)),
                     ERR_CORRUPT);
}

static struct bytes some_token(struct fixture *fixture)
{
    struct clock clock = clock_of(&fixture->arena, 0x0013000500070fffull);
    return context_of_clock(&fixture->arena, &fixture->keys, &fixture->scope, &clock);
}

/* What comes back is what was sealed, whichever way, also for a key of which nothing is known. */
static void test_round_trip(void **state)
{
    struct fixture *fixture = *state;
    struct prng prng;
    prng_init(&prng, 1, 0);
    for (int round = 0; round < 500; round++) {
        struct clock clock = clock_of(&fixture->arena, round == 0 ? 0 : random_seen(&prng));
        struct bytes bytes = clock_bytes(&fixture->arena, &clock);
        struct bytes token =
            context_of_clock(&fixture->arena, &fixture->keys, &fixture->scope, &clock);
        assert_int_equal(token.size, 1 + bytes.size + CONTEXT_MAC_BYTES);
        assert_true(bytes_equal(token, context_of_clock_bytes(&fixture->arena, &fixture->keys,
                                                              &fixture->scope, bytes)));
        struct bytes opened = {0};
        assert_int_equal(
            context_open(&fixture->arena, &fixture->keys, &fixture->scope, token, &opened), OK);
        assert_true(bytes_equal(opened, bytes));
    }
    struct bytes none =
        context_of_clock_bytes(&fixture->arena, &fixture->keys, &fixture->scope, bytes_of(NULL, 0));
    assert_int_equal(none.size, 0);
}

/* Nodes of different builds are one cluster: these bytes were computed from the description alone,
 * by other implementations (BLAKE2b of Python, SipHash of OpenSSL). */
static void test_bytes_are_fixed(void **state)
{
    struct fixture *fixture = *state;
    static const uint8_t expected[] = {0x02, 0x01, 0x01, 0x05, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
                                       0x00, 0x03, 0x00, 0x6a, 0x11, 0xee, 0xee, 0xd8, 0x76, 0xde,
                                       0x0b, 0x1c, 0x20, 0x8d, 0x17, 0xe3, 0xac, 0xab, 0x7c};
    const struct clock_entry entry = {.member = 1, .key_epoch = 5, .base = 3};
    struct bytes token = context_of_clock(&fixture->arena, &fixture->keys, &fixture->scope,
                                          &(struct clock){.count = 1, .entries = &entry});
    assert_int_equal(token.size, sizeof expected);
    assert_memory_equal(token.data, expected, sizeof expected);
    assert_true(fixture->keys.mark == 0xf9dc5b6956d8ba97ull);
}

static void test_every_flipped_bit(void **state)
{
    struct fixture *fixture = *state;
    struct bytes token = some_token(fixture);
    uint8_t *bad = arena_alloc(&fixture->arena, token.size);
    memcpy(bad, token.data, token.size);
    for (size_t i = 0; i < 8 * token.size; i++) {
        bad[i / 8] ^= (uint8_t)(1u << i % 8);
        refused(fixture, bad, token.size);
        bad[i / 8] ^= (uint8_t)(1u << i % 8);
    }
    assert_int_equal(open_copy(fixture, &fixture->keys, &fixture->scope, token), OK);
}

static void test_every_cut_and_growth(void **state)
{
    struct fixture *fixture = *state;
    struct bytes token = some_token(fixture);
    for (size_t size = 0; size < token.size; size++) {
        refused(fixture, token.data, size);                     /* cut at the end */
        refused(fixture, token.data + token.size - size, size); /* at the start */
    }
    uint8_t *longer = arena_alloc(&fixture->arena, token.size + 1);
    for (size_t at = 0; at <= token.size; at++) {
        memcpy(longer, token.data, at);
        if (at < token.size)
            memcpy(longer + at + 1, token.data + at, token.size - at);
        for (unsigned value = 0; value <= UINT8_MAX; value++) {
            longer[at] = (uint8_t)value;
            refused(fixture, longer, token.size + 1);
        }
    }
}

static void test_foreign(void **state)
{
    struct fixture *fixture = *state;
    struct bytes token = some_token(fixture);
    static const char *const others[] = {"", "cart:8", "cart:", "cart:70", "Cart:7"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        struct context_scope other =
            context_scope_of(&fixture->keys, KEYSPACE, bytes_of_string(others[i]));
        assert_int_equal(open_copy(fixture, &fixture->keys, &other, token), ERR_CORRUPT);
    }
    struct context_scope keyspace =
        context_scope_of(&fixture->keys, KEYSPACE + 1, bytes_of_string(key));
    assert_int_equal(open_copy(fixture, &fixture->keys, &keyspace, token), ERR_CORRUPT);

    static const char *const secrets[] = {"", "sssssssssssssssssssssssssssssss",
                                          "tsssssssssssssssssssssssssssssss",
                                          "sssssssssssssssssssssssssssssssss"};
    for (size_t i = 0; i < sizeof secrets / sizeof secrets[0]; i++) {
        struct context_keys keys = keys_of(secrets[i]);
        struct context_scope scope = context_scope_of(&keys, KEYSPACE, bytes_of_string(key));
        assert_int_equal(open_copy(fixture, &keys, &scope, token), ERR_CORRUPT);
        /* Each of the two keys counts. */
        struct context_keys half = fixture->keys;
        memcpy(half.token, keys.token, sizeof half.token);
        assert_int_equal(open_copy(fixture, &half, &fixture->scope, token), ERR_CORRUPT);
        assert_int_equal(open_copy(fixture, &fixture->keys, &scope, token), ERR_CORRUPT);
    }
    for (size_t i = 0; i < sizeof cluster_id; i++) {
        uint8_t id[16];
        memcpy(id, cluster_id, sizeof id);
        id[i] ^= 1;
        struct context_keys keys;
        context_keys_derive(id, bytes_of_string(secret), &keys);
        struct context_scope scope = context_scope_of(&keys, KEYSPACE, bytes_of_string(key));
        assert_int_equal(open_copy(fixture, &keys, &scope, token), ERR_CORRUPT);
    }
    /* Another node of this cluster. */
    struct context_keys same = keys_of(secret);
    struct context_scope scope = context_scope_of(&same, KEYSPACE, bytes_of_string(key));
    assert_int_equal(open_copy(fixture, &same, &scope, token), OK);
}

/* The parts of two sound tokens do not make a third. */
static void test_transplants(void **state)
{
    struct fixture *fixture = *state;
    struct clock small = clock_of(&fixture->arena, 0x3);
    struct clock large = clock_of(&fixture->arena, 0x7);
    struct bytes a = context_of_clock(&fixture->arena, &fixture->keys, &fixture->scope, &small);
    struct bytes b = context_of_clock(&fixture->arena, &fixture->keys, &fixture->scope, &large);
    assert_int_equal(a.size, b.size);
    uint8_t *mixed = arena_alloc(&fixture->arena, a.size);
    memcpy(mixed, b.data, b.size);
    memcpy(mixed + a.size - CONTEXT_MAC_BYTES, a.data + a.size - CONTEXT_MAC_BYTES,
           CONTEXT_MAC_BYTES);
    refused(fixture, mixed, a.size);
}

/* Sound MAC, senseless clock: a node that is broken must not pass it on to the replicas. */
static void test_signed_nonsense(void **state)
{
    struct fixture *fixture = *state;
    static const uint8_t nonsense[][3] = {{9, 0, 0}, {0, 0, 0}, {0xff, 0xff, 0xff}};
    for (size_t i = 0; i < sizeof nonsense / sizeof nonsense[0]; i++) {
        struct bytes token =
            context_of_clock_bytes(&fixture->arena, &fixture->keys, &fixture->scope,
                                   bytes_of(nonsense[i], sizeof nonsense[i]));
        refused(fixture, token.data, token.size);
    }
}

static void test_limit(void **state)
{
    struct fixture *fixture = *state;
    uint8_t *big = arena_alloc(&fixture->arena, CONTEXT_BYTES_MAX + 1);
    memset(big, 2, CONTEXT_BYTES_MAX + 1);
    refused(fixture, big, CONTEXT_BYTES_MAX);
    assert_int_equal(
        open_copy(fixture, &fixture->keys, &fixture->scope, bytes_of(big, CONTEXT_BYTES_MAX + 1)),
        ERR_LIMIT);
}

#define WITH_KEYS(test) cmocka_unit_test_setup_teardown(test, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_KEYS(test_round_trip),        WITH_KEYS(test_bytes_are_fixed),
        WITH_KEYS(test_every_flipped_bit), WITH_KEYS(test_every_cut_and_growth),
        WITH_KEYS(test_foreign),           WITH_KEYS(test_transplants),
        WITH_KEYS(test_signed_nonsense),   WITH_KEYS(test_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
