/* plan.h -- a change of the topology and what it means, as people and programs read it. */
#ifndef CLI_PLAN_H
#define CLI_PLAN_H

#include "cli/cli.h"
#include "coterie/v1/cluster.pb-c.h"

#include <jansson.h>

/* "none", "staged", "running", with paused and aborting where they hold. */
const char *plan_change_text(struct arena *arena, const Coterie__V1__Change *change);
json_t *plan_change_json(const Coterie__V1__Change *change);
/* The parts of the change, one a line. */
void plan_print_parts(const Coterie__V1__Change *change);
/* `state`: what is said of the change instead of its own state; NULL: that. */
void plan_print(struct cli *cli, const Coterie__V1__Plan *plan, const char *state);
json_t *plan_json(const Coterie__V1__Plan *plan);

/* 64.0 MiB */
const char *plan_bytes(struct arena *arena, uint64_t bytes);
/* 0:02:05; "-" when it is not known */
const char *plan_time(struct arena *arena, uint64_t ms);

#endif
