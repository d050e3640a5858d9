#include "rpc/context.h"

#include "model/limits.h"

#define FORMAT_PLAIN 1u

struct bytes context_of_clock(struct arena *arena, const struct clock *clock)
{
    struct writer writer;
    writer_init(&writer, arena, 64);
    writer_u8(&writer, FORMAT_PLAIN);
    clock_encode(&writer, clock);
    return writer_result(&writer);
}

struct bytes context_of_clock_bytes(struct arena *arena, struct bytes clock)
{
    if (clock.size == 0)
        return clock;
    struct writer writer;
    writer_init(&writer, arena, 1 + clock.size);
    writer_u8(&writer, FORMAT_PLAIN);
    writer_bytes(&writer, clock);
    return writer_result(&writer);
}

enum err context_open(struct arena *scratch, struct bytes context, struct bytes *ret_clock)
{
    if (context.size > CONTEXT_BYTES_MAX)
        return ERR_LIMIT;
    struct reader reader = reader_of(context);
    if (reader_u8(&reader) != FORMAT_PLAIN)
        return ERR_CORRUPT;
    struct clock clock;
    if (clock_decode(&reader, scratch, &clock) != OK || !reader_done(&reader))
        return ERR_CORRUPT;
    *ret_clock = bytes_of(context.data + 1, context.size - 1);
    return OK;
}
