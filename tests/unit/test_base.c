// link: coterie_base
/* base/: arenas, byte views, the codec, seeded numbers, the heap, errors, log lines and checks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/check.h"
#include "base/codec.h"
#include "base/err.h"
#include "base/heap.h"
#include "base/log.h"
#include "base/prng.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define SEED 31u

/* -- arena ----------------------------------------------------------------------------------- */

/* Allocations are aligned, do not overlap and keep their contents, whatever their sizes. */
static void test_arena_allocations(void **state)
{
    (void)state;
    struct prng prng;
    prng_init(&prng, SEED, 1);
    uint8_t memory[500];
    for (uint32_t round = 0; round < 200; round++) {
        struct arena arena;
        size_t offset = prng_below(&prng, 20); /* memory need not be aligned */
        arena_init(&arena, round % 2 == 0 ? NULL : memory + offset,
                   round % 2 == 0 ? 0 : sizeof memory - offset);
        for (uint32_t life = 0; life < 3; life++) {
            uint8_t *blocks[100];
            size_t sizes[100];
            for (uint32_t i = 0; i < 100; i++) {
                sizes[i] = prng_below(&prng, prng_chance(&prng, 0.05) ? 100000 : 100);
                blocks[i] = arena_alloc(&arena, sizes[i]);
                assert_non_null(blocks[i]);
                assert_int_equal((uintptr_t)blocks[i] % 16, 0);
                memset(blocks[i], (int)i, sizes[i]);
            }
            for (uint32_t i = 0; i < 100; i++) {
                for (size_t j = 0; j < sizes[i]; j++)
                    assert_int_equal(blocks[i][j], i);
            }
            arena_clear(&arena);
            assert_true(arena.chunk_bytes <= 64 * 1024);
        }
        arena_deinit(&arena);
    }
}

static void test_arena_memory(void **state)
{
    (void)state;
    _Alignas(16) uint8_t memory[256];
    struct arena arena;
    arena_init(&arena, memory, sizeof memory);
    uint8_t *first = arena_alloc(&arena, 100);
    assert_ptr_equal(first, memory);
    assert_ptr_equal(arena_alloc(&arena, 144), memory + 112); /* exactly full */
    assert_int_equal(arena.chunk_bytes, 0);
    uint8_t *outside = arena_alloc(&arena, 1);
    assert_true(outside < memory || outside >= memory + sizeof memory);
    assert_true(arena.chunk_bytes > 0);

    /* One big block must not make every later chunk as big. */
    arena_alloc(&arena, 8 << 20);
    size_t before = arena.chunk_bytes;
    arena_alloc(&arena, 100);
    assert_true(arena.chunk_bytes - before <= 64 * 1024);
    before = arena.chunk_bytes;
    arena_alloc(&arena, 200 * 1024);
    assert_int_equal(arena.chunk_bytes - before, 200 * 1024);
    arena_alloc(&arena, 100); /* what was left before is still in use */
    assert_int_equal(arena.chunk_bytes - before, 200 * 1024);

    uint8_t *zeroed = arena_alloc_zero(&arena, 1000);
    for (size_t i = 0; i < 1000; i++)
        assert_int_equal(zeroed[i], 0);
    struct bytes copy = arena_copy(&arena, bytes_of("abc", 3));
    assert_memory_equal(copy.data, "abc", 3);
    assert_int_equal(arena_copy(&arena, (struct bytes){0}).size, 0);
    assert_string_equal(arena_string(&arena, copy), "abc");
    assert_string_equal(arena_string(&arena, (struct bytes){0}), "");
    assert_string_equal(arena_printf(&arena, "%s-%d", "x", 7), "x-7");
    arena_deinit(&arena);
    assert_ptr_equal(arena_alloc(&arena, 1), memory);
    arena_deinit(&arena);
}

static void test_bytes(void **state)
{
    (void)state;
    static const char *const ascending[] = {"", "a", "a\1", "aa", "b", "ba", "\xFF"};
    for (size_t i = 0; i < ARRAY_COUNT(ascending); i++) {
        for (size_t j = 0; j < ARRAY_COUNT(ascending); j++) {
            struct bytes a = bytes_of_string(ascending[i]);
            struct bytes b = bytes_of_string(ascending[j]);
            int order = bytes_compare(a, b);
            assert_int_equal((order > 0) - (order < 0), (i > j) - (i < j));
            assert_int_equal(bytes_equal(a, b), i == j);
        }
    }
    assert_true(bytes_equal((struct bytes){0}, bytes_of_string("")));
}

