#include "base/check.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

void check_failed(const char *file, int line, const char *what)
{
    fprintf(stderr, "CHECK failed at %s:%d: %s\n", file, line, what);
    abort();
}

void check_failed_u64(const char *file, int line, const char *what, uint64_t a, uint64_t b)
{
    fprintf(stderr, "CHECK failed at %s:%d: %s (%" PRIu64 ", %" PRIu64 ")\n", file, line, what, a,
            b);
    abort();
}
