/* code.h -- the names of gRPC's status codes. */
#ifndef RPC_CODE_H
#define RPC_CODE_H

#define RPC_CODES 17 /* 0 to GRPC_STATUS_UNAUTHENTICATED */

/* Static text; "UNKNOWN_CODE" for a number that is none. */
const char *rpc_code_name(int code);

#endif
