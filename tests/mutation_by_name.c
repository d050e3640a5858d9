/* In the build with mutants a test of a rule has the one alive that COTERIE_MUTATION names
 * (tests/sim/mutants.c). */
#include "base/check.h"
#include "base/mutation.h"

#include <stdlib.h>
#include <string.h>

static const char *const names[MUTATION_COUNT] = {
#define X(mutant, does, told) [MUTATION_##mutant] = #mutant,
    MUTATION_TABLE(X)
#undef X
};

__attribute__((constructor)) static void choose_mutation(void)
{
    const char *name = getenv("COTERIE_MUTATION");
    uint32_t i = MUTATION_NONE + 1;
    if (name == NULL)
        return;
    while (i < MUTATION_COUNT && strcmp(names[i], name) != 0)
        i++;
    CHECK_U64(i, <, MUTATION_COUNT);
    mutation_chosen = (enum mutation)i;
}
