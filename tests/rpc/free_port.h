/* free_port.h -- a port of 127.0.0.1 that may be left and taken again. It lies above those that
 * the kernel gives to connections: one of those could sit on it while nobody listens there. */
#ifndef TESTS_RPC_FREE_PORT_H
#define TESTS_RPC_FREE_PORT_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define FREE_PORT_FIRST 61000u
#define FREE_PORT_COUNT 4500u

static inline bool port_is_free(uint32_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool free = fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0;
    if (fd >= 0)
        close(fd);
    return free;
}

/* Tests beside this one begin elsewhere. */
static inline int free_port(void)
{
    static uint32_t next;
    if (next == 0) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        next = (uint32_t)now.tv_nsec / 1000u + (uint32_t)getpid() * 101u;
    }
    uint32_t port;
    do
        port = FREE_PORT_FIRST + next++ % FREE_PORT_COUNT;
    while (!port_is_free(port));
    return (int)port;
}

#endif
