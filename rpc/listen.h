/* listen.h -- a port for a gRPC server to listen on, or one sentence about why not: the address,
 * the cause, and what to do. gRPC's own line about it is left out of the log.
 */
#ifndef RPC_LISTEN_H
#define RPC_LISTEN_H

#include "base/check.h"
#include "base/err.h"

#include <grpc/grpc.h>
#include <stddef.h>

/* `setting`: where the operator says the address, as "--client-address". `address`: host:port. */
enum err rpc_listen(grpc_server *server, const char *setting, const char *address, int *ret_port,
                    char *why, size_t why_size) MUST_USE;

#endif
