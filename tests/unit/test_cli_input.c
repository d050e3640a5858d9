// link: coterie_base
/* What the command line reads: base64 is canonical both ways (RFC 4648), lines come whole and
 * numbered. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/prng.h"
#include "cli/base64.c"
#include "cli/lines.c"

static char noted[256];

void cli_note(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(noted, sizeof noted, format, arguments);
    va_end(arguments);
}

static void base64_vectors(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {{"", ""},
                                           {"f", "Zg=="},
                                           {"fo", "Zm8="},
                                           {"foo", "Zm9v"},
                                           {"foob", "Zm9vYg=="},
                                           {"fooba", "Zm9vYmE="},
                                           {"foobar", "Zm9vYmFy"}};
    static const char *const bad[] = {"Z",    "Zg",   "Zg=",  "Zg==Zg==", "Z===", "====",  "Zh==",
                                      "Zm9=", "Zm 8", "Zm8-", "Zg=a",     "=g==", "Zm8=\n"};
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct bytes bytes;
    for (size_t i = 0; i < ARRAY_COUNT(pairs); i++) {
        assert_string_equal(base64_encode(&arena, bytes_of_string(pairs[i][0])), pairs[i][1]);
        assert_int_equal(base64_decode(&arena, bytes_of_string(pairs[i][1]), &bytes), OK);
        assert_true(bytes_equal(bytes, bytes_of_string(pairs[i][0])));
    }
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        if (base64_decode(&arena, bytes_of_string(bad[i]), &bytes) != ERR_INVALID)
            fail_msg("'%s' was taken", bad[i]);
    }
    arena_deinit(&arena);
}

/* What decodes encodes to the same text again, so every key has one spelling. */
static void base64_round_trips(void **state)
{
    (void)state;
    struct prng prng;
    prng_init(&prng, 1, 0);
    struct arena arena;
    arena_init(&arena, NULL, 0);
    size_t decoded = 0;
    for (int i = 0; i < 20000; i++) {
        uint8_t data[40];
        size_t size = prng_below(&prng, sizeof data);
        for (size_t j = 0; j < size; j++)
            data[j] = (uint8_t)prng_u64(&prng);
        char *text = base64_encode(&arena, bytes_of(data, size));
        struct bytes back;
        assert_int_equal(base64_decode(&arena, bytes_of_string(text), &back), OK);
        assert_true(bytes_equal(back, bytes_of(data, size)));
        size_t text_size = strlen(text);
        if (text_size > 0) {
            static const char letters[] = "AQgw=+/-";
            text[prng_below(&prng, text_size)] = letters[prng_below(&prng, sizeof letters - 1)];
            if (base64_decode(&arena, bytes_of_string(text), &back) == OK) {
                assert_string_equal(base64_encode(&arena, back), text);
                decoded++;
            }
        }
        arena_clear(&arena);
    }
    assert_true(decoded > 1000 && decoded < 20000);
    arena_deinit(&arena);
}

/* Writes `data` into a pipe and reads its lines; the pipe holds all of it. */
static void lines_of(struct bytes data, struct lines *lines, bool close_writer, int *ret_writer)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], data.data, data.size), (ssize_t)data.size);
    if (close_writer)
        close(ends[1]);
    *ret_writer = ends[1];
    char path[64];
    snprintf(path, sizeof path, "/dev/fd/%d", ends[0]);
    assert_true(lines_open(lines, path));
    close(ends[0]);
}

static void lines_are_whole_and_numbered(void **state)
{
    (void)state;
    struct lines lines;
    int writer;
    lines_of(bytes_of_string("one\n\ntwo\r\nthree"), &lines, true, &writer);
    static const char *const expected[] = {"one", "", "two", "three"};
    struct bytes line;
    for (size_t i = 0; i < ARRAY_COUNT(expected); i++) {
        assert_int_equal(lines_next(&lines, &line), LINES_LINE);
        assert_true(bytes_equal(line, bytes_of_string(expected[i])));
        assert_int_equal(lines.line, i + 1);
    }
    assert_int_equal(lines.bytes, sizeof "one\n\ntwo\r\nthree" - 1);
    assert_int_equal(lines_next(&lines, &line), LINES_END);
    assert_int_equal(lines_next(&lines, &line), LINES_END);
    assert_int_equal(lines.line, 4);
    lines_close(&lines);
}

/* Whoever has requests outstanding must not sit in a read. */
static void ready_tells_whether_a_read_would_wait(void **state)
{
    (void)state;
    struct lines lines;
    struct bytes line;
    int writer;
    lines_of(bytes_of_string("one\ntwo\n"), &lines, false, &writer);
    assert_true(lines_ready(&lines));
    assert_int_equal(lines_next(&lines, &line), LINES_LINE);
    assert_true(lines_ready(&lines)); /* buffered */
    assert_int_equal(lines_next(&lines, &line), LINES_LINE);
    assert_false(lines_ready(&lines));
    assert_int_equal(write(writer, "x\n", 2), 2);
    assert_true(lines_ready(&lines));
    assert_int_equal(lines_next(&lines, &line), LINES_LINE);
    assert_false(lines_ready(&lines));
    close(writer);
    assert_true(lines_ready(&lines));
    assert_int_equal(lines_next(&lines, &line), LINES_END);
    lines_close(&lines);
}

/* A line over the limit costs its memory once and is told; the next one is read as ever. */
static void a_line_too_long_is_skipped(void **state)
{
    (void)state;
    char path[] = "/tmp/coterie-test-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    static char block[1 << 20];
    memset(block, 'x', sizeof block);
    for (int i = 0; i < 65; i++)
        assert_int_equal(write(fd, block, sizeof block), sizeof block);
    assert_int_equal(write(fd, "\nnext\n", 6), 6);
    close(fd);
    struct lines lines;
    struct bytes line;
    assert_true(lines_open(&lines, path));
    assert_int_equal(lines.bytes_total, 65 * sizeof block + 6);
    assert_int_equal(lines_next(&lines, &line), LINES_TOO_LONG);
    assert_int_equal(lines_next(&lines, &line), LINES_LINE);
    assert_true(bytes_equal(line, bytes_of_string("next")));
    assert_int_equal(lines.line, 2);
    assert_int_equal(lines_next(&lines, &line), LINES_END);
    assert_int_equal(lines.bytes, lines.bytes_total);
    assert_true(lines.capacity <= 4 * LINE_BYTES_MAX);
    lines_close(&lines);
    unlink(path);
}

static void what_cannot_be_opened_is_told(void **state)
{
    (void)state;
    struct lines lines;
    noted[0] = '\0';
    assert_false(lines_open(&lines, "/nonexistent/file"));
    assert_non_null(strstr(noted, "/nonexistent/file"));
    assert_false(lines_open(&lines, "/tmp"));
    assert_non_null(strstr(noted, "directory"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(base64_vectors),
        cmocka_unit_test(base64_round_trips),
        cmocka_unit_test(lines_are_whole_and_numbered),
        cmocka_unit_test(ready_tells_whether_a_read_would_wait),
        cmocka_unit_test(a_line_too_long_is_skipped),
        cmocka_unit_test(what_cannot_be_opened_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
