/* fuzz.h -- what a fuzz target gives: one file fuzz_<name>.c, whose first line says what it links.
 *
 * With clang it becomes a libFuzzer program; with any compiler driver.c runs it over seeded
 * mutations of its own sound inputs, as ctest entry fuzz/<name>.
 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include "base/bytes.h"

/* Runs the decoder; aborts (CHECK) when a law is broken. Gives 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
/* Optional: without it the driver starts from random bytes and gets nowhere near as deep.
 * Writes a sound input of at most `size_max` bytes to `ret`; gives its size. Every `index` is
 * valid, and different ones should reach different branches. */
size_t fuzz_seed(uint64_t index, uint8_t *ret, size_t size_max);

#endif
