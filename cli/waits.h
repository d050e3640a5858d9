/* waits.h -- for whom and for what a change waits, and copies that do not vote: as the cluster says
 * it in GetChange, for people and programs. */
#ifndef CLI_WAITS_H
#define CLI_WAITS_H

#include "cli/cli.h"
#include "coterie/v1/cluster.pb-c.h"

#include <jansson.h>

/* Asks without a word about a failure, for commands that have something else to say as well: NULL
 * then. In the arena of the command. */
const Coterie__V1__GetChangeResponse *waits_ask(struct cli *cli);
/* What goes on by itself, as long as nothing else is in its way. */
bool waits_is_usual(const Coterie__V1__Wait *wait);
/* One line each, after `label` (padded by the caller); `usual` ones too, last. */
void waits_print(struct arena *arena, const Coterie__V1__GetChangeResponse *change,
                 const char *label, bool usual);
void waits_print_list(struct arena *arena, Coterie__V1__Wait *const *list, size_t count,
                      const char *label);
json_t *waits_json(Coterie__V1__Wait *const *list, size_t count);

/* -- while somebody waits for the end ---------------------------------------------------------- */

struct waits_watch {
    char last[1024]; /* what was in the way when it was looked at last */
    uint64_t since_ms;
    bool told;
};

/* True once for what has been in the way, unchanged, for some seconds. */
bool waits_watch(struct waits_watch *watch, const Coterie__V1__GetChangeResponse *change,
                 uint64_t now_ms);

#endif