/* -- codec ----------------------------------------------------------------------------------- */

static void test_codec_round_trip(void **state)
{
    (void)state;
    struct prng prng;
    prng_init(&prng, SEED, 2);
    struct arena arena;
    arena_init(&arena, NULL, 0);
    for (uint32_t round = 0; round < 2000; round++) {
        arena_clear(&arena);
        struct writer writer;
        writer_init(&writer, &arena, prng_below(&prng, 40));
        uint64_t values[50];
        for (uint32_t i = 0; i < 50; i++) {
            values[i] = prng_u64(&prng) >> prng_below(&prng, 64);
            switch (i % 5) {
            case 0:
                writer_u8(&writer, (uint8_t)values[i]);
                break;
            case 1:
                writer_u32(&writer, (uint32_t)values[i]);
                break;
            case 2:
                writer_u64(&writer, values[i]);
                break;
            case 3:
                writer_varint(&writer, values[i]);
                break;
            default:
                writer_sized_bytes(&writer, bytes_of(&values[i], i % 9));
                break;
            }
        }
        struct reader reader = reader_of(writer_result(&writer));
        for (uint32_t i = 0; i < 50; i++) {
            assert_false(reader_done(&reader));
            if (i % 5 == 0)
                assert_int_equal(reader_u8(&reader), (uint8_t)values[i]);
            else if (i % 5 == 1)
                assert_int_equal(reader_u32(&reader), (uint32_t)values[i]);
            else if (i % 5 == 2)
                assert_true(reader_u64(&reader) == values[i]);
            else if (i % 5 == 3)
                assert_true(reader_varint(&reader) == values[i]);
            else
                assert_true(
                    bytes_equal(reader_sized_bytes(&reader, 8), bytes_of(&values[i], i % 9)));
        }
        assert_true(reader_done(&reader));
    }
    arena_deinit(&arena);
}

/* Varints have one form: the shortest. The table is the definition, both ways. */
static void test_varints(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t size;
        bool valid;
        uint64_t value;
    } rows[] = {
        {"\x00", 1, true, 0},
        {"\x7F", 1, true, 127},
        {"\x80\x01", 2, true, 128},
        {"\xFF\x7F", 2, true, 16383},
        {"\x80\x80\x01", 3, true, 16384},
        {"\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x7F", 9, true, UINT64_MAX >> 1},
        {"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", 10, true, 1ull << 63},
        {"\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01", 10, true, UINT64_MAX},
        {"", 0, false, 0},
        {"\x80", 1, false, 0},
        {"\x80\x00", 2, false, 0},                                  /* padded zero */
        {"\x81\x80\x00", 3, false, 0},                              /* padded one */
        {"\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x02", 10, false, 0}, /* above 64 bits */
        {"\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x81\x00", 11, false, 0},
        {"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", 11, false, 0},
        {"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00", 10, false, 0},
    };
    struct arena arena;
    arena_init(&arena, NULL, 0);
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct bytes bytes = bytes_of(rows[i].bytes, rows[i].size);
        struct reader reader = reader_of(arena_copy(&arena, bytes));
        assert_true(reader_varint(&reader) == rows[i].value);
        assert_int_equal(reader.failed, !rows[i].valid);
        assert_int_equal(reader_done(&reader), rows[i].valid);
        if (!rows[i].valid)
            continue;
        struct writer writer;
        writer_init(&writer, &arena, 0);
        writer_varint(&writer, rows[i].value);
        assert_true(bytes_equal(writer_result(&writer), bytes));
        reader = reader_of(bytes);
        assert_true(reader_varint_max(&reader, rows[i].value) == rows[i].value);
        reader = reader_of(bytes);
        if (rows[i].value > 0) {
            assert_int_equal(reader_varint_max(&reader, rows[i].value - 1), 0);
            assert_true(reader.failed);
        }
    }
    arena_deinit(&arena);
}

