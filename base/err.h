/* err.h -- operating errors: what the world can do to us. One enum, one text table.
 *
 * On any error no `ret_` parameter has been touched. Must be looked at.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include "base/check.h"

#define ERR_TABLE(X)                                                                               \
    X(OK, "ok")                                                                                    \
    X(NOT_FOUND, "not found")                                                                      \
    X(EXISTS, "exists already")                                                                    \
    X(INVALID, "invalid argument")                                                                 \
    X(LIMIT, "over a limit")                                                                       \
    X(CORRUPT, "corrupt data")                                                                     \
    X(IO, "input/output error")                                                                    \
    X(OVERLOADED, "overloaded, retry later")                                                       \
    X(UNAVAILABLE, "not enough replicas")                                                          \
    X(TIMEOUT, "deadline passed")                                                                  \
    X(CONFLICT, "conflict")                                                                        \
    X(PRECONDITION, "failed precondition")                                                         \
    X(STALE_EPOCH, "older topology epoch")                                                         \
    X(STALE_FLOOR, "read before tombstones were reaped")                                           \
    X(INCOMPLETE, "this copy is not complete yet")                                                 \
    X(UNSUPPORTED, "not supported")                                                                \
    X(DENIED, "refused")                                                                           \
    X(CLOSED, "closed")

enum err {
#define X(name, text) ERR_##name,
    ERR_TABLE(X)
#undef X
        ERR_COUNT
};
#define OK ERR_OK

const char *err_text(enum err err);

#endif
