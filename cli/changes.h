/* changes.h -- how far the change under way is. */
#ifndef CLI_CHANGES_H
#define CLI_CHANGES_H

#include "cli/cli.h"

/* Shows it until it has ended: OK, FAILED when it was aborted or the user waits no longer. */
enum cli_exit changes_wait(struct cli *cli);

#endif
