/* methods.h -- what is served on the client port (internal to it): each method's path, how many
 * calls of it are ready on each queue, and who handles it. Health's Watch and reflection are
 * streams and arm themselves. */
#ifndef RPC_METHODS_H
#define RPC_METHODS_H

#include "rpc/edge.h"

#define METHODS_MAX 48u

/* The last one takes what no other does. */
const struct method *methods_all(size_t *ret_count);

#endif
