/* Runs one fuzz target without libFuzzer: mutations of its sound inputs, all drawn from one seed.
 *
 *     fuzz_<name>            COTERIE_FUZZ_ROUNDS (100,000) rounds from COTERIE_FUZZ_SEED (1)
 *     fuzz_<name> FILE ...   each file once
 *
 * Round R of seed S depends on S and R alone; both are printed when a round ends the process. */
#include "tests/fuzz/fuzz.h"

#include "base/check.h"
#include "base/prng.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define INPUT_BYTES_MAX 4096u

size_t fuzz_seed(uint64_t index, uint8_t *ret, size_t size_max) __attribute__((weak));

static uint64_t seed = 1;
static volatile uint64_t round_now;

static void print_round(void)
{
    char line[128];
    int size =
        snprintf(line, sizeof line, "fuzz: in round %" PRIu64 " of COTERIE_FUZZ_SEED=%" PRIu64 "\n",
                 round_now, seed);
    if (write(STDERR_FILENO, line, (size_t)size) < 0)
        _exit(1);
}

/* AddressSanitizer calls this before it ends the process. */
void __asan_on_error(void);
void __asan_on_error(void)
{
    print_round();
}

static void on_signal(int number)
{
    print_round();
    signal(number, SIG_DFL);
    raise(number);
}

/* Numbers that decoders trip over. */
static uint8_t odd_byte(struct prng *prng)
{
    static const uint8_t odd[] = {0, 1, 2, 0x7F, 0x80, 0x81, 0xFE, 0xFF};
    return prng_chance(prng, 0.5) ? odd[prng_below(prng, sizeof odd)] : (uint8_t)prng_u64(prng);
}

/* What mutations start from. */
static size_t first_input(struct prng *prng, uint8_t *data)
{
    if (fuzz_seed != NULL && !prng_chance(prng, 0.05)) {
        size_t size = fuzz_seed(prng_u64(prng), data, INPUT_BYTES_MAX);
        CHECK_U64(size, <=, INPUT_BYTES_MAX);
        return size;
    }
    size_t size = prng_below(prng, 200);
    for (size_t i = 0; i < size; i++)
        data[i] = odd_byte(prng);
    return size;
}

static size_t mutate(struct prng *prng, uint8_t *data, size_t size)
{
    size_t at = size == 0 ? 0 : prng_below(prng, size);
    size_t length = 1 + prng_below(prng, 8);
    uint8_t other[INPUT_BYTES_MAX];
    switch (prng_below(prng, 7)) {
    case 0:
        if (size > 0)
            data[at] ^= (uint8_t)(1u << prng_below(prng, 8));
        return size;
    case 1:
        if (size > 0)
            data[at] = odd_byte(prng);
        return size;
    case 2: /* cut off the end */
        return at;
    case 3: /* take out a piece */
        length = length > size - at ? size - at : length;
        memmove(data + at, data + at + length, size - at - length);
        return size - length;
    case 4: /* put something in */
        if (size + length > INPUT_BYTES_MAX)
            return size;
        memmove(data + at + length, data + at, size - at);
        for (size_t i = 0; i < length; i++)
            data[at + i] = odd_byte(prng);
        return size + length;
    case 5: /* the number grows or shrinks by a little */
        if (size > 0)
            data[at] = (uint8_t)(data[at] + prng_below(prng, 9) + 252);
        return size;
    default: /* the rest from another input */
        length = first_input(prng, other);
        if (length > at)
            memcpy(data + at, other + at, length - at);
        return length > at ? length : at;
    }
}

static size_t next_input(uint8_t *data)
{
    struct prng prng;
    prng_init(&prng, seed, round_now);
    size_t size = first_input(&prng, data);
    for (uint64_t left = prng_below(&prng, 6); left > 0; left--)
        size = mutate(&prng, data, size);
    return size;
}

/* An exact copy on the heap, so that AddressSanitizer sees a read past its end. */
static void run(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size == 0 ? 1 : size);
    CHECK(copy != NULL);
    memcpy(copy, data, size);
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

static int run_file(const char *path)
{
    static uint8_t data[1 << 22];
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        perror(path);
        return 1;
    }
    size_t size = fread(data, 1, sizeof data, file);
    fclose(file);
    run(data, size);
    return 0;
}

static uint64_t number_of(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text == NULL ? otherwise : strtoull(text, NULL, 10);
}

int main(int count, char **arguments)
{
    if (count > 1) {
        int failed = 0;
        for (int i = 1; i < count; i++)
            failed |= run_file(arguments[i]);
        return failed;
    }
    signal(SIGABRT, on_signal);
    signal(SIGSEGV, on_signal);
    seed = number_of("COTERIE_FUZZ_SEED", seed);
    uint64_t rounds = number_of("COTERIE_FUZZ_ROUNDS", 100000);
    uint64_t bytes = 0;
    uint8_t data[INPUT_BYTES_MAX];
    for (; round_now < rounds; round_now++) {
        size_t size = next_input(data);
        bytes += size;
        run(data, size);
    }
    printf("%" PRIu64 " inputs, %" PRIu64 " bytes, seed %" PRIu64 "\n", rounds, bytes, seed);
    return rounds == 0;
}
