/* hinted_handoff.h -- keeps writes for a replica that is away and hands them over.
 *
 * Receives: hint_store. Not working yet: every request is answered UNSUPPORTED and counted, so that
 * nothing pretends to have been done. The actor has its thread and its place among the messages.
 * Source:   Dynamo (SOSP 2007) 4.6.
 */
#ifndef ACTORS_HINTED_HANDOFF_H
#define ACTORS_HINTED_HANDOFF_H

#include "actors/actor.h"
#include "base/counter.h"

struct hinted_handoff;

struct hinted_handoff_figures {
    struct counter refused;
    struct counter unexpected;
};

struct hinted_handoff *hinted_handoff_new(uint32_t self);
void hinted_handoff_free(struct hinted_handoff *hinted_handoff);
struct actor *hinted_handoff_actor(struct hinted_handoff *hinted_handoff);
const struct hinted_handoff_figures *
hinted_handoff_figures(const struct hinted_handoff *hinted_handoff);

#endif