/* The first bad read fails the reader for good; nothing past the end is touched (ASan looks on). */
static void test_reader_ends(void **state)
{
    (void)state;
    uint8_t *three = malloc(3);
    assert_non_null(three);
    memset(three, 2, 3);
    struct bytes bytes = bytes_of(three, 3);
    struct reader reader = reader_of(bytes);
    assert_int_equal(reader_u32(&reader), 0);
    assert_true(reader.failed);
    assert_int_equal(reader_left(&reader), 0);
    assert_int_equal(reader_u8(&reader), 0);
    assert_int_equal(reader_varint(&reader), 0);
    assert_int_equal(reader_bytes(&reader, 1).size, 0);
    assert_false(reader_done(&reader));

    reader = reader_of(bytes);
    assert_int_equal(reader_u64(&reader), 0);
    assert_true(reader.failed);
    reader = reader_of(bytes);
    assert_int_equal(reader_sized_bytes(&reader, 2).size, 2);
    assert_true(reader_done(&reader));
    assert_int_equal(reader_u8(&reader), 0);
    assert_true(reader.failed);
    reader = reader_of(bytes);
    assert_int_equal(reader_sized_bytes(&reader, 1).size, 0); /* longer than allowed */
    assert_true(reader.failed);
    reader = reader_of(bytes);
    assert_int_equal(reader_bytes(&reader, SIZE_MAX).size, 0);
    assert_true(reader.failed);
    reader = reader_of((struct bytes){0});
    assert_true(reader_done(&reader));
    assert_int_equal(reader_bytes(&reader, 0).size, 0);
    assert_true(reader_done(&reader));
    free(three);
}

/* A word of a document is a string here: nothing of it may hide behind a NUL. */
static void test_words(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t size;
        const char *word; /* NULL: refused */
    } cases[] = {
        {"\0", 1, ""},       {"\3abc", 4, "abc"}, {"\4abcd", 5, NULL}, /* longer than 3 */
        {"\3a\0c", 4, NULL}, {"\2a\0", 3, NULL},  {"\3ab", 3, NULL},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct reader reader = reader_of(bytes_of(cases[i].bytes, cases[i].size));
        char word[4] = {0};
        reader_word(&reader, word, 3);
        assert_int_equal(reader.failed, cases[i].word == NULL);
        assert_string_equal(word, cases[i].word == NULL ? "" : cases[i].word);
    }
}

/* -- prng ------------------------------------------------------------------------------------ */

/* The published generator: outputs of state {1, 2, 3, 4}, as in its authors' and others' test
 * suites. */
static void test_prng_published(void **state)
{
    (void)state;
    struct prng prng = {.state = {1, 2, 3, 4}};
    const uint64_t expect[] = {
        11520, 0, 1509978240, 1215971899390074240, 1216172134540287360, 607988272756665600};
    for (size_t i = 0; i < ARRAY_COUNT(expect); i++)
        assert_true(prng_u64(&prng) == expect[i]);
}

static uint64_t first_draw(uint64_t seed, uint64_t stream)
{
    struct prng prng;
    prng_init(&prng, seed, stream);
    return prng_u64(&prng);
}

static void test_prng_streams(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 50; seed++) {
        for (uint64_t stream = 0; stream < 50; stream++) {
            uint64_t draw = first_draw(seed, stream);
            assert_true(draw == first_draw(seed, stream));
            assert_true(draw != first_draw(seed, stream + 1));
            assert_true(draw != first_draw(seed + 1, stream));
            assert_true(seed == stream || draw != first_draw(stream, seed));
        }
    }
}

static void test_prng_ranges(void **state)
{
    (void)state;
    struct prng prng;
    prng_init(&prng, SEED, 3);
    uint32_t counts[7] = {0};
    double sum = 0;
    uint32_t hits = 0;
    for (uint32_t i = 0; i < 70000; i++) {
        counts[prng_below(&prng, 7)]++;
        uint64_t between = prng_between(&prng, UINT64_MAX - 1, UINT64_MAX);
        assert_true(between >= UINT64_MAX - 1);
        double unit = prng_unit(&prng);
        assert_true(unit >= 0 && unit < 1);
        sum += unit;
        hits += prng_chance(&prng, 0.25);
    }
    for (uint32_t i = 0; i < 7; i++)
        assert_in_range(counts[i], 9500, 10500); /* 10000 +- 5.4 standard deviations */
    assert_true(sum > 34500 && sum < 35500);
    assert_in_range(hits, 16900, 18100);
    assert_int_equal(prng_below(&prng, 1), 0);
    assert_int_equal(prng_between(&prng, 5, 5), 5);
    prng_between(&prng, 0, UINT64_MAX);
    for (uint32_t i = 0; i < 100; i++) {
        assert_false(prng_chance(&prng, 0));
        assert_true(prng_chance(&prng, 1));
    }
    /* A bound just above half the range would show the bias of a plain remainder. */
    uint32_t low = 0;
    for (uint32_t i = 0; i < 10000; i++)
        low += prng_below(&prng, (1ull << 63) + (1ull << 62)) < 1ull << 62;
    assert_in_range(low, 3050, 3620); /* a third; a plain remainder gives a half */
}

