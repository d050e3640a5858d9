/* A token is made, and checked, in a buffer that begins with what its MAC covers beside the token
 * itself:
 *
 *     u32 keyspace id, 16 bytes name of the key | u8 format, clock, MAC
 *                                                 ^ the token
 */
#include "rpc/context.h"

#include "base/check.h"
#include "model/limits.h"

#include <sodium.h>
#include <string.h>

#define FORMAT_SIPHASH 2u
#define SCOPE_BYTES    (4u + 16u)
#define TOKEN_MIN      (1u + 1u + CONTEXT_MAC_BYTES)

static_assert(crypto_shorthash_siphashx24_BYTES == CONTEXT_MAC_BYTES &&
                  crypto_shorthash_siphashx24_BYTES == sizeof((struct context_scope *)0)->name &&
                  crypto_shorthash_siphashx24_KEYBYTES == sizeof((struct context_keys *)0)->token,
              "as libsodium has them");

void context_keys_derive(const uint8_t cluster_id[16], struct bytes secret,
                         struct context_keys *ret_keys)
{
    static const char label[] = "coterie context keys 2";
    uint8_t derived[16 + 16 + 8];
    crypto_generichash_state state;
    CHECK(sodium_init() >= 0);
    CHECK(crypto_generichash_init(&state, NULL, 0, sizeof derived) == 0);
    /* Two parts of fixed size, so that no secret can stand for another id. */
    CHECK(crypto_generichash_update(&state, (const uint8_t *)label, sizeof label) == 0);
    CHECK(crypto_generichash_update(&state, cluster_id, 16) == 0);
    CHECK(crypto_generichash_update(&state, secret.data, secret.size) == 0);
    CHECK(crypto_generichash_final(&state, derived, sizeof derived) == 0);
    memcpy(ret_keys->name, derived, sizeof ret_keys->name);
    memcpy(ret_keys->token, derived + 16, sizeof ret_keys->token);
    struct reader reader = reader_of(bytes_of(derived + 32, 8));
    ret_keys->mark = reader_u64(&reader) | 1;
    sodium_memzero(&state, sizeof state);
    sodium_memzero(derived, sizeof derived);
}

struct context_scope context_scope_of(const struct context_keys *keys, uint32_t keyspace_id,
                                      struct bytes key)
{
    struct context_scope scope = {.keyspace_id = keyspace_id};
    crypto_shorthash_siphashx24(scope.name, key.data, key.size, keys->name);
    return scope;
}

static void token_begin(struct writer *writer, const struct context_scope *scope)
{
    writer_u32(writer, scope->keyspace_id);
    writer_bytes(writer, bytes_of(scope->name, sizeof scope->name));
    writer_u8(writer, FORMAT_SIPHASH);
}

static struct bytes token_end(struct writer *writer, const struct context_keys *keys)
{
    uint8_t mac[CONTEXT_MAC_BYTES];
    struct bytes covered = writer_result(writer);
    crypto_shorthash_siphashx24(mac, covered.data, covered.size, keys->token);
    writer_bytes(writer, bytes_of(mac, sizeof mac));
    struct bytes all = writer_result(writer);
    return bytes_of(all.data + SCOPE_BYTES, all.size - SCOPE_BYTES);
}

struct bytes context_of_clock(struct arena *arena, const struct context_keys *keys,
                              const struct context_scope *scope, const struct clock *clock)
{
    struct writer writer;
    writer_init(&writer, arena, 128);
    token_begin(&writer, scope);
    clock_encode(&writer, clock);
    return token_end(&writer, keys);
}

struct bytes context_of_clock_bytes(struct arena *arena, const struct context_keys *keys,
                                    const struct context_scope *scope, struct bytes clock)
{
    if (clock.size == 0)
        return clock;
    struct writer writer;
    writer_init(&writer, arena, SCOPE_BYTES + 1 + clock.size + CONTEXT_MAC_BYTES);
    token_begin(&writer, scope);
    writer_bytes(&writer, clock);
    return token_end(&writer, keys);
}

enum err context_open(struct arena *scratch, const struct context_keys *keys,
                      const struct context_scope *scope, struct bytes context,
                      struct bytes *ret_clock)
{
    if (context.size > CONTEXT_BYTES_MAX)
        return ERR_LIMIT;
    if (context.size < TOKEN_MIN || context.data[0] != FORMAT_SIPHASH)
        return ERR_CORRUPT;
    struct bytes bytes = bytes_of(context.data + 1, context.size - 1 - CONTEXT_MAC_BYTES);
    struct bytes expected = context_of_clock_bytes(scratch, keys, scope, bytes);
    CHECK_U64(expected.size, ==, context.size);
    size_t covered = context.size - CONTEXT_MAC_BYTES;
    if (sodium_memcmp(expected.data + covered, context.data + covered, CONTEXT_MAC_BYTES) != 0)
        return ERR_CORRUPT;
    /* Ours, but perhaps of a node with larger limits. */
    struct reader reader = reader_of(bytes);
    struct clock clock;
    if (clock_decode(&reader, scratch, &clock) != OK || !reader_done(&reader))
        return ERR_CORRUPT;
    *ret_clock = bytes;
    return OK;
}
