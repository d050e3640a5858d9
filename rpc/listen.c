#include "rpc/listen.h"

#include "rpc/loop.h"

#include <errno.h>
#include <grpc/grpc_security.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* gRPC only says that it could not bind: the errno comes from trying again by hand; 0: no reason is
 * seen any more. */
static int try_bind(const struct addrinfo *place)
{
    int error = 0;
    int one = 1;
    int fd = socket(place->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, place->ai_addr, place->ai_addrlen) != 0)
        error = errno;
    close(fd);
    return error;
}

static const char *what_to_do(int error)
{
    switch (error) {
    case EADDRINUSE:
        return "end the process that listens there (ss -ltnp shows it), or choose another port";
    case EADDRNOTAVAIL:
        return "choose an address of this host (ip addr shows them), or 0.0.0.0 for all of them";
    case EACCES:
        return "choose a port above 1023";
    default:
        return "choose another address";
    }
}

static void explain(const char *setting, const char *address, char *why, size_t why_size)
{
    char host[256] = "";
    const char *colon = strrchr(address, ':');
    if (colon == NULL || (size_t)(colon - address) >= sizeof host) {
        snprintf(why, why_size, "cannot listen on %s: must be host:port; see %s", address, setting);
        return;
    }
    memcpy(host, address, (size_t)(colon - address));
    char *end = host + strlen(host);
    const char *name = host;
    if (host[0] == '[' && end[-1] == ']') { /* as IPv6 addresses are written */
        end[-1] = '\0';
        name++;
    }
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *found = NULL;
    int problem = getaddrinfo(name[0] == '\0' ? NULL : name, colon + 1, &hints, &found);
    if (problem != 0) {
        snprintf(why, why_size, "cannot listen on %s: %s; choose an address of this host with %s",
                 address, gai_strerror(problem), setting);
        return;
    }
    int error = try_bind(found);
    snprintf(why, why_size, "cannot listen on %s: %s; %s with %s", address,
             error == 0 ? "gRPC could not" : strerror(error), what_to_do(error), setting);
    freeaddrinfo(found);
}

enum err rpc_listen(grpc_server *server, const char *setting, const char *address, int *ret_port,
                    char *why, size_t why_size)
{
    grpc_server_credentials *credentials = grpc_insecure_server_credentials_create();
    rpc_library_quiet(true);
    int port = grpc_server_add_http2_port(server, address, credentials);
    rpc_library_quiet(false);
    grpc_server_credentials_release(credentials);
    if (port <= 0) {
        explain(setting, address, why, why_size);
        return ERR_IO;
    }
    *ret_port = port;
    return OK;
}