/* -- heap ------------------------------------------------------------------------------------ */

static int heap_entry_order(const void *a, const void *b)
{
    const struct heap_entry *x = a;
    const struct heap_entry *y = b;
    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return (x->tie > y->tie) - (x->tie < y->tie);
}

static void test_heap(void **state)
{
    (void)state;
    struct prng prng;
    prng_init(&prng, SEED, 4);
    for (uint32_t round = 0; round < 300; round++) {
        struct heap heap;
        heap_init(&heap);
        assert_null(heap_peek(&heap));
        static struct heap_entry entries[300];
        size_t count = 0;
        uint64_t keys = 1 + prng_below(&prng, 100);
        for (uint32_t step = 0; step < 300; step++) {
            if (count > 0 && prng_chance(&prng, 0.4)) {
                qsort(entries, count, sizeof entries[0], heap_entry_order);
                assert_int_equal(heap_entry_order(heap_peek(&heap), &entries[0]), 0);
                struct heap_entry least = heap_pop(&heap);
                assert_int_equal(heap_entry_order(&least, &entries[0]), 0);
                assert_ptr_equal(least.value, entries[0].value);
                entries[0] = entries[--count];
            } else {
                entries[count] = (struct heap_entry){.key = prng_below(&prng, keys),
                                                     .tie = step,
                                                     .value = (void *)(uintptr_t)(step + 1)};
                heap_push(&heap, entries[count++]);
            }
            assert_int_equal(heap.count, count);
        }
        heap_deinit(&heap);
        assert_null(heap_peek(&heap));
    }
}

/* -- err, log, check ------------------------------------------------------------------------- */

static void test_err(void **state)
{
    (void)state;
    assert_int_equal(OK, 0);
    for (int i = 0; i < ERR_COUNT; i++) {
        assert_true(strlen(err_text((enum err)i)) > 0);
        for (int j = 0; j < i; j++)
            assert_string_not_equal(err_text((enum err)i), err_text((enum err)j));
    }
}

static void sink_lines(void *host, enum log_level level, const char *event, const char *fields)
{
    snprintf(host, 2048, "%s %s %s", log_level_text(level), event, fields);
}

static void test_log(void **state)
{
    (void)state;
    char line[2048] = "";
    struct log log = {.sink = sink_lines, .host = line, .level = LOG_INFO};
    log_write(NULL, LOG_ERROR, "e", "a=%d", 1);
    log_write(&log, LOG_DEBUG, "e", "a=%d", 1);
    assert_string_equal(line, "");
    log_write(&log, LOG_WARNING, "late", "a=%d b=%s", 1, "x");
    assert_string_equal(line, "warning late a=1 b=x");
    log_write(&log, LOG_ERROR, "long", "%2000d", 1);
    assert_int_equal(strlen(line), strlen("error long ") + 1023);
}

/* Runs in a child that must abort. */
static void assert_aborts(void (*run)(void))
{
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (freopen("/dev/null", "w", stderr) == NULL)
            _exit(1);
        signal(SIGABRT, SIG_DFL);
        run();
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static void check_false(void)
{
    CHECK(1 == 2);
}

static void check_numbers(void)
{
    uint64_t two = 2;
    CHECK_U64(two, <, 2);
}

static void unreachable(void)
{
    UNREACHABLE("test");
}

static void below_nothing(void)
{
    struct prng prng = {.state = {1}};
    prng_below(&prng, 0);
}

static void pop_nothing(void)
{
    struct heap heap;
    heap_init(&heap);
    heap_pop(&heap);
}

static void test_check(void **state)
{
    (void)state;
    CHECK(1 == 1);
    CHECK_U64(1, <=, 1);
    assert_aborts(check_false);
    assert_aborts(check_numbers);
    assert_aborts(unreachable);
    assert_aborts(below_nothing);
    assert_aborts(pop_nothing);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arena_allocations),
        cmocka_unit_test(test_arena_memory),
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_codec_round_trip),
        cmocka_unit_test(test_varints),
        cmocka_unit_test(test_reader_ends),
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_prng_published),
        cmocka_unit_test(test_prng_streams),
        cmocka_unit_test(test_prng_ranges),
        cmocka_unit_test(test_heap),
        cmocka_unit_test(test_err),
        cmocka_unit_test(test_log),
        cmocka_unit_test(test_check),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
