/* cluster_list.h -- the text of --initial-cluster:
 * name=host:port[;dc=NAME][;zone=NAME][;weight=N],... */
#ifndef NODE_CLUSTER_LIST_H
#define NODE_CLUSTER_LIST_H

#include "base/arena.h"
#include "model/topology.h"

/* INVALID with a sentence in `why` that quotes the entry. The seeds are in the arena. */
enum err cluster_list_parse(struct arena *arena, const char *text, struct topology_seed **ret_seeds,
                            size_t *ret_count, char *why, size_t why_size) MUST_USE;

#endif
