/* node_place.h -- which cluster a start is of, and which member: as the directory has it from a
 * join, else as a seed of --join answers now, else as --initial-cluster lists it, else alone. Where
 * the directory holds a store, boot judges this (actors/boot.h). */
#ifndef NODE_NODE_PLACE_H
#define NODE_NODE_PLACE_H

#include "node/node.h"

/* Fills in topology, self, joined and listed of the node, in its arena. INVALID: the settings by
 * themselves are wrong; CORRUPT, IO, EXISTS, CLOSED as join.h has them. May block until a seed
 * answers. */
enum err node_place_find(struct node *node, char *why, size_t why_size) MUST_USE;

#endif
