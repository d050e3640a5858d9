/* base64.h -- standard base64 (RFC 4648 section 4), padded. */
#ifndef CLI_BASE64_H
#define CLI_BASE64_H

#include "base/arena.h"
#include "base/err.h"

/* With a closing NUL, in the arena. */
char *base64_encode(struct arena *arena, struct bytes bytes);
/* INVALID where `text` is not canonical padded base64; nothing is skipped. */
enum err base64_decode(struct arena *arena, struct bytes text, struct bytes *ret_bytes) MUST_USE;

#endif
