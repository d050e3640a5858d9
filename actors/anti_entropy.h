/* anti_entropy.h -- compares and repairs replicas through Merkle trees.
 *
 * Not working yet: it has its thread and its place among the messages, and counts what comes.
 * Source: Dynamo (SOSP 2007) 4.7.
 */
#ifndef ACTORS_ANTI_ENTROPY_H
#define ACTORS_ANTI_ENTROPY_H

#include "actors/actor.h"
#include "base/counter.h"

struct anti_entropy;

struct anti_entropy_figures {
    struct counter unexpected;
};

struct anti_entropy *anti_entropy_new(uint32_t self);
void anti_entropy_free(struct anti_entropy *anti_entropy);
struct actor *anti_entropy_actor(struct anti_entropy *anti_entropy);
const struct anti_entropy_figures *anti_entropy_figures(const struct anti_entropy *anti_entropy);

#endif
