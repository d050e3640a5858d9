/* mutants.h -- proof that the checkers can see: each known bug of base/mutation.h must be found
 * within a number of seeds, and the same seed without it be clean. A few are found by the unit test
 * of their rule instead (mutants.c says which): that test must fail with the bug, and pass without.
 */
#ifndef SIM_MUTANTS_H
#define SIM_MUTANTS_H

#include "base/mutation.h"

#include <stdint.h>

#define MUTANT_SEEDS_MAX  2000u /* a mutant that lives longer has survived */
#define MUTANT_MEDIAN_MAX 50u

struct mutants_options {
    uint64_t start;
    uint64_t seeds; /* for each */
    uint32_t jobs;
    enum mutation only; /* MUTATION_NONE: all */
    char folder[4096];  /* of the build: tests of rules are in its folder tests */
};

/* MUTATION_NONE when there is none of that name. */
enum mutation mutants_parse(const char *name);
void mutants_list(void);
/* Runs every mutant over ascending seeds until a checker fails. True when none survived and the
 * median is good. Prints a line for each. */
bool mutants_run(const struct mutants_options *options);

#endif
