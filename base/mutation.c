#include "base/mutation.h"

#ifdef COTERIE_MUTATIONS
enum mutation mutation_chosen;
#endif
