#include "base/err.h"

const char *err_text(enum err err)
{
    static const char *const texts[] = {
#define X(name, text) text,
        ERR_TABLE(X)
#undef X
    };
    CHECK_U64(err, <, ERR_COUNT);
    return texts[err];
}
