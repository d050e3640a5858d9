// link: coterie_codec
/* Whatever bytes arrive, as one message or as a frame: no crash, and what is accepted can be sent
 * again and means the same.
 */
#include "base/check.h"
#include "rpc/peer_codec.h"

#define NOW_NS UINT64_C(1000000000)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool check_message(void *closure, struct bytes bytes)
{
    (void)closure;
    struct message *message = peer_message_decode(bytes, 3, 9, NOW_NS);
    if (message == NULL)
        return false;
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct bytes first = peer_message_encode(&arena, message, NOW_NS);
    CHECK(first.size != 0);
    struct message *again = peer_message_decode(first, 3, 9, NOW_NS);
    CHECK(again != NULL);
    CHECK(bytes_equal(first, peer_message_encode(&arena, again, NOW_NS)));
    message_free(again);
    message_free(message);
    arena_deinit(&arena);
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes input = bytes_of(data, size);
    struct peer_hello mine = {.protocol_min = 1, .protocol_max = 1, .partitions = 64, .member = 1};
    struct peer_hello theirs;
    bool has_hello;
    char why[256];
    check_message(NULL, input);
    if (peer_frame_walk(input, check_message, NULL, &has_hello, &theirs) == OK && has_hello)
        (void)peer_hello_refusal(&mine, &theirs, why, sizeof why);
    return 0;
}
