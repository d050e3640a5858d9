/* check.h -- programmer's errors end the process, in every build.
 *
 * CHECK(cond) prints the condition and its place and aborts. CHECK_U64(a, op, b) prints both values
 * as well. Operating errors are `enum err` (err.h), never a CHECK.
 */
#ifndef BASE_CHECK_H
#define BASE_CHECK_H

#include <stdint.h>

_Noreturn void check_failed(const char *file, int line, const char *what);
_Noreturn void check_failed_u64(const char *file, int line, const char *what, uint64_t a,
                                uint64_t b);

#define CHECK(cond)                                                                                \
    do {                                                                                           \
        if (__builtin_expect(!(cond), 0))                                                          \
            check_failed(__FILE__, __LINE__, #cond);                                               \
    } while (0)

#define CHECK_U64(a, op, b)                                                                        \
    do {                                                                                           \
        uint64_t check_a_ = (uint64_t)(a);                                                         \
        uint64_t check_b_ = (uint64_t)(b);                                                         \
        if (__builtin_expect(!(check_a_ op check_b_), 0))                                          \
            check_failed_u64(__FILE__, __LINE__, #a " " #op " " #b, check_a_, check_b_);           \
    } while (0)

#define UNREACHABLE(what) check_failed(__FILE__, __LINE__, "unreachable: " what)

#define MUST_USE       __attribute__((warn_unused_result))
#define ARRAY_COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* The struct of type `type` whose member `member` lies at `pointer`. */
#define CONTAINER_OF(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

#endif
