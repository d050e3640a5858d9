/* descriptors.h -- the embedded descriptor set, by file name and by symbol (internal to the client
 * port).
 *
 * The set is trusted (the build made it) but walked with bounds all the same. Descriptors stay
 * bytes.
 */
#ifndef RPC_DESCRIPTORS_H
#define RPC_DESCRIPTORS_H

#include "base/bytes.h"

#define DESCRIPTOR_FILES_MAX    64u
#define DESCRIPTOR_SERVICES_MAX 32u

struct descriptor_file {
    struct bytes bytes; /* a FileDescriptorProto */
    struct bytes name;
    struct bytes package;
};

/* Files come before those that import them. */
struct descriptors {
    uint32_t file_count;
    struct descriptor_file files[DESCRIPTOR_FILES_MAX];
    uint32_t service_count;
    char services[DESCRIPTOR_SERVICES_MAX][96]; /* full names */
};

/* Reads the set that is linked in. */
void descriptors_init(struct descriptors *descriptors);
/* The index of a file, or -1. */
int descriptors_find_file(const struct descriptors *descriptors, struct bytes name);
/* The file that defines a message, field, enum, value, service or method by its full name, or -1.
 */
int descriptors_find_symbol(const struct descriptors *descriptors, struct bytes symbol);
/* Bit i: file i is `file` or something that it imports, directly or not. */
uint64_t descriptors_closure(const struct descriptors *descriptors, int file);

#endif
