#include "cli/cli.h"

#include "rpc/loop.h"

#include <errno.h>

int main(int argc, char **argv)
{
    rpc_library_init(NULL);
    struct cli cli = {0};
    arena_init(&cli.arena, NULL, 0);
    enum cli_exit code = cli_parse(&cli, argc, argv);
    if (code == CLI_OK) {
        if (cli.options[OPTION_HELP] != NULL)
            code = cli_run_help_option(&cli);
        else if (cli.options[OPTION_VERSION] != NULL)
            code = cli_run_version(&cli);
        else
            code = cli.command->run(&cli);
    }
    /* Whoever reads our output must not take half of it for the whole. */
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "coterie: cannot write the output: %s\n", strerror(errno));
        code = CLI_FAILED;
    }
    if (cli.client != NULL)
        rpc_client_free(cli.client);
    arena_deinit(&cli.arena);
    rpc_library_shutdown();
    return (int)code;
}
